"""Single instances: how they are told, stopped, restarted and deleted, and from which statuses."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from auth.bearer import Operator
from auth.roles import Right
from service.keyfactor.reference import step_id
from service.keyfactor.requests import READ
from service.language.errors import REJECTED as DENIED
from service.operations import workflows
from service.operations.versions import locked, put_version
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
    step,
    triggered,
)
from tests.maestro.people import stored
from tests.world import Tenant, World, bearer

STATE = "0xA0110050"
SHOWN = (
    *("Id", "Status", "CurrentStepId", "StatusMessage", "Definition", "CurrentStepDisplayName"),
    *("CurrentStepUniqueName", "Title", "LastModified", "StartDate", "ReferenceId"),
)
NO_STEP = str(UUID(int=0))


async def deny(acme: Calling, instance_id: str) -> None:
    """Deny what an instance asks for."""
    body = {"SignalKey": "Sign.Off.ApprovalStatus", "Data": {"Approved": "False"}}
    await acme("POST", f"/Workflow/Instances/{instance_id}/Signals", 204, json=body)


async def with_status(acme: Calling, world: World, status: int) -> str:
    """Bring an instance into a status; return its id."""
    of = world.acme
    if status in (FAILED, SUPERSEDED):
        await of.publish(
            plain(
                "failing",
                {"fail": {"raise": {"error": {"type": "urn:x", "status": 500, "detail": "No CA."}}}},
            )
        )
        instance_id = await triggered(acme, of, "failing")
        await became(acme, instance_id, FAILED)
        if status == SUPERSEDED:
            await restarted(acme, instance_id)
    elif status == RUNNING:
        instance_id = await triggered(acme, of, "greeting", who="Ada")
        await became(acme, instance_id, COMPLETE)
        await stored(
            of, "UPDATE instance SET status = 'running', ended_at = NULL WHERE id = $1", UUID(instance_id)
        )
    elif status == COMPLETE:
        instance_id = await triggered(acme, of, "greeting", who="Ada")
    else:
        instance_id = await begun(acme, of, await published(of, approving()), cn="a")
        await became(acme, instance_id, SUSPENDED)
        if status == REJECTED:
            await deny(acme, instance_id)
    await became(acme, instance_id, status)
    return instance_id


async def restarted(acme: Calling, instance_id: str, query: str = "", **request: Any) -> str:
    """Restart an instance; return the id of the new one."""
    answer = await acme.sent("POST", f"/Workflow/Instances/{instance_id}/Restart{query}", **request)
    assert (answer.status_code, answer.content) == (204, b""), answer.text
    path, _, new = answer.headers["Location"].rpartition("/")
    assert path == "/KeyfactorAPI/Workflow/Instances"
    return new


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


async def test_instance_that_another_awaits_is_not_deleted(acme: Calling, world: World) -> None:
    of = world.acme
    run = {"workflow": {"namespace": "tests", "name": "waiting", "version": "latest"}}
    await of.publish(plain("parent", {"child": {"run": run}}))
    await triggered(acme, of, "parent")
    child = ""
    async with asyncio.timeout(15):
        while not child:
            await asyncio.sleep(0.02)
            found = await acme("GET", "/Workflow/Instances", 200)
            child = next((one["Id"] for one in found if one["CurrentStepUniqueName"] == "goods"), "")
    told = await became(acme, child, SUSPENDED)
    assert 0 < told["ReferenceId"] < 2**53
    refused = await acme("DELETE", f"/Workflow/Instances/{child}", 400)
    assert "awaits this one" in refused["Message"]
    await became(acme, child, SUSPENDED)


# --- Restarting -----------------------------------------------------------------------------------------------------


async def test_restart_begins_a_new_instance_with_the_data_of_the_first(acme: Calling, world: World) -> None:
    instance_id = await with_status(acme, world, SUSPENDED)
    first = await acme("GET", f"/Workflow/Instances/{instance_id}", 200)
    new = await restarted(acme, instance_id)
    again = await became(acme, new, SUSPENDED)
    old = await became(acme, instance_id, SUPERSEDED)
    assert again["InitialData"] == old["InitialData"] == first["InitialData"]
    assert again["Definition"] == first["Definition"]
    assert again["ReferenceId"] > first["ReferenceId"]
    assert (old["StatusMessage"], old["CurrentStepUniqueName"]) == ("restarted", "Sign.Off")
    refused = await acme("POST", f"/Workflow/Instances/{instance_id}/Restart", 400)
    assert refused["Message"].startswith(f"The instance is CanceledForRestart as {new}.")


async def test_restart_runs_the_published_version_or_the_one_that_is_named(
    acme: Calling, world: World
) -> None:
    of = world.acme
    definition = await published(of, approving(1))
    ids = [await begun(acme, of, definition, cn="a") for _ in range(4)]
    for one in ids:
        await became(acme, one, SUSPENDED)
    await published(
        of,
        [*approving(1)[:2], step("UpdateMetadata", "Noted", "EndNOOP", Name="b", Value="c"), approving(1)[3]],
        2,
        definition,
    )
    versions = {
        await restarted(acme, ids[0]): 2,
        await restarted(acme, ids[1], "?version=1"): 1,
        await restarted(acme, ids[2], json={"Version": 1}): 1,
        await restarted(acme, ids[3], "?Version=2"): 2,
    }
    for new, number in versions.items():
        assert (await became(acme, new, SUSPENDED))["Definition"]["Version"] == number


@pytest.mark.parametrize(("query", "status"), [("?version=9", 404), ("?version=0", 400), ("?version=x", 400)])
async def test_restart_as_a_version_that_is_none_changes_nothing(
    acme: Calling, world: World, query: str, status: int
) -> None:
    instance_id = await with_status(acme, world, SUSPENDED)
    await acme("POST", f"/Workflow/Instances/{instance_id}/Restart{query}", status)
    await became(acme, instance_id, SUSPENDED)
    assert len(await acme("GET", "/Workflow/Instances", 200)) == 1


async def test_restart_as_a_version_that_is_not_published_is_refused(acme: Calling, world: World) -> None:
    of, operator = world.acme, Operator(world.acme.id)
    instance_id = await triggered(acme, of, "waiting")
    await became(acme, instance_id, SUSPENDED)
    document = plain("waiting", {"other": {"set": {"a": 1}}}, version="2.0.0")
    new = await workflows.draft(operator, of.sandbox, msgspec.json.encode(document), "json")
    async with operator.rows(Right.OPERATE) as caller:
        await put_version(caller, await locked(of.workflows["waiting"]), new)
    refused = await acme("POST", f"/Workflow/Instances/{instance_id}/Restart?version=2", 404)
    assert refused["Message"] == "No version 2 of the workflow definition is published."


async def test_inputs_that_another_version_does_not_take_are_refused(acme: Calling, world: World) -> None:
    of = world.acme
    wait = {"goods": {"listen": {"to": {"one": {"with": {"type": "x"}}}}}}
    await of.publish(plain("strict", wait))
    instance_id = await triggered(acme, of, "strict")
    await became(acme, instance_id, SUSPENDED)
    schema = {"schema": {"document": {"type": "object", "required": ["cn"]}}}
    await of.publish({**plain("strict", wait, version="2.0.0"), "input": schema})
    refused = await acme("POST", f"/Workflow/Instances/{instance_id}/Restart", 400)
    assert "cn" in refused["Message"]
    await became(acme, instance_id, SUSPENDED)
    await restarted(acme, instance_id, "?version=1")


@pytest.mark.parametrize(("verb", "told"), [("pause", "paused"), ("archive", "archived")])
async def test_restart_needs_a_definition_that_starts_instances(
    acme: Calling, world: World, verb: str, told: str
) -> None:
    of = world.acme
    instance_id = await triggered(acme, of, "waiting")
    await became(acme, instance_id, SUSPENDED)
    await getattr(workflows, verb)(Operator(of.id), of.workflows["waiting"])
    refused = await acme("POST", f"/Workflow/Instances/{instance_id}/Restart", 400)
    assert told in refused["Message"]
    await became(acme, instance_id, SUSPENDED)


async def test_of_restarts_of_the_same_moment_one_is_made(acme: Calling, world: World) -> None:
    instance_id = await with_status(acme, world, FAILED)
    path = f"/Workflow/Instances/{instance_id}/Restart"
    answers = await asyncio.gather(*(acme.sent("POST", path) for _ in range(5)))
    assert sorted(one.status_code for one in answers) == [204, 400, 400, 400, 400]
    assert len(await acme("GET", "/Workflow/Instances", 200)) == 2


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
