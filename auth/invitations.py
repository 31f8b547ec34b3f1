"""What somebody may do who holds an invitation's URL: see it, join its account as somebody new or as a user, or decline.

The secret in the URL is kept as its hash. Nobody but whoever holds the URL learns from it, or from how it is answered,
whether its e-mail address is a user's.
"""

import contextlib
from typing import Any
from uuid import UUID, uuid4

import msgspec

from auth.bearer import hash_of
from auth.sessions import Login, login_of
from tenancy.accounts import enrolled, lock
from tenancy.errors import Conflict, NotFound
from tenancy.events import OfAccount, record
from tenancy.rows import current_connection, rows_of

PATH_OF_PAGE = "/v1/accounts/{account_id}/invitations/{invitation_id}/answer"  # where it is answered
# An invitation holds no longer than whoever made it is an administrator: they must not come back by one of their own.
HOLDS = """
invitation.expires_at > now() AND EXISTS (
    SELECT FROM membership JOIN app_user AS inviter ON inviter.id = membership.user_id
    WHERE membership.account_id = invitation.account_id AND membership.user_id = invitation.invited_by
      AND membership.status = 'active' AND membership.role = 'admin' AND inviter.status = 'active')
"""
WHICH = f"""
invitation.account_id = $1 AND invitation.id = $2 AND invitation.secret_hash = $3 AND {HOLDS}
AND EXISTS (SELECT FROM account WHERE account.id = invitation.account_id AND account.status = 'active')
"""
FIND = f"""
SELECT invitation.email, invitation.name, invitation.role, account.name AS account_name, app_user.name AS inviter
FROM invitation JOIN account ON account.id = invitation.account_id JOIN app_user ON app_user.id = invitation.invited_by
WHERE {WHICH}
"""
TAKE = f"DELETE FROM invitation WHERE {WHICH} RETURNING email, role, invited_by"
ROLE = "SELECT role FROM membership WHERE account_id = $1 AND user_id = $2"
NEW_USER = """
INSERT INTO app_user (id, email, name, password_hash, status, invited_into) VALUES ($1, $2, $3, $4, 'active', $5)
ON CONFLICT (email) DO NOTHING RETURNING id
"""


class InvitationEnded(NotFound):
    """This invitation does not work: it was answered, has ended or was taken back, or a part of its link is missing. Ask whoever invited you for a new one."""


class AlreadyUser(Conflict):
    """Somebody uses Tutti with this e-mail address already. If that is you, join with the password that you have."""


class InvitationUrl(msgspec.Struct, frozen=True):
    """What stands in an invitation's URL; whoever has it may answer."""

    account_id: UUID
    id: UUID
    secret: str

    @property
    def key(self) -> tuple[UUID, UUID, bytes]:
        """What an invitation is found by."""
        return self.account_id, self.id, hash_of(self.secret)


class View(msgspec.Struct, frozen=True):
    """An invitation as its page shows it, and who is logged in in that browser, if anybody is."""

    email: str
    name: str | None
    role: str
    account_name: str
    inviter: str
    login: Login | None = None

    @property
    def somebody_else(self) -> Login | None:
        """Who is logged in and is not the one who is invited."""
        return self.login if self.login and self.login.email != self.email else None


async def view(url: InvitationUrl, browser: str) -> View:
    """Return an open invitation, for the browser with this cookie.

    Raises:
        InvitationEnded: there is none, or it has ended; nobody can tell which.
    """
    async with rows_of(url.account_id) as connection:
        row = await connection.fetchrow(FIND, *url.key)
        if row is None:
            raise InvitationEnded
        return View(**row, login=await login_of(browser))


async def join(url: InvitationUrl, name: str, password_hash: str) -> UUID:
    """Make a user of whoever is invited, and a member; return their id. Only the account vouches for their address.

    Raises:
        InvitationEnded: as for `view`.
        AlreadyUser: the e-mail address is a user's; the invitation stays open.
    """
    async with rows_of(url.account_id) as connection:
        invitation = await taken(url)
        email = invitation["email"]
        about = (uuid4(), email, name, password_hash, url.account_id)
        user_id: UUID | None = await connection.fetchval(NEW_USER, *about)
        if user_id is None:
            raise AlreadyUser
        await enrol(url, invitation, user_id)
    return user_id


async def accept(url: InvitationUrl, user_id: UUID) -> str | None:
    """Make a user who proved to be the one that is invited a member; return their role if they are one already, and stay so.

    Raises:
        InvitationEnded: as for `view`.
    """
    async with rows_of(url.account_id):
        return await enrol(url, await taken(url), user_id)


async def decline(url: InvitationUrl) -> None:
    """End an invitation. The event has no actor: nobody has said who they are.

    Raises:
        InvitationEnded: as for `view`.
    """
    async with rows_of(url.account_id):
        await taken(url)
        await record(OfAccount(url.account_id), "invitation.declined", None, invitation_id=url.id)


async def taken(url: InvitationUrl) -> Any:
    """Take an invitation out, to answer it: it is there once.

    Raises:
        InvitationEnded: as for `view`.
    """
    with contextlib.suppress(NotFound):  # of an account that is none there is no invitation
        await lock(url.account_id)
    row = await current_connection().fetchrow(TAKE, *url.key)
    if row is None:
        raise InvitationEnded
    return row


async def enrol(url: InvitationUrl, invitation: Any, user_id: UUID) -> str | None:
    """Make a user a member, as they were invited to be; return the role of somebody who is one already, and keeps it."""
    by = {"invitation_id": url.id, "invited_by": invitation["invited_by"]}
    if await enrolled(url.account_id, user_id, invitation["role"], user_id, **by):
        return None
    before = {"role": invitation["role"]}
    await record(OfAccount(url.account_id), "invitation.ended", user_id, before=before, invitation_id=url.id)
    role: str = await current_connection().fetchval(ROLE, url.account_id, user_id)
    return role
