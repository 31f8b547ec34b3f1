"""Asks people: opens the work items that instances wait for, and lets decisions, dates and ends close them (contract 10.5).

Whoever ends a work item holds its instance's row: a decision, a due date and the end of the instance come one after the
other, in an order of locks that is everybody's (instance, timer, work item).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from service.engine import decisions
from service.engine.decisions import Decision, Verdict, WorkItem
from service.engine.events import Subject
from service.engine.messages import Ask
from service.engine.queue import Job, enqueue, finish
from service.language.errors import Fault, fault
from service.language.people import ANY_MEMBER, Outcome, request
from tenancy.rows import current_connection, rows_of

COLUMNS = """id, account_id, workflow_id, instance_id, wait, kind, task, pointer, title, description, users, roles, outcomes,
minimum, data, form, due_at, overdue, overdue_outcome, excluded, claimed_by, claimed_by_name, claimed_at, status, outcome,
opened_at, ended_at"""

# A work item that fewer people may decide than have to has failed before it was opened. Who may are members of the account
# and the holder of the instance's URL, which nobody holds whose instance was started by another or by a schedule; the holder
# answers as the starter, and so is one person with them.
OPEN = f"""
WITH asked AS (
    SELECT * FROM json_to_recordset($4) AS item (
        id uuid, wait integer, kind text, task text, pointer text, title text, description text, users text[],
        roles text[], outcomes json, minimum integer, data json, form json, due_at timestamptz, overdue_outcome text,
        excluded uuid, too_few jsonb)
), opened AS (
    INSERT INTO work_item (account_id, workflow_id, instance_id, id, wait, kind, task, pointer, title, description,
                           users, roles, outcomes, minimum, data, form, due_at, overdue_outcome, excluded, opened_at,
                           status, output, ended_at)
    SELECT $1, $2, $3, asked.id, wait, kind, task, pointer, title, description,
           users, roles, outcomes, minimum, data, form, due_at, overdue_outcome, excluded, $5::timestamptz,
           CASE WHEN people >= minimum THEN 'open' ELSE 'failed' END,
           CASE WHEN people < minimum
                THEN jsonb_set(too_few, '{{detail}}', to_jsonb(format(too_few ->> 'detail', people))) END,
           CASE WHEN people < minimum THEN $5::timestamptz END
    FROM asked, LATERAL (SELECT count(*) FROM (
        (SELECT app_user.id FROM membership JOIN app_user ON app_user.id = membership.user_id
         WHERE membership.account_id = $1 AND membership.status = 'active' AND app_user.status = 'active'
           AND app_user.id IS DISTINCT FROM asked.excluded
           AND (ARRAY[membership.role, '{ANY_MEMBER}'] && roles OR app_user.email = ANY (users) OR app_user.id::text = ANY (users))
         LIMIT minimum)
        UNION
        SELECT started_by FROM instance
        WHERE account_id = $1 AND instance.id = $3 AND parent_id IS NULL AND schedule_id IS NULL
          AND '{decisions.PARTICIPANT}' = ANY (roles) AND excluded IS NULL
    ) AS person) AS eligible (people)
    RETURNING *
), timed AS (
    INSERT INTO timer (id, account_id, instance_id, wait, due_at, reason)
    SELECT gen_random_uuid(), account_id, instance_id, wait, due_at, 'due' FROM opened
    WHERE status = 'open' AND due_at IS NOT NULL
), told AS (
    INSERT INTO event (account_id, workflow_id, instance_id, type, data)
    SELECT account_id, workflow_id, instance_id, 'work_item.opened',
           jsonb_build_object('work_item_id', id, 'kind', kind, 'task', task)
    FROM opened WHERE status = 'open'
)
SELECT wait FROM opened WHERE status = 'failed'
"""

ANSWER = """
SELECT status, output FROM work_item WHERE instance_id = $1 AND wait = $2 AND status IN ('completed', 'failed')
"""

# The instance's row is locked before the work item's row, which the sub-select precedes: see the module's text.
LOCK = f"""
WITH held AS MATERIALIZED (
    SELECT instance.account_id, instance.id FROM work_item JOIN instance USING (account_id)
    WHERE work_item.account_id = $1 AND {{which}} AND instance.id = work_item.instance_id
    FOR NO KEY UPDATE OF instance
)
SELECT {COLUMNS} FROM work_item
WHERE account_id = $1 AND {{which}} AND instance_id = (SELECT id FROM held) FOR UPDATE
"""
LOCK_BY_ID = LOCK.format(which="work_item.id = $2")
LOCK_BY_WAIT = LOCK.format(which="work_item.instance_id = $2 AND work_item.wait = $3")

# Decisions as `decisions_of` reads them, the latest last.
TOLD = """
json_build_object('user', json_build_object('id', user_id, 'name', user_name, 'email', user_email), 'outcome', outcome,
                  'comment', comment, 'fields', fields, 'at', at)
"""
DECISIONS = f"""
SELECT json_agg({TOLD} ORDER BY at, id) FROM decision WHERE account_id = $1 AND work_item_id = $2
"""

OVERDUE = """
WITH late AS (UPDATE work_item SET overdue = true WHERE account_id = $1 AND id = $2 RETURNING *)
INSERT INTO event (account_id, workflow_id, instance_id, type, data)
SELECT account_id, workflow_id, instance_id, 'work_item.overdue', jsonb_build_object('work_item_id', id) FROM late
"""

DECIDE = f"""
WITH decided AS (
    UPDATE work_item SET status = 'completed', outcome = $3, output = $4, ended_at = $5
    WHERE account_id = $1 AND id = $2 RETURNING {COLUMNS}
), untimed AS (
    DELETE FROM timer USING decided WHERE timer.account_id = $1 AND timer.instance_id = decided.instance_id
    AND timer.wait = decided.wait
), told AS (
    INSERT INTO event (account_id, workflow_id, instance_id, type, actor, data)
    SELECT account_id, workflow_id, instance_id, 'work_item.decided', $6,
           jsonb_build_object('work_item_id', id, 'outcome', outcome) || $7::jsonb FROM decided
)
SELECT {COLUMNS} FROM decided
"""

CLOSE = """
UPDATE work_item SET status = 'cancelled', ended_at = clock_timestamp()
FROM unnest($2::uuid[], $3::int[]) AS past (instance_id, wait)
WHERE work_item.account_id = $1 AND work_item.instance_id = past.instance_id AND work_item.wait = past.wait
  AND work_item.status = 'open'
"""


def work_item_of(row: asyncpg.Record) -> WorkItem:
    """Read a work item back from a row that has the columns `COLUMNS`."""
    found = {name: row[name] for name in WorkItem.__struct_fields__}
    outcomes = msgspec.json.decode(row["outcomes"], type=tuple[Outcome, ...])
    return WorkItem(**(found | {"outcomes": outcomes}))


def decisions_of(text: str | None) -> list[Decision]:
    """Read decisions back from what `TOLD` makes of them."""
    return [] if text is None else msgspec.json.decode(text, type=list[Decision])


# --- Opening --------------------------------------------------------------------------------------------------------


async def open_items(subject: Subject, starter: UUID, asks: Sequence[Ask], at: datetime) -> None:
    """Open a work item for each effect, in the open transaction that stores the advance which had them.

    One that fewer people may decide than have to ends at once: the job that tells of it brings the task its fault.
    """
    items = [_item(ask, starter, at) for ask in asks]
    failed = await current_connection().fetch(
        OPEN,
        subject.account_id,
        subject.workflow_id,
        subject.instance_id,
        msgspec.json.encode(items).decode(),
        at,
    )
    await enqueue([Job(subject.account_id, subject.instance_id, "work_item", row["wait"]) for row in failed])


def _item(ask: Ask, starter: UUID, at: datetime) -> Mapping[str, Any]:
    wanted = request(ask.kind, ask.arguments)
    return {
        "id": uuid7(),
        "wait": ask.wait,
        "kind": ask.kind,
        "task": ask.task,
        "pointer": ask.pointer,
        "title": wanted.title,
        "description": wanted.description,
        "users": [name.lower() for name in wanted.assignees.users],
        "roles": [name.lower() for name in wanted.assignees.roles],
        "outcomes": wanted.outcomes,
        "minimum": wanted.minimum,
        "data": wanted.data,
        "form": wanted.form,
        "due_at": decisions.due_at(wanted.due, at),
        "overdue_outcome": wanted.overdue_outcome,
        "excluded": starter if wanted.exclude_starter else None,
        "too_few": _too_few(wanted.minimum, ask.pointer),
    }


def _too_few(minimum: int, pointer: str) -> Fault:
    """The fault of a request that too few may decide; its detail is a format, for how many may."""
    if minimum == 1:
        detail = "None of the assignees is an active member of the account who may decide."
        return fault("configuration", "Nobody can decide", detail, pointer)
    detail = f"{minimum} different people have to decide, and of the assignees %s may: active members of the account."
    return fault("configuration", "Too few people can decide", detail, pointer)


async def answer_of(instance_id: UUID, wait: int) -> tuple[Any, Fault | None] | None:
    """What an instance gets for a wait: the output of its work item, or the fault it failed with; None while it is open."""
    row = await current_connection().fetchrow(ANSWER, instance_id, wait)
    if row is None:
        return None
    if row["status"] == "failed":
        return None, msgspec.json.decode(row["output"], type=Fault)
    return msgspec.json.decode(row["output"]), None


# --- Deciding -------------------------------------------------------------------------------------------------------


async def locked(account_id: UUID, work_item_id: UUID) -> WorkItem | None:
    """Lock a work item and its instance in the open transaction; None if there is none.

    What is read together with a lock may be older than it, so decisions are to be read after it.
    """
    row = await current_connection().fetchrow(LOCK_BY_ID, account_id, work_item_id)
    return None if row is None else work_item_of(row)


async def decisions_on(item: WorkItem) -> list[Decision]:
    """Read the decisions on a work item in the open transaction, the latest last."""
    return decisions_of(await current_connection().fetchval(DECISIONS, item.account_id, item.id))


async def decide(
    item: WorkItem,
    verdict: Verdict,
    found: Sequence[Decision],
    at: datetime,
    *,
    actor: UUID | None,
    told: str = "{}",
) -> WorkItem:
    """End a locked work item by a verdict, and let its instance go on; `actor` None is the passing of its date.

    `told` is a JSON object with what else the event says.
    """
    given = decisions.output(item, verdict.outcome, found, at)
    text = msgspec.json.encode(given).decode()
    (row,) = await current_connection().fetch(
        DECIDE, item.account_id, item.id, verdict.outcome, text, at, actor, told
    )
    await enqueue([Job(item.account_id, item.instance_id, "work_item", item.wait)])
    return work_item_of(row)


async def due(job: Job) -> None:
    """Do what the passing of a work item's date means: mark it, and decide it where its task says so."""
    async with rows_of(job.account_id) as connection:
        row = await connection.fetchrow(LOCK_BY_WAIT, job.account_id, job.instance_id, job.wait)
        item = None if row is None else work_item_of(row)
        if item is not None and item.status == "open":
            await connection.execute(OVERDUE, item.account_id, item.id)
            if item.overdue_outcome is not None:
                verdict = Verdict(item.overdue_outcome)
                await decide(item, verdict, await decisions_on(item), datetime.now(UTC), actor=None)
        await finish([job.id])


async def close(account_id: UUID, waits: Iterable[tuple[UUID, int]]) -> None:
    """Cancel the open work items of waits that are over, each an instance and its number, in the open transaction."""
    instances, numbers = zip(*waits, strict=True)
    await current_connection().execute(CLOSE, account_id, list(instances), list(numbers))
