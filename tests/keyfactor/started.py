"""Definitions made of steps, instances of them, and how tests wait for these."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import msgspec

from service.keyfactor.steps.compiling import Header, compiled
from service.keyfactor.steps.step import Step
from tests.keyfactor.conftest import Calling
from tests.maestro.people import stored
from tests.world import Tenant, World, trigger

ROLES = {1: "admin", 2: "manager", 3: "sender", 4: "viewer"}
SECONDS = 15  # generous, for the machine may be busy
RUNNING, SUSPENDED, FAILED, REJECTED, COMPLETE, SUPERSEDED = range(1, 7)


def step(kind: str, name: str, then: str | None, **more: Any) -> Step:
    """Write a step; `more` are its parameters, but for `signals`."""
    signals = more.pop("signals", [])
    outputs = {} if then is None else {"continue": then}
    told = {
        "ExtensionName": kind,
        "UniqueName": name,
        "DisplayName": f"The {name}",
        "ConfigurationParameters": more,
        "Signals": signals,
        "Outputs": outputs,
    }
    return msgspec.convert(told, Step)


def approving(minimum: int = 1, *roles: int) -> list[Step]:
    """Steps that wait for approvals, and note that they were given."""
    signals = [{"SignalName": "ApprovalStatus", "RoleIds": list(roles or (1, 3))}]
    return [
        step("NOOPStep", "StartNOOP", "Sign.Off"),
        step(
            "RequireApproval",
            "Sign.Off",
            "Noted",
            signals=signals,
            MinimumApprovals=minimum,
            Title="Issue $(cn)?",
        ),
        step("UpdateMetadata", "Noted", "EndNOOP", Name="Answer", Value="$(ApprovalStatus)"),
        step("NOOPStep", "EndNOOP", None),
    ]


async def published(of: Tenant, steps: list[Step], number: int = 1, workflow: UUID | None = None) -> UUID:
    """Publish steps as a definition's version; return the definition's id."""
    header = Header(
        id=workflow or uuid4(),
        number=number,
        display_name="Issuing",
        description=None,
        workflow_type="Enrollment",
    )
    await of.publish(compiled(header, steps, ROLES).document)
    return header.id


async def begun(who: Calling, of: Tenant, definition: UUID, /, **inputs: Any) -> str:
    """Start an instance of a definition; return its id."""
    return await triggered(who, of, f"definition-{definition}", **inputs)


async def triggered(who: Calling, of: Tenant, workflow: str, /, **inputs: Any) -> str:
    """Start an instance of any workflow as the account's administrator; return its id."""
    return (await trigger(who.http, of, workflow, inputs)).rpartition("/")[2]


def plain(name: str, *tasks: dict[str, Any], version: str = "1.0.0") -> dict[str, Any]:
    """Write a definition that no steps were made into."""
    head = {"dsl": "1.0.3", "namespace": "tests", "name": name, "version": version}
    return {"document": head, "do": list(tasks)}


async def became(who: Calling, instance_id: str, status: int, step: str | None = None) -> dict[str, Any]:
    """Read an instance until it has a status, at a step where one is named."""

    def wanted(told: dict[str, Any]) -> bool:
        return told["Status"] == status and step in (None, told["CurrentStepUniqueName"])

    return await read_until(who, instance_id, wanted)


async def read_until(
    who: Calling, instance_id: str, wanted: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Read an instance until it is as wanted."""
    told: dict[str, Any] = {}
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                told = await who("GET", f"/Workflow/Instances/{instance_id}", 200)
                if wanted(told):
                    return told
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"never as wanted: {told}") from None


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
