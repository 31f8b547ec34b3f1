"""Running instances and stored bytes: what is refused while there are too many, and what works all the same."""

import asyncio
import time
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from auth.bearer import Operator
from service.engine.schedules import fire
from service.limits import space
from service.limits.known import refresh
from service.limits.measuring import PARTS, measure
from service.operations import limits
from tenancy.rows import rows_of
from tests.limits.limiting import codes, limited
from tests.maestro.errors import assert_refused
from tests.maestro.rows import analyze, insert_instances
from tests.world import GREETING, WAITING, Tenant, World, bearer, trigger, until

BODY = {"instance_name": "test", "trigger_inputs": {}}
CALLING: dict[str, Any] = {
    "document": {"dsl": "1.0.3", "namespace": "tests", "name": "calling", "version": "1.0.0"},
    "do": [{"call": {"run": {"workflow": {"namespace": "tests", "name": "waiting", "version": "1.0.0"}}}}],
}
TICKING: dict[str, Any] = {
    "document": {"dsl": "1.0.3", "namespace": "tests", "name": "ticking", "version": "1.0.0"},
    "schedule": {"every": {"days": 1}},
    "do": [{"one": {"set": {"done": True}}}],
}


async def start(client: httpx.AsyncClient, of: Tenant, **headers: str) -> httpx.Response:
    """Trigger the workflow that waits."""
    url = f"{of.workflow_url('waiting')}/actions/trigger"
    return await client.post(url, json=BODY, headers=bearer(of.admin) | headers)


async def cancel(client: httpx.AsyncClient, of: Tenant, url: str) -> None:
    """Cancel an instance."""
    assert (await client.post(f"{url}/actions/cancel", headers=bearer(of.admin))).status_code == 200


def recounted(of: Tenant) -> None:
    """Have the running instances counted anew, as they are a second later."""
    space._counts.pop(of.id, None)


async def at_once(_: float) -> bool:
    """Pause for no time at all."""
    return True


async def no_bytes(of: Tenant) -> None:
    """Let an account store nothing more."""
    await limited(of, stored_bytes=1)
    await measure(of.id, at_once)


async def test_as_many_instances_run_as_the_limit_says(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    await limited(acme, running_instances=2)
    first = await trigger(client, acme, "waiting", {})
    await trigger(client, acme, "waiting", {})
    refused = await start(client, acme)
    assert_refused(refused, 429)
    assert codes(refused) == ["RUNNING_INSTANCE_LIMIT_REACHED"]
    assert "2 instances that have not ended" in refused.json()["detail"]
    assert refused.headers["Retry-After"] == "5"
    assert (await start(client, world.globex)).status_code == 201
    await cancel(client, acme, first)
    recounted(acme)
    assert (await start(client, acme)).status_code == 201


async def test_an_end_is_noticed_a_second_later(client: httpx.AsyncClient, world: World) -> None:
    await limited(world.acme, running_instances=1)
    url = await trigger(client, world.acme, "waiting", {})
    await cancel(client, world.acme, url)
    began = time.monotonic()
    while (await start(client, world.acme)).status_code == 429:  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0.1)
    assert time.monotonic() - began < 5


async def test_a_trigger_that_comes_again_is_told_what_it_started_although_nothing_more_may_start(
    client: httpx.AsyncClient, world: World
) -> None:
    await limited(world.acme, running_instances=1)
    key = {"Idempotency-Key": str(uuid4())}
    first = await start(client, world.acme, **key)
    assert first.status_code == 201
    assert (await start(client, world.acme)).status_code == 429
    again = await start(client, world.acme, **key)
    assert again.status_code == 201
    assert again.json()["instance_id"] == first.json()["instance_id"]


async def test_strangers_are_not_told_that_an_account_is_full(
    client: httpx.AsyncClient, world: World
) -> None:
    await limited(world.acme, running_instances=1)
    url = await trigger(client, world.acme, "waiting", {})
    path = f"{world.acme.workflow_url('waiting')}/actions/trigger"
    for verb in (path, f"{url}/actions/restart"):
        body = BODY if verb == path else {}
        assert_refused(await client.post(verb, json=body, headers=bearer(world.globex.admin)), 404)
        assert_refused(await client.post(verb, json=body, headers=bearer("nobody")), 401)


async def test_restarts_are_refused_too(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    done = await trigger(client, acme, "greeting", {"who": "Ada"})
    await until(client, acme, done, workflow_status="Completed")
    await limited(acme, running_instances=1)
    await trigger(client, acme, "waiting", {})
    one = await client.post(f"{done}/actions/restart", json={}, headers=bearer(acme.admin))
    assert codes(one) == ["RUNNING_INSTANCE_LIMIT_REACHED"]
    bulk = f"{acme.url}/workflow-instances/actions/restart"
    many = await client.post(bulk, json={"confirm_count": 1}, headers=bearer(acme.admin))
    assert codes(many) == ["RUNNING_INSTANCE_LIMIT_REACHED"]
    asked = await client.post(bulk, json={}, headers=bearer(acme.admin))
    assert (asked.status_code, asked.json()["matched_count"]) == (200, 1)


async def test_a_bulk_restart_waits_for_room_and_loses_nothing(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    await acme.publish({**WAITING, "document": {**WAITING["document"], "name": "again"}})
    urls = [await trigger(client, acme, "again", {}) for _ in range(4)]
    for url in urls:
        await cancel(client, acme, url)
    await limited(acme, running_instances=2)
    recounted(acme)
    bulk = f"{acme.url}/workflow-instances/actions/restart?status=Canceled"
    begun = await client.post(bulk, json={"confirm_count": 4}, headers=bearer(acme.admin))
    assert begun.status_code == 202, begun.text
    action = f"{acme.url}/bulk-actions/{begun.json()['bulk_action']['id']}"
    await until(client, acme, action, done_count=2)
    await asyncio.sleep(1)
    halted = (await client.get(action, headers=bearer(acme.admin))).json()
    assert (halted["status"], halted["done_count"], halted["skipped_count"]) == ("running", 2, 0)
    await limited(acme, running_instances=None)
    await until(client, acme, action, status="completed", done_count=4)


async def test_a_suspended_instance_is_restarted_although_there_is_no_room(
    client: httpx.AsyncClient, world: World
) -> None:
    """The new one takes its place."""
    acme = world.acme
    url = await trigger(client, acme, "waiting", {})
    await limited(acme, running_instances=1)
    assert (await start(client, acme)).status_code == 429
    assert (await client.post(f"{url}/actions/suspend", headers=bearer(acme.admin))).status_code == 200
    restarted = await client.post(f"{url}/actions/restart", headers=bearer(acme.admin))
    assert restarted.status_code == 201, restarted.text
    await no_bytes(acme)
    new = url.rpartition("/")[0] + f"/{restarted.json()['instance_id']}"
    assert (await client.post(f"{new}/actions/suspend", headers=bearer(acme.admin))).status_code == 200
    refused = await client.post(f"{new}/actions/restart", headers=bearer(acme.admin))
    assert codes(refused) == ["STORAGE_LIMIT_REACHED"]


async def test_workflows_that_others_run_are_counted_and_not_refused(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    await acme.publish(CALLING)
    await limited(acme, running_instances=1)
    await trigger(client, acme, "calling", {})
    found: dict[str, Any] = {}
    while found.get("total_set_size") != 2:
        await asyncio.sleep(0.05)
        listed = f"{acme.url}/workflow-instances?status=In Progress"
        found = (await client.get(listed, headers=bearer(acme.admin))).json()
    usage = (await client.get(f"{acme.url}/limits", headers=bearer(acme.admin))).json()["usage"]
    assert usage["running_instances"] == 2
    recounted(acme)
    assert (await start(client, acme)).status_code == 429


async def test_a_schedule_is_put_off_until_there_is_room(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    await acme.publish(TICKING)
    await limited(acme, running_instances=1)
    url = await trigger(client, acme, "waiting", {})

    async def due() -> UUID:
        async with rows_of(acme.id) as connection:
            found: UUID = await connection.fetchval("UPDATE schedule SET next_at = now() RETURNING id")
        return found

    assert not await fire(acme.id, await due())
    async with rows_of(acme.id) as connection:
        assert await connection.fetchval("SELECT next_at > now() FROM schedule")
        assert await connection.fetchval("SELECT count(*) FROM instance") == 1
    await cancel(client, acme, url)
    recounted(acme)
    await fire(acme.id, await due())  # unless the worker was faster
    async with rows_of(acme.id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM instance") == 2


async def test_an_account_without_the_limit_is_not_counted(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def counted(*_: Any) -> Any:
        raise AssertionError("it was counted")

    monkeypatch.setattr(space, "read", counted)
    await limited(world.acme, requests_per_second=1000)
    await trigger(client, world.acme, "waiting", {})
    await trigger(client, world.globex, "waiting", {})


async def test_counting_looks_at_an_index_and_no_further_than_the_limit(world: World) -> None:
    acme = world.acme
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id], 3000)
    await analyze()
    async with rows_of(acme.id) as connection:
        rows = await connection.fetch(
            "EXPLAIN " + limits.RUNNING.replace("$1", f"'{acme.id}'").replace(str(limits.COUNTED), "20")
        )
        assert "instance_in_progress_by_start" in (plan := "\n".join(row[0] for row in rows)), plan
        assert "Seq Scan" not in plan
        assert await connection.fetchval("SELECT count_running($1, 20)", acme.id) == 20


async def test_who_stores_too_much_may_read_cancel_and_delete_and_store_nothing(
    client: httpx.AsyncClient, world: World
) -> None:
    acme, headers = world.acme, bearer(world.acme.admin)
    waiting = await trigger(client, acme, "waiting", {})
    done = await trigger(client, acme, "greeting", {"who": "Ada"})
    await until(client, acme, done, workflow_status="Completed")
    await no_bytes(acme)
    event = {"type": "goods.arrived"}
    new = {**GREETING, "document": {**GREETING["document"], "version": "9.0.0"}}
    for url, body in (
        (f"{acme.workflow_url('waiting')}/actions/trigger", BODY),
        (f"{done}/actions/restart", {}),
        (f"{waiting}/actions/signal", event),
        (f"{acme.url}/events", event),
        (f"{acme.url}/workflows", new | {"document": new["document"] | {"name": "new"}}),
    ):
        refused = await client.post(url, json=body, headers=headers)
        assert_refused(refused, 429)
        assert codes(refused) == ["STORAGE_LIMIT_REACHED"], url
        assert refused.headers["Retry-After"] == "5"
    replaced = await client.put(acme.workflow_url("greeting"), json=new, headers=headers)
    assert codes(replaced) == ["STORAGE_LIMIT_REACHED"]
    assert (await client.get(waiting, headers=headers)).status_code == 200
    await cancel(client, acme, waiting)
    assert (await client.delete(done, headers=headers)).status_code == 204
    told = (await client.get(f"{acme.url}/limits", headers=headers)).json()
    assert told["usage"]["stored_bytes"] > told["stored_bytes"] == 1
    assert (await start(client, world.globex)).status_code == 201
    await limited(acme, stored_bytes=10**9)
    assert (await start(client, acme)).status_code == 201


async def test_measuring_counts_large_values_and_no_other_account(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = world.acme
    await limited(acme, stored_bytes=10**9)
    before = await measure(acme.id, at_once)
    await trigger(client, world.globex, "greeting", {"who": "x" * 5000})
    await trigger(client, acme, "greeting", {"who": uuid4().hex * 1000})
    monkeypatch.setattr("service.limits.measuring.AT_ONCE", 2)
    paused: list[float] = []

    async def pause(seconds: float) -> bool:
        paused.append(seconds)
        return True

    after = await measure(acme.id, pause)
    assert before is not None
    assert after is not None
    assert 300 < after - before < 200_000
    assert len(paused) > len(PARTS)
    await refresh()
    assert (await limits.get(Operator(acme.id))).measured_bytes == after


async def test_measuring_stops_when_it_is_told_to(world: World) -> None:
    async def stop(_: float) -> bool:
        return False

    await limited(world.acme, stored_bytes=10**9)
    assert await measure(world.acme.id, stop) is None


async def test_a_worker_measures_whom_it_has_to(client: httpx.AsyncClient, world: World) -> None:
    await limited(world.acme, stored_bytes=10**9)
    url = f"{world.acme.url}/limits"
    usage: dict[str, Any] = {}
    async with asyncio.timeout(15):
        while "stored_bytes" not in usage:
            await asyncio.sleep(0.1)
            usage = (await client.get(url, headers=bearer(world.acme.admin))).json()["usage"]
    other = await client.get(f"{world.globex.url}/limits", headers=bearer(world.globex.admin))
    assert "stored_bytes" not in other.json()["usage"]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.table)
async def test_measuring_goes_along_an_index(world: World, part: Any) -> None:
    values = {"uuid": f"'{uuid4()}'", "integer": "1", "bigint": "1", "text": "''", "timestamptz": "now()"}
    statement = part.statement(first=False).replace("$1", f"'{world.acme.id}'").replace("$2", "5000")
    for place, kind in enumerate(part.kinds, 3):
        statement = statement.replace(f"${place}", values[kind])
    async with rows_of(world.acme.id) as connection:
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        rows = await connection.fetch(f"EXPLAIN {statement}")
    plan = "\n".join(row[0] for row in rows)
    assert "account_id" in plan
    assert "Seq Scan" not in plan, plan
    head = plan.partition("CTE Scan")[0]
    assert "Sort" not in head, plan
