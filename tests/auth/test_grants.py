"""The four ways to a token, each as its clients take it."""

import httpx

from auth.consents import remember
from auth.scopes import MAESTRO
from tenancy.rows import transaction
from tests.auth.oauth import by_assertion, registered
from tests.world import World, bearer


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
