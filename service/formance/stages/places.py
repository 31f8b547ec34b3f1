"""Where money comes from and where it goes: the fields of each kind of place, and the jq that finds them in a stage."""

from typing import Any, NamedTuple

from service.formance.stages.steps import Steps
from service.formance.stages.values import Fields
from service.language.writing import Jq, literal

INTERNAL_LEDGER = "orchestration-000-internal"
WORLD = "world"
ONE_WALLET = "A wallet needs exactly one of id, name."


class Account(NamedTuple):
    """An account of a ledger, as the jq of each of its fields."""

    id: str
    ledger: str
    through: str
    overdraft: str


class Wallet(NamedTuple):
    """A wallet, once it was found, as the jq of each of its fields."""

    id: str
    ledger: str
    metadata: str
    balance: str


# --- Their fields ---------------------------------------------------------------------------------------------------


def read_account(fields: Fields) -> dict[str, Any]:
    """An account of a ledger."""
    return {
        "id": fields.text("id", required=True, segment=True),
        "ledger": fields.text("ledger", "default", segment=True),
        "throughAccount": fields.text("throughAccount", WORLD),
        "allowOverdraft": fields.flag("allowOverdraft"),
    }


def read_wallet(fields: Fields) -> dict[str, Any]:
    """A wallet by its id or by its name."""
    found = {"id": fields.text("id", segment=True), "name": fields.text("name")}
    known = [one for one in found.values() if isinstance(one, str)]
    given = [one for one in found.values() if one is not None]
    if len(known) > 1 or (not given and not fields.problems):
        fields.refuse("", ONE_WALLET)
    return {**found, "balance": fields.text("balance", "main")}


def read_payment(fields: Fields) -> dict[str, Any]:
    """A payment that came in."""
    identity = fields.text("id", required=True, segment=True)
    holding = fields.text("holdingAccount")
    if isinstance(identity, Jq) or isinstance(holding, Jq):
        jq, kept = (one.text if isinstance(one, Jq) else literal(one) for one in (identity, holding))
        holding = Jq(f'({kept}) // "payment:" + ({jq} | gsub("-"; "_"))')
    elif holding is None and identity is not None:
        holding = "payment:" + identity.replace("-", "_")
    return {
        "id": identity,
        "ledger": fields.text("ledger", INTERNAL_LEDGER, segment=True),
        "holdingAccount": holding,
        "throughAccount": fields.text("throughAccount", WORLD),
        "allowOverdraft": fields.flag("allowOverdraft"),
    }


def read_payout(fields: Fields) -> dict[str, Any]:
    """A payment that is to be made."""
    connector = (
        "connectorID" if fields.has("connectorID") and not fields.has("connectorId") else "connectorId"
    )
    return {
        "psp": fields.text("psp", required=True),
        "type": fields.choice("type", "TRANSFER", "PAYOUT"),
        "sourceAccount": fields.text("sourceAccount"),
        "metadata": fields.text("metadata", "formanceAccountID"),
        "waitingValidation": fields.flag("waitingValidation"),
        "connectorId": fields.text(connector),
    }


# --- Finding them ---------------------------------------------------------------------------------------------------


def account_of(place: str, kind: str = "account", identity: str = "id") -> Account:
    """The account of a stage's source or destination; of a payment the one that holds it."""
    at = f"$context.stage.{place}.{kind}"
    return Account(f"{at}.{identity}", f"{at}.ledger", f"{at}.throughAccount", f"{at}.allowOverdraft")


def found_wallet(steps: Steps, place: str, wallet: dict[str, Any]) -> Wallet:
    """Look up the wallet of a stage's source or destination, by what is given or turns out to be given."""
    at, both = f"$context.stage.{place}.wallet", wallet["id"] is not None and wallet["name"] is not None
    kept = f"{{{place}: {{id, ledger, metadata}}}}"
    if wallet["id"] is not None:
        steps.call(
            f"find-{place}",
            "GetWallet",
            f"{{id: {at}.id}}",
            keep=f".data | {kept}",
            only_if=f"{at}.id != null" if both else None,
        )
    if wallet["name"] is not None:
        several = 'error("found multiple wallets with the same name")'
        one = f'if length == 1 then .[0] elif . == [] then error("wallet not found") else {several} end'
        steps.call(
            f"find-{place}-by-name",
            "ListWallets",
            f"{{name: {at}.name}}",
            keep=f"[.cursor.data[] | select(.name == {at}.name)] | {one} | {kept}",
            only_if=f"{at}.name != null" if both else None,
        )
    found = f"$context.{place}"
    return Wallet(f"{found}.id", f"{found}.ledger", f"{found}.metadata", f"{at}.balance")
