"""What people do with one instance besides cancelling it: suspend, resume, restart and delete it.

`stop`, `supersede` and `remove` are for dialects that find an instance by its own id, and in whose words one is suspended
that waits: they are refused while it is running.
"""

import hashlib
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec

from auth.bearer import Access, Caller, new_secret
from auth.roles import Right
from service.engine import restarting, suspension
from service.engine.definitions import definition_of
from service.engine.effects import child
from service.engine.events import Subject, record
from service.engine.restarting import Actor, Options
from service.engine.states import Status, TransitionRefused, after
from service.errors import InputsRefused, InstanceConflict, StateRefused
from service.language.document import Definition
from service.language.inputs import with_defaults
from service.language.sandbox import Sandbox
from service.limits import space
from service.operations.inputs import unstorable_fields, violations
from tenancy.errors import BadRequest, NotFound
from tenancy.rows import current_connection

LOCKED = """
SELECT id, account_id, workflow_id, status, version_id, parent_id, parent_wait, trigger_inputs, restarted_as
FROM instance WHERE account_id = $1 AND workflow_id = coalesce($2, workflow_id) AND id = $3 FOR UPDATE
"""
PRESENT = LOCKED.removesuffix(" FOR UPDATE\n")

SUSPEND = """
UPDATE instance SET status = $3, sequence = sequence + 1, suspended_at = clock_timestamp(),
       last_modified_at = clock_timestamp()
WHERE account_id = $1 AND id = $2 RETURNING suspended_at
"""
RESUME = """
UPDATE instance SET status = $3, sequence = sequence + 1, suspended_at = NULL, last_modified_at = clock_timestamp()
WHERE account_id = $1 AND id = $2
"""

STOPPED, REMOVED = "stopped", "deleted"  # why instances are cancelled by `stop` and `remove`

# How each verb says what it is refused for; `{}` is the instance's status.
REFUSALS = {
    "suspend": "The instance is {} and cannot be suspended.",
    "resume": "The instance is {}: only a suspended one can be resumed.",
    "delete": "The instance has not ended (it is {}): cancel it first, or wait for its end.",
}


class Replacement(msgspec.Struct, frozen=True):
    """The instance that a restart has begun, the secret of its URL, and whether the old one was cancelled for it."""

    id: UUID
    access_id: UUID
    access_secret: str
    cancelled: bool


async def suspend(access: Access, workflow_id: UUID, instance_id: UUID) -> datetime:
    """Hold an instance where it is; return since when.

    Calls that are under way come to their end and keep their answers; events, answers of people and timers that are due
    wait for the resume.

    Raises:
        NotFound: no such instance of that workflow.
        InstanceConflict: it has ended, or is suspended already.
    """
    async with access.rows(Right.OPERATE) as caller:
        row = await _locked(caller.account_id, workflow_id, instance_id)
        becomes = _after("suspend", row)
        at: datetime = await current_connection().fetchval(SUSPEND, caller.account_id, instance_id, becomes)
        await record(_about(row), "instance.suspended", caller.id)
        return at


async def resume(access: Access, workflow_id: UUID, instance_id: UUID) -> None:
    """Let a suspended instance go on: it takes what has come meanwhile, in the order in which that came.

    Raises:
        NotFound: no such instance of that workflow.
        InstanceConflict: it is not suspended.
    """
    async with access.rows(Right.OPERATE) as caller:
        row = await _locked(caller.account_id, workflow_id, instance_id)
        becomes = _after("resume", row)
        await current_connection().execute(RESUME, caller.account_id, instance_id, becomes)
        await suspension.release(caller.account_id, instance_id)
        await record(_about(row), "instance.resumed", caller.id)


async def restart(
    access: Access, sandbox: Sandbox, workflow_id: UUID, instance_id: UUID, options: Options
) -> Replacement:
    """Begin a new instance that does what this one did, from the beginning or from a top-level task on.

    The inputs are held against another version's schema before any transaction is open.

    Raises:
        NotFound: no such instance of that workflow.
        InstanceConflict: it is under way, runs again already, or what it had at the task is not kept.
        WorkflowPaused: its workflow is paused.
        BadRequest: there is no such version or task, or could be none.
        InputsRefused: its inputs do not fit the version's schema; one entry for each field.
        LimitReached: the account has as many running instances, or stores as much, as it may.
    """
    full = await space.refusal_of_start(access.account_id)
    errors = unstorable_fields(msgspec.to_builtins(options))
    if errors:
        async with access.rows(Right.OPERATE):  # whom the account refuses is told that first
            raise BadRequest(errors=tuple(errors))
    if options.version is not None and options.from_task is None:
        await _fitting(access, sandbox, workflow_id, instance_id, options.version)
    access_id, secret = uuid4(), new_secret()
    url = restarting.Access(access_id, hashlib.sha256(secret.encode()).digest())
    async with access.rows(Right.OPERATE) as caller:
        row = await _locked(caller.account_id, workflow_id, instance_id)
        if (
            row["status"] == Status.SUSPENDED
        ):  # it ends by this, so there are no more running instances than before
            full = space.refusal_of_storage(access.account_id)
        if full is not None:
            raise full
        actor = Actor(caller.id, caller.name)
        again = await restarting.restart(caller.account_id, instance_id, options, actor, url)
        if again is None:
            raise NotFound
        return Replacement(again.id, access_id, secret, again.cancelled)


async def delete(access: Access, workflow_id: UUID, instance_id: UUID) -> None:
    """Delete an instance that has ended, with its history and its work items; the events that tell of it stay.

    Raises:
        NotFound: no such instance of that workflow.
        InstanceConflict: it has not ended, or the instance that awaits it has not taken its result yet.
    """
    async with access.rows(Right.OPERATE) as caller:
        row = await _locked(caller.account_id, workflow_id, instance_id)
        _after("delete", row)
        await _refuse_awaited(row)
        await _deleted(row, caller, Status(row["status"]))


async def stop(access: Access, instance_id: UUID) -> None:
    """End an instance that waits or is suspended; later steps never run.

    Raises:
        NotFound: no such instance.
        StateRefused: it neither waits nor is suspended.
    """
    async with access.rows(Right.OPERATE) as caller:
        row = await _locked(caller.account_id, None, instance_id)
        await _cancelled(row, caller, _following("stop", row), STOPPED)


async def supersede(access: Access, sandbox: Sandbox, instance_id: UUID, number: int | None) -> UUID:
    """Begin a new instance in the place of one that has failed, waits or is suspended, with what that began with.

    It runs the published version of that number, or the one that a trigger starts; what has not ended is cancelled. The
    inputs are held against another version's schema before that transaction is open. Returns the id of the new one.

    Raises:
        NotFound: no such instance, or no such version.
        StateRefused: it is running or at rest, or runs again already.
        InstanceConflict: its workflow is archived, or published anew all the time.
        WorkflowPaused: its workflow is paused.
        InputsRefused: its inputs do not fit the version's schema; one entry for each field.
        LimitReached: the account has as many running instances, or stores as much, as it may.
    """
    full = await space.refusal_of_start(access.account_id)
    async with access.rows(Right.OPERATE) as caller:
        row = await _locked(caller.account_id, None, instance_id)
        restarting.superseded(Status(row["status"]), row["restarted_as"])
        version_id = await restarting.version_numbered(caller.account_id, row["workflow_id"], number)
        definition = await definition_of(version_id)
    if version_id != row["version_id"]:
        await _refuse_misfits(access, sandbox, definition, row)
    async with access.rows(Right.OPERATE) as caller:
        row = await _locked(caller.account_id, None, instance_id)
        if row["status"] != Status.FAULTED:  # it ends by this
            full = space.refusal_of_storage(access.account_id)
        if full is not None:
            raise full
        if version_id != await restarting.version_numbered(caller.account_id, row["workflow_id"], number):
            raise InstanceConflict("Another version of the workflow was published just now; try again.")
        return await restarting.supersede(
            caller.account_id, instance_id, version_id, Actor(caller.id, caller.name)
        )


async def remove(access: Access, instance_id: UUID) -> None:
    """Delete an instance, as `delete` does; one that waits or is suspended is cancelled first.

    Raises:
        NotFound: no such instance.
        StateRefused: it is running.
        InstanceConflict: the instance that awaits it has not taken its result yet.
    """
    async with access.rows(Right.OPERATE) as caller:
        row = await _locked(caller.account_id, None, instance_id)
        becomes = _following("remove", row)
        await _refuse_awaited(row)
        if becomes is not Status(row["status"]):
            await _cancelled(row, caller, becomes, REMOVED)
        await _deleted(row, caller, becomes)


async def _cancelled(row: asyncpg.Record, caller: Caller, becomes: Status, why: str) -> None:
    """End a locked instance, and tell of it."""
    await current_connection().execute(
        "SELECT cancelled($1, $2, $3, $4, $5)", row["account_id"], row["id"], becomes, str(caller.id), why
    )
    await record(_about(row), f"instance.{becomes}", caller.id, reason=why)


async def _deleted(row: asyncpg.Record, caller: Caller, status: Status) -> None:
    """Delete a locked instance that has ended, and tell of it."""
    await current_connection().execute(
        "DELETE FROM instance WHERE account_id = $1 AND id = $2", row["account_id"], row["id"]
    )
    await record(_about(row), "instance.deleted", caller.id, status=status)


async def _refuse_awaited(row: asyncpg.Record) -> None:
    """Refuse to delete what another instance has still to look at."""
    if row["parent_id"] is not None and await child.is_awaited(row["parent_id"], row["parent_wait"]):
        raise InstanceConflict(
            f"The instance {row['parent_id']} awaits this one and has not taken its result yet; try again when it has."
        )


def _following(verb: str, row: asyncpg.Record) -> Status:
    """Say what a verb makes of an instance, for dialects that have their own words for what it is."""
    try:
        return after(verb, Status(row["status"]))
    except TransitionRefused as refused:
        raise StateRefused(refused.status, row["restarted_as"]) from None


async def _locked(account_id: UUID, workflow_id: UUID | None, instance_id: UUID) -> asyncpg.Record:
    row = await current_connection().fetchrow(LOCKED, account_id, workflow_id, instance_id)
    if row is None:
        raise NotFound
    return row


def _after(verb: str, row: asyncpg.Record) -> Status:
    try:
        return after(verb, Status(row["status"]))
    except TransitionRefused as refused:
        raise InstanceConflict(REFUSALS[verb].format(refused.status)) from None


def _about(row: asyncpg.Record) -> Subject:
    return Subject(row["account_id"], row["workflow_id"], row["id"])


async def _fitting(
    access: Access, sandbox: Sandbox, workflow_id: UUID, instance_id: UUID, version: str
) -> None:
    """Look at an instance and the version that it is to be restarted as before any row is locked."""
    async with access.rows(Right.OPERATE) as caller:
        row = await current_connection().fetchrow(PRESENT, caller.account_id, workflow_id, instance_id)
        if row is None:
            raise NotFound
        version_id = await restarting.version_of(caller.account_id, workflow_id, row["version_id"], version)
        definition = await definition_of(version_id)
    await _refuse_misfits(access, sandbox, definition, row)


async def _refuse_misfits(
    access: Access, sandbox: Sandbox, definition: Definition, row: asyncpg.Record
) -> None:
    """Refuse to restart an instance as a version whose schema its inputs do not fit."""
    inputs: Any = msgspec.json.decode(row["trigger_inputs"])
    if isinstance(inputs, dict):
        errors = await violations(access, sandbox, definition, with_defaults(definition.input_schema, inputs))
        if errors:
            raise InputsRefused(errors=tuple(errors))
