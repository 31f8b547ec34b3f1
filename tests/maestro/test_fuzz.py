"""Made-up requests against every route: never a fault, always an answer in the dialect's shape."""

import json
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.maestro.conftest import Scene
from tests.maestro.errors import assert_refused
from tests.maestro.routes import ROUTES, Route
from tests.world import bearer

EXAMPLES = 200
TEXT = st.text(max_size=40)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.sampled_from(["\0", "\ud800", "${ . }"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
# What stands for an id: `own` is there, anything else is made up.
IDENTIFIER = st.just("own") | st.just("own") | st.just("own") | st.uuids() | st.binary(max_size=30)
QUERY = st.dictionaries(
    st.sampled_from(
        [
            *("status", "page_size", "ctoken", "started_by_id", "workflow_definition_id"),
            *("assigned_to", "workflow_id", "instance_id"),
        ]
    )
    | TEXT,
    TEXT | st.binary(max_size=20) | st.sampled_from(["active", "Completed", "open", "me", "1", "50"]),
    max_size=3,
)


@st.composite
def bodies(draw: st.DrawFn, route: Route) -> bytes:
    """A body: made up, or the route's own with one value or some bytes changed."""
    kind = draw(st.sampled_from(["bytes", "json", "member", "cut", "own"]))
    if kind == "bytes":
        return draw(st.binary(max_size=200))
    if kind == "json":
        return json.dumps(draw(JSON)).encode()
    if kind == "member" and route.media_type == "application/json":
        document = json.loads(route.body)
        document[draw(st.sampled_from(list(document)) | TEXT)] = draw(JSON)
        return json.dumps(document).encode()
    if kind == "cut":
        at = draw(st.integers(0, len(route.body)))
        return route.body[:at] + draw(st.binary(max_size=5)) + route.body[at + 1 :]
    return route.body


@st.composite
def requests(draw: st.DrawFn) -> tuple[Route, dict[str, Any], dict[Any, Any], bytes, str]:
    """A request against one of the routes."""
    route = draw(st.sampled_from([route for route in ROUTES if not route.lasting]))
    ids = {name: draw(IDENTIFIER) for name in route.ids}
    media_type = route.media_type or "application/json"
    return (
        route,
        ids,
        draw(st.just({}) | QUERY),
        draw(bodies(route)),
        draw(st.sampled_from([media_type, media_type, media_type, "", "text/plain"])),
    )


@pytest.mark.filterwarnings("ignore:.*:hypothesis.errors.HypothesisWarning")
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(request=requests())
async def test_made_up_request_gets_an_answer_of_the_dialect(
    bare: httpx.AsyncClient,
    scene: Scene,
    request: tuple[Route, dict[str, Any], dict[Any, Any], bytes, str],
) -> None:
    route, wanted, query, body, media_type = request
    acme = scene.world.acme
    own = scene.ids("acme")
    ids = {
        name: own[name] if one == "own" else str(one) if isinstance(one, UUID) else quote(one, safe="")
        for name, one in wanted.items()
    }
    # An id of no bytes, or of dots or slashes, makes another path.
    same_route = not any(one in ("", ".", "..") or "%2F" in one for one in ids.values())
    text = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query.items())
    response = await bare.request(
        route.method,
        f"{route.url(ids)}?{text}",
        content=body,
        headers={**bearer(acme.admin), "Content-Type": media_type},
    )
    assert response.status_code < 500, response.text
    if response.status_code >= 400 and same_route:
        assert_refused(response, response.status_code)
        assert response.status_code in (400, 404, 409, 415)
    elif response.status_code == 204:
        assert response.content == b""
    elif response.status_code < 300:
        assert response.headers["content-type"] == "application/json"
        response.json()
