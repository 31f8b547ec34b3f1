"""When a delivery that failed is tried again, and when an endpoint is given up."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import msgspec

# Seconds between attempts: eleven attempts, the last some 27.8 hours after the first or, with jitter, up to 33.
DELAYS = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800, 43_200)
JITTER = (
    0.2  # of a delay, at most, that it takes longer, so that what failed together does not come back together
)
LONGEST_WISH = 43_200  # seconds that a receiver's Retry-After may put off an attempt


class Schedule(msgspec.Struct, frozen=True):
    """How deliveries are retried, and for how long an endpoint may fail on end before it is disabled."""

    delays: tuple[float, ...] = DELAYS
    patience: timedelta = timedelta(days=5)
    least: int = 10  # attempts that have to have failed

    def next_at(self, now: datetime, tries: int, wish: float = 0) -> datetime | None:
        """When to try again after so many failures; None when it has been tried enough.

        `wish` are seconds that the receiver asked to be left alone for.
        """
        if tries > len(self.delays):
            return None
        delay = self.delays[tries - 1] * random.uniform(1, 1 + JITTER)  # noqa: S311 - no secret
        return now + timedelta(seconds=max(delay, wish))


def wish_of(headers: Mapping[str, str], now: datetime) -> float:
    """The seconds that a Retry-After asks for (RFC 9110, 10.2.3), at most twelve hours; 0 without a valid one."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_WISH)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 0
    until = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max((until - now).total_seconds(), 0), LONGEST_WISH)
