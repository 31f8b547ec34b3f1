"""What programs call beside the token endpoint: who they are, what a token is worth, keys and metadata; and from where."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from auth.allowances import revoke_grants
from auth.bearer import hash_of
from auth.clients import delete_client
from auth.scopes import MAESTRO, SCOPES
from tenancy.accounts import add_user, remove_member, suspend_account, suspend_user
from tests.auth.oauth import (
    CALLBACK,
    VERIFIER,
    App,
    answered,
    basic,
    by_assertion,
    error_of,
    issuer,
    registered,
    unknown_id,
)
from tests.world import World, bearer

Change = Callable[[World, App], Awaitable[object]]
METADATA_PATHS = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")


async def userinfo(client: httpx.AsyncClient, token: str) -> dict[str, Any]:
    """What userinfo tells about a token."""
    return answered(await client.get("/oauth/userinfo", headers=bearer(token)))


async def machine_token(app: App, client: httpx.AsyncClient) -> str:
    """A machine client's own token."""
    token: str = answered(await app.token(client, {"grant_type": "client_credentials"}))["access_token"]
    return token


# userinfo


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        ("openid", set()),
        ("openid profile", {"name", "given_name", "family_name", "created"}),
        ("openid email", {"email", "email_verified"}),
        ("signature", {"name", "given_name", "family_name", "created", "email", "email_verified"}),
    ],
)
async def test_userinfo_tells_what_the_scopes_allow(
    client: httpx.AsyncClient, world: World, scope: str, names: set[str]
) -> None:
    app = await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id, scope=scope)
    info = await userinfo(client, tokens["access_token"])
    assert set(info) == {"sub", "accounts"} | names
    assert info["sub"] == str(world.acme.admin_id)


async def test_userinfo_is_what_the_vendors_sdks_insist_on(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id, scope="signature")
    info = await userinfo(client, tokens["access_token"])
    created = info.pop("created")
    assert len(created) == len("2015-08-13T22:03:03.457")
    assert info == {
        "sub": str(world.acme.admin_id),
        "name": "Acme Admin",
        "given_name": "Acme",
        "family_name": "Admin",
        "email": "admin@acme.example",
        "email_verified": False,
        "accounts": [
            {
                "account_id": str(world.acme.id),
                "is_default": True,
                "account_name": "Acme",
                "base_uri": issuer().url,
            }
        ],
    }


async def test_userinfo_lists_the_accounts_that_the_token_reaches(
    client: httpx.AsyncClient, world: World
) -> None:
    await add_user("admin@acme.example", "Acme Admin", None, world.globex.id, "sender")
    app = await registered(world.acme.id)

    async def reached(narrowed_to: UUID | None) -> list[tuple[str, bool]]:
        tokens = await app.logged_in(client, world.acme.admin_id, narrowed_to=narrowed_to)
        info = await userinfo(client, tokens["access_token"])
        return [(account["account_id"], account["is_default"]) for account in info["accounts"]]

    assert await reached(None) == [(str(world.acme.id), True), (str(world.globex.id), False)]
    assert await reached(world.globex.id) == [(str(world.globex.id), True)]
    await suspend_account(world.acme.id)
    app = await registered(world.globex.id)
    assert await reached(None) == [(str(world.globex.id), True)]


async def test_userinfo_takes_the_token_in_header_or_body_but_not_in_both(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id)
    token = (await app.logged_in(client, world.acme.admin_id))["access_token"]
    told = await userinfo(client, token)
    url = "/oauth/userinfo"
    assert answered(await client.post(url, headers=bearer(token))) == told
    assert answered(await client.post(url, data={"access_token": token})) == told
    both = await client.post(url, data={"access_token": token}, headers=bearer(token))
    assert error_of(both) == "invalid_request"
    assert (await client.get(f"{url}?access_token={token}")).status_code == 401
    assert (await client.post(f"{url}?access_token={token}")).status_code == 401


async def test_userinfo_refuses_in_the_words_of_bearer_tokens(
    client: httpx.AsyncClient, world: World
) -> None:
    answer = await client.get("/oauth/userinfo")
    assert error_of(answer, 401) == "invalid_token"
    assert "error=" not in answer.headers["www-authenticate"]
    answer = await client.get("/oauth/userinfo", headers=bearer("nonsense"))
    assert error_of(answer, 401) == "invalid_token"
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    app = await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id, scope="aow_manage")
    machine = await registered(world.acme.id, "machine", scopes=MAESTRO)
    for token in (tokens["access_token"], await machine_token(machine, client)):
        answer = await client.get("/oauth/userinfo", headers=bearer(token))
        assert error_of(answer, 403) == "insufficient_scope"
        assert 'scope="openid"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("name", ["refresh_token", "id_token"])
async def test_what_is_no_access_token_is_not_taken_for_one(
    client: httpx.AsyncClient, world: World, name: str
) -> None:
    app = await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id)
    headers = bearer(tokens[name])
    assert error_of(await client.get("/oauth/userinfo", headers=headers), 401) == "invalid_token"
    assert (await client.get(f"{world.acme.url}/workflows", headers=headers)).status_code == 401


# introspection


async def test_client_is_told_what_its_own_tokens_are_worth(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id, narrowed_to=world.acme.id)
    for name, kind, life in (
        ("access_token", "Bearer", 28_800),
        ("refresh_token", "refresh_token", 30 * 86_400),
    ):
        told = await app.introspect(client, tokens[name])
        assert told.pop("exp") - told.pop("iat") == pytest.approx(life, abs=5)
        assert told == {
            "active": True,
            "scope": "openid signature aow_manage",
            "client_id": str(app.id),
            "token_type": kind,
            "sub": str(world.acme.admin_id),
            "aud": issuer().url,
            "iss": issuer().url,
            "account_id": str(world.acme.id),
        }
        for hint in ("access_token", "refresh_token", "nonsense"):
            assert (await app.introspect(client, tokens[name], token_type_hint=hint))["active"]


async def test_machine_clients_token_is_its_own(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id, "machine", scopes=MAESTRO)
    told = await app.introspect(client, await machine_token(app, client))
    assert told["sub"] == told["client_id"] == str(app.id)
    assert told["account_id"] == str(world.acme.id)


async def test_everything_else_is_just_not_active(
    client: httpx.AsyncClient, world: World, owner: asyncpg.Connection
) -> None:
    app, other = await registered(world.acme.id), await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id)
    worthless = {"active": False}
    for name in ("access_token", "refresh_token"):
        assert await other.introspect(client, tokens[name]) == worthless
    for unknown in ("nonsense", world.acme.admin, "ü", "x" * 5000):
        assert await app.introspect(client, unknown) == worthless
    await owner.execute("UPDATE access_token SET expires_at = now()")
    await owner.execute("UPDATE refresh_token SET expires_at = now()")
    for name in ("access_token", "refresh_token"):
        assert await app.introspect(client, tokens[name]) == worthless


async def test_used_refresh_token_is_not_active(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id)
    answered(await app.refresh(client, tokens["refresh_token"]))
    assert await app.introspect(client, tokens["refresh_token"]) == {"active": False}
    assert (await app.introspect(client, tokens["access_token"]))["active"]


async def test_introspection_is_for_clients_that_prove_themselves(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id, "public")
    tokens = await app.logged_in(client, world.acme.admin_id)
    fields = {"token": tokens["access_token"]}
    for more in ({}, {"client_id": str(app.id)}, {"client_id": str(app.id), "client_secret": "x"}):
        answer = await client.post("/oauth/introspect", data=fields | more)
        assert error_of(answer, 401) == "invalid_client"
        assert answer.headers["www-authenticate"].startswith("Basic ")


# revocation


async def test_revoked_access_token_takes_nothing_along(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id)
    assert (await app.revoke(client, tokens["access_token"])).status_code == 200
    assert await app.introspect(client, tokens["access_token"]) == {"active": False}
    headers = bearer(tokens["access_token"])
    assert (await client.get(f"{world.acme.url}/workflows", headers=headers)).status_code == 401
    assert (await client.get("/oauth/userinfo", headers=headers)).status_code == 401
    answered(await app.refresh(client, tokens["refresh_token"]))


@pytest.mark.parametrize("kind", ["confidential", "public"])
async def test_revoked_refresh_token_takes_its_family_along(
    client: httpx.AsyncClient, world: World, kind: str
) -> None:
    app = await registered(world.acme.id, kind)
    first = await app.logged_in(client, world.acme.admin_id)
    second = answered(await app.refresh(client, first["refresh_token"]))
    other = await app.logged_in(client, world.acme.admin_id)
    answer = await app.revoke(client, second["refresh_token"], token_type_hint="access_token")
    assert answer.status_code == 200
    for tokens, status in ((first, 401), (second, 401), (other, 200)):
        headers = bearer(tokens["access_token"])
        assert (await client.get(f"{world.acme.url}/workflows", headers=headers)).status_code == status
    assert error_of(await app.refresh(client, second["refresh_token"])) == "invalid_grant"


async def test_tokens_of_others_and_of_nobody_are_revoked_already(
    client: httpx.AsyncClient, world: World
) -> None:
    app, other = await registered(world.acme.id), await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id)
    for name in ("access_token", "refresh_token"):
        assert (await other.revoke(client, tokens[name])).status_code == 200
        assert (await app.introspect(client, tokens[name]))["active"]
    for unknown in ("nonsense", "ü", "x" * 5000):
        assert (await app.revoke(client, unknown)).status_code == 200
    for _ in range(2):
        assert (await app.revoke(client, tokens["access_token"])).status_code == 200


async def test_revocation_needs_the_client_and_the_token(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id)
    for headers in ({}, basic(str(app.id), "wrong"), basic(unknown_id(), "wrong")):
        answer = await client.post("/oauth/revoke", data={"token": tokens["access_token"]}, headers=headers)
        assert error_of(answer, 401) == "invalid_client"
        assert answer.headers["www-authenticate"].startswith("Basic ")
    for path in ("/oauth/revoke", "/oauth/introspect"):
        answer = await client.post(path, data={"token_type_hint": "access_token"}, headers=app.basic)
        assert error_of(answer) == "invalid_request"
    assert (await app.introspect(client, tokens["access_token"]))["active"]


# whoever may no longer act


async def suspended_user(world: World, _: App) -> None:
    """The user is suspended."""
    await suspend_user(str(world.acme.admin_id))


async def removed_membership(world: World, _: App) -> None:
    """The user leaves the account."""
    await remove_member(str(world.acme.admin_id), world.acme.id, even_the_last=True)


async def deleted_client(_: World, app: App) -> None:
    """The client is deleted."""
    await delete_client(app.account_id, app.id)


async def suspended_account_of_the_client(_: World, app: App) -> None:
    """The account is suspended that registered the client."""
    await suspend_account(app.account_id)


async def suspended_account_of_the_token(world: World, _: App) -> None:
    """The account is suspended that the token is for."""
    await suspend_account(world.acme.id)


async def revoked_grants(world: World, _: App) -> None:
    """The operator revokes what the user granted."""
    assert (await revoke_grants(world.acme.admin_id, None, None)).grants


CHANGES = [
    suspended_user,
    removed_membership,
    deleted_client,
    suspended_account_of_the_client,
    suspended_account_of_the_token,
    revoked_grants,
]


@pytest.mark.parametrize("change", CHANGES)
async def test_very_next_request_is_refused_everywhere(
    client: httpx.AsyncClient, world: World, change: Change
) -> None:
    app = await registered(world.globex.id)
    await app.allowed_by(world.acme.admin_id, world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id, narrowed_to=world.acme.id)
    code = await app.code(world.acme.admin_id, narrowed_to=world.acme.id)
    assertion = app.assertion(world.acme.admin_id)
    answered(await by_assertion(client, assertion))
    await change(world, app)

    headers = bearer(tokens["access_token"])
    assert (await client.get(f"{world.acme.url}/workflows", headers=headers)).status_code in (401, 404)
    assert error_of(await client.get("/oauth/userinfo", headers=headers), 401) == "invalid_token"
    words = ("invalid_grant", "invalid_client")
    assert error_of(await app.refresh(client, tokens["refresh_token"])) in words
    assert error_of(await app.exchange(client, code)) in words
    assert error_of(await by_assertion(client, assertion)) in (*words, "consent_required")
    for name in ("access_token", "refresh_token"):
        told = await client.post("/oauth/introspect", data={"token": tokens[name]}, headers=app.basic)
        assert told.status_code == 401 or told.json() == {"active": False}


@pytest.mark.parametrize("change", [deleted_client, suspended_account_of_the_client])
async def test_machine_client_is_refused_everywhere_at_once(
    client: httpx.AsyncClient, world: World, change: Change
) -> None:
    app = await registered(world.acme.id, "machine", scopes=MAESTRO)
    token = await machine_token(app, client)
    await change(world, app)
    assert (await client.get(f"{world.acme.url}/workflows", headers=bearer(token))).status_code == 401
    assert error_of(await app.token(client, {"grant_type": "client_credentials"})) == "invalid_client"
    for path in ("/oauth/introspect", "/oauth/revoke"):
        answer = await client.post(path, data={"token": token}, headers=app.basic)
        assert error_of(answer, 401) == "invalid_client"


async def test_one_account_less_is_no_end_for_a_user_of_two(client: httpx.AsyncClient, world: World) -> None:
    await add_user("admin@acme.example", "Acme Admin", None, world.globex.id, "sender")
    app = await registered(world.globex.id)
    tokens = await app.logged_in(client, world.acme.admin_id)
    await suspend_account(world.acme.id)
    tokens = answered(await app.refresh(client, tokens["refresh_token"]))
    for tenant, status in ((world.acme, 404), (world.globex, 200)):
        answer = await client.get(f"{tenant.url}/workflows", headers=bearer(tokens["access_token"]))
        assert answer.status_code == status


# keys and metadata


async def test_metadata_says_what_there_is_and_where(client: httpx.AsyncClient, world: World) -> None:
    documents = [answered(await client.get(path)) for path in METADATA_PATHS]
    told = documents[0]
    assert documents[1] == told
    assert told["issuer"] == issuer().url
    for name in ("token", "revocation", "introspection"):
        answer = await client.post(told[f"{name}_endpoint"].removeprefix(issuer().url), data={})
        assert answer.status_code in (400, 401)
    assert (await client.get(told["userinfo_endpoint"].removeprefix(issuer().url))).status_code == 401
    assert (await client.get(told["jwks_uri"].removeprefix(issuer().url))).status_code == 200
    assert told["authorization_endpoint"] == issuer().at("/oauth/auth")
    assert told["scopes_supported"] == list(SCOPES)
    assert told["response_types_supported"] == ["code"]
    assert told["code_challenge_methods_supported"] == ["S256"]
    assert told["id_token_signing_alg_values_supported"] == ["RS256"]
    assert told["authorization_response_iss_parameter_supported"] is True
    assert told["subject_types_supported"] == ["public"]


async def test_keys_and_metadata_are_for_everybody_and_may_be_kept(
    client: httpx.AsyncClient, world: World
) -> None:
    for path in ("/oauth/jwks", *METADATA_PATHS):
        answer = await client.get(path, headers={"Origin": "https://anybody.example"})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["cache-control"] == "public, max-age=300"
        assert answer.headers["content-type"].startswith("application/json")


# where scripts may call from


FOR_SCRIPTS = ("/oauth/token", "/api/auth/oauth/token", "/oauth/revoke", "/oauth/userinfo")
PAGES = (CALLBACK, "http://127.0.0.1:8080/back")
ORIGINS = ("https://app.example", "http://127.0.0.1:8080")


@pytest.mark.parametrize("path", FOR_SCRIPTS)
async def test_browser_is_told_that_pages_of_registered_clients_may_call(
    client: httpx.AsyncClient, world: World, path: str
) -> None:
    await registered(world.acme.id, "public", redirect_uris=PAGES)
    for origin in ORIGINS:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = await client.options(path, headers=asked)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == origin
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert "authorization" in answer.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("path", FOR_SCRIPTS)
async def test_pages_of_registered_clients_read_answers_and_refusals(
    client: httpx.AsyncClient, world: World, path: str
) -> None:
    app = await registered(world.acme.id, "public", redirect_uris=PAGES)
    tokens = await app.logged_in(client, world.acme.admin_id)
    fields = {"client_id": str(app.id), "token": "x", "access_token": tokens["access_token"]}
    fields |= {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    for origin in ORIGINS:
        for sent, refused in ((fields, False), ({}, True)):
            answer = await client.post(path, data=sent, headers={"Origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin
            assert answer.headers["vary"] == "Origin"
            assert "access-control-allow-credentials" not in answer.headers
            if origin == ORIGINS[0]:
                assert (answer.status_code >= 400) is refused


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://app.example", "https://app.example:8443", "https://app.example.evil.example", "null", "*", "", "https://app.example/", "https://app.example, https://evil.example", "x" * 400],
)  # fmt: skip
async def test_other_pages_may_not(client: httpx.AsyncClient, world: World, origin: str) -> None:
    app = await registered(world.acme.id)
    token = (await app.logged_in(client, world.acme.admin_id))["access_token"]
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for path in ("/oauth/token", "/oauth/revoke", "/oauth/userinfo"):
        answer = await client.options(path, headers=headers)
        assert "access-control-allow-origin" not in answer.headers
    answer = await client.get("/oauth/userinfo", headers=bearer(token) | {"Origin": origin})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


async def test_introspection_is_not_for_scripts(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    headers = app.basic | {"Origin": "https://app.example"}
    answer = await client.post("/oauth/introspect", data={"token": "x"}, headers=headers)
    assert answer.json() == {"active": False}
    assert "access-control-allow-origin" not in answer.headers


# defects of the library


@pytest.mark.parametrize(
    "header",
    [b"Basic /////w==", b"Basic w7w6w7w=", b"Basic \xff\xfe", b"Basic %%%", b"Basic", b"Basic ", b"Basic bm9jb2xvbg==", b"Basic Og", b"basic YTpi OmI="],
)  # fmt: skip
async def test_defect_02_credentials_that_are_no_text_are_refused(
    client: httpx.AsyncClient, world: World, header: bytes
) -> None:
    headers = [(b"Authorization", header)]
    fields = {"grant_type": "client_credentials", "token": "x"}
    assert error_of(await client.post("/oauth/token", data=fields, headers=headers)) == "invalid_client"
    for path in ("/oauth/introspect", "/oauth/revoke"):
        answer = await client.post(path, data=fields, headers=headers)
        assert error_of(answer, 401) == "invalid_client"


async def test_defect_12_audience_of_a_token_is_this_api(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id)
    assert (await app.introspect(client, tokens["access_token"]))["aud"] == issuer().url


async def test_defect_13_no_jwt_is_an_access_token(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id)
    assert "." not in tokens["access_token"]
    for jwt in (tokens["id_token"], app.assertion(world.acme.admin_id), app.proof()["client_assertion"]):
        headers = bearer(jwt)
        assert (await client.get("/oauth/userinfo", headers=headers)).status_code == 401
        assert (await client.get(f"{world.acme.url}/workflows", headers=headers)).status_code == 401


async def test_defect_14_introspection_knows_tokens_without_scopes_and_no_tokens_at_all(
    client: httpx.AsyncClient, world: World, owner: asyncpg.Connection
) -> None:
    app = await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id)
    emptied = "UPDATE access_token SET scopes = '{}' WHERE token_hash = $1"
    await owner.execute(emptied, hash_of(tokens["access_token"]))
    told = await app.introspect(client, tokens["access_token"])
    assert told["active"]
    assert told["scope"] == ""
    assert await app.introspect(client, tokens["id_token"]) == {"active": False}
    assert await app.introspect(client, "nonsense") == {"active": False}


async def test_defect_15_anything_can_be_given_back(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id)
    assert (await app.revoke(client, tokens["id_token"])).status_code == 200
    assert (await app.introspect(client, tokens["access_token"]))["active"]


@pytest.mark.parametrize("hint", ["nonsense", "id_token", "refresh_token", "ü", '"'])
async def test_defect_16_hint_is_only_a_hint(client: httpx.AsyncClient, world: World, hint: str) -> None:
    app = await registered(world.acme.id)
    tokens = await app.logged_in(client, world.acme.admin_id)
    assert (await app.introspect(client, tokens["access_token"], token_type_hint=hint))["active"]
    answer = await app.revoke(client, tokens["access_token"], token_type_hint=hint)
    assert answer.status_code == 200
    assert await app.introspect(client, tokens["access_token"]) == {"active": False}


async def test_defect_17_client_proves_itself_once_and_under_one_name(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id, "machine", scopes=MAESTRO)
    own = {"client_id": str(app.id), "client_secret": app.secret or ""}
    fields = {"grant_type": "client_credentials", "token": "x"}
    ways: list[tuple[Mapping[str, str], Mapping[str, str]]] = [
        (own, app.basic),
        ({"client_secret": app.secret or ""}, app.basic),
        ({"client_id": unknown_id()}, app.basic),
        (app.proof(), app.basic),
        (own | app.proof(), {}),
    ]
    for path in ("/oauth/token", "/oauth/revoke", "/oauth/introspect"):
        for more, headers in ways:
            answer = await client.post(path, data=fields | dict(more), headers=headers)
            assert error_of(answer) == "invalid_request"
        answered(await client.post(path, data=fields | own))
        answered(await client.post(path, data=fields, headers=app.basic))
        answered(await client.post(path, data=fields | {"client_id": str(app.id)}, headers=app.basic))


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke", "/oauth/introspect"])
async def test_defect_17_repeated_parameter_is_refused(
    client: httpx.AsyncClient, world: World, path: str
) -> None:
    app = await registered(world.acme.id, "machine", scopes=MAESTRO)
    body = "grant_type=client_credentials&token=x"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for more in ("&token=y", "&grant_type=client_credentials", "&%74oken=x", "&a=1&a=1"):
        answer = await client.post(path, content=body + more, headers=app.basic | form)
        assert error_of(answer) == "invalid_request"
    answered(await client.post(path, content=body, headers=app.basic | form))


async def test_defect_18_grant_type_is_missing_or_unknown(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    for fields in ({}, {"code": "x"}, {"grant_type": ""}):
        assert error_of(await app.token(client, fields)) == "invalid_request"
    for kind in ("password", "implicit", "ü", '"', "authorization_code "):
        assert error_of(await app.token(client, {"grant_type": kind})) == "unsupported_grant_type"


async def test_defect_25_nothing_secret_is_published(client: httpx.AsyncClient, world: World) -> None:
    published = answered(await client.get("/oauth/jwks"))
    assert set(published) == {"keys"}
    assert len(published["keys"]) == 2
    for key in published["keys"]:
        assert set(key) == {"kty", "use", "alg", "kid", "n", "e"}
        assert (key["kty"], key["use"], key["alg"]) == ("RSA", "sig", "RS256")


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke", "/oauth/introspect", "/oauth/userinfo"])
async def test_body_that_is_no_form_is_refused(client: httpx.AsyncClient, world: World, path: str) -> None:
    app = await registered(world.acme.id)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for headers, body in (
        ({"Content-Type": "application/json"}, b'{"grant_type": "client_credentials"}'),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--"),
        ({}, b"grant_type=client_credentials"),
        (form, b"\xff\xfe=1"),
        (form, b"grant_type=%ff"),
        (form, b"token=%00"),
        (form, b"&".join(b"a%d=1" % number for number in range(100))),
        (form, b"token=" + b"x" * 70_000),
    ):
        answer = await client.post(path, content=body, headers=headers | app.basic)
        assert error_of(answer) == "invalid_request"


async def test_wrong_method_is_told_in_the_words_of_oauth(client: httpx.AsyncClient, world: World) -> None:
    for method, path in (("GET", "/oauth/token"), ("DELETE", "/oauth/userinfo"), ("POST", "/oauth/jwks")):
        answer = await client.request(method, path)
        assert error_of(answer, 405) == "invalid_request"
    assert error_of(await client.get("/oauth/nonsense"), 404) == "invalid_request"


async def test_options_tells_every_method(client: httpx.AsyncClient) -> None:
    assert (await client.options("/oauth/auth")).headers["allow"] == "GET, OPTIONS, POST"


async def test_verifier_in_the_url_is_none(client: httpx.AsyncClient, world: World) -> None:
    app = await registered(world.acme.id)
    code = await app.code(world.acme.admin_id)
    answer = await client.post(
        f"/oauth/token?code_verifier={VERIFIER}&grant_type=authorization_code",
        data={"grant_type": "authorization_code", "code": code},
        headers=app.basic,
    )
    assert error_of(answer) in ("invalid_request", "invalid_grant")
    answered(await app.exchange(client, code))
