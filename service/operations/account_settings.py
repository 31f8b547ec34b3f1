"""What an account's administrators set for it: its name, and for how long it keeps what is over."""

from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from auth.bearer import Access
from auth.roles import Right
from service.engine.events import OfAccount, record
from tenancy.accounts import checked_name, no_account
from tenancy.errors import BadRequest, FieldError
from tenancy.events import differences
from tenancy.rows import current_connection

MOST_DAYS = 36_500
LEAST_DAYS = {"instance_retention_days": 1, "event_retention_days": 30}

READ = """
SELECT account.id, account.name, settings.instance_retention_days, settings.event_retention_days
FROM account LEFT JOIN account_settings AS settings ON settings.account_id = account.id
WHERE account.id = $1
"""
RENAME = "UPDATE account SET name = $2 WHERE id = $1"
# What is kept less long is looked at soon.
WRITE = """
INSERT INTO account_settings (account_id, instance_retention_days, event_retention_days, sweep_at)
VALUES ($1, $2, $3, clock_timestamp())
ON CONFLICT (account_id) DO UPDATE SET
    (instance_retention_days, event_retention_days, sweep_at) =
    (excluded.instance_retention_days, excluded.event_retention_days, excluded.sweep_at)
"""


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What is to become of the settings; what is left out stays. None keeps things for ever."""

    name: str | UnsetType = UNSET
    instance_retention_days: int | UnsetType | None = UNSET
    event_retention_days: int | UnsetType | None = UNSET


class Settings(msgspec.Struct, frozen=True):
    """An account's settings: for how many days it keeps instances that have ended, and events; None for ever."""

    id: UUID
    name: str
    instance_retention_days: int | None
    event_retention_days: int | None


async def get(access: Access) -> Settings:
    """Return an account's settings.

    Raises:
        NotFound: no such account.
    """
    async with access.rows(Right.ADMINISTER) as caller:
        return _settings(await _row(caller.account_id))


async def change(access: Access, changes: Changes) -> Settings:
    """Change an account's settings; what they keep no longer is removed soon, and cannot be brought back.

    Raises:
        NotFound: no such account.
        BadRequest: a name or a number of days out of its bounds.
    """
    async with access.alone(Right.ADMINISTER) as caller:
        given = _checked(changes)
        row = await _row(caller.account_id)
        before = {name: row[name] for name in Changes.__struct_fields__}
        after = before | given
        connection = current_connection()
        if after["name"] != before["name"]:
            await connection.execute(RENAME, caller.account_id, after["name"])
        if any(after[name] != before[name] for name in LEAST_DAYS):
            days = (after["instance_retention_days"], after["event_retention_days"])
            await connection.execute(WRITE, caller.account_id, *days)
        if after != before:
            about = OfAccount(caller.account_id)
            await record(about, "account.changed", caller.id, **differences(before, after))
        return Settings(caller.account_id, **after)


def _checked(changes: Changes) -> dict[str, Any]:
    """Return what was given, in its one form.

    Raises:
        BadRequest: with one entry for each field that is out of its bounds.
    """
    given = {name: value for name, value in msgspec.structs.asdict(changes).items() if value is not UNSET}
    wrong = [
        FieldError(
            "FIELD_INVALID",
            f"is a number of days from {least} to {MOST_DAYS}, or null to keep them for ever",
            name,
        )
        for name, least in LEAST_DAYS.items()
        if given.get(name) is not None and not least <= given[name] <= MOST_DAYS
    ]
    if "name" in given:
        try:
            given["name"] = checked_name(given["name"], "An account's name")
        except BadRequest as refused:
            wrong.append(FieldError("FIELD_INVALID", refused.detail, "name"))
    if wrong:
        raise BadRequest(" ".join(f"{one.target}: {one.message}" for one in wrong), errors=tuple(wrong))
    return given


async def _row(account_id: UUID) -> asyncpg.Record:
    row = await current_connection().fetchrow(READ, account_id)
    if row is None:
        raise no_account(account_id)
    return row


def _settings(row: asyncpg.Record) -> Settings:
    return Settings(**dict(row))
