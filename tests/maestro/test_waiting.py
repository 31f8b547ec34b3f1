"""Waiting for an instance: until it has ended or waits, for so long, at no cost to others."""

import asyncio
import time

import httpx
import pytest

from service.engine import followers as following_engine
from tenancy.rows import rows_of
from tests.maestro.errors import assert_refused
from tests.maestro.streams import ARRIVED, revoke
from tests.world import World, bearer, trigger, until


async def wait(client: httpx.AsyncClient, url: str, token: str, **query: object) -> httpx.Response:
    """Wait for an instance."""
    params = {name: str(value) for name, value in query.items()}
    return await client.get(f"{url}/wait", params=params, headers=bearer(token), timeout=20)


async def test_a_wait_is_answered_when_the_instance_has_ended(
    client: httpx.AsyncClient, world: World
) -> None:
    url = await trigger(client, world.acme, "waiting", {})
    waiting = asyncio.create_task(wait(client, url, world.acme.machine))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await client.post(f"{url}/actions/signal", json=ARRIVED, headers=bearer(world.acme.admin))
    answer = await asyncio.wait_for(waiting, 5)
    assert answer.json()["workflow_status"] == "Completed"
    assert answer.json()["output"]["received"] == {"sku": 7}


async def test_a_wait_for_what_has_ended_already_is_answered_at_once(
    client: httpx.AsyncClient, world: World
) -> None:
    url = await trigger(client, world.acme, "greeting", {"who": "Ada"})
    answer = await asyncio.wait_for(wait(client, url, world.acme.admin), 5)
    assert answer.json()["workflow_status"] == "Completed"


async def test_a_wait_ends_with_its_time_and_tells_how_the_instance_is(
    client: httpx.AsyncClient, world: World
) -> None:
    url = await trigger(client, world.acme, "waiting", {})
    for seconds in (0, 1):
        began = time.monotonic()
        answer = await wait(client, url, world.acme.admin, timeout=seconds)
        assert answer.json()["workflow_status"] == "In Progress"
        assert seconds <= time.monotonic() - began < seconds + 3


async def test_a_wait_may_be_for_an_instance_that_waits(client: httpx.AsyncClient, world: World) -> None:
    url = await trigger(client, world.acme, "waiting", {})
    await until(client, world.acme, url, current_position=["/do/1/goods"])

    async def set_status(status: str) -> None:
        async with rows_of(world.acme.id) as connection:
            await connection.execute("UPDATE instance SET status = $1", status)

    await set_status("running")
    waiting = asyncio.create_task(wait(client, url, world.acme.admin, until="waiting"))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await set_status("waiting")
    answer = await asyncio.wait_for(waiting, 5)
    assert answer.json()["current_position"] == ["/do/1/goods"]


async def test_waits_hold_no_connections(client: httpx.AsyncClient, world: World) -> None:
    url = await trigger(client, world.acme, "waiting", {})
    waits = [asyncio.create_task(wait(client, url, world.acme.admin)) for _ in range(100)]
    await asyncio.sleep(0.5)
    async with asyncio.timeout(3):
        for _ in range(20):
            assert (await client.get(url, headers=bearer(world.acme.admin))).status_code == 200
    await client.post(f"{url}/actions/cancel", headers=bearer(world.acme.admin))
    answers = await asyncio.wait_for(asyncio.gather(*waits), 10)
    assert {answer.json()["workflow_status"] for answer in answers} == {"Canceled"}


async def test_whose_token_is_revoked_while_they_wait_is_told_nothing(
    client: httpx.AsyncClient, world: World
) -> None:
    url = await trigger(client, world.acme, "waiting", {})
    waiting = asyncio.create_task(wait(client, url, world.acme.machine))
    await asyncio.sleep(0.2)
    await revoke(world.acme.machine)
    await client.post(f"{url}/actions/cancel", headers=bearer(world.acme.admin))
    assert_refused(await asyncio.wait_for(waiting, 5), 401)


async def test_there_are_only_so_many_waits(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await trigger(client, world.acme, "waiting", {})
    monkeypatch.setattr(following_engine, "FOLLOWERS_OF_ACCOUNT", 1)
    waiting = asyncio.create_task(wait(client, url, world.acme.admin, timeout=2))
    await asyncio.sleep(0.2)
    refused = await wait(client, url, world.acme.admin)
    assert_refused(refused, 429)
    assert refused.headers["retry-after"] == "5"
    assert (await waiting).status_code == 200
    assert (await wait(client, url, world.acme.admin, timeout=1)).status_code == 200


async def test_a_process_that_holds_too_many_waits_says_so(
    bare: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await trigger(bare, world.acme, "waiting", {})
    monkeypatch.setattr(following_engine, "FOLLOWERS", 0)
    refused = await wait(bare, url, world.acme.admin)
    assert_refused(refused, 503)
    assert refused.headers["retry-after"] == "5"
