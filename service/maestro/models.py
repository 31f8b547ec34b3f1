"""Maestro's words: the vendor's models, field for field, and the mapping of our rows onto them.

Nothing is null but where the vendor's strictest SDK takes it (`ended_at`, `expires_at`, `canceled_at`, `canceled_by`,
`last_completed_step_name`); what is absent is left out. SDKs ignore fields they do not know, so our own extra ones
(`output`, `error`, `required` of an input, `page_token_next`) are safe.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from service.engine.states import Status
from service.language.errors import Fault, Problem
from service.language.inputs import TriggerField
from service.operations.pages import Row
from service.operations.versions import Stored
from service.operations.workflows import shown_status
from service.wire import Identifier, Timestamp, maybe_timestamp, timestamp

# How Maestro says the engine's seven phases.
STATUS_WORDS = {
    Status.PENDING: "In Progress",
    Status.RUNNING: "In Progress",
    Status.WAITING: "In Progress",
    Status.SUSPENDED: "In Progress",
    Status.COMPLETED: "Completed",
    Status.FAULTED: "Failed",
    Status.CANCELLED: "Canceled",
}

LONGEST_REASON = 500  # characters

WorkflowStatus = Annotated[
    str,
    Meta(
        description="`paused` is an active workflow that takes no triggers",
        extra_json_schema={"x-extensible-enum": ["active", "inactive", "paused", "archived"]},
    ),
]
WorkflowState = Literal["active", "inactive", "publishing", "unpublishing", "archived", "archiving"]


class ResponseMetadata(msgspec.Struct, kw_only=True):
    """True facts about this answer."""

    request_id: Identifier
    response_timestamp: Timestamp
    response_duration_ms: Annotated[int, Meta(ge=0)]
    page_limit: Annotated[int, Meta(description="most entries that this page could hold")] | UnsetType = UNSET
    page_token_next: (
        Annotated[str, Meta(description="send it as `ctoken` for the next page; absent on the last")]
        | UnsetType
    ) = UNSET


class ResourceMetadata(msgspec.Struct, kw_only=True):
    """Who made and last changed a workflow."""

    created_at: Timestamp
    created_by: Identifier
    modified_at: Timestamp
    modified_by: Identifier


class Workflow(msgspec.Struct, kw_only=True):
    """A workflow as the vendor lists it. `status` is also `paused` for an active workflow that takes no triggers."""

    id: Identifier
    name: str
    account_id: Identifier
    status: WorkflowStatus
    metadata: ResourceMetadata


class WorkflowsListSuccess(msgspec.Struct, kw_only=True):
    data: list[Workflow]
    response_metadata: ResponseMetadata


class Warning(msgspec.Struct, kw_only=True):  # noqa: A001 - the wire's word
    """Something in a definition that is allowed and probably not meant."""

    code: str
    message: str
    target: Annotated[str, Meta(description="JSON Pointer into the document")]


class WorkflowDefinition(msgspec.Struct, kw_only=True):
    """A workflow with its newest version: what authors work on. Ours; the vendor's API cannot author."""

    id: Identifier
    name: str
    account_id: Identifier
    status: WorkflowStatus
    metadata: ResourceMetadata
    namespace: str
    version: Annotated[str, Meta(description="`document.version` of the newest version")]
    active_version: (
        Annotated[str, Meta(description="the version that triggers start; absent before the first publish")]
        | UnsetType
    ) = UNSET
    definition: Annotated[dict[str, Any], Meta(description="the newest version's document")]
    warnings: list[Warning]
    response_metadata: ResponseMetadata


class WorkflowVersion(msgspec.Struct, kw_only=True):
    id: Identifier
    version: str
    active: Annotated[bool, Meta(description="whether triggers start it")]
    created_at: Timestamp
    created_by: Identifier
    published_at: Timestamp | UnsetType = UNSET


class WorkflowVersionsList(msgspec.Struct, kw_only=True):
    data: list[WorkflowVersion]
    response_metadata: ResponseMetadata


class TriggerHttpConfig(msgspec.Struct, kw_only=True):
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    url: Annotated[str, Meta(extra_json_schema={"format": "uri"})]


class TriggerInputSchema(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One input of a trigger; `required`, `title` and `description` are ours."""

    field_name: str
    field_data_type: Annotated[
        str, Meta(extra_json_schema={"x-extensible-enum": ["string", "number", "boolean", "object", "array"]})
    ]
    default_value: Annotated[Any, Meta(description="string, number, boolean, object or array")] = UNSET
    required: bool | UnsetType = UNSET
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET


class WorkflowTriggerRequirementsSuccess(msgspec.Struct, kw_only=True):
    trigger_id: Identifier
    trigger_event_type: Literal["HTTP"]
    trigger_http_config: TriggerHttpConfig
    trigger_input_schema: list[TriggerInputSchema]
    metadata: ResourceMetadata
    request_id: Identifier
    response_timestamp: Timestamp
    response_duration_ms: Annotated[int, Meta(ge=0)]


class TriggerWorkflow(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A trigger: the new instance's name and the inputs that the workflow's trigger requirements list."""

    instance_name: Annotated[str, Meta(min_length=1, max_length=255)]
    trigger_inputs: dict[str, Any]


class TriggerWorkflowSuccess(msgspec.Struct, kw_only=True):
    instance_id: Identifier
    instance_url: Annotated[
        str,
        Meta(
            description="page of the instance; whoever holds it may act", extra_json_schema={"format": "uri"}
        ),
    ]
    request_id: Identifier
    response_timestamp: Timestamp
    response_duration_ms: Annotated[int, Meta(ge=0)]


class InstanceMetadata(msgspec.Struct, kw_only=True):
    workflow_created_by: Identifier
    workflow_version: str
    workflow_metadata_id: Annotated[str, Meta(description="24 hexadecimal digits that name the version")]


class WorkflowError(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Why an instance failed: the DSL's error object; `instance` is the JSON Pointer of the task."""

    type: str
    status: int
    title: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET
    instance: str | UnsetType = UNSET


class WorkflowInstance(msgspec.Struct, kw_only=True):
    """One run of a workflow. What follows `metadata` is ours: `output` of a completed one, `error` of a failed one."""

    id: Identifier
    name: str
    workflow_status: Annotated[
        str, Meta(extra_json_schema={"x-extensible-enum": ["In Progress", "Completed", "Failed", "Canceled"]})
    ]
    template_id: Annotated[Identifier, Meta(description="the workflow's id")]
    account_id: Identifier
    started_at: Timestamp
    started_by: Identifier
    started_by_name: str
    started_by_role: str
    ended_at: Timestamp | None
    expires_at: Timestamp | None
    last_modified_at: Timestamp
    canceled_at: Timestamp | None
    canceled_by: str | None
    trigger_inputs: dict[str, Any]
    total_steps: int
    last_completed_step: Annotated[
        int, Meta(description="1-based position of the last finished step; 0 before the first")
    ]
    last_completed_step_name: str | None
    tags: list[str]
    metadata: InstanceMetadata
    output: Annotated[Any, Meta(description="any JSON value")] = UNSET
    error: WorkflowError | UnsetType = UNSET
    failure_reason: (
        Annotated[str, Meta(description="why it failed, in one short text: the error's title and detail")]
        | UnsetType
    ) = UNSET
    current_position: (
        Annotated[
            list[str],
            Meta(
                description="where it is: JSON Pointers of the innermost tasks that it is in, at most 100; absent in lists,"
                " and where it is in none"
            ),
        ]
        | UnsetType
    ) = UNSET
    suspended_at: (
        Annotated[
            str,
            Meta(
                description="since when it is suspended; absent if it is not",
                extra_json_schema={"format": "date-time"},
            ),
        ]
        | UnsetType
    ) = UNSET
    cancel_reason: (
        Annotated[
            str, Meta(description="what whoever canceled it gave for a reason; `restarted` for a restart")
        ]
        | UnsetType
    ) = UNSET
    restarted_from: Annotated[Identifier, Meta(description="the instance that it repeats")] | UnsetType = (
        UNSET
    )
    restarted_as: (
        Annotated[Identifier, Meta(description="the instance that repeats it, the latest of them")]
        | UnsetType
    ) = UNSET


class WorkflowInstanceCollection(msgspec.Struct, kw_only=True):
    data: list[WorkflowInstance]
    response_metadata: ResponseMetadata


class AccountWorkflowInstances(msgspec.Struct, kw_only=True):
    """A page of all instances of the account."""

    instances: list[WorkflowInstance]
    total_set_size: Annotated[
        int, Meta(description="counted when the list was begun: exact to 1,000, estimated beyond")
    ]
    result_set_size: Annotated[int, Meta(description="entries on this page")]
    ctoken: Annotated[str, Meta(description="the next page's token; absent on the last page")] | UnsetType = (
        UNSET
    )
    response_metadata: ResponseMetadata


class CancelWorkflowInstanceResponse(msgspec.Struct, kw_only=True):
    message: str


class WorkflowStatusSuccess(msgspec.Struct, kw_only=True):
    """A workflow's status after an action."""

    status: WorkflowStatus


class InstanceEvent(msgspec.Struct, kw_only=True, forbid_unknown_fields=False):
    """A CloudEvent, or its short form: what is left out, or null, is filled in."""

    type: Annotated[str, Meta(min_length=1)]
    data: Any = UNSET
    id: str | UnsetType | None = UNSET
    source: str | UnsetType | None = UNSET
    subject: str | UnsetType | None = UNSET


class InstanceEventAccepted(msgspec.Struct, kw_only=True):
    event_id: str
    response_metadata: ResponseMetadata


class EventPublished(msgspec.Struct, kw_only=True):
    event: Annotated[dict[str, Any], Meta(description="the CloudEvent as it is delivered")]
    delivered_to: Annotated[
        int, Meta(ge=0, description="instances that listened for its type when it came, counted to 10,000")
    ]
    response_metadata: ResponseMetadata


def resource_metadata(row: Mapping[str, Any]) -> ResourceMetadata:
    """Say who made and changed a workflow."""
    return ResourceMetadata(
        created_at=timestamp(row["created_at"]),
        created_by=str(row["created_by"]),
        modified_at=timestamp(row["modified_at"]),
        modified_by=str(row["modified_by"]),
    )


def workflow(row: Mapping[str, Any]) -> Workflow:
    """Word a workflow's row."""
    return Workflow(
        id=str(row["id"]),
        name=row["title"],
        account_id=str(row["account_id"]),
        status=shown_status(dict(row)),
        metadata=resource_metadata(row),
    )


def workflow_definition(stored: Stored, response_metadata: ResponseMetadata) -> WorkflowDefinition:
    """Word a workflow with its newest version."""
    row = stored.row
    return WorkflowDefinition(
        id=str(row["id"]),
        name=row["title"],
        account_id=str(row["account_id"]),
        status=shown_status(row),
        metadata=resource_metadata(row),
        namespace=row["namespace"],
        version=row["version"],
        active_version=row["active_version"] or UNSET,
        definition=msgspec.json.decode(row["document"]),
        warnings=[warning(one) for one in stored.warnings],
        response_metadata=response_metadata,
    )


def warning(problem: Problem) -> Warning:
    """Word a warning of the definition's check."""
    return Warning(code=problem.code, message=problem.message, target=problem.pointer)


def workflow_version(row: Mapping[str, Any], active_version_id: UUID | None) -> WorkflowVersion:
    """Word a version's row."""
    return WorkflowVersion(
        id=str(row["id"]),
        version=row["version"],
        active=row["id"] == active_version_id,
        created_at=timestamp(row["created_at"]),
        created_by=str(row["created_by"]),
        published_at=maybe_timestamp(row["published_at"]) or UNSET,
    )


def trigger_input(field: TriggerField) -> TriggerInputSchema:
    """Word one input of a trigger."""
    return TriggerInputSchema(
        field_name=field.name,
        field_data_type=field.data_type,
        default_value=field.default,
        required=field.required,
        title=field.title or UNSET,
        description=field.description or UNSET,
    )


def shown_inputs(inputs: str) -> Any:
    """Leave out inputs that are null, on which SDKs throw; any others go out as the text that they are stored as.

    What events started has them for its input, a list; SDKs know objects alone.
    """
    if inputs.startswith("["):
        return {"events": Raw(inputs)}
    if "null" not in inputs:
        return Raw(inputs)
    return {name: value for name, value in msgspec.json.decode(inputs).items() if value is not None}


def instance(row: Row) -> WorkflowInstance:
    """Word an instance's row. JSON columns go out as the bytes they are stored as."""
    return WorkflowInstance(
        id=str(row["id"]),
        name=row["name"],
        workflow_status=STATUS_WORDS[row["status"]],
        template_id=str(row["workflow_id"]),
        account_id=str(row["account_id"]),
        started_at=timestamp(row["started_at"]),
        started_by=str(row["started_by"]),
        started_by_name=row["started_by_name"],
        started_by_role=row["started_by_role"],
        ended_at=maybe_timestamp(row["ended_at"]),
        expires_at=maybe_timestamp(row["expires_at"]),
        last_modified_at=timestamp(row["last_modified_at"]),
        canceled_at=maybe_timestamp(row["canceled_at"]),
        canceled_by=row["canceled_by"],
        trigger_inputs=shown_inputs(row["trigger_inputs"]),
        total_steps=row["total_steps"],
        last_completed_step=row["last_completed_step"],
        last_completed_step_name=row["last_completed_step_name"],
        tags=row["tags"],
        metadata=InstanceMetadata(
            workflow_created_by=str(row["workflow_created_by"]),
            workflow_version=row["version"],
            workflow_metadata_id=row["version_id"].hex[:24],
        ),
        output=UNSET if row["output"] is None else Raw(row["output"]),
        error=UNSET if row["fault"] is None else Raw(row["fault"]),  # type: ignore[arg-type] # goes out as it is
        failure_reason=UNSET if row["fault"] is None else failure_reason(row["fault"]),
        suspended_at=maybe_timestamp(row["suspended_at"]) or UNSET,
        cancel_reason=row["cancel_reason"] or UNSET,
        restarted_from=str(row["restarted_from"]) if row["restarted_from"] else UNSET,
        restarted_as=str(row["restarted_as"]) if row["restarted_as"] else UNSET,
    )


def instance_now(row: Row) -> WorkflowInstance:
    """Word an instance that was read by itself: where it is, too."""
    return msgspec.structs.replace(instance(row), current_position=innermost(row["running"]) or UNSET)


def failure_reason(fault: bytes) -> str:
    """Say in one text why an instance failed, cut where it is long."""
    error = msgspec.json.decode(fault, type=Fault)
    text = ": ".join(filter(None, (error.title, error.detail))) or error.type
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]} ..."


def innermost(pointers: Sequence[str]) -> Sequence[str]:
    """Leave out of JSON Pointers those that lead to another one, and those that are there already."""
    if len(pointers) < 2:
        return pointers
    found: list[str] = []
    for pointer in sorted(set(pointers), reverse=True):
        if not any(inner.startswith(f"{pointer}/") for inner in found):
            found.append(pointer)
    return found[::-1]
