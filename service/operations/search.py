"""Finds instances of an account: by what they are called, by whom and with what they were started, what became of them.

Pages are read along an index in the order asked for. Under row-level security PostgreSQL uses an index only by operators
that it knows to tell nothing (`leakproof`), which those of arrays, JSON and patterns are not. So tags and inputs stand in a
table of numbers (`instance_term`), and of each instance the name is held against the part that is looked for. Whatever is
asked, a search has 3 seconds, and an account few searches at once.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID
from weakref import WeakValueDictionary

import asyncpg
import msgspec

from auth.bearer import Access
from auth.roles import Right
from service.errors import PageTokenRefused, SearchTooBroad
from service.language.values import flaw
from service.operations.instance_lists import filled
from service.operations.instances import COLUMNS, starter
from service.operations.pages import Page, binding, in_calendar, token
from service.operations.pages import place as place_in
from service.settings import settings
from tenancy.rows import current_connection

SEARCH_SECONDS = 3
SEARCHES = 4  # of one account at once, in a process
LONGEST_TOKEN = 2048  # a name has up to 255 characters

State = Literal["In Progress", "Completed", "Failed", "Canceled"]
Sort = Literal["started_at", "-started_at", "last_modified_at", "-last_modified_at", "name", "-name"]

STATES: dict[State, str] = {
    "In Progress": "ended_at IS NULL",
    "Completed": "ended_at IS NOT NULL AND status = 'completed'",
    "Failed": "ended_at IS NOT NULL AND status = 'faulted'",
    "Canceled": "ended_at IS NOT NULL AND status = 'cancelled'",
}
FAILED_TASK = """EXISTS (
    SELECT FROM task_run WHERE task_run.account_id = $1 AND task_run.instance_id = instance.id
      AND task_run.name = ${} AND task_run.status = 'faulted')"""
KEYS = {"started_at": "started_at", "last_modified_at": "last_modified_at", "name": 'name COLLATE "C"'}
OF_INSTANCE = ", ".join(f"instance.{column.strip()}" for column in COLUMNS.split(","))
FIRST_TERM = " JOIN instance_term AS term0 ON term0.account_id = $1 AND term0.term = {} AND term0.instance_id = instance.id"
# The moment follows from the id, and leads into the index.
TERM = """EXISTS (
    SELECT FROM instance_term AS other WHERE other.account_id = $1 AND other.term = {}
      AND other.started_at = term0.started_at AND other.instance_id = term0.instance_id{})"""
# A page is wanted, in an index's order. PostgreSQL takes conditions that go together for ones that do not, believes that few rows
# fit, and then hashes and sorts all that there are: 660 ms for two inputs of 1,000,000 instances instead of 5.
LIMITS = """SET LOCAL statement_timeout = {}; SET LOCAL plan_cache_mode = force_custom_plan;
SET LOCAL enable_hashjoin = off; SET LOCAL enable_sort = off; SET LOCAL max_parallel_workers_per_gather = 0"""
LAST_CHARACTER = chr(0x10FFFF)
BEFORE_SURROGATES, AFTER_SURROGATES = chr(0xD7FF), chr(0xE000)


class Range(msgspec.Struct, frozen=True):
    """From a moment on, and before another."""

    start: datetime | None = None
    end: datetime | None = None


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What is searched for: all of what is given. `inputs` holds JSON scalars by the names of trigger inputs."""

    statuses: tuple[State, ...] = ()
    workflow_ids: tuple[UUID, ...] = ()
    version: str | None = None
    name_prefix: str | None = None
    name_contains: str | None = None
    started: Range = Range()
    ended: Range = Range()
    modified: Range = Range()
    started_by: UUID | None = None
    tags: tuple[str, ...] = ()
    inputs: dict[str, str | int | float | bool] = {}
    failed_task: str | None = None
    sort: Sort = "-started_at"


class Place(msgspec.Struct, frozen=True, array_like=True):
    """The sort key and id of the last row seen, and what was searched for."""

    key: str
    id: UUID
    binding: bytes


_turns: WeakValueDictionary[UUID | None, asyncio.Semaphore] = (
    WeakValueDictionary()
)  # of accounts, and of the process


@contextlib.asynccontextmanager
async def turn_of(account_id: UUID) -> AsyncIterator[None]:
    """Wait for a turn among the account's searches, and then among all that this process makes: with half of its connections."""
    own = _turns.setdefault(account_id, asyncio.Semaphore(SEARCHES))
    everybodys = _turns.setdefault(None, asyncio.Semaphore(max(1, settings().pool_size // 2)))
    async with own, everybodys:
        yield


async def get_page(access: Access, search: Search, size: int, ctoken: str | None) -> Page:
    """Return a page of the instances that a search finds; a sender finds their own alone.

    Raises:
        Forbidden: a sender searched for what another started.
        PageTokenRefused: the token is not of this search.
        SearchTooBroad: it took longer than 3 seconds.
    """
    async with access.rows(Right.READ):
        pass  # strangers take no turn, and who waits for one holds no connection
    async with turn_of(access.account_id), access.rows(Right.READ) as caller:
        search = msgspec.structs.replace(search, started_by=starter(caller, search.started_by))
        bound_to = binding(caller.account_id, "search", search)
        begin = None if ctoken is None else place(ctoken, search.sort, bound_to)
        until = time.monotonic() + SEARCH_SECONDS

        async def fetch(after: Any, take: int) -> list[asyncpg.Record]:
            left = max(1, int((until - time.monotonic()) * 1000))
            await current_connection().execute(LIMITS.format(left))
            statement, arguments = listing(caller.account_id, search, after, take)
            return await current_connection().fetch(statement, *arguments)

        try:
            rows, more = await filled(fetch, sort_key(search.sort), begin, size)
        except asyncpg.QueryCanceledError:
            raise SearchTooBroad(SEARCH_SECONDS) from None
    if not more:
        return Page(rows, None, size)
    key = rows[-1][sort_key(search.sort)]
    text = key if isinstance(key, str) else key.isoformat()
    return Page(rows, token(Place(text, rows[-1]["id"], bound_to)), size)


def place(ctoken: str, sort: Sort, bound_to: bytes) -> tuple[datetime | str, UUID]:
    """Read where a search goes on.

    Raises:
        PageTokenRefused: the token is not of this search.
    """
    found = place_in(ctoken, Place, bound_to, LONGEST_TOKEN)
    if sort_key(sort) == "name":
        if flaw(found.key):
            raise PageTokenRefused
        return found.key, found.id
    try:
        at = msgspec.convert(found.key, Annotated[datetime, msgspec.Meta(tz=True)])
    except msgspec.ValidationError:
        raise PageTokenRefused from None
    return in_calendar(at), found.id


def sort_key(sort: Sort) -> str:
    """The column that a search is sorted by."""
    return sort.removeprefix("-")


def listing(
    account_id: UUID, search: Search, after: tuple[datetime | str, UUID] | None, take: int
) -> tuple[str, list[Any]]:
    """Write the statement that reads a page, and its arguments: one branch for each status, read along its own index."""
    arguments: list[Any] = [account_id]
    found = terms_in(search, arguments)
    terms = FIRST_TERM.format(found[0]) if found else ""
    began = None if after is None else (search.sort, after[0])
    where = conditions(search, arguments, "term0.started_at" if terms else "started_at", began)
    direction, beyond = ("DESC", "<") if search.sort.startswith("-") else ("ASC", ">")
    key = sort_key(search.sort)
    place = ("term0.started_at", "term0.instance_id") if terms and key == "started_at" else (KEYS[key], "id")
    if after is not None:
        arguments += after
        beyond = f"{beyond} (${len(arguments) - 1}, ${len(arguments)})"
        where.append(f"({', '.join(place)}) {beyond}")
    from_there = (
        f" AND (other.started_at, other.instance_id) {beyond}" if after and key == "started_at" else ""
    )
    where += [TERM.format(other, from_there) for other in found[1:]]
    states = [] if set(search.statuses) == set(STATES) else [STATES[one] for one in search.statuses]
    order = "ORDER BY {0} {2}, {1} {2} LIMIT {3}".format(*place, direction, take)
    branches = [
        f"(SELECT {OF_INSTANCE} FROM instance{terms} WHERE {' AND '.join([*where, *state])} {order})"
        for state in ([one] for one in states or ["true"])
    ]
    if len(branches) == 1:
        return branches[0], arguments
    last = f"ORDER BY {KEYS[key]} {direction}, id {direction} LIMIT {take}"
    return f"SELECT * FROM ({' UNION ALL '.join(branches)}) AS found {last}", arguments


def terms_in(search: Search, arguments: list[Any]) -> list[str]:
    """Write the terms of tags and inputs, and add their arguments."""
    terms = []
    for tag in search.tags:
        arguments.append(tag)
        terms.append(f"tag_term(${len(arguments)})")
    for name, value in search.inputs.items():
        arguments += (name, msgspec.json.encode(value).decode())
        terms.append(f"input_term(${len(arguments) - 1}, ${len(arguments)})")
    return terms


def conditions(
    search: Search, arguments: list[Any], started_at: str, began: tuple[Sort, datetime | str] | None
) -> list[str]:
    """Write what is searched for as conditions, and add their arguments.

    `started_at` is the column of an index. `began` is where a later page begins, in its order: the bound before that is left
    out. Of two bounds of one side PostgreSQL begins at either, and went through all that lies between them, page after page.
    """
    where = ["instance.account_id = $1"]
    one = search.workflow_ids[0] if len(search.workflow_ids) == 1 else None
    prefix = search.name_prefix or None
    starts, ends = bounds(search)
    for condition, value in (
        ("workflow_id = ${}", one),
        ("workflow_id = ANY(${})", search.workflow_ids if len(search.workflow_ids) > 1 else None),
        ("version = ${}", search.version),
        ("started_by = ${}", search.started_by),
        ('name COLLATE "C" >= ${}', prefix),
        ('name COLLATE "C" < ${}', prefix and behind(prefix)),
        ("strpos(lower(name), lower(${})) > 0", search.name_contains or None),
        (started_at + " >= ${}", _ahead(search.started.start, began, "started_at")),
        (started_at + " < ${}", _ahead(ends, began, "-started_at")),
        ("ended_at >= ${}", search.ended.start),
        ("ended_at < ${}", search.ended.end),
        ("last_modified_at >= ${}", _ahead(starts, began, "last_modified_at")),
        ("last_modified_at < ${}", _ahead(search.modified.end, began, "-last_modified_at")),
        (f"status = 'faulted' AND ended_at IS NOT NULL AND {FAILED_TASK}", search.failed_task),
    ):
        if value is not None:
            arguments.append(value)
            where.append(condition.format(len(arguments)))
    return where


def _ahead(bound: datetime | None, began: tuple[Sort, datetime | str] | None, sort: Sort) -> datetime | None:
    """Return a bound, unless a page in this order begins behind it."""
    if bound is None or began is None or began[0] != sort or isinstance(began[1], str):
        return bound
    behind_it = began[1] < bound if sort.startswith("-") else began[1] >= bound
    return None if behind_it else bound


def bounds(search: Search) -> tuple[datetime | None, datetime | None]:
    """Since when an instance has changed, and before when it has started, by all that is asked of its times.

    An instance starts before it ends, and changes last when it ends or later: so that any range leads into an index.
    """
    ranges = (search.started, search.ended, search.modified)
    starts = [one.start for one in ranges if one.start is not None]
    ends = [one.end for one in ranges if one.end is not None]
    return max(starts, default=None), min(ends, default=None)


def behind(prefix: str) -> str | None:
    """The first text behind all that begin so, by code points; None where nothing is."""
    kept = prefix.rstrip(LAST_CHARACTER)
    if not kept:
        return None
    following = AFTER_SURROGATES if kept[-1] == BEFORE_SURROGATES else chr(ord(kept[-1]) + 1)
    return kept[:-1] + following
