"""Whatever an instance wants from outside is done once, though every job runs twice and every worker dies at the worst time.

One scenario for each effect of the interpreter; each is lived through four times: undisturbed, with every job done twice,
with every transaction lost just before its commit, and with every worker dying just after it.
"""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, get_args
from uuid import UUID

import httpx
import msgspec
import pytest
from aiohttp import web

from service.engine import storing
from service.engine import worker as engine
from service.engine.effects import child, publish, work_item
from service.engine.messages import Effect
from service.engine.queue import Job, put_back
from tenancy.rows import read, rows_of
from tests.world import Tenant, World, bearer, trigger, until


class Scenario(msgspec.Struct):
    """A workflow that has the effect, and what its people and partners do meanwhile."""

    tasks: list[Any]
    meanwhile: Callable[["Stage"], Awaitable[None]] | None = None


class Stage(msgspec.Struct):
    """Where a scenario is played."""

    client: httpx.AsyncClient
    tenant: Tenant
    url: str

    async def post(self, path: str, body: Any) -> httpx.Response:
        """Send a request as the account's administrator."""
        return await self.client.post(path, json=body, headers=bearer(self.tenant.admin))

    async def signal(self) -> None:
        """Send the event that the instance listens for."""
        answer = await self.post(f"{self.url}/actions/signal", {"type": "goods.arrived", "id": "1"})
        assert answer.status_code == 202, answer.text

    async def approve(self) -> None:
        """Approve the first work item as soon as there is one."""
        item = await self.item()
        path = f"{self.tenant.url}/work-items/{item}/actions/complete"
        answer = await self.post(path, {"outcome": "approve"})
        assert answer.status_code == 200, answer.text

    async def item(self) -> str:
        """Wait for an open work item."""
        for _ in range(500):
            answer = await self.client.get(
                f"{self.tenant.url}/work-items?status=open", headers=bearer(self.tenant.admin)
            )
            if answer.json()["data"]:
                found: str = answer.json()["data"][0]["id"]
                return found
            await asyncio.sleep(0.02)
        raise AssertionError("no work item was opened")


LISTEN = {"listen": {"to": {"one": {"with": {"type": "goods.arrived"}}}}}
CALL = {"call": "http", "with": {"method": "post", "endpoint": "URL", "body": {"n": "${ .n }"}}}
APPROVE = {"call": "approval", "with": {"title": "Go on?", "assignees": {"roles": ["admin"]}}}
CHILD = {"run": {"workflow": {"namespace": "tests", "name": "child", "version": "latest"}}}
ROUNDS = {"for": {"in": "[range(1200)]"}, "do": [{"step": {"set": {"n": "${ $index }"}}}]}

SCENARIOS = {
    "Sleep": Scenario([{"pause": {"wait": {"milliseconds": 100}}}]),
    "Listen": Scenario([{"goods": LISTEN}], Stage.signal),
    "Call": Scenario([{"begin": {"set": {"n": 1}}}, {"call": CALL}]),
    "Begin": Scenario([{"other": CHILD}]),
    "Ask": Scenario([{"ask": APPROVE}], Stage.approve),
    "Publish": Scenario(
        [{"tell": {"emit": {"event": {"with": {"type": "goods.sold", "source": "urn:shop"}}}}}]
    ),
    "Forget": Scenario(
        [
            {
                "race": {
                    "fork": {
                        "compete": True,
                        "branches": [
                            {"slow": {"wait": {"minutes": 5}}},
                            {"quick": {"wait": {"milliseconds": 100}}},
                        ],
                    }
                }
            }
        ]
    ),
    "Continue": Scenario([{"rounds": ROUNDS}]),
}


def test_every_effect_has_its_scenario() -> None:
    assert set(SCENARIOS) == {effect.__name__ for effect in get_args(Effect)}


# --- How workers fail -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def undisturbed(_: pytest.MonkeyPatch) -> Any:
    """Let everything go well."""
    yield


@contextlib.contextmanager
def twice(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Do every job a second time when it has been done, as a queue may hand it out again."""
    advance, perform = engine.Worker.advance, engine.Worker.perform

    async def advance_twice(self: engine.Worker, account_id: UUID, jobs: Sequence[Job]) -> None:
        await advance(self, account_id, jobs)
        await advance(self, account_id, jobs)

    async def perform_twice(self: engine.Worker, job: Job) -> None:
        await perform(self, job)
        await perform(self, job)

    monkeypatch.setattr(engine.Worker, "advance", advance_twice)
    monkeypatch.setattr(engine.Worker, "perform", perform_twice)
    yield


@contextlib.contextmanager
def before_commit(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lose every transaction of a worker once, when all is written and nothing is committed."""
    lost: Counter[Any] = Counter()

    @contextlib.asynccontextmanager
    async def losing(account_id: UUID) -> AsyncIterator[Any]:
        async with rows_of(account_id) as connection:
            yield connection
            written = await connection.fetchval("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
            lost["all"] += written
            if written and lost["all"] % 2:
                raise ConnectionError

    async def lost_read(statement: str, *arguments: Any) -> Any:
        lost["all"] += 1
        if lost["all"] % 2:
            raise ConnectionError
        return await read(statement, *arguments)

    for module in (storing, child, publish, work_item):
        monkeypatch.setattr(module, "rows_of", losing)
    monkeypatch.setattr(storing, "read", lost_read)
    at_once(monkeypatch)
    yield
    assert lost["all"] > 0


@contextlib.contextmanager
def after_commit(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let every worker die when its job is done and committed, and the job be handed out again."""
    done: set[int] = set()
    advance, perform = engine.Worker.advance, engine.Worker.perform

    async def advance_and_die(self: engine.Worker, account_id: UUID, jobs: Sequence[Job]) -> None:
        await advance(self, account_id, jobs)
        new = [job for job in jobs if job.id not in done]
        done.update(job.id for job in new)
        await handed_out_again(account_id, new, done)

    async def perform_and_die(self: engine.Worker, job: Job) -> None:
        await perform(self, job)
        if job.id not in done:
            done.add(job.id)
            await handed_out_again(job.account_id, [job], done)

    monkeypatch.setattr(engine.Worker, "advance", advance_and_die)
    monkeypatch.setattr(engine.Worker, "perform", perform_and_die)
    yield


async def handed_out_again(account_id: UUID, jobs: Sequence[Job], known: set[int]) -> None:
    """Write jobs once more, as if their worker had died before it could delete them."""
    async with rows_of(account_id) as connection:
        for job in jobs:
            known.add(
                await connection.fetchval(
                    "INSERT INTO job (account_id, instance_id, lane, reason, wait, payload)"
                    " VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
                    *(job.account_id, job.instance_id, job.lane, job.reason, job.wait, job.payload),
                )
            )


def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let failed jobs come back without a pause."""

    async def now(jobs: Any, _: timedelta) -> None:
        await put_back(jobs, timedelta())

    monkeypatch.setattr(engine, "put_back", now)


DISTURBANCES = (undisturbed, twice, before_commit, after_commit)


# --- The scenarios --------------------------------------------------------------------------------------------------


@pytest.fixture
async def shop(world: World) -> AsyncIterator["Shop"]:
    """A server that the workflows call; it also publishes what they run as their child."""
    await world.acme.publish(document("child", [{"work": {"wait": {"milliseconds": 50}}}]))
    shop = Shop()
    async with shop.serving():
        yield shop


class Shop:
    """Writes down which requests came, by their key."""

    def __init__(self) -> None:
        self.requests: defaultdict[str, list[bytes]] = defaultdict(list)
        self.url = ""

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Answer on a port of its own."""
        application = web.Application()
        application.router.add_post("/", self._answer)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        try:
            yield
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests[request.headers["Idempotency-Key"]].append(await request.read())
        return web.json_response({"sold": True})


def document(name: str, tasks: list[Any]) -> dict[str, Any]:
    """Write a definition."""
    return {"document": {"dsl": "1.0.3", "namespace": "tests", "name": name, "version": "1.0.0"}, "do": tasks}


def calling(tasks: list[Any], url: str) -> list[Any]:
    """The tasks with the shop's address."""
    changed: list[Any] = msgspec.json.decode(
        msgspec.json.encode(tasks).replace(b'"URL"', f'"{url}"'.encode())
    )
    return changed


@pytest.mark.parametrize("effect", SCENARIOS)
@pytest.mark.parametrize("disturbed", DISTURBANCES, ids=lambda one: one.__name__)
async def test_an_effect_happens_once_whatever_befalls_the_workers(
    client: httpx.AsyncClient,
    world: World,
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
    effect: str,
    disturbed: Any,
) -> None:
    scenario = SCENARIOS[effect]
    monkeypatch.setattr("service.operations.starting.known", lambda _: None)  # workers make the first advance
    await world.acme.publish(document("scenario", calling(scenario.tasks, shop.url)))
    with disturbed(monkeypatch):
        url = await trigger(client, world.acme, "scenario", {"n": 1})
        if scenario.meanwhile is not None:
            await scenario.meanwhile(Stage(client, world.acme, url))
        instance = await until(client, world.acme, url, seconds=40, workflow_status="Completed")
        await nothing_left(world.acme)
    assert instance["output"] is not None
    assert await history(world.acme, url)
    await told_once(world.acme)
    for key, bodies in shop.requests.items():
        assert set(bodies) == {b'{"n":1}'}, key
    assert len(shop.requests) == (effect == "Call")


async def history(of: Tenant, url: str) -> list[tuple[Any, ...]]:
    """The rows of an instance's history, each entered once and ended."""
    async with rows_of(of.id) as connection:
        rows = await connection.fetch(
            "SELECT number, name, status, ended_at FROM task_run WHERE instance_id = $1 ORDER BY number",
            UUID(url.rpartition("/")[2]),
        )
    assert [row["number"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(row["ended_at"] is not None and row["status"] != "running" for row in rows)
    return [tuple(row) for row in rows]


async def told_once(of: Tenant) -> None:
    """No event of any instance, and no child or work item, is there twice."""
    async with rows_of(of.id) as connection:
        events = await connection.fetch(
            "SELECT instance_id, type, count(*) AS times FROM event WHERE instance_id IS NOT NULL"
            " AND type LIKE 'instance.%' AND type <> 'instance.signalled' GROUP BY 1, 2 HAVING count(*) > 1"
        )
        children = await connection.fetch(
            "SELECT parent_id FROM instance WHERE parent_id IS NOT NULL GROUP BY 1 HAVING count(*) > 1"
        )
        items = await connection.fetch("SELECT instance_id FROM work_item GROUP BY 1 HAVING count(*) > 1")
    assert (events, children, items) == ([], [], [])


async def nothing_left(of: Tenant) -> None:
    """Wait until neither a job nor a timer nor a listener nor an open work item is left."""
    left: Any = None
    for _ in range(500):
        async with rows_of(of.id) as connection:
            left = await connection.fetchrow(
                "SELECT (SELECT count(*) FROM job) AS jobs, (SELECT count(*) FROM timer) AS timers,"
                " (SELECT count(*) FROM listener) AS listeners,"
                " (SELECT count(*) FROM work_item WHERE status = 'open') AS items"
            )
        if not any(left.values()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"left behind: {dict(left)}")
