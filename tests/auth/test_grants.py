"""The four ways to a token, each as its clients take it."""

import base64
import hashlib
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from auth.bearer import hash_of
from auth.consents import remember
from auth.issuer import TOKEN_PATHS
from auth.registered import JWT_BEARER
from auth.scopes import MAESTRO
from tenancy.accounts import add_user, resume_user, suspend_user
from tenancy.rows import transaction
from tests.auth.oauth import (
    CALLBACK,
    VERIFIER,
    App,
    answered,
    by_assertion,
    error_of,
    issuer,
    registered,
)
from tests.world import World, bearer

USED_EARLIER = "UPDATE refresh_token SET used_at = used_at - make_interval(secs => $2) WHERE token_hash = $1"


async def test_code_is_exchanged_for_tokens_that_work(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id)
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 28_800
    assert tokens["scope"] == "openid signature aow_manage"
    assert tokens["id_token"].count(".") == 2
    answer = await client.get(f"{world.acme.url}/workflows", headers=bearer(tokens["access_token"]))
    assert answer.status_code == 200


async def test_refresh_token_is_exchanged_for_the_next(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    first = await app.logged_in(client, world.acme.admin_id)
    answer = await app.refresh(client, first["refresh_token"])
    assert answer.status_code == 200, answer.text
    second = answer.json()
    assert second["refresh_token"] != first["refresh_token"]
    assert (await app.refresh(client, second["refresh_token"])).status_code == 200
    answer = await client.get(f"{world.acme.url}/workflows", headers=bearer(second["access_token"]))
    assert answer.status_code == 200


async def test_machine_client_gets_a_token_for_its_own_account(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id, "machine", scopes=MAESTRO)
    answer = await app.token(client, {"grant_type": "client_credentials"})
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"access_token", "token_type", "expires_in", "scope"}
    token = answer.json()["access_token"]
    assert (await client.get(f"{world.acme.url}/workflows", headers=bearer(token))).status_code == 200
    assert (await client.get(f"{world.globex.url}/workflows", headers=bearer(token))).status_code == 404


async def test_assertion_needs_consent_once(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    assertion = app.assertion(world.acme.member_id)
    answer = await by_assertion(client, assertion)
    assert answer.status_code == 400
    assert answer.json()["error"] == "consent_required"
    async with transaction():
        await remember(app.id, world.acme.member_id, [*MAESTRO, "impersonation"], None)
    answer = await by_assertion(client, assertion)
    assert answer.status_code == 200, answer.text
    assert answer.json()["expires_in"] == 3600
    assert "refresh_token" not in answer.json()
    token = answer.json()["access_token"]
    assert (await client.get(f"{world.acme.url}/workflows", headers=bearer(token))).status_code == 200


async def test_both_token_endpoints_are_one(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id, "machine", scopes=MAESTRO)
    fields = {"grant_type": "client_credentials", "client_id": str(app.id), "client_secret": app.secret}
    for path in TOKEN_PATHS:
        answer = await client.post(path, data=fields)
        assert answered(answer)["token_type"] == "Bearer"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["pragma"] == "no-cache"


async def test_code_may_name_its_redirect_uri_again_but_no_other(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id, redirect_uris=(CALLBACK, "https://app.example/other"))
    code = await app.code(world.acme.admin_id)
    other = await app.exchange(client, code, redirect_uri="https://app.example/other")
    assert error_of(other) == "invalid_grant"
    answered(await app.exchange(client, code, redirect_uri=CALLBACK))


async def test_public_client_is_named_by_its_id_alone(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id, "public")
    tokens = await app.logged_in(client, world.acme.member_id)
    refreshed = answered(await app.refresh(client, tokens["refresh_token"]))
    assert refreshed["refresh_token"] != tokens["refresh_token"]
    code = await app.code(world.acme.member_id)
    # Docusign's SDKs send this for a client without a secret.
    answer = await client.post(
        "/oauth/token",
        data={
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": VERIFIER,
            "client_id": str(app.id),
        },
        headers={"Authorization": "Basic Og=="},
    )
    answered(answer)


async def test_narrowed_grant_works_in_its_one_account(client: httpx.AsyncClient, world: World) -> None:
    await add_user("admin@acme.example", "Acme Admin", None, world.globex.id, "sender")
    app = await registered(world.acme.id)
    everywhere = await app.logged_in(client, world.acme.admin_id)
    narrowed = await app.logged_in(client, world.acme.admin_id, narrowed_to=world.globex.id)
    refreshed = answered(await app.refresh(client, narrowed["refresh_token"]))
    for tenant in (world.acme, world.globex):
        for tokens, reached in ((everywhere, True), (narrowed, tenant is world.globex)):
            answer = await client.get(f"{tenant.url}/workflows", headers=bearer(tokens["access_token"]))
            assert answer.status_code == (200 if reached else 404)
        answer = await client.get(f"{tenant.url}/workflows", headers=bearer(refreshed["access_token"]))
        assert answer.status_code == (200 if tenant is world.globex else 404)


async def test_refresh_may_ask_for_less_but_not_for_more(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id)
    for more in ("openid email", "nonsense", "openid signature aow_manage extended"):
        assert error_of(await app.refresh(client, tokens["refresh_token"], scope=more)) == "invalid_scope"
    less = answered(await app.refresh(client, tokens["refresh_token"], scope="signature"))
    assert less["scope"] == "signature"
    assert "id_token" not in less
    answer = await client.get(f"{world.acme.url}/workflows", headers=bearer(less["access_token"]))
    assert answer.status_code == 403
    again = answered(await app.refresh(client, less["refresh_token"]))
    assert again["scope"] == "openid signature aow_manage"


async def test_refresh_tokens_end_a_month_after_the_login_or_the_last_use(
    client: httpx.AsyncClient, world: World, owner: asyncpg.Connection
) -> None:
    app = await registered(world.acme.id)
    ends = "SELECT extract(epoch FROM max(expires_at) - now()) / 86400 FROM refresh_token"
    for scope, days in (("openid", 20), ("openid extended", 30)):
        await owner.execute("DELETE FROM oauth_grant")
        tokens = await app.logged_in(client, world.acme.admin_id, scope=scope)
        assert await owner.fetchval(ends) == pytest.approx(30, abs=0.01)
        await owner.execute("UPDATE oauth_grant SET created_at = created_at - interval '10 days'")
        await owner.execute("UPDATE refresh_token SET expires_at = expires_at - interval '10 days'")
        refreshed = answered(await app.refresh(client, tokens["refresh_token"]))
        assert await owner.fetchval(ends) == pytest.approx(days, abs=0.01)
        await owner.execute("UPDATE refresh_token SET expires_at = now()")
        assert error_of(await app.refresh(client, refreshed["refresh_token"])) == "invalid_grant"
        # One that has merely expired revokes nothing.
        assert (await app.introspect(client, refreshed["access_token"]))["active"]


async def test_machine_client_gets_all_its_scopes_or_those_it_asks_for(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id, "machine", scopes=MAESTRO)
    ask = {"grant_type": "client_credentials"}
    assert answered(await app.token(client, ask))["scope"] == " ".join(MAESTRO)
    assert answered(await app.token(client, ask | {"scope": "signature"}))["scope"] == "signature"
    for beyond in ("signature extended", "nonsense", "orchestration:read"):
        refused = await app.token(client, ask | {"scope": beyond})
        assert error_of(refused) == "invalid_scope"
        registered_for = f"registered for: {' '.join(MAESTRO)}"
        assert beyond == "nonsense" or refused.json()["error_description"].endswith(registered_for)


async def test_machine_client_without_scopes_is_told_who_registers_some(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id, "machine", scopes=())
    refused = await app.token(client, {"grant_type": "client_credentials"})
    assert error_of(refused) == "invalid_scope"
    assert "none; an administrator of its account can register some" in refused.json()["error_description"]


async def test_account_in_a_machine_clients_request_is_no_account(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id, "machine", scopes=MAESTRO)
    ask = {"grant_type": "client_credentials", "account_id": str(world.globex.id)}
    tokens = answered(await app.token(client, ask | {"organization": str(world.globex.id)}))
    for tenant, status in ((world.acme, 200), (world.globex, 404)):
        answer = await client.get(f"{tenant.url}/workflows", headers=bearer(tokens["access_token"]))
        assert answer.status_code == status


async def test_each_kind_of_client_has_its_own_grants(client: httpx.AsyncClient, world: World) -> None:
    machine = await registered(world.acme.id, "machine", scopes=MAESTRO)
    app = await registered(world.acme.id)
    for fields in ({"grant_type": "authorization_code", "code": "x"}, {"grant_type": "refresh_token"}):
        assert error_of(await machine.token(client, fields)) == "unauthorized_client"
    assert error_of(await app.token(client, {"grant_type": "client_credentials"})) == "unauthorized_client"
    public = await registered(world.acme.id, "public")
    assert error_of(await public.token(client, {"grant_type": "client_credentials"})) == "invalid_client"


@pytest.mark.parametrize("grant_type", ["authorization_code", "refresh_token", JWT_BEARER])
async def test_request_without_what_it_is_about_is_invalid(
    client: httpx.AsyncClient, world: World, grant_type: str
) -> None:
    app = await registered(world.acme.id)
    assert error_of(await app.token(client, {"grant_type": grant_type})) == "invalid_request"


@pytest.mark.parametrize("text", ["nonsense", '"', "ü", "x" * 5000, "../..", "\t"])
async def test_garbage_is_an_invalid_grant(client: httpx.AsyncClient, world: World, text: str) -> None:
    app = await registered(world.acme.id)
    code = await app.code(world.acme.admin_id)
    for answer in (
        await app.exchange(client, text),
        await app.refresh(client, text),
        await app.exchange(client, code, redirect_uri=text),
    ):
        assert error_of(answer) == "invalid_grant"
    assert error_of(await app.exchange(client, code, code_verifier=text)) in (
        "invalid_grant",
        "invalid_request",
    )
    answered(await app.exchange(client, code))


async def test_id_token_says_who_logged_in_when_and_how(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    then = datetime.now(UTC) - timedelta(hours=3)
    tokens = await app.logged_in(client, world.acme.admin_id, auth_time=then, nonce="n-0S6_WzA2Mj")
    header, claims = await verified(client, tokens["id_token"])
    now = time.time()
    half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    assert header["alg"] == "RS256"
    assert claims.pop("iat") == pytest.approx(now, abs=5)
    assert claims.pop("exp") == pytest.approx(now + 3600, abs=5)
    assert claims == {
        "iss": issuer().url,
        "aud": str(app.id),
        "sub": str(world.acme.admin_id),
        "nonce": "n-0S6_WzA2Mj",
        "auth_time": int(then.timestamp()),
        "amr": ["pwd"],
        "at_hash": base64.urlsafe_b64encode(half).decode().rstrip("="),
    }


async def test_id_token_after_a_refresh_keeps_the_time_of_the_login(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id)
    then = datetime.now(UTC) - timedelta(hours=3)
    tokens = await app.logged_in(client, world.acme.admin_id, auth_time=then, nonce="n-1")
    _, before = await verified(client, tokens["id_token"])
    refreshed = answered(await app.refresh(client, tokens["refresh_token"]))
    _, after = await verified(client, refreshed["id_token"])
    assert "nonce" not in after
    assert {name: after[name] for name in ("iss", "aud", "sub", "auth_time")} == {
        name: before[name] for name in ("iss", "aud", "sub", "auth_time")
    }
    assert after["at_hash"] != before["at_hash"]


async def test_id_token_is_for_those_who_ask_for_openid(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    assert "id_token" not in await app.logged_in(client, world.acme.admin_id, scope="signature")
    tokens = await app.logged_in(client, world.acme.admin_id)
    _, claims = await verified(client, tokens["id_token"])
    assert "nonce" not in claims


async def verified(client: httpx.AsyncClient, id_token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and claims of an ID token that a published key signed."""
    published = (await client.get("/oauth/jwks")).json()
    token = jwt.decode(id_token, KeySet.import_key_set(published), algorithms=["RS256"])
    assert token.header["kid"] in {key["kid"] for key in published["keys"]}
    return token.header, dict(token.claims)


async def test_lost_answer_may_be_asked_for_again_once(
    client: httpx.AsyncClient, world: World, owner: asyncpg.Connection
) -> None:
    app = await registered(world.acme.id)
    first = (await app.logged_in(client, world.acme.admin_id))["refresh_token"]
    lost = answered(await app.refresh(client, first))["refresh_token"]
    await owner.execute(USED_EARLIER, hash_of(first), 2.0)
    tokens = answered(await app.refresh(client, first))
    assert (await app.introspect(client, lost)) == {"active": False}
    answered(await app.refresh(client, tokens["refresh_token"]))


@pytest.mark.parametrize("seconds", [0.0, 31.0, 86_400.0])
async def test_replay_too_soon_or_too_late_is_no_lost_answer(
    client: httpx.AsyncClient, world: World, owner: asyncpg.Connection, seconds: float
) -> None:
    app = await registered(world.acme.id)
    first = await app.logged_in(client, world.acme.admin_id)
    second = answered(await app.refresh(client, first["refresh_token"]))
    await owner.execute(USED_EARLIER, hash_of(first["refresh_token"]), seconds)
    assert error_of(await app.refresh(client, first["refresh_token"])) == "invalid_grant"
    await is_over(app, client, first, second)


async def test_what_the_lost_answer_held_is_void(
    client: httpx.AsyncClient, world: World, owner: asyncpg.Connection
) -> None:
    app = await registered(world.acme.id)
    first = (await app.logged_in(client, world.acme.admin_id))["refresh_token"]
    lost = answered(await app.refresh(client, first))["access_token"]
    await owner.execute(USED_EARLIER, hash_of(first), 2.0)
    found = answered(await app.refresh(client, first))["access_token"]
    for token, status in ((lost, 401), (found, 200)):
        answer = await client.get(f"{world.acme.url}/workflows", headers=bearer(token))
        assert answer.status_code == status


async def test_lost_answer_is_lost_once(
    client: httpx.AsyncClient, world: World, owner: asyncpg.Connection
) -> None:
    app = await registered(world.acme.id)
    first = await app.logged_in(client, world.acme.admin_id)
    issued = [first]
    for _ in range(2):
        issued.append(answered(await app.refresh(client, first["refresh_token"])))
        await owner.execute(USED_EARLIER, hash_of(first["refresh_token"]), 2.0)
    assert error_of(await app.refresh(client, first["refresh_token"])) == "invalid_grant"
    await is_over(app, client, *issued)


async def test_answer_that_was_used_was_not_lost(
    client: httpx.AsyncClient, world: World, owner: asyncpg.Connection
) -> None:
    app = await registered(world.acme.id)
    first = await app.logged_in(client, world.acme.admin_id)
    second = answered(await app.refresh(client, first["refresh_token"]))
    third = answered(await app.refresh(client, second["refresh_token"]))
    await owner.execute(USED_EARLIER, hash_of(first["refresh_token"]), 2.0)
    assert error_of(await app.refresh(client, first["refresh_token"])) == "invalid_grant"
    await is_over(app, client, first, second, third)


async def test_answer_that_turns_up_after_the_retry_ends_everything(
    client: httpx.AsyncClient, world: World, owner: asyncpg.Connection
) -> None:
    app = await registered(world.acme.id)
    first = await app.logged_in(client, world.acme.admin_id)
    stolen = answered(await app.refresh(client, first["refresh_token"]))
    await owner.execute(USED_EARLIER, hash_of(first["refresh_token"]), 2.0)
    retried = answered(await app.refresh(client, first["refresh_token"]))
    await owner.execute(USED_EARLIER, hash_of(stolen["refresh_token"]), 2.0)
    assert error_of(await app.refresh(client, stolen["refresh_token"])) == "invalid_grant"
    await is_over(app, client, first, stolen, retried)


async def test_replay_by_another_client_changes_nothing(client: httpx.AsyncClient, world: World) -> None:
    app, thief = await registered(world.acme.id), await registered(world.acme.id)
    first = await app.logged_in(client, world.acme.admin_id)
    second = answered(await app.refresh(client, first["refresh_token"]))
    for token in (first["refresh_token"], second["refresh_token"]):
        assert error_of(await thief.refresh(client, token)) == "invalid_grant"
    answered(await app.refresh(client, second["refresh_token"]))


async def is_over(app: App, client: httpx.AsyncClient, *issued: dict[str, Any]) -> None:
    """Nothing that was ever issued in a family is worth anything."""
    for tokens in issued:
        for name in ("access_token", "refresh_token"):
            assert await app.introspect(client, tokens[name]) == {"active": False}
        answer = await client.get(
            f"/v1/accounts/{app.account_id}/workflows", headers=bearer(tokens["access_token"])
        )
        assert answer.status_code == 401
        assert error_of(await app.refresh(client, tokens["refresh_token"])) == "invalid_grant"


async def test_defect_08_code_counts_once_and_for_a_minute(
    client: httpx.AsyncClient, world: World, owner: asyncpg.Connection
) -> None:
    app = await registered(world.acme.id)
    code = await app.code(world.acme.admin_id)
    await owner.execute("UPDATE authorization_code SET expires_at = now()")
    assert error_of(await app.exchange(client, code)) == "invalid_grant"
    code = await app.code(world.acme.admin_id)
    tokens = answered(await app.exchange(client, code))
    await owner.execute("UPDATE authorization_code SET expires_at = now() - interval '1 minute'")
    assert error_of(await app.exchange(client, code)) == "invalid_grant"
    await is_over(app, client, tokens)


async def test_defect_09_refresh_works_for_every_way_to_authenticate(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id)
    token = (await app.logged_in(client, world.acme.admin_id))["refresh_token"]
    fields = {"grant_type": "refresh_token", "client_id": str(app.id)}
    for proof in ({"client_secret": app.secret}, app.proof()):
        answer = await client.post("/oauth/token", data=fields | proof | {"refresh_token": token})
        token = answered(answer)["refresh_token"]


async def test_defect_09_refresh_without_a_user_is_an_invalid_grant(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id)
    await suspend_user(str(world.acme.admin_id))
    assert error_of(await app.refresh(client, tokens["refresh_token"])) == "invalid_grant"
    await resume_user(str(world.acme.admin_id))
    answered(await app.refresh(client, tokens["refresh_token"]))


async def test_defect_10_nothing_lives_for_ten_days(
    client: httpx.AsyncClient, world: World, owner: asyncpg.Connection
) -> None:
    app = await registered(world.acme.id)
    machine = await registered(world.acme.id, "machine", scopes=MAESTRO)
    await app.code(world.acme.admin_id)
    lives = "SELECT extract(epoch FROM expires_at - now()) FROM {} ORDER BY expires_at DESC LIMIT 1"
    assert await owner.fetchval(lives.format("authorization_code")) == pytest.approx(60, abs=5)
    await owner.execute("DELETE FROM access_token")
    told = answered(await machine.token(client, {"grant_type": "client_credentials"}))["expires_in"]
    assert told == 3600
    assert await owner.fetchval(lives.format("access_token")) == pytest.approx(told, abs=5)
    told = (await app.logged_in(client, world.acme.admin_id))["expires_in"]
    assert told == 28_800
    assert await owner.fetchval(lives.format("access_token")) == pytest.approx(told, abs=5)


async def test_defect_11_the_one_active_key_signs_and_is_named(
    client: httpx.AsyncClient, world: World, owner: asyncpg.Connection
) -> None:
    app = await registered(world.acme.id)
    named = set()
    for _ in range(8):
        tokens = await app.logged_in(client, world.acme.admin_id)
        header, _ = await verified(client, tokens["id_token"])
        named.add(header["kid"])
    signing = "SELECT id::text FROM signing_key WHERE signs_from IS NOT NULL AND retired_at IS NULL"
    assert len((await client.get("/oauth/jwks")).json()["keys"]) == 2
    assert named == {await owner.fetchval(signing)}


async def test_defect_21_failure_to_sign_leaves_code_and_tokens_alone(
    client: httpx.AsyncClient, world: World, owner: asyncpg.Connection, application: Any
) -> None:
    app = await registered(world.acme.id)
    await client.get("/oauth/jwks")
    code = await app.code(world.acme.admin_id)
    before = await owner.fetchval("SELECT count(*) FROM access_token")
    keys = await owner.fetch("SELECT id, private_key FROM signing_key")
    await owner.execute("UPDATE signing_key SET private_key = 'broken'")
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://tutti.test") as unchecked:
        assert error_of(await app.exchange(unchecked, code), 500) == "server_error"
    assert await owner.fetchval("SELECT count(*) FROM access_token") == before
    assert await owner.fetchval("SELECT count(*) FROM refresh_token") == 0
    assert await owner.fetchval("SELECT used_at FROM authorization_code") is None
    for key in keys:
        await owner.execute("UPDATE signing_key SET private_key = $2 WHERE id = $1", *key)
    answered(await app.exchange(client, code))


async def test_defect_22_clients_choose_no_algorithm_and_the_login_is_not_now(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id)
    then = datetime.now(UTC) - timedelta(days=2)
    code = await app.code(world.acme.admin_id, auth_time=then, id_token_signed_response_alg="none")
    tokens = answered(await app.exchange(client, code, id_token_signed_response_alg="none"))
    header, claims = await verified(client, tokens["id_token"])
    assert header["alg"] == "RS256"
    assert claims["auth_time"] == int(then.timestamp())
