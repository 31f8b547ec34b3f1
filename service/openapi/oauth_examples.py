"""Examples of the OAuth endpoints' answers; a test holds each against its schema."""

from typing import Any

import msgspec

from auth.endpoints import metadata_of
from auth.models import TokenResponse
from auth.tokens import LOGIN_SECONDS
from service.maestro.examples import ACCOUNT, USER
from service.openapi.oauth_forms import ACCESS_TOKEN, ASSERTION, CLIENT, REFRESH_TOKEN
from service.settings import Settings

ISSUER = Settings().issuer
KEY = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
MODULUS = "sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri23bOdgWp4Dy1WlUzewbgBHod5pcM9H95GQRV3JDXboIR"

TOKENS = TokenResponse(
    access_token=ACCESS_TOKEN,
    token_type="Bearer",  # noqa: S106 - no secret
    expires_in=LOGIN_SECONDS,
    scope="openid signature aow_manage",
    refresh_token=REFRESH_TOKEN,
    id_token=ASSERTION,
)
PERSON: dict[str, Any] = {
    "sub": USER,
    "accounts": [{"account_id": ACCOUNT, "is_default": True, "account_name": "Acme", "base_uri": ISSUER.url}],
    "name": "Ada Lovelace",
    "given_name": "Ada",
    "family_name": "Lovelace",
    "created": "2026-05-04T09:30:00.000",
    "email": "ada@acme.example",
    "email_verified": False,
}
WORTH: dict[str, Any] = {
    "active": True,
    "scope": "openid signature aow_manage",
    "client_id": CLIENT,
    "token_type": "Bearer",
    "exp": 1_777_915_800,
    "iat": 1_777_887_000,
    "sub": USER,
    "aud": ISSUER.url,
    "iss": ISSUER.url,
}
# By the name of the schema.
ANSWERS: dict[str, Any] = {
    "TokenResponse": msgspec.to_builtins(TOKENS),
    "UserInfo": PERSON,
    "Introspection": WORTH,
    "Revoked": {},
    "KeySet": {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY, "n": MODULUS, "e": "AQAB"}]},
    "Metadata": msgspec.to_builtins(metadata_of(ISSUER)),
}
