"""What the tests of the dialect share: who asks, with the headers that the dialect wants."""

from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
from litestar import Litestar

from service.keyfactor.requests import READ, WRITE
from tests.callers import machine_of, token_of
from tests.copying import emptied
from tests.keyfactor.scene import CLIENT, HERE, Scene
from tests.world import Tenant, World

__all__ = ["CLIENT", "HERE", "Calling", "calling_as"]


class Calling(msgspec.Struct, frozen=True):
    """A client with a tenant's proof and the headers that every request has."""

    http: httpx.AsyncClient
    headers: dict[str, str]

    async def sent(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Make a call; return its answer."""
        headers = CLIENT | self.headers | request.pop("headers", {})
        return await self.http.request(method, HERE + path, headers=headers, **request)

    async def __call__(self, method: str, path: str, status: int, **request: Any) -> Any:
        """Make a call that has to be answered with a status; return what it told."""
        answer = await self.sent(method, path, **request)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None


async def calling_as(
    client: httpx.AsyncClient, tenant: Tenant, user: UUID | None = None, *scopes: str
) -> Calling:
    """Let a user of a tenant ask, its administrator where nobody is named, with both scopes unless told otherwise."""
    return Calling(client, await token_of(tenant, *(scopes or (READ, WRITE)), user=user))


@pytest.fixture
async def acme(client: httpx.AsyncClient, world: World) -> Calling:
    """Acme's administrator."""
    return await calling_as(client, world.acme)


@pytest.fixture
async def machine(client: httpx.AsyncClient, world: World) -> Calling:
    """Acme's machine."""
    return Calling(client, await machine_of(world.acme, READ, WRITE))


@pytest.fixture
async def globex(client: httpx.AsyncClient, world: World) -> Calling:
    """The other account's administrator."""
    return await calling_as(client, world.globex)


@pytest.fixture(scope="module")
async def scene(litestar: Litestar, application: Any) -> Scene:
    """A world for a whole module, whose tests change nothing in it."""
    await emptied()
    return await Scene.made(await World.made(litestar.state["sandbox"]), application)
