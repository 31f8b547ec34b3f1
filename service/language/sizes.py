"""How large and how deep values are that are put together in this process, where one value may stand in many places.

A template may name one value in many places, and the next template that one again: without a limit the size doubles with
every task while the memory does not show it. What was measured lately is remembered, so that a workflow which carries a
large value along does not hold up everybody by having it walked over for every task.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple

VALUE_BYTES = 1_048_576  # of what is put together, as of what the sandbox answers
VALUE_DEPTH = 512  # levels
REMEMBERED_FROM = 8_192  # bytes; smaller ones are measured as fast as they are looked up
REMEMBERED = 64  # values, which stay in memory for it


class Size(NamedTuple):
    """About how many bytes a value has as JSON, each of its places counted, and how many levels."""

    size: int
    depth: int


class Measured(NamedTuple):
    """A value and its size; values are shared and never changed."""

    value: Any
    size: Size


class TooLargeError(Exception):
    """The value has more than `VALUE_BYTES`."""


class TooDeepError(Exception):
    """The value has more than `VALUE_DEPTH` levels."""


_measured: OrderedDict[int, Measured] = OrderedDict()


class Walk:
    """A container that is being walked over: what is left of it, and what has been found so far."""

    __slots__ = ("depth", "left", "size", "value")

    def __init__(self, value: dict[str, Any] | list[Any]) -> None:
        self.value = value
        self.left: Iterator[Any] = iter(value.values() if isinstance(value, dict) else value)
        self.size = 4 + len(value) + (sum(map(len, value)) if isinstance(value, dict) else 0)
        self.depth = 1


def measure(value: Any) -> Size:
    """Measure a value; gives up as soon as a limit is passed.

    Raises:
        TooLargeError, TooDeepError: it passes a limit.
    """
    if not isinstance(value, dict | list):
        return Size(4 + (len(value) if isinstance(value, str) else 0), 1)
    walks = [Walk(value)]
    while True:
        walk = walks[-1]
        inner = _next_container(walk)
        if walk.size > VALUE_BYTES:
            raise TooLargeError
        if inner is not None:
            if len(walks) >= VALUE_DEPTH:
                raise TooDeepError
            walks.append(Walk(inner))
            continue
        walks.pop()
        found = Size(walk.size, walk.depth)
        if found.size >= REMEMBERED_FROM:
            _remember(walk.value, found)
        if not walks:
            return found
        _add(walks[-1], found)


def _next_container(walk: Walk) -> dict[str, Any] | list[Any] | None:
    """Count what of a container is no container itself, or is known, up to the next one that has to be walked over."""
    for inner in walk.left:
        if not isinstance(inner, dict | list):
            walk.size += 4 + (len(inner) if isinstance(inner, str) else 0)
            continue
        known = _measured.get(id(inner))
        if known is None or known.value is not inner:
            return inner
        _measured.move_to_end(id(inner))
        _add(walk, known.size)
        if walk.size > VALUE_BYTES:
            return None
    return None


def _add(walk: Walk, inner: Size) -> None:
    walk.size += inner.size
    walk.depth = max(walk.depth, 1 + inner.depth)


def _remember(value: Any, size: Size) -> None:
    _measured[id(value)] = Measured(value, size)
    _measured.move_to_end(id(value))
    while len(_measured) > REMEMBERED:
        _measured.popitem(last=False)
