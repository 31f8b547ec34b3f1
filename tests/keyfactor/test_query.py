"""The query language: what is read how, and what is refused with which words."""

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.keyfactor.errors import Code, Refused
from service.keyfactor.query import DEEPEST, LONGEST, MOST, OPERATORS, parse
from service.operations.conditions import ALWAYS, Comparison, Condition, Every, Some, holds

A, B, C, D = (Comparison(name, "eq", "1") for name in "abcd")

READ: dict[str, tuple[str, Condition]] = {
    "a comparison": ('Status -eq "Failed"', Comparison("Status", "eq", "Failed")),
    "bare": ("Status -eq 2", Comparison("Status", "eq", "2")),
    "operators in any case": ('Title -StartsWith "x"', Comparison("Title", "startswith", "x")),
    "NULL": ("a -ne null", Comparison("a", "ne", None)),
    "NULL in quotes is a text": ('a -eq "NULL"', Comparison("a", "eq", "NULL")),
    "an empty text": ('a -eq ""', Comparison("a", "eq", "")),
    "blanks in quotes": ('a -eq " x  y "', Comparison("a", "eq", " x  y ")),
    "AND": ("a -eq 1 AND b -eq 1 and c -eq 1", Every((A, B, C))),
    "OR": ("a -eq 1 OR b -eq 1 Or c -eq 1", Some((A, B, C))),
    "AND binds closer, in front": ("a -eq 1 AND b -eq 1 OR c -eq 1", Some((Every((A, B)), C))),
    "AND binds closer, behind": (
        "a -eq 1 OR b -eq 1 AND c -eq 1 OR d -eq 1",
        Some((A, Every((B, C)), D)),
    ),
    "parentheses": ("(a -eq 1 OR b -eq 1) AND c -eq 1", Every((Some((A, B)), C))),
    "parentheses around nothing else": ("((a -eq 1))", A),
    "no blank behind a parenthesis": ('(a -eq "1")AND b -eq "1"', Every((A, B))),
    "no blank behind a quote": ('a -eq "1"AND(b -eq 1)', Every((A, B))),
    "lines": ("a -eq 1\n\tAND\r\nb -eq 1", Every((A, B))),
    "a doubled backslash": (r'a -eq "ACME\\ada"', Comparison("a", "eq", r"ACME\ada")),
    "a backslash": (r'a -eq "ACME\ada"', Comparison("a", "eq", r"ACME\ada")),
    "an escaped quote": (r'a -eq "say \"hi\""', Comparison("a", "eq", 'say "hi"')),
    "a doubled quote": ('a -eq "say ""hi"""', Comparison("a", "eq", 'say "hi"')),
    "parentheses and words in quotes": ('a -eq "(b OR c)"', Comparison("a", "eq", "(b OR c)")),
    "words as values": (
        "a -eq and AND b -eq -eq",
        Every((Comparison("a", "eq", "and"), Comparison("b", "eq", "-eq"))),
    ),
    "tokens": (
        "a -gt %TODAY-1% AND b -eq %ME%",
        Every((Comparison("a", "gt", "%TODAY-1%"), Comparison("b", "eq", "%ME%"))),
    ),
    "other scripts": ('a -contains "Zürich 漢 😀"', Comparison("a", "contains", "Zürich 漢 😀")),
    "nothing": ("", ALWAYS),
    "blanks": (" \n\t ", ALWAYS),
}


@pytest.mark.parametrize("shape", READ)
def test_what_a_query_says(shape: str) -> None:
    text, expected = READ[shape]
    assert parse(text) == expected


def test_no_query_asks_for_everything() -> None:
    assert parse(None) == ALWAYS


WRONG: dict[str, tuple[str, str]] = {
    "a field alone": ("Status", "the query ends where an operator should"),
    "no value": ("Status -eq", "the query ends where a value should"),
    "no value before a parenthesis": (
        "(a -eq ) AND b -eq 1",
        "')' stands at character 8 where a value should",
    ),
    "unknown operator": (
        "a -like 1",
        "'-like' stands at character 3 where an operator should, which is one of -eq, -ne",
    ),
    "no operator": ('a "1"', "'1' stands at character 3 where an operator should"),
    "NOT": ("NOT a -eq 1", "'a' stands at character 5 where an operator should"),
    "no field": ('"a" -eq 1', "'a' stands at character 1 where the name of a field should"),
    "AND at the beginning": ("AND a -eq 1", "'a' stands at character 5 where an operator should"),
    "AND at the end": ("a -eq 1 AND", "the query ends where the name of a field should"),
    "two values": ('a -eq "1" "2"', "'2' stands at character 11 where AND, OR or the end should"),
    "two comparisons": ("a -eq 1 b -eq 2", "'b' stands at character 9 where AND, OR or the end should"),
    "not closed": ("((a -eq 1)", "the query ends where AND, OR or a closing parenthesis should"),
    "not opened": ("a -eq 1)", "')' stands at character 8 where AND, OR or the end should"),
    "empty parentheses": ("()", "')' stands at character 2 where the name of a field should"),
    "quotes that are not closed": ('a -eq "1', "the quotes that open at character 7 are not closed"),
    "a backslash before the last quote": ('a -eq "C:\\"', "a backslash at the end of a text is doubled"),
    "NUL": ('a -eq "\0"', "NUL"),
    "half of a surrogate": ('a -eq "\ud800"', "surrogate"),
    "too long": (
        "a" * (LONGEST + 1),
        f"it has {LONGEST + 1} characters, and {LONGEST} at the most are taken",
    ),
    "too deep": ("(" * (DEEPEST + 1) + "a -eq 1" + ")" * (DEEPEST + 1), f"more than {DEEPEST} deep"),
    "too many": (" OR ".join(["a -eq 1"] * (MOST + 1)), f"more than {MOST} comparisons"),
}


@pytest.mark.parametrize("shape", WRONG)
def test_what_is_no_query_is_refused(shape: str) -> None:
    text, message = WRONG[shape]
    with pytest.raises(Refused) as refused:
        parse(text)
    assert refused.value.code is Code.QUERY
    assert refused.value.status == 400
    assert refused.value.detail.startswith("The query cannot be read: ")
    assert message in refused.value.detail


def test_the_largest_query_is_read() -> None:
    parse("(" * DEEPEST + "a -eq 1" + ")" * DEEPEST)
    assert len(parse(" OR ".join(["a -eq 1"] * MOST)).parts) == MOST  # type: ignore[union-attr] # it is a chain
    parse('a -eq "' + "x" * (LONGEST - 8) + '"')


@pytest.mark.parametrize(
    "piece", ["\\", '"', '""', '\\"', "(", ")", "a ", " ", "a -eq ", '"\\\\', "(a -eq 1 OR "]
)
def test_any_query_is_looked_at_in_no_time(piece: str) -> None:
    began = time.process_time()
    for text in (piece * LONGEST, 'a -eq "' + piece * LONGEST):
        with contextlib.suppress(Refused):
            parse(text[:LONGEST])
    assert time.process_time() - began < 0.5


PIECES = st.sampled_from(
    [*('"', "\\", "(", ")", " ", "AND", "OR", "NULL", "a", "1", "%TODAY%"), *(f"-{one}" for one in OPERATORS)]
)


@settings(max_examples=500, deadline=None)
@given(
    st.text(max_size=100)
    | st.lists(PIECES, max_size=40).map(" ".join)
    | st.lists(PIECES, max_size=40).map("".join)
)
def test_any_text_is_a_query_or_is_refused_in_words(text: str) -> None:
    with contextlib.suppress(Refused):
        parse(text)


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50))
def test_any_text_can_be_asked_for(text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    assert parse(f'a -eq "{escaped}"') == Comparison("a", "eq", text)
    doubled = text.replace("\\", "\\\\").replace('"', '""')
    assert parse(f'a -eq "{doubled}"') == Comparison("a", "eq", text)


def test_conditions_hold_of_values_in_memory() -> None:
    values = {"name": "Order 1", "kind": None, "open": True}
    for text, expected in {
        'name -eq "order 1"': True,
        'name -ne "order 1"': False,
        'name -contains "DER" AND name -startswith "o" AND name -endswith "1"': True,
        'name -notcontains "x" OR kind -eq "x"': True,
        "kind -eq NULL": True,
        "kind -ne NULL": False,
        'kind -ne "a"': True,
        'kind -contains "a"': False,
        'kind -notcontains "a"': True,
        'name -gt "order 0" AND name -lt "order 2" AND name -ge "order 1" AND name -le "order 1"': True,
        "kind -lt 1": False,
    }.items():
        assert holds(parse(text), values) is expected, text
