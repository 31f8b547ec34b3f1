"""What a workflow asks for when it is started, read out of its input schema.

A schema is whatever its author wrote: nothing here trusts its form, and every function answers for any JSON value.
"""

import copy
from typing import Any, Final, Literal
from urllib.parse import unquote

import msgspec

DataType = Literal["string", "number", "boolean", "object", "array"]

DATA_TYPES: Final[dict[str, DataType]] = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "object": "object",
    "array": "array",
}
KEYWORD_TYPES: Final[dict[str, DataType]] = {
    "properties": "object",
    "items": "array",
    "pattern": "string",
    "format": "string",
}
"""What a property without `type` is most likely, by the keywords it has."""
REFERENCE_LIMIT: Final = 32
"""References and alternatives that are followed one after the other; longer chains are circles in practice."""
EXACT_INTEGER: Final = 2**53
"""Floats up to here are exact; a larger one stays as the caller sent it."""


class TriggerField(msgspec.Struct, frozen=True):
    """One input of a workflow, as the form that starts it shows it."""

    name: str
    data_type: DataType
    default: Any = msgspec.UNSET
    required: bool = False
    title: str | None = None
    description: str | None = None


def trigger_fields(schema: Any | None) -> list[TriggerField]:
    """The inputs that a workflow with this input schema asks for, in the schema's order.

    No schema, or one that is not about an object, asks for nothing and takes any object.
    """
    required = names_in(resolved(schema, schema).get("required"))
    return [
        field(name, child, schema, required=name in required) for name, child in properties(schema).items()
    ]


def with_defaults(schema: Any | None, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs as a workflow gets them: top-level defaults filled in, and 3.0 as 3 where an integer is meant.

    Clients written in languages with one number type send integers as 3.0, which JSON Schema accepts and which text made
    from it should not show.
    """
    filled = dict(inputs)
    for name, child in properties(schema).items():
        default = child.get("default")
        if name not in filled:
            if default is not None:
                filled[name] = copy.deepcopy(default)
        elif means_integer(child):
            filled[name] = as_integer(filled[name])
    return filled


def field(name: str, schema: dict[str, Any], root: Any, *, required: bool) -> TriggerField:
    """One property as a trigger field; what has a default is never required."""
    default = schema.get("default")
    return TriggerField(
        name=name,
        data_type=data_type(schema, root),
        default=msgspec.UNSET if default is None else default,
        required=required and default is None,
        title=text_or_none(schema.get("title")),
        description=text_or_none(schema.get("description")),
    )


def properties(schema: Any) -> dict[str, dict[str, Any]]:
    """The top-level properties of an object schema, references resolved."""
    top = resolved(schema, schema)
    children = top.get("properties")
    if not isinstance(children, dict) or "object" not in names_in(top.get("type", "object")):
        return {}
    return {name: resolved(child, schema) for name, child in children.items()}


def resolved(schema: Any, root: Any) -> dict[str, Any]:
    """A schema with the references at its top replaced by what they refer to; keywords beside a reference win."""
    beside: dict[str, Any] = {}
    for _ in range(REFERENCE_LIMIT):
        if not isinstance(schema, dict):
            return beside
        beside = {**schema, **beside}
        reference = beside.pop("$ref", None)
        if not isinstance(reference, str):
            return beside
        schema = target(reference, root)
    return beside


def target(reference: str, root: Any) -> Any:
    """What a local reference points at; None for every other reference."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    found = root
    for part in unquote(reference).split("/")[1:]:
        found = child_of(found, part.replace("~1", "/").replace("~0", "~"))
    return found


def child_of(value: Any, key: str) -> Any:
    """One step of a JSON Pointer."""
    if isinstance(value, dict):
        return value.get(key)
    if (
        isinstance(value, list)
        and key.isascii()
        and key.isdecimal()
        and len(key) < 10
        and int(key) < len(value)
    ):
        return value[int(key)]
    return None


def data_type(schema: dict[str, Any], root: Any) -> DataType:
    """The one type that stands for a property: its first that is not null, or else the likeliest."""
    for _ in range(REFERENCE_LIMIT):
        found = declared_type(schema) or type_of_example(schema) or type_by_keyword(schema)
        if found is not None:
            return found
        schema = resolved(first_alternative(schema), root)
    return "string"


def declared_type(schema: dict[str, Any]) -> DataType | None:
    """The type that `type` names first, null aside."""
    return next((DATA_TYPES[name] for name in names_in(schema.get("type")) if name in DATA_TYPES), None)


def type_of_example(schema: dict[str, Any]) -> DataType | None:
    """The type of the value that a schema prescribes or proposes."""
    options = schema.get("enum")
    values = [schema.get("const"), *(options if isinstance(options, list) else ()), schema.get("default")]
    return next((type_of(value) for value in values if value is not None), None)


def type_of(value: Any) -> DataType:
    """The type of a JSON value other than null."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "object"
    return "array" if isinstance(value, list) else "number"


def type_by_keyword(schema: dict[str, Any]) -> DataType | None:
    """The type that the first telling keyword is about."""
    return next((meant for keyword, meant in KEYWORD_TYPES.items() if keyword in schema), None)


def first_alternative(schema: dict[str, Any]) -> Any:
    """The first member of `anyOf` or `oneOf` that is not just null."""
    for keyword in ("anyOf", "oneOf"):
        members = schema.get(keyword)
        if isinstance(members, list):
            return next((member for member in members if not is_null_schema(member)), None)
    return None


def is_null_schema(schema: Any) -> bool:
    """Whether a schema accepts null and nothing else."""
    return isinstance(schema, dict) and schema.get("type") == "null"


def means_integer(schema: dict[str, Any]) -> bool:
    """Whether the numbers of a property are integers."""
    names = names_in(schema.get("type"))
    return "integer" in names and "number" not in names


def as_integer(value: Any) -> Any:
    """3 for 3.0; anything else as it is."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_INTEGER:
        return int(value)
    return value


def names_in(value: Any) -> list[str]:
    """The names in a keyword that holds one or several."""
    if isinstance(value, str):
        return [value]
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def text_or_none(value: Any) -> str | None:
    """A title or description, if it is one."""
    return value if isinstance(value, str) else None
