"""What couriers ask of the database all the time costs the same however much there is."""

import asyncio
import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from service.operations import webhook_sending
from service.operations.webhook_sending import DISPATCH, Dispatched, Places
from tenancy.rows import rows_of
from tests.webhooks.conftest import Clock, Webhooks, tell
from tests.world import World

EVENTS = """
INSERT INTO event (account_id, type, written_in)
SELECT $1, 'test.many', (pg_current_xact_id()::text::bigint - 10)::text::xid8 FROM generate_series(1, 20000)
"""
WAITING = """
INSERT INTO webhook_delivery (id, account_id, webhook_id, instance_id, type, at, data, status, aside, attempts, tries,
                              created_at, next_at)
SELECT gen_random_uuid(), account_id, id, CASE WHEN n > 10 THEN gen_random_uuid() END, 'test.many', now(), '{}', 'pending',
       false, 0, 0, now(), CASE WHEN n <= 10 THEN now() ELSE now() + interval '1 day' END
FROM webhook, generate_series(1, 5000) AS n
"""


@pytest.fixture
async def many(quiet: None, world: World, webhooks: Webhooks, owner: asyncpg.Connection) -> Any:
    """An endpoint at the end of many events, and of many deliveries that wait for another day."""
    async with rows_of(world.acme.id) as connection:
        await connection.execute(EVENTS, world.acme.id)
    made = await webhooks.make("http://127.0.0.1:9/", event_types=["test.*"])
    async with rows_of(world.acme.id) as connection:
        await connection.execute(WAITING)
    await owner.execute("ANALYZE event, webhook_delivery, webhook")
    return made


def rows_touched(plan: Any) -> int:
    """How many rows the scans of a plan have returned or thrown away."""
    own = 0
    if "Scan" in plan["Node Type"]:
        rows = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        own = round(rows * plan["Actual Loops"])
    return own + sum(rows_touched(one) for one in plan.get("Plans", ()))


async def test_the_next_events_are_read_from_where_the_last_ones_ended(
    world: World, many: Any, clock: Clock
) -> None:
    async with rows_of(world.acme.id) as connection:
        await connection.execute(
            "INSERT INTO event (account_id, type) VALUES ($1, 'test.new')", world.acme.id
        )
    async with rows_of(world.acme.id) as connection:
        cursor = await connection.fetchrow("SELECT read_in::text, read_to, since::text FROM webhook")
        assert cursor is not None
        arguments = [world.acme.id, UUID(many["id"]), 500, ["test.*"], [], clock(), *cursor]
        text = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT json) {DISPATCH}", *arguments)
    assert rows_touched(json.loads(text)[0]["Plan"]) < 100, text


async def test_whether_there_are_events_to_read_is_seen_at_once(world: World, many: Any) -> None:
    read = "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'event'"
    async with rows_of(world.acme.id) as connection:
        for _ in range(2):
            await connection.fetch(webhook_sending.BEHIND, UUID(int=0), 1000)
        assert await connection.fetchval(read) < 10


async def test_claims_pass_by_what_is_not_due(world: World, many: Any, clock: Clock) -> None:
    places = Places(100, 16, 4, UUID(int=0), [], [])
    first = await webhook_sending.claim(clock(), webhook_sending.KEPT, places)
    assert len(first.leases) == 4
    async with rows_of(world.acme.id) as connection:
        read = "SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'webhook_delivery'"
        await connection.fetch(
            "SELECT * FROM claim_webhook_deliveries(now(), '1 minute', 100, 16, 4, $1, '{}', '{}')",
            UUID(int=0),
        )
        assert await connection.fetchval(read) < 100


async def test_a_full_endpoint_reads_nothing_more(
    world: World, many: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_sending, "MOST_PENDING", 5000)
    await tell(world.acme, "test.new")
    await asyncio.sleep(0.3)
    assert await webhook_sending.dispatch(world.acme.id, UUID(many["id"]), clock()) == Dispatched()
    monkeypatch.setattr(webhook_sending, "MOST_PENDING", 5001)
    async with asyncio.timeout(10):
        while (await webhook_sending.dispatch(world.acme.id, UUID(many["id"]), clock())).stored != 1:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)
