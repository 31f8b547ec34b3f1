"""A certified OpenID client does all that it can: it checks issuer, state, nonce and signatures, and is content."""

from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.compat.apps import App, Script
from tests.compat.conftest import Logins
from tests.compat.login import Person, parameters_of
from tests.compat.sdk import Refused

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

SCOPES = "openid profile email signature aow_manage"
CONFIDENTIAL = ["basic", "post", "key"]


class RelyingParty:
    """The client's library, as one registered client uses it, proving itself in one of the ways."""

    def __init__(self, openid: Script, app: App, proof: str, account_id: str) -> None:
        self.openid = openid
        self.app = app
        self.api = f"{app.live.url}/v1/accounts/{account_id}/workflows"
        proving = {"key": app.key} if proof == "key" else {"secret": app.secret}
        self.client: dict[str, str | None] = {"issuer": app.live.url, "id": app.id, "proof": proof, **proving}

    def call(self, call: str, *parameters: Any) -> Any:
        """Make one call."""
        return self.openid.call(client=self.client, call=call, parameters=parameters)

    def begin(self, **asked: Any) -> dict[str, Any]:
        """Begin a login: where to send the person, and what to compare with afterwards."""
        begun: dict[str, Any] = self.call(
            "begin", {"redirect_uri": self.app.redirect_uri, "scope": SCOPES} | asked
        )
        return begun

    def finish(self, begun: dict[str, Any], back: str, **changed: Any) -> Any:
        """Check what a person comes back with, and exchange it."""
        return self.call("finish", {**begun, "url": back, **changed})

    def logged_in(self, person: Person, **asked: Any) -> dict[str, Any]:
        """Let a person log in; return the tokens, with the ID token's claims."""
        begun = self.begin(**asked)
        tokens: dict[str, Any] = self.finish(begun, person.sent_back(begun["url"]))
        return tokens

    def status(self, token: str) -> int:
        """Ask the API with a token; return the status of its answer, unless that is a challenge."""
        status: int = self.call("fetch", token, self.api)["status"]
        return status


@pytest.fixture
def relying_party(openid: Script, logins: Logins, proof: str) -> RelyingParty:
    """The client of whichever kind proves itself in this way."""
    app = logins.native if proof == "none" else logins.server
    return RelyingParty(openid, app, proof, logins.acme.id)


@pytest.fixture
def robot(openid: Script, logins: Logins, proof: str) -> RelyingParty:
    """The machine client."""
    return RelyingParty(openid, logins.robot, proof, logins.acme.id)


@pytest.fixture
def proof() -> str:
    """How clients prove themselves where it makes no difference."""
    return "basic"


def refused(party: RelyingParty, call: str, *parameters: Any) -> Refused:
    """Make a call that must fail, with an error of the client's own or the server's."""
    with pytest.raises(Refused) as caught:
        party.call(call, *parameters)
    return caught.value


def shut_out(party: RelyingParty, token: str) -> bool:
    """Whether the API answers a token with 401 and a challenge that the client understands (RFC 6750, 3)."""
    error = refused(party, "fetch", token, party.api)
    return (error.kind, error.status) == ("WWWAuthenticateChallengeError", 401)


def test_discovery(relying_party: RelyingParty) -> None:
    told = relying_party.call("metadata")
    issuer = relying_party.app.live.url
    assert told["issuer"] == issuer
    assert told["code_challenge_methods_supported"] == ["S256"]
    assert told["authorization_response_iss_parameter_supported"] is True
    endpoints = {name: url for name, url in told.items() if name.endswith(("_endpoint", "_uri"))}
    assert len(endpoints) == 7
    assert all(url.startswith(f"{issuer}/oauth/") for url in endpoints.values())


@pytest.mark.parametrize("proof", [*CONFIDENTIAL, "none"])
def test_a_login_from_beginning_to_end(relying_party: RelyingParty, logins: Logins, proof: str) -> None:
    begun = relying_party.begin(max_age="600")
    back = logins.ada().sent_back(begun["url"])
    tokens = relying_party.finish(begun, back, maxAge=600)  # which makes auth_time a must
    claims = tokens["claims"]
    assert (claims["sub"], claims["nonce"]) == (logins.ada_id, begun["nonce"])
    assert (claims["iss"], claims["aud"]) == (relying_party.app.live.url, relying_party.app.id)
    told = relying_party.call("userInfo", tokens["access_token"], claims["sub"])
    assert (told["email"], told["name"]) == ("admin@acme.example", "Acme Admin")
    assert relying_party.status(tokens["access_token"]) == 200
    fresh = relying_party.call("refresh", tokens["refresh_token"])
    assert fresh["refresh_token"] != tokens["refresh_token"]
    assert (fresh["claims"]["sub"], fresh["claims"]["auth_time"]) == (claims["sub"], claims["auth_time"])
    assert relying_party.status(fresh["access_token"]) == 200


@pytest.mark.parametrize("proof", CONFIDENTIAL)
def test_a_token_is_told_of_until_it_is_revoked(relying_party: RelyingParty, logins: Logins) -> None:
    tokens = relying_party.logged_in(logins.ada())
    token = tokens["access_token"]
    told = relying_party.call("introspect", token)
    assert told["active"] is True
    assert (told["sub"], told["client_id"]) == (logins.ada_id, relying_party.app.id)
    assert set(told["scope"].split()) == set(SCOPES.split())
    relying_party.call("revoke", token)
    assert relying_party.call("introspect", token) == {"active": False}
    assert shut_out(relying_party, token)
    # The rest of the family lives on until its refresh token is revoked.
    fresh = relying_party.call("refresh", tokens["refresh_token"])
    relying_party.call("revoke", fresh["refresh_token"])
    assert relying_party.call("introspect", fresh["access_token"]) == {"active": False}
    assert refused(relying_party, "refresh", fresh["refresh_token"]).data["error"] == "invalid_grant"


@pytest.mark.parametrize("proof", ["none"])
def test_a_public_client_revokes_without_a_secret(relying_party: RelyingParty, logins: Logins) -> None:
    tokens = relying_party.logged_in(logins.ada())
    relying_party.call("revoke", tokens["refresh_token"])
    assert shut_out(relying_party, tokens["access_token"])
    assert (
        refused(relying_party, "introspect", tokens["access_token"]).status == 401
    )  # others' secrets stay theirs


@pytest.mark.parametrize("proof", CONFIDENTIAL)
def test_a_machine_client_gets_its_own_token(robot: RelyingParty, logins: Logins) -> None:
    token = robot.call("machine", {"scope": "aow_manage signature"})
    assert token["token_type"] == "bearer"  # as the library writes it
    assert (token["expires_in"], "refresh_token" in token) == (3600, False)
    assert robot.status(token["access_token"]) == 200
    told = robot.call("introspect", token["access_token"])
    assert (told["active"], told["sub"], told["account_id"]) == (
        True,
        robot.app.id,
        logins.acme.id,
    )


def test_a_machine_client_gets_no_scope_beyond_its_own(robot: RelyingParty) -> None:
    error = refused(robot, "machine", {"scope": "orchestration:write"})
    assert (error.data["error"], error.status) == ("invalid_scope", 400)


def test_a_wrong_secret_is_refused(robot: RelyingParty) -> None:
    robot.client["secret"] = "no secret of ours"
    error = refused(robot, "machine", {"scope": "signature"})
    assert (error.data["error"], error.status) == ("invalid_client", 400)


def test_the_client_notices_a_nonce_or_a_state_that_is_not_its_own(
    relying_party: RelyingParty, logins: Logins
) -> None:
    for name, told in (("nonce", "unexpected JWT claim value"), ("state", 'unexpected "state"')):
        begun = relying_party.begin()
        back = logins.ada().sent_back(begun["url"])
        error = refused(relying_party, "finish", begun | {"url": back, name: "of another login"})
        assert error.kind == "ClientError"
        assert told in str(error) + error.data["cause"]


def test_the_client_notices_an_answer_of_another_issuer(relying_party: RelyingParty, logins: Logins) -> None:
    begun = relying_party.begin()
    parameters = parameters_of(logins.ada().sent_back(begun["url"]))
    for issuer in ({"iss": "https://another.example"}, {}):
        mixed_up = {name: value for name, value in parameters.items() if name != "iss"} | issuer
        back = f"{relying_party.app.redirect_uri}?{urlencode(mixed_up)}"
        error = refused(relying_party, "finish", begun | {"url": back})
        assert "iss" in str(error) + error.data["cause"]


def test_a_code_is_worth_something_once_and_with_its_verifier(
    relying_party: RelyingParty, logins: Logins
) -> None:
    begun = relying_party.begin()
    back = logins.ada().sent_back(begun["url"])
    stolen = begun | {"url": back, "verifier": relying_party.begin()["verifier"]}
    assert refused(relying_party, "finish", stolen).data["error"] == "invalid_grant"
    tokens = relying_party.finish(begun, back)
    assert refused(relying_party, "finish", begun | {"url": back}).data["error"] == "invalid_grant"
    assert relying_party.call("introspect", tokens["access_token"]) == {"active": False}
    assert shut_out(relying_party, tokens["access_token"])


def test_another_clients_token_is_none(relying_party: RelyingParty, robot: RelyingParty) -> None:
    token = robot.call("machine", {"scope": "signature"})["access_token"]
    assert relying_party.call("introspect", token) == {"active": False}
    relying_party.call("revoke", token)
    assert robot.call("introspect", token)["active"] is True


def test_a_login_lasts_until_the_end_of_the_session(relying_party: RelyingParty, logins: Logins) -> None:
    ada = logins.ada()
    tokens = relying_party.logged_in(ada)
    assert "login-form" in ada.pages
    relying_party.logged_in(ada, prompt="none")
    assert ada.pages == []
    relying_party.logged_in(ada, prompt="login")
    assert ada.pages == ["login-form"]
    url = relying_party.call("endSession", {"id_token_hint": tokens["id_token"]})
    assert urlsplit(url).path == "/oauth/logout"
    assert "logged-out" in ada.stays(url)
    assert ada.pages == ["logout-form"]
    begun = relying_party.begin(prompt="none")
    error = refused(relying_party, "finish", begun | {"url": ada.sent_back(begun["url"])})
    assert (error.kind, error.data["error"]) == ("AuthorizationResponseError", "login_required")


def test_a_person_of_two_accounts_chooses_one(openid: Script, logins: Logins) -> None:
    relying_party = RelyingParty(openid, logins.agent, "basic", logins.acme.id)
    grace = logins.grace()
    grace.account = f"account-{logins.globex.id}"
    tokens = relying_party.logged_in(grace, prompt="select_account consent")
    assert grace.pages == ["login-form", "account-form", "consent-form"]
    told = relying_party.call("userInfo", tokens["access_token"], logins.grace_id)
    assert [one["account_id"] for one in told["accounts"]] == [logins.globex.id]
    assert relying_party.call("introspect", tokens["access_token"])["account_id"] == logins.globex.id
    statuses = [
        relying_party.call("fetch", tokens["access_token"], f"{company.url}/workflows")["status"]
        for company in (logins.globex, logins.acme)
    ]
    assert statuses == [200, 404]
