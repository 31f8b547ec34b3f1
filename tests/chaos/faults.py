"""What goes wrong on purpose: processes are killed and stopped, the database's connections are cut, taken and lost."""

import asyncio
import contextlib
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

import asyncpg
import msgspec

from tenancy.errors import SetupRefused
from tests.cell import Cell

AGAIN = 0.3  # seconds until a process is started again
DOWN = (0.0, 1.0)  # seconds that PostgreSQL stays away
SHORT_STOP = (0.5, 4.0)  # seconds that a process is stopped
LONG_STOP = (11.0, 15.0)  # longer than leases, which last 10
FULL = (2.0, 5.0)  # seconds for which the database has no connection left
MOST_CONNECTIONS = 250  # more than the embedded server has
GONE = (
    *(OSError, TimeoutError, SetupRefused),
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
)
SHARES = {
    "kill": 30,
    "stop": 16,
    "stop for long": 8,
    "cut some": 16,
    "cut all": 8,
    "fill": 8,
    "restart fast": 4,
    "restart immediate": 5,
    "kill PostgreSQL": 5,
}
CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE usename = 'tutti_app' AND application_name <> 'chaos' AND random() < $1
"""


class Fault(msgspec.Struct, frozen=True):
    """One fault: seconds since the run began, its kind, whom it met, and for how many seconds it was meant to last."""

    at: float
    kind: str
    whom: str
    lasting: float


class Supervised:
    """One of the service's processes, started again whenever it ends."""

    def __init__(self, cell: Cell, name: str, *verb: str) -> None:
        self.name = name
        self._cell = cell
        self._verb = verb
        self._process: subprocess.Popen[bytes] | None = None

    async def keep(self) -> None:
        """Start the process, and again each time that it has ended, until cancelled."""
        while True:
            self._process = self._cell.start(*self._verb, log=self.name)
            while self._process.poll() is None:  # noqa: ASYNC110 - a process tells nobody in this loop of its end
                await asyncio.sleep(0.05)
            await asyncio.sleep(AGAIN)

    def send(self, what: signal.Signals) -> None:
        """Send the process a signal, if there is one at the moment."""
        if self._process is not None:
            self._process.send_signal(what)


class Faults:
    """Chooses when to do what to whom; the seed decides."""

    def __init__(
        self, cell: Cell, processes: list[Supervised], chosen: random.Random, gap: tuple[float, float]
    ) -> None:
        self.timeline: list[Fault] = []
        self._began = time.monotonic()
        self._cell = cell
        self._processes = processes
        self._chosen = chosen
        self._gap = gap
        self._stops: set[asyncio.Task[None]] = set()
        self._verbs: Mapping[str, Callable[[], Awaitable[None]]] = {
            "kill": self._kill,
            "stop": lambda: self._stop("stop", SHORT_STOP),
            "stop for long": lambda: self._stop("stop for long", LONG_STOP),
            "cut some": lambda: self._cut("cut some", self._chosen.uniform(0.1, 0.6)),
            "cut all": lambda: self._cut("cut all", 1.0),
            "fill": self._fill,
            "restart fast": lambda: self._restart("restart fast", "fast"),
            "restart immediate": lambda: self._restart("restart immediate", "immediate"),
            "kill PostgreSQL": lambda: self._restart("kill PostgreSQL", None),
        }

    @property
    def counts(self) -> dict[str, int]:
        """How many there were of each kind."""
        return dict(sorted(Counter(one.kind for one in self.timeline).items()))

    async def until(self, stop: asyncio.Event) -> None:
        """Do one thing after another, each kind once at least; at the end everything is there again."""
        order = self._chosen.sample(list(SHARES), len(SHARES))
        while order or not stop.is_set():
            await asyncio.sleep(self._chosen.uniform(*self._gap))
            kind = order.pop() if order else self._chosen.choices(list(SHARES), list(SHARES.values()))[0]
            await self._verbs[kind]()
        await asyncio.gather(*self._stops)

    def _note(self, kind: str, whom: str, lasting: float = 0) -> None:
        at = round(time.monotonic() - self._began, 3)
        self.timeline.append(Fault(at, kind, whom, round(lasting, 3)))

    async def _kill(self) -> None:
        process = self._chosen.choice(self._processes)
        self._note("kill", process.name)
        process.send(signal.SIGKILL)

    async def _stop(self, kind: str, lasting: tuple[float, float]) -> None:
        """Stop a process for some time; other things go wrong meanwhile."""
        process, seconds = self._chosen.choice(self._processes), self._chosen.uniform(*lasting)
        self._note(kind, process.name, seconds)

        async def stopped() -> None:
            process.send(signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                process.send(signal.SIGCONT)

        task = asyncio.create_task(stopped())
        self._stops.add(task)
        task.add_done_callback(self._stops.discard)

    async def _cut(self, kind: str, share: float) -> None:
        self._note(kind, f"{share:.2f} of the connections")
        with contextlib.suppress(*GONE):
            async with self._cell.rows() as rows:
                await rows.execute(CUT.replace("$1", str(share)))

    async def _fill(self) -> None:
        """Take every connection that the database has left, and cut some, which are then missing."""
        seconds, share = self._chosen.uniform(*FULL), self._chosen.uniform(0.3, 1)
        self._note("fill", f"{share:.2f} of the connections cut", seconds)
        taken: list[asyncpg.Connection] = []
        try:
            await self._take(taken)
            with contextlib.suppress(*GONE):
                async with self._cell.rows() as rows:
                    await rows.execute(CUT.replace("$1", str(share)))
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                await self._take(taken)
                await asyncio.sleep(0.1)
        finally:
            for connection in taken:
                connection.terminate()

    async def _take(self, taken: list[asyncpg.Connection]) -> None:
        """Connect until the database has no place left."""
        url = self._cell.postgres.url("tutti_app", self._cell.database)
        with contextlib.suppress(*GONE):
            while len(taken) < MOST_CONNECTIONS:
                settings = {"application_name": "chaos"}
                taken.append(await asyncpg.connect(url, timeout=2, server_settings=settings))

    async def _restart(self, kind: str, mode: str | None) -> None:
        """Have PostgreSQL stop, or die, and start again."""
        down = self._chosen.uniform(*DOWN)
        self._note(kind, "PostgreSQL", down)
        if mode is None:
            await self._cell.postgres.kill()
        else:
            await self._cell.postgres.shut(mode)
        await asyncio.sleep(down)
        for _ in range(10):
            with contextlib.suppress(SetupRefused):  # it may still be busy with what the kill left
                await self._cell.postgres.start()
                return
            await asyncio.sleep(1)
        await self._cell.postgres.start()
