"""What a client (integration key) may be registered as: its checks, and every change of it with the event that tells of it.

Every function that changes something runs inside an open transaction of the client's account, for whoever may: the operator
(`auth.clients`) or an administrator (`service.operations.integrations`), who is the `actor` of the event.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
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
from auth.scopes import ABOUT_PEOPLE, SCOPES
from auth.tables import CLIENT_KINDS, Client
from tenancy.accounts import checked_name
from tenancy.errors import BadRequest, Conflict
from tenancy.events import OfAccount, differences, record
from tenancy.rows import current_connection

SHORTEST_KEY = 2048  # bits
MOST_KEYS = 5  # each is tried on an assertion that names none
DEFAULT_PORTS = {"http": 80, "https": 443}
REGISTERED = (
    "SELECT account_id, kind, name, redirect_uris, scopes, public_keys FROM client WHERE id = $1 FOR UPDATE"
)
# Who sends the secret with each request is let in by the new one alone.
END_BASIC = """
UPDATE oauth_grant SET revoked_at = now() WHERE client_id = $1 AND kind = 'basic' AND revoked_at IS NULL
"""
DELETE = (
    "DELETE FROM client WHERE id = $1 RETURNING account_id, kind, name, redirect_uris, scopes, public_keys"
)
CHANGE = """
UPDATE client SET name = $2, redirect_uris = $3, origins = $4, scopes = $5, public_keys = $6 WHERE id = $1
"""


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What a client is, or is to be."""

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


async def register(
    wanted: Registration, actor: UUID, client_id: UUID | None = None
) -> tuple[UUID, str | None]:
    """Register a client that was checked; return its id and its secret, which is shown this once (a public client has none).

    Raises:
        Conflict: the id that was chosen is another client's.
    """
    secret = None if wanted.kind == "public" else new_secret()
    client = Client(
        id=client_id or uuid4(),
        account_id=wanted.account_id,
        name=wanted.name,
        kind=wanted.kind,
        secret_hash=None if secret is None else hash_of(secret),
        redirect_uris=list(wanted.redirect_uris),
        origins=origins_of(wanted.redirect_uris),
        scopes=list(wanted.scopes),
        public_keys=list(wanted.public_keys),
        created_by=actor,
    )
    try:
        await Client.insert(client).run()
    except UniqueViolationError:
        raise Conflict(f"A client {client.id} exists already; choose another id, or none.") from None
    await record(
        OfAccount(wanted.account_id), "client.created", actor, client_id=client.id, after=told(wanted)
    )
    return client.id, secret


async def changed(
    client_id: UUID, actor: UUID, change: Callable[[Registration], Registration]
) -> Registration | None:
    """Change a client; it stays one that could be registered. Return what it is now; None if there is none.

    Raises:
        BadRequest: it would not be one that could be registered.
    """
    connection = current_connection()
    row = await connection.fetchrow(REGISTERED, client_id)
    if row is None:
        return None
    before = Registration(**row)
    client = checked(change(before))
    if client == before:
        return client
    uris, keys = list(client.redirect_uris), list(client.public_keys)
    scopes = list(client.scopes)
    await connection.execute(CHANGE, client_id, client.name, uris, origins_of(uris), scopes, keys)
    difference = differences(told(before), told(client))
    await record(OfAccount(client.account_id), "client.changed", actor, **difference, client_id=client_id)
    return client


def with_key(client: Registration, pem: str) -> Registration:
    """Add a public key to a client.

    Raises:
        Conflict: it has this key already.
    """
    if fingerprint(pem) in map(fingerprint, client.public_keys):
        raise Conflict("The client has this key already.")
    return msgspec.structs.replace(client, public_keys=[*client.public_keys, pem])


def without_key(client: Registration, position: int) -> Registration:
    """Take the public key at a position from 0 from a client."""
    left = [*client.public_keys[:position], *client.public_keys[position + 1 :]]
    return msgspec.structs.replace(client, public_keys=left)


async def renew_secret(account_id: UUID, client_id: UUID, actor: UUID) -> str | None:
    """Give a client a new secret and return it, shown this once; None if there is no such client.

    Raises:
        BadRequest: a public client, which has no secret.
    """
    connection, secret = current_connection(), new_secret()
    kind = await connection.fetchval("SELECT kind FROM client WHERE id = $1 FOR UPDATE", client_id)
    if kind is None:
        return None
    if kind == "public":
        raise BadRequest(
            "A public client has no secret, as it could not keep one; to shut it out, delete it."
        )
    await connection.execute("UPDATE client SET secret_hash = $2 WHERE id = $1", client_id, hash_of(secret))
    await connection.execute(END_BASIC, client_id)
    await record(OfAccount(account_id), "client.secret-rotated", actor, client_id=client_id)
    return secret


async def unregister(client_id: UUID, actor: UUID) -> bool:
    """Delete a client with all its grants, consents and tokens; say whether there was one."""
    row = await current_connection().fetchrow(DELETE, client_id)
    if row is None:
        return False
    client = Registration(**row)
    about = OfAccount(client.account_id)
    await record(about, "client.deleted", actor, before=told(client), client_id=client_id)
    return True


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


def checked(wanted: Registration) -> Registration:
    """Return a client with its name in its one form.

    Raises:
        BadRequest: no name, unknown kind or scope, an unsafe redirect URI, a key that is not an RSA public key, or a
            kind of client that needs other redirect URIs, keys or scopes than these.
    """
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
    name = checked_name(wanted.name, "A client's name")
    return msgspec.structs.replace(wanted, name=name, scopes=list(dict.fromkeys(wanted.scopes)))


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
