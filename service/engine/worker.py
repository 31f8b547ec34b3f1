"""Hands jobs to the interpreter and writes down what came of them.

An advance reads the instance, runs the interpreter without any transaction open, and commits what changed if the
instance is still at the sequence that was read; if somebody was faster (a cancellation, another job), it reads again.
So a stranger's expression that uses up its second holds no lock and no connection, and a job that runs twice, after
a crash or because its heartbeat was late, finds the second time that nothing is left to do.
"""

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.models import Job as QueuedJob
from pgqueuer.queries import Queries
from uuid_utils.compat import uuid7

from service.engine.definitions import definition_of
from service.engine.events import Subject, record
from service.engine.interpreter import (
    Advance,
    Continue,
    Events,
    Expire,
    Facts,
    Forget,
    InboxEvent,
    Sleep,
    Start,
    State,
    Stimulus,
    WakeUp,
    advance,
    decode_state,
    encode_state,
    run,
)
from service.engine.queue import ADVANCE, Job, enqueue, job_of
from service.engine.states import Status
from service.language.document import Definition
from service.language.errors import Fault, fault
from service.language.expressions import evaluate
from service.language.sandbox import Sandbox, SandboxUnavailableError
from service.language.values import DEEPEST_VALUE, is_deep
from service.tables import Timer
from tenancy.errors import SetupRefused
from tenancy.postgres import connected, engine
from tenancy.rows import current_connection, rows_of, transaction

logger = logging.getLogger("tutti.worker")

# A worker that stops beating loses its jobs to the others after this long.
HEARTBEAT_TIMEOUT = timedelta(seconds=10)
# Notifications wake workers at once; this is how long a lost one can go unnoticed.
POLL_EVERY = timedelta(seconds=5)
TIMERS_EVERY = 0.25  # seconds; the most that a timer is late on an idle machine
TIMERS_AT_ONCE = 200
BATCH = 10
SHORTEST_BACK_OFF = 0.5  # seconds between tries when the database is away
LONGEST_BACK_OFF = 15
ADVANCE_SECONDS = 1.0  # after which an advance leaves the rest to another one
SLOW_SECONDS = 0.25  # a job that has run for longer counts against its account's share
BACK_OFF_OF_SLOW = timedelta(seconds=5)  # long enough for the jobs of other accounts behind it to be reached
GRACE_SECONDS = 4  # for jobs under way when the worker is told to stop
TRIES = 10  # times that somebody else may be faster before the job goes back to the queue
MOST_STATE_BYTES = 4_194_304
EXPIRY = 0  # the number of the workflow's own timer; waits count from 1
RUNTIME = {"name": "tutti", "version": "0.1.0"}

LOAD = """
SELECT instance.workflow_id, instance.version_id, instance.name, instance.sequence, instance.state,
       instance.trigger_inputs, instance.started_at, instance.started_by, instance.started_by_name,
       array(SELECT signal.id FROM signal WHERE signal.instance_id = instance.id ORDER BY received_at, id) AS signals,
       array(SELECT signal.event FROM signal WHERE signal.instance_id = instance.id ORDER BY received_at, id) AS events
FROM instance WHERE instance.id = $1 AND instance.ended_at IS NULL
"""

# last_modified_at is the moment of the write; started_at of a transaction that waited may be older than another's.
STORE = """
UPDATE instance SET status = $3, state = $4, sequence = sequence + 1, last_modified_at = clock_timestamp(),
       last_completed_step = $5, last_completed_step_name = $6, expires_at = coalesce($7, expires_at),
       ended_at = CASE WHEN $8 THEN clock_timestamp() END, output = $9, fault = $10
WHERE id = $1 AND sequence = $2 AND ended_at IS NULL
"""

# An event that came while an advance was under way: its own job has found the state from before, in which nobody may
# have listened for it. A sender locks the instance's row, so either this sees the event or its job sees the new state.
UNSEEN = "SELECT EXISTS (SELECT FROM signal WHERE instance_id = $1 AND id <> ALL($2))"

# What may be better the next time; anything else that goes wrong while advancing would go wrong again.
INFRASTRUCTURE = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncio.TimeoutError,
    SetupRefused,
    SandboxUnavailableError,
)


class Loaded(msgspec.Struct, frozen=True):
    """An instance as it was read: its row, its definition and its state."""

    row: asyncpg.Record
    definition: Definition
    state: State | None


class Worker:
    """Advances instances until it is told to stop; any number of workers may share a database."""

    def __init__(self, sandbox: Sandbox, *, concurrency: int = 8, lifetime: timedelta | None = None) -> None:
        self._sandbox = sandbox
        self._turns = asyncio.Semaphore(concurrency)
        self._lifetime = lifetime
        self._manager: QueueManager | None = None
        self._stopping = asyncio.Event()
        self._under_way: set[asyncio.Task[Any]] = set()
        self._share = max(1, concurrency // 2)
        self._began: dict[UUID, list[float]] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work in the background for as long as the block runs.

        At its end jobs under way have 4 seconds to finish; what has not goes back to the queue and loses nothing, as an
        advance that was not stored has not happened.
        """
        # A fresh context for each: a task that began inside a transaction would think that it still is in one, and
        # two tasks that share a context see one another's.
        tasks = [
            asyncio.create_task(work, context=contextvars.Context())
            for work in (self._keep(self._jobs), self._keep(self._timers))
        ]
        try:
            yield
        finally:
            self._stopping.set()
            if self._manager is not None:
                self._manager.shutdown.set()
            await asyncio.wait(tasks, timeout=GRACE_SECONDS)
            for job in self._under_way:
                job.cancel()
            await asyncio.gather(*tasks)

    async def _keep(self, work: Any) -> None:
        """Do one kind of work again whenever it ends before its time, waiting longer after each failure in a row."""
        pause = SHORTEST_BACK_OFF
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - the database may come back from anything
                if time.monotonic() - began > LONGEST_BACK_OFF:
                    pause = SHORTEST_BACK_OFF  # it had worked for a while: not one more failure in a row
                logger.warning("worker: %s; trying again in %.1f s", error, pause)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)
                pause = min(2 * pause, LONGEST_BACK_OFF)

    async def _jobs(self) -> None:
        async with connected(engine().config) as connection:
            manager = QueueManager(Queries(AsyncpgDriver(connection)))
            manager.entrypoint(ADVANCE, accepts_context=False)(self._perform)
            self._manager = manager
            if self._stopping.is_set():
                return
            await manager.run(
                dequeue_timeout=POLL_EVERY,
                batch_size=BATCH,
                max_concurrent_tasks=2 * BATCH,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                shutdown_on_listener_failure=True,
            )

    async def _timers(self) -> None:
        while not self._stopping.is_set():
            if await fire_due_timers() < TIMERS_AT_ONCE:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), TIMERS_EVERY)

    async def _perform(self, queued: QueuedJob) -> None:
        """Do one job of the queue; what fails goes back, with a growing delay: a lost job would strand its instance."""
        job = job_of(queued.payload or b"")
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._under_way.add(task)
        try:
            self._require_share(job.account_id)
            async with self._turns:
                self._require_share(job.account_id)
                with self._counted(job.account_id):
                    await self.advance(job)
        except RetryRequested:
            raise
        except asyncio.CancelledError:
            if not self._stopping.is_set():
                raise
            # PgQueuer would delete the job of a cancelled task, and the instance would wait for ever.
            task.uncancel()
            raise RetryRequested(timedelta(0), "the worker stops") from None
        except Exception as error:
            if not isinstance(error, INFRASTRUCTURE):
                logger.exception("instance %s could not be advanced", job.instance_id)
            delay = timedelta(seconds=min(2 ** min(queued.attempts, 10), LONGEST_BACK_OFF))
            # Its kind alone: the queue's log has no row-level security, and a database's message tells values.
            raise RetryRequested(delay, type(error).__name__) from None
        finally:
            self._under_way.discard(task)

    def _require_share(self, account_id: UUID) -> None:
        """Send a job back while slow ones of its account have half of the turns, so that others' jobs get theirs.

        Raises:
            RetryRequested: the account has its share.
        """
        slow = time.monotonic() - SLOW_SECONDS
        if sum(began < slow for began in self._began.get(account_id, ())) >= self._share:
            raise RetryRequested(BACK_OFF_OF_SLOW, "the account has its share of the worker")

    @contextlib.contextmanager
    def _counted(self, account_id: UUID) -> Iterator[None]:
        """Count a job as one of its account's for as long as it runs."""
        began = time.monotonic()
        self._began.setdefault(account_id, []).append(began)
        try:
            yield
        finally:
            self._began[account_id].remove(began)
            if not self._began[account_id]:
                del self._began[account_id]

    async def advance(self, job: Job) -> None:
        """Advance an instance by what the job says happened to it.

        Raises:
            RetryRequested: others kept changing the instance; the job should come back.
        """
        for _ in range(TRIES):
            loaded = await load(job)
            if loaded is None or await self._store(job, loaded, await self._advanced(job, loaded)):
                return
        raise RetryRequested(timedelta(seconds=1), "the instance kept changing")

    async def _advanced(self, job: Job, loaded: Loaded) -> Advance:
        """Ask the interpreter, with the account's share of the sandbox to answer its expressions."""
        until = time.monotonic() + ADVANCE_SECONDS

        async def answers(evaluations: list[Any]) -> list[Any]:
            await asyncio.sleep(0)  # what is answered without the sandbox would never let others run
            return await evaluate(self._sandbox, job.account_id, evaluations)

        try:
            return await run(
                advance(loaded.definition, loaded.state, stimulus_of(job, loaded), facts(job, loaded, until)),
                answers,
            )
        except INFRASTRUCTURE:
            raise
        except Exception:
            # The interpreter is a pure function: what failed now fails again, so the instance ends, saying so.
            logger.exception("instance %s could not be advanced", job.instance_id)
            return stopped(
                loaded,
                fault("runtime", "Engine fault", "The engine failed; its operator's log says why.", "/"),
            )

    async def _store(self, job: Job, loaded: Loaded, result: Advance) -> bool:
        """Write what an advance changed, in one transaction; False when somebody was faster."""
        if not result.changed:
            return True
        if is_deep(result.output):
            detail = f"The workflow's output is nested more than {DEEPEST_VALUE} levels deep."
            result = stopped(loaded, fault("runtime", "Output limit", detail, "/output"))
        try:
            state = None if result.status.terminal or result.state is None else encode_state(result.state)
        except (RecursionError, ValueError):
            result, state = (
                stopped(loaded, fault("runtime", "Size limit", "The data is nested too deeply.", "/")),
                None,
            )
        if state is not None and len(state) > MOST_STATE_BYTES:
            result = stopped(
                loaded,
                fault("runtime", "Size limit", f"The instance's data passed {MOST_STATE_BYTES} bytes.", "/"),
            )
            state = None
        expires_at = result.expires_at
        if loaded.state is None and expires_at is None and self._lifetime is not None:
            expires_at = loaded.row["started_at"] + self._lifetime
        async with rows_of(job.account_id):
            written = await current_connection().execute(
                STORE, *stored_values(job, loaded, result, state, expires_at)
            )
            if written != "UPDATE 1":
                return False
            await follow_up(job, loaded, result, expires_at)
            return True


async def fire_due_timers() -> int:
    """Turn due timers of all accounts into jobs, in one transaction; return how many."""
    async with transaction() as connection:
        rows = await connection.fetch("SELECT * FROM claim_due_timers($1)", TIMERS_AT_ONCE)
        if rows:
            await enqueue([Job(row["account_id"], row["instance_id"], "timer", row["wait"]) for row in rows])
        return len(rows)


async def load(job: Job) -> Loaded | None:
    """Read the job's instance; None when it has ended or is gone, so that there is nothing to do."""
    async with rows_of(job.account_id) as connection:
        row = await connection.fetchrow(LOAD, job.instance_id)
        if row is None:
            return None
        state = None if row["state"] is None else decode_state(row["state"])
        return Loaded(row, await definition_of(row["version_id"]), state)


def stimulus_of(job: Job, loaded: Loaded) -> Stimulus:
    """Say to the interpreter what the job says happened."""
    now = datetime.now(UTC)
    if job.reason == "start":
        return Start(loaded.row["started_at"], msgspec.json.decode(loaded.row["trigger_inputs"]))
    if job.reason == "timer":
        return Expire(now) if job.wait == EXPIRY else WakeUp(now, job.wait)
    return Events(now)


def facts(job: Job, loaded: Loaded, until: float) -> Facts:
    """Tell the interpreter what is true besides: who it runs for, which events wait, and how long it may go on."""
    row = loaded.row
    metadata = {
        "accountId": str(job.account_id),
        "instanceName": row["name"],
        "startedBy": str(row["started_by"]),
        "startedByName": row["started_by_name"],
    }
    inbox = tuple(
        InboxEvent(identifier, msgspec.json.decode(event))
        for identifier, event in zip(row["signals"], row["events"], strict=True)
    )
    runtime = {**RUNTIME, "metadata": metadata}
    return Facts(str(job.instance_id), runtime, inbox, time_is_up=lambda: time.monotonic() > until)


def stopped(loaded: Loaded, reason: Fault) -> Advance:
    """Make the advance that ends an instance with a fault of the engine's own."""
    return Advance(
        state=loaded.state,
        status=Status.FAULTED,
        changed=True,
        last_completed_step=loaded.state.last_completed_step if loaded.state else None,
        fault=reason,
    )


def stored_values(
    job: Job, loaded: Loaded, result: Advance, state: bytes | None, expires_at: datetime | None
) -> tuple[Any, ...]:
    """Put the arguments of `STORE` together."""
    step, step_name = result.last_completed_step or (0, None)
    completed = result.status is Status.COMPLETED
    return (
        job.instance_id,
        loaded.row["sequence"],
        result.status,
        state,
        step,
        step_name,
        expires_at,
        result.status.terminal,
        msgspec.json.encode(result.output) if completed else None,
        None if result.fault is None else msgspec.json.encode(result.fault),
    )


async def follow_up(job: Job, loaded: Loaded, result: Advance, expires_at: datetime | None) -> None:
    """Write what an advance wants from outside: timers, jobs, events taken, and what happened."""
    connection = current_connection()
    timers = [(effect.wait, effect.until) for effect in result.effects if isinstance(effect, Sleep)]
    if loaded.state is None and expires_at is not None and not result.status.terminal:
        timers.append((EXPIRY, expires_at))
    if timers:
        await connection.executemany(
            "INSERT INTO timer (id, account_id, instance_id, wait, due_at) VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT (account_id, instance_id, wait) DO UPDATE SET due_at = excluded.due_at",
            [(uuid7(), job.account_id, job.instance_id, wait, due) for wait, due in timers],
        )
    if result.consumed:
        await connection.execute("DELETE FROM signal WHERE id = ANY($1)", list(result.consumed))
    if not result.status.terminal:
        await go_on(job, loaded, result)
    forgotten = [effect.wait for effect in result.effects if isinstance(effect, Forget)]
    subject = Subject(job.account_id, loaded.row["workflow_id"], job.instance_id)
    if loaded.state is None:
        await record(subject, "instance.started", None)
    if result.status.terminal:
        await connection.execute("SELECT let_go($1)", job.instance_id)
        error = (
            {}
            if result.fault is None
            else {"error": {"type": result.fault.type, "status": result.fault.status}}
        )
        await record(subject, f"instance.{result.status}", None, **error)
    elif forgotten:
        await (
            Timer.delete()
            .where(Timer.instance_id == job.instance_id)
            .where(Timer.wait.is_in(forgotten))
            .run()
        )


async def go_on(job: Job, loaded: Loaded, result: Advance) -> None:
    """Follow up with a job at once where there is more to do: tasks that had no turn, or an event not yet looked at."""
    if any(isinstance(effect, Continue) for effect in result.effects):
        await enqueue([Job(job.account_id, job.instance_id, "continue")])
    elif await current_connection().fetchval(UNSEEN, job.instance_id, loaded.row["signals"]):
        await enqueue([Job(job.account_id, job.instance_id, "event")])
