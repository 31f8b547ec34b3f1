"""What the vendor's SDK raises: its typed error where it knows one, its general one elsewhere, never a parsing error."""

from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from tests.compat.conftest import Company
from tests.compat.sdk import Refused, Session, is_id

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

TRIGGER = {"instanceName": "refused", "triggerInputs": {}}
# Every operation with a request for it, ids to be filled in; the list of instances has no typed errors in any SDK.
OPERATIONS = {
    "getWorkflowsList": ("workflows", ()),
    "getWorkflowTriggerRequirements": ("workflows", ("workflowId",)),
    "triggerWorkflow": ("workflows", ("workflowId",)),
    "pauseNewWorkflowInstances": ("workflows", ("workflowId",)),
    "resumePausedWorkflow": ("workflows", ("workflowId",)),
    "getWorkflowInstancesList": ("instances", ("workflowId",)),
    "getWorkflowInstance": ("instances", ("workflowId", "instanceId")),
    "cancelWorkflowInstance": ("instances", ("workflowId", "instanceId")),
}
WITH_WORKFLOW = [name for name, (_, ids) in OPERATIONS.items() if ids]
UNTYPED = "getWorkflowInstancesList"


def refused(session: Session, operation: str, **ids: str) -> Refused:
    """Call an operation that must be refused; ids that are not given are of things that do not exist."""
    group, wanted = OPERATIONS[operation]
    request: dict[str, Any] = {name: ids.get(name, str(uuid4())) for name in wanted}
    if operation == "triggerWorkflow":
        request["triggerWorkflow"] = TRIGGER
    call = session.workflows if group == "workflows" else session.instances
    with pytest.raises(Refused) as caught:
        call(operation, **request)
    return caught.value


def check(error: Refused, status: int, *, typed: bool = True) -> None:
    """Hold an error against the contract: the class, and for the typed one each of its fields."""
    assert error.status == status, error
    assert error.kind == ("ErrorT" if typed else "APIError"), error
    assert error.content_type == "application/json"
    if typed:
        assert error.data.keys() == {"error", "code", "timestamp"}
        assert error.data["error"]
        assert error.data["code"] == str(status)
        assert isinstance(error.data["timestamp"], datetime)


@pytest.mark.parametrize("operation", WITH_WORKFLOW)
def test_400_for_an_id_that_is_none(acme: Company, operation: str) -> None:
    check(refused(acme.admin, operation, workflowId="no-id at all"), 400, typed=operation != UNTYPED)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_400_for_an_account_id_that_is_none(acme: Company, operation: str) -> None:
    check(refused(acme.admin.on("no-account"), operation), 400, typed=operation != UNTYPED)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_401_for_an_unknown_token_is_the_general_error(acme: Company, operation: str) -> None:
    stranger = msgspec.structs.replace(acme.admin, token="no-token-of-ours")
    check(refused(stranger, operation), 401, typed=False)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_403_for_a_token_that_lacks_a_scope(acme: Company, operation: str) -> None:
    error = refused(acme.narrow, operation, workflowId=acme.workflows["order"])
    check(error, 403, typed=operation != UNTYPED)
    assert operation == UNTYPED or "scope" in error.data["error"]


@pytest.mark.parametrize("operation", WITH_WORKFLOW)
def test_404_for_a_workflow_that_does_not_exist(acme: Company, operation: str) -> None:
    check(refused(acme.admin, operation), 404, typed=operation != UNTYPED)


@pytest.mark.parametrize("operation", ["getWorkflowInstance", "cancelWorkflowInstance"])
def test_404_for_an_instance_that_does_not_exist_or_is_of_another_workflow(
    acme: Company, operation: str
) -> None:
    check(refused(acme.admin, operation, workflowId=acme.workflows["approval"]), 404)
    instance_id = acme.admin.trigger(acme.workflows["approval"], "of approval")
    check(refused(acme.admin, operation, workflowId=acme.workflows["order"], instanceId=instance_id), 404)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_404_for_another_companys_account_as_for_none(acme: Company, globex: Company, operation: str) -> None:
    of_globex = {"workflowId": globex.workflows["approval"]}
    foreign = refused(acme.admin.on(globex.id), operation, **of_globex)
    missing = refused(acme.admin.on(str(uuid4())), operation, **of_globex)
    check(foreign, 404, typed=operation != UNTYPED)
    assert (foreign.status, foreign.kind, foreign.content_type) == (
        missing.status,
        missing.kind,
        missing.content_type,
    )
    assert foreign.data.get("error") == missing.data.get("error")


@pytest.mark.parametrize("operation", WITH_WORKFLOW)
def test_404_for_another_companys_things_under_the_own_account(
    acme: Company, globex: Company, operation: str
) -> None:
    workflow_id = globex.workflows["approval"]
    instance_id = globex.admin.trigger(workflow_id, "secret of Globex")
    foreign = refused(acme.admin, operation, workflowId=workflow_id, instanceId=instance_id)
    missing = refused(acme.admin, operation)
    check(foreign, 404, typed=operation != UNTYPED)
    assert foreign.data.get("error") == missing.data.get("error")
    instance = globex.admin.instances("getWorkflowInstance", workflowId=workflow_id, instanceId=instance_id)
    assert instance["canceledAt"] is None


def test_lists_show_the_own_company_alone(acme: Company, globex: Company) -> None:
    for company, other in ((acme, globex), (globex, acme)):
        workflow_id = company.workflows["approval"]
        company.admin.trigger(workflow_id, f"of {company.id}")
        listed = company.admin.workflows("getWorkflowsList")["data"]
        assert {one["accountId"] for one in listed} == {company.id}
        assert not {one["id"] for one in listed} & set(other.workflows.values())
        instances = company.admin.instances("getWorkflowInstancesList", workflowId=workflow_id)["data"]
        assert instances
        assert {one["accountId"] for one in instances} == {company.id}
        assert {one["startedBy"] for one in instances} == {company.admin_id}


@pytest.mark.parametrize(
    ("inputs", "target"),
    [
        ({}, "customer"),
        ({"customer": ""}, "customer"),
        ({"customer": 7}, "customer"),
        ({"customer": "Ada", "copies": "three"}, "copies"),
        ({"customer": "Ada", "copies": 1.5}, "copies"),
        ({"customer": "Ada", "unheard": True}, "unheard"),
    ],
)
def test_400_for_inputs_that_do_not_fit(acme: Company, inputs: dict[str, Any], target: str) -> None:
    with pytest.raises(Refused) as caught:
        acme.admin.trigger(acme.workflows["order"], "wrong inputs", **inputs)
    check(caught.value, 400)
    (told,) = caught.value.body["errors"]
    assert target in told["target"] + told["message"]


def test_400_for_an_instance_without_a_name(acme: Company) -> None:
    with pytest.raises(Refused) as caught:
        acme.admin.trigger(acme.workflows["order"], "", customer="Ada")
    check(caught.value, 400)


def test_400_for_triggers_that_a_workflows_state_forbids(acme: Company) -> None:
    draft, paused, archived = acme.stored("draft"), acme.published("paused"), acme.published("archived")
    acme.admin.workflows("pauseNewWorkflowInstances", workflowId=paused)
    acme.act(archived, "archive")
    codes = []
    for workflow_id in (draft, paused, archived):
        error = refused(acme.admin, "triggerWorkflow", workflowId=workflow_id)
        check(error, 400)
        codes += [one["code"] for one in error.body["errors"]]
    assert codes == ["WORKFLOW_NOT_ACTIVE", "WORKFLOW_PAUSED", "WORKFLOW_ARCHIVED"]


def test_409_for_a_second_cancel(acme: Company) -> None:
    ids = {"workflowId": acme.workflows["approval"]}
    ids["instanceId"] = acme.admin.trigger(ids["workflowId"], "canceled once")
    acme.admin.instances("cancelWorkflowInstance", **ids)
    before = acme.admin.instances("getWorkflowInstance", **ids)
    check(refused(acme.admin, "cancelWorkflowInstance", **ids), 409)
    assert acme.admin.instances("getWorkflowInstance", **ids) == before


def test_409_for_pausing_twice_and_resuming_what_is_active(acme: Company) -> None:
    workflow_id = acme.published("twice")
    check(refused(acme.admin, "resumePausedWorkflow", workflowId=workflow_id), 409)
    acme.admin.workflows("pauseNewWorkflowInstances", workflowId=workflow_id)
    check(refused(acme.admin, "pauseNewWorkflowInstances", workflowId=workflow_id), 409)
    acme.admin.workflows("resumePausedWorkflow", workflowId=workflow_id)
    check(refused(acme.admin, "resumePausedWorkflow", workflowId=workflow_id), 409)


@pytest.mark.parametrize("action", ["pauseNewWorkflowInstances", "resumePausedWorkflow"])
def test_409_for_pausing_or_resuming_what_was_never_published(acme: Company, action: str) -> None:
    check(refused(acme.admin, action, workflowId=acme.stored("draft")), 409)


def test_ids_in_upper_case_are_the_same_ids(acme: Company) -> None:
    told = acme.admin.on(acme.id.upper()).workflows(
        "getWorkflowTriggerRequirements", workflowId=acme.workflows["order"].upper()
    )
    assert is_id(told["triggerId"])
