"""Answers hold what the clients of 2023 require, which know nothing of v2, and never what the strictest one refuses."""

from datetime import datetime
from typing import Any, Literal

import httpx
import msgspec
import pytest

from tests.formance.conftest import HERE, Calling
from tests.formance.strictness import INSTANT, members

# The models of the vendor's API as it was in 2023: what is required has no default, what is not may be absent and not null.
Absent = msgspec.UnsetType
UNSET = msgspec.UNSET


class Config(msgspec.Struct):
    stages: list[dict[str, Any]]
    name: str | Absent = UNSET


class Workflow(msgspec.Struct, rename="camel"):
    id: str
    config: Config
    created_at: datetime
    updated_at: datetime


class Status(msgspec.Struct, rename="camel"):
    stage: float
    instance_id: str = msgspec.field(name="instanceID")
    started_at: datetime
    terminated_at: datetime | Absent = UNSET
    error: str | Absent = UNSET


class Instance(msgspec.Struct, rename="camel"):
    workflow_id: str = msgspec.field(name="workflowID")
    id: str
    created_at: datetime
    updated_at: datetime
    terminated: bool
    status: list[Status] | Absent = UNSET
    terminated_at: datetime | Absent = UNSET
    error: str | Absent = UNSET


class History(msgspec.Struct, rename="camel"):
    name: str
    input: dict[str, Any]
    terminated: bool
    started_at: datetime
    terminated_at: datetime | Absent = UNSET
    error: str | Absent = UNSET


class StageHistory(msgspec.Struct, rename="camel", kw_only=True):
    name: str
    input: dict[str, Any]
    output: dict[str, Any] | Absent = UNSET
    terminated: bool
    started_at: datetime
    terminated_at: datetime | Absent = UNSET
    attempt: int
    last_failure: str | Absent = UNSET
    next_execution: datetime | Absent = UNSET
    error: str | Absent = UNSET


class Error(msgspec.Struct, rename="camel"):
    error_code: Literal["VALIDATION", "NOT_FOUND"]
    error_message: str


# The operations of 2023, by the names that the TypeScript client had for them: how each is called.
OPERATIONS = {
    "orchestrationgetServerInfo": "GET /_info",
    "listWorkflows": "GET /workflows",
    "createWorkflow": "POST /workflows",
    "getWorkflow": "GET /workflows/{flowId}",
    "runWorkflow": "POST /workflows/{workflowID}/instances",
    "listInstances": "GET /instances",
    "getInstance": "GET /instances/{instanceID}",
    "sendEvent": "POST /instances/{instanceID}/events",
    "cancelEvent": "PUT /instances/{instanceID}/abort",
    "getInstanceHistory": "GET /instances/{instanceID}/history",
    "getInstanceStageHistory": "GET /instances/{instanceID}/stages/{number}/history",
}
STATUSES = {
    "createWorkflow": 201,
    "runWorkflow": 201,
    "sendEvent": 204,
    "cancelEvent": 204,
}  # 200 of all others


def data(kind: Any) -> Any:
    """The envelope of a model."""
    return msgspec.defstruct("Envelope", [("data", kind)])


@pytest.fixture
def strict(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client that takes no null and no time without its zone."""

    async def check(response: httpx.Response) -> None:
        await response.aread()
        for name, value in members(response.json()) if response.content else ():
            assert value is not None, name
            assert not name.endswith("At") or INSTANT.fullmatch(value), name

    client.event_hooks["response"].append(check)
    return client


class Client(msgspec.Struct):
    """A client of 2023: each operation under its name, answers read by its models."""

    http: httpx.AsyncClient
    headers: dict[str, str]
    driven: set[str] = msgspec.field(default_factory=set)

    async def __call__(
        self,
        operation: str,
        kind: Any,
        status: int | None = None,
        *,
        of: dict[str, Any] | None = None,
        **request: Any,
    ) -> Any:
        """Call an operation; return what its answer holds, or nothing where it has none."""
        method, path = OPERATIONS[operation].format(**of or {}).split(" ")
        answer = await self.http.request(method, HERE + path, headers=self.headers, **request)
        assert answer.status_code == (status or STATUSES.get(operation, 200)), answer.text
        self.driven.add(operation)
        return msgspec.json.decode(answer.content, type=kind) if kind else answer.content

    async def data(
        self, operation: str, kind: Any, *, of: dict[str, Any] | None = None, **request: Any
    ) -> Any:
        """Call an operation; return what stands in the envelope."""
        return (await self(operation, data(kind), of=of, **request)).data


async def test_the_eleven_operations_of_2023(acme: Calling, strict: httpx.AsyncClient) -> None:
    client = Client(strict, acme.headers)
    config = {"name": "demo", "stages": [{"noop": {}}, {"wait_event": {"event": "go"}}]}
    workflow = await client.data("createWorkflow", Workflow, json=config)
    assert await client.data("getWorkflow", Workflow, of={"flowId": workflow.id}) == workflow
    assert (await client.data("listWorkflows", list[Workflow]))[0] == workflow
    began = await client.data("runWorkflow", Instance, of={"workflowID": workflow.id}, json={"a": "b"})
    one = {"instanceID": began.id, "number": 0}
    assert (await client.data("getInstance", Instance, of=one)).terminated_at is UNSET
    assert await client.data("listInstances", list[Instance], params={"running": "true"})
    assert len(await client.data("getInstanceHistory", list[History], of=one)) == 2
    assert await client.data("getInstanceStageHistory", list[StageHistory], of=one) == []
    assert await client("sendEvent", None, of=one, json={"name": "other"}) == b""
    assert await client("cancelEvent", None, of=one) == b""
    ended = await client.data("getInstance", Instance, of=one)
    assert (ended.terminated, ended.error, ended.status[1].error) == (True, "canceled", "canceled")
    assert await client.data("listInstances", list[Instance]) == [ended]
    assert (await client("orchestrationgetServerInfo", dict[str, str]))["version"]
    assert client.driven == {*OPERATIONS}


async def test_activities_that_have_failed(acme: Calling, strict: httpx.AsyncClient) -> None:
    client = Client(strict, acme.headers)
    config = {"stages": [{"update": {"account": {"id": "a", "metadata": {"b": "c"}}}}]}
    workflow = await client.data("createWorkflow", Workflow, json=config)
    failed = await client.data(
        "runWorkflow", Instance, of={"workflowID": workflow.id}, params={"wait": "true"}, json={}
    )
    one = {"instanceID": failed.id, "number": 0}
    (stage,) = await client.data("getInstanceHistory", list[History], of=one)
    (activity,) = await client.data("getInstanceStageHistory", list[StageHistory], of=one)
    assert (activity.name, activity.attempt, activity.terminated) == ("AddAccountMetadata", 1, True)
    assert failed.error == stage.error == activity.error != ""


async def test_errors(acme: Calling, strict: httpx.AsyncClient) -> None:
    client = Client(strict, acme.headers)
    nothing = dict.fromkeys(("flowId", "workflowID", "instanceID", "number"), "x")
    for operation, path in OPERATIONS.items():
        if "{" in path:
            refusal = await client(operation, Error, 400 if operation == "sendEvent" else 404, of=nothing)
            assert refusal.error_message
    assert (await client("createWorkflow", Error, 400)).error_code == "VALIDATION"
    stranger = Client(strict, {})
    for operation in OPERATIONS:
        assert (await stranger(operation, Error, 401, of=nothing)).error_code == "VALIDATION"
