"""What programs call: token, revocation, introspection, userinfo, keys and metadata.

Each opens one transaction, which commits whatever is answered: a replay is refused *and* revokes. After the commit nothing
fails any more, so that no client is led to try again what was done.
"""

import contextlib
import http
import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidClientError
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from litestar import HttpMethod, Request, Response, Router, get, post, route
from litestar.exceptions import HTTPException

from auth import keys, throttle, tokens
from auth.authorization import PROMPTS, server_for
from auth.bearer import token_text
from auth.bridge import bridged, wait
from auth.cors import for_scripts
from auth.forms import form_of
from auth.grants import GRANTS
from auth.issuer import TOKEN_PATHS, Issuer, issuer_of
from auth.models import Introspection, KeySet, Metadata, OAuthError, TokenResponse, UserAccount, UserInfo
from auth.scopes import SCOPES
from auth.server import CLIENT_METHODS, CONFIDENTIAL_METHODS, Answer, FormRequest, Server
from auth.tokens import HeldToken
from tenancy.errors import BadRequest, Forbidden, Refusal, TooManyAttempts, Unauthenticated, Unavailable
from tenancy.faults import UNSERVED, unavailable
from tenancy.rows import current_connection, transaction

logger = logging.getLogger("tutti.auth")

NOT_STORED = {"Cache-Control": "no-store", "Pragma": "no-cache"}
PUBLIC_CACHE = {"Cache-Control": f"public, max-age={keys.CACHE_SECONDS}", "Access-Control-Allow-Origin": "*"}
GRANT_TYPES: list[str] = [grant.GRANT_TYPE for grant, _ in GRANTS]
GUESSES = ("invalid_client", "invalid_grant")  # the errors of whoever tries what they do not hold
ATTEMPTS = 3  # of a request that meets the deletion of its client
ANYONE = {"proof": "none"}
CLIENT = {"proof": "client"}
BEARER = {"proof": "token"}
FOR_SCRIPTS = ("/oauth/token", "/oauth/revoke", "/oauth/userinfo", TOKEN_PATHS[1])
PERSON = """
SELECT app_user.id, app_user.name, app_user.email, app_user.created_at FROM app_user WHERE app_user.id = $1
"""


class Anything:
    """A set that everything is in: a token type that we do not know is no reason to refuse (RFC 7009, 2.2)."""

    def __contains__(self, one: object) -> bool:
        return True


class OwnToken:
    """Finds the token of a request if it is of the client that asks; another client's is as unknown as none."""

    SUPPORTED_TOKEN_TYPES = Anything()
    server: Server

    def query_token(self, token_string: str, _: str | None) -> HeldToken | None:
        """Find an access or refresh token, whatever the hint says."""
        return wait(tokens.find_either(token_string))

    def authenticate_token(self, request: FormRequest, client: Any) -> HeldToken | None:
        """Find it, and see whose it is."""
        self.check_params(request, client)  # type: ignore[attr-defined] # Authlib's, beside this class
        found = self.query_token(request.form["token"], None)
        return found if found is not None and found.client_id == client.id else None


class Revocation(OwnToken, RevocationEndpoint):
    """A client gives back a token of its own (RFC 7009)."""

    CLIENT_AUTH_METHODS = CLIENT_METHODS

    def revoke_token(self, token: HeldToken, request: FormRequest) -> None:  # noqa: ARG002 - Authlib's signature
        """Revoke it; a refresh token takes its family along."""
        wait(tokens.revoke(token))


class IntrospectionOfOwn(OwnToken, IntrospectionEndpoint):
    """A client asks what a token of its own is worth (RFC 7662)."""

    CLIENT_AUTH_METHODS = CONFIDENTIAL_METHODS

    def create_introspection_payload(self, token: HeldToken | None) -> dict[str, Any]:
        """Tell it, if everybody in its grant may still act."""
        if token is None or not token.valid or not wait(tokens.grant_is_live(token.grant_id)):
            return {"active": False}
        told = {
            "active": True,
            "scope": " ".join(token.scopes),
            "client_id": str(token.client_id),
            "token_type": "Bearer" if token.kind == "access_token" else "refresh_token",
            "exp": int(token.expires_at.timestamp()),
            "iat": int(token.issued_at.timestamp()),
            "sub": str(token.user_id or token.client_id),
            "aud": self.server.issuer.url,
            "iss": self.server.issuer.url,
        }
        return told | ({"account_id": str(token.narrowed_to)} if token.narrowed_to else {})


@post(list(TOKEN_PATHS), status_code=200, operation_id="IssueToken", opt=CLIENT, middleware=[for_scripts])
async def token(request: Request[Any, Any, Any]) -> Response[TokenResponse]:
    """Issue tokens for an authorization code, a refresh token, a signed assertion or a machine client's own secret.

    Errors are status 400, wrong client credentials as well: it is the one status that the vendor's SDKs read an error from.
    """
    return await answered(request, lambda server, wanted: server.create_token_response(wanted), known_grant)


@post("/oauth/revoke", status_code=200, operation_id="RevokeToken", opt=CLIENT, middleware=[for_scripts])
async def revoke(request: Request[Any, Any, Any]) -> Response[dict[str, str]]:
    """Revoke an access token, or a refresh token and everything of its family; one that is unknown is revoked already."""
    return await answered(request, lambda server, wanted: endpoint(server, Revocation, wanted), names_token)


@post("/oauth/introspect", status_code=200, operation_id="IntrospectToken", opt=CLIENT)
async def introspect(request: Request[Any, Any, Any]) -> Response[Introspection]:
    """Say what a token of the calling client is worth; everything else is `active: false`."""
    return await answered(
        request, lambda server, wanted: endpoint(server, IntrospectionOfOwn, wanted), names_token
    )


async def answered(
    request: Request[Any, Any, Any],
    call: Callable[[Server, FormRequest], Answer],
    check: Callable[[FormRequest], None],
) -> Response[Any]:
    """Read a form, let Authlib answer in one transaction, and count what looks like a guess."""
    issuer, fields = issuer_of(request), await form_of(request)

    def read() -> FormRequest:
        return FormRequest(issuer, "POST", fields, request.headers.get("authorization"))

    check(read())
    answer = await committed(call, server_for(issuer), read)
    if answer.error in GUESSES:
        await throttle.token_failure(claimed_client(read()), throttle.address_of(request))
    challenge = {name: text for name, text in answer.headers.items() if name == "WWW-Authenticate"}
    return Response(answer.body, status_code=answer.status, headers=NOT_STORED | challenge)


async def committed(
    call: Callable[[Server, FormRequest], Answer], server: Server, read: Callable[[], FormRequest]
) -> Answer:
    """Let Authlib answer in one transaction; anew where the client was being deleted, as it then finds it gone."""
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(asyncpg.ForeignKeyViolationError, asyncpg.DeadlockDetectedError):
            async with transaction():
                return await bridged(call, server, read())
    async with transaction():
        return await bridged(call, server, read())


def known_grant(wanted: FormRequest) -> None:
    """Refuse a grant type that is missing or not offered, in the right words.

    Raises:
        OAuth2Error: invalid_request or unsupported_grant_type.
    """
    grant_type = wanted.fields.get("grant_type")
    if grant_type not in GRANT_TYPES:
        error = "unsupported_grant_type" if grant_type else "invalid_request"
        raise OAuth2Error(f"Send a grant_type: {', '.join(GRANT_TYPES)}", error=error)


def names_token(wanted: FormRequest) -> None:
    """Refuse a request without a token.

    Raises:
        OAuth2Error: invalid_request.
    """
    if "token" not in wanted.fields:
        raise OAuth2Error("Send the token", error="invalid_request")


def endpoint(server: Server, kind: type[Any], wanted: FormRequest) -> Answer:
    """Let one of Authlib's endpoints answer; a client that proves nothing gets 401 here (RFC 7662, 2.3)."""
    try:
        return server.handle_response(*kind(server)(wanted))
    except OAuth2Error as error:
        if isinstance(error, InvalidClientError):
            error.status_code = http.HTTPStatus.UNAUTHORIZED
        answer: Answer = server.handle_error_response(wanted, error)
        return answer


def claimed_client(wanted: FormRequest) -> str:
    """Say which client a request claims to be of: for counting its failures, proved or not."""
    return wanted.basic[0] if wanted.basic else wanted.fields.get("client_id", "")


@get("/oauth/userinfo", operation_id="GetUserInfo", opt=BEARER, middleware=[for_scripts])
async def user_info(request: Request[Any, Any, Any]) -> Response[UserInfo]:
    """Say who the token is of, and where the API of each of their accounts is."""
    return await told(request, request.headers.get("authorization"))


@post(
    "/oauth/userinfo", status_code=200, operation_id="GetUserInfoByForm", opt=BEARER, middleware=[for_scripts]
)
async def user_info_by_form(request: Request[Any, Any, Any]) -> Response[UserInfo]:
    """The same; the token may be the form field `access_token` instead (RFC 6750, 2.2)."""
    authorization = request.headers.get("authorization")
    if await request.body():
        named = (await form_of(request)).get("access_token")
        if named and authorization:
            raise BadRequest("Send the token once: in the header or in the body.")
        authorization = f"Bearer {named}" if named else authorization
    return await told(request, authorization)


async def told(request: Request[Any, Any, Any], authorization: str | None) -> Response[UserInfo]:
    """Look up the user of a token and their accounts.

    Raises:
        Unauthenticated: the token does not hold.
        Forbidden: it is a machine client's, or of neither `openid` nor `signature`.
    """
    text = token_text(authorization)
    async with transaction() as connection:
        held = await tokens.find_either(text)
        if held is None or held.kind != "access_token" or not held.valid:
            raise Unauthenticated
        if not await tokens.grant_is_live(held.grant_id):
            raise Unauthenticated
        if held.user_id is None or not {"openid", "signature"} & set(held.scopes):
            raise Forbidden(
                "The access token stands for no user, or has neither the scope openid nor signature.",
                scopes=("openid",),
            )
        person = await connection.fetchrow(PERSON, held.user_id)
        accounts = await accounts_of(held.user_id, held.narrowed_to, issuer_of(request))
    return Response(claims(person, set(held.scopes), accounts), headers=NOT_STORED)


async def accounts_of(user_id: UUID, narrowed_to: UUID | None, issuer: Issuer) -> list[UserAccount]:
    """List the accounts that a token reaches, the user's first one as the default; all live in this one cell."""
    rows = await current_connection().fetch("SELECT * FROM live_memberships($1)", user_id)
    reached = [row for row in rows if narrowed_to in (None, row["account_id"])]
    return [
        UserAccount(
            account_id=str(row["account_id"]),
            is_default=place == 0,
            account_name=row["account_name"],
            base_uri=issuer.url,
        )
        for place, row in enumerate(reached)
    ]


def claims(person: Any, scopes: set[str], accounts: list[UserAccount]) -> UserInfo:
    """Choose what the scopes tell; the vendor's scope `signature` tells everything, as its SDKs insist on it."""
    told_all = "signature" in scopes
    answer = UserInfo(sub=str(person["id"]), accounts=accounts)
    if told_all or "profile" in scopes:
        given, _, family = person["name"].rpartition(" ")
        answer.name = person["name"]
        answer.given_name, answer.family_name = (given, family) if given else (family, "")
        answer.created = person["created_at"].replace(tzinfo=None).isoformat(timespec="milliseconds")
    if told_all or "email" in scopes:
        answer.email, answer.email_verified = person["email"], False
    return answer


@get("/oauth/jwks", operation_id="GetKeys", opt=ANYONE)
async def jwks() -> Response[KeySet]:
    """The public keys of ID tokens; may be kept for five minutes, as a new key is published before it signs."""
    return Response(msgspec.convert(await keys.published_keys(), KeySet), headers=PUBLIC_CACHE)


@get(
    ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"],
    operation_id="GetMetadata",
    opt=ANYONE,
)
async def metadata(request: Request[Any, Any, Any]) -> Response[Metadata]:
    """What this server can do, and where."""
    return Response(metadata_of(issuer_of(request)), headers=PUBLIC_CACHE)


def metadata_of(issuer: Issuer) -> Metadata:
    """Describe the server."""
    return Metadata(
        issuer=issuer.url,
        authorization_endpoint=issuer.at("/oauth/auth"),
        token_endpoint=issuer.at("/oauth/token"),
        userinfo_endpoint=issuer.at("/oauth/userinfo"),
        revocation_endpoint=issuer.at("/oauth/revoke"),
        introspection_endpoint=issuer.at("/oauth/introspect"),
        end_session_endpoint=issuer.at("/oauth/logout"),
        jwks_uri=issuer.at("/oauth/jwks"),
        scopes_supported=list(SCOPES),
        response_types_supported=["code"],
        response_modes_supported=["query"],
        grant_types_supported=GRANT_TYPES,
        subject_types_supported=["public"],
        id_token_signing_alg_values_supported=["RS256"],
        token_endpoint_auth_methods_supported=CLIENT_METHODS,
        token_endpoint_auth_signing_alg_values_supported=["RS256"],
        revocation_endpoint_auth_methods_supported=CLIENT_METHODS,
        revocation_endpoint_auth_signing_alg_values_supported=["RS256"],
        introspection_endpoint_auth_methods_supported=CONFIDENTIAL_METHODS,
        introspection_endpoint_auth_signing_alg_values_supported=["RS256"],
        code_challenge_methods_supported=["S256"],
        claims_supported=[
            *UserInfo.__struct_fields__,
            "iss",
            "aud",
            "exp",
            "iat",
            "auth_time",
            "nonce",
            "amr",
            "at_hash",
        ],
        prompt_values_supported=sorted(PROMPTS),
        authorization_response_iss_parameter_supported=True,
        claims_parameter_supported=False,
        request_parameter_supported=False,
        request_uri_parameter_supported=False,
    )


@route(
    list(FOR_SCRIPTS),
    http_method=[HttpMethod.OPTIONS],
    status_code=204,
    include_in_schema=False,
    opt=ANYONE,
    middleware=[for_scripts],
)
async def preflight() -> None:
    """Let a browser ask whether a page may call; `for_scripts` writes the answer."""


def refused(request: Request[Any, Any, Any], refusal: Refusal) -> Response[OAuthError]:
    """Word a refusal as OAuth does."""
    words = {
        400: "invalid_request",
        401: "invalid_token",
        403: "insufficient_scope",
        429: "slow_down",
        503: "temporarily_unavailable",
    }
    headers = dict(NOT_STORED)
    if isinstance(refusal, TooManyAttempts | Unavailable):
        headers["Retry-After"] = str(refusal.retry_after)
    if isinstance(refusal, Unauthenticated):
        sent = "authorization" in request.headers or request.headers.get("content-length", "0") != "0"
        headers["WWW-Authenticate"] = 'Bearer realm="tutti"' + (', error="invalid_token"' if sent else "")
    if isinstance(refusal, Forbidden):
        headers["WWW-Authenticate"] = (
            f'Bearer realm="tutti", error="insufficient_scope", scope="{" ".join(refusal.scopes)}"'
        )
    body = OAuthError(error=words.get(refusal.status, "invalid_request"), error_description=refusal.detail)
    return Response(body, status_code=refusal.status, headers=headers)


def contradicted(request: Request[Any, Any, Any], error: OAuth2Error) -> Response[OAuthError]:
    """Word what was found wrong before Authlib was asked."""
    status, headers = http.HTTPStatus.BAD_REQUEST, dict(NOT_STORED)
    if isinstance(error, InvalidClientError) and request.scope["path"] not in TOKEN_PATHS:
        status, headers["WWW-Authenticate"] = http.HTTPStatus.UNAUTHORIZED, 'Basic realm="tutti"'
    body = OAuthError(error=str(error.error), error_description=error.description)
    return Response(body, status_code=status, headers=headers)


def misunderstood(_: Request[Any, Any, Any], error: HTTPException) -> Response[OAuthError]:
    """Word what Litestar refused, such as a body that is too large."""
    allowed = (error.headers or {}).get("Allow")
    phrase = http.HTTPStatus(error.status_code).phrase
    advice = (
        f"Use {allowed}, with parameters in the body of a POST"
        if allowed
        else f"{phrase}: compare with RFC 6749"
    )
    body = OAuthError(error="invalid_request", error_description=advice)
    return Response(body, status_code=error.status_code, headers=NOT_STORED | dict(error.headers or {}))


def away(request: Request[Any, Any, Any], error: Exception) -> Response[OAuthError]:
    """Answer that the database is away for a moment."""
    return refused(request, unavailable(error))


def failed(request: Request[Any, Any, Any], error: Exception) -> Response[OAuthError]:
    """Answer a fault of ours; the log has the cause."""
    logger.error("request to %s failed", request.scope["path"], exc_info=error)
    body = OAuthError(error="server_error", error_description="An unexpected error occurred on the server.")
    return Response(body, status_code=http.HTTPStatus.INTERNAL_SERVER_ERROR, headers=NOT_STORED)


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    Refusal: refused,
    OAuth2Error: contradicted,
    HTTPException: misunderstood,
    **dict.fromkeys(UNSERVED, away),
    Exception: failed,
}
# The preflight first: of a path that has no handler for OPTIONS yet, Litestar makes one of its own.
HANDLERS = [preflight, token, revoke, introspect, user_info, user_info_by_form, jwks, metadata]


def oauth_router() -> Router:
    """Put the endpoints together with OAuth's way of refusing."""
    return Router(path="/", route_handlers=HANDLERS, exception_handlers=EXCEPTION_HANDLERS)
