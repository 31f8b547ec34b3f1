"""Search over an account's instances: what finds what, in which order, page by page, and what it costs."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from service.operations import search as searching
from service.operations.instance_lists import filled
from service.operations.pages import binding, token
from service.operations.search import LIMITS, Place, Range, Search, Sort, listing
from service.settings import settings
from tenancy.postgres import connected, engine
from tenancy.rows import rows_of
from tests.maestro.errors import assert_refused, targets
from tests.maestro.rows import insert_instances
from tests.world import GREETING, Tenant, World, bearer, trigger, until

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

INSERT = """
INSERT INTO instance (id, account_id, workflow_id, version_id, version, name, status, started_at, ended_at,
                      last_modified_at, started_by, started_by_name, trigger_inputs, tags, total_steps,
                      workflow_created_by, access_id, access_secret_hash)
SELECT gen_random_uuid(), $1, workflow.id, workflow.active_version_id, $3, $4, $5, $6::timestamptz, $7::timestamptz,
       coalesce($7::timestamptz, $6::timestamptz), $8, 'somebody', $9, $10, 3, workflow.created_by, gen_random_uuid(), '\\x00'
FROM workflow WHERE workflow.id = $2
RETURNING id
"""


async def stored(tenant: Tenant, name: str, **told: Any) -> UUID:
    """Store an instance: of the workflow `waiting`, completed within a minute of noon unless told otherwise."""
    started = NOON + told.get("after", timedelta())
    status = told.get("status", "completed")
    ended = None if status == "waiting" else started + timedelta(minutes=1)
    async with rows_of(tenant.id) as connection:
        identifier: UUID = await connection.fetchval(
            INSERT,
            tenant.id,
            tenant.workflows[told.get("workflow", "waiting")],
            told.get("version", "1.0.0"),
            name,
            status,
            started,
            ended,
            told.get("by", tenant.admin_id),
            msgspec.json.encode(told.get("inputs", {})).decode(),
            told.get("tags", []),
        )
    return identifier


async def answer(
    client: httpx.AsyncClient, tenant: Tenant, bearer_token: str | None = None, **query: Any
) -> httpx.Response:
    """Search as the tenant's administrator, unless told otherwise."""
    url = f"{tenant.url}/workflow-instances/search"
    return await client.get(url, params=query, headers=bearer(bearer_token or tenant.admin))


async def names(
    client: httpx.AsyncClient, tenant: Tenant, bearer_token: str | None = None, **query: Any
) -> list[str]:
    """Read the names of what a search finds, page after page."""
    found: list[str] = []
    while True:
        response = await answer(client, tenant, bearer_token, **query)
        assert response.status_code == 200, response.text
        page = response.json()
        found += [row["name"] for row in page["data"]]
        following = page["response_metadata"].get("page_token_next")
        assert ("next" in response.links) == (following is not None)
        if following is None:
            return found
        query["ctoken"] = following


@pytest.fixture
async def shop(world: World) -> World:
    """Two accounts; in Acme's a handful of instances, each different from the others."""
    acme = world.acme
    hour = timedelta(hours=1)
    await stored(
        acme, "Order 1", inputs={"customer": 42, "gift": True, "city": "Zürich"}, tags=["shop:eu", "vip"]
    )
    await stored(
        acme,
        "Order 2",
        inputs={"customer": "42", "gift": False},
        tags=["shop:eu"],
        status="faulted",
        after=hour,
    )
    await stored(acme, "order 10", inputs={"customer": 42.5}, status="cancelled", after=2 * hour)
    await stored(acme, "Return 1", version="2.0.0", status="waiting", after=3 * hour, by=acme.member_id)
    await stored(acme, "Zürich_100%", workflow="greeting", status="waiting", after=4 * hour, tags=["vip"])
    await stored(world.globex, "Order 1", inputs={"customer": 42}, tags=["vip"])
    return world


FOUND: dict[str, tuple[dict[str, Any], list[str]]] = {
    "everything": ({}, ["Zürich_100%", "Return 1", "order 10", "Order 2", "Order 1"]),
    "in progress": ({"status": "In Progress"}, ["Zürich_100%", "Return 1"]),
    "several statuses": ({"status": ["Failed", "Canceled"]}, ["order 10", "Order 2"]),
    "every status": (
        {"status": ["Failed", "Canceled", "Completed", "In Progress"]},
        ["Zürich_100%", "Return 1", "order 10", "Order 2", "Order 1"],
    ),
    "version": ({"version": "2.0.0"}, ["Return 1"]),
    "prefix": ({"name_prefix": "Order"}, ["Order 2", "Order 1"]),
    "prefix of another script": ({"name_prefix": "Zü"}, ["Zürich_100%"]),
    "prefix and its end": ({"name_prefix": "Order 1"}, ["Order 1"]),
    "contains in any case": ({"name_contains": "ORDER"}, ["order 10", "Order 2", "Order 1"]),
    "contains no pattern": ({"name_contains": "_100%"}, ["Zürich_100%"]),
    "pattern that nothing contains": ({"name_contains": "%"}, ["Zürich_100%"]),
    "started from": ({"started_from": "2026-03-01T15:00:00Z"}, ["Zürich_100%", "Return 1"]),
    "started before": ({"started_to": "2026-03-01T13:00:00Z"}, ["Order 1"]),
    "started between, in another zone": (
        {"started_from": "2026-03-01T14:00:00+01:00", "started_to": "2026-03-01T16:00:00+01:00"},
        ["order 10", "Order 2"],
    ),
    "ended": ({"ended_from": "2026-03-01T13:00:00Z"}, ["order 10", "Order 2"]),
    "ended before": ({"ended_to": "2026-03-01T13:00:00Z"}, ["Order 1"]),
    "modified": (
        {"modified_from": "2026-03-01T14:00:00Z", "modified_to": "2026-03-01T15:00:01Z"},
        ["Return 1", "order 10"],
    ),
    "a tag": ({"tag": "vip"}, ["Zürich_100%", "Order 1"]),
    "all of the tags": ({"tag": ["vip", "shop:eu"]}, ["Order 1"]),
    "part of a tag": ({"tag": "shop"}, []),
    "a number": ({"input": "customer:42"}, ["Order 1"]),
    "the number in another form": ({"input": "customer:42.0"}, ["Order 1"]),
    "a fraction": ({"input": "customer:42.5"}, ["order 10"]),
    "a text that looks like a number": ({"input": 'customer:"42"'}, ["Order 2"]),
    "a text": ({"input": "city:Zürich"}, ["Order 1"]),
    "a boolean": ({"input": "gift:false"}, ["Order 2"]),
    "several inputs": ({"input": ["gift:true", "customer:42"]}, ["Order 1"]),
    "inputs that no instance has together": ({"input": ["gift:false", "customer:42"]}, []),
    "an input that nobody has": ({"input": "nobody:1"}, []),
    "all at once": (
        {"status": "Completed", "name_prefix": "O", "tag": "vip", "input": "customer:42", "version": "1.0.0"},
        ["Order 1"],
    ),
    "by start": ({"sort": "started_at"}, ["Order 1", "Order 2", "order 10", "Return 1", "Zürich_100%"]),
    "by name": ({"sort": "name"}, ["Order 1", "Order 2", "Return 1", "Zürich_100%", "order 10"]),
    "by name, backwards": ({"sort": "-name"}, ["order 10", "Zürich_100%", "Return 1", "Order 2", "Order 1"]),
    "by the last change": (
        {"sort": "-last_modified_at"},
        ["Zürich_100%", "Return 1", "order 10", "Order 2", "Order 1"],
    ),
    "by name, of several statuses": (
        {"sort": "name", "status": ["Completed", "In Progress"]},
        ["Order 1", "Return 1", "Zürich_100%"],
    ),
}


@pytest.mark.parametrize("page_size", [1, 2, 50])
async def test_search_finds_what_fits_all_of_what_is_given(
    client: httpx.AsyncClient, shop: World, page_size: int
) -> None:
    found = {
        shape: await names(client, shop.acme, **query, page_size=page_size)
        for shape, (query, _) in FOUND.items()
    }
    assert found == {shape: expected for shape, (_, expected) in FOUND.items()}


async def test_search_by_workflow_and_starter(client: httpx.AsyncClient, shop: World) -> None:
    acme = shop.acme
    both = [str(acme.workflows[name]) for name in ("waiting", "greeting")]
    assert await names(client, acme, workflow_id=both[1]) == ["Zürich_100%"]
    assert len(await names(client, acme, workflow_id=both)) == 5
    assert await names(client, acme, workflow_id=str(shop.globex.workflows["waiting"])) == []
    assert await names(client, acme, started_by_id=str(acme.member_id)) == ["Return 1"]
    assert await names(client, acme, started_by_id=str(uuid4())) == []


async def test_member_finds_their_own_alone(client: httpx.AsyncClient, shop: World) -> None:
    acme = shop.acme
    assert await names(client, acme, acme.member) == ["Return 1"]
    assert await names(client, acme, acme.member, name_prefix="Order") == []
    assert await names(client, acme, acme.member, started_by_id=str(acme.member_id)) == ["Return 1"]
    assert_refused(await answer(client, acme, acme.member, started_by_id=str(acme.admin_id)), 403)
    assert len(await names(client, acme, acme.machine)) == 5


FAILING: dict[str, Any] = {
    "document": {"dsl": "1.0.3", "namespace": "tests", "name": "failing", "version": "1.0.0"},
    "do": [
        {
            "attempt": {
                "try": [{"caught": {"raise": {"error": {"type": "https://x.example/a", "status": 500}}}}],
                "catch": {},
            }
        },
        {"last": {"raise": {"error": {"type": "https://x.example/b", "status": 500}}}},
    ],
}


async def test_search_by_the_task_that_failed(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    await acme.publish(FAILING)
    await trigger(client, acme, "greeting", {"who": "Ada"})
    url = await trigger(client, acme, "failing", {})
    await until(client, acme, url, workflow_status="Failed")
    found = (await answer(client, acme, failed_task="last")).json()["data"]
    assert [row["id"] for row in found] == [url.rpartition("/")[2]]
    assert await names(client, acme, failed_task="finish") == []
    assert await names(client, acme, failed_task="last", status="Completed") == []


async def test_search_by_what_a_trigger_was_given(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    tagged = {
        **GREETING,
        "document": {**GREETING["document"], "name": "tagged", "title": "tagged", "tags": {"team": "a"}},
    }
    await acme.publish(tagged)
    url = await trigger(client, acme, "tagged", {"who": "Ada", "times": 3})
    await trigger(client, acme, "tagged", {"who": "Bob", "times": 3})
    for query in ({"input": ["who:Ada", "times:3"]}, {"tag": "team:a", "input": "who:Ada"}):
        found = (await answer(client, acme, **query)).json()["data"]
        assert [row["id"] for row in found] == [url.rpartition("/")[2]]
    assert len(await names(client, acme, input="times:3")) == 2


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown parameter": ({"stats": "Failed"}, "stats"),
    "unknown status": ({"status": "Running"}, "status"),
    "unknown sort": ({"sort": "ended_at"}, "sort"),
    "no moment": ({"started_from": "yesterday"}, "started_from"),
    "no time zone": ({"started_to": "2026-03-01T12:00:00"}, "started_to"),
    "outside of the calendar": ({"ended_from": "0001-01-01T00:00:00+14:00"}, "ended_from"),
    "no input": ({"input": "customer"}, "input"),
    "no name of an input": ({"input": ":42"}, "input"),
    "the same input twice": ({"input": ["customer:1", "customer:2"]}, "input"),
    "a long input": ({"input": "a:" + "b" * 600}, "input"),
    "many inputs": ({"input": [f"{number}:1" for number in range(21)]}, "input"),
    "many tags": ({"tag": [str(number) for number in range(21)]}, "tag"),
    "an empty prefix": ({"name_prefix": ""}, "name_prefix"),
    "a long name": ({"name_contains": "a" * 256}, "name_contains"),
    "NUL in a prefix": ({"name_prefix": "\0"}, "name_prefix"),
    "NUL in a name": ({"name_contains": "\0"}, "name_contains"),
    "NUL in a tag": ({"tag": "\0"}, "tag"),
    "NUL in an input": ({"input": "a:\0"}, "input"),
    "NUL in an input, escaped": ({"input": 'a:"\\u0000"'}, "input"),
    "NUL in a task": ({"failed_task": "\0"}, "failed_task"),
    "NUL in a version": ({"version": "\0"}, "version"),
    "no workflow": ({"workflow_id": "nonsense"}, "workflow_id"),
    "two sorts": ({"sort": ["name", "-name"]}, "sort"),
    "no token": ({"ctoken": "nonsense"}, "ctoken"),
    "a long token": ({"ctoken": "a" * 3000}, "ctoken"),
}


async def test_what_cannot_be_searched_for_is_refused(client: httpx.AsyncClient, world: World) -> None:
    found = {
        shape: [name.partition("/")[0] for name in targets(await answer(client, world.acme, **query))]
        for shape, (query, _) in WRONG.items()
    }
    assert found == {shape: [target] for shape, (_, target) in WRONG.items()}


async def test_any_other_value_of_an_input_is_the_text_that_it_is(
    client: httpx.AsyncClient, world: World
) -> None:
    texts = ["1e400", "1.", "007", "null", "[1]", "{}", '"', "NaN", "\u2028", "a:b", "", " 42x"]
    for number, value in enumerate(texts):
        await stored(world.acme, str(number), inputs={"a": value})
    found = {value: await names(client, world.acme, input=f"a:{value}") for value in texts}
    assert found == {value: [str(number)] for number, value in enumerate(texts)}
    await stored(world.acme, "large", inputs={"a": 10**15})
    assert await names(client, world.acme, input="a:1e15") == ["large"]
    assert await names(client, world.acme, input="a:99999999999999999999999") == []


@pytest.mark.parametrize(
    "sort", ["started_at", "-started_at", "last_modified_at", "-last_modified_at", "name", "-name"]
)
async def test_pages_hold_each_instance_once_in_every_order(
    client: httpx.AsyncClient, world: World, sort: str
) -> None:
    acme = world.acme
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id], 100)
    for _ in range(20):
        await stored(acme, "the same name")
    every = await names(client, acme, sort=sort, page_size=1000)
    assert len(every) == 120
    query: dict[str, Any] = {"sort": sort, "page_size": 7}
    seen = []
    for number in range(20):
        page = (await answer(client, acme, **query)).json()
        seen += [row["id"] for row in page["data"]]
        query["ctoken"] = page["response_metadata"].get("page_token_next")
        if number < 5:
            await stored(acme, "new")
        if query["ctoken"] is None:
            break
    else:
        pytest.fail("the pages do not end")
    assert len(set(seen)) == len(seen) >= 120


async def test_names_of_any_length_and_script_page_too(client: httpx.AsyncClient, world: World) -> None:
    long = [character * 255 for character in ("a", "\u00e9", "\u6f22", "\U0001f600")]
    for name in long:
        await stored(world.acme, name)
    assert await names(client, world.acme, sort="name", page_size=1) == long
    assert await names(client, world.acme, name_prefix="\U0001f600" * 200) == long[3:]
    await stored(world.acme, "\U0010ffff\ud7ff")
    assert await names(client, world.acme, name_prefix="\U0010ffff") == ["\U0010ffff\ud7ff"]
    assert await names(client, world.acme, name_prefix="\U0010ffff\ud7ff") == ["\U0010ffff\ud7ff"]


async def test_terms_of_an_instance_are_bounded_and_go_with_it(world: World) -> None:
    acme = world.acme
    many = {f"field {number:04}": number for number in range(150)}
    held = {"object": {"a": 1}, "list": [1], "long": "a" * 5000, "short": "a", "number": 1.50}
    ids = [
        await stored(acme, "many", inputs=many),
        await stored(acme, "few", inputs=held, tags=["a", "a", "b"]),
    ]
    async with rows_of(acme.id) as connection:
        count = "SELECT count(*) FROM instance_term WHERE instance_id = $1"
        assert [await connection.fetchval(count, one) for one in ids] == [100, 4]
        await connection.execute("DELETE FROM instance WHERE id = $1", ids[1])
        assert [await connection.fetchval(count, one) for one in ids] == [100, 0]


async def test_token_belongs_to_its_account_search_and_order(client: httpx.AsyncClient, shop: World) -> None:
    first = (await answer(client, shop.acme, page_size=1)).json()["response_metadata"]["page_token_next"]
    assert (await answer(client, shop.acme, ctoken=first)).status_code == 200
    for tenant, query in (
        (shop.acme, {"sort": "name"}),
        (shop.acme, {"status": "Completed"}),
        (shop.acme, {"input": "customer:42"}),
        (shop.globex, {}),
    ):
        assert targets(await answer(client, tenant, ctoken=first, **query)) == {
            "ctoken": "PAGE_TOKEN_INVALID"
        }


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("-started_at", "nonsense"),
        ("-started_at", "2026-03-01T12:00:00"),
        ("-started_at", "0001-01-01T00:00:00+14:00"),
        ("name", "a\0"),
    ],
)
async def test_forged_token_is_refused(client: httpx.AsyncClient, world: World, sort: Any, key: str) -> None:
    bound_to = binding(world.acme.id, "search", Search(sort=sort))
    good = token(Place("2026-03-01T12:00:00Z", uuid4(), bound_to))
    assert (await answer(client, world.acme, sort=sort, ctoken=good)).status_code == 200
    forged = token(Place(key, uuid4(), bound_to))
    assert targets(await answer(client, world.acme, sort=sort, ctoken=forged)) == {
        "ctoken": "PAGE_TOKEN_INVALID"
    }


# What a search costs

SHAPES: dict[str, Search] = {
    "default": Search(),
    "oldest first": Search(sort="started_at"),
    "last changed first": Search(sort="-last_modified_at"),
    "by name": Search(sort="name"),
    "by name, backwards": Search(sort="-name"),
    "in progress": Search(statuses=("In Progress",)),
    "failed": Search(statuses=("Failed",)),
    "failed or canceled": Search(statuses=("Failed", "Canceled")),
    "of a prefix, by name": Search(name_prefix="number 77", sort="name"),
    "of a prefix": Search(name_prefix="number 777"),
    "of a starter": Search(started_by=UUID(int=1)),
    "of a workflow": Search(workflow_ids=(UUID(int=2),)),
    "failed of a workflow": Search(workflow_ids=(UUID(int=2),), statuses=("Failed",)),
    "of a time": Search(started=Range(datetime.now(UTC) - timedelta(hours=2), datetime.now(UTC))),
    "changed lately": Search(
        modified=Range(datetime.now(UTC) - timedelta(hours=2), None), sort="-last_modified_at"
    ),
    "of a task that failed": Search(failed_task="charge"),
    "with a tag": Search(tags=("team:a",)),
    "with a rare input": Search(inputs={"number": 777}),
    "with a common input": Search(inputs={"common": True}),
    "with two inputs": Search(inputs={"common": True, "number": 777}),
    "failed with a common input": Search(inputs={"common": True}, statuses=("Failed", "Canceled")),
    "with a common input, of a time": Search(
        inputs={"common": True}, started=Range(datetime.now(UTC) - timedelta(hours=2), None)
    ),
}


TERMS = """
INSERT INTO instance_term SELECT account_id, term, started_at, id
FROM instance, LATERAL (
    VALUES (input_term('common', 'true')), (input_term('number', to_jsonb(substr(name, 8)::integer)))) AS its (term)
"""


async def test_every_common_search_is_read_along_an_index_among_many(world: World) -> None:
    acme = world.acme
    for tenant in (acme, world.globex):
        for workflow in ("waiting", "greeting"):
            starters = [tenant.admin_id, tenant.member_id]
            await insert_instances(tenant.id, tenant.workflows[workflow], starters, 12_500)
        async with rows_of(tenant.id) as connection:
            await connection.execute(TERMS)
    async with connected(settings().database.owner) as connection:
        await connection.execute("ANALYZE instance, instance_term, task_run")
    present = {UUID(int=1): acme.member_id, UUID(int=2): acme.workflows["greeting"]}
    plans = {}
    for name, search in SHAPES.items():
        for after in (None, True):
            key: Any = "number 5" if search.sort.endswith("name") else datetime.now(UTC) - timedelta(hours=2)
            place = (key, uuid4()) if after else None
            plans[f"{name}{', next page' if after else ''}"] = await plan(acme, search, place, present)
    wrong = {
        name: text
        for name, text in plans.items()
        if "Index" not in text or "Seq Scan on instance" in text or rows_sorted(text) > 1000
    }
    assert not wrong, "\n".join(f"{name}:\n{text}" for name, text in wrong.items())


@pytest.mark.parametrize("sort", ["started_at", "-started_at", "last_modified_at", "-last_modified_at"])
def test_later_page_begins_at_its_place_and_not_at_the_bound_before_it(sort: Sort) -> None:
    """Given both, PostgreSQL may begin at the bound, and go through every entry of the index up to the place."""
    now, hour = datetime.now(UTC), timedelta(hours=1)
    search = Search(started=Range(now - hour, now + hour), modified=Range(now - hour, now + hour), sort=sort)
    column, sign = sort.removeprefix("-"), "<" if sort.startswith("-") else ">="
    first, _ = listing(uuid4(), search, None, 51)
    later, _ = listing(uuid4(), search, (now, uuid4()), 51)
    forged, _ = listing(uuid4(), search, (now + 2 * hour if sign == "<" else now - 2 * hour, uuid4()), 51)
    assert [f"AND {column} {sign} $" in one for one in (first, later, forged)] == [True, False, True]


def rows_sorted(text: str) -> int:
    """The most rows that a plan expects to sort."""
    lines = text.splitlines()
    below = [lines[number + 2] for number, line in enumerate(lines[:-2]) if "Sort  (" in line]
    return max((int(line.partition("rows=")[2].split()[0]) for line in below if "rows=" in line), default=0)


async def plan(tenant: Tenant, search: Search, place: Any, present: dict[UUID, UUID]) -> str:
    """Ask how the database would read a page of 50."""
    async with rows_of(tenant.id) as connection:
        await connection.execute(LIMITS.format(3000))
        statement, arguments = listing(tenant.id, search, place, 51)
        given = [present.get(one, one) if isinstance(one, UUID) else one for one in arguments]
        rows = await connection.fetch(f"EXPLAIN {statement}", *given)
    return "\n".join(row[0] for row in rows)


async def test_search_that_takes_too_long_says_how_to_narrow_it(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = world.acme
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id], 20_000)
    monkeypatch.setattr("service.operations.search.SEARCH_SECONDS", 0.005)
    refused = await answer(client, acme, name_contains="no name has this")
    assert targets(refused) == {"": "SEARCH_TOO_BROAD"}
    for advice in ("started_from", "workflow_id", "name_prefix"):
        assert advice in refused.json()["detail"]
    monkeypatch.undo()
    assert await names(client, acme, name_contains="no name has this") == []


async def test_strangers_wait_for_no_turn_and_who_waits_holds_no_connection(
    client: httpx.AsyncClient, world: World
) -> None:
    turns = searching._turns.setdefault(world.acme.id, asyncio.Semaphore(searching.SEARCHES))
    url = f"{world.acme.url}/workflow-instances/search"
    async with contextlib.AsyncExitStack() as busy:
        for _ in range(searching.SEARCHES):
            await busy.enter_async_context(turns)
        async with asyncio.timeout(5):
            for token, status in ((world.globex.admin, 404), ("unknown", 401)):
                assert (await client.get(url, headers=bearer(token))).status_code == status
        waiting = asyncio.create_task(answer(client, world.acme))
        while not turns._waiters:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)
        pool = engine().pool
        assert pool is not None
        assert pool.get_idle_size() == pool.get_size()
    assert (await waiting).status_code == 200


async def test_searches_leave_half_of_the_connections_to_others(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = []
    under_way = 0

    async def counted(*arguments: Any) -> Any:
        nonlocal under_way
        under_way += 1
        at_once.append(under_way)
        await asyncio.sleep(0.05)
        try:
            return await filled(*arguments)
        finally:
            under_way -= 1

    monkeypatch.setattr(searching, "filled", counted)
    monkeypatch.setattr(searching, "settings", lambda: SimpleNamespace(pool_size=4))
    answers = await asyncio.gather(*(answer(client, one) for one in (world.acme, world.globex) * 4))
    assert {response.status_code for response in answers} == {200}
    assert max(at_once) == 2


async def test_searches_of_an_account_take_turns_and_those_of_another_do_not_wait(
    client: httpx.AsyncClient, world: World
) -> None:
    answers = await asyncio.gather(*(answer(client, one) for one in (world.acme, world.globex) * 20))
    assert {response.status_code for response in answers} == {200}
