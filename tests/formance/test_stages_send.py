"""`send` and `update` against a stack: what is asked of its services, and what its books say then."""

from typing import Any

import pytest

from service.engine.egress import Egress
from service.engine.states import Status
from tests.engine.instances import NOON
from tests.formance.ledger import Stack
from tests.formance.sending import HUGE, NASTY, USD, Running, account, books, sent, wallet, way

# Fixtures that other modules share.
__all__ = ["books", "way"]

# --- Between accounts -----------------------------------------------------------------------------------------------


async def test_within_a_ledger_it_is_one_transaction(way: Egress, books: Stack) -> None:
    books.fund("alice", 150)
    running, reached = await sent(
        way,
        books,
        account("alice"),
        account("bob:main"),
        metadata={"why": "rent"},
        timestamp="2025-01-01T00:00:00Z",
    )
    assert (reached.status, reached.fault) == (Status.COMPLETED, None)
    ledger = books.ledgers["default"]
    assert (ledger.balance("alice"), ledger.balance("bob:main")) == (50, 100)
    written = ledger.transactions[-1]
    assert (written["metadata"], written["timestamp"]) == ({"why": "rent"}, "2025-01-01T00:00:00Z")
    assert [name for name, _, _ in running.calls()] == ["CreateTransaction"]
    assert books.tokens == 1


async def test_between_ledgers_it_goes_through_the_world_of_both(way: Egress, books: Stack) -> None:
    books.fund("alice", 150, ledger="left")
    destination = account("bob", ledger="${to}", throughAccount="bridge", allowOverdraft=True)
    _, reached = await sent(
        way,
        books,
        account("alice", ledger="left"),
        destination,
        metadata={"a": "b"},
        variables={"to": "right"},
    )
    assert reached.status is Status.COMPLETED
    left, right = books.ledgers["left"], books.ledgers["right"]
    assert (left.balance("alice"), left.balance("world")) == (50, -50)
    assert (right.balance("bob"), right.balance("bridge")) == (100, -100)
    assert left.transactions[-1]["metadata"] == {"a": "b", "orchestration/move-to-ledger": "right"}
    assert right.transactions[-1]["metadata"] == {"a": "b", "orchestration/move-from-ledger": "left"}


@pytest.mark.parametrize("given", [True, "${yes}"], ids=["known", "variable"])
async def test_an_account_may_be_overdrawn_where_the_stage_says_so(
    way: Egress, books: Stack, given: Any
) -> None:
    _, reached = await sent(
        way, books, account("alice", allowOverdraft=given), account("bob"), variables={"yes": "true"}
    )
    assert reached.status is Status.COMPLETED
    assert books.ledgers["default"].balance("alice") == -100


@pytest.mark.parametrize(
    "given", [HUGE, str(HUGE), "${n}", "00${n}"], ids=["number", "text", "variable", "zeros"]
)
@pytest.mark.parametrize("overdraft", [False, True], ids=["posting", "script"])
async def test_no_digit_of_an_amount_is_lost(
    way: Egress, books: Stack, given: Any, *, overdraft: bool
) -> None:
    books.fund("alice", HUGE)
    source = account("alice", allowOverdraft=overdraft)
    amount = {"amount": given, "asset": "${asset}"}
    _, reached = await sent(
        way, books, source, account("bob"), amount, variables={"n": str(HUGE), "asset": "USD/2"}
    )
    assert reached.status is Status.COMPLETED
    assert books.ledgers["default"].balance("bob") == HUGE


# --- Wallets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["id", "name", "variable"])
async def test_an_account_pays_into_a_wallet(way: Egress, books: Stack, by: str) -> None:
    books.wallet("w1", "savings", ledger="default")
    books.wallet("w2", "other")
    books.fund("alice", 100)
    fields = {
        "id": {"id": "w1"},
        "name": {"name": "savings"},
        "variable": {"id": "${id}", "name": "${name}"},
    }[by]
    running, reached = await sent(
        way, books, account("alice"), wallet(**fields, balance="gifts"), variables={"name": "savings"}
    )
    assert reached.status is Status.COMPLETED
    assert (books.held("w1", "gifts"), books.ledgers["default"].balance("alice")) == (100, 0)
    looked = "GetWallet" if by == "id" else "ListWallets"
    assert [name for name, _, _ in running.calls()] == [looked, "CreditWallet"]


async def test_a_wallet_pays_to_an_account(way: Egress, books: Stack) -> None:
    books.wallet("w1", "savings", ledger="default")
    books.fund("wallets:w1:main", 100)
    running, reached = await sent(way, books, wallet(name="savings"), account("bob"))
    assert reached.status is Status.COMPLETED
    assert (books.held("w1"), books.ledgers["default"].balance("bob")) == (0, 100)
    assert [name for name, _, _ in running.calls()] == ["ListWallets", "DebitWallet"]


async def test_a_wallet_pays_into_another_from_the_balance_that_is_named(way: Egress, books: Stack) -> None:
    books.wallet("w1", "one")
    books.wallet("w2", "two")
    books.fund("wallets:w1:gifts", 100, ledger="wallets-002")
    running, reached = await sent(way, books, wallet(id="w1", balance="gifts"), wallet(name="two"))
    assert reached.status is Status.COMPLETED
    assert (books.held("w1", "gifts"), books.held("w2")) == (0, 100)
    assert [name for name, _, _ in running.calls()] == ["GetWallet", "ListWallets", "CreditWallet"]


MOVES = {
    "account to wallet": (
        account("alice"),
        wallet(id="w2"),
        ["GetWallet", "CreateTransaction", "CreditWallet"],
    ),
    "wallet to account": (wallet(id="w1"), account("bob"), ["GetWallet", "DebitWallet", "CreateTransaction"]),
    "wallet to wallet": (
        wallet(id="w1"),
        wallet(id="w2"),
        ["GetWallet", "GetWallet", "DebitWallet", "CreditWallet"],
    ),
}


@pytest.mark.parametrize("move", MOVES)
async def test_wallets_of_other_ledgers_are_reached_in_two_steps(
    way: Egress, books: Stack, move: str
) -> None:
    source, destination, expected = MOVES[move]
    books.wallet("w1", "one", ledger="first")
    books.wallet("w2", "two", ledger="second")
    books.fund("wallets:w1:main", 100, ledger="first")
    books.fund("alice", 100)
    running, reached = await sent(way, books, source, destination)
    assert reached.status is Status.COMPLETED
    assert [name for name, _, _ in running.calls()] == expected
    arrived = books.held("w2") if "wallet" in destination else books.ledgers["default"].balance("bob")
    assert arrived == 100
    assert [books.held("w1"), books.ledgers["default"].balance("alice")].count(0) == 1


@pytest.mark.parametrize(
    ("names", "message"), [([], "wallet not found"), (["x", "x"], "found multiple wallets")]
)
async def test_a_name_has_to_be_of_one_wallet(
    way: Egress, books: Stack, names: list[str], message: str
) -> None:
    for number, name in enumerate(names):
        books.wallet(f"w{number}", name)
    running, reached = await sent(way, books, account("alice"), wallet(name="x"))
    assert reached.fault is not None
    assert message in str(reached.fault.detail)
    assert running.pauses == []


# --- Payments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [USD, None], ids=["part", "whole"])
@pytest.mark.parametrize("before", [False, True], ids=["new", "there"])
async def test_a_payment_is_held_and_then_sent(
    way: Egress, books: Stack, amount: Any, *, before: bool
) -> None:
    books.payment("p-1", HUGE)
    if before:
        await sent(
            way, books, {"payment": {"id": "p-1"}}, account("carol", ledger="main"), {**USD, "amount": 1}
        )
        books.keys.clear()  # the other one has the same id here
    running, reached = await sent(
        way,
        books,
        {"payment": {"id": "${p}"}},
        account("bob", ledger="main"),
        amount and USD,
        variables={"p": "p-1"},
    )
    if before and amount is None:
        assert reached.fault is not None  # one of it is gone already
        assert reached.fault.title == "INSUFFICIENT_FUND"
        return
    assert (reached.status, reached.fault) == (Status.COMPLETED, None)
    internal, main = books.ledgers["orchestration-000-internal"], books.ledgers["main"]
    assert main.balance("bob") == (100 if amount else HUGE)
    assert internal.balance("payment:p_1") == HUGE - main.balance("bob") - before
    names = [(name, status) for name, _, status in running.calls()]
    ingested = "faulted" if before else "completed"
    assert names == [
        ("GetPayment", "completed"),
        ("CreateTransaction", ingested),
        *[("CreateTransaction", "completed")] * 2,
    ]
    assert [one["postings"][0]["source"] for one in internal.transactions[:1]] == ["world"]
    assert internal.transactions[0]["reference"] == "payment:p_1"


async def test_a_payment_goes_into_a_wallet(way: Egress, books: Stack) -> None:
    books.payment("p-1", 300)
    books.wallet("w1", "one")
    _, reached = await sent(way, books, {"payment": {"id": "p-1"}}, wallet(id="w1"), None)
    assert reached.status is Status.COMPLETED
    assert books.held("w1") == 300


PAYOUT = {"payment": {"psp": "stripe", "type": "PAYOUT", "connectorId": "c1", "waitingValidation": "${wait}"}}


@pytest.mark.parametrize("kind", ["account", "wallet"])
async def test_money_is_paid_out_once_it_was_taken(way: Egress, books: Stack, kind: str) -> None:
    books.ledgers["default"].metadata["alice"] = {"formanceAccountID": "acct_1"}
    books.wallet("w1", "one", ledger="default", formanceAccountID="acct_1")
    books.fund("alice" if kind == "account" else "wallets:w1:main", HUGE)
    source = account("alice") if kind == "account" else wallet(id="w1")
    amount = {"amount": str(HUGE), "asset": "USD/2"}
    running, reached = await sent(
        way, books, source, PAYOUT, amount, metadata={"a": "b"}, variables={"wait": "true"}
    )
    assert (reached.status, reached.fault) == (Status.COMPLETED, None)
    (made,) = books.initiations
    assert (made["destinationAccountID"], made["connectorID"], made["provider"]) == ("acct_1", "c1", "STRIPE")
    assert (made["amount"], made["asset"], made["type"], made["validated"]) == (
        HUGE,
        "USD/2",
        "PAYOUT",
        False,
    )
    assert (made["metadata"], made["reference"]) == ({"a": "b"}, "instance-1-0-3")
    assert (made["scheduledAt"], made["description"], made["sourceAccountID"]) == (f"{NOON:%FT%TZ}", "", "")
    taken = ["GetAccount", "CreateTransaction"] if kind == "account" else ["GetWallet", "DebitWallet"]
    assert [name for name, _, _ in running.calls()] == [*taken, "CreateTransferInitiation"]


async def test_nothing_is_taken_where_nobody_is_named_to_be_paid(way: Egress, books: Stack) -> None:
    books.fund("alice", 100)
    _, reached = await sent(way, books, account("alice"), {"payment": {"psp": "stripe", "metadata": "to"}})
    assert reached.fault is not None
    assert reached.fault.detail == 'The source has no "to" in its metadata, the account to pay to.'
    assert books.ledgers["default"].balance("alice") == 100


# --- update ---------------------------------------------------------------------------------------------------------


async def test_update_sets_metadata_of_an_account(way: Egress, books: Stack) -> None:
    stage = {"update": {"account": {"id": "users:${id}", "metadata": {"note": "${note}", "kind": "vip"}}}}
    running = Running(way, {"formance": books.secret}, stage)
    reached = await running.run(id="007", note=NASTY)
    assert reached.status is Status.COMPLETED
    assert books.ledgers["main"].metadata["users:007"] == {"note": NASTY, "kind": "vip"}
    given = {
        "id": "users:007",
        "account": "users:007",
        "ledger": "main",
        "metadata": {"note": NASTY, "kind": "vip"},
    }
    assert running.calls() == [("AddAccountMetadata", given, "completed")]
