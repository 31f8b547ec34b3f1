"""How people decide: who may, what an answer holds, when a work item is decided, what its task gives (contract 10.5).

Pure rules over what was read: a work item, and the decisions that people have made on it so far.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from service.language.durations import Duration, until
from service.language.people import ANY_MEMBER, Kind, Outcome
from tenancy.errors import FieldError

LONGEST_COMMENT = 4_000  # characters
PARTICIPANT = "participant"  # the role of whoever holds the URL of the instance

_EARLIEST = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)


class Person(msgspec.Struct, frozen=True):
    """A user as decisions remember them."""

    id: UUID
    name: str
    email: str | None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One person's answer: an approval has an outcome, a form has fields."""

    user: Person
    outcome: str | None = None
    comment: str | None = None
    fields: Any = None
    at: datetime


class WorkItem(msgspec.Struct, frozen=True, kw_only=True):
    """What people are asked, and how far it is. `data` and `form` are JSON texts.

    `status` is `open`, `completed`, `cancelled`, or `failed` where too few could have decided it.
    """

    id: UUID
    account_id: UUID
    workflow_id: UUID
    instance_id: UUID
    wait: int
    kind: Kind
    task: str
    pointer: str
    title: str
    description: str | None
    users: tuple[str, ...]
    roles: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    minimum: int
    data: str | None
    form: str | None
    due_at: datetime | None
    overdue: bool
    overdue_outcome: str | None
    excluded: UUID | None
    claimed_by: UUID | None
    claimed_by_name: str | None
    claimed_at: datetime | None
    status: str
    outcome: str | None
    opened_at: datetime
    ended_at: datetime | None


class Verdict(msgspec.Struct, frozen=True):
    """That a work item is decided; a form has no outcome."""

    outcome: str | None


def due_at(due: Duration | str | None, opened_at: datetime) -> datetime | None:
    """When an answer is due: so long after the opening, or at an RFC 3339 time."""
    if due is None:
        return None
    if isinstance(due, Duration):
        return until(due, opened_at)
    moment = datetime.fromisoformat(due.upper())
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # its offset leads out of the calendar
        return _EARLIEST if moment.year == _EARLIEST.year else _LATEST


def roles_of(role: str) -> frozenset[str]:
    """By which roles work items are assigned to a caller of this role; a machine client is no member."""
    return frozenset((role,) if role == "machine" else (role, ANY_MEMBER))


def hindrance(item: WorkItem, person: Person, role: str) -> str | None:
    """Why somebody may not decide a work item, or None if they may.

    An administrator is assigned nothing by being one: only by the role `admin`, their id or their e-mail address.
    """
    if item.excluded == person.id:
        return "Whoever started the instance may not decide this work item (excludeStarter)."
    if not roles_of(role).isdisjoint(item.roles) or not {str(person.id), person.email}.isdisjoint(item.users):
        return None
    return (
        "Only the users and roles that this work item is assigned to may decide it;"
        " an administrator may not unless named among them."
    )


def participates(item: WorkItem, started_by: UUID, starter: Person | None) -> bool:
    """Whether the holder of the instance's URL may decide a work item.

    It is assigned to the role `participant`, or names the starter, whose URL it is, by id or e-mail address; `starter` is
    None for one who is no active member. By no other role: whom an administrator hands a URL is no administrator.
    """
    if item.excluded == started_by:
        return False
    named = starter is not None and not {str(starter.id), starter.email}.isdisjoint(item.users)
    return named or PARTICIPANT in item.roles


def held_by_another(item: WorkItem, person: UUID) -> str | None:
    """Why somebody may not answer an open work item that another has claimed, or None if nobody else has."""
    if item.claimed_by in (None, person):
        return None
    return (
        f"{item.claimed_by_name} has claimed this work item; until they release it nobody else may answer it."
        " An administrator may release or reassign it."
    )


def unclaimable(item: WorkItem) -> str | None:
    """Why nobody may claim a work item for themselves, or None if somebody may."""
    if item.minimum == 1:
        return None
    return (
        f"{item.minimum} people have to approve this work item, so nobody may claim it for themselves alone."
    )


def mistakes(item: WorkItem, outcome: str | None, comment: str | None, fields: Any) -> list[FieldError]:
    """Everything wrong with an answer, but for what the form's schema says of the fields."""
    found = [_wrong_outcome(item, outcome), _wrong_comment(item, outcome, comment)]
    if item.form is None and fields is not None:
        found.append(FieldError("FIELD_INVALID", "this work item has no form to fill in", "fields"))
    if item.form is not None and fields is None:
        found.append(FieldError("FIELD_REQUIRED", "fill in the work item's form", "fields"))
    return [one for one in found if one is not None]


def _wrong_outcome(item: WorkItem, outcome: str | None) -> FieldError | None:
    if item.kind == "form":
        wrong = outcome is not None
        return (
            FieldError("FIELD_INVALID", "a form has no outcomes; send fields", "outcome") if wrong else None
        )
    known = ", ".join(one.name for one in item.outcomes)
    if outcome is None:
        return FieldError("FIELD_REQUIRED", f"is one of: {known}", "outcome")
    if outcome not in {one.name for one in item.outcomes}:
        return FieldError("FIELD_INVALID", f"must be one of: {known}", "outcome")
    return None


def _wrong_comment(item: WorkItem, outcome: str | None, comment: str | None) -> FieldError | None:
    rule = next((one.comment for one in item.outcomes if one.name == outcome), "optional")
    given = bool(comment and comment.strip())
    if item.kind == "form" and comment is not None:
        return FieldError("FIELD_INVALID", "a form takes no comment; send fields", "comment")
    if rule == "none" and given:
        return FieldError("FIELD_INVALID", f"the outcome {outcome} takes no comment", "comment")
    if rule == "required" and not given:
        return FieldError("FIELD_REQUIRED", f"the outcome {outcome} needs a comment", "comment")
    if len(comment or "") > LONGEST_COMMENT:
        return FieldError("FIELD_INVALID", f"must have at most {LONGEST_COMMENT} characters", "comment")
    return None


def verdict(item: WorkItem, decisions: Sequence[Decision]) -> Verdict | None:
    """What the decisions come to, or None while more of them are needed.

    The first answer completes a form. Any outcome but the first decides an approval at once; the first, positive one does
    when as many different people as the minimum have chosen it. There is one decision for each person.
    """
    if item.kind == "form":
        return Verdict(None) if decisions else None
    positive = item.outcomes[0].name
    for decision in decisions:
        if decision.outcome != positive:
            return Verdict(decision.outcome)
    return Verdict(positive) if len(decisions) >= item.minimum else None


def output(
    item: WorkItem, outcome: str | None, decisions: Sequence[Decision], at: datetime
) -> Mapping[str, Any]:
    """The output of the task (contract 10.5). Times have no fractions, as jq's `fromdate` refuses them."""
    times = {"openedAt": _time(item.opened_at), "due": None if item.due_at is None else _time(item.due_at)}
    if item.kind == "form":
        (answer,) = decisions
        ended = {"completedAt": _time(at)}
        return {"id": str(item.id), "fields": answer.fields, "user": _user(answer.user)} | times | ended
    return (
        {
            "id": str(item.id),
            "outcome": outcome,
            "approved": outcome == item.outcomes[0].name,
            "decisions": [_decision(one) for one in decisions],
            "minimum": item.minimum,
        }
        | times
        | {"decidedAt": _time(at)}
    )


def closed(item: WorkItem, decisions: Sequence[Decision]) -> str:
    """Why a work item that is not open takes no decision any more: who or what ended it."""
    if item.status == "cancelled":
        return "The work item was cancelled: its instance has ended, or does not wait for it any more."
    if item.status == "failed":
        return "The work item failed when it was opened, as too few people could have decided it."
    if verdict(item, decisions) is None:
        return f"The passing of its due date has decided the work item: {item.outcome}."
    last = decisions[-1].user.name
    if item.kind == "form":
        return f"{last} has completed the form already."
    return f"{last} has decided the work item already: {item.outcome}."


def _decision(decision: Decision) -> Mapping[str, Any]:
    return {
        "user": _user(decision.user),
        "outcome": decision.outcome,
        "comment": decision.comment,
        "fields": decision.fields,
        "at": _time(decision.at),
    }


def _user(person: Person) -> Mapping[str, Any]:
    return {"id": str(person.id), "name": person.name, "email": person.email}


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")[:-6] + "Z"
