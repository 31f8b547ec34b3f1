"""What a bearer token is worth, on the very next request after anything about it has changed."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from auth.bearer import ENTER, hash_of
from auth.clients import create_client, issue_token
from auth.registration import Registration
from auth.scopes import MAESTRO
from tenancy.accounts import add_user, create_account
from tenancy.postgres import connected
from tenancy.rows import rows_of, transaction
from tests.tenancy.databases import superuser
from tests.world import LIFE, Tenant, World, bearer


class UndoneError(Exception):
    """Ends a transaction that a test does not want to keep."""


@pytest.fixture
async def everything(world: World) -> AsyncIterator[asyncpg.Connection]:
    """A connection that sees and changes the rows of all accounts, as an operator's hand would."""
    async with connected(superuser()) as connection:
        yield connection


def admin(tenant: Tenant) -> str:
    """Choose the administrator's token."""
    return tenant.admin


def machine(tenant: Tenant) -> str:
    """Choose the machine client's token."""
    return tenant.machine


TOKEN = "access_token SET {} WHERE token_hash = $1"
GRANT = "oauth_grant SET {} WHERE id = (SELECT grant_id FROM access_token WHERE token_hash = $1)"
HOLDER = "(SELECT {} FROM oauth_grant JOIN access_token ON grant_id = oauth_grant.id WHERE token_hash = $1)"
USER, CLIENT = HOLDER.format("user_id"), HOLDER.format("client_id")


@pytest.mark.parametrize(
    ("token_of", "change", "status"),
    [
        (admin, "UPDATE " + TOKEN.format("expires_at = now()"), 401),
        (admin, "UPDATE " + TOKEN.format("revoked_at = now()"), 401),
        (admin, "DELETE FROM access_token WHERE token_hash = $1", 401),
        (admin, "UPDATE " + GRANT.format("revoked_at = now()"), 401),
        (machine, "UPDATE " + GRANT.format("revoked_at = now()"), 401),
        (admin, f"UPDATE app_user SET status = 'suspended' WHERE id = {USER}", 401),
        (admin, f"DELETE FROM app_user WHERE id = {USER}", 401),
        (machine, f"UPDATE client SET status = 'disabled' WHERE id = {CLIENT}", 401),
        (machine, f"DELETE FROM client WHERE id = {CLIENT}", 401),
        (admin, f"UPDATE membership SET status = 'removed' WHERE user_id = {USER}", 404),
        (admin, f"DELETE FROM membership WHERE user_id = {USER}", 404),
        (admin, f"UPDATE account SET status = 'suspended' WHERE id = (SELECT account_id FROM membership WHERE user_id = {USER})", 404),
        (machine, f"UPDATE account SET status = 'suspended' WHERE id = (SELECT account_id FROM client WHERE id = {CLIENT})", 401),
        (admin, "UPDATE " + TOKEN.format("scopes = '{signature}'"), 403),
        (machine, "UPDATE " + TOKEN.format("scopes = '{}'"), 403),
    ],
)  # fmt: skip
async def test_a_change_stops_the_very_next_request(
    client: httpx.AsyncClient,
    world: World,
    everything: asyncpg.Connection,
    token_of: Callable[[Tenant], str],
    change: str,
    status: int,
) -> None:
    token = token_of(world.acme)
    assert await status_of(client, world.acme.id, token) == 200
    assert (await everything.execute(change, hash_of(token))).endswith(" 1")
    assert await status_of(client, world.acme.id, token) == status
    assert await tenant_after(token, world.acme.id) == (status, None)
    assert await status_of(client, world.globex.id, token_of(world.globex)) == 200


async def test_a_clients_users_lose_access_with_the_client(
    client: httpx.AsyncClient, world: World, everything: asyncpg.Connection
) -> None:
    wanted = Registration(
        account_id=world.acme.id, kind="public", name="App", redirect_uris=["https://app.example/back"]
    )
    client_id, _ = await create_client(wanted)
    grant = GRANT.format("client_id = $2")
    await everything.execute(f"UPDATE {grant}", hash_of(world.acme.member), client_id)
    assert await status_of(client, world.acme.id, world.acme.member) == 200
    await everything.execute("UPDATE client SET status = 'disabled' WHERE id = $1", client_id)
    assert await status_of(client, world.acme.id, world.acme.member) == 401


async def test_a_token_for_one_account_is_worth_nothing_on_another_of_its_users(
    client: httpx.AsyncClient, world: World, everything: asyncpg.Connection
) -> None:
    await add_user("admin@acme.example", "Acme Admin", None, world.globex.id, "sender")
    assert await status_of(client, world.globex.id, world.acme.admin) == 404
    assert await tenant_after(world.acme.admin, world.globex.id) == (404, None)
    await everything.execute(f"UPDATE {GRANT.format('narrowed_to = NULL')}", hash_of(world.acme.admin))
    for tenant in (world.acme, world.globex):
        assert await status_of(client, tenant.id, world.acme.admin) == 200
    assert await status_of(client, await create_account("Third"), world.acme.admin) == 404


@pytest.mark.parametrize("token_of", [admin, machine])
async def test_a_token_on_a_foreign_account_finds_what_it_finds_on_none(
    client: httpx.AsyncClient, world: World, everything: asyncpg.Connection, token_of: Callable[[Tenant], str]
) -> None:
    token = token_of(world.acme)
    await everything.execute(f"UPDATE {GRANT.format('narrowed_to = NULL')}", hash_of(token))
    for account_id in (world.globex.id, uuid4(), UUID(int=0)):
        assert await status_of(client, account_id, token) == 404
        assert await tenant_after(token, account_id) == (404, None)


async def test_a_token_without_a_scope_is_told_which_one_it_needs(
    client: httpx.AsyncClient, world: World
) -> None:
    token = await issue_token(world.acme.id, ("user", world.acme.admin_id), ("aow_manage",), LIFE)
    answer = await client.get(f"{world.acme.url}/workflows", headers=bearer(token))
    assert answer.status_code == 403
    assert 'error="insufficient_scope", scope="aow_manage signature"' in answer.headers["www-authenticate"]


async def test_a_token_is_stored_as_its_sha256_alone(world: World, everything: asyncpg.Connection) -> None:
    token = world.acme.admin
    assert len(token) >= 43  # 256 bits in base64
    digest = hashlib.sha256(token.encode()).digest()
    assert await everything.fetchval("SELECT count(*) FROM access_token WHERE token_hash = $1", digest) == 1
    for row in await everything.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        table = row["tablename"]
        assert not await everything.fetch(
            f"SELECT FROM {table} WHERE strpos({table}::text, $1) > 0 OR strpos({table}::text, encode($1::text::bytea, 'hex')) > 0",
            token,
        ), table


async def test_enter_account_cannot_be_talked_into_another_tenant(world: World) -> None:
    forged = hashlib.sha256(b"forged").digest()
    async with rows_of(world.acme.id) as connection:
        for credential in (forged, b"", None, hash_of(world.acme.admin)):
            row = await connection.fetchrow(ENTER, credential, world.globex.id, MAESTRO)
            assert row is not None
            assert row["verdict"] in (401, 404)
            assert await connection.fetchval("SELECT id FROM account") == world.acme.id
    async with transaction() as connection:
        row = await connection.fetchrow(ENTER, hash_of(world.acme.admin), None, MAESTRO)
        assert row is not None
        assert row["verdict"] == 404


async def test_enter_account_looks_at_no_table_that_its_caller_has_made(world: World) -> None:
    forged = hashlib.sha256(b"forged").digest()
    with contextlib.suppress(UndoneError):
        async with transaction() as connection:
            for table in ("access_token", "oauth_grant", "app_user", "membership", "account"):
                await connection.execute(
                    f"CREATE TEMPORARY TABLE {table} (LIKE public.{table} INCLUDING DEFAULTS)"
                )
            grant_id = uuid4()
            await connection.execute(
                "INSERT INTO pg_temp.oauth_grant (id, user_id) VALUES ($1, $2)",
                grant_id,
                world.globex.admin_id,
            )
            await connection.execute(
                "INSERT INTO pg_temp.access_token (id, token_hash, grant_id, scopes, expires_at)"
                " VALUES (gen_random_uuid(), $1, $2, $3, now() + interval '1 day')",
                forged,
                grant_id,
                MAESTRO,
            )
            row = await connection.fetchrow(ENTER, forged, world.globex.id, MAESTRO)
            assert row is not None
            assert row["verdict"] == 401
            raise UndoneError


async def test_functions_with_the_owners_rights_are_few_and_fix_where_they_look(
    owner: asyncpg.Connection,
) -> None:
    functions = {
        row["proname"]: row["proconfig"]
        for row in await owner.fetch(
            "SELECT proname, proconfig FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
        )
    }
    across_accounts = {"live_client", "live_memberships", "grant_is_live", "origin_is_known"}
    engine = {"claim_jobs", "lease_jobs", "fire_due_timers", "due_schedules", "sweep_signals"}
    engine |= {"accounts_with_secrets", "claim_bulk_action"}
    engine |= {"forget_trigger_keys", "sweep_trigger_keys"}
    engine |= {
        "webhooks_behind",
        "claim_webhook_deliveries",
        "sweep_webhook_deliveries",
        "accounts_with_webhooks",
    }
    engine |= {"sweep_event_triggers"}
    engine |= {"changed_limits", "claim_measurement", "claim_retention", "forget_events"}
    across_accounts |= {"sweep_invitations", "token_reach", "count_for_operators"}
    assert set(functions) == {"enter_account"} | engine | across_accounts
    for name, settings in functions.items():
        assert "search_path=public, pg_temp" in settings, name


async def status_of(client: httpx.AsyncClient, account_id: UUID, token: str) -> int:
    """Ask for an account's workflows and return the answer's status."""
    answer = await client.get(f"/v1/accounts/{account_id}/workflows", headers=bearer(token))
    return answer.status_code


async def tenant_after(token: str, account_id: UUID) -> tuple[Any, Any]:
    """Enter an account; return the verdict, and the tenant that is then set."""
    async with transaction() as connection:
        row = await connection.fetchrow(ENTER, hash_of(token), account_id, MAESTRO)
        assert row is not None
        return row["verdict"], await connection.fetchval("SELECT current_account()")
