"""HTTP/1.1 for clients that offer HTTP/2 in passing, for hostile ones, and for more of them than can be served.

Java's HTTP client, and so the vendor's Java SDK, sends `Connection: Upgrade` and `Upgrade: h2c` with every plain request.
A server that stays with HTTP/1.1 answers as if they were not there (RFC 9110, 7.8). uvicorn's parser takes what follows
the headers of such a request for another protocol and drops its body; here the body is taken by its length.

uvicorn begins a request when its headers are there, and waits for anything else without end. Here a request begins when its
body is there as well, or 64 KiB of it, and finds a place (`service.overload`); whoever sends or reads too slowly is cut off.
"""

import asyncio
import http
from collections.abc import Iterable
from contextvars import Context
from typing import Any, ClassVar, Literal
from weakref import WeakKeyDictionary

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.server import ServerState

from auth.throttle import network_of
from service.connections.limits import Limits, limits_of_settings
from service.connections.pipelining import Pipelining
from service.connections.shedding import REFUSAL, told, told_plainly
from service.connections.state import PLACE, REFUSED, TRANSPORT
from service.connections.ward import Ward
from service.overload import Caller, Place
from service.telemetry.logs import note_unread
from service.telemetry.metrics import count_unread

# The parser has stopped at such a head, and whoever would read chunks after it would be one of our own.
UPGRADE_IN_CHUNKS = (
    "A request that offers an upgrade needs a Content-Length: send its body whole, or leave Upgrade out."
)
OLD = "1.0"  # which needs no Host
VERSIONS = (OLD, "1.1")

_wards: WeakKeyDictionary[ServerState, Ward] = WeakKeyDictionary()


class HeadRefusedError(Exception):
    """A request's head is none that is answered."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Http1Protocol(Pipelining):
    """uvicorn's protocol with the limits above, and with the body of a request that offers an upgrade."""

    limits: ClassVar[Limits | None] = None  # those that the settings say

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        ward = _wards.get(self.server_state)
        if ward is None:
            limits = self.limits or limits_of_settings()
            ward = _wards[self.server_state] = Ward(self.server_state, limits)
        self._ward = ward
        self._most = ward.limits
        self._body_left = 0
        self._fed_bytes = 0  # since the request began
        self._head_bytes = 0  # of what was understood of its headers
        self._head_lines = 0
        self._hosts = 0
        self._held: tuple[RequestResponseCycle, Any] | None = None  # whose body has not come yet
        self._reading: Literal["nothing", "head", "body"] = "nothing"
        self._since = 0.0
        self._idle_seconds = ward.limits.head_seconds  # a client that connects has something to say
        self._body_bytes = 0
        self._body_seconds = 0.0
        self._unread = 0
        self._unread_seconds = 0.0
        self._read_bytes = 0
        # Where the client is, as far as it is one customer's; that of a proxy where one stands before.
        self.network = ""

    # What comes

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin; with too many connections, one on which nothing happens is closed, or this one."""
        super().connection_made(transport)
        self.network = network_of(self.client[0]) if self.client else ""
        self._since = self.loop.time()
        crowd = self._ward.crowd
        crowd.add(self)
        if crowd.crowded and not crowd.make_room(self, self._since):
            self._turn_away()

    def connection_lost(self, exc: Exception | None) -> None:
        """End; what has not begun never will."""
        self._held = None
        self._ward.crowd.remove(self)
        self._ward.unread.remove(self)
        for cycle in (self._running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None and not (cycle.response_complete or cycle.disconnected or has_begun(cycle)):
                tell_unread(cycle.scope["method"], 0)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came: the rest of such a body, then requests."""
        while (data := self._after_body(data)) and not self.transport.is_closing():
            self._fed_bytes += len(data)
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserError as error:
                self._refuse_parsed(error)
                return
            except httptools.HttpParserUpgrade as offer:
                if any(name == b"transfer-encoding" for name, _ in self.headers):
                    self.cycle.more_body = True
                    self.refuse_newest(http.HTTPStatus.LENGTH_REQUIRED, UPGRADE_IN_CHUNKS)
                    return
                data = data[offer.args[0] :]
                self._body_left = length_of_body(self.headers)
                self.cycle.more_body = self._body_left > 0
                if self.cycle.more_body:
                    self._reading = "body"
                else:
                    self._begin_held()
            else:
                self._look_at_size(data)
                return

    def _look_at_size(self, data: bytes) -> None:
        """Refuse a head, or what stands around chunks and behind them, that grows too large before it ends."""
        if self._reading == "head" and not self._fed_bytes:
            # It began in this piece, of which the parser keeps a line without end to itself.
            self._fed_bytes = len(data) - data.rfind(b"\n") - 1
        if self._reading != "nothing" and self._fed_bytes > self._most.head_bytes:
            self._refuse_head(self._too_large())

    def on_message_begin(self) -> None:
        """Look at the clock: the headers have to come."""
        self._reading, self._since = "head", self.loop.time()
        self._fed_bytes = self._head_bytes = self._head_lines = self._hosts = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the path, unless it is too long."""
        self._head_bytes += len(url)
        self.url += url
        if len(self.url) > self._most.target_bytes:
            raise HeadRefusedError(
                http.HTTPStatus.REQUEST_URI_TOO_LONG,
                f"The request's path and query are longer than {self._most.target_bytes} bytes together.",
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, unless it is one too many; behind a body it is none, as nobody looked at it when the request began."""
        self._head_bytes += len(name) + len(value)
        self._head_lines += 1
        if self._head_lines > self._most.headers or self._head_bytes > self._most.head_bytes:
            raise self._too_large()
        if self._reading == "body":
            return
        name = name.lower()
        if name == b"host":
            self._hosts += 1
        if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            raise HeadRefusedError(
                http.HTTPStatus.BAD_REQUEST,
                "A body comes in chunks or by its length, and in no other encoding.",
            )
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = self.parser.get_http_version() != OLD  # RFC 9110, 10.1.1
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Begin to take the body."""
        self._refuse_odd_head()
        self._reading, self._fed_bytes = "body", 0
        self._body_bytes, self._body_seconds = 0, 0.0
        self.scope["state"][TRANSPORT] = self.transport
        if self.transport.is_closing():
            self.transport.abort()
            return
        super().on_headers_complete()

    def _refuse_odd_head(self) -> None:
        version = self.parser.get_http_version()
        if version not in VERSIONS:
            raise HeadRefusedError(
                http.HTTPStatus.BAD_REQUEST, "A request is one of HTTP/1.1, or of HTTP/1.0."
            )
        if self._hosts > 1 or (not self._hosts and version != OLD):
            raise HeadRefusedError(http.HTTPStatus.BAD_REQUEST, "A request needs one Host header.")
        if len(self.pipeline) >= self._most.pipelined:
            raise HeadRefusedError(
                http.HTTPStatus.SERVICE_UNAVAILABLE,
                f"More than {self._most.pipelined} requests wait for the answers to those before them.",
            )

    def on_body(self, body: bytes) -> None:
        """Take a part of the body; a request that needs more room than there is here begins."""
        self._fed_bytes = 0
        before, self._body_bytes = self._body_bytes, self._body_bytes + len(body)
        if before <= HIGH_WATER_LIMIT < self._body_bytes:
            self._body_seconds = 0.0
        super().on_body(body)
        if self._held is not None and len(self._held[0].body) > HIGH_WATER_LIMIT:
            self._begin_upload()

    def on_message_complete(self) -> None:
        """Begin the request."""
        super().on_message_complete()
        self._reading, self._since = "nothing", self.loop.time()
        self._idle_seconds = self._most.idle_seconds
        if not self.parser.should_upgrade():
            self._begin_held()

    def _after_body(self, data: bytes) -> bytes:
        """Give the request its part of the data; return what is left."""
        part = data[: self._body_left]
        if part:
            self._body_left -= len(part)
            self.on_body(part)
            if not self._body_left:
                self.on_message_complete()
                self._begin_held()
        return data[len(part) :]

    # What begins

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Begin a request, or wait for its body; one for which there is no room is refused at once."""
        if self.flow.write_paused:  # until its client has read the answers to those before it
            self.pipeline.append((cycle, app))
            return
        self._running = cycle
        gate = self._ward.gate_of(cycle.scope["path"])
        if gate.full and gate.refuses(self._caller(cycle)):
            gate.count_refusal()
            self._shed(cycle)
        elif cycle.more_body:
            self._held = cycle, app
            if cycle.waiting_for_100_continue:  # in its turn, behind the answers to those before it
                self._go_on_sending(cycle)
        else:
            self._enter(cycle, app)

    def _go_on_sending(self, cycle: RequestResponseCycle) -> None:
        """Tell a client that asked first to send its body."""
        self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        cycle.waiting_for_100_continue = False

    def _begin_held(self) -> None:
        if self._held is not None:
            cycle, app = self._held
            self._held = None
            self._enter(cycle, app)

    def _enter(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._ward.gate_of(cycle.scope["path"]).enter(
            lambda place: self._run(cycle, app, place),
            lambda: self._shed(cycle),
            lambda: cycle.disconnected or cycle.response_complete,
            self._caller(cycle),
        )

    def _caller(self, cycle: RequestResponseCycle) -> Caller:
        proof = next((value for name, value in cycle.scope["headers"] if name == b"authorization"), None)
        return Caller(0 if proof is None else hash(proof), self.network)

    def _begin_upload(self) -> None:
        """Begin a request whose body goes on coming: these are few, and take no places from others."""
        if self._held is not None:
            cycle, app = self._held
            self._held = None
            self._ward.uploads.enter(
                self, lambda place: self._run(cycle, app, place), lambda: self._shed(cycle)
            )

    def _run(self, cycle: RequestResponseCycle, app: Any, place: Place) -> None:
        cycle.scope["state"][PLACE] = place
        # Whose request makes room for this one is not whom it is about.
        task = self.loop.create_task(cycle.run_asgi(app), context=Context())
        tasks = self.tasks
        tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            place.let_go()

        task.add_done_callback(ended, context=Context())

    def on_response_complete(self) -> None:
        """Go on to the next request; `look` closes a connection on which none comes."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._ward.crowd.remove(self)
            return
        self._since = self.loop.time()
        self._go_on()

    def _go_on(self) -> None:
        """Begin the next request, or read on, if the client has read so far."""
        if self.flow.write_paused or self.transport.is_closing():
            return
        if self.pipeline and (self._running is None or self._running.response_complete):
            self._start_asgi_task(*self.pipeline.pop())
        self.flow.resume_reading()

    # What is refused

    def _shed(self, cycle: RequestResponseCycle) -> None:
        """Refuse a request for which there is no room, without the application."""
        if cycle.disconnected:
            return
        self._account_for(cycle, REFUSAL.status)
        headers, body = told(cycle.scope)
        lines = [STATUS_LINE[REFUSAL.status]]
        for name, value in (*cycle.default_headers, *headers):
            lines += [name, b": ", value, b"\r\n"]
        lines.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        if cycle.scope["method"] != "HEAD":
            lines.append(body)
        self.transport.write(b"".join(lines))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _account_for(self, cycle: RequestResponseCycle | None, status: int) -> None:
        """Have a refusal counted, once: of a request that is under way when it ends, of anything else now."""
        if cycle is None:
            tell_unread("", status)
        elif has_begun(cycle):
            cycle.scope["state"][REFUSED] = status
        else:
            tell_unread(cycle.scope["method"], status)

    def _refuse_parsed(self, error: httptools.HttpParserError) -> None:
        if isinstance(error.__context__, HeadRefusedError):
            self._refuse_head(error.__context__)
        else:
            self.refuse_newest(http.HTTPStatus.BAD_REQUEST, "Invalid HTTP request received.")

    def _refuse_head(self, flaw: HeadRefusedError) -> None:
        self.refuse_newest(flaw.status, flaw.message)

    def _too_large(self) -> HeadRefusedError:
        most = self._most
        return HeadRefusedError(
            http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"The request's headers are larger than {most.head_bytes} bytes, or more than {most.headers}.",
        )

    def _turn_away(self) -> None:
        self._ward.turned_away.inc()
        self.refuse(http.HTTPStatus.SERVICE_UNAVAILABLE, "There are too many connections; try again.")

    def refuse(self, status: int, message: str) -> None:
        """Say why the connection is closed, if no answer is under way, and close it."""
        cycle = self.cycle
        self._ward.crowd.remove(self)
        if self.pipeline or (cycle is not None and cycle.response_started and not cycle.response_complete):
            self.transport.abort()
            return
        if self.transport.is_closing():
            return
        self._account_for(None if self.idle else cycle, status)
        headers, body = told_plainly(status, message)
        every = *self.server_state.default_headers, *headers, (b"connection", b"close")
        lines = b"".join(b"%s: %s\r\n" % one for one in every)
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        self.transport.close()
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    # Who is cut off

    @property
    def idle(self) -> bool:
        """Whether no request of the connection is under way."""
        return self.cycle is None or self.cycle.response_complete

    def spare_at(self, now: float) -> bool:
        """Whether the connection can be closed without loss: nothing is under way, on its way, half read or half written."""
        transport = self.transport
        return (
            self.idle
            and self._reading == "nothing"
            and now - self._since >= self._most.spare_seconds
            and not transport.is_closing()
            and not transport.get_write_buffer_size()
        )

    @property
    def loss(self) -> int | None:
        """What is lost where the connection is closed, as a rank; None where a request of it is answered in part."""
        if self.transport.is_closing():
            return None
        if self._held is not None or (self.idle and self._reading != "nothing"):
            return 0
        running = self._running
        if running is None or running.response_complete:
            return 2 if self.transport.get_write_buffer_size() else 1
        return None if running.response_started else 3

    def make_way(self) -> None:
        """Close: another one's turn has come; who is about to be answered is told so."""
        if self.transport.get_write_buffer_size() or (self.idle and self._reading == "nothing"):
            self.transport.abort()
        else:
            self._turn_away()

    def break_off(self) -> None:
        """Cut off a client that does not read: there are too many of them."""
        self.transport.abort()

    @property
    def uploading(self) -> bool:
        """Whether there is more to come of the body of a request that is under way and has no answer yet."""
        return self._reading == "body" and self._running is self.cycle and not self.cycle.response_started

    @property
    def body_seconds_left(self) -> float:
        """How long nothing more may come of a body until the client is cut off."""
        most = self._most
        behind = self._body_bytes - HIGH_WATER_LIMIT
        if behind <= 0:
            may = most.body_seconds + self._body_bytes / most.least_rate
        else:
            may = min(most.body_seconds + behind / most.upload_rate, most.upload_seconds)
        return may - self._body_seconds

    def give_up(self) -> None:
        """Refuse the request whose body is coming, although it is under way: others want its place."""
        cycle = self.cycle
        self._shed(cycle)
        cycle.disconnected = True
        cycle.message_event.set()

    def pause_writing(self) -> None:
        """Wait for the client to read; a request that waits with it gives its place to others, and no further one begins."""
        super().pause_writing()
        if not self.transport.is_closing():
            self.flow.pause_reading()
        place = None if self._running is None else self._running.scope["state"].get(PLACE)
        if place is not None:
            place.let_go()
        self._ward.unread.add(self)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        self._unread_seconds = 0.0
        self._ward.unread.remove(self)
        super().resume_writing()
        self._go_on()

    def look(self, now: float) -> None:
        """Cut off a client that takes its time."""
        if self._reads_too_slowly():
            self.transport.abort()
        elif self.transport.is_closing():
            self._ward.crowd.remove(self)
        elif self._reading == "body":
            self._look_at_body()
        elif self.idle:
            self._look_at_head(now)

    def _look_at_body(self) -> None:
        if not self.flow.read_paused:
            self._body_seconds += self._most.look_every
        if self.body_seconds_left >= 0:
            return
        if self.idle:  # it was refused, or answered, before its body had come: one answer is enough
            self.transport.close()
        else:
            self.refuse(http.HTTPStatus.REQUEST_TIMEOUT, "The request's body came too slowly.")

    def _look_at_head(self, now: float) -> None:
        if self._reading == "head" and now - self._since > self._most.head_seconds:
            self.refuse(http.HTTPStatus.REQUEST_TIMEOUT, "The request's headers came too slowly.")
        elif self._reading == "nothing" and now - self._since > self._idle_seconds:
            self.transport.close()

    def _reads_too_slowly(self) -> bool:
        """Whether an answer has lain here unread for too long."""
        unread = self.transport.get_write_buffer_size()
        if not unread:
            self._unread, self._unread_seconds, self._read_bytes = 0, 0.0, 0
            return False
        self._read_bytes += max(0, self._unread - unread)
        self._unread = unread
        self._unread_seconds += self._most.look_every
        return self.unread_seconds_left < 0

    @property
    def unread_seconds_left(self) -> float:
        """How long nothing more may be read of an answer until the client is cut off."""
        most = self._most
        return most.unread_seconds + self._read_bytes / most.least_rate - self._unread_seconds

    # When the process ends

    def shutdown(self) -> None:
        """Finish what is under way; have an answer that has no end of its own end now.

        Whoever gives such an answer says by `stop` in the state how. What has not begun, as its body is still to come, is
        refused.
        """
        self._ward.stop()
        if self._held is not None:
            cycle, _ = self._held
            self._held, cycle.keep_alive = None, False
            self._shed(cycle)
            return
        super().shutdown()
        if self.cycle is not None and not self.cycle.response_complete:
            scope = self.scope if self._running is None else self._running.scope
            stop = scope["state"].get("stop")
            if stop is not None:
                stop()


def has_begun(cycle: RequestResponseCycle) -> bool:
    """Whether a request has got to the application, which counts it then."""
    return PLACE in cycle.scope["state"]


def tell_unread(method: str, status: int) -> None:
    """Count what has not got to the application, and write its line."""
    count_unread(method, status)
    note_unread(method, status)


def length_of_body(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the length that a request's headers tell; the parser has refused one that is no number."""
    return next((int(value) for name, value in headers if name == b"content-length"), 0)
