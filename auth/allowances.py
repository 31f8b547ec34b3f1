"""What the operator allows clients on behalf of an account's members, and takes back from whoever has it."""

from collections.abc import Sequence
from uuid import UUID

from auth.clients import check_scopes, require_account
from auth.consents import remember_for_account
from tenancy.errors import BadRequest, NotFound
from tenancy.rows import rows_of, transaction

WHOSE = """
($1::uuid IS NULL OR user_id = $1) AND ($2::uuid IS NULL OR client_id = $2) AND ($3::uuid IS NULL OR narrowed_to = $3)
"""
REVOKE = f"UPDATE oauth_grant SET revoked_at = now() WHERE revoked_at IS NULL AND {WHOSE} RETURNING id"
FORGET = f"DELETE FROM consent WHERE {WHOSE}"


async def allow_for_account(account_id: UUID, client_id: UUID, scopes: Sequence[str]) -> None:
    """Allow a client to act for every member of an account without asking them; scopes add up.

    The client may be another account's. It still has to prove itself, and acts for one member at a time.

    Raises:
        BadRequest: no scope, one that is unknown or that the client is not registered for, or a machine client.
        NotFound: no such account, or no such client.
    """
    if not scopes:
        raise BadRequest("Name at least one scope that the client is allowed.")
    check_scopes(scopes)
    async with rows_of(account_id) as connection:
        await require_account(account_id)
        client = await connection.fetchrow("SELECT kind, scopes FROM live_client($1)", client_id)
        if client is None:
            raise NotFound(f"There is no active client {client_id}; register it with: tutti client create")
        if client["kind"] == "machine":
            raise BadRequest("A machine client acts for itself, never for members: it needs no such grant.")
        beyond = sorted(set(scopes) - set(client["scopes"] or scopes))
        if beyond:
            raise BadRequest(f"The client is not registered for {', '.join(beyond)}.")
        await remember_for_account(client_id, account_id, list(dict.fromkeys(scopes)))


async def revoke_grants(user_id: UUID | None, client_id: UUID | None, account_id: UUID | None) -> int:
    """End the grants of a user, of a client, or that are limited to an account, and with them every token of theirs.

    Where several are given a grant is of all of them. Consents that match are forgotten. What an
    administrator allowed for an account stands until it is revoked by that account. Returns how many grants were live until now.

    Raises:
        BadRequest: neither user, client nor account.
    """
    whose = (user_id, client_id, account_id)
    if whose == (None, None, None):
        raise BadRequest("Say whose grants to revoke: a user's, a client's or an account's.")
    async with transaction() as connection:
        await connection.execute(FORGET, *whose)
        return len(await connection.fetch(REVOKE, *whose))
