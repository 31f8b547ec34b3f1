"""Steps that make requests: what a server gets, what of its answer the bucket keeps, and how calls fail."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from service.engine.egress import Egress
from tests.engine.outside import Site, egress, site
from tests.keyfactor.stepping import Running, chain, step

NASTY = 'a"b\\c\r\nd&e=f<g>/../é$(other)'


async def respond(request: web.Request) -> web.StreamResponse:
    """Answer in JSON what the request had; with 503 where the path says so, and with a token at `/token`."""
    if request.path == "/token":
        return web.json_response({"access_token": "t-1", "expires_in": 60})
    if request.path == "/broken":
        return web.json_response({"error": "no"}, status=503)
    return web.json_response({"path": str(request.rel_url), "list": [1, {"a": "b"}]})


@pytest.fixture
async def server() -> AsyncIterator[Site]:
    async with site(respond) as made:
        yield made


@pytest.fixture
async def way() -> AsyncIterator[Egress]:
    async with egress() as made:
        yield made


async def called(way: Egress, bucket: dict[str, Any], **parameters: Any) -> Any:
    """What the bucket is after a request."""
    reached = await Running(*chain(step("RESTRequest", "Call", **parameters)), way=way).run(bucket)
    assert reached.status == "completed", reached.fault
    return reached.output


async def test_a_request_is_made_and_its_answer_kept(way: Egress, server: Site) -> None:
    after = await called(
        way,
        {"cn": "x y", "n": 1},
        Verb="post",
        URL=server.url + "/certs/$(cn)?n=$(n)",
        Headers={"X-One": ["a", "$(cn)"], "X-Two": "b"},
        ContentType="application/json",
        RequestContent='{"cn": "$(cn)", "n": $(n), "none": $(none)}',
        DataBucketProperty="Answer",
    )
    (request,) = server.requests
    assert (request.method, str(request.rel_url)) == ("POST", "/certs/x%20y?n=1")
    assert (request.headers["X-One"], request.headers["X-Two"]) == ("a, x y", "b")
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(server.bodies[0]) == {"cn": "x y", "n": 1, "none": None}
    assert after == {"cn": "x y", "n": 1, "Answer": {"path": "/certs/x%20y?n=1", "list": [1, {"a": "b"}]}}


async def test_what_a_call_answered_can_be_used_by_the_steps_behind_it(way: Egress, server: Site) -> None:
    first = step("RESTRequest", "One", Verb="GET", URL=server.url + "/a", DataBucketProperty="Answer")
    second = step("RESTRequest", "Two", Verb="GET", URL=server.url + "/b?$(Answer.list)")
    third = step("UpdateMetadata", "Three", Name="x", Value="$(Answer.path)")
    reached = await Running(*chain(first, second, third), way=way).run({})
    assert reached.output["metadata"] == {"x": "/a"}
    assert server.requests[1].query_string == '[1,{"a":"b"}]'


async def test_nothing_of_the_answer_is_kept_that_is_not_asked_for(way: Egress, server: Site) -> None:
    assert await called(way, {"a": 1}, Verb="GET", URL=server.url) == {"a": 1}
    assert server.bodies == [""]


@pytest.mark.parametrize(
    ("kind", "content", "read"),
    [
        ("application/json", '{"v": "<$(v)>", "w": $(v)}', lambda text: json.loads(text)["v"][1:-1]),
        ("application/json", '{"v": "\\"$(v)", "w": $(v)}', lambda text: json.loads(text)["w"]),
        ("application/x-www-form-urlencoded", "v=$(v)&w=1", lambda text: parse_qs(text)["v"][0]),
        ("text/plain", "$(v)", lambda text: text),
        ("", "$(v)", lambda text: text),
    ],
)
async def test_a_value_stays_within_its_place_in_the_body(
    way: Egress, server: Site, kind: str, content: str, read: Any
) -> None:
    given = {"ContentType": kind} if kind else {}
    await called(
        way, {"v": NASTY, "other": "NO"}, Verb="PUT", URL=server.url, RequestContent=content, **given
    )
    assert read(server.bodies[0]) == NASTY


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        (
            {"Headers": {"content-type": ["application/json; charset=utf-8"]}},
            "application/json; charset=utf-8",
        ),
        ({"Headers": {"content-type": "text/plain"}, "ContentType": "application/json"}, "application/json"),
        ({"ContentType": "application/x-ndjson"}, "application/x-ndjson"),
    ],
)
async def test_a_body_is_what_is_said_of_it_wherever_that_is_said(
    way: Egress, server: Site, how: dict[str, Any], kind: str
) -> None:
    await called(way, {"v": NASTY}, Verb="PUT", URL=server.url, RequestContent='{"v": "$(v)"}', **how)
    assert json.loads(server.bodies[0]) == {"v": NASTY}
    assert server.requests[0].headers.getall("Content-Type") == [kind]


async def test_a_type_of_content_is_never_taken_for_jq(way: Egress, server: Site) -> None:
    kind = "${ .v }"
    await called(way, {"v": "no"}, Verb="PUT", URL=server.url, RequestContent="x", ContentType=kind)
    assert server.requests[0].headers["Content-Type"] == kind


async def test_a_value_is_text_in_xml(way: Egress, server: Site) -> None:
    await called(
        way, {"v": "<&>"}, Verb="PUT", URL=server.url, ContentType="text/xml", RequestContent="<a>$(v)</a>"
    )
    assert server.bodies == ["<a>&lt;&amp;&gt;</a>"]


async def test_a_long_body_may_have_tokens_too(way: Egress, server: Site) -> None:
    content = "$(v)" + "x" * 60_000 + "$(v)"
    after = await called(way, {"v": 1}, Verb="PUT", URL=server.url, RequestContent=content)
    assert (server.bodies, after) == (["1" + "x" * 60_000 + "1"], {"v": 1})


@pytest.mark.parametrize("value", ["../admin", "..", ".", "a/../b", "x?y#z", "http://other/"])
async def test_a_value_leads_a_url_nowhere_else(way: Egress, server: Site, value: str) -> None:
    reached = await Running(
        *chain(step("RESTRequest", "Call", Verb="GET", URL=server.url + "/a/$(v)/b")), way=way
    ).run({"v": value})
    if value in ("..", "."):
        assert (reached.status, server.requests) == ("faulted", [])
    else:
        assert server.requests[0].match_info["path"] == f"a/{value}/b"
        assert server.requests[0].raw_path.count("/") == 3


async def test_a_url_may_begin_with_a_token(way: Egress, server: Site) -> None:
    await called(way, {"base": server.url}, Verb="GET", URL="$(base)/a?x=$(base)")
    assert server.requests[0].query["x"] == server.url


async def test_a_name_and_a_password_are_sent_and_told_nowhere(way: Egress, server: Site) -> None:
    running = Running(
        *chain(
            step("RESTRequest", "Call", Verb="GET", URL=server.url, Username="$(who)", Password="geheim-1")
        ),
        way=way,
    )
    await running.run({"who": "ann"})
    sent = base64.b64encode(b"ann:geheim-1").decode()
    assert server.requests[0].headers["Authorization"] == f"Basic {sent}"
    assert running.encoded is not None
    assert b"geheim-1" not in running.encoded
    assert "geheim-1" not in str(running.history)


async def test_a_token_is_got_by_the_clients_credentials(way: Egress, server: Site) -> None:
    call = step(
        "OAuthRESTRequest",
        "Call",
        Verb="GET",
        URL=server.url + "/a",
        client_id="${ me }",
        client_secret="geheim-2",
        TokenEndpoint=server.url + "/token",
        scope="one two",
        audience="them",
        DataBucketProperty="Answer",
    )
    reached = await Running(*chain(call), way=way).run({})
    assert reached.output == {"Answer": {"path": "/a", "list": [1, {"a": "b"}]}}
    assert server.requests[1].headers["Authorization"] == "Bearer t-1"
    assert parse_qs(server.bodies[0]) == {
        "grant_type": ["client_credentials"],
        "client_id": ["${ me }"],
        "client_secret": ["geheim-2"],
        "scope": ["one two"],
        "audience": ["them"],
    }


async def test_a_call_that_is_refused_fails_the_instance(way: Egress, server: Site) -> None:
    reached = await Running(
        *chain(step("RESTRequest", "Call", Verb="GET", URL=server.url + "/broken")), way=way
    ).run({})
    assert reached.status == "faulted"
    assert reached.fault is not None
    assert (reached.fault.status, reached.fault.detail) == (503, '{"error": "no"}')
    assert reached.current_step == "Call"


async def test_a_step_that_is_not_done_calls_nobody(way: Egress, server: Site) -> None:
    call = step("RESTRequest", "Call", Verb="GET", URL=server.url, Conditions=[{"Value": "$(go)"}])
    reached = await Running(*chain(call), way=way).run({"go": "False"})
    assert (reached.output, server.requests) == ({"go": "False"}, [])
