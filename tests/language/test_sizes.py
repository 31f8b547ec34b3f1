"""Values that are put together here have limits, however often they share their parts."""

import time
from typing import Any

import pytest

from service.language.sizes import VALUE_BYTES, VALUE_DEPTH, TooDeepError, TooLargeError, measure


def nested(levels: int) -> Any:
    """Make a list of so many levels."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_every_place_of_a_shared_value_counts() -> None:
    once = ["x" * 1000]
    assert measure([once, once]).size > 2 * measure(once).size


def test_a_value_that_doubles_unseen_is_too_large() -> None:
    value: Any = ["x" * 1000]
    for _ in range(9):
        value = {"a": value, "b": value}
        measure(value)
    for _ in range(31):
        value = {"a": value, "b": value}
    with pytest.raises(TooLargeError):
        measure(value)


def test_levels_are_counted_through_values_that_were_measured_before() -> None:
    assert measure(nested(VALUE_DEPTH)).depth == VALUE_DEPTH
    with pytest.raises(TooDeepError):
        measure(nested(VALUE_DEPTH + 1))
    large = [nested(300), "x" * 10_000]
    assert measure(large).depth == 301
    value: Any = large
    for _ in range(300):
        value = [value]
    assert measure(value).depth == 601


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "text", [], {}, {"a": [1, {"b": None}]}])
def test_small_values_are_within_the_limits(value: Any) -> None:
    assert measure(value).size < 100


def test_a_large_value_is_walked_over_once() -> None:
    value = list(range(100_000))
    began = time.process_time()
    first = measure(value)
    once = time.process_time() - began
    began = time.process_time()
    for _ in range(1_000):
        assert measure({"carried": value, "along": True}).size > first.size
    assert time.process_time() - began < 10 * once
    assert first.size < VALUE_BYTES
