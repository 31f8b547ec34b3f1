"""A whole service as its operator runs it: two processes that serve, one that works, and the servers outside that they call."""

import asyncio
import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from service.telemetry import sharing
from tests.cell import Cell, Postgres
from tests.telemetry.receiver import Receiver, receiving

LIMIT = 45.0  # seconds; generous, for the machine may be busy
KEYS = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
METRICS_TOKEN = "operators-token-4f1d"
MAIL_PASSWORD = "mail-password-8c2e"
ECHOED = "told-by-the-server-outside-77aa"


class Outside:
    """A server that the service calls: it keeps the headers of each request, and fails where its path says so."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.url = ""


@contextlib.contextmanager
def outside() -> Iterator[Outside]:
    """Answer calls and webhooks for as long as the block runs."""
    server = Outside()

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            server.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            body = json.dumps({"said": ECHOED}).encode()
            self.send_response(500 if "fail" in self.path else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815 - the library's own

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's own
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as listening:
        server.url = f"http://127.0.0.1:{listening.server_address[1]}"
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield server
        listening.shutdown()


class Service(msgspec.Struct):
    """What runs, and a client of it that is Acme's administrator."""

    cell: Cell
    port: int
    folder: Path
    receiver: Receiver
    outside: Outside
    client: httpx.Client
    working: subprocess.Popen[bytes]

    @property
    def acme(self) -> str:
        """Where the account's resources are."""
        return self.cell.acme.url

    def published(self, document: dict[str, Any]) -> str:
        """Publish a workflow; return where it is."""
        created = self.client.post(f"{self.acme}/workflows", json=document)
        assert created.status_code == 201, created.text
        url = httpx.URL(created.headers["location"]).path
        self.client.post(f"{url}/actions/publish").raise_for_status()
        return url

    def triggered(self, workflow: str, name: str = "test", **inputs: Any) -> str:
        """Trigger a workflow; return the id of the instance."""
        body = {"instance_name": name, "trigger_inputs": inputs}
        answer = self.client.post(f"{workflow}/actions/trigger", json=body)
        assert answer.status_code == 201, answer.text
        found: str = answer.json()["instance_id"]
        return found

    def ended(self, workflow: str, instance: str) -> dict[str, Any]:
        """Wait until an instance has ended."""
        found: dict[str, Any] = {}

        def is_over() -> bool:
            found.update(self.client.get(f"{workflow}/instances/{instance}").json())
            return found["workflow_status"] in ("Completed", "Failed", "Canceled")

        until(is_over)
        return found

    def figures(self) -> dict[str, float]:
        """Read the figures of all processes, by name and labels; each scrape is a connection of its own."""
        answer = httpx.get(f"http://127.0.0.1:{self.port}/metrics")
        assert answer.status_code == 200
        return {
            f"{sample.name}{sorted(sample.labels.items())}": sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }

    def log(self) -> str:
        """All that its processes have written."""
        return self.cell.log.read_text(errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        """Its log lines."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Be a process that reads the figures' folder, and does not come to an end while the block runs."""
    with sharing.locked(folder, 0.0):
        yield


def until(happened: Callable[[], object], told: Callable[[], object] = str) -> None:
    """Wait for something that nobody tells of; `told` says what there is instead."""
    end = time.monotonic() + LIMIT
    while not happened():
        assert time.monotonic() < end, f"it never happened: {told()}"
        time.sleep(0.1)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Service]:
    """Run the whole service for as long as the block runs."""
    postgres = Postgres(folder)
    with receiving() as receiver, outside() as other, contextlib.ExitStack() as ends:
        ends.callback(postgres.remove)
        asyncio.run(postgres.start())
        cell = Cell(
            postgres,
            "telling",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
            OTEL_BSP_SCHEDULE_DELAY="100",
            TUTTI_EGRESS_ALLOW="127.0.0.0/8",
            TUTTI_LOG_LEVEL="debug",
            TUTTI_METRICS_DIR=str(folder / "figures"),
            TUTTI_METRICS_TOKEN=METRICS_TOKEN,
            TUTTI_SANDBOX_PROCESSES="1",
            TUTTI_SECRET_KEYS=KEYS,
            TUTTI_SMTP_URL=f"smtp://robot:{MAIL_PASSWORD}@127.0.0.1:1",
            TUTTI_SMTP_FROM="tutti@tutti.example",
        )
        ends.callback(cell.end)

        async def started() -> int:
            await cell.prepare()
            return await cell.serve("--workers", "2", "--no-worker")

        port = asyncio.run(started())
        working = cell.start("worker")
        client = ends.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=LIMIT))
        client.headers["authorization"] = f"Bearer {cell.acme.token}"
        yield Service(cell, port, folder, receiver, other, client, working)
