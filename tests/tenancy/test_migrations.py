"""The schema: what the tables say, what the migrations make, and how migrating goes wrong."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest
from piccolo.apps.migrations.commands.new import AutoMigrationManager
from piccolo.columns import Text
from piccolo.conf.apps import AppConfig
from piccolo.table import Table, create_table_class

from service.settings import settings
from tenancy.errors import SetupRefused
from tenancy.postgres import Database, connected
from tenancy.schema import app_configs, known_migrations, migrate, run_sql
from tests.conftest import SOCKETS
from tests.tenancy.databases import environment, fresh_database

PACKAGES = ("tenancy", "auth", "service")


@pytest.fixture
async def fresh(database: None) -> AsyncIterator[Database]:
    """An empty database of the owner's, on the tests' server."""
    async with fresh_database() as made:
        yield made


def config_of(package: str) -> AppConfig:
    """Return a package's Piccolo configuration."""
    return next(app for app in app_configs() if app.app_name == package)


async def drift(config: AppConfig) -> list[str]:
    """List the changes to the tables that no migration makes."""
    changes = await AutoMigrationManager().get_alter_statements(config)
    return [statement for change in changes for statement in change.statements]


@pytest.mark.parametrize("package", PACKAGES)
async def test_migrations_make_the_tables_that_the_code_declares(package: str) -> None:
    assert await drift(config_of(package)) == []


async def test_a_table_without_a_migration_is_found() -> None:
    config = config_of("tenancy")
    stray: type[Table] = create_table_class("Stray", class_members={"name": Text()})
    widened = AppConfig(
        app_name=config.app_name,
        migrations_folder_path=config.migrations_folder_path,
        table_classes=[*config.table_classes, stray],
    )
    assert len(await drift(widened)) == 2  # the table and its column


async def test_migrate_twice_applies_everything_once(fresh: Database) -> None:
    assert await migrate(fresh) == [name for _, name in known_migrations()]
    before = await shape(fresh)
    assert await migrate(fresh) == []
    assert await shape(fresh) == before


async def test_migrate_makes_what_the_tests_run_on(fresh: Database, owner: asyncpg.Connection) -> None:
    await migrate(fresh)
    assert await shape(fresh) == await shape(settings().database)


async def test_two_migrates_at_once_both_succeed(fresh: Database) -> None:
    def run() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "service.cli", "migrate", "--json"],
            env=environment(fresh),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    ends = await asyncio.gather(*(asyncio.to_thread(run().communicate, timeout=60) for _ in range(3)))
    assert [error for _, error in ends] == [b"", b"", b""]
    applied = sorted(len(msgspec.json.decode(output)["applied"]) for output, _ in ends)
    assert applied == [0, 0, len(known_migrations())]


async def test_migrate_that_cannot_get_its_lock_gives_up_with_a_clear_message(
    fresh: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenancy.schema.LOCK_SECONDS", 0.3)
    monkeypatch.setattr("tenancy.schema.LOCK_PAUSE", 0.1)
    await migrate(fresh)
    async with connected(fresh.owner) as connection, connection.transaction():
        await connection.execute("LOCK TABLE migration")
        with pytest.raises(SetupRefused, match="try again"):
            await migrate(fresh)
    assert await migrate(fresh) == []


async def test_migrate_lets_go_of_a_lock_that_it_cannot_get_and_tries_again(
    fresh: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenancy.schema.LOCK_SECONDS", 0.3)
    monkeypatch.setattr("tenancy.schema.LOCK_PAUSE", 0.5)
    async with connected(fresh.owner) as holder, connected(fresh.owner) as reader:
        await migrate(fresh)
        held = holder.transaction()
        await held.start()
        await holder.execute("LOCK TABLE migration IN ACCESS SHARE MODE")
        monkeypatch.setattr("tenancy.schema.apply_missing", locking)
        migrating = asyncio.create_task(migrate(fresh))
        for _ in range(4):  # whoever reads meanwhile waits for one try, not for all
            await asyncio.sleep(0.2)
            async with asyncio.timeout(5):
                await reader.fetchval("SELECT count(*) FROM migration")
        assert not migrating.done()
        await held.rollback()
        assert await migrating == ["locked"]


async def locking() -> list[str]:
    """Stand for a migration that changes a table that others read."""
    await run_sql("LOCK TABLE migration IN ACCESS EXCLUSIVE MODE")
    return ["locked"]


async def test_migrate_that_fails_half_way_leaves_nothing(fresh: Database) -> None:
    async with connected(fresh.owner) as connection:
        await connection.execute("CREATE TABLE event (id bigint)")  # in the way of the last package's table
        with pytest.raises(SetupRefused, match="event"):
            await migrate(fresh)
        assert await connection.fetchval("SELECT to_regclass('account')") is None
        await connection.execute("DROP TABLE event")
    assert len(await migrate(fresh)) == len(known_migrations())


async def test_migrate_as_a_role_that_may_not_says_what_to_do(fresh: Database) -> None:
    as_application = Database(fresh.application, fresh.application, embedded=False)
    with pytest.raises(SetupRefused, match="TUTTI_OWNER_DATABASE_URL"):
        await migrate(as_application)


async def test_migrate_for_a_role_that_does_not_exist_says_how_to_make_it(fresh: Database) -> None:
    url = f"postgresql://nobody_yet@/{fresh.owner['database']}?host={SOCKETS}"
    with pytest.raises(SetupRefused, match="CREATE ROLE nobody_yet"):
        await migrate(Database({"dsn": url}, fresh.owner, embedded=False))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://tutti%5Fapp@/{database}?host={host}",
        "postgresql:///{database}?host={host}&user=tutti_app",
    ],
)
async def test_migrate_gives_rights_to_the_role_in_the_url(fresh: Database, url: str) -> None:
    reach = url.format(database=fresh.owner["database"], host=SOCKETS)
    await migrate(Database({"dsn": reach}, fresh.owner, embedded=False))
    async with connected(fresh.application) as connection:
        assert await connection.fetchval("SELECT count(*) FROM account") == 0


async def shape(database: Database) -> list[Any]:
    """List columns, constraints, indexes, policies, functions and rights: what a schema is to its users."""
    queries = (
        (
            "SELECT table_name, column_name, data_type, is_nullable, column_default"
            " FROM information_schema.columns WHERE table_schema = 'public'"
        ),
        (
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace"
        ),
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "SELECT tablename, policyname, cmd, qual, with_check FROM pg_policies",
        (
            "SELECT oid::regprocedure::text, md5(pg_get_functiondef(oid)) FROM pg_proc"
            " WHERE pronamespace = 'public'::regnamespace"
        ),
        (
            "SELECT relname, relacl::text, relrowsecurity, relforcerowsecurity FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S')"
        ),
    )
    async with connected(database.owner) as connection:
        return [sorted(str(tuple(row)) for row in await connection.fetch(query)) for query in queries]
