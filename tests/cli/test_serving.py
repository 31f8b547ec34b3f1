"""`tutti serve` and `tutti worker`: how they start, what they need, and how they end."""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from service.cli.garbage import MADE
from service.telemetry.sharing import locked
from tenancy.embedded import EmbeddedServer
from tests.cell import free_port
from tests.cli.shell import LIMIT, WAITING, Shell, processes_of, write
from tests.waiting import blocked_until

STOP_LIMIT = 10  # seconds that the service may take to stop


def test_serve_on_a_port_in_use_is_refused(shell: Shell) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port}" in shell.refused("serve", "--port", str(port))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_starts_again_after_it_was_killed_and_stops_at_sigterm_leaving_nothing(
    lone: Shell, workers: str
) -> None:
    lone.json("migrate")
    port = str(free_port())
    killed = lone.start("serve", "--port", port, "--workers", workers)
    ready(port, lone)
    killed.kill()
    killed.wait()
    blocked_until(lambda: all("postgres" in name for name in processes_of(lone)), LIMIT)
    again = lone.start("serve", "--port", port, "--workers", workers)
    ready(port, lone)
    assert get(port, "/healthz") == (200, {"status": "ok"})
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}"
    ) as probe:  # on one connection, which a body would break
        for path in ("/healthz", "/readyz") * 2:
            answer = probe.head(path)
            assert (answer.status_code, answer.content, int(answer.headers["content-length"]) > 0) == (
                200,
                b"",
                True,
            )
    stop_while_figures_are_kept(again, port, Path(lone.environment["TUTTI_METRICS_DIR"]))
    assert list(processes_of(lone)) == []
    for line in lone.log().splitlines():
        assert not line.startswith("{") or msgspec.json.decode(line)["level"] != "error", line
    assert (
        f"warning links in answers lead to http://127.0.0.1:8000; if clients come to port {port}"
        in lone.log()
    )


def test_a_server_process_that_is_stopped_is_killed_in_time(shell: Shell) -> None:
    port = str(free_port())
    service = shell.start("serve", "--port", port, "--workers", "2")
    ready(port, shell)
    stopped = next(one for one in children_of(service.pid) if b"spawn_main" in one[1])[0]
    os.kill(stopped, signal.SIGSTOP)
    time.sleep(0.7)  # by then the service waits for a sign of life of it
    began = time.monotonic()
    stop(service)
    assert STOP_LIMIT / 2 < time.monotonic() - began < STOP_LIMIT
    assert service.returncode == 0
    assert not Path("/proc", str(stopped)).exists()
    assert f"process {stopped} did not end and was killed" in shell.log()


def children_of(process: int) -> Iterator[tuple[int, bytes]]:
    """List the processes that a process has made, with their commands."""
    for made in Path("/proc", str(process), "task", str(process), "children").read_text().split():
        yield int(made), Path("/proc", made, "cmdline").read_bytes()


@contextlib.contextmanager
def nobody_starts(server: EmbeddedServer) -> Iterator[None]:
    """Keep the service from starting its server again while the block runs."""
    with (server.place.data.parent / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_readyz_says_what_is_missing_and_a_database_that_died_is_started_again(lone: Shell) -> None:
    lone.json("migrate")
    server = EmbeddedServer(lone.data)
    port = str(free_port())
    lone.start("serve", "--port", port)
    ready(port, lone)
    sql(server, "DELETE FROM migration WHERE app_name = 'service'")
    blocked_until(lambda: get(port, "/readyz")[0] == HTTPStatus.SERVICE_UNAVAILABLE, LIMIT)
    assert "tutti migrate" in get(port, "/readyz")[1]["reason"]
    with nobody_starts(server):
        server.place.command("pg_ctl", "stop", "-D", str(server.place.data), "-m", "immediate", "-w")
        blocked_until(lambda: "not reachable" in get(port, "/readyz")[1]["reason"], LIMIT)
        assert get(port, "/healthz") == (200, {"status": "ok"})
    blocked_until(
        lambda: "tutti migrate" in get(port, "/readyz")[1]["reason"], LIMIT
    )  # by then it runs again
    with nobody_starts(server):
        os.kill(int((server.place.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        blocked_until(lambda: "not reachable" in get(port, "/readyz")[1]["reason"], LIMIT)
    blocked_until(lambda: "tutti migrate" in get(port, "/readyz")[1]["reason"], LIMIT)
    assert lone.log().count("was started again") == 2


def test_worker_runs_what_a_service_without_one_takes_in(shell: Shell, account: UUID) -> None:
    email = f"{uuid4().hex}@tutti.example"
    user = shell.json("user", "create", email, "--name", "Ada", "--account", account)["user_id"]
    token = shell.json("token", "issue", "--account", account, "--user", user)["access_token"]
    published = write(shell, "waiting.yaml", WAITING)
    workflow = shell.json("workflow", "publish", published, "--account", account)["workflow_id"]
    port = str(free_port())
    service = shell.start("serve", "--port", port, "--no-worker")
    ready(port, shell)
    url = f"http://127.0.0.1:{port}/v1/accounts/{account}/workflows/{workflow}"
    headers = {"Authorization": f"Bearer {token}"}
    body = {"instance_name": "one", "trigger_inputs": {"who": "Ada"}}
    with httpx.Client(headers=headers, timeout=LIMIT) as client:
        started = client.post(f"{url}/actions/trigger", json=body).raise_for_status().json()
        instance = f"{url}/instances/{started['instance_id']}"
        time.sleep(1)
        assert client.get(instance).json()["workflow_status"] == "In Progress"  # nobody runs it
        worker = shell.start("worker")
        blocked_until(lambda: client.get(instance).json()["workflow_status"] == "Completed", LIMIT)
        assert client.get(instance).json()["output"] == {"text": "Hello, Ada"}
    stop(worker)
    stop(service)
    assert token not in shell.log()


def test_a_process_that_serves_looks_for_garbage_seldom_and_never_at_its_own_code(tmp_path: Path) -> None:
    told = """
import gc
from service.cli import serving
serving.application_without_worker()
print(gc.get_threshold()[0], gc.get_freeze_count())
"""
    environment = {"TUTTI_DATA_DIR": str(tmp_path / "data"), "TUTTI_METRICS_DIR": str(tmp_path / "figures")}
    printed = subprocess.run(
        [sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=True
    )
    made, kept = map(int, printed.stdout.split())
    assert made == MADE
    assert kept > 100_000


def get(port: str, path: str) -> tuple[int, Any]:
    """Ask the service."""
    answer = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=LIMIT)
    return answer.status_code, answer.json()


def ready(port: str, shell: Shell) -> None:
    """Wait until the service can serve."""

    def is_ready() -> bool:
        assert all(process.poll() is None for process in shell.background[-1:]), shell.log()
        with contextlib.suppress(httpx.TransportError):
            return get(port, "/readyz") == (200, {"status": "ready"})
        return False

    blocked_until(is_ready, LIMIT)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Tell a background process to stop, and see that it does, in time."""
    process.send_signal(signal.SIGTERM)
    process.wait(STOP_LIMIT)
    assert process.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM)


def stop_while_figures_are_kept(process: subprocess.Popen[bytes], port: str, folder: Path) -> None:
    """Have another process keep the figures to itself: who asks for them is told so, and the stop does not wait for it."""
    told = f"Process {os.getpid()} keeps the folder of the figures"
    with (
        locked(folder, 1),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=LIMIT) as client,
        ThreadPoolExecutor(4) as callers,
    ):
        for answer in callers.map(client.get, ["/metrics"] * 4):
            assert (answer.status_code, answer.text[: len(told)]) == (HTTPStatus.SERVICE_UNAVAILABLE, told)
        under_way = [callers.submit(client.get, "/metrics") for _ in range(4)]
        time.sleep(0.3)
        stop(process)
        assert process.returncode == 0
        for one in under_way:
            assert isinstance(one.exception(), httpx.TransportError | None)


def sql(server: EmbeddedServer, statement: str) -> None:
    """Run a statement as the server's superuser."""
    program = [str(server.place.binaries / "psql"), "-qX", "-h", str(server.place.sockets)]
    subprocess.run([*program, "-U", "postgres", "-d", "tutti", "-c", statement], check=True, env={})
