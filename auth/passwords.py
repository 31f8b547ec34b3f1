"""Passwords: Argon2id with OWASP's minimum (19 MiB, two passes), kept as PHC strings, checked without telling who exists."""

import os
import re
import unicodedata
from uuid import UUID

import anyio
import msgspec
from anyio.to_thread import run_sync
from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from tenancy.accounts import checked_email
from tenancy.errors import BadRequest, TooManyAttempts
from tenancy.rows import read

SHORTEST = 8
LONGEST_TYPED = 320  # characters of an e-mail address, with whatever blanks were typed around it
LONGEST = 1024  # bytes; hashing is meant to be slow, not to be fed megabytes
MEMORY_KIB = 19_456
PASSES = 2
# What is verified where there is no user: as much work as for one, and no password is known that it is the hash of.
NOBODYS = f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1${'A' * 22}${'A' * 43}"
COSTS = re.compile(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),p=\d+\$.*")
# However many log in at once, no more memory is hashed in than the processors can work on.
MOST_WAITING = 100  # for at most a second or two
HASHING = anyio.CapacityLimiter(os.cpu_count() or 1)

FIND = """
SELECT id, password_hash FROM app_user WHERE email = $1 AND status = 'active' AND password_hash IS NOT NULL
"""
# Another login may have been faster, or the password have changed since: then that one stays.
REPLACE = "UPDATE app_user SET password_hash = $3 WHERE id = $1 AND password_hash = $2"


def hash_password(password: str) -> str:
    """Hash a new password.

    Raises:
        BadRequest: shorter than 8 characters, longer than 1,024 bytes, or no valid Unicode.
    """
    if len(password) < SHORTEST:
        raise wrong_length()
    return hashed(normalised(password))


async def chosen(password: str) -> str:
    """Hash a new password as `hash_password` does, that somebody chose in a browser: in its turn, beside other requests.

    Raises:
        BadRequest: as for `hash_password`.
        TooManyAttempts: so many wait for their turn that the queue takes no more.
    """
    if len(password) < SHORTEST:
        raise wrong_length()
    normal = normalised(password)
    if HASHING.statistics().tasks_waiting >= MOST_WAITING:
        raise TooManyAttempts(1)
    return await run_sync(hashed, normal, limiter=HASHING)


class Proven(msgspec.Struct, frozen=True):
    """A user who gave their password, and what it is stored as."""

    id: UUID
    password_hash: str


async def check(email: str, password: str) -> UUID | None:
    """Return the id of the active user with this e-mail address and password; None if there is none (see `proven`)."""
    found = await proven(email, password)
    return found.id if found else None


async def proven(email: str, password: str) -> Proven | None:
    """Return the active user with this e-mail address and password; None if there is none.

    Whether it was the address or the password that was wrong cannot be told, by the time it took either. Text that is no
    password (too long, broken Unicode) is a wrong one. Run it outside a transaction: it holds no connection while it
    hashes.

    Raises:
        TooManyAttempts: so many wait for their turn that the queue takes no more.
    """
    if HASHING.statistics().tasks_waiting >= MOST_WAITING:
        raise TooManyAttempts(1)
    try:
        normal = normalised(password)
    except BadRequest:
        return None
    rows = await read(FIND, login_name(email))
    user_id, stored = rows[0] if rows else (None, NOBODYS)
    if not await run_sync(matches, normal, stored, limiter=HASHING):
        return None
    if user_id is None:
        return None
    if is_weaker(stored):
        better = await run_sync(hashed, normal, limiter=HASHING)
        await read(REPLACE, user_id, stored, better)
        stored = better
    return Proven(user_id, stored)


def login_name(email: str) -> str | None:
    """Return an e-mail address as users have it; None for text that can be nobody's."""
    try:
        return checked_email(email) if len(email) <= LONGEST_TYPED else None
    except BadRequest:
        return None


def normalised(password: str) -> bytes:
    """Make one text of a password, however it was typed.

    Raises:
        BadRequest: longer than 1,024 bytes, or no valid Unicode.
    """
    if len(password) > LONGEST:  # before the work that a megabyte would make
        raise wrong_length()
    try:
        normal = unicodedata.normalize("NFKC", password).encode()
    except UnicodeEncodeError:
        raise BadRequest("A password is valid Unicode.") from None
    if len(normal) > LONGEST:
        raise wrong_length()
    return normal


def wrong_length() -> BadRequest:
    """Say how long a password is."""
    return BadRequest(f"A password has at least {SHORTEST} characters and at most {LONGEST} bytes.")


def hashed(password: bytes) -> str:
    """Hash with the present parameters and a salt of its own; blocks for about 15 ms."""
    argon2 = Argon2id(salt=os.urandom(16), length=32, iterations=PASSES, lanes=1, memory_cost=MEMORY_KIB)
    return argon2.derive_phc_encoded(password)


def matches(password: bytes, stored: str) -> bool:
    """Whether a hash is of this password; blocks as long as making it did."""
    try:
        Argon2id.verify_phc_encoded(password, stored)
    except InvalidKey:
        return False
    return True


def is_weaker(stored: str) -> bool:
    """Whether a hash was cheaper than one is now: memory times passes is what a guess costs."""
    costs = COSTS.fullmatch(stored)
    return costs is None or int(costs[1]) * int(costs[2]) < MEMORY_KIB * PASSES
