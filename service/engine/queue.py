"""Puts jobs into the queue, in the transaction whose work they follow up.

One kind of job: `advance`. It names an account and an instance and says what happened to it (the interpreter's
stimulus), so the same job twice is harmless: the second finds the instance past that point. The one writer of jobs is the
database's function `enqueue_advance`, as triggers write theirs in the same call that starts the instance.
"""

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

import msgspec

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
    await current_connection().execute(
        "SELECT enqueue_advance(account_id, instance_id, reason, wait)"
        " FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[]) AS job (account_id, instance_id, reason, wait)",
        *(list(column) for column in zip(*map(msgspec.structs.astuple, jobs), strict=True)),
    )


def job_of(payload: bytes) -> Job:
    """Read a job back."""
    return msgspec.json.decode(payload, type=Job)
