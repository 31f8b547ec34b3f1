"""Shells for the tests of the command: on a server that they share, or on one of their own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tenancy.embedded import EmbeddedServer
from tests.cli.shell import Shell, end_all

# Importing a verb takes longer than running it, so all are imported once: each run is then a fork of that process.
WARM = """
import importlib, json, os, sys
from service import cli
for place in cli.PLACES.values():
    importlib.import_module(f"service.cli.{place}")
for line in sys.stdin:
    verb = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(verb["folder"])
        os.environ.clear()
        os.environ.update(verb["environment"])
        for number, flags in enumerate((os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)):
            os.dup2(os.open(str(number), flags), number)
        sys.stdin = open(0, encoding=sys.stdin.encoding, errors=sys.stdin.errors, closefd=False)
        sys.argv = ["tutti", *verb["arguments"]]
        cli.main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="package")
def warm() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported the command and forks itself for each verb."""
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    with subprocess.Popen(
        [sys.executable, "-c", WARM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd="/",
    ) as process:
        yield process
        process.kill()


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory, warm: subprocess.Popen[str]) -> Iterator[Path]:
    """A migrated data folder whose server runs for as long as the package's tests, so that no verb has to start it."""
    folder = tmp_path_factory.mktemp("running") / "data"
    server = EmbeddedServer(folder, durable=False).start()
    shell = Shell(folder.parent, folder, warm)
    shell.json("migrate")
    yield folder
    server.remove()


@pytest.fixture
def shell(running: Path, tmp_path: Path, warm: subprocess.Popen[str]) -> Iterator[Shell]:
    """A shell on the running server."""
    made = Shell(tmp_path, running, warm)
    yield made
    end_all(made)


@pytest.fixture
def lone(tmp_path: Path, warm: subprocess.Popen[str]) -> Iterator[Shell]:
    """A shell whose data folder is its own: each verb starts and stops the server."""
    made = Shell(tmp_path, tmp_path / "data", warm)
    yield made
    end_all(made)
    EmbeddedServer(made.data).remove()


@pytest.fixture
def account(shell: Shell) -> UUID:
    """A new account."""
    return UUID(shell.json("account", "create", "Test")["account_id"])
