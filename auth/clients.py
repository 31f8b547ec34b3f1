"""Registers clients (integration keys), changes and deletes them, and issues tokens, at the operator's word."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import msgspec
from asyncpg import UniqueViolationError
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from auth.bearer import hash_of, new_secret
from auth.scopes import SCOPES
from auth.tables import CLIENT_KINDS, AccessToken, Client, Grant
from tenancy.accounts import checked_name, no_account
from tenancy.errors import BadRequest, Conflict, NotFound
from tenancy.rows import rows_of
from tenancy.tables import Account, Membership, User

LONGEST_LIFE = 366 * 86_400  # seconds
SHORTEST_KEY = 2048  # bits
MOST_KEYS = 5  # each is tried on an assertion that names none
DEFAULT_PORTS = {"http": 80, "https": 443}
LISTED = """
SELECT id AS client_id, name, kind, redirect_uris, scopes, cardinality(public_keys) AS public_keys, status, created_at
FROM client ORDER BY created_at, id
"""


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What a new client is to be."""

    account_id: UUID
    kind: str
    name: str
    redirect_uris: Sequence[str] = ()
    scopes: Sequence[str] = ()
    public_keys: Sequence[str] = ()


class RegisteredEntry(msgspec.Struct, frozen=True):
    """A client as it is listed, without what proves anything; `public_keys` counts them."""

    client_id: UUID
    name: str
    kind: str
    redirect_uris: list[str]
    scopes: list[str]
    public_keys: int
    status: str
    created_at: datetime


async def create_client(wanted: Registration, client_id: UUID | None = None) -> tuple[UUID, str | None]:
    """Register a client; return its id and its secret, which is shown this once (a public client has none).

    Raises:
        BadRequest: no name, unknown kind or scope, an unsafe redirect URI, a key that is not an RSA public key, or a
            kind of client that needs other redirect URIs or keys than these.
        NotFound: no such account.
        Conflict: the id that was chosen is another client's or a user's.
    """
    check_registration(wanted)
    name = checked_name(wanted.name, "A client's name")
    secret = None if wanted.kind == "public" else new_secret()
    client = Client(
        id=client_id or uuid4(),
        account_id=wanted.account_id,
        name=name,
        kind=wanted.kind,
        secret_hash=None if secret is None else hash_of(secret),
        redirect_uris=list(wanted.redirect_uris),
        origins=origins_of(wanted.redirect_uris),
        scopes=list(wanted.scopes),
        public_keys=list(wanted.public_keys),
    )
    async with rows_of(wanted.account_id):
        await require_account(wanted.account_id)
        if client_id is not None:
            await require_nobodys(client_id)
        try:
            await Client.insert(client).run()
        except UniqueViolationError:
            raise Conflict(f"A client {client.id} exists already; choose another id, or none.") from None
    return client.id, secret


async def list_clients(account_id: UUID) -> list[RegisteredEntry]:
    """List an account's clients, oldest first.

    Raises:
        NotFound: no such account.
    """
    async with rows_of(account_id) as connection:
        await require_account(account_id)
        return [RegisteredEntry(**row) for row in await connection.fetch(LISTED)]


async def rotate_secret(account_id: UUID, client_id: UUID) -> str:
    """Give a client a new secret and return it, shown this once; the old one is worth nothing from now on.

    Tokens that were issued before hold on: `auth.allowances.revoke_grants` ends them.

    Raises:
        NotFound: the account has no such client.
        BadRequest: a public client, which has no secret.
    """
    secret = new_secret()
    async with rows_of(account_id) as connection:
        kind = await connection.fetchval("SELECT kind FROM client WHERE id = $1 FOR UPDATE", client_id)
        if kind is None:
            raise no_client(account_id, client_id)
        if kind == "public":
            raise BadRequest(
                "A public client has no secret, as it could not keep one; to shut it out, delete it."
            )
        await connection.execute(
            "UPDATE client SET secret_hash = $2 WHERE id = $1", client_id, hash_of(secret)
        )
    return secret


async def delete_client(account_id: UUID, client_id: UUID) -> None:
    """Delete a client with all its grants, consents and tokens.

    Raises:
        NotFound: the account has no such client.
    """
    async with rows_of(account_id) as connection:
        if await connection.fetchval("DELETE FROM client WHERE id = $1 RETURNING id", client_id) is None:
            raise no_client(account_id, client_id)


def no_client(account_id: UUID, client_id: UUID) -> NotFound:
    """Say that an account has no such client, and what to do."""
    return NotFound(
        f"Account {account_id} has no client {client_id}; see: tutti client list --account {account_id}"
    )


def check_registration(wanted: Registration) -> None:
    """Refuse what a client cannot be (see `create_client`)."""
    if wanted.kind not in CLIENT_KINDS:
        raise BadRequest(f"Unknown kind {wanted.kind!r}; known: {', '.join(CLIENT_KINDS)}.")
    check_scopes(wanted.scopes)
    for uri in wanted.redirect_uris:
        check_redirect(uri)
    if len(wanted.public_keys) > MOST_KEYS:
        raise BadRequest(f"A client has at most {MOST_KEYS} public keys.")
    for pem in wanted.public_keys:
        check_key(pem)
    check_entrance(wanted)


def check_entrance(wanted: Registration) -> None:
    """Refuse a client that no grant fits: machines act for themselves, the others for people, who come back to them."""
    if wanted.kind == "machine" and wanted.redirect_uris:
        raise BadRequest(
            "A machine client acts for itself, so nobody is sent back to it: leave out the redirect URIs, "
            "or register a confidential client."
        )
    if wanted.kind == "public" and not wanted.redirect_uris:
        raise BadRequest("A public client needs a redirect URI: people who have logged in return to it.")
    if wanted.kind == "confidential" and not (wanted.redirect_uris or wanted.public_keys):
        raise BadRequest(
            "A confidential client needs a redirect URI, to which people return who have logged in, "
            "or a public key, for the JWT grant."
        )


def origins_of(redirect_uris: Sequence[str]) -> list[str]:
    """Return the origins of the pages among redirect URIs, each once and as browsers write them (RFC 6454, 6.2)."""
    origins = []
    for parts in map(urlsplit, redirect_uris):
        if parts.scheme in DEFAULT_PORTS and parts.hostname:
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            own_port = parts.port not in (None, DEFAULT_PORTS[parts.scheme])
            origins.append(f"{parts.scheme}://{host}" + (f":{parts.port}" if own_port else ""))
    return list(dict.fromkeys(origins))


def check_redirect(uri: str) -> None:
    """Refuse a redirect URI that is not https, http on this machine, or an application's own scheme (RFC 8252, 7)."""
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port  # either may be impossible
    except ValueError:
        raise BadRequest(f"The redirect URI {uri!r} is not a URI.") from None
    if parts.geturl() != uri:  # an answer's parameters are added to it the same way
        raise BadRequest(f"The redirect URI {uri!r} has another spelling, {parts.geturl()}: register that.")
    if not uri.isascii() or not uri.isprintable() or set(uri) & {" ", "#", "*", "\\"} or "@" in parts.netloc:
        raise BadRequest(
            f"The redirect URI {uri!r} has a fragment, a wildcard, a user or characters that belong in no URI."
        )
    local = parts.scheme == "http" and host in ("localhost", "127.0.0.1", "::1")
    own_scheme = "." in parts.scheme and bool(host or parts.path.strip("/"))
    if not ((parts.scheme == "https" and host) or local or own_scheme):
        raise BadRequest(
            f"The redirect URI {uri!r} is neither https, nor http on localhost, nor of an application's own scheme "
            "with a dot in it, such as com.example.app:/callback."
        )


def check_scopes(scopes: Sequence[str]) -> None:
    """Refuse unknown scopes."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown:
        raise BadRequest(f"Unknown scope {', '.join(unknown)}; known: {', '.join(SCOPES)}.")


def check_key(pem: str) -> None:
    """Refuse what is not the PEM of an RSA public key of at least 2048 bits."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPublicKey) or key.key_size < SHORTEST_KEY:
        raise BadRequest(
            f"The public key is not the PEM of an RSA public key of at least {SHORTEST_KEY} bits."
        )


async def issue_token(
    account_id: UUID, holder: tuple[str, UUID], scopes: Sequence[str], expires_in: int
) -> str:
    """Issue an access token for one account to `("user", id)` or `("client", id)`; return it, shown this once.

    Raises:
        BadRequest: an unknown scope, or a lifetime outside 1 second to 366 days.
        NotFound: no such account, member or machine client of it.
    """
    check_scopes(scopes)
    if not 1 <= expires_in <= LONGEST_LIFE:
        raise BadRequest(f"A token lives 1 to {LONGEST_LIFE} seconds.")
    kind, holder_id = holder
    token = new_secret()
    async with rows_of(account_id):
        await require_account(account_id)
        await require_holder(account_id, kind, holder_id)
        await require_registered(kind, holder_id, scopes)
        grant = Grant(
            id=uuid4(),
            user_id=holder_id if kind == "user" else None,
            client_id=holder_id if kind == "client" else None,
            narrowed_to=account_id,
        )
        await Grant.insert(grant).run()
        now = datetime.now(UTC)
        access_token = AccessToken(
            id=uuid4(),
            token_hash=hash_of(token),
            grant_id=grant.id,
            scopes=list(dict.fromkeys(scopes)),
            issued_at=now,
            expires_at=now + timedelta(seconds=expires_in),
        )
        await AccessToken.insert(access_token).run()
    return token


async def require_account(account_id: UUID) -> None:
    """Refuse an account that is not there."""
    if not await Account.exists().where(Account.id == account_id).run():
        raise no_account(account_id)


async def require_nobodys(client_id: UUID) -> None:
    """Refuse a client's id that is a user's: in a token's `sub` the two would be one."""
    if await User.exists().where(User.id == client_id).run():
        raise Conflict(f"{client_id} is a user's id; choose another id, or none.")


async def require_registered(kind: str, holder_id: UUID, scopes: Sequence[str]) -> None:
    """Refuse scopes that a client was not registered for; one registered without scopes may have any."""
    if kind != "client":
        return
    found = await Client.select(Client.scopes).where(Client.id == holder_id).first().run()
    allowed = found["scopes"] if found else []
    beyond = sorted(set(scopes) - set(allowed))
    if allowed and beyond:
        raise BadRequest(
            f"The client is not registered for {', '.join(beyond)}; it may have {', '.join(allowed)}."
        )


async def require_holder(account_id: UUID, kind: str, holder_id: UUID) -> None:
    """Refuse a token's holder who is no member, or no machine client, of the account."""
    if kind == "user":
        member = (Membership.user_id == holder_id) & (Membership.status == "active")
        if not await Membership.exists().where(member).run():
            raise NotFound(f"User {holder_id} is not a member of account {account_id}.")
    elif not await Client.exists().where((Client.id == holder_id) & (Client.kind == "machine")).run():
        raise NotFound(f"Client {holder_id} is not a machine client of account {account_id}.")
