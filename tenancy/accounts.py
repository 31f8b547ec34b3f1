"""The account verbs: make accounts, and users that belong to them."""

import unicodedata
from uuid import UUID, uuid4

from asyncpg import UniqueViolationError

from tenancy.errors import BadRequest, Conflict, NotFound
from tenancy.rows import rows_of
from tenancy.tables import ROLES, Account, Membership, User

LONGEST_NAME = 200
UNPRINTABLE = ("Cc", "Cs")  # control characters, and halves of a surrogate pair, which are no text
LONGEST_EMAIL = 254  # RFC 5321, 4.5.3.1.3


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
    return account_id


async def account_exists(account_id: UUID) -> bool:
    """Say whether there is such an account."""
    async with rows_of(account_id):
        return bool(await Account.exists().where(Account.id == account_id).run())


async def add_user(email: str, name: str, password_hash: str | None, account_id: UUID, role: str) -> UUID:
    """Make a user and their membership; a user that exists becomes a member of one account more.

    Name and password of a user that exists stay as they are.

    Raises:
        BadRequest: not an e-mail address, an empty name or an unknown role.
        NotFound: no such account.
        Conflict: the user is a member of the account already.
    """
    email = checked_email(email)
    name = checked_name(name, "A user's name")
    if role not in ROLES:
        raise BadRequest(f"Unknown role {role!r}; known: {', '.join(ROLES)}.")
    async with rows_of(account_id) as connection:
        if not await Account.exists().where(Account.id == account_id).run():
            raise NotFound(f"There is no account {account_id}; make it with: tutti account create NAME")
        # Another process may be making the same user: whoever is second takes the first one's.
        user_id: UUID = await connection.fetchval(
            "INSERT INTO app_user (id, email, name, password_hash, status) VALUES ($1, $2, $3, $4, 'active')"
            " ON CONFLICT (email) DO UPDATE SET email = excluded.email RETURNING id",
            uuid4(),
            email,
            name,
            password_hash,
        )
        try:
            await Membership.insert(
                Membership(id=uuid4(), account_id=account_id, user_id=user_id, role=role)
            ).run()
        except UniqueViolationError:
            raise Conflict(f"{email} is a member of account {account_id} already.") from None
    return user_id


async def user_named(email: str) -> UUID | None:
    """Return the id of the user with this e-mail address, if there is one."""
    async with rows_of(UUID(int=0)):
        found = await User.select(User.id).where(User.email == email.strip().lower()).first().run()
    return None if found is None else found["id"]


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


def checked_email(email: str) -> str:
    """Return an address in lower case.

    Raises:
        BadRequest: it cannot be an address: one `@` with something on both sides, no blanks, at most 254 characters.
    """
    email = email.strip().lower()
    local, _, domain = email.rpartition("@")
    plain = email.isprintable() and " " not in email
    if not (plain and local and domain and "@" not in local and len(email) <= LONGEST_EMAIL):
        raise BadRequest(f"{email!r} is not an e-mail address.")
    return email
