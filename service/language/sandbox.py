"""Strangers' jq, patterns and schemas, evaluated where they can do no harm.

A `Sandbox` owns a pool of worker processes (`sandbox_worker.py`) that have no environment, no files, no network, little
memory and one second. A frame of work goes to one of them at a time; a worker that is late or dies is replaced, and only
the program it was running fails.

How a frame travels: `Sandbox.evaluate` → `round_trips` (splits, retries) → `exchange` (waits for its account's turn) →
`Worker.begin` (writes, starts the clock) → `Worker.data_received` … → `Sandbox.finished`. Nothing of that depends on the
task that waits: when it is cancelled, the worker still finishes its frame and the answer is dropped.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, cast
from uuid import UUID

import msgspec

from service.language import sandbox_worker as wire
from service.language.expressions import (
    FAILED,
    Evaluation,
    Expression,
    ExpressionFailure,
    Leaf,
    assembled,
    bare_programs,
    document,
    undefined,
)
from service.language.expressions import Path as PlainPath
from service.language.questions import Violation

TIME_LIMIT_SECONDS: Final = 1.0
"""Wall time of one frame."""
INPUT_LIMIT_BYTES: Final = wire.MEBIBYTE
"""Data of one evaluation (`.` and the variables it reads), and of one frame together."""
OUTPUT_LIMIT_BYTES: Final = wire.OUTPUT_LIMIT
MEMORY_LIMIT_BYTES: Final = wire.ADDRESS_SPACE
DEPTH_LIMIT: Final = 512
EXPRESSION_LIMIT: Final = 64 * 1024
"""Characters of one expression; the compiler's memory grows with them."""
FRAME_LIMIT: Final = 64
"""Programs in one frame; more are sent as several frames."""
RECYCLE_AFTER: Final = 10_000
"""Programs a worker runs before it is replaced."""
START_LIMIT_SECONDS: Final = 15.0
"""Time for a new worker to report: 25 ms when idle, much longer on a machine under load."""
FIRST_PATIENCE_SECONDS: Final = 0.1
LAST_PATIENCE_SECONDS: Final = 5.0
"""Between attempts to replace a worker on a machine that gives none."""
LOST_RETRIES: Final = 1
"""How often a program is run again when its worker was killed by someone else."""

TIME_LIMIT: Final = "time limit"
MEMORY_LIMIT: Final = "memory limit"
INPUT_LIMIT: Final = "input size limit"
OUTPUT_LIMIT: Final = "output size limit"
NESTING_LIMIT: Final = "depth limit"
WORKER_LOST: Final = "evaluator stopped"

TOO_SLOW: Final = ExpressionFailure(TIME_LIMIT, f"no result after {TIME_LIMIT_SECONDS:g} s")
UNREADABLE: Final = ExpressionFailure(WORKER_LOST, "the evaluator's answer could not be read")

WORKER_PROGRAM: Final = Path(wire.__file__).resolve()
MEMORY_SIGNALS: Final = frozenset({signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS})

TAME_KEYWORDS: Final = frozenset(
    {
        *(
            "$schema",
            "$comment",
            "title",
            "description",
            "default",
            "examples",
            "deprecated",
            "readOnly",
            "writeOnly",
        ),
        *("type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "required"),
        *("properties", "additionalProperties", "items", "prefixItems", "format"),
        *("allOf", "anyOf", "oneOf", "not", "if", "then", "else"),
    }
)
"""Keywords whose work is bounded by the size of the schema times the size of the value."""
TAME_SCHEMA: Final = "https://json-schema.org/draft/2020-12/schema"
"""In this draft `format` is only a remark; in older ones it is a check, some of them a pattern's."""
TAME_SCHEMA_BYTES: Final = 16 * 1024
TAME_SCHEMA_NODES: Final = 256
TAME_SCHEMA_DEPTH: Final = 16
TAME_OPTIONS: Final = 100
"""Values of all `enum`s together."""
TAME_PRODUCT = 1_048_576  # bytes of the schema times bytes of the value: some milliseconds at the most
SCHEMA_CACHE: Final = 500


class SandboxUnavailableError(Exception):
    """No worker can be started: this machine does not give the confinement, or the sandbox is not running."""


class Outcome(msgspec.Struct):
    """What came of a frame: the answers in order, and why there are not more of them."""

    answers: list[wire.Answer]
    failure: ExpressionFailure | None = None
    lost: bool = False


class Request:
    """A frame on its way: its bytes, what has come back, and who waits for it."""

    __slots__ = ("account_id", "answers", "count", "frame", "future", "kind")

    def __init__(
        self,
        account_id: UUID,
        kind: int,
        pairs: Sequence[tuple[bytes, bytes]],
        future: asyncio.Future[Outcome],
    ) -> None:
        self.account_id = account_id
        self.kind = kind
        self.count = len(pairs)
        self.frame = framed(kind, pairs)
        self.answers: list[wire.Answer] = []
        self.future = future

    def settle(self, outcome: Outcome) -> None:
        """Tell whoever waits, if anyone still does."""
        if not self.future.done():
            self.future.set_result(outcome)


def spawned(connection: socket.socket) -> subprocess.Popen[bytes]:
    """A new worker process, with nothing of ours but its end of the connection.

    `-I` keeps the environment and the working directory out of its imports, which come from the interpreter's own
    site-packages. Starts on the event loop's own thread: the parent-death signal is sent when that *thread* ends.
    """
    descriptor = connection.fileno()
    return subprocess.Popen(  # noqa: S603 - our own program with two numbers
        [sys.executable, "-I", str(WORKER_PROGRAM), str(descriptor), str(os.getpid())],
        cwd="/",
        env={},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[descriptor],
        start_new_session=True,  # a terminal's Ctrl-C is for the service; it ends its workers itself
    )


def framed(kind: int, pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A frame of work as bytes."""
    parts = [b""]
    for pair in pairs:
        for text in pair:
            parts.append(wire.SIZE.pack(len(text)))
            parts.append(text)
    length = sum(map(len, parts)) + wire.REQUEST.size - wire.SIZE.size
    parts[0] = wire.REQUEST.pack(length, kind, len(pairs))
    return b"".join(parts)


class Worker(asyncio.Protocol):
    """One process and the frame it works on. Everything it says is checked: it may be under a stranger's control."""

    def __init__(self, sandbox: "Sandbox", process: subprocess.Popen[bytes]) -> None:
        self.sandbox = sandbox
        self.process = process
        self.loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[list[str]] = self.loop.create_future()
        self.request: Request | None = None
        self.verdict: ExpressionFailure | None = None
        self.programs_run = 0
        self.transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._clock: asyncio.TimerHandle | None = None
        self._killed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to the process."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclasses of it

    def begin(self, request: Request) -> None:
        """Send a frame and start the clock."""
        assert self.transport is not None  # noqa: S101 - only connected workers are in the pool
        self.request = request
        self.allow(TIME_LIMIT_SECONDS)
        self.transport.write(request.frame)

    def allow(self, seconds: float) -> None:
        """Start the clock."""
        self._clock = self.loop.call_later(seconds, self.kill, TOO_SLOW)

    def data_received(self, data: bytes) -> None:
        """Take in the answers that are complete."""
        self._buffer += data
        while len(self._buffer) >= wire.ANSWER.size and not self._killed:
            size, status = wire.ANSWER.unpack_from(self._buffer)
            if size > OUTPUT_LIMIT_BYTES:
                self.kill(UNREADABLE)
                return
            end = wire.ANSWER.size + size
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[wire.ANSWER.size : end])
            del self._buffer[:end]
            self._take(wire.Answer(status, payload))

    def _take(self, answer: wire.Answer) -> None:
        request = self.request
        if request is None:
            self._greet(answer)
        elif answer.status == wire.END and len(request.answers) == request.count:
            self._end(request, retire=answer.payload == b"\x01")
        elif (
            answer.status in (wire.VALUE, wire.FAILED, wire.TOO_LARGE)
            and len(request.answers) < request.count
        ):
            request.answers.append(answer)
        else:
            self.kill(UNREADABLE)

    def _greet(self, answer: wire.Answer) -> None:
        if self.ready.done() or answer.status not in (wire.READY, wire.REFUSED):
            self.kill(UNREADABLE)
        elif answer.status == wire.READY:
            self._stop_clock()
            self.ready.set_result(msgspec.json.decode(answer.payload, type=list[str]))
        else:
            reason = answer.payload.decode(errors="replace")
            self.ready.set_exception(
                SandboxUnavailableError(f"a sandbox process cannot be confined: {reason}")
            )

    def _end(self, request: Request, *, retire: bool) -> None:
        self._stop_clock()
        self.request = None
        self.programs_run += request.count
        request.settle(Outcome(request.answers))
        self.sandbox.finished(self, request, retire=retire or self.programs_run >= RECYCLE_AFTER)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def kill(self, verdict: ExpressionFailure | None) -> None:
        """End the process; the program that is running, if any, fails with the verdict."""
        self._stop_clock()
        if not self._killed:
            self._killed = True
            self.verdict = verdict
            self.sandbox.dismissed(self)
        self.process.kill()
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        """The process has ended, or is about to."""
        self._stop_clock()
        self.sandbox.lost(self)

    def cause(self) -> ExpressionFailure | None:
        """Why the process ended, as the failure of the program it ran; None when the program is not to blame."""
        code = self.process.returncode
        if self.verdict is not None:
            return self.verdict
        if code == wire.OUT_OF_MEMORY or (code is not None and -code in MEMORY_SIGNALS):
            return ExpressionFailure(
                MEMORY_LIMIT, f"more than {MEMORY_LIMIT_BYTES // wire.MEBIBYTE} MiB of memory were needed"
            )
        if code == -signal.SIGALRM:
            return TOO_SLOW
        return None


class Sandbox:
    """The pool of workers, and the queue before it.

    Frames wait per account, accounts take turns, and one account has at most half of the workers (at least one).
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = max(2, os.cpu_count() or 2) if size is None else size
        self.share = max(1, self.size // 2)
        self.confinement: tuple[str, ...] = ()
        self._running = False
        self._stopping = asyncio.Event()
        self._workers: set[Worker] = set()
        self._idle: deque[Worker] = deque()
        self._waiting: OrderedDict[UUID, deque[Request]] = OrderedDict()
        self._busy: Counter[UUID] = Counter()
        self._chores: set[asyncio.Task[None]] = set()
        self._validators: OrderedDict[bytes, Any] = OrderedDict()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # --- Life ---

    async def start(self) -> None:
        """Start every worker; raises `SandboxUnavailableError` when this machine does not give the confinement."""
        self._running = True
        self._stopping.clear()
        try:
            await asyncio.gather(*(self._hire() for _ in range(self.size)))
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End every worker; whoever still waits gets a `SandboxUnavailableError`."""
        self._running = False
        self._stopping.set()
        for worker in tuple(self._workers):
            worker.kill(None)
        self._refuse_waiting(SandboxUnavailableError("the sandbox was stopped"))
        while self._chores or self._workers:
            if self._chores:
                await asyncio.wait(tuple(self._chores))
            else:
                await asyncio.sleep(0)

    def _refuse_waiting(self, error: SandboxUnavailableError) -> None:
        for queue in self._waiting.values():
            for request in queue:
                if not request.future.done():
                    request.future.set_exception(error)
        self._waiting.clear()

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
        """Hire a worker in place of one that ended, more and more patiently; without any, whoever waits is refused."""
        patience = FIRST_PATIENCE_SECONDS
        while self._running:
            try:
                await self._hire()
            except SandboxUnavailableError as error:
                if not self._idle and not self._busy:
                    self._refuse_waiting(error)
            else:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), patience)
            patience = min(2 * patience, LAST_PATIENCE_SECONDS)

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
            request.settle(Outcome(request.answers, cause, lost=cause is None))
            self._release(request.account_id)
        if hired and self._running:
            await self._replace()

    # --- Turns ---

    async def exchange(self, account_id: UUID, kind: int, pairs: Sequence[tuple[bytes, bytes]]) -> Outcome:
        """Have one frame worked on when it is the account's turn."""
        if not self._running:
            raise SandboxUnavailableError("the sandbox is not running")
        request = Request(account_id, kind, pairs, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(account_id, deque()).append(request)
        self._dispatch()
        return await request.future

    def _dispatch(self) -> None:
        while self._idle and (request := self._next()) is not None:
            if not request.future.done():  # else its caller has gone
                self._busy[request.account_id] += 1
                self._idle.pop().begin(request)  # the one used last: it has the programs and the caches warm

    def _next(self) -> Request | None:
        """The next frame in turn; its account goes to the end of the line."""
        for account_id, queue in self._waiting.items():
            if self._busy[account_id] < self.share:
                request = queue.popleft()
                if queue:
                    self._waiting.move_to_end(account_id)
                else:
                    del self._waiting[account_id]
                return request
        return None

    def _release(self, account_id: UUID) -> None:
        self._busy[account_id] -= 1
        if not self._busy[account_id]:
            del self._busy[account_id]
        if self._waiting:
            self._dispatch()

    def finished(self, worker: Worker, request: Request, *, retire: bool) -> None:
        """A worker has answered its frame."""
        if retire:
            worker.kill(None)
        else:
            self._idle.append(worker)
        self._release(request.account_id)

    async def round_trips(
        self, account_id: UUID, kind: int, pairs: Sequence[tuple[bytes, bytes]]
    ) -> list[Any]:
        """An `Answer` or `ExpressionFailure` for each pair: one frame when all goes well.

        A frame that ended early is continued after the pair that ended it.
        """
        answers: list[Any] = []
        retries = LOST_RETRIES
        while len(answers) < len(pairs):
            size = frame_size(pairs, len(answers))
            outcome = await self.exchange(account_id, kind, pairs[len(answers) : len(answers) + size])
            answers += outcome.answers
            if outcome.failure is not None:
                answers.append(outcome.failure)
            elif outcome.lost and retries:
                retries -= 1
            elif outcome.lost:
                answers.append(ExpressionFailure(WORKER_LOST, "the evaluator was ended from outside"))
        return answers[: len(pairs)]

    # --- Verbs ---

    async def evaluate(self, account_id: UUID, evaluations: Sequence[Evaluation]) -> list[Any]:
        """The value or `ExpressionFailure` of each evaluation, in one frame if they fit into one."""
        answers: list[Any] = [None] * len(evaluations)
        pairs: list[tuple[bytes, bytes]] = []
        sent: list[int] = []
        for index, evaluation in enumerate(evaluations):
            pair = prepared(evaluation)
            if isinstance(pair, tuple):
                pairs.append(pair)
                sent.append(index)
            else:
                answers[index] = pair if pair is not None else assembled(evaluation, ())
        for index, answer in zip(sent, await self.round_trips(account_id, wire.EVALUATE, pairs), strict=True):
            answers[index] = value_of(answer, evaluations[index])
        return answers

    async def compile(self, account_id: UUID, expressions: Sequence[Expression]) -> list[str | None]:
        """What is wrong with each expression, with line and column in the author's own text; None if it compiles."""
        checks = [list(compilations(subject)) for subject in expressions]
        programs = [(program.encode(errors="replace"), b"") for each in checks for _, program in each]
        answers = iter(await self.round_trips(account_id, wire.COMPILE, programs))
        found: list[str | None] = []
        for subject, each in zip(expressions, checks, strict=True):
            problems = [misplaced(subject)]
            problems += [compile_problem(next(answers), place, subject) for place, _ in each]
            found.append(next((problem for problem in problems if problem is not None), None))
        return found

    async def check_schema(self, account_id: UUID, schema: Any) -> str | None:
        """What is wrong with a JSON Schema (2020-12 unless `$schema` names another draft); None if it can be used."""
        text = encoded(schema)
        if isinstance(text, ExpressionFailure):
            return text.detail
        (answer,) = await self.round_trips(account_id, wire.CHECK_SCHEMA, [(text, b"")])
        if isinstance(answer, ExpressionFailure):
            return f"the schema cannot be checked: {answer.title}, {answer.detail}"
        return None if answer.status == wire.VALUE else str(answer.payload.decode(errors="replace"))

    def fits(self, schema: Any, value: Any) -> bool:
        """Whether a value is known to fit a schema without asking the sandbox.

        Only a tame schema (see `TAME_KEYWORDS`) is applied in this process, only where schema times value is small, and
        only for yes or no: the library collects every error there is before it tells the first, which can take seconds.
        """
        text, data = encoded(schema), encoded(value)
        if isinstance(text, ExpressionFailure) or isinstance(data, ExpressionFailure):
            return False
        if len(text) * len(data) > TAME_PRODUCT:
            return False
        validator = self._tame_validator(schema, text)
        if validator is None:
            return False
        with contextlib.suppress(
            ValueError
        ):  # nested too deeply for the library, which is the sandbox's to say
            return bool(validator.is_valid(value))
        return False

    async def validate(
        self, account_id: UUID, schema: Any, value: Any
    ) -> list[Violation] | ExpressionFailure:
        """Every way in which a value does not fit a schema, up to 100 of them; see `fits` for what costs no round trip."""
        text, data = encoded(schema), encoded(value)
        if isinstance(text, ExpressionFailure):
            return text
        if isinstance(data, ExpressionFailure):
            return data
        if self.fits(schema, value):
            return []
        (answer,) = await self.round_trips(account_id, wire.VALIDATE, [(text, data)])
        if isinstance(answer, ExpressionFailure):
            return answer
        return read_violations(answer)

    def _tame_validator(self, schema: Any, text: bytes) -> Any | None:
        if len(text) > TAME_SCHEMA_BYTES:
            return None
        digest = hashlib.sha256(text).digest()
        if digest in self._validators:
            self._validators.move_to_end(digest)
            return self._validators[digest]
        validator = None
        if is_tame(schema):
            with contextlib.suppress(
                ValueError
            ):  # not a schema at all: the sandbox says what is wrong with it
                validator = wire.validator_of(schema)
        self._validators[digest] = validator
        if len(self._validators) > SCHEMA_CACHE:
            self._validators.popitem(last=False)
        return validator


# --- Into a frame ---------------------------------------------------------------------------------------------------


def frame_size(pairs: Sequence[tuple[bytes, bytes]], start: int) -> int:
    """How many pairs from `start` on go into one frame: at least one."""
    size = 0
    total = 0
    for program, data in pairs[start : start + FRAME_LIMIT]:
        total += len(program) + len(data)
        if size and total > INPUT_LIMIT_BYTES:
            break
        size += 1
    return size


def prepared(evaluation: Evaluation) -> tuple[bytes, bytes] | ExpressionFailure | None:
    """Program and input of an evaluation as texts; None when it needs no program."""
    program = evaluation.expression.program
    if program is None:
        return None
    try:
        data = document(evaluation)
        text = program.encode()
    except (UnicodeEncodeError, ValueError, TypeError, RecursionError) as error:
        return unreadable(error)
    size = max(len(text), len(data))
    return (text, data) if size <= INPUT_LIMIT_BYTES else too_much(size)


def encoded(value: Any) -> bytes | ExpressionFailure:
    """A JSON value as text, if it is small enough to be sent."""
    try:
        text = msgspec.json.encode(value)
    except (UnicodeEncodeError, ValueError, TypeError, RecursionError) as error:
        return unreadable(error)
    return text if len(text) <= INPUT_LIMIT_BYTES else too_much(len(text))


def unreadable(error: Exception) -> ExpressionFailure:
    """The failure for data that is no JSON text."""
    if isinstance(error, RecursionError):
        return ExpressionFailure(NESTING_LIMIT, f"the data is nested more than {DEPTH_LIMIT} levels deep")
    if isinstance(error, UnicodeEncodeError):
        return ExpressionFailure(FAILED, "the data holds half of a surrogate pair, which is not Unicode text")
    return ExpressionFailure(FAILED, "the data is not JSON")


def too_much(size: int) -> ExpressionFailure:
    """The failure for data that is too large."""
    return ExpressionFailure(INPUT_LIMIT, f"{size} bytes of data; at most {INPUT_LIMIT_BYTES} are possible")


# --- Out of a frame -------------------------------------------------------------------------------------------------


def value_of(answer: Any, evaluation: Evaluation) -> Any:
    """The value that a worker's answer stands for."""
    if isinstance(answer, ExpressionFailure):
        return answer
    if answer.status == wire.TOO_LARGE:
        return ExpressionFailure(OUTPUT_LIMIT, f"the result has more than {OUTPUT_LIMIT_BYTES} bytes")
    if answer.status != wire.VALUE:
        return ExpressionFailure(FAILED, answer.payload.decode(errors="replace"))
    entries = decoded(answer.payload)
    if isinstance(entries, ExpressionFailure):
        return entries
    return assembled(evaluation, entries if isinstance(entries, list) else ())


def decoded(payload: bytes) -> Any:
    """A worker's JSON, or the failure for what is none or is nested too deeply."""
    try:
        value = msgspec.json.decode(payload)
    except RecursionError:
        return too_deep()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ExpressionFailure(FAILED, "the result is not a JSON value")
    return value if is_shallow(payload, value) else too_deep()


def too_deep() -> ExpressionFailure:
    """The failure for a result that is nested too deeply."""
    return ExpressionFailure(NESTING_LIMIT, f"the result is nested more than {DEPTH_LIMIT} levels deep")


def is_shallow(text: bytes, value: Any) -> bool:
    """Whether a result keeps to the depth limit, the program's two lists around it not counted."""
    allowed = DEPTH_LIMIT + 2
    if text.count(b"[") + text.count(b"{") <= allowed:
        return True
    level = [value]
    for _ in range(allowed):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return True
    return False


def read_violations(answer: wire.Answer) -> list[Violation] | ExpressionFailure:
    """The violations in a worker's answer."""
    if answer.status == wire.VALUE:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return msgspec.json.decode(answer.payload, type=list[Violation])[: wire.VIOLATION_LIMIT]
    if answer.status == wire.TOO_LARGE:
        return ExpressionFailure(
            OUTPUT_LIMIT, f"the list of violations has more than {OUTPUT_LIMIT_BYTES} bytes"
        )
    return ExpressionFailure("schema failed", answer.payload.decode(errors="replace"))


# --- Messages of the compiler ---------------------------------------------------------------------------------------

COMPILE_ERROR = re.compile(
    r"jq: error: (?P<what>.*?) at <top-level>, line (?P<line>\d+), column (?P<column>\d+):", re.DOTALL
)
UNDEFINED_VARIABLE = re.compile(r"\$(?P<name>[A-Za-z0-9_:]+) is not defined")
UNDEFINED_LABEL = re.compile(r"\$\*label-(?P<name>\S+) is not defined")


def compilations(subject: Expression) -> Iterator[tuple[Leaf | None, str]]:
    """What to compile for an expression: each leaf bare, then the whole program."""
    yield from bare_programs(subject)
    if subject.program is not None:
        yield None, subject.program


def misplaced(subject: Expression) -> str | None:
    """What is wrong with the leaves that need no jq or that jq would never see whole."""
    for leaf in subject.leaves:
        plain = leaf.plain
        if (
            isinstance(plain, PlainPath)
            and plain.variable is not None
            and plain.variable not in subject.names
        ):
            return pointed(leaf, undefined(plain.variable, subject.names))
        if len(leaf.text) > EXPRESSION_LIMIT:
            return pointed(leaf, f"the expression has more than {EXPRESSION_LIMIT} characters")
        if "\0" in leaf.text or any("\ud800" <= character <= "\udfff" for character in leaf.text):
            return pointed(
                leaf, "the expression holds a character that is not text (NUL or half of a surrogate pair)"
            )
    return None


def pointed(leaf: Leaf | None, message: str) -> str:
    """A message that names the leaf of the template it is about."""
    return f"{leaf.pointer}: {message}" if leaf is not None and leaf.pointer else message


def compile_problem(answer: Any, leaf: Leaf | None, subject: Expression) -> str | None:
    """The message for the author, out of jq's own."""
    if isinstance(answer, ExpressionFailure):
        return pointed(leaf, f"the expression cannot be compiled: {answer.title}, {answer.detail}")
    if answer.status == wire.VALUE:
        return None
    text = answer.payload.decode(errors="replace")
    found = COMPILE_ERROR.search(text)
    if found is None or leaf is None:
        return pointed(
            leaf,
            text.removeprefix("jq: error: ").split("\n", 1)[0] if leaf else "not one complete expression",
        )
    return pointed(leaf, f"{readable(found['what'], subject.names)} ({position(found, leaf.text)})")


def readable(what: str, names: Sequence[str]) -> str:
    """A compiler's message in our words where its own are obscure."""
    if "expecting QQSTRING" in what:
        return "a string is not closed"
    what = what.replace("INVALID_CHARACTER", "character")
    label = UNDEFINED_LABEL.fullmatch(what)
    if label is not None:
        return f"there is no label ${label['name']} around this break"
    variable = UNDEFINED_VARIABLE.fullmatch(what)
    return undefined(variable["name"], names) if variable is not None else what


def position(found: re.Match[str], text: str) -> str:
    """Line and column in the author's text: the program's line 2 is its first, and jq counts bytes."""
    line, column = int(found["line"]) - 1, int(found["column"])
    lines = text.split("\n")
    if line > len(lines):
        return "at the end"
    if line < 1:  # an empty text ends before it begins
        return "line 1, column 1"
    before = lines[line - 1].encode(errors="replace")[: column - 1].decode(errors="ignore")
    return f"line {line}, column {len(before) + 1}"


# --- Tame schemas ---------------------------------------------------------------------------------------------------

MAPS_OF_SCHEMAS: Final = frozenset({"properties"})
LISTS_OF_SCHEMAS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
SCHEMAS: Final = frozenset({"additionalProperties", "items", "not", "if", "then", "else"})


def is_tame(schema: Any) -> bool:
    """Whether applying a schema to a small value is quick whoever wrote it: no references, no patterns, bounded size."""
    waiting = [(schema, 1)]
    nodes = options = 0
    while waiting:
        node, depth = waiting.pop()
        nodes += 1
        if isinstance(node, bool):
            continue
        if not isinstance(node, dict) or not TAME_KEYWORDS.issuperset(node) or depth > TAME_SCHEMA_DEPTH:
            return False
        options += len(node["enum"]) if isinstance(node.get("enum"), list) else 0
        if (
            nodes > TAME_SCHEMA_NODES
            or options > TAME_OPTIONS
            or node.get("$schema", TAME_SCHEMA) != TAME_SCHEMA
        ):
            return False
        waiting.extend((child, depth + 1) for child in parts(node))
    return True


def parts(schema: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas directly inside a schema; None, which is not tame, for what is no schema."""
    for keyword, value in schema.items():
        if keyword in MAPS_OF_SCHEMAS:
            yield from value.values() if isinstance(value, dict) else [None]
        elif keyword in LISTS_OF_SCHEMAS:
            yield from value if isinstance(value, list) else [None]
        elif keyword in SCHEMAS:
            yield value
