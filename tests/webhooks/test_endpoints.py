"""Endpoints through the API: who may have them, what they may be, and what is never shown again."""

from typing import Any

import asyncpg
import httpx
import pytest

from service.engine.vault import opened
from service.maestro.event_types import OF_ACCOUNTS, OF_INSTANCES, OF_WORKFLOWS
from service.operations.secrets import Rotated, rotate_secrets
from service.operations.webhook_deliveries import listing
from service.operations.webhook_secrets import secret_name
from service.operations.webhooks import MOST_TYPES
from service.settings import settings
from tenancy.rows import rows_of
from tests.webhooks.conftest import Webhooks
from tests.world import SECRET_KEYS, World

OTHER = "YWJjZGVmZ2hpamtsbW5vcGFiY2RlZmdoaWprbG1ub3A="
URL = "https://hooks.example/tutti?token=abc"


async def test_an_endpoint_is_made_read_changed_and_deleted(
    world: World, webhooks: Webhooks, secret_keys: None
) -> None:
    workflow = str(world.acme.workflows["waiting"])
    made = await webhooks.make(URL, description="Tells", event_types=["instance.*"], workflow_ids=[workflow])
    assert made["secret"].startswith("whsec_")
    shown = await webhooks.ask("GET", f"/{made['id']}")
    assert "secret" not in shown
    same = ("url", "format", "description", "event_types", "workflow_ids", "enabled", "created_by")
    assert {name: shown[name] for name in same} == {name: made[name] for name in same}
    assert shown["workflow_ids"] == [workflow]
    changed = await webhooks.ask("PATCH", f"/{made['id']}", {"event_types": [], "workflow_ids": []})
    assert (changed["event_types"], changed["workflow_ids"]) == ([], [])
    assert (changed["url"], changed["description"]) == (URL, "Tells")
    assert [one["id"] for one in (await webhooks.ask("GET"))["data"]] == [made["id"]]
    await webhooks.ask("DELETE", f"/{made['id']}", status=204)
    assert (await webhooks.ask("GET"))["data"] == []
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/actions/enable"), ("GET", "/deliveries")):
        await webhooks.ask(method, f"/{made['id']}{path}", status=404)


async def test_a_secret_is_stored_encrypted_and_shown_when_it_is_made(
    world: World, webhooks: Webhooks, secret_keys: None
) -> None:
    made = await webhooks.make(URL, format="connect")
    rotated = await webhooks.ask("POST", f"/{made['id']}/actions/rotate-secret")
    assert rotated["previous_secret_until"]
    async with rows_of(world.acme.id) as connection:
        row = await connection.fetchrow("SELECT id, secret, previous_secret FROM webhook")
        texts = await connection.fetchval("SELECT string_agg(one::text, '') FROM event AS one")
    assert row is not None
    for secret, stored in ((rotated["secret"], row["secret"]), (made["secret"], row["previous_secret"])):
        assert secret.encode() not in stored
        assert opened(world.acme.id, secret_name(row["id"]), stored) == secret
        assert secret not in texts
    for shown in (await webhooks.ask("GET", f"/{made['id']}"), (await webhooks.ask("GET"))["data"][0]):
        assert "secret" not in shown


async def test_secrets_are_encrypted_anew_with_the_accounts_own_when_the_operators_key_changes(
    world: World, webhooks: Webhooks, secret_keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await webhooks.make(URL)
    rotated = await webhooks.ask("POST", f"/{made['id']}/actions/rotate-secret")
    for keys, encrypted in ((f"{OTHER},{SECRET_KEYS}", 1), (OTHER, 0)):
        monkeypatch.setenv("TUTTI_SECRET_KEYS", keys)
        settings.cache_clear()
        assert await rotate_secrets() == Rotated(encrypted, [])
    async with rows_of(world.acme.id) as connection:
        row = await connection.fetchrow("SELECT id, secret, previous_secret FROM webhook")
    assert row is not None
    found = [
        opened(world.acme.id, secret_name(row["id"]), row[name]) for name in ("secret", "previous_secret")
    ]
    assert found == [rotated["secret"], made["secret"]]
    monkeypatch.setenv("TUTTI_SECRET_KEYS", SECRET_KEYS)
    settings.cache_clear()
    assert await rotate_secrets() == Rotated(0, [f"{world.acme.id} webhook {made['id']}"])


async def test_every_change_is_told_in_the_audit_without_what_an_address_may_hide(
    world: World, webhooks: Webhooks, secret_keys: None
) -> None:
    made = await webhooks.make(URL)
    path = f"/{made['id']}"
    await webhooks.ask("PATCH", path, {"url": "https://hooks.example/other?token=def"})
    await webhooks.ask("POST", f"{path}/actions/rotate-secret")
    for verb in ("disable", "disable", "enable", "enable"):  # the second time it changes nothing
        await webhooks.ask("POST", f"{path}/actions/{verb}")
    await webhooks.ask("DELETE", path, status=204)
    async with rows_of(world.acme.id) as connection:
        rows = await connection.fetch(
            "SELECT type, actor, data ->> 'webhook_id' AS webhook, one::text AS text, before ->> 'url' AS before,"
            " after ->> 'url' AS after FROM event AS one WHERE type LIKE 'webhook.%' ORDER BY id"
        )
    verbs = ["created", "changed", "rotated", "disabled", "enabled", "deleted"]
    assert [row["type"] for row in rows] == [f"webhook.{verb}" for verb in verbs]
    assert {row["webhook"] for row in rows} == {made["id"]}
    assert {row["actor"] for row in rows} == {world.acme.admin_id}
    assert not any("token" in row["text"] for row in rows)
    assert (rows[1]["before"], rows[1]["after"]) == (
        "https://hooks.example/tutti",
        "https://hooks.example/other",
    )


async def test_that_the_query_of_an_address_changed_is_told_and_not_how(
    world: World, webhooks: Webhooks, secret_keys: None
) -> None:
    made = await webhooks.make(URL)
    for changes in ({"url": f"{URL}d"}, {"description": "Tells"}):
        await webhooks.ask("PATCH", f"/{made['id']}", changes)
    async with rows_of(world.acme.id) as connection:
        rows = await connection.fetch(
            "SELECT data ->> 'url_query' AS query, one::text AS text FROM event AS one"
            " WHERE type = 'webhook.changed' ORDER BY id"
        )
    assert [row["query"] for row in rows] == ["changed", None]
    assert not any("token" in row["text"] for row in rows)


async def test_every_type_of_event_can_be_asked_for(
    world: World, webhooks: Webhooks, secret_keys: None
) -> None:
    kinds = (name for types in (OF_INSTANCES, OF_WORKFLOWS, OF_ACCOUNTS) for name in types)
    types = sorted({name for names in kinds for name in names.split(", ")})
    for some in (types[:MOST_TYPES], types[MOST_TYPES:]):
        assert (await webhooks.make(URL, event_types=some))["event_types"] == some


async def test_without_a_key_of_the_operators_no_endpoint_is_made(world: World, webhooks: Webhooks) -> None:
    """An endpoint without a signature is one that anybody can talk to."""
    refused = await webhooks.ask("POST", body={"url": URL}, status=409)
    assert "TUTTI_SECRET_KEYS" in refused["detail"]
    assert (await webhooks.ask("GET"))["data"] == []


async def test_an_account_has_ten_endpoints_at_most(
    world: World, webhooks: Webhooks, secret_keys: None
) -> None:
    made = [await webhooks.make(URL) for _ in range(10)]
    refused = await webhooks.ask("POST", body={"url": URL}, status=409)
    assert refused["detail"] == "An account has at most 10 webhooks; delete one first."
    await webhooks.ask("DELETE", f"/{made[3]['id']}", status=204)
    await webhooks.make(URL)


@pytest.mark.parametrize(
    ("fields", "target", "message"),
    [
        ({"url": "ftp://hooks.example/"}, "url", "http"),
        ({"url": "hooks.example"}, "url", "http"),
        ({"url": "https://user:password@hooks.example/"}, "url", "password in it; that we sent"),
        ({"url": "https://hooks.example/" + "a" * 2048}, "url", "2048"),
        ({"url": "https://hooks.example/a\x00b"}, "url", "NUL"),
        ({"url": ""}, "url", "1"),
        ({"description": "a\x00"}, "description", "NUL"),
        ({"description": "a" * 256}, "description", "255"),
        ({"event_types": ["instance.*.x"]}, "event_types", "instance.*"),
        ({"event_types": ["instance*"]}, "event_types", "instance.*"),
        ({"event_types": ["instance"]}, "event_types", "instance.*"),
        ({"event_types": ["instance.completed.twice"]}, "event_types", "instance.*"),
        ({"event_types": ["%"]}, "event_types", "instance.*"),
        ({"event_types": ["a" * 101]}, "event_types", "100"),
        ({"event_types": ["test.one"] * 51}, "event_types", "50"),
        ({"event_types": ["workflow-started"]}, "event_types", "not an event type"),
        ({"format": "connect", "event_types": ["instance.completed"]}, "event_types", "workflow-started"),
        ({"format": "xml"}, "format", "must be one of: standard, connect"),
        ({"workflow_ids": ["nonsense"]}, "workflow_ids", "UUID"),
        (
            {"workflow_ids": ["7c1d2b0e-5a44-4f0f-9d3a-1b2c3d4e7707"]},
            "workflow_ids",
            "has no workflow 7c1d2b0e",
        ),
        ({"workflow_ids": ["7c1d2b0e-5a44-4f0f-9d3a-1b2c3d4e7707"] * 101}, "workflow_ids", "100"),
        ({"secret": "mine"}, "secret", ""),
    ],
)
async def test_what_could_not_be_told_is_refused(
    webhooks: Webhooks, secret_keys: None, fields: dict[str, Any], target: str, message: str
) -> None:
    refused = await webhooks.ask("POST", body={"url": URL, **fields}, status=400)
    (error,) = refused["errors"]
    assert error["target"].startswith(target), error
    assert message in error["message"], error


async def test_a_change_is_held_against_the_endpoint_as_it_becomes(
    world: World, webhooks: Webhooks, secret_keys: None
) -> None:
    made = await webhooks.make(URL, format="connect", event_types=["workflow-failed"])
    refused = await webhooks.ask("PATCH", f"/{made['id']}", {"event_types": ["instance.*"]}, status=400)
    assert "none of Connect's events" in refused["errors"][0]["message"]
    await webhooks.ask("PATCH", f"/{made['id']}", {"format": "standard"}, status=400)
    foreign = [str(world.globex.workflows["waiting"])]
    await webhooks.ask("PATCH", f"/{made['id']}", {"workflow_ids": foreign}, status=400)


async def test_machine_clients_manage_webhooks_and_members_do_not(
    client: httpx.AsyncClient, world: World, webhooks: Webhooks, secret_keys: None
) -> None:
    machine = Webhooks(client, world.acme, world.acme.machine)
    made = await machine.make(URL)
    delivery = (await machine.ask("POST", f"/{made['id']}/actions/ping", status=202))["delivery_id"]
    one, log = f"/{made['id']}", f"/{made['id']}/deliveries"
    member = Webhooks(client, world.acme, world.acme.member)
    refused = [
        await member.ask("GET", status=403),
        await member.ask("POST", body={"url": URL}, status=403),
        await member.ask("GET", one, status=403),
        await member.ask("PATCH", one, {"url": URL}, status=403),
        await member.ask("DELETE", one, status=403),
        *[
            await member.ask("POST", f"{one}/actions/{verb}", status=403)
            for verb in ("disable", "enable", "rotate-secret", "ping")
        ],
        await member.ask("GET", log, status=403),
        await member.ask("GET", f"{log}/{delivery}", status=403),
        await member.ask("POST", f"{log}/{delivery}/actions/redeliver", status=403),
    ]
    assert all("administrator" in one["detail"] for one in refused)


async def test_nothing_is_sent_on_request_to_an_endpoint_that_is_disabled(
    world: World, webhooks: Webhooks, secret_keys: None
) -> None:
    made = await webhooks.make("http://127.0.0.1:9/")
    delivery = (await webhooks.ask("POST", f"/{made['id']}/actions/ping", status=202))["delivery_id"]
    disabled = await webhooks.ask("POST", f"/{made['id']}/actions/disable")
    assert (disabled["enabled"], disabled["disabled_reason"]) == (False, "asked")
    for path in ("actions/ping", f"deliveries/{delivery}/actions/redeliver"):
        refused = await webhooks.ask("POST", f"/{made['id']}/{path}", status=409)
        assert refused["detail"] == "The webhook is disabled; enable it first."


async def test_another_endpoints_delivery_is_not_found(
    world: World, webhooks: Webhooks, secret_keys: None
) -> None:
    first, second = await webhooks.make("http://127.0.0.1:9/"), await webhooks.make("http://127.0.0.1:9/")
    delivery = (await webhooks.ask("POST", f"/{first['id']}/actions/ping", status=202))["delivery_id"]
    await webhooks.ask("GET", f"/{second['id']}/deliveries/{delivery}", status=404)
    await webhooks.ask("POST", f"/{second['id']}/deliveries/{delivery}/actions/redeliver", status=404)


# --- The log, and how it grows ------------------------------------------------------------------------------------------

MANY = """
INSERT INTO webhook_delivery (id, account_id, webhook_id, type, at, data, status, aside, attempts, tries, created_at, next_at)
SELECT gen_random_uuid(), account_id, id, 'test.many', now(), '{}',
       CASE n % 1000 WHEN 0 THEN 'failed' WHEN 1 THEN 'pending' ELSE 'delivered' END, true, 1, 0,
       now() - n / 3 * interval '1 second', CASE n % 1000 WHEN 1 THEN now() + interval '1 day' END
FROM webhook, generate_series(1, 20000) AS n
"""


async def test_the_log_is_paged_without_repeating_or_skipping_and_its_tokens_fit_no_other_list(
    client: httpx.AsyncClient, world: World, webhooks: Webhooks, secret_keys: None
) -> None:
    first, second = await webhooks.make("http://127.0.0.1:9/"), await webhooks.make("http://127.0.0.1:9/")
    async with rows_of(world.acme.id) as connection:
        await connection.execute(MANY.replace("20000", "25"))
    seen, query = [], {"page_size": "10"}
    for _ in range(3):
        page = await client.get(
            f"{webhooks.url}/{first['id']}/deliveries", params=query, headers=webhooks.headers
        )
        seen += [one["id"] for one in page.json()["data"]]
        if token := page.json()["response_metadata"].get("page_token_next"):
            query["ctoken"] = token
    assert len(seen) == len(set(seen)) == 25
    assert query["ctoken"]
    for path, more in ((second, {}), (first, {"status": "failed"})):
        other = await client.get(
            f"{webhooks.url}/{path['id']}/deliveries", params=query | more, headers=webhooks.headers
        )
        assert other.status_code == 400


@pytest.mark.parametrize("status", [None, "failed"])
async def test_a_page_of_the_log_reads_along_an_index_however_long_the_log_is(
    world: World, webhooks: Webhooks, secret_keys: None, owner: asyncpg.Connection, status: str | None
) -> None:
    made = await webhooks.make("http://127.0.0.1:9/")
    async with rows_of(world.acme.id) as connection:
        await connection.execute(MANY)
    await owner.execute("ANALYZE webhook_delivery")
    statement = listing(51, by_status=status is not None)
    arguments = [world.acme.id, made["id"], *([status] if status else [])]
    async with rows_of(world.acme.id) as connection:
        plan = "\n".join(
            row[0]
            for row in await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS OFF) {statement}", *arguments)
        )
    assert "Index Scan Backward" in plan, plan
    assert "Sort" not in plan, plan
    assert "Rows Removed by Filter" not in plan, plan
