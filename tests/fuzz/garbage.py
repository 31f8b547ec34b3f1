"""What no well-behaved client sends: bytes for a connection, made up anew from a seed."""

import contextlib
import gzip
import random
import ssl
from collections.abc import Callable, Iterator

import msgspec

LARGE = 200_000  # bytes; beyond every limit on heads, within that on bodies


class Garbage(msgspec.Struct, frozen=True):
    """Bytes for one connection, in parts that are sent apart; at most so many requests may be seen in them."""

    name: str
    parts: tuple[bytes, ...]
    answers: int = 1
    half_closed: bool = False


class Target(msgspec.Struct, frozen=True):
    """Where to: the service's host and port, an account's URL, a proof, and whose dialects' paths to try."""

    host: str
    account: str
    token: str

    def head(self, method: str = "GET", path: str = "/healthz", *lines: str) -> bytes:
        """Write a request up to its body."""
        told = (f"Host: {self.host}", f"Authorization: Bearer {self.token}", *lines)
        return "\r\n".join([f"{method} {path} HTTP/1.1", *told, "", ""]).encode("latin-1")

    def post(self, path: str, body: bytes, kind: str = "application/json", *lines: str) -> bytes:
        """Write a request with a body."""
        return self.head("POST", path, f"Content-Type: {kind}", f"Content-Length: {len(body)}", *lines) + body

    @property
    def paths(self) -> tuple[str, ...]:
        """A path of each dialect that takes a body."""
        return (
            f"{self.account}/workflows",
            f"{self.account}/events",
            f"{self.account}/yaml-workflows",
            "/api/orchestration/workflows",
            "/KeyfactorAPI/Workflow/Definitions",
            "/oauth/token",
        )


Family = Callable[[random.Random, Target], Iterator[Garbage]]


def request_lines(chance: random.Random, to: Target) -> Iterator[Garbage]:
    """First lines that are none."""
    rest = f"\r\nHost: {to.host}\r\n\r\n".encode()
    lines = (
        *(b"", b"GET", b"GET /healthz", b"GET  /healthz HTTP/1.1", b"GET /healthz HTTP/9.9", b"\x00" * 100),
        *(b"get /healthz http/1.1", b"GET /healthz HTTP/1.1 extra", b"GET\t/healthz\tHTTP/1.1"),
        *(b"G" * LARGE + b" / HTTP/1.1", b"CONNECT other.example:443 HTTP/1.1", b"OPTIONS * HTTP/1.1"),
        *(b"GET http://other.example/healthz HTTP/1.1", b"TRACE /healthz HTTP/1.1", b"HTTP/1.1 200 OK"),
        *(b"GET /healthz HTTP/0.9", b"GET /healthz HTTP/1.0", b"\r\n\r\n\r\nGET /healthz HTTP/1.1"),
        chance.randbytes(300),
    )
    for number, line in enumerate(lines):
        yield Garbage(f"request line {number}", (line + rest,))


def chunks(chance: random.Random, to: Target) -> Iterator[Garbage]:
    """Chunked bodies whose chunks are none."""
    head = to.head(
        "POST", chance.choice(to.paths), "Content-Type: application/json", "Transfer-Encoding: chunked"
    )
    bodies = (
        *(
            b"zz\r\n{}\r\n0\r\n\r\n",
            b"-1\r\n{}\r\n0\r\n\r\n",
            b"ffffffffffffffffff\r\n{}",
            b"2\r\n{}0\r\n\r\n",
        ),
        *(
            b"2;" + b"x" * LARGE + b"\r\n{}\r\n0\r\n\r\n",
            b"2\r\n{}\r\n0\r\nA: b\x00\r\n\r\n",
            b"0x2\r\n{}\r\n0\r\n\r\n",
        ),
        *(
            b"2\n{}\n0\n\n",
            b"2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n",
            b"2 \r\n{}\r\n0\r\n\r\n",
            b"\r\n{}\r\n",
        ),
        *(b"1\r\n{\r\n" * 1000, b"5\r\n{", chance.randbytes(200)),
    )
    for number, body in enumerate(bodies):
        yield Garbage(f"chunks {number}", (head, body), half_closed=chance.random() < 0.5)


def smuggled(chance: random.Random, to: Target) -> Iterator[Garbage]:
    """One request that another server might take for two: here it is one, or refused."""
    inner = to.head("GET", f"{to.account}/settings")
    path = chance.choice(to.paths)
    json = "Content-Type: application/json"
    for number, lines in enumerate(
        (
            ("Content-Length: 4", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: chunked", "Content-Length: 4"),
            ("Content-Length: 4", f"Content-Length: {4 + len(inner)}"),
            (f"Content-Length: {4 + len(inner)}", "Content-Length: 4"),
            ("Content-Length: 4, 4",),
            ("Content-Length: +4",),
            ("Content-Length: 0x4",),
            ("Content-Length: -1",),
            ("Content-Length: 99999999999999999999999",),
            ("Transfer-Encoding: xchunked",),
            ("Transfer-Encoding: chunked, identity",),
            ("Transfer-Encoding: identity, chunked, chunked",),
            ("Transfer-Encoding : chunked", "Content-Length: 4"),
            ("Transfer-Encoding:\x0bchunked", "Content-Length: 4"),
            ("X: y\r\n Content-Length: 400", "Content-Length: 4"),
            ("X: y\nContent-Length: 4",),
            ("X: y\rContent-Length: 4",),
            (": 4",),
            ("Content-Length",),
        )
    ):
        yield Garbage(f"smuggled {number}", (to.head("POST", path, json, *lines) + b"0\r\n\r\n" + inner,))


def heads(chance: random.Random, to: Target) -> Iterator[Garbage]:
    """Headers that are too many, too large, or no text."""
    odd = ("\x00", "\x7f", "\xff\xfe", "\r", "\t" * 50, "é" * 50, "\u0085")
    for number, text in enumerate(odd):
        yield Garbage(f"header {number}", (to.head("GET", "/healthz", f"X-Odd: a{text}b"),))
        yield Garbage(f"header name {number}", (to.head("GET", "/healthz", f"X{text}Odd: a"),))
    yield Garbage("one huge header", (to.head("GET", "/healthz", f"X: {'a' * LARGE}"),))
    yield Garbage(
        "many headers", (to.head("GET", "/healthz", *(f"X-{one}: {one}" for one in range(20_000))),)
    )
    yield Garbage("many of one", (to.head("GET", f"{to.account}/settings", *["X-Request-Id: a"] * 800),))
    yield Garbage("two hosts", (to.head("GET", "/healthz", "Host: other.example"),))
    yield Garbage("two proofs", (to.head("GET", f"{to.account}/settings", "Authorization: Bearer other"),))
    for name in (
        "Accept",
        "User-Agent",
        "Idempotency-Key",
        "X-Request-Id",
        "If-None-Match",
        "Last-Event-ID",
        "Cookie",
    ):
        value = chance.randbytes(40).translate(None, b"\r\n\x00").decode("latin-1")
        sent = to.post(f"{to.account}/workflows", b"{}", "application/json", f"{name}: {value}")
        yield Garbage(f"odd {name}", (sent,))
    for proof in ("Basic", "Basic !!!", "Basic " + "A" * 5000, "Bearer \xff", "Bearer", "Digest a=b", "\xe9"):
        plain = f"GET /KeyfactorAPI/Workflow/Instances HTTP/1.1\r\nHost: {to.host}\r\nAuthorization: {proof}\r\n\r\n"
        yield Garbage(f"proof {proof[:8]!r}", (plain.encode("latin-1"),))


def paths(chance: random.Random, to: Target) -> Iterator[Garbage]:
    """Paths and queries that name nothing."""
    texts = (
        *(
            "/%00",
            "/%",
            "/%zz",
            "/%u0041",
            "/%c0%ae%c0%ae/",
            "/%ff%fe",
            "/\xff\xfe",
            "//",
            "/./../../etc/passwd",
        ),
        *(
            "/..%2f..%2fetc%2fpasswd",
            "/v1//accounts",
            "/v1/accounts/%2e%2e",
            "/;a=b",
            "/a?b?c#d",
            "/?%00=%00",
            "?",
        ),
        *(f"/{'a' * 60_000}", f"/{'a/' * 20_000}", f"/?{'a=b&' * 15_000}", f"/?a={'%41' * 15_000}", "*", "x"),
        *(
            f"{to.account}/workflows/%00",
            f"{to.account}/workflows/{'0' * 3000}",
            f"{to.account}/workflows?ctoken=%00",
        ),
        *(
            f"{to.account}/workflow-instances?page_size=9{'9' * 5000}",
            f"{to.account}/audit?from=%ff",
            "/v1/accounts/\x00",
        ),
        *(
            "/api/orchestration/instances?cursor=%ff%00",
            "/KeyfactorAPI/Workflow/Instances?pq.queryString=%00",
        ),
        *(
            "/KeyfactorAPI/Workflow/Instances?queryString=" + "(" * 4000,
            "/oauth/auth?client_id=%00&state=%ff",
        ),
        "/" + chance.randbytes(60).translate(None, b" \r\n\x00").decode("latin-1"),
    )
    for path in texts:
        for method in ("GET", "POST", "OPTIONS"):
            yield Garbage(f"path {method} {path[:24]!r}", (to.head(method, path),))


def streams(chance: random.Random, to: Target) -> Iterator[Garbage]:
    """Good requests, many at once, cut, or half closed."""
    good = to.head("GET", f"{to.account}/settings")
    yield Garbage("pipelined", (good * 30,), 30)
    yield Garbage("pipelined in parts", tuple(good[at : at + 41] for at in range(0, len(good), 41)), 1)
    yield Garbage("pipelined, then garbage", (good * 3 + chance.randbytes(100),), 4)
    yield Garbage("half closed", (good,), half_closed=True)
    yield Garbage("half closed in the middle", (good[: chance.randrange(len(good))],), half_closed=True)
    body = to.post(f"{to.account}/events", b'{"type": "a.b"}')
    yield Garbage("a body cut off", (body[:-3],), half_closed=True)
    yield Garbage(
        "a body that waits",
        (to.post(f"{to.account}/events", b"{}", "application/json", "Expect: 100-continue"),),
    )
    yield Garbage(
        "an unknown expectation", (to.post(f"{to.account}/events", b"{}", "application/json", "Expect: 200"),)
    )
    yield Garbage(
        "a body of GET", (to.head("GET", f"{to.account}/settings", "Content-Length: 5") + b"abcde",)
    )


def protocols(chance: random.Random, to: Target) -> Iterator[Garbage]:
    """Other protocols."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield Garbage("HTTP/2", (preface + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + chance.randbytes(100),))
    upgrade = (
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    )
    yield Garbage("an upgrade to HTTP/2", (to.head("GET", f"{to.account}/settings", *upgrade), preface), 2)
    socket = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    for path in ("/", f"{to.account}/events", "/api/orchestration/_info"):
        yield Garbage(f"a websocket at {path[:8]}", (to.head("GET", path, *socket), b"\x81\x85aaaabcdef"), 2)
    yield Garbage("TLS", (hello(),))
    yield Garbage("SSH", (b"SSH-2.0-OpenSSH_9.9\r\n",))
    yield Garbage("PROXY", (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + to.head(),))
    yield Garbage("noise", (chance.randbytes(chance.randrange(1, 5000)),))


def hello() -> bytes:
    """The first words of a TLS client."""
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(coming, going, server_hostname="tutti.example")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return going.read()


def bodies(chance: random.Random, to: Target) -> Iterator[Garbage]:
    """Bodies that are deep, large, packed, or no text."""
    laughs = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'lol'}]" for n in range(12))
    texts = {
        "deep lists": b"[" * 100_000,
        "deep objects": b'{"a":' * 50_000,
        "deep and closed": b"[" * 20_000 + b"]" * 20_000,
        "a long number": b'{"a": ' + b"9" * 100_000 + b"}",
        "a great exponent": b'{"a": 1e999999999}',
        "wrong UTF-8": b'{"a": "\xff\xfe\xed\xa0\x80"}',
        "a lone surrogate": b'{"name": "\\ud800", "type": "\\udfff"}',
        "a NUL": b'{"name": "\\u0000", "type": "a\\u0000b"}',
        "UTF-16": '{"a": 1}'.encode("utf-16"),
        "a mark of the byte order": b"\xef\xbb\xbf{}",
        "doubled keys": b'{"a": 1, "a": 2}',
        "laughs": laughs.encode(),
        "itself": b"a: &a [*a]",
        "YAML of Python": b"!!python/object/apply:os.system ['true']",
        "deep YAML": b"[" * 10_000,
        "a long key": b"? " * 5_000,
        "NaN": b'{"a": NaN, "b": Infinity}',
        "nothing": b"",
        "noise": chance.randbytes(2_000),
        "a body beyond all limits": b"[" + b"1," * 600_000 + b"1]",
    }
    for name, text in texts.items():
        for path in to.paths:
            kind = "application/x-www-form-urlencoded" if path == "/oauth/token" else "application/json"
            yield Garbage(
                f"{name} at {path[-14:]}",
                (to.post(path, text, "application/yaml" if "yaml" in path else kind),),
            )
    packed = gzip.compress(b" " * 20_000_000)
    for coding, text in (
        ("gzip", packed),
        ("gzip", b"not gzip"),
        ("br", b"x"),
        ("gzip, gzip", packed),
        ("\x01", b"{}"),
    ):
        path = chance.choice(to.paths)
        yield Garbage(
            f"coded {coding!r}", (to.post(path, text, "application/json", f"Content-Encoding: {coding}"),)
        )
    for kind in (
        "",
        "application/json; charset=utf-99",
        "multipart/form-data",
        "text/\xff",
        "a" * 5_000,
        "application/json;" * 200,
    ):
        yield Garbage(f"type {kind[:20]!r}", (to.post(chance.choice(to.paths), b"{}", kind),))


def broken(chance: random.Random, to: Target) -> Iterator[Garbage]:
    """Good requests in which some bytes are others, are gone, or are there twice."""
    for number in range(60):
        path = chance.choice(to.paths)
        whole = bytearray(to.post(path, b'{"name": "x", "type": "a.b", "stages": []}'))
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(whole))
            match chance.randrange(4):
                case 0:
                    whole[at] = chance.randrange(256)
                case 1:
                    del whole[at : at + chance.randrange(1, 20)]
                case 2:
                    whole[at:at] = whole[max(0, at - 20) : at]
                case _:
                    whole[at:at] = chance.randbytes(chance.randrange(1, 8))
        yield Garbage(f"broken {number} {path[-14:]}", (bytes(whole),), 3, half_closed=chance.random() < 0.3)


FAMILIES: tuple[Family, ...] = (
    *(request_lines, chunks, smuggled, heads, paths, streams, protocols, bodies, broken),
)


def garbage(seed: int, to: Target) -> Iterator[Garbage]:
    """Everything once, from a seed."""
    chance = random.Random(seed)  # noqa: S311 - the same again for the same seed
    for family in FAMILIES:
        yield from family(chance, to)
