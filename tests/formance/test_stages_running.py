"""Stages through the whole service: created and run over HTTP, performed by the worker, told by both histories."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from auth.bearer import Operator
from service.operations import secrets
from tests.formance.conftest import HERE, Calling
from tests.formance.ledger import Stack, stack
from tests.waiting import eventually
from tests.world import World

USD = {"amount": 100, "asset": "USD/2"}
HUGE = 2**100 + 1
SECONDS = 20  # that what is waited for may take


pytestmark = pytest.mark.usefixtures("secret_keys")


@pytest.fixture
async def books(world: World) -> AsyncIterator[Stack]:
    """A stack that Acme is connected to."""
    async with stack() as made:
        await secrets.set_secret(Operator(world.acme.id), "formance", made.secret)
        yield made


def send(source: dict[str, Any], destination: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"send": {"source": source, "destination": destination, **more}}


async def ended(acme: Calling, *stages: dict[str, Any], **variables: str) -> dict[str, Any]:
    """Make a workflow, run it and wait for its end."""
    found: dict[str, Any] = await acme.run(await acme.made(*stages), "?wait=true", **variables)
    return found


async def told(acme: Calling, instance: dict[str, Any], stage: int = 0) -> list[dict[str, Any]]:
    """Ask for a stage's activities."""
    path = f"/instances/{instance['id']}/stages/{stage}/history"
    found: list[dict[str, Any]] = (await acme("GET", path, 200))["data"]
    return found


async def test_money_is_moved_and_each_step_told(acme: Calling, books: Stack) -> None:
    books.fund("alice", HUGE)
    move = send(
        {"account": {"id": "${from}"}},
        {"account": {"id": "bob", "ledger": "other"}},
        amount={"amount": "${n}", "asset": "USD/2"},
    )
    instance = await ended(acme, {"noop": {}}, move, **{"from": "alice", "n": str(HUGE)})
    assert (instance["terminated"], instance.get("error")) == (True, None)
    assert [one["stage"] for one in instance["status"]] == [0, 1]
    assert books.ledgers["other"].balance("bob") == HUGE
    history = (await acme("GET", f"/instances/{instance['id']}/history", 200))["data"]
    assert [one["name"] for one in history] == ["RunNoop", "RunSend"]
    assert history[1]["input"]["amount"] == {"amount": HUGE, "asset": "USD/2"}
    assert history[1]["input"]["source"]["account"] == {
        "id": "alice",
        "ledger": "default",
        "throughAccount": "world",
        "allowOverdraft": False,
    }
    assert await told(acme, instance) == []
    first, second = await told(acme, instance, 1)
    assert (first["name"], second["name"]) == ("CreateTransaction", "CreateTransaction")
    given = first["input"]["CreateTransaction"]
    posting = {"source": "alice", "destination": "world", "amount": HUGE, "asset": "USD/2"}
    assert given == {
        "ledger": "default",
        "data": {"metadata": {"orchestration/move-to-ledger": "other"}, "postings": [posting]},
    }
    written = second["output"]["CreateTransaction"]["data"]
    assert (written["id"], written["reverted"], written["postings"][0]["amount"]) == (0, False, HUGE)
    assert (second["terminated"], second["attempt"]) == (True, 1)
    assert await acme("GET", f"/instances/{instance['id']}/stages/2/history", 404)
    newer = Calling(acme.http, acme.headers, f"{HERE}/v2")
    (written,) = (await told(newer, instance, 1))[1]["output"]["CreateTransaction"]["data"]
    assert (written["txid"], written["postings"][0]["amount"]) == (0, HUGE)


async def test_every_way_to_send_is_a_definition_that_the_service_takes(acme: Calling) -> None:
    sources = {"account": {"id": "${a}"}, "wallet": {"id": "${a}", "name": "${b}"}, "payment": {"id": "${a}"}}
    destinations = {"account": {"id": "${a}"}, "wallet": {"name": "${a}"}, "payment": {"psp": "${a}"}}
    amount = {"amount": "${a}", "asset": "${b}"}
    stages: list[dict[str, Any]] = [
        send(
            {source: sources[source]},
            {destination: destinations[destination]},
            amount=amount,
            timestamp="${a}",
        )
        for source, destination in itertools.product(sources, destinations)
        if (source, destination) != ("payment", "payment")
    ]
    updated: dict[str, Any] = {"update": {"account": {"id": "${a}", "metadata": {"b": "${b}"}}}}
    waited: list[dict[str, Any]] = [
        {"delay": {"duration": "${a}", "until": "${b}"}},
        {"wait_event": {"event": "${a}"}},
        {"noop": {}},
    ]
    workflow_id = await acme.made(*stages, updated, *waited)
    stored = (await acme("GET", f"/workflows/{workflow_id}", 200))["data"]
    assert stored["config"]["stages"] == [*stages, updated, *waited]


async def test_an_activity_that_waits_for_another_attempt_says_why_and_when(
    acme: Calling, books: Stack
) -> None:
    move = send({"account": {"id": "alice"}}, {"account": {"id": "bob"}}, amount=USD)
    instance = await acme.run(await acme.made({"noop": {}}, move))

    async def waiting() -> list[dict[str, Any]]:
        found = await told_or_nothing(acme, instance, 1)
        return [one for one in found if "nextExecution" in one and one["attempt"] > 2]

    (one,) = await eventually(waiting, SECONDS)
    assert one["lastFailure"] == "account alice has insufficient funds"
    assert (one["terminated"], "error" in one, "output" in one) == (False, False, False)
    assert one["nextExecution"] > one["startedAt"]
    running = (await acme("GET", f"/instances/{instance['id']}", 200))["data"]
    assert running["terminated"] is False
    books.fund("alice", 100)

    async def over() -> bool:
        return bool((await acme("GET", f"/instances/{instance['id']}", 200))["data"]["terminated"])

    await eventually(over, SECONDS)
    (one,) = await told(acme, instance, 1)
    assert (one["terminated"], "lastFailure" in one, "nextExecution" in one) == (True, False, False)
    assert one["attempt"] > 2
    assert books.ledgers["default"].balance("bob") == 100


async def told_or_nothing(acme: Calling, instance: dict[str, Any], stage: int) -> list[dict[str, Any]]:
    """Ask for a stage's activities, which may not have begun."""
    path = f"{acme.prefix}/instances/{instance['id']}/stages/{stage}/history"
    answer = await acme.http.get(path, headers=acme.headers)
    return list(answer.json()["data"]) if answer.status_code == 200 else []


async def test_what_is_aborted_while_it_waits_is_cancelled(acme: Calling, books: Stack) -> None:
    move = send({"account": {"id": "alice"}}, {"account": {"id": "bob"}}, amount=USD)
    instance = await acme.run(await acme.made(move))

    await eventually(lambda: books.requests, SECONDS)
    await acme("PUT", f"/instances/{instance['id']}/abort", 204)
    (one,) = await told(acme, instance)
    assert (one["terminated"], one["error"]) == (True, "cancelled")


async def test_a_refusal_for_good_ends_the_stage_with_the_services_words(acme: Calling, books: Stack) -> None:
    books.payment("p-1", 100)
    books.ledgers["orchestration-000-internal"].commit(
        {
            "reference": "payment:p_1",
            "postings": [{"source": "world", "destination": "payment:p_1", "amount": 100, "asset": "USD/2"}],
        }
    )
    good = send({"payment": {"id": "p-1"}}, {"account": {"id": "bob"}})
    wrong = send({"account": {"id": "bob"}}, {"account": {"id": "no address"}}, amount=USD)
    instance = await ended(acme, good, wrong, {"noop": {}})
    assert instance["error"] == "invalid posting"
    assert ["error" in one for one in instance["status"]] == [False, True]
    (one,) = await told(acme, instance, 1)
    assert (one["error"], one["terminated"], one["attempt"]) == ("invalid posting", True, 1)
    _, ingested, *_ = await told(acme, instance)
    assert "already used" in ingested["error"]


@pytest.mark.parametrize("kind", ["send", "update"])
async def test_an_account_without_a_stack_is_told_so_at_once(acme: Calling, kind: str) -> None:
    stage = {
        "send": send({"account": {"id": "a"}}, {"account": {"id": "b"}}, amount=USD),
        "update": {"update": {"account": {"id": "a", "metadata": {"b": "c"}}}},
    }[kind]
    async with asyncio.timeout(10):
        instance = await ended(acme, stage)
    assert "tutti formance configure" in instance["error"]
    (one,) = await told(acme, instance)
    assert one["error"] == instance["error"]


async def test_a_stage_that_variables_made_wrong_says_where(acme: Calling, books: Stack) -> None:
    move = send(
        {"account": {"id": "a"}}, {"account": {"id": "b"}}, amount={"amount": "${n}", "asset": "USD/2"}
    )
    instance = await ended(acme, move, n="ten")
    assert instance["error"].startswith("/amount/amount: has to be a whole number")
    assert (await acme("GET", f"/instances/{instance['id']}/history", 200))["data"] == []
    assert books.requests == []


@pytest.mark.parametrize(
    "stage",
    [
        {"send": {}},
        {"send": {"source": {"account": {"id": "a"}}, "destination": {"account": {"id": "b"}}}},
        {"update": {}},
        {"nothing": {}},
        {"noop": {}, "delay": {"duration": "1s"}},
    ],
    ids=["empty", "no amount", "no account", "unknown", "two keys"],
)
async def test_what_cannot_run_is_not_stored(acme: Calling, stage: dict[str, Any]) -> None:
    refusal = await acme("POST", "/workflows", 400, json={"stages": [{"noop": {}}, stage]})
    assert refusal["errorCode"] == "VALIDATION"
    assert "stage 1" in str(refusal)
