"""Brings the database's schema up to date, and says whether it is.

Migrations run as the owner, one process at a time, in one transaction with limits on waiting: a migration that cannot
get a table's lock within 4 seconds lets go of all, instead of making every request of a running service queue up behind
it, and tries again when these are through.
"""

import asyncio
import contextlib
import functools
import io
import sys
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any, cast

import asyncpg
from piccolo.apps.migrations.commands.forwards import ForwardsMigrationManager
from piccolo.apps.migrations.tables import Migration
from piccolo.conf.apps import AppConfig, Finder

from tenancy.errors import SetupRefused
from tenancy.postgres import Database, application_role, connected, engine
from tenancy.rows import Transaction, current_connection, read

LOCK_SECONDS = 4
LOCK_TRIES = 5
LOCK_PAUSE = 3  # seconds between them, for those who wait behind us
STATEMENT_SECONDS = 30
ONE_AT_A_TIME = 0x7475747469  # the advisory lock's key: "tutti"


async def migrate(database: Database) -> list[str]:
    """Apply what is missing, then give the application's role its rights; return the ids that were applied.

    Raises:
        SetupRefused: the database cannot be reached, or the owner's role may not do it; the message says what to do.
    """
    async with connected(database.owner) as connection:
        try:
            # Waiting for another migration holds nobody up, so it may take longer than waiting for a table.
            await connection.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
            await connection.execute("SELECT pg_advisory_lock($1)", ONE_AT_A_TIME)
            await connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
            applied = await migrated(connection, application_role(database))
        except asyncpg.PostgresError as error:
            raise SetupRefused(explained(error, application_role(database))) from None
    return applied


async def migrated(connection: asyncpg.Connection, role: str) -> list[str]:
    """Apply what is missing in one transaction; again when somebody held a table for too long, but not for ever."""
    for _ in range(LOCK_TRIES - 1):
        with contextlib.suppress(asyncpg.LockNotAvailableError):
            return await migrated_at_once(connection, role)
        await asyncio.sleep(LOCK_PAUSE)
    return await migrated_at_once(connection, role)


async def migrated_at_once(connection: asyncpg.Connection, role: str) -> list[str]:
    """Apply what is missing in one transaction."""
    async with as_owner(connection):
        applied = await apply_missing()
        await grant_rights(connection, role)
    return applied


def explained(error: asyncpg.PostgresError, role: str) -> str:
    """Say what an operator can do about a migration that failed."""
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return (
            f"The role in TUTTI_OWNER_DATABASE_URL may not change the schema ({error}). "
            "Make it the database's owner: ALTER DATABASE ... OWNER TO ..."
        )
    if isinstance(error, asyncpg.LockNotAvailableError | asyncpg.QueryCanceledError):
        return "Another process holds the tables or is migrating; try again in a moment."
    if isinstance(error, asyncpg.UndefinedObjectError) and role in str(error):
        return f"The role in DATABASE_URL does not exist; make it: CREATE ROLE {role} LOGIN PASSWORD '...'"
    return f"The schema could not be changed, and is as it was: {error}"


async def apply_missing() -> list[str]:
    """Run every migration that has not run; all in the open transaction: they apply together or not at all."""
    with contextlib.redirect_stdout(
        io.StringIO()
    ):  # Piccolo prints its progress; ours is the caller's to show
        await ForwardsMigrationManager(app_name="tenancy").create_migration_table()
        missing = await missing_migrations()
        for app in app_configs():
            await ForwardsMigrationManager(app_name=app.app_name).run_migrations(app)
    return missing


@contextlib.asynccontextmanager
async def as_owner(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Let Piccolo's queries in this block run on the owner's connection, in one transaction."""
    current = cast("ContextVar[Any]", engine().current_transaction)
    token = current.set(Transaction(connection))
    try:
        async with connection.transaction():
            yield
    finally:
        current.reset(token)


async def run_sql(sql: str) -> None:
    """Run raw statements inside a migration: for what Piccolo has no words for (policies, functions, composite keys)."""
    await current_connection().execute(sql)


async def missing_migrations() -> list[str]:
    """Name the migrations that have not been applied, inside an open transaction."""
    done = {
        (row["app_name"], row["name"])
        for row in await Migration.select(Migration.app_name, Migration.name).run()
    }
    return [name for app, name in known_migrations() if (app, name) not in done]


@functools.cache
def known_migrations() -> list[tuple[str, str]]:
    """List every migration in the code as (package, id), in the order in which they apply."""
    manager = ForwardsMigrationManager(app_name="tenancy")
    with unchanged_path():
        return named(manager)


@contextlib.contextmanager
def unchanged_path() -> Iterator[None]:
    """Take out again what Piccolo puts before the path of modules: each look at a folder of migrations adds it once more."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before


def named(manager: ForwardsMigrationManager) -> list[tuple[str, str]]:
    """Import every package's migrations, and list them."""
    return [
        (app.app_name, name)
        for app in app_configs()
        for name in manager.get_migration_ids(
            manager.get_migration_modules(app.resolved_migrations_folder_path)
        )
    ]


async def is_current() -> bool:
    """Say whether the database has every migration of this code; a newer database is fine."""
    try:
        rows = await read("SELECT app_name, name FROM migration")
    except asyncpg.UndefinedTableError:
        return False
    return set(known_migrations()) <= {(row["app_name"], row["name"]) for row in rows}


def app_configs() -> list[AppConfig]:
    """Return the three packages in the order of their dependence."""
    return Finder().get_app_registry().app_configs.values()  # type: ignore[return-value]


async def grant_rights(connection: asyncpg.Connection, role: str) -> None:
    """Let the application's role use the tables; it owns none of them.

    It cannot touch the record of migrations, and only adds to the record of what happened.
    """
    quoted = '"' + role.replace('"', '""') + '"'
    await connection.execute(
        f"""
        GRANT USAGE ON SCHEMA public TO {quoted};
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {quoted};
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {quoted};
        GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {quoted};
        REVOKE INSERT, UPDATE, DELETE ON migration FROM {quoted};
        REVOKE UPDATE, DELETE, TRUNCATE ON event FROM {quoted};
        """
    )
