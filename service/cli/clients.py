"""The verbs about clients, what they are granted, and tokens."""

from pathlib import Path
from shlex import quote
from urllib.parse import urlencode
from uuid import UUID

import msgspec
import rich_click as click

from auth.allowances import ConsentEntry, Revoked, allow_for_account, list_consents, revoke_grants
from auth.clients import (
    add_key,
    add_redirect_uri,
    create_client,
    delete_client,
    issue_token,
    list_clients,
    remove_key,
    remove_redirect_uri,
    rotate_secret,
)
from auth.issuer import TOKEN_PATHS
from auth.registration import RegisteredEntry, Registration, check_key, fingerprint
from auth.scopes import ADMINISTRATION, MAESTRO, SCOPES
from auth.tables import CLIENT_KINDS
from service.cli.accounts import account_option
from service.cli.database import perform
from service.cli.terminal import confirmed, json_option, show
from service.cli.verbs import Verbs
from service.settings import settings
from tenancy.accounts import find_user
from tenancy.errors import BadRequest

client_argument = click.argument("client_id", metavar="ID", type=click.UUID)
uri_argument = click.argument("redirect_uri", metavar="URI")
scope_choice = click.Choice(list(SCOPES))
KNOWN_SCOPES = ", ".join(SCOPES)
TOKENS_LIVE_ON = "Tokens that it has live on; to end them: tutti grant revoke --client"
PEM_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def separated(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Read scopes, each an option of its own or several with blanks between them, as they stand in a token."""
    # An empty text is no scope, rather than none: an unset variable of a script would otherwise mean any.
    named = [one for value in values for one in value.split() or [value]]
    return tuple(scope_choice.convert(one, option, context) for one in named)


def pem_in(path: Path) -> str:
    """Read a public key.

    Raises:
        BadRequest: it is none that a client may have; the message names the file.
    """
    try:
        pem = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise BadRequest(
            f"{path} is not a PEM file, which is text; from DER: openssl rsa -pubin -inform DER -in {quote(str(path))}"
        ) from None
    check_key(pem, str(path))
    return pem


@click.group(cls=Verbs)
def client() -> None:
    """Clients: what Docusign calls integration keys."""


@client.command("create")
@account_option
@click.option(
    "--kind",
    type=click.Choice(CLIENT_KINDS),
    required=True,
    help="confidential: a server that keeps a secret; public: an app that cannot; machine: acts for itself.",
)
@click.option(
    "--redirect-uri",
    "redirect_uris",
    multiple=True,
    help="Where people return to who have logged in; may be repeated.",
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    callback=separated,
    metavar="SCOPE",
    help=f"A scope it may ask for; may be repeated. Without it: any. Known: {KNOWN_SCOPES}.",
)
@click.option(
    "--public-key",
    "keys",
    multiple=True,
    type=PEM_FILE,
    help="PEM file, for the JWT grant and private_key_jwt; may be repeated.",
)
@click.option("--name", default="client", show_default=True, help="What people see.")
@json_option
def client_create(  # noqa: PLR0913 - an option is an argument
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
        public_keys=[pem_in(path) for path in keys],
    )
    client_id, secret = perform(lambda: create_client(wanted))
    lines = [
        f"Client {client_id} ({name})",
        f"Secret {secret} (not shown again)" if secret else "A public client has no secret.",
        *next_steps(client_id, wanted),
    ]
    show({"client_id": str(client_id), "client_secret": secret}, lines, as_json=as_json)


def next_steps(client_id: UUID, wanted: Registration) -> list[str]:
    """Say how a new client comes to its first token."""
    if wanted.kind == "machine":
        lines = machine_steps(client_id, wanted)
    else:
        lines = [*person_steps(client_id, wanted), *assertion_steps(client_id, wanted)]
    return [*lines, "(TUTTI_PUBLIC_URL decides what these URLs begin with.)"]


def machine_steps(client_id: UUID, wanted: Registration) -> list[str]:
    """Say how a client that acts for itself comes to a token."""
    asked = urlencode({"grant_type": "client_credentials", "scope": " ".join(wanted.scopes or MAESTRO)})
    return [
        "A token, with the secret in place of SECRET:",
        f"  curl -u {client_id}:SECRET -d '{asked}' {token_url()}",
    ]


def person_steps(client_id: UUID, wanted: Registration) -> list[str]:
    """Say how people log in to a client that they return to."""
    if not wanted.redirect_uris:
        return []
    back = wanted.redirect_uris[0]
    query = {"response_type": "code", "client_id": str(client_id), "redirect_uri": back}
    query |= {"scope": " ".join(wanted.scopes) or "SCOPES", "state": "STATE"}
    if wanted.kind == "public":
        query |= {"code_challenge": "CHALLENGE", "code_challenge_method": "S256"}
    return [
        "Send people to this URL, with values of your own for what is in capitals:",
        f"  {settings().issuer.at('/oauth/auth')}?{urlencode(query)}",
        f"They return to {back} with a code; exchange it at {token_url()}",
    ]


def assertion_steps(client_id: UUID, wanted: Registration) -> list[str]:
    """Say how a client with a key acts for people who are away."""
    if not wanted.public_keys or (wanted.scopes and "impersonation" not in wanted.scopes):
        return []
    allowed = " ".join(f"--scope {scope}" for scope in wanted.scopes or MAESTRO if scope != ADMINISTRATION)
    after = "after a person's consent, or once for all members" if wanted.redirect_uris else "once allowed"
    return [
        f"For the JWT grant post assertions that its private key has signed to {token_url()}",
        f"  {after}: tutti grant allow --account {wanted.account_id} --client {client_id} {allowed}",
    ]


def token_url() -> str:
    """Return where clients get tokens."""
    return settings().issuer.at(TOKEN_PATHS[0])


@client.command("list")
@account_option
@json_option
def client_list(account_id: UUID, *, as_json: bool) -> None:
    """List an account's clients, oldest first, with their scopes, redirect URIs and keys."""
    found = perform(lambda: list_clients(account_id))
    lines = [line for one in found for line in client_lines(one)]
    show({"clients": msgspec.to_builtins(found)}, lines or ["The account has no clients."], as_json=as_json)


def client_lines(one: RegisteredEntry) -> list[str]:
    """Show a client to people."""
    return [
        f"{one.client_id}  {one.kind:<12} {one.status:<8} {one.name}",
        f"    scopes: {' '.join(one.scopes) or 'any'}",
        *(f"    redirect URI: {uri}" for uri in one.redirect_uris),
        *(f"    key {position}: {name}" for position, name in enumerate(one.fingerprints, 1)),
    ]


@client.command("add-key")
@client_argument
@account_option
@click.option(
    "--public-key",
    "key",
    type=PEM_FILE,
    required=True,
    help="PEM file, for the JWT grant and private_key_jwt.",
)
@json_option
def client_add_key(client_id: UUID, account_id: UUID, key: Path, *, as_json: bool) -> None:
    """Register one more public key of the client ID, beside those it has."""
    pem = pem_in(key)
    perform(lambda: add_key(account_id, client_id, pem))
    name = fingerprint(pem)
    show(
        {"client_id": str(client_id), "fingerprint": name},
        [f"Client {client_id} has the key {name}"],
        as_json=as_json,
    )


@client.command("remove-key")
@client_argument
@click.argument("key", metavar="KEY")
@account_option
@json_option
def client_remove_key(client_id: UUID, key: str, account_id: UUID, *, as_json: bool) -> None:
    """Forget a public key of the client ID: KEY is its fingerprint or position in `tutti client list`."""
    now = perform(lambda: remove_key(account_id, client_id, key))
    left = [fingerprint(pem) for pem in now.public_keys]
    data = {"client_id": str(client_id), "fingerprints": left}
    lines = [f"Client {client_id} has {counted(len(left), 'key')} left.", f"{TOKENS_LIVE_ON} {client_id}"]
    show(data, lines, as_json=as_json)


@client.command("add-redirect-uri")
@client_argument
@uri_argument
@account_option
@json_option
def client_add_redirect_uri(client_id: UUID, redirect_uri: str, account_id: UUID, *, as_json: bool) -> None:
    """Let people who have logged in return to the client ID at URI too."""
    now = perform(lambda: add_redirect_uri(account_id, client_id, redirect_uri))
    show_redirect_uris(client_id, now, as_json=as_json)


@client.command("remove-redirect-uri")
@client_argument
@uri_argument
@account_option
@json_option
def client_remove_redirect_uri(
    client_id: UUID, redirect_uri: str, account_id: UUID, *, as_json: bool
) -> None:
    """Let nobody return to the client ID at URI any more."""
    now = perform(lambda: remove_redirect_uri(account_id, client_id, redirect_uri))
    show_redirect_uris(client_id, now, as_json=as_json)


def show_redirect_uris(client_id: UUID, now: Registration, *, as_json: bool) -> None:
    """Print where people may return to from now on."""
    uris = list(now.redirect_uris)
    lines = [f"People return to client {client_id} at:", *(f"  {uri}" for uri in uris)]
    nowhere = [f"Nobody returns to client {client_id}."]
    data = {"client_id": str(client_id), "redirect_uris": uris}
    show(data, lines if uris else nowhere, as_json=as_json)


@client.command("rotate-secret")
@client_argument
@account_option
@json_option
def client_rotate_secret(client_id: UUID, account_id: UUID, *, as_json: bool) -> None:
    """Give the client ID a new secret, shown this once; the old one ends now, issued tokens live on."""
    secret = perform(lambda: rotate_secret(account_id, client_id))
    lines = [
        f"Client {client_id}",
        f"Secret {secret} (not shown again)",
        f"{TOKENS_LIVE_ON} {client_id}",
    ]
    show({"client_id": str(client_id), "client_secret": secret}, lines, as_json=as_json)


@client.command("delete")
@client_argument
@account_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def client_delete(client_id: UUID, account_id: UUID, *, yes: bool, as_json: bool) -> None:
    """Delete the client ID with every grant, consent and token of it."""
    confirmed(f"Delete client {client_id} and end every grant and token of it?", yes=yes)
    perform(lambda: delete_client(account_id, client_id))
    show({"client_id": str(client_id)}, [f"Client {client_id} is deleted."], as_json=as_json)


@click.group(cls=Verbs)
def grant() -> None:
    """What clients are allowed to do for people."""


@grant.command("allow")
@account_option
@click.option("--client", "client_id", type=click.UUID, required=True, help="The client that may.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    callback=separated,
    metavar="SCOPE",
    help=f"A scope that it is allowed, besides impersonation, which it always is; may be repeated. Known: {KNOWN_SCOPES}.",
)
@json_option
def grant_allow(account_id: UUID, client_id: UUID, scopes: tuple[str, ...], *, as_json: bool) -> None:
    """Allow a client to act for every member of an account without asking them, as its administrator may.

    What it was allowed before stays; to take it back: tutti grant revoke --account ID --client ID
    """
    standing = perform(lambda: allow_for_account(account_id, client_id, scopes))
    data = {"account_id": str(account_id), "client_id": str(client_id), "scopes": standing}
    line = f"Client {client_id} may act for every member of account {account_id}: {' '.join(standing)}."
    show(data, [line], as_json=as_json)


@grant.command("revoke")
@click.option("--user", help="Only what this user allowed: e-mail address or id.")
@click.option("--client", "client_id", type=click.UUID, help="Only what this client was allowed.")
@click.option("--account", "account_id", type=click.UUID, help="Only what is limited to this account.")
@json_option
def grant_revoke(user: str | None, client_id: UUID | None, account_id: UUID | None, *, as_json: bool) -> None:
    """End grants with every token of theirs, and forget what was allowed: clients have to ask again.

    Options together narrow it down. --client alone takes back all that anybody allowed the client. --account alone takes
    back all that is limited to the account, tokens of `tutti token issue` included. Both also take back what was allowed
    for every member of an account (`tutti grant allow`); --user, alone or with them, does not.
    """

    async def work() -> Revoked:
        user_id = None if user is None else await find_user(user)
        return await revoke_grants(user_id, client_id, account_id)

    revoked = perform(work)
    lines = [f"Ended {grants_and_tokens(revoked.grants)}; forgot {counted(revoked.consents, 'consent')}."]
    lines += [
        f"Account {one.account_id} still allows the client to act for every member; "
        f"to end that: tutti grant revoke --account {one.account_id} --client {one.client_id}"
        for one in revoked.standing
    ]
    show(msgspec.to_builtins(revoked), lines, as_json=as_json)


def counted(number: int, what: str) -> str:
    """Write a number of things."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def grants_and_tokens(number: int) -> str:
    """Write a number of grants, with whose tokens they are."""
    return f"{counted(number, 'grant')} and {'its' if number == 1 else 'their'} tokens"


@grant.command("list")
@click.option("--user", help="Only what this user allowed: e-mail address or id.")
@click.option("--client", "client_id", type=click.UUID, help="Only what this client was allowed.")
@click.option("--account", "account_id", type=click.UUID, help="Only what is limited to this account.")
@json_option
def grant_list(user: str | None, client_id: UUID | None, account_id: UUID | None, *, as_json: bool) -> None:
    """List what clients were allowed, oldest first: by whom, which scopes, in which account, since when."""

    async def work() -> list[ConsentEntry]:
        user_id = None if user is None else await find_user(user)
        return await list_consents(user_id, client_id, account_id)

    found = perform(work)
    lines = [consent_line(one) for one in found]
    show({"consents": msgspec.to_builtins(found)}, lines or ["Nothing was allowed."], as_json=as_json)


def consent_line(one: ConsentEntry) -> str:
    """Say who allowed which client what, where and since when."""
    who = f"{one.email} ({one.user_id})" if one.user_id else "every member"
    where = f"account {one.account_id}" if one.account_id else "all accounts"
    name = f" ({one.client_name})" if one.client_name else ""
    return f"{one.granted_at:%Y-%m-%d %H:%M}  client {one.client_id}{name} for {who} in {where}: {' '.join(one.scopes)}"


@click.group(cls=Verbs)
def token() -> None:
    """Access tokens."""


@token.command("issue")
@account_option
@click.option("--user", help="The member it stands for: e-mail address or id.")
@click.option("--client", "client_id", type=click.UUID, help="The machine client it stands for.")
@click.option(
    "--scope", default="aow_manage signature", show_default=True, help="Scopes, with blanks between them."
)
@click.option("--expires-in", default=28_800, show_default=True, help="Seconds that it lives.")
@json_option
def token_issue(
    account_id: UUID,
    user: str | None,
    client_id: UUID | None,
    scope: str,
    expires_in: int,
    *,
    as_json: bool,
) -> None:
    """Issue an access token for one account, for a user or a machine client."""
    if (user is None) == (client_id is None):
        raise click.UsageError("Give either --user or --client.")

    async def work() -> str:
        holder = ("client", client_id) if user is None else ("user", await find_user(user))
        return await issue_token(account_id, holder, scope.split(), expires_in)  # type: ignore[arg-type] # one is set

    issued = perform(work)
    show({"access_token": issued, "expires_in": expires_in}, [issued], as_json=as_json)
