"""Ways to take the tests' database away from the application, and to give it back."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from service.settings import settings
from tenancy.postgres import connected
from tests.conftest import SERVER
from tests.copying import mender
from tests.tenancy.databases import superuser

CUT = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'tutti_app'"


async def cut() -> int:
    """Cut every connection of the application's; return how many there were."""
    async with connected(superuser("postgres")) as connection:
        count: int = await connection.fetchval(CUT)
        return count


@contextlib.asynccontextmanager
async def full() -> AsyncIterator[None]:
    """Let the application have no connection for as long as the block runs."""
    async with connected(superuser("postgres")) as connection:
        await connection.execute("ALTER ROLE tutti_app CONNECTION LIMIT 0")
        try:
            await connection.execute(CUT)
            yield
        finally:
            await connection.execute("ALTER ROLE tutti_app CONNECTION LIMIT -1")


@contextlib.asynccontextmanager
async def locked(table: str) -> AsyncIterator[None]:
    """Have every statement about a table wait for as long as the block runs, or for as long as it may."""
    async with connected(settings().database.owner) as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {table}")
        yield


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[None]:
    """Have PostgreSQL say nothing for as long as the block runs: no answer, and no error either."""
    await mender.close()
    first = int((SERVER.place.data / "postmaster.pid").read_text().split()[0])
    os.kill(first, signal.SIGSTOP)  # so that it makes no more
    processes = [first, *children(first)]
    try:
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in reversed(processes):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def children(of: int) -> list[int]:
    """The processes that a process has made."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = status.read_text().rpartition(")")[2].split()[1]
            if int(parent) == of:
                found.append(int(status.parent.name))
    return found


@contextlib.asynccontextmanager
async def stopped() -> AsyncIterator[None]:
    """Stop PostgreSQL for as long as the block runs; it breaks off whatever is under way, and keeps what was committed."""
    await mender.close()
    place = SERVER.place
    await asyncio.to_thread(place.command, "pg_ctl", "stop", "-D", place.data.name, "-m", "fast", "-w")
    try:
        yield
    finally:
        await asyncio.to_thread(SERVER.revive)
