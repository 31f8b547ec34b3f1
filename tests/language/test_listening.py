"""How it is read which events a `listen` takes (contracts 2.9, 8.2 and 8.3)."""

from typing import Any

import pytest

from service.language.document import Listen, Strategy
from service.language.expressions import Expression
from service.language.listening import CORRELATION_LIMIT, FILTER_LIMIT
from service.language.reading import read
from tests.language.definitions import names_at, problems_of_task, work_of, workflow

ORDER = {"with": {"type": "order"}}
NO_SCALARS: tuple[Any, ...] = (None, [], {"a": "${ .a }"})


def listen(to: Any, **beside: Any) -> dict[str, Any]:
    return {"listen": {"to": to}, **beside}


def read_listen(to: Any, **beside: Any) -> Listen:
    work = work_of(listen(to, **beside))
    assert isinstance(work, Listen)
    return work


@pytest.mark.parametrize(
    ("to", "kind", "number"),
    [
        ({"one": ORDER}, "one", 1),
        ({"any": []}, "any", 0),
        ({"any": [ORDER, ORDER]}, "any", 2),
        ({"all": [ORDER, ORDER]}, "all", 2),
    ],
)
def test_a_listen_takes_one_any_or_all(to: Any, kind: str, number: int) -> None:
    strategy = read_listen(to).to
    assert (strategy.kind, len(strategy.filters), strategy.until) == (kind, number, None)


def test_any_goes_on_until_a_condition_holds_or_other_events_come() -> None:
    condition = read_listen({"any": [], "until": "length > 3"}).to.until
    events = read_listen({"any": [ORDER], "until": {"all": [ORDER, ORDER]}}).to.until
    assert isinstance(condition, Expression)
    assert isinstance(events, Strategy)
    assert (events.kind, len(events.filters)) == ("all", 2)


def test_events_are_read_as_data_unless_it_says_otherwise() -> None:
    assert read_listen({"one": ORDER}).read == "data"
    work = work_of({"listen": {"to": {"one": ORDER}, "read": "raw"}})
    assert isinstance(work, Listen)
    assert work.read == "raw"


def test_a_filter_correlates_by_keys() -> None:
    keys: dict[str, Any] = {
        "room": {"from": ".roomid"},
        "order": {"from": "${ .data.id }", "expect": "${ .id }"},
    }
    keys |= {"fixed": {"from": ".x", "expect": 5}, "text": {"from": ".x", "expect": "a"}}
    (wanted,) = read_listen({"one": ORDER | {"correlate": keys}}).to.filters
    assert [(one.key, one.expect.source if one.expect else None) for one in wanted.correlations] == [
        ("room", None),
        ("order", "${ .id }"),
        ("fixed", 5),
        ("text", "a"),
    ]


def test_each_event_may_be_worked_on() -> None:
    least = read_listen({"any": []}, foreach={}).foreach
    assert least is not None
    assert (least.item, least.at, least.tasks, least.output_as, least.export_schema) == (
        "item",
        "index",
        None,
        None,
        None,
    )
    foreach = {
        "item": "event",
        "at": "n",
        "do": [{"x": {"set": "$event"}}],
        "output": {"as": "$n", "schema": {"document": True}},
        "export": {"as": "$context", "schema": {"document": {}}},
    }
    definition = read(workflow({"a": listen({"any": []}, foreach=foreach, output={"as": ".x"})}))
    for place in (("tasks", 0, "work", "value"), ("output_as",), ("export_as",)):
        assert {"event", "n"} <= set(names_at(definition, "tasks", 0, "work", "foreach", *place))
    assert "event" not in names_at(definition, "tasks", 0, "output_as")


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        (5, [("wrong_type", "")]),
        ({}, [("missing_field", "/one")]),
        ({"some": []}, [("unknown_field", "/some"), ("missing_field", "/one")]),
        ({"one": ORDER, "any": []}, [("bad_format", "")]),
        ({"one": ORDER, "until": "."}, [("unknown_field", "/until")]),
        ({"all": [ORDER], "until": "."}, [("unknown_field", "/until")]),
        ({"any": [], "until": 5}, [("wrong_type", "/until")]),
        ({"any": [], "until": ""}, [("bad_expression", "/until")]),
        ({"any": [], "until": {"any": [], "until": "."}}, [("unknown_field", "/until/until")]),
        ({"any": [], "until": {}}, [("missing_field", "/until/one")]),
        ({"any": {}}, [("wrong_type", "/any")]),
        ({"all": []}, [("missing_field", "/all")]),
        ({"any": [ORDER] * (FILTER_LIMIT + 1)}, [("too_large", "/any")]),
        ({"one": 5}, [("wrong_type", "/one")]),
        ({"one": {}}, [("missing_field", "/one/with")]),
        ({"any": [{"with": {}}]}, [("missing_field", "/any/0/with")]),
        ({"one": {"with": 1}}, [("wrong_type", "/one/with")]),
        ({"one": {"with": {"type": 1}}}, [("wrong_type", "/one/with/type")]),
        ({"one": {"with": {"extension": [1]}}}, [("wrong_type", "/one/with/extension")]),
        ({"one": {"with": {"Type": "x"}}}, [("bad_format", "/one/with/Type")]),
        ({"one": {"with": {"type": "x" * 8193}}}, [("too_large", "/one/with/type")]),
        ({"one": ORDER | {"correlate": []}}, [("wrong_type", "/one/correlate")]),
        ({"one": ORDER | {"correlate": {"k": {}}}}, [("missing_field", "/one/correlate/k/from")]),
        (
            {"one": ORDER | {"correlate": {"k": {"from": ".", "is": 1}}}},
            [("unknown_field", "/one/correlate/k/is")],
        ),
        ({"one": ORDER | {"correlate": {"k": {"from": 1}}}}, [("wrong_type", "/one/correlate/k/from")]),
        *(
            (
                {"one": ORDER | {"correlate": {"k": {"from": ".", "expect": value}}}},
                [("wrong_type", "/one/correlate/k/expect")],
            )
            for value in NO_SCALARS
        ),
        (
            {"one": ORDER | {"correlate": {f"k{n}": {"from": "."} for n in range(CORRELATION_LIMIT + 1)}}},
            [("too_large", "/one/correlate")],
        ),
    ],
)
def test_a_wrong_strategy_is_refused(to: Any, expected: list[tuple[str, str]]) -> None:
    problems = problems_of_task(listen(to))
    assert sorted(problems) == sorted((code, "/listen/to" + pointer) for code, pointer in expected)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"listen": 5}, [("wrong_type", "/listen")]),
        ({"listen": {}}, [("missing_field", "/listen/to")]),
        ({"listen": {"to": {"one": ORDER}, "read": "body"}}, [("bad_format", "/listen/read")]),
        ({"listen": {"to": {"one": ORDER}, "foreach": {}}}, [("unknown_field", "/listen/foreach")]),
        (listen({"one": ORDER}, foreach=5), [("wrong_type", "/foreach")]),
        (listen({"one": ORDER}, foreach={"then": "end"}), [("unknown_field", "/foreach/then")]),
        (listen({"one": ORDER}, foreach={"do": {}}), [("wrong_type", "/foreach/do")]),
        (
            listen({"one": ORDER}, foreach={"item": "x", "at": "x"}),
            [("bad_variable", "/foreach/at")],
        ),
        (
            listen({"one": ORDER}, foreach={"output": {"from": "."}}),
            [("unknown_field", "/foreach/output/from")],
        ),
    ],
)
def test_a_wrong_listen_is_refused(task: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert problems_of_task(task) == expected
