"""Workflows that start by themselves: when, how often, with what, and never twice."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec
import pytest

from auth.bearer import Credential, Operator, hash_of
from auth.scopes import MAESTRO
from service.engine import schedules
from service.engine.effects import publish
from service.engine.queue import Job
from service.engine.schedules import fire_due_schedules, interval, next_after, next_multiple
from service.language.document import Schedule
from service.language.durations import duration
from service.language.durations import until as after
from service.operations import workflows
from tenancy.faults import DatabaseAwayError
from tenancy.postgres import connected
from tenancy.rows import current_connection, rows_of
from tests.tenancy.databases import superuser
from tests.waiting import eventually
from tests.world import Tenant, World, bearer, until

DONE = [{"done": {"set": {"got": "${ . }"}}}]
ARRIVED = {"type": "goods.arrived"}


def document(schedule: Any, version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    """Write a definition with a schedule, or without one."""
    head = {"dsl": "1.0.3", "namespace": "tests", "name": "nightly", "version": version, "title": "Nightly"}
    scheduled = {} if schedule is None else {"schedule": schedule}
    return {"document": head, **scheduled, "do": DONE, **more}


@pytest.fixture
async def acme(world: World) -> Tenant:
    """One of the accounts."""
    return world.acme


@pytest.fixture
async def nobody_fires(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the worker from schedules: the test says when they are looked at."""

    async def nothing() -> int:
        return 0

    monkeypatch.setattr("service.engine.worker.schedules.fire_due_schedules", nothing)


async def rows(of: Tenant, statement: str, *arguments: object) -> list[asyncpg.Record]:
    """Ask for rows of the account."""
    async with rows_of(of.id) as connection:
        return await connection.fetch(statement, *arguments)


async def schedule(of: Tenant) -> asyncpg.Record:
    """Return the account's only schedule."""
    (row,) = await rows(of, "SELECT * FROM schedule")
    return row


async def started(of: Tenant) -> list[asyncpg.Record]:
    """Return the instances that schedules have started, oldest first."""
    return await rows(of, "SELECT * FROM instance WHERE schedule_id IS NOT NULL ORDER BY started_at, id")


async def eventually_started(of: Tenant, count: int) -> list[asyncpg.Record]:
    """Wait until schedules have started so many instances."""

    async def look() -> list[asyncpg.Record] | None:
        found = await started(of)
        return found if len(found) >= count else None

    return await eventually(look, 20)


async def due(of: Tenant, at: datetime) -> None:
    """Let every schedule of the account be due since then."""
    await rows(of, "UPDATE schedule SET next_at = $1", at)


def ago(**length: int) -> datetime:
    """Return a time that has passed, by the database's precision."""
    return datetime.now(UTC) - timedelta(**length)


# --- Times --------------------------------------------------------------------------------------------------------

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("every", "now", "tick"),
    [
        ("PT10S", "2026-01-31T12:00:00", "2026-01-31T12:00:10"),
        ("PT10S", "2026-01-31T12:00:09.999", "2026-01-31T12:00:10"),
        ("PT10S", "2026-01-31T12:00:10", "2026-01-31T12:00:20"),
        ("PT10S", "2027-01-31T12:00:03", "2027-01-31T12:00:10"),
        ("PT1.5S", "2026-02-01T12:00:01", "2026-02-01T12:00:01.5"),
        ("P1M", "2026-01-31T12:00:00", "2026-02-28T12:00:00"),
        ("P1M", "2026-02-28T12:00:00", "2026-03-31T12:00:00"),
        ("P1M", "2029-05-31T11:59:59", "2029-05-31T12:00:00"),
        ("P1MT1H", "2026-02-28T13:00:00", "2026-03-31T14:00:00"),
    ],
)
def test_ticks_lie_at_multiples_of_the_interval_after_publishing(every: str, now: str, tick: str) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert next_multiple(duration(every), START, at) == datetime.fromisoformat(tick).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "tick"),
    [
        ("*/15 * * * *", "2026-01-31T12:15:00"),
        ("0 12 * * *", "2026-02-01T12:00:00"),
        ("30 9 * * MON", "2026-02-02T09:30:00"),
        ("0 0 29 2 *", "2028-02-29T00:00:00"),
    ],
)
def test_cron_names_times_in_utc(cron: str, tick: str) -> None:
    assert next_after(Schedule(cron=cron), START, START) == datetime.fromisoformat(tick).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["PT1.5S", "P1M", "P2Y3M4DT5H6M7.25S", "PT0.001S"])
async def test_the_database_reads_a_pause_as_we_do(world: World, text: str) -> None:
    start = datetime(2026, 1, 15, tzinfo=UTC)
    length = duration(text)
    statement = "SELECT $1::timestamptz + $2::text::interval AS moment"
    (row,) = await rows(world.acme, statement, start, interval(length))
    assert row["moment"] == after(length, start)


# --- What becomes of a schedule with its workflow -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kind", "first", "pause"),
    [
        ({"every": {"minutes": 10}}, "every", timedelta(minutes=10), None),
        ({"after": "P1DT2H"}, "after", timedelta(0), "P0MT93600.000000S"),
        ({"on": {"one": {"with": ARRIVED}}}, "on", None, None),
    ],
    ids=["every", "after", "on"],
)
async def test_publishing_writes_the_schedule_of_the_version(
    nobody_fires: None, acme: Tenant, given: Any, kind: str, first: timedelta | None, pause: str | None
) -> None:
    workflow_id = await acme.publish(document(given))
    row = await schedule(acme)
    (version,) = await rows(
        acme, "SELECT id, published_at FROM workflow_version WHERE workflow_id = $1", workflow_id
    )
    assert (row["workflow_id"], row["version_id"], row["kind"]) == (workflow_id, version["id"], kind)
    assert row["next_at"] == (None if first is None else version["published_at"] + first)
    assert (row["pause"], row["paused"], row["started_by_name"]) == (pause, False, "operator")


async def test_a_new_version_replaces_the_schedule_and_one_without_ends_it(
    nobody_fires: None, acme: Tenant
) -> None:
    await acme.publish(document({"every": "PT1H"}))
    first = await schedule(acme)
    await acme.publish(document({"every": "PT1H"}, "1.1.0"))
    second = await schedule(acme)
    assert second["id"] != first["id"]
    assert second["version_id"] != first["version_id"]
    await acme.publish(document(None, "1.2.0"))
    assert await rows(acme, "SELECT FROM schedule") == []


async def test_a_draft_has_no_schedule_and_an_archived_workflow_none_any_more(
    nobody_fires: None, acme: Tenant
) -> None:
    operator = Operator(acme.id)
    text = msgspec.json.encode(document({"every": "PT1H"}))
    stored = await workflows.create(operator, await workflows.draft(operator, acme.sandbox, text, "json"))
    assert await rows(acme, "SELECT FROM schedule") == []
    await workflows.publish(operator, stored.row["id"])
    assert len(await rows(acme, "SELECT FROM schedule")) == 1
    await workflows.archive(operator, stored.row["id"])
    assert await rows(acme, "SELECT FROM schedule") == []


# --- Ticks --------------------------------------------------------------------------------------------------------


async def test_a_tick_starts_an_instance_in_the_publishers_name_and_sets_the_next(
    nobody_fires: None, acme: Tenant
) -> None:
    publisher = Credential(hash_of(acme.admin), acme.id, MAESTRO)
    inputs = {"schema": {"document": {"properties": {"limit": {"type": "integer", "default": 5}}}}}
    text = msgspec.json.encode(document({"every": "PT1H"}, input=inputs))
    await workflows.put(publisher, await workflows.draft(publisher, acme.sandbox, text, "json"))
    published_at = (await schedule(acme))["next_at"] - timedelta(hours=1)
    at = ago(seconds=1)
    await due(acme, at)

    assert await fire_due_schedules() == 1
    (instance,) = await started(acme)
    assert instance["name"] == f"Nightly {at.isoformat(timespec='seconds')}"
    assert (instance["started_by"], instance["started_by_name"]) == (acme.admin_id, "Acme Admin")
    assert msgspec.json.decode(instance["trigger_inputs"]) == {"limit": 5}
    row = await schedule(acme)
    assert instance["schedule_id"] == row["id"]
    assert row["next_at"] == published_at + timedelta(hours=1)
    (told,) = await rows(acme, "SELECT * FROM event WHERE type = 'instance.triggered'")
    assert (told["instance_id"], told["actor"]) == (instance["id"], None)
    assert msgspec.json.decode(told["data"]) == {"schedule": str(row["id"])}
    assert await fire_due_schedules() == 0


async def test_ticks_that_were_missed_are_made_up_for_by_one(nobody_fires: None, acme: Tenant) -> None:
    await acme.publish(document({"every": "PT10S"}))
    first = (await schedule(acme))["next_at"]
    await due(acme, ago(days=30))
    assert await fire_due_schedules() == 1
    assert await fire_due_schedules() == 0
    row = await schedule(acme)
    assert row["next_at"] > datetime.now(UTC)
    assert (row["next_at"] - first) % timedelta(seconds=10) == timedelta(0)


async def test_workers_that_look_at_once_start_a_tick_once(nobody_fires: None, world: World) -> None:
    for tenant in (world.acme, world.globex):
        for number in range(5):
            given = document({"every": "PT1H"})
            given["document"]["name"] = f"nightly-{number}"
            await tenant.publish(given)
    for _ in range(4):
        for tenant in (world.acme, world.globex):
            await due(tenant, ago(seconds=1))
        assert sum(await asyncio.gather(*(fire_due_schedules() for _ in range(8)))) == 10
    for tenant in (world.acme, world.globex):
        counts = Counter(row["schedule_id"] for row in await started(tenant))
        assert list(counts.values()) == [4] * 5


async def test_a_tick_that_another_worker_has_under_way_is_left_to_it(
    nobody_fires: None, acme: Tenant
) -> None:
    await acme.publish(document({"every": "PT1H"}))
    await due(acme, ago(seconds=1))
    async with connected(superuser()) as other, other.transaction():
        await other.execute("SELECT FROM schedule FOR UPDATE")
        async with asyncio.timeout(5):
            assert await fire_due_schedules() == 0
    assert await fire_due_schedules() == 1


async def test_a_worker_that_dies_before_its_commit_loses_no_tick(
    nobody_fires: None, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await acme.publish(document({"every": "PT1H"}))
    at = ago(seconds=1)
    await due(acme, at)
    tick = schedules.tick

    async def dies(*arguments: Any) -> None:
        await tick(*arguments)
        raise ConnectionResetError

    monkeypatch.setattr(schedules, "tick", dies)
    with pytest.raises(DatabaseAwayError):
        await fire_due_schedules()
    assert await started(acme) == []
    assert (await schedule(acme))["next_at"] == at
    monkeypatch.setattr(schedules, "tick", tick)
    assert await fire_due_schedules() == 1
    assert len(await started(acme)) == 1


async def test_an_accounts_failing_schedules_hold_up_nobody_and_are_tried_again(
    nobody_fires: None, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for tenant in (world.acme, world.globex):
        await tenant.publish(document({"every": "PT1H"}))
        await due(tenant, ago(seconds=1))
    tick = schedules.tick

    async def fails(row: asyncpg.Record, definition: Any) -> None:
        if row["account_id"] == world.acme.id:
            raise ZeroDivisionError
        await tick(row, definition)

    monkeypatch.setattr(schedules, "tick", fails)
    assert await fire_due_schedules() == 1
    assert len(await started(world.globex)) == 1
    assert (
        datetime.now(UTC) < (await schedule(world.acme))["next_at"] <= datetime.now(UTC) + schedules.POSTPONED
    )
    assert str(world.acme.id) in caplog.text


async def test_of_an_accounts_schedules_only_the_one_that_failed_is_postponed(
    nobody_fires: None, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second", "third"):
        given = document({"every": "PT1H"})
        given["document"]["name"] = name
        await acme.publish(given)
    await due(acme, ago(seconds=1))
    tick, failing = schedules.tick, (await rows(acme, "SELECT id FROM schedule ORDER BY id"))[1]["id"]

    async def fails(row: asyncpg.Record, definition: Any) -> None:
        await tick(row, definition)
        if row["id"] == failing:
            await current_connection().execute("SELECT 1 / 0")

    monkeypatch.setattr(schedules, "tick", fails)
    assert await fire_due_schedules() == 2
    assert failing not in {row["schedule_id"] for row in await started(acme)}
    soon = datetime.now(UTC) + schedules.POSTPONED
    postponed = await rows(acme, "SELECT id FROM schedule WHERE next_at <= $1", soon)
    assert [row["id"] for row in postponed] == [failing]


async def test_an_account_with_many_schedules_does_not_stand_before_another(
    nobody_fires: None, world: World
) -> None:
    async with connected(superuser()) as connection:
        await connection.execute(
            "INSERT INTO schedule (id, account_id, workflow_id, version_id, kind, next_at, started_by, started_by_name)"
            " SELECT gen_random_uuid(), account_id, id, active_version_id, 'every', now() - interval '1 day', created_by, ''"
            " FROM workflow WHERE account_id = $1",
            world.acme.id,
        )
    await world.globex.publish(document({"every": "PT1H"}))
    await due(world.globex, ago(seconds=1))
    async with connected(superuser()) as connection:
        found = await connection.fetch("SELECT account_id FROM due_schedules(2, 20)")
        fewer = await connection.fetch("SELECT account_id FROM due_schedules(20, 1)")
    for each in (found, fewer):
        assert sorted(row["account_id"] for row in each) == sorted([world.acme.id, world.globex.id])


async def test_a_paused_workflow_skips_its_ticks_and_makes_up_for_them_once(
    nobody_fires: None, acme: Tenant
) -> None:
    operator = Operator(acme.id)
    workflow_id = await acme.publish(document({"every": "PT10S"}))
    await workflows.pause(operator, workflow_id)
    await due(acme, ago(minutes=5))
    assert await fire_due_schedules() == 0
    await acme.publish(document({"every": "PT10S"}, "1.1.0"))
    await due(acme, ago(minutes=5))
    assert await fire_due_schedules() == 0
    await workflows.resume(operator, workflow_id)
    assert await fire_due_schedules() == 1
    assert await fire_due_schedules() == 0


async def test_after_starts_at_once_and_again_a_while_after_each_end(
    nobody_fires: None, client: httpx.AsyncClient, acme: Tenant
) -> None:
    await acme.publish(document({"after": {"minutes": 10}}))
    for number in (1, 2):
        assert await fire_due_schedules() == 1
        (*_, instance) = await started(acme)
        await ended(acme, instance["id"])
        (row,) = await rows(acme, "SELECT ended_at FROM instance WHERE id = $1", instance["id"])
        following = (await schedule(acme))["next_at"] - row["ended_at"]
        assert timedelta(minutes=10) <= following < timedelta(minutes=10, seconds=1), number
        await due(acme, ago(seconds=1))


async def test_after_waits_for_the_end_whatever_it_is(
    nobody_fires: None, client: httpx.AsyncClient, acme: Tenant
) -> None:
    listening = [{"goods": {"listen": {"to": {"one": {"with": ARRIVED}}}}}]
    await acme.publish(document({"after": {"minutes": 10}}) | {"do": listening})
    assert await fire_due_schedules() == 1
    (instance,) = await started(acme)
    assert (await schedule(acme))["next_at"] is None
    url = f"{acme.workflow_url('nightly')}/instances/{instance['id']}"
    assert (await client.post(f"{url}/actions/cancel", headers=bearer(acme.admin))).status_code == 200
    assert (await schedule(acme))["next_at"] > datetime.now(UTC)


async def test_an_interval_starts_instances_through_the_worker(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    await acme.publish(document({"every": {"seconds": 1}}))
    first, second, *_ = await eventually_started(acme, 2)
    assert timedelta(seconds=0.5) < second["started_at"] - first["started_at"] < timedelta(seconds=3)
    url = f"{acme.workflow_url('nightly')}/instances/{first['id']}"
    instance = await until(client, acme, url, workflow_status="Completed")
    assert instance["output"] == {"got": {}}


async def test_a_scheduled_start_whose_input_does_not_fit_faults_as_an_instance(
    nobody_fires: None, client: httpx.AsyncClient, acme: Tenant
) -> None:
    inputs = {"schema": {"document": {"type": "object", "required": ["who"]}}}
    await acme.publish(document({"every": "PT1H"}, input=inputs))
    await due(acme, ago(seconds=1))
    await fire_due_schedules()
    (instance,) = await started(acme)
    url = f"{acme.workflow_url('nightly')}/instances/{instance['id']}"
    shown = await until(client, acme, url, workflow_status="Failed")
    assert shown["error"]["type"].endswith("/validation")
    assert "who" in shown["error"]["detail"]


async def ended(of: Tenant, instance_id: UUID) -> None:
    """Wait until an instance has ended."""
    over = "SELECT FROM instance WHERE id = $1 AND ended_at IS NOT NULL"
    await eventually(lambda: rows(of, over, instance_id), 20)


# --- Events -------------------------------------------------------------------------------------------------------


async def told(of: Tenant, *events: Mapping[str, Any]) -> None:
    """Deliver events of the account, one after the other."""
    for number, event in enumerate(events):
        whole = {
            "specversion": "1.0",
            "id": f"{number}",
            "source": "urn:shop",
            "type": "goods.arrived",
            **event,
        }
        payload = msgspec.json.encode(whole)
        found = await rows(
            of,
            "INSERT INTO job (account_id, lane, reason, payload, leased_until)"
            " VALUES ($1, 'perform', 'publish', $2, now() + interval '1 hour') RETURNING id",
            of.id,
            payload,
        )
        await publish.perform(of.sandbox, Job(of.id, None, "publish", payload=payload, id=found[0]["id"]))


def ids(instance: asyncpg.Record) -> list[str]:
    """Return the ids of the events that started an instance."""
    return [event["id"] for event in msgspec.json.decode(instance["trigger_inputs"])]


ANY_OF_TWO = {"any": [{"with": {"type": "a"}}, {"with": {"type": "b"}}]}
STRATEGIES: dict[str, tuple[Any, list[dict[str, Any]], list[list[str]]]] = {
    "one": ({"one": {"with": {"type": "a"}}}, [{"type": "a"}, {"type": "b"}, {"type": "a"}], [["0"], ["2"]]),
    "any of several": (ANY_OF_TWO, [{"type": "c"}, {"type": "b"}, {"type": "a"}], [["1"], ["2"]]),
    "every event": ({"any": []}, [{"type": "a"}, {"type": "b"}], [["0"], ["1"]]),
    "by what it holds": (
        {"one": {"with": {"type": "a", "data": "${ .degrees > 38 }"}}},
        [{"type": "a", "data": {"degrees": 37}}, {"type": "a", "data": {"degrees": 39}}],
        [["1"]],
    ),
    "all, then all again": (
        {"all": [{"with": {"type": "a"}}, {"with": {"type": "b"}}]},
        [{"type": "a"}, {"type": "a"}, {"type": "b"}, {"type": "b"}, {"type": "a"}],
        [["0", "2"], ["3", "4"]],
    ),
    "all of one order": (
        {
            "all": [
                {"with": {"type": "paid"}, "correlate": {"order": {"from": ".data.order"}}},
                {"with": {"type": "sent"}, "correlate": {"order": {"from": ".data.order"}}},
            ]
        },
        [
            {"type": "paid", "data": {"order": 1}},
            {"type": "sent", "data": {"order": 2}},
            {"type": "sent", "data": {"order": 1}},
            {"type": "sent", "data": {"order": 2}},
            {"type": "paid", "data": {"order": 2}},
        ],
        [["0", "2"], ["3", "4"]],
    ),
    "any until there are enough": (
        {"any": [{"with": {"type": "a"}}], "until": "length == 2"},
        [{"type": "a"}, {"type": "a"}, {"type": "a"}, {"type": "a"}],
        [["0", "1"], ["2", "3"]],
    ),
    "any until another event": (
        {"any": [{"with": {"type": "a"}}], "until": {"one": {"with": {"type": "stop"}}}},
        [{"type": "a"}, {"type": "a"}, {"type": "stop"}, {"type": "a"}],
        [["0", "1"]],
    ),
    "an until at once, twice": (
        {"any": [{"with": {"type": "a"}}], "until": {"one": {"with": {"type": "stop"}}}},
        [{"type": "stop"}, {"type": "stop"}],
        [[], []],
    ),
    "an event that no instance can have as its input": (
        {"one": {"with": {"type": "a"}}},
        [{"type": "a", "data": "\0"}, {"type": "a", "data": 2**60}, {"type": "a"}],
        [["2"]],
    ),
    "an expression that fails is no match": (
        {"one": {"with": {"type": "a", "data": "${ error }"}}},
        [{"type": "a", "data": 1}],
        [],
    ),
    "an until that fails begins anew": (
        {"any": [{"with": {"type": "a"}}], "until": 'if .[0].id == "0" then error else true end'},
        [{"type": "a"}, {"type": "a"}],
        [["1"]],
    ),
}


@pytest.mark.parametrize("name", STRATEGIES)
async def test_events_start_one_instance_for_each_strategy_that_they_satisfy(acme: Tenant, name: str) -> None:
    strategy, events, starts = STRATEGIES[name]
    await acme.publish(document({"on": strategy}))
    await told(acme, *events)
    assert [ids(instance) for instance in await started(acme)] == starts
    assert await rows(acme, "SELECT FROM job WHERE reason = 'publish'") == []


async def test_an_event_that_comes_again_starts_nothing_and_counts_once(acme: Tenant) -> None:
    await acme.publish(document({"on": {"one": {"with": {"type": "a"}}}}))
    pair = document({"on": {"all": [{"with": {"type": "a"}}, {"with": {"type": "a"}}]}})
    pair["document"]["name"] = "pair"
    await acme.publish(pair)
    await told(acme, {"type": "a", "id": "x"}, {"type": "a", "id": "x"}, {"type": "a", "id": "y"})
    found = [ids(instance) for instance in await started(acme)]
    assert sorted(found) == [["x"], ["x", "y"], ["y"]]


async def test_events_that_come_at_once_lose_none_and_start_each_once(acme: Tenant) -> None:
    await acme.publish(document({"on": {"any": [{"with": {"type": "a"}}], "until": "length == 2"}}))
    await asyncio.gather(*(told(acme, {"type": "a", "id": f"{number}"}) for number in range(8)))
    found = [identifier for instance in await started(acme) for identifier in ids(instance)]
    assert sorted(found) == [f"{number}" for number in range(8)]


async def test_a_paused_workflow_takes_no_events(acme: Tenant) -> None:
    workflow_id = await acme.publish(document({"on": {"one": {"with": {"type": "a"}}}}))
    await workflows.pause(Operator(acme.id), workflow_id)
    await told(acme, {"type": "a", "id": "while paused"})
    assert await started(acme) == []
    await workflows.resume(Operator(acme.id), workflow_id)
    await told(acme, {"type": "a", "id": "after"})
    assert [ids(instance) for instance in await started(acme)] == [["after"]]


async def test_an_event_from_outside_starts_an_instance_whose_input_it_is(
    client: httpx.AsyncClient, world: World
) -> None:
    for tenant in (world.acme, world.globex):
        await tenant.publish(document({"on": {"one": {"with": ARRIVED}}}))
    sent = await client.post(
        f"{world.acme.url}/events",
        json={"type": "goods.arrived", "data": 7},
        headers=bearer(world.acme.admin),
    )
    assert (sent.status_code, sent.json()["delivered_to"]) == (202, 0)
    (instance,) = await eventually_started(world.acme, 1)
    url = f"{world.acme.workflow_url('nightly')}/instances/{instance['id']}"
    shown = await until(client, world.acme, url, workflow_status="Completed")
    assert shown["output"] == {"got": [sent.json()["event"]]}
    assert shown["trigger_inputs"] == {"events": [sent.json()["event"]]}
    assert await started(world.globex) == []
