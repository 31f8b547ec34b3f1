"""The words of an account's audit, which the vendor's API lacks."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from service.maestro.models import ResponseMetadata
from service.operations.audit import subject_id
from service.operations.pages import Row
from service.wire import Identifier, Timestamp, timestamp

ActorKind = Annotated[
    str,
    Meta(
        description="`operator`: the service's, at the command line; `engine`: the service itself",
        extra_json_schema={"x-extensible-enum": ["user", "client", "operator", "engine"]},
    ),
]


class AuditActor(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Who did something. The name is the one that they have now."""

    kind: ActorKind
    id: Annotated[Identifier, Meta(description="of the user or client")] | UnsetType = UNSET
    name: Annotated[str, Meta(description="absent where they are gone")] | UnsetType = UNSET
    client_id: Annotated[Identifier, Meta(description="the client that acted for the user")] | UnsetType = (
        UNSET
    )


class AuditSubject(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What it was done to."""

    kind: Annotated[str, Meta(description="the type's first word")]
    id: (
        Annotated[str, Meta(description="a UUID, a secret's name; absent where nothing has one")] | UnsetType
    ) = UNSET


class AuditEvent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What happened in the account, once. It is never changed."""

    id: int
    type: str
    at: Timestamp
    actor: AuditActor
    subject: AuditSubject
    request_id: Annotated[Identifier, Meta(description="the `X-Request-Id` of the answer")] | UnsetType = (
        UNSET
    )
    workflow_id: Identifier | UnsetType = UNSET
    instance_id: Identifier | UnsetType = UNSET
    data: dict[str, Any]
    before: (
        Annotated[dict[str, Any], Meta(description="the fields that changed, as they were")] | UnsetType
    ) = UNSET
    after: Annotated[dict[str, Any], Meta(description="the fields that changed, as they are")] | UnsetType = (
        UNSET
    )


class AuditList(msgspec.Struct, kw_only=True):
    """A page of an account's audit, newest first; it may be short, or empty, and have a next one all the same."""

    data: list[AuditEvent]
    response_metadata: ResponseMetadata


def audit_event(row: Row) -> AuditEvent:
    """Word an event's row. JSON columns go out as the text that they are stored as."""
    return AuditEvent(
        id=row["id"],
        type=row["type"],
        at=timestamp(row["at"]),
        actor=actor(row),
        subject=AuditSubject(kind=row["type"].partition(".")[0], id=subject_id(row) or UNSET),
        request_id=text(row["request_id"]),
        workflow_id=text(row["workflow_id"]),
        instance_id=text(row["instance_id"]),
        data=raw(row["data"]),
        before=raw(row["before"]),
        after=raw(row["after"]),
    )


def actor(row: Row) -> AuditActor:
    """Word who did it."""
    kind = row["actor_kind"]
    identified = kind in ("user", "client")
    return AuditActor(
        kind=kind,
        id=text(row["actor"]) if identified else UNSET,
        name=row["actor_name"] or UNSET,
        client_id=text(row["acting_client"]),
    )


def text(value: object) -> Any:
    """An id as it goes out, nothing where there is none."""
    return UNSET if value is None else str(value)


def raw(json: str | None) -> Any:
    """JSON text as it goes out, nothing where there is none."""
    return UNSET if json is None else Raw(json)
