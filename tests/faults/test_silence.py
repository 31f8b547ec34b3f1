"""The database falls silent: no answer comes and no error either, as from a server that stands still or a network that drops."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx
import pytest

from service.settings import settings
from tenancy import rows
from tenancy.errors import NotFound
from tenancy.faults import DatabaseAwayError, SlowStatementError
from tenancy.postgres import CLOSE_SECONDS, connected, engine
from tenancy.requests import current_request
from tenancy.rows import read, rows_of
from tests.cell import free_port
from tests.faults.conftest import Started
from tests.faults.database import locked, silent
from tests.faults.test_database_away import hold
from tests.processes import wait_until_ready
from tests.waiting import eventually
from tests.world import World, bearer, trigger, until

SHORT = 0.2  # seconds, instead of those of the service
STOP_SECONDS = 10
SLEEP = "SELECT pg_sleep(30)"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests wait for short times, and what is given up come to rest within another."""
    monkeypatch.setattr(engine(), "patience", SHORT)
    monkeypatch.setattr(engine(), "allowance", SHORT)
    monkeypatch.setattr(rows, "REST_SECONDS", SHORT)


@pytest.fixture
def asking() -> Iterator[None]:
    """Be a request."""
    token = current_request.set(uuid4())
    yield
    current_request.reset(token)


@pytest.fixture
async def caller(application: Any) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client that lets 503 pass."""
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://tutti.test") as client:
        yield client


async def statement(of: World) -> None:
    """One that takes too long, in a transaction."""
    async with rows_of(of.acme.id) as connection:
        await connection.fetch(SLEEP)


async def statements(of: World) -> None:
    """Some that take too long together."""
    async with rows_of(of.acme.id) as connection:
        while True:
            await connection.fetch("SELECT pg_sleep(0.05)")


async def single(_: World) -> None:
    """One that takes too long, and is its own transaction."""
    await read(SLEEP)


async def cancelled_by_the_server(of: World) -> None:
    """One that the server itself gives up."""
    async with rows_of(of.acme.id) as connection:
        await connection.execute("SET LOCAL statement_timeout = 10")
        await connection.fetch(SLEEP)


SLOW = [statement, statements, single, cancelled_by_the_server]


@pytest.mark.parametrize("slow", SLOW, ids=lambda slow: slow.__name__)
async def test_what_takes_too_long_on_a_server_that_lives_is_slow_and_not_away(
    world: World, short: None, asking: None, slow: Callable[[World], Awaitable[None]]
) -> None:
    with pytest.raises(SlowStatementError):
        async with asyncio.timeout(5):
            await slow(world)
    assert (await read("SELECT 1"))[0][0] == 1


async def test_a_request_whose_statement_is_slow_is_a_503(
    caller: httpx.AsyncClient, world: World, short: None
) -> None:
    async with locked("workflow"):
        hold(await caller.get(f"{world.acme.url}/workflows", headers=bearer(world.acme.admin)))


async def test_what_hangs_in_a_silent_database_is_let_go_and_goes_on_afterwards(
    caller: httpx.AsyncClient, world: World, short: None
) -> None:
    """A request, work that is cancelled, a block that failed."""

    async def refused() -> None:
        async with rows_of(world.acme.id):
            under_way.set()
            await quiet.wait()
            raise NotFound

    under_way, quiet = asyncio.Event(), asyncio.Event()
    failing = asyncio.create_task(refused())
    await under_way.wait()
    async with asyncio.timeout(10), silent():
        hanging = [asyncio.create_task(work(world)) for work in (statement, single)]
        began = time.monotonic()
        hold(await caller.get(f"{world.acme.url}/workflows", headers=bearer(world.acme.admin)))
        assert time.monotonic() - began < 2
        quiet.set()
        for task in hanging:
            task.cancel()
        await asyncio.wait([*hanging, failing], timeout=2)
        assert [task.cancelled() for task in hanging] == [True, True]  # and nothing else came of them
        assert isinstance(failing.exception(), NotFound)
        assert (await caller.get("/healthz")).status_code == 200
    answer = await caller.get(f"{world.acme.url}/workflows", headers=bearer(world.acme.admin))
    assert answer.status_code == 200


async def test_a_connection_is_closed_though_the_server_takes_no_leave(database: None) -> None:
    async with contextlib.AsyncExitStack() as opened:
        await opened.enter_async_context(connected(settings().database.application))
        async with silent():
            began = time.monotonic()
            await opened.aclose()
            assert time.monotonic() - began < 2 * CLOSE_SECONDS


async def test_a_request_in_a_silent_database_says_that_it_is_away(
    world: World, short: None, asking: None
) -> None:
    async with silent():
        for work in (statement, single):
            with pytest.raises(DatabaseAwayError):
                await work(world)


async def test_the_service_refuses_stops_and_serves_again(
    world: World,
    client: httpx.AsyncClient,
    started: Started,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two processes with workers under load: one is told to stop amid the silence, the other one serves on afterwards."""
    monkeypatch.setenv("TUTTI_POOL_WAIT_SECONDS", "1")
    monkeypatch.setenv("TUTTI_TRANSACTION_SECONDS", "1")
    ports = [free_port(), free_port()]
    _, leaving = [started("serve", "--port", str(port)) for port in ports]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    for url in urls:
        await asyncio.to_thread(wait_until_ready, url, tmp_path / "log")
    async with Load(world, urls[1]) as ending, Load(world, urls[0]) as load:
        await eventually(lambda: min(load.found[201], ending.found[201]) > 0, 10)
        async with silent():
            began = time.monotonic()
            leaving.terminate()
            await eventually(lambda: load.found[503] > 0, 10)
            assert time.monotonic() - began < 1 + 1 + rows.REST_SECONDS + 2
            assert await asyncio.to_thread(leaving.wait, STOP_SECONDS) == 0
            assert time.monotonic() - began < STOP_SECONDS
        load.found.clear()
        await eventually(lambda: load.found[201] > 5, 15)
    assert set(load.found) <= {201, 503}
    url = await trigger(client, world.acme, "greeting", {"who": "Ada"})
    await until(client, world.acme, url, workflow_status="Completed")


class Load:
    """Triggers without end, while the block runs; `found` counts the answers by status."""

    def __init__(self, world: World, base: str) -> None:
        self.found: Counter[int] = Counter()
        self._world = world
        self._base = base
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Begin."""
        self._tasks = [asyncio.create_task(self._triggering()) for _ in range(4)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _triggering(self) -> None:
        url = f"{self._world.acme.workflow_url('waiting')}/actions/trigger"
        body = {"instance_name": "one", "trigger_inputs": {}}
        async with httpx.AsyncClient(base_url=self._base, timeout=30) as http:
            while True:
                await asyncio.sleep(0.02)
                try:
                    answer = await http.post(url, json=body, headers=bearer(self._world.acme.admin))
                except httpx.TransportError:
                    continue
                if answer.status_code == 503:
                    hold(answer)
                self.found[answer.status_code] += 1
