"""`call: http`: what is sent, what comes of the response, and what of it nobody gets to see."""

import base64
import json
import logging
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from service.engine.effects import redaction
from service.engine.effects.call_http import perform
from service.engine.effects.http_request import expanded, key_header, request_of
from service.engine.effects.http_response import content_of
from service.engine.effects.redaction import MARK, Redaction
from service.engine.egress import CallError, Response
from service.engine.flow import Raised
from service.language.document import UriTemplate
from tests.engine.outside import (
    ACCOUNT,
    KEY,
    TRACE,
    Sandbox,
    Site,
    call,
    egress,
    fault_of,
    kind_of,
    listener,
    site,
    waiting,
)

SECRET = "s3cr3t/with ünusual+characters"


async def echo(request: web.Request) -> web.Response:
    """Answer with where the request went, and its body."""
    return web.json_response({"path": request.raw_path, "body": await request.text()})


def answering(body: bytes | str = b"", status: int = 200, **headers: str) -> Any:
    """Answer the same to every request; `content_type` stands for Content-Type."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    content = body.encode() if isinstance(body, str) else body

    async def respond(_: web.Request) -> web.Response:
        return web.Response(status=status, body=content, headers=given)

    return respond


async def echoed(arguments: dict[str, Any], data: Any = None, **rest: Any) -> Any:
    """What a server gets of a call; an endpoint is relative to it."""
    async with site(answering()) as server, egress() as way:
        endpoint = server.url + arguments.get("endpoint", "/")
        await call(way, {**arguments, "endpoint": endpoint}, data, **rest)
    (request,), (body,) = server.requests, server.bodies
    return {
        "method": request.method,
        "path": request.raw_path,
        "headers": {name.lower(): value for name, value in request.headers.items()},
        "body": body,
    }


async def output(respond: Any, **arguments: Any) -> Any:
    """The output of a call to a server that responds so."""
    async with site(respond) as server, egress() as way:
        return await call(way, {"endpoint": server.url, **arguments})


# --- The request ----------------------------------------------------------------------------------------------------


async def test_a_call_says_who_it_is_and_which_one() -> None:
    got = await echoed({"method": "delete"})
    headers = got["headers"]
    assert got["method"] == "DELETE"
    assert headers["user-agent"] == "tutti"
    assert headers["idempotency-key"] == KEY
    assert headers["traceparent"] == TRACE
    assert "content-type" not in headers
    assert got["body"] == ""


async def test_the_author_replaces_or_omits_what_a_call_says_of_itself() -> None:
    headers = (
        await echoed(
            {"headers": {"User-Agent": "mine", "IDEMPOTENCY-KEY": "${ .key }", "TraceParent": "${ null }"}},
            {"key": "k-1"},
        )
    )["headers"]
    assert (headers["user-agent"], headers["idempotency-key"]) == ("mine", "k-1")
    assert "traceparent" not in headers


@pytest.mark.parametrize(
    ("key", "sent"),
    [
        (KEY, KEY),
        ("i:/do/0/a~1b ü:1:1", "i:/do/0/a~1b%20%C3%BC:1:1"),
        ("i:/do/0/a\r\nX-Evil: 1:1:1", "i:/do/0/a%0D%0AX-Evil:%201:1:1"),
    ],
)
def test_a_key_is_one_line_of_ascii(key: str, sent: str) -> None:
    assert key_header(key) == sent


@given(st.text())
def test_a_key_is_short_and_the_same_for_the_same_call(key: str) -> None:
    key = key.encode(errors="replace").decode()
    assert key_header(key) == key_header(key)
    assert len(key_header(key * 100)) <= 255
    assert key_header(key).isascii()


@pytest.mark.parametrize(
    ("endpoint", "given", "path"),
    [
        ("/pets/{id}", {"id": 7}, "/pets/7"),
        ("/pets/{id}", {"id": "a b/ü?#%&"}, "/pets/a%20b%2F%C3%BC%3F%23%25%26"),
        ("/pets/{id}", {"id": "-._~Az09"}, "/pets/-._~Az09"),
        ("/pets/{id}", {"id": True}, "/pets/true"),
        ("/pets/{id}", {"id": 1.5}, "/pets/1.5"),
        ("/pets/{id}", {"id": None}, "/pets/"),
        ("/pets/{id}", {}, "/pets/"),
        ("/pets/{id}", [1], "/pets/"),
        ("/pets/{a.b}", {"a": {"b": 1}, "a.b": 2}, "/pets/2"),
        ("/pets?status={s}&x=1", {"s": "a&b=c"}, "/pets?status=a%26b%3Dc&x=1"),
        ("/p?q={q}", {"q": ".."}, "/p?q=.."),
    ],
)
async def test_an_endpoint_is_filled_in(endpoint: str, given: Any, path: str) -> None:
    assert (await echoed({"endpoint": endpoint}, given))["path"] == path


@pytest.mark.parametrize(
    ("endpoint", "given"),
    [
        ("/{id}", {"id": [1]}),
        ("/{id}", {"id": {}}),
        ("/users/{id}/delete", {"id": ".."}),
        ("/users/{id}", {"id": "."}),
        ("/users/{a}{b}", {"a": ".", "b": "."}),
    ],
)
async def test_an_endpoint_that_cannot_be_filled_in_is_an_expression_error(endpoint: str, given: Any) -> None:
    async with egress() as way:
        fault = await fault_of(way, {"endpoint": "https://example.com" + endpoint}, given)
    assert kind_of(fault) == ("expression", 400)


@given(st.text(min_size=1))
def test_a_property_stays_in_its_place(value: str) -> None:
    template = UriTemplate(("https://example.com/a/", "x", "/b?c=", "x", "&d=e"))
    try:
        text = expanded(template, {"x": value})
    except CallError:
        assert value in (".", "..")
        return
    expected = quote(value.encode(errors="replace"), safe="")
    assert text == f"https://example.com/a/{expected}/b?c={expected}&d=e"


async def test_an_endpoint_may_be_computed() -> None:
    async with site(echo) as server, egress() as way:
        got = await call(way, {"endpoint": '${ .base + "/{id}" }'}, {"base": server.url, "id": 1})
        assert got["path"] == "/%7Bid%7D"


@pytest.mark.parametrize("uri", ["'x'", "1", "null", '"ftp://example.com"', '"http://user:word@example.com"'])
async def test_a_computed_endpoint_that_cannot_be_called_is_a_configuration_error(uri: str) -> None:
    async with egress() as way:
        fault = await fault_of(way, {"endpoint": "${ " + uri.replace("'", '"') + " }"})
    assert kind_of(fault) == ("configuration", 400)


@pytest.mark.parametrize(
    ("endpoint", "query", "path"),
    [
        ("/a", {"b": "c"}, "/a?b=c"),
        ("/a?x=1", {"b": "c d&=ü"}, "/a?x=1&b=c%20d%26%3D%C3%BC"),
        ("/a?", {"b": 1}, "/a?b=1"),
        ("/a", {"b": [1, "two", None, True]}, "/a?b=1&b=two&b=true"),
        ("/a", {"b": None}, "/a"),
        ("/a#part", {"b": 1.5}, "/a?b=1.5"),
        ("/a", "${ {b: .n} }", "/a?b=7"),
        ("/a", {"b+ü": "a+b"}, "/a?b%2B%C3%BC=a%2Bb"),
    ],
)
async def test_the_query_is_appended(endpoint: str, query: Any, path: str) -> None:
    assert (await echoed({"endpoint": endpoint, "query": query}, {"n": 7}))["path"] == path


async def test_headers_are_texts() -> None:
    got = await echoed(
        {"headers": {"X-A": 1, "X-B": True, "X-C": "${ .c }", "X-D": "${ .missing }", "X-E": "ü"}}, {"c": "d"}
    )
    headers = got["headers"]
    assert (headers["x-a"], headers["x-b"], headers["x-c"], headers["x-e"]) == ("1", "true", "d", "ü")
    assert "x-d" not in headers


@pytest.mark.parametrize(
    ("body", "typed", "sent", "media_type"),
    [
        ({"a": "ü"}, None, '{"a":"ü"}', "application/json"),
        ([1, None], None, "[1,null]", "application/json"),
        (False, None, "false", "application/json"),
        (0, None, "0", "application/json"),
        ("text ü", None, "text ü", "text/plain; charset=utf-8"),
        ("", None, "", "text/plain; charset=utf-8"),
        ("<a/>", "application/xml", "<a/>", "application/xml"),
        ({"a": 1}, "application/ld+json", '{"a":1}', "application/ld+json"),
        (
            {"a": "b c&ü", "d": [1, 2], "e": None},
            "application/x-www-form-urlencoded",
            "a=b+c%26%C3%BC&d=1&d=2",
            "application/x-www-form-urlencoded",
        ),
        ("a=b", "application/x-www-form-urlencoded", "a=b", "application/x-www-form-urlencoded"),
    ],
)
async def test_the_body_and_its_type(body: Any, typed: str | None, sent: str, media_type: str) -> None:
    headers = {"Content-Type": typed} if typed else {}
    got = await echoed({"method": "post", "body": body, "headers": headers})
    assert (got["body"], got["headers"]["content-type"]) == (sent, media_type)


async def test_null_is_no_body() -> None:
    got = await echoed({"method": "post", "body": "${ .missing }"})
    assert (got["body"], "content-type" in got["headers"]) == ("", False)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"headers": "${ 1 }"}, "`headers` has to be an object"),
        ({"query": "${ [1] }"}, "`query` has to be an object"),
        ({"query": "${ {a: {}} }"}, "`query.a`"),
        ({"query": "${ {a: [[1]]} }"}, "`query.a`"),
        ({"headers": "${ {a: [1]} }"}, "`a` has to be"),
        ({"headers": '${ {"a b": 1} }'}, "A header's name"),
        ({"headers": '${ {"a\\r\\nb": 1} }'}, "A header's name"),
        ({"headers": '${ {a: "b\\r\\nX-Evil: 1"} }'}, "line break"),
        ({"headers": '${ {a: "b\\u0000"} }'}, "line break or another control"),
        ({"headers": '${ {a: ("b" * 9000)} }'}, "more than 8192 bytes"),
        ({"headers": "${ [range(65) | {key: tostring, value: 1}] | from_entries }"}, "at most 64 headers"),
        ({"headers": {"Host": "intern"}}, "leave it out"),
        ({"headers": {"content-LENGTH": "1"}}, "leave it out"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "leave it out"),
        ({"headers": {"Connection": "upgrade"}}, "leave it out"),
        ({"headers": {"Expect": "100-continue"}}, "leave it out"),
        ({"body": '${ "ü" * 600000 }'}, "at most 1048576 bytes"),
        (
            {"headers": {"content-type": "application/x-www-form-urlencoded"}, "body": "${ {a: {b: 1}} }"},
            "`body.a`",
        ),
    ],
)
async def test_arguments_that_do_not_fit_are_a_validation_error(
    arguments: dict[str, Any], reason: str
) -> None:
    async with listener(b"") as server, egress() as way:
        fault = await fault_of(way, {"endpoint": server.url, **arguments})
        assert kind_of(fault) == ("validation", 400)
        assert reason in (fault.detail or "")
        assert server.made == 0


@given(st.dictionaries(st.text(), st.text()))
def test_whatever_headers_are_sent_each_is_one_line(headers: dict[str, str]) -> None:
    try:
        request = request_of("GET", "https://example.com", {"headers": headers}, {})
    except CallError:
        return
    for name, value in request.headers.items():
        assert not set("\r\n\0:") & set(name)
        assert not set("\r\n\0") & set(value)


@pytest.mark.parametrize("method", ["connect", "trace"])
async def test_methods_that_are_no_calls_are_refused(method: str) -> None:
    async with egress() as way:
        fault = await fault_of(way, {"method": method, "endpoint": "https://example.com"})
    assert kind_of(fault) == ("configuration", 400)


async def test_an_argument_that_fails_is_an_expression_error() -> None:
    async with egress() as way:
        fault = await fault_of(way, {"endpoint": "https://example.com", "body": '${ error("no") }'})
    assert kind_of(fault) == ("expression", 400)
    assert "no" in (fault.detail or "")


# --- The output -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("media_type", "body", "content"),
    [
        ("application/json", b'{"a": [1, 2.5, "\xc3\xbc"]}', {"a": [1, 2.5, "ü"]}),
        ("application/problem+json; charset=utf-8", b"null", None),
        ("APPLICATION/JSON", b"\xef\xbb\xbf[1]", [1]),
        ("application/json; charset=iso-8859-1", b'"\xfc"', "ü"),
        ("application/json; charset=utf-16", '{"a":1}'.encode("utf-16"), {"a": 1}),
        ("application/json", b"9007199254740991", 2**53 - 1),
        ("application/json", b"[" + b"{}," * 600 + b"{}]", [{}] * 601),
        ("application/json", b"12345678901234567.5e3", 12345678901234567.5e3),
        ("application/json", b'"\\\\u0000"', "\\u0000"),
        ("text/plain", b"\xc3\xbc", "ü"),
        ("text/plain", b"\xfc\x00", "\ufffd\ufffd"),
        ("text/html; charset=ISO-8859-1", b"\xfc", "ü"),
        ('text/html; charset="windows-1252"', b"\x80", "€"),
        ("text/plain; charset=unicode_escape", b"\\ud800", "\\ud800"),
        ("text/plain; charset=idna", b"xn--x", "xn--x"),
        ("text/plain; charset=base64", b"YQ==", "YQ=="),
        ("text/plain; charset=nonsense", b"a", "a"),
        ("text/plain; charset=utf-16-le", b"\x00\xd8a\x00", "\ufffda"),
        ("application/xml", b"<a/>", "<a/>"),
        ("image/svg+xml", b"<svg/>", "<svg/>"),
        ("application/x-www-form-urlencoded", b"a=b", "a=b"),
        ("application/octet-stream", b"\x00\x01", "AAE="),
        ("image/png", b"\x89PNG", "iVBORw=="),
        ("application/jsonp", b"x", "eA=="),
        ("nonsense", b"x", "eA=="),
        ("application/json", b"", None),
    ],
)
async def test_content_is_what_its_type_says(media_type: str, body: bytes, content: Any) -> None:
    assert await output(answering(body, Content_Type=media_type)) == content


def test_content_without_a_type_is_bytes() -> None:
    assert content_of(Response(200, "OK", {}, b"a"), Redaction()) == "YQ=="


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "but is not"),
        (b"<html>", "but is not"),
        (b'"\xff"', "but is not"),
        (b"NaN", "but is not"),
        (b"[NaN, 1e999]", "but is not"),
        (b"[1e999", "but is not"),
        (b'"\xed\xa0\x80"', "but is not"),
        (b'{"a":1e400}', "has numbers beyond 1.7976931348623157e+308"),
        (b"\xef\xbb\xbf[-1e999]", "has numbers beyond"),
        (b'"\\ud800"', "half of a surrogate pair"),
        (b'{"\\udc00": 1}', "half of a surrogate pair"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b'{"a\\u0000": 1}', "NUL"),
        (b"[9007199254740993]", "integers beyond"),
        (b'{"a": -123456789012345678901234567890}', "integers beyond"),
        (b"[" * 513 + b"]" * 513, "nested more than 512"),
        (b"[" * 100_000, "but is not|nested"),
    ],
)  # fmt: skip
async def test_json_that_cannot_be_used_is_a_bad_response(body: bytes, reason: str) -> None:
    async with site(answering(body, Content_Type="application/json")) as server, egress() as way:
        fault = await fault_of(way, {"endpoint": server.url})
    assert kind_of(fault) == ("communication", 502)
    assert any(one in (fault.detail or "") for one in reason.split("|"))


async def test_json_is_as_deep_as_the_limit() -> None:
    found = await output(answering(b"[" * 512 + b"]" * 512, Content_Type="application/json"))
    assert json.dumps(found) == "[" * 512 + "]" * 512


@pytest.mark.parametrize(("body", "raw"), [(b"\x00\xff", "AP8="), (b"", ""), (b"{", "ew==")])
async def test_raw_is_the_bytes(body: bytes, raw: str) -> None:
    assert await output(answering(body, Content_Type="application/json"), output="raw") == raw


@pytest.mark.parametrize("method", ["get", "head"])
async def test_without_a_body_the_content_is_null(method: str) -> None:
    assert await output(answering(status=204), method=method) is None


async def test_a_response_is_shown_whole() -> None:
    async with (
        site(answering('{"a":1}', 201, Content_Type="application/json", X_A="b")) as server,
        egress() as way,
    ):
        found = await call(
            way,
            {
                "method": "put",
                "endpoint": server.url + "/{id}",
                "query": {"q": "r"},
                "headers": {"X-Mine": "1"},
                "body": {},
                "output": "response",
            },
            {"id": 5},
        )
    assert found["request"] == {
        "method": "PUT",
        "uri": f"{server.url}/5?q=r",
        "headers": {
            "user-agent": "tutti",
            "idempotency-key": KEY,
            "traceparent": TRACE,
            "content-type": "application/json",
            "x-mine": "1",
        },
    }
    assert (found["statusCode"], found["content"]) == (201, {"a": 1})
    assert found["headers"]["x-a"] == "b"
    assert found["headers"]["content-type"] == "application/json"


async def test_headers_that_came_twice_are_joined() -> None:
    async with (
        listener(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nX-B: \xff\r\nContent-Length: 0\r\n\r\n") as server,
        egress() as way,
    ):
        found = await call(way, {"endpoint": server.url, "output": "response"})
    assert found["headers"] == {"x-a": "1, 2", "x-b": "\ufffd", "content-length": "0"}


# --- Errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "redirect", "succeeds"),
    [
        *(
            (200, False, True),
            (299, False, True),
            (300, False, False),
            (302, False, False),
            (304, False, False),
        ),
        *((200, True, True), (302, True, True), (399, True, True), (400, True, False), (500, True, False)),
    ],
)
async def test_the_status_decides(status: int, redirect: bool, succeeds: bool) -> None:  # noqa: FBT001 - a table's column
    respond = answering(
        "text" if status != 304 else b"", status, Content_Type="text/plain", Location="/elsewhere"
    )
    async with site(respond) as server, egress() as way:
        arguments = {"endpoint": server.url, "redirect": redirect}
        if succeeds:
            assert await call(way, arguments) == "text"
        else:
            assert kind_of(await fault_of(way, arguments)) == ("communication", status)
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 409, 429, 500, 503])
async def test_an_error_carries_the_response(status: int) -> None:
    async with site(answering("why it failed", status, Content_Type="text/plain")) as server, egress() as way:
        fault = await fault_of(way, {"endpoint": server.url})
    assert kind_of(fault) == ("communication", status)
    assert fault.detail == "why it failed"
    assert fault.title == {401: "Unauthorized", 404: "Not Found", 503: "Service Unavailable"}.get(
        status, fault.title
    )


@pytest.mark.parametrize(
    ("response", "status", "title", "detail"),
    [
        (b"HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n", 599, "Status 599", ""),
        (b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", 404, "Not Found", ""),
        (b"HTTP/1.1 418 Tea \xff\r\nContent-Length: 1\r\n\r\n\xff", 418, "Tea", "\ufffd"),
        (b"HTTP/1.1 500 No\r\nContent-Type: image/png\r\nContent-Length: 3\r\n\r\nabc", 500, "No", "3 bytes of image/png"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 101, "Switching", ""),
    ],
)  # fmt: skip
async def test_an_odd_error_is_an_error_still(response: bytes, status: int, title: str, detail: str) -> None:
    async with listener(response) as server, egress() as way:
        fault = await fault_of(way, {"endpoint": server.url})
        assert kind_of(fault) == ("communication", status)
        assert (fault.title or "").startswith(title)
        assert (fault.title or "").encode()
        assert fault.detail == detail


async def test_the_detail_of_an_error_is_cut() -> None:
    async with site(answering("ü" * 5000, 500, Content_Type="text/plain")) as server, egress() as way:
        assert (await fault_of(way, {"endpoint": server.url})).detail == "ü" * 2048


async def test_a_host_that_may_not_be_called_is_an_authorization_error() -> None:
    async with egress() as way:
        fault = await fault_of(way, {"endpoint": "http://169.254.169.254/latest"})
    assert kind_of(fault) == ("authorization", 403)
    assert "TUTTI_EGRESS_ALLOW" in (fault.detail or "")


# --- Secrets --------------------------------------------------------------------------------------------------------


async def test_arguments_may_read_the_secrets_that_the_call_names() -> None:
    got = await echoed(
        {
            "headers": {"X-Key": "${ $secrets.key.value }"},
            "body": "${ [.a, $secrets.key.value] }",
            "method": "post",
        },
        {"a": 1},
        secrets={"key": {"value": "geheim"}},
    )
    assert got["headers"]["x-key"] == "geheim"
    assert json.loads(got["body"]) == [1, "geheim"]


async def test_a_call_gets_no_other_secret() -> None:
    pending = waiting({"endpoint": "https://example.com", "body": "${ $secrets.a }"}, secrets=["a", "b"])
    assert getattr(pending.task.work, "secrets", None) == ("a",)
    async with site(echo) as server, egress() as way:
        pending = waiting(
            {"method": "post", "endpoint": server.url, "body": "${ $secrets.a }"}, secrets=["a", "b"]
        )
        got = await perform(way, Sandbox(), ACCOUNT, pending, {"a": "one", "b": "two"}, TRACE)
        assert got["body"] == "one"


async def test_a_secret_that_is_not_set_is_an_authorization_error() -> None:
    async with listener(b"") as server, egress() as way:
        pending = waiting({"endpoint": server.url, "body": "${ $secrets.nosuch }"}, secrets=["nosuch"])
        with pytest.raises(Raised) as error:
            await perform(way, Sandbox(), ACCOUNT, pending, {}, TRACE)
        assert kind_of(error.value.fault) == ("authorization", 403)
        assert "`nosuch`" in (error.value.fault.detail or "")
        assert server.made == 0


async def test_an_input_that_reads_secrets_is_transformed_here() -> None:
    got = await echoed(
        {"method": "post", "endpoint": "/{who}", "body": "${ [., $input == .] }"},
        {"name": "ann"},
        secrets={"key": "geheim"},
        task={"input": {"from": "${ {who: .name, key: $secrets.key} }"}},
    )
    assert got["path"] == "/ann"
    assert json.loads(got["body"]) == [{"who": "ann", "key": "geheim"}, True]


def forms(secret: str) -> list[str]:
    """What servers make of a secret that they repeat."""
    return [
        f"say {secret} twice: {secret}",
        json.dumps({"sent": secret}),
        json.dumps({"sent": secret}, ensure_ascii=False),
        f"https://example.com/?key={quote(secret, safe='')}&x=1",
        quote(secret, safe="").lower(),
        base64.b64encode(secret.encode()).decode(),
        base64.b64encode(f"user:{secret}".encode()).decode(),
        base64.b64encode(f"a:{secret}!".encode()).decode(),
        base64.urlsafe_b64encode(f"ab:{secret}??".encode()).decode(),
        "x" * 4090 + secret,
        "x" * 4096 + secret,
    ]


@pytest.mark.parametrize("shown", range(len(forms(SECRET))))
async def test_a_secret_does_not_come_back_in_an_error(shown: int) -> None:
    text = forms(SECRET)[shown]
    async with site(answering(text, 400, Content_Type="text/plain")) as server, egress() as way:
        fault = await fault_of(
            way,
            {"endpoint": server.url, "headers": {"X-Key": "${ $secrets.key.of[0] }"}},
            secrets={"key": {"of": [SECRET]}},
        )
    detail = fault.detail or ""
    assert kind_of(fault) == ("communication", 400)
    assert detail == text.replace(SECRET, MARK)[:4096] or MARK in detail
    for form in forms(SECRET)[:9]:
        assert form not in detail
    for piece in (
        "s3cr3t",
        "unusual",
        "characters",
        quote(SECRET, safe=""),
        base64.b64encode(SECRET[2:-2].encode()).decode()[4:-4],
    ):
        assert piece not in detail
    assert len(detail.encode()) <= 4096


async def test_a_secret_does_not_come_back_in_the_error_of_an_expression() -> None:
    async with egress() as way:
        fault = await fault_of(
            way,
            {"endpoint": "https://example.com", "body": "${ $secrets.key | error }"},
            secrets={"key": "geheim1"},
        )
    assert kind_of(fault) == ("expression", 400)
    assert "geheim1" not in str(fault)


async def test_a_secret_does_not_come_back_in_a_reason_or_a_bad_header() -> None:
    secrets = {"key": "geheim1"}
    async with listener(b"HTTP/1.1 400 No geheim1\r\nContent-Length: 0\r\n\r\n") as server, egress() as way:
        arguments = {"endpoint": server.url, "query": {"k": "${ $secrets.key }"}}
        assert "geheim1" not in str(await fault_of(way, arguments, secrets=secrets))
        arguments = {"endpoint": "${ $secrets.key }"}
        assert "geheim1" not in str(await fault_of(way, arguments, secrets=secrets))
        arguments = {"endpoint": server.url, "headers": "${ {($secrets.key): []} }"}
        assert "geheim1" not in str(await fault_of(way, arguments, secrets=secrets))


async def test_what_a_response_shows_of_the_request_has_no_credentials() -> None:
    respond = answering(b"", Set_Cookie="session=1", X_Mirror="so geheim1 it is", X_Other="open")
    async with site(respond) as server, egress() as way:
        found = await call(
            way,
            {
                "endpoint": server.url + "/geheim1",
                "query": {"key": "${ $secrets.key }"},
                "headers": {
                    "Authorization": "Custom abc",
                    "Cookie": "a=b",
                    "X-Key": "${ $secrets.key }",
                    "X-Open": "o",
                },
                "output": "response",
            },
            secrets={"key": "geheim1"},
        )
    sent, got = found["request"], found["headers"]
    assert sent["uri"] == f"{server.url}/{MARK}?key={MARK}"
    assert [sent["headers"][name] for name in ("authorization", "cookie", "x-key", "x-open")] == [
        MARK,
        MARK,
        MARK,
        "o",
    ]
    assert (got["set-cookie"], got["x-mirror"], got["x-other"]) == (MARK, MARK, "open")


def repeating(kind: str) -> Any:
    """Answer with what was sent, in JSON as keys, texts and numbers, or in another type."""

    async def respond(request: web.Request) -> web.Response:
        sent = request.headers["X-Key"]
        if kind != "application/json":
            return web.Response(body=f"<a>{sent}</a> \xff".encode("latin-1"), content_type=kind)
        content = {"sent": [f"It is {sent}.", {sent: quote(sent)}, 12345], "open": [1, True, None, "o"]}
        return web.json_response({**content, "deep": json.dumps(content)})

    return respond


BYTES = base64.b64encode(b"<a>%b</a> \xff" % MARK.encode()).decode()


@pytest.mark.parametrize(
    ("kind", "output", "shown"),
    [
        ("text/plain", "content", f"<a>{MARK}</a> \ufffd"),
        ("text/plain", "raw", BYTES),
        ("application/octet-stream", "content", BYTES),
        (
            "application/json",
            "content",
            {
                "sent": [f"It is {MARK}.", {MARK: MARK}, MARK],
                "open": [1, True, None, "o"],
                "deep": json.dumps(
                    {"sent": [f"It is {MARK}.", {MARK: MARK}, 0], "open": [1, True, None, "o"]}
                ).replace("0", MARK),
            },
        ),
    ],
)
@pytest.mark.parametrize("within", ["content", "response"])
async def test_a_secret_does_not_come_back_in_what_a_call_gives(
    kind: str, output: str, shown: Any, within: str
) -> None:
    whole = within == "response" and output == "content"
    async with site(repeating(kind)) as server, egress() as way:
        found = await call(
            way,
            {
                "endpoint": server.url,
                "headers": {"X-Key": "${ $secrets.key.token }"},
                "output": "response" if whole else output,
            },
            secrets={"key": {"token": "geheim/1?", "pin": 12345}},
        )
    assert (found["content"] if whole else found) == shown


def test_what_is_too_much_to_look_for_hides_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = Redaction()
    hidden.learn([f"text-{number}" for number in range(1001)])
    assert hidden.value({"a": ["b", 1, ""]}) == {MARK: [MARK, 1, ""]}
    assert hidden.content(b"a\n\xff") == MARK.encode()
    assert hidden.text("a\nb", 100) == MARK
    assert hidden.headers({"x": "y"}) == {"x": MARK}
    few = Redaction()
    few.learn("text-1")
    assert few.value("a" * 100) == "a" * 100
    monkeypatch.setattr(redaction, "MOST_WORK", 99)
    assert few.value("a" * 100) == MARK


def test_a_deep_value_is_looked_through() -> None:
    deep: Any = "geheim1"
    for _ in range(512):
        deep = [deep]
    hidden = Redaction()
    hidden.learn("geheim1")
    assert json.dumps(hidden.value(deep)) == "[" * 512 + f'"{MARK}"' + "]" * 512


@given(st.text(min_size=4), st.text(max_size=6), st.text(max_size=6))
def test_a_text_that_was_learnt_is_hidden_in_whatever_form(secret: str, before: str, after: str) -> None:
    secret = secret.encode(errors="replace").decode()
    hidden = Redaction()
    hidden.learn({"a": [secret]})
    for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1]):
        assert MARK in hidden.text(before + form + after, 4096)
    inside = base64.b64encode(f"{before}{secret}{after}".encode(errors="replace")).decode()
    assert MARK in hidden.text(inside, 4096)


async def test_numbers_of_a_secret_are_hidden_too_and_short_texts_are_not() -> None:
    secret = {"pin": 123456, "flag": True, "unit": "a"}
    async with site(answering("a 123456 True", 400, Content_Type="text/plain")) as server, egress() as way:
        fault = await fault_of(
            way, {"endpoint": server.url, "body": "${ $secrets.key }"}, secrets={"key": secret}
        )
    assert fault.detail == f"a {MARK} True"


@given(st.text(), st.integers(0, 40))
def test_what_is_not_secret_is_shown_as_it_is(text: str, limit: int) -> None:
    text = text.encode(errors="replace").decode()
    shown = Redaction().text(text, limit)
    assert text.startswith(shown)
    assert len(shown.encode()) <= limit


async def test_nothing_of_a_call_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    await echoed(
        {
            "headers": {"X-Key": "${ $secrets.key }"},
            "endpoint": "/geheim2",
            "body": "geheim3",
            "method": "post",
        },
        secrets={"key": "geheim1"},
    )
    bad = b'HTTP/1.1 200 OK\r\nSet-Cookie: "geheim4; =;;\r\nContent-Length: x\r\n\r\ngeheim5'
    async with listener(bad) as server, egress() as way:
        await fault_of(way, {"endpoint": server.url + "/geheim2"})
    own = [record for record in caplog.records if record.name != "aiohttp.access"]  # the server's, here
    assert not [record.getMessage() for record in own if "geheim" in record.getMessage()]


async def test_the_same_call_made_twice_has_the_same_key() -> None:
    async with site(echo) as server, egress() as way:
        for _ in range(2):
            await call(way, {"endpoint": server.url})
        assert keys_of(server) == [KEY, KEY]


def keys_of(server: Site) -> list[str]:
    return [request.headers["Idempotency-Key"] for request in server.requests]
