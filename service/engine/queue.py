"""Puts jobs into the queue, in the transaction whose work they follow up.

One kind of job: `advance`. It names an account and an instance and says what happened to it (the interpreter's
stimulus), so the same job twice is harmless: the second finds the instance past that point.
"""

from collections.abc import Sequence
from typing import Any, Literal, cast
from uuid import UUID

import msgspec
from pgqueuer.queries import Queries

from tenancy.rows import current_connection

ADVANCE = "advance"


class Job(msgspec.Struct, frozen=True, array_like=True):
    """That an instance should be advanced, and why: it was started, a timer fired (`wait`), an event came, or go on."""

    account_id: UUID
    instance_id: UUID
    reason: Literal["start", "timer", "event", "continue"]
    wait: int = 0


async def enqueue(jobs: Sequence[Job]) -> None:
    """Put jobs into the queue; workers see them when the open transaction commits."""
    payloads: list[bytes | None] = [msgspec.json.encode(job) for job in jobs]
    queries = Queries.from_asyncpg_connection(cast(Any, current_connection()))
    await queries.enqueue([ADVANCE] * len(jobs), payloads, [0] * len(jobs))


def job_of(payload: bytes) -> Job:
    """Read a job back."""
    return msgspec.json.decode(payload, type=Job)
