"""An OAuth client in the hands of tests: registered, sent for codes, exchanging them."""

import base64
import hashlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import httpx
import msgspec
from joserfc import jwt
from joserfc.jwk import RSAKey

from auth.authorization import Approval, examined, granted
from auth.clients import Registration, create_client
from auth.issuer import Issuer
from auth.registered import JWT_BEARER
from service.settings import settings
from tenancy.rows import transaction

CALLBACK = "https://app.example/callback"
LOOPBACK = "http://127.0.0.1/callback"
LOGIN_SCOPES = "openid profile email signature aow_manage impersonation extended offline_access"
VERIFIER = "a" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
KEY = RSAKey.generate_key(2048)
OTHER_KEY = RSAKey.generate_key(2048)


def issuer() -> Issuer:
    """The server under test."""
    return settings().issuer


class App(msgspec.Struct, frozen=True, kw_only=True):
    """A registered client: how it asks, and how it proves itself."""

    id: UUID
    secret: str | None
    account_id: UUID
    redirect_uri: str = CALLBACK

    @property
    def basic(self) -> dict[str, str]:
        """The header of client_secret_basic."""
        return basic(str(self.id), self.secret or "")

    def parameters(self, **changed: str | None) -> dict[str, str]:
        """The parameters of a request for authorization; None leaves one out."""
        parameters = {
            "response_type": "code",
            "client_id": str(self.id),
            "redirect_uri": self.redirect_uri,
            "scope": "openid signature aow_manage",
            "state": "s-1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **changed,
        }
        return {name: value for name, value in parameters.items() if value is not None}

    async def code(self, user_id: UUID, narrowed_to: UUID | None = None, **changed: str | None) -> str:
        """A code that a user, who has just logged in, approved."""
        async with transaction():
            authorization = await examined(issuer(), self.parameters(**changed))
            approval = Approval(user_id, datetime.now(UTC), narrowed_to)
            location = await granted(issuer(), authorization, approval)
        return query_of(location)["code"]

    async def exchange(self, client: httpx.AsyncClient, code: str, **changed: str | None) -> httpx.Response:
        """Exchange a code, with PKCE, as the SDKs do: without a redirect URI."""
        fields: dict[str, str | None] = {"grant_type": "authorization_code", "code": code}
        return await self.token(client, fields | {"code_verifier": VERIFIER} | changed)

    async def refresh(self, client: httpx.AsyncClient, token: str, **changed: str | None) -> httpx.Response:
        """Exchange a refresh token."""
        return await self.token(client, {"grant_type": "refresh_token", "refresh_token": token} | changed)

    async def token(self, client: httpx.AsyncClient, fields: Mapping[str, str | None]) -> httpx.Response:
        """Call the token endpoint as this client."""
        sent = {name: value for name, value in fields.items() if value is not None}
        if self.secret is None:
            sent.setdefault("client_id", str(self.id))
            return await client.post("/oauth/token", data=sent)
        return await client.post("/oauth/token", data=sent, headers=self.basic)

    async def logged_in(
        self, client: httpx.AsyncClient, user_id: UUID, **changed: str | None
    ) -> dict[str, Any]:
        """The tokens of a user who has just logged in."""
        answer = await self.exchange(client, await self.code(user_id, **changed))
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens

    def assertion(self, subject: UUID | str, key: RSAKey = KEY, **changed: Any) -> str:
        """A signed assertion as the vendor's SDKs make it: no kid, no jti, the bare host as audience."""
        now = int(time.time())
        claims = {
            "iss": str(self.id),
            "sub": str(subject),
            "aud": "account-d.docusign.com",
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
            "scope": "signature aow_manage",
            **changed,
        }
        present = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode({"alg": "RS256", "typ": "JWT"}, present, key)


async def registered(account_id: UUID, kind: str = "confidential", **changed: Any) -> App:
    """Register a client of an account."""
    wanted = {
        "name": "Test app",
        "redirect_uris": () if kind == "machine" else (CALLBACK,),
        "public_keys": (KEY.as_pem(private=False).decode(),) if kind == "confidential" else (),
        **changed,
    }
    client_id, secret = await create_client(Registration(account_id=account_id, kind=kind, **wanted))
    redirects = wanted["redirect_uris"]
    redirect_uri = redirects[0] if redirects else CALLBACK
    return App(id=client_id, secret=secret, account_id=account_id, redirect_uri=redirect_uri)


async def by_assertion(client: httpx.AsyncClient, assertion: str, **changed: str) -> httpx.Response:
    """Ask for a token with an assertion."""
    fields = {"grant_type": JWT_BEARER, "assertion": assertion} | changed
    return await client.post("/oauth/token", data=fields)


def basic(name: str, secret: str) -> dict[str, str]:
    """The header of HTTP's basic authentication."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


def query_of(location: str) -> dict[str, str]:
    """The parameters of a redirect, each once."""
    found = parse_qs(urlsplit(location).query, keep_blank_values=True)
    assert all(len(values) == 1 for values in found.values())
    return {name: values[0] for name, values in found.items()}


def unknown_id() -> str:
    """An id of nothing."""
    return str(uuid4())
