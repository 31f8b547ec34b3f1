"""Two tenants with a row in every table that belongs to accounts."""

from functools import partial
from typing import Any

import httpx
import pytest

from tenancy.rows import rows_of
from tests.tenancy.catalogue import owned_tables
from tests.waiting import eventually
from tests.world import Tenant, World, bearer, trigger

FURNISHED_SECONDS = 30  # for each of the tables that the engine fills

SLEEPING: dict[str, Any] = {
    "document": {"dsl": "1.0.3", "namespace": "tests", "name": "sleeping", "version": "1.0.0"},
    "schedule": {"every": {"days": 3}},
    "do": [{"sleep": {"wait": {"days": 3}}}],
}

ASKING: dict[str, Any] = {
    "document": {"dsl": "1.0.3", "namespace": "tests", "name": "asking", "version": "1.0.0"},
    "do": [
        {
            "signOff": {
                "call": "approval",
                "with": {"title": "Sign", "assignees": {"roles": ["admin", "member"]}, "minimum": 2},
            }
        }
    ],
}

# A worker leaves alone what another one has leased, and nobody reads the secret.
STORED = """
INSERT INTO secret (id, account_id, name, ciphertext, created_at, modified_at)
VALUES (gen_random_uuid(), current_account(), 'token', 'sealed', now(), now());
INSERT INTO taken_event (account_id, instance_id, event_key)
SELECT current_account(), id, 'urn:shop 1' FROM instance ORDER BY id LIMIT 1;
INSERT INTO instance_term SELECT current_account(), 7, now(), id FROM instance ORDER BY id LIMIT 1;
INSERT INTO trigger_key (account_id, workflow_id, caller_id, key_hash, fingerprint, instance_id, access_id, seed,
                         expires_at)
SELECT current_account(), id, id, 'key', 'body', id, id, 'seed', now() + interval '1 day' FROM workflow LIMIT 1;
INSERT INTO job (account_id, lane, reason, wait, attempts, leased_until, queued_at)
VALUES (current_account(), 'advance', 'timer', 1, 1, now() + interval '1 day', now());
INSERT INTO bulk_action (id, account_id, verb, options, filters, status, total, done, skipped, failed, created_by,
                         created_by_name, created_at, leased_until)
VALUES (gen_random_uuid(), current_account(), 'cancel', '{}', '{}', 'running', 1, 0, 0, 0, gen_random_uuid(), 'Ada',
        now(), now() + interval '1 day');
INSERT INTO bulk_target (account_id, bulk_action_id, instance_id)
SELECT current_account(), id, gen_random_uuid() FROM bulk_action;
INSERT INTO webhook (id, account_id, url, format, event_types, workflow_ids, secret, enabled, failures,
                     created_at, created_by, modified_at, modified_by)
SELECT gen_random_uuid(), current_account(), 'https://hooks.example/', 'standard', '{}', '{}', 'sealed', false, 0,
       now(), id, now(), id FROM workflow LIMIT 1;
INSERT INTO webhook_delivery (id, account_id, webhook_id, type, at, data, status, aside, attempts, tries, created_at)
SELECT gen_random_uuid(), current_account(), id, 'webhook.ping', now(), '{}', 'delivered', true, 1, 0, now() FROM webhook;
INSERT INTO webhook_attempt (account_id, delivery_id, number, at, duration_ms, status_code)
SELECT current_account(), id, 1, now(), 7, 204 FROM webhook_delivery;
INSERT INTO invitation (id, account_id, email, role, secret_hash, invited_by, created_at, expires_at)
SELECT gen_random_uuid(), current_account(), 'new@example.org', 'sender', '', user_id, now(), now() + interval '1 day'
FROM membership LIMIT 1;
INSERT INTO account_settings (account_id, sweep_at) VALUES (current_account(), now() + interval '1 day');
INSERT INTO account_limits (account_id, measure_at) VALUES (current_account(), now());
INSERT INTO event_trigger (id, account_id, workflow_id, event, vars, created_at, created_by, created_by_name)
SELECT gen_random_uuid(), current_account(), id, 'SAVED_PAYMENT', '{}', now(), id, 'Ada' FROM workflow LIMIT 1;
INSERT INTO trigger_occurrence (id, account_id, trigger_id, event_key, event, at, error)
SELECT gen_random_uuid(), current_account(), id, 'key', '{}', now(), 'The workflow is paused.' FROM event_trigger;
INSERT INTO definition_key (id, account_id, workflow_id, workflow_type, key)
SELECT gen_random_uuid(), current_account(), id, 'Enrollment', '1' FROM workflow LIMIT 1;
INSERT INTO request_bucket VALUES (current_account(), 1, now());
"""


@pytest.fixture
async def furnished(world: World, client: httpx.AsyncClient) -> World:
    """Both tenants own rows in every table: instances that wait for time, events and people, and what they leave."""
    for tenant in (world.acme, world.globex):
        await furnish(client, tenant)
    return world


async def furnish(client: httpx.AsyncClient, tenant: Tenant) -> None:
    """Give a tenant rows in the tables that its making has left empty."""

    async def post(url: str, body: dict[str, Any]) -> None:
        response = await client.post(url, json=body, headers=bearer(tenant.admin))
        assert response.is_success, response.text

    for document in (SLEEPING, ASKING):
        await tenant.publish(document)
    instances = {name: await trigger(client, tenant, name, {}) for name in ("waiting", "sleeping", "asking")}
    await post(f"{instances['sleeping']}/actions/signal", {"type": "ignored"})
    for table in ("timer", "listener", "work_item"):
        await eventually(partial(own_rows, tenant, table), FURNISHED_SECONDS)
    async with rows_of(tenant.id) as connection:
        item = await connection.fetchval("SELECT id FROM work_item")
    await post(f"{tenant.url}/work-items/{item}/actions/complete", {"outcome": "approve"})
    await eventually(partial(no_rows, tenant, "job"), FURNISHED_SECONDS)
    async with rows_of(tenant.id) as connection:
        await connection.execute(STORED)
        for table in await owned_tables(connection):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}"), f"{table} is still empty"


async def own_rows(tenant: Tenant, table: str) -> int:
    """Count a table's rows as the tenant sees them."""
    async with rows_of(tenant.id) as connection:
        count: int = await connection.fetchval(f"SELECT count(*) FROM {table}")
    return count


async def no_rows(tenant: Tenant, table: str) -> bool:
    """Whether the tenant sees no row in a table."""
    return await own_rows(tenant, table) == 0
