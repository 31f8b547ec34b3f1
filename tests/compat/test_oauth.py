"""The vendor's SDK logs in: each of its five calls, then Maestro with the token; and what it raises where it may not."""

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.compat.apps import App, Script, new_keys, register
from tests.compat.conftest import Company, Logins
from tests.compat.live import Live
from tests.compat.login import Person, parameters_of
from tests.compat.sdk import Refused, Session

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

# What the SDK checks against its own two hosts; everyone else puts theirs in.
VENDOR = "https://account-d.docusign.com"
MAESTRO = ["aow_manage", "signature"]
VERIFIER = "a-verifier-of-at-least-forty-three-characters-0"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
EIGHT_HOURS = 28_800
HOUR = 3_600


class Tokens:
    """The SDK's five calls, as one client makes them."""

    def __init__(self, auth: Script, app: App) -> None:
        self.auth = auth
        self.app = app
        self.at = {"serverURL": app.live.url}
        self.security = {"clientId": app.id, "secretKey": app.secret}

    def call(self, operation: str, *parameters: Any) -> Any:
        """Make one call."""
        return self.auth.call(operation=operation, parameters=parameters)

    def url(self, **asked: Any) -> str:
        """The SDK's authorization URL, at this server; without scopes it asks for all that it knows, some repeatedly."""
        asked = {"type": "code", "clientId": self.app.id, "redirectUri": self.app.redirect_uri, **asked}
        made: str = self.call("createAuthorizationUrl", asked)
        assert made.startswith(f"{VENDOR}/oauth/auth?")
        return made.replace(VENDOR, self.app.live.url, 1)

    def code(self, person: Person, **asked: Any) -> str:
        """The code with which a person comes back."""
        back = person.sent_back(self.url(state="of the test", **asked))
        assert back.startswith(f"{self.app.redirect_uri}?")
        parameters = parameters_of(back)
        assert parameters.keys() == {"code", "state", "iss"}
        assert (parameters["state"], parameters["iss"]) == ("of the test", self.app.live.url)
        return parameters["code"]

    def confidential(self, code: str) -> Any:
        """Exchange a code with the client's secret."""
        return self.call("getTokenFromConfidentialAuthCode", self.security, {"code": code}, self.at)

    def public(self, code: str, verifier: str = VERIFIER) -> Any:
        """Exchange a code with its verifier."""
        request = {"clientId": self.app.id, "code": code, "codeVerifier": verifier}
        return self.call("getTokenFromPublicAuthCode", request, self.at)

    def refresh(self, token: str) -> Any:
        """Exchange a refresh token, with the secret where there is one."""
        if self.app.secret is None:
            request = {"refreshToken": token, "clientId": self.app.id}
            return self.call("getTokenFromRefreshToken", request, {}, self.at)  # without {} it throws
        return self.call("getTokenFromRefreshToken", {"refreshToken": token}, self.security, self.at)

    def impersonate(self, user_id: str, key: str | None = None, **claimed: Any) -> Any:
        """Sign an assertion as the SDK does, for the vendor's host, and exchange it."""
        claims = {"clientId": self.app.id, "userId": user_id, "privateKey": key or self.app.key, **claimed}
        assertion = self.call("createJwtAssertion", {"scopes": MAESTRO} | claims)
        return self.call("getTokenFromJwtGrant", {"assertion": assertion}, self.at)

    def user_info(self, token: str) -> Any:
        """Ask who a token is of."""
        return self.auth.call(operation="getUserInfo", parameters=[self.at], accessToken=token)


@pytest.fixture
def server(auth: Script, logins: Logins) -> Tokens:
    """The SDK in a server's hands: a client with a secret and a key."""
    return Tokens(auth, logins.server)


@pytest.fixture
def agent(auth: Script, logins: Logins) -> Tokens:
    """The SDK in the hands of a client that nobody has allowed anything yet."""
    return Tokens(auth, logins.agent)


@pytest.fixture
def native(auth: Script, logins: Logins) -> Tokens:
    """The SDK in a desktop app's hands: a client that can keep nothing secret."""
    return Tokens(auth, logins.native)


def workflows(company: Company, token: str) -> set[str]:
    """List a company's workflows with the vendor's SDK and some token; whose they are is checked."""
    listed = Session(company.admin.sdk, company.admin.url, company.id, token).workflows("getWorkflowsList")
    assert {one["accountId"] for one in listed["data"]} == {company.id}
    return {one["id"] for one in listed["data"]}


def check_pair(tokens: dict[str, Any]) -> None:
    """Hold an answer with a refresh token against what the SDK's documentation says of it."""
    assert tokens.keys() == {"accessToken", "tokenType", "refreshToken", "expiresIn"}
    assert (tokens["tokenType"], tokens["expiresIn"]) == ("Bearer", EIGHT_HOURS)
    assert tokens["accessToken"] != tokens["refreshToken"]


def refused(call: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[str, str]:
    """Make a call that must be refused with the SDK's own OAuth error; return the error and the first word about it."""
    with pytest.raises(Refused) as caught:
        call(*arguments, **named)
    error = caught.value
    assert (error.kind, error.status) == ("OAuthErrorResponse", 400), error
    assert error.content_type == "application/json"
    assert error.data["errorDescription"]
    return error.data["error"], error.data["errorDescription"].partition(":")[0]


def shut_out(company: Company, token: str) -> bool:
    """Whether Maestro refuses a token: with 401, which is the SDK's general error."""
    with pytest.raises(Refused) as caught:
        workflows(company, token)
    return (caught.value.kind, caught.value.status) == ("APIError", 401)


def test_a_code_for_a_confidential_client(server: Tokens, logins: Logins) -> None:
    tokens = server.confidential(server.code(logins.ada()))
    check_pair(tokens)
    assert logins.acme.workflows["order"] in workflows(logins.acme, tokens["accessToken"])


def test_a_code_for_a_public_client_with_pkce(native: Tokens, logins: Logins) -> None:
    tokens = native.public(native.code(logins.ada(), scopes=MAESTRO, codeChallenge=CHALLENGE))
    check_pair(tokens)
    assert logins.acme.workflows["order"] in workflows(logins.acme, tokens["accessToken"])


@pytest.mark.parametrize("kind", ["confidential", "public"])
def test_a_refresh_token_is_exchanged_for_the_next_pair(
    server: Tokens, native: Tokens, logins: Logins, kind: str
) -> None:
    if kind == "public":
        client, first = native, native.public(native.code(logins.ada(), codeChallenge=CHALLENGE))
    else:
        client, first = server, server.confidential(server.code(logins.ada()))
    second = client.refresh(first["refreshToken"])
    check_pair(second)
    assert not {first["accessToken"], first["refreshToken"]} & {*map(str, second.values())}
    assert workflows(logins.acme, second["accessToken"])
    third = client.refresh(second["refreshToken"])
    assert workflows(logins.acme, third["accessToken"])


def test_userinfo_leads_to_the_accounts(server: Tokens, logins: Logins, live: Live) -> None:
    token = server.confidential(server.code(logins.grace()))["accessToken"]
    told = server.user_info(token)
    accounts = told.pop("accounts")
    assert told.pop("created")
    assert told == {
        "sub": logins.grace_id,
        "name": "Grace Hopper",
        "givenName": "Grace",
        "familyName": "Hopper",
        "email": "grace@example.org",
    }
    assert {(one["accountId"], one["accountName"], one["baseUri"]) for one in accounts} == {
        (logins.acme.id, "Acme", live.url),
        (logins.globex.id, "Globex", live.url),
    }
    assert [one["isDefault"] for one in accounts] == [True, False]
    for company in (logins.acme, logins.globex):
        assert company.workflows["approval"] in workflows(company, token)


def test_an_assertion_after_the_persons_own_consent(agent: Tokens, logins: Logins) -> None:
    assert refused(agent.impersonate, logins.ada_id)[0] == "consent_required"
    agent.code(logins.ada(), scopes=[*MAESTRO, "impersonation"])
    tokens = agent.impersonate(logins.ada_id)
    assert tokens.keys() == {"accessToken", "tokenType", "expiresIn"}
    assert (tokens["tokenType"], tokens["expiresIn"]) == ("Bearer", HOUR)
    assert agent.user_info(tokens["accessToken"])["sub"] == logins.ada_id
    assert logins.acme.workflows["order"] in workflows(logins.acme, tokens["accessToken"])


def test_a_consent_without_impersonation_is_none_for_assertions(agent: Tokens, logins: Logins) -> None:
    agent.code(logins.grace(), scopes=MAESTRO)
    assert refused(agent.impersonate, logins.grace_id)[0] == "consent_required"


def test_an_assertion_after_an_administrators_word(auth: Script, logins: Logins, live: Live) -> None:
    deputy = Tokens(auth, register(live, logins.acme.id, "confidential", keys=logins.keys))
    assert refused(deputy.impersonate, logins.grace_id)[0] == "consent_required"
    scopes = [word for scope in (*MAESTRO, "impersonation") for word in ("--scope", scope)]
    live.tutti("grant", "allow", "--account", logins.acme.id, "--client", deputy.app.id, *scopes)
    # Either of the vendor's hosts is a name of this server: the SDK lets its callers choose no other.
    assert deputy.impersonate(logins.grace_id, oauthBasePath="account.docusign.com")["expiresIn"] == HOUR
    token = deputy.impersonate(logins.grace_id)["accessToken"]
    assert logins.acme.workflows["order"] in workflows(logins.acme, token)
    with pytest.raises(Refused) as caught:  # Acme's administrator has no say in Globex
        workflows(logins.globex, token)
    assert caught.value.status == 404
    (account,) = deputy.user_info(token)["accounts"]
    assert account["accountId"] == logins.acme.id


def test_assertions_that_prove_nothing(server: Tokens, logins: Logins, tmp_path: Path) -> None:
    stranger = new_keys(tmp_path).private
    nobody = "00000000-0000-4000-8000-000000000000"
    assert refused(server.impersonate, logins.ada_id, key=stranger) == (
        "invalid_grant",
        "no_valid_keys_or_signatures",
    )
    assert refused(server.impersonate, logins.ada_id, clientId=nobody) == (
        "invalid_grant",
        "issuer_not_found",
    )
    assert refused(server.impersonate, nobody) == ("invalid_grant", "user_not_found")


def test_a_code_that_is_used_again_ends_what_it_gave(server: Tokens, logins: Logins) -> None:
    code = server.code(logins.ada())
    tokens = server.confidential(code)
    assert workflows(logins.acme, tokens["accessToken"])
    assert refused(server.confidential, code)[0] == "invalid_grant"
    assert shut_out(logins.acme, tokens["accessToken"])
    assert refused(server.refresh, tokens["refreshToken"])[0] == "invalid_grant"


def test_a_refresh_token_that_is_used_again_ends_its_family(native: Tokens, logins: Logins) -> None:
    first = native.public(native.code(logins.ada(), codeChallenge=CHALLENGE))
    second = native.refresh(first["refreshToken"])
    third = native.refresh(second["refreshToken"])  # so the first one's answer was not lost on the way
    assert refused(native.refresh, first["refreshToken"])[0] == "invalid_grant"
    for tokens in (first, second, third):
        assert shut_out(logins.acme, tokens["accessToken"])
        assert refused(native.refresh, tokens["refreshToken"])[0] == "invalid_grant"


def test_a_wrong_verifier_spends_nothing(native: Tokens, logins: Logins) -> None:
    code = native.code(logins.ada(), codeChallenge=CHALLENGE)
    assert refused(native.public, code, verifier=VERIFIER[::-1])[0] == "invalid_grant"
    check_pair(native.public(code))


def test_a_public_client_without_pkce_gets_no_code(native: Tokens, logins: Logins) -> None:
    told = parameters_of(logins.ada().sent_back(native.url(state="of the test")))
    assert (told["error"], told["state"]) == ("invalid_request", "of the test")
    assert "code" not in told


def test_the_implicit_grant_is_not_offered(server: Tokens, logins: Logins) -> None:
    told = parameters_of(logins.ada().sent_back(server.url(type="token")))
    assert told["error"] == "unsupported_response_type"


def test_a_wrong_secret_and_a_code_of_another_client(
    auth: Script, server: Tokens, native: Tokens, logins: Logins
) -> None:
    code = server.code(logins.ada())
    server.security = server.security | {"secretKey": "no secret of ours"}
    assert refused(server.confidential, code)[0] == "invalid_client"
    assert refused(native.public, code)[0] == "invalid_grant"
    check_pair(Tokens(auth, logins.server).confidential(code))


def test_who_says_no_is_sent_back_with_that(server: Tokens, logins: Logins, live: Live) -> None:
    asked = server.url(state="of the test", scopes=[*MAESTRO, "models_read"])  # which no other test asks for
    grace = logins.grace()
    grace.answer = "consent-deny"
    told = parameters_of(grace.sent_back(asked))
    assert told.keys() >= {"error", "state", "iss"}
    assert (told["error"], told["iss"]) == ("access_denied", live.url)


def test_userinfo_of_an_unknown_token_is_the_general_error(server: Tokens) -> None:
    with pytest.raises(Refused) as caught:
        server.user_info("no-token-of-ours")
    assert (caught.value.kind, caught.value.status) == ("APIError", 401)


def test_a_token_lacks_what_was_not_asked_for(server: Tokens, logins: Logins) -> None:
    token = server.confidential(server.code(logins.ada(), scopes=["signature"]))["accessToken"]
    with pytest.raises(Refused) as caught:
        workflows(logins.acme, token)
    assert (caught.value.kind, caught.value.status) == ("ErrorT", 403)
