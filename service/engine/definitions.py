"""Definitions by version, read once and kept: a stored version never changes, so the cache cannot go stale."""

from collections import OrderedDict
from uuid import UUID

import msgspec

from service.language.document import Definition
from service.language.reading import read
from service.language.sandbox import is_tame
from service.tables import WorkflowVersion

KEPT = 500  # at most 256 KiB of text each, commonly 2


class Kept(msgspec.Struct, frozen=True):
    """A definition, and whether its input schema costs so little that it is checked outside the sandbox."""

    definition: Definition
    tame: bool


_kept: OrderedDict[UUID, Kept] = OrderedDict()
_published: OrderedDict[tuple[UUID, UUID], UUID] = OrderedDict()


def remembered(version_id: UUID) -> Kept | None:
    """Return a definition that this process has read before."""
    found = _kept.get(version_id)
    if found is not None:
        _kept.move_to_end(version_id)
    return found


async def definition_of(version_id: UUID) -> Definition:
    """Return a version's definition, inside a transaction on its account's rows."""
    found = remembered(version_id)
    if found is None:
        rows = await WorkflowVersion.raw(
            "SELECT document FROM workflow_version WHERE id = {}", version_id
        ).run()
        definition = read(msgspec.json.decode(rows[0]["document"]))
        schema = definition.input_schema
        found = _kept[version_id] = Kept(definition, schema is None or is_tame(schema))
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    return found.definition


def last_published(account_id: UUID, workflow_id: UUID) -> UUID | None:
    """Return the version of a workflow that this process last saw published: a guess, which its user must verify."""
    return _published.get((account_id, workflow_id))


def remember_published(account_id: UUID, workflow_id: UUID, version_id: UUID) -> None:
    """Keep the guess for the workflow's next trigger."""
    _published[account_id, workflow_id] = version_id
    while len(_published) > KEPT:
        _published.popitem(last=False)
