"""The document of the Formance dialect: the vendor's operations, each with and without the account in its path.

Its handlers read queries and bodies as they come, so paths, names and answers are taken from the routes, and what each reads
stands here, by name.
"""

import http
import re
from collections.abc import Iterator
from typing import Any

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from auth.scopes import SCOPES
from service.claims import READING
from service.errors import InternalError, LimitReached
from service.formance import models, trigger_models
from service.formance.controllers import formance_routers
from service.formance.errors import answer_of
from service.formance.requests import READ, WRITE
from service.openapi.formance_examples import REQUESTS, RESPONSES
from service.openapi.parts import (
    COMPONENTS,
    CONTACT,
    REQUEST_ID,
    SCHEMAS,
    component_schemas,
    drop_unused,
    headers,
    text,
    titled,
)
from service.settings import Settings
from tenancy.errors import BadRequest, Forbidden, NotFound, TooLarge, Unauthenticated

JSON = "application/json"
DESCRIPTION = """\
Workflows of stages and their instances, in the words of the Formance orchestration API (Flows), so that the vendor's SDKs
work unchanged: v1 below `/api/orchestration`, v2 below `/api/orchestration/v2`.

The account is the one that the token is good for; a token that is good for several names it in the path. Lists are ordered,
newest first. Errors have one of three codes, whatever their status is, and are always JSON.
"""
TAGS = {
    "Info": "What answers.",
    "Workflows": "Workflows: write, list, read, delete, run.",
    "Instances": "Runs of workflows: list, read, send events, abort, and their history.",
    "Triggers": "What starts workflows when events come: make, list, read, test, delete, what came of them; the events.",
}
REFUSALS = (BadRequest, Unauthenticated, Forbidden, NotFound, LimitReached, InternalError)
WITH_BODY = (TooLarge,)
ANSWERS = {
    200: "Done.",
    201: "Created.",
    202: "Taken; what comes of it comes later.",
    204: "Done; there is nothing to tell.",
}
PATH_PARAMETERS = {
    "accountId": {"description": "The account's id.", "schema": {"type": "string", "format": "uuid"}},
    "flowId": {"description": "The workflow's id.", "schema": {"type": "string"}},
    "workflowID": {"description": "The workflow's id.", "schema": {"type": "string"}},
    "instanceID": {"description": "The instance's id.", "schema": {"type": "string"}},
    "triggerID": {"description": "The trigger's id.", "schema": {"type": "string"}},
    "number": {"description": "The stage's place, from 0.", "schema": {"type": "integer", "minimum": 0}},
}
QUERY_PARAMETERS = {
    "wait": {
        "description": "Answer when the instance has ended, or after 10 minutes: as it is by then.",
        "schema": {"type": "boolean"},
    },
    "running": {
        "description": "Only instances that have not ended; `false` filters nothing.",
        "schema": {"type": "boolean"},
    },
    "workflowID": {
        "description": "Only instances of this workflow; none where it is unknown or deleted.",
        "schema": {"type": "string"},
    },
    "name": {
        "description": "Only triggers whose name contains this, in any case.",
        "schema": {"type": "string"},
    },
    "cursor": {
        "description": "Where to go on: `next` or `previous` of another page. It knows the page's size and the filters.",
        "schema": {"type": "string"},
    },
    "pageSize": {
        "description": "Most entries of a page: 15 where nothing is said; above 1,000 it is 1,000.",
        "schema": {"type": "integer", "minimum": 0},
    },
}
VARIABLES = {
    "title": "Variables",
    "description": "What `${name}` stands for in the stages; a name that is not here stands for nothing.",
    "type": "object",
    "additionalProperties": {"type": "string"},
}
PAYLOAD = {
    "title": "EventPayload",
    "description": "An event's payload, at most 64 KiB: what expressions call `event`.",
    "type": "object",
    "additionalProperties": True,
}
LIMITED = (("RateLimit-Policy", "RateLimitPolicy"), ("RateLimit", "RateLimit"))
HEADERS = {
    "RequestId": REQUEST_ID,
    "Challenge": "Which proof is missing (RFC 6750, 3).",
    "RetryAfter": "After how many seconds to try again.",
    "RateLimit": "Of an account whose requests are limited: how many it may make at once (`r`), and after how many seconds"
    " it may make all of them (`t`), as draft-ietf-httpapi-ratelimit-headers has it.",
    "RateLimitPolicy": "How many requests it may make at once (`q`), and in how many seconds they come again (`w`).",
}


def formance_document() -> dict[str, Any]:
    """Make the document of the Formance dialect."""
    url = Settings().public_url
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Tutti: the Formance dialect",
            "version": "1.0.0",
            "description": DESCRIPTION,
            **CONTACT,
        },
        "servers": [{"url": url, "description": "What `make run` starts."}],
        "tags": [{"name": name, "description": told} for name, told in TAGS.items()],
        "paths": paths(),
        "components": {
            "schemas": dict(sorted(schemas().items())),
            "responses": {str(kind.status): refusal(kind) for kind in (*REFUSALS, *WITH_BODY)},
            "headers": {name: {"description": told, "schema": text()} for name, told in HEADERS.items()},
            "securitySchemes": {"accessToken": access_token(url)},
        },
    }
    drop_unused(document)
    return document


def schemas() -> dict[str, Any]:
    """Write every model, and the bodies that are none."""
    return component_schemas(models, trigger_models) | {"Variables": VARIABLES, "EventPayload": PAYLOAD}


def formance_routes() -> Iterator[tuple[str, HTTPRouteHandler]]:
    """Walk over the dialect's routes."""
    for route in Litestar(formance_routers(), openapi_config=None).routes:
        for handler in getattr(route, "route_handlers", ()):
            if handler.resolve_include_in_schema():
                yield route.path_format, handler


def operation_id(path: str, handler: HTTPRouteHandler) -> str:
    """Say what an operation is called at a path."""
    (method,) = handler.http_methods
    assert callable(handler.operation_id)  # noqa: S101 - every handler of the dialect is named for its path
    return handler.operation_id(handler, method, [*path.split("/")])


def paths() -> dict[str, Any]:
    """Describe every route."""
    found: dict[str, Any] = {}
    for path, handler in formance_routes():
        (method,) = handler.http_methods
        found.setdefault(path, {})[method.lower()] = operation(path, handler)
    return {path: dict(sorted(found[path].items())) for path in sorted(found)}


def operation(path: str, handler: HTTPRouteHandler) -> dict[str, Any]:
    """Describe one route."""
    (method,) = handler.http_methods
    summary, description = titled(handler.fn.__doc__ or "")
    body = handler.opt.get("body")
    tags = handler.tags or handler.owner.tags  # type: ignore[union-attr] # every handler stands in a controller
    told: dict[str, Any] = {
        "tags": list(tags or ()),
        "summary": summary,
        "description": description,
        "operationId": operation_id(path, handler),
        "security": [
            {"accessToken": [scope]} for scope in ((READ, WRITE) if method in READING else (WRITE,))
        ],
        "parameters": list(parameters(path, handler)),
    }
    if body is not None:
        content = {"schema": {"$ref": SCHEMAS + body}, "example": REQUESTS[body]}
        told["requestBody"] = {
            "required": not handler.opt.get("optional_body", False),
            "content": {JSON: content},
        }
    kinds = (*REFUSALS, *WITH_BODY) if body is not None else REFUSALS
    refusals = {str(kind.status): {"$ref": f"{COMPONENTS}responses/{kind.status}"} for kind in kinds}
    return told | {"responses": dict(sorted((success(handler) | refusals).items()))}


def parameters(path: str, handler: HTTPRouteHandler) -> Iterator[dict[str, Any]]:
    """Describe what stands in the path and the query."""
    for name in re.findall(r"{(\w+)}", path):
        yield {"name": name, "in": "path", "required": True} | PATH_PARAMETERS[name]
    for name in handler.opt.get("query", ()):
        yield {"name": name, "in": "query", "required": False} | QUERY_PARAMETERS[name]


def success(handler: HTTPRouteHandler) -> dict[str, Any]:
    """Describe the answer to what was done, from what its function returns."""
    status = handler.status_code
    told: dict[str, Any] = {
        "description": ANSWERS[status],
        "headers": headers(("X-Request-Id", "RequestId"), *LIMITED),
    }
    if status != http.HTTPStatus.NO_CONTENT:
        name = handler.parsed_fn_signature.return_type.annotation.__name__
        told["content"] = {JSON: {"schema": {"$ref": SCHEMAS + name}, "example": RESPONSES[name]}}
    return {str(status): told}


def refusal(kind: Any) -> dict[str, Any]:
    """Describe one refusal."""
    told = kind()
    named = [("X-Request-Id", "RequestId")]
    if kind in (Unauthenticated, Forbidden):
        named.append(("WWW-Authenticate", "Challenge"))
    if kind is LimitReached:
        named += [("Retry-After", "RetryAfter"), *LIMITED]
    example = msgspec.to_builtins(answer_of(told))
    return {
        "description": told.detail,
        "headers": headers(*named),
        "content": {JSON: {"schema": {"$ref": SCHEMAS + "Error"}, "example": example}},
    }


def access_token(url: str) -> dict[str, Any]:
    """Describe how a client gets an access token, and what its scopes allow."""
    scopes = {name: SCOPES[name] for name in (READ, WRITE)}
    return {
        "type": "oauth2",
        "description": "An opaque access token of a user or a machine client, sent as `Authorization: Bearer`.",
        "flows": {
            "authorizationCode": {
                "authorizationUrl": f"{url}/oauth/auth",
                "tokenUrl": f"{url}/oauth/token",
                "refreshUrl": f"{url}/oauth/token",
                "scopes": scopes,
            },
            "clientCredentials": {"tokenUrl": f"{url}/api/auth/oauth/token", "scopes": dict(scopes)},
        },
    }
