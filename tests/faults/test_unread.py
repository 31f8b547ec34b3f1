"""Clients that do not read what they are sent: they keep nobody from being served, and take little memory."""

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest

from service.connections.protocol import Http1Protocol
from tests.faults.raw import QUICK, Application, Peer, asked, connected, listening
from tests.waiting import eventually

LARGE = 20_000_000  # bytes: more than the buffers of two sockets take
PATIENT = msgspec.structs.replace(
    QUICK, queue=0, idle_seconds=5.0, unread_seconds=30.0, spare_seconds=5.0, pipelined=32
)


class Served(Application):
    """Answers large at `/large`."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer."""
        inside = Application(b"x" * LARGE if scope["path"] == "/large" else b"done")
        self.begun += 1
        await inside(scope, receive, send)


async def test_who_does_not_read_takes_no_place_from_others() -> None:
    app = Served()
    limits = msgspec.structs.replace(PATIENT, queue=8, queue_seconds=10.0, burst_seconds=10.0)
    async with listening(app, limits) as port, contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(connected(port)) for _ in range(2 * PATIENT.requests)]
        for peer in peers:
            await peer.send(asked("/large") * 5)
        await eventually(lambda: app.begun == len(peers), 5)
        async with connected(port) as honest:
            await honest.send(asked())
            assert (await honest.answer())[0] == 200
        assert app.begun == len(peers) + 1  # what waits behind an answer that lies unread has not begun


async def test_when_it_has_read_it_is_answered_on_in_turn() -> None:
    app = Served()
    limits = msgspec.structs.replace(PATIENT, queue=QUICK.queue)
    async with listening(app, limits) as port, connected(port) as peer:
        await peer.send(asked("/large") + asked() * 3)
        await asyncio.sleep(0.1)
        await peer.send(asked())
        assert [len((await peer.answer())[2]) for _ in range(5)] == [LARGE, 4, 4, 4, 4]


async def test_of_too_many_the_network_with_the_most_has_one_broken_off() -> None:
    app = Served()
    limits = msgspec.structs.replace(PATIENT, unread=4)

    async def unread(of: str) -> Peer:
        peer = await stack.enter_async_context(connected(port, of))
        await peer.send(asked("/large"))
        await asyncio.sleep(0.05)
        return peer

    async with listening(app, limits) as port, contextlib.AsyncExitStack() as stack:
        one = await unread("127.0.0.2")
        many = [await unread("127.0.0.3") for _ in range(limits.unread - 1)]
        last = await unread("127.0.0.4")
        for peer in (one, *many[1:], last):
            assert len((await peer.answer())[2]) == LARGE
        assert len(await many[0].closed()) < LARGE


@pytest.mark.parametrize(
    ("requests", "most"), [(1, 3_000_000), (0, 12_000_000)], ids=["they wait", "they are refused"]
)
async def test_of_requests_without_end_few_are_read(requests: int, most: int) -> None:
    """Those that the server's and the client's own system hold are not the service's; a refusal tells as much as was asked."""
    read = 0

    class Counting(Http1Protocol):
        def data_received(self, data: bytes) -> None:
            nonlocal read
            read += len(data)
            super().data_received(data)

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.01)
        await Application()(scope, receive, send)

    path = asked("/v1/".ljust(PATIENT.target_bytes, "a"))
    limits = msgspec.structs.replace(PATIENT, requests=requests, queue=4 * requests, pipelined=10_000)
    async with listening(slow, limits, Counting) as port, connected(port) as peer:
        peer.writer.write(path * 3_000)
        await asyncio.sleep(0.6)
        assert 0 < read < most
