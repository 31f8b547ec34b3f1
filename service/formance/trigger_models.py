"""Formance's words for triggers and the bus: the vendor's models, field for field, and the mapping of our rows onto them."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from service.engine.event_triggers import BusEvent, Tested
from service.formance.models import Cursor, WorkflowInstance, outline
from service.language.expressions import ExpressionFailure
from service.operations.event_triggers import LONGEST_NAME, MOST_VARIABLES, Received, variables_of
from service.operations.pages import Row
from service.wire import Identifier, Timestamp, timestamp

Short = Annotated[str, Meta(max_length=LONGEST_NAME)]


class TriggerData(msgspec.Struct, kw_only=True, rename="camel"):
    """A trigger to make: events of the type `event`, and of `version` where it says one, start the workflow."""

    event: Annotated[str, Meta(description="the type of the events, exactly", max_length=LONGEST_NAME)]
    workflow_id: Annotated[str, Meta(description="a workflow that is not deleted")] = field(name="workflowID")
    name: Short | None = None
    version: Annotated[str, Meta(description="of the events; any where it is empty")] | None = None
    filter: (
        Annotated[
            str, Meta(description="an expression over `event`, the payload; true lets the event through")
        ]
        | None
    ) = None
    vars: (
        Annotated[
            dict[str, str],
            Meta(
                description=f"the expression of each variable, at most {MOST_VARIABLES}; its value becomes a text"
            ),
        ]
        | None
    ) = None


class Trigger(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A trigger."""

    id: Identifier
    event: str
    workflow_id: Identifier = field(name="workflowID")
    name: str | UnsetType = UNSET
    version: str | UnsetType = UNSET
    filter: str | UnsetType = UNSET
    vars: dict[str, str] | UnsetType = UNSET
    created_at: Timestamp


class Envelope(msgspec.Struct, kw_only=True):
    """An event of the bus. One that comes again with its idempotency key is the same one."""

    idempotency_key: Annotated[str, Meta(description="one is made up where it is empty")] = ""
    date: Annotated[str, Meta(description="now where it is empty")] = ""
    app: str = ""
    version: str = ""
    type: Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]
    payload: dict[str, Any] = {}


class TriggerOccurrence(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """That a trigger has met an event: the instance that it started, or why it started none."""

    id: Identifier
    trigger_id: Identifier = field(name="triggerID")
    date: Timestamp
    event: Annotated[dict[str, Any], Meta(description="the whole envelope")]
    workflow_instance_id: Identifier | UnsetType = field(name="workflowInstanceID", default=UNSET)
    workflow_instance: WorkflowInstance | UnsetType = UNSET
    error: str | UnsetType = UNSET


class FilterTest(msgspec.Struct, omit_defaults=True):
    """Whether a filter lets an event through, or why that cannot be said."""

    match: bool | UnsetType = UNSET
    error: str | UnsetType = UNSET


class VariableTest(msgspec.Struct, omit_defaults=True):
    """A variable's text, or why it has none."""

    value: str | UnsetType = UNSET
    error: str | UnsetType = UNSET


class TriggerTest(msgspec.Struct, omit_defaults=True):
    """What a trigger would make of an event; `variables` only if it would start something."""

    filter: FilterTest | UnsetType = UNSET
    variables: dict[str, VariableTest] | UnsetType = UNSET


class TriggerCursor(Cursor, kw_only=True):
    """A page of triggers."""

    data: list[Trigger]


class TriggerOccurrenceCursor(Cursor, kw_only=True):
    """A page of occurrences."""

    data: list[TriggerOccurrence]


class TriggerResponse(msgspec.Struct):
    data: Trigger


class TriggerListResponse(msgspec.Struct):
    data: list[Trigger]


class TriggerCursorResponse(msgspec.Struct):
    cursor: TriggerCursor


class TriggerOccurrenceListResponse(msgspec.Struct):
    data: list[TriggerOccurrence]


class TriggerOccurrenceCursorResponse(msgspec.Struct):
    cursor: TriggerOccurrenceCursor


class TriggerTestResponse(msgspec.Struct):
    data: TriggerTest


class BusEventTaken(msgspec.Struct):
    """An event as it was taken."""

    event: Envelope
    triggers: Annotated[int, Meta(ge=0, description="that take events of its type and version")]


class BusEventResponse(msgspec.Struct):
    data: BusEventTaken


def trigger(row: Row) -> Trigger:
    """Word a trigger."""
    return Trigger(
        id=str(row["id"]),
        event=row["event"],
        workflow_id=str(row["workflow_id"]),
        name=row["name"] or UNSET,
        version=row["version"] or UNSET,
        filter=row["filter"] or UNSET,
        vars=variables_of(row) or UNSET,
        created_at=timestamp(row["created_at"]),
    )


def occurrence(row: Row) -> TriggerOccurrence:
    """Word an occurrence, with its instance but for the stages and the workflow of that."""
    told = TriggerOccurrence(
        id=str(row["id"]),
        trigger_id=str(row["trigger_id"]),
        date=timestamp(row["at"]),
        event=msgspec.json.decode(row["event"]),
        error=row["error"] or UNSET,
    )
    if row["instance_id"] is not None:
        names = ("workflow_id", "started_at", "last_modified_at", "ended_at", "status", "fault")
        own = {name: row[name] for name in names} | {"id": row["instance_id"], "stages": None}
        told.workflow_instance_id = str(row["instance_id"])
        told.workflow_instance = outline(own, None)
    return told


def tested(found: Tested) -> TriggerTest:
    """Word what a trigger would make of an event."""
    told = TriggerTest()
    if isinstance(found.match, ExpressionFailure):
        told.filter = FilterTest(error=found.match.detail)
    elif found.match is not None:
        told.filter = FilterTest(match=found.match)
    if found.variables is not None:
        told.variables = {
            name: VariableTest(error=one.detail)
            if isinstance(one, ExpressionFailure)
            else VariableTest(value=one)
            for name, one in found.variables.items()
        }
    return told


def bus_event(sent: Envelope) -> BusEvent:
    """Read an event of the bus."""
    return BusEvent(**msgspec.structs.asdict(sent))


def taken(received: Received) -> BusEventTaken:
    """Word an event that was taken."""
    return BusEventTaken(Envelope(**msgspec.structs.asdict(received.event)), received.triggers)
