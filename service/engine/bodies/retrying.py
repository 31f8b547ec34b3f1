"""When a `try` is tried again: the arithmetic of a retry policy (contract 2.11)."""

import hashlib
from datetime import timedelta
from typing import Literal

import msgspec

MOST_RETRIES = 100
LONGEST_PAUSE = timedelta(hours=24)
SHORTEST_LATER_PAUSE = timedelta(seconds=1)
LATER = 3  # the retry from which on the shortest pause applies


class Pauses(msgspec.Struct, frozen=True):
    """How long to wait before the retries of a policy, its expressions evaluated."""

    delay: timedelta
    backoff: Literal["constant", "linear", "exponential"]
    jitter: tuple[timedelta, timedelta] = (timedelta(), timedelta())

    def before(self, retry: int, chance: float) -> timedelta:
        """The pause before a retry, counted from 1; `chance` from 0 to 1 is its place between the ends of the jitter."""
        factor = {"constant": 1, "linear": retry, "exponential": 2 ** (retry - 1)}[self.backoff]
        first, last = self.jitter
        longest = LONGEST_PAUSE // timedelta.resolution
        exact = min((self.delay // timedelta.resolution) * factor, longest)
        pause = timedelta(microseconds=exact) + first + (last - first) * chance
        shortest = SHORTEST_LATER_PAUSE if retry >= LATER else timedelta()
        return min(max(pause, shortest), LONGEST_PAUSE)


def chance_of(instance_id: str, pointer: str, run: int, attempt: int) -> float:
    """A number from 0 to 1 that is the same whenever this attempt is looked at, and else like any other."""
    digest = hashlib.sha256(f"{instance_id}\0{pointer}\0{run}\0{attempt}".encode()).digest()
    return int.from_bytes(digest[:6]) / (2**48 - 1)
