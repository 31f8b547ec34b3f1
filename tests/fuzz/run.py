"""One run: a service of its own, two accounts, every document as several callers, garbage, and what must hold afterwards."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from tests.cell import Cell, Postgres, environment, free_port
from tests.fuzz.accounts import Side
from tests.fuzz.described import Caller, Found, Violation, go_through
from tests.fuzz.garbage import Target
from tests.fuzz.raw import throw
from tests.fuzz.rows import Filling, Ids, at_rest, ids_of

ROOT = Path(__file__).resolve().parents[2]
DATABASE = "fuzz"
KEYS = "A" * 43 + "="  # encrypts the secrets of accounts that live as long as the run
RAW = "raw"
RAW_SHARE = 0.15  # of the time
BRIEF = 6  # of so many pieces of garbage one is thrown where there is little time
SHARES = {"maestro": 5, "formance": 3, "keyfactor": 2, "oauth": 1}
Tell = Callable[[str], None]


class Plan(msgspec.Struct, frozen=True):
    """What to do: for how long in all, from which seed, and one dialect or `raw` alone.

    Without seconds, as little as shows that all of it works: one caller of each document, its examples, a part of the garbage.
    """

    seed: int
    seconds: float | None
    only: str = ""

    def takes(self, part: str) -> bool:
        """Whether a part is wanted."""
        return self.only in ("", part)


class Run:
    """A service with two accounts."""

    def __init__(self, plan: Plan, folder: Path, tell: Tell) -> None:
        self._plan = plan
        self._tell = tell
        self._postgres = Postgres(folder)
        self._port = free_port()
        self._cell = Cell(
            self._postgres,
            DATABASE,
            TUTTI_PUBLIC_URL=f"http://127.0.0.1:{self._port}",
            TUTTI_TRUSTED_PROXIES="127.0.0.1",  # so that requests come from many addresses
            TUTTI_SECRET_KEYS=KEYS,
        )
        self._sides: list[Side] = []
        self._rounds = 0

    async def whole(self) -> dict[str, Found]:
        """Do everything; return what came of each part."""
        found: dict[str, Found] = {}
        try:
            await self._start()
            callers = [one for one in everybody(*self._sides) if self._plan.takes(one.document)]
            if self._plan.seconds is None:
                callers = list({one.document: one for one in callers}.values())
            parts = sum(SHARES[one.document] for one in callers)
            seconds = (self._plan.seconds or 0) * (1 - RAW_SHARE * self._plan.takes(RAW))
            for caller in callers:
                name = f"{caller.document} as {caller.name}"
                found[name] = await self._document(caller, seconds * SHARES[caller.document] / parts)
                self._tell(f"{name}: {sum(found[name].answers.values())} requests")
            if self._plan.takes(RAW):
                whole = self._plan.seconds or 0
                found[RAW] = await self._raw(whole * RAW_SHARE if callers else whole)
            found["log"] = Found()
            for violation in complaints(self._cell.log):
                found["log"].add(violation)
        finally:
            self._cell.end()
            self._postgres.remove()
        return found

    async def _start(self) -> None:
        await self._postgres.start()
        await self._postgres.create(DATABASE)
        await self._cell.run("migrate")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.fuzz.accounts"),
            env=environment(self._postgres, DATABASE),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        self._sides = msgspec.json.decode(output, type=list[Side])
        self._cell.start("serve", "--port", str(self._port))
        await self._cell.ready(self._port)

    async def _document(self, caller: Caller, seconds: float) -> Found:
        own, other = await self._rows(caller.side)
        before = await self._of(other)
        found = await asyncio.to_thread(
            go_through,
            caller,
            f"http://127.0.0.1:{self._port}",
            self._plan.seed,
            round(seconds) or None,
            own,
            other,
        )
        after = await self._of(other)
        for table in sorted(table for table in after if after[table] != before[table]):
            message = f"rows of {table} of the other account are not what they were"
            found.add(Violation(caller.document, "writes_of_others", message, ""))
        return found

    async def _raw(self, seconds: float) -> Found:
        side = self._sides[0]
        _, other = await self._rows(side)
        target = Target(f"127.0.0.1:{self._port}", side.url, side.token)
        part = 1 if self._plan.seconds else BRIEF
        return await throw(self._port, target, self._plan.seed, seconds, other.secret, part)

    async def _rows(self, of: Side) -> tuple[Ids, Ids]:
        """Make new rows in both accounts; return the ids of the one that asks, and those of the other."""
        self._rounds += 1
        for side in self._sides:
            await Filling(self._port, side).everything(f"round-{self._rounds}")
        await at_rest(self._cell, [side.account_id for side in self._sides])
        other = next(side for side in self._sides if side is not of)
        async with self._cell.rows() as rows:
            return await ids_of(rows, of), await ids_of(rows, other)

    async def _of(self, ids: Ids) -> dict[str, str]:
        (found,) = await at_rest(self._cell, [ids.account_id])
        return found


def everybody(first: Side, second: Side) -> list[Caller]:
    """Who goes through which document."""
    return [
        Caller("maestro", "administrator", first, bearer(first.token)),
        Caller("maestro", "machine", second, bearer(second.machine_token)),
        Caller("formance", "machine", first, bearer(first.machine_token)),
        Caller("formance", "administrator", second, bearer(second.token)),
        Caller("keyfactor", "administrator", first, bearer(first.token)),
        Caller(
            "keyfactor",
            "user by Basic",
            second,
            {},
            (f"{second.account_id}\\{second.email}", second.password),
        ),
        Caller("keyfactor", "machine by Basic", first, {}, (str(first.machine_id), first.machine_secret)),
        Caller("oauth", "machine", first, {}, (str(first.machine_id), first.machine_secret)),
        Caller("oauth", "administrator", second, bearer(second.token)),
    ]


def bearer(token: str) -> dict[str, str]:
    """Write the header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def complaints(log: Path) -> Iterator[Violation]:
    """Find what a service that is asked nonsense has no reason to log."""
    for line in log.read_text("utf-8", "replace").splitlines():
        if "Traceback" in line or '"level":"error"' in line or '"level":"critical"' in line:
            try:
                told = json.loads(line)
                message = f"{told['logger']}: {told['message']}: {str(told.get('error', '')).strip()[-1500:]}"
            except (ValueError, KeyError):
                message = line
            yield Violation("the service's log", "no traceback", message, "")


async def fuzz(plan: Plan, folder: Path, tell: Tell = lambda _: None) -> dict[str, Found]:
    """Run once; return what came of each part, by its name."""
    return await Run(plan, folder, tell).whole()
