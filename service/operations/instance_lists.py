"""Lists of instances, newest first: of an account, or of a workflow; a page each, and how many there are."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from auth.bearer import Access
from auth.roles import Right
from service.engine.states import Status
from service.operations.instances import COLUMNS, starter
from service.operations.looking import Look
from service.operations.pages import Page, Position, Row, binding, position, token
from service.tables import Workflow
from tenancy.errors import NotFound
from tenancy.rows import current_connection

# How many instances a total counts one by one; beyond it the planner's estimate is told.
COUNTED = 1000

# A page ends before it passes this size, so that no answer takes the memory of everyone else's.
MOST_BYTES = 16_777_216
FIRST_ROWS = 51  # read at once before it is known how large they are: the page that is commonly asked for, and one more
LEAST_ROW = 1024  # bytes of an instance without inputs and output

NEWEST = "started_at DESC, id DESC"
OLDEST = "started_at, id"
# What is asked of an instance beside what an index knows: that nobody has archived its workflow. It is no EXISTS, of which
# PostgreSQL would make a join, and plan to look at all 10,000 instances before the first is told.
LIVING = """(SELECT workflow.status FROM workflow WHERE workflow.account_id = instance.account_id
             AND workflow.id = instance.workflow_id) <> 'archived'"""
Key = tuple[datetime, UUID]


class Filters(msgspec.Struct, frozen=True):
    """What a list is narrowed to; `in_progress` True means not ended, `status` an end that instances came to.

    `living` True means of workflows that are not archived.
    """

    workflow_ids: tuple[UUID, ...] = ()
    in_progress: bool = False
    living: bool = False
    status: Status | None = None
    started_by: UUID | None = None


async def get_list(
    access: Access,
    filters: Filters,
    size: int,
    ctoken: str | None,
    *,
    of_workflow: UUID | None = None,
    counted: bool = False,
) -> Page:
    """Return a page of instances, newest first.

    `of_workflow` narrows to one workflow, which must exist. A sender finds their own alone. `counted`: with the total.

    Raises:
        NotFound: `of_workflow` is not there.
        Forbidden: a sender asked for what another started.
        PageTokenRefused: the token is not of this list.
    """
    async with access.rows(Right.READ) as caller:
        if of_workflow is not None:
            filters = msgspec.structs.replace(filters, workflow_ids=(of_workflow,))
        filters = msgspec.structs.replace(filters, started_by=starter(caller, filters.started_by))
        bound_to = binding(caller.account_id, "instances", of_workflow is None, filters)
        begin = position(ctoken, bound_to)
        total = None
        if counted:
            total = begin.total if begin is not None else await count(caller.account_id, filters)
        after = None if begin is None else (begin.at, begin.id)
        rows, place = await listed(caller.account_id, filters, after, size)
        if (
            not rows
            and of_workflow is not None
            and not await Workflow.exists().where(Workflow.id == of_workflow).run()
        ):
            raise NotFound
        following = None if place is None else token(Position(*place, total, bound_to))
        return Page(rows, following, size, total)


def conditions(account_id: UUID, filters: Filters) -> tuple[str, list[Any]]:
    """Write filters as a WHERE clause and its arguments. The account is named so that the planner knows its size."""
    where, arguments = narrowing(filters, 1)
    return " AND ".join(["account_id = $1", *where]), [account_id, *arguments]


def narrowing(filters: Filters, before: int) -> tuple[list[str], list[Any]]:
    """Write filters as conditions and their arguments, which so many others stand before."""
    where, arguments = list[str](), list[Any]()
    if filters.in_progress:
        where.append("ended_at IS NULL")
    if filters.living:
        where.append(LIVING)
    for condition, value in (
        ("workflow_id = ${}", filters.workflow_ids[0] if len(filters.workflow_ids) == 1 else None),
        ("workflow_id = ANY(${})", list(filters.workflow_ids) if len(filters.workflow_ids) > 1 else None),
        ("ended_at IS NOT NULL AND status = ${}", filters.status),
        ("started_by = ${}", filters.started_by),
    ):
        if value is not None:
            arguments.append(value)
            where.append(condition.format(before + len(arguments)))
    return where, arguments


def look(account_id: UUID, filters: Filters, after: Key | None = None, *, newest_first: bool = True) -> Look:
    """Say which instances are looked at for a list.

    A starter's are found by the starter, and asked for the rest, as people start few; those of several workflows are merged.
    Whether a workflow lives is asked of what has been found.
    """
    of_starter = filters.started_by is not None
    rest = msgspec.structs.replace(filters, started_by=None) if of_starter else Filters(living=filters.living)
    several = (
        list(dict.fromkeys(filters.workflow_ids)) if len(filters.workflow_ids) > 1 and not of_starter else []
    )
    indexed = msgspec.structs.replace(
        Filters(started_by=filters.started_by) if of_starter else filters, living=False
    )
    where, arguments = conditions(
        account_id, msgspec.structs.replace(indexed, workflow_ids=()) if several else indexed
    )
    each = ""
    if several:
        arguments.append(several)
        each = f"unnest(${len(arguments)}::uuid[]) AS each (workflow)"
        where += " AND workflow_id = each.workflow"
    if after is not None:
        arguments += after
        compared = "<" if newest_first else ">"
        where += f" AND (started_at, id) {compared} (${len(arguments) - 1}, ${len(arguments)})"
    kept, more = narrowing(rest, len(arguments))
    order = NEWEST if newest_first else OLDEST
    return Look("instance", order, where, arguments, " AND ".join(kept), more, each)


async def listed(
    account_id: UUID, filters: Filters, after: Key | None, size: int, *, newest_first: bool = True
) -> tuple[list[asyncpg.Record], Key | None]:
    """Read the next rows of a list, and where it goes on; fewer than `size` where they are large, or seldom kept."""
    stopped: asyncpg.Record | None = None

    async def fetch(after: Key | None, take: int) -> list[asyncpg.Record]:
        nonlocal stopped
        looking = look(account_id, filters, after, newest_first=newest_first)
        found = await looking.read(COLUMNS, take)
        stopped = await looking.stopped_at("started_at, id") if len(found) < take else None
        return found

    rows, more = await filled(fetch, "started_at", after, size)
    last = rows[-1] if more else stopped
    return rows, None if last is None else (last["started_at"], last["id"])


def weight_of(row: Row) -> int:
    """Say about how many bytes a row makes in an answer."""
    return LEAST_ROW + sum(len(row[column] or "") for column in ("trigger_inputs", "output", "fault"))


async def filled(
    fetch: Callable[[Any, int], Awaitable[list[asyncpg.Record]]],
    key: str,
    after: Any,
    size: int,
    weigh: Callable[[Row], int] = weight_of,
) -> tuple[list[asyncpg.Record], bool]:
    """Read the next rows of a list by a column and the ids, and whether there are more.

    Fewer than `size` where they are large.
    """
    rows: list[asyncpg.Record] = []
    weight = 0
    while True:
        wanted = size + 1 - len(rows)
        take = min(wanted, max(1, (MOST_BYTES - weight) * len(rows) // weight) if rows else FIRST_ROWS)
        found = await fetch(after, take)
        for row in found:
            weight += weigh(row)
            if len(rows) == size or (rows and weight > MOST_BYTES):
                return rows, True
            rows.append(row)
        if len(found) < take:
            return rows, False
        after = (rows[-1][key], rows[-1]["id"])


async def count(account_id: UUID, filters: Filters) -> int:
    """Count a list's instances: exactly up to 1,000, beyond that as the planner's statistics estimate them."""
    connection = current_connection()
    looking = look(account_id, filters)
    few: int = await connection.fetchval(looking.count(COUNTED + 1), *looking.arguments, *looking.more)
    if few <= COUNTED and await looking.stopped_at("id") is None:
        return few
    where, arguments = conditions(account_id, filters)
    plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) SELECT FROM instance WHERE {where}", *arguments)
    return max(few, int(msgspec.json.decode(plan)[0]["Plan"]["Plan Rows"]))
