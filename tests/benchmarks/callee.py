"""The service that workflows call: it answers everything at once, in the load's own process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"n": 1}'


class Callee(asyncio.Protocol):
    """One connection: each whole request is answered alike."""

    def __init__(self) -> None:
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclasses of it

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            head, found, body = self.buffer.partition(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            if not found or len(body) < int(length or 0):
                return
            self.buffer = body[int(length or 0) :]
            self.transport.write(ANSWER)


@contextlib.asynccontextmanager
async def answering() -> AsyncIterator[int]:
    """Answer calls for as long as the block runs; yield the port."""
    server = await asyncio.get_running_loop().create_server(Callee, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
