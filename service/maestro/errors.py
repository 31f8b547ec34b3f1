"""Maestro's error bodies. One body serves every generation of the vendor's SDKs; only the content type is chosen.

SDKs of one generation want `application/json` with `{error, code, timestamp}`, the next want
`application/problem+json` (RFC 9457); the content type alone decides whether their typed error is raised, and the
success status of a trigger changes with them (contract, 0.1 and 0.2). The `User-Agent` tells the generation.
"""

import http
import logging
import re
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import Litestar, Request, Response
from litestar.enums import MediaType
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import Receive, Scope, Send
from msgspec import inspect

from auth.bearer import Credential, token_hash
from auth.roles import Right
from auth.scopes import MAESTRO
from service.errors import InternalError, WorkflowPaused
from service.exchange import exchange_of, header
from service.language.misfits import MISSING, NOT_ALLOWED, OTHER_FORM, UNKNOWN, misfit
from service.limits.admission import claimed
from service.refusing import AWAY, challenge, patience
from service.settings import settings
from service.wire import Identifier, Timestamp, identifier, timestamp
from tenancy.errors import BadRequest, Conflict, FieldError, Refusal, TooLarge, Unauthenticated
from tenancy.faults import UNSERVED, unavailable

STEPS = re.compile(r"[^.\[\]]+|\[[^\]]*\]")  # of the place of a value in a body
logger = logging.getLogger("tutti.maestro")

PROBLEM_JSON = "application/problem+json"
# docusign-sdk/{api}/{sdk version}/{language}/{runtime…}; the vendor's hook writes it in every SDK since the first beta.
USER_AGENT = re.compile(r"docusign-sdk/v1/1\.0\.0-beta\.(\d{1,3})/(typescript|csharp|java)/")
UNKNOWN_PATH = "Nothing is at this path: compare it with the paths of the OpenAPI document."
TYPES = {
    400: "https://developers.docusign.com/errors/invalid-request",
    401: "https://developers.docusign.com/errors/unauthorized",
    403: "https://developers.docusign.com/errors/forbidden",
    404: "https://developers.docusign.com/errors/not-found",
    409: "https://developers.docusign.com/errors/conflict",
}


class Dialect(msgspec.Struct, frozen=True):
    """What one generation of SDKs expects: the status of a successful trigger, the content type of an error."""

    trigger_status: int
    error_type: str


LEGACY = Dialect(200, MediaType.JSON)
FIRST = Dialect(201, MediaType.JSON)
NEW = Dialect(201, PROBLEM_JSON)
FORCED = {"legacy": LEGACY, "first": FIRST, "new": NEW}


class ErrorDetail(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One thing wrong with the request."""

    code: str
    message: str
    target: str | msgspec.UnsetType = msgspec.UNSET


class ErrorBody(msgspec.Struct, kw_only=True):
    """The union of the vendor's two error bodies: `error`, `code` and `timestamp` of the older, the rest of RFC 9457."""

    error: str
    code: str
    timestamp: Timestamp
    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: Identifier
    errors: list[ErrorDetail] | msgspec.UnsetType = msgspec.UNSET


def dialect_for(user_agent: str | None, forced: str) -> Dialect:
    """Choose the dialect (contract 4.4): by SDK generation, `new` for everyone else, or what a setting forces."""
    if forced in FORCED:
        return FORCED[forced]
    found = USER_AGENT.match(user_agent or "")
    if found is None:
        return NEW
    beta, language = int(found[1]), found[2]
    if beta <= 2:
        return FIRST
    return LEGACY if beta <= (8 if language == "java" else 7) else NEW


def dialect_of(request: Request[Any, Any, Any]) -> Dialect:
    """Return the dialect that a request is answered in."""
    return dialect_for(header(request.scope, b"user-agent"), settings().maestro_dialect)


def refused(request: Request[Any, Any, Any], refusal: Refusal) -> Response[ErrorBody]:
    """Answer a refusal of the service itself; a setting says whether a trigger on a paused workflow is a conflict."""
    if isinstance(refusal, WorkflowPaused) and settings().paused_trigger_status == Conflict.status:
        refusal = Conflict(refusal.detail, errors=refusal.errors)
    return answer(request, refusal)


def misunderstood(request: Request[Any, Any, Any], error: HTTPException) -> Response[ErrorBody]:
    """Answer what Litestar refused: a malformed id, parameter or body, an unknown route or method.

    A malformed request on a known route is first held against the caller's credential, which no operation has seen
    yet: who may not know about the route's data learns nothing from the shape of an error.
    """
    refusal = as_refusal(request, error)
    known_route = "accountId" in request.path_params and refusal.status not in (404, 405)
    return answer(request, refusal, dict(error.headers or {}), unproven=known_route)


def away(request: Request[Any, Any, Any], error: Exception) -> Response[ErrorBody]:
    """Answer that the database, or what evaluates expressions, is away for a moment."""
    return answer(request, unavailable(error))


def failed(request: Request[Any, Any, Any], error: Exception) -> Response[ErrorBody]:
    """Answer a fault of ours; the log has the cause under the request id, the answer does not."""
    logger.error("request %s failed", exchange_of(request.scope).request_id, exc_info=error)
    return answer(request, InternalError())


def as_refusal(request: Request[Any, Any, Any], error: HTTPException) -> Refusal:
    """Translate Litestar's exception: status, a message that says what to do, one entry per wrong field."""
    kinds: dict[int, type[Refusal]] = {400: BadRequest, 401: Unauthenticated, 413: TooLarge}
    kind = kinds.get(error.status_code, Refusal)
    refusal = kind(error.detail if kind is Refusal else None, errors=tuple(field_errors(request, error)))
    if kind is Refusal:
        refusal.status = error.status_code
        refusal.title = http.HTTPStatus(error.status_code).phrase
        if error.status_code == http.HTTPStatus.NOT_FOUND:
            refusal.detail = UNKNOWN_PATH
    elif kind is BadRequest and not refusal.errors:
        refusal.detail = error.detail
    return refusal


def field_errors(request: Request[Any, Any, Any], error: HTTPException) -> list[FieldError]:
    """List the fields that Litestar found wrong."""
    if not isinstance(error, ValidationException) or not isinstance(error.extra, list):
        return []
    return [field_error(request, one) for one in error.extra if isinstance(one, dict)]


def field_error(request: Request[Any, Any, Any], found: dict[str, Any]) -> FieldError:
    """Say what is wrong with one field; a missing body comes as the text of a KeyError.

    An underscore at the end of a parameter's name is not on the wire: without it the name is a word of Python's.
    """
    name, message, in_body = found.get("key"), str(found.get("message", "")), found.get("source") == "body"
    key = name.removesuffix("_") if isinstance(name, str) else None
    if message == repr(key):
        return FieldError("FIELD_REQUIRED", "The request needs a body.")
    wrong = misfit(message)
    target = (wrong.place if in_body or wrong.rule == UNKNOWN else "") or key
    if wrong.rule == MISSING:
        return FieldError("FIELD_REQUIRED", "is required", wrong.place or key)
    if wrong.rule == NOT_ALLOWED:
        allowed = choices(request, str(target if in_body else name), in_body=in_body)
        return FieldError("FIELD_INVALID", f"must be one of: {', '.join(allowed)}", target)
    if wrong.rule == OTHER_FORM and not in_body:
        return FieldError("FIELD_INVALID", f"{OTHER_FORM}; wanted: {described(request, str(name))}", target)
    return FieldError("FIELD_INVALID", wrong.rule, target)


def described(request: Request[Any, Any, Any], name: str) -> str:
    """What the document says of a parameter of the route, which tells its form, with an example."""
    parameter = request.route_handler.parsed_fn_signature.parameters[name]
    return getattr(parameter.kwarg_definition, "description", None) or name


def choices(request: Request[Any, Any, Any], name: str, *, in_body: bool = False) -> list[str]:
    """List the values that a parameter of the route may have, or a member of its body: `parcels[1].size` and the like."""
    parameter = request.route_handler.parsed_fn_signature.parameters["data" if in_body else name]
    kinds = alternatives(inspect.type_info(parameter.annotation))
    if not in_body:  # a parameter that may be repeated is a list of its values
        kinds += [inner for kind in kinds for inner in inside(kind, "[]")]
    for step in STEPS.findall(name) if in_body else ():
        kinds = [inner for kind in kinds for inner in inside(kind, step)]
    return [str(value) for kind in kinds if isinstance(kind, inspect.LiteralType) for value in kind.values]


def alternatives(kind: inspect.Type) -> list[inspect.Type]:
    """Name the types of a union one by one; any other is alone."""
    if isinstance(kind, inspect.Metadata):
        return alternatives(kind.type)
    return list(kind.types) if isinstance(kind, inspect.UnionType) else [kind]


def inside(kind: inspect.Type, step: str) -> list[inspect.Type]:
    """Say of which types a member of an object or an array is; of none where it has no such member."""
    match kind:
        case inspect.StructType(fields=fields):
            return [inner for one in fields if one.encode_name == step for inner in alternatives(one.type)]
        case inspect.ListType(item_type=inner) | inspect.DictType(value_type=inner):
            return alternatives(inner)
    return []


def body_of(refusal: Refusal, path: str, request_id: str, now: datetime) -> ErrorBody:
    """Write a refusal as the vendor's error body."""
    body = ErrorBody(
        error=refusal.detail,
        code=str(refusal.status),
        timestamp=timestamp(now),
        type=TYPES.get(refusal.status, "about:blank"),
        title=refusal.title,
        status=refusal.status,
        detail=refusal.detail,
        instance=path,
        request_id=request_id,
    )
    if refusal.errors:
        body.errors = [
            ErrorDetail(code=one.code, message=one.message, target=one.target or msgspec.UNSET)
            for one in refusal.errors
        ]
    return body


def answer(
    request: Request[Any, Any, Any],
    refusal: Refusal,
    headers: dict[str, str] | None = None,
    *,
    unproven: bool = False,
) -> Response[ErrorBody]:
    """Write a refusal as an answer, with the headers that tell what to do about it."""
    exchange = exchange_of(request.scope)
    body = body_of(refusal, request.scope["path"], exchange.request_id, exchange.now)
    kind: type[Response[ErrorBody]] = Unproven if unproven else Response
    return kind(
        body,
        status_code=refusal.status,
        media_type=dialect_of(request).error_type,
        headers=(headers or {}) | challenge(request, refusal) | patience(refusal),
    )


def credential(request: Request[Any, Any, Any], account_id: UUID) -> Credential:
    """Read the caller's claim: a bearer token used on an account. The operation's first statement checks it."""
    token = token_hash(header(request.scope, b"authorization"))
    return claimed(request.scope["state"], token, account_id, MAESTRO)


class Unproven(Response[ErrorBody]):
    """An error that is told to callers who may know it; anyone else is told what their credential is refused for."""

    def to_asgi_response(self, app: Litestar | None, request: Request[Any, Any, Any], **options: Any) -> Any:
        """Put the check of the credential in front of the answer."""
        told = super().to_asgi_response(app, request, **options)

        async def checked(scope: Scope, receive: Receive, send: Send) -> None:
            refusal = await stronger_refusal(request)
            final = (
                told
                if refusal is None
                else answer(request, refusal).to_asgi_response(app, request, **options)
            )
            await final(scope, receive, send)

        return checked


async def stronger_refusal(request: Request[Any, Any, Any]) -> Refusal | None:
    """Say what the caller's credential is refused for on the account in the path, or None if it holds.

    With a malformed account id only the token counts: no account of that id exists to be hidden.
    """
    account_id = identifier(request.path_params["accountId"])
    right: Right = request.route_handler.opt.get("right", Right.READ)
    try:
        async with credential(request, account_id or UUID(int=0)).rows(right):
            return None
    except Unauthenticated as refusal:
        return refusal
    except Refusal as refusal:
        return None if account_id is None else refusal
    except UNSERVED as error:
        return unavailable(error)


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    Refusal: refused,
    HTTPException: misunderstood,
    **dict.fromkeys(AWAY, away),
    Exception: failed,
}
