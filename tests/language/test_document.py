"""What a definition may say, and how everything wrong with it is told."""

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import yaml

from service.language.document import Definition, Do, DocumentRefused, Listen, Raise, Set, Switch, Wait
from service.language.durations import Duration
from service.language.reading import check, read
from service.language.sandbox import Sandbox
from service.language.tasks import NESTING_LIMIT, TASK_LIMIT
from service.language.texts import TEXT_LIMIT, parse_json, parse_yaml
from tests.language.definitions import (
    ACCOUNT,
    HEADER,
    Recorded,
    found,
    problems_of,
    problems_of_task,
    warnings_of,
    workflow,
)

# --- Text -----------------------------------------------------------------------------------------------------------


def test_json_and_yaml_give_the_same_value() -> None:
    text = """
    # the words that YAML 1.1 takes for something else
    on: off
    yes: [no, y, ~, true, False]
    octal: [0123, 0o17, 0x1F]
    number: [1, -2, +3, 1.5, .5, 1e3, 12345678901234567890]
    text: [1_000, 2024-01-01, "5", '${ .a }', 12:30:00, 0b1, ., 1.2.3]
    block: |
      one
      two
    tagged: [!!str 5, ! 6]
    empty:
    """
    value = {
        "on": "off",
        "yes": ["no", "y", None, True, False],
        "octal": [123, 15, 31],
        "number": [1, -2, 3, 1.5, 0.5, 1000.0, 12345678901234567890],
        "text": ["1_000", "2024-01-01", "5", "${ .a }", "12:30:00", "0b1", ".", "1.2.3"],
        "block": "one\ntwo\n",
        "tagged": ["5", "6"],
        "empty": None,
    }
    assert parse_yaml(text.encode()) == value
    assert parse_json(json.dumps(value).encode()) == value


def test_integers_of_any_size_stay_exact() -> None:
    assert parse_json(b"[123456789012345678901234567890]") == [123456789012345678901234567890]


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert parse_json(b"\xef\xbb\xbf[]") == []
    assert parse_yaml(b"\xef\xbb\xbf[]") == []


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (b"", "json_invalid", "line 1, column 1"),
        (b"{", "json_invalid", "line 1, column 2"),
        (b"[1,]", "json_invalid", "line 1"),
        (b"[NaN]", "json_invalid", "NaN is no JSON value"),
        (b"[-Infinity]", "json_invalid", "-Infinity is no JSON value"),
        (b"[1e999]", "json_invalid", "out of range"),
        (b"[" + b"1" * 1_001 + b"]", "json_invalid", "at most 1000 digits"),
        (b'["\xff"]', "json_invalid", "not UTF-8"),
        (b'["\\ud800"]', "json_invalid", "lone surrogates"),
        (b'{"\\u0000": 1}', "json_invalid", "NUL"),
        (b'{"a": 1, "b": 2, "a": 3}', "duplicate_key", "'a' stands here twice"),
        (b"[" * 129 + b"]" * 129, "too_deep", "128 levels"),
        (b"[" * 100_000, "too_deep", "128 levels"),
        (b" " * (256 * 1024 + 1), "too_large", "256 KiB"),
    ],
)
def test_json_that_cannot_be_read_is_refused(text: bytes, code: str, words: str) -> None:
    with pytest.raises(DocumentRefused, match=words) as refused:
        parse_json(text)
    assert [problem.code for problem in refused.value.problems] == [code]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (b"", "yaml_invalid", "empty"),
        (b"a: b: c", "yaml_invalid", "line 1, column 5.*Quote a text that holds ': '"),
        (b"a: [", "yaml_invalid", "line"),
        (b"a: \x00", "yaml_invalid", "control characters|special characters"),
        (b"\xff", "yaml_invalid", "not UTF-8"),
        (b"a: 1\na: 2", "duplicate_key", "'a' stands here twice"),
        (b"1: a", "yaml_invalid", "Keys are strings"),
        (b"[a]: b", "yaml_invalid", "Keys are strings"),
        (b"a: .inf", "yaml_invalid", "no JSON value"),
        (b"a: .nan", "yaml_invalid", "no JSON value"),
        (b"a: 1e999", "yaml_invalid", "out of range"),
        (b"a: " + b"1" * 1_001, "yaml_invalid", "at most 1000 digits"),
        (b"a: &x 1\nb: *x", "yaml_invalid", "Anchors and aliases"),
        (b"a: *x", "yaml_invalid", "Anchors and aliases"),
        (b"<<: {a: 1}", "yaml_invalid", "Merge keys"),
        (b"a: !!python/object:os.system x", "yaml_invalid", "tag"),
        (b"a: !!set {b}", "yaml_invalid", "tag"),
        (b"a: !!int 5", "yaml_invalid", "tag"),
        (b"a: 1\n---\nb: 2", "yaml_invalid", "one definition"),
        (b"[" * 500, "too_deep", "128 levels"),
    ],
)
def test_yaml_that_cannot_be_read_is_refused(text: bytes, code: str, words: str) -> None:
    with pytest.raises(DocumentRefused, match=words) as refused:
        parse_yaml(text)
    assert [problem.code for problem in refused.value.problems] == [code]


def test_the_place_of_a_key_that_no_answer_could_carry_is_made_sendable() -> None:
    with pytest.raises(DocumentRefused) as refused:
        parse_json(b'{"\\ud800": ["\\u0000", {"\\ud800": 1, "\\ud800": 2}]}')
    msgspec.json.encode(refused.value.problems)
    assert [problem.pointer for problem in refused.value.problems] == ["", "/?/0", "/?/1", "/?/1/?"]


def test_every_repeated_key_is_told_with_its_place() -> None:
    with pytest.raises(DocumentRefused) as refused:
        parse_json(b'{"a": [{"b/c": 1, "b/c": 2}], "d": 1, "d": 2}')
    assert [problem.pointer for problem in refused.value.problems] == ["/a/0/b~1c", "/d"]


def test_yaml_is_read_without_the_c_library_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert parse_yaml(b"on: [1, off]") == {"on": [1, "off"]}
    with pytest.raises(DocumentRefused):
        parse_yaml(b'a: "\\uD800"')


# --- The workflow ---------------------------------------------------------------------------------------------------


def test_a_whole_definition_is_read() -> None:
    text = """
    document:
      dsl: '1.0.3'
      namespace: demo
      name: quote
      version: 1.2.0-rc.1+build.5
      title: A quote
      summary: What it *costs*
      tags: {team: sales, level: 3, urgent: true}
      metadata: {anything: [goes]}
    input:
      schema:
        format: json
        document: {type: object}
      from: .order
    use:
      errors:
        refused: {type: 'https://example.com/refused', status: 403}
      timeouts:
        short: {after: PT5M}
    timeout: short
    evaluate: {language: jq, mode: strict}
    do:
      - total: {set: {sum: '${ .a + .b }'}, if: .a, input: {from: .x}, output: {as: .sum}, export: {as: {n: 1}}}
      - check:
          switch:
            - big: {when: .sum > 10, then: refuse}
            - otherwise: {then: hold}
      - refuse: {raise: {error: refused}}
      - hold:
          do:
            - pause: {wait: {minutes: 1}}
            - answer: {listen: {to: {one: {with: {type: com.example.answer}}}, read: envelope}, then: end}
    output: {as: '{sum: .sum}'}
    """
    definition = read(parse_yaml(text.encode()))
    assert (definition.namespace, definition.name, definition.version) == (
        "demo",
        "quote",
        "1.2.0-rc.1+build.5",
    )
    assert definition.title == "A quote"
    assert definition.tags == {"team": "sales", "level": 3, "urgent": True}
    assert definition.metadata == {"anything": ["goes"]}
    assert definition.input_schema == {"type": "object"}
    assert definition.timeout == Duration(0, timedelta(minutes=5))
    assert [task.pointer for task in definition.tasks] == [
        "/do/0/total",
        "/do/1/check",
        "/do/2/refuse",
        "/do/3/hold",
    ]
    assert [type(task.work) for task in definition.tasks] == [Set, Switch, Raise, Do]
    (hold,) = [task.work for task in definition.tasks if isinstance(task.work, Do)]
    assert [type(task.work) for task in hold.tasks] == [Wait, Listen]
    assert hold.tasks[1].pointer == "/do/3/hold/do/1/answer"
    assert definition.tasks[0].definition["if"] == ".a"
    assert definition.document["evaluate"] == {"language": "jq", "mode": "strict"}


def test_the_least_definition_is_read() -> None:
    definition = read(workflow())
    assert definition.tasks == ()
    assert definition.timeout is None
    assert definition.input_schema is None


def test_an_identity_costs_no_evaluation() -> None:
    task = {"set": {"x": 1}, "input": {"from": "."}, "output": {"as": "${ . }"}, "export": {"as": ".x"}}
    (read_task,) = read(workflow({"a": task}, output={"as": " . "})).tasks
    assert (read_task.input_from, read_task.output_as) == (None, None)
    assert read_task.export_as is not None


def test_every_place_sees_its_own_variables() -> None:
    task = {"set": ".a", "if": ".b", "input": {"from": ".c"}, "output": {"as": ".d"}, "export": {"as": ".e"}}
    definition = read(workflow({"a": task}, input={"from": ".f"}, output={"as": ".g"}))
    (only,) = definition.tasks
    assert isinstance(only.work, Set)
    places = [only.condition, only.input_from, only.work.value, only.output_as, only.export_as]
    places += [definition.input_from, definition.output_as]
    assert [set(place.names) for place in places if place] == [
        {"context", "task", "workflow", "runtime"},
        {"context", "task", "workflow", "runtime"},
        {"context", "input", "task", "workflow", "runtime"},
        {"context", "input", "task", "workflow", "runtime"},
        {"context", "input", "output", "task", "workflow", "runtime"},
        {"workflow", "runtime"},
        {"context", "workflow", "runtime"},
    ]


def test_the_format_names_the_draft_of_a_schema_that_does_not() -> None:
    schema = {"format": "json:draft7", "document": {"type": "object"}}
    definition = read(workflow(input={"schema": schema}))
    assert definition.input_schema == {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
    assert read(workflow(input={"schema": {"format": "json:draft7", "document": True}})).input_schema is True
    own = {"format": "json:draft7", "document": {"$schema": "mine"}}
    assert read(workflow(input={"schema": own})).input_schema == {"$schema": "mine"}


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_a_definition_is_an_object(value: Any) -> None:
    assert found(problems_of(value)) == [("wrong_type", "")]


def test_everything_wrong_is_told_at_once_in_the_order_of_the_document() -> None:
    value = {
        "document": {
            "dsl": "2.0.0",
            "namespace": "-a",
            "name": "a_b",
            "version": "v1",
            "extra": 1,
            "title": 5,
        },
        "do": [
            {"a": {"call": "grpc", "with": {}, "then": "nowhere"}},
            {"a": {"set": {"x": 1}, "if": True, "timeout": "t"}},
            {"b": {"wait": 5}},
        ],
        "schedule": {"cron": "* * *"},
        "unknown": 1,
    }
    assert found(problems_of(value)) == [
        ("unsupported_task", "/do/0/a/call"),
        ("unknown_target", "/do/0/a/then"),
        ("duplicate_task_name", "/do/1/a"),
        ("wrong_type", "/do/1/a/if"),
        ("unknown_timeout", "/do/1/a/timeout"),
        ("wrong_type", "/do/2/b/wait"),
        ("unsupported_dsl", "/document/dsl"),
        ("unknown_field", "/document/extra"),
        ("bad_format", "/document/name"),
        ("bad_format", "/document/namespace"),
        ("wrong_type", "/document/title"),
        ("bad_format", "/document/version"),
        ("bad_format", "/schedule/cron"),
        ("unknown_field", "/unknown"),
    ]


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ({"document": 1}, [("wrong_type", "/document")]),
        ({"document": {**HEADER, "dsl": 1.0}}, [("wrong_type", "/document/dsl")]),
        ({"document": {**HEADER, "dsl": "1.0"}}, [("bad_format", "/document/dsl")]),
        ({"document": {**HEADER, "dsl": "1.0.1-alpha"}}, [("unsupported_dsl", "/document/dsl")]),
        ({"document": {**HEADER, "name": "a" * 64}}, [("bad_format", "/document/name")]),
        ({"document": {**HEADER, "name": "a\n"}}, [("bad_format", "/document/name")]),
        ({"document": {**HEADER, "version": "1.02.0"}}, [("bad_format", "/document/version")]),
        ({"document": {**HEADER, "title": "a" * 256}}, [("bad_format", "/document/title")]),
        ({"document": {**HEADER, "version": "1.0.0-" + "a" * 128}}, [("bad_format", "/document/version")]),
        ({"document": {**HEADER, "tags": {"a": []}}}, [("wrong_type", "/document/tags/a")]),
        ({"document": {**HEADER, "tags": []}}, [("wrong_type", "/document/tags")]),
        ({"document": {**HEADER, "metadata": 1}}, [("wrong_type", "/document/metadata")]),
        ({"do": {}}, [("wrong_type", "/do")]),
        (
            {"do": [1, {}, {"a": {"set": "."}, "b": {"set": "."}}]},
            [("wrong_type", f"/do/{n}") for n in range(3)],
        ),
        ({"do": [{"": {"set": "."}}]}, [("bad_format", "/do/0")]),
        ({"input": []}, [("wrong_type", "/input")]),
        ({"input": {"from": [1]}}, [("wrong_type", "/input/from")]),
        ({"input": {"from": " "}}, [("bad_expression", "/input/from")]),
        ({"input": {"from": "${ }"}}, [("bad_expression", "/input/from")]),
        ({"input": {"from": "." * 8193}}, [("too_large", "/input/from")]),
        ({"input": {"schema": {}}}, [("missing_field", "/input/schema/document")]),
        ({"input": {"schema": {"document": "x"}}}, [("wrong_type", "/input/schema/document")]),
        ({"input": {"schema": {"resource": {}}}}, [("unsupported_feature", "/input/schema/resource")]),
        (
            {"input": {"schema": {"document": {}, "format": "avro"}}},
            [("unsupported_feature", "/input/schema/format")],
        ),
        (
            {"input": {"schema": {"document": {}, "format": "json:x"}}},
            [("unsupported_feature", "/input/schema/format")],
        ),
        ({"output": {"schema": {}}}, [("missing_field", "/output/schema/document")]),
        ({"output": {"with": 1}}, [("unknown_field", "/output/with")]),
        ({"timeout": "nope"}, [("unknown_timeout", "/timeout")]),
        ({"timeout": {}}, [("missing_field", "/timeout/after")]),
        ({"timeout": {"after": "P9Y"}}, [("bad_format", "/timeout/after")]),
        ({"timeout": {"after": {"days": -1}}}, [("bad_format", "/timeout/after")]),
        ({"timeout": 5}, [("wrong_type", "/timeout")]),
        ({"use": {"timeouts": {"a": {"after": 5}}}}, [("wrong_type", "/use/timeouts/a/after")]),
        ({"use": {"other": 1}}, [("unknown_field", "/use/other")]),
        (
            {"use": {"errors": {"e": {}}}},
            [("missing_field", "/use/errors/e/status"), ("missing_field", "/use/errors/e/type")],
        ),
        ({"evaluate": {"language": "js"}}, [("unsupported_feature", "/evaluate/language")]),
        ({"evaluate": {"mode": "loose"}}, [("unsupported_feature", "/evaluate/mode")]),
        ({"evaluate": {"mode": 1}}, [("wrong_type", "/evaluate/mode")]),
    ],
)
def test_a_wrong_field_of_the_workflow_is_refused(
    root: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert found(problems_of(workflow(**root))) == expected


def test_empty_declarations_of_what_is_not_supported_do_no_harm() -> None:
    assert (
        read(workflow(use={"secrets": [], "extensions": [], "catalogs": {}}, **{"$schema": "x"})).tasks == ()
    )


def test_unknown_fields_name_the_allowed_ones() -> None:
    (problem,) = problems_of(workflow({"a": {"set": {"x": 1}, "foo": 1}}))
    assert problem.pointer == "/do/0/a/foo"
    assert "`set`, `if`, `input`, `output`, `export`, `timeout`, `then`, `metadata`" in problem.message


# --- Tasks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("set", [("wrong_type", "")]),
        ({}, [("missing_field", "")]),
        ({"then": "end"}, [("missing_field", "")]),
        ({"set": {"x": 1}, "wait": "PT1S"}, [("ambiguous_task", "")]),
        ({"set": []}, [("wrong_type", "/set")]),
        ({"set": {}}, [("wrong_type", "/set")]),
        ({"set": {"x": ["${ }"]}}, [("bad_expression", "/set/x/0")]),
        ({"set": ".", "input": {"schema": {}}}, [("missing_field", "/input/schema/document")]),
        ({"set": ".", "output": {"schema": {}}}, [("missing_field", "/output/schema/document")]),
        ({"set": ".", "export": {"schema": {}}}, [("missing_field", "/export/schema/document")]),
        ({"set": ".", "export": {"from": "."}}, [("unknown_field", "/export/from")]),
        ({"set": ".", "metadata": 1}, [("wrong_type", "/metadata")]),
        ({"set": ".", "then": 1}, [("wrong_type", "/then")]),
        ({"do": {}}, [("wrong_type", "/do")]),
        ({"do": [{"b": {"set": ".", "then": "a"}}]}, [("unknown_target", "/do/0/b/then")]),
        ({"switch": []}, [("wrong_type", "/switch")]),
        (
            {"switch": [{f"c{n}": {"when": ".x", "then": "end"}} for n in range(101)]},
            [("too_large", "/switch")],
        ),
        ({"switch": [{"one": {"when": ".x"}}]}, [("missing_field", "/switch/0/one/then")]),
        ({"switch": [{"one": {"when": 1, "then": "end"}}]}, [("wrong_type", "/switch/0/one/when")]),
        ({"switch": [{"one": {"then": "end", "do": []}}]}, [("unknown_field", "/switch/0/one/do")]),
        ({"switch": [{"one": {"when": ".", "then": "x"}}]}, [("unknown_target", "/switch/0/one/then")]),
        (
            {"switch": [{"x": {"then": "end"}}, {"y": {"then": "exit"}}]},
            [("multiple_defaults", "/switch/1/y")],
        ),
        ({"wait": "soon"}, [("bad_format", "/wait")]),
        ({"raise": {}}, [("missing_field", "/raise/error")]),
        ({"raise": {"error": "nope"}}, [("unknown_error", "/raise/error")]),
        (
            {"raise": {"error": {"type": "x", "status": "${ 1 }"}}},
            [("wrong_type", "/raise/error/status"), ("bad_format", "/raise/error/type")],
        ),
        ({"raise": {"error": {"type": "urn:x", "status": True}}}, [("wrong_type", "/raise/error/status")]),
        (
            {"raise": {"error": {"type": "urn:x", "status": 1, "details": "x"}}},
            [("unknown_field", "/raise/error/details")],
        ),
        (
            {"raise": {"error": {"type": "urn:x", "status": 1, "instance": "a"}}},
            [("bad_format", "/raise/error/instance")],
        ),
    ],
)
def test_a_wrong_task_is_refused(task: Any, expected: list[tuple[str, str]]) -> None:
    assert problems_of_task(task) == expected


def test_a_jump_tells_where_its_target_is_when_it_is_elsewhere() -> None:
    inner = {"do": [{"x": {"set": ".", "then": "b"}}]}
    (problem,) = problems_of(workflow({"a": inner}, {"b": {"set": "."}}))
    assert "exists at /do/1/b" in problem.message
    assert "`continue`, `exit`, `end`, `x`" in problem.message


def test_references_name_what_is_declared() -> None:
    declared = {"errors": {"known": {"type": "urn:x", "status": 400}}}
    (problem,) = problems_of(workflow({"a": {"raise": {"error": "unknown"}}}, use=declared))
    assert "`known`" in problem.message


def test_tasks_are_nested_at_most_20_deep_and_500_in_number() -> None:
    task: dict[str, Any] = {"set": "."}
    for _ in range(20):
        task = {"do": [{"a": task}]}
    assert [code for code, _ in problems_of_task(task)] == ["too_deep"]
    many = [{f"t{number}": {"set": "."}} for number in range(501)]
    assert found(problems_of(workflow(*many))) == [("too_large", "/do")]
    assert len(read(workflow(*many[:500])).tasks) == 500


def test_a_value_that_no_text_could_give_is_refused_too() -> None:
    assert found(problems_of(workflow({"a": {"set": {"x": "\0"}}}))) == [("bad_format", "/do/0/a/set/x")]
    deep: Any = 1
    for _ in range(10_000):
        deep = [deep]
    assert [code for code, _ in found(problems_of(deep))] == ["too_deep"]


def test_a_definition_cannot_make_much_out_of_little() -> None:
    long_key = {"k" * 2_000: [0] * 10}
    assert found(problems_of(workflow({"a": {"set": long_key}}))) == [("too_large", "/do/0/a/set")]
    many = [{f"t{number}": {"set": ".", "then": "nowhere"}} for number in range(300)]
    problems = problems_of(workflow(*many))
    assert len(problems) == 100
    assert problems[0].message.endswith("`t16` and 283 more.")
    repeated = "{" + ",".join(['"a": 1'] * 300) + "}"
    with pytest.raises(DocumentRefused) as refused:
        parse_json(repeated.encode())
    assert len(refused.value.problems) == 100


async def test_so_many_expressions_are_not_even_compiled() -> None:
    compiler = Recorded()
    value = workflow({"a": {"set": {"x": ["${ .x }"] * 3_000, "y": ["Hello ${ .x }"] * 200}}})
    checked = await check(value, compiler, ACCOUNT)
    assert found(checked.problems) == [("too_large", "/do/0/a/set/x/2000")]
    assert (len(compiler.seen), len(checked.warnings)) == (2_000, 100)


# --- Checking -------------------------------------------------------------------------------------------------------


async def test_structure_expressions_and_schema_are_checked_at_once() -> None:
    value = workflow(
        {"a": {"set": {"x": "${ bad }", "y": "${ .good }"}, "foo": 1}},
        input={"schema": {"document": {"type": 5}}},
    )
    checked = await check(
        value, Recorded({"${ bad }": "line 1, column 1: no"}, "type must be a string"), ACCOUNT
    )
    assert checked.definition is None
    assert found(checked.problems) == [
        ("unknown_field", "/do/0/a/foo"),
        ("bad_expression", "/do/0/a/set/x"),
        ("bad_schema", "/input/schema/document"),
    ]


async def test_every_expression_is_compiled_where_it_stands() -> None:
    compiler = Recorded()
    tasks = (
        {"a": {"set": ".s", "if": ".i", "input": {"from": ".f"}, "output": {"as": {"o": "${ .o }"}}}},
        {"b": {"switch": [{"c": {"when": ".w", "then": "continue"}}], "export": {"as": ".e"}}},
        {"d": {"wait": "${ .d }"}},
        {"e": {"listen": {"to": {"one": {"with": {"data": {"x": "${ .l }"}, "subject": "${ .j }"}}}}}},
        {"g": {"raise": {"error": {"type": "${ .t }", "status": 1}}}},
    )
    root: dict[str, Any] = {
        "input": {"from": ".in"},
        "output": {"as": ".out"},
        "timeout": {"after": "${ .after }"},
        "use": {"errors": {"x": {"type": "urn:x", "status": 1, "title": "${ .title }"}}},
    }
    checked = await check(workflow(*tasks, **root), compiler, ACCOUNT)
    assert isinstance(checked.definition, Definition)
    names = ["s", "i", "f", "o", "w", "e", "d", "l", "j", "t", "in", "out", "after", "title"]
    inner = {str(one.source).removeprefix("${ ").removesuffix(" }") for one in compiler.seen}
    assert inner == {f".{name}" for name in names}


async def test_a_document_that_cannot_even_be_walked_is_a_problem_too() -> None:
    checked = await check(["\0"], Recorded(), ACCOUNT)
    assert found(checked.problems) == [("bad_format", "/0")]


async def test_the_sandbox_tells_what_does_not_compile() -> None:
    tasks = {"a": {"set": {"x": "${ .a + }", "y": "${ $secrets.key }"}, "input": {"from": "$input.x"}}}
    schema = {"document": {"type": "objekt"}}
    async with Sandbox(2) as sandbox:
        checked = await check(workflow(tasks, input={"schema": schema}), sandbox, ACCOUNT)
        again = await check(workflow({"a": {"set": ".x"}}), sandbox, ACCOUNT)
    assert found(checked.problems) == [
        ("bad_expression", "/do/0/a/input/from"),
        ("bad_expression", "/do/0/a/set/x"),
        ("bad_expression", "/do/0/a/set/y"),
        ("bad_schema", "/input/schema/document"),
    ]
    assert "$input is not defined" in checked.problems[0].message
    assert again.definition is not None


async def test_text_that_was_probably_meant_to_be_evaluated_is_warned_of() -> None:
    data = {"a": "Hello ${ .x }", "b": [".x", "$context.y"], "c": "${ .x }", "d": "1.5 .x"}
    assert await warnings_of({"a": {"set": data}}) == [
        ("embedded_expression", "/do/0/a/set/a"),
        ("bare_expression", "/do/0/a/set/b/0"),
        ("bare_expression", "/do/0/a/set/b/1"),
    ]


async def test_useless_and_endless_ways_are_warned_of() -> None:
    go = {"set": "."}
    assert await warnings_of({"a": {**go, "then": "c"}}, {"b": go}, {"c": go}) == [
        ("unreachable_task", "/do/1/b")
    ]
    assert await warnings_of({"end": go}) == [("reserved_name", "/do/0/end")]
    raised = {"raise": {"error": {"type": "urn:x", "status": 1}}}
    assert await warnings_of({"a": {**raised, "then": "end"}}, {"b": go}) == [
        ("unused_then", "/do/0/a"),
        ("unreachable_task", "/do/1/b"),
    ]
    assert await warnings_of({"a": {**raised, "if": ".x"}}, {"b": go}) == []
    assert await warnings_of({"a": go}, {"b": {**go, "then": "a"}}) == [("backward_jump", "/do/1/b")]
    assert await warnings_of({"a": {"do": [{"w": {"wait": "PT1S"}}]}}, {"b": {**go, "then": "a"}}) == []


async def test_a_switch_leads_to_its_cases_and_without_default_onwards() -> None:
    go = {"set": "."}
    case = {"x": {"when": ".x", "then": "c"}}
    assert await warnings_of({"a": {"switch": [case]}}, {"b": {**go, "then": "exit"}}, {"c": go}) == []
    closed = {"switch": [case, {"y": {"then": "end"}}]}
    assert await warnings_of({"a": closed}, {"b": go}, {"c": go}) == [("unreachable_task", "/do/1/b")]


def test_limits_are_the_contracts() -> None:
    assert (TEXT_LIMIT, NESTING_LIMIT, TASK_LIMIT) == (262_144, 20, 500)
