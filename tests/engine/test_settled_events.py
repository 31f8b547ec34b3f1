"""Events are read in an order that no later commit changes: nobody who follows them misses one or sees one twice."""

import asyncio
from contextvars import Context
from uuid import UUID, uuid4

from service.engine.events import (
    BEGINNING,
    NEXT,
    Cursor,
    OfAccount,
    Subject,
    cursor_of,
    record,
    settled_events,
)
from tenancy.rows import rows_of
from tests.world import Tenant, World


async def read_on(of: Tenant, after: Cursor, most: int = 100) -> tuple[list[str], Cursor]:
    """Read the next events that tests wrote: their types, and where to go on."""
    async with rows_of(of.id):
        rows = await settled_events(of.id, after, most, ["quick", "slow", "third"])
    return [row["type"] for row in rows], cursor_of(rows[-1]) if rows else after


async def write(account_id: UUID, kind: str) -> None:
    """Write an event in a transaction of its own."""
    async with rows_of(account_id):
        await record(OfAccount(account_id), kind, None)


async def test_an_event_of_a_slower_transaction_is_not_missed(world: World) -> None:
    written, finish = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        async with rows_of(world.acme.id):
            await record(OfAccount(world.acme.id), "slow", None)
            written.set()
            await finish.wait()

    task = asyncio.create_task(slow(), context=Context())
    await written.wait()
    await write(world.acme.id, "quick")  # its id is larger, and it is committed first
    seen, cursor = await read_on(world.acme, BEGINNING)
    finish.set()
    await task
    async with asyncio.timeout(10):
        while len(seen) < 2:
            more, cursor = await read_on(world.acme, cursor)
            seen += more
    assert seen == ["slow", "quick"]


async def test_events_of_an_instance_stand_in_the_order_in_which_they_were_written(world: World) -> None:
    """A transaction that waits for the instance's row has its number and its time already: an earlier number and time."""
    subject = Subject(world.acme.id, world.acme.workflows["waiting"], uuid4())
    numbered, go_on = asyncio.Event(), asyncio.Event()

    async def waits() -> None:
        async with rows_of(world.acme.id) as connection:
            await connection.fetchval("SELECT pg_current_xact_id()::text")
            numbered.set()
            await go_on.wait()
            await record(subject, "third", None)

    task = asyncio.create_task(waits(), context=Context())
    await numbered.wait()
    async with rows_of(world.acme.id):
        await record(subject, "slow", None)
    seen, cursor = await read_on(world.acme, BEGINNING)
    go_on.set()
    await task
    async with asyncio.timeout(10):
        while len(seen) < 2:
            more, cursor = await read_on(world.acme, cursor)
            seen += more
    assert seen == ["slow", "third"]
    async with rows_of(world.acme.id) as connection:
        rows = await connection.fetch(
            "SELECT type FROM event WHERE instance_id = $1 ORDER BY at", subject.instance_id
        )
    assert [row["type"] for row in rows] == seen


async def test_pages_of_events_neither_repeat_nor_skip(world: World) -> None:
    async with rows_of(world.acme.id):
        for kind in ("quick", "slow", "third"):
            await record(OfAccount(world.acme.id), kind, None)
    cursor, seen = BEGINNING, list[str]()
    async with asyncio.timeout(10):
        while len(seen) < 3:
            kinds, cursor = await read_on(world.acme, cursor, most=1)
            seen += kinds
    assert seen == ["quick", "slow", "third"]
    assert await read_on(world.acme, cursor) == ([], cursor)


async def test_another_accounts_events_are_not_read(world: World) -> None:
    await write(world.acme.id, "quick")
    async with rows_of(world.globex.id):
        assert await settled_events(world.acme.id, BEGINNING, 10) == []


async def test_reading_on_touches_only_what_is_new(world: World) -> None:
    async with rows_of(world.acme.id) as connection:
        await connection.execute("SET LOCAL enable_seqscan = off")
        plan = await connection.fetch("EXPLAIN " + NEXT, world.acme.id, "0", 0, 10, None)
    text = "\n".join(row[0] for row in plan)
    assert "Index Scan using event_settled" in text
    assert "Sort" not in text
