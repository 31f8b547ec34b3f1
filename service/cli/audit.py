"""The verb about what happened in an account."""

import sys
from datetime import UTC
from typing import Any, get_args
from uuid import UUID

import rich_click as click

from auth.bearer import Operator
from auth.clients import require_account
from service.cli.accounts import account_option
from service.cli.database import perform
from service.cli.verbs import Verbs
from service.maestro.audit import written
from service.operations.audit import ActorKind, Filters, export
from tenancy.rows import rows_of

MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"])


@click.group(cls=Verbs)
def audit() -> None:
    """What happened in an account: who changed what, when, on which request."""


@audit.command("export")
@account_option
@click.option("--actor", "actor_id", type=click.UUID, help="Only what this user or client has done.")
@click.option(
    "--actor-kind", type=click.Choice(get_args(ActorKind)), help="Only what actors of this kind have done."
)
@click.option("--type", help="Only this type, as in workflow.published.")
@click.option(
    "--subject-kind", help="Only what was done to subjects of this kind: member, client, workflow ..."
)
@click.option("--subject", "subject_id", help="Only what was done to this subject: a UUID, a secret's name.")
@click.option("--from", "since", type=MOMENT, help="Only from this moment on, in UTC.")
@click.option("--to", "before", type=MOMENT, help="Only before this moment, in UTC.")
@click.option("--request", "request_id", type=click.UUID, help="Only what this request has done.")
def audit_export(account_id: UUID, **filters: Any) -> None:
    """Print what happened in the account as JSON lines, oldest first."""
    for name in ("since", "before"):
        filters[name] = filters[name] and filters[name].replace(tzinfo=UTC)

    async def work() -> None:
        async with rows_of(account_id):
            await require_account(account_id)
        async for rows in export(Operator(account_id), Filters(**filters)):
            sys.stdout.buffer.write(written(rows))

    perform(work)
    sys.stdout.flush()
