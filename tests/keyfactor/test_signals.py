"""Signals: approvals counted by user, denials, events, and what is refused."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from service.keyfactor.requests import READ, WRITE
from tests.callers import machine_of
from tests.keyfactor.conftest import Calling, calling_as
from tests.keyfactor.started import (
    COMPLETE,
    FAILED,
    REJECTED,
    SUSPENDED,
    approving,
    became,
    begun,
    plain,
    published,
    read_until,
    triggered,
)
from tests.maestro.people import colleague, stored
from tests.world import World

KEY = "Sign.Off.ApprovalStatus"
STATE = "0xA0110050"


def said(approved: Any = "True", key: str | None = KEY, **data: Any) -> dict[str, Any]:
    """Write a signal."""
    return {"SignalKey": key, "Data": {"Approved": approved, **data}}


def asking(role: str) -> dict[str, Any]:
    """Write a task that waits for the approval of one with a role."""
    return {"call": "approval", "with": {"title": role, "assignees": {"roles": [role]}}}


async def signal(who: Calling, instance_id: str, body: Any, status: int = 204) -> Any:
    """Send a signal that has to be answered with a status."""
    return await who("POST", f"/Workflow/Instances/{instance_id}/Signals", status, json=body)


@pytest.fixture
async def member(client: httpx.AsyncClient, world: World) -> Calling:
    """Acme's member, a sender."""
    return await calling_as(client, world.acme, world.acme.member_id)


async def test_step_that_waits_is_told_with_its_signal(acme: Calling, world: World) -> None:
    definition = await published(world.acme, approving())
    instance_id = await begun(acme, world.acme, definition, cn="web.example")
    told = await became(acme, instance_id, SUSPENDED)
    assert (told["CurrentStepUniqueName"], told["CurrentStepDisplayName"]) == ("Sign.Off", "The Sign.Off")
    assert told["StatusMessage"] == "Waiting for: Issue web.example?"
    (one,) = told["Signals"]
    assert (one["SignalName"], one["SignalReceived"]) == ("ApprovalStatus", False)
    shown = await acme.http.get(
        f"{world.acme.url}/work-items/{one['StepSignalId']}",
        headers={"Authorization": f"Bearer {world.acme.admin}"},
    )
    assert shown.json()["title"] == "Issue web.example?"


@pytest.mark.parametrize("approved", ["True", "true", "TRUE", True])
async def test_approval_lets_the_instance_go_on(acme: Calling, world: World, approved: Any) -> None:
    instance_id = await begun(acme, world.acme, await published(world.acme, approving()), cn="a")
    await became(acme, instance_id, SUSPENDED)
    await signal(acme, instance_id, said(approved, Comment="fine"))
    told = await became(acme, instance_id, COMPLETE)
    assert told["InitialData"] == {"cn": "a"}
    assert told["CurrentStateData"]["metadata"] == {"Answer": "Approved"}
    (one,) = told["CurrentStateData"]["Approvals"]
    assert (one["User"], one["Comment"]) == ("Acme Admin", "fine")
    assert (told["Signals"], told["StatusMessage"]) == ([], None)


@pytest.mark.parametrize("approved", ["False", "false", False])
async def test_denial_rejects_the_instance(
    acme: Calling, member: Calling, world: World, approved: Any
) -> None:
    instance_id = await begun(acme, world.acme, await published(world.acme, approving(2)), cn="a")
    await became(acme, instance_id, SUSPENDED)
    await signal(acme, instance_id, said())
    await signal(member, instance_id, said(approved, Comment="too expensive"))
    told = await became(acme, instance_id, REJECTED)
    assert told["StatusMessage"] == "Acme Member denied it: too expensive"
    assert (told["CurrentStepUniqueName"], told["Signals"]) == ("Sign.Off", [])
    assert told["CurrentStateData"]["cn"] == "a"


async def test_each_user_counts_once(acme: Calling, member: Calling, world: World) -> None:
    instance_id = await begun(acme, world.acme, await published(world.acme, approving(2)), cn="a")
    await became(acme, instance_id, SUSPENDED)
    await signal(acme, instance_id, said())
    for again in ("True", "False"):
        refused = await signal(acme, instance_id, said(again), 400)
        assert refused["ErrorCode"] == STATE
        assert "answered this already" in refused["Message"]
    assert (await became(acme, instance_id, SUSPENDED))["Status"] == SUSPENDED
    await signal(member, instance_id, said())
    await became(acme, instance_id, COMPLETE)


async def test_approvals_of_the_same_moment_all_count_and_the_instance_goes_on(
    client: httpx.AsyncClient, acme: Calling, world: World
) -> None:
    everybody = [await colleague(world.acme, f"colleague{number}") for number in range(6)]
    people = [await calling_as(client, world.acme, user) for user, _ in everybody]
    definition = await published(world.acme, approving(6))
    for _ in range(3):
        instance_id = await begun(acme, world.acme, definition, cn="a")
        await became(acme, instance_id, SUSPENDED)
        await asyncio.gather(*(signal(one, instance_id, said()) for one in people))
        told = await became(acme, instance_id, COMPLETE)
        names = sorted(one["User"] for one in told["CurrentStateData"]["Approvals"])
        assert names == [f"Colleague{number}" for number in range(6)]


async def test_of_two_last_approvals_one_may_be_late_and_none_is_lost(
    client: httpx.AsyncClient, acme: Calling, member: Calling, world: World
) -> None:
    definition = await published(world.acme, approving(1))
    for _ in range(5):
        instance_id = await begun(acme, world.acme, definition, cn="a")
        await became(acme, instance_id, SUSPENDED)
        answers = await asyncio.gather(
            *(
                one.sent("POST", f"/Workflow/Instances/{instance_id}/Signals", json=said())
                for one in (acme, member)
            )
        )
        assert sorted(one.status_code for one in answers) in ([204, 400], [204, 204])
        await became(acme, instance_id, COMPLETE)


async def test_only_people_with_a_role_of_the_step_may_answer(
    client: httpx.AsyncClient, acme: Calling, member: Calling, machine: Calling, world: World
) -> None:
    instance_id = await begun(acme, world.acme, await published(world.acme, approving(1, 2)), cn="a")
    await became(acme, instance_id, FAILED)  # nobody is a manager: too few can decide
    user, _ = await colleague(world.acme, "boss", "manager")
    manager = await calling_as(client, world.acme, user)
    instance_id = await begun(acme, world.acme, await published(world.acme, approving(1, 2)), cn="a")
    await became(acme, instance_id, SUSPENDED)
    for who in (acme, member, machine):
        assert (await signal(who, instance_id, said(), 403))["ErrorCode"] == "0xA0110403"
    await signal(manager, instance_id, said())
    await became(acme, instance_id, COMPLETE)


async def test_whoever_is_asked_may_answer_what_they_may_not_see(
    acme: Calling, member: Calling, world: World
) -> None:
    instance_id = await begun(acme, world.acme, await published(world.acme, approving()), cn="a")
    await became(acme, instance_id, SUSPENDED)
    await member("GET", f"/Workflow/Instances/{instance_id}", 403)
    await signal(member, instance_id, said())
    await became(acme, instance_id, COMPLETE)


@pytest.mark.parametrize(
    "key",
    [
        "Noted.ApprovalStatus",
        "Sign.Off",
        "Sign.Off.",
        "Sign.Off.Approval",
        "ApprovalStatus",
        "",
        None,
    ],
)
async def test_key_that_is_not_awaited_is_refused_with_those_that_are(
    acme: Calling, world: World, key: str | None
) -> None:
    instance_id = await begun(acme, world.acme, await published(world.acme, approving()), cn="a")
    await became(acme, instance_id, SUSPENDED)
    refused = await signal(acme, instance_id, said(key=key), 400)
    assert refused["ErrorCode"] == STATE
    assert "Suspended at Sign.Off and waits for Sign.Off.ApprovalStatus" in refused["Message"]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, "Approved"),
        ({}, "Approved"),
        ({"Approved": "maybe"}, "Approved"),
        ({"Approved": 1}, "Approved"),
        ({"Approved": None}, "Approved"),
        ({"Approved": ["True"]}, "Approved"),
        ({"Approved": "True", "Comment": 3}, "Comment"),
        ({"Approved": "True", "Comment": "x" * 4001}, "4000"),
        ({"Approved": "True", "Comment": "a\u0000b"}, "Comment"),
    ],
)
async def test_data_that_say_nothing_are_refused(acme: Calling, world: World, data: Any, told: str) -> None:
    instance_id = await begun(acme, world.acme, await published(world.acme, approving()), cn="a")
    await became(acme, instance_id, SUSPENDED)
    refused = await signal(acme, instance_id, {"SignalKey": KEY, "Data": data}, 400)
    assert told in refused["Message"]
    await became(acme, instance_id, SUSPENDED)


async def test_names_are_read_in_any_case(acme: Calling, world: World) -> None:
    instance_id = await begun(acme, world.acme, await published(world.acme, approving()), cn="a")
    await became(acme, instance_id, SUSPENDED)
    body = {"signalKey": KEY, "data": {"approved": True, "comment": "yes"}}
    await acme("POST", f"/workflow/instances/{instance_id}/signals", 204, json=body)
    told = await became(acme, instance_id, COMPLETE)
    assert told["CurrentStateData"]["Approvals"][0]["Comment"] == "yes"


async def test_instance_that_has_ended_takes_no_signal(acme: Calling, world: World) -> None:
    instance_id = await begun(acme, world.acme, await published(world.acme, approving()), cn="a")
    await became(acme, instance_id, SUSPENDED)
    await signal(acme, instance_id, said())
    await became(acme, instance_id, COMPLETE)
    refused = await signal(acme, instance_id, said(), 400)
    assert refused == {
        "ErrorCode": STATE,
        "Message": "The instance is Complete: only a Suspended one takes signals.",
    }


async def test_step_that_listens_takes_its_event(acme: Calling, member: Calling, world: World) -> None:
    instance_id = await triggered(acme, world.acme, "waiting")
    told = await became(acme, instance_id, SUSPENDED, "goods")
    (one,) = told["Signals"]
    assert (one["SignalName"], told["StatusMessage"]) == (
        "goods.arrived",
        "Waiting for: the event goods.arrived",
    )
    assert (await signal(acme, instance_id, {"SignalKey": "goods.goods.left"}, 400))["Message"].startswith(
        "The instance is Suspended at goods and waits for goods.goods.arrived: 'goods.goods.left'"
    )
    sent = {"SignalKey": "goods.goods.arrived", "Data": {"boxes": 3}}
    await signal(member, instance_id, sent, 403)
    await signal(acme, instance_id, sent)
    told = await became(acme, instance_id, COMPLETE)
    assert told["CurrentStateData"] == {"received": {"boxes": 3}}


async def test_step_that_listens_to_anything_takes_anything(acme: Calling, world: World) -> None:
    task = {"hear": {"listen": {"to": {"one": {"with": {"data": "${ .ready == true }"}}}}}}
    await world.acme.publish(plain("open", task))
    instance_id = await triggered(acme, world.acme, "open")
    told = await became(acme, instance_id, SUSPENDED)
    assert (told["Signals"][0]["SignalName"], told["StatusMessage"]) == ("*", "Waiting for: any event")
    await signal(acme, instance_id, {"SignalKey": "hear.it.is", "Data": {"ready": True}})
    await became(acme, instance_id, COMPLETE)


async def test_of_approvals_side_by_side_the_one_that_is_the_callers_is_given(
    acme: Calling, member: Calling, world: World
) -> None:
    task = {"both": {"fork": {"branches": [{"one": asking("admin")}, {"two": asking("sender")}]}}}
    await world.acme.publish(plain("forked", task))
    instance_id = await triggered(acme, world.acme, "forked")
    told = await became(acme, instance_id, SUSPENDED)
    assert len(told["Signals"]) == 2
    await signal(member, instance_id, said(key="both.ApprovalStatus"))
    await read_until(acme, instance_id, lambda one: len(one["Signals"]) == 1)
    await signal(member, instance_id, said(key="both.ApprovalStatus"), 403)
    await signal(acme, instance_id, said(key="both.ApprovalStatus"))
    await became(acme, instance_id, COMPLETE)


async def test_of_approvals_side_by_side_each_is_given_by_whoever_has_not_given_it(
    acme: Calling, member: Calling, world: World
) -> None:
    both: dict[str, Any] = {"title": "Sure?", "assignees": {"roles": ["admin", "sender"]}, "minimum": 2}
    asked = {"call": "approval", "with": both}
    task = {"both": {"fork": {"branches": [{"one": asked}, {"two": asked}]}}}
    await world.acme.publish(plain("forked", task))
    instance_id = await triggered(acme, world.acme, "forked")
    await became(acme, instance_id, SUSPENDED)
    for who in (acme, member):
        for _ in range(2):
            await signal(who, instance_id, said(key="both.ApprovalStatus"))
    await became(acme, instance_id, COMPLETE)


async def test_instance_that_was_paused_before_its_first_step_is_at_none(acme: Calling, world: World) -> None:
    instance_id = await begun(acme, world.acme, await published(world.acme, approving()), cn="a")
    await became(acme, instance_id, SUSPENDED)
    paused = "UPDATE instance SET status = 'suspended', current_step = NULL WHERE id = $1"
    await stored(world.acme, paused, UUID(instance_id))
    await stored(world.acme, "DELETE FROM work_item WHERE instance_id = $1", UUID(instance_id))
    told = await signal(acme, instance_id, said(), 400)
    assert told["Message"] == "The instance is Suspended and waits for no signal."


async def test_token_that_only_reads_signals_nothing(
    client: httpx.AsyncClient, acme: Calling, globex: Calling, world: World
) -> None:
    instance_id = await begun(acme, world.acme, await published(world.acme, approving()), cn="a")
    await became(acme, instance_id, SUSPENDED)
    reader = await calling_as(client, world.acme, None, READ)
    await signal(reader, instance_id, said(), 403)
    await signal(globex, instance_id, said(), 404)
    machine = Calling(client, await machine_of(world.acme, WRITE))
    await signal(machine, instance_id, said(), 403)
    await became(acme, instance_id, SUSPENDED)
