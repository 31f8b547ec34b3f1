"""Hands jobs to the interpreter and to those who perform what it wants from outside, and has stored what came of them.

An advance reads its instance, runs the interpreter without any transaction open, and is stored if nobody was faster.
So a stranger's expression that uses up its second holds no lock and no connection. Jobs of one account are advanced
several in a transaction; accounts take turns, and none has more than a few of a worker's places.
"""

import asyncio
import contextlib
import contextvars
import logging
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

import asyncpg
import msgspec

from service.background import ended
from service.engine import bulk, event_triggers, inbox, retention, schedules, trigger_keys
from service.engine.bell import CHANNEL, Lane, hearing, ring
from service.engine.effects import bus_event, call_http, child, publish, send_email, work_item
from service.engine.egress import Egress
from service.engine.events import Subject
from service.engine.flow import Raised
from service.engine.frames import State, is_busy
from service.engine.interpreter import advance, pending, run
from service.engine.loading import Loaded, facts_of, load
from service.engine.messages import Advance, Answered, Pending
from service.engine.queue import Job, keep, put_back
from service.engine.states import Status
from service.engine.storing import About, Given, Settled, settled, stopped, store
from service.engine.suspension import hold
from service.engine.turns import OF_EACH, Places
from service.engine.vault import SecretsUnreadableError, secrets_of
from service.language.document import EmailCall, HttpCall
from service.language.errors import fault
from service.language.questions import ask
from service.language.sandbox import Sandbox, SandboxUnavailableError
from service.limits import measuring
from service.settings import settings
from service.stopping import GRACE_SECONDS
from service.telemetry import tracing
from service.telemetry.logs import about
from tenancy.faults import OUTAGE, SlowStatementError
from tenancy.postgres import connected, engine
from tenancy.rows import read, rows_of

logger = logging.getLogger("tutti.worker")

POLL_EVERY = 1.0  # seconds; notifications wake workers at once, this is how long a lost one can go unnoticed
BEAT_EVERY = 3.0  # seconds between renewals of leases, which last 10
TIMERS_EVERY = 0.25  # seconds; the most that a timer is late on an idle machine
TIMERS_AT_ONCE = 500
SWEEP_EVERY = 3600.0  # seconds
RETENTION_EVERY = 10.0  # seconds until accounts are asked for that want something removed
MEASURE_EVERY = 5.0  # seconds until accounts are asked for whose stored bytes are to be measured
BULK_EVERY = 1.0  # seconds; the most that a bulk action waits for its first batch on an idle machine
# Batches of one account's instances under way at once; most of the time they wait for expressions.
ADVANCES = 16
# Of these, one account's: with two another account's p95 behind 20,000 instances was 2 to 3 times its idle value, with
# five 3.6 times; with one the 20,000 took twice as long.
ADVANCES_OF_ONE = 2
PERFORMANCES = 256  # calls and the like under way at once
SHORTEST_BACK_OFF = 0.5  # seconds between tries when the database is away
LONGEST_BACK_OFF = 2  # leases last longer
LONGEST_DELAY = 15  # seconds until a failed job is tried again
ADVANCE_SECONDS = 1.0  # after which an advance leaves the rest to another one
LAST_SECONDS = 1  # that its last statements may take
LISTEN_SECONDS = 10  # within which the connection that listens has to answer
TRIES = 100  # times that somebody else may be faster before a job goes back to the queue
ATTEMPTS = 5  # times that a job may fail for a reason of its own before it ends its instance
# The same where its statements took too long: with their minute and the delay, most of an hour, in which a database that was
# slow for everybody has come to itself.
SLOW_ATTEMPTS = 40

# What may be better the next time; anything else that goes wrong while advancing would go wrong again.
INFRASTRUCTURE = (*OUTAGE, asyncpg.PostgresError, SandboxUnavailableError)
THEIR_LEASES_RUN_OUT = (*INFRASTRUCTURE, SlowStatementError)  # where jobs could not be given back


# What a database refuses of a job's own data: it would do so the next time too.
OF_ITS_OWN = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)


class Worker:
    """Advances instances until it is told to stop; any number of workers may share a database."""

    def __init__(self, sandbox: Sandbox, egress: Egress, *, lifetime: timedelta | None = None) -> None:
        self._sandbox = sandbox
        self._egress = egress
        self._lifetime = lifetime
        self._stopping = asyncio.Event()
        self._until = 0.0
        self._leased: set[Job] = set()
        self._turns: WeakValueDictionary[UUID | None, asyncio.Lock] = WeakValueDictionary()
        self._advancing = Places("advance", ADVANCES, ADVANCES_OF_ONE, OF_EACH, self._advance_batch)
        self._performing = Places("perform", PERFORMANCES, PERFORMANCES, 1, self._perform_batch)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work in the background for as long as the block runs.

        At its end jobs under way have 4 seconds to finish; what has not goes back to the queue and loses nothing, as an
        advance that was not stored has not happened.
        """
        lanes = (self._advancing, self._performing)
        dealers = [self._started(self._dealing(lane)) for lane in lanes]
        others = [
            self._started(work)
            for work in (
                self._listening,
                self._beating,
                self._timers,
                self._schedules,
                self._sweeping,
                self._bulk,
                self._retention,
                self._measuring,
            )
        ]
        try:
            with hearing(self._hear):
                yield
        finally:
            self.end()
            await ended(dealers, LAST_SECONDS)  # so that nothing new begins
            grace = self._until - time.monotonic()
            await asyncio.gather(ended(others, grace), *(lane.ended(grace) for lane in lanes))
            with contextlib.suppress(*THEIR_LEASES_RUN_OUT):
                async with asyncio.timeout(LAST_SECONDS):
                    await put_back(self._leased, timedelta())

    def end(self) -> None:
        """Begin nothing new; what is under way has 4 seconds from now on."""
        if not self._stopping.is_set():
            self._until = time.monotonic() + GRACE_SECONDS
            self._stopping.set()
            self._wake()

    def _started(self, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Start a kind of work in a fresh context.

        A task that began inside a transaction would think that it still is in one, and two tasks that share a context see
        one another's.
        """
        return asyncio.create_task(self._again(work), context=contextvars.Context())

    async def _again(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do one kind of work again whenever it ends before its time, waiting longer after each failure in a row."""
        pause = SHORTEST_BACK_OFF
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - the database may come back from anything
                if time.monotonic() - began > LONGEST_BACK_OFF:
                    pause = SHORTEST_BACK_OFF  # it had worked for a while: not one more failure in a row
                logger.warning("worker: %s; trying again in %.1f s", type(error).__name__, pause)
                await self._pause(pause)
                pause = min(2 * pause, LONGEST_BACK_OFF)

    async def _pause(self, seconds: float) -> bool:
        """Wait, or stop waiting when the worker is to stop; whether it is to go on."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return not self._stopping.is_set()

    # What wakes it

    async def _listening(self) -> None:
        """Hear of new jobs as they are committed."""
        async with connected(engine().config) as connection:
            await connection.add_listener(CHANNEL, self._heard)
            self._wake()  # of what was committed while nobody listened
            while not self._stopping.is_set():
                if await self._pause(POLL_EVERY):  # a connection that is gone, or silent, tells nobody
                    await connection.execute("SELECT 1", timeout=LISTEN_SECONDS)

    def _heard(self, _connection: object, _pid: int, _channel: str, lane: object) -> None:
        self._hear("advance" if lane == "advance" else "perform")

    def _hear(self, lane: Lane) -> None:
        (self._advancing if lane == "advance" else self._performing).wake.set()

    def _wake(self) -> None:
        self._advancing.wake.set()
        self._performing.wake.set()

    async def _beating(self) -> None:
        """Keep the leases of what is under way."""
        while not self._stopping.is_set():
            await self._pause(BEAT_EVERY)
            if self._leased:
                await keep(self._leased)

    async def _timers(self) -> None:
        """Let due timers become jobs."""
        while not self._stopping.is_set():
            (row,) = await read("SELECT fire_due_timers($1) AS fired", TIMERS_AT_ONCE)
            if row["fired"]:
                ring(("advance", "perform"))
            if row["fired"] < TIMERS_AT_ONCE:
                await self._pause(TIMERS_EVERY)

    async def _schedules(self) -> None:
        """Let due schedules start instances."""
        while not self._stopping.is_set():
            await schedules.fire_due_schedules()
            await self._pause(TIMERS_EVERY)

    async def _sweeping(self) -> None:
        """Let go what has had its time: events after a week, keys of triggers after a day, event triggers' failures."""
        while not self._stopping.is_set():
            await inbox.sweep()
            await trigger_keys.sweep()
            await event_triggers.sweep()
            await self._pause(SWEEP_EVERY)

    async def _bulk(self) -> None:
        """Do what was asked for many instances at once, a batch at a time."""
        while not self._stopping.is_set():
            if not await bulk.take_batch():
                await self._pause(BULK_EVERY)

    async def _retention(self) -> None:
        """Remove what accounts do not keep any longer, a batch of one account at a time."""
        kept = retention.Sweep()
        while not self._stopping.is_set():
            if not await kept.take_batch():
                await self._pause(RETENTION_EVERY)

    async def _measuring(self) -> None:
        """Measure how much accounts store that are limited in it."""
        while not self._stopping.is_set():
            if not await measuring.measure_next(self._pause):
                await self._pause(MEASURE_EVERY)

    # Taking jobs

    def _dealing(self, lane: Places) -> Callable[[], Awaitable[None]]:
        """Make the work that claims a lane's jobs and starts what does them, as long as there are places."""

        async def deal() -> None:
            while not self._stopping.is_set():
                lane.wake.clear()
                jobs = await lane.claim()
                self._leased.update(jobs)
                for account_id, batch in by_account(jobs).items():
                    lane.begin(account_id, batch, self._done)
                if not jobs or not lane.left_some:
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(lane.wake.wait(), POLL_EVERY)

        return deal

    def _done(self, jobs: Iterable[Job]) -> None:
        self._leased.difference_update(jobs)

    async def _advance_batch(self, account_id: UUID, jobs: Sequence[Job]) -> None:
        """Advance a batch; if something of it fails for a reason of its own, each job by itself, so that only that fails."""
        with about(account_id):
            if not await self._guarded(jobs, self.advance(account_id, jobs)) and len(jobs) > 1:
                for job in jobs:
                    await self._guarded([job], self.advance(account_id, [job]))

    async def _perform_batch(self, account_id: UUID, jobs: Sequence[Job]) -> None:
        (job,) = jobs
        with about(account_id, job.instance_id):
            await self._guarded(jobs, self.perform(job))

    async def _guarded(self, jobs: Sequence[Job], work: Awaitable[None]) -> bool:
        """Do the work; a job that fails goes back, with a growing delay: a lost one would strand its instance.

        False where the reason lies in what was to be done; a single job that keeps failing so ends its instance.
        """
        attempts = ATTEMPTS
        try:
            await work
        except INFRASTRUCTURE as error:
            if not isinstance(error, OF_ITS_OWN):
                await self._put_back(jobs)
                return True
            logger.exception("instance %s: a job failed", jobs[0].instance_id)
        except SlowStatementError:
            logger.warning("instance %s: a job's statement took too long", jobs[0].instance_id)
            attempts = SLOW_ATTEMPTS
        except Exception:
            logger.exception("instance %s: a job failed", jobs[0].instance_id)
        else:
            return True
        if len(jobs) == 1:
            await self._failed(jobs[0], attempts)
        return False

    async def _put_back(self, jobs: Sequence[Job]) -> None:
        attempts = max(job.attempts for job in jobs)
        with contextlib.suppress(*THEIR_LEASES_RUN_OUT):
            await put_back(jobs, timedelta(seconds=min(2 ** min(attempts, 10), LONGEST_DELAY)))

    async def _failed(self, job: Job, attempts: int) -> None:
        """Try a job again that failed for a reason of its own, or end its instance when it has been tried so many times."""
        if job.attempts < attempts:
            await self._put_back([job])
            return
        with contextlib.suppress(*THEIR_LEASES_RUN_OUT):
            await break_off(job)

    # Advancing

    async def advance(self, account_id: UUID, jobs: Sequence[Job]) -> None:
        """Advance instances of one account by what the jobs say happened to them, one job after the other for each."""
        remaining = list(jobs)
        for _ in range(TRIES):
            if not remaining:
                return
            now, later = first_of_each(remaining)
            remaining = await self._advanced_once(account_id, now) + later
        await put_back(remaining, timedelta(seconds=1))

    async def _advanced_once(self, account_id: UUID, jobs: Sequence[Job]) -> list[Job]:
        """Advance each instance once; return the jobs whose instance somebody else changed meanwhile."""
        found = await load(account_id, jobs)
        await hold(found.suspended)
        jobs = [job for job in jobs if job not in found.suspended]
        begun = time.monotonic()
        advances: list[Settled] = []
        for one in found.living:  # one at a time: what they work out in this process holds up everybody
            if time.monotonic() - begun > ADVANCE_SECONDS:
                break
            with about(account_id, one.job.instance_id):
                advances.append(await self._advanced(one))
        late = {one.job.id for one in found.living[len(advances) :]}
        changed = [one for one in advances if one.result.changed]
        idle = {job.id for job in jobs} - {one.given.job for one in changed} - late
        unwanted = [one for one in advances if not one.result.changed]
        passed = [identifier for one in unwanted for identifier in one.given.passing]
        stored = await store(account_id, changed, list(idle), passed, datetime.now(UTC))
        return [job for job in jobs if job.id not in idle and job.instance_id not in stored]

    async def _advanced(self, loaded: Loaded) -> Settled:
        """Ask the interpreter, with the account's share of the sandbox to answer its expressions."""
        began = time.time()
        account_id, state = loaded.job.account_id, loaded.state()

        async def answers(questions: list[Any]) -> list[Any]:
            await asyncio.sleep(0)  # what is answered without the sandbox would never let others run
            return await ask(self._sandbox, account_id, questions)

        try:
            if loaded.stimulus is None:
                result = Advance(state=state, status=Status.WAITING, changed=False)
            else:
                facts = facts_of(loaded, time.monotonic() + ADVANCE_SECONDS)
                result = await run(advance(loaded.definition, state, loaded.stimulus, facts), answers)
        except INFRASTRUCTURE:
            raise
        except Exception:
            # The interpreter is a pure function: what failed now fails again, so the instance ends, saying so.
            logger.exception("instance %s could not be advanced", loaded.job.instance_id)
            result = broken(state)
        row = loaded.row
        if state is not None and not result.changed and row["status"] != state.status:
            result = resumed(state)
        offered = () if result.state is not None and is_busy(result.state) else row["passing"]
        given = Given(loaded.job.id, row["signals"], offered, loaded.job.reason, began)
        return settled(loaded.about, row["sequence"], result, self._lifetime, given)

    # Performing

    async def perform(self, job: Job) -> None:
        """Do what an instance wants from outside, and advance it by the answer if there is one."""
        match job.reason:
            case "publish":
                # Events of an account wait for the same rows, each with a connection that the others need.
                async with self._one_at_a_time(job.account_id):
                    await publish.perform(self._sandbox, job)
            case "bus_event":
                await bus_event.perform(self._sandbox, job)
            case "cancel":
                await child.cancel(job)
            case _:
                found = await load(job.account_id, [job])
                if found.suspended:
                    await hold(found.suspended)
                elif job.reason == "due":
                    await work_item.due(job)
                else:
                    await self._call(job, found.living)

    async def _call(self, job: Job, found: Sequence[Loaded]) -> None:
        """Perform a call or start a child, without any transaction open.

        One that is under way when its instance is suspended comes to its end, and its answer is kept.
        """
        what = pending_of(found[0]) if found else None
        answered = None if what is None else await self._answered(found[0], what)
        if answered is None and what is not None:
            return  # its answer comes later, and its job is done
        async with self._one_at_a_time(job.instance_id):
            for tried in range(
                TRIES
            ):  # a call that was made is not made again because others answer at the same time
                if await self._answer(job, found, answered):
                    return
                await asyncio.sleep(random.uniform(0, 0.005 * tried))  # noqa: S311 - so that processes fall out of step
                again = await load(job.account_id, [job])
                if again.suspended:
                    await hold(again.suspended, answered)
                    return
                found = again.living
        await put_back([job], timedelta(seconds=1))

    def _one_at_a_time(self, whose: UUID | None) -> asyncio.Lock:
        """The lock under which this process does what would wait for itself in the database.

        That is an instance's for answers to it, as each makes the state of the others old, an account's for its events.
        """
        return self._turns.setdefault(whose, asyncio.Lock())

    async def _answered(self, loaded: Loaded, what: Pending) -> Answered | None:
        """Perform it; None when its answer comes later."""
        job = loaded.job
        try:
            if isinstance(what.task.work, HttpCall):
                secrets = await secrets_of(job.account_id, what.task.work.secrets)
                with tracing.performing("HTTP", job.instance_id, what.key):
                    parent = tracing.traceparent() or traceparent(loaded.row["id"])
                    value = await call_http.perform(
                        self._egress, self._sandbox, job.account_id, what, secrets, parent
                    )
                return Answered(datetime.now(UTC), job.wait, value)
            if isinstance(what.task.work, EmailCall):
                with tracing.performing("send email", job.instance_id, what.key):
                    mail_server = settings().mail_server
                    sent = await send_email.perform(self._sandbox, mail_server, job.account_id, what)
                return Answered(datetime.now(UTC), job.wait, sent)
            with tracing.performing("run workflow", job.instance_id, what.key, outside=False):
                return await child.perform(self._sandbox, loaded, what)
        except Raised as raised:
            return Answered(datetime.now(UTC), job.wait, fault=raised.fault)
        except SecretsUnreadableError as error:
            logger.error("account %s: %s", job.account_id, error)  # noqa: TRY400 - nothing of it is unexpected
            detail = "The account's secrets cannot be read; the operator's log says why."
            unreadable = fault("authorization", "Secrets unreadable", detail, what.task.pointer)
            return Answered(datetime.now(UTC), job.wait, fault=unreadable)

    async def _answer(self, job: Job, found: Sequence[Loaded], answered: Answered | None) -> bool:
        """Advance the instance by an answer, if it still waits for one; False when somebody else was faster."""
        told = [msgspec.structs.replace(one, stimulus=answered) for one in found]
        changed = [one for one in [await self._advanced(one) for one in told] if one.result.changed]
        idle = [] if changed else [job.id]
        stored = await store(job.account_id, changed, idle, (), datetime.now(UTC))
        return len(stored) == len(changed)


def by_account(jobs: Sequence[Job]) -> dict[UUID, list[Job]]:
    """The jobs of each account, in their order."""
    grouped: dict[UUID, list[Job]] = {}
    for job in sorted(jobs, key=lambda job: job.id):
        grouped.setdefault(job.account_id, []).append(job)
    return grouped


def first_of_each(jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
    """The first job of each instance, and the others."""
    first: dict[UUID | None, Job] = {}
    later = []
    for job in jobs:
        if job.instance_id in first:
            later.append(job)
        else:
            first[job.instance_id] = job
    return list(first.values()), later


def pending_of(loaded: Loaded) -> Pending | None:
    """What the job's instance waits for under the job's number, if it still does."""
    state = loaded.state()
    return None if state is None else pending(loaded.definition, state, loaded.job.wait, facts_of(loaded, 0))


async def break_off(job: Job) -> None:
    """End a job's instance because the job cannot be done, whatever its state is."""
    failed = fault("runtime", "Engine fault", "The engine failed; its operator's log says why.", "/")
    result = Advance(state=None, status=Status.FAULTED, changed=True, fault=failed)
    async with rows_of(job.account_id) as connection:
        row = await connection.fetchrow(
            "SELECT workflow_id, sequence, name, started_by, started_by_name, started_at FROM instance"
            " WHERE account_id = $1 AND id = $2 AND ended_at IS NULL",
            job.account_id,
            job.instance_id,
        )
    advances = []
    if row is not None:
        subject = Subject(job.account_id, row["workflow_id"], job.instance_id)
        of_job = About(subject, row["name"], row["started_by"], row["started_by_name"], row["started_at"])
        advances = [settled(of_job, row["sequence"], result, None, Given(job.id, reason=job.reason))]
    await store(job.account_id, advances, [] if advances else [job.id], (), datetime.now(UTC))


def resumed(state: State) -> Advance:
    """Make the advance after a resume that changed nothing: the instance waits, or goes on, as before it was suspended."""
    return Advance(
        state=state,
        status=state.status,
        changed=True,
        last_completed_step=state.last_completed_step,
        expires_at=state.expires_at,
    )


def broken(state: State | None) -> Advance:
    """Make the advance that ends an instance because the engine failed."""
    reason = fault("runtime", "Engine fault", "The engine failed; its operator's log says why.", "/")
    last = state.last_completed_step if state else None
    return stopped(
        Advance(state=state, status=Status.FAULTED, changed=True, last_completed_step=last), reason
    )


def traceparent(instance_id: UUID) -> str:
    """The W3C trace context of a call: the instance is the trace."""
    return f"00-{instance_id.hex}-{os.urandom(8).hex()}-01"
