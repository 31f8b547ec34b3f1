"""The `tutti` command as people and scripts meet it: real processes, a clean environment, a data folder of its own."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec

from tenancy.embedded import EmbeddedServer

TUTTI = str(Path(sys.executable).with_name("tutti"))
LIMIT = 60  # seconds; generous, for the machine may be busy
GREETING = """\
document: {dsl: '1.0.3', namespace: cli, name: greeting, version: '1.0.0'}
do:
  - greet: {set: {text: '${ "Hello, " + .who }'}}
"""
# The trigger itself goes as far as the first wait.
WAITING = GREETING.replace("do:\n", "do:\n  - pause: {wait: {milliseconds: 10}}\n")
NOBODY = UUID("00000000-0000-4000-8000-000000000000")  # fixed: cases are named after it


class Shell:
    """Runs `tutti` with its own data folder."""

    def __init__(self, folder: Path, data: Path, warm: subprocess.Popen[str]) -> None:
        self.folder = folder
        self.data = data
        self.warm = warm
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        self.environment = kept | {
            "TUTTI_DATA_DIR": str(data),
            "TUTTI_METRICS_DIR": str(data) + ".figures",
            "HOME": str(folder),
        }
        self.background: list[subprocess.Popen[bytes]] = []

    def run(
        self, *arguments: str | Path | UUID, given: str | bytes = "", **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        streams = [self.folder / str(number) for number in range(3)]
        streams[0].write_bytes(given if isinstance(given, bytes) else given.encode())
        for stream in streams[1:]:
            stream.unlink(missing_ok=True)
        verb: dict[str, Any] = {
            "arguments": [str(argument) for argument in arguments],
            "environment": self.environment | settings,
            "folder": str(self.folder),
        }
        assert self.warm.stdin is not None
        assert self.warm.stdout is not None
        self.warm.stdin.write(json.dumps(verb) + "\n")
        self.warm.stdin.flush()
        status = int(self.warm.stdout.readline())
        output, error = (stream.read_bytes().decode() for stream in streams[1:])
        assert "Traceback" not in output + error, error
        return subprocess.CompletedProcess(verb["arguments"], status, output, error)

    def json(self, *arguments: str | Path | UUID, given: str = "", **settings: str) -> dict[str, Any]:
        """Run a verb that prints JSON, and return the one object that is on its standard output."""
        finished = self.run(*arguments, "--json", given=given, **settings)
        assert finished.returncode == 0, finished.stderr
        printed = msgspec.json.decode(finished.stdout)
        assert isinstance(printed, dict)
        assert finished.stdout.count("\n") == 1
        return printed

    def refused(self, *arguments: str | Path | UUID, given: str | bytes = "", **settings: str) -> str:
        """Run a verb that has to fail, and return its one line of complaint."""
        finished = self.run(*arguments, given=given, **settings)
        assert finished.returncode == 1, (finished.returncode, finished.stderr)
        assert finished.stdout == ""
        assert finished.stderr.count("\n") == 1, finished.stderr
        assert finished.stderr.startswith("tutti: ")
        return finished.stderr.strip()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a verb that runs until it is told to stop."""
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [TUTTI, *arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self.background.append(process)
        return process

    def log(self) -> str:
        """Return what the background processes said."""
        return (self.folder / "log").read_text()


def end_all(shell: Shell) -> None:
    """Kill what a test has left running."""
    for process in shell.background:
        process.kill()
        process.wait()


def write(shell: Shell, name: str, text: str | bytes) -> Path:
    """Write a file into the shell's folder."""
    path = shell.folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def person(shell: Shell, account: UUID) -> tuple[str, str]:
    """Make a user; return e-mail address and id."""
    email = f"{uuid4().hex}@tutti.example"
    made = shell.json("user", "create", email, "--name", "Ada", "--account", account)
    return email, made["user_id"]


def at_terminal(shell: Shell, *arguments: str, answers: list[str]) -> tuple[int, str]:
    """Run a verb at a terminal; each answer is `prompt:text` and typed when the prompt is there. Return all it showed."""
    ours, terminal = pty.openpty()
    process = subprocess.Popen(
        [TUTTI, *arguments],
        cwd=shell.folder,
        env=shell.environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,  # or a password would be asked for at the terminal that the tests run in
    )
    shell.background.append(process)
    os.close(terminal)
    told, shown = "", ""
    with contextlib.suppress(OSError):  # how Linux says that nobody has the terminal open any more
        while chunk := os.read(ours, 1024).decode():
            told, shown = told + chunk, shown + chunk
            if answers and answers[0].rpartition(":")[0] in shown:
                os.write(ours, answers.pop(0).rpartition(":")[2].encode() + b"\n")
                shown = ""
    os.close(ours)
    assert not answers, told
    return process.wait(LIMIT), told


def processes_of(shell: Shell) -> Iterator[str]:
    """Name every process that works for the shell's data folder: by its environment, or as its PostgreSQL server."""
    place = EmbeddedServer(shell.data).place
    marks = (f"TUTTI_DATA_DIR={shell.data}".encode(), os.fsencode(place.data.parent))
    own = {str(os.getpid())}
    for process in Path("/proc").iterdir():
        if not re.fullmatch(r"\d+", process.name) or process.name in own:
            continue
        with contextlib.suppress(OSError):
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            command = (process / "cmdline").read_bytes()
            home = os.fsencode((process / "cwd").readlink())
            around = (process / "environ").read_bytes() + command + home
            if state != "Z" and any(mark in around for mark in marks):
                yield command.replace(b"\0", b" ").decode()
