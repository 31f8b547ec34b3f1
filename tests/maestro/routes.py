"""The routes as the application itself tells them, and a body for each that takes one."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from auth.roles import Right, scopes_for
from auth.scopes import MAESTRO
from service.app import create_litestar

# The pages of an instance and of an invitation ask for the secret in their own address: see tests/console and tests/auth.
PUBLIC = {
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1/accounts/{accountId:str}/instances/{instanceId:str}/execution",
    "/v1/accounts/{accountId:str}/invitations/{invitationId:str}/answer",
}
DOCUMENT: dict[str, Any] = {
    "document": {"dsl": "1.0.3", "namespace": "tests", "name": "new", "version": "1.0.0"},
    "do": [{"one": {"set": {"done": True}}}],
}
YAML = b"""
document: {dsl: 1.0.3, namespace: tests, name: new, version: 1.0.0}
do:
  - one:
      set: {done: true}
"""
# A route that takes a body and is not listed here fails the tests that send one.
BODIES: dict[str, bytes] = {
    "cancelWorkflowInstance": b'{"reason": "test"}',
    "restartWorkflowInstance": b'{"version": "1.0.0"}',
    "cancelWorkflowInstances": b'{"confirm_count": 100000, "reason": "test"}',
    "restartWorkflowInstances": b'{"confirm_count": 100000}',
    "TriggerWorkflow": b'{"instance_name": "test", "trigger_inputs": {"who": "Ada"}}',
    "createWorkflow": msgspec.json.encode(DOCUMENT),
    "createWorkflowFromYaml": YAML,
    "replaceWorkflow": msgspec.json.encode(DOCUMENT),
    "replaceWorkflowFromYaml": YAML,
    "signalWorkflowInstance": b'{"type": "goods.arrived"}',
    "publishEvent": b'{"type": "goods.arrived"}',
    "changeAccountSettings": b'{"instance_retention_days": 90}',
    "createWebhook": b'{"url": "https://hooks.example/", "description": "test"}',
    "changeWebhook": b'{"description": "test"}',
    "reassignWorkItem": b'{"assignees": {"users": [], "roles": ["admin", "member"]}}',
    "changeMember": b'{"role": "viewer"}',
    "createInvitation": b'{"email": "new@acme.example", "role": "sender", "name": "test"}',
    "createIntegration": b'{"kind": "public", "name": "test", "redirect_uris": ["https://app.example/callback"]}',
    "changeIntegration": b'{"name": "test"}',
    "addIntegrationKey": b'{"public_key": "test"}',
    "allowIntegration": b'{"scopes": ["signature"]}',
    "completeWorkItem": b'{"outcome": "approve", "comment": "test", "fields": {}}',
}


class Route(msgspec.Struct, frozen=True):
    """One operation: how it is called and what it takes."""

    name: str
    method: str
    path: str
    media_type: str | None
    query: tuple[str, ...]
    tag: str
    right: Right
    lasting: bool = False  # a good request is answered when something happens, if ever
    model: str | None = None  # of the body, in dialects whose routes read any type of it

    @property
    def scopes(self) -> tuple[str, ...]:
        """Which scopes a token needs."""
        return scopes_for(self.right, MAESTRO)

    @property
    def ids(self) -> list[str]:
        """Which ids its path holds, the account's first."""
        return re.findall(r"{(\w+):str}", self.path)

    @property
    def body(self) -> bytes:
        """A body that is well-formed, where there is one."""
        return BODIES[self.name] if self.media_type else b""

    @property
    def headers(self) -> dict[str, str]:
        """The headers that describe the body."""
        return {"Content-Type": self.media_type} if self.media_type else {}

    def url(self, ids: Mapping[str, Any]) -> str:
        """Put ids into the path."""
        return re.sub(r"{(\w+):str}", lambda found: str(ids[found[1]]), self.path)


def handlers(*, every: bool = False) -> Iterator[tuple[str, HTTPRouteHandler]]:
    """Walk over every handler of the application; those that only tell a route's methods are left out unless wanted."""
    # In one order: the framework's differs from process to process.
    for route in sorted(create_litestar(worker=False).routes, key=lambda one: one.path):
        assert isinstance(route, HTTPRoute), "a kind of route that the refusal tests do not know"
        for handler in sorted(route.route_handlers, key=lambda one: sorted(one.http_methods)):
            if every or handler.http_methods != {"OPTIONS"}:
                yield route.path, handler


def name_of(path: str, handler: HTTPRouteHandler) -> str:
    """Say what a route's operation is called, which may depend on where it is."""
    if callable(handler.operation_id):
        return handler.operation_id(handler, next(iter(handler.http_methods)), [*path.split("/")])
    return handler.operation_id or path


def tag_of(handler: HTTPRouteHandler) -> str:
    """Under which heading a route stands in the OpenAPI document, where its controller says one."""
    return next(iter((handler.owner and handler.owner.tags) or ()), "")


def account_routes(dialect: str | None = None) -> list[Route]:
    """Return every route of a dialect that is not public: of Maestro's, which does not say so, unless told otherwise.

    The OAuth server's say what proof they ask for.
    """
    return [
        Route(
            name_of(path, handler),
            next(iter(handler.http_methods)),
            path,
            handler.opt.get("media_type"),
            tuple(handler.opt.get("query", ())),
            tag_of(handler),
            handler.opt.get("right", Right.READ),
            handler.opt.get("lasting", False),
            handler.opt.get("body"),
        )
        for path, handler in handlers()
        if not handler.opt.get("public")
        and "proof" not in handler.opt
        and handler.opt.get("dialect") == dialect
    ]


ROUTES = account_routes()
