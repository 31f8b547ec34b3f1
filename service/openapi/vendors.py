"""Documents of dialects whose handlers read queries and bodies as they come, as the vendors' servers do.

Paths, names and answers are taken from the routes; what each reads stands with its dialect, by the names that the routes give.
"""

import http
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args, get_origin

import msgspec
from litestar import Litestar, Response, Router
from litestar.handlers import HTTPRouteHandler

from auth.scopes import SCOPES
from service.claims import READING, Scopes
from service.errors import InternalError, LimitReached
from service.openapi.parts import COMPONENTS, CONTACT, REQUEST_ID, SCHEMAS, drop_unused, headers, text, titled
from service.settings import Settings
from tenancy.errors import BadRequest, Forbidden, NotFound, Refusal, TooLarge, Unauthenticated, Unavailable

JSON = "application/json"
REFUSALS = (BadRequest, Unauthenticated, Forbidden, NotFound, LimitReached, InternalError, Unavailable)
WITH_BODY = (TooLarge,)
ANSWERS = {
    200: "Done.",
    201: "Created.",
    202: "Taken; what comes of it comes later.",
    204: "Done; there is nothing to tell.",
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


class Vendor(msgspec.Struct, frozen=True, kw_only=True):
    """What the code cannot say of a dialect."""

    routers: Callable[[], list[Router]]
    scopes: Scopes
    error: Callable[[Refusal], Any]
    path_parameters: Mapping[str, Any]
    query_parameters: Mapping[str, Any]
    requests: Mapping[str, Any]  # an example of each body
    responses: Mapping[str, Any]  # an example of each model that is answered
    always: tuple[dict[str, Any], ...] = ()  # parameters of every operation
    proofs: tuple[str, ...] = ("accessToken",)  # each by itself
    answered: tuple[tuple[str, str], ...] = ()  # headers of every answer
    listed: tuple[tuple[str, str], ...] = ()  # headers of lists

    def document(
        self,
        name: str,
        description: str,
        tags: Mapping[str, str],
        schemas: Mapping[str, Any],
        described: Mapping[str, str] = HEADERS,
        **proofs: Any,
    ) -> dict[str, Any]:
        """Make the dialect's document; `described` are the headers, `proofs` those beside the access token."""
        url = Settings().public_url
        document: dict[str, Any] = {
            "openapi": "3.1.0",
            "info": {
                "title": f"Tutti: the {name} dialect",
                "version": "1.0.0",
                "description": description,
                **CONTACT,
            },
            "servers": [{"url": url, "description": "What `make run` starts."}],
            "tags": [{"name": tag, "description": told} for tag, told in tags.items()],
            "paths": self.paths(),
            "components": {
                "schemas": dict(sorted(schemas.items())),
                "responses": self.refusals(),
                "headers": {one: {"description": told, "schema": text()} for one, told in described.items()},
                "securitySchemes": {"accessToken": self.access_token(url), **proofs},
            },
        }
        drop_unused(document)
        return document

    def paths(self) -> dict[str, Any]:
        """Describe every route."""
        found: dict[str, Any] = {}
        for path, handler in self.routes():
            (method,) = handler.http_methods
            found.setdefault(path, {})[method.lower()] = self.operation(path, handler)
        return {path: dict(sorted(found[path].items())) for path in sorted(found)}

    def routes(self) -> Iterator[tuple[str, HTTPRouteHandler]]:
        """Walk over the dialect's routes."""
        for route in Litestar(self.routers(), openapi_config=None).routes:
            for handler in getattr(route, "route_handlers", ()):
                if handler.resolve_include_in_schema():
                    yield route.path_format, handler

    def operation(self, path: str, handler: HTTPRouteHandler) -> dict[str, Any]:
        """Describe one route."""
        summary, description = titled(handler.fn.__doc__ or "")
        body = handler.opt.get("body")
        tags = handler.tags or handler.owner.tags  # type: ignore[union-attr] # every handler stands in a controller
        told: dict[str, Any] = {
            "tags": list(tags or ()),
            "summary": summary,
            "description": description,
            "operationId": operation_id(path, handler),
            "security": self.security(handler),
            "parameters": list(self.parameters(path, handler)),
        }
        if body is not None:
            content = {"schema": {"$ref": SCHEMAS + body}, "example": self.requests[body]}
            told["requestBody"] = {
                "required": not handler.opt.get("optional_body", False),
                "content": {JSON: content},
            }
        kinds = (*REFUSALS, *WITH_BODY) if body is not None else REFUSALS
        refusals = {str(kind.status): {"$ref": f"{COMPONENTS}responses/{kind.status}"} for kind in kinds}
        return told | {"responses": dict(sorted((self.success(handler) | refusals).items()))}

    def security(self, handler: HTTPRouteHandler) -> list[dict[str, list[str]]]:
        """Say which proofs will do, and with which scope."""
        (method,) = handler.http_methods
        scopes = (self.scopes.read, self.scopes.write) if method in READING else (self.scopes.write,)
        first, *others = self.proofs
        return [{first: [scope]} for scope in scopes] + [{one: []} for one in others]

    def parameters(self, path: str, handler: HTTPRouteHandler) -> Iterator[dict[str, Any]]:
        """Describe what stands in the path, the query and the headers."""
        for name in re.findall(r"{(\w+)}", path):
            yield {"name": name, "in": "path", "required": True} | self.path_parameters[name]
        for name in handler.opt.get("query", ()):
            told = self.query_parameters[name.rpartition(".")[2]]
            yield {"name": name, "in": "query", "required": False} | told
        yield from self.always

    def success(self, handler: HTTPRouteHandler) -> dict[str, Any]:
        """Describe the answer to what was done, from what its function returns."""
        status = handler.status_code
        kind = answered_kind(handler)
        listed = get_origin(kind) is list
        own = tuple((name, name) for name in handler.opt.get("headers", ()))
        told: dict[str, Any] = {
            "description": ANSWERS[status],
            "headers": headers(
                ("X-Request-Id", "RequestId"),
                *self.answered,
                *(self.listed if is_page(handler) else ()),
                *own,
                *LIMITED,
            ),
        }
        if status != http.HTTPStatus.NO_CONTENT:
            schema, example = self.described(get_args(kind)[0] if listed else kind)
            content = {
                "schema": {"type": "array", "items": schema} if listed else schema,
                "example": [example] if listed else example,
            }
            told["content"] = {JSON: content}
        return {str(status): told}

    def described(self, kind: Any) -> tuple[dict[str, Any], Any]:
        """Refer to a model, and give an example of it."""
        if kind is str:
            return {"type": "string"}, "text"
        return {"$ref": SCHEMAS + kind.__name__}, self.responses[kind.__name__]

    def refusals(self) -> dict[str, Any]:
        """Describe every refusal."""
        return {str(kind.status): self.refusal(kind) for kind in (*REFUSALS, *WITH_BODY)}

    def refusal(self, kind: Any) -> dict[str, Any]:
        """Describe one refusal."""
        told = kind()
        named = [("X-Request-Id", "RequestId"), *self.answered]
        if kind in (Unauthenticated, Forbidden):
            named.append(("WWW-Authenticate", "Challenge"))
        if kind in (LimitReached, Unavailable):
            named.append(("Retry-After", "RetryAfter"))
        if kind is LimitReached:
            named += LIMITED
        example = msgspec.to_builtins(self.error(told))
        return {
            "description": told.detail,
            "headers": headers(*named),
            "content": {JSON: {"schema": {"$ref": SCHEMAS + "Error"}, "example": example}},
        }

    def access_token(self, url: str) -> dict[str, Any]:
        """Describe how a client gets an access token, and what its scopes allow."""
        scopes = {name: SCOPES[name] for name in (self.scopes.read, self.scopes.write)}
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


def operation_id(path: str, handler: HTTPRouteHandler) -> str:
    """Say what an operation is called at a path."""
    if not callable(handler.operation_id):
        return str(handler.operation_id)
    (method,) = handler.http_methods
    return handler.operation_id(handler, method, [*path.split("/")])


def answered_kind(handler: HTTPRouteHandler) -> Any:
    """Say of which type an answer is."""
    kind = handler.parsed_fn_signature.return_type.annotation
    return get_args(kind)[0] if get_origin(kind) is Response else kind


def is_page(handler: HTTPRouteHandler) -> bool:
    """Whether an answer is a list that tells how long it is."""
    kind = handler.parsed_fn_signature.return_type.annotation
    return get_origin(kind) is Response and get_origin(answered_kind(handler)) is list
