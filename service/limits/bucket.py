"""A bucket of requests that all processes share, of which each leases a few at a time.

The bucket is one row. What a process has leased it admits without a round trip, for a second; what it has not used by then
goes back with the next lease. A process that dies loses no more than one lease, and together all admit no more than the
bucket held, what has come into it since, and one lease of each.
"""

import asyncio
import math
import time
from uuid import UUID

from tenancy.rows import read

LEASE = "SELECT granted, level FROM lease_requests($1, $2, $3, $4, $5)"
LEASE_SECONDS = 1.0
SHARE = 8  # of the bucket, or of a second's requests, that a lease has at the most
REST = 0.02  # seconds; the least between two looks into an empty bucket
LONGEST_WAIT = 5  # seconds that a caller is told to wait; SDKs wait no longer, whatever they are told


class Bucket:
    """An account's bucket as this process sees it. `rate` requests a second come into it, `capacity` at the most are in it."""

    def __init__(self, account_id: UUID, rate: int, capacity: int) -> None:
        self.account_id = account_id
        self.rate = rate
        self.capacity = capacity
        self._lease = max(1, min(rate, capacity) // SHARE)
        self._left = 0  # of the lease; below 0 is what was used beyond it
        self._until = 0.0
        self._empty_until = 0.0
        self._level = float(capacity)  # of the row, when it was last seen
        self._seen_at = time.monotonic()
        self._leasing = asyncio.Lock()

    async def take(self) -> bool:
        """Take one request out of the bucket; False if it is empty."""
        if self._taken():
            return True
        async with self._leasing:
            while not self._taken():
                if time.monotonic() < self._empty_until:
                    return False
                await self._lease_more()  # which others may use up meanwhile
            return True

    def charge(self) -> None:
        """Take one request out of the bucket, whether there is one or not."""
        self._left -= 1

    def put_back(self) -> None:
        """Undo a `take`."""
        self._left += 1

    @property
    def remaining(self) -> int:
        """How many requests the account may make at once, as far as this process knows."""
        return max(0, min(self.capacity, math.floor(self._now())))

    @property
    def full_after(self) -> int:
        """Whole seconds after which the bucket is full again."""
        return max(0, math.ceil((self.capacity - self._now()) / self.rate))

    @property
    def filled_in(self) -> int:
        """Whole seconds in which an empty bucket becomes full."""
        return max(1, math.ceil(self.capacity / self.rate))

    @property
    def retry_after(self) -> int:
        """Whole seconds after which there is a request again."""
        return min(LONGEST_WAIT, max(1, math.ceil((1 - self._now()) / self.rate)))

    def _now(self) -> float:
        return min(self.capacity, self._level + (time.monotonic() - self._seen_at) * self.rate) + self._left

    def _taken(self) -> bool:
        if self._left < 1 or time.monotonic() >= self._until:
            return False
        self._left -= 1
        return True

    async def _lease_more(self) -> None:
        back, self._left = self._left, 0
        try:
            (row,) = await read(LEASE, self.account_id, self.rate, self.capacity, self._lease, back)
        except BaseException:
            self._left += back
            raise
        self._left += row["granted"]
        self._level, self._seen_at = row["level"], time.monotonic()
        self._until = self._seen_at + LEASE_SECONDS
        if not row["granted"]:
            self._empty_until = self._seen_at + max(REST, (1 - self._level) / self.rate)
