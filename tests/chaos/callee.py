"""The service that workflows call. It writes down every call, and often does not answer as one would wish."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec

from tests.chaos.mix import chance

MANNERS = ("answer", "error", "hang", "reset", "late")
SHARES = (72, 9, 5, 7, 7)
LATE = (0.2, 0.8)  # seconds
REST = b'Content-Type: application/json\r\nContent-Length: 14\r\n\r\n{"done": true}'
HANG = 4  # seconds, longer than the definition waits


class Call(msgspec.Struct, frozen=True):
    """What came in: the key that names the call, and its body."""

    key: str | None
    body: bytes


class Callee:
    """Answers, fails, hangs or hangs up, as the seed says for each call and each of its repetitions."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.calls: list[Call] = []
        self._times: dict[str | None, int] = {}

    @contextlib.asynccontextmanager
    async def answering(self) -> AsyncIterator[int]:
        """Answer for as long as the block runs; yield the port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            while await self._answer(*await received(reader), writer):
                pass
        writer.close()

    async def _answer(self, key: str | None, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Write a call down and treat it in some manner; whether the connection goes on."""
        self.calls.append(Call(key, body))
        times = self._times[key] = self._times.get(key, 0) + 1
        chosen = chance(self.seed, body, times)
        (manner,) = chosen.choices(MANNERS, SHARES)
        match manner:
            case "hang":
                await asyncio.sleep(HANG)
                return False
            case "reset":
                writer.transport.abort()
                return False
            case "late":
                await asyncio.sleep(chosen.uniform(*LATE))
        status = b"500 Internal Server Error" if manner == "error" else b"200 OK"
        writer.write(b"HTTP/1.1 " + status + b"\r\n" + REST)
        await writer.drain()
        return True


async def received(reader: asyncio.StreamReader) -> tuple[str | None, bytes]:
    """Read a request: its Idempotency-Key, its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
    headers = {name.lower(): value for name, value in fields.items()}
    return headers.get("idempotency-key"), await reader.readexactly(int(headers.get("content-length", "0")))
