"""Registers clients (integration keys), changes and deletes them, and issues tokens, at the operator's word."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from shlex import quote
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import msgspec
from asyncpg import Record, UniqueViolationError
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from auth.bearer import hash_of, new_secret
from auth.scopes import SCOPES
from auth.tables import CLIENT_KINDS, AccessToken, Client, Grant
from tenancy.accounts import checked_name, no_account
from tenancy.errors import BadRequest, Conflict, NotFound
from tenancy.events import OPERATOR, OfAccount, differences, record
from tenancy.rows import rows_of
from tenancy.tables import Account, Membership, User

LONGEST_LIFE = 366 * 86_400  # seconds
SHORTEST_KEY = 2048  # bits
MOST_KEYS = 5  # each is tried on an assertion that names none
SHORTEST_FINGERPRINT = 8  # characters that name a key well enough
ABOUT_PEOPLE = ("openid", "profile", "email", "offline_access", "impersonation", "extended")
DEFAULT_PORTS = {"http": 80, "https": 443}
LISTED = """
SELECT id AS client_id, name, kind, redirect_uris, scopes, public_keys, status, created_at
FROM client ORDER BY created_at, id
"""
REGISTERED = (
    "SELECT account_id, kind, name, redirect_uris, scopes, public_keys FROM client WHERE id = $1 FOR UPDATE"
)
DELETE = (
    "DELETE FROM client WHERE id = $1 RETURNING account_id, kind, name, redirect_uris, scopes, public_keys"
)
CHANGE = "UPDATE client SET redirect_uris = $2, origins = $3, public_keys = $4 WHERE id = $1"


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What a new client is to be."""

    account_id: UUID
    kind: str
    name: str
    redirect_uris: Sequence[str] = ()
    scopes: Sequence[str] = ()
    public_keys: Sequence[str] = ()


class RegisteredEntry(msgspec.Struct, frozen=True):
    """A client as it is listed, without what proves anything; `public_keys` counts them, `fingerprints` names them."""

    client_id: UUID
    name: str
    kind: str
    redirect_uris: list[str]
    scopes: list[str]
    public_keys: int
    fingerprints: list[str]
    status: str
    created_at: datetime


async def create_client(wanted: Registration, client_id: UUID | None = None) -> tuple[UUID, str | None]:
    """Register a client; return its id and its secret, which is shown this once (a public client has none).

    Raises:
        BadRequest: no name, unknown kind or scope, an unsafe redirect URI, a key that is not an RSA public key, or a
            kind of client that needs other redirect URIs, keys or scopes than these.
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
        await record(
            OfAccount(wanted.account_id),
            "client.created",
            OPERATOR,
            client_id=client.id,
            after={**told(wanted), "name": name},
        )
    return client.id, secret


async def list_clients(account_id: UUID) -> list[RegisteredEntry]:
    """List an account's clients, oldest first.

    Raises:
        NotFound: no such account.
    """
    async with rows_of(account_id) as connection:
        await require_account(account_id)
        return [listed(row) for row in await connection.fetch(LISTED)]


def told(client: Registration) -> dict[str, Any]:
    """What events tell of a client: of its keys the fingerprints."""
    return {
        "name": client.name,
        "kind": client.kind,
        "redirect_uris": list(client.redirect_uris),
        "scopes": list(client.scopes),
        "fingerprints": [fingerprint(pem) for pem in client.public_keys],
    }


def listed(row: Record) -> RegisteredEntry:
    """Show a client's row."""
    keys = row["public_keys"]
    shown = dict(row) | {"public_keys": len(keys), "fingerprints": [fingerprint(pem) for pem in keys]}
    return RegisteredEntry(**shown)


def fingerprint(pem: str) -> str:
    """Return the SHA-256 of a public key, as `openssl pkey -pubin -outform DER | openssl dgst -sha256` writes it."""
    key = load_pem_public_key(pem.encode())
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


async def add_key(account_id: UUID, client_id: UUID, pem: str) -> Registration:
    """Register one more public key of a client; return what the client is now.

    Raises:
        BadRequest: not an RSA public key, one too many, or a public client.
        Conflict: the client has this key already.
        NotFound: the account has no such client.
    """
    check_key(pem)

    def added(client: Registration) -> Registration:
        if fingerprint(pem) in map(fingerprint, client.public_keys):
            raise Conflict("The client has this key already.")
        return msgspec.structs.replace(client, public_keys=[*client.public_keys, pem])

    return await changed(account_id, client_id, added)


async def remove_key(account_id: UUID, client_id: UUID, which: str) -> Registration:
    """Forget a public key of a client, named by its fingerprint, or the beginning of that, or its position from 1.

    Raises:
        BadRequest: the client could not prove itself, or nobody could return to it, without the key.
        NotFound: the account has no such client, or the client has no such key.
    """

    def removed(client: Registration) -> Registration:
        gone = key_position(client, which)
        return msgspec.structs.replace(
            client, public_keys=[*client.public_keys[:gone], *client.public_keys[gone + 1 :]]
        )

    return await changed(account_id, client_id, removed)


def key_position(client: Registration, which: str) -> int:
    """Find a key by fingerprint, the beginning of one, or position from 1; return its position from 0."""
    for position, pem in enumerate(client.public_keys):
        begins = len(which) >= SHORTEST_FINGERPRINT and fingerprint(pem).startswith(which.lower())
        if begins or which == str(position + 1):
            return position
    raise NotFound(f"The client has no key {which}; see: tutti client list --account {client.account_id}")


async def add_redirect_uri(account_id: UUID, client_id: UUID, uri: str) -> Registration:
    """Register one more redirect URI of a client; return what the client is now.

    Raises:
        BadRequest: an unsafe redirect URI, or a machine client.
        Conflict: the client has this redirect URI already.
        NotFound: the account has no such client.
    """
    check_redirect(uri)

    def added(client: Registration) -> Registration:
        if uri in client.redirect_uris:
            raise Conflict(f"The client has the redirect URI {uri} already.")
        return msgspec.structs.replace(client, redirect_uris=[*client.redirect_uris, uri])

    return await changed(account_id, client_id, added)


async def remove_redirect_uri(account_id: UUID, client_id: UUID, uri: str) -> Registration:
    """Forget a redirect URI of a client; return what the client is now.

    Raises:
        BadRequest: nobody could return to the client without it.
        NotFound: the account has no such client, or the client has no such redirect URI.
    """

    def removed(client: Registration) -> Registration:
        if uri not in client.redirect_uris:
            raise NotFound(
                f"The client has no redirect URI {uri}; see: tutti client list --account {account_id}"
            )
        return msgspec.structs.replace(
            client, redirect_uris=[one for one in client.redirect_uris if one != uri]
        )

    return await changed(account_id, client_id, removed)


async def changed(
    account_id: UUID, client_id: UUID, change: Callable[[Registration], Registration]
) -> Registration:
    """Change where people return to and what a client proves itself with; it stays one that could be registered."""
    async with rows_of(account_id) as connection:
        row = await connection.fetchrow(REGISTERED, client_id)
        if row is None:
            raise no_client(account_id, client_id)
        before = Registration(**row)
        client = change(before)
        check_key_count(client.public_keys)
        check_entrance(client)
        uris = list(client.redirect_uris)
        await connection.execute(CHANGE, client_id, uris, origins_of(uris), list(client.public_keys))
        await record(
            OfAccount(account_id),
            "client.changed",
            OPERATOR,
            **differences(told(before), told(client)),
            client_id=client_id,
        )
    return client


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
        await record(OfAccount(account_id), "client.secret-rotated", OPERATOR, client_id=client_id)
    return secret


async def delete_client(account_id: UUID, client_id: UUID) -> None:
    """Delete a client with all its grants, consents and tokens.

    Raises:
        NotFound: the account has no such client.
    """
    async with rows_of(account_id) as connection:
        row = await connection.fetchrow(DELETE, client_id)
        if row is None:
            raise no_client(account_id, client_id)
        before = told(Registration(**row))
        await record(OfAccount(account_id), "client.deleted", OPERATOR, before=before, client_id=client_id)


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
    if wanted.kind == "machine":
        check_own_scopes(wanted.scopes)
    check_key_count(wanted.public_keys)
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
    if wanted.kind == "public" and wanted.public_keys:
        raise BadRequest(
            "A public client can keep no secret, and so no private key: leave out the public key, "
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


def check_own_scopes(scopes: Sequence[str]) -> None:
    """Refuse a machine client scopes that are about people."""
    about_people = [scope for scope in scopes if scope in ABOUT_PEOPLE]
    if about_people:
        raise BadRequest(
            f"A machine client acts for itself, and {', '.join(about_people)} is about people: leave it out, "
            "or register a confidential client."
        )


def check_key_count(public_keys: Sequence[str]) -> None:
    """Refuse more public keys than a client may have."""
    if len(public_keys) > MOST_KEYS:
        raise BadRequest(f"A client has at most {MOST_KEYS} public keys.")


def check_key(pem: str, file: str | None = None) -> None:
    """Refuse what is not the PEM of an RSA public key of at least 2048 bits, and say what it is; `file` is its name."""
    named = file or "The public key"
    if "PRIVATE KEY-----" in pem:
        path = quote(file or "private.pem")
        raise BadRequest(f"{named} is a private key; its public half: openssl rsa -in {path} -pubout")
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise BadRequest(f"{named} is not the PEM of an RSA public key.") from None
    if not isinstance(key, RSAPublicKey):
        raise BadRequest(f"{named} is not an RSA key, which RS256 needs.")
    if key.key_size < SHORTEST_KEY:
        raise BadRequest(f"{named} has {key.key_size} bits; it needs at least {SHORTEST_KEY}.")


async def issue_token(
    account_id: UUID, holder: tuple[str, UUID], scopes: Sequence[str], expires_in: int
) -> str:
    """Issue an access token for one account to `("user", id)` or `("client", id)`; return it, shown this once.

    Raises:
        BadRequest: an unknown scope, or a lifetime outside 1 second to 366 days.
        NotFound: no such account, member or machine client of it.
        Conflict: the user is suspended.
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
        await record(
            OfAccount(account_id),
            "token.issued",
            OPERATOR,
            grant_id=grant.id,
            holder={"kind": kind, "id": holder_id},
            after={"scopes": access_token.scopes, "expires_at": access_token.expires_at},
        )
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
        if await User.exists().where((User.id == holder_id) & (User.status == "suspended")).run():
            raise Conflict(f"User {holder_id} is suspended; to let them in: tutti user resume {holder_id}")
    elif not await Client.exists().where((Client.id == holder_id) & (Client.kind == "machine")).run():
        raise NotFound(f"Client {holder_id} is not a machine client of account {account_id}.")
