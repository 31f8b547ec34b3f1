"""What other SDKs and generations put on the wire, sent by hand."""

import contextlib
import socket
import time
from http.client import HTTPResponse
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.compat.conftest import Company
from tests.compat.live import Live
from tests.compat.sdk import is_id

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

PROBLEM = "application/problem+json"
JSON = "application/json"
NODE = "node_20.20.2/2.723.8/@docusign/iam-sdk"
DOTNET = "dotnet_8.0.11/2.882.0/docusign"
JVM = "OpenJDK Runtime Environment_17.0.13/2.803.3/com.docusign.iam.sdk"
# Who sends which User-Agent, and what their success of a trigger and their typed errors must look like.
GENERATIONS = {
    "typescript 5": (f"docusign-sdk/v1/1.0.0-beta.5/typescript/{NODE}", 200, JSON),
    "typescript 3": (f"docusign-sdk/v1/1.0.0-beta.3/typescript/{NODE}", 200, JSON),
    "typescript 7": (f"docusign-sdk/v1/1.0.0-beta.7/typescript/{NODE}", 200, JSON),
    "typescript 8": (f"docusign-sdk/v1/1.0.0-beta.8/typescript/{NODE}", 201, PROBLEM),
    "typescript 2": (f"docusign-sdk/v1/1.0.0-beta.2/typescript/{NODE}", 201, JSON),
    "java 8": (f"docusign-sdk/v1/1.0.0-beta.8/java/{JVM}", 200, JSON),
    "java 2": (f"docusign-sdk/v1/1.0.0-beta.2/java/{JVM}", 201, JSON),
    "csharp 7": (f"docusign-sdk/v1/1.0.0-beta.7/csharp/{DOTNET}", 200, JSON),
    "csharp 8": (f"docusign-sdk/v1/1.0.0-beta.8/csharp/{DOTNET}", 201, PROBLEM),
    "an SDK to come": (f"docusign-sdk/v1/1.0.0/typescript/{NODE}", 201, PROBLEM),
    "an SDK with a mangled agent": ("docusign-sdk/v1/undefined/typescript/undefined/", 201, PROBLEM),
    "curl": ("curl/8.5.0", 201, PROBLEM),
    "nobody": (None, 201, PROBLEM),
}
TRIGGER = {"instance_name": "by hand", "trigger_inputs": {"customer": "Ada"}}
NIL = UUID(int=0)  # what SDKs since beta 7 send in place of an id that the caller left out


def ask(
    company: Company, method: str, path: str, agent: str | None = None, *, body: Any = None, **headers: str
) -> httpx.Response:
    """Send a request with the given User-Agent or none; a header of its own is lower case with underscores."""
    request = company.http.build_request(method, company.url + path, json=body, headers=company.headers)
    request.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    del request.headers["user-agent"]
    if agent is not None:
        request.headers["user-agent"] = agent
    return company.http.send(request)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_each_generation_gets_its_status_and_its_error_type(acme: Company, generation: str) -> None:
    agent, status, error_type = GENERATIONS[generation]
    answer = ask(acme, "POST", f"/workflows/{acme.workflows['order']}/actions/trigger", agent, body=TRIGGER)
    assert answer.status_code == status
    assert answer.headers["content-type"].partition(";")[0] == JSON
    assert is_id(answer.json()["instance_id"])
    refused = ask(acme, "GET", f"/workflows/{NIL}/trigger-requirements", agent)
    assert refused.status_code == httpx.codes.NOT_FOUND
    assert refused.headers["content-type"].partition(";")[0] == error_type


@pytest.mark.parametrize("generation", ["typescript 5", "typescript 8"])
@pytest.mark.parametrize(
    ("status", "method", "path", "sent"),
    [
        (400, "GET", "/workflows?status=paused", {}),
        (401, "GET", "/workflows", {"authorization": "Bearer nobody"}),
        (404, "GET", "/no-such-thing", {}),
        (405, "DELETE", "/workflows", {}),
        (415, "POST", "/workflows", {"content_type": "text/plain"}),
    ],
)
def test_one_body_serves_every_generation(
    acme: Company, generation: str, status: int, method: str, path: str, sent: dict[str, str]
) -> None:
    agent, _, error_type = GENERATIONS[generation]
    answer = ask(acme, method, path, agent, **sent)
    assert answer.status_code == status
    assert answer.headers["content-type"].partition(";")[0] == error_type
    body = answer.json()
    assert body["code"] == str(status)
    assert body["status"] == status
    assert body["error"] == body["detail"]
    assert body["timestamp"].endswith("Z")
    assert body["type"]
    assert body["title"]
    assert body["request_id"] == answer.headers["x-request-id"]


def test_actions_need_neither_body_nor_content_type(acme: Company) -> None:
    workflow_id = acme.published("bare")
    waiting = acme.admin.trigger(acme.workflows["approval"], "bare")
    for path in (
        f"/workflows/{workflow_id}/actions/pause",
        f"/workflows/{workflow_id}/actions/resume",
        f"/workflows/{acme.workflows['approval']}/instances/{waiting}/actions/cancel",
    ):
        answer = ask(acme, "POST", path)
        assert answer.request.headers["content-length"] == "0"
        assert "content-type" not in answer.request.headers
        assert answer.status_code == httpx.codes.OK, answer.text


def test_an_empty_cookie_header_is_tolerated(acme: Company) -> None:
    assert ask(acme, "GET", "/workflows", cookie="").status_code == httpx.codes.OK


def test_an_offer_of_http_2_is_left_aside(acme: Company) -> None:
    # What the HTTP client of Java sends with every request on plain HTTP.
    upgrade = {
        "connection": "Upgrade, HTTP2-Settings",
        "upgrade": "h2c",
        "http2_settings": "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    }
    answer = ask(acme, "GET", "/workflows", GENERATIONS["java 8"][0], **upgrade)
    assert answer.status_code == httpx.codes.OK
    assert answer.http_version == "HTTP/1.1"
    workflow_id = acme.published("upgraded")
    paused = ask(acme, "POST", f"/workflows/{workflow_id}/actions/pause", GENERATIONS["java 8"][0], **upgrade)
    assert paused.json() == {"status": "paused"}


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_an_offer_of_http_2_keeps_the_body_of_a_trigger(acme: Company, live: Live, pieces: int) -> None:
    # By hand, for httpx knows better than to send these headers with a body; Java's client does.
    body = b'{"instance_name": "upgraded", "trigger_inputs": {"customer": "Ada"}}'
    head = [
        f"POST /v1/accounts/{acme.id}/workflows/{acme.workflows['order']}/actions/trigger HTTP/1.1",
        f"Host: 127.0.0.1:{live.port}",
        f"Authorization: Bearer {acme.admin.token}",
        f"User-Agent: {GENERATIONS['java 8'][0]}",
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    request = "\r\n".join(head).encode() + b"\r\n\r\n" + body
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):  # the connection stays good for the next request
            for begin in range(0, len(request), len(request) // pieces + 1):
                connection.sendall(request[begin : begin + len(request) // pieces + 1])
                time.sleep(0.01)
            answer = HTTPResponse(connection)  # reads as much as there is to come, in however many pieces
            answer.begin()
            assert (answer.status, bool(answer.read())) == (200, True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/workflows/{nil}/trigger-requirements"),
        ("POST", "/workflows/{nil}/actions/pause"),
        ("POST", "/workflows/{nil}/actions/resume"),
        ("GET", "/workflows/{nil}/instances"),
        ("GET", "/workflows/{nil}/instances/{nil}"),
        ("POST", "/workflows/{nil}/instances/{nil}/actions/cancel"),
    ],
)
def test_an_id_that_the_caller_left_out_is_not_found(acme: Company, method: str, path: str) -> None:
    answer = ask(acme, method, path.format(nil=NIL))
    assert answer.status_code == httpx.codes.NOT_FOUND
    assert answer.json()["code"] == "404"


def test_an_account_id_that_the_caller_left_out_is_not_found(acme: Company) -> None:
    answer = acme.http.get(f"{acme.admin.url}/v1/accounts/{NIL}/workflows", headers=acme.headers)
    assert answer.status_code == httpx.codes.NOT_FOUND


def test_a_challenge_says_which_proof_is_missing(acme: Company) -> None:
    silent = acme.http.get(f"{acme.url}/workflows")
    wrong = acme.http.get(f"{acme.url}/workflows", headers={"Authorization": "Bearer nobody"})
    narrow = acme.http.get(f"{acme.url}/workflows", headers={"Authorization": f"Bearer {acme.narrow.token}"})
    assert [one.status_code for one in (silent, wrong, narrow)] == [401, 401, 403]
    assert "error" not in silent.headers["www-authenticate"]
    assert 'error="invalid_token"' in wrong.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in narrow.headers["www-authenticate"]
    assert 'scope="aow_manage signature"' in narrow.headers["www-authenticate"]


def test_what_was_triggered_can_be_found_where_the_answer_says(acme: Company) -> None:
    url = f"{acme.url}/workflows/{acme.workflows['order']}/actions/trigger"
    answer = acme.http.post(url, json=TRIGGER, headers=acme.headers)
    found = acme.http.get(acme.admin.url + answer.headers["location"], headers=acme.headers)
    assert found.json()["id"] == answer.json()["instance_id"]


def test_headers_without_end_are_refused(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                connection.sendall(b"X-Filler: " + b"x" * 1000 + b"\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 431 ")
