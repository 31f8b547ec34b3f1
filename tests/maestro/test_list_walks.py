"""Every list, with every filter, walked page by page while others change, add and delete: what stays as it was is there once."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
import pytest
from litestar import Litestar

from tests.maestro.crowds import Crowded, crowded, superuser
from tests.many.filling import made, session
from tests.many.lists import Case, cases

COUNT = 240  # instances; of other things there is one for five, ten or twenty of these
FEWEST = 6  # entries of a list that is not narrowed
PAGES = 4
ADDED = 20  # numbers between two pages: one of everything at least

# Whatever has a number that three divides changes its state, back and forth; two thirds stay as they are.
NUMBER = "CREATE FUNCTION pg_temp.number(id uuid) RETURNS bigint LANGUAGE sql IMMUTABLE RETURN ('x' || right(id::text, 12))::bit(48)::bigint"
CHANGING = "account_id = '{account}' AND pg_temp.number({id}) % 3 = 0 AND pg_temp.number({id}) < 1000000"
CHANGES = """
UPDATE instance SET status = CASE status WHEN 'waiting' THEN 'completed' WHEN 'completed' THEN 'faulted' ELSE 'waiting' END,
       ended_at = CASE WHEN status = 'waiting' OR status = 'completed' THEN now() END, last_modified_at = clock_timestamp(),
       name = name || 'x' WHERE {of_id};
UPDATE work_item SET status = CASE status WHEN 'open' THEN 'completed' WHEN 'completed' THEN 'failed' ELSE 'open' END,
       overdue = NOT overdue, claimed_by = CASE WHEN claimed_by IS NULL THEN '{admin}'::uuid END WHERE {of_id};
UPDATE webhook_delivery SET status = CASE status WHEN 'pending' THEN 'failed' WHEN 'failed' THEN 'delivered' ELSE 'pending' END
WHERE {of_id};
UPDATE bulk_action SET status = CASE status WHEN 'running' THEN 'completed' ELSE 'running' END WHERE {of_id};
UPDATE workflow SET status = CASE status WHEN 'active' THEN 'inactive' ELSE 'active' END WHERE {of_id} AND namespace = 'many';
UPDATE membership SET role = CASE role WHEN 'viewer' THEN 'sender' ELSE 'viewer' END WHERE {of_id} AND {of_user};
"""
TABLES = (
    *(
        "instance",
        "work_item",
        "webhook_delivery",
        "bulk_action",
        "workflow",
        "membership",
        "client",
        "invitation",
    ),
)
ADDED_SINCE = f"pg_temp.number(id) BETWEEN {COUNT + 1} AND 1000000"
REMOVE = (
    "".join(f"DELETE FROM {one} WHERE account_id = '{{account}}' AND {ADDED_SINCE};" for one in TABLES)
    + f"DELETE FROM app_user WHERE {ADDED_SINCE};"
    + "DELETE FROM event WHERE at > '{end}'; DELETE FROM task_run WHERE started_at > '{end}'"
)
# Rows are made past triggers, and changed with them.
WITH_TRIGGERS = "SET session_replication_role = origin; {}; SET session_replication_role = replica"


class Others:
    """Everybody else: they change a third of what is there, add to all of it, and in the end take away what they added."""

    def __init__(self, crowd: Crowded, connection: asyncpg.Connection) -> None:
        self.crowd = crowd
        self.connection = connection
        of_id = CHANGING.format(account=crowd.crowd.account_id, id="id")
        of_user = "pg_temp.number(user_id) < 1000000"
        self.changes = CHANGES.format(of_id=of_id, of_user=of_user, admin=crowd.world.acme.admin_id)

    async def act(self, turn: int) -> None:
        """Change and add."""
        await self.connection.execute(WITH_TRIGGERS.format(self.changes))
        first = COUNT + 1 + turn * ADDED
        await made(self.connection, (self.crowd.crowd, first, first + ADDED - 1))

    async def leave(self) -> None:
        """Take away what was added."""
        end = datetime.fromtimestamp(self.crowd.crowd.until, UTC)
        remove = REMOVE.format(account=self.crowd.crowd.account_id, end=end)
        await self.connection.execute(WITH_TRIGGERS.format(remove))


@pytest.fixture(scope="module")
async def crowd(litestar: Litestar, application: Any) -> AsyncIterator[Crowded]:
    """Fill the database once for all of these tests."""
    async with crowded(litestar, application, COUNT) as crowd:
        yield crowd


@pytest.fixture(scope="module")
async def others(crowd: Crowded) -> AsyncIterator[Others]:
    """A connection that does what others do; triggers work."""
    async with session(superuser) as connection:
        await connection.execute(NUMBER)
        yield Others(crowd, connection)


def name_of(entry: dict[str, Any]) -> str:
    """What tells an entry from the others of its list: its id, or all of it."""
    for name in ("id", "user_id", "client_id"):
        if name in entry:
            return str(entry[name])
    return msgspec.json.encode(entry, order="sorted").decode()


def steady(name: str) -> bool:
    """Whether an entry is one of those that nobody changes."""
    return not (len(name) == 36 and int(name[-12:], 16) % 3 == 0)


async def read(
    crowd: Crowded, case: Case, size: int, place: str | None = None
) -> tuple[list[str], str | None]:
    """Read a page: what it holds, and where it goes on."""
    answer = await crowd.page(case, size, place)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    entries = next(value for value in told.values() if isinstance(value, list))
    return [name_of(one) for one in entries], told["response_metadata"].get("page_token_next")


@pytest.mark.parametrize("case", cases(pairs=False), ids=lambda case: case.name)
async def test_what_nobody_changes_is_on_one_page(crowd: Crowded, others: Others, case: Case) -> None:
    every, _ = await read(crowd, case, 1000)
    if not case.query:
        assert len(every) >= FEWEST, f"{case.operation} is a list that tests/many/statements.py does not fill"
    seen: list[str] = []
    place, turn = None, 0
    size = max(1, len(every) // PAGES)
    while turn == 0 or place is not None:
        found, place = await read(crowd, case, size, place)
        assert len(found) <= size
        seen += found
        if turn < PAGES:
            await others.act(turn)
        turn += 1
    await others.leave()
    expected = Counter(name for name in every if steady(name))
    counted = Counter(name for name in seen if name in expected)
    assert counted == expected
