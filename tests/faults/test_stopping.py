"""The real processes, told to stop in the midst of everything: below ten seconds, status 0, nothing lost."""

import asyncio
import contextlib
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.settings import settings
from tenancy.postgres import connected as connection_to
from tenancy.rows import rows_of
from tests.cell import free_port
from tests.engine.outside import drip_nothing, listener
from tests.faults.conftest import Started
from tests.faults.raw import asked, connected
from tests.processes import wait_until_ready
from tests.waiting import eventually
from tests.world import World, bearer

STOP_SECONDS = 10


async def stop(process: subprocess.Popen[bytes]) -> float:
    """Tell a process to stop; return how many seconds it took. Fails unless it ended as it should."""
    began = time.monotonic()
    process.terminate()
    assert await asyncio.to_thread(process.wait, STOP_SECONDS) == 0
    return time.monotonic() - began


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_serve_stops_amid_calls_streams_waits_and_half_sent_requests(
    world: World, started: Started, tmp_path: Path, workers: str
) -> None:
    port = free_port()
    process = started("serve", "--port", str(port), "--workers", workers, "--no-worker")
    await asyncio.to_thread(wait_until_ready, f"http://127.0.0.1:{port}", tmp_path / "log")
    url = world.acme.workflow_url("waiting")
    headers = bearer(world.acme.admin)
    base = f"http://127.0.0.1:{port}"
    acknowledged: list[str] = []
    stopping = asyncio.Event()

    async def triggering(client: httpx.AsyncClient) -> None:
        body = {"instance_name": "one", "trigger_inputs": {}}
        while True:
            try:
                answer = await client.post(f"{url}/actions/trigger", json=body, headers=headers)
            except httpx.TransportError:
                if stopping.is_set():
                    return
                raise
            if answer.status_code == 201:
                acknowledged.append(answer.json()["instance_id"])
            else:
                assert (answer.status_code, stopping.is_set()) == (503, True)

    async with httpx.AsyncClient(base_url=base) as client, connected(port) as half, connected(port) as head:
        first = await client.post(
            f"{url}/actions/trigger", json={"instance_name": "one", "trigger_inputs": {}}, headers=headers
        )
        instance = f"{url}/instances/{first.json()['instance_id']}"
        poll = asyncio.create_task(client.get(f"{instance}/wait?timeout=60", headers=headers, timeout=70))
        async with client.stream("GET", f"{world.acme.url}/events", headers=headers) as events:
            lines = events.aiter_lines()
            await anext(lines)
            await half.send(asked(f"{url}/actions/trigger", method="POST", body=b"x" * 100)[:-50])
            await head.send(asked()[:20])
            busy = [asyncio.create_task(triggering(client)) for _ in range(4)]
            await asyncio.sleep(0.5)
            stopping.set()
            ending = asyncio.create_task(stop(process))
            async for _ in lines:  # to the end of the stream, which is a proper one
                pass
        assert (await poll).status_code == 200
        assert (await half.answer())[0] == 503
        assert await head.closed() == b""
        await asyncio.gather(*busy)
        with pytest.raises(httpx.ConnectError):
            await httpx.AsyncClient().get(f"{base}/healthz")
        assert await ending < STOP_SECONDS
    async with rows_of(world.acme.id) as connection:
        kept = await connection.fetch("SELECT id FROM instance WHERE id = ANY($1::uuid[])", acknowledged)
    assert len(kept) == len(acknowledged) > 0


async def test_serve_stops_though_everything_hangs_at_once(
    world: World, secret_keys: None, started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request, a long poll, a stream, an outgoing call, a delivery to a webhook, and whoever traces are sent to."""
    headers, port = bearer(world.acme.admin), free_port()
    async with contextlib.AsyncExitStack() as stack:
        silent, hook, collector = [await stack.enter_async_context(listener(drip_nothing)) for _ in range(3)]
        await world.acme.publish(calling(silent.url))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        process = started("serve", "--port", str(port))
        base = f"http://127.0.0.1:{port}"
        await asyncio.to_thread(wait_until_ready, base, tmp_path / "log")
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=base, headers=headers, timeout=70))
        made = await http.post(f"{world.acme.url}/webhooks", json={"url": f"{hook.url}/"})
        assert made.status_code == 201, made.text
        begun: dict[str, Any] = {}
        for _ in range(12):  # so that some become this process's, and not the tests' own one's
            body = {"instance_name": "one", "trigger_inputs": {}}
            url = f"{world.acme.workflow_url('calling')}/actions/trigger"
            begun = (await http.post(url, json=body)).json()
        locking = await stack.enter_async_context(connection_to(settings().database.owner))
        await stack.enter_async_context(locking.transaction())
        await locking.execute("LOCK TABLE work_item")
        hanging = asyncio.create_task(http.get(f"{world.acme.url}/work-items"))
        poll = asyncio.create_task(
            http.get(f"{world.acme.workflow_url('calling')}/instances/{begun['instance_id']}/wait?timeout=60")
        )
        events = await stack.enter_async_context(http.stream("GET", f"{world.acme.url}/events"))
        lines = events.aiter_lines()
        await anext(lines)
        await asyncio.gather(silent.connected.wait(), hook.connected.wait())
        await asyncio.sleep(0.5)
        ending = asyncio.create_task(stop(process))
        async for _ in lines:
            pass
        assert (await poll).status_code == 200
        assert (await hanging).status_code == 503
        assert await ending < STOP_SECONDS
    assert "Exception in ASGI application" not in (tmp_path / "log").read_text()


def calling(url: str) -> dict[str, Any]:
    """A definition that makes a call."""
    return {
        "document": {"dsl": "1.0.3", "namespace": "tests", "name": "calling", "version": "1.0.0"},
        "do": [{"ask": {"call": "http", "with": {"method": "get", "endpoint": f"{url}/"}}}],
    }


async def test_a_worker_hands_back_calls_that_take_longer(
    client: httpx.AsyncClient, world: World, started: Started, tmp_path: Path
) -> None:
    """Of two calls that are never answered, whoever made them, the jobs are free again when the worker has gone."""
    async with listener(drip_nothing) as silent:
        await world.acme.publish(calling(silent.url))
        worker = started("worker")
        await eventually(lambda: "Tutti runs instances" in (tmp_path / "log").read_text(), 60)
        for _ in range(6):
            body = {"instance_name": "one", "trigger_inputs": {}}
            url = f"{world.acme.workflow_url('calling')}/actions/trigger"
            assert (await client.post(url, json=body, headers=bearer(world.acme.admin))).status_code == 201
        await silent.connected.wait()
        await asyncio.sleep(0.5)
        assert await stop(worker) < STOP_SECONDS
        async with rows_of(world.acme.id) as connection:
            count = await connection.fetchval("SELECT count(*) FROM job WHERE account_id = $1", world.acme.id)
        assert count == 6
