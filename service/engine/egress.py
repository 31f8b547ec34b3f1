"""Sends what accounts want to be sent: the one place from which their text makes this host open a connection.

Every address is looked at when its socket is made, after the last look at the DNS, so the address that is connected to is
the one that was checked. A connection serves one request: nothing that a server says late can be taken for the answer to
somebody else's. No proxy, cookie or redirect is followed; TLS is verified; time and sizes are bounded.
"""

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from types import TracebackType
from typing import Self
from urllib.parse import quote

import aiohttp
import msgspec
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from service.engine.addresses import Network, is_permitted
from service.engine.tokens import TokenCache
from service.language.errors import Kind

USER_AGENT = "tutti"
URL_LIMIT = 8 * 1024  # characters
HEADER_COUNT = 64
HEADER_LIMIT = 8 * 1024  # bytes of one header
BODY_LIMIT = 1_048_576  # bytes of a request's or a response's body, the latter without its compression
TURN = (
    32 * 1024
)  # bytes that a server can have parsed before others get their turn: a flood of tiny chunks is slow to read
PART = 64 * 1024  # bytes of a body that are looked at together

DENIED = (
    "The service does not call {host}: its address is not one of the public Internet."
    " Whoever runs the service may allow it with TUTTI_EGRESS_ALLOW."
)


_PARTS = re.compile(r"[^:]+://([^/?]*)(.*)", re.DOTALL)
_AS_WRITTEN = "!$%&'()*+,/:;=?@[]~"  # what means something in a path or query, or has been encoded


class CallError(Exception):
    """Why a call has no result: an error of contract 5.3 without its place.

    Titles and details name neither an address that was resolved nor a credential of ours; an author's own may be in them.
    """

    def __init__(self, kind: Kind, title: str, detail: str, status: int | None = None) -> None:
        super().__init__(title)
        self.kind = kind
        self.title = title
        self.detail = detail
        self.status = status


class DeniedError(CallError, RuntimeError):
    """An address that may not be called. Happy Eyeballs lets a RuntimeError of a socket through, and no other of ours."""

    def __init__(self, host: str) -> None:
        super().__init__("authorization", "The call is not allowed", DENIED.format(host=host))


class Limits(msgspec.Struct, frozen=True):
    """How many seconds it may take to connect, and to have the whole response; how many bytes its body may have."""

    connect_seconds: float = 10
    total_seconds: float = 30
    response_bytes: int = BODY_LIMIT


class Request(msgspec.Struct, frozen=True):
    """What is sent. `headers` are by lower-case name; `digest` are the name and password that answer a challenge (RFC 7616)."""

    method: str
    url: URL
    headers: Mapping[str, str]
    body: bytes | None = None
    digest: tuple[str, str] | None = None


class Response(msgspec.Struct, frozen=True):
    """What came back. `headers` are by lower-case name, those that came several times joined by commas (RFC 9110, 5.3)."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


class Egress:
    """The way out of one process: the client and the tokens that it was given. An asynchronous context manager."""

    def __init__(
        self,
        allowed: Sequence[Network] = (),
        *,
        resolver: AbstractResolver | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Keep what may be called beside the public Internet; `resolver` stands in for the DNS."""
        self.tokens = TokenCache()
        self._allowed = allowed
        self._resolver = resolver
        self._limits = limits or Limits()

    async def __aenter__(self) -> Self:
        """Open the client."""
        self._names = CheckedResolver(
            self._resolver or aiohttp.AsyncResolver(timeout=3, tries=2), self._allowed
        )
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        connector = aiohttp.TCPConnector(
            resolver=self._names,
            use_dns_cache=False,
            socket_factory=self._socket,
            ssl=context,
            force_close=True,
            limit=0,  # the worker bounds how many calls are under way
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=self._limits.connect_seconds),
            skip_auto_headers=(hdrs.CONTENT_TYPE, hdrs.USER_AGENT),
            max_line_size=HEADER_LIMIT,
            max_field_size=HEADER_LIMIT,
            max_headers=2 * HEADER_COUNT,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client and all of its connections."""
        await self._session.close()
        await self._names.close()

    async def send(self, request: Request) -> Response:
        """Send a request and read the whole response, whatever its status.

        Raises:
            CallError: there is none, or it is larger than the limits.
        """
        try:
            async with asyncio.timeout(self._limits.total_seconds):
                return await self._exchanged(request)
        except aiohttp.ConnectionTimeoutError:
            seconds = f"{self._limits.connect_seconds:g}"
            raise CallError("timeout", "Time limit", f"There was no connection within {seconds} s.") from None
        except TimeoutError:
            seconds = f"{self._limits.total_seconds:g}"
            raise CallError("timeout", "Time limit", f"There was no response within {seconds} s.") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise failure(error) from None

    async def _exchanged(self, request: Request) -> Response:
        middlewares = (
            () if request.digest is None else (aiohttp.DigestAuthMiddleware(*request.digest), LastResponse())
        )
        async with self._session.request(
            request.method,
            request.url,
            headers={**request.headers, hdrs.CONNECTION: "close"},
            data=request.body,
            allow_redirects=False,
            middlewares=middlewares,
        ) as response:
            body = await self._body_of(response)
            return Response(
                response.status, readable(response.reason or ""), headers_of(response.raw_headers), body
            )

    async def _body_of(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for part in response.content.iter_chunked(PART):
            body += part
            if len(body) > self._limits.response_bytes:
                detail = f"A response's body has at most {self._limits.response_bytes} bytes, decompressed."
                raise CallError("communication", "The response is too large", detail, 502)
        return bytes(body)

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        """Make the socket for one address, which nothing can change any more."""
        family, kind, protocol, _, (host, *_) = info
        if not is_permitted(ip_address(host), self._allowed):
            raise DeniedError(
                "the host"
            )  # its name was not refused, so an address would tell what that stands for
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, TURN)
        return made


class CheckedResolver(AbstractResolver):
    """The DNS, without what may not be called."""

    def __init__(self, names: AbstractResolver, allowed: Sequence[Network]) -> None:
        self._names = names
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Resolve a name; refuse it when none of its addresses may be called."""
        found = await self._names.resolve(host, port, family)
        permitted = [one for one in found if is_permitted(ip_address(one["host"]), self._allowed)]
        if found and not permitted:
            raise DeniedError(host)
        return permitted

    async def close(self) -> None:
        """Close the way to the DNS."""
        await self._names.close()


class LastResponse:
    """Lets go of the response before, whose connection would stay open while a challenge is answered."""

    def __init__(self) -> None:
        self._last: aiohttp.ClientResponse | None = None

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send a request of the exchange."""
        if self._last is not None:
            self._last.close()
        self._last = await handler(request)
        return self._last


CREDENTIALS = "It has a user or password in it"


def address_of(text: str) -> URL:
    """Read the address of a call: an http or https URL of a host, without user and password, its fragment left out.

    What is encoded stays as it is written, `%26` and `&` being different things; what a URL cannot hold is encoded.

    Raises:
        CallError: with what is wrong with it.
    """
    try:
        url = URL(text)
    except ValueError:
        raise unusable("It is not a URL.") from None
    parts = _PARTS.fullmatch(text.partition("#")[0])
    if url.scheme not in ("http", "https") or not url.raw_host or parts is None:
        raise unusable("It has to begin with http:// or https:// and to name a host.")
    authority, path = parts.groups()
    if "@" in authority:
        raise unusable(f"{CREDENTIALS}; use `authentication` instead.")
    if any(not character.isalnum() and character not in "-._:" for character in url.raw_host):
        raise unusable("Its host has characters that no host's name has.")
    rest = quote(path, safe=_AS_WRITTEN, errors="replace")
    sent = f"{url.scheme}://{url.raw_authority}{'' if rest.startswith('/') else '/'}{rest}"
    if len(sent) > URL_LIMIT:
        raise unusable(f"It has at most {URL_LIMIT} characters.")
    return URL(sent, encoded=True)


def unusable(detail: str) -> CallError:
    """The error for an endpoint that cannot be called."""
    return CallError("configuration", "The endpoint cannot be called", detail)


def failure(error: Exception) -> CallError:
    """Say why there is no response, in words that name no address."""
    if isinstance(error, aiohttp.InvalidURL):
        return unusable("It is not a URL that can be called.")
    if isinstance(error, aiohttp.ClientPayloadError):
        return bad_response("The response broke off, or is not encoded as it says.")
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        return no_response(reason_of(error))
    return bad_response("What the server sent is not HTTP as it has to be.")


def reason_of(error: Exception) -> str:
    """Why there was no connection, or no response over it."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(error.certificate_error, "verify_message", "it is not for this host")
            return f"The server's certificate cannot be trusted: {reason}"
        case aiohttp.ClientSSLError():
            return "No secure connection could be made: the server's TLS does not fit."
        case aiohttp.ClientConnectorDNSError():
            return "The host's name could not be resolved; check how it is spelled."
        case aiohttp.ClientConnectorError():
            reason = os.strerror(error.errno).lower() if error.errno else "no address answered"
            return f"The host could not be reached: {reason}."
    return "The server closed the connection without a response."


def no_response(detail: str) -> CallError:
    """The error for a server that said nothing."""
    return CallError("communication", "No response", detail, 503)


def bad_response(detail: str) -> CallError:
    """The error for a server that said something useless."""
    return CallError("communication", "The response cannot be read", detail, 502)


def headers_of(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers of a response by lower-case name, as texts that can be stored."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("ascii", "replace").lower(), readable(value.decode("utf-8", "replace"))
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def readable(text: str) -> str:
    """A text without what cannot be stored: NUL characters and lone surrogates."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()
