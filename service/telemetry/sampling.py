"""What a process has at the moment, looked at every other second: its connections, its sandbox, itself."""

import asyncio
import time
from typing import Any

from prometheus_client import ProcessCollector

from service.language.sandbox import Sandbox
from service.telemetry.metrics import POOL, PROCESS, SANDBOX
from service.telemetry.sharing import keep
from tenancy.postgres import engine

EVERY = 2.0  # seconds
KEEP_EVERY = 3600.0  # seconds between two touches of the folder in which processes share their figures
OF_PROCESS = {
    "process_resident_memory_bytes": "resident_memory_bytes",
    "process_cpu_seconds_total": "cpu_seconds",
    "process_open_fds": "open_files",
    "process_start_time_seconds": "start_time_seconds",
}


async def sampling(sandbox: Sandbox) -> None:
    """Look for ever; a background task of the process."""
    itself = ProcessCollector(registry=None)
    kept_at = time.monotonic()
    while True:
        if time.monotonic() - kept_at > KEEP_EVERY:
            keep()
            kept_at = time.monotonic()
        sample_pool(engine().pool)
        for state, amount in sandbox.use.items():
            SANDBOX.labels(state).set(amount)
        for family in itself.collect():
            for sample in family.samples:
                if sample.name in OF_PROCESS:
                    PROCESS.labels(OF_PROCESS[sample.name]).set(sample.value)
        PROCESS.labels("tasks").set(len(asyncio.all_tasks()))
        before = time.monotonic()
        await asyncio.sleep(EVERY)
        PROCESS.labels("loop_lag_seconds").set(max(0.0, time.monotonic() - before - EVERY))


def sample_pool(pool: Any) -> None:
    """Look at the pool of connections."""
    if pool is None:
        return
    POOL.labels("open").set(pool.get_size())
    POOL.labels("idle").set(pool.get_idle_size())
    # The pool tells nobody who waits, and counting at each acquisition would cost every request.
    waiting = sum(not one.done() for one in pool._queue._getters)  # noqa: SLF001 - see above
    POOL.labels("waiting").set(waiting)
