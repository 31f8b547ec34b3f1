"""What lies outside of the engine, in tests: servers on this host, and workflows' calls to them."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from yarl import URL

from service.engine.effects.call_http import perform
from service.engine.egress import CallError, Egress, Limits, Request
from service.engine.flow import Raised
from service.engine.messages import Pending
from service.language.errors import STANDARD, Fault
from service.language.questions import Question
from tests.engine.instances import answer
from tests.language.definitions import task_of
from tests.waiting import eventually

ACCOUNT = uuid4()
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
KEY = "instance-1:/do/0/a:1:1"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def egress(*, resolver: AbstractResolver | None = None, **limits: Any) -> Egress:
    """A way out that reaches this host."""
    return Egress(LOOPBACK, resolver=resolver, limits=Limits(**limits))


# --- Servers --------------------------------------------------------------------------------------------------------


class Site:
    """A server: where it is, and the requests that it got."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[web.Request] = []
        self.bodies: list[str] = []


@contextlib.asynccontextmanager
async def site(respond: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    """Serve HTTP as it should be."""

    async def handle(request: web.Request) -> web.StreamResponse:
        found.requests.append(request)
        found.bodies.append(await request.text())
        return await respond(request)

    application = web.Application(client_max_size=4 * 1024**2)
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
    found = Site(f"{'https' if tls else 'http'}://127.0.0.1:{port}")
    try:
        yield found
    finally:
        await runner.cleanup()


class Listener:
    """A server of bytes: where it is, how many connections were made to it, and which are open."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.made = 0
        self.connected = asyncio.Event()
        self.open: set[asyncio.StreamWriter] = set()

    async def until_closed(self) -> None:
        """Wait for the other side to close every connection."""
        await eventually(lambda: not self.open, 5)


@contextlib.asynccontextmanager
async def listener(talk: Talk | bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[Listener]:
    """Serve whatever a test wants to be sent."""
    found = Listener()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.made += 1
        found.connected.set()
        found.open.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if isinstance(talk, bytes):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(talk)
                await writer.drain()
            else:
                await talk(reader, writer)
            writer.write_eof()
            await reader.read()
        found.open.discard(writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", found.port, ssl=tls)
    try:
        yield found
    finally:
        for writer in list(found.open):
            writer.close()
        server.close()
        await server.wait_closed()


async def drip_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Say nothing for as long as somebody waits for it."""
    await reader.read()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def certificate(folder: Path, host: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate that signs itself, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.DNSName(host)]
    with contextlib.suppress(ValueError):
        names = [x509.IPAddress(ip_address(host))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path, secret = folder / "certificate.pem", folder / "key.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, secret)
    return path, context


@contextlib.contextmanager
def trusted(path: Path) -> Iterator[None]:
    """Let clients that are made now trust a certificate."""
    os.environ["SSL_CERT_FILE"] = str(path)
    try:
        yield
    finally:
        del os.environ["SSL_CERT_FILE"]


class Names(AbstractResolver):
    """A DNS that gives one answer after the other, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - the interface's
    ) -> list[ResolveResult]:
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in found
        ]

    async def close(self) -> None:
        return None


# --- Calls ----------------------------------------------------------------------------------------------------------


class Sandbox:
    """It answers in this process."""

    async def answer(self, _: UUID, questions: Sequence[Question]) -> list[Any]:
        return answer(questions)


def waiting(
    arguments: Mapping[str, Any], given: Any = None, task: Mapping[str, Any] | None = None, **use: Any
) -> Pending:
    """A call that waits to be performed."""
    read = task_of({"call": "http", "with": {"method": "get", **arguments}, **(task or {})}, use=use)
    return Pending(task=read, input=given, raw=given, variables={"input": given}, key=KEY)


async def call(
    way: Egress,
    arguments: Mapping[str, Any],
    given: Any = None,
    *,
    secrets: Mapping[str, Any] | None = None,
    account: UUID = ACCOUNT,
    task: Mapping[str, Any] | None = None,
    **use: Any,
) -> Any:
    """The raw output of a call."""
    declared = {"secrets": sorted(secrets)} if secrets else {}
    pending = waiting(arguments, given, task, **declared, **use)
    return await perform(way, Sandbox(), account, pending, secrets or {}, TRACE)


async def fault_of(way: Egress, arguments: Mapping[str, Any], given: Any = None, **rest: Any) -> Fault:
    """How a call fails."""
    with pytest.raises(Raised) as error:
        await call(way, arguments, given, **rest)
    assert error.value.__cause__ is None
    assert error.value.fault.title
    assert error.value.fault.instance == "/do/0/a"
    return error.value.fault


def kind_of(fault: Fault) -> tuple[str, int]:
    """The kind and the status."""
    return fault.type.removeprefix(STANDARD), fault.status


async def error_of(way: Egress, url: str) -> CallError:
    """How a plain request fails."""
    with pytest.raises(CallError) as error:
        await way.send(Request("GET", URL(url), {}))
    return error.value
