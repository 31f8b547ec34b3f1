"""How many connections there are, whose they are, and which of them makes room for another.

One on which nothing happens makes room for anybody. Where there is none, whoever sends beginnings of requests over as many
connections as it likes would keep everybody else out: then room is made by the network (an IPv4 address, the /64 of an IPv6
address) that has the most, if that is two more than the newcomer's has.
"""

from collections import defaultdict
from itertools import islice
from typing import Protocol

SPARE_EVERY = 0.05  # seconds between two looks for connections on which nothing happens, where there was none
LOOKED_AT = 32  # connections of a network at once: a look at 5,000 for each newcomer would take all of the process's time


class Connection(Protocol):
    """A connection of a client."""

    @property
    def network(self) -> str:
        """Whose it is."""

    @property
    def loss(self) -> int | None:
        """What is lost where it is closed, as a rank; None where it is not to be closed."""

    def spare_at(self, now: float) -> bool:
        """Whether it can be closed without loss."""

    def make_way(self) -> None:
        """Close it."""


class Crowd:
    """The connections of one server that are open, without those that are just being closed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._networks: defaultdict[str, dict[Connection, None]] = defaultdict(dict)
        self._none_spare_until = 0.0

    def add(self, one: Connection) -> None:
        """Count a connection."""
        self._networks[one.network][one] = None
        self._count += 1

    def remove(self, one: Connection) -> None:
        """Count it no longer; the second time nothing happens."""
        network = self._networks.get(one.network, {})
        if one in network:
            del network[one]
            self._count -= 1
            if not network:
                del self._networks[one.network]

    @property
    def crowded(self) -> bool:
        """Whether there are more than there may be."""
        return self._count > self._most

    def make_room(self, newcomer: Connection, now: float) -> bool:
        """Close another connection; whether there was one that could be."""
        chosen = self._spare(newcomer, now) or self._of_the_largest(newcomer)
        if chosen is None:
            return False
        self.remove(chosen)
        chosen.make_way()
        return True

    def _spare(self, newcomer: Connection, now: float) -> Connection | None:
        """Find one that can be closed without loss.

        Where there is none, nobody looks again for a moment: a flood of newcomers is not to cost a look at all for each.
        """
        if now < self._none_spare_until:
            return None
        for network in self._networks.values():
            for one in network:
                if one is not newcomer and one.spare_at(now):
                    return one
        self._none_spare_until = now + SPARE_EVERY
        return None

    def _of_the_largest(self, newcomer: Connection) -> Connection | None:
        """Find one of the network that has the most: of those that were not looked at for longest, the one with the least loss."""
        largest = max(self._networks.values(), key=len)
        if len(largest) < len(self._networks[newcomer.network]) + 2:
            return None
        ranked = []
        for one in tuple(islice(largest, LOOKED_AT)):
            largest[one] = largest.pop(one)  # to the end, so that the next look is at others
            if (loss := one.loss) is not None:
                ranked.append((loss, one))
        return min(ranked, key=lambda pair: pair[0])[1] if ranked else None
