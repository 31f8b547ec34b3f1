"""`send` and `update` against a stack: what is asked of its services, what its books say then, and how it fails."""

import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from service.engine.effects.call_http import perform
from service.engine.egress import Egress
from service.engine.flow import Raised
from service.engine.messages import Advance, Call, Sleep, Stimulus
from service.engine.states import Status
from service.formance.stages import compiled
from tests.engine.instances import NOON, Instance
from tests.engine.outside import ACCOUNT, TRACE, Sandbox, egress
from tests.formance.ledger import Stack, stack

USD = {"amount": 100, "asset": "USD/2"}
HUGE = 2**100 + 1
NASTY = 'a\'b"c\\d\\(1+1)$ENV{} | error("no") # \u0001é'


@pytest.fixture
async def books() -> AsyncIterator[Stack]:
    async with stack() as made:
        yield made


@pytest.fixture
async def way() -> AsyncIterator[Egress]:
    async with egress() as made:
        yield made


MOVE = {"send": {"source": {"account": {"id": "a"}}, "destination": {"account": {"id": "b"}}, "amount": USD}}


class Running(Instance):
    """An instance whose calls are made, and whose pauses are over at once."""

    def __init__(self, way: Egress, secrets: dict[str, Any], *stages: dict[str, Any]) -> None:
        super().__init__(compiled({"stages": list(stages)}))
        self.way = way
        self.secrets = secrets
        self.pauses: list[timedelta] = []

    def take(self, stimulus: Stimulus) -> Advance:
        """Go on; what a task began with stays in its row, as it does in a database."""
        began = dict(self.history)
        reached = super().take(stimulus)
        for row in reached.history:
            if not row.began:
                row.input = began[row.number].input
        return reached

    async def run(self, most_pauses: int = 100, **variables: str) -> Advance:
        """Run to the end, or until it has paused so often."""
        reached = self.start(variables)
        while not reached.status.terminal:
            waits = [effect for effect in reached.effects if isinstance(effect, Call | Sleep)]
            assert waits
            for wait in waits:
                if isinstance(wait, Call):
                    reached = await self.made(wait)
                else:
                    self.pauses.append(wait.until - self.now)
                    if len(self.pauses) > most_pauses:
                        return reached
                    reached = self.wake(wait.wait, after=self.pauses[-1])
        return reached

    async def made(self, call: Call) -> Advance:
        waiting = self.pending(call.wait)
        assert waiting is not None
        try:
            value = await perform(self.way, Sandbox(), ACCOUNT, waiting, self.secrets, TRACE)
        except Raised as raised:
            return self.reply(wait=call.wait, failure=raised.fault)
        return self.reply(value, wait=call.wait)

    def calls(self) -> list[tuple[str, Any, str]]:
        """Each call that was made: its activity, its input, and how it ended."""
        return [
            (row.name, row.input["input"], row.status)
            for _, row in sorted(self.history.items())
            if row.kind == "call" and "/try/" in row.pointer and row.pointer.startswith("/use")
        ]


async def sent(
    way: Egress, books: Stack, source: Any, destination: Any, amount: Any = USD, **more: Any
) -> tuple[Running, Advance]:
    """Send by one stage, with variables from `variables`."""
    variables = more.pop("variables", {})
    send = {"source": source, "destination": destination, **more}
    if amount is not None:
        send["amount"] = amount
    running = Running(way, {"formance": books.secret}, {"send": send})
    return running, await running.run(**variables)


def account(identity: str, **more: Any) -> dict[str, Any]:
    return {"account": {"id": identity, **more}}


def wallet(**fields: Any) -> dict[str, Any]:
    return {"wallet": fields}


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


# --- What goes wrong ------------------------------------------------------------------------------------------------


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
