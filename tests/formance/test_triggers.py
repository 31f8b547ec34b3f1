"""Triggers and the bus by the routes: the vendor's words, pages, and what becomes of an event."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from auth.scopes import MAESTRO
from service.formance.requests import READ, WRITE
from service.operations import event_triggers
from tests.callers import UNPROVEN, token_of, unproven
from tests.formance.conftest import HERE, Calling
from tests.formance.errors import assert_refused
from tests.world import Tenant, World

PAYLOAD = {"id": "pay_1", "amount": 1200000, "status": "SUCCEEDED"}
EVENT = {
    "idempotency_key": "1",
    "date": "2026-11-21T00:00:00Z",
    "app": "payments",
    "version": "v2",
    "type": "SAVED_PAYMENT",
    "payload": PAYLOAD,
}


@pytest.fixture
async def bus(client: httpx.AsyncClient, world: World) -> Calling:
    """Acme's events."""
    headers = await token_of(world.acme, WRITE)
    return Calling(client, headers, f"{world.acme.url}/bus-events")


async def made(calling: Calling, **fields: Any) -> dict[str, Any]:
    """Make a trigger of a new workflow that waits, unless told otherwise."""
    whole = {"event": "SAVED_PAYMENT"} | fields
    if "workflowID" not in whole:
        whole["workflowID"] = await calling.made({"wait_event": {"event": "go"}})
    found: dict[str, Any] = (await calling("POST", "/triggers", 201, json=whole))["data"]
    return found


async def occurrences(calling: Calling, trigger: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Read what a trigger has met, once that is so much."""
    found: list[dict[str, Any]] = []
    for _ in range(500):
        found = (await calling("GET", f"/triggers/{trigger['id']}/occurrences", 200))["data"]
        if len(found) == count:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(found)


@pytest.mark.parametrize("version", ["", "/v2"])
async def test_trigger_is_told_as_it_was_made(acme: Calling, version: str) -> None:
    sent = {
        "event": "SAVED_PAYMENT",
        "workflowID": await acme.made({"noop": {}}),
        "name": "Payments",
        "version": "v2",
        "filter": "event.amount > 1",
        "vars": {"amount": "event.amount"},
    }
    told = (await acme("POST", f"{version}/triggers", 201, json=sent))["data"]
    assert told == sent | {"id": told["id"], "createdAt": told["createdAt"]}
    assert (await acme("GET", f"{version}/triggers/{told['id']}", 200))["data"] == told
    bare = await made(acme, workflowID=sent["workflowID"], name=None, filter="", vars={}, version="")
    assert bare.keys() == {"id", "event", "workflowID", "createdAt"}


async def test_deleted_trigger_is_gone(acme: Calling) -> None:
    path = f"/triggers/{(await made(acme))['id']}"
    await acme("DELETE", path, 204)
    for method in ("GET", "DELETE"):
        assert (await acme(method, path, 404))["errorCode"] == "NOT_FOUND"
    assert (await acme("GET", "/triggers", 200))["data"] == []
    assert (await acme("GET", f"{path}/occurrences", 200))["data"] == []


async def test_lists_have_pages_in_v2_and_find_names(acme: Calling) -> None:
    workflow = await acme.made({"noop": {}})
    ids = [(await made(acme, workflowID=workflow, name=f"Pay {number}"))["id"] for number in range(3)][::-1]
    await made(acme, workflowID=workflow, name="other")
    assert [one["id"] for one in (await acme("GET", "/triggers?name=PAY", 200))["data"]] == ids
    page = (await acme("GET", "/v2/triggers?name=pAy&pageSize=2", 200))["cursor"]
    assert [one["id"] for one in page["data"]] == ids[:2]
    assert (page["pageSize"], page["hasMore"], "previous" in page) == (2, True, False)
    rest = (await acme("GET", f"/v2/triggers?cursor={page['next']}", 200))["cursor"]
    assert [one["id"] for one in rest["data"]] == ids[2:]
    assert (rest["pageSize"], rest["hasMore"]) == (2, False)
    first = (await acme("GET", f"/v2/triggers?cursor={rest['previous']}", 200))["cursor"]
    assert [one["id"] for one in first["data"]] == ids[:2]
    assert (await acme("GET", f"/triggers?name={'x' * 5000}", 200))["data"] == []
    assert (await acme("GET", "/v2/triggers?name=%00", 400))["errorCode"] == "VALIDATION"


async def test_an_event_starts_the_workflow_and_is_told(acme: Calling, bus: Calling) -> None:
    workflow = await acme.made({"wait_event": {"event": "go ${id}"}})
    trigger = await made(
        acme, workflowID=workflow, filter='event.status == "SUCCEEDED"', vars={"id": "event.id"}
    )
    for _ in range(2):
        assert await bus("POST", "", 202, json=EVENT) == {"data": {"event": EVENT, "triggers": 1}}
    (one,) = await occurrences(acme, trigger, 1)
    assert one.keys() == {"id", "triggerID", "date", "event", "workflowInstanceID", "workflowInstance"}
    assert (one["triggerID"], one["event"]) == (trigger["id"], EVENT)
    instance = one["workflowInstance"]
    assert (instance["id"], instance["workflowID"]) == (one["workflowInstanceID"], workflow)
    assert not instance.keys() & {"status", "workflow"}
    await acme("POST", f"/instances/{instance['id']}/events", 204, json={"name": "go pay_1"})
    told: dict[str, Any] = {}
    for _ in range(500):
        told = (await acme("GET", f"/instances/{instance['id']}", 200))["data"]
        if told["terminated"]:
            break
        await asyncio.sleep(0.02)
    assert told["terminated"]
    assert "error" not in told
    page = (await acme("GET", f"/v2/triggers/{trigger['id']}/occurrences", 200))["cursor"]
    assert [each["id"] for each in page["data"]] == [one["id"]]
    assert (page["pageSize"], page["hasMore"]) == (15, False)


async def test_amounts_of_any_size_are_events_and_keep_their_digits(acme: Calling, bus: Calling) -> None:
    ether = 10**18 + 1
    workflow = await acme.made({"wait_event": {"event": "${amount}"}})
    trigger = await made(
        acme, workflowID=workflow, filter="event.amounts[0] > 10", vars={"amount": "event.amounts[0]"}
    )
    payload = {"amounts": [ether, 2**80, -(2**70), 1e21]}
    tested = (await acme("POST", f"/v2/triggers/{trigger['id']}/test", 200, json=payload))["data"]
    assert tested == {"filter": {"match": True}, "variables": {"amount": {"value": str(ether)}}}
    await bus("POST", "", 202, json={"type": trigger["event"], "payload": payload})
    (told,) = await occurrences(acme, trigger, 1)
    assert told["event"]["payload"] == payload
    history: list[dict[str, Any]] = []
    async with asyncio.timeout(15):
        while not history:
            history = (await acme("GET", f"/instances/{told['workflowInstanceID']}/history", 200))["data"]
    assert history[0]["input"] == {"event": str(ether)}


async def test_variables_are_no_larger_than_a_body_whatever_the_workflow_takes(
    acme: Calling, bus: Calling, world: World
) -> None:
    long = " + ".join(["event.text"] * 20)
    trigger = await made(
        acme, workflowID=str(world.acme.workflows["waiting"]), vars={"a": long, "b": long, "c": "1"}
    )
    await bus("POST", "", 202, json={"type": trigger["event"], "payload": {"text": "x" * 30_000}})
    (told,) = await occurrences(acme, trigger, 1)
    assert "workflowInstanceID" not in told
    assert told["error"] == "The variables have more than 1048576 bytes together."


async def test_occurrences_have_pages(acme: Calling, bus: Calling) -> None:
    trigger = await made(acme, vars={"bad": "event.a.b"})
    for number in range(3):
        await bus("POST", "", 202, json=EVENT | {"idempotency_key": str(number)})
    every = await occurrences(acme, trigger, 3)
    assert {one["error"] for one in every} == {'bad: cannot fetch "b" from nil'}
    assert not {"workflowInstanceID", "workflowInstance"} & every[0].keys()
    path = f"/v2/triggers/{trigger['id']}/occurrences"
    page = (await acme("GET", f"{path}?pageSize=2", 200))["cursor"]
    rest = (await acme("GET", f"{path}?cursor={page['next']}", 200))["cursor"]
    assert [*page["data"], *rest["data"]] == every
    back = (await acme("GET", f"{path}?cursor={rest['previous']}", 200))["cursor"]
    assert back["data"] == page["data"]


async def test_a_test_says_what_would_happen(acme: Calling) -> None:
    trigger = await made(acme, filter="event.amount > 1", vars={"id": "event.id", "bad": "event.a.b"})
    path = f"/v2/triggers/{trigger['id']}/test"
    assert (await acme("POST", path, 200, json=PAYLOAD))["data"] == {
        "filter": {"match": True},
        "variables": {"id": {"value": "pay_1"}, "bad": {"error": 'cannot fetch "b" from nil'}},
    }
    assert (await acme("POST", path, 200, json={"amount": 0}))["data"] == {"filter": {"match": False}}
    failed = {"filter": {"error": "nil > number is not possible"}}
    assert (await acme("POST", path, 200, json={}))["data"] == failed
    plain = await made(acme)
    assert (await acme("POST", f"/v2/triggers/{plain['id']}/test", 200, json={}))["data"] == {}
    large = await acme("POST", path, 413, json={"a": "x" * 70_000})
    assert large["errorCode"] == "VALIDATION"


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"event": ""}, 400, "missing event"),
        ({"event": None}, 400, "event"),
        ({"workflowID": ""}, 400, "missing workflow id"),
        ({"workflowID": "nonsense"}, 404, "The workflow does not exist"),
        ({"workflowID": str(uuid4())}, 404, "The workflow does not exist"),
        ({"vars": {"a": 1}}, 400, "vars"),
        ({"name": "x" * 256}, 400, "name"),
        (
            {"filter": "event.amount >"},
            400,
            "filter: error compiling expression: a value was expected, not the end",
        ),
        (
            {"vars": {"a": "link(event, 'x')"}},
            400,
            "vars/a: error compiling expression: link() is not supported",
        ),
    ],
    ids=["event", "null", "workflow", "no-id", "unknown", "number", "long", "filter", "variable"],
)
async def test_trigger_that_cannot_be_made_is_refused_with_the_place(
    acme: Calling, fields: dict[str, Any], status: int, says: str
) -> None:
    sent = {"event": "X", "workflowID": await acme.made({"noop": {}})} | fields
    answer = await acme.http.post(f"{HERE}/triggers", json=sent, headers=acme.headers)
    assert says in assert_refused(answer, status)


async def test_an_account_has_its_number_of_triggers_however_many_ask_at_once(
    acme: Calling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_triggers, "MOST_TRIGGERS", 3)
    wanted = {"event": "a", "workflowID": await acme.made({"noop": {}})}
    asked = [acme.http.post(f"{HERE}/triggers", json=wanted, headers=acme.headers) for _ in range(12)]
    answers = await asyncio.gather(*asked)
    assert sorted(one.status_code for one in answers) == [201] * 3 + [400] * 9
    assert len((await acme("GET", "/triggers", 200))["data"]) == 3


async def test_deleted_workflow_gets_no_trigger_and_starts_nothing(acme: Calling, bus: Calling) -> None:
    trigger = await made(acme)
    await acme("DELETE", f"/workflows/{trigger['workflowID']}", 204)
    sent = {"event": "X", "workflowID": trigger["workflowID"]}
    assert (await acme("POST", "/triggers", 404, json=sent))["errorCode"] == "NOT_FOUND"
    await bus("POST", "", 202, json=EVENT)
    (one,) = await occurrences(acme, trigger, 1)
    assert one["error"] == "The workflow has been deleted."


async def test_senders_make_no_triggers_and_see_what_they_started_themselves(
    client: httpx.AsyncClient, world: World, acme: Calling, bus: Calling
) -> None:
    trigger = await made(acme)
    await bus("POST", "", 202, json=EVENT)
    await occurrences(acme, trigger, 1)
    sender = Calling(client, await token_of(world.acme, READ, WRITE, user=world.acme.member_id))
    assert (await sender("GET", f"/triggers/{trigger['id']}", 200))["data"] == trigger
    assert (await sender("GET", f"/triggers/{trigger['id']}/occurrences", 200))["data"] == []
    await sender("POST", "/triggers", 403, json={"event": "X", "workflowID": trigger["workflowID"]})
    await sender("DELETE", f"/triggers/{trigger['id']}", 403)
    await sender("POST", f"/triggers/{trigger['id']}/test", 403, json={})


# --- The bus: a route beside the vendor's, so the table of those does not hold it ---------------------------------------


async def test_an_event_needs_a_type_alone(acme: Calling, bus: Calling) -> None:
    trigger = await made(acme)
    for path in ("", "/"):
        told = (await bus("POST", path, 202, json={"type": "SAVED_PAYMENT"}))["data"]["event"]
        assert (told["app"], told["version"], told["payload"]) == ("", "", {})
        assert told["idempotency_key"]
        assert told["date"].endswith("Z")
    assert len(await occurrences(acme, trigger, 2)) == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b"{}", 400),
        (b'{"type": ""}', 400),
        (b'{"type": 7}', 400),
        (b'{"type": "a", "payload": []}', 400),
        (b'{"type": "a\\u0000"}', 400),
        (b'{"type": "a", "payload": {"a": "\\u0000"}}', 400),
        (b'{"type": "a", "payload": {"a": 1e999}}', 400),
        (b'{"type": "a", "app": "' + b"a" * 256 + b'"}', 400),
        (b'{"type": "a", "payload": {"a": "' + b"a" * 70_000 + b'"}}', 413),
        (b" " * 1_100_000, 413),
    ],
    ids=["nothing", "open", "array", "null", "empty", "no-type", "number", "payload", "nul", "nul-inside", "huge-number",
         "long", "large", "very-large"],
)  # fmt: skip
async def test_event_that_is_none_is_refused(bus: Calling, body: bytes, status: int) -> None:
    assert_refused(await bus.http.post(bus.prefix, content=body, headers=bus.headers), status)


async def test_bus_refuses_whom_it_should(client: httpx.AsyncClient, world: World) -> None:
    acme: Tenant = world.acme
    callers = await unproven(acme, (READ, WRITE))
    statuses = dict.fromkeys(UNPROVEN, 401)
    for name, scopes in {"no scope": (), "reader": (READ,), "Maestro": MAESTRO}.items():
        callers[name], statuses[name] = await token_of(acme, *scopes), 403
    callers["sender"], statuses["sender"] = await token_of(acme, WRITE, user=acme.member_id), 403
    callers["another account's"], statuses["another account's"] = await token_of(world.globex, WRITE), 404
    for name, headers in callers.items():
        for body in (b'{"type": "a"}',) if name == "sender" else (b'{"type": "a"}', b"{"):
            answer = await client.post(f"{acme.url}/bus-events", content=body, headers=headers)
            assert (name, answer.status_code) == (name, statuses[name])
            assert_refused(answer, statuses[name])
    answer = await client.post("/v1/accounts/nonsense/bus-events", content=b"{}", headers=callers["reader"])
    assert_refused(answer, 400)


async def test_bus_takes_no_other_method(bare: httpx.AsyncClient, bus: Calling) -> None:
    answer = await bare.get(bus.prefix, headers=bus.headers)
    assert_refused(answer, 405)
    assert set(answer.headers["allow"].split(", ")) == {"POST", "OPTIONS"}
