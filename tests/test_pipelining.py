"""One answer to each request of a connection, in their order, whatever else comes over it and whenever it ends."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from auth.pages import rendering
from service.connections.limits import Limits
from service.connections.protocol import Http1Protocol

SLOWNESS = 0.1  # seconds
GOOD = b"GET /fast HTTP/1.1\r\nHost: a\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = (
    b"POST /fast HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
GARBAGE = b"\x00garbage\r\n\r\n"


class Protocol(Http1Protocol):
    """The service's own, with room for more than there is here."""

    limits = Limits(requests=32, connections=100)


async def answering(scope: Any, receive: Any, send: Any) -> None:
    """Answer without a look at the body, at once or after a moment."""
    if scope["path"] == "/slow":
        await asyncio.sleep(SLOWNESS)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server of one process."""
    config = uvicorn.Config(
        answering, port=0, http=Protocol, ws="none", lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port: int = server.servers[0].sockets[0].getsockname()[1]
    yield port
    await server.shutdown()


async def spoken(port: int, *parts: bytes) -> list[bytes]:
    """Send parts with a pause between them; return the statuses that are answered until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(SLOWNESS / 2)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return [line[1:4] for line in answer.split(b"HTTP/1.1")[1:]]


@pytest.mark.parametrize(
    ("parts", "answered"),
    [
        ((GARBAGE,), [b"400"]),
        ((GOOD, GARBAGE), [b"200", b"400"]),
        ((SLOW, GARBAGE), [b"200"]),
        ((SLOW + GOOD + GARBAGE,), [b"200", b"200"]),
        ((CHUNKED % b"/slow", b"zz\r\n"), [b"400"]),
        ((UPGRADE + b"5\r\nhello\r\n0\r\n\r\n",), [b"411"]),
        ((CHUNKED % b"/fast", b"zz\r\n"), [b"400"]),
        ((SLOW + CHUNKED % b"/fast" + b"zz\r\n",), [b"200"]),
        ((SLOW + GOOD + CHUNKED % b"/fast" + b"zz\r\n",), [b"200", b"200"]),
    ],
    ids=[
        "garbage",
        "garbage after an answer",
        "garbage before the answer",
        "garbage behind two requests",
        "no body of a request that takes long",
        "chunks behind the offer of an upgrade",
        "no body of a request",
        "no body of a request that waits",
        "no body of a request that waits behind another",
    ],
)
async def test_each_request_has_one_answer(
    port: int, parts: tuple[bytes, ...], answered: list[bytes]
) -> None:
    assert await spoken(port, *parts) == answered


async def test_who_asks_before_its_body_is_told_to_go_on_in_its_turn(port: int) -> None:
    asking = b"POST /fast HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(SLOW + asking)
    async with asyncio.timeout(5):
        before = await reader.readuntil(b"100 Continue\r\n\r\n")
        writer.write(b"hello")
        after = await reader.readuntil(b"ok")
    writer.close()
    assert [line[1:4] for line in (before + after).split(b"HTTP/1.1")[1:]] == [b"200", b"100", b"200"]


async def test_refusals_tell_browsers_to_run_nothing_and_keep_nothing(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(UPGRADE)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 411 ")
    assert b"needs a Content-Length" in answer
    for name, value in rendering.HEADERS.items():
        assert f"\r\n{name}: {value}\r\n".lower().encode() in answer.lower()
    assert b"content-security-policy: default-src 'none'" in answer


async def test_whoever_hangs_up_on_several_requests_is_logged_of_nowhere(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(SLOW * 3)
    await asyncio.sleep(SLOWNESS / 2)
    writer.transport.abort()
    await asyncio.sleep(SLOWNESS * 2)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
