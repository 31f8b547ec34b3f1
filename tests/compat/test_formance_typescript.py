"""Formance's TypeScript SDK, run by Node.js, reads whatever the service answers: it takes no null, and dates with zones alone."""

import time
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.compat.apps import Script
from tests.compat.formance import Bank
from tests.compat.live import Live
from tests.compat.operations import OPERATIONS, STATUSES, UNKNOWN, WAITING, WRITING, Things, request_of
from tests.compat.sdk import Refused
from tests.compat.typescript import Strict

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

IDS = ["-".join(one) for one in OPERATIONS]
OF_ONE = [one for one in OPERATIONS if request_of(*one, UNKNOWN) != request_of(*one, Things("", "", ""))]
ERRORS = {"v1": "ErrorT", "v2": "V2Error"}


@pytest.fixture(params=["v1", "v2"])
def strict(formance_script: Script, banks: tuple[Bank, Bank], request: pytest.FixtureRequest) -> Strict:
    """Our account by each version in turn."""
    return Strict(formance_script, banks[0].app, request.param)


def by(script: Script, bank: Bank, version: str, token: str | None = None) -> Strict:
    """The SDK in the hands of an account's client, or of whoever has a token."""
    return Strict(script, bank.app, version, token)


def things(strict: Strict) -> Things:
    """Make something of each kind."""
    workflow_id = strict.made(WAITING)
    trigger = strict.call("create_trigger", {"event": "X", "workflow_id": workflow_id})["data"]
    return Things(workflow_id, strict.run(workflow_id)["id"], trigger["id"])


def refused(strict: Strict, operation: str, request: Any) -> tuple[int | None, str]:
    """Make a call that has to be refused by the SDK's typed error; return its status and code."""
    with pytest.raises(Refused) as caught:
        strict.call(operation, request)
    assert caught.value.kind == ERRORS[strict.version], caught.value
    assert caught.value.data["errorMessage"]
    return caught.value.status, caught.value.data["errorCode"]


def token_of(bank: Bank, scope: str) -> str:
    """A token of the bank's client that is good for one scope."""
    fields = {"grant_type": "client_credentials", "scope": scope}
    proof = {"client_id": bank.app.id, "client_secret": bank.app.secret}
    answer = httpx.post(f"{bank.app.live.url}/api/auth/oauth/token", data=fields | proof)
    token: str = answer.raise_for_status().json()["access_token"]
    return token


@pytest.mark.parametrize(("version", "operation"), OPERATIONS, ids=IDS)
def test_operation_succeeds(
    formance_script: Script, banks: tuple[Bank, Bank], version: str, operation: str
) -> None:
    strict = by(formance_script, banks[0], version)
    told = strict.call(operation, request_of(version, operation, things(strict)))
    assert told == 204 if STATUSES[operation] == 204 else isinstance(told, dict)


@pytest.mark.parametrize(("version", "operation"), OPERATIONS, ids=IDS)
def test_operation_without_proof_or_scope_is_the_typed_error(
    formance_script: Script, banks: tuple[Bank, Bank], version: str, operation: str
) -> None:
    request = request_of(version, operation, UNKNOWN)
    assert refused(by(formance_script, banks[0], version, "unknown"), operation, request) == (
        401,
        "VALIDATION",
    )
    if (version, operation) in WRITING:
        reader = by(formance_script, banks[0], version, token_of(banks[0], "orchestration:read"))
        assert refused(reader, operation, request) == (403, "VALIDATION")


@pytest.mark.parametrize(("version", "operation"), OF_ONE, ids=["-".join(one) for one in OF_ONE])
def test_operation_on_what_is_unknown_is_the_typed_error(
    formance_script: Script, banks: tuple[Bank, Bank], version: str, operation: str
) -> None:
    strict = by(formance_script, banks[0], version)
    assert refused(strict, operation, request_of(version, operation, UNKNOWN)) == (404, "NOT_FOUND")


def test_what_is_wrong_is_the_typed_error(strict: Strict) -> None:
    wrong: dict[str, Any] = {"stages": [{"dance": {}}, {}]}
    assert refused(strict, "create_workflow", wrong) == (400, "VALIDATION")
    assert refused(strict, "delete_workflow", {"flow_id": "nonsense"}) == (400, "VALIDATION")
    assert refused(strict, "get_instance", {"instance_id": "a/b c"}) == (404, "NOT_FOUND")


def test_workflows_with_nothing_and_with_everything(strict: Strict) -> None:
    bare = strict.call("create_workflow", {"stages": []})["data"]
    full = strict.call("create_workflow", {"name": "", "stages": [WAITING, {"noop": {}}]})["data"]
    assert [one["config"]["stages"] for one in (bare, full)] == [[], [WAITING, {"noop": {}}]]
    for one in (bare, full):
        assert isinstance(one["createdAt"], datetime)
        assert strict.call("get_workflow", {"flow_id": one["id"]})["data"] == one
        assert strict.call("delete_workflow", {"flow_id": one["id"]}) == 204
        assert strict.call("get_workflow", {"flow_id": one["id"]})["data"]["id"] == one["id"]
    told = strict.call("list_workflows", None if strict.version == "v1" else {"page_size": 1000})
    listed = told["data"] if strict.version == "v1" else told["cursor"]["data"]
    assert not {bare["id"], full["id"]} & {one["id"] for one in listed}


def test_instances_that_wait_succeed_fail_and_are_aborted(strict: Strict) -> None:
    ended = strict.run(strict.made({"noop": {}}, {"delay": {"duration": "${n}ms"}}), wait=True, n="10")
    assert ended["terminated"]
    assert "error" not in ended
    failed = strict.run(strict.made({"delay": {"duration": "${n}"}}), wait=True, n="soon")
    assert failed["error"] == failed["status"][0]["error"]
    empty = strict.run(strict.made(), wait=True)
    assert (empty["terminated"], empty.get("status", [])) == (True, [])
    workflow_id = strict.made({"noop": {}}, WAITING, {"delay": {"duration": "1h"}})
    waiting, aborted = [strict.run(workflow_id)["id"] for _ in range(2)]
    assert strict.call("send_event", {"instance_id": waiting, "request_body": {"name": "go"}}) == 204
    assert strict.call("cancel_event", {"instance_id": aborted}) == 204
    for one in (ended["id"], failed["id"], empty["id"], waiting, aborted):
        told = strict.call("get_instance", {"instance_id": one})["data"]
        assert told["id"] == one
        assert isinstance(told["workflow"]["createdAt"], datetime)
        assert ("terminatedAt" in told) == told["terminated"]
        for stage in strict.call("get_instance_history", {"instance_id": one})["data"]:
            assert isinstance(stage["startedAt"], datetime)
            assert ("terminatedAt" in stage) == stage["terminated"]
        for number in range(len(told.get("status", []))):
            request = {"instance_id": one, "number": number}
            assert strict.call("get_instance_stage_history", request)["data"] == []
    assert strict.call("get_instance", {"instance_id": aborted})["data"]["error"] == "canceled"
    history = strict.call("get_instance_history", {"instance_id": aborted})["data"]
    assert [one.get("error") for one in history] == [None, "canceled"]


def test_lists_to_their_end(strict: Strict) -> None:
    workflow_id = strict.made(WAITING)
    began = [strict.run(workflow_id)["id"] for _ in range(5)]
    strict.call("cancel_event", {"instance_id": began[0]})
    for running, wanted in ((False, began), (True, began[1:])):
        narrowed = {"workflow_id": workflow_id, "running": running}
        if strict.version == "v1":
            found = strict.call("list_instances", narrowed)["data"]
        else:
            pages = strict.pages("list_instances", **narrowed)
            assert [len(page) for page in pages] == ([2, 2, 1] if len(wanted) == 5 else [2, 2])
            found = [one for page in pages for one in page]
        assert [one["id"] for one in found] == wanted[::-1]
        assert {one["workflow"]["id"] for one in found} == {workflow_id}


def test_triggers_and_what_they_met(strict: Strict, banks: tuple[Bank, Bank], live: Live) -> None:
    kind = uuid4().hex
    bare = {"event": kind, "workflow_id": strict.made(WAITING)}
    full = bare | {
        "name": kind,
        "version": "v2",
        "filter_": "event.sum > 1",
        "vars": {"sum": "event.sum * 2"},
    }
    made = [strict.call("create_trigger", one)["data"] for one in (bare, full)]
    assert [{*one} for one in made] == [
        {"id", "event", "workflowID", "createdAt"},
        {"id", "event", "workflowID", "createdAt", "name", "version", "filter", "vars"},
    ]
    for one in made:
        assert strict.call("read_trigger", {"trigger_id": one["id"]})["data"] == one
    headers = {"Authorization": f"Bearer {token_of(banks[0], 'orchestration:write')}"}
    for payload in ({"sum": 3}, {"sum": 2.5, "none": None}, {"sum": None}):
        httpx.post(
            f"{live.url}/v1/accounts/{banks[0].id}/bus-events",
            json={"type": kind, "version": "v2", "payload": payload},
            headers=headers,
        ).raise_for_status()
    for one, expected in zip(made, (3, 2), strict=True):
        deadline = time.monotonic() + 20
        while len(found := occurrences(strict, one["id"])) < expected:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        for occurrence in found:
            assert isinstance(occurrence["date"], datetime)
            assert occurrence["event"]["type"] == kind
            assert occurrence["workflowInstance"]["id"] == occurrence["workflowInstanceID"]


def occurrences(strict: Strict, trigger_id: str) -> list[Any]:
    """Everything that a trigger has met."""
    if strict.version == "v1":
        return list(strict.call("list_triggers_occurrences", {"trigger_id": trigger_id})["data"])
    return [one for page in strict.pages("list_triggers_occurrences", trigger_id=trigger_id) for one in page]


@pytest.mark.parametrize(
    ("more", "payload", "told"),
    [
        ({}, {}, {}),
        ({"filter_": "event.sum > 1"}, {"sum": 2}, {"filter": {"match": True}}),
        ({"filter_": "event.sum > 1"}, {"sum": 1}, {"filter": {"match": False}}),
        ({"vars": {"a": "event.sum", "b": "event.none"}}, {"sum": 1}, {"variables": {"a", "b"}}),
        ({"filter_": "event.sum > 1"}, {"sum": "a"}, {"filter": "error"}),
        ({"vars": {"a": "event.sum * 2"}}, {"sum": "a"}, {"variables": {"a"}}),
    ],
    ids=["nothing", "match", "no match", "variables", "filter fails", "variable fails"],
)
def test_trigger_is_tested(
    formance_script: Script, banks: tuple[Bank, Bank], more: dict[str, Any], payload: Any, told: Any
) -> None:
    strict = by(formance_script, banks[0], "v2")
    sent = {"event": "X", "workflow_id": strict.made(WAITING)} | more
    trigger_id = strict.call("create_trigger", sent)["data"]["id"]
    found = strict.call("test_trigger", {"trigger_id": trigger_id, "request_body": payload})["data"]
    if told.get("filter") == "error":
        assert found["filter"]["error"]
    elif "filter" in told:
        assert found["filter"] == told["filter"]
    assert {*found.get("variables", {})} == told.get("variables", set())
