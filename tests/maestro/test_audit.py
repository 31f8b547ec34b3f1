"""The audit: what it tells, who may read it, that nobody may change it, and what it costs."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import pytest

from auth.allowances import allow_for_account, revoke_grants
from auth.bearer import Credential, Operator, hash_of
from auth.clients import add_redirect_uri, create_client, delete_client, issue_token, rotate_secret
from auth.consents import remember
from auth.registration import Registration
from auth.scopes import ADMINISTRATION, MAESTRO
from service.operations import audit, secrets
from service.operations.audit import Filters
from service.operations.looking import LOOKED_AT
from service.settings import settings
from tenancy.accounts import (
    add_user,
    remove_member,
    resume_account,
    resume_user,
    suspend_account,
    suspend_user,
)
from tenancy.errors import Unauthenticated
from tenancy.events import OPERATOR, OfAccount, record
from tenancy.postgres import connected
from tenancy.rows import rows_of, transaction
from tests.auth.oauth import by_assertion, registered
from tests.maestro.errors import assert_refused, targets
from tests.world import GREETING, LIFE, Tenant, World, bearer, trigger, until


async def told(client: httpx.AsyncClient, of: Tenant, **query: Any) -> list[dict[str, Any]]:
    """Read the first page of the audit, as the administrator."""
    answer = await client.get(f"{of.url}/audit", params=query, headers=bearer(of.admin))
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def latest(client: httpx.AsyncClient, of: Tenant, **query: Any) -> dict[str, Any]:
    """Read the newest event."""
    return (await told(client, of, page_size=1, **query))[0]


async def exported(client: httpx.AsyncClient, of: Tenant, **query: Any) -> list[dict[str, Any]]:
    """Export the audit, as the administrator."""
    answer = await client.get(f"{of.url}/audit/export", params=query, headers=bearer(of.admin))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/jsonl")
    return [msgspec.json.decode(line) for line in answer.text.splitlines()]


# What is told


async def test_a_change_tells_who_asked_for_it_when_and_what_it_changed(
    client: httpx.AsyncClient, world: World
) -> None:
    acme, request_id = world.acme, str(uuid4())
    headers = bearer(acme.admin) | {"X-Request-Id": request_id}
    before = datetime.now(UTC)
    await client.post(f"{acme.workflow_url('greeting')}/actions/pause", headers=headers)
    event = await latest(client, acme)
    assert before - timedelta(seconds=1) <= datetime.fromisoformat(event.pop("at")) <= datetime.now(UTC)
    assert event.pop("id") > 0
    workflow_id = str(acme.workflows["greeting"])
    assert event == {
        "type": "workflow.paused",
        "actor": {"kind": "user", "id": str(acme.admin_id), "name": "Acme Admin"},
        "subject": {"kind": "workflow", "id": workflow_id},
        "workflow_id": workflow_id,
        "request_id": request_id,
        "data": {},
        "before": {"paused": False},
        "after": {"paused": True},
    }


async def test_a_client_that_acts_for_a_user_is_told_beside_them(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    app = await registered(acme.id)
    scopes = [*MAESTRO, ADMINISTRATION]
    async with transaction():
        await remember(app.id, acme.admin_id, [*scopes, "impersonation"], acme.id)
    answer = await by_assertion(client, app.assertion(acme.admin_id, scope=" ".join(scopes)))
    acting = bearer(answer.json()["access_token"])
    both = {"kind": "user", "id": str(acme.admin_id), "name": "Acme Admin", "client_id": str(app.id)}
    await client.patch(f"{acme.url}/members/{acme.member_id}", json={"role": "viewer"}, headers=acting)
    changed = await latest(client, acme)
    assert (changed["type"], changed["actor"]) == ("member.changed", both)
    body = {"instance_name": "one", "trigger_inputs": {}}
    url = f"{acme.workflow_url('waiting')}/actions/trigger"
    assert (await client.post(url, json=body, headers=acting)).is_success
    (started,) = await told(client, acme, type="instance.triggered")
    assert started["actor"] == both
    (exported_,) = await exported(client, acme, type="member.changed")
    assert exported_["actor"] == both
    await client.post(url, json=body, headers=bearer(acme.machine))
    assert {one["actor"].get("client_id") for one in await told(client, acme, actor_kind="client")} == {None}


async def test_the_hot_paths_tell_of_their_request_and_of_the_status(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    body = {"instance_name": "one", "trigger_inputs": {}}
    url = f"{acme.workflow_url('waiting')}/actions/trigger"
    started = await client.post(url, json=body, headers=bearer(acme.machine))
    instance_id = started.json()["instance_id"]
    url = f"{acme.workflow_url('waiting')}/instances/{instance_id}"
    await until(client, acme, url, last_completed_step=1)
    canceled = await client.post(f"{url}/actions/cancel", headers=bearer(acme.admin))
    by_user, by_client = await told(client, acme, subject_kind="instance", subject_id=instance_id)
    assert by_client["type"] == "instance.triggered"
    assert by_client["request_id"] == started.headers["x-request-id"]
    assert by_client["actor"]["kind"] == "client"
    assert by_client["actor"]["name"] == "robot"
    assert by_user["type"] == "instance.cancelled"
    assert by_user["request_id"] == canceled.headers["x-request-id"]
    assert by_user["actor"]["kind"] == "user"
    assert (by_user["before"], by_user["after"]) == ({"status": "waiting"}, {"status": "cancelled"})


async def test_what_the_engine_does_is_its_own(client: httpx.AsyncClient, world: World) -> None:
    url = await trigger(client, world.acme, "greeting", {"who": "Ada"})
    await until(client, world.acme, url, workflow_status="Completed")
    event = await latest(client, world.acme, type="instance.completed")
    assert event["actor"] == {"kind": "engine"}
    assert event["after"] == {"status": "completed"}
    assert event["subject"] == {"kind": "instance", "id": url.rpartition("/")[2]}


async def test_every_step_of_a_workflows_life_is_told(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    document = msgspec.json.decode(msgspec.json.encode(GREETING))
    document["document"] |= {"name": "lived"}
    document["schedule"] = {"every": {"days": 1}}
    created = await client.post(f"{acme.url}/workflows", json=document, headers=bearer(acme.admin))
    url = f"{acme.url}/workflows/{created.json()['id']}"
    await client.post(f"{url}/actions/publish", headers=bearer(acme.admin))
    document["document"] |= {"version": "1.0.1", "title": "Lived"}
    await client.put(url, json=document, headers=bearer(acme.admin))
    for verb in ("pause", "resume", "archive"):
        await client.post(f"{url}/actions/{verb}", headers=bearer(acme.admin))
    workflow_id = created.json()["id"]
    own = [one for one in await told(client, acme) if one.get("workflow_id") == workflow_id]
    events = {one["type"]: one for one in own}
    stored = [one for one in reversed(own) if one["type"] == "workflow.version-stored"]
    assert set(events) == {
        "workflow.created",
        "workflow.version-stored",
        "workflow.published",
        "schedule.set",
        "workflow.paused",
        "workflow.resumed",
        "workflow.archived",
    }
    assert events["workflow.created"]["after"]["name"] == "lived"
    first, second = stored
    assert first["before"] == {"latest_version_id": None}
    assert second["before"] == first["after"] | {"title": "Greeting"}
    assert second["after"]["title"] == "Lived"
    assert events["workflow.published"]["before"]["status"] == "inactive"
    assert events["workflow.published"]["after"]["status"] == "active"
    assert events["workflow.resumed"]["after"] == {"paused": False}
    assert events["workflow.archived"]["after"] == {"status": "archived"}
    assert events["schedule.set"]["after"]["kind"] == "every"


async def test_what_the_operator_does_to_an_account_is_told(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    await suspend_account(acme.id)
    await suspend_account(acme.id)  # again changes nothing, and tells nothing
    await resume_account(acme.id)
    user_id = await add_user("new@acme.example", "New", None, acme.id, "sender")
    await suspend_user("new@acme.example")
    await resume_user("new@acme.example")
    await remove_member("new@acme.example", acme.id)
    account, member = {"kind": "account", "id": str(acme.id)}, {"kind": "member", "id": str(user_id)}
    events = [
        (one["type"], one["subject"], one.get("before"), one["after"])
        for one in await told(client, acme, actor_kind="operator", page_size=7)
    ]
    active, suspended = {"status": "active"}, {"status": "suspended"}
    assert events[::-1][1:] == [
        ("account.suspended", account, active, suspended),
        ("account.resumed", account, suspended, active),
        ("member.added", member, None, {"role": "sender", "status": "active"}),
        ("member.suspended", member, active, suspended),
        ("member.resumed", member, suspended, active),
        ("member.removed", member, active, {"status": "removed"}),
    ]
    assert (await told(client, acme, type="account.created"))[0]["after"]["name"] == "Acme"


async def test_clients_consents_and_tokens_are_told_of_without_what_proves_anything(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    wanted = Registration(
        account_id=acme.id, kind="confidential", name="App", redirect_uris=["https://app.example/back"]
    )
    client_id, secret = await create_client(wanted)
    await add_redirect_uri(acme.id, client_id, "https://app.example/also")
    rotated = await rotate_secret(acme.id, client_id)
    await allow_for_account(acme.id, client_id, ["signature"])
    async with transaction():
        await remember(client_id, acme.member_id, ["signature"], None)
    token = await issue_token(acme.id, ("user", acme.member_id), MAESTRO, LIFE)
    await revoke_grants(None, client_id, None)
    await delete_client(acme.id, client_id)
    events = list(reversed(await told(client, acme, page_size=8)))
    assert [one["type"] for one in events] == [
        "client.created",
        "client.changed",
        "client.secret-rotated",
        "consent.allowed",
        "consent.given",
        "token.issued",
        "consent.revoked",
        "client.deleted",
    ]
    created, changed, _, allowed, given, issued, revoked, deleted = events
    assert {one["subject"]["id"] for one in events} - {issued["subject"]["id"]} == {str(client_id)}
    assert created["after"]["redirect_uris"] == ["https://app.example/back"]
    assert changed["after"] == {"redirect_uris": ["https://app.example/back", "https://app.example/also"]}
    assert (allowed["before"], allowed["after"]) == (
        {"scopes": []},
        {"scopes": ["impersonation", "signature"]},
    )
    assert given["actor"] == {"kind": "user", "id": str(acme.member_id), "name": "Acme Member"}
    assert issued["data"]["holder"] == {"kind": "user", "id": str(acme.member_id)}
    assert (revoked["data"]["consents"], deleted["before"]["name"]) == (2, "App")
    everything = msgspec.json.encode(events).decode()
    assert not [one for one in (secret, rotated, token) if one and one in everything]


async def test_no_secret_token_or_address_stands_in_the_audit(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, planted = world.acme, "planted-value-of-a-secret"
    monkeypatch.setenv("TUTTI_SECRET_KEYS", "A" * 43 + "=")
    settings.cache_clear()
    try:
        await secrets.set_secret(Operator(acme.id), "crm", planted)
    finally:
        monkeypatch.undo()
        settings.cache_clear()
    started = await client.post(
        f"{acme.workflow_url('greeting')}/actions/trigger",
        json={"instance_name": "Ada Lovelace", "trigger_inputs": {"who": planted}},
        headers=bearer(acme.admin),
    )
    secret_of_url = started.json()["instance_url"].rpartition("mtsec=")[2]
    url = f"{acme.workflow_url('greeting')}/instances/{started.json()['instance_id']}"
    await until(client, acme, url, workflow_status="Completed")
    lines = await exported(client, acme)
    assert (await latest(client, acme, subject_kind="secret"))["subject"] == {"kind": "secret", "id": "crm"}
    text = msgspec.json.encode(lines).decode()
    for never in (planted, secret_of_url, acme.admin, acme.machine, "acme.example", "Ada Lovelace"):
        assert never not in text, never


async def test_what_is_large_is_told_by_its_size(world: World) -> None:
    async with rows_of(world.acme.id) as connection:
        large = {"redirect_uris": ["https://app.example/" + "a" * 20_000, "\0\\u0000"]}
        await record(OfAccount(world.acme.id), "client.changed", OPERATOR, after=large, note="\0")
        row = await connection.fetchrow("SELECT data, after FROM event ORDER BY id DESC LIMIT 1")
    assert row is not None
    assert msgspec.json.decode(row["after"]) == {"cut": len(msgspec.json.encode(large))}
    assert msgspec.json.decode(row["data"]) == {"note": "\ufffd"}


# Who may read it, and change it


@pytest.mark.parametrize("path", ["/audit", "/audit/export"])
async def test_administrators_and_machines_may_read_it_and_members_may_not(
    client: httpx.AsyncClient, world: World, path: str
) -> None:
    for token, status in ((world.acme.admin, 200), (world.acme.machine, 200), (world.acme.member, 403)):
        answer = await client.get(world.acme.url + path, headers=bearer(token))
        assert answer.status_code == status
    assert (
        str(world.globex.id)
        not in (await client.get(world.acme.url + path, headers=bearer(world.acme.admin))).text
    )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET type = 'nothing'",
        "UPDATE event SET type = type WHERE false",
        "DELETE FROM event",
        "DELETE FROM event WHERE false",
        "TRUNCATE event",
        "ALTER TABLE event DISABLE TRIGGER attributed",
        "DROP TABLE event",
        "INSERT INTO event (account_id, type) VALUES (gen_random_uuid(), 'forged')",
    ],
)
async def test_the_applications_role_may_only_add_to_the_audit_of_the_account_that_it_is_in(
    world: World, statement: str
) -> None:
    async with rows_of(world.acme.id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM event") > 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"SAVEPOINT try; {statement}")
        await connection.execute("ROLLBACK TO SAVEPOINT try")


# Filters and pages


async def test_filters_narrow_the_list_and_the_export_alike(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    answer = await client.post(f"{acme.workflow_url('waiting')}/actions/pause", headers=bearer(acme.admin))
    await trigger(client, acme, "greeting", {"who": "Ada"})
    everything = await told(client, acme, page_size=1000)
    moment = everything[len(everything) // 2]["at"]
    filters: dict[str, Any] = {
        "actor_id": str(acme.admin_id),
        "actor_kind": "operator",
        "type": "workflow.published",
        "subject_kind": "workflow",
        "request_id": answer.headers["x-request-id"],
        "from": moment,
        "to": moment,
    }
    meets = {
        "actor_id": lambda one: one["actor"].get("id") == filters["actor_id"],
        "actor_kind": lambda one: one["actor"]["kind"] == "operator",
        "type": lambda one: one["type"] == "workflow.published",
        "subject_kind": lambda one: one["type"].startswith("workflow."),
        "request_id": lambda one: one.get("request_id") == filters["request_id"],
        "from": lambda one: one["at"] >= moment,
        "to": lambda one: one["at"] < moment,
    }
    for name, value in filters.items():
        wanted = [one["id"] for one in everything if meets[name](one)]
        assert 0 < len(wanted) < len(everything), name
        assert [one["id"] for one in await told(client, acme, **{name: value})] == wanted, name
        ids = [one["id"] for one in await exported(client, acme, **{name: value})]
        assert sorted(ids, reverse=True)[: len(wanted)] == sorted(wanted, reverse=True), name
    subject = {"subject_kind": "workflow", "subject_id": str(acme.workflows["waiting"]).upper()}
    assert {one["subject"]["id"] for one in await told(client, acme, **subject)} == {
        str(acme.workflows["waiting"])
    }
    assert await told(client, acme, subject_kind="member", subject_id=str(uuid4())) == []


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ({"subject_id": str(uuid4())}, "subject_kind"),
        ({"subject_kind": "workflow", "subject_id": "nonsense"}, "subject_id"),
        ({"subject_kind": "Workflow"}, "subject_kind"),
        ({"subject_kind": "nonsense"}, "subject_kind"),
        ({"type": "workflow"}, "type"),
        ({"type": "workflow.published\0"}, "type"),
        ({"actor_id": "nobody"}, "actor_id"),
        ({"actor_kind": "god"}, "actor_kind"),
        ({"from": "2026-05-04T09:30:00"}, "from"),
        ({"to": "0001-01-01T00:00:00+14:00"}, "to"),
        ({"to": "yesterday"}, "to"),
        ({"page_size": 0}, "page_size"),
        ({"ctoken": "nonsense"}, "ctoken"),
    ],
)
async def test_filters_that_mean_nothing_are_refused(
    client: httpx.AsyncClient, world: World, query: dict[str, Any], target: str
) -> None:
    answer = await client.get(f"{world.acme.url}/audit", params=query, headers=bearer(world.acme.admin))
    assert_refused(answer, 400)
    assert target in targets(answer)


async def test_pages_hold_every_event_once_newest_first(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    await trigger(client, acme, "waiting", {})
    everything = [one["id"] for one in await told(client, acme, page_size=1000)]
    found: list[int] = []
    query: dict[str, Any] = {"page_size": 3}
    while True:
        answer = await client.get(f"{acme.url}/audit", params=query, headers=bearer(acme.admin))
        page = answer.json()
        found += [one["id"] for one in page["data"]]
        assert len(page["data"]) <= 3
        following = page["response_metadata"].get("page_token_next")
        if following is None:
            break
        assert 'rel="next"' in answer.headers["link"]
        query = {"page_size": 3, "ctoken": following}
    assert found == everything
    other = {"page_size": 3, "ctoken": query["ctoken"], "actor_kind": "user"}
    assert_refused(await client.get(f"{acme.url}/audit", params=other, headers=bearer(acme.admin)), 400)


# Many events

MANY = 50_000
INSERT = """
INSERT INTO event (account_id, workflow_id, instance_id, type, at, actor, data)
SELECT $1, gen_random_uuid(), gen_random_uuid(),
       CASE WHEN number % 10000 = 0 THEN 'instance.faulted' ELSE 'instance.triggered' END,
       now() - number * interval '1 second', $2, '{}'
FROM generate_series(1, $3::integer) AS number
"""


@pytest.fixture
async def many(world: World) -> World:
    """An account with 50,000 events of instances, behind a few others."""
    async with connected(settings().database.owner) as connection:
        async with connection.transaction():
            await connection.execute("SELECT set_config('app.account_id', $1, true)", str(world.acme.id))
            await connection.execute("ALTER TABLE event DISABLE TRIGGER attributed")
            await connection.execute(INSERT, world.acme.id, world.acme.admin_id, MANY)
            await connection.execute("ALTER TABLE event ENABLE TRIGGER attributed")
        await connection.execute("ANALYZE event")
    return world


async def test_a_page_costs_the_same_wherever_it_is_and_whatever_is_looked_for(
    client: httpx.AsyncClient, many: World
) -> None:
    acme, now = many.acme, datetime.now(UTC)
    middle = audit.Place(now - timedelta(seconds=MANY // 2), 1)
    for filters, after, most in (
        (Filters(), None, 60),
        (Filters(), middle, 60),
        (Filters(since=now - timedelta(days=1), before=now - timedelta(hours=8)), None, 60),
        (Filters(subject_kind="member"), None, 60),
        (Filters(type="workflow.published"), middle, 60),
        (Filters(request_id=uuid4()), None, 60),
        (Filters(subject_kind="instance", subject_id=str(uuid4())), None, 60),
        (Filters(actor_id=uuid4()), None, LOOKED_AT + 60),
        (Filters(type="instance.faulted"), middle, LOOKED_AT + 60),
    ):
        async with rows_of(acme.id) as connection:
            for newest_first in (True, False):
                of = await audit.instance_of(filters)
                asked = audit.look(acme.id, filters, after, of, newest_first=newest_first)
                statement = asked.page(audit.READ, 51)
                plan = await connection.fetchval(
                    f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *asked.arguments, *asked.more
                )
                assert looked_at(msgspec.json.decode(plan)[0]["Plan"]) <= most, (filters, after, plan)


def looked_at(plan: dict[str, Any]) -> float:
    """The most rows that one node of a plan read, or threw away."""
    own: float = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    assert plan["Node Type"] != "Seq Scan" or plan["Relation Name"] != "event", plan
    return max([own, *(looked_at(one) for one in plan.get("Plans", ()))])


async def test_a_rare_type_is_found_over_pages_that_may_be_short(
    client: httpx.AsyncClient, many: World
) -> None:
    found, pages = list[Any](), 0
    query: dict[str, Any] = {"type": "instance.faulted", "page_size": 2}
    while True:
        answer = await client.get(f"{many.acme.url}/audit", params=query, headers=bearer(many.acme.admin))
        found += answer.json()["data"]
        pages += 1
        following = answer.json()["response_metadata"].get("page_token_next")
        if following is None:
            break
        query["ctoken"] = following
    assert len(found) == MANY // 10_000
    assert pages >= MANY // LOOKED_AT


async def test_an_export_is_read_a_thousand_at_a_time_and_ends_when_its_token_is_revoked(many: World) -> None:
    count, before = 0, None
    async for rows in audit.export(Operator(many.acme.id), Filters()):
        assert len(rows) <= audit.EXPORTED
        for row in rows:
            assert before is None or before < (row["at"], row["id"])
            before = row["at"], row["id"]
        count += len(rows)
    async with rows_of(many.acme.id) as connection:
        assert count == await connection.fetchval("SELECT count(*) FROM event")
    batches = audit.export(Credential(hash_of(many.acme.admin), many.acme.id, MAESTRO), Filters())
    assert len(await anext(batches)) == audit.EXPORTED
    await revoke_grants(many.acme.admin_id, None, None)
    with pytest.raises(Unauthenticated):
        await anext(batches)


@pytest.mark.parametrize("newest_first", [True, False])
def test_later_page_begins_at_its_place_and_not_at_the_bound_before_it(*, newest_first: bool) -> None:
    """Given both, PostgreSQL may begin at the bound, and go through every event up to the place."""
    now, hour = datetime.now(UTC), timedelta(hours=1)
    filters = Filters(since=now - hour, before=now + hour)
    bound = "event.at < $" if newest_first else "event.at >= $"
    beyond = now + 2 * hour if newest_first else now - 2 * hour
    places = (None, audit.Place(now, 1), audit.Place(beyond, 1))
    asked = [audit.look(uuid4(), filters, place, None, newest_first=newest_first) for place in places]
    assert [bound in one.found for one in asked] == [True, False, True]
