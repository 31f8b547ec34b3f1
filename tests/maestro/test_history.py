"""What an instance has done: its task runs page by page, where it is now, why it failed."""

from typing import Any

import httpx
import pytest

from service.maestro.models import innermost
from service.operations import history
from service.operations.instance_lists import MOST_BYTES
from service.operations.instances import GET
from tenancy.postgres import connected
from tests.maestro.errors import targets
from tests.maestro.people import colleague
from tests.tenancy.databases import superuser
from tests.world import Tenant, World, bearer, trigger, until

LOOPING: dict[str, Any] = {
    "document": {"dsl": "1.0.3", "namespace": "tests", "name": "looping", "version": "1.0.0"},
    "do": [
        {"each": {"for": {"each": "one", "in": "${ [1, 2] }"}, "do": [{"note": {"set": {"seen": "${ $one }"}}}]}},
        {"goods": {"listen": {"to": {"one": {"with": {"type": "goods.arrived"}}}}}},
    ],
}  # fmt: skip
FAILING: dict[str, Any] = {
    "document": {"dsl": "1.0.3", "namespace": "tests", "name": "failing", "version": "1.0.0"},
    "do": [
        {
            "refuse": {
                "raise": {
                    "error": {
                        "type": "https://acme.example/no-stock",
                        "status": 422,
                        "title": "Nothing left",
                        "detail": "x" * 600,
                    }
                }
            }
        }
    ],
}
BRANCHING: dict[str, Any] = {
    "document": {"dsl": "1.0.3", "namespace": "tests", "name": "branching", "version": "1.0.0"},
    "do": [
        {
            "both": {
                "fork": {
                    "branches": [
                        {"short": {"wait": {"hours": 1}}},
                        {"long": {"do": [{"rest": {"wait": {"hours": 2}}}]}},
                    ]
                }
            }
        }
    ],
}


async def pages(client: httpx.AsyncClient, of: Tenant, url: str, size: int) -> list[dict[str, Any]]:
    """Read a whole history, page by page."""
    runs, query = [], {"page_size": str(size)}
    while True:
        answer = await client.get(f"{url}/history", params=query, headers=bearer(of.admin))
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["data"]) <= size
        runs += page["data"]
        following = page["response_metadata"].get("page_token_next")
        if following is None:
            return runs
        query["ctoken"] = following


async def test_history_tells_every_task_run_in_order_of_start(
    client: httpx.AsyncClient, world: World
) -> None:
    await world.acme.publish(LOOPING)
    url = await trigger(client, world.acme, "looping", {})
    runs = await pages(client, world.acme, url, 50)
    told = [(run["task_name"], run["task_type"], run.get("iteration"), run["status"]) for run in runs]
    assert told == [
        ("each", "for", None, "completed"),
        ("note", "set", 0, "completed"),
        ("note", "set", 1, "completed"),
        ("goods", "listen", None, "running"),
    ]
    assert runs[1]["position"] == "/do/0/each/do/0/note"
    assert runs[2]["output"] == {"seen": 2}
    assert {"input", "attempt", "started_at", "ended_at"} <= runs[0].keys()
    assert not {"output", "error", "ended_at", "cut"} & runs[3].keys()


async def test_pages_of_a_history_neither_repeat_nor_skip(client: httpx.AsyncClient, world: World) -> None:
    await world.acme.publish(LOOPING)
    url = await trigger(client, world.acme, "looping", {})
    whole = await pages(client, world.acme, url, 50)
    for size in (1, 2, 3, 4):
        assert await pages(client, world.acme, url, size) == whole


async def test_a_page_ends_before_it_is_too_large(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.acme.publish(LOOPING)
    url = await trigger(client, world.acme, "looping", {})
    whole = await pages(client, world.acme, url, 50)
    monkeypatch.setattr(history, "PAGE", history.PAGE.replace(f"<= {MOST_BYTES}", "<= 1"))
    assert await pages(client, world.acme, url, 50) == whole
    first = await client.get(f"{url}/history", headers=bearer(world.acme.admin))
    assert len(first.json()["data"]) == 1


async def test_a_large_value_is_cut_and_named(client: httpx.AsyncClient, world: World) -> None:
    url = await trigger(client, world.acme, "greeting", {"who": "a" * 20_000})
    first = (await pages(client, world.acme, url, 50))[0]
    assert first["cut"].keys() == {"input", "output"}
    assert first["cut"]["input"] > 20_000
    assert len(first["input"]) < 2_000


async def test_a_page_token_of_another_history_is_refused(client: httpx.AsyncClient, world: World) -> None:
    urls = [await trigger(client, world.acme, "greeting", {"who": "Ada"}) for _ in range(2)]
    headers = bearer(world.acme.admin)
    page = (await client.get(f"{urls[0]}/history", params={"page_size": 1}, headers=headers)).json()
    token = page["response_metadata"]["page_token_next"]
    answer = await client.get(f"{urls[1]}/history", params={"ctoken": token}, headers=headers)
    assert targets(answer) == {"ctoken": "PAGE_TOKEN_INVALID"}


async def test_who_may_read_an_instance_may_read_its_history(client: httpx.AsyncClient, world: World) -> None:
    url = await trigger(client, world.acme, "greeting", {"who": "Ada"})
    _, viewer = await colleague(world.acme, "viewer", "viewer")
    for token, status in ((viewer, 200), (world.acme.member, 403)):
        for path in (url, f"{url}/history"):
            assert (await client.get(path, headers=bearer(token))).status_code == status


async def test_an_instance_tells_where_it_is(client: httpx.AsyncClient, world: World) -> None:
    await world.acme.publish(BRANCHING)
    url = await trigger(client, world.acme, "branching", {})
    found = await until(client, world.acme, url, total_steps=1)
    assert found["current_position"] == [
        "/do/0/both/fork/branches/0/short",
        "/do/0/both/fork/branches/1/long/do/0/rest",
    ]
    await client.post(f"{url}/actions/cancel", headers=bearer(world.acme.admin))
    ended = (await client.get(url, headers=bearer(world.acme.admin))).json()
    assert "current_position" not in ended


async def test_a_failed_instance_tells_why(client: httpx.AsyncClient, world: World) -> None:
    await world.acme.publish(FAILING)
    url = await trigger(client, world.acme, "failing", {})
    found = await until(client, world.acme, url, workflow_status="Failed")
    assert found["failure_reason"].startswith("Nothing left: xxx")
    assert len(found["failure_reason"]) < 520
    listed = await client.get(url.rpartition("/")[0], headers=bearer(world.acme.admin))
    assert listed.json()["data"][0]["failure_reason"] == found["failure_reason"]
    run = (await pages(client, world.acme, url, 50))[0]
    assert run["status"] == "faulted"
    assert run["error"]["title"] == "Nothing left"


async def test_an_instance_that_has_not_failed_tells_no_reason(
    client: httpx.AsyncClient, world: World
) -> None:
    url = await trigger(client, world.acme, "waiting", {})
    found = await until(client, world.acme, url, last_completed_step=1)
    assert "failure_reason" not in found
    assert found["current_position"] == ["/do/1/goods"]


def test_only_the_innermost_positions_are_told() -> None:
    assert innermost(["/do/1/a", "/do/10/b", "/do/1/a/do/0/c", "/do/1/a"]) == ["/do/1/a/do/0/c", "/do/10/b"]


async def test_where_an_instance_is_costs_no_look_at_its_whole_history(
    client: httpx.AsyncClient, world: World
) -> None:
    instance_id = (await trigger(client, world.acme, "waiting", {})).rpartition("/")[2]
    async with connected(superuser()) as connection:
        await connection.execute(
            """
            INSERT INTO task_run (account_id, instance_id, number, name, kind, pointer, attempt, status, started_at)
            SELECT $1, $2, number, 'a', 'set', '/do/0/a', 1, 'completed', now()
            FROM generate_series(101, 20000) AS number
            """,
            world.acme.id,
            instance_id,
        )
        await connection.execute("ANALYZE task_run")
        plan = await connection.fetch(
            f"EXPLAIN {GET}", b"", world.acme.id, ["aow_manage"], world.acme.id, instance_id
        )
    assert any("task_run_running" in row[0] for row in plan)
