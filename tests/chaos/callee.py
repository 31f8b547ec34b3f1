"""The service that workflows call. It writes down every call, and often does not answer as one would wish."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import msgspec

from tests.chaos.mix import chance

MANNERS = {
    "answer": 66,
    "unavailable": 8,
    "error": 5,
    "slow": 8,
    "hang": 3,
    "reset before": 5,
    "reset amid": 5,
}
SLOW = (0.2, 0.8)  # seconds
HANG = 4  # seconds, longer than the definition waits
STATUSES = {"unavailable": b"503 Service Unavailable", "error": b"500 Internal Server Error"}
Answering = Callable[[Mapping[str, str], bytes, asyncio.StreamWriter], Awaitable[bool]]
REST = b'Content-Type: application/json\r\nContent-Length: 14\r\n\r\n{"done": true}'


class Call(msgspec.Struct, frozen=True):
    """What came in: the key that names the call, its body, and with which status it was answered; 0: not at all."""

    key: str | None
    body: bytes
    status: int


class Callee:
    """Answers, fails, hangs or hangs up, as the seed says for each body and each time that it comes, until all is calm."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.calm = False
        self.calls: list[Call] = []
        self._times: dict[bytes, int] = {}

    @contextlib.asynccontextmanager
    async def answering(self) -> AsyncIterator[int]:
        """Answer for as long as the block runs; yield the port."""
        async with serving(self._answer) as port:
            yield port

    async def _answer(self, headers: Mapping[str, str], body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Write a call down and treat it in some manner; whether the connection goes on."""
        key = headers.get("idempotency-key")
        times = self._times[body] = self._times.get(body, 0) + 1
        chosen = chance(self.seed, body, times)
        (manner,) = ("answer",) if self.calm else chosen.choices(list(MANNERS), list(MANNERS.values()))
        status = STATUSES.get(manner, b"200 OK")
        silent = manner in ("hang", "reset before", "reset amid")
        self.calls.append(Call(key, body, 0 if silent else int(status[:3])))
        match manner:
            case "hang":
                await asyncio.sleep(HANG)
                return False
            case "reset before":
                writer.transport.abort()
                return False
            case "reset amid":
                writer.write(b"HTTP/1.1 " + status + b"\r\n" + REST[:-5])
                await writer.drain()
                writer.transport.abort()
                return False
            case "slow":
                await asyncio.sleep(chosen.uniform(*SLOW))
        writer.write(b"HTTP/1.1 " + status + b"\r\n" + REST)
        await writer.drain()
        return True


@contextlib.asynccontextmanager
async def serving(answer: Answering) -> AsyncIterator[int]:
    """Have a function answer HTTP requests for as long as the block runs; yield the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            while await answer(*await received(reader), writer):
                pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def received(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    """Read a request: its headers by their names in lower case, its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
    headers = {name.lower(): value for name, value in fields.items()}
    return headers, await reader.readexactly(int(headers.get("content-length", "0")))
