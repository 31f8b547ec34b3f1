"""What lists of instances cost: a page is read along an index up to its end, the first one and a late one alike."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from litestar import Litestar

from auth.bearer import Credential, hash_of
from service.keyfactor.fields import instances
from service.keyfactor.requests import Listing
from service.operations import instance_queries
from service.operations.instance_queries import Whose, get_page
from tests.maestro.crowds import Crowded, crowded, superuser
from tests.maestro.test_list_costs import BELIEVE, BELIEVED, LARGE
from tests.many.plans import explained, noted

MANY = 6_000  # instances of an account
PAGE = 20
LATE = 8  # the page that is held against the first
PARTS = 10  # of a list in the order of steps: statuses, and whether another instance runs in the place
ASSIGNED = 100  # work items that are looked up one by one
COUNTED = 50
OF_PAGE = 10  # rows that are looked at for what is told of each


@pytest.fixture(scope="module")
async def crowd(litestar: Litestar, application: Any) -> AsyncIterator[Crowded]:
    """Fill the database once for all of these tests."""
    async with crowded(litestar, application, MANY) as made:
        yield made


@pytest.fixture
async def planner(crowd: Crowded) -> AsyncIterator[asyncpg.Connection]:
    """A connection that plans as if there were a thousand times as much."""
    async with superuser() as connection:
        await connection.execute(BELIEVE, BELIEVED)
        await connection.execute("SET ROLE tutti_app")
        yield connection
        await connection.execute("RESET ROLE")
        await connection.execute(BELIEVE, 1 / BELIEVED)


CASES: dict[str, tuple[Whose, dict[str, Any]]] = {
    "all": ("all", {}),
    "all backwards": ("all", {"descending": True}),
    **{f"status {number}": ("all", {"query": f"Status -eq {number}"}) for number in range(1, 7)},
    "two statuses": ("all", {"query": "Status -eq 2 OR Status -eq 3"}),
    "mine": ("mine", {}),
    "mine of a status": ("mine", {"query": "Status -eq Complete"}),
    "started by the caller": ("all", {"query": 'InitiatingUserName -eq "%ME%"'}),
    "assigned": ("assigned", {}),
    "by start": ("all", {"sort": "StartDate", "descending": True}),
    "by start, of a status": ("all", {"sort": "StartDate", "query": "Status -eq 5"}),
    "by change": ("all", {"sort": "LastModified", "descending": True}),
    "by title": ("all", {"sort": "Title"}),
    "by id": ("all", {"sort": "Id"}),
    "by number, from one on": ("all", {"sort": "ReferenceId", "query": "ReferenceId -gt 1000"}),
    "by definition": ("all", {"sort": "DefinitionId"}),
    "by status": ("all", {"sort": "Status"}),
}


@pytest.mark.parametrize("case", CASES)
async def test_page_is_read_along_an_index(
    crowd: Crowded, planner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(instance_queries, "COUNTED", COUNTED)
    monkeypatch.setattr(instance_queries, "FEW", ASSIGNED)
    acme = crowd.world.acme
    access = Credential(hash_of(acme.member), acme.id, ())
    if CASES[case][0] == "all":  # a sender's list of all is their own
        access = Credential(hash_of(acme.admin), acme.id, ())
    whose, asked = CASES[case]
    for page in (1, LATE):
        listing = Listing(page=page, limit=PAGE, **asked)
        await get_page(access, instances(listing, whose))  # so that the total is known
        with noted() as statements:
            await get_page(access, instances(listing, whose))
        reads = await explained(planner, acme.id, statements, "force_custom_plan")
        assert reads
        for read in reads:
            assert read.rows <= most(page, whose), read.told
            assert not set(read.whole) & LARGE, read.told


def most(page: int, whose: Whose) -> int:
    """How many rows may be looked at for a page, or for its total: of each part up to its end."""
    rows = page * PAGE * PARTS + PAGE * OF_PAGE
    return rows + 4 * ASSIGNED + MANY // 10 if whose == "assigned" else rows


def test_most_is_less_than_there_is() -> None:
    assert most(1, "all") < MANY / 10
    assert most(1, "assigned") < MANY / 3
