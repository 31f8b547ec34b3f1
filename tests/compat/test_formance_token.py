"""Formance's SDK gets its token by itself: the id and the secret of a machine client are all that it is told."""

import contextlib
from collections.abc import Iterator
from urllib.parse import parse_qs

import httpx
import msgspec
import pytest
from formance_sdk_python import SDK
from formance_sdk_python._hooks.clientcredentials import ClientCredentialsHook
from formance_sdk_python.models import shared
from formance_sdk_python.models.errors import SDKError

from tests.compat.apps import App
from tests.compat.conftest import Logins

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

TOKEN_PATH = "/api/auth/oauth/token"


class Observed(msgspec.Struct, frozen=True):
    """The SDK, and what came back for what it sent."""

    sdk: SDK
    answers: list[httpx.Response]

    def list_workflows(self) -> None:
        """Make a call; what the service says to it once it has the token is the Formance API's business, not ours."""
        with contextlib.suppress(SDKError):
            self.sdk.orchestration.v2.list_workflows(request={})

    @property
    def paths(self) -> list[str]:
        """What was called, in order."""
        return [answer.request.url.path for answer in self.answers]


@contextlib.contextmanager
def observed(app: App, secret: str | None) -> Iterator[Observed]:
    """Watch the SDK with a machine client's id and some secret."""
    answers: list[httpx.Response] = []
    security = shared.Security(client_id=app.id, client_secret=secret)
    with httpx.Client(event_hooks={"response": [answers.append]}) as http:
        yield Observed(SDK(server_url=app.live.url, security=security, client=http), answers)


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Forget the SDK's tokens: it keeps them for the whole process, whichever server they are of."""
    ClientCredentialsHook._sessions.clear()
    yield
    ClientCredentialsHook._sessions.clear()


def test_the_sdk_fetches_a_token_and_calls_with_it(logins: Logins) -> None:
    with observed(logins.robot, logins.robot.secret) as seen:
        seen.list_workflows()
    fetched, called = seen.answers
    assert fetched.request.url.path == TOKEN_PATH
    assert parse_qs(fetched.request.content.decode())["scope"] == ["orchestration:read"]
    assert fetched.status_code == httpx.codes.OK
    token = fetched.json()["access_token"]
    assert called.request.headers["authorization"] == f"Bearer {token}"
    assert called.status_code != httpx.codes.UNAUTHORIZED
    told = logins.robot.worth(token)
    assert (told["active"], told["scope"]) == (True, "orchestration:read")
    assert told["account_id"] == logins.acme.id
    assert told["exp"] - told["iat"] == fetched.json()["expires_in"]
    assert fetched.json()["expires_in"] > 60  # or else the SDK would fetch one for each call


def test_the_sdk_fetches_one_token_for_many_calls(logins: Logins) -> None:
    with observed(logins.robot, logins.robot.secret) as seen:
        for _ in range(3):
            seen.list_workflows()
    assert seen.paths.count(TOKEN_PATH) == 1
    assert len(seen.paths) == 4


def test_a_wrong_secret_stops_the_sdk_before_it_calls(logins: Logins) -> None:
    with (
        observed(logins.robot, "no secret of ours") as seen,
        pytest.raises(Exception, match="status code 400 from token endpoint"),
    ):
        seen.list_workflows()
    assert seen.paths == [TOKEN_PATH]


def test_a_scope_that_the_client_is_not_registered_for_stops_the_sdk(logins: Logins) -> None:
    with (
        observed(logins.robot, logins.robot.secret) as seen,
        pytest.raises(Exception, match="status code 400 from token endpoint"),
    ):
        seen.sdk.orchestration.v2.delete_workflow(request={"flow_id": "any"})  # wants orchestration:write
    assert seen.paths == [TOKEN_PATH]
    assert seen.answers[0].json()["error"] == "invalid_scope"
