"""The document of the Keyfactor dialect: the vendor's operations by the names of its first SDKs, with what each takes."""

from typing import Any

import pytest

from service.keyfactor.errors import Code
from service.keyfactor.requests import API_VERSION, READ, REQUESTED_WITH, WRITE, list_parameters
from tests.documents import committed, operations_of, walked

INSTANCES, DEFINITIONS = "/Workflow/Instances", "/Workflow/Definitions"
INSTANCE, DEFINITION = INSTANCES + "/{instanceId}", DEFINITIONS + "/{definitionId}"
VENDORS = {
    "StatusGetEndpoints": ("get", "/Status/Endpoints", "200"),
    "WorkflowInstanceQuery": ("get", INSTANCES, "200"),
    "WorkflowInstanceQueryInstancesAssignedToMe": ("get", INSTANCES + "/AssignedToMe", "200"),
    "WorkflowInstanceQueryInstancesStartedByMe": ("get", INSTANCES + "/My", "200"),
    "WorkflowInstanceGet": ("get", INSTANCE, "200"),
    "WorkflowInstanceDeleteInstance": ("delete", INSTANCE, "204"),
    "WorkflowInstanceRestart": ("post", INSTANCE + "/Restart", "204"),
    "WorkflowInstanceSignal": ("post", INSTANCE + "/Signals", "204"),
    "WorkflowInstanceStop": ("post", INSTANCE + "/Stop", "204"),
    "WorkflowDefinitionQuery": ("get", DEFINITIONS, "200"),
    "WorkflowDefinitionCreateNewDefinition": ("post", DEFINITIONS, "200"),
    "WorkflowDefinitionGet": ("get", DEFINITION, "200"),
    "WorkflowDefinitionUpdateExistingDefinition": ("put", DEFINITION, "200"),
    "WorkflowDefinitionDelete": ("delete", DEFINITION, "204"),
    "WorkflowDefinitionConfigureDefinitionSteps": ("put", DEFINITION + "/Steps", "200"),
    "WorkflowDefinitionPublishDefinition": ("post", DEFINITION + "/Publish", "200"),
    "WorkflowDefinitionQueryAvailableSteps": ("get", DEFINITIONS + "/Steps", "200"),
    "WorkflowDefinitionGetStepSchema": ("get", DEFINITIONS + "/Steps/{extensionName}", "200"),
    "WorkflowDefinitionQueryWorkflowTypes": ("get", DEFINITIONS + "/Types", "200"),
}
LISTS = {
    "WorkflowInstanceQuery": "pq",
    "WorkflowInstanceQueryInstancesAssignedToMe": "pq",
    "WorkflowInstanceQueryInstancesStartedByMe": "instanceQuery",
    "WorkflowDefinitionQuery": "query",
    "WorkflowDefinitionQueryAvailableSteps": "query",
    "WorkflowDefinitionQueryWorkflowTypes": "query",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The committed document."""
    return committed("keyfactor.json")


def test_vendors_operations_keep_their_names_paths_and_one_success(document: dict[str, Any]) -> None:
    told = {
        operation["operationId"]: (method, path, operation) for method, path, operation in walked(document)
    }
    for name, (method, path, status) in VENDORS.items():
        assert told[name][:2] == (method, f"/KeyfactorAPI{path}")
        assert [one for one in told[name][2]["responses"] if one < "300"] == [status]


def test_lists_take_the_parameters_that_the_sdks_send(document: dict[str, Any]) -> None:
    told = operations_of(document)
    for name, prefix in LISTS.items():
        sent = [one["name"] for one in told[name]["parameters"] if one["in"] == "query"]
        assert sent == list(list_parameters(prefix))
        assert "x-total-count" in told[name]["responses"]["200"]["headers"]


def test_every_operation_names_scopes_headers_and_errors(document: dict[str, Any]) -> None:
    for method, _, operation in walked(document):
        scopes = (READ, WRITE) if method == "get" else (WRITE,)
        assert operation["security"] == [*({"accessToken": [scope]} for scope in scopes), {"basic": []}]
        assert {"400", "401", "403", "404", "429", "500"} < set(operation["responses"])
        assert ("413" in operation["responses"]) == ("requestBody" in operation)
        sent = {one["name"]: one["required"] for one in operation["parameters"] if one["in"] == "header"}
        assert sent == {REQUESTED_WITH: True, API_VERSION: False}


def test_every_error_has_a_code_and_is_json(document: dict[str, Any]) -> None:
    for response in document["components"]["responses"].values():
        assert response["content"].keys() == {"application/json"}
        example = response["content"]["application/json"]["example"]
        assert example["ErrorCode"] in list(Code)
        assert example["Message"]
