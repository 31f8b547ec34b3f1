"""Whatever is sent, the answer is a refusal in the dialect's shape that names what is wrong, and nothing is stored."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.keyfactor.errors import Code
from service.language.texts import TEXT_LIMIT
from tests.keyfactor.errors import assert_refused
from tests.keyfactor.routes import LISTS, ROUTES, WITH_BODY, body_of
from tests.keyfactor.scene import Scene
from tests.maestro.routes import Route
from tests.malformed import NO_JSON, VALUES

# Bodies that are good ones for some routes.
FINE = {
    "DefinitionUpdateRequest": ("an empty object", "a byte order mark"),
    "RestartRequest": ("nothing", "an empty object", "a byte order mark"),
    "DefinitionStepRequests": ("an array",),
}
PLACES = {
    "SignalRequest": b'{"SignalKey": "goods.goods.arrived", "Data": VALUE}',
    "RestartRequest": b'{"Version": VALUE}',
    "DefinitionCreateRequest": b'{"DisplayName": VALUE, "Key": "1", "WorkflowType": "Enrollment"}',
    "DefinitionUpdateRequest": b'{"DisplayName": VALUE}',
    "DefinitionStepRequests": b'[{"ExtensionName": "NOOPStep", "UniqueName": VALUE, "Outputs": {}}]',
    "DefinitionEnabled": b"VALUE",
}
IDS = [(route, name) for route in ROUTES for name in route.ids]
NUMBERS = ("pageReturned", "returnLimit", "sortAscending")
PREFIXES = ("", "pq.", "instanceQuery.", "query.", "PQ.", "INSTANCEQUERY.")


@pytest.fixture(autouse=True)
async def nothing_stored(scene: Scene) -> AsyncIterator[None]:
    """No test of this module stores anything."""
    yield
    assert await scene.rows() == scene.stored


async def call(
    client: httpx.AsyncClient, scene: Scene, route: Route, ids: dict[str, str] | None = None, **changed: Any
) -> httpx.Response:
    """Call a route as Acme's administrator, with its own body unless told otherwise."""
    url = route.url(scene.ids("acme") | (ids or {}))
    content = changed.pop("content", body_of(route))
    return await client.request(route.method, url, headers=scene.admins["acme"], content=content, **changed)


def status_of(text: bytes) -> int:
    """How a body that is wrong is refused."""
    return 413 if len(text) > TEXT_LIMIT else 400


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.name)
async def test_body_that_is_none_of_the_kind_is_refused(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    for name, text in NO_JSON.items():
        if name not in FINE.get(str(route.model), ()):
            assert_refused(await call(client, scene, route, content=text), status_of(text))


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.name)
async def test_value_that_cannot_be_stored_is_refused(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    for value in VALUES.values():
        content = PLACES[str(route.model)].replace(b"VALUE", value)
        assert_refused(await call(client, scene, route, content=content), status_of(content))


@pytest.mark.parametrize(("route", "name"), IDS, ids=lambda value: getattr(value, "name", value))
async def test_id_that_is_none_is_refused(
    client: httpx.AsyncClient, scene: Scene, route: Route, name: str
) -> None:
    status = 404 if name in ("version", "extensionName") else 400
    for text in ("nonsense", "-1", "%00", "%FF", "\uff11", "1.5", "1" * 3000, "0" * 32, "819362742345"):
        assert_refused(await call(client, scene, route, {name: text}), status)


@pytest.mark.parametrize("route", LISTS, ids=lambda route: route.name)
async def test_page_that_is_none_is_refused(client: httpx.AsyncClient, scene: Scene, route: Route) -> None:
    for text in ("-1", "abc", "1.5", "\x00", "\uff11", "true", str(2**31), "1" + "0" * 5000, "0x1"):
        for name in NUMBERS:
            told = assert_refused(await call(client, scene, route, params={name: text}), 400, Code.PAGE)
            assert told.startswith(f"{name} must be a whole number from")


@pytest.mark.parametrize("route", LISTS, ids=lambda route: route.name)
async def test_page_beyond_its_bounds_is_refused_under_any_name(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    for name, text in (
        ("pageReturned", "0"),
        ("returnLimit", "0"),
        ("returnLimit", "1001"),
        ("sortAscending", "2"),
    ):
        for prefix in PREFIXES:
            for written in (prefix + name, prefix + name.lower(), prefix + name.upper()):
                told = await call(client, scene, route, params={written: text})
                assert_refused(told, 400, Code.PAGE)


@pytest.mark.parametrize("route", LISTS, ids=lambda route: route.name)
async def test_empty_parameters_are_none(client: httpx.AsyncClient, scene: Scene, route: Route) -> None:
    plain = await call(client, scene, route)
    empty = await call(client, scene, route, params=dict.fromkeys(route.query, "") | {"nonsense": "1"})
    assert plain.status_code == 200
    assert (empty.status_code, empty.content) == (200, plain.content)


@pytest.mark.parametrize("route", LISTS, ids=lambda route: route.name)
async def test_unknown_sort_field_is_refused_by_the_vendors_code(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    for text in ("X", "Id; DROP", "current_step", "\x00", "x" * 1000, "'", "Id,Status"):
        answer = await call(client, scene, route, params={"sortField": text})
        assert assert_refused(answer, 400, Code.SORT_FIELD).startswith("Invalid sort field: ")


QUERIES = {
    "no operator": "Status",
    "no value": "Status -eq",
    "unknown operator": "Status -is 2",
    "unknown field": "Nonsense -eq 1",
    "open parenthesis": "(Id -eq NULL",
    "closed parenthesis": "Id -eq NULL)",
    "open quote": 'DisplayName -eq "a',
    "AND alone": "AND",
    "two in a row": "Id -eq NULL Id -eq NULL",
    "no GUID": "Id -eq 7",
    "NUL": "Id -eq \x00",
    "SQL": "Id -eq 1; DROP TABLE instance",
    "deep": "(" * 2000 + "Id -eq NULL" + ")" * 2000,
    "very long": "Id -eq NULL OR " * 1000 + "Id -eq NULL",
}


@pytest.mark.parametrize("route", LISTS, ids=lambda route: route.name)
async def test_query_that_is_none_is_refused(client: httpx.AsyncClient, scene: Scene, route: Route) -> None:
    for query in QUERIES.values():
        answer = await call(client, scene, route, params={"queryString": query})
        assert_refused(answer, 400, Code.QUERY)


@pytest.mark.parametrize(
    ("route", "name"),
    [
        pytest.param(route, name, id=f"{route.name}-{name}")
        for route in ROUTES
        for name in ("version", "definitionVersion", "exportable", "force")
        if name in route.query
    ],
)
async def test_other_parameter_that_is_none_is_refused(
    client: httpx.AsyncClient, scene: Scene, route: Route, name: str
) -> None:
    for text in ("x", "-1", "1.5", str(2**31), "\x00"):
        assert name in assert_refused(await call(client, scene, route, params={name: text}), 400)
