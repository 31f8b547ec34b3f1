"""How clients learn at once of what happens: by waiting for an instance, or by following events."""

import asyncio
import contextlib
import random
import re
import time
from collections.abc import AsyncIterator
from typing import Any, Literal
from uuid import UUID

import asyncpg
import msgspec

from auth.bearer import Caller, Credential
from auth.roles import Right
from service.engine.events import BEGINNING, COLUMNS, SETTLED, Cursor, cursor_of
from service.engine.followers import Follower, Followers
from service.engine.states import Status
from service.operations import instances
from service.operations.pages import Row
from tenancy.errors import BadRequest, FieldError, Refusal
from tenancy.rows import read

Until = Literal["terminal", "waiting"]

TERMINAL = frozenset(status for status in Status if status.terminal)
# An instance that waits for something outside, and one that will not wait for anything any more.
REACHED: dict[Until, frozenset[Status]] = {
    "terminal": TERMINAL,
    "waiting": TERMINAL | {Status.WAITING, Status.SUSPENDED},
}
ENDS = tuple(f"instance.{status}" for status in sorted(TERMINAL))  # the types of an instance's last event

HEARTBEAT_SECONDS = 15.0  # of silence, after which a follower is told that nothing happened
RECHECK_SECONDS = 30.0  # after which a follower's credential is held against the database again
AT_ONCE = 100  # events of one read, and of one batch
CURSOR = re.compile(r"(\d{1,18})-(\d{1,18})", re.ASCII)

# The statements check the credential each time, in one round trip (see `instances.GET`).
BEGIN = f"""
SELECT caller.*, {instances.SEEN}, pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon,
       EXISTS (SELECT FROM event WHERE event.account_id = caller.account_id AND event.instance_id = one.id
               AND event.type = ANY ($8) AND (event.written_in, event.id) <= ($6::text::xid8, $7)) AS ended,
       EXISTS (SELECT FROM event WHERE event.account_id = caller.account_id AND event.instance_id = one.id
               AND {SETTLED} AND (event.written_in, event.id) > ($6::text::xid8, $7)) AS more
FROM enter_account($1, $2, $3) AS caller
LEFT JOIN instance AS one ON one.account_id = caller.account_id AND one.workflow_id = $4 AND one.id = $5
"""
OF_INSTANCE = f"""
SELECT caller.*, {instances.SEEN}, told.*
FROM enter_account($1, $2, $3) AS caller (verdict, tenant, principal_id, principal_name, role)
LEFT JOIN instance AS one ON one.account_id = caller.tenant AND one.workflow_id = $4 AND one.id = $5
LEFT JOIN LATERAL (
    SELECT {COLUMNS}, one.started_by FROM event
    WHERE event.account_id = caller.tenant AND event.instance_id = one.id
      AND (event.written_in, event.id) > ($6::text::xid8, $7) AND {SETTLED}
    ORDER BY event.written_in, event.id LIMIT $8
) AS told ON true
"""
OF_ACCOUNT = f"""
SELECT caller.*, caller.tenant AS found, true AS visible, told.*
FROM enter_account($1, $2, $3) AS caller (verdict, tenant, principal_id, principal_name, role)
LEFT JOIN LATERAL (
    SELECT {COLUMNS}, coalesce(its.started_by, first_actor(event.account_id, event.instance_id)) AS started_by
    FROM event LEFT JOIN instance AS its ON its.account_id = event.account_id AND its.id = event.instance_id
    WHERE event.account_id = caller.tenant AND (event.written_in, event.id) > ($4::text::xid8, $5) AND {SETTLED}
    ORDER BY event.written_in, event.id LIMIT $6
) AS told ON true
"""


class Subject(msgspec.Struct, frozen=True):
    """What is followed: an account, or an instance of a workflow of it."""

    workflow_id: UUID | None = None
    instance_id: UUID | None = None


async def wait(
    credential: Credential,
    followers: Followers,
    workflow_id: UUID,
    instance_id: UUID,
    until: Until,
    seconds: float,
) -> Row:
    """Return an instance once it has ended, or waits, or when the time is over: as it is then.

    Who waits holds no connection. Two round trips, one where there is nothing to wait for.

    Raises:
        NotFound: no such instance of that workflow.
        TooManyFollowersOfAccount, TooManyFollowers: there are too many who wait.
    """
    row = await instances.get(credential, workflow_id, instance_id)
    if row["status"] in REACHED[until]:
        return row
    with followers.awaiting(credential.account_id, instance_id, REACHED[until]) as waiter:
        try:
            async with asyncio.timeout(seconds):
                await waiter.reached.wait()
        except TimeoutError:
            pass
    return await instances.get(credential, workflow_id, instance_id)


async def wait_out(
    credential: Credential, followers: Followers, ids: tuple[UUID, UUID], seconds: float, each: float
) -> None:
    """Return when an instance has ended, or so many seconds are over; every `each` of them the credential is looked at again.

    `ids` are those of its workflow and its own. Whoever may not wait any more, or finds too many who do, returns at once.
    """
    until = time.monotonic() + seconds
    with contextlib.suppress(Refusal):
        while (left := until - time.monotonic()) > 0:
            row = await wait(credential, followers, *ids, "terminal", min(left, each))
            if row["status"] in TERMINAL:
                return


class Following:
    """One follower's way through the events: where it is, and what it may see."""

    def __init__(
        self, credential: Credential, followers: Followers, subject: Subject, position: Cursor, *, ended: bool
    ) -> None:
        self.position = position
        self._ended = ended  # whether the instance's last event has been told
        self._credential = credential
        self._followers = followers
        self._subject = subject
        self._caller: Caller | None = None  # before anything is read
        self._follower: Follower = followers.follow(credential.account_id, subject.instance_id)
        self._recheck_at = 0.0

    def close(self) -> None:
        """Have `batches` end."""
        self._follower.close()

    def leave(self) -> None:
        """Let go of what the follower holds; needed in the end."""
        self._followers.leave(self._follower)

    async def batches(self) -> AsyncIterator[list[asyncpg.Record]]:
        """Yield what happens, as it happens, in batches; an empty one where nothing has happened for a while.

        It ends with the instance, or when `close` is called.

        Raises:
            Refusal: the credential does not hold any more, or the instance is gone.
        """
        follower = self._follower
        while not follower.closed:
            if follower.behind or time.monotonic() > self._recheck_at:
                events = await self._read_on()
            else:
                events = list(follower.told)
                follower.told.clear()
            if fresh := self._passed(events):
                yield fresh
            if follower.behind or follower.told or follower.closed:
                continue
            if self._ended:
                return
            if not await self._woken():
                yield []

    async def _read_on(self) -> list[asyncpg.Record]:
        """Read the next events from the table, and check the credential by it."""
        self._follower.behind = False  # what comes from now on is told
        rows = await page(self._credential, self._followers, self._subject, self.position, AT_ONCE)
        self._caller = caller_of(self._credential, rows[0])
        self._recheck_at = time.monotonic() + RECHECK_SECONDS * random.uniform(0.7, 1.3)  # noqa: S311 - not all at once
        events = [row for row in rows if row["id"] is not None]
        if len(events) == AT_ONCE:
            self._follower.fall_behind()
        return events

    def _passed(self, events: list[asyncpg.Record]) -> list[asyncpg.Record]:
        """Go past events; return those that have not been told and that the caller may see."""
        fresh = []
        for event in events:
            if cursor_of(event) <= self.position:
                continue
            self.position = cursor_of(event)
            self._ended = self._ended or (self._subject.instance_id is not None and event["type"] in ENDS)
            if self._sees(event):
                fresh.append(event)
        return fresh

    def _sees(self, event: asyncpg.Record) -> bool:
        """Whether the caller may see an event: of an instance that they may read, or of what they may oversee."""
        if self._subject.instance_id is not None:
            return True
        caller = self._caller
        if caller is None or event["workflow_id"] is None:
            return caller is not None and caller.may(Right.OVERSEE)
        return caller.sees(event["started_by"])

    async def _woken(self) -> bool:
        """Wait until something happens; False if nothing has for a while."""
        self._follower.wake.clear()
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                await self._follower.wake.wait()
        except TimeoutError:
            return False
        return True


async def follow(
    credential: Credential, followers: Followers, subject: Subject, last: str | None
) -> Following | None:
    """Begin to follow what comes behind the event whose id was `last`; `Following.leave` is needed in the end.

    Without `last` an instance's events are told from the first on, an account's from now on. None: there is nothing to
    follow, as the instance has ended and all of it has been told.

    Raises:
        NotFound: no such instance of that workflow.
        BadRequest: `last` is no id of an event here.
        TooManyFollowersOfAccount, TooManyFollowers: there are too many who follow.
    """
    after = BEGINNING if last is None else cursor(last)
    place = after or BEGINNING
    row = await begin(credential, subject, place)
    horizon = Cursor(row["horizon"], 0)
    if after is None or after > horizon:
        message = "is not the id of an event of this service; begin again without it"
        raise BadRequest(errors=(FieldError("FIELD_INVALID", message, "Last-Event-ID"),))
    if last is None and subject.instance_id is None:
        place = horizon
    if row["ended"] and not row["more"]:
        return None
    return Following(credential, followers, subject, place, ended=row["ended"])


async def begin(credential: Credential, subject: Subject, after: Cursor) -> Row:
    """Check that the caller may follow, and read what there is behind a place.

    Raises:
        NotFound: no such instance of that workflow.
        Forbidden: another started it, and the caller is a sender.
    """
    places = (subject.workflow_id, subject.instance_id, str(after.written_in), after.id, ENDS)
    (row,) = await read(BEGIN, *credential.proof(Right.READ), *places)
    credential.refuse(row["verdict"], Right.READ)
    if subject.instance_id is not None:
        instances.refuse_unseen(row)
    return row


def cursor(text: str) -> Cursor | None:
    """Read the id of an event as clients know it; None if it is none."""
    found = CURSOR.fullmatch(text)
    return None if found is None else Cursor(int(found[1]), int(found[2]))


async def page(
    credential: Credential, followers: Followers, subject: Subject, after: Cursor, most: int
) -> list[Any]:
    """Read the next events of what is followed, at least one row: without an event's id where there are none.

    Raises:
        Unauthenticated, Forbidden, NotFound: as for any operation.
    """
    place = (str(after.written_in), after.id, most)
    async with followers.reading:
        if subject.instance_id is None:
            return await instances.seen(credential, OF_ACCOUNT, *place)
        return await instances.seen(credential, OF_INSTANCE, subject.workflow_id, subject.instance_id, *place)


def caller_of(credential: Credential, row: Row) -> Caller:
    """Who asked, as the statement found out."""
    return Caller(credential.account_id, row["principal_id"], row["principal_name"], row["role"])
