"""More connections than there may be: one that nobody uses makes room, and nobody is closed without a word."""

import asyncio
import contextlib
import resource
import socket
from collections import Counter

import msgspec
import pytest

from service.connections.limits import OWN_FILES, limits_of_settings
from service.settings import settings
from tests.faults.raw import QUICK, Application, asked, connected, listening

SPACIOUS = msgspec.structs.replace(
    QUICK, requests=100, queue=200, head_seconds=5.0, idle_seconds=5.0, unread_seconds=30.0
)
LARGE = 20_000_000  # bytes: more than the buffers of two sockets take


async def test_who_makes_room_is_neither_half_read_nor_half_written() -> None:
    app = Application(b"x" * LARGE)
    async with (
        listening(app, msgspec.structs.replace(SPACIOUS, connections=3)) as port,
        connected(port) as unread,
        connected(port) as half,
        connected(port) as spare,
    ):
        await unread.send(asked())
        await half.send(asked()[:20])
        await asyncio.sleep(0.1)
        async with connected(port) as newcomer:
            assert await spare.closed() == b""
            await newcomer.send(asked()[:20])
            await asyncio.sleep(0.1)
            async with connected(port) as late:
                assert (await late.answer())[0] == 503
            for peer, rest in ((unread, b""), (half, asked()[20:]), (newcomer, asked()[20:])):
                await peer.send(rest)
                status, _, body = await peer.answer()
                assert (status, len(body)) == (200, LARGE)


async def test_who_has_just_connected_is_not_closed_for_the_next_one() -> None:
    limits = msgspec.structs.replace(SPACIOUS, connections=1, spare_seconds=0.3)
    async with listening(Application(), limits) as port, connected(port) as first:
        await asyncio.sleep(0.05)  # so long it may take from one side of the world to the other
        async with connected(port) as second:
            assert (await second.answer())[0] == 503
        await first.send(asked())
        assert (await first.answer())[0] == 200
        await asyncio.sleep(limits.spare_seconds + 0.1)
        async with connected(port) as third:
            await third.send(asked())
            assert (await third.answer())[0] == 200
        assert await first.closed() == b""


async def test_of_a_burst_at_one_instant_each_is_answered() -> None:
    app = Application()
    limits = msgspec.structs.replace(SPACIOUS, spare_seconds=1.0)
    app.go.clear()
    async with listening(app, limits) as port, contextlib.AsyncExitStack() as stack:
        busy = [await stack.enter_async_context(connected(port)) for _ in range(limits.connections // 2)]
        for peer in busy:
            await peer.send(asked())
        await asyncio.sleep(0.1)
        burst = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(200)]
        for one in burst:  # all of them before the server has its next turn
            one.sendall(asked())
        await asyncio.sleep(0.3)
        app.go.set()
        for peer in busy:
            assert (await peer.answer())[0] == 200
        await asyncio.sleep(0.1)
        told = Counter(one.recv(12) for one in burst)
        assert told == {
            b"HTTP/1.1 200": limits.connections - len(busy),
            b"HTTP/1.1 503": len(burst) - limits.connections + len(busy),
        }


def test_there_are_no_more_connections_than_files_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, connections in (
        (resource.RLIM_INFINITY, settings().connections_at_once),
        (300, 300 - OWN_FILES),
    ):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert limits_of_settings().connections == connections
