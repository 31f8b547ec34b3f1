"""Scenes and helpers that several modules of these tests share."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar

from service.settings import settings
from tests.conftest import emptied
from tests.maestro.rows import at_rest, digest
from tests.world import World, trigger


class Scene(msgspec.Struct):
    """A world in which nothing moves: each account has two instances that wait and two that are complete."""

    world: World
    waiting: dict[str, str]
    stored: dict[str, Any] = {}

    async def rows(self) -> dict[str, Any]:
        """Digest every row of both accounts."""
        return await digest([self.world.acme.id, self.world.globex.id])


@pytest.fixture(scope="module")
async def scene(litestar: Litestar, application: Any) -> Scene:
    """A world for a whole module, whose tests change nothing in it."""
    await emptied()
    world = await World.made(litestar.state["sandbox"])
    transport = httpx.ASGITransport(app=application)
    waiting = {}
    async with httpx.AsyncClient(transport=transport, base_url="http://tutti.test") as client:
        for name, tenant in (("acme", world.acme), ("globex", world.globex)):
            for _ in range(2):
                waiting[name] = (await trigger(client, tenant, "waiting", {})).rpartition("/")[2]
                await trigger(client, tenant, "greeting", {"who": "Ada"})
    await at_rest([world.acme.id, world.globex.id])
    made = Scene(world, waiting)
    made.stored = await made.rows()
    return made


@pytest.fixture
async def bare(application: Any) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client that holds answers against nothing, for requests that no document describes."""
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://tutti.test") as client:
        yield client


@pytest.fixture
def changed_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Settings as another environment would have them, read anew."""

    def change(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()

    yield change
    monkeypatch.undo()
    settings.cache_clear()
