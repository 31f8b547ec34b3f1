"""What is stored, asked behind the service's back."""

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from service.settings import settings
from tenancy.postgres import connected

TABLES = (
    "account",
    "membership",
    "client",
    "workflow",
    "workflow_version",
    "instance",
    "timer",
    "signal",
    "event",
)
DIGEST = " UNION ALL ".join(
    f"SELECT '{table}', count(*), md5(string_agg(one::text, '|' ORDER BY one::text)) FROM {table} AS one"
    for table in TABLES
)


async def digest(accounts: Iterable[UUID]) -> dict[str, Any]:
    """Count and digest every row of the accounts, and count the jobs."""
    found: dict[str, Any] = {}
    async with connected(settings().database.owner) as connection:
        found["jobs"] = await connection.fetchval("SELECT count(*) FROM pgqueuer")
        for account in accounts:
            async with connection.transaction():
                await connection.execute("SELECT set_config('app.account_id', $1, true)", str(account))
                for table, *rest in await connection.fetch(DIGEST):
                    found[f"{table} of {account}"] = rest
    return found


async def at_rest(accounts: list[UUID]) -> None:
    """Wait until the engine has nothing left to do."""
    before: dict[str, Any] = {}
    async with asyncio.timeout(20):
        while before.get("jobs") != 0 or before != await digest(accounts):
            await asyncio.sleep(0.05)
            before = await digest(accounts)
