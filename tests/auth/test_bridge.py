"""A synchronous call that awaits: its results, its faults, its cancellation and its transaction."""

import asyncio
import contextvars

import httpx
import pytest

from auth.bridge import bridged, wait
from tenancy.rows import current_connection, transaction
from tests.world import World

COLOUR = contextvars.ContextVar("COLOUR", default="none")


class UnluckyError(Exception):
    """What goes wrong in these tests."""


async def doubled(number: int) -> int:
    """Take a moment."""
    await asyncio.sleep(0)
    return number * 2


async def failing() -> int:
    """Fail after a moment."""
    await asyncio.sleep(0)
    raise UnluckyError


async def test_a_call_gets_what_it_waits_for() -> None:
    def call(first: int, *, second: int) -> int:
        return wait(doubled(first)) + wait(doubled(second))

    assert await bridged(call, 3, second=4) == 14


async def test_a_call_that_waits_for_nothing_just_returns() -> None:
    assert await bridged(sorted, [2, 1]) == [1, 2]


async def test_what_a_call_raises_is_raised() -> None:
    def call() -> None:
        wait(doubled(1))
        raise UnluckyError

    with pytest.raises(UnluckyError):
        await bridged(call)


async def test_what_goes_wrong_while_waiting_is_raised_where_it_waits() -> None:
    def call() -> str:
        try:
            wait(failing())
        except UnluckyError:
            return f"went on with {wait(doubled(2))}"
        return "noticed nothing"

    assert await bridged(call) == "went on with 4"
    with pytest.raises(UnluckyError):
        await bridged(lambda: wait(failing()))


async def test_a_cancelled_call_is_cancelled_where_it_waits_and_cleans_up() -> None:
    done: list[object] = []
    waiting = asyncio.Event()

    async def forever() -> None:
        waiting.set()
        await asyncio.Event().wait()

    def call() -> None:
        try:
            wait(forever())
        except asyncio.CancelledError:
            done.append("cancelled")
            raise
        finally:
            done.append(wait(doubled(21)))

    task = asyncio.create_task(bridged(call))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["cancelled", 42]


async def test_waiting_without_a_bridge_is_told() -> None:
    coroutine = doubled(1)
    with pytest.raises(RuntimeError, match="bridged"):
        wait(coroutine)
    coroutine.close()
    coroutine = doubled(1)
    with pytest.raises(RuntimeError, match="bridged"):
        await asyncio.to_thread(wait, coroutine)
    coroutine.close()


async def test_a_call_sees_the_transaction_and_the_context_of_its_caller(
    client: httpx.AsyncClient, world: World
) -> None:
    async def whose() -> tuple[int, str]:
        row = await current_connection().fetchrow("SELECT pg_backend_pid(), pg_current_xact_id()::text")
        assert row is not None
        return row[0], row[1]

    def call() -> tuple[tuple[int, str], str]:
        return wait(whose()), COLOUR.get()

    COLOUR.set("blue")
    async with transaction():
        outside = await whose()
        assert await bridged(call) == (outside, "blue")
    with pytest.raises(RuntimeError, match="No transaction"):
        await bridged(call)


async def test_a_failed_call_leaves_nothing_in_the_database(client: httpx.AsyncClient, world: World) -> None:
    async def rename() -> None:
        await current_connection().execute("UPDATE app_user SET name = 'Nobody'")

    def call() -> None:
        wait(rename())
        raise UnluckyError

    async def renamed() -> int:
        async with transaction() as connection:
            count: int = await connection.fetchval("SELECT count(*) FROM app_user WHERE name = 'Nobody'")
            return count

    with pytest.raises(UnluckyError):
        async with transaction():
            await bridged(call)
    assert await renamed() == 0
    async with transaction():
        await bridged(lambda: wait(rename()))
    assert await renamed() == 4


async def test_a_hundred_at_once_do_not_meet() -> None:
    async def slowly(number: int) -> int:
        await asyncio.sleep((number * 7 % 10) / 1000)
        return number

    def call(number: int) -> tuple[list[int], str]:
        COLOUR.set(str(number))
        return [wait(slowly(number + step)) for step in range(3)], COLOUR.get()

    answers = await asyncio.gather(*(bridged(call, number) for number in range(100)))
    assert answers == [([number, number + 1, number + 2], str(number)) for number in range(100)]


async def test_a_bridge_within_a_bridge_waits_for_its_own() -> None:
    def inner() -> int:
        return wait(doubled(5))

    def outer() -> int:
        return wait(bridged(inner)) + wait(doubled(1))

    assert await bridged(outer) == 12
