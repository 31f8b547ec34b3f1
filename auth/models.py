"""Bodies of the OAuth endpoints, as their specifications name the fields."""

import msgspec
from msgspec import UNSET, UnsetType


class TokenResponse(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Tokens (RFC 6749, 5.1). With a person present there is a refresh token, with the scope `openid` an ID token."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str
    refresh_token: str | UnsetType = UNSET
    id_token: str | UnsetType = UNSET


class OAuthError(msgspec.Struct, kw_only=True):
    """What went wrong (RFC 6749, 5.2), and in `error_description` what to do about it."""

    error: str
    error_description: str


class UserAccount(msgspec.Struct, kw_only=True):
    """An account that the user belongs to, and where its API is."""

    account_id: str
    is_default: bool
    account_name: str
    base_uri: str


class UserInfo(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Who the token is of: OpenID's claims, by scope, and the vendor's. With the vendor's scope `signature` all of them."""

    sub: str
    accounts: list[UserAccount]
    name: str | UnsetType = UNSET
    given_name: str | UnsetType = UNSET
    family_name: str | UnsetType = UNSET
    created: str | UnsetType = UNSET
    email: str | UnsetType = UNSET
    email_verified: bool | UnsetType = UNSET


class Introspection(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a token is worth (RFC 7662, 2.2); of one that is worth nothing, or another client's, only that."""

    active: bool
    scope: str | UnsetType = UNSET
    client_id: str | UnsetType = UNSET
    token_type: str | UnsetType = UNSET
    exp: int | UnsetType = UNSET
    iat: int | UnsetType = UNSET
    sub: str | UnsetType = UNSET
    aud: str | UnsetType = UNSET
    iss: str | UnsetType = UNSET
    account_id: str | UnsetType = UNSET


class Metadata(msgspec.Struct, kw_only=True):
    """What this server can do (RFC 8414, 2; OpenID Connect Discovery, 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str
    revocation_endpoint: str
    introspection_endpoint: str
    end_session_endpoint: str
    jwks_uri: str
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

    kty: str
    use: str
    alg: str
    kid: str
    n: str
    e: str


class KeySet(msgspec.Struct, kw_only=True):
    """The keys that are, were or will be signing."""

    keys: list[PublicKey]
