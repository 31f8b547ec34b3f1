"""The jobs of the workers: written in the transaction whose work they follow up, claimed account by account.

A job names an account and an instance and says what happened to it, so the same job twice is harmless: the second finds
the instance past that point. It is claimed with a lease, kept while its worker lives, and deleted in the transaction that
stores what came of it; a worker that dies loses its leases after `LEASE`, and others take over.

Workers go through the accounts that have jobs in turn and take a few of each, so one account's twenty thousand do not
stand before another's one.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Literal
from uuid import UUID

import asyncpg
import msgspec

from service.engine.bell import Lane, ring_after_commit
from tenancy.rows import current_connection, read

LEASE = timedelta(seconds=10)
Reason = Literal[
    "start",  # the instance has been started
    "timer",  # the timer of `wait` has fired
    "event",  # an event came
    "continue",  # there is more to do at once
    "work_item",  # the work item of `wait` is decided
    "child",  # the workflow that `wait` awaits has ended
    "answer",  # the call of `wait` has come to what the payload says, while the instance was suspended
    "call",  # perform: the HTTP call of `wait`
    "begin",  # perform: start the workflow of `wait`
    "publish",  # perform: deliver the event in the payload to the account's listeners, and start `wait` deep what it starts
    "bus_event",  # perform: have the account's triggers meet the event in the payload, and start `wait` deep what they start
    "due",  # perform: the date of the work item of `wait` has passed
    "cancel",  # perform: end the instance, as nobody awaits it any more
]
ADVANCING: tuple[Reason, ...] = ("start", "timer", "event", "continue", "work_item", "child", "answer")


class Job(msgspec.Struct, frozen=True):
    """That something happened to an instance (None: to an account), or is to be done for it. `payload` is JSON."""

    account_id: UUID
    instance_id: UUID | None
    reason: Reason
    wait: int = 0
    payload: bytes | None = None
    id: int = 0
    attempts: int = 0

    @property
    def lane(self) -> Lane:
        """Whose it is: the interpreter's, or that of what goes outside and may take its time."""
        return "advance" if self.reason in ADVANCING else "perform"


async def enqueue(jobs: Sequence[Job]) -> None:
    """Write jobs of one account in the open transaction; workers see them when it commits."""
    if not jobs:
        return
    rows = [(job.account_id, job.instance_id, job.lane, job.reason, job.wait, job.payload) for job in jobs]
    await current_connection().execute(
        "INSERT INTO job (account_id, instance_id, lane, reason, wait, payload)"
        " SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::int[], $6::bytea[])",
        *(list(column) for column in zip(*rows, strict=True)),
    )
    ring_after_commit(job.lane for job in jobs)


class Claimed(msgspec.Struct, frozen=True):
    """What a claim gave: jobs, and the account that it came to last; `left_some`: there may be more behind it."""

    jobs: list[Job]
    last: UUID
    left_some: bool


async def claim(
    lane: Lane, accounts: int, of_each: int, after: UUID, without: Sequence[UUID] = ()
) -> Claimed:
    """Lease jobs of some accounts, some of each, from the account behind `after` on.

    `without` names accounts that have their share already.
    """
    rows = await read(
        "SELECT * FROM claim_jobs($1, $2, $3, $4, $5, $6)",
        lane,
        accounts,
        of_each,
        after,
        list(without),
        LEASE,
    )
    jobs = [job_of(row) for row in rows if row["id"] is not None]
    (end,) = [row for row in rows if row["id"] is None]
    return Claimed(jobs, end["account_id"], bool(without) or end["attempts"] > 0)


async def keep(jobs: Iterable[Job]) -> None:
    """Renew the leases of jobs that are still being worked on."""
    await lease(jobs, LEASE)


async def put_back(jobs: Iterable[Job], delay: timedelta) -> None:
    """Give jobs back, to be claimed by anyone after `delay`."""
    await lease(jobs, delay)


async def lease(jobs: Iterable[Job], lasting: timedelta) -> None:
    """Set the leases of jobs that nobody else has claimed meanwhile."""
    held = list(jobs)
    await read(
        "SELECT lease_jobs($1, $2, $3)", [job.id for job in held], [job.attempts for job in held], lasting
    )


async def finish(jobs: Sequence[int]) -> None:
    """Delete jobs, in the transaction that stores what came of them."""
    await current_connection().execute("DELETE FROM job WHERE id = ANY($1)", jobs)


def job_of(row: asyncpg.Record) -> Job:
    """Read a job back."""
    return Job(
        row["account_id"],
        row["instance_id"],
        row["reason"],
        row["wait"],
        row["payload"],
        row["id"],
        row["attempts"],
    )
