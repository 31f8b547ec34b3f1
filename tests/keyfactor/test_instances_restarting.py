"""Restarts: a new instance in the place of one that has failed or waits, and what it runs."""

import asyncio

import msgspec
import pytest

from auth.bearer import Operator
from auth.roles import Right
from service.operations import workflows
from service.operations.versions import locked, put_version
from tests.keyfactor.conftest import Calling
from tests.keyfactor.started import (
    FAILED,
    SUPERSEDED,
    SUSPENDED,
    approving,
    became,
    begun,
    plain,
    published,
    restarted,
    step,
    triggered,
    with_status,
)
from tests.world import World


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
