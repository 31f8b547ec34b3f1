"""Work that goes on beside something else and ends with it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextvars import Context
from typing import Any


@contextlib.asynccontextmanager
async def beside(work: Coroutine[Any, Any, None], *, context: Context | None = None) -> AsyncIterator[None]:
    """Do something that never ends for as long as the block runs; in a context of its own where one is given."""
    task = asyncio.create_task(work, context=context)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
