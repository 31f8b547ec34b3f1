"""JWTs with which clients prove themselves (RFC 7523): whose key signed them, and whether their claims hold.

What is hostile in them, from headers that are no objects to numbers that are none, ends as `AssertionRefused`.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from tenancy.rows import current_connection

LONGEST = 8192  # characters
LEEWAY = 60  # seconds that clocks may differ
LONGEST_LIFE = 3600  # seconds; what the vendor's SDKs ask for
LATEST = 2**33  # seconds since 1970: the year 2242, which the database's clock can hold
HOSTILE = (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)
USED = """
INSERT INTO used_assertion (id, digest, expires_at) VALUES ($1, $2, to_timestamp($3))
ON CONFLICT (digest) DO UPDATE SET uses = used_assertion.uses + 1 RETURNING uses
"""


class AssertionRefused(Exception):  # noqa: N818 - an answer, not a fault of the program
    """The assertion proves nothing; its text is one of our own, and is told to the client."""


def unverified_claim(assertion: str, name: str) -> str:
    """Read a text claim before anything is proved: it only says whose keys to try.

    Raises:
        AssertionRefused: not a JWT, or without that claim.
    """
    if len(assertion) > LONGEST:
        raise AssertionRefused("invalid_assertion: send a signed JWT with iss and sub")
    try:
        claims = json.loads(jws.extract_compact(assertion.encode("ascii")).payload)
        found = claims[name]
    except HOSTILE:
        raise AssertionRefused("invalid_assertion: send a signed JWT with iss and sub") from None
    if not isinstance(found, str):
        raise AssertionRefused("invalid_assertion: send a signed JWT with iss and sub")
    return found


def verified(assertion: str, public_keys: Sequence[str], audiences: Sequence[str]) -> Mapping[str, Any]:
    """Return the claims of an assertion that one of the keys signed with RS256 and whose claims hold.

    No `kid` is asked for, as the vendor's SDKs send none: each key is tried. Headers that bring or name keys
    (`jwk`, `jku`, `x5u`) are not looked at.

    Raises:
        AssertionRefused: no key fits; the audience is another server's; it is expired, too long-lived or incomplete.
    """
    for pem in public_keys:
        try:
            claims = jwt.decode(assertion, RSAKey.import_key(pem), algorithms=["RS256"]).claims
        except HOSTILE:
            continue
        check_claims(claims, audiences)
        return claims
    raise AssertionRefused(
        "no_valid_keys_or_signatures: sign with RS256 and a key registered for this client"
    )


def check_claims(claims: Mapping[str, Any], audiences: Sequence[str]) -> None:
    """Hold the claims to RFC 7523, 3: `iss`, `sub`, `aud`, `iat` and `exp` are there, for us, and now.

    Raises:
        AssertionRefused: with what is wrong.
    """
    if not all(isinstance(claims.get(name), str) for name in ("iss", "sub")):
        raise AssertionRefused("missing_claim: iss and sub are texts")
    named = claims.get("aud")
    given = named if isinstance(named, list) else [named]
    if not any(isinstance(one, str) and one in audiences for one in given):
        raise AssertionRefused(f"issuer_not_found: put {audiences[0]} into aud")
    issued, expires = instant(claims, "iat"), instant(claims, "exp")
    begins = instant(claims, "nbf") if "nbf" in claims else issued
    now = time.time()
    if expires <= now - LEEWAY:
        raise AssertionRefused("expired_assertion: sign another, or compare the clocks")
    if max(issued, begins) > now + LEEWAY:
        raise AssertionRefused("assertion_not_yet_valid: compare the clocks")
    if expires - issued > LONGEST_LIFE + LEEWAY:
        raise AssertionRefused(f"assertion_lives_too_long: at most {LONGEST_LIFE} seconds")


def instant(claims: Mapping[str, Any], name: str) -> float:
    """Read a claim that is a number of seconds since 1970.

    Raises:
        AssertionRefused: it is missing or no such number.
    """
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LATEST:
        kind = "invalid_claim" if name in claims else "missing_claim"
        raise AssertionRefused(f"{kind}: {name} is a number of seconds since 1970")
    return value


async def uses_of(assertion: str, claims: Mapping[str, Any]) -> int:
    """Count this use of a verified assertion, by its `jti` where it has one; return how many there were with this one."""
    identity = f"{claims['iss']}\0{claims['jti']}" if "jti" in claims else assertion
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).digest()
    expires = instant(claims, "exp") + LEEWAY
    uses: int = await current_connection().fetchval(USED, uuid4(), digest, expires)
    return uses
