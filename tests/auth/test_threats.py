"""The table of threats, row by row: what RFC 9700 and its relatives ask of a server that people trust with their logins."""

import asyncio
import base64
import hashlib
import hmac
import importlib
import json
import re
import socket
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import asyncpg
import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from auth import keys, throttle
from auth.authorization import RequestRefused, declined
from auth.bearer import TOKEN_BYTES, hash_of
from auth.clients import create_client, delete_client
from auth.consents import allowed
from auth.grants import GRANTS
from auth.registration import Registration
from auth.scopes import MAESTRO
from tenancy.accounts import remove_member, suspend_user
from tenancy.errors import Conflict
from tenancy.postgres import connected
from tenancy.rows import transaction
from tests.auth.oauth import (
    CALLBACK,
    CHALLENGE,
    KEY,
    LOOPBACK,
    OTHER_KEY,
    VERIFIER,
    App,
    answered,
    basic,
    by_assertion,
    error_of,
    issuer,
    query_of,
    registered,
    signed,
    unknown_id,
)
from tests.auth.person import PASSWORD, page_of, person, token_of, told
from tests.tenancy.databases import superuser
from tests.world import World, bearer

MUST = {
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    10,
    11,
    12,
    14,
    15,
    16,
    17,
    18,
    19,
    25,
    26,
    27,
    28,
    29,
    30,
    31,
    33,
    34,
    35,
    36,
    37,
    38,
}
SHOULD = {9, 13}
DEFECTS = set(range(1, 27))  # of the library, as it comes
MATCHING = ("test_assertions", "test_authorization", "test_endpoints", "test_grants", "test_threats")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def numbers(kind: str) -> set[int]:
    """The numbers of everything of a kind that has a test."""
    names = [name for one in MATCHING for name in vars(importlib.import_module(f"tests.auth.{one}"))]
    return {int(found[1]) for name in names if (found := re.match(rf"test_{kind}_(\d\d)_", name))}


def test_every_row_and_every_defect_has_a_test() -> None:
    assert numbers("row") >= MUST | SHOULD
    assert numbers("defect") == DEFECTS


async def works(client: httpx.AsyncClient, world: World, tokens: Mapping[str, Any]) -> bool:
    """Whether an access token opens the first account."""
    answer = await client.get(f"{world.acme.url}/workflows", headers=bearer(tokens["access_token"]))
    assert answer.status_code in (200, 401)
    return answer.status_code == 200


@pytest.mark.parametrize(
    "asked",
    ["", CALLBACK + "/", CALLBACK + "?a=b", CALLBACK + "#a", CALLBACK + "\n", CALLBACK + "/../callback", "https://app.example/Callback", "https://APP.example/callback", "https://app.example:443/callback", "https://app.example./callback", "https://app.example%2ecallback", "https://app.example.evil.example/callback", "https://evil.example/callback", "https://x@app.example/callback", "http://app.example/callback", "//app.example/callback", "/callback", "https:app.example/callback", "javascript:alert(1)", "data:text/html,x"],
)  # fmt: skip
async def test_row_01_redirect_uris_match_to_the_letter(world: World, asked: str) -> None:
    for kind in ("confidential", "public"):
        app = await registered(world.acme.id, kind)
        with pytest.raises(RequestRefused):
            await app.examined(redirect_uri=asked)
        assert (await app.examined()).redirect_uri == CALLBACK


async def test_row_01_only_the_port_of_a_loopback_address_is_free(world: World) -> None:
    app = await registered(world.acme.id, "public", redirect_uris=(LOOPBACK, "http://localhost/callback"))
    await app.examined(redirect_uri="http://127.0.0.1:4711/callback")
    for asked in (
        "http://localhost:4711/callback",
        "http://127.0.0.1:4711/",
        "http://127.0.0.2:4711/callback",
    ):
        with pytest.raises(RequestRefused):
            await app.examined(redirect_uri=asked)


UNREGISTERED: list[dict[str, str | None]] = [
    {"client_id": "00000000-0000-0000-0000-000000000000"},
    {"client_id": None},
    {"redirect_uri": "https://evil.example/callback"},
    {"redirect_uri": None},
    {"redirect_uri": "https://evil.example/", "response_type": "token"},
    {"redirect_uri": '"><script>alert(1)</script>', "scope": '"'},
]


@pytest.mark.parametrize("changed", UNREGISTERED)
async def test_row_02_nobody_is_sent_to_an_address_that_is_not_registered(
    world: World, changed: dict[str, str | None]
) -> None:
    app = await registered(world.acme.id)
    with pytest.raises(RequestRefused) as caught:
        await app.examined(**changed)
    assert not any(value and value in caught.value.reason for value in changed.values())


@pytest.mark.parametrize("changed", UNREGISTERED)
async def test_row_02_error_is_on_a_page_that_shows_nothing_of_the_request(
    client: httpx.AsyncClient, world: World, changed: dict[str, str | None]
) -> None:
    app = await registered(world.acme.id)
    answer = await client.get("/oauth/auth", params=app.parameters(**changed))
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert answer.headers["content-type"].startswith("text/html")
    assert not any(value and len(value) > 1 and value in answer.text for value in changed.values())


async def test_row_03_public_clients_need_pkce_and_others_may_have_it(
    client: httpx.AsyncClient, world: World
) -> None:
    public, confidential = await registered(world.acme.id, "public"), await registered(world.acme.id)
    without = {"code_challenge": None, "code_challenge_method": None}
    assert (await public.sent_back(**without))["error"] == "invalid_request"
    answered(await public.exchange(client, await public.code(world.acme.admin_id)))
    answered(await confidential.exchange(client, await confidential.code(world.acme.admin_id)))
    code = await confidential.code(world.acme.admin_id, **without)
    answered(await confidential.exchange(client, code, code_verifier=None))


async def test_row_04_only_s256(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id, "public")
    for method in ("plain", None, "S512"):
        refused = await app.sent_back(code_challenge=VERIFIER, code_challenge_method=method)
        assert refused["error"] == "invalid_request"
    # A challenge that is sent back as if it were the verifier, as `plain` would have it.
    code = await app.code(world.acme.admin_id)
    assert error_of(await app.exchange(client, code, code_verifier=CHALLENGE)) == "invalid_grant"
    told = answered(await client.get("/.well-known/openid-configuration"))
    assert told["code_challenge_methods_supported"] == ["S256"]


async def test_row_05_pkce_downgrade_is_refused_both_ways(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    with_challenge = await app.code(world.acme.admin_id)
    without = await app.code(world.acme.admin_id, code_challenge=None, code_challenge_method=None)
    refused = await app.exchange(client, with_challenge, code_verifier=None)
    assert error_of(refused) in ("invalid_grant", "invalid_request")
    refused = await app.exchange(client, without, code_verifier=VERIFIER)
    assert error_of(refused) in ("invalid_grant", "invalid_request")
    answered(await app.exchange(client, with_challenge))
    answered(await app.exchange(client, without, code_verifier=None))


async def test_row_06_code_is_for_one_client_one_minute_one_challenge_and_one_address(
    client: httpx.AsyncClient, world: World, owner: asyncpg.Connection
) -> None:
    second = "https://app.example/second"
    app = await registered(world.acme.id, redirect_uris=(CALLBACK, second))
    thief = await registered(world.acme.id, redirect_uris=(CALLBACK, second))
    code = await app.code(world.acme.admin_id)
    life = "SELECT extract(epoch FROM expires_at - now()) FROM authorization_code"
    assert 0 < await owner.fetchval(life) <= 60
    for refused in (
        await thief.exchange(client, code),
        await app.exchange(client, code, redirect_uri=second),
        await app.exchange(client, code, code_verifier="b" * 43),
    ):
        assert error_of(refused) == "invalid_grant"
    answered(await app.exchange(client, code, redirect_uri=CALLBACK))
    code = await app.code(world.acme.admin_id)
    await owner.execute("UPDATE authorization_code SET expires_at = now() WHERE used_at IS NULL")
    assert error_of(await app.exchange(client, code)) == "invalid_grant"


async def test_row_07_replayed_code_revokes_everything_that_it_gave(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id)
    other = await app.logged_in(client, world.acme.admin_id)
    code = await app.code(world.acme.admin_id)
    first = answered(await app.exchange(client, code))
    second = answered(await app.refresh(client, first["refresh_token"]))
    assert await works(client, world, second)
    assert error_of(await app.exchange(client, code)) == "invalid_grant"
    for tokens in (first, second):
        assert not await works(client, world, tokens)
        assert error_of(await app.refresh(client, tokens["refresh_token"])) == "invalid_grant"
    assert await works(client, world, other)


async def test_row_07_replay_that_proves_nothing_changes_nothing(
    client: httpx.AsyncClient, world: World
) -> None:
    app, thief = await registered(world.acme.id), await registered(world.acme.id)
    code = await app.code(world.acme.admin_id)
    tokens = answered(await app.exchange(client, code))
    wrong = httpx.BasicAuth(str(app.id), "wrong")
    fields = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
    for refused in (
        await app.exchange(client, code, code_verifier="b" * 43),
        await app.exchange(client, code, code_verifier=None),
        await app.exchange(client, code, redirect_uri="https://app.example/other"),
        await thief.exchange(client, code),
        await client.post("/oauth/token", data=fields, auth=wrong),
        await client.post("/oauth/token", data=fields | {"client_id": str(app.id)}),
    ):
        assert error_of(refused) in ("invalid_grant", "invalid_request", "invalid_client")
    assert await works(client, world, tokens)
    answered(await app.refresh(client, tokens["refresh_token"]))


@pytest.mark.parametrize("kind", ["confidential", "public"])
async def test_row_08_replayed_refresh_token_revokes_its_family(
    client: httpx.AsyncClient, world: World, kind: str
) -> None:
    app = await registered(world.acme.id, kind)
    first = await app.logged_in(client, world.acme.admin_id)
    second = answered(await app.refresh(client, first["refresh_token"]))
    third = answered(await app.refresh(client, second["refresh_token"]))
    assert len({tokens["refresh_token"] for tokens in (first, second, third)}) == 3
    assert error_of(await app.refresh(client, first["refresh_token"])) == "invalid_grant"
    for tokens in (first, second, third):
        assert not await works(client, world, tokens)
    assert error_of(await app.refresh(client, third["refresh_token"])) == "invalid_grant"


async def test_row_09_lost_answer_is_forgiven_once_soon_and_to_the_same_client(
    client: httpx.AsyncClient, world: World, owner: asyncpg.Connection
) -> None:
    app, thief = await registered(world.acme.id), await registered(world.acme.id)
    first = (await app.logged_in(client, world.acme.admin_id))["refresh_token"]
    lost = answered(await app.refresh(client, first))
    earlier = "UPDATE refresh_token SET used_at = used_at - interval '20 seconds' WHERE token_hash = $1"
    await owner.execute(earlier, hash_of(first))
    assert error_of(await thief.refresh(client, first)) == "invalid_grant"
    retried = answered(await app.refresh(client, first))
    assert await works(client, world, retried)
    assert await app.introspect(client, lost["refresh_token"]) == {"active": False}
    assert error_of(await app.refresh(client, first)) == "invalid_grant"
    assert not await works(client, world, retried)


async def test_row_10_one_of_many_exchanges_at_once_succeeds_and_is_then_revoked(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id)
    code = await app.code(world.acme.admin_id)
    token = (await app.logged_in(client, world.acme.admin_id))["refresh_token"]
    for attempts in (
        [app.exchange(client, code) for _ in range(20)],
        [app.refresh(client, token) for _ in range(20)],
    ):
        answers = await asyncio.gather(*attempts)
        won = [answer.json() for answer in answers if answer.status_code == 200]
        assert len(won) == 1
        assert {answer.json()["error"] for answer in answers if answer.status_code != 200} <= {
            "invalid_grant",
            "slow_down",
        }
        assert not await works(client, world, won[0])
        assert await app.introspect(client, won[0]["refresh_token"]) == {"active": False}


async def test_row_11_no_password_grant_and_nothing_implicit(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    fields = {"grant_type": "password", "username": "admin@acme.example", "password": PASSWORD}
    assert error_of(await app.token(client, fields)) == "unsupported_grant_type"
    for response_type in ("token", "id_token", "id_token token", "code token", "code id_token", "none"):
        refused = await app.sent_back(response_type=response_type)
        assert refused["error"] == "unsupported_response_type"
    told = answered(await client.get("/.well-known/openid-configuration"))
    assert told["response_types_supported"] == ["code"]
    assert len(told["grant_types_supported"]) == len(GRANTS) == 4
    assert not {"password", "implicit"} & set(told["grant_types_supported"])


async def test_row_12_secret_in_header_or_body_but_in_one_way(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id, "machine", scopes=MAESTRO)
    fields = {"grant_type": "client_credentials"}
    in_body = {"client_id": str(app.id), "client_secret": app.secret or ""}
    answered(await client.post("/oauth/token", data=fields, headers=app.basic))
    answered(await client.post("/oauth/token", data=fields | in_body))
    both = await client.post("/oauth/token", data=fields | in_body, headers=app.basic)
    assert error_of(both) == "invalid_request"
    for wrong in ("wrong", "", (app.secret or "") + "x", (app.secret or "").upper()):
        refused = await client.post("/oauth/token", data=fields, headers=basic(str(app.id), wrong))
        assert error_of(refused) == "invalid_client"
        refused = await client.post("/oauth/token", data=fields | in_body | {"client_secret": wrong})
        assert error_of(refused) == "invalid_client"
    in_url = await client.post(f"/oauth/token?client_id={app.id}&client_secret={app.secret}", data=fields)
    assert error_of(in_url) == "invalid_client"


async def test_row_13_client_proves_itself_by_its_private_key(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id)
    code = await app.code(world.acme.admin_id)
    fields = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
    assert error_of(await client.post("/oauth/token", data=fields | app.proof(OTHER_KEY))) == "invalid_client"
    proof = app.proof()
    tokens = answered(await client.post("/oauth/token", data=fields | proof))
    fields = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    assert error_of(await client.post("/oauth/token", data=fields | proof)) == "invalid_client"
    answered(await client.post("/oauth/token", data=fields | app.proof()))


async def test_row_14_assertion_is_complete_short_lived_and_counts_once_if_it_says_so(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id)
    await app.allowed_by(world.acme.admin_id)
    for name in ("iss", "sub", "aud", "iat", "exp"):
        assertion = app.assertion(world.acme.admin_id, **{name: None})  # type: ignore[arg-type] # claims
        assert error_of(await by_assertion(client, assertion)) == "invalid_grant"
    now = int(time.time())
    long = app.assertion(world.acme.admin_id, exp=now + 7200)
    assert error_of(await by_assertion(client, long)) == "invalid_grant"
    early = app.assertion(world.acme.admin_id, iat=now + 50, nbf=now + 50, exp=now + 100)
    answered(await by_assertion(client, early))
    named = app.assertion(world.acme.admin_id, jti="once")
    answered(await by_assertion(client, named))
    assert error_of(await by_assertion(client, named)) == "invalid_grant"
    unnamed = app.assertion(world.acme.admin_id)
    for _ in range(3):
        answered(await by_assertion(client, unnamed))


async def test_row_15_issuer_is_in_every_answer(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    assert query_of(await app.approved(world.acme.admin_id))["iss"] == issuer().url
    assert query_of(declined(issuer(), await app.examined(), "access_denied"))["iss"] == issuer().url
    for changed in ({"scope": "nonsense"}, {"response_type": "token"}, {"code_challenge_method": "plain"}):
        assert (await app.sent_back(**changed))["iss"] == issuer().url
    told = answered(await client.get("/.well-known/oauth-authorization-server"))
    assert told["authorization_response_iss_parameter_supported"] is True
    assert told["issuer"] == issuer().url


async def test_row_16_metadata_and_keys_are_published(client: httpx.AsyncClient, world: World) -> None:
    told = answered(await client.get("/.well-known/openid-configuration"))
    assert answered(await client.get("/.well-known/oauth-authorization-server")) == told
    for name in ("authorization", "token", "userinfo", "revocation", "introspection", "end_session"):
        assert told[f"{name}_endpoint"].startswith(f"{issuer().url}/oauth/")
    assert answered(await client.get(told["jwks_uri"].removeprefix(issuer().url)))["keys"]


async def test_row_17_client_revokes_what_is_its_own(client: httpx.AsyncClient, world: World) -> None:
    app, other = await registered(world.acme.id), await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id)
    assert (await other.revoke(client, tokens["refresh_token"])).status_code == 200
    assert (await app.revoke(client, "nonsense")).status_code == 200
    assert await works(client, world, tokens)
    hinted = await app.revoke(client, tokens["refresh_token"], token_type_hint="nonsense")
    assert hinted.status_code == 200
    assert not await works(client, world, tokens)


async def test_row_18_client_is_told_of_nothing_but_its_own(client: httpx.AsyncClient, world: World) -> None:
    app, other = await registered(world.acme.id), await registered(world.globex.id)
    token = (await app.logged_in(client, world.acme.admin_id))["access_token"]
    assert (await app.introspect(client, token))["active"]
    for foreign in (token, world.acme.admin, "nonsense"):
        assert await other.introspect(client, foreign) == {"active": False}
    for headers in ({}, basic(str(app.id), "wrong"), bearer(token)):
        answer = await client.post("/oauth/introspect", data={"token": token}, headers=headers)
        assert error_of(answer, 401) == "invalid_client"


async def test_row_19_tokens_are_for_this_api_and_id_tokens_for_the_client(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id)
    assert (await app.introspect(client, tokens["access_token"]))["aud"] == issuer().url
    published = KeySet.import_key_set((await client.get("/oauth/jwks")).json())
    assert jwt.decode(tokens["id_token"], published, algorithms=["RS256"]).claims["aud"] == str(app.id)
    assert not await works(client, world, {"access_token": tokens["id_token"]})
    # An assertion that was made for somebody else is not for us.
    await app.allowed_by(world.acme.admin_id)
    elsewhere = app.assertion(world.acme.admin_id, aud="https://elsewhere.example")
    assert error_of(await by_assertion(client, elsewhere)) == "invalid_grant"


def part(value: Any) -> str:
    """One part of a JWT."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


async def test_row_25_algorithm_is_the_keys_and_never_the_headers(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id)
    await app.allowed_by(world.acme.admin_id)
    assertion = app.assertion(world.acme.admin_id)
    proof = app.proof()["client_assertion"]
    public = KEY.as_pem(private=False)
    for genuine in (assertion, proof):
        _, payload, signature = genuine.split(".")
        text = f"{part({'alg': 'HS256'})}.{payload}"
        mac = base64.urlsafe_b64encode(hmac.digest(public, text.encode(), "sha256")).decode().rstrip("=")
        for forged in (
            f"{part({'alg': 'none'})}.{payload}.",
            f"{part({'alg': 'none'})}.{payload}.{signature}",
            f"{part({'alg': 'RS512'})}.{payload}.{signature}",
            f"{text}.{mac}",
        ):
            assert error_of(await by_assertion(client, forged)) == "invalid_grant"
            fields = app.proof() | {"client_assertion": forged, "token": "x"}
            refused = await client.post("/oauth/introspect", data=fields)
            assert error_of(refused, 401) == "invalid_client"
    answered(await by_assertion(client, assertion))


async def test_row_26_keys_that_a_header_brings_or_names_are_not_looked_at(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id)
    await app.allowed_by(world.acme.admin_id)
    asked: list[str] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append("somebody fetched a key")
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", family=socket.AF_INET)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
    async with server:
        for header in ({"jwk": OTHER_KEY.as_dict(private=False)}, {"jku": url}, {"x5u": url}):
            forged = app.assertion(world.acme.admin_id, OTHER_KEY, header)
            assert error_of(await by_assertion(client, forged)) == "invalid_grant"
            fields = app.proof(OTHER_KEY, header) | {"token": "x"}
            refused = await client.post("/oauth/introspect", data=fields)
            assert error_of(refused, 401) == "invalid_client"
    assert not asked
    for kid in ("../../../../dev/null", "' OR 1=1 --", "", unknown_id()):
        answered(await by_assertion(client, app.assertion(world.acme.admin_id, header={"kid": kid})))
        forged = app.assertion(world.acme.admin_id, OTHER_KEY, {"kid": kid})
        assert error_of(await by_assertion(client, forged)) == "invalid_grant"


async def test_row_27_keys_rotate_without_a_verification_that_fails(
    client: httpx.AsyncClient, world: World, owner: asyncpg.Connection
) -> None:
    app = await registered(world.acme.id)

    async def id_token() -> str:
        token: str = (await app.logged_in(client, world.acme.admin_id))["id_token"]
        return token

    async def published() -> KeySet:
        return KeySet.import_key_set((await client.get("/oauth/jwks")).json())

    issued, cached = [await id_token()], await published()
    for _ in range(3):
        await owner.execute("UPDATE signing_key SET published_at = published_at - interval '10 minutes'")
        await keys.rotate()
        issued.append(await id_token())
        # Whoever kept the set from before the rotation knows the new key; whoever fetches it now, the old one.
        jwt.decode(issued[-1], cached, algorithms=["RS256"])
        cached = await published()
        for token in issued[-2:]:
            jwt.decode(token, cached, algorithms=["RS256"])
    kids = {json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))["kid"] for token in issued}
    assert len(kids) == 4


async def test_row_28_client_secrets_are_long_and_kept_as_hashes(
    world: World, owner: asyncpg.Connection
) -> None:
    app = await registered(world.acme.id)
    assert app.secret is not None
    assert len(base64.urlsafe_b64decode(app.secret + "=" * (-len(app.secret) % 4))) == TOKEN_BYTES == 32
    assert not set(app.secret) & set("%:+")
    stored = await owner.fetchval("SELECT secret_hash FROM client WHERE id = $1", app.id)
    assert stored == hashlib.sha256(app.secret.encode()).digest()


async def test_row_29_nothing_that_proves_anything_is_kept(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    await app.allowed_by(world.acme.admin_id)
    unused, code = await app.code(world.acme.admin_id), await app.code(world.acme.admin_id)
    tokens = answered(await app.exchange(client, code))
    assertion = app.assertion(world.acme.admin_id)
    more = answered(await by_assertion(client, assertion))
    proofs = [unused, code, tokens["access_token"], tokens["refresh_token"], more["access_token"], app.secret]
    proofs += [assertion, world.acme.admin, world.acme.machine]
    async with connected(superuser()) as connection:
        tables = await connection.fetch("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
        kept = ""
        for table in tables:
            rows = await connection.fetch(f'SELECT kept::text FROM "{table["name"]}" AS kept')
            kept += "\n".join(row["kept"] for row in rows)
    for proof in proofs:
        assert proof
        assert proof not in kept
        assert proof.encode().hex() not in kept
        assert hash_of(proof).hex() in kept


async def test_row_30_secrets_are_compared_in_constant_time(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, keyless = await registered(world.acme.id), await registered(world.acme.id, "public")
    compared: list[tuple[bytes, bytes]] = []
    genuine = hmac.compare_digest

    def noted(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return genuine(one, other)

    monkeypatch.setattr(hmac, "compare_digest", noted)
    words = set()
    for name in (str(app.id), unknown_id(), str(keyless.id), "nonsense"):
        fields = {"grant_type": "client_credentials", "client_id": name, "client_secret": "wrong"}
        answer = await client.post("/oauth/token", data=fields)
        assert error_of(answer) == "invalid_client"
        words.add(answer.json()["error_description"])
    # Hashes are compared, of one length; whether it was the name or the secret that was wrong is not told.
    assert len(words) == 1
    assert compared
    assert {len(one) for pair in compared for one in pair} == {32}


async def test_row_31_guesses_are_slowed_down_and_the_client_itself_is_not(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id, "machine", scopes=MAESTRO)
    fields = {"grant_type": "client_credentials"}
    # Twice as many: a window may end meanwhile.
    guesses = 2 * throttle.MOST_OF_CLIENT + 2
    answers = [
        await client.post("/oauth/token", data=fields, headers=basic(str(app.id), "wrong"))
        for _ in range(guesses)
    ]
    assert error_of(answers[0]) == "invalid_client"
    slowed = [answer for answer in answers if answer.status_code != 400]
    assert slowed
    for answer in slowed:
        assert error_of(answer, 429) == "slow_down"
        assert 1 <= int(answer.headers["retry-after"]) <= throttle.TOKEN_WINDOW
    answered(await app.token(client, fields))


@pytest.mark.parametrize(
    ("issued", "expires", "holds"),
    [(-100, -50, True), (-100, -65, False), (50, 100, True), (65, 100, False)],
)
async def test_row_32_clocks_differ_by_a_minute_at_most(
    client: httpx.AsyncClient, world: World, issued: int, expires: int, *, holds: bool
) -> None:
    app = await registered(world.acme.id)
    await app.allowed_by(world.acme.admin_id)
    now = int(time.time())
    times = {"iat": now + issued, "nbf": now + issued, "exp": now + expires}
    claims: dict[str, Any] = {"iss": str(app.id), "sub": str(world.acme.admin_id), "aud": issuer().url}
    answer = await by_assertion(client, signed(claims | times | {"scope": "signature"}))
    assert (answer.status_code == 200) is holds


async def test_row_33_consent_is_per_user_client_and_scope(client: httpx.AsyncClient, world: World) -> None:
    app, other = await registered(world.acme.id), await registered(world.acme.id)
    await app.allowed_by(world.acme.admin_id)

    async def asked_again(one: App, user: Any, *scopes: str) -> bool:
        async with transaction():
            return await allowed(one.id, user, scopes) is None

    assert not await asked_again(app, world.acme.admin_id, "signature")
    assert not await asked_again(app, world.acme.admin_id, *MAESTRO, "impersonation")
    assert await asked_again(app, world.acme.admin_id, *MAESTRO, "extended")
    assert await asked_again(app, world.acme.member_id, "signature")
    assert await asked_again(other, world.acme.admin_id, "signature")
    for one, user in ((app, world.acme.member_id), (other, world.acme.admin_id)):
        assert error_of(await by_assertion(client, one.assertion(user))) == "consent_required"
    wider = app.assertion(world.acme.admin_id, scope="signature extended")
    assert error_of(await by_assertion(client, wider)) == "consent_required"
    answered(await by_assertion(client, app.assertion(world.acme.admin_id)))


async def test_row_33_person_is_asked_again_for_more_and_not_for_the_same(world: World) -> None:
    ada, app = await person(world.acme.admin_id, "admin@acme.example"), await registered(world.acme.id)
    assert "code" in await ada.allows(app, scope="openid signature")
    for scope in ("openid signature", "signature"):
        assert "code" in told(await ada.asks(app, scope=scope), app)
    page = await ada.begins(app, scope="openid extended")
    assert page_of(page) == "consent"
    assert told(await ada.sends(page, answer="deny"), app)["error"] == "access_denied"
    assert page_of(await ada.begins(app, scope="openid extended")) == "consent"
    assert page_of(await ada.begins(await registered(world.acme.id))) == "consent"


async def test_row_34_pages_cannot_be_framed_kept_or_leak_where_they_were(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id)
    good = await client.get("/oauth/auth", params=app.parameters(), follow_redirects=True)
    assert good.status_code == 200
    bad = await client.get("/oauth/auth", params=app.parameters(client_id=unknown_id()))
    assert bad.status_code == 400
    for page in (good, bad):
        assert page.headers["content-type"].startswith("text/html")
        policy = page.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert page.headers["referrer-policy"] == "no-referrer"
        assert "no-store" in page.headers["cache-control"]


async def test_row_34_form_without_its_token_or_from_elsewhere_logs_nobody_in(world: World) -> None:
    ada, app = await person(world.acme.admin_id, "admin@acme.example"), await registered(world.acme.id)
    page = await ada.begins(app)
    typed = {"email": ada.email, "password": PASSWORD}
    genuine = {"form_token": token_of(page)}
    for fields, headers in (
        ({}, ada.ours),
        ({"form_token": token_of(page)[::-1]}, ada.ours),
        (genuine, {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}),
        (genuine, {"Origin": "https://evil.example"}),
    ):
        answer = await ada.http.post(page.request.url, data=typed | fields, headers=headers)
        assert answer.status_code in (400, 403)
        assert "location" not in answer.headers
        assert page_of(await ada.begins(app)) == "login"
    assert page_of(await ada.follows(await ada.logs_in(page))) == "consent"


async def test_defect_24_prompts_and_ages_are_kept_by_the_pages(
    world: World, owner: asyncpg.Connection
) -> None:
    ada, app = await person(world.acme.admin_id, "admin@acme.example"), await registered(world.acme.id)
    assert told(await ada.asks(app, prompt="none"), app)["error"] == "login_required"
    await ada.reaches(app, "consent")
    assert told(await ada.asks(app, prompt="none"), app)["error"] == "consent_required"
    assert "code" in await ada.allows(app)
    assert "code" in told(await ada.asks(app, prompt="none"), app)
    assert page_of(await ada.begins(app, prompt="consent")) == "consent"
    # Asked for once, and then it is done.
    assert page_of(await ada.begins(app, prompt="login")) == "login"
    assert "code" in await ada.allows(app, prompt="login")
    await owner.execute("UPDATE login_session SET auth_time = auth_time - interval '1 hour'")
    assert "code" in told(await ada.asks(app, max_age="10000"), app)
    assert page_of(await ada.begins(app, max_age="1")) == "login"


async def test_defect_26_posted_credentials_are_not_posted_on(world: World) -> None:
    ada, app = await person(world.acme.admin_id, "admin@acme.example"), await registered(world.acme.id)
    answer = await ada.logs_in(await ada.begins(app))
    assert answer.status_code == 303
    answer = await ada.sends(await ada.follows(answer), answer="allow")
    assert answer.status_code == 303
    assert "code" in told(answer, app)


@pytest.mark.parametrize("change", ["the user is suspended", "the membership ends", "the client is deleted"])
async def test_row_35_who_may_no_longer_act_is_refused_at_once(
    client: httpx.AsyncClient, world: World, change: str
) -> None:
    app = await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id)
    if change == "the user is suspended":
        await suspend_user(str(world.acme.admin_id))
    elif change == "the membership ends":
        await remove_member(str(world.acme.admin_id), world.acme.id, even_the_last=True)
    else:
        await delete_client(world.acme.id, app.id)
    headers = bearer(tokens["access_token"])
    assert (await client.get(f"{world.acme.url}/workflows", headers=headers)).status_code in (401, 404)
    assert (await client.get("/oauth/userinfo", headers=headers)).status_code == 401
    refused = await app.refresh(client, tokens["refresh_token"])
    assert error_of(refused) in ("invalid_grant", "invalid_client")


GARBAGE = [b"", b"&", b"=", b"%", b"%zz=1", b"\x00", b"\xff" * 9, b"grant_type", b"grant_type=%00", b"grant_type=a&grant_type=b", b"grant_type=refresh_token&refresh_token=%ff", b"grant_type=authorization_code&code=%ed%a0%80", b"a=1;grant_type=password", b"{}", b"x" * 66_000]  # fmt: skip


@pytest.mark.parametrize("body", GARBAGE)
async def test_row_36_garbage_is_the_callers_mistake(
    client: httpx.AsyncClient, world: World, body: bytes
) -> None:
    app = await registered(world.acme.id)
    for path in ("/oauth/token", "/oauth/revoke", "/oauth/introspect"):
        answer = await client.post(path, content=body, headers=FORM | app.basic)
        assert error_of(answer) == "invalid_request"


@pytest.mark.parametrize("body", GARBAGE)
async def test_row_36_garbage_is_the_callers_mistake_on_the_pages_too(
    client: httpx.AsyncClient, world: World, body: bytes
) -> None:
    query = quote(body[:2000], safe="&=%;")
    for answer in (
        await client.get(f"/oauth/auth?{query}"),
        await client.get(f"/oauth/auth?client_id={query}"),
        await client.post("/oauth/auth", content=body, headers=FORM),
    ):
        assert answer.status_code == 400
        assert "location" not in answer.headers


async def test_row_36_parameters_are_in_the_body_and_once(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id, "machine", scopes=MAESTRO)
    in_url = await client.post("/oauth/token?grant_type=client_credentials", headers=FORM | app.basic)
    assert error_of(in_url) == "invalid_request"
    twice = "grant_type=client_credentials&scope=signature&scope=aow_manage"
    answer = await client.post("/oauth/token", content=twice, headers=FORM | app.basic)
    assert error_of(answer) == "invalid_request"


async def test_row_36_repeated_parameter_sends_nobody_anywhere(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id)
    for again in ("state", "redirect_uri", "client_id"):
        query = urlencode([*app.parameters().items(), (again, app.parameters()[again])])
        answer = await client.get(f"/oauth/auth?{query}")
        assert answer.status_code == 400
        assert "location" not in answer.headers


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/userinfo"])
async def test_row_37_scripts_of_registered_pages_alone_read_answers(
    client: httpx.AsyncClient, world: World, path: str
) -> None:
    await registered(world.acme.id, "public")
    for origin, reads in (("https://app.example", True), ("https://evil.example", False)):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        for answer in (
            await client.post(path, data={}, headers={"Origin": origin}),
            await client.options(path, headers=asked),
        ):
            assert answer.headers.get("access-control-allow-origin") == (origin if reads else None)
    assert (await client.get("/oauth/jwks")).headers["access-control-allow-origin"] == "*"


async def test_row_37_authorization_endpoint_is_for_no_script(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id, "public")
    origin = {"Origin": "https://app.example"}
    for answer in (
        await client.get("/oauth/auth", params=app.parameters(), headers=origin),
        await client.post("/oauth/auth", data=app.parameters(), headers=origin),
        await client.options("/oauth/auth", headers=origin | {"Access-Control-Request-Method": "GET"}),
        await client.get("/oauth/auth", params={}, headers=origin),
    ):
        assert "access-control-allow-origin" not in answer.headers


async def test_row_38_no_client_is_a_user(client: httpx.AsyncClient, world: World) -> None:
    wanted = Registration(account_id=world.acme.id, kind="machine", name="Mallory", scopes=MAESTRO)
    with pytest.raises(Conflict):
        await create_client(wanted, world.acme.admin_id)
    chosen = uuid4()
    _, secret = await create_client(wanted, chosen)
    machine = App(id=chosen, secret=secret, account_id=world.acme.id)
    token = answered(await machine.token(client, {"grant_type": "client_credentials"}))["access_token"]
    assert (await client.get("/oauth/userinfo", headers=bearer(token))).status_code == 403
    app = await registered(world.acme.id)
    for subject in (app.id, machine.id):
        assert error_of(await by_assertion(client, app.assertion(subject))) == "invalid_grant"
