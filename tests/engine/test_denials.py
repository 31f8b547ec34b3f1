"""Errors by which a definition denies: its instance is cancelled rather than faulted, and all else is as for a cancellation."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from service.engine.states import Status
from service.language.errors import REJECTED
from tests.engine.instances import Instance
from tests.maestro.actions import act, document
from tests.maestro.people import stored
from tests.world import Tenant, World, trigger, until

DENY = {"raise": {"error": {"type": REJECTED, "status": 403, "title": "Denied", "detail": "Not today."}}}
ASK = {"call": "approval", "with": {"title": "Fine?", "assignees": {"roles": ["admin"]}}}


async def denied(
    client: httpx.AsyncClient, of: Tenant, *tasks: dict[str, Any], **inputs: Any
) -> tuple[str, dict[str, Any]]:
    """Run a workflow that denies; return its URL and what is told of it."""
    await of.publish(document("denying", list(tasks)))
    url = await trigger(client, of, "denying", inputs)
    return url, await until(client, of, url, workflow_status="Canceled")


def test_interpreter_keeps_what_the_task_began_with() -> None:
    error = f"{{type: '{REJECTED}', status: 403, detail: No.}}"
    instance = Instance(f"do: [{{a: {{set: {{n: 1}}}}}}, {{b: {{raise: {{error: {error}}}}}}}]")
    reached = instance.start()
    assert (reached.status, reached.output, reached.effects) == (Status.CANCELLED, None, ())
    assert reached.state is not None
    assert (reached.state.root.index, reached.state.root.data) == (1, {"n": 1})
    assert [(row.name, row.status) for row in reached.history] == [("a", "completed"), ("b", "faulted")]


@pytest.mark.parametrize("pause", [0, 1])
async def test_instance_is_cancelled_with_the_detail_for_a_reason(
    client: httpx.AsyncClient, world: World, pause: int
) -> None:
    wait = {
        "nap": {"wait": {"milliseconds": pause}}
    }  # so that a worker makes the advance, and not the trigger
    url, told = await denied(client, world.acme, *([wait] if pause else []), {"deny": DENY})
    assert (told["cancel_reason"], told["canceled_by"]) == ("Not today.", None)
    assert told["canceled_at"] == told["ended_at"]
    assert {"error", "failure_reason", "output"}.isdisjoint(told)
    rows = await stored(
        world.acme,
        "SELECT data FROM event WHERE type = 'instance.cancelled' AND instance_id = $1",
        id_in(url),
    )
    assert [msgspec.json.decode(row["data"]) for row in rows] == [{"reason": "Not today."}]


def id_in(url: str) -> UUID:
    """The instance of a URL."""
    return UUID(url.rpartition("/")[2])


@pytest.mark.parametrize(
    ("detail", "reason"),
    [
        (None, "Denied"),
        ("x" * 5000, "x" * 1000),
        ("a\\u0000b", "a\ufffdb"),
    ],
)
async def test_reason_is_short_and_can_be_stored(
    client: httpx.AsyncClient, world: World, detail: str | None, reason: str
) -> None:
    text = '${ "a" + ([0] | implode) + "b" }' if detail == "a\\u0000b" else detail
    error = {"type": REJECTED, "status": 403, "title": "Denied"} | ({} if text is None else {"detail": text})
    _, told = await denied(client, world.acme, {"deny": {"raise": {"error": error}}})
    assert told["cancel_reason"] == reason


async def test_whatever_waits_is_forgotten(client: httpx.AsyncClient, world: World) -> None:
    denial = {"do": [{"nap": {"wait": {"milliseconds": 50}}}, {"deny": DENY}]}
    listen = {"listen": {"to": {"one": {"with": {"type": "x"}}}}}
    fork = {
        "fork": {
            "branches": [{"ask": ASK}, {"hear": listen}, {"nap": {"wait": {"hours": 1}}}, {"no": denial}]
        }
    }
    url, _ = await denied(client, world.acme, {"all": fork})
    for statement in (
        "SELECT id FROM work_item WHERE instance_id = $1 AND status = 'open'",
        "SELECT id FROM timer WHERE instance_id = $1",
        "SELECT id FROM listener WHERE instance_id = $1",
    ):
        assert await stored(world.acme, statement, id_in(url)) == []


async def test_whoever_awaits_it_is_told_that_it_was_cancelled(
    client: httpx.AsyncClient, world: World
) -> None:
    of = world.acme
    await of.publish(document("denying", [{"deny": DENY}]))
    run = {"run": {"workflow": {"namespace": "tests", "name": "denying", "version": "latest"}}}
    await of.publish(document("parent", [{"child": run}]))
    told = await until(client, of, await trigger(client, of, "parent", {}), workflow_status="Failed")
    assert told["error"]["title"] == "Workflow cancelled"


async def test_instance_can_be_restarted_where_it_was_denied(client: httpx.AsyncClient, world: World) -> None:
    of = world.acme
    export = {"set": {"a": 1}, "export": {"as": "${ {seen: true} }"}}
    url, _ = await denied(client, of, {"first": export}, {"deny": DENY})
    tasks = [{"first": export}, {"deny": {"set": {"given": "${ . }", "context": "${ $context }"}}}]
    await of.publish(document("denying", tasks, version="2.0.0"))
    answer = await act(client, of, url, "restart", {"from_task": "deny", "version": "latest"}, 201)
    again = f"{url.rpartition('/')[0]}/{answer.json()['instance_id']}"
    told = await until(client, of, again, workflow_status="Completed")
    assert told["output"] == {"given": {"a": 1}, "context": {"seen": True}}


async def test_denials_of_the_same_moment_are_each_told(client: httpx.AsyncClient, world: World) -> None:
    of = world.acme
    await of.publish(document("denying", [{"nap": {"wait": {"milliseconds": 20}}}, {"deny": DENY}]))
    urls = await asyncio.gather(*(trigger(client, of, "denying", {}) for _ in range(10)))
    for url in urls:
        assert (await until(client, of, url, workflow_status="Canceled"))["cancel_reason"] == "Not today."
