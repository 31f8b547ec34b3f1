"""Lists of instances by any condition, a page by its number, and how many there are.

A condition is looked at for each status that instances can have. What is left of it then is asked of the instances of that
status alone, along an index of theirs, and their rows are merged: so a page in the order of steps reads no row but those up to
its end, whichever statuses are asked for. What no index knows is asked row after row, for 3 seconds at the most.
"""

import time
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any, Literal
from uuid import UUID

import asyncpg
import msgspec

from auth.bearer import Access, Caller
from auth.roles import Right
from service.engine.decisions import roles_of
from service.errors import SearchTooBroad
from service.operations.conditions import ALWAYS, Comparison, Condition, Special, changed
from service.operations.instance_conditions import (
    ENDED,
    PHASES,
    TEXTS,
    TYPES,
    WAITING,
    Arguments,
    Phase,
    Slice,
    fields_of,
    slices_of,
    together,
)
from service.operations.search import LIMITS, SEARCH_SECONDS, turn_of
from service.operations.step_instances import JOINED, SHOWN, Steps, steps_of
from tenancy.rows import current_connection

COUNTED = 10_000  # instances up to which a total is exact, and of this moment
REMEMBERED_SECONDS = 60  # for which a larger one is told again
REMEMBERED = 1_000  # totals in a process
# Work items that are looked up for who may answer them, in 12 ms; of more, instance after instance is asked, and a page soon full.
FEW = 1_000
ADVICE = "Narrow it by Status, DefinitionId, InitiatingUserName or StartDate, or ask for an earlier page."

Whose = Literal["all", "mine", "assigned"]
Key = Literal[
    "current_step",
    "id",
    "last_modified_at",
    "name",
    "phase",
    "started_at",
    "started_by_name",
    "title",
    "workflow_id",
    "workflow_type",
]


class Order(msgspec.Struct, frozen=True):
    """By what a list is ordered, the id deciding between equals; `ranks` are the phases in their order, of the key `phase`.

    What is missing comes last, and first where it is descending: that is the same list from its end.
    """

    key: Key = "current_step"
    descending: bool = False
    ranks: tuple[frozenset[Phase], ...] = ()


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Whose instances are asked for, which of them, in which order, and how many behind how many."""

    whose: Whose = "all"
    condition: Condition = ALWAYS
    order: Order = Order()
    size: int = 50
    offset: int = 0


class Found(msgspec.Struct, frozen=True):
    """A page, and how many instances all pages have.

    Its rows have the columns of `step_instances.SHOWN`; `steps` tells by its id what the steps of a row's version are called.
    """

    rows: list[asyncpg.Record]
    total: int
    steps: Mapping[UUID, Steps | None] = {}


TIMES = {"started_at", "last_modified_at", "id"}  # grow together
# What an order is by, as an index has it; of each column whether it runs the other way.
ORDERS: dict[Key, tuple[tuple[str, bool], ...]] = {
    "current_step": (('current_step COLLATE "C"', False), ("id", False)),
    "id": (("id", False),),
    "last_modified_at": (("last_modified_at", False), ("id", False)),
    "name": (('name COLLATE "C"', False), ("id", False)),
    "phase": (("rank", False), ('current_step COLLATE "C"', False), ("id", False)),
    "started_at": (("started_at", False), ("id", False)),
    "started_by_name": (('started_by_name COLLATE "C"', False), ("id", False)),
    "title": (('title COLLATE "C"', False), ("id", False)),
    "workflow_id": (("workflow_id", False), ("started_at", True), ("id", True)),
    "workflow_type": (('workflow_type COLLATE "C"', False), ("id", False)),
}
NEEDED: dict[Key, str] = {
    "title": " JOIN workflow ON workflow.account_id = $1 AND workflow.id = instance.workflow_id",
    "workflow_type": f" LEFT JOIN ({TYPES} OFFSET 0) AS typed ON typed.workflow_id = instance.workflow_id",
}
OF_PAGE = "JOIN instance AS one ON one.account_id = $1 AND one.id = part.id"
ELSEWHERE: dict[Key, str] = {"title": "workflow.title", "workflow_type": "typed.workflow_type"}

# What somebody may approve or deny, and has not.
ANSWERABLE = """work_item.kind = 'approval' AND work_item.status = 'open' AND (work_item.claimed_by IS NULL OR work_item.claimed_by = {0})
    AND work_item.excluded IS DISTINCT FROM {0}
    AND NOT EXISTS (SELECT FROM decision WHERE decision.account_id = $1 AND decision.work_item_id = work_item.id
                                           AND decision.user_id = {0})"""
ASSIGNED = f"""
SELECT work_item.instance_id FROM work_item_assignee JOIN work_item
  ON work_item.account_id = $1 AND work_item.id = work_item_assignee.work_item_id
WHERE work_item_assignee.account_id = $1 AND work_item_assignee.assignee = ANY ($2)
  AND work_item_assignee.state IN ('open', 'overdue') AND {ANSWERABLE.format("$3")}
LIMIT {{}}
"""
# It is no EXISTS, of which PostgreSQL would make a join, and read all instances before the first is told.
IS_ASSIGNED = f"""(SELECT true FROM work_item
    WHERE work_item.account_id = $1 AND work_item.instance_id = instance.id AND {ANSWERABLE}
      AND EXISTS (SELECT FROM work_item_assignee
                  WHERE work_item_assignee.account_id = $1 AND work_item_assignee.work_item_id = work_item.id
                    AND work_item_assignee.assignee = ANY ({{1}}))
    LIMIT 1)"""
EMAIL = "SELECT email FROM app_user WHERE id = $1"

_totals: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()


class Narrowing(msgspec.Struct, frozen=True):
    """What a list is narrowed to by who asks: whoever started it; or who may answer, and the instances if those are few."""

    starter: UUID | None = None
    person: UUID | None = None
    names: tuple[str, ...] = ()
    few: tuple[UUID, ...] | None = None

    def written(self, arguments: Arguments) -> list[str]:
        """Write it as conditions."""
        if self.starter is not None:
            return [f"instance.started_by = {arguments.place(self.starter)}"]
        if self.few is not None:
            return [f"instance.id = ANY ({arguments.place(self.few)})"]
        if self.person is not None:
            return [IS_ASSIGNED.format(arguments.place(self.person), arguments.place(self.names))]
        return []


class Listing(msgspec.Struct, frozen=True):
    """A list of the account's as it is asked of the database: what of which instances, for whom."""

    account_id: UUID
    narrowing: Narrowing
    condition: Condition
    phases: frozenset[Phase]

    @property
    def slices(self) -> list[Slice]:
        """The condition as it is left of each status; none where nothing can be found."""
        return slices_of(self.condition, self.phases)

    def page(self, wanted: Wanted) -> tuple[str, list[Any]]:
        """Write the statement that reads a page, and its arguments.

        Each part is read along an index up to the end of the page, and what they begin with is merged; but not where a time is
        asked for that the order is not by. Instances grow with time in most orders, and PostgreSQL, which does not know that,
        would look for the latest behind all others; so it finds all that are meant, by their time, and puts them in order.
        """
        arguments, order = Arguments(self.account_id), wanted.order
        way, most = ordering("part", order), wanted.offset + wanted.size
        end = "" if TIMES & set(fields_of(self.condition)) - {order.key} else f" ORDER BY {way} LIMIT {most}"
        parts = self._ranked(arguments, order) if order.key == "phase" else self._parts(arguments, order)
        begun = " UNION ALL ".join(f"(SELECT * FROM ({one}) AS part{end})" for one in parts)
        rows = f"SELECT * FROM ({begun}) AS part ORDER BY {way} LIMIT {wanted.size} OFFSET {wanted.offset}"
        text = f"SELECT {SHOWN} FROM ({rows}) AS part {OF_PAGE} {JOINED} ORDER BY {way}"
        return text, arguments.values

    def every_one(self) -> tuple[str, list[Any]]:
        """Write the statement that reads the id of each instance, and its arguments."""
        arguments = Arguments(self.account_id)
        parts = [
            f"SELECT instance.id FROM instance WHERE {self._where(arguments, *one)}"
            for one in together(self.slices)
        ]
        return " UNION ALL ".join(parts), arguments.values

    def _parts(self, arguments: Arguments, order: Order) -> list[str]:
        """Write parts of the list of which each has an index in the order asked for, if there is one."""
        parts = list(together(self.slices))
        if order.key == "current_step":
            parts = [(one.state, one.condition) for one in self.slices]
        elif order.key == "started_at" and any(state for state, _ in parts):
            parts = [(f"{one.state} AND {end_of(one)}", one.condition) for one in self.slices]
        columns, needed = ", ".join(selected(order.key)), NEEDED.get(order.key, "")
        return [
            f"SELECT {columns} FROM instance{needed} WHERE {self._where(arguments, *one)}" for one in parts
        ]

    def _ranked(self, arguments: Arguments, order: Order) -> list[str]:
        """Write a part for each status of each rank, in the order of steps, which the index has for it."""
        return [
            f"SELECT instance.id, instance.current_step, {rank} AS rank FROM instance"
            f" WHERE {self._where(arguments, one.state, one.condition)}"
            for rank, phases in enumerate(order.ranks)
            for one in slices_of(self.condition, self.phases & phases)
        ]

    def _where(self, arguments: Arguments, state: str, condition: Condition) -> str:
        """Write which instances are meant."""
        narrow = self.narrowing.written(arguments)
        asked = [one for one in (state, arguments.written(condition)) if one not in ("", "true")]
        return " AND ".join(["instance.account_id = $1", *narrow, *asked])


async def get_page(access: Access, wanted: Wanted) -> Found:
    """Return a page of instances. A sender finds those that they started alone; of what is assigned, everybody their own.

    Up to 10,000 the total is exact; of more it may be a minute old, and an estimate where counting takes too long.

    Raises:
        SearchTooBroad: it took longer than 3 seconds.
    """
    async with access.rows(Right.READ):
        pass  # strangers take no turn, and who waits for one holds no connection
    async with turn_of(access.account_id), access.rows(Right.READ) as caller:
        until = time.monotonic() + SEARCH_SECONDS
        try:
            await limited(until)
            return await found(caller, wanted, until)
        except asyncpg.QueryCanceledError:
            raise SearchTooBroad(SEARCH_SECONDS, ADVICE) from None


async def found(caller: Caller, wanted: Wanted, until: float) -> Found:
    """Read a page, and count."""
    listing = Listing(
        caller.account_id,
        await narrowed(caller, wanted.whose),
        changed(wanted.condition, lambda one: with_caller(one, caller.id)),
        WAITING if wanted.whose == "assigned" else PHASES,
    )
    if set(TEXTS) & set(fields_of(listing.condition)):
        listing = await looked_up(listing)
    if not listing.slices or listing.narrowing.few == ():
        return Found([], 0)
    statement, arguments = listing.page(wanted)
    rows = await current_connection().fetch(statement, *arguments)
    steps = await steps_of(caller.account_id, {row["version_id"] for row in rows})
    if len(rows) < wanted.size and (rows or not wanted.offset):
        return Found(rows, wanted.offset + len(rows), steps)
    return Found(rows, await total(listing, until), steps)


async def looked_up(listing: Listing) -> Listing:
    """Find by their texts what is meant, if that is little: along an index that holds the texts, and in no order."""
    text, arguments = listing.every_one()
    rows = await current_connection().fetch(f"{text} LIMIT {COUNTED + 1}", *arguments)
    if len(rows) > COUNTED:
        return listing
    few = tuple(row["id"] for row in rows)
    return Listing(listing.account_id, Narrowing(few=few), ALWAYS, PHASES)


async def limited(until: float) -> None:
    """Let what follows in the transaction take the time that is left."""
    await current_connection().execute(LIMITS.format(max(1, int((until - time.monotonic()) * 1000))))


def with_caller(one: Comparison, caller_id: UUID) -> Condition:
    """Put the caller in where they are meant."""
    return msgspec.structs.replace(one, value=caller_id) if one.value is Special.ME else one


async def narrowed(caller: Caller, whose: Whose) -> Narrowing:
    """Say what the caller's list is narrowed to."""
    if whose != "assigned":
        return Narrowing(caller.id if whose == "mine" or not caller.sees_all else None)
    if caller.role == "machine":
        return Narrowing(person=caller.id, few=())  # decisions are people's
    connection = current_connection()
    email = await connection.fetchval(EMAIL, caller.id)
    names = [*(f"role:{role}" for role in sorted(roles_of(caller.role))), f"user:{caller.id}"]
    names += [f"user:{email}"] if email else []
    rows = await connection.fetch(ASSIGNED.format(FEW + 1), caller.account_id, names, caller.id)
    few = None if len(rows) > FEW else tuple({row["instance_id"] for row in rows})
    return Narrowing(person=caller.id, names=tuple(names), few=few)


def end_of(one: Slice) -> str:
    """Write what follows from a status, and leads into the indexes of what has ended and of what has not."""
    return f"instance.ended_at IS {'NOT ' if one.status in ENDED else ''}NULL"


def selected(key: Key) -> list[str]:
    """Name the columns by which a list is ordered."""
    columns = [name.removesuffix(' COLLATE "C"') for name, _ in ORDERS[key]]
    return [ELSEWHERE[key] if name == key and key in ELSEWHERE else f"instance.{name}" for name in columns]


def ordering(table: str, order: Order) -> str:
    """Write what rows are ordered by."""
    return ", ".join(
        f"{table}.{name} {'DESC' if reverse != order.descending else 'ASC'}"
        for name, reverse in ORDERS[order.key]
    )


async def total(listing: Listing, until: float) -> int:
    """Count, or remember what was counted of the same less than a minute ago, if that was many."""
    ids = listing.narrowing.few
    if ids is not None and listing.condition == ALWAYS and listing.phases == PHASES:
        return len(ids)
    of = (listing.account_id, msgspec.structs.replace(listing.narrowing, few=None), listing.condition)
    known, fresh = _totals.get(of, (0, 0.0))
    if fresh > time.monotonic():
        return known
    text, arguments = listing.every_one()
    connection = current_connection()
    await limited(until)
    few: int = await connection.fetchval(
        f"SELECT count(*) FROM ({text} LIMIT {COUNTED + 1}) AS first_ones", *arguments
    )
    if few <= COUNTED:
        return few
    await limited(until)
    await connection.execute("SAVEPOINT counted")
    try:
        known = await connection.fetchval(f"SELECT count(*) FROM ({text}) AS every_one", *arguments)
    except asyncpg.QueryCanceledError:
        await connection.execute("ROLLBACK TO SAVEPOINT counted; SET LOCAL statement_timeout = 1000")
        plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {text}", *arguments)
        known = max(few, int(msgspec.json.decode(plan)[0]["Plan"]["Plan Rows"]))
    _totals[of] = known, time.monotonic() + REMEMBERED_SECONDS
    _totals.move_to_end(of)
    while len(_totals) > REMEMBERED:
        _totals.popitem(last=False)
    return known
