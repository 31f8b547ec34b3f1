"""Formance's words: the vendor's models, field for field, and the mapping of our rows onto them.

v1 and v2 have the same. Nothing is ever null: the vendor's TypeScript SDK refuses it where a field may be left out.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from service.engine.states import Status
from service.language.tasks import kinds_of
from service.operations.outlines import StageRun, stage_runs
from service.operations.pages import Row
from service.wire import Identifier, Timestamp, timestamp

MADE_HERE = "formance"  # the name under which a definition's metadata hold the vendor's config
CANCELED = "canceled"  # the error of what was aborted

ErrorCode = Literal["VALIDATION", "NOT_FOUND", "INTERNAL"]


class Error(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A refusal. The SDKs know these three codes and no other; the HTTP status tells more."""

    error_code: ErrorCode
    error_message: Annotated[str, Meta(description="what is wrong, and what to do about it")]
    details: Annotated[str, Meta(description="one line for each thing that is wrong")] | UnsetType = UNSET


class ServerInfo(msgspec.Struct):
    """What answers."""

    version: str


class WorkflowConfig(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A workflow as its author wrote it; of one that was written in another dialect, its top-level tasks by their kind."""

    stages: Annotated[
        list[dict[str, Any]],
        Meta(description="each has one key, the kind: noop, delay, wait_event, send or update"),
    ]
    name: str | UnsetType = UNSET


class Workflow(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A workflow. `deletedAt` is there when it has been deleted."""

    id: Identifier
    config: WorkflowConfig
    created_at: Timestamp
    updated_at: Timestamp
    deleted_at: Timestamp | UnsetType = UNSET


class StageStatus(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A stage that was begun; one that goes on has no `terminatedAt`."""

    stage: Annotated[int, Meta(ge=0, description="its place, from 0")]
    instance_id: Identifier = field(name="instanceID")
    started_at: Timestamp
    terminated_at: Timestamp | UnsetType = UNSET
    error: str | UnsetType = UNSET


class WorkflowInstance(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A run of a workflow, until it is `terminated`; it has failed if there is an `error`: `canceled` if it was aborted."""

    workflow_id: Identifier = field(name="workflowID")
    id: Identifier
    created_at: Timestamp
    updated_at: Timestamp
    terminated: bool
    terminated_at: Timestamp | UnsetType = UNSET
    error: str | UnsetType = UNSET
    status: (
        Annotated[
            list[StageStatus],
            Meta(
                description="the stages that were begun; absent in a list for one that has gone through many tasks"
            ),
        ]
        | UnsetType
    ) = UNSET
    workflow: (
        Annotated[Workflow, Meta(description="absent in a list of which it would make more than 16 MB")]
        | UnsetType
    ) = UNSET


class WorkflowInstanceHistory(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A stage that has been worked on: `RunDelay`, say, with its fields as the variables have made them."""

    name: str
    input: dict[str, Any]
    terminated: bool
    started_at: Timestamp
    terminated_at: Timestamp | UnsetType = UNSET
    error: str | UnsetType = UNSET


class WorkflowInstanceHistoryStage(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """One activity of a stage; `input` and `output` have its name as their only key."""

    name: str
    input: dict[str, Any]
    output: dict[str, Any] | UnsetType = UNSET
    terminated: bool
    started_at: Timestamp
    terminated_at: Timestamp | UnsetType = UNSET
    attempt: Annotated[int, Meta(ge=1)]
    last_failure: (
        Annotated[str, Meta(description="why the attempt before failed, while there is another to come")]
        | UnsetType
    ) = UNSET
    next_execution: Annotated[Timestamp, Meta(description="when the next attempt is made")] | UnsetType = (
        UNSET
    )
    error: str | UnsetType = UNSET


class InstanceEvent(msgspec.Struct):
    """An event by its name."""

    name: Annotated[str, Meta(min_length=1, max_length=1000)]


class Cursor(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A page of a list, without its entries."""

    page_size: int
    has_more: bool
    previous: str | UnsetType = UNSET
    next: str | UnsetType = UNSET


class WorkflowCursor(Cursor, kw_only=True):
    """A page of workflows."""

    data: list[Workflow]


class WorkflowInstanceCursor(Cursor, kw_only=True):
    """A page of instances."""

    data: list[WorkflowInstance]


class WorkflowResponse(msgspec.Struct):
    data: Workflow


class WorkflowListResponse(msgspec.Struct):
    data: list[Workflow]


class WorkflowCursorResponse(msgspec.Struct):
    cursor: WorkflowCursor


class WorkflowInstanceResponse(msgspec.Struct):
    data: WorkflowInstance


class WorkflowInstanceListResponse(msgspec.Struct):
    data: list[WorkflowInstance]


class WorkflowInstanceCursorResponse(msgspec.Struct):
    cursor: WorkflowInstanceCursor


class WorkflowInstanceHistoryResponse(msgspec.Struct):
    data: list[WorkflowInstanceHistory]


class WorkflowInstanceHistoryStageResponse(msgspec.Struct):
    data: list[WorkflowInstanceHistoryStage]


def config_of(document: str, title: str) -> WorkflowConfig:
    """Read from a definition what its author wrote, or outline one that was written in another dialect."""
    definition = msgspec.json.decode(document)
    sent = (definition["document"].get("metadata") or {}).get(MADE_HERE)
    try:
        return msgspec.convert(sent, WorkflowConfig)
    except msgspec.ValidationError:
        tasks = [task for named in definition["do"] for task in named.values()]
        return WorkflowConfig(stages=[outlined(task) for task in tasks], name=title)


def outlined(task: Mapping[str, Any]) -> dict[str, Any]:
    """Tell a task by its kind, with what that says where it is an object."""
    (kind,) = kinds_of(task)
    return {kind: task[kind] if isinstance(task[kind], dict) else {}}


def workflow(row: Row, config: WorkflowConfig | None = None) -> Workflow:
    """Word a workflow."""
    told = Workflow(
        id=str(row["id"]),
        config=config or config_of(row["document"], row["title"]),
        created_at=timestamp(row["created_at"]),
        updated_at=timestamp(row["modified_at"]),
    )
    if row["status"] == "archived":
        told.deleted_at = told.updated_at
    return told


def workflow_of(row: Row, config: WorkflowConfig) -> Workflow:
    """Word the workflow of an instance's row."""
    names = ("title", "status", "created_at", "modified_at")
    own = {name: row[f"workflow_{name}"] for name in names}
    return workflow({"id": row["workflow_id"], **own}, config)


def instance(row: Row) -> WorkflowInstance:
    """Word an instance with its workflow and its stages."""
    config = config_of(row["document"], row["workflow_title"])
    told = outline(row, config)
    told.workflow = workflow_of(row, config)
    return told


def outline(row: Row, config: WorkflowConfig | None) -> WorkflowInstance:
    """Word an instance without its workflow; the stages are known where its config is."""
    told = WorkflowInstance(
        workflow_id=str(row["workflow_id"]),
        id=str(row["id"]),
        created_at=timestamp(row["started_at"]),
        updated_at=timestamp(row["last_modified_at"]),
        terminated=row["ended_at"] is not None,
    )
    if row["ended_at"] is not None:
        told.terminated_at = timestamp(row["ended_at"])
        told.error = error_of(row["status"], row["fault"])
    runs = stage_runs(row)
    if runs is not None and config is not None:
        stages = [(stage_number(run.pointer), run) for run in runs]
        told.status = [
            stage_status(row["id"], number, run) for number, run in stages if number < len(config.stages)
        ]
    return told


def error_of(status: str, fault: bytes | None) -> str | UnsetType:
    """Say in a sentence why an instance has failed, if it has."""
    if status == Status.CANCELLED:
        return CANCELED
    if status != Status.FAULTED:
        return UNSET
    told = msgspec.json.decode(fault or b"{}")
    return str(told.get("detail") or told.get("title") or "failed")


def stage_number(pointer: str) -> int:
    """Read the place of a top-level task, from 0, out of its pointer or that of a task inside it: `/do/0/name`."""
    return int(pointer.split("/", 3)[2])


def stage_status(instance_id: UUID, number: int, run: StageRun) -> StageStatus:
    """Word a stage that was begun."""
    told = StageStatus(
        stage=number, instance_id=str(instance_id), started_at=timestamp(run.started_at), error=run_error(run)
    )
    if run.ended_at is not None:
        told.terminated_at = timestamp(run.ended_at)
    return told


def run_error(run: StageRun) -> str | UnsetType:
    """Say in a sentence why a task has failed, if it has."""
    if run.status == Status.CANCELLED:
        return CANCELED
    return (run.error or "failed") if run.status == Status.FAULTED else UNSET


def instances(rows: list[Row], most: int) -> list[WorkflowInstance]:
    """Word a list, with the workflows of its instances for as long as these make no more than so many bytes."""
    configs = {
        row["version_id"]: config_of(row["document"], row["workflow_title"])
        for row in rows
        if row["document"] is not None
    }
    told = []
    for row in rows:
        config = configs.get(row["version_id"])
        one = outline(row, config)
        most -= len(row["document"] or "")
        if config is not None and most >= 0:
            one.workflow = workflow_of(row, config)
        told.append(one)
    return told
