"""`run: workflow` (contract 2.8): starts another workflow of the account, tells what it came to, ends it when nobody cares.

A child's id follows from its parent's and the key of the wait, so a job that runs twice starts it once.
"""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import msgspec

from service.engine.beginning import DEEPEST, New, begin, title_of
from service.engine.definitions import definition_of
from service.engine.events import Subject, record
from service.engine.flow import Raised, fits, raised, succeeded
from service.engine.frames import Calling, decode_state, waits
from service.engine.messages import Answered, Pending
from service.engine.queue import Job, finish
from service.engine.repeated import repeated_id
from service.engine.states import Status, sources
from service.language.document import Definition, RunWorkflow
from service.language.errors import Fault, fault
from service.language.expressions import Evaluation
from service.language.inputs import with_defaults
from service.language.questions import Answering, Validation, ask
from service.language.values import flaw
from tenancy.rows import current_connection, rows_of

if TYPE_CHECKING:  # which reads answers here
    from service.engine.loading import Loaded


PUBLISHED = """
SELECT version.id, version.version, workflow.paused
FROM workflow JOIN workflow_version AS version ON version.workflow_id = workflow.id
WHERE workflow.account_id = $1 AND workflow.namespace = $2 AND workflow.name = $3 AND workflow.status <> 'archived'
  AND version.account_id = $1 AND version.published_at IS NOT NULL AND ($4 = 'latest' OR version.version = $4)
ORDER BY version.number
"""

RELEASE = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:\+.*)?")  # a version (SemVer 2.0) that is no pre-release

ENDED = """
SELECT status, output, fault FROM instance
WHERE account_id = current_account() AND parent_id = $1 AND parent_wait = $2 AND ended_at IS NOT NULL
"""


class Target(msgspec.Struct, frozen=True):
    """The version of a workflow that a task wants to run."""

    version_id: UUID
    definition: Definition


async def perform(answering: Answering, loaded: "Loaded", what: Pending) -> Answered | None:
    """Start the workflow that a task wants; its answer comes with its end, or is returned where nobody awaits that.

    Raises:
        Raised: there is no such workflow, its input does not fit, or workflows are nested too deeply.
    """
    job, work, pointer = loaded.job, what.task.work, what.task.pointer
    assert isinstance(work, RunWorkflow)  # noqa: S101 - such jobs are those of `run`
    if loaded.row["depth"] >= DEEPEST:
        detail = f"Workflows run one another at most {DEEPEST} deep."
        raise raised("runtime", "Depth limit", detail, pointer)
    given = await evaluated(answering, job.account_id, work, what)
    async with rows_of(job.account_id):
        target = await found(job.account_id, work, pointer)
    given = await checked(answering, job.account_id, target.definition, given, pointer)
    async with rows_of(job.account_id):
        if not await is_wanted(job):
            await finish([job.id])
            return None
        await begin(child_of(loaded, what, target, given), target.definition, parent=str(job.instance_id))
        if work.awaited:
            await finish([job.id])
            return None
    # The job is finished by the transaction that lets the parent go on.
    return Answered(datetime.now(UTC), job.wait)


async def evaluated(answering: Answering, account_id: UUID, work: RunWorkflow, what: Pending) -> Any:
    """The child's input as the task gives it; an empty object where it gives none."""
    if work.input is None:
        return {}
    (answer,) = await ask(answering, account_id, [Evaluation(work.input, what.input, what.variables)])
    return succeeded(answer, what.task.pointer)


async def found(account_id: UUID, work: RunWorkflow, pointer: str) -> Target:
    """The published version that a task names, in the open transaction."""
    rows = await current_connection().fetch(PUBLISHED, account_id, work.namespace, work.name, work.version)
    chosen = latest(rows) if work.version == "latest" else next(iter(rows), None)
    if chosen is None:
        name = f"{work.namespace}/{work.name}"
        detail = f"No version {work.version} of the workflow {name} is published in this account."
        raise Raised(fault("configuration", "No such workflow", detail, pointer, status=404))
    if chosen["paused"]:
        detail = f"The workflow {work.namespace}/{work.name} is paused and starts no instances."
        raise raised("configuration", "Workflow paused", detail, pointer)
    return Target(chosen["id"], await definition_of(chosen["id"]))


def latest(rows: list[asyncpg.Record]) -> asyncpg.Record | None:
    """The highest of some versions that is no pre-release; of equal ones, which differ in their build, the newest."""
    releases = [(row, RELEASE.fullmatch(row["version"])) for row in rows]
    numbered = [(tuple(map(int, match.groups())), row) for row, match in releases if match]
    return max(reversed(numbered), key=lambda one: one[0], default=(None, None))[1]


async def checked(
    answering: Answering, account_id: UUID, definition: Definition, given: Any, pointer: str
) -> dict[str, Any]:
    """The child's input with the defaults of its schema, once it fits that."""
    if not isinstance(given, dict):
        title, detail = "The input is no object", "A workflow's input is an object; give it one with `input`."
        raise raised("validation", title, detail, pointer)
    complete = with_defaults(definition.input_schema, given)
    wrong = flaw(complete)
    if wrong is not None:
        raise raised("validation", "The input cannot be stored", f"The input {wrong}.", pointer)
    if definition.input_schema is not None:
        (answer,) = await ask(answering, account_id, [Validation(definition.input_schema, complete)])
        fits(answer, "input", pointer)
    return complete


async def is_wanted(job: Job) -> bool:
    """Whether the job is still to be done and the parent still waits.

    The parent's row is then locked, so that it cannot stop before its child is written, and whoever else does the same job
    comes after that.
    """
    connection = current_connection()
    state = await connection.fetchval(
        "SELECT state FROM instance WHERE account_id = $1 AND id = $2 AND ended_at IS NULL FOR UPDATE",
        job.account_id,
        job.instance_id,
    )
    if state is None or await connection.fetchval("SELECT id FROM job WHERE id = $1", job.id) is None:
        return False
    return isinstance(waits(decode_state(state).root).get(job.wait), Calling)


def child_of(loaded: "Loaded", what: Pending, target: Target, given: dict[str, Any]) -> New:
    """The instance to begin; only one that is awaited knows its parent."""
    row, work = loaded.row, what.task.work
    awaited = isinstance(work, RunWorkflow) and work.awaited
    return New(
        id=repeated_id(row["id"], what.key),
        account_id=loaded.job.account_id,
        version_id=target.version_id,
        name=title_of(target.definition),
        at=datetime.now(UTC),
        started_by=row["started_by"],
        started_by_name=row["started_by_name"],
        input=given,
        parent_id=row["id"] if awaited else None,
        parent_wait=loaded.job.wait if awaited else None,
        depth=row["depth"] + 1,
    )


async def answer_of(parent_id: UUID, wait: int) -> tuple[Any, Fault | None] | None:
    """What the workflow came to that an instance awaits under a number, in the open transaction; None before its end."""
    row = await current_connection().fetchrow(ENDED, parent_id, wait)
    if row is None:
        return None
    match row["status"]:
        case Status.COMPLETED:
            return msgspec.json.decode(row["output"]), None
        case Status.FAULTED:
            return None, msgspec.json.decode(row["fault"], type=Fault)
    return None, fault(
        "runtime", "Workflow cancelled", "The workflow that this task awaits was cancelled.", "/"
    )


async def is_awaited(parent_id: UUID, wait: int) -> bool:
    """Whether an instance still awaits a workflow under a number, in the open transaction."""
    state = await current_connection().fetchval(
        "SELECT state FROM instance WHERE account_id = current_account() AND id = $1 AND ended_at IS NULL",
        parent_id,
    )
    return state is not None and isinstance(waits(decode_state(state).root).get(wait), Calling)


async def cancel(job: Job) -> None:
    """End an instance that nobody awaits any more; the children that it awaits follow."""
    allowed, becomes = sources("cancel")
    async with rows_of(job.account_id) as connection:
        row = await connection.fetchrow(
            "SELECT workflow_id, status FROM instance WHERE account_id = $1 AND id = $2 FOR UPDATE",
            job.account_id,
            job.instance_id,
        )
        if row is not None and row["status"] in allowed:
            await connection.execute(
                "SELECT cancelled($1, $2, $3, $4)", job.account_id, job.instance_id, becomes, None
            )
            about = Subject(job.account_id, row["workflow_id"], job.instance_id)
            await record(about, f"instance.{becomes}", None)
        await finish([job.id])
