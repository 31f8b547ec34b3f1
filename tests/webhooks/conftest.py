"""Endpoints that tests own, a courier with a clock of their own, and events to be told of."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from litestar import Litestar

from service.settings import settings
from service.webhooks.courier import Courier
from service.webhooks.schedule import Schedule
from tests.engine.outside import egress
from tests.world import Tenant, World, bearer

KEYS = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
QUICK = Schedule(delays=(0.02,) * 40)


@pytest.fixture
def secret_keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the service keep secrets."""
    monkeypatch.setenv("TUTTI_SECRET_KEYS", KEYS)
    settings.cache_clear()
    yield
    monkeypatch.undo()
    settings.cache_clear()


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


Call = Callable[..., Any]


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
