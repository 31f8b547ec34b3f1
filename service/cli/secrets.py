"""The verbs about what definitions use and nobody may read: values come by standard input, never as arguments."""

import base64
import os
import sys
from typing import Any
from uuid import UUID

import msgspec
import rich_click as click

from auth.bearer import Operator
from service.cli.accounts import account_option
from service.cli.database import perform, server
from service.cli.terminal import json_option, show, tell
from service.cli.verbs import Verbs
from service.operations import secrets
from service.settings import SECRET_KEY_BYTES


@click.group(cls=Verbs)
def secret() -> None:
    """Secrets of an account, for its definitions to use. Nothing shows a value again."""


@secret.command("set")
@click.argument("name")
@account_option
@click.option(
    "--json-value",
    is_flag=True,
    help='The value is a JSON object, as `{use: NAME}` of an authentication takes: {"username": …, "password": …}.',
)
@json_option
def secret_set(name: str, account_id: UUID, *, json_value: bool, as_json: bool) -> None:
    """Store the secret NAME, or replace its value.

    The value is read from standard input, without the line break at its end, or typed twice at the terminal, unseen.
    """
    operator = Operator(account_id)
    with server():
        perform(lambda: secrets.require_settable(operator, name))  # nobody types a value for nothing
        text = read_value()
        value: str | dict[str, Any] = secrets.object_in(text) if json_value else text
        replaced = perform(lambda: secrets.set_secret(operator, name, value))
    expression = f"$secrets.{name}" if name.isidentifier() else f'$secrets["{name}"]'
    lines = [
        f"The secret {name} of account {account_id} {'has a new value' if replaced else 'is set'}.",
        f"A definition names it in use.secrets and reads it in a call: {expression}",
    ]
    show({"account_id": str(account_id), "name": name, "replaced": replaced}, lines, as_json=as_json)


def read_value() -> str:
    """Read a value: all of standard input but its last line break, or what is typed twice at the terminal, unseen."""
    if sys.stdin.isatty():
        typed: str = click.prompt("Value", hide_input=True, confirmation_prompt=True, err=True)
        return typed
    text = sys.stdin.buffer.read(2 * secrets.LONGEST_VALUE).decode()
    return text.removesuffix("\n").removesuffix("\r")


@secret.command("list")
@account_option
@json_option
def secret_list(account_id: UUID, *, as_json: bool) -> None:
    """List the names of an account's secrets, and when each was made and set last."""
    found = perform(lambda: secrets.list_secrets(Operator(account_id)))
    lines = [
        f"{one.name}  made {one.created_at:%Y-%m-%d %H:%M:%S}  set {one.modified_at:%Y-%m-%d %H:%M:%S}"
        for one in found
    ]
    show({"secrets": msgspec.to_builtins(found)}, lines or ["The account has no secrets."], as_json=as_json)


@secret.command("delete")
@click.argument("name")
@account_option
@json_option
def secret_delete(name: str, account_id: UUID, *, as_json: bool) -> None:
    """Delete the secret NAME: calls that read it fail from now on."""
    perform(lambda: secrets.delete_secret(Operator(account_id), name))
    lines = [f"The secret {name} of account {account_id} is deleted."]
    show({"account_id": str(account_id), "name": name}, lines, as_json=as_json)


@secret.command("key")
@json_option
def secret_key(*, as_json: bool) -> None:
    """Print a new key for TUTTI_SECRET_KEYS. It is stored nowhere: keep a copy in a safe place."""
    key = base64.urlsafe_b64encode(os.urandom(SECRET_KEY_BYTES)).decode()
    show({"key": key}, [key], as_json=as_json)


@secret.command("rotate")
@json_option
def secret_rotate(*, as_json: bool) -> int:
    """Encrypt every account's secrets by the first key of TUTTI_SECRET_KEYS; keys behind it are then of no more use."""
    rotated = perform(secrets.rotate_secrets)
    for one in rotated.unreadable:
        tell(f"No key reads the secret {one}; it stays as it is. Set it again, or add its key.")
    lines = [f"{rotated.encrypted} secrets are encrypted anew, by the first key."]
    show(msgspec.to_builtins(rotated), lines, as_json=as_json)
    return 1 if rotated.unreadable else 0
