"""Carries what happens in accounts to their webhooks, in the background of a process; any number may share a database.

A dispatcher turns events into deliveries; a sender leases deliveries, a few of each account and endpoint, and sends them.
An endpoint whose last attempt failed has one under way at a time, so who does not answer takes no places from others.
"""

import asyncio
import contextlib
import contextvars
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Self
from uuid import UUID

from service.background import ended
from service.engine.egress import (
    USER_AGENT,
    CallError,
    Egress,
    Limits,
    Request,
    Response,
    address_of,
    readable,
)
from service.operations import webhook_sending as sending
from service.operations.webhook_sending import Due, Lease, Places, Result
from service.stopping import GRACE_SECONDS
from service.telemetry import tracing
from service.telemetry.logs import about
from service.telemetry.metrics import count_attempt
from service.webhooks.formats import message
from service.webhooks.schedule import Schedule, wish_of
from tenancy.faults import OUTAGE, SlowStatementError

logger = logging.getLogger("tutti.webhooks")

LOOK_EVERY = 0.25  # seconds between looks for new events; longer where a look takes long
LOOK_SHARE = 20  # a look may take one of so many parts of the time
LOOK_AT_ONCE = 1000  # endpoints of one look
POLL_EVERY = 1.0  # seconds between looks for deliveries whose time has come
HOP_EVERY = 0.05  # seconds between looks past accounts of which nothing is due
SWEEP_EVERY = 3600.0  # seconds
BACK_OFF = 2.0  # seconds after which work that failed is begun again
PLACES = 128  # deliveries under way at once
OF_ACCOUNT = 16  # of one account
OF_ENDPOINT = 4  # of one endpoint that answers; may be twice as many where a claim finds some under way
LEASE = timedelta(seconds=60)  # longer than an attempt can take, with the time in which its result is stored
STORED_AGAIN = (
    0.5,
    1.0,
    2.0,
    4.0,
    8.0,
)  # seconds between tries to store a success while the database is away
LIMITS = Limits(connect_seconds=5, total_seconds=15, response_bytes=256 * 1024)
ANSWER = 1024  # characters of an answer that was no success, and bytes that they are read from
GONE = 410


def clock() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


class Courier:
    """Dispatches and sends until it is stopped."""

    def __init__(
        self,
        egress: Egress,
        *,
        schedule: Schedule | None = None,
        lease: timedelta = LEASE,
        clock: Callable[[], datetime] = clock,
    ) -> None:
        self._egress = egress
        self._schedule = schedule or Schedule()
        self._lease = lease
        self._clock = clock
        self._stopping = asyncio.Event()
        self._until = 0.0
        self._wake = asyncio.Event()
        self._after = UUID(int=0)
        self._leases: dict[asyncio.Task[None], Lease] = {}
        self._background: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Work in the background for as long as the block runs."""
        self.start()
        try:
            yield self
        finally:
            await self.stop()

    def start(self) -> None:
        """Begin, in contexts of their own, as no task may think that it is in somebody's transaction."""
        self._stopping.clear()
        self._background = [
            asyncio.create_task(self._again(work), context=contextvars.Context())
            for work in (self._dispatching, self._sending, self._sweeping)
        ]

    def end(self) -> None:
        """Begin nothing new; what is under way has 4 seconds from now on."""
        if not self._stopping.is_set():
            self._until = time.monotonic() + GRACE_SECONDS
            self._stopping.set()
            self._wake.set()

    async def stop(self) -> None:
        """End; what has not ended in its 4 seconds is sent again when its lease has run out."""
        self.end()
        for under_way in (self._background, self._leases):
            await ended(under_way, self._until - time.monotonic())

    async def _again(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do one kind of work again whenever it ends before its time: the database may have been away."""
        while not self._stopping.is_set():
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - the database may come back from anything
                logger.warning("webhooks: %s; trying again in %.1f s", type(error).__name__, BACK_OFF)
                await self._pause(BACK_OFF)

    async def _pause(self, seconds: float) -> None:
        """Wait, or stop waiting when the process is to stop."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    @property
    def busy(self) -> bool:
        """Whether anything is being sent."""
        return bool(self._leases)

    # Events become deliveries

    async def _dispatching(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            if not await self.dispatch():
                await self._pause(max(LOOK_EVERY, LOOK_SHARE * (time.monotonic() - began)))

    async def dispatch(self) -> int:
        """Read the next events of every endpoint that has some; return how many there were."""
        total, after, full = 0, UUID(int=0), True
        while full and not self._stopping.is_set():
            found = await sending.behind(after, LOOK_AT_ONCE)
            full = len(found) == LOOK_AT_ONCE
            for account_id, webhook_id in found:
                total, after = total + await self._dispatch(account_id, webhook_id), webhook_id
        return total

    async def _dispatch(self, account_id: UUID, webhook_id: UUID) -> int:
        """Read the next events for one endpoint; what goes wrong with one holds up no other."""
        try:
            dispatched = await sending.dispatch(account_id, webhook_id, self._clock())
        except Exception:
            logger.exception("webhook %s of account %s: its events were not read", webhook_id, account_id)
            return 0
        if dispatched.stored:
            self._wake.set()
        return dispatched.read

    async def _sweeping(self) -> None:
        while not self._stopping.is_set():
            await sending.sweep()
            await self._pause(SWEEP_EVERY)

    # Deliveries are sent

    async def _sending(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            if not await self.send():
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL_EVERY)

    async def send(self) -> bool:
        """Begin to send what there are places for; return whether there may be more for places that are left."""
        places = self._places()
        if places.free <= 0:
            return False
        claimed = await sending.claim(self._clock(), self._lease, places)
        self._after = claimed.last
        by_account = sorted(claimed.leases, key=lambda lease: lease.account_id)
        for account_id, leases in groupby(by_account, key=lambda lease: lease.account_id):
            await self._begin(account_id, list(leases))
        if claimed.left_some and not claimed.leases:
            await self._pause(HOP_EVERY)
        return claimed.left_some

    def _places(self) -> Places:
        """Which places are left, and for whom."""
        accounts = Counter(lease.account_id for lease in self._leases.values())
        endpoints = Counter(lease.webhook_id for lease in self._leases.values())
        failing = {lease.webhook_id for lease in self._leases.values() if lease.failing}
        return Places(
            PLACES - len(self._leases),
            OF_ACCOUNT,
            OF_ENDPOINT,
            self._after,
            [account_id for account_id, taken in accounts.items() if taken >= OF_ACCOUNT],
            [one for one, taken in endpoints.items() if taken >= OF_ENDPOINT or one in failing],
        )

    async def _begin(self, account_id: UUID, leases: Sequence[Lease]) -> None:
        """Start to send deliveries of one account."""
        by_id = {lease.id: lease for lease in leases}
        for due in await sending.load(account_id, list(by_id), self._clock()):
            task = asyncio.create_task(self._deliver(due), context=contextvars.Context())
            self._leases[task] = by_id[due.id]
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._leases[task]
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its lease runs out, and somebody sends it again.
            logger.warning("webhooks: what came of a delivery was not stored: %s", type(error).__name__)

    async def _deliver(self, due: Due) -> None:
        """Make one attempt, and write down what came of it."""
        with about(due.account_id, due.instance_id), tracing.performing("POST", due.instance_id):
            result = await self._attempt(due)
        count_attempt(due.format, result.becomes, self._first_lag(due, result))
        because = await self._stored(due, result)
        if because is not None:
            logger.info("webhook %s of account %s is disabled: %s", due.webhook_id, due.account_id, because)

    @staticmethod
    def _first_lag(due: Due, result: Result) -> float | None:
        """Seconds from the event to the first attempt; None for a later one."""
        return (result.began - due.at).total_seconds() if due.attempts == 1 else None

    async def _stored(self, due: Due, result: Result) -> str | None:
        """Write down what came of an attempt; of a success again and again, as it would be sent a second time otherwise."""
        schedule = self._schedule
        for pause in STORED_AGAIN if result.delivered else ():
            try:
                return await sending.finish(due, result, schedule.patience, schedule.least)
            except (*OUTAGE, SlowStatementError) as error:
                logger.warning("webhooks: %s; storing what was delivered again", type(error).__name__)
                await self._pause(pause)
        return await sending.finish(due, result, schedule.patience, schedule.least)

    async def _attempt(self, due: Due) -> Result:
        began = self._clock()
        if not due.secrets:
            logger.error(
                "webhook %s of account %s: its secret cannot be read", due.webhook_id, due.account_id
            )
            return self._failed(due, began, error="secret", blamed=False)
        written = message(due, began)
        try:
            url = address_of(due.url)
            tracing.describe_delivery(due.webhook_id)
            headers = {**written.headers, "user-agent": USER_AGENT}
            if due.instance_id is not None:  # which is the trace, and which the message names
                headers = dict(tracing.carried(headers))
            response = await self._egress.send(Request("POST", url, headers, written.body))
            tracing.describe_answer(response.status)
        except CallError as error:
            tracing.describe_answer(error.status, error.kind)
            return self._failed(due, began, error=error.kind, answer=None)
        return self._answered(due, began, response)

    def _answered(self, due: Due, began: datetime, response: Response) -> Result:
        if 200 <= response.status < 300:
            return Result(began, self._clock(), delivered=True, status_code=response.status)
        return self._failed(
            due,
            began,
            error="status",
            status_code=response.status,
            answer=readable(response.body[:ANSWER].decode(errors="replace")),
            wish=wish_of(response.headers, self._clock()),
            gone=response.status == GONE,
        )

    def _failed(self, due: Due, began: datetime, *, wish: float = 0, **told: object) -> Result:
        """What came of an attempt that failed, and when the next one is."""
        now = self._clock()
        next_at = self._schedule.next_at(now, due.tries + 1, wish)
        return Result(began, now, delivered=False, next_at=next_at, **told)  # type: ignore[arg-type]  # named in Result
