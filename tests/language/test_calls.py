"""How `call` and `run` are read: HTTP, functions and other workflows."""

import re
from typing import Any

import pytest

from service.language.document import Do, FunctionCall, HttpCall, PersonCall, RunWorkflow, Set, UriTemplate
from service.language.reading import check, read
from service.language.sandbox import Sandbox
from service.language.tasks import NESTING_LIMIT
from tests.language.definitions import (
    ACCOUNT,
    Recorded,
    found,
    names_at,
    problems_of,
    problems_of_task,
    task_of,
    warnings_of,
    work_of,
    workflow,
)

GET = {"method": "get", "endpoint": "https://example.com"}


def http(**arguments: Any) -> dict[str, Any]:
    return {"call": "http", "with": {**GET, **arguments}}


def read_http(**arguments: Any) -> HttpCall:
    work = work_of(http(**arguments))
    assert isinstance(work, HttpCall)
    return work


# --- HTTP -----------------------------------------------------------------------------------------------------------


def test_the_least_call_gets_the_content_and_follows_the_rule_for_statuses() -> None:
    call = read_http()
    assert (call.method, call.output, call.redirect, call.authentication, call.secrets) == (
        "GET",
        "content",
        False,
        None,
        (),
    )
    assert call.arguments.source == {}


@pytest.mark.parametrize(
    ("endpoint", "parts"),
    [
        ("https://example.com", ("https://example.com",)),
        ("HTTP://example.com/{id}", ("HTTP://example.com/", "id", "")),
        ("https://{host}/a?x={a.b}&y={y}", ("https://", "host", "/a?x=", "a.b", "&y=", "y", "")),
    ],
)
def test_a_literal_endpoint_is_a_template(endpoint: str, parts: tuple[str, ...]) -> None:
    assert read_http(endpoint=endpoint).template == UriTemplate(parts)
    assert read_http(endpoint={"uri": endpoint}).template == UriTemplate(parts)


def test_a_computed_endpoint_is_one_of_the_arguments() -> None:
    call = read_http(endpoint={"uri": "${ .where }"}, body={"a": "${ .a }"}, headers="${ .h }")
    assert call.template is None
    assert call.arguments.source == {"uri": "${ .where }", "headers": "${ .h }", "body": {"a": "${ .a }"}}


def test_an_absent_body_is_not_null() -> None:
    assert "body" in read_http(body=None).arguments.source
    assert "body" not in read_http().arguments.source


async def test_every_argument_is_compiled_where_it_stands() -> None:
    compiler = Recorded({"${ u }": "no", "${ h }": "no", "${ q }": "no", "${ b }": "no"})
    task = http(
        endpoint={"uri": "${ u }"},
        headers={"x": "${ h }"},
        query={"y": [1, "${ q }"]},
        body=[{"z": "${ b }"}],
    )
    checked = await check(workflow({"a": task}), compiler, ACCOUNT)
    assert [pointer for _, pointer in found(checked.problems)] == [
        "/do/0/a/with/body/0/z",
        "/do/0/a/with/endpoint/uri",
        "/do/0/a/with/headers/x",
        "/do/0/a/with/query/y/1",
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"method": 1}, [("wrong_type", "/method")]),
        ({"method": "GET /"}, [("bad_format", "/method")]),
        ({"method": "${ .m }"}, [("bad_format", "/method")]),
        ({"endpoint": 1}, [("wrong_type", "/endpoint")]),
        ({"endpoint": "/relative"}, [("bad_format", "/endpoint")]),
        ({"endpoint": "{base}/x"}, [("bad_format", "/endpoint")]),
        ({"endpoint": "ftp://example.com"}, [("bad_format", "/endpoint")]),
        ({"endpoint": "urn:x"}, [("bad_format", "/endpoint")]),
        ({"endpoint": "https://"}, [("bad_format", "/endpoint")]),
        ({"endpoint": "https:///path"}, [("bad_format", "/endpoint")]),
        ({"endpoint": "https://e.com/a b"}, [("bad_format", "/endpoint")]),
        ({"endpoint": "https://e.com/\u0007"}, [("bad_format", "/endpoint")]),
        ({"endpoint": "https://e.com/{a"}, [("bad_format", "/endpoint")]),
        ({"endpoint": "https://e.com/a}"}, [("bad_format", "/endpoint")]),
        ({"endpoint": "https://e.com/{}"}, [("bad_format", "/endpoint")]),
        ({"endpoint": "https://e.com/{{a}}"}, [("bad_format", "/endpoint")]),
        ({"endpoint": "https://e.com/{$input.a}"}, [("bad_format", "/endpoint")]),
        ({"endpoint": "https://e.com/x{?a}"}, [("bad_format", "/endpoint")]),
        ({"endpoint": {}}, [("missing_field", "/endpoint/uri")]),
        ({"endpoint": {"uri": 5}}, [("wrong_type", "/endpoint/uri")]),
        ({"endpoint": {"uri": "https://e.com", "auth": {}}}, [("unknown_field", "/endpoint/auth")]),
        ({"uri": "https://example.com"}, [("unknown_field", "/uri")]),
        ({"headers": []}, [("wrong_type", "/headers")]),
        ({"headers": "text"}, [("wrong_type", "/headers")]),
        ({"headers": {"a": ["x"]}}, [("wrong_type", "/headers/a")]),
        ({"headers": {"a b": "x"}}, [("bad_format", "/headers/a b")]),
        ({"headers": {"a": "x\r\nb: y"}}, [("bad_format", "/headers/a")]),
        ({"headers": {f"h{n}": "x" for n in range(101)}}, [("too_large", "/headers")]),
        ({"query": {"a": {}}}, [("wrong_type", "/query/a")]),
        ({"query": {"a": [[]]}}, [("wrong_type", "/query/a")]),
        ({"output": "json"}, [("bad_format", "/output")]),
        ({"output": []}, [("bad_format", "/output")]),
        ({"redirect": "yes"}, [("wrong_type", "/redirect")]),
        ({"body": "${ }"}, [("bad_expression", "/body")]),
    ],
)
def test_a_wrong_argument_of_http_is_refused(
    arguments: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert problems_of_task(http(**arguments)) == [(code, "/with" + pointer) for code, pointer in expected]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"call": "http"}, [("missing_field", "/with")]),
        ({"call": "http", "with": "${ . }"}, [("wrong_type", "/with")]),
        (
            {"call": "http", "with": {}},
            [("missing_field", "/with/endpoint"), ("missing_field", "/with/method")],
        ),
        ({"call": 5}, [("wrong_type", "/call")]),
        *(
            ({"call": protocol, "with": {}}, [("unsupported_task", "/call")])
            for protocol in ("grpc", "openapi", "asyncapi", "mcp", "a2a")
        ),
        ({"call": "nope"}, [("unknown_function", "/call")]),
        ({"call": "approval:2.0.0@default"}, [("unknown_function", "/call")]),
        ({"call": "approval:1.0.0"}, [("unknown_function", "/call")]),
        ({"call": "approval:1.0.0@elsewhere"}, [("unsupported_feature", "/call")]),
        ({"call": "https://example.com/function.yaml"}, [("unsupported_feature", "/call")]),
    ],
)
def test_a_wrong_call_is_refused(task: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert problems_of_task(task) == expected


# --- Secrets --------------------------------------------------------------------------------------------------------


def test_a_call_reads_only_the_secrets_that_it_names() -> None:
    task = http(
        headers={"x": '${ "key \\($secrets.key)" }'},
        body='${ $secrets["b"].x }',
        endpoint={"uri": "https://e.com", "authentication": {"basic": {"use": "login"}}},
    )
    task["input"] = {"from": {"t": "${ $secrets.token }", "plain": "$secrets.no"}}
    work = work_of(task, use={"secrets": ["token", "key", "other", "login", "b"]})
    assert isinstance(work, HttpCall)
    assert work.secrets == ("b", "key", "login", "token")


def test_an_input_sees_secrets_only_where_it_reads_them() -> None:
    reads = task_of({**http(), "input": {"from": "$secrets.a"}}, use={"secrets": ["a"]}).input_from
    other = task_of({**http(), "input": {"from": '"no $secrets"'}}).input_from
    assert reads is not None
    assert other is not None
    assert ("secrets" in reads.names, "secrets" in other.names) == (True, False)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${ $secrets.known }", None),
        ("${ $secrets.nope }", "`nope` is not declared"),
        ("${ $secrets }", "by its name"),
        ("${ $secrets[.name] }", "by its name"),
        ('${ "$secrets.nope" }', None),
    ],
)
def test_secrets_are_declared_and_named(text: str, problem: str | None) -> None:
    value = workflow({"a": http(body=text)}, use={"secrets": ["known"]})
    if problem is None:
        assert read(value).secrets == ("known",)
        return
    (refused,) = problems_of(value)
    assert (refused.code, refused.pointer) == ("undeclared_secret", "/do/0/a/with/body")
    assert problem in refused.message


async def test_secrets_and_authorization_are_nowhere_else() -> None:
    tasks: list[dict[str, Any]] = [
        {"a": {"set": "$secrets.s"}},
        {"b": {"call": "f", "with": {"x": "${ $secrets.s }"}}},
        {"c": {"call": "approval", "with": {"title": "${ $secrets.s }", "assignees": {"roles": ["r"]}}}},
        {"d": {**http(body="${ $authorization.parameter }"), "output": {"as": "$authorization"}}},
        {"e": {**http(), "if": "$secrets.s"}},
        {"f": {"set": ".", "input": {"from": "$secrets.s"}}},
    ]
    value = workflow(*tasks, use={"secrets": ["s"], "functions": {"f": {"set": "."}}})
    async with Sandbox(1) as sandbox:
        checked = await check(value, sandbox, ACCOUNT)
    assert found(checked.problems) == [
        ("bad_expression", "/do/0/a/set"),
        ("bad_expression", "/do/1/b/with/x"),
        ("bad_expression", "/do/2/c/with/title"),
        ("bad_expression", "/do/3/d/output/as"),
        ("bad_expression", "/do/4/e/if"),
        ("bad_expression", "/do/5/f/input/from"),
    ]
    assert re.search(
        r"\$runtime( \(line 1, column \d+\))?\. Secrets are there in `with`", checked.problems[0].message
    )
    assert "It is there in `with` of `call: http`" in checked.problems[3].message


# --- Functions ------------------------------------------------------------------------------------------------------


def functions(**declared: Any) -> dict[str, Any]:
    return {"functions": declared}


def test_a_function_is_its_task_and_what_it_is_given() -> None:
    work = work_of({"call": "f", "with": {"x": "${ .y }"}}, use=functions(f={"set": "."}))
    assert isinstance(work, FunctionCall)
    assert (work.name, work.function.pointer, type(work.function.work)) == ("f", "/use/functions/f", Set)
    assert work.arguments is not None
    plain = work_of({"call": "f"}, use=functions(f={"set": "."}))
    assert isinstance(plain, FunctionCall)
    assert plain.arguments is None


def test_a_function_of_the_workflow_comes_before_a_built_in_one() -> None:
    assert isinstance(work_of({"call": "form"}, use=functions(form={"set": "."})), FunctionCall)
    person = {"call": "form:1.0.0@default", "with": {"title": "x", "assignees": {"roles": ["r"]}, "form": {}}}
    assert isinstance(work_of(person, use=functions(form={"set": "."})), PersonCall)


def test_a_function_is_read_once_however_often_it_is_called() -> None:
    many = [{f"t{n}": {"call": "f"}} for n in range(3)]
    first, *others = read(workflow(*many, use=functions(f={"set": ".x"}))).tasks
    assert isinstance(first.work, FunctionCall)
    for task in others:
        assert isinstance(task.work, FunctionCall)
        assert task.work.function is first.work.function


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"f": {"do": [{"x": {"set": ".", "then": "end"}}]}}, [("unknown_target", "/f/do/0/x/then")]),
        ({"f": {"switch": [{"x": {"then": "end"}}]}}, [("unknown_target", "/f/switch/0/x/then")]),
        ({"f": {"set": ".", "then": "end"}}, [("unknown_target", "/f/then")]),
        ({"f": {"switch": [{"x": {"then": "a"}}]}}, [("unknown_target", "/f/switch/0/x/then")]),
        ({"f": {"call": "f"}}, [("function_cycle", "/f/call")]),
        (
            {"f": {"do": [{"x": {"call": "g"}}]}, "g": {"do": [{"y": {"call": "f"}}]}},
            [("function_cycle", "/g/do/0/y/call")],
        ),
        ({"f": {"set": []}}, [("wrong_type", "/f/set")]),
        ({"f": 5}, [("wrong_type", "/f")]),
        ({"f": {"call": "g"}}, [("unknown_function", "/f/call")]),
    ],
)
def test_a_wrong_function_is_refused_whether_it_is_called_or_not(
    declared: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    expected = [(code, "/use/functions" + pointer) for code, pointer in expected]
    assert found(problems_of(workflow(use={"functions": declared}))) == expected
    assert found(problems_of(workflow({"a": {"call": "f"}}, use={"functions": declared}))) == expected


def test_the_then_of_a_functions_own_task_is_ignored() -> None:
    work = work_of({"call": "f"}, use=functions(f={"set": ".", "then": "elsewhere"}))
    assert isinstance(work, FunctionCall)
    assert work.function.then is None


def test_a_circle_of_functions_is_told_in_full() -> None:
    declared = functions(f={"call": "g"}, g={"call": "h"}, h={"call": "g"})
    (problem,) = problems_of(workflow(use=declared))
    assert "g → h → g" in problem.message


def test_the_levels_of_a_function_count_where_it_is_called() -> None:
    def nested(levels: int, task: dict[str, Any]) -> dict[str, Any]:
        for _ in range(levels):
            task = {"do": [{"x": task}]}
        return task

    use = functions(f=nested(9, {"set": "."}))  # ten levels: its task and nine lists
    read(workflow({"a": nested(NESTING_LIMIT - 11, {"call": "f"})}, use=use))
    problems = problems_of(workflow({"a": nested(NESTING_LIMIT - 10, {"call": "f"})}, use=use))
    assert [problem.code for problem in problems] == ["too_deep"]
    chain = {f"f{n}": {"call": f"f{n + 1}"} for n in range(100)} | {"f100": {"set": "."}}
    assert {problem.code for problem in problems_of(workflow(use={"functions": chain}))} == {"too_deep"}


def test_functions_that_call_one_another_many_times_are_read_once_each() -> None:
    doubling = {
        f"f{n}": {"do": [{"x": {"call": f"f{n + 1}"}}, {"y": {"call": f"f{n + 1}"}}]} for n in range(8)
    }
    definition = read(workflow({"a": {"call": "f0"}}, use={"functions": doubling | {"f8": {"set": "."}}}))
    task = definition.tasks[0]
    for _ in range(8):
        assert isinstance(task.work, FunctionCall)
        assert isinstance(task.work.function.work, Do)
        task, other = task.work.function.work.tasks
        assert isinstance(task.work, FunctionCall)
        assert isinstance(other.work, FunctionCall)
        assert task.work.function is other.work.function


def test_the_variables_of_a_caller_are_not_a_functions() -> None:
    task = {"for": {"in": ".", "each": "line"}, "do": [{"x": {"call": "f"}}]}
    definition = read(workflow({"a": task}, use=functions(f={"set": "$line"})))
    function = ("tasks", 0, "work", "tasks", 0, "work", "function")
    assert "line" not in names_at(definition, *function, "work", "value")


# --- Other workflows ------------------------------------------------------------------------------------------------

OTHER = {"namespace": "demo", "name": "other", "version": "latest"}


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ({"workflow": OTHER}, RunWorkflow("demo", "other", "latest", None, awaited=True, returns="output")),
        (
            {"workflow": OTHER | {"version": "1.0.0"}, "await": False, "return": "none"},
            RunWorkflow("demo", "other", "1.0.0", None, awaited=False, returns="none"),
        ),
        (
            {"workflow": OTHER, "return": "stdout"},
            RunWorkflow("demo", "other", "latest", None, awaited=True, returns="output"),
        ),
    ],
    ids=["least", "detached", "output"],
)
def test_a_run_starts_a_workflow(run: dict[str, Any], expected: RunWorkflow) -> None:
    assert work_of({"run": run}) == expected


@pytest.mark.parametrize("given", [{"x": "${ .x }"}, "${ .x }", {}])
def test_the_input_of_a_run_is_an_object_or_computed(given: Any) -> None:
    work = work_of({"run": {"workflow": OTHER | {"input": given}}})
    assert isinstance(work, RunWorkflow)
    assert work.input is not None


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ({}, [("missing_field", "/workflow")]),
        (5, [("wrong_type", "")]),
        ({"container": {}}, [("unsupported_task", "/container")]),
        ({"script": {}}, [("unsupported_task", "/script")]),
        ({"shell": {}}, [("unsupported_task", "/shell")]),
        (
            {"workflow": {}},
            [(("missing_field"), f"/workflow/{name}") for name in ("name", "namespace", "version")],
        ),
        ({"workflow": OTHER | {"name": "a b"}}, [("bad_format", "/workflow/name")]),
        ({"workflow": OTHER | {"version": "1"}}, [("bad_format", "/workflow/version")]),
        ({"workflow": OTHER | {"input": "x"}}, [("wrong_type", "/workflow/input")]),
        ({"workflow": OTHER | {"input": []}}, [("wrong_type", "/workflow/input")]),
        ({"workflow": OTHER, "return": "code"}, [("unsupported_feature", "/return")]),
        ({"workflow": OTHER, "return": "output"}, [("bad_format", "/return")]),
        ({"workflow": OTHER, "await": "no"}, [("wrong_type", "/await")]),
        ({"workflow": OTHER, "wait": True}, [("unknown_field", "/wait")]),
    ],
)
def test_a_wrong_run_is_refused(run: Any, expected: list[tuple[str, str]]) -> None:
    assert problems_of_task({"run": run}) == [(code, "/run" + pointer) for code, pointer in expected]


async def test_a_workflow_that_runs_itself_is_warned_of() -> None:
    itself = {"run": {"workflow": OTHER | {"name": "sample"}}}
    assert await warnings_of({"a": itself}) == [("workflow_cycle", "/do/0/a/run/workflow")]
