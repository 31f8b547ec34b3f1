"""Two accounts with many of everything, and how the first one's lists are asked for."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import msgspec
from litestar import Litestar

from tenancy.postgres import connected
from tests.conftest import SOCKETS
from tests.copying import emptied
from tests.many.filling import WEBHOOK, Crowd, fill, known
from tests.many.lists import Case
from tests.world import GREETING, Tenant, World, bearer


def superuser() -> Any:
    """Open a connection past every rule."""
    return connected({"host": str(SOCKETS), "user": "postgres", "database": "tutti"})


class Crowded(msgspec.Struct):
    """The accounts; what the first is filled with and how its things are called; a client that reads its lists.

    Answers are not held against the contract: there are thousands.
    """

    world: World
    crowd: Crowd
    known: dict[str, str]
    client: httpx.AsyncClient

    async def page(
        self, case: Case, size: int, place: str | None = None, reader: str = "admin"
    ) -> httpx.Response:
        """Ask for a page."""
        path, asked = case.filled_in(self.known)
        query: list[tuple[str, str | int | float | bool | None]] = [*asked, ("page_size", size)]
        query += [("ctoken", place)] if place else []
        headers = bearer(getattr(self.world.acme, reader))
        return await self.client.get(path, params=httpx.QueryParams(query), headers=headers)


@contextlib.asynccontextmanager
async def crowded(litestar: Litestar, application: Any, count: int) -> AsyncIterator[Crowded]:
    """Empty the database, and make so many instances in each account, with all that belongs to them."""
    await emptied()
    world = await World.made(litestar.state["sandbox"])
    crowds = [await crowd_of(one, place, count) for place, one in enumerate((world.acme, world.globex))]
    await fill(superuser, crowds)
    async with superuser() as connection:
        names = await known(connection, crowds[0])
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://tutti.test") as client:
        yield Crowded(world, crowds[0], names, client)


async def crowd_of(of: Tenant, place: int, count: int) -> Crowd:
    """Say what an account is filled with."""
    for name in ("third", "fourth", "fifth", "sixth"):
        await of.publish({**GREETING, "document": {**GREETING["document"], "name": name, "title": name}})
    webhook = uuid4()
    async with superuser() as connection:
        await connection.execute(WEBHOOK, webhook, of.id)
        version = await connection.fetchval(
            "SELECT id FROM workflow_version WHERE account_id = $1 LIMIT 1", of.id
        )
    return Crowd(
        account_id=of.id,
        count=count,
        workflows=tuple(of.workflows.values()),
        version=version,
        starters=(uuid4(), uuid4(), of.member_id, of.admin_id),
        person=of.member_id,
        admin=of.admin_id,
        email="member@acme.example",
        role="sender",
        webhook=webhook,
        place=place,
    )
