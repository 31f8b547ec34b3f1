"""What became of instances that a load triggered, read from their rows once all have ended.

The load writes the moment at which it sends a trigger into the instance's name, in microseconds, so the rows alone
say how long each took: `ended_at` is written just before the commit, by the clock of the same machine.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg
import msgspec

from tests.benchmarks.load import Request

WARM_UP = 0.5  # seconds at the beginning of a round that do not count
SETTLE_SECONDS = 60

TRIGGERED = "instance WHERE account_id = $1 AND workflow_id = $2 AND started_at >= $3"
ALL_ENDED = f"SELECT count(*) = count(ended_at) FROM {TRIGGERED}"
SENT = "timestamptz 'epoch' + name::bigint * interval '1 microsecond'"
FIGURES = f"""
SELECT count(*) FILTER (WHERE ended_at BETWEEN $4 AND $5) / extract(epoch FROM $5 - $4)::float8 AS rate,
       percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - sent) * 1000)
           FILTER (WHERE sent BETWEEN $4 AND $5) AS took,
       count(*) FILTER (WHERE status <> 'completed') AS wrong,
       count(*) FILTER (WHERE sent BETWEEN $4 AND $5) AS counted
FROM (SELECT ended_at, status, {SENT} AS sent FROM {TRIGGERED})
"""


class Completions(msgspec.Struct, frozen=True):
    """Completed instances per second; milliseconds from trigger to completion; how many did not complete."""

    rate: float
    p50: float
    p95: float
    p99: float
    wrong: int
    counted: int

    @property
    def cells(self) -> tuple[str, ...]:
        """Write the figures for a table."""
        return f"{self.rate:,.0f}", f"{self.p50:.1f}", f"{self.p99:.1f}", str(self.wrong)


def triggering(path: str, token: str, inputs: bytes) -> Request:
    """Trigger the workflow at a path, again and again."""
    head = (
        f"POST {path}/actions/trigger HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\n"
    )
    rest = b'", "trigger_inputs": ' + inputs + b"}"
    begin = b'{"instance_name": "'
    length = len(begin) + 16 + len(rest)  # microseconds have 16 digits until the year 2286
    start = f"{head}Content-Length: {length}\r\n\r\n".encode() + begin

    def request() -> bytes:
        return start + str(time.time_ns() // 1000).encode() + rest

    return request


def ids_of(path: str) -> tuple[str, str]:
    """Return the ids of account and workflow in a workflow's URL."""
    *_, account_id, _, workflow_id = path.split("/")
    return account_id, workflow_id


async def completions(rows: asyncpg.Connection, path: str, begin: float, end: float) -> Completions:
    """Read what became of what was triggered between these moments, seconds since the epoch, once all have ended.

    What has not ended a minute later counts as wrong.
    """
    since, first, last = (datetime.fromtimestamp(at, UTC) for at in (begin, begin + WARM_UP, end))
    triggered = (*ids_of(path), since)
    until = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < until and not await rows.fetchval(ALL_ENDED, *triggered):  # noqa: ASYNC110 - nobody tells of the last one
        await asyncio.sleep(0.05)
    row = await rows.fetchrow(FIGURES, *triggered, first, last)
    assert row is not None
    p50, p95, p99 = row["took"] or (0.0, 0.0, 0.0)
    return Completions(row["rate"], p50, p95, p99, row["wrong"], row["counted"])


def median(rounds: Sequence[Completions]) -> Completions:
    """Take the median of each figure over the rounds."""
    rate, p50, p95, p99 = (
        statistics.median(getattr(one, name) for one in rounds) for name in ("rate", "p50", "p95", "p99")
    )
    return Completions(
        rate, p50, p95, p99, sum(one.wrong for one in rounds), sum(one.counted for one in rounds)
    )
