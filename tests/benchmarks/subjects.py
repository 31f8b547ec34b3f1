"""What is asked of a service in turns, and what came of it."""

import itertools
import random

from tests.benchmarks.load import Measurement, Request, median, round_of
from tests.benchmarks.options import Options

WARM_SECONDS = 0.5


class Bench:
    """A prepared service and what to ask of it."""

    def __init__(self, options: Options, port: int) -> None:
        self.options = options
        self.port = port
        self.random = random.Random(7)  # noqa: S311 - which row is read next is no secret
        self.rounds: dict[str, list[Measurement]] = {}

    @property
    def results(self) -> dict[str, Measurement]:
        """The medians of each subject's rounds."""
        return {name: median(found) for name, found in self.rounds.items()}

    async def compare(self, subjects: dict[str, Request]) -> None:
        """Measure subjects in alternating rounds, after a short one each that is not counted."""
        for request in subjects.values():
            await round_of(self.port, request, self.options.connections, WARM_SECONDS)
        self.rounds |= {name: [] for name in subjects}
        for _ in range(self.options.rounds):
            for name, request in subjects.items():
                self.rounds[name].append(
                    await round_of(self.port, request, self.options.connections, self.options.seconds)
                )

    def rates_beside(self, name: str, other: str) -> list[float]:
        """A subject's rate divided by another's of the same round, which had the same minute of the machine."""
        return [one.rate / bare.rate for one, bare in zip(self.rounds[name], self.rounds[other], strict=True)]


def cycled(requests: list[bytes]) -> Request:
    """Ask for one after another, round and round."""
    return itertools.cycle(requests).__next__
