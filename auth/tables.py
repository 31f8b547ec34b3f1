"""How callers prove who they are. Secrets are stored as hashes only."""

from piccolo.columns import UUID, Array, Bytea, ForeignKey, Text, Timestamptz
from piccolo.columns.base import OnDelete
from piccolo.columns.defaults.timestamptz import TimestamptzNow
from piccolo.constraints import Unique
from piccolo.table import Table

from tenancy.tables import Account, User

CLIENT_KINDS = ("confidential", "public", "machine")


class Client(Table):
    """An OAuth client (Docusign: integration key). Belongs to the account that registered it."""

    id = UUID(primary_key=True)
    account_id = ForeignKey(Account, null=False, default=None, on_delete=OnDelete.cascade)
    name = Text()
    kind = Text(help_text="confidential, public or machine")
    secret_hash = Bytea(null=True, default=None, secret=True, help_text="SHA-256 of 256 random bits")
    redirect_uris = Array(base_column=Text(), default=list)
    scopes = Array(base_column=Text(), default=list)
    public_keys = Array(
        base_column=Text(), default=list, help_text="PEM, for private_key_jwt and the JWT grant"
    )
    status = Text(default="active", help_text="active or disabled")
    created_at = Timestamptz(default=TimestamptzNow())

    client_account_id = Unique([account_id, id])


class Grant(Table, tablename="oauth_grant"):
    """What somebody was allowed once; every token points to its grant, so revoking it ends them all.

    Of a user (through a client or by the operator), or of a machine client. `narrowed_to` limits it to one account.
    """

    id = UUID(primary_key=True)
    user_id = ForeignKey(User, null=True, default=None, on_delete=OnDelete.cascade)
    client_id = ForeignKey(Client, null=True, default=None, on_delete=OnDelete.cascade)
    narrowed_to = ForeignKey(Account, null=True, default=None, on_delete=OnDelete.cascade)
    created_at = Timestamptz(default=TimestamptzNow())
    revoked_at = Timestamptz(null=True, default=None)


class AccessToken(Table):
    """An opaque bearer token: 256 random bits, of which only the SHA-256 is kept."""

    id = UUID(primary_key=True)
    token_hash = Bytea(unique=True, default=None, null=False, secret=True)
    grant_id = ForeignKey(Grant, null=False, default=None, on_delete=OnDelete.cascade)
    scopes = Array(base_column=Text(), default=list)
    issued_at = Timestamptz(default=TimestamptzNow())
    expires_at = Timestamptz(default=None, null=False)
    revoked_at = Timestamptz(null=True, default=None)
