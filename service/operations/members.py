"""What an account's administrators do with its members: see them, change their roles, end their memberships.

An administrator learns nothing of users who never joined the account. An account keeps one active administrator at least.
"""

from datetime import datetime
from typing import Literal
from uuid import UUID

import asyncpg
import msgspec

from auth.bearer import Access
from auth.roles import Right
from service.errors import MemberConflict
from service.operations.pages import Page, binding, cut, position, worded
from tenancy.accounts import dismissed, end_invitations, other_admin
from tenancy.errors import NotFound
from tenancy.events import OfAccount, differences, record
from tenancy.rows import current_connection

Status = Literal["active", "suspended", "removed"]
MemberRole = Literal["admin", "manager", "sender", "viewer"]

READ = """
SELECT membership.id, membership.user_id, app_user.email, app_user.name, membership.role,
       CASE WHEN membership.status = 'active' THEN app_user.status ELSE membership.status END AS status,
       membership.created_at AS joined_at
FROM membership JOIN app_user ON app_user.id = membership.user_id
WHERE membership.account_id = $1
"""
ONE = f"{READ} AND membership.user_id = $2"
WITH_STATUS = {
    "active": "membership.status = 'active' AND app_user.status = 'active'",
    "suspended": "membership.status = 'active' AND app_user.status = 'suspended'",
    "removed": "membership.status = 'removed'",
}
CHANGE = "UPDATE membership SET role = $3 WHERE account_id = $1 AND user_id = $2"


class Member(msgspec.Struct, frozen=True):
    """A user as a member of the account, since they joined it first; `status` is suspended in every account, or removed from this."""

    user_id: UUID
    email: str
    name: str
    role: MemberRole
    status: Status
    joined_at: datetime


async def get_list(
    access: Access, status: Status | None, role: MemberRole | None, size: int, ctoken: str | None
) -> Page:
    """Return a page of the account's members, removed ones included, in the order in which they joined.

    Raises:
        PageTokenRefused: the token is not of this list.
    """
    async with access.rows(Right.ADMINISTER) as caller:
        bound_to = binding(caller.account_id, "members", status, role)
        begin = position(ctoken, bound_to)
        arguments = [caller.account_id, *((role,) if role else ())]
        if begin is not None:
            arguments += [begin.at, begin.id]
        statement = listing(size + 1, status, by_role=role is not None, going_on=begin is not None)
        rows = await current_connection().fetch(statement, *arguments)
    return worded(cut(rows, size, "joined_at", bound_to), member_of)


def listing(most: int, status: Status | None = None, *, by_role: bool = False, going_on: bool = False) -> str:
    """Write the statement that reads a page."""
    of_status = f" AND {WITH_STATUS[status]}" if status else ""
    of_role = " AND membership.role = $2" if by_role else ""
    first = 3 if by_role else 2
    after = f" AND (membership.created_at, membership.id) > (${first}, ${first + 1})" if going_on else ""
    return f"{READ}{of_role}{of_status}{after} ORDER BY membership.created_at, membership.id LIMIT {most}"


async def get(access: Access, user_id: UUID) -> Member:
    """Return one member, a removed one too.

    Raises:
        NotFound: nobody of this id has joined the account.
    """
    async with access.rows(Right.ADMINISTER) as caller:
        return await found(caller.account_id, user_id)


async def change(access: Access, user_id: UUID, role: MemberRole) -> Member:
    """Give a member another role; it holds for their next request.

    Raises:
        NotFound: nobody of this id has joined the account.
        MemberConflict: they were removed, or the account would have no active administrator.
    """
    async with access.alone(Right.ADMINISTER) as caller:
        before = await changeable(caller.account_id, user_id)
        if role == before.role:
            return before
        await require_another_admin(caller.account_id, before)
        await current_connection().execute(CHANGE, caller.account_id, user_id, role)
        difference = differences({"role": before.role}, {"role": role})
        await record(OfAccount(caller.account_id), "member.changed", caller.id, **difference, user_id=user_id)
        if before.role == "admin":
            await end_invitations(caller.account_id, user_id, caller.id, made=True)
        return msgspec.structs.replace(before, role=role)


async def remove(access: Access, user_id: UUID) -> None:
    """End a membership: their next request in the account is refused; what they made stays. It may have ended already.

    Raises:
        NotFound: nobody of this id has joined the account.
        MemberConflict: the account would have no active administrator.
    """
    async with access.alone(Right.ADMINISTER) as caller:
        before = await found(caller.account_id, user_id)
        if before.status == "removed":
            return
        await require_another_admin(caller.account_id, before)
        await dismissed(caller.account_id, user_id, caller.id)


async def changeable(account_id: UUID, user_id: UUID) -> Member:
    """Return a member who is one still.

    Raises:
        NotFound: nobody of this id has joined the account.
        MemberConflict: they were removed.
    """
    member = await found(account_id, user_id)
    if member.status == "removed":
        raise MemberConflict("This user was removed from the account; invite them to bring them back.")
    return member


async def require_another_admin(account_id: UUID, member: Member) -> None:
    """Refuse to lose an administrator if nobody is left who could make another.

    Raises:
        MemberConflict: nobody is.
    """
    if member.role == "admin" and not await other_admin(account_id, member.user_id):
        raise MemberConflict("An account keeps one active admin; make another member admin first.")


async def found(account_id: UUID, user_id: UUID) -> Member:
    """Read a member in the open transaction.

    Raises:
        NotFound: nobody of this id has joined the account.
    """
    row = await current_connection().fetchrow(ONE, account_id, user_id)
    if row is None:
        raise NotFound
    return member_of(row)


def member_of(row: asyncpg.Record) -> Member:
    """Read a member's row."""
    return Member(*(row[name] for name in Member.__struct_fields__))
