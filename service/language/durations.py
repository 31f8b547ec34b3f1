"""Lengths of time as definitions write them (contract 6.1): an inline object or an ISO 8601 string.

A `${}` expression gives one of the two when it is evaluated; the same `duration` then reads its result.
"""

import calendar
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

CEILING_YEARS = 5

_UNITS = {"days": 86_400_000, "hours": 3_600_000, "minutes": 60_000, "seconds": 1_000, "milliseconds": 1}
_NUMBER = r"([0-9]{1,12}(?:\.[0-9]{1,12})?)"
_ISO = re.compile(
    rf"P(?=[0-9T])(?:{_NUMBER}Y)?(?:{_NUMBER}M)?(?:{_NUMBER}W)?(?:{_NUMBER}D)?"
    rf"(?:T(?=[0-9])(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?"
)
_ISO_SECONDS = (604_800, 86_400, 3_600, 60, 1)
# Whether a length of months and days passes the ceiling must not depend on the day it is asked.
_REFERENCE = datetime(2000, 1, 1, tzinfo=UTC)


class DurationRefused(ValueError):  # noqa: N818 - named after the situation
    """The value is no duration; the text says what one looks like."""


class Duration(msgspec.Struct, frozen=True):
    """A length of time: months by the calendar, and the rest by the clock."""

    months: int
    rest: timedelta


def duration(value: Any) -> Duration:
    """Read an inline object or an ISO 8601 string, or raise `DurationRefused`."""
    if isinstance(value, str):
        read = _iso(value)
    elif isinstance(value, dict):
        read = Duration(0, _limited(_inline(value), 1_000))
    else:
        raise DurationRefused(
            "A duration is an ISO 8601 string such as PT15M, or an object of "
            f"{', '.join(_UNITS)}; a bare number has no unit."
        )
    if until(read, _REFERENCE) > _REFERENCE.replace(year=_REFERENCE.year + CEILING_YEARS):
        raise _too_long()
    return read


def until(length: Duration, start: datetime) -> datetime:
    """The instant `length` after `start`: months by the UTC calendar with the day clamped, the rest exactly."""
    begin = start.astimezone(UTC)
    years, month = divmod(begin.month - 1 + length.months, 12)
    year = begin.year + years
    day = min(begin.day, calendar.monthrange(year, month + 1)[1])
    return begin.replace(year=year, month=month + 1, day=day) + length.rest


def _inline(value: dict[str, Any]) -> int:
    """The milliseconds of an inline object."""
    if not value:
        raise DurationRefused(f"A duration needs at least one of {', '.join(_UNITS)}.")
    for name, amount in value.items():
        if name not in _UNITS:
            raise DurationRefused(f"A duration has no field {name!r}; it has {', '.join(_UNITS)}.")
        whole = isinstance(amount, int) or (isinstance(amount, float) and amount.is_integer())
        if isinstance(amount, bool) or not whole:
            raise DurationRefused(f"The {name} of a duration are a whole number.")
        if amount < 0:
            raise DurationRefused(f"The {name} of a duration cannot be negative.")
    return sum(_UNITS[name] * int(amount) for name, amount in value.items())


def _iso(text: str) -> Duration:
    match = _ISO.fullmatch(text)
    if match is None:
        raise DurationRefused(
            f"{text[:64]!r} is not an ISO 8601 duration; write P[nY][nM][nW][nD][T[nH][nM][nS]], "
            "for example P1DT12H or PT0.5S, without a sign."
        )
    parts = [Decimal(part or 0) for part in match.groups()]
    years, months, *others = parts
    if years % 1 or months % 1:
        raise DurationRefused(
            "Years and months of a duration are whole: a part of a month has no fixed length."
        )
    seconds = sum(part * unit for part, unit in zip(others, _ISO_SECONDS, strict=True))
    whole_months = int(years) * 12 + int(months)
    if whole_months > CEILING_YEARS * 12:
        raise _too_long()
    return Duration(whole_months, _limited(int(seconds * 1_000_000), 1_000_000))


def _limited(amount: int, per_second: int) -> timedelta:
    """The amount as a timedelta, which itself would overflow on a big one."""
    if amount > (CEILING_YEARS * 366 * 86_400) * per_second:
        raise _too_long()
    return timedelta(microseconds=amount * (1_000_000 // per_second))


def _too_long() -> DurationRefused:
    return DurationRefused(f"A duration is at most {CEILING_YEARS} years.")
