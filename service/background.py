"""Work that goes on beside something else and ends with it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextvars import Context
from typing import Any

LET_GO_SECONDS = (
    2.5  # for work that is broken off: it gives its connection back, which takes at most REST_SECONDS
)


@contextlib.asynccontextmanager
async def beside(work: Coroutine[Any, Any, None], *, context: Context | None = None) -> AsyncIterator[None]:
    """Do something that never ends for as long as the block runs; in a context of its own where one is given."""
    task = asyncio.create_task(work, context=context)
    try:
        yield
    finally:
        await ended([task], 0)


async def ended(tasks: Iterable[asyncio.Task[None]], seconds: float) -> None:
    """Wait for tasks that have been told to end; those that take longer are broken off, and left to themselves if they hang."""
    late = set(tasks)
    if late and seconds > 0:
        _, late = await asyncio.wait(late, timeout=seconds)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=LET_GO_SECONDS)
