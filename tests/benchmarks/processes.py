"""One process that serves, and two; and how soon a stopped service with its own database answers again."""

import asyncio
import os
import statistics
import subprocess
import time
from collections.abc import Mapping

import httpx

from tests.benchmarks.engine import COUNTED, INPUTS, document
from tests.benchmarks.load import Measurement, asked, median, round_of
from tests.benchmarks.options import Options
from tests.benchmarks.reporting import OUT, ratio, refuse_wrong, table
from tests.benchmarks.subjects import cycled, in_turns
from tests.cell import TUTTI, Cell, Postgres, free_port
from tests.waiting import blocked_until

KNOWN = 2_000  # instances to read
BODY = b'{"instance_name": "bench", "trigger_inputs": %s}' % INPUTS
PROCESSES = (1, 2)
STARTS = 5
START_SECONDS = 60.0


async def measure_processes(postgres: Postgres, options: Options) -> None:
    """Ask the same of one process and of two, in turns; then start a service some times."""
    cell = Cell(postgres, "bench_processes")
    try:
        await cell.prepare()
        ports = {count: await cell.serve("--workers", str(count)) for count in PROCESSES}
        path = await cell.publish(ports[1], cell.acme, document("counted", COUNTED))
        trigger = asked("POST", f"{path}/actions/trigger", cell.acme.token, BODY)
        await round_of(ports[1], cycled([trigger]), options.connections, 3.0)
        async with cell.rows() as connection:
            found = await connection.fetch("SELECT id FROM instance WHERE name = 'bench' LIMIT $1", KNOWN)
        reads = [asked("GET", f"{path}/instances/{row['id']}", cell.acme.token) for row in found]
        subjects = {"get": cycled(reads), "trigger": cycled([trigger])}
        asking = {(name, count): (ports[count], subjects[name]) for name in subjects for count in ports}
        turns = await in_turns(options, asking)
    finally:
        cell.end()
    report(options, turns)
    await measure_starts(postgres)


def report(options: Options, turns: dict[tuple[str, int], list[Measurement]]) -> None:
    """Print the figures, and what the second process adds."""
    results = {subject: median(found) for subject, found in turns.items()}
    table(
        f"requests per second by processes that serve, {options.connections} connections",
        ("per second", "p50 ms", "p99 ms", "not 2xx"),
        {
            f"{name}, {count} process{'es' if count > 1 else ''}": (
                f"{one.rate:,.0f}",
                f"{one.p50:.2f}",
                f"{one.p99:.2f}",
                str(one.wrong),
            )
            for (name, count), one in results.items()
        },
    )
    few, many = PROCESSES
    for name in dict.fromkeys(name for name, _ in turns):
        found = [two.rate / one.rate for two, one in zip(turns[name, many], turns[name, few], strict=True)]
        ratio(f"{name}: two processes / one", statistics.median(found), "1.6", found)
    refuse_wrong({f"{name}, {count}": one.wrong for (name, count), one in results.items()})


async def measure_starts(postgres: Postgres) -> None:
    """Start a service with an embedded database that is there, and not running; say how long it takes to be ready."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    around = kept | {"TUTTI_DATA_DIR": str(postgres.folder / "started")}
    seconds = await asyncio.to_thread(starts, around)
    OUT.print(f"from the start of tutti serve until it is ready, its database stopped before, {STARTS} times")
    ratio("seconds, median", statistics.median(seconds), "at most 3")


def starts(around: Mapping[str, str]) -> list[float]:
    """Make the demo data, and start the service on them again and again."""
    subprocess.run([str(TUTTI), "demo", "--json"], env=around, check=True, capture_output=True)
    return [started(around) for _ in range(STARTS)]


def started(around: Mapping[str, str]) -> float:
    """Start the service, wait until it is ready, and stop it; return how long it took."""
    port = free_port()
    begun = time.perf_counter()
    command = [str(TUTTI), "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=around, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        blocked_until(lambda: is_ready(port), START_SECONDS)
        return time.perf_counter() - begun
    finally:
        process.terminate()
        process.wait()


def is_ready(port: int) -> bool:
    """Ask whether requests can be served."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").is_success
    except httpx.TransportError:
        return False
