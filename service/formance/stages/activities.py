"""The activities of `send` and `update`: one call of another Formance service each, as functions of the definition.

A function gets `{"idempotencyKey": string, "input": …}`, the input being what a stage's history shows of it, gives what the
service answered, and tries again on its own. The services' addresses and paths are those of their public documentation.

Amounts are texts of digits everywhere in a definition, since no number of jq or of JSON readers holds more than 53 bits
for certain; the bodies of requests are put together as texts, so that the services get numbers. Numbers of their answers
that are too large to be held become texts.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from service.language.writing import literal

SECRET = "formance"  # noqa: S105 - the name of the account's secret
FIRST_PAUSE = 1  # seconds; each one after it is twice as long
RETRIES = 9  # after the first attempt, one second to four and a quarter minutes apart: eight and a half minutes in all
FINAL = ("VALIDATION", "CONFLICT", "NO_SCRIPT", "COMPILATION_FAILED")

UNSET_TITLE = "A secret is missing"  # the title that a call's error has then
UNCONFIGURED = (
    "The account is connected to no Formance stack; an operator connects it with: tutti formance configure"
)


class Activity(msgspec.Struct, frozen=True):
    """A request: its method, and the jq of its path, query and body; `.` is what the function gets."""

    method: str
    path: str
    body: str | None = None
    query: Mapping[str, str] | None = None


def _segment(field: str) -> str:
    """A field of the input as a part of a path; colons stay, as the services' clients send them."""
    return f'(.input.{field} | @uri | gsub("%3A"; ":"))'


def _object(*, without: str, and_then: str) -> str:
    """The jq of an object's JSON: all but one field, and that one as a text which `and_then` gives."""
    return f'(del(.{without}) | tojson | .[:-1] + (if . == "{{}}" then "" else "," end)) + {and_then} + "}}"'


_LEDGER = f'"/api/ledger/v2/" + {_segment("ledger")}'
_WALLET = f'"/api/wallets/wallets/" + {_segment("id")}'
_MONEY = '"\\"amount\\":{\\"asset\\":" + (.amount.asset | tojson) + ",\\"amount\\":" + .amount.amount + "}"'
_POSTING = _object(without="amount", and_then='"\\"amount\\":" + .amount')
_POSTINGS = f'"\\"postings\\":[" + (.postings | map({_POSTING}) | join(",")) + "]"'
_TRANSACTION = (
    f".input.data | if .postings then {_object(without='postings', and_then=_POSTINGS)} else tojson end"
)
_INITIATION = (
    """
(.idempotencyKey) as $key | .scheduledAt as $at | .input
| {amount, asset, type, metadata, reference: $key, scheduledAt: $at, description: (.description // ""),
   connectorID, provider, sourceAccountID: (.source // ""), destinationAccountID: .destination,
   validated: (.waitingValidation | not)}
| with_entries(select(.value != null)) |
""".replace("\n", " ")
    + _object(without="amount", and_then='"\\"amount\\":" + .amount')
)

ACTIVITIES: Mapping[str, Activity] = {
    "GetAccount": Activity("GET", f'{_LEDGER} + "/accounts/" + {_segment("id")}'),
    "AddAccountMetadata": Activity(
        "POST", f'{_LEDGER} + "/accounts/" + {_segment("id")} + "/metadata"', ".input.metadata | tojson"
    ),
    "CreateTransaction": Activity("POST", f'{_LEDGER} + "/transactions"', _TRANSACTION),
    "GetWallet": Activity("GET", _WALLET),
    "ListWallets": Activity("GET", '"/api/wallets/wallets"', query={"name": "${ .input.name }"}),
    "CreditWallet": Activity(
        "POST", f'{_WALLET} + "/credit"', f".input.data | {_object(without='amount', and_then=_MONEY)}"
    ),
    "DebitWallet": Activity(
        "POST", f'{_WALLET} + "/debit"', f".input.data | {_object(without='amount', and_then=_MONEY)}"
    ),
    "GetPayment": Activity("GET", f'"/api/payments/payments/" + {_segment("id")}'),
    "CreateTransferInitiation": Activity("POST", '"/api/payments/transfer-initiations"', _INITIATION),
}

_ANSWER = """
if . == "" then null
else @base64d | fromjson
  | walk(if type == "number" and (. > 9007199254740991 or . < -9007199254740991) then tojson else . end) end
""".replace("\n", " ").strip()
# What a service says of a mistake, from the text of its answer; nothing from any other text.
_SAID = '(.detail // "" | try fromjson catch null | if type == "object" then . else {} end)'
_AGAIN = (
    '(.type | test("/(communication|timeout|authentication)$")) '
    f"and ({_SAID} | .errorCode | IN({literal(FINAL)}[]) | not)"
)
_DETAIL = (
    f"$error | if .title == {literal(UNSET_TITLE)} then {literal(UNCONFIGURED)} "
    f'else ({_SAID} | .errorMessage | strings | select(. != "")) // .detail // .title end'
)


def functions(names: Iterable[str]) -> dict[str, Any]:
    """What `use` has to declare for these activities: the functions and the secret that they read."""
    found = {name: _function(name, ACTIVITIES[name]) for name in sorted(set(names))}
    return {"secrets": [SECRET], "functions": found} if found else {}


def _function(name: str, activity: Activity) -> dict[str, Any]:
    """Call, and call again for as long as that may help; what then fails says the service's own words."""
    error = {
        "type": "${ $error.type }",
        "status": 500,
        "title": f"${{ $error | ({_SAID} | .errorCode | strings) // .title }}",
        "detail": f"${{ {_DETAIL} }}",
    }
    again = {
        "when": _AGAIN,
        "delay": {"seconds": FIRST_PAUSE},
        "backoff": {"exponential": {}},
        "limit": {"attempt": {"count": RETRIES}},
    }
    return {
        "try": [{name: _call(activity)}],
        "catch": {"retry": again, "do": [{"failed": {"raise": {"error": error}}}]},
    }


def _call(activity: Activity) -> dict[str, Any]:
    """The request."""
    headers = {"Idempotency-Key": "${ .idempotencyKey }", "Accept": "application/json"}
    given: dict[str, Any] = {
        "method": activity.method,
        "endpoint": {
            "uri": f"${{ $secrets.{SECRET}.url + {activity.path} }}",
            "authentication": {"oauth2": _credentials()},
        },
        "headers": headers,
        "output": "raw",
    }
    if activity.query is not None:
        given["query"] = activity.query
    if activity.body is not None:
        headers["Content-Type"] = "application/json"
        given["body"] = f"${{ {activity.body} }}"
    return {"call": "http", "with": given, "output": {"as": _ANSWER}}


def _credentials() -> dict[str, Any]:
    """How the stack gives tokens, by the account's secret (`service.formance.connection`)."""
    return {
        "authority": f"${{ $secrets.{SECRET}.token_authority }}",
        "endpoints": {"token": f"${{ $secrets.{SECRET}.token_path }}"},
        "grant": "client_credentials",
        "client": {
            "id": f"${{ $secrets.{SECRET}.client_id }}",
            "secret": f"${{ $secrets.{SECRET}.client_secret }}",
        },
    }
