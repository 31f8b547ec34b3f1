"""Formance's error bodies: three codes and no other, always as JSON, whatever the HTTP status is.

The vendor's SDKs raise their typed error for these alone; of a 401 without a body they make a fault of their own.
"""

import http
import logging
import re
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException

from service.errors import InputsRefused, InternalError, NotTriggerable
from service.exchange import exchange_of
from service.formance.models import Error, ErrorCode
from service.refusing import AWAY, as_refusal, challenge, patience, said
from tenancy.errors import BadRequest, Conflict, FieldError, NotFound, Refusal
from tenancy.faults import unavailable

PATHS = re.compile(r"(/accounts/[^/]*)?/api/orchestration(/.*)?|/v1/accounts/[^/]*/bus-events/?")
MISFITS = "The workflow does not take these variables."

logger = logging.getLogger("tutti.formance")


def is_formance(path: str) -> bool:
    """Whether a path would be one of this dialect."""
    return PATHS.fullmatch(path) is not None


def refused(request: Request[Any, Any, Any], refusal: Refusal) -> Response[Error]:
    """Answer a refusal of the service itself."""
    return answer(request, as_told(refusal))


def misunderstood(request: Request[Any, Any, Any], error: HTTPException) -> Response[Error]:
    """Answer what Litestar refused: an unknown route or method, a body that is too large."""
    return answer(request, as_refusal(error), dict(error.headers or {}))


def away(request: Request[Any, Any, Any], error: Exception) -> Response[Error]:
    """Answer that the database, or what evaluates expressions, is away for a moment."""
    return answer(request, unavailable(error))


def failed(request: Request[Any, Any, Any], error: Exception) -> Response[Error]:
    """Answer a fault of ours; the log has the cause under the request id, the answer does not."""
    logger.error("request %s failed", exchange_of(request.scope).request_id, exc_info=error)
    return answer(request, InternalError())


def as_told(refusal: Refusal) -> Refusal:
    """Put a refusal into the classes and words of the dialect: it has no conflict, and an archived workflow is deleted."""
    if isinstance(refusal, NotTriggerable) and refusal.errors[0].code == "WORKFLOW_ARCHIVED":
        return NotFound("The workflow has been deleted and cannot be run.")
    if isinstance(refusal, InputsRefused):
        return BadRequest(MISFITS, errors=tuple(map(of_a_variable, refusal.errors)))
    if isinstance(refusal, Conflict):
        return BadRequest(refusal.detail, errors=refusal.errors)
    return refusal


def of_a_variable(error: FieldError) -> FieldError:
    """Name a variable by its name, where other dialects name a field of their body."""
    name = (error.target or "").removeprefix("trigger_inputs").removeprefix("/")
    return FieldError(error.code, error.message, name or None)


def answer(
    request: Request[Any, Any, Any], refusal: Refusal, headers: dict[str, str] | None = None
) -> Response[Error]:
    """Write a refusal with the headers that tell what to do about it."""
    return Response(
        answer_of(refusal),
        status_code=refusal.status,
        headers=(headers or {}) | challenge(request, refusal) | patience(refusal),
    )


def answer_of(refusal: Refusal) -> Error:
    """Write a refusal as the vendor's error body; what is wrong with one thing stands in the message itself."""
    lines = [said(one) for one in refusal.errors]
    message = refusal.detail if len(lines) != 1 else f"{refusal.detail.rstrip('.; ')}: {lines[0]}"
    body = Error(error_code=code_of(refusal), error_message=message)
    if len(lines) > 1:
        body.details = "\n".join(lines)
    return body


def code_of(refusal: Refusal) -> ErrorCode:
    """Choose the code: what one may ask again as it stands, sooner or later, is none of the caller's mistakes."""
    if refusal.status == NotFound.status:
        return "NOT_FOUND"
    again = refusal.status >= http.HTTPStatus.INTERNAL_SERVER_ERROR
    return "INTERNAL" if again or refusal.status == http.HTTPStatus.TOO_MANY_REQUESTS else "VALIDATION"


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    Refusal: refused,
    HTTPException: misunderstood,
    **dict.fromkeys(AWAY, away),
    Exception: failed,
}
