"""What a verb tells and asks: data on standard output, everything else on standard error; nothing in it is markup."""

import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import rich_click as click
from rich.console import Console
from rich.text import Text

told = Console(stderr=True)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


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


def confirmed(question: str, *, yes: bool) -> None:
    """Ask before something is done that cannot be undone, unless the caller has said yes already.

    Raises:
        click.UsageError: there is nobody to ask.
        click.Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask at: give --yes to go on.")
    click.confirm(question, abort=True, err=True)


def chosen_password(*, from_stdin: bool) -> str:
    """Read a password: the first line of standard input, or what is typed twice at the terminal, unseen.

    Raises:
        click.UsageError: there is no terminal to type at.
    """
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to type a password at: give --password-stdin.")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password
