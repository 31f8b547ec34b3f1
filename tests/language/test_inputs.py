"""What a workflow asks for when it is started."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from service.language.inputs import TriggerField, trigger_fields, with_defaults

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["who", "times"],
    "properties": {
        "who": {"type": "string", "title": "Who", "description": "Whom to greet"},
        "times": {"type": "integer", "default": 1},
        "polite": {"$ref": "#/$defs/yes~1no"},
        "lines": {"type": ["null", "array"], "default": None},
    },
    "$defs": {"yes/no": {"type": "boolean", "default": False}},
}


def types(properties: dict[str, Any], **beside: Any) -> list[str]:
    return [field.data_type for field in trigger_fields({"properties": properties, **beside})]


def test_the_fields_are_the_top_level_properties_in_their_order() -> None:
    assert trigger_fields(SCHEMA) == [
        TriggerField("who", "string", required=True, title="Who", description="Whom to greet"),
        TriggerField("times", "number", default=1),
        TriggerField("polite", "boolean", default=False),
        TriggerField("lines", "array", default=msgspec.UNSET),
    ]


@pytest.mark.parametrize(
    ("schema", "data_type"),
    [
        ({"type": "string"}, "string"),
        ({"type": "number"}, "number"),
        ({"type": "integer"}, "number"),
        ({"type": "boolean"}, "boolean"),
        ({"type": "object"}, "object"),
        ({"type": "array"}, "array"),
        ({"type": ["null", "integer"]}, "number"),
        ({"type": "null"}, "string"),
        ({"type": "unheard of", "const": 3}, "number"),
        ({"const": 1.5}, "number"),
        ({"enum": [None, True]}, "boolean"),
        ({"default": {}}, "object"),
        ({"default": []}, "array"),
        ({"const": "a"}, "string"),
        ({"properties": {}}, "object"),
        ({"items": True}, "array"),
        ({"format": "date"}, "string"),
        ({"anyOf": [{"type": "null"}, {"type": "array"}]}, "array"),
        ({"oneOf": [{"$ref": "#/$defs/flag"}]}, "boolean"),
        ({"anyOf": []}, "string"),
        ({"anyOf": {}}, "string"),
        ({"$ref": "#/$defs/list/1"}, "array"),
        ({"$ref": "#/$defs/list/9"}, "string"),
        ({"$ref": "#/$defs/list/x"}, "string"),
        ({"$ref": "#/$defs/flag/type/deeper"}, "string"),
        ({"$ref": "#/%24defs/flag"}, "boolean"),
        ({"$ref": "#anchor"}, "string"),
        ({"$ref": "https://example.com"}, "string"),
        ({"$ref": "#/$defs/loop"}, "string"),
        ({"$ref": "#/$defs/endless"}, "string"),
        ({"$ref": "#/$defs/flag", "type": "number"}, "number"),
        (True, "string"),
        ([], "string"),
    ],
)
def test_each_property_has_the_likeliest_type(schema: Any, data_type: str) -> None:
    definitions = {
        "flag": {"type": "boolean"},
        "list": [{}, {"type": "array"}],
        "loop": {"$ref": "#/$defs/loop"},
        "endless": {"anyOf": [{"$ref": "#/$defs/endless"}]},
    }
    assert types({"field": schema}, **{"$defs": definitions}) == [data_type]


@pytest.mark.parametrize(
    "schema", [None, True, False, {}, {"type": "array"}, {"type": "string", "properties": {"a": {}}}, [], "x"]
)
def test_what_is_no_object_schema_asks_for_nothing(schema: Any) -> None:
    assert trigger_fields(schema) == []
    assert with_defaults(schema, {"any": 1}) == {"any": 1}


def test_the_schema_itself_may_be_a_reference() -> None:
    schema = {
        "$ref": "#/$defs/all",
        "$defs": {"all": {"type": ["object", "null"], "properties": {"a": {"default": 1}}}},
    }
    assert trigger_fields(schema) == [TriggerField("a", "number", default=1)]
    assert with_defaults(schema, {}) == {"a": 1}


def test_defaults_fill_what_is_absent_and_nothing_else() -> None:
    assert with_defaults(SCHEMA, {"who": "you"}) == {"who": "you", "times": 1, "polite": False}
    given_values: dict[str, Any] = {"who": None, "times": None, "polite": True, "more": 1}
    assert with_defaults(SCHEMA, given_values) == given_values


def test_a_filled_in_default_is_a_copy() -> None:
    schema: Any = {"properties": {"list": {"default": [[]]}}}
    with_defaults(schema, {})["list"][0].append(1)
    assert with_defaults(schema, {}) == {"list": [[]]}


@pytest.mark.parametrize(
    ("schema", "sent", "kept"),
    [
        ({"type": "integer"}, 3.0, 3),
        ({"type": ["integer", "null"]}, -3.0, -3),
        ({"type": "integer"}, 3.5, 3.5),
        ({"type": "integer"}, 1e300, 1e300),
        ({"type": "integer"}, float("inf"), float("inf")),
        ({"type": "integer"}, True, True),
        ({"type": "integer"}, "3.0", "3.0"),
        ({"type": "number"}, 3.0, 3.0),
        ({"type": ["integer", "number"]}, 3.0, 3.0),
        ({}, 3.0, 3.0),
    ],
)
def test_only_what_is_meant_as_an_integer_becomes_one(schema: Any, sent: Any, kept: Any) -> None:
    found = with_defaults({"properties": {"field": schema}}, {"field": sent})["field"]
    assert found == kept
    assert type(found) is type(kept)


words = some.sampled_from(
    [
        "$ref",
        "$defs",
        "a",
        "type",
        "properties",
        "required",
        "default",
        "enum",
        "const",
        "anyOf",
        "oneOf",
        "items",
        "format",
    ]
)
texts = some.sampled_from(
    ["#", "#/", "#/a", "#/properties/a", "#/$defs/a/0", "object", "integer", "null", "~2", "#/%ff"]
)
anything = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | texts,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(words, inner, max_size=5),
    max_leaves=20,
)


@given(anything, some.dictionaries(words, anything, max_size=3))
def test_any_json_value_may_stand_for_a_schema(schema: Any, inputs: dict[str, Any]) -> None:
    for about in (schema, {"properties": schema}, {"properties": {"a": schema}}):
        assert all(
            field.data_type in {"string", "number", "boolean", "object", "array"}
            for field in trigger_fields(about)
        )
        assert set(inputs) <= set(with_defaults(about, inputs))
