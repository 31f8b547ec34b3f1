"""The vendor's Python SDK on a live service, with what strikes the stricter TypeScript SDK looked for in every answer."""

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from formance_sdk_python import SDK
from formance_sdk_python._hooks.clientcredentials import ClientCredentialsHook
from formance_sdk_python.models import orchestration, shared

from tests.compat.apps import App
from tests.compat.operations import NAMES, WAITING, Things
from tests.formance.strictness import INSTANT, members

ABOUT = {"content_type", "status_code", "raw_response"}  # the fields of an answer that are not its content
PATHS = {"trigger_id"}  # what stands in a list's path, which no cursor can replace
ERRORS: dict[str, type[Exception]] = {"v1": orchestration.Error, "v2": orchestration.V2Error}


class Bank(msgspec.Struct, frozen=True):
    """An account, and a machine client of it."""

    id: str
    app: App


class Flows(msgspec.Struct, frozen=True):
    """One version of the orchestration API."""

    sdk: SDK
    version: str
    answers: list[httpx.Response]

    def call(self, operation: str, request: Any = None, **options: Any) -> Any:
        """Call an operation; return the content of its answer."""
        method = getattr(
            getattr(self.sdk.orchestration, self.version), NAMES.get((self.version, operation), operation)
        )
        answer = method(**({} if request is None else {"request": request}), **options)
        content = [name for name in type(answer).model_fields if name not in ABOUT]
        return getattr(answer, content[0]) if content else answer.status_code

    def made(self, *stages: dict[str, Any], name: str = "made by the SDK") -> str:
        """Store a workflow; return its id."""
        found: str = self.call("create_workflow", {"name": name, "stages": list(stages)}).data.id
        return found

    def run(self, workflow_id: str, *, wait: bool = False, **variables: str) -> Any:
        """Run a workflow."""
        request = {"workflow_id": workflow_id, "wait": wait, "request_body": variables}
        return self.call("run_workflow", request).data

    def things(self) -> Things:
        """Make something of each kind."""
        workflow_id = self.made(WAITING)
        trigger = self.call("create_trigger", {"event": "X", "workflow_id": workflow_id})
        return Things(workflow_id, self.run(workflow_id).id, trigger.data.id)

    def refused(self, operation: str, request: Any, **options: Any) -> tuple[int, str]:
        """Make a call that has to be refused by the SDK's typed error; return its status and code."""
        with pytest.raises(ERRORS[self.version]) as caught:
            self.call(operation, request, **options)
        error: Any = caught.value
        assert error.data.error_message
        return error.status_code, error.data.error_code.value

    def listed(self, operation: str, **request: Any) -> list[Any]:
        """Everything that a list holds: all pages of v2's, the whole answer of v1's."""
        if self.version == "v1":
            asked = request or ({} if operation == "list_triggers" else None)  # whose request the SDK wants
            return list(self.call(operation, asked).data)
        return [one for page in self.pages(operation, **request) for one in page.data]

    def pages(self, operation: str, onward: str = "next", **request: Any) -> Iterator[Any]:
        """Turn the pages of a list of v2's to its end: its last one or, by `previous`, its first."""
        page = self.call(operation, {"page_size": 2} | request).cursor
        while True:
            assert page.has_more == (page.next is not None)
            yield page
            cursor = getattr(page, onward)
            if cursor is None:
                return
            page = self.call(
                operation, {"cursor": cursor} | {name: request[name] for name in PATHS & {*request}}
            ).cursor


@contextlib.contextmanager
def driven(app: App, version: str) -> Iterator[Flows]:
    """Hand a machine client the SDK, which keeps tokens for the whole process: those are forgotten."""
    ClientCredentialsHook._sessions.clear()
    answers: list[httpx.Response] = []
    security = shared.Security(client_id=app.id, client_secret=app.secret)
    with httpx.Client(event_hooks={"response": [strict, answers.append]}) as http:
        yield Flows(SDK(server_url=app.live.url, security=security, client=http), version, answers)
    ClientCredentialsHook._sessions.clear()


def use_token(token: str) -> None:
    """Put another token in the place of those that the SDK has fetched."""
    for sessions in ClientCredentialsHook._sessions.values():
        for session in sessions.values():
            session.token = token


def strict(answer: httpx.Response) -> None:
    """Fail where the TypeScript SDK would: at a null, at a time without a zone, at a body that is no JSON."""
    if "/api/orchestration/" not in answer.request.url.path or answer.status_code == httpx.codes.NO_CONTENT:
        return
    answer.read()
    assert answer.headers["content-type"].partition(";")[0] == "application/json"
    for name, value in members(answer.json()):
        assert value is not None, name
        if name.endswith("At") or name == "nextExecution":
            assert INSTANT.fullmatch(value), name
