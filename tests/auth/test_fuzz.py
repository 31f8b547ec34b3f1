"""Made-up requests against the OAuth server: never a fault, nobody sent to strangers, nothing echoed, nothing logged.

Most are requests that hold, with one thing broken: those get furthest.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import logging
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, quote_from_bytes, unquote_to_bytes, urlsplit

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from auth import sessions
from auth.passwords import hash_password
from auth.registered import JWT_BEARER
from auth.scopes import MAESTRO
from auth.server import ASSERTION_TYPE
from tenancy.accounts import add_user, set_password
from tenancy.rows import transaction
from tests.auth.oauth import CALLBACK, KEY, LOOPBACK, VERIFIER, App, issuer, query_of, registered, unknown_id
from tests.compat.live import COMMAND, ROOT, free_port
from tests.world import World

MARKER = "zq7marker"
EMAIL, PASSWORD = "member@acme.example", "a password of some length"
FORM = b"application/x-www-form-urlencoded"
SECRETS = (
    "client_secret",
    "code",
    "code_verifier",
    "refresh_token",
    "assertion",
    "client_assertion",
    "token",
    "password",
)
READY_SECONDS = 60
SILENCE = 0.3  # seconds after which a connection is taken to have nothing more to say
PATIENCE = 30.0  # seconds for an answer that has to come, on a machine that is busy
made_up = settings(
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],  # to look for a smaller request that fails would take longer than a test may
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
pytestmark = pytest.mark.filterwarnings("ignore:.*:hypothesis.errors.HypothesisWarning")

Pairs = list[tuple[bytes, bytes]]
MARKED = st.sampled_from(
    [
        f"<script>{MARKER}</script>",
        f'"><img src=x {MARKER}',
        f"{{{{7*7}}}}{MARKER}",
        f"javascript:{MARKER}",
        f"https://{MARKER}.example/callback",
        f"{CALLBACK}?{MARKER}",
        f"{CALLBACK}/../{MARKER}",
        f"https://app.example@{MARKER}.example/callback",
        f"http://127.0.0.1:1@{MARKER}/callback",
        f"\r\nLocation: https://{MARKER}.example",
        f"{MARKER}\u202e\u2028é",
        MARKER,
    ]
).map(str.encode)
VALUE = (
    MARKED
    | st.binary(max_size=30)
    | st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace"))
    | st.sampled_from(
        [
            b"",
            b" ",
            b"\0",
            b"none",
            b"null",
            b"-1",
            b"9" * 400,
            "²".encode(),
            b"\xed\xa0\x80",
            b"\xff",
            b"x" * 9000,
            b"openid openid",
            b"login none",
            b"../../etc/passwd",
            LOOPBACK.encode(),
            b"urn:ietf:params:oauth:grant-type:token-exchange",
        ]
    )
)
NAME = st.sampled_from(
    [
        b"scope",
        b"request",
        b"request_uri",
        b"response_mode",
        b"prompt",
        b"max_age",
        b"nonce",
        b"state",
        b"registration",
        b"claims",
        b"id_token_hint",
        b"client_id",
        b"client_secret",
        b"client_assertion",
        b"client_assertion_type",
        b"code_verifier",
        b"code_challenge",
        b"redirect_uri",
        b"grant_type",
        b"access_token",
        b"token_type_hint",
    ]
) | st.binary(min_size=1, max_size=10)
CONTENT_TYPE = st.sampled_from(
    [FORM] * 12
    + [FORM + b"; charset=utf-16", b"application/json", b"multipart/form-data; boundary=x", b"", b"\xff"]
)
HEADER = st.sampled_from(
    [b"origin", b"cookie", b"content-length", b"x-forwarded-for", b"host", b"accept", b"x-request-id"]
)
GARBAGE = st.one_of(
    st.binary(max_size=40).map(lambda raw: b"Basic " + base64.b64encode(raw)),
    st.binary(max_size=40).map(lambda raw: b"Basic " + raw),
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"Basic",
            b"Basic Og==",
            b"Bearer x",
            b"Digest a=b",
            b"Basic " + b"A" * 9000,
            b"basic =",
            b"Basic \xff",
        ]
    ),
)


class Request(msgspec.Struct):
    """A request as bytes."""

    method: str
    path: str
    query: bytes = b""
    headers: Pairs = []
    body: bytes = b""

    @property
    def parameters(self) -> dict[bytes, bytes]:
        """What is said in query and body; without a value nothing is."""
        pairs = (one.partition(b"=") for text in (self.query, self.body) for one in text.split(b"&"))
        return {plain(name): plain(value) for name, _, value in pairs if value}

    @property
    def secrets(self) -> list[str]:
        """What must not be logged."""
        said = [self.parameters.get(name.encode(), b"") for name in SECRETS]
        said += [value.partition(b" ")[2] for name, value in self.headers if name == b"authorization"]
        return [text for one in said if len(text := one.decode("latin-1")) >= 16]


class Answer(msgspec.Struct):
    """What came back."""

    status: int
    headers: dict[str, str]
    cookies: list[str]
    text: str


def plain(escaped: bytes) -> bytes:
    """Undo a form's escapes."""
    return unquote_to_bytes(escaped.replace(b"+", b" "))


def encoded(pairs: Pairs) -> bytes:
    """Write a form."""
    return b"&".join(
        quote_from_bytes(name, safe="").encode() + b"=" + quote_from_bytes(value, safe="").encode()
        for name, value in pairs
    )


def pairs_of(fields: Mapping[str, str]) -> Pairs:
    """The fields of a form as bytes."""
    return [(name.encode(), value.encode("utf-8", "surrogatepass")) for name, value in fields.items()]


ADDRESSES = itertools.count()


async def asked(application: Any, request: Request) -> Answer:
    """Ask the application in this process; each request is from another address, so that none is one too many."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": request.query,
        "root_path": "",
        "headers": request.headers,
        "client": (f"2001:db8:0:{next(ADDRESSES) % 65536:x}::1", 1),
        "server": ("tutti.test", 80),
        "state": {},
    }
    incoming = [{"type": "http.request", "body": request.body, "more_body": False}]
    outgoing: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return incoming.pop() if incoming else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        outgoing.append(message)

    await application(scope, receive, send)
    head = [
        (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in outgoing[0]["headers"]
    ]
    text = b"".join(message.get("body", b"") for message in outgoing[1:]).decode()
    cookies = [value.partition(";")[0] for name, value in head if name == "set-cookie"]
    return Answer(outgoing[0]["status"], dict(head), cookies, text)


def assert_sound(request: Request, answer: Answer, app: App | None, caplog: pytest.LogCaptureFixture) -> None:
    """No fault, no stranger, no echo, no secret in the log; an error is told as OAuth tells it."""
    assert answer.status < 500, (request, answer)
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if 300 <= answer.status < 400:
        assert_known_place(answer.headers["location"], app)
    elif kind == "text/html":
        assert MARKER not in answer.text.lower(), (request, answer)
    else:
        assert kind == "application/json", (request, answer)
        if answer.status >= 400:
            assert_told(request, answer)
    for secret in request.secrets:
        assert secret not in caplog.text, request
    caplog.clear()


def assert_told(request: Request, answer: Answer) -> None:
    """An error says in two texts of ASCII what is wrong and what to do, and nothing that was sent."""
    body = json.loads(answer.text)
    assert set(body) == {"error", "error_description"}, (request, answer)
    assert all(
        isinstance(text, str) and text and text.isascii() and text.isprintable() for text in body.values()
    )
    assert re.fullmatch("[a-z_]+", body["error"]), (request, answer)
    assert MARKER not in answer.text.lower(), (request, answer)


def assert_known_place(location: str, app: App | None) -> None:
    """A redirect leads to one of our own pages, or back to where the client is registered."""
    assert location.isascii()
    assert location.isprintable()
    parts = urlsplit(location)
    if not parts.netloc and not parts.scheme:
        assert parts.path.startswith("/oauth/")
        return
    assert app is not None
    place = parts._replace(query="", fragment="").geturl()
    if app.secret is None and app.redirect_uri == LOOPBACK:  # the port is free (RFC 8252, 7.3)
        place = re.sub(r"^http://127\.0\.0\.1:\d*/", "http://127.0.0.1/", place)
    assert place == app.redirect_uri
    assert not parts.fragment
    assert query_of(location)["iss"] == issuer().url


class Scene(msgspec.Struct):
    """The clients that made-up requests are of."""

    world: World
    app: App
    public: App
    machine: App
    code: str
    refresh_token: str

    def client_of(self, request: Request) -> App | None:
        """The client that a request names."""
        named = request.parameters.get(b"client_id", b"").decode("latin-1").lower()
        return next((one for one in (self.app, self.public) if str(one.id) == named), None)


@pytest.fixture
async def scene(application: Any, world: World, caplog: pytest.LogCaptureFixture) -> Scene:
    """Clients of every kind, a person who allowed them much, and things to be exchanged."""
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, "tutti")
    member_id = world.acme.member_id
    await set_password(EMAIL, hash_password(PASSWORD))
    await add_user(EMAIL, "Ada", None, world.globex.id, "sender")
    app = await registered(world.acme.id)
    public = await registered(world.acme.id, "public", redirect_uris=(LOOPBACK,))
    machine = await registered(world.acme.id, "machine", scopes=MAESTRO)
    await app.allowed_by(member_id)
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://tutti.test") as client:
        tokens = await app.logged_in(client, member_id)
    return Scene(world, app, public, machine, await app.code(member_id), tokens["refresh_token"])


@st.composite
def broken(draw: st.DrawFn, fields: Mapping[str, str]) -> Pairs:
    """A form that holds, or with something of it left out, changed, repeated or added."""
    pairs = pairs_of(fields)
    how = draw(st.lists(st.sampled_from(["drop", "change", "repeat", "add", "add", "swap"]), max_size=2))
    for one in how:
        at = draw(st.integers(0, max(0, len(pairs) - 1)))
        if one == "add" or not pairs:
            pairs.insert(at, (draw(NAME), draw(VALUE)))
        elif one == "drop":
            del pairs[at]
        elif one == "change":
            pairs[at] = (pairs[at][0], draw(VALUE))
        elif one == "repeat":
            pairs.append((pairs[at][0], draw(st.just(pairs[at][1]) | VALUE)))
        else:
            other = draw(st.integers(0, len(pairs) - 1))
            pairs[at] = (pairs[at][0], pairs[other][1])
    return pairs


@st.composite
def raw(draw: st.DrawFn, pairs: Pairs) -> bytes:
    """The bytes of a form, at times cut, or with a few bytes in it that belong to no form."""
    text = encoded(pairs)
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.binary(max_size=6)) + text[at + draw(st.integers(0, 6)) :]
    return text


@st.composite
def headers(draw: st.DrawFn, authorization: str | None = None) -> Pairs:
    """The headers of a form, at times with others that mean nothing here or are broken."""
    found = [(b"host", b"tutti.test"), (b"content-type", draw(CONTENT_TYPE))]
    if authorization is not None:
        found.append((b"authorization", draw(st.just(authorization.encode()) | GARBAGE)))
    elif draw(st.integers(0, 6)) == 0:
        found.append((b"authorization", draw(GARBAGE)))
    if draw(st.integers(0, 6)) == 0:
        found.append((draw(HEADER), draw(VALUE)))
    return found


@settings(made_up, max_examples=250)
@given(data=st.data())
async def test_made_up_requests_for_authorization(
    application: Any, scene: Scene, caplog: pytest.LogCaptureFixture, data: st.DataObject
) -> None:
    app = data.draw(st.sampled_from([scene.app, scene.public, scene.machine]), "client")
    changes: dict[str, str | None] = {
        "code_challenge": data.draw(st.sampled_from([app.parameters()["code_challenge"], MARKER, None])),
        "prompt": data.draw(st.sampled_from([None, None, "none", "login", "consent select_account"])),
        "max_age": data.draw(st.sampled_from([None, None, "0", "10000"])),
    }
    pairs = data.draw(broken(app.parameters(**changes)), "fields")
    text = data.draw(raw(pairs) | st.binary(max_size=60), "raw")
    kept = data.draw(headers(), "headers")
    request = data.draw(
        st.sampled_from(
            [
                Request("GET", "/oauth/auth", text, kept),
                Request("POST", "/oauth/auth", b"", kept, text),
                Request("POST", "/oauth/auth", text, kept, text[::-1]),
            ]
        )
    )
    answer = await asked(application, request)
    assert_sound(request, answer, scene.client_of(request), caplog)
    if answer.status == 303 and request.method == "POST":  # the same again, by GET
        again = Request("GET", "/oauth/auth", urlsplit(answer.headers["location"]).query.encode(), kept)
        assert_sound(again, await asked(application, again), scene.client_of(again), caplog)


def grants(scene: Scene) -> list[tuple[dict[str, str], App | None]]:
    """Requests for tokens that hold, and whose secret each goes with."""
    own = {"client_id": str(scene.app.id), "client_secret": scene.app.secret or ""}
    code = {"grant_type": "authorization_code", "code": scene.code, "code_verifier": VERIFIER}
    refresh = {"grant_type": "refresh_token", "refresh_token": scene.refresh_token}
    return [
        (code, scene.app),
        (code | own, None),
        (code | {"client_id": str(scene.public.id), "redirect_uri": CALLBACK}, None),
        (refresh, scene.app),
        (refresh | own | {"scope": "openid"}, None),
        ({"grant_type": "client_credentials", "scope": "aow_manage"}, scene.machine),
        ({"grant_type": "client_credentials"} | own, None),
        ({"grant_type": "client_credentials"} | scene.app.proof(), None),
        ({"grant_type": JWT_BEARER, "assertion": scene.app.assertion(scene.world.acme.member_id)}, None),
        ({"token": scene.refresh_token, "token_type_hint": "refresh_token"}, scene.app),
    ]


@settings(made_up, max_examples=300)
@given(data=st.data())
async def test_made_up_requests_for_tokens(
    application: Any, scene: Scene, caplog: pytest.LogCaptureFixture, data: st.DataObject
) -> None:
    fields, app = data.draw(st.sampled_from(grants(scene)), "grant")
    paths = ["/oauth/token"] * 6 + ["/api/auth/oauth/token", "/oauth/revoke", "/oauth/introspect"]
    path = data.draw(st.sampled_from(paths), "path")
    text = data.draw(raw(data.draw(broken(fields))) | st.binary(max_size=60), "body")
    kept = data.draw(headers(None if app is None else app.basic["Authorization"]), "headers")
    query = data.draw(st.just(b"") | st.just(b"") | st.binary(max_size=20) | st.just(text), "query")
    request = Request("POST", path, query, kept, text)
    assert_sound(request, await asked(application, request), None, caplog)


DEEP = "[" * 4000
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from([MARKER, "\0", "\ud800", float("nan"), float("inf"), 10**400, 2**63, -1, ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
ODD: dict[str, list[Any]] = {
    "alg": ["none", "HS256", "RS512", "PS256", "ES256", "EdDSA", "dir", MARKER, 5, None, [], {}, ["RS256"]],
    "crit": [5, [], ["b64"], ["exp"], [[]], {"a": 1}, MARKER],
    "kid": ["../../dev/null", "' OR 1=1", MARKER, 5, {}, None],
    "jwk": [{"kty": "oct", "k": "AAAA"}, KEY.as_dict(private=False), 5],
    "jku": [f"http://{MARKER}.example/keys", 5],
    "x5u": [f"http://{MARKER}.example/chain", []],
    "x5c": [["AAAA"], "AAAA"],
    "typ": [["JWT"], 5],
    "zip": ["DEF"],
    "enc": ["A256GCM"],
    "b64": [False],
}
HEADERS = st.sampled_from(
    [
        *({"alg": "RS256", name: value} for name, values in ODD.items() for value in values),
        {"alg": "RS256", "b64": False, "crit": ["b64"]},
        ["alg", "RS256"],
        ["alg"],
        "alg",
        "RS256",
        5,
        None,
    ]
).map(json.dumps)


def segment(text: bytes) -> str:
    """Write one part of a JWT."""
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def signature(signing_input: str, how: str) -> bytes:
    """Sign, as the client does or as somebody else would."""
    if how == "own":
        assert KEY.private_key is not None
        return KEY.private_key.sign(signing_input.encode(), PKCS1v15(), SHA256())
    return {"none": b"", "short": b"x", "long": b"x" * 600}[how]


@st.composite
def assertions(draw: st.DrawFn, claims: Mapping[str, Any]) -> str:
    """A JWT that one of the client's keys signed, or nobody, with something in it that nobody expects."""
    valid = json.dumps({"alg": "RS256", "typ": "JWT"})
    header = draw(
        st.just(valid) | HEADERS | HEADERS | JSON.map(json.dumps) | st.sampled_from([DEEP, "", "{"])
    )
    changed = dict(claims)
    for name in draw(st.lists(st.sampled_from([*claims, "jti", "nbf", "scope", "azp", "act"]), max_size=2)):
        changed[name] = draw(JSON)
    payload = draw(
        st.just(json.dumps(changed))
        | st.just(json.dumps(changed))
        | JSON.map(json.dumps)
        | st.sampled_from(
            [DEEP, '{"iss":' + DEEP, "", "{}", '{"iss":1,"iss":2}', '{"exp":' + "9" * 5000 + "}"]
        )
    )
    signing_input = f"{segment(header.encode('utf-8', 'surrogatepass'))}.{segment(payload.encode('utf-8', 'surrogatepass'))}"
    how = draw(st.sampled_from(["own", "own", "own", "none", "short", "long"]))
    whole = f"{signing_input}.{segment(signature(signing_input, how))}"
    if draw(st.integers(0, 8)) == 0:
        at = draw(st.integers(0, len(whole)))
        whole = whole[:at] + draw(st.text(max_size=5)) + whole[at + 1 :]
    return draw(st.just(whole) | st.just(whole) | st.just(whole) | st.text(max_size=30))


@settings(made_up, max_examples=300)
@given(data=st.data())
async def test_made_up_assertions(
    application: Any, scene: Scene, caplog: pytest.LogCaptureFixture, data: st.DataObject
) -> None:
    now = int(time.time())
    claims = {"iss": str(scene.app.id), "iat": now, "exp": now + 60, "scope": "signature aow_manage"}
    if data.draw(st.booleans(), "of a user"):
        claims |= {"sub": str(scene.world.acme.member_id), "aud": "account-d.docusign.com"}
        assertion = data.draw(assertions(claims), "assertion")
        fields = {"grant_type": JWT_BEARER, "assertion": assertion}
    else:
        claims |= {"sub": str(scene.app.id), "aud": issuer().url, "jti": unknown_id()}
        assertion = data.draw(assertions(claims), "assertion")
        fields = {
            "grant_type": "refresh_token",
            "refresh_token": "none",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }
    pairs = pairs_of(fields)
    request = Request("POST", "/oauth/token", b"", [(b"content-type", FORM)], encoded(pairs))
    assert_sound(request, await asked(application, request), None, caplog)


PAGES = ("login", "account", "consent", "logout")


class Browser(msgspec.Struct):
    """A browser that a person came with, on the page that is due."""

    key: str
    page: str
    query: str

    @property
    def cookie(self) -> str:
        """The cookie that the browser is known by."""
        return f"{sessions.session_name(issuer())}={self.key}"

    @property
    def fields(self) -> dict[str, str]:
        """What the page's form sends when it is filled in well."""
        about = dict(parse_qsl(self.query)).get("request", "")
        proof = {sessions.TOKEN_FIELD: sessions.form_token(self.key, self.page, about)}
        filled = {
            "login": {"email": EMAIL, "password": PASSWORD},
            "account": {"account": "all"},
            "consent": {"answer": "allow"},
        }
        return proof | filled.get(self.page, {})


async def browser_at(application: Any, scene: Scene, wanted: str) -> Browser:
    """Send a person to one of the pages, logged in where it wants that."""
    key = ""
    if wanted != "login":
        person = scene.world.acme.member_id if wanted == "account" else scene.world.acme.admin_id
        async with transaction():
            key = await sessions.begin(person, "") or ""
    if wanted == "logout":
        return Browser(key, wanted, f"client_id={scene.app.id}&post_logout_redirect_uri={quote(CALLBACK)}")
    prompt = {"account": "select_account", "consent": "consent", "login": None}[wanted]
    query = encoded(pairs_of(scene.app.parameters(prompt=prompt)))
    cookie = f"{sessions.session_name(issuer())}={key}".encode()
    answer = await asked(application, Request("GET", "/oauth/auth", query, [(b"cookie", cookie)]))
    assert answer.status == 303, answer.text
    page = urlsplit(answer.headers["location"])
    assert page.path == f"/oauth/{wanted}"
    key = key or answer.cookies[0].partition("=")[2]
    return Browser(key, wanted, page.query)


@settings(made_up, max_examples=120)
@given(data=st.data())
async def test_made_up_visits_to_the_pages(
    application: Any, scene: Scene, caplog: pytest.LogCaptureFixture, data: st.DataObject
) -> None:
    browser = await browser_at(application, scene, data.draw(st.sampled_from(PAGES), "page"))
    caplog.clear()
    page = data.draw(st.sampled_from([browser.page] * 5 + list(PAGES)), "asked")
    pairs = data.draw(broken(browser.fields), "fields")
    # A mistyped address is shown to whoever typed it.
    email = data.draw(st.sampled_from([EMAIL, f"{unknown_id()}@nobody.example", f"<{unknown_id()}>"]))
    pairs = [(name, email.encode() if name == b"email" else value) for name, value in pairs]
    query = data.draw(
        st.just(browser.query.encode())
        | st.just(browser.query.encode())
        | VALUE
        | VALUE.map(lambda v: b"request=" + v)
    )
    cookie = data.draw(st.just(browser.cookie.encode()) | st.just(browser.cookie.encode()) | VALUE, "cookie")
    kept = [*data.draw(headers(), "headers"), (b"cookie", cookie)]
    request = data.draw(
        st.sampled_from(
            [
                Request("GET", f"/oauth/{page}", query, kept),
                *[Request("POST", f"/oauth/{page}", query, kept, data.draw(raw(pairs)))] * 3,
            ]
        )
    )
    assert_sound(request, await asked(application, request), scene.app, caplog)


async def test_requests_that_are_not_broken_are_answered(
    application: Any, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """What is broken above holds when it is not: otherwise nothing would get far."""
    for fields, app in grants(scene):
        if "token" in fields or fields.get("client_id") == str(scene.public.id):
            continue
        pairs = pairs_of(fields)
        kept = [(b"content-type", FORM)]
        if app is not None:
            kept.append((b"authorization", app.basic["Authorization"].encode()))
        request = Request("POST", "/oauth/token", b"", kept, encoded(pairs))
        answer = await asked(application, request)
        assert_sound(request, answer, None, caplog)
        told = json.loads(answer.text)
        expected = {"client_credentials": "unauthorized_client"}.get(fields["grant_type"])
        if app is scene.machine:
            expected = None
        assert told.get("error") in (expected, "invalid_grant"), (
            told
        )  # a code or refresh token was used before
    for wanted in PAGES:
        browser = await browser_at(application, scene, wanted)
        pairs = pairs_of(browser.fields)
        kept = [(b"content-type", FORM), (b"cookie", browser.cookie.encode())]
        request = Request("POST", f"/oauth/{wanted}", browser.query.encode(), kept, encoded(pairs))
        answer = await asked(application, request)
        assert answer.status == (200 if wanted == "logout" else 303), answer
        assert_sound(request, answer, scene.app, caplog)


@pytest.fixture
def process(database: None, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A real server process: its port and its log."""
    port, path = free_port(), tmp_path / "log"
    command = [*COMMAND, "serve", "--no-worker", "--port", str(port)]
    with path.open("wb") as log:
        running = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=log, stderr=log)
        try:
            wait_until_ready(port, path)
            yield port, path
        finally:
            running.terminate()
            running.wait(READY_SECONDS)


def wait_until_ready(port: int, log: Path) -> None:
    """Wait until the process serves."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and "Traceback" not in log.read_text():
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        time.sleep(0.1)
    pytest.fail(f"tutti serve is not ready:\n{log.read_text()}", pytrace=False)


def written(request: Request) -> bytes:
    """Write a request as it goes over the wire."""
    target = request.path.encode() + (b"?" + request.query if request.query else b"")
    lines = [request.method.encode() + b" " + target + b" HTTP/1.1", b"Host: tutti.test"]
    lines += [name + b": " + value for name, value in request.headers]
    lines.append(b"Content-Length: %d" % len(request.body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + request.body


@st.composite
def streams(draw: st.DrawFn, valid: list[bytes]) -> bytes:
    """Bytes for a connection: a request, or two, with some bytes of them changed; or what is no request."""
    if draw(st.integers(0, 5)) == 0:
        return draw(
            st.binary(max_size=200)
            | st.sampled_from(
                [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET /" + b"a" * 70_000]
            )
        )
    stream = draw(st.sampled_from(valid))
    stream += draw(st.just(b"") | st.sampled_from(valid))
    changes = [
        (b"Content-Length: ", b"Content-Length: 9"),
        (b"Content-Length: ", b"Transfer-Encoding: chunked\r\nContent-Length: "),
        (b"Content-Length: ", b"Content-Length: -"),
        (b" HTTP/1.1", b"?%ff=\xff HTTP/1.1"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"HTTP/1.1", b"HTTP/9.9"),
        (b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nX-Long: " + b"x" * 70_000 + b"\r\n\r\n"),
        (b"\r\n", b"\n"),
        (b"Host: tutti.test", b"Host: \xff\r\nHost: b"),
        (b" /oauth", b" http://elsewhere.example/oauth"),
        (b" /oauth", b" /%2e%2e/oauth/\xff"),
    ]
    if draw(st.booleans()):
        return stream.replace(*draw(st.sampled_from(changes)))
    at = draw(st.integers(0, len(stream)))
    return stream[:at] + draw(st.binary(max_size=8)) + stream[at + draw(st.integers(0, 8)) :]


async def spoken(port: int, stream: bytes, silence: float = SILENCE) -> bytes:
    """Send bytes over a connection; return what comes back until there is silence."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        writer.write(stream)
        await writer.drain()
        while more := await asyncio.wait_for(reader.read(65_536), silence):
            heard += more
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return heard


def wire(scene: Scene) -> list[bytes]:
    """Requests that hold, as they go over the wire."""
    found = []
    for fields, app in grants(scene):
        kept = [(b"content-type", FORM)]
        if app is not None:
            kept.append((b"authorization", app.basic["Authorization"].encode()))
        found.append(written(Request("POST", "/oauth/token", b"", kept, encoded(pairs_of(fields)))))
    authorization = encoded(pairs_of(scene.app.parameters()))
    found.append(written(Request("GET", "/oauth/auth", authorization)))
    found.append(written(Request("POST", "/oauth/auth", b"", [(b"content-type", FORM)], authorization)))
    return found


@settings(made_up, max_examples=16)
@given(data=st.data())
async def test_made_up_bytes_over_a_connection(
    process: tuple[int, Path], scene: Scene, data: st.DataObject
) -> None:
    port, log = process
    before = len(log.read_text())
    many = data.draw(st.lists(streams(wire(scene)), min_size=25, max_size=25), "streams")
    for heard in await asyncio.gather(*(spoken(port, stream) for stream in many)):
        statuses = re.findall(rb"^HTTP/1\.1 (\d+) ", heard, re.MULTILINE)
        assert all(int(status) < 500 for status in statuses), heard
    good = wire(scene)[-1].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    assert (await spoken(port, good, PATIENCE)).startswith(b"HTTP/1.1 303 ")
    told = log.read_text()[before:]
    assert '"level":"error","logger":"tutti' not in told
    for secret in (scene.code, scene.refresh_token, scene.app.secret, scene.app.basic["Authorization"][6:]):
        assert secret
        assert secret not in told
