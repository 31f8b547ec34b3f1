"""Clients that send or read a byte at a time, too much of it, or nothing at all: each is cut off, and nobody else suffers."""

import asyncio
import contextlib
import time

import msgspec
import pytest

from tests.faults.raw import QUICK, Application, Peer, asked, connected, listening
from tests.waiting import eventually


@pytest.fixture
def app() -> Application:
    """What is served."""
    return Application()


async def drip(peer: Peer, data: bytes, every: float = 0.04) -> None:
    """Send a byte at a time until the other side has had enough."""
    with contextlib.suppress(ConnectionError):
        for number in range(len(data)):
            await peer.send(data[number : number + 1])
            await asyncio.sleep(every)


async def test_who_sends_its_headers_a_byte_at_a_time_is_cut_off(app: Application) -> None:
    async with listening(app) as port, connected(port) as peer:
        dripping = asyncio.create_task(drip(peer, asked("/", "X-Long: " + "x" * 500)))
        status, headers, body = await peer.answer()
        assert (status, headers["connection"]) == (408, "close")
        assert b"headers came too slowly" in body
        dripping.cancel()
        assert app.begun == 0


async def test_so_is_who_does_it_with_its_second_request(app: Application) -> None:
    async with listening(app) as port, connected(port) as peer:
        await peer.send(asked())
        assert (await peer.answer())[0] == 200
        await peer.send(asked()[:20])
        assert (await peer.answer())[0] == 408


async def test_who_sends_its_body_a_byte_at_a_time_is_cut_off_and_takes_no_place(app: Application) -> None:
    async with listening(app) as port, contextlib.AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(connected(port)) for _ in range(10)]
        request = asked(method="POST", body=b"x" * 500)
        for peer in slow:
            await peer.send(request[:-499])
        drips = [asyncio.create_task(drip(peer, request[-499:])) for peer in slow]
        async with connected(port) as quick:
            await quick.send(asked())
            assert (await quick.answer())[0] == 200
        for peer in slow:
            status, _, body = await peer.answer()
            assert status == 408
            assert b"body came too slowly" in body
        for one in drips:
            one.cancel()
        assert app.begun == 1


async def test_of_bodies_that_are_long_and_slow_few_are_taken_at_once(app: Application) -> None:
    body = b"x" * 500_000
    async with listening(app) as port, connected(port) as first, connected(port) as second:
        for peer in (first, second):
            await peer.send(asked(method="POST", body=body)[:100_000])
        status, headers, _ = await second.answer()
        assert (status, headers["retry-after"]) == (503, "2")
        async with connected(port) as quick:
            await quick.send(asked())
            assert (await quick.answer())[0] == 200
        assert (await first.answer())[0] == 408


async def test_a_long_body_at_a_fair_rate_is_taken(app: Application) -> None:
    body = b"x" * 500_000
    async with listening(app) as port, connected(port) as peer:
        request = asked(method="POST", body=body)
        for begin in range(0, len(request), 50_000):
            await peer.send(request[begin : begin + 50_000])
            await asyncio.sleep(0.08)
        assert (await peer.answer())[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        [f"X-{number}: 1" for number in range(QUICK.headers)],
        ["X-Long: " + "x" * QUICK.head_bytes],
        [f"X-{number}: " + "x" * 1000 for number in range(80)],
    ],
    ids=["many", "one that is long", "long together"],
)
@pytest.mark.parametrize("pieces", [1, 3])
async def test_too_many_or_too_long_headers_are_refused(
    app: Application, headers: list[str], pieces: int
) -> None:
    request = asked("/", *headers)
    patient = msgspec.structs.replace(QUICK, head_seconds=5.0)
    async with listening(app, patient) as port, connected(port) as peer:
        for begin in range(0, len(request), len(request) // pieces + 1):
            await peer.send(request[begin : begin + len(request) // pieces + 1])
            await asyncio.sleep(0.01)
        status, told, body = await peer.answer()
        assert (status, told["connection"]) == (431, "close")
        assert str(QUICK.headers).encode() in body
        assert str(QUICK.head_bytes).encode() in body
        assert app.begun == 0


async def test_a_header_that_is_too_long_is_refused_before_it_ends(app: Application) -> None:
    async with listening(app) as port, connected(port) as peer:
        await peer.send(asked()[:-2] + b"X: " + b"x" * QUICK.head_bytes)
        assert (await peer.answer())[0] == 431


async def test_as_many_headers_as_are_allowed_are_taken(app: Application) -> None:
    async with listening(app) as port, connected(port) as peer:
        await peer.send(asked("/", *(f"X-{number}: " + "x" * 600 for number in range(QUICK.headers - 1))))
        assert (await peer.answer())[0] == 200


@pytest.mark.parametrize("length", [QUICK.target_bytes + 1, QUICK.head_bytes + 1])
@pytest.mark.parametrize("beginning", ["/", "/?"])
async def test_a_path_or_query_that_is_too_long_is_refused(
    app: Application, beginning: str, length: int
) -> None:
    async with listening(app) as port, connected(port) as peer:
        await peer.send(asked(beginning.ljust(length, "x")))
        status, headers, body = await peer.answer()
        assert (status, headers["connection"], headers["cache-control"]) == (414, "close", "no-store")
        assert str(QUICK.target_bytes).encode() in body
        assert app.begun == 0


async def test_the_longest_path_that_is_allowed_is_taken(app: Application) -> None:
    async with listening(app) as port, connected(port) as peer:
        await peer.send(asked("/".ljust(QUICK.target_bytes, "x")))
        assert (await peer.answer())[0] == 200


async def test_connections_on_which_nothing_comes_are_closed(app: Application) -> None:
    async with listening(app) as port, connected(port) as silent, connected(port) as done:
        await done.send(asked())
        assert (await done.answer())[0] == 200
        began = time.monotonic()
        assert await done.closed() == b""
        assert await silent.closed() == b""
        assert time.monotonic() - began < 2


async def test_thousands_of_idle_connections_leave_room_for_those_who_ask(app: Application) -> None:
    async with listening(app) as port, contextlib.AsyncExitStack() as stack:
        for _ in range(3 * QUICK.connections):
            await stack.enter_async_context(connected(port))
        async with connected(port) as peer:
            await peer.send(asked())
            assert (await peer.answer())[0] == 200


async def test_when_all_connections_are_busy_a_further_one_is_refused(app: Application) -> None:
    app.go.clear()
    async with listening(app, QUICK_WITH_PLACES) as port, contextlib.AsyncExitStack() as stack:
        busy = [await stack.enter_async_context(connected(port)) for _ in range(QUICK.connections)]
        for peer in busy:
            await peer.send(asked())
        await asyncio.sleep(0.1)
        async with connected(port) as peer:
            status, headers, _ = await peer.answer()
            assert (status, headers["retry-after"]) == (503, "2")
        app.go.set()
        for peer in busy:
            assert (await peer.answer())[0] == 200


QUICK_WITH_PLACES = type(QUICK)(requests=100, connections=QUICK.connections, look_every=0.05)


async def test_an_answer_that_nobody_reads_is_given_up() -> None:
    app = Application(b"x" * 20_000_000)
    async with listening(app) as port, connected(port) as peer:
        await peer.send(asked())
        await asyncio.sleep(1.5)
        received = await peer.closed()
        assert len(received) < len(app.body)
        assert app.now == 0


async def test_an_answer_that_is_read_at_a_fair_rate_is_not() -> None:
    app = Application(b"x" * 12_000_000)
    async with listening(app) as port, connected(port) as peer:
        await peer.send(asked())
        got = 0
        async with asyncio.timeout(10):
            while got < len(app.body):
                got += len(await peer.reader.read(1_000_000))
                await asyncio.sleep(0.02)


async def test_of_requests_without_end_on_one_connection_some_are_answered_and_then_it_ends(
    app: Application,
) -> None:
    app.go.clear()
    async with listening(app) as port, connected(port) as peer:
        await peer.send(asked() * 1000)
        await eventually(lambda: app.begun)
        await asyncio.sleep(0.1)
        assert app.begun == 1
        app.go.set()
        for _ in range(1 + QUICK.pipelined):
            assert (await peer.answer())[0] == 200
        assert await peer.closed() == b""
        assert app.begun == 1 + QUICK.pipelined


async def test_some_requests_at_once_on_one_connection_are_answered_in_turn(app: Application) -> None:
    async with listening(app) as port, connected(port) as peer:
        await peer.send(asked() * 4)
        for _ in range(4):
            assert (await peer.answer())[0] == 200


async def test_who_speaks_an_old_version_is_not_told_to_go_on(app: Application) -> None:
    """RFC 9110, 10.1.1: it would take that for the answer."""
    async with listening(app) as port, connected(port) as peer:
        request = asked("/", "Expect: 100-continue", method="POST", body=b"abc")
        await peer.send(request.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert (await peer.answer())[0] == 200


async def test_who_waits_to_be_told_to_go_on_is_told(app: Application) -> None:
    async with listening(app) as port, connected(port) as peer:
        request = asked("/", "Expect: 100-continue", method="POST", body=b"x" * 100)
        await peer.send(request[:-100])
        assert (await peer.answer())[0] == 100
        await peer.send(request[-100:])
        assert (await peer.answer())[0] == 200


async def test_what_is_no_http_is_refused(app: Application) -> None:
    async with listening(app) as port, connected(port) as peer:
        await peer.send(b"\x16\x03\x01 hello\r\n\r\n")
        assert (await peer.answer())[0] == 400


async def test_at_the_end_what_is_half_sent_or_slow_is_refused_and_what_is_begun_is_finished(
    app: Application,
) -> None:
    app.go.clear()
    server = listening(app)
    port = await server.__aenter__()
    async with connected(port) as half, connected(port) as head, connected(port) as quick:
        await half.send(asked(method="POST", body=b"x" * 100)[:-50])
        await head.send(asked()[:20])
        await quick.send(asked())
        await asyncio.sleep(0.1)
        asyncio.get_running_loop().call_later(0.15, app.go.set)
        stopping = asyncio.create_task(server.__aexit__(None, None, None))
        assert (await half.answer())[0] == 503
        assert await head.closed() == b""
        status, headers, _ = await quick.answer()
        assert (status, headers["connection"]) == (200, "close")
        await stopping


async def test_at_the_end_what_takes_too_long_is_told_so(app: Application) -> None:
    app.go.clear()
    server = listening(app)
    port = await server.__aenter__()
    async with connected(port) as slow:
        await slow.send(asked())
        await asyncio.sleep(0.1)
        began = time.monotonic()
        stopping = asyncio.create_task(server.__aexit__(None, None, None))
        status, headers, _ = await slow.answer()
        assert (status, headers["retry-after"], headers["connection"]) == (503, "2", "close")
        await stopping
        assert time.monotonic() - began < 3
