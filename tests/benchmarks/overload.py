"""Ten times what one process can do: how much of it is served, how fast, how soon the rest is refused, and what it leaves."""

import asyncio
import itertools
import time
from collections import Counter, deque

import httpx
import msgspec

from tests.benchmarks.engine import COUNTED, INPUTS, document
from tests.benchmarks.following import memory
from tests.benchmarks.load import Client, Request, asked, percentile, round_of
from tests.benchmarks.options import Options
from tests.benchmarks.reporting import OUT, ratio, table
from tests.cell import Cell, Postgres, free_port

TIMES = 10
CONNECTIONS = 600  # of the overload: more than are worked on and wait together
TICK = 0.002  # seconds between two bursts of it
CALM = 16  # connections that ask for as much as can be done
NEIGHBOUR_EVERY = 0.05  # seconds between another account's requests
PROBE_SECONDS = 15  # that a recovery is waited for
COUNTING = document("overload", COUNTED)
BODY = b'{"instance_name": "overload", "trigger_inputs": %s}' % INPUTS


class Flood(msgspec.Struct):
    """What came of requests that were sent without waiting for answers."""

    due: int = 0
    sent: int = 0
    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    served: list[float] = msgspec.field(default_factory=list)
    refused: list[float] = msgspec.field(default_factory=list)

    def add(self, status: int, seconds: float) -> None:
        """Count an answer."""
        self.statuses[status] += 1
        (self.refused if status == 503 else self.served).append(seconds)


class Connection(asyncio.Protocol):
    """One connection, which is free again when its answer has come."""

    def __init__(self, flood: Flood, free: deque["Connection"]) -> None:
        self.flood = flood
        self.free = free
        self.buffer = b""
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.free.append(self)

    def ask(self, request: bytes, due: float) -> None:
        """Send a request that was due at a time."""
        self.due = due
        self.transport.write(request)  # type: ignore[attr-defined] # a socket's transport can write

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if len(body) < int(length):
            return
        self.buffer = b""
        self.flood.add(int(head[9:12]), time.perf_counter() - self.due)
        self.free.append(self)


async def flooded(port: int, next_request: Request, rate: float, seconds: float) -> Flood:
    """Ask at a rate, whatever the answers; what finds no free connection is not sent."""
    loop = asyncio.get_running_loop()
    flood, free = Flood(), deque[Connection]()
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Connection(flood, free), "127.0.0.1", port)
    began = time.perf_counter()
    every = list(free)
    while (now := time.perf_counter() - began) < seconds:
        while flood.due < now * rate:
            if free:
                free.popleft().ask(next_request(), began + flood.due / rate)
                flood.sent += 1
            flood.due += 1
        await asyncio.sleep(TICK)
    for one in every:
        one.transport.close()
    return flood


async def watched(pid: int, port: int, seen: list[float], statuses: Counter[int]) -> None:
    """Look at a process's memory, and ask whether it is ready, for as long as nobody cancels it."""
    async with httpx.AsyncClient(timeout=30) as client:
        for number in itertools.count():
            seen.append(memory(pid))
            if number % 5 == 0:
                statuses[(await client.get(f"http://127.0.0.1:{port}/readyz")).status_code] += 1
            await asyncio.sleep(0.1)


async def neighbour(port: int, request: bytes, seen: Flood) -> None:
    """Ask for another account, now and then and one after the other, for as long as nobody cancels it."""
    client = Client(port)
    try:
        while True:
            began = time.perf_counter()
            status, _ = await client.ask(request)
            seen.add(status, time.perf_counter() - began)
            await asyncio.sleep(NEIGHBOUR_EVERY)
    finally:
        client.close()


async def recovered(port: int, request: bytes, usual: float) -> float:
    """Return the seconds until ten requests in a row are served within three times the usual p99."""
    began = time.perf_counter()
    row = 0
    while row < 10 and time.perf_counter() - began < PROBE_SECONDS:
        flood = await asked_once(port, request)
        row = row + 1 if flood.served and flood.served[0] * 1000 < 3 * usual else 0
    return time.perf_counter() - began


async def asked_once(port: int, request: bytes) -> Flood:
    """Send one request on a connection of its own, and wait for its answer."""
    flood, free = Flood(), deque[Connection]()
    transport, one = await asyncio.get_running_loop().create_connection(
        lambda: Connection(flood, free), "127.0.0.1", port
    )
    free.clear()
    one.ask(request, time.perf_counter())
    while not free:  # noqa: ASYNC110 - the answer is looked for
        await asyncio.sleep(0.001)
    transport.close()
    return flood


async def measure_overload(postgres: Postgres, options: Options) -> None:
    """Find out what is sustainable, ask for ten times as much, and look how soon the service is as before."""
    cell = Cell(postgres, "bench_overload")
    seconds = options.seconds * options.rounds
    try:
        await cell.prepare()
        port = free_port()
        server = cell.start("serve", "--port", str(port))
        await cell.ready(port)
        path = await cell.publish(port, cell.acme, COUNTING)
        request = asked("POST", f"{path}/actions/trigger", cell.acme.token, BODY)
        await round_of(port, lambda: request, CALM, options.seconds)  # so that everything is loaded
        calm = await round_of(port, lambda: request, CALM, options.seconds)
        before, seen, ready = memory(server.pid), list[float](), Counter[int]()
        watching = asyncio.create_task(watched(server.pid, port, seen, ready))
        beside, other = Flood(), asked("GET", f"{cell.globex.url}/workflows", cell.globex.token)
        await Client(port).ask(other)
        asking = asyncio.create_task(neighbour(port, other, beside))
        flood = await flooded(port, lambda: request, TIMES * calm.rate, seconds)
        asking.cancel()
        back = await recovered(port, request, calm.p99)
        watching.cancel()
        after = await round_of(port, lambda: request, CALM, options.seconds)
        left = memory(server.pid)
    finally:
        cell.end()
    report(flood, (calm.rate, after.rate), seconds, back, (before, max(seen), left), ready)
    report_neighbour(beside)


def report(
    flood: Flood,
    rates: tuple[float, float],
    seconds: float,
    back: float,
    used: tuple[float, float, float],
    ready: Counter[int],
) -> None:
    """Print what was asked for, what was served and refused, and what stayed behind."""
    calm, after = rates
    answered = flood.statuses.total()
    table(
        f"triggers at {TIMES} times the sustainable rate, {CONNECTIONS} connections",
        ("per second", "p50 ms", "p99 ms"),
        {
            f"sustained by {CALM} connections": (f"{calm:,.0f}", "", ""),
            "due": (f"{flood.due / seconds:,.0f}", "", ""),
            "sent": (f"{flood.sent / seconds:,.0f}", "", ""),
            "served": cells(flood.served, seconds),
            "refused by 503": cells(flood.refused, seconds),
            "sustained afterwards": (f"{after:,.0f}", "", ""),
        },
    )
    others = {status: count for status, count in flood.statuses.items() if status not in (200, 201, 503)}
    OUT.print(f"other answers: {others or 'none'}; /readyz meanwhile: {dict(ready)}")
    OUT.print("latencies from the moment at which a request was due")
    ratio("served during the overload / sustained before", len(flood.served) / seconds / calm)
    ratio("served, p99 ms", percentile(flood.served, 0.99), "below 1500")
    ratio("refused, share of answers", len(flood.refused) / max(1, answered))
    ratio("seconds until it is as before", back, "below 5")
    for name, found in zip(("before", "most", "afterwards"), used, strict=True):
        ratio(f"memory of the process {name}, MB", found)


def report_neighbour(beside: Flood) -> None:
    """Print what became of another account's requests meanwhile."""
    ratio("another account's: share that was served", len(beside.served) / beside.statuses.total(), "1")
    ratio("another account's: p50 ms", percentile(beside.served, 0.5))
    ratio("another account's: p99 ms", percentile(beside.served, 0.99))


def cells(took: list[float], seconds: float) -> tuple[str, str, str]:
    """Write a line of the table."""
    return (
        f"{len(took) / seconds:,.0f}",
        f"{percentile(took, 0.5):.1f}",
        f"{percentile(took, 0.99):.1f}",
    )
