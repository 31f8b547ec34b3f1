"""Measures how many bytes accounts store that are limited in it; of the others nobody measures anything.

An account's rows are read along their keys, some thousand at a time, with pauses between that keep it at a small share of
one connection's time. A row counts 200 bytes, and its large values as many as they take, compressed as the database has them;
indexes are not counted.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from service.limits.known import refresh
from tenancy.rows import current_connection, read, rows_of

AT_ONCE = 5_000  # rows
ROW_BYTES = 200  # that a row is counted with, beside its large values
SHARE = 0.05  # of the time, that measuring takes at the most
AGAIN_AFTER = timedelta(seconds=30)  # since an account was measured, at the least
LEASE = timedelta(minutes=5)  # after which others measure what a process that died was measuring

CLAIM = "SELECT account_id FROM claim_measurement($1)"
KEEP = "UPDATE account_limits SET measure_at = clock_timestamp() + $2 WHERE account_id = $1"
WRITE = """
UPDATE account_limits SET measured_bytes = $2, measured_at = clock_timestamp(), measure_at = clock_timestamp() + $3
WHERE account_id = $1
"""

# Waits for some seconds; False if there is to be no more measuring.
Pause = Callable[[float], Awaitable[bool]]


class Part(msgspec.Struct, frozen=True):
    """A table that is measured: along an index that begins with the account, by the columns that may be large."""

    table: str
    key: tuple[str, ...]
    kinds: tuple[str, ...]
    columns: tuple[str, ...]

    def statement(self, *, first: bool) -> str:
        """Measure the next rows of an account ($1), so many at the most ($2); behind the key that follows if not the first."""
        size = " + ".join(f"coalesce(pg_column_size({column}), 0)" for column in self.columns)
        key = ", ".join(self.key)
        behind = ", ".join(f"${place}::{kind}" for place, kind in enumerate(self.kinds, 3))
        going_on = "" if first else f"AND ({key}) > ({behind})"
        backwards = ", ".join(f"{column} DESC" for column in self.key)
        return f"""
        WITH next AS MATERIALIZED (
            SELECT {key}, {ROW_BYTES} + {size} AS size FROM {self.table}
            WHERE account_id = $1 {going_on} ORDER BY {key} LIMIT $2
        )
        SELECT (SELECT count(*) FROM next) AS found, (SELECT sum(size) FROM next) AS size, {key} FROM next
        ORDER BY {backwards} LIMIT 1
        """


PARTS = (
    Part("workflow_version", ("workflow_id", "id"), ("uuid", "uuid"), ("document", "source")),
    Part("instance", ("id",), ("uuid",), ("trigger_inputs", "state", "output", "fault")),
    Part("task_run", ("instance_id", "number"), ("uuid", "integer"), ("input", "output", "error")),
    Part("work_item", ("id",), ("uuid",), ("description", "data", "form", "output")),
    Part("signal", ("instance_id", "event_key"), ("uuid", "text"), ("event",)),
    Part("event", ("at", "id"), ("timestamptz", "bigint"), ("data", "before", "after")),
    Part("trigger_occurrence", ("trigger_id", "event_key"), ("uuid", "text"), ("event", "error")),
    Part("webhook_delivery", ("id",), ("uuid",), ("data",)),
)


async def measure_next(pause: Pause) -> bool:
    """Measure the account that has waited longest for it; False if none does."""
    claimed = await read(CLAIM, LEASE)
    for row in claimed:
        await measure(row["account_id"], pause)
    return bool(claimed)


async def measure(account_id: UUID, pause: Pause) -> int | None:
    """Measure how many bytes an account stores, and write it down; None: it was told to stop before it was done."""
    began = time.monotonic()
    total = 0
    for part in PARTS:
        size = await measured(account_id, part, pause)
        if size is None:
            return None
        total += size
    took = timedelta(seconds=time.monotonic() - began)
    async with rows_of(account_id) as connection:
        await connection.execute(WRITE, account_id, total, max(AGAIN_AFTER, took))
    await refresh()
    return total


async def measured(account_id: UUID, part: Part, pause: Pause) -> int | None:
    """Measure an account's rows in one table; None: it was told to stop."""
    total, found = 0, AT_ONCE
    behind: tuple[Any, ...] = ()
    while found == AT_ONCE:
        began = time.monotonic()
        async with rows_of(account_id):
            statement = part.statement(first=not behind)
            row = await current_connection().fetchrow(statement, account_id, AT_ONCE, *behind)
            if row is None:
                break
            await current_connection().execute(KEEP, account_id, LEASE)
        found, total = row["found"], total + int(row["size"])
        behind = tuple(row[one] for one in part.key)
        if not await pause((time.monotonic() - began) * (1 - SHARE) / SHARE):
            return None
    return total
