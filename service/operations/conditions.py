"""What rows of a list are asked for: comparisons of their fields, all or some of which are to hold.

A comparison either holds or does not: of what is missing `eq` holds with nothing (None) alone, and every negative operator is
the exact opposite of its positive one. Texts are compared without regard to case.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Literal
from uuid import UUID

import msgspec

Operator = Literal[
    "eq", "ne", "lt", "le", "gt", "ge", "contains", "notcontains", "startswith", "endswith", "in"
]


class Special(Enum):
    """What is known only when the caller is."""

    ME = "me"  # the caller's id


Value = Special | str | int | bool | datetime | UUID | frozenset[Any] | None

OPPOSITES: dict[Operator, Operator] = {"ne": "eq", "notcontains": "contains"}


class Comparison(msgspec.Struct, frozen=True):
    """A field, how it is compared, and with what."""

    field: str
    operator: Operator
    value: Value


class Every(msgspec.Struct, frozen=True):
    """All of these hold; so does none at all."""

    parts: "tuple[Condition, ...]"


class Some(msgspec.Struct, frozen=True):
    """At least one of these holds; none at all does not."""

    parts: "tuple[Condition, ...]"


Condition = Comparison | Every | Some
ALWAYS, NEVER = Every(()), Some(())

# How the database compares texts: the field is {0}, what is asked for {1}.
IN_TEXT: dict[Operator, str] = {
    "eq": "lower({0}) = lower({1}::text)",
    "contains": "strpos(lower({0}), lower({1}::text)) > 0",
    "startswith": "starts_with(lower({0}), lower({1}::text))",
    "endswith": "right(lower({0}), length(lower({1}::text))) = lower({1}::text)",
}
_HOLDS: dict[Operator, Callable[[Any, Any], bool]] = {
    "eq": lambda held, asked: held == asked,
    "lt": lambda held, asked: held < asked,
    "le": lambda held, asked: held <= asked,
    "gt": lambda held, asked: held > asked,
    "ge": lambda held, asked: held >= asked,
    "contains": lambda held, asked: asked in held,
    "startswith": lambda held, asked: held.startswith(asked),
    "endswith": lambda held, asked: held.endswith(asked),
    "in": lambda held, asked: held in asked,
}


def changed(condition: Condition, change: Callable[[Comparison], Condition]) -> Condition:
    """Put something else in the place of each comparison, and leave out what always or never holds."""
    if isinstance(condition, Comparison):
        return change(condition)
    kind, nothing = (Every, NEVER) if isinstance(condition, Every) else (Some, ALWAYS)
    parts = []
    for part in condition.parts:
        one = changed(part, change)
        if one == nothing:
            return nothing
        if one != kind(()):
            parts.append(one)
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


def holds(condition: Condition, values: Mapping[str, Any]) -> bool:
    """Say whether a condition holds of values that are in memory."""
    if isinstance(condition, Every):
        return all(holds(part, values) for part in condition.parts)
    if isinstance(condition, Some):
        return any(holds(part, values) for part in condition.parts)
    positive = OPPOSITES.get(condition.operator)
    held, asked = folded(values[condition.field]), folded(condition.value)
    operator = positive or condition.operator
    found = _HOLDS[operator](held, asked) if operator in ("eq", "in") or held is not None else False
    return found != (positive is not None)


def folded(value: Any) -> Any:
    """Write a text as it is compared."""
    return value.lower() if isinstance(value, str) else value
