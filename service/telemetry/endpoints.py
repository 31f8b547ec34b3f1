"""What operators' machines ask a process: whether it lives, whether it is ready, and its figures.

Figures are for the operator alone: one with the operator's token; or, where the service itself is for this machine alone, a
caller on it. A proxy on the same machine sends what strangers ask from a loopback address, and may say nothing of them.
"""

import asyncio
import hashlib
import hmac
import logging
import time
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from litestar import HttpMethod, Request, Response, get, route

from auth.bearer import token_text
from service import stopping
from service.exchange import header
from service.settings import settings
from service.telemetry.scraping import Scrapes, form_for
from service.telemetry.sharing import FolderHeldError
from tenancy.errors import Unauthenticated
from tenancy.rows import read
from tenancy.schema import is_current

logger = logging.getLogger("tutti.telemetry")
PROXIED = (b"forwarded", b"x-real-ip", b"via")
PROXIED_TOO = b"x-forwarded-"  # and whatever comes behind it
PROBING = (HttpMethod.GET, HttpMethod.HEAD)  # by which balancers probe; the server leaves HEAD's body out
THIS_MACHINE = ("localhost", "127.0.0.1", "[::1]")
READY_SECONDS = 5  # within which the database has to answer
READY_FRESH_SECONDS = 1.0  # that an answer is kept: anybody may ask, as often as they like
PLAIN = "text/plain; charset=utf-8"
AGAIN_SECONDS = 5  # after which to ask for the figures again
_scrapes = Scrapes()
_looking = asyncio.Lock()
_looked: tuple[float, str | None] = (float("-inf"), None)


@route("/healthz", http_method=PROBING, include_in_schema=False, opt={"public": True})
async def healthz() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@route("/readyz", http_method=PROBING, include_in_schema=False, opt={"public": True})
async def readyz() -> Response[dict[str, str]]:
    """Say whether requests can be served: the database is reachable, its migrations current, and somebody works."""
    reason = await hindrance()
    if reason is None:
        return Response({"status": "ready"})
    return Response({"status": "unavailable", "reason": reason}, status_code=503)


async def hindrance() -> str | None:
    """What stands in the way of serving, in words; None if nothing does."""
    global _looked  # noqa: PLW0603 - there is one process
    if stopping.begun():
        return "The process has been told to stop."
    async with _looking:
        if time.monotonic() - _looked[0] > READY_FRESH_SECONDS:
            found = await looked()
            _looked = time.monotonic(), found
        return _looked[1]


async def looked() -> str | None:
    """Look whether the database is there and current, and whether somebody works; in words what is not so."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            await read("SELECT 1")
            current = await is_current()
    except Exception:  # noqa: BLE001 - whatever the reason, the answer is the same
        return "The database is not reachable."
    if not current:
        return "Migrations are missing: run tutti migrate."
    return (await _scrapes.stored()).stuck(settings().ready_queue_seconds)


@get("/metrics", include_in_schema=False, opt={"public": True})
async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Give the figures of all processes of the service, in the form that Prometheus asks for."""
    if not (is_of_this_machine(request) or has_the_token(request)):
        return refused()
    encode, media_type = form_for(request.headers.get("accept", ""))
    try:
        body = await _scrapes.written(encode)
    except FolderHeldError as error:
        logger.warning("the figures cannot be told: %s", error)
        headers = {"Content-Type": PLAIN, "Retry-After": str(AGAIN_SECONDS)}
        return Response(f"{error}.\n".encode(), status_code=503, headers=headers)
    return Response(body, headers={"Content-Type": media_type, "Cache-Control": "no-store"})


def is_of_this_machine(request: Request[Any, Any, Any]) -> bool:
    """Whether a caller sits on this machine, asks it by its own name, and no proxy stands between, nor is meant to."""
    client = request.scope.get("client")
    if client is None or any(
        name in PROXIED or name.startswith(PROXIED_TOO) for name, _ in request.scope["headers"]
    ):
        return False
    named = (header(request.scope, b"host"), urlsplit(settings().public_url).netloc)
    try:
        return ip_address(client[0]).is_loopback and all(host_of(one) in THIS_MACHINE for one in named)
    except ValueError:
        return False


def host_of(authority: str | None) -> str:
    """The host of a `Host` header or a URL's authority, without the port."""
    host = (authority or "").lower()
    return host if host.endswith("]") else host.rpartition(":")[0] or host


def has_the_token(request: Request[Any, Any, Any]) -> bool:
    """Whether a caller shows the operator's token; how long that takes tells nothing of it."""
    wanted = settings().metrics_token
    if wanted is None:
        return False
    try:
        shown = token_text(header(request.scope, b"authorization"))
    except Unauthenticated:
        return False
    digests = (hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest() for text in (shown, wanted))
    return hmac.compare_digest(*digests)


def refused() -> Response[bytes]:
    """Refuse a stranger: where no token is set there is nothing for them."""
    if settings().metrics_token is None:
        return Response(b"", status_code=404)
    return Response(b"", status_code=401, headers={"WWW-Authenticate": 'Bearer realm="metrics"'})
