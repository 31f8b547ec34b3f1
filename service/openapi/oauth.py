"""The document of the OAuth server.

Its handlers read forms and queries as they come, so paths, names and answers are taken from the application's routes, and
what each reads and refuses stands here. A route of the server that is not described here makes no document.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from litestar.handlers import HTTPRouteHandler

from auth import models
from auth.forms import MEDIA_TYPE
from auth.scopes import SCOPES
from service.app import create_litestar
from service.openapi.oauth_examples import ANSWERS
from service.openapi.oauth_forms import FORMS, USES
from service.openapi.parts import (
    COMPONENTS,
    CONTACT,
    REQUEST_ID,
    SCHEMAS,
    component_schemas,
    drop_unused,
    headers,
    titled,
)
from service.settings import Settings

JSON, HTML = "application/json", "text/html"
DESCRIPTION = """\
Tutti's own authorization server: OAuth 2.0 and OpenID Connect, with the paths and bodies that the vendors' SDKs know.

Clients, which belong to an account, are registered at the command line. A token of a user reaches all of their accounts,
or the one chosen while logging in; a machine client's reaches the account it belongs to. Errors are those of RFC 6749,
in `application/json`; at the token endpoint each is status 400, as SDKs read errors from no other.
"""
TAGS = {
    "Logging in": "Where a browser is sent, and comes back from with a code.",
    "Tokens": "Tokens are issued, asked about and given back.",
    "Users": "Who a token is of.",
    "Discovery": "What the server can do, and the keys that its ID tokens are signed with.",
}
# The operation ids of handlers' further paths.
SECOND_IDS = {
    "/api/auth/oauth/token": "IssueTokenForFormance",
    "/.well-known/oauth-authorization-server": "GetServerMetadata",
}
NOBODY: list[dict[str, list[str]]] = []
# In the header; a client that proves itself in the body sends none.
CLIENT: list[dict[str, list[str]]] = [{"client": []}, {}]
USER: list[dict[str, list[str]]] = [{"oauth2": ["openid"]}, {"oauth2": ["signature"]}, {"accessToken": []}]
HEADERS: dict[str, dict[str, Any]] = {
    "RequestId": {"description": REQUEST_ID},
    "Location": {"description": "Where the browser goes next.", "required": True},
    "ClientChallenge": {"description": "Which proof is missing (RFC 6749, 5.2).", "required": True},
    "TokenChallenge": {"description": "Which proof is missing (RFC 6750, 3).", "required": True},
    "RetryAfter": {
        "description": "Seconds to wait.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "CacheControl": {"description": "How long the answer may be kept: `no-store` for anything secret."},
}


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation's code does not say: its tag, who may call, the form it reads, what else it answers."""

    tag: str
    security: list[dict[str, list[str]]]
    answers: dict[str, str]
    form: str | None = None


class Refused(msgspec.Struct, frozen=True):
    """One refusal: what it means, an example of its body, further headers."""

    description: str
    error: str
    advice: str
    headers: tuple[tuple[str, str], ...] = ()


REFUSALS = {
    "BadRequest": Refused(
        "The request, or what it proves, does not hold; `error` says which.",
        "invalid_grant",
        "The refresh token is unknown, expired, used, revoked or of another client; let the user log in again",
    ),
    "ClientRefused": Refused(
        "The client is unknown, or its proof does not hold.",
        "invalid_client",
        "The client is unknown, or its proof does not hold",
        (("WWW-Authenticate", "ClientChallenge"),),
    ),
    "TokenRefused": Refused(
        "No access token, or one that does not hold.",
        "invalid_token",
        "The access token is unknown, expired or revoked; ask for a new one.",
        (("WWW-Authenticate", "TokenChallenge"),),
    ),
    "ScopeMissing": Refused(
        "The access token is a machine client's, or has neither the scope openid nor signature.",
        "insufficient_scope",
        "The access token stands for no user, or has neither the scope openid nor signature.",
        (("WWW-Authenticate", "TokenChallenge"),),
    ),
    "TooLarge": Refused("The body is too large.", "invalid_request", "Request Entity Too Large"),
    "TooManyAttempts": Refused(
        "Too many attempts of this client or from this address failed.",
        "slow_down",
        "Too many attempts failed; wait and try again.",
        (("Retry-After", "RetryAfter"),),
    ),
    "Failed": Refused(
        "A fault of the server; nothing was issued.",
        "server_error",
        "An unexpected error occurred on the server.",
    ),
    "Unavailable": Refused(
        "The server cannot answer just now; the same request may be sent again.",
        "temporarily_unavailable",
        "The service cannot serve the request just now; send it again in a few seconds.",
        (("Retry-After", "RetryAfter"),),
    ),
}
SENT = (
    "To the client, with code, state and iss or with error, error_description, state and iss; or to the page where the "
    "person logs in, chooses an account or consents."
)
PAGES = {
    "ErrorPage": "A page for the person: the client or the redirect URI is not known, so nobody is sent on.",
    "TooLargePage": "A page for the person: the body is too large.",
    "WaitPage": "A page for the person: too many logins were begun from their address; it says how long to wait.",
    "FailurePage": "A page for the person: a fault of the server.",
    "UnavailablePage": "A page for the person: the server cannot answer just now.",
}
FAULTS = {"500": "Failed", "503": "Unavailable"}
COUNTED = {"413": "TooLarge", "429": "TooManyAttempts"} | FAULTS
PROVED = {"400": "BadRequest", "401": "ClientRefused"} | COUNTED
TOLD = {"401": "TokenRefused", "403": "ScopeMissing"} | FAULTS
SENT_ON = {"303": "SentOn", "400": "ErrorPage", "500": "FailurePage", "503": "UnavailablePage"}
OPERATIONS = {
    "Authorize": About(
        tag="Logging in", security=NOBODY, answers=SENT_ON | {"429": "WaitPage"}, form="AuthorizationForm"
    ),
    "AuthorizeByForm": About(
        tag="Logging in", security=NOBODY, answers=SENT_ON | {"413": "TooLargePage"}, form="AuthorizationForm"
    ),
    "IssueToken": About(
        tag="Tokens", security=CLIENT, answers={"400": "BadRequest"} | COUNTED, form="TokenForm"
    ),
    "RevokeToken": About(tag="Tokens", security=CLIENT, answers=PROVED, form="RevocationForm"),
    "IntrospectToken": About(tag="Tokens", security=CLIENT, answers=PROVED, form="IntrospectionForm"),
    "GetUserInfo": About(tag="Users", security=USER, answers=TOLD),
    "GetUserInfoByForm": About(
        tag="Users",
        security=[*USER, {}],
        answers=TOLD | {"400": "BadRequest", "413": "TooLarge"},
        form="UserInfoForm",
    ),
    "GetKeys": About(tag="Discovery", security=NOBODY, answers=FAULTS),
    "GetMetadata": About(tag="Discovery", security=NOBODY, answers=FAULTS),
}
REVOKED: dict[str, Any] = {
    "title": "Revoked",
    "description": "An empty object: the token is worth nothing, if it ever was.",
    "type": "object",
    "additionalProperties": False,
}


def oauth_document() -> dict[str, Any]:
    """Make the document of the OAuth server."""
    issuer = Settings().issuer
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Tutti: the OAuth server",
            "version": "1.0.0",
            "description": DESCRIPTION,
            **CONTACT,
        },
        "servers": [{"url": issuer.url, "description": "What `make run` starts."}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths(),
        "components": {
            "schemas": schemas(),
            "responses": {name: refusal(told) for name, told in sorted(REFUSALS.items())} | pages(),
            "headers": {name: {"schema": {"type": "string"}} | told for name, told in HEADERS.items()},
            "securitySchemes": security_schemes(issuer.at("/oauth/auth"), issuer.at("/oauth/token")),
        },
    }
    drop_unused(document)
    return document


def oauth_routes() -> Iterator[tuple[str, HTTPRouteHandler]]:
    """Walk over the OAuth server's own routes in the application that are for programs, or for browsers sent by them."""
    for route in create_litestar(worker=False).routes:
        for handler in getattr(route, "route_handlers", ()):
            if "proof" in handler.opt and handler.resolve_include_in_schema():
                yield route.path, handler


def paths() -> dict[str, Any]:
    """Describe every route."""
    found: dict[str, Any] = {}
    for path, handler in oauth_routes():
        (method,) = handler.http_methods - {"OPTIONS"}
        found.setdefault(path, {})[method.lower()] = operation(path, handler)
    return {path: dict(sorted(found[path].items())) for path in sorted(found)}


def operation(path: str, handler: HTTPRouteHandler) -> dict[str, Any]:
    """Describe one route."""
    about = OPERATIONS[str(handler.operation_id)]
    summary, description = titled(handler.fn.__doc__ or "")
    reads: dict[str, Any] = {}
    if about.form and handler.http_methods == {"GET"}:
        reads["parameters"] = parameters(FORMS[about.form])
    elif about.form:
        reads["requestBody"] = request_body(about.form)
    answers = {status: {"$ref": f"{COMPONENTS}responses/{name}"} for status, name in about.answers.items()}
    return {
        "tags": [about.tag],
        "summary": summary,
        "description": description,
        "operationId": SECOND_IDS.get(path, handler.operation_id),
        "security": about.security,
        **reads,
        "responses": dict(sorted((answers | success(handler)).items())),
    }


def parameters(form: dict[str, Any]) -> list[dict[str, Any]]:
    """Describe a form as it stands in a query."""
    return [
        {
            "name": name,
            "in": "query",
            "required": name in form["required"],
            "description": field["description"],
            "schema": {key: value for key, value in field.items() if key != "description"},
        }
        for name, field in form["properties"].items()
    ]


def request_body(form: str) -> dict[str, Any]:
    """Describe a form as a body, with each way to use it."""
    examples = {name: {"summary": summary, "value": fields} for name, (summary, fields) in USES[form].items()}
    content = {"schema": {"$ref": SCHEMAS + form}, "examples": examples}
    return {"required": "required" in FORMS[form], "content": {MEDIA_TYPE: content}}


def success(handler: HTTPRouteHandler) -> dict[str, Any]:
    """Describe what a route answers in JSON, from what its function returns; pages have none."""
    returned = handler.parsed_fn_signature.return_type
    name = getattr(returned.inner_types[0].annotation, "__name__", "") if returned.inner_types else ""
    if name == "dict":
        name = REVOKED["title"]
    if name not in ANSWERS:
        return {}
    content = {JSON: {"schema": {"$ref": SCHEMAS + name}, "example": ANSWERS[name]}}
    named = headers(("X-Request-Id", "RequestId"), ("Cache-Control", "CacheControl"))
    return {str(handler.status_code): {"description": "Done.", "headers": named, "content": content}}


def refusal(told: Refused) -> dict[str, Any]:
    """Describe one refusal."""
    example = {"error": told.error, "error_description": told.advice}
    return {
        "description": told.description,
        "headers": headers(("X-Request-Id", "RequestId"), ("Cache-Control", "CacheControl"), *told.headers),
        "content": {JSON: {"schema": {"$ref": SCHEMAS + "OAuthError"}, "example": example}},
    }


def pages() -> dict[str, Any]:
    """Describe what a browser gets."""
    named = headers(("X-Request-Id", "RequestId"), ("Cache-Control", "CacheControl"))
    page = {"schema": {"type": "string"}, "example": "<!doctype html><title>This did not work</title>"}
    sent_on = {"description": SENT, "headers": named | headers(("Location", "Location"))}
    return {"SentOn": sent_on} | {
        name: {"description": text, "headers": named, "content": {HTML: page}} for name, text in PAGES.items()
    }


def schemas() -> dict[str, Any]:
    """Write every model and every form."""
    forms = {name: {"title": name} | form for name, form in FORMS.items()}
    return dict(sorted((component_schemas(models) | forms | {"Revoked": REVOKED}).items()))


def security_schemes(authorize: str, token: str) -> dict[str, Any]:
    """Describe how callers prove who they are."""
    return {
        "oauth2": {
            "type": "oauth2",
            "description": "An opaque access token, sent as `Authorization: Bearer`; public clients use PKCE with S256.",
            "flows": {
                "authorizationCode": {
                    "authorizationUrl": authorize,
                    "tokenUrl": token,
                    "refreshUrl": token,
                    "scopes": SCOPES,
                },
                "clientCredentials": {"tokenUrl": token, "scopes": dict(SCOPES)},
            },
        },
        "client": {
            "type": "http",
            "scheme": "basic",
            "description": "A client's id and secret (client_secret_basic). They may be in the body instead, or a signed "
            "client_assertion; a public client sends its client_id alone.",
        },
        "accessToken": {
            "type": "http",
            "scheme": "bearer",
            "description": "An access token of a user.",
        },
    }
