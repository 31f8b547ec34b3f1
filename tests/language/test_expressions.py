"""Expressions: what is evaluated, what is literal, and that answers given without jq are jq's answers."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from service.language.expressions import (
    Evaluation,
    Expression,
    ExpressionFailure,
    NotLocal,
    answer_locally,
    assembled,
    expression,
    is_expression,
    is_true,
    is_variable_name,
    template,
)
from service.language.sandbox import Sandbox

ACCOUNT = uuid4()


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(size=1) as started:
        yield started


def local(made: Expression, dot: Any = None, **variables: Any) -> Any:
    return answer_locally(Evaluation(made, dot, variables))


# --- What is an expression ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${ .a }", True),
        ("${.a}", True),
        (" ${ .a }\n", True),
        ("${}", True),
        ("${ .a } and ${ .b }", True),
        ("text ${ .a }", False),
        ("${ .a } text", False),
        ("$context", False),
        ("", False),
        (3, False),
        (None, False),
        (["${ .a }"], False),
    ],
)
def test_a_string_is_an_expression_from_end_to_end_or_not_at_all(value: Any, *, expected: bool) -> None:
    assert is_expression(value) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("item", True),
        ("_a1", True),
        ("if", True),
        ("1a", False),
        ("a-b", False),
        ("a\n", False),
        ("x} | env as {$y", False),
        ("ENV", False),
    ],
)
def test_a_variable_name_is_a_word(name: str, *, expected: bool) -> None:
    assert is_variable_name(name) is expected
    if not expected:
        with pytest.raises(ValueError, match="not a variable name"):
            expression(".a", [name])


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, False), (False, False), (0, True), ("", True), ([], True), ({}, True), (True, True)],
)
def test_truth_is_what_jq_takes_for_it(value: Any, *, expected: bool) -> None:
    assert is_true(value) is expected


def test_in_data_only_whole_strings_are_evaluated_and_keys_never() -> None:
    value = {
        "${ .a }": "${ .a }",
        "text": "see ${ .a }",
        "list": [1, None, ["${ $item }"]],
        "name": ".a",
        "sure": True,
    }
    made = template(value, ["item"])
    assert made.source == value
    assert made.program is None
    assert [leaf.pointer for leaf in made.leaves] == ["/${ .a }", "/list/2/0"]
    assert local(made, {"a": "${ .b }"}, item=2) == {
        "${ .a }": "${ .b }",
        "text": "see ${ .a }",
        "list": [1, None, [2]],
        "name": ".a",
        "sure": True,
    }


def test_a_template_without_expressions_is_itself() -> None:
    values_without: list[Any] = [None, 3, "text", [1, {"a": []}], {}]
    for value in values_without:
        assert local(template(value, [])) == value


def test_an_expression_field_takes_bare_text_and_a_template_that_is_one_string() -> None:
    assert local(expression(".a", []), {"a": 1}) == 1
    assert local(expression("${ .a }", []), {"a": 1}) == 1
    assert local(template("${ .a }", []), {"a": 1}) == 1


# --- Without jq -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".", {"a": {"b c": 1}, "n": None, "s": "text"}),
        (" .a ", {"b c": 1}),
        ('.a."b c"', 1),
        ('."a"', {"b c": 1}),
        (".none.at.all", None),
        (".n.x", None),
        ("$item", [7]),
        ("true", True),
        ("false", False),
        ("null", None),
        ("-12", -12),
        ('"text"', "text"),
        ('"${ .a }"', "${ .a }"),
    ],
)
def test_simple_expressions_need_no_jq(text: str, expected: Any) -> None:
    assert local(expression(text, ["item"]), {"a": {"b c": 1}, "n": None, "s": "text"}, item=[7]) == expected


@pytest.mark.parametrize(
    "text",
    [
        ".a.",
        "..",
        ".[]",
        ".a?",
        "$ENV",
        "$__loc__",
        "$item[]",
        '."\\(1)"',
        '"\\u0041"',
        "1e3",
        "01",
        "\u00a0.a",
        "",
        ".a. b",
    ],
)
def test_everything_else_does(text: str) -> None:
    assert isinstance(local(expression(text, ["item"])), NotLocal)


def test_a_variable_that_is_not_visible_fails_and_an_unbound_one_is_null() -> None:
    found = local(expression("$output", ["context", "input"]))
    assert found == ExpressionFailure(
        "expression failed", "$output is not defined here; available: $context, $input"
    )
    assert local(expression("$context.x", ["context"])) is None


def test_a_template_names_the_leaf_that_failed() -> None:
    found = local(template({"a/b": ["${ .x.y }"]}, []), {"x": 1})
    assert found == ExpressionFailure("expression failed", '/a~1b/0: Cannot index number with string ("y")')


# Keys that jq and Python write alike: jq shows U+007F as an escape in its messages, which no plain path has.
keys = some.text(some.characters(exclude_categories=["Cc", "Cs"], exclude_characters='"\\'), max_size=30)
words = some.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)
numbers = some.integers(-(2**70), 2**70) | some.floats(allow_nan=False, allow_infinity=False)
values = some.recursive(
    some.none()
    | some.booleans()
    | numbers
    | some.text(some.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        some.lists(inner, max_size=3) | some.dictionaries(some.sampled_from("ab") | keys, inner, max_size=4)
    ),
    max_leaves=12,
)
steps = (
    some.sampled_from([".a", ".b", '."a"'])
    | words.map(lambda word: f".{word}")
    | keys.map(lambda key: f'."{key}"')
)
paths = some.builds(
    lambda start, following: start + "".join(following) or ".",
    some.sampled_from(["", "$item"]),
    some.lists(steps, max_size=3),
)
constants = (
    some.sampled_from(["true", "false", "null"])
    | some.integers(-(10**15) + 1, 10**15 - 1).map(str)
    | keys.map(lambda key: f'"{key}"')
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=paths | constants, dot=values, item=values)
async def test_an_answer_without_jq_is_the_answer_of_jq(
    sandbox: Sandbox, text: str, dot: Any, item: Any
) -> None:
    variables = {"item": item}
    simple = Evaluation(expression(text, variables), dot, variables)
    through_jq = Evaluation(expression(f"({text})", variables), dot, variables)
    assert simple.expression.program is None
    assert await sandbox.answer(ACCOUNT, [through_jq]) == [answer_locally(simple)]
    assert await sandbox.compile(ACCOUNT, [simple.expression, through_jq.expression]) == [None, None]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(literal=values, dot=values)
async def test_literal_parts_of_a_template_stay_as_they_are(sandbox: Sandbox, literal: Any, dot: Any) -> None:
    made = template({"literal": {"\\(1)": [literal, "\\(1)"]}, "computed": "${ [.] }"}, [])
    found = await sandbox.answer(ACCOUNT, [Evaluation(made, dot, {})])
    assert found == [{"literal": {"\\(1)": [literal, "\\(1)"]}, "computed": [dot]}]


# --- Together -------------------------------------------------------------------------------------------------------


async def test_the_sandbox_answers_simple_expressions_too(sandbox: Sandbox) -> None:
    mixed = [Evaluation(expression(text, []), 1, {}) for text in (".", ". + 1", "null")]
    assert await sandbox.answer(ACCOUNT, mixed) == [1, 2, None]


def test_a_program_reads_only_the_variables_its_text_mentions() -> None:
    made = expression("$context.a + .input", ["context", "input", "workflow"])
    assert made.used == ("context", "input")


@pytest.mark.parametrize("entries", [[], [[1], [2]], [3], [{"x": 1}]])
def test_an_answer_of_another_form_is_a_failure(entries: list[Any]) -> None:
    found = assembled(Evaluation(expression(". + 1", []), 1, {}), entries)
    assert isinstance(found, ExpressionFailure)
    assert found.title == "expression failed"
