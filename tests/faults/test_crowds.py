"""More connections than there may be: one that nobody uses makes room, and nobody is closed without a word."""

import asyncio
import contextlib
import resource
import socket
from collections import Counter
from typing import Any

import msgspec
import pytest

from service.connections.crowds import LOOKED_AT, Crowd
from service.connections.limits import OWN_FILES, limits_of_settings
from service.settings import settings
from tests.faults.raw import QUICK, Application, Peer, asked, connected, listening

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


@pytest.mark.parametrize(
    "beginning",
    [asked()[:20], asked(method="POST", body=b"x" * 500)[:-400], asked(), b""],
    ids=["half a head", "half a body", "a request that is not answered", "nothing yet"],
)
async def test_a_network_that_takes_all_connections_makes_room_for_others(beginning: bytes) -> None:
    app = Application()
    app.go.clear()
    limits = msgspec.structs.replace(SPACIOUS, spare_seconds=5.0, body_seconds=5.0)
    async with listening(app, limits) as port, contextlib.AsyncExitStack() as stack:

        async def again() -> None:
            """Connect, until the test ends, whenever the connection is closed."""
            while True:
                async with connected(port, "127.0.0.3") as peer:
                    await peer.send(beginning)
                    await peer.closed()
                await asyncio.sleep(0.01)

        crowd = [asyncio.create_task(again()) for _ in range(limits.connections + 10)]
        stack.callback(lambda: [one.cancel() for one in crowd])
        await asyncio.sleep(0.2)
        for of in ("127.0.0.2", "127.0.0.4") * 3:
            async with connected(port, of) as honest:
                await honest.send(asked("/healthz"))
                assert (await honest.answer(1))[0] == 200


async def test_half_sent_requests_go_before_those_under_way_and_what_is_answered_in_part_never() -> None:
    go = asyncio.Event()

    async def served(scope: Any, receive: Any, send: Any) -> None:
        """Begin to answer at once at `/part`; go on when it is let."""
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}
        if scope["path"] == "/part":
            await send(start)
        await go.wait()
        if scope["path"] != "/part":
            await send(start)
        await send({"type": "http.response.body", "body": b"done"})

    async def connect(of: str, data: bytes) -> Peer:
        peer = await stack.enter_async_context(connected(port, of))
        await peer.send(data)
        await asyncio.sleep(0.05)
        return peer

    limits = msgspec.structs.replace(SPACIOUS, connections=4, spare_seconds=5.0)
    async with listening(served, limits) as port, contextlib.AsyncExitStack() as stack:
        part, first, second, half = [
            await connect("127.0.0.2", data) for data in (asked("/part"), asked(), asked(), asked()[:20])
        ]
        for of, told in (("127.0.0.3", half), ("127.0.0.4", first)):
            await connect(of, b"")
            assert (await told.answer())[0] == 503
        async with connected(port, "127.0.0.5") as late:
            assert (await late.answer())[0] == 503  # they have one more than it would have
        go.set()
        for peer in (part, second):
            assert (await peer.answer())[0] == 200


class Held:
    """A connection that can only be closed for another network, and counts how often it is looked at."""

    looks = 0

    def __init__(self, network: str, loss: int | None = 1) -> None:
        self.network = network
        self._loss = loss

    @property
    def loss(self) -> int | None:
        """Say what is lost."""
        Held.looks += 1
        return self._loss

    def spare_at(self, _: float) -> bool:
        """Say no."""
        return False

    def make_way(self) -> None:
        """Close."""


def test_a_newcomer_costs_a_look_at_few_of_many() -> None:
    crowd, newcomers = Crowd(1000), [Held(str(number)) for number in range(100)]
    for one in [Held("crowd") for _ in range(1000)]:
        crowd.add(one)
    Held.looks = 0
    for newcomer in newcomers:
        crowd.add(newcomer)
        assert crowd.make_room(newcomer, 0.0)
    assert Held.looks <= LOOKED_AT * len(newcomers)


def test_connections_that_cannot_be_closed_shield_the_others_of_their_network_once() -> None:
    crowd, newcomer = Crowd(100), Held("newcomer")
    for number in range(LOOKED_AT + 8):
        crowd.add(Held("crowd", None if number < LOOKED_AT else 1))
    crowd.add(newcomer)
    assert not crowd.make_room(newcomer, 0.0)
    assert crowd.make_room(newcomer, 0.0)


def test_there_are_no_more_connections_than_files_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, connections in (
        (resource.RLIM_INFINITY, settings().connections_at_once),
        (300, 300 - OWN_FILES),
    ):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert limits_of_settings().connections == connections
