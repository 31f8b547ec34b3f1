"""The document of the Maestro dialect: the vendor's operations, and errors for both generations of its SDKs."""

from typing import Any

import pytest

from auth.scopes import ADMINISTRATION, MAESTRO
from service.openapi import documents
from tests.documents import committed, operations_of, walked

# The vendor's operations: a client that was generated from the vendor's own document calls exactly these.
ACCOUNT = "/v1/accounts/{accountId}"
WORKFLOW = ACCOUNT + "/workflows/{workflowId}"
INSTANCE = WORKFLOW + "/instances/{instanceId}"
VENDORS = {
    "GetWorkflowsList": ("get", ACCOUNT + "/workflows"),
    "GetWorkflowTriggerRequirements": ("get", WORKFLOW + "/trigger-requirements"),
    "TriggerWorkflow": ("post", WORKFLOW + "/actions/trigger"),
    "pauseNewWorkflowInstances": ("post", WORKFLOW + "/actions/pause"),
    "resumePausedWorkflow": ("post", WORKFLOW + "/actions/resume"),
    "getWorkflowInstancesList": ("get", WORKFLOW + "/instances"),
    "getWorkflowInstance": ("get", INSTANCE),
    "cancelWorkflowInstance": ("post", INSTANCE + "/actions/cancel"),
}
ERRORS = {"400", "401", "403", "404", "500"}
ERROR_TYPES = {"application/json", "application/problem+json"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The committed document."""
    return committed("maestro.json")


def test_vendors_operations_keep_their_ids_and_paths() -> None:
    document = documents()["maestro.json"]()
    told = {operation["operationId"]: (method, path) for method, path, operation in walked(document)}
    assert {name: told[name] for name in VENDORS} == VENDORS


def test_every_operation_names_scopes_and_its_errors(document: dict[str, Any]) -> None:
    for name, operation in operations_of(document).items():
        of_account = operation["tags"][0] in ("Account", "Members", "Integrations")
        scopes = [*MAESTRO, ADMINISTRATION] if of_account else list(MAESTRO)
        assert operation["security"] == [{"accessToken": scopes}], name
        assert set(operation["responses"]) > ERRORS, name
        if "requestBody" in operation:
            assert {"413", "415"} < set(operation["responses"]), name


def test_every_error_is_described_for_both_generations_of_sdks(document: dict[str, Any]) -> None:
    for status, response in document["components"]["responses"].items():
        assert set(response["content"]) == ERROR_TYPES, status
        for content in response["content"].values():
            assert content["example"]["status"] == int(status)
            assert content["example"]["code"] == status
