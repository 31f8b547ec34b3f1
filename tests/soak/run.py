"""One soak: find what is sustainable, begin half of it for long, remove what is over, and sample all the while."""

import asyncio
import base64
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
import msgspec

from service.settings import SECRET_KEY_BYTES
from tests.cell import Cell, Postgres, free_port
from tests.chaos.callee import HANG, Callee
from tests.chaos.mix import Kind, mix
from tests.chaos.receiver import Receiver
from tests.chaos.scene import Tenant, furnished
from tests.soak.ageing import DAYS, aged
from tests.soak.load import PATIENCE, Load, sustainable
from tests.soak.sampling import Sample, sampled, series
from tests.soak.verdict import Series, changes, growths, hoards, leaks, sprawls
from tests.soak.visitors import LISTENERS, Visitors
from tests.waiting import eventually

SHARE = 0.5  # of what is sustainable
TELL_EVERY = 12  # samples
CLIENTS = 64  # that find out what is sustainable
BUSY_SECONDS = 20  # after the search, until what was begun in it has been done
SETTLE_SECONDS = 90  # after the load, until everybody has been told of what has ended
BACKLOG = "SELECT count(*) FROM job WHERE lane <> 'held' AND (leased_until IS NULL OR leased_until < now())"
UNTOLD = """
SELECT (SELECT count(*) FROM webhook_delivery WHERE status = 'pending')
     + (SELECT count(*) FROM webhooks_behind('00000000-0000-0000-0000-000000000000', 100))
"""
FAILED = "SELECT count(*) FROM webhook_delivery WHERE status = 'failed'"
ENDS = frozenset({"instance.completed", "instance.faulted", "instance.cancelled"})


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
    told: int  # instances that webhooks were told the end of
    messages: int
    calls: int
    heard: int
    visits: int
    memory: list[Series]
    held: list[Series]
    figures: Series
    rows: list[Series]
    sizes: list[Series]
    violations: list[str]


async def soak(plan: Plan, folder: Path, tell: Callable[[str], None] = lambda _: None) -> Outcome:
    """Run a plan in a folder of its own, where the processes' logs stay; `tell` hears how far it is, now and then."""
    postgres = Postgres(folder)
    await postgres.start()
    port = free_port()
    cell = Cell(
        postgres,
        "soak",
        TUTTI_EGRESS_ALLOW="127.0.0.0/8",
        TUTTI_LOG_LEVEL="warning",
        TUTTI_PUBLIC_URL=f"http://127.0.0.1:{port}",
        TUTTI_SECRET_KEYS=base64.b64encode(os.urandom(SECRET_KEY_BYTES)).decode(),
    )
    callee, receiver = Callee(0), Receiver(0)
    try:
        async with callee.answering() as callee_port, receiver.answering() as receiver_port:
            await cell.prepare()
            started = {
                "serve": cell.start("serve", "--port", str(port), "--workers", "2").pid,
                "worker": cell.start("worker").pid,
            }
            await cell.ready(port)
            kinds = mix(callee_port)
            tenants = await furnished(cell, port, receiver_port, kinds)
            await keep_little(cell, tenants)
            async with sweeping(cell):
                scene = Scene(cell, port, started, tenants, kinds, callee, receiver)
                return await Soak(plan, scene, tell).outcome()
    finally:
        cell.end()
        await asyncio.sleep(HANG)  # the last calls are let go
        postgres.remove()


async def keep_little(cell: Cell, tenants: Sequence[Tenant]) -> None:
    """Let the accounts keep as little as they may."""
    days = [f"--{kind}-retention-days={number}" for kind, number in DAYS.items()]
    for tenant in tenants:
        await cell.run("account", "settings", str(tenant.id), *days)


@contextlib.asynccontextmanager
async def sweeping(cell: Cell) -> AsyncIterator[None]:
    """Sweep often for as long as the block runs."""
    with cell.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.soak.ageing", env=cell.environment, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        if process.returncode is not None:
            raise RuntimeError(f"Nobody has swept: {cell.log.read_text()[-2000:]}")
        process.terminate()
        await process.wait()


class Scene(msgspec.Struct, frozen=True):
    """What there is: the started processes by their names, accounts with their workflows, and those outside."""

    cell: Cell
    port: int
    started: dict[str, int]
    tenants: Sequence[Tenant]
    kinds: Sequence[Kind]
    callee: Callee
    receiver: Receiver


class Soak:
    """One soak of a scene."""

    def __init__(self, plan: Plan, scene: Scene, tell: Callable[[str], None]) -> None:
        self._plan, self._scene, self._tell = plan, scene, tell
        self._load = Load(scene.port, scene.tenants, scene.kinds)
        self._visitors = Visitors(scene.port, scene.cell.demo, self._load)
        self._samples: list[Sample] = []

    async def outcome(self) -> Outcome:
        """Find the rate, hold it, let everybody be told, and judge."""
        plan, load = self._plan, self._load
        async with self._scene.cell.rows() as rows:
            possible = await sustainable(load, plan.calibration, CLIENTS, lambda: rows.fetchval(BACKLOG))
            self._tell(f"{possible:.1f} instances a second are sustainable; {possible * SHARE:.1f} are begun")
            self._tell(f"more were refused: {dict(load.wrong) or 'none'}")
            await waited(rows, BACKLOG, BUSY_SECONDS)
            load.forget()
            begun = load.begun
            await self._held(possible * SHARE)
            begun = load.begun - begun
            self._tell("waiting until webhooks have been told of everything")
            with contextlib.suppress(TimeoutError):
                await eventually(lambda: self._load.told <= self._ends(), SETTLE_SECONDS)
            untold = await waited(rows, UNTOLD, SETTLE_SECONDS)
            failed = await rows.fetchval(FAILED)
        load.close()
        return self._judged(possible, begun, untold, failed)

    def _ends(self) -> set[UUID | None]:
        """Say of which instances webhooks were told the end."""
        return {one.instance_id for one in self._scene.receiver.heard if one.accepted and one.type in ENDS}

    async def _held(self, rate: float) -> None:
        """Hold a rate, beside everything else."""
        async with contextlib.AsyncExitStack() as ends:
            rows, ages = [await ends.enter_async_context(self._scene.cell.rows()) for _ in range(2)]
            http = await ends.enter_async_context(
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._scene.port}", timeout=PATIENCE)
            )
            accounts = (self._scene.cell.acme, self._scene.cell.globex)
            swept = [kind for kind in self._scene.kinds if kind.act == "sweep"]
            beside = [
                self._watched(rows, http),
                aged(ages),
                self._visitors.visit(),
                *(self._visitors.listen(accounts[number % 2]) for number in range(LISTENERS)),
                *(self._visitors.sweep(tenant, kind) for tenant in self._scene.tenants for kind in swept),
            ]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one) for one in beside]
                await self._load.begin_at(rate, self._plan.seconds)
                for task in tasks:
                    task.cancel()

    async def _watched(self, rows: asyncpg.Connection, http: httpx.AsyncClient) -> None:
        """Sample until cancelled."""
        due = time.monotonic()
        while True:
            self._samples.append(await sampled(self._scene.started, rows, http))
            if len(self._samples) % TELL_EVERY == 0:
                last = self._samples[-1]
                memory = ", ".join(f"{name} {size / 2**20:.0f}" for name, size in last.memory.items())
                seconds = len(self._samples) * self._plan.every
                self._tell(f"{seconds:.0f} s: {last.rows['instance']:.0f} instances; MiB: {memory}")
            due += self._plan.every
            await asyncio.sleep(due - time.monotonic())

    def _judged(self, possible: float, begun: int, untold: int, failed: int) -> Outcome:
        """Put together what was measured, and say what is not as it must be."""
        samples, load = self._samples, self._load
        memory = series(sample.memory for sample in samples)
        held = series(sample.held for sample in samples)
        figures = Series("figures", [sample.figures for sample in samples])
        rows = series(sample.rows for sample in samples)
        sizes = series(sample.sizes for sample in samples)
        told = self._ends()
        violations = [
            *leaks(memory),
            *hoards(held),
            *sprawls(figures),
            *growths(rows, sizes, begun // 3),
            *changes([sample.processes for sample in samples]),
            *(f"{count} times {what}" for what, count in load.wrong.items()),
            *undelivered(load.told - told, untold, failed),
        ]
        if not self._visitors.heard or not self._scene.callee.calls:
            violations.append(
                f"{self._visitors.heard} ends were followed, {len(self._scene.callee.calls)} calls made"
            )
        return Outcome(
            possible,
            possible * SHARE,
            begun,
            dict(load.answers),
            dict(load.wrong),
            len(load.told & told),
            len(self._scene.receiver.heard),
            len(self._scene.callee.calls),
            self._visitors.heard,
            self._visitors.visits,
            memory,
            held,
            figures,
            rows,
            sizes,
            violations,
        )


async def waited(rows: asyncpg.Connection, left: str, seconds: float) -> int:
    """Wait until nothing is left to do; return how much is when that takes too long."""
    until = time.monotonic() + seconds
    while (found := int(await rows.fetchval(left))) and time.monotonic() < until:  # noqa: ASYNC110 - the database tells nobody
        await asyncio.sleep(0.5)
    return found


def undelivered(missed: set[UUID], untold: int, failed: int) -> list[str]:
    """Say what webhooks have not been told of."""
    counts = {
        "instances whose end no webhook was told of": len(missed),
        "deliveries that are still to be made": untold,
        "deliveries that were given up": failed,
    }
    return [f"{count} {what}" for what, count in counts.items() if count]
