"""Event triggers: what starts a workflow whenever an event of a kind comes, what came of it, and how events come.

They are written in expr-lang (`service.language.expr`): a filter over the event's payload, and an expression for each
variable that the workflow gets. The engine has them meet events (`service.engine.event_triggers`).
"""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from auth.bearer import Access
from auth.roles import Right
from service.engine import event_triggers as engine
from service.engine.event_triggers import BusEvent, Tested
from service.engine.events import OfAccount, Subject, record
from service.language.cloudevents import LARGEST_EVENT
from service.language.expr import ExprRefused, read
from service.language.sandbox import Sandbox
from service.language.values import is_deep
from service.limits import space
from service.operations.inputs import unstorable_fields
from service.operations.instance_lists import Key, filled
from service.operations.instances import starter
from service.operations.pages import Edge, Row, Window, window
from tenancy.errors import BadRequest, FieldError, NotFound, TooLarge
from tenancy.rows import current_connection

MOST_TRIGGERS = 500  # of an account
MOST_VARIABLES = 50  # of a trigger
LONGEST_NAME = 255  # of a trigger, a variable, a type of events, a version, an application, a key
LARGEST_TRIGGER = 65_536  # bytes of its expressions together

COLUMNS = "id, workflow_id, name, event, version, filter, vars, created_at"
INSERT = f"""
INSERT INTO event_trigger (id, account_id, workflow_id, name, event, version, filter, vars, created_at, created_by,
                           created_by_name)
SELECT $3, account_id, id, $4, $5, $6, $7, $8, $9, $10, $11 FROM workflow
WHERE account_id = $1 AND id = $2 AND status <> 'archived'
RETURNING {COLUMNS}
"""
GET = f"SELECT {COLUMNS} FROM event_trigger WHERE account_id = $1 AND id = $2 AND deleted_at IS NULL"
COUNT = "SELECT count(*) FROM event_trigger WHERE account_id = $1 AND deleted_at IS NULL"
DELETE = """
UPDATE event_trigger SET deleted_at = now() WHERE account_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING workflow_id
"""
LIST = f"""
SELECT {COLUMNS} FROM event_trigger
WHERE account_id = $1 AND deleted_at IS NULL AND ($2::text IS NULL OR strpos(lower(name), lower($2)) > 0) {{after}}
ORDER BY created_at {{order}}, id {{order}} LIMIT $3
"""
KNOWN = "SELECT EXISTS (SELECT FROM event_trigger WHERE account_id = $1 AND id = $2)"
# Senders see what became of their own instances alone.
OCCURRENCES = """
SELECT met.id, met.trigger_id, met.at, met.event, met.error, met.instance_id, started.workflow_id, started.started_at,
       started.last_modified_at, started.ended_at, started.status, started.fault
FROM trigger_occurrence AS met
LEFT JOIN instance AS started ON started.account_id = met.account_id AND started.id = met.instance_id
WHERE met.account_id = $1 AND met.trigger_id = $2 AND ($3::uuid IS NULL OR started.started_by = $3) {after}
ORDER BY met.at {order}, met.id {order} LIMIT $4
"""


class NewTrigger(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger as it is asked for; an empty filter is none, and so are an empty name and version."""

    event: str
    workflow_id: UUID
    name: str = ""
    version: str = ""
    filter: str = ""
    vars: dict[str, str] = {}


class Received(msgspec.Struct, frozen=True):
    """An event with everything it must hold, and how many triggers take events of its type and version."""

    event: BusEvent
    triggers: int


async def create(access: Access, sandbox: Sandbox, new: NewTrigger) -> Row:
    """Make a trigger of a workflow: from now on it meets the events of its kind.

    Raises:
        BadRequest: a text is missing or too long, an expression is none or not supported, or there are too many triggers.
        NotFound: no such workflow, or it is archived.
    """
    async with access.rows(Right.OPERATE):
        pass  # an account's sandbox is spent for its own callers alone
    errors = misfits(new) or await unreadable(access.account_id, sandbox, new)
    if errors:
        raise BadRequest("The trigger cannot be made.", errors=tuple(errors))
    async with access.alone(Right.OPERATE) as caller:
        connection, account_id = current_connection(), caller.account_id
        space.refuse_storing(account_id)
        if await connection.fetchval(COUNT, account_id) >= MOST_TRIGGERS:
            raise BadRequest(f"An account has at most {MOST_TRIGGERS} triggers; delete some first.")
        row = await connection.fetchrow(
            INSERT,
            account_id,
            new.workflow_id,
            uuid7(),
            new.name or None,
            new.event,
            new.version or None,
            new.filter or None,
            msgspec.json.encode(new.vars).decode(),
            datetime.now(UTC),
            caller.id,
            caller.name,
        )
        if row is None:
            raise NotFound("The workflow does not exist.")
        await noted(row, account_id, caller.id, "event_trigger.created")
        return row


async def get(access: Access, trigger_id: UUID) -> Row:
    """Return a trigger.

    Raises:
        NotFound: no such trigger.
    """
    async with access.rows(Right.READ):
        return await found(access.account_id, trigger_id)


async def delete(access: Access, trigger_id: UUID) -> None:
    """Have a trigger meet no more events; what it has met stays.

    Raises:
        NotFound: no such trigger.
    """
    async with access.rows(Right.OPERATE) as caller:
        row = await current_connection().fetchrow(DELETE, caller.account_id, trigger_id)
        if row is None:
            raise NotFound
        await noted({"id": trigger_id, **row}, caller.account_id, caller.id, "event_trigger.deleted")


async def get_list(access: Access, size: int, edge: Edge | None, *, name: str | None = None) -> Window:
    """Return a page of the account's triggers, newest first; of those alone whose names contain a text, in any case."""
    async with access.rows(Right.READ):
        narrowed = LIST, (access.account_id, name or None)
        return await paged(*narrowed, ("created_at", "id"), size, edge, ("vars", "filter"))


async def occurrences(access: Access, trigger_id: UUID, size: int, edge: Edge | None) -> Window:
    """Return a page of what a trigger has met, deleted or not, newest first, with the instances that it started.

    Senders find their own instances alone.

    Raises:
        NotFound: no such trigger.
    """
    async with access.rows(Right.READ) as caller:
        if not await current_connection().fetchval(KNOWN, caller.account_id, trigger_id):
            raise NotFound
        narrowed = OCCURRENCES, (caller.account_id, trigger_id, starter(caller, None))
        return await paged(*narrowed, ("at", "met.id"), size, edge, ("event", "error", "fault"))


async def test(access: Access, sandbox: Sandbox, trigger_id: UUID, payload: dict[str, Any]) -> Tested:
    """Say what a trigger would make of an event with this payload; nothing is started.

    Raises:
        NotFound: no such trigger.
        BadRequest, TooLarge: an event could not have this payload.
    """
    async with access.rows(Right.OPERATE):
        refuse_unfit(payload, payload)
        row = await found(access.account_id, trigger_id)
    texts = variables_of(row)
    return await engine.tested(sandbox, access.account_id, row["filter"], texts, payload)


async def receive(access: Access, event: BusEvent) -> Received:
    """Take an event of the bus: the triggers of the account meet it once, whenever it comes again.

    An event without an idempotency key is another one each time.

    Raises:
        BadRequest: a text is missing or too long, or something in it cannot be stored.
        TooLarge: it has more than 64 KiB.
        LimitReached: the account stores as much as it may.
    """
    async with access.rows(Right.OPERATE) as caller:
        whole = completed(event)
        space.refuse_storing(caller.account_id)
        taking = await engine.hand_over(caller.account_id, engine.told(whole), 0)
        await record(OfAccount(caller.account_id), "event.published", caller.id, type=whole.type)
        return Received(whole, taking)


def variables_of(row: Row) -> dict[str, str]:
    """The expressions of a trigger's variables."""
    return msgspec.json.decode(row["vars"], type=dict[str, str])


# --- Looking --------------------------------------------------------------------------------------------------------


async def found(account_id: UUID, trigger_id: UUID) -> Row:
    """Read a trigger, in the open transaction.

    Raises:
        NotFound: no such trigger.
    """
    row = await current_connection().fetchrow(GET, account_id, trigger_id)
    if row is None:
        raise NotFound
    return row


async def paged(
    statement: str,
    arguments: tuple[Any, ...],
    key: tuple[str, str],
    size: int,
    edge: Edge | None,
    large: tuple[str, ...],
) -> Window:
    """Read a page of what a statement finds by the columns of a time and an id, newest first; `large` ones make it short."""
    at, identifier = key

    async def page(edge: Edge | None) -> tuple[list[Any], Key | None]:
        backwards = edge is not None and edge.backwards

        async def fetch(after: Key | None, take: int) -> list[asyncpg.Record]:
            place = len(arguments) + 2
            compared = f"AND ({at}, {identifier}) {'>' if backwards else '<'} (${place}, ${place + 1})"
            text = statement.format(after=compared if after else "", order="" if backwards else "DESC")
            return await current_connection().fetch(text, *arguments, take, *(after or ()))

        begin = None if edge is None else (edge.at, edge.id)
        rows, more = await filled(
            fetch, at, begin, size, weigh=lambda row: sum(len(row[one] or "") for one in large)
        )
        return rows, (rows[-1][at], rows[-1]["id"]) if more else None

    return await window(page, at, edge)


# --- What can be taken ----------------------------------------------------------------------------------------------


def misfits(new: NewTrigger) -> list[FieldError]:
    """List what of a trigger is missing, too long or cannot be stored."""
    named = {"event": new.event, "name": new.name, "version": new.version}
    errors = [] if new.event else [FieldError("FIELD_REQUIRED", "missing event", "event")]
    errors += too_long({**named, **{f"vars/{name}": name for name in new.vars}})
    errors += unstorable_fields({**named, "filter": new.filter, "vars": new.vars})
    if len(new.vars) > MOST_VARIABLES:
        errors.append(
            FieldError("FIELD_INVALID", f"a trigger has at most {MOST_VARIABLES} variables", "vars")
        )
    if len(msgspec.json.encode([new.filter, new.vars])) > LARGEST_TRIGGER:
        message = f"the expressions of a trigger have at most {LARGEST_TRIGGER} bytes together"
        errors.append(FieldError("FIELD_INVALID", message, "vars"))
    return errors


def too_long(fields: dict[str, str]) -> list[FieldError]:
    """List the fields with more than 255 characters."""
    message = f"must have at most {LONGEST_NAME} characters"
    return [
        FieldError("FIELD_INVALID", message, name[:LONGEST_NAME])
        for name, text in fields.items()
        if len(text) > LONGEST_NAME
    ]


async def unreadable(account_id: UUID, sandbox: Sandbox, new: NewTrigger) -> list[FieldError]:
    """List which expressions of a trigger are none, with their places, and which patterns in them cannot be run."""
    errors, patterns = [], dict[str, str]()
    texts = {"filter": new.filter} if new.filter else {}
    for place, text in (texts | {f"vars/{name}": text for name, text in new.vars.items()}).items():
        try:
            patterns |= dict.fromkeys(read(text).patterns, place)
        except ExprRefused as error:
            errors.append(FieldError("FIELD_INVALID", f"error compiling expression: {error}", place))
    for pattern, place in patterns.items():
        if await sandbox.check_schema(account_id, {"pattern": pattern}) is not None:
            message = f"the pattern {pattern!r} is not supported (no look-around, back-references or huge repetitions)"
            errors.append(FieldError("FIELD_INVALID", message, place))
    return errors


def completed(event: BusEvent) -> BusEvent:
    """Fill in what the sender of an event left out.

    Raises:
        BadRequest: a text is missing or too long, or something in it cannot be stored.
        TooLarge: it has more than 64 KiB.
    """
    whole = msgspec.structs.replace(
        event,
        idempotency_key=event.idempotency_key or str(uuid4()),
        date=event.date or datetime.now(UTC).isoformat().replace("+00:00", "Z"),
    )
    fields: dict[str, Any] = msgspec.structs.asdict(whole)
    errors = [] if whole.type else [FieldError("FIELD_REQUIRED", "missing type", "type")]
    errors += too_long({name: text for name, text in fields.items() if name != "payload"})
    if errors:
        raise BadRequest("The event cannot be taken.", errors=tuple(errors))
    refuse_unfit(whole, fields)
    return whole


def refuse_unfit(event: Any, fields: dict[str, Any]) -> None:
    """Refuse an event, or a payload, that could not be kept.

    Raises:
        BadRequest: something in it cannot be stored.
        TooLarge: it has more than 64 KiB.
    """
    errors = unstorable_fields(fields if is_deep(fields) else engine.with_digits(fields))
    if errors:
        raise BadRequest("The event cannot be taken.", errors=tuple(errors))
    if len(msgspec.json.encode(event)) > LARGEST_EVENT:
        raise TooLarge(f"An event has at most {LARGEST_EVENT} bytes.")


async def noted(row: Row, account_id: UUID, caller_id: UUID, kind: str) -> None:
    """Write down what was done with a trigger, in the open transaction."""
    await record(Subject(account_id, row["workflow_id"]), kind, caller_id, trigger_id=row["id"])
