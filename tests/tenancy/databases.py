"""Databases of a test's own, on the tests' server."""

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

from tenancy.postgres import Database, connected
from tests.conftest import SOCKETS


def superuser(database: str = "tutti") -> dict[str, Any]:
    """Say how to reach a database past every rule, to look at all accounts at once."""
    return {"host": str(SOCKETS), "user": "postgres", "database": database}


@contextlib.asynccontextmanager
async def fresh_database() -> AsyncIterator[Database]:
    """Make an empty database of the owner's, for as long as the block runs."""
    name = f"fresh_{uuid4().hex}"
    async with connected(superuser("postgres")) as connection:
        await connection.execute(f"CREATE DATABASE {name} OWNER tutti_owner")
        reach = {"host": str(SOCKETS), "database": name}
        try:
            yield Database(reach | {"user": "tutti_app"}, reach | {"user": "tutti_owner"}, embedded=False)
        finally:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def environment(database: Database) -> dict[str, str]:
    """Write the settings that name a database, for another process."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    url = "postgresql://{user}@/{database}?host={host}"
    return kept | {
        "DATABASE_URL": url.format(**database.application),
        "TUTTI_OWNER_DATABASE_URL": url.format(**database.owner),
    }
