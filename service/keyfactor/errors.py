"""Keyfactor's error body: a code and a message, always as JSON, whatever the HTTP status is; the table of the codes.

The vendor publishes no table; `Code.SORT_FIELD` and `Code.WRONG` are as its server answers them, the others are ours.
"""

import logging
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from msgspec import Meta

from service.errors import DefinitionRefused, InternalError
from service.exchange import exchange_of
from service.keyfactor.basic import forget
from service.refusing import AWAY, as_refusal, challenge, patience, said
from tenancy.errors import Conflict, Refusal, Unauthenticated
from tenancy.faults import unavailable

PREFIX = "/KeyfactorAPI"

logger = logging.getLogger("tutti.keyfactor")


class Code(StrEnum):
    """What was wrong, in the vendor's form."""

    WRONG = "0xA0110002"  # a body, a parameter or an id
    CALLER = "0xA0110010"  # a header that every request has to have
    QUERY = "0xA0110040"  # queryString
    PAGE = "0xA0110041"  # pageReturned, returnLimit, sortAscending
    SORT_FIELD = "0xA011004A"
    STATE = "0xA0110050"  # the present state of the thing does not allow it
    DEFINITION = "0xA0110060"  # steps that cannot be run
    UNAUTHENTICATED = "0xA0110401"
    FORBIDDEN = "0xA0110403"
    NOT_FOUND = "0xA0110404"
    METHOD = "0xA0110405"
    TOO_LARGE = "0xA0110413"
    TOO_MANY = "0xA0110429"
    FAULT = "0xA0110500"
    AWAY = "0xA0110503"


BY_STATUS = {
    401: Code.UNAUTHENTICATED,
    403: Code.FORBIDDEN,
    404: Code.NOT_FOUND,
    405: Code.METHOD,
    413: Code.TOO_LARGE,
    429: Code.TOO_MANY,
    503: Code.AWAY,
}
LISTED = "; errors names "  # the list of that name, which is a part of the message here
BASIC = 'Basic realm="tutti", charset="UTF-8"'


class Refused(Refusal):
    """The request was refused, for a reason that has a code of its own."""

    def __init__(self, code: Code, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class Error(msgspec.Struct, rename="pascal"):
    """A refusal."""

    error_code: Annotated[str, Meta(description="which class of mistake it is")]
    message: Annotated[str, Meta(description="what is wrong, and what to do about it")]


def is_keyfactor(path: str) -> bool:
    """Whether a path, its case folded, would be one of this dialect."""
    return path == PREFIX or path.startswith(PREFIX + "/")


def refused(request: Request[Any, Any, Any], refusal: Refusal) -> Response[Error]:
    """Answer a refusal of the service itself."""
    if isinstance(refusal, Unauthenticated):
        forget(request)
    return answer(request, refusal)


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


def answer(
    request: Request[Any, Any, Any], refusal: Refusal, headers: dict[str, str] | None = None
) -> Response[Error]:
    """Write a refusal with the headers that tell what to do about it."""
    return Response(
        answer_of(refusal),
        status_code=400 if isinstance(refusal, Conflict) else refusal.status,
        headers=(headers or {}) | challenges(request, refusal) | patience(refusal),
    )


def challenges(request: Request[Any, Any, Any], refusal: Refusal) -> dict[str, str]:
    """Write the `WWW-Authenticate` header: who is not known may prove themselves in two ways."""
    told = challenge(request, refusal)
    if isinstance(refusal, Unauthenticated):
        return {name: f"{BASIC}, {value}" for name, value in told.items()}
    return told


def answer_of(refusal: Refusal) -> Error:
    """Write a refusal as the vendor's error body; what is wrong with single things stands in the message itself."""
    lines = "; ".join(said(one) for one in refusal.errors if one.message != refusal.detail)
    message = f"{refusal.detail.partition(LISTED)[0].rstrip('.; ')}: {lines}" if lines else refusal.detail
    return Error(code_of(refusal), message)


def code_of(refusal: Refusal) -> Code:
    """Choose the code."""
    if isinstance(refusal, Refused):
        return refusal.code
    if isinstance(refusal, DefinitionRefused):
        return Code.DEFINITION
    if isinstance(refusal, Conflict):
        return Code.STATE
    return BY_STATUS.get(refusal.status) or (Code.FAULT if refusal.status >= 500 else Code.WRONG)


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    Refusal: refused,
    HTTPException: misunderstood,
    **dict.fromkeys(AWAY, away),
    Exception: failed,
}
