"""The stage `send`: money from an account, wallet or payment to an account, wallet or payment."""

from typing import Any

from service.formance.stages import places
from service.formance.stages.places import Account, Wallet
from service.formance.stages.steps import Steps
from service.formance.stages.values import Fields, failure
from service.formance.stages.waiting import resolve
from service.language.writing import literal

KINDS = ("wallet", "account", "payment")
READERS = {"account": places.read_account, "wallet": places.read_wallet}
SOURCES = {**READERS, "payment": places.read_payment}
DESTINATIONS = {**READERS, "payment": places.read_payout}

METADATA = "($context.stage.metadata // {})"
TIME = "(if $context.stage.timestamp then {timestamp: $context.stage.timestamp} else {} end)"
FULL = "($context.payment | {amount: (.initialAmount | tostring), asset})"
AMOUNT = f"($context.stage.amount // {FULL})"
UNBOUNDED = """vars {
  account $source
  account $destination
  monetary $amount
}

send $amount (
  source = $source allowing unbounded overdraft
  destination = $destination
)
"""


def send(fields: Fields) -> list[dict[str, Any]]:
    """Move an amount; each step is one activity."""
    source, destination = (
        _place(fields, name, readers)
        for name, readers in (("source", SOURCES), ("destination", DESTINATIONS))
    )
    stage = {
        "source": source,
        "destination": destination,
        "amount": _amount(fields, needed="payment" not in source),
        "metadata": fields.texts("metadata"),
        "timestamp": fields.instant("timestamp"),
    }
    if source.keys() == destination.keys() == {"payment"}:
        fields.refuse("", "A payment cannot be sent to a payment.")
    if fields.problems:
        return []
    steps = Steps(fields.stage, resolve(stage, _check(source, destination)))
    start = _start(steps, source)
    if "payment" in destination:
        _pay(steps, start)
    elif "wallet" in destination:
        _to_wallet(steps, start, places.found_wallet(steps, "destination", destination["wallet"]))
    else:
        _to_account(steps, start, places.account_of("destination"))
    return steps.tasks


# --- Its fields -----------------------------------------------------------------------------------------------------


def _place(fields: Fields, name: str, readers: Any) -> dict[str, Any]:
    """The one place that a source or destination names, by its kind."""
    if fields.given.get(name) is None:
        fields.refuse(name, "is missing.")
        return {}
    place = fields.inner(name)
    kind = place.one_of(*KINDS)
    return {} if kind is None else {kind: readers[kind](place.inner(kind))}


def _amount(fields: Fields, *, needed: bool) -> dict[str, Any] | None:
    """How much, without which a payment goes whole."""
    if fields.given.get("amount") is None:
        if needed:
            fields.refuse("amount", "must be specified.")
        return None
    amount = fields.inner("amount")
    return {"amount": amount.whole("amount"), "asset": amount.text("asset", required=True)}


def _check(source: dict[str, Any], destination: dict[str, Any]) -> str:
    """The jq that looks at what variables made of wallets' ids and names."""
    checked = [
        f'if (.{name}.wallet | has("id") == has("name")) then {failure(places.ONE_WALLET)} else . end'
        for name, place in (("source", source), ("destination", destination))
        if "wallet" in place
    ]
    return " | ".join(checked)


# --- What it does ---------------------------------------------------------------------------------------------------


def _start(steps: Steps, source: dict[str, Any]) -> Account | Wallet:
    """What the money is taken from: of a payment the account that holds it, once it is there."""
    if "wallet" in source:
        return places.found_wallet(steps, "source", source["wallet"])
    if "account" in source:
        return places.account_of("source")
    held = places.account_of("source", "payment", "holdingAccount")
    identity = "{id: $context.stage.source.payment.id}"
    steps.call("find-payment", "GetPayment", identity, keep=".data | {payment: {initialAmount, asset}}")
    ingestion = held._replace(id=held.through)
    given = _transaction(ingestion, held.id, amount=FULL, reference=held.id)
    steps.call("ingest-payment", "CreateTransaction", given, unless_there=True)
    return held


def _to_account(steps: Steps, start: Account | Wallet, end: Account) -> None:
    same, other = _ledgers(start, end)
    if isinstance(start, Account):
        steps.call("move", "CreateTransaction", _transaction(start, end.id), only_if=same)
        steps.call("move-out", "CreateTransaction", _out(start, end.ledger), only_if=other)
    else:
        destination = _subject("ACCOUNT", end.id)
        steps.call("debit", "DebitWallet", _debit(start, f"{{destination: {destination}}}"), only_if=same)
        steps.call("debit-out", "DebitWallet", _debit(start, moved=_to(end.ledger)), only_if=other)
    arriving = end._replace(id=end.through)
    given = _transaction(arriving, end.id, moved=_from(start.ledger))
    steps.call("move-in", "CreateTransaction", given, only_if=other)


def _to_wallet(steps: Steps, start: Account | Wallet, end: Wallet) -> None:
    same, other = _ledgers(start, end)
    if isinstance(start, Account):
        subject = _subject("ACCOUNT", start.id)
        steps.call("credit", "CreditWallet", _credit(end, subject), only_if=same)
        steps.call("move-out", "CreateTransaction", _out(start, end.ledger), only_if=other)
    else:
        subject = _subject("WALLET", start.id, start.balance)
        steps.call("credit", "CreditWallet", _credit(end, subject), only_if=same)
        steps.call("debit-out", "DebitWallet", _debit(start, moved=_to(end.ledger)), only_if=other)
    world = _subject("ACCOUNT", literal(places.WORLD))
    steps.call("credit-in", "CreditWallet", _credit(end, world, moved=_from(start.ledger)), only_if=other)


def _pay(steps: Steps, start: Account | Wallet) -> None:
    """Take the money, and have it paid to the account that the source's metadata names."""
    key = "$context.stage.destination.payment.metadata"
    none = f'error("The source has no " + ({key} | tojson) + " in its metadata, the account to pay to.")'
    target = f'(.[{key}] | strings | select(. != "")) // {none}'
    if isinstance(start, Account):
        given = f"{{id: {start.id}, ledger: {start.ledger}}}"
        steps.call(
            "find-account", "GetAccount", given, keep=f"{{target: (.data.metadata // {{}} | {target})}}"
        )
        steps.call("debit", "CreateTransaction", _transaction(start, start.through))
    else:
        steps.tasks.append(
            {"find-target": {"set": {"target": f"${{ {start.metadata} // {{}} | {target} }}"}}}
        )
        steps.tasks[-1]["find-target"]["export"] = {"as": "$context + ."}
        steps.call("debit", "DebitWallet", _debit(start))
    given = (
        "($context.stage.destination.payment | {connectorID: .connectorId, provider: (.psp | ascii_upcase), "
        f"source: .sourceAccount, type, waitingValidation}} | with_entries(select(.value != null))) + {AMOUNT} "
        f'+ {{destination: $context.target, description: "", metadata: {METADATA}}}'
    )
    steps.call("pay", "CreateTransferInitiation", given, unless_there=True)


# --- Inputs of activities -------------------------------------------------------------------------------------------


def _ledgers(start: Account | Wallet, end: Account | Wallet) -> tuple[str, str]:
    """The jq that tells whether both are of one ledger, and of two."""
    return f"{start.ledger} == {end.ledger}", f"{start.ledger} != {end.ledger}"


def _to(ledger: str) -> str:
    return f'{{"orchestration/move-to-ledger": {ledger}}}'


def _from(ledger: str) -> str:
    return f'{{"orchestration/move-from-ledger": {ledger}}}'


def _out(start: Account, ledger: str) -> str:
    """The transaction by which money leaves a ledger for another one."""
    return _transaction(start, start.through, moved=_to(ledger))


def _transaction(
    start: Account, end: str, *, amount: str = AMOUNT, moved: str = "{}", reference: str | None = None
) -> str:
    """From one account of a ledger to another; a script where the first may fall below zero."""
    ends = f"{{source: {start.id}, destination: {end}}}"
    variables = f'({amount} | {{amount: (.asset + " " + .amount)}}) + {ends}'
    how = (
        f"if {start.overdraft} then {{script: {{plain: {literal(UNBOUNDED)}, vars: ({variables})}}}} "
        f"else {{postings: [{amount} + {ends}]}} end"
    )
    known = "{}" if reference is None else f"{{reference: {reference}}}"
    data = f"{{metadata: ({METADATA} + {moved})}} + {known} + {TIME} + ({how})"
    return f"{{ledger: {start.ledger}, data: ({data})}}"


def _subject(kind: str, identity: str, balance: str | None = None) -> str:
    """Whose money a wallet's is to be."""
    rest = "" if balance is None else f", balance: {balance}"
    return f'{{type: "{kind}", identifier: {identity}{rest}}}'


def _debit(wallet: Wallet, more: str = "{}", *, moved: str = "{}") -> str:
    data = f"{{amount: {AMOUNT}, metadata: ({METADATA} + {moved}), balances: [{wallet.balance}]}}"
    return f"{{id: {wallet.id}, data: ({data} + {TIME} + {more})}}"


def _credit(wallet: Wallet, subject: str, *, moved: str = "{}") -> str:
    data = (
        f"{{amount: {AMOUNT}, sources: [{subject}], metadata: ({METADATA} + {moved}), "
        f"balance: {wallet.balance}}}"
    )
    return f"{{id: {wallet.id}, data: ({data} + {TIME})}}"
