"""The OpenAPI documents say what the service does, in words that client generators understand."""

from typing import Any

import jsonschema_rs
import pytest

from service.app import create_litestar
from service.openapi import FOLDER, documents, encoded, problems
from service.openapi.parts import route_handlers
from tests.documents import committed, nodes, operations_of, walked

EXAMPLES = ("example", "examples")


@pytest.fixture(scope="module", params=sorted(documents()))
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Every committed document in turn."""
    return committed(request.param)


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


def test_no_two_operations_of_a_document_share_an_id(document: dict[str, Any]) -> None:
    assert operations_of(document)  # which looks at their ids; clients are generated from one document


def test_every_operation_has_one_tag_a_summary_and_one_way_to_send_a_body(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    used = set()
    for name, operation in operations_of(document).items():
        assert len(operation["tags"]) == 1, name
        used |= set(operation["tags"])
        assert operation["summary"], name
        assert "requestBody" not in operation or len(operation["requestBody"]["content"]) == 1, name
    assert used == tags


def test_every_body_has_an_example_that_is_valid(document: dict[str, Any]) -> None:
    contents = [node["content"] for node in nodes(document) if "content" in node and "schema" not in node]
    bodies = [body for content in contents for body in content.values()]
    assert len(bodies) > len(document["paths"])
    for body in bodies:
        schema = body["schema"] | {"components": document["components"]}
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        for example in examples_of(body):
            found = [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(example)]
            assert found == [], body["schema"]


def examples_of(body: dict[str, Any]) -> list[Any]:
    """The examples of a body, of which there has to be one."""
    found = [one["value"] for one in body["examples"].values()] if "examples" in body else [body["example"]]
    assert found
    return found


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
        return {name: without_examples(value) for name, value in node.items() if name not in EXAMPLES}
    return [without_examples(one) for one in node] if isinstance(node, list) else node


def test_the_server_is_the_one_that_runs_on_a_developers_machine(document: dict[str, Any]) -> None:
    assert [server["url"] for server in document["servers"]] == ["http://127.0.0.1:8000"]
