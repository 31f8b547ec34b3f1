"""One run: start everything, trigger and kill, let it settle, look."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from tests.cell import Cell, Postgres, free_port
from tests.chaos.callee import Callee
from tests.chaos.checks import violations
from tests.chaos.killing import Killer, Supervised
from tests.chaos.mix import Kind, chance, mix
from tests.chaos.people import GONE, Outside

# A call that nobody awaits any more may still be under way when its instance has ended.
LEFT = "SELECT EXISTS (SELECT FROM instance WHERE ended_at IS NULL) OR EXISTS (SELECT FROM job)"
COUNTS = """
SELECT workflow.name || ' ' || instance.status AS what, count(*)
FROM instance JOIN workflow ON workflow.id = workflow_id GROUP BY what ORDER BY what
"""


class Plan(msgspec.Struct, frozen=True):
    """How much: instances, seconds over which they are triggered, clients, and seconds that settling may take."""

    seed: int
    instances: int = 10_000
    seconds: float = 600
    clients: int = 8
    patience: float = 180
    kinds: tuple[str, ...] = ()  # all, where none is named


class Outcome(msgspec.Struct, frozen=True):
    """What came of it."""

    acknowledged: int
    answers: dict[str, int]  # to triggers, by status
    instances: dict[str, int]  # by kind and status
    kills: dict[str, int]
    calls: int
    repeated_calls: int
    settled_seconds: float
    violations: list[str]


async def chaos(plan: Plan, folder: Path) -> Outcome:
    """Run a plan in a folder of its own; logs of the processes stay there."""
    postgres = Postgres(folder)
    await postgres.start()
    cell = Cell(
        postgres,
        "chaos",
        TUTTI_EGRESS_ALLOW="127.0.0.0/8",
        TUTTI_SANDBOX_PROCESSES="1",
        TUTTI_LOG_LEVEL="warning",
    )
    try:
        callee = Callee(plan.seed)
        async with callee.answering() as port:
            kinds = [kind for kind in mix(port) if not plan.kinds or kind.name in plan.kinds]
            await cell.prepare()
            return await disturbed(plan, cell, callee, kinds)
    finally:
        cell.end()
        postgres.remove()


async def disturbed(plan: Plan, cell: Cell, callee: Callee, kinds: list[Kind]) -> Outcome:
    """Trigger while things are killed; then look what became of it."""
    ports = [free_port(), free_port()]
    processes = [
        Supervised(cell, "API 1", "serve", "--port", str(ports[0])),
        Supervised(cell, "API 2", "serve", "--no-worker", "--port", str(ports[1])),
        Supervised(cell, "worker 1", "worker"),
        Supervised(cell, "worker 2", "worker"),
    ]
    async with contextlib.AsyncExitStack() as stack:
        for process in processes:
            await stack.enter_async_context(beside(process.keep()))
        for port in ports:
            await cell.ready(port)
        workflows = {kind.name: await cell.publish(ports[0], cell.acme, kind.document) for kind in kinds}
        outside = Outside(cell, ports, workflows, plan.seed)
        await stack.enter_async_context(beside(outside.decide()))
        if "listen" in workflows:
            await stack.enter_async_context(beside(outside.act("listen", "signal", signal=True)))
        if "unwanted" in workflows:
            await stack.enter_async_context(beside(outside.act("unwanted", "cancel", signal=False)))
        killer = Killer(cell, processes, chance(plan.seed, "kill"))
        stop = asyncio.Event()
        killing = asyncio.create_task(killer.kill_until(stop))
        await outside.trigger(
            [kind for kind in kinds if kind.share], plan.instances, plan.seconds, plan.clients
        )
        stop.set()
        await killing
        took = await settled(cell, plan.patience)
        async with cell.rows() as rows:
            found = outside.wrong + await violations(rows, kinds, outside.acknowledged, callee.calls)
            counted = await rows.fetch(COUNTS)
    return Outcome(
        len(outside.acknowledged),
        dict(outside.answers),
        {row["what"]: row["count"] for row in counted},
        dict(killer.kills),
        len(callee.calls),
        len(callee.calls) - len({call.key for call in callee.calls}),
        took,
        found,
    )


@contextlib.asynccontextmanager
async def beside(work: Any) -> AsyncIterator[None]:
    """Do something for as long as the block runs."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def settled(cell: Cell, patience: float) -> float:
    """Wait until nothing is left to do; return how many seconds that took, at most so many."""
    began = time.monotonic()
    while time.monotonic() < began + patience:
        with contextlib.suppress(*GONE):
            async with cell.rows() as rows:
                if not await rows.fetchval(LEFT):
                    break
        await asyncio.sleep(0.2)
    return time.monotonic() - began
