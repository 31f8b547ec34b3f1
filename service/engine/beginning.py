"""Instances that no trigger started: a workflow's `run` task did, a time, an event, or the restart of another one.

They begin as a row and a job; a worker makes their first advance.
"""

import secrets
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec

from service.engine.events import Subject, record
from service.engine.queue import Job, enqueue
from service.engine.states import Status
from service.language.document import Definition
from service.limits import space
from service.telemetry import tracing
from tenancy.rows import after_commit, current_connection

LONGEST_NAME = 255
DEEPEST = 10  # workflows that stand above one that another runs, or starts by an event (contract 1.6)

INSERT = """
INSERT INTO instance (id, account_id, workflow_id, version_id, version, name, status, started_at, started_by,
                      started_by_name, trigger_inputs, tags, total_steps, workflow_created_by, access_id,
                      access_secret_hash, parent_id, parent_wait, depth, schedule_id, restarted_from)
SELECT $3, version.account_id, version.workflow_id, version.id, version.version, $4, $5, $6, $7, $8, $9, $10, $11,
       workflow.created_by, $12, $13, $14, $15, $16, $17, $18
FROM workflow_version AS version JOIN workflow ON workflow.id = version.workflow_id
WHERE version.account_id = $1 AND version.id = $2
ON CONFLICT DO NOTHING
RETURNING workflow_id
"""


class New(msgspec.Struct, frozen=True, kw_only=True):
    """An instance to begin: of which version, in whose name, with which raw input, and what brought it about."""

    id: UUID
    account_id: UUID
    version_id: UUID
    name: str
    at: datetime
    started_by: UUID
    started_by_name: str
    input: Any
    parent_id: UUID | None = None
    parent_wait: int | None = None
    depth: int = 0
    schedule_id: UUID | None = None
    restarted_from: UUID | None = None
    entry: bytes | None = None  # JSON of a restart's `Entry`, or of null
    actor: UUID | None = None  # who asked for it; the engine if nobody did
    access_id: UUID = msgspec.field(default_factory=uuid4)
    access_secret_hash: bytes = msgspec.field(default_factory=lambda: secrets.token_bytes(32))


async def begin(new: New, definition: Definition, **because: Any) -> bool:
    """Write an instance that has not begun, and the job that begins it; False when there is one of its id already.

    `because` becomes the data of the event that tells of it. Unless whoever asks for it has made the secret of its URL,
    nobody knows that.
    """
    workflow_id = await current_connection().fetchval(
        INSERT,
        new.account_id,
        new.version_id,
        new.id,
        new.name[:LONGEST_NAME],
        Status.PENDING,
        new.at,
        new.started_by,
        new.started_by_name,
        msgspec.json.encode(new.input).decode(),
        [f"{key}:{value}" for key, value in definition.tags.items()],
        len(definition.tasks),
        new.access_id,
        new.access_secret_hash,
        new.parent_id,
        new.parent_wait,
        new.depth,
        new.schedule_id,
        new.restarted_from,
    )
    if workflow_id is None:
        return False
    space.note_start(new.account_id)
    await record(Subject(new.account_id, workflow_id, new.id), "instance.triggered", new.actor, **because)
    await enqueue([Job(new.account_id, new.id, "start", payload=new.entry)])
    if tracing.is_on():
        after_commit(lambda: tracing.started(new.account_id, workflow_id, new.id, new.at))
    return True


def title_of(definition: Definition) -> str:
    """What people call a workflow."""
    return definition.title or definition.name
