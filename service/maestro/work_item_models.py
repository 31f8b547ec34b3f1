"""Bodies about who works on a work item, and about what happened to it."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service.language.people import ASSIGNEE_LIMIT, NAME_LIMIT
from service.maestro.models import ResponseMetadata, WorkItemAssignees
from service.operations.pages import Row
from service.wire import Identifier, Timestamp, timestamp

PARTICIPANT = "Participant"
PREFIX = "work_item."

Names = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=NAME_LIMIT)]], Meta(max_length=ASSIGNEE_LIMIT)
]


class NewAssignees(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Who may decide from now on: users by id or e-mail address, and the account's members in one of the roles."""

    users: Names = []
    roles: Names = []


class ReassignWorkItem(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    assignees: NewAssignees


class WorkItemActor(msgspec.Struct, kw_only=True):
    """Who did it: `engine` has no id."""

    kind: Annotated[
        str, Meta(extra_json_schema={"x-extensible-enum": ["user", "client", "operator", "engine"]})
    ]
    id: Identifier | UnsetType = UNSET
    name: (
        Annotated[
            str,
            Meta(description="`Participant` for the holder of the instance's URL, who acts for its starter"),
        ]
        | UnsetType
    ) = UNSET


class WorkItemEvent(msgspec.Struct, kw_only=True):
    """Something that happened to a work item; where its assignees changed, whom it was assigned to and is."""

    event: Annotated[
        str,
        Meta(
            extra_json_schema={
                "x-extensible-enum": [
                    *("opened", "claimed", "released", "reassigned"),
                    *("answered", "decided", "overdue", "cancelled"),
                ]
            }
        ),
    ]
    at: Timestamp
    actor: WorkItemActor
    outcome: str | UnsetType = UNSET
    through: (
        Annotated[
            str,
            Meta(
                description="`instance_url` where the page behind the instance's URL was used",
                extra_json_schema={"x-extensible-enum": ["instance_url"]},
            ),
        ]
        | UnsetType
    ) = UNSET
    previous_assignees: WorkItemAssignees | UnsetType = UNSET
    assignees: WorkItemAssignees | UnsetType = UNSET


class WorkItemHistory(msgspec.Struct, kw_only=True):
    data: list[WorkItemEvent]
    response_metadata: ResponseMetadata


def history(rows: list[Row], response_metadata: ResponseMetadata) -> WorkItemHistory:
    """Word a page of what happened."""
    return WorkItemHistory(data=[work_item_event(row) for row in rows], response_metadata=response_metadata)


def work_item_event(row: Row) -> WorkItemEvent:
    """Word one event."""
    data, before, after = (_object(row[name]) for name in ("data", "before", "after"))
    through = data.get("through")
    name = row["actor_name"] if through is None else PARTICIPANT
    return WorkItemEvent(
        event=row["type"].removeprefix(PREFIX),
        at=timestamp(row["at"]),
        actor=WorkItemActor(
            kind=row["actor_kind"],
            id=UNSET if row["actor"] is None else str(row["actor"]),
            name=name or UNSET,
        ),
        outcome=data.get("outcome") or UNSET,
        through=through or UNSET,
        previous_assignees=_assignees(before),
        assignees=_assignees(after),
    )


def _object(text: str | None) -> Mapping[str, Any]:
    return {} if text is None else msgspec.json.decode(text, type=dict[str, Any])


def _assignees(change: Mapping[str, Any]) -> WorkItemAssignees | UnsetType:
    return msgspec.convert(change["assignees"], WorkItemAssignees) if "assignees" in change else UNSET
