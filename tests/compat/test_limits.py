"""The vendor's SDK on an account whose requests are limited: it waits as it is told, and its caller notices nothing."""

import time
from collections.abc import Iterator

import pytest

from tests.compat.conftest import Company
from tests.compat.live import Live
from tests.waiting import blocked_until

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]


@pytest.fixture
def limited(live: Live, globex: Company) -> Iterator[Company]:
    """A company that may make one request a second."""

    def told() -> bool:
        return (
            "RateLimit-Policy" in globex.http.get(f"{globex.url}/workflows", headers=globex.headers).headers
        )

    live.tutti("account", "limits", globex.id, "--requests-per-second", "1")
    blocked_until(told, 20)
    yield globex
    live.tutti("account", "limits", globex.id, "--none", "requests-per-second")
    blocked_until(lambda: not told(), 20)


def test_the_sdk_waits_for_as_long_as_it_is_told(limited: Company) -> None:
    began = time.monotonic()
    call = {
        "serverURL": limited.admin.url,
        "accessToken": limited.admin.token,
        "group": "workflows",
        "operation": "getWorkflowsList",
        "request": {"accountId": limited.id},
        "retries": True,  # as the SDK makes them by itself
    }
    for _ in range(4):
        assert limited.admin.sdk.call(**call)["data"]
    assert 2 < time.monotonic() - began < 20
    told = limited.http.get(f"{limited.url}/workflows", headers=limited.headers)
    assert told.headers["RateLimit-Policy"] == '"account";q=1;w=1'
