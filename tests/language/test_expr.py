"""Expressions of event triggers: what expr-lang's documentation says, and that none of them is anything but itself in jq.

The table's examples follow https://expr-lang.org/docs/language-definition.
"""

import json
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from service.language.expr import LONGEST_TEXT, ExprRefused, asked, printed, read
from service.language.expr.functions import FUNCTIONS, LINK, UNSUPPORTED
from service.language.expr.parser import BINARY as OPERATORS
from service.language.expr.parser import DEEPEST, TALLEST, UNARY, WORDS
from service.language.expressions import ExpressionFailure
from service.language.questions import ask
from service.language.sandbox import Sandbox

ACCOUNT = uuid4()
EVENT = {
    "id": "pay_1",
    "amount": 1200000,
    "rate": 0.5,
    "paid": True,
    "nothing": None,
    "text": "héllo",
    "numbers": [1, 2, 3, 4, 5],
    "users": [{"name": "John", "age": 30}, {"name": "Jane", "age": 20}],
    "deep": {"in": {"not": "here"}},
    "var with spaces": 1,
}


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(size=1) as started:
        yield started


async def value(sandbox: Sandbox, text: str, event: Any = EVENT) -> Any:
    (found,) = await ask(sandbox, ACCOUNT, [asked(read(text), event)])
    return found


# --- What is true ---------------------------------------------------------------------------------------------------

LITERALS = [
    "42 == 0x2A and 42 == 0o52 and 42 == 0b101010 and 1_000 == 1000",
    "0.5 == .5 and 1e3 == 1000 and 2.5E-1 == 0.25",
    "true /* yes */ == true // to the end",
    "'bar' == \"bar\" and `a\\n` == 'a\\\\n'",
    r"""'it\'s' == "it's" and '\x41\u0042\u{43}\103' == "ABCC" """,
    r'"\u{1F600}" == "\ud83d\ude00" and "\U0001F600" == "😀"',
    "[1, 2, 3,][1] == 2 and [] == []",
    '{a: 1, "b": 2, (string(3)): 3,} == {"3": 3, "a": 1, "b": 2} and {} == {}',
    "nil == nil and event.missing == nil",
]
OPERATIONS = [
    "1 + 2 * 3 == 7 and (1 + 2) * 3 == 9",
    "7 / 2 == 3.5 and 7 % 3 == 1 and -7 % 3 == -1 and 4.0 % 3 == 1",
    "2 ** 3 ** 2 == 512 and 2 ^ 3 == 8 and -2 ** 2 == -4",
    '"a" + "b" == "ab" and "a" < "b" and 2 >= 2',
    "1 < 2 and not (2 < 1) and 1 != 2 and 1 == 1.0",
    "1 < 2 < 3 and not (1 < 3 < 3 < 9)",
    'not (1 == "1") and 1 != "1" and nil != false',
    "!false && (true || event.missing.member)",
    "(not true == true) == false",
    "true ? 1 == 1 : event.missing.member",
    "(false ?: 1) == 1",
    "(if event.amount > 1 { 'much' } else if true { 'one' } else { 'no' }) == 'much'",
    "(event.missing ?? 5) == 5 and (false ?? true) == false and event.amount + event.missing ?? 1 == 1200001",
    '"John" in ["John", "Jane"] and "age" in event.users[0] and 4 not in [1, 2] and not (1 in nil)',
    "event.text contains 'éll' and event.text startsWith 'hé' and event.text endsWith 'lo'",
    "event.text not contains 'x' and not (event.missing contains 'x') and not (event.missing matches 'x')",
    r'event.id matches "^pay_\\d+$" and event.id not matches "^\\d"',
    "1..3 == [1, 2, 3] and 3..1 == []",
    "let x = 42; let y = 2; x * y == 84",
    'let name = "a b" | upper() | split(" "); name[0] + "!" == "A!"',
    "event['var with spaces'] == 1 and $env['event'].amount == event.amount and 'event' in $env",
]
ACCESS = [
    "event.users[0].name == 'John' and event.users[-1]['name'] == 'Jane'",
    "event.deep.in.not == 'here'",
    "event.missing?.member.another == nil and event.deep?.in?.not == 'here' and event.missing?.[0] == nil",
    "(event.missing?.member ?? 'Anonymous') == 'Anonymous'",
    "event.numbers[1:4] == [2, 3, 4] and event.numbers[1:-1] == [2, 3, 4] and event.numbers[:3] == [1, 2, 3]",
    "event.numbers[3:] == [4, 5] and event.numbers[:] == event.numbers and event.numbers[9:] == []",
    "event.text[1:3] == 'él'",
]
FUNCTION_CALLS = [
    'trim("  Hello  ") == "Hello" and trim("__Hello__", "_") == "Hello" and trim("___", "_") == ""',
    'trimPrefix("HelloWorld", "Hello") == "World" and trimSuffix("HelloWorld", "World") == "Hello"',
    'upper("hello é ß") == "HELLO É ß" and lower("HELLO É") == "hello é"',
    'split("apple,orange,grape", ",") == ["apple", "orange", "grape"] and split("", ",") == [""]',
    'split("apple,orange,grape", ",", 2) == ["apple", "orange,grape"] and split("a,b", ",", 0) == []',
    'replace("Hello World", "World", "Universe") == "Hello Universe" and replace("ab", "", "-") == "-a-b-"',
    'repeat("Hi", 3) == "HiHiHi"',
    'indexOf("apple pie", "pie") == 6 and indexOf("é", "x") == -1 and indexOf("aéb", "b") == 2',
    'lastIndexOf("apple pie apple", "apple") == 10 and lastIndexOf("a", "b") == -1',
    'hasPrefix("HelloWorld", "Hello") and hasSuffix("HelloWorld", "World")',
    "max(5, 7) == 7 and min(5, 7) == 5 and max([1, 4], 2) == 4",
    "abs(-5) == 5 and ceil(1.5) == 2.0 and floor(1.5) == 1 and round(1.5) == 2 and round(-1.5) == -2",
    "all(event.users, {len(.name) == 4}) and all([], false) and not any([], true)",
    "any(event.users, .age > 25) and one(event.users, .age > 25) and none(event.users, .age > 99)",
    "map(event.users, {.age}) == [30, 20] and filter(0..9, {# % 2 == 0}) == [0, 2, 4, 6, 8]",
    "filter(event.users, .name startsWith 'Ja')[0].age == 20",
    "find([1, 2, 3, 4], # > 2) == 3 and findIndex([1, 2, 3, 4], # > 2) == 2 and find([], true) == nil",
    "findLast([1, 2, 3, 4], # > 2) == 4 and findLastIndex([1, 2, 3, 4], # < 3) == 1 and findLast([], true) == nil",
    "find([true, false], not #) == false",
    "count(event.users, .age > 25) == 1 and count([true, false, true]) == 2",
    'join(["apple", "orange"], ",") == "apple,orange" and join(["a", "b"]) == "ab"',
    "reduce(1..9, #acc + #) == 45 and reduce(1..9, #acc + #, 5) == 50 and reduce([], #, 7) == 7",
    "reduce([4, 4, 4], #acc + #index, 0) == 3",
    "sum([1, 2, 3]) == 6 and sum(event.users, .age) == 50 and sum([]) == 0",
    "mean([1, 2, 3]) == 2 and median([3, 1, 2]) == 2 and median([1, 2, 3, 4]) == 2.5 and mean([]) == 0",
    "first([1, 2, 3]) == 1 and last([1, 2, 3]) == 3 and first([]) == nil",
    "take([1, 2, 3, 4], 2) == [1, 2] and take([1], 5) == [1] and reverse([1, 2]) == [2, 1]",
    'sort([3, 1, 4]) == [1, 3, 4] and sort([3, 1, 4], "desc") == [4, 3, 1] and sort(["b", "a"]) == ["a", "b"]',
    "uniq([3, 1, 3, 1]) == [3, 1] and concat([1], [2, [3]]) == [1, 2, [3]] and flatten([1, [2, [3]]]) == [1, 2, 3]",
    'keys({"name": "John", "age": 30}) == ["age", "name"] and values({"b": 1, "a": 2}) == [2, 1]',
    'toPairs({"a": 1}) == [["a", 1]] and fromPairs([["a", 1], ["b", 2]]) == {"a": 1, "b": 2}',
    'type(42) == "int" and type(4.5) == "float" and type("") == "string" and type([]) == "array" and type({}) == "map"',
    'type(nil) == "nil" and type(true) == "bool"',
    'int("123") == 123 and int("-1") == -1 and int(1.9) == 1 and int(-1.9) == -1',
    'float("123.45") == 123.45 and float("-.5") == -0.5 and float("+1e2") == 100 and float("1.") == 1',
    'string(123) == "123" and string(true) == "true" and string(nil) == "<nil>" and string(event.amount) == "1200000"',
    'string([1, "a", nil]) == "[1 a <nil>]" and string({"b": 1, "a": [2.5]}) == "map[a:[2.5] b:1]"',
    'fromJSON(toJSON({"name": "John"})).name == "John"',
    'toBase64("Hello World") == "SGVsbG8gV29ybGQ=" and fromBase64("SGVsbG8gV29ybGQ=") == "Hello World"',
    'len([1, 2, 3]) == 3 and len({"a": 1}) == 1 and len("Hello") == 5 and len(event.text) == 5',
    'get([1, 2, 3], 1) == 2 and get({"a": 1}, "a") == 1 and get([], 5) == nil and get(nil, "a") == nil',
    'event.text | upper() | split("") | first() == "H"',
    'split(lower("A B"), " ") == ("A B" | lower() | split(" "))',
    "map([[1, 2], [3]], map(#, # + 1)) == [[2, 3], [4]]",
    "map(event.users, {let x = .age; x + 1}) == [31, 21]",
    "(event.users | filter(.age > 25) | first()).name == 'John' and (event.users | first().name) == 'John'",
]


@pytest.mark.parametrize("text", [*LITERALS, *OPERATIONS, *ACCESS, *FUNCTION_CALLS])
async def test_the_language_is_as_documented(sandbox: Sandbox, text: str) -> None:
    assert await value(sandbox, text) is True


def test_each_function_is_in_the_table() -> None:
    called = {
        name
        for text in [*LITERALS, *OPERATIONS, *ACCESS, *FUNCTION_CALLS]
        for name in re.findall(r"(\w+)\(", text)
    }
    assert set(FUNCTIONS) <= called


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("event.missing.member", 'cannot fetch "member" from nil'),
        ("event.nothing[0]", "cannot fetch 0 from nil"),
        ("event.amount.member", 'cannot fetch "member" from number'),
        ("event.text[0]", "cannot fetch 0 from string"),
        ("event.numbers['a']", "a number was expected, not string"),
        ("event.numbers[0.5]", "a whole number was expected, not 0.5"),
        ("event.numbers[5]", "index out of range: 5 (array length is 5)"),
        ("event.numbers[-6]", "index out of range: -6 (array length is 5)"),
        ("event.missing[1:]", "cannot slice nil"),
        ("'a' + 1", "string + number is not possible"),
        ("event.missing + 1", "nil + number is not possible"),
        ("1 < 'a'", "number < string is not possible"),
        ("nil >= nil", "nil >= nil is not possible"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("1.5 % 2", "a whole number was expected, not 1.5"),
        ("10.0 ** 400", "the result is too large for a number"),
        ("event.amount and true", "true or false was expected, not number"),
        ("not event.nothing", "true or false was expected, not nil"),
        ("event.text ? 1 : 2", "true or false was expected, not string"),
        ("1 contains 'a'", "a string was expected, not number"),
        ("'a' in 'abc'", "string in string is not possible"),
        ("filter(event.deep, true)", "an array was expected, not map"),
        ("filter([1], #)", "true or false was expected, not number"),
        ("map(event.missing, #)", "an array was expected, not nil"),
        ("sum(['a'])", "a number was expected, not string"),
        ("max([])", "there is no number to choose from"),
        ("len(event.missing)", "len() of nil is not possible"),
        ("int('12a')", 'int() cannot read "12a"'),
        ("float('nan')", 'float() cannot read "nan"'),
        ("join([1])", "a string was expected, not number"),
        ("sort([1, 'a'])", "sort() takes numbers, or strings, not both or others"),
        ("{(1): 2}", "a string was expected, not number"),
        ("1..2000000", "a range has at most 1000000 numbers"),
        ("repeat('a', 2000000)", "repeat() makes at most 1000000 characters"),
        ("reduce([], #acc)", "reduce() of an empty array needs a value to begin with"),
    ],
)
async def test_what_cannot_be_worked_out_says_why(sandbox: Sandbox, text: str, because: str) -> None:
    assert await value(sandbox, text) == ExpressionFailure("expression failed", because)


async def test_an_expression_that_takes_too_long_is_stopped(sandbox: Sandbox) -> None:
    found = await value(sandbox, "sum(map(1..100000, sum(1..100000)))")
    assert isinstance(found, ExpressionFailure)
    assert found.title == "time limit"


# --- What is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("", "a value was expected, not the end (line 1, column 1)"),
        ("1 +", "a value was expected, not the end (line 1, column 4)"),
        ("1 2", "'2' was not expected (line 1, column 3)"),
        ("event.\n  ", "a member's name was expected, not the end (line 2, column 3)"),
        ("event\n.a )", "')' was not expected (line 2, column 4)"),
        ("(1", "')' was expected, not the end (line 1, column 3)"),
        ("[1 2]", "',' was expected, not '2' (line 1, column 4)"),
        ("'abc", "a string is not closed (line 1, column 1)"),
        ("1 /* abc", "a comment is not closed (line 1, column 3)"),
        ("event ~ 1", "'~' has no meaning here (line 1, column 7)"),
        (r"'\q'", r"\q is not an escape (line 1, column 1)"),
        (r"'\(1)'", r"\( is not an escape (line 1, column 1)"),
        (r"'\ud800'", "a string holds half of a surrogate pair, which is not text (line 1, column 1)"),
        ("9223372036854775808", "9223372036854775808 is too large (line 1, column 1)"),
        ("0x", "'x' was not expected (line 1, column 2)"),
        ("evnt.a", "there is no variable evnt; known here: event (line 1, column 1)"),
        ("let x = 1; y", "there is no variable y; known here: event, x (line 1, column 12)"),
        ("let event = 1; 2", "there is a event already (line 1, column 5)"),
        ("#", "# has a meaning only in what a function does with each element (line 1, column 1)"),
        ("map([1], #acc)", "#acc has a meaning only in reduce() (line 1, column 10)"),
        ("foo(1)", "there is no function foo() (line 1, column 1)"),
        ("event.name.String()", "values have no methods, as .String() would be one (line 1, column 12)"),
        ("len()", "len() needs 1 argument, not 0 (line 1, column 1)"),
        ("len(1, 2)", "len() takes at most 1 argument, not 2 (line 1, column 1)"),
        ("1 | 2", "the name of a function was expected, not '2' (line 1, column 5)"),
        ("nil ?? 1 + 2", "?? and other operators have to be told apart by parentheses (line 1, column 10)"),
        ("true ? 1", "':' was expected, not the end (line 1, column 9)"),
        (
            "(" * (DEEPEST + 1),
            f"an expression is nested at most {DEEPEST} levels deep (line 1, column {DEEPEST + 1})",
        ),
        ("1" + "+1" * TALLEST, f"an expression has at most {TALLEST} levels"),
        ("'" + "é" * (LONGEST_TEXT // 2) + "'", f"an expression has at most {LONGEST_TEXT} bytes"),
        (
            "link(event, 'account').id",
            f"{LINK} (line 1, column 1)",
        ),
        *((f"{name}(1)", f"{name}() is not supported (line 1, column 1)") for name in sorted(UNSUPPORTED)),
    ],
)
def test_what_is_no_expression_is_refused_with_its_place(text: str, because: str) -> None:
    with pytest.raises(ExprRefused) as refusal:
        read(text)
    assert str(refusal.value) == because


# --- Whatever is written --------------------------------------------------------------------------------------------

PIECES = [
    *OPERATORS, *UNARY, *WORDS, *FUNCTIONS, "event", ".", "?.", "(", ")", "[", "]", "{", "}", ",", ":", ";", "?", "=",
    "#", "#acc", "$env", "1", "0.5", "'a'", '"\\u0022"', "`)`", "x", "$__loc__", "$ENV", "\\", "import", "|", "//", "/*",
]  # fmt: skip
NAMES = re.compile(r'"(?:[^"\\]|\\u[0-9a-f]{4})*"|[0-9][0-9.]*(?:e[+-]?[0-9]+)?|[$\w]+')
OWN = re.compile(
    r'"(?:[A-Za-z0-9 _-]|\\u[0-9a-f]{4})*"|\$(?:event|at|(?:item|index|acc|let)\d+)|expr_\w+'
    r"|if|then|else|end|as|and|or|null|true|false|event|[0-9.]+(?:e[+-]?[0-9]+)?|e"
)


def body_of(text: str) -> str | None:
    """The jq that an author's text has become, behind the definitions; None if it was refused."""
    try:
        made = read(text)
    except ExprRefused:
        return None
    return str(made.jq.source).rpartition("\n")[2]


@given(
    some.text()
    | some.lists(some.sampled_from(PIECES)).map(" ".join)
    | some.lists(some.sampled_from(PIECES)).map("".join)
)
@settings(max_examples=400, deadline=None)
def test_any_text_is_an_expression_or_refused_and_becomes_nothing_but_our_own_jq(text: str) -> None:
    body = body_of(text)
    for word in NAMES.findall(body or ""):
        assert OWN.fullmatch(word), (word, body)


LEAVES = some.sampled_from(
    ["event", "event.a", "event.xs[0]", "event?.b.c", "1", "0.5", "true", "nil", "'a'", "$env"]
)
SOUND = some.recursive(
    LEAVES,
    lambda inner: some.one_of(
        some.tuples(
            inner, some.sampled_from([each for each in OPERATORS if each not in ("|", "??")]), inner
        ).map(lambda three: "({} {} {})".format(*three)),
        some.tuples(inner, inner, inner).map(lambda three: "({} ? {} : {})".format(*three)),
        some.tuples(inner, inner).map(lambda two: "(let v{0} = {1}; v{0})".format(len(two[0]), two[1])),
        some.tuples(some.sampled_from(["map", "filter", "any", "find", "count", "reduce"]), inner, inner).map(
            lambda three: "{}([{}], # == {})".format(*three)
        ),
        some.tuples(some.sampled_from(["-", "not ", "+"]), inner).map("".join),
        some.tuples(inner, inner).map(lambda two: "[{}, {{a: {}}}]?.[0]".format(*two)),
    ),
    max_leaves=8,
)


@given(text=SOUND)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_is_read_is_a_complete_jq_program(sandbox: Sandbox, text: str) -> None:
    try:
        made = read(text)
    except ExprRefused:
        return
    assert await sandbox.compile(ACCOUNT, [made.jq]) == [None], text


@given(text=some.text(some.characters(exclude_categories=["Cs"]), max_size=200))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_string_stays_what_it_is(sandbox: Sandbox, text: str) -> None:
    assert await value(sandbox, json.dumps(text).replace(r"\/", "/")) == text


@pytest.mark.parametrize(
    "hostile",
    ["\\(env)", '") | env | ("', '"\n) , (env', "${ env }", "$ENV.PATH", "\\u0022) | halt", "')] | input"],
    ids=["interpolation", "quote", "line", "template", "variable", "escape", "apostrophe"],
)  # fmt: skip
async def test_no_text_of_an_author_is_run(sandbox: Sandbox, hostile: str) -> None:
    assert await value(sandbox, json.dumps(hostile)) == hostile
    assert await value(sandbox, f"event[{json.dumps(hostile)}]", {hostile: 1}) == 1
    assert await value(sandbox, f"{{{json.dumps(hostile)}: 2}}") == {hostile: 2}


def test_an_expression_names_the_patterns_in_it() -> None:
    assert read("event.a matches '^a' or any(event.b, # matches `x+`)").patterns in (
        ("^a", "x+"),
        ("x+", "^a"),
    )
    assert read("event.a matches event.b").patterns == ()


# --- Values of variables --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ("as it is", "as it is"),
        (1200000.0, "1200000"),
        (1200000, "1200000"),
        (0.1, "0.1"),
        (-1.50, "-1.5"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e-7, "1.5e-7"),
        (0.0, "0"),
        (12345678901234567890, "12345678901234567890"),
        (True, "true"),
        (False, "false"),
        (None, "<nil>"),
        ([1, "a", None, [2.0]], "[1 a <nil> [2]]"),
        ({"b": 1, "a": {"c": True}}, "map[a:map[c:true] b:1]"),
    ],
)
def test_values_are_printed_as_variables(found: Any, text: str) -> None:
    assert printed(found) == text
