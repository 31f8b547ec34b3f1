"""Whatever is sent, the answer is a refusal in the dialect's shape, and nothing is stored."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
import uvicorn
from msgspec import inspect

from service.app import LARGEST_BODY
from service.language.misfits import MOMENT
from service.maestro.errors import alternatives
from tests.faults.raw import asked, connected, listening
from tests.maestro.conftest import Scene
from tests.maestro.errors import assert_refused, targets
from tests.maestro.routes import DOCUMENT, ROUTES, Route, handlers
from tests.malformed import DEEP, NO_JSON, VALUES
from tests.waiting import eventually
from tests.world import bearer

WITH_BODY = [route for route in ROUTES if route.media_type]
WITH_JSON = [route for route in WITH_BODY if route.media_type == "application/json"]
WITH_YAML = [route for route in WITH_BODY if route.media_type == "application/yaml"]
LISTS = [route for route in ROUTES if route.query]
# What belongs to one instance or work item tries its tokens in its own tests.
PAGED = [
    route
    for route in LISTS
    if "ctoken" in route.query and not {"instanceId", "workItemId", "webhookId"} & set(route.ids)
]
INSTANCE_LISTS = [route for route in LISTS if "started_by_id" in route.query]
FILTERS: dict[str, dict[str, str]] = {
    "getAudit": {"actor_kind": "operator"},
    "getInvitations": {},  # has none
    "getIntegrations": {},
    "getConsents": {},
}
REPEATABLE = {"searchWorkflowInstances": {"status", "workflow_id"}}
STATUSES = {
    "getBulkActions": "completed",
    "GetWorkflowsList": "active",
    "getWorkItems": "open",
    "getMembers": "active",
}
PLACES = {
    "TriggerWorkflow": b'{"instance_name": "a", "trigger_inputs": {"who": VALUE}}',
    "signalWorkflowInstance": b'{"type": "goods.arrived", "data": VALUE}',
    "publishEvent": b'{"type": "goods.arrived", "data": VALUE}',
    "completeWorkItem": b'{"outcome": "approve", "fields": {"a": VALUE}}',
    "reassignWorkItem": b'{"assignees": {"users": [VALUE]}}',
    "cancelWorkflowInstance": b'{"reason": VALUE}',
    "restartWorkflowInstance": b'{"from_task": VALUE}',
    "cancelWorkflowInstances": b'{"confirm_count": 7, "reason": VALUE}',
    "restartWorkflowInstances": b'{"confirm_count": 7, "from_task": VALUE}',
    "createWebhook": b'{"url": "https://hooks.example/", "description": VALUE}',
    "changeWebhook": b'{"description": VALUE}',
    "changeAccountSettings": b'{"name": VALUE}',
    "changeMember": b'{"role": VALUE}',
    "createInvitation": b'{"email": "new@acme.example", "role": "sender", "name": VALUE}',
    "createIntegration": b'{"kind": "public", "name": VALUE, "redirect_uris": ["https://app.example/callback"]}',
    "changeIntegration": b'{"redirect_uris": [VALUE]}',
    "addIntegrationKey": b'{"public_key": VALUE}',
    "allowIntegration": b'{"scopes": [VALUE]}',
    "createWorkflow": b'{"document": {"dsl": "1.0.3", "namespace": "a", "name": "b", "version": "1.0.0",'
    b' "metadata": {"a": VALUE}}, "do": [{"a": {"set": {"b": 1}}}]}',
    "replaceWorkflow": b'{"document": {"dsl": "1.0.3", "namespace": "tests", "name": "waiting", "version": "2.0.0"},'
    b' "do": [{"a": {"set": {"b": VALUE}}}]}',
}
# Bodies that are good ones for routes whose every field may be left out, and for those whose body may.
FINE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            "cancelWorkflowInstance",
            "restartWorkflowInstance",
            "cancelWorkflowInstances",
            "restartWorkflowInstances",
        ),
        ("nothing", "null", "an empty object"),
    ),
    **dict.fromkeys(("changeWebhook", "changeIntegration", "changeAccountSettings"), ("an empty object",)),
}
NO_YAML = {
    "nothing": b"",
    "a list": b"- a\n- b\n",
    "text": b"a text",
    "an open bracket": b"document: [",
    "a tab": b"document:\n\tdsl: 1.0.3",
    "two documents": b"a: 1\n---\nb: 2\n",
    "bytes that are not UTF-8": b"document: \xff",
    "NUL": b'document: "a\\0b"',
    "a raw NUL": b"document: a\x00b",
    "half of a surrogate pair": b'document: "\\ud800"',
    "a Python object": b"document: !!python/object/apply:os.getcwd []",
    "an unknown anchor": b"document: *nowhere",
    "a circle": b"document: &a [*a]",
    "a bomb": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(
        b"%c: &%c [%s]\n" % (name, name, b",".join([b"*%c" % (name - 1)] * 9)) for name in range(98, 107)
    ),
    "deep arrays": b"[" * DEEP + b"]" * DEEP,
    "the same key twice": b"document: {}\ndocument: {}\n",
}
MEDIA_TYPES = (
    "text/plain",
    "application/xml",
    "multipart/form-data; boundary=a",
    "application/json-patch+json",
    "nonsense",
    "*/*",
)


@pytest.fixture(autouse=True)
async def nothing_stored(scene: Scene) -> AsyncIterator[None]:
    """No test of this module stores anything."""
    yield
    assert await scene.rows() == scene.stored


def url_of(scene: Scene, route: Route, workflow: str = "waiting") -> str:
    """Where a route's object of Acme is."""
    return route.url(scene.ids("acme") | {"workflowId": scene.world.acme.workflows[workflow]})


async def call(
    client: httpx.AsyncClient, scene: Scene, route: Route, url: str | None = None, **changed: Any
) -> httpx.Response:
    """Call a route as Acme's administrator, with its own body unless told otherwise."""
    headers = {**bearer(scene.world.acme.admin), **route.headers, **changed.pop("headers", {})}
    content = changed.pop("content", route.body)
    return await client.request(
        route.method, url or url_of(scene, route), headers=headers, content=content, **changed
    )


@pytest.mark.parametrize(
    ("route", "text"),
    [
        pytest.param(route, text, id=f"{route.name}-{name}")
        for route in WITH_JSON
        for name, text in NO_JSON.items()
        if name not in FINE.get(route.name, ())
    ],
)
async def test_body_that_is_no_json_object_is_refused(
    client: httpx.AsyncClient, scene: Scene, route: Route, text: bytes
) -> None:
    assert_refused(await call(client, scene, route, content=text), 400)


@pytest.mark.parametrize(
    ("route", "value"),
    [
        pytest.param(route, value, id=f"{route.name}-{value}")
        for route in WITH_JSON
        for value in VALUES
        # A definition keeps its author's numbers as they stand.
        if value != "an integer of 400 digits" or b'"document"' not in PLACES[route.name]
    ],
)
async def test_value_that_cannot_be_stored_is_refused(
    client: httpx.AsyncClient, scene: Scene, route: Route, value: str
) -> None:
    content = PLACES[route.name].replace(b"VALUE", VALUES[value])
    assert_refused(await call(client, scene, route, content=content), 400)


def typed_fields() -> Iterator[tuple[str, str, list[str]]]:
    """Each field of a body that is no text, with texts that a lax reader would take for it."""
    texts = {inspect.IntType: "1", inspect.FloatType: "1", inspect.BoolType: "true", inspect.NoneType: "null"}
    for _, handler in handlers():
        body = handler.parsed_data_field
        if not body or not isinstance(handler.operation_id, str):
            continue
        for kind in alternatives(inspect.type_info(body.annotation)):
            for field in kind.fields if isinstance(kind, inspect.StructType) else ():
                kinds = [type(one) for one in alternatives(field.type)]
                wrong = [texts[one] for one in kinds if one in texts and inspect.StrType not in kinds]
                if wrong:
                    yield handler.operation_id, field.encode_name, wrong


TYPED = list(typed_fields())


def test_bodies_have_fields_that_are_no_texts() -> None:
    found = {(route, field) for route, field, _ in TYPED}
    assert ("changeAccountSettings", "instance_retention_days") in found
    assert ("cancelWorkflowInstances", "confirm_count") in found


@pytest.mark.parametrize(
    ("name", "field", "texts"), TYPED, ids=[f"{name}-{field}" for name, field, _ in TYPED]
)
async def test_text_is_no_number_no_boolean_and_not_null(
    client: httpx.AsyncClient, scene: Scene, name: str, field: str, texts: list[str]
) -> None:
    route = next(route for route in ROUTES if route.name == name)
    for text in texts:
        body = msgspec.json.decode(route.body) | {field: text}
        response = await call(client, scene, route, content=msgspec.json.encode(body))
        assert targets(response) == {field: "FIELD_INVALID"}


async def test_null_as_a_body_is_told_of_no_field(client: httpx.AsyncClient, scene: Scene) -> None:
    route = next(route for route in ROUTES if route.name == "changeAccountSettings")
    response = await call(client, scene, route, content=b"null")
    assert response.json()["errors"] == [{"code": "FIELD_INVALID", "message": "must be an object"}]


@pytest.mark.parametrize("text", NO_YAML.values(), ids=NO_YAML)
@pytest.mark.parametrize("route", WITH_YAML, ids=lambda route: route.name)
async def test_body_that_is_no_definition_in_yaml_is_refused(
    client: httpx.AsyncClient, scene: Scene, route: Route, text: bytes
) -> None:
    assert_refused(await call(client, scene, route, content=text), 400)


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.name)
async def test_other_media_types_are_refused_with_415(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    for media_type in MEDIA_TYPES:
        assert_refused(await call(client, scene, route, headers={"Content-Type": media_type}), 415)


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.name)
async def test_body_of_10_megabytes_is_refused_with_413(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b" " * 65_536

    assert_refused(await call(client, scene, route, content=b" " * 10_485_760), 413)
    assert_refused(await call(client, scene, route, content=parts()), 413)
    assert_refused(await call(client, scene, route, content=b" " * (LARGEST_BODY + 1)), 413)
    assert_refused(await call(client, scene, route, content=b" " * LARGEST_BODY), 400)


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (b'{"trigger_inputs": {}}', {"instance_name": "FIELD_REQUIRED"}),
        (b'{"instance_name": "a"}', {"trigger_inputs": "FIELD_REQUIRED"}),
        (b'{"instance_name": "a", "trigger_inputs": {}, "more": 1}', {"more": "FIELD_INVALID"}),
        (b'{"instance_name": 1, "trigger_inputs": {}}', {"instance_name": "FIELD_INVALID"}),
        (b'{"instance_name": null, "trigger_inputs": {}}', {"instance_name": "FIELD_INVALID"}),
        (b'{"instance_name": "", "trigger_inputs": {}}', {"instance_name": "FIELD_INVALID"}),
        (b'{"instance_name": "a\\u0000", "trigger_inputs": {}}', {"instance_name": "FIELD_INVALID"}),
        (b'{"instance_name": "a", "trigger_inputs": []}', {"trigger_inputs": "FIELD_INVALID"}),
        (b'{"instance_name": "a", "trigger_inputs": null}', {"trigger_inputs": "FIELD_INVALID"}),
        (b'{"instance_name": "a", "trigger_inputs": "b"}', {"trigger_inputs": "FIELD_INVALID"}),
        (
            b'{"instance_name": "a", "trigger_inputs": {"x": "\\u0000", "y": 9007199254740992, "z": 1}}',
            {"trigger_inputs/x": "FIELD_INVALID", "trigger_inputs/y": "FIELD_INVALID"},
        ),
        (b"", {"": "FIELD_REQUIRED"}),
    ],
)
async def test_trigger_names_the_field_that_is_wrong(
    client: httpx.AsyncClient, scene: Scene, body: bytes, wrong: dict[str, str]
) -> None:
    route = next(route for route in ROUTES if route.name == "TriggerWorkflow")
    assert targets(await call(client, scene, route, content=body)) == wrong


@pytest.mark.parametrize(
    ("event", "wrong"),
    [
        ({}, "type"),
        ({"type": 1}, "type"),
        ({"type": ""}, "type"),
        ({"type": "a\0"}, "type"),
        ({"type": "a", "id": "\0"}, "id"),
        ({"type": "a", "id": 1}, "id"),
        ({"type": "a", "source": "\0"}, "source"),
        ({"type": "a", "subject": "a\0"}, "subject"),
        ({"type": "a", "time": "yesterday"}, "time"),
        ({"type": "a", "specversion": "0.1"}, "specversion"),
        ({"type": "a", "Not An Attribute": 1}, "Not An Attribute"),
    ],
)
async def test_signal_names_the_attribute_that_is_wrong(
    client: httpx.AsyncClient, scene: Scene, event: dict[str, Any], wrong: str
) -> None:
    acme = scene.world.acme
    response = await client.post(
        f"{acme.workflow_url('waiting')}/instances/{scene.waiting['acme']}/actions/signal",
        json=event,
        headers=bearer(acme.admin),
    )
    assert [target.strip("/") for target in targets(response)] == [wrong]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_unknown_query_parameter_is_refused_by_name(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    for query, name in (("nonsense=1", "nonsense"), ("Status=active", "Status"), ("%FF=1", "\ufffd")):
        response = await call(client, scene, route, f"{url_of(scene, route)}?{query}")
        assert targets(response) == {name: "FIELD_INVALID"}


WRONG_PARAMETERS = [
    *(
        ("page_size", value)
        for value in ("0", "-1", "1001", "abc", "", "1.5", "%00", "%FF", "1" + "0" * 5000)
    ),
    *(("ctoken", value) for value in ("bogus", "", "%00", "%FF", "%ED%A0%80", "a" * 513, "=", "kA", "gA")),
    *(("status", value) for value in ("nonsense", "", "%00", "%FF", "active%20", "Activ%D0%B5")),
    *(("started_by_id", value) for value in ("nonsense", "", "%00", "0" * 32 + "x", "{}")),
    *(("assigned_to", value) for value in ("nonsense", "", "%00", "ME")),
    *((name, value) for name in ("workflow_id", "instance_id") for value in ("nonsense", "", "%00", "{}")),
    *(("until", value) for value in ("nonsense", "", "%00", "Terminal")),
    *(("timeout", value) for value in ("-1", "61", "abc", "", "1.5", "%00", "1" + "0" * 5000)),
    *(("workflow_definition_id", value) for value in ("nonsense", "", "%00", "[]")),
]


@pytest.mark.parametrize("route", LISTS, ids=lambda route: route.name)
async def test_wrong_query_parameter_is_refused_by_name(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    for name, value in WRONG_PARAMETERS:
        if name in route.query:
            response = await call(client, scene, route, f"{url_of(scene, route)}?{name}={value}")
            assert (name, value, *targets(response)) == (name, value, name)


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        (
            "workflow-instances/search",
            "status=zzz",
            "must be one of: Canceled, Completed, Failed, In Progress",
        ),
        (
            "audit",
            "type=%00",
            "has the wrong form; wanted: only this type, as in `workflow.published`",
        ),
        (
            "audit",
            "from=yesterday",
            "must be a moment as of RFC 3339, with its zone, such as 2026-05-04T09:30:00Z",
        ),
        ("work-items", "status=done", "must be one of: cancelled, completed, failed, open, overdue"),
        ("work-items", "assigned_to=you", "must be one of: all, claimed_by_me, me, my_roles"),
        ("work-items", "workflow_id=x", "must be a UUID"),
        ("work-items", "due_before=1e3", MOMENT),
        ("workflow-instances/search", "started_to=0.5", MOMENT),
        ("audit", "from=1700000000", MOMENT),
        ("work-items", "page_size=0", "must be an integer of at least 1"),
        ("work-items", "page_size=1001", "must be an integer of at most 1000"),
        ("work-items", "page_size=ten", "must be an integer"),
        ("work-items", f"ctoken={'a' * 513}", "must be a string of at most 512 characters"),
        (
            "workflows",
            "status=done",
            "must be one of: active, archived, archiving, inactive, publishing, unpublishing",
        ),
    ],
    ids=[
        "several",
        "form",
        "moment",
        "status",
        "assigned_to",
        "id",
        "seconds of a date",
        "seconds of a range",
        "seconds of the audit",
        "too few",
        "too many",
        "no number",
        "long",
        "status of workflows",
    ],
)
async def test_what_a_query_parameter_may_be_is_told(
    bare: httpx.AsyncClient, scene: Scene, path: str, query: str, message: str
) -> None:
    acme = scene.world.acme
    response = await bare.get(f"{acme.url}/{path}?{query}", headers=bearer(acme.admin))
    (error,) = response.json()["errors"]
    assert (error["target"], error["message"]) == (query.partition("=")[0], message)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, {"instance_name": "is required", "trigger_inputs": "is required"}),
        (
            {"name": "a"},
            dict.fromkeys(("instance_name", "trigger_inputs"), "is required")
            | {"name": "is not a field here"},
        ),
        (
            {"instance_name": "", "trigger_inputs": {}},
            {"instance_name": "must be a string of at least 1 character"},
        ),
        ({"instance_name": "a", "trigger_inputs": []}, {"trigger_inputs": "must be an object"}),
    ],
    ids=["nothing", "another field", "no name", "no object"],
)
async def test_everything_that_a_trigger_lacks_is_told_at_once(
    bare: httpx.AsyncClient, scene: Scene, body: dict[str, Any], told: dict[str, str]
) -> None:
    acme = scene.world.acme
    url = f"{acme.workflow_url('waiting')}/actions/trigger"
    errors = (await bare.post(url, json=body, headers=bearer(acme.admin))).json()["errors"]
    assert {error["target"]: error["message"] for error in errors} == told


@pytest.mark.parametrize("route", LISTS, ids=lambda route: route.name)
async def test_repeated_query_parameter_is_refused_where_it_stands_once(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    valid = {
        "page_size": "5",
        "status": "active",
        "ctoken": "a",
        "assigned_to": "me",
        "until": "waiting",
        "timeout": "0",
        **dict.fromkeys(("started_by_id", "workflow_id", "instance_id"), str(uuid4())),
    }
    for name in (set(route.query) & valid.keys()) - REPEATABLE.get(route.name, set()):
        query = f"{name}={valid[name]}&{name}={valid[name]}"
        response = await call(client, scene, route, f"{url_of(scene, route)}?{query}")
        assert targets(response) == {name: "FIELD_INVALID"}


@pytest.mark.parametrize("route", LISTS, ids=lambda route: route.name)
async def test_null_is_no_value_of_a_query_parameter_and_may_be_any_text(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    for name in {"page_size", "status", "started_by_id", "workflow_id", "until", "timeout"} & set(
        route.query
    ):
        response = await call(client, scene, route, f"{url_of(scene, route)}?{name}=Null")
        assert targets(response) == {name: "FIELD_INVALID"}
    for name in {"name_contains", "failed_task"} & set(route.query):
        response = await call(client, scene, route, f"{url_of(scene, route)}?{name}=null")
        assert response.status_code == 200


@pytest.mark.parametrize("route", PAGED, ids=lambda route: route.name)
async def test_page_token_of_another_list_filter_or_account_is_refused(
    client: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    acme, globex = scene.world.acme, scene.world.globex
    states = FILTERS.get(route.name, {"status": STATUSES.get(route.name, "In Progress")})
    places = {
        "its own": (url_of(scene, route), {}, acme.admin),
        "filtered": (url_of(scene, route), states, acme.admin),
        "another account": (
            route.url(scene.ids("globex")),
            {},
            globex.admin,
        ),
        "another workflow": (url_of(scene, route, "greeting"), {}, acme.admin),
    }
    tokens = {}
    for place, (url, filters, token) in places.items():
        response = await client.get(url, params={**filters, "page_size": 1}, headers=bearer(token))
        found = response.json()
        tokens[place] = found.get("ctoken") or found["response_metadata"].get("page_token_next")
    taken = {name: token for name, token in tokens.items() if token != tokens["its own"]}
    assert len(taken) >= (2 if states else 1)
    for token in taken.values():
        assert targets(await call(client, scene, route, f"{url_of(scene, route)}?ctoken={token}")) == {
            "ctoken": "PAGE_TOKEN_INVALID"
        }


MALFORMED_IDS = (
    *("nonsense", "0", "%00", "%FF", "%ED%A0%80", "%20", "null", "undefined", "'", "1" * 3000),
    *("0" * 32, "urn:uuid:00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-00000000000g"),
    *("{00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000001}"),
    *("{{00000000-0000-0000-0000-000000000001}}", "00000000-0000-0000-0000-000000000001%0A"),
    "00000000-0000-0000-0000-00000000000\uff11",
)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_malformed_id_is_refused_by_name(client: httpx.AsyncClient, scene: Scene, route: Route) -> None:
    good = scene.ids("acme")
    for name in route.ids:
        for text in MALFORMED_IDS:
            response = await call(client, scene, route, route.url(good | {name: text}))
            assert (text, targets(response)) == (text, {name: "FIELD_INVALID"})


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_id_of_zeros_is_a_missing_one(client: httpx.AsyncClient, scene: Scene, route: Route) -> None:
    good = scene.ids("acme")
    for name in route.ids:
        assert_refused(await call(client, scene, route, route.url(good | {name: UUID(int=0)})), 404)


@pytest.mark.parametrize(
    "route",
    [route for route in ROUTES if route.method == "GET" and not route.lasting],
    ids=lambda route: route.name,
)
@pytest.mark.parametrize("form", [str.upper, "{{{}}}".format, lambda text: f"%7B{text.upper()}%7D"])
async def test_id_in_capitals_or_braces_is_the_same_id(
    client: httpx.AsyncClient, scene: Scene, route: Route, form: Any
) -> None:
    plain = scene.ids("acme")
    responses = [
        await call(client, scene, route, route.url(ids))
        for ids in (plain, {name: form(text) for name, text in plain.items()})
    ]
    if responses[0].headers["content-type"] == "application/jsonl":
        assert responses[0].text == responses[1].text != ""
        return
    answers = [response.json() for response in responses]
    for answer in answers:
        answer.pop("response_metadata", None)
        for name in ("request_id", "response_timestamp", "response_duration_ms"):
            answer.pop(name, None)
    assert answers[0] == answers[1] != {}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/accounts",
        "/v2/accounts/a",
        "/v1/accounts/a/nonsense",
        "/%00",
        "/%FF",
        "/a" * 2000,
        "/v1/%2e%2e",
        "/v1/accounts/..%2F../workflows",
    ],
)
async def test_unknown_route_is_404(bare: httpx.AsyncClient, scene: Scene, path: str) -> None:
    for headers in ({}, bearer(scene.world.acme.admin)):
        for method in ("GET", "POST", "BREW"):
            response = await bare.request(method, path, headers=headers)
            assert_refused(response, 404)
            assert response.json()["detail"].startswith("Nothing is at this path")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_unknown_method_is_405_and_names_the_known_ones(
    bare: httpx.AsyncClient, scene: Scene, route: Route
) -> None:
    known = {other.method for other in ROUTES if other.path == route.path} | {"OPTIONS"}
    assert set((await bare.options(url_of(scene, route))).headers["allow"].split(", ")) == known
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "TRACE", "BREW"} - known:
        response = await bare.request(method, url_of(scene, route))
        assert response.status_code == 405
        assert set(response.headers["allow"].split(", ")) == known
        if method != "HEAD":
            assert_refused(response, 405)


async def test_body_and_type_are_not_needed_where_nothing_is_read(
    client: httpx.AsyncClient, scene: Scene
) -> None:
    for route in ROUTES:
        if route.media_type is None and "actions/resume" in route.path:  # refused, as it is not paused
            for content, media_type in (
                (b"", None),
                (b"", "text/plain"),
                (b"\xff", "nonsense"),
                (b"{", None),
            ):
                headers = {"Content-Type": media_type} if media_type else {}
                assert_refused(await call(client, scene, route, content=content, headers=headers), 409)


@pytest.fixture(scope="module")
async def address(application: Any) -> AsyncIterator[tuple[str, int]]:
    """The application on a socket, behind the server that `tutti serve` runs."""
    server = uvicorn.Server(
        uvicorn.Config(application, host="127.0.0.1", port=0, lifespan="off", log_config=None)
    )
    serving = asyncio.create_task(server._serve())
    await eventually(lambda: server.started, 20)
    yield server.servers[0].sockets[0].getsockname()[:2]
    server.should_exit = True
    await serving


async def exchanged(address: tuple[str, int], request: bytes) -> bytes:
    """Send bytes and read what comes back until the server closes."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    await writer.drain()
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_chunked_body_of_10_megabytes_is_refused_with_413_over_a_socket(
    scene: Scene, address: tuple[str, int]
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b" " * 65_536

    base = f"http://{address[0]}:{address[1]}"
    async with httpx.AsyncClient(base_url=base) as client:
        for route in WITH_BODY:
            assert_refused(await call(client, scene, route, content=parts()), 413)
            assert_refused(await call(client, scene, route, content=b" " * 10_485_760), 413)


@pytest.mark.parametrize(
    "line",
    [
        b"GET /v1/accounts/\xff\xfe/workflows HTTP/1.1",
        b"GET /v1/accounts/\x00/workflows HTTP/1.1",
        b"GET /v1/accounts/%ZZ/workflows?%ZZ=%f HTTP/1.1",
        b"GET /v1/accounts/%FF/workflows?page_size=\xff HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET http://[/ HTTP/1.1",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1",
        b"\xff\xfe\xfd",
    ],
)
async def test_raw_bytes_are_refused_over_a_socket(address: tuple[str, int], line: bytes) -> None:
    answer = await exchanged(address, line + b"\r\nHost: tutti\r\nConnection: close\r\n\r\n")
    status = int(answer.split(b" ", 2)[1])
    assert 400 <= status < 500
    assert b"Traceback" not in answer


@pytest.mark.parametrize(
    "header",
    [
        b"Cookie: ",
        b"Cookie: \xff=\xfe; ;;=",
        b"Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQBAAAAAAIAAAAA",
        b"User-Agent: docusign-sdk/v1/1.0.0-beta." + b"9" * 5000 + b"/typescript/",
        b"User-Agent: \xff\xfe",
        b"X-Request-Id: \xff",
        b"X-Request-Id: " + b"1" * 5000,
        b"Accept: \xff",
        b"Content-Type: \xff",
        b"Content-Type: application/json; charset=nonsense",
        b"Host: \xff",
    ],
)
async def test_odd_headers_do_not_harm(scene: Scene, address: tuple[str, int], header: bytes) -> None:
    acme = scene.world.acme
    answer = await exchanged(
        address,
        f"GET {acme.url}/workflows HTTP/1.1\r\nHost: tutti\r\n".encode()
        + f"Authorization: Bearer {acme.admin}\r\nConnection: close\r\n".encode()
        + header
        + b"\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 200 ") or (header.startswith(b"Host") and b" 400 " in answer[:20])


async def test_a_token_behind_the_body_proves_nothing(scene: Scene, application: Any) -> None:
    acme = scene.world.acme
    proof = f"Authorization: Bearer {acme.admin}"
    async with listening(application) as port, connected(port) as peer:
        for headers, trailer, status in ((), proof, 401), ((proof,), "X: y", 200):
            await peer.send(asked(f"{acme.url}/workflows", "Transfer-Encoding: chunked", *headers))
            await peer.send(b"2\r\n{}\r\n")
            await asyncio.sleep(0.05)
            await peer.send(f"0\r\n{trailer}\r\n\r\n".encode())
            assert (await peer.answer())[0] == status


@pytest.mark.parametrize("header", ["Authorization", "Content-Type"])
async def test_header_that_is_not_ascii_is_refused(
    bare: httpx.AsyncClient, scene: Scene, header: str
) -> None:
    route = next(route for route in ROUTES if route.name == "TriggerWorkflow")
    headers = [(b"content-type", b"application/json"), (b"authorization", b"Bearer x")]
    headers = [(name, value) for name, value in headers if name != header.lower().encode()]
    response = await bare.post(
        url_of(scene, route),
        content=route.body,
        headers=[*headers, (header.lower().encode(), b"Bearer \xff\x80")],
    )
    assert_refused(response, 401)


async def test_document_with_the_same_key_twice_is_refused(client: httpx.AsyncClient, scene: Scene) -> None:
    route = next(route for route in ROUTES if route.name == "createWorkflow")
    text = route.body.replace(b'"dsl"', b'"dsl": "1.0.2", "dsl"')
    assert text != route.body
    assert DOCUMENT["document"]["name"].encode() in text
    assert_refused(await call(client, scene, route, content=text), 400)
