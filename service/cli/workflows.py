"""The verbs about definitions, and the documents generated from the code."""

from pathlib import Path
from uuid import UUID

import rich_click as click
from rich.text import Text

from auth.bearer import Operator
from auth.clients import require_account
from service.cli.accounts import account_option
from service.cli.database import perform
from service.cli.terminal import json_option, show, tell
from service.cli.verbs import Verb, Verbs
from service.language.sandbox import Sandbox
from service.openapi import check_documents, write_documents
from service.operations import workflows
from service.operations.versions import Stored
from tenancy.errors import Refusal, SetupRefused
from tenancy.rows import rows_of


@click.group(cls=Verbs)
def workflow() -> None:
    """Workflows."""


@workflow.command("publish")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@account_option
@json_option
def workflow_publish(file: Path, account_id: UUID, *, as_json: bool) -> None:
    """Store the definition in FILE (.json, .yaml or .yml) and publish it; doing it again changes nothing."""
    text = file.read_bytes()
    text_format = "json" if file.suffix.lower() == ".json" else "yaml"

    async def work() -> Stored:
        operator = Operator(account_id)
        async with rows_of(account_id):
            await require_account(account_id)
        async with Sandbox(1) as sandbox:
            new = await workflows.draft(operator, sandbox, text, text_format)
        return await workflows.put(operator, new)

    try:
        stored = perform(work)
    except Refusal as error:
        problems = "; ".join(f"{one.target or '/'}: {one.message}" for one in error.errors)
        raise SetupRefused(f"{file}: {error.detail} {problems}") from None
    for warning in stored.warnings:
        tell(Text.assemble(("warning", "yellow"), f" {warning.pointer}: {warning.message}"))
    row = stored.row
    lines = [f"Workflow {row['id']} ({row['title']}), version {row['version']}, is published."]
    show({"workflow_id": str(row["id"]), "version": row["version"]}, lines, as_json=as_json)


@click.command(cls=Verb)
@click.option("--check", is_flag=True, help="Change nothing; fail where a file is not what the code says.")
def openapi(*, check: bool) -> None:
    """Write the OpenAPI documents in openapi/ from the code."""
    if check:
        stale = check_documents()
        if stale:
            raise SetupRefused(f"{', '.join(stale)}: not what the code says; run: tutti openapi")
        tell("The OpenAPI documents are current.")
    else:
        tell(f"Wrote {', '.join(write_documents())}.")
