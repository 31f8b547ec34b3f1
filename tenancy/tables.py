"""Who exists: accounts, users, and which user belongs to which account."""

from piccolo.columns import UUID, ForeignKey, Text, Timestamptz
from piccolo.columns.base import OnDelete
from piccolo.columns.defaults.timestamptz import TimestamptzNow
from piccolo.constraints import Unique
from piccolo.table import Table

ROLES = ("admin", "manager", "sender", "viewer")


class Account(Table):
    """A tenant: everything but users belongs to exactly one."""

    id = UUID(primary_key=True)
    name = Text()
    status = Text(default="active", help_text="active or suspended")
    created_at = Timestamptz(default=TimestamptzNow())


class User(Table, tablename="app_user"):
    """A person; a member of any number of accounts. Belongs to none, so it is not account-owned."""

    id = UUID(primary_key=True)
    email = Text(unique=True, help_text="in lower case")
    name = Text()
    password_hash = Text(null=True, default=None, secret=True, help_text="Argon2id, PHC string")
    status = Text(default="active", help_text="active or suspended")
    created_at = Timestamptz(default=TimestamptzNow())
    invited_into = UUID(
        null=True,
        default=None,
        help_text="the account whose invitation made them, while nobody else vouches for the address",
    )


class Membership(Table):
    """That a user belongs to an account, and as what."""

    id = UUID(primary_key=True)
    account_id = ForeignKey(Account, null=False, default=None, on_delete=OnDelete.cascade)
    user_id = ForeignKey(User, null=False, default=None, on_delete=OnDelete.cascade)
    role = Text(help_text="admin, manager, sender or viewer")
    status = Text(default="active", help_text="active or removed")
    created_at = Timestamptz(default=TimestamptzNow())

    membership_account_user = Unique([account_id, user_id])
