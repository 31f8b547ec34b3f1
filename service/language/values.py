"""What a JSON value may hold that comes from outside: its numbers, keys, characters, depth and breadth.

`inspected` is the guard that stands before everything which walks, stores or prints such a value; the readers of JSON and
of YAML make their numbers and objects here, so that one value has the same limits in both.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from service.language.document import DocumentRefused
from service.language.errors import Problem, below

# Contract 1.6, suggested limits.
DEPTH_LIMIT = 128  # levels of objects and lists; 20 nested tasks with data in the innermost stay far below
PLACE_LIMIT = 2_000  # characters of a JSON Pointer: every place below a long key would carry it again
PROBLEM_LIMIT = 100  # problems and warnings each; nobody reads more, and each costs more than what caused it
NUMBER_LIMIT = 1_000  # digits; longer ones cost quadratic time to read

# The largest integer that every SDK, jq and JSON reader of doubles takes for what it is.
LARGEST_INTEGER = 2**53 - 1
# Arrays and objects in one another, of inputs and outputs. An answer holds them up to four levels deep, and common JSON
# readers stop at 64.
DEEPEST_VALUE = 60
NUL = "\0"
NO_NUL = "must not contain the NUL character (U+0000)"

# Characters that Postgres and other JSON readers refuse.
_HARMFUL = re.compile("[\\0\\ud800-\\udfff]")


class _Repeating(dict[str, Any]):
    """An object whose text gave some of its keys twice."""

    repeated: Sequence[str] = ()


class Unreadable(ValueError):  # noqa: N818 - named after the situation
    """The text means no JSON value."""


def refused(code: str, message: str, pointer: str) -> DocumentRefused:
    """The refusal for one problem that ends the reading at once."""
    return DocumentRefused([Problem(code, message, pointer)])


def too_deep(pointer: str) -> DocumentRefused:
    return refused(
        "too_deep", f"A definition has at most {DEPTH_LIMIT} levels of objects and lists.", pointer
    )


def object_of(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The object; keys that came twice are remembered for `inspected`."""
    members: dict[str, Any] = {}
    repeated = []
    for key, value in pairs:
        if key in members:
            repeated.append(key)
        members[key] = value
    if not repeated:
        return members
    marked = _Repeating(members)
    marked.repeated = repeated
    return marked


def integer(digits: str) -> int:
    """An exact integer, or `Unreadable`."""
    if len(digits) > NUMBER_LIMIT:
        raise Unreadable(f"A number has at most {NUMBER_LIMIT} digits.")
    return int(digits)


def real(digits: str) -> float:
    """A finite number, or `Unreadable`."""
    number = float(digits)
    if math.isinf(number):
        raise Unreadable(f"The number {digits[:40]} is out of range.")
    return number


def inspected(value: Any, code: str) -> Any:
    """The value, once nothing in it can harm whoever walks, stores or prints it."""
    problems: list[Problem] = []
    _inspect(value, "", code, problems)
    if problems:
        raise DocumentRefused(problems[:PROBLEM_LIMIT])
    return value


def _inspect(value: Any, pointer: str, code: str, problems: list[Problem], depth: int = 0) -> None:
    """Look at a value and all inside it; pointers of plain values are only made for what is wrong."""
    if depth >= DEPTH_LIMIT and not isinstance(value, str):
        raise too_deep("/".join(pointer.split("/")[:4]))
    if len(pointer) > PLACE_LIMIT:
        message = f"The names that lead to a value have at most {PLACE_LIMIT} characters together."
        raise refused("too_large", message, "/".join(pointer[:PLACE_LIMIT].split("/")[:-1]))
    texts = [value] if isinstance(value, str) else value if isinstance(value, dict) else ()
    message = "NUL characters and lone surrogates are not allowed."
    problems += [Problem(code, message, pointer) for text in texts if _HARMFUL.search(text)]
    if isinstance(value, _Repeating):
        problems += [
            Problem("duplicate_key", f"The key {key!r} stands here twice.", _place_of(pointer, key))
            for key in value.repeated[:PROBLEM_LIMIT]
        ]
    for key, inner in _members(value):
        if isinstance(inner, dict | list) or (isinstance(inner, str) and _HARMFUL.search(inner)):
            _inspect(inner, _place_of(pointer, key), code, problems, depth + 1)


def _place_of(pointer: str, key: str | int) -> str:
    """The pointer of a member as text that can be sent, which a key that is refused may not be."""
    return _HARMFUL.sub("?", below(pointer, key))


def members_below(pointer: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Each member of a collection with its pointer, one at a time."""
    return ((below(pointer, key), inner) for key, inner in _members(value))


def _members(value: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def flaw(value: Any) -> str | None:
    """Say what of a trigger's input PostgreSQL or JSON readers cannot hold: NUL characters, huge integers, depth."""
    for node, depth in nodes(value):
        if isinstance(node, str) and NUL in node:
            return NO_NUL
        if isinstance(node, int | float) and abs(node) > LARGEST_INTEGER:
            return f"must not contain numbers beyond {LARGEST_INTEGER}; send a string"
        if depth > DEEPEST_VALUE:
            return f"must not be nested more than {DEEPEST_VALUE} levels deep"
    return None


def is_deep(value: Any) -> bool:
    """Say whether a value is nested deeper than readers of an answer that holds it may follow."""
    return any(depth > DEEPEST_VALUE for _, depth in nodes(value))


def nodes(value: Any) -> Iterator[tuple[Any, int]]:
    """Walk over a value, its keys and all inside it; with each collection comes the number of those it ends."""
    waiting = [(value, 1)]
    while waiting:
        node, depth = waiting.pop()
        if isinstance(node, dict | list):
            yield node, depth
            parts = [*node, *node.values()] if isinstance(node, dict) else node
            waiting.extend((part, depth + 1) for part in parts)
        else:
            yield node, 0
