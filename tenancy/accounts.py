"""The account verbs: make accounts and users that belong to them, suspend them, and let them go.

A user is named by e-mail address or id. What is suspended or removed is refused from its very next request on.
"""

import unicodedata
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec
from asyncpg import UniqueViolationError

from tenancy.errors import BadRequest, Conflict, NotFound
from tenancy.events import OPERATOR, OfAccount, entered, record, record_in
from tenancy.rows import current_connection, rows_of, transaction
from tenancy.tables import ROLES, Account

Status = Literal["active", "suspended"]

LONGEST_NAME = 200
UNPRINTABLE = ("Cc", "Cs")  # control characters, and halves of a surrogate pair, which are no text
LONGEST_EMAIL = 254  # RFC 5321, 4.5.3.1.3

# Another process may be making the same user: whoever is second takes the first one's.
USER = """
INSERT INTO app_user (id, email, name, password_hash, status) VALUES ($1, $2, $3, $4, 'active')
ON CONFLICT (email) DO UPDATE SET email = excluded.email RETURNING id, invited_into
"""
VOUCH = """
UPDATE app_user SET password_hash = $2, invited_into = NULL
FROM (SELECT id, invited_into FROM app_user WHERE id = $1 FOR UPDATE) AS before
WHERE app_user.id = before.id RETURNING before.invited_into
"""
# An invitation says no more than it did when it was made: it ends with what it was made on.
END_INVITATIONS = """
DELETE FROM invitation WHERE account_id = $1 AND (email = (SELECT email FROM app_user WHERE id = $2) OR $3 AND invited_by = $2)
RETURNING id, role
"""
# Who sends the password with each request is let in by the new one alone.
END_BASIC = """
UPDATE oauth_grant SET revoked_at = now() WHERE user_id = $1 AND kind = 'basic' AND revoked_at IS NULL
"""
REVOKE = "UPDATE oauth_grant SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL RETURNING id"
FORGET = "DELETE FROM consent WHERE user_id = $1 RETURNING id"
MEMBER = """
INSERT INTO membership (id, account_id, user_id, role, status) VALUES ($1, $2, $3, $4, 'active')
ON CONFLICT (account_id, user_id) DO UPDATE SET role = excluded.role, status = 'active'
WHERE membership.status = 'removed' RETURNING id
"""
OTHER_ADMIN = """
SELECT EXISTS (
    SELECT FROM membership JOIN app_user ON app_user.id = membership.user_id
    WHERE membership.account_id = $1 AND membership.role = 'admin' AND membership.user_id <> $2
      AND membership.status = 'active' AND app_user.status = 'active')
"""
IS_ADMIN = """
SELECT EXISTS (
    SELECT FROM membership JOIN app_user ON app_user.id = membership.user_id
    WHERE membership.account_id = $1 AND membership.role = 'admin' AND membership.user_id = $2
      AND membership.status = 'active' AND app_user.status = 'active')
"""
DISMISS = """
UPDATE membership SET status = 'removed' WHERE account_id = $1 AND user_id = $2 AND status = 'active' RETURNING id
"""
# Whoever changes who belongs to an account, or counts what it has, waits here for whoever does so already.
LOCK = "SELECT id FROM account WHERE id = $1 FOR NO KEY UPDATE"
MEMBERS = """
SELECT app_user.id AS user_id, app_user.email, app_user.name, membership.role,
       CASE WHEN membership.status = 'active' THEN app_user.status ELSE membership.status END AS status
FROM membership JOIN app_user ON app_user.id = membership.user_id
WHERE membership.account_id = $1 ORDER BY membership.created_at, membership.id
"""


class Member(msgspec.Struct, frozen=True):
    """A user as a member of an account; `status` is active, suspended (in every account) or removed (from this one)."""

    user_id: UUID
    email: str
    name: str
    role: str
    status: str


async def create_account(name: str, account_id: UUID | None = None) -> UUID:
    """Make an account.

    Raises:
        BadRequest: no name, or too long a one.
        Conflict: an account of this id exists.
    """
    name = checked_name(name, "An account's name")
    account_id = account_id or uuid4()
    async with rows_of(account_id):
        try:
            await Account.insert(Account(id=account_id, name=name)).run()
        except UniqueViolationError:
            raise Conflict(f"Account {account_id} exists already.") from None
        await record(
            OfAccount(account_id), "account.created", OPERATOR, after={"name": name, "status": "active"}
        )
    return account_id


async def account_exists(account_id: UUID) -> bool:
    """Say whether there is such an account."""
    async with rows_of(account_id):
        return bool(await Account.exists().where(Account.id == account_id).run())


async def lock(account_id: UUID) -> None:
    """Wait until nobody else changes who belongs to an account, inside its open transaction, and keep others from it.

    Raises:
        NotFound: no such account.
    """
    if await current_connection().fetchval(LOCK, account_id) is None:
        raise no_account(account_id)


async def add_user(
    email: str, name: str, password_hash: str | None, account_id: UUID, role: str, *, reset: bool = False
) -> UUID:
    """Make a user and their membership; a user that exists becomes a member of one account more.

    Name and password of a user that exists stay as they are. Who was removed is a member again, in the role given now.
    With `reset` a user that exists gets the password, or has none, and all that they are logged in to and have allowed ends.

    Raises:
        BadRequest: not an e-mail address, an empty name or an unknown role.
        NotFound: no such account.
        Conflict: the user is a member of the account already; or, without `reset`, exists and has another password, or
            nobody but an account that invited them vouches for their address.
    """
    email = checked_email(email)
    name = checked_name(name, "A user's name")
    if role not in ROLES:
        raise BadRequest(f"Unknown role {role!r}; known: {', '.join(ROLES)}.")
    async with rows_of(account_id) as connection:
        await lock(account_id)
        made = uuid4()
        (row,) = await connection.fetch(USER, made, email, name, password_hash)
        user_id: UUID = row["id"]
        if user_id != made and reset:
            await vouch(user_id, password_hash)
            await end_allowances(user_id)
        elif user_id != made:
            require_proven(email, row["invited_into"], typed=password_hash is not None)
        if not await enrolled(account_id, user_id, role, OPERATOR):
            raise Conflict(f"{email} is a member of account {account_id} already.")
    return user_id


def require_proven(email: str, invited_into: UUID | None, *, typed: bool) -> None:
    """Refuse to add a user as they are who may not be who the operator means; `typed`: a password was given for them.

    Raises:
        Conflict: an invitation made them; or they have a password of their own.
    """
    if invited_into is not None:
        raise Conflict(
            f"Whoever opened an invitation of account {invited_into} made the user {email} and chose their password; nobody "
            "else vouches for the address. Nothing was done. Give --reset, and --password-stdin for a new password: their "
            "logins, and all that they have allowed, end."
        )
    if typed:
        raise Conflict(
            f"{email} is a user already, with a password of their own: the one that was typed was not set, and nothing was "
            "done. Leave out --password-stdin to let them join as they are, or give --reset too."
        )


async def vouch(user_id: UUID, password_hash: str | None) -> bool:
    """Give a user another password, or none, and end every login of theirs, inside an open transaction.

    Say whether nobody but an account that had invited them vouched for them until now.
    """
    connection = current_connection()
    invited_into = await connection.fetchval(VOUCH, user_id, password_hash)
    await connection.execute("DELETE FROM login_session WHERE user_id = $1", user_id)
    await connection.execute("DELETE FROM known_device WHERE user_id = $1", user_id)
    await connection.execute(END_BASIC, user_id)
    return invited_into is not None


async def end_allowances(user_id: UUID) -> None:
    """End every grant of a user with its tokens, and forget what they allowed, inside an open transaction."""
    connection = current_connection()
    grants = len(await connection.fetch(REVOKE, user_id))
    consents = len(await connection.fetch(FORGET, user_id))
    if grants or consents:
        told: dict[str, Any] = {"grants": grants, "consents": consents, "user_id": user_id, "client_id": None}
        await record_in(await accounts_of(user_id), "consent.revoked", OPERATOR, **told)


async def enrolled(account_id: UUID, user_id: UUID, role: str, actor: UUID, **told: Any) -> bool:
    """Make a user a member of an account, inside its open transaction; say whether they were none.

    `told` is what the event tells besides.
    """
    if await current_connection().fetchval(MEMBER, uuid4(), account_id, user_id, role) is None:
        return False
    after = {"role": role, "status": "active"}
    await record(OfAccount(account_id), "member.added", actor, user_id=user_id, after=after, **told)
    await end_invitations(account_id, user_id, actor)
    return True


async def remove_member(who: str, account_id: UUID, *, even_the_last: bool = False) -> UUID:
    """End a user's membership of an account; return the user's id. What they made stays.

    Raises:
        NotFound: no such account, no such user, or no member of the account.
        Conflict: the account would have no active admin, and it was not said that this is meant.
    """
    async with rows_of(account_id):
        user_id = await existing_user(who)
        await lock(account_id)
        if not even_the_last and await is_last_admin(account_id, user_id):
            raise Conflict(
                f"{who} is the last active admin of account {account_id}: make another first, by "
                "tutti user create EMAIL --role admin, or give --even-the-last."
            )
        if not await dismissed(account_id, user_id, OPERATOR):
            raise NotFound(
                f"{who} is not a member of account {account_id}; "
                f"to make them one: tutti user create EMAIL --name NAME --account {account_id}"
            )
    return user_id


async def other_admin(account_id: UUID, user_id: UUID) -> bool:
    """Say whether an account has an active admin besides this user, inside its open transaction."""
    return bool(await current_connection().fetchval(OTHER_ADMIN, account_id, user_id))


async def is_last_admin(account_id: UUID, user_id: UUID) -> bool:
    """Say whether a user is an active admin of an account, and there is no other, inside its open transaction."""
    is_admin = await current_connection().fetchval(IS_ADMIN, account_id, user_id)
    return is_admin and not await other_admin(account_id, user_id)


async def dismissed(account_id: UUID, user_id: UUID, actor: UUID) -> bool:
    """End a user's membership of an account, inside its open transaction; say whether they were a member."""
    if await current_connection().fetchval(DISMISS, account_id, user_id) is None:
        return False
    change = {"before": {"status": "active"}, "after": {"status": "removed"}}
    await record(OfAccount(account_id), "member.removed", actor, user_id=user_id, **change)
    await end_invitations(account_id, user_id, actor, made=True)
    return True


async def end_invitations(account_id: UUID, user_id: UUID, actor: UUID, *, made: bool = False) -> None:
    """End the invitations of a user's address, and where wanted those that they made, inside the account's open transaction."""
    for row in await current_connection().fetch(END_INVITATIONS, account_id, user_id, made):
        before = {"role": row["role"]}
        await record(OfAccount(account_id), "invitation.ended", actor, before=before, invitation_id=row["id"])


async def list_members(account_id: UUID) -> list[Member]:
    """List the members of an account, removed ones included, in the order in which they joined.

    Raises:
        NotFound: no such account.
    """
    async with rows_of(account_id) as connection:
        if not await Account.exists().where(Account.id == account_id).run():
            raise no_account(account_id)
        return [Member(**row) for row in await connection.fetch(MEMBERS, account_id)]


async def suspend_account(account_id: UUID) -> None:
    """Shut an account: nobody enters it and its clients can do nothing, until it is resumed.

    Raises:
        NotFound: no such account.
    """
    await set_account_status(account_id, "suspended")


async def resume_account(account_id: UUID) -> None:
    """Open an account again (see `suspend_account`)."""
    await set_account_status(account_id, "active")


async def set_account_status(account_id: UUID, status: Status) -> None:
    """Change what an account may do (see `suspend_account`)."""
    async with rows_of(account_id) as connection:
        before = await connection.fetchval("SELECT status FROM account WHERE id = $1 FOR UPDATE", account_id)
        if before is None:
            raise no_account(account_id)
        if before != status:
            await connection.execute("UPDATE account SET status = $2 WHERE id = $1", account_id, status)
            kind = "account.suspended" if status == "suspended" else "account.resumed"
            change = {"before": {"status": before}, "after": {"status": status}}
            await record(OfAccount(account_id), kind, OPERATOR, **change)


class StatusChanged(msgspec.Struct, frozen=True):
    """Whose status was changed, and the open accounts that have no active admin since."""

    user_id: UUID
    without_admin: list[UUID]


async def suspend_user(who: str) -> StatusChanged:
    """Shut a user out of every account, until they are resumed.

    Raises:
        NotFound: no such user.
    """
    return await set_user_status(who, "suspended")


async def resume_user(who: str) -> UUID:
    """Let a user in again, with what was granted before (see `suspend_user`); return their id."""
    return (await set_user_status(who, "active")).user_id


async def set_user_status(who: str, status: Status) -> StatusChanged:
    """Change what a user may do (see `suspend_user`); every account of theirs that is not shut is told."""
    async with transaction() as connection:
        user_id = await existing_user(who)
        accounts = await accounts_of(user_id) if status == "suspended" else []
        without_admin = [one for one in sorted(accounts) if await locked_as_last_admin(one, user_id)]
        before = await connection.fetchval("SELECT status FROM app_user WHERE id = $1 FOR UPDATE", user_id)
        await connection.execute("UPDATE app_user SET status = $2 WHERE id = $1", user_id, status)
        accounts = accounts or await accounts_of(user_id)
        if before != status:
            kind = "member.suspended" if status == "suspended" else "member.resumed"
            change = {"before": {"status": before}, "after": {"status": status}}
            await record_in(accounts, kind, OPERATOR, user_id=user_id, **change)
    return StatusChanged(user_id, without_admin)


async def locked_as_last_admin(account_id: UUID, user_id: UUID) -> bool:
    """Keep others from changing an account's members (see `lock`), in a transaction of none; see `is_last_admin`."""
    async with entered(account_id):
        await lock(account_id)
        return await is_last_admin(account_id, user_id)


async def accounts_of(user_id: UUID) -> list[UUID]:
    """Return the accounts that a user may enter, inside an open transaction; none of somebody who is suspended."""
    rows = await current_connection().fetch("SELECT account_id FROM live_memberships($1)", user_id)
    return [row["account_id"] for row in rows]


async def set_password(who: str, password_hash: str) -> UUID:
    """Give a user another password and end every login of theirs, in every browser; return their id.

    What they allowed clients stays: whoever suspects a thief revokes the user's grants too. Of somebody whom an invitation
    made it ends, as it may be whoever opened that who allowed it; from now on the operator vouches for them.

    Raises:
        NotFound: no such user.
    """
    async with transaction():
        user_id = await existing_user(who)
        if await vouch(user_id, password_hash):
            await end_allowances(user_id)
    return user_id


async def find_user(who: str) -> UUID:
    """Return the id of the user with this e-mail address or id.

    Raises:
        BadRequest: it is neither.
        NotFound: no such user.
    """
    async with transaction():
        return await existing_user(who)


async def existing_user(who: str) -> UUID:
    """Return the id of the user with this e-mail address or id, inside an open transaction (see `find_user`)."""
    try:
        user_id, email = UUID(who.strip()), None
    except ValueError:
        user_id, email = None, checked_email(who, "neither an e-mail address nor a user's id")
    found: UUID | None = await current_connection().fetchval(
        "SELECT id FROM app_user WHERE id = $1 OR email = $2", user_id, email
    )
    if found is None:
        raise NotFound(
            f"There is no user {who}; make them with: tutti user create EMAIL --name NAME --account ID"
        )
    return found


def no_account(account_id: UUID) -> NotFound:
    """Say that there is no such account, and what to do."""
    return NotFound(f"There is no account {account_id}; make it with: tutti account create NAME")


def checked_name(name: str, what: str) -> str:
    """Return a name without blanks around it; `what` says whose it is.

    Raises:
        BadRequest: none, too long a one, or one with control characters or broken text in it.
    """
    name = name.strip()
    if not 1 <= len(name) <= LONGEST_NAME:
        raise BadRequest(f"{what} has 1 to {LONGEST_NAME} characters.")
    if any(unicodedata.category(character) in UNPRINTABLE for character in name):
        raise BadRequest(f"{what} has no control characters and is valid Unicode.")
    return name


def checked_email(email: str, otherwise: str = "not an e-mail address") -> str:
    """Return an address in lower case; `otherwise` says what it is if it is none.

    Raises:
        BadRequest: it cannot be an address: one `@` with something on both sides, no blanks, at most 254 characters.
    """
    email = email.strip().lower()
    local, _, domain = email.rpartition("@")
    plain = email.isprintable() and " " not in email
    if not (plain and local and domain and "@" not in local and len(email) <= LONGEST_EMAIL):
        raise BadRequest(f"{email!r} is {otherwise}.")
    return email
