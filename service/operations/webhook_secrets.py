"""Encrypts webhooks' secrets anew when the operator's key changes, as `service.operations.secrets` does the accounts'."""

from uuid import UUID

import asyncpg

from auth.bearer import SERVICE
from service.engine.events import OfAccount, record
from service.engine.vault import HEADER_BYTES, VERSION, SecretsUnreadableError, keys, opened, sealed
from service.operations.webhooks import secret_name
from tenancy.rows import read, rows_of

ACCOUNTS = "SELECT account_id FROM accounts_with_webhooks()"
STALE = f"""
SELECT id, secret, previous_secret FROM webhook
WHERE account_id = $1 AND deleted_at IS NULL AND (
    substring(secret FOR {HEADER_BYTES}) <> $2 OR substring(previous_secret FOR {HEADER_BYTES}) <> $2)
ORDER BY id FOR NO KEY UPDATE
"""
UPDATE = "UPDATE webhook SET secret = $2, previous_secret = $3 WHERE id = $1"


async def encrypt_anew() -> tuple[int, list[str]]:
    """Encrypt by the first key what another one has encrypted; return for how many webhooks, and which cannot be read.

    Raises:
        SetupRefused: there are no keys.
    """
    done, unreadable = 0, list[str]()
    for row in await read(ACCOUNTS):
        encrypted, unread = await _encrypt_anew(row["account_id"])
        done, unreadable = done + encrypted, unreadable + unread
    return done, unreadable


async def _encrypt_anew(account_id: UUID) -> tuple[int, list[str]]:
    """Encrypt one account's."""
    anew, unreadable = list[tuple[UUID, bytes, bytes | None]](), list[str]()
    async with rows_of(account_id) as connection:
        for row in await connection.fetch(STALE, account_id, VERSION + keys()[0].id):
            try:
                anew.append(_sealed_anew(account_id, row))
            except SecretsUnreadableError:
                unreadable.append(f"{account_id} {secret_name(row['id'])}")
        await connection.executemany(UPDATE, anew)
        if anew:
            await record(OfAccount(account_id), "webhook.encrypted", SERVICE, webhooks=len(anew))
    return len(anew), unreadable


def _sealed_anew(account_id: UUID, row: asyncpg.Record) -> tuple[UUID, bytes, bytes | None]:
    """Read an endpoint's secrets, and seal them by the first key.

    Raises:
        SecretsUnreadableError: one of them cannot be read.
    """
    name = secret_name(row["id"])
    secret = sealed(account_id, name, opened(account_id, name, row["secret"]))
    previous = row["previous_secret"]
    if previous is not None:
        previous = sealed(account_id, name, opened(account_id, name, previous))
    return row["id"], secret, previous
