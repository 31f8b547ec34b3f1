"""One run: start everything, drive the load while things go wrong, let it settle, look."""

import asyncio
import base64
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import asyncpg
import msgspec

from service.settings import SECRET_KEY_BYTES
from tests.cell import Cell, Postgres, free_port
from tests.chaos.asking import ClientLog
from tests.chaos.callee import Callee
from tests.chaos.evidence import Evidence
from tests.chaos.faults import GONE, Faults, Supervised
from tests.chaos.invariants import Violation, violations
from tests.chaos.mix import Kind, chance, mix
from tests.chaos.people import Outside
from tests.chaos.receiver import Receiver
from tests.chaos.scene import Tenant, furnished

# A call that nobody awaits any more may still be under way when its instance has ended.
LEFT = """
SELECT (SELECT count(*) FROM instance WHERE ended_at IS NULL) AS instances, (SELECT count(*) FROM job) AS jobs,
       (SELECT count(*) FROM webhook_delivery WHERE status = 'pending') AS deliveries,
       (SELECT count(*) FROM webhooks_behind('00000000-0000-0000-0000-000000000000', 100)) AS unread
"""
LAPSE = """
UPDATE webhook_delivery SET leased_until = leased_until - $1 * interval '1 second', next_at = next_at - $1 * interval '1 second'
WHERE status = 'pending'
"""
TELL_EVERY = 15  # seconds
QUIET = 3  # looks in a row that find people nothing to do
COUNTS = """
SELECT dialect, status, count(*) FROM instance JOIN kind USING (account_id, workflow_id)
GROUP BY dialect, status ORDER BY dialect, status
"""


class Plan(msgspec.Struct, frozen=True):
    """How much: instances at most, seconds over which they are started, clients, and seconds that settling may take."""

    seed: int
    instances: int = 2500
    seconds: float = 180
    clients: int = 16
    patience: float = 240
    kinds: tuple[str, ...] = ()  # all, where none is named
    gap: tuple[float, float] = (1.0, 4.0)  # seconds between two faults
    workers: int = 3
    lapse: float = (
        0  # seconds that pass for webhooks when all is calm: what a killed courier has begun waits 60
    )


class Outcome(msgspec.Struct, frozen=True):
    """What came of it."""

    acknowledged: dict[str, int]  # by verb
    answers: dict[int, int]  # to whatever clients sent, by status; 0: none came
    retried: int
    instances: dict[str, dict[str, int]]  # by dialect and status
    faults: dict[str, int]
    calls: int
    repeated_calls: int
    webhook_messages: int
    repeated_messages: int
    settled_seconds: float
    left: dict[str, int]  # when settling was over, or given up
    wrong: list[str]
    violations: list[Violation]

    @property
    def held(self) -> bool:
        """Whether everything is as it must be."""
        return not (self.wrong or self.violations or any(self.left.values()))


class Ran(msgspec.Struct, frozen=True):
    """A run that is over: what came of it, what those outside know, and the database as it left it."""

    outcome: Outcome
    evidence: Evidence
    faults: Faults
    cell: Cell
    rows: asyncpg.Connection


@contextlib.asynccontextmanager
async def chaos(plan: Plan, folder: Path, tell: Callable[[str], None] = lambda _: None) -> AsyncIterator[Ran]:
    """Run a plan in a folder of its own, where the processes' logs stay; `tell` hears how far it is, now and then.

    The database is there for as long as the block runs.
    """
    postgres = Postgres(folder)
    await postgres.start()
    cell = Cell(
        postgres,
        "chaos",
        TUTTI_EGRESS_ALLOW="127.0.0.0/8",
        TUTTI_SANDBOX_PROCESSES="1",
        TUTTI_LOG_LEVEL="warning",
        TUTTI_SECRET_KEYS=base64.b64encode(os.urandom(SECRET_KEY_BYTES)).decode(),
    )
    try:
        await cell.prepare()
        callee, receiver = Callee(plan.seed), Receiver(plan.seed)
        async with callee.answering() as port, receiver.answering() as receiver_port:
            kinds = [kind for kind in mix(port) if not plan.kinds or kind.name in plan.kinds]
            run = Run(plan, cell, kinds, callee, receiver, tell)
            outcome_of = await run.disturbed(receiver_port)
        cell.end()
        async with cell.rows() as rows:
            yield await outcome_of(rows)
    finally:
        cell.end()
        postgres.remove()


class Run:
    """What takes part in one run."""

    def __init__(
        self,
        plan: Plan,
        cell: Cell,
        kinds: Sequence[Kind],
        callee: Callee,
        receiver: Receiver,
        tell: Callable[[str], None],
    ) -> None:
        self._plan, self._cell, self._kinds, self._tell = plan, cell, kinds, tell
        self._callee, self._receiver = callee, receiver
        self._ports = [free_port(), free_port()]
        self._processes = [
            Supervised(cell, "api-1", "serve", "--port", str(self._ports[0])),
            Supervised(cell, "api-2", "serve", "--no-worker", "--port", str(self._ports[1])),
            *(Supervised(cell, f"worker-{number + 1}", "worker") for number in range(plan.workers)),
        ]

    async def disturbed(self, receiver_port: int) -> Callable[[asyncpg.Connection], Awaitable[Ran]]:
        """Drive the load while things go wrong, and let it settle; what is returned looks what became of it."""
        plan = self._plan
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(process.keep()) for process in self._processes]
            for port in self._ports:
                await self._cell.ready(port)
            tenants = await furnished(self._cell, self._ports[0], receiver_port, self._kinds)
            log = ClientLog()
            outside = Outside(self._cell, self._ports, tenants, self._kinds, plan.seed, log)
            faults = Faults(self._cell, self._processes, chance(plan.seed, "faults"), plan.gap)
            for tenant in tenants:
                beside.append(group.create_task(outside.attend(tenant)))
                beside.append(group.create_task(outside.sweep(tenant)))
                beside.append(group.create_task(outside.read(tenant)))
            beside.append(group.create_task(self._progress(log, faults)))
            await outside.start_each(plan.instances)
            stop = asyncio.Event()
            breaking = group.create_task(faults.until(stop))
            await outside.start(plan.instances, plan.seconds, plan.clients)
            stop.set()
            await breaking
            self._callee.calm = self._receiver.calm = True
            self._tell("calm; waiting for everything to settle")
            if plan.lapse:
                async with self._cell.rows() as rows:
                    await rows.execute(LAPSE, plan.lapse)
            took, left = await self._settled(outside)
            for task in beside:
                task.cancel()

        async def look(rows: asyncpg.Connection) -> Ran:
            return await self._looked(rows, tenants, log, faults, took, left)

        return look

    async def _looked(
        self,
        rows: asyncpg.Connection,
        tenants: Sequence[Tenant],
        log: ClientLog,
        faults: Faults,
        took: float,
        left: dict[str, int],
    ) -> Ran:
        workflows = [
            (tenant.id, workflow_id, name)
            for tenant in tenants
            for name, workflow_id in tenant.workflows.items()
        ]
        calls, heard = self._callee.calls, self._receiver.heard
        evidence = Evidence(self._kinds, workflows, log, calls, heard)
        await evidence.lay_out(rows)
        instances: dict[str, dict[str, int]] = {}
        for row in await rows.fetch(COUNTS):
            instances.setdefault(row["dialect"], {})[row["status"]] = row["count"]
        outcome = Outcome(
            acknowledged=log.verbs,
            answers=dict(sorted(log.answers.items())),
            retried=log.retried,
            instances=instances,
            faults=faults.counts,
            calls=len(calls),
            repeated_calls=len(calls) - len({call.key for call in calls}),
            webhook_messages=len(heard),
            repeated_messages=len(heard) - len({one.delivery_id for one in heard}),
            settled_seconds=round(took, 1),
            left=left,
            wrong=log.wrong,
            violations=await violations(rows),
        )
        return Ran(outcome, evidence, faults, self._cell, rows)

    async def _progress(self, log: ClientLog, faults: Faults) -> None:
        """Say how far it is, until cancelled."""
        while True:
            await asyncio.sleep(TELL_EVERY)
            acknowledged, violated = len(log.acknowledged), len(log.wrong)
            self._tell(
                f"{time.monotonic() - log.began:4.0f} s: {acknowledged} acknowledged, {log.retried} retried,"
                f" {len(faults.timeline)} faults, {violated} not taken; left: {await self._left()}"
            )

    async def _left(self) -> dict[str, int]:
        """Say what is left to do; nothing where the database does not tell."""
        with contextlib.suppress(*GONE):
            async with self._cell.rows() as rows:
                return dict((await rows.fetch(LEFT))[0])
        return {}

    async def _settled(self, outside: Outside) -> tuple[float, dict[str, int]]:
        """Wait until nothing is left to do; return how many seconds that took, at most so many, and what is left."""
        began = time.monotonic()
        left: dict[str, int] = {}
        while time.monotonic() < began + self._plan.patience:
            left = await self._left()
            if left and not any(left.values()) and min(outside.idle.values()) >= QUIET:
                break
            await asyncio.sleep(0.2)
        return time.monotonic() - began, left
