"""Formance's Python SDK calls each of its 35 operations: well, without proof, without the scope, for nothing and for too much."""

import inspect
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from formance_sdk_python import SDK
from formance_sdk_python.utils import BackoffStrategy, RetryConfig

from tests.compat.formance import ERRORS, Bank, Flows, driven, use_token
from tests.compat.live import Live
from tests.compat.operations import NAMES, OPERATIONS, STATUSES, UNKNOWN, WAITING, WRITING, Things, request_of
from tests.waiting import blocked_until

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

IDS = ["-".join(one) for one in OPERATIONS]
# Operations on one thing, which may not be there.
OF_ONE = [one for one in OPERATIONS if request_of(*one, UNKNOWN) != request_of(*one, Things("", "", ""))]
LISTS = ("list_workflows", "list_instances", "list_triggers", "list_triggers_occurrences")


@pytest.fixture(scope="module")
def things(banks: tuple[Bank, Bank]) -> Things:
    """Something of each kind that stays as it is."""
    with driven(banks[0].app, "v2") as flows:
        return flows.things()


@pytest.fixture
def flows(banks: tuple[Bank, Bank], version: str) -> Iterator[Flows]:
    """Our account by the version of the operation."""
    with driven(banks[0].app, version) as found:
        yield found


def test_the_sdk_has_these_35_operations_and_no_other() -> None:
    api = SDK(server_url="http://localhost").orchestration
    found = [
        (version, name)
        for version in ("v1", "v2")
        for name, _ in inspect.getmembers(type(getattr(api, version)), inspect.isfunction)
        if not name.startswith("_") and not name.endswith("_async") and name != "do_request"
    ]
    assert len(found) == 35
    assert sorted(found) == sorted(
        (version, NAMES.get((version, name), name)) for version, name in OPERATIONS
    )


@pytest.mark.parametrize(("version", "operation"), OPERATIONS, ids=IDS)
def test_operation_succeeds(flows: Flows, version: str, operation: str) -> None:
    told = flows.call(operation, request_of(version, operation, flows.things()))
    assert flows.answers[-1].status_code == STATUSES[operation]
    assert told == 204 if STATUSES[operation] == 204 else told is not None


@pytest.mark.parametrize(("version", "operation"), OPERATIONS, ids=IDS)
def test_operation_with_an_unknown_token_is_the_typed_error(
    flows: Flows, things: Things, version: str, operation: str
) -> None:
    request = request_of(version, operation, things)
    flows.call("get_server_info")
    if (version, operation) in WRITING:
        flows.made(WAITING)
    use_token("unknown")
    assert flows.refused(operation, request) == (401, "VALIDATION")


@pytest.mark.parametrize(("version", "operation"), WRITING, ids=["-".join(one) for one in WRITING])
def test_operation_with_a_token_for_reading_is_the_typed_error(
    flows: Flows, things: Things, version: str, operation: str
) -> None:
    flows.made(WAITING)
    flows.call("get_server_info")
    use_token(flows.answers[-1].request.headers["authorization"].removeprefix("Bearer "))
    assert flows.refused(operation, request_of(version, operation, things)) == (403, "VALIDATION")


@pytest.mark.parametrize(("version", "operation"), OF_ONE, ids=["-".join(one) for one in OF_ONE])
def test_operation_on_what_is_unknown_or_anothers_is_not_found(
    banks: tuple[Bank, Bank], flows: Flows, version: str, operation: str
) -> None:
    with driven(banks[1].app, version) as other:
        theirs = other.things()
    for missing in (UNKNOWN, theirs):
        assert flows.refused(operation, request_of(version, operation, missing)) == (404, "NOT_FOUND")


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("number", [1, 7, 10**8])
def test_history_of_a_stage_that_was_not_begun_is_not_found(
    flows: Flows, things: Things, number: int
) -> None:
    request = {"instance_id": things.instance_id, "number": number}
    assert flows.refused("get_instance_stage_history", request) == (404, "NOT_FOUND")


@pytest.mark.parametrize("version", ["v2"])
@pytest.mark.parametrize("operation", LISTS)
@pytest.mark.parametrize("wrong", [{"cursor": "bogus"}, {"page_size": -1}], ids=["cursor", "size"])
def test_page_that_is_none_is_refused(
    flows: Flows, things: Things, operation: str, wrong: dict[str, Any]
) -> None:
    request = (request_of("v2", operation, things) or {}) | wrong
    assert flows.refused(operation, request) == (400, "VALIDATION")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_body_that_is_too_large_is_the_typed_error(flows: Flows) -> None:
    request = {"name": "a" * 1_100_000, "stages": [WAITING]}
    assert flows.refused("create_workflow", request) == (413, "VALIDATION")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_too_many_requests_are_the_typed_error_and_waited_out_where_the_sdk_retries(
    live: Live, banks: tuple[Bank, Bank], flows: Flows
) -> None:
    limited = banks[0].id
    flows.call("get_server_info")
    live.tutti("account", "limits", limited, "--requests-per-second", "1")
    try:
        blocked_until(lambda: answered(flows) == (429, "INTERNAL"), 20)
        assert int(flows.answers[-1].headers.get("retry-after", "1")) >= 1
        patient = RetryConfig(
            "backoff", BackoffStrategy(100, 1000, 1.5, 20_000), retry_connection_errors=False
        )
        for _ in range(3):
            assert flows.call("get_server_info", retries=patient, timeout_ms=30_000).version
    finally:
        live.tutti("account", "limits", limited, "--none", "requests-per-second")
        blocked_until(lambda: not any(answered(flows)[0] == 429 for _ in range(4)), 20)


def answered(flows: Flows) -> tuple[int, str]:
    """Ask for the lightest thing; return the status, with the code of the typed error if it is one."""
    try:
        flows.call("get_server_info")
    except ERRORS[flows.version] as error:
        told: Any = error
        return told.status_code, told.data.error_code.value
    return flows.answers[-1].status_code, ""


@pytest.mark.parametrize("version", ["v2"])
def test_pages_lead_to_the_end_and_back(flows: Flows, live: Live, banks: tuple[Bank, Bank]) -> None:
    made = [flows.things() for _ in range(5)]
    kind, workflow_id = uuid4().hex, made[0].workflow_id
    for _ in range(4):
        flows.run(workflow_id)
    trigger_id = flows.call(
        "create_trigger", {"event": kind, "workflow_id": flows.made({"noop": {}})}
    ).data.id
    headers = {"Authorization": flows.answers[-1].request.headers["authorization"]}
    for _ in range(5):
        url = f"{live.url}/v1/accounts/{banks[0].id}/bus-events"
        httpx.post(url, json={"type": kind}, headers=headers).raise_for_status()
    deadline = time.monotonic() + 20
    while len(flows.listed("list_triggers_occurrences", trigger_id=trigger_id)) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    lists: dict[str, dict[str, str]] = {
        "list_workflows": {},
        "list_instances": {"workflow_id": workflow_id},
        "list_triggers": {},
        "list_triggers_occurrences": {"trigger_id": trigger_id},
    }
    for operation, narrowed in lists.items():
        forth = list(flows.pages(operation, **narrowed))
        assert len(forth) >= 3
        assert forth[0].previous is None
        told = [one.model_dump_json() for page in forth for one in page.data]
        assert len({*told}) == len(told) > 2 * (len(forth) - 1)
        back = list(flows.pages(operation, "previous", **narrowed, cursor=forth[-1].previous))
        assert [page.data for page in reversed(back)] == [page.data for page in forth[:-1]]
