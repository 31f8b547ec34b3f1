"""What `use` declares, and references to it (contract 1.3)."""

from datetime import timedelta
from typing import Any

import pytest

from service.language.document import Raise
from service.language.durations import Duration
from service.language.expressions import Expression
from service.language.reading import SECRET_LIMIT, read
from tests.language.definitions import found, problems_of, problems_of_task, task_of, workflow

ERROR = {"type": "urn:x", "status": 400}


def test_secrets_are_names() -> None:
    assert read(workflow(use={"secrets": ["a", "b c", "a"]})).secrets == ("a", "b c")
    assert read(workflow()).secrets == ()


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (5, [("wrong_type", "")]),
        ({"secrets": "a"}, [("wrong_type", "/secrets")]),
        ({"secrets": ["a", 5]}, [("wrong_type", "/secrets/1")]),
        ({"secrets": [""]}, [("bad_format", "/secrets/0")]),
        ({"secrets": ["a" * 129]}, [("bad_format", "/secrets/0")]),
        ({"secrets": ["a"] * (SECRET_LIMIT + 1)}, [("too_large", "/secrets")]),
        ({"extensions": [{"a": {}}]}, [("unsupported_feature", "/extensions")]),
        ({"catalogs": {"default": {"endpoint": "https://e.com"}}}, [("unsupported_feature", "/catalogs")]),
        *(
            ({section: []}, [("wrong_type", f"/{section}")])
            for section in ("authentications", "errors", "functions", "retries", "timeouts")
        ),
        ({"errors": {"e": 5}}, [("wrong_type", "/errors/e")]),
        ({"errors": {"e": ERROR | {"x": 1}}}, [("unknown_field", "/errors/e/x")]),
        ({"timeouts": {"t": {}}}, [("missing_field", "/timeouts/t/after")]),
        ({"timeouts": {"t": "PT1S"}}, [("wrong_type", "/timeouts/t")]),
    ],
)
def test_a_wrong_declaration_is_refused(use: Any, expected: list[tuple[str, str]]) -> None:
    assert found(problems_of(workflow(use=use))) == [(code, "/use" + pointer) for code, pointer in expected]


@pytest.mark.parametrize(
    ("task", "code", "place", "section"),
    [
        ({"raise": {"error": "x"}}, "unknown_error", "/raise/error", "errors"),
        ({"set": ".", "timeout": "x"}, "unknown_timeout", "/timeout", "timeouts"),
        ({"try": [], "catch": {"retry": "x"}}, "unknown_retry", "/catch/retry", "retries"),
    ],
)
def test_a_reference_to_nothing_names_what_there_is(
    task: dict[str, Any], code: str, place: str, section: str
) -> None:
    known = {"errors": ERROR, "timeouts": {"after": "PT1S"}, "retries": {}}[section]
    (problem,) = problems_of(workflow({"a": task}, use={section: {"known": known}}))
    assert (problem.code, problem.pointer) == (code, "/do/0/a" + place)
    assert "`known`" in problem.message


def test_a_timeout_is_an_object_or_a_name() -> None:
    use = {"timeouts": {"short": {"after": "PT1S"}}}
    second = Duration(0, timedelta(seconds=1))
    assert task_of({"set": ".", "timeout": "short"}, use=use).timeout == second
    assert task_of({"set": ".", "timeout": {"after": {"seconds": 1}}}).timeout == second
    assert task_of({"set": "."}).timeout is None
    assert problems_of_task({"set": ".", "timeout": 5}) == [("wrong_type", "/timeout")]
    assert problems_of_task({"set": ".", "timeout": {"after": 5}}) == [("wrong_type", "/timeout/after")]


def test_a_timeout_sees_what_there_is_where_it_is_used() -> None:
    use = {"timeouts": {"long": {"after": "${ .days }"}}}
    definition = read(workflow({"a": {"set": ".", "timeout": "long"}}, timeout="long", use=use))
    assert isinstance(definition.timeout, Expression)
    assert definition.timeout.names == ("workflow", "runtime")
    own = definition.tasks[0].timeout
    assert isinstance(own, Expression)
    assert "context" in own.names


def test_a_named_error_is_read_once() -> None:
    tasks = [{f"t{n}": {"raise": {"error": "e"}}} for n in range(2)]
    first, second = read(workflow(*tasks, use={"errors": {"e": ERROR}})).tasks
    assert isinstance(first.work, Raise)
    assert isinstance(second.work, Raise)
    assert first.work.error is second.work.error
