"""A load of keep-alive connections, each sending its next request when the answer to the last has come.

An ordinary HTTP client would cost more than the service that it measures; this one reads status and length alone.
"""

import asyncio
import statistics
import time
from collections.abc import Callable

import msgspec

Request = Callable[[], bytes]


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
    latencies = sorted(one for protocol in protocols for one in protocol.latencies)
    if not latencies:
        return Measurement(0, 0, 0, 0)
    return Measurement(
        rate=len(latencies) / elapsed,
        p50=latencies[len(latencies) // 2] * 1000,
        p99=latencies[int(len(latencies) * 0.99)] * 1000,
        wrong=sum(protocol.wrong for protocol in protocols),
    )


def median(rounds: list[Measurement]) -> Measurement:
    """Take the median of each figure over a subject's rounds."""
    return Measurement(
        statistics.median(one.rate for one in rounds),
        statistics.median(one.p50 for one in rounds),
        statistics.median(one.p99 for one in rounds),
        sum(one.wrong for one in rounds),
    )
