"""Bodies of work items: what is asked of people, what they answer, who works on it and what happened to it."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from service.engine.decisions import Decision
from service.language.people import ASSIGNEE_LIMIT, NAME_LIMIT
from service.maestro.models import ResponseMetadata
from service.operations.pages import Row
from service.operations.work_items import Shown
from service.wire import Identifier, Timestamp, maybe_timestamp, timestamp

PARTICIPANT = "Participant"
PREFIX = "work_item."

Names = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=NAME_LIMIT)]], Meta(max_length=ASSIGNEE_LIMIT)
]
WorkItemStatus = Annotated[
    str,
    Meta(
        description="`failed` if fewer people could have decided it than have to",
        extra_json_schema={"x-extensible-enum": ["open", "completed", "cancelled", "failed"]},
    ),
]


class WorkItemHolder(msgspec.Struct, kw_only=True):
    """Who has claimed a work item, and alone may answer it until they release it."""

    id: Identifier
    name: str


class WorkItemSummary(msgspec.Struct, kw_only=True):
    """A work item as lists tell it: what an instance asks of people."""

    id: Identifier
    kind: Annotated[str, Meta(extra_json_schema={"x-extensible-enum": ["approval", "form"]})]
    title: str
    status: WorkItemStatus
    overdue: Annotated[bool, Meta(description="whether its date passed before it was decided")]
    account_id: Identifier
    workflow_id: Identifier
    instance_id: Identifier
    task_name: str
    position: Annotated[str, Meta(description="JSON Pointer of the task in the definition")]
    opened_at: Timestamp
    due_at: Timestamp | UnsetType = UNSET
    ended_at: Timestamp | UnsetType = UNSET
    outcome: Annotated[str, Meta(description="of a completed approval")] | UnsetType = UNSET
    claimed_by: WorkItemHolder | UnsetType = UNSET
    claimed_at: Timestamp | UnsetType = UNSET


class WorkItemsList(msgspec.Struct, kw_only=True):
    data: list[WorkItemSummary]
    response_metadata: ResponseMetadata


class WorkItemAssignees(msgspec.Struct, kw_only=True):
    """Who may decide: users by id or e-mail address in lower case, and the account's members in one of the roles."""

    users: list[str]
    roles: list[str]


class WorkItemOutcome(msgspec.Struct, kw_only=True):
    """One way to decide."""

    name: str
    label: str
    comment: Annotated[
        str,
        Meta(
            description="whether a decision for it carries a comment",
            extra_json_schema={"x-extensible-enum": ["none", "optional", "required"]},
        ),
    ]


class WorkItemUser(msgspec.Struct, kw_only=True):
    id: Identifier
    name: str
    email: str | UnsetType = UNSET


class WorkItemDecision(msgspec.Struct, kw_only=True):
    """One person's answer."""

    user: WorkItemUser
    decided_at: Timestamp
    outcome: str | UnsetType = UNSET
    comment: str | UnsetType = UNSET
    fields: dict[str, Any] | UnsetType = UNSET


class WorkItem(WorkItemSummary, kw_only=True):
    """A work item with everything that deciding it takes, and what has been decided on it."""

    assignees: WorkItemAssignees
    outcomes: Annotated[
        list[WorkItemOutcome], Meta(description="of an approval; the first is the positive one")
    ]
    minimum: Annotated[int, Meta(description="how many different people the positive outcome needs")]
    decisions: Annotated[list[WorkItemDecision], Meta(description="the latest last; one for each person")]
    description: Annotated[str, Meta(description="Markdown")] | UnsetType = UNSET
    data: Annotated[Any, Meta(description="what the people see; any JSON value")] = UNSET
    form: (
        Annotated[dict[str, Any], Meta(description="JSON Schema of the `fields` of an answer")] | UnsetType
    ) = UNSET
    overdue_outcome: (
        Annotated[str, Meta(description="what the passing of `due_at` decides; absent: nothing")] | UnsetType
    ) = UNSET
    excluded_user_id: (
        Annotated[Identifier, Meta(description="who started the instance and may not decide")] | UnsetType
    ) = UNSET
    response_metadata: ResponseMetadata


class CompleteWorkItem(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An answer to a work item: an outcome for an approval, fields where there is a form."""

    outcome: str | UnsetType = UNSET
    comment: str | UnsetType = UNSET
    fields: dict[str, Any] | UnsetType = UNSET


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


def work_item_summary(row: Row) -> WorkItemSummary:
    """Word a row of a list of work items."""
    return WorkItemSummary(
        id=str(row["id"]),
        kind=row["kind"],
        title=row["title"],
        status=row["status"],
        overdue=row["overdue"],
        account_id=str(row["account_id"]),
        workflow_id=str(row["workflow_id"]),
        instance_id=str(row["instance_id"]),
        task_name=row["task"],
        position=row["pointer"],
        opened_at=timestamp(row["opened_at"]),
        due_at=maybe_timestamp(row["due_at"]) or UNSET,
        ended_at=maybe_timestamp(row["ended_at"]) or UNSET,
        outcome=row["outcome"] or UNSET,
        claimed_by=holder(row["claimed_by"], row["claimed_by_name"]),
        claimed_at=maybe_timestamp(row["claimed_at"]) or UNSET,
    )


def holder(user_id: UUID | None, name: str | None) -> WorkItemHolder | UnsetType:
    """Word who has claimed a work item."""
    return UNSET if user_id is None else WorkItemHolder(id=str(user_id), name=name or "")


def work_item(shown: Shown, response_metadata: ResponseMetadata) -> WorkItem:
    """Word a work item with its decisions. JSON columns go out as the texts they are stored as."""
    item = shown.item
    summary = work_item_summary(msgspec.structs.asdict(item))
    return WorkItem(
        **msgspec.structs.asdict(summary),
        assignees=WorkItemAssignees(users=list(item.users), roles=list(item.roles)),
        outcomes=[
            WorkItemOutcome(name=one.name, label=one.label, comment=one.comment) for one in item.outcomes
        ],
        minimum=item.minimum,
        decisions=[work_item_decision(one) for one in shown.decisions],
        description=item.description or UNSET,
        data=UNSET if item.data is None else Raw(item.data),
        form=UNSET if item.form is None else Raw(item.form),  # type: ignore[arg-type] # goes out as it is
        overdue_outcome=item.overdue_outcome or UNSET,
        excluded_user_id=str(item.excluded) if item.excluded else UNSET,
        response_metadata=response_metadata,
    )


def work_item_decision(decision: Decision) -> WorkItemDecision:
    """Word one person's answer."""
    user = decision.user
    return WorkItemDecision(
        user=WorkItemUser(id=str(user.id), name=user.name, email=user.email or UNSET),
        decided_at=timestamp(decision.at),
        outcome=decision.outcome or UNSET,
        comment=decision.comment or UNSET,
        fields=UNSET if decision.fields is None else decision.fields,
    )
