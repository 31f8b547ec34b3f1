"""What is kept of a run in which something was not as it must be: enough to see what happened, and to run it again."""

import shutil
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from uuid import UUID

import asyncpg
import msgspec

from tests.chaos.invariants import COLUMNS
from tests.chaos.run import Plan, Ran

MOST_DUMPED = 50  # instances


async def keep(plan: Plan, ran: Ran, folder: Path) -> None:
    """Write plan, faults, logs of clients, callee and receiver, logs of the processes, and the rows in question."""
    write(folder / "plan.json", [plan])
    write(folder / "faults.jsonl", ran.faults.timeline)
    write(folder / "client.jsonl", ran.evidence.log.attempts)
    write(folder / "acknowledged.jsonl", ran.evidence.log.acknowledged)
    write(folder / "calls.jsonl", ran.evidence.calls)
    write(folder / "webhooks.jsonl", ran.evidence.heard)
    write(folder / "wrong.jsonl", ran.outcome.wrong)
    write(folder / "violations.jsonl", ran.outcome.violations)
    there = ran.cell.postgres
    for log in (*there.folder.glob("*.log"), there.server.place.data.parent / "postgres.log"):
        if log.parent != folder:
            shutil.copy(log, folder)
    named = dict.fromkeys(one.instance_id for one in ran.outcome.violations if one.instance_id is not None)
    write(folder / "rows.jsonl", [line async for line in rows_of(ran.rows, list(named)[:MOST_DUMPED])])


def write(path: Path, lines: Iterable[object]) -> None:
    """Write lines of JSON."""
    path.write_bytes(b"".join(msgspec.json.encode(line, enc_hook=str) + b"\n" for line in lines))


async def rows_of(rows: asyncpg.Connection, instances: list[UUID]) -> AsyncIterator[dict[str, object]]:
    """Read every row about some instances, table by table."""
    for name, columns in COLUMNS.items():
        key = "id" if name == "instance" else "instance_id"
        if key in columns:
            statement = f"SELECT to_jsonb(one)::text FROM {name} AS one WHERE {key} = ANY ($1) ORDER BY id"
            for row in await rows.fetch(statement, instances):
                yield {"table": name, "row": msgspec.Raw(row[0].encode())}
