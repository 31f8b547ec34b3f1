"""What jq's operators and functions make of values, for those values for which it is certain to the last digit.

Everywhere else `SandboxNeededError` is raised: only jq itself can tell then, be it a value or an error. Numbers are those
that doubles hold exactly, and nothing that is made here is large.
"""

import json
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NoReturn

WIDTH_LIMIT: Final = 1_000
"""Entries of the objects and lists that `+` makes."""
STRING_LIMIT: Final = 65_536
"""Characters of the strings that `+` and `\\(…)` make."""
RESULT_LIMIT: Final = 262_144
"""Bytes of a result that has been put together, counted generously; far below what the sandbox lets through."""
SCALAR_BYTES: Final = 40
"""Of such a result for each number, constant, key and pair of brackets or quotation marks."""
LEVEL_LIMIT: Final = 64
"""Levels of such a result."""
EXACT: Final = 2**53
"""Up to here doubles hold every integer."""
KEPT: Final = {int: 2**64, float: EXACT}
"""Up to here numbers keep their text on their way through jq: it writes 12345678901234568e0 as an integer."""

NUMBERS: Final = frozenset({int, float})
CONSTANTS: Final = frozenset({type(None), bool})
SIZED: Final = frozenset({str, list, dict})


class SandboxNeededError(Exception):
    """Only jq itself can tell."""


def beyond() -> NoReturn:
    """Leave it to the sandbox."""
    raise SandboxNeededError


def is_true(value: Any) -> bool:
    """Truth as jq has it: null and false are false, everything else (0, "", []) is true."""
    return value is not None and value is not False


def numbers(left: Any, right: Any) -> bool:
    """Whether both are numbers that are the same here, in JSON and in jq."""
    return (
        type(left) in NUMBERS
        and type(right) in NUMBERS
        and -EXACT <= left <= EXACT
        and -EXACT <= right <= EXACT
    )


def computed(number: float) -> float:
    """A result as jq writes it: without a fraction it is an integer."""
    if not -EXACT <= number <= EXACT or (number == 0 and math.copysign(1, number) < 0):
        beyond()
    whole = int(number)
    return whole if whole == number else number


def plus(left: Any, right: Any) -> Any:
    """`left + right`; null is nothing."""
    if left is None:
        return right
    if right is None:
        return left
    if numbers(left, right):
        return computed(left + right)
    kind = type(left)
    if kind is not type(right):
        beyond()
    if kind is str:
        return joined(left, right)
    if (kind is not dict and kind is not list) or len(left) + len(right) > WIDTH_LIMIT:
        beyond()
    return left | right if kind is dict else left + right


def joined(left: str, right: str) -> str:
    """Two strings as one."""
    if len(left) + len(right) > STRING_LIMIT:
        beyond()
    return left + right


def minus(left: Any, right: Any) -> Any:
    """`left - right` of numbers."""
    return computed(left - right) if numbers(left, right) else beyond()


def times(left: Any, right: Any) -> Any:
    """`left * right` of numbers; a zero that may be a negative one is jq's."""
    if not numbers(left, right):
        beyond()
    product = left * right
    return computed(product) if product != 0 or (left >= 0 and right >= 0) else beyond()


def divided(left: Any, right: Any) -> Any:
    """`left / right` of numbers."""
    return computed(left / right) if numbers(left, right) and right != 0 else beyond()


def remainder(left: Any, right: Any) -> Any:
    """`left % right` of natural numbers, for which everyone agrees."""
    natural = type(left) is int and type(right) is int and 0 <= left <= EXACT and 0 < right <= EXACT
    return left % right if natural else beyond()


RANKS: Final[Mapping[type, int]] = {type(None): 0, bool: 1, int: 3, float: 3, str: 4, list: 5, dict: 6}


def rank(value: Any) -> int:
    """The place of a value's kind in jq's order; true has one of its own."""
    place = RANKS.get(type(value))
    return beyond() if place is None else place + (value is True)


def order(left: Any, right: Any) -> int:
    """Below 0 when `left` is less, 0 when both are equal, above 0 when it is greater."""
    if numbers(left, right) or texts(left, right):
        return int(left > right) - int(left < right)
    place, other = rank(left), rank(right)
    if place != other:
        return place - other
    return 0 if place < RANKS[int] else beyond()


def texts(left: Any, right: Any) -> bool:
    """Whether both are strings, whose order here, by code points, is jq's, by bytes of UTF-8."""
    return type(left) is str and type(right) is str and is_text(left) and is_text(right)


def is_equal(left: Any, right: Any) -> bool:
    """`left == right`; of two lists or objects one is empty."""
    kind = type(left)
    if (kind is list or kind is dict) and kind is type(right) and not (left and right):
        return not left and not right
    return order(left, right) == 0


def is_text(value: str) -> bool:
    """Whether a string is short, and has no half of a surrogate pair."""
    if len(value) > STRING_LIMIT or value.isascii():
        return len(value) <= STRING_LIMIT
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def length(value: Any) -> Any:
    """`length` of anything but a fraction."""
    kind = type(value)
    if value is None:
        return 0
    if kind is list or kind is dict or (kind is str and is_text(value)):
        return len(value)
    return abs(value) if kind is int and numbers(value, value) else beyond()


def as_text(value: Any) -> str:
    """`tostring` of what is no list, no object and no fraction."""
    kind = type(value)
    if kind is str and is_text(value):
        return str(value)
    is_plain = value is None or kind is bool or (kind is int and numbers(value, value))
    return json.dumps(value) if is_plain else beyond()


def bounded(value: Any) -> Any:
    """A value that has been put together, if it is small: it may hold one part many times."""
    if type(value) in SIZED:
        spend((value,), RESULT_LIMIT, LEVEL_LIMIT)
    return value


def spend(values: Collection[Any], budget: int, levels: int) -> int:
    """What is left of a budget of bytes after some values: no text of them, jq's or ours, is longer."""
    budget -= SCALAR_BYTES * len(values)
    if budget < 0 or levels < 0:
        beyond()
    for value in values:
        kind = type(value)
        if kind is str:
            budget -= 6 * len(value) if value.isascii() else text_bytes(value)
        elif kind is dict:
            keys = "".join(value)
            budget = spend(value.values(), budget - text_bytes(keys), levels - 1)
        elif kind is list:
            budget = spend(value, budget, levels - 1)
        elif kind not in CONSTANTS and not is_kept(value):
            beyond()
    return budget if budget >= 0 else beyond()


def is_kept(value: Any) -> bool:
    """Whether a value is a number that comes out of jq as it went in."""
    limit = KEPT.get(type(value), -1)
    return limit > 0 and -limit <= value <= limit


def text_bytes(text: str) -> int:
    """Bytes of a string in JSON, all of it escaped."""
    return 6 * len(text) if is_text(text) else beyond()


OPERATIONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": plus,
    "-": minus,
    "*": times,
    "/": divided,
    "%": remainder,
    "==": is_equal,
    "!=": lambda left, right: not is_equal(left, right),
    "<": lambda left, right: order(left, right) < 0,
    "<=": lambda left, right: order(left, right) <= 0,
    ">": lambda left, right: order(left, right) > 0,
    ">=": lambda left, right: order(left, right) >= 0,
}
FUNCTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "not": lambda value: not is_true(value),
    "length": length,
    "tostring": as_text,
}
