"""Instances: run with variables and waited for, told by their stages, given events, aborted."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, cast
from uuid import uuid4

import httpx
import pytest

from service.errors import LimitReached
from service.formance import controllers
from service.formance.requests import READ, WRITE, while_connected
from service.limits import space
from service.operations import instances
from tenancy.postgres import engine
from tenancy.rows import open_pool
from tests.callers import token_of
from tests.faults.database import full, locked
from tests.formance.conftest import HERE, Calling
from tests.formance.errors import assert_refused
from tests.world import World, bearer, trigger, until


async def reached(acme: Calling, instance_id: str, stage: int | None = None) -> dict[str, Any]:
    """Read an instance until it is in a stage, or has ended where none is named."""
    told: dict[str, Any] = {}
    async with asyncio.timeout(15):
        while True:
            told = (await acme("GET", f"/instances/{instance_id}", 200))["data"]
            status = told.get("status", [])
            if told["terminated"] if stage is None else status and status[-1]["stage"] == stage:
                return told
            await asyncio.sleep(0.02)


async def test_run_is_told_with_its_workflow_and_the_stages_that_were_begun(acme: Calling) -> None:
    workflow_id = await acme.made({"noop": {}}, {"wait_event": {"event": "go"}}, {"noop": {}}, name="demo")
    told = await acme.run(workflow_id)
    assert (told["workflowID"], told["terminated"]) == (workflow_id, False)
    assert told["workflow"] == (await acme("GET", f"/workflows/{workflow_id}", 200))["data"]
    first, second = (await reached(acme, told["id"], 1))["status"]
    assert [first["stage"], second["stage"]] == [0, 1]
    assert first["instanceID"] == told["id"]
    assert first["startedAt"] <= first["terminatedAt"] <= second["startedAt"]
    assert "terminatedAt" not in second


@pytest.mark.parametrize("query", ["?wait=true", "?wait=TRUE", "?wait=1"])
async def test_wait_answers_when_the_instance_has_ended(acme: Calling, query: str) -> None:
    workflow_id = await acme.made({"delay": {"duration": "300ms"}}, {"noop": {}})
    began = time.monotonic()
    told = await acme.run(workflow_id, query)
    assert 0.3 <= time.monotonic() - began < 10
    assert told["terminated"] is True
    assert "error" not in told
    assert [one["stage"] for one in told["status"]] == [0, 1]
    assert told["createdAt"] < told["terminatedAt"]


@pytest.mark.parametrize("query", ["", "?wait=false", "?wait=yes", "?wait="])
async def test_anything_else_does_not_wait(acme: Calling, query: str) -> None:
    told = await acme.run(await acme.made({"delay": {"duration": "1h"}}), query)
    assert told["terminated"] is False


async def test_wait_is_over_after_its_longest_time_and_the_instance_is_told_as_it_is(
    acme: Calling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controllers, "LONGEST_WAIT", 0.5)
    monkeypatch.setattr(controllers, "WAIT_SLICE", 0.2)
    told = await acme.run(await acme.made({"wait_event": {"event": "go"}}), "?wait=true")
    assert (told["terminated"], told["status"][0]["stage"]) == (False, 0)


AWAY_OR_SLOW = [full, lambda: locked("instance")]


@pytest.mark.parametrize("lost", AWAY_OR_SLOW, ids=["away", "slow"])
async def test_a_run_is_told_although_the_database_is_away_or_slow_as_soon_as_it_is_stored(
    acme: Calling, monkeypatch: pytest.MonkeyPatch, lost: Callable[[], AbstractAsyncContextManager[None]]
) -> None:
    monkeypatch.setattr(engine(), "allowance", 0.5)
    workflow_id = await acme.made({"noop": {}}, {"wait_event": {"event": "go"}}, name="demo")
    ended_id = await acme.made({"noop": {}})
    await acme.run(workflow_id)  # from now on the first advance is stored with the start
    config = (await acme("GET", f"/workflows/{workflow_id}", 200))["data"]

    async def run_and_lose(query: str, of_workflow: str) -> dict[str, Any]:
        async with contextlib.AsyncExitStack() as loss:

            async def last(*arguments: Any) -> Any:
                started = await instances.trigger(*arguments)
                await loss.enter_async_context(lost())
                return started

            monkeypatch.setattr("service.operations.outlines.trigger", last)
            told = await acme.run(of_workflow, query)
        await open_pool().expire_connections()  # of which some are cut and nobody has noticed yet
        return told

    for query in ("", "?wait=true"):
        told, ended = await run_and_lose(query, workflow_id), await run_and_lose(query, ended_id)
        assert told["workflow"] == config
        assert (told["workflowID"], told["terminated"]) == (workflow_id, False)
        assert [(one["stage"], "terminatedAt" in one) for one in told["status"]] == [(0, True), (1, False)]
        read = (await acme("GET", f"/instances/{told['id']}", 200))["data"]
        assert read | {"updatedAt": told["updatedAt"]} == told
        assert ended["terminated"] is True


class Caller:
    """As much of a request as waiting looks at: its caller goes when told so."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, str]:
        """Say that they are gone."""
        await self.gone.wait()
        return {"type": "http.disconnect"}


async def test_nobody_is_waited_for_who_has_gone() -> None:
    caller, ended = Caller(), asyncio.Event()

    async def work() -> str:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return "done"

    waiting = asyncio.create_task(while_connected(cast("Any", caller), work()))
    await asyncio.sleep(0)
    caller.gone.set()
    async with asyncio.timeout(5):
        assert await waiting is None
    assert ended.is_set()


async def test_what_goes_wrong_while_waiting_is_told() -> None:
    async def work() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await while_connected(cast("Any", Caller()), work())


async def test_wait_on_one_that_fails_is_answered_by_201_with_the_error(acme: Calling) -> None:
    workflow_id = await acme.made({"noop": {}}, {"delay": {"duration": "${length}"}}, {"noop": {}})
    told = await acme.run(workflow_id, "?wait=true", length="3 days")
    assert told["terminated"] is True
    assert told["error"]
    assert [one["stage"] for one in told["status"]] == [0, 1]
    assert "error" not in told["status"][0]
    assert told["status"][1]["error"] == told["error"]
    history = (await acme("GET", f"/instances/{told['id']}/history", 200))["data"]
    assert [one["name"] for one in history][:1] == ["RunNoop"]


async def test_no_body_stands_for_no_variables_and_unknown_ones_do_no_harm(acme: Calling) -> None:
    workflow_id = await acme.made({"wait_event": {"event": "go ${who}!"}})
    path = f"/workflows/{workflow_id}/instances"
    acme.headers["Content-Type"] = "application/json"
    for content in (b"", b"{}", b'{"what": "else"}'):
        told = (await acme("POST", path, 201, content=content))["data"]
        await reached(acme, told["id"], 0)
        history = (await acme("GET", f"/instances/{told['id']}/history", 200))["data"]
        assert history[0]["input"] == {"event": "go !"}


async def test_history_tells_stages_with_their_variables_filled_in(acme: Calling) -> None:
    stages: tuple[dict[str, Any], ...] = (
        {"noop": {}},
        {"delay": {"duration": "${n}ms"}},
        {"wait_event": {"event": "go ${who}"}},
        {"noop": {}},
    )
    told = await acme.run(await acme.made(*stages), n="5", who="${n}")
    await reached(acme, told["id"], 2)
    for version in ("", "/v2"):
        history = (await acme("GET", f"{version}/instances/{told['id']}/history", 200))["data"]
        assert [(one["name"], one["input"], one["terminated"]) for one in history] == [
            ("RunNoop", {}, True),
            ("RunDelay", {"duration": "5ms"}, True),
            ("RunWaitEvent", {"event": "go ${n}"}, False),
        ]
        assert history[0]["terminatedAt"] <= history[1]["startedAt"]
        for number in range(3):
            path = f"{version}/instances/{told['id']}/stages/{number}/history"
            assert (await acme("GET", path, 200)) == {"data": []}
        assert (await acme("GET", f"{version}/instances/{told['id']}/stages/3/history", 404))[
            "errorCode"
        ] == "NOT_FOUND"


async def test_event_is_for_the_stage_that_waits_for_it_by_its_very_name(acme: Calling) -> None:
    told = await acme.run(await acme.made({"wait_event": {"event": "go.*"}}))
    await reached(acme, told["id"], 0)
    for name in ("go", "GO.*", "go.now", "go.* ", "other"):
        await acme("POST", f"/instances/{told['id']}/events", 204, json={"name": name})
    await asyncio.sleep(0.3)
    assert (await acme("GET", f"/instances/{told['id']}", 200))["data"]["terminated"] is False
    await acme("POST", f"/v2/instances/{told['id']}/events", 204, json={"name": "go.*"})
    assert "error" not in await reached(acme, told["id"])


async def test_event_of_the_account_is_for_no_stage(
    acme: Calling, client: httpx.AsyncClient, world: World
) -> None:
    told = await acme.run(await acme.made({"wait_event": {"event": "go"}}))
    await reached(acme, told["id"], 0)
    headers = bearer(world.acme.admin)
    await client.post(f"{world.acme.url}/events", json={"type": "go"}, headers=headers)
    await asyncio.sleep(0.3)
    assert (await acme("GET", f"/instances/{told['id']}", 200))["data"]["terminated"] is False
    url = f"{world.acme.url}/workflows/{told['workflowID']}/instances/{told['id']}/actions/signal"
    assert (await client.post(url, json={"type": "go"}, headers=headers)).status_code == 202
    await reached(acme, told["id"])


async def test_event_that_comes_early_is_kept(acme: Calling) -> None:
    told = await acme.run(await acme.made({"delay": {"duration": "500ms"}}, {"wait_event": {"event": "go"}}))
    await acme("POST", f"/instances/{told['id']}/events", 204, json={"name": "go"})
    ended = await reached(acme, told["id"])
    assert [one["stage"] for one in ended["status"]] == [0, 1]


async def test_one_event_is_taken_by_one_stage(acme: Calling) -> None:
    told = await acme.run(await acme.made({"wait_event": {"event": "go"}}, {"wait_event": {"event": "go"}}))
    for stage in (0, 1):
        await reached(acme, told["id"], stage)
        await acme("POST", f"/instances/{told['id']}/events", 204, json={"name": "go"})
    await reached(acme, told["id"])


@pytest.mark.parametrize(
    "stage", [{"delay": {"duration": "1h"}}, {"wait_event": {"event": "go"}}], ids=["delay", "event"]
)
@pytest.mark.parametrize("version", ["", "/v2"])
async def test_abort_ends_it_for_good(acme: Calling, stage: dict[str, Any], version: str) -> None:
    told = await acme.run(await acme.made({"noop": {}}, stage, {"noop": {}}))
    await reached(acme, told["id"], 1)
    for _ in range(2):
        await acme("PUT", f"{version}/instances/{told['id']}/abort", 204)
    ended = (await acme("GET", f"{version}/instances/{told['id']}", 200))["data"]
    assert (ended["terminated"], ended["error"]) == (True, "canceled")
    assert ended["terminatedAt"] >= ended["createdAt"]
    done, stopped = ended["status"]
    assert (stopped["stage"], stopped["error"]) == (1, "canceled")
    assert "terminatedAt" in stopped
    assert "error" not in done
    history = (await acme("GET", f"{version}/instances/{told['id']}/history", 200))["data"]
    assert [one.get("error") for one in history] == [None, "canceled"]
    refused = await acme("POST", f"{version}/instances/{told['id']}/events", 400, json={"name": "go"})
    assert refused["errorCode"] == "VALIDATION"


async def test_abort_of_one_that_has_ended_changes_nothing(acme: Calling) -> None:
    told = await acme.run(await acme.made({"noop": {}}), "?wait=true")
    await acme("PUT", f"/instances/{told['id']}/abort", 204)
    assert (await acme("GET", f"/instances/{told['id']}", 200))["data"] == told


async def test_unknown_instance_is_404(acme: Calling, globex: Calling) -> None:
    theirs = (await globex.run(await globex.made({"wait_event": {"event": "go"}})))["id"]
    for instance_id in (theirs, str(uuid4()), "nonsense"):
        for method, path, body in (
            ("GET", "", None),
            ("POST", "/events", {"name": "go"}),
            ("PUT", "/abort", None),
            ("GET", "/history", None),
            ("GET", "/stages/0/history", None),
        ):
            told = await acme(method, f"/instances/{instance_id}{path}", 404, json=body)
            assert told["errorCode"] == "NOT_FOUND"
    assert (await globex("GET", f"/instances/{theirs}", 200))["data"]["terminated"] is False


async def test_maestro_sees_the_same_instance(acme: Calling, client: httpx.AsyncClient, world: World) -> None:
    workflow_id = await acme.made({"wait_event": {"event": "go"}})
    told = await acme.run(workflow_id)
    url = f"{world.acme.url}/workflows/{workflow_id}/instances/{told['id']}"
    seen = await until(client, world.acme, url, workflow_status="In Progress")
    assert seen["trigger_inputs"] == {}
    await acme("PUT", f"/instances/{told['id']}/abort", 204)
    assert (await until(client, world.acme, url, workflow_status="Canceled"))["ended_at"]


async def test_instance_of_maestro_is_told_in_stages(
    acme: Calling, client: httpx.AsyncClient, world: World
) -> None:
    instance_id = (await trigger(client, world.acme, "waiting", {})).rpartition("/")[2]
    await reached(acme, instance_id, 1)
    history = (await acme("GET", f"/instances/{instance_id}/history", 200))["data"]
    assert [(one["name"], one["input"]) for one in history] == [("RunSet", {}), ("RunListen", {})]
    await acme("POST", f"/instances/{instance_id}/events", 204, json={"name": "goods.arrived"})
    ended = await reached(acme, instance_id)
    assert [one["stage"] for one in ended["status"]] == [0, 1, 2]


async def test_variables_that_a_workflow_does_not_take_are_named(acme: Calling, world: World) -> None:
    path = f"/workflows/{world.acme.workflows['greeting']}/instances"
    told = await acme("POST", path, 400, json={"times": "two"})
    assert told["errorMessage"] == "The workflow does not take these variables."
    named = [line.partition(":")[0] for line in told["details"].splitlines()]
    assert named == ["times", "who"]
    nul = await acme("POST", path, 400, json={"who": "\0"})
    assert nul["errorMessage"].startswith("The workflow does not take these variables: who: must not contain")


async def test_sender_sees_what_they_started(acme: Calling, client: httpx.AsyncClient, world: World) -> None:
    workflow_id = await acme.made({"wait_event": {"event": "go"}})
    sender = Calling(client, await token_of(world.acme, READ, WRITE, user=world.acme.member_id))
    theirs, own = (await acme.run(workflow_id))["id"], (await sender.run(workflow_id))["id"]
    for path in ("/instances", f"/instances?workflowID={workflow_id}", "/instances?running=true"):
        assert [one["id"] for one in (await sender("GET", path, 200))["data"]] == [own]
        assert [one["id"] for one in (await acme("GET", path, 200))["data"]] == [own, theirs]
    for path in ("", "/history", "/stages/0/history"):
        await sender("GET", f"/instances/{own}{path}", 200)
        assert_refused(await client.get(f"{HERE}/instances/{theirs}{path}", headers=sender.headers), 403)
    await sender("PUT", f"/instances/{own}/abort", 403)


async def test_instances_that_may_not_be_begun_are_refused_by_429(
    acme: Calling, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow_id = await acme.made({"noop": {}})

    async def full(_: object) -> LimitReached:
        return LimitReached("RUNNING_LIMIT_REACHED", "Too many run.", 7)

    monkeypatch.setattr(space, "refusal_of_start", full)
    answer = await client.post(f"{HERE}/workflows/{workflow_id}/instances", headers=acme.headers)
    assert assert_refused(answer, 429).endswith("Too many run.")
    assert answer.headers["retry-after"] == "7"
