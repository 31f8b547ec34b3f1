"""Following what happens to an instance, or in an account, over a real connection."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from litestar import Litestar

from service.connections.protocol import Http1Protocol
from service.engine import followers as following_engine
from service.engine.followers import Followers
from service.maestro import following as routes
from service.operations import following
from service.settings import settings
from tenancy.accounts import remove_member
from tenancy.postgres import connected
from tenancy.rows import read
from tests.cell import free_port
from tests.maestro.errors import assert_refused
from tests.maestro.people import colleague
from tests.maestro.streams import ARRIVED, Told, following_of, note, rest, revoke, some
from tests.waiting import eventually
from tests.world import World, bearer, trigger, until

KEPT = ("PATH", "PYTHONPATH", "DATABASE_URL", "TUTTI_OWNER_DATABASE_URL")  # of this process's environment
TUTTI = Path(sys.executable).with_name("tutti")


@pytest.fixture
async def address(application: Any, followers: Followers) -> AsyncIterator[str]:
    """The application on a socket, behind the server that `tutti serve` runs."""
    server = uvicorn.Server(
        uvicorn.Config(
            application, host="127.0.0.1", port=0, lifespan="off", log_config=None, http=Http1Protocol
        )
    )
    serving = asyncio.create_task(server._serve())
    await eventually(lambda: server.started, 20)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    yield f"http://{host}:{port}"
    server.should_exit = True
    await serving


@pytest.fixture
async def followers(litestar: Litestar) -> AsyncIterator[Followers]:
    """Those who follow and wait, for one test: a server that ends has them all stop."""
    of_others = litestar.state["followers"]
    own = Followers()
    async with contextlib.AsyncExitStack() as stack:
        started, stop = asyncio.Event(), asyncio.Event()

        async def live() -> None:
            async with own.running():
                started.set()
                await stop.wait()

        life = asyncio.create_task(live())
        await started.wait()
        litestar.state["followers"] = own
        stack.callback(stop.set)
        yield own
    await life
    litestar.state["followers"] = of_others


# --- Following an instance --------------------------------------------------------------------------------------------


async def test_an_instances_events_are_told_from_the_first_to_the_last(
    client: httpx.AsyncClient, world: World, address: str
) -> None:
    url = await trigger(client, world.acme, "waiting", {})
    other = await trigger(client, world.acme, "waiting", {})
    async with following_of(address, url, world.acme.machine) as events:
        opening, first = await some(events, 2)
        assert (opening.id, opening.event, opening.data) == ("0-0", "stream.opened", "{}")
        assert first.event == "instance.triggered"
        await client.post(f"{other}/actions/cancel", headers=bearer(world.acme.admin))
        await client.post(f"{url}/actions/signal", json=ARRIVED, headers=bearer(world.acme.admin))
        told = await rest(events)
    assert [event.event for event in told] == ["instance.signalled", "instance.completed"]
    content = told[0].content
    assert content | {"at": ""} == {
        "id": told[0].id,
        "type": "instance.signalled",
        "at": "",
        "workflow_id": str(world.acme.workflows["waiting"]),
        "instance_id": url.rpartition("/")[2],
        "actor": str(world.acme.admin_id),
        "data": content["data"],
    }
    assert content["data"]["type"] == "goods.arrived"


async def test_a_reader_goes_on_where_it_was_until_everything_is_told(
    client: httpx.AsyncClient, world: World, address: str
) -> None:
    url = await trigger(client, world.acme, "waiting", {})
    async with following_of(address, url, world.acme.admin) as events:
        _, first = await some(events, 2)
    await client.post(f"{url}/actions/signal", json=ARRIVED, headers=bearer(world.acme.admin))
    await until(client, world.acme, url, workflow_status="Completed")
    async with following_of(address, url, world.acme.admin, first.id) as events:
        opening, *told = await rest(events)
    assert opening.id == first.id
    assert [event.event for event in told] == ["instance.signalled", "instance.completed"]
    headers = bearer(world.acme.admin) | {"Last-Event-ID": told[-1].id}
    over = await client.get(f"{url}/events", headers=headers)
    assert (over.status_code, over.content) == (204, b"")


@pytest.mark.parametrize(
    "last", ["nonsense", "1", "-1-1", "1-1-1", "1.0-1", "9" * 30 + "-1", "999999999999-1"]
)
async def test_what_is_no_id_of_an_event_is_refused(
    client: httpx.AsyncClient, world: World, last: str
) -> None:
    headers = bearer(world.acme.admin) | {"Last-Event-ID": last}
    answer = await client.get(f"{world.acme.url}/events", headers=headers)
    assert_refused(answer, 400)
    assert answer.json()["errors"][0]["target"] == "Last-Event-ID"


# --- Following an account ---------------------------------------------------------------------------------------------


async def test_an_accounts_events_are_told_from_now_on_and_no_others(
    client: httpx.AsyncClient, world: World, address: str
) -> None:
    await trigger(client, world.acme, "greeting", {"who": "before"})
    async with following_of(address, world.acme.url, world.acme.admin) as events:
        (opening,) = await some(events, 1)
        await trigger(client, world.globex, "greeting", {"who": "another account"})
        url = await trigger(client, world.acme, "greeting", {"who": "Ada"})
        told = await some(events, 2)
    assert [event.event for event in told] == ["instance.triggered", "instance.completed"]
    assert {event.content["instance_id"] for event in told} == {url.rpartition("/")[2]}
    async with following_of(address, world.acme.url, world.acme.admin, opening.id) as events:
        assert (await some(events, 3))[1:] == told


async def test_the_oldest_event_comes_first_where_that_is_wanted(world: World, address: str) -> None:
    async with following_of(address, world.acme.url, world.acme.admin, "0-0") as events:
        told = await some(events, 4)
    assert told[1].event == "account.created"


async def test_a_sender_is_told_of_what_they_started(
    client: httpx.AsyncClient, world: World, address: str
) -> None:
    async with following_of(address, world.acme.url, world.acme.member) as events:
        (opening,) = await some(events, 1)
        await trigger(client, world.acme, "greeting", {"who": "the administrator's"})
        own = await client.post(
            f"{world.acme.workflow_url('greeting')}/actions/trigger",
            json={"instance_name": "mine", "trigger_inputs": {"who": "Ada"}},
            headers=bearer(world.acme.member),
        )
        told = await some(events, 2)
    assert {event.content["instance_id"] for event in told} == {own.json()["instance_id"]}
    async with following_of(address, world.acme.url, world.acme.member, opening.id) as events:
        assert (await some(events, 3))[1:] == told


async def test_a_sender_is_told_what_became_of_their_own_after_it_was_deleted_too(
    client: httpx.AsyncClient, world: World, address: str
) -> None:
    acme, admin = world.acme, bearer(world.acme.admin)
    async with following_of(address, acme.url, acme.member) as events:
        (opening,) = await some(events, 1)
    body = {"instance_name": "mine", "trigger_inputs": {}}
    url = f"{acme.workflow_url('waiting')}"
    own = await client.post(f"{url}/actions/trigger", json=body, headers=bearer(acme.member))
    url += f"/instances/{own.json()['instance_id']}"
    await client.post(f"{url}/actions/cancel", headers=admin)
    async with following_of(address, acme.url, acme.member, opening.id) as events:
        told = [event.event for event in await some(events, 3)]
        assert (await client.delete(url, headers=admin)).status_code == 204
        told += [event.event for event in await some(events, 1)]
    assert told[1:] == ["instance.triggered", "instance.cancelled", "instance.deleted"]
    async with following_of(address, acme.url, acme.member, opening.id) as events:
        assert [event.event for event in await some(events, 4)] == told


async def test_whoever_is_removed_is_told_nothing_more(
    client: httpx.AsyncClient, world: World, address: str
) -> None:
    acme = world.acme
    _, other = await colleague(acme, "other", "admin")
    async with following_of(address, acme.url, other) as events:
        await some(events, 1)
        await remove_member("other@acme.example", acme.id)
        await trigger(client, acme, "greeting", {"who": "Ada"})
        assert await rest(events) == []


async def test_what_the_audit_holds_is_told_to_its_readers_alone(
    client: httpx.AsyncClient, world: World, address: str
) -> None:
    async with (
        following_of(address, world.acme.url, world.acme.member) as members,
        following_of(address, world.acme.url, world.acme.machine) as machines,
    ):
        await some(members, 1)
        await some(machines, 1)
        own = bearer(world.acme.member)
        await client.post(f"{world.acme.url}/events", json=ARRIVED, headers=bearer(world.acme.admin))
        await client.post(
            f"{world.acme.workflow_url('greeting')}/actions/trigger",
            json={"instance_name": "mine", "trigger_inputs": {"who": "Ada"}},
            headers=own,
        )
        assert [event.event for event in await some(machines, 3)] == [
            "event.published",
            "instance.triggered",
            "instance.completed",
        ]
        assert [event.event for event in await some(members, 2)] == [
            "instance.triggered",
            "instance.completed",
        ]


async def test_an_event_of_a_slower_transaction_is_told_in_its_turn(
    client: httpx.AsyncClient, world: World, address: str
) -> None:
    url = await trigger(client, world.acme, "waiting", {})
    async with following_of(address, world.acme.url, world.acme.admin) as events:
        await some(events, 1)
        async with connected(settings().database.application) as connection, connection.transaction():
            await connection.execute("SELECT set_config('app.account_id', $1, true)", str(world.acme.id))
            await connection.execute(
                "INSERT INTO event (account_id, type) VALUES ($1, 'test.slow')", world.acme.id
            )
            await note(world.acme, url, "test.quick")
            await asyncio.sleep(0.5)
        assert [event.event for event in await some(events, 2)] == ["test.slow", "test.quick"]


# --- What followers cost ----------------------------------------------------------------------------------------------


async def test_a_slow_reader_misses_nothing_and_holds_nobody_up(
    client: httpx.AsyncClient, world: World, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following_engine, "BUFFERED", 10)
    url = await trigger(client, world.acme, "waiting", {})
    async with (
        following_of(address, world.acme.url, world.acme.admin) as slow,
        following_of(address, world.acme.url, world.acme.admin) as quick,
    ):
        await some(slow, 1)
        await some(quick, 1)
        for number in range(150):
            await note(world.acme, url, "test.noted", number=number, filling="x" * 20_000)
        for events in (quick, slow):
            told = await some(events, 150)
            assert [event.content["data"]["number"] for event in told] == list(range(150))


async def test_a_reader_that_reads_nothing_is_cut_off(
    client: httpx.AsyncClient,
    world: World,
    address: str,
    followers: Followers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routes, "SEND_SECONDS", 0.3)
    url = await trigger(client, world.acme, "waiting", {})
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect((host, int(port)))
        reader.sendall(
            f"GET {world.acme.url}/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {world.acme.admin}\r\n\r\n".encode()
        )
        await eventually(lambda: followers._followers)
        for number in range(60):
            await note(world.acme, url, "test.noted", number=number, filling="x" * 200_000)
        await eventually(lambda: not followers._followers)


async def test_the_stream_of_a_revoked_token_ends(
    world: World, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "RECHECK_SECONDS", 0.3)
    monkeypatch.setattr(following, "HEARTBEAT_SECONDS", 0.1)
    async with following_of(address, world.acme.url, world.acme.admin) as events:
        await some(events, 1)
        await revoke(world.acme.admin)
        assert await rest(events) == []


async def test_a_silent_stream_has_heartbeats_that_are_no_events(
    world: World, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "HEARTBEAT_SECONDS", 0.1)
    async with (
        httpx.AsyncClient(base_url=address) as client,
        client.stream("GET", f"{world.acme.url}/events", headers=bearer(world.acme.admin)) as answer,
        asyncio.timeout(10),
    ):
        lines = answer.aiter_lines()
        seen = [await anext(lines) for _ in range(8)]
    assert seen[4:] == ["", ":", ":", ":"]


async def test_there_are_only_so_many_streams(
    client: httpx.AsyncClient, world: World, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following_engine, "FOLLOWERS_OF_ACCOUNT", 1)
    async with following_of(address, world.acme.url, world.acme.admin) as events:
        await some(events, 1)
        refused = await client.get(f"{world.acme.url}/events", headers=bearer(world.acme.admin))
        assert_refused(refused, 429)
        async with following_of(address, world.globex.url, world.globex.admin) as others:
            await some(others, 1)
    async with following_of(address, world.acme.url, world.acme.admin) as events:
        await some(events, 1)


async def test_many_followers_are_one_question_and_nobody_is_none(
    world: World, address: str, followers: Followers, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = 0

    async def counted(*arguments: Any) -> Any:
        nonlocal questions
        questions += 1
        return await read(*arguments)

    monkeypatch.setattr(following_engine, "read", counted)
    async with contextlib.AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(following_of(address, tenant.url, tenant.admin))
            for tenant in (world.acme, world.globex)
            for _ in range(10)
        ]
        for events in streams:
            await some(events, 1)
        questions = 0
        await asyncio.sleep(1)
        assert questions <= 1 / following_engine.POLL_EVERY + 1
        await eventually(lambda: questions > 0)
    await eventually(lambda: not followers._followers)
    await asyncio.sleep(2 * following_engine.POLL_EVERY)
    questions = 0
    await asyncio.sleep(0.5)
    assert questions == 0


# --- Restarts ---------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Another process that serves the same database; it may be gone by the end."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(str(TUTTI), "serve", "--no-worker", "--port", str(port)),
        env={name: os.environ[name] for name in KEPT if name in os.environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient() as client, asyncio.timeout(60):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"{address}/readyz")).status_code == 200:
                        break
                await asyncio.sleep(0.1)
        yield address, process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_nothing_is_missed_when_a_process_is_killed(client: httpx.AsyncClient, world: World) -> None:
    url = await trigger(client, world.acme, "waiting", {})
    stop = asyncio.Event()
    written = 0

    async def keep_writing() -> None:
        nonlocal written
        while not stop.is_set():
            await note(world.acme, url, "test.noted", number=written)
            written += 1
            await asyncio.sleep(0.005)

    told: list[Told] = []
    writing = asyncio.create_task(keep_writing())
    async with served() as (address, process):
        with contextlib.suppress(httpx.TransportError):
            async with following_of(address, world.acme.url, world.acme.admin) as events:
                told += (await some(events, 51))[1:]
                process.kill()
                told += await rest(events)
    async with served() as (address, process):
        async with following_of(address, world.acme.url, world.acme.admin, told[-1].id) as events:
            told += (await some(events, 51))[1:]
            stop.set()
            await writing
            while told[-1].content["data"]["number"] < written - 1:
                told += await some(events, 1)
            process.terminate()  # a stream does not keep a process from ending
            assert await rest(events) == []
        assert await asyncio.wait_for(process.wait(), 5) == 0
    numbers = [event.content["data"]["number"] for event in told]
    assert numbers == list(range(numbers[0], written))
