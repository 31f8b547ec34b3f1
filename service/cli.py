"""The `tutti` command: one verb each, errors in one line and exit status 1, `--json` where data is printed."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from uuid import UUID

import asyncpg
import msgspec
import rich_click as click
import uvicorn
from litestar.types import ASGIApp
from rich.console import Console
from rich.text import Text

from auth.bearer import Operator
from auth.clients import Registration, create_client, issue_token, require_account
from auth.passwords import hash_password
from service import demo as demo_data
from service.app import create_app, create_app_without_worker, working
from service.language.sandbox import Sandbox, SandboxUnavailableError
from service.openapi import check_documents, write_documents
from service.operations import workflows
from service.protocol import Http1Protocol
from service.settings import settings
from service.telemetry import configure_logging
from tenancy.accounts import add_user, create_account
from tenancy.embedded import EmbeddedServer
from tenancy.errors import Refusal, SetupRefused
from tenancy.postgres import connected, pool, provide_embedded, refuse_unsafe_role
from tenancy.rows import rows_of
from tenancy.schema import is_current, migrate

Result = TypeVar("Result")

told = Console(stderr=True)
MIGRATE_FIRST = "The database's schema is not current; run: tutti migrate"
EXPECTED = (
    Refusal,
    SetupRefused,
    click.ClickException,
    click.Abort,
    UnicodeError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    SandboxUnavailableError,
    OSError,
)
GRACE_SECONDS = 8  # for requests and jobs under way when the service is told to stop


def main() -> None:
    """Run the command line; whatever goes wrong is one line on standard error and exit status 1."""
    try:
        status = tutti.main(standalone_mode=False)
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
        case OSError():
            text = f"{error.filename or 'tutti'}: {error.strerror or error}"
    return text


def complain(message: str) -> None:
    """Print one line of complaint and end the process."""
    tell(Text.assemble(("tutti:", "bold red"), " ", " ".join(message.split())))
    sys.exit(1)


def tell(line: str | Text) -> None:
    """Print a line for people on standard error, to the letter: no brackets or colons in it are markup."""
    told.print(Text(line) if isinstance(line, str) else line, soft_wrap=True)


def show(data: dict[str, Any], lines: Sequence[str | Text], *, as_json: bool) -> None:
    """Print data: as one JSON object and nothing else, or as lines for people, to the letter."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(data).decode() + "\n")
    else:
        out = Console()
        for line in lines:
            out.print(Text(line) if isinstance(line, str) else line, soft_wrap=True)


@contextlib.contextmanager
def server() -> Iterator[None]:
    """Hold the embedded server for as long as the block runs, where the settings ask for it."""
    signal.signal(signal.SIGTERM, stopped)  # so that this block's end is reached
    if not settings().database.embedded:
        yield
        return
    embedded = EmbeddedServer(Path(settings().data_dir))
    with (
        told.status("Starting the embedded PostgreSQL ...") if told.is_terminal else contextlib.nullcontext()
    ):
        embedded.start()
        asyncio.run(provide_embedded(embedded))
    try:
        yield
    finally:
        embedded.stop()


def stopped(number: int, _: object) -> NoReturn:
    """End the process the way it ends by itself: what it holds is let go."""
    sys.exit(128 + number)


@contextlib.asynccontextmanager
async def ready_database(size: int = 4) -> AsyncIterator[None]:
    """Open the pool on a database whose schema is current.

    Raises:
        SetupRefused: it is not; the message says what to run.
    """
    async with pool(size):
        if not await is_current():
            raise SetupRefused(MIGRATE_FIRST)
        yield


def perform(work: Callable[[], Awaitable[Result]]) -> Result:
    """Run one verb's work on the database."""

    async def performed() -> Result:
        async with ready_database():
            return await work()

    with server():
        return asyncio.run(performed())


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
account_option = click.option(
    "--account", "account_id", type=click.UUID, required=True, help="The account's id."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tutti", prog_name="tutti")
def tutti() -> None:
    """Tutti: workflow instances for many accounts, in the words of the Docusign Maestro API."""


@tutti.command("migrate")
@json_option
def migrate_command(*, as_json: bool) -> None:
    """Bring the database's schema up to date; safe to run again."""
    with server():
        applied = asyncio.run(migrate(settings().database))
    message = f"Applied {len(applied)} migrations." if applied else "The schema is current."
    show({"applied": applied}, [message], as_json=as_json)


@tutti.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on."
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes that serve."
)
@click.option("--no-worker", is_flag=True, help="Only serve requests; run instances with: tutti worker")
def serve(host: str, port: int, workers: int, *, no_worker: bool) -> None:
    """Serve the API; instances run in the same processes."""
    configure_logging(settings().log_level)
    with server():
        asyncio.run(refuse_unready())
        refuse_taken_port(host, port)
        tell(f"Tutti serves on http://{host}:{port}")
        try:
            uvicorn.run(
                "service.cli:application_without_worker" if no_worker else "service.cli:application",
                factory=True,
                host=host,
                port=port,
                workers=workers,
                loop="uvloop",
                http=Http1Protocol,
                ws="none",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        except SystemExit as end:
            if end.code not in (None, 0, 128 + signal.SIGTERM):
                raise SetupRefused("The service could not start; its log above says why.") from None


def application() -> ASGIApp:
    """Make the application in a server process."""
    end_with_parent()
    return create_app()


def application_without_worker() -> ASGIApp:
    """Make the application that only serves requests in a server process."""
    end_with_parent()
    return create_app_without_worker()


def end_with_parent() -> None:
    """End this process when the one that made it is gone: with `--workers` a killed parent would leave its port taken."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def refuse_taken_port(host: str, port: int) -> None:
    """Try whether the port is free, so that a taken one is told in one line.

    Raises:
        SetupRefused: it is not, or there is no such host.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        raise SetupRefused(f"Cannot listen on {host} port {port}: {error.strerror or error}.") from None


async def refuse_unready() -> None:
    """Say in one line what stands in the way of serving, before any server process starts.

    Raises:
        SetupRefused: unreachable database, unsafe role, or missing migrations.
    """
    async with connected(settings().database.application) as connection:
        await refuse_unsafe_role(connection)
    async with ready_database(2):
        pass


@tutti.command()
def worker() -> None:
    """Run instances, without serving requests."""
    configure_logging(settings().log_level)

    async def work() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with (
            ready_database(settings().pool_size),
            Sandbox(settings().sandbox_processes) as sandbox,
            working(sandbox),
        ):
            tell("Tutti runs instances.")
            await stop.wait()

    with server():
        asyncio.run(work())


@tutti.group()
def account() -> None:
    """Accounts."""


@account.command("create")
@click.argument("name")
@click.option(
    "--id", "account_id", type=click.UUID, help="The id to give it; a new one where it is left out."
)
@json_option
def account_create(name: str, account_id: UUID | None, *, as_json: bool) -> None:
    """Make an account called NAME."""
    made = perform(lambda: create_account(name, account_id))
    show({"account_id": str(made)}, [f"Account {made} ({name})."], as_json=as_json)


@tutti.group()
def user() -> None:
    """Users and their memberships."""


@user.command("create")
@click.argument("email")
@click.option("--name", required=True, help="The person's name.")
@click.option(
    "--password-stdin", is_flag=True, help="Read a password from standard input; without it there is none."
)
@account_option
@click.option(
    "--role",
    type=click.Choice(["admin", "member"]),
    default="member",
    show_default=True,
    help="What they may do.",
)
@json_option
def user_create(
    email: str, name: str, account_id: UUID, role: str, *, password_stdin: bool, as_json: bool
) -> None:
    """Make the user EMAIL a member of an account; a user that exists joins it."""
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else None
    hashed = None if password is None else hash_password(password)
    made = perform(lambda: add_user(email, name, hashed, account_id, role))
    show(
        {"user_id": str(made)}, [f"User {made} ({email}) is {role} of account {account_id}."], as_json=as_json
    )


@tutti.group()
def client() -> None:
    """Clients: what Docusign calls integration keys."""


@client.command("create")
@account_option
@click.option(
    "--kind",
    type=click.Choice(["confidential", "public", "machine"]),
    required=True,
    help="What it can keep secret.",
)
@click.option(
    "--redirect-uri", "redirect_uris", multiple=True, help="Where logins return to; may be repeated."
)
@click.option("--scope", "scopes", multiple=True, help="A scope it may ask for; may be repeated.")
@click.option(
    "--public-key",
    "keys",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="PEM file; may be repeated.",
)
@click.option("--name", default="client", show_default=True, help="What people see.")
@json_option
def client_create(
    account_id: UUID,
    kind: str,
    redirect_uris: tuple[str, ...],
    scopes: tuple[str, ...],
    keys: tuple[Path, ...],
    name: str,
    *,
    as_json: bool,
) -> None:
    """Register a client; its secret is shown this once."""
    wanted = Registration(
        account_id=account_id,
        kind=kind,
        name=name,
        redirect_uris=redirect_uris,
        scopes=scopes,
        public_keys=[path.read_text() for path in keys],
    )
    client_id, secret = perform(lambda: create_client(wanted))
    lines = [f"Client {client_id}", f"Secret {secret}" if secret else "A public client has no secret."]
    show({"client_id": str(client_id), "client_secret": secret}, lines, as_json=as_json)


@tutti.group()
def token() -> None:
    """Access tokens."""


@token.command("issue")
@account_option
@click.option("--user", "user_id", type=click.UUID, help="The member it stands for.")
@click.option("--client", "client_id", type=click.UUID, help="The machine client it stands for.")
@click.option(
    "--scope", default="aow_manage signature", show_default=True, help="Scopes, with blanks between them."
)
@click.option("--expires-in", default=28_800, show_default=True, help="Seconds that it lives.")
@json_option
def token_issue(
    account_id: UUID,
    user_id: UUID | None,
    client_id: UUID | None,
    scope: str,
    expires_in: int,
    *,
    as_json: bool,
) -> None:
    """Issue an access token for one account, for a user or a machine client."""
    if (user_id is None) == (client_id is None):
        raise click.UsageError("Give either --user or --client.")
    holder = ("user", user_id) if user_id is not None else ("client", client_id)
    issued = perform(lambda: issue_token(account_id, holder, scope.split(), expires_in))  # type: ignore[arg-type] # one is set
    show({"access_token": issued, "expires_in": expires_in}, [issued], as_json=as_json)


@tutti.group()
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

    async def work() -> workflows.Stored:
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


@tutti.command()
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


@tutti.command()
@json_option
def demo(*, as_json: bool) -> None:
    """Load the demo data: two accounts, people, published workflows; safe to run again."""

    async def work() -> demo_data.Demo:
        async with Sandbox(1) as sandbox:
            return await demo_data.load(sandbox)

    with server():
        asyncio.run(migrate(settings().database))
        made = perform(work)
    show(msgspec.to_builtins(made), demo_lines(made), as_json=as_json)


def demo_lines(made: demo_data.Demo) -> list[str | Text]:
    """Tell a newcomer what there is and what to paste."""
    url, account_id = settings().public_url, made.accounts["Acme"]
    quote = made.workflows["Price a quote"]
    workflow_url = f"{url}/v1/accounts/{account_id}/workflows/{quote}"
    return [
        Text("Accounts", "bold"),
        *(f"  {name:<8} {identifier}" for name, identifier in made.accounts.items()),
        Text("Workflows of Acme", "bold"),
        *(f"  {title:<20} {identifier}" for title, identifier in made.workflows.items()),
        Text.assemble(
            ("Token", "bold"), f" of Ada Lovelace, administrator of Acme, for {made.expires_in // 3600} hours"
        ),
        f"  {made.access_token}",
        "",
        Text("curl", "bold"),
        f"  curl -s {workflow_url}/actions/trigger \\",
        f"    -H 'Authorization: Bearer {made.access_token}' -H 'Content-Type: application/json' \\",
        """    -d '{"instance_name": "First", "trigger_inputs": {"customer": "Ada", "lines": [{"price": 1200}]}}'""",
        f"  curl -s {workflow_url}/instances -H 'Authorization: Bearer {made.access_token}'",
        "",
        Text.assemble(("SDK", "bold"), " (TypeScript: npm install @docusign/iam-sdk)"),
        '  import { IamClient } from "@docusign/iam-sdk";',
        f'  const client = new IamClient({{ serverURL: "{url}", accessToken: "{made.access_token}" }});',
        f'  const started = await client.maestro.workflows.triggerWorkflow({{ accountId: "{account_id}", workflowId: "{quote}",',
        '    triggerWorkflow: { instanceName: "First", triggerInputs: { customer: "Ada", lines: [{ price: 1200 }] } } });',
        "",
    ]


if __name__ == "__main__":
    main()
