"""Lists are walked from page to page, both ways, along an index."""

import base64
from itertools import product
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from service.formance.requests import READ, WRITE
from service.operations.instance_lists import Filters, look
from service.operations.looking import Look
from service.operations.outlines import WORKFLOW_COLUMNS, look_at_workflows
from tenancy.rows import rows_of
from tests.callers import token_of
from tests.formance.conftest import Calling
from tests.maestro.rows import analyze, insert_instances
from tests.world import World

WORKFLOWS, INSTANCES = "/v2/workflows", "/v2/instances"


async def walked(acme: Calling, path: str, by: str = "next", **query: Any) -> list[dict[str, Any]]:
    """Read all pages of a list, as SDKs do: the parameters once, then the cursors alone."""
    pages = [(await acme("GET", path, 200, params=query))["cursor"]]
    while by in pages[-1]:
        assert len(pages) < 100
        pages.append((await acme("GET", path, 200, params={"cursor": pages[-1][by]}))["cursor"])
    return pages


def ids(pages: list[dict[str, Any]]) -> list[str]:
    """What the pages hold, in their order."""
    return [one["id"] for page in pages for one in page["data"]]


async def a_list(acme: Calling, path: str, count: int) -> list[str]:
    """Make workflows or instances of one; return their ids, newest first."""
    if path == WORKFLOWS:
        return [await acme.made({"noop": {}}) for _ in range(count)][::-1]
    workflow_id = await acme.made({"noop": {}})
    return [(await acme.run(workflow_id))["id"] for _ in range(count)][::-1]


@pytest.mark.parametrize("size", [1, 2, 7, 8])
@pytest.mark.parametrize("path", [WORKFLOWS, INSTANCES])
async def test_pages_hold_everything_once_newest_first(acme: Calling, path: str, size: int) -> None:
    made = await a_list(acme, path, 5)
    pages = await walked(acme, path, pageSize=size)
    assert ids(pages)[:5] == made
    assert len(set(ids(pages))) == len(ids(pages)) == (7 if path == WORKFLOWS else 5)
    assert [page["hasMore"] for page in pages] == [True] * (len(pages) - 1) + [False]
    assert {page["pageSize"] for page in pages} == {size}
    assert ["previous" in page for page in pages] == [False] + [True] * (len(pages) - 1)


@pytest.mark.parametrize("path", [WORKFLOWS, INSTANCES])
async def test_pages_are_walked_back_to_the_first(acme: Calling, path: str) -> None:
    made = await a_list(acme, path, 5)
    pages = await walked(acme, path, pageSize=2)
    back = [pages[-1]]
    while "previous" in back[-1]:
        back.append((await acme("GET", path, 200, params={"cursor": back[-1]["previous"]}))["cursor"])
    assert [[one["id"] for one in page["data"]] for page in back[::-1]][:3] == [
        made[:2],
        made[2:4],
        ids(pages)[4:6],
    ]
    assert ids([back[-1]]) == made[:2]
    again = (await acme("GET", path, 200, params={"cursor": back[-2]["next"]}))["cursor"]
    assert ids([again]) == ids([pages[2]])


async def test_page_before_the_first_full_one_is_the_first(acme: Calling) -> None:
    made = await a_list(acme, INSTANCES, 4)
    first = (await acme("GET", INSTANCES, 200, params={"pageSize": 1}))["cursor"]
    second = (await acme("GET", INSTANCES, 200, params={"cursor": first["next"]}))["cursor"]
    fields = msgspec.json.decode(base64.urlsafe_b64decode(second["previous"] + "=="))
    larger = base64.urlsafe_b64encode(msgspec.json.encode(fields | {"pageSize": 3})).decode().rstrip("=")
    whole = (await acme("GET", INSTANCES, 200, params={"cursor": larger}))["cursor"]
    assert ids([whole]) == made[:3]
    assert "previous" not in whole


@pytest.mark.parametrize(
    ("asked", "told"), [("0", 15), ("", 15), ("1001", 1000), ("4294967295", 1000), ("007", 7)]
)
async def test_page_size_is_brought_within_its_limits(acme: Calling, asked: str, told: int) -> None:
    for path in (WORKFLOWS, INSTANCES):
        assert (await acme("GET", path, 200, params={"pageSize": asked}))["cursor"]["pageSize"] == told


async def test_cursor_knows_the_size_and_the_filters(acme: Calling) -> None:
    wanted, other = [await acme.made({"wait_event": {"event": "go"}}) for _ in range(2)]
    for workflow_id in (wanted, other, wanted, other, wanted):
        await acme.run(workflow_id)
    ended = (await acme.run(wanted))["id"]
    await acme("PUT", f"/instances/{ended}/abort", 204)
    pages = await walked(acme, INSTANCES, workflowID=wanted, running="true", pageSize=1)
    assert len(pages) == 3
    assert {one["workflowID"] for page in pages for one in page["data"]} == {wanted}
    with_more = {"cursor": pages[0]["next"], "workflowID": other, "pageSize": 9, "running": "x"}
    assert (await acme("GET", INSTANCES, 200, params=with_more))["cursor"] == pages[1]
    assert len(ids(await walked(acme, INSTANCES, workflowID=wanted, running="false"))) == 4


async def test_list_tells_workflows_and_stages_as_get_does(acme: Calling) -> None:
    workflow_id = await acme.made({"noop": {}}, {"wait_event": {"event": "go"}}, name="demo")
    instance_id = (await acme.run(workflow_id))["id"]
    await acme("PUT", f"/instances/{instance_id}/abort", 204)
    told = (await acme("GET", f"/instances/{instance_id}", 200))["data"]
    assert (await acme("GET", "/instances", 200))["data"] == [told]
    assert (await acme("GET", INSTANCES, 200))["cursor"]["data"] == [told]


@pytest.mark.parametrize("workflow_id", ["nonsense", "00000000-0000-0000-0000-000000000001"])
async def test_instances_of_an_unknown_workflow_are_none(acme: Calling, workflow_id: str) -> None:
    await a_list(acme, INSTANCES, 1)
    assert (await acme("GET", "/instances", 200, params={"workflowID": workflow_id}))["data"] == []
    page = (await acme("GET", INSTANCES, 200, params={"workflowID": workflow_id}))["cursor"]
    assert page == {"pageSize": 15, "hasMore": False, "data": []}


async def test_v1_tells_the_newest_thousand(client: httpx.AsyncClient, world: World) -> None:
    acme = Calling(client, await token_of(world.acme, READ, WRITE))
    await insert_instances(world.acme.id, world.acme.workflows["greeting"], [world.acme.admin_id], 1005)
    told = (await acme("GET", "/instances", 200, params={"pageSize": "3"}))["data"]
    assert len(told) == 1000
    assert told == sorted(told, key=lambda one: (one["createdAt"], one["id"]), reverse=True)
    pages = await walked(acme, INSTANCES, pageSize=1000)
    assert [len(page["data"]) for page in pages] == [1000, 5]


async def test_one_accounts_cursor_leads_the_other_to_its_own_rows_alone(
    acme: Calling, globex: Calling
) -> None:
    await a_list(acme, INSTANCES, 3)
    theirs = await a_list(globex, INSTANCES, 2)
    cursor = (await acme("GET", INSTANCES, 200, params={"pageSize": 1}))["cursor"]["next"]
    found = ids([(await globex("GET", INSTANCES, 200, params={"cursor": cursor}))["cursor"]])
    assert set(found) <= set(theirs)


def looked_at(plan: Any, table: str) -> int:
    """How many rows of a table a plan has looked at; none may be found but by an index."""
    found = 0
    if plan.get("Relation Name") == table:
        assert "Index Name" in plan
        found = int(plan["Actual Loops"] * (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)))
    return found + sum(looked_at(one, table) for one in plan.get("Plans", ()))


async def planned(account: UUID, asked: Look, columns: str) -> Any:
    """Read a page of 16; return how."""
    async with rows_of(account) as connection:
        statement = f"EXPLAIN (ANALYZE, FORMAT JSON) {asked.page(columns, 16)}"
        plan = msgspec.json.decode(await connection.fetchval(statement, *asked.arguments, *asked.more))
        assert plan[0]["Plan"]["Actual Rows"] == 16
        return plan[0]["Plan"]


async def test_page_of_instances_is_read_along_an_index(world: World) -> None:
    account, workflow = world.acme.id, world.acme.workflows["greeting"]
    await insert_instances(account, workflow, [world.acme.admin_id], 5_000)
    await analyze()
    async with rows_of(account) as connection:
        middle = await connection.fetchrow(
            "SELECT started_at, id FROM instance ORDER BY 1 OFFSET 2500 LIMIT 1"
        )
    assert middle is not None
    after = middle["started_at"], middle["id"]
    for running, newest_first in product((True, False), repeat=2):
        for filters in (
            Filters(in_progress=running, living=True),
            Filters(in_progress=running, workflow_ids=(workflow,)),
            Filters(in_progress=running, living=True, started_by=world.acme.admin_id),
        ):
            plan = await planned(account, look(account, filters, after, newest_first=newest_first), "*")
            assert looked_at(plan, "instance") < 200, filters


INSERT = """
INSERT INTO workflow (id, account_id, namespace, name, title, status, paused, trigger_id, created_at, created_by, modified_at,
                      modified_by)
SELECT gen_random_uuid(), $1, 'many', 'flow-' || number, 'flow', CASE WHEN number % 100 = 0 THEN 'active' ELSE 'archived' END,
       false, gen_random_uuid(), now() - number * interval '1 minute', $1, now(), $1
FROM generate_series(1, 5000) AS number
"""


async def test_page_of_workflows_is_read_along_an_index_past_what_is_archived(
    world: World, owner: Any
) -> None:
    account: UUID = world.acme.id
    async with rows_of(account) as connection:
        await connection.execute(INSERT, account)
    await owner.execute("ANALYZE workflow")
    async with rows_of(account) as connection:
        middle = await connection.fetchrow(
            "SELECT created_at, id FROM workflow ORDER BY 1 OFFSET 2500 LIMIT 1"
        )
    assert middle is not None
    after = middle["created_at"], middle["id"]
    for newest_first in (True, False):
        asked = look_at_workflows(account, after, newest_first=newest_first)
        assert looked_at(await planned(account, asked, WORKFLOW_COLUMNS), "workflow") < 200


async def test_cursor_holds_no_name_that_none_can_have(acme: Calling) -> None:
    fields = {"pageSize": 1, "at": "2026-01-01T00:00:00Z", "id": str(UUID(int=1)), "name": "a\0"}
    cursor = base64.urlsafe_b64encode(msgspec.json.encode(fields)).decode().rstrip("=")
    refused = await acme("GET", "/v2/triggers", 400, params={"cursor": cursor})
    assert refused["errorCode"] == "VALIDATION"
