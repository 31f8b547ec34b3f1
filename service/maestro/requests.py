"""What every route of the dialect does with a request before its operation, and with what comes of it.

Malformed ids, unknown parameters and foreign media types are refused before a handler reads its arguments.
"""

import re
from collections import Counter
from datetime import datetime
from functools import cache
from types import NoneType
from typing import Annotated, Any, get_args
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException, SerializationException, ValidationException
from litestar.handlers.base import BaseRouteHandler
from litestar.params import QueryParameter
from msgspec import UNSET

from auth.roles import Right
from service.exchange import exchange_of, header
from service.language.misfits import MISSING, MOMENT, UNKNOWN
from service.limits.admission import admit
from service.limits.known import somebody_is_limited
from service.maestro.models import ResponseMetadata
from service.operations.pages import Page
from service.settings import settings
from service.wire import USUAL_IDENTIFIER, identifier, timestamp

PAGE_SIZE = 50
LARGEST_PAGE = 1000
JSON = "application/json"
YAML = "application/yaml"
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")  # with which each moment begins (RFC 3339, 5.6)
# The options of routes: each names the right that its operation asks for. A malformed request is refused for lacking it
# too, and the document tells the roles that have it.
READING = {"right": Right.READ}
DECIDING = {"right": Right.DECIDE}
STARTING = {"right": Right.START}
OPERATING = {"right": Right.OPERATE}
OVERSEEING = {"right": Right.OVERSEE}
ADMINISTERED = {"right": Right.ADMINISTER}

ContinuationToken = Annotated[
    str | None,
    QueryParameter(
        max_length=512, description="where to go on: the token of the page before; absent for the first"
    ),
]
PageSize = Annotated[int | None, QueryParameter(ge=1, le=LARGEST_PAGE, description="most entries of a page")]


class JSONRequest(Request[Any, Any, Any]):
    """A request whose body may be no JSON at all in ways that the framework does not expect."""

    async def json(self) -> Any:
        """Read the body as what the route takes: JSON has numbers and booleans, so a string is none.

        The framework would convert it as laxly as the text of a query parameter.

        Raises:
            SerializationException: it is not JSON, not UTF-8 or nested too deeply.
            ValidationException: it is an object with other fields than the route's, with an entry for each; or a value is not
                of the type that the route takes.
        """
        try:
            value = await super().json()
        except UnicodeDecodeError:
            raise SerializationException("The body is not UTF-8 text.") from None
        except RecursionError:
            raise SerializationException("The body is nested too deeply.") from None
        body = self.route_handler.parsed_data_field
        if body is None:
            return value
        if isinstance(value, dict):
            only_fields_of(body.annotation, value)
        return converted(value, body.annotation)


class Fields(msgspec.Struct, frozen=True):
    """The names of a body's fields."""

    required: frozenset[str] = frozenset()
    known: frozenset[str] | None = None


@cache
def fields_of(annotation: Any) -> Fields:
    """Read which fields a body has to have and may have; any other model than a struct, or none, says neither."""
    models = [one for one in get_args(annotation) or (annotation,) if one is not NoneType]
    model = models[0] if len(models) == 1 else None
    if not (isinstance(model, type) and issubclass(model, msgspec.Struct)):
        return Fields()
    fields = msgspec.structs.fields(model)
    required = frozenset(field.encode_name for field in fields if field.required)
    closed = model.__struct_config__.forbid_unknown_fields
    return Fields(required, frozenset(field.encode_name for field in fields) if closed else None)


def only_fields_of(model: Any, body: dict[str, Any]) -> None:
    """Refuse what is missing and what is too much, all of it: the framework would tell the first alone.

    Raises:
        ValidationException: with one entry for each field.
    """
    fields = fields_of(model)
    problems = dict.fromkeys(sorted(fields.required - body.keys()), MISSING)
    if fields.known is not None:
        problems |= dict.fromkeys(sorted(body.keys() - fields.known), UNKNOWN)
    if problems:
        raise ValidationException(
            "Wrong fields.", extra=[{"message": message, "key": key} for key, message in problems.items()]
        )


def converted(value: Any, annotation: Any) -> Any:
    """Make of a body's value what the route takes, converting nothing that JSON has a type for.

    Raises:
        ValidationException: it is something else; with the place of the first value that is.
    """
    try:
        return msgspec.convert(value, annotation, str_keys=True)
    except msgspec.ValidationError as error:
        found = {"message": str(error), "source": "body"}
        raise ValidationException("Wrong values.", extra=[found]) from None


def only_identifiers(connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    """Put the ids in the path into their one form, of those that the vendor's pattern allows.

    Raises:
        ValidationException: with one entry for each that is no id.
    """
    if all(map(USUAL_IDENTIFIER.fullmatch, connection.path_params.values())):
        return
    found = {name: identifier(text) for name, text in connection.path_params.items()}
    malformed = [name for name, identifier in found.items() if identifier is None]
    if malformed:
        raise ValidationException(
            "Malformed id.", extra=[{"message": "is not a UUID", "key": name} for name in malformed]
        )
    connection.scope["path_params"] = {name: str(identifier) for name, identifier in found.items()}


def only_known_parameters(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Refuse query parameters that the route does not have, or has once: a misspelt filter must not return everything.

    Raises:
        ValidationException: with one entry per unknown parameter.
    """
    if not connection.scope["query_string"]:
        return
    known, repeatable = handler.opt.get("query", ()), handler.opt.get("repeatable", ())
    allowed = ", ".join(known) or "none"
    given = Counter(key for key, _ in connection.query_params.multi_items())
    nothing = nulls(connection, handler) if b"null" in connection.scope["query_string"].lower() else {}
    problems = (
        nothing
        | numbers(connection, handler)
        | {
            key: "stands once in a request"
            if key in known
            else f"is not a parameter here; allowed: {allowed}"
            for key, times in sorted(given.items())
            if key not in known or (times > 1 and key not in repeatable)
        }
    )
    if problems:
        raise ValidationException(
            "Unknown query parameter.",
            extra=[{"message": message, "key": key} for key, message in problems.items()],
        )


def nulls(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> dict[str, str]:
    """Find parameters that are `null`, which the framework takes for not given, and so for every value."""
    return {
        key: "is no value here: leave the parameter out"
        for key, value in connection.query_params.multi_items()
        if value.lower() == "null" and key not in parameters_of(handler, str, list[str])
    }


def numbers(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> dict[str, str]:
    """Find moments that are no dates: the framework takes a number for seconds since 1970."""
    moments = parameters_of(handler, datetime)
    return {
        key: MOMENT
        for key, value in (connection.query_params.multi_items() if moments else ())
        if key in moments and not DATE.match(value)
    }


@cache
def parameters_of(handler: BaseRouteHandler, *kinds: Any) -> frozenset[str]:
    """Name the parameters that may be of any of some kinds."""
    fields = handler.parsed_fn_signature.parameters.values()
    return frozenset(
        getattr(field.kwarg_definition, "name", None) or field.name
        for field in fields
        if set(kinds) & {field.annotation, *get_args(field.annotation)}
    )


def only_media_type(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Refuse a body of a type that the route does not read; none at all is taken for the right one.

    Raises:
        HTTPException: 415.
    """
    wanted = handler.opt.get("media_type")
    if wanted is None:
        return
    given = (header(connection.scope, b"content-type") or "").partition(";")[0].strip().lower()
    if given and given != wanted:
        raise HTTPException(f"Send the body as {wanted}, not {given}.", status_code=415)


async def only_well_formed(request: Request[Any, Any, Any]) -> None:
    """Refuse what no handler should have to look at, before its arguments are read.

    No guard: Litestar copies the handler for each guard, and runs synchronous ones in a thread, which cost more than
    the database's part of a read.
    """
    if somebody_is_limited():
        await only_within_limits(request)
    only_identifiers(request)
    only_known_parameters(request, request.route_handler)
    only_media_type(request, request.route_handler)


async def only_within_limits(request: Request[Any, Any, Any]) -> None:
    """Refuse the requests of an account that makes too many; who shows no token is refused by the operation.

    Raises:
        LimitReached: it does.
    """
    account_id = identifier(request.path_params["accountId"])
    if account_id is not None:
        await admit(request.scope["state"], header(request.scope, b"authorization"), account_id)


def metadata(request: Request[Any, Any, Any], page: Page | None = None) -> ResponseMetadata:
    """Write the answer's metadata, and a page's size and next token."""
    exchange = exchange_of(request.scope)
    written = ResponseMetadata(
        request_id=exchange.request_id,
        response_timestamp=timestamp(exchange.now),
        response_duration_ms=exchange.duration_ms,
    )
    if page is not None:
        written.page_limit = page.size
        written.page_token_next = page.next or UNSET
    return written


def paged(request: Request[Any, Any, Any], content: Any, page: Page) -> Response[Any]:
    """Answer a page, with the next one as a link (RFC 8288)."""
    headers = {}
    if page.next:
        query = [(key, value) for key, value in request.query_params.multi_items() if key != "ctoken"]
        target = f"{settings().public_url}{request.url.path}?{urlencode([*query, ('ctoken', page.next)])}"
        headers["Link"] = f'<{target}>; rel="next"'
    return Response(content, headers=headers)
