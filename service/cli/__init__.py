"""The `tutti` command: one verb each, errors in one line and exit status 1, `--json` where data is printed."""

import importlib
import sys

import asyncpg
import rich_click as click
from rich.text import Text

from service.cli.garbage import collect_less
from service.cli.terminal import tell
from service.language.sandbox import SandboxUnavailableError
from tenancy.errors import Refusal, SetupRefused
from tenancy.faults import DatabaseAwayError, SlowStatementError

__all__ = ["main", "tutti"]

# Which module has a verb. It is imported when the verb is called: a command line that waits for all of the service to be imported
# makes somebody wait twice as long.
PLACES = {
    "migrate": "serving",
    "serve": "serving",
    "worker": "serving",
    "account": "accounts",
    "user": "accounts",
    "client": "clients",
    "grant": "clients",
    "token": "clients",
    "keys": "keys",
    "secret": "secrets",
    "formance": "formance",
    "audit": "audit",
    "workflow": "workflows",
    "openapi": "workflows",
    "demo": "demo",
}

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


class Everything(click.RichGroup):
    """All verbs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Name them."""
        return sorted(PLACES)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import the module of one, if there is such a verb."""
        if name not in PLACES:
            return None
        command: click.Command = getattr(importlib.import_module(f"service.cli.{PLACES[name]}"), name)
        return command


@click.group(cls=Everything, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tutti", prog_name="tutti")
def tutti() -> None:
    """Tutti: workflow instances for many accounts, in the words of the Docusign Maestro API."""


def main() -> None:
    """Run the command line; whatever goes wrong is one line on standard error and exit status 1."""
    collect_less()
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
