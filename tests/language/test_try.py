"""How `try`, its `catch` and its retries are read (contract 2.11)."""

from datetime import timedelta
from typing import Any

import pytest

from service.language.catching import RETRIES, RETRY_LIMIT
from service.language.document import Retry, Try
from service.language.durations import Duration
from service.language.errors import STANDARD
from service.language.reading import check, read
from tests.language.definitions import (
    ACCOUNT,
    Recorded,
    found,
    names_at,
    problems_of,
    problems_of_task,
    work_of,
    workflow,
)

GO = {"set": "."}


def read_try(catch: Any, **root: Any) -> Try:
    work = work_of({"try": [{"x": GO}], "catch": catch}, **root)
    assert isinstance(work, Try)
    return work


def read_retry(policy: Any) -> Retry:
    retry = read_try({"retry": policy}).retry
    assert retry is not None
    return retry


def test_the_least_catch_takes_every_error_and_does_nothing() -> None:
    work = read_try({})
    assert (work.errors, work.variable, work.when, work.retry, work.handler, work.then) == (
        {},
        "error",
        None,
        None,
        None,
        None,
    )
    assert read_try({"do": []}).handler == ()


def test_a_filter_compares_with_canonical_types_and_the_members_of_errors() -> None:
    given = {
        "type": "https://serverlessworkflow.io/dsl/errors/types/communication",
        "status": 404,
        "title": "t",
        "instance": "/do/0/x",
        "details": "d",
    }
    assert read_try({"errors": {"with": given}}).errors == {
        "type": STANDARD + "communication",
        "status": 404,
        "title": "t",
        "instance": "/do/0/x",
        "detail": "d",
    }
    assert read_try({"errors": {"with": {"detail": "d", "details": "d"}}}).errors == {"detail": "d"}


def test_the_caught_error_is_seen_by_conditions_and_handler_alone() -> None:
    catch = {
        "as": "failure",
        "when": "$failure",
        "exceptWhen": "$failure",
        "retry": {"when": "$failure", "exceptWhen": "$failure", "delay": "${ .d }"},
        "do": [{"y": {"set": "$failure"}}],
    }
    task = {"try": [{"x": {"set": ".x"}}], "catch": catch, "output": {"as": ".o"}}
    definition = read(workflow({"a": task}))
    work = ("tasks", 0, "work")
    for place in (
        ("when",),
        ("except_when",),
        ("retry", "when"),
        ("retry", "except_when"),
        ("handler", 0, "work", "value"),
    ):
        assert "failure" in names_at(definition, *work, *place)
    for outside in (
        (*work, "tasks", 0, "work", "value"),
        ("tasks", 0, "output_as"),
        (*work, "retry", "delay"),
    ):
        assert "failure" not in names_at(definition, *outside)


@pytest.mark.parametrize(
    ("policy", "count", "backoff"),
    [
        ({}, RETRIES, "constant"),
        ({"backoff": {"linear": {}}}, RETRIES, "linear"),
        ({"backoff": {"exponential": {"whatever": 1}}}, RETRIES, "exponential"),
        ({"backoff": {"constant": {}}, "limit": {}}, RETRIES, "constant"),
        ({"limit": {"attempt": {"count": 0}}}, 0, "constant"),
        ({"limit": {"attempt": {"count": RETRY_LIMIT}, "duration": "PT1H"}}, RETRY_LIMIT, "constant"),
        ({"limit": {"duration": "PT1H"}}, RETRY_LIMIT, "constant"),
        ({"limit": {"attempt": {"duration": "PT1H"}}}, RETRIES, "constant"),
    ],
)
def test_a_policy_always_has_a_limit(policy: dict[str, Any], count: int, backoff: str) -> None:
    retry = read_retry(policy)
    assert (retry.count, retry.backoff) == (count, backoff)


def test_a_policy_has_lengths_of_time() -> None:
    retry = read_retry(
        {
            "delay": "PT1S",
            "limit": {"attempt": {"duration": "PT2S"}, "duration": {"seconds": 3}},
            "jitter": {"from": "PT0S", "to": "PT4S"},
        }
    )
    seconds = [Duration(0, timedelta(seconds=n)) for n in range(5)]
    assert (retry.delay, retry.attempt_limit, retry.window) == tuple(seconds[1:4])
    assert retry.jitter == (seconds[0], seconds[4])
    none = read_retry({})
    assert (none.delay, none.attempt_limit, none.window, none.jitter) == (seconds[0], None, None, None)


@pytest.mark.parametrize(
    ("catch", "expected"),
    [
        (5, [("wrong_type", "")]),
        ({"finally": []}, [("unknown_field", "/finally")]),
        ({"errors": {}}, [("missing_field", "/errors/with")]),
        ({"errors": {"with": {}}}, [("missing_field", "/errors/with")]),
        ({"errors": {"with": 5}}, [("wrong_type", "/errors/with")]),
        ({"errors": {"with": {"code": 1}}}, [("unknown_field", "/errors/with/code")]),
        ({"errors": {"with": {"status": "404"}}}, [("wrong_type", "/errors/with/status")]),
        ({"errors": {"with": {"status": True}}}, [("wrong_type", "/errors/with/status")]),
        ({"errors": {"with": {"type": 1}}}, [("wrong_type", "/errors/with/type")]),
        ({"errors": {"with": {"title": "${ .t }"}}}, [("bad_format", "/errors/with/title")]),
        ({"errors": {"with": {"detail": "a", "details": "b"}}}, [("bad_format", "/errors/with")]),
        ({"when": True}, [("wrong_type", "/when")]),
        ({"as": 1}, [("wrong_type", "/as")]),
        ({"do": {}}, [("wrong_type", "/do")]),
        ({"then": "nowhere"}, [("unknown_target", "/then")]),
        ({"do": [{"y": GO | {"then": "a"}}]}, [("unknown_target", "/do/0/y/then")]),
        ({"retry": "nope"}, [("unknown_retry", "/retry")]),
        ({"retry": 5}, [("wrong_type", "/retry")]),
        ({"retry": {"times": 5}}, [("unknown_field", "/retry/times")]),
        ({"retry": {"when": 1}}, [("wrong_type", "/retry/when")]),
        ({"retry": {"delay": 5}}, [("wrong_type", "/retry/delay")]),
        ({"retry": {"backoff": {}}}, [("missing_field", "/retry/backoff/constant")]),
        ({"retry": {"backoff": "linear"}}, [("wrong_type", "/retry/backoff")]),
        ({"retry": {"backoff": {"linear": 1}}}, [("wrong_type", "/retry/backoff/linear")]),
        ({"retry": {"backoff": {"linear": {}, "x": {}}}}, [("unknown_field", "/retry/backoff/x")]),
        ({"retry": {"backoff": {"linear": {}, "constant": {}}}}, [("bad_format", "/retry/backoff")]),
        ({"retry": {"limit": 5}}, [("wrong_type", "/retry/limit")]),
        ({"retry": {"limit": {"count": 5}}}, [("unknown_field", "/retry/limit/count")]),
        ({"retry": {"limit": {"duration": "x"}}}, [("bad_format", "/retry/limit/duration")]),
        *(
            ({"retry": {"limit": {"attempt": {"count": count}}}}, [(code, "/retry/limit/attempt/count")])
            for count, code in (
                (-1, "bad_format"),
                (RETRY_LIMIT + 1, "too_large"),
                ("5", "wrong_type"),
                (True, "wrong_type"),
                (1.5, "wrong_type"),
            )
        ),
        (
            {"retry": {"limit": {"attempt": {"duration": 1}}}},
            [("wrong_type", "/retry/limit/attempt/duration")],
        ),
        ({"retry": {"jitter": {"to": "PT1S"}}}, [("missing_field", "/retry/jitter/from")]),
        ({"retry": {"jitter": {"from": "PT1S"}}}, [("missing_field", "/retry/jitter/to")]),
        ({"retry": {"jitter": {"from": "PT2S", "to": "PT1S"}}}, [("bad_format", "/retry/jitter")]),
    ],
)
def test_a_wrong_catch_is_refused(catch: Any, expected: list[tuple[str, str]]) -> None:
    assert problems_of_task({"try": [{"x": GO}], "catch": catch}) == [
        (code, "/catch" + pointer) for code, pointer in expected
    ]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"try": []}, [("missing_field", "/catch")]),
        ({"try": {}, "catch": {}}, [("wrong_type", "/try")]),
        (
            {"try": [{"x": GO | {"then": "y"}}], "catch": {"do": [{"y": GO}]}},
            [("unknown_target", "/try/0/x/then")],
        ),
    ],
)
def test_a_wrong_try_is_refused(task: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert problems_of_task(task) == expected


# --- Policies of `use` ----------------------------------------------------------------------------------------------


def test_a_policy_sees_the_error_by_the_name_that_the_catch_gives_it() -> None:
    use = {"retries": {"p": {"when": "$failure.x"}, "unused": {"when": "$error.x"}}}
    definition = read(workflow({"a": {"try": [], "catch": {"as": "failure", "retry": "p"}}}, use=use))
    names = names_at(definition, "tasks", 0, "work", "retry", "when")
    assert "failure" in names
    assert "error" not in names


async def test_what_is_wrong_with_a_policy_is_told_once() -> None:
    use = {"retries": {"p": {"when": ".x", "delay": 5}, "unused": {"when": ".y"}}}
    catches = [{f"t{n}": {"try": [], "catch": {"as": f"e{n}", "retry": "p"}}} for n in range(3)]
    checked = await check(workflow(*catches, use=use), Recorded({".x": "no", ".y": "no"}), ACCOUNT)
    assert found(checked.problems) == [
        ("wrong_type", "/use/retries/p/delay"),
        ("bad_expression", "/use/retries/p/when"),
        ("bad_expression", "/use/retries/unused/when"),
    ]


def test_a_policy_does_not_see_the_loop_around_the_one_who_refers_to_it() -> None:
    use = {"retries": {"p": {"when": ".x"}}}
    task = {"for": {"in": ".", "each": "line"}, "do": [{"b": {"try": [], "catch": {"retry": "p"}}}]}
    definition = read(workflow({"a": task}, use=use))
    assert "line" not in names_at(definition, "tasks", 0, "work", "tasks", 0, "work", "retry", "when")


@pytest.mark.parametrize("name", ["unused", "used"])
def test_every_declared_policy_is_read(name: str) -> None:
    tasks = [{"a": {"try": [], "catch": {"retry": "used"}}}] if name == "used" else []
    problems = problems_of(workflow(*tasks, use={"retries": {name: {"x": 1}}}))
    assert found(problems) == [("unknown_field", f"/use/retries/{name}/x")]
