"""More requests than can be served: some are worked on, some wait a moment, the others are refused before anybody looks."""

import asyncio
import contextlib
import statistics
import time
from collections import Counter
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from service.engine.followers import Followers
from service.exchange import with_exchange
from service.overload import Caller, Gate, Place, current_place
from tests.contract import Contract
from tests.faults.raw import QUICK, Application, Peer, asked, connected, listening
from tests.world import World

ACCOUNT = UUID(int=7)
LATER = msgspec.structs.replace(
    QUICK, queue_seconds=5.0, burst_seconds=5.0, idle_seconds=5.0, head_seconds=5.0
)


@pytest.fixture
def app() -> Application:
    """What is served; nothing is answered until it is let."""
    made = Application()
    made.go.clear()
    return made


async def filled(stack: contextlib.AsyncExitStack, port: int, count: int) -> list[Peer]:
    """Send so many requests, each on a connection of its own."""
    peers = [await stack.enter_async_context(connected(port)) for _ in range(count)]
    for peer in peers:
        await peer.send(asked())
    await asyncio.sleep(0.1)
    return peers


async def test_so_many_are_worked_on_so_many_wait_and_the_rest_is_refused(app: Application) -> None:
    async with listening(app, LATER) as port, contextlib.AsyncExitStack() as stack:
        taken = await filled(stack, port, QUICK.requests + QUICK.queue)
        assert app.begun == QUICK.requests
        for peer in await filled(stack, port, 5):
            status, headers, _ = await peer.answer()
            assert (status, headers["retry-after"]) == (503, "2")
            assert str(UUID(headers["x-request-id"])) == headers["x-request-id"]
        app.go.set()
        for peer in taken:
            assert (await peer.answer())[0] == 200
        assert app.begun == QUICK.requests + QUICK.queue
        assert app.most == QUICK.requests


async def test_a_connection_that_was_refused_is_good_for_the_next_request(app: Application) -> None:
    async with listening(app, LATER) as port, contextlib.AsyncExitStack() as stack:
        await filled(stack, port, QUICK.requests + QUICK.queue)
        async with connected(port) as peer:
            for method, body in (("GET", None), ("POST", b"x" * 100), ("HEAD", None)):
                await peer.send(asked("/", method=method, body=body))
                head = await peer.reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 503 ")
                if method != "HEAD":
                    await peer.reader.readexactly(
                        int(head.lower().partition(b"content-length: ")[2].split()[0])
                    )
            app.go.set()
            await asyncio.sleep(0.05)
            await peer.send(asked())
            assert (await peer.answer())[0] == 200


async def test_who_waits_too_long_is_refused_although_nothing_has_ended(app: Application) -> None:
    async with listening(app) as port, contextlib.AsyncExitStack() as stack:
        _, _, third, fourth = await filled(stack, port, QUICK.requests + QUICK.queue)
        began = time.monotonic()
        assert (await third.answer())[0] == 503
        assert (await fourth.answer())[0] == 503
        assert time.monotonic() - began < QUICK.burst_seconds + 0.5
        app.go.set()


async def test_a_burst_is_served(app: Application) -> None:
    async with listening(app) as port, contextlib.AsyncExitStack() as stack:
        peers = await filled(stack, port, QUICK.requests + QUICK.queue)
        await asyncio.sleep(QUICK.queue_seconds + 0.1)
        app.go.set()
        assert [(await peer.answer())[0] for peer in peers] == [200] * len(peers)


async def test_in_a_queue_that_stands_nobody_waits_for_as_long() -> None:
    gate = Gate("requests", 1, 100, 0.1, 0.5)
    place = gate.place()
    waited: list[float] = []

    def enter() -> None:
        began = time.monotonic()
        gate.enter(lambda _: None, lambda: waited.append(time.monotonic() - began), lambda: False)

    for _ in range(40):
        enter()
        await asyncio.sleep(0.05)
    assert waited[0] >= 0.5
    assert statistics.median(waited[-15:]) < 0.4
    assert place is not None
    place.let_go()


async def test_in_a_rush_the_newest_comes_first_and_else_the_oldest() -> None:
    gate = Gate("requests", 1, 4, 60, 60)
    places: list[Place] = []
    begun: list[int] = []

    def enter(number: int) -> None:
        def begin(place: Place) -> None:
            places.append(place)
            begun.append(number)

        gate.enter(begin, pytest.fail, lambda: False)

    for number in range(5):
        enter(number)
    for _ in range(4):
        places[-1].let_go()
    assert begun == [0, 4, 3, 1, 2]
    places[-1].let_go()


ACME, GLOBEX = UUID(int=1), UUID(int=2)
HERE = "192.0.2.1"
ADA, BEN, STRANGER = Caller(1, HERE), Caller(2, HERE), Caller(3, HERE)


class Line:
    """What came of those who asked a gate for a place, in order."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.begun: list[Caller] = []
        self.refused: list[Caller] = []
        self.places: list[Place] = []
        gate.know(ADA.proof, ACME)
        gate.know(BEN.proof, GLOBEX)

    def enter(self, caller: Caller, times: int = 1) -> None:
        """Ask for places, and take what comes."""
        for _ in range(times):
            self.gate.enter(self._begin, lambda: self.refused.append(caller), lambda: False, caller)

    def _begin(self, place: Place) -> None:
        self.places.append(place)
        self.begun.append(place.caller)


async def test_one_accounts_line_never_has_all_places() -> None:
    line = Line(Gate("requests", 4, 8, 60, 60, share=3))
    line.enter(ADA, 6)
    assert line.begun == [ADA] * 3
    line.enter(BEN)
    assert line.begun == [ADA] * 3 + [BEN]
    assert line.refused == []


async def test_the_line_with_the_fewest_places_is_next() -> None:
    line = Line(Gate("requests", 3, 40, 60, 60, share=2))
    line.enter(STRANGER, 10)
    line.enter(ADA, 10)
    assert line.begun == [STRANGER, STRANGER, ADA]
    line.enter(BEN)
    line.places[0].let_go()
    assert line.begun[3:] == [BEN]
    line.places[2].let_go()
    assert line.begun[4:] == [ADA]


async def test_in_a_full_queue_the_longest_line_makes_room() -> None:
    line = Line(Gate("requests", 1, 4, 60, 60))
    line.enter(STRANGER, 1 + 4 + 1)
    assert line.refused == [STRANGER]
    assert line.gate.refuses(STRANGER)
    assert not line.gate.refuses(ADA)
    line.enter(ADA, 2)
    assert line.refused == [STRANGER] * 3
    line.enter(ADA)
    assert line.refused[3:] == [ADA]  # two of four are its share
    for _ in range(4):
        line.places[-1].let_go()
    assert Counter(line.begun[1:]) == {ADA: 2, STRANGER: 2}


async def test_who_has_proven_to_be_an_accounts_stands_in_its_line() -> None:
    line = Line(Gate("requests", 4, 8, 60, 60, share=3))
    new = Caller(9, HERE)
    line.enter(STRANGER, 2)
    line.enter(new, 3)
    assert line.begun == [STRANGER, STRANGER, new]  # so far a stranger as well
    line.places[-1].prove(ACME)
    line.enter(new)
    assert line.begun == [STRANGER, STRANGER, new, new]


async def test_no_more_than_the_latest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.overload.REMEMBERED", 2)
    gate = Gate("requests", 1, 0, 0, 0)
    for proof in (1, 2, 1, 3):
        gate.know(proof, ACME)
    assert [gate.lane(Caller(proof, HERE)) for proof in (1, 2, 3)] == [ACME, HERE, ACME]


async def test_a_flood_of_strangers_takes_nobodys_turn(world: World, application: Any) -> None:
    let = asyncio.Event()

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/hold":
            await let.wait()
        await application(scope, receive, send)

    few = msgspec.structs.replace(LATER, requests=4, requests_of_one=3, queue=4)
    workflows = asked(f"{world.acme.url}/workflows", f"Authorization: Bearer {world.acme.admin}")
    async with listening(inside, few) as port, contextlib.AsyncExitStack() as stack:
        async with connected(port) as peer:
            await peer.send(workflows)
            assert (await peer.answer())[0] == 200
            flood = [await stack.enter_async_context(connected(port)) for _ in range(12)]
            for one in flood:
                await one.send(asked("/hold", "Authorization: Bearer of-nobody"))
            await asyncio.sleep(0.1)
            for _ in range(3):
                await peer.send(workflows)
                assert (await peer.answer(1))[0] == 200
        let.set()
        answers = [(await one.answer())[0] for one in flood]
        assert sorted(set(answers)) == [404, 503]


async def test_who_has_gone_while_waiting_is_not_begun(app: Application) -> None:
    async with listening(app, LATER) as port, contextlib.AsyncExitStack() as stack:
        *_, last = await filled(stack, port, QUICK.requests + 1)
        last.writer.transport.abort()
        await asyncio.sleep(0.05)
        app.go.set()
        await asyncio.sleep(0.1)
        assert app.begun == QUICK.requests


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_what_operators_ask_for_has_places_of_its_own(app: Application, path: str) -> None:
    async with listening(app, LATER) as port, contextlib.AsyncExitStack() as stack:
        await filled(stack, port, QUICK.requests + QUICK.queue)
        async with connected(port) as peer:
            await peer.send(asked(path))
            assert (await peer.answer())[0] == 200
        app.go.set()


async def test_a_flood_of_probes_takes_no_place_of_requests_nor_of_another_networks_probes() -> None:
    let, begun = asyncio.Event(), Counter[str]()

    async def inside(scope: Any, _: Any, send: Any) -> None:
        begun[scope["client"][0] + scope["path"]] += 1
        if scope["path"] == "/healthz":
            await let.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    many = msgspec.structs.replace(LATER, probes=2, connections=60)
    async with listening(inside, many) as port, contextlib.AsyncExitStack() as stack:
        flood = [await stack.enter_async_context(connected(port)) for _ in range(30)]
        operator = await stack.enter_async_context(connected(port, "127.0.0.2"))
        for peer in (*flood, operator):
            await peer.send(asked("/healthz"))
        async with connected(port) as peer:
            await peer.send(asked())
            assert (await peer.answer())[0] == 200
        assert begun == {"127.0.0.1/healthz": 1, "127.0.0.2/healthz": 1, "127.0.0.1/": 1}
        let.set()
        assert (await operator.answer())[0] == 200
        answers = Counter([(await peer.answer())[0] for peer in flood])
        assert set(answers) == {200, 503}


@pytest.mark.parametrize(
    ("method", "path", "document"),
    [
        ("GET", f"/v1/accounts/{ACCOUNT}/workflows", "maestro.json"),
        ("POST", f"/v1/accounts/{ACCOUNT}/workflows/{ACCOUNT}/actions/trigger", "maestro.json"),
        ("GET", "/api/orchestration/v2/workflows", "formance.json"),
        ("GET", "/KeyfactorAPI/Workflow/Instances", "keyfactor.json"),
        ("POST", "/oauth/token", "oauth.json"),
        ("GET", "/oauth/auth", "oauth.json"),
    ],
)
async def test_the_refusal_is_in_the_words_of_its_dialect(
    app: Application, method: str, path: str, document: str
) -> None:
    contract = Contract.of(document)
    async with listening(app, LATER) as port, contextlib.AsyncExitStack() as stack:
        await filled(stack, port, QUICK.requests + QUICK.queue)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            answer = await client.request(method, path)
        assert answer.status_code == 503
        operation = contract.operation(method, path)
        assert operation is not None
        told = contract.resolved(operation["responses"]["503"])
        contract.check_body(answer, told["content"], operation["operationId"])
        assert all(
            name.lower() in answer.headers for name in told.get("headers", {}) if name != "Cache-Control"
        )
        app.go.set()


async def test_the_refusal_has_the_content_type_of_the_sdks_generation(app: Application) -> None:
    async with listening(app, LATER) as port, contextlib.AsyncExitStack() as stack:
        await filled(stack, port, QUICK.requests + QUICK.queue)
        for beta, kind in ((5, "application/json"), (8, "application/problem+json")):
            async with connected(port) as peer:
                agent = f"User-Agent: docusign-sdk/v1/1.0.0-beta.{beta}/typescript/node"
                await peer.send(asked(f"/v1/accounts/{ACCOUNT}/workflows", agent))
                status, headers, _ = await peer.answer()
                assert (status, headers["content-type"]) == (503, kind)
        app.go.set()


async def test_who_only_waits_for_something_gives_its_place_to_others() -> None:
    followers, over = Followers(), asyncio.Event()

    async def inside(scope: Any, _: Any, send: Any) -> None:
        if scope["path"] == "/wait":
            with followers.awaiting(ACCOUNT, ACCOUNT, frozenset()):
                await over.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with listening(with_exchange(inside), LATER) as port, contextlib.AsyncExitStack() as stack:
        waiting = [await stack.enter_async_context(connected(port)) for _ in range(10)]
        for peer in waiting:
            await peer.send(asked("/wait"))
            await asyncio.sleep(0.02)
        async with connected(port) as peer:
            await peer.send(asked())
            assert (await peer.answer())[0] == 200
        over.set()
        for peer in waiting:
            assert (await peer.answer())[0] == 200


def test_a_place_is_given_back_once() -> None:
    gate = Gate("requests", 2, 0, 0, 0)
    places: list[Place] = []
    gate.enter(places.append, pytest.fail, lambda: False)
    gate.enter(places.append, pytest.fail, lambda: False)
    assert gate.full
    places[0].let_go()
    places[0].let_go()
    assert gate.taken == 1
    assert current_place.get() is None
