"""A Formance stack in a test: ledgers, wallets and payments in memory, by their public documentation.

Every entry is double: what one account loses another one gains, and none but `world` falls below zero unless it is allowed
to. A key of idempotency gives the same answer again, and is refused for another request.
"""

import contextlib
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.engine.outside import site

CLIENT = {"client_id": "the-client", "client_secret": "the-clients-own-secret"}
TOKEN = "a-token-of-the-stack"
WALLETS = "wallets-002"  # the ledger that wallets are kept in unless they say otherwise

_ADDRESS = re.compile(r"[A-Za-z0-9_-]+(:[A-Za-z0-9_-]+)*")
_ASSET = re.compile(r"[A-Z][A-Z0-9]{0,16}(_[A-Z]{1,16})?(/\d{1,6})?")
_UNBOUNDED = re.compile(
    r"vars \{\s+account \$source\s+account \$destination\s+monetary \$amount\s+\}\s+send \$amount \(\s+"
    r"source = \$source allowing unbounded overdraft\s+destination = \$destination\s+\)\s*"
)


class Refused(Exception):  # noqa: N818 - named after the situation
    """A request that a service answers with an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"errorCode": code, "errorMessage": message}


class Ledger:
    """One ledger: what each account got and gave of each asset, what was said of it, and every transaction."""

    def __init__(self) -> None:
        self.input: dict[tuple[str, str], int] = defaultdict(int)
        self.output: dict[tuple[str, str], int] = defaultdict(int)
        self.metadata: dict[str, dict[str, str]] = defaultdict(dict)
        self.transactions: list[dict[str, Any]] = []

    def balance(self, account: str, asset: str = "USD/2") -> int:
        return self.input[account, asset] - self.output[account, asset]

    def commit(self, data: dict[str, Any]) -> dict[str, Any]:
        """Write a transaction, or nothing of it."""
        postings, unbounded = data.get("postings"), False
        if "script" in data:
            postings, unbounded = [self.scripted(data["script"])], True
        if not postings:
            raise Refused(400, "NO_POSTINGS", "no postings")
        for posting in postings:
            self.check(posting)
        reference = data.get("reference")
        if reference and any(one.get("reference") == reference for one in self.transactions):
            raise Refused(409, "CONFLICT", f"transaction reference {reference} already used")
        for posting in postings:
            source, asset, amount = posting["source"], posting["asset"], posting["amount"]
            if source != "world" and not unbounded and self.balance(source, asset) < amount:
                raise Refused(400, "INSUFFICIENT_FUND", f"account {source} has insufficient funds")
        for posting in postings:
            self.output[posting["source"], posting["asset"]] += posting["amount"]
            self.input[posting["destination"], posting["asset"]] += posting["amount"]
        number = len(self.transactions)
        written = {
            "id": number,
            "txid": number,
            "timestamp": data.get("timestamp", datetime.now(UTC).isoformat()),
            "postings": postings,
            "metadata": data.get("metadata", {}),
            "reverted": False,
            **({"reference": reference} if reference else {}),
        }
        self.transactions.append(written)
        return written

    def check(self, posting: dict[str, Any]) -> None:
        addresses = _ADDRESS.fullmatch(posting["source"]) and _ADDRESS.fullmatch(posting["destination"])
        amount = posting["amount"]
        if not addresses or not _ASSET.fullmatch(posting["asset"]) or type(amount) is not int or amount < 0:
            raise Refused(400, "VALIDATION", "invalid posting")

    def scripted(self, script: dict[str, Any]) -> dict[str, Any]:
        """The posting of the one script that is known here."""
        if not _UNBOUNDED.fullmatch(script["plain"]):
            raise Refused(400, "COMPILATION_FAILED", "the script does not compile")
        asset, _, amount = script["vars"]["amount"].partition(" ")
        ends = {name: script["vars"][name] for name in ("source", "destination")}
        return {**ends, "asset": asset, "amount": int(amount)}


class Stack:
    """The services, what was asked of them, and what they are to do wrong."""

    def __init__(self) -> None:
        self.url = ""
        self.ledgers: dict[str, Ledger] = defaultdict(Ledger)
        self.wallets: dict[str, dict[str, Any]] = {}
        self.payments: dict[str, dict[str, Any]] = {}
        self.initiations: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str, Any]] = []
        self.keys: dict[str, tuple[Any, int, Any]] = {}
        self.failing: list[int] = []  # statuses of the next answers, in place of anything being done
        self.losing = 0  # answers that get lost after everything was done
        self.tokens = 0

    @property
    def secret(self) -> dict[str, str]:
        """What an account keeps of the stack."""
        return {"url": self.url, "token_authority": self.url, "token_path": "/api/auth/oauth/token", **CLIENT}

    def fund(self, account: str, amount: int, asset: str = "USD/2", ledger: str = "default") -> None:
        posting = {"source": "world", "destination": account, "amount": amount, "asset": asset}
        self.ledgers[ledger].commit({"postings": [posting]})

    def wallet(self, identity: str, name: str, ledger: str = WALLETS, **metadata: str) -> str:
        """Make a wallet."""
        self.wallets[identity] = {
            "id": identity,
            "name": name,
            "metadata": metadata,
            "ledger": ledger,
            "createdAt": "2025-01-01T00:00:00Z",
        }
        return identity

    def held(self, wallet: str, balance: str = "main", asset: str = "USD/2") -> int:
        """What a wallet has in one of its balances."""
        return self.ledgers[self.wallets[wallet]["ledger"]].balance(f"wallets:{wallet}:{balance}", asset)

    def payment(self, identity: str, amount: int, asset: str = "USD/2") -> None:
        """Have a payment come in."""
        self.payments[identity] = {
            "id": identity,
            "reference": "ref",
            "initialAmount": amount,
            "asset": asset,
            "raw": {"anything": 2**80},
        }

    def asked(self) -> list[str]:
        """The requests that came, as method and path, tokens aside."""
        return [f"{method} {path}" for method, path, _ in self.requests]

    # Answering

    async def respond(self, request: web.Request) -> web.StreamResponse:
        raw_path = request.rel_url.raw_path
        if raw_path == "/api/auth/oauth/token":
            return await self.token(request)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"errorCode": "UNAUTHORIZED"}, status=401)
        text = await request.text()
        self.requests.append((request.method, raw_path, json.loads(text) if text else None))
        if self.failing:
            return web.json_response(
                {"errorCode": "INTERNAL", "errorMessage": "try later"}, status=self.failing.pop(0)
            )
        status, body = self.once(
            request.headers.get("Idempotency-Key"), (request.method, raw_path, text), request
        )
        if self.losing:
            self.losing -= 1
            return web.Response(status=502, text="lost on the way")
        return web.Response(status=status) if body is None else web.json_response(body, status=status)

    async def token(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        self.tokens += 1
        if {name: form.get(name) for name in CLIENT} != CLIENT or form["grant_type"] != "client_credentials":
            return web.json_response({"error": "invalid_client"}, status=401)
        return web.json_response({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600})

    def once(self, key: str | None, asked: tuple[str, str, str], request: web.Request) -> tuple[int, Any]:
        """Do what is asked, unless it was done under this key."""
        if key is not None and key in self.keys:
            before, status, body = self.keys[key]
            if before != asked:
                return 400, {"errorCode": "VALIDATION", "errorMessage": "the key belongs to another request"}
            return status, body
        try:
            status, body = self.done(asked, request)
        except Refused as refused:
            return refused.status, refused.body
        if key is not None:
            self.keys[key] = (asked, status, body)
        return status, body

    def done(self, asked: tuple[str, str, str], request: web.Request) -> tuple[int, Any]:
        method, path, text = asked
        given = json.loads(text) if text else {}
        routes: list[tuple[str, Callable[..., tuple[int, Any]]]] = [
            (r"GET /api/ledger/v2/([^/]+)/accounts/([^/]+)", self.get_account),
            (r"POST /api/ledger/v2/([^/]+)/accounts/([^/]+)/metadata", self.add_metadata),
            (r"POST /api/ledger/v2/([^/]+)/transactions", self.create_transaction),
            (r"GET /api/wallets/wallets", self.list_wallets),
            (r"GET /api/wallets/wallets/([^/]+)", self.get_wallet),
            (r"POST /api/wallets/wallets/([^/]+)/credit", self.credit),
            (r"POST /api/wallets/wallets/([^/]+)/debit", self.debit),
            (r"GET /api/payments/payments/([^/]+)", self.get_payment),
            (r"POST /api/payments/transfer-initiations", self.initiate),
        ]
        for pattern, serve in routes:
            found = re.fullmatch(pattern, f"{method} {path}")
            if found:
                return serve(*map(unquote, found.groups()), given={**request.query, **given})
        raise Refused(404, "NOT_FOUND", "no such route")

    # The ledger

    def get_account(self, ledger: str, address: str, given: Any) -> tuple[int, Any]:
        del given
        return 200, {"data": {"address": address, "metadata": self.ledgers[ledger].metadata[address]}}

    def add_metadata(self, ledger: str, address: str, given: Any) -> tuple[int, Any]:
        self.ledgers[ledger].metadata[address].update(given)
        return 204, None

    def create_transaction(self, ledger: str, given: Any) -> tuple[int, Any]:
        return 200, {"data": self.ledgers[ledger].commit(given)}

    # Wallets

    def known(self, identity: str) -> dict[str, Any]:
        if identity not in self.wallets:
            raise Refused(404, "NOT_FOUND", "wallet not found")
        return self.wallets[identity]

    def list_wallets(self, given: Any) -> tuple[int, Any]:
        found = [
            wallet for wallet in self.wallets.values() if wallet["name"] == given.get("name", wallet["name"])
        ]
        return 200, {"cursor": {"pageSize": 15, "hasMore": False, "data": found}}

    def get_wallet(self, identity: str, given: Any) -> tuple[int, Any]:
        del given
        return 200, {
            "data": {**self.known(identity), "balances": {"main": {"assets": {"USD/2": self.held(identity)}}}}
        }

    def credit(self, identity: str, given: Any) -> tuple[int, Any]:
        wallet = self.known(identity)
        sources = [self.subject(one, wallet["ledger"]) for one in given["sources"]] or ["world"]
        self.enter(wallet["ledger"], sources[0], f"wallets:{identity}:{given.get('balance', 'main')}", given)
        return 204, None

    def debit(self, identity: str, given: Any) -> tuple[int, Any]:
        wallet = self.known(identity)
        destination = (
            self.subject(given["destination"], wallet["ledger"]) if "destination" in given else "world"
        )
        self.enter(wallet["ledger"], f"wallets:{identity}:{given['balances'][0]}", destination, given)
        return 204, None

    def subject(self, subject: dict[str, Any], ledger: str) -> str:
        """The account of a subject, which has to be of the same ledger."""
        if subject["type"] == "ACCOUNT":
            return str(subject["identifier"])
        if self.known(subject["identifier"])["ledger"] != ledger:
            raise Refused(400, "VALIDATION", "the wallets are of two ledgers")
        return f"wallets:{subject['identifier']}:{subject.get('balance', 'main')}"

    def enter(self, ledger: str, source: str, destination: str, given: Any) -> None:
        posting = {"source": source, "destination": destination, **given["amount"]}
        self.ledgers[ledger].commit({**given, "postings": [posting]})

    # Payments

    def get_payment(self, identity: str, given: Any) -> tuple[int, Any]:
        del given
        if identity not in self.payments:
            raise Refused(404, "NOT_FOUND", "payment not found")
        return 200, {"data": self.payments[identity]}

    def initiate(self, given: Any) -> tuple[int, Any]:
        needed = ("reference", "scheduledAt", "description", "sourceAccountID", "destinationAccountID")
        if any(name not in given for name in (*needed, "type", "amount", "asset", "validated")):
            raise Refused(400, "VALIDATION", "a field is missing")
        if any(one["reference"] == given["reference"] for one in self.initiations):
            raise Refused(409, "CONFLICT", "the reference is used")
        self.initiations.append(given)
        return 200, {"data": {**given, "id": f"initiation-{len(self.initiations)}"}}


@contextlib.asynccontextmanager
async def stack() -> AsyncIterator[Stack]:
    """Serve a stack on this host."""
    made = Stack()
    async with site(made.respond) as served:
        made.url = served.url
        yield made
