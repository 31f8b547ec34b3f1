"""What owners of workflows do: write, publish, pause, resume and archive them, and read what there is.

A workflow is one (namespace, name) of an account. Its definitions are versions, named by `document.version`; storing one
makes a draft, publishing makes the newest draft the version that triggers start. A published version never changes,
and running instances keep the version they began with.
"""

import asyncio
from typing import Any
from uuid import UUID

from piccolo.columns.combination import WhereRaw

from auth.bearer import Access
from auth.roles import Right
from service.engine.definitions import definition_of
from service.errors import DefinitionRefused, WorkflowConflict
from service.language.document import DocumentRefused as Unreadable
from service.language.inputs import TriggerField, trigger_fields
from service.language.reading import check
from service.language.sandbox import Sandbox
from service.language.texts import parse_json, parse_yaml
from service.operations.pages import Page, binding, cut, position
from service.operations.versions import (
    Draft,
    Stored,
    detail,
    insert,
    locked,
    make_active,
    named,
    put_version,
    retire,
    row_of,
    set_paused,
)
from service.tables import Workflow, WorkflowVersion

# The statuses that the vendor's list can be filtered by; a paused workflow is an active one there.
FILTERS = ("active", "inactive", "publishing", "unpublishing", "archived", "archiving")
LONGEST_LIST = 1000


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
        existing = await named(new.definition)
        if existing and existing["status"] == "archived":
            raise WorkflowConflict("An archived workflow had this namespace and name; choose another name.")
        if existing:
            raise WorkflowConflict(
                f"Workflow {existing['id']} has this namespace and name already; replace it to store a new version."
            )
        workflow_id = await insert(caller, new)
        return await detail(workflow_id)


async def replace(access: Access, workflow_id: UUID, new: Draft) -> Stored:
    """Store a new version of a workflow, unpublished; the same document again changes nothing.

    Raises:
        NotFound: no such workflow.
        DefinitionRefused: the document is another workflow's (its namespace or name differs).
        WorkflowConflict: the workflow is archived, or the version is published with other content.
    """
    async with access.rows(Right.OPERATE) as caller:
        row = await locked(workflow_id)
        await put_version(caller, row, new)
        return await detail(workflow_id)


async def put(access: Access, new: Draft) -> Stored:
    """Store a definition as its workflow's newest version and publish it, making the workflow where it is new.

    This is what the command line's `workflow publish` does; doing it again changes nothing.
    """
    async with access.rows(Right.OPERATE) as caller:
        existing = await named(new.definition)
        if existing:
            workflow_id = existing["id"]
            await put_version(caller, await locked(workflow_id), new)
        else:
            workflow_id = await insert(caller, new)
        row = await locked(workflow_id)
        if row["active_version_id"] != row["latest_version_id"]:
            await make_active(caller, row)
        return await detail(workflow_id)


async def publish(access: Access, workflow_id: UUID) -> Stored:
    """Make the newest version the one that triggers start.

    Raises:
        NotFound: no such workflow.
        WorkflowConflict: it is archived, or the newest version is published already.
    """
    async with access.rows(Right.OPERATE) as caller:
        row = await locked(workflow_id)
        if row["status"] == "archived":
            raise WorkflowConflict("An archived workflow cannot be published; create it under another name.")
        if row["active_version_id"] == row["latest_version_id"]:
            raise WorkflowConflict(
                "The newest version is published already; replace the workflow to store another."
            )
        await make_active(caller, row)
        return await detail(workflow_id)


async def pause(access: Access, workflow_id: UUID) -> None:
    """Stop new instances; running ones go on.

    Raises:
        NotFound: no such workflow.
        WorkflowConflict: it is not published, archived, or paused already.
    """
    async with access.rows(Right.OPERATE) as caller:
        row = await locked(workflow_id)
        if row["status"] != "active" or row["paused"]:
            raise WorkflowConflict(f"Only an active workflow can be paused; this one is {shown_status(row)}.")
        await set_paused(caller, row, paused=True)


async def resume(access: Access, workflow_id: UUID) -> None:
    """Allow new instances again.

    Raises:
        NotFound: no such workflow.
        WorkflowConflict: it is not paused.
    """
    async with access.rows(Right.OPERATE) as caller:
        row = await locked(workflow_id)
        if row["status"] != "active" or not row["paused"]:
            raise WorkflowConflict(f"Only a paused workflow can be resumed; this one is {shown_status(row)}.")
        await set_paused(caller, row, paused=False)


async def archive(access: Access, workflow_id: UUID) -> None:
    """Retire a workflow for good: it takes no triggers and no versions; its instances go on and stay readable.

    Raises:
        NotFound: no such workflow.
        WorkflowConflict: it is archived already.
    """
    async with access.rows(Right.OPERATE) as caller:
        await retire(caller, await locked(workflow_id))


async def get(access: Access, workflow_id: UUID) -> Stored:
    """Return a workflow with its newest version.

    Raises:
        NotFound: no such workflow.
    """
    async with access.rows(Right.READ):
        return await detail(workflow_id)


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
        workflow = await row_of(workflow_id)
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
        workflow = await row_of(workflow_id)
        definition = await definition_of(workflow["active_version_id"] or workflow["latest_version_id"])
        return workflow, trigger_fields(definition.input_schema)


def shown_status(row: dict[str, Any]) -> str:
    """Say a workflow's status in a word: a paused workflow is an active one that takes no triggers."""
    return "paused" if row["paused"] else str(row["status"])
