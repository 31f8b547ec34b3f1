"""Durations: what is one, and which instant lies that far away."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.language.durations import Duration, DurationRefused, duration, until

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"days": 1, "hours": 2, "minutes": 3, "seconds": 4, "milliseconds": 5},
            "2024-02-01T14:03:04.005+00:00",
        ),
        ({"seconds": 0}, "2024-01-31T12:00:00+00:00"),
        ({"seconds": 90.0}, "2024-01-31T12:01:30+00:00"),
        ("PT0.5S", "2024-01-31T12:00:00.500+00:00"),
        ("PT1.5H", "2024-01-31T13:30:00+00:00"),
        ("P1W", "2024-02-07T12:00:00+00:00"),
        ("P0.5D", "2024-02-01T00:00:00+00:00"),
        ("P1M", "2024-02-29T12:00:00+00:00"),
        ("P13M", "2025-02-28T12:00:00+00:00"),
        ("P1Y2M3DT4H5M6S", "2025-04-03T16:05:06+00:00"),
        ("P1Y11M", "2025-12-31T12:00:00+00:00"),
        ("P5Y", "2029-01-31T12:00:00+00:00"),
    ],
)
def test_a_duration_leads_to_an_instant(value: Any, expected: str) -> None:
    assert until(duration(value), NOON) == datetime.fromisoformat(expected)


def test_months_are_counted_in_utc() -> None:
    east = datetime.fromisoformat("2024-03-01T01:00:00+02:00")  # still February in UTC
    assert until(Duration(1, timedelta()), east) == datetime(2024, 3, 29, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (5, "a bare number has no unit"),
        (None, "ISO 8601"),
        ([], "ISO 8601"),
        ({}, "at least one of days"),
        ({"Days": 1}, "no field 'Days'"),
        ({"days": -1}, "cannot be negative"),
        ({"days": True}, "whole number"),
        ({"days": 0.5}, "whole number"),
        ({"days": "1"}, "whole number"),
        ({"days": 1828}, "at most 5 years"),
        ({"milliseconds": 10**400}, "at most 5 years"),
        ("", "is not an ISO 8601 duration"),
        ("P", "is not an ISO 8601 duration"),
        ("PT", "is not an ISO 8601 duration"),
        ("P1DT", "is not an ISO 8601 duration"),
        ("P1", "is not an ISO 8601 duration"),
        ("-P1D", "without a sign"),
        ("P1S", "is not an ISO 8601 duration"),
        ("P1D\n", "is not an ISO 8601 duration"),
        ("P٣D", "is not an ISO 8601 duration"),
        ("P0.5Y", "Years and months of a duration are whole"),
        ("P1.5M", "Years and months of a duration are whole"),
        ("P5Y1D", "at most 5 years"),
        ("P6Y", "at most 5 years"),
        ("P999999999999D", "at most 5 years"),
    ],
)
def test_what_is_no_duration_is_refused_with_the_reason(value: Any, words: str) -> None:
    with pytest.raises(DurationRefused, match=words):
        duration(value)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists)
    | st.dictionaries(st.sampled_from(["days", "hours", "milliseconds"]), st.integers() | st.floats())
)
def test_any_value_is_a_duration_or_refused(value: Any) -> None:
    try:
        length = duration(value)
    except DurationRefused:
        return
    assert NOON <= until(length, NOON) <= NOON + timedelta(days=5 * 366)
