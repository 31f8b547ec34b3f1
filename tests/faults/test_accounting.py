"""Each request is counted once, and its line written, by the status that its caller was told; `aborted` where they had left."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from service.connections.limits import Limits
from service.exchange import with_exchange
from service.telemetry.metrics import ABORTED, REQUESTS, SHED, UNREAD, UNROUTED
from tests.faults.raw import QUICK, Application, Peer, Watched, asked, connected, listening
from tests.waiting import eventually

POST = asked(method="POST", body=b"x" * 1000)
UPLOAD = asked(method="POST", body=b"x" * 500_000)
CALM = msgspec.structs.replace(
    QUICK, queue_seconds=5.0, burst_seconds=5.0, idle_seconds=5.0, head_seconds=5.0, body_seconds=5.0
)
Told = dict[tuple[str, str, str], float]


class Served:
    """A service whose requests wait until they are let, fail at `/fail`, or say nothing at `/nothing`."""

    def __init__(self) -> None:
        self.inside = Application()
        self.inside.go.clear()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer."""
        if scope["path"] == "/fail":
            raise ValueError
        if scope["path"] != "/nothing":
            await self.inside(scope, receive, send)


def told() -> Told:
    """Read how many requests were counted: by route, method and status."""
    return {
        (sample.labels["route"], sample.labels["method"], sample.labels["status"]): sample.value
        for metric in REQUESTS.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


@contextlib.asynccontextmanager
async def counted(
    expected: dict[tuple[str, str, str], int], caplog: pytest.LogCaptureFixture, limits: Limits
) -> AsyncIterator[tuple[int, Served]]:
    """Serve; when the block has ended, these have been counted, their lines have been written, and nothing else has."""
    caplog.set_level(logging.DEBUG, "tutti.access")
    before, served = told(), Served()
    async with listening(with_exchange(served), limits, Watched) as port:
        yield port, served
        served.inside.go.set()
        await asyncio.sleep(0.1)
    grown = {key: value - before.get(key, 0) for key, value in told().items()}
    assert {key: value for key, value in grown.items() if value} == expected
    lines = [one.told for one in caplog.records if one.name == "tutti.access"]  # type: ignore[attr-defined] # ours
    written = sorted((line["route"], line["method"], str(line["status"])) for line in lines)
    assert written == sorted(key for key, count in expected.items() for _ in range(count))


async def sent_and_told(peer: Peer, data: bytes) -> None:
    """Send something, and read what is answered."""
    await peer.send(data)
    await peer.answer()


async def sent_and_left(peer: Peer, data: bytes) -> None:
    """Send something, and go away."""
    await peer.send(data)
    await asyncio.sleep(0.1)
    peer.writer.transport.abort()
    await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("does", "data", "key"),
    [
        (sent_and_told, asked("/healthz"), (UNROUTED, "GET", "200")),
        (sent_and_told, asked("/fail"), (UNROUTED, "GET", "500")),
        (sent_and_told, asked("/nothing"), (UNROUTED, "GET", "500")),
        (sent_and_left, asked(), (UNROUTED, "GET", ABORTED)),
        (sent_and_left, UPLOAD[:100_000], (UNROUTED, "POST", ABORTED)),
        (sent_and_left, POST[:-1], (UNREAD, "POST", ABORTED)),
        (sent_and_told, b"\x16\x03\x01 hello\r\n\r\n", (UNREAD, "other", "400")),
        (sent_and_told, asked("/", "X-Long: " + "x" * QUICK.head_bytes), (UNREAD, "other", "431")),
        (sent_and_told, asked()[:20], (UNREAD, "other", "408")),
        (sent_and_told, POST[:-1], (UNREAD, "POST", "408")),
        (sent_and_told, UPLOAD[:100_000], (UNROUTED, "POST", "408")),
    ],
    ids=[
        "served",
        "the application fails",
        "the application says nothing",
        "left while it was answered",
        "left in the midst of a long body",
        "left in the midst of a short body",
        "no request",
        "too large a head",
        "a slow head",
        "a slow body",
        "a slow long body",
    ],
)
async def test_a_request_counts_once_as_what_its_caller_was_told(
    caplog: pytest.LogCaptureFixture,
    does: Callable[[Peer, bytes], Awaitable[None]],
    data: bytes,
    key: tuple[str, str, str],
) -> None:
    limits = CALM if does is sent_and_left else QUICK
    async with counted({key: 1}, caplog, limits) as (port, _), connected(port) as peer:
        await does(peer, data)


async def test_what_is_shed_counts_as_503_and_what_left_its_queue_as_aborted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shed = SHED.labels("requests")
    expected = {
        (UNROUTED, "GET", "200"): CALM.requests,
        (UNREAD, "GET", ABORTED): CALM.queue,
        (UNREAD, "GET", "503"): 3,
    }
    async with (
        counted(expected, caplog, CALM) as (port, served),
        contextlib.AsyncExitStack() as stack,
    ):
        before = shed._value.get()
        count = CALM.requests + CALM.queue + 3
        peers = [await stack.enter_async_context(connected(port)) for _ in range(count)]
        for peer in peers:
            await peer.send(asked())
            await asyncio.sleep(0.02)
        for peer in peers[-3:]:
            assert (await peer.answer())[0] == 503
        for peer in peers[CALM.requests : -3]:
            peer.writer.transport.abort()
        await asyncio.sleep(0.1)
        served.inside.go.set()
        for peer in peers[: CALM.requests]:
            assert (await peer.answer())[0] == 200
        assert shed._value.get() - before == 3


async def test_an_upload_that_makes_way_counts_as_503(caplog: pytest.LogCaptureFixture) -> None:
    expected = {(UNROUTED, "POST", "503"): 1, (UNROUTED, "POST", "200"): 1}
    limits = msgspec.structs.replace(CALM, body_seconds=2.0)
    Watched.made.clear()
    async with counted(expected, caplog, limits) as (port, served), connected(port) as slow:
        served.inside.go.set()
        await slow.send(UPLOAD[:100_000])
        await eventually(lambda: Watched.made[0].body_seconds_left < limits.body_seconds / 2)
        async with connected(port) as peer:
            await peer.send(UPLOAD)
            assert (await peer.answer())[0] == 200
        assert (await slow.answer())[0] == 503


async def test_a_connection_too_many_counts_as_503(caplog: pytest.LogCaptureFixture) -> None:
    turned_away = SHED.labels("connections")
    before = turned_away._value.get()
    expected = {(UNROUTED, "GET", "200"): 1, (UNREAD, "other", "503"): 1}
    limits = msgspec.structs.replace(CALM, connections=1)
    async with counted(expected, caplog, limits) as (port, served), connected(port) as busy:
        await busy.send(asked())
        await asyncio.sleep(0.1)
        async with connected(port) as peer:
            assert (await peer.answer())[0] == 503
        served.inside.go.set()
        assert (await busy.answer())[0] == 200
    assert turned_away._value.get() - before == 1


async def test_what_a_stop_cuts_off_counts_as_503(caplog: pytest.LogCaptureFixture) -> None:
    expected = {(UNROUTED, "GET", "503"): 1, (UNREAD, "POST", "503"): 1}
    async with contextlib.AsyncExitStack() as stack:
        before = told()
        served = Served()
        server = listening(with_exchange(served), CALM)
        port = await server.__aenter__()
        slow, half = [await stack.enter_async_context(connected(port)) for _ in range(2)]
        await slow.send(asked())
        await half.send(POST[:-1])
        await asyncio.sleep(0.1)
        stopping = asyncio.create_task(server.__aexit__(None, None, None))
        assert [(await peer.answer())[0] for peer in (slow, half)] == [503, 503]
        served.inside.go.set()
        await stopping
        await asyncio.sleep(0.05)
    grown = {key: value - before.get(key, 0) for key, value in told().items() if value > before.get(key, 0)}
    assert grown == expected
