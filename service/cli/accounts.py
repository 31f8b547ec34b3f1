"""The verbs about accounts and users."""

from uuid import UUID

import msgspec
import rich_click as click

from auth.passwords import hash_password
from service.cli.database import perform, server
from service.cli.limits import limits_of_account, settings_of_account
from service.cli.terminal import chosen_password, json_option, show
from service.cli.verbs import Verbs
from tenancy import accounts
from tenancy.tables import ROLES

ARTICLED = {"admin": "an admin", "manager": "a manager", "sender": "a sender", "viewer": "a viewer"}
account_option = click.option(
    "--account", "account_id", type=click.UUID, required=True, help="The account's id."
)


@click.group(cls=Verbs)
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
    made = perform(lambda: accounts.create_account(name, account_id))
    show({"account_id": str(made)}, [f"Account {made} ({name})."], as_json=as_json)


@account.command("suspend")
@click.argument("account_id", metavar="ID", type=click.UUID)
@json_option
def account_suspend(account_id: UUID, *, as_json: bool) -> None:
    """Shut the account ID: nobody enters it, its clients can do nothing, until it is resumed."""
    perform(lambda: accounts.suspend_account(account_id))
    data = {"account_id": str(account_id), "status": "suspended"}
    lines = [
        f"Account {account_id} is suspended.",
        f"Tokens are refused until: tutti account resume {account_id}",
        f"To end them for good: tutti grant revoke --account {account_id}",
    ]
    show(data, lines, as_json=as_json)


@account.command("resume")
@click.argument("account_id", metavar="ID", type=click.UUID)
@json_option
def account_resume(account_id: UUID, *, as_json: bool) -> None:
    """Open the account ID again."""
    perform(lambda: accounts.resume_account(account_id))
    data = {"account_id": str(account_id), "status": "active"}
    show(data, [f"Account {account_id} is active."], as_json=as_json)


account.add_command(limits_of_account)
account.add_command(settings_of_account)


@click.group(cls=Verbs)
def user() -> None:
    """Users and their memberships. USER is an e-mail address or an id."""


@user.command("create")
@click.argument("email")
@click.option("--name", required=True, help="The person's name.")
@click.option(
    "--password-stdin", is_flag=True, help="Read a password from standard input; without it there is none."
)
@click.option(
    "--reset",
    is_flag=True,
    help="Of a user that exists: the password typed now, or none, in place of theirs; their logins and grants end.",
)
@account_option
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default="sender",
    show_default=True,
    help="What they may do: all; operate; start and see their own; only look.",
)
@json_option
def user_create(  # noqa: PLR0913 - an option is an argument
    email: str,
    name: str,
    account_id: UUID,
    role: str,
    *,
    password_stdin: bool,
    reset: bool,
    as_json: bool,
) -> None:
    """Make the user EMAIL a member of an account; a user that exists, or was removed, joins it.

    A user whom an invitation has made joins with --reset alone: only who opened that knows who they are.
    """
    hashed = hash_password(chosen_password(from_stdin=True)) if password_stdin else None
    made = perform(lambda: accounts.add_user(email, name, hashed, account_id, role, reset=reset))
    lines = [f"User {made} ({email}) is {ARTICLED[role]} of account {account_id}."]
    if not password_stdin:
        lines.append(
            f"Who is new{' or reset' if reset else ''} has no password yet; to set one: tutti user set-password {email}"
        )
    show({"user_id": str(made)}, lines, as_json=as_json)


@user.command("list")
@account_option
@json_option
def user_list(account_id: UUID, *, as_json: bool) -> None:
    """List an account's users in the order in which they joined: id, e-mail address, name, role and status."""
    found = perform(lambda: accounts.list_members(account_id))
    lines = [f"{one.user_id}  {one.role:<7} {one.status:<9} {one.email}  {one.name}" for one in found]
    show({"users": msgspec.to_builtins(found)}, lines or ["The account has no users."], as_json=as_json)


@user.command("set-password")
@click.argument("user")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@json_option
def user_set_password(user: str, *, password_stdin: bool, as_json: bool) -> None:
    """Give USER a new password, typed twice at the terminal; every login of theirs ends."""
    with server():
        perform(lambda: accounts.find_user(user))  # nobody types a password for somebody who is not there
        hashed = hash_password(chosen_password(from_stdin=password_stdin))
        user_id = perform(lambda: accounts.set_password(user, hashed))
    lines = [
        f"User {user_id} ({user}) has a new password and is logged out everywhere.",
        f"What they allowed clients stays, unless an invitation had made them; to take it back: tutti grant revoke --user {user_id}",
    ]
    show({"user_id": str(user_id)}, lines, as_json=as_json)


@user.command("suspend")
@click.argument("user")
@json_option
def user_suspend(user: str, *, as_json: bool) -> None:
    """Shut USER out of every account, until they are resumed."""
    done = perform(lambda: accounts.suspend_user(user))
    user_id, alone = done.user_id, list(map(str, done.without_admin))
    data = {"user_id": str(user_id), "status": "suspended", "accounts_without_admin": alone}
    lines = [
        f"User {user_id} ({user}) is suspended.",
        *(
            f"Account {one} has no active admin now: tutti user create EMAIL --account {one} --role admin"
            for one in alone
        ),
        f"Tokens are refused until: tutti user resume {user_id}",
        f"To end them for good: tutti grant revoke --user {user_id}",
    ]
    show(data, lines, as_json=as_json)


@user.command("resume")
@click.argument("user")
@json_option
def user_resume(user: str, *, as_json: bool) -> None:
    """Let USER in again."""
    user_id = perform(lambda: accounts.resume_user(user))
    data = {"user_id": str(user_id), "status": "active"}
    show(data, [f"User {user_id} ({user}) is active."], as_json=as_json)


@user.command("remove")
@click.argument("user")
@account_option
@click.option(
    "--even-the-last", is_flag=True, help="Leave the account without an active admin, if it comes to that."
)
@json_option
def user_remove(user: str, account_id: UUID, *, even_the_last: bool, as_json: bool) -> None:
    """End USER's membership of an account; what they made there stays: clients too, and what these are allowed."""
    user_id = perform(lambda: accounts.remove_member(user, account_id, even_the_last=even_the_last))
    data = {"user_id": str(user_id), "account_id": str(account_id)}
    show(data, [f"User {user_id} ({user}) is no member of account {account_id} any more."], as_json=as_json)
