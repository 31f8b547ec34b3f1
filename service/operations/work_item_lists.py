"""Lists of work items, each a keyset page along an index, and what happened to one of them.

What is assigned to a person is read along the rows of its assignees: their id, their e-mail address and their role each have
the newest, or the next due, of each state at hand, and a page merges these few beginnings.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from auth.bearer import Access, Caller, Credential
from auth.roles import Right
from service.engine.decisions import roles_of
from service.operations import work_items
from service.operations.looking import Look
from service.operations.pages import Page, Position, Row, binding, position, token
from tenancy.errors import BadRequest, FieldError, Forbidden
from tenancy.rows import current_connection

Status = Literal["open", "completed", "cancelled", "failed", "overdue"]
Whose = Literal["me", "my_roles", "claimed_by_me", "all"]
Sort = Literal["-opened_at", "opened_at", "due_at"]

UNDATED = datetime(9999, 12, 31, tzinfo=UTC)  # where a work item without a date stands in the order of dates
LAST_EVENT = 2**63 - 1

# What a list tells of each; the rest, which may be large, is read one by one.
COLUMNS = """id, account_id, workflow_id, instance_id, kind, task, pointer, title, due_at, overdue, status, outcome,
claimed_by, claimed_by_name, claimed_at, opened_at, ended_at"""
LISTED = ", ".join(f"work_item.{column.strip()}" for column in COLUMNS.split(","))
# Under row-level security an index of `coalesce` is not used: PostgreSQL does not know that it tells nothing.
DUE = f"CASE WHEN due_at IS NULL THEN '{UNDATED:%Y-%m-%d %H:%M:%S}+00' ELSE due_at END"

STATUSES = {
    "open": "status = 'open'",
    "completed": "status = 'completed'",
    "cancelled": "status = 'cancelled'",
    "failed": "status = 'failed'",
    "overdue": "status = 'open' AND overdue",
}
# The states of an assignee's row, which tell an overdue work item from one that is only open.
STATES: dict[Status | None, list[str]] = {
    "open": ["open", "overdue"],
    "completed": ["completed"],
    "cancelled": ["cancelled"],
    "failed": ["failed"],
    "overdue": ["overdue"],
    None: ["open", "overdue", "completed", "cancelled", "failed"],
}
# A list of every status is the beginnings of each status's own.
EACH_STATUS = "(VALUES ('open'), ('completed'), ('cancelled'), ('failed')) AS each (status)"
# An instance is of one workflow; its work items are found by itself.
WORKFLOW_OF_INSTANCE = "(SELECT workflow_id FROM instance WHERE account_id = $1 AND id = $2) = ${}"
EMAIL = "SELECT email FROM app_user WHERE id = $1"

# Of a work item's history, along the events of its instance.
EVENT = "event.written_in::text::bigint AS written_in, event.id"
HISTORY = f"""{EVENT}, event.type, event.at, event.actor, event.actor_kind,
coalesce((SELECT name FROM app_user WHERE event.actor_kind = 'user' AND app_user.id = event.actor),
         (SELECT name FROM client WHERE event.actor_kind = 'client' AND client.account_id = event.account_id
                                    AND client.id = event.actor)) AS actor_name,
event.data, event.before, event.after"""


class Filters(msgspec.Struct, frozen=True):
    """What a list is narrowed to, and its order; `whose` None is what the caller's role may see.

    By due date, and before one, it lists what is open; those without a date come last.
    """

    status: Status | None = None
    whose: Whose | None = None
    workflow_id: UUID | None = None
    instance_id: UUID | None = None
    due_before: datetime | None = None
    sort: Sort | None = None

    @property
    def by_due(self) -> bool:
        """Whether it is in the order of due dates."""
        return self.sort == "due_at"


class Statement(msgspec.Struct, frozen=True):
    """A statement that reads a page, and its arguments."""

    text: str
    arguments: list[Any]


async def get_list(access: Access, filters: Filters, size: int, ctoken: str | None) -> Page:
    """Return a page of work items: a sender's own, or all of the account's; newest first unless sorted otherwise.

    Raises:
        Forbidden: a sender asked for what is not assigned to them.
        BadRequest: filters that do not go together.
        PageTokenRefused: the token is not of this list.
    """
    filters = settled(filters)
    async with access.rows(Right.READ) as caller:
        whose: Whose = filters.whose or ("all" if caller.sees_all else "me")
        if whose == "all" and not caller.sees_all:
            raise Forbidden("A sender lists the work items that they may decide; the other roles list all.")
        filters = msgspec.structs.replace(filters, whose=whose)
        bound_to = binding(caller.account_id, "work items", filters, None if whose == "all" else caller.id)
        begin = position(ctoken, bound_to)
        email = await current_connection().fetchval(EMAIL, caller.id) if whose == "me" else None
        statement = listing(caller, email, filters, begin, size + 1)
        rows = await current_connection().fetch(statement.text, *statement.arguments)
    if len(rows) <= size:
        return Page(rows, None, size)
    last = rows[size - 1]
    at = (last["due_at"] or UNDATED) if filters.by_due else last["opened_at"]
    return Page(rows[:size], token(Position(at, last["id"], None, bound_to)), size)


def settled(filters: Filters) -> Filters:
    """Fill in what follows from other filters: a date wants the order of dates, and that and a claim what is open.

    Raises:
        BadRequest: one filter forbids what another asks for.
    """
    sort = filters.sort or ("due_at" if filters.due_before else "-opened_at")
    errors = []
    due_before = filters.due_before
    if due_before is not None and not is_moment(due_before):
        errors.append(
            FieldError(
                "FIELD_INVALID", "is a time with Z or an offset, such as 2030-01-31T12:00:00Z", "due_before"
            )
        )
    if filters.due_before is not None and sort != "due_at":
        errors.append(FieldError("FIELD_INVALID", "with due_before the order is due_at", "sort"))
    status = filters.status
    if sort == "due_at" or filters.whose == "claimed_by_me":
        status = status or "open"
        if status not in ("open", "overdue"):
            message = (
                "the order due_at, due_before and assigned_to=claimed_by_me list what is open or overdue"
            )
            errors.append(FieldError("FIELD_INVALID", message, "status"))
    if errors:
        raise BadRequest(errors=tuple(errors))
    return msgspec.structs.replace(filters, sort=sort, status=status)


def is_moment(time: datetime) -> bool:
    """Whether a time says which moment it is, within the calendar."""
    try:
        return time.tzinfo is not None and bool(time.astimezone(UTC))
    except OverflowError:
        return False


def listing(
    caller: Caller, email: str | None, filters: Filters, begin: Position | None, most: int
) -> Statement:
    """Write the statement that reads a page, from `begin` on."""
    if filters.whose in ("me", "my_roles") and filters.instance_id is None:
        return assigned(caller.account_id, assignees(caller, email, filters), caller.id, filters, begin, most)
    where, arguments = ["account_id = $1"], list[Any]([caller.account_id])
    for condition, value in narrowing(caller, filters):
        if value is not None:
            arguments.append(value)
            where.append(condition.format(len(arguments)))
    if filters.whose in ("me", "my_roles"):  # of one instance, which asks few things
        arguments += [assignees(caller, email, filters), caller.id]
        where.append(
            f"""EXISTS (SELECT FROM work_item_assignee AS one
            WHERE one.account_id = work_item.account_id AND work_item_id = work_item.id
              AND assignee = ANY (${len(arguments) - 1}) AND one.excluded IS DISTINCT FROM ${len(arguments)})"""
        )
    where.append("status = each.status" if filters.status is None else STATUSES[filters.status])
    key, order, beyond = ordered(filters, DUE, "id")
    if begin is not None:
        arguments += [begin.at, begin.id]
        where.append(f"({key}, id) {beyond} (${len(arguments) - 1}, ${len(arguments)})")
    each = EACH_STATUS if filters.status is None else ""
    look = Look("work_item", order, " AND ".join(where), arguments, each=each)
    return Statement(look.page(LISTED, most), arguments)


def narrowing(caller: Caller, filters: Filters) -> list[tuple[str, Any]]:
    """Write what a list is narrowed to as conditions with their values, None where nothing is asked."""
    # Behind those with a date that has passed none is overdue.
    last_due = datetime.now(UTC) if filters.by_due and filters.status == "overdue" else None
    return [
        ("instance_id = ${}", filters.instance_id),
        (
            "workflow_id = ${}" if filters.instance_id is None else WORKFLOW_OF_INSTANCE,
            filters.workflow_id,
        ),
        (
            "claimed_by IS NOT NULL AND claimed_by = ${}",
            caller.id if filters.whose == "claimed_by_me" else None,
        ),
        (f"{DUE} < ${{}}", filters.due_before),
        (f"{DUE} <= ${{}}", last_due),
    ]


def assigned(
    account_id: UUID,
    names: Sequence[str],
    person: UUID,
    filters: Filters,
    begin: Position | None,
    most: int,
) -> Statement:
    """Write the statement that merges the beginnings of what is assigned to each name in each state."""
    where, arguments = [], list[Any]([account_id, names, STATES[filters.status], person])
    for condition, value in (
        ("workflow_id = ${}", filters.workflow_id),
        ("due_at < ${}", filters.due_before),
    ):
        if value is not None:
            arguments.append(value)
            where.append(f"AND {condition.format(len(arguments))}")
    key, order, beyond = ordered(filters, "due_at", "work_item_id")
    if filters.by_due:
        where.append("AND state IN ('open', 'overdue')")
    if begin is not None:
        arguments += [begin.at, begin.id]
        where.append(f"AND ({key}, work_item_id) {beyond} (${len(arguments) - 1}, ${len(arguments)})")
    text = f"""
    SELECT {LISTED} FROM (
        SELECT DISTINCT one.{key}, one.work_item_id
        FROM unnest($2::text[]) AS name, unnest($3::text[]) AS wanted, LATERAL (
            SELECT {key}, work_item_id FROM work_item_assignee
            WHERE account_id = $1 AND assignee = name AND state = wanted AND excluded IS DISTINCT FROM $4
                  {" ".join(where)}
            ORDER BY {order} LIMIT {most}
        ) AS one ORDER BY {order} LIMIT {most}
    ) AS page JOIN work_item ON work_item.account_id = $1 AND work_item.id = page.work_item_id
    ORDER BY {", ".join(f"page.{part}" for part in order.split(", "))}
    """
    return Statement(text, arguments)


def ordered(filters: Filters, due: str, identifier: str) -> tuple[str, str, str]:
    """Say by what a list is ordered, how that is written, and what is beyond a row."""
    if filters.by_due:
        return due, f"{due}, {identifier}", ">"
    if filters.sort == "opened_at":
        return "opened_at", f"opened_at, {identifier}", ">"
    return "opened_at", f"opened_at DESC, {identifier} DESC", "<"


def assignees(caller: Caller, email: str | None, filters: Filters) -> list[str]:
    """Under which names work items are assigned to the caller."""
    of_roles = [f"role:{role}" for role in sorted(roles_of(caller.role))]
    if filters.whose == "my_roles":
        return of_roles
    return [*of_roles, f"user:{caller.id}", *([f"user:{email}"] if email else [])]


async def history(credential: Credential, work_item_id: UUID, size: int, ctoken: str | None) -> Page:
    """Return a page of what happened to a work item, the first first: each with its actor and time.

    Raises:
        NotFound, Forbidden: see `work_items.get`.
        PageTokenRefused: the token is not of this history.
    """
    shown = await work_items.get(credential, work_item_id)
    async with credential.rows(Right.READ) as caller:
        bound_to = binding(caller.account_id, "work item history", work_item_id)
        begin = position(ctoken, bound_to)
        look = of_work_item(caller.account_id, shown.item.instance_id, work_item_id, begin)
        rows = await look.read(HISTORY, size + 1)
        last = rows[size - 1] if len(rows) > size else await look.stopped_at(f"{EVENT}, event.at")
    following = None if last is None else token(Position(last["at"], packed(last), None, bound_to))
    return Page(rows[:size], following, size)


def of_work_item(account_id: UUID, instance_id: UUID, work_item_id: UUID, begin: Position | None) -> Look:
    """Look for the events of a work item among those of its instance, the first first."""
    found, arguments = (
        "event.account_id = $1 AND event.instance_id = $2",
        list[Any]([account_id, instance_id]),
    )
    if begin is not None:
        found += " AND (event.written_in, event.id) > ($3::text::xid8, $4)"
        arguments += unpacked(begin.id)
    place = len(arguments) + 1
    kept = f"event.type LIKE 'work_item.%' AND event.data ->> 'work_item_id' = ${place}"
    return Look("event", "event.written_in, event.id", found, arguments, kept, [str(work_item_id)])


def packed(event: Row) -> UUID:
    """Write an event's place among its instance's as one number, which a page token has room for."""
    return UUID(int=event["written_in"] << 64 | event["id"])


def unpacked(place: UUID) -> tuple[str, int]:
    """Read what `packed` wrote: the transaction and the id; of a forged token, some."""
    return str(place.int >> 64), min(place.int & (2**64 - 1), LAST_EVENT)
