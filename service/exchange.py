"""One request and its answer: its id and when it began, for answers that tell both and for the log; its account's limits.

A plain ASGI wrapper around the whole application, so that errors and unknown routes carry the id as well.
"""

import asyncio
import http
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils.compat import uuid4  # which asks the system for randomness once, and not for each

from service.connections.state import PLACE, REFUSED, TRANSPORT
from service.limits.admission import STATE, Admission
from service.overload import current_place
from service.stopping import begun
from service.telemetry import tracing
from service.telemetry.logs import current_scope, note_request
from service.telemetry.metrics import count_request
from tenancy.requests import current_request, hears_of_proof

HEADER = b"x-request-id"
UNANSWERED = (
    http.HTTPStatus.INTERNAL_SERVER_ERROR.value
)  # what the server tells where the application failed to say anything


class Exchange(msgspec.Struct, frozen=True):
    """The id of a request and when it began, as `time.perf_counter`."""

    request_id: str
    began: float

    @property
    def duration_ms(self) -> int:
        """Whole milliseconds since the request began."""
        return int((time.perf_counter() - self.began) * 1000)

    @property
    def now(self) -> datetime:
        """The moment of the answer."""
        return datetime.now(UTC)


def exchange_of(scope: Scope) -> Exchange:
    """Return the exchange that a request belongs to."""
    found: Exchange = scope["state"]["exchange"]
    return found


def with_exchange(application: ASGIApp) -> ASGIApp:
    """Give every HTTP request an `Exchange` and every answer its `X-Request-Id`; a caller's own UUID is kept.

    What the request has written in the database tells of the id as well.
    """
    answering = ending_quietly(application)

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await application(scope, receive, send)
            return
        request_id = given_id(scope) or uuid4()
        exchange = Exchange(str(request_id), time.perf_counter())
        state = scope.setdefault("state", {})
        state["exchange"] = exchange
        header = (HEADER, exchange.request_id.encode())

        status = 0

        def told() -> int:
            """The status that the caller was told; 0 if they went away before there was one."""
            return state.get(REFUSED) or status or (0 if is_gone(state) else UNANSWERED)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = 0 if is_gone(state) else message["status"]
                message["headers"] = [*message["headers"], header, *limits_told(state)]
            await send(message)

        token, scoped = current_request.set(request_id), current_scope.set(scope)
        place = current_place.set(state.get(PLACE))
        if PLACE in state:
            hears_of_proof.set(state[PLACE].prove)  # never reset: such a request has a context of its own
        try:
            if tracing.is_on():
                with tracing.request(scope, told):
                    await answering(scope, receive, send_with_id)
            else:
                await answering(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - exchange.began
            outcome = told()
            count_request(scope, outcome, seconds)
            note_request(scope, outcome, seconds)
            current_place.reset(place)
            current_scope.reset(scoped)
            current_request.reset(token)

    return wrapped


def ending_quietly(application: ASGIApp) -> ASGIApp:
    """Complain of no request that is cancelled as the process ends: its connection has told the caller."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await application(scope, receive, send)
        except asyncio.CancelledError:
            if not begun():
                raise

    return wrapped


def is_gone(state: dict[str, Any]) -> bool:
    """Whether the connection has ended, or is about to, so that an answer reaches nobody."""
    transport: asyncio.Transport | None = state.get(TRANSPORT)
    return transport is not None and transport.is_closing()


def limits_told(state: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """The headers that tell a caller of the limits of their account."""
    admission: Admission | None = state.get(STATE)
    if admission is None:
        return []
    return [(name.lower().encode(), value.encode()) for name, value in admission.headers()]


def given_id(scope: Scope) -> UUID | None:
    """Return the caller's `X-Request-Id` if it is a UUID: ids are UUIDs in every answer."""
    given = header(scope, HEADER)
    if given is None:
        return None
    try:
        return UUID(given)
    except ValueError:
        return None


def header(scope: Scope, wanted: bytes) -> str | None:
    """Return a request's header, its name in lower case: without the mapping of all headers that Litestar would make."""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), None)
