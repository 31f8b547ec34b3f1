"""When a workflow starts by itself (contract 6.3)."""

from datetime import timedelta
from typing import Any

import pytest

from service.language.document import Schedule, Strategy
from service.language.durations import Duration
from service.language.reading import check, read
from service.language.sandbox import Sandbox
from tests.language.definitions import ACCOUNT, found, problems_of, warnings_of, workflow

HOUR = Duration(0, timedelta(hours=1))
ORDER = {"with": {"type": "order", "data": "${ .sum > 5 }"}}


@pytest.mark.parametrize(
    ("value", "schedule"),
    [
        ({"every": "PT1H"}, Schedule(every=HOUR)),
        ({"every": {"milliseconds": 1000}}, Schedule(every=Duration(0, timedelta(seconds=1)))),
        ({"after": {"hours": 1}}, Schedule(after=HOUR)),
        ({"after": "P1M"}, Schedule(after=Duration(1, timedelta()))),
        ({"cron": "0 9 * * MON-FRI"}, Schedule(cron="0 9 * * MON-FRI")),
        ({"cron": "*/5 * L * *"}, Schedule(cron="*/5 * L * *")),
    ],
)
def test_a_schedule_is_one_of_four(value: dict[str, Any], schedule: Schedule) -> None:
    assert read(workflow(schedule=value)).schedule == schedule


def test_a_schedule_may_wait_for_events() -> None:
    schedule = read(workflow(schedule={"on": {"all": [ORDER, ORDER]}})).schedule
    assert schedule is not None
    assert isinstance(schedule.on, Strategy)
    (condition, *_) = [one for one in schedule.on.filters[0].conditions if one.expression]
    assert condition.expression is not None
    assert condition.expression.names == ("runtime",)


def test_no_schedule_is_none() -> None:
    assert read(workflow()).schedule is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, [("wrong_type", "")]),
        ({}, [("missing_field", "/every")]),
        ({"at": "noon"}, [("unknown_field", "/at"), ("missing_field", "/every")]),
        ({"every": "PT1H", "cron": "* * * * *"}, [("bad_format", "")]),
        ({"every": 5}, [("wrong_type", "/every")]),
        ({"every": "PT0.5S"}, [("bad_format", "/every")]),
        ({"after": "PT0S"}, [("bad_format", "/after")]),
        ({"every": "${ .x }"}, [("bad_format", "/every")]),
        ({"after": "tomorrow"}, [("bad_format", "/after")]),
        ({"cron": 5}, [("wrong_type", "/cron")]),
        ({"cron": ""}, [("bad_format", "/cron")]),
        ({"cron": "@daily"}, [("bad_format", "/cron")]),
        ({"cron": "* * * *"}, [("bad_format", "/cron")]),
        ({"cron": "* * * * * *"}, [("bad_format", "/cron")]),
        ({"cron": "60 * * * *"}, [("bad_format", "/cron")]),
        ({"cron": "0 0 30 2 *"}, [("bad_format", "/cron")]),
        ({"cron": "² * * * *"}, [("bad_format", "/cron")]),
        ({"cron": "1," * 200 + "1 * * * *"}, [("bad_format", "/cron")]),
        ({"on": {}}, [("missing_field", "/on/one")]),
        ({"on": {"one": {}}}, [("missing_field", "/on/one/with")]),
        ({"on": {"all": []}}, [("missing_field", "/on/all")]),
    ],
)
def test_a_wrong_schedule_is_refused(value: Any, expected: list[tuple[str, str]]) -> None:
    problems = found(problems_of(workflow(schedule=value)))
    assert sorted(problems) == sorted((code, "/schedule" + pointer) for code, pointer in expected)


async def test_events_that_start_a_workflow_are_held_against_no_instance() -> None:
    wanted = {
        "with": {"data": "${ $input.x }"},
        "correlate": {"k": {"from": ".a", "expect": "${ $context.x }"}},
    }
    async with Sandbox(1) as sandbox:
        checked = await check(workflow(schedule={"on": {"one": wanted}}), sandbox, ACCOUNT)
    assert found(checked.problems) == [
        ("bad_expression", "/schedule/on/one/correlate/k/expect"),
        ("bad_expression", "/schedule/on/one/with/data"),
    ]


async def test_inputs_that_nobody_gives_are_warned_of() -> None:
    schema = {"type": "object", "properties": {"a": {}, "b": {"default": 5}, "c": {}}, "required": ["a", "b"]}
    root = {"input": {"schema": {"document": schema}}}
    assert await warnings_of(**root) == []
    assert await warnings_of(**root, schedule={"every": "PT1H"}) == [("input_required", "/input/schema")]


@pytest.mark.parametrize(
    ("schedule", "schema", "warns"),
    [
        ({"every": "PT1H"}, {"type": "object", "required": ["q"]}, True),
        ({"every": "PT1H"}, {"required": ["q"]}, True),
        ({"cron": "* * * * *"}, {"$ref": "#/$defs/a", "$defs": {"a": {"required": ["q"]}}}, True),
        ({"every": "PT1H"}, {"type": "object", "required": "q"}, True),
        ({"every": "PT1H"}, {"properties": {"q": {"default": 1}}, "required": ["q"]}, False),
        ({"every": "PT1H"}, {"type": "array"}, True),
        ({"every": "PT1H"}, {"type": ["array", "object"]}, False),
        ({"every": "PT1H"}, True, False),
        ({"on": {"one": ORDER}}, {"type": "object"}, True),
        ({"on": {"one": ORDER}}, {"type": "object", "required": ["q"]}, True),
        ({"on": {"one": ORDER}}, {"type": "array"}, False),
        ({"on": {"one": ORDER}}, {"type": ["object", "array"], "required": ["q"]}, False),
        ({"on": {"one": ORDER}}, {"required": ["q"]}, False),
        ({"on": {"one": ORDER}}, {}, False),
    ],
    ids=str,
)
async def test_a_schema_that_no_start_of_the_schedule_fits_is_warned_of(
    schedule: dict[str, Any], schema: Any, *, warns: bool
) -> None:
    found = await warnings_of(input={"schema": {"document": schema}}, schedule=schedule)
    assert found == ([("input_required", "/input/schema")] if warns else [])


@pytest.mark.parametrize(("cron", "has"), [("* * * * * *", 6), ("* * * *", 4), ("@daily", 1)])
def test_a_cron_expression_of_other_fields_is_told_how_many_it_has(cron: str, has: int) -> None:
    (problem,) = problems_of(workflow(schedule={"cron": cron}))
    assert f"`cron` has five fields, and this has {has}: write minute, hour, day" in problem.message
