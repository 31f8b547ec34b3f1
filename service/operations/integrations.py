"""What an account's administrators do with its integrations (OAuth clients), and what they allow them for all members.

What a client may be and the events that tell of it are `auth.registration`'s, which the operator's verbs share.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from auth import allowances, registration
from auth.bearer import Access, Caller
from auth.registration import Registration
from auth.roles import Right
from service.errors import IntegrationConflict
from service.operations.pages import Page, binding, cut, position, worded
from tenancy.accounts import checked_name
from tenancy.errors import BadRequest, FieldError, NotFound
from tenancy.rows import current_connection

MOST = 100  # integrations of one account
MOST_REDIRECT_URIS = 20  # of one integration
LONGEST_REDIRECT_URI = 2048  # characters
LONGEST_KEY = 8192  # characters of a PEM
MOST_SCOPES = 20
LONGEST_SCOPE = 100  # characters

Kind = Literal["confidential", "public", "machine"]

COLUMNS = "id, account_id, kind, name, redirect_uris, scopes, public_keys, created_at, created_by"
ONE = f"SELECT {COLUMNS} FROM client WHERE account_id = $1 AND id = $2"
COUNT = "SELECT count(*) FROM client WHERE account_id = $1"
CONSENT = """
SELECT scopes, granted_at, granted_by FROM consent WHERE user_id IS NULL AND narrowed_to = $1 AND client_id = $2
"""


class New(msgspec.Struct, frozen=True, kw_only=True):
    """What a new integration is to be."""

    kind: Kind
    name: str
    redirect_uris: Sequence[str] = ()
    scopes: Sequence[str] = ()
    public_keys: Sequence[str] = ()


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What is to change of an integration; what is unset stays."""

    name: str | UnsetType = UNSET
    redirect_uris: Sequence[str] | UnsetType = UNSET
    scopes: Sequence[str] | UnsetType = UNSET


class Integration(msgspec.Struct, frozen=True):
    """An OAuth client of the account, without what proves anything."""

    id: UUID
    account_id: UUID
    kind: Kind
    name: str
    redirect_uris: list[str]
    scopes: list[str]
    public_keys: list[str]
    created_at: datetime
    created_by: UUID | None


class Shown(msgspec.Struct, frozen=True):
    """An integration, and its secret where it has just been made."""

    integration: Integration
    secret: str | None = None


class Consent(msgspec.Struct, frozen=True):
    """What an integration is allowed for every member, since when and by whom; `grants_ended` where it has become less."""

    scopes: list[str]
    granted_at: datetime
    granted_by: UUID | None
    grants_ended: int | None = None


async def create(access: Access, new: New) -> Shown:
    """Register an integration; the answer alone holds its secret (a public one has none).

    Raises:
        BadRequest: with one entry for each field that is wrong, or what its kind forbids.
        IntegrationConflict: the account has as many as it may have.
    """
    async with access.alone(Right.ADMINISTER) as caller:
        wanted = checked(Registration(account_id=caller.account_id, **msgspec.structs.asdict(new)))
        connection = current_connection()
        if await connection.fetchval(COUNT, caller.account_id) >= MOST:
            raise IntegrationConflict(f"An account has at most {MOST} integrations; delete one first.")
        client_id, secret = await registration.register(wanted, caller.id)
        return Shown(await found(caller, client_id), secret)


async def get_list(access: Access, size: int, ctoken: str | None) -> Page:
    """Return a page of the account's integrations, the oldest first.

    Raises:
        PageTokenRefused: the token is not of this list.
    """
    async with access.rows(Right.ADMINISTER) as caller:
        bound_to = binding(caller.account_id, "integrations")
        begin = position(ctoken, bound_to)
        after = () if begin is None else (begin.at, begin.id)
        statement = listing(size + 1, going_on=begin is not None)
        rows = await current_connection().fetch(statement, caller.account_id, *after)
    return worded(cut(rows, size, "created_at", bound_to), integration_of)


def listing(most: int, *, going_on: bool = False) -> str:
    """Write the statement that reads a page."""
    after = " AND (created_at, id) > ($2, $3)" if going_on else ""
    return f"SELECT {COLUMNS} FROM client WHERE account_id = $1{after} ORDER BY created_at, id LIMIT {most}"


async def get(access: Access, client_id: UUID) -> Integration:
    """Return one integration.

    Raises:
        NotFound: the account has no such integration.
    """
    async with access.rows(Right.ADMINISTER) as caller:
        return await found(caller, client_id)


async def change(access: Access, client_id: UUID, changes: Changes) -> Integration:
    """Change an integration; tokens that it has live on with what they were given.

    Raises:
        NotFound: the account has no such integration.
        BadRequest: with one entry for each field that is wrong, or what its kind forbids.
    """
    asked = msgspec.structs.asdict(changes)
    given = {name: value for name, value in asked.items() if value is not UNSET}
    return await changed(
        access, client_id, lambda client: checked(msgspec.structs.replace(client, **given), given)
    )


async def add_key(access: Access, client_id: UUID, pem: str) -> Integration:
    """Register one more public key of an integration.

    Raises:
        NotFound: the account has no such integration.
        BadRequest: not an RSA public key, one too many, or a public integration.
        Conflict: the integration has this key already.
    """

    def added(client: Registration) -> Registration:
        checked(msgspec.structs.replace(client, public_keys=[pem]), {"public_key": pem})
        return registration.with_key(client, pem)

    return await changed(access, client_id, added)


async def remove_key(access: Access, client_id: UUID, key_id: UUID) -> Integration:
    """Forget a public key of an integration; what it signed proves nothing from now on.

    Raises:
        NotFound: the account has no such integration, or the integration no such key.
        BadRequest: the integration could not prove itself, or nobody could return to it, without the key.
    """

    def removed(client: Registration) -> Registration:
        ids = [key_id_of(pem) for pem in client.public_keys]
        if key_id not in ids:
            raise NotFound
        return registration.without_key(client, ids.index(key_id))

    return await changed(access, client_id, removed)


async def rotate_secret(access: Access, client_id: UUID) -> Shown:
    """Give an integration a new secret; the one before is worth nothing from now on, tokens live on.

    Raises:
        NotFound: the account has no such integration.
        BadRequest: a public integration, which has no secret.
    """
    async with access.alone(Right.ADMINISTER) as caller:
        secret = await registration.renew_secret(caller.account_id, client_id, caller.id)
        if secret is None:
            raise NotFound
        return Shown(await found(caller, client_id), secret)


async def delete(access: Access, client_id: UUID) -> None:
    """Delete an integration with all its grants, consents and tokens: its next request is refused.

    Raises:
        NotFound: the account has no such integration.
    """
    async with access.alone(Right.ADMINISTER) as caller:
        if not await registration.unregister(client_id, caller.id):
            raise NotFound


async def get_consent(access: Access, client_id: UUID) -> Consent:
    """Return what an integration is allowed for every member.

    Raises:
        NotFound: the account has no such integration, or allows it nothing.
    """
    async with access.rows(Right.ADMINISTER) as caller:
        await found(caller, client_id)
        return await consent_of(caller, client_id)


async def allow(access: Access, client_id: UUID, scopes: Sequence[str]) -> Consent:
    """Allow an integration exactly these scopes, and impersonation, for every member of the account.

    Raises:
        NotFound: the account has no such integration.
        BadRequest: no scope, one that is unknown or that it is not registered for, or an integration that acts for nobody.
    """
    async with access.alone(Right.ADMINISTER) as caller:
        await found(caller, client_id)
        try:
            ended = await allowances.replace_for_account(caller.account_id, client_id, scopes, caller.id)
        except BadRequest as refusal:
            raise BadRequest(errors=(FieldError("FIELD_INVALID", refusal.detail, "scopes"),)) from None
        return msgspec.structs.replace(await consent_of(caller, client_id), grants_ended=ended)


async def take_back(access: Access, client_id: UUID) -> None:
    """End what an integration is allowed for every member, with its tokens for those who did not allow it themselves.

    Raises:
        NotFound: the account has no such integration, or allows it nothing.
    """
    async with access.alone(Right.ADMINISTER) as caller:
        await found(caller, client_id)
        if not await allowances.take_back_for_account(caller.account_id, client_id, caller.id):
            raise NotFound


async def changed(
    access: Access, client_id: UUID, change: Callable[[Registration], Registration]
) -> Integration:
    """Change an integration; it stays one that could be registered.

    Raises:
        NotFound: the account has no such integration.
    """
    async with access.alone(Right.ADMINISTER) as caller:
        if await registration.changed(client_id, caller.id, change) is None:
            raise NotFound
        return await found(caller, client_id)


async def found(caller: Caller, client_id: UUID) -> Integration:
    """Read an integration in the open transaction.

    Raises:
        NotFound: the account has no such integration.
    """
    row = await current_connection().fetchrow(ONE, caller.account_id, client_id)
    if row is None:
        raise NotFound
    return integration_of(row)


async def consent_of(caller: Caller, client_id: UUID) -> Consent:
    """Read what an integration is allowed for every member, in the open transaction.

    Raises:
        NotFound: nothing.
    """
    row = await current_connection().fetchrow(CONSENT, caller.account_id, client_id)
    if row is None:
        raise NotFound
    return Consent(sorted(row["scopes"]), row["granted_at"], row["granted_by"])


def checked(wanted: Registration, fields: dict[str, Any] | None = None) -> Registration:
    """Return an integration that could be registered; `fields` are those of the request, all where it is left out.

    Raises:
        BadRequest: with one entry for each field that is wrong; without, what its kind forbids.
    """
    keys = "public_keys" if fields is None else "public_key"
    checks: tuple[tuple[str, Callable[[Any], object], Sequence[Any]], ...] = (
        ("name", lambda name: checked_name(name, "An integration's name"), (wanted.name,)),
        ("scopes", registration.check_scopes, (wanted.scopes,)),
        ("redirect_uris", registration.check_redirect, wanted.redirect_uris),
        (keys, registration.check_key, wanted.public_keys),
    )
    wrong = []
    for field, check, values in checks:
        if fields is not None and field not in fields:
            continue
        try:
            for value in values:
                check(value)
        except BadRequest as refusal:
            wrong.append(FieldError("FIELD_INVALID", refusal.detail, field))
    if wrong:
        raise BadRequest(errors=tuple(wrong))
    return registration.checked(wanted)


def key_id_of(pem: str) -> UUID:
    """The id of a public key: the first half of its fingerprint."""
    return UUID(registration.fingerprint(pem)[:32])


def integration_of(row: asyncpg.Record) -> Integration:
    """Read an integration's row."""
    return Integration(**row)
