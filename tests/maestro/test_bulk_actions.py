"""One verb for every instance that a filter finds: counted, confirmed, done in the background, told with its progress."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from service.engine import bulk
from tenancy.faults import OUTAGE, SlowStatementError
from tenancy.postgres import connected
from tenancy.rows import current_connection, rows_of
from tests.engine.outages import EACH_OUTAGE
from tests.maestro.actions import STEPS, act, execute, read, send, told
from tests.maestro.errors import assert_refused
from tests.maestro.rows import analyze, insert_instances
from tests.tenancy.databases import superuser
from tests.world import Tenant, World, bearer, trigger, until

CANCEL, RESTART = "workflow-instances/actions/cancel", "workflow-instances/actions/restart"


async def call(
    client: httpx.AsyncClient,
    of: Tenant,
    verb: str,
    token: str | None = None,
    *,
    query: Any = None,
    **body: Any,
) -> httpx.Response:
    """Ask for a bulk action, as the account's administrator unless told otherwise."""
    return await client.post(f"{of.url}/{verb}", params=query, json=body, headers=bearer(token or of.admin))


async def begun(client: httpx.AsyncClient, of: Tenant, verb: str, *, query: Any = None, **body: Any) -> str:
    """Begin a bulk action for whatever the filter finds; return its path."""
    asked = await call(client, of, verb, query=query, **body)
    assert asked.status_code == 200, asked.text
    count = asked.json()["matched_count"]
    answer = await call(client, of, verb, query=query, **body, confirm_count=count)
    assert answer.status_code == 202, answer.text
    assert answer.json()["bulk_action"]["total_count"] == count
    location: str = answer.headers["location"]
    return location


async def ended(client: httpx.AsyncClient, of: Tenant, url: str, seconds: float = 20) -> dict[str, Any]:
    """Read a bulk action until it has ended."""
    async with asyncio.timeout(seconds):
        while True:
            found: dict[str, Any] = (await client.get(url, headers=bearer(of.admin))).json()
            if found["status"] != "running":
                return found
            await asyncio.sleep(0.05)


async def statuses(of: Tenant) -> Counter[str]:
    """How many instances of an account have which status."""
    async with rows_of(of.id) as connection:
        rows = await connection.fetch("SELECT status, count(*) AS some FROM instance GROUP BY status")
    return Counter({row["status"]: row["some"] for row in rows})


@pytest.fixture
async def paused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker does no batches, so that a test does them itself."""

    async def nothing() -> bool:
        return False

    monkeypatch.setattr(bulk, "take_batch", nothing)


take_batch = bulk.take_batch


async def test_nothing_is_done_before_the_count_is_confirmed(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    for _ in range(3):
        await trigger(client, acme, "waiting", {})
    bodies: list[dict[str, Any]] = [{}, {"confirm_count": 2}, {"confirm_count": 4}]
    for body in bodies:
        answer = await call(client, acme, CANCEL, **body)
        assert (answer.status_code, answer.json()["matched_count"]) == (200, 3)
        assert "bulk_action" not in answer.json()
        assert "confirm_count 3" in answer.json()["message"]
    plain = await client.post(f"{acme.url}/{CANCEL}", headers=bearer(acme.admin))
    assert (plain.status_code, plain.json()["matched_count"]) == (200, 3)
    assert (await statuses(acme))["cancelled"] == 0
    listed = await client.get(f"{acme.url}/bulk-actions", headers=bearer(acme.admin))
    assert listed.json()["data"] == []


async def test_what_the_filter_finds_is_cancelled_and_nothing_else(
    client: httpx.AsyncClient, world: World
) -> None:
    acme, globex = world.acme, world.globex
    await acme.publish(STEPS)
    url, *_ = [await trigger(client, acme, "waiting", {}) for _ in range(3)]
    other = await trigger(client, acme, "steps", {"x": 1})
    foreign = await trigger(client, globex, "waiting", {})
    query = {"workflow_definition_id": str(acme.workflows["waiting"]), "status": "In Progress"}
    action = await begun(client, acme, CANCEL, query=query, reason="Not wanted.")
    done = await ended(client, acme, action)
    assert (done["status"], done["total_count"], done["done_count"]) == ("completed", 3, 3)
    assert (done["skipped_count"], done["failed_count"]) == (0, 0)
    assert done["options"] == {"reason": "Not wanted."}
    assert done["filter"] == query | {"workflow_definition_id": [query["workflow_definition_id"]]}
    assert done["created_by"] == str(acme.admin_id)
    instance = await read(client, acme, url)
    assert (instance["workflow_status"], instance["cancel_reason"]) == ("Canceled", "Not wanted.")
    assert instance["canceled_by"] == str(acme.admin_id)
    assert (await read(client, acme, other))["workflow_status"] == "In Progress"
    assert (await read(client, globex, foreign))["workflow_status"] == "In Progress"
    assert await told(acme, url) == ["instance.triggered", "instance.cancelled"]


async def test_what_has_failed_is_restarted_once(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    await acme.publish(STEPS)
    urls = [await trigger(client, acme, "steps", {"x": number}) for number in range(3)]
    for url in urls:
        await send(client, acme, url, "goods.arrived", {"ok": False})
    for url in urls:
        await until(client, acme, url, workflow_status="Failed")
    query = {"status": "Failed"}
    done = await ended(client, acme, await begun(client, acme, RESTART, query=query, from_task="goods"))
    assert (done["done_count"], done["options"]) == (3, {"from_task": "goods"})
    for url in urls:
        new = f"{url.rpartition('/')[0]}/{(await read(client, acme, url))['restarted_as']}"
        await send(client, acme, new, "goods.arrived", {"ok": True})
        assert (await until(client, acme, new, workflow_status="Completed"))["started_by"] == str(
            acme.admin_id
        )
    assert (await call(client, acme, RESTART, query=query)).json()["matched_count"] == 0


async def test_those_whose_state_does_not_allow_it_any_more_are_passed_over(
    client: httpx.AsyncClient, world: World, paused: None
) -> None:
    acme = world.acme
    urls = [await trigger(client, acme, "waiting", {}) for _ in range(4)]
    action = await begun(client, acme, CANCEL)
    await act(client, acme, urls[0], "cancel", status=200)
    await act(client, acme, urls[1], "cancel", status=200)
    await act(client, acme, urls[1], "delete", status=204)
    late = await trigger(client, acme, "waiting", {})
    assert await take_batch()
    done = await ended(client, acme, action)
    assert (done["total_count"], done["done_count"], done["skipped_count"]) == (4, 2, 2)
    assert (await read(client, acme, late))["workflow_status"] == "In Progress"


async def test_it_goes_on_where_a_killed_worker_left_it(
    client: httpx.AsyncClient, world: World, paused: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that was not committed has not happened; its lease runs out, and another worker takes over."""
    acme = world.acme
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id], 1200)
    action = await begun(client, acme, CANCEL)
    assert await take_batch()
    await batch_killed(monkeypatch)
    halfway = (await client.get(action, headers=bearer(acme.admin))).json()
    assert (halfway["status"], halfway["done_count"]) == ("running", bulk.BATCH)
    assert not await take_batch()  # the lease of the killed one still holds
    await execute(acme, "UPDATE bulk_action SET leased_until = now()")
    while await take_batch():
        pass
    done = await ended(client, acme, action)
    assert (done["status"], done["done_count"], done["skipped_count"]) == ("completed", 120, 0)
    assert (await statuses(acme))["cancelled"] == 120
    async with rows_of(acme.id) as connection:
        events = await connection.fetch("SELECT instance_id FROM event WHERE type = 'instance.cancelled'")
    assert len(events) == len({row["instance_id"] for row in events}) == 120


class KilledError(BaseException):
    """Ends a worker in the middle of a batch."""


async def batch_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do a batch whose worker dies at its end."""

    async def die(*_: Any) -> None:
        raise KilledError

    with monkeypatch.context() as dying:
        dying.setattr(bulk, "counted", die)
        with pytest.raises(KilledError):
            await take_batch()


async def test_an_instance_that_cannot_be_done_is_counted_and_the_others_are_done(
    client: httpx.AsyncClient, world: World, paused: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = world.acme
    urls = [await trigger(client, acme, "waiting", {}) for _ in range(3)]
    action = await begun(client, acme, CANCEL)
    odd = min(UUID(url.rpartition("/")[2]) for url in urls)
    plain = bulk.cancelled

    async def cancelled(row: Any, targets: Any) -> int:
        if odd in targets:
            raise ZeroDivisionError
        return await plain(row, targets)

    monkeypatch.setattr(bulk, "cancelled", cancelled)
    while await take_batch():
        pass
    done = await ended(client, acme, action)
    assert (done["done_count"], done["skipped_count"], done["failed_count"]) == (2, 0, 1)


@EACH_OUTAGE
async def test_no_instance_is_passed_over_as_connections_break_off(
    client: httpx.AsyncClient, world: World, paused: None, monkeypatch: pytest.MonkeyPatch, outage: Exception
) -> None:
    await trigger(client, world.acme, "waiting", {})
    action = await begun(client, world.acme, CANCEL)
    plain, outages = bulk.cancelled, iter([outage, outage])

    async def breaking(row: Any, targets: Any) -> int:
        for error in outages:
            raise error
        return await plain(row, targets)

    monkeypatch.setattr(bulk, "cancelled", breaking)
    for _ in range(2):
        with pytest.raises(OUTAGE):
            await bulk.perform(world.acme.id, UUID(action.rpartition("/")[2]))
    await bulk.perform(world.acme.id, UUID(action.rpartition("/")[2]))
    done = await ended(client, world.acme, action)
    assert (done["done_count"], done["failed_count"]) == (1, 0)


async def test_no_instance_is_passed_over_as_the_database_is_slow(
    client: httpx.AsyncClient, world: World, paused: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that takes too long is tried as one instance; that one is left for the next time."""
    await trigger(client, world.acme, "waiting", {})
    action = await begun(client, world.acme, CANCEL)
    with monkeypatch.context() as slow:
        slow.setattr(bulk, "cancelled", slept)
        with pytest.raises(SlowStatementError):
            await bulk.perform(world.acme.id, UUID(action.rpartition("/")[2]))
    assert not await take_batch()  # it is put off
    await bulk.perform(world.acme.id, UUID(action.rpartition("/")[2]))
    done = await ended(client, world.acme, action)
    assert (done["done_count"], done["failed_count"]) == (1, 0)


async def test_who_takes_up_what_another_worker_is_still_at_waits_for_nothing(
    client: httpx.AsyncClient, world: World, paused: None
) -> None:
    await trigger(client, world.acme, "waiting", {})
    action = await begun(client, world.acme, CANCEL)
    action_id = UUID(action.rpartition("/")[2])
    async with connected(superuser()) as other, other.transaction():
        await other.execute("SELECT FROM bulk_action WHERE id = $1 FOR UPDATE", action_id)
        async with asyncio.timeout(10):
            await bulk.perform(world.acme.id, action_id)
    assert (await read(client, world.acme, action))["done_count"] == 0
    await bulk.perform(world.acme.id, action_id)
    assert (await ended(client, world.acme, action))["done_count"] == 1


async def slept(*_: object) -> int:
    """Give PostgreSQL a statement that takes longer than it may."""
    connection = current_connection()
    await connection.execute("SET LOCAL statement_timeout = 50")
    return int(await connection.fetchval("SELECT count(*) FROM pg_sleep(10)"))


async def test_an_account_with_many_does_not_hold_up_another_one(
    client: httpx.AsyncClient, world: World, paused: None
) -> None:
    acme, globex = world.acme, world.globex
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id], 3000)
    for starter in range(3):
        await execute(
            acme,
            "UPDATE instance SET started_by = $1 WHERE ctid IN (SELECT ctid FROM instance WHERE started_by = $2 LIMIT $3)",
            UUID(int=starter + 1),
            acme.admin_id,
            1000,
        )
        await begun(client, acme, CANCEL, query={"started_by_id": str(UUID(int=starter + 1))})
    await trigger(client, globex, "waiting", {})
    action = await begun(client, globex, CANCEL)
    for _ in range(2):
        assert await take_batch()
    assert (await ended(client, globex, action))["done_count"] == 1


async def test_one_that_runs_is_stopped_and_what_it_has_done_stays_done(
    client: httpx.AsyncClient, world: World, paused: None
) -> None:
    acme = world.acme
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id], 1000)
    action = await begun(client, acme, CANCEL)
    assert await take_batch()
    stopped = await client.post(f"{action}/actions/cancel", headers=bearer(acme.admin))
    assert (stopped.status_code, stopped.json()["status"]) == (200, "cancelled")
    assert not await take_batch()
    assert (await statuses(acme))["cancelled"] == bulk.BATCH == stopped.json()["done_count"]
    assert_refused(await client.post(f"{action}/actions/cancel", headers=bearer(acme.admin)), 409)


async def test_an_account_has_ten_at_a_time(client: httpx.AsyncClient, world: World, paused: None) -> None:
    acme = world.acme
    for _ in range(10):
        await trigger(client, acme, "waiting", {})
        await begun(client, acme, CANCEL)
    refusal = await call(client, acme, CANCEL, confirm_count=10)
    assert_refused(refusal, 409)
    assert "10 bulk actions" in refusal.json()["detail"]


async def test_ten_at_a_time_are_ten_when_many_are_begun_at_once(
    client: httpx.AsyncClient, world: World, paused: None
) -> None:
    acme = world.acme
    await trigger(client, acme, "waiting", {})
    answers = await asyncio.gather(*(call(client, acme, CANCEL, confirm_count=1) for _ in range(14)))
    assert Counter(answer.status_code for answer in answers) == {202: 10, 409: 4}


async def test_they_are_for_administrators_and_machines(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    action = await begun(client, acme, CANCEL)
    for verb in (CANCEL, RESTART):
        assert_refused(await call(client, acme, verb, acme.member), 403)
        assert (await call(client, acme, verb, acme.machine)).status_code == 200
    for url in (f"{acme.url}/bulk-actions", action):
        assert_refused(await client.get(url, headers=bearer(acme.member)), 403)
        assert (await client.get(url, headers=bearer(acme.machine))).status_code == 200
    assert_refused(await client.post(f"{action}/actions/cancel", headers=bearer(acme.member)), 403)


async def test_another_accounts_is_a_missing_one(client: httpx.AsyncClient, world: World) -> None:
    acme, globex = world.acme, world.globex
    foreign = (await begun(client, globex, CANCEL)).rpartition("/")[2]
    for identifier in (foreign, str(uuid4())):
        url = f"{acme.url}/bulk-actions/{identifier}"
        assert_refused(await client.get(url, headers=bearer(acme.admin)), 404)
        assert_refused(await client.post(f"{url}/actions/cancel", headers=bearer(acme.admin)), 404)


async def test_they_are_listed_newest_first_page_by_page(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    made = [(await begun(client, acme, CANCEL)).rpartition("/")[2] for _ in range(5)]
    url: str | None = f"{acme.url}/bulk-actions?page_size=2"
    found = []
    while url is not None:
        page = await client.get(url, headers=bearer(acme.admin))
        found += [one["id"] for one in page.json()["data"]]
        token = page.json()["response_metadata"].get("page_token_next")
        url = token and f"{acme.url}/bulk-actions?page_size=2&ctoken={token}"
    assert found == made[::-1]


async def test_more_than_100000_instances_are_refused(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.operations.bulk.MOST_INSTANCES", 2)
    for _ in range(3):
        await trigger(client, world.acme, "waiting", {})
    refusal = await call(client, world.acme, CANCEL)
    assert_refused(refusal, 400)
    assert "narrow the filter" in refusal.json()["detail"]


async def test_the_running_ones_are_found_along_an_index(world: World) -> None:
    """However many have ended."""
    acme = world.acme
    statement = (
        "INSERT INTO bulk_action (id, account_id, verb, options, filters, status, total, done, skipped, failed,"
        " created_by, created_by_name, created_at, leased_until)"
        " SELECT gen_random_uuid(), $1, 'cancel', '{}', '{}', 'completed', 0, 0, 0, 0, $1, '', now(), now()"
        " FROM generate_series(1, 5000)"
    )
    await execute(acme, statement, acme.id)
    await execute(acme, "ANALYZE bulk_action")
    await analyze()
    async with rows_of(acme.id) as connection:
        plan = await connection.fetch(
            "EXPLAIN SELECT id FROM bulk_action WHERE status = 'running' ORDER BY leased_until LIMIT 1"
        )
        page = await connection.fetch(
            "EXPLAIN SELECT id FROM bulk_action WHERE account_id = $1 ORDER BY created_at DESC, id DESC LIMIT 50",
            acme.id,
        )
    assert "bulk_action_running" in str(plan)
    assert "bulk_action_newest" in str(page)
