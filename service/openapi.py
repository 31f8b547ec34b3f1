"""The OpenAPI documents in `openapi/`, generated from the routes, committed, compared byte for byte.

Litestar writes paths, parameters and models. Here the document gets what handlers cannot say in their signatures:
error answers in both of the dialect's media types, scopes, examples, bodies that are read raw. It stays within what client
generators accept: one tag and one request media type for each operation, named schemas, no `nullable`.
"""

import http
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, Router
from litestar.openapi import OpenAPIConfig
from openapi_spec_validator import OpenAPIV31SpecValidator

from auth.scopes import MAESTRO
from service.app import maestro_router
from service.maestro import examples
from service.maestro.errors import PROBLEM_JSON, TYPES, ErrorBody
from service.settings import Settings
from tenancy.errors import SetupRefused

FOLDER = Path(__file__).resolve().parent.parent / "openapi"
SCHEMAS = "#/components/schemas/"
METHODS = ("get", "post", "put", "delete", "patch")
# Which refusals an operation can answer with, beside those that every operation can.
EVERYWHERE = (400, 401, 403, 404, 500)
WITH_BODY = (413, 415)
CONFLICTING = {
    "pauseNewWorkflowInstances",
    "resumePausedWorkflow",
    "cancelWorkflowInstance",
    "signalWorkflowInstance",
    "createWorkflow",
    "createWorkflowFromYaml",
    "replaceWorkflow",
    "replaceWorkflowFromYaml",
    "publishWorkflow",
    "archiveWorkflow",
    "TriggerWorkflow",
}
DESCRIPTION = """\
Workflows and their instances, in the words of the Docusign Maestro API, so that the vendor's SDKs work unchanged, and
what that API lacks: authoring, paging, signals.

Errors carry the fields of both generations of the vendor's SDKs; the `User-Agent` decides between `application/json` and
`application/problem+json`, and between 200 and 201 for a trigger.
"""
TAGS = {
    "Workflows": "Workflows as the vendor's SDKs see them: list, trigger, pause, resume.",
    "Authoring": "Writing workflows as CNCF Serverless Workflow documents; the vendor's API has no such operations.",
    "Workflow Instances": "Runs of workflows: list, read, signal, cancel.",
}


def documents() -> dict[str, Callable[[], dict[str, Any]]]:
    """Name every document and what makes it."""
    return {"maestro.json": maestro_document}


def write_documents() -> list[str]:
    """Write all documents; return their names."""
    FOLDER.mkdir(exist_ok=True)
    for name, make in documents().items():
        (FOLDER / name).write_bytes(encoded(make()))
    return sorted(documents())


def check_documents() -> list[str]:
    """Return the names of documents that are missing, not what the code says, or not valid OpenAPI.

    Raises:
        SetupRefused: a document is not valid OpenAPI 3.1.
    """
    stale = []
    for name, make in documents().items():
        document = make()
        for error in OpenAPIV31SpecValidator(document).iter_errors():
            raise SetupRefused(f"{name} is not valid: {error.message}")
        path = FOLDER / name
        if not path.exists() or path.read_bytes() != encoded(document):
            stale.append(name)
    return stale


def encoded(document: dict[str, Any]) -> bytes:
    """Write a document as it is committed."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def maestro_document() -> dict[str, Any]:
    """Make the document of the Maestro dialect."""
    document = generated(maestro_router())
    document["info"] = {
        "title": "Tutti: the Maestro dialect",
        "version": "1.0.0",
        "description": DESCRIPTION,
        "license": {"name": "Proprietary", "identifier": "LicenseRef-Proprietary"},
    }
    document["servers"] = [{"url": Settings().public_url, "description": "make run"}]
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    schemas = document["components"]["schemas"]
    add_schemas(schemas, ErrorBody)
    document["components"]["securitySchemes"] = {
        "accessToken": {
            "type": "http",
            "scheme": "bearer",
            "description": "An opaque access token of a user or machine client.",
        }
    }
    document["components"]["responses"] = {
        str(status): error_response(status) for status in sorted({*EVERYWHERE, *WITH_BODY, 409})
    }
    for operation in operations(document):
        complete(operation)
    tidy(document)
    return document


def generated(router: Router) -> dict[str, Any]:
    """Let Litestar write what it knows of a dialect's routes."""
    app = Litestar([router], openapi_config=OpenAPIConfig(title="", version="", use_handler_docstrings=True))
    handlers = {
        handler.operation_id: handler
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
    }
    document: dict[str, Any] = deepcopy(app.openapi_schema.to_schema())
    for operation in operations(document):
        operation["x-body"] = handlers[operation["operationId"]].opt.get("document")
    return document


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Walk over the document's operations."""
    for path in document["paths"].values():
        for method in METHODS:
            if method in path:
                yield path[method]


def complete(operation: dict[str, Any]) -> None:
    """Add to an operation: scopes, errors, the body that is read raw, examples."""
    name = operation["operationId"]
    operation["security"] = [{"accessToken": list(MAESTRO)}]
    media_type = operation.pop("x-body")
    if media_type is not None:
        schema = (
            {"$ref": SCHEMAS + "WorkflowDocument"} if media_type.endswith("/json") else {"type": "string"}
        )
        operation["requestBody"] = {"required": True, "content": {media_type: {"schema": schema}}}
    errors = [
        *EVERYWHERE,
        *(WITH_BODY if "requestBody" in operation else ()),
        *((409,) if name in CONFLICTING else ()),
    ]
    success = {status: answer for status, answer in operation["responses"].items() if int(status) < 400}
    if name == "TriggerWorkflow":
        success["200"] = deepcopy(success["201"])
        success["200"]["description"] = "Triggered; the status that SDK generations of beta 3 to 7 know"
    operation["responses"] = dict(
        sorted(
            (
                success | {str(status): {"$ref": f"#/components/responses/{status}"} for status in errors}
            ).items()
        )
    )
    add_examples(operation, name)


def add_examples(operation: dict[str, Any], name: str) -> None:
    """Put the examples of an operation into its body and its successful answers."""
    body = examples.REQUESTS.get(name)
    if body is not None:
        for content in operation["requestBody"]["content"].values():
            content["example"] = body
    for status, answer in operation["responses"].items():
        if "content" in answer and int(status) < 400:
            for content in answer["content"].values():
                content["example"] = examples.RESPONSES[name]


def error_response(status: int) -> dict[str, Any]:
    """Describe one refusal, in both media types that SDK generations want."""
    phrase = http.HTTPStatus(status).phrase
    example = examples.error(status, TYPES.get(status, "about:blank"))
    content = {"schema": {"$ref": SCHEMAS + "ErrorBody"}, "example": example}
    return {"description": phrase, "content": {PROBLEM_JSON: content, "application/json": deepcopy(content)}}


def add_schemas(schemas: dict[str, Any], *models: type) -> None:
    """Add models that no handler names."""
    (_, components) = msgspec.json.schema_components(models, ref_template=SCHEMAS + "{name}")
    schemas |= components
    schemas["WorkflowDocument"] = {
        "type": "object",
        "title": "WorkflowDocument",
        "description": "A document of the CNCF Serverless Workflow DSL 1.0.",
        "required": ["document", "do"],
        "properties": {
            "document": {
                "type": "object",
                "required": ["dsl", "namespace", "name", "version"],
                "properties": {
                    "dsl": {"type": "string"},
                    "namespace": {"type": "string"},
                    "name": {"type": "string"},
                    "version": {"type": "string"},
                    "title": {"type": "string"},
                    "summary": {"type": "string"},
                },
                "additionalProperties": True,
            },
            "do": {"type": "array", "items": {"type": "object", "additionalProperties": True}},
        },
        "additionalProperties": True,
    }


def tidy(document: dict[str, Any]) -> None:
    """Order what has no order of its own, so that the bytes depend on the code alone."""
    components = document["components"]
    for kind in ("schemas", "responses", "securitySchemes"):
        components[kind] = dict(sorted(components[kind].items()))
    document["paths"] = dict(sorted(document["paths"].items()))
