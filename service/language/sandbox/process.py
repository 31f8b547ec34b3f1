"""One worker process, seen from the service: started, given frames, listened to with suspicion, ended."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, cast
from uuid import UUID

import msgspec

from service.language import sandbox_worker as wire
from service.language.expressions import ExpressionFailure
from service.language.sandbox.limits import (
    MEMORY_LIMIT,
    MEMORY_LIMIT_BYTES,
    OUTPUT_LIMIT_BYTES,
    TIME_LIMIT_SECONDS,
    TOO_SLOW,
    UNREADABLE,
)

RECYCLE_AFTER: Final = 10_000
"""Programs a worker runs before it is replaced."""
GRACE_SECONDS: Final = 0.1
"""Time to read a long answer to its end, when the clock is looked at later than this after the limit."""
WORKER_PROGRAM: Final = Path(wire.__file__).resolve()
MEMORY_SIGNALS: Final = frozenset({signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS})


class SandboxUnavailableError(Exception):
    """No worker can be started: this machine does not give the confinement, or the sandbox is not running."""


class Outcome(msgspec.Struct):
    """What came of a frame: the answers in order, and why there are not more of them."""

    answers: list[wire.Answer]
    failure: ExpressionFailure | None = None
    lost: bool = False


class Request:
    """A frame on its way: its bytes, what has come back, and who waits for it."""

    __slots__ = ("account_id", "answers", "count", "frame", "future", "is_held_back")

    def __init__(self, account_id: UUID, items: Sequence[wire.Item], future: asyncio.Future[Outcome]) -> None:
        self.account_id = account_id
        self.count = len(items)
        self.frame = framed(items)
        self.answers: list[wire.Answer] = []
        self.future = future
        self.is_held_back = False

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


def framed(items: Sequence[wire.Item]) -> bytes:
    """A frame of work as bytes."""
    parts = [b""]
    for kind, first, second in items:
        parts += (wire.ITEM.pack(kind, len(first), len(second)), first, second)
    length = sum(map(len, parts)) + wire.REQUEST.size - wire.SIZE.size
    parts[0] = wire.REQUEST.pack(length, len(items))
    return b"".join(parts)


class Employer(Protocol):
    """Whoever gives workers their frames: told when one is free again, is not to be given more, or has ended."""

    def finished(self, worker: "Worker", request: Request) -> None:
        """A worker has answered its frame."""

    def dismissed(self, worker: "Worker") -> None:
        """A worker is not to be given anything more."""

    def lost(self, worker: "Worker") -> None:
        """A worker's connection has ended."""


class Worker(asyncio.Protocol):
    """One process and the frame it works on. Everything it says is checked: it may be under a stranger's control."""

    def __init__(self, employer: Employer, process: subprocess.Popen[bytes]) -> None:
        self.employer = employer
        self.process = process
        self.loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[list[str]] = self.loop.create_future()
        self.request: Request | None = None
        self.account_id: UUID | None = None
        self.verdict: ExpressionFailure | None = None
        self.programs_run = 0
        self.transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.is_killed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to the process."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclasses of it

    def begin(self, request: Request) -> None:
        """Send a frame and start the clock."""
        assert self.transport is not None  # noqa: S101 - only connected workers are in the pool
        self.request = request
        self.account_id = request.account_id
        self.allow(TIME_LIMIT_SECONDS)
        self.transport.write(request.frame)

    def allow(self, seconds: float) -> None:
        """Start the clock. The timer of an earlier frame serves again: most frames take less time than to set one."""
        self._deadline = self.loop.time() + seconds
        if self._timer is None:
            self._timer = self.loop.call_at(self._deadline, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        late = self.loop.time() - self._deadline
        if late < 0:
            self._timer = self.loop.call_at(self._deadline, self._look_at_the_clock)
        elif late > GRACE_SECONDS:  # it was this process that was held up, and the answer may wait to be read
            self.allow(GRACE_SECONDS)
        else:
            self.kill(TOO_SLOW)

    def _stop_the_clock(self) -> None:
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def data_received(self, data: bytes) -> None:
        """Take in the answers that are complete; most packets are a whole frame's."""
        if not self._buffer:
            self._buffer += data[self._read(data) :]
        else:
            self._buffer += data
            del self._buffer[: self._read(self._buffer)]

    def _read(self, data: bytes | bytearray) -> int:
        """Take the complete answers at the beginning of `data`, and tell how many bytes they were."""
        start = 0
        while len(data) - start >= wire.ANSWER.size and not self.is_killed:
            size, status = wire.ANSWER.unpack_from(data, start)
            if size > OUTPUT_LIMIT_BYTES:
                self.kill(UNREADABLE)
                break
            end = start + wire.ANSWER.size + size
            if len(data) < end:
                break
            self._take(wire.Answer(status, bytes(data[start + wire.ANSWER.size : end])))
            start = end
        return start

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
            self._stop_the_clock()
            self.ready.set_result(msgspec.json.decode(answer.payload, type=list[str]))
        else:
            reason = answer.payload.decode(errors="replace")
            self.ready.set_exception(
                SandboxUnavailableError(f"a sandbox process cannot be confined: {reason}")
            )

    def _end(self, request: Request, *, retire: bool) -> None:
        self._deadline = None
        self.programs_run += request.count
        request.settle(Outcome(request.answers))
        if retire or self.programs_run >= RECYCLE_AFTER:
            self.kill(None)
        if not retire:
            self.request = (
                None  # else it stays, and with it its account's place, until there is another worker
            )
            self.employer.finished(self, request)

    def kill(self, verdict: ExpressionFailure | None) -> None:
        """End the process; the program that is running, if any, fails with the verdict."""
        self._stop_the_clock()
        if not self.is_killed:
            self.is_killed = True
            self.verdict = verdict
            self.employer.dismissed(self)
        self.process.kill()
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        """The process has ended, or is about to."""
        self._stop_the_clock()
        self.employer.lost(self)

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
