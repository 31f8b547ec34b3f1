"""A client as the OAuth server meets it: registered, active, of an active account."""

import hashlib
import hmac
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from auth.scopes import ABOUT_PEOPLE, SCOPES
from tenancy.rows import current_connection

LOOPBACK = ("127.0.0.1", "::1")
CODE_GRANTS = ("authorization_code", "refresh_token")
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
NO_SECRET = hashlib.sha256(b"").digest()


class RegisteredClient(msgspec.Struct, frozen=True):
    """What Authlib asks of a client, under the names of its `ClientMixin`."""

    id: UUID
    account_id: UUID
    account_name: str
    name: str
    kind: str
    secret_hash: bytes | None
    redirect_uris: list[str]
    scopes: list[str]
    public_keys: list[str]

    def get_client_id(self) -> str:
        """Return the id as it stands on the wire."""
        return str(self.id)

    def get_default_redirect_uri(self) -> None:
        """Return nothing: a request names its redirect URI."""

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """Return the scopes asked for, each once; None if one of them is unknown or not registered for this client."""
        wanted = list(dict.fromkeys((scope or "").split()))
        permitted = set(self.scopes or SCOPES)
        if self.kind == "machine":  # acts for nobody
            permitted -= set(ABOUT_PEOPLE)
        return " ".join(wanted) if wanted and permitted.issuperset(wanted) else None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Whether it is registered, to the letter; a native app on a loopback address may use any port (RFC 8252, 7.3)."""
        if redirect_uri in self.redirect_uris:
            return True
        if self.kind != "public":
            return False
        portless = without_port(redirect_uri)
        return portless is not None and portless in map(without_port, self.redirect_uris)

    def check_client_secret(self, client_secret: str) -> bool:
        """Compare a secret with the stored hash, in constant time."""
        given = hashlib.sha256(client_secret.encode("utf-8", "surrogateescape")).digest()
        return hmac.compare_digest(given, self.secret_hash or NO_SECRET) and self.secret_hash is not None

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:  # noqa: ARG002 - Authlib's signature
        """Whether the client proves itself in this way: a public client cannot, the others have to."""
        if method == "none":
            return self.kind == "public"
        return bool(self.public_keys) if method == "private_key_jwt" else self.secret_hash is not None

    def check_response_type(self, response_type: str) -> bool:
        """Whether people may be sent here to log in for the client."""
        return response_type == "code" and self.kind != "machine"

    def check_grant_type(self, grant_type: str) -> bool:
        """Whether the client may use a grant: its kind decides."""
        if grant_type == "client_credentials":
            return self.kind == "machine"
        return self.kind != "machine" and (grant_type in CODE_GRANTS or grant_type == JWT_BEARER)


def without_port(uri: str) -> str | None:
    """Return a loopback redirect URI without its port; None if the URI is no such one."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    authority = f"[{host}]" if host and ":" in host else host or ""
    exact = parts.netloc == (authority if port is None else f"{authority}:{port}")
    if parts.scheme != "http" or host not in LOOPBACK or not exact:
        return None
    return uri.replace(parts.netloc, authority, 1)


async def live_client(client_id: str) -> RegisteredClient | None:
    """Find a client that may do anything at all, inside an open transaction."""
    try:
        wanted = UUID(client_id)
    except ValueError:
        return None
    if str(wanted) != client_id.lower():  # one spelling: a UUID has several
        return None
    row = await current_connection().fetchrow("SELECT * FROM live_client($1)", wanted)
    return None if row is None else RegisteredClient(*row)
