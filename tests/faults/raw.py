"""uvicorn with the service's protocol and an application of a test's own, and connections that are written by hand."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import uvicorn

from service.connections.limits import Limits
from service.connections.protocol import Http1Protocol
from service.connections.ward import PROBES

# So short that a test need not wait.
QUICK = Limits(
    requests=2,
    connections=20,
    queue=2,
    queue_seconds=0.3,
    burst_seconds=0.6,
    uploads=1,
    upload_rate=200_000,
    upload_seconds=3.0,
    head_seconds=0.3,
    body_seconds=0.3,
    idle_seconds=0.3,
    spare_seconds=0.0,
    unread_seconds=0.4,
    least_rate=100_000,
    pipelined=4,
    stop_seconds=0.3,
    look_every=0.05,
)


@contextlib.asynccontextmanager
async def listening(
    application: Any, limits: Limits = QUICK, protocol: type[Http1Protocol] = Http1Protocol
) -> AsyncIterator[int]:
    """Serve an application in this process; yield its port."""

    class Quick(protocol):  # type: ignore[misc,valid-type] # a test's own
        limits: ClassVar[Limits | None] = None

    Quick.limits = limits
    options: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off", "ws": "none"}
    config = uvicorn.Config(application, port=0, http=Quick, timeout_graceful_shutdown=1, **options)
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment] # they are the test run's
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


class Watched(Http1Protocol):
    """Tells which connections were made."""

    made: ClassVar[list[Http1Protocol]] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Note it."""
        self.made.append(self)
        super().connection_made(transport)


class Peer:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send something."""
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def answer(self, seconds: float = 5) -> tuple[int, dict[str, str], bytes]:
        """Read one answer."""
        async with asyncio.timeout(seconds):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:-2])
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, body

    async def closed(self, seconds: float = 5) -> bytes:
        """Read until the server closes the connection; fail if it does not."""
        async with asyncio.timeout(seconds):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@contextlib.asynccontextmanager
async def connected(port: int, of: str = "127.0.0.1") -> AsyncIterator[Peer]:
    """Open a connection from an address of this machine, for as long as the block runs."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(of, 0))
    try:
        yield Peer(reader, writer)
    finally:
        writer.transport.abort()


def asked(path: str = "/", *headers: str, method: str = "GET", body: bytes | None = None) -> bytes:
    """Write a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: tutti.test", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


class Application:
    """Answers what it was sent, once it is let; `begun` counts the requests that it has seen."""

    def __init__(self, answer: bytes = b"done") -> None:
        self.begun = 0
        self.most = 0
        self.now = 0
        self.go = asyncio.Event()
        self.go.set()
        self.body = answer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Read the whole body, wait until it is let, answer."""
        self.begun += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            while (message := await receive())["type"] == "http.request" and message["more_body"]:
                pass
            if scope["path"] not in PROBES:
                await self.go.wait()
            length = str(len(self.body)).encode()
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
            )
            await send({"type": "http.response.body", "body": self.body})
        finally:
            self.now -= 1
