"""The rules by which people decide, by example: who may, what an answer holds, what answers come to."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from service.engine.decisions import (
    LONGEST_COMMENT,
    Decision,
    Person,
    Verdict,
    WorkItem,
    closed,
    due_at,
    hindrance,
    mistakes,
    output,
    verdict,
)
from service.language.durations import duration
from service.language.people import DEFAULT_OUTCOMES, Outcome

NOON = datetime(2026, 1, 31, 12, 0, 0, 999_999, tzinfo=UTC)
ADA = Person(UUID(int=1), "Ada Lovelace", "ada@acme.example")
BOB = Person(UUID(int=2), "Bob Stone", "bob@acme.example")
CAROL = Person(UUID(int=3), "Carol Jones", None)
THREE = (
    Outcome("yes", "Yes", "none"),
    Outcome("no", "No", "required"),
    Outcome("later", "Later"),
)


def item(**changed: Any) -> WorkItem:
    """An approval that Ada may give, unless told otherwise."""
    usual: dict[str, Any] = {
        "id": UUID(int=9),
        "account_id": UUID(int=8),
        "workflow_id": UUID(int=7),
        "instance_id": UUID(int=6),
        "wait": 1,
        "kind": "approval",
        "task": "signOff",
        "pointer": "/do/0/signOff",
        "title": "Sign",
        "description": None,
        "users": ("ada@acme.example",),
        "roles": (),
        "outcomes": DEFAULT_OUTCOMES,
        "minimum": 1,
        "data": None,
        "form": None,
        "due_at": None,
        "overdue": False,
        "overdue_outcome": None,
        "excluded": None,
        "claimed_by": None,
        "claimed_by_name": None,
        "claimed_at": None,
        "status": "open",
        "outcome": None,
        "opened_at": NOON,
        "ended_at": None,
    }
    return WorkItem(**(usual | changed))


def form(**changed: Any) -> WorkItem:
    """A form that Ada may fill in."""
    return item(kind="form", outcomes=(), form='{"type": "object"}', **changed)


def by(user: Person, outcome: str | None, minute: int = 0, **more: Any) -> Decision:
    """What somebody decided."""
    return Decision(user=user, outcome=outcome, at=NOON + timedelta(minutes=minute), **more)


# --- Who may -------------------------------------------------------------------------------------------------------


def test_a_user_may_who_is_named_by_id_or_e_mail_address() -> None:
    assert hindrance(item(users=("ada@acme.example",)), ADA, "sender") is None
    assert hindrance(item(users=(str(ADA.id),)), ADA, "sender") is None
    assert hindrance(item(users=("bob@acme.example", str(CAROL.id))), ADA, "sender") is not None


def test_a_role_admits_everybody_who_has_it_and_nobody_else() -> None:
    assigned = item(users=(), roles=("sender",))
    assert hindrance(assigned, ADA, "sender") is None
    assert hindrance(item(users=(), roles=("member",)), BOB, "viewer") is None
    reason = hindrance(assigned, BOB, "admin")
    assert reason is not None
    assert "administrator may not" in reason


def test_somebody_without_an_e_mail_address_is_not_everybody() -> None:
    assert hindrance(item(users=("none", "")), CAROL, "sender") is not None
    assert hindrance(item(users=(str(CAROL.id),)), CAROL, "sender") is None


def test_the_starter_may_not_where_excluded_however_assigned() -> None:
    for assigned in (item(excluded=ADA.id), item(excluded=ADA.id, users=(), roles=("member",))):
        reason = hindrance(assigned, ADA, "sender")
        assert reason is not None
        assert "excludeStarter" in reason
    assert hindrance(item(excluded=ADA.id, users=(), roles=("member",)), BOB, "sender") is None


# --- What an answer holds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assigned", "answer", "wrong"),
    [
        (item(), ("approve", None, None), {}),
        (item(), ("reject", "too dear", None), {}),
        (item(), (None, None, None), {"outcome": "FIELD_REQUIRED"}),
        (item(), ("Approve", None, None), {"outcome": "FIELD_INVALID"}),
        (item(), ("", None, None), {"outcome": "FIELD_INVALID"}),
        (item(), ("approve", None, {}), {"fields": "FIELD_INVALID"}),
        (item(), ("approve", "a" * LONGEST_COMMENT, None), {}),
        (item(), ("approve", "a" * (LONGEST_COMMENT + 1), None), {"comment": "FIELD_INVALID"}),
        (item(outcomes=THREE), ("yes", None, None), {}),
        (item(outcomes=THREE), ("yes", " ", None), {}),
        (item(outcomes=THREE), ("yes", "well", None), {"comment": "FIELD_INVALID"}),
        (item(outcomes=THREE), ("no", None, None), {"comment": "FIELD_REQUIRED"}),
        (item(outcomes=THREE), ("no", " \n", None), {"comment": "FIELD_REQUIRED"}),
        (item(outcomes=THREE), ("no", "why", None), {}),
        (item(outcomes=THREE), ("no", "a" * (LONGEST_COMMENT + 1), None), {"comment": "FIELD_INVALID"}),
        (item(outcomes=THREE), ("later", None, None), {}),
        (item(outcomes=THREE), ("later", "why", None), {}),
        (item(form="{}"), ("approve", None, None), {"fields": "FIELD_REQUIRED"}),
        (item(form="{}"), ("reject", None, {}), {}),
        (item(form="{}"), (None, None, None), {"outcome": "FIELD_REQUIRED", "fields": "FIELD_REQUIRED"}),
        (form(), (None, None, {"a": 1}), {}),
        (form(), (None, None, None), {"fields": "FIELD_REQUIRED"}),
        (form(), ("approve", None, {}), {"outcome": "FIELD_INVALID"}),
        (form(), (None, "well", {}), {"comment": "FIELD_INVALID"}),
    ],
)
def test_an_answer_fits_the_outcomes_comments_and_form(
    assigned: WorkItem, answer: tuple[Any, Any, Any], wrong: dict[str, str]
) -> None:
    assert {one.target: one.code for one in mistakes(assigned, *answer)} == wrong


# --- What answers come to --------------------------------------------------------------------------------------------


def test_nothing_is_decided_before_anybody_answers() -> None:
    assert verdict(item(), []) is None
    assert verdict(form(), []) is None


def test_the_positive_outcome_needs_the_minimum_of_people() -> None:
    assert verdict(item(), [by(ADA, "approve")]) == Verdict("approve")
    two = item(minimum=2)
    assert verdict(two, [by(ADA, "approve")]) is None
    assert verdict(two, [by(ADA, "approve"), by(BOB, "approve")]) == Verdict("approve")


@pytest.mark.parametrize("outcome", ["no", "later"])
def test_any_other_outcome_decides_at_once(outcome: str) -> None:
    three = item(outcomes=THREE, minimum=3)
    assert verdict(three, [by(ADA, outcome)]) == Verdict(outcome)
    assert verdict(three, [by(ADA, "yes"), by(BOB, outcome)]) == Verdict(outcome)


def test_the_first_answer_completes_a_form() -> None:
    assert verdict(form(), [by(ADA, None, fields={"a": 1})]) == Verdict(None)


def test_the_output_of_an_approval_tells_who_decided_what_and_when() -> None:
    decided = [by(ADA, "approve", 1, comment="well", fields={"a": [1.5]}), by(BOB, "reject", 2)]
    given = item(minimum=2, due_at=NOON + timedelta(days=2))
    assert output(given, "reject", decided, NOON + timedelta(minutes=2)) == {
        "id": str(given.id),
        "outcome": "reject",
        "approved": False,
        "decisions": [
            {
                "user": {"id": str(ADA.id), "name": "Ada Lovelace", "email": "ada@acme.example"},
                "outcome": "approve",
                "comment": "well",
                "fields": {"a": [1.5]},
                "at": "2026-01-31T12:01:00Z",
            },
            {
                "user": {"id": str(BOB.id), "name": "Bob Stone", "email": "bob@acme.example"},
                "outcome": "reject",
                "comment": None,
                "fields": None,
                "at": "2026-01-31T12:02:00Z",
            },
        ],
        "minimum": 2,
        "openedAt": "2026-01-31T12:00:00Z",
        "due": "2026-02-02T12:00:00Z",
        "decidedAt": "2026-01-31T12:02:00Z",
    }


def test_the_first_outcome_is_the_approving_one_whatever_it_is_called() -> None:
    assert output(item(outcomes=THREE), "yes", [by(ADA, "yes")], NOON)["approved"] is True
    assert output(item(outcomes=THREE), "later", [], NOON)["approved"] is False
    assert output(item(), "approve", [], NOON)["due"] is None


def test_the_output_of_a_form_is_what_was_filled_in_by_whom() -> None:
    given = form()
    assert output(given, None, [by(CAROL, None, fields={"a": None})], NOON) == {
        "id": str(given.id),
        "fields": {"a": None},
        "user": {"id": str(CAROL.id), "name": "Carol Jones", "email": None},
        "openedAt": "2026-01-31T12:00:00Z",
        "due": None,
        "completedAt": "2026-01-31T12:00:00Z",
    }


@pytest.mark.parametrize(
    ("ended", "decided", "words"),
    [
        (
            item(status="completed", outcome="reject"),
            [by(ADA, "approve"), by(BOB, "reject")],
            ("Bob", "reject"),
        ),
        (
            item(status="completed", outcome="reject", minimum=2),
            [by(ADA, "approve")],
            ("due date", "reject"),
        ),
        (form(status="completed"), [by(ADA, None, fields={})], ("Ada", "completed the form")),
        (item(status="cancelled"), [], ("cancelled", "instance")),
        (item(status="failed"), [], ("too few people",)),
    ],
    ids=["by a person", "by its date", "a form", "cancelled", "failed"],
)
def test_what_is_closed_says_by_whom_or_what(
    ended: WorkItem, decided: list[Decision], words: tuple[str, ...]
) -> None:
    said = closed(ended, decided)
    assert [word for word in words if word not in said] == []


# --- When it is due --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("due", "moment"),
    [
        (None, None),
        (duration("P2D"), NOON + timedelta(days=2)),
        (duration("P1M"), NOON.replace(month=2, day=28)),
        ("2026-02-01T00:00:00+02:00", datetime(2026, 1, 31, 22, tzinfo=UTC)),
        ("2026-02-01t00:00:00z", datetime(2026, 2, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", datetime.min.replace(tzinfo=UTC)),
        ("9999-12-31T23:59:59-14:00", datetime.max.replace(tzinfo=UTC)),
    ],
    ids=str,
)
def test_due_is_a_length_of_time_or_a_time(due: Any, moment: datetime | None) -> None:
    assert due_at(due, NOON) == moment
