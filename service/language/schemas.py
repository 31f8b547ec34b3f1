"""Which JSON Schemas are tame enough to be applied in this process."""

import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from service.language.sandbox_worker import validator_of

TAME_KEYWORDS: Final = frozenset(
    {
        *(
            "$schema",
            "$comment",
            "title",
            "description",
            "default",
            "examples",
            "deprecated",
            "readOnly",
            "writeOnly",
        ),
        *("type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "required"),
        *("properties", "additionalProperties", "items", "prefixItems", "format"),
        *("allOf", "anyOf", "oneOf", "not", "if", "then", "else"),
    }
)
"""Keywords whose work is bounded by the size of the schema times the size of the value."""
TAME_SCHEMA: Final = "https://json-schema.org/draft/2020-12/schema"
"""In this draft `format` is only a remark; in older ones it is a check, some of them a pattern's."""
TAME_SCHEMA_BYTES: Final = 16 * 1024
TAME_SCHEMA_NODES: Final = 256
TAME_SCHEMA_DEPTH: Final = 16
TAME_OPTIONS: Final = 100
"""Values of all `enum`s together."""
TAME_PRODUCT = 1_048_576  # bytes of the schema times bytes of the value: some milliseconds at the most
SCHEMA_CACHE: Final = 500


MAPS_OF_SCHEMAS: Final = frozenset({"properties"})
LISTS_OF_SCHEMAS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
SCHEMAS: Final = frozenset({"additionalProperties", "items", "not", "if", "then", "else"})


def is_tame(schema: Any) -> bool:
    """Whether applying a schema to a small value is quick whoever wrote it: no references, no patterns, bounded size."""
    waiting = [(schema, 1)]
    nodes = options = 0
    while waiting:
        node, depth = waiting.pop()
        nodes += 1
        if isinstance(node, bool):
            continue
        if not isinstance(node, dict) or not TAME_KEYWORDS.issuperset(node) or depth > TAME_SCHEMA_DEPTH:
            return False
        options += len(node["enum"]) if isinstance(node.get("enum"), list) else 0
        if (
            nodes > TAME_SCHEMA_NODES
            or options > TAME_OPTIONS
            or node.get("$schema", TAME_SCHEMA) != TAME_SCHEMA
        ):
            return False
        waiting.extend((child, depth + 1) for child in parts(node))
    return True


def parts(schema: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas directly inside a schema; None, which is not tame, for what is no schema."""
    for keyword, value in schema.items():
        if keyword in MAPS_OF_SCHEMAS:
            yield from value.values() if isinstance(value, dict) else [None]
        elif keyword in LISTS_OF_SCHEMAS:
            yield from value if isinstance(value, list) else [None]
        elif keyword in SCHEMAS:
            yield value


def fits(schema: Any, value: Any) -> bool:
    """Whether a value is known to fit a schema; False means that only the sandbox can tell, and say what is wrong.

    Only a tame schema is applied in this process, only where schema times value is small, and only for yes or no: the
    library collects every error there is before it tells the first, which can take seconds.
    """
    try:
        text, size = msgspec.json.encode(schema), len(msgspec.json.encode(value))
        if len(text) > TAME_SCHEMA_BYTES or len(text) * size > TAME_PRODUCT:
            return False
        validator = tame_validator(schema, text)
        return validator is not None and bool(validator.is_valid(value))
    except (UnicodeEncodeError, ValueError, TypeError, RecursionError):
        return False  # no JSON, or nested too deeply: the sandbox says so


validators: OrderedDict[bytes, Any] = OrderedDict()
"""The validators used last, by digest of their schema; None for a schema that is not tame."""


def tame_validator(schema: Any, text: bytes) -> Any | None:
    """The validator of a tame schema, kept or made now."""
    digest = hashlib.sha256(text).digest()
    if digest in validators:
        validators.move_to_end(digest)
        return validators[digest]
    made = None
    if is_tame(schema):
        with contextlib.suppress(ValueError):  # no schema at all: the sandbox says what is wrong with it
            made = validator_of(schema)
    validators[digest] = made
    if len(validators) > SCHEMA_CACHE:
        validators.popitem(last=False)
    return made
