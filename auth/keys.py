"""The RSA keys that sign ID tokens: published first, then signing, then published until what they signed has expired.

A verifier may keep the published set for `CACHE_SECONDS`. So that none meets a key that it does not know, a key is
published for longer than that before it signs; so that none loses a key too early, it stays for the longest life of an
ID token after it has signed for the last time. All times are the database's, which every process agrees with.
"""

from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid4

import msgspec
from anyio import to_thread
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from joserfc.jwk import KeySet, RSAKey

from tenancy.errors import Conflict
from tenancy.rows import current_connection, read, transaction

ALGORITHM = "RS256"
KEY_BITS = 2048
PUBLIC_MEMBERS = ("kty", "n", "e", "kid", "use", "alg")
CACHE_SECONDS = 300  # how long verifiers may keep the published set: the max-age of its answer
LONGEST_ID_TOKEN = 3600  # seconds that an ID token lives at most
MARGIN = 60  # seconds: for answers on their way and verifiers' clocks
PUBLISHED_FIRST = CACHE_SECONDS + MARGIN
PUBLISHED_AFTER = LONGEST_ID_TOKEN + MARGIN

ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('signing_key'))"
SIGNING = "SELECT id, private_key FROM signing_key WHERE signs_from IS NOT NULL AND retired_at IS NULL"
PUBLISHED = f"""
SELECT id, private_key FROM signing_key
WHERE retired_at IS NULL OR retired_at > now() - interval '{PUBLISHED_AFTER} seconds'
ORDER BY published_at, id
"""
LISTED = f"""
SELECT id AS kid, published_at, signs_from, retired_at,
       CASE WHEN signs_from IS NULL THEN 'next' WHEN retired_at IS NULL THEN 'signing'
            WHEN retired_at > now() - interval '{PUBLISHED_AFTER} seconds' THEN 'retired' ELSE 'expired' END AS state
FROM signing_key ORDER BY published_at DESC, id
"""
# Not now(), which is when the transaction began: it may have waited for its turn since, and made a key.
INSERT = "INSERT INTO signing_key (id, private_key, published_at) VALUES ($1, $2, clock_timestamp())"
SIGN = "UPDATE signing_key SET signs_from = clock_timestamp() WHERE signs_from IS NULL RETURNING id"
WAIT = f"""
SELECT ceil({PUBLISHED_FIRST} - extract(epoch FROM clock_timestamp() - published_at))::int
FROM signing_key WHERE signs_from IS NULL
"""
RETIRE = "UPDATE signing_key SET retired_at = clock_timestamp() WHERE signs_from IS NOT NULL AND retired_at IS NULL RETURNING id"
REMOVE_EXPIRED = f"""
DELETE FROM signing_key WHERE retired_at <= now() - interval '{PUBLISHED_AFTER} seconds' RETURNING id
"""
REMOVE_USED = "DELETE FROM signing_key WHERE signs_from IS NOT NULL RETURNING id"


class Rotated(msgspec.Struct, frozen=True):
    """What a rotation did, as key ids: `signing` signs now, `published` is next, `removed` are no longer published."""

    signing: UUID
    published: UUID
    retired: UUID | None
    removed: list[UUID]


class KeyState(msgspec.Struct, frozen=True):
    """A key and how far it is: `state` is next, signing, retired (still published) or expired."""

    kid: UUID
    published_at: datetime
    signs_from: datetime | None
    retired_at: datetime | None
    state: str


async def signing_key() -> RSAKey:
    """Return the key that signs, inside an open transaction; the first keys are made where there are none."""
    connection = current_connection()
    row = await connection.fetchrow(SIGNING)
    if row is None:
        await make_first()
        row = await connection.fetchrow(SIGNING)
    return parsed(*row)  # type: ignore[misc] # make_first has seen to it that there is one


async def published_keys() -> dict[str, list[dict[str, Any]]]:
    """Return the JSON Web Key Set that verifiers read: every key that may have signed what still holds, or will soon."""
    rows = await read(PUBLISHED)
    if not rows:
        async with transaction():
            await make_first()
        rows = await read(PUBLISHED)
    return {"keys": [public_members(parsed(*row)) for row in rows]}


async def verifying_keys() -> KeySet:
    """Return the keys with which the server reads its own ID tokens, inside an open transaction."""
    return KeySet([parsed(*row) for row in await current_connection().fetch(PUBLISHED)])


async def list_keys() -> list[KeyState]:
    """List every key that is kept, newest first, without what is secret."""
    return [KeyState(**row) for row in await read(LISTED)]


async def rotate(*, now: bool = False) -> Rotated:
    """Let the next key sign, retire the one that did, publish a new next one.

    With `now`, for a leaked key, nothing is waited for and all keys that have ever signed are withdrawn at once: what they
    signed does not verify any more.

    Raises:
        Conflict: some verifiers may not know the next key yet; the message says how long to wait.
    """
    async with transaction():
        await make_first()
    async with transaction() as connection:
        await connection.execute(ONE_AT_A_TIME)
        wait = await connection.fetchval(WAIT)
        if wait > 0 and not now:
            raise Conflict(
                f"Verifiers may not know the next key yet: rotate in {wait} seconds. "
                "If the signing key has leaked, rotate at once with: tutti keys rotate --now"
            )
        fresh = await to_thread.run_sync(new_private_key)
        removed = await connection.fetch(REMOVE_USED if now else REMOVE_EXPIRED)
        retired = await connection.fetchval(RETIRE)
        signing = await connection.fetchval(SIGN)
        published = await insert(fresh)
    return Rotated(signing, published, retired, [row["id"] for row in removed])


async def make_first() -> None:
    """Make a signing key and the next one where there are none, inside an open transaction; one process does it for all."""
    connection = current_connection()
    await connection.execute(ONE_AT_A_TIME)
    if await connection.fetchval("SELECT EXISTS (SELECT FROM signing_key)"):
        return
    await insert(await to_thread.run_sync(new_private_key))
    await connection.execute(SIGN)
    await insert(await to_thread.run_sync(new_private_key))


async def insert(private_key: str) -> UUID:
    """Publish a key; return its `kid`."""
    kid = uuid4()
    await current_connection().execute(INSERT, kid, private_key)
    return kid


def new_private_key() -> str:
    """Make a private key as PEM: tens of milliseconds, without the interpreter's lock."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@lru_cache(maxsize=16)
def parsed(kid: UUID, private_key: str) -> RSAKey:
    """Read a stored key. That its primes are primes was seen to when it was made; to check again takes 80 ms."""
    key = load_pem_private_key(private_key.encode(), None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError(f"The signing key {kid} is not an RSA key.")
    return RSAKey.import_key(key, {"kid": str(kid), "use": "sig", "alg": ALGORITHM})


def public_members(key: RSAKey) -> dict[str, Any]:
    """Return what others may know of a key: named one by one, so that nothing else gets out."""
    members = key.as_dict(private=False)
    return {name: members[name] for name in PUBLIC_MEMBERS}
