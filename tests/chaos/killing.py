"""Processes that are started again whenever they end, and what kills them and PostgreSQL at random moments."""

import asyncio
import contextlib
import random
import subprocess
from collections import Counter

from tenancy.errors import SetupRefused
from tests.cell import Cell

DOWN = (0.0, 1.0)  # seconds that PostgreSQL stays away
AGAIN = 0.3  # seconds until a process is started again
POSTGRES = "PostgreSQL"


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
            self._process = self._cell.start(*self._verb)
            while self._process.poll() is None:  # noqa: ASYNC110 - a process tells nobody in this loop of its end
                await asyncio.sleep(0.05)
            await asyncio.sleep(AGAIN)

    def kill(self) -> None:
        """Kill the process, if there is one at the moment."""
        if self._process is not None:
            self._process.kill()


class Killer:
    """Chooses when to kill what; the seed decides."""

    def __init__(
        self, cell: Cell, processes: list[Supervised], chosen: random.Random, gap: tuple[float, float]
    ) -> None:
        self.kills: Counter[str] = Counter()
        self._cell = cell
        self._processes = {process.name: process for process in processes}
        self._chosen = chosen
        self._gap = gap

    async def kill_until(self, stop: asyncio.Event) -> None:
        """Kill one thing after another; at the end everything is there again."""
        names = [*self._processes, POSTGRES]
        while not stop.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), self._chosen.uniform(*self._gap))
            name = self._chosen.choice(names)
            down = self._chosen.uniform(*DOWN)
            self.kills[name] += 1
            if name == POSTGRES:
                await self._kill_postgres(down)
            else:
                self._processes[name].kill()

    async def _kill_postgres(self, down: float) -> None:
        await self._cell.postgres.kill()
        await asyncio.sleep(down)
        for _ in range(10):
            with contextlib.suppress(SetupRefused):  # it may still be busy with what the kill left
                await self._cell.postgres.start()
                return
            await asyncio.sleep(1)
        await self._cell.postgres.start()
