"""A million waiting instances: the worker's memory, how soon gets and triggers are answered, how late timers fire.

Two databases on one PostgreSQL, one with few instances and one with many, each with processes of its own; rounds alternate.
"""

import asyncio
import itertools
import random
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from tests.benchmarks.completions import SENT, SETTLE_SECONDS, ids_of, triggering
from tests.benchmarks.crowd import copy
from tests.benchmarks.engine import COUNTED, INPUTS, document
from tests.benchmarks.fairness import started
from tests.benchmarks.load import Measurement, Request, asked, median, round_of
from tests.benchmarks.options import Options
from tests.benchmarks.reporting import OUT, ratio, refuse_wrong, table
from tests.cell import Cell, Postgres

FEW = 1_000
CONNECTIONS = 8
DUE = 1_000
SPREAD = 20  # seconds over which they become due
IN_ADVANCE = 5  # seconds until the first of them does
READ = 5_000  # different instances
SLEEPER = document(
    "sleeper",
    [
        {"before": {"set": {"n": 0, "pause": "${ .pause }"}}},
        {"sleep": {"wait": "${ {milliseconds: .pause} }"}},
        *COUNTED,
    ],
)
COUNTING = document("counting", COUNTED)
LATENESS = f"""
SELECT percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - sent)) AS late,
       count(*) - count(ended_at) AS missing
FROM (SELECT ended_at, {SENT} AS sent FROM instance WHERE account_id = $1 AND name = ANY($2))
"""
NEAR = """
SELECT name FROM instance
WHERE account_id = $1 AND workflow_id = $2 AND ended_at IS NULL AND name ~ '^[0-9]+$' AND name < $3
"""


class Lateness(msgspec.Struct, frozen=True):
    """Seconds between a timer's date and the end of its instance, and how many have not ended."""

    p50: float
    p99: float
    most: float
    missing: int


class Bench:
    """One database with waiting instances."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell

    async def prepare(self, count: int) -> None:
        """Make so many waiting instances, then start what serves and works on them."""
        await self.cell.prepare()
        port = await self.cell.serve()  # a worker of its own puts the original to sleep
        self.sleeper = await self.cell.publish(port, self.cell.acme, SLEEPER)
        self.counting = await self.cell.publish(port, self.cell.acme, COUNTING)
        body = b'{"instance_name": "original", "trigger_inputs": {"pause": 10000000000}}'
        self.original = await started(self.cell, port, self.cell.acme, self.sleeper, body)
        self.cell.end()
        async with self.cell.rows() as rows:
            await copy(rows, self.original, count, "now() + interval '30 days' + n * interval '1 second'")
            await rows.execute("VACUUM ANALYZE")
            await rows.execute("CHECKPOINT")
        self.worker = self.cell.start("worker")
        self.port = await self.cell.serve("--no-worker")

    async def getting(self) -> Request:
        """Read one waiting instance after another, in no order."""
        async with self.cell.rows() as rows:
            found = await rows.fetch(
                "SELECT id FROM instance WHERE account_id = $1 LIMIT 20000", UUID(self.cell.acme.id)
            )
        chosen = random.Random(7).choices([row["id"] for row in found], k=READ)  # noqa: S311 - no secret
        token = self.cell.acme.token
        return itertools.cycle(
            [asked("GET", f"{self.sleeper}/instances/{one}", token) for one in chosen]
        ).__next__

    def triggering(self) -> Request:
        """Trigger an instance that completes at once."""
        return triggering(self.counting, self.cell.acme.token, INPUTS)

    async def lateness(self) -> Lateness:
        """Let a thousand timers become due, and see how late each of their instances ends."""
        step = SPREAD / DUE
        async with self.cell.rows() as rows:
            await copy(
                rows,
                self.original,
                DUE,
                f"now() + interval '{IN_ADVANCE} seconds' + n * interval '{step} seconds'",
            )
            names = await self._due(rows)
            await asyncio.sleep(IN_ADVANCE + SPREAD)
            until = time.monotonic() + SETTLE_SECONDS
            found = await self._late(rows, names)
            while found.missing and time.monotonic() < until:
                await asyncio.sleep(0.1)
                found = await self._late(rows, names)
        return found

    async def _late(self, rows: asyncpg.Connection, names: list[str]) -> Lateness:
        row = await rows.fetchrow(LATENESS, UUID(self.cell.acme.id), names)
        assert row is not None
        p50, p99, most = row["late"] or (0.0, 0.0, 0.0)
        return Lateness(p50, p99, most, row["missing"])

    async def _due(self, rows: asyncpg.Connection) -> list[str]:
        """Name the instances that become due within the day."""
        tomorrow = str(int((time.time() + 86_400) * 1_000_000))
        found = await rows.fetch(NEAR, *map(UUID, ids_of(self.sleeper)), tomorrow)
        return [row["name"] for row in found]

    def memory(self) -> float:
        """Return the worker's resident memory, in MB."""
        status = Path("/proc", str(self.worker.pid), "status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def measure_waiting(postgres: Postgres, options: Options) -> None:
    """Compare a service with few waiting instances with one with many."""
    few, many = Bench(Cell(postgres, "bench_few")), Bench(Cell(postgres, "bench_many"))
    benches = {f"{FEW:,}": few, f"{options.rows:,}": many}
    try:
        for bench, count in ((few, FEW), (many, options.rows)):
            began = time.monotonic()
            await bench.prepare(count)
            OUT.print(f"{count:,} waiting instances made in {time.monotonic() - began:.0f} s")
        rounds: dict[str, list[Measurement]] = {}
        requests: dict[str, tuple[int, Any]] = {}
        for name, bench in benches.items():
            requests[f"get, {name} waiting"] = bench.port, await bench.getting()
            requests[f"trigger, {name} waiting"] = bench.port, bench.triggering()
        for _ in range(options.rounds):
            for name, (port, request) in requests.items():
                rounds.setdefault(name, []).append(
                    await round_of(port, request, CONNECTIONS, options.seconds)
                )
        late = {name: await bench.lateness() for name, bench in benches.items()}
        memory = {name: bench.memory() for name, bench in benches.items()}
    finally:
        few.cell.end()
        many.cell.end()
    report({name: median(each) for name, each in rounds.items()}, late, memory)


def report(found: dict[str, Measurement], late: dict[str, Lateness], memory: dict[str, float]) -> None:
    """Print the figures and how many compare with few."""
    table(
        f"answers with few and with many waiting instances, {CONNECTIONS} connections",
        ("per second", "p50 ms", "p99 ms", "not 2xx"),
        {
            name: (f"{one.rate:,.0f}", f"{one.p50:.2f}", f"{one.p99:.2f}", str(one.wrong))
            for name, one in sorted(found.items())
        },
    )
    table(
        f"{DUE:,} timers due over {SPREAD} s, and the worker's memory after all of it",
        ("late p50 s", "late p99 s", "most s", "never", "worker MB"),
        {
            f"{name} waiting": (
                f"{one.p50:.2f}",
                f"{one.p99:.2f}",
                f"{one.most:.2f}",
                str(one.missing),
                f"{memory[name]:.1f}",
            )
            for name, one in late.items()
        },
    )
    refuse_wrong({name: one.wrong for name, one in found.items()})
    few, many = late
    for verb in ("get", "trigger"):
        ratio(
            f"{verb}: p50 with {many} / with {few}",
            found[f"{verb}, {many} waiting"].p50 / found[f"{verb}, {few} waiting"].p50,
            "at most 1.3",
        )
    ratio(f"worker's memory with {many} / with {few}", memory[many] / memory[few], "at most 1.1")
    ratio(f"latest timer with {many}, seconds", late[many].most, "at most 2")
