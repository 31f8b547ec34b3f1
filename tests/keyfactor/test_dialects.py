"""The same instance in all three dialects, whatever becomes of it and whoever acts on it."""

from typing import Any

import httpx
import msgspec
import pytest

from service.formance.requests import READ, WRITE
from tests.callers import machine_of
from tests.keyfactor.conftest import Calling
from tests.keyfactor.started import (
    COMPLETE,
    FAILED,
    REJECTED,
    SUPERSEDED,
    SUSPENDED,
    approving,
    became,
    begun,
    plain,
    published,
    triggered,
)
from tests.maestro.people import opened
from tests.world import Tenant, World, bearer

KEY = "Sign.Off.ApprovalStatus"


class Everywhere(msgspec.Struct):
    """An instance as each of the dialects tells of it."""

    keyfactor: dict[str, Any]
    maestro: dict[str, Any]
    formance: dict[str, Any]


async def everywhere(acme: Calling, of: Tenant, workflow: str, instance_id: str) -> Everywhere:
    """Read an instance in all dialects."""
    url = f"{of.workflow_url(workflow)}/instances/{instance_id}"
    maestro = await acme.http.get(url, headers=bearer(of.admin))
    machine = await machine_of(of, READ, WRITE)
    formance = await acme.http.get(f"/api/orchestration/instances/{instance_id}", headers=machine)
    assert (maestro.status_code, formance.status_code) == (200, 200), (maestro.text, formance.text)
    keyfactor = await acme("GET", f"/Workflow/Instances/{instance_id}", 200)
    return Everywhere(keyfactor, maestro.json(), formance.json()["data"])


async def signal(acme: Calling, instance_id: str, approved: str) -> None:
    """Answer by this dialect."""
    body = {"SignalKey": KEY, "Data": {"Approved": approved, "Comment": "I say so"}}
    await acme("POST", f"/Workflow/Instances/{instance_id}/Signals", 204, json=body)


async def test_instance_that_waits(acme: Calling, world: World) -> None:
    definition = await published(world.acme, approving())
    instance_id = await begun(acme, world.acme, definition, cn="a")
    await became(acme, instance_id, SUSPENDED)
    seen = await everywhere(acme, world.acme, f"definition-{definition}", instance_id)
    assert seen.maestro["workflow_status"] == "In Progress"
    assert (seen.keyfactor["Id"], seen.maestro["id"], seen.formance["id"]) == (instance_id,) * 3
    assert seen.keyfactor["Definition"]["Id"] == seen.maestro["template_id"] == seen.formance["workflowID"]
    assert seen.keyfactor["StartDate"] == seen.maestro["started_at"] == seen.formance["createdAt"]
    assert seen.keyfactor["LastModified"] == seen.maestro["last_modified_at"]
    assert seen.keyfactor["InitialData"] == seen.maestro["trigger_inputs"] == {"cn": "a"}
    assert seen.keyfactor["CurrentStepUniqueName"] == "Sign.Off"
    assert seen.maestro["last_completed_step_name"] == "StartNOOP"
    assert seen.formance["status"][-1]["stage"] == 1
    assert seen.formance["terminated"] is False


async def test_denial_here_is_a_cancellation_there(acme: Calling, world: World) -> None:
    definition = await published(world.acme, approving())
    instance_id = await begun(acme, world.acme, definition, cn="a")
    await became(acme, instance_id, SUSPENDED)
    await signal(acme, instance_id, "False")
    await became(acme, instance_id, REJECTED)
    seen = await everywhere(acme, world.acme, f"definition-{definition}", instance_id)
    assert seen.maestro["workflow_status"] == "Canceled"
    assert (
        seen.maestro["cancel_reason"] == seen.keyfactor["StatusMessage"] == "Acme Admin denied it: I say so"
    )
    assert seen.maestro["canceled_at"] == seen.maestro["ended_at"]
    assert seen.maestro["canceled_by"] is None
    assert "error" not in seen.maestro
    assert seen.formance["terminated"] is True
    events = await acme.http.get(
        f"{world.acme.workflow_url(f'definition-{definition}')}/instances/{instance_id}/history",
        headers=bearer(world.acme.admin),
    )
    assert events.status_code == 200


async def test_answer_there_counts_here(acme: Calling, world: World) -> None:
    definition = await published(world.acme, approving())
    instance_id = await begun(acme, world.acme, definition, cn="a")
    await became(acme, instance_id, SUSPENDED)
    url = f"{world.acme.workflow_url(f'definition-{definition}')}/instances/{instance_id}"
    asked = await opened(acme.http, world.acme, url)
    await asked.done(world.acme.member, outcome="approve", comment="fine")
    told = await became(acme, instance_id, COMPLETE)
    assert told["CurrentStateData"]["Approvals"][0]["User"] == "Acme Member"
    seen = await everywhere(acme, world.acme, f"definition-{definition}", instance_id)
    assert seen.maestro["workflow_status"] == "Completed"
    assert seen.maestro["output"] == seen.keyfactor["CurrentStateData"]
    assert seen.formance["terminated"] is True


async def test_answer_here_counts_there(acme: Calling, world: World) -> None:
    ask = {
        "call": "approval",
        "with": {"title": "Fine?", "assignees": {"roles": ["admin"]}, "outcomes": ["yes", "no", "later"]},
    }
    await world.acme.publish(plain("asking", {"sign": ask}))
    instance_id = await triggered(acme, world.acme, "asking")
    await became(acme, instance_id, SUSPENDED)
    body = {"SignalKey": "sign.ApprovalStatus", "Data": {"Approved": "False", "Comment": "not now"}}
    await acme("POST", f"/Workflow/Instances/{instance_id}/Signals", 204, json=body)
    await became(acme, instance_id, COMPLETE)
    seen = await everywhere(acme, world.acme, "asking", instance_id)
    assert seen.maestro["output"]["outcome"] == "no"
    assert seen.maestro["output"]["decisions"][0]["comment"] == "not now"


async def test_stop_here_is_a_cancellation_there_and_the_reverse(acme: Calling, world: World) -> None:
    of = world.acme
    stopped, cancelled, aborted = [await triggered(acme, of, "waiting") for _ in range(3)]
    for one in (stopped, cancelled, aborted):
        await became(acme, one, SUSPENDED)
    await acme("POST", f"/Workflow/Instances/{stopped}/Stop", 204)
    url = f"{of.workflow_url('waiting')}/instances/{cancelled}/actions/cancel"
    assert (await acme.http.post(url, json={"reason": "wrong"}, headers=bearer(of.admin))).status_code == 200
    machine = await machine_of(of, READ, WRITE)
    url = f"/api/orchestration/instances/{aborted}/abort"
    assert (await acme.http.put(url, headers=machine)).status_code == 204
    reasons = {stopped: "stopped", cancelled: "wrong", aborted: None}
    for one, reason in reasons.items():
        seen = await everywhere(acme, of, "waiting", one)
        assert (seen.keyfactor["Status"], seen.keyfactor["StatusMessage"]) == (REJECTED, reason)
        assert seen.maestro["workflow_status"] == "Canceled"
        assert seen.maestro.get("cancel_reason") == reason
        assert seen.formance["terminated"] is True


@pytest.mark.parametrize("by", ["keyfactor", "maestro"])
async def test_restart_is_one_everywhere(acme: Calling, world: World, by: str) -> None:
    of = world.acme
    await of.publish(plain("failing", {"a": {"raise": {"error": {"type": "urn:x", "status": 500}}}}))
    instance_id = await triggered(acme, of, "failing")
    await became(acme, instance_id, FAILED)
    if by == "keyfactor":
        answer = await acme.sent("POST", f"/Workflow/Instances/{instance_id}/Restart")
        new = answer.headers["Location"].rpartition("/")[2]
    else:
        url = f"{of.workflow_url('failing')}/instances/{instance_id}/actions/restart"
        new = (await acme.http.post(url, headers=bearer(of.admin))).json()["instance_id"]
    await became(acme, new, FAILED)
    seen = await everywhere(acme, of, "failing", instance_id)
    assert (seen.keyfactor["Status"], seen.maestro["workflow_status"]) == (SUPERSEDED, "Failed")
    assert seen.maestro["restarted_as"] == new
    assert (await everywhere(acme, of, "failing", new)).maestro["restarted_from"] == instance_id


async def test_event_of_another_dialect_lets_it_go_on(acme: Calling, world: World) -> None:
    of = world.acme
    instance_id = await triggered(acme, of, "waiting")
    await became(acme, instance_id, SUSPENDED)
    machine = await machine_of(of, READ, WRITE)
    url = f"/api/orchestration/instances/{instance_id}/events"
    assert (await acme.http.post(url, json={"name": "goods.arrived"}, headers=machine)).status_code == 204
    await became(acme, instance_id, COMPLETE)


async def test_deletion_here_is_one_everywhere(
    acme: Calling, world: World, client: httpx.AsyncClient
) -> None:
    of = world.acme
    instance_id = await triggered(acme, of, "waiting")
    await became(acme, instance_id, SUSPENDED)
    await acme("DELETE", f"/Workflow/Instances/{instance_id}", 204)
    url = f"{of.workflow_url('waiting')}/instances/{instance_id}"
    assert (await client.get(url, headers=bearer(of.admin))).status_code == 404
    machine = await machine_of(of, READ, WRITE)
    assert (
        await client.get(f"/api/orchestration/instances/{instance_id}", headers=machine)
    ).status_code == 404
