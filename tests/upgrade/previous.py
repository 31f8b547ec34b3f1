"""The code of the release before this one, out of the history, and its processes."""

import contextlib
import os
import subprocess
import sys
import tarfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tenancy.postgres import Database
from tests.cell import START_SECONDS, STOP_SECONDS, free_port
from tests.tenancy.databases import environment

ROOT = Path(__file__).parents[2]
PREVIOUS = (Path(__file__).parent / "PREVIOUS").read_text().strip()
WITHOUT_HISTORY = "TUTTI_TESTS_WITHOUT_HISTORY"  # set by .ci/run where it could not get the history
MISSING = (
    f"The history has no commit {PREVIOUS}, which tests/upgrade/PREVIOUS names as the release before this one. "
    "A shallow clone lacks it; get it with: git fetch --unshallow"
)


def git(*arguments: str) -> bytes:
    """Ask the history; where it lacks the release before this one the test fails and says how to get it.

    Where whoever runs the tests has said that there is none to be had, it is skipped and says so.
    """
    found = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)
    if found.returncode and WITHOUT_HISTORY in os.environ:
        pytest.skip(f"NOT SHOWN, for want of the history: {MISSING}")
    if found.returncode:
        pytest.fail(f"{MISSING} (git {arguments[0]}: {found.stderr.decode().strip()})", pytrace=False)
    return found.stdout


def unpacked(folder: Path) -> Path:
    """Write the previous release's code into a folder."""
    with tarfile.open(
        fileobj=BytesIO(git("archive", PREVIOUS, "auth", "service", "tenancy", "piccolo_conf.py"))
    ) as code:
        code.extractall(folder, filter="data")
    return folder


def files_of_previous(*folders: str) -> set[str]:
    """List the previous release's files below some folders."""
    return set(git("ls-tree", "-r", "--name-only", PREVIOUS, *folders).decode().splitlines())


class Release:
    """One release's code over a database: what its command prints, and the processes it leaves running."""

    def __init__(self, code: Path, database: Database, folder: Path) -> None:
        self.code = code
        self.log = folder / f"{code.name}.log"
        self._environment = environment(database) | {"PYTHONPATH": str(code), "TUTTI_SANDBOX_PROCESSES": "1"}
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self, *verb: str) -> Any:
        """Run a verb of the command and return the object that it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "service.cli", *verb, "--json"],
            env=self._environment,
            cwd=self.code,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return msgspec.json.decode(done.stdout)

    def place(self) -> str:
        """Say from where its modules come."""
        show = "import service, tenancy, auth; print(service.__file__, tenancy.__file__, auth.__file__)"
        done = subprocess.run(
            [sys.executable, "-c", show],
            env=self._environment,
            cwd=self.code,
            capture_output=True,
            check=True,
        )
        return done.stdout.decode()

    def serve(self) -> str:
        """Start a process that serves and runs instances; return its address once it is ready."""
        port = free_port()
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "service.cli", "serve", "--port", str(port)],
                env=self._environment,
                cwd=self.code,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._running.append(process)
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/readyz").status_code == 200:
                    return url
            time.sleep(0.1)
        return pytest.fail(
            f"tutti serve of {self.code.name} is not ready:\n{self.log.read_text()}", pytrace=False
        )

    def stop(self) -> None:
        """End its processes as an operator does."""
        for process in self._running:
            process.terminate()
        for process in self._running:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()
