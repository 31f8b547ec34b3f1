"""What a refusal says beside its body, the same in every dialect."""

from typing import Any

from litestar import Request

from service.exchange import header
from tenancy.errors import Forbidden, Refusal, Unauthenticated


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
