"""A service of several processes tells its operator one truth: figures of all, traces across them, and lines without secrets."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.telemetry.exporting import FLUSH_SECONDS
from tests.cell import TUTTI, free_port
from tests.telemetry.planting import ADDRESS, BREAKING, MENDED, PLANTED, plant
from tests.telemetry.receiver import attributes
from tests.telemetry.service import Service, running, until

STOP_SECONDS = (
    5  # that all else of a stop may take on a busy machine; the library itself would wait for 10 and more
)
LAST = "0af7651916cd43dd8448eb211c80319c"
CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"  # a trace of a caller's own


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service, for all tests of this file."""
    with running(tmp_path_factory.mktemp("telling")) as found:
        yield found


def document(name: str, *tasks: dict[str, Any], **rest: Any) -> dict[str, Any]:
    """A workflow's definition."""
    about = {"dsl": "1.0.3", "namespace": "tests", "name": name, "version": "1.0.0"}
    return {"document": about, "do": list(tasks), **rest}


def calling(url: str, **arguments: Any) -> dict[str, Any]:
    """A task that calls an address."""
    return {"call": "http", "with": {"method": "post", "endpoint": url, **arguments}}


# --- Figures ----------------------------------------------------------------------------------------------------------


def test_figures_are_those_of_all_processes_whichever_is_asked_and_outlive_them(service: Service) -> None:
    workflow = service.published(
        document("plain", {"wait": {"wait": {"milliseconds": 50}}}, {"one": {"set": {"a": 1}}})
    )
    until(lambda: living(service) == 3)
    before = service.figures()
    for instance in [service.triggered(workflow) for _ in range(6)]:
        service.ended(workflow, instance)
    triggers = (
        "tutti_http_requests_total[('method', 'POST'), ('route', '/v1/accounts/{accountId}/workflows/{workflowId}"
        "/actions/trigger'), ('status', '201')]"
    )
    waits = "tutti_task_duration_seconds_count[('status', 'completed'), ('type', 'wait')]"
    ended = "tutti_instances_ended_total[('state', 'completed')]"
    found: dict[str, float] = {}
    until(lambda: service.figures().get(ended, 0) - before.get(ended, 0) == 6)  # counted behind its commit
    for _ in range(8):  # whichever process takes the connection
        found = service.figures()
        assert [found[name] - before.get(name, 0) for name in (triggers, waits, ended)] == [6, 6, 6]
    assert found["tutti_sandbox_places[('state', 'size')]"] == 3
    assert found["tutti_database_connections[('state', 'open')]"] >= 6
    assert found["tutti_token_checks_total[('outcome', 'ok')]"] >= 6
    service.working.kill()  # what it has counted stays, and its files are taken away
    service.working.wait()
    found = service.figures()
    assert [found[name] - before.get(name, 0) for name in (waits, ended)] == [6, 6]
    assert living(service) == 2
    figures = service.folder / "figures"
    assert len(list(figures.glob("*.lives"))) == 2
    assert len(list(figures.glob("counter_*.db"))) == 3  # of two that live, and of those that have ended
    service.working = service.cell.start("worker")
    until(lambda: living(service) == 3)
    assert (figures.stat().st_mode & 0o777) == 0o700


def living(service: Service) -> int:
    """How many processes tell of themselves."""
    return len([name for name in service.figures() if "'resident_memory_bytes'" in name])


def test_readyz_says_that_nobody_works_and_is_ready_when_somebody_does(service: Service) -> None:
    service.working.send_signal(signal.SIGSTOP)
    try:
        asyncio.run(late(service, "perform"))
        until(lambda: service.client.get("/readyz").status_code == 503)
        reason = service.client.get("/readyz").json()["reason"]
        assert "calls and the like" in reason
        assert "nobody takes any" in reason
        assert service.client.get("/healthz").status_code == 200
    finally:
        service.working.send_signal(signal.SIGCONT)
    until(lambda: service.client.get("/readyz").status_code == 200)


async def late(service: Service, lane: str) -> None:
    """Write a job that has been due for an hour, of an instance that there is not."""
    async with service.cell.rows() as connection:
        await connection.execute(
            "INSERT INTO job (account_id, instance_id, lane, reason, wait, queued_at)"
            " VALUES ($1, gen_random_uuid(), $2, 'call', 1, now() - interval '1 hour')",
            service.cell.acme.id,
            lane,
        )


# --- Traces -----------------------------------------------------------------------------------------------------------


def test_a_trace_follows_an_instance_through_call_wait_child_and_webhook_across_processes(
    service: Service,
) -> None:
    service.published(document("child", {"inner": {"set": {"a": 1}}}))
    workflow = service.published(
        document(
            "parent",
            {"ask": calling(f"{service.outside.url}/ok?key=in-the-address")},
            {"pause": {"wait": {"milliseconds": 60}}},
            {"start": {"run": {"workflow": {"namespace": "tests", "name": "child", "version": "1.0.0"}}}},
        )
    )
    hook = service.client.post(
        f"{service.acme}/webhooks",
        json={"url": f"{service.outside.url}/hook", "event_types": ["instance.completed"]},
    )
    assert hook.status_code == 201, hook.text
    parent = {"traceparent": f"00-{CALLER}-00f067aa0ba902b7-01", "tracestate": "planted=in-tracestate"}
    answer = service.client.post(
        f"{workflow}/actions/trigger", json={"instance_name": "one", "trigger_inputs": {}}, headers=parent
    )
    instance = answer.json()["instance_id"]
    assert service.ended(workflow, instance)["workflow_status"] == "Completed"
    trace_id = instance.replace("-", "")

    def named(name: str) -> list[Span]:
        return [span for span in service.receiver.of(trace_id) if span.name == name]

    wanted = (
        "instance started",
        "task call",
        "task wait",
        "task run",
        "advance call",
        "advance timer",
        "advance child",
        "run workflow",
    )
    until(
        lambda: all(named(name) for name in wanted) and len(named("POST")) == 2,
        lambda: [span.name for span in service.receiver.of(trace_id)],
    )
    (root,) = named("instance started")
    for name in ("task call", "task wait", "task run", "advance call", "advance timer", "advance child"):
        (span,) = named(name)
        assert span.parent_span_id == root.span_id, name
    (task,), (wait,), (run,) = named("task call"), named("task wait"), named("task run")
    assert wait.end_time_unix_nano - wait.start_time_unix_nano >= 60_000_000
    call, delivery = named("POST")
    assert (call.parent_span_id, delivery.parent_span_id) == (task.span_id, root.span_id)
    assert call.kind == delivery.kind == Span.SPAN_KIND_CLIENT
    assert attributes(call) == {
        "http.request.method": "POST",
        "server.address": "127.0.0.1",
        "server.port": int(service.outside.url.rpartition(":")[2]),
        "http.response.status_code": 200,
    }
    carried = {(path.partition("?")[0], headers["traceparent"]) for path, headers in service.outside.requests}
    assert ("/ok", f"00-{trace_id}-{call.span_id.hex()}-01") in carried
    assert (
        "/hook",
        f"00-{trace_id}-{delivery.span_id.hex()}-01",
    ) in carried  # the child's end is told there as well
    assert attributes(delivery) == {
        "http.request.method": "POST",
        "tutti.webhook.id": hook.json()["id"],
        "http.response.status_code": 200,
    }
    assert not [headers for _, headers in service.outside.requests if "tracestate" in headers]

    (begun,) = named("run workflow")
    assert begun.parent_span_id == run.span_id
    (link,) = begun.links  # to the child, whose trace is its own
    until(lambda: len(service.receiver.of(link.trace_id.hex())) >= 3)
    child = service.receiver.of(link.trace_id.hex())
    (childs_root,) = [span for span in child if span.name == "instance started"]
    assert childs_root.span_id == link.span_id
    assert [(one.trace_id, one.span_id) for one in childs_root.links] == [(begun.trace_id, begun.span_id)]
    assert "task set" in {span.name for span in child}

    until(lambda: service.receiver.of(CALLER))
    (request,) = service.receiver.of(CALLER)
    assert request.kind == Span.SPAN_KIND_SERVER
    assert request.parent_span_id.hex() == "00f067aa0ba902b7"
    assert request.name == "POST /v1/accounts/{accountId}/workflows/{workflowId}/actions/trigger"
    assert attributes(request)["http.response.status_code"] == 201
    assert [(one.trace_id.hex(), one.span_id) for one in request.links] == [(trace_id, root.span_id)]
    assert [(one.trace_id, one.span_id) for one in root.links] == [(request.trace_id, request.span_id)]
    assert request.trace_state == ""
    assert {one["service.name"] for one in service.receiver.resources} == {"tutti"}
    lines = [line for line in service.lines() if line.get("trace_id") == trace_id]
    assert lines
    assert {line["instance_id"] for line in lines} == {instance}


def test_a_trace_goes_on_after_a_worker_was_killed(service: Service) -> None:
    workflow = service.published(
        document(
            "long", {"pause": {"wait": {"seconds": 2}}}, {"ask": calling(f"{service.outside.url}/after")}
        )
    )
    instance = service.triggered(workflow)
    service.working.kill()
    service.working.wait()
    service.working = service.cell.start("worker")
    assert service.ended(workflow, instance)["workflow_status"] == "Completed"
    trace_id = instance.replace("-", "")
    until(
        lambda: (
            {"advance timer", "task wait", "POST"} <= {span.name for span in service.receiver.of(trace_id)}
        )
    )
    (root,) = [span for span in service.receiver.of(trace_id) if span.name == "instance started"]
    ids = {span.span_id for span in service.receiver.of(trace_id)}
    until(lambda: {"task call"} <= {span.name for span in service.receiver.of(trace_id)})
    ids = {span.span_id for span in service.receiver.of(trace_id)}
    assert {span.parent_span_id for span in service.receiver.of(trace_id)} - ids == {root.parent_span_id}


def test_a_webhook_that_is_told_of_no_instance_sees_no_trace(service: Service) -> None:
    hook = {"url": f"{service.outside.url}/account", "event_types": ["secret.*"]}
    service.client.post(f"{service.acme}/webhooks", json=hook).raise_for_status()
    set_secret = (TUTTI, "secret", "set", "told", "--account", service.cell.acme.id)
    subprocess.run(set_secret, env=service.cell.environment, input=b"value", check=True)
    until(lambda: [path for path, _ in service.outside.requests if path == "/account"])
    ((_, headers),) = [one for one in service.outside.requests if one[0] == "/account"]
    assert "webhook-signature" in headers
    assert "traceparent" not in headers


def test_a_process_that_is_told_to_stop_sends_its_last_spans_and_waits_for_no_receiver_that_is_silent(
    service: Service,
) -> None:
    never = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}  # but at the end
    with socket.create_server(("127.0.0.1", 0)) as silent:
        to_nobody = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        with serving(service, **never) as sending, serving(service, **never, **to_nobody) as hanging:
            for port, trace_id in ((sending[0], LAST), (hanging[0], CALLER)):
                asyncio.run(service.cell.ready(port))
                headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
                httpx.get(f"http://127.0.0.1:{port}/healthz", headers=headers).raise_for_status()
            assert service.receiver.of(LAST) == []
            took = [stopped(process) for _, process in (sending, hanging)]
        silent.settimeout(0.1)
        silent.accept()[0].close()  # it was tried
    (span,) = service.receiver.of(LAST)
    assert span.name == "GET /healthz"
    assert took[1] < FLUSH_SECONDS + STOP_SECONDS, took


@contextlib.contextmanager
def serving(service: Service, **settings: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Start another process that serves, with settings of its own, for as long as the block runs."""
    port, before = free_port(), service.cell.environment
    service.cell.environment = before | settings
    try:
        process = service.cell.start("serve", "--no-worker", "--port", str(port))
        yield port, process
    finally:
        service.cell.environment = before
        process.kill()
        process.wait()


def stopped(process: subprocess.Popen[bytes]) -> float:
    """Tell a process to stop; return how many seconds it takes until it is gone."""
    began = time.monotonic()
    process.terminate()
    process.wait(30)
    return time.monotonic() - began


# --- Log lines --------------------------------------------------------------------------------------------------------


async def change(service: Service, statements: str) -> None:
    """Change the service's database behind its back."""
    async with service.cell.rows() as connection:
        await connection.execute(statements)


def test_nothing_that_was_planted_is_in_a_log_line_a_figure_or_a_trace(service: Service) -> None:
    asyncio.run(change(service, BREAKING))
    try:
        made = plant(service)
        until(
            lambda: broken(service) >= {"tutti.worker", "tutti.maestro", "tutti.webhooks"},
            lambda: broken(service),
        )
    finally:
        asyncio.run(change(service, MENDED))
    written = service.log()
    figures = httpx.get(f"http://127.0.0.1:{service.port}/metrics").text
    traces = service.receiver.raw.decode("latin-1")
    planted_by = [path for path, _ in service.outside.requests]
    assert any(ADDRESS in path for path in planted_by)  # so it has been sent
    for secret in (*PLANTED, *made):
        for where, text in (("log", written), ("figures", figures), ("traces", traces)):
            assert secret not in text, f"{secret} is in the {where}: {around(secret, text)}"
    lines = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    failed = next(line for line in lines if line["logger"] == "tutti.maestro" and line["level"] == "error")
    assert failed["error"].startswith(
        "asyncpg.exceptions.CheckViolationError (sqlstate=23514, constraint_name=breaks_"
    )
    assert "service/operations/" in failed["traceback"]
    assert {"request_id", "account_id", "trace_id"} <= failed.keys()
    worker = next(line for line in lines if line["logger"] == "tutti.worker" and "traceback" in line)
    assert worker["account_id"] == service.cell.acme.id
    asked = [line for line in lines if line["logger"] == "tutti.access"]
    assert {line["status"] for line in asked} >= {200, 201, 400, 401, 404, 500}
    assert {"method", "route", "status", "duration_ms", "request_id"} <= asked[0].keys()
    assert "unrouted" in {line["route"] for line in asked}


def broken(service: Service) -> set[str]:
    """Which parts of the service have told of a failure."""
    return {line["logger"] for line in service.lines() if line["level"] in ("warning", "error")}


def around(secret: str, text: str) -> str:
    """Where a secret stands."""
    place = text.index(secret)
    return text[max(0, place - 300) : place + 100]
