"""Restarts: a new instance that does again what another one did, from the beginning or from one of its top-level tasks.

What ends by it is what was suspended, and where a dialect says so what waits. The new instance takes the place of the old
one with whoever awaits that.
"""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from service.engine.beginning import New, begin
from service.engine.definitions import definition_of
from service.engine.events import Subject, record
from service.engine.frames import State, decode_state
from service.engine.messages import Entry
from service.engine.states import Status, TransitionRefused, after
from service.errors import InstanceConflict, StateRefused, WorkflowPaused
from service.language.document import Definition
from service.language.inputs import with_defaults
from tenancy.errors import BadRequest, FieldError, NotFound
from tenancy.rows import current_connection

LATEST = "latest"
RESTARTED = "restarted"  # why an instance is cancelled that had not ended

READ = """
SELECT id, account_id, workflow_id, version_id, status, name, trigger_inputs, state, parent_id, parent_wait, depth,
       restarted_as
FROM instance WHERE account_id = $1 AND id = $2 FOR NO KEY UPDATE
"""

LIVING = "SELECT true FROM instance WHERE account_id = $1 AND id = $2 AND ended_at IS NULL"

VERSION = """
SELECT workflow.status, workflow.paused, workflow.active_version_id,
       (SELECT version.id FROM workflow_version AS version
        WHERE version.account_id = $1 AND version.workflow_id = $2 AND version.version = $3
          AND version.published_at IS NOT NULL) AS named
FROM workflow WHERE workflow.account_id = $1 AND workflow.id = $2
"""
NUMBERED = VERSION.replace("version.version = $3", "version.number = $3::integer").replace(
    "AS named", "AS numbered"
)

# The history's last run of a task of the root list.
LAST_RUN = """
SELECT input, cut FROM task_run WHERE account_id = $1 AND instance_id = $2 AND pointer = $3 ORDER BY number DESC LIMIT 1
"""


class Options(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a restart runs: which version (None: the same one, `latest`: the newest published), from which top-level task."""

    version: str | None = None
    from_task: str | None = None


class Actor(msgspec.Struct, frozen=True):
    """In whose name an instance is restarted."""

    id: UUID
    name: str


class Access(msgspec.Struct, frozen=True):
    """What the new instance's URL is made of."""

    id: UUID
    secret_hash: bytes


class Asked(msgspec.Struct, frozen=True):
    """What is asked for, in whose name; `access` is what the new instance's URL is made of, if anybody is to have one."""

    options: Options
    actor: Actor
    access: Access | None = None


class Restarted(msgspec.Struct, frozen=True):
    """The new instance, and whether the old one, which was suspended, was cancelled for it."""

    id: UUID
    cancelled: bool


async def restart(
    account_id: UUID, instance_id: UUID, options: Options, actor: Actor, access: Access | None = None
) -> Restarted | None:
    """Restart an instance in the open transaction; None if there is no such instance. A refusal has written nothing.

    Raises:
        InstanceConflict: it is under way, or is restarted and runs again, or what it had is not kept.
        WorkflowPaused: its workflow is paused.
        BadRequest: there is no such version or task.
    """
    row = await current_connection().fetchrow(READ, account_id, instance_id)
    if row is None:
        return None
    becomes = await _allowed(row)
    version_id = await version_of(account_id, row["workflow_id"], row["version_id"], options.version)
    definition = await definition_of(version_id)
    entry = None if options.from_task is None else await _entry(row, definition, options.from_task)
    return await _begun_again(row, becomes, version_id, entry, Asked(options, actor, access))


async def version_numbered(account_id: UUID, workflow_id: UUID, number: int | None) -> UUID:
    """Find the published version of a number, or the one that a trigger starts, in the open transaction.

    Raises:
        InstanceConflict: the workflow is archived.
        WorkflowPaused: it is paused.
        NotFound: it has no such published version.
    """
    (row,) = await current_connection().fetch(NUMBERED, account_id, workflow_id, number)
    refuse_workflow(row)
    found: UUID | None = row["active_version_id"] if number is None else row["numbered"]
    if found is None:
        which = "version" if number is None else f"version {number}"
        raise NotFound(f"No {which} of the workflow definition is published.")
    return found


async def supersede(account_id: UUID, instance_id: UUID, version_id: UUID, actor: Actor) -> UUID:
    """Begin again, from the beginning as a published version, what has failed, waits or is suspended.

    In the open transaction, whose caller has looked at the workflow. What has been begun again once is past this.

    Raises:
        StateRefused: the instance has another status, or runs again already.
    """
    (row,) = await current_connection().fetch(READ, account_id, instance_id)
    becomes = superseded(Status(row["status"]), row["restarted_as"])
    begun = await _begun_again(row, becomes, version_id, None, Asked(Options(), actor))
    return begun.id


def superseded(status: Status, restarted_as: UUID | None) -> Status:
    """Say what becomes of an instance that is to be superseded.

    Raises:
        StateRefused: it cannot be, now.
    """
    try:
        becomes = after("supersede", status)
    except TransitionRefused:
        raise StateRefused(status, restarted_as) from None
    if restarted_as is not None:
        raise StateRefused(status, restarted_as)
    return becomes


async def _begun_again(
    row: asyncpg.Record, becomes: Status, version_id: UUID, entry: Entry | None, asked: Asked
) -> Restarted:
    """Write the new instance, and what becomes of the old one."""
    definition = await definition_of(version_id)
    ends = becomes is not Status(row["status"])
    new = _new(row, version_id, definition, entry, asked)
    if ends:
        new = msgspec.structs.replace(new, parent_id=row["parent_id"], parent_wait=row["parent_wait"])
    await _replaced(row, becomes, new.id, asked.actor)
    await begin(new, definition, **msgspec.to_builtins(asked.options), restarted_from=str(row["id"]))
    return Restarted(new.id, ends)


async def _allowed(row: asyncpg.Record) -> Status:
    """Say what becomes of the instance that is restarted.

    Raises:
        InstanceConflict: it cannot be, now.
    """
    try:
        becomes = after("restart", Status(row["status"]))
    except TransitionRefused as refused:
        raise InstanceConflict(
            f"The instance is under way ({refused.status}): suspend or cancel it first, or wait for its end."
        ) from None
    again = row["restarted_as"]
    if again is not None and await current_connection().fetchval(LIVING, row["account_id"], again):
        raise InstanceConflict(f"The instance has been restarted already and runs again as {again}.")
    return becomes


async def version_of(account_id: UUID, workflow_id: UUID, present: UUID, wanted: str | None) -> UUID:
    """Say which version a restart runs, in the open transaction.

    Raises:
        InstanceConflict: the workflow is archived.
        WorkflowPaused: it is paused.
        BadRequest: it has no such published version.
    """
    (row,) = await current_connection().fetch(VERSION, account_id, workflow_id, wanted)
    refuse_workflow(row)
    if wanted is None:
        return present
    found: UUID | None = row["active_version_id"] if wanted == LATEST else row["named"]
    if found is None:
        message = f"no version {wanted} of the workflow is published"
        raise BadRequest(errors=(FieldError("FIELD_INVALID", message, "version"),))
    return found


def refuse_workflow(row: asyncpg.Record) -> None:
    """Refuse to start an instance of a workflow that is archived or paused."""
    if row["status"] == "archived":
        raise InstanceConflict("The workflow is archived and starts no instances.")
    if row["paused"]:
        raise WorkflowPaused


async def _entry(row: asyncpg.Record, definition: Definition, name: str) -> Entry:
    """Say where the new instance begins: at a task by its name, with the input and the context that the old one had.

    Raises:
        BadRequest: the version has no such task.
        InstanceConflict: the old instance never came to it, or what it had there is not kept.
    """
    index = index_of(definition, name)
    if index is None:
        message = f"must be one of: {', '.join(task.name for task in definition.tasks)}"
        raise BadRequest(errors=(FieldError("FIELD_INVALID", message[:1000], "from_task"),))
    old = await definition_of(row["version_id"])
    at = index_of(old, name)
    if at is None:
        raise InstanceConflict(f"The version that the instance ran has no task {name}.")
    state = None if row["state"] is None else decode_state(row["state"])
    if state is None and row["status"] == Status.FAULTED:
        raise InstanceConflict("What the instance had is not kept; restart it from the beginning.")
    context = {} if state is None else state.context
    if state is not None and _stands_at(state, Status(row["status"]), at, name):
        return Entry(index, state.root.data, context)
    return Entry(index, await _input(row, old.tasks[at].pointer, name), context)


def index_of(definition: Definition, name: str) -> int | None:
    """Find a task of the root list by its name."""
    return next((index for index, task in enumerate(definition.tasks) if task.name == name), None)


def _stands_at(state: State, status: Status, index: int, name: str) -> bool:
    """Whether the state still holds the input of a task: the one that was under way last."""
    ended = state.last_completed_step == (index + 1, name)
    return state.root.index == index and status is not Status.COMPLETED and not ended


async def _input(row: asyncpg.Record, pointer: str, name: str) -> Any:
    """Read the input of a task's last run from the history.

    Raises:
        InstanceConflict: it has not run, or the history holds only the beginning of its input.
    """
    run = await current_connection().fetchrow(LAST_RUN, row["account_id"], row["id"], pointer)
    if run is None:
        raise InstanceConflict(
            f"The instance never came to the task {name}; restart it from an earlier one, or the one it was restarted from."
        )
    if run["cut"] is not None and "input" in msgspec.json.decode(run["cut"]):
        raise InstanceConflict(
            f"The input of the task {name} is too large to be kept; restart from an earlier one."
        )
    return msgspec.json.decode(run["input"])


def _new(
    row: asyncpg.Record, version_id: UUID, definition: Definition, entry: Entry | None, asked: Asked
) -> New:
    """The instance to begin, which nobody awaits."""
    given = msgspec.json.decode(row["trigger_inputs"])
    if version_id != row["version_id"] and isinstance(given, dict):
        given = with_defaults(definition.input_schema, given)
    new = New(
        id=uuid7(),
        account_id=row["account_id"],
        version_id=version_id,
        name=row["name"],
        at=datetime.now(UTC),
        started_by=asked.actor.id,
        started_by_name=asked.actor.name,
        input=given,
        depth=row["depth"],
        restarted_from=row["id"],
        entry=msgspec.json.encode(entry),
        actor=asked.actor.id,
    )
    if asked.access is None:
        return new
    return msgspec.structs.replace(
        new, access_id=asked.access.id, access_secret_hash=asked.access.secret_hash
    )


async def _replaced(row: asyncpg.Record, becomes: Status, new_id: UUID, actor: Actor) -> None:
    """Link the old instance with the new one, and cancel it if it ends by that: nobody awaits it any more then."""
    connection, about = current_connection(), Subject(row["account_id"], row["workflow_id"], row["id"])
    ends = becomes is not Status(row["status"])
    await connection.execute(
        "UPDATE instance SET restarted_as = $3, parent_id = CASE WHEN $4 THEN NULL ELSE parent_id END"
        " WHERE account_id = $1 AND id = $2",
        row["account_id"],
        row["id"],
        new_id,
        ends,
    )
    if ends:
        await connection.execute(
            "SELECT cancelled($1, $2, $3, $4, $5)",
            row["account_id"],
            row["id"],
            becomes,
            str(actor.id),
            RESTARTED,
        )
        await record(about, f"instance.{becomes}", actor.id, reason=RESTARTED)
    await record(about, "instance.restarted", actor.id, restarted_as=str(new_id))
