"""Holds the database for as long as a verb works on it."""

import asyncio
import contextlib
import logging
import signal
import sys
import threading
import time
from collections import deque
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

WATCH_EVERY = 1.0  # seconds between looks whether the embedded server lives
REVIVALS = 5  # times that it is started again ...
REVIVALS_WITHIN = 600.0  # ... in so many seconds

logger = logging.getLogger("tutti.database")

MIGRATE_FIRST = "The database's schema is not current; run: tutti migrate"


@contextlib.contextmanager
def server(*, watched: bool = False) -> Iterator[None]:
    """Hold the embedded server for as long as the block runs, where the settings ask for it.

    Where it is `watched` it is started again should it die meanwhile.
    """
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
        with watching(embedded) if watched else contextlib.nullcontext():
            yield
    finally:
        embedded.stop()


@contextlib.contextmanager
def watching(embedded: EmbeddedServer) -> Iterator[None]:
    """Start an embedded server again that dies, for as long as the block runs: so many times in a while, then people have to."""
    stopping = threading.Event()

    def watch() -> None:
        attempts: deque[float] = deque(maxlen=REVIVALS)
        told_of = False
        while not stopping.wait(WATCH_EVERY):
            if embedded.alive():
                continue
            if len(attempts) == REVIVALS and time.monotonic() - attempts[0] < REVIVALS_WITHIN:
                if not told_of:
                    logger.error(
                        "the embedded PostgreSQL died %d times; look at its log, then: tutti migrate",
                        REVIVALS,
                    )
                told_of = True
                continue
            told_of = False
            try:
                if embedded.revive():
                    attempts.append(time.monotonic())
                    logger.warning("the embedded PostgreSQL had died and was started again")
            except (SetupRefused, OSError) as error:
                attempts.append(time.monotonic())
                logger.error("the embedded PostgreSQL died: %s", error)  # noqa: TRY400 - it says all there is

    thread = threading.Thread(target=watch, name="embedded", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(WATCH_EVERY)  # it may be starting the server just now, which takes its time


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
