"""Two processes, two hundred requests of eight people at one instance at once: each answer is true, and so is all together."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import cycle
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from tests.contract import Contract
from tests.maestro.actions import read
from tests.maestro.consistency import Kept, contradictions, kept
from tests.maestro.crowd import AT_ONCE, PEOPLE, Act, Answered, Mix, Place, acts, crowded, send
from tests.maestro.people import all_opened, colleague, stored
from tests.maestro.streams import following_of, rest
from tests.processes import serving
from tests.waiting import eventually
from tests.world import Tenant, World, bearer, trigger

SECONDS = 30  # for an answer; one that takes longer is none
CLAIMS = {"claim": 30, "release": 25, "reassign": 5}
MIXES = {
    "answers": Mix(
        {"signal": 55, "sign": 40, "check": 40, "restart": 5, **CLAIMS},
        late=("check", "restart"),
        done=("signal", "sign", "claim", "release", "reassign"),
        minimum=4,
        events=20,
    ),
    "cancels": Mix(
        {"signal": 60, "sign": 30, "cancel": 20, "restart": 30, **CLAIMS},
        late=("cancel", "restart"),
        done=("signal", "sign", "claim", "cancel", "restart"),
    ),
    "suspends": Mix(
        {"signal": 60, "sign": 30, "suspend": 25, "resume": 25, **CLAIMS},
        done=("signal", "sign", "claim", "suspend", "resume"),
        minimum=6,
    ),
    "restarts": Mix(
        {"signal": 50, "sign": 20, "check": 10, "suspend": 60, "resume": 20, "restart": 40},
        late=("restart",),
        done=("signal", "sign", "suspend", "resume", "restart"),
    ),
    "rejections": Mix(
        {"signal": 60, "sign": 40, "reject": 20, "check": 20, **CLAIMS},
        late=("reject", "check"),
        done=("signal", "sign", "reject", "claim"),
        events=5,
    ),
    "everything": Mix(
        {"signal": 40, "sign": 20, "reject": 10, "check": 10, "suspend": 20, "resume": 20, "cancel": 10, "restart": 10}
        | CLAIMS,
        late=("reject", "check", "cancel", "restart"),
        done=("signal", "sign"),
        minimum=4,
        events=20,
    ),
}  # fmt: skip


class Crowd(msgspec.Struct):
    """A client of each process; the people, their tokens and e-mail addresses."""

    clients: Sequence[httpx.AsyncClient]
    people: Sequence[UUID]
    tokens: Sequence[str]
    users: Sequence[str]


@pytest.fixture(scope="module")
def processes(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Two processes of the service on the tests' database; each works on instances too."""
    with serving(2, tmp_path_factory.mktemp("processes")) as urls:
        yield urls


@pytest.fixture
async def crowd(processes: list[str], world: World) -> AsyncIterator[Crowd]:
    """Administrators of Acme, who may do everything, and a client of each process that holds answers against the document."""
    names = [f"person{number}" for number in range(PEOPLE)]
    made = [await colleague(world.acme, name, "admin") for name in names]
    given: dict[str, Any] = {
        "timeout": SECONDS,
        "limits": httpx.Limits(max_connections=AT_ONCE),
        "event_hooks": {"response": [Contract.of("maestro.json").check]},
    }
    one, other = (httpx.AsyncClient(base_url=url, **given) for url in processes)
    async with one, other:
        yield Crowd(
            (one, other),
            [person for person, _ in made],
            [token for _, token in made],
            [f"{name}@acme.example" for name in (*names, "admin")],
        )


@pytest.mark.parametrize("name", MIXES)
async def test_two_hundred_requests_at_once_leave_one_consistent_history(
    crowd: Crowd, world: World, name: str
) -> None:
    mix = MIXES[name]
    place = await started(crowd, world.acme, mix)
    answers = await at_once(crowd, mix, list(MIXES).index(name), place)
    assert {one.response.status_code for one in answers} <= {200, 201, 202, 409}
    await settled(world.acme)
    found = await kept(world.acme, UUID(place.instance.rpartition("/")[2]))
    assert contradictions(found, answers, crowd.people) == []
    assert {one.act.verb for one in answers if one.accepted} >= set(mix.done)
    await assert_restarted_once(world.acme, found, answers)
    for client in crowd.clients:
        await assert_told_as_stored(client, world.acme, place, found)


async def started(crowd: Crowd, of: Tenant, mix: Mix) -> Place:
    """Start the instance and wait until it asks."""
    client = crowd.clients[0]
    await of.publish(crowded(crowd.users, mix))
    instance = await trigger(client, of, "crowded", {})
    items = await all_opened(client, of, instance, 2)
    found = {(await one.read())["task_name"]: one.url for one in items}
    return Place(instance, found["sign"], found["check"], crowd.users)


async def at_once(crowd: Crowd, mix: Mix, seed: int, place: Place) -> list[Answered]:
    """Send all requests at once, to the processes in turn; those that are late while half of the others are on their way."""
    chosen = acts(mix, seed, place)
    assert len(chosen) == AT_ONCE
    half = sum(one.verb not in mix.late for one in chosen) // 2
    answers: list[Answered] = []
    halfway = asyncio.Event()

    async def sent(one: Act, client: httpx.AsyncClient) -> None:
        if one.verb in mix.late:
            await halfway.wait()
        answers.append(await send(client, crowd.tokens[one.person], one))
        if len(answers) == half:
            halfway.set()

    async with asyncio.TaskGroup() as group:
        for one, client in zip(chosen, cycle(crowd.clients), strict=False):
            group.create_task(sent(one, client))
    return answers


async def settled(of: Tenant) -> None:
    """Wait until nothing is left to do but what is held."""

    async def idle() -> bool:
        return not await stored(of, "SELECT FROM job WHERE lane <> 'held' LIMIT 1")

    await eventually(idle)


async def assert_restarted_once(of: Tenant, found: Kept, answers: Sequence[Answered]) -> None:
    """Only one restart is accepted, as what it begins goes on; both instances name each other, and both are consistent."""
    begun = [
        one.response.json()["instance_id"] for one in answers if one.act.verb == "restart" and one.accepted
    ]
    rows = await stored(of, "SELECT id FROM instance WHERE restarted_from = $1", found.instance["id"])
    assert [str(row["id"]) for row in rows] == begun
    assert [found.instance["restarted_as"]] == ([row["id"] for row in rows] or [None])
    for row in rows:
        assert contradictions(await kept(of, row["id"]), [], []) == []


async def assert_told_as_stored(client: httpx.AsyncClient, of: Tenant, place: Place, found: Kept) -> None:
    """A process tells what is stored: of the instance, its tasks, its work items and, of one that has ended, its events."""
    instance = await read(client, of, place.instance)
    again = found.instance["restarted_as"]
    assert instance.get("restarted_as") == (None if again is None else str(again))
    assert (instance["ended_at"] is None) == (found.instance["ended_at"] is None)
    history = await client.get(
        f"{place.instance}/history", params={"page_size": "200"}, headers=bearer(of.admin)
    )
    assert len(history.json()["data"]) == len(found.rows["task_run"])
    for url in (place.sign, place.check):
        item = (await client.get(url, headers=bearer(of.admin))).json()
        (row,) = (row for row in found.rows["work_item"] if str(row["id"]) == item["id"])
        assert item["status"] == row["status"]
        assert len(item["decisions"]) == sum(
            one["work_item_id"] == row["id"] for one in found.rows["decision"]
        )
    if found.instance["ended_at"] is not None:
        async with following_of(str(client.base_url), place.instance, of.admin) as events:
            told = [event.event for event in await rest(events)]
        assert told[1:] == [event["type"] for event in found.events]
