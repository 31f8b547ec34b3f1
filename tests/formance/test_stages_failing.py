"""What goes wrong when money is sent: refusals, outages, lost answers, hostile values, and stages that never could be run."""

import itertools
from datetime import timedelta
from typing import Any

import pytest

from service.engine.egress import Egress
from service.engine.messages import Call, Sleep
from service.engine.states import Status
from service.formance.stages import StagesRefused, compiled
from tests.formance.ledger import Stack
from tests.formance.sending import MOVE, NASTY, USD, Running, account, books, sent, wallet, way

# Fixtures that other modules share.
__all__ = ["books", "way"]

# --- What goes wrong outside ----------------------------------------------------------------------------------------


async def test_without_funds_it_is_tried_again_and_again_but_not_for_ever(way: Egress, books: Stack) -> None:
    running, reached = await sent(way, books, account("alice"), account("bob"))
    assert reached.fault is not None
    assert (reached.fault.title, reached.fault.detail) == (
        "INSUFFICIENT_FUND",
        "account alice has insufficient funds",
    )
    assert running.pauses == [timedelta(seconds=2**retry) for retry in range(9)]
    runs = [row for row in running.history.values() if (row.name, row.kind) == ("CreateTransaction", "call")]
    assert sorted(row.attempt for row in runs) == list(range(1, 11))
    assert all(row.error is not None for row in runs)


async def test_funds_that_come_in_time_are_sent(way: Egress, books: Stack) -> None:
    running = Running(
        way,
        {"formance": books.secret},
        MOVE,
    )
    reached = await running.run(most_pauses=2)
    assert (reached.status, running.pauses[-1]) == (Status.WAITING, timedelta(seconds=4))
    books.fund("a", 100)
    (sleep,) = (effect for effect in reached.effects if isinstance(effect, Sleep))
    reached = running.wake(sleep.wait, after=timedelta(seconds=4))
    (call,) = (effect for effect in reached.effects if isinstance(effect, Call))
    assert (await running.made(call)).status is Status.COMPLETED


async def test_what_is_refused_for_good_is_not_tried_again(way: Egress, books: Stack) -> None:
    running, reached = await sent(
        way, books, account("alice"), account("bob"), {"amount": 1, "asset": "no asset"}
    )
    assert reached.fault is not None
    assert (reached.fault.title, reached.fault.detail) == ("VALIDATION", "invalid posting")
    assert (running.pauses, len(books.requests)) == ([], 1)


async def test_a_service_that_is_out_of_order_is_asked_again(way: Egress, books: Stack) -> None:
    books.fund("alice", 100)
    books.failing = [500, 503, 429]
    running, reached = await sent(way, books, account("alice"), account("bob"))
    assert reached.status is Status.COMPLETED
    assert len(running.pauses) == 3
    assert books.ledgers["default"].balance("bob") == 100


async def test_an_answer_that_got_lost_moves_nothing_twice(way: Egress, books: Stack) -> None:
    books.fund("alice", 1000)
    books.ledgers["default"].metadata["alice"] = {"formanceAccountID": "acct_1"}
    for destination in (account("bob"), {"payment": {"psp": "stripe"}}):
        books.losing = 4
        _, reached = await sent(way, books, account("alice"), destination)
        assert reached.status is Status.COMPLETED, reached.fault
        books.losing = 0
        books.keys.clear()
    assert books.ledgers["default"].balance("alice") == 800
    assert len(books.initiations) == 1


async def test_an_account_without_a_stack_is_told_at_once(way: Egress) -> None:
    running = Running(way, {}, MOVE)
    reached = await running.run()
    assert reached.fault is not None
    assert "tutti formance configure" in str(reached.fault.detail)
    assert running.pauses == []


async def test_a_stack_that_refuses_the_client_is_named(way: Egress, books: Stack) -> None:
    secret = {**books.secret, "client_secret": "wrong-secret"}
    running = Running(
        way,
        {"formance": secret},
        MOVE,
    )
    reached = await running.run()
    assert reached.fault is not None
    assert "The token endpoint answered 401" in str(reached.fault.detail)
    assert "wrong-secret" not in str(running.history)


async def test_no_history_holds_a_credential(way: Egress, books: Stack) -> None:
    books.fund("alice", 100)
    running, _ = await sent(way, books, account("alice"), account("bob"))
    assert running.history
    assert [
        one for one in ("the-clients-own-secret", "a-token-of-the-stack") if one in str(running.history)
    ] == []


async def test_each_call_of_an_instance_has_a_key_of_its_own(way: Egress, books: Stack) -> None:
    books.fund("alice", 1000)
    move = {
        "send": {"source": account("alice"), "destination": account("bob", ledger="other"), "amount": USD}
    }
    running = Running(way, {"formance": books.secret}, move, {"noop": {}}, move)
    assert (await running.run()).status is Status.COMPLETED
    assert list(books.keys) == [
        f"instance-1-{stage}-{call}" for stage, call in itertools.product((0, 2), (2, 3))
    ]
    assert books.ledgers["other"].balance("bob") == 200


# --- What variables hold --------------------------------------------------------------------------------------------

HOSTILE = [NASTY, "..", ".", "", "a/b?c=d#e", "world\nx", "${x}", '"},"postings":[]', "$amount"]


@pytest.mark.parametrize("value", HOSTILE, ids=map(ascii, HOSTILE))
async def test_no_value_leads_elsewhere_or_becomes_anything_but_a_text(
    way: Egress, books: Stack, value: str
) -> None:
    books.fund("alice", 100)
    running, reached = await sent(
        way,
        books,
        account("alice", ledger="default"),
        account("${x}", throughAccount="${x}"),
        metadata={"amount": "${x}", "postings": "${x}"},
        variables={"x": value},
    )
    assert reached.fault is not None
    if value in ("..", ".", ""):
        assert "/destination/account/id" in str(reached.fault.detail)
        assert books.requests == []
        return
    assert reached.fault.title == "VALIDATION"
    ((_, path, body),) = books.requests
    assert path == "/api/ledger/v2/default/transactions"
    posting = {"source": "alice", "destination": value, **USD}
    assert body == {"metadata": {"amount": value, "postings": value}, "postings": [posting]}
    assert running.pauses == []


IN_PATHS = [value for value in HOSTILE if "\n" not in value]  # the server of these tests has no path for it


@pytest.mark.parametrize("value", IN_PATHS, ids=map(ascii, IN_PATHS))
async def test_a_path_keeps_what_is_in_it(way: Egress, books: Stack, value: str) -> None:
    stage = {"update": {"account": {"id": "${x}", "ledger": "${x}", "metadata": {"a": "b"}}}}
    running = Running(way, {"formance": books.secret}, stage)
    reached = await running.run(x=value)
    if value in ("..", ".", ""):
        assert reached.fault is not None
        assert books.requests == []
    else:
        assert reached.status is Status.COMPLETED
        assert books.ledgers[value].metadata == {value: {"a": "b"}}


@pytest.mark.parametrize(
    "value", ["", "-1", "1.5", "1e3", " 1", "1\n", "9" * 101, "\u0661", '1,"x":1', "0x1"], ids=ascii
)
async def test_an_amount_is_digits(way: Egress, books: Stack, value: str) -> None:
    amount = {"amount": "${n}", "asset": "USD/2"}
    _, reached = await sent(way, books, account("alice"), account("bob"), amount, variables={"n": value})
    assert reached.fault is not None
    assert "/amount/amount" in str(reached.fault.detail)
    assert books.requests == []


# --- What is refused at once ----------------------------------------------------------------------------------------

ALICE, BOB = account("alice"), account("bob")
PAYMENT: dict[str, Any] = {"payment": {"id": "p"}}
PAYOUT: dict[str, Any] = {"payment": {"psp": "stripe"}}


def money(source: Any = ALICE, destination: Any = BOB, amount: Any = USD, **more: Any) -> dict[str, Any]:
    return {"send": {"source": source, "destination": destination, "amount": amount, **more}}


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({"send": {}}, ["source", "destination", "amount"]),
    "null": ({"send": None}, ["source", "destination", "amount"]),
    "no object": ({"send": "all"}, ["", "source", "destination", "amount"]),
    "no amount": (money(amount=None), ["amount"]),
    "no amount to pay": (money(destination=PAYOUT, amount=None), ["amount"]),
    "an empty amount": (money(PAYMENT, amount={}), ["amount.amount", "amount.asset"]),
    "a negative amount": (money(amount={**USD, "amount": -1}), ["amount.amount"]),
    "a part of a cent": (money(amount={**USD, "amount": 1.5}), ["amount.amount"]),
    "an amount that is true": (money(amount={**USD, "amount": True}), ["amount.amount"]),
    "an amount in words": (money(amount={**USD, "amount": "ten"}), ["amount.amount"]),
    "an endless amount": (money(amount={**USD, "amount": 1e300}), ["amount.amount"]),
    "an asset that is no text": (money(amount={**USD, "asset": 1}), ["amount.asset"]),
    "no source": (money({}), ["source"]),
    "two sources": (money({**ALICE, **PAYMENT}), ["source"]),
    "an unknown source": (money({"bank": {}}), ["source"]),
    "no account": (money({"account": {}}), ["source.account.id"]),
    "an account of dots": (money(account("..")), ["source.account.id"]),
    "a ledger of dots": (money(destination=account("a", ledger=".")), ["destination.account.ledger"]),
    "an account that is a text": (money({"account": "alice"}), ["source.account", "source.account.id"]),
    "a flag that is none": (money(account("a", allowOverdraft="maybe")), ["source.account.allowOverdraft"]),
    "a number as flag": (money(account("a", allowOverdraft=1)), ["source.account.allowOverdraft"]),
    "a wallet without name": (money({"wallet": {}}), ["source.wallet"]),
    "a wallet by both": (money(wallet(id="w", name="n")), ["source.wallet"]),
    "no payment": (money({"payment": {}}), ["source.payment.id"]),
    "a payment for a payment": (money(PAYMENT, PAYOUT), [""]),
    "no provider": (money(destination={"payment": {}}), ["destination.payment.psp"]),
    "an unknown type": (
        money(destination={"payment": {"psp": "x", "type": "GIFT"}}),
        ["destination.payment.type"],
    ),
    "metadata that is no object": (money(metadata=["a"]), ["metadata"]),
    "metadata of numbers": (money(metadata={"a": 1}), ["metadata.a"]),
    "too much metadata": (money(metadata={str(key): "" for key in range(101)}), ["metadata"]),
    "no instant": (money(timestamp="yesterday"), ["timestamp"]),
    "nothing to update": ({"update": {}}, [""]),
    "an account without metadata": ({"update": {"account": {"id": "a"}}}, ["account.metadata"]),
    "metadata without account": ({"update": {"account": {"metadata": {}}}}, ["account.id"]),
}


def test_more_than_a_definition_holds_is_refused() -> None:
    assert compiled({"stages": [money()] * 60})
    with pytest.raises(StagesRefused, match="256 KiB"):
        compiled({"stages": [money(metadata={"a": "b" * 4000})] * 60})


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_never_be_sent_is_refused(case: str) -> None:
    stage, fields = REFUSED[case]
    (kind,) = stage
    with pytest.raises(StagesRefused) as refused:
        compiled({"stages": [{"noop": {}}, stage]})
    found = [(one.stage, one.field.removeprefix(kind).removeprefix(".")) for one in refused.value.problems]
    assert set(found) == {(1, field) for field in fields}
