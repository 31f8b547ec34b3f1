"""How many requests a process works on at once, and what becomes of the others: a short wait, or a refusal.

A process that takes in more than it can do gets slower for everybody until nobody is served in time. So it works on so many
requests at once, lets as many more wait for a moment as they will soon be done, and refuses the rest before it has looked at
them, which costs next to nothing. What only waits for something to happen (a stream, a long poll) gives its place back.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar

import msgspec

from service.telemetry.metrics import SHED

CLEAR_EVERY = 0.1  # seconds between two looks at what waits
REFUSALS_TOLD_EVERY = 10.0  # seconds between log lines that tell how many were refused

logger = logging.getLogger("tutti.overload")


class Place:
    """A place among the requests that are worked on."""

    __slots__ = ("_gate", "held")

    def __init__(self, gate: "Gate") -> None:
        self._gate = gate
        self.held = True

    def let_go(self) -> None:
        """Give the place to another request; the second time nothing happens."""
        if self.held:
            self.held = False
            self._gate.leave()


class Waiting(msgspec.Struct, eq=False):
    """A request that waits for a place: what begins it, what refuses it, and since when it waits."""

    begin: Callable[[Place], None]
    refuse: Callable[[], None]
    since: float
    gone: Callable[[], bool]


class Gate:
    """Lets so many requests in at once, and so many wait; `name` tells in figures what it is for.

    A burst that comes to its end within `burst` seconds is waited for: each of its requests will be served by then. A queue that
    has stood for longer is an overload: there nobody waits for more than `seconds`, as what is served late is served to nobody.
    """

    def __init__(self, name: str, places: int, queue: int, seconds: float, burst: float) -> None:
        self._shed = SHED.labels(name)
        self.places = places
        self.queue = queue
        self.seconds = seconds
        self.burst = burst
        self._stands_since = 0.0
        self.taken = 0
        self.refused = 0
        self._waiting: deque[Waiting] = deque()
        self._clearing: asyncio.TimerHandle | None = None
        self._told = (time.monotonic(), 0)

    @property
    def full(self) -> bool:
        """Whether a request that comes now would be refused."""
        return self.taken >= self.places and len(self._waiting) >= self.queue

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def place(self) -> Place | None:
        """Take a place, if there is one and nobody waits for it."""
        if self.taken >= self.places or self._waiting:
            return None
        self.taken += 1
        return Place(self)

    def enter(
        self, begin: Callable[[Place], None], refuse: Callable[[], None], gone: Callable[[], bool]
    ) -> None:
        """Begin a request, now or in a moment, or refuse it; unless it is gone by then."""
        place = self.place()
        if place is not None:
            begin(place)
        elif len(self._waiting) < self.queue:
            now = time.monotonic()
            if not self._waiting:
                self._stands_since = now
            self._waiting.append(Waiting(begin, refuse, now, gone))
            if self._clearing is None:
                self._clearing = asyncio.get_running_loop().call_later(CLEAR_EVERY, self._clear)
        else:
            self._refuse(refuse)

    def leave(self) -> None:
        """Give a place to whoever waits for one."""
        self.taken -= 1
        if self._waiting:
            self._go_on()

    def count_refusal(self) -> None:
        """Count a request that was refused, and tell of them from time to time."""
        self.refused += 1
        self._shed.inc()
        told_at, before = self._told
        if time.monotonic() - told_at > REFUSALS_TOLD_EVERY or not before:
            logger.warning("overload: %d requests were refused", self.refused - before)
            self._told = time.monotonic(), self.refused

    def _refuse(self, refuse: Callable[[], None]) -> None:
        self.count_refusal()
        refuse()

    def _go_on(self) -> None:
        """Begin what waits as far as there are places; what has waited too long is refused, as it would be late.

        In a rush, which fills more than half of the queue, the newest comes first: it is served soon, where in turn everybody
        would be served late.
        """
        now = time.monotonic()
        longest = self.seconds if now - self._stands_since >= self.burst else self.burst
        while self._waiting and now - self._waiting[0].since >= longest:
            late = self._waiting.popleft()
            if not late.gone():
                self._refuse(late.refuse)
        while self._waiting and self.taken < self.places:
            rush = len(self._waiting) > self.queue // 2
            chosen = self._waiting.pop() if rush else self._waiting.popleft()
            if not chosen.gone():
                self.taken += 1
                chosen.begin(Place(self))

    def _clear(self) -> None:
        """Refuse what has waited too long although no place became free."""
        self._clearing = None
        self._go_on()
        if self._waiting:
            self._clearing = asyncio.get_running_loop().call_later(CLEAR_EVERY, self._clear)


# The place of the request that is being answered, where a server gave it one.
current_place: ContextVar[Place | None] = ContextVar("current_place", default=None)


def let_go() -> None:
    """Give the place of the present request to another one, as it is about to wait for something to happen."""
    place = current_place.get()
    if place is not None:
        place.let_go()
