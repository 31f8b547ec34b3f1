"""Two tenants with a row in every table that belongs to accounts."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tenancy.rows import rows_of
from tests.tenancy.catalogue import owned_tables
from tests.world import Tenant, World, bearer, trigger

SLEEPING: dict[str, Any] = {
    "document": {"dsl": "1.0.3", "namespace": "tests", "name": "sleeping", "version": "1.0.0"},
    "do": [{"sleep": {"wait": {"days": 3}}}],
}


@pytest.fixture
async def furnished(world: World, client: httpx.AsyncClient) -> World:
    """Both tenants own rows in every table: also an instance with a timer, and an event that it does not take."""
    for tenant in (world.acme, world.globex):
        await furnish(client, tenant)
    return world


async def furnish(client: httpx.AsyncClient, tenant: Tenant) -> None:
    """Give a tenant rows in the tables that its making has left empty."""
    await tenant.publish(SLEEPING)
    url = await trigger(client, tenant, "sleeping", {})
    sent = await client.post(f"{url}/actions/signal", json={"type": "ignored"}, headers=bearer(tenant.admin))
    assert sent.status_code == 202
    await eventually(lambda: own_rows(tenant, "timer"))
    async with rows_of(tenant.id) as connection:
        for table in await owned_tables(connection):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}"), f"{table} is still empty"


async def own_rows(tenant: Tenant, table: str) -> int:
    """Count a table's rows as the tenant sees them."""
    async with rows_of(tenant.id) as connection:
        count: int = await connection.fetchval(f"SELECT count(*) FROM {table}")
    return count


async def eventually(happened: Callable[[], Awaitable[object]], seconds: float = 30) -> None:
    """Wait until something is true that nobody tells of."""
    async with asyncio.timeout(seconds):
        while not await happened():  # noqa: ASYNC110 - that nobody tells of
            await asyncio.sleep(0.02)
