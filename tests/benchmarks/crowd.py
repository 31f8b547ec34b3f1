"""Makes many waiting instances out of one: its rows again and again, under new ids and with other dates."""

from uuid import UUID

import asyncpg

# What every copy has of its own; a number that the table counts up by itself is left to it. `fresh` is the copy: its
# id, and when its timer is due.
OWN = {
    "instance": {
        "id": "fresh.id",
        "name": "(extract(epoch FROM fresh.due_at) * 1000000)::bigint::text",
        "access_id": "gen_random_uuid()",
    },
    "task_run": {"id": "", "instance_id": "fresh.id"},
    "event": {"id": "", "instance_id": "fresh.id"},
    "timer": {"id": "uuidv7()", "instance_id": "fresh.id", "due_at": "fresh.due_at"},
}
COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped"
AT_ONCE = 100_000


async def copy(rows: asyncpg.Connection, original: UUID, count: int, due_at: str) -> None:
    """Copy a waiting instance with history, events and timer; `due_at` is SQL that may use `n`, from 1 to the count.

    The name of a copy is the moment at which its timer is due, in microseconds since the epoch.
    """
    await rows.execute("SET synchronous_commit = off")
    for first in range(1, count + 1, AT_ONCE):
        await rows.execute("CREATE TEMPORARY TABLE fresh (id uuid, due_at timestamptz)")
        last = min(first + AT_ONCE - 1, count)
        made = f"SELECT uuidv7(), {due_at} FROM generate_series({first}, {last}) AS n"
        await rows.execute(f"INSERT INTO fresh {made}")
        for table in OWN:
            await rows.execute(await statement(rows, table), original)
        await rows.execute("DROP TABLE fresh")
    await rows.execute("RESET synchronous_commit")


async def statement(rows: asyncpg.Connection, table: str) -> str:
    """Write the statement that copies an instance's rows of one table."""
    own = OWN[table]
    columns = [row["attname"] for row in await rows.fetch(COLUMNS, table)]
    taken = {name: own.get(name, f"original.{name}") for name in columns}
    taken = {name: value for name, value in taken.items() if value}
    key = "id" if table == "instance" else "instance_id"
    return (
        f"INSERT INTO {table} ({', '.join(taken)}) SELECT {', '.join(taken.values())}"
        f" FROM {table} AS original, fresh WHERE original.{key} = $1"
    )
