"""What an account may have at once: instances that have not ended, and bytes stored.

Instances are counted once a second by each process that starts some, and what it starts in between is added. Bytes are
measured in the background (see `measuring`). An account without the limit pays for a look into a dictionary.
"""

import asyncio
import time
from uuid import UUID

from service.errors import LimitReached
from service.limits.known import limits_of
from tenancy.rows import read

COUNT = "SELECT count_running($1, $2) AS running"
COUNTED_FOR = 1.0  # seconds; longer where counting takes its time
COUNTING_SHARE = 0.02  # of the time, that counting one account takes at the most
RETRY_AFTER = 5  # seconds; nobody knows when there will be space


class Count:
    """How many instances of an account have not ended, as far as this process knows."""

    def __init__(self) -> None:
        self.running = 0
        self._fresh_until = 0.0
        self._counting = asyncio.Lock()

    async def refresh(self, account_id: UUID, limit: int) -> None:
        """Count them, unless that was done a moment ago."""
        async with self._counting:
            began = time.monotonic()
            if began < self._fresh_until:
                return
            before = self.running
            (row,) = await read(COUNT, account_id, limit)
            now = time.monotonic()
            self.running = row["running"] + self.running - before  # and what was started meanwhile
            self._fresh_until = now + max(COUNTED_FOR, (now - began) / COUNTING_SHARE)


_counts: dict[UUID, Count] = {}


async def room(account_id: UUID) -> int | None:
    """Say how many instances an account may still start; None if that is not limited."""
    limits = limits_of(account_id)
    if limits is None or limits.running_instances is None:
        return None
    count = _counts.setdefault(account_id, Count())
    await count.refresh(account_id, limits.running_instances)
    return max(0, limits.running_instances - count.running)


def note_start(account_id: UUID, started: int = 1) -> None:
    """Keep in mind that instances of an account were started."""
    count = _counts.get(account_id)
    if count is not None:
        count.running += started


async def refusal_of_start(account_id: UUID, wanted: int = 1) -> LimitReached | None:
    """Say why an account may not start instances now; None if it may.

    The caller raises it once the account has let them in.
    """
    if limits_of(account_id) is None:
        return None
    left = await room(account_id)
    if left is not None and left < wanted:
        return too_many_running(account_id, left)
    return refusal_of_storage(account_id)


def too_many_running(account_id: UUID, left: int) -> LimitReached:
    """Say that an account has, or would have, too many instances that have not ended."""
    limits = limits_of(account_id)
    most = limits and limits.running_instances
    message = (
        f"The account may have {most} instances that have not ended, and there is room for {left} more: wait until some"
        " end, cancel some, or ask the operator of the service for more."
    )
    return LimitReached("RUNNING_INSTANCE_LIMIT_REACHED", message, RETRY_AFTER)


def refusal_of_storage(account_id: UUID) -> LimitReached | None:
    """Say why an account may store nothing now; None if it may."""
    limits = limits_of(account_id)
    if limits is None or limits.stored_bytes is None or (limits.measured_bytes or 0) <= limits.stored_bytes:
        return None
    message = (
        f"The account stores {limits.measured_bytes} bytes and may store {limits.stored_bytes}: delete instances, have ended"
        " ones removed sooner in the account's settings, or ask the operator of the service for more."
    )
    return LimitReached("STORAGE_LIMIT_REACHED", message, RETRY_AFTER)


def refuse_storing(account_id: UUID) -> None:
    """Refuse to store anything more of an account that stores too much.

    Raises:
        LimitReached: it does.
    """
    refusal = refusal_of_storage(account_id)
    if refusal is not None:
        raise refusal
