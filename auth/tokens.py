"""Codes and tokens as rows: issued, exchanged once, revoked with their whole family. All inside an open transaction.

A family is a grant: it is made when its code is, so that a replay always finds it. Exchanging is one conditional UPDATE:
of any number of requests at once exactly one wins, and each of the others is a replay, for which the family is revoked.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

import msgspec

from auth.bearer import hash_of
from tenancy.rows import current_connection

CODE_SECONDS = 60
LOGIN_SECONDS = 28_800  # an access token that a person logged in for; what the vendor gives
MACHINE_SECONDS = 3_600  # one without a person present
REFRESH_DAYS = 30  # from the login on; with the scope `extended` from the last use on
# A client that never got its answer may ask again, once. Vendors' SDKs wait 0.5 s before they do; whoever is faster is
# no client that waited for its answer, and whoever is much slower had it.
GRACE_FROM_SECONDS = 0.5
GRACE_SECONDS = 30

SAVE_GRANT = """
INSERT INTO oauth_grant (id, kind, client_id, user_id, narrowed_to, scopes, auth_time, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, now())
"""
SAVE_CODE = """
INSERT INTO authorization_code (id, code_hash, grant_id, redirect_uri, code_challenge, nonce, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))
"""
SAVE_SINGLE = """
WITH family AS (
    INSERT INTO oauth_grant (id, kind, client_id, user_id, narrowed_to, scopes, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, now()) RETURNING id
)
INSERT INTO access_token (id, token_hash, grant_id, scopes, issued_at, expires_at)
SELECT $7, $8, id, $6, now(), now() + make_interval(secs => $9) FROM family
"""
SAVE_PAIR = """
WITH access AS (
    INSERT INTO access_token (id, token_hash, grant_id, scopes, issued_with, issued_at, expires_at)
    VALUES ($1, $2, $3, $4, $6, now(), now() + make_interval(secs => $5))
)
INSERT INTO refresh_token (id, token_hash, grant_id, parent_id, issued_at, expires_at)
SELECT $6, $7, id, $8, now(),
       CASE WHEN 'extended' = ANY(scopes) THEN now() ELSE created_at END + make_interval(days => $9)
FROM oauth_grant WHERE id = $3
"""
OF_GRANT = """
oauth_grant.id AS grant_id, oauth_grant.client_id, oauth_grant.user_id, oauth_grant.scopes, oauth_grant.auth_time,
grant_is_live(oauth_grant.id) AS live
"""
# The grant's row is held first, as whoever deletes a client comes by it before its tokens: neither waits in a circle.
FIND_CODE = f"""
SELECT {OF_GRANT}, code.id, code.used_at IS NOT NULL AS used, code.expires_at <= now() AS expired,
       code.redirect_uri, code.code_challenge, code.nonce
FROM authorization_code AS code JOIN oauth_grant ON oauth_grant.id = code.grant_id WHERE code.code_hash = $1
FOR KEY SHARE OF oauth_grant
"""
FIND_REFRESH = f"""
SELECT {OF_GRANT}, refresh.id, refresh.used_at IS NOT NULL AS used, refresh.expires_at <= now() AS expired
FROM refresh_token AS refresh JOIN oauth_grant ON oauth_grant.id = refresh.grant_id WHERE refresh.token_hash = $1
FOR KEY SHARE OF oauth_grant
"""
USE_CODE = (
    "UPDATE authorization_code SET used_at = clock_timestamp() WHERE id = $1 AND used_at IS NULL RETURNING id"
)
USE_REFRESH = (
    "UPDATE refresh_token SET used_at = clock_timestamp() WHERE id = $1 AND used_at IS NULL RETURNING id"
)
# The token was exchanged a moment ago, by a request that was answered before this one began, and the refresh token that
# it was exchanged for is unused: whoever uses that at the same moment is waited for, and then it is not. What the first
# answer held is then worth nothing any more: there is one living refresh token in a family.
USE_AGAIN = """
WITH again AS (
    UPDATE refresh_token SET repeated = true
    WHERE id = $1 AND NOT repeated AND used_at BETWEEN now() - make_interval(secs => $2) AND now() - make_interval(secs => $3)
    RETURNING id
), void AS (
    UPDATE refresh_token SET used_at = clock_timestamp(), repeated = true FROM again
    WHERE refresh_token.parent_id = again.id AND refresh_token.used_at IS NULL RETURNING refresh_token.id
)
UPDATE access_token SET revoked_at = now() FROM void WHERE access_token.issued_with = void.id RETURNING void.id
"""
REVOKE_GRANT = "UPDATE oauth_grant SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL"
# What a caller holds: an access token or a refresh token, and of which grant.
FIND_EITHER = """
SELECT 'access_token' AS kind, token.id, token.scopes, token.issued_at, token.expires_at,
       token.revoked_at IS NULL AND token.expires_at > now() AS valid,
       oauth_grant.id AS grant_id, oauth_grant.client_id, oauth_grant.user_id, oauth_grant.narrowed_to
FROM access_token AS token JOIN oauth_grant ON oauth_grant.id = token.grant_id WHERE token.token_hash = $1
UNION ALL
SELECT 'refresh_token', token.id, oauth_grant.scopes, token.issued_at, token.expires_at,
       token.used_at IS NULL AND token.expires_at > now(),
       oauth_grant.id, oauth_grant.client_id, oauth_grant.user_id, oauth_grant.narrowed_to
FROM refresh_token AS token JOIN oauth_grant ON oauth_grant.id = token.grant_id WHERE token.token_hash = $1
"""


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """A grant and what exchanging something of it needs to know; `live` says whether everyone in it still may act."""

    grant_id: UUID
    client_id: UUID | None
    user_id: UUID | None
    scopes: list[str]
    auth_time: datetime | None
    live: bool


class Exchangeable(Family, frozen=True, kw_only=True):
    """A refresh token; a code is one too."""

    id: UUID
    used: bool
    expired: bool

    def check_client(self, client: object) -> bool:
        """Whether it was issued to this client (Authlib's `TokenMixin`)."""
        return self.client_id == getattr(client, "id", None)

    def get_scope(self) -> str:
        """Return what was granted (Authlib's `TokenMixin`)."""
        return " ".join(self.scopes)


class StoredCode(Exchangeable, frozen=True, kw_only=True):
    """An authorization code, under the names of Authlib's `AuthorizationCodeMixin`s."""

    redirect_uri: str
    code_challenge: str | None
    nonce: str | None

    def get_redirect_uri(self) -> None:
        """Return nothing: vendors' SDKs send no redirect URI with a code. One that is sent is compared elsewhere."""

    def get_nonce(self) -> str | None:
        """Return what the client sent along, for the ID token."""
        return self.nonce

    def get_auth_time(self) -> int | None:
        """Return when the user gave their password, in seconds since 1970."""
        return None if self.auth_time is None else int(self.auth_time.timestamp())

    def get_acr(self) -> None:
        """Return nothing: there is one way to log in."""

    def get_amr(self) -> list[str]:
        """Return how the user proved who they are (RFC 8176)."""
        return ["pwd"]


class HeldToken(msgspec.Struct, frozen=True):
    """An access or refresh token that somebody asks about."""

    kind: str
    id: UUID
    scopes: list[str]
    issued_at: datetime
    expires_at: datetime
    valid: bool
    grant_id: UUID
    client_id: UUID | None
    user_id: UUID | None
    narrowed_to: UUID | None


class NewGrant(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody allows, about to be stored."""

    kind: str
    client_id: UUID
    user_id: UUID | None
    narrowed_to: UUID | None
    scopes: Sequence[str]
    auth_time: datetime | None = None


class Issued(msgspec.Struct, frozen=True):
    """Tokens about to be stored, and for how long the access token lives."""

    access_token: str
    refresh_token: str | None
    scopes: list[str]
    seconds: int


async def save_grant(new: NewGrant) -> UUID:
    """Store a grant; return its id."""
    grant_id = uuid4()
    await current_connection().execute(
        SAVE_GRANT,
        grant_id,
        new.kind,
        new.client_id,
        new.user_id,
        new.narrowed_to,
        list(new.scopes),
        new.auth_time,
    )
    return grant_id


async def save_code(
    code: str, grant_id: UUID, redirect_uri: str, code_challenge: str | None, nonce: str | None
) -> None:
    """Store a code that lives for `CODE_SECONDS`."""
    arguments = (uuid4(), hash_of(code), grant_id, redirect_uri, code_challenge, nonce, CODE_SECONDS)
    await current_connection().execute(SAVE_CODE, *arguments)


async def save_pair(grant_id: UUID, issued: Issued, parent_id: UUID | None) -> None:
    """Store an access and a refresh token in a family; `parent_id` is the refresh token that this one follows."""
    access = (uuid4(), hash_of(issued.access_token), grant_id, issued.scopes, issued.seconds)
    refresh = (uuid4(), hash_of(issued.refresh_token or ""), parent_id, REFRESH_DAYS)
    await current_connection().execute(SAVE_PAIR, *access, *refresh)


async def save_single(new: NewGrant, issued: Issued) -> None:
    """Store an access token and the family that it is alone in."""
    family = (uuid4(), new.kind, new.client_id, new.user_id, new.narrowed_to, issued.scopes)
    token = (uuid4(), hash_of(issued.access_token), issued.seconds)
    await current_connection().execute(SAVE_SINGLE, *family, *token)


async def find_code(code: str) -> StoredCode | None:
    """Find a code, also one that was used."""
    row = await current_connection().fetchrow(FIND_CODE, hash_of(code))
    return None if row is None else StoredCode(**row)


async def find_refresh(token: str) -> Exchangeable | None:
    """Find a refresh token, also one that was used."""
    row = await current_connection().fetchrow(FIND_REFRESH, hash_of(token))
    return None if row is None else Exchangeable(**row)


async def use_code(code: StoredCode) -> bool:
    """Use up a code; of many requests at once one succeeds. A replay revokes the family."""
    return await used_up(code, USE_CODE)


async def use_refresh(token: Exchangeable) -> bool:
    """Use up a refresh token, or take the grace for a lost answer; any other replay revokes the family."""
    return await used_up(token, USE_REFRESH)


async def used_up(one: Exchangeable, statement: str) -> bool:
    """Run the conditional update; where it finds nothing to update, decide what the replay is."""
    connection = current_connection()
    if await connection.fetchval(statement, one.id):
        return True
    if statement == USE_REFRESH and await connection.fetchval(
        USE_AGAIN, one.id, GRACE_SECONDS, GRACE_FROM_SECONDS
    ):
        return True
    await connection.execute(REVOKE_GRANT, one.grant_id)
    return False


async def find_either(token: str) -> HeldToken | None:
    """Find an access or a refresh token."""
    row = await current_connection().fetchrow(FIND_EITHER, hash_of(token))
    return None if row is None else HeldToken(**row)


async def grant_is_live(grant_id: UUID) -> bool:
    """Whether a grant, its client, its user and the accounts that it is for all stand."""
    live: bool = await current_connection().fetchval("SELECT grant_is_live($1)", grant_id)
    return live


async def revoke(token: HeldToken) -> None:
    """Revoke an access token, or a refresh token with its whole family (RFC 7009, 2.1)."""
    if token.kind == "access_token":
        await current_connection().execute(
            "UPDATE access_token SET revoked_at = now() WHERE id = $1", token.id
        )
    else:
        await current_connection().execute(REVOKE_GRANT, token.grant_id)
