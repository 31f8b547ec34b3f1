"""The verbs about what an account is limited to, and what its administrators could set themselves."""

from typing import Any
from uuid import UUID

import msgspec
import rich_click as click

from auth.bearer import Operator
from service.cli.database import perform
from service.cli.terminal import json_option, show
from service.cli.verbs import Verb
from service.operations import account_settings, limits
from service.operations.account_settings import LEAST_DAYS, Changes
from service.operations.limits import NAMES, Present, Wanted

Named = tuple[str, ...]


def option_of(field: str) -> str:
    """A field as the command line names it."""
    return field.replace("_", "-")


def fields_in(given: dict[str, Any], lifted: Named) -> dict[str, Any]:
    """The fields that options set, and those that are to be none.

    Raises:
        click.UsageError: one of them is both.
    """
    found = {name: value for name, value in given.items() if value is not None}
    for option in lifted:
        field = option.replace("-", "_")
        if field in found:
            raise click.UsageError(f"Either --{option} or --none {option}, not both.")
        found[field] = None
    return found


@click.command("limits", cls=Verb)
@click.argument("account_id", metavar="ID", type=click.UUID)
@click.option("--requests-per-second", type=int, help="Requests that come into its bucket each second.")
@click.option("--burst", type=int, help="Requests that may come at once; a second's where it is left out.")
@click.option("--running-instances", type=int, help="Instances that have not ended.")
@click.option("--stored-bytes", type=int, help="Bytes of its instances, their history and its events.")
@click.option(
    "--none",
    "lifted",
    multiple=True,
    type=click.Choice([option_of(name) for name in NAMES]),
    help="Lift this limit; may be repeated.",
)
@json_option
def limits_of_account(account_id: UUID, lifted: Named, *, as_json: bool, **given: int | None) -> None:
    """Limit the account ID, or show what it is limited to; processes go by it within two seconds."""
    wanted = fields_in(given, lifted)
    operator = Operator(account_id)
    if wanted:
        found = perform(lambda: limits.change(operator, Wanted(**wanted)))
    else:
        found = perform(lambda: limits.get(operator))
    data = {"account_id": str(account_id), **msgspec.to_builtins(found)}
    show(data, told(found), as_json=as_json)


def told(found: Present) -> list[str]:
    """Say what an account is limited to, a limit to a line."""
    uses = {"running_instances": f" ({found.running} run)"}
    if found.stored_bytes is not None:
        measured = (
            "not measured yet" if found.measured_bytes is None else f"{found.measured_bytes} are stored"
        )
        uses["stored_bytes"] = f" ({measured})"
    return [f"{option_of(name):<20} {worded(getattr(found, name))}{uses.get(name, '')}" for name in NAMES]


def worded(limit: int | None) -> str:
    """A limit in words."""
    return "none" if limit is None else str(limit)


@click.command("settings", cls=Verb)
@click.argument("account_id", metavar="ID", type=click.UUID)
@click.option("--name", help="What the account is called.")
@click.option(
    "--instance-retention-days", type=int, help="After how many days instances that have ended are removed."
)
@click.option(
    "--event-retention-days", type=int, help="After how many days events are removed, 30 at the least."
)
@click.option(
    "--none",
    "lifted",
    multiple=True,
    type=click.Choice([option_of(name) for name in LEAST_DAYS]),
    help="Keep these for ever; may be repeated.",
)
@json_option
def settings_of_account(account_id: UUID, lifted: Named, *, as_json: bool, **given: Any) -> None:
    """Change the settings of the account ID, or show them; what they keep no longer is removed soon, for good."""
    wanted = fields_in(given, lifted)
    operator = Operator(account_id)
    if wanted:
        found = perform(lambda: account_settings.change(operator, Changes(**wanted)))
    else:
        found = perform(lambda: account_settings.get(operator))
    data = {"account_id": str(account_id), **msgspec.to_builtins(found)}
    data.pop("id")
    lines = [
        f"{option_of(name):<25} {getattr(found, name) or 'for ever'}" for name in Changes.__struct_fields__
    ]
    show(data, lines, as_json=as_json)
