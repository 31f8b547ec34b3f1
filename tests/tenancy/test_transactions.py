"""No cancellation, at whatever moment, costs a connection or leaves a transaction behind.

Piccolo's own transaction fails this: its exit awaits rollback, release and reset one after the other without `finally`,
and anyio delivers a cancellation again at each await. `test_piccolos_own_transaction_loses_connections` shows it with
the same instruments, so that it is known what the tests above it would find.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import anyio
import asyncpg
import pytest

from service.settings import settings
from tenancy.faults import DatabaseAwayError
from tenancy.postgres import Engine, engine
from tenancy.rows import read, rows_of, transaction
from tests.waiting import eventually
from tests.world import World

Strike = Callable[[], object]
Way = Callable[["Interrupted"], Awaitable[None]]
MOST_AWAITS = 40


class OwnError(Exception):
    """What the block itself raises, so that its end is a rollback."""


class Interrupted:
    """Runs a coroutine, and strikes at the n-th moment at which it waits for something."""

    def __init__(self, work: Awaitable[None], at: int) -> None:
        self.work = work
        self.at = at
        self.strike: Strike = lambda: None
        self.struck = False

    def __await__(self) -> Generator[Any, Any, None]:
        """Hand on what the coroutine waits for, and what becomes of it."""
        steps = self.work.__await__()
        error: BaseException | None = None
        for number in itertools.count():
            try:
                pending = steps.send(None) if error is None else steps.throw(error)
            except StopIteration:
                return
            error = None
            if number == self.at:
                self.struck = True
                self.strike()
            try:
                yield pending
            except BaseException as thrown:  # noqa: BLE001 - everything is the coroutine's to handle
                error = thrown


async def by_anyio(work: Interrupted) -> None:
    """Cancel as `anyio.move_on_after` does: again at every await, until the scope is left."""
    with anyio.move_on_after(60) as scope:
        work.strike = scope.cancel
        await work


async def by_timeout(work: Interrupted) -> None:
    """Cancel as `asyncio.timeout` does: once, at the next turn of the loop."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(60) as limit:
            work.strike = lambda: limit.reschedule(loop.time())
            await work
    except TimeoutError:
        pass


async def by_task_cancel(work: Interrupted) -> None:
    """Cancel as somebody with the task in hand does."""

    async def inside() -> None:
        task = asyncio.current_task()
        assert task is not None
        work.strike = task.cancel
        await work

    task = asyncio.create_task(inside())
    await asyncio.wait([task])
    if not task.cancelled():
        await task


async def ours(world: World, *, fails: bool) -> None:
    """Work in our transaction: three statements, then commit or rollback."""
    with contextlib.suppress(OwnError):
        async with rows_of(world.acme.id) as connection:
            await connection.execute("UPDATE account SET name = name || '.'")
            await asyncio.sleep(0)
            await connection.fetch("SELECT pg_sleep(0.001)")
            if fails:
                raise OwnError


@pytest.mark.parametrize("fails", [False, True], ids=["during commit", "during rollback"])
@pytest.mark.parametrize("way", [by_anyio, by_timeout, by_task_cancel])
async def test_cancel_at_any_await_returns_every_connection(world: World, way: Way, *, fails: bool) -> None:
    moments = 0
    for at in range(MOST_AWAITS):
        work = Interrupted(ours(world, fails=fails), at)
        await way(work)
        assert engine().current_transaction.get() is None
        if not work.struck:
            break
        moments += 1
    assert 4 <= moments < MOST_AWAITS
    await everything_returned()
    async with rows_of(world.acme.id) as connection:  # and the connections that came back work
        assert str(await connection.fetchval("SELECT name FROM account")).startswith("Acme")


@pytest.mark.parametrize("way", [by_anyio, by_timeout, by_task_cancel])
async def test_cancel_during_a_single_read_returns_the_connection(world: World, way: Way) -> None:
    for at in range(MOST_AWAITS):

        async def reading() -> None:
            await read("SELECT pg_sleep(0.001)")

        work = Interrupted(reading(), at)
        await way(work)
        if not work.struck:
            break
    await everything_returned()


async def test_cancel_while_waiting_for_a_connection_loses_none(world: World) -> None:
    """More tasks than connections, all cancelled: those that wait for a connection, too."""

    async def hold() -> None:
        async with rows_of(world.acme.id) as connection:
            await connection.execute("SELECT pg_sleep(5)")

    tasks = [asyncio.create_task(hold()) for _ in range(3 * settings().pool_size)]
    await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await everything_returned()


async def test_a_connection_that_dies_inside_the_block_is_replaced(world: World) -> None:
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        async with rows_of(world.acme.id) as connection:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert engine().current_transaction.get() is None
    await everything_returned()
    async with rows_of(world.acme.id) as connection:
        assert await connection.fetchval("SELECT name FROM account") == "Acme"


async def test_a_connection_that_dies_before_the_commit_is_an_error(world: World) -> None:
    """Without it an operation would tell its caller of what was never kept."""

    async def written() -> None:
        async with rows_of(world.acme.id) as connection:
            await connection.execute("UPDATE account SET name = 'lost'")
            (killed,) = await read(
                "SELECT pg_terminate_backend($1)", await connection.fetchval("SELECT pg_backend_pid()")
            )
            assert killed[0]
            await eventually(connection.is_closed, 20)

    with pytest.raises(DatabaseAwayError):
        await written()
    await everything_returned()
    async with rows_of(world.acme.id) as connection:
        assert await connection.fetchval("SELECT name FROM account") == "Acme"


async def test_a_failed_begin_returns_the_connection(world: World) -> None:
    with pytest.raises(asyncpg.PostgresError):
        async with transaction("BEGIN; SELECT 1 / 0"):
            pytest.fail("the block ran")
    assert engine().current_transaction.get() is None
    await everything_returned()


async def test_rollback_undoes_what_a_failed_block_wrote(world: World) -> None:
    with contextlib.suppress(OwnError):
        async with rows_of(world.acme.id) as connection:
            await connection.execute("UPDATE account SET name = 'gone'")
            raise OwnError
    async with rows_of(world.acme.id) as connection:
        assert await connection.fetchval("SELECT name FROM account") == "Acme"


async def test_a_block_that_goes_on_after_a_failed_statement_is_an_error(world: World) -> None:
    """PostgreSQL answers such a COMMIT by a quiet ROLLBACK: what the block wrote is gone."""
    with pytest.raises(RuntimeError, match="rolled back"):
        await heedless(world)
    async with rows_of(world.acme.id) as connection:
        assert await connection.fetchval("SELECT name FROM account") == "Acme"


async def heedless(world: World) -> None:
    """Write, fail, and take no notice."""
    async with rows_of(world.acme.id) as connection:
        await connection.execute("UPDATE account SET name = 'lost'")
        with contextlib.suppress(asyncpg.PostgresError):
            await connection.execute("SELECT 1 / 0")


async def test_piccolos_own_transaction_loses_connections(database: None) -> None:
    """Should this ever fail, Piccolo has mended it, and `tenancy.rows.transaction` may be thought over."""
    piccolo = Engine(config=settings().database.application)
    await piccolo.start_connection_pool(min_size=1, max_size=4)
    pool = piccolo.pool
    assert pool is not None

    async def theirs() -> None:
        async with piccolo.transaction():
            opened = piccolo.current_transaction.get()
            assert opened is not None
            await opened.connection.execute("SELECT 1")
            await asyncio.sleep(0)

    async def lost() -> int:
        """In a task of its own, as the transaction it leaves behind belongs to the context."""
        for at in range(MOST_AWAITS):
            work = Interrupted(theirs(), at)
            await by_anyio(work)
            if piccolo.current_transaction.get() is not None:
                return pool.get_size() - pool.get_idle_size()
        return 0

    try:
        assert await asyncio.create_task(lost()) > 0
    finally:
        pool.terminate()


async def everything_returned() -> None:
    """Wait until no connection is out; the worker beside the tests borrows one now and then."""
    pool = engine().pool
    assert pool is not None
    await eventually(lambda: pool.get_idle_size() >= pool.get_size(), 20)
