"""How long one account's instances take while another account has twenty thousand queued."""

import asyncio
import time
from uuid import UUID

import msgspec

from tests.benchmarks.callee import answering
from tests.benchmarks.completions import Completions, completions, ids_of, median, triggering
from tests.benchmarks.crowd import copy
from tests.benchmarks.engine import COUNTED, LOOPBACK, call, document
from tests.benchmarks.load import Client, asked
from tests.benchmarks.options import Options
from tests.benchmarks.reporting import OUT, ratio, table
from tests.cell import Account, Cell, Postgres

PAUSE = 0.05  # seconds between two triggers of the account that is measured
ROUNDS = 3  # of each kind; a backlog takes its time
LONGEST = 120  # seconds that a backlog may last
AIM = "at most 3"

# An advance of each copy is queued, as if its timer had just fired.
QUEUE = """
WITH fired AS (
    DELETE FROM timer WHERE account_id = $1 AND wait <> 0 AND instance_id <> $2 RETURNING account_id, instance_id, wait
)
INSERT INTO job (account_id, instance_id, lane, reason, wait)
SELECT account_id, instance_id, 'advance', 'timer', wait FROM fired
"""
FIRE = "UPDATE timer SET due_at = now() WHERE account_id = $1 AND wait <> 0 AND instance_id <> $2"
LEFT = "SELECT count(*) FROM instance WHERE account_id = $1 AND id <> $2 AND ended_at IS NULL"
WAITS = "SELECT EXISTS (SELECT FROM timer WHERE instance_id = $1 AND wait <> 0)"


class Bench:
    """A service with two accounts: one that queues, one whose instances are timed."""

    def __init__(self, cell: Cell, port: int, crowded: str, timed: dict[str, str]) -> None:
        self.cell = cell
        self.port = port
        self.crowded = crowded
        self.timed = timed

    async def waiting(self) -> UUID:
        """Trigger the instance that the backlog consists of copies of; return its id once it waits."""
        account = self.cell.acme
        body = b'{"instance_name": "original", "trigger_inputs": {"n": 0, "pause": 1000000000}}'
        return await started(self.cell, self.port, account, self.crowded, body)

    async def time_for(self, seconds: float) -> dict[str, Completions]:
        """Trigger each workflow of the other account in turn, for so long."""
        begin = time.time()
        await self._trigger_until(begin + seconds)
        return await self._found(begin)

    async def time_behind(self, original: UUID, backlog: int, statement: str) -> dict[str, Completions]:
        """Queue the backlog by a statement, and trigger for as long as it lasts."""
        account_id, _ = ids_of(self.crowded)
        async with self.cell.rows() as rows:
            await copy(rows, original, backlog, "now() + interval '1 day'")
            await rows.execute("VACUUM ANALYZE instance, timer, job, task_run, event")
            begin = time.time()
            await rows.execute(statement, account_id, original)
            await rows.execute("SELECT pg_notify('tutti_jobs', 'advance')")
            while await rows.fetchval(LEFT, account_id, original) and time.time() < begin + LONGEST:
                await self._trigger_until(time.time() + 1)
        OUT.print(f"{backlog:,} queued instances lasted {time.time() - begin:.1f} s")
        return await self._found(begin)

    async def _trigger_until(self, until: float) -> None:
        client, token = Client(self.port), self.cell.globex.token
        requests = [triggering(path, token, b'{"n": 0, "pause": 1}') for path in self.timed.values()]
        while time.time() < until:
            for request in requests:
                await client.ask(request())
                await asyncio.sleep(PAUSE)
        client.close()

    async def _found(self, begin: float) -> dict[str, Completions]:
        end = time.time()
        async with self.cell.rows() as rows:
            return {name: await completions(rows, path, begin, end) for name, path in self.timed.items()}


async def started(cell: Cell, port: int, account: Account, path: str, body: bytes) -> UUID:
    """Trigger an instance that waits; return its id once it does."""
    client = Client(port)
    _, answer = await client.ask(asked("POST", f"{path}/actions/trigger", account.token, body))
    client.close()
    found = UUID(msgspec.json.decode(answer)["instance_id"])
    async with cell.rows() as rows:
        while not await rows.fetchval(WAITS, found):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.05)
    return found


async def measure_fairness(postgres: Postgres, options: Options) -> None:
    """Time an account's instances with nothing else queued, behind queued jobs, and behind timers due at once."""
    cell = Cell(postgres, "bench_fairness", **LOOPBACK)
    await cell.prepare()
    try:
        async with answering() as callee:
            port = await cell.serve()
            later = document("later", [{"sleep": {"wait": "${ {milliseconds: .pause} }"}}, *COUNTED])
            called = document("called", [*call(callee.port), *COUNTED])
            timed = {
                "wait of 1 ms, three sets": await cell.publish(port, cell.globex, later),
                "HTTP call, three sets": await cell.publish(port, cell.globex, called),
            }
            bench = Bench(cell, port, await cell.publish(port, cell.acme, later), timed)
            original = await bench.waiting()
            rounds: dict[str, list[Completions]] = {}
            for _ in range(min(ROUNDS, options.rounds)):
                for kind, found in (
                    ("idle", await bench.time_for(3 * options.seconds)),
                    ("behind jobs", await bench.time_behind(original, options.backlog, QUEUE)),
                    ("behind timers", await bench.time_behind(original, options.backlog, FIRE)),
                ):
                    for name, one in found.items():
                        rounds.setdefault(f"{name}, {kind}", []).append(one)
    finally:
        cell.end()
    report({name: median(each) for name, each in rounds.items()}, list(timed), options.backlog)


def report(found: dict[str, Completions], timed: list[str], backlog: int) -> None:
    """Print the times and how they compare."""
    table(
        f"one account's instances, from trigger to completion, beside another's {backlog:,}",
        ("p50 ms", "p95 ms", "p99 ms", "instances", "not completed"),
        {
            name: (f"{one.p50:.1f}", f"{one.p95:.1f}", f"{one.p99:.1f}", str(one.counted), str(one.wrong))
            for name, one in sorted(found.items())
        },
    )
    for name in timed:
        for kind in ("behind jobs", "behind timers"):
            ratio(
                f"{name}: p95 {kind} / idle", found[f"{name}, {kind}"].p95 / found[f"{name}, idle"].p95, AIM
            )
