"""What is asked of a service in turns, and what came of it."""

import itertools
import random
from collections.abc import Mapping
from typing import TypeVar

from tests.benchmarks.load import Measurement, Request, median, round_of
from tests.benchmarks.options import Options

WARM_SECONDS = 0.5
TURN_SECONDS = 0.5  # short, as a machine that others use as well is not as fast in the next few seconds

Subject = TypeVar("Subject")


async def in_turns(
    options: Options, subjects: Mapping[Subject, tuple[int, Request]]
) -> dict[Subject, list[Measurement]]:
    """Measure what each asks of its port, in turns there and back, after a short one each that is not counted.

    A subject's turns come to as many seconds as its rounds would.
    """
    whole = options.rounds * options.seconds
    turns = max(1, round(whole / TURN_SECONDS))
    found: dict[Subject, list[Measurement]] = {name: [] for name in subjects}
    for port, request in subjects.values():
        await round_of(port, request, options.connections, WARM_SECONDS)
    for turn in range(turns):
        for name, (port, request) in list(subjects.items())[:: -1 if turn % 2 else 1]:
            found[name].append(await round_of(port, request, options.connections, whole / turns))
    return found


class Bench:
    """A prepared service and what to ask of it."""

    def __init__(self, options: Options, port: int) -> None:
        self.options = options
        self.port = port
        self.random = random.Random(7)  # noqa: S311 - which row is read next is no secret
        self.turns: dict[str, list[Measurement]] = {}

    @property
    def results(self) -> dict[str, Measurement]:
        """The medians of each subject's turns."""
        return {name: median(found) for name, found in self.turns.items()}

    async def compare(self, subjects: dict[str, Request]) -> None:
        """Measure subjects in turns."""
        asking = {name: (self.port, request) for name, request in subjects.items()}
        self.turns |= await in_turns(self.options, asking)

    def rates_beside(self, name: str, other: str) -> list[float]:
        """A subject's rate divided by another's of the same turn, which had the same moment of the machine."""
        return [one.rate / bare.rate for one, bare in zip(self.turns[name], self.turns[other], strict=True)]


def cycled(requests: list[bytes]) -> Request:
    """Ask for one after another, round and round."""
    return itertools.cycle(requests).__next__
