"""Waiting for what nobody tells of."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

Found = TypeVar("Found")
PAUSE = 0.02  # seconds between two looks


@overload
async def eventually(look: Callable[[], Awaitable[Found | None]], seconds: float = ...) -> Found: ...


@overload
async def eventually(look: Callable[[], object], seconds: float = ...) -> object: ...


async def eventually(look: Callable[[], Any], seconds: float = 15) -> Any:
    """Look again and again until there is something; return that. Raises TimeoutError when the time is over."""
    async with asyncio.timeout(seconds):
        while True:
            found = look()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(PAUSE)


def blocked_until(happened: Callable[[], object], seconds: float) -> None:
    """Do the same where no loop runs."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(PAUSE)
