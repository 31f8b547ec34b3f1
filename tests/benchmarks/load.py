"""A load of keep-alive connections, each sending its next request when the answer to the last has come.

An ordinary HTTP client would cost more than the service that it measures; these read status and length alone.
"""

import asyncio
import contextlib
import statistics
import time
from collections.abc import Callable, Sequence

import msgspec

Request = Callable[[], bytes]
Span = tuple[float, float]  # seconds since the epoch: when it began, when it ended


def asked(method: str, path: str, token: str = "", body: bytes = b"") -> bytes:
    """Write a request's bytes once; asking then costs nothing."""
    headers = f"Host: bench\r\nAuthorization: Bearer {token}\r\n" if token else "Host: bench\r\n"
    if body:
        headers += "Content-Type: application/json\r\n"
    return f"{method} {path} HTTP/1.1\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Measurement(msgspec.Struct, frozen=True):
    """What one round came to: answers per second, and latencies in milliseconds."""

    rate: float
    p50: float
    p99: float
    wrong: int


class Connection(asyncio.Protocol):
    """One connection that asks until its round is over."""

    def __init__(self, next_request: Request, until: float, finished: asyncio.Future[None]) -> None:
        self.next_request = next_request
        self.until = until
        self.finished = finished
        self.latencies: list[float] = []
        self.wrong = 0
        self.buffer = b""
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        """Send the next request, or end the round."""
        self.sent = time.perf_counter()
        if self.sent >= self.until:
            self.transport.close()
            return
        self.transport.write(self.next_request())  # type: ignore[attr-defined] # a socket's transport can write

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        _, _, rest = head.lower().partition(b"content-length: ")
        if len(body) < int(rest.partition(b"\r\n")[0]):
            return
        self.latencies.append(time.perf_counter() - self.sent)
        self.wrong += not head.startswith(b"HTTP/1.1 2")
        self.buffer = b""
        self.send()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_result(None)


async def round_of(port: int, next_request: Request, connections: int, seconds: float) -> Measurement:
    """Ask with so many connections for so many seconds."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    protocols = []
    for _ in range(connections):
        protocol = Connection(next_request, began + seconds, loop.create_future())
        await loop.create_connection(lambda protocol=protocol: protocol, "127.0.0.1", port)  # type: ignore[misc] # bound now
        protocols.append(protocol)
    await asyncio.gather(*(protocol.finished for protocol in protocols))
    elapsed = time.perf_counter() - began
    latencies = [one for protocol in protocols for one in protocol.latencies]
    wrong = sum(protocol.wrong for protocol in protocols)
    return Measurement(
        len(latencies) / elapsed, percentile(latencies, 0.5), percentile(latencies, 0.99), wrong
    )


def percentile(seconds: Sequence[float], share: float) -> float:
    """Return the milliseconds that so large a share of the times does not exceed; 0 where there are none."""
    return sorted(seconds)[int(len(seconds) * share)] * 1000 if seconds else 0


def measured(spans: Sequence[Span], begin: float, end: float) -> Measurement:
    """Measure what ended in a window of time, per second, and how long that took which began in it."""
    ended = sum(begin <= until <= end for _, until in spans)
    took = [until - since for since, until in spans if begin <= since <= end]
    return Measurement(ended / (end - begin), percentile(took, 0.5), percentile(took, 0.99), 0)


def median(rounds: list[Measurement]) -> Measurement:
    """Take the median of each figure over a subject's rounds."""
    return Measurement(
        statistics.median(one.rate for one in rounds),
        statistics.median(one.p50 for one in rounds),
        statistics.median(one.p99 for one in rounds),
        sum(one.wrong for one in rounds),
    )


class UnansweredError(Exception):
    """No answer came: nobody knows whether what was asked has happened."""


class Client:
    """One keep-alive connection that is asked for one thing after another, opened anew when it was lost."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes, seconds: float = 30) -> tuple[int, bytes]:
        """Send a request; return the answer's status and body.

        Raises:
            UnansweredError: the server is not there, went away, or took too long.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(request)
        except (OSError, EOFError, TimeoutError) as error:
            self.close()
            raise UnansweredError(type(error).__name__) from None

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        body = await reader.readexactly(int(length or 0))
        if b"connection: close" in head:
            self.close()
        return int(head[9:12]), body

    def close(self) -> None:
        """Close the connection; asking again opens another."""
        if self._streams is not None:
            with contextlib.suppress(RuntimeError):  # the loop may be at its end
                self._streams[1].close()
        self._streams = None
