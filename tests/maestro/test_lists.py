"""Lists: what they hold, how they page, who sees what, and what they cost."""

import base64
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from service.operations.instance_lists import Filters
from service.operations.pages import binding
from tests.maestro.errors import assert_refused, targets
from tests.maestro.people import colleague
from tests.maestro.rows import analyze, insert_instances
from tests.world import GREETING, Tenant, World, bearer, trigger, until

ACCOUNT_WIDE = "/workflow-instances"
OF_WORKFLOW = "/workflows/{waiting}/instances"
BOTH = pytest.mark.parametrize("path", [ACCOUNT_WIDE, OF_WORKFLOW])


def url_of(tenant: Tenant, path: str) -> str:
    """Where a list of the tenant is."""
    return tenant.url + path.format(**tenant.workflows)


def rows_in(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries of a page, whatever the list calls them."""
    rows: list[dict[str, Any]] = answer["instances" if "instances" in answer else "data"]
    return rows


async def page(client: httpx.AsyncClient, url: str, token: str, **query: Any) -> dict[str, Any]:
    """Read one page."""
    response = await client.get(url, params=query, headers=bearer(token))
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def pages(
    client: httpx.AsyncClient, url: str, token: str, **query: Any
) -> AsyncIterator[dict[str, Any]]:
    """Read page after page to the end."""
    while True:
        answer = await page(client, url, token, **query)
        yield answer
        following = answer["response_metadata"].get("page_token_next")
        assert answer.get("ctoken") == following or "data" in answer
        if following is None:
            return
        query["ctoken"] = following


async def ids(client: httpx.AsyncClient, url: str, token: str, **query: Any) -> list[str]:
    """Read the ids of a whole list."""
    return [row["id"] async for answer in pages(client, url, token, **query) for row in rows_in(answer)]


@BOTH
async def test_paging_gives_each_instance_once_while_others_come_and_change(
    client: httpx.AsyncClient, world: World, path: str
) -> None:
    acme = world.acme
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id], 40)
    url = url_of(acme, path)
    expected = set(await ids(client, url, acme.admin, page_size=1000))
    assert len(expected) == 40
    seen: list[str] = []
    async for answer in pages(client, url, acme.admin, page_size=7):
        found = rows_in(answer)
        assert len(found) <= 7
        assert found == sorted(found, key=lambda row: (row["started_at"], row["id"]), reverse=True)
        seen += [row["id"] for row in found]
        await trigger(client, acme, "waiting", {})
        waiting = await ids(client, url, acme.admin, status="In Progress", page_size=1000)
        await client.post(
            f"{acme.workflow_url('waiting')}/instances/{waiting[-1]}/actions/cancel",
            headers=bearer(acme.admin),
        )
    assert Counter(seen) == Counter(expected)


@BOTH
async def test_paging_by_status_gives_none_twice_while_statuses_change(
    client: httpx.AsyncClient, world: World, path: str
) -> None:
    acme = world.acme
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id], 200)
    url = url_of(acme, path)
    expected = set(await ids(client, url, acme.admin, status="In Progress", page_size=1000))
    assert len(expected) == 20
    seen: list[str] = []
    async for answer in pages(client, url, acme.admin, status="In Progress", page_size=6):
        found = [row["id"] for row in rows_in(answer)]
        seen += found
        for instance in (found[0], found[-1]):  # the page's own last row is what its token tells
            await client.post(
                f"{acme.workflow_url('waiting')}/instances/{instance}/actions/cancel",
                headers=bearer(acme.admin),
            )
    assert Counter(seen) == Counter(expected)


@BOTH
async def test_list_filters_by_status_in_any_case(client: httpx.AsyncClient, world: World, path: str) -> None:
    acme = world.acme
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id], 100)
    url = url_of(acme, path)
    instance = await trigger(client, acme, "waiting", {})
    await client.post(f"{instance}/actions/cancel", headers=bearer(acme.admin))
    for status, count in (("In Progress", 10), ("Completed", 80), ("Failed", 10), ("Canceled", 1)):
        for word in (status, status.upper(), status.lower()):
            found = rows_in(await page(client, url, acme.admin, status=word, page_size=1000))
            assert {row["workflow_status"] for row in found} == {status}
            assert len(found) == count


async def test_account_wide_list_filters_by_starter_and_workflows(
    client: httpx.AsyncClient, world: World
) -> None:
    acme, url = world.acme, url_of(world.acme, ACCOUNT_WIDE)
    third = await acme.publish({**GREETING, "document": {**GREETING["document"], "name": "third"}})
    for workflow, count in (("waiting", 6), ("greeting", 4), ("third", 2)):
        await insert_instances(acme.id, acme.workflows[workflow], [acme.admin_id, acme.member_id], count)

    async def matching(**query: Any) -> int:
        answer = await page(client, url, acme.admin, **query)
        assert answer["total_set_size"] == answer["result_set_size"] == len(answer["instances"])
        return len(answer["instances"])

    waiting, greeting = acme.workflows["waiting"], acme.workflows["greeting"]
    assert await matching() == 12
    assert await matching(workflow_definition_id=str(waiting)) == 6
    assert await matching(workflow_definition_id=[str(waiting), str(third)]) == 8
    assert await matching(workflow_definition_id=[str(waiting), str(waiting).upper()]) == 6
    assert await matching(workflow_definition_id=str(uuid4())) == 0
    assert await matching(workflow_definition_id=str(world.globex.workflows["waiting"])) == 0
    assert await matching(started_by_id=str(acme.member_id)) == 6
    assert await matching(started_by_id=str(uuid4())) == 0
    assert (
        await matching(
            started_by_id=str(acme.member_id), workflow_definition_id=[str(waiting), str(greeting)]
        )
        == 5
    )
    assert await matching(started_by_id=str(acme.admin_id), status="failed") == 0
    assert await matching(started_by_id=str(acme.member_id), status="FAILED") == 3


async def test_member_sees_only_their_own_in_the_account_wide_list(
    client: httpx.AsyncClient, world: World
) -> None:
    acme, url = world.acme, url_of(world.acme, ACCOUNT_WIDE)
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id, acme.member_id], 20)
    own = await page(client, url, acme.member)
    assert {row["started_by"] for row in own["instances"]} == {str(acme.member_id)}
    assert own["total_set_size"] == own["result_set_size"] == 10
    asked = await page(client, url, acme.member, started_by_id=str(acme.member_id))
    assert asked["instances"] == own["instances"]
    for other in (acme.admin_id, uuid4(), world.globex.member_id):
        response = await client.get(url, params={"started_by_id": str(other)}, headers=bearer(acme.member))
        assert_refused(response, 403)


async def test_administrator_and_machine_see_everyones_in_the_account_wide_list(
    client: httpx.AsyncClient, world: World
) -> None:
    acme, url = world.acme, url_of(world.acme, ACCOUNT_WIDE)
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id, acme.member_id], 20)
    await insert_instances(world.globex.id, world.globex.workflows["waiting"], [world.globex.admin_id], 5)
    for token in (acme.admin, acme.machine):
        assert len(await ids(client, url, token)) == 20
        assert len(await ids(client, url, token, started_by_id=str(acme.member_id))) == 10


async def test_a_sender_sees_their_own_in_the_list_of_one_workflow_and_a_viewer_all(
    client: httpx.AsyncClient, world: World
) -> None:
    acme, url = world.acme, url_of(world.acme, OF_WORKFLOW)
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id, acme.member_id], 20)
    _, viewer = await colleague(acme, "viewer", "viewer")
    assert len(await ids(client, url, viewer)) == 20
    assert len(await ids(client, url, viewer, started_by_id=str(acme.admin_id))) == 10
    assert len(await ids(client, url, acme.member)) == 10
    another = {"started_by_id": str(acme.admin_id)}
    assert (await client.get(url, params=another, headers=bearer(acme.member))).status_code == 403


async def test_total_is_counted_once_and_stays_the_same_on_every_page(
    client: httpx.AsyncClient, world: World
) -> None:
    acme, url = world.acme, url_of(world.acme, ACCOUNT_WIDE)
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id], 25)
    sizes = []
    async for answer in pages(client, url, acme.admin, page_size=10):
        assert answer["total_set_size"] == 25
        assert answer["result_set_size"] == len(answer["instances"])
        assert answer["response_metadata"]["page_limit"] == 10
        sizes.append(answer["result_set_size"])
        await trigger(client, acme, "waiting", {})
    assert sizes == [10, 10, 5]


async def test_account_wide_list_gives_50_where_no_size_is_asked_for(
    client: httpx.AsyncClient, world: World
) -> None:
    acme, url = world.acme, url_of(world.acme, ACCOUNT_WIDE)
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id], 51)
    answer = await page(client, url, acme.admin)
    assert (answer["result_set_size"], answer["response_metadata"]["page_limit"]) == (50, 50)
    assert answer["ctoken"] == answer["response_metadata"]["page_token_next"]


async def test_list_of_a_workflow_gives_the_newest_1000_and_links_to_the_rest(
    client: httpx.AsyncClient, world: World
) -> None:
    acme, url = world.acme, url_of(world.acme, OF_WORKFLOW)
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id], 1100)
    await analyze()
    response = await client.get(url, headers=bearer(acme.admin))
    first = response.json()
    assert len(first["data"]) == first["response_metadata"]["page_limit"] == 1000
    assert first["response_metadata"]["page_token_next"]
    following = httpx.URL(response.links["next"]["url"])
    assert (following.scheme, following.host, following.port) == ("http", "127.0.0.1", 8000)
    response = await client.get(following.raw_path.decode(), headers=bearer(acme.admin))
    rest = response.json()
    assert len(rest["data"]) == 100
    assert "page_token_next" not in rest["response_metadata"]
    assert "next" not in response.links
    assert len({row["id"] for row in first["data"] + rest["data"]}) == 1100
    assert min(row["started_at"] for row in first["data"]) >= max(row["started_at"] for row in rest["data"])
    total = (await page(client, url_of(acme, ACCOUNT_WIDE), acme.admin))["total_set_size"]
    assert 1000 < total < 1300


@BOTH
async def test_page_of_large_instances_ends_before_it_is_too_large(
    client: httpx.AsyncClient, world: World, path: str
) -> None:
    acme, url = world.acme, url_of(world.acme, path)
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id], 40, kilobytes=1000)
    sizes, seen = [], []
    async for answer in pages(client, url, acme.admin, page_size=1000):
        sizes.append(len(rows_in(answer)))
        seen += [row["id"] for row in rows_in(answer)]
    assert sizes == [16, 16, 8]
    assert len(set(seen)) == 40
    assert [len(rows_in(await page(client, url, acme.admin, page_size=size))) for size in (1, 5, 16)] == [
        1,
        5,
        16,
    ]


@pytest.mark.parametrize(
    ("at", "total"),
    [
        ("0001-01-01T00:00:00+14:00", None),  # before the calendar, in UTC
        ("9999-12-31T23:59:59-14:00", None),
        ("2026-01-01T00:00:00", None),
        ("2026-01-01T00:00:00Z", -1),
        (0, None),
        (None, None),
    ],
)
async def test_forged_page_token_is_refused(
    client: httpx.AsyncClient, world: World, at: Any, total: int | None
) -> None:
    acme, account_wide = world.acme, True

    async def answer(at: Any, total: int | None) -> httpx.Response:
        fields = [at, str(uuid4()), total, binding(acme.id, "instances", account_wide, Filters())]
        forged = base64.urlsafe_b64encode(msgspec.msgpack.encode(fields)).decode().rstrip("=")
        url = url_of(acme, ACCOUNT_WIDE)
        return await client.get(url, params={"ctoken": forged}, headers=bearer(acme.admin))

    assert (await answer("2026-01-01T00:00:00Z", 0)).status_code == 200
    assert targets(await answer(at, total)) == {"ctoken": "PAGE_TOKEN_INVALID"}


async def test_link_keeps_the_filters(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id], 100)
    query: dict[str, Any] = {
        "status": "Failed",
        "started_by_id": str(acme.admin_id),
        "workflow_definition_id": [str(acme.workflows["waiting"]), str(acme.workflows["greeting"])],
        "page_size": 4,
    }
    response = await client.get(url_of(acme, ACCOUNT_WIDE), params=query, headers=bearer(acme.admin))
    seen = [row["id"] for row in response.json()["instances"]]
    while "next" in response.links:
        target = httpx.URL(response.links["next"]["url"]).raw_path.decode()
        response = await client.get(target, headers=bearer(acme.admin))
        assert {row["workflow_status"] for row in response.json()["instances"]} == {"Failed"}
        seen += [row["id"] for row in response.json()["instances"]]
    assert len(seen) == len(set(seen)) == 10


@BOTH
async def test_list_tells_the_truth_about_itself(client: httpx.AsyncClient, world: World, path: str) -> None:
    acme = world.acme
    began = time.perf_counter()
    request_id = str(uuid4())
    response = await client.get(
        url_of(acme, path), headers={**bearer(acme.admin), "X-Request-Id": request_id}
    )
    took = (time.perf_counter() - began) * 1000
    answer = response.json()
    metadata = answer["response_metadata"]
    assert rows_in(answer) == []
    assert metadata["request_id"] == request_id == response.headers["x-request-id"]
    assert 0 <= metadata["response_duration_ms"] <= took
    moment = datetime.fromisoformat(metadata["response_timestamp"])
    assert abs(datetime.now(UTC) - moment) < timedelta(seconds=10)
    assert metadata.keys() == {"request_id", "response_timestamp", "response_duration_ms", "page_limit"}


async def test_lists_hold_what_reading_one_gives(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    url = await trigger(client, acme, "greeting", {"who": "Ada"})
    one = await until(client, acme, url, workflow_status="Completed")
    for path in (ACCOUNT_WIDE, "/workflows/{greeting}/instances"):
        assert rows_in(await page(client, url_of(acme, path), acme.admin)) == [one]


async def test_workflow_list_filters_by_status(client: httpx.AsyncClient, world: World) -> None:
    acme, url = world.acme, url_of(world.acme, "/workflows")
    created = await client.post(
        url,
        json={**GREETING, "document": {**GREETING["document"], "name": "draft", "title": "A draft"}},
        headers=bearer(acme.admin),
    )
    assert created.status_code == 201
    await client.post(f"{acme.workflow_url('waiting')}/actions/pause", headers=bearer(acme.admin))

    async def names(**query: str) -> dict[str, str]:
        found = rows_in(await page(client, url, acme.admin, **query))
        return {row["name"]: row["status"] for row in found}

    assert await names() == {"Greeting": "active", "waiting": "paused", "A draft": "inactive"}
    # A paused workflow is an active one; the vendor's filter has no word of its own for it.
    assert await names(status="active") == {"Greeting": "active", "waiting": "paused"}
    assert await names(status="inactive") == {"A draft": "inactive"}
    for status in ("publishing", "unpublishing", "archived", "archiving"):
        assert await names(status=status) == {}
    await client.post(f"{acme.workflow_url('waiting')}/actions/archive", headers=bearer(acme.admin))
    assert await names(status="archived") == {"waiting": "archived"}
    response = await client.get(url, params={"status": "paused"}, headers=bearer(acme.admin))
    assert_refused(response, 400)


async def test_workflow_list_pages_newest_first(client: httpx.AsyncClient, world: World) -> None:
    acme, url = world.acme, url_of(world.acme, "/workflows")
    for number in range(9):
        await acme.publish({**GREETING, "document": {**GREETING["document"], "name": f"copy-{number}"}})
    whole = rows_in(await page(client, url, acme.admin))
    assert len(whole) == 11
    assert whole == sorted(whole, key=lambda row: str(row["metadata"]["created_at"]), reverse=True)
    seen = []
    async for answer in pages(client, url, acme.admin, page_size=4, status="active"):
        assert answer["response_metadata"]["page_limit"] == 4
        seen += rows_in(answer)
        await acme.publish({**GREETING, "document": {**GREETING["document"], "name": f"new-{len(seen)}"}})
    assert seen == whole
