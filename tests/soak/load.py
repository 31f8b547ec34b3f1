"""The load: instances of every kind from the chaos, each started, given what it waits for, read and listed, in its own dialect."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from tests.chaos.asking import Answer, Asked, Line, written
from tests.chaos.mix import Act, Kind, chance
from tests.chaos.people import WORDS, started, starting
from tests.chaos.scene import CERTIFICATES, FLOWS, SHARES, Tenant

SEED = "soak"
PAUSE = 0.5  # seconds until somebody looks after an instance
LOOKS = 40  # times until something is given up that an instance does not come to
LIST_EVERY = 10  # instances
PATIENCE = 30.0  # seconds for an answer
IDLE = 1.0  # seconds after which a connection is not used again: the service closes it soon
AT_ONCE = 200  # instances that are looked after; more wait
BACKLOG_MOST = 48  # jobs that may wait while it is found out what is sustainable
ENDED_BEFORE = 409  # than somebody came to suspend it
ENDED = ("completed", "failed", "canceled", "complete")  # what dialects call it
FAILED = ("failed",)
CERTIFICATE_STATUS = {3: "failed", 4: "canceled", 5: "complete", 6: "canceled"}


class Load:
    """Instances of several accounts, begun at a rate."""

    def __init__(self, port: int, tenants: Sequence[Tenant], kinds: Sequence[Kind]) -> None:
        self.answers: Counter[str] = Counter()  # by status, "none" where no answer came
        self.wrong: Counter[str] = Counter()  # by request and status
        self.begun = 0
        self.told: set[UUID] = set()  # instances that webhooks are told of
        self._port = port
        self._tenants = tenants
        self._kinds = [kind for kind in kinds if kind.share]
        self._idle: list[tuple[Line, float]] = []  # with the moment of their last answer; the latest is last
        self._places = asyncio.Semaphore(AT_ONCE)

    def forget(self) -> None:
        """Begin to count anew: what comes from now on is judged."""
        self.answers.clear()
        self.wrong.clear()
        self.told.clear()

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

    async def begin_one(self) -> bool:
        """Start an instance, give it what it waits for, read it; whether it was started."""
        self.begun += 1
        number = self.begun
        chosen = chance(SEED, number)
        (tenant,) = chosen.choices(self._tenants, [SHARES[one.name] for one in self._tenants])
        (kind,) = chosen.choices(self._kinds, [one.share for one in self._kinds])
        start = starting(tenant, kind, SEED, number)
        if (
            number % 2
        ):  # half of the triggers come with a key of the caller's, the others as an SDK sends them
            start = msgspec.structs.replace(start, headers={})
        answer = await self.ask(tenant, start)
        if not answer.taken:
            return False
        instance_id = started(kind, answer)
        await asyncio.sleep(PAUSE)
        if instance_id is not None:
            if kind.told:
                self.told.add(instance_id)
            await self._look_after(Begun(tenant, kind, instance_id))
        if number % LIST_EVERY == 0:
            await self._list(tenant)
        return True

    async def _look_after(self, one: "Begun") -> None:
        await self._act(one)
        if one.kind.act == "delete":
            return
        await self._read(one, one.path)
        if one.kind.dialect != "keyfactor":
            await self._read(one, f"{one.path}/history")

    async def _act(self, one: "Begun") -> None:
        match one.kind.act:
            case "signal":
                await self._do(one, "signal")
            case "suspend":
                await self._suspend(one)
            case "approve":
                if item := await self._comes(one, lambda: self._work_item(one)):
                    await self._do(one, "approve", work_item_id=item)
            case "cancel":
                await self._cancel(one)
            case "restart" if await self._comes(one, lambda: self._end(one)) in FAILED:
                await self._do(one, "restart")
            case "delete" if await self._comes(one, lambda: self._end(one)):
                await self._do(one, "delete")

    async def _suspend(self, one: "Begun") -> None:
        """Suspend it for a while, if it has not ended before."""
        if await self._do(one, "suspend", ENDED_BEFORE, status="running"):
            await asyncio.sleep(PAUSE)
            await self._do(one, "suspend", status="suspended")

    async def _cancel(self, one: "Begun") -> None:
        """Stop it; in one dialect only when it asks somebody."""
        if one.kind.dialect != "keyfactor" or await self._comes(one, lambda: self._work_item(one)):
            await self._do(one, "cancel")

    async def _do(self, one: "Begun", act: Act, *tolerated: int, **more: Any) -> bool:
        row: Any = {"id": one.id, "workflow_id": one.workflow_id, "status": None, "work_item_id": None} | more
        asked = WORDS[one.kind.dialect](one.tenant, act, row).asked
        asked = msgspec.structs.replace(asked, subject=one.kind.name)
        return (await self.ask(one.tenant, asked, *tolerated)).taken

    async def _comes(self, one: "Begun", look: Callable[[], Awaitable[str | None]]) -> str | None:
        """Look again and again until there is something."""
        for _ in range(LOOKS):
            if found := await look():
                return found
            await asyncio.sleep(PAUSE)
        self.wrong[f"{one.kind.name}: nothing has come that its {one.kind.act} needs"] += 1
        return None

    async def _work_item(self, one: "Begun") -> str | None:
        found = await self._read(one, f"{one.tenant.url}/work-items?status=open&instance_id={one.id}")
        return next((item["id"] for item in found["data"]), None) if found else None

    async def _end(self, one: "Begun") -> str | None:
        found = await self._read(one, one.path)
        if not found:
            return None
        if one.kind.dialect == "keyfactor":
            return CERTIFICATE_STATUS.get(found["Status"])
        status = str(found["workflow_status"]).lower()
        return status if status in ENDED else None

    async def _list(self, tenant: Tenant) -> None:
        for path in (
            f"{tenant.url}/workflow-instances?page_size=50",
            f"{tenant.url}/audit?page_size=50",
            f"{FLOWS}/instances?pageSize=50",
            f"{FLOWS}/triggers",
            f"{CERTIFICATES}/Workflow/Instances?returnLimit=50",
            f"{CERTIFICATES}/Workflow/Instances/AssignedToMe?returnLimit=50",
        ):
            await self.ask(tenant, Asked("list", path, "GET", path))

    async def _read(self, one: "Begun", path: str) -> Any:
        answer = await self.ask(one.tenant, Asked("read", one.kind.name, "GET", path))
        return answer.json() if answer.taken else None

    async def ask(self, tenant: Tenant, asked: Asked, *tolerated: int) -> Answer:
        """Ask for something, with a mark where it is not given: but for statuses that may be."""
        line = self._connection()
        answer = await line.ask(written(asked, tenant.headers), PATIENCE)
        self._idle.append((line, time.monotonic()))
        if answer.status not in tolerated:
            self.note(f"{asked.verb} {asked.subject.rstrip('0123456789 ')}", answer.status)
        return answer

    def note(self, what: str, status: int) -> None:
        """Count an answer; status 0: none came."""
        self.answers[str(status or "none")] += 1
        if not 200 <= status < 400:
            self.wrong[f"{what}: {status or 'no answer'}"] += 1

    def _connection(self) -> Line:
        if self._idle and self._idle[-1][1] < time.monotonic() - IDLE:
            self.close()
        return self._idle.pop()[0] if self._idle else Line(self._port)

    def close(self) -> None:
        """Close all connections that nobody uses."""
        for line, _ in self._idle:
            line.close()
        self._idle.clear()


class Begun(msgspec.Struct, frozen=True):
    """An instance that was started."""

    tenant: Tenant
    kind: Kind
    id: UUID

    @property
    def workflow_id(self) -> UUID:
        """Of which workflow it is one."""
        return self.tenant.workflows[self.kind.name]

    @property
    def path(self) -> str:
        """Where it is, in its dialect."""
        match self.kind.dialect:
            case "formance":
                return f"{FLOWS}/instances/{self.id}"
            case "keyfactor":
                return f"{CERTIFICATES}/Workflow/Instances/{self.id}"
            case "maestro":
                return f"{self.tenant.url}/workflows/{self.workflow_id}/instances/{self.id}"


async def sustainable(
    load: Load, seconds: float, clients: int, backlog: Callable[[], Awaitable[int]]
) -> float:
    """Measure how many instances a second the service takes in while it keeps up with those it has.

    `backlog()` tells how many jobs wait; nobody starts anything while there are more than `BACKLOG_MOST`. What is refused
    does not count, and whoever was refused waits a while.
    """
    until = time.monotonic() + seconds
    began, taken = time.monotonic(), 0
    room = asyncio.Event()

    async def watch() -> None:
        while True:
            if await backlog() > BACKLOG_MOST:
                room.clear()
            else:
                room.set()
            await asyncio.sleep(0.1)

    async def client() -> None:
        nonlocal taken
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(room.wait(), max(0.01, until - time.monotonic()))
                if await load.begin_one():
                    taken += 1
                else:
                    await asyncio.sleep(2 * PAUSE)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(client() for _ in range(clients)))
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)  # it asks the database
    return taken / (time.monotonic() - began)
