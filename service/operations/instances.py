"""What people and clients do with instances: trigger, cancel and signal them; get, list and count them."""

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from auth.bearer import Access, Caller, Credential, new_secret
from auth.roles import Right
from service.engine import inbox
from service.engine.bell import Lane, ring, ring_after_commit
from service.engine.definitions import last_published, remember_published
from service.engine.events import Subject, record
from service.engine.inbox import KEPT_EVENTS
from service.engine.states import Status, sources
from service.engine.storing import (
    Settled,
    effects_of_start,
    encoded_effects,
    follow_up,
    follows_up,
    job_row,
    lanes_of,
    tell,
)
from service.errors import InputsRefused, InstanceConflict, KeyReused, NotTriggerable, WorkflowPaused
from service.language.document import Definition
from service.language.sandbox import Sandbox
from service.language.values import NO_NUL, NUL
from service.limits import space
from service.operations.events import completed
from service.operations.idempotency import EARLIER, UNREPEATED, Repeat, decided
from service.operations.inputs import Checked, check, checked_at_once
from service.operations.pages import Row
from service.operations.starting import New, first_advance, note
from service.tables import Instance, Signal
from service.telemetry import tracing
from tenancy.errors import BadRequest, FieldError, Forbidden, NotFound
from tenancy.rows import read, rows_entered

COLUMNS = """id, account_id, workflow_id, version_id, version, name, status, started_at, started_by, started_by_name,
started_by_role, ended_at, expires_at, last_modified_at, canceled_at, canceled_by, trigger_inputs, tags, total_steps,
last_completed_step, last_completed_step_name, workflow_created_by, output, fault, suspended_at, cancel_reason,
restarted_from, restarted_as"""

MOST_RUNNING = 100  # tasks that a read names of those that an instance is in, the latest

# Whether an instance `one` is there, and whoever entered the account may see it, as `Caller.sees` says it.
SEEN = "one.id AS found, caller.role <> 'sender' OR one.started_by = caller.principal_id AS visible"

# The hot read: credential, tenant, scopes and row in one round trip. `enter_account` sets the tenant before the row is
# looked for, as the row is joined to its answer; were it not so, row-level security would show no row at all.
GET = f"""
SELECT caller.verdict, {SEEN}, {", ".join(f"one.{column.strip()}" for column in COLUMNS.split(","))},
       ARRAY(SELECT pointer FROM task_run WHERE account_id = caller.account_id AND instance_id = one.id
             AND status = 'running' AND one.ended_at IS NULL ORDER BY number DESC LIMIT {MOST_RUNNING}) AS running
FROM enter_account($1, $2, $3) AS caller
LEFT JOIN instance AS one ON one.account_id = caller.account_id AND one.id = $5 AND one.workflow_id = $4
"""

START = f"SELECT * FROM start_instance({', '.join(f'${number}' for number in range(1, 30))})"

DONE = 200  # the verdict of a function in the database that did what it was called for
TRIES = 5  # times that a workflow may be published anew while one trigger is checked


class Began(msgspec.Struct, frozen=True):
    """How an instance began: which definition it runs, when, and the first advance where it was stored with the start."""

    definition: Definition
    at: datetime
    first: Settled | None


class Started(msgspec.Struct):
    """An instance, and the secret that lets whoever holds its URL act on it; `replayed`: an earlier trigger started it.

    `key_id` is what the trigger is recognised by, where it is; see `idempotency`. `began` is known of what this one started.
    """

    id: UUID
    access_id: UUID
    access_secret: str
    key_id: int | None = None
    replayed: bool = False
    began: Began | None = None


async def trigger(
    credential: Credential,
    sandbox: Sandbox,
    workflow_id: UUID,
    name: str,
    inputs: dict[str, Any],
    repeat: Repeat | None = None,
) -> Started:
    """Start an instance of a workflow's published version, in one round trip where nothing has changed lately.

    The inputs are checked against the version that this process last saw published, before the call; the call starts
    nothing if another is published by then, or if the caller may not. So no connection waits for a stranger's schema.
    A schema that could cost much is checked for callers who have proved who they are, and for nobody else. For those the
    first advance is made on trial too, and stored by the same call (see `starting`).

    `repeat` is what the trigger is recognised by: one that came before, whatever has become of its workflow since, starts
    nothing, and the instance that it started is returned. A refused trigger leaves nothing to recognise.

    Raises:
        NotFound: no such workflow.
        LimitReached: the account has as many running instances, or stores as much, as it may.
        NotTriggerable: it is paused, archived or was never published.
        InputsRefused: with one entry for each field that is wrong.
        KeyReused: the key came before, with another body.
        Conflict: the trigger with this key that came before is still under way.
    """
    secret = new_secret() if repeat is None else repeat.secret(repeat.seed)
    started = Started(uuid7(), uuid4(), secret)
    version_id, proven = last_published(credential.account_id, workflow_id), False
    full = await space.refusal_of_start(credential.account_id)
    for _ in range(TRIES):
        checked = None
        if version_id is not None and full is None:  # else what came before is told all the same
            asked = (sandbox, version_id, name, inputs)
            checked = await check(credential, *asked) if proven else checked_at_once(*asked)
        attempt: Callable[[], Awaitable[asyncpg.Record]]
        if checked is None or checked.errors:
            attempt = partial(called, unstarted(credential, workflow_id, started, repeat))
        else:
            subject = Subject(credential.account_id, workflow_id, started.id)
            new = New(subject, name, datetime.now(UTC))
            attempt = partial(start, credential, sandbox, started, new, checked, repeat)
        row = await attempt() if repeat is None else await decided(repeat, attempt)
        note(credential, row)
        credential.refuse(row["verdict"], Right.START)
        refuse_trigger(row)
        if (answer := what_started(credential, started, repeat, row)) is not None:
            return answer
        if full is not None:
            raise full
        if checked and row["published"] == version_id:
            raise InputsRefused(errors=checked.errors)
        version_id, proven = row["published"], True
        remember_published(credential.account_id, workflow_id, version_id)
    raise InstanceConflict("The workflow kept being published anew; try again.")


def refuse_trigger(row: asyncpg.Record) -> None:
    """Refuse a trigger if `start_instance` did, for a reason that lies in its workflow or its key."""
    if row["verdict"] == NotTriggerable.status:
        raise untriggerable(row["workflow_status"])
    if row["verdict"] == KeyReused.status:
        raise KeyReused


def what_started(
    credential: Credential, started: Started, repeat: Repeat | None, row: asyncpg.Record
) -> Started | None:
    """What a trigger has started, or the one that came before, whose secret is derived anew; None: neither has."""
    if row["verdict"] == DONE:
        space.note_start(credential.account_id)
        return msgspec.structs.replace(started, key_id=row["key_id"])
    if repeat is None or row["verdict"] != EARLIER:
        return None
    secret = repeat.secret(row["earlier_seed"])
    return Started(row["earlier_id"], row["earlier_access_id"], secret, row["key_id"], replayed=True)


def untriggerable(workflow_status: str) -> NotTriggerable:
    """Say why a workflow of this status takes no triggers."""
    if workflow_status == "paused":
        return WorkflowPaused()
    if workflow_status == "archived":
        return NotTriggerable("WORKFLOW_ARCHIVED", "The workflow is archived and takes no triggers.")
    return NotTriggerable("WORKFLOW_NOT_ACTIVE", "The workflow was never published; publish it first.")


async def get(credential: Credential, workflow_id: UUID, instance_id: UUID) -> Row:
    """Return one instance, in one round trip.

    Raises:
        NotFound: no such instance of that workflow.
        Forbidden: another started it, and the caller is a sender.
    """
    (row,) = await seen(credential, GET, workflow_id, instance_id)
    return row


async def seen(credential: Credential, statement: str, *arguments: object) -> list[asyncpg.Record]:
    """Run a statement that enters the account and tells of an instance, in one round trip; return its rows, one at least.

    Raises:
        NotFound: there is none.
        Forbidden: another started it, and the caller is a sender.
    """
    rows = await read(statement, *credential.proof(Right.READ), *arguments)
    credential.refuse(rows[0]["verdict"], Right.READ)
    refuse_unseen(rows[0])
    return rows


def refuse_unseen(row: Row) -> None:
    """Refuse to tell of an instance that is not there, or that the caller may not see; the row has what `SEEN` names.

    Raises:
        NotFound, Forbidden: so it is.
    """
    if row["found"] is None:
        raise NotFound
    refuse_invisible(visible=row["visible"])


def refuse_invisible(*, visible: bool) -> None:
    """Refuse a sender who wants to know about what another started.

    Raises:
        Forbidden: so it is.
    """
    if not visible:
        raise Forbidden("A sender sees the instances that they started; the other roles see all.")


def starter(caller: Caller, wanted: UUID | None) -> UUID | None:
    """Whose instances a list is narrowed to: a sender's to their own.

    Raises:
        Forbidden: a sender asked for another's.
    """
    if caller.sees_all:
        return wanted
    refuse_invisible(visible=wanted in (None, caller.id))
    return caller.id


async def cancel(
    credential: Credential, workflow_id: UUID, instance_id: UUID, reason: str | None = None
) -> None:
    """End an instance now, in one round trip; what waits is forgotten, later steps never run.

    Raises:
        BadRequest: the reason cannot be stored.
        NotFound: no such instance of that workflow.
        InstanceConflict: it has ended already.
    """
    if reason is not None and NUL in reason:
        async with credential.rows(Right.OPERATE):  # whom the account refuses is told that first
            raise BadRequest(errors=(FieldError("FIELD_INVALID", NO_NUL, "reason"),))
    allowed, becomes = sources("cancel")
    rows = await read(
        "SELECT * FROM cancel_instance($1, $2, $3, $4, $5, $6, $7, $8)",
        *credential.proof(Right.OPERATE),
        workflow_id,
        instance_id,
        allowed,
        becomes,
        reason,
    )
    credential.refuse(rows[0]["verdict"], Right.OPERATE)
    if rows[0]["verdict"] == InstanceConflict.status:
        raise InstanceConflict("The instance has ended already and cannot be canceled.")


async def signal(
    access: Access, workflow_id: UUID, instance_id: UUID, event: dict[str, Any]
) -> dict[str, Any]:
    """Send an event to one instance; it is kept until a `listen` takes it or the instance ends.

    The same event (source and id) again is kept once. Returns the event, with what its sender left out: its `subject` is the
    instance's id, by which a task can tell it from one of the account.

    Raises:
        NotFound: no such instance of that workflow.
        BadRequest: it is not a CloudEvent.
        TooLarge: it has more than 64 KiB.
        InstanceConflict: it has ended, or 100 events wait for it already.
        LimitReached: the account stores as much as it may.
    """
    async with access.rows(Right.OPERATE) as caller:
        status = await _locked_status(workflow_id, instance_id)
        if status.terminal:
            raise InstanceConflict(f"The instance has ended ({status}) and takes no events.")
        whole = completed(caller, {"subject": str(instance_id), **event})
        space.refuse_storing(caller.account_id)
        if await Signal.count().where(Signal.instance_id == instance_id).run() >= KEPT_EVENTS:
            raise InstanceConflict(
                f"{KEPT_EVENTS} events wait for this instance already; let it take some first."
            )
        await inbox.put(caller.account_id, [instance_id], whole, kept=True)
        await record(
            Subject(caller.account_id, workflow_id, instance_id),
            "instance.signalled",
            caller.id,
            type=whole["type"],
        )
        return whole


async def start(
    credential: Credential,
    sandbox: Sandbox,
    started: Started,
    new: New,
    checked: Checked,
    repeat: Repeat | None = None,
) -> asyncpg.Record:
    """Start an instance with its first advance, or pending where a worker is to make that."""
    first = await first_advance(credential, sandbox, checked.definition, new, checked.inputs)
    definition = checked.definition
    started.began = Began(definition, new.at, first)
    arguments = unstarted(credential, new.subject.workflow_id, started, repeat) | {
        "expected": checked.version_id,
        "new_name": new.name,
        "inputs": msgspec.json.encode(checked.inputs).decode(),
        "new_tags": [f"{key}:{value}" for key, value in definition.tags.items()],
        "steps": len(definition.tasks),
        "began": new.at,
    }
    if first is None:
        pending = {"jobs": [job_row(started.id, "start", 0)]}
        row = await called(arguments | {"effects": encoded_effects(pending)}, lanes_of(pending))
        tell_start(row, new, None)
        return row
    effects = effects_of_start(first)
    arguments |= {
        "new_status": first.result.status,
        "new_sequence": 1,
        "new_state": first.state,
        "step": first.step,
        "step_name": first.step_name,
        "new_current_step": first.result.current_step,
        "new_expires_at": first.expires_at,
        "has_ended": first.result.status.terminal,
        "new_output": first.output,
        "new_fault": first.fault,
        "effects": encoded_effects(effects),
    }
    if not follows_up(first):
        row = await called(arguments, lanes_of(effects))
    else:
        async with rows_entered(START, *arguments.values()) as row:
            if row["verdict"] == DONE:
                await follow_up(credential.account_id, [first], new.at)
                ring_after_commit(lanes_of(effects))
    tell_start(row, new, first)
    return row


def tell_start(row: asyncpg.Record, new: New, first: Settled | None) -> None:
    """Tell the operator of an instance that has been started, and of its first advance if that is stored."""
    if row["verdict"] != DONE:
        return
    subject = new.subject
    if tracing.is_on() and subject.instance_id is not None:
        tracing.started(subject.account_id, subject.workflow_id, subject.instance_id, new.at)
    if first is not None:
        tell([first])


def unstarted(
    credential: Credential, workflow_id: UUID, started: Started, repeat: Repeat | None = None
) -> dict[str, Any]:
    """The arguments of `START` in their order, for a call that only tells which version is published."""
    token, account_id, required = credential.proof(Right.START)
    return {
        "credential": token,
        "requested": account_id,
        "required": required,
        "of_workflow": workflow_id,
        "expected": None,
        "new_id": started.id,
        "new_name": None,
        "inputs": None,
        "new_tags": None,
        "steps": None,
        "new_access_id": started.access_id,
        "new_secret_hash": hashlib.sha256(started.access_secret.encode()).digest(),
        "began": None,
        "new_status": Status.PENDING,
        "new_sequence": 0,
        "new_state": None,
        "step": 0,
        "step_name": None,
        "new_current_step": None,
        "new_expires_at": None,
        "has_ended": False,
        "new_output": None,
        "new_fault": None,
        "effects": None,
        **(UNREPEATED if repeat is None else repeat.arguments),
    }


async def called(arguments: dict[str, Any], lanes: Iterable[Lane] = ()) -> asyncpg.Record:
    """Call the function that starts an instance, in one round trip; `lanes` are those of the jobs that it writes."""
    (row,) = await read(START, *arguments.values())
    if row["verdict"] == DONE:
        ring(lanes)
    return row


async def _locked_status(workflow_id: UUID, instance_id: UUID) -> Status:
    rows = await Instance.raw(
        "SELECT status FROM instance WHERE id = {} AND workflow_id = {} FOR UPDATE", instance_id, workflow_id
    ).run()
    if not rows:
        raise NotFound
    return Status(rows[0]["status"])
