"""The main job, end to end: trigger, run, list, read, cancel, over HTTP."""

import httpx

from tests.world import World, bearer, trigger, until


async def test_trigger_runs_the_workflow_to_its_end(client: httpx.AsyncClient, world: World) -> None:
    url = await trigger(client, world.acme, "greeting", {"who": "Ada"})
    instance = await until(client, world.acme, url, workflow_status="Completed")
    assert instance["output"] == {"text": "Hello, Ada", "times": 1, "done": True}
    assert instance["trigger_inputs"] == {"who": "Ada", "times": 1}
    assert instance["last_completed_step"] == instance["total_steps"] == 2
    assert instance["last_completed_step_name"] == "finish"
    assert instance["started_by"] == str(world.acme.admin_id)
    assert instance["started_by_name"] == "Acme Admin"
    assert instance["ended_at"] >= instance["started_at"]
    assert instance["canceled_at"] is None


async def test_a_waiting_instance_goes_on_when_its_event_arrives(
    client: httpx.AsyncClient, world: World
) -> None:
    url = await trigger(client, world.acme, "waiting", {})
    await until(client, world.acme, url, last_completed_step=1)
    sent = await client.post(
        f"{url}/actions/signal",
        json={"type": "goods.arrived", "data": {"crates": 3}},
        headers=bearer(world.acme.admin),
    )
    assert sent.status_code == 202
    instance = await until(client, world.acme, url, workflow_status="Completed")
    assert instance["output"] == {"received": {"crates": 3}}


async def test_cancel_ends_a_waiting_instance_and_a_second_cancel_is_a_conflict(
    client: httpx.AsyncClient, world: World
) -> None:
    url = await trigger(client, world.acme, "waiting", {})
    await until(client, world.acme, url, last_completed_step=1)
    first = await client.post(f"{url}/actions/cancel", headers=bearer(world.acme.admin))
    assert first.status_code == 200
    assert first.json()["message"].startswith("Successfully canceled the workflow instance")
    instance = (await client.get(url, headers=bearer(world.acme.admin))).json()
    assert instance["workflow_status"] == "Canceled"
    assert instance["canceled_by"] == str(world.acme.admin_id)
    assert instance["canceled_at"] is not None
    second = await client.post(f"{url}/actions/cancel", headers=bearer(world.acme.admin))
    assert second.status_code == 409
