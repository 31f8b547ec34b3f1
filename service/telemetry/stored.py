"""The figures that stand in the database: one statement of a bounded cost, at most once in some seconds."""

import asyncio
import time
from collections.abc import Iterable

import asyncpg
import msgspec
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tenancy.faults import OUTAGE, SlowStatementError
from tenancy.rows import read

FRESH_SECONDS = 5.0  # for which an answer of the database is told again
PATIENCE_SECONDS = 2.0  # for the database's answer; without it the other figures are told
STATES = ("pending", "running", "waiting", "suspended")
LANES = ("advance", "perform", "held", "timer")
WORKED = {
    "advance": "jobs",
    "perform": "calls and the like",
    "timer": "timers",
}  # what workers take, in words

FIGURES = "SELECT figure, label, value FROM count_for_operators()"

DESCRIBED = {
    "tutti_instances": (
        "Instances that have not ended, counted up to 10,000 together: a sum of 10,000 is that or more",
        "state",
    ),
    "tutti_queue_depth": (
        "Jobs in the queue, and timers that are due, counted up to 10,000 each",
        "lane",
    ),
    "tutti_queue_oldest_due_seconds": (
        "How long the oldest job or timer has been due that nobody has taken, among the first of up to 128 accounts",
        "lane",
    ),
    "tutti_webhook_deliveries_pending": ("Deliveries that are to be sent, counted up to 10,000", "state"),
    "tutti_webhook_oldest_due_seconds": (
        "How long the oldest delivery has been due that nobody has taken, among up to 500 enabled webhooks",
        "state",
    ),
    "tutti_database_answers": ("1 if the database has answered for the figures above, else 0", "source"),
}


class Figures(msgspec.Struct, frozen=True):
    """What the database has answered: values by figure and label; nothing if it has not."""

    values: dict[tuple[str, str], float]
    at: float

    def value(self, figure: str, label: str) -> float:
        """One of them, 0 where nothing is there to count."""
        return self.values.get((figure, label), 0.0)

    def stuck(self, seconds: float) -> str | None:
        """Say in words what has been due for longer than so many seconds while nobody takes any of its kind."""
        for lane, words in WORKED.items():
            age = self.value("oldest_due_seconds", lane)
            if age > seconds and not self.value("taken", lane):
                return f"The oldest of the {words} that are due has waited for {age:.0f} s and nobody takes any: is a worker running?"
        return None


class Stored(Collector):
    """The figures of an answer, for a scrape."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Give each figure with all of its labels."""
        found = self._figures
        if found.values:
            yield family("tutti_instances", {state: found.value("instances", state) for state in STATES})
            yield family("tutti_queue_depth", {lane: found.value("depth", lane) for lane in LANES})
            due = {lane: found.value("oldest_due_seconds", lane) for lane in WORKED}
            yield family("tutti_queue_oldest_due_seconds", due)
            yield family("tutti_webhook_deliveries_pending", {"pending": found.value("depth", "webhook")})
            yield family(
                "tutti_webhook_oldest_due_seconds", {"due": found.value("oldest_due_seconds", "webhook")}
            )
        yield family("tutti_database_answers", {"figures": float(bool(found.values))})


def family(name: str, values: dict[str, float]) -> GaugeMetricFamily:
    """Write a figure by its label's values."""
    words, label = DESCRIBED[name]
    written = GaugeMetricFamily(name, words, labels=[label])
    for value, amount in values.items():
        written.add_metric([value], amount)
    return written


class Asked:
    """The database's last answer; whoever asks while somebody else does waits for the same one."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._last = Figures({}, float("-inf"))

    async def figures(self) -> Figures:
        """The figures of the last seconds, those of now otherwise; empty if the database does not answer in time."""
        async with self._lock:
            if time.monotonic() - self._last.at > FRESH_SECONDS:
                self._last = Figures(await answered(), time.monotonic())
            return self._last


async def answered() -> dict[tuple[str, str], float]:
    """Ask the database; nothing if it cannot be asked."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            rows = await read(FIGURES)
    except (*OUTAGE, SlowStatementError, asyncpg.PostgresError):
        return {}
    return {(row["figure"], row["label"]): row["value"] for row in rows}
