"""Programs and schemas made to harm: each fails alone, saying why, and another account's answers keep coming."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest

from service.language.expressions import Evaluation, ExpressionFailure, expression
from service.language.questions import Question, Validation, ask
from service.language.sandbox import Sandbox, process, turns

HOSTILE, OTHER = uuid4(), uuid4()
SHORT_SECONDS, LONG_SECONDS = 0.8, 5.0
DRAFT = "https://json-schema.org/draft/2020-12/schema"
LIMITS = {"time limit", "memory limit"}


@pytest.fixture(scope="module", autouse=True)
def patient() -> Iterator[None]:
    """Time enough for a busy machine, and no account that is held back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "TIME_LIMIT_SECONDS", LONG_SECONDS)
        patch.setattr(turns, "STRIKES_SECONDS", 0.0)
        yield


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shorter limit than in service for what is going to run into it."""
    monkeypatch.setattr(process, "TIME_LIMIT_SECONDS", SHORT_SECONDS)


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(size=2) as started:
        yield started


def asked(text: str, dot: Any = None) -> Evaluation:
    return Evaluation(expression(text, []), dot, {})


async def beside_another(sandbox: Sandbox, question: Question) -> Any:
    """The answer to a question, while another account's expressions are answered one after the other.

    If those had to wait until the hostile one meets its limit, there would be one answer or two until then.
    """
    hostile = asyncio.create_task(ask(sandbox, HOSTILE, [question]))
    began, answered = time.monotonic(), 0
    await asyncio.sleep(0)
    while not hostile.done():
        assert await ask(sandbox, OTHER, [asked("[.][] + 1", 1)]) == [2]
        answered += 1
    assert answered > 2 or time.monotonic() - began < SHORT_SECONDS / 2
    (answer,) = hostile.result()
    return answer


def nested(keyword: str, depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {keyword: schema}
    return schema


def doubling(keyword: str, depth: int = 40) -> dict[str, Any]:
    """A small schema that comes to 2 ** depth."""
    levels = {str(level): {keyword: [{"$ref": f"#/$defs/{level + 1}"}] * 2} for level in range(depth)}
    return {"$ref": "#/$defs/0", "$defs": {**levels, str(depth): {"type": "string"}}}


def deep(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


# --- Programs -------------------------------------------------------------------------------------------------------

NESTED = "reduce range({}) as $i (0; [.])"

ENDLESS = {
    "recursion": "def f: f; f",
    "recursion in a catch": "def f: try error(1) catch f; f",
    "recursion in an alternative": "def f: (f // 1); f",
    "closures in closures": "def f(g): f(g | g); f(.)",
    "recursion that is not a tail": "def f(n): if n == 0 then 0 else 1 + f(n - 1) end; f(1e9)",
    "until": "until(false; .)",
    "last of a range": "last(range(infinite))",
    "range backwards": "last(range(0; -1e18; -1))",
    "range as a list": "[range(1e12)]",
    "range times range": "[range(1e6) as $a | range(1e6)] | length",
    "reduce": "reduce repeat(1) as $x (0; . + $x)",
    "a limit without end": "[limit(infinite; repeat(1))]",
    "nth of a stream": "nth(1e18; repeat(1))",
    "skip through a stream": "first(skip(1e18; repeat(1)))",
    "first that never comes": "first(range(infinite) | select(false))",
    "a string repeated": '"a" * 1e9',
    "a string doubled": '"x" | until(false; . + .)',
    "an object in an object": "{} | until(false; {a: ., b: .})",
    "quotes in quotes": '"\\"" | until(false; tojson)',
    "lists that double": "def d(n): if n == 0 then [1] else [d(n-1), d(n-1)] end; d(40)",
    "all below all": "reduce range(40) as $i (1; [., .]) | [..] | length",
    "a list with a far end": "null | .[536870911] = 1",
    "combinations": "[[range(10)] | combinations(20)]",
    "ltrimstr by ltrimstr": '("a" * 1000000) | until(. == ""; ltrimstr("a"))',
    "splits at nothing": '("a" * 1000000) | [splits("")] | length',
    "gsub at nothing": '("a" * 1000000) | gsub(""; "bbbbbbbbbb") | length',
    "a pattern that looks ahead everywhere": '[("ab" * 100000) | match("(?=(a|b)*$)"; "g")] | length',
    "tojson of a deep value": NESTED.format(10_000_000) + " | tojson",
    "@json of a deep value": NESTED.format(10_000_000) + " | @json",
    "comparing deep values": NESTED.format(10_000_000) + " | . == .",
    "flattening a deep value": NESTED.format(10_000_000) + " | flatten",
    "walking a deep value": NESTED.format(10_000_000) + " | walk(.)",
    "paths of a deep value": NESTED.format(10_000_000) + " | [paths]",
    "setpath through a long path": 'setpath([range(10000000) | "a"]; 1)',
    "sorting": "[range(1e8)] | sort | length",
}


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("text", ENDLESS.values(), ids=ENDLESS)
async def test_a_program_without_end_meets_a_limit_and_nobody_else_notices(
    sandbox: Sandbox, text: str
) -> None:
    found = await beside_another(sandbox, asked(text))
    assert isinstance(found, ExpressionFailure)
    assert found.title in LIMITS


REFUSED = {
    # what is too large or too deep
    "10 MB of text": ('("y" * 1000000) as $y | [range(10)] | map($y)', "output size limit"),
    "10 MB in an error": (
        '("y" * 1000000) as $y | [range(10)] | map($y) | error',
        "output size limit",
    ),
    "2 MB of text": ('"y" * 2000000', "output size limit"),
    "a list 10,000 deep": (NESTED.format(10_000), "depth limit"),
    "an object 10,000 deep": ("reduce range(10000) as $i (0; {a: .})", "depth limit"),
    "an error 10,000 deep": (NESTED.format(10_000) + " | error", "depth limit"),
    "9,000 brackets parsed": ('"[" * 9000 + "]" * 9000 | fromjson', "depth limit"),
    "100,000 brackets parsed": ('"[" * 100000 | fromjson', "expression failed"),
    "getpath through a long path": ('getpath([range(20000) | "a"])', "expression failed"),
    "a text repeated for ever": ('"a" * 1e18', "expression failed"),
    "a text repeated 1e1000000 times": ('"a" * 1e1000000', "expression failed"),
    # numbers
    "an exponent of a million": ("1e1000000 | .", "expression failed"),
    "half a million digits": ('("1" * 500000) | tonumber', "expression failed"),
    "a negative limit": ("[limit(-1; range(infinite))]", "expression failed"),
    "a negative index": ("[] | .[-1] = 1", "expression failed"),
    # patterns
    "quantifiers in quantifiers": (f'"{"a" * 40}!" | test("^(a+)+$")', "expression failed"),
    "a pattern of brackets": ('"a" | test("(" * 20000)', "expression failed"),
    "a pattern with unknown flags": ('"a" | [splits("a"; "zzz")]', "expression failed"),
    # dates
    "strptime of junk": ('("x" * 100000) | strptime("%Y" * 1000)', "expression failed"),
    "strptime with a long format": ('"2020" | strptime("%" * 10000)', "expression failed"),
    "a year of twenty digits": ('"99999999999999999999-01-01T00:00:00Z" | fromdate', "expression failed"),
    "strftime of the far future": ('[range(8) | 1e300] | strftime("%c" * 10000)', "expression failed"),
    "strftime a gigabyte wide": ('0 | strftime("%999999999d")', "expression failed"),
    "strftime of words": ('["a", "b"] | strftime("%Y")', "expression failed"),
    "mktime of the far future": ("[range(8) | 1e18] | mktime", "expression failed"),
    "mktime of no number": ("[range(8) | nan] | mktime", "expression failed"),
    "gmtime of the far future": ("1e300 | gmtime | mktime", "expression failed"),
    "localtime of infinity": ("infinite | localtime", "expression failed"),
    # what is not theirs
    "the environment": ("$ENV.PATH // error", "expression failed"),
    "the environment as a function": ("env.HOME // error", "expression failed"),
    "the environment changed": ("$ENV |= . + {a: 1}", "expression failed"),
    "the file name": ("input_filename // error", "expression failed"),
    "the search list": ("if get_search_list == [] then error else . end", "expression failed"),
    "the program's arguments": ("$__prog_args", "expression failed"),
    "a file imported": ('import "passwd" as $d {search: "/etc"}; $d', "expression failed"),
    "a file imported in a function": (
        'def f: import "passwd" as $d {search: "/etc"}; $d; f',
        "expression failed",
    ),
    "a file included": ('include "passwd" {search: "/etc"}; 1', "expression failed"),
    "more input": ("input", "expression failed"),
    "all other inputs": ("[inputs] | if . == [] then error else . end", "expression failed"),
    "halt": ("halt", "no result"),
    "halt within a list": ("[1, halt]", "no result"),
    "halt with an error": ('"x" | halt_error(7)', "expression failed"),
    "nothing but noise": ("debug | stderr | empty", "no result"),
    "another library": ("getpath(1)", "expression failed"),
}


@pytest.mark.parametrize(("text", "title"), REFUSED.values(), ids=REFUSED)
async def test_a_program_that_asks_for_too_much_is_told_so(sandbox: Sandbox, text: str, title: str) -> None:
    found = await beside_another(sandbox, asked(text))
    assert isinstance(found, ExpressionFailure)
    assert found.title == title
    assert 0 < len(found.detail) <= 2_000


HARMLESS = {
    "an exponent of a million in a sum": ("1e1000000 + 1", 1.7976931348623157e308),
    "an exponent beyond all": ("1e999999999999999999999 | . * 1", 1.7976931348623157e308),
    "nothing from something": ("1e-1000000 * 2", 0),
    "ldexp": ("ldexp(1; 1e9)", 1.7976931348623157e308),
    "points beyond Unicode": ("[1e9, -1, 1114112, 55296] | implode", "\ufffd\ufffd\ufffd\ufffd"),
    "an index beyond the list": ("[1] | getpath([1e18])", None),
    "a slice beyond the list": ("[1] | .[1e18:-1e18]", []),
    "quantifiers that never match": ('("a" * 5000) | test("^(a|a?)+$b")', False),
    "a pattern that repeats a thousand millions": ('"a" | test("((a{1000}){1000}){1000}")', False),
    "a stream of which one is taken": ("repeat(.)", None),
    "an unset month": ("[1] | mktime", -62135683200),
}


@pytest.mark.parametrize(("text", "expected"), HARMLESS.values(), ids=HARMLESS)
async def test_what_looks_worse_than_it_is_has_its_value(
    sandbox: Sandbox, text: str, expected: object
) -> None:
    assert await beside_another(sandbox, asked(text)) == expected


@pytest.mark.usefixtures("hurried")
async def test_all_of_them_in_one_call_leave_the_good_ones_their_values(sandbox: Sandbox) -> None:
    first, second, third = (f"[.][] + {number}" for number in (1, 2, 3))
    texts = [ENDLESS["recursion"], first, ENDLESS["a string doubled"], second, REFUSED["halt"][0], third]
    found = await ask(sandbox, HOSTILE, [asked(text, 1) for text in texts])
    assert [answer for answer in found if not isinstance(answer, ExpressionFailure)] == [2, 3, 4]


# --- Schemas --------------------------------------------------------------------------------------------------------

BEYOND_LIMITS: dict[str, tuple[Any, Any]] = {
    "allOf that doubles": (doubling("allOf"), 1),
    "anyOf that doubles": (doubling("anyOf"), 1),
    "oneOf that doubles": (doubling("oneOf"), 1),
    "items that double with the value": ({"allOf": [{"items": {"$ref": "#"}}] * 2}, deep(60)),
    "ten million errors": ({"items": {"allOf": [{"type": "string"}] * 1_000}}, [0] * 10_000),
    "properties not evaluated": (
        {
            "unevaluatedProperties": False,
            "allOf": [{"$ref": "#/$defs/0"}],
            "$defs": doubling("anyOf", 24)["$defs"],
        },
        {"a": 1},
    ),
}


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(("schema", "value"), BEYOND_LIMITS.values(), ids=BEYOND_LIMITS)
async def test_a_schema_that_grows_without_end_meets_a_limit(
    sandbox: Sandbox, schema: dict[str, Any], value: Any
) -> None:
    found = await beside_another(sandbox, Validation({"$schema": DRAFT, **schema}, value))
    assert isinstance(found, ExpressionFailure)
    assert found.title in LIMITS


UNUSABLE: dict[str, Any] = {
    "a schema on another machine": {"$ref": "https://example.com/schema"},
    "a schema on this machine": {"$ref": "http://127.0.0.1:1/schema"},
    "a schema in a file": {"$ref": "file:///etc/passwd"},
    "a schema beside its own address": {"$id": "https://example.com/a", "$ref": "b"},
    "a schema beside an inner address": {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"$id": "https://example.com/b", "$ref": "c"}},
    },
    "a draft in a file": {"$schema": "file:///etc/passwd"},
    "a draft on another machine": {"$schema": "https://example.com/draft"},
    "a path of 100,000 steps": {"$ref": "#" + "/a" * 100_000},
    "a pattern that looks ahead": {"pattern": "^(?=(a+)+$)"},
    "a pattern that looks back": {"pattern": "^(a*)\\1$"},
    "a pattern that repeats a thousand millions": {"pattern": "((a{1000}){1000}){1000}"},
    "a pattern with a thousand states each way": {"pattern": "(a{0,1000}){0,100}"},
    "a pattern of brackets": {"pattern": "(" * 10_000 + ")" * 10_000},
    "a multiple of nothing": {"multipleOf": 0},
    "four hundred conditions in one another": nested("if", 400),
    "five hundred negations": nested("not", 500),
}


@pytest.mark.parametrize("schema", UNUSABLE.values(), ids=UNUSABLE)
async def test_a_schema_that_cannot_be_used_is_refused_when_it_is_made_and_when_it_is_used(
    sandbox: Sandbox, schema: dict[str, Any]
) -> None:
    whole = {"$schema": DRAFT, **schema}
    assert await sandbox.check_schema(HOSTILE, whole)
    found = await beside_another(sandbox, Validation(whole, "a"))
    assert isinstance(found, ExpressionFailure)
    assert found.title == "schema failed"


QUICK: dict[str, tuple[Any, Any, bool]] = {
    "a loop of references": ({"$ref": "#"}, 1, True),
    "a loop of two": (
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        1,
        True,
    ),
    "a loop of dynamic references": ({"$dynamicAnchor": "a", "$dynamicRef": "#a"}, 1, True),
    "dynamic references in items": (
        {"$dynamicAnchor": "a", "items": {"$dynamicRef": "#a"}, "allOf": [{"$dynamicRef": "#a"}]},
        [[1]],
        True,
    ),
    "a schema that is not itself": ({"not": {"$ref": "#"}}, 1, False),
    "items all the way down": ({"items": {"$ref": "#"}}, deep(500), True),
    "quantifiers in quantifiers": ({"pattern": "^(a+)+$"}, "a" * 50_000 + "!", False),
    "alternatives in quantifiers": ({"pattern": "^(a|a?)+$"}, "a" * 50_000 + "!", False),
    "quantifiers for the names": ({"propertyNames": {"pattern": "^(a+)+$"}}, {"a" * 5_000 + "!": 1}, False),
    "100,000 unique items": ({"uniqueItems": True}, list(range(100_000)), True),
    "20,000 lists that are the same": ({"uniqueItems": True}, [[0] * 10] * 20_000, False),
    "a multiple of almost nothing": ({"multipleOf": 1e-308}, 1e308, True),
    "a multiple of the least": ({"multipleOf": 5e-324}, 1.5, True),
    "a maximum of 400 digits": ({"maximum": 10**400}, 10**401, False),
    "a length of 1e300": ({"maxLength": 1e300}, "a", True),
}


@pytest.mark.parametrize(("schema", "value", "fits"), QUICK.values(), ids=QUICK)
async def test_a_schema_that_looks_worse_than_it_is_has_its_verdict(
    sandbox: Sandbox, schema: dict[str, Any], value: Any, *, fits: bool
) -> None:
    found = await beside_another(sandbox, Validation({"$schema": DRAFT, **schema}, value))
    assert isinstance(found, list)
    assert (found == []) == fits
