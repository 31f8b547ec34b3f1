"""What is stored, of everybody, asked behind the service's back."""

import asyncpg

from tenancy.postgres import connected
from tests.tenancy.databases import superuser

# Failures are counted, which is the one thing that a refusal may change.
TABLES = """
SELECT relname FROM pg_class
WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
  AND relname <> 'throttle'
ORDER BY relname
"""


async def everything() -> dict[str, str | None]:
    """Digest every row of every table."""
    async with connected(superuser()) as connection:
        return {
            row["relname"]: await digest(connection, row["relname"]) for row in await connection.fetch(TABLES)
        }


async def digest(connection: asyncpg.Connection, table: str) -> str | None:
    """Digest every row of one table."""
    found: str | None = await connection.fetchval(
        f"SELECT md5(string_agg(one::text, '|' ORDER BY one::text)) FROM {table} AS one"
    )
    return found


async def run(statement: str, *arguments: object) -> None:
    """Change something past every rule."""
    async with connected(superuser()) as connection:
        await connection.execute(statement, *arguments)


async def forget_failures() -> None:
    """Forget what the throttle counted, so that one test's failures are not the next one's."""
    await run("TRUNCATE throttle")
