"""How calls prove who they are (contract 7): the five schemes, and the tokens of two of them."""

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import OctKey

from service.engine.effects.call_http import perform
from service.engine.effects.redaction import MARK
from service.engine.egress import Egress
from service.engine.flow import Raised
from service.engine.tokens import CAPACITY, Token, TokenCache
from service.language.authentication import TOKEN_EXCHANGE
from service.language.errors import Fault
from tests.engine.outside import (
    ACCOUNT,
    TRACE,
    Names,
    Sandbox,
    Site,
    call,
    certificate,
    drip_nothing,
    egress,
    fault_of,
    kind_of,
    listener,
    site,
    trusted,
    waiting,
)

CREDENTIALS = {"grant": "client_credentials", "client": {"id": "me", "secret": "geheim-1"}}


async def content(_: web.Request) -> web.Response:
    """Answer to whoever asks."""
    return web.Response()


def endpoint(server: Site, **policy: Any) -> dict[str, Any]:
    return {"endpoint": {"uri": server.url + "/a?b=c", "authentication": policy}}


async def proved(*, secrets: dict[str, Any] | None = None, data: Any = None, **policy: Any) -> Any:
    """What a server gets to see."""
    async with site(content) as server, egress() as way:
        return await sent(way, server, endpoint(server, **policy), data, secrets=secrets)


async def sent(way: Egress, server: Site, arguments: dict[str, Any], data: Any = None, **rest: Any) -> Any:
    """The proof that a call sends to a server: the call's output does not show it."""
    await call(way, arguments, data, **rest)
    return server.requests[-1].headers.get("Authorization")


async def unproved(*, secrets: dict[str, Any] | None = None, data: Any = None, **policy: Any) -> Fault:
    """How a call ends that gets nowhere."""
    async with site(content) as server, egress() as way:
        fault = await fault_of(way, endpoint(server, **policy), data, secrets=secrets)
        assert server.requests == []
        return fault


# --- Basic and bearer -----------------------------------------------------------------------------------------------


async def test_basic_sends_name_and_password() -> None:
    expected = "Basic " + base64.b64encode("ann:wörd:x".encode()).decode()
    assert await proved(basic={"username": "ann", "password": "wörd:x"}) == expected
    secrets = {"login": {"username": "ann", "password": "wörd:x", "note": "not a field"}}
    assert await proved(basic={"use": "login"}, secrets=secrets) == expected


async def test_bearer_sends_the_token() -> None:
    assert await proved(bearer={"token": "abc"}) == "Bearer abc"
    assert await proved(bearer={"token": "${ .mine }"}, data={"mine": "abc"}) == "Bearer abc"
    assert await proved(bearer={"token": "${ $secrets.key }"}, secrets={"key": "abc"}) == "Bearer abc"
    assert await proved(bearer={"use": "key"}, secrets={"key": {"token": "abc"}}) == "Bearer abc"


async def test_a_policy_may_be_declared_for_several_calls() -> None:
    async with site(content) as server, egress() as way:
        arguments = {"endpoint": {"uri": server.url, "authentication": {"use": "mine"}}}
        policies = {"mine": {"bearer": {"token": "x"}}}
        assert await sent(way, server, arguments, authentications=policies) == "Bearer x"


async def test_arguments_may_read_the_proof() -> None:
    async with site(content) as server, egress() as way:
        arguments = {
            **endpoint(server, bearer={"token": "abc"}),
            "headers": {"Authorization": '${ $authorization.scheme + "-" + $authorization.parameter }'},
        }
        assert await sent(way, server, arguments) == "Bearer-abc"
        arguments = {"endpoint": server.url, "headers": {"Authorization": "${ $authorization | tojson }"}}
        assert await sent(way, server, arguments) == "null"


@pytest.mark.parametrize(
    ("policy", "secrets", "reason"),
    [
        ({"basic": {"username": "${ 1 }", "password": "geheim-2"}}, {}, "username"),
        ({"basic": {"username": "a:b", "password": "geheim-2"}}, {}, "colon"),
        ({"digest": {"username": "a:b", "password": "geheim-2"}}, {}, "colon"),
        ({"basic": {"use": "key"}}, {"key": "geheim-2"}, f"the secret `key` is a text, and has to be an object with `username`, `password`; set it again with: tutti secret set key --account {ACCOUNT} --json-value"),
        ({"basic": {"username": "${ 1 }", "password": "geheim-2"}}, {}, "its `username` must be a string"),
        ({"basic": {"use": "key"}}, {"key": {"username": "geheim-2"}}, "password"),
        ({"bearer": {"token": "${ .missing }"}}, {}, "token"),
        ({"bearer": {"token": "geheim-2\r\nX-Evil: 1"}}, {}, "line break"),
        ({"oauth2": {"use": "key"}}, {"key": {"authority": "geheim-2"}}, "grant"),
        ({"oauth2": {"use": "key"}}, {"key": {"authority": "x", "grant": "geheim-2"}}, "grant"),
        ({"oauth2": {"authority": '${ "ftp://geheim-2" }', **CREDENTIALS}}, {}, "http://"),
        ({"oauth2": {"use": "key"}}, {"key": {"authority": "http://127.0.0.1", **CREDENTIALS, "grant": "password"}}, "`username` is missing"),
        ({"oauth2": {"authority": "http://127.0.0.1", **CREDENTIALS, "client": {"id": "me"}}}, {}, "`client.secret` is missing"),
        (
            {"oauth2": {"authority": "http://127.0.0.1", "grant": "client_credentials", "client": {"id": "me", "secret": "geheim-2", "authentication": "client_secret_jwt"}}},
            {},
            "too short",
        ),
    ],
)  # fmt: skip
async def test_a_policy_that_cannot_work_is_a_configuration_error(
    policy: dict[str, Any], secrets: dict[str, Any], reason: str
) -> None:
    fault = await unproved(secrets=secrets, **policy)
    assert kind_of(fault) == ("configuration", 400)
    assert reason in (fault.detail or "")
    assert "geheim-2" not in str(fault)


async def test_a_secret_that_is_missing_is_told_with_the_whole_command() -> None:
    arguments = {"endpoint": {"uri": "http://127.0.0.1", "authentication": {"basic": {"use": "key"}}}}
    async with egress() as way:
        with pytest.raises(Raised) as refused:
            await perform(way, Sandbox(), ACCOUNT, waiting(arguments, None, None, secrets=["key"]), {}, TRACE)
    assert kind_of(refused.value.fault) == ("authorization", 403)
    command = f"tutti secret set key --account {ACCOUNT}"
    assert refused.value.fault.detail == f"The secret `key` is not set; set it with: {command}"


async def test_a_password_does_not_come_back_in_an_error() -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=403, text=f"no: {request.headers['Authorization']}, that is geheim-3")

    async with site(refuse) as server, egress() as way:
        fault = await fault_of(way, endpoint(server, basic={"username": "ann", "password": "geheim-3"}))
        assert (kind_of(fault), fault.detail) == (("communication", 403), f"no: Basic {MARK}, that is {MARK}")
        fault = await fault_of(way, endpoint(server, bearer={"token": "geheim-4"}))
        assert fault.detail == f"no: Bearer {MARK}, that is geheim-3"


# --- Digest ---------------------------------------------------------------------------------------------------------


def digest_site(challenge: str, method: Callable[[bytes], Any] = hashlib.md5) -> Any:
    """A server that knows `ann` by her password `word` (RFC 7616)."""

    def hashed(text: str) -> str:
        return str(method(text.encode()).hexdigest())

    async def respond(request: web.Request) -> web.Response:
        given = dict(re.findall(r'(\w+)="?([^",]*)', request.headers.get("Authorization", "")))
        own = hashed("ann:here:word")
        asked = hashed(f"{request.method}:{request.raw_path}")
        expected = hashed(f"{own}:n0:{given.get('nc')}:{given.get('cnonce')}:auth:{asked}")
        if given.get("response") != expected or given.get("uri") != request.raw_path:
            return web.Response(status=401, headers={"WWW-Authenticate": challenge}, text="who?" * 1000)
        return web.json_response(await request.json())

    return respond


@pytest.mark.parametrize(
    ("algorithm", "method"),
    [("", hashlib.md5), (", algorithm=MD5", hashlib.md5), (", algorithm=SHA-256", hashlib.sha256)],
    ids=["none", "md5", "sha256"],
)
async def test_digest_answers_the_challenge(algorithm: str, method: Any) -> None:
    challenge = f'Digest realm="here", nonce="n0", qop="auth"{algorithm}'
    async with site(digest_site(challenge, method)) as server, egress() as way:
        policy = {"username": "ann", "password": "word"}
        arguments = {"method": "post", "body": {"a": 1}, **endpoint(server, digest=policy)}
        assert await call(way, arguments) == {"a": 1}
        assert ["Authorization" in request.headers for request in server.requests] == [False, True]
        fault = await fault_of(way, {**arguments, **endpoint(server, digest={**policy, "password": "wrong"})})
        assert kind_of(fault) == ("communication", 401)


@pytest.mark.parametrize(
    "challenge",
    ["Basic realm=x", "Digest", "Digest nonsense", 'Digest realm="x", qop="auth", nonce=""', 'Digest realm="x", nonce="n", algorithm=ROT13',
     'Digest realm="x", nonce="n", domain="http://[::1"', 'Digest realm="x", nonce="n", qop="none"'],
)  # fmt: skip
async def test_a_challenge_that_cannot_be_answered_is_an_error(challenge: str) -> None:
    async with site(digest_site(challenge)) as server, egress() as way:
        fault = await fault_of(way, endpoint(server, digest={"username": "ann", "password": "word"}))
        assert kind_of(fault) in [("communication", 401), ("communication", 502)]


# --- Tokens ---------------------------------------------------------------------------------------------------------


class Authority:
    """An authorization server, and a resource that takes its tokens."""

    def __init__(self, server: Site) -> None:
        self.url = server.url
        self.server = server
        self.answer: Any = None
        self.status = 200
        self.seconds: Any = 3600
        self.pause = 0.0
        self.refuses = False
        self.issued = 0

    async def respond(self, request: web.Request) -> web.Response:
        if request.path == "/resource":
            return web.json_response(request.headers["Authorization"], status=401 if self.refuses else 200)
        if request.path.endswith("/.well-known/openid-configuration"):
            return web.json_response(self.answer)
        await asyncio.sleep(self.pause)
        self.issued += 1
        issued = {"access_token": f"token-{self.issued}", "token_type": "Bearer", "expires_in": self.seconds}
        answer = issued if self.answer is None or "token_endpoint" in self.answer else self.answer
        return web.json_response(answer, status=self.status)

    def arguments(self, scheme: str = "oauth2", /, **policy: Any) -> dict[str, Any]:
        fields = {"authority": self.url, **CREDENTIALS, **policy}
        return {"endpoint": {"uri": self.url + "/resource", "authentication": {scheme: fields}}}

    def sent(self) -> dict[str, Any]:
        """What the last request for a token said."""
        return dict(parse_qs(next(body for body in reversed(self.server.bodies) if body)))

    def asked(self) -> web.Request:
        return next(one for one in reversed(self.server.requests) if one.method == "POST")


@pytest.fixture
async def authority() -> AsyncIterator[Authority]:
    async def respond(request: web.Request) -> web.Response:
        return await found.respond(request)

    async with site(respond) as server:
        found = Authority(server)
        yield found


@pytest.fixture
async def way() -> AsyncIterator[Egress]:
    async with egress() as found:
        yield found


async def test_client_credentials_are_exchanged_for_a_token(authority: Authority, way: Egress) -> None:
    assert (
        await sent(way, authority.server, authority.arguments(scopes=["a", "b"], audiences=["x", "y"]))
        == "Bearer token-1"
    )
    assert authority.asked().path == "/oauth2/token"
    assert authority.asked().headers["User-Agent"] == "tutti"
    assert authority.sent() == {
        "grant_type": ["client_credentials"],
        "scope": ["a b"],
        "audience": ["x", "y"],
        "client_id": ["me"],
        "client_secret": ["geheim-1"],
    }


async def test_the_token_endpoint_is_below_the_authority(authority: Authority, way: Egress) -> None:
    given = {"tenant": "t/1"}
    policy: dict[str, Any] = {"authority": authority.url + "/{tenant}/", "endpoints": {"token": "/v2/token"}}
    await call(way, authority.arguments(**policy), given)
    assert authority.asked().raw_path == "/t%2F1/v2/token"


async def test_a_password_is_exchanged_for_a_token(authority: Authority, way: Egress) -> None:
    await call(way, authority.arguments(grant="password", username="ann", password="word"))
    sent = authority.sent()
    assert (sent["grant_type"], sent["username"], sent["password"]) == (["password"], ["ann"], ["word"])


async def test_a_token_is_exchanged_for_a_token(authority: Authority, way: Egress) -> None:
    tokens: dict[str, Any] = {
        "subject": {"token": "s", "type": "urn:s"},
        "actor": {"token": "a", "type": "urn:a"},
    }
    await call(way, authority.arguments(grant=TOKEN_EXCHANGE, **tokens))
    sent = authority.sent()
    assert sent["grant_type"] == [TOKEN_EXCHANGE]
    assert (sent["subject_token"], sent["subject_token_type"]) == (["s"], ["urn:s"])
    assert (sent["actor_token"], sent["actor_token_type"]) == (["a"], ["urn:a"])
    del tokens["actor"]
    await call(way, authority.arguments(grant=TOKEN_EXCHANGE, **tokens))
    assert "actor_token" not in authority.sent()


async def test_the_request_may_be_json(authority: Authority, way: Egress) -> None:
    policy: dict[str, Any] = {
        "request": {"encoding": "application/json"},
        "audiences": ["x"],
        "scopes": ["a"],
    }
    await call(way, authority.arguments(**policy))
    assert json.loads(authority.server.bodies[0]) == {
        "grant_type": "client_credentials",
        "scope": "a",
        "audience": "x",
        "client_id": "me",
        "client_secret": "geheim-1",
    }
    assert authority.asked().content_type == "application/json"


async def test_a_client_may_use_basic_authentication(authority: Authority, way: Egress) -> None:
    client = {"id": "m:e", "secret": "ge heim/1", "authentication": "client_secret_basic"}
    await call(way, authority.arguments(client=client))
    expected = base64.b64encode(b"m%3Ae:ge+heim%2F1").decode()
    assert authority.asked().headers["Authorization"] == f"Basic {expected}"
    assert "client_id" not in authority.sent()


async def test_a_client_may_sign_an_assertion(authority: Authority, way: Egress) -> None:
    client = {"id": "me", "secret": "a secret of a good length", "authentication": "client_secret_jwt"}
    await call(way, authority.arguments(client=client))
    sent = authority.sent()
    assert "client_secret" not in sent
    assert sent["client_assertion_type"] == ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
    claims = jwt.decode(sent["client_assertion"][0], OctKey.import_key("a secret of a good length")).claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("me", "me", authority.url + "/oauth2/token")
    assert claims["exp"] - claims["iat"] == 60


async def test_a_client_may_send_an_assertion_of_its_own(authority: Authority, way: Egress) -> None:
    client = {"id": "me", "assertion": "a.b.c", "authentication": "private_key_jwt"}
    await call(way, authority.arguments(client=client))
    assert authority.sent()["client_assertion"] == ["a.b.c"]


@pytest.mark.parametrize(("client", "named"), [({}, None), ({"id": "me"}, ["me"])])
async def test_a_client_may_prove_nothing(
    client: dict[str, str], named: Any, authority: Authority, way: Egress
) -> None:
    await call(way, authority.arguments(client={**client, "authentication": "none"}))
    assert authority.sent().get("client_id") == named


async def test_a_policy_may_be_a_secret(authority: Authority, way: Egress) -> None:
    arguments = {
        "endpoint": {"uri": authority.url + "/resource", "authentication": {"oauth2": {"use": "idp"}}}
    }
    secret = {"authority": authority.url, **CREDENTIALS}
    assert await sent(way, authority.server, arguments, secrets={"idp": secret}) == "Bearer token-1"


# --- OpenID ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", "/", "/.well-known/openid-configuration"])
async def test_a_provider_is_asked_where_its_tokens_are(
    ending: str, authority: Authority, way: Egress
) -> None:
    authority.answer = {"issuer": authority.url + "/realm", "token_endpoint": authority.url + "/elsewhere"}
    policy: dict[str, Any] = {"authority": authority.url + "/realm" + ending}
    assert await sent(way, authority.server, authority.arguments("oidc", **policy)) == "Bearer token-1"
    assert authority.server.requests[0].path == "/realm/.well-known/openid-configuration"
    assert authority.asked().path == "/elsewhere"


@pytest.mark.parametrize(
    "answer",
    [
        {"issuer": "https://evil.example", "token_endpoint": "{url}/token"},
        {"issuer": "{url}", "token_endpoint": "/token"},
        {"issuer": "{url}", "token_endpoint": "file:///etc/passwd"},
        {"issuer": "{url}", "token_endpoint": 1},
        {"issuer": "{url}"},
        [],
    ],
)
async def test_a_provider_that_is_not_the_one_meant_is_an_error(
    answer: Any, authority: Authority, way: Egress
) -> None:
    authority.answer = json.loads(json.dumps(answer).replace("{url}", authority.url))
    fault = await fault_of(way, authority.arguments("oidc"))
    assert kind_of(fault) == ("authentication", 401)
    assert authority.issued == 0


async def test_a_provider_that_does_not_answer_is_an_error() -> None:
    async with site(missing) as server, egress() as way:
        fault = await fault_of(way, endpoint(server, oidc={"authority": server.url, **CREDENTIALS}))
        assert kind_of(fault) == ("authentication", 401)
        assert fault.detail == "The provider's configuration could not be read: 404."


async def missing(_: web.Request) -> web.Response:
    return web.Response(status=404)


async def test_a_provider_does_not_lead_away_from_tls(tmp_path: Path) -> None:
    async def configuration(_: web.Request) -> web.Response:
        return web.json_response({"issuer": server.url, "token_endpoint": "http://127.0.0.1:1/token"})

    path, context = certificate(tmp_path, "127.0.0.1")
    with trusted(path):
        async with site(configuration, context) as server, egress() as way:
            fault = await fault_of(way, endpoint(server, oidc={"authority": server.url, **CREDENTIALS}))
            assert kind_of(fault) == ("authentication", 401)
            assert "TLS" in (fault.detail or "")


async def test_the_author_may_name_the_issuers(authority: Authority, way: Egress) -> None:
    authority.answer = {"issuer": "https://other.example", "token_endpoint": authority.url + "/token"}
    policy: dict[str, Any] = {"issuers": ["https://other.example"]}
    assert await sent(way, authority.server, authority.arguments("oidc", **policy)) == "Bearer token-1"


async def test_a_provider_does_not_lead_to_where_calls_may_not_go(authority: Authority, way: Egress) -> None:
    authority.answer = {"issuer": authority.url, "token_endpoint": "http://169.254.169.254/token"}
    assert kind_of(await fault_of(way, authority.arguments("oidc"))) == ("authorization", 403)


def signed(issuer: str) -> str:
    return jwt.encode({"alg": "HS256"}, {"iss": issuer}, OctKey.import_key("a secret of a good length"))


@pytest.mark.parametrize(
    ("token", "fits"),
    [(signed("https://good.example"), True), (signed("https://evil.example"), False), ("opaque", True), ("a.b.c", True), ("a.W10.c", True)],
    ids=["good", "evil", "opaque", "dotted", "list"],
)  # fmt: skip
async def test_a_token_of_another_issuer_is_not_used(
    token: str,
    fits: bool,  # noqa: FBT001 - a table's column
    authority: Authority,
    way: Egress,
) -> None:
    authority.answer = {"access_token": token}
    arguments = authority.arguments(issuers=["https://good.example"])
    if fits:
        assert await sent(way, authority.server, arguments) == f"Bearer {token}"
    else:
        assert kind_of(await fault_of(way, arguments)) == ("authentication", 401)


# --- Failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "answer", "shown"),
    [
        (400, {"error": "invalid_client", "error_description": "geheim-1 is wrong"}, "400: invalid_client."),
        (401, {"error": "geheim-1 is wrong"}, "401."),
        (500, [], "500."),
        (302, {}, "302."),
        (200, {}, "not the JSON"),
        (200, {"access_token": 1}, "not the JSON"),
        (200, {"access_token": ["geheim-1"]}, "not the JSON"),
    ],
)
async def test_a_token_that_is_not_given_is_an_authentication_error(
    status: int, answer: Any, shown: str, authority: Authority, way: Egress
) -> None:
    authority.status, authority.answer = status, answer
    fault = await fault_of(way, authority.arguments())
    assert kind_of(fault) == ("authentication", 401)
    assert shown in (fault.detail or "")
    assert "geheim-1" not in str(fault)
    assert "/resource" not in [request.path for request in authority.server.requests]


async def test_a_token_that_no_header_can_carry_is_an_error(authority: Authority, way: Egress) -> None:
    authority.answer = {"access_token": "a\r\nX-Evil: 1"}
    fault = await fault_of(way, authority.arguments())
    assert kind_of(fault)[1] in (400, 401)
    assert "Evil" not in str(fault)


async def test_an_authority_that_says_nothing_is_an_authentication_error() -> None:
    async with listener(drip_nothing) as silent, egress(total_seconds=0.3) as way, site(content) as server:
        policy = {"authority": silent.url, **CREDENTIALS}
        fault = await fault_of(way, endpoint(server, oauth2=policy))
        assert kind_of(fault) == ("authentication", 401)
        await silent.until_closed()


async def test_an_authority_that_may_not_be_called_is_an_authorization_error() -> None:
    async with egress(resolver=Names(["10.0.0.1"])) as way, site(content) as server:
        policy = {"authority": "http://intern.example", **CREDENTIALS}
        assert kind_of(await fault_of(way, endpoint(server, oauth2=policy))) == ("authorization", 403)


# --- The cache ------------------------------------------------------------------------------------------------------


async def test_a_token_is_kept_for_the_next_call(authority: Authority, way: Egress) -> None:
    for _ in range(3):
        assert await sent(way, authority.server, authority.arguments()) == "Bearer token-1"
    assert authority.issued == 1


async def test_other_policies_accounts_and_schemes_have_other_tokens(
    authority: Authority, way: Egress
) -> None:
    authority.answer = {"issuer": authority.url, "token_endpoint": authority.url + "/token"}
    await call(way, authority.arguments())
    await call(way, authority.arguments(scopes=["a"]))
    await call(way, authority.arguments(client={"id": "me", "secret": "another"}))
    await call(way, authority.arguments("oidc"))
    await call(way, authority.arguments(), account=uuid4())
    assert authority.issued == 5
    await call(way, authority.arguments())
    assert authority.issued == 5


@pytest.mark.parametrize("seconds", [None, 30, 0, -1, "soon", [], "NaN"])
async def test_a_token_that_expires_soon_is_used_once(
    seconds: Any, authority: Authority, way: Egress
) -> None:
    authority.seconds = seconds
    assert await sent(way, authority.server, authority.arguments()) == "Bearer token-1"
    assert await sent(way, authority.server, authority.arguments()) == "Bearer token-2"


@pytest.mark.parametrize("seconds", [3600, "3600", 3600.5, 1e308])
async def test_a_server_may_say_the_seconds_as_it_likes(
    seconds: Any, authority: Authority, way: Egress
) -> None:
    authority.seconds = seconds
    await call(way, authority.arguments())
    assert await sent(way, authority.server, authority.arguments()) == "Bearer token-1"


async def test_those_who_want_the_same_token_ask_once(authority: Authority, way: Egress) -> None:
    authority.pause = 0.1
    await asyncio.gather(*(call(way, authority.arguments()) for _ in range(5)))
    proofs = [one.headers["Authorization"] for one in authority.server.requests if one.path == "/resource"]
    assert (proofs, authority.issued) == (["Bearer token-1"] * 5, 1)


async def test_those_who_want_the_same_token_all_hear_that_there_is_none(
    authority: Authority, way: Egress
) -> None:
    authority.pause, authority.status = 0.1, 400
    faults = await asyncio.gather(*(fault_of(way, authority.arguments()) for _ in range(3)))
    assert [kind_of(fault) for fault in faults] == [("authentication", 401)] * 3
    assert authority.issued == 1
    authority.status = 200
    assert await sent(way, authority.server, authority.arguments()) == "Bearer token-2"


async def test_a_token_that_the_resource_refuses_is_dropped(authority: Authority, way: Egress) -> None:
    authority.refuses = True
    fault = await fault_of(way, authority.arguments())
    assert (kind_of(fault), fault.detail) == (("communication", 401), f'"Bearer {MARK}"')
    authority.refuses = False
    assert await sent(way, authority.server, authority.arguments()) == "Bearer token-2"


async def test_who_gives_up_waiting_stops_nobody_else(authority: Authority, way: Egress) -> None:
    authority.pause = 0.2
    first = asyncio.create_task(call(way, authority.arguments()))
    second = asyncio.create_task(sent(way, authority.server, authority.arguments()))
    await asyncio.sleep(0.1)
    first.cancel()
    assert await second == "Bearer token-1"
    assert first.cancelled()
    assert authority.issued == 1


async def test_a_request_that_nobody_waits_for_ends() -> None:
    async with listener(drip_nothing) as silent, egress() as way, site(content) as server:
        waiting = asyncio.create_task(
            call(way, endpoint(server, oauth2={"authority": silent.url, **CREDENTIALS}))
        )
        await asyncio.wait_for(silent.connected.wait(), 5)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await silent.until_closed()


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_token_is_renewed_30_seconds_before_it_expires() -> None:
    clock, made = Clock(), 0
    cache = TokenCache(clock)

    async def request() -> Token:
        nonlocal made
        made += 1
        return Token(f"token-{made}", 100)

    assert (await cache.get(b"k", request)).value == "token-1"
    clock.now += 69.9
    assert (await cache.get(b"k", request)).value == "token-1"
    clock.now += 0.1
    assert (await cache.get(b"k", request)).value == "token-2"


async def test_the_token_that_was_not_used_for_longest_goes_first() -> None:
    cache, made = TokenCache(Clock()), 0

    async def request() -> Token:
        nonlocal made
        made += 1
        return Token(f"token-{made}", 3600)

    for number in range(CAPACITY):
        await cache.get(str(number).encode(), request)
    await cache.get(b"0", request)
    await cache.get(b"new", request)
    assert made == CAPACITY + 1
    await cache.get(b"0", request)
    assert made == CAPACITY + 1
    await cache.get(b"1", request)
    assert made == CAPACITY + 2


async def test_a_token_that_took_the_place_of_a_refused_one_stays() -> None:
    cache = TokenCache(Clock())

    async def request() -> Token:
        return Token("new", 3600)

    await cache.get(b"k", request)
    cache.drop(b"k", "old")
    cache.drop(b"other", "old")

    async def never() -> Token:
        raise AssertionError

    assert (await cache.get(b"k", never)).value == "new"
