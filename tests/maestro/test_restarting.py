"""A restart begins a new instance that does what another one did: from the beginning or a task on, as this version or another."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.maestro.actions import (
    STEPS,
    act,
    document,
    faulted,
    listening,
    read,
    restarted,
    row_of,
    send,
    told,
)
from tests.maestro.errors import targets
from tests.waiting import eventually
from tests.world import Tenant, World, bearer, trigger, until

NEWER = document("steps", [*STEPS["do"][:-1], {"close": {"set": {"newer": True, "got": "${ . }"}}}], "2.0.0")
STRICT = document(
    "steps",
    [{"other": {"set": {"done": True}}}],
    "3.0.0",
    input={"schema": {"document": {"type": "object", "required": ["y"], "properties": {"y": {}}}}},
)
CHILD = document("child", [{"goods": listening("goods.arrived")}])
PARENT = document(
    "parent",
    [
        {"ask": {"run": {"workflow": {"namespace": "tests", "name": "child", "version": "latest"}}}},
        {"close": {"set": {"child": "${ . }"}}},
    ],
)


@pytest.fixture
async def failed(client: httpx.AsyncClient, world: World) -> str:
    """An instance that failed at its task `refuse`: its path."""
    await world.acme.publish(STEPS)
    return await faulted(client, world.acme)


async def completed(client: httpx.AsyncClient, of: Tenant, url: str) -> Any:
    """Wait for an instance's end; return its output."""
    return (await until(client, of, url, workflow_status="Completed"))["output"]


async def test_a_failed_instance_is_restarted_from_the_beginning(
    client: httpx.AsyncClient, world: World, failed: str
) -> None:
    acme = world.acme
    old = await read(client, acme, failed)
    url, answer = await restarted(client, acme, failed)
    assert (answer["restarted_from"], answer["canceled"]) == (old["id"], False)
    new = await until(client, acme, url, last_completed_step=1)
    assert new["restarted_from"] == old["id"]
    for field in ("name", "trigger_inputs", "metadata", "total_steps"):
        assert new[field] == old[field]
    assert (await read(client, acme, failed))["restarted_as"] == new["id"]
    assert (await read(client, acme, failed))["workflow_status"] == "Failed"
    await send(client, acme, url, "goods.arrived", {"ok": True})
    assert (await completed(client, acme, url))["got"] == {"ok": True}
    assert "instance.restarted" in await told(acme, failed)


async def test_its_url_opens_a_page_of_its_own(client: httpx.AsyncClient, world: World, failed: str) -> None:
    url, answer = await restarted(client, world.acme, failed)
    assert f"/instances/{url.rpartition('/')[2]}/execution?mtid=" in answer["instance_url"]
    row = await row_of(world.acme, url)
    assert str(row["access_id"]) in answer["instance_url"]
    assert row["access_secret_hash"] != (await row_of(world.acme, failed))["access_secret_hash"]


async def test_from_the_task_that_failed_it_has_the_data_and_the_context_of_then(
    client: httpx.AsyncClient, world: World, failed: str
) -> None:
    acme = world.acme
    await acme.publish(
        document("steps", [*STEPS["do"][:3], {"refuse": {"set": "${ . }"}}, STEPS["do"][4]], "1.1.0")
    )
    url, _ = await restarted(client, acme, failed, {"from_task": "refuse", "version": "latest"})
    output = await completed(client, acme, url)
    assert output == {
        "got": {"ok": False, "crates": 3},
        "context": {"gathered": "yes"},
        "given": {"x": 1},
    }


async def test_from_an_earlier_task_it_waits_anew(
    client: httpx.AsyncClient, world: World, failed: str
) -> None:
    acme = world.acme
    url, _ = await restarted(client, acme, failed, {"from_task": "goods"})
    new = await until(client, acme, url, last_completed_step=1)
    assert new["last_completed_step_name"] == "gather"
    await send(client, acme, url, "goods.arrived", {"ok": True})
    assert (await completed(client, acme, url))["context"] == {"gathered": "yes"}


async def test_from_a_task_that_was_never_reached_nothing_is_restarted(
    client: httpx.AsyncClient, world: World, failed: str
) -> None:
    refusal = await act(client, world.acme, failed, "restart", {"from_task": "close"}, 409)
    assert "never came to the task close" in refusal.json()["detail"]
    assert "restarted_as" not in await read(client, world.acme, failed)


async def test_data_of_any_size_is_had_again_by_the_task_that_failed(
    client: httpx.AsyncClient, world: World
) -> None:
    """The history holds only the beginning of it, so an earlier task has it no more."""
    acme = world.acme
    tasks: list[Any] = [
        {"grow": {"set": {"text": '${ "x" * 40000 }'}}},
        {"keep": {"set": "${ . }"}},
        {"refuse": {"raise": {"error": {"type": "https://example.com/refused", "status": 409}}}},
    ]
    await acme.publish(document("large", tasks))
    url = await trigger(client, acme, "large", {})
    await until(client, acme, url, workflow_status="Failed")
    refusal = await act(client, acme, url, "restart", {"from_task": "keep"}, 409)
    assert "too large to be kept" in refusal.json()["detail"]
    await acme.publish(
        document("large", [*tasks[:2], {"refuse": {"set": {"n": "${ .text | length }"}}}], "2.0.0")
    )
    new, _ = await restarted(client, acme, url, {"from_task": "refuse", "version": "latest"})
    assert await completed(client, acme, new) == {"n": 40000}


async def test_a_cancelled_instance_goes_on_from_where_it_was(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    await acme.publish(STEPS)
    url = await trigger(client, acme, "steps", {"x": 1})
    await until(client, acme, url, last_completed_step=1)
    await act(client, acme, url, "cancel", {"reason": "Too early."}, 200)
    new, _ = await restarted(client, acme, url, {"from_task": "goods"})
    await send(client, acme, new, "goods.arrived", {"ok": True})
    assert (await completed(client, acme, new))["context"] == {"gathered": "yes"}


async def test_a_completed_instance_is_restarted_from_any_of_its_tasks(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    await acme.publish(STEPS)
    url = await trigger(client, acme, "steps", {"x": 1})
    await send(client, acme, url, "goods.arrived", {"ok": True})
    before = await completed(client, acme, url)
    new, _ = await restarted(client, acme, url, {"from_task": "close"})
    assert await completed(client, acme, new) == before


async def test_a_suspended_instance_ends_as_cancelled_by_its_restart(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    await acme.publish(STEPS)
    url = await trigger(client, acme, "steps", {"x": 1})
    await until(client, acme, url, last_completed_step=1)
    await act(client, acme, url, "suspend", status=200)
    new, answer = await restarted(client, acme, url, {"from_task": "goods"})
    assert answer["canceled"]
    old = await read(client, acme, url)
    assert (old["workflow_status"], old["cancel_reason"]) == ("Canceled", "restarted")
    assert old["canceled_by"] == str(acme.admin_id)
    await send(client, acme, new, "goods.arrived", {"ok": True})
    assert (await completed(client, acme, new))["got"] == {"ok": True}


async def test_whoever_awaits_a_suspended_instance_awaits_the_one_that_repeats_it(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    for definition in (CHILD, PARENT):
        await acme.publish(definition)
    parent = await trigger(client, acme, "parent", {})
    children = f"{acme.workflow_url('child')}/instances"

    async def child() -> list[dict[str, Any]]:
        found = (await client.get(children, headers=bearer(acme.admin))).json()["data"]
        return [one for one in found if one["workflow_status"] == "In Progress"]

    await eventually(child)
    old = f"{children}/{(await child())[0]['id']}"
    await act(client, acme, old, "suspend", status=200)
    new, _ = await restarted(client, acme, old)
    await send(client, acme, new, "goods.arrived", {"crates": 3})
    assert await completed(client, acme, parent) == {"child": {"crates": 3}}


async def test_an_instance_under_way_is_not_restarted(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    await acme.publish(STEPS)
    url = await trigger(client, acme, "steps", {"x": 1})
    refusal = await act(client, acme, url, "restart", status=409)
    assert "suspend or cancel it first" in refusal.json()["detail"]


async def test_an_instance_that_runs_again_is_restarted_once_more_only_after_that(
    client: httpx.AsyncClient, world: World, failed: str
) -> None:
    acme = world.acme
    answers = await asyncio.gather(*(act(client, acme, failed, "restart") for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    (first,) = (answer.json()["instance_id"] for answer in answers if answer.status_code == 201)
    refusal = await act(client, acme, failed, "restart", status=409)
    assert f"runs again as {first}" in refusal.json()["detail"]
    await act(client, acme, f"{failed.rpartition('/')[0]}/{first}", "cancel", status=200)
    second, _ = await restarted(client, acme, failed)
    assert (await read(client, acme, failed))["restarted_as"] == second.rpartition("/")[2]


async def test_another_version_is_run_if_the_inputs_fit_it(
    client: httpx.AsyncClient, world: World, failed: str
) -> None:
    acme = world.acme
    await acme.publish(NEWER)
    url, _ = await restarted(client, acme, failed, {"version": "latest"})
    assert (await read(client, acme, url))["metadata"]["workflow_version"] == "2.0.0"
    await send(client, acme, url, "goods.arrived", {"ok": True})
    assert await completed(client, acme, url) == {"newer": True, "got": {"ok": True}}
    await acme.publish(STRICT)
    refusal = await act(client, acme, failed, "restart", {"version": "3.0.0"}, 400)
    assert targets(refusal) == {"trigger_inputs/y": "FIELD_REQUIRED"}
    again, _ = await restarted(client, acme, failed, {"version": "1.0.0"})
    assert (await read(client, acme, again))["metadata"]["workflow_version"] == "1.0.0"


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"version": "9.9.9"}, {"version": "FIELD_INVALID"}),
        ({"from_task": "nowhere"}, {"from_task": "FIELD_INVALID"}),
        ({"from_task": ""}, {"from_task": "FIELD_INVALID"}),
        ({"version": 1}, {"version": "FIELD_INVALID"}),
        ({"more": 1}, {"more": "FIELD_INVALID"}),
    ],
    ids=["version", "task", "empty", "type", "unknown"],
)
async def test_what_is_not_there_is_refused_by_name(
    client: httpx.AsyncClient, world: World, failed: str, body: Any, wrong: dict[str, str]
) -> None:
    assert targets(await act(client, world.acme, failed, "restart", body, 400)) == wrong


async def test_a_paused_or_archived_workflow_restarts_nothing(
    client: httpx.AsyncClient, world: World, failed: str
) -> None:
    acme = world.acme
    workflow = acme.workflow_url("steps")
    for verb, status in (("pause", 400), ("archive", 409)):
        done = await client.post(f"{workflow}/actions/{verb}", headers=bearer(acme.admin))
        assert done.status_code == 200, done.text
        await act(client, acme, failed, "restart", status=status)


# --- Deleting --------------------------------------------------------------------------------------------------------


async def test_what_has_ended_is_deleted_with_its_history_and_its_events_stay(
    client: httpx.AsyncClient, world: World, failed: str
) -> None:
    acme = world.acme
    new, _ = await restarted(client, acme, failed)
    await act(client, acme, failed, "delete", status=204)
    await act(client, acme, failed, "delete", status=404)
    assert (await client.get(failed, headers=bearer(acme.admin))).status_code == 404
    assert (await told(acme, failed))[-1] == "instance.deleted"
    # What links to it goes on, and can be restarted itself.
    assert (await read(client, acme, new))["restarted_from"] == failed.rpartition("/")[2]
    await act(client, acme, new, "delete", status=409)
    await act(client, acme, new, "cancel", status=200)
    again, _ = await restarted(client, acme, new)
    await act(client, acme, new, "delete", status=204)
    await send(client, acme, again, "goods.arrived", {"ok": True})
    await completed(client, acme, again)


async def test_members_delete_nothing(client: httpx.AsyncClient, world: World, failed: str) -> None:
    answer = await client.delete(failed, headers=bearer(world.acme.member))
    assert answer.status_code == 403
    assert (await client.delete(failed, headers=bearer(world.acme.machine))).status_code == 204


async def test_a_child_whose_result_is_still_to_be_taken_is_not_deleted(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    for definition in (CHILD, PARENT):
        await acme.publish(definition)
    parent = await trigger(client, acme, "parent", {})
    children = f"{acme.workflow_url('child')}/instances"

    async def child() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await client.get(children, headers=bearer(acme.admin))).json()["data"]
        return found

    await eventually(child)
    url = f"{children}/{(await child())[0]['id']}"
    await act(client, acme, parent, "suspend", status=200)
    await send(client, acme, url, "goods.arrived", {"crates": 3})
    await completed(client, acme, url)
    refusal = await act(client, acme, url, "delete", status=409)
    assert parent.rpartition("/")[2] in refusal.json()["detail"]
    await act(client, acme, parent, "resume", status=200)
    assert await completed(client, acme, parent) == {"child": {"crates": 3}}
    await act(client, acme, url, "delete", status=204)


# --- Cancelling ------------------------------------------------------------------------------------------------------


async def test_a_reason_for_a_cancellation_is_told_with_the_instance_and_in_its_event(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    url = await trigger(client, acme, "waiting", {})
    await act(client, acme, url, "cancel", {"reason": "The customer has withdrawn."}, 200)
    assert (await read(client, acme, url))["cancel_reason"] == "The customer has withdrawn."
    audit = (await client.get(f"{acme.url}/audit", headers=bearer(acme.admin))).json()["data"]
    (event,) = [one for one in audit if one["type"] == "instance.cancelled"]
    assert event["data"] == {"reason": "The customer has withdrawn."}


@pytest.mark.parametrize(
    "headers",
    [{}, {"Content-Length": "0"}, {"Content-Type": "application/json"}],
    ids=["nothing", "a length", "a type"],
)
async def test_a_cancellation_needs_no_body(
    client: httpx.AsyncClient, world: World, headers: dict[str, str]
) -> None:
    acme = world.acme
    url = await trigger(client, acme, "waiting", {})
    done = await client.post(f"{url}/actions/cancel", headers=bearer(acme.admin) | headers)
    assert done.status_code == 200
    assert "cancel_reason" not in await read(client, acme, url)


@pytest.mark.parametrize(
    "reason", ["", "x" * 1001, "a\0b", 7, None], ids=["empty", "long", "NUL", "number", "null"]
)
async def test_a_reason_is_a_text_of_at_most_1000_characters(
    client: httpx.AsyncClient, world: World, reason: Any
) -> None:
    acme = world.acme
    url = await trigger(client, acme, "waiting", {})
    refusal = await act(client, acme, url, "cancel", {"reason": reason}, 400)
    assert targets(refusal) == {"reason": "FIELD_INVALID"}
    assert (await read(client, acme, url))["workflow_status"] == "In Progress"


async def test_another_accounts_instance_is_a_missing_one_to_every_action(
    client: httpx.AsyncClient, world: World
) -> None:
    acme, globex = world.acme, world.globex
    url = await trigger(client, globex, "waiting", {})
    foreign = url.replace(str(globex.id), str(acme.id))
    for verb in ("suspend", "resume", "restart", "cancel", "delete"):
        one = await act(client, acme, foreign, verb, status=404)
        other = await act(
            client, acme, f"{acme.workflow_url('waiting')}/instances/{uuid4()}", verb, status=404
        )
        assert one.json()["detail"] == other.json()["detail"]
    assert (await row_of(globex, url))["status"] == "waiting"
