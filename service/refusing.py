"""What a refusal says beside its body, the same in every dialect."""

import http
from typing import Any

from litestar import Request
from litestar.exceptions import HTTPException

from service.exchange import header
from service.language.sandbox import SandboxUnavailableError
from tenancy.errors import BadRequest, FieldError, Forbidden, NotFound, Refusal, TooLarge, Unauthenticated
from tenancy.faults import UNSERVED

# What is nobody's mistake and over in a moment: a 503 with `Retry-After` in every dialect.
AWAY: tuple[type[Exception], ...] = (*UNSERVED, SandboxUnavailableError)

UNKNOWN_PATH = "Nothing is at this path: compare it with the paths of the OpenAPI document."
UNKNOWN_METHOD = "This path does not take this method; the Allow header names those that it takes."


def as_refusal(error: HTTPException) -> Refusal:
    """Translate Litestar's exception."""
    if error.status_code == http.HTTPStatus.NOT_FOUND:
        return NotFound(UNKNOWN_PATH)
    if error.status_code == http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return TooLarge()
    refusal = BadRequest(error.detail)
    refusal.status = error.status_code
    if error.status_code == http.HTTPStatus.METHOD_NOT_ALLOWED:
        refusal.detail = UNKNOWN_METHOD
    return refusal


def said(error: FieldError) -> str:
    """Say what is wrong with one thing."""
    return f"{error.target}: {error.message}" if error.target else error.message


def challenge(request: Request[Any, Any, Any], refusal: Refusal) -> dict[str, str]:
    """Write the `WWW-Authenticate` header of a 401 or 403 (RFC 6750, 3): no error word where no token was sent."""
    if isinstance(refusal, Unauthenticated):
        sent = header(request.scope, b"authorization") is not None
        return {"WWW-Authenticate": 'Bearer realm="tutti"' + (', error="invalid_token"' if sent else "")}
    if isinstance(refusal, Forbidden):
        scopes = f', scope="{" ".join(refusal.scopes)}"' if refusal.scopes else ""
        return {"WWW-Authenticate": f'Bearer realm="tutti", error="insufficient_scope"{scopes}'}
    return {}


def patience(refusal: Refusal) -> dict[str, str]:
    """Write the `Retry-After` header of what may be asked again in some seconds."""
    seconds: int | None = getattr(refusal, "retry_after", None)
    return {} if seconds is None else {"Retry-After": str(seconds)}
