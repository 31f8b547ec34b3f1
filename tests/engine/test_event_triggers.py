"""Event triggers: which events start what, how often, and what becomes of those that cannot."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
import pytest

from auth.bearer import Operator
from service.engine import event_triggers as engine
from service.engine.beginning import DEEPEST
from service.engine.effects import bus_event
from service.engine.event_triggers import BusEvent, Told
from service.engine.queue import Job
from service.language.expressions import ExpressionFailure
from service.operations import event_triggers, events, workflows
from service.operations.event_triggers import MOST_TRIGGERS, NewTrigger
from tenancy.errors import BadRequest, NotFound, TooLarge
from tenancy.faults import OUTAGE
from tenancy.rows import rows_of
from tests.engine.outages import EACH_OUTAGE
from tests.world import Tenant, World, trigger

PAYMENT = {"id": "pay_1", "amount": 1200000, "status": "SUCCEEDED", "tags": ["a"]}


@pytest.fixture
async def acme(world: World) -> Tenant:
    """One of the accounts."""
    return world.acme


def event(key: str = "1", **other: Any) -> BusEvent:
    """An event of the bus."""
    fields = {"date": "2026-11-21T00:00:00Z", "app": "payments", "version": "v1", "type": "SAVED_PAYMENT"}
    return BusEvent(idempotency_key=key, **({**fields, "payload": PAYMENT} | other))


async def made(of: Tenant, workflow: str = "waiting", **fields: Any) -> UUID:
    """Make a trigger; return its id."""
    plain: dict[str, Any] = {"event": "SAVED_PAYMENT", "workflow_id": of.workflows[workflow]}
    new = NewTrigger(**(plain | fields))
    row = await event_triggers.create(Operator(of.id), of.sandbox, new)
    identifier: UUID = row["id"]
    return identifier


async def receive(of: Tenant, what: BusEvent) -> int:
    """Send an event; how many triggers take its kind."""
    return (await event_triggers.receive(Operator(of.id), what)).triggers


async def settled(of: Tenant) -> None:
    """Wait until the account has no job with an event any more."""
    for _ in range(500):
        async with rows_of(of.id) as connection:
            left = await connection.fetchval(
                "SELECT count(*) FROM job WHERE reason IN ('bus_event', 'publish', 'start')"
            )
        if left == 0:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("there are jobs left")


async def met(of: Tenant, trigger_id: UUID) -> list[Any]:
    """What a trigger has met, newest first, once nothing is under way."""
    await settled(of)
    return (await event_triggers.occurrences(Operator(of.id), trigger_id, 100, None)).rows


async def inputs(of: Tenant, instance_id: UUID) -> Any:
    """What an instance was started with."""
    async with rows_of(of.id) as connection:
        return msgspec.json.decode(
            await connection.fetchval("SELECT trigger_inputs FROM instance WHERE id = $1", instance_id)
        )


async def queued(of: Tenant, what: BusEvent, depth: int = 0) -> Job:
    """Write a job with an event, leased so that no worker takes it."""
    payload = msgspec.json.encode(engine.told(what))
    async with rows_of(of.id) as connection:
        identifier = await connection.fetchval(
            "INSERT INTO job (account_id, lane, reason, wait, payload, leased_until)"
            " VALUES ($1, 'perform', 'bus_event', $2, $3, now() + interval '1 hour') RETURNING id",
            of.id,
            depth,
            payload,
        )
    return Job(of.id, None, "bus_event", depth, payload, identifier)


# --- What starts ----------------------------------------------------------------------------------------------------


async def test_an_event_starts_a_workflow_with_variables_from_its_payload(acme: Tenant) -> None:
    texts = {"id": "event.id", "amount": "event.amount", "first": "event.tags[0]", "none": "event.missing"}
    trigger_id = await made(acme, filter='event.status == "SUCCEEDED"', vars=texts)
    assert await receive(acme, event()) == 1
    (occurrence,) = await met(acme, trigger_id)
    assert occurrence["error"] is None
    assert occurrence["workflow_id"] == acme.workflows["waiting"]
    assert msgspec.json.decode(occurrence["event"]) == msgspec.to_builtins(event())
    assert await inputs(acme, occurrence["instance_id"]) == {
        "id": "pay_1",
        "amount": "1200000",
        "first": "a",
        "none": "<nil>",
    }
    async with rows_of(acme.id) as connection:
        told = await connection.fetchval(
            "SELECT data FROM event WHERE type = 'instance.triggered' AND instance_id = $1",
            occurrence["instance_id"],
        )
    assert msgspec.json.decode(told)["trigger_id"] == str(trigger_id)


@pytest.mark.parametrize(
    ("fields", "starts"),
    [
        ({}, True),
        ({"version": "v1"}, True),
        ({"version": "v2"}, False),
        ({"event": "saved_payment"}, False),
        ({"event": "SAVED"}, False),
        ({"filter": "event.amount > 1"}, True),
        ({"filter": "event.amount < 1"}, False),
        ({"filter": "event.amount"}, False),
        ({"filter": "event.missing.member == 1"}, False),
        ({"filter": ""}, True),
    ],
    ids=["any", "version", "other-version", "case", "part", "true", "false", "no-boolean", "fails", "empty"],
)
async def test_a_trigger_takes_events_of_its_type_and_version_that_its_filter_lets_through(
    acme: Tenant, fields: dict[str, Any], *, starts: bool
) -> None:
    trigger_id = await made(acme, **fields)
    await receive(acme, event())
    assert len(await met(acme, trigger_id)) == starts


async def test_each_trigger_meets_an_event_once(acme: Tenant) -> None:
    first, second = await made(acme), await made(acme)
    for key in ("1", "1", "2"):
        await receive(acme, event(key))
    found = [await met(acme, first), await met(acme, second)]
    assert [len(each) for each in found] == [2, 2]
    assert len({row["instance_id"] for each in found for row in each}) == 4
    assert await receive(acme, event("")) == 2
    assert await receive(acme, event("")) == 2
    assert len(await met(acme, first)) == 4


async def test_a_job_that_runs_twice_at_once_starts_one_instance(acme: Tenant) -> None:
    trigger_id = await made(acme)
    job = await queued(acme, event())
    await asyncio.gather(*(bus_event.perform(acme.sandbox, job) for _ in range(3)))
    async with rows_of(acme.id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM instance") == 1
        assert await connection.fetchval("SELECT count(*) FROM job WHERE id = $1", job.id) == 0
    assert len(await met(acme, trigger_id)) == 1


async def test_an_event_that_nobody_takes_leaves_nothing(acme: Tenant) -> None:
    await made(acme)
    assert await receive(acme, event(type="COMMITTED_TRANSACTIONS")) == 0
    async with rows_of(acme.id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM job") == 0


async def test_triggers_of_another_account_do_not_see_it(world: World) -> None:
    trigger_id = await made(world.globex)
    assert await receive(world.acme, event()) == 0
    assert await met(world.globex, trigger_id) == []


# --- What cannot start ----------------------------------------------------------------------------------------------


async def test_a_variable_that_fails_leaves_its_error_and_no_instance(acme: Tenant) -> None:
    trigger_id = await made(acme, vars={"good": "event.id", "bad": "event.missing.member"})
    await receive(acme, event())
    (occurrence,) = await met(acme, trigger_id)
    assert occurrence["instance_id"] is None
    assert occurrence["error"] == 'bad: cannot fetch "member" from nil'
    async with rows_of(acme.id) as connection:
        told = await connection.fetchval("SELECT data FROM event WHERE type = 'event_trigger.failed'")
    assert msgspec.json.decode(told) == {"trigger_id": str(trigger_id), "reason": occurrence["error"]}


async def test_variables_have_to_fit_what_the_workflow_takes(acme: Tenant) -> None:
    fitting = await made(acme, "greeting", vars={"who": "event.id"})
    lacking = await made(acme, "greeting", vars={"who": "event.id", "times": "1", "more": "2"})
    await receive(acme, event())
    (occurrence,) = await met(acme, fitting)
    assert await inputs(acme, occurrence["instance_id"]) == {"who": "pay_1", "times": 1}
    (occurrence,) = await met(acme, lacking)
    assert occurrence["instance_id"] is None
    assert "more is not known here" in occurrence["error"]


async def test_a_value_that_cannot_be_kept_is_an_error(acme: Tenant) -> None:
    trigger_id = await made(acme, vars={"bad": '"a\\u0000b"'})
    await receive(acme, event())
    (occurrence,) = await met(acme, trigger_id)
    assert occurrence["error"].startswith("bad: the value ")


@pytest.mark.parametrize(
    ("verb", "because"),
    [(workflows.archive, engine.DELETED), (workflows.pause, engine.PAUSED)],
    ids=["archived", "paused"],
)
async def test_a_workflow_that_starts_nothing_leaves_an_error(acme: Tenant, verb: Any, because: str) -> None:
    trigger_id = await made(acme)
    await verb(Operator(acme.id), acme.workflows["waiting"])
    await receive(acme, event())
    (occurrence,) = await met(acme, trigger_id)
    assert (occurrence["instance_id"], occurrence["error"]) == (None, because)


async def test_one_trigger_that_cannot_be_stored_holds_up_no_other(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, good = await made(acme), await made(acme)
    fire = engine.fire

    async def failing(meeting: Any, *rest: Any) -> None:
        if meeting.trigger["id"] == broken:
            raise asyncpg.DataError("refused")
        await fire(meeting, *rest)

    job = await queued(acme, event())
    monkeypatch.setattr(bus_event, "fire", failing)
    with pytest.raises(asyncpg.DataError):
        await bus_event.perform(acme.sandbox, job)
    monkeypatch.undo()
    assert len(await met_now(acme, good)) == 1
    assert await met_now(acme, broken) == []
    await bus_event.perform(acme.sandbox, job)
    assert len(await met_now(acme, good)) == len(await met_now(acme, broken)) == 1


@EACH_OUTAGE
async def test_an_event_whose_connection_breaks_off_is_met_the_next_time(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, outage: Exception
) -> None:
    trigger_id = await made(acme)

    async def failing(*_: Any) -> None:
        raise outage

    job = await queued(acme, event())
    monkeypatch.setattr(bus_event, "fire", failing)
    with pytest.raises(OUTAGE):
        await bus_event.perform(acme.sandbox, job)
    assert "failed" not in caplog.text
    monkeypatch.undo()
    await bus_event.perform(acme.sandbox, job)
    assert len(await met_now(acme, trigger_id)) == 1


async def met_now(of: Tenant, trigger_id: UUID) -> list[Any]:
    """What a trigger has met by now."""
    return (await event_triggers.occurrences(Operator(of.id), trigger_id, 100, None)).rows


# --- Events of the engine -------------------------------------------------------------------------------------------


async def test_what_a_workflow_emits_fires_triggers(client: httpx.AsyncClient, acme: Tenant) -> None:
    await acme.publish(
        {
            "document": {"dsl": "1.0.3", "namespace": "tests", "name": "telling", "version": "1.0.0"},
            "do": [
                {
                    "tell": {
                        "emit": {
                            "event": {
                                "with": {
                                    "source": "urn:shop",
                                    "type": "goods.sold",
                                    "data": {"sku": "${ .sku }"},
                                }
                            }
                        }
                    }
                }
            ],
        }
    )
    trigger_id = await made(acme, event="goods.sold", filter="event.sku == 7", vars={"sku": "event.sku"})
    await trigger(client, acme, "telling", {"sku": 7})
    await trigger(client, acme, "telling", {"sku": 8})
    occurrences: list[Any] = []
    for _ in range(500):
        occurrences = occurrences or await met(acme, trigger_id)
        await asyncio.sleep(0 if occurrences else 0.02)
    (occurrence,) = occurrences
    told = msgspec.json.decode(occurrence["event"])
    assert (told["type"], told["app"], told["payload"]) == ("goods.sold", "urn:shop", {"sku": 7})
    assert await inputs(acme, occurrence["instance_id"]) == {"sku": "7"}
    async with rows_of(acme.id) as connection:
        depth = await connection.fetchval(
            "SELECT depth FROM instance WHERE id = $1", occurrence["instance_id"]
        )
    assert depth == 1


async def test_what_somebody_of_the_account_publishes_fires_triggers_once(acme: Tenant) -> None:
    trigger_id = await made(acme, event="goods.arrived")
    arrived = {"specversion": "1.0", "id": "1", "source": "urn:shop", "type": "goods.arrived", "data": 7}
    for _ in range(2):
        await events.publish(Operator(acme.id), arrived)
    (occurrence,) = await met(acme, trigger_id)
    assert msgspec.json.decode(occurrence["event"])["payload"] == 7


async def test_chains_of_workflows_come_to_an_end(acme: Tenant) -> None:
    trigger_id = await made(acme)
    await bus_event.perform(acme.sandbox, await queued(acme, event("1"), DEEPEST))
    await bus_event.perform(acme.sandbox, await queued(acme, event("2"), DEEPEST + 1))
    too_deep, last = await met(acme, trigger_id)
    assert (too_deep["instance_id"], too_deep["error"]) == (None, engine.TOO_DEEP)
    assert last["instance_id"] is not None


# --- Making, reading, testing, deleting -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "target", "says"),
    [
        ({"event": ""}, "event", "missing event"),
        ({"event": "x" * 256}, "event", "at most 255"),
        ({"name": "a\0b"}, "name", "NUL"),
        ({"filter": "event."}, "filter", "a member's name was expected, not the end (line 1, column 7)"),
        ({"filter": "link(event, 'x')"}, "filter", "link() is not supported"),
        ({"vars": {"a": "1 +"}}, "vars/a", "error compiling expression"),
        ({"vars": {"a": ""}}, "vars/a", "a value was expected"),
        ({"filter": 'event.id matches "(?=a)"'}, "filter", "the pattern '(?=a)' is not supported"),
        ({"vars": {str(number): "1" for number in range(51)}}, "vars", "at most 50 variables"),
        ({"vars": {str(number): f"'{'a' * 4000}'" for number in range(20)}}, "vars", "at most 65536 bytes"),
    ],
    ids=["event", "long", "nul", "filter", "link", "variable", "empty", "pattern", "many", "large"],
)
async def test_a_trigger_that_cannot_work_is_refused(
    acme: Tenant, fields: dict[str, Any], target: str, says: str
) -> None:
    with pytest.raises(BadRequest) as refusal:
        await made(acme, **fields)
    (error,) = refusal.value.errors
    assert error.target == target
    assert says in error.message


async def test_a_trigger_needs_a_workflow_that_is_there(world: World) -> None:
    for workflow_id in (uuid4(), world.globex.workflows["waiting"]):
        with pytest.raises(NotFound, match="The workflow does not exist"):
            await made(world.acme, workflow_id=workflow_id)
    await workflows.archive(Operator(world.acme.id), world.acme.workflows["waiting"])
    with pytest.raises(NotFound, match="The workflow does not exist"):
        await made(world.acme)


async def test_an_account_has_so_many_triggers_and_no_more(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_TRIGGERS == 500
    monkeypatch.setattr(event_triggers, "MOST_TRIGGERS", 1)
    trigger_id = await made(acme)
    with pytest.raises(BadRequest, match="at most 1 triggers"):
        await made(acme)
    await event_triggers.delete(Operator(acme.id), trigger_id)
    await made(acme)


async def test_a_deleted_trigger_meets_nothing_and_keeps_what_it_met(acme: Tenant) -> None:
    access, trigger_id = Operator(acme.id), await made(acme)
    await receive(acme, event())
    assert len(await met(acme, trigger_id)) == 1
    await event_triggers.delete(access, trigger_id)
    assert await receive(acme, event("2")) == 0
    assert len(await met(acme, trigger_id)) == 1
    for gone in (event_triggers.get, event_triggers.delete):
        with pytest.raises(NotFound):
            await gone(access, trigger_id)
    assert (await event_triggers.get_list(access, 10, None)).rows == []


async def test_lists_go_both_ways_and_find_names_in_any_case(acme: Tenant) -> None:
    access = Operator(acme.id)
    ids = [await made(acme, name=name) for name in ("Payments 100%", "payouts", "Refunds")][::-1]
    first = await event_triggers.get_list(access, 2, None)
    assert [row["id"] for row in first.rows] == ids[:2]
    second = await event_triggers.get_list(access, 2, first.next)
    assert [row["id"] for row in second.rows] == ids[2:]
    assert second.next is None
    again = await event_triggers.get_list(access, 2, second.previous)
    assert [row["id"] for row in again.rows] == ids[:2]
    for part, found in (("PAY", ids[1:]), ("%", ids[2:]), ("x", []), ("", ids)):
        assert [
            row["id"] for row in (await event_triggers.get_list(access, 9, None, name=part)).rows
        ] == found


async def test_a_test_says_what_a_trigger_would_do_and_starts_nothing(acme: Tenant) -> None:
    access = Operator(acme.id)
    texts = {"id": "event.id", "bad": "event.a.b"}
    trigger_id = await made(acme, filter="event.amount > 1", vars=texts)
    found = await event_triggers.test(access, acme.sandbox, trigger_id, PAYMENT)
    failure = ExpressionFailure("expression failed", 'cannot fetch "b" from nil')
    assert (found.match, found.variables) == (True, {"id": "pay_1", "bad": failure})
    found = await event_triggers.test(access, acme.sandbox, trigger_id, {"amount": 0})
    assert (found.match, found.variables) == (False, None)
    found = await event_triggers.test(access, acme.sandbox, trigger_id, {})
    assert isinstance(found.match, ExpressionFailure)
    assert found.match.detail == "nil > number is not possible"
    assert found.variables is None
    plain = await event_triggers.test(access, acme.sandbox, await made(acme), {})
    assert (plain.match, plain.variables) == (None, None)
    assert await met(acme, trigger_id) == []


async def test_events_that_cannot_be_kept_are_refused(acme: Tenant) -> None:
    for what, says in (
        (event(type=""), "missing type"),
        (event("k" * 256), "at most 255"),
        (event(payload={"a": "\0"}), "NUL"),
    ):
        with pytest.raises(BadRequest) as refusal:
            await receive(acme, what)
        assert says in refusal.value.errors[0].message
    with pytest.raises(TooLarge):
        await receive(acme, event(payload={"a": "x" * 70_000}))


async def test_what_failed_long_ago_and_triggers_that_are_gone_are_swept(acme: Tenant) -> None:
    access = Operator(acme.id)
    trigger_id = await made(acme, vars={"bad": "event.a.b"})
    kept = await made(acme)
    await receive(acme, event())
    assert len(await met(acme, trigger_id)) == len(await met(acme, kept)) == 1
    for identifier in (trigger_id, kept):
        await event_triggers.delete(access, identifier)
    async with rows_of(acme.id) as connection:
        await connection.execute("UPDATE trigger_occurrence SET at = at - interval '31 days'")
        await connection.execute("UPDATE event_trigger SET deleted_at = deleted_at - interval '31 days'")
    assert [await engine.sweep() for _ in range(3)] == [1, 1, 0]
    async with rows_of(acme.id) as connection:
        assert [row["id"] for row in await connection.fetch("SELECT id FROM event_trigger")] == [kept]
        await connection.execute("DELETE FROM instance")
        assert await connection.fetchval("SELECT count(*) FROM trigger_occurrence") == 0
    assert await engine.sweep() == 1


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (engine.TAKING, "event_trigger_taking"),
        (
            event_triggers.OCCURRENCES.format(after="", order="DESC"),
            "trigger_occurrence_list",
        ),
    ],
    ids=["taking", "occurrences"],
)
async def test_what_is_asked_often_stays_along_an_index(
    acme: Tenant, owner: asyncpg.Connection, statement: str, index: str
) -> None:
    async with rows_of(acme.id) as connection:
        await connection.execute(
            "INSERT INTO event_trigger (id, account_id, workflow_id, event, vars, created_at, created_by, created_by_name)"
            " SELECT gen_random_uuid(), $1, $2, 'KIND_' || n, '{}', now(), $2, 'Ada' FROM generate_series(1, 3000) AS n",
            acme.id,
            acme.workflows["waiting"],
        )
        one = await connection.fetchval("SELECT id FROM event_trigger LIMIT 1")
        await connection.execute(
            "INSERT INTO trigger_occurrence (id, account_id, trigger_id, event_key, event, at)"
            " SELECT gen_random_uuid(), $1, $2, n, '{}', now() + n * interval '1 s' FROM generate_series(1, 3000) AS n",
            acme.id,
            one,
        )
    await owner.execute("ANALYZE event_trigger, trigger_occurrence")
    async with rows_of(acme.id) as connection:
        arguments = ("KIND_1", "v1") if statement == engine.TAKING else (one, None, 15)
        plan = await connection.fetch(f"EXPLAIN {statement}", acme.id, *arguments)
    assert index in "\n".join(row[0] for row in plan)


def test_an_event_is_the_same_by_its_key_and_by_nothing_else() -> None:
    assert engine.told(event()).key == engine.told(event(payload=1, type="X")).key
    assert engine.told(event()).key != engine.told(event("2")).key
    assert isinstance(engine.told(event()), Told)
