"""Bulk actions: cancel or restart every instance that a filter finds, once the caller has confirmed how many these are."""

from typing import Any, Literal
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from auth.bearer import Access, Caller
from auth.roles import Right
from service.engine.bulk import Verb
from service.engine.events import OfAccount, record
from service.engine.states import TRANSITIONS
from service.errors import BulkActionConflict
from service.limits import space
from service.operations.inputs import unstorable_fields
from service.operations.instance_lists import Filters, conditions
from service.operations.pages import Page, binding, cut, position
from tenancy.errors import BadRequest, NotFound
from tenancy.rows import current_connection

MOST_INSTANCES = 100_000  # of one bulk action
MOST_RUNNING = 10  # bulk actions of one account

Status = Literal["running", "completed", "cancelled"]

COLUMNS = """id, verb, options, filters, status, total, done, skipped, failed, created_by, created_by_name, created_at,
ended_at"""

# Instances that have been restarted once are not restarted again, so the same bulk action twice does nothing twice.
APPLIES: dict[Verb, str] = {
    "cancel": "ended_at IS NULL",
    "restart": f"status IN ({', '.join(repr(one.value) for one in TRANSITIONS['restart'])}) AND restarted_as IS NULL",
}

LOCK_ACCOUNT = "SELECT id FROM account WHERE id = $1 FOR NO KEY UPDATE"
CREATE = f"""
INSERT INTO bulk_action (id, account_id, verb, options, filters, created_by, created_by_name, status, created_at,
                         leased_until)
SELECT $2, $1, $3, $4, $5, $6, $7, 'running', clock_timestamp(), clock_timestamp()
WHERE (SELECT count(*) FROM bulk_action WHERE account_id = $1 AND status = 'running') < {MOST_RUNNING}
RETURNING id
"""
BEGIN = f"""
UPDATE bulk_action SET total = $3, status = CASE WHEN $3 = 0 THEN 'completed' ELSE 'running' END,
       ended_at = CASE WHEN $3 = 0 THEN clock_timestamp() END
WHERE account_id = $1 AND id = $2 RETURNING {COLUMNS}
"""
STOP = f"""
UPDATE bulk_action SET status = 'cancelled', ended_at = clock_timestamp()
WHERE account_id = $1 AND id = $2 AND status = 'running' RETURNING {COLUMNS}
"""
GET = f"SELECT {COLUMNS} FROM bulk_action WHERE account_id = $1 AND id = $2"


class Wanted(msgspec.Struct, frozen=True):
    """What a caller wants done: the verb with its options, to which instances, and how many they take these to be.

    `said` is the filter in the caller's own words, to be told with the bulk action.
    """

    verb: Verb
    options: dict[str, Any]
    filters: Filters
    said: dict[str, Any]
    confirmed: int | None = None


class Answer(msgspec.Struct, frozen=True):
    """How many instances the filter finds, and the bulk action if that was confirmed."""

    matched: int
    action: asyncpg.Record | None = None


async def begin(access: Access, wanted: Wanted) -> Answer:
    """Begin a bulk action if the caller has confirmed how many instances it is for; otherwise say how many and do nothing.

    The instances are fixed now: what is started later is not among them.

    Raises:
        BadRequest: there are more than 100,000, or a text cannot be stored.
        BulkActionConflict: ten bulk actions of the account run already.
        LimitReached: instances are to be restarted, and the account may start none.
    """
    full = await space.refusal_of_start(access.account_id) if wanted.verb == "restart" else None
    async with access.rows(Right.OPERATE) as caller:
        errors = unstorable_fields(wanted.options)
        if errors:
            raise BadRequest(errors=tuple(errors))
        where, arguments = conditions(caller.account_id, wanted.filters)
        where += f" AND {APPLIES[wanted.verb]}"
        matched = await _counted(where, arguments)
        if wanted.confirmed != matched:
            return Answer(matched)
        if full is not None:
            raise full
        action_id = await _created(caller, wanted)
        chosen = await _chosen(action_id, where, arguments)
        if chosen != matched:  # some have ended since they were counted, or begun
            await current_connection().execute("DELETE FROM bulk_action WHERE id = $1", action_id)
            return Answer(chosen)
        (row,) = await current_connection().fetch(BEGIN, caller.account_id, action_id, chosen)
        await record(
            OfAccount(caller.account_id),
            "bulk_action.started",
            caller.id,
            bulk_action_id=str(action_id),
            verb=wanted.verb,
            filters=wanted.said,
            options=wanted.options,
            total=chosen,
        )
        return Answer(matched, row)


async def get(access: Access, action_id: UUID) -> asyncpg.Record:
    """Return a bulk action with how far it is.

    Raises:
        NotFound: no such bulk action.
    """
    async with access.rows(Right.OPERATE) as caller:
        row = await current_connection().fetchrow(GET, caller.account_id, action_id)
        if row is None:
            raise NotFound
        return row


async def get_list(access: Access, status: Status | None, size: int, ctoken: str | None) -> Page:
    """Return a page of bulk actions, newest first; of those that have a status, where one is given.

    Raises:
        PageTokenRefused: the token is not of this list.
    """
    async with access.rows(Right.OPERATE) as caller:
        bound_to = binding(caller.account_id, "bulk actions", status)
        begin = position(ctoken, bound_to)
        where, arguments = "account_id = $1", [caller.account_id, size + 1]
        if status is not None:
            arguments.append(status)
            where += " AND status = $3"
        if begin is not None:
            where += f" AND (created_at, id) < (${len(arguments) + 1}, ${len(arguments) + 2})"
            arguments += [begin.at, begin.id]
        rows = await current_connection().fetch(
            f"SELECT {COLUMNS} FROM bulk_action WHERE {where} ORDER BY created_at DESC, id DESC LIMIT $2",
            *arguments,
        )
    return cut(rows, size, "created_at", bound_to)


async def cancel(access: Access, action_id: UUID) -> asyncpg.Record:
    """Stop a bulk action; what it has done stays done.

    Raises:
        NotFound: no such bulk action.
        BulkActionConflict: it has ended.
    """
    async with access.rows(Right.OPERATE) as caller:
        connection = current_connection()
        present = await connection.fetchrow(GET, caller.account_id, action_id)
        if present is None:
            raise NotFound
        row = await connection.fetchrow(STOP, caller.account_id, action_id)
        if row is None:
            raise BulkActionConflict(
                f"The bulk action has ended ({present['status']}) and cannot be cancelled."
            )
        await connection.execute(
            "DELETE FROM bulk_target WHERE account_id = $1 AND bulk_action_id = $2",
            caller.account_id,
            action_id,
        )
        await record(
            OfAccount(caller.account_id), "bulk_action.cancelled", caller.id, bulk_action_id=str(action_id)
        )
        return row


async def _counted(where: str, arguments: list[Any]) -> int:
    """Count the instances that a bulk action is for.

    Raises:
        BadRequest: there are more than 100,000.
    """
    found: int = await current_connection().fetchval(
        f"SELECT count(*) FROM (SELECT FROM instance WHERE {where} LIMIT {MOST_INSTANCES + 1}) AS first_ones",
        *arguments,
    )
    if found > MOST_INSTANCES:
        message = (
            f"A bulk action is for at most {MOST_INSTANCES} instances, and more match: narrow the filter."
        )
        raise BadRequest(message)
    return found


async def _created(caller: Caller, wanted: Wanted) -> UUID:
    """Write a bulk action that has no instances yet.

    Raises:
        BulkActionConflict: ten run already.
    """
    await current_connection().execute(LOCK_ACCOUNT, caller.account_id)  # so that nobody counts meanwhile
    action_id: UUID | None = await current_connection().fetchval(
        CREATE,
        caller.account_id,
        uuid7(),
        wanted.verb,
        msgspec.json.encode(wanted.options).decode(),
        msgspec.json.encode(wanted.said).decode(),
        caller.id,
        caller.name,
    )
    if action_id is None:
        raise BulkActionConflict(
            f"{MOST_RUNNING} bulk actions of the account run already; wait, or cancel one."
        )
    return action_id


async def _chosen(action_id: UUID, where: str, arguments: list[Any]) -> int:
    """Write down which instances a bulk action is for; say how many they are."""
    place = len(arguments) + 1
    written = await current_connection().execute(
        f"INSERT INTO bulk_target (account_id, bulk_action_id, instance_id) SELECT $1, ${place}, id FROM instance"
        f" WHERE {where} LIMIT {MOST_INSTANCES + 1}",
        *arguments,
        action_id,
    )
    return int(written.rpartition(" ")[2])
