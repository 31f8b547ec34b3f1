"""Workflows that run others: what the child gets, what the parent hears, and what ends with what."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec
import pytest

from auth.bearer import Operator
from service.engine.beginning import DEEPEST
from service.engine.effects import child
from service.engine.egress import Egress
from service.engine.queue import Job
from service.engine.worker import Worker
from service.operations import workflows
from tenancy.rows import rows_of
from tests.waiting import eventually
from tests.world import Tenant, World, bearer, trigger, until

GOODS = {"goods": {"listen": {"to": {"one": {"with": {"type": "goods.arrived"}}}}}}
ECHO = [{"echo": {"set": {"got": "${ . }"}}}]
RAISING = [
    {
        "fail": {
            "raise": {"error": {"type": "https://shop.example/sold-out", "status": 409, "title": "Sold out"}}
        }
    }
]
NAMED = {"namespace": "tests", "name": "child", "version": "latest"}


def document(name: str, tasks: list[Any], version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    """Write a definition."""
    head = {"dsl": "1.0.3", "namespace": "tests", "name": name, "version": version}
    return {"document": head, **more, "do": tasks}


def running(*, name: str = "parent", options: dict[str, Any] | None = None, **wanted: Any) -> dict[str, Any]:
    """Write a definition whose one task runs another workflow."""
    return document(name, [{"start": {"run": {"workflow": NAMED | wanted, **(options or {})}}}])


@pytest.fixture
async def acme(world: World) -> Tenant:
    """One of the accounts."""
    return world.acme


async def rows(of: Tenant, statement: str, *arguments: object) -> list[asyncpg.Record]:
    """Ask for rows of the account."""
    async with rows_of(of.id) as connection:
        return await connection.fetch(statement, *arguments)


async def instances(of: Tenant, name: str) -> list[asyncpg.Record]:
    """Return the instances of a workflow."""
    return await rows(
        of,
        "SELECT instance.* FROM instance WHERE workflow_id = $1 ORDER BY started_at, id",
        of.workflows[name],
    )


async def came_to(of: Tenant, name: str, status: str) -> asyncpg.Record:
    """Wait until the only instance of a workflow has a status."""

    async def look() -> asyncpg.Record | None:
        found = await instances(of, name)
        return found[0] if found and found[0]["status"] == status else None

    return await eventually(look, 20)


async def run_to(client: httpx.AsyncClient, of: Tenant, status: str, **inputs: Any) -> dict[str, Any]:
    """Trigger the parent and wait for what becomes of it."""
    return await until(client, of, await trigger(client, of, "parent", inputs), workflow_status=status)


# --- What the child gets, and what the parent hears ---------------------------------------------------------------


async def test_a_childs_output_is_that_of_the_task(client: httpx.AsyncClient, acme: Tenant) -> None:
    await acme.publish(document("child", ECHO))
    await acme.publish(running(input={"who": "${ .name }"}))
    parent = await run_to(client, acme, "Completed", name="Ada")
    assert parent["output"] == {"got": {"who": "Ada"}}
    (row,) = await instances(acme, "child")
    assert (str(row["parent_id"]), row["depth"], row["name"]) == (parent["id"], 1, "child")
    assert (row["started_by"], row["started_by_name"]) == (acme.admin_id, "Acme Admin")
    told = await rows(
        acme, "SELECT type, actor, data FROM event WHERE instance_id = $1 ORDER BY id", row["id"]
    )
    assert [one["type"] for one in told] == ["instance.triggered", "instance.completed"]
    assert (told[0]["actor"], msgspec.json.decode(told[0]["data"])) == (None, {"parent": parent["id"]})


async def test_a_child_without_input_gets_an_empty_object_and_one_that_waits_is_waited_for(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    await acme.publish(document("child", [*ECHO, {"sleep": {"wait": {"milliseconds": 300}}}]))
    await acme.publish(running())
    assert (await run_to(client, acme, "Completed", ignored=1))["output"] == {"got": {}}


async def test_return_none_makes_null_of_the_childs_output(client: httpx.AsyncClient, acme: Tenant) -> None:
    await acme.publish(document("child", ECHO))
    await acme.publish(running(options={"return": "none"}))
    assert (await run_to(client, acme, "Completed"))["output"] is None


async def test_a_child_that_is_not_awaited_goes_its_own_way(client: httpx.AsyncClient, acme: Tenant) -> None:
    await acme.publish(document("child", [GOODS, *RAISING]))
    await acme.publish(running(options={"await": False}))
    parent = await run_to(client, acme, "Completed", kept="as it was")
    assert parent["output"] == {"kept": "as it was"}
    row = await came_to(acme, "child", "waiting")
    assert (row["parent_id"], row["depth"]) == (None, 1)


async def test_a_childs_fault_is_the_tasks_own(client: httpx.AsyncClient, acme: Tenant) -> None:
    await acme.publish(document("child", RAISING))
    await acme.publish(running())
    parent = await run_to(client, acme, "Failed")
    assert parent["error"] == {
        "type": "https://shop.example/sold-out",
        "status": 409,
        "title": "Sold out",
        "instance": "/do/0/start",
    }


async def test_a_child_that_is_cancelled_is_a_runtime_error(client: httpx.AsyncClient, acme: Tenant) -> None:
    await acme.publish(document("child", [GOODS]))
    await acme.publish(running())
    url = await trigger(client, acme, "parent", {})
    row = await came_to(acme, "child", "waiting")
    child_url = f"{acme.workflow_url('child')}/instances/{row['id']}"
    assert (await client.post(f"{child_url}/actions/cancel", headers=bearer(acme.admin))).status_code == 200
    parent = await until(client, acme, url, workflow_status="Failed")
    assert parent["error"]["type"].endswith("/runtime")
    assert (parent["error"]["status"], parent["error"]["instance"]) == (500, "/do/0/start")


# --- Which version ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("published", "wanted", "runs"),
    [
        (["1.9.0", "1.10.0", "2.0.0-beta"], "latest", "1.10.0"),
        (["2.0.0", "1.0.0"], "latest", "2.0.0"),
        (["1.0.0+a", "1.0.0+b"], "latest", "1.0.0+b"),
        (["1.9.0", "1.10.0", "2.0.0-beta"], "1.9.0", "1.9.0"),
        (["1.9.0", "2.0.0-beta"], "2.0.0-beta", "2.0.0-beta"),
    ],
)
async def test_latest_is_the_highest_release_and_any_other_version_is_itself(
    client: httpx.AsyncClient, acme: Tenant, published: list[str], wanted: str, runs: str
) -> None:
    for version in published:
        await acme.publish(document("child", ECHO, version))
    await acme.publish(running(version=wanted))
    await run_to(client, acme, "Completed")
    assert [row["version"] for row in await instances(acme, "child")] == [runs]


@pytest.mark.parametrize(
    ("version", "wanted"), [("1.0.0-rc.1", "latest"), ("1.0.0", "1.0.1"), (None, "latest")]
)
async def test_what_is_not_published_is_a_configuration_error(
    client: httpx.AsyncClient, world: World, version: str | None, wanted: str
) -> None:
    await world.globex.publish(document("child", ECHO, "1.0.1"))
    if version is not None:
        await world.acme.publish(document("child", ECHO, version))
    await world.acme.publish(running(version=wanted))
    error = (await run_to(client, world.acme, "Failed"))["error"]
    assert error["type"].endswith("/configuration")
    assert (error["status"], error["instance"]) == (404, "/do/0/start")
    assert wanted in error["detail"]
    assert await instances(world.globex, "child") == []


async def test_a_draft_and_an_archived_workflow_are_not_found(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    operator = Operator(acme.id)
    text = msgspec.json.encode(document("child", ECHO))
    stored = await workflows.create(operator, await workflows.draft(operator, acme.sandbox, text, "json"))
    await acme.publish(running())
    assert (await run_to(client, acme, "Failed"))["error"]["status"] == 404
    await workflows.publish(operator, stored.row["id"])
    assert (await run_to(client, acme, "Completed"))["output"] == {"got": {}}
    await workflows.archive(operator, stored.row["id"])
    assert (await run_to(client, acme, "Failed"))["error"]["status"] == 404


async def test_a_paused_workflow_starts_no_children(client: httpx.AsyncClient, acme: Tenant) -> None:
    workflow_id = await acme.publish(document("child", ECHO))
    await acme.publish(running())
    await workflows.pause(Operator(acme.id), workflow_id)
    error = (await run_to(client, acme, "Failed"))["error"]
    assert error["type"].endswith("/configuration")
    assert (error["status"], error["title"]) == (400, "Workflow paused")
    assert await instances(acme, "child") == []


# --- Its input ----------------------------------------------------------------------------------------------------

SCHEMA = {
    "schema": {
        "document": {
            "type": "object",
            "required": ["who"],
            "properties": {"who": {"type": "string"}, "times": {"type": "integer", "default": 3}},
        }
    }
}


async def test_a_childs_input_is_completed_with_the_defaults_of_its_schema(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    await acme.publish(document("child", ECHO, input=SCHEMA))
    await acme.publish(running(input="${ . }"))
    parent = await run_to(client, acme, "Completed", who="Ada")
    assert parent["output"] == {"got": {"who": "Ada", "times": 3}}


@pytest.mark.parametrize(
    ("given", "title"),
    [
        ({}, "The input does not fit its schema"),
        ("${ [1] }", "The input is no object"),
        ({"who": '${ "\\u0000" }'}, "The input cannot be stored"),
    ],
    ids=["required", "array", "NUL"],
)
async def test_an_input_that_does_not_fit_is_a_validation_error(
    client: httpx.AsyncClient, acme: Tenant, given: Any, title: str
) -> None:
    await acme.publish(document("child", ECHO, input=SCHEMA))
    await acme.publish(running(input=given))
    error = (await run_to(client, acme, "Failed"))["error"]
    assert error["type"].endswith("/validation")
    assert (error["status"], error["title"], error["instance"]) == (400, title, "/do/0/start")
    assert await instances(acme, "child") == []


async def test_an_input_that_cannot_be_evaluated_is_an_expression_error(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    await acme.publish(document("child", ECHO))
    await acme.publish(running(input='${ error("no") }'))
    error = (await run_to(client, acme, "Failed"))["error"]
    assert error["type"].endswith("/expression")
    assert error["instance"] == "/do/0/start"


async def test_workflows_that_run_one_another_end_at_a_depth(client: httpx.AsyncClient, acme: Tenant) -> None:
    await acme.publish(running(name="child"))
    await acme.publish(running())
    error = (await run_to(client, acme, "Failed"))["error"]
    assert error["type"].endswith("/runtime")
    assert error["title"] == "Depth limit"
    depths = sorted(row["depth"] for row in await instances(acme, "child"))
    assert depths == list(range(1, DEEPEST + 1))


# --- What ends with what ------------------------------------------------------------------------------------------


async def test_children_end_with_a_parent_that_is_cancelled_but_for_those_not_awaited(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    await acme.publish(document("loner", [GOODS]))
    await acme.publish(document("grandchild", [GOODS]))
    runs = [
        {"alone": {"run": {"workflow": NAMED | {"name": "loner"}, "await": False}}},
        {"start": {"run": {"workflow": NAMED | {"name": "grandchild"}}}},
    ]
    await acme.publish(document("child", runs))
    await acme.publish(running())
    url = await trigger(client, acme, "parent", {})
    for name in ("grandchild", "loner"):
        await came_to(acme, name, "waiting")
    assert (await client.post(f"{url}/actions/cancel", headers=bearer(acme.admin))).status_code == 200
    for name in ("child", "grandchild"):
        row = await came_to(acme, name, "cancelled")
        assert row["canceled_at"] == row["ended_at"]
        told = await rows(acme, "SELECT type FROM event WHERE instance_id = $1 ORDER BY id", row["id"])
        assert [one["type"] for one in told] == ["instance.triggered", "instance.cancelled"]
    assert [row["status"] for row in await instances(acme, "loner")] == ["waiting"]


async def test_a_child_ends_with_the_timeout_of_the_task_that_awaits_it(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    await acme.publish(document("child", [GOODS]))
    waiting = {"run": {"workflow": NAMED}, "timeout": {"after": {"milliseconds": 600}}}
    await acme.publish(document("parent", [{"start": waiting}]))
    url = await trigger(client, acme, "parent", {})
    parent = await until(client, acme, url, workflow_status="Failed")
    assert parent["error"]["type"].endswith("/timeout")
    await came_to(acme, "child", "cancelled")


# --- Jobs that run twice ------------------------------------------------------------------------------------------


@pytest.fixture
async def nobody_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the worker from jobs: the test says what is done, and how often."""

    async def nothing(*_: object, **__: object) -> list[Job]:
        await asyncio.sleep(0.05)
        return []

    monkeypatch.setattr("service.engine.turns.claim", nothing)


async def job_of(of: Tenant, reason: str) -> Job:
    """Return the only job of a reason."""
    (row,) = await rows(of, "SELECT * FROM job WHERE reason = $1", reason)
    return Job(row["account_id"], row["instance_id"], row["reason"], row["wait"], row["payload"], row["id"])


async def begun(client: httpx.AsyncClient, of: Tenant, worker: Worker) -> UUID:
    """Trigger the parent and advance it to where it wants a child; return its id."""
    url = await trigger(client, of, "parent", {})
    if starts := await rows(of, "SELECT FROM job WHERE reason = 'start'"):
        assert len(starts) == 1
        await worker.advance(of.id, [await job_of(of, "start")])
    return UUID(url.rpartition("/")[2])


@pytest.mark.parametrize("awaited", [True, False])
async def test_a_job_that_runs_often_starts_one_child(
    nobody_works: None, client: httpx.AsyncClient, acme: Tenant, *, awaited: bool
) -> None:
    await acme.publish(document("child", [GOODS]))
    await acme.publish(running(options={"await": awaited}))
    worker = Worker(acme.sandbox, Egress())
    parent = await begun(client, acme, worker)
    job = await job_of(acme, "begin")
    await asyncio.gather(*(worker.perform(job) for _ in range(4)))
    await worker.perform(job)
    (row,) = await instances(acme, "child")
    assert row["parent_id"] == (parent if awaited else None)
    assert await rows(acme, "SELECT FROM job WHERE reason = 'begin'") == []
    assert (await job_of(acme, "start")).instance_id == row["id"]
    (told,) = await rows(acme, "SELECT count(*) FROM event WHERE instance_id = $1", row["id"])
    assert told["count"] == 1


async def test_a_parent_that_stops_waiting_meanwhile_gets_no_child(
    nobody_works: None, client: httpx.AsyncClient, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cancelled while its child's input is looked at; nobody would ever end the child."""
    await acme.publish(document("child", [GOODS]))
    await acme.publish(running())
    worker = Worker(acme.sandbox, Egress())
    parent = await begun(client, acme, worker)
    checked = child.checked

    async def cancelled(*arguments: Any) -> dict[str, Any]:
        url = f"{acme.workflow_url('parent')}/instances/{parent}/actions/cancel"
        assert (await client.post(url, headers=bearer(acme.admin))).status_code == 200
        return await checked(*arguments)

    monkeypatch.setattr(child, "checked", cancelled)
    await worker.perform(await job_of(acme, "begin"))
    assert await instances(acme, "child") == []
    assert await rows(acme, "SELECT FROM job") == []


async def test_a_child_is_cancelled_once_and_not_after_its_end(
    nobody_works: None, client: httpx.AsyncClient, acme: Tenant
) -> None:
    await acme.publish(document("child", [GOODS]))
    await acme.publish(running())
    worker = Worker(acme.sandbox, Egress())
    await begun(client, acme, worker)
    await worker.perform(await job_of(acme, "begin"))
    (row,) = await instances(acme, "child")
    cancel = Job(acme.id, row["id"], "cancel")
    await asyncio.gather(*(worker.perform(cancel) for _ in range(4)))
    (after,) = await instances(acme, "child")
    assert (after["status"], after["sequence"]) == ("cancelled", 1)
    assert len(await rows(acme, "SELECT FROM event WHERE type = 'instance.cancelled'")) == 1
    assert (await job_of(acme, "child")).instance_id == row["parent_id"]
