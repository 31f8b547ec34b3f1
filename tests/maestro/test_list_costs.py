"""What every list costs, with every filter: its pages are read along an index, the first ones and the late ones alike."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import pytest
from litestar import Litestar

from service.operations import instance_lists, looking
from tenancy.postgres import connected
from tests.conftest import SOCKETS, emptied
from tests.many.filling import WEBHOOK, Crowd, fill, known
from tests.many.lists import SEARCH, Case, cases
from tests.many.plans import Read, explained, noted
from tests.world import GREETING, Tenant, World, bearer

MANY = 6_000  # instances of an account
BELIEVED = 1_000  # times as many rows as there are, so that plans are those of large tables
PAGE = 20
FURTHER = 150
LOOKED_AT = 200
COUNTED = 100
# Of each of three names to which work items are assigned, in each of five states, a page and a row.
MOST_ROWS = 3 * 5 * (PAGE + 1)
OF_INSTANCE = (
    MANY // 10 * 2
)  # an instance looks at 100,000 tasks at the most, so what it asks of people is put in order
BELIEVE = """
UPDATE pg_class SET reltuples = reltuples * $1 WHERE reltuples > 500 AND relnamespace = 'public'::regnamespace
"""
# Filters of a search that no index serves: it looks at instance after instance, and has 3 seconds.
TIMED = {"version", "name_contains", "ended_from", "ended_to", "modified_from", "modified_to"}


def superuser() -> Any:
    """Open a connection past every rule."""
    return connected({"host": str(SOCKETS), "user": "postgres", "database": "tutti"})


class Crowded(msgspec.Struct):
    """Two accounts with many of everything, and how the first one's things are called."""

    world: World
    known: dict[str, str]


@pytest.fixture(scope="module")
async def crowded(litestar: Litestar) -> Crowded:
    """Fill the database once for all of these tests."""
    await emptied()
    world = await World.made(litestar.state["sandbox"])
    crowds = [await crowd_of(one, place) for place, one in enumerate((world.acme, world.globex))]
    await fill(superuser, crowds)
    async with superuser() as connection:
        names = await known(connection, crowds[0])
        await connection.execute(BELIEVE, BELIEVED)
    return Crowded(world, names)


async def crowd_of(of: Tenant, place: int) -> Crowd:
    """Say what an account is filled with; each has a webhook, as each of its lists is long."""
    webhook = uuid4()
    for name in ("third", "fourth", "fifth", "sixth"):
        await of.publish({**GREETING, "document": {**GREETING["document"], "name": name, "title": name}})
    async with superuser() as connection:
        await connection.execute(WEBHOOK, webhook, of.id)
        version = await connection.fetchval(
            "SELECT id FROM workflow_version WHERE account_id = $1 LIMIT 1", of.id
        )
    return Crowd(
        account_id=of.id,
        count=MANY,
        workflows=tuple(of.workflows.values()),
        version=version,
        starters=(uuid4(), uuid4(), of.member_id, of.admin_id, uuid4()),
        person=of.member_id,
        email="member@acme.example",
        role="sender",
        webhook=webhook,
        place=place,
    )


class Asking(msgspec.Struct):
    """Asks for pages of the first account's lists, and the database what they cost; answers are not held against the contract."""

    client: httpx.AsyncClient
    database: asyncpg.Connection
    crowded: Crowded

    @property
    def tenant(self) -> Tenant:
        """Whose lists are asked for."""
        return self.crowded.world.acme

    async def page(self, case: Case, reader: str, size: int, place: str | None) -> httpx.Response:
        """Ask for a page."""
        path, asked = case.filled_in(self.crowded.known)
        query: list[tuple[str, str | int]] = [*asked, ("page_size", size)]
        query += [("ctoken", place)] if place else []
        return await self.client.get(path, params=tuple(query), headers=bearer(getattr(self.tenant, reader)))


@pytest.fixture(scope="module")
async def asking(application: Any, crowded: Crowded) -> AsyncIterator[Asking]:
    """One connection to ask the database with, as the application's role."""
    transport = httpx.ASGITransport(app=application)
    async with superuser() as database, httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        await database.execute("SET ROLE tutti_app")
        yield Asking(client, database, crowded)


@pytest.mark.parametrize("reader", ["admin", "member"])
@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
async def test_page_is_read_along_an_index(
    asking: Asking, case: Case, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {name for name, _ in case.query}
    if case.operation == SEARCH and (names & TIMED or len(case.query) > 1 or reader == "member"):
        pytest.skip("it looks at one instance after the other, for 3 seconds at the most")
    monkeypatch.setattr(instance_lists, "COUNTED", COUNTED)
    monkeypatch.setattr(looking, "LOOKED_AT", LOOKED_AT)
    most = OF_INSTANCE if "instance_id" in names else MOST_ROWS
    place = None
    for _ in ("first", "late"):
        with noted() as asked:
            answer = await asking.page(case, reader, PAGE, place)
        if answer.status_code in (400, 403) and (reader == "member" or len(case.query) == 2):
            pytest.skip("refused")
        assert answer.status_code == 200, answer.text
        for mode in ("force_custom_plan", "force_generic_plan"):
            for read in await explained(asking.database, asking.tenant.id, asked, mode):
                assert bounded(read, most), read.told
        late = await asking.page(case, reader, FURTHER, None)
        place = late.json()["response_metadata"].get("page_token_next")
        if place is None:
            return


def bounded(read: Read, most: int) -> bool:
    """Whether a statement takes no more, however long the list is."""
    return max(read.rows, read.ordered) <= most and not (set(read.whole) & LARGE)


LARGE = {
    "instance",
    "instance_term",
    "task_run",
    "event",
    "work_item",
    "work_item_assignee",
    "webhook_delivery",
}
