"""What users, and administrators for their accounts, have allowed clients; remembered until it is revoked.

Every function runs inside an open transaction.
"""

from collections.abc import Sequence
from uuid import UUID, uuid4

import msgspec

from auth.registered import RegisteredClient
from tenancy.events import OPERATOR, record_in
from tenancy.rows import current_connection

# The user's own consent counts before an administrator's, which counts for members of that account alone.
ALLOWED = """
WITH own AS (SELECT account_id FROM live_memberships($2))
SELECT consent.scopes, consent.narrowed_to FROM consent
WHERE consent.client_id = $1 AND (
    consent.user_id = $2 AND (consent.narrowed_to IS NULL OR consent.narrowed_to IN (SELECT account_id FROM own))
    OR consent.user_id IS NULL AND consent.narrowed_to IN (SELECT account_id FROM own))
ORDER BY consent.user_id NULLS LAST, consent.granted_at
"""
REMEMBER = """
INSERT INTO consent (id, client_id, user_id, narrowed_to, scopes, granted_at) VALUES ($1, $2, $3, $4, $5, now())
ON CONFLICT (user_id, client_id) WHERE user_id IS NOT NULL DO UPDATE SET
    scopes = CASE WHEN consent.narrowed_to IS NOT DISTINCT FROM excluded.narrowed_to
        THEN ARRAY(SELECT DISTINCT unnest(consent.scopes || excluded.scopes)) ELSE excluded.scopes END,
    narrowed_to = excluded.narrowed_to, granted_at = now()
"""
REMEMBER_FOR_ACCOUNT = """
INSERT INTO consent (id, client_id, narrowed_to, scopes, granted_by, granted_at) VALUES ($1, $2, $3, $4, $5, now())
ON CONFLICT (narrowed_to, client_id) WHERE user_id IS NULL DO UPDATE SET
    scopes = ARRAY(SELECT DISTINCT unnest(consent.scopes || excluded.scopes)),
    granted_by = excluded.granted_by, granted_at = now()
"""
KNOWN = """
SELECT EXISTS (
    SELECT FROM live_memberships($2) AS own
    WHERE own.account_id = $3 OR EXISTS (
        SELECT FROM consent WHERE consent.client_id = $1
        AND (consent.user_id = $2 OR consent.user_id IS NULL AND consent.narrowed_to = own.account_id))
)
"""


class Allowed(msgspec.Struct, frozen=True):
    """What a client may ask for on behalf of a user without asking them again, and in which account (None: in all)."""

    scopes: frozenset[str]
    narrowed_to: UUID | None


async def allowed(client_id: UUID, user_id: UUID, scopes: Sequence[str]) -> Allowed | None:
    """Find a consent that covers all of the scopes; None if the user has to be asked."""
    for row in await current_connection().fetch(ALLOWED, client_id, user_id):
        if set(scopes) <= set(row["scopes"]):
            return Allowed(frozenset(row["scopes"]), row["narrowed_to"])
    return None


async def remember(client_id: UUID, user_id: UUID, scopes: Sequence[str], narrowed_to: UUID | None) -> None:
    """Remember a user's consent; scopes add up, unless the choice of accounts changed.

    The audit of the account that was chosen tells of it, or of every account of the user's.
    """
    connection = current_connection()
    await connection.execute(REMEMBER, uuid4(), client_id, user_id, narrowed_to, list(scopes))
    rows = await connection.fetch("SELECT account_id FROM live_memberships($1)", user_id)
    accounts = [row["account_id"] for row in rows if narrowed_to in (None, row["account_id"])]
    given = {"scopes": list(scopes)}
    await record_in(accounts, "consent.given", user_id, client_id=client_id, user_id=user_id, after=given)


async def remember_for_account(
    client_id: UUID, account_id: UUID, scopes: Sequence[str], actor: UUID = OPERATOR
) -> None:
    """Remember what an account's administrator, or the operator, allows a client on behalf of every member."""
    arguments = uuid4(), client_id, account_id, list(scopes), actor
    await current_connection().execute(REMEMBER_FOR_ACCOUNT, *arguments)


async def known_user(subject: str, client: RegisteredClient) -> UUID | None:
    """Find a user that a client may know of: a member of its own account, or one who allowed it something.

    Everybody else is as unknown to it as somebody who does not exist.
    """
    try:
        user_id = UUID(subject)
    except ValueError:
        return None
    known: bool = await current_connection().fetchval(KNOWN, client.id, user_id, client.account_id)
    return user_id if known else None
