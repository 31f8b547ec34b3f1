"""Secrets of accounts: encrypted before they are stored, read for the one call that may have them (contract 7.3).

A stored secret is a version byte, the id of the key, a nonce and the AES-256-GCM ciphertext of the value's JSON text. The
account's id and the secret's name are authenticated with it, so a row that is copied to another account, or given another
name, cannot be read. Whoever reads the database without `TUTTI_SECRET_KEYS` learns names, dates and lengths.
"""

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.settings import secret_keys_in, settings
from tenancy.errors import SetupRefused
from tenancy.rows import rows_of

NO_KEYS = (
    "TUTTI_SECRET_KEYS is not set, and without a key no secret can be kept or read. Print a new key with: tutti secret key"
    " - keep a copy of it in a safe place, and set the variable for every process of the service."
)

VERSION = b"\x01"
KEY_ID_BYTES = 8
HEADER_BYTES = len(VERSION) + KEY_ID_BYTES
NONCE_BYTES = 12  # random ones of this length are safe for 2^32 encryptions by one key (NIST SP 800-38D, 8.3)

SELECT = "SELECT name, ciphertext FROM secret WHERE account_id = $1 AND name = ANY ($2)"


class SecretsUnreadableError(SetupRefused):
    """A stored secret cannot be decrypted: the operator's keys are missing or wrong, or the row was tampered with."""


class Key(msgspec.Struct, frozen=True):
    """One of the operator's keys; the id, which stands before what it encrypts, tells nothing about it."""

    id: bytes
    cipher: AESGCM

    @classmethod
    def made(cls, material: bytes) -> "Key":
        """Make a key of its 32 bytes."""
        return cls(
            hashlib.sha256(b"tutti secret key id\0" + material).digest()[:KEY_ID_BYTES], AESGCM(material)
        )

    def __repr__(self) -> str:
        """Show the id alone."""
        return f"Key({self.id.hex()})"


async def secrets_of(account_id: UUID, names: Sequence[str]) -> dict[str, Any]:
    """Read those of an account's secrets that exist, by name: each a string or an object. Missing ones are left out.

    Raises:
        SecretsUnreadableError: a key is missing or wrong. The message holds no value.
    """
    if not names:
        return {}
    async with rows_of(account_id) as connection:
        rows = await connection.fetch(SELECT, account_id, list(names))
    return {row["name"]: opened(account_id, row["name"], row["ciphertext"]) for row in rows}


def keys() -> tuple[Key, ...]:
    """Return the operator's keys: the first encrypts, all decrypt.

    Raises:
        SetupRefused: there are none; the message says how to make one.
    """
    given = settings().secret_keys
    if given is None:
        raise SetupRefused(NO_KEYS)
    return _keys_in(given)


@lru_cache(maxsize=4)
def _keys_in(text: str) -> tuple[Key, ...]:
    return tuple(Key.made(material) for material in secret_keys_in(text))


def sealed(account_id: UUID, name: str, value: Any) -> bytes:
    """Encrypt a secret's value by the first key, for its account and name alone.

    Raises:
        SetupRefused: there are no keys.
    """
    key, nonce = keys()[0], os.urandom(NONCE_BYTES)
    header = VERSION + key.id
    text = msgspec.json.encode(value)
    return header + nonce + key.cipher.encrypt(nonce, text, _bound_to(header, account_id, name))


def opened(account_id: UUID, name: str, stored: bytes) -> Any:
    """Decrypt what `sealed` made for this account and name.

    Raises:
        SecretsUnreadableError: a key is missing or wrong, or the row is not what was stored.
    """
    header, nonce = stored[:HEADER_BYTES], stored[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES]
    if settings().secret_keys is None:
        raise SecretsUnreadableError(NO_KEYS)
    found = [key for key in keys() if header == VERSION + key.id]
    if not found:
        raise SecretsUnreadableError(
            f"The secret {name} was encrypted by a key that TUTTI_SECRET_KEYS does not have: add that key behind the others,"
            " or set the secret again."
        )
    try:
        text = found[0].cipher.decrypt(
            nonce, stored[HEADER_BYTES + NONCE_BYTES :], _bound_to(header, account_id, name)
        )
    except (InvalidTag, ValueError):
        raise SecretsUnreadableError(
            f"The secret {name} is not what was stored for this account and name; set it again."
        ) from None
    return msgspec.json.decode(text)


def _bound_to(header: bytes, account_id: UUID, name: str) -> bytes:
    """What is authenticated beside the value; the name comes last, as it alone has no fixed length."""
    return header + account_id.bytes + name.encode()
