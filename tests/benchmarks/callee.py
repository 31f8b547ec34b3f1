"""The service that workflows call: it answers everything at once, in the load's own process, and says who called."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"n": 1}'


class Call(msgspec.Struct):
    """What a call says: the name of the instance that makes it."""

    name: str


class Callee:
    """A server, and whoever waits for an instance's call."""

    def __init__(self) -> None:
        self.port = 0
        self._awaited: dict[str, asyncio.Future[None]] = {}

    def expect(self, name: str) -> asyncio.Future[None]:
        """Return what is done when the instance of that name has called."""
        return self._awaited.setdefault(name, asyncio.get_running_loop().create_future())

    def take(self, body: bytes) -> None:
        """Tell whoever waits for this call."""
        awaited = self._awaited.pop(msgspec.json.decode(body, type=Call).name, None)
        if awaited is not None and not awaited.done():
            awaited.set_result(None)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.take(await reader.readexactly(length))
                writer.write(ANSWER)
        writer.close()


@contextlib.asynccontextmanager
async def answering() -> AsyncIterator[Callee]:
    """Answer calls for as long as the block runs."""
    callee = Callee()
    server = await asyncio.start_server(callee.serve, "127.0.0.1", 0)
    callee.port = server.sockets[0].getsockname()[1]
    try:
        yield callee
    finally:
        server.close()
