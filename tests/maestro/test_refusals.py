"""Every route refuses everyone it should, told from the route table: a new route is covered, or fails here."""

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from auth.clients import issue_token
from auth.scopes import ADMINISTRATION, MAESTRO
from tests.callers import UNPROVEN, unproven
from tests.maestro.conftest import Scene
from tests.maestro.routes import PUBLIC, ROUTES, Route, handlers
from tests.world import LIFE, Tenant, bearer

EACH_ROUTE = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
# What never differs by what there is: ids of requests and times.
MOMENT = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
WITH_ID = [route for route in ROUTES if len(route.ids) > 1]
WITH_INSTANCE = [route for route in ROUTES if "instanceId" in route.ids]


@pytest.fixture(scope="module")
async def callers(scene: Scene) -> dict[str, dict[str, str]]:
    """Name the headers of everyone who is to be refused on Acme's rows."""
    acme = scene.world.acme

    async def token(*scopes: str) -> str:
        return await issue_token(acme.id, ("user", acme.admin_id), scopes, LIFE)

    found = await unproven(acme, MAESTRO) | {
        "another account's member": bearer(scene.world.globex.admin),
        "another account's machine": bearer(scene.world.globex.machine),
    }
    for scope in MAESTRO:
        others = [one for one in (*MAESTRO, ADMINISTRATION) if one != scope]
        found[f"no {scope}"] = bearer(await token(*others))
    found["no scope"] = bearer(await token())
    scene.stored = await scene.rows()  # the account's events tell of the tokens
    return found


CALLERS = {
    **dict.fromkeys(UNPROVEN, 401),
    **dict.fromkeys((*(f"no {scope}" for scope in MAESTRO), "no scope"), 403),
    **dict.fromkeys(("another account's member", "another account's machine"), 404),
}
# One of each kind: they are told the same whatever else is wrong with their request.
SOME_CALLERS = ("nobody", "an expired token", f"no {MAESTRO[0]}", "another account's member")


async def send(client: httpx.AsyncClient, route: Route, url: str, **changed: Any) -> httpx.Response:
    """Call a route with its own body, unless told otherwise."""
    headers = {**route.headers, **changed.pop("headers", {})}
    return await client.request(
        route.method, url, headers=headers, content=changed.pop("content", route.body), **changed
    )


def own_url(scene: Scene, route: Route) -> str:
    """Where a route's object of Acme is, which exists."""
    return route.url(scene.ids("acme"))


def refusal(response: httpx.Response, *ids: object) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Everything of an answer that a caller can tell it by, but for the ids that they sent, request ids and times."""
    headers = [(name, value) for name, value in response.headers.raw if name != b"x-request-id"]
    body = MOMENT.sub(b"", response.content).replace(response.headers["x-request-id"].encode(), b"")
    for value in ids:
        body = body.replace(str(value).encode(), b"")
    return response.status_code, headers, body


def test_public_routes_are_the_two_probes_and_the_page_of_an_instance() -> None:
    assert {path for path, handler in handlers() if handler.opt.get("public")} == PUBLIC


@EACH_ROUTE
def test_route_belongs_to_an_account_and_has_a_name(route: Route) -> None:
    assert route.path.startswith("/v1/accounts/{accountId:str}/")
    assert not route.name.startswith("/")
    assert re.findall(r"{(\w+)", route.path) == route.ids
    assert route.ids[0] == "accountId"


@EACH_ROUTE
async def test_route_refuses_callers_without_proof_scope_or_membership(
    client: httpx.AsyncClient,
    scene: Scene,
    callers: dict[str, dict[str, str]],
    route: Route,
) -> None:
    assert callers.keys() == CALLERS.keys()
    for name, headers in callers.items():
        response = await send(client, route, own_url(scene, route), headers=headers)
        assert (name, response.status_code) == (name, CALLERS[name])
        challenge = response.headers.get("www-authenticate")
        if response.status_code == 401:
            assert challenge == 'Bearer realm="tutti"' + (', error="invalid_token"' if headers else "")
        elif response.status_code == 403:
            wanted = " ".join(route.scopes)
            assert challenge == f'Bearer realm="tutti", error="insufficient_scope", scope="{wanted}"'
        else:
            assert challenge is None
    assert await scene.rows() == scene.stored


@EACH_ROUTE
async def test_route_tells_nothing_of_a_bad_request_to_callers_it_refuses(
    bare: httpx.AsyncClient, scene: Scene, callers: dict[str, dict[str, str]], route: Route
) -> None:
    ids = scene.ids("acme")
    url = route.url(ids)
    requests: dict[str, dict[str, Any]] = {
        "malformed body": {"url": url, "content": b"{[\xff"},
        "no body": {"url": url, "content": b""},
        "body of another shape": {"url": url, "content": b"[1]"},
        "NUL in the body": {"url": url, "content": route.body.replace(b"test", b"te\\u0000st")},
        "large body": {"url": url, "content": b"x" * 1_100_000},
        "other media type": {"url": url, "headers": {"Content-Type": "text/plain"}},
        "unknown parameter": {"url": f"{url}?nonsense=1"},
        **{f"bad {name}": {"url": f"{url}?{name}=%00"} for name in route.query},
        **{
            f"malformed {name}": {"url": route.url(ids | {name: "nonsense"})}
            for name in route.ids
            if name != "accountId"
        },
    }
    for caller in SOME_CALLERS:
        plain = refusal(await send(bare, route, url, headers=callers[caller]), *ids.values())
        assert plain[0] == CALLERS[caller]
        for name, request in requests.items():
            headers = {**request.get("headers", {}), **callers[caller]}
            response = await send(bare, route, **{**request, "headers": headers})
            assert (name, refusal(response, *ids.values(), "nonsense")[2]) == (name, plain[2])
            assert response.status_code == CALLERS[caller]
    assert await scene.rows() == scene.stored


@EACH_ROUTE
async def test_malformed_account_id_is_400_for_callers_whose_token_holds_and_401_for_others(
    client: httpx.AsyncClient, scene: Scene, callers: dict[str, dict[str, str]], route: Route
) -> None:
    url = route.url(scene.ids("acme") | {"accountId": "nonsense"})
    for caller, status in (("another account's member", 400), ("nobody", 401), ("a revoked token", 401)):
        response = await send(client, route, url, headers=callers[caller])
        assert (caller, response.status_code) == (caller, status)


async def compared(
    client: httpx.AsyncClient,
    route: Route,
    tenant: Tenant,
    foreign: Mapping[str, Any],
    missing: Mapping[str, Any],
) -> None:
    """Hold the answers for a foreign and a missing thing against each other, for good requests and bad ones."""
    good: dict[str, Any] = {}
    bad: tuple[dict[str, Any], ...] = (
        {"content": b"{"},
        {"params": {"nonsense": "1"}},
        {"headers": {"Content-Type": "text/plain"}},
        {"content": b'{"instance_name": "a\\u0000", "trigger_inputs": {}}'},
    )
    for request in (good, *bad):
        answers = []
        for ids in (foreign, missing):
            headers = {**request.get("headers", {}), **bearer(tenant.admin)}
            response = await send(client, route, route.url(ids), **{**request, "headers": headers})
            answers.append(refusal(response, *ids.values()))
        assert answers[0] == answers[1]
        assert answers[0][0] == 404 or request is not good


@EACH_ROUTE
async def test_another_account_answers_as_a_missing_one(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    acme, foreign = scene.world.acme, scene.ids("globex")
    await compared(client, route, acme, foreign, dict.fromkeys(foreign, uuid4()))
    await compared(client, route, acme, foreign, dict.fromkeys(foreign, UUID(int=0)))
    assert await scene.rows() == scene.stored


@pytest.mark.parametrize("route", WITH_ID, ids=lambda route: route.name)
async def test_another_accounts_thing_answers_as_a_missing_one(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    account = {"accountId": scene.world.acme.id}
    foreign = scene.ids("globex") | account
    await compared(client, route, scene.world.acme, foreign, dict.fromkeys(foreign, uuid4()) | account)
    assert await scene.rows() == scene.stored


@pytest.mark.parametrize("route", WITH_INSTANCE, ids=lambda route: route.name)
async def test_instance_of_another_account_or_workflow_answers_as_a_missing_one(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    acme, globex, own = scene.world.acme, scene.world.globex, scene.ids("acme")
    for foreign in (
        own | {"instanceId": scene.waiting["globex"]},
        own | {"workflowId": acme.workflows["greeting"]},
        own | {"workflowId": globex.workflows["waiting"]},
    ):
        await compared(client, route, acme, foreign, foreign | {"instanceId": uuid4()})
    assert await scene.rows() == scene.stored


async def test_asking_for_methods_tells_nothing_about_rows(bare: httpx.AsyncClient, scene: Scene) -> None:
    for route in ROUTES:
        own = refusal(await bare.options(own_url(scene, route)))
        assert own[0] == 204
        assert refusal(await bare.options(route.url(dict.fromkeys(route.ids, uuid4())))) == own
