"""Accounts are kept apart by PostgreSQL itself; the lists of tables and keys come from its catalogue."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from service.settings import settings
from tenancy.accounts import add_user, create_account
from tenancy.errors import Conflict, SetupRefused
from tenancy.postgres import connected, refuse_unsafe_role
from tenancy.rows import read, rows_of, transaction
from tenancy.tables import Account
from tests.tenancy.catalogue import LINKS, UNIQUE, owned_tables, tenant_column, unprotected
from tests.tenancy.conftest import own_rows
from tests.tenancy.databases import superuser
from tests.world import World

CLAIMED = {
    "timer",
    "job",
    "signal",
    "trigger_key",
    "bulk_action",
    "webhook_delivery",
    "event_trigger",
    "trigger_occurrence",
    "account_settings",
    "account_limits",
    "invitation",
}  # the owner's functions take their rows for the workers, whosever they are
COUNTED = {
    "event",
    "job",
    "task_run",
    "listener",
    "taken_event",
    "trigger_key",
    "instance_term",
    "work_item_assignee",
    "bulk_target",
    "webhook_attempt",
}  # their ids are numbers

APPENDED = {"event"}  # what happened is added to, and neither changed nor deleted


class UndoneError(Exception):
    """Ends a transaction that a test does not want to keep."""


async def test_every_table_of_accounts_has_forced_row_level_security(owner: asyncpg.Connection) -> None:
    assert len(await owned_tables(owner)) >= 16
    assert await unprotected(owner) == {}


@pytest.mark.parametrize(
    ("statements", "lacks"),
    [
        ("", "enabled, forced, a policy for the account's own rows"),
        ("ALTER TABLE stray ENABLE ROW LEVEL SECURITY", "forced, a policy for the account's own rows"),
        (
            """ALTER TABLE stray ENABLE ROW LEVEL SECURITY; ALTER TABLE stray FORCE ROW LEVEL SECURITY;
            CREATE POLICY one ON stray USING (account_id = (SELECT current_account()));
            CREATE POLICY two ON stray FOR SELECT USING (true)""",
            "no other policy for the application's role",
        ),
        (
            """ALTER TABLE stray ENABLE ROW LEVEL SECURITY; ALTER TABLE stray FORCE ROW LEVEL SECURITY;
            CREATE POLICY one ON stray USING (account_id = (SELECT current_account())) WITH CHECK (true)""",
            "the same rule for writing",
        ),
    ],
)
async def test_a_new_table_without_whole_row_level_security_is_found(
    owner: asyncpg.Connection, statements: str, lacks: str
) -> None:
    with contextlib.suppress(UndoneError):
        async with owner.transaction():
            await owner.execute("CREATE TABLE stray (account_id uuid NOT NULL)")
            await owner.execute(statements or "SELECT 1")
            assert await unprotected(owner) == {"stray": lacks.split(", ")}
            raise UndoneError


async def test_links_between_tables_of_accounts_carry_the_account(owner: asyncpg.Connection) -> None:
    links = await owner.fetch(LINKS)
    assert {link["name"] for link in links} == {
        "workflow_version_workflow",
        "workflow_active_version",
        "workflow_latest_version",
        "instance_version",
        "timer_instance",
        "signal_instance",
        "taken_event_instance",
        "task_run_instance",
        "listener_instance",
        "work_item_instance",
        "work_item_assignee_work_item",
        "decision_work_item",
        "schedule_version",
        "webhook_delivery_webhook",
        "webhook_attempt_delivery",
        "trigger_key_workflow",
        "bulk_target_bulk_action",
        "event_trigger_workflow",
        "trigger_occurrence_trigger",
        "trigger_occurrence_instance",
        "definition_key_workflow",
    }
    assert [link["name"] for link in links if "account_id" not in link["columns"]] == []


async def test_unique_keys_of_tables_of_accounts_carry_the_account(owner: asyncpg.Connection) -> None:
    """A unique key over all accounts would tell one account what another one has."""
    for table in await owned_tables(owner):
        keys = await owner.fetch(UNIQUE, table)
        telling = [
            key["name"] for key in keys if not key["is_primary"] and "account_id" not in key["columns"]
        ]
        assert telling == []


async def test_the_applications_role_owns_nothing_and_bypasses_nothing(owner: asyncpg.Connection) -> None:
    role = await owner.fetchrow("SELECT * FROM pg_roles WHERE rolname = 'tutti_app'")
    assert role is not None
    powers = ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb", "rolreplication")
    assert [power for power in powers if role[power]] == []
    owned = await owner.fetch(
        "SELECT classid::regclass, objid FROM pg_shdepend"
        " WHERE refclassid = 'pg_authid'::regclass AND refobjid = 'tutti_app'::regrole AND deptype = 'o'"
    )
    assert owned == []
    assert not await owner.fetchval("SELECT has_schema_privilege('tutti_app', 'public', 'CREATE')")
    assert not await owner.fetchval("SELECT has_table_privilege('tutti_app', 'migration', 'INSERT')")


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("CREATE ROLE danger SUPERUSER", "is a superuser"),
        ("CREATE ROLE danger BYPASSRLS", "may bypass row-level security"),
        ("CREATE ROLE danger CREATEROLE", "may create roles"),
        ("CREATE ROLE danger IN ROLE tutti_owner", "is a member of the role that owns the tables"),
        ("CREATE ROLE danger NOINHERIT IN ROLE tutti_owner", "is a member of the role that owns the tables"),
        (
            "CREATE ROLE mighty BYPASSRLS; CREATE ROLE danger IN ROLE mighty",
            "is a member of a role that may bypass row-level security",
        ),
        ("CREATE ROLE danger IN ROLE postgres", "is a member of a role that may bypass row-level security"),
        ("ALTER ROLE tutti_owner RENAME TO danger", "owns the tables"),
    ],
)
async def test_start_refuses_a_role_that_sees_past_row_level_security(
    database: None, statement: str, reason: str
) -> None:
    async with connected(superuser()) as connection:
        with contextlib.suppress(UndoneError):
            async with connection.transaction():
                await connection.execute(statement)
                await connection.execute("SET LOCAL ROLE danger")
                with pytest.raises(SetupRefused) as refused:
                    await refuse_unsafe_role(connection)
                raise UndoneError
    message = str(refused.value)
    assert reason in message
    assert "'danger'" in message
    assert "CREATE ROLE" in message
    assert "TUTTI_OWNER_DATABASE_URL" in message


async def test_start_accepts_the_applications_role(database: None) -> None:
    async with connected(settings().database.application) as connection:
        await refuse_unsafe_role(connection)


async def test_without_a_tenant_no_account_owned_row_is_seen(furnished: World) -> None:
    async with transaction() as connection:
        for table in await owned_tables(connection):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0, table


async def test_even_the_owner_changes_no_row_without_a_tenant(
    furnished: World, owner: asyncpg.Connection
) -> None:
    for table in await owned_tables(owner):
        key = await tenant_column(owner, table)
        if table not in CLAIMED:
            assert await owner.execute(f"UPDATE {table} SET {key} = {key}") == "UPDATE 0", table


async def test_rows_of_an_account_are_all_that_is_seen_and_updated(furnished: World) -> None:
    async with rows_of(furnished.acme.id) as connection:
        for table in await owned_tables(connection):
            key = await tenant_column(connection, table)
            owners = await connection.fetch(f"SELECT DISTINCT {key} AS account FROM {table}")
            assert [row["account"] for row in owners] == [furnished.acme.id], table
            count = await connection.fetchval(f"SELECT count(*) FROM {table}")
            if table not in APPENDED:
                assert await connection.execute(f"UPDATE {table} SET {key} = {key}") == f"UPDATE {count}", (
                    table
                )


async def test_delete_without_a_condition_leaves_other_accounts_rows(furnished: World) -> None:
    tables = sorted({*await tables_of(furnished)} - APPENDED)
    before = {table: await own_rows(furnished.globex, table) for table in tables}
    async with rows_of(furnished.acme.id) as connection:
        waiting = list(tables)
        while waiting:  # whatever order the foreign keys ask for
            table = waiting.pop(0)
            try:
                async with savepoint(connection):
                    await connection.execute(f"DELETE FROM {table}")
            except asyncpg.ForeignKeyViolationError:
                waiting.append(table)
    assert {table: await own_rows(furnished.acme, table) for table in tables} == dict.fromkeys(tables, 0)
    assert {table: await own_rows(furnished.globex, table) for table in tables} == before


async def test_insert_of_another_accounts_row_is_refused(furnished: World) -> None:
    for table in await tables_of(furnished):
        async with rows_of(furnished.acme.id) as connection:
            key = await tenant_column(connection, table)
            change = {"id": 10**9 if table in COUNTED else str(uuid4())}
            if key != "id":
                change[key] = str(furnished.globex.id)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with savepoint(connection):
                    await connection.execute(
                        f"INSERT INTO {table} SELECT (jsonb_populate_record(one, $1::text::jsonb)).*"
                        f" FROM {table} AS one LIMIT 1",
                        msgspec.json.encode(change).decode(),
                    )


async def test_update_cannot_hand_a_row_to_another_account(furnished: World) -> None:
    for table in await tables_of(furnished):
        async with rows_of(furnished.acme.id) as connection:
            key = await tenant_column(connection, table)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with savepoint(connection):
                    await connection.execute(f"UPDATE {table} SET {key} = $1", furnished.globex.id)


async def test_a_row_cannot_point_at_another_accounts_row(furnished: World) -> None:
    async with transaction() as connection:
        links = await connection.fetch(LINKS)
    for link in links:
        *_, column = link["columns"]
        async with rows_of(furnished.globex.id) as connection:
            foreign = await connection.fetchval(f"SELECT id FROM {link['to']} LIMIT 1")
        async with rows_of(furnished.acme.id) as connection:
            with pytest.raises(asyncpg.ForeignKeyViolationError):
                async with savepoint(connection):
                    await connection.execute(
                        f"UPDATE {link['from']} SET {column} = $1"
                        f" WHERE id = (SELECT id FROM {link['from']} LIMIT 1)",
                        foreign,
                    )


async def test_the_next_borrower_of_a_connection_has_no_tenant(furnished: World) -> None:
    for end in (None, UndoneError):
        try:
            async with rows_of(furnished.acme.id):
                if end is not None:
                    raise end
        except UndoneError:
            pass
        for _ in range(settings().pool_size):
            (row,) = await read(
                "SELECT current_setting('app.account_id', true) AS tenant, count(*) FROM account"
            )
            assert row["tenant"] in (None, "")
            assert row["count"] == 0


async def test_a_borrower_that_leaves_a_transaction_open_hands_its_tenant_to_nobody(furnished: World) -> None:
    left_open = f"BEGIN; SELECT set_config('app.account_id', '{furnished.acme.id}', true)"
    with contextlib.suppress(UndoneError):
        async with rows_of(furnished.acme.id) as connection:
            await connection.execute(f"ROLLBACK; {left_open}")
            raise UndoneError
    for _ in range(settings().pool_size):
        (row,) = await read("SELECT count(*) FROM account")
        assert row["count"] == 0


async def test_a_query_outside_a_transaction_is_an_error(world: World) -> None:
    with pytest.raises(RuntimeError, match="has no tenant"):
        await Account.select().run()


@pytest.mark.parametrize("inner", ["rows_of", "transaction"])
async def test_transactions_do_not_nest(world: World, inner: str) -> None:
    async with rows_of(world.acme.id) as connection:
        with pytest.raises(RuntimeError, match="do not nest"):
            async with rows_of(world.globex.id) if inner == "rows_of" else transaction():
                pass
        assert await connection.fetchval("SELECT id FROM account") == world.acme.id


async def test_create_account_of_an_id_that_exists_is_a_conflict_and_changes_nothing(world: World) -> None:
    with pytest.raises(Conflict):
        await create_account("Impostor", world.acme.id)
    async with rows_of(world.acme.id) as connection:
        assert await connection.fetchval("SELECT name FROM account") == "Acme"


async def test_add_user_to_a_second_account_keeps_the_user(world: World) -> None:
    user_id = await add_user("Admin@Acme.example", "Somebody else", None, world.globex.id, "sender")
    assert user_id == world.acme.admin_id
    async with transaction() as connection:
        row = await connection.fetchrow("SELECT name, password_hash FROM app_user WHERE id = $1", user_id)
    assert row is not None
    assert tuple(row) == ("Acme Admin", None)


async def tables_of(world: World) -> list[str]:
    """Name the tables whose rows belong to accounts."""
    async with rows_of(UUID(int=0)) as connection:
        return await owned_tables(connection)


@contextlib.asynccontextmanager
async def savepoint(connection: Any) -> AsyncIterator[None]:
    """Undo what fails in the block, so that the transaction around it can go on."""
    await connection.execute("SAVEPOINT try")
    try:
        yield
    except asyncpg.PostgresError:
        await connection.execute("ROLLBACK TO SAVEPOINT try")
        raise
