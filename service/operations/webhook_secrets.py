"""Secrets of webhooks: made, encrypted, and encrypted anew when the operator's key changes.

The last is what `service.operations.secrets` does for the secrets that accounts set.
"""

import base64
import os
from uuid import UUID

import asyncpg

from auth.bearer import SERVICE
from service.engine.events import OfAccount, record
from service.engine.vault import HEADER_BYTES, VERSION, SecretsUnreadableError, keys, opened, sealed
from service.errors import WebhookConflict
from tenancy.errors import SetupRefused
from tenancy.rows import read, rows_of

SECRET_BYTES = 32
NO_KEYS = "The service has no key to keep a webhook's secret by: whoever runs it has to set TUTTI_SECRET_KEYS first."

ACCOUNTS = "SELECT account_id FROM accounts_with_webhooks()"
STALE = f"""
SELECT id, secret, previous_secret FROM webhook
WHERE account_id = $1 AND deleted_at IS NULL AND (
    substring(secret FOR {HEADER_BYTES}) <> $2 OR substring(previous_secret FOR {HEADER_BYTES}) <> $2)
ORDER BY id FOR NO KEY UPDATE
"""
UPDATE = "UPDATE webhook SET secret = $2, previous_secret = $3 WHERE id = $1"


def new_secret(form: str) -> str:
    """Make a secret as the format writes it: `whsec_` and base64 (Standard Webhooks), or base64 alone (Connect)."""
    text = base64.b64encode(os.urandom(SECRET_BYTES)).decode()
    return f"whsec_{text}" if form == "standard" else text


def secret_name(webhook_id: UUID) -> str:
    """What an endpoint's secret is sealed under: no account's own secret can have a name with a blank."""
    return f"webhook {webhook_id}"


def seal(account_id: UUID, webhook_id: UUID, secret: str) -> bytes:
    """Encrypt an endpoint's secret.

    Raises:
        WebhookConflict: the service has no key.
    """
    try:
        return sealed(account_id, secret_name(webhook_id), secret)
    except SetupRefused:
        raise WebhookConflict(NO_KEYS) from None


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
