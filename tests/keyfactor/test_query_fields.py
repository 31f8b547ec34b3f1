"""What lists of instances can be asked for: fields, their operators, and how their values are written."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from service.engine.states import Status
from service.keyfactor.errors import Code, Refused
from service.keyfactor.fields import INSTANCE_ORDERS, INSTANCES, instance_order, instances, typed
from service.keyfactor.query import parse
from service.keyfactor.reference import first_id, reference_of
from service.keyfactor.requests import Listing
from service.operations.conditions import ALWAYS, NEVER, Comparison, Condition, Every, Some, Special
from service.operations.instance_conditions import PHASES, slices_of, together

NOW = datetime(2026, 3, 15, 13, 30, tzinfo=UTC)
TODAY = datetime(2026, 3, 15, tzinfo=UTC)
DAY = timedelta(days=1)
ID = UUID("0189a6b2-0000-7123-8000-000000000001")


def read(text: str) -> Condition:
    """Read a query of instances, now."""
    return typed(parse(text), INSTANCES, NOW)


def at(operator: str, moment: datetime, column: str = "started_at") -> Condition:
    """A comparison with a time."""
    return Comparison(column, operator, moment)  # type: ignore[arg-type] # one of the operators


def day(begin: datetime) -> Condition:
    """A whole day."""
    return Every((at("ge", begin), at("lt", begin + DAY)))


ASKED: dict[str, tuple[str, Condition]] = {
    "a title": ('title -contains "x"', Comparison("name", "contains", "x")),
    "a GUID": (f'DefinitionId -eq "{ID}"', Comparison("workflow_id", "eq", ID)),
    "a GUID in braces and capitals": (f"ID -ne {{{str(ID).upper()}}}", Comparison("id", "ne", ID)),
    "a type": ('WorkflowType -startswith "Enr"', Comparison("workflow_type", "startswith", "Enr")),
    "no type": ("WorkflowType -eq NULL", Comparison("workflow_type", "eq", None)),
    "what is never missing": ("StartDate -eq NULL", NEVER),
    "what is always there": ("Status -ne NULL AND Id -ne NULL", ALWAYS),
    "a moment": ('StartDate -ge "2026-01-31T12:00:00Z"', at("ge", datetime(2026, 1, 31, 12, tzinfo=UTC))),
    "seven digits": (
        'StartDate -lt "2026-01-31T12:00:00.1234567Z"',
        at("lt", datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)),
    ),
    "another zone": (
        'StartDate -lt "2026-01-31T12:00:00+02:00"',
        at("lt", datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ),
    "no zone": ('StartDate -lt "2026-01-31 12:00"', at("lt", datetime(2026, 1, 31, 12, tzinfo=UTC))),
    "equal to a moment": (
        'LastModified -eq "2026-01-31t12:00:00z"',
        at("eq", datetime(2026, 1, 31, 12, tzinfo=UTC), "last_modified_at"),
    ),
    "before a day": ("StartDate -lt 2026-01-31", at("lt", datetime(2026, 1, 31, tzinfo=UTC))),
    "behind a day's beginning": ("StartDate -gt 2026-01-31", at("gt", datetime(2026, 1, 31, tzinfo=UTC))),
    "on a day": ('StartDate -eq "2026-01-31"', day(datetime(2026, 1, 31, tzinfo=UTC))),
    "not on a day": (
        "StartDate -ne 2026-01-31",
        Some((at("lt", datetime(2026, 1, 31, tzinfo=UTC)), at("ge", datetime(2026, 2, 1, tzinfo=UTC)))),
    ),
    "today": ('StartDate -eq "%TODAY%"', day(TODAY)),
    "since yesterday": ('StartDate -ge "%today-1%"', at("ge", TODAY - DAY)),
    "until next week": ("StartDate -le %TODAY+7%", at("le", TODAY + 7 * DAY)),
    "the caller": ('InitiatingUserName -eq "%ME%"', Comparison("started_by", "eq", Special.ME)),
    "not the caller": ("InitiatingUserName -ne %me%", Comparison("started_by", "ne", Special.ME)),
    "an address with its account": (
        r'InitiatingUserName -eq "ACME\\ada@acme.example"',
        Comparison("started_by_email", "eq", "ada@acme.example"),
    ),
    "a name": ('InitiatingUserName -ne "Ada"', Comparison("started_by_name", "ne", "Ada")),
    "part of a name": ('InitiatingUserName -contains "a@"', Comparison("started_by_name", "contains", "a@")),
    "a number": ("ReferenceId -ge 12", Comparison("id", "ge", first_id(12))),
    "behind a number": ("ReferenceId -gt 12", Comparison("id", "ge", first_id(13))),
    "up to a number": ('ReferenceId -le "12"', Comparison("id", "lt", first_id(13))),
    "one number": (
        f"ReferenceId -eq {reference_of(ID)}",
        Every(
            (
                Comparison("id", "ge", first_id(reference_of(ID))),
                Comparison("id", "lt", first_id(reference_of(ID) + 1)),
            )
        ),
    ),
}


@pytest.mark.parametrize("shape", ASKED)
def test_what_is_asked_for(shape: str) -> None:
    text, expected = ASKED[shape]
    assert read(text) == expected


STATUSES = {
    "0": set(),
    "Unknown": set(),
    "1": {(Status.PENDING, False), (Status.RUNNING, False)},
    "suspended": {(Status.WAITING, False), (Status.SUSPENDED, False)},
    "Failed": {(Status.FAULTED, False)},
    "4": {(Status.CANCELLED, False)},
    "Complete": {(Status.COMPLETED, False), (Status.COMPLETED, True)},
    "CANCELEDFORRESTART": {(Status.FAULTED, True), (Status.CANCELLED, True)},
}


@pytest.mark.parametrize("told", STATUSES)
def test_status_is_asked_for_by_name_and_number(told: str) -> None:
    expected = STATUSES[told]
    assert read(f"Status -eq {told}") == Comparison("phase", "in", frozenset(expected))
    assert read(f'Status -ne "{told}"') == Comparison("phase", "in", PHASES - expected)


def states(text: str) -> list[tuple[str, Condition]]:
    """What is left of a query, and of which statuses."""
    return list(together(slices_of(read(text), PHASES)))


def test_what_is_asked_of_the_status_is_answered_before_the_rows_are_read() -> None:
    title = Comparison("name", "eq", "x")
    assert states("") == [("", ALWAYS)]
    assert states("Status -eq 2") == [("(instance.status IN ('waiting', 'suspended'))", ALWAYS)]
    assert states("Status -eq 2 AND Status -eq 3") == []
    assert states("Status -eq 0") == []
    assert states("Status -eq 2 OR Status -ne 2") == [("", ALWAYS)]
    assert states('Title -eq "x"') == [("", title)]
    assert states('Status -eq 3 AND Title -eq "x"') == [
        ("((instance.status = 'faulted' AND instance.restarted_as IS NULL))", title)
    ]
    assert states('Status -eq 1 OR Title -eq "x"') == [
        ("(instance.status IN ('pending', 'running'))", ALWAYS),
        (
            "(instance.status IN ('waiting', 'suspended', 'completed', 'faulted', 'cancelled'))",
            title,
        ),
    ]


WRONG: dict[str, tuple[str, str]] = {
    "unknown field": (
        "Nonsense -eq 1",
        "there is no field Nonsense here, but definitionid, id, initiatingusername",
    ),
    "the JSON's name": ("Definition.Id -eq 1", "there is no field Definition.Id here"),
    "operator of texts": (
        "StartDate -contains 1",
        "StartDate takes -eq, -ne, -lt, -le, -gt, -ge, and not -contains",
    ),
    "operator of numbers": (
        "Title -lt 1",
        "Title takes -eq, -ne, -contains, -notcontains, -startswith, -endswith, and not -lt",
    ),
    "operator of statuses": ("Status -ge 2", "Status takes -eq, -ne, and not -ge"),
    "unknown status": (
        "Status -eq Done",
        "Status is compared with one of 0 (Unknown), 1 (Running), 2 (Suspended)",
    ),
    "no status has the number": ("Status -eq 7", "'7' is none"),
    "no GUID": ("Id -eq 12", "Id is compared with a GUID, and '12' is none"),
    "no number": ("ReferenceId -eq 1.5", "ReferenceId is compared with a whole number, and '1.5' is none"),
    "a long number": ("ReferenceId -eq " + "9" * 30, "is compared with a whole number"),
    "no time": ("StartDate -gt yesterday", "StartDate is compared with a time such as 2026-01-31"),
    "no day": ("StartDate -gt 2026-02-30", "'2026-02-30' is none"),
    "outside of the calendar": ("StartDate -gt 0001-01-01T00:00:00+14:00", "is none"),
    "today, long ago": ("StartDate -gt %TODAY-999999%", "'%TODAY-999999%' is none"),
    "the last day": ("StartDate -eq 9999-12-31", "'9999-12-31' is none"),
    "today, by the hour": ("StartDate -gt %NOW%", "'%NOW%' is none"),
    "NULL and an order": ("StartDate -gt NULL", "NULL goes with -eq and -ne, and not with -gt"),
    "NULL in a text": ("Title -contains NULL", "NULL goes with -eq and -ne"),
}


@pytest.mark.parametrize("shape", WRONG)
def test_what_no_instance_can_be_asked_for(shape: str) -> None:
    text, message = WRONG[shape]
    with pytest.raises(Refused) as refused:
        read(text)
    assert (refused.value.code, refused.value.status) == (Code.QUERY, 400)
    assert message in refused.value.detail


def test_sort_fields_are_taken_in_any_case_and_others_are_refused_as_the_vendor_does() -> None:
    for name, key in INSTANCE_ORDERS.items():
        assert instance_order(name.upper(), descending=True).key == key
    assert instance_order(None, descending=False).key == "current_step"
    for name in ("StatusMessage", "started_at", "id; DROP TABLE instance", "Id "):
        with pytest.raises(Refused) as refused:
            instance_order(name, descending=False)
        assert (refused.value.code, refused.value.detail) == ("0xA011004A", f"Invalid sort field: {name}.")


def test_pages_are_counted_from_one() -> None:
    wanted = instances(Listing(query="Status -eq 2", page=3, limit=20, sort="Title", descending=True), "mine")
    assert (wanted.whose, wanted.offset, wanted.size) == ("mine", 40, 20)
    assert (wanted.order.key, wanted.order.descending) == ("name", True)
