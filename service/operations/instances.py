"""What people and clients do with instances: trigger, cancel and signal them; get, list and count them."""

import hashlib
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from auth.bearer import Access, Caller, Credential, new_secret
from service.engine.definitions import definition_of
from service.engine.events import Subject, record
from service.engine.queue import Job, enqueue
from service.engine.states import Status, TransitionRefused, after
from service.engine.worker import let_go
from service.errors import InputsRefused, InstanceConflict, NotTriggerable, WorkflowPaused
from service.language.cloudevents import EventRefused, complete
from service.language.document import Definition
from service.language.expressions import ExpressionFailure
from service.language.inputs import with_defaults
from service.language.sandbox import Sandbox, Violation, is_tame
from service.operations.pages import Page, Row, binding, position
from service.operations.workflows import cut
from service.tables import Instance, Signal, Workflow
from tenancy.errors import BadRequest, FieldError, Forbidden, NotFound, Unauthenticated
from tenancy.rows import current_connection, read

LONGEST_NAME = 255
# Arrays and objects in one another. An answer holds them up to four levels deep, and common JSON readers stop at 64.
DEEPEST_VALUE = 60
KEPT_SIGNALS = 100
# The largest integer that every SDK, jq and JSON reader of doubles takes for what it is.
LARGEST_INTEGER = 2**53 - 1
# How many instances a total counts one by one; beyond it the planner's estimate is told.
COUNTED = 1000

COLUMNS = """id, account_id, workflow_id, version_id, version, name, status, started_at, started_by, started_by_name,
started_by_role, ended_at, expires_at, last_modified_at, canceled_at, canceled_by, trigger_inputs, tags, total_steps,
last_completed_step, last_completed_step_name, workflow_created_by, output, fault"""

TRIGGERED = """
SELECT workflow.status, workflow.paused, workflow.active_version_id, workflow.created_by
FROM workflow WHERE workflow.id = $1
"""

INSERT = """
INSERT INTO instance (id, account_id, workflow_id, version_id, version, name, status, started_by, started_by_name,
                      trigger_inputs, tags, total_steps, workflow_created_by, access_id, access_secret_hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
"""

CANCEL = """
UPDATE instance SET status = {}, ended_at = clock_timestamp(), canceled_at = clock_timestamp(), canceled_by = {},
       last_modified_at = clock_timestamp(), sequence = sequence + 1, state = NULL
WHERE id = {}
"""


class Started(msgspec.Struct, frozen=True):
    """A new instance, and the secret that lets whoever holds its URL act on it."""

    id: UUID
    access_id: UUID
    access_secret: str


class Filters(msgspec.Struct, frozen=True):
    """What a list is narrowed to; `in_progress` True means not ended, `status` an end that instances came to."""

    workflow_ids: tuple[UUID, ...] = ()
    in_progress: bool = False
    status: Status | None = None
    started_by: UUID | None = None


async def trigger(
    access: Access, sandbox: Sandbox, workflow_id: UUID, name: str, inputs: dict[str, Any]
) -> Started:
    """Start an instance of a workflow's published version.

    The inputs get the input schema's defaults and are checked against it. A schema that could cost much is checked in
    the sandbox between two transactions, so that no connection waits for a stranger's schema.

    Raises:
        NotFound: no such workflow.
        NotTriggerable: it is paused, archived or was never published.
        InputsRefused: with one entry for each field that is wrong.
    """
    checked: UUID | None = None
    while True:
        async with access.rows() as caller:
            workflow = await current_connection().fetchrow(TRIGGERED, workflow_id)
            if workflow is None:
                raise NotFound
            version_id = triggerable_version(workflow)
            definition = await definition_of(version_id)
            complete = with_defaults(definition.input_schema, inputs)
            refuse_unstorable(name, complete)
            if definition.input_schema is None or checked == version_id or is_tame(definition.input_schema):
                if checked != version_id:
                    await check_inputs(sandbox, access.account_id, definition, complete)
                return await _start(caller, workflow_id, workflow["created_by"], version_id, name, complete)
        await check_inputs(sandbox, access.account_id, definition, complete)
        checked = version_id


def triggerable_version(workflow: asyncpg.Record) -> UUID:
    """Return the version that a trigger starts.

    Raises:
        NotTriggerable: see `trigger`.
    """
    if workflow["status"] == "archived":
        raise NotTriggerable("WORKFLOW_ARCHIVED", "The workflow is archived and takes no triggers.")
    if workflow["status"] != "active":
        raise NotTriggerable("WORKFLOW_NOT_ACTIVE", "The workflow was never published; publish it first.")
    if workflow["paused"]:
        raise WorkflowPaused
    version_id: UUID = workflow["active_version_id"]
    return version_id


async def check_inputs(
    sandbox: Sandbox, account_id: UUID, definition: Definition, inputs: dict[str, Any]
) -> None:
    """Check inputs against the definition's schema.

    Raises:
        InputsRefused: with one entry for each violation.
    """
    if definition.input_schema is None:
        return
    violations = await sandbox.validate(account_id, definition.input_schema, inputs)
    if isinstance(violations, ExpressionFailure):
        raise InputsRefused(errors=(FieldError("SCHEMA_LIMIT", f"{violations.title}: {violations.detail}"),))
    if violations:
        raise InputsRefused(errors=tuple(one for violation in violations for one in named(violation, inputs)))


def named(violation: Violation, inputs: dict[str, Any]) -> list[FieldError]:
    """Name the fields that a violation is about: the one that is missing, each one that is unknown, or the wrong value."""
    code = "FIELD_REQUIRED" if violation.keyword == "required" else "FIELD_INVALID"
    return [
        FieldError(code, violation.message, "/".join(map(str, ("trigger_inputs", *violation.path, *field))))
        for field in about(violation, inputs)
    ]


def about(violation: Violation, inputs: dict[str, Any]) -> list[tuple[str, ...]]:
    """Say which fields below its place a violation is about; the validator tells their names in its message alone."""
    if violation.keyword == "required":
        name, end, _ = violation.message.rpartition(" is a required property")
        return [(msgspec.json.decode(name, type=str),)] if end else [()]
    if violation.keyword in ("additionalProperties", "unevaluatedProperties"):
        place: Any = inputs
        for step in violation.path:
            place = place[step]
        return [(name,) for name in place if f"'{name}'" in violation.message] or [()]
    return [()]


def refuse_unstorable(name: str, inputs: dict[str, Any]) -> None:
    """Refuse what cannot be stored or read back (see `unstorable`), and a name that is empty or too long.

    Raises:
        InputsRefused: with one entry for each field.
    """
    errors = unstorable_fields(inputs, "trigger_inputs/")
    if NUL in name:
        errors.append(FieldError("FIELD_INVALID", NO_NUL, "instance_name"))
    if not 1 <= len(name) <= LONGEST_NAME:
        errors.append(
            FieldError("FIELD_INVALID", f"must have 1 to {LONGEST_NAME} characters", "instance_name")
        )
    if errors:
        raise InputsRefused(errors=tuple(errors))


NUL = "\0"
NO_NUL = "must not contain the NUL character (U+0000)"


def unstorable_fields(fields: dict[str, Any], place: str = "") -> list[FieldError]:
    """List the fields of an object that cannot be stored, each once."""
    return [
        FieldError("FIELD_INVALID", problem, place + field)
        for field, value in fields.items()
        if (problem := NO_NUL if NUL in field else unstorable(value)) is not None
    ]


def unstorable(value: Any) -> str | None:
    """Say what of a JSON value PostgreSQL or JSON readers cannot hold: NUL characters, huge integers, depth."""
    waiting = [(value, 1)]
    while waiting:
        node, depth = waiting.pop()
        if isinstance(node, str) and NUL in node:
            return NO_NUL
        if isinstance(node, int) and abs(node) > LARGEST_INTEGER:
            return f"must not contain integers beyond {LARGEST_INTEGER}; send a string"
        if isinstance(node, dict | list):
            if depth > DEEPEST_VALUE:
                return f"must not be nested more than {DEEPEST_VALUE} levels deep"
            parts = [*node, *node.values()] if isinstance(node, dict) else node
            waiting.extend((part, depth + 1) for part in parts)
    return None


async def get(credential: Credential, workflow_id: UUID, instance_id: UUID) -> Row:
    """Return one instance, in one round trip.

    Raises:
        Unauthenticated, Forbidden, NotFound: as for any operation.
    """
    rows = await read(
        "SELECT * FROM get_instance($1, $2, $3, $4, $5)",
        credential.token_hash,
        credential.account_id,
        credential.scopes,
        workflow_id,
        instance_id,
    )
    if not rows or rows[0]["verdict"] == NotFound.status:
        raise NotFound
    row = rows[0]
    if row["verdict"] == Unauthenticated.status:
        raise Unauthenticated
    if row["verdict"] == Forbidden.status:
        raise Forbidden(scopes=credential.scopes)
    return row


async def get_list(
    access: Access,
    filters: Filters,
    size: int,
    ctoken: str | None,
    *,
    of_workflow: UUID | None = None,
    counted: bool = False,
) -> Page:
    """Return a page of instances, newest first.

    `of_workflow` narrows to one workflow, which must exist. A member may ask for their own alone where `counted`, the
    account-wide list, is asked for.

    Raises:
        NotFound: `of_workflow` is not there.
        Forbidden: a member asked for what others started.
        PageTokenRefused: the token is not of this list.
    """
    async with access.rows() as caller:
        if of_workflow is not None:
            if not await Workflow.exists().where(Workflow.id == of_workflow).run():
                raise NotFound
            filters = msgspec.structs.replace(filters, workflow_ids=(of_workflow,))
        if counted and not caller.sees_all:
            if filters.started_by not in (None, caller.id):
                raise Forbidden("Only an administrator of the account may list what others started.")
            filters = msgspec.structs.replace(filters, started_by=caller.id)
        bound_to = binding(caller.account_id, "instances", of_workflow is None, filters)
        where, arguments = conditions(caller.account_id, filters)
        begin = position(ctoken, bound_to)
        total = None
        if counted:
            total = begin.total if begin is not None else await _count(where, arguments)
        if begin is not None:
            where += f" AND (started_at, id) < (${len(arguments) + 1}, ${len(arguments) + 2})"
            arguments += [begin.at, begin.id]
        rows = await current_connection().fetch(
            f"SELECT {COLUMNS} FROM instance WHERE {where} ORDER BY started_at DESC, id DESC LIMIT {size + 1}",
            *arguments,
        )
        return cut(rows, size, "started_at", bound_to, total)


def conditions(account_id: UUID, filters: Filters) -> tuple[str, list[Any]]:
    """Write filters as a WHERE clause and its arguments. The account is named so that the planner knows its size."""
    where, arguments = ["account_id = $1"], list[Any]([account_id])
    if filters.in_progress:
        where.append("ended_at IS NULL")
    for condition, value in (
        ("workflow_id = ${}", filters.workflow_ids[0] if len(filters.workflow_ids) == 1 else None),
        ("workflow_id = ANY(${})", list(filters.workflow_ids) if len(filters.workflow_ids) > 1 else None),
        ("ended_at IS NOT NULL AND status = ${}", filters.status),
        ("started_by = ${}", filters.started_by),
    ):
        if value is not None:
            arguments.append(value)
            where.append(condition.format(len(arguments)))
    return " AND ".join(where), arguments


async def cancel(access: Access, workflow_id: UUID, instance_id: UUID) -> None:
    """End an instance now; what waits is forgotten, later steps never run.

    Raises:
        NotFound: no such instance of that workflow.
        InstanceConflict: it has ended already.
    """
    async with access.rows() as caller:
        status = await _locked_status(workflow_id, instance_id)
        try:
            ended = after("cancel", status)
        except TransitionRefused:
            raise InstanceConflict(
                f"The instance has ended already ({status}) and cannot be canceled."
            ) from None
        await Instance.raw(CANCEL, ended, str(caller.id), instance_id).run()
        await let_go(instance_id)
        await record(Subject(caller.account_id, workflow_id, instance_id), "instance.cancelled", caller.id)


async def signal(
    access: Access, workflow_id: UUID, instance_id: UUID, event: dict[str, Any]
) -> dict[str, Any]:
    """Send an event to one instance; it is kept until a `listen` takes it or the instance ends.

    The same event (source and id) again is kept once. Returns the event, with what its sender left out.

    Raises:
        NotFound: no such instance of that workflow.
        BadRequest: it is not a CloudEvent.
        InstanceConflict: it has ended, or 100 events wait for it already.
    """
    async with access.rows() as caller:
        status = await _locked_status(workflow_id, instance_id)
        if status.terminal:
            raise InstanceConflict(f"The instance has ended ({status}) and takes no events.")
        errors = unstorable_fields(event)
        if errors:
            raise BadRequest(errors=tuple(errors))
        try:
            whole = complete(
                event, identifier=str(uuid4()), source=f"urn:uuid:{caller.id}", at=datetime.now(UTC)
            )
        except EventRefused as error:
            raise BadRequest(
                errors=tuple(FieldError("FIELD_INVALID", one.message, one.pointer) for one in error.problems)
            ) from None
        if await Signal.count().where(Signal.instance_id == instance_id).run() >= KEPT_SIGNALS:
            raise InstanceConflict(
                f"{KEPT_SIGNALS} events wait for this instance already; let it take some first."
            )
        await Signal.raw(
            "INSERT INTO signal (id, account_id, instance_id, event_key, event) VALUES ({}, {}, {}, {}, {})"
            " ON CONFLICT (account_id, instance_id, event_key) DO NOTHING",
            uuid7(),
            caller.account_id,
            instance_id,
            # A digest, as an index takes no more than some 2,700 bytes.
            hashlib.sha256(msgspec.json.encode([whole["source"], whole["id"]])).hexdigest(),
            msgspec.json.encode(whole),
        ).run()
        await enqueue([Job(caller.account_id, instance_id, "event")])
        await record(
            Subject(caller.account_id, workflow_id, instance_id),
            "instance.signalled",
            caller.id,
            type=whole["type"],
        )
        return whole


async def _start(
    caller: Caller, workflow_id: UUID, created_by: UUID, version_id: UUID, name: str, inputs: dict[str, Any]
) -> Started:
    definition = await definition_of(version_id)
    started = Started(uuid7(), uuid4(), new_secret())
    await current_connection().execute(
        INSERT,
        started.id,
        caller.account_id,
        workflow_id,
        version_id,
        definition.version,
        name,
        Status.PENDING,
        caller.id,
        caller.name,
        msgspec.json.encode(inputs).decode(),
        [f"{key}:{value}" for key, value in definition.tags.items()],
        len(definition.tasks),
        created_by,
        started.access_id,
        hashlib.sha256(started.access_secret.encode()).digest(),
    )
    await record(Subject(caller.account_id, workflow_id, started.id), "instance.triggered", caller.id)
    await enqueue([Job(caller.account_id, started.id, "start")])
    return started


async def _locked_status(workflow_id: UUID, instance_id: UUID) -> Status:
    rows = await Instance.raw(
        "SELECT status FROM instance WHERE id = {} AND workflow_id = {} FOR UPDATE", instance_id, workflow_id
    ).run()
    if not rows:
        raise NotFound
    return Status(rows[0]["status"])


async def _count(where: str, arguments: list[Any]) -> int:
    """Count matching instances: exactly up to 1,000, beyond that as the planner's statistics estimate them."""
    connection = current_connection()
    few: int = await connection.fetchval(
        f"SELECT count(*) FROM (SELECT FROM instance WHERE {where} LIMIT {COUNTED + 1}) AS first_ones",
        *arguments,
    )
    if few <= COUNTED:
        return few
    plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) SELECT FROM instance WHERE {where}", *arguments)
    return max(few, int(msgspec.json.decode(plan)[0]["Plan"]["Plan Rows"]))
