"""The verb about the Formance stack of an account, which its `send` and `update` stages call."""

from uuid import UUID

import rich_click as click

from auth.bearer import Operator
from service.cli.accounts import account_option
from service.cli.database import perform, server
from service.cli.secrets import read_value
from service.cli.terminal import json_option, show
from service.cli.verbs import Verbs
from service.formance.connection import connection
from service.formance.stages.activities import SECRET
from service.operations import secrets


@click.group(cls=Verbs)
def formance() -> None:
    """The Formance dialect: the ledger, wallets and payments that an account's workflows move money in."""


@formance.command("configure")
@account_option
@click.option("--url", required=True, help="The stack's address, such as https://stack.example.")
@click.option("--client-id", required=True, help="The client that calls it.")
@click.option(
    "--token-url",
    help="Where the client gets tokens; /api/auth/oauth/token of the stack's host if not given.",
)
@json_option
def formance_configure(
    account_id: UUID, url: str, client_id: str, token_url: str | None, *, as_json: bool
) -> None:
    """Connect an account to a Formance stack, or change how.

    The client's secret is read from standard input, without the line break at its end, or typed twice at the terminal, unseen.
    """
    operator = Operator(account_id)
    with server():
        perform(lambda: secrets.require_settable(operator, SECRET))  # nobody types a value for nothing
        value = connection(url, client_id, read_value(), token_url)
        replaced = perform(lambda: secrets.set_secret(operator, SECRET, value))
    token_address = value["token_authority"] + value["token_path"]
    lines = [
        f"Account {account_id} is connected to {value['url']}, with tokens from {token_address}.",
        f"It is kept as the account's secret {SECRET}; tutti secret delete {SECRET} disconnects it.",
    ]
    told = {
        "account_id": str(account_id),
        "url": value["url"],
        "token_url": token_address,
        "client_id": value["client_id"],
        "replaced": replaced,
    }
    show(told, lines, as_json=as_json)
