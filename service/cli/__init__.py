"""The `tutti` command: one verb each, errors in one line and exit status 1, `--json` where data is printed."""

import sys

import asyncpg
import rich_click as click
from rich.text import Text

from service.cli import (
    accounts,
    audit,
    clients,
    demo,
    formance,
    keys,
    limits,
    secrets,
    serving,
    workflows,
)
from service.cli.serving import application, application_without_worker
from service.cli.terminal import tell
from service.language.sandbox import SandboxUnavailableError
from tenancy.errors import Refusal, SetupRefused
from tenancy.faults import DatabaseAwayError, SlowStatementError

__all__ = ["application", "application_without_worker", "main", "tutti"]

EXPECTED = (
    Refusal,
    SetupRefused,
    click.ClickException,
    click.Abort,
    UnicodeError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    SandboxUnavailableError,
    SlowStatementError,
    OSError,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tutti", prog_name="tutti")
def tutti() -> None:
    """Tutti: workflow instances for many accounts, in the words of the Docusign Maestro API."""


for verb in (
    *(serving.migrate, serving.serve, serving.worker),
    *(accounts.account, accounts.user, clients.client, clients.grant, clients.token, keys.keys),
    *(secrets.secret, formance.formance, audit.audit, workflows.workflow, workflows.openapi, demo.demo),
):
    tutti.add_command(verb)
for verb in (limits.limits_of_account, limits.settings_of_account):
    accounts.account.add_command(verb)


def main() -> None:
    """Run the command line; whatever goes wrong is one line on standard error and exit status 1."""
    try:
        status = tutti.main(standalone_mode=False)
    except SystemExit as ended:
        # A group without a verb has shown its help by then, and ends the process by itself.
        sys.exit(1 if ended.code == click.UsageError.exit_code else ended.code)
    except EXPECTED as error:
        complain(worded(error))
    else:
        sys.exit(status if isinstance(status, int) else 0)


def worded(error: BaseException) -> str:
    """Say what went wrong."""
    text = str(error)
    match error:
        case click.ClickException():
            text = error.format_message()
        case click.Abort():
            text = "Stopped."
        case UnicodeError():
            text = "The input is not UTF-8."
        case asyncpg.PostgresError() | asyncpg.InterfaceError():
            text = f"The database failed: {error}"
        case SandboxUnavailableError():
            text = f"Expressions cannot be evaluated here: {error}"
        case DatabaseAwayError():
            text = f"The database failed: {error.__cause__}"
        case OSError():
            text = f"{error.filename or 'tutti'}: {error.strerror or error}"
    return text


def complain(message: str) -> None:
    """Print one line of complaint and end the process."""
    tell(Text.assemble(("tutti:", "bold red"), " ", " ".join(message.split())))
    sys.exit(1)
