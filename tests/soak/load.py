"""The load: instances of every kind from the chaos, each triggered, given what it waits for, read and listed."""

import asyncio
import contextlib
import time
from collections import Counter
from typing import Any

import msgspec

from tests.benchmarks.load import Client, UnansweredError, asked
from tests.cell import Account
from tests.chaos.mix import ANSWER, SIGNAL, Kind, chance

PAUSE = 0.5  # seconds until somebody looks after an instance
LOOKS = 20  # times until an approval that is not there is given up
LIST_EVERY = 10  # instances
IDLE = 1.0  # seconds after which a connection is not used again: the service closes it soon
AT_ONCE = 200  # instances that are looked after; more wait


class Load:
    """Instances of an account, begun at a rate."""

    def __init__(self, account: Account, port: int, workflows: dict[str, str], kinds: list[Kind]) -> None:
        self.answers: Counter[str] = Counter()  # by status, "none" where no answer came
        self.wrong: Counter[str] = Counter()  # by request and status
        self.begun = 0
        self._account = account
        self._port = port
        self._workflows = workflows
        self._kinds = [kind for kind in kinds if kind.share]
        self._idle: list[
            tuple[Client, float]
        ] = []  # with the moment of their last answer; the latest is at the end
        self._places = asyncio.Semaphore(AT_ONCE)

    async def begin_at(self, rate: float, seconds: float) -> None:
        """Begin so many instances a second, evenly, and end with the last of them."""
        until = time.monotonic() + seconds
        due = time.monotonic()
        async with asyncio.TaskGroup() as group:
            while due < until:
                await asyncio.sleep(due - time.monotonic())
                await self._places.acquire()
                group.create_task(self._begun())
                due += 1 / rate

    async def _begun(self) -> None:
        try:
            await self.begin_one()
        finally:
            self._places.release()

    async def begin_one(self) -> None:
        """Trigger an instance, give it what it waits for, read it."""
        self.begun += 1
        chosen = chance("soak", self.begun)
        (kind,) = chosen.choices(self._kinds, [one.share for one in self._kinds])
        workflow = self._workflows[kind.name]
        body = {"instance_name": f"{kind.name} {self.begun}", "trigger_inputs": kind.inputs(chosen)}
        started = await self._ask("POST", f"{workflow}/actions/trigger", body)
        if started is None:
            return
        instance = f"{workflow}/instances/{started['instance_id']}"
        await asyncio.sleep(PAUSE)
        match kind.act:
            case "signal":
                event = {"type": SIGNAL, "id": started["instance_id"], "data": {"n": ANSWER}}
                await self._ask("POST", f"{instance}/actions/signal", event)
            case "cancel" | "sweep":
                await self._ask("POST", f"{instance}/actions/cancel")
            case "approve":
                await self._approve(started["instance_id"])
        await self._ask("GET", instance)
        await self._ask("GET", f"{instance}/history")
        if self.begun % LIST_EVERY == 0:
            await self._ask("GET", f"{self._account.url}/workflow-instances?page_size=50")

    async def _approve(self, instance_id: str) -> None:
        listing = f"{self._account.url}/work-items?status=open&instance_id={instance_id}"
        for _ in range(LOOKS):
            found = await self._ask("GET", listing)
            for item in found["data"] if found else ():
                path = f"{self._account.url}/work-items/{item['id']}/actions/complete"
                await self._ask("POST", path, {"outcome": "approve"})
                return
            await asyncio.sleep(PAUSE)
        self.wrong["an approval was not asked for"] += 1

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask for something; None, and a mark, where it is not given."""
        text = b"" if body is None else msgspec.json.encode(body)
        client = self._connection()
        try:
            status, answer = await client.ask(asked(method, path, self._account.token, text))
        except UnansweredError as error:
            status, answer = 0, str(error).encode()
        self._idle.append((client, time.monotonic()))
        self.answers[str(status or "none")] += 1
        if 200 <= status < 300:
            return msgspec.json.decode(answer)
        self.wrong[
            f"{method} {path.rpartition('/')[2].partition('?')[0][:40]}: {status or answer.decode()}"
        ] += 1
        return None

    def _connection(self) -> Client:
        if self._idle and self._idle[-1][1] < time.monotonic() - IDLE:
            self.close()
        return self._idle.pop()[0] if self._idle else Client(self._port)

    def close(self) -> None:
        """Close all connections that nobody uses."""
        for client, _ in self._idle:
            client.close()
        self._idle.clear()


async def sustainable(load: Load, seconds: float, clients: int, backlog: Any) -> float:
    """Measure how many instances a second the service takes in while it keeps up with those it has.

    `backlog()` tells how many jobs wait; nobody triggers while there are more than `clients`.
    """
    until = time.monotonic() + seconds
    began, before = time.monotonic(), load.begun
    room = asyncio.Event()

    async def watch() -> None:
        while True:
            if await backlog() > clients:
                room.clear()
            else:
                room.set()
            await asyncio.sleep(0.1)

    async def client() -> None:
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(room.wait(), max(0.01, until - time.monotonic()))
                await load.begin_one()

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(client() for _ in range(clients)))
    watching.cancel()
    return (load.begun - before) / (time.monotonic() - began)
