"""Those outside: clients that start instances and write down what was acknowledged, and people who do what those wait for."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from tests.cell import Cell
from tests.chaos.asking import Acknowledged, Answer, Asked, Caller, ClientLog
from tests.chaos.faults import GONE
from tests.chaos.mix import ANSWER, SIGNAL, Act, Kind, chance
from tests.chaos.scene import BUS_EVENT, CERTIFICATES, FLOWS, SHARES, Tenant
from tests.waiting import eventually

HANDS = 4  # of the people of one account
LOOK_EVERY = 0.3  # seconds
READ_EVERY = 2.0  # seconds
ACCEPTED = 202
BRIEF = 15  # seconds until something is left for the next look
FIRST_SECONDS = 60  # that people have for the first instances
KEY = "Idempotency-Key"
# What is acknowledged to people for each of their acts.
VERBS = {
    "suspend": ("suspend", "resume"),
    "signal": ("signal",),
    "approve": ("complete",),
    "restart": ("restart",),
    "cancel": ("cancel",),
    "sweep": ("sweep",),
    "delete": ("delete",),
}
# What waits for people, or has ended in a way that lets them do something.
OPEN = """
SELECT instance.id, workflow_id, status, restarted_from, restarted_as,
       (SELECT work_item.id FROM work_item WHERE work_item.account_id = $1 AND instance_id = instance.id
        AND work_item.status = 'open' LIMIT 1) AS work_item_id
FROM instance WHERE account_id = $1 AND parent_id IS NULL
  AND (ended_at IS NULL OR (workflow_id = ANY ($2) AND restarted_as IS NULL)) ORDER BY id
"""


class Deed(msgspec.Struct, frozen=True):
    """What somebody does to an instance: the request, and what is acknowledged by it."""

    asked: Asked
    instance_id: UUID
    once: bool = False  # for each instance, whatever it then looks like
    detail: dict[str, Any] = {}


class Outside:
    """Everybody who uses the service."""

    def __init__(
        self,
        cell: Cell,
        ports: Sequence[int],
        tenants: Sequence[Tenant],
        kinds: Sequence[Kind],
        seed: int,
        log: ClientLog,
    ) -> None:
        self.log = log
        self.idle = {tenant.name: 0 for tenant in tenants}  # looks in a row that found nothing to do
        self._cell = cell
        self._ports = ports
        self._tenants = tenants
        self._kinds = kinds
        self._seed = seed
        self._done: set[UUID] = set()

    # Starting instances

    async def start(self, instances: int, seconds: float, clients: int) -> None:
        """Start so many instances, evenly over the time, each again until it is acknowledged; fewer if that takes longer."""
        numbers = iter(range(instances))
        began = time.monotonic()

        async def client(name: int) -> None:
            async with contextlib.AsyncExitStack() as lines:
                callers = {
                    tenant.name: await lines.enter_async_context(self._calling(tenant, "client", name))
                    for tenant in self._tenants
                }
                for number in numbers:
                    await asyncio.sleep(began + number * seconds / instances - time.monotonic())
                    if time.monotonic() > began + seconds:
                        return
                    await self._start_one(callers, number)

        await asyncio.gather(*(client(name) for name in range(clients)))

    async def start_each(self, number: int) -> None:
        """Start one of each kind, numbered from one on, and wait until somebody has done what each of these wants of people.

        So whatever follows, of each kind there is something.
        """
        async with self._calling(self._tenants[0], "first", 0) as caller:
            for kind in (one for one in self._kinds if one.share):
                await self._start(caller, self._tenants[0], kind, number)
                number += 1
        wanted = {
            verb for kind in self._kinds if kind.dialect == "maestro" for verb in VERBS.get(kind.act, ())
        }
        await eventually(lambda: wanted <= self.log.verbs.keys(), FIRST_SECONDS)

    async def _start_one(self, callers: dict[str, Caller], number: int) -> None:
        chosen = chance(self._seed, "start", number)
        (tenant,) = chosen.choices(self._tenants, [SHARES[one.name] for one in self._tenants])
        (kind,) = chosen.choices(self._kinds, [kind.share for kind in self._kinds])
        await self._start(callers[tenant.name], tenant, kind, number)

    async def _start(self, caller: Caller, tenant: Tenant, kind: Kind, number: int) -> None:
        asked = starting(tenant, kind, self._seed, number)
        answer = await caller.ask(asked)
        if answer.taken:
            inputs = inputs_of(kind, self._seed, number)
            self._acknowledge(tenant, asked, started(kind, answer), kind=kind.name, inputs=inputs)
        elif kind.start != "run":  # whose SDK never sends anything again
            self.log.wrong.append(f"{asked.subject} was not taken: {answer.status} {answer.body[:300]!r}")

    # Doing what instances wait for

    async def attend(self, tenant: Tenant) -> None:
        """Do what the instances of an account want of people, until cancelled."""
        async with contextlib.AsyncExitStack() as lines:
            hands = [
                await lines.enter_async_context(self._calling(tenant, "hand", name)) for name in range(HANDS)
            ]
            while True:
                deeds = await self._deeds(tenant)
                if deeds is not None:
                    self.idle[tenant.name] = 0 if deeds else self.idle[tenant.name] + 1
                    left = iter(deeds)
                    await asyncio.gather(*(self._do(tenant, hand, left) for hand in hands))
                await asyncio.sleep(LOOK_EVERY)

    async def _do(self, tenant: Tenant, hand: Caller, deeds: Iterator[Deed]) -> None:
        for deed in deeds:
            answer = await hand.ask(deed.asked, BRIEF)
            if answer.taken:
                made = location(answer)
                detail = deed.detail | ({"made": made} if made else {})
                self._acknowledge(tenant, deed.asked, deed.instance_id, **detail)
            if deed.once and (answer.taken or answer.status in (400, 409)):
                self._done.add(deed.instance_id)

    async def _deeds(self, tenant: Tenant) -> list[Deed] | None:
        """Look what there is to do; None where the database does not say."""
        kinds = {tenant.workflows[kind.name]: kind for kind in self._kinds}
        afterwards = [id_ for id_, kind in kinds.items() if kind.act in ("restart", "delete")]
        with contextlib.suppress(*GONE):
            async with self._cell.rows() as rows:
                found = await rows.fetch(OPEN, tenant.id, afterwards)
            deeds = (deed_of(tenant, kinds[row["workflow_id"]], row) for row in found)
            return [deed for deed in deeds if deed and not (deed.once and deed.instance_id in self._done)]
        return None

    async def sweep(self, tenant: Tenant) -> None:
        """Cancel whatever there is of some kinds, by one bulk action after the other, until cancelled."""
        async with self._calling(tenant, "sweeper", 0) as sweeper:
            while True:
                for kind in (one for one in self._kinds if one.act == "sweep"):
                    path = f"{tenant.url}/workflow-instances/actions/cancel?status=In%20Progress"
                    path += f"&workflow_definition_id={tenant.workflows[kind.name]}"
                    counted = await sweeper.ask(Asked("count", path, "POST", path), BRIEF)
                    count = counted.json()["matched_count"] if counted.taken else 0
                    if count:
                        asked = Asked("sweep", path, "POST", path, {"confirm_count": count}, again=False)
                        answer = await sweeper.ask(asked, BRIEF)
                        if answer.status == ACCEPTED:  # else there are more or fewer by now
                            self._acknowledge(tenant, asked, None, made=location(answer))
                await asyncio.sleep(READ_EVERY)

    async def read(self, tenant: Tenant) -> None:
        """Read the account's lists in every dialect, and write down which instances they show, until cancelled."""
        async with self._calling(tenant, "reader", 0) as reader:
            while True:
                for path in (
                    f"{tenant.url}/workflow-instances?page_size=200",
                    f"{FLOWS}/instances?pageSize=200",
                    f"{CERTIFICATES}/Workflow/Instances?returnLimit=200",
                ):
                    answer = await reader.ask(Asked("list", path, "GET", path), BRIEF)
                    if answer.taken:
                        self.log.seen |= {(tenant.id, UUID(one)) for one in listed(answer.json())}
                await asyncio.sleep(READ_EVERY)

    # Callers and what they may rely on

    @contextlib.asynccontextmanager
    async def _calling(self, tenant: Tenant, *name: object) -> AsyncIterator[Caller]:
        caller = Caller(
            self.log, self._ports, tenant.headers, chance(self._seed, "caller", tenant.name, *name)
        )
        try:
            yield caller
        finally:
            caller.close()

    def _acknowledge(self, tenant: Tenant, asked: Asked, instance_id: UUID | None, **detail: Any) -> None:
        self.log.acknowledged.append(
            Acknowledged(asked.verb, tenant.id, tenant.actor, asked.subject, instance_id, detail)
        )


def inputs_of(kind: Kind, seed: int | str, number: int) -> dict[str, Any]:
    """Make up what an instance is started with."""
    return kind.inputs(chance(seed, "inputs", number)) | {"number": str(number)}


def starting(tenant: Tenant, kind: Kind, seed: int | str, number: int) -> Asked:
    """Write the request that starts an instance of a kind; the seed and the number say with what."""
    workflow_id, subject, key = tenant.workflows[kind.name], f"{kind.name} {number}", f"{seed}-{number}"
    inputs = inputs_of(kind, seed, number)
    match kind.start:
        case "run":
            path = f"{FLOWS}/workflows/{workflow_id}/instances"
            return Asked("run", subject, "POST", path, inputs, again=False)
        case "bus":
            event = {"type": BUS_EVENT, "idempotency_key": key, "app": "chaos", "payload": inputs}
            return Asked("publish", subject, "POST", f"{tenant.url}/bus-events", event)
        case "trigger":
            path = f"{tenant.url}/workflows/{workflow_id}/actions/trigger"
            body = {"instance_name": subject, "trigger_inputs": inputs}
            return Asked("trigger", subject, "POST", path, body, {KEY: key})


def started(kind: Kind, answer: Answer) -> UUID | None:
    """Read which instance a start tells of; an event of the bus tells of none."""
    told = answer.json()
    if kind.start == "bus":
        return None
    return UUID(told["data"]["id"] if kind.start == "run" else told["instance_id"])


def location(answer: Answer) -> str | None:
    """Read which instance a restart has made, if that is what was answered."""
    if "location" in answer.headers:
        return answer.headers["location"].rpartition("/")[2]
    told = answer.json() if answer.body else {}
    return told.get("instance_id") if answer.status == 201 else None


def listed(told: Any) -> list[str]:
    """Read the ids of instances out of a list, of any dialect."""
    if isinstance(told, list):
        return [one["Id"] for one in told]
    if "cursor" in told:
        return [one["id"] for one in told["cursor"]["data"]]
    return [one["id"] for one in told["instances"]]


def deed_of(tenant: Tenant, kind: Kind, row: asyncpg.Record) -> Deed | None:
    """Say what there is to do with an instance now, in the dialect of its kind."""
    act, ended = kind.act, row["status"] in ("completed", "faulted", "cancelled")
    wanted: dict[Act, bool] = {
        "nothing": False,
        "signal": not ended,
        "approve": not ended and row["work_item_id"] is not None,
        "cancel": not ended and (kind.dialect != "keyfactor" or row["status"] == "waiting"),
        "suspend": not ended,
        "restart": row["status"] == "faulted"
        and (kind.dialect == "keyfactor" or row["restarted_from"] is None),
        "delete": row["status"] == "completed",
        "sweep": False,  # many at once, by `sweep`
    }
    if not wanted[act]:
        return None
    return WORDS[kind.dialect](tenant, act, row)


def in_maestro(tenant: Tenant, act: Act, row: asyncpg.Record) -> Deed:
    """Write a request of Maestro's."""
    instance_id, subject = row["id"], str(row["id"])
    path = f"{tenant.url}/workflows/{row['workflow_id']}/instances/{instance_id}"
    match act:
        case "signal":
            body = {"type": SIGNAL, "id": f"go-{instance_id}", "data": {"n": ANSWER}}
            return Deed(
                Asked("signal", subject, "POST", f"{path}/actions/signal", body), instance_id, once=True
            )
        case "approve":
            item = str(row["work_item_id"])
            done = Asked(
                "complete",
                item,
                "POST",
                f"{tenant.url}/work-items/{item}/actions/complete",
                {"outcome": "approve"},
            )
            return Deed(done, instance_id, detail={"outcome": "approve"})
        case "suspend" if row["status"] == "suspended":
            return Deed(Asked("resume", subject, "POST", f"{path}/actions/resume"), instance_id)
        case "delete":
            return Deed(Asked("delete", subject, "DELETE", path), instance_id)
        case _:
            asked = Asked(act, subject, "POST", f"{path}/actions/{act}")
            return Deed(asked, instance_id, once=act == "suspend")


def in_formance(_: Tenant, act: Act, row: asyncpg.Record) -> Deed:
    """Write a request of Formance's."""
    instance_id, subject = row["id"], str(row["id"])
    path = f"{FLOWS}/instances/{instance_id}"
    if act == "signal":
        return Deed(
            Asked("signal", subject, "POST", f"{path}/events", {"name": "go"}), instance_id, once=True
        )
    return Deed(Asked("cancel", subject, "PUT", f"{path}/abort"), instance_id)


def in_keyfactor(_: Tenant, act: Act, row: asyncpg.Record) -> Deed:
    """Write a request of Keyfactor's."""
    instance_id, subject = row["id"], str(row["id"])
    path = f"{CERTIFICATES}/Workflow/Instances/{instance_id}"
    if act == "approve":
        body = {"SignalKey": "signOff.ApprovalStatus", "Data": {"Approved": "True"}}
        item = str(row["work_item_id"])
        return Deed(
            Asked("complete", item, "POST", f"{path}/Signals", body),
            instance_id,
            detail={"outcome": "approve"},
        )
    verb = {"cancel": "Stop", "restart": "Restart"}[act]
    return Deed(Asked(act, subject, "POST", f"{path}/{verb}"), instance_id)


WORDS = {"maestro": in_maestro, "formance": in_formance, "keyfactor": in_keyfactor}
