"""What owners of workflows do: write, publish, pause, resume and archive them, and read what there is.

A workflow is one (namespace, name) of an account. Its definitions are versions, named by `document.version`; storing one
makes a draft, publishing makes the newest draft the version that triggers start. A published version never changes,
and running instances keep the version they began with.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from asyncpg import UniqueViolationError
from piccolo.columns.combination import WhereRaw
from uuid_utils.compat import uuid7

from auth.bearer import Access, Caller
from auth.roles import Right
from service.engine import schedules
from service.engine.definitions import definition_of
from service.engine.events import Subject, record
from service.engine.schedules import Activation
from service.errors import DefinitionRefused, WorkflowConflict
from service.language.document import Definition
from service.language.document import DocumentRefused as Unreadable
from service.language.errors import Problem
from service.language.inputs import TriggerField, trigger_fields
from service.language.reading import check
from service.language.sandbox import Sandbox
from service.language.texts import parse_json, parse_yaml
from service.limits import space
from service.operations.pages import Page, binding, cut, position
from service.tables import Workflow, WorkflowVersion
from tenancy.errors import NotFound
from tenancy.events import differences

# The statuses that the vendor's list can be filtered by; a paused workflow is an active one there.
FILTERS = ("active", "inactive", "publishing", "unpublishing", "archived", "archiving")
LONGEST_LIST = 1000

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


async def draft(access: Access, sandbox: Sandbox, text: bytes, text_format: str) -> Draft:
    """Read and check a definition for a caller of the account; nothing is stored.

    Raises:
        DefinitionRefused: with everything that is wrong with it.
    """
    async with access.rows(Right.OPERATE):
        pass  # an account's sandbox is spent for its own callers alone
    try:
        document = parse_json(text) if text_format == "json" else await asyncio.to_thread(parse_yaml, text)
    except Unreadable as error:
        raise DefinitionRefused(error.problems) from None
    checked = await check(document, sandbox, access.account_id)
    if checked.definition is None or checked.problems:
        raise DefinitionRefused(checked.problems)
    return Draft(checked.definition, text.decode(), text_format, tuple(checked.warnings))


async def create(access: Access, new: Draft) -> Stored:
    """Store a new workflow with its first version, unpublished.

    Raises:
        WorkflowConflict: the account has a workflow of this namespace and name.
    """
    async with access.rows(Right.OPERATE) as caller:
        existing = await _named(new.definition)
        if existing and existing["status"] == "archived":
            raise WorkflowConflict("An archived workflow had this namespace and name; choose another name.")
        if existing:
            raise WorkflowConflict(
                f"Workflow {existing['id']} has this namespace and name already; replace it to store a new version."
            )
        workflow_id = await _insert(caller, new)
        return await _detail(workflow_id)


async def replace(access: Access, workflow_id: UUID, new: Draft) -> Stored:
    """Store a new version of a workflow, unpublished; the same document again changes nothing.

    Raises:
        NotFound: no such workflow.
        DefinitionRefused: the document is another workflow's (its namespace or name differs).
        WorkflowConflict: the workflow is archived, or the version is published with other content.
    """
    async with access.rows(Right.OPERATE) as caller:
        row = await _locked(workflow_id)
        await _put(caller, row, new)
        return await _detail(workflow_id)


async def put(access: Access, new: Draft) -> Stored:
    """Store a definition as its workflow's newest version and publish it, making the workflow where it is new.

    This is what the command line's `workflow publish` does; doing it again changes nothing.
    """
    async with access.rows(Right.OPERATE) as caller:
        existing = await _named(new.definition)
        if existing:
            workflow_id = existing["id"]
            await _put(caller, await _locked(workflow_id), new)
        else:
            workflow_id = await _insert(caller, new)
        row = await _locked(workflow_id)
        if row["active_version_id"] != row["latest_version_id"]:
            await _publish(caller, row)
        return await _detail(workflow_id)


async def publish(access: Access, workflow_id: UUID) -> Stored:
    """Make the newest version the one that triggers start.

    Raises:
        NotFound: no such workflow.
        WorkflowConflict: it is archived, or the newest version is published already.
    """
    async with access.rows(Right.OPERATE) as caller:
        row = await _locked(workflow_id)
        if row["status"] == "archived":
            raise WorkflowConflict("An archived workflow cannot be published; create it under another name.")
        if row["active_version_id"] == row["latest_version_id"]:
            raise WorkflowConflict(
                "The newest version is published already; replace the workflow to store another."
            )
        await _publish(caller, row)
        return await _detail(workflow_id)


async def pause(access: Access, workflow_id: UUID) -> None:
    """Stop new instances; running ones go on.

    Raises:
        NotFound: no such workflow.
        WorkflowConflict: it is not published, archived, or paused already.
    """
    async with access.rows(Right.OPERATE) as caller:
        row = await _locked(workflow_id)
        if row["status"] != "active" or row["paused"]:
            raise WorkflowConflict(f"Only an active workflow can be paused; this one is {shown_status(row)}.")
        await _change(caller, workflow_id, "workflow.paused", paused=True)
        await schedules.pause(caller.account_id, workflow_id, paused=True)


async def resume(access: Access, workflow_id: UUID) -> None:
    """Allow new instances again.

    Raises:
        NotFound: no such workflow.
        WorkflowConflict: it is not paused.
    """
    async with access.rows(Right.OPERATE) as caller:
        row = await _locked(workflow_id)
        if row["status"] != "active" or not row["paused"]:
            raise WorkflowConflict(f"Only a paused workflow can be resumed; this one is {shown_status(row)}.")
        await _change(caller, workflow_id, "workflow.resumed", paused=False)
        await schedules.pause(caller.account_id, workflow_id, paused=False)


async def archive(access: Access, workflow_id: UUID) -> None:
    """Retire a workflow for good: it takes no triggers and no versions; its instances go on and stay readable.

    Raises:
        NotFound: no such workflow.
        WorkflowConflict: it is archived already.
    """
    async with access.rows(Right.OPERATE) as caller:
        row = await _locked(workflow_id)
        if row["status"] == "archived":
            raise WorkflowConflict("The workflow is archived already.")
        await _change(caller, workflow_id, "workflow.archived", status="archived", paused=False)
        await schedules.delete(caller.account_id, workflow_id)


async def get(access: Access, workflow_id: UUID) -> Stored:
    """Return a workflow with its newest version.

    Raises:
        NotFound: no such workflow.
    """
    async with access.rows(Right.READ):
        return await _detail(workflow_id)


async def get_list(access: Access, status: str | None, size: int | None, ctoken: str | None) -> Page:
    """Return a page of the account's workflows, newest first: the first 1,000 where no size is asked for."""
    bound_to = binding(access.account_id, "workflows", status)
    async with access.rows(Right.READ):
        after = position(ctoken, bound_to)
        query = Workflow.select().order_by(Workflow.created_at, Workflow.id, ascending=False)
        if status is not None:
            query = query.where(Workflow.status == status)
        if after is not None:
            query = query.where(WhereRaw("(created_at, id) < ({}, {})", after.at, after.id))
        rows = await query.limit((size or LONGEST_LIST) + 1).run()
    return cut(rows, size or LONGEST_LIST, "created_at", bound_to)


async def versions(access: Access, workflow_id: UUID) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a workflow's row and its newest 1,000 versions, newest first, without their documents.

    Raises:
        NotFound: no such workflow.
    """
    async with access.rows(Right.READ):
        workflow = await _row(workflow_id)
        rows = await (
            WorkflowVersion.select(
                WorkflowVersion.id,
                WorkflowVersion.version,
                WorkflowVersion.created_at,
                WorkflowVersion.created_by,
                WorkflowVersion.published_at,
            )
            .where(WorkflowVersion.workflow_id == workflow_id)
            .order_by(WorkflowVersion.number, ascending=False)
            .limit(LONGEST_LIST)
            .run()
        )
        return workflow, rows


async def trigger_requirements(
    access: Access, workflow_id: UUID
) -> tuple[dict[str, Any], list[TriggerField]]:
    """Return a workflow's row and what its trigger takes: of the published version, or of the draft before that.

    Raises:
        NotFound: no such workflow.
    """
    async with access.rows(Right.READ):
        workflow = await _row(workflow_id)
        definition = await definition_of(workflow["active_version_id"] or workflow["latest_version_id"])
        return workflow, trigger_fields(definition.input_schema)


def shown_status(row: dict[str, Any]) -> str:
    """Say a workflow's status in a word: a paused workflow is an active one that takes no triggers."""
    return "paused" if row["paused"] else str(row["status"])


async def _row(workflow_id: UUID) -> dict[str, Any]:
    row = await Workflow.select().where(Workflow.id == workflow_id).first().run()
    if row is None:
        raise NotFound
    return row


async def _locked(workflow_id: UUID) -> dict[str, Any]:
    rows = await Workflow.raw("SELECT * FROM workflow WHERE id = {} FOR UPDATE", workflow_id).run()
    if not rows:
        raise NotFound
    return dict(rows[0])


async def _detail(workflow_id: UUID) -> Stored:
    rows = await Workflow.raw(DETAIL + "WHERE workflow.id = {}", workflow_id).run()
    if not rows:
        raise NotFound
    row = dict(rows[0])
    return Stored(row, msgspec.json.decode(row["warnings"], type=list[Problem]))


async def _named(definition: Definition) -> dict[str, Any] | None:
    where = (Workflow.namespace == definition.namespace) & (Workflow.name == definition.name)
    found: dict[str, Any] | None = (
        await Workflow.select(Workflow.id, Workflow.status).where(where).first().run()
    )
    return found


async def _insert(caller: Caller, new: Draft) -> UUID:
    workflow = Workflow(
        id=uuid7(),
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
    await _insert_version(caller, workflow.id, 1, new)
    return UUID(str(workflow.id))


async def _insert_version(caller: Caller, workflow_id: UUID, number: int, new: Draft) -> None:
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
    await _change(
        caller,
        workflow_id,
        "workflow.version-stored",
        version_name,
        latest_version_id=version.id,
        title=title,
    )


async def _put(caller: Caller, row: dict[str, Any], new: Draft) -> None:
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
    same = await _same_version(row["id"], new.definition.version)
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
        await _delete_draft(row, same["id"])
    number = await WorkflowVersion.raw(
        "SELECT coalesce(max(number), 0) + 1 AS next FROM workflow_version WHERE workflow_id = {}", row["id"]
    ).run()
    await _insert_version(caller, row["id"], number[0]["next"], new)


async def _same_version(workflow_id: UUID, version: str) -> dict[str, Any] | None:
    where = (WorkflowVersion.workflow_id == workflow_id) & (WorkflowVersion.version == version)
    found: dict[str, Any] | None = await WorkflowVersion.select().where(where).first().run()
    return found


async def _delete_draft(row: dict[str, Any], version_id: UUID) -> None:
    """Remove a draft that is stored anew under the same version; no instance can refer to it."""
    if row["latest_version_id"] == version_id:
        await Workflow.update({Workflow.latest_version_id: None}).where(Workflow.id == row["id"]).run()
    await WorkflowVersion.delete().where(WorkflowVersion.id == version_id).run()


async def _publish(caller: Caller, row: dict[str, Any]) -> None:
    if row["status"] == "archived":
        raise WorkflowConflict("An archived workflow cannot be published; create it under another name.")
    version_id = row["latest_version_id"]
    published = await WorkflowVersion.raw(
        "UPDATE workflow_version SET published_at = coalesce(published_at, clock_timestamp()) WHERE id = {}"
        " RETURNING published_at",
        version_id,
    ).run()
    await _change(caller, row["id"], "workflow.published", status="active", active_version_id=version_id)
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


async def _change(
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
