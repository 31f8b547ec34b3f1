"""Locks on files, by which processes of one machine keep out of each other's way."""

import fcntl
import time
from typing import IO

PAUSE = 0.01  # seconds between two tries


def lock_until(file: IO[str] | int, until: float) -> None:
    """Lock a file for oneself; `until` is a moment of `time.monotonic`.

    Raises:
        BlockingIOError: somebody else has it until then.
    """
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(PAUSE)
        else:
            return
