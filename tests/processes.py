"""Processes of `tutti serve` over the tests' own database: what one of them does, the others know."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cell import TUTTI, free_port

LIMIT = 60  # seconds; generous, for the machine may be busy


@contextlib.contextmanager
def serving(count: int, folder: Path, *options: str) -> Iterator[list[str]]:
    """Start so many processes; yield their URLs once all of them serve. Their log is `log` in the folder."""
    ports, path = [free_port() for _ in range(count)], folder / "log"
    with path.open("wb") as log, contextlib.ExitStack() as ends:
        for port in ports:
            command = [str(TUTTI), "serve", "--port", str(port), *options]
            ends.callback(ended, subprocess.Popen(command, env=os.environ, stdout=log, stderr=log))
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        for url in urls:
            wait_until_ready(url, path)
        yield urls


def ended(process: subprocess.Popen[bytes]) -> None:
    """End a process as an operator does."""
    process.terminate()
    process.wait(LIMIT)


def wait_until_ready(url: str, log: Path) -> None:
    """Wait until a process serves."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline and "Traceback" not in log.read_text():
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        time.sleep(0.1)
    pytest.fail(f"tutti serve is not ready:\n{log.read_text()}", pytrace=False)
