"""The vendor's Python SDK on a live service, with what strikes the stricter TypeScript SDK looked for in every answer."""

from typing import Any

import httpx
import msgspec
from formance_sdk_python import SDK
from formance_sdk_python.models import shared

from tests.compat.apps import App
from tests.formance.strictness import INSTANT, members

ABOUT = {"content_type", "status_code", "raw_response"}  # the fields of an answer that are not its content
PATHS = {"trigger_id"}  # what stands in a list's path, which no cursor can replace
# The SDK's names of operations that are not those of the contract.
NAMES = {("v1", "get_server_info"): "get_server_info_orchestration"}


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

    def listed(self, operation: str, **request: Any) -> list[Any]:
        """Everything that a list holds: all pages of v2's, the whole answer of v1's."""
        if self.version == "v1":
            asked = request or ({} if operation == "list_triggers" else None)  # whose request the SDK wants
            return list(self.call(operation, asked).data)
        found, page = [], self.call(operation, {"page_size": 2} | request).cursor
        while True:
            found += page.data
            assert page.has_more == (page.next is not None)
            if not page.has_more:
                return found
            page = self.call(
                operation, {"cursor": page.next} | {name: request[name] for name in PATHS & {*request}}
            ).cursor


def flows(app: App, version: str, http: httpx.Client, answers: list[httpx.Response]) -> Flows:
    """Give a machine client the SDK."""
    security = shared.Security(client_id=app.id, client_secret=app.secret)
    return Flows(SDK(server_url=app.live.url, security=security, client=http), version, answers)


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
