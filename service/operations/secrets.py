"""What operators do with an account's secrets: set, list, delete, and encrypt them anew when keys change.

Nobody gets a value back; definitions use it by its name, in the calls that declare it (`service.engine.vault`).
"""

import re
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec

from auth.bearer import SERVICE, Access, Caller
from auth.clients import require_account
from auth.roles import Right
from service.engine.events import OfAccount, record
from service.engine.vault import HEADER_BYTES, VERSION, SecretsUnreadableError, keys, opened, sealed
from service.language.document import DocumentRefused
from service.language.texts import parse_json
from service.language.values import flaw
from service.operations import webhook_secrets
from tenancy.errors import BadRequest, Conflict, NotFound, TooLarge
from tenancy.rows import current_connection, read, rows_of

MOST = 100  # secrets of one account
LONGEST_VALUE = 64 * 1024  # bytes, of an object those of its JSON text
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}")
NAME_RULE = "A secret's name has 1 to 128 letters, digits, hyphens and underscores, and does not begin with a digit or hyphen."

UPSERT = """
INSERT INTO secret (id, account_id, name, ciphertext, created_at, modified_at) VALUES ($1, $2, $3, $4, now(), now())
ON CONFLICT (account_id, name) DO UPDATE SET ciphertext = excluded.ciphertext, modified_at = now()
RETURNING id <> $1 AS replaced
"""
LISTED = "SELECT name, created_at, modified_at FROM secret WHERE account_id = $1 ORDER BY name"
DELETE = "DELETE FROM secret WHERE account_id = $1 AND name = $2 RETURNING name"
FORGET = """
DELETE FROM secret USING workflow
WHERE secret.account_id = $1 AND workflow.account_id = $1 AND workflow.status = 'archived'
  AND workflow.id = CASE WHEN secret.name ~ ('^' || $2 || '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-')
                         THEN substring(secret.name FROM length($2) + 1 FOR 36)::uuid END
  AND NOT EXISTS (SELECT FROM instance
                  WHERE instance.account_id = $1 AND instance.workflow_id = workflow.id AND instance.ended_at IS NULL)
RETURNING secret.name
"""
STALE = f"""
SELECT id, name, ciphertext FROM secret
WHERE account_id = $1 AND substring(ciphertext FOR {HEADER_BYTES}) <> $2 ORDER BY name FOR UPDATE
"""


class SecretEntry(msgspec.Struct, frozen=True):
    """What may be known of a secret: its name, since when there is one of it, and since when it has its value."""

    name: str
    created_at: datetime
    modified_at: datetime


class Rotated(msgspec.Struct, frozen=True):
    """What a rotation did: how many secrets the first key encrypts now that another did, and which nobody can read."""

    encrypted: int
    unreadable: list[str]


async def require_settable(access: Access, name: str) -> None:
    """Refuse a secret that could not be set, before anybody types its value.

    Raises:
        BadRequest: not a name.
        NotFound: there is no such account.
        Conflict: the account has as many secrets as it may have.
        SetupRefused: there is no key to encrypt by.
    """
    keys()
    if not NAME.fullmatch(name):
        raise BadRequest(NAME_RULE)
    async with access.alone(Right.ADMINISTER):
        await _require_place(access.account_id, name)


async def set_secret(access: Access, name: str, value: str | dict[str, Any]) -> bool:
    """Store a secret, in place of the one that has the name; whether there was one.

    Raises:
        BadRequest: not a name, or no value.
        TooLarge: the value has more than 64 KiB.
        NotFound: there is no such account.
        Conflict: the account has as many secrets as it may have.
        SetupRefused: there is no key to encrypt by.
    """
    if not NAME.fullmatch(name):
        raise BadRequest(NAME_RULE)
    _check_value(value)
    keys()
    async with access.alone(Right.ADMINISTER) as caller:
        return await put(caller, name, value)


async def put(caller: Caller, name: str, value: str | dict[str, Any]) -> bool:
    """Store a secret, whose name and value are in order, in the open transaction; whether it took another one's place.

    Raises:
        Conflict: the account has as many secrets as it may have.
        SetupRefused: there is no key to encrypt by.
    """
    ciphertext = sealed(caller.account_id, name, value)
    await _require_place(caller.account_id, name)
    arguments = uuid4(), caller.account_id, name, ciphertext
    replaced = bool(await current_connection().fetchval(UPSERT, *arguments))
    await record(OfAccount(caller.account_id), "secret.set", caller.id, name=name, replaced=replaced)
    return replaced


async def forget(caller: Caller, prefix: str) -> None:
    """Delete the secrets that a dialect has kept for workflows that are archived, in the open transaction.

    Behind the prefix their names have the workflow's id and a hyphen. They stay while instances of the workflow go on, which
    may call with them yet.
    """
    rows = await current_connection().fetch(FORGET, caller.account_id, prefix)
    for row in rows:
        await record(OfAccount(caller.account_id), "secret.deleted", caller.id, name=row["name"])


def object_in(text: str) -> dict[str, Any]:
    """Read a value that is written as a JSON object. The refusal says nothing of what is in it.

    Raises:
        BadRequest: it is something else.
    """
    try:
        value = parse_json(text.encode())
    except DocumentRefused:
        value = None
    if not isinstance(value, dict):
        raise BadRequest("The value is not one JSON object with unique keys and without NUL characters.")
    return value


async def list_secrets(access: Access) -> list[SecretEntry]:
    """List the names of an account's secrets.

    Raises:
        NotFound: there is no such account.
    """
    async with access.rows(Right.ADMINISTER):
        await require_account(access.account_id)
        rows = await current_connection().fetch(LISTED, access.account_id)
    return [SecretEntry(**row) for row in rows]


async def delete_secret(access: Access, name: str) -> None:
    """Delete a secret: calls that read it fail from now on.

    Raises:
        NotFound: there is no such secret, or no such account.
    """
    async with access.rows(Right.ADMINISTER) as caller:
        await require_account(caller.account_id)
        if not await current_connection().fetchval(DELETE, caller.account_id, name):
            raise NotFound(f"The account has no secret {name}; its secrets: tutti secret list")
        await record(OfAccount(caller.account_id), "secret.deleted", caller.id, name=name)


async def rotate_secrets() -> Rotated:
    """Encrypt by the first key what another one has encrypted: every account's, one account after the other, webhooks' too.

    What cannot be read stays as it is and is named, as account and name.

    Raises:
        SetupRefused: there are no keys.
    """
    keys()
    done = [
        await _rotate(row["account_id"])
        for row in await read("SELECT account_id FROM accounts_with_secrets()")
    ]
    of_webhooks, unreadable = await webhook_secrets.encrypt_anew()
    encrypted = sum(one.encrypted for one in done) + of_webhooks
    return Rotated(encrypted, [name for one in done for name in one.unreadable] + unreadable)


async def _rotate(account_id: UUID) -> Rotated:
    """Encrypt one account's secrets anew."""
    async with rows_of(account_id) as connection:
        stale = await connection.fetch(STALE, account_id, VERSION + keys()[0].id)
        anew: list[tuple[UUID, bytes]] = []
        unreadable: list[str] = []
        for row in stale:
            try:
                value = opened(account_id, row["name"], row["ciphertext"])
            except SecretsUnreadableError:
                unreadable.append(f"{account_id} {row['name']}")
            else:
                anew.append((row["id"], sealed(account_id, row["name"], value)))
        await connection.executemany("UPDATE secret SET ciphertext = $2 WHERE id = $1", anew)
        if anew:
            await record(OfAccount(account_id), "secret.rotated", SERVICE, secrets=len(anew))
    return Rotated(len(anew), unreadable)


def _check_value(value: str | dict[str, Any]) -> None:
    """Refuse what is empty, too large, or no text that others could hold."""
    if not value:
        raise BadRequest("The value is empty.")
    size = len(value.encode() if isinstance(value, str) else msgspec.json.encode(value))
    if size > LONGEST_VALUE:
        raise TooLarge(f"A secret has at most {LONGEST_VALUE // 1024} KiB.")
    wrong = flaw(value)
    if wrong:
        raise BadRequest(f"The value {wrong}.")


async def _require_place(account_id: UUID, name: str) -> None:
    """Refuse one secret too many."""
    others = "SELECT count(*) FROM secret WHERE account_id = $1 AND name <> $2"
    if await current_connection().fetchval(others, account_id, name) >= MOST:
        raise Conflict(f"An account has at most {MOST} secrets; delete one first.")
