"""PgQueuer's own rate of jobs that do nothing, in a process of its own: `python -m tests.benchmarks.pgqueuer_jobs URL JOBS`."""

import sys
import time
from datetime import timedelta

import asyncpg
import msgspec
import uvloop
from pgqueuer import AsyncpgDriver, Job, Queries, QueueManager
from pgqueuer.types import QueueExecutionMode

BATCH = 100


async def nothing(_: Job) -> None:
    """Do a job."""


async def rate(url: str, jobs: int) -> float:
    """Queue jobs, then see how many are done per second until none is left."""
    connection = await asyncpg.connect(url)
    driver = AsyncpgDriver(connection)
    queries = Queries(driver)
    if not await queries.has_table("pgqueuer"):
        await queries.install()
    for _ in range(0, jobs, 1000):
        await queries.enqueue(["nothing"] * 1000, [None] * 1000, [0] * 1000)
    manager = QueueManager(queries)
    manager.entrypoint("nothing", accepts_context=False)(nothing)
    began = time.perf_counter()
    await manager.run(timedelta(seconds=5), batch_size=BATCH, mode=QueueExecutionMode.drain)
    elapsed = time.perf_counter() - began
    await connection.close()
    return jobs / elapsed


def main() -> None:
    """Measure once and print the rate as JSON."""
    url, jobs = sys.argv[1:]
    found = uvloop.run(rate(url, int(jobs)))
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")


if __name__ == "__main__":
    main()
