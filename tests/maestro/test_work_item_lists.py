"""Lists of work items: what is in them, in which order, and that they are read along indexes however many there are."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
import pytest

from auth.bearer import Caller
from service.engine.effects import work_item
from service.migrations.service_2026_11_23_people_policies import BACKFILL
from service.operations.pages import Position
from service.operations.work_item_lists import Filters, Statement, listing, settled
from tenancy.rows import rows_of
from tests.maestro.errors import assert_refused, targets
from tests.maestro.people import Asking, explained, listed, pages, stored
from tests.world import Tenant, World, bearer, trigger

INSERT = """
INSERT INTO work_item (id, account_id, workflow_id, instance_id, wait, kind, task, pointer, title, users, roles, status,
                       overdue, opened_at, ended_at, due_at, claimed_by)
SELECT gen_random_uuid(), instance.account_id, instance.workflow_id, instance.id, 100 + number, 'approval', 'a', '/do/0/a',
       'number ' || number, CASE number % 3 WHEN 0 THEN ARRAY['member@acme.example'] ELSE '{}' END,
       CASE number % 3 WHEN 1 THEN ARRAY['admin'] ELSE '{}' END,
       (ARRAY['open', 'completed', 'cancelled', 'open'])[1 + number % 4], number % 4 = 3, moment,
       CASE WHEN number % 4 IN (1, 2) THEN moment END,
       CASE WHEN number % 5 > 0 THEN moment + number % 7 * interval '1 day' END,
       CASE WHEN number % 20 = 0 THEN $3::uuid END
FROM instance, generate_series(1, $2::integer) AS number,
     LATERAL (SELECT now() - interval '1 hour' - number / 3 * interval '1 second' AS moment) AS opened
WHERE instance.id = $1
"""


@pytest.fixture
async def many(client: httpx.AsyncClient, world: World) -> str:
    """An instance with 120 work items: three of each second; a third for the member, a third for administrators."""
    instance = await trigger(client, world.acme, "waiting", {})
    await insert(world.acme, instance, 120)
    return instance.rpartition("/")[2]


async def insert(of: Tenant, instance: str, count: int) -> None:
    """Store work items by the hundred."""
    await stored(of, INSERT, UUID(instance.rpartition("/")[2]), count, of.member_id)


async def test_pages_give_each_work_item_once_newest_first(
    client: httpx.AsyncClient, world: World, many: str
) -> None:
    found = await pages(client, world.acme, world.acme.admin, page_size=7)
    assert [len(page) for page in found] == [7] * 17 + [1]
    seen = [one for page in found for one in page]
    assert len({one["id"] for one in seen}) == 120
    assert seen == sorted(seen, key=lambda one: (one["opened_at"], one["id"]), reverse=True)
    assert [len(page) for page in await pages(client, world.acme, world.acme.admin)] == [50, 50, 20]


async def test_filters_narrow_the_list(client: httpx.AsyncClient, world: World, many: str) -> None:
    acme = world.acme
    other = await trigger(client, acme, "waiting", {})
    await insert(acme, other, 5)

    async def count(**query: Any) -> int:
        return len(await listed(client, acme, acme.machine, **query))

    assert await count() == 125
    assert await count(instance_id=many) == 120
    assert await count(workflow_id=str(acme.workflows["waiting"])) == 125
    assert await count(workflow_id=str(acme.workflows["greeting"])) == 0
    assert await count(workflow_id=str(uuid4())) == 0
    for status, expected in (("open", 60), ("completed", 30), ("cancelled", 30), ("overdue", 30)):
        assert await count(status=status, instance_id=many) == expected
    for one in await listed(client, acme, acme.machine, status="overdue"):
        assert (one["status"], one["overdue"]) == ("open", True)
    assert await listed(client, world.globex, world.globex.admin) == []


async def test_members_see_what_is_assigned_to_them_and_others_everything(
    client: httpx.AsyncClient, world: World, many: str
) -> None:
    acme = world.acme
    for query in ({}, {"assigned_to": "me"}):
        assert len(await listed(client, acme, acme.member, **query)) == 40
    assert len(await listed(client, acme, acme.admin)) == 120
    assert len(await listed(client, acme, acme.machine, assigned_to="all")) == 120
    assert len(await listed(client, acme, acme.admin, assigned_to="me")) == 40
    assert await listed(client, acme, acme.machine, assigned_to="me") == []
    query = {"assigned_to": "all"}
    response = await client.get(f"{acme.url}/work-items", params=query, headers=bearer(acme.member))
    assert_refused(response, 403)


async def test_the_starter_is_not_assigned_what_they_may_not_decide(ask: Asking, world: World) -> None:
    asked = await ask(excludeStarter=True)
    assert await listed(asked.client, world.acme, world.acme.admin, assigned_to="me") == []
    assert len(await listed(asked.client, world.acme, world.acme.member)) == 1


async def test_a_members_page_token_is_of_no_use_to_another(
    client: httpx.AsyncClient, world: World, many: str
) -> None:
    acme = world.acme
    url = f"{acme.url}/work-items"
    query: dict[str, Any] = {"page_size": 5, "assigned_to": "me"}
    answer = await client.get(url, params=query, headers=bearer(acme.member))
    query["ctoken"] = answer.json()["response_metadata"]["page_token_next"]
    response = await client.get(url, params=query, headers=bearer(acme.admin))
    assert targets(response) == {"ctoken": "PAGE_TOKEN_INVALID"}


# --- Order and dates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whose", [{}, {"assigned_to": "me"}, {"assigned_to": "claimed_by_me"}], ids=str)
async def test_pages_are_sorted_as_asked_and_give_each_once(
    client: httpx.AsyncClient, world: World, many: str, whose: dict[str, str]
) -> None:
    token = world.acme.member if whose else world.acme.admin
    everything = await listed(client, world.acme, token, status="open", **whose)
    assert len(everything) == {"": 60, "me": 20, "claimed_by_me": 6}[whose.get("assigned_to", "")]
    for sort in ("-opened_at", "opened_at", "due_at"):
        by_due = sort == "due_at"
        found = await pages(client, world.acme, token, status="open", sort=sort, page_size=3, **whose)
        seen = [one for page in found for one in page]
        assert {one["id"] for one in seen} == {one["id"] for one in everything}
        assert len(seen) == len(everything)
        keys = [one.get("due_at", "9999") if by_due else one["opened_at"] for one in seen]
        assert keys == sorted(keys, reverse=sort == "-opened_at")


async def test_what_is_due_before_a_moment_is_listed_by_date(
    client: httpx.AsyncClient, world: World, many: str
) -> None:
    moment = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    everything = await listed(client, world.acme, world.acme.admin, status="open")
    wanted = [one for one in everything if one.get("due_at", "9999") < moment]
    found = await listed(client, world.acme, world.acme.admin, due_before=moment)
    assert [one["due_at"] for one in found] == sorted(one["due_at"] for one in wanted)
    mine = await listed(client, world.acme, world.acme.member, due_before=moment)
    assert 0 < len(mine) < len(found)


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ({"due_before": "2030-01-01T00:00:00"}, {"due_before": "FIELD_INVALID"}),
        ({"due_before": "0001-01-01T00:00:00+14:00"}, {"due_before": "FIELD_INVALID"}),
        ({"due_before": "soon"}, {"due_before": "FIELD_INVALID"}),
        ({"due_before": "2030-01-01T00:00:00Z", "sort": "opened_at"}, {"sort": "FIELD_INVALID"}),
        ({"sort": "due_at", "status": "completed"}, {"status": "FIELD_INVALID"}),
        ({"assigned_to": "claimed_by_me", "status": "failed"}, {"status": "FIELD_INVALID"}),
        ({"sort": "title"}, {"sort": "FIELD_INVALID"}),
        ({"assigned_to": "nobody"}, {"assigned_to": "FIELD_INVALID"}),
    ],
    ids=str,
)
async def test_filters_that_do_not_go_together_are_refused(
    client: httpx.AsyncClient, world: World, query: dict[str, str], wrong: dict[str, str]
) -> None:
    response = await client.get(
        f"{world.acme.url}/work-items", params=query, headers=bearer(world.acme.admin)
    )
    assert targets(response) == wrong


async def test_what_is_assigned_to_my_role_is_told_apart(
    client: httpx.AsyncClient, world: World, many: str
) -> None:
    acme = world.acme
    assert len(await listed(client, acme, acme.admin, assigned_to="my_roles")) == 40
    assert await listed(client, acme, acme.member, assigned_to="my_roles") == []


async def test_who_is_assigned_twice_sees_it_once(ask: Asking, world: World) -> None:
    asked = await ask(
        assignees={"users": ["member@acme.example", str(world.acme.member_id)], "roles": ["member"]}
    )
    assert len(await listed(asked.client, world.acme, world.acme.member)) == 1
    asked_of = {"instance_id": str(asked.instance_id)}
    assert len(await listed(asked.client, world.acme, world.acme.member, assigned_to="me", **asked_of)) == 1


# --- However many there are --------------------------------------------------------------------------------------------

OF_ONE = {
    "mine": Filters(whose="me"),
    "mine, open": Filters(whose="me", status="open"),
    "mine, completed": Filters(whose="me", status="completed"),
    "mine, overdue": Filters(whose="me", status="overdue"),
    "mine, of a workflow": Filters(whose="me", workflow_id=uuid4()),
    "mine, oldest first": Filters(whose="me", sort="opened_at"),
    "mine, by date": Filters(whose="me", sort="due_at"),
    "mine, due": Filters(whose="me", due_before=datetime(2030, 1, 1, tzinfo=UTC)),
    "claimed by me": Filters(whose="claimed_by_me"),
    "my role's": Filters(whose="my_roles", status="open"),
}
PAGE = 51
MOST_ROWS = 3 * 5 * PAGE  # of each name and state a page


@pytest.fixture
async def crowd(client: httpx.AsyncClient, world: World, owner: asyncpg.Connection) -> None:
    """Two accounts with 6,000 work items each."""
    for tenant in (world.acme, world.globex):
        await insert(tenant, await trigger(client, tenant, "waiting", {}), 6000)
    await owner.execute("ANALYZE work_item, work_item_assignee")


def statement_of(of: Tenant, shape: Filters, after: datetime | None) -> Statement:
    """Write the statement of a page for a member of the account."""
    caller = Caller(of.id, of.member_id, "Member", "sender")
    if shape.workflow_id is not None:
        shape = msgspec.structs.replace(shape, workflow_id=of.workflows["waiting"])
    begin = None if after is None else Position(after, uuid4(), None, b"")
    return listing(caller, "member@acme.example", settled(shape), begin, PAGE)


@pytest.mark.usefixtures("crowd")
async def test_what_is_assigned_to_somebody_is_read_a_page_of_each_name_and_state(world: World) -> None:
    """However much is assigned to them; every node of the plan handles so many rows at most."""
    wrong = {}
    for name, shape in OF_ONE.items():
        for after in (None, datetime.now(UTC) - timedelta(minutes=70)):
            statement = statement_of(world.acme, shape, after)
            async with rows_of(world.acme.id) as connection:
                text = await connection.fetchval(
                    f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.text}", *statement.arguments
                )
            nodes = list(nodes_of(msgspec.json.decode(text)[0]["Plan"]))
            most = max(node["Actual Rows"] * node["Actual Loops"] for node in nodes)
            scans = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
            if most > MOST_ROWS or scans & {"work_item", "work_item_assignee"}:
                wrong[f"{name}, {after}"] = text
    assert not wrong, "\n".join(f"{name}:\n{text}" for name, text in wrong.items())


def nodes_of(plan: dict[str, Any]) -> Any:
    """Walk over a plan."""
    yield plan
    for one in plan.get("Plans", ()):
        yield from nodes_of(one)


async def test_work_items_of_before_have_their_assignees_too(
    client: httpx.AsyncClient, world: World, many: str, owner: asyncpg.Connection
) -> None:
    await insert(world.globex, await trigger(client, world.globex, "waiting", {}), 30)
    kept = "SELECT work_item_id, workflow_id, assignee, state, opened_at, due_at, excluded FROM work_item_assignee ORDER BY 1, 3"
    before = {of.id: await stored(of, kept) for of in (world.acme, world.globex)}
    assert [len(rows) for rows in before.values()] == [80, 20]
    await owner.execute(f"BEGIN; TRUNCATE work_item_assignee; {BACKFILL}; COMMIT")
    assert {of.id: await stored(of, kept) for of in (world.acme, world.globex)} == before


async def test_one_work_item_is_read_and_locked_along_an_index(
    client: httpx.AsyncClient, world: World, owner: asyncpg.Connection, many: str
) -> None:
    acme = world.acme
    await insert(acme, await trigger(client, acme, "waiting", {}), 5000)
    await owner.execute("ANALYZE work_item")
    for statement, arguments in (
        (work_item.LOCK_BY_ID, [acme.id, uuid4()]),
        (work_item.LOCK_BY_WAIT, [acme.id, many, 101]),
        (work_item.ANSWER, [many, 101]),
    ):
        plan = await explained(acme, statement, arguments, "force_generic_plan")
        assert "Seq Scan" not in plan, plan
