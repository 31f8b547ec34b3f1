"""Authlib's own clients log in, in Python."""

import warnings
from typing import Any

import httpx
import pytest
from authlib.deprecate import AuthlibDeprecationWarning
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import RSAKey

from tests.compat.apps import App
from tests.compat.conftest import Logins

with warnings.catch_warnings():
    # It would rather have another HTTP client, and says so when it is imported.
    warnings.filterwarnings("ignore", "The httpx module is deprecated", AuthlibDeprecationWarning)
    from authlib.integrations.base_client import OAuthError
    from authlib.integrations.httpx_client import AssertionClient, AsyncOAuth2Client, OAuth2Client

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

SCOPES = "openid signature aow_manage"
VERIFIER = "a-verifier-of-at-least-forty-three-characters-0"


def at(app: App, path: str) -> str:
    """Return one of the server's URLs."""
    return f"{app.live.url}/oauth/{path}"


def client_of(app: App, **options: Any) -> OAuth2Client:
    """Make the library's client for a registered one."""
    options = {"redirect_uri": app.redirect_uri, "scope": SCOPES, "code_challenge_method": "S256"} | options
    return OAuth2Client(app.id, app.secret, **options)


def logged_in(client: OAuth2Client, app: App, logins: Logins) -> dict[str, Any]:
    """Let Ada log in; return the tokens, which the client keeps as well."""
    url, state = client.create_authorization_url(at(app, "auth"), code_verifier=VERIFIER)
    back = logins.ada().sent_back(url)
    client.fetch_token(at(app, "token"), authorization_response=back, code_verifier=VERIFIER, state=state)
    return dict(client.token)


def status(client: OAuth2Client, logins: Logins) -> int:
    """Ask the API with the client's token."""
    answer: httpx.Response = client.get(f"{logins.acme.url}/workflows")
    return answer.status_code


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_confidential_client(logins: Logins, method: str) -> None:
    app = logins.server
    methods = {"token_endpoint_auth_method": method, "revocation_endpoint_auth_method": method}
    with client_of(app, **methods) as client:
        tokens = logged_in(client, app, logins)
        assert status(client, logins) == httpx.codes.OK
        fresh = client.refresh_token(at(app, "token"), tokens["refresh_token"])
        assert fresh["refresh_token"] != tokens["refresh_token"]
        assert status(client, logins) == httpx.codes.OK
        told = client.introspect_token(at(app, "introspect"), fresh["access_token"])
        assert (told.json()["active"], told.json()["sub"]) == (True, logins.ada_id)
        client.revoke_token(at(app, "revoke"), fresh["refresh_token"], "refresh_token").raise_for_status()
        told = client.introspect_token(at(app, "introspect"), fresh["access_token"])
        assert told.json() == {"active": False}
        assert status(client, logins) == httpx.codes.UNAUTHORIZED


def test_a_public_client(logins: Logins) -> None:
    app = logins.native
    with client_of(app) as client:
        tokens = logged_in(client, app, logins)
        assert status(client, logins) == httpx.codes.OK
        client.refresh_token(at(app, "token"), tokens["refresh_token"])
        assert status(client, logins) == httpx.codes.OK
        client.revoke_token(at(app, "revoke"), client.token["refresh_token"]).raise_for_status()
        assert status(client, logins) == httpx.codes.UNAUTHORIZED


def test_a_code_needs_its_verifier(logins: Logins) -> None:
    app = logins.server
    with client_of(app) as client:
        url, state = client.create_authorization_url(at(app, "auth"), code_verifier=VERIFIER)
        back = logins.ada().sent_back(url)
        exchange = {"authorization_response": back, "state": state}
        with pytest.raises(OAuthError, match="invalid_grant"):
            client.fetch_token(at(app, "token"), **exchange, code_verifier=VERIFIER[::-1])
        with pytest.raises(OAuthError, match=r"invalid_grant|invalid_request"):
            client.fetch_token(at(app, "token"), **exchange)
        client.fetch_token(at(app, "token"), **exchange, code_verifier=VERIFIER)
        assert status(client, logins) == httpx.codes.OK


def test_a_client_proves_itself_by_its_key(logins: Logins) -> None:
    app = logins.robot
    assert app.key is not None
    with OAuth2Client(
        app.id, RSAKey.import_key(app.key), token_endpoint_auth_method="private_key_jwt"
    ) as client:
        client.register_client_auth_method(PrivateKeyJWT(at(app, "token")))
        token = client.fetch_token(at(app, "token"), grant_type="client_credentials", scope="signature")
        assert (token["token_type"], token["scope"]) == ("Bearer", "signature")
        assert app.worth(token["access_token"])["active"] is True


def test_a_client_acts_for_a_person_by_assertion(logins: Logins) -> None:
    app = logins.server
    logins.ada().sent_back(app.authorization_url(scope="signature aow_manage impersonation"))
    with AssertionClient(
        at(app, "token"),
        issuer=app.id,
        subject=logins.ada_id,
        audience=app.live.url,
        claims={"scope": "signature aow_manage"},
        header={"alg": "RS256"},
        key=RSAKey.import_key(logins.keys.private),
    ) as client:
        answer = client.get(f"{logins.acme.url}/workflows")
        assert answer.status_code == httpx.codes.OK
        assert app.worth(client.token["access_token"])["sub"] == logins.ada_id


async def test_an_asynchronous_client(logins: Logins) -> None:
    app = logins.robot
    async with AsyncOAuth2Client(app.id, app.secret, scope="aow_manage signature") as client:
        await client.fetch_token(at(app, "token"), grant_type="client_credentials")
        answer = await client.get(f"{logins.acme.url}/workflows")
        assert answer.status_code == httpx.codes.OK
        with pytest.raises(OAuthError, match="invalid_scope"):
            await client.fetch_token(at(app, "token"), grant_type="client_credentials", scope="impersonation")
