"""The service as its operators run it: a PostgreSQL server of its own, databases on it, `tutti` processes over them.

For measurements, and for tests that kill what they started.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec

from service.settings import settings
from tenancy.embedded import EmbeddedServer
from tenancy.postgres import connected, engine, provide_embedded

TUTTI = Path(sys.executable).with_name("tutti")
START_SECONDS = 60
STOP_SECONDS = 15
ADMINISTRATOR = "ada@acme.example"  # of the demo data


class Postgres:
    """A durable PostgreSQL server, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = EmbeddedServer(folder / "data")

    async def start(self) -> None:
        """Start the server, recovering what a killed one left."""
        await asyncio.to_thread(self.server.stop)  # lets go of a killed one
        await asyncio.to_thread(self.server.start)
        await provide_embedded(self.server)

    async def kill(self) -> None:
        """Kill the server's first process; what it has told to be committed must survive that."""
        pid = (self.server.place.data / "postmaster.pid").read_text().split()[0]
        os.kill(int(pid), signal.SIGKILL)
        while lives(pid):  # noqa: ASYNC110 - it is nobody's child here
            await asyncio.sleep(0.01)

    async def shut(self, mode: str) -> None:
        """Stop the server in one of PostgreSQL's modes: fast, or immediate."""
        place = self.server.place
        stop = ("stop", "-D", place.data.name, "-m", mode, "-w")
        await asyncio.to_thread(place.command, "pg_ctl", *stop)

    def remove(self) -> None:
        """Stop the server and delete its data."""
        self.server.remove()

    def url(self, role: str, database: str) -> str:
        """Say how to reach a database as a role."""
        return f"postgresql://{role}@/{database}?host={self.server.place.sockets}"

    @contextlib.asynccontextmanager
    async def seen(self, database: str = "postgres") -> AsyncIterator[asyncpg.Connection]:
        """Open a connection that looks at all accounts at once, past every rule."""
        async with connected({"dsn": self.url("postgres", database)}) as connection:
            yield connection

    async def create(self, database: str) -> None:
        """Make an empty database of the owner's."""
        async with self.seen() as connection:
            await connection.execute(f"CREATE DATABASE {database} OWNER tutti_owner")


class Demo(msgspec.Struct, frozen=True):
    """What `tutti demo` says that it made, as far as it is of use here."""

    accounts: dict[str, str]
    access_token: str
    other_access_token: str
    machine_client_id: str
    machine_client_secret: str
    public_client_id: str
    email: str
    password: str


class Account(msgspec.Struct, frozen=True):
    """An account and the token of its administrator."""

    id: str
    token: str

    @property
    def url(self) -> str:
        """Where the account's resources are."""
        return f"/v1/accounts/{self.id}"


class Cell:
    """One database with the demo data, and the processes that serve and work on it."""

    demo: Demo
    acme: Account
    globex: Account

    def __init__(self, postgres: Postgres, database: str, **settings: str) -> None:
        self.postgres = postgres
        self.database = database
        self.log = postgres.folder / f"{database}.log"
        self.environment = environment(postgres, database) | settings
        self._processes: list[subprocess.Popen[bytes]] = []

    async def prepare(self) -> None:
        """Make the database, its tables and the demo data."""
        await self.postgres.create(self.database)
        self.demo = demo = msgspec.json.decode(await self.run("demo", "--json"), type=Demo)
        self.acme = Account(demo.accounts["Acme"], demo.access_token)
        self.globex = Account(demo.accounts["Globex"], demo.other_access_token)

    async def run(self, *verb: str) -> bytes:
        """Run a verb to its end and return what it prints.

        Raises:
            RuntimeError: it failed; the log says why.
        """
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(str(TUTTI), *verb),
                env=self.environment,
                cwd=self.postgres.folder,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        output, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"tutti {' '.join(verb)} failed: {self.log.read_text()[-2000:]}")
        return output

    def start(self, *verb: str, log: str | None = None) -> subprocess.Popen[bytes]:
        """Start a process that runs until the cell ends, or somebody kills it; `log` names a log of its own."""
        path = self.log if log is None else self.log.with_name(f"{log}.log")
        with path.open("ab") as log_file:
            process = subprocess.Popen(
                [TUTTI, *verb],
                env=self.environment,
                cwd=self.postgres.folder,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
            )
        self._processes.append(process)
        return process

    async def serve(self, *options: str) -> int:
        """Start a process that serves; return its port once it is ready."""
        port = free_port()
        self.start("serve", "--port", str(port), *options)
        await self.ready(port)
        return port

    async def ready(self, port: int) -> None:
        """Wait until the service is ready behind a port.

        Raises:
            RuntimeError: it is not in time; the log says why.
        """
        until = time.monotonic() + START_SECONDS
        async with httpx.AsyncClient() as client:
            while time.monotonic() < until:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200:
                        return
                await asyncio.sleep(0.05)
        raise RuntimeError(f"The service did not start: {self.log.read_text()[-2000:]}")

    async def publish(self, port: int, account: Account, document: Mapping[str, Any]) -> str:
        """Create a workflow and publish it; return its URL path."""
        headers = {"Authorization": f"Bearer {account.token}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
            created = await client.post(f"{account.url}/workflows", json=document)
            if created.is_error:
                raise RuntimeError(f"The definition is refused: {created.text}")
            url = created.headers["location"]
            (await client.post(f"{url}/actions/publish")).raise_for_status()
        return httpx.URL(url).path

    @contextlib.asynccontextmanager
    async def rows(self) -> AsyncIterator[asyncpg.Connection]:
        """Open a connection that looks at the rows of all accounts."""
        async with self.postgres.seen(self.database) as connection:
            yield connection

    def end(self) -> None:
        """Stop every process that is still there."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()


def environment(postgres: Postgres, database: str) -> dict[str, str]:
    """Write the settings that name a database, and nothing of what the caller has set."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return kept | {
        "DATABASE_URL": postgres.url("tutti_app", database),
        "TUTTI_OWNER_DATABASE_URL": postgres.url("tutti_owner", database),
        "TUTTI_METRICS_DIR": str(postgres.folder / f"{database}.figures"),
    }


def use(postgres: Postgres, database: str) -> None:
    """Have this process itself use a database, whichever it has used before."""
    os.environ.update(environment(postgres, database))
    settings.cache_clear()
    engine().config = settings().database.application


def lives(pid: str) -> bool:
    """Say whether a process is there, and more than a name that nobody has collected yet."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
