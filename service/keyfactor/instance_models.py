"""The dialect's instances: the vendor's models, field for field, and the mapping of our rows onto them."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID, uuid5

import msgspec
from msgspec import Meta, Raw

from service.engine.frames import decode_state
from service.engine.states import Status
from service.keyfactor.errors import Code, Refused
from service.keyfactor.reference import NO_STEP, reference_of, step_id
from service.keyfactor.status import SUSPENDED, standing_of
from service.keyfactor.steps.kinds import APPROVAL
from service.language.errors import Fault
from service.operations.pages import Row
from service.operations.step_instances import Awaited, Steps, steps_in
from service.operations.work_items import Answer
from service.wire import Identifier, Timestamp, timestamp

LONGEST_MESSAGE = 1000  # characters
ANY_EVENT = "*"  # the name of the signal that is an event of any type

ReferenceId = Annotated[int, Meta(description="a number for people; it grows with the time of the start")]
StatusNumber = Annotated[
    int,
    Meta(
        ge=0,
        le=6,
        description="0 Unknown, 1 Running, 2 Suspended, 3 Failed, 4 Rejected, 5 Complete, 6 CanceledForRestart",
    ),
]


class InstanceDefinition(msgspec.Struct, kw_only=True, rename="pascal"):
    """The version of a definition that an instance runs."""

    id: Identifier
    display_name: str | None
    version: int
    workflow_type: str | None


class InstanceSignal(msgspec.Struct, kw_only=True, rename="pascal"):
    """What an instance waits for at its step."""

    signal_name: str | None
    step_signal_id: Identifier
    signal_received: bool


class InstanceQueryResponse(msgspec.Struct, kw_only=True, rename="pascal"):
    """An instance as lists tell of it."""

    id: Identifier
    status: StatusNumber
    current_step_id: Annotated[
        str, Meta(description="zeros where there is none", extra_json_schema={"format": "uuid"})
    ]
    status_message: str | None
    definition: InstanceDefinition | None
    current_step_display_name: str | None
    current_step_unique_name: str | None
    title: str | None
    last_modified: Timestamp | None
    start_date: Timestamp
    reference_id: ReferenceId


class InstanceResponse(InstanceQueryResponse, kw_only=True, rename="pascal"):
    """An instance by itself, with its data when it began and now."""

    signals: list[InstanceSignal] | None
    initial_data: dict[str, Any] | None
    current_state_data: dict[str, Any] | None


class SignalRequest(msgspec.Struct, kw_only=True, rename="pascal"):
    """A signal: the step's unique name, a dot and the signal's name; an approval has `Approved` and may have `Comment`."""

    signal_key: str | None = None
    data: dict[str, Any] | None = None


class RestartRequest(msgspec.Struct, kw_only=True, rename="pascal"):
    """Which version a restart runs."""

    version: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None


def listed(row: Row, steps: Steps | None) -> InstanceQueryResponse:
    """Word an instance's row, which has the columns `step_instances.SHOWN`."""
    return InstanceQueryResponse(**_shown(row, steps))


def instance(row: Row) -> InstanceResponse:
    """Word the row of an instance that was read by itself."""
    return InstanceResponse(
        **_shown(row, steps_in(row["made"])),
        signals=_signals(row),
        initial_data=_initial(row["trigger_inputs"]),  # type: ignore[arg-type] # goes out as it is
        current_state_data=_current(row),
    )


def _shown(row: Row, steps: Steps | None) -> dict[str, Any]:
    """What is told of an instance everywhere."""
    standing = standing_of(row["status"], superseded=row["restarted_as"] is not None)
    name = row["current_step"]
    known = steps is not None and name in steps.titles
    return {
        "id": str(row["id"]),
        "status": standing.number,
        "current_step_id": str(step_id(row["version_id"], name) if known else NO_STEP),
        "status_message": _message(row),
        "definition": InstanceDefinition(
            id=str(row["workflow_id"]),
            display_name=row["workflow_title"],
            version=row["version_number"],
            workflow_type=None if steps is None else steps.workflow_type,
        ),
        "current_step_display_name": steps.titles[name] if steps is not None and known else name,
        "current_step_unique_name": name,
        "title": row["name"],
        "last_modified": timestamp(row["last_modified_at"]),
        "start_date": timestamp(row["started_at"]),
        "reference_id": reference_of(row["id"]),
    }


def _message(row: Row) -> str | None:
    """Say what is awaited, why it has failed, or why it ended before its time."""
    found: str | None = None
    match row["status"]:
        case Status.WAITING | Status.SUSPENDED:
            found = _waiting(row)
        case Status.FAULTED:
            found = _failure(row["fault"])
        case Status.CANCELLED:
            found = row["cancel_reason"]
    return found and found[:LONGEST_MESSAGE]


def _failure(fault: bytes | None) -> str:
    """Say why an instance has failed; an error is not read that has more than a text for people can."""
    if fault is None:
        return "The error is too long to be told here."
    error = msgspec.json.decode(fault, type=Fault)
    return error.detail or error.title or error.type


def _waiting(row: Row) -> str | None:
    """Say what an instance waits for; None where that is a time, a call or another workflow."""
    events = [f"the event {one}" if one else "any event" for one in row["events"]]
    things = "; ".join([*row["questions"], *events])
    waits = f"Waiting for: {things}" if things else None
    if row["status"] == Status.SUSPENDED:
        return f"Paused until somebody resumes it. {waits or ''}".rstrip()
    return waits


def _signals(row: Row) -> list[InstanceSignal]:
    """What the step waits for; what has come already it waits for no more."""
    if row["status"] not in SUSPENDED.statuses:
        return []
    approvals = [(APPROVAL, one) for one in row["approvals"]]
    events = [(one or ANY_EVENT, uuid5(row["id"], f"signal:{one}")) for one in row["events"]]
    return [
        InstanceSignal(signal_name=name, step_signal_id=str(one), signal_received=False)
        for name, one in [*approvals, *events]
    ]


def _initial(inputs: str) -> Raw | dict[str, Any]:
    """The data that an instance began with, the bytes as they are stored; the events that started it are a list."""
    return Raw(inputs.encode()) if inputs.startswith("{") else {"events": msgspec.json.decode(inputs)}


def _current(row: Row) -> dict[str, Any]:
    """The data now: what the task gets at which an instance is or was last, or its output; where that is no object, nothing."""
    data: Any = None
    if row["status"] == Status.COMPLETED:
        data = None if row["output"] is None else msgspec.json.decode(row["output"])
    elif row["state"] is not None:
        data = decode_state(row["state"]).root.data
    elif row["status"] == Status.PENDING:
        data = msgspec.json.decode(row["trigger_inputs"])
    return data if isinstance(data, dict) else {}


# --- Signals --------------------------------------------------------------------------------------------------------


class Target(msgspec.Struct, frozen=True):
    """What a signal goes to: an approval by its id, or else an event's type."""

    approval: UUID | None
    event: str | None = None


def target(awaited: Awaited, key: str | None) -> Target:
    """Find what a signal is for.

    Raises:
        Refused: the instance does not wait for it; the message says what it waits for.
    """
    if awaited.status not in SUSPENDED.statuses:
        standing = standing_of(awaited.status, superseded=awaited.restarted_as is not None)
        message = f"The instance is {standing.name}: only a Suspended one takes signals."
        raise Refused(Code.STATE, message)
    prefix = f"{awaited.step}."
    name = key.removeprefix(prefix) if key is not None and key.startswith(prefix) else ""
    if name == APPROVAL and awaited.approvals:
        return Target(awaited.approvals[0].id)
    if name and (name in awaited.events or "" in awaited.events):
        return Target(None, name)
    raise Refused(Code.STATE, _unawaited(awaited, key))


def _unawaited(awaited: Awaited, key: str | None) -> str:
    names = [APPROVAL] if awaited.approvals else []
    names += [one or ANY_EVENT for one in awaited.events]
    given = f"{key[:200]!r} is not one of its keys" if key else "SignalKey is missing"
    suspended = "The instance is Suspended" + (f" at {awaited.step}" if awaited.step else "")
    if not names:
        return f"{suspended} and waits for no signal."
    keys = ", ".join(f"{awaited.step}.{name}" for name in names)
    return f"{suspended} and waits for {keys[:LONGEST_MESSAGE]}: {given}."


def answer(awaited: Awaited, wanted: UUID, data: Mapping[str, Any]) -> Answer:
    """Read an approval or a denial: `Approved`, True or False, and a comment.

    Raises:
        Refused: it is neither.
    """
    outcomes = next(one.outcomes for one in awaited.approvals if one.id == wanted)
    given = {name.lower(): value for name, value in data.items()}
    said, comment = given.get("approved"), given.get("comment")
    word = said.strip().lower() if isinstance(said, str) else said
    if word not in (True, False, "true", "false") or not isinstance(word, bool | str):
        raise Refused(Code.WRONG, 'Data must have Approved, which is "True" or "False".')
    if comment is not None and not isinstance(comment, str):
        raise Refused(Code.WRONG, "Comment must be a string.")
    return Answer(outcome=outcomes[0 if word in (True, "true") else 1].name, comment=comment)
