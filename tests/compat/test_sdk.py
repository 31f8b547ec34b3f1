"""The vendor's SDK, unmodified, through all eight operations: what it returns, field by field."""

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.compat.conftest import Company
from tests.compat.sdk import Refused, is_id

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

LARGEST_PAGE = 1000
DEFAULTS = {
    "copies": 1,
    "price": 2.5,
    "express": False,
    "address": {"city": "Paris"},
    "lines": ["first", "second"],
}
SEEN = "requestId responseTimestamp responseDurationMs"


def until(company: Company, workflow: str, instance_id: str, **wanted: Any) -> dict[str, Any]:
    """Read an instance until fields have the wanted values; fail with what they were."""
    instance: dict[str, Any] = {}
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        instance = company.admin.instances(
            "getWorkflowInstance", workflowId=company.workflows[workflow], instanceId=instance_id
        )
        if all(instance[name] == value for name, value in wanted.items()):
            return instance
        time.sleep(0.02)
    raise AssertionError(f"never {wanted}: {instance}")


def started(company: Company, workflow: str, **inputs: Any) -> str:
    """Trigger a workflow; return the instance's id."""
    return company.admin.trigger(company.workflows[workflow], f"a run of {workflow}", **inputs)


def just_now(at: Any) -> bool:
    """Whether the SDK parsed a time, and a plausible one."""
    return isinstance(at, datetime) and abs(datetime.now(UTC) - at) < timedelta(minutes=5)


def check_metadata(told: dict[str, Any], **others: Any) -> None:
    """Hold an answer's metadata against what every SDK generation wants of it."""
    assert told.keys() == {*SEEN.split(), *others}
    assert is_id(told["requestId"])
    assert just_now(told["responseTimestamp"])
    assert type(told["responseDurationMs"]) is int
    assert told["responseDurationMs"] >= 0
    assert {name: told[name] for name in others} == others


def check_resource(told: dict[str, Any]) -> None:
    """Hold a workflow's metadata against the model; the operator at the command line, who is no user, made it."""
    assert told.keys() == {"createdAt", "createdBy", "modifiedAt", "modifiedBy"}
    assert just_now(told["createdAt"])
    assert just_now(told["modifiedAt"])
    assert told["createdAt"] <= told["modifiedAt"]
    assert told["createdBy"] == told["modifiedBy"] == str(UUID(int=0))


def test_get_workflows_list(acme: Company) -> None:
    listed = acme.admin.workflows("getWorkflowsList")
    assert listed.keys() == {"data", "responseMetadata"}
    check_metadata(listed["responseMetadata"], pageLimit=LARGEST_PAGE)
    (order,) = [one for one in listed["data"] if one["id"] == acme.workflows["order"]]
    check_resource(order.pop("metadata"))
    assert order == {
        "id": acme.workflows["order"],
        "name": "Order goods",
        "accountId": acme.id,
        "status": "active",
    }
    assert {one["id"] for one in listed["data"]} >= set(acme.workflows.values())


def test_get_workflows_list_by_status(acme: Company) -> None:
    draft, retired = acme.stored("draft"), acme.published("retired")
    acme.act(retired, "archive")
    found = {
        status: {one["id"] for one in acme.admin.workflows("getWorkflowsList", status=status)["data"]}
        for status in ("active", "inactive", "archived", "publishing", "unpublishing", "archiving")
    }
    assert found["active"] >= set(acme.workflows.values())
    assert draft in found["inactive"]
    assert retired in found["archived"]
    assert found["publishing"] == found["unpublishing"] == found["archiving"] == set()
    assert not found["active"] & (found["inactive"] | found["archived"])


def test_get_workflow_trigger_requirements(acme: Company) -> None:
    workflow_id = acme.workflows["order"]
    told = acme.admin.workflows("getWorkflowTriggerRequirements", workflowId=workflow_id)
    check_resource(told.pop("metadata"))
    check_metadata({name: told.pop(name) for name in SEEN.split()})
    assert is_id(told.pop("triggerId"))
    assert told == {
        "triggerEventType": "HTTP",
        "triggerHttpConfig": {"method": "POST", "url": f"{acme.url}/workflows/{workflow_id}/actions/trigger"},
        "triggerInputSchema": [
            {"fieldName": "customer", "fieldDataType": "string"},
            {"fieldName": "copies", "fieldDataType": "number", "defaultValue": 1},
            {"fieldName": "price", "fieldDataType": "number", "defaultValue": 2.5},
            {"fieldName": "express", "fieldDataType": "boolean", "defaultValue": False},
            {"fieldName": "address", "fieldDataType": "object", "defaultValue": {"city": "Paris"}},
            {"fieldName": "lines", "fieldDataType": "array", "defaultValue": ["first", "second"]},
        ],
    }


def test_get_workflow_trigger_requirements_without_inputs(acme: Company) -> None:
    told = acme.admin.workflows("getWorkflowTriggerRequirements", workflowId=acme.workflows["approval"])
    assert told["triggerInputSchema"] == []


def test_trigger_workflow(acme: Company) -> None:
    body = {"instanceName": "first", "triggerInputs": {"customer": "Ada"}}
    told = acme.admin.workflows("triggerWorkflow", workflowId=acme.workflows["order"], triggerWorkflow=body)
    instance_id, url = told.pop("instanceId"), httpx.URL(told.pop("instanceUrl"))
    check_metadata(told)
    assert is_id(instance_id)
    assert str(url).startswith(f"{acme.url}/instances/{instance_id}/execution?")
    assert url.params.keys() == {"mtid", "mtsec"}


def test_a_triggered_instance_completes(acme: Company) -> None:
    instance_id = started(acme, "order", customer="Ada")
    instance = until(acme, "order", instance_id, workflowStatus="Completed")
    times = [instance.pop(name) for name in ("startedAt", "endedAt", "lastModifiedAt")]
    assert all(just_now(at) for at in times)
    assert times == sorted(times)
    assert re.fullmatch("[0-9a-f]{24}", instance["metadata"].pop("workflowMetadataId"))
    assert instance == {
        "id": instance_id,
        "name": "a run of order",
        "workflowStatus": "Completed",
        "templateId": acme.workflows["order"],
        "accountId": acme.id,
        "startedBy": acme.admin_id,
        "startedByName": "Acme Admin",
        "startedByRole": "Preparer",
        "expiresAt": None,
        "canceledAt": None,
        "canceledBy": None,
        "triggerInputs": {"customer": "Ada"} | DEFAULTS,
        "totalSteps": 2,
        "lastCompletedStep": 2,
        "lastCompletedStepName": "finish",
        "tags": ["team:sales"],
        "metadata": {"workflowCreatedBy": str(UUID(int=0)), "workflowVersion": "2.1.0"},
    }


def test_every_kind_of_input_comes_back_as_it_was_sent(acme: Company) -> None:
    inputs = {
        "customer": 'Zoë "Z" \\ \n 測試 🎼',
        "copies": 3,
        "price": -0.125,
        "express": True,
        "address": {"city": "Lyon", "floors": [1, {"deep": True}], "empty": {}},
        "lines": [1, "two", [3], {"four": 4.5}, False],
    }
    instance_id = started(acme, "order", **inputs)
    assert until(acme, "order", instance_id, workflowStatus="Completed")["triggerInputs"] == inputs


def test_integers_may_come_with_a_fraction_of_zero(acme: Company) -> None:
    # The vendor's SDKs for Java and C# hold every number as a double; this SDK would write 3.
    body = '{"instance_name": "doubles", "trigger_inputs": {"customer": "Ada", "copies": 3.0, "price": 4.0}}'
    headers = acme.headers | {"Content-Type": "application/json"}
    url = f"{acme.url}/workflows/{acme.workflows['order']}/actions/trigger"
    answer = acme.http.post(url, content=body, headers=headers)
    assert answer.status_code == httpx.codes.CREATED, answer.text
    instance = until(acme, "order", answer.json()["instance_id"], workflowStatus="Completed")
    assert instance["triggerInputs"] == DEFAULTS | {"customer": "Ada", "copies": 3, "price": 4}


def test_a_failed_instance(acme: Company) -> None:
    instance = until(acme, "refusal", started(acme, "refusal"), workflowStatus="Failed")
    assert just_now(instance["endedAt"])
    assert instance["canceledAt"] is None
    assert instance["lastCompletedStep"] == 0
    assert instance["lastCompletedStepName"] is None
    assert instance["totalSteps"] == 1
    assert instance["triggerInputs"] == {}
    assert instance["tags"] == []


def test_cancel_workflow_instance(acme: Company) -> None:
    workflow_id, instance_id = acme.workflows["approval"], started(acme, "approval")
    waiting = until(acme, "approval", instance_id, lastCompletedStep=1)
    assert waiting["workflowStatus"] == "In Progress"
    assert waiting["lastCompletedStepName"] == "prepare"
    assert waiting["endedAt"] is None
    told = acme.admin.instances("cancelWorkflowInstance", workflowId=workflow_id, instanceId=instance_id)
    assert told == {"message": f"Successfully canceled the workflow instance {instance_id} in {workflow_id}"}
    canceled = until(acme, "approval", instance_id, workflowStatus="Canceled")
    assert just_now(canceled["canceledAt"])
    assert canceled["canceledBy"] == acme.admin_id
    assert canceled["endedAt"] == canceled["canceledAt"]
    assert canceled["lastCompletedStep"] == 1


def test_get_workflow_instances_list(globex: Company) -> None:
    workflow_id = globex.workflows["approval"]
    newest_first = [started(globex, "approval") for _ in range(5)][::-1]
    listed = globex.admin.instances("getWorkflowInstancesList", workflowId=workflow_id)
    assert listed.keys() == {"data", "responseMetadata"}
    check_metadata(listed["responseMetadata"], pageLimit=LARGEST_PAGE)
    assert [one["id"] for one in listed["data"][:5]] == newest_first
    for one in newest_first:
        until(globex, "approval", one, lastCompletedStep=1)
    listed = globex.admin.instances("getWorkflowInstancesList", workflowId=workflow_id)["data"]
    read = [
        globex.admin.instances("getWorkflowInstance", workflowId=workflow_id, instanceId=one["id"])
        for one in listed
    ]
    assert listed == read


def test_pages_lead_through_the_list_that_the_sdk_gets_at_once(globex: Company) -> None:
    workflow_id = globex.workflows["approval"]
    for _ in range(3):
        started(globex, "approval")
    listed = globex.admin.instances("getWorkflowInstancesList", workflowId=workflow_id)["data"]
    paged: list[str] = []
    query: dict[str, str] | None = {"page_size": "2"}
    while query is not None:
        answer = globex.http.get(
            f"{globex.url}/workflows/{workflow_id}/instances", params=query, headers=globex.headers
        )
        page = answer.raise_for_status().json()
        paged += [one["id"] for one in page["data"]]
        token = page["response_metadata"].get("page_token_next")
        assert ("next" in answer.links) == (token is not None)
        query = None if token is None else {"page_size": "2", "ctoken": token}
    assert paged == [one["id"] for one in listed]


def test_pause_and_resume(acme: Company) -> None:
    workflow_id = acme.published("paused")
    assert acme.admin.workflows("pauseNewWorkflowInstances", workflowId=workflow_id) == {"status": "paused"}
    (shown,) = [one for one in acme.admin.workflows("getWorkflowsList")["data"] if one["id"] == workflow_id]
    assert shown["status"] == "paused"
    with pytest.raises(Refused, match="paused") as refused:
        acme.admin.trigger(workflow_id, "too early")
    assert (refused.value.kind, refused.value.status) == ("ErrorT", 400)
    assert acme.admin.workflows("resumePausedWorkflow", workflowId=workflow_id) == {"status": "active"}
    assert is_id(acme.admin.trigger(workflow_id, "in time"))


def test_running_instances_go_on_while_their_workflow_is_paused(globex: Company) -> None:
    instance_id = started(globex, "approval")
    until(globex, "approval", instance_id, lastCompletedStep=1)
    globex.admin.workflows("pauseNewWorkflowInstances", workflowId=globex.workflows["approval"])
    try:
        url = f"{globex.url}/workflows/{globex.workflows['approval']}/instances/{instance_id}/actions/signal"
        globex.http.post(url, json={"type": "order.decided"}, headers=globex.headers).raise_for_status()
        until(globex, "approval", instance_id, workflowStatus="Completed", lastCompletedStepName="close")
    finally:
        globex.admin.workflows("resumePausedWorkflow", workflowId=globex.workflows["approval"])


def test_a_request_id_of_the_callers_own_comes_back(acme: Company) -> None:
    own = str(uuid4())
    answer = acme.http.get(f"{acme.url}/workflows", headers=acme.headers | {"X-Request-Id": own})
    assert answer.json()["response_metadata"]["request_id"] == answer.headers["x-request-id"] == own
