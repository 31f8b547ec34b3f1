"""What is stored, asked behind the service's back."""

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from service.settings import settings
from tenancy.postgres import connected
from tests.copying import mender

TABLES = (
    "account",
    "membership",
    "client",
    "invitation",
    "workflow",
    "workflow_version",
    "instance",
    "timer",
    "signal",
    "event",
    "work_item",
    "decision",
    "bulk_action",
    "bulk_target",
    "webhook",
    "webhook_delivery",
    "webhook_attempt",
    "event_trigger",
    "trigger_occurrence",
)
DIGEST = " UNION ALL ".join(
    f"SELECT '{table}', count(*), md5(string_agg(one::text, '|' ORDER BY one::text)) FROM {table} AS one"
    f" WHERE {'id' if table == 'account' else 'account_id'} = ANY($1)"
    for table in TABLES
)


async def digest(accounts: Iterable[UUID]) -> dict[str, Any]:
    """Count and digest every row of the accounts, and count the jobs.

    On a connection that is kept: a new one spends twenty times as long on learning what the tables are.
    """
    async with mender.transaction() as connection:
        found = {table: rest for table, *rest in await connection.fetch(DIGEST, list(accounts))}
        return found | {"jobs": await connection.fetchval("SELECT count(*) FROM job")}


async def at_rest(accounts: list[UUID]) -> None:
    """Wait until the engine has nothing left to do."""
    before: dict[str, Any] = {}
    async with asyncio.timeout(20):
        while before.get("jobs") != 0 or before != await digest(accounts):
            await asyncio.sleep(0.05)
            before = await digest(accounts)


INSERT = """
INSERT INTO instance (id, account_id, workflow_id, version_id, version, name, status, started_at, ended_at, last_modified_at,
                      started_by, started_by_name, trigger_inputs, total_steps, workflow_created_by, access_id, access_secret_hash)
SELECT gen_random_uuid(), $1, workflow.id, workflow.active_version_id, '1.0.0', 'number ' || number,
       CASE WHEN number % 10 = 0 THEN 'waiting' WHEN number % 10 = 1 THEN 'faulted' ELSE 'completed' END,
       moment, CASE WHEN number % 10 > 0 THEN moment END, moment,
       ($3::uuid[])[1 + number % cardinality($3::uuid[])], 'somebody',
       CASE WHEN $5::integer = 0 THEN '{}' ELSE jsonb_build_object('a', repeat('a', 1000 * $5::integer)) END, 3, workflow.created_by, gen_random_uuid(), '\\x00'
FROM workflow, generate_series(1, $4::integer) AS number,
     LATERAL (SELECT now() - interval '1 hour' - number / 3 * interval '1 second' AS moment) AS started
WHERE workflow.id = $2
"""


async def insert_instances(
    account: UUID, workflow: UUID, starters: list[UUID], count: int, kilobytes: int = 0
) -> None:
    """Store instances by the hundred: three of each second, a tenth of them waiting and a tenth failed."""
    async with connected(settings().database.owner) as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.account_id', $1, true)", str(account))
        await connection.execute(INSERT, account, workflow, starters, count, kilobytes)


async def analyze() -> None:
    """Let the planner know what is there."""
    async with connected(settings().database.owner) as connection:
        await connection.execute("ANALYZE instance")
