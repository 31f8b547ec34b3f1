"""What happened in an account: who changed what, when, and on which request; read by page, or exported whole.

Events are read in the order of their time, those of one instance in the order of their commits. A page looks at 10,000 of
them at the most, so that a filter which few events meet costs no more than one which all do: a page may hold less than it
could, or nothing, and still have a next one.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import asyncpg
import msgspec

from auth.bearer import Access, Caller
from auth.roles import Right
from service.errors import PageTokenRefused
from service.operations.looking import Look
from service.operations.pages import Page, Position, Row, binding, position, token
from tenancy.errors import BadRequest, FieldError
from tenancy.rows import current_connection

EXPORTED = 1_000  # events that an export holds at once
LARGEST_ID = 2**63 - 1

ActorKind = Literal["user", "client", "operator", "engine"]

PLACE = "event.at, event.id, event.written_in::text::bigint AS written_in"
COLUMNS = f"""{PLACE}, event.account_id, event.workflow_id, event.instance_id, event.type, event.actor,
event.actor_kind, event.acting_client, event.request_id, event.data, event.before, event.after"""

# A name is the one that the actor has now: events are kept, and what people are called is not theirs to keep.
READ = f"""{COLUMNS}, coalesce(
    (SELECT name FROM app_user WHERE event.actor_kind = 'user' AND app_user.id = event.actor),
    (SELECT name FROM client WHERE event.actor_kind = 'client' AND client.id = event.actor)) AS actor_name"""

# Kinds of things that belong to the account itself: their events are found without looking at all instances'.
OF_NO_INSTANCE = {
    *("account", "bulk_action", "client", "consent", "event", "event_trigger", "invitation", "member"),
    *("schedule", "secret", "token", "webhook", "workflow"),
}

KINDS = sorted(OF_NO_INSTANCE | {"instance", "work_item"})

# The column, or the field of the data, in which an event names what it is about, by the first word of its type. Of other
# kinds it is the field of the kind's own name: `client_id`, `work_item_id`.
COLUMNS_NAMING = {"account": "account_id", "instance": "instance_id", "workflow": "workflow_id"}
FIELDS_NAMING = {
    "consent": "client_id",
    "event_trigger": "trigger_id",
    "member": "user_id",
    "secret": "name",
    "token": "grant_id",
}


# SQL with a `{}` for each of the values that follow it.
Condition = tuple[Any, ...]


class Filters(msgspec.Struct, frozen=True):
    """What is read: events of an actor, of types, about a thing, from a moment on and before another, of a request."""

    actor_id: UUID | None = None
    actor_kind: ActorKind | None = None
    type: str | None = None
    subject_kind: str | None = None
    subject_id: str | None = None
    since: datetime | None = None
    before: datetime | None = None
    request_id: UUID | None = None


class Place(msgspec.Struct, frozen=True):
    """Where the reading of events goes on: behind this one; `written_in` is 0 where they are read by time."""

    at: datetime
    id: int
    written_in: int = 0

    @property
    def packed(self) -> UUID:
        """Write ids as one, which a page token has room for."""
        return UUID(int=self.written_in << 64 | self.id)


class Batch(msgspec.Struct, frozen=True):
    """Events that were read, and where to go on; None at the end."""

    rows: list[asyncpg.Record]
    next: Place | None


async def get_list(access: Access, filters: Filters, size: int, ctoken: str | None) -> Page:
    """Return a page of an account's events, newest first.

    Raises:
        BadRequest: an id of a subject without its kind.
        PageTokenRefused: the token is not of this list.
    """
    async with access.rows(Right.OVERSEE) as caller:
        filters = checked(filters)
        bound_to = binding(caller.account_id, "audit", filters)
        batch = await read(caller, filters, place(position(ctoken, bound_to)), size, newest_first=True)
    if batch.next is None:
        return Page(batch.rows, None, size)
    return Page(batch.rows, token(Position(batch.next.at, batch.next.packed, None, bound_to)), size)


async def export(access: Access, filters: Filters) -> AsyncIterator[list[asyncpg.Record]]:
    """Yield an account's events, oldest first, up to the moment of the call or the filter's, 1,000 at a time.

    The first lot is read before anything is sent, so that a caller who may not is refused; each is read in a transaction
    of its own, so a reader may take all the time of the world, and a token that is revoked meanwhile ends the export.

    Raises:
        BadRequest: as for `get_list`.
    """
    now = datetime.now(UTC)
    after: Place | None = None
    while True:
        async with access.rows(Right.OVERSEE) as caller:
            filters = checked(filters)
            filters = msgspec.structs.replace(filters, before=min(filters.before or now, now))
            batch = await read(caller, filters, after, EXPORTED, newest_first=False)
        yield batch.rows
        if batch.next is None:
            return
        after = batch.next


def checked(filters: Filters) -> Filters:
    """Return filters with times and ids in their one form.

    Raises:
        BadRequest: no such kind of subject; an id of a subject without its kind, or that is none of that kind; a time without
            its zone.
    """
    kind, subject = filters.subject_kind, filters.subject_id
    if kind is not None and kind not in KINDS:
        raise refused("subject_kind", "FIELD_INVALID", f"must be one of: {', '.join(KINDS)}")
    if subject is not None and kind is None:
        raise refused("subject_kind", "FIELD_REQUIRED", "goes with subject_id: say what kind of thing it is")
    try:
        subject = None if subject is None else str(UUID(subject))
    except ValueError:  # a name
        if kind in COLUMNS_NAMING:
            raise refused("subject_id", "FIELD_INVALID", "is not a UUID") from None
    times = {"since": moment("from", filters.since), "before": moment("to", filters.before)}
    return msgspec.structs.replace(filters, subject_id=subject, **times)


def moment(target: str, at: datetime | None) -> datetime | None:
    """Return a time in UTC.

    Raises:
        BadRequest: it tells no zone, or lies outside of the calendar there.
    """
    if at is None:
        return None
    if at.tzinfo is None:
        raise refused(target, "FIELD_INVALID", "tells no zone: write it as in 2026-05-04T09:30:00Z")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise refused(target, "FIELD_INVALID", "lies outside of the calendar") from None


def refused(target: str, code: str, message: str) -> BadRequest:
    """Say what is wrong with a filter."""
    return BadRequest(f"The filter {target} {message}.", errors=(FieldError(code, message, target),))


def place(begin: Position | None) -> Place | None:
    """Read where a page begins.

    Raises:
        PageTokenRefused: the token was forged: no event has such a number.
    """
    if begin is None:
        return None
    written_in, identifier = divmod(begin.id.int, 2**64)
    if identifier > LARGEST_ID:
        raise PageTokenRefused
    return Place(begin.at, identifier, written_in)


async def read(
    caller: Caller, filters: Filters, after: Place | None, size: int, *, newest_first: bool
) -> Batch:
    """Read the next events in the open transaction; one round trip, or two where filters leave much out.

    Raises:
        PageTokenRefused: the token goes on in the other order: its work item has gone meanwhile.
    """
    instance_id = await instance_of(filters)
    if after is not None and (after.written_in > 0) != (instance_id is not None):
        raise PageTokenRefused
    asked = look(caller.account_id, filters, after, instance_id, newest_first=newest_first)
    rows = await asked.read(READ, size + 1)
    last = rows[size - 1] if len(rows) > size else await asked.stopped_at(PLACE)
    written_in = 0 if last is None or instance_id is None else last["written_in"]
    return Batch(rows[:size], Place(last["at"], last["id"], written_in) if last else None)


async def instance_of(filters: Filters) -> UUID | None:
    """Say which instance the events are asked of: it has an index of its own, and so a work item is found that it has."""
    try:
        subject = None if filters.subject_id is None else UUID(filters.subject_id)
    except ValueError:  # a name
        return None
    if subject is None or filters.subject_kind != "work_item":
        return subject if filters.subject_kind == "instance" else None
    found: UUID | None = await current_connection().fetchval(
        "SELECT instance_id FROM work_item WHERE id = $1", subject
    )
    return found


def look(
    account_id: UUID, filters: Filters, after: Place | None, instance_id: UUID | None, *, newest_first: bool
) -> Look:
    """Write what is to be read as SQL."""
    way, sign = ("DESC", "<") if newest_first else ("ASC", ">")
    narrowing = kept(filters)
    if instance_id is None:
        filters = (
            filters if after is None else without_bound_before(filters, after.at, newest_first=newest_first)
        )
        order, indexed = "event.at", [("event.account_id = {}", account_id), *found(filters)]
    else:
        order = "event.written_in"
        indexed = [("event.account_id = {}", account_id), ("event.instance_id = {}", instance_id)]
        narrowing += found(filters)
    if after is not None and instance_id is not None:
        place = after.written_in, after.id
        indexed.append((f"(event.written_in, event.id) {sign} ({{}}::bigint::text::xid8, {{}})", *place))
    elif after is not None:
        indexed.append((f"(event.at, event.id) {sign} ({{}}, {{}})", after.at, after.id))
    where, arguments = written(indexed)
    asked, more = written(narrowing, len(arguments))
    return Look("event", f"{order} {way}, event.id {way}", where, arguments, asked, more)


def without_bound_before(filters: Filters, at: datetime, *, newest_first: bool) -> Filters:
    """Leave out the bound that lies before the place where a page begins.

    Of two bounds of one side PostgreSQL begins at either, and went through all 50,000 events between them to the 1,000th page.
    """
    if newest_first and filters.before is not None and at < filters.before:
        return msgspec.structs.replace(filters, before=None)
    if not newest_first and filters.since is not None and at >= filters.since:
        return msgspec.structs.replace(filters, since=None)
    return filters


def found(filters: Filters) -> list[Condition]:
    """What goes along an index of times, as conditions and their values."""
    conditions: list[Condition] = []
    if filters.since is not None:
        conditions.append(("event.at >= {}", filters.since))
    if filters.before is not None:
        conditions.append(("event.at < {}", filters.before))
    if filters.request_id is not None:
        conditions.append(("event.request_id = {}", filters.request_id))
    kind = filters.subject_kind or (filters.type or "").partition(".")[0]
    if kind in OF_NO_INSTANCE:
        conditions.append(("event.instance_id IS NULL",))
    return conditions


def kept(filters: Filters) -> list[Condition]:
    """What is asked of each event that was found."""
    conditions: list[Condition] = []
    if filters.actor_id is not None:
        conditions.append(("event.actor = {}", filters.actor_id))
    if filters.actor_kind is not None:
        conditions.append(("event.actor_kind = {}", filters.actor_kind))
    if filters.type is not None:
        conditions.append(("event.type = {}", filters.type))
    if filters.subject_kind is not None:
        conditions.append(("split_part(event.type, '.', 1) = {}", filters.subject_kind))
    if filters.subject_id is not None and filters.subject_kind is not None:
        conditions.append(naming(filters.subject_kind, filters.subject_id))
    return conditions


def naming(kind: str, identifier: str) -> Condition:
    """That an event is about this thing."""
    if kind in COLUMNS_NAMING:
        return f"event.{COLUMNS_NAMING[kind]} = {{}}", UUID(identifier)
    return "event.data ->> {} = {}", FIELDS_NAMING.get(kind, f"{kind}_id"), identifier


def written(conditions: list[Condition], before: int = 0) -> tuple[str, list[Any]]:
    """Write conditions as SQL and their values as its arguments, which so many others stand before."""
    parts, arguments = [], list[Any]()
    for text, *values in conditions:
        first = before + len(arguments) + 1
        parts.append(text.format(*(f"${number}" for number in range(first, first + len(values)))))
        arguments += values
    return " AND ".join(parts), arguments


def subject_id(row: Row) -> str | None:
    """Say what an event is about, by the id or name that its kind has; None where it has none."""
    kind = row["type"].partition(".")[0]
    if kind in COLUMNS_NAMING:
        return None if row[COLUMNS_NAMING[kind]] is None else str(row[COLUMNS_NAMING[kind]])
    found = msgspec.json.decode(row["data"]).get(FIELDS_NAMING.get(kind, f"{kind}_id"))
    return found if isinstance(found, str) else None
