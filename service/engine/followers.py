"""Who in this process follows events or awaits an instance, and the one poller that looks for all of them.

Its questions are few and short whatever the number of followers: the settled events of the accounts that somebody
follows, and the statuses of the instances that somebody awaits. It asks nothing when nobody does either. What followers
miss, as they are slow or have just come, they read from the table themselves, so nothing depends on what is in memory.
"""

import asyncio
import contextlib
import contextvars
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import asyncpg

from service.background import beside
from service.engine.events import FOLLOWED, Cursor, cursor_of
from service.engine.states import Status
from service.errors import TooManyFollowers, TooManyFollowersOfAccount
from service.overload import let_go
from tenancy.faults import OUTAGE, SlowStatementError
from tenancy.rows import read

logger = logging.getLogger("tutti.followers")

POLL_EVERY = 0.1  # seconds
LONGEST_REST = 1.0  # seconds; the poller rests as long as its last look took, within these limits; after a failure so long
AT_ONCE = 2000  # events that one look brings, of all accounts
ACCESS = ("member.", "client.", "consent.", "account.suspended")  # events of who may do what
BUFFERED = 200  # events that wait for one follower; one that falls behind reads them from the table
FOLLOWERS = 2000  # streams and waits of this process, each
FOLLOWERS_OF_ACCOUNT = 1000  # and of one account
READERS = (
    4  # followers of this process that read from the table at once, so that they leave connections to others
)

NOWHERE = Cursor(2**63 - 1, 0)  # behind every event, so that none is read
AWAITED = "SELECT * FROM awaited_statuses($1, $2)"
INFRASTRUCTURE = (*OUTAGE, SlowStatementError, asyncpg.PostgresError)


class Follower:
    """Who follows an account's events, or an instance's. `told` holds what came since `behind` was last set to False."""

    __slots__ = ("account_id", "behind", "closed", "instance_id", "told", "wake")

    def __init__(self, account_id: UUID, instance_id: UUID | None) -> None:
        self.account_id = account_id
        self.instance_id = instance_id
        self.told: deque[asyncpg.Record] = deque()
        self.behind = True
        self.closed = False
        self.wake = asyncio.Event()

    def tell(self, event: asyncpg.Record) -> None:
        """Keep an event for the follower, unless it has to read from the table anyway.

        Whoever follows reads, and is checked by it, when something may have changed who may.
        """
        if event["type"].startswith(ACCESS):
            self.fall_behind()
        if self.behind or self.instance_id not in (None, event["instance_id"]):
            return
        if len(self.told) == BUFFERED:
            self.fall_behind()
        else:
            self.told.append(event)
            self.wake.set()

    def fall_behind(self) -> None:
        """Have the follower read from the table."""
        self.behind = True
        self.told.clear()
        self.wake.set()

    def close(self) -> None:
        """Have the follower stop."""
        self.closed = True
        self.wake.set()


class Waiter:
    """Who awaits that an instance has one of these statuses, or is gone."""

    __slots__ = ("account_id", "instance_id", "reached", "statuses")

    def __init__(self, account_id: UUID, instance_id: UUID, statuses: frozenset[Status]) -> None:
        self.account_id = account_id
        self.instance_id = instance_id
        self.statuses = statuses
        self.reached = asyncio.Event()


class Followers:
    """All followers and waiters of this process."""

    def __init__(self) -> None:
        self.reading = asyncio.Semaphore(READERS)
        self._followers: dict[UUID, set[Follower]] = {}
        self._waiters: set[Waiter] = set()
        self._places: dict[UUID, Cursor] = {}
        self._counts = {Follower: Counter[UUID](), Waiter: Counter[UUID]()}
        self._somebody = asyncio.Event()
        self._stopping = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look for everybody for as long as the block runs; at its end everybody is told to stop."""
        try:
            async with beside(self._polling(), context=contextvars.Context()):
                yield
        finally:
            self.close()

    def close(self) -> None:
        """Have everybody stop, and whoever comes from now on."""
        self._stopping = True
        for followers in self._followers.values():
            for follower in followers:
                follower.close()
        for waiter in self._waiters:
            waiter.reached.set()

    def follow(self, account_id: UUID, instance_id: UUID | None) -> Follower:
        """Add a follower; `leave` has to be called in the end.

        Raises:
            TooManyFollowersOfAccount, TooManyFollowers: there are too many already.
        """
        self._admit(Follower, account_id)
        follower = Follower(account_id, instance_id)
        self._followers.setdefault(account_id, set()).add(follower)
        self._somebody.set()
        if self._stopping:
            follower.close()
        return follower

    def leave(self, follower: Follower) -> None:
        """Remove a follower."""
        followers = self._followers[follower.account_id]
        followers.discard(follower)
        if not followers:
            del self._followers[follower.account_id]
            self._places.pop(follower.account_id, None)
        self._dismiss(Follower, follower.account_id)

    @contextlib.contextmanager
    def awaiting(self, account_id: UUID, instance_id: UUID, statuses: frozenset[Status]) -> Iterator[Waiter]:
        """Watch an instance for as long as the block runs.

        Raises:
            TooManyFollowersOfAccount, TooManyFollowers: there are too many already.
        """
        self._admit(Waiter, account_id)
        waiter = Waiter(account_id, instance_id, statuses)
        self._waiters.add(waiter)
        self._somebody.set()
        if self._stopping:
            waiter.reached.set()
        try:
            yield waiter
        finally:
            self._waiters.discard(waiter)
            self._dismiss(Waiter, account_id)

    def _admit(self, kind: type[Follower | Waiter], account_id: UUID) -> None:
        counts = self._counts[kind]
        if counts[account_id] >= FOLLOWERS_OF_ACCOUNT:
            raise TooManyFollowersOfAccount
        if counts.total() >= FOLLOWERS:
            raise TooManyFollowers
        counts[account_id] += 1
        let_go()  # these are counted here, and not among the requests that are worked on

    def _dismiss(self, kind: type[Follower | Waiter], account_id: UUID) -> None:
        counts = self._counts[kind]
        counts[account_id] -= 1
        if not counts[account_id]:
            del counts[account_id]

    # The poller

    async def _polling(self) -> None:
        while True:
            if not self._followers and not self._waiters:
                self._somebody.clear()
                await self._somebody.wait()
            began = time.monotonic()
            try:
                more = await self._look()
                took = time.monotonic() - began
                rest = 0.0 if more else min(max(POLL_EVERY, took), LONGEST_REST)
            except INFRASTRUCTURE as error:
                logger.warning("followers: %s; looking again soon", type(error).__name__)
                rest = LONGEST_REST
            except Exception:
                logger.exception("followers: a look failed")
                rest = LONGEST_REST
            await asyncio.sleep(rest)

    async def _look(self) -> bool:
        """Tell everybody what is new; whether there may be more at once."""
        if self._waiters:
            await self._look_at_instances()
        return bool(self._followers) and await self._look_at_events()

    async def _look_at_instances(self) -> None:
        watched = list({(waiter.account_id, waiter.instance_id) for waiter in self._waiters})
        waiters = list(self._waiters)
        rows = await read(AWAITED, [account for account, _ in watched], [instance for _, instance in watched])
        statuses = {(row["account_id"], row["instance_id"]): row["status"] for row in rows}
        for waiter in waiters:
            status = statuses.get((waiter.account_id, waiter.instance_id))
            if status is None or status in waiter.statuses:
                waiter.reached.set()

    async def _look_at_events(self) -> bool:
        """Read on in every account that is followed.

        An account that was not followed before has no place yet: it gets one, and its followers read what was before it.
        """
        accounts = list(self._followers)
        places = [self._places.get(account, NOWHERE) for account in accounts]
        rows = await read(
            FOLLOWED,
            accounts,
            [str(place.written_in) for place in places],
            [place.id for place in places],
            max(1, AT_ONCE // len(accounts)),
        )
        known, more = set(self._places), False
        for row in rows:
            account_id = row["account_id"]
            followers = self._followers.get(account_id)
            if followers is None:  # they have left meanwhile
                continue
            if row["id"] is not None:
                self._places[account_id] = cursor_of(row)
                for follower in followers:
                    follower.tell(row)
            elif row["written_in"] is None:
                more = True
            else:
                self._places[account_id] = Cursor(row["written_in"], 0)
                if account_id not in known:
                    for follower in followers:
                        follower.fall_behind()
        return more
