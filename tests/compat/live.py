"""A live service of the tests' own: the command line, a database in a temporary folder, a free port."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from tenancy.embedded import EmbeddedServer

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "service.cli"]  # what `tutti` runs
READY_SECONDS = 60
STOP_SECONDS = 30
KEYS = base64.urlsafe_b64encode(bytes(32)).decode()


class Live:
    """One service and its database, driven from outside like an operator would."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "service.log"
        self.data = folder / "data"
        own = {"TUTTI_DATA_DIR": str(self.data), "TUTTI_PUBLIC_URL": self.url}
        own |= {"TUTTI_SECRET_KEYS": KEYS, "TUTTI_EGRESS_ALLOW": "127.0.0.0/8"}  # the tests' own servers
        self.environment = clean(dict(os.environ)) | own
        self.http = httpx.Client(timeout=30)  # one for all: making one costs more than a request
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def tutti(self, *arguments: str, typed: str = "") -> Any:
        """Run one command, give it what it reads, and read the object that it prints."""
        finished = subprocess.run(
            [*COMMAND, *arguments, "--json"],
            cwd=ROOT,
            env=self.environment,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, f"tutti {' '.join(arguments)}: {finished.stderr}"
        return json.loads(finished.stdout)

    def serve(self) -> None:
        """Start the service."""
        self._log = self.log.open("wb")
        command = [*COMMAND, "serve", "--port", str(self.port)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=self._log, stderr=subprocess.STDOUT
        )

    def wait(self) -> None:
        """Wait until the service can serve; fail with its log where it cannot."""
        assert self._process is not None
        deadline = time.monotonic() + READY_SECONDS
        while not self.ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"tutti serve is not ready:\n{self.log.read_text()}", pytrace=False)
            time.sleep(0.05)

    def ready(self) -> bool:
        """Ask the service whether it can serve."""
        try:
            return self.http.get(f"{self.url}/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        """Ask the service to end; return its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            pytest.fail(f"SIGTERM did not end the service:\n{self.log.read_text()}", pytrace=False)

    def remove(self) -> None:
        """End what runs and delete the data."""
        self.http.close()
        if self._process is not None and self._process.poll() is None:
            self.stop()
        if self._log is not None:
            self._log.close()
        EmbeddedServer(self.data).start().remove()  # joined first: a killed service may have left it running


def clean(environment: dict[str, str]) -> dict[str, str]:
    """Leave out settings: those of a developer, and those that the other tests set for their own database."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("TUTTI_") and name != "DATABASE_URL"
    }


def free_port() -> int:
    """Ask the system for a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
