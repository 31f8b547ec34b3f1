"""Whose answers lie here unread, and which of them is broken off where they are too many.

They take no places from requests that are worked on, but memory; and whoever reads as slowly as it may, over as many connections
as it likes, would keep everybody else's answers from being kept. So they are few, and where there are too many, one is broken
off: of whoever reads far below the least rate, else of the network (an IPv4 address, the /64 of an IPv6 address) that has the most.
"""

from collections import Counter
from typing import Protocol

from service.connections.limits import Limits
from service.telemetry.metrics import SHED


class Reader(Protocol):
    """A connection whose client has not read what it was sent."""

    @property
    def network(self) -> str:
        """Whose it is."""

    @property
    def unread_seconds_left(self) -> float:
        """How long nothing more may be read until it is cut off."""

    def break_off(self) -> None:
        """Cut it off."""


class Unread:
    """The answers of one server."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.unread
        self._far_behind = limits.unread_seconds / 2
        self._readers: dict[Reader, None] = {}
        self._broken_off = SHED.labels("unread")

    def add(self, reader: Reader) -> None:
        """Count a reader; of too many one is broken off."""
        self._readers[reader] = None
        if len(self._readers) > self._most:
            self._break_one_off()

    def remove(self, reader: Reader) -> None:
        """Count it no longer: it has read, or is gone."""
        self._readers.pop(reader, None)

    def _break_one_off(self) -> None:
        of = Counter(one.network for one in self._readers)

        def rank(one: Reader) -> tuple[bool, int, float]:
            left = one.unread_seconds_left
            return left >= self._far_behind, -of[one.network], left

        chosen = min(self._readers, key=rank)
        del self._readers[chosen]
        self._broken_off.inc()
        chosen.break_off()
