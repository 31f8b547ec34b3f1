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


class Error(msgspec.Struct, rename="camel"):
    error_code: Literal["VALIDATION", "NOT_FOUND"]
    error_message: str


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


async def test_the_eleven_operations_of_2023(acme: Calling, strict: httpx.AsyncClient) -> None:
    async def asked(kind: Any, method: str, path: str, status: int = 200, **request: Any) -> Any:
        answer = await strict.request(method, HERE + path, headers=acme.headers, **request)
        assert answer.status_code == status, answer.text
        return msgspec.json.decode(answer.content, type=kind) if kind else answer.content

    config = {"name": "demo", "stages": [{"noop": {}}, {"wait_event": {"event": "go"}}]}
    workflow = (await asked(data(Workflow), "POST", "/workflows", 201, json=config)).data
    assert (await asked(data(Workflow), "GET", f"/workflows/{workflow.id}")).data == workflow
    assert (await asked(data(list[Workflow]), "GET", "/workflows")).data[0] == workflow
    run = f"/workflows/{workflow.id}/instances"
    began = (await asked(data(Instance), "POST", run, 201, json={"a": "b"})).data
    path = f"/instances/{began.id}"
    assert (await asked(data(Instance), "GET", path)).data.terminated_at is UNSET
    assert (await asked(data(list[Instance]), "GET", "/instances", params={"running": "true"})).data
    assert len((await asked(data(list[History]), "GET", f"{path}/history")).data) == 2
    assert (await asked(data(list[Any]), "GET", f"{path}/stages/0/history")).data == []
    assert await asked(None, "POST", f"{path}/events", 204, json={"name": "other"}) == b""
    assert await asked(None, "PUT", f"{path}/abort", 204) == b""
    ended = (await asked(data(Instance), "GET", path)).data
    assert (ended.terminated, ended.error, ended.status[1].error) == (True, "canceled", "canceled")
    assert (await asked(data(list[Instance]), "GET", "/instances")).data == [ended]
    assert (await asked(dict[str, str], "GET", "/_info"))["version"]
    for method, wrong, status in (
        ("GET", "/workflows/x", 404),
        ("DELETE", "/workflows/x", 400),
        ("POST", "/workflows", 400),
    ):
        await asked(Error, method, wrong, status)
