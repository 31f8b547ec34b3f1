"""The way out: which addresses may be called, and what a hostile server can do to whoever calls it."""

import asyncio
import contextlib
import gzip
import time
import zlib
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from service.engine import addresses
from service.engine.addresses import NOT_PUBLIC, embedded, is_own, is_permitted
from service.engine.egress import BODY_LIMIT, CallError, CheckedResolver, Egress, Request, address_of
from service.settings import read
from tenancy.errors import SetupRefused
from tests.engine.outside import OK, Names, certificate, egress, error_of, listener, site, trusted

# --- Addresses ------------------------------------------------------------------------------------------------------

DENIED = [
    "0.0.0.0",  # noqa: S104 - nothing is bound to it
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
PERMITTED = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00:1450:4001:81b::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", DENIED)
def test_what_is_not_public_is_not_called(address: str) -> None:
    assert not is_permitted(ip_address(address), ())


@pytest.mark.parametrize("address", PERMITTED)
def test_what_is_public_is_called(address: str) -> None:
    assert is_permitted(ip_address(address), ())


@given(st.ip_addresses(v=4))
def test_an_address_embedded_in_another_is_judged_as_itself(address: IPv4Address) -> None:
    number = int(address)
    for found in (0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80):
        assert embedded(IPv6Address(found)) == address
        assert is_permitted(IPv6Address(found), ()) == is_permitted(address, ())


@given(st.ip_addresses())
def test_what_is_called_is_what_the_standard_library_takes_for_public_too(
    address: IPv4Address | IPv6Address,
) -> None:
    if is_permitted(address, ()):
        reached = embedded(address)
        assert reached.is_global
        assert not reached.is_multicast
        assert not reached.is_reserved


@given(st.sampled_from(NOT_PUBLIC).flatmap(lambda network: st.ip_addresses(network=network)))
def test_nothing_of_a_network_that_is_not_public_is_called(address: IPv4Address | IPv6Address) -> None:
    assert not is_permitted(address, ())


@given(st.ip_addresses(), st.integers(0, 32))
def test_the_operator_allows_whole_networks_and_no_more(
    address: IPv4Address | IPv6Address, length: int
) -> None:
    network = ip_network((address, length), strict=False)
    assert is_permitted(address, (network,))
    outside = ip_network("10.0.0.0/8") if length and address not in ip_network("10.0.0.0/8") else None
    if outside is not None:
        assert is_permitted(address, (outside,)) == is_permitted(address, ())


def test_what_is_allowed_is_allowed_in_whatever_it_is_embedded() -> None:
    allowed = (ip_network("10.0.0.0/8"),)
    assert is_permitted(ip_address("::ffff:10.0.0.1"), allowed)
    assert is_permitted(ip_address("64:ff9b::a00:1"), allowed)
    assert not is_permitted(ip_address("::ffff:192.168.0.1"), allowed)


def test_an_address_of_this_host_is_not_called_although_it_looks_public(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(addresses, "NOT_PUBLIC", ())
    assert is_own(ip_address("127.0.0.1"))
    assert not is_permitted(ip_address("127.0.0.1"), ())
    assert not is_own(ip_address("8.8.8.8"))
    assert not is_own(ip_address("255.255.255.255"))


# --- What reaches whom ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.2", "localhost", "LocalHost", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "0.0.0.0"],  # noqa: S104 - nothing is bound to it
)  # fmt: skip
async def test_an_address_that_is_not_public_gets_no_connection(host: str) -> None:
    async with listener(OK) as server, Egress() as way:
        error = await error_of(way, f"http://{host}:{server.port}/")
        assert (error.kind, error.status) == ("authorization", None)
        assert "TUTTI_EGRESS_ALLOW" in error.detail
        assert server.made == 0


@pytest.mark.parametrize(
    "host", ["LOCALHOST.", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1.."]
)
async def test_an_address_in_disguise_gets_no_connection(host: str) -> None:
    async with listener(OK) as server, egress() as way:
        await error_of(way, f"http://{host}:{server.port}/")
        assert server.made == 0


async def test_a_name_with_an_internal_address_is_denied_without_telling_it() -> None:
    async with Egress(resolver=Names(["10.11.12.13", "fd12::34"])) as way:
        error = await error_of(way, "http://intern.example/")
    assert error.kind == "authorization"
    assert "intern.example" in error.detail
    assert "10.11" not in error.detail
    assert "fd12" not in error.detail


async def test_of_several_addresses_those_that_may_be_called_are() -> None:
    names = Names(["10.0.0.1", "127.0.0.1", "fe80::1"])
    async with listener(OK) as server, egress(resolver=names) as way:
        response = await way.send(Request("GET", URL(f"http://both.example:{server.port}/"), {}))
    assert response.body == b"ok"


async def test_a_name_that_changes_its_address_is_looked_at_again() -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    async with listener(OK) as server, Egress([ip_network("127.0.0.1/32")], resolver=names) as way:
        url = f"http://rebinding.example:{server.port}/"
        assert (await way.send(Request("GET", URL(url), {}))).status == 200
        assert (await error_of(way, url)).kind == "authorization"
        assert server.made == 1


@pytest.mark.parametrize("found", [["127.0.0.2"], ["127.0.0.2", "127.0.0.3"]], ids=["one", "several"])
async def test_the_address_of_the_socket_is_checked_whatever_the_name_was_resolved_to(
    found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unchecked(self: CheckedResolver, host: str, port: int, **_: Any) -> Any:
        return await self._names.resolve(host, port)

    monkeypatch.setattr(CheckedResolver, "resolve", unchecked)
    async with listener(OK) as server, Egress([ip_network("127.0.0.1/32")], resolver=Names(found)) as way:
        assert (await error_of(way, f"http://a.example:{server.port}/")).kind == "authorization"
        assert server.made == 0


async def test_a_redirect_is_not_followed() -> None:
    async def redirect(_: web.Request) -> web.Response:
        raise web.HTTPFound(f"http://127.0.0.1:{inner.port}/latest/meta-data")

    async with listener(OK) as inner, site(redirect) as server, egress() as way:
        response = await way.send(Request("GET", URL(server.url), {}))
        assert response.status == 302
        assert response.headers["location"].endswith("/latest/meta-data")
        assert inner.made == 0


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listener(OK) as proxy, listener(OK) as server, egress() as way:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        await way.send(Request("GET", URL(server.url), {}))
        assert (proxy.made, server.made) == (0, 1)


async def test_cookies_are_not_kept_and_connections_not_used_twice() -> None:
    async def set_cookie(_: web.Request) -> web.Response:
        return web.Response(headers={"Set-Cookie": "session=1; Path=/"})

    async with site(set_cookie) as server, egress() as way:
        for _ in range(2):
            await way.send(Request("GET", URL(server.url), {}))
        assert ["Cookie" in request.headers for request in server.requests] == [False, False]
        first, second = (request.transport for request in server.requests)
        assert first is not second or first is None


# --- URLs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "begin with http"),
        ("/relative", "begin with http"),
        ("ftp://example.com/", "begin with http"),
        ("file:///etc/passwd", "begin with http"),
        ("unix:///run/docker.sock", "begin with http"),
        ("http:///path", "name a host"),
        ("http:example.com", "name a host"),
        ("http:/\n/example.com/", "name a host"),
        ("http://user@example.com/", "`authentication`"),
        ("http://user:word@example.com/", "`authentication`"),
        ("http://@example.com", "`authentication`"),
        ("http://example.com@evil.example?", "`authentication`"),
        ("http://exa mple.com/", "characters"),
        ("http://a%2Fb/", "characters"),
        ("http://example.com:99999/", "not a URL"),
        ("http://[::1/", "not a URL"),
        ("http://example.com/" + "a" * 8192, "at most"),
    ],
)
def test_an_unusable_url_is_refused(text: str, reason: str) -> None:
    with pytest.raises(CallError) as error:
        address_of(text)
    assert error.value.kind == "configuration"
    assert reason in error.value.detail


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("HTTPS://Example.COM/", "https://example.com/"),
        ("http://bücher.example/ä?ö=ü", "http://xn--bcher-kva.example/%C3%A4?%C3%B6=%C3%BC"),
        ("http://h/a%2Fb%26c&?x=%26%2B%20+", "http://h/a%2Fb%26c&?x=%26%2B%20+"),
        ("http://h/a/../%2e%2E/b", "http://h/a/../%2e%2E/b"),
        ('http://h/a b"\r\n\t\0<>', "http://h/a%20b%22%0D%0A%09%00%3C%3E"),
        ("http://h#part", "http://h/"),
        ("http://h/?mail=a@b.example", "http://h/?mail=a@b.example"),
        ("http://h?mail=a@b.example", "http://h/?mail=a@b.example"),
        ("http://[2001:4860::1]:8080/", "http://[2001:4860::1]:8080/"),
    ],
)
def test_a_usable_url_is_sent_as_it_is_meant(text: str, sent: str) -> None:
    assert str(address_of(text)) == sent


# --- TLS ------------------------------------------------------------------------------------------------------------


async def tls_answer(_: web.Request) -> web.Response:
    return web.Response(text="safe")


async def test_a_server_with_a_trusted_certificate_is_called(tmp_path: Path) -> None:
    path, context = certificate(tmp_path, "127.0.0.1")
    with trusted(path):
        async with site(tls_answer, context) as server, egress() as way:
            assert (await way.send(Request("GET", URL(server.url), {}))).body == b"safe"


@pytest.mark.parametrize(("host", "trust"), [("127.0.0.1", ""), ("other.example", "trusted")])
async def test_a_server_whose_certificate_cannot_be_trusted_is_not_called(
    host: str, trust: str, tmp_path: Path
) -> None:
    path, context = certificate(tmp_path, host)
    with trusted(path) if trust else contextlib.nullcontext():
        async with site(tls_answer, context) as server, egress() as way:
            error = await error_of(way, server.url)
            assert (error.kind, error.status) == ("communication", 503)
            assert "certificate cannot be trusted" in error.detail
            assert server.requests == []


async def test_a_server_that_speaks_no_tls_is_no_secure_one() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(OK)

    async with listener(talk) as server, egress() as way:
        error = await error_of(way, server.url.replace("http:", "https:"))
        assert (error.kind, error.status) == ("communication", 503)


# --- Hostile servers ------------------------------------------------------------------------------------------------


def drip(before: bytes, drop: bytes, pause: float = 0.005) -> Any:
    """Send something, and then the same for ever."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(before)
        while not reader.at_eof():
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(pause)

    return talk


@pytest.mark.parametrize(
    "talk",
    [
        drip(b"", b""),
        drip(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n", 0.05),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"a"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["silence", "headers", "body", "chunks", "continue"],
)
async def test_a_slow_server_is_left_in_time(talk: Any) -> None:
    async with listener(talk) as server, egress(total_seconds=0.3) as way:
        began = time.monotonic()
        error = await error_of(way, server.url)
        assert (error.kind, error.detail) == ("timeout", "There was no response within 0.3 s.")
        assert time.monotonic() - began < 3
        await server.until_closed()


async def test_a_name_that_is_slow_to_resolve_is_given_up() -> None:
    class Slow(Names):
        async def resolve(self, *_: Any) -> Any:
            await asyncio.sleep(60)

    async with egress(connect_seconds=0.2, resolver=Slow()) as way:
        error = await error_of(way, "http://slow.example/")
        assert (error.kind, error.detail) == ("timeout", "There was no connection within 0.2 s.")


@pytest.mark.parametrize(
    "talk",
    [
        drip(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 1000, 0),
        drip(b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 10_000, 0),
        drip(b"HTTP/1.1 200 ", b"a" * 10_000, 0),
        drip(b"", b"\0" * 10_000, 0),
        drip(b"SSH-2.0-OpenSSH\r\n", b"", 0.1),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab", b"", 0.1),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"a", 0.1),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", b"", 0.1),
        drip(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", b"", 0.1),
        drip(b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\nnope", b"", 0.1),
    ],
    ids=["headers", "header", "reason", "nul", "ssh", "lengths", "length", "chunk", "gzip", "brotli"],
)
async def test_what_is_not_http_is_a_bad_response(talk: Any) -> None:
    async with listener(talk) as server, egress(total_seconds=5) as way:
        error = await error_of(way, server.url)
        assert (error.kind, error.status) == ("communication", 502), error.detail
        await server.until_closed()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", 503),
        (b"HTTP/1.1 200", 503),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", 502),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 502),
    ],
    ids=["nothing", "beginning", "body", "chunk"],
)
async def test_a_connection_that_breaks_off_gives_no_output(sent: bytes, status: int) -> None:
    async with listener(sent) as server, egress() as way:
        error = await error_of(way, server.url)
        assert (error.kind, error.status) == ("communication", status), error.detail


async def test_a_connection_that_is_reset_gives_no_output() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async with listener(reset) as server, egress() as way:
        error = await error_of(way, server.url)
        assert (error.kind, error.status) == ("communication", 503)


async def test_a_port_where_nobody_listens_is_a_failure_that_says_so() -> None:
    async with listener(OK) as server:
        port = server.port
    async with egress() as way:
        error = await error_of(way, f"http://127.0.0.1:{port}/")
        assert (error.kind, error.status) == ("communication", 503)
        assert error.detail == "The host could not be reached: connection refused."


async def test_a_name_that_does_not_exist_is_a_failure_that_says_so() -> None:
    class Unknown(Names):
        async def resolve(self, *_: Any) -> Any:
            raise OSError(None, "Domain name not found")

    async with egress(resolver=Unknown()) as way:
        error = await error_of(way, "http://nowhere.example/")
        assert (error.kind, error.status) == ("communication", 503)
        assert "could not be resolved" in error.detail


def compressed(encoding: str) -> bytes:
    bomb = bytes(64 * 1024**2)
    return gzip.compress(bomb) if encoding == "gzip" else zlib.compress(bomb)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_small_response_that_becomes_large_is_given_up(encoding: str) -> None:
    body = compressed(encoding)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with listener(head + body) as server, egress() as way:
        error = await error_of(way, server.url)
        assert (error.kind, error.status) == ("communication", 502)
        assert str(BODY_LIMIT) in error.detail
        await server.until_closed()


@pytest.mark.parametrize(
    "talk",
    [
        drip(b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 65536, 0),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 10000, 0),
    ],
    ids=["plain", "chunks"],
)
async def test_an_endless_response_is_given_up(talk: Any) -> None:
    async with listener(talk) as server, egress() as way:
        assert (await error_of(way, server.url)).status == 502
        await server.until_closed()


async def test_a_response_as_large_as_the_limit_is_read() -> None:
    async def large(_: web.Request) -> web.Response:
        return web.Response(body=b"a" * BODY_LIMIT)

    async with site(large) as server, egress() as way:
        assert len((await way.send(Request("GET", URL(server.url), {}))).body) == BODY_LIMIT


async def test_a_flood_of_interim_responses_stops_nobody_else() -> None:
    talk = drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000, 0)
    async with listener(talk) as flooding, listener(OK) as server, egress(total_seconds=2) as way:
        flooded = asyncio.create_task(error_of(way, flooding.url))
        await asyncio.wait_for(flooding.connected.wait(), 5)
        assert (await way.send(Request("GET", URL(server.url), {}))).status == 200
        assert not flooded.done()
        assert (await flooded).kind == "timeout"


async def test_a_call_that_is_cancelled_leaves_no_connection() -> None:
    async with listener(drip(b"", b"")) as server, egress() as way:
        request = asyncio.create_task(way.send(Request("GET", URL(server.url), {})))
        await asyncio.wait_for(server.connected.wait(), 5)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await server.until_closed()


# --- Settings -------------------------------------------------------------------------------------------------------


def test_the_operator_lists_networks() -> None:
    allowed = read({"TUTTI_EGRESS_ALLOW": "127.0.0.0/8, ::1/128,10.1.2.3"}).egress_networks
    assert [str(one) for one in allowed] == ["127.0.0.0/8", "::1/128", "10.1.2.3/32"]
    assert read({}).egress_networks == ()
    assert read({"TUTTI_EGRESS_ALLOW": ""}).egress_networks == ()


@pytest.mark.parametrize("listed", ["localhost", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/8;::1"])
def test_what_is_no_network_is_refused_at_the_start(listed: str) -> None:
    with pytest.raises(SetupRefused, match="TUTTI_EGRESS_ALLOW"):
        read({"TUTTI_EGRESS_ALLOW": listed})
