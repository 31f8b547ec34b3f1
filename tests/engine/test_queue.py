"""Jobs: whose turn it is, who holds them, and what becomes of those that cannot be done."""

import asyncio
import contextlib
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from aiohttp import web
from litestar import Litestar

from service.engine import worker as engine
from service.engine.queue import Job, claim, lease, put_back
from service.engine.storing import Settled, store
from service.engine.turns import Places
from tenancy.rows import rows_of
from tests.engine.outside import site
from tests.world import World, bearer, trigger, until

NOBODY = UUID(int=0)
WAIT = {"pause": {"wait": {"milliseconds": 1}}}


def document(name: str, tasks: list[Any]) -> dict[str, Any]:
    """Write a definition."""
    return {"document": {"dsl": "1.0.3", "namespace": "tests", "name": name, "version": "1.0.0"}, "do": tasks}


@pytest.fixture
async def no_dealing(litestar: Litestar, world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The application's own worker takes no jobs."""

    async def nothing(_: object) -> list[Job]:
        return []

    monkeypatch.setattr(Places, "claim", nothing)
    return world


async def queue(account_id: UUID, count: int, *, leased: bool = False) -> None:
    """Write jobs for an account that need not exist."""
    async with rows_of(account_id) as connection:
        await connection.execute(
            "INSERT INTO job (account_id, instance_id, lane, reason, leased_until)"
            " SELECT $1, gen_random_uuid(), 'perform', 'call', CASE WHEN $3 THEN now() + interval '1 hour' END"
            " FROM generate_series(1, $2)",
            account_id,
            count,
            leased,
        )


def accounts(count: int) -> list[UUID]:
    """Make ids of accounts, in the order in which claims come to them."""
    return [UUID(int=(number + 1) << 64) for number in range(count)]


async def test_one_accounts_thousand_jobs_do_not_stand_before_anothers_one(no_dealing: World) -> None:
    large, small = accounts(2)
    await queue(large, 1_000)
    await queue(small, 1)
    claimed = await claim("perform", 2, 16, NOBODY)
    assert Counter(job.account_id for job in claimed.jobs) == {large: 16, small: 1}
    assert claimed.left_some
    again = await claim("perform", 1, 16, claimed.last)
    assert {job.account_id for job in again.jobs} == {large}


async def test_a_claim_gets_past_accounts_whose_jobs_are_all_taken(no_dealing: World) -> None:
    *taken, last = accounts(301)
    for account_id in taken:
        await queue(account_id, 1, leased=True)
    await queue(last, 1)
    after, found = NOBODY, list[Job]()
    for _ in range(3):
        claimed = await claim("perform", 4, 16, after)
        found += claimed.jobs
        after = claimed.last
    assert [job.account_id for job in found] == [last]


async def test_a_lease_belongs_to_who_claimed_last(no_dealing: World) -> None:
    (account_id,) = accounts(1)
    await queue(account_id, 1)
    (first,) = (await claim("perform", 1, 1, NOBODY)).jobs
    await lease([first], timedelta())
    await asyncio.sleep(0.01)
    (second,) = (await claim("perform", 1, 1, NOBODY)).jobs
    await lease([first], timedelta())  # by a worker that does not know that its lease ran out
    assert (await claim("perform", 1, 1, NOBODY)).jobs == []
    await lease([second], timedelta())
    await asyncio.sleep(0.01)
    assert len((await claim("perform", 1, 1, NOBODY)).jobs) == 1


async def test_a_claim_reads_no_other_accounts_jobs(no_dealing: World, owner: asyncpg.Connection) -> None:
    """As `claim_jobs` reads them, whose owner it runs as; though the planner last saw the queue empty."""
    first, second = accounts(2)
    await owner.execute("ANALYZE job")
    await queue(first, 20_000)
    await queue(second, 1)
    plan = await owner.fetch(
        "EXPLAIN (ANALYZE, BUFFERS OFF, TIMING OFF, SUMMARY OFF) SELECT job.id FROM job"
        " WHERE job.lane = 'perform' AND job.account_id >= $1 AND job.account_id <= $1"
        " AND (job.leased_until IS NULL OR job.leased_until < clock_timestamp())"
        " ORDER BY job.lane, job.account_id, job.id LIMIT 16 FOR UPDATE SKIP LOCKED",
        second,
    )
    text = "\n".join(row[0] for row in plan)
    assert "job_by_lane" in text
    assert "Seq Scan" not in text
    assert "Sort" not in text
    assert "Removed" not in text


async def test_an_event_that_comes_as_another_has_been_worked_on_is_not_forgotten(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own job finds an instance that works on the first; the advance that ends that work has to look again."""
    strategy = {"any": [{"with": {"type": "came"}}], "until": "length >= 2"}
    foreach = {"do": [{"pause": {"wait": {"milliseconds": 200}}}]}
    await world.acme.publish(document("each", [{"hear": {"listen": {"to": strategy}, "foreach": foreach}}]))
    advanced = engine.Worker._advanced
    sent = asyncio.Event()

    async def slow(self: engine.Worker, loaded: Any) -> Settled:
        result = await advanced(self, loaded)
        if loaded.job.reason == "timer" and not sent.is_set():
            sent.set()
            await signal("2")
            await asyncio.sleep(0.5)  # for the second event's own job to come and go
        return result

    async def signal(identifier: str) -> None:
        body = {"type": "came", "id": identifier}
        answer = await client.post(f"{url}/actions/signal", json=body, headers=bearer(world.acme.admin))
        assert answer.status_code == 202

    monkeypatch.setattr(engine.Worker, "_advanced", slow)
    url = await trigger(client, world.acme, "each", {})
    await signal("1")
    await until(client, world.acme, url, workflow_status="Completed")


# --- Failures -------------------------------------------------------------------------------------------------------


async def test_what_cannot_be_stored_ends_its_instance_and_no_other(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(account_id: UUID, advances: list[Settled], *rest: Any) -> set[UUID]:
        if any(one.about.name == "cursed" and one.result.fault is None for one in advances):
            raise asyncpg.DataError("the database does not take it")
        return await store(account_id, advances, *rest)

    async def at_once(jobs: Any, _: timedelta) -> None:
        await put_back(jobs, timedelta())

    monkeypatch.setattr(engine, "store", failing)
    monkeypatch.setattr(engine, "put_back", at_once)
    await world.acme.publish(document("pausing", [{"pause": {"wait": {"milliseconds": 300}}}]))
    url = world.acme.workflow_url("pausing")
    urls = {}
    for name in ("first", "cursed", "last"):
        body: dict[str, Any] = {"instance_name": name, "trigger_inputs": {}}
        answer = await client.post(f"{url}/actions/trigger", json=body, headers=bearer(world.acme.admin))
        urls[name] = f"{url}/instances/{answer.json()['instance_id']}"
    for name in ("first", "last"):
        await until(client, world.acme, urls[name], workflow_status="Completed")
    cursed = await until(client, world.acme, urls["cursed"], workflow_status="Failed")
    assert cursed["error"]["title"] == "Engine fault"


@pytest.mark.parametrize("before", [[], [WAIT]], ids=["at the trigger", "in a worker"])
async def test_data_with_a_nul_character_is_carried_through(
    client: httpx.AsyncClient, world: World, before: list[Any]
) -> None:
    tasks = [{"make": {"set": {"text": '${ "a" + ([0] | implode) + "b" }'}}}, {"end": {"set": {"ok": True}}}]
    await world.acme.publish(document("nul", [*before, *tasks]))
    url = await trigger(client, world.acme, "nul", {})
    await until(client, world.acme, url, workflow_status="Completed")
    async with rows_of(world.acme.id) as connection:
        output = await connection.fetchval("SELECT output FROM task_run WHERE name = 'make'")
    assert output == '{"text":"a\\ufffdb"}'


async def test_answers_that_come_together_repeat_no_call(client: httpx.AsyncClient, world: World) -> None:
    keys: Counter[str] = Counter()
    together = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        keys[request.headers["Idempotency-Key"]] += 1
        if len(keys) >= 15:
            together.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(together.wait(), 5)
        return web.json_response({"ok": True})

    async with site(answer) as called:
        call = {"call": "http", "with": {"method": "post", "endpoint": called.url}}
        branches = [{f"branch{number}": call} for number in range(30)]
        await world.acme.publish(document("forked", [{"all": {"fork": {"branches": branches}}}]))
        url = await trigger(client, world.acme, "forked", {})
        await until(client, world.acme, url, seconds=40, workflow_status="Completed")
    assert len(keys) == 30
    assert set(keys.values()) == {1}
