"""Long bodies: few at once, none for long, and whoever sends slowly or over many connections keeps nobody else out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from tests.faults.raw import QUICK, Application, Peer, Watched, asked, connected, listening
from tests.waiting import eventually

LENGTH = 1_000_000
LONG = asked(method="POST", body=b"x" * LENGTH)
BEGUN = 100_000  # bytes: more than are kept without a place
PATIENT = msgspec.structs.replace(QUICK, uploads=4, body_seconds=5.0, upload_seconds=5.0)
SOON = 2.0  # seconds, on a machine that has other things to do as well


@pytest.fixture
def app() -> Application:
    """What is served."""
    return Application()


@contextlib.asynccontextmanager
async def begun(port: int, count: int, of: str = "127.0.0.1") -> AsyncIterator[list[Peer]]:
    """Send the beginning of so many requests, each over a connection of its own."""
    async with contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(connected(port, of)) for _ in range(count)]
        for peer in peers:
            await peer.send(LONG[:BEGUN])
        await asyncio.sleep(0.1)
        yield peers


async def status_of(port: int, of: str = "127.0.0.1") -> int:
    """Send a whole request; return what is answered, which has to be soon."""
    async with connected(port, of) as peer:
        await peer.send(LONG)
        return (await peer.answer(SOON))[0]


async def test_who_takes_all_places_makes_way_for_others(app: Application) -> None:
    async with listening(app, PATIENT) as port, begun(port, PATIENT.uploads) as slow:
        assert app.now == PATIENT.uploads
        assert await status_of(port, "127.0.0.2") == 200
        for peer in slow:
            await peer.send(LONG[BEGUN:])
        statuses = sorted([(await peer.answer())[0] for peer in slow])
        assert statuses == [200] * (PATIENT.uploads - 1) + [503]


async def test_however_many_they_are_they_are_taken_from_whoever_has_most(app: Application) -> None:
    async with (
        listening(app, PATIENT) as port,
        begun(port, 1, "127.0.0.3") as one,
        begun(port, PATIENT.uploads - 1) as many,
    ):
        assert await status_of(port, "127.0.0.2") == 200
        await one[0].send(LONG[BEGUN:])
        assert (await one[0].answer())[0] == 200
        for peer in many:
            await peer.send(LONG[BEGUN:])
        assert sorted([(await peer.answer())[0] for peer in many]) == [200] * (len(many) - 1) + [503]


async def test_who_has_as_many_as_the_others_waits_for_them(app: Application) -> None:
    async with (
        listening(app, PATIENT) as port,
        begun(port, 2, "127.0.0.2") as some,
        begun(port, 2, "127.0.0.3") as others,
        begun(port, 2, "127.0.0.4") as late,
    ):
        assert (await late[1].answer())[0] == 503  # the first had none yet, and this one would be on a par
        for peer in (*some, *others, late[0]):
            await peer.send(LONG[BEGUN:])
        assert sorted([(await peer.answer())[0] for peer in (*some, *others, late[0])]) == [200] * 4 + [503]


async def test_who_is_far_behind_makes_way_also_for_its_own_network(app: Application) -> None:
    limits = msgspec.structs.replace(PATIENT, body_seconds=2.0)
    Watched.made.clear()
    async with listening(app, limits, Watched) as port, begun(port, limits.uploads):
        slow = tuple(Watched.made)
        await eventually(lambda: min(one.body_seconds_left for one in slow) < limits.body_seconds / 2)
        assert await status_of(port) == 200


async def test_a_body_that_stalls_behind_its_beginning_has_no_credit_of_it(app: Application) -> None:
    limits = msgspec.structs.replace(QUICK, least_rate=1)
    async with listening(app, limits) as port, begun(port, 1) as (peer,):
        assert (await peer.answer(SOON))[0] == 408


async def test_a_body_without_end_comes_to_one_although_it_is_fast(app: Application) -> None:
    limits = msgspec.structs.replace(QUICK, upload_rate=100, upload_seconds=0.5)
    async with listening(app, limits) as port, begun(port, 1) as (peer,):
        answer = asyncio.create_task(peer.answer(SOON))
        while not answer.done():
            await peer.send(LONG[:1_000])
            await asyncio.sleep(0.02)
        assert answer.result()[0] == 408
        await asyncio.sleep(0.05)
        assert app.now == 0


async def test_an_answer_before_the_body_is_the_only_one_though_the_rest_never_comes() -> None:
    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with listening(refusing) as port, begun(port, 1) as (peer,):
        assert (await peer.answer())[0] == 401
        assert await peer.closed() == b""


async def test_so_is_the_refusal_of_a_body_that_found_no_room(app: Application) -> None:
    app.go.clear()
    async with (
        listening(app, msgspec.structs.replace(QUICK, queue=0, queue_seconds=5.0)) as port,
        connected(port) as first,
        connected(port) as second,
        connected(port) as late,
    ):
        for peer in (first, second):
            await peer.send(asked())
        await asyncio.sleep(0.05)
        await late.send(asked(method="POST", body=b"x" * 500)[:-400])
        assert (await late.answer())[0] == 503
        assert await late.closed() == b""
        app.go.set()


async def test_a_service_that_takes_its_time_to_read_cuts_nobody_off() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(3 * QUICK.body_seconds)
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with listening(slow) as port:
        assert await status_of(port) == 200
