"""Jobs that run twice, race, fail or lose their worker: an instance's life is told once, and comes to its end."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
import pytest

import tenancy.rows
from service.engine.egress import Egress
from service.engine.queue import Job
from service.engine.worker import ATTEMPTS, SLOW_ATTEMPTS, Worker
from service.language.sandbox import Sandbox
from tenancy.postgres import connected
from tenancy.rows import read, rows_of
from tenancy.schema import migrate
from tests.engine.outages import EACH_OUTAGE
from tests.engine.outside import egress
from tests.tenancy.databases import environment, fresh_database, superuser
from tests.waiting import eventually
from tests.world import Tenant, World, bearer, trigger, until

TUTTI = str(Path(sys.executable).with_name("tutti"))
LIMIT = 60  # seconds; generous, for the machine may be busy
TAKE_OVER = 30  # seconds within which a killed worker's instances go on
MANY = 200


def document(name: str, tasks: list[Any], **more: Any) -> dict[str, Any]:
    """Write a definition."""
    head = {"dsl": "1.0.3", "namespace": "tests", "name": name, "version": "1.0.0"}
    return {"document": head, **more, "do": tasks}


LISTEN = {"listen": {"to": {"one": {"with": {"type": "goods.arrived"}}}}}
STAGES = document(
    "stages", [{"sleep": {"wait": {"days": 3}}}, {"goods": LISTEN}, {"close": {"set": {"x": 1}}}]
)
SHORT = document("short", [{"sleep": {"wait": {"seconds": 1}}}, {"close": {"set": {"done": True}}}])
LIMITED = document("limited", [{"goods": LISTEN}], timeout={"after": {"seconds": 1}})
ROUNDS = document(
    "rounds",
    [
        {"begin": {"set": {"n": 0}}},
        {"step": {"set": {"n": "${ .n + 1 }"}}},
        {"again": {"switch": [{"more": {"when": ".n < 700", "then": "step"}}, {"done": {"then": "end"}}]}},
    ],
)


@pytest.fixture
async def stages(client: httpx.AsyncClient, world: World) -> str:
    """An instance that sleeps, then listens, then ends: its URL, once it sleeps."""
    await world.acme.publish(STAGES)
    return await sleeping(client, world)


async def sleeping(client: httpx.AsyncClient, world: World) -> str:
    """Start an instance that sleeps first, and wait until it does."""
    url = await trigger(client, world.acme, "stages", {})
    await eventually(lambda: timers(world.acme, url), LIMIT)
    return url


async def test_a_job_that_runs_twice_changes_nothing_at_any_stage(
    client: httpx.AsyncClient, world: World, stages: str
) -> None:
    worker = Worker(world.acme.sandbox, Egress())
    await unchanged_by(worker, world.acme, stages, "start", "continue", "event")

    (wait,) = await timers(world.acme, stages)
    wake = job(world.acme, stages, "timer", wait)
    # Early, as far as the clock goes, but this is what a fired timer is to the worker.
    await worker.advance(world.acme.id, [wake])
    assert await timers(world.acme, stages) == []
    assert (await told(world.acme, stages)) == {"instance.triggered": 1}
    await unchanged_by(worker, world.acme, stages, "start", "continue", "event", "timer", wait=wait)

    await send(client, world.acme, stages)
    await until(client, world.acme, stages, workflow_status="Completed")
    await unchanged_by(worker, world.acme, stages, "start", "continue", "event", "timer", wait=wait)
    await unchanged_by(worker, world.acme, stages, "timer", wait=0)  # the expiry


async def test_workers_that_race_for_one_job_advance_once(
    client: httpx.AsyncClient, world: World, stages: str
) -> None:
    (wait,) = await timers(world.acme, stages)
    before = await row_of(world.acme, stages)
    workers = [Worker(world.acme.sandbox, Egress()) for _ in range(6)]
    fired = job(world.acme, stages, "timer", wait)
    await asyncio.gather(*(worker.advance(world.acme.id, [fired]) for worker in workers))
    after = await row_of(world.acme, stages)
    assert after["sequence"] == before["sequence"] + 1
    assert after["last_completed_step"] == 1
    await send(client, world.acme, stages)
    await until(client, world.acme, stages, workflow_status="Completed")
    assert (await told(world.acme, stages))["instance.completed"] == 1


async def test_cancel_that_races_with_an_advance_ends_the_instance_for_good(
    client: httpx.AsyncClient, world: World
) -> None:
    await world.acme.publish(STAGES)
    worker = Worker(world.acme.sandbox, Egress())
    for round_ in range(8):
        url = await sleeping(client, world)
        (wait,) = await timers(world.acme, url)

        async def cancelled(url: str = url, pause: float = round_ / 1000) -> httpx.Response:
            await asyncio.sleep(pause)
            return await client.post(f"{url}/actions/cancel", headers=bearer(world.acme.admin))

        answer, _ = await asyncio.gather(
            cancelled(), worker.advance(world.acme.id, [job(world.acme, url, "timer", wait)])
        )
        assert answer.status_code == 200
        row = await row_of(world.acme, url)
        assert row["status"] == "cancelled"
        assert await timers(world.acme, url) == []
        assert (await told(world.acme, url))["instance.cancelled"] == 1
        await unchanged_by(worker, world.acme, url, "start", "event", "timer", wait=wait)


async def test_an_event_that_comes_during_an_advance_is_not_forgotten(
    client: httpx.AsyncClient, world: World, stages: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own job runs while the instance still sleeps; only the advance that ends the sleep can see to it."""
    worker = Worker(world.acme.sandbox, Egress())
    loaded, go_on = asyncio.Event(), asyncio.Event()
    advanced = worker._advanced

    async def held(*arguments: Any) -> Any:
        loaded.set()
        await go_on.wait()
        return await advanced(*arguments)

    monkeypatch.setattr(worker, "_advanced", held)
    (wait,) = await timers(world.acme, stages)
    advance = asyncio.create_task(worker.advance(world.acme.id, [job(world.acme, stages, "timer", wait)]))
    await loaded.wait()
    await send(client, world.acme, stages)
    await eventually(queue_is_empty, LIMIT)  # the event's job has found a sleeping instance, and done nothing
    go_on.set()
    await advance
    await until(client, world.acme, stages, workflow_status="Completed")


async def test_a_timer_fires_within_two_seconds(client: httpx.AsyncClient, world: World) -> None:
    await world.acme.publish(SHORT)
    url = await trigger(client, world.acme, "short", {})
    instance = await until(client, world.acme, url, workflow_status="Completed")
    took = datetime.fromisoformat(instance["ended_at"]) - datetime.fromisoformat(instance["started_at"])
    assert timedelta(seconds=1) <= took <= timedelta(seconds=1 + 2)


async def test_a_workflows_timeout_fails_the_instance_with_a_timeout_error(
    client: httpx.AsyncClient, world: World
) -> None:
    await world.acme.publish(LIMITED)
    url = await trigger(client, world.acme, "limited", {})
    instance = await until(client, world.acme, url, workflow_status="Failed")
    expires_at = datetime.fromisoformat(instance["started_at"]) + timedelta(seconds=1)
    assert datetime.fromisoformat(instance["expires_at"]) == expires_at
    assert datetime.fromisoformat(instance["ended_at"]) >= expires_at
    assert (await error_of(world.acme, url))["type"].endswith("/timeout")
    assert await timers(world.acme, url) == []


async def test_more_tasks_than_one_advance_may_run_go_on_in_another_job(
    client: httpx.AsyncClient, world: World
) -> None:
    await world.acme.publish(ROUNDS)
    url = await trigger(client, world.acme, "rounds", {})
    instance = await until(client, world.acme, url, seconds=LIMIT, workflow_status="Completed")
    assert instance["output"] == {"n": 700}
    assert (await row_of(world.acme, url))["sequence"] >= 2
    assert (await told(world.acme, url))["instance.completed"] == 1


async def test_a_fault_of_the_engine_ends_the_instance_with_a_runtime_error(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Iterator[Any]:
        raise ZeroDivisionError

    monkeypatch.setattr("service.operations.starting.advance", broken)
    monkeypatch.setattr("service.engine.worker.advance", broken)
    url = await trigger(client, world.acme, "greeting", {"who": "Ada"})
    await until(client, world.acme, url, workflow_status="Failed")
    error = await error_of(world.acme, url)
    assert error["type"].endswith("/runtime")
    assert "ZeroDivision" not in str(error)
    assert (await told(world.acme, url))["instance.faulted"] == 1


async def test_a_job_that_fails_for_a_reason_nobody_thought_of_comes_back(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is lost leaves its instance behind for ever."""
    failures = iter([ZeroDivisionError])
    store = sys.modules["service.engine.worker"].store

    async def failing(*arguments: Any) -> Any:
        for failure in failures:
            raise failure
        return await store(*arguments)

    monkeypatch.setattr("service.operations.starting.known", lambda _: None)  # a worker begins it
    monkeypatch.setattr("service.engine.worker.store", failing)
    url = await trigger(client, world.acme, "greeting", {"who": "Ada"})
    await until(client, world.acme, url, seconds=LIMIT, workflow_status="Completed")
    assert (await told(world.acme, url))["instance.completed"] == 1


@EACH_OUTAGE
async def test_a_job_whose_connection_breaks_off_goes_back_however_often_that_happens(
    world: World, monkeypatch: pytest.MonkeyPatch, outage: Exception
) -> None:
    given_back: list[Job] = []

    async def back(jobs: Any, _: Any) -> None:
        given_back.extend(jobs)
        raise outage  # which its lease makes good

    async def given_up(job: Job) -> None:
        raise AssertionError(f"{job} ended its instance")

    async def breaking() -> None:
        raise outage

    module = sys.modules["service.engine.worker"]
    monkeypatch.setattr(module, "put_back", back)
    monkeypatch.setattr(module, "break_off", given_up)
    job = Job(uuid4(), uuid4(), "timer", attempts=ATTEMPTS + 1)
    async with egress() as way:
        assert await Worker(world.acme.sandbox, way)._guarded([job], breaking())
    assert given_back == [job]


async def test_a_job_whose_statement_is_always_too_slow_is_not_tried_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    came: list[tuple[str, int]] = []

    async def back(jobs: Sequence[Job], _: Any) -> None:
        came.extend(("back", job.attempts) for job in jobs)

    async def given_up(job: Job) -> None:
        came.append(("given up", job.attempts))

    async def slow() -> None:
        await read("SELECT pg_sleep(30)")

    module = sys.modules["service.engine.worker"]
    monkeypatch.setattr(module, "put_back", back)
    monkeypatch.setattr(module, "break_off", given_up)
    monkeypatch.setattr(tenancy.rows, "allowance", lambda: 0.05)
    tried = (
        1,
        ATTEMPTS,
        SLOW_ATTEMPTS - 1,
        SLOW_ATTEMPTS,
    )  # the database may have been away before, or slow for everybody
    jobs = [Job(uuid4(), uuid4(), "timer", attempts=attempts) for attempts in tried]
    async with egress() as way:
        worker = Worker(world.acme.sandbox, way)
        for job in jobs:
            assert not await worker._guarded([job], slow())
    assert came == [*(("back", attempts) for attempts in tried[:-1]), ("given up", SLOW_ATTEMPTS)]


async def test_instances_end_though_every_connection_was_cut(client: httpx.AsyncClient, world: World) -> None:
    await world.acme.publish(SHORT)
    urls = [await trigger(client, world.acme, "short", {}) for _ in range(20)]
    async with connected(superuser()) as connection:
        cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'tutti_app'"
        for _ in range(2):
            assert await connection.fetchval(cut) > 0
            await asyncio.sleep(0.4)

        async def ended() -> bool:
            return bool(await connection.fetchval("SELECT count(ended_at) = count(*) FROM instance"))

        await eventually(ended, LIMIT)
        assert await connection.fetchval("SELECT count(*) FROM instance WHERE status = 'completed'") == len(
            urls
        )
    for url in urls:
        counts = await told(world.acme, url)
        assert (counts["instance.triggered"], counts["instance.completed"]) == (1, 1)


# --- Workers of their own -----------------------------------------------------------------------------------------


@pytest.fixture
async def cell(database: None, tmp_path: Path) -> AsyncIterator["Cell"]:
    """A database of the test's own, with a service that runs no instances."""
    async with fresh_database() as made:
        await migrate(made)
        cell = Cell(
            tmp_path, environment(made) | {"TUTTI_INSTANCE_LIFETIME_HOURS": "1"}, str(made.owner["database"])
        )
        try:
            yield cell
        finally:
            cell.end()


class Cell:
    """Processes that share one database."""

    def __init__(self, folder: Path, settings: Mapping[str, str], database: str) -> None:
        self.folder = folder
        self.settings = dict(settings)
        self.database = database
        self.processes: list[subprocess.Popen[bytes]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])

    async def run(self, *verb: str) -> Any:
        """Run a verb and return what it prints."""
        process = await asyncio.create_subprocess_exec(
            *(TUTTI, *verb, "--json"), env=self.settings, cwd=self.folder, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        return msgspec.json.decode(output)

    def start(self, *verb: str) -> subprocess.Popen[bytes]:
        """Start a process that runs until the test ends."""
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [TUTTI, *verb], env=self.settings, cwd=self.folder, stderr=log, stdout=subprocess.DEVNULL
            )
        self.processes.append(process)
        return process

    def end(self) -> None:
        """End every process."""
        for process in self.processes:
            process.kill()
            process.wait()


async def test_a_killed_workers_instances_go_on_with_another_worker(cell: Cell) -> None:
    made = await cell.run("demo")
    account = made["accounts"]["Acme"]
    file = cell.folder / "steps.json"
    waits = [{f"wait{number}": {"wait": {"milliseconds": 700}}} for number in range(4)]
    file.write_bytes(msgspec.json.encode(document("steps", [*waits, {"close": {"set": {"done": True}}}])))
    workflow = (await cell.run("workflow", "publish", str(file), "--account", account))["workflow_id"]
    doomed = cell.start("worker")
    cell.start("worker")
    cell.start("serve", "--no-worker", "--port", cell.port)
    url = f"http://127.0.0.1:{cell.port}"
    async with (
        httpx.AsyncClient(base_url=url, headers=bearer(made["access_token"]), timeout=LIMIT) as client,
        connected(superuser(cell.database)) as connection,
    ):
        await eventually(lambda: answers(client), LIMIT)
        await eventually(lambda: worker_count(connection, 2), LIMIT)
        turns = asyncio.Semaphore(10)

        async def triggered() -> None:
            async with turns:
                path = f"/v1/accounts/{account}/workflows/{workflow}/actions/trigger"
                (
                    await client.post(path, json={"instance_name": "one", "trigger_inputs": {}})
                ).raise_for_status()

        await asyncio.gather(*(triggered() for _ in range(MANY)))
        doomed.kill()
        killed_at = time.monotonic()
        await eventually(lambda: all_ended(connection), TAKE_OVER - (time.monotonic() - killed_at))
        counts = await connection.fetch(
            "SELECT status, expires_at - started_at AS lifetime, last_completed_step,"
            " (SELECT count(*) FROM event WHERE instance_id = instance.id AND type = 'instance.triggered') AS started,"
            " (SELECT count(*) FROM event WHERE instance_id = instance.id AND type = 'instance.completed') AS ended"
            " FROM instance"
        )
        left = await connection.fetchval("SELECT count(*) FROM timer WHERE wait <> 0")
    assert Counter(tuple(row) for row in counts) == {("completed", timedelta(hours=1), 5, 1, 1): MANY}
    assert left == 0


async def answers(client: httpx.AsyncClient) -> bool:
    """Say whether the service serves."""
    with contextlib.suppress(httpx.TransportError):
        return (await client.get("/readyz")).status_code == 200
    return False


async def worker_count(connection: asyncpg.Connection, wanted: int) -> bool:
    """Say whether so many workers ask for jobs."""
    asking = (
        "SELECT count(*) >= $1 FROM pg_stat_activity WHERE datname = current_database() AND usename = 'tutti_app'"
        " AND query ILIKE 'LISTEN%' OR query = 'SELECT 1'"
    )
    return bool(await connection.fetchval(asking, wanted))


async def all_ended(connection: asyncpg.Connection) -> bool:
    """Say whether all instances have ended."""
    return bool(await connection.fetchval("SELECT count(ended_at) = $1 FROM instance", MANY))


# --- Looking at an instance ---------------------------------------------------------------------------------------


def job(of: Tenant, url: str, reason: Any, wait: int = 0) -> Job:
    """Write a job for the instance at a URL."""
    return Job(of.id, instance_of(url), reason, wait)


def instance_of(url: str) -> UUID:
    """Return the id in an instance's URL."""
    return UUID(url.rpartition("/")[2])


async def row_of(of: Tenant, url: str) -> asyncpg.Record:
    """Return an instance's row."""
    async with rows_of(of.id) as connection:
        row = await connection.fetchrow("SELECT * FROM instance WHERE id = $1", instance_of(url))
    assert row is not None
    return row


async def error_of(of: Tenant, url: str) -> dict[str, Any]:
    """Return the error that an instance ended with."""
    error: dict[str, Any] = msgspec.json.decode((await row_of(of, url))["fault"])
    return error


async def timers(of: Tenant, url: str) -> list[int]:
    """Return the numbers of the waits that an instance has timers for."""
    async with rows_of(of.id) as connection:
        rows = await connection.fetch("SELECT wait FROM timer WHERE instance_id = $1", instance_of(url))
    return [row["wait"] for row in rows]


async def told(of: Tenant, url: str) -> Counter[str]:
    """Count an instance's events by type."""
    async with rows_of(of.id) as connection:
        rows = await connection.fetch("SELECT type FROM event WHERE instance_id = $1", instance_of(url))
    return Counter(row["type"] for row in rows)


async def unchanged_by(worker: Worker, of: Tenant, url: str, *reasons: str, wait: int = 0) -> None:
    """Run jobs that mean nothing to the instance any more, and see that nothing becomes of them."""
    before = (await row_of(of, url), await timers(of, url), await told(of, url))
    for reason in reasons:
        await worker.advance(of.id, [job(of, url, reason, wait if reason == "timer" else 0)])
        assert (await row_of(of, url), await timers(of, url), await told(of, url)) == before, reason


async def send(client: httpx.AsyncClient, of: Tenant, url: str) -> None:
    """Send the event that the instance listens for."""
    sent = await client.post(
        f"{url}/actions/signal", json={"type": "goods.arrived"}, headers=bearer(of.admin)
    )
    assert sent.status_code == 202


async def queue_is_empty() -> bool:
    """Say whether no job is left."""
    async with connected(superuser()) as connection:
        return not await connection.fetchval("SELECT count(*) FROM job")


# A trigger goes as far as the first wait: what is slow is the worker's.
ENDLESS = [{"pause": {"wait": {"milliseconds": 1}}}, {"loop": {"set": "${ def f: f; f }"}}]


async def test_a_worker_that_is_told_to_stop_gives_slow_jobs_back(
    client: httpx.AsyncClient, world: World
) -> None:
    """Expressions that use up their second each neither hold up a stop nor cost an instance its job."""
    await world.acme.publish(document("endless", ENDLESS))
    async with Sandbox(2) as sandbox, Egress() as egress, Worker(sandbox, egress).running():
        for _ in range(40):
            await trigger(client, world.acme, "endless", {})
        await eventually(lambda: no_timer_is_left(world.acme), LIMIT)
        await asyncio.sleep(0.5)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    async with rows_of(world.acme.id) as connection:
        stranded = await connection.fetchval(
            "SELECT count(*) FROM instance WHERE ended_at IS NULL AND NOT EXISTS"
            " (SELECT FROM job WHERE job.instance_id = instance.id)"
        )
    assert stranded == 0


async def no_timer_is_left(of: Tenant) -> bool:
    """Say whether every wait is over."""
    async with rows_of(of.id) as connection:
        return bool(await connection.fetchval("SELECT NOT EXISTS (SELECT FROM timer)"))


async def test_slow_expressions_of_one_account_do_not_hold_up_another(
    client: httpx.AsyncClient, world: World
) -> None:
    await world.acme.publish(document("endless", ENDLESS))
    for _ in range(60):
        await trigger(client, world.acme, "endless", {})
    url = await trigger(client, world.globex, "greeting", {"who": "Grace"})
    await until(client, world.globex, url, seconds=10, workflow_status="Completed")


async def test_a_template_that_doubles_its_input_ends_in_an_error(
    client: httpx.AsyncClient, world: World
) -> None:
    doubling = [{f"step{number}": {"set": {"a": "${ . }", "b": "${ . }"}}} for number in range(40)]
    await world.acme.publish(document("doubling", doubling))
    instance = await until(
        client, world.acme, await trigger(client, world.acme, "doubling", {}), workflow_status="Failed"
    )
    assert instance["error"]["title"] == "output size limit"


async def test_a_template_that_nests_its_input_ends_in_an_error(
    client: httpx.AsyncClient, world: World
) -> None:
    await world.acme.publish(document("nesting", [{"step": {"set": {"a": "${ . }"}, "then": "step"}}]))
    instance = await until(
        client, world.acme, await trigger(client, world.acme, "nesting", {}), workflow_status="Failed"
    )
    assert instance["error"]["title"] == "depth limit"
