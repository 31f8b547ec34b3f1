"""The end of a process: everybody hears at once that it has been told to stop, and nothing takes longer than it has left.

Requests, jobs and deliveries under way have their seconds at the same time (`Limits.stop_seconds`, and GRACE_SECONDS here);
then connections to the database are cut, so that nobody waits for one that has fallen silent.
"""

import asyncio
import contextlib
import faulthandler
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import FrameType
from typing import Any

GRACE_SECONDS = 4.0  # for jobs and deliveries under way, from the moment at which the process is told to stop
CUT_SECONDS = 5.0  # after which connections to the database are cut: what was under way has been handed back long before
END_SECONDS = 8.0  # after which the process ends; ten are promised, and its embedded PostgreSQL ends after it
LAST_RESORT_SECONDS = 9.5  # after which it is ended whatever hangs; its threads tell where they were

_told_at: float | None = None
_hearers: set[Callable[[], object]] = set()


def listen() -> None:
    """Hear of the signals that tell a process to stop, before whoever hears of them now."""
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def stop(number: int, frame: FrameType | None, before: Any = before) -> None:
            begin()
            if callable(before):
                before(number, frame)

        signal.signal(number, stop)


def begin() -> None:
    """Tell everybody that the process is to stop."""
    global _told_at  # noqa: PLW0603 - there is one process
    if _told_at is None:
        _told_at = time.monotonic()
    for hear in list(_hearers):
        hear()


def begun() -> bool:
    """Whether the process has been told to stop."""
    return _told_at is not None


def left(most: float) -> float:
    """How many seconds something at the process's end may take: `most`, or what is left where that is less."""
    return most if _told_at is None else max(0.0, min(most, _told_at + END_SECONDS - time.monotonic()))


@contextlib.contextmanager
def hearing(hear: Callable[[], object]) -> Iterator[None]:
    """Have `hear` called by the event loop when the process is told to stop, while the block runs."""
    loop = asyncio.get_running_loop()

    def pass_on() -> None:
        loop.call_soon_threadsafe(hear)

    _hearers.add(pass_on)
    try:
        yield
    finally:
        _hearers.discard(pass_on)


@contextlib.asynccontextmanager
async def ending_in_time(cut: Callable[[], object]) -> AsyncIterator[None]:
    """Have `cut` called some seconds after the process was told to stop, while the block runs; and the process end at last."""
    loop = asyncio.get_running_loop()

    def hear() -> None:
        loop.call_later(CUT_SECONDS, cut)
        faulthandler.dump_traceback_later(LAST_RESORT_SECONDS, exit=True)

    with hearing(hear):
        yield
