"""Which requests are under way whose long bodies are still coming, and who of them makes way where others want a place.

Each holds memory and a task for as long as its client likes to send, so they are few; and whoever sends as slowly as it may, over
as many connections as it likes, would keep everybody else's bodies out. So where all places are taken, one is made: by whoever is
far behind the least rate, else by a network (an IPv4 address, the /64 of an IPv6 address) that has two places more than the
newcomer's.
"""

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from service.connections.limits import Limits
from service.overload import Gate, Place


class Upload(Protocol):
    """A connection over which a long body comes."""

    @property
    def network(self) -> str:
        """Whose it is."""

    @property
    def uploading(self) -> bool:
        """Whether there is more to come of the body of a request that is under way and has no answer yet."""

    @property
    def body_seconds_left(self) -> float:
        """How long nothing more may come until it is cut off."""

    def give_up(self) -> None:
        """Refuse the request, although it is under way."""


class Uploads:
    """The places of one server."""

    def __init__(self, limits: Limits) -> None:
        self.gate = Gate("uploads", limits.uploads, 0, 0, 0)
        self._far_behind = limits.body_seconds / 2
        self._under_way: dict[Upload, Place] = {}

    def enter(self, newcomer: Upload, begin: Callable[[Place], None], refuse: Callable[[], None]) -> None:
        """Begin a request if there is a place or one can be made; else refuse it."""
        self._under_way = {one: place for one, place in self._under_way.items() if place.held}
        if self.gate.full:
            self._make_way(newcomer)

        def begun(place: Place) -> None:
            self._under_way[newcomer] = place
            begin(place)

        self.gate.enter(begun, refuse, lambda: False)

    def _make_way(self, newcomer: Upload) -> None:
        places = Counter(one.network for one in self._under_way)
        fair = places[newcomer.network] + 1
        candidates = [
            one
            for one in self._under_way
            if one.uploading and (self._is_far_behind(one) or places[one.network] > fair)
        ]
        if candidates:
            chosen = min(
                candidates,
                key=lambda one: (not self._is_far_behind(one), -places[one.network], one.body_seconds_left),
            )
            self.gate.count_refusal()
            chosen.give_up()
            self._under_way.pop(chosen).let_go()

    def _is_far_behind(self, one: Upload) -> bool:
        return one.body_seconds_left < self._far_behind
