"""The words of what is done with instances under way or ended, one by one and in bulk. Ours: the vendor's API only cancels."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service.maestro.models import ResponseMetadata
from service.operations.bulk import MOST_INSTANCES
from service.operations.pages import Row
from service.wire import Identifier, Timestamp, maybe_timestamp, timestamp

LONGEST_REASON = 1000  # characters

Reason = Annotated[str, Meta(min_length=1, max_length=LONGEST_REASON, description="told with the instance")]
Version = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        description="`document.version` of a published version, or `latest`; absent: the one that the instance ran",
    ),
]
FromTask = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        description="name of a top-level task to begin at, with the data that it had; absent: the beginning",
    ),
]
ConfirmCount = Annotated[
    int,
    Meta(
        ge=0,
        le=MOST_INSTANCES,
        description="how many instances the filter finds; nothing is done unless it is given and right",
    ),
]


class CancelWorkflowInstance(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Why an instance is canceled; may be left out with the whole body."""

    reason: Reason | UnsetType = UNSET


class RestartWorkflowInstance(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a restart runs; may be left out with the whole body."""

    version: Version | UnsetType = UNSET
    from_task: FromTask | UnsetType = UNSET


class InstanceSuspended(msgspec.Struct, kw_only=True):
    instance_id: Identifier
    suspended_at: Timestamp
    response_metadata: ResponseMetadata


class InstanceResumed(msgspec.Struct, kw_only=True):
    instance_id: Identifier
    response_metadata: ResponseMetadata


class InstanceRestarted(msgspec.Struct, kw_only=True):
    """The new instance; `canceled` says that the old one was suspended and has been canceled for it."""

    instance_id: Identifier
    instance_url: Annotated[
        str,
        Meta(
            description="page of the new instance; whoever holds it may act",
            extra_json_schema={"format": "uri"},
        ),
    ]
    restarted_from: Identifier
    canceled: bool
    response_metadata: ResponseMetadata


class BulkCancel(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How many instances are to be canceled, and why."""

    confirm_count: ConfirmCount | UnsetType = UNSET
    reason: Reason | UnsetType = UNSET


class BulkRestart(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How many instances are to be restarted, and what they run."""

    confirm_count: ConfirmCount | UnsetType = UNSET
    version: Version | UnsetType = UNSET
    from_task: FromTask | UnsetType = UNSET


class BulkAction(msgspec.Struct, kw_only=True):
    """One verb for many instances, done in the background."""

    id: Identifier
    action: Annotated[str, Meta(extra_json_schema={"x-extensible-enum": ["cancel", "restart"]})]
    status: Annotated[
        str, Meta(extra_json_schema={"x-extensible-enum": ["running", "completed", "cancelled"]})
    ]
    filter: Annotated[dict[str, Any], Meta(description="the query that its instances were found by")]
    options: Annotated[dict[str, Any], Meta(description="reason, or version and from_task")]
    total_count: int
    done_count: int
    skipped_count: Annotated[int, Meta(description="whose state did not allow it when it was their turn")]
    failed_count: Annotated[int, Meta(description="where something went wrong; the operator's log tells")]
    created_at: Timestamp
    created_by: Identifier
    created_by_name: str
    ended_at: Timestamp | UnsetType = UNSET


class BulkActionRead(BulkAction, kw_only=True):
    """A bulk action with how far it is."""

    response_metadata: ResponseMetadata


class BulkActionsList(msgspec.Struct, kw_only=True):
    data: list[BulkAction]
    response_metadata: ResponseMetadata


class BulkActionAnswer(msgspec.Struct, kw_only=True):
    """How many instances the filter finds; `bulk_action` is there once that has been confirmed and the action begun."""

    matched_count: int
    message: str
    bulk_action: BulkAction | UnsetType = UNSET
    response_metadata: ResponseMetadata


def bulk_action(row: Row) -> BulkAction:
    """Word a bulk action's row."""
    return BulkAction(
        id=str(row["id"]),
        action=row["verb"],
        status=row["status"],
        filter=msgspec.json.decode(row["filters"]),
        options=msgspec.json.decode(row["options"]),
        total_count=row["total"],
        done_count=row["done"],
        skipped_count=row["skipped"],
        failed_count=row["failed"],
        created_at=timestamp(row["created_at"]),
        created_by=str(row["created_by"]),
        created_by_name=row["created_by_name"],
        ended_at=maybe_timestamp(row["ended_at"]) or UNSET,
    )


def bulk_action_read(row: Row, response_metadata: ResponseMetadata) -> BulkActionRead:
    """Word a bulk action that is read by itself."""
    return BulkActionRead(**msgspec.structs.asdict(bulk_action(row)), response_metadata=response_metadata)
