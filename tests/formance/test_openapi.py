"""The document of the Formance dialect: the vendor's operations by their ids, with the scopes that each takes."""

from typing import Any

import pytest

from service.formance.requests import READ, WRITE
from tests.documents import committed, operations_of, walked

WORKFLOW, INSTANCE = "/workflows/{flowId}", "/instances/{instanceID}"
VENDORS = {
    "getServerInfo": ("get", "/_info"),
    "listWorkflows": ("get", "/workflows"),
    "createWorkflow": ("post", "/workflows"),
    "getWorkflow": ("get", WORKFLOW),
    "deleteWorkflow": ("delete", WORKFLOW),
    "runWorkflow": ("post", "/workflows/{workflowID}/instances"),
    "listInstances": ("get", "/instances"),
    "getInstance": ("get", INSTANCE),
    "sendEvent": ("post", INSTANCE + "/events"),
    "cancelEvent": ("put", INSTANCE + "/abort"),
    "getInstanceHistory": ("get", INSTANCE + "/history"),
    "getInstanceStageHistory": ("get", INSTANCE + "/stages/{number}/history"),
}
SUCCESSES = {"createWorkflow": "201", "runWorkflow": "201"} | dict.fromkeys(
    ("deleteWorkflow", "sendEvent", "cancelEvent"), "204"
)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The committed document."""
    return committed("formance.json")


def second(name: str) -> str:
    """What v2 calls an operation."""
    return f"v2{name[0].upper()}{name[1:]}"


def test_vendors_operations_keep_their_ids_and_paths(document: dict[str, Any]) -> None:
    told = {operation["operationId"]: (method, path) for method, path, operation in walked(document)}
    for name, (method, path) in VENDORS.items():
        assert told[name] == (method, f"/api/orchestration{path}")
        assert told[second(name)] == (method, f"/api/orchestration/v2{path}")
        assert told[f"{name}OfAccount"] == (method, f"/accounts/{{accountId}}/api/orchestration{path}")
        assert told[f"{second(name)}OfAccount"] == (
            method,
            f"/accounts/{{accountId}}/api/orchestration/v2{path}",
        )


def test_vendors_operations_have_their_one_success(document: dict[str, Any]) -> None:
    told = operations_of(document)
    for name in VENDORS:
        for version in (name, second(name)):
            good = [status for status in told[version]["responses"] if status < "300"]
            assert good == [SUCCESSES.get(name, "200")]


def test_every_operation_names_scopes_and_its_errors(document: dict[str, Any]) -> None:
    for method, path, operation in walked(document):
        if "/api/orchestration" not in path:
            continue
        scopes = (READ, WRITE) if method == "get" else (WRITE,)
        assert operation["security"] == [{"accessToken": [scope]} for scope in scopes]
        assert set(operation["responses"]) > {"400", "401", "403", "404", "429", "500"}
        assert ("413" in operation["responses"]) == ("requestBody" in operation)


def test_every_error_has_one_of_the_three_codes_and_is_json(document: dict[str, Any]) -> None:
    for status, response in document["components"]["responses"].items():
        codes = {"404": "NOT_FOUND", **dict.fromkeys(("429", "500", "503"), "INTERNAL")}
        assert response["content"].keys() == {"application/json"}
        assert response["content"]["application/json"]["example"]["errorCode"] == codes.get(
            status, "VALIDATION"
        )
