"""Writes workflows and their versions in the open transaction of an operation: what the dialects have in common."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from asyncpg import UniqueViolationError
from uuid_utils.compat import uuid7

from auth.bearer import Caller
from service.engine import schedules
from service.engine.events import Subject, record
from service.engine.schedules import Activation
from service.errors import DefinitionRefused, WorkflowConflict
from service.language.document import Definition
from service.language.errors import Problem
from service.limits import space
from service.tables import DefinitionKey, Workflow, WorkflowVersion
from tenancy.errors import NotFound
from tenancy.events import differences

DETAIL = """
SELECT workflow.*, version.version, version.document, version.warnings, version.published_at, active.version AS active_version
FROM workflow
JOIN workflow_version AS version ON version.id = workflow.latest_version_id
LEFT JOIN workflow_version AS active ON active.id = workflow.active_version_id
"""


class Draft(msgspec.Struct, frozen=True):
    """A definition that has been read and checked, with the author's own text."""

    definition: Definition
    text: str
    text_format: str
    warnings: tuple[Problem, ...]


class Stored(msgspec.Struct, frozen=True):
    """A workflow's row joined with its newest version, and what was found odd when that was stored."""

    row: dict[str, Any]
    warnings: list[Problem]


async def row_of(workflow_id: UUID) -> dict[str, Any]:
    """Read a workflow's row.

    Raises:
        NotFound: no such workflow.
    """
    row = await Workflow.select().where(Workflow.id == workflow_id).first().run()
    if row is None:
        raise NotFound
    return row


async def locked(workflow_id: UUID) -> dict[str, Any]:
    """Read a workflow's row and keep everybody else from changing it.

    Raises:
        NotFound: no such workflow.
    """
    rows = await Workflow.raw("SELECT * FROM workflow WHERE id = {} FOR UPDATE", workflow_id).run()
    if not rows:
        raise NotFound
    return dict(rows[0])


async def detail(workflow_id: UUID) -> Stored:
    """Read a workflow with its newest version.

    Raises:
        NotFound: no such workflow.
    """
    rows = await Workflow.raw(DETAIL + "WHERE workflow.id = {}", workflow_id).run()
    if not rows:
        raise NotFound
    row = dict(rows[0])
    return Stored(row, msgspec.json.decode(row["warnings"], type=list[Problem]))


async def named(definition: Definition) -> dict[str, Any] | None:
    """Find the workflow of a definition's namespace and name."""
    where = (Workflow.namespace == definition.namespace) & (Workflow.name == definition.name)
    found: dict[str, Any] | None = (
        await Workflow.select(Workflow.id, Workflow.status).where(where).first().run()
    )
    return found


async def insert(caller: Caller, new: Draft, workflow_id: UUID | None = None) -> UUID:
    """Store a new workflow with its first version, unpublished; return its id.

    Raises:
        WorkflowConflict: the account has a workflow of this namespace and name.
    """
    workflow = Workflow(
        id=workflow_id or uuid7(),
        account_id=caller.account_id,
        namespace=new.definition.namespace,
        name=new.definition.name,
        title=new.definition.title or new.definition.name,
        trigger_id=uuid7(),
        created_by=caller.id,
        modified_by=caller.id,
    )
    try:
        await Workflow.insert(workflow).run()
    except UniqueViolationError:
        raise WorkflowConflict("The account has a workflow of this namespace and name already.") from None
    created = {"namespace": workflow.namespace, "name": workflow.name, "status": "inactive"}
    await record(Subject(caller.account_id, workflow.id), "workflow.created", caller.id, after=created)
    await insert_version(caller, workflow.id, 1, new)
    return UUID(str(workflow.id))


async def insert_version(caller: Caller, workflow_id: UUID, number: int, new: Draft) -> None:
    """Store a version, unpublished, which becomes the newest one."""
    space.refuse_storing(caller.account_id)
    version = WorkflowVersion(
        id=uuid7(),
        account_id=caller.account_id,
        workflow_id=workflow_id,
        number=number,
        version=new.definition.version,
        document=msgspec.json.encode(new.definition.document).decode(),
        source=new.text,
        source_format=new.text_format,
        warnings=msgspec.json.encode(new.warnings).decode(),
        created_by=caller.id,
    )
    await WorkflowVersion.insert(version).run()
    title = new.definition.title or new.definition.name
    version_name = {"version": new.definition.version}
    await change(
        caller,
        workflow_id,
        "workflow.version-stored",
        version_name,
        latest_version_id=version.id,
        title=title,
    )


async def put_version(caller: Caller, row: dict[str, Any], new: Draft) -> None:
    """Store a version of a workflow, which is locked, in place of the unpublished one of its name; the same one changes nothing.

    Raises:
        DefinitionRefused: the document is another workflow's.
        WorkflowConflict: the workflow is archived, or the version is published with other content.
    """
    if row["status"] == "archived":
        raise WorkflowConflict("An archived workflow takes no new versions; create it under another name.")
    misnamed = [
        Problem(
            "bad_value", f"This workflow's {field} is {row[field]!r} and cannot change.", f"/document/{field}"
        )
        for field in ("namespace", "name")
        if getattr(new.definition, field) != row[field]
    ]
    if misnamed:
        raise DefinitionRefused(misnamed)
    same = await same_version(row["id"], new.definition.version)
    if same is not None and msgspec.json.decode(same["document"]) == new.definition.document:
        if same["id"] != row["latest_version_id"]:
            raise WorkflowConflict(
                f"Version {new.definition.version} is an older one; give the document a new version."
            )
        return
    if same is not None and same["published_at"] is not None:
        raise WorkflowConflict(
            f"Version {new.definition.version} is published and cannot change; give the document a new version."
        )
    if same is not None:
        await delete_draft(row, same["id"])
    number = await WorkflowVersion.raw(
        "SELECT coalesce(max(number), 0) + 1 AS next FROM workflow_version WHERE workflow_id = {}", row["id"]
    ).run()
    await insert_version(caller, row["id"], number[0]["next"], new)


async def same_version(workflow_id: UUID, version: str) -> dict[str, Any] | None:
    """Find a version by its name."""
    where = (WorkflowVersion.workflow_id == workflow_id) & (WorkflowVersion.version == version)
    found: dict[str, Any] | None = await WorkflowVersion.select().where(where).first().run()
    return found


async def delete_draft(row: dict[str, Any], version_id: UUID) -> None:
    """Remove a draft that is stored anew under the same version; no instance can refer to it."""
    if row["latest_version_id"] == version_id:
        await Workflow.update({Workflow.latest_version_id: None}).where(Workflow.id == row["id"]).run()
    await WorkflowVersion.delete().where(WorkflowVersion.id == version_id).run()


async def make_active(caller: Caller, row: dict[str, Any], version_id: UUID | None = None) -> None:
    """Publish a version of a workflow, which is locked: the newest one unless another is named.

    Raises:
        WorkflowConflict: the workflow is archived.
    """
    if row["status"] == "archived":
        raise WorkflowConflict("An archived workflow cannot be published; create it under another name.")
    version_id = version_id or row["latest_version_id"]
    published = await WorkflowVersion.raw(
        "UPDATE workflow_version SET published_at = coalesce(published_at, clock_timestamp()) WHERE id = {}"
        " RETURNING published_at",
        version_id,
    ).run()
    await change(caller, row["id"], "workflow.published", status="active", active_version_id=version_id)
    await schedules.activate(
        Activation(
            account_id=caller.account_id,
            workflow_id=row["id"],
            version_id=version_id,
            at=published[0]["published_at"],
            by=caller.id,
            by_name=caller.name,
        )
    )


async def set_paused(caller: Caller, row: dict[str, Any], *, paused: bool) -> None:
    """Stop new instances of a workflow, which is locked, or allow them again."""
    await change(caller, row["id"], "workflow.paused" if paused else "workflow.resumed", paused=paused)
    await schedules.pause(caller.account_id, row["id"], paused=paused)


async def retire(caller: Caller, row: dict[str, Any]) -> None:
    """Archive a workflow, which is locked; what it was for another may be for from now on.

    Raises:
        WorkflowConflict: it is archived already.
    """
    if row["status"] == "archived":
        raise WorkflowConflict("The workflow is archived already.")
    await change(caller, row["id"], "workflow.archived", status="archived", paused=False)
    await schedules.delete(caller.account_id, row["id"])
    await DefinitionKey.delete().where(DefinitionKey.workflow_id == row["id"]).run()


async def change(
    caller: Caller, workflow_id: UUID, kind: str, data: dict[str, Any] | None = None, **values: object
) -> None:
    """Update a workflow's row, which is locked or new, and record the event that says what it was and is."""
    columns = [getattr(Workflow, name) for name in values]
    before = await Workflow.select(*columns).where(Workflow.id == workflow_id).first().run()
    changed = {getattr(Workflow, name): value for name, value in values.items()}
    changed |= {Workflow.modified_by: caller.id, Workflow.modified_at: datetime.now(UTC)}
    await Workflow.update(changed).where(Workflow.id == workflow_id).run()
    change = differences(before or {}, values)
    await record(Subject(caller.account_id, workflow_id), kind, caller.id, **change, **(data or {}))
