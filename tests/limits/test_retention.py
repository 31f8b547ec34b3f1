"""What accounts do not keep: instances that have ended and events, removed in batches and told by the audit."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
import pytest

from service.engine import retention
from service.engine.retention import INSTANCES, OLD, TERMINAL, Sweep
from tenancy.rows import rows_of
from tests.maestro.people import explained
from tests.maestro.rows import analyze, insert_instances
from tests.world import WAITING, Tenant, World, bearer, trigger, until

SET = """
INSERT INTO account_settings (account_id, instance_retention_days, event_retention_days, sweep_at)
VALUES (current_account(), $1, $2, now() + interval '1 day')
"""
AGE = """
UPDATE instance SET started_at = started_at - $1::interval, ended_at = ended_at - $1::interval,
       last_modified_at = last_modified_at - $1::interval
WHERE account_id = current_account() AND id = ANY ($2)
"""
TOLD = "INSERT INTO event (account_id, type, at) VALUES (current_account(), $1, now() - $2::interval)"
WEBHOOK = """
INSERT INTO webhook (id, account_id, url, format, event_types, workflow_ids, secret, enabled, failures, created_at,
                     created_by, modified_at, modified_by)
VALUES (gen_random_uuid(), current_account(), 'http://127.0.0.1:1/', 'standard', '{}', '{}', '', false, 0, now(),
        current_account(), now(), current_account())
RETURNING id
"""
OLDER = (
    "UPDATE instance SET started_at = started_at - interval '9 days', ended_at = ended_at - interval '9 days'"
)
BULK_ACTIONS = """
INSERT INTO bulk_action (id, account_id, verb, created_by, created_at, ended_at)
SELECT gen_random_uuid(), current_account(), verb, current_account(), now() - made * interval '1 day',
       now() - ended * interval '1 day'
FROM (VALUES ('old', 9, 8), ('ended lately', 9, 6), ('runs', 9, NULL), ('young', 6, 6)) AS one (verb, made, ended)
"""
KINDS = "SELECT verb FROM bulk_action"
BELONGING = ("task_run", "work_item", "timer", "signal", "listener", "taken_event")
CALLING: dict[str, Any] = {
    "document": {"dsl": "1.0.3", "namespace": "tests", "name": "calling", "version": "1.0.0"},
    "do": [
        {
            "one": {
                "run": {
                    "workflow": {
                        "namespace": "tests",
                        "name": "greeting",
                        "version": "1.0.0",
                        "input": {"who": "Ada"},
                    }
                }
            }
        },
        {"two": {"listen": {"to": {"one": {"with": {"type": "never"}}}}}},
    ],
}


async def kept_for(of: Tenant, instances: int | None = None, events: int | None = None) -> None:
    """Set for how many days an account keeps things; the worker leaves it to the test."""
    await asked(of, SET, instances, events)


async def asked(of: Tenant, statement: str, *arguments: Any) -> list[asyncpg.Record]:
    """Ask behind the service's back."""
    async with rows_of(of.id) as connection:
        return await connection.fetch(statement, *arguments)


async def aged(of: Tenant, days: int, *urls: str) -> None:
    """Have instances begun and ended some days sooner."""
    await asked(of, AGE, timedelta(days=days), [UUID(url.rpartition("/")[2]) for url in urls])


async def ended(client: httpx.AsyncClient, of: Tenant, days: int) -> str:
    """Have an instance that has ended so many days ago."""
    url = await trigger(client, of, "greeting", {"who": "Ada"})
    await until(client, of, url, workflow_status="Completed")
    await aged(of, days, url)
    return url


async def there(of: Tenant) -> set[str]:
    """The ids of the instances that there are."""
    return {str(row["id"]) for row in await asked(of, "SELECT id FROM instance")}


def ids(*urls: str) -> set[str]:
    """The ids of instances."""
    return {url.rpartition("/")[2] for url in urls}


async def swept(of: Tenant) -> None:
    """Remove all that the account does not keep."""
    sweep = Sweep()
    while await sweep.remove(of.id):
        pass


async def removals(of: Tenant, kind: str = "account.instances-removed") -> list[dict[str, Any]]:
    """What the audit tells of removals."""
    rows = await asked(
        of, "SELECT data::text AS data, actor_kind FROM event WHERE type = $1 ORDER BY id", kind
    )
    assert {row["actor_kind"] for row in rows} <= {"engine"}
    return [msgspec.json.decode(row["data"]) for row in rows]


async def test_what_ended_longer_ago_than_the_account_keeps_it_goes_with_all_that_belongs_to_it(
    client: httpx.AsyncClient, world: World
) -> None:
    acme, globex = world.acme, world.globex
    old, older = await ended(client, acme, 8), await ended(client, acme, 400)
    young = await ended(client, acme, 6)
    waiting = await trigger(client, acme, "waiting", {})
    await aged(acme, 100, waiting)
    foreign = await ended(client, globex, 400)
    await kept_for(acme, instances=7)
    await swept(acme)
    assert await there(acme) == ids(young, waiting)
    assert await there(globex) == ids(foreign)
    for table in BELONGING:
        left = await asked(acme, f"SELECT DISTINCT instance_id FROM {table}")
        assert {str(row["instance_id"]) for row in left} <= ids(young, waiting), table
    assert (await client.get(old, headers=bearer(acme.admin))).status_code == 404
    assert (await client.get(older, headers=bearer(acme.admin))).status_code == 404
    (told,) = await removals(acme)
    assert (told["instances"], told["days"]) == (2, 7)
    assert await removals(globex) == []
    audit = await client.get(
        f"{acme.url}/audit?subject_kind=instance&subject_id={ids(old).pop()}", headers=bearer(acme.admin)
    )
    assert {one["type"] for one in audit.json()["data"]} >= {"instance.triggered", "instance.completed"}


async def test_bulk_actions_go_when_the_instances_that_they_were_for_would(world: World) -> None:
    acme, globex = world.acme, world.globex
    for of in (acme, globex):
        await asked(of, BULK_ACTIONS)
    await kept_for(acme, instances=7)
    await swept(acme)
    assert {row["verb"] for row in await asked(acme, KINDS)} == {"runs", "ended lately", "young"}
    assert len(await asked(globex, KINDS)) == 4


async def test_without_the_setting_nothing_goes(client: httpx.AsyncClient, world: World) -> None:
    url = await ended(client, world.acme, 4000)
    await swept(world.acme)
    await kept_for(world.acme, events=30)
    await swept(world.acme)
    assert await there(world.acme) == ids(url)


async def test_what_began_long_ago_and_ended_lately_stays(client: httpx.AsyncClient, world: World) -> None:
    url = await ended(client, world.acme, 6)
    await asked(world.acme, "UPDATE instance SET started_at = now() - interval '1 year'")
    await kept_for(world.acme, instances=7)
    await swept(world.acme)
    assert await there(world.acme) == ids(url)


async def test_an_instance_whose_result_is_still_awaited_stays(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    await acme.publish(CALLING)
    parent = await trigger(client, acme, "calling", {})
    await until(client, acme, parent, last_completed_step=1)
    (child,) = await asked(acme, "SELECT id, parent_wait FROM instance WHERE parent_id IS NOT NULL")
    await aged(acme, 30, str(child["id"]))
    await kept_for(acme, instances=7)

    async def awaited(parent_id: UUID, wait: int) -> bool:
        assert (str(parent_id), wait) == (ids(parent).pop(), child["parent_wait"])
        return True

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("service.engine.effects.child.is_awaited", awaited)
        await swept(acme)
    assert await there(acme) == ids(parent, str(child["id"]))
    await swept(acme)
    assert await there(acme) == ids(parent)


async def test_what_a_webhook_is_still_to_be_told_of_stays(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    (webhook,) = await asked(acme, WEBHOOK)
    told, untold = await ended(client, acme, 30), await ended(client, acme, 30)
    await asked(
        acme,
        "INSERT INTO webhook_delivery (id, account_id, webhook_id, instance_id, type, at, data, status, aside, attempts,"
        " tries, created_at) VALUES (gen_random_uuid(), current_account(), $1, $2, 'instance.completed', now(), '{}',"
        " 'pending', false, 0, 0, now())",
        webhook["id"],
        UUID(ids(untold).pop()),
    )
    await kept_for(acme, instances=7)
    await swept(acme)
    assert await there(acme) == ids(untold), told


async def test_instances_and_events_that_no_webhook_has_read_stay(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    url = await ended(client, acme, 90)
    await asked(acme, WEBHOOK)
    await asked(acme, TOLD, "test.old", timedelta(days=95))
    unread = (
        "UPDATE webhook SET enabled = true, event_types = '{none}', read_in = old.written_in, read_to = old.id - 1"
        " FROM event AS old WHERE old.type = 'test.old'"
    )
    await kept_for(acme, instances=7, events=30)
    async with rows_of(acme.id) as connection:  # as long as it is open, no courier reads for the webhook
        await connection.execute(unread)
        kept = await connection.fetchrow(retention.KEPT, acme.id)
        assert kept is not None
        assert kept["unread"] < kept["since"]
        assert await connection.fetchval("SELECT forget_events(1000)") == 0
        await connection.execute("UPDATE webhook SET enabled = false")
        assert await connection.fetchval("SELECT forget_events(1000)") == 1
    await swept(acme)
    assert await there(acme) == set(), url


async def test_two_sweepers_at_once_remove_everything_once(world: World) -> None:
    acme, globex = world.acme, world.globex
    for tenant in (acme, globex):
        await insert_instances(tenant.id, tenant.workflows["waiting"], [tenant.admin_id], 5 * INSTANCES)
        await asked(tenant, OLDER)
    await kept_for(acme, instances=7)
    await asyncio.gather(swept(acme), swept(acme))
    assert len(await there(acme)) == INSTANCES // 2  # a tenth of them waits
    assert len(await there(globex)) == 5 * INSTANCES
    told = await removals(acme)
    assert sum(one["instances"] for one in told) == 9 * INSTANCES // 2
    assert max(one["instances"] for one in told) <= INSTANCES


async def test_accounts_take_turns_a_batch_each(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for tenant in (world.acme, world.globex):
        await insert_instances(tenant.id, tenant.workflows["waiting"], [tenant.admin_id], 20)
        await asked(tenant, OLDER)
        await kept_for(tenant, instances=7)
    monkeypatch.setattr(retention, "INSTANCES", 6)
    served: list[UUID] = []

    async def noted(self: Sweep, account_id: UUID) -> bool:
        served.append(account_id)
        return await remove(self, account_id)

    remove = Sweep.remove
    monkeypatch.setattr(Sweep, "remove", noted)
    for tenant, minutes in ((world.acme, 2), (world.globex, 1)):
        await asked(
            tenant, "UPDATE account_settings SET sweep_at = now() - $1::interval", timedelta(minutes=minutes)
        )
    sweep = Sweep()
    while await sweep.take_batch():
        pass
    assert served == [world.acme.id, world.globex.id] * 4
    for tenant in (world.acme, world.globex):
        assert len(await there(tenant)) == 2
        ((later,),) = await asked(
            tenant, "SELECT sweep_at > now() + interval '30 minutes' FROM account_settings"
        )
        assert later


async def test_old_instances_are_found_along_an_index(world: World) -> None:
    acme = world.acme
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id], 3000)
    await analyze()
    # Half of them are older. Where none is, every index finds that out at once, and any may be taken.
    since = datetime.now(UTC) - timedelta(hours=1, seconds=500)
    arguments = [acme.id, "{" + ",".join(TERMINAL) + "}", since, "0001-01-01", UUID(int=0), INSTANCES]
    for mode in ("force_custom_plan", "force_generic_plan"):
        plan = await explained(acme, OLD, arguments, mode)
        assert "instance_by_status" in plan, plan
        assert "Seq Scan" not in plan, plan


async def test_events_go_when_they_are_old_and_the_settings_say_so(world: World) -> None:
    for tenant in (world.acme, world.globex):
        for days in (29, 31, 59, 61, 400):
            await asked(tenant, TOLD, f"test.of-{days}", timedelta(days=days))
    await swept(world.acme)
    await kept_for(world.acme, instances=1, events=60)
    await swept(world.acme)

    async def left(of: Tenant) -> set[str]:
        return {row["type"] for row in await asked(of, "SELECT type FROM event WHERE type LIKE 'test.%'")}

    assert await left(world.acme) == {"test.of-29", "test.of-31", "test.of-59"}
    assert len(await left(world.globex)) == 5
    assert await removals(world.acme, "account.events-removed") == [{"events": 2}]


async def test_old_events_are_found_along_an_index(world: World, owner: asyncpg.Connection) -> None:
    scans = "SELECT seq_scan, idx_scan FROM pg_stat_xact_user_tables WHERE relname = 'event'"
    for days, count in ((1, 3000), (50, 20)):
        young = TOLD.replace(
            "VALUES (current_account(), $1, now() - $2::interval)",
            "SELECT current_account(), $1, now() - $2::interval FROM generate_series(1, $3)",
        )
        await asked(world.acme, young, "test.many", timedelta(days=days), count)
    await owner.execute("ANALYZE event")
    await kept_for(world.acme, events=30)
    async with rows_of(world.acme.id) as connection:
        before = await connection.fetchrow(scans)
        assert await connection.fetchval("SELECT forget_events(15)") == 15
        after = await connection.fetchrow(scans)
    assert before is not None
    assert after is not None
    assert after["seq_scan"] == before["seq_scan"]
    assert after["idx_scan"] > before["idx_scan"]


async def test_nobody_deletes_events_that_are_younger(world: World) -> None:
    await asked(world.acme, TOLD, "test.young", timedelta(days=29))
    with pytest.raises(asyncpg.CheckViolationError):
        await kept_for(world.acme, events=29)
    await kept_for(world.acme, events=30)
    async with rows_of(world.acme.id) as connection:
        assert await connection.fetchval("SELECT forget_events(1000)") == 0
    async with rows_of(uuid4()) as connection:
        assert await connection.fetchval("SELECT forget_events(1000)") == 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asked(world.acme, "DELETE FROM event")


async def test_the_worker_removes_what_an_administrator_does_not_want_any_longer(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    await acme.publish({**WAITING, "document": {**WAITING["document"], "version": "1.0.1"}})
    await ended(client, acme, 8)
    changed = await client.patch(
        f"{acme.url}/settings", json={"instance_retention_days": 7}, headers=bearer(acme.admin)
    )
    assert changed.status_code == 200
    async with asyncio.timeout(15):
        while await there(acme):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.2)
