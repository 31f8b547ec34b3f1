"""Simple jq without the sandbox: what is answered here, what is left to jq, and that every answer is jq's own."""

import json
from functools import lru_cache
from typing import Any

import jq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from service.language.expressions import (
    Evaluation,
    NotLocal,
    answer_locally,
    assembled,
    bare_programs,
    document,
    expression,
    template,
)
from service.language.simple import SIZE_LIMIT, TEXT_LIMIT, parsed

NAMES = ("context", "item", "unbound")
ORDER = {
    "n": 2,
    "sum": 1200.5,
    "big": 2**53,
    "huge": 12345678901234567890,
    "half": 0.5,
    "zero": 0,
    "yes": True,
    "no": False,
    "none": None,
    "who": "Zoë",
    "empty": "",
    "items": ["a", "b", "c"],
    "customer": {"name": "Ann", "if": 1},
}
CONTEXT = {"n": 1, "items": []}


def asked(text: str, dot: Any = ORDER) -> Evaluation:
    return Evaluation(expression(text, NAMES), dot, {"context": CONTEXT, "item": 7})


def local(text: str, dot: Any = ORDER) -> Any:
    return answer_locally(asked(text, dot))


@lru_cache(maxsize=1_000)
def compiled(program: str) -> Any:
    return jq.compile(program)


def through_jq(evaluation: Evaluation) -> Any:
    """What the sandbox answers."""
    program = compiled(evaluation.expression.program)
    entries = json.loads(program.input_text(document(evaluation).decode()).first())
    return assembled(evaluation, entries)


def same(text: str, dot: Any = ORDER) -> bool:
    """Whether the answer given here is jq's to the letter; false if none is given."""
    evaluation = asked(text, dot)
    if evaluation.expression.program is None:
        return False
    found = answer_locally(evaluation)
    if isinstance(found, NotLocal):
        return False
    for _, program in bare_programs(evaluation.expression):
        compiled(program)
    assert json.dumps(found) == json.dumps(through_jq(evaluation)), (text, dot)
    return True


# --- What is answered here ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".n + 1", 3),
        (".n - 3", -1),
        (".n * .half", 1),
        ("7 / .n", 3.5),
        ("7 % .n", 1),
        (".sum + 0.25", 1200.75),
        (".none + .sum", 1200.5),
        (".n+.n*3", 8),
        ("-1 + .n", 1),
        (".sum > 1000", True),
        (".n <= 2", True),
        (".none < .n", True),
        ('.who == "Zoë" and .yes', True),
        (".no and .who.name", False),
        (".yes or .who.name", True),
        (".n != 2.0", False),
        (".items == []", False),
        ('.n == "2"', False),
        (".no | not", True),
        ("not", False),
        (".items | length", 3),
        (".who | length", 3),
        (".n - 5 | length", 3),
        (".n | tostring", "2"),
        ('.none // "none"', "none"),
        (".no // .none", None),
        (".n // .who.name", 2),
        (".no // .none // 1", 1),
        ("$context + {n: .n, done: true}", {"n": 2, "items": [], "done": True}),
        ("{name: .customer.name, total: .sum}", {"name": "Ann", "total": 1200.5}),
        ("{b: 1, a: 2, b: 3}", {"b": 3, "a": 2}),
        ('{n, "who", $item, "a b": [], if: {}}', {"n": 2, "who": "Zoë", "item": 7, "a b": [], "if": {}}),
        ("{a: .no // 1, b: 1 + 1}", {"a": 1, "b": 2}),
        ("[.n, $item + 1, []]", [2, 8, []]),
        ("[.customer | .name]", ["Ann"]),
        ('.items + ["d"]', ["a", "b", "c", "d"]),
        (".items[0] + .items[-1]", "ac"),
        (".items[3]", None),
        ('.customer["name"]', "Ann"),
        ('.customer.if + ."n"', 3),
        ("$unbound.a[0]", None),
        (r'"Hello, \(.who)! \(.n + 1) \(.none) \(.yes)\n"', "Hello, Zoë! 3 null true\n"),
        ('if .n > 1 then "many" elif .n == 1 then "one" else "none" end', "many"),
        ("if .no then 1 end | .n", 2),
        ("(.customer\n | .if) * (1 + 2)", 3),
    ],
)
def test_what_this_process_answers(text: str, expected: Any) -> None:
    assert json.dumps(local(text)) == json.dumps(expected)
    assert same(text)


@pytest.mark.parametrize(
    "text",
    [
        # a value that jq may have in other words, or an error that is jq's to tell
        ".who + 1",
        ".n - .none",
        "(.who).name",
        ".n[0]",
        "(.items).a",
        ".customer[0]",
        ".yes | length",
        ".half | length",
        ".n / 0",
        ".n % -2",
        ".zero * -1",
        "-0 + .n",
        ".big + 1",
        ".huge - 1",
        ".huge == 1",
        ".big * .big",
        ".who * 2",
        "{} * {}",
        ".items - []",
        '.who / ","',
        ".items == .items",
        "{} < {}",
        r'"\(.half)"',
        r'"\(.items)"',
        # not in the subset
        ".[]",
        ".items[]",
        "[.[]]",
        ".a?",
        ".n, 1",
        "[.n | 1, 2]",
        "..",
        "..n",
        "empty",
        "now",
        "length(1)",
        "not(1)",
        "-.n",
        "-(1)",
        "2 * -3 * 4",
        "-7 / 2",
        "1e3 + 1",
        "1. + 1",
        ".5 + 1",
        "1234567890123456 + 1",
        ".n = 1",
        ".n += 1",
        ".n |= 1",
        ".n //= 1",
        ".n as $x | $x",
        ". as {a: $x} ?// $x | 1",
        "reduce .items as $x (0; . + 1)",
        "def f: 1; f + 1",
        "try .n catch 1",
        "label $f | 1",
        "{(.who): 1}",
        r'{"\(.who)": 1}',
        "{a: 1 | 2}",
        "{a: 1,}",
        "{@text}",
        '@base64 "x"',
        "@json",
        r'"\u0041" + ""',
        "$ENV + {}",
        "$__loc__ + {}",
        "$other + 1",
        ".n + 1 # comment",
        "\u00a0.n + 1",
        # no jq at all
        "1 == 1 == 1",
        ".n < 2 < 3",
        "01 + 1",
        "1a + 1",
        ".n +",
        "+ 1",
        "{a: 1",
        "[.n",
        "(.n",
        ".n)",
        ".n .",
        ". n",
        ".n.[0",
        '"a',
        "{1: 2}",
        "{-1: 2}",
        "{$item: 1}",
        "{.n}",
        "if .n then 1 else 2",
        "1 ? 2",
        ".n === 1",
        "",
    ],
)
def test_what_is_left_to_the_sandbox(text: str) -> None:
    evaluation = asked(text)
    assert isinstance(answer_locally(evaluation), NotLocal)
    assert evaluation.expression.program is not None


def test_a_simple_leaf_is_still_compiled_by_the_sandbox() -> None:
    made = template({"a": "${ .n + 1 }", "b": "${ .n }"}, NAMES)
    assert made.program is not None
    assert [leaf.pointer for leaf, _ in bare_programs(made)] == ["/a"]


def test_a_template_is_answered_here_when_all_of_it_is() -> None:
    made = template({"a": "${ .n + 1 }", "b": ["${ .n }", "${ .n < 3 }"]}, NAMES)
    assert answer_locally(Evaluation(made, {"n": 1}, {})) == {"a": 2, "b": [1, True]}
    assert isinstance(answer_locally(Evaluation(made, {"n": "text"}, {})), NotLocal)
    other = template({"a": "${ .n + 1 }", "b": "${ now }"}, NAMES)
    assert isinstance(answer_locally(Evaluation(other, {"n": 1}, {})), NotLocal)


# --- Bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "dot"),
    [
        ("{a: ., b: .}", "x" * 30_000),
        ("[., .]", {"x" * 30_000: 1}),
        ("{a: .}", list(range(10_000))),
        (". + .", "x" * 40_000),
        (". + .", list(range(600))),
        (". + .", {str(number): 1 for number in range(600)}),
        (". + .|" * 30 + ".", "x"),
        ("[., .]|" * 30 + ".", 1),
        ("{a: ., b: .}|" * 30 + "length", {}),
        (r'"\(.)\(.)"|' * 30 + "length", "x"),
        ("[" * 40 + ".a" + "]" * 40 + " | [.]", {"a": [[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]}),
        ('. == "x"', "x" * 70_000),
    ],
)
def test_what_grows_is_left_to_the_sandbox_and_its_limits(text: str, dot: Any) -> None:
    found = local(text, dot)
    assert isinstance(found, NotLocal | int)


@pytest.mark.parametrize(
    "text",
    [
        "1" + " + 1" * SIZE_LIMIT,
        "(" * SIZE_LIMIT + "1" + ")" * SIZE_LIMIT,
        "[" * (SIZE_LIMIT + 1) + "]" * (SIZE_LIMIT + 1),
        "{a:" * SIZE_LIMIT + "1" + "}" * SIZE_LIMIT,
        r'"\(' * SIZE_LIMIT + "1" + ')"' * SIZE_LIMIT,
        "{" + ",".join("a" * (SIZE_LIMIT + 1)) + "}",
        "if . then " * SIZE_LIMIT + "1" + " end" * SIZE_LIMIT,
        "." + " " * TEXT_LIMIT,
    ],
)
def test_long_programs_are_left_to_the_sandbox(text: str) -> None:
    assert parsed(text, ()) is None


@pytest.mark.parametrize(
    "dot", ["\ud800", {"\ud800": 1}, {"a": ["\ud800"]}, float("nan"), 2.0**70, 10**30, b"x"]
)
@pytest.mark.parametrize("text", ["[.]", ". + {}", ". < .", '"\\(.)"', ". == .", "length"])
def test_what_is_no_plain_json_is_left_to_the_sandbox(text: str, dot: Any) -> None:
    assert isinstance(local(text, dot), NotLocal) or (text == "length" and isinstance(dot, dict))


def test_a_number_that_is_only_handed_on_keeps_its_own_text() -> None:
    """As it does in a plain path; jq writes floats between 2**53 and 1e17 as integers."""
    number = 12345678901234568e0
    assert json.dumps(local(". // 1", number)) == "1.2345678901234568e+16"
    assert json.dumps(through_jq(asked(". // 1", number))) == "12345678901234568"
    assert isinstance(local("[.]", number), NotLocal)


# --- Always jq's answer ---------------------------------------------------------------------------------------------

strings = some.sampled_from(["", "a", "b", "ä", "\U0001f600", "\uffff", 'q"\\\n\x00\x7f/']) | some.text(
    some.characters(exclude_categories=["Cs"]), max_size=4
)
numbers = (
    some.integers(-3, 3)
    | some.integers(-(2**54), 2**54)
    | some.sampled_from(
        [2**53, -(2**53), 2**63, 2**64, 10**25, -0.0, 0.0, 0.1, 0.2, 0.3, 1.0, 1e16, 1e-7, 5e-324]
    )
    | some.floats(-4, 4)
    | some.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not 2**53 < abs(number) < 1e17)
    | some.decimals(-1000, 1000, places=2).map(float)
)
scalars = some.none() | some.booleans() | numbers | strings
values = some.recursive(
    scalars,
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(some.sampled_from("abc") | strings, inner, max_size=4)
    ),
    max_leaves=10,
)
records = some.fixed_dictionaries({"a": values, "b": values, "c": numbers}) | values

words = ["a", "b", "c", "if", "and", "not", "true", "null", "_x", "end", "__loc__", "reduce"]
word = some.sampled_from(words)
literals = some.one_of(
    some.sampled_from(
        ["true", "false", "null", "0", "1", "2", "-1", "0.5", "1.0", "2.50", "100", "-3.25", "-0", "[]", "{}"]
    ),
    some.integers(0, 10**15).map(str),
    some.decimals(0, 100, places=3).map(str),
    some.sampled_from(['""', '"a"', '"ä"', r'"\n\"\\\/"', '"a b"']),
)
reads = some.one_of(
    some.sampled_from(
        [".", ".a", ".b", ".c", "$item", "$context", ".a.b", '."a"', '.["a"]', ".a[0]", ".b[-1]", ". .c"]
    ),
    word.map(lambda name: f".{name}"),
)
functions = some.sampled_from(["not", "length", "tostring"])
operators = some.sampled_from(
    ["+", "+", "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "and", "or", "//", "|"]
)
blanks = some.sampled_from(["", " ", " ", "\n "])


def larger(inner: some.SearchStrategy[str]) -> some.SearchStrategy[str]:
    """Programs out of smaller ones; some of these are none."""
    entry = some.one_of(
        some.tuples(word | some.sampled_from(['"a"', '"x y"']), inner).map(": ".join),
        word,
        some.just("$item"),
    )
    return some.one_of(
        some.tuples(inner, blanks, operators, blanks, inner).map(
            lambda parts: "".join(parts) if not parts[2].isalpha() else f"{parts[0]} {parts[2]} {parts[4]}"
        ),
        some.tuples(inner, some.just(" | "), functions).map("".join),
        inner.map(lambda text: f"({text})"),
        some.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        some.lists(entry, max_size=3).map(lambda entries: f"{{{', '.join(entries)}}}"),
        some.tuples(inner, some.sampled_from([".a", "[0]", '["a"]', '."b"', "[-1]"])).map("".join),
        some.lists(inner.map(lambda text: f"\\({text})") | some.just("é "), max_size=3).map(
            lambda parts: f'"{"".join(parts)}"'
        ),
        some.tuples(inner, inner, inner).map(lambda parts: "if {} then {} else {} end".format(*parts)),
        some.tuples(inner, inner).map(lambda parts: "if {} then {} end".format(*parts)),
    )


programs = some.recursive(literals | reads | functions, larger, max_leaves=6)
fragments = some.sampled_from(
    [
        *words,
        *'+-*/%|<>=!.,:;?()[]{}"$#@\\ \n0123',
        "==",
        "//",
        "..",
        "?//",
        "::",
        "\\(",
        "e1",
        "as",
        "$item",
        ".a",
        '"a"',
        "1.5",
    ]
)


@some.composite
def mutated(draw: some.DrawFn) -> str:
    """A program with something taken out, put in or put twice."""
    text = draw(programs)
    start = draw(some.integers(0, len(text)))
    end = draw(some.integers(start, min(len(text), start + 3)))
    return text[:start] + draw(fragments | some.just("") | some.just(text[start:end] * 2)) + text[end:]


texts = some.one_of(programs, programs, programs, mutated(), some.lists(fragments, max_size=8).map("".join))


@settings(max_examples=300, deadline=None)
@given(text=texts, dot=records, item=scalars)
def test_an_answer_given_here_is_the_answer_of_jq(text: str, dot: Any, item: Any) -> None:
    evaluation = Evaluation(expression(text, NAMES), dot, {"context": {"b": 1, "a": item}, "item": item})
    found = answer_locally(evaluation)
    if evaluation.expression.leaves[0].simple is not None:
        for _, program in bare_programs(evaluation.expression):
            compiled(program)  # raises if it is no jq
    if evaluation.expression.program is not None and not isinstance(found, NotLocal):
        assert json.dumps(found) == json.dumps(through_jq(evaluation))
