"""Events of an account: who gets them, how often, and what becomes of those that nobody takes."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec
import pytest

from auth.bearer import Operator
from service.engine import inbox, listeners
from service.engine.effects import publish
from service.engine.messages import Listen
from service.engine.queue import Job
from service.language.cloudevents import LARGEST_EVENT
from service.operations import events
from tenancy.faults import DatabaseAwayError
from tenancy.rows import rows_of
from tests.maestro.rows import insert_instances
from tests.waiting import eventually
from tests.world import Tenant, World, bearer, trigger, until, until_waiting

ARRIVED = {"specversion": "1.0", "id": "1", "source": "urn:shop", "type": "goods.arrived", "data": {"sku": 7}}


@pytest.fixture
async def acme(world: World) -> Tenant:
    """One of the accounts."""
    return world.acme


async def instances(of: Tenant, count: int) -> list[UUID]:
    """Store instances that have not ended, whose jobs no worker has; return their ids in order."""
    await insert_instances(of.id, of.workflows["waiting"], [of.admin_id], count)
    async with rows_of(of.id) as connection:
        await connection.execute("UPDATE instance SET status = 'waiting', ended_at = NULL")
        rows = await connection.fetch("SELECT id FROM instance ORDER BY id")
    return [row["id"] for row in rows]


async def listen(of: Tenant, ids: Iterable[UUID], *types: str | None) -> None:
    """Let instances listen for types of events."""
    async with rows_of(of.id):
        await listeners.store(of.id, [(identifier, Listen(1, types)) for identifier in ids])


async def queued(of: Tenant, event: dict[str, Any]) -> Job:
    """Write a job that delivers an event, leased so that no worker takes it."""
    payload = msgspec.json.encode(event)
    async with rows_of(of.id) as connection:
        identifier = await connection.fetchval(
            "INSERT INTO job (account_id, lane, reason, payload, leased_until)"
            " VALUES ($1, 'perform', 'publish', $2, now() + interval '1 hour') RETURNING id",
            of.id,
            payload,
        )
    return Job(of.id, None, "publish", payload=payload, id=identifier)


async def rows(of: Tenant, statement: str, *arguments: object) -> list[asyncpg.Record]:
    """Ask for rows of the account."""
    async with rows_of(of.id) as connection:
        return await connection.fetch(statement, *arguments)


@pytest.fixture
async def nobody_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the worker from jobs, so that a test can look at what is written for it."""

    async def nothing(*_: object, **__: object) -> list[Job]:
        await asyncio.sleep(0.05)
        return []

    monkeypatch.setattr("service.engine.turns.claim", nothing)


# --- Who listens --------------------------------------------------------------------------------------------------


async def test_listeners_are_what_instances_listen_for(acme: Tenant) -> None:
    first, second = await instances(acme, 2)
    async with rows_of(acme.id):
        await listeners.store(
            acme.id,
            [(first, Listen(3, ("a", "b"))), (second, Listen(3, (None,))), (second, Listen(4, ("c",)))],
        )
    assert await listening(acme) == {(first, 3, "a"), (first, 3, "b"), (second, 3, None), (second, 4, "c")}
    async with rows_of(acme.id):
        await listeners.forget(acme.id, [(first, 3), (second, 4), (second, 9)])
    assert await listening(acme) == {(second, 3, None)}
    async with rows_of(acme.id):
        await listeners.store(acme.id, [])
        await listeners.forget(acme.id, [])


async def listening(of: Tenant) -> set[tuple[UUID, int, str | None]]:
    """Return the listeners of the account."""
    return {tuple(row) for row in await rows(of, "SELECT instance_id, wait, type FROM listener")}


# --- Delivery by a job --------------------------------------------------------------------------------------------


async def test_an_event_goes_to_those_who_listen_for_its_type_or_for_any(
    nobody_works: None, world: World
) -> None:
    by_type, of_any, of_another, twice = await instances(world.acme, 4)
    await listen(world.acme, [by_type], "goods.arrived")
    await listen(world.acme, [of_any], None)
    await listen(world.acme, [of_another], "goods.lost")
    await listen(world.acme, [twice], "goods.arrived", None)
    (stranger,) = await instances(world.globex, 1)
    await listen(world.globex, [stranger], "goods.arrived", None)

    await publish.perform(world.acme.sandbox, await queued(world.acme, ARRIVED))

    signals = await rows(world.acme, "SELECT instance_id, event, kept FROM signal")
    assert sorted(row["instance_id"] for row in signals) == sorted([by_type, of_any, twice])
    assert all(msgspec.json.decode(row["event"]) == ARRIVED for row in signals)
    assert not any(row["kept"] for row in signals)
    jobs = await rows(world.acme, "SELECT instance_id, lane, reason FROM job")
    assert sorted(tuple(row) for row in jobs) == sorted(
        (identifier, "advance", "event") for identifier in (by_type, of_any, twice)
    )
    assert await rows(world.globex, "SELECT FROM signal") == []


async def test_ten_thousand_listeners_get_an_event_in_pages_each_a_transaction(
    nobody_works: None, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await instances(acme, 1_250)
    await listen(acme, ids, "goods.arrived")
    sizes: list[int] = []
    put = inbox.put

    async def counted(account_id: UUID, page: list[UUID], *arguments: Any, **options: Any) -> int:
        sizes.append(len(page))
        return await put(account_id, page, *arguments, **options)

    monkeypatch.setattr(inbox, "put", counted)
    await publish.perform(acme.sandbox, await queued(acme, ARRIVED))
    assert sizes == [500, 500, 250]
    signals = await rows(acme, "SELECT instance_id FROM signal ORDER BY instance_id")
    assert [row["instance_id"] for row in signals] == ids
    assert {row["reason"] for row in await rows(acme, "SELECT reason FROM job")} == {"event"}


async def test_a_delivery_that_is_cut_off_goes_on_where_it_was(
    nobody_works: None, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those on the pages before may have taken the event, and even listen for another by then."""
    ids = await instances(acme, 40)
    await listen(acme, ids, "goods.arrived")
    monkeypatch.setattr(publish, "PAGE", 15)
    job = await queued(acme, ARRIVED)
    put, pages = inbox.put, iter(range(2))

    async def cut_off(*arguments: Any, **options: Any) -> int:
        given = await put(*arguments, **options)
        if next(pages):
            raise ConnectionResetError
        return given

    monkeypatch.setattr(inbox, "put", cut_off)
    with pytest.raises(DatabaseAwayError):
        await publish.perform(acme.sandbox, job)
    monkeypatch.setattr(inbox, "put", put)
    taken = await rows(acme, "DELETE FROM signal RETURNING instance_id")
    assert sorted(row["instance_id"] for row in taken) == ids[:15]

    await publish.perform(acme.sandbox, job)
    signals = await rows(acme, "SELECT instance_id FROM signal ORDER BY instance_id")
    assert [row["instance_id"] for row in signals] == ids[15:]


async def test_a_job_that_has_been_done_delivers_nothing(nobody_works: None, acme: Tenant) -> None:
    ids = await instances(acme, 2)
    await listen(acme, ids, "goods.arrived")
    job = await queued(acme, ARRIVED)
    await asyncio.gather(*(publish.perform(acme.sandbox, job) for _ in range(4)))
    taken = await rows(acme, "DELETE FROM signal RETURNING id")
    assert len(taken) == 2
    await publish.perform(acme.sandbox, job)
    assert await rows(acme, "SELECT FROM signal") == []
    assert len(await rows(acme, "SELECT FROM job")) == 2


# --- Inboxes ------------------------------------------------------------------------------------------------------


async def test_the_same_event_is_in_an_inbox_once_and_kept_if_it_was_sent_to_it(
    nobody_works: None, acme: Tenant
) -> None:
    (one,) = await instances(acme, 1)
    for kept, given in ((False, 1), (False, 0), (True, 1), (True, 0), (False, 0)):
        async with rows_of(acme.id):
            assert await inbox.put(acme.id, [one], ARRIVED, kept=kept) == given
    assert [row["kept"] for row in await rows(acme, "SELECT kept FROM signal")] == [True]
    assert len(await rows(acme, "SELECT FROM job")) == 1


async def test_many_events_are_looked_at_by_one_job_unless_it_is_under_way(
    nobody_works: None, acme: Tenant
) -> None:
    ids = await instances(acme, 3)
    for number in range(20):
        assert await put(acme, ids, ARRIVED | {"id": str(number)}) == 3
    assert len(await rows(acme, "SELECT FROM job")) == 3
    await rows(acme, "UPDATE job SET leased_until = now() + '1 minute' WHERE instance_id = $1", ids[0])
    assert await put(acme, ids, ARRIVED | {"id": "later"}) == 3
    jobs = await rows(acme, "SELECT instance_id FROM job WHERE leased_until IS NULL")
    assert sorted(row["instance_id"] for row in jobs) == ids


async def test_a_full_inbox_takes_no_event_and_an_ended_instance_none(
    nobody_works: None, acme: Tenant
) -> None:
    full, ended, last = await instances(acme, 3)
    async with rows_of(acme.id) as connection:
        await connection.execute("UPDATE instance SET ended_at = now() WHERE id = $1", ended)
        for number in range(inbox.KEPT_EVENTS):
            assert await inbox.put(acme.id, [full], ARRIVED | {"id": str(number)}, kept=True) == 1
        living = await inbox.locked(acme.id, [full, ended, last])
        assert living == [full, last]
        assert await inbox.put(acme.id, living, ARRIVED | {"id": "more"}, kept=False) == 1
    more = await rows(acme, "SELECT instance_id FROM signal WHERE NOT kept")
    assert [row["instance_id"] for row in more] == [last]


async def put(of: Tenant, ids: Iterable[UUID], event: dict[str, Any], *, kept: bool = True) -> int:
    """Send an event to instances; return how many of them it is given to."""
    async with rows_of(of.id):
        return await inbox.put(of.id, await inbox.locked(of.id, list(ids)), event, kept=kept)


async def take(of: Tenant, instance_id: UUID) -> None:
    """Let an instance take all that waits for it."""
    waiting = await rows(of, "SELECT id FROM signal WHERE instance_id = $1", instance_id)
    async with rows_of(of.id):
        await inbox.drop([row["id"] for row in waiting])


async def test_an_event_that_was_taken_is_given_to_nobody_twice(nobody_works: None, acme: Tenant) -> None:
    taker, other = await instances(acme, 2)
    assert await put(acme, [taker, other], ARRIVED) == 2
    await take(acme, taker)
    for kept in (True, False):
        assert await put(acme, [taker], ARRIVED, kept=kept) == 0
    assert await put(acme, [taker], ARRIVED | {"source": "urn:another"}) == 1
    assert await put(acme, [taker], ARRIVED | {"id": "2"}) == 1
    await take(acme, other)
    assert await put(acme, [taker, other], ARRIVED) == 0
    await rows(acme, "DELETE FROM instance WHERE id = $1", taker)
    left = await rows(acme, "SELECT instance_id FROM taken_event")
    assert [row["instance_id"] for row in left] == [other]


async def test_an_event_that_was_offered_in_vain_may_come_again(nobody_works: None, acme: Tenant) -> None:
    (one,) = await instances(acme, 1)
    assert await put(acme, [one], ARRIVED, kept=False) == 1
    (signal,) = await rows(acme, "SELECT id FROM signal")
    async with rows_of(acme.id):
        await inbox.drop([], [signal["id"]])
        await inbox.drop([])
    assert await rows(acme, "SELECT FROM signal") == []
    assert await put(acme, [one], ARRIVED) == 1


async def test_of_the_events_that_an_instance_has_taken_the_latest_are_known(
    nobody_works: None, acme: Tenant
) -> None:
    many, few = await instances(acme, 2)
    known = inbox.KNOWN_EVENTS
    await put(acme, [few], ARRIVED)
    await take(acme, few)
    await rows(
        acme,
        "INSERT INTO taken_event (account_id, instance_id, event_key)"
        " SELECT current_account(), $1, number::text FROM generate_series(1, $2::integer) AS number",
        many,
        known + 7,
    )
    await put(acme, [many], ARRIVED)
    await take(acme, many)
    left = await rows(acme, "SELECT event_key FROM taken_event WHERE instance_id = $1 ORDER BY id", many)
    assert [row["event_key"] for row in left[:-1]] == [str(number) for number in range(8, known + 8)]
    assert left[-1]["event_key"] == inbox.key_of(ARRIVED)
    assert await put(acme, [many, few], ARRIVED) == 0


async def test_what_nobody_has_taken_for_seven_days_is_deleted_whosever_it_is(
    nobody_works: None, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "SWEPT_AT_ONCE", 2)
    for tenant in (world.acme, world.globex):
        (one,) = await instances(tenant, 1)
        for number in range(5):
            await put(tenant, [one], ARRIVED | {"id": str(number)}, kept=number != 4)
        age = "UPDATE signal SET received_at = now() - $2::interval WHERE event_key = $1"
        for number in (0, 1, 4):
            await rows(tenant, age, inbox.key_of(ARRIVED | {"id": str(number)}), timedelta(days=7, seconds=1))
        await rows(tenant, age, inbox.key_of(ARRIVED | {"id": "2"}), timedelta(days=6, hours=23))
    assert sum(await asyncio.gather(inbox.sweep(), inbox.sweep())) == 4
    assert await inbox.sweep() == 0
    for tenant in (world.acme, world.globex):
        left = {row["event_key"] for row in await rows(tenant, "SELECT event_key FROM signal")}
        assert left == {inbox.key_of(ARRIVED | {"id": number}) for number in ("2", "3", "4")}


@pytest.mark.parametrize("table", ["job", "timer", "signal", "listener", "taken_event", "task_run"])
async def test_tables_whose_rows_come_and_go_are_vacuumed_early(world: World, table: str) -> None:
    (row,) = await rows(world.acme, "SELECT reloptions FROM pg_class WHERE oid = $1::text::regclass", table)
    assert {"autovacuum_vacuum_scale_factor=0.02", "autovacuum_vacuum_threshold=500"} <= set(
        row["reloptions"] or []
    )


# --- From outside -------------------------------------------------------------------------------------------------


async def test_publishing_answers_202_with_the_whole_event_and_who_listened(
    nobody_works: None, client: httpx.AsyncClient, acme: Tenant
) -> None:
    ids = await instances(acme, 3)
    await listen(acme, ids[:2], "goods.arrived")
    answer = await send(client, acme, {"type": "goods.arrived", "data": {"sku": 7}})
    assert answer.status_code == 202
    body = answer.json()
    assert body["delivered_to"] == 2
    event = body["event"]
    assert event["data"] == {"sku": 7}
    assert (event["specversion"], event["source"]) == ("1.0", f"urn:uuid:{acme.admin_id}")
    assert {"id", "time"} <= event.keys()
    signals = await rows(acme, "SELECT instance_id, event FROM signal")
    assert sorted(row["instance_id"] for row in signals) == ids[:2]
    assert all(msgspec.json.decode(row["event"]) == event for row in signals)
    (told,) = await rows(acme, "SELECT actor, data FROM event WHERE type = 'event.published'")
    assert (told["actor"], msgspec.json.decode(told["data"])) == (acme.admin_id, {"type": "goods.arrived"})


async def test_an_event_that_many_listen_for_is_left_to_a_job(nobody_works: None, acme: Tenant) -> None:
    await listen(acme, await instances(acme, events.AT_ONCE + 1), "goods.arrived")
    published = await events.publish(Operator(acme.id), {"type": "goods.arrived"})
    assert published.listening == events.AT_ONCE + 1
    assert await rows(acme, "SELECT FROM signal") == []
    (job,) = await rows(acme, "SELECT lane, reason, payload FROM job")
    assert (job["lane"], job["reason"]) == ("perform", "publish")
    assert msgspec.json.decode(job["payload"]) == published.event


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ({"data": 1}, 400),
        ({"type": ""}, 400),
        ({"type": "a", "data": "\0"}, 400),
        ({"type": "a", "Bad Name": "x"}, 400),
        ({"type": "a", "data": "x" * LARGEST_EVENT}, 413),
    ],
    ids=["no type", "empty type", "NUL", "no attribute", "too large"],
)
async def test_what_is_no_event_is_refused(
    client: httpx.AsyncClient, acme: Tenant, event: dict[str, Any], status: int
) -> None:
    assert (await send(client, acme, event)).status_code == status
    assert await rows(acme, "SELECT FROM event WHERE type = 'event.published'") == []


async def test_an_event_that_nobody_listens_for_is_not_kept(client: httpx.AsyncClient, acme: Tenant) -> None:
    answer = await send(client, acme, {"type": "goods.arrived"})
    assert (answer.status_code, answer.json()["delivered_to"]) == (202, 0)
    url = await trigger(client, acme, "waiting", {})
    await until_waiting(client, acme, url)
    answer = await send(client, acme, {"type": "goods.arrived", "data": "now"})
    assert answer.json()["delivered_to"] == 1
    instance = await until(client, acme, url, workflow_status="Completed")
    assert instance["output"] == {"received": "now"}


async def test_an_event_of_the_account_reaches_all_of_its_instances_and_no_other_accounts(
    client: httpx.AsyncClient, world: World
) -> None:
    urls = [await trigger(client, world.acme, "waiting", {}) for _ in range(3)]
    foreign = await trigger(client, world.globex, "waiting", {})
    for url in urls:
        await until_waiting(client, world.acme, url)
    await until_waiting(client, world.globex, foreign)
    answer = await send(client, world.acme, {"type": "goods.arrived", "data": 5})
    assert answer.json()["delivered_to"] == 3
    for url in urls:
        instance = await until(client, world.acme, url, workflow_status="Completed")
        assert instance["output"] == {"received": 5}
    await until_waiting(client, world.globex, foreign)


async def test_what_an_instance_emits_reaches_those_who_listen(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    await acme.publish(
        {
            "document": {"dsl": "1.0.3", "namespace": "tests", "name": "telling", "version": "1.0.0"},
            "do": [
                {
                    "tell": {
                        "emit": {
                            "event": {
                                "with": {"source": "urn:shop", "type": "goods.arrived", "data": "${ .what }"}
                            }
                        }
                    }
                }
            ],
        }
    )
    url = await trigger(client, acme, "waiting", {})
    await until_waiting(client, acme, url)
    told = await trigger(client, acme, "telling", {"what": "news"})
    await until(client, acme, told, workflow_status="Completed")
    instance = await until(client, acme, url, workflow_status="Completed")
    assert instance["output"] == {"received": "news"}


async def test_workflows_that_start_one_another_by_events_come_to_an_end(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    head = {"dsl": "1.0.3", "namespace": "tests", "name": "chain", "version": "1.0.0"}
    emitted = {"emit": {"event": {"with": {"source": "urn:tests", "type": "chain.link"}}}}
    schedule = {"on": {"one": {"with": {"type": "chain.link"}}}}
    await acme.publish({"document": head, "schedule": schedule, "do": [{"next": emitted}]})
    event = {"type": "chain.link"}
    assert (
        await client.post(f"{acme.url}/events", json=event, headers=bearer(acme.machine))
    ).status_code == 202
    refused = "SELECT data FROM event WHERE type = 'schedule.refused'"
    found = await eventually(lambda: rows(acme, refused), 30)
    assert "10 deep" in str(found[0]["data"])
    depths = await rows(acme, "SELECT depth FROM instance ORDER BY depth")
    assert [row["depth"] for row in depths] == list(range(11))


async def test_events_that_come_while_one_is_worked_on_wait_for_their_turn(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    work = [{"take": {"wait": {"milliseconds": 300}}}, {"tell": {"set": {"got": "${ $one }"}}}]
    hear = {
        "listen": {"to": {"any": [{"with": {"type": "goods.arrived"}}], "until": "length == 3"}},
        "foreach": {"item": "one", "do": work},
    }
    head = {"dsl": "1.0.3", "namespace": "tests", "name": "working", "version": "1.0.0"}
    await acme.publish({"document": head, "do": [{"hear": hear}]})
    url = await trigger(client, acme, "working", {})
    await eventually(lambda: listening(acme), 20)
    for number in range(3):
        await send(client, acme, {"type": "goods.arrived", "data": number})
    instance = await until(client, acme, url, workflow_status="Completed")
    assert instance["output"] == [{"got": 0}, {"got": 1}, {"got": 2}]
    assert await rows(acme, "SELECT FROM signal") == []


@pytest.mark.parametrize("first", ["signal", "publish"])
async def test_the_same_event_again_satisfies_no_second_task(
    client: httpx.AsyncClient, acme: Tenant, first: str
) -> None:
    hear = {"listen": {"to": {"one": {"with": {"type": "goods.arrived"}}}}}
    head = {"dsl": "1.0.3", "namespace": "tests", "name": "twice", "version": "1.0.0"}
    await acme.publish({"document": head, "do": [{"one": hear}, {"two": hear}]})
    url = await trigger(client, acme, "twice", {})
    await eventually(lambda: listening(acme), 20)

    async def signal(event: dict[str, Any]) -> None:
        await client.post(f"{url}/actions/signal", json=event, headers=bearer(acme.admin))

    if first == "signal":
        await signal(ARRIVED)
    else:
        await send(client, acme, ARRIVED)
    await until_waiting(client, acme, url)
    await signal(ARRIVED)
    await send(client, acme, ARRIVED)
    await signal(ARRIVED | {"id": "2", "data": "another"})
    instance = await until(client, acme, url, workflow_status="Completed")
    assert instance["output"] == ["another"]
    assert await rows(acme, "SELECT FROM taken_event") == []


async def test_an_event_of_the_account_that_no_task_wants_is_dropped_and_one_sent_to_the_instance_kept(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    wanted = {"type": "goods.arrived", "data": {"sku": 7}}
    hear = {"listen": {"to": {"one": {"with": wanted}}}}
    head = {"dsl": "1.0.3", "namespace": "tests", "name": "choosing", "version": "1.0.0"}
    await acme.publish({"document": head, "do": [{"hear": hear}]})
    url = await trigger(client, acme, "choosing", {})
    async with asyncio.timeout(20):
        await eventually(lambda: listening(acme), 20)
        unwanted = {"type": "goods.arrived", "data": {"sku": 8}}
        await client.post(f"{url}/actions/signal", json=unwanted, headers=bearer(acme.admin))
        assert (await send(client, acme, unwanted)).json()["delivered_to"] == 1
        while len(found := await rows(acme, "SELECT kept FROM signal")) != 1:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)
    assert [row["kept"] for row in found] == [True]
    await send(client, acme, wanted)
    await until(client, acme, url, workflow_status="Completed")


async def send(client: httpx.AsyncClient, of: Tenant, event: dict[str, Any]) -> httpx.Response:
    """Publish an event as the account's administrator."""
    return await client.post(f"{of.url}/events", json=event, headers=bearer(of.admin))
