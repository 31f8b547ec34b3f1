"""Those outside: clients that trigger and write down what was acknowledged, people who decide, senders of events."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from tenancy.errors import SetupRefused
from tests.benchmarks.load import Client, UnansweredError, asked
from tests.cell import Cell
from tests.chaos.mix import ANSWER, SIGNAL, Kind, chance

PATIENCE = 10  # seconds for an answer
GONE = (
    *(OSError, TimeoutError, SetupRefused),
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
)
LONGEST = 60  # seconds until a trigger is given up
LOOK_EVERY = 0.3  # seconds
WAITING = """
SELECT id FROM instance WHERE account_id = $1 AND workflow_id = $2 AND ended_at IS NULL AND id <> ALL($3) LIMIT 500
"""


class Acknowledged(msgspec.Struct, frozen=True):
    """A trigger that was answered: of what, with which inputs."""

    kind: str
    inputs: dict[str, Any]


class Outside:
    """Everybody who uses the service; each request goes to one of its processes by chance."""

    def __init__(self, cell: Cell, ports: Sequence[int], workflows: dict[str, str], seed: int) -> None:
        self.acknowledged: dict[UUID, Acknowledged] = {}
        self.answers: Counter[str] = Counter()  # to triggers, by status; what never came too
        self.wrong: list[str] = []
        self._cell = cell
        self._ports = ports
        self._workflows = workflows
        self._seed = seed
        self._done: set[UUID] = set()  # instances that were sent their event, or cancelled

    async def trigger(self, kinds: Sequence[Kind], instances: int, seconds: float, clients: int) -> None:
        """Trigger so many instances, evenly over the time, each again until it is acknowledged."""
        numbers = iter(range(instances))
        began = time.monotonic()

        async def client() -> None:
            async with self._connections() as connections:
                for number in numbers:
                    await asyncio.sleep(began + number * seconds / instances - time.monotonic())
                    await self._trigger_one(connections, kinds, number)

        await asyncio.gather(*(client() for _ in range(clients)))

    async def _trigger_one(self, connections: list[Client], kinds: Sequence[Kind], number: int) -> None:
        chosen = chance(self._seed, "trigger", number)
        (kind,) = chosen.choices(kinds, [kind.share for kind in kinds])
        inputs = kind.inputs(chosen)
        path = f"{self._workflows[kind.name]}/actions/trigger"
        body = {"instance_name": f"{kind.name} {number}", "trigger_inputs": inputs}
        status, answer = 0, b""
        until = time.monotonic() + LONGEST
        while time.monotonic() < until:
            status, answer = await self._asked(connections, chosen, "POST", path, body)
            self.answers[str(status or "none")] += 1
            if status == 201:
                instance_id = UUID(msgspec.json.decode(answer)["instance_id"])
                self.acknowledged[instance_id] = Acknowledged(kind.name, inputs)
                return
            if 400 <= status < 500:
                break
            await asyncio.sleep(0.2)
        self.wrong.append(f"a trigger of {kind.name} was not taken: {status} {answer.decode()[:300]}")

    async def decide(self) -> None:
        """Approve whatever is open, until cancelled."""
        async with self._connections() as connections:
            chosen = chance(self._seed, "decide")
            listing = f"{self._cell.acme.url}/work-items?status=open"
            while True:
                status, answer = await self._asked(connections, chosen, "GET", listing)
                for item in msgspec.json.decode(answer)["data"] if status == 200 else ():
                    path = f"{self._cell.acme.url}/work-items/{item['id']}/actions/complete"
                    await self._asked(connections, chosen, "POST", path, {"outcome": "approve"})
                await asyncio.sleep(LOOK_EVERY)

    async def act(self, kind: str, action: str) -> None:
        """Do something to every instance of a kind, once: send it its event, or cancel it; until cancelled."""
        async with self._connections() as connections:
            chosen = chance(self._seed, action)
            while True:
                for instance_id in await self._unattended(kind):
                    path = f"{self._workflows[kind]}/instances/{instance_id}/actions/{action}"
                    event = {"type": SIGNAL, "id": f"go-{instance_id}", "data": {"n": ANSWER}}
                    status, _ = await self._asked(
                        connections, chosen, "POST", path, event if action == "signal" else None
                    )
                    if 200 <= status < 300 or status == 409:
                        self._done.add(instance_id)
                await asyncio.sleep(LOOK_EVERY)

    async def _unattended(self, kind: str) -> list[UUID]:
        with contextlib.suppress(*GONE):
            async with self._cell.rows() as rows:
                workflow_id = UUID(self._workflows[kind].rpartition("/")[2])
                found = await rows.fetch(WAITING, UUID(self._cell.acme.id), workflow_id, list(self._done))
                return [row["id"] for row in found]
        return []

    @contextlib.asynccontextmanager
    async def _connections(self) -> AsyncIterator[list[Client]]:
        connections = [Client(port) for port in self._ports]
        try:
            yield connections
        finally:
            for connection in connections:
                connection.close()

    async def _asked(
        self, connections: list[Client], chosen: random.Random, method: str, path: str, body: object = None
    ) -> tuple[int, bytes]:
        """Ask one of the processes; status 0 where no answer came."""
        text = b"" if body is None else msgspec.json.encode(body)
        try:
            return await chosen.choice(connections).ask(
                asked(method, path, self._cell.acme.token, text), PATIENCE
            )
        except UnansweredError:
            return 0, b""
