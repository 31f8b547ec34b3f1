"""Bodies of the OAuth endpoints, as their specifications name the fields."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

Identifier = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
Address = Annotated[str, Meta(extra_json_schema={"format": "uri"})]
Moment = Annotated[int, Meta(description="seconds since 1970, UTC")]


class TokenResponse(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Tokens (RFC 6749, 5.1). With a person present there is a refresh token, with the scope `openid` an ID token."""

    access_token: Annotated[str, Meta(description="opaque; sent as `Authorization: Bearer`")]
    token_type: Annotated[str, Meta(description="always Bearer")]
    expires_in: Annotated[int, Meta(description="seconds that the access token lives")]
    scope: Annotated[str, Meta(description="what was granted, with blanks between")]
    refresh_token: (
        Annotated[
            str, Meta(description="exchanged once, for the next access token and the next refresh token")
        ]
        | UnsetType
    ) = UNSET
    id_token: (
        Annotated[str, Meta(description="who logged in: a JWT, signed with RS256 by a key of /oauth/jwks")]
        | UnsetType
    ) = UNSET


class OAuthError(msgspec.Struct, kw_only=True):
    """What went wrong (RFC 6749, 5.2), and in `error_description` what to do about it."""

    error: Annotated[
        str,
        Meta(
            description="a stable code, for programs; new ones may come",
            extra_json_schema={
                "x-extensible-enum": [
                    "invalid_request",
                    "invalid_client",
                    "invalid_grant",
                    "invalid_scope",
                    "invalid_token",
                    "insufficient_scope",
                    "unauthorized_client",
                    "unsupported_grant_type",
                    "consent_required",
                    "slow_down",
                    "server_error",
                ]
            },
        ),
    ]
    error_description: Annotated[str, Meta(description="what to do about it, for people")]


class UserAccount(msgspec.Struct, kw_only=True):
    """An account that the user belongs to, and where its API is."""

    account_id: Identifier
    is_default: Annotated[bool, Meta(description="the one that the user has belonged to for longest")]
    account_name: str
    base_uri: Annotated[
        Address, Meta(description="where the account's API is; its paths begin with /v1/accounts")
    ]


class UserInfo(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Who the token is of: OpenID's claims, by scope, and the vendor's. With the vendor's scope `signature` all of them."""

    sub: Annotated[Identifier, Meta(description="the user's id")]
    accounts: Annotated[list[UserAccount], Meta(description="those that the token reaches")]
    name: Annotated[str, Meta(description="with profile or signature")] | UnsetType = UNSET
    given_name: Annotated[str, Meta(description="with profile or signature")] | UnsetType = UNSET
    family_name: Annotated[str, Meta(description="with profile or signature")] | UnsetType = UNSET
    created: (
        Annotated[
            str, Meta(description="when the user was made: UTC, without a time zone, as the vendor writes it")
        ]
        | UnsetType
    ) = UNSET
    email: Annotated[str, Meta(description="with email or signature")] | UnsetType = UNSET
    email_verified: (
        Annotated[bool, Meta(description="always false: nobody checked that the address is theirs")]
        | UnsetType
    ) = UNSET


class Introspection(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a token is worth (RFC 7662, 2.2); of one that is worth nothing, or another client's, only that."""

    active: Annotated[bool, Meta(description="whether the token works now")]
    scope: Annotated[str, Meta(description="what it allows, with blanks between")] | UnsetType = UNSET
    client_id: Annotated[Identifier, Meta(description="whose it is")] | UnsetType = UNSET
    token_type: (
        Annotated[str, Meta(description="Bearer for an access token, otherwise refresh_token")] | UnsetType
    ) = UNSET
    exp: Moment | UnsetType = UNSET
    iat: Moment | UnsetType = UNSET
    sub: Annotated[Identifier, Meta(description="the user's id, or a machine client's")] | UnsetType = UNSET
    aud: Annotated[str, Meta(description="this server")] | UnsetType = UNSET
    iss: Annotated[Address, Meta(description="this server")] | UnsetType = UNSET
    account_id: (
        Annotated[Identifier, Meta(description="the one account that the token was limited to")] | UnsetType
    ) = UNSET


class Metadata(msgspec.Struct, kw_only=True):
    """What this server can do (RFC 8414, 2; OpenID Connect Discovery, 3)."""

    issuer: Address
    authorization_endpoint: Address
    token_endpoint: Address
    userinfo_endpoint: Address
    revocation_endpoint: Address
    introspection_endpoint: Address
    end_session_endpoint: Address
    jwks_uri: Address
    scopes_supported: list[str]
    response_types_supported: list[str]
    response_modes_supported: list[str]
    grant_types_supported: list[str]
    subject_types_supported: list[str]
    id_token_signing_alg_values_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    token_endpoint_auth_signing_alg_values_supported: list[str]
    revocation_endpoint_auth_methods_supported: list[str]
    revocation_endpoint_auth_signing_alg_values_supported: list[str]
    introspection_endpoint_auth_methods_supported: list[str]
    introspection_endpoint_auth_signing_alg_values_supported: list[str]
    code_challenge_methods_supported: list[str]
    claims_supported: list[str]
    prompt_values_supported: list[str]
    authorization_response_iss_parameter_supported: bool
    claims_parameter_supported: bool
    request_parameter_supported: bool
    request_uri_parameter_supported: bool


class PublicKey(msgspec.Struct, kw_only=True):
    """A key that verifies ID tokens (RFC 7517)."""

    kty: Annotated[str, Meta(description="always RSA")]
    use: Annotated[str, Meta(description="always sig")]
    alg: Annotated[str, Meta(description="always RS256")]
    kid: Annotated[Identifier, Meta(description="the same as in the header of what it signed")]
    n: Annotated[str, Meta(description="the modulus, base64url")]
    e: Annotated[str, Meta(description="the exponent, base64url")]


class KeySet(msgspec.Struct, kw_only=True):
    """The keys that are, were or will be signing."""

    keys: list[PublicKey]
