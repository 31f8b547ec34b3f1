"""Holds the database for as long as a verb works on it."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import NoReturn, TypeVar

from service.cli.terminal import told
from service.settings import settings
from tenancy.embedded import EmbeddedServer
from tenancy.errors import SetupRefused
from tenancy.postgres import pool, provide_embedded
from tenancy.schema import is_current

Result = TypeVar("Result")

MIGRATE_FIRST = "The database's schema is not current; run: tutti migrate"


@contextlib.contextmanager
def server() -> Iterator[None]:
    """Hold the embedded server for as long as the block runs, where the settings ask for it."""
    signal.signal(signal.SIGTERM, stopped)  # so that this block's end is reached
    if not settings().database.embedded:
        yield
        return
    embedded = EmbeddedServer(Path(settings().data_dir))
    starts = told.is_terminal and not (embedded.place.data / "postmaster.pid").exists()
    with told.status("Starting the embedded PostgreSQL ...") if starts else contextlib.nullcontext():
        embedded.start()
        asyncio.run(provide_embedded(embedded))
    try:
        yield
    finally:
        embedded.stop()


def stopped(number: int, _: object) -> NoReturn:
    """End the process the way it ends by itself: what it holds is let go."""
    sys.exit(128 + number)


@contextlib.asynccontextmanager
async def ready_database(size: int = 4) -> AsyncIterator[None]:
    """Open the pool on a database whose schema is current.

    Raises:
        SetupRefused: it is not; the message says what to run.
    """
    async with pool(size):
        if not await is_current():
            raise SetupRefused(MIGRATE_FIRST)
        yield


def perform(work: Callable[[], Awaitable[Result]]) -> Result:
    """Run one verb's work on the database."""

    async def performed() -> Result:
        async with ready_database():
            return await work()

    with server():
        return asyncio.run(performed())
