"""An OAuth client in the hands of tests: registered, sent for codes, exchanging them."""

import base64
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
from joserfc import jws
from joserfc.jwk import RSAKey

from auth.authorization import Approval, Authorization, Returned, examined, granted
from auth.clients import create_client
from auth.consents import remember
from auth.issuer import Issuer
from auth.registered import JWT_BEARER
from auth.registration import Registration
from auth.scopes import MAESTRO
from auth.server import ASSERTION_TYPE
from service.settings import settings
from tenancy.rows import transaction

CALLBACK = "https://app.example/callback"
LOOPBACK = "http://127.0.0.1/callback"
LOGIN_SCOPES = "openid profile email signature aow_manage impersonation extended offline_access"
IMPERSONATED = (*MAESTRO, "impersonation")
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

    async def examined(self, **changed: str | None) -> Authorization:
        """A request for authorization, checked."""
        async with transaction():
            return await examined(issuer(), self.parameters(**changed))

    async def sent_back(self, **changed: str | None) -> dict[str, str]:
        """The parameters that a request for authorization comes back to the client with, which has to be an error."""
        with pytest.raises(Returned) as caught:
            await self.examined(**changed)
        return query_of(caught.value.location)

    async def approved(
        self,
        user_id: UUID,
        narrowed_to: UUID | None = None,
        auth_time: datetime | None = None,
        **changed: str | None,
    ) -> str:
        """Where a user is sent who has logged in (just now, or then) and approved."""
        async with transaction():
            authorization = await examined(issuer(), self.parameters(**changed))
            approval = Approval(user_id, auth_time or datetime.now(UTC), narrowed_to)
            return await granted(issuer(), authorization, approval)

    async def code(
        self,
        user_id: UUID,
        narrowed_to: UUID | None = None,
        auth_time: datetime | None = None,
        **changed: str | None,
    ) -> str:
        """A code that a user, who has logged in, approved."""
        return query_of(await self.approved(user_id, narrowed_to, auth_time, **changed))["code"]

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
        self,
        client: httpx.AsyncClient,
        user_id: UUID,
        narrowed_to: UUID | None = None,
        auth_time: datetime | None = None,
        **changed: str | None,
    ) -> dict[str, Any]:
        """The tokens of a user who has logged in."""
        code = await self.code(user_id, narrowed_to, auth_time, **changed)
        return answered(await self.exchange(client, code))

    async def introspect(self, client: httpx.AsyncClient, token: str, **more: str) -> dict[str, Any]:
        """What a token is worth, as this client is told."""
        answer = await client.post("/oauth/introspect", data={"token": token} | more, headers=self.basic)
        return answered(answer)

    async def revoke(self, client: httpx.AsyncClient, token: str, **more: str) -> httpx.Response:
        """Give a token back as this client."""
        fields = {"token": token} | more
        if self.secret is None:
            return await client.post("/oauth/revoke", data=fields | {"client_id": str(self.id)})
        return await client.post("/oauth/revoke", data=fields, headers=self.basic)

    async def allowed_by(
        self, user_id: UUID, narrowed_to: UUID | None = None, scopes: Sequence[str] = IMPERSONATED
    ) -> None:
        """A user's consent, given once and remembered."""
        async with transaction():
            await remember(self.id, user_id, scopes, narrowed_to)

    def assertion(
        self, subject: UUID | str, key: RSAKey = KEY, header: Mapping[str, Any] | None = None, **changed: Any
    ) -> str:
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
        return signed(claims, key, header)

    def proof(
        self, key: RSAKey = KEY, header: Mapping[str, Any] | None = None, **changed: Any
    ) -> dict[str, str]:
        """The form fields of private_key_jwt; None leaves a claim out."""
        now = int(time.time())
        claims = {
            "iss": str(self.id),
            "sub": str(self.id),
            "aud": issuer().at("/oauth/token"),
            "iat": now,
            "exp": now + 60,
            "jti": unknown_id(),
            **changed,
        }
        return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": signed(claims, key, header)}


def signed(claims: Mapping[str, Any], key: RSAKey = KEY, header: Mapping[str, Any] | None = None) -> str:
    """A JWT; claims that are None are left out, and the header may say more."""
    present = {name: value for name, value in claims.items() if value is not None}
    # Not by the library's own way for claims, which cannot write the odd ones.
    return jws.serialize_compact(
        {"alg": "RS256", "typ": "JWT"} | dict(header or {}), json.dumps(present), key
    )


def answered(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    """The body of an answer, which has to have this status."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


def error_of(answer: httpx.Response, status: int = 400) -> str:
    """The error code of an answer, which tells what to do in `error_description` and has to have this status."""
    body = answered(answer, status)
    assert set(body) == {"error", "error_description"}
    assert body["error_description"]
    assert "no-store" in answer.headers["cache-control"]
    error: str = body["error"]
    return error


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
