"""When workflows start by themselves (contract 6.3): at intervals, by the calendar, after the end of the last, on events.

A workflow has one schedule, that of its published version. A tick is one transaction: it starts the instance and sets the
next time, so a worker that dies loses none and two workers start none twice. Ticks that were missed, because nobody worked
or the workflow was paused, are made up for by one.
"""

import logging
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec
from cronsim import CronSim
from uuid_utils.compat import uuid7

from service.engine.beginning import New, begin, title_of
from service.engine.definitions import definition_of
from service.engine.events import Subject, record
from service.engine.subscriptions import begun
from service.language.document import Definition, Schedule
from service.language.durations import Duration, until
from service.language.inputs import with_defaults
from service.limits import space
from tenancy.faults import OUTAGE
from tenancy.rows import current_connection, read, rows_of

logger = logging.getLogger("tutti.schedules")

AT_ONCE = 500
OF_EACH = 20  # at the most, of one account
POSTPONED = timedelta(seconds=10)  # after a tick that failed, or that there was no room for
LONGEST_MONTH = timedelta(days=31)

STORE = """
INSERT INTO schedule (id, account_id, workflow_id, version_id, kind, next_at, pause, state, types, paused, started_by,
                      started_by_name)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, workflow.paused, $10, $11 FROM workflow WHERE workflow.id = $3
"""

DUE = """
SELECT schedule.*, version.published_at, clock_timestamp() AS now
FROM schedule JOIN workflow_version AS version ON version.id = schedule.version_id
WHERE schedule.account_id = $1 AND schedule.id = $2 AND schedule.next_at <= now() AND NOT schedule.paused
FOR UPDATE OF schedule SKIP LOCKED
"""

POSTPONE = """
UPDATE schedule SET next_at = now() + $3 WHERE account_id = $1 AND id = $2 AND next_at <= now()
"""


class Activation(msgspec.Struct, frozen=True):
    """A version that has just been published, when, and by whom: whoever that is starts what its schedule starts."""

    account_id: UUID
    workflow_id: UUID
    version_id: UUID
    at: datetime
    by: UUID
    by_name: str


# What becomes of a workflow's schedule when something becomes of the workflow


async def activate(new: Activation) -> None:
    """Replace a workflow's schedule by that of the version that has been published, in the open transaction."""
    await delete(new.account_id, new.workflow_id)
    definition = await definition_of(new.version_id)
    schedule = definition.schedule
    if schedule is None:
        return
    listening = None if schedule.on is None else begun(definition, schedule.on)
    schedule_id, kind = uuid7(), kind_of(schedule)
    next_at = new.at if schedule.after else next_after(schedule, new.at, new.at)
    await current_connection().execute(
        STORE,
        schedule_id,
        new.account_id,
        new.workflow_id,
        new.version_id,
        kind,
        next_at,
        None if schedule.after is None else interval(schedule.after),
        listening and listening.state,
        listening and listening.types,
        new.by,
        new.by_name,
    )
    await record(
        Subject(new.account_id, new.workflow_id),
        "schedule.set",
        new.by,
        schedule_id=schedule_id,
        after={"kind": kind, "next_at": next_at},
    )


async def pause(account_id: UUID, workflow_id: UUID, *, paused: bool) -> None:
    """Stop or resume a workflow's schedule, in the open transaction."""
    await current_connection().execute(
        "UPDATE schedule SET paused = $3 WHERE account_id = $1 AND workflow_id = $2",
        account_id,
        workflow_id,
        paused,
    )


async def delete(account_id: UUID, workflow_id: UUID) -> None:
    """Let a workflow start by itself no more, in the open transaction."""
    await current_connection().execute(
        "DELETE FROM schedule WHERE account_id = $1 AND workflow_id = $2", account_id, workflow_id
    )


# Times


def kind_of(schedule: Schedule) -> str:
    """The key that the schedule has in its definition."""
    return next(name for name in ("every", "cron", "after", "on") if getattr(schedule, name) is not None)


def next_after(schedule: Schedule, published_at: datetime, now: datetime) -> datetime | None:
    """The first tick after `now`; None where that is not a matter of the clock alone."""
    if schedule.every is not None:
        return next_multiple(schedule.every, published_at, now)
    if schedule.cron is not None:
        return next(CronSim(schedule.cron, now.astimezone(UTC)))
    return None


def next_multiple(length: Duration, start: datetime, now: datetime) -> datetime:
    """The first instant after `now` that lies a multiple of a length after `start`: months keep the day they began on."""
    passed = int((now - start) / (length.months * LONGEST_MONTH + length.rest))
    while True:
        passed += 1
        tick = until(Duration(passed * length.months, passed * length.rest), start)
        if tick > now:
            return tick


def interval(length: Duration) -> str:
    """A length as PostgreSQL's interval reads it."""
    return f"P{length.months}MT{length.rest / timedelta(seconds=1):f}S"


# Ticks


async def fire_due_schedules() -> int:
    """Start an instance for each schedule that is due, a transaction each; say how many there were."""
    due = await read("SELECT * FROM due_schedules($1, $2)", AT_ONCE, OF_EACH)
    return sum([await fire(row["account_id"], row["id"]) for row in due])


async def fire(account_id: UUID, schedule_id: UUID) -> bool:
    """Start an instance for a schedule, unless another worker does; one that fails is tried again later, alone.

    So is one of an account that may start none now.
    """
    try:
        if await space.refusal_of_start(account_id) is not None:
            async with rows_of(account_id) as connection:
                await connection.execute(POSTPONE, account_id, schedule_id, POSTPONED)
            return False
        async with rows_of(account_id) as connection:
            row = await connection.fetchrow(DUE, account_id, schedule_id)
            if row is not None:
                await tick(row, await definition_of(row["version_id"]))
            return row is not None
    except OUTAGE:
        raise
    except Exception:
        logger.exception("schedule %s of account %s failed", schedule_id, account_id)
        async with rows_of(account_id) as connection:
            await connection.execute(POSTPONE, account_id, schedule_id, POSTPONED)
        return False


async def tick(row: asyncpg.Record, definition: Definition) -> None:
    """Start an instance for a schedule whose row is locked, and say when the next one is due."""
    assert definition.schedule is not None  # noqa: S101 - it is the schedule's own
    new = New(
        id=uuid7(),
        account_id=row["account_id"],
        version_id=row["version_id"],
        name=f"{title_of(definition)} {row['next_at'].astimezone(UTC).isoformat(timespec='seconds')}",
        at=row["now"],
        started_by=row["started_by"],
        started_by_name=row["started_by_name"],
        input=with_defaults(definition.input_schema, {}),
        schedule_id=row["id"],
    )
    await begin(new, definition, schedule=str(row["id"]))
    await current_connection().execute(
        "UPDATE schedule SET next_at = $3 WHERE account_id = $1 AND id = $2",
        row["account_id"],
        row["id"],
        next_after(definition.schedule, row["published_at"], row["now"]),
    )
