"""The figures that processes count, and how; README.md shows them as a table, held to this file by a test.

No label has more values than the code gives it: no account, workflow or client is named, and routes by their template.
Every figure has a label, as one without would be counted before the process knows whether it shares its figures.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

UNROUTED = "unrouted"  # the route of what no route takes
UNREAD = "unread"  # the route of what its connection refused, or lost, before anybody looked for one
ABORTED = "aborted"  # the status of a request that its caller left before there was one
METHODS = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"))
REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
TASK_BUCKETS = (0.001, 0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 3600, 86_400, 604_800)
LAG_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600)

REQUESTS = Counter(
    "tutti_http_requests", "Requests that were answered, or left", ["route", "method", "status"]
)
SHED = Counter(
    "tutti_http_requests_shed",
    "Requests that were refused before anybody looked at them, as the process had no room for more",
    ["room"],
)
REQUEST_SECONDS = Histogram(
    "tutti_http_request_duration_seconds",
    "From a request's head to the end of its answer; streams last as long as they are followed",
    ["route", "method"],
    buckets=REQUEST_BUCKETS,
)
TASK_SECONDS = Histogram(
    "tutti_task_duration_seconds",
    "From when a task was entered to its end; skipped ones are left out",
    ["type", "status"],
    buckets=TASK_BUCKETS,
)
ENDED = Counter(
    "tutti_instances_ended",
    "Instances that ended by their own steps: completed, faulted, or cancelled by a denial",
    ["state"],
)
DELIVERIES = Counter("tutti_webhook_attempts", "Attempts to deliver an event to a webhook", ["outcome"])
DELIVERY_SECONDS = Histogram(
    "tutti_webhook_lag_seconds",
    "From an event to the beginning of the first attempt to deliver it",
    ["format"],
    buckets=LAG_BUCKETS,
)
POOL = Gauge(
    "tutti_database_connections",
    "Connections to the database, of all processes: open, idle, and callers that wait for one",
    ["state"],
    multiprocess_mode="livesum",
)
SANDBOX = Gauge(
    "tutti_sandbox_places",
    "Places for the evaluation of expressions, of all processes: there are, busy, and frames that wait for one",
    ["state"],
    multiprocess_mode="livesum",
)
PROCESS = Gauge(
    "tutti_process",
    "One process: bytes of memory, seconds of processor time, open files, tasks, when it began, seconds that its loop was late",
    ["figure"],
    multiprocess_mode="liveall",
)

# The library looks labels up in twice the time that counting takes.
_task_seconds: dict[tuple[str, str], Histogram] = {}
_requests: dict[tuple[str, str, int], Counter] = {}
_request_seconds: dict[tuple[str, str], Histogram] = {}


def count_request(scope: Mapping[str, Any], status: int, seconds: float) -> None:
    """Count a request that has its answer; `status` 0 where its caller went away before."""
    route = scope.get("path_template") or UNROUTED
    method = scope["method"] if scope["method"] in METHODS else "other"
    count_status(route, method, status)
    histogram = _request_seconds.get((route, method))
    if histogram is None:
        histogram = _request_seconds[route, method] = REQUEST_SECONDS.labels(route, method)
    histogram.observe(seconds)


def count_unread(method: str, status: int) -> None:
    """Count what was refused, or left with `status` 0, before anybody looked at it; it took nobody's time."""
    count_status(UNREAD, method if method in METHODS else "other", status)


def count_status(route: str, method: str, status: int) -> None:
    """Count one answer."""
    key = route, method, status
    counter = _requests.get(key)
    if counter is None:
        counter = _requests[key] = REQUESTS.labels(route, method, status or ABORTED)
    counter.inc()


def count_attempt(form: str, outcome: str, lag: float | None) -> None:
    """Count an attempt to deliver an event; `lag` is told with the first one, in seconds since the event."""
    DELIVERIES.labels(outcome).inc()
    if lag is not None:
        DELIVERY_SECONDS.labels(form).observe(max(0.0, lag))


def count_end(status: str) -> None:
    """Count an instance that has come to its end."""
    ENDED.labels(str(status)).inc()


def count_tasks(rows: Iterable[Mapping[str, Any]]) -> None:
    """Count the tasks that have ended, of rows of the history."""
    for row in rows:
        ended: datetime | None = row["ended_at"]
        if ended is not None and row["status"] != "skipped":
            seconds = (ended - row["started_at"]).total_seconds()
            key = row["kind"], row["status"]
            histogram = _task_seconds.get(key)
            if histogram is None:
                histogram = _task_seconds[key] = TASK_SECONDS.labels(*key)
            histogram.observe(max(0.0, seconds))
