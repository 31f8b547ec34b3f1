"""How many requests a process works on at once, and what becomes of the others: a short wait, or a refusal.

A process that takes in more than it can do gets slower for everybody until nobody is served in time. So it works on so many
requests at once, lets as many more wait for a moment as they will soon be done, and refuses the rest before it has looked at
them, which costs next to nothing. What only waits for something to happen (a stream, a long poll) gives its place back.
"""

import asyncio
import logging
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from contextvars import ContextVar
from uuid import UUID

import msgspec

from service.telemetry.metrics import SHED

REMEMBERED = 10_000  # callers who have proven whose they are
CLEAR_EVERY = 0.1  # seconds between two looks at what waits
REFUSALS_TOLD_EVERY = 10.0  # seconds between log lines that tell how many were refused

logger = logging.getLogger("tutti.overload")


class Caller(msgspec.Struct, frozen=True):
    """Who asks, as far as that can be seen before anybody has looked at the request."""

    proof: int  # what stands for the header that proves who it is; 0 where there is none
    network: str


NOBODY = Caller(0, "")
Lane = UUID | str  # of an account, or of the strangers of a network


class Place:
    """A place among the requests that are worked on."""

    __slots__ = ("_gate", "_held", "caller", "lane")

    def __init__(self, gate: "Gate", caller: Caller, lane: Lane) -> None:
        self._gate = gate
        self._held = True
        self.caller = caller
        self.lane = lane

    @property
    def held(self) -> bool:
        """Whether it has not been given to another one yet."""
        return self._held

    def let_go(self) -> None:
        """Give the place to another request; the second time nothing happens."""
        if self._held:
            self._held = False
            self._gate.leave(self.lane)

    def prove(self, account_id: UUID) -> None:
        """Have the caller's next requests stand in their account's line: they have just proven that it is theirs."""
        if self.caller.proof:
            self._gate.know(self.caller.proof, account_id)


class Waiting(msgspec.Struct, eq=False):
    """A request that waits for a place: what begins it, what refuses it, and since when it waits."""

    begin: Callable[[Place], None]
    refuse: Callable[[], None]
    since: float
    gone: Callable[[], bool]
    caller: Caller


class Gate:
    """Lets so many requests in at once, and so many wait; `name` tells in figures what it is for.

    A burst that comes to its end within `burst` seconds is waited for: each of its requests will be served by then. A queue that
    has stood for longer is an overload: there nobody waits for more than `seconds`, as what is served late is served to nobody.

    Each account has a line of its own, and so have the strangers of each network: whoever shows what has lately been accepted
    here stands in their account's. A line has at most `share` of the places, the line with the fewest is next, and where the
    queue is full the longest line makes room: one account's flood, or strangers', takes nobody else's turn.
    """

    def __init__(
        self, name: str, places: int, queue: int, seconds: float, burst: float, *, share: int | None = None
    ) -> None:
        self._shed = SHED.labels(name)
        self.places = places
        self.queue = queue
        self.seconds = seconds
        self.burst = burst
        self.share = places if share is None else share
        self._stands_since = 0.0
        self.taken = 0
        self.refused = 0
        self.waiting = 0
        self._held: Counter[Lane] = Counter()
        self._lines: dict[Lane, deque[Waiting]] = {}
        self._accounts: OrderedDict[int, UUID] = OrderedDict()
        self._clearing: asyncio.TimerHandle | None = None
        self._told = (time.monotonic(), 0)

    @property
    def full(self) -> bool:
        """Whether neither a place nor room in the queue is left."""
        return self.taken >= self.places and self.waiting >= self.queue

    def know(self, proof: int, account_id: UUID) -> None:
        """Remember whose a proof is, as one of the latest."""
        self._accounts[proof] = account_id
        self._accounts.move_to_end(proof)
        if len(self._accounts) > REMEMBERED:
            self._accounts.popitem(last=False)

    def lane(self, caller: Caller) -> Lane:
        """Say in which line a caller stands."""
        return self._accounts.get(caller.proof) or caller.network

    def refuses(self, caller: Caller) -> bool:
        """Whether a request that comes now would be refused."""
        return self.full and self._longer_than(self.lane(caller)) is None

    def place(self, caller: Caller = NOBODY) -> Place | None:
        """Take a place, if there is one for the caller's line and nobody waits for it."""
        lane = self.lane(caller)
        if self.waiting or self.taken >= self.places or self._held[lane] >= self.share:
            return None
        return self._taken(caller, lane)

    def enter(
        self,
        begin: Callable[[Place], None],
        refuse: Callable[[], None],
        gone: Callable[[], bool],
        caller: Caller = NOBODY,
    ) -> None:
        """Begin a request, now or in a moment, or refuse it; unless it is gone by then."""
        place = self.place(caller)
        if place is not None:
            begin(place)
        elif self.waiting < self.queue or self._has_made_room(caller):
            self._line_up(Waiting(begin, refuse, time.monotonic(), gone, caller))
        else:
            self._refuse(refuse)

    def leave(self, lane: Lane) -> None:
        """Give a place of a line to whoever waits for one."""
        self.taken -= 1
        self._held[lane] -= 1
        if not self._held[lane]:
            del self._held[lane]
        if self.waiting:
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

    def _taken(self, caller: Caller, lane: Lane) -> Place:
        self.taken += 1
        self._held[lane] += 1
        return Place(self, caller, lane)

    def _line_up(self, one: Waiting) -> None:
        if not self.waiting:
            self._stands_since = one.since
        self._lines.setdefault(self.lane(one.caller), deque()).append(one)
        self.waiting += 1
        if self.taken < self.places:
            self._go_on()
        if self.waiting and self._clearing is None:
            self._clearing = asyncio.get_running_loop().call_later(CLEAR_EVERY, self._clear)

    def _out_of(self, lane: Lane, *, newest: bool) -> Waiting:
        """Take one out of a line."""
        line = self._lines[lane]
        one = line.pop() if newest else line.popleft()
        self.waiting -= 1
        if not line:
            del self._lines[lane]
        return one

    def _longer_than(self, lane: Lane) -> Lane | None:
        """The longest line, if it has to make room for one more in this one."""
        longest = max(self._lines, key=lambda one: len(self._lines[one]), default=lane)
        return longest if self._length(longest) > self._length(lane) + 1 else None

    def _length(self, lane: Lane) -> int:
        return len(self._lines.get(lane, ()))

    def _has_made_room(self, newcomer: Caller) -> bool:
        """Refuse who has waited longest in the longest line, if that is longer than the newcomer's."""
        longest = self._longer_than(self.lane(newcomer))
        if longest is None:
            return False
        self._refuse(self._out_of(longest, newest=False).refuse)
        return True

    def _go_on(self) -> None:
        """Begin what waits as far as there are places; what has waited too long is refused, as it would be late.

        In a rush, which fills more than half of the queue, the newest of a line comes first: it is served soon, where in turn
        everybody would be served late.
        """
        self._refuse_late()
        while self.waiting and self.taken < self.places:
            lane = min(self._lines, key=lambda one: self._held[one])
            if self._held[lane] >= self.share:
                return
            chosen = self._out_of(lane, newest=self.waiting > self.queue // 2)
            if not chosen.gone():
                chosen.begin(self._taken(chosen.caller, lane))

    def _refuse_late(self) -> None:
        now = time.monotonic()
        longest = self.seconds if now - self._stands_since >= self.burst else self.burst
        for lane in list(self._lines):
            while lane in self._lines and now - self._lines[lane][0].since >= longest:
                late = self._out_of(lane, newest=False)
                if not late.gone():
                    self._refuse(late.refuse)

    def _clear(self) -> None:
        """Refuse what has waited too long although no place became free."""
        self._clearing = None
        self._go_on()
        if self.waiting:
            self._clearing = asyncio.get_running_loop().call_later(CLEAR_EVERY, self._clear)


# The place of the request that is being answered, where a server gave it one.
current_place: ContextVar[Place | None] = ContextVar("current_place", default=None)


def let_go() -> None:
    """Give the place of the present request to another one, as it is about to wait for something to happen."""
    place = current_place.get()
    if place is not None:
        place.let_go()
