"""The part of tracing that needs the SDK: how spans get their ids, which traces are taken, and where they are sent."""

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.stopping import left

VERSION = "0.1.0"
FLUSH_SECONDS = 2.0  # for what is left when the process is told to stop

_chosen: ContextVar[tuple[int, int] | None] = ContextVar("chosen_ids", default=None)


class Ids(RandomIdGenerator):
    """Random ids, but where an instance's trace and a span that every process can name are told."""

    def generate_trace_id(self) -> int:
        """The id of a new trace."""
        chosen = _chosen.get()
        return super().generate_trace_id() if chosen is None else chosen[0]

    def generate_span_id(self) -> int:
        """The id of a new span."""
        chosen = _chosen.get()
        return super().generate_span_id() if chosen is None else chosen[1]

    def is_trace_id_random(self) -> bool:
        """Whether all bits are random, as those of a UUID are not."""
        return _chosen.get() is None


class Evenly(Sampler):
    """Decides as another sampler does, which goes by bits of the trace's id that are always the same in UUIDs."""

    def __init__(self, inner: Sampler) -> None:
        self._inner = inner

    def should_sample(
        self, parent_context: Context | None, trace_id: int, name: str, *rest: Any, **named: Any
    ) -> SamplingResult:
        """Decide by the id's digest."""
        return self._inner.should_sample(parent_context, digest(trace_id), name, *rest, **named)

    def get_description(self) -> str:
        """Name it."""
        return self._inner.get_description()


def digest(trace_id: int) -> int:
    """Sixteen bytes in which each bit is as likely as any other."""
    return int.from_bytes(hashlib.blake2b(trace_id.to_bytes(16), digest_size=16).digest())


class Exporting:
    """Sends spans to where the standard variables `OTEL_…` say."""

    def __init__(self) -> None:
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "tutti"}
        provider = TracerProvider(
            resource=Resource.create({"service.version": VERSION, **named}),
            id_generator=Ids(),
            shutdown_on_exit=False,
        )
        provider.sampler = Evenly(provider.sampler)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._provider = provider
        self._propagator = TraceContextTextMapPropagator()
        self.tracer = provider.get_tracer("tutti", VERSION)

    def takes(self, instance_id: UUID) -> bool:
        """Whether an instance's trace is taken: every process comes to the same."""
        decision = self._provider.sampler.should_sample(None, instance_id.int, "instance").decision
        return decision is Decision.RECORD_AND_SAMPLE

    @contextlib.contextmanager
    def chosen(self, trace_id: int, span_id: int) -> Iterator[None]:
        """Give the next span these ids."""
        token = _chosen.set((trace_id, span_id))
        try:
            yield
        finally:
            _chosen.reset(token)

    def parent_of(self, headers: Iterable[tuple[bytes, bytes]]) -> Context:
        """The context of a request: that of its `traceparent`, if it has a good one."""
        found = next((value for name, value in headers if name == b"traceparent"), None)
        if found is None:
            return Context()
        return self._propagator.extract({"traceparent": found.decode("latin-1")}, Context())

    def close(self) -> None:
        """Send what is left, if that is possible in two seconds; the library itself waits for longer than it is told to."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(left(FLUSH_SECONDS))
