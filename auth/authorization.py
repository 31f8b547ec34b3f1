"""Requests for authorization (RFC 6749, 4.1.1; OpenID Connect Core, 3.1.2): checked, and answered with a code or an error.

Everything runs inside an open transaction. Until client and redirect URI are known to belong together nobody is sent
anywhere: `RequestRefused` is for a page. What is wrong after that goes back to the client: `Returned`.
"""

import logging
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from uuid import UUID

import msgspec
from authlib.common.urls import add_params_to_uri
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc9207 import IssuerParameter
from joserfc import jwt

from auth import keys
from auth.assertions import HOSTILE
from auth.bridge import bridged
from auth.grants import GRANTS
from auth.issuer import Issuer
from auth.registered import RegisteredClient, live_client
from auth.scopes import SCOPES
from auth.server import Answer, FormRequest, Server

logger = logging.getLogger("tutti.auth")

PROMPTS = frozenset({"none", "login", "consent", "select_account"})
LARGEST_REQUEST = 8192  # characters of all parameters together; they wait in the database for their person
LONGEST_AGE = 9  # digits of a number of seconds: 31 years
# What a client is told whose request ends with an error.
DECLINED = {
    "access_denied": "The user did not allow it",
    "login_required": "The user has to log in: leave prompt=none out",
    "consent_required": "The user has to allow it: leave prompt=none out",
    "account_selection_required": "The user has to choose an account: leave prompt=none out",
}
# What the error page says; of the request itself it shows nothing.
UNKNOWN_CLIENT = "The application that sent you here is not registered, or may not log anybody in."
WRONG_REDIRECT = "The application that sent you here wants you back at an address that is not registered for it, to the letter."
TOO_LARGE = "The application that sent you here asks in too many words."


class RequestRefused(Exception):  # noqa: N818 - an answer, not a fault of the program
    """Nobody may be sent back for this request; `reason` is for the page."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Returned(Exception):  # noqa: N818 - an answer, not a fault of the program
    """The request is answered with an error at the client's own `location`."""

    def __init__(self, location: str) -> None:
        super().__init__("returned to the client")
        self.location = location


class Authorization(msgspec.Struct, frozen=True):
    """A request that holds: who asks for what, where the answer goes, and what is asked of which person."""

    client: RegisteredClient
    redirect_uri: str
    scopes: tuple[str, ...]
    prompts: frozenset[str]
    max_age: int | None
    hinted: UUID | None
    parameters: dict[str, str]


class Approval(msgspec.Struct, frozen=True):
    """Who said yes, when they gave their password, and for which account (None: for all of theirs)."""

    user_id: UUID
    auth_time: datetime
    narrowed_to: UUID | None


class ResponseIssuer(IssuerParameter):
    """Names this server in every answer, against mix-up attacks (RFC 9207)."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer

    def get_issuer(self) -> str:
        """Return the issuer."""
        return self.issuer.url


@cache
def server_for(issuer: Issuer) -> Server:
    """Return the server of an issuer, with its grants."""
    server = Server(issuer)
    server.register_extension(ResponseIssuer(issuer))
    for grant, extensions in GRANTS:
        server.register_grant(grant, extensions)
    return server


async def examined(issuer: Issuer, parameters: Mapping[str, str]) -> Authorization:
    """Check a request for authorization.

    Raises:
        RequestRefused: an unknown client or redirect URI.
        Returned: anything else.
    """
    client = await live_client(parameters.get("client_id", ""))
    redirect_uri = parameters.get("redirect_uri", "")
    if client is None or client.kind == "machine":
        raise RequestRefused(UNKNOWN_CLIENT)
    if not client.check_redirect_uri(redirect_uri):
        logger.info("client %s may not send people back to where it asks to", client.id)
        raise RequestRefused(WRONG_REDIRECT)
    if sum(len(name) + len(value) for name, value in parameters.items()) > LARGEST_REQUEST:
        raise RequestRefused(TOO_LARGE)
    request = FormRequest(issuer, "GET", parameters)
    authorization = Authorization(
        client, redirect_uri, (), prompts_of(parameters), None, None, dict(parameters)
    )
    if found := contradiction(parameters):
        raise Returned(returned(issuer, authorization, *found))
    try:
        await bridged(server_for(issuer).get_consent_grant, request, None)
    except OAuth2Error as error:
        known = " ".join(client.scopes or SCOPES)
        advice = f"Send scope: {known}" if error.error == "invalid_scope" else error.description
        raise Returned(returned(issuer, authorization, str(error.error), advice)) from None
    age, hint = parameters.get("max_age"), parameters.get("id_token_hint")
    hinted = None if hint is None else await user_of(issuer, client, hint)
    if hint is not None and hinted is None:
        advice = "Send an ID token that this server issued to the client"
        raise Returned(returned(issuer, authorization, "invalid_request", advice))
    return msgspec.structs.replace(
        authorization,
        scopes=tuple(request.scope.split()),
        max_age=None if age is None else int(age),
        hinted=hinted,
    )


async def user_of(issuer: Issuer, client: RegisteredClient, id_token: str) -> UUID | None:
    """Return whom an ID token is about that this server issued to the client, however long ago; None if it did not."""
    try:
        claims = jwt.decode(id_token, await keys.verifying_keys(), algorithms=[keys.ALGORITHM]).claims
        ours = claims["iss"] == issuer.url and claims["aud"] == client.get_client_id()
        return UUID(claims["sub"]) if ours else None
    except HOSTILE:
        return None


def contradiction(parameters: Mapping[str, str]) -> tuple[str, str] | None:
    """Find what Authlib overlooks, or answers with the wrong word; return the error and what to do about it."""
    response_type, age = parameters.get("response_type"), parameters.get("max_age", "0")
    prompts = prompts_of(parameters)
    rules = [
        ("request" in parameters, "request_not_supported", "Send plain parameters"),
        ("request_uri" in parameters, "request_uri_not_supported", "Send plain parameters"),
        ("registration" in parameters, "registration_not_supported", "Register the client beforehand"),
        (not response_type, "invalid_request", "Send response_type=code"),
        (response_type != "code", "unsupported_response_type", "Send response_type=code"),
        (parameters.get("response_mode", "query") != "query", "invalid_request", "Leave response_mode out"),
        (not prompts <= PROMPTS, "invalid_request", f"Known prompts: {' '.join(sorted(PROMPTS))}"),
        ("none" in prompts and len(prompts) > 1, "invalid_request", "prompt=none stands alone"),
        (
            not is_age(age),
            "invalid_request",
            "max_age is a number of seconds",
        ),
    ]
    return next(((error, advice) for wrong, error, advice in rules if wrong), None)


def is_age(text: str) -> bool:
    """Whether a text is a number of seconds."""
    return text.isascii() and text.isdigit() and len(text) <= LONGEST_AGE


def prompts_of(parameters: Mapping[str, str]) -> frozenset[str]:
    """Read what the person is to be asked in any case."""
    return frozenset(parameters.get("prompt", "").split())


async def granted(issuer: Issuer, authorization: Authorization, approval: Approval) -> str:
    """Store what the person approved; return where to send them, with the code."""
    server = server_for(issuer)
    request = FormRequest(issuer, "GET", authorization.parameters)
    answer = await bridged(completed, server, request, approval)
    if answer.location is None:
        raise RequestRefused(WRONG_REDIRECT)
    return answer.location


def completed(server: Server, request: FormRequest, approval: Approval) -> Answer:
    """Let Authlib check the request once more and make the answer; runs in a bridge."""
    grant = server.get_authorization_grant(request)
    answer: Answer = server.create_authorization_response(request, approval, grant)
    return answer


def declined(issuer: Issuer, authorization: Authorization, error: str) -> str:
    """Return where to send a person whose request ends with an error."""
    return returned(issuer, authorization, error, DECLINED.get(error, ""))


def returned(issuer: Issuer, authorization: Authorization, error: str, description: str) -> str:
    """Write the address of an error at the client (RFC 6749, 4.1.2.1), with the issuer (RFC 9207)."""
    told = {
        "error": error,
        "error_description": description,
        "state": authorization.parameters.get("state", ""),
        "iss": issuer.url,
    }
    pairs = [(name, value) for name, value in told.items() if value]
    location: str = add_params_to_uri(authorization.redirect_uri, pairs)
    return location
