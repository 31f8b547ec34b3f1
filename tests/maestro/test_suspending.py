"""A suspended instance takes no step and loses nothing: what comes for it is taken at its resume, in its order."""

import asyncio
import random
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
from aiohttp import web

from tenancy.rows import rows_of
from tests.engine.outside import site
from tests.maestro.actions import (
    STEPS,
    act,
    document,
    execute,
    jobs_of,
    listening,
    read,
    row_of,
    send,
    told,
)
from tests.maestro.rows import at_rest
from tests.waiting import eventually
from tests.world import Tenant, World, bearer, trigger, until

APPROVAL = document(
    "approving",
    [{"sign": {"call": "approval", "with": {"title": "Sign", "assignees": {"roles": ["admin"]}}}}],
)
NAP = document("nap", [{"nap": {"wait": {"milliseconds": 300}}}, {"close": {"set": {"rested": True}}}])
LIMITED = document(
    "limited", [{"goods": listening("goods.arrived")}], timeout={"after": {"milliseconds": 300}}
)
PARENT = document(
    "parent",
    [
        {"ask": {"run": {"workflow": {"namespace": "tests", "name": "nap", "version": "latest"}}}},
        {"close": {"set": {"child": "${ . }"}}},
    ],
)


@pytest.fixture
async def steps(client: httpx.AsyncClient, world: World) -> str:
    """An instance that waits for its goods: its path."""
    await world.acme.publish(STEPS)
    url = await trigger(client, world.acme, "steps", {"x": 1})
    await until(client, world.acme, url, last_completed_step=1)
    return url


async def held(of: Tenant, url: str, *reasons: str) -> None:
    """Wait until exactly these jobs of an instance are held."""

    async def are() -> bool:
        return await jobs_of(of, url) == [("held", reason) for reason in reasons]

    await eventually(are)


async def test_a_suspended_instance_says_so_and_is_still_in_progress(
    client: httpx.AsyncClient, world: World, steps: str
) -> None:
    acme = world.acme
    suspended = (await act(client, acme, steps, "suspend", status=200)).json()
    instance = await read(client, acme, steps)
    assert instance["workflow_status"] == "In Progress"
    assert instance["suspended_at"] == suspended["suspended_at"] == instance["last_modified_at"]
    assert instance["ended_at"] is None
    await act(client, acme, steps, "resume", status=200)
    assert "suspended_at" not in await read(client, acme, steps)

    async def waits() -> bool:
        return bool((await row_of(acme, steps))["status"] == "waiting")

    await eventually(waits)  # again, as nothing had come
    assert await told(acme, steps) == ["instance.triggered", "instance.suspended", "instance.resumed"]


async def test_an_event_that_comes_meanwhile_is_taken_at_the_resume(
    client: httpx.AsyncClient, world: World, steps: str
) -> None:
    acme = world.acme
    await act(client, acme, steps, "suspend", status=200)
    before = await row_of(acme, steps)
    await send(client, acme, steps, "goods.arrived", {"ok": True, "crates": 3})
    await held(acme, steps, "event")
    after = await row_of(acme, steps)
    assert (after["sequence"], after["state"]) == (before["sequence"], before["state"])
    await act(client, acme, steps, "resume", status=200)
    ended = await until(client, acme, steps, workflow_status="Completed")
    assert ended["output"]["got"] == {"ok": True, "crates": 3}
    assert ended["output"]["context"] == {"gathered": "yes"}


async def test_timers_that_are_due_meanwhile_fire_at_the_resume(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    await acme.publish(NAP)
    url = await trigger(client, acme, "nap", {})
    await act(client, acme, url, "suspend", status=200)
    await held(acme, url, "timer")
    assert (await read(client, acme, url))["workflow_status"] == "In Progress"
    await act(client, acme, url, "resume", status=200)
    await until(client, acme, url, workflow_status="Completed")


async def test_the_workflows_own_timeout_waits_for_the_resume_as_well(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    await acme.publish(LIMITED)
    url = await trigger(client, acme, "limited", {})
    await act(client, acme, url, "suspend", status=200)
    await held(acme, url, "timer")
    await act(client, acme, url, "resume", status=200)
    assert (await until(client, acme, url, workflow_status="Failed"))["error"]["status"] == 408


async def test_a_call_under_way_comes_to_its_end_and_is_not_made_again(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def respond(_: web.Request) -> web.Response:
        asked.set()
        await go_on.wait()
        return web.json_response({"price": 7})

    async with site(respond) as server:
        calls = document(
            "calls", [{"ask": {"call": "http", "with": {"method": "get", "endpoint": server.url}}}]
        )
        await acme.publish(calls)
        url = await trigger(client, acme, "calls", {})
        await asked.wait()
        await act(client, acme, url, "suspend", status=200)
        go_on.set()
        await held(acme, url, "answer")
        assert (await read(client, acme, url))["last_completed_step"] == 0
        await act(client, acme, url, "resume", status=200)
        ended = await until(client, acme, url, workflow_status="Completed")
        assert ended["output"] == {"price": 7}
        assert len(server.requests) == 1


async def test_a_call_that_has_not_begun_is_made_after_the_resume(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme

    async def respond(_: web.Request) -> web.Response:
        return web.json_response({"price": 7})

    async with site(respond) as server:
        tasks = [
            {"goods": listening("goods.arrived")},
            {"ask": {"call": "http", "with": {"method": "get", "endpoint": server.url}}},
        ]
        await acme.publish(document("calls", tasks))
        url = await trigger(client, acme, "calls", {})
        await until(client, acme, url, workflow_status="In Progress")
        await act(client, acme, url, "suspend", status=200)
        statement = "INSERT INTO job (account_id, instance_id, lane, reason, wait, attempts, queued_at)"
        statement += " VALUES ($1, $2, 'perform', 'call', 1, 0, now())"
        await execute(acme, statement, acme.id, UUID(url.rpartition("/")[2]))
        await held(acme, url, "call")
        assert server.requests == []
        await act(client, acme, url, "resume", status=200)
        await send(client, acme, url, "goods.arrived")
        await until(client, acme, url, workflow_status="Completed")
        assert len(server.requests) == 1


async def test_answers_to_its_work_items_are_kept(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    await acme.publish(APPROVAL)
    url = await trigger(client, acme, "approving", {})
    listed = (await client.get(f"{acme.url}/work-items", headers=bearer(acme.admin))).json()
    item = f"{acme.url}/work-items/{listed['data'][0]['id']}"
    await act(client, acme, url, "suspend", status=200)
    body = {"outcome": "approve"}
    answer = await client.post(f"{item}/actions/complete", json=body, headers=bearer(acme.admin))
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    await held(acme, url, "work_item")
    await act(client, acme, url, "resume", status=200)
    ended = await until(client, acme, url, workflow_status="Completed")
    assert ended["output"]["outcome"] == "approve"


async def test_a_child_that_ends_meanwhile_is_heard_of_at_the_resume(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    await acme.publish(NAP)
    await acme.publish(PARENT)
    url = await trigger(client, acme, "parent", {})

    async def has_child() -> bool:
        listed = await client.get(f"{acme.workflow_url('nap')}/instances", headers=bearer(acme.admin))
        return bool(listed.json()["data"])

    await eventually(has_child)
    await act(client, acme, url, "suspend", status=200)
    await held(acme, url, "child")
    await act(client, acme, url, "resume", status=200)
    assert (await until(client, acme, url, workflow_status="Completed"))["output"] == {
        "child": {"rested": True}
    }


async def test_a_suspended_instance_can_be_cancelled_and_holds_nothing_any_more(
    client: httpx.AsyncClient, world: World, steps: str
) -> None:
    acme = world.acme
    await act(client, acme, steps, "suspend", status=200)
    await send(client, acme, steps, "goods.arrived", {"ok": True})
    await held(acme, steps, "event")
    await act(client, acme, steps, "cancel", status=200)
    instance = await read(client, acme, steps)
    assert (instance["workflow_status"], "suspended_at" in instance) == ("Canceled", False)
    assert await jobs_of(acme, steps) == []
    await act(client, acme, steps, "resume", status=409)


async def test_suspend_and_completion_at_the_same_time_leave_one_of_them(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    await acme.publish(STEPS)
    outcomes = set()
    for number in range(12):
        url = await trigger(client, acme, "steps", {"x": 1})

        async def suspended(url: str = url, pause: float = number / 1000) -> httpx.Response:
            await asyncio.sleep(pause)
            return await act(client, acme, url, "suspend")

        answer, _ = await asyncio.gather(
            suspended(), send(client, acme, url, "goods.arrived", {"ok": True, "n": number})
        )
        outcomes.add(answer.status_code)
        if answer.status_code == 200:
            assert "instance.completed" not in await told(acme, url)
            await act(client, acme, url, "resume", status=200)
        else:
            assert "has ended" in answer.json()["detail"] or "is completed" in answer.json()["detail"]
        ended = await until(client, acme, url, workflow_status="Completed")
        assert ended["output"]["got"] == {"ok": True, "n": number}
        assert (await told(acme, url)).count("instance.completed") == 1
    assert outcomes <= {200, 409}


# --- Whatever the workflow, whenever it is suspended -----------------------------------------------------------------

Task = Callable[[random.Random, int], dict[str, Any]]


def adding(by: int) -> dict[str, Any]:
    """A task that adds to a number that every task carries along."""
    return {"set": {"n": f"${{ .n + {by} }}"}}


def sleeping(chance: random.Random, _: int) -> dict[str, Any]:
    return {"wait": {"milliseconds": chance.choice([1, 40, 120])}}


def receiving(chance: random.Random, number: int) -> dict[str, Any]:
    task = listening(f"event.{number}.{chance.randrange(2)}")
    return task | {"output": {"as": "${ {n: ($input.n + .[0].n)} }"}}


def looping(chance: random.Random, number: int) -> dict[str, Any]:
    inner = [{f"nap{number}": sleeping(chance, number)}, {f"add{number}": adding(chance.randrange(9))}]
    return {"for": {"each": "one", "in": "${ [range(3)] }"}, "do": inner}


def forking(chance: random.Random, number: int) -> dict[str, Any]:
    branches = [
        {f"left{number}": {"do": [{"nap": sleeping(chance, number)}, {"add": adding(1)}]}},
        {f"right{number}": {"do": [{"add": adding(chance.randrange(9))}, {"nap": sleeping(chance, number)}]}},
    ]
    return {"fork": {"branches": branches}, "output": {"as": "${ {n: (map(.n) | add)} }"}}


def running(_chance: random.Random, number: int) -> dict[str, Any]:
    work = {"namespace": "tests", "name": "nap", "version": "latest"}
    return {"run": {"workflow": work}, "output": {"as": f"${{ {{n: ($input.n + {number})}} }}"}}


def setting(chance: random.Random, _: int) -> dict[str, Any]:
    return adding(chance.randrange(9))


KINDS: list[Task] = [sleeping, receiving, looping, forking, running, setting]


def workflow(seed: int) -> dict[str, Any]:
    """A workflow of six tasks of any kind that is the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311 - the same for the same seed is all that is asked of it
    tasks = [{"begin": {"set": {"n": seed}}}]
    tasks += [{f"task{number}": chance.choice(KINDS)(chance, number)} for number in range(6)]
    return document(f"random{seed}", tasks)


async def run(client: httpx.AsyncClient, of: Tenant, seed: int) -> str:
    """Start a workflow and send it every event that it may want, each once."""
    url = await trigger(client, of, f"random{seed}", {})
    for number in range(6):
        for choice in range(2):
            await send(client, of, url, f"event.{number}.{choice}", {"n": 10 * number + choice})
    return url


async def disturbed(client: httpx.AsyncClient, of: Tenant, url: str, seed: int) -> int:
    """Suspend and resume an instance at random moments until it has ended; say how often."""
    chance, times = random.Random(seed), 0  # noqa: S311 - as above
    for _ in range(40):
        answer = await act(client, of, url, "suspend")
        if answer.status_code == 409:
            break
        assert answer.status_code == 200, answer.text
        times += 1
        before = await row_of(of, url)
        await asyncio.sleep(chance.choice([0, 0.01, 0.05, 0.2]))
        after = await row_of(of, url)
        assert (before["sequence"], before["state"]) == (after["sequence"], after["state"])
        await act(client, of, url, "resume", status=200)
        await asyncio.sleep(chance.choice([0, 0.005, 0.02, 0.1]))
    return times


async def test_whenever_a_workflow_is_suspended_it_comes_to_what_it_would_have_come_to(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    seeds = range(14)
    for definition in (NAP, *map(workflow, seeds)):
        await acme.publish(definition)

    async def compared(seed: int) -> int:
        plain, other = await run(client, acme, seed), await run(client, acme, seed)
        times = await disturbed(client, acme, other, seed)
        one = await until(client, acme, plain, 30, workflow_status="Completed")
        two = await until(client, acme, other, 30, workflow_status="Completed")
        assert one["output"] == two["output"]
        assert await runs(acme, plain) == await runs(acme, other)
        return times

    times = await asyncio.gather(*map(compared, seeds))
    assert sum(times) > 2 * len(seeds)
    await at_rest([acme.id])  # every resume left a job, and none comes to more than this


async def runs(of: Tenant, url: str) -> list[tuple[Any, ...]]:
    """An instance's history without its times and its order, which in a fork is a matter of the clock."""
    async with rows_of(of.id) as connection:
        rows = await connection.fetch(
            "SELECT name, iteration, attempt, status FROM task_run WHERE instance_id = $1",
            UUID(url.rpartition("/")[2]),
        )
    return sorted((tuple(row) for row in rows), key=repr)
