"""Requests access tokens: the grants of OAuth 2.0 that need no browser (RFC 6749, 7523, 8693), and OpenID's discovery."""

import base64
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import quote_plus, urlencode

import msgspec
from authlib.oauth2.rfc7523 import client_secret_jwt_sign
from joserfc.jwk import OctKey
from yarl import URL

from service.engine.egress import USER_AGENT, CallError, Egress, Request, Response, address_of
from service.engine.tokens import Token
from service.language.authentication import TOKEN_EXCHANGE
from service.telemetry import tracing

HEADERS = {"accept": "application/json", "user-agent": USER_AGENT}
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
WELL_KNOWN = "/.well-known/openid-configuration"
ASSERTION_SECONDS = 60  # for which an assertion that is made here is good
SHORTEST_KEY = 14  # bytes of a secret that can sign an assertion

_ERROR = re.compile(r"[a-z_]{1,64}")  # RFC 6749, 5.2; the description beside it may repeat what was sent


Found = TypeVar("Found")


class Subject(msgspec.Struct, frozen=True):
    """A token to be exchanged."""

    token: str
    type: str


class Client(msgspec.Struct, frozen=True):
    """Who asks for the token."""

    id: str | None = None
    secret: str | None = None
    assertion: str | None = None
    authentication: Literal[
        "client_secret_post", "client_secret_basic", "client_secret_jwt", "private_key_jwt", "none"
    ] = "client_secret_post"


class Encoding(msgspec.Struct, frozen=True):
    """How the request for the token is written."""

    encoding: Literal["application/x-www-form-urlencoded", "application/json"] = (
        "application/x-www-form-urlencoded"
    )


class Endpoints(msgspec.Struct, frozen=True):
    """Where below the authority the token is to be had."""

    token: str = "/oauth2/token"  # noqa: S105 - a path


class OAuth(msgspec.Struct, frozen=True):
    """The fields of `oauth2` and `oidc` (contract 7.1)."""

    authority: str
    grant: Literal["client_credentials", "password", "urn:ietf:params:oauth:grant-type:token-exchange"]
    client: Client = Client()
    request: Encoding = Encoding()
    endpoints: Endpoints = Endpoints()
    issuers: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    username: str | None = None
    password: str | None = None
    subject: Subject | None = None
    actor: Subject | None = None


class Granted(msgspec.Struct, frozen=True):
    """The answer of a token endpoint (RFC 6749, 5.1)."""

    access_token: str
    expires_in: Any = None


class Discovered(msgspec.Struct, frozen=True):
    """What is wanted of an OpenID provider's configuration."""

    issuer: str
    token_endpoint: str


async def token_from(egress: Egress, policy: OAuth, *, discovers: bool) -> Token:
    """Request a token.

    Raises:
        CallError: `configuration` when the policy lacks what its grant needs, `authorization` when the authority may not be
            called, else `authentication`. No message repeats what was sent or what came back.
    """
    parameters = grant_parameters(policy)
    authority = address_of(policy.authority)
    endpoint = (
        await discovered(egress, policy, authority)
        if discovers
        else address_of(policy.authority.rstrip("/") + "/" + policy.endpoints.token.lstrip("/"))
    )
    headers, own = client_proof(policy.client, str(endpoint))
    parameters |= own
    if policy.request.encoding == "application/json":
        body = msgspec.json.encode(
            {name: one[0] if len(one) == 1 else one for name, one in parameters.items()}
        )
    else:
        body = urlencode([(name, each) for name, one in parameters.items() for each in one]).encode()
    headers |= {**HEADERS, "content-type": policy.request.encoding}
    response = await asked(egress, Request("POST", endpoint, headers, body))
    if not 200 <= response.status < 300:
        raise unauthenticated(f"The token endpoint answered {response.status}{reason_in(response)}.")
    granted = decoded(response, Granted, "The token endpoint's answer")
    check_issuer(granted.access_token, policy.issuers)
    return Token(granted.access_token, seconds_in(granted.expires_in))


def grant_parameters(policy: OAuth) -> dict[str, list[str]]:
    """What the grant itself sends."""
    parameters: dict[str, list[str]] = {"grant_type": [policy.grant]}
    if policy.scopes:
        parameters["scope"] = [" ".join(policy.scopes)]
    if policy.audiences:
        parameters["audience"] = list(policy.audiences)
    if policy.grant == "password":
        parameters["username"] = [needed(policy.username, "username", policy.grant)]
        parameters["password"] = [needed(policy.password, "password", policy.grant)]
    if policy.grant == TOKEN_EXCHANGE:
        subject = needed(policy.subject, "subject", policy.grant)
        parameters |= {"subject_token": [subject.token], "subject_token_type": [subject.type]}
        if policy.actor is not None:
            parameters |= {"actor_token": [policy.actor.token], "actor_token_type": [policy.actor.type]}
    return parameters


def client_proof(client: Client, audience: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The headers and parameters by which the client proves who it is (RFC 6749, 2.3, and 7523, 2.2)."""
    how = client.authentication
    if how == "none":
        return {}, {} if client.id is None else {"client_id": [client.id]}
    name = needed(client.id, "client.id", how)
    if how == "private_key_jwt":
        return {}, asserted(name, needed(client.assertion, "client.assertion", how))
    secret = needed(client.secret, "client.secret", how)
    if how == "client_secret_basic":
        both = base64.b64encode(f"{quote_plus(name)}:{quote_plus(secret)}".encode()).decode()
        return {"authorization": f"Basic {both}"}, {}
    if how == "client_secret_post":
        return {}, {"client_id": [name], "client_secret": [secret]}
    if len(secret.encode()) < SHORTEST_KEY:
        raise CallError(
            "configuration",
            "The authentication cannot work",
            f"`client.secret` is too short to sign an assertion: `{how}` takes {SHORTEST_KEY} bytes or more.",
        )
    return {}, asserted(
        name, client_secret_jwt_sign(OctKey.import_key(secret), name, audience, expires_in=ASSERTION_SECONDS)
    )


def asserted(name: str, assertion: str) -> dict[str, list[str]]:
    """The parameters of an assertion."""
    return {
        "client_id": [name],
        "client_assertion_type": [ASSERTION_TYPE],
        "client_assertion": [assertion],
    }


def needed(value: Found | None, name: str, purpose: str) -> Found:
    """A field that a grant or a proof cannot do without."""
    if value is None:
        detail = f"The field `{name}` is missing; `{purpose}` needs it."
        raise CallError("configuration", "The authentication cannot work", detail)
    return value


# --- What comes back ------------------------------------------------------------------------------------------------


async def discovered(egress: Egress, policy: OAuth, authority: URL) -> URL:
    """The token endpoint of an OpenID provider (OpenID Connect Discovery 1.0, 4)."""
    issuer = policy.authority.removesuffix(WELL_KNOWN).rstrip("/")
    response = await asked(egress, Request("GET", address_of(issuer + WELL_KNOWN), HEADERS))
    if response.status != 200:
        raise unauthenticated(f"The provider's configuration could not be read: {response.status}.")
    found = decoded(response, Discovered, "The provider's configuration")
    if found.issuer.rstrip("/") not in [one.rstrip("/") for one in policy.issuers or (issuer,)]:
        raise unauthenticated("The provider is another issuer than `authority`, and not one of `issuers`.")
    try:
        endpoint = address_of(found.token_endpoint)
    except CallError:
        raise unauthenticated("The provider's token endpoint is not a URL that can be called.") from None
    if authority.scheme == "https" != endpoint.scheme:
        raise unauthenticated("The provider's token endpoint is not protected by TLS.")
    return endpoint


async def asked(egress: Egress, request: Request) -> Response:
    """The answer of the authority; that there is none is a failure to authenticate."""
    try:
        return await egress.send(msgspec.structs.replace(request, headers=tracing.carried(request.headers)))
    except CallError as error:
        if error.kind == "authorization":
            raise
        raise unauthenticated(f"The authority could not be asked: {error.detail}") from None


def decoded(response: Response, kind: type[Found], what: str) -> Found:
    """The JSON of an answer, with what is wanted of it."""
    try:
        return msgspec.json.decode(response.body, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise unauthenticated(f"{what} is not the JSON that it has to be.") from None


def reason_in(response: Response) -> str:
    """The error code of an answer, if it is one."""
    try:
        answer = msgspec.json.decode(response.body, type=Mapping[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""
    code = answer.get("error")
    return f": {code}" if isinstance(code, str) and _ERROR.fullmatch(code) else ""


def seconds_in(value: Any) -> float | None:
    """For how long a token is good; some servers say it as text."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def check_issuer(token: str, issuers: tuple[str, ...]) -> None:
    """Refuse a token that says, if it is a JWT, that it is of another issuer."""
    if not issuers:
        return
    parts = token.split(".")
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "==")) if len(parts) == 3 else {}
    except (ValueError, msgspec.DecodeError, RecursionError):
        return
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    if isinstance(issuer, str) and issuer not in issuers:
        raise unauthenticated("The token is of an issuer that is not one of `issuers`.")


def unauthenticated(detail: str) -> CallError:
    """The error of contract 7.1 for a token that could not be had."""
    return CallError("authentication", "No access token", detail)
