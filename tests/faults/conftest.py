"""Processes of their own for tests of faults."""

import os
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.cell import TUTTI

Started = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
async def started(tmp_path: Path) -> AsyncIterator[Started]:
    """Starts `tutti` processes over the tests' database; none outlives the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*verb: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "log").open("ab") as log:
            processes.append(subprocess.Popen([str(TUTTI), *verb], env=os.environ, stdout=log, stderr=log))
        return processes[-1]

    yield start
    for one in processes:
        one.kill()
        one.wait()
