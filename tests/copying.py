"""Empties the tests' database, and fills it again with what was there before: under new ids, and as if made just now.

To make a world through the service takes ten times as long, and nearly two thousand tests begin with one.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from auth.bearer import hash_of, new_secret
from service.settings import settings

SMALL = 262_144  # bytes up to which rows are deleted, which is faster than the new files of TRUNCATE
TABLES = """
SELECT relname::text AS name, pg_relation_size(oid) AS bytes FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'migration' ORDER BY name
"""
OF_ALL = {"signing_key", "used_assertion", "throttle"}  # belong to no account, and are not copied
UUIDS = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
TIMES = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*[+-]\d\d:\d\d")


class Copied(msgspec.Struct, frozen=True):
    """Rows as JSON, a list under each table's name; when they were made, and the tokens that they hold digests of."""

    rows: str
    at: datetime
    tokens: tuple[str, ...]


class Mender:
    """One connection for all tests of a process, past every rule: no tenant's, no foreign key's and no trigger's."""

    def __init__(self) -> None:
        self._kept: asyncpg.Connection | None = None

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[asyncpg.Connection]:
        """Open a transaction, and the connection where there is none; it may have been cut by a test."""
        if self._kept is None or self._kept.is_closed():
            self._kept = await asyncpg.connect(**settings().database.owner | {"user": "postgres"})
            await self._kept.execute("SET session_replication_role = replica; SET lock_timeout = '50ms'")
        async with self._kept.transaction():
            yield self._kept

    async def close(self) -> None:
        """Close the connection."""
        if self._kept is not None:
            await self._kept.close()


mender = Mender()


async def emptied() -> None:
    """Empty the database; the worker, which may still be busy with the test before, can stand in the way."""
    in_the_way = (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)
    cut = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.OperatorInterventionError)
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(*in_the_way, *cut):
                async with mender.transaction() as connection:
                    await empty(connection)
                return


async def empty(connection: asyncpg.Connection) -> None:
    """Delete all rows; whoever is writing comes to the end first, and leaves nothing behind."""
    tables = {row["name"]: row["bytes"] for row in await connection.fetch(TABLES)}
    await connection.execute(f"LOCK TABLE {', '.join(tables)} IN SHARE ROW EXCLUSIVE MODE")
    if max(tables.values()) > SMALL:
        await connection.execute(f"TRUNCATE {', '.join(tables)}")
    elif filled := [name for name, size in tables.items() if size]:
        await connection.execute("; ".join(f"DELETE FROM {name}" for name in filled))


async def copied(*tokens: str) -> Copied:
    """Read everything that is there."""
    found = {}
    async with mender.transaction() as connection:
        for row in await connection.fetch(TABLES):
            name = row["name"]
            text = await connection.fetchval(f"SELECT json_agg(one)::text FROM {name} AS one")
            if text is not None and name not in OF_ALL:
                found[name] = msgspec.Raw(text.encode())
    return Copied(msgspec.json.encode(found).decode(), datetime.now(UTC), tokens)


async def pasted(copy: Copied, told: str) -> str:
    """Store a copy once more; `told` is a text about it, which is returned with the new ids and tokens."""
    ids = sorted(set(UUIDS.findall(copy.rows)) - {str(UUID(int=0))})
    new = {old: str(uuid7() if UUID(old).version == 7 else uuid4()) for old in ids}
    passed = datetime.now(UTC) - copy.at
    rows = UUIDS.sub(lambda old: new.get(old[0], old[0]), copy.rows)
    rows = TIMES.sub(lambda old: (datetime.fromisoformat(old[0]) + passed).isoformat(), rows)
    told = UUIDS.sub(lambda old: new.get(old[0], old[0]), told)
    for token in copy.tokens:
        secret = new_secret()
        rows = rows.replace(hash_of(token).hex(), hash_of(secret).hex())
        told = told.replace(token, secret)
    tables = msgspec.json.decode(rows, type=dict[str, msgspec.Raw])
    inserts = [
        f"{name}_made AS (INSERT INTO {name} SELECT * FROM json_populate_recordset(NULL::{name}, $1::json -> '{name}'))"
        for name in tables
    ]
    async with mender.transaction() as connection:
        await connection.execute(f"WITH {', '.join(inserts)} SELECT", rows)
    return told
