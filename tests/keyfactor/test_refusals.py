"""Every route of the dialect refuses everyone it should, told from the route table: a new route is covered, or fails here."""

import base64
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
import pytest

from auth import reach
from auth.passwords import hash_password
from auth.scopes import MAESTRO
from service.keyfactor.errors import PREFIX, Code
from service.keyfactor.requests import API_VERSION, READ, REQUESTED_WITH, WRITE
from tenancy.accounts import add_user
from tenancy.rows import transaction
from tests.auth.rows import forget_failures
from tests.callers import UNPROVEN, token_of, unproven
from tests.keyfactor.errors import assert_refused
from tests.keyfactor.routes import ROUTES, WITH_BODY, body_of
from tests.keyfactor.scene import CLIENT, Scene
from tests.maestro.routes import Route, handlers

EACH_ROUTE = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
OWNED = ("instanceId", "definitionId")
WITH_ID = [route for route in ROUTES if set(route.ids) & set(OWNED)]
# Whoever sends a password is another caller than whoever sends a token, and refused in as many ways.
WRONG_PASSWORD = {
    "a wrong password": "admin@acme.example:wrong",
    "another account": "globex\\ada@acme.example:password",
}
STATUSES = {
    **dict.fromkeys((*UNPROVEN, *WRONG_PASSWORD), 401),
    "no scope": 403,
    "other scopes": 403,
}
PASSWORD = "password of Ada"


@pytest.fixture(scope="module")
async def callers(scene: Scene) -> dict[str, dict[str, str]]:
    """Name the headers of everyone who is to be refused whatever they ask for on Acme's rows."""
    acme = scene.world.acme
    found = await unproven(acme, (READ, WRITE))
    found |= {name: proof(text) for name, text in WRONG_PASSWORD.items()}
    found |= {"no scope": await token_of(acme), "other scopes": await token_of(acme, *MAESTRO)}
    scene.stored = await scene.rows()  # the account's events tell of the tokens
    return {name: CLIENT | headers for name, headers in found.items()}


@pytest.fixture(scope="module")
async def ada(scene: Scene) -> dict[str, str]:
    """The headers of a person who has a password and a token."""
    password = hash_password(PASSWORD)
    user = await add_user("ada@acme.example", "Ada", password, scene.world.acme.id, "admin")
    token = await token_of(scene.world.acme, READ, WRITE, user=user)
    scene.stored = await scene.rows()
    return CLIENT | token


@pytest.fixture(autouse=True)
async def unhurried(scene: Scene) -> None:
    """No failures before the test."""
    await forget_failures()


def proof(text: str) -> dict[str, str]:
    """Write the header of a name and a password."""
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


async def send(
    client: httpx.AsyncClient, route: Route, ids: Mapping[str, Any], **changed: Any
) -> httpx.Response:
    """Call a route with its own body, unless told otherwise."""
    url = changed.pop("url", route.url(ids))
    return await client.request(route.method, url, content=changed.pop("content", body_of(route)), **changed)


def test_every_route_below_the_prefix_is_of_the_dialect() -> None:
    below = {path for path, _ in handlers() if path.lower().startswith(PREFIX.lower())}
    assert below == {route.path for route in ROUTES}


@EACH_ROUTE
async def test_route_refuses_callers_without_proof_or_scope(
    client: httpx.AsyncClient, scene: Scene, callers: dict[str, dict[str, str]], route: Route
) -> None:
    assert callers.keys() == STATUSES.keys()
    for name, headers in callers.items():
        response = await send(client, route, scene.ids("acme"), headers=headers)
        assert (name, response.status_code) == (name, STATUSES[name])
        assert_refused(response, STATUSES[name])
        challenge = response.headers["www-authenticate"]
        if STATUSES[name] == 401:
            sent = "Authorization" in headers
            assert challenge == 'Basic realm="tutti", charset="UTF-8", Bearer realm="tutti"' + (
                ', error="invalid_token"' if sent else ""
            )
        else:
            scope = READ if route.method == "GET" else WRITE
            assert challenge == f'Bearer realm="tutti", error="insufficient_scope", scope="{scope}"'
    assert await scene.rows() == scene.stored


@EACH_ROUTE
async def test_a_token_and_a_password_are_told_the_same(
    client: httpx.AsyncClient, scene: Scene, ada: dict[str, str], route: Route
) -> None:
    ids = scene.ids("acme") | dict.fromkeys(OWNED, str(uuid4()))
    answers = [
        await send(client, route, ids, headers=headers, content=b"")
        for headers in (ada, CLIENT | proof(f"ada@acme.example:{PASSWORD}"))
    ]
    assert answers[0].status_code == answers[1].status_code < 500
    assert answers[0].content == answers[1].content


@EACH_ROUTE
async def test_either_scope_will_do_for_reading_and_one_for_the_rest(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    ids = scene.ids("acme") | dict.fromkeys(OWNED, str(uuid4()))
    reader, writer = [CLIENT | await token_of(scene.world.acme, scope) for scope in (READ, WRITE)]
    told = await send(client, route, ids, headers=reader)
    if route.method == "GET":
        written = await send(client, route, ids, headers=writer)
        assert (told.status_code, told.content) == (written.status_code, written.content)
        assert told.status_code in (200, 404)
    else:
        assert_refused(told, 403)
    scene.stored = await scene.rows()


@pytest.mark.parametrize("route", WITH_ID, ids=lambda route: route.name)
async def test_another_accounts_thing_answers_as_a_missing_one(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    foreign = scene.ids("globex")
    missing = foreign | dict.fromkeys(OWNED, str(uuid4()))
    for headers in (scene.admins["acme"], scene.machines["acme"]):
        for content in (body_of(route), b"{") if route.model else (b"",):
            answers = [
                await send(client, route, ids, headers=headers, content=content) for ids in (foreign, missing)
            ]
            assert answers[0].content == answers[1].content
            assert_refused(answers[0], 400 if content == b"{" else 404)
    assert await scene.rows() == scene.stored


@EACH_ROUTE
async def test_route_tells_nothing_of_a_bad_request_to_callers_it_refuses(
    bare: httpx.AsyncClient, scene: Scene, callers: dict[str, dict[str, str]], route: Route
) -> None:
    ids = scene.ids("acme")
    requests: list[dict[str, Any]] = [
        *({"content": content} for content in (b"{[\xff", b"", b"[1]", b"x" * 1_100_000)),
        *({"params": {name: "%00"}} for name in (*route.query, "nonsense")),
        *({"url": route.url(ids | {name: "nonsense"})} for name in route.ids),
    ]
    for caller in ("nobody", "an expired token", "no scope"):
        headers = callers[caller]
        plain = await send(bare, route, ids, headers=headers)
        for request in requests:
            response = await send(bare, route, ids, headers=headers, **request)
            assert (response.status_code, response.content) == (STATUSES[caller], plain.content)
        bare_of_headers = {name: value for name, value in headers.items() if name == "Authorization"}
        assert (await send(bare, route, ids, headers=bare_of_headers)).content == plain.content
    assert await scene.rows() == scene.stored


@EACH_ROUTE
async def test_route_needs_the_header_that_says_what_asks(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    admin = {name: value for name, value in scene.admins["acme"].items() if name != REQUESTED_WITH}
    for headers in (admin, admin | {REQUESTED_WITH: ""}, admin | {REQUESTED_WITH: " "}):
        told = await send(client, route, scene.ids("acme"), headers=headers)
        assert REQUESTED_WITH in assert_refused(told, 400, Code.CALLER)
    for version in ("3", "1.1", "one", "\u00e9"):
        headers = scene.admins["acme"] | {API_VERSION: version}
        told = await client.request(
            route.method,
            route.url(scene.ids("acme")),
            headers=[(name.encode(), value.encode()) for name, value in headers.items()],
            content=body_of(route),
        )
        assert API_VERSION in assert_refused(told, 400, Code.CALLER)
    assert await scene.rows() == scene.stored


@pytest.mark.parametrize("version", ["", "1", "1.0", "2", "2.0", None])
async def test_known_versions_are_answered(
    client: httpx.AsyncClient, scene: Scene, version: str | None
) -> None:
    admin = {name: value for name, value in scene.admins["acme"].items() if name != API_VERSION}
    headers = admin | ({} if version is None else {API_VERSION: version})
    answer = await client.get(f"{PREFIX}/Status/Endpoints", headers=headers)
    assert answer.status_code == 200
    assert f"{PREFIX}/Workflow/Instances" in answer.json()


async def test_a_token_of_several_accounts_is_told_what_to_do(
    client: httpx.AsyncClient, scene: Scene
) -> None:
    acme, globex = scene.world.acme, scene.world.globex
    user = await add_user("grace@example.org", "Grace", None, acme.id, "admin")
    await add_user("grace@example.org", "Grace", None, globex.id, "admin")
    token = await token_of(acme, READ, WRITE, user=user)
    path = f"{PREFIX}/Status/Endpoints"
    assert (await client.get(path, headers=CLIENT | token)).status_code == 200
    async with transaction() as connection:
        await connection.execute("UPDATE oauth_grant SET narrowed_to = NULL WHERE user_id = $1", user)
    reach._reaches.clear()
    assert "ACCOUNT\\user" in assert_refused(await client.get(path, headers=CLIENT | token), 400)
    scene.stored = await scene.rows()


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.name)
async def test_body_that_is_too_large_is_413(client: httpx.AsyncClient, scene: Scene, route: Route) -> None:
    for size in (256 * 1024 + 1, 1_048_577):
        content = b" " * size if size < 1_000_000 or route.name != "WorkflowInstanceRestart" else b"1" * size
        told = await send(
            client,
            route,
            scene.ids("acme"),
            headers=scene.admins["acme"],
            content=content.replace(b" ", b"1", 1),
        )
        assert_refused(told, 413)


@EACH_ROUTE
async def test_unknown_method_is_405_and_names_the_known_ones(
    bare: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    known = {other.method for other in ROUTES if other.path == route.path} | {"OPTIONS"}
    options = await bare.options(route.url(scene.ids("acme")))
    assert set(options.headers["allow"].split(", ")) == known
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - known:
        response = await bare.request(method, route.url(scene.ids("acme")))
        assert_refused(response, 405)
        assert set(response.headers["allow"].split(", ")) == known


@pytest.mark.parametrize(
    "path", ["/KeyfactorAPI", "/keyfactorapi/", "/KEYFACTORAPI/Certificates", "/KeyfactorAPI/Workflow"]
)
async def test_unknown_path_is_404_in_the_words_of_the_dialect(bare: httpx.AsyncClient, path: str) -> None:
    assert assert_refused(await bare.get(path), 404).startswith("Nothing is at this path")


@EACH_ROUTE
async def test_path_is_taken_in_any_case(client: httpx.AsyncClient, scene: Scene, route: Route) -> None:
    ids = scene.ids("acme") | dict.fromkeys(OWNED, str(uuid4()))
    headers = scene.admins["acme"]
    wanted = await send(client, route, ids, headers=headers, content=b"")
    for fold in (str.lower, str.upper, str.swapcase):
        parts = route.path.split("/")
        url = "/".join(ids[part[1:-5]] if part.startswith("{") else fold(part) for part in parts)
        for written in (url, url + "/"):
            told = await send(client, route, ids, headers=headers, url=written, content=b"")
            assert (told.status_code, told.content) == (wanted.status_code, wanted.content)


@pytest.mark.parametrize(
    "path",
    [
        "/HEALTHZ",
        "/V1/accounts",
        "/API/orchestration/_info",
        "/OAuth/jwks",
        "/keyfactorapis",
        "/x/KeyfactorAPI",
    ],
)
async def test_no_other_path_is_taken_in_any_case(bare: httpx.AsyncClient, path: str) -> None:
    answer = await bare.get(path)
    assert answer.status_code == 404
    assert "x-keyfactor-product-version" not in answer.headers


async def test_asking_for_methods_tells_nothing_about_rows(bare: httpx.AsyncClient, scene: Scene) -> None:
    for route in ROUTES:
        answers = [
            await bare.options(route.url(ids))
            for ids in (scene.ids("acme"), scene.ids("acme") | dict.fromkeys(OWNED, uuid4()))
        ]
        assert [answer.status_code for answer in answers] == [204, 204]
        assert answers[0].headers["allow"] == answers[1].headers["allow"]
