"""Formance's Python SDK drives workflows, instances and events on a live service, by both versions of the API."""

import time
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.compat.formance import Bank, Flows, use_token
from tests.compat.live import Live
from tests.compat.operations import WAITING
from tests.waiting import blocked_until

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

LONG = {"delay": {"duration": "1h"}}


def ended(bank: Flows, instance_id: str) -> Any:
    """Read an instance until it has ended."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        told = bank.call("get_instance", {"instance_id": instance_id}).data
        if told.terminated:
            return told
        time.sleep(0.05)
    pytest.fail(f"{instance_id} does not end")


def test_server_info(bank: Flows) -> None:
    assert bank.call("get_server_info").version


def test_workflow_from_its_making_to_its_deletion(bank: Flows) -> None:
    made = bank.call("create_workflow", {"name": "demo", "stages": [WAITING, LONG]}).data
    assert (made.config.name, made.config.stages) == ("demo", [WAITING, LONG])
    assert made.created_at.tzinfo is not None
    assert bank.call("get_workflow", {"flow_id": made.id}).data == made
    assert made.id in {one.id for one in bank.listed("list_workflows")}
    for _ in range(2):
        assert bank.call("delete_workflow", {"flow_id": made.id}) == 204
    assert made.id not in {one.id for one in bank.listed("list_workflows")}
    assert bank.call("get_workflow", {"flow_id": made.id}).data.id == made.id
    assert bank.refused("run_workflow", {"workflow_id": made.id}) == (404, "NOT_FOUND")


def test_wait_within_the_sdks_timeout(bank: Flows) -> None:
    told = bank.run(bank.made({"noop": {}}, {"delay": {"duration": "1s"}}), wait=True)
    assert told.terminated
    assert told.error is None
    assert [one.stage for one in told.status] == [0, 1]
    assert (told.terminated_at - told.created_at).total_seconds() >= 1
    assert told.workflow.config.stages[1] == {"delay": {"duration": "1s"}}


def test_wait_beyond_the_sdks_timeout_leaves_the_instance_running(bank: Flows) -> None:
    workflow_id = bank.made({"delay": {"duration": "12s"}})
    began = time.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        bank.run(workflow_id, wait=True)
    assert 4 < time.monotonic() - began < 7
    (instance,) = bank.listed("list_instances", workflow_id=workflow_id)
    assert not instance.terminated
    assert ended(bank, instance.id).error is None


def test_wait_beyond_it_with_a_longer_one(bank: Flows) -> None:
    request = {"workflow_id": bank.made({"delay": {"duration": "6s"}}), "wait": True}
    assert bank.call("run_workflow", request, timeout_ms=30_000).data.terminated


def test_wait_on_one_that_fails_tells_its_error(bank: Flows) -> None:
    told = bank.run(bank.made({"delay": {"duration": "${length}"}}), wait=True, length="three days")
    assert told.terminated
    assert told.error == told.status[0].error != ""


def test_run_and_instance_and_history(bank: Flows) -> None:
    workflow_id = bank.made(
        {"noop": {}}, {"delay": {"duration": "${n}ms"}}, {"wait_event": {"event": "go ${who}"}}
    )
    began = bank.run(workflow_id, n="20", who="Ada")
    assert (began.workflow_id, began.terminated) == (workflow_id, False)
    request = {"instance_id": began.id}
    blocked_until(lambda: len(bank.call("get_instance", request).data.status) == 3, 20)
    told = bank.call("get_instance", request).data
    assert [(one.stage, one.instance_id, one.terminated_at is None) for one in told.status] == [
        (0, began.id, False),
        (1, began.id, False),
        (2, began.id, True),
    ]
    history = bank.call("get_instance_history", {"instance_id": began.id}).data
    assert [one.name for one in history] == ["RunNoop", "RunDelay", "RunWaitEvent"]
    assert history[1].input.duration == "20ms"
    assert history[2].input.event == "go Ada"
    assert [one.terminated for one in history] == [True, True, False]
    for number in range(3):
        request = {"instance_id": began.id, "number": number}
        assert bank.call("get_instance_stage_history", request).data == []
    for name in ("go", "go Grace"):
        bank.call("send_event", {"instance_id": began.id, "request_body": {"name": name}})
    assert not bank.call("get_instance", {"instance_id": began.id}).data.terminated
    assert bank.call("send_event", {"instance_id": began.id, "request_body": {"name": "go Ada"}}) == 204
    assert ended(bank, began.id).error is None


@pytest.mark.parametrize("stage", [LONG, WAITING], ids=["delay", "wait_event"])
def test_abort_ends_what_waits(bank: Flows, stage: dict[str, Any]) -> None:
    began = bank.run(bank.made({"noop": {}}, stage, {"noop": {}}))
    for _ in range(2):
        assert bank.call("cancel_event", {"instance_id": began.id}) == 204
    told = bank.call("get_instance", {"instance_id": began.id}).data
    assert (told.terminated, told.error) == (True, "canceled")
    assert told.status[-1].error == "canceled"
    assert bank.call("get_instance_history", {"instance_id": began.id}).data[-1].error == "canceled"
    request = {"instance_id": began.id, "request_body": {"name": "go"}}
    assert bank.refused("send_event", request) == (400, "VALIDATION")


def test_lists_to_their_end(bank: Flows) -> None:
    workflow_id = bank.made(WAITING)
    began = [bank.run(workflow_id).id for _ in range(5)]
    bank.call("cancel_event", {"instance_id": began[2]})
    listed = bank.listed("list_instances", workflow_id=workflow_id)
    assert [one.id for one in listed] == began[::-1]
    assert {one.workflow.id for one in listed} == {workflow_id}
    running = bank.listed("list_instances", workflow_id=workflow_id, running=True)
    assert {one.id for one in running} == {*began} - {began[2]}
    assert len({one.id for one in bank.listed("list_workflows")}) == len(bank.listed("list_workflows")) >= 1
    bank.call("delete_workflow", {"flow_id": workflow_id})
    assert bank.listed("list_instances", workflow_id=workflow_id) == []


def test_trigger_from_its_making_to_its_deletion(bank: Flows) -> None:
    sent = {"event": "SAVED_PAYMENT", "workflow_id": bank.made(WAITING), "name": uuid4().hex, "version": "v2"}
    made = bank.call(
        "create_trigger", sent | {"filter_": "event.amount > 1", "vars": {"id": "event.id"}}
    ).data
    assert (made.event, made.workflow_id, made.version) == ("SAVED_PAYMENT", sent["workflow_id"], "v2")
    assert (made.filter_, made.vars) == ("event.amount > 1", {"id": "event.id"})
    assert bank.call("read_trigger", {"trigger_id": made.id}).data == made
    bare = bank.call("create_trigger", {"event": "X", "workflow_id": sent["workflow_id"]}).data
    assert (bare.name, bare.version, bare.filter_, bare.vars) == (None, None, None, None)
    assert {made.id, bare.id} <= {one.id for one in bank.listed("list_triggers")}
    assert [one.id for one in bank.listed("list_triggers", name=sent["name"][:9].upper())] == [made.id]
    assert bank.call("delete_trigger", {"trigger_id": made.id}) == 204
    for operation in ("read_trigger", "delete_trigger"):
        assert bank.refused(operation, {"trigger_id": made.id}) == (404, "NOT_FOUND")
    wrong = {"event": "X", "workflow_id": sent["workflow_id"], "filter_": "event.amount >"}
    assert bank.refused("create_trigger", wrong) == (400, "VALIDATION")
    assert bank.refused("create_trigger", {"event": "X", "workflow_id": str(uuid4())}) == (404, "NOT_FOUND")


def test_events_leave_occurrences(bank: Flows, live: Live, banks: tuple[Bank, Bank]) -> None:
    kind = uuid4().hex
    sent = {"event": kind, "workflow_id": bank.made(WAITING), "vars": {"sum": "event.sum * 2"}}
    trigger_id = bank.call("create_trigger", sent).data.id
    token = bank.answers[-1].request.headers["authorization"]
    url = f"{live.url}/v1/accounts/{banks[0].id}/bus-events"
    for payload in ({"sum": 600000.0}, {"sum": None}, {"sum": 1}):
        answer = httpx.post(url, json={"type": kind, "payload": payload}, headers={"Authorization": token})
        assert answer.status_code == 202, answer.text
    deadline = time.monotonic() + 20
    while len(found := bank.listed("list_triggers_occurrences", trigger_id=trigger_id)) < 3:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    failed = [one for one in found if one.error]
    assert [one.error for one in failed] == ["sum: nil * number is not possible"]
    assert [(one.workflow_instance_id, one.workflow_instance) for one in failed] == [(None, None)]
    started = [one for one in found if not one.error]
    assert {one.event["payload"]["sum"] for one in started} == {600000, 1}
    for one in started:
        assert (one.trigger_id, one.workflow_instance.id) == (trigger_id, one.workflow_instance_id)
        assert (
            bank.call("get_instance", {"instance_id": one.workflow_instance_id}).data.workflow_id
            == sent["workflow_id"]
        )
    if bank.version == "v2":
        request = {"trigger_id": trigger_id, "request_body": {"sum": 2}}
        told = bank.call("test_trigger", request).data
        assert (told.filter_, told.variables["sum"].value) == (None, "4")


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("create_workflow", {"stages": [{"dance": {}}]}),
        ("create_workflow", {"stages": [{}]}),
        ("create_workflow", {"stages": [{"delay": {"duration": "3d"}}]}),
        ("create_workflow", {"stages": [{"wait_event": {}}]}),
        ("delete_workflow", {"flow_id": "nonsense"}),
        ("send_event", {"instance_id": "RUNNING", "request_body": {"name": ""}}),
        ("send_event", {"instance_id": "RUNNING"}),
        ("create_trigger", {"event": "", "workflow_id": str(uuid4())}),
        ("create_trigger", {"event": "X", "workflow_id": ""}),
    ],
    ids=[
        *("kind", "no kind", "days", "no event", "id", "no name", "no body"),
        *("no event's type", "no workflow's id"),
    ],
)
def test_what_is_wrong_is_refused(bank: Flows, operation: str, request_: dict[str, Any]) -> None:
    if request_.get("instance_id") == "RUNNING":
        request_ = request_ | {"instance_id": bank.run(bank.made(WAITING)).id}
    assert bank.refused(operation, request_) == (400, "VALIDATION")


def test_revoked_token_is_the_typed_error_and_the_next_call_fetches_another(bank: Flows) -> None:
    bank.listed("list_workflows")
    use_token("unknown")
    assert bank.refused("get_workflow", {"flow_id": str(uuid4())}) == (401, "VALIDATION")
    assert bank.listed("list_workflows") is not None
