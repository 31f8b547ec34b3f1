"""What `send` and `update` stages did, in shapes that both of Formance's SDKs read, by both versions of the API."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from tests.compat.apps import Script
from tests.compat.formance import Bank, Flows, driven
from tests.compat.live import Live
from tests.compat.typescript import Strict
from tests.formance.ledger import CLIENT, Stack, stack

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

USD = {"amount": 100, "asset": "USD/2"}
ALICE, BOB = {"account": {"id": "alice"}}, {"account": {"id": "bob"}}
PAYMENT = {
    "id": "p-1",
    "reference": "ref",
    "connectorID": "stripe",
    "sourceAccountID": "here",
    "destinationAccountID": "there",
    "type": "PAY-IN",
    "status": "SUCCEEDED",
    "initialAmount": 100,
    "scheme": "visa",
    "asset": "USD/2",
    "createdAt": "2025-01-01T00:00:00Z",
    "raw": None,
    "adjustments": [],
    "metadata": None,
}
# What each stage does, with whether there is an output of it.
STAGES: list[tuple[dict[str, Any], dict[str, bool]]] = [
    (
        {"send": {"source": ALICE, "destination": {"account": {"id": "bob", "ledger": "eu"}}, "amount": USD}},
        {"CreateTransaction": True},
    ),
    (
        {"send": {"source": ALICE, "destination": {"wallet": {"name": "hers"}}, "amount": USD}},
        {"ListWallets": True, "CreateTransaction": True, "CreditWallet": False},
    ),
    (
        {"send": {"source": {"wallet": {"id": "w-1"}}, "destination": BOB, "amount": USD}},
        {"GetWallet": True, "DebitWallet": False, "CreateTransaction": True},
    ),
    (
        {"send": {"source": ALICE, "destination": {"payment": {"psp": "stripe"}}, "amount": USD}},
        {"GetAccount": True, "CreateTransaction": True, "CreateTransferInitiation": False},
    ),
    (
        {"send": {"source": {"payment": {"id": "p-1"}}, "destination": BOB}},
        {"GetPayment": True, "CreateTransaction": True},
    ),
    (
        {"update": {"account": {"id": "bob", "metadata": {"kind": "saver"}}}},
        {"AddAccountMetadata": False},
    ),
]


@pytest.fixture(scope="module")
def books(live: Live, banks: tuple[Bank, Bank]) -> Iterator[Stack]:
    """A stack that our account is connected to by the command line."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(stack()) as made:
        connect = ("formance", "configure", "--account", banks[0].id)
        client = ("--url", made.url, "--client-id", CLIENT["client_id"])
        live.tutti(*connect, *client, typed=CLIENT["client_secret"])
        yield made


@pytest.fixture
def python(banks: tuple[Bank, Bank]) -> Iterator[dict[str, Flows]]:
    """The Python SDK, by both versions."""
    with driven(banks[0].app, "v1") as first, driven(banks[0].app, "v2") as second:
        yield {"v1": first, "v2": second}


@pytest.fixture
def typescript(formance_script: Script, banks: tuple[Bank, Bank]) -> dict[str, Strict]:
    """The TypeScript SDK, by both versions."""
    return {version: Strict(formance_script, banks[0].app, version) for version in ("v1", "v2")}


def read_by_python(flows: Flows, operation: str, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Read a history by the names that are sent."""
    told: list[dict[str, Any]] = flows.call(operation, request).model_dump(by_alias=True, exclude_unset=True)[
        "data"
    ]
    return told


def inside(content: dict[str, Any], activity: str) -> Any:
    """What an activity's only key holds, which the TypeScript SDK begins with a small letter."""
    return content.get(activity) or content.get(activity[0].lower() + activity[1:])


def test_each_activity_is_read_by_both_sdks(
    books: Stack, python: dict[str, Flows], typescript: dict[str, Strict]
) -> None:
    books.fund("alice", 300)
    books.ledgers["default"].metadata["alice"]["formanceAccountID"] = "acct_1"
    books.wallet("w-1", "hers")
    books.payments["p-1"] = PAYMENT
    ended = python["v1"].run(python["v1"].made(*[stage for stage, _ in STAGES]), wait=True)
    assert (ended.terminated, ended.error) == (True, None)
    history = [sent for sent, _ in STAGES]
    for version in ("v1", "v2"):
        whole = {"instance_id": ended.id}
        for told in (
            read_by_python(python[version], "get_instance_history", whole),
            typescript[version].call("get_instance_history", whole)["data"],
        ):
            assert [one["name"] for one in told] == ["Run" + next(iter(one)).title() for one in history]
        for number, (_, activities) in enumerate(STAGES):
            request = {"instance_id": ended.id, "number": number}
            for told in (
                read_by_python(python[version], "get_instance_stage_history", request),
                typescript[version].call("get_instance_stage_history", request)["data"],
            ):
                assert {one["name"] for one in told} == {*activities}
                for one in told:
                    assert inside(one["input"], one["name"]), one
                    assert bool(inside(one.get("output", {}), one["name"])) == activities[one["name"]], one
                    assert isinstance(one["terminatedAt"], datetime)
                    assert (one["attempt"], one["terminated"]) == (1, True)


def test_attempt_that_is_waited_for_and_aborted_is_read_by_both_sdks(
    books: Stack, python: dict[str, Flows], typescript: dict[str, Strict]
) -> None:
    first = python["v1"]
    poor = {"send": {"source": {"account": {"id": "nobody"}}, "destination": BOB, "amount": USD}}
    instance_id = first.run(first.made({"noop": {}}, poor)).id
    request = {"instance_id": instance_id, "number": 1}
    deadline = time.monotonic() + 20
    while not waits_for_an_attempt(first, request):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for version in ("v1", "v2"):
        (one,) = python[version].call("get_instance_stage_history", request).data
        assert one.last_failure == "account nobody has insufficient funds"
        (one,) = typescript[version].call("get_instance_stage_history", request)["data"]
        assert one["lastFailure"] == "account nobody has insufficient funds"
        assert one["attempt"] > 1
        assert not one["terminated"]
    assert books.ledgers["default"].balance("nobody") == 0
    first.call("cancel_event", {"instance_id": instance_id})
    for version in ("v1", "v2"):
        (one,) = python[version].call("get_instance_stage_history", request).data
        assert (one.terminated, one.error) == (True, "cancelled")
        (one,) = typescript[version].call("get_instance_stage_history", request)["data"]
        assert (one["terminated"], one["error"]) == (True, "cancelled")


def waits_for_an_attempt(flows: Flows, of: dict[str, Any]) -> bool:
    """Whether a stage has been begun, and has an activity that is to be tried again."""
    status = flows.call("get_instance", {"instance_id": of["instance_id"]}).data.status or []
    if len(status) <= of["number"]:
        return False
    return any(one.next_execution for one in flows.call("get_instance_stage_history", of).data)
