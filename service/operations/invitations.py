"""How an account's administrators invite people: who answers an invitation is in `auth.invitations`.

To invite somebody tells nothing of them: whether their address is a user's elsewhere is looked at by nobody but themselves.
"""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from auth.bearer import Access, hash_of, new_secret
from auth.invitations import HOLDS
from auth.roles import Right
from service.errors import MemberConflict
from service.operations.members import MemberRole
from service.operations.pages import Page, binding, cut, position, worded
from tenancy.accounts import checked_email, checked_name
from tenancy.errors import BadRequest, FieldError, NotFound
from tenancy.events import OfAccount, record
from tenancy.rows import current_connection

MOST = 100  # open ones of one account
LIFE = timedelta(days=7)

COLUMNS = "id, account_id, email, name, role, invited_by, created_at, expires_at"
OPEN = f"SELECT {COLUMNS} FROM invitation WHERE account_id = $1 AND {HOLDS}"
COUNT = f"SELECT count(*) FROM invitation WHERE account_id = $1 AND {HOLDS}"
CLEAR = f"DELETE FROM invitation WHERE account_id = $1 AND NOT ({HOLDS})"
IS_MEMBER = """
SELECT EXISTS (SELECT FROM membership JOIN app_user ON app_user.id = membership.user_id
               WHERE membership.account_id = $1 AND membership.status = 'active' AND app_user.email = $2)
"""
INSERT = f"""
INSERT INTO invitation (id, account_id, email, name, role, secret_hash, invited_by, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, now(), now() + $8) ON CONFLICT (account_id, email) DO NOTHING RETURNING {COLUMNS}
"""
DELETE = f"DELETE FROM invitation WHERE account_id = $1 AND id = $2 AND {HOLDS} RETURNING role"


class Wanted(msgspec.Struct, frozen=True):
    """Who is to be invited, and as what."""

    email: str
    role: MemberRole
    name: str | UnsetType = UNSET


class Invitation(msgspec.Struct, frozen=True):
    """An invitation that nobody has answered yet."""

    id: UUID
    account_id: UUID
    email: str
    name: str | None
    role: MemberRole
    invited_by: UUID
    created_at: datetime
    expires_at: datetime


class Shown(msgspec.Struct, frozen=True):
    """An invitation that has just been made, with what makes its URL."""

    invitation: Invitation
    secret: str


async def create(access: Access, wanted: Wanted) -> Shown:
    """Invite somebody; the answer alone holds the secret of their URL.

    Raises:
        BadRequest: with one entry for each field that is wrong.
        MemberConflict: they are a member, they are invited already, or the account has as many open invitations as it may.
    """
    secret = new_secret()
    async with access.alone(Right.ADMINISTER) as caller:
        email, name = checked(wanted)
        connection = current_connection()
        await connection.execute(CLEAR, caller.account_id)
        if await connection.fetchval(IS_MEMBER, caller.account_id, email):
            raise MemberConflict(f"{email} is a member of the account already.")
        if await connection.fetchval(COUNT, caller.account_id) >= MOST:
            raise MemberConflict(f"An account has at most {MOST} open invitations; delete one first.")
        about = (uuid4(), caller.account_id, email, name, wanted.role)
        row = await connection.fetchrow(INSERT, *about, hash_of(secret), caller.id, LIFE)
        if row is None:
            raise MemberConflict(f"{email} is invited already; delete that invitation to make another.")
        made = invitation_of(row)
        after = {"role": made.role, "expires_at": made.expires_at}
        await record(
            OfAccount(caller.account_id), "invitation.created", caller.id, after=after, invitation_id=made.id
        )
    return Shown(made, secret)


async def get_list(access: Access, size: int, ctoken: str | None) -> Page:
    """Return a page of the account's open invitations, the oldest first.

    Raises:
        PageTokenRefused: the token is not of this list.
    """
    async with access.rows(Right.ADMINISTER) as caller:
        bound_to = binding(caller.account_id, "invitations")
        begin = position(ctoken, bound_to)
        after = () if begin is None else (begin.at, begin.id)
        going_on = " AND (created_at, id) > ($2, $3)" if after else ""
        statement = f"{OPEN}{going_on} ORDER BY created_at, id LIMIT {size + 1}"
        rows = await current_connection().fetch(statement, caller.account_id, *after)
    return worded(cut(rows, size, "created_at", bound_to), invitation_of)


async def get(access: Access, invitation_id: UUID) -> Invitation:
    """Return an invitation that waits for its answer, without its secret.

    Raises:
        NotFound: there is no such invitation, or it has ended.
    """
    async with access.rows(Right.ADMINISTER) as caller:
        row = await current_connection().fetchrow(f"{OPEN} AND id = $2", caller.account_id, invitation_id)
    if row is None:
        raise NotFound
    return invitation_of(row)


async def delete(access: Access, invitation_id: UUID) -> None:
    """Take an invitation back: its URL shows nothing from now on.

    Raises:
        NotFound: there is no such invitation, or it has ended.
    """
    async with access.alone(Right.ADMINISTER) as caller:
        role = await current_connection().fetchval(DELETE, caller.account_id, invitation_id)
        if role is None:
            raise NotFound
        await record(
            OfAccount(caller.account_id),
            "invitation.deleted",
            caller.id,
            before={"role": role},
            invitation_id=invitation_id,
        )


def checked(wanted: Wanted) -> tuple[str, str | None]:
    """Return e-mail address and name in their one form.

    Raises:
        BadRequest: with one entry for each field that is wrong.
    """
    wrong, email, name = [], "", None
    try:
        email = checked_email(wanted.email)
    except BadRequest as refusal:
        wrong.append(FieldError("FIELD_INVALID", refusal.detail, "email"))
    try:
        name = None if wanted.name is UNSET else checked_name(wanted.name, "A name")
    except BadRequest as refusal:
        wrong.append(FieldError("FIELD_INVALID", refusal.detail, "name"))
    if wrong:
        raise BadRequest(errors=tuple(wrong))
    return email, name


def invitation_of(row: asyncpg.Record) -> Invitation:
    """Read an invitation's row."""
    return Invitation(**row)
