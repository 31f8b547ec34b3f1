"""The pool of workers, and the queue before it.

How a frame travels: `Sandbox.answer` → `round_trips` (splits, retries) → `exchange` (waits for its account's turn) →
`Worker.begin` (writes, starts the clock) → `Worker.data_received` … → `Sandbox.finished`. Nothing of that depends on the
task that waits: when it is cancelled, the worker still finishes its frame and the answer is dropped.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from typing import Any, Final, Self, cast
from uuid import UUID

from service.language import sandbox_worker as wire
from service.language import schemas
from service.language.expressions import Evaluation, Expression, ExpressionFailure, assembled
from service.language.questions import Question, Validation, Violation, ask
from service.language.sandbox.compiling import compilations, compile_problem, misplaced
from service.language.sandbox.encoding import answer_of, encoded, frame_size, item_of
from service.language.sandbox.limits import WORKER_LOST
from service.language.sandbox.process import Outcome, Request, SandboxUnavailableError, Worker, spawned
from service.language.sandbox.turns import Turns

SPARES: Final = 1
"""Workers beyond those that may be at work, so that one that had to be killed is replaced at once."""
START_LIMIT_SECONDS: Final = 15.0
"""Time for a new worker to report: 25 ms when idle, much longer on a machine under load."""
FIRST_PATIENCE_SECONDS: Final = 0.1
LAST_PATIENCE_SECONDS: Final = 5.0
"""Between attempts to replace a worker on a machine that gives none."""
LOST_RETRIES: Final = 1
"""How often a program is run again when its worker was killed by someone else."""


class Sandbox:
    """The pool of workers, and the queue before it.

    `size` frames are worked on at a time. Accounts take turns; one has at most half of the workers (at least one), less
    when its programs keep having to be killed (see `Turns`).
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = max(2, os.cpu_count() or 2) if size is None else size
        self.confinement: tuple[str, ...] = ()
        self._running = False
        self._stopping = asyncio.Event()
        self._workers: set[Worker] = set()
        self._idle: list[Worker] = []
        self._turns = Turns(share=max(1, self.size // 2))
        self._at_work = 0
        self._chores: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def use(self) -> dict[str, int]:
        """How many frames can be worked on at once, are, and wait for that."""
        return {"size": self.size, "busy": self._at_work, "waiting": self._turns.waiting}

    # --- Life ---

    async def start(self) -> None:
        """Start every worker; raises `SandboxUnavailableError` when this machine does not give the confinement."""
        self._running = True
        self._stopping.clear()
        try:
            await asyncio.gather(*(self._hire() for _ in range(self.size + SPARES)))
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End every worker; whoever still waits gets a `SandboxUnavailableError`."""
        self._running = False
        self._stopping.set()
        for worker in tuple(self._workers):
            worker.kill(None)
        self._turns.refuse(SandboxUnavailableError("the sandbox was stopped"))
        self._turns.strikes.clear()
        while self._chores or self._workers:
            if self._chores:
                await asyncio.wait(tuple(self._chores))
            else:
                await asyncio.sleep(0)

    async def _hire(self) -> None:
        """Start one worker and put it to work."""
        try:
            worker = await self._connected()
            self.confinement = tuple(await worker.ready)
        except OSError as error:
            raise SandboxUnavailableError(f"a sandbox process did not start: {error!r}") from error
        self._idle.append(worker)
        self._dispatch()

    async def _connected(self) -> Worker:
        """A new process, connected, that has not reported yet; it is ended if it does not within its time."""
        here, there = socket.socketpair()
        with there:
            worker = Worker(self, spawned(there))
        here.setblocking(False)  # noqa: FBT003 - the library's own signature
        self._workers.add(worker)
        try:
            await worker.loop.create_unix_connection(lambda: worker, sock=here)
        except BaseException:
            here.close()
            self.lost(worker)
            raise
        worker.allow(START_LIMIT_SECONDS)
        return worker

    def _chore(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _replace(self) -> None:
        """Hire a worker in place of one that ended, more and more patiently."""
        patience = FIRST_PATIENCE_SECONDS
        while self._running and not await self._has_hired():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), patience)
            patience = min(2 * patience, LAST_PATIENCE_SECONDS)

    async def _has_hired(self) -> bool:
        """Hire a worker if the machine gives one; without any, whoever waits is refused."""
        try:
            await self._hire()
        except SandboxUnavailableError as error:
            if not self._idle and not self._at_work:
                self._turns.refuse(error)
            return False
        return True

    def dismissed(self, worker: Worker) -> None:
        """A worker is not to be given anything more."""
        with contextlib.suppress(ValueError):
            self._idle.remove(worker)

    def lost(self, worker: Worker) -> None:
        """A worker's connection has ended: bury it, and replace it unless it never was one."""
        self.dismissed(worker)
        self._chore(self._bury(worker))

    async def _bury(self, worker: Worker) -> None:
        if not worker.ready.done():
            worker.ready.set_exception(SandboxUnavailableError("a sandbox process ended before it was ready"))
        hired = not worker.ready.cancelled() and worker.ready.exception() is None
        worker.process.kill()  # it may have closed its socket and live on; one that is ending keeps its own status
        await asyncio.get_running_loop().run_in_executor(None, worker.process.wait)
        self._workers.discard(worker)
        request, worker.request = worker.request, None
        if request is not None:
            cause = worker.cause()
            if cause is not None and self._running:
                self._turns.strikes.count(request.account_id)
            request.settle(Outcome(request.answers, cause, lost=cause is None))
            self._at_work -= 1
            self._dispatch()
        replaced = not hired or not self._running or await self._has_hired()
        if request is not None:
            self._turns.release(request)  # only now, or an account could use up one worker after the other
            self._dispatch()
        if not replaced:
            await self._replace()

    # --- Turns ---

    async def exchange(self, account_id: UUID, items: Sequence[wire.Item]) -> Outcome:
        """Have one frame worked on when it is the account's turn."""
        if not self._running:
            raise SandboxUnavailableError("the sandbox is not running")
        request = Request(account_id, items, asyncio.get_running_loop().create_future())
        self._turns.join(request)
        self._dispatch()
        return await request.future

    def _dispatch(self) -> None:
        while self._idle and self._at_work < self.size and (request := self._turns.next()) is not None:
            self._at_work += 1
            self._chosen(request.account_id).begin(request)

    def _chosen(self, account_id: UUID) -> Worker:
        """The idle worker that has the account's programs, if there is one, else the one idle for longest."""
        for position, worker in enumerate(self._idle):
            if worker.account_id == account_id:
                return self._idle.pop(position)
        return self._idle.pop(0)

    def finished(self, worker: Worker, request: Request) -> None:
        """A worker has answered its frame."""
        if not worker.is_killed:
            self._idle.append(worker)
        self._at_work -= 1
        self._turns.release(request)
        self._dispatch()

    async def round_trips(
        self, account_id: UUID, items: Sequence[wire.Item]
    ) -> list[wire.Answer | ExpressionFailure]:
        """An answer or failure for each item: one frame when all goes well.

        When one item of several has cost the worker its life, those without an answer go again, each in a frame of its
        own: so only the one to blame fails, and many that are slow together have a second each.
        """
        answers: list[wire.Answer | ExpressionFailure] = []
        retries = LOST_RETRIES
        suspects_end = 0
        while (start := len(answers)) < len(items):
            size = 1 if start < suspects_end else frame_size(items, start)
            outcome = await self.exchange(account_id, items[start : start + size])
            answers += outcome.answers
            missing = size - len(outcome.answers)
            if outcome.failure is not None and missing > 1:
                suspects_end = start + size
            elif outcome.failure is not None and missing:
                answers.append(outcome.failure)
            elif outcome.lost and missing and retries:
                retries -= 1
            elif outcome.lost and missing:
                answers.append(ExpressionFailure(WORKER_LOST, "the evaluator was ended from outside"))
        return answers

    # --- Verbs ---

    async def answer(self, account_id: UUID, questions: Sequence[Question]) -> list[Any]:
        """The answer to each question, all of them in one frame if they fit into one.

        An `Evaluation` is answered with its value, a `Validation` with its `Violation`s (100 at the most), and either with
        an `ExpressionFailure` that names what went wrong or which limit was met (contract, 3.5 and 11.4).

        Raises:
            SandboxUnavailableError: no worker runs.
        """
        async with self._turns.line(account_id):
            answers: list[Any] = [None] * len(questions)
            items: list[wire.Item] = []
            sent: list[int] = []
            for index, question in enumerate(questions):
                if isinstance(question, Evaluation) and question.expression.program is None:
                    answers[index] = assembled(question, ())
                elif isinstance(item := item_of(question), wire.Item):
                    items.append(item)
                    sent.append(index)
                else:
                    answers[index] = item
            for index, answer in zip(sent, await self.round_trips(account_id, items), strict=True):
                answers[index] = answer_of(answer, questions[index])
            return answers

    async def compile(self, account_id: UUID, expressions: Sequence[Expression]) -> list[str | None]:
        """What is wrong with each expression, with line and column in the author's own text; None if it compiles."""
        checks = [list(compilations(subject)) for subject in expressions]
        programs = list(dict.fromkeys(program for each in checks for _, program in each))  # each of them once
        items = [wire.Item(wire.COMPILE, program.encode(errors="replace"), b"") for program in programs]
        async with self._turns.line(account_id):
            answers = dict(zip(programs, await self.round_trips(account_id, items), strict=True))
        found: list[str | None] = []
        for subject, each in zip(expressions, checks, strict=True):
            problems = [misplaced(subject)]
            problems += [compile_problem(answers[program], place, subject) for place, program in each]
            found.append(next((problem for problem in problems if problem is not None), None))
        return found

    async def check_schema(self, account_id: UUID, schema: Any) -> str | None:
        """What is wrong with a JSON Schema (2020-12 unless `$schema` names another draft); None if it can be used."""
        text = encoded(schema)
        if isinstance(text, ExpressionFailure):
            return text.detail
        async with self._turns.line(account_id):
            (answer,) = await self.round_trips(account_id, [wire.Item(wire.CHECK_SCHEMA, text, b"")])
        if isinstance(answer, ExpressionFailure):
            return f"the schema cannot be checked: {answer.title}, {answer.detail}"
        return None if answer.status == wire.VALUE else str(answer.payload.decode(errors="replace"))

    def fits(self, schema: Any, value: Any) -> bool:
        """Whether a value is known to fit a schema without asking a worker."""
        return schemas.fits(schema, value)

    async def validate(
        self, account_id: UUID, schema: Any, value: Any
    ) -> list[Violation] | ExpressionFailure:
        """Every way in which a value does not fit a schema; a tame one that it fits costs no round trip."""
        (found,) = await ask(self, account_id, [Validation(schema, value)])
        return cast("list[Violation] | ExpressionFailure", found)
