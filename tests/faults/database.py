"""Ways to take the tests' database away from the application, and to give it back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

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
async def stopped() -> AsyncIterator[None]:
    """Stop PostgreSQL for as long as the block runs; it breaks off whatever is under way, and keeps what was committed."""
    await mender.close()
    place = SERVER.place
    await asyncio.to_thread(place.command, "pg_ctl", "stop", "-D", place.data.name, "-m", "fast", "-w")
    try:
        yield
    finally:
        await asyncio.to_thread(SERVER.revive)
