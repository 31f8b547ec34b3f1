"""The words of an account's integrations (OAuth clients), which the vendor's API lacks."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from auth.registration import MOST_KEYS, fingerprint
from service.maestro.models import ResponseMetadata
from service.operations import consents, integrations
from service.operations.integrations import (
    LONGEST_KEY,
    LONGEST_REDIRECT_URI,
    LONGEST_SCOPE,
    MOST_REDIRECT_URIS,
    MOST_SCOPES,
    Kind,
    key_id_of,
)
from service.wire import Identifier, Timestamp, timestamp
from tenancy.accounts import LONGEST_NAME

IntegrationKind = Annotated[
    Kind,
    Meta(
        description="`confidential`: a server that keeps a secret; `public`: an app that cannot; `machine`: acts for itself"
    ),
]
Name = Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]
RedirectUris = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=LONGEST_REDIRECT_URI)]],
    Meta(
        max_length=MOST_REDIRECT_URIS,
        description="where people return to who have logged in, to the letter: https, http on localhost, or an app's own scheme",
    ),
]
Scopes = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=LONGEST_SCOPE)]],
    Meta(max_length=MOST_SCOPES, description="what it may ask for; none for all"),
]
Allowed = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=LONGEST_SCOPE)]],
    Meta(min_length=1, max_length=MOST_SCOPES, description="`impersonation` is always among them"),
]
Key = Annotated[
    str,
    Meta(
        min_length=1, max_length=LONGEST_KEY, description="an RSA public key as PEM, of 2,048 bits at least"
    ),
]


class NewIntegration(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An integration that is to be registered."""

    kind: IntegrationKind
    name: Name
    redirect_uris: RedirectUris | UnsetType = UNSET
    scopes: Scopes | UnsetType = UNSET
    public_keys: Annotated[list[Key], Meta(max_length=MOST_KEYS)] | UnsetType = UNSET


class ChangeIntegration(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to change; what is left out stays. Its kind cannot."""

    name: Name | UnsetType = UNSET
    redirect_uris: RedirectUris | UnsetType = UNSET
    scopes: Scopes | UnsetType = UNSET


class NewIntegrationKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A public key that is to be registered beside those that an integration has."""

    public_key: Key


class AllowIntegration(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What an integration is to be allowed for every member, instead of what it is allowed now."""

    scopes: Allowed


class IntegrationKey(msgspec.Struct, kw_only=True):
    """A public key, by which an integration proves itself or signs assertions."""

    id: Identifier
    fingerprint: Annotated[str, Meta(description="SHA-256 of the key in DER, as hexadecimal digits")]


class Integration(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An OAuth client of the account; its id is the `client_id`."""

    id: Identifier
    account_id: Identifier
    kind: IntegrationKind
    name: str
    redirect_uris: list[str]
    scopes: Annotated[list[str], Meta(description="what it may ask for; none for all")]
    keys: list[IntegrationKey]
    created_at: Timestamp
    created_by: Annotated[Identifier, Meta(description="absent where nobody knows")] | UnsetType = UNSET
    client_secret: (
        Annotated[str, Meta(description="shown here and never again, and stored as a hash")] | UnsetType
    ) = UNSET
    response_metadata: ResponseMetadata | UnsetType = UNSET


class IntegrationsList(msgspec.Struct, kw_only=True):
    data: list[Integration]
    response_metadata: ResponseMetadata


GrantedBy = Annotated[Identifier, Meta(description="who did last; absent where nobody knows")]


class IntegrationConsent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What an integration is allowed for every member without asking them."""

    client_id: Identifier
    scopes: Allowed
    granted_at: Timestamp
    granted_by: GrantedBy | UnsetType = UNSET
    grants_ended: (
        Annotated[int, Meta(description="as it may do less now: how many, with their tokens")] | UnsetType
    ) = UNSET
    response_metadata: ResponseMetadata


class AccountConsent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """That a client, of this account or another, may act for every member of this account."""

    client_id: Identifier
    client_name: Annotated[str, Meta(description="absent while it, or its account, is shut")] | UnsetType = (
        UNSET
    )
    scopes: Allowed
    granted_at: Timestamp
    granted_by: GrantedBy | UnsetType = UNSET


class AccountConsentsList(msgspec.Struct, kw_only=True):
    data: list[AccountConsent]
    response_metadata: ResponseMetadata


def account_consent(row: consents.AccountConsent) -> AccountConsent:
    """Word what a client is allowed for every member."""
    return AccountConsent(
        client_id=str(row.client_id),
        client_name=UNSET if row.client_name is None else row.client_name,
        scopes=row.scopes,
        granted_at=timestamp(row.granted_at),
        granted_by=UNSET if row.granted_by is None else str(row.granted_by),
    )


def integration(
    row: integrations.Integration, secret: str | None = None, told: ResponseMetadata | UnsetType = UNSET
) -> Integration:
    """Word an integration, with its secret where it has just been made."""
    keys = [IntegrationKey(id=str(key_id_of(pem)), fingerprint=fingerprint(pem)) for pem in row.public_keys]
    return Integration(
        id=str(row.id),
        account_id=str(row.account_id),
        kind=row.kind,
        name=row.name,
        redirect_uris=row.redirect_uris,
        scopes=row.scopes,
        keys=keys,
        created_at=timestamp(row.created_at),
        created_by=UNSET if row.created_by is None else str(row.created_by),
        client_secret=UNSET if secret is None else secret,
        response_metadata=told,
    )
