"""Whatever is sent as a definition, it is one or it is refused, and soon."""

import copy
import json
from collections.abc import Iterator
from time import process_time
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.language import people
from service.language.document import Definition, DocumentRefused
from service.language.reading import read
from service.language.secrets import names_used
from service.language.texts import TEXT_LIMIT, parse_json, parse_yaml
from tests.language.definitions import workflow
from tests.language.test_whole import TEXT

SLOW = 2.0  # seconds; a definition of the greatest size takes a fraction, on a machine that others use too
WHOLE = parse_yaml(TEXT)


def nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each collection inside a value with each of its keys."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from nodes(inner)


WORDS = st.sampled_from(
    sorted(
        {key for parent, key in nodes(WHOLE) if isinstance(parent, dict)}
        | {value for parent, key in nodes(WHOLE) if isinstance(value := parent[key], str)}
        | {
            "resource",
            "grant",
            "basic",
            "digest",
            "oauth2",
            "oidc",
            "authority",
            "client",
            "certificate",
            "grpc",
        }
        | {
            "details",
            "data",
            "data_base64",
            "end",
            "exit",
            "continue",
            "constant",
            "raw",
            "",
            "${",
            "${}",
        }
        | {
            "container",
            "return",
            "extensions",
            "catalogs",
            "evaluate",
            "any",
            "all",
            "label",
            "comment",
            "every",
        }
    )
)
SCALARS = WORDS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=40,
)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A definition with everything in it, some of which was taken away, put elsewhere or replaced."""
    document = copy.deepcopy(WHOLE)
    for _ in range(draw(st.integers(1, 4))):
        places = list(nodes(document))
        parent, key = draw(st.sampled_from(places))
        other_parent, other = draw(st.sampled_from(places))
        match draw(st.sampled_from(["remove", "replace", "move", "rename"])):
            case "remove":
                del parent[key]
            case "replace":
                parent[key] = draw(DOCUMENTS)
            case "move":
                parent[key] = copy.deepcopy(other_parent[other])
            case "rename" if isinstance(parent, dict):
                parent[draw(WORDS)] = parent.pop(key)
    return document


def assert_read_or_refused(document: Any) -> None:
    start = process_time()
    try:
        outcome: Definition | DocumentRefused = read(document)
    except DocumentRefused as refused:
        outcome = refused
        assert refused.problems  # noqa: PT017 - either outcome is right
    assert process_time() - start < SLOW
    if isinstance(outcome, DocumentRefused):
        msgspec.json.encode(outcome.problems)
        assert len(outcome.problems) <= 100
    else:
        assert isinstance(outcome, Definition)


@given(st.binary(max_size=200) | DOCUMENTS.map(lambda value: json.dumps(value).encode()))
@example(b"%YAML 1.1\n--- x")
@example(b"%TAG ! tag:x,2000:\n--- !y z")
@example(b"? a\n: b")
@example(b"- !<tag:yaml.org,2002:str> 5")
@example(b"0x" + b"f" * 5_000)
@example(b'{"do": [{"a": {"do": [{"b": {"then": "a"}}]}}]}')
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_definition_or_refused(text: bytes) -> None:
    for parse in (parse_json, parse_yaml):
        try:
            document = parse(text)
        except DocumentRefused as refused:
            assert msgspec.json.encode(refused.problems) != b"[]"  # noqa: PT017 - either outcome is right
        else:
            assert_read_or_refused(document)


@given(damaged())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_damage_to_a_definition_is_refused_or_does_no_harm(document: Any) -> None:
    assert_read_or_refused(document)


@given(DOCUMENTS)
@settings(max_examples=200, deadline=None)
def test_any_task_is_read_or_refused(value: Any) -> None:
    assert_read_or_refused(workflow({"a": value}, {"b": {"do": [{"c": value}]}}))


@given(DOCUMENTS)
@settings(max_examples=100, deadline=None)
def test_any_declaration_is_read_or_refused(value: Any) -> None:
    for section in ("authentications", "errors", "functions", "retries", "timeouts"):
        assert_read_or_refused(workflow(use={section: {"x": value}}))
    assert_read_or_refused(workflow(use=value, schedule=value, timeout=value))


@given(
    DOCUMENTS, st.dictionaries(st.sampled_from([*people._BOTH, "outcomes", "minimum", "overdue"]), DOCUMENTS)
)
@settings(max_examples=200, deadline=None)
def test_any_arguments_are_a_request_or_have_problems(value: Any, fields: Any) -> None:
    for arguments in (value, fields):
        for kind in ("approval", "form"):
            if not people.asked(kind, arguments):
                assert people.request(kind, arguments).title
            people.asked_literally(kind, arguments)


@given(JSON_VALUES)
@settings(max_examples=200, deadline=None)
def test_json_text_gives_the_value_that_was_written(value: Any) -> None:
    text = json.dumps(value).encode()
    try:
        assert parse_json(text) == value
    except DocumentRefused as refused:
        assert {problem.code for problem in refused.problems} == {"json_invalid"}  # noqa: PT017


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_has_its_secrets_named(text: str) -> None:
    assert all(name is None or name in text for name in names_used(text))


def fork_of(number: int) -> dict[str, Any]:
    return {"fork": {"branches": [{f"b{n}": {"set": "."}} for n in range(number)]}}


HUGE: dict[str, Any] = {
    "blanks after a secret": {"set": {"x": "${ $secrets" + " " * 250_000 + "}"}},
    "an input of blanks": {
        "call": "http",
        "with": {"method": "get", "endpoint": "https://e.com"},
        "input": {"from": "$secrets" + " " * 250_000},
    },
    "secrets upon secrets": {
        "call": "http",
        "with": {"method": "get", "endpoint": "https://e.com", "body": ['${ $secrets["$secrets[ }'] * 8_000},
    },
    "an endpoint of braces": {
        "call": "http",
        "with": {"method": "get", "endpoint": "https://e.com/" + "{" * 250_000},
    },
    "an endpoint of names": {
        "call": "http",
        "with": {"method": "get", "endpoint": "https://e.com/" + "{a}" * 80_000},
    },
    "an authority of names": {
        "call": "http",
        "with": {
            "method": "get",
            "endpoint": {
                "uri": "https://e.com",
                "authentication": {"oidc": {"authority": "https://e.com/" + "{a}" * 80_000, "grant": "x"}},
            },
        },
    },
    "a cron of digits": {"set": "1" * 250_000},
    "a long list of outcomes": {"call": "approval", "with": {"title": "x", "outcomes": ["a"] * 50_000}},
    "long lists of assignees": {
        "call": "approval",
        "with": {"title": "x", "assignees": {"users": ["a"] * 50_000}},
    },
    "many branches": fork_of(8_000),
    "many filters": {"listen": {"to": {"any": [{"with": {"type": "x"}}] * 9_000}}},
    "many headers": {
        "call": "http",
        "with": {
            "method": "get",
            "endpoint": "https://e.com",
            "headers": {f"h{n}": "" for n in range(20_000)},
        },
    },
    "many loops with long names": {
        "fork": {
            "branches": [
                {
                    f"b{n}": {
                        "for": {"in": ".", "each": "x" * 64, "at": "y" * 64},
                        "do": [{"c": {"set": ".x"}}],
                    }
                }
                for n in range(50)
            ]
        }
    },
}


@pytest.mark.parametrize("name", sorted(HUGE))
def test_a_definition_of_the_greatest_size_is_read_soon(name: str) -> None:
    document = workflow({"a": HUGE[name]}, schedule={"cron": "1" * 250_000})
    assert len(json.dumps(document)) < 3 * TEXT_LIMIT
    assert_read_or_refused(document)


def test_a_policy_that_is_read_for_each_of_many_names_takes_no_longer() -> None:
    use = {"retries": {"p": {"when": "." + "x" * 8_000, "exceptWhen": "." + "x" * 8_000}}}
    tasks = [{f"t{n}": {"try": [], "catch": {"as": f"e{n}", "retry": "p"}}} for n in range(500)]
    assert_read_or_refused(workflow(*tasks, use=use))
