"""Completed instances per second and how long each takes, beside PgQueuer's jobs and the same steps with DBOS.

Every round triggers over HTTP. DBOS and PgQueuer run in processes of their own, on the same PostgreSQL.
"""

import asyncio
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from tests.benchmarks.callee import Callee, answering
from tests.benchmarks.completions import WARM_UP, Completions, completions, median, triggering
from tests.benchmarks.load import Client, Measurement, asked, round_of
from tests.benchmarks.load import median as median_load
from tests.benchmarks.options import Options
from tests.benchmarks.reporting import ratio, table
from tests.cell import ADMINISTRATOR, Account, Cell, Postgres

CLIENTS = (1, 8, 32)
JOBS = 20_000
INPUTS = b'{"n": 0, "who": "Ada"}'
NAMES = ("one", "two", "three")
LOOPBACK = {"TUTTI_EGRESS_ALLOW": "127.0.0.0/8"}


def document(name: str, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """Write a definition."""
    return {"document": {"dsl": "1.0.3", "namespace": "bench", "name": name, "version": "1.0.0"}, "do": tasks}


COUNTED = [{name: {"set": {"n": "${ .n + 1 }"}}} for name in NAMES]
PLAIN = [{name: {"set": {"step": name, "who": "${ .who }"}}} for name in NAMES]
APPROVAL = [
    {"sign": {"call": "approval", "with": {"title": "Sign", "assignees": {"users": [ADMINISTRATOR]}}}}
]


def call(port: int) -> list[dict[str, Any]]:
    """Write the task that calls what listens on a port."""
    request = {
        "method": "post",
        "endpoint": f"http://127.0.0.1:{port}/",
        "body": {"name": "${ $runtime.metadata.instanceName }"},
    }
    return [{"ask": {"call": "http", "with": request}}]


class Bench:
    """A running service, and its workflows' URL paths by name."""

    def __init__(
        self, cell: Cell, port: int, workflows: Mapping[str, str], callee: Callee, seconds: float
    ) -> None:
        self.cell = cell
        self.callee = callee
        self.port = port
        self.workflows = workflows
        self.seconds = seconds
        self.answered: list[Measurement] = []  # of one client with three sets: how soon a trigger is answered

    async def triggered(self, name: str, clients: int) -> Completions:
        """Trigger a workflow for a round."""
        path = self.workflows[name]
        begin = time.time()
        request = triggering(path, self.cell.acme.token, INPUTS)
        answered = await round_of(self.port, request, clients, self.seconds + WARM_UP)
        if (name, clients) == ("counted", 1):
            self.answered.append(answered)
        async with self.cell.rows() as rows:
            return await completions(rows, path, begin, begin + self.seconds + WARM_UP)

    async def called(self, clients: int) -> Completions:
        """Trigger calls, each client its next when the last has been made, for a round."""
        path = self.workflows["call"]
        begin = time.time()
        end = begin + self.seconds + WARM_UP
        await asyncio.gather(*(self._call(path, end) for _ in range(clients)))
        async with self.cell.rows() as rows:
            return await completions(rows, path, begin, end)

    async def _call(self, path: str, until: float) -> None:
        client = Client(self.port)
        trigger = triggering(path, self.cell.acme.token, INPUTS)
        while time.time() < until:
            request = trigger()
            name = msgspec.json.decode(request.partition(b"\r\n\r\n")[2])["instance_name"]
            made = self.callee.expect(name)
            await client.ask(request)
            await made
        client.close()

    async def approved(self, clients: int) -> Completions:
        """Trigger approvals and complete each through the API, for a round."""
        path = self.workflows["approval"]
        begin = time.time()
        end = begin + self.seconds + WARM_UP
        await asyncio.gather(*(self._approve(path, end) for _ in range(clients)))
        async with self.cell.rows() as rows:
            return await completions(rows, path, begin, end)

    async def _approve(self, path: str, until: float) -> None:
        client, acme = Client(self.port), self.cell.acme
        trigger = triggering(path, acme.token, INPUTS)
        while time.time() < until:
            _, body = await client.ask(trigger())
            instance_id = msgspec.json.decode(body)["instance_id"]
            await self._complete(client, acme, await self._work_item(client, acme, instance_id))
        client.close()

    async def _work_item(self, client: Client, acme: Account, instance_id: str) -> str:
        """Find what an instance asks of people."""
        listing = asked("GET", f"{acme.url}/work-items?status=open&instance_id={instance_id}", acme.token)
        while True:
            _, body = await client.ask(listing)
            found = msgspec.json.decode(body)["data"]
            if found:
                return str(found[0]["id"])
            await asyncio.sleep(0.001)

    async def _complete(self, client: Client, acme: Account, work_item_id: str) -> None:
        path = f"{acme.url}/work-items/{work_item_id}/actions/complete"
        status, body = await client.ask(asked("POST", path, acme.token, b'{"outcome": "approve"}'))
        if status >= 300:
            raise RuntimeError(f"The work item is not completed: {status} {body!r}")


async def measure_engine(postgres: Postgres, options: Options) -> None:
    """Measure three sets, a call and an approval, and beside them what they can be compared with."""
    await postgres.create("bench_dbos")
    await postgres.create("bench_pgqueuer")
    async with running(postgres, options) as bench:
        subjects: dict[str, Callable[[], Awaitable[Any]]] = {}
        for clients in CLIENTS:
            subjects[f"three sets, jq, {clients}"] = partial(bench.triggered, "counted", clients)
            subjects[f"three steps, DBOS, {clients}"] = partial(dbos, postgres, clients, options.seconds)
            subjects[f"three sets, plain, {clients}"] = partial(bench.triggered, "plain", clients)
            subjects[f"HTTP call, {clients}"] = partial(bench.called, clients)
            subjects[f"approval, {clients}"] = partial(bench.approved, clients)
        subjects["PgQueuer"] = partial(pgqueuer, postgres)
        rounds: dict[str, list[Any]] = {name: [] for name in subjects}
        for _ in range(options.rounds):
            for name, subject in subjects.items():
                rounds[name].append(await subject())
    report(rounds, median_load(bench.answered))


@contextlib.asynccontextmanager
async def running(postgres: Postgres, options: Options) -> AsyncIterator[Bench]:
    """Run the service in one process, and what it calls; publish what is measured."""
    cell = Cell(postgres, "bench_engine", **LOOPBACK)
    await cell.prepare()
    try:
        async with answering() as callee:
            port = await cell.serve()
            workflows = {
                name: await cell.publish(port, cell.acme, document(name, tasks))
                for name, tasks in (
                    ("counted", COUNTED),
                    ("plain", PLAIN),
                    ("call", call(callee.port)),
                    ("approval", APPROVAL),
                )
            }
            yield Bench(cell, port, workflows, callee, options.seconds)
    finally:
        cell.end()


async def dbos(postgres: Postgres, clients: int, seconds: float) -> Measurement:
    """Measure DBOS for a round."""
    url = postgres.url("tutti_owner", "bench_dbos")
    output = await measured_by("tests.benchmarks.dbos_steps", url, str(clients), str(seconds), str(WARM_UP))
    return msgspec.json.decode(output, type=Measurement)


async def pgqueuer(postgres: Postgres) -> float:
    """Measure PgQueuer for a round."""
    url = postgres.url("tutti_owner", "bench_pgqueuer")
    return msgspec.json.decode(
        await measured_by("tests.benchmarks.pgqueuer_jobs", url, str(JOBS)), type=float
    )


async def measured_by(module: str, *arguments: str) -> bytes:
    """Run a module that measures; return what it prints.

    Raises:
        RuntimeError: it failed; its message is above.
    """
    command = (sys.executable, "-m", module, *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{module} failed; its message is above.")
    return output


def report(rounds: Mapping[str, list[Any]], answered: Measurement) -> None:
    """Print what was measured and the ratios."""
    found = {name: median(each) for name, each in rounds.items() if isinstance(each[0], Completions)}
    others = {name: median_load(each) for name, each in rounds.items() if isinstance(each[0], Measurement)}
    jobs = statistics.median(rounds["PgQueuer"])
    cells = {name: one.cells for name, one in found.items()}
    cells |= {
        name: (f"{one.rate:,.0f}", f"{one.p50:.1f}", f"{one.p99:.1f}", "") for name, one in others.items()
    }
    cells["PgQueuer, jobs that do nothing"] = (f"{jobs:,.0f}", "", "", "")
    columns = ("completed per second", "p50 ms", "p99 ms", "not completed")
    order = sorted(found | others, key=lambda name: (int(name.rpartition(" ")[2]), name))
    table(
        "from trigger to completion, by number of clients",
        columns,
        {name: cells[name] for name in (*order, "PgQueuer, jobs that do nothing")},
    )
    for clients, rate in ((8, 800), (32, 1150)):
        three = found[f"three sets, jq, {clients}"]
        ratio(f"three sets per second, {clients} clients", three.rate, f"at least {rate}")
        ratio(
            f"three sets / DBOS, {clients} clients",
            three.rate / others[f"three steps, DBOS, {clients}"].rate,
            "at least 5",
        )
        ratio(f"three sets / PgQueuer's jobs, {clients} clients", three.rate / jobs)
    idle = found["three sets, jq, 1"]
    ratio("three sets, idle, p50 ms", idle.p50, "under 4")
    ratio("three sets, idle, p99 ms", idle.p99, "at most 25")
    ratio("three sets, idle, answered p50 ms", answered.p50)
    ratio(
        "plain / jq, per second, 32 clients",
        found["three sets, plain, 32"].rate / found["three sets, jq, 32"].rate,
    )
