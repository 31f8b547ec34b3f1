"""The words of an instance's history and of its events, which the vendor's API lacks."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from service.engine.events import Cursor
from service.maestro.models import ResponseMetadata
from service.operations.pages import Row
from service.wire import Identifier, Timestamp, timestamp

RunStatus = Annotated[
    str,
    Meta(
        extra_json_schema={"x-extensible-enum": ["running", "skipped", "completed", "faulted", "cancelled"]}
    ),
]


class TaskRun(msgspec.Struct, kw_only=True, omit_defaults=True):
    """That an instance entered a task. Of a value above 16 KiB a text is told, its beginning, and `cut` names it."""

    task_name: str
    task_type: Annotated[str, Meta(description="the task's key in the definition: `call`, `do`, `set`, ...")]
    position: Annotated[str, Meta(description="JSON Pointer of the task in the definition")]
    iteration: Annotated[int, Meta(description="inside of a `for`: which turn, from 0")] | UnsetType = UNSET
    attempt: Annotated[int, Meta(description="inside of a `try`: which attempt, from 1")]
    status: RunStatus
    input: Annotated[Any, Meta(description="any JSON value")] = UNSET
    output: Annotated[Any, Meta(description="any JSON value; absent until there is one")] = UNSET
    error: Annotated[Any, Meta(description="the DSL's error object; absent if there is none")] = UNSET
    cut: (
        Annotated[dict[str, int], Meta(description="field: about how many bytes its value had")] | UnsetType
    ) = UNSET
    started_at: Timestamp
    ended_at: Annotated[Timestamp, Meta(description="absent while it runs")] | UnsetType = UNSET


class InstanceHistory(msgspec.Struct, kw_only=True):
    """A page of an instance's task runs, in the order in which they began."""

    data: list[TaskRun]
    response_metadata: ResponseMetadata


class RecordedEvent(msgspec.Struct, kw_only=True):
    """Something that happened in the account, as a stream of events tells it."""

    id: Annotated[str, Meta(description="where it stands among the account's events: a `Last-Event-ID`")]
    type: Annotated[str, Meta(description="`instance.completed` and the like; more come with time")]
    at: Timestamp
    workflow_id: Identifier | UnsetType = UNSET
    instance_id: Identifier | UnsetType = UNSET
    actor: (
        Annotated[
            Identifier, Meta(description="the user or client who did it; absent if the service itself did")
        ]
        | UnsetType
    ) = UNSET
    data: Annotated[dict[str, Any], Meta(description="what belongs to the type")]


def recorded_event(row: Row) -> RecordedEvent:
    """Word an event's row."""
    return RecordedEvent(
        id=event_id(Cursor(row["written_in"], row["id"])),
        type=row["type"],
        at=timestamp(row["at"]),
        workflow_id=maybe_id(row["workflow_id"]),
        instance_id=maybe_id(row["instance_id"]),
        actor=maybe_id(row["actor"]),
        data=raw(row["data"]),
    )


def event_id(cursor: Cursor) -> str:
    """Write a place among events as clients know it."""
    return f"{cursor.written_in}-{cursor.id}"


def maybe_id(identifier: UUID | None) -> str | UnsetType:
    """Word an id that may be absent."""
    return UNSET if identifier is None else str(identifier)


def task_run(row: Row) -> TaskRun:
    """Word a task run's row. JSON columns go out as the text that they are stored as."""
    return TaskRun(
        task_name=row["name"],
        task_type=row["kind"],
        position=row["pointer"],
        iteration=UNSET if row["iteration"] is None else row["iteration"],
        attempt=row["attempt"],
        status=row["status"],
        input=raw(row["input"]),
        output=raw(row["output"]),
        error=raw(row["error"]),
        cut=raw(row["cut"]),
        started_at=timestamp(row["started_at"]),
        ended_at=UNSET if row["ended_at"] is None else timestamp(row["ended_at"]),
    )


def raw(text: str | None) -> Any:
    """JSON text as it goes out, nothing where there is none."""
    return UNSET if text is None else Raw(text)


def history(rows: Sequence[Row], metadata: ResponseMetadata) -> InstanceHistory:
    """Word a page of task runs."""
    return InstanceHistory(data=[task_run(row) for row in rows], response_metadata=metadata)
