"""Checks trigger inputs: what PostgreSQL and JSON readers can hold, then what the definition's input schema says."""

from typing import Any
from uuid import UUID

import msgspec

from auth.bearer import Access
from service.engine.definitions import definition_of, remembered
from service.language.document import Definition
from service.language.expressions import ExpressionFailure
from service.language.inputs import with_defaults
from service.language.sandbox import Sandbox, Violation
from tenancy.errors import FieldError

LONGEST_NAME = 255
# Arrays and objects in one another. An answer holds them up to four levels deep, and common JSON readers stop at 64.
DEEPEST_VALUE = 60
# The largest integer that every SDK, jq and JSON reader of doubles takes for what it is.
LARGEST_INTEGER = 2**53 - 1
NUL = "\0"
NO_NUL = "must not contain the NUL character (U+0000)"


class Checked(msgspec.Struct, frozen=True):
    """Inputs with the schema's defaults, held against one version's definition; fit to start if there are no errors."""

    definition: Definition
    inputs: dict[str, Any]
    errors: tuple[FieldError, ...]


def is_cheap(version_id: UUID) -> bool:
    """Say whether a version's definition is at hand and its schema can be checked without the sandbox."""
    kept = remembered(version_id)
    return kept is not None and kept.tame


async def check(
    access: Access, sandbox: Sandbox, version_id: UUID, name: str, inputs: dict[str, Any]
) -> Checked:
    """Complete inputs with a version's defaults, and list what is wrong with them, one entry for each field.

    What could not be stored is not held against the schema: a value that no reader can hold has no type either.
    """
    kept = remembered(version_id)
    if kept is not None:
        definition = kept.definition
    else:
        async with access.rows():
            definition = await definition_of(version_id)
    complete = with_defaults(definition.input_schema, inputs)
    errors = unstorable(name, complete) or await violations(access, sandbox, definition, complete)
    return Checked(definition, complete, tuple(errors))


async def violations(
    access: Access, sandbox: Sandbox, definition: Definition, inputs: dict[str, Any]
) -> list[FieldError]:
    """List where inputs do not fit the definition's schema."""
    if definition.input_schema is None:
        return []
    found = await sandbox.validate(access.account_id, definition.input_schema, inputs)
    if isinstance(found, ExpressionFailure):
        return [FieldError("SCHEMA_LIMIT", f"{found.title}: {found.detail}")]
    return [one for violation in found for one in named(violation, inputs)]


def named(violation: Violation, inputs: dict[str, Any]) -> list[FieldError]:
    """Name the fields that a violation is about: the one that is missing, each one that is unknown, or the wrong value."""
    code = "FIELD_REQUIRED" if violation.keyword == "required" else "FIELD_INVALID"
    return [
        FieldError(code, violation.message, "/".join(map(str, ("trigger_inputs", *violation.path, *field))))
        for field in about(violation, inputs)
    ]


def about(violation: Violation, inputs: dict[str, Any]) -> list[tuple[str, ...]]:
    """Say which fields below its place a violation is about; the validator tells their names in its message alone."""
    if violation.keyword == "required":
        name, end, _ = violation.message.rpartition(" is a required property")
        return [(msgspec.json.decode(name, type=str),)] if end else [()]
    if violation.keyword in ("additionalProperties", "unevaluatedProperties"):
        place: Any = inputs
        for step in violation.path:
            place = place[step]
        return [(name,) for name in place if f"'{name}'" in violation.message] or [()]
    return [()]


def unstorable(name: str, inputs: dict[str, Any]) -> list[FieldError]:
    """List what of a trigger cannot be stored or read back; a name that is empty or too long is among it."""
    errors = unstorable_fields(inputs, "trigger_inputs/")
    if NUL in name:
        errors.append(FieldError("FIELD_INVALID", NO_NUL, "instance_name"))
    if not 1 <= len(name) <= LONGEST_NAME:
        errors.append(
            FieldError("FIELD_INVALID", f"must have 1 to {LONGEST_NAME} characters", "instance_name")
        )
    return errors


def unstorable_fields(fields: dict[str, Any], place: str = "") -> list[FieldError]:
    """List the fields of an object that cannot be stored, each once."""
    return [
        FieldError("FIELD_INVALID", problem, place + field)
        for field, value in fields.items()
        if (problem := NO_NUL if NUL in field else flaw(value)) is not None
    ]


def flaw(value: Any) -> str | None:
    """Say what of a JSON value PostgreSQL or JSON readers cannot hold: NUL characters, huge integers, depth."""
    waiting = [(value, 1)]
    while waiting:
        node, depth = waiting.pop()
        if isinstance(node, str) and NUL in node:
            return NO_NUL
        if isinstance(node, int) and abs(node) > LARGEST_INTEGER:
            return f"must not contain integers beyond {LARGEST_INTEGER}; send a string"
        if isinstance(node, dict | list):
            if depth > DEEPEST_VALUE:
                return f"must not be nested more than {DEEPEST_VALUE} levels deep"
            parts = [*node, *node.values()] if isinstance(node, dict) else node
            waiting.extend((part, depth + 1) for part in parts)
    return None
