"""Reads instances for their next advance: rows, definitions, states, and what their jobs say happened to them."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import msgspec

from service.engine.definitions import definition_of, remembered
from service.engine.effects import child, work_item
from service.engine.events import Subject
from service.engine.frames import State
from service.engine.interpreter import decode_state
from service.engine.messages import (
    Answered,
    Entry,
    Events,
    Expire,
    Facts,
    InboxEvent,
    Start,
    Stimulus,
    WakeUp,
)
from service.engine.queue import Job
from service.engine.states import Status
from service.engine.storing import EXPIRY, About
from service.language.document import Definition
from service.language.errors import Fault
from tenancy.rows import read, rows_of

RUNTIME = {"name": "tutti", "version": "0.1.0"}

LOAD = "SELECT * FROM load_instances($1, $2)"


class Loaded(msgspec.Struct, frozen=True):
    """An instance as it was read, and what its job says happened to it; None where that is nothing any more."""

    job: Job
    row: asyncpg.Record
    definition: Definition
    stimulus: Stimulus | None

    def state(self) -> State | None:
        """Decode its state: for one instance of a batch after the other, as it takes several times its text's memory."""
        text = self.row["state"]
        return None if text is None else decode_state(text)

    @property
    def about(self) -> About:
        """What stays the same about it."""
        row = self.row
        subject = Subject(self.job.account_id, row["workflow_id"], row["id"])
        return About(
            subject, row["name"], row["started_by"], row["started_by_name"], row["started_at"], row["depth"]
        )


class Found(msgspec.Struct, frozen=True):
    """What was read for some jobs: the instances that may go on, and the jobs of those that are suspended."""

    living: list[Loaded]
    suspended: list[Job]


async def load(account_id: UUID, jobs: Sequence[Job]) -> Found:
    """Read the instances of jobs, one job for each; those that have ended are left out. Commonly one round trip."""
    by_instance = {job.instance_id: job for job in jobs}
    rows = await read(LOAD, account_id, list(by_instance))
    suspended = [by_instance[row["id"]] for row in rows if row["status"] == Status.SUSPENDED]
    going = [(by_instance[row["id"]], row) for row in rows if row["status"] != Status.SUSPENDED]
    if all(is_at_hand(job, row) for job, row in going):
        return Found([await loaded(job, row) for job, row in going], suspended)
    async with rows_of(account_id):
        return Found([await loaded(job, row) for job, row in going], suspended)


def is_at_hand(job: Job, row: asyncpg.Record) -> bool:
    """Whether nothing more is to be read: neither the definition nor the answer that the job tells of."""
    return remembered(row["version_id"]) is not None and job.reason not in {"work_item", "child"}


async def loaded(job: Job, row: asyncpg.Record) -> Loaded:
    """Put together what was read of an instance."""
    return Loaded(job, row, await definition_of(row["version_id"]), await stimulus_of(job, row))


async def stimulus_of(job: Job, row: asyncpg.Record) -> Stimulus | None:
    """Say to the interpreter what the job says happened."""
    now = datetime.now(UTC)
    match job.reason:
        case "start":
            return start_of(job, row)
        case "timer":
            return Expire(now) if job.wait == EXPIRY else WakeUp(now, job.wait)
        case "work_item" | "child":
            answer_of = work_item.answer_of if job.reason == "work_item" else child.answer_of
            return answered(now, job.wait, await answer_of(row["id"], job.wait))
        case "answer":
            assert job.payload is not None  # noqa: S101 - such jobs carry what the call has come to
            return msgspec.structs.replace(msgspec.json.decode(job.payload, type=Answered), at=now)
        case "event" | "continue":
            return Events(now)
    return None


def start_of(job: Job, row: asyncpg.Record) -> Start:
    """Say to the interpreter that it begins; a restart says in its job where, and is held against the schema again."""
    given = msgspec.json.decode(row["trigger_inputs"])
    if job.payload is None:
        return Start(row["started_at"], given, checked=row["schedule_id"] is None)
    entry = msgspec.json.decode(job.payload, type=Entry | None)
    return Start(row["started_at"], given, entry is not None, entry)


def answered(at: datetime, wait: int, answer: tuple[object, Fault | None] | None) -> Answered | None:
    """Say that a call has its answer, if it has."""
    return None if answer is None else Answered(at, wait, *answer)


def facts_of(loaded: Loaded, until: float) -> Facts:
    """Tell the interpreter what is true besides: who it runs for, which events wait, and how long it may go on."""
    row = loaded.row
    inbox = tuple(
        InboxEvent(identifier, msgspec.json.decode(event))
        for identifier, event in zip(row["signals"], row["events"], strict=True)
    )
    return facts(loaded.about, until, inbox)


def facts(about: About, until: float, inbox: tuple[InboxEvent, ...] = ()) -> Facts:
    """Put together what is true while an advance runs; `until` is when it should leave the rest to another one."""
    metadata = {
        "accountId": str(about.subject.account_id),
        "instanceName": about.name,
        "startedBy": str(about.started_by),
        "startedByName": about.started_by_name,
    }
    runtime = {**RUNTIME, "metadata": metadata}
    return Facts(str(about.subject.instance_id), runtime, inbox, time_is_up=lambda: time.monotonic() > until)
