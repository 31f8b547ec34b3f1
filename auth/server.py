"""Authlib's authorization server on our tables: what a request is, how a client proves itself, what is issued.

Authlib keeps the protocol's core. Where its 1.9 leaves a door open by default, the override here or in `grants.py` says so,
and a test named after the row of the threat table holds it.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import msgspec
from authlib.oauth2 import AuthorizationServer, OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749 import InvalidClientError, InvalidRequestError, InvalidScopeError
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload

from auth import assertions
from auth.assertions import AssertionRefused
from auth.bearer import new_secret
from auth.bridge import wait
from auth.issuer import Issuer
from auth.registered import RegisteredClient, live_client
from auth.scopes import SCOPES
from auth.tokens import LOGIN_SECONDS, MACHINE_SECONDS, Family

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CONFIDENTIAL_METHODS = ["client_secret_basic", "client_secret_post", "private_key_jwt"]
CLIENT_METHODS = [*CONFIDENTIAL_METHODS, "none"]
NO_PROOF = (
    "Send client_id and client_secret in the body or as HTTP Basic, or a client_assertion; never in the URL"
)
ADVICE = {  # for the errors that Authlib raises without a word, or with one that does not help
    "": "Compare the request with RFC 6749",
    "invalid_grant": "The refresh token is unknown, expired, used, revoked or of another client; let the user log in again",
    "invalid_scope": "Ask for no more than was granted",
    "unauthorized_client": "Machine clients use client_credentials, and no other client does",
}
WITH_A_PERSON = ("authorization_code", "refresh_token")


class FormRequest(OAuth2Request):
    """The parameters of a request and its `Authorization` header; nothing else of it counts.

    The parameters of a POST are its body alone: Authlib would take a grant type from the URL as well.
    """

    def __init__(
        self, issuer: Issuer, method: str, fields: Mapping[str, str], authorization: str | None = None
    ) -> None:
        # Whether plain http is good enough is the operator's choice of a public URL; Authlib would answer 500.
        super().__init__(method, issuer.url.replace("http://", "https://", 1))
        self.issuer = issuer
        self.fields = fields
        self.payload = BasicOAuth2Payload(fields)
        self.basic = basic_credentials(authorization)
        self.headers = {"Authorization": authorization} if self.basic else {}
        self.family: Family | None = None

    @property
    def args(self) -> Mapping[str, str]:
        """The parameters, as Authlib calls those of a URL."""
        return self.fields

    @property
    def form(self) -> Mapping[str, str]:
        """The parameters, as Authlib calls those of a body."""
        return self.fields


class Answer(msgspec.Struct):
    """What Authlib decided: a status, a body and headers."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def error(self) -> str | None:
        """The error code, if it is an error."""
        return self.body.get("error") if isinstance(self.body, dict) else None

    @property
    def location(self) -> str | None:
        """Where a person is sent; can be set, for RFC 9207's extension does."""
        return self.headers.get("Location")

    @location.setter
    def location(self, value: str) -> None:
        self.headers["Location"] = value


class Person(msgspec.Struct, frozen=True):
    """The user that a grant is of."""

    id: UUID


class Server(AuthorizationServer):
    """One issuer's server; its methods run inside `bridged(...)` and an open transaction."""

    def __init__(self, issuer: Issuer) -> None:
        super().__init__(scopes_supported=list(SCOPES))
        self.issuer = issuer
        self.register_token_generator("default", new_tokens)
        self.register_client_auth_method("private_key_jwt", by_private_key)

    def query_client(self, client_id: str) -> RegisteredClient | None:
        """Find a client."""
        return wait(live_client(client_id))

    def create_oauth2_request(self, request: FormRequest) -> FormRequest:
        """Return the request: it was read before, as reading is asynchronous."""
        return request

    def handle_response(self, status: int, body: Any, headers: Sequence[tuple[str, str]]) -> Answer:
        """Make an answer."""
        return Answer(status, body, dict(headers))

    def handle_error_response(self, request: FormRequest, error: OAuth2Error) -> Answer:
        """Make an answer of an error, which always says what to do."""
        if error.error == "unauthorized_client" or error.description in (
            "",
            None,
            InvalidScopeError.description,
        ):
            error.description = ADVICE.get(error.error, ADVICE[""])
        answer: Answer = super().handle_error_response(request, error)
        return answer

    def send_signal(self, name: str, *_: object, **__: object) -> None:
        """Do nothing: what matters is logged where it happens."""

    def validate_requested_scope(self, scope: str | None) -> None:
        """Refuse unknown scopes, naming the known ones.

        Raises:
            InvalidScopeError: one is unknown.
        """
        if not set(SCOPES).issuperset((scope or "").split()):
            raise InvalidScopeError(f"Known scopes: {' '.join(SCOPES)}")

    def authenticate_client(
        self, request: FormRequest, methods: Sequence[str], endpoint: str = "token"
    ) -> RegisteredClient:
        """Let a client prove itself, in one way (RFC 6749, 2.3); whatever fails is told in the same words.

        Raises:
            InvalidRequestError: two ways at once, or two different ids.
            InvalidClientError: no proof, or one that does not hold.
        """
        method = presented(request)
        if method not in methods:
            raise InvalidClientError(NO_PROOF)
        try:
            client: RegisteredClient = super().authenticate_client(request, [method], endpoint)
        except InvalidClientError:
            raise InvalidClientError("The client is unknown, or its proof does not hold") from None
        return client

    def save_token(self, token: Mapping[str, Any], request: FormRequest) -> None:
        """Do nothing: a grant saves what it issued, as each belongs to another family."""


def presented(request: FormRequest) -> str:
    """Say in which way a request tries to prove its client.

    Raises:
        InvalidRequestError: in several, or with an id that contradicts the proof.
    """
    fields = request.fields
    tried = {
        "client_secret_basic": request.basic is not None,
        "client_secret_post": "client_secret" in fields,
        "private_key_jwt": "client_assertion" in fields or "client_assertion_type" in fields,
    }
    found = [method for method, is_tried in tried.items() if is_tried]
    if len(found) > 1:
        raise InvalidRequestError("Authenticate the client in one way, not in several at once")
    if request.basic and fields.get("client_id", request.basic[0]) != request.basic[0]:
        raise InvalidRequestError("The client_id is not the one in the Authorization header")
    return found[0] if found else "none"


def basic_credentials(authorization: str | None) -> tuple[str, str] | None:
    """Read a `Basic` header; one without id and secret, which vendors' SDKs send for public clients, is none.

    Raises:
        InvalidClientError: it is malformed.
    """
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        raise InvalidClientError("The Authorization header is malformed") from None
    if not colon or not (name or secret):
        if colon:
            return None
        raise InvalidClientError("The Authorization header is malformed")
    return unquote(name), unquote(secret)  # as RFC 6749, 2.3.1, has clients write them


def by_private_key(
    query_client: Callable[[str], RegisteredClient | None], request: FormRequest
) -> RegisteredClient | None:
    """Let a client prove itself by a JWT of its own (private_key_jwt; OpenID Connect Core, 9).

    Raises:
        InvalidClientError: the proof does not hold, or was used before.
    """
    assertion = request.fields.get("client_assertion", "")
    if request.fields.get("client_assertion_type") != ASSERTION_TYPE:
        raise InvalidClientError(f"The client_assertion_type is {ASSERTION_TYPE}")
    try:
        client = query_client(assertions.unverified_claim(assertion, "sub"))
        if client is None:
            return None
        claims = assertions.verified(assertion, client.public_keys, request.issuer.audiences)
    except AssertionRefused as refusal:
        raise InvalidClientError(str(refusal)) from None
    own_name = client.get_client_id()
    named = {claims["iss"], claims["sub"], request.fields.get("client_id", own_name)}
    if named != {own_name} or "jti" not in claims or wait(assertions.uses_of(assertion, claims)) > 1:
        raise InvalidClientError("The assertion is of another client, has no jti, or was used before")
    return client


def new_tokens(
    *, grant_type: str, scope: str, include_refresh_token: bool, **_: object
) -> dict[str, str | int]:
    """Make an answer of the token endpoint (RFC 6749, 5.1)."""
    token: dict[str, str | int] = {
        "access_token": new_secret(),
        "token_type": "Bearer",
        "expires_in": LOGIN_SECONDS if grant_type in WITH_A_PERSON else MACHINE_SECONDS,
        "scope": scope,
    }
    if include_refresh_token:
        token["refresh_token"] = new_secret()
    return token
