"""The places of a worker: how many jobs of one lane it has under way at once, and whose."""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any
from uuid import UUID

from service.background import ended
from service.engine.bell import Lane
from service.engine.queue import Job, claim

OF_EACH = 16  # jobs that an account gets in its turn


class Places:
    """The places of one lane of the queue: who has how many, and whose turn is next."""

    def __init__(
        self,
        lane: Lane,
        places: int,
        most: int,
        together: int,
        work: Callable[[UUID, Sequence[Job]], Coroutine[Any, Any, None]],
    ) -> None:
        self.wake = asyncio.Event()
        self.left_some = False  # whether the last claim may not have taken all that there was
        self._lane: Lane = lane
        self._places = places
        self._most = most  # that one account may have
        self._together = together
        self._work = work
        self._taken: Counter[UUID] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._after = UUID(int=0)

    async def claim(self) -> list[Job]:
        """Lease some jobs of each account that has any, from the account behind the last one on."""
        free = self._places - len(self._tasks)
        self.left_some = free <= 0
        if free <= 0:
            return []
        # However many accounts are served, places are left for others: two take a quarter each, six an eighth.
        share = max(1, min(self._most, self._places // (len(self._taken) + 2)))
        served = [account_id for account_id, taken in self._taken.items() if taken >= share]
        accounts = max(1, free * self._together // OF_EACH)
        claimed = await claim(self._lane, accounts, OF_EACH, self._after, served)
        self._after, self.left_some = claimed.last, claimed.left_some
        return claimed.jobs

    def begin(self, account_id: UUID, jobs: Sequence[Job], done: Callable[[Iterable[Job]], None]) -> None:
        """Start the work on one account's jobs, as many in one place as are done together."""
        for first in range(0, len(jobs), self._together):
            self._begin(account_id, jobs[first : first + self._together], done)

    def _begin(self, account_id: UUID, jobs: Sequence[Job], done: Callable[[Iterable[Job]], None]) -> None:
        task = asyncio.create_task(self._work(account_id, jobs), context=contextvars.Context())
        self._tasks.add(task)
        self._taken[account_id] += 1

        def done_with(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._taken[account_id] -= 1
            if not self._taken[account_id]:
                del self._taken[account_id]
            if not task.cancelled():
                done(jobs)
            if self.left_some:
                self.wake.set()

        task.add_done_callback(done_with)

    async def ended(self, seconds: float) -> None:
        """Wait for what is under way, and cancel what takes longer."""
        await ended(self._tasks, seconds)
