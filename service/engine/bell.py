"""Tells workers of new jobs when they have been committed: this process's at once, the others' by a notification.

A notification is a transaction of its own, at most one in `APART` for all jobs of a process: PostgreSQL lets transactions
that notify commit one after the other, each with its own wait for the disk (8 clients: 321 commits/s instead of 1,751).
One that is lost costs a second, as workers look by themselves that often.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Literal

from service.background import beside
from tenancy.rows import after_commit, read

logger = logging.getLogger("tutti.worker")

CHANNEL = "tutti_jobs"  # its notifications carry the lane
APART = 0.01  # seconds

Lane = Literal["advance", "perform"]

_hearers: set[Callable[[Lane], None]] = set()


def ring(lanes: Iterable[Lane]) -> None:
    """Tell of jobs that have been committed."""
    for lane in lanes:
        for hear in _hearers:
            hear(lane)


def ring_after_commit(lanes: Iterable[Lane]) -> None:
    """Tell of jobs in the open transaction, once it is committed."""
    chosen = frozenset(lanes)
    after_commit(lambda: ring(chosen))


@contextlib.contextmanager
def hearing(hear: Callable[[Lane], None]) -> Iterator[None]:
    """Call `hear` whenever this process rings, for as long as the block runs."""
    _hearers.add(hear)
    try:
        yield
    finally:
        _hearers.discard(hear)


@contextlib.asynccontextmanager
async def telling_others() -> AsyncIterator[None]:
    """Pass on to other processes what this one rings, for as long as the block runs."""
    untold: set[Lane] = set()
    rung = asyncio.Event()

    def hear(lane: Lane) -> None:
        untold.add(lane)
        rung.set()

    async def tell() -> None:
        while True:
            await rung.wait()
            rung.clear()
            lanes = list(untold)
            untold.clear()
            try:
                await read("SELECT pg_notify($1, lane) FROM unnest($2::text[]) AS lane", CHANNEL, lanes)
            except Exception as error:  # noqa: BLE001 - others look by themselves meanwhile
                logger.warning("bell: %s; others were not told of new jobs", type(error).__name__)
            await asyncio.sleep(APART)

    with hearing(hear):
        async with beside(tell()):
            yield
