"""How tasks are read that stay inside the workflow: `for`, `fork`, `emit`; and what is in scope inside of them."""

from typing import Any

import pytest

from service.language.document import Emit, For, Fork, Wait
from service.language.reading import check, read
from service.language.sandbox import Sandbox
from service.language.steps import BRANCH_LIMIT
from tests.language.definitions import (
    ACCOUNT,
    found,
    names_at,
    problems_of_task,
    warnings_of,
    work_of,
    workflow,
)

GO = {"set": "."}


# --- for ------------------------------------------------------------------------------------------------------------


def test_a_loop_has_variables_for_the_item_and_its_position() -> None:
    work = work_of({"for": {"in": ".lines"}, "do": [{"x": GO}]})
    assert isinstance(work, For)
    assert (work.each, work.at, work.condition) == ("item", "index", None)
    named = work_of({"for": {"in": ".", "each": "line", "at": "n"}, "while": "$n < 5", "do": []})
    assert isinstance(named, For)
    assert (named.each, named.at, named.tasks) == ("line", "n", ())
    assert named.condition is not None
    assert {"line", "n"} <= set(named.condition.names)


def test_the_variables_of_a_loop_are_seen_inside_of_it_alone() -> None:
    inner = {"set": "$line", "if": "$line", "timeout": {"after": "${ $line }"}, "export": {"as": "$line"}}
    task = {
        "for": {"in": ".", "each": "line"},
        "do": [{"x": {"do": [{"y": inner}]}}],
        "output": {"as": ".o"},
        "export": {"as": ".e"},
        "if": ".i",
    }
    definition = read(workflow({"a": task}, {"b": GO | {"output": {"as": ".b"}}}))
    deep = ("tasks", 0, "work", "tasks", 0, "work", "tasks", 0)
    for place in ("condition", "timeout", "export_as"):
        assert "line" in names_at(definition, *deep, place)
    assert "line" in names_at(definition, *deep, "work", "value")
    for outside in (
        ("tasks", 0, "work", "items"),
        ("tasks", 0, "output_as"),
        ("tasks", 0, "export_as"),
        ("tasks", 0, "condition"),
        ("tasks", 1, "output_as"),
    ):
        assert "line" not in names_at(definition, *outside)


def test_an_inner_loop_shadows_an_outer_one() -> None:
    inner = {"for": {"in": "$item"}, "do": [{"x": {"set": "$item"}}]}
    definition = read(workflow({"a": {"for": {"in": "."}, "do": [{"b": inner}, {"c": {"set": "$item"}}]}}))
    names = names_at(definition, "tasks", 0, "work", "tasks", 0, "work", "tasks", 0, "work", "value")
    assert names.count("item") == 1
    assert "item" in names_at(definition, "tasks", 0, "work", "tasks", 1, "work", "value")


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"for": {"in": "."}}, [("missing_field", "/do")]),
        ({"for": {}, "do": []}, [("missing_field", "/for/in")]),
        ({"for": {"in": [1]}, "do": []}, [("wrong_type", "/for/in")]),
        ({"for": {"in": ".", "of": 1}, "do": []}, [("unknown_field", "/for/of")]),
        ({"for": 5, "do": []}, [("wrong_type", "/for")]),
        ({"for": {"in": "."}, "do": {}}, [("wrong_type", "/do")]),
        ({"for": {"in": "."}, "do": [], "while": True}, [("wrong_type", "/while")]),
        ({"for": {"in": ".", "each": 5}, "do": []}, [("wrong_type", "/for/each")]),
        ({"for": {"in": ".", "each": "index"}, "do": []}, [("bad_variable", "/for/each")]),
        ({"for": {"in": ".", "at": "item"}, "do": []}, [("bad_variable", "/for/at")]),
        ({"for": {"in": ".", "each": "x", "at": "x"}, "do": []}, [("bad_variable", "/for/at")]),
        ({"do": [], "while": "."}, [("unknown_field", "/while")]),
    ],
)
def test_a_wrong_loop_is_refused(task: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert problems_of_task(task) == expected


@pytest.mark.parametrize(
    "name",
    [
        *("context", "input", "output", "secrets", "authorization", "task", "workflow", "runtime"),
        *("ENV", "__loc__", "", "$x", "a-b", "1a", "a b", "é", "a\n", "x" * 65),
    ],
)
@pytest.mark.parametrize(
    ("field", "task"),
    [
        ("/for/each", lambda name: {"for": {"in": ".", "each": name}, "do": []}),
        ("/for/at", lambda name: {"for": {"in": ".", "at": name}, "do": []}),
        ("/foreach/item", lambda name: {"listen": {"to": {"any": []}}, "foreach": {"item": name}}),
        ("/catch/as", lambda name: {"try": [], "catch": {"as": name}}),
    ],
    ids=["each", "at", "item", "as"],
)
def test_a_variable_has_a_name_of_its_own(name: str, field: str, task: Any) -> None:
    assert problems_of_task(task(name)) == [("bad_variable", field)]


async def test_a_variable_that_is_not_in_scope_is_refused() -> None:
    task = {"for": {"in": "$item"}, "do": [{"x": {"set": "$item + $other"}}], "output": {"as": "$index"}}
    async with Sandbox(1) as sandbox:
        checked = await check(workflow({"a": task}), sandbox, ACCOUNT)
    assert found(checked.problems) == [
        ("bad_expression", "/do/0/a/do/0/x/set"),
        ("bad_expression", "/do/0/a/for/in"),
        ("bad_expression", "/do/0/a/output/as"),
    ]
    assert "$other is not defined" in checked.problems[0].message


# --- fork -----------------------------------------------------------------------------------------------------------


def test_a_fork_has_branches() -> None:
    work = work_of({"fork": {"branches": [{"x": {"wait": "PT1S", "then": "exit"}}, {"y": GO}]}})
    assert isinstance(work, Fork)
    assert [type(branch.work) for branch in work.branches][:1] == [Wait]
    assert work.compete is False
    assert work_of({"fork": {"branches": []}}) == Fork((), compete=False)


@pytest.mark.parametrize(
    ("fork", "expected"),
    [
        (5, [("wrong_type", "")]),
        ({}, [("missing_field", "/branches")]),
        ({"branches": {}}, [("wrong_type", "/branches")]),
        ({"branches": [GO | {"x": 1}]}, [("wrong_type", "/branches/0")]),
        ({"branches": [{"x": GO}, {"x": GO}]}, [("duplicate_task_name", "/branches/1/x")]),
        (
            {"branches": [{"x": GO | {"then": "y"}}, {"y": GO}]},
            [("unknown_target", "/branches/0/x/then")],
        ),
        ({"branches": [], "compete": True}, [("missing_field", "/branches")]),
        ({"branches": [], "compete": 1}, [("wrong_type", "/compete")]),
        ({"branches": [{f"b{n}": GO} for n in range(BRANCH_LIMIT + 1)]}, [("too_large", "/branches")]),
    ],
)
def test_a_wrong_fork_is_refused(fork: Any, expected: list[tuple[str, str]]) -> None:
    assert problems_of_task({"fork": fork}) == [(code, "/fork" + pointer) for code, pointer in expected]


async def test_a_branch_after_another_is_no_unreachable_task() -> None:
    assert await warnings_of({"a": {"fork": {"branches": [{"x": GO | {"then": "end"}}, {"y": GO}]}}}) == []


# --- emit -----------------------------------------------------------------------------------------------------------

EVENT = {"source": "urn:shop", "type": "order"}


def emit(**attributes: Any) -> dict[str, Any]:
    return {"emit": {"event": {"with": EVENT | attributes}}}


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"id": "1", "time": "2025-01-31T12:00:00Z", "subject": "x", "datacontenttype": "text/plain"},
        {"source": "${ .source }", "time": "${ .time }", "specversion": "${ .v }", "data_base64": "${ .d }"},
        {"data": {"x": "${ .x }"}, "extension": 5, "computed": "${ .x }"},
        {"data": None},
    ],
)
def test_an_event_is_a_template(attributes: dict[str, Any]) -> None:
    work = work_of(emit(**attributes))
    assert isinstance(work, Emit)
    assert work.event.source == EVENT | attributes


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"source": "/relative"}, [("bad_format", "/source")]),
        ({"source": ""}, [("wrong_type", "/source")]),
        ({"source": "no uri"}, [("bad_format", "/source")]),
        ({"source": "http://["}, [("bad_format", "/source")]),
        ({"type": 5}, [("wrong_type", "/type")]),
        ({"specversion": "0.3"}, [("bad_format", "/specversion")]),
        ({"time": "today"}, [("bad_format", "/time")]),
        ({"orderId": "5"}, [("bad_format", "/orderId")]),
        ({"orderId": "${ .id }"}, [("bad_format", "/orderId")]),
        ({"extension": [1]}, [("wrong_type", "/extension")]),
        ({"data": 1, "data_base64": "AA=="}, [("bad_format", "/data_base64")]),
        ({"data_base64": "?"}, [("bad_format", "/data_base64")]),
    ],
)
def test_an_event_that_could_not_be_sent_is_refused(
    attributes: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert problems_of_task(emit(**attributes)) == [
        (code, "/emit/event/with" + pointer) for code, pointer in expected
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, [("missing_field", "/event")]),
        (5, [("wrong_type", "")]),
        ({"event": {}}, [("missing_field", "/event/with")]),
        (
            {"event": {"with": "${ . }"}},
            [
                ("wrong_type", "/event/with"),
                *(("missing_field", f"/event/with/{name}") for name in ("source", "type")),
            ],
        ),
        ({"event": {"with": {}}}, [("missing_field", f"/event/with/{name}") for name in ("source", "type")]),
        ({"event": {"with": EVENT}, "to": 1}, [("unknown_field", "/to")]),
    ],
)
def test_a_wrong_emit_is_refused(value: Any, expected: list[tuple[str, str]]) -> None:
    assert problems_of_task({"emit": value}) == [(code, "/emit" + pointer) for code, pointer in expected]


# --- Warnings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "waits"),
    [
        ({"call": "http", "with": {"method": "get", "endpoint": "https://example.com"}}, False),
        ({"call": "approval", "with": {"title": "x", "assignees": {"roles": ["admin"]}}}, True),
        ({"call": "waiting"}, True),
        ({"call": "quick"}, False),
        ({"run": {"workflow": {"namespace": "a", "name": "b", "version": "latest"}}}, True),
        ({"run": {"workflow": {"namespace": "a", "name": "b", "version": "latest"}, "await": False}}, False),
        ({"for": {"in": "."}, "do": [{"x": {"wait": "PT1S"}}]}, True),
        ({"fork": {"branches": [{"x": {"wait": "PT1S"}}, {"y": GO}]}}, True),
        ({"try": [], "catch": {"do": [{"x": {"wait": "PT1S"}}]}}, True),
        ({"listen": {"to": {"any": []}}}, True),
        (emit(), False),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_a_way_back_is_warned_of_unless_something_on_it_waits(
    task: dict[str, Any],
    waits: bool,  # noqa: FBT001 - a case
) -> None:
    use = {"functions": {"waiting": {"do": [{"x": {"wait": "PT1S"}}]}, "quick": GO}}
    expected = [] if waits else [("backward_jump", "/do/1/b")]
    assert await warnings_of({"a": task}, {"b": GO | {"then": "a"}}, use=use) == expected


async def test_what_is_done_after_an_error_was_caught_is_a_way_too() -> None:
    attempt = {"try": [], "catch": {"then": "c"}, "then": "end"}
    assert await warnings_of({"a": attempt}, {"b": GO}, {"c": GO}) == [("unreachable_task", "/do/1/b")]
