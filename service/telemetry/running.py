"""What a process tells for as long as it runs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from service.background import beside
from service.language.sandbox import Sandbox
from service.telemetry import tracing
from service.telemetry.sampling import sampling


@contextlib.asynccontextmanager
async def telling(sandbox: Sandbox) -> AsyncIterator[None]:
    """Send traces if the environment says where to, and look at what the process has; at the end send what is left."""
    tracing.begin()
    try:
        async with beside(sampling(sandbox)):
            yield
    finally:
        await asyncio.to_thread(tracing.end)
