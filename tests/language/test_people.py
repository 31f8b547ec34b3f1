"""What people may be asked: the arguments of `approval` and `form` (contract 10.5), and our `overdue`."""

from datetime import timedelta
from typing import Any

import pytest

from service.engine import decisions
from service.language import people
from service.language.document import PersonCall
from service.language.durations import Duration
from service.language.errors import Problem
from service.language.people import Assignees, Outcome, Request
from service.language.reading import check
from tenancy import tables
from tests.language.definitions import ACCOUNT, Recorded, found, problems_of_task, work_of, workflow

LEAST = {"title": "Sign", "assignees": {"roles": ["finance"]}}
FORM = LEAST | {"form": {"type": "object"}}


def test_the_least_approval_has_every_default() -> None:
    assert people.asked("approval", LEAST) == []
    assert people.request("approval", LEAST) == Request(
        kind="approval",
        title="Sign",
        description=None,
        assignees=Assignees((), ("finance",)),
        outcomes=(Outcome("approve", "Approve", "optional"), Outcome("reject", "Reject", "optional")),
        minimum=1,
        due=None,
        data=None,
        form=None,
        exclude_starter=False,
        overdue_outcome=None,
    )


def test_an_approval_says_everything() -> None:
    arguments = {
        "title": "Pay ACME",
        "description": "**Now**",
        "assignees": {"users": ["a@example.com", "b@example.com", "A@example.com"], "roles": []},
        "outcomes": ["yes", {"name": "no", "label": "Never", "comment": "required"}, {"name": "ask"}],
        "minimum": 2,
        "due": "P2D",
        "data": {"sum": 5},
        "form": {"type": "object"},
        "excludeStarter": True,
        "overdue": "no",
    }
    assert people.asked("approval", arguments) == []
    assert people.request("approval", arguments) == Request(
        kind="approval",
        title="Pay ACME",
        description="**Now**",
        assignees=Assignees(("a@example.com", "b@example.com"), ()),
        outcomes=(Outcome("yes", "Yes"), Outcome("no", "Never", "required"), Outcome("ask", "Ask")),
        minimum=2,
        due=Duration(0, timedelta(days=2)),
        data={"sum": 5},
        form={"type": "object"},
        exclude_starter=True,
        overdue_outcome="no",
    )


def test_a_form_has_no_outcomes() -> None:
    assert people.asked("form", FORM) == []
    request = people.request("form", FORM)
    assert (request.outcomes, request.minimum, request.form) == ((), 1, {"type": "object"})


@pytest.mark.parametrize("due", ["2030-01-31T12:00:00Z", "2030-01-31T12:00:00.5+01:00"])
def test_something_may_be_due_at_a_time(due: str) -> None:
    assert people.asked("approval", LEAST | {"due": due}) == []
    assert people.request("approval", LEAST | {"due": due}).due == due


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"title": ""}, ["/title"]),
    ({"title": "x" * 201}, ["/title"]),
    ({"title": 5}, ["/title"]),
    ({"description": []}, ["/description"]),
    ({"description": "x" * 10_001}, ["/description"]),
    ({"instructions": "x"}, ["/instructions"]),
    ({"assignees": "me"}, ["/assignees"]),
    ({"assignees": {}}, ["/assignees"]),
    ({"assignees": {"users": [], "roles": []}}, ["/assignees"]),
    ({"assignees": {"users": "me"}}, ["/assignees/users"]),
    ({"assignees": {"users": [5]}}, ["/assignees/users/0"]),
    ({"assignees": {"roles": [""]}}, ["/assignees/roles/0"]),
    ({"assignees": {"roles": ["x" * 255]}}, ["/assignees/roles/0"]),
    ({"assignees": {"users": [f"u{n}" for n in range(101)]}}, ["/assignees/users"]),
    ({"assignees": {"roles": ["r"], "groups": []}}, ["/assignees/groups"]),
    ({"outcomes": "yes"}, ["/outcomes"]),
    ({"outcomes": []}, ["/outcomes"]),
    ({"outcomes": ["yes"]}, ["/outcomes"]),
    ({"outcomes": ["yes", "yes"]}, ["/outcomes/1"]),
    ({"outcomes": ["yes", {"name": "yes"}]}, ["/outcomes/1"]),
    ({"outcomes": ["yes", ""]}, ["/outcomes/1"]),
    ({"outcomes": ["yes", 5]}, ["/outcomes/1"]),
    ({"outcomes": ["yes", {"label": "x"}]}, ["/outcomes/1/name"]),
    ({"outcomes": ["yes", {"name": "no", "label": 5}]}, ["/outcomes/1/label"]),
    ({"outcomes": ["yes", {"name": "no", "comment": "maybe"}]}, ["/outcomes/1/comment"]),
    ({"outcomes": ["yes", {"name": "no", "color": "red"}]}, ["/outcomes/1/color"]),
    ({"outcomes": [f"o{n}" for n in range(21)]}, ["/outcomes"]),
    ({"minimum": 0}, ["/minimum"]),
    ({"minimum": 101}, ["/minimum"]),
    ({"minimum": 3_000_000_000}, ["/minimum"]),
    ({"minimum": "2"}, ["/minimum"]),
    ({"minimum": True}, ["/minimum"]),
    ({"minimum": 1.5}, ["/minimum"]),
    ({"assignees": {"users": ["a", "A"]}, "minimum": 2}, ["/minimum"]),
    ({"due": 5}, ["/due"]),
    ({"due": "tomorrow"}, ["/due"]),
    ({"due": "2030-01-31"}, ["/due"]),
    ({"due": {"days": -1}}, ["/due"]),
    ({"form": []}, ["/form"]),
    ({"form": "x"}, ["/form"]),
    ({"excludeStarter": "yes"}, ["/excludeStarter"]),
    ({"overdue": "reject"}, ["/due"]),
    ({"overdue": "later", "due": "P1D"}, ["/overdue"]),
    ({"overdue": 5, "due": "P1D"}, ["/overdue"]),
]


@pytest.mark.parametrize(("arguments", "pointers"), WRONG)
def test_wrong_arguments_are_refused_when_a_definition_is_created_and_when_a_task_runs(
    arguments: dict[str, Any], pointers: list[str]
) -> None:
    problems = people.asked("approval", LEAST | arguments)
    assert found(problems) == [("bad_arguments", pointer) for pointer in pointers]
    assert problems_of_task({"call": "approval", "with": LEAST | arguments}) == [
        ("bad_arguments", "/with" + pointer) for pointer in pointers
    ]


@pytest.mark.parametrize(
    ("kind", "arguments", "pointers"),
    [
        ("approval", 5, [""]),
        ("approval", {}, ["/assignees", "/title"]),
        ("form", LEAST, ["/form"]),
        ("form", FORM | {"outcomes": ["a", "b"]}, ["/outcomes"]),
        ("form", FORM | {"minimum": 2}, ["/minimum"]),
        ("form", FORM | {"overdue": "x", "due": "P1D"}, ["/overdue"]),
    ],
)
def test_what_a_form_and_an_approval_need_differs(kind: str, arguments: Any, pointers: list[str]) -> None:
    assert problems_of_task({"call": kind, "with": arguments}) == [
        ("bad_arguments", "/with" + pointer) for pointer in pointers
    ]


def test_a_call_without_arguments_lacks_them() -> None:
    assert problems_of_task({"call": "form"}) == [
        ("bad_arguments", f"/with/{name}") for name in ("assignees", "form", "title")
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        {"title": "${ .title }" + " " * 300},
        {"description": "${ .d }", "due": "${ .due }", "minimum": "${ .n }", "excludeStarter": "${ .x }"},
        {"due": {"days": "${ .days }"}},
        {"assignees": "${ .who }", "minimum": 5},
        {"assignees": {"users": "${ .who }"}, "minimum": 5},
        {"assignees": {"users": ["a"], "roles": "${ .roles }"}, "minimum": 5},
        {"assignees": {"users": ["${ .a }", "${ .b }"]}, "minimum": 2},
        {"outcomes": "${ .outcomes }", "overdue": "x", "due": "P1D"},
        {"outcomes": ["${ .a }", "${ .a }"]},
        {"outcomes": ["a", {"name": "${ .b }", "comment": "${ .c }", "label": "${ .d }"}]},
        {"outcomes": ["a", "b"], "overdue": "${ .o }", "due": "P1D"},
        {"form": "${ .form }"},
        {"form": {"properties": "${ .properties }"}},
    ],
)
def test_what_is_computed_is_only_held_against_the_rules_when_it_is_known(arguments: dict[str, Any]) -> None:
    work = work_of({"call": "approval", "with": LEAST | arguments})
    assert isinstance(work, PersonCall)
    assert work.arguments.source == LEAST | arguments


async def test_a_role_that_nobody_can_have_is_warned_of() -> None:
    known = {"roles": ["Admin", "member", "participant", "${ .role }"]}
    unknown = {"roles": ["admin", "finance", "${ .role }"]}
    approval = {"call": "approval", "with": LEAST | {"assignees": unknown}}
    tasks = ({"a": approval}, {"b": {"call": "form", "with": FORM | {"assignees": known}}})
    checked = await check(workflow(*tasks), Recorded(), ACCOUNT)
    assert checked.problems == []
    message = "Nobody has the role `finance`; the roles are `admin`, `manager`, `sender`, `viewer`, `member`, `participant`."
    assert checked.warnings == [Problem("unknown_role", message, "/do/0/a/with/assignees/roles/1")]


def test_the_roles_are_those_of_members_and_of_the_holder_of_the_instances_url() -> None:
    assert (*tables.ROLES, people.ANY_MEMBER, decisions.PARTICIPANT) == people.ROLES


def test_an_evaluated_text_that_looks_computed_means_itself() -> None:
    assert people.asked("approval", LEAST | {"title": "${ .title }"}) == []
    assert people.request("approval", LEAST | {"title": "${ .title }"}).title == "${ .title }"


@pytest.mark.parametrize("data", ["\0", {"\0": 1}, 2**60, [1e300]], ids=["NUL", "key", "integer", "float"])
def test_what_no_answer_could_show_is_refused_when_a_task_runs(data: Any) -> None:
    assert found(people.asked("approval", LEAST | {"data": data})) == [("bad_arguments", "")]


async def test_a_literal_form_is_checked_as_a_schema_and_a_computed_one_is_not() -> None:
    compiler = Recorded(schema="no")
    computed = FORM | {"form": {"title": "${ .t }"}}
    value = workflow({"a": {"call": "form", "with": FORM}}, {"b": {"call": "form", "with": computed}})
    checked = await check(value, compiler, ACCOUNT)
    assert found(checked.problems) == [("bad_schema", "/do/0/a/with/form")]
    assert compiler.schemas == [{"type": "object"}]
