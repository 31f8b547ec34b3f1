"""Every route of the dialect refuses everyone it should, told from the route table: a new route is covered, or fails here."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from auth.scopes import MAESTRO
from service.formance.requests import READ, WRITE
from tests.callers import UNPROVEN, token_of, unproven
from tests.formance.conftest import Scene
from tests.formance.errors import assert_refused
from tests.formance.routes import ROUTES, WITH_BODY, body_of
from tests.maestro.routes import Route

EACH_ROUTE = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
NAMED = [route for route in ROUTES if "accountId" in route.ids]
WITH_ID = [route for route in ROUTES if set(route.ids) - {"accountId"}]


@pytest.fixture(scope="module")
async def callers(scene: Scene) -> dict[str, dict[str, str]]:
    """Name the headers of everyone who is to be refused whatever they ask for on Acme's rows."""
    found = await unproven(scene.world.acme, (READ, WRITE))
    found |= {
        "no scope": await token_of(scene.world.acme),
        "other scopes": await token_of(scene.world.acme, *MAESTRO),
    }
    scene.stored = await scene.rows()  # the account's events tell of the tokens
    return found


@pytest.fixture(scope="module")
async def halves(scene: Scene, callers: dict[str, dict[str, str]]) -> list[dict[str, str]]:
    """Who may only read and who may only write; made once, and after `callers`, as the account's events tell of tokens."""
    assert callers
    found = [await token_of(scene.world.acme, scope) for scope in (READ, WRITE)]
    scene.stored = await scene.rows()
    return found


STATUSES = {**dict.fromkeys(UNPROVEN, 401), "no scope": 403, "other scopes": 403}


async def send(
    client: httpx.AsyncClient, route: Route, ids: Mapping[str, Any], **changed: Any
) -> httpx.Response:
    """Call a route with its own body, unless told otherwise."""
    url = changed.pop("url", route.url(ids))
    return await client.request(route.method, url, content=changed.pop("content", body_of(route)), **changed)


@EACH_ROUTE
def test_route_is_below_the_vendors_prefix_and_has_the_vendors_name(route: Route) -> None:
    account = "/accounts/{accountId:str}" if "accountId" in route.ids else ""
    assert route.path.startswith(f"{account}/api/orchestration/")
    assert route.name.startswith("v2") == ("/v2/" in route.path)
    assert route.name.endswith("OfAccount") == bool(account)


def test_both_versions_have_the_same_routes_with_the_account_and_without() -> None:
    paths = {(route.method, route.path.replace("/v2/", "/")) for route in ROUTES}
    assert len(paths) * 2 == len(ROUTES)
    assert len(NAMED) * 2 == len(ROUTES)


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
            assert challenge == 'Bearer realm="tutti"' + (', error="invalid_token"' if headers else "")
        else:
            scope = READ if route.method == "GET" else WRITE
            assert challenge == f'Bearer realm="tutti", error="insufficient_scope", scope="{scope}"'
    assert await scene.rows() == scene.stored


@EACH_ROUTE
async def test_either_scope_will_do_for_reading_and_one_for_the_rest(
    client: httpx.AsyncClient, scene: Scene, halves: list[dict[str, str]], route: Route
) -> None:
    ids = scene.ids("acme") | dict.fromkeys(("flowId", "workflowID", "instanceID"), str(uuid4()))
    reader, writer = halves
    told = await send(client, route, ids, headers=reader)
    if route.method == "GET":
        written = await send(client, route, ids, headers=writer)
        assert (told.status_code, told.content) == (written.status_code, written.content)
        assert told.status_code in (200, 404)
    else:
        assert_refused(told, 403)
    assert await scene.rows() == scene.stored


@pytest.mark.parametrize("route", NAMED, ids=lambda route: route.name)
async def test_another_account_answers_as_a_missing_one(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    foreign = scene.ids("globex")
    for headers in (scene.admins["acme"], scene.machines["acme"]):
        answers = [
            await send(client, route, ids, headers=headers, **bad)
            for bad in ({}, {"content": b"{"}, {"params": {"cursor": "x", "pageSize": "x"}})
            for ids in (foreign, dict.fromkeys(foreign, uuid4()), dict.fromkeys(foreign, UUID(int=0)))
        ]
        assert {answer.content for answer in answers} == {answers[0].content}
        assert_refused(answers[0], 404)
    assert await scene.rows() == scene.stored


@pytest.mark.parametrize("route", WITH_ID, ids=lambda route: route.name)
async def test_another_accounts_thing_answers_as_a_missing_one(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    account = {"accountId": scene.world.acme.id}
    foreign = scene.ids("globex") | account
    missing = dict.fromkeys(foreign, uuid4()) | account | {"number": "0"}
    for bad in ({}, {"content": b"{"}) if route.model else ({},):
        answers = [
            await send(client, route, ids, headers=scene.admins["acme"], **bad) for ids in (foreign, missing)
        ]
        assert answers[0].content == answers[1].content
        assert_refused(answers[0], 400 if bad else 404)
    assert await scene.rows() == scene.stored


@EACH_ROUTE
async def test_route_tells_nothing_of_a_bad_request_to_callers_it_refuses(
    bare: httpx.AsyncClient, scene: Scene, callers: dict[str, dict[str, str]], route: Route
) -> None:
    ids = scene.ids("acme")
    requests: list[dict[str, Any]] = [
        *({"content": content} for content in (b"{[\xff", b"", b"[1]", b"x" * 1_100_000)),
        *({"params": {name: "%00"}} for name in (*route.query, "nonsense")),
        *({"url": route.url(ids | {name: "nonsense"})} for name in route.ids if name != "accountId"),
    ]
    for caller in ("nobody", "an expired token", "no scope"):
        plain = await send(bare, route, ids, headers=callers[caller])
        for request in requests:
            response = await send(bare, route, ids, headers=callers[caller], **request)
            assert (response.status_code, response.content) == (STATUSES[caller], plain.content)
    assert await scene.rows() == scene.stored


@pytest.mark.parametrize("route", NAMED, ids=lambda route: route.name)
async def test_malformed_account_id_is_400_for_callers_whose_token_holds(
    client: httpx.AsyncClient, scene: Scene, callers: dict[str, dict[str, str]], route: Route
) -> None:
    ids = scene.ids("acme") | {"accountId": "nonsense"}
    for headers, status in ((scene.admins["globex"], 400), ({}, 401), (callers["a revoked token"], 401)):
        assert_refused(await send(client, route, ids, headers=headers), status)


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.name)
async def test_body_that_is_too_large_is_413(client: httpx.AsyncClient, scene: Scene, route: Route) -> None:
    response = await send(
        client, route, scene.ids("acme"), headers=scene.admins["acme"], content=b" " * 1_048_577
    )
    assert_refused(response, 413)


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
    "path",
    [
        "/api/orchestration",
        "/api/orchestration/",
        "/api/orchestration/v3/workflows",
        "/accounts/a/api/orchestration/x",
    ],
)
async def test_unknown_path_is_404_in_the_words_of_the_dialect(bare: httpx.AsyncClient, path: str) -> None:
    assert assert_refused(await bare.get(path), 404).startswith("Nothing is at this path")


async def test_asking_for_methods_tells_nothing_about_rows(bare: httpx.AsyncClient, scene: Scene) -> None:
    for route in ROUTES:
        answers = [
            await bare.options(route.url(ids))
            for ids in (scene.ids("acme"), dict.fromkeys(route.ids, uuid4()))
        ]
        assert [answer.status_code for answer in answers] == [204, 204]
        assert answers[0].headers["allow"] == answers[1].headers["allow"]
