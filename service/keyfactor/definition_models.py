"""The vendor's words for definitions: what is sent and told, and the mapping of our rows onto them."""

from typing import Annotated, Any
from uuid import UUID, uuid5

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service.keyfactor.errors import Code, Refused
from service.keyfactor.reference import step_id
from service.keyfactor.steps import Header, Step
from service.keyfactor.steps.compiling import MADE_HERE, NAMESPACE, TITLE_LIMIT
from service.keyfactor.steps.graph import CONTINUE
from service.keyfactor.types import WORKFLOW_TYPES, type_named
from service.language.values import flaw
from service.operations.definitions import NewDefinition
from service.operations.pages import Row
from service.wire import Identifier

KEY_LIMIT = 255  # characters
KEYS_LIMIT = 100
DESCRIPTION_LIMIT = 4_000  # characters


class DefinitionCreateRequest(msgspec.Struct, frozen=True, rename="pascal"):
    """A new definition. Version 2 of the API has `Keys` in the place of `Key`."""

    display_name: str | None = None
    description: str | None = None
    key: str | None = None
    keys: list[str] | None = None
    workflow_type: str | None = None


class DefinitionUpdateRequest(msgspec.Struct, frozen=True, rename="pascal"):
    """What a definition is called. What is left out is cleared, but for the keys, which version 2 of the API may set anew."""

    display_name: str | None = None
    description: str | None = None
    keys: list[str] | None = None


class DefinitionQueryResponse(msgspec.Struct, kw_only=True, rename="pascal"):
    """A definition, in a list."""

    id: Identifier
    display_name: str | None
    key: Annotated[str | None, Meta(description="version 1: the first of its keys")] | UnsetType = UNSET
    key_display_name: str | UnsetType | None = UNSET
    keys: Annotated[list[str], Meta(description="version 2")] | UnsetType = UNSET
    workflow_type: str | None
    draft_version: Annotated[int, Meta(description="number of the newest version")]
    published_version: Annotated[int | None, Meta(description="number of the version that starts")]


class SignalResponse(msgspec.Struct, kw_only=True, rename="pascal"):
    """A signal that a step waits for."""

    signal_name: str | None
    role_ids: Annotated[list[int], Meta(description="who may send it; empty in an export")]


class ConditionResponse(msgspec.Struct, kw_only=True, rename="pascal"):
    """What has to be true for a step to be done."""

    id: Identifier
    value: str | None


class DefinitionStepResponse(msgspec.Struct, kw_only=True, rename="pascal"):
    """A step. One of a definition that was written in another dialect has no `ExtensionName`."""

    id: Identifier
    extension_name: str | None
    unique_name: str | None
    display_name: str | None
    enabled: bool
    configuration_parameters: Annotated[dict[str, Any], Meta(description="secrets are null")]
    signals: list[SignalResponse]
    conditions: list[ConditionResponse]
    outputs: dict[str, str]


class DefinitionResponse(DefinitionQueryResponse, kw_only=True, rename="pascal"):
    """A definition with one of its versions."""

    description: str | None
    is_published: Annotated[bool, Meta(description="whether this version is the one that starts")]
    enabled: Annotated[bool, Meta(description="whether it may start at all")]
    steps: list[DefinitionStepResponse]


class Written(msgspec.Struct, frozen=True, rename="pascal"):
    """What the definition keeps of what its author wrote."""

    workflow_type: str
    steps: list[Step]
    description: str | None = None


# --- What is sent ---------------------------------------------------------------------------------------------------


def new_definition(sent: DefinitionCreateRequest) -> NewDefinition:
    """Read what a new definition is for.

    Raises:
        Refused: it does not say that, or has no name.
    """
    if not (sent.display_name or "").strip():
        raise refused("DisplayName is missing.")
    named(sent.display_name, sent.description)
    found = type_named(sent.workflow_type or "")
    if found is None:
        raise refused(f"WorkflowType has to be one of {', '.join(WORKFLOW_TYPES)}.")
    return NewDefinition(found, keys_of(sent.keys if sent.keys is not None else [sent.key or ""]))


def keys_of(given: list[str]) -> tuple[str, ...]:
    """Read the keys that a definition is for, each once.

    Raises:
        Refused: there are none, too many, or one that is none.
    """
    keys = tuple(dict.fromkeys(key.strip() for key in given))
    if not all(keys) or not keys:
        raise refused("Key is missing: the id of what the definition is for, as text.")
    if len(keys) > KEYS_LIMIT or any(len(key) > KEY_LIMIT or flaw(key) for key in keys):
        raise refused(f"A definition has at most {KEYS_LIMIT} keys, each of at most {KEY_LIMIT} characters.")
    return keys


def named(display_name: str | None, description: str | None) -> tuple[str | None, str | None]:
    """Read what a definition is called; empty texts are none.

    Raises:
        Refused: it is called what nothing can be.
    """
    limits = {"DisplayName": (display_name, TITLE_LIMIT), "Description": (description, DESCRIPTION_LIMIT)}
    for name, (text, most) in limits.items():
        if text is not None and len(text) > most:
            raise refused(f"{name} has at most {most} characters.")
        if text is not None and (broken := flaw(text)):
            raise refused(f"{name} {broken}.")
    return (display_name or "").strip() or None, description or None


def refused(message: str) -> Refused:
    """Refuse what was sent."""
    return Refused(Code.WRONG, message)


def written(row: Row) -> Written | None:
    """Read what the author of a version wrote; None where it was written in another dialect."""
    if row["namespace"] != NAMESPACE or row["workflow_type"] is None:
        return None
    document = msgspec.json.decode(row["document"])
    try:
        return msgspec.convert(document["document"]["metadata"][MADE_HERE], Written)
    except (KeyError, TypeError, msgspec.ValidationError):
        return None


def editable(row: Row) -> Written:
    """Read what the author of a definition wrote.

    Raises:
        Refused: it was written in another dialect.
    """
    found = written(row)
    if found is None:
        raise Refused(
            Code.STATE,
            f"The definition was written in another dialect and is changed there: PUT /v1/accounts/{{accountId}}/workflows/{row['id']}.",
        )
    return found


def header(row: Row, number: int, display_name: str | None, description: str | None) -> Header:
    """What a version of a definition is beside its steps."""
    return Header(
        id=row["id"],
        number=number,
        display_name=display_name,
        description=description,
        workflow_type=row["workflow_type"],
    )


# --- What is told ---------------------------------------------------------------------------------------------------


def key_fields(row: Row, *, second: bool) -> dict[str, Any]:
    """What a definition is for, as each version of the API has it."""
    keys = list(row["keys"])
    return {"keys": keys} if second else {"key": keys[0] if keys else None, "key_display_name": None}


def outline(row: Row, *, second: bool) -> DefinitionQueryResponse:
    """Tell a definition in a list."""
    return DefinitionQueryResponse(
        id=str(row["id"]),
        display_name=row["display_name"],
        workflow_type=row["workflow_type"],
        draft_version=row["draft_version"],
        published_version=row["published_version"],
        **key_fields(row, second=second),
    )


def definition(row: Row, *, second: bool, exportable: bool = False) -> DefinitionResponse:
    """Tell a definition with one of its versions; `exportable` leaves out who may answer, which is another server's."""
    found = written(row)
    steps = (
        tasks_of(row) if found is None else [step(row["version_id"], one, exportable) for one in found.steps]
    )
    title = row["display_name"] if row["version_id"] == row["latest_version_id"] else title_of(row)
    return DefinitionResponse(
        id=str(row["id"]),
        display_name=title,
        workflow_type=row["workflow_type"],
        draft_version=row["draft_version"],
        published_version=row["published_version"],
        description=None if found is None else found.description,
        is_published=row["is_active"],
        enabled=not row["paused"],
        steps=steps,
        **key_fields(row, second=second),
    )


def title_of(row: Row) -> str | None:
    """What an earlier version was called."""
    told = msgspec.json.decode(row["document"])["document"]
    title: str | None = told.get("title", None if row["namespace"] == NAMESPACE else told["name"])
    return title


def step(version_id: UUID, one: Step, exportable: bool) -> DefinitionStepResponse:  # noqa: FBT001 - of one caller
    """Tell a step."""
    identity = step_id(version_id, str(one.unique_name))
    return DefinitionStepResponse(
        id=str(identity),
        extension_name=one.extension_name,
        unique_name=one.unique_name,
        display_name=one.display_name,
        enabled=one.enabled is not False,
        configuration_parameters=dict(one.configuration_parameters or {}),
        signals=[
            SignalResponse(
                signal_name=signal.signal_name, role_ids=[] if exportable else list(signal.role_ids or ())
            )
            for signal in one.signals or ()
        ],
        conditions=[
            ConditionResponse(id=str(uuid5(identity, str(index))), value=str(condition.value))
            for index, condition in enumerate(one.conditions or ())
        ],
        outputs={name: target for name, target in (one.outputs or {}).items() if target},
    )


def tasks_of(row: Row) -> list[DefinitionStepResponse]:
    """Tell the top-level tasks of a definition that was written in another dialect, one after the other."""
    names = [next(iter(task)) for task in msgspec.json.decode(row["document"])["do"]]
    return [
        DefinitionStepResponse(
            id=str(step_id(row["version_id"], name)),
            extension_name=None,
            unique_name=name,
            display_name=name,
            enabled=True,
            configuration_parameters={},
            signals=[],
            conditions=[],
            outputs={CONTINUE: following} if following else {},
        )
        for name, following in zip(names, [*names[1:], None], strict=True)
    ]
