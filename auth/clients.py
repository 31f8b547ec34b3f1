"""The operator's verbs about clients (integration keys): registers, changes and deletes them, and issues tokens."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec

from auth import registration
from auth.bearer import hash_of, new_secret
from auth.registration import (
    RegisteredEntry,
    Registration,
    check_key,
    check_redirect,
    check_scopes,
    fingerprint,
    listed,
)
from auth.tables import AccessToken, Client, Grant
from tenancy.accounts import no_account
from tenancy.errors import BadRequest, Conflict, NotFound
from tenancy.events import OPERATOR, OfAccount, record
from tenancy.rows import rows_of
from tenancy.tables import Account, Membership, User

LONGEST_LIFE = 366 * 86_400  # seconds
SHORTEST_FINGERPRINT = 8  # characters that name a key well enough
LISTED = """
SELECT id AS client_id, name, kind, redirect_uris, scopes, public_keys, status, created_at
FROM client ORDER BY created_at, id
"""


async def create_client(wanted: Registration, client_id: UUID | None = None) -> tuple[UUID, str | None]:
    """Register a client; return its id and its secret, which is shown this once (a public client has none).

    Raises:
        BadRequest: no name, unknown kind or scope, an unsafe redirect URI, a key that is not an RSA public key, or a
            kind of client that needs other redirect URIs, keys or scopes than these.
        NotFound: no such account.
        Conflict: the id that was chosen is another client's or a user's.
    """
    wanted = registration.checked(wanted)
    async with rows_of(wanted.account_id):
        await require_account(wanted.account_id)
        if client_id is not None:
            await require_nobodys(client_id)
        return await registration.register(wanted, OPERATOR, client_id)


async def list_clients(account_id: UUID) -> list[RegisteredEntry]:
    """List an account's clients, oldest first.

    Raises:
        NotFound: no such account.
    """
    async with rows_of(account_id) as connection:
        await require_account(account_id)
        return [listed(row) for row in await connection.fetch(LISTED)]


async def add_key(account_id: UUID, client_id: UUID, pem: str) -> Registration:
    """Register one more public key of a client; return what the client is now.

    Raises:
        BadRequest: not an RSA public key, one too many, or a public client.
        Conflict: the client has this key already.
        NotFound: the account has no such client.
    """
    check_key(pem)
    return await changed(account_id, client_id, lambda client: registration.with_key(client, pem))


async def remove_key(account_id: UUID, client_id: UUID, which: str) -> Registration:
    """Forget a public key of a client, named by its fingerprint, or the beginning of that, or its position from 1.

    Raises:
        BadRequest: the client could not prove itself, or nobody could return to it, without the key.
        NotFound: the account has no such client, or the client has no such key.
    """

    def removed(client: Registration) -> Registration:
        return registration.without_key(client, key_position(client, which))

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
    """Change a client; it stays one that could be registered."""
    async with rows_of(account_id):
        client = await registration.changed(client_id, OPERATOR, change)
    if client is None:
        raise no_client(account_id, client_id)
    return client


async def rotate_secret(account_id: UUID, client_id: UUID) -> str:
    """Give a client a new secret and return it, shown this once; the old one is worth nothing from now on.

    Tokens that were issued before hold on: `auth.allowances.revoke_grants` ends them.

    Raises:
        NotFound: the account has no such client.
        BadRequest: a public client, which has no secret.
    """
    async with rows_of(account_id):
        secret = await registration.renew_secret(account_id, client_id, OPERATOR)
    if secret is None:
        raise no_client(account_id, client_id)
    return secret


async def delete_client(account_id: UUID, client_id: UUID) -> None:
    """Delete a client with all its grants, consents and tokens.

    Raises:
        NotFound: the account has no such client.
    """
    async with rows_of(account_id):
        found = await registration.unregister(client_id, OPERATOR)
    if not found:
        raise no_client(account_id, client_id)


def no_client(account_id: UUID, client_id: UUID) -> NotFound:
    """Say that an account has no such client, and what to do."""
    return NotFound(
        f"Account {account_id} has no client {client_id}; see: tutti client list --account {account_id}"
    )


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
