"""One run: start everything, trigger and kill, let it settle, look."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.cell import Cell, Postgres, free_port
from tests.chaos.callee import Callee
from tests.chaos.checks import violations
from tests.chaos.killing import Killer, Supervised
from tests.chaos.mix import Kind, chance, mix
from tests.chaos.people import GONE, Outside

# A call that nobody awaits any more may still be under way when its instance has ended.
LEFT = "SELECT EXISTS (SELECT FROM instance WHERE ended_at IS NULL) OR EXISTS (SELECT FROM job)"
TELL_EVERY = 15  # seconds
ACTIONS = {"listen": "signal", "unwanted": "cancel"}  # what instances of a kind wait for
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
    gap: tuple[float, float] = (0.8, 3.2)  # seconds between two kills


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


async def chaos(plan: Plan, folder: Path, tell: Callable[[str], None] = lambda _: None) -> Outcome:
    """Run a plan in a folder of its own, where the processes' logs stay; `tell` hears how far it is, now and then."""
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
            return await disturbed(plan, cell, callee, kinds, tell)
    finally:
        cell.end()
        postgres.remove()


async def disturbed(
    plan: Plan, cell: Cell, callee: Callee, kinds: list[Kind], tell: Callable[[str], None]
) -> Outcome:
    """Trigger while things are killed; then look what became of it."""
    ports = [free_port(), free_port()]
    processes = [
        Supervised(cell, "API 1", "serve", "--port", str(ports[0])),
        Supervised(cell, "API 2", "serve", "--no-worker", "--port", str(ports[1])),
        Supervised(cell, "worker 1", "worker"),
        Supervised(cell, "worker 2", "worker"),
    ]
    async with asyncio.TaskGroup() as group:
        beside = [group.create_task(process.keep()) for process in processes]
        for port in ports:
            await cell.ready(port)
        workflows = {kind.name: await cell.publish(ports[0], cell.acme, kind.document) for kind in kinds}
        outside = Outside(cell, ports, workflows, plan.seed)
        beside.append(group.create_task(outside.decide()))
        for name, action in ACTIONS.items():
            if name in workflows:
                beside.append(group.create_task(outside.act(name, action)))
        killer = Killer(cell, processes, chance(plan.seed, "kill"), plan.gap)
        beside.append(group.create_task(progress(outside, killer, tell)))
        stop = asyncio.Event()
        killing = group.create_task(killer.kill_until(stop))
        await outside.trigger(
            [kind for kind in kinds if kind.share], plan.instances, plan.seconds, plan.clients
        )
        stop.set()
        await killing
        took = await settled(cell, plan.patience)
        for task in beside:
            task.cancel()
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


async def progress(outside: Outside, killer: Killer, tell: Callable[[str], None]) -> None:
    """Say how far it is, until cancelled."""
    while True:
        await asyncio.sleep(TELL_EVERY)
        tell(f"{len(outside.acknowledged)} acknowledged, {sum(killer.kills.values())} kills")


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
