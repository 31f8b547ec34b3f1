"""The OpenAPI document says what the service does, in words that client generators understand."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from auth.scopes import MAESTRO
from service.app import create_litestar
from service.openapi import FOLDER, documents, encoded, problems, route_handlers

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


@pytest.fixture(scope="module", params=sorted(documents()))
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Every committed document in turn."""
    read: dict[str, Any] = msgspec.json.decode((FOLDER / request.param).read_bytes())
    return read


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A document's operations by their ids."""
    found = [operation for _, _, operation in walked(document)]
    by_id = {operation["operationId"]: operation for operation in found}
    assert len(by_id) == len(found), "two operations share an id"
    return by_id


def walked(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Walk over method, path and operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Walk over every object of a document."""
    if isinstance(node, dict):
        yield node
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(one)


@pytest.mark.parametrize("name", sorted(documents()))
def test_the_committed_document_is_what_the_code_says(name: str) -> None:
    make = documents()[name]
    assert (FOLDER / name).read_bytes() == encoded(make()) == encoded(make()), (
        "run: make openapi, or tutti openapi"
    )


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    assert list(problems(document)) == []


def test_every_route_is_documented_and_nothing_else() -> None:
    app = create_litestar(worker=False)
    served = {
        (method.lower(), path)
        for handler in route_handlers(app)
        if handler.resolve_include_in_schema()
        for route in app.routes
        if handler in getattr(route, "route_handlers", ())
        for path in [route.path_format]
        for method in handler.http_methods - {"OPTIONS"}
    }
    told = {(method, path) for make in documents().values() for method, path, _ in walked(make())}
    assert served == told


def test_vendors_operations_keep_their_ids_and_paths() -> None:
    document = documents()["maestro.json"]()
    told = {operation["operationId"]: (method, path) for method, path, operation in walked(document)}
    assert {name: told[name] for name in VENDORS} == VENDORS


def test_every_operation_names_scopes_one_tag_and_its_errors(
    document: dict[str, Any], operations: dict[str, dict[str, Any]]
) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for name, operation in operations.items():
        assert operation["security"] == [{"accessToken": list(MAESTRO)}], name
        assert len(operation["tags"]) == 1, name
        assert set(operation["tags"]) <= tags, name
        assert set(operation["responses"]) > ERRORS, name
        assert operation["summary"], name
        if "requestBody" in operation:
            assert {"413", "415"} < set(operation["responses"]), name
            assert len(operation["requestBody"]["content"]) == 1, name


def test_every_error_is_described_for_both_generations_of_sdks(document: dict[str, Any]) -> None:
    for status, response in document["components"]["responses"].items():
        assert set(response["content"]) == ERROR_TYPES, status
        for content in response["content"].values():
            assert content["example"]["status"] == int(status)
            assert content["example"]["code"] == status


def test_every_body_has_an_example_that_is_valid(document: dict[str, Any]) -> None:
    contents = [node["content"] for node in nodes(document) if "content" in node and "schema" not in node]
    bodies = [body for content in contents for body in content.values()]
    assert len(bodies) > len(document["paths"])
    for body in bodies:
        schema = body["schema"] | {"components": document["components"]}
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        found = [
            f"{error.instance_path}: {error.message}" for error in validator.iter_errors(body["example"])
        ]
        assert found == [], body["schema"]


def test_the_document_stays_within_what_generators_understand(document: dict[str, Any]) -> None:
    assert "webhooks" not in document
    for node in nodes(document):
        assert "nullable" not in node
        assert "prefixItems" not in node
        assert None not in (node.get("enum") or ())
        assert node.get("style") != "deepObject"


def test_objects_with_fields_are_named_schemas(document: dict[str, Any]) -> None:
    named = list(document["components"]["schemas"].values())
    described = [
        node for node in nodes(without_examples(document)) if isinstance(node.get("properties"), dict)
    ]
    assert [node for node in described if node not in named] == []


def without_examples(node: Any) -> Any:
    """Leave out examples, whose content may look like schemas."""
    if isinstance(node, dict):
        return {name: without_examples(value) for name, value in node.items() if name != "example"}
    return [without_examples(one) for one in node] if isinstance(node, list) else node


def test_the_server_is_the_one_that_runs_on_a_developers_machine(document: dict[str, Any]) -> None:
    assert [server["url"] for server in document["servers"]] == ["http://127.0.0.1:8000"]
