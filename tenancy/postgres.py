"""The database: which one, as which role, through which pool.

Two roles: the *owner* makes tables and policies and is used by `tutti migrate` alone; the *application's* role owns
nothing and cannot bypass row-level security, and every other connection uses it. `refuse_unsafe_role` holds that at
start-up.
"""

import asyncio
import contextlib
import warnings
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg
import msgspec
from piccolo.engine import engine_finder
from piccolo.engine.postgres import PostgresEngine

from tenancy.embedded import EmbeddedServer
from tenancy.errors import SetupRefused

OWNER = "tutti_owner"
APPLICATION = "tutti_app"
DATABASE = "tutti"
OLDEST_SERVER = 150_000  # PostgreSQL 15, as server_version_num
STATEMENT_SECONDS = (
    60  # after which a statement is given up: a server that went away without a word says nothing
)
CLOSE_SECONDS = (
    1.0  # for connections that are still lent out when the process ends, and for a server that takes no leave
)
PATIENCE = 5.0  # seconds that a request waits for a connection, if nobody says anything else
ALLOWANCE = 10.0  # seconds that a request's transaction may take; likewise


# What the present role could do about row-level security, by itself or as a role that it is a member of.
POWERS = """
WITH mine AS (SELECT * FROM pg_roles WHERE rolname = current_user),
     owners AS (SELECT DISTINCT relowner AS owner FROM pg_class
                WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace),
     others AS (SELECT pg_roles.* FROM pg_roles, mine
                WHERE pg_roles.oid <> mine.oid AND NOT mine.rolsuper AND pg_has_role(mine.oid, pg_roles.oid, 'MEMBER'))
SELECT mine.rolname, mine.rolsuper, mine.rolbypassrls, mine.rolcreaterole AND NOT mine.rolsuper AS rolcreaterole,
       current_setting('server_version_num')::int AS version,
       EXISTS (SELECT FROM owners WHERE owner = mine.oid) AS owns_tables,
       EXISTS (SELECT FROM owners JOIN others ON others.oid = owner) AS is_owner_too,
       EXISTS (SELECT FROM others WHERE rolsuper OR rolbypassrls) AS can_bypass
FROM mine
"""


class Database(msgspec.Struct, frozen=True):
    """How to reach the database as each role: asyncpg's connection arguments."""

    application: dict[str, Any]
    owner: dict[str, Any]
    embedded: bool


class Engine(PostgresEngine):
    """Piccolo's engine without its habit of connecting while modules are imported, and without stray queries.

    A query outside a transaction of `tenancy.rows` has no tenant: row-level security would answer it with nothing. That
    silence hides mistakes, so here it is an error. `patience` is how many seconds a request waits for a connection, and
    `allowance` how many its transaction may take.
    """

    patience = PATIENCE
    allowance = ALLOWANCE

    async def check_version(self) -> None:
        """Do nothing: `refuse_unsafe_role` checks the version, at start-up instead of at import."""

    async def prep_database(self) -> None:
        """Do nothing: Tutti needs no extension."""

    async def _run_in_pool(self, query: str, args: Any = None) -> Any:  # noqa: ARG002 - Piccolo's signature
        raise RuntimeError("A query outside tenancy.rows has no tenant; open rows_of(account) around it.")

    _run_in_new_connection = _run_in_pool


@cache
def engine() -> Engine:
    """Return the engine that `piccolo_conf.py` made from the settings."""
    found = engine_finder()
    if not isinstance(found, Engine):
        raise SetupRefused("piccolo_conf.py cannot be imported: run from the project's folder or install it.")
    return found


def located(url: str | None, owner_url: str | None, data_folder: Path) -> Database:
    """Name the database for these settings: the one in `url`, or the embedded one under `data_folder`.

    Nothing is started; `EmbeddedServer(data_folder).start()` does that.
    """
    if url is not None:
        return Database({"dsn": url}, {"dsn": owner_url or url}, embedded=False)
    sockets = {"host": str(EmbeddedServer(data_folder).place.sockets), "database": DATABASE}
    return Database(sockets | {"user": APPLICATION}, sockets | {"user": OWNER}, embedded=True)


async def provide_embedded(server: EmbeddedServer) -> None:
    """Make the two roles and the database on a fresh embedded server; on a furnished one, change nothing."""
    superuser = {"host": str(server.place.sockets), "user": "postgres"}
    async with connected(superuser | {"database": "postgres"}) as connection:
        for role in (OWNER, APPLICATION):
            if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
                with contextlib.suppress(asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
                    await connection.execute(f"CREATE ROLE {role} LOGIN")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            with contextlib.suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")


@contextlib.asynccontextmanager
async def connected(arguments: dict[str, Any]) -> AsyncIterator[asyncpg.Connection]:
    """Open one connection outside the pool.

    Raises:
        SetupRefused: the database cannot be reached or does not let us in.
    """
    try:
        connection = await asyncpg.connect(**arguments)
    except ValueError:  # its text may hold a part of the password
        raise SetupRefused(
            "The database cannot be reached: its URL is malformed; percent-encode the password."
        ) from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise SetupRefused(f"The database cannot be reached: {error}") from None
    try:
        yield cast("asyncpg.Connection", connection)
    finally:
        with contextlib.suppress(TimeoutError):  # it is broken off then
            await connection.close(timeout=CLOSE_SECONDS)


@contextlib.asynccontextmanager
async def pool(size: int, patience: float = PATIENCE, allowance: float = ALLOWANCE) -> AsyncIterator[None]:
    """Open the engine's connection pool for as long as the block runs, and refuse an unsafe role first.

    A request waits for a connection for `patience` seconds, and its transaction may take `allowance`.

    Raises:
        SetupRefused: unreachable database, too old a server, or a role that could bypass row-level security.
    """
    database = engine()
    async with connected(database.config) as connection:
        await refuse_unsafe_role(connection)
    database.patience, database.allowance = patience, allowance
    await database.start_connection_pool(
        min_size=min(2, size), max_size=size, reset=leave_clean, command_timeout=STATEMENT_SECONDS
    )
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            await closed(database)


async def closed(database: Engine) -> None:
    """Close the pool; whoever still holds a connection of it, as their statement hangs, loses it."""
    opened = database.pool
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await database.close_connection_pool()
    except TimeoutError:
        if opened is not None:
            opened.terminate()
        database.pool = None


def cut() -> None:
    """Break off every connection of the pool, and lend none any more: whoever hangs in the database goes on with an error."""
    opened = engine().pool
    if opened is not None:
        opened.terminate()


async def leave_clean(connection: asyncpg.Connection) -> None:
    """Replace asyncpg's reset on release, which costs a round trip and undoes session state that we never set.

    A connection that comes back inside a transaction would hand its tenant to the next borrower: it is closed instead.
    """
    if connection.is_in_transaction():
        connection.terminate()


async def refuse_unsafe_role(connection: asyncpg.Connection) -> None:
    """Check that the server is new enough and that its role cannot look past row-level security.

    Raises:
        SetupRefused: with what to do about it.
    """
    row = await connection.fetchrow(POWERS)
    if row is None or row["version"] < OLDEST_SERVER:
        raise SetupRefused("Tutti needs PostgreSQL 15 or newer.")
    reasons = [
        reason
        for column, reason in (
            ("rolsuper", "is a superuser"),
            ("rolbypassrls", "may bypass row-level security (BYPASSRLS)"),
            ("rolcreaterole", "may create roles, and so take the owner's (CREATEROLE)"),
            ("owns_tables", "owns the tables"),
            ("is_owner_too", "is a member of the role that owns the tables"),
            ("can_bypass", "is a member of a role that may bypass row-level security"),
        )
        if row[column]
    ]
    if reasons:
        raise SetupRefused(
            f"The role {row['rolname']!r} in DATABASE_URL {' and '.join(reasons)}, so accounts would not be kept apart. "
            f"Create a plain one (CREATE ROLE {APPLICATION} LOGIN PASSWORD '...'), put it into DATABASE_URL, "
            "put the owner's URL into TUTTI_OWNER_DATABASE_URL and run: tutti migrate"
        )


def application_role(database: Database) -> str:
    """Return the name of the application's role, for the grants that follow a migration."""
    if "user" in database.application:
        return str(database.application["user"])
    url = urlsplit(str(database.application["dsn"]))
    if url.username:
        return unquote(url.username)
    return parse_qs(url.query).get("user", [APPLICATION])[-1]
