"""When a delivery is tried again: for more than a day, ever more slowly, and as the receiver wishes."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from service.webhooks.schedule import DELAYS, LONGEST_WISH, Schedule, wish_of

NOW = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)


def waits(schedule: Schedule) -> list[timedelta]:
    """How long each attempt is put off after the one before."""
    found = [schedule.next_at(NOW, tries) for tries in range(1, len(DELAYS) + 2)]
    assert found[-1] is None
    return [at - NOW for at in found if at is not None]


def test_attempts_go_on_for_more_than_a_day_and_end() -> None:
    for _ in range(20):
        waited = waits(Schedule())
        assert timedelta(hours=24) < sum(waited, timedelta()) < timedelta(hours=34)
        assert waited == sorted(waited)


def test_what_failed_together_does_not_come_back_together() -> None:
    assert len({Schedule().next_at(NOW, 5) for _ in range(50)}) > 40


def test_no_attempt_comes_before_its_documented_delay() -> None:
    for _ in range(50):
        assert all(
            seconds <= waited.total_seconds() <= 1.2 * seconds
            for seconds, waited in zip(DELAYS, waits(Schedule()), strict=True)
        )


def test_a_receiver_may_ask_for_more_time() -> None:
    at = Schedule().next_at(NOW, 1, wish_of({"retry-after": "1000"}, NOW))
    assert at == NOW + timedelta(seconds=1000)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (format_datetime(NOW + timedelta(minutes=2), usegmt=True), 120),
        (format_datetime(NOW - timedelta(minutes=2), usegmt=True), 0),
        ("9" * 400, LONGEST_WISH),
        ("-5", 0),
        ("1e9", 0),
        ("٣", 0),
        ("soon", 0),
        ("Mon, 99 Foo 99999 99:99:99 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 -2359", LONGEST_WISH),
        ("", 0),
    ],
)
def test_a_wish_is_read_as_seconds_or_as_a_time_and_bounded(text: str, seconds: float) -> None:
    assert wish_of({"retry-after": text}, NOW) == seconds
