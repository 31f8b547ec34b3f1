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
from tests.world import Tenant, World, bearer, trigger

SIGNING: dict[str, Any] = {
    "document": {"dsl": "1.0.3", "namespace": "tests", "name": "signing", "version": "1.0.0"},
    "do": [
        {
            "signOff": {
                "call": "approval",
                "with": {"title": "Sign", "assignees": {"roles": ["admin"]}, "minimum": 2, "form": {}},
            }
        }
    ],
}


class Scene(msgspec.Struct):
    """A world in which nothing moves.

    Each account has two instances that wait, two that are complete, and two that wait for approvals of administrators.
    """

    world: World
    waiting: dict[str, str]
    asked: dict[str, str]
    stored: dict[str, Any] = {}

    def ids(self, tenant: str) -> dict[str, str]:
        """Ids of things that an account has, by the names that paths have for them."""
        of: Tenant = getattr(self.world, tenant)
        return {
            "accountId": str(of.id),
            "workflowId": str(of.workflows["waiting"]),
            "instanceId": self.waiting[tenant],
            "workItemId": self.asked[tenant],
        }

    async def rows(self) -> dict[str, Any]:
        """Digest every row of both accounts."""
        return await digest([self.world.acme.id, self.world.globex.id])


@pytest.fixture(scope="module")
async def scene(litestar: Litestar, application: Any) -> Scene:
    """A world for a whole module, whose tests change nothing in it."""
    await emptied()
    world = await World.made(litestar.state["sandbox"])
    transport = httpx.ASGITransport(app=application)
    waiting, asked = {}, {}
    async with httpx.AsyncClient(transport=transport, base_url="http://tutti.test") as client:
        for name, tenant in (("acme", world.acme), ("globex", world.globex)):
            await tenant.publish(SIGNING)
            for _ in range(2):
                waiting[name] = (await trigger(client, tenant, "waiting", {})).rpartition("/")[2]
                await trigger(client, tenant, "greeting", {"who": "Ada"})
                await trigger(client, tenant, "signing", {})
        await at_rest([world.acme.id, world.globex.id])
        for name, tenant in (("acme", world.acme), ("globex", world.globex)):
            listed = await client.get(f"{tenant.url}/work-items", headers=bearer(tenant.admin))
            asked[name] = listed.json()["data"][0]["id"]
    made = Scene(world, waiting, asked)
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
