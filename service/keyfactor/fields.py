"""What the lists of the dialect can be narrowed to and ordered by (contract 3.4): names, operators, and how values are written.

These are not the names of the JSON fields. `typed` makes of a query that `query.parse` has read what an operation asks its
rows for, and `order` reads what a list is sorted by.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from service.keyfactor import status
from service.keyfactor.errors import Code, Refused
from service.keyfactor.query import parse, wrong
from service.keyfactor.reference import first_id
from service.keyfactor.requests import Listing
from service.operations.conditions import (
    ALWAYS,
    NEVER,
    Comparison,
    Condition,
    Every,
    Operator,
    Some,
    Special,
    changed,
)
from service.operations.instance_conditions import PHASES, Phase
from service.operations.instance_queries import Key, Order, Wanted, Whose
from service.wire import identifier

EQUALITY: tuple[Operator, ...] = ("eq", "ne")
ORDER: tuple[Operator, ...] = (*EQUALITY, "lt", "le", "gt", "ge")
TEXT: tuple[Operator, ...] = (*EQUALITY, "contains", "notcontains", "startswith", "endswith")

TODAY = re.compile(r"%TODAY\s*(?:([+-])\s*(\d{1,6}))?\s*%", re.IGNORECASE)
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
MOMENT = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)? ?(?:Z|[+-]\d{2}:?\d{2})?", re.IGNORECASE
)
WHOLE = re.compile(r"[+-]?\d{1,18}")
ME = "%me%"

Read = Callable[[Comparison, str, datetime], Condition]
Found = TypeVar("Found")


class Field(msgspec.Struct, frozen=True):
    """A field of a list: which operators it takes, and what a comparison with a text comes to at a moment.

    `column` is named where it may be missing, which NULL then asks for.
    """

    operators: tuple[Operator, ...]
    read: Read
    column: str = ""


def typed(condition: Condition, fields: Mapping[str, Field], at: datetime) -> Condition:
    """Say what a query asks for of the columns of a list, whose `fields` are told by their names in lower case.

    Raises:
        Refused: it names a field that the list has not, compares one as it cannot be, or with what it never is.
    """

    def comparison(one: Comparison) -> Condition:
        field = fields.get(one.field.lower())
        if field is None:
            raise wrong(f"there is no field {one.field[:50]} here, but {', '.join(sorted(fields))}")
        if one.operator not in field.operators:
            known = ", ".join(f"-{operator}" for operator in field.operators)
            raise wrong(f"{one.field} takes {known}, and not -{one.operator}")
        if one.value is not None:
            return field.read(one, str(one.value), at)
        if one.operator not in EQUALITY:
            raise wrong(f"NULL goes with -eq and -ne, and not with -{one.operator}")
        if field.column:
            return msgspec.structs.replace(one, field=field.column)
        return NEVER if one.operator == "eq" else ALWAYS

    return changed(condition, comparison)


def text(column: str) -> Field:
    """A text, compared in any case."""
    return Field(TEXT, lambda one, value, _: Comparison(column, one.operator, value), column)


def guid(column: str) -> Field:
    """An id."""

    def read(one: Comparison, value: str, _: datetime) -> Condition:
        found = identifier(value.strip())
        if found is None:
            raise wrong(f"{one.field} is compared with a GUID, and {value[:50]!r} is none")
        return Comparison(column, one.operator, found)

    return Field(EQUALITY, read)


def boolean(column: str) -> Field:
    """True or false."""

    def read(one: Comparison, value: str, _: datetime) -> Condition:
        if value.strip().lower() not in ("true", "false"):
            raise wrong(f"{one.field} is compared with true or false, and {value[:50]!r} is neither")
        return Comparison(column, one.operator, value.strip().lower() == "true")

    return Field(EQUALITY, read)


def moment(column: str) -> Field:
    """A time; a day is equal to all that is of it, and else stands for its beginning, in UTC."""

    def read(one: Comparison, value: str, at: datetime) -> Condition:
        try:
            begin, end = moments(value.strip(), at)
        except (ValueError, OverflowError):
            known = "2026-01-31, 2026-01-31T12:00:00Z or %TODAY-7%"
            raise wrong(
                f"{one.field} is compared with a time such as {known}, and {value[:50]!r} is none"
            ) from None
        if begin == end or one.operator not in EQUALITY:
            return Comparison(column, one.operator, begin)
        if one.operator == "eq":
            return Every((Comparison(column, "ge", begin), Comparison(column, "lt", end)))
        return Some((Comparison(column, "lt", begin), Comparison(column, "ge", end)))

    return Field(ORDER, read)


def moments(value: str, at: datetime) -> tuple[datetime, datetime]:
    """Read a time: since when it is, and until when, which is the same unless it is a day.

    Raises:
        ValueError, OverflowError: it is none, or outside of the calendar.
    """
    today = TODAY.fullmatch(value)
    if today is not None:
        days = timedelta(int(f"{today[1]}{today[2]}") if today[2] else 0)
        begin = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + days
        return begin, begin + timedelta(1)
    if DAY.fullmatch(value):
        begin = datetime.fromisoformat(value).replace(tzinfo=UTC)
        return begin, begin + timedelta(1)
    if not MOMENT.fullmatch(value):
        raise ValueError
    found = datetime.fromisoformat(value[:10] + "T" + value[11:].upper().replace(" ", ""))
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return found, found


def reference(column: str) -> Field:
    """The number by which people call an instance: a range of ids."""

    def read(one: Comparison, value: str, _: datetime) -> Condition:
        if not WHOLE.fullmatch(value.strip()):
            raise wrong(f"{one.field} is compared with a whole number, and {value[:50]!r} is none")
        number = int(value)
        begin, end = first_id(number), first_id(number + 1)
        match one.operator:
            case "eq":
                return Every((Comparison(column, "ge", begin), Comparison(column, "lt", end)))
            case "ne":
                return Some((Comparison(column, "lt", begin), Comparison(column, "ge", end)))
            case "lt" | "ge":
                return Comparison(column, one.operator, begin)
        return Comparison(column, "lt" if one.operator == "le" else "ge", end)

    return Field(ORDER, read)


def standing(one: Comparison, value: str, _: datetime) -> Condition:
    """Read a status, by its name or number."""
    found = status.named(value)
    if found is None:
        known = ", ".join(f"{each.number} ({each.name})" for each in status.STANDINGS)
        raise wrong(f"{one.field} is compared with one of {known}, and {value[:50]!r} is none")
    return Comparison("phase", "in", phases_of(found) if one.operator == "eq" else PHASES - phases_of(found))


def phases_of(wanted: status.Standing) -> frozenset[Phase]:
    """Say in which phases an instance has a status."""
    return frozenset(one for one in PHASES if status.standing_of(one[0], superseded=one[1]) == wanted)


def person(one: Comparison, value: str, _: datetime) -> Condition:
    """Read who started an instance: the caller, a user by their e-mail address, or anybody by their name.

    What stands in front of a backslash is the account, in which all who are found are.
    """
    if one.operator not in EQUALITY:
        return Comparison("started_by_name", one.operator, value)
    name = value.rpartition("\\")[2].strip()
    if name.lower() == ME:
        return Comparison("started_by", one.operator, Special.ME)
    return Comparison("started_by_email" if "@" in name else "started_by_name", one.operator, name)


INSTANCES: dict[str, Field] = {
    "definitionid": guid("workflow_id"),
    "id": guid("id"),
    "initiatingusername": Field(TEXT, person),
    "lastmodified": moment("last_modified_at"),
    "referenceid": reference("id"),
    "startdate": moment("started_at"),
    "status": Field(EQUALITY, standing),
    "title": text("name"),
    "workflowtype": text("workflow_type"),
}
INSTANCE_ORDERS: dict[str, Key] = {
    "currentstepdisplayname": "current_step",
    "currentstepuniquename": "current_step",
    "definition": "title",
    "definition.displayname": "title",
    "definitiondisplayname": "title",
    "definitionid": "workflow_id",
    "id": "id",
    "initiatingusername": "started_by_name",
    "lastmodified": "last_modified_at",
    "referenceid": "id",
    "startdate": "started_at",
    "status": "phase",
    "title": "name",
    "workflowtype": "workflow_type",
}


def instance_order(field: str | None, *, descending: bool) -> Order:
    """Read what a list of instances is ordered by; by where they are unless it is said.

    Raises:
        Refused: it cannot be ordered by that.
    """
    key = sorted_by(field or "CurrentStepDisplayName", INSTANCE_ORDERS)
    ranks = tuple(phases_of(one) for one in status.STANDINGS if phases_of(one)) if key == "phase" else ()
    return Order(key, descending=descending, ranks=ranks)


def instances(asked: Listing, whose: Whose) -> Wanted:
    """Read which instances a list is to have: all, those that the caller started, or those that they are to answer.

    Raises:
        Refused: the query or the sort field is none.
    """
    return Wanted(
        whose=whose,
        condition=typed(parse(asked.query), INSTANCES, datetime.now(UTC)),
        order=instance_order(asked.sort, descending=asked.descending),
        size=asked.limit,
        offset=(asked.page - 1) * asked.limit,
    )


def sorted_by(field: str, orders: Mapping[str, Found]) -> Found:
    """Find what a list is ordered by, whose fields are told by their names in lower case.

    Raises:
        Refused: it cannot be ordered by that.
    """
    found = orders.get(field.lower())
    if found is None:
        raise Refused(Code.SORT_FIELD, f"Invalid sort field: {field}.")
    return found
