"""Which clients may act for all members of an account: its administrators see them, other accounts' clients too, and end it."""

from datetime import datetime
from uuid import UUID

import msgspec

from auth import allowances
from auth.bearer import Access
from auth.roles import Right
from service.operations.pages import Page, Position, binding, position, token
from tenancy.errors import NotFound
from tenancy.rows import current_connection

READ = """
SELECT consent.client_id, client.name AS client_name, consent.scopes, consent.granted_at, consent.granted_by
FROM consent LEFT JOIN LATERAL live_client(consent.client_id) AS client ON true
WHERE consent.user_id IS NULL AND consent.narrowed_to = $1
"""


class AccountConsent(msgspec.Struct, frozen=True):
    """What a client is allowed for every member of an account; nameless while it, or its account, is shut."""

    client_id: UUID
    client_name: str | None
    scopes: list[str]
    granted_at: datetime
    granted_by: UUID | None


async def get_list(access: Access, size: int, ctoken: str | None) -> Page:
    """Return a page of what clients are allowed for every member, in the order of the clients' ids, which stays.

    Raises:
        PageTokenRefused: the token is not of this list.
    """
    async with access.rows(Right.ADMINISTER) as caller:
        bound_to = binding(caller.account_id, "consents")
        begin = position(ctoken, bound_to)
        after = () if begin is None else (begin.id,)
        statement = listing(size + 1, going_on=begin is not None)
        rows = await current_connection().fetch(statement, caller.account_id, *after)
    found = [
        AccountConsent(
            row["client_id"], row["client_name"], sorted(row["scopes"]), row["granted_at"], row["granted_by"]
        )
        for row in rows[:size]
    ]
    if len(rows) <= size:
        return Page(found, None, size)
    return Page(found, token(Position(found[-1].granted_at, found[-1].client_id, None, bound_to)), size)


def listing(most: int, *, going_on: bool = False) -> str:
    """Write the statement that reads a page."""
    after = " AND consent.client_id > $2" if going_on else ""
    return f"{READ}{after} ORDER BY consent.client_id LIMIT {most}"


async def take_back(access: Access, client_id: UUID) -> None:
    """End what a client is allowed for every member, with its tokens for those whose own consent does not cover them.

    Raises:
        NotFound: it is allowed nothing.
    """
    async with access.alone(Right.ADMINISTER) as caller:
        if not await allowances.take_back_for_account(caller.account_id, client_id, caller.id):
            raise NotFound
