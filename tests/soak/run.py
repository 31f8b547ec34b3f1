"""One soak: find what is sustainable, begin half of it for long, remove what has ended, and sample all the while."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import msgspec

from tests.cell import Cell, Postgres, free_port
from tests.chaos.callee import HANG, Callee
from tests.chaos.mix import maestro
from tests.soak.load import Load, sustainable
from tests.soak.sampling import Sample, sampled, series
from tests.soak.verdict import Series, growths, leaks

SHARE = 0.5  # of what is sustainable
TELL_EVERY = 12  # samples
CLIENTS = 48  # that find out what is sustainable
DAYS = {"instance": 1, "event": 30}  # that the account keeps them: as few as it may
AGE_EVERY = 5.0  # seconds
# An account keeps things for days: what ended so many seconds ago is made older than that, and the service is told to look.
KEPT_SECONDS = 30
OLD = f"BETWEEN now() - interval '1 day' AND now() - interval '{KEPT_SECONDS} seconds'"
AGE = (
    f"""WITH old AS (
        UPDATE instance SET started_at = started_at - interval '3 days', ended_at = ended_at - interval '3 days'
        WHERE ended_at {OLD} RETURNING account_id, id, started_at)
    UPDATE instance_term SET started_at = old.started_at FROM old
    WHERE instance_term.account_id = old.account_id AND instance_id = old.id
      AND instance_term.started_at = old.started_at + interval '3 days'""",
    f"UPDATE event SET at = at - interval '60 days' WHERE at {OLD}",
    "UPDATE account_settings SET sweep_at = now()",
)
BACKLOG = "SELECT count(*) FROM job WHERE lane <> 'held' AND (leased_until IS NULL OR leased_until < now())"


class Plan(msgspec.Struct, frozen=True):
    """How long: the soak itself, the search for what is sustainable, and between two samples; all in seconds."""

    seconds: float = 1800
    calibration: float = 30
    every: float = 5


class Outcome(msgspec.Struct, frozen=True):
    """What came of it."""

    sustainable: float
    rate: float
    begun: int
    answers: dict[str, int]
    wrong: dict[str, int]
    memory: list[Series]
    rows: list[Series]
    sizes: list[Series]
    violations: list[str]


async def soak(plan: Plan, folder: Path, tell: Callable[[str], None] = lambda _: None) -> Outcome:
    """Run a plan in a folder of its own, where the processes' logs stay; `tell` hears how far it is, now and then."""
    postgres = Postgres(folder)
    await postgres.start()
    cell = Cell(postgres, "soak", TUTTI_EGRESS_ALLOW="127.0.0.0/8", TUTTI_LOG_LEVEL="warning")
    try:
        async with Callee(0).answering() as port:
            await cell.prepare()
            await keep_little(cell)
            return await soaked(plan, cell, port, tell)
    finally:
        cell.end()
        await asyncio.sleep(HANG)  # the last calls are let go
        postgres.remove()


async def keep_little(cell: Cell) -> None:
    """Let the account keep as little as it may."""
    days = [f"--{kind}-retention-days={number}" for kind, number in DAYS.items()]
    await cell.run("account", "settings", cell.acme.id, *days)


async def soaked(plan: Plan, cell: Cell, callee: int, tell: Callable[[str], None]) -> Outcome:
    """Start the service, find the rate, hold it, and judge."""
    port = free_port()
    processes = {
        "serve": cell.start("serve", "--port", str(port)).pid,
        "worker": cell.start("worker").pid,
    }
    await cell.ready(port)
    kinds = maestro(callee)
    workflows = {kind.name: await cell.publish(port, cell.acme, kind.definition) for kind in kinds}
    load = Load(cell.acme, port, workflows, kinds)
    async with cell.rows() as rows:
        possible = await sustainable(load, plan.calibration, CLIENTS, lambda: rows.fetchval(BACKLOG))
    tell(f"{possible:.1f} instances a second are sustainable; {possible * SHARE:.1f} are begun")
    begun = load.begun
    samples: list[Sample] = []
    async with cell.rows() as rows, cell.rows() as ages:
        beside = [
            asyncio.create_task(watched(plan, processes, rows, samples, tell)),
            asyncio.create_task(aged(ages)),
        ]
        try:
            await load.begin_at(possible * SHARE, plan.seconds)
        finally:
            for task in beside:
                task.cancel()
            ended = await asyncio.gather(*beside, return_exceptions=True)
    load.close()
    for one in ended:
        if isinstance(one, Exception):
            raise one
    return judged(possible, load, load.begun - begun, samples)


async def watched(
    plan: Plan,
    processes: dict[str, int],
    rows: asyncpg.Connection,
    samples: list[Sample],
    tell: Callable[[str], None],
) -> None:
    """Sample until cancelled."""
    due = time.monotonic()
    while True:
        samples.append(await sampled(processes, rows))
        if len(samples) % TELL_EVERY == 0:
            memory = ", ".join(f"{name} {size / 2**20:.0f}" for name, size in samples[-1].memory.items())
            tell(
                f"{len(samples) * plan.every:.0f} s: {samples[-1].rows['instance']:.0f} instances; MiB: {memory}"
            )
        due += plan.every
        await asyncio.sleep(due - time.monotonic())


async def aged(rows: asyncpg.Connection) -> None:
    """Let time pass quickly for what has ended, until cancelled."""
    while True:
        for statement in AGE:
            await rows.execute(statement)
        await asyncio.sleep(AGE_EVERY)


def judged(possible: float, load: Load, begun: int, samples: list[Sample]) -> Outcome:
    """Put together what was measured, and say what is not as it must be."""
    memory = series(sample.memory for sample in samples)
    rows = series(sample.rows for sample in samples)
    sizes = series(sample.sizes for sample in samples)
    wrong = [f"{count} times {what}" for what, count in load.wrong.items()]
    violations = leaks(memory) + growths(rows, sizes, begun // 3) + wrong
    return Outcome(
        possible,
        possible * SHARE,
        begun,
        dict(load.answers),
        dict(load.wrong),
        memory,
        rows,
        sizes,
        violations,
    )
