"""How callers prove who they are. What proves anything (secrets, codes, tokens, sessions) is stored as SHA-256 only.

None of it but clients belongs to an account: a user's grants reach every account that the user is a member of. An account
that limits a row to itself stands in `narrowed_to`.
"""

from piccolo.columns import JSONB, UUID, Array, Boolean, Bytea, ForeignKey, Integer, Text, Timestamptz
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
    origins = Array(
        base_column=Text(), default=list, help_text="of the redirect URIs; scripts from there may call (CORS)"
    )
    scopes = Array(base_column=Text(), default=list)
    public_keys = Array(
        base_column=Text(), default=list, help_text="PEM, for private_key_jwt and the JWT grant"
    )
    status = Text(default="active", help_text="active or disabled")
    created_at = Timestamptz(default=TimestamptzNow())
    created_by = UUID(null=True, default=None, help_text="an administrator, or the operator")

    client_account_id = Unique([account_id, id])


class Consent(Table):
    """What a user allows a client, remembered; without a user, what an account's administrator allows it for all members."""

    id = UUID(primary_key=True)
    client_id = ForeignKey(Client, null=False, default=None, on_delete=OnDelete.cascade)
    user_id = ForeignKey(User, null=True, default=None, on_delete=OnDelete.cascade)
    narrowed_to = ForeignKey(Account, null=True, default=None, on_delete=OnDelete.cascade)
    scopes = Array(base_column=Text(), default=list)
    granted_at = Timestamptz(default=TimestamptzNow())
    granted_by = UUID(null=True, default=None, help_text="for all members: an administrator, or the operator")


class Grant(Table, tablename="oauth_grant"):
    """What somebody was allowed once; every code and token points to its grant, so revoking it ends the whole family.

    Of a user (through a client or by the operator), or of a machine client. `narrowed_to` limits it to one account.
    """

    id = UUID(primary_key=True)
    kind = Text(
        default="operator", help_text="authorization_code, jwt_bearer, client_credentials, basic or operator"
    )
    user_id = ForeignKey(User, null=True, default=None, on_delete=OnDelete.cascade)
    client_id = ForeignKey(Client, null=True, default=None, on_delete=OnDelete.cascade)
    narrowed_to = ForeignKey(Account, null=True, default=None, on_delete=OnDelete.cascade)
    scopes = Array(base_column=Text(), default=list)
    auth_time = Timestamptz(null=True, default=None, help_text="when the user gave their password")
    created_at = Timestamptz(default=TimestamptzNow())
    revoked_at = Timestamptz(null=True, default=None)


class AuthorizationCode(Table):
    """What the client exchanges for tokens, once; bound to the client of its grant."""

    id = UUID(primary_key=True)
    code_hash = Bytea(unique=True, default=None, null=False, secret=True)
    grant_id = ForeignKey(Grant, null=False, default=None, on_delete=OnDelete.cascade)
    redirect_uri = Text()
    code_challenge = Text(null=True, default=None, help_text="RFC 7636, S256")
    nonce = Text(null=True, default=None)
    expires_at = Timestamptz(default=None, null=False)
    used_at = Timestamptz(null=True, default=None)


class AccessToken(Table):
    """An opaque bearer token: 256 random bits."""

    id = UUID(primary_key=True)
    token_hash = Bytea(unique=True, default=None, null=False, secret=True)
    grant_id = ForeignKey(Grant, null=False, default=None, on_delete=OnDelete.cascade)
    issued_with = UUID(null=True, default=None, help_text="the refresh token in the same answer")
    scopes = Array(base_column=Text(), default=list)
    issued_at = Timestamptz(default=TimestamptzNow())
    expires_at = Timestamptz(default=None, null=False)
    revoked_at = Timestamptz(null=True, default=None)


class RefreshToken(Table):
    """What the client exchanges for an access token and the next refresh token, once."""

    id = UUID(primary_key=True)
    token_hash = Bytea(unique=True, default=None, null=False, secret=True)
    grant_id = ForeignKey(Grant, null=False, default=None, on_delete=OnDelete.cascade)
    parent_id = UUID(null=True, default=None, help_text="the token that it was exchanged for")
    issued_at = Timestamptz(default=TimestamptzNow())
    expires_at = Timestamptz(default=None, null=False)
    used_at = Timestamptz(null=True, default=None)
    repeated = Boolean(default=False, help_text="the grace for a lost answer was taken")


class LoginSession(Table):
    """A person's login in one browser, whose cookie holds what this is the hash of."""

    id = UUID(primary_key=True)
    session_hash = Bytea(unique=True, default=None, null=False, secret=True)
    user_id = ForeignKey(User, null=False, default=None, on_delete=OnDelete.cascade)
    auth_time = Timestamptz(default=TimestamptzNow())
    seen_at = Timestamptz(default=TimestamptzNow())
    expires_at = Timestamptz(default=None, null=False)


class Invitation(Table):
    """That somebody with an e-mail address is asked to join an account; gone when they answer, or it is taken back."""

    id = UUID(primary_key=True)
    account_id = ForeignKey(Account, null=False, default=None, on_delete=OnDelete.cascade)
    email = Text(help_text="in lower case")
    name = Text(null=True, default=None, help_text="what they are called, as their inviter thinks")
    role = Text(help_text="admin, manager, sender or viewer")
    secret_hash = Bytea(default=None, null=False, secret=True, help_text="SHA-256 of 256 random bits")
    invited_by = UUID(default=None, null=False)
    created_at = Timestamptz(default=TimestamptzNow())
    expires_at = Timestamptz(default=None, null=False)

    invitation_account_id = Unique([account_id, id])
    invitation_account_email = Unique([account_id, email])


class AuthorizationRequest(Table):
    """A request for authorization that waits for its person to log in and consent; bound to one browser."""

    id = UUID(primary_key=True)
    session_hash = Bytea(default=None, null=False, index=True, secret=True)
    client_id = ForeignKey(Client, null=False, default=None, on_delete=OnDelete.cascade)
    parameters = JSONB(default="{}", help_text="as the client sent them, checked")
    account_chosen = Boolean(default=False)
    narrowed_to = ForeignKey(Account, null=True, default=None, on_delete=OnDelete.cascade)
    created_at = Timestamptz(default=TimestamptzNow())
    expires_at = Timestamptz(default=None, null=False)


class SigningKey(Table):
    """A key for ID tokens: published first, then signing, then published until what it signed has expired."""

    id = UUID(primary_key=True, help_text="the `kid`")
    private_key = Text(default=None, null=False, secret=True, help_text="PEM")
    published_at = Timestamptz(default=TimestamptzNow())
    signs_from = Timestamptz(null=True, default=None)
    retired_at = Timestamptz(null=True, default=None)


class UsedAssertion(Table):
    """A JWT that proved something once: one with a `jti` does so only once, the others are counted."""

    id = UUID(primary_key=True)
    digest = Bytea(
        unique=True, default=None, null=False, help_text="SHA-256 of client and jti, or of the JWT"
    )
    uses = Integer(default=1)
    expires_at = Timestamptz(default=None, null=False)


class KnownDevice(Table):
    """A browser that a user has logged in with: strangers' failures do not slow it down."""

    id = UUID(primary_key=True)
    device_hash = Bytea(unique=True, default=None, null=False, secret=True)
    user_id = ForeignKey(User, null=False, default=None, on_delete=OnDelete.cascade)
    seen_at = Timestamptz(default=TimestamptzNow())


class Throttle(Table):
    """How many attempts failed for one key in one window of time."""

    id = UUID(primary_key=True)
    key_hash = Bytea(default=None, null=False, help_text="SHA-256 of what is counted")
    window_start = Timestamptz(default=None, null=False)
    failures = Integer(default=1)

    throttle_key_window = Unique([key_hash, window_start])
