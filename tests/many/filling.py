"""Fills a database with instances of several accounts and all that belongs to them, past triggers and indexes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from tests.many.statements import FUNCTIONS, OF_EVERY_ACCOUNT, OF_THE_BUSY_ONE

AT_ONCE = 50_000  # numbers of one transaction
WORKERS = 2  # connections that fill at the same time
YEAR = 365 * 86_400
SESSION = """
SET session_replication_role = replica; SET synchronous_commit = off; SET jit = off; SET work_mem = '256MB';
SET maintenance_work_mem = '1GB'; SET max_parallel_maintenance_workers = 1;
"""
TABLES = (
    *("instance", "instance_term", "task_run", "event", "work_item", "work_item_assignee"),
    *("bulk_action", "webhook_delivery", "workflow", "app_user", "membership", "client", "invitation"),
)
# Those that no constraint needs.
INDEXES = """
SELECT index.indexrelid::regclass::text AS name, pg_get_indexdef(index.indexrelid) AS definition
FROM pg_index AS index WHERE index.indrelid = ANY ($1::regclass[])
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = index.indexrelid)
ORDER BY pg_relation_size(index.indexrelid) DESC
"""

Opened = Callable[[], AbstractAsyncContextManager[asyncpg.Connection]]


class Crowd(msgspec.Struct, frozen=True):
    """Who the instances of an account belong to, and how many there are.

    The first two workflows and starters are odd ones: what the first starter started is all of the first workflow and
    waits, what the second one did is of the second and completed. `person`, of `role`, is assigned work items.
    """

    account_id: UUID
    count: int
    workflows: tuple[UUID, ...]
    version: UUID
    starters: tuple[UUID, ...]
    person: UUID
    admin: UUID
    email: str
    role: str
    webhook: UUID | None = None  # of an account that has all that an account can have many of
    place: int = 0
    until: float = msgspec.field(
        default_factory=time.time
    )  # the last instance's start, in seconds since the epoch

    @property
    def busy(self) -> bool:
        """Whether all that an account can have many of is made, too."""
        return self.webhook is not None

    @property
    def longest(self) -> int:
        """The number whose instance and work item have a long history."""
        return self.count

    def arguments(self) -> str:
        """Write what the statements ask for."""
        step = YEAR / max(1, self.count // 3)
        begin = self.until - YEAR - 3 * step
        return msgspec.json.encode(
            {**msgspec.to_builtins(self), "longest": self.longest, "begin": begin, "step": step}
        ).decode()


WEBHOOK = """
INSERT INTO webhook (id, account_id, url, format, secret, enabled, created_by, modified_by)
VALUES ($1, $2, 'https://hooks.example/', 'standard', '\\x00', false, $1, $1)
"""
KNOWN = """
SELECT longest.instance_id AS long_instance, instance.workflow_id AS of_long_instance, (
    SELECT instance_id FROM work_item WHERE account_id = $1 AND instance_id <> longest.instance_id LIMIT 1) AS instance, (
    SELECT data ->> 'work_item_id' FROM event WHERE account_id = $1 AND type LIKE 'work_item.%'
    GROUP BY 1 ORDER BY count(*) DESC LIMIT 1) AS long_work_item, (
    SELECT request_id FROM event WHERE account_id = $1 AND request_id IS NOT NULL LIMIT 1) AS request
FROM (SELECT instance_id FROM task_run WHERE account_id = $1 AND name = 'turn' LIMIT 1) AS longest
JOIN instance ON instance.id = longest.instance_id
"""


async def known(connection: asyncpg.Connection, crowd: Crowd) -> dict[str, str]:
    """Say how the things of an account are called that its lists are narrowed to."""
    found = await connection.fetchrow(KNOWN, crowd.account_id)
    assert found is not None
    at = datetime.fromtimestamp(crowd.until, UTC)
    return {name: str(value) for name, value in found.items()} | {
        "accountId": str(crowd.account_id),
        "waiting_workflow": str(crowd.workflows[0]),
        "completing_workflow": str(crowd.workflows[1]),
        "workflow": str(crowd.workflows[2]),
        "waiting_starter": str(crowd.starters[0]),
        "completing_starter": str(crowd.starters[1]),
        "starter": str(crowd.person),
        "webhook": str(crowd.webhook),
        "middle": (at - timedelta(days=180)).isoformat(),
        "end": (at + timedelta(days=365)).isoformat(),
    }


async def fill(opened: Opened, crowds: Sequence[Crowd]) -> None:
    """Make the rows; `opened` opens connections as a superuser. Indexes are made anew over all rows at the end."""
    parts = [
        (crowd, first, min(first + AT_ONCE - 1, crowd.count))
        for crowd in crowds
        for first in range(1, crowd.count + 1, AT_ONCE)
    ]
    parts.reverse()  # so that popping takes the first
    async with opened() as connection:
        indexes = await connection.fetch(INDEXES, list(TABLES))
        for one in indexes:
            await connection.execute(f"DROP INDEX {one['name']}")
    await together(opened, parts, made)
    definitions = [one["definition"] for one in reversed(indexes)]
    await together(opened, definitions, asyncpg.Connection.execute)
    await together(
        opened, [f"VACUUM (ANALYZE) {table}" for table in reversed(TABLES)], asyncpg.Connection.execute
    )


async def together(opened: Opened, tasks: list[Any], done: Callable[[asyncpg.Connection, Any], Any]) -> None:
    """Do tasks, the last first, over several connections."""

    async def work() -> None:
        async with session(opened) as connection:
            while tasks:
                await done(connection, tasks.pop())

    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(work())


@contextlib.asynccontextmanager
async def session(opened: Opened) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection that makes rows as fast as it goes."""
    async with opened() as connection:
        await connection.execute(SESSION)
        await connection.execute(FUNCTIONS)
        yield connection


async def made(connection: asyncpg.Connection, part: tuple[Crowd, int, int]) -> None:
    """Make the rows of some numbers of an account."""
    crowd, first, last = part
    async with connection.transaction():
        for statement in OF_EVERY_ACCOUNT + (OF_THE_BUSY_ONE if crowd.busy else ()):
            await connection.execute(statement, crowd.account_id, first, last, crowd.arguments())
