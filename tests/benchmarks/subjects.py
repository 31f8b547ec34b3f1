"""What is asked of a service in turns, and what came of it."""

import itertools
import random

from tests.benchmarks.load import Measurement, Request, median, round_of
from tests.benchmarks.options import Options


class Bench:
    """A prepared service and what to ask of it."""

    def __init__(self, options: Options, port: int) -> None:
        self.options = options
        self.port = port
        self.random = random.Random(7)  # noqa: S311 - which row is read next is no secret
        self.results: dict[str, Measurement] = {}

    async def compare(self, subjects: dict[str, Request]) -> None:
        """Measure subjects in alternating rounds."""
        rounds: dict[str, list[Measurement]] = {name: [] for name in subjects}
        for _ in range(self.options.rounds):
            for name, request in subjects.items():
                rounds[name].append(
                    await round_of(self.port, request, self.options.connections, self.options.seconds)
                )
        self.results |= {name: median(found) for name, found in rounds.items()}


def cycled(requests: list[bytes]) -> Request:
    """Ask for one after another, round and round."""
    return itertools.cycle(requests).__next__
