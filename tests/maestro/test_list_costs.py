"""What every list costs, with every filter: its pages are read along an index, the first ones and the late ones alike."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from litestar import Litestar

from service.operations import instance_lists, looking
from tests.maestro.crowds import Crowded, crowded, superuser
from tests.many.lists import SEARCH, Case, cases
from tests.many.plans import Read, explained, noted

MANY = 6_000  # instances of an account
BELIEVED = 1_000  # times as many rows as there are, so that plans are those of large tables
PAGE = 20
FURTHER = 150  # entries before the late page
LOOKED_AT = 200
COUNTED = 100
# Of each of three names to which work items are assigned, in each of five states, a page and a row.
MOST_ROWS = 3 * 5 * (PAGE + 1)
OF_INSTANCE = (
    MANY // 10 * 2
)  # an instance looks at 100,000 tasks at the most, so what it asks of people is put in order
BELIEVE = """
UPDATE pg_class SET reltuples = reltuples * $1 WHERE reltuples > 50 AND relnamespace = 'public'::regnamespace
"""
# Filters of a search that no index serves: it looks at instance after instance, and has 3 seconds.
TIMED = {"version", "name_contains", "ended_from", "ended_to", "modified_from", "modified_to"}
LARGE = {
    "instance",
    "instance_term",
    "task_run",
    "event",
    "work_item",
    "work_item_assignee",
    "webhook_delivery",
}


class Asking:
    """What is asked for, and a connection to ask the database what that cost."""

    def __init__(self, crowd: Crowded, database: asyncpg.Connection) -> None:
        self.crowd = crowd
        self.database = database

    async def reads(self, case: Case, reader: str, place: str | None) -> list[Read] | None:
        """Ask for a page, and say what it took, planned with its arguments and without; None if it is refused."""
        with noted() as asked:
            answer = await self.crowd.page(case, PAGE, place, reader)
        if answer.status_code in (400, 403) and (reader == "member" or len(case.query) == 2):
            return None
        assert answer.status_code == 200, answer.text
        tenant = self.crowd.world.acme.id
        modes = ("force_custom_plan", "force_generic_plan")
        return [one for mode in modes for one in await explained(self.database, tenant, asked, mode)]


@pytest.fixture(scope="module")
async def asking(litestar: Litestar, application: Any) -> AsyncIterator[Asking]:
    """Fill the database once for all of these tests."""
    async with crowded(litestar, application, MANY) as crowd, superuser() as database:
        await database.execute(BELIEVE, BELIEVED)
        await database.execute("SET ROLE tutti_app")
        yield Asking(crowd, database)
        await database.execute("RESET ROLE")
        await database.execute(BELIEVE, 1 / BELIEVED)


def asked_for() -> Iterator[Any]:
    """Every case as an administrator asks for it, and each filter alone as a sender does, who sees their own."""
    for reader, asked in (("admin", cases()), ("member", cases(pairs=False))):
        for case in asked:
            if case.operation != SEARCH or (reader == "admin" and not timed(case)):
                yield pytest.param(case, reader, id=f"{case.name}-{reader}")


def timed(case: Case) -> bool:
    """Whether a search looks at one instance after the other, for 3 seconds at the most."""
    return len(case.query) > 1 or bool(TIMED & {name for name, _ in case.query})


@pytest.mark.parametrize(("case", "reader"), list(asked_for()))
async def test_page_is_read_along_an_index(
    asking: Asking, case: Case, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance_lists, "COUNTED", COUNTED)
    monkeypatch.setattr(looking, "LOOKED_AT", LOOKED_AT)
    first = await asking.reads(case, reader, None)
    if first is None:  # the list is not this reader's, or the filters exclude one another: nothing was read
        return
    before = await asking.crowd.page(case, FURTHER, reader=reader)
    place = before.json()["response_metadata"].get("page_token_next")
    late = await asking.reads(case, reader, place) if place else None
    most = OF_INSTANCE if "instance_id" in dict(case.query) else MOST_ROWS
    for read in [*first, *(late or [])]:
        assert max(read.rows, read.ordered) <= most, read.told
        assert not set(read.whole) & LARGE, read.told
