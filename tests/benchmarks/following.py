"""A thousand listeners on one process: what they cost while nothing happens, and how soon they hear of what does."""

import asyncio
import time
from pathlib import Path

import httpx

from tests.benchmarks.engine import COUNTED, INPUTS, document
from tests.benchmarks.load import asked, percentile
from tests.benchmarks.options import Options
from tests.benchmarks.reporting import OUT, ratio, table
from tests.cell import Account, Cell, Postgres, free_port

IDLE = 990  # in an account where nothing happens
BUSY = 10  # in one where it does
APART = 0.05  # seconds between two triggers
LEAST_TRIGGERS = 200
SETTLE_SECONDS = 3
COUNTING = document("followed", COUNTED)
BODY = b'{"instance_name": "followed", "trigger_inputs": %s}' % INPUTS


class Listener(asyncio.Protocol):
    """One connection that follows an account's events, and notes when instances ended."""

    def __init__(self, account: Account) -> None:
        self.request = asked("GET", f"{account.url}/events", account.token)
        self.opened = asyncio.get_running_loop().create_future()
        self.heard: dict[str, float] = {}
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(self.request)  # type: ignore[attr-defined] # a socket's transport can write

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        *blocks, self.buffer = self.buffer.split(b"\n\n")
        for block in blocks:
            if b"stream.opened" in block and not self.opened.done():
                self.opened.set_result(None)
            if b"event: instance.completed" in block:
                instance_id = block.partition(b'"instance_id":"')[2][:36].decode()
                self.heard[instance_id] = time.perf_counter()


async def listening(port: int, account: Account, count: int) -> list[Listener]:
    """Open so many streams."""
    loop = asyncio.get_running_loop()
    listeners = []
    for _ in range(count):
        _, listener = await loop.create_connection(lambda: Listener(account), "127.0.0.1", port)
        await listener.opened
        listeners.append(listener)
    return listeners


async def measure_following(postgres: Postgres, options: Options) -> None:
    """Open the listeners, look at the memory of the process that serves them, then let things happen."""
    cell = Cell(postgres, "bench_following")
    try:
        await cell.prepare()
        cell.start("worker")
        port = free_port()
        server = cell.start("serve", "--no-worker", "--port", str(port))
        await cell.ready(port)
        path = await cell.publish(port, cell.acme, COUNTING)
        await triggered(port, cell.acme, path, 20)  # so that the process has everything that it ever loads
        before = memory(server.pid)
        idle = await listening(port, cell.globex, IDLE)
        busy = await listening(port, cell.acme, BUSY)
        await asyncio.sleep(SETTLE_SECONDS)
        after = memory(server.pid)
        count = max(LEAST_TRIGGERS, int(options.seconds * options.rounds / APART))
        begun = await triggered(port, cell.acme, path, count)
        await asyncio.sleep(SETTLE_SECONDS)
    finally:
        cell.end()
    report(begun, idle, busy, (before, after))


async def triggered(port: int, account: Account, path: str, count: int) -> dict[str, float]:
    """Trigger instances that complete at once; say when each was asked for, which is before it began."""
    begun = {}
    headers = {"Authorization": f"Bearer {account.token}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
        for _ in range(count):
            at = time.perf_counter()
            answer = await client.post(f"{path}/actions/trigger", content=BODY)
            begun[answer.json()["instance_id"]] = at
            await asyncio.sleep(APART)
    return begun


def memory(pid: int) -> float:
    """Return a process's resident memory, in MB."""
    status = Path("/proc", str(pid), "status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def report(
    begun: dict[str, float], idle: list[Listener], busy: list[Listener], used: tuple[float, float]
) -> None:
    """Print what listeners cost, and how late they hear."""
    late = sorted(one.heard[name] - at for one in busy for name, at in begun.items() if name in one.heard)
    missed = len(begun) * len(busy) - len(late)
    p50, p95, p99 = (percentile(late, share) for share in (0.5, 0.95, 0.99))
    before, after = used
    table(
        f"{len(idle) + len(busy):,} listeners on one process, {len(begun)} instances that end",
        ("MB before", "MB with them", "p50 ms", "p95 ms", "p99 ms", "missed"),
        {
            "followers": (
                *(f"{one:.1f}" for one in (before, after, p50, p95, p99)),
                str(missed),
            )
        },
    )
    OUT.print("from the trigger's request to the event at the listener")
    ratio("memory of the process, MB", after, "below 150")
    ratio("event to listener, p95 ms", p95, "below 250")
