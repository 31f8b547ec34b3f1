"""Whatever is sent, the answer is a refusal in the dialect's shape that names what is wrong, and nothing is stored."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from tests.formance.conftest import Scene
from tests.formance.errors import assert_refused
from tests.formance.routes import PAGED, ROUTES, WITH_BODY, body_of
from tests.maestro.routes import Route
from tests.malformed import DEEP, NO_JSON, VALUES

# Bodies that are good ones for routes that take any object, or none.
FINE = {"Variables": ("nothing", "an empty object", "null"), "EventPayload": ("an empty object",)}
PLACES = {
    "WorkflowConfig": b'{"stages": [{"wait_event": {"event": VALUE}}]}',
    "Variables": b'{"who": VALUE}',
    "InstanceEvent": b'{"name": VALUE}',
    "TriggerData": b'{"event": VALUE, "workflowID": "0190f3b4-6a0c-7c3e-9a55-3f8f2d6b1c01"}',
    "EventPayload": b'{"a": VALUE}',
}
# The same handlers read the bodies of routes that name the account.
ALONE = [route for route in WITH_BODY if "accountId" not in route.ids]
IDS = [(route, name) for route in ROUTES for name in route.ids if name != "accountId"]


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


@pytest.mark.parametrize(
    ("route", "text"),
    [
        pytest.param(route, text, id=f"{route.name}-{name}")
        for route in ALONE
        for name, text in NO_JSON.items()
        if name not in FINE.get(str(route.model), ())
    ],
)
async def test_body_that_is_no_object_of_the_kind_is_refused(
    client: httpx.AsyncClient, scene: Scene, route: Route, text: bytes
) -> None:
    assert_refused(await call(client, scene, route, content=text), 400)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("route", ALONE, ids=lambda route: route.name)
async def test_value_that_cannot_be_stored_is_refused(
    client: httpx.AsyncClient, scene: Scene, route: Route, value: str
) -> None:
    content = PLACES[str(route.model)].replace(b"VALUE", VALUES[value])
    assert_refused(await call(client, scene, route, content=content), 400)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "stages"),
        ({"stages": {}}, "stages"),
        ({"stages": [{}]}, "stage 0"),
        ({"stages": [{"noop": {}}, {"noop": {}, "delay": {}}]}, "stage 1"),
        ({"stages": [{"dance": {}}]}, "stage 0"),
        ({"stages": [{"delay": {"duration": "3d"}}]}, "stage 0: delay.duration"),
        ({"stages": [{"delay": {}}]}, "stage 0"),
        ({"stages": [{"wait_event": {}}]}, "stage 0: wait_event.event"),
        ({"stages": [], "name": 7}, "name"),
        ({"stages": [{"noop": {}}] * 101}, "at most 100"),
    ],
    ids=[
        "no stages",
        "no list",
        "no kind",
        "two kinds",
        "unknown kind",
        "days",
        "no length",
        "no event",
        "name",
        "many",
    ],
)
async def test_config_that_cannot_be_run_is_refused_with_the_place(
    client: httpx.AsyncClient, scene: Scene, config: dict[str, Any], told: str
) -> None:
    route = next(route for route in ROUTES if route.name == "createWorkflow")
    assert told in assert_refused(await call(client, scene, route, content=msgspec.json.encode(config)), 400)


@pytest.mark.parametrize(
    ("body", "told"),
    [(b'{"a": 1}', "str"), (b'{"a": null}', "str"), (b'["a"]', "object"), (b'{"a": {"b": "c"}}', "str")],
)
async def test_variables_that_are_no_strings_are_refused(
    client: httpx.AsyncClient, scene: Scene, body: bytes, told: str
) -> None:
    for route in ROUTES:
        if route.model == "Variables":
            assert told in assert_refused(await call(client, scene, route, content=body), 400)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"name": ""}', b'{"name": 7}', b'{"name": null}'])
async def test_event_without_a_name_is_refused(client: httpx.AsyncClient, scene: Scene, body: bytes) -> None:
    for route in ROUTES:
        if route.model == "InstanceEvent":
            assert_refused(await call(client, scene, route, content=body), 400)


@pytest.mark.parametrize(("route", "name"), IDS, ids=lambda value: getattr(value, "name", value))
async def test_id_that_is_none_is_the_id_of_nothing(
    client: httpx.AsyncClient, scene: Scene, route: Route, name: str
) -> None:
    # Of a workflow that is to be deleted it is wrong, as with the vendor.
    status = 400 if route.method == "DELETE" else 404
    for text in ("nonsense", "-1", "%00", "%FF", "\uff11", "1.5", "1" * 3000, "0" * 32):
        assert_refused(await call(client, scene, route, {name: text}), status if name != "number" else 404)


def cursor(**fields: Any) -> str:
    """Write a cursor by hand."""
    return base64.urlsafe_b64encode(msgspec.json.encode(fields)).decode().rstrip("=")


WHOLE = {"pageSize": 1, "at": "2026-01-01T00:00:00Z", "id": "00000000-0000-0000-0000-000000000001"}
CURSORS = {
    "no base64": "bogus!",
    "padding alone": "=",
    "NUL": "\x00",
    "no JSON": base64.urlsafe_b64encode(b"\xff").decode(),
    "the vendor's": "eyJvZmZzZXQiOjE1LCJvcmRlciI6MCwicGFnZVNpemUiOjE1LCJmaWx0ZXJzIjpudWxsfQ",
    "nothing": cursor(),
    "page of none": cursor(**WHOLE | {"pageSize": 0}),
    "page too large": cursor(**WHOLE | {"pageSize": 1001}),
    "no zone": cursor(**WHOLE | {"at": "2026-01-01T00:00:00"}),
    "beyond the calendar": cursor(**WHOLE | {"at": "0001-01-01T00:00:00+14:00"}),
    "no id": cursor(**WHOLE | {"id": "1"}),
    "other filters": cursor(**WHOLE | {"filters": {"Running": "yes"}}),
    "very long": cursor(**WHOLE, more="a" * 2000),
}


@pytest.mark.parametrize("text", CURSORS.values(), ids=CURSORS)
@pytest.mark.parametrize("route", PAGED, ids=lambda route: route.name)
async def test_cursor_that_is_none_is_refused(
    client: httpx.AsyncClient, scene: Scene, route: Route, text: str
) -> None:
    told = assert_refused(await call(client, scene, route, params={"cursor": text}), 400)
    assert told.startswith("invalid 'cursor' query param")


@pytest.mark.parametrize("route", PAGED, ids=lambda route: route.name)
async def test_cursor_of_another_list_is_refused(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    filters: dict[str, Any] = {} if "running" in route.query else {"filters": {}}
    assert_refused(await call(client, scene, route, params={"cursor": cursor(**WHOLE, **filters)}), 400)


@pytest.mark.parametrize("size", ["-1", "abc", "1.5", "\x00", "\uff11", str(2**32), "1" + "0" * 5000])
@pytest.mark.parametrize("route", PAGED, ids=lambda route: route.name)
async def test_page_size_that_is_no_number_is_refused(
    client: httpx.AsyncClient, scene: Scene, route: Route, size: str
) -> None:
    told = assert_refused(await call(client, scene, route, params={"pageSize": size}), 400)
    assert told.startswith("invalid 'pageSize' query param")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"a text",
        b"stages: [",
        b"stages:\n\t- a",
        b"a: 1\n---\nb: 2\n",
        b"stages: \xff",
        b"a: &a [*a]",
        b"[" * DEEP,
    ],
    ids=["nothing", "text", "open", "tab", "two", "no UTF-8", "a circle", "deep"],
)
async def test_body_that_is_no_yaml_is_refused(client: httpx.AsyncClient, scene: Scene, text: bytes) -> None:
    headers = scene.admins["acme"] | {"Content-Type": "text/vnd.yaml"}
    assert_refused(await client.post("/api/orchestration/workflows", content=text, headers=headers), 400)
