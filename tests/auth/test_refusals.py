"""Every route of the OAuth server refuses everyone it should, told from the route table: a new one is covered, or fails here."""

import time
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar

from auth.bearer import hash_of, new_secret
from auth.clients import delete_client, issue_token
from auth.issuer import TOKEN_PATHS
from auth.scopes import MAESTRO
from auth.throttle import MOST_OF_CLIENT, TOKEN_WINDOW
from tenancy.accounts import add_user, create_account, remove_member, suspend_account, suspend_user
from tests.auth.oauth import (
    CALLBACK,
    LOGIN_SCOPES,
    LOOPBACK,
    OTHER_KEY,
    VERIFIER,
    App,
    basic,
    registered,
    unknown_id,
)
from tests.auth.routes import PREFIXES, PROOFS, ROUTES, Route
from tests.auth.rows import everything, forget_failures, run
from tests.copying import emptied
from tests.maestro.routes import PUBLIC, account_routes, handlers
from tests.maestro.routes import ROUTES as ACCOUNT_ROUTES
from tests.world import LIFE, World, bearer

# Whom anybody may call: what they answer is public, or they check the request itself. Nothing joins them by chance.
OPEN = {
    ("GET", "/oauth/auth"),
    ("POST", "/oauth/auth"),
    ("GET", "/oauth/login"),
    ("GET", "/oauth/account"),
    ("GET", "/oauth/consent"),
    ("GET", "/oauth/logout"),
    ("GET", "/oauth/jwks"),
    ("GET", "/.well-known/openid-configuration"),
    ("GET", "/.well-known/oauth-authorization-server"),
}
FOR_CLIENTS = [route for route in ROUTES if route.proof == "client"]
FOR_TOKENS = [route for route in ROUTES if route.proof == "token"]


def named(route: Route) -> str:
    """Name a test's case after its route."""
    return f"{route.method} {route.path}"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is to be refused: what they send as proof, and the error they are told."""

    headers: dict[str, str] = {}
    fields: dict[str, str] = {}
    error: str = "invalid_client"


class Stage(msgspec.Struct, frozen=True):
    """Clients and tokens of every kind, made once for the module, whose tests change nothing."""

    world: World
    app: App
    tokens: dict[str, Any]
    clients: dict[str, Caller]
    bearers: dict[str, str]

    async def body(self, route: Route) -> dict[str, str]:
        """What a route does something with, if the client is the one that it is of."""
        if route.path in TOKEN_PATHS:
            code = await self.app.code(self.world.acme.admin_id)
            return {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
        return {"token": self.tokens["access_token"]}


@pytest.fixture(scope="module")
async def stage(litestar: Litestar, application: Any) -> Stage:
    """Everything that these tests need."""
    await emptied()
    world = await World.made(litestar.state["sandbox"])
    app = await registered(world.acme.id)
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://tutti.test") as client:
        tokens = await app.logged_in(client, world.acme.admin_id, scope=LOGIN_SCOPES)
        clients = provers(app, await others(world))
        bearers = await holders(client, world, app) | {
            "a refresh token": tokens["refresh_token"],
            "an ID token": tokens["id_token"],
        }
    return Stage(world, app, tokens, clients, bearers)


@pytest.fixture(autouse=True)
async def unhurried(stage: Stage) -> None:
    """No failures before the test."""
    await forget_failures()


async def others(world: World) -> dict[str, App]:
    """Clients that exist, but are not the one to whom the tokens belong or may do nothing."""
    found = {
        "another": await registered(world.globex.id),
        "public": await registered(world.acme.id, "public", redirect_uris=(LOOPBACK,)),
        "disabled": await registered(world.acme.id),
        "deleted": await registered(world.acme.id),
        "suspended": await registered(await create_account("Initech")),
    }
    await run("UPDATE client SET status = 'disabled' WHERE id = $1", found["disabled"].id)
    await delete_client(world.acme.id, found["deleted"].id)
    await suspend_account(found["suspended"].account_id)
    return found


def provers(app: App, others: dict[str, App]) -> dict[str, Caller]:
    """Everybody who tries to be a client and is none."""
    name, secret = str(app.id), app.secret or ""
    by_post = {"client_id": name, "client_secret": secret}
    then = int(time.time()) - 600
    found = {
        "nobody": Caller(),
        "an unknown client alone": Caller(fields={"client_id": unknown_id()}),
        "a confidential client alone": Caller(fields={"client_id": name}),
        "a public client with a secret": Caller(headers=basic(str(others["public"].id), new_secret())),
        "an unknown client": Caller(headers=basic(unknown_id(), new_secret())),
        "a client that is no id": Caller(headers=basic("nonsense", new_secret())),
        "a wrong secret": Caller(headers=basic(name, new_secret())),
        "no secret": Caller(headers=basic(name, "")),
        "another's secret": Caller(headers=basic(name, others["another"].secret or "")),
        "an unknown client in the body": Caller(
            fields={"client_id": unknown_id(), "client_secret": new_secret()}
        ),
        "a wrong secret in the body": Caller(fields=by_post | {"client_secret": new_secret()}),
        "a secret without a client": Caller(fields={"client_secret": secret}),
        "another scheme": Caller(headers=bearer(secret)),
        "a malformed header": Caller(headers={"Authorization": "Basic %%%"}),
        "a header without a colon": Caller(headers={"Authorization": "Basic bm9jb2xvbg=="}),
        "a header that is not ASCII": Caller(headers={"Authorization": "Basic /////w=="}),
        "an empty header": Caller(headers={"Authorization": "Basic"}),
        "two ways": Caller(headers=app.basic, fields=by_post, error="invalid_request"),
        "a secret and an assertion": Caller(headers=app.basic, fields=app.proof(), error="invalid_request"),
        "two clients": Caller(
            headers=app.basic, fields={"client_id": str(others["another"].id)}, error="invalid_request"
        ),
        "another's key": Caller(fields=app.proof(OTHER_KEY)),
        "an expired assertion": Caller(fields=app.proof(iat=then, exp=then + 60)),
        "an assertion for another server": Caller(fields=app.proof(aud="https://elsewhere.example")),
        "an assertion without jti": Caller(fields=app.proof(jti=None)),
        "an assertion of two clients": Caller(fields=app.proof(iss=str(others["another"].id))),
        "an assertion of no kind": Caller(fields={"client_assertion": app.proof()["client_assertion"]}),
        "no assertion": Caller(fields={"client_assertion_type": app.proof()["client_assertion_type"]}),
    }
    gone = {kind: others[kind] for kind in ("disabled", "deleted", "suspended")}
    for kind, one in gone.items():
        found[f"a {kind} client"] = Caller(headers=one.basic)
        found[f"a {kind} client's key"] = Caller(fields=one.proof())
    return found


# Nobody learns from the answer which clients there are.
ALIKE = [
    "an unknown client",
    "a client that is no id",
    "a wrong secret",
    "another's secret",
    "an unknown client in the body",
    "a wrong secret in the body",
    "a public client with a secret",
    "another's key",
    *(f"a {kind} client" for kind in ("disabled", "deleted", "suspended")),
    *(f"a {kind} client's key" for kind in ("disabled", "deleted", "suspended")),
]


async def holders(client: httpx.AsyncClient, world: World, app: App) -> dict[str, str]:
    """What is no access token, or was one, or is of somebody who may not ask who they are."""

    async def login(name: str, by: App = app) -> str:
        user_id = await add_user(f"{name}@acme.example", name, None, world.acme.id, "sender")
        return (await by.logged_in(client, user_id))["access_token"]  # type: ignore[no-any-return]

    found = {
        kind: await login(kind.replace(" ", "")) for kind in ("expired", "revoked", "of a revoked grant")
    }
    await run("UPDATE access_token SET expires_at = now() WHERE token_hash = $1", hash_of(found["expired"]))
    assert (await app.revoke(client, found["revoked"])).status_code == 200
    await run(
        "UPDATE oauth_grant SET revoked_at = now() FROM access_token WHERE grant_id = oauth_grant.id AND token_hash = $1",
        hash_of(found["of a revoked grant"]),
    )
    found["of a suspended user"] = await login("suspended")
    await suspend_user("suspended@acme.example")
    found["of a former member"] = await login("former")
    await remove_member("former@acme.example", world.acme.id)
    for kind in ("disabled", "deleted"):
        gone = await registered(world.acme.id)
        found[f"of a {kind} client"] = await login(kind, gone)
        if kind == "deleted":
            await delete_client(world.acme.id, gone.id)
        else:
            await run("UPDATE client SET status = 'disabled' WHERE id = $1", gone.id)
    suspended = await registered(await create_account("Umbrella"))
    found["of a suspended account's client"] = await login("umbrella", suspended)
    await suspend_account(suspended.account_id)
    return found | {
        "unknown": new_secret(),
        "very long": "a" * 5000,
        "two in one": f"{world.acme.admin} {world.acme.admin}",
        "a code": await app.code(world.acme.admin_id),
        "a client's secret": app.secret or "",
        "a machine client's": world.acme.machine,
        "without openid": await issue_token(world.acme.id, ("user", world.acme.admin_id), MAESTRO[:1], LIFE),
    }


HOLDERS = {
    **dict.fromkeys(
        (
            "expired",
            "revoked",
            "of a revoked grant",
            "of a suspended user",
            "of a former member",
            "of a disabled client",
            "of a deleted client",
            "of a suspended account's client",
            "unknown",
            "very long",
            "two in one",
            "a code",
            "a client's secret",
            "a refresh token",
            "an ID token",
        ),
        401,
    ),
    **dict.fromkeys(("a machine client's", "without openid"), 403),
}


def told(answer: httpx.Response) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Everything of an answer that a caller can tell it by."""
    return (
        answer.status_code,
        [pair for pair in answer.headers.raw if pair[0] != b"x-request-id"],
        answer.content,
    )


def test_every_route_is_an_accounts_the_oauth_servers_or_a_probe() -> None:
    ours = {path for path, handler in handlers() if "proof" in handler.opt}
    others = [account_routes(dialect) for dialect in ("formance", "bus", "keyfactor")]
    dialects = (ACCOUNT_ROUTES, *others)
    accounts = {route.path for routes in dialects for route in routes}
    every = {path for path, _ in handlers()}
    assert every == ours | accounts | PUBLIC
    assert len(every) == len(ours) + len(accounts) + len(PUBLIC), "a route is in two matrices"
    assert all(path.startswith(PREFIXES) for path in ours)
    assert not any(path.startswith(PREFIXES) for path in accounts)


@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_route_says_what_proof_it_asks_for(route: Route) -> None:
    assert route.proof in PROOFS


def test_routes_that_ask_for_no_proof_are_these() -> None:
    assert {(route.method, route.path) for route in ROUTES if route.proof == "none"} == OPEN


def test_scripts_may_ask_for_methods_where_programs_call_and_nowhere_else() -> None:
    asked = {
        path
        for path, handler in handlers(every=True)
        if "OPTIONS" in handler.http_methods and "proof" in handler.opt
    }
    assert asked == {route.path for route in (*FOR_CLIENTS, *FOR_TOKENS)} - {"/oauth/introspect"}


@pytest.mark.parametrize("route", FOR_CLIENTS, ids=named)
async def test_route_refuses_whoever_is_not_the_client(
    client: httpx.AsyncClient, stage: Stage, route: Route
) -> None:
    body = await stage.body(route)
    stored = await everything()
    for name, caller in stage.clients.items():
        answer = await client.post(route.path, data=body | caller.fields, headers=caller.headers)
        unproved = caller.error == "invalid_client" and route.path not in TOKEN_PATHS
        assert (name, answer.status_code) == (name, 401 if unproved else 400), answer.text
        assert (name, answer.json()["error"]) == (name, caller.error)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers.get("www-authenticate", "").startswith("Basic") is unproved
    assert await everything() == stored


@pytest.mark.parametrize("route", FOR_CLIENTS, ids=named)
async def test_route_answers_the_client_whatever_it_proves_itself_by(
    client: httpx.AsyncClient, stage: Stage, route: Route
) -> None:
    app = stage.app
    for headers, fields in (
        (app.basic, {}),
        ({}, {"client_id": str(app.id), "client_secret": app.secret or ""}),
        ({}, app.proof()),
    ):
        stage.tokens.update(await app.logged_in(client, stage.world.acme.admin_id, scope=LOGIN_SCOPES))
        body = await stage.body(route)
        answer = await client.post(route.path, data=body | fields, headers=headers)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("route", FOR_CLIENTS, ids=named)
async def test_route_tells_the_same_of_unknown_wrong_disabled_and_deleted_clients(
    client: httpx.AsyncClient, stage: Stage, route: Route
) -> None:
    body = await stage.body(route)
    answers = {}
    for name in ALIKE:
        caller = stage.clients[name]
        answers[name] = told(await client.post(route.path, data=body | caller.fields, headers=caller.headers))
    first = answers[ALIKE[0]]
    assert {name: answer for name, answer in answers.items() if answer != first} == {}


@pytest.mark.parametrize("route", FOR_CLIENTS, ids=named)
async def test_route_does_nothing_with_what_is_another_clients(
    client: httpx.AsyncClient, stage: Stage, route: Route
) -> None:
    machine = await registered(stage.world.globex.id, "machine", scopes=MAESTRO)
    body = await stage.body(route)
    stored = await everything()
    answer = await client.post(route.path, data=body, headers=machine.basic)
    if route.path in TOKEN_PATHS:
        assert answer.status_code == 400
    elif route.path == "/oauth/introspect":
        assert answer.json() == {"active": False}
    else:
        assert (answer.status_code, answer.json()) == (200, {})
    assert await everything() == stored


@pytest.mark.parametrize("route", FOR_CLIENTS, ids=named)
async def test_route_takes_nothing_from_the_address(
    client: httpx.AsyncClient, stage: Stage, route: Route
) -> None:
    body = await stage.body(route)
    stored = await everything()
    answer = await client.post(route.path, params=body, headers=stage.app.basic)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    secret = {"client_id": str(stage.app.id), "client_secret": stage.app.secret or ""}
    answer = await client.post(route.path, params=secret, data=body)
    assert answer.json()["error"] == "invalid_client"
    assert await everything() == stored


async def test_a_public_client_may_not_ask_what_tokens_are_worth(
    client: httpx.AsyncClient, stage: Stage
) -> None:
    app = await registered(stage.world.acme.id, "public", redirect_uris=(CALLBACK,))
    token = (await app.logged_in(client, stage.world.acme.admin_id))["access_token"]
    answer = await client.post("/oauth/introspect", data={"token": token, "client_id": str(app.id)})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("route", FOR_TOKENS, ids=named)
async def test_route_refuses_what_is_no_access_token_of_a_user(
    client: httpx.AsyncClient, stage: Stage, route: Route
) -> None:
    assert stage.bearers.keys() == HOLDERS.keys()
    stored = await everything()
    for name, token in stage.bearers.items():
        answer = await client.request(route.method, route.path, headers=bearer(token))
        assert (name, answer.status_code) == (name, HOLDERS[name])
        error = "invalid_token" if answer.status_code == 401 else "insufficient_scope"
        assert answer.json()["error"] == error
        assert answer.headers["www-authenticate"].startswith(f'Bearer realm="tutti", error="{error}"')
        assert answer.headers["cache-control"] == "no-store"
    assert await everything() == stored


@pytest.mark.parametrize("route", FOR_TOKENS, ids=named)
@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer  ", "Basic YTpi", "Token abc", "{token}"])
async def test_route_refuses_whoever_brings_no_token(
    client: httpx.AsyncClient, stage: Stage, route: Route, header: str | None
) -> None:
    text = None if header is None else header.replace("{token}", stage.tokens["access_token"])
    headers = {} if text is None else {"Authorization": text}
    answer = await client.request(route.method, route.path, headers=headers)
    assert answer.status_code == 401
    told_as = ', error="invalid_token"' if headers else ""
    assert answer.headers["www-authenticate"] == f'Bearer realm="tutti"{told_as}'


@pytest.mark.parametrize("route", FOR_TOKENS, ids=named)
async def test_route_tells_the_same_of_every_token_that_does_not_hold(
    client: httpx.AsyncClient, stage: Stage, route: Route
) -> None:
    refused = [name for name, status in HOLDERS.items() if status == 401 and name != "very long"]
    answers = {
        name: told(await client.request(route.method, route.path, headers=bearer(stage.bearers[name])))
        for name in refused
    }
    first = answers["unknown"]
    assert {name: answer for name, answer in answers.items() if answer != first} == {}


@pytest.mark.parametrize("route", FOR_TOKENS, ids=named)
async def test_route_takes_no_token_from_the_address_or_a_cookie(
    client: httpx.AsyncClient, stage: Stage, route: Route
) -> None:
    token = {"access_token": stage.tokens["access_token"]}
    assert (await client.request(route.method, route.path, params=token)).status_code == 401
    cookie = {"Cookie": f"access_token={token['access_token']}"}
    assert (await client.request(route.method, route.path, headers=cookie)).status_code == 401
    answer = await client.request(route.method, route.path, headers=bearer(token["access_token"]))
    assert answer.status_code == 200


async def test_a_token_in_a_form_is_held_to_the_same(client: httpx.AsyncClient, stage: Stage) -> None:
    stored = await everything()
    for name, token in stage.bearers.items():
        answer = await client.post("/oauth/userinfo", data={"access_token": token})
        assert (name, answer.status_code) == (name, HOLDERS[name])
        assert answer.headers["www-authenticate"].startswith('Bearer realm="tutti"')
    token = stage.tokens["access_token"]
    answer = await client.post("/oauth/userinfo", data={"access_token": token}, headers=bearer(token))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert await everything() == stored


READS_A_FORM = [route for route in ROUTES if route.method == "POST"]


@pytest.mark.parametrize("route", READS_A_FORM, ids=named)
@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"a=" + b"x" * 1_100_000, "application/x-www-form-urlencoded", 413),
        (b"a=" + b"x" * 70_000, "application/x-www-form-urlencoded", 400),
        (b"token=a&token=b", "application/x-www-form-urlencoded", 400),
        (b"token=%ff", "application/x-www-form-urlencoded", 400),
        (b"token=%00", "application/x-www-form-urlencoded", 400),
        (b"\xff\xfe", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a%d=b" % number for number in range(100)), "application/x-www-form-urlencoded", 400),
        (b'{"token": "a"}', "application/json", 400),
        (b"token=a", "text/plain", 400),
    ],
)
async def test_route_refuses_a_body_that_is_no_form_of_one_meaning(
    client: httpx.AsyncClient, stage: Stage, route: Route, content: bytes, media_type: str, status: int
) -> None:
    stored = await everything()
    answer = await client.post(route.path, content=content, headers={"Content-Type": media_type})
    assert answer.status_code == status
    assert await everything() == stored


@pytest.mark.parametrize("route", FOR_CLIENTS, ids=named)
async def test_route_slows_down_whoever_guesses_and_nobody_else(
    client: httpx.AsyncClient, stage: Stage, route: Route
) -> None:
    wrong = stage.clients["a wrong secret"].headers
    body = await stage.body(route)
    stored = await everything()
    # Two windows' worth: the first may end in between.
    answers = [await client.post(route.path, data=body, headers=wrong) for _ in range(2 * MOST_OF_CLIENT + 1)]
    assert {answer.status_code for answer in answers[:2]} < {400, 401}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["error"] == "slow_down"
    assert 1 <= int(refused.headers["retry-after"]) <= TOKEN_WINDOW
    assert await everything() == stored
    assert (await client.post(route.path, data=body, headers=stage.app.basic)).status_code == 200
