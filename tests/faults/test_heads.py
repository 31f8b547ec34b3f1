"""What a request says of itself stands in its head, once: neither behind its body, nor for two hosts, nor for none."""

import asyncio
from typing import Any

import pytest

from tests.faults.raw import QUICK, Application, asked, connected, listening

CHUNKED = asked("/", "Transfer-Encoding: chunked", method="POST")


class Remembering(Application):
    """Keeps the headers of what it has answered, as they are in the end."""

    headers: list[tuple[bytes, bytes]]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer."""
        await super().__call__(scope, receive, send)
        self.headers = scope["headers"]


@pytest.mark.parametrize("trailer", [b"Authorization: Bearer a", b"X-Forwarded-For: 192.0.2.1", b"Host: b"])
@pytest.mark.parametrize("body", [b"", b"5\r\nhello\r\n", b"%x\r\n%b\r\n" % (100_000, b"x" * 100_000)])
async def test_what_comes_behind_a_body_is_no_header(trailer: bytes, body: bytes) -> None:
    app = Remembering()
    async with listening(app) as port, connected(port) as peer:
        await peer.send(CHUNKED + body)
        await asyncio.sleep(0.02)
        await peer.send(b"0\r\n" + trailer + b"\r\n\r\n")
        assert (await peer.answer())[0] == 200
        assert app.headers == [(b"host", b"tutti.test"), (b"transfer-encoding", b"chunked")]
        await peer.send(asked())
        assert (await peer.answer())[0] == 200


@pytest.mark.parametrize(
    "trailers",
    [
        b"X: 1\r\n" * QUICK.headers,
        b"X: " + b"x" * QUICK.head_bytes + b"\r\n",
        b"X: " + b"x" * 3 * QUICK.head_bytes,
    ],
    ids=["many", "long", "without end"],
)
async def test_there_is_as_little_room_for_it_as_for_headers(trailers: bytes) -> None:
    app = Application()
    async with listening(app) as port, connected(port) as peer:
        await peer.send(CHUNKED + b"5\r\nhello\r\n")
        await asyncio.sleep(0.02)
        await peer.send(b"0\r\n" + trailers)
        assert (await peer.answer())[0] == 431
        assert app.begun == 0


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 200),
    ],
    ids=["none", "two", "two of HTTP/1.0", "none of HTTP/1.0", "one that is empty"],
)
async def test_a_request_is_for_one_host(request_: bytes, status: int) -> None:
    async with listening(Application()) as port, connected(port) as peer:
        await peer.send(request_)
        assert (await peer.answer())[0] == status


@pytest.mark.parametrize("version", [b"", b" HTTP/0.9", b" HTTP/2.0"])
async def test_a_request_of_another_version_is_refused(version: bytes) -> None:
    app = Application()
    async with listening(app) as port, connected(port) as peer:
        await peer.send(b"GET /" + version + b"\r\nHost: a\r\n\r\n")
        assert (await peer.answer())[0] == 400
        assert app.begun == 0


@pytest.mark.parametrize("encoding", [b"gzip, chunked", b"gzip\r\nTransfer-Encoding: chunked"])
async def test_a_body_in_another_encoding_than_chunks_is_refused(encoding: bytes) -> None:
    app = Application()
    async with listening(app) as port, connected(port) as peer:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + encoding
        await peer.send(head + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        assert (await peer.answer())[0] == 400
        assert app.begun == 0
