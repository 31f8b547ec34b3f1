"""What the OAuth endpoints read: forms and query strings, field by field, with an example of each way to use them.

The server reads these itself, strictly (`auth.forms`), so no model of the code describes them.
"""

from typing import Any

from auth.authorization import LONGEST_AGE, PROMPTS
from auth.endpoints import GRANT_TYPES
from auth.forms import LARGEST_FORM, MOST_FIELDS
from auth.registered import JWT_BEARER
from auth.server import ASSERTION_TYPE

CLIENT = "7c2e1f0a-5b7d-4a39-9c52-6f1f5d0f7505"
SECRET = "the-secret-that-was-shown-once"  # noqa: S105 - an example
CODE = "uH0gJ9cQ0b1mJ6H0cKq3mS0m4b9mZ1o5b7sVt1y0S2w"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
ASSERTION = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIn0.c2lnbmVk"
ACCESS_TOKEN = "mF9-B5f4JqMvZ0k1sQ3x8Y7w6V5u4T3s2R1q0P9o8N0"  # noqa: S105 - an example
REFRESH_TOKEN = "tGzv3JOkF0XG5Qx2TlKWIAZ9y8X7w6V5u4T3s2R1q0P"  # noqa: S105 - an example
CALLBACK = "http://127.0.0.1:3000/callback"
STRICT = f"At most {MOST_FIELDS} fields and {LARGEST_FORM} bytes; unknown fields are ignored, repeated ones refused."


def text(description: str, **more: Any) -> dict[str, Any]:
    """Describe a field."""
    return {"type": "string", "description": description} | more


def form(description: str, required: list[str], fields: dict[str, Any]) -> dict[str, Any]:
    """Describe a form."""
    needed = {"required": required} if required else {}
    return {"description": f"{description} {STRICT}", "type": "object"} | needed | {"properties": fields}


# How a client proves itself in the body instead of in the Authorization header.
PROOF = {
    "client_id": text("the client; alone for a public client, with a secret for others", format="uuid"),
    "client_secret": text("client_secret_post: instead of the header, never beside it", format="password"),
    "client_assertion_type": text("private_key_jwt: what the assertion is", enum=[ASSERTION_TYPE]),
    "client_assertion": text(
        "private_key_jwt: a JWT signed with RS256 by one of the client's keys; iss and sub are the client, "
        "aud this server; iat, exp and a jti that is used once"
    ),
}
AUTHORIZATION = {
    "response_type": text("what comes back: a code", enum=["code"]),
    "client_id": text("the client that sends the person here", format="uuid"),
    "redirect_uri": text(
        "where the person goes back to: one of the client's, to the letter; the port is free for a public client "
        "on 127.0.0.1 or [::1]",
        format="uri",
    ),
    "scope": text("what the client asks for, with blanks between"),
    "state": text("comes back unchanged; ties the answer to the browser that asked"),
    "code_challenge": text(
        "PKCE: base64url of the SHA-256 of the code verifier; required of public clients",
        pattern="^[A-Za-z0-9_-]{43}$",
    ),
    "code_challenge_method": text("PKCE: beside every code_challenge", enum=["S256"]),
    "nonce": text("stands in the ID token; ties it to the browser that asked"),
    "prompt": text(
        f"what the person is asked in any case, with blanks between: {', '.join(sorted(PROMPTS))}"
    ),
    "max_age": {
        "type": "integer",
        "minimum": 0,
        "maximum": LONGEST_AGE,
        "description": "seconds since the person gave their password, after which they are asked again",
    },
    "response_mode": text("how the answer comes back: as a query", enum=["query"]),
}
NEEDED = ["response_type", "client_id", "redirect_uri", "scope"]

FORMS: dict[str, dict[str, Any]] = {
    "AuthorizationForm": form("A client asks a person for access.", NEEDED, AUTHORIZATION),
    "TokenForm": form(
        "The grant type says which other fields are read.",
        ["grant_type"],
        {
            "grant_type": text("what is exchanged", enum=GRANT_TYPES),
            "code": text("authorization_code: what /oauth/auth gave; lives 60 seconds, works once"),
            "code_verifier": text(
                "authorization_code: the text that the code_challenge is of", minLength=43, maxLength=128
            ),
            "redirect_uri": text(
                "authorization_code: may be left out; otherwise the same as at /oauth/auth", format="uri"
            ),
            "refresh_token": text("refresh_token: the newest one; works once"),
            "assertion": text(
                f"{JWT_BEARER}: a JWT signed with RS256 by one of the client's keys; iss is the client, sub the user, "
                "aud this server; iat, and exp at most an hour later; scope"
            ),
            "scope": text(
                "with blanks between: less than was granted (refresh_token), or what a machine client wants of what "
                "it may have (client_credentials; without it all)"
            ),
            **PROOF,
        },
    ),
    "RevocationForm": form(
        "A token to give back.",
        ["token"],
        {
            "token": text("an access or refresh token of this client"),
            "token_type_hint": text("ignored: every kind is looked for"),
            **PROOF,
        },
    ),
    "IntrospectionForm": form(
        "A token to ask about; public clients may not.",
        ["token"],
        {
            "token": text("an access or refresh token of this client"),
            "token_type_hint": text("ignored: every kind is looked for"),
            **PROOF,
        },
    ),
    "UserInfoForm": form(
        "The token, where it is not in the header.", [], {"access_token": text("an access token")}
    ),
}

ASKED = {
    "response_type": "code",
    "client_id": CLIENT,
    "redirect_uri": CALLBACK,
    "scope": "openid signature aow_manage",
    "state": "af0ifjsldkj",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}
BY_POST = {"client_id": CLIENT, "client_secret": SECRET}
GRANTS = {
    "confidentialClient": (
        "A confidential client exchanges a code; its id and secret are in the Authorization header",
        {"grant_type": "authorization_code", "code": CODE},
    ),
    "publicClient": (
        "A public client exchanges a code, with PKCE",
        {"grant_type": "authorization_code", "client_id": CLIENT, "code": CODE, "code_verifier": VERIFIER},
    ),
    "refresh": (
        "A public client exchanges a refresh token",
        {"grant_type": "refresh_token", "client_id": CLIENT, "refresh_token": REFRESH_TOKEN},
    ),
    "impersonation": (
        "A client acts for a user who is away; the assertion is its proof",
        {"grant_type": JWT_BEARER, "assertion": ASSERTION},
    ),
    "machine": (
        "A machine client, with its secret in the body",
        {"grant_type": "client_credentials", "scope": "aow_manage signature"} | BY_POST,
    ),
}
TOKEN = {"withSecret": ("The client's secret in the body", {"token": REFRESH_TOKEN} | BY_POST)}
# Ways to use a form: what each is, and its fields.
USES: dict[str, dict[str, tuple[str, dict[str, str]]]] = {
    "AuthorizationForm": {"publicClient": ("A public client, with PKCE", ASKED)},
    "TokenForm": GRANTS,
    "RevocationForm": TOKEN
    | {"publicClient": ("A public client", {"token": REFRESH_TOKEN, "client_id": CLIENT})},
    "IntrospectionForm": TOKEN,
    "UserInfoForm": {"tokenInBody": ("The token in the body", {"access_token": ACCESS_TOKEN})},
}
