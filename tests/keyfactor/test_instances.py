"""Single instances: how they are told, stopped, restarted and deleted, and from which statuses."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from service.keyfactor.reference import step_id
from service.keyfactor.requests import READ
from service.language.errors import REJECTED as DENIED
from tests.keyfactor.conftest import Calling, calling_as
from tests.keyfactor.started import (
    COMPLETE,
    FAILED,
    REJECTED,
    RUNNING,
    SUPERSEDED,
    SUSPENDED,
    approving,
    became,
    begun,
    plain,
    published,
    restarted,
    triggered,
    with_status,
)
from tests.maestro.people import stored
from tests.world import Tenant, World, bearer

STATE = "0xA0110050"
SHOWN = (
    *("Id", "Status", "CurrentStepId", "StatusMessage", "Definition", "CurrentStepDisplayName"),
    *("CurrentStepUniqueName", "Title", "LastModified", "StartDate", "ReferenceId"),
)
NO_STEP = str(UUID(int=0))


# --- Reading --------------------------------------------------------------------------------------------------------


async def test_instance_is_told_with_its_definition_step_and_data(acme: Calling, world: World) -> None:
    definition = await published(world.acme, approving())
    instance_id = await begun(acme, world.acme, definition, cn="web", count=2, deep={"a": [1, None]})
    told = await became(acme, instance_id, SUSPENDED)
    assert tuple(told) == (*SHOWN, "Signals", "InitialData", "CurrentStateData")
    workflow_id = world.acme.workflows[f"definition-{definition}"]
    assert told["Definition"] == {
        "Id": str(workflow_id),
        "DisplayName": "Issuing",
        "Version": 1,
        "WorkflowType": "Enrollment",
    }
    (row,) = await stored(world.acme, "SELECT version_id FROM instance WHERE id = $1", UUID(instance_id))
    assert told["CurrentStepId"] == str(step_id(row["version_id"], "Sign.Off"))
    assert told["Id"] == instance_id
    assert told["Title"] == "test"
    assert told["InitialData"] == {"cn": "web", "count": 2, "deep": {"a": [1, None]}}
    assert told["CurrentStateData"] == told["InitialData"]
    assert told["StartDate"].endswith("Z")
    assert told["LastModified"] >= told["StartDate"]


async def test_instance_of_another_dialect_has_its_tasks_for_steps(acme: Calling, world: World) -> None:
    instance_id = await triggered(acme, world.acme, "waiting")
    told = await became(acme, instance_id, SUSPENDED)
    assert told["Definition"]["WorkflowType"] is None
    assert (told["CurrentStepDisplayName"], told["CurrentStepUniqueName"]) == ("goods", "goods")
    assert told["CurrentStepId"] == NO_STEP
    assert told["CurrentStateData"] == {"ready": True}


async def test_instance_that_is_complete_is_at_no_step(acme: Calling, world: World) -> None:
    instance_id = await triggered(acme, world.acme, "greeting", who="Ada")
    told = await became(acme, instance_id, COMPLETE)
    assert (told["CurrentStepDisplayName"], told["CurrentStepUniqueName"]) == (None, None)
    assert (told["CurrentStepId"], told["StatusMessage"]) == (NO_STEP, None)
    assert told["CurrentStateData"] == {"text": "Hello, Ada", "times": 1, "done": True}


async def test_instance_that_failed_says_where_and_why(acme: Calling, world: World) -> None:
    told = await acme("GET", f"/Workflow/Instances/{await with_status(acme, world, FAILED)}", 200)
    assert (told["CurrentStepUniqueName"], told["StatusMessage"]) == ("fail", "No CA.")


async def test_error_that_is_very_long_is_not_told(acme: Calling, world: World) -> None:
    error = {"type": "urn:x", "status": 500, "detail": "x" * 20_000}
    await world.acme.publish(plain("verbose", {"fail": {"raise": {"error": error}}}))
    told = await became(acme, await triggered(acme, world.acme, "verbose"), FAILED)
    assert told["StatusMessage"] == "The error is too long to be told here."


async def test_data_that_are_no_object_are_none(acme: Calling, world: World) -> None:
    await world.acme.publish(plain("listed", {"say": {"set": "${ [1, 2] }"}}))
    told = await became(acme, await triggered(acme, world.acme, "listed"), COMPLETE)
    assert told["CurrentStateData"] == {}


async def test_instance_that_somebody_paused_is_suspended(acme: Calling, world: World) -> None:
    of = world.acme
    instance_id = await triggered(acme, of, "waiting")
    await became(acme, instance_id, SUSPENDED)
    url = f"{of.workflow_url('waiting')}/instances/{instance_id}/actions/suspend"
    assert (await acme.http.post(url, headers=bearer(of.admin))).status_code == 200
    told = await acme("GET", f"/Workflow/Instances/{instance_id}", 200)
    message = "Paused until somebody resumes it. Waiting for: the event goods.arrived"
    assert (told["Status"], told["StatusMessage"]) == (SUSPENDED, message)
    await acme("POST", f"/Workflow/Instances/{instance_id}/Stop", 204)
    await became(acme, instance_id, REJECTED)


async def test_anything_may_stand_in_the_metadata_of_other_definitions(acme: Calling, world: World) -> None:
    oddities: list[Any] = [
        None,
        7,
        [],
        {"Steps": 7},
        {"Steps": [7, {}, {"UniqueName": 7}], "WorkflowType": []},
    ]
    for index, made in enumerate(oddities):
        document = plain(f"odd{index}", {"wait": {"listen": {"to": {"one": {"with": {"type": "x"}}}}}})
        document["document"] |= {"namespace": "keyfactor", "metadata": {"keyfactor": made}}
        await world.acme.publish(document)
        told = await became(acme, await triggered(acme, world.acme, f"odd{index}"), SUSPENDED)
        assert (told["CurrentStepId"], told["Definition"]["WorkflowType"]) == (NO_STEP, None)
    listed = await acme("GET", "/Workflow/Instances", 200)
    assert len(listed) == len(oddities)


@pytest.mark.parametrize("wrong", ["1", "890735218333224", "nonsense", "01a2004e-2c71-7628-ba48"])
async def test_id_that_is_no_guid_is_refused(acme: Calling, wrong: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/Stop"), ("POST", "/Restart")):
        refused = await acme(method, f"/Workflow/Instances/{wrong}{path}", 400)
        assert "not a GUID" in refused["Message"]


async def test_instance_of_nobody_and_of_another_account_is_not_found(
    acme: Calling, globex: Calling, world: World
) -> None:
    instance_id = await triggered(globex, world.globex, "waiting")
    await became(globex, instance_id, SUSPENDED)
    for which in (instance_id, str(uuid4())):
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/Stop"), ("POST", "/Restart")):
            refused = await acme(method, f"/Workflow/Instances/{which}{path}", 404)
            assert refused["ErrorCode"] == "0xA0110404"
    assert (await became(globex, instance_id, SUSPENDED))["Id"] == instance_id


# --- Stopping, deleting ---------------------------------------------------------------------------------------------

NAMES = {
    RUNNING: "Running",
    SUSPENDED: "Suspended",
    FAILED: "Failed",
    REJECTED: "Rejected",
    COMPLETE: "Complete",
    SUPERSEDED: "CanceledForRestart",
}
ALLOWED = {
    "Stop": {SUSPENDED},
    "Restart": {FAILED, SUSPENDED},
    "DELETE": {SUSPENDED, FAILED, REJECTED, COMPLETE, SUPERSEDED},
}


@pytest.mark.parametrize("status", NAMES)
@pytest.mark.parametrize("verb", ALLOWED)
async def test_what_may_be_done_from_which_status(
    acme: Calling, world: World, verb: str, status: int
) -> None:
    instance_id = await with_status(acme, world, status)
    path = f"/Workflow/Instances/{instance_id}"
    method, path = ("DELETE", path) if verb == "DELETE" else ("POST", f"{path}/{verb}")
    if status in ALLOWED[verb]:
        assert await acme(method, path, 204) is None
        return
    refused = await acme(method, path, 400)
    assert refused["ErrorCode"] == STATE
    assert refused["Message"].startswith(f"The instance is {NAMES[status]}")
    assert (await acme("GET", f"/Workflow/Instances/{instance_id}", 200))["Status"] == status


async def test_instance_that_is_stopped_goes_on_no_more(acme: Calling, world: World) -> None:
    instance_id = await with_status(acme, world, SUSPENDED)
    await acme("POST", f"/Workflow/Instances/{instance_id}/Stop", 204)
    told = await became(acme, instance_id, REJECTED)
    assert (told["StatusMessage"], told["CurrentStepUniqueName"], told["Signals"]) == (
        "stopped",
        "Sign.Off",
        [],
    )
    open_items = await stored(world.acme, "SELECT id FROM work_item WHERE status = 'open'")
    assert open_items == []


@pytest.mark.parametrize("status", [SUSPENDED, COMPLETE])
async def test_instance_that_is_deleted_is_gone(acme: Calling, world: World, status: int) -> None:
    instance_id = await with_status(acme, world, status)
    await acme("DELETE", f"/Workflow/Instances/{instance_id}", 204)
    await acme("GET", f"/Workflow/Instances/{instance_id}", 404)
    await acme("DELETE", f"/Workflow/Instances/{instance_id}", 404)
    rows = await stored(
        world.acme, "SELECT type FROM event WHERE instance_id = $1 ORDER BY id", UUID(instance_id)
    )
    last = [row["type"] for row in rows][-2:]
    assert last == ["instance.cancelled" if status == SUSPENDED else "instance.completed", "instance.deleted"]


async def child_of(acme: Calling, of: Tenant) -> tuple[str, str]:
    """Start an instance that awaits another one; return the ids of both."""
    run = {"workflow": {"namespace": "tests", "name": "waiting", "version": "latest"}}
    await of.publish(plain("parent", {"child": {"run": run}}))
    parent = await triggered(acme, of, "parent")
    async with asyncio.timeout(15):
        while True:
            for one in await acme("GET", "/Workflow/Instances", 200):
                if one["CurrentStepUniqueName"] == "goods":
                    return parent, one["Id"]
            await asyncio.sleep(0.02)


async def test_what_an_instance_awaits_ends_when_that_is_deleted(acme: Calling, world: World) -> None:
    parent, child = await child_of(acme, world.acme)
    await became(acme, parent, SUSPENDED)
    await acme("DELETE", f"/Workflow/Instances/{parent}", 204)
    await became(acme, child, REJECTED)


async def test_instance_that_another_awaits_is_restarted_in_its_place(acme: Calling, world: World) -> None:
    parent, child = await child_of(acme, world.acme)
    new = await restarted(acme, child)
    await became(acme, new, SUSPENDED)
    event = {"SignalKey": "goods.goods.arrived", "Data": {"boxes": 3}}
    await acme("POST", f"/Workflow/Instances/{new}/Signals", 204, json=event)
    told = await became(acme, parent, COMPLETE)
    assert told["CurrentStateData"] == {"received": {"boxes": 3}}


async def test_instance_that_another_awaits_is_not_deleted(acme: Calling, world: World) -> None:
    _, child = await child_of(acme, world.acme)
    told = await became(acme, child, SUSPENDED)
    assert 0 < told["ReferenceId"] < 2**53
    refused = await acme("DELETE", f"/Workflow/Instances/{child}", 400)
    assert "awaits this one" in refused["Message"]
    await became(acme, child, SUSPENDED)


# --- Denials --------------------------------------------------------------------------------------------------------


async def test_any_definition_may_deny(acme: Calling, world: World) -> None:
    error = {"type": DENIED, "status": 403, "title": "Denied", "detail": "Nobody is to have it."}
    await world.acme.publish(
        plain("denying", {"ask": {"set": {"a": 1}}}, {"deny": {"raise": {"error": error}}})
    )
    told = await became(acme, await triggered(acme, world.acme, "denying"), REJECTED)
    assert (told["StatusMessage"], told["CurrentStepUniqueName"]) == ("Nobody is to have it.", "deny")
    assert told["CurrentStateData"] == {"a": 1}


async def test_denial_that_is_caught_is_none(acme: Calling, world: World) -> None:
    error = {"type": DENIED, "status": 403, "detail": "No."}
    task = {"try": [{"deny": {"raise": {"error": error}}}], "catch": {"errors": {"with": {"type": DENIED}}}}
    await world.acme.publish(plain("catching", {"ask": task}))
    await became(acme, await triggered(acme, world.acme, "catching"), COMPLETE)


# --- Who may --------------------------------------------------------------------------------------------------------


async def test_sender_sees_their_own_and_operates_none(
    client: httpx.AsyncClient, acme: Calling, world: World
) -> None:
    of = world.acme
    member = await calling_as(client, of, of.member_id)
    theirs = await triggered(member, as_member(of), "waiting")
    other = await triggered(acme, of, "waiting")
    await became(acme, theirs, SUSPENDED)
    await member("GET", f"/Workflow/Instances/{theirs}", 200)
    await member("GET", f"/Workflow/Instances/{other}", 403)
    for method, path in (("DELETE", ""), ("POST", "/Stop"), ("POST", "/Restart")):
        await member(method, f"/Workflow/Instances/{theirs}{path}", 403)
    assert [one["Id"] for one in await member("GET", "/Workflow/Instances", 200)] == [theirs]


def as_member(of: Tenant) -> Tenant:
    """The tenant, in which its member starts instances."""
    return msgspec.structs.replace(of, admin=of.member)


async def test_token_that_only_reads_changes_nothing(
    client: httpx.AsyncClient, acme: Calling, world: World
) -> None:
    instance_id = await with_status(acme, world, SUSPENDED)
    reader = await calling_as(client, world.acme, None, READ)
    for method, path in (("DELETE", ""), ("POST", "/Stop"), ("POST", "/Restart")):
        await reader(method, f"/Workflow/Instances/{instance_id}{path}", 403)
    assert (await reader("GET", f"/Workflow/Instances/{instance_id}", 200))["Status"] == SUSPENDED
