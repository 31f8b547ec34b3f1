"""JWTs by which clients prove themselves and speak for users: whose, for whom, and how long."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Any

import asyncpg
import httpx
import pytest
from joserfc.jwk import RSAKey

from auth.consents import allowed, remember_for_account
from auth.registered import JWT_BEARER
from auth.scopes import MAESTRO
from tenancy.accounts import add_user, remove_member
from tenancy.rows import transaction
from tests.auth.oauth import (
    IMPERSONATED,
    KEY,
    OTHER_KEY,
    App,
    answered,
    by_assertion,
    error_of,
    issuer,
    registered,
    signed,
    unknown_id,
)
from tests.world import World, bearer


def encoded(part: Any) -> str:
    """One part of a JWT, as it may never come from a library."""
    text = part if isinstance(part, str) else json.dumps(part)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def pem(key: RSAKey) -> str:
    """The public half of a key, as clients register it."""
    return key.as_pem(private=False).decode()


async def refusal(client: httpx.AsyncClient, assertion: str, **changed: str) -> tuple[str, str]:
    """How an assertion is refused: the error, and the first word of what it says."""
    answer = await by_assertion(client, assertion, **changed)
    return error_of(answer), answer.json()["error_description"].partition(":")[0]


@pytest.fixture
async def app(world: World) -> App:
    """A client that the first account's administrator allowed to speak for them."""
    made = await registered(world.acme.id)
    await made.allowed_by(world.acme.admin_id)
    return made


async def test_token_of_an_assertion_is_the_users(client: httpx.AsyncClient, world: World, app: App) -> None:
    tokens = answered(await by_assertion(client, app.assertion(world.acme.admin_id)))
    assert set(tokens) == {"access_token", "token_type", "expires_in", "scope"}
    assert tokens["scope"] == "signature aow_manage"
    headers = bearer(tokens["access_token"])
    info = answered(await client.get("/oauth/userinfo", headers=headers))
    assert info["sub"] == str(world.acme.admin_id)
    for tenant, status in ((world.acme, 200), (world.globex, 404)):
        assert (await client.get(f"{tenant.url}/workflows", headers=headers)).status_code == status


async def test_audience_is_this_server_under_any_of_its_names(
    client: httpx.AsyncClient, world: World, app: App
) -> None:
    own = issuer()
    for audience in (
        own.url,
        f"{own.url}/",
        own.at("/oauth/token"),
        "127.0.0.1:8000",
        "account.docusign.com",
    ):
        for named in (audience, ["https://elsewhere.example", audience]):
            answered(await by_assertion(client, app.assertion(world.acme.admin_id, aud=named)))


@pytest.mark.parametrize(
    "audience",
    [None, "", "elsewhere.example", ["elsewhere.example"], [], [["127.0.0.1:8000"]], 5, {"127.0.0.1:8000": 1}, "127.0.0.1:8000.evil.example"],
)  # fmt: skip
async def test_assertion_for_another_server_is_refused(
    client: httpx.AsyncClient, world: World, app: App, audience: Any
) -> None:
    refused = await refusal(client, app.assertion(world.acme.admin_id, aud=audience))
    assert refused == ("invalid_grant", "issuer_not_found")


async def test_unknown_issuer_is_not_found(client: httpx.AsyncClient, world: World, app: App) -> None:
    machine = await registered(world.acme.id, "machine", public_keys=(pem(KEY),))
    for stranger in (unknown_id(), "nonsense", "", str(app.id).replace("-", "")):
        refused = await refusal(client, app.assertion(world.acme.admin_id, iss=stranger))
        assert refused == ("invalid_grant", "issuer_not_found")
    answer = await by_assertion(client, machine.assertion(world.acme.admin_id))
    assert error_of(answer) == "unauthorized_client"


async def test_key_of_another_is_no_key(client: httpx.AsyncClient, world: World, app: App) -> None:
    keyless = await registered(world.acme.id, public_keys=())
    for assertion in (
        app.assertion(world.acme.admin_id, OTHER_KEY),
        keyless.assertion(world.acme.admin_id),
        app.assertion(world.acme.admin_id)[:-4] + "AAAA",
    ):
        assert await refusal(client, assertion) == ("invalid_grant", "no_valid_keys_or_signatures")


async def test_users_whom_a_client_cannot_know_do_not_exist(
    client: httpx.AsyncClient, world: World, app: App
) -> None:
    for stranger in (world.globex.admin_id, unknown_id(), "ada@example.com", "\x00", "x" * 3000):
        refused = await refusal(client, app.assertion(stranger))
        assert refused == ("invalid_grant", "user_not_found")
    await app.allowed_by(world.globex.admin_id)
    answered(await by_assertion(client, app.assertion(world.globex.admin_id)))


async def test_member_who_left_is_unknown(client: httpx.AsyncClient, world: World, app: App) -> None:
    await remove_member(str(world.acme.admin_id), world.acme.id, even_the_last=True)
    assert (await refusal(client, app.assertion(world.acme.admin_id)))[1] == "user_not_found"


async def test_consent_covers_what_was_asked_and_no_more(
    client: httpx.AsyncClient, world: World, app: App
) -> None:
    more = app.assertion(world.acme.admin_id, scope="signature aow_manage extended")
    refused = await by_assertion(client, more)
    assert error_of(refused) == "consent_required"
    for way in ("/oauth/auth", "/integrations/{clientId}/consent", "tutti grant allow"):
        assert way in refused.json()["error_description"]
    await app.allowed_by(world.acme.admin_id, scopes=["extended"])
    answered(await by_assertion(client, more))
    await app.allowed_by(world.acme.member_id, scopes=MAESTRO)
    assert (await refusal(client, app.assertion(world.acme.member_id)))[0] == "consent_required"


async def test_administrators_consent_counts_for_members_in_that_account_alone(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id)
    await add_user("member@acme.example", "Acme Member", None, world.globex.id, "sender")
    async with transaction():
        await remember_for_account(app.id, world.globex.id, IMPERSONATED)
    tokens = answered(await by_assertion(client, app.assertion(world.acme.member_id)))
    headers = bearer(tokens["access_token"])
    for tenant, status in ((world.globex, 200), (world.acme, 404)):
        assert (await client.get(f"{tenant.url}/workflows", headers=headers)).status_code == status
    info = answered(await client.get("/oauth/userinfo", headers=headers))
    assert [account["account_id"] for account in info["accounts"]] == [str(world.globex.id)]
    # The other account's own members are still asked.
    assert (await refusal(client, app.assertion(world.acme.admin_id)))[0] == "consent_required"


async def test_users_own_consent_counts_before_the_administrators(world: World) -> None:
    app = await registered(world.acme.id)
    async with transaction():
        await remember_for_account(app.id, world.acme.id, IMPERSONATED)
        found = await allowed(app.id, world.acme.admin_id, MAESTRO)
        assert found is not None
        assert found.narrowed_to == world.acme.id
    await app.allowed_by(world.acme.admin_id)
    async with transaction():
        found = await allowed(app.id, world.acme.admin_id, MAESTRO)
        assert found is not None
        assert found.narrowed_to is None
        assert await allowed(app.id, world.globex.admin_id, MAESTRO) is None


async def test_scopes_stand_in_the_assertion_or_beside_it(
    client: httpx.AsyncClient, world: World, app: App
) -> None:
    bare = app.assertion(world.acme.admin_id, scope=None)
    assert answered(await by_assertion(client, bare, scope="signature"))["scope"] == "signature"
    both = app.assertion(world.acme.admin_id, scope="aow_manage")
    assert answered(await by_assertion(client, both, scope="signature"))["scope"] == "aow_manage"
    for scope in (None, "", "nonsense", ["signature"], 5):
        assertion = app.assertion(world.acme.admin_id, scope=scope)
        assert error_of(await by_assertion(client, assertion)) == "invalid_scope"
    modest = await registered(world.acme.id, scopes=("signature", "impersonation"))
    await modest.allowed_by(world.acme.admin_id)
    assertion = modest.assertion(world.acme.admin_id)
    assert error_of(await by_assertion(client, assertion)) == "invalid_scope"


async def test_clocks_may_differ_by_a_minute(client: httpx.AsyncClient, world: World, app: App) -> None:
    now = int(time.time())
    hold: list[dict[str, Any]] = [
        {"iat": now + 50, "nbf": now + 50, "exp": now + 3650},
        {"iat": now - 3600, "nbf": now - 3600, "exp": now - 50},
        {"iat": now - 0.5, "exp": now + 100.5},
    ]
    for changed in hold:
        answered(await by_assertion(client, app.assertion(world.acme.admin_id, **changed)))
    fail: list[tuple[dict[str, Any], str]] = [
        ({"exp": now - 70}, "expired_assertion"),
        ({"iat": now + 90}, "assertion_not_yet_valid"),
        ({"nbf": now + 90}, "assertion_not_yet_valid"),
    ]
    for changed, word in fail:
        assertion = app.assertion(world.acme.admin_id, **changed)
        assert await refusal(client, assertion) == ("invalid_grant", word)


async def test_machine_client_proves_itself_by_its_key(client: httpx.AsyncClient, world: World) -> None:
    machine = await registered(world.acme.id, "machine", scopes=MAESTRO, public_keys=(pem(KEY),))
    fields = {"grant_type": "client_credentials"}
    tokens = answered(await client.post("/oauth/token", data=fields | machine.proof()))
    fields["client_id"] = str(machine.id)
    answered(await client.post("/oauth/token", data=fields | machine.proof()))
    asked = {"token": tokens["access_token"]} | machine.proof()
    assert answered(await client.post("/oauth/introspect", data=asked))["active"]
    answered(await client.post("/oauth/revoke", data={"token": tokens["access_token"]} | machine.proof()))


@pytest.mark.parametrize(
    "changed",
    [
        {"jti": None},
        {"iss": "another"},
        {"sub": "another"},
        {"sub": None},
        {"iss": None},
        {"aud": "elsewhere.example"},
        {"exp": 1},
        {"exp": None},
        {"iat": None},
        {"key": OTHER_KEY},
    ],
)
async def test_client_that_does_not_prove_itself_gets_nothing(
    client: httpx.AsyncClient, world: World, changed: dict[str, Any]
) -> None:
    machine = await registered(world.acme.id, "machine", scopes=MAESTRO, public_keys=(pem(KEY),))
    fields = {"grant_type": "client_credentials"} | machine.proof(**changed)
    assert error_of(await client.post("/oauth/token", data=fields)) == "invalid_client"
    answer = await client.post("/oauth/introspect", data={"token": "x"} | machine.proof(**changed))
    assert error_of(answer, 401) == "invalid_client"


async def test_proof_names_its_kind_and_its_client(client: httpx.AsyncClient, world: World) -> None:
    machine = await registered(world.acme.id, "machine", scopes=MAESTRO, public_keys=(pem(KEY),))
    fields = {"grant_type": "client_credentials"}
    for changed in (
        {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
        {"client_assertion": "nonsense"},
        {"client_id": unknown_id()},
    ):
        answer = await client.post("/oauth/token", data=fields | machine.proof() | changed)
        assert error_of(answer) == "invalid_client"
    for name in ("client_assertion", "client_assertion_type"):
        proof = {key: value for key, value in machine.proof().items() if key != name}
        assert error_of(await client.post("/oauth/token", data=fields | proof)) == "invalid_client"


async def test_proof_counts_once_even_at_once(client: httpx.AsyncClient, world: World) -> None:
    machine = await registered(world.acme.id, "machine", scopes=MAESTRO, public_keys=(pem(KEY),))
    fields = {"grant_type": "client_credentials"} | machine.proof()
    answers = await asyncio.gather(*(client.post("/oauth/token", data=fields) for _ in range(10)))
    assert [answer.status_code for answer in answers].count(200) == 1


async def test_defect_03_deeply_nested_claims_are_refused(
    client: httpx.AsyncClient, world: World, app: App
) -> None:
    for depth in (100, 900, 1500, 2500):
        nested = "[" * depth + "]" * depth
        for payload in (nested, f'{{"iss": {nested}}}', f'{{"iss": "{app.id}", "x": {nested}}}'):
            assertion = f"{encoded({'alg': 'RS256'})}.{encoded(payload)}.AAAA"
            assert error_of(await by_assertion(client, assertion)) == "invalid_grant"
    assert (await refusal(client, "x" * 9000))[0] == "invalid_grant"
    for depth in (100, 500):
        jti: Any = "x"
        for _ in range(depth):
            jti = [jti]
        assertion = app.assertion(world.acme.admin_id, jti=jti)
        assert (await by_assertion(client, assertion)).status_code in (200, 400)


@pytest.mark.parametrize(
    "header",
    [["alg"], "alg", 5, None, {}, {"alg": 5}, {"alg": None}, {"alg": ["RS256"]}, {"alg": "RS256", "crit": 5}, {"alg": "RS256", "crit": ["x"]}, {"alg": "RS256", "b64": False}, {"alg": "RS256", "kid": {}}, "{", "[" * 3000],
)  # fmt: skip
async def test_defect_04_headers_that_are_none_are_refused(
    client: httpx.AsyncClient, world: World, app: App, header: Any
) -> None:
    _, payload, signature = app.assertion(world.acme.admin_id).split(".")
    hostile = f"{encoded(header)}.{payload}.{signature}"
    assert error_of(await by_assertion(client, hostile)) == "invalid_grant"
    proof = app.proof()
    _, payload, signature = proof["client_assertion"].split(".")
    proof["client_assertion"] = f"{encoded(header)}.{payload}.{signature}"
    answer = await client.post("/oauth/introspect", data={"token": "x"} | proof)
    assert error_of(answer, 401) == "invalid_client"


@pytest.mark.parametrize(
    "assertion", ["", ".", "..", "...", "a.b.c", "e30.e30.", "ü.ü.ü", '"', "e30.bnVsbA.AA", "\x00"]
)
async def test_text_that_is_no_jwt_is_refused(
    client: httpx.AsyncClient, world: World, assertion: str
) -> None:
    answer = await by_assertion(client, assertion)
    assert error_of(answer) in ("invalid_grant", "invalid_request")


@pytest.mark.parametrize("name", ["iss", "sub", "iat", "exp"])
@pytest.mark.parametrize(
    "value",
    [None, [], {}, True, "soon", "\ud800", float("inf"), float("nan"), -1, 2**63, 10**400],
    ids=[
        "missing",
        "list",
        "object",
        "boolean",
        "text",
        "surrogate",
        "infinite",
        "nan",
        "negative",
        "large",
        "huge",
    ],
)
async def test_defect_19_claims_are_there_and_what_they_should_be(
    client: httpx.AsyncClient, world: World, app: App, name: str, value: Any
) -> None:
    assertion = app.assertion(world.acme.admin_id, **{name: value})
    assert error_of(await by_assertion(client, assertion)) == "invalid_grant"


async def test_defect_19_lifetime_has_an_end(client: httpx.AsyncClient, world: World, app: App) -> None:
    now = int(time.time())
    for life in (3700, 86_400, 10 * 365 * 86_400):
        refused = await refusal(client, app.assertion(world.acme.admin_id, exp=now + life))
        assert refused == ("invalid_grant", "assertion_lives_too_long")


async def test_defect_19_jti_counts_once_even_at_once(
    client: httpx.AsyncClient, world: World, app: App
) -> None:
    assertion = app.assertion(world.acme.admin_id, jti="only-once")
    answers = await asyncio.gather(*(by_assertion(client, assertion) for _ in range(10)))
    assert [answer.status_code for answer in answers].count(200) == 1
    # Another assertion with the same jti is the same one; another client's is not.
    again = app.assertion(world.acme.admin_id, jti="only-once", scope="signature")
    assert await refusal(client, again) == ("invalid_grant", "assertion_used_before")
    other = await registered(world.acme.id)
    await other.allowed_by(world.acme.admin_id)
    answered(await by_assertion(client, other.assertion(world.acme.admin_id, jti="only-once")))


@pytest.mark.parametrize("jti", [5, "", "\ud800", "\x00", [], {"a": 1}, False])
async def test_odd_jti_counts_once_as_well(
    client: httpx.AsyncClient, world: World, app: App, jti: Any
) -> None:
    assertion = app.assertion(world.acme.admin_id, jti=jti)
    answered(await by_assertion(client, assertion))
    assert await refusal(client, assertion) == ("invalid_grant", "assertion_used_before")


async def test_defect_19_refused_assertion_is_not_used_up(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    assertion = app.assertion(world.acme.admin_id, jti="first-try")
    assert (await refusal(client, assertion))[0] == "consent_required"
    await app.allowed_by(world.acme.admin_id)
    answered(await by_assertion(client, assertion))


async def test_assertion_without_jti_may_be_sent_again_and_is_counted(
    client: httpx.AsyncClient, world: World, app: App, owner: asyncpg.Connection
) -> None:
    assertion = app.assertion(world.acme.admin_id)
    for _ in range(3):
        answered(await by_assertion(client, assertion))
    digest = hashlib.sha256(assertion.encode()).digest()
    assert await owner.fetchval("SELECT uses FROM used_assertion WHERE digest = $1", digest) == 3


async def test_defect_20_each_of_a_clients_keys_is_tried(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id, public_keys=(pem(OTHER_KEY), pem(KEY)))
    await app.allowed_by(world.acme.admin_id)
    for key in (KEY, OTHER_KEY):
        answered(await by_assertion(client, app.assertion(world.acme.admin_id, key)))
        answered(await by_assertion(client, app.assertion(world.acme.admin_id, key, {"kid": "unknown"})))


def with_secret(app: App, subject: Any, secret: bytes) -> str:
    """An assertion that is signed with HS256, with what everybody may know as the secret."""
    _, payload, _ = app.assertion(subject).split(".")
    text = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{payload}"
    mac = hmac.digest(secret, text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


async def test_signature_that_anybody_could_make_is_none(
    client: httpx.AsyncClient, world: World, app: App
) -> None:
    _, payload, signature = app.assertion(world.acme.admin_id).split(".")
    unsigned = [f"{encoded({'alg': alg})}.{payload}." for alg in ("none", "None", "NONE", "")]
    known = (pem(KEY), pem(KEY).strip(), app.secret or "", "")
    for assertion in (
        *unsigned,
        f"{encoded({'alg': 'none'})}.{payload}.{signature}",
        *(with_secret(app, world.acme.admin_id, secret.encode()) for secret in known),
    ):
        assert (await refusal(client, assertion))[0] == "invalid_grant"


async def test_other_algorithms_of_the_right_key_are_refused(
    client: httpx.AsyncClient, world: World, app: App
) -> None:
    claims: dict[str, Any] = {
        "iss": str(app.id),
        "sub": str(world.acme.admin_id),
        "aud": issuer().url,
    }
    claims |= {"iat": int(time.time()), "exp": int(time.time()) + 60, "scope": "signature"}
    answered(await by_assertion(client, signed(claims)))
    for alg in ("RS384", "RS512", "PS256"):
        _, payload, signature = signed(claims).split(".")
        swapped = f"{encoded({'alg': alg})}.{payload}.{signature}"
        assert (await refusal(client, swapped))[1] == "no_valid_keys_or_signatures"


async def test_assertion_beside_a_client_that_proves_itself_is_of_that_client(
    client: httpx.AsyncClient, world: World, app: App
) -> None:
    fields = {"grant_type": JWT_BEARER, "assertion": app.assertion(world.acme.admin_id)}
    answered(await app.token(client, fields))
