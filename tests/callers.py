"""Callers with the scopes that a test wants, and callers whose proof does not hold, whatever they ask for."""

from collections.abc import Sequence
from uuid import UUID

from auth.bearer import hash_of
from auth.clients import create_client, issue_token
from auth.registration import Registration
from service.settings import settings
from tenancy.postgres import connected
from tests.world import LIFE, Tenant, bearer

ENDS = {
    "an expired token": "UPDATE access_token SET expires_at = now() WHERE token_hash = $1",
    "a revoked token": "UPDATE access_token SET revoked_at = now() WHERE token_hash = $1",
    "a revoked grant": "UPDATE oauth_grant SET revoked_at = now() FROM access_token"
    " WHERE oauth_grant.id = grant_id AND token_hash = $1",
}
UNPROVEN = (
    *("nobody", "another scheme", "a scheme without token", "a blank token", "two tokens"),
    *("a token without scheme", "a very long token", "an unknown token"),
    *ENDS,
)


async def token_of(tenant: Tenant, *scopes: str, user: UUID | None = None) -> dict[str, str]:
    """Give a user of a tenant, its administrator where nobody is named, a token."""
    return bearer(await issue_token(tenant.id, ("user", user or tenant.admin_id), scopes, LIFE))


async def machine_of(tenant: Tenant, *scopes: str) -> dict[str, str]:
    """Register a machine client and give it a token."""
    wanted = Registration(account_id=tenant.id, kind="machine", name="ledger", scopes=scopes)
    client_id, _ = await create_client(wanted)
    return bearer(await issue_token(tenant.id, ("client", client_id), scopes, LIFE))


async def unproven(tenant: Tenant, scopes: Sequence[str]) -> dict[str, dict[str, str]]:
    """Name the headers of everyone whom nobody lets in: `UNPROVEN`, in that order."""
    found = {
        "nobody": {},
        "another scheme": {"Authorization": "Basic YTpi"},
        "a scheme without token": {"Authorization": "Bearer"},
        "a blank token": {"Authorization": "Bearer  "},
        "two tokens": {"Authorization": f"Bearer {tenant.admin} {tenant.admin}"},
        "a token without scheme": {"Authorization": tenant.admin},
        "a very long token": bearer("a" * 5000),
        "an unknown token": bearer("unknown"),
    }
    async with connected(settings().database.owner) as connection:
        for name, statement in ENDS.items():
            once_good = await issue_token(tenant.id, ("user", tenant.admin_id), scopes, LIFE)
            await connection.execute(statement, hash_of(once_good))
            found[name] = bearer(once_good)
    return found
