"""The verbs about the keys that sign ID tokens."""

import msgspec
import rich_click as click

from auth.keys import PUBLISHED_AFTER, list_keys, rotate
from service.cli.database import perform
from service.cli.terminal import json_option, show
from service.cli.verbs import Verbs


@click.group(cls=Verbs)
def keys() -> None:
    """Keys that sign ID tokens."""


@keys.command("rotate")
@click.option(
    "--now",
    is_flag=True,
    help="Wait for nothing and withdraw every key that has signed: for a leaked key. "
    "Run it twice where the next key may have leaked too.",
)
@json_option
def keys_rotate(*, now: bool, as_json: bool) -> None:
    """Let the published next key sign, retire the one that did, publish a new next one.

    Retired keys stay published until what they signed has expired; a later rotation removes them.
    """
    rotated = perform(lambda: rotate(now=now))
    lines = [f"Key {rotated.signing} signs.", f"Key {rotated.published} is published and signs next."]
    if rotated.retired is not None:
        lines.append(f"Key {rotated.retired} is retired and stays published for {PUBLISHED_AFTER} seconds.")
    lines += [f"Key {kid} is removed." for kid in rotated.removed]
    show(msgspec.to_builtins(rotated), lines, as_json=as_json)


@keys.command("list")
@json_option
def keys_list(*, as_json: bool) -> None:
    """List the keys and how far each is: next, signing, retired (still published) or expired."""
    found = perform(list_keys)
    lines = [f"{key.kid}  {key.state:<8} published {key.published_at:%Y-%m-%d %H:%M:%S}" for key in found]
    nothing = "There are no keys yet: the first request for an ID token or for the published set makes them."
    show({"keys": msgspec.to_builtins(found)}, lines or [nothing], as_json=as_json)
