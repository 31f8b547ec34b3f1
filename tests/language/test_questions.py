"""Questions: which are answered at once, which travel, and that nobody can tell the difference."""

import json
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from service.language.expressions import Evaluation, ExpressionFailure, expression, template
from service.language.questions import Question, Validation, Violation, ask
from service.language.sandbox import Sandbox
from service.language.sandbox.process import Request, Worker

ACCOUNT = uuid4()
DRAFT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
TAME = {**DRAFT, "type": "object", "properties": {"count": {"type": "integer"}}}
WILD = {**DRAFT, "patternProperties": {"^x": {"type": "string"}}}


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(size=2) as started:
        yield started


class Noting:
    """Answers each question with its number, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[list[Question]] = []

    async def answer(self, account_id: UUID, questions: Sequence[Question]) -> list[Any]:
        self.calls.append(list(questions))
        return [f"{account_id}: {number}" for number in range(len(questions))]


def asked(text: str, dot: Any = None, **variables: Any) -> Evaluation:
    return Evaluation(expression(text, variables), dot, variables)


# --- What travels ---------------------------------------------------------------------------------------------------


async def test_the_simple_ones_are_answered_at_once_and_the_others_in_one_call() -> None:
    answering = Noting()
    hard: list[Question] = [
        asked("[.[] + 1]", [1]),
        Validation(WILD, {}),
        asked("empty"),
        Validation(TAME, {"count": "many"}),
    ]
    found = await ask(
        answering,
        ACCOUNT,
        [
            asked(".a", {"a": [1]}),
            hard[0],
            Validation(TAME, {"count": 3}),
            hard[1],
            asked(".a", 7),
            hard[2],
            Evaluation(template({"is": "${ $item.b }"}, ["item"]), None, {"item": {"b": 2}}),
            hard[3],
        ],
    )
    assert answering.calls == [hard]
    assert found == [
        [1],
        f"{ACCOUNT}: 0",
        [],
        f"{ACCOUNT}: 1",
        ExpressionFailure("expression failed", 'Cannot index number with string ("a")'),
        f"{ACCOUNT}: 2",
        {"is": 2},
        f"{ACCOUNT}: 3",
    ]


async def test_nobody_is_asked_when_nothing_is_hard() -> None:
    answering = Noting()
    assert await ask(answering, ACCOUNT, []) == []
    assert await ask(answering, ACCOUNT, [asked("$a.b", a={"b": 1}), Validation(TAME, {})]) == [1, []]
    assert answering.calls == []


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        pytest.param(WILD, {}, id="a pattern"),
        pytest.param({**DRAFT, "$ref": "#"}, 1, id="a reference"),
        pytest.param(TAME, {"count": "many"}, id="a value that does not fit"),
        pytest.param({**DRAFT, "description": "x" * 1_100}, ["y" * 1_000_000], id="much work"),
        pytest.param({**DRAFT, "type": "strin"}, 1, id="no schema"),
        pytest.param("\ud800", 1, id="no text"),
        pytest.param(TAME, "\ud800", id="a value that is no text"),
    ],
)
async def test_a_validation_that_may_be_work_or_has_something_to_say_travels(schema: Any, value: Any) -> None:
    answering = Noting()
    found = await ask(answering, ACCOUNT, [Validation(schema, value)] * 2)
    assert found == [f"{ACCOUNT}: 0", f"{ACCOUNT}: 1"]


# --- Together -------------------------------------------------------------------------------------------------------


async def test_evaluations_and_validations_share_a_frame(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames: list[int] = []
    begin = Worker.begin

    def noted(worker: Worker, request: Request) -> None:
        frames.append(request.count)
        begin(worker, request)

    monkeypatch.setattr(Worker, "begin", noted)
    found = await sandbox.answer(
        ACCOUNT,
        [
            asked(".a + 1", {"a": 1}),
            Validation(WILD, {"x": 1}),
            asked("."),
            asked("error(7)"),
            Validation(WILD, {"x": "1"}),
            Validation({**DRAFT, "$ref": "https://example.com/other"}, 1),
            asked("\ud800 | .", "\ud800"),
        ],
    )
    assert frames == [5]
    assert found[0] == 2
    assert found[1] == [Violation(["x"], "type", 'the value is not of type "string"')]
    assert found[2] is None
    assert found[3] == ExpressionFailure("expression failed", "7")
    assert found[4] == []
    assert found[5].title == "schema failed"
    assert found[6].title == "expression failed"


async def test_in_a_mixed_frame_only_the_one_to_blame_fails(sandbox: Sandbox) -> None:
    levels = {str(level): {"allOf": [{"$ref": f"#/$defs/{level + 1}"}] * 2} for level in range(40)}
    exponential = {**DRAFT, "$ref": "#/$defs/0", "$defs": {**levels, "40": {"type": "string"}}}
    found = await ask(
        sandbox,
        ACCOUNT,
        [asked(". + 1", 1), Validation(exponential, "a"), Validation(WILD, {}), asked("[.]", 2)],
    )
    assert found[0] == 2
    assert found[1].title in {"time limit", "memory limit"}
    assert found[2:] == [[], [2]]


# --- The same answer ------------------------------------------------------------------------------------------------

NUMBERS = [
    *(
        "0",
        "-0",
        "-0.0",
        "1.0",
        "1.10",
        "1e2",
        "1E+2",
        "100.0",
        "0.00001",
        "1e-7",
        "4.35",
        "1e15",
        "1e16",
        "1e22",
    ),
    *("1e300", "1.7976931348623157e308", "5e-324", "1e-400", "123456789.123456789", "9007199254740993"),
    *("9007199254740993.0", "12345678901234567890", "-9223372036854775809", "1" * 100),
]
STRINGS = [
    *('""', '"plain"', '"\\u2028\\u2029"', '"\u2028"', '"\\ud83d\\ude00"', '"😀"', '"\\u0000"', '"\\u007f"'),
    *(
        '"\\\\(1)"',
        '"${ .a }"',
        '"\\"\\\\\\/\\b\\f\\n\\r\\t"',
        '"<>&\'"',
        '"e\\u0301"',
        '"é"',
        '"\\ufeff"',
        '"\\uffff"',
    ),
]
KEYS = [
    "a",
    "b",
    "A",
    "é",
    "a b",
    "a.b",
    "$a",
    "",
    "0",
    "😀",
    "\u2028",
    "__loc__",
    "constructor",
    "a'b",
    "{}",
    "\\(1)",
]


def written(members: list[tuple[str, str]]) -> str:
    """An object as text; a key may come twice, and then the last one counts."""
    return "{" + ",".join(f"{json.dumps(key)}: {value}" for key, value in members) + "}"


texts = some.recursive(
    some.sampled_from(["null", "true", "false"])
    | some.sampled_from(NUMBERS)
    | some.sampled_from(STRINGS)
    | some.integers(-(2**80), 2**80).map(str)
    | some.floats(allow_nan=False, allow_infinity=False).map(repr)
    | some.text(some.characters(exclude_categories=["Cs"]), max_size=5).map(json.dumps),
    lambda inner: (
        some.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]")
        | some.lists(some.tuples(some.sampled_from(KEYS), inner), max_size=5).map(written)
    ),
    max_leaves=15,
)
steps = some.sampled_from([key for key in KEYS if "\\" not in key]).map(
    lambda key: f'."{key}"'
) | some.sampled_from([".a", ".b", ".A", ".__loc__"])
paths = some.builds(
    lambda start, following: start + "".join(following) or ".",
    some.sampled_from(["", "$item", "$context", "$_"]),
    some.lists(steps, max_size=4),
)
constants = (
    some.sampled_from(["true", "false", "null", "0", "-0", "-1", "1.10", "1e2", "12345678901234567890"])
    | some.integers(-(2**70), 2**70).map(str)
    | some.sampled_from([text for text in STRINGS if "\\(" not in text and "\\/" not in text])
)
pads = some.sampled_from(["", " ", "\n", "\t "])
sources = some.tuples(pads, paths | constants, pads).map("".join)


def exact(value: Any) -> Any:
    """A value in a form that is equal only to its like: true is not 1, 0 is not -0; but 1e16 is 10000000000000000."""
    if isinstance(value, dict):
        return {key: exact(child) for key, child in value.items()}
    if isinstance(value, list):
        return [exact(child) for child in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return ("number", value, math.copysign(1, value))
    return (type(value), value)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(source=sources, dot=texts, item=texts, context=texts)
async def test_an_answer_given_at_once_is_the_sandboxs_to_the_letter(
    sandbox: Sandbox, source: str, dot: str, item: str, context: str
) -> None:
    variables = {name: msgspec.json.decode(value) for name, value in (("item", item), ("context", context))}
    data = msgspec.json.decode(dot)
    names = [*variables, "_"]  # a name of the place that has no value is null
    through_jq = Evaluation(expression(f"({source})", names), data, variables)
    assert through_jq.expression.program is not None
    here = Evaluation(expression(source, names), data, variables)
    at_once, travelled = await ask(sandbox, ACCOUNT, [here, through_jq])
    assert exact(at_once) == exact(travelled)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=texts)
async def test_what_fits_here_fits_in_the_sandbox(sandbox: Sandbox, value: str) -> None:
    data = msgspec.json.decode(value)
    schema = {
        **DRAFT,
        "anyOf": [
            {"type": ["object", "null"], "maxProperties": 2},
            {"type": "integer"},
            {"items": {"minimum": 1}},
        ],
    }
    (here,) = await ask(sandbox, ACCOUNT, [Validation(schema, data)])
    (there,) = await sandbox.answer(ACCOUNT, [Validation({**schema, "patternProperties": {}}, data)])
    assert here == there
