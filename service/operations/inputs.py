"""Checks trigger inputs: what PostgreSQL and JSON readers can hold, then what the definition's input schema says."""

from typing import Any
from uuid import UUID

import msgspec

from auth.bearer import Access
from auth.roles import Right
from service.engine.definitions import definition_of, remembered
from service.language.document import Definition
from service.language.expressions import ExpressionFailure
from service.language.inputs import with_defaults
from service.language.questions import Violation
from service.language.sandbox import Sandbox
from service.language.values import NO_NUL, NUL, flaw
from tenancy.errors import FieldError

LONGEST_NAME = 255


class Checked(msgspec.Struct, frozen=True):
    """Inputs with the schema's defaults, held against one version's definition; fit to start if there are no errors."""

    version_id: UUID
    definition: Definition
    inputs: dict[str, Any]
    errors: tuple[FieldError, ...]


def checked_at_once(sandbox: Sandbox, version_id: UUID, name: str, inputs: dict[str, Any]) -> Checked | None:
    """Check inputs against a version that is at hand, for a caller who has not proved anything yet.

    None where that would take the sandbox or a look into the database, or where the inputs do not fit: what is wrong with
    them is for callers to know who have proved who they are.
    """
    kept = remembered(version_id)
    if kept is None or not kept.tame:
        return None
    complete = with_defaults(kept.definition.input_schema, inputs)
    schema = kept.definition.input_schema
    if unstorable(name, complete) or (schema is not None and not sandbox.fits(schema, complete)):
        return None
    return Checked(version_id, kept.definition, complete, ())


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
        async with access.rows(Right.START):
            definition = await definition_of(version_id)
    complete = with_defaults(definition.input_schema, inputs)
    errors = unstorable(name, complete) or await violations(access, sandbox, definition, complete)
    return Checked(version_id, definition, complete, tuple(errors))


async def violations(
    access: Access, sandbox: Sandbox, definition: Definition, inputs: dict[str, Any]
) -> list[FieldError]:
    """List where inputs do not fit the definition's schema."""
    if definition.input_schema is None:
        return []
    found = await sandbox.validate(access.account_id, definition.input_schema, inputs)
    if isinstance(found, ExpressionFailure):
        return [FieldError("SCHEMA_LIMIT", f"{found.title}: {found.detail}")]
    return [named(violation) for violation in found]


def named(violation: Violation, place: str = "trigger_inputs") -> FieldError:
    """Name the field that a violation is about, below the member of the request that holds them."""
    code = "FIELD_REQUIRED" if violation.keyword == "required" else "FIELD_INVALID"
    return FieldError(code, violation.message, "/".join(map(str, (place, *violation.path))))


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
