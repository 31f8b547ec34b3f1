"""Traces by OpenTelemetry: an instance is a trace whose id is its own, so every process knows where its spans belong.

Off unless `OTEL_EXPORTER_OTLP_ENDPOINT` is set: then nothing of the library's SDK is imported, and each place that would
tell something looks at one name. Ids, kinds, counts and statuses are told; nothing that people or servers wrote.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags

from service.telemetry.metrics import METHODS

if TYPE_CHECKING:  # imported where traces are sent
    from service.telemetry.exporting import Exporting

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
ROOT = b"root"
CURRENT = "00-{:032x}-{:016x}-{:02x}"  # traceparent (W3C Trace Context)

_exporting: "Exporting | None" = None
# What a caller says of the trace that it belongs to; its `tracestate` is not taken, as it may hold anything.
_request: ContextVar[Span | None] = ContextVar("request_span", default=None)


def begin() -> None:
    """Send traces from now on, if the environment says where to."""
    global _exporting  # noqa: PLW0603 - the process has one, or none
    if os.environ.get(ENDPOINT) and _exporting is None:
        from service.telemetry.exporting import Exporting  # noqa: PLC0415 - its import takes a tenth of a second

        _exporting = Exporting()


def end() -> None:
    """Send what is left, and no more."""
    global _exporting  # noqa: PLW0603 - as above
    if _exporting is not None:
        _exporting.close()
        _exporting = None


def is_on() -> bool:
    """Whether traces are sent."""
    return _exporting is not None


def trace_id_of(instance_id: UUID | None) -> str | None:
    """The id of the trace that the present work belongs to, as hexadecimal digits."""
    if _exporting is None:
        return None
    if instance_id is not None:
        return instance_id.hex
    span = _request.get()
    return None if span is None else f"{span.get_span_context().trace_id:032x}"


# --- Ids --------------------------------------------------------------------------------------------------------------


def span_id(instance_id: UUID, what: bytes) -> int:
    """The id of a span of an instance that every process can name: the root's, or that of a run of a task."""
    return int.from_bytes(hashlib.blake2b(instance_id.bytes + what, digest_size=8).digest()) or 1


def number_of(number: int) -> bytes:
    """The name of a task's run among the spans of its instance."""
    return number.to_bytes(8)


def of_instance(instance_id: UUID, what: bytes = ROOT) -> SpanContext:
    """A span of an instance as a parent, wherever it is or will be told."""
    assert _exporting is not None  # noqa: S101 - only asked for where traces are sent
    flags = TraceFlags.SAMPLED if _exporting.takes(instance_id) else TraceFlags.DEFAULT
    return SpanContext(
        instance_id.int, span_id(instance_id, what), is_remote=True, trace_flags=TraceFlags(flags)
    )


def below(parent: SpanContext) -> Context:
    """The context of what happens below a span."""
    return trace.set_span_in_context(NonRecordingSpan(parent), Context())


# --- Requests ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def request(scope: Mapping[str, Any], status: Callable[[], int]) -> Iterator[None]:
    """Trace a request; `status` gives that of its answer when it is over, 0 if there was none."""
    if _exporting is None:
        yield
        return
    with contextlib.ExitStack() as ends:
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        span = _exporting.tracer.start_span(
            method, _exporting.parent_of(scope["headers"]), SpanKind.SERVER, {"http.request.method": method}
        )
        ends.callback(span.end)
        ends.enter_context(trace.use_span(span, record_exception=False, set_status_on_exception=False))
        token = _request.set(span)
        ends.callback(_request.reset, token)
        try:
            yield
        finally:
            describe_request(span, method, scope, status())


def describe_request(span: Span, method: str, scope: Mapping[str, Any], status: int) -> None:
    """Say what a request was: its route and not its path, in which callers may write anything."""
    route = scope.get("path_template")
    span.set_attribute("url.scheme", scope["scheme"])
    span.set_attribute("network.protocol.version", scope.get("http_version", "1.1"))
    if route:
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
    if status:
        span.set_attribute("http.response.status_code", status)
    if status >= 500 or not status:
        span.set_attribute("error.type", str(status) if status else "aborted")
        span.set_status(trace.StatusCode.ERROR)


# --- Instances --------------------------------------------------------------------------------------------------------


def started(account_id: UUID, workflow_id: UUID, instance_id: UUID, at: datetime) -> None:
    """Tell the root of an instance's trace, linked with the request or the span that has started it."""
    if _exporting is None:
        return
    cause = trace.get_current_span()
    links = [Link(cause.get_span_context())] if cause.get_span_context().is_valid else []
    with _exporting.chosen(instance_id.int, span_id(instance_id, ROOT)):
        span = _exporting.tracer.start_span(
            "instance started",
            Context(),
            attributes={
                "tutti.account.id": str(account_id),
                "tutti.workflow.id": str(workflow_id),
                "tutti.instance.id": str(instance_id),
            },
            links=links,
            start_time=nanoseconds(at),
        )
    span.end()
    if cause.is_recording():
        cause.add_link(span.get_span_context())


def runs(instance_id: UUID, rows: Iterable[Mapping[str, Any]]) -> None:
    """Tell the runs of tasks that have ended, of rows of the history."""
    if _exporting is None:
        return
    parent = below(of_instance(instance_id))
    for row in rows:
        if row["ended_at"] is None:
            continue
        with _exporting.chosen(instance_id.int, span_id(instance_id, number_of(row["number"]))):
            span = _exporting.tracer.start_span(
                f"task {row['kind']}",
                parent,
                attributes={
                    "tutti.task.type": row["kind"],
                    "tutti.task.number": row["number"],
                    "tutti.task.attempt": row["attempt"],
                    "tutti.task.status": row["status"],
                },
                start_time=nanoseconds(row["started_at"]),
            )
        if row["status"] == "faulted":
            span.set_status(trace.StatusCode.ERROR)
        span.end(nanoseconds(row["ended_at"]))


def advanced(instance_id: UUID, reason: str, sequence: int, status: str, began: float) -> None:
    """Tell an advance that was stored; `began` as `time.time`."""
    if _exporting is None:
        return
    span = _exporting.tracer.start_span(
        f"advance {reason}",
        below(of_instance(instance_id)),
        attributes={
            "tutti.advance.reason": reason,
            "tutti.advance.sequence": sequence,
            "tutti.instance.status": status,
        },
        start_time=int((began or time.time()) * 1e9),
    )
    if status == "faulted":
        span.set_status(trace.StatusCode.ERROR)
    span.end()


@contextlib.contextmanager
def performing(
    name: str, instance_id: UUID | None, key: str | None = None, *, outside: bool = True
) -> Iterator[None]:
    """Trace what is done for an instance: `key` is that of its wait, which names the run of the task (see `Pending`)."""
    if _exporting is None:
        yield
        return
    context = Context()
    if instance_id is not None:
        what = ROOT if key is None else number_of(int(key.rsplit(":", 2)[1]))
        context = below(of_instance(instance_id, what))
    with _exporting.tracer.start_as_current_span(
        name,
        context,
        SpanKind.CLIENT if outside else SpanKind.INTERNAL,
        record_exception=False,
        set_status_on_exception=False,
    ):
        yield


def describe_call(method: str, host: str | None, port: int | None) -> None:
    """Say of the present call what it is and whom it asks; not which path, where addresses keep their secrets."""
    if _exporting is not None:
        span = trace.get_current_span()
        span.update_name(method if method in METHODS else "HTTP")
        span.set_attribute("http.request.method", method if method in METHODS else "_OTHER")
        if host is not None:
            span.set_attribute("server.address", host)
        if port is not None:
            span.set_attribute("server.port", port)


def describe_delivery(webhook_id: UUID) -> None:
    """Say of the present call to which webhook it delivers; not where that is, as an account may keep its host to itself."""
    if _exporting is not None:
        span = trace.get_current_span()
        span.set_attribute("http.request.method", "POST")
        span.set_attribute("tutti.webhook.id", str(webhook_id))


def describe_answer(status: int | None, error: str | None = None) -> None:
    """Say of the present call what came of it: a status, or a kind of error."""
    if _exporting is not None:
        span = trace.get_current_span()
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        if error is not None or (status or 0) >= 400:
            span.set_attribute("error.type", error or str(status))
            span.set_status(trace.StatusCode.ERROR)


def traceparent() -> str | None:
    """The header that tells an outside server of the present span; None where no traces are sent."""
    found = trace.get_current_span().get_span_context() if _exporting is not None else None
    if found is None or not found.is_valid:
        return None
    return CURRENT.format(found.trace_id, found.span_id, found.trace_flags & TraceFlags.SAMPLED)


def carried(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Headers of a request of ours, with the present span where traces are sent."""
    present = traceparent()
    return headers if present is None else {**headers, "traceparent": present}


def nanoseconds(at: datetime) -> int:
    """A moment as spans have it."""
    return int(at.timestamp() * 1e9)
