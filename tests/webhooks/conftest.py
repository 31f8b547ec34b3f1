"""Endpoints that tests own, a courier with a clock of their own, and events to be told of."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from aiohttp import web
from litestar import Litestar
from standardwebhooks.webhooks import Webhook as Verifier

from service.engine.events import Subject, record
from service.webhooks.courier import Courier
from service.webhooks.schedule import Schedule
from tenancy.rows import rows_of
from tests.engine.outside import egress, free_port
from tests.world import Tenant, World, bearer

QUICK = Schedule(delays=(0.02,) * 40)


@pytest.fixture
async def quiet(litestar: Litestar, secret_keys: None) -> AsyncIterator[None]:
    """The application's own courier rests, so that a test's alone works."""
    courier: Courier = litestar.state["courier"]
    await courier.stop()
    yield
    courier.start()


class Clock:
    """A time that passes when a test says so."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> Clock:
    """The test's own time."""
    return Clock()


@pytest.fixture
async def courier(quiet: None, world: World, clock: Clock) -> AsyncIterator[Courier]:
    """A courier that goes when it is told to, by the test's clock."""
    async with egress(connect_seconds=2, total_seconds=2) as way:
        carrying = Courier(way, clock=clock)
        yield carrying
        await carrying.stop()


class Webhooks:
    """The webhooks of one account, as its administrator handles them."""

    def __init__(self, client: httpx.AsyncClient, of: Tenant, token: str | None = None) -> None:
        self.client, self.of = client, of
        self.url = f"{of.url}/webhooks"
        self.headers = bearer(token or of.admin)

    async def ask(self, method: str, path: str = "", body: Any = None, status: int = 200) -> Any:
        """Send a request, and hold its status against the expected one."""
        answer = await self.client.request(method, f"{self.url}{path}", json=body, headers=self.headers)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def make(self, url: str, **fields: Any) -> Any:
        """Add an endpoint."""
        return await self.ask("POST", body={"url": url, **fields}, status=201)

    async def deliveries(self, webhook: Any, **query: Any) -> list[Any]:
        """The log of an endpoint, the oldest delivery first."""
        path = f"/{webhook['id']}/deliveries"
        answer = await self.client.get(f"{self.url}{path}", params=query, headers=self.headers)
        assert answer.status_code == 200, answer.text
        found: list[Any] = answer.json()["data"]
        return found[::-1]


@pytest.fixture
def webhooks(client: httpx.AsyncClient, world: World) -> Webhooks:
    """Acme's webhooks."""
    return Webhooks(client, world.acme)


class Receiver:
    """A server that is sent events, and answers each as a test says; it can be stopped and started again."""

    def __init__(self, respond: Callable[[Any], Awaitable[web.StreamResponse]]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self.heard: list[tuple[dict[str, str], str]] = []
        self.accepted: list[Any] = []
        self._respond = respond
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen, at the same port each time."""
        application = web.Application()
        application.router.add_post("/hook", self._handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        """Be gone."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        self.heard.append(({name.lower(): value for name, value in request.headers.items()}, text))
        answer = await self._respond(await request.json())
        if answer.status < 300:
            self.accepted.append(await request.json())
        return answer

    def verified(self, secret: str) -> list[Any]:
        """Everything that was sent, by the eyes of the standard's own package."""
        return [Verifier(secret).verify(body, headers) for headers, body in self.heard]


async def well(_: Any) -> web.StreamResponse:
    """Hear of it."""
    return web.Response(status=204)


@contextlib.asynccontextmanager
async def receiving(
    respond: Callable[[Any], Awaitable[web.StreamResponse]] = well,
) -> AsyncIterator[Receiver]:
    """Listen for as long as the block runs."""
    receiver = Receiver(respond)
    await receiver.start()
    try:
        yield receiver
    finally:
        await receiver.stop()


async def tell(
    of: Tenant, kind: str, instance: UUID | None = None, workflow: str = "greeting", **data: Any
) -> UUID:
    """Let something have happened to an instance, which need not be there; return its id."""
    instance = instance or uuid4()
    async with rows_of(of.id):
        await record(Subject(of.id, of.workflows[workflow], instance), kind, None, **data)
    return instance


async def carry(courier: Courier, enough: Callable[[], object], seconds: float = 15) -> None:
    """Let a courier read and send until it is enough and nothing is under way."""
    async with asyncio.timeout(seconds):
        while not enough() or courier.busy:
            await courier.dispatch()
            await courier.send()
            await asyncio.sleep(0.01)


async def carry_all(courier: Courier, of: Tenant) -> None:
    """Let a courier read every event there is and send what is due."""
    await tell(of, "test.last")
    await asyncio.sleep(
        0.3
    )  # so that no transaction of the application is under way that the last event waits for
    while await courier.dispatch():
        pass
    for _ in range(3):
        await courier.send()
        while courier.busy:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
