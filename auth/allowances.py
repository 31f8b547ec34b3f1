"""What clients are allowed on behalf of an account's members, and what is taken back from whoever has it.

The operator's verbs open their transaction; what an account's administrators do too stands beside them, for any actor.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from asyncpg.pool import PoolConnectionProxy

from auth.clients import require_account
from auth.consents import remember_for_account
from auth.registration import check_scopes
from auth.scopes import ADMINISTRATION, SCOPES
from tenancy.errors import BadRequest, NotFound
from tenancy.events import OPERATOR, OfAccount, record, record_in
from tenancy.rows import current_connection, rows_of, transaction

WHOSE = """
($1::uuid IS NULL OR user_id = $1) AND ($2::uuid IS NULL OR client_id = $2) AND ($3::uuid IS NULL OR narrowed_to = $3)
"""
REVOKE = f"UPDATE oauth_grant SET revoked_at = now() WHERE revoked_at IS NULL AND {WHOSE} RETURNING id"
FORGET = f"DELETE FROM consent WHERE {WHOSE} RETURNING id"
ALLOWED = "SELECT scopes FROM consent WHERE user_id IS NULL AND narrowed_to = $1 AND client_id = $2"
TAKE_BACK = (
    "DELETE FROM consent WHERE user_id IS NULL AND narrowed_to = $1 AND client_id = $2 RETURNING scopes"
)
# What somebody allowed the client themselves is not the administrators' to end: a grant that their own consent covers.
END_STANDING = """
UPDATE oauth_grant SET revoked_at = now()
WHERE narrowed_to = $1 AND client_id = $2 AND revoked_at IS NULL
  AND NOT EXISTS (SELECT FROM consent WHERE consent.client_id = $2 AND consent.user_id = oauth_grant.user_id
                  AND consent.scopes @> oauth_grant.scopes AND (consent.narrowed_to IS NULL OR consent.narrowed_to = $1))
RETURNING id
"""
# Whose audit tells that grants are gone: the account that they were limited to, the client's, the user's.
CONCERNED = """
SELECT $3::uuid AS account_id WHERE $3 IS NOT NULL UNION
SELECT account_id FROM live_client($2) WHERE $3::uuid IS NULL UNION
SELECT account_id FROM live_memberships($1) WHERE $3::uuid IS NULL
"""
# A client that may do nothing now, or whose account is suspended, is known by what it was granted.
CLIENT_KNOWN = """
SELECT EXISTS (SELECT FROM live_client($1)) OR EXISTS (SELECT FROM oauth_grant WHERE client_id = $1)
    OR EXISTS (SELECT FROM consent WHERE client_id = $1)
"""
# What still lets clients act for a user whose own grants and consents are gone.
STANDING = """
SELECT narrowed_to AS account_id, client_id FROM consent
WHERE user_id IS NULL AND narrowed_to IN (SELECT account_id FROM live_memberships($1))
  AND ($2::uuid IS NULL OR client_id = $2) AND ($3::uuid IS NULL OR narrowed_to = $3)
ORDER BY granted_at, id
"""
LISTED = """
SELECT consent.client_id, client.name AS client_name, consent.user_id, app_user.email,
       consent.narrowed_to AS account_id, consent.scopes, consent.granted_at
FROM consent LEFT JOIN app_user ON app_user.id = consent.user_id
     LEFT JOIN LATERAL live_client(consent.client_id) AS client ON true
WHERE ($1::uuid IS NULL OR user_id = $1) AND ($2::uuid IS NULL OR client_id = $2)
  AND ($3::uuid IS NULL OR narrowed_to = $3)
ORDER BY consent.granted_at, consent.id
"""


class Allowance(msgspec.Struct, frozen=True):
    """That an account's administrator allows a client to act for every member."""

    account_id: UUID
    client_id: UUID


class Revoked(msgspec.Struct, frozen=True):
    """What was taken back: `grants` that held until now, and remembered `consents`, the accounts' allowances among them.

    `standing` is what still lets clients act for the user whose grants these were.
    """

    grants: int
    consents: int
    standing: list[Allowance]


class ConsentEntry(msgspec.Struct, frozen=True):
    """What a client was allowed: by a user, or without one by the administrator of an account for every member.

    `account_id` is the one account that it is limited to; None: all of the user's. `client_name` is None while the
    client, or its account, is shut.
    """

    client_id: UUID
    client_name: str | None
    user_id: UUID | None
    email: str | None
    account_id: UUID | None
    scopes: list[str]
    granted_at: datetime


async def allow_for_account(account_id: UUID, client_id: UUID, scopes: Sequence[str]) -> list[str]:
    """Allow a client to act for every member of an account without asking them; return every scope that now stands.

    Scopes add up. `impersonation` is always among them: without it a client cannot act for people who are away. The client
    may be another account's. It still has to prove itself, and acts for one member at a time.

    Raises:
        BadRequest: no scope, one that is unknown or that the client is not registered for, a client that is not
            registered for impersonation, a machine client, or the scope that manages the account.
        NotFound: no such account, or no such client.
    """
    if not scopes:
        raise BadRequest("Name at least one scope that the client is allowed.")
    check_scopes(scopes)
    async with rows_of(account_id):
        await require_account(account_id)
        await require_allowable(client_id, scopes)
        before = await allowed_for_account(account_id, client_id) or []
        return await allow(account_id, client_id, scopes, before, OPERATOR)


async def replace_for_account(account_id: UUID, client_id: UUID, scopes: Sequence[str], actor: UUID) -> int:
    """Allow a client exactly these scopes, and impersonation, for every member, inside the account's open transaction.

    Where it may do less than before, what it was granted on the strength of that ends at once: return how many grants did.

    Raises:
        BadRequest: as for `allow_for_account`.
    """
    if not scopes:
        raise BadRequest("Name at least one scope that the client is allowed.")
    check_scopes(scopes)
    await require_allowable(client_id, scopes)
    connection = current_connection()
    before = await allowed_for_account(account_id, client_id) or []
    await connection.execute(TAKE_BACK, account_id, client_id)
    fewer = set(before) - {*scopes, "impersonation"}
    grants = len(await connection.fetch(END_STANDING, account_id, client_id)) if fewer else 0
    await allow(account_id, client_id, scopes, before, actor, grants=grants)
    return grants


async def take_back_for_account(account_id: UUID, client_id: UUID, actor: UUID) -> bool:
    """End what a client is allowed for every member, inside the account's open transaction; say whether there was anything.

    Its tokens for members who have not allowed it themselves end at once.
    """
    connection = current_connection()
    scopes = await connection.fetchval(TAKE_BACK, account_id, client_id)
    if scopes is None:
        return False
    grants = len(await connection.fetch(END_STANDING, account_id, client_id))
    told: dict[str, Any] = {"grants": grants, "consents": 1, "user_id": None, "client_id": client_id}
    told["before"] = {"scopes": sorted(scopes)}
    await record(OfAccount(account_id), "consent.revoked", actor, **told)
    return True


async def allow(
    account_id: UUID, client_id: UUID, scopes: Sequence[str], before: list[str], actor: UUID, **told: Any
) -> list[str]:
    """Add to what a client is allowed for every member, and tell of it; return what stands."""
    await remember_for_account(client_id, account_id, list(dict.fromkeys([*scopes, "impersonation"])), actor)
    standing = await allowed_for_account(account_id, client_id) or []
    change = {"before": {"scopes": before}, "after": {"scopes": standing}}
    await record(OfAccount(account_id), "consent.allowed", actor, client_id=client_id, **change, **told)
    return standing


async def allowed_for_account(account_id: UUID, client_id: UUID) -> list[str] | None:
    """Return what a client is allowed for every member of an account, inside an open transaction; None if nothing is."""
    scopes = await current_connection().fetchval(ALLOWED, account_id, client_id)
    return None if scopes is None else sorted(scopes)


async def require_allowable(client_id: UUID, scopes: Sequence[str]) -> None:
    """Refuse a client that cannot be allowed these scopes for every member (see `allow_for_account`)."""
    client = await current_connection().fetchrow("SELECT kind, scopes FROM live_client($1)", client_id)
    if client is None:
        raise no_active_client(client_id)
    if client["kind"] == "machine":
        raise BadRequest("A machine client acts for itself, never for members: it needs no such grant.")
    beyond = sorted(set(scopes) - set(client["scopes"] or scopes))
    if beyond:
        raise BadRequest(f"The client is not registered for {', '.join(beyond)}.")
    if ADMINISTRATION in scopes:
        raise BadRequest(
            f"{ADMINISTRATION} is not allowed for every member: a client would manage the account as an administrator who "
            "knows nothing of it. Each administrator may allow it themselves."
        )
    if "impersonation" not in (client["scopes"] or SCOPES):
        raise BadRequest(
            "The client is not registered for impersonation, without which it cannot act for people; "
            "register one with the scope impersonation."
        )


async def list_consents(
    user_id: UUID | None, client_id: UUID | None, account_id: UUID | None
) -> list[ConsentEntry]:
    """List what clients were allowed, oldest first: of a user, to a client, limited to an account, or all of it.

    Raises:
        NotFound: no such client, or no such account.
    """
    async with transaction_of(account_id) as connection:
        await require_known(client_id, account_id)
        return [ConsentEntry(**row) for row in await connection.fetch(LISTED, user_id, client_id, account_id)]


async def revoke_grants(user_id: UUID | None, client_id: UUID | None, account_id: UUID | None) -> Revoked:
    """End the grants of a user, of a client, or that are limited to an account, and with them every token of theirs.

    Where several are given a grant is of all of them. Consents that match are forgotten, and
    what administrators allowed for an account too, unless a user is given: it is not that user's.

    Raises:
        BadRequest: neither user, client nor account.
        NotFound: no such client, or no such account.
    """
    whose = (user_id, client_id, account_id)
    if whose == (None, None, None):
        raise BadRequest("Say whose grants to revoke: a user's, a client's or an account's.")
    async with transaction_of(account_id) as connection:
        await require_known(client_id, account_id)
        consents = len(await connection.fetch(FORGET, *whose))
        grants = len(await connection.fetch(REVOKE, *whose))
        standing = [] if user_id is None else await connection.fetch(STANDING, *whose)
        if consents or grants:
            accounts = [row["account_id"] for row in await connection.fetch(CONCERNED, *whose)]
            told = {"grants": grants, "consents": consents, "user_id": user_id, "client_id": client_id}
            await record_in(accounts, "consent.revoked", OPERATOR, **told)
        return Revoked(grants, consents, [Allowance(**row) for row in standing])


def transaction_of(account_id: UUID | None) -> AbstractAsyncContextManager[PoolConnectionProxy]:
    """Open a transaction that sees an account, if one is given."""
    return transaction() if account_id is None else rows_of(account_id)


async def require_known(client_id: UUID | None, account_id: UUID | None) -> None:
    """Refuse a client or an account that is not there, inside an open transaction of that account."""
    if account_id is not None:
        await require_account(account_id)
    if client_id is not None and not await current_connection().fetchval(CLIENT_KNOWN, client_id):
        raise no_active_client(client_id)


def no_active_client(client_id: UUID) -> NotFound:
    """Say that there is no such client, and what to do."""
    return NotFound(f"There is no active client {client_id}; register it with: tutti client create")
