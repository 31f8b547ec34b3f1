"""The four ways to a token: authorization code with PKCE, refresh token, JWT bearer, client credentials.

In each the checks come first and the one-time thing is used up last, so that a request that fails spends nothing.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidGrantError, InvalidRequestError, InvalidScopeError, grants
from authlib.oauth2.rfc7523 import JWTBearerGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core.grants import OpenIDToken
from joserfc.jwk import KeySet

from auth import assertions, consents, keys, tokens
from auth.assertions import AssertionRefused
from auth.bridge import wait
from auth.registered import RegisteredClient, live_client
from auth.server import CLIENT_METHODS, CONFIDENTIAL_METHODS, FormRequest, Person
from auth.tokens import Exchangeable, Issued, NewGrant, StoredCode

logger = logging.getLogger("tutti.auth")

CODE_NOT_VALID = (
    f"The code is unknown, older than {tokens.CODE_SECONDS} s, used, of another client, or sent with a redirect_uri that "
    "is not the one at /oauth/auth; start again there"
)
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # base64url of a SHA-256, without padding


class ConsentRequired(OAuth2Error):  # noqa: N818 - the name that it has on the wire
    """The user has not yet allowed the client what it asks for."""

    error = "consent_required"
    description = (
        "Send the user to /oauth/auth once, with these scopes and impersonation, or let an administrator allow them: "
        "PUT /v1/accounts/{accountId}/integrations/{clientId}/consent, or at the command line: tutti grant allow"
    )


class AuthorizationCode(grants.AuthorizationCodeGrant):
    """A code, once, for the tokens of whoever logged in (RFC 6749, 4.1)."""

    TOKEN_ENDPOINT_AUTH_METHODS = CLIENT_METHODS
    request: FormRequest

    def save_authorization_code(self, code: str, request: FormRequest) -> None:
        """Store the code and, before it, the grant that everything issued for it will belong to."""
        approval = request.user
        new = NewGrant(
            kind="authorization_code",
            client_id=request.client.id,
            user_id=approval.user_id,
            narrowed_to=approval.narrowed_to,
            scopes=request.scope.split(),
            auth_time=approval.auth_time,
        )
        grant_id = wait(tokens.save_grant(new))
        fields = request.fields
        redirect_uri, challenge = fields["redirect_uri"], fields.get("code_challenge")
        wait(tokens.save_code(code, grant_id, redirect_uri, challenge, fields.get("nonce")))

    def query_authorization_code(self, code: str, client: RegisteredClient) -> StoredCode:
        """Find a code of this client; a redirect URI that is sent has to be the code's.

        A used code is found too, so that its replay, once everything else about it is right, can be told.

        Raises:
            InvalidGrantError: there is none.
        """
        found = wait(tokens.find_code(code))
        if found is None or not found.check_client(client) or (found.expired and not found.used):
            raise InvalidGrantError(CODE_NOT_VALID)
        if self.request.fields.get("redirect_uri", found.redirect_uri) != found.redirect_uri:
            raise InvalidGrantError(CODE_NOT_VALID)
        return found

    def authenticate_user(self, authorization_code: StoredCode) -> Person | None:
        """Return the user, unless anybody in the grant may no longer act."""
        return acting(authorization_code)

    def create_token_response(self) -> tuple[int, Any, Any]:
        """Use the code up, then issue.

        Raises:
            InvalidGrantError: it was used before; its whole family is revoked, which the caller commits.
        """
        code = self.request.family = self.request.authorization_code
        if not wait(tokens.use_code(code)):
            logger.warning("a code of client %s was used again; its grant is revoked", code.client_id)
            raise InvalidGrantError(CODE_NOT_VALID)
        answer: tuple[int, Any, Any] = super().create_token_response()
        return answer

    def save_token(self, token: Mapping[str, Any]) -> None:
        """Store both tokens in the code's family."""
        wait(tokens.save_pair(self.request.authorization_code.grant_id, issued(token), None))

    def delete_authorization_code(self, authorization_code: StoredCode) -> None:
        """Keep it, used: its replay has to be recognised."""


class RefreshToken(grants.RefreshTokenGrant):
    """A refresh token, once, for an access token and the next refresh token (RFC 6749, 6; RFC 9700, 4.14.2)."""

    TOKEN_ENDPOINT_AUTH_METHODS = CLIENT_METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True
    request: FormRequest

    def authenticate_refresh_token(self, refresh_token: str) -> Exchangeable | None:
        """Find a refresh token, also a used one, whose replay has to be told."""
        found = wait(tokens.find_refresh(refresh_token))
        return None if found is None or (found.expired and not found.used) else found

    def authenticate_user(self, refresh_token: Exchangeable) -> Person | None:
        """Return the user, unless anybody in the grant may no longer act."""
        return acting(refresh_token)

    def create_token_response(self) -> tuple[int, Any, Any]:
        """Use the token up, then issue.

        Raises:
            InvalidGrantError: the user may no longer act, or the token was used before: then its family is revoked.
        """
        token = self.request.family = self.request.refresh_token
        if not token.live or not wait(tokens.use_refresh(token)):
            if token.live:
                logger.warning(
                    "a refresh token of client %s was used again; its grant is revoked", token.client_id
                )
            raise InvalidGrantError
        answer: tuple[int, Any, Any] = super().create_token_response()
        return answer

    def save_token(self, token: Mapping[str, Any]) -> None:
        """Store both tokens in the same family."""
        follows = self.request.refresh_token
        wait(tokens.save_pair(follows.grant_id, issued(token), follows.id))

    def revoke_old_credential(self, refresh_token: Exchangeable) -> None:
        """Do nothing: it was used up before anything was issued."""


class ClientCredentials(grants.ClientCredentialsGrant):
    """A machine client's own token, for the one account that it was registered for (RFC 6749, 4.4)."""

    TOKEN_ENDPOINT_AUTH_METHODS = CONFIDENTIAL_METHODS
    request: FormRequest

    def validate_token_request(self) -> None:
        """Settle the scopes: without any the client gets all that it was registered for.

        Raises:
            InvalidScopeError: beyond that, or none at all.
        """
        super().validate_token_request()
        client = self.request.client
        settled = client.get_allowed_scope(self.request.payload.scope or " ".join(client.scopes))
        if settled is None:
            known = " ".join(client.scopes) or "none; an administrator of its account can register some"
            raise InvalidScopeError(f"Ask for scopes that the client is registered for: {known}")
        self.request.scope = settled

    def create_token_response(self) -> tuple[int, Any, Any]:
        """Issue: what Authlib does, with the settled scopes."""
        token = self.generate_token(scope=self.request.scope, include_refresh_token=False)
        client = self.request.client
        new = NewGrant(
            kind="client_credentials",
            client_id=client.id,
            user_id=None,
            narrowed_to=client.account_id,
            scopes=self.request.scope.split(),
        )
        wait(tokens.save_single(new, issued(token)))
        return 200, token, self.TOKEN_RESPONSE_HEADER


class JWTBearer(JWTBearerGrant):
    """A client's signed word that it acts for a user (RFC 7523; the vendor's impersonation)."""

    request: FormRequest
    narrowed_to: UUID | None = None
    scopes = ""

    def process_assertion_claims(self, assertion: str) -> Mapping[str, Any]:
        """Verify the assertion with each of its client's keys.

        Raises:
            InvalidGrantError: in the vendor's words.
        """
        try:
            client = self.resolve_issuer_client(assertions.unverified_claim(assertion, "iss"))
            if client is None:
                raise InvalidGrantError("issuer_not_found: iss is the client_id")
            claims = assertions.verified(assertion, client.public_keys, self.request.issuer.audiences)
        except AssertionRefused as refusal:
            raise InvalidGrantError(str(refusal)) from None
        self.scopes = wanted_scopes(client, claims, self.request.payload.scope)
        self.request.assertion = assertion, claims
        return claims

    def resolve_issuer_client(self, issuer: str) -> RegisteredClient | None:
        """Find the client that the assertion says it is of."""
        if self.request.client is None:
            self.request.client = wait(live_client(issuer))
        found: RegisteredClient | None = self.request.client
        return found

    def authenticate_user(self, subject: str) -> Person:
        """Find the user, who has to have something to do with the client: others are unknown to it.

        Raises:
            InvalidGrantError: no such user.
        """
        user_id = wait(consents.known_user(subject, self.request.client))
        if user_id is None:
            raise InvalidGrantError("user_not_found: sub is the id of a user whom this client may know")
        return Person(user_id)

    def has_granted_permission(self, client: RegisteredClient, user: Person) -> bool:
        """Whether the user, or an administrator for them, allowed it.

        Raises:
            ConsentRequired: nobody did.
        """
        wanted = {*self.scopes.split(), "impersonation"}
        consent = wait(consents.allowed(client.id, user.id, sorted(wanted)))
        if consent is None:
            raise ConsentRequired
        self.narrowed_to = consent.narrowed_to
        return True

    def create_token_response(self) -> tuple[int, Any, Any]:
        """Issue an access token, without a refresh token: the client can sign again.

        Raises:
            InvalidGrantError: the assertion has a `jti` and was used before.
        """
        assertion, claims = self.request.assertion
        uses = wait(assertions.uses_of(assertion, claims))
        if uses > 1:
            if "jti" in claims:
                raise InvalidGrantError("assertion_used_before: sign another with another jti")
            logger.info(
                "an assertion of client %s without jti was used again (times: %d)", claims["iss"], uses
            )
        token = self.generate_token(scope=self.scopes, include_refresh_token=False)
        new = NewGrant(
            kind="jwt_bearer",
            client_id=self.request.client.id,
            user_id=self.request.user.id,
            narrowed_to=self.narrowed_to,
            scopes=self.scopes.split(),
        )
        wait(tokens.save_single(new, issued(token)))
        return 200, token, self.TOKEN_RESPONSE_HEADER


class S256(CodeChallenge):
    """PKCE as RFC 9700 wants it: S256, said so, and required of public clients from the first request on."""

    DEFAULT_CODE_CHALLENGE_METHOD = "S256"
    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)
    CODE_CHALLENGE_METHODS = {"S256": CodeChallenge.CODE_CHALLENGE_METHODS["S256"]}  # noqa: RUF012 - Authlib's

    def validate_code_challenge(self, grant: AuthorizationCode, redirect_uri: str) -> None:
        """Check the challenge before a person is asked anything.

        Raises:
            InvalidRequestError: missing, not S256, or not a SHA-256.
        """
        fields = grant.request.fields
        challenge, method = fields.get("code_challenge"), fields.get("code_challenge_method")
        if challenge is None and method is None and grant.request.client.kind != "public":
            return
        if method != "S256" or not CHALLENGE.fullmatch(challenge or ""):
            raise InvalidRequestError("Send a code_challenge with code_challenge_method=S256")

    def get_authorization_code_challenge_method(self, authorization_code: StoredCode) -> str:
        """Return the one method."""
        return "S256"


class IDToken(OpenIDToken):
    """Who logged in, for the client, signed with RS256 whatever the client would like (OpenID Connect Core, 2).

    Not Authlib's `OpenIDCode`: prompts are the pages' business, and whether a nonce came before is the client's.
    """

    def get_client_algorithm(self, client: RegisteredClient) -> str:
        """Return the one algorithm."""
        return "RS256"

    def get_encode_header(self, client: RegisteredClient) -> dict[str, str]:
        """Name the algorithm; the key's id is added with the key."""
        return {"alg": "RS256", "typ": "JWT"}

    def resolve_client_private_key(self, client: RegisteredClient) -> KeySet:
        """Return the key that signs now, alone: among several Authlib would choose by chance."""
        return KeySet([wait(keys.signing_key())])

    def get_compatible_claims(self, request: FormRequest) -> dict[str, Any]:
        """Say who issued it to whom, and when the user really logged in: Authlib would say now."""
        claims: dict[str, Any] = super().get_compatible_claims(request)
        claims["iss"], claims["aud"] = request.issuer.url, request.client.get_client_id()
        claims.pop("auth_time")
        if request.family is not None and request.family.auth_time is not None:
            claims["auth_time"] = int(request.family.auth_time.timestamp())
        return claims

    def generate_user_info(self, user: Person, scope: str) -> dict[str, str]:
        """Tell the user's id; userinfo tells the rest."""
        return {"sub": str(user.id)}


GRANTS: list[tuple[type[Any], list[Any]]] = [
    (AuthorizationCode, [S256(required=True), IDToken()]),
    (RefreshToken, [IDToken()]),
    (ClientCredentials, []),
    (JWTBearer, []),
]


def acting(family: Exchangeable) -> Person | None:
    """Return the user of a grant in which everyone may still act."""
    return Person(family.user_id) if family.live and family.user_id else None


def issued(token: Mapping[str, Any]) -> Issued:
    """Read what is stored of the token endpoint's answer."""
    return Issued(
        token["access_token"], token.get("refresh_token"), token["scope"].split(), token["expires_in"]
    )


def wanted_scopes(client: RegisteredClient, claims: Mapping[str, Any], asked: str | None) -> str:
    """Read the scopes of an assertion, where the vendor's SDKs put them, or else of the request.

    Raises:
        InvalidScopeError: none, unknown ones, or beyond what the client is registered for.
    """
    named = claims.get("scope", asked)
    scopes = client.get_allowed_scope(named) if isinstance(named, str) else None
    if scopes is None:
        raise InvalidScopeError("Put scopes that the client is registered for into the assertion")
    return scopes
