"""Lets pages of registered clients call what a browser's script needs (CORS; RFC 9700, 2.6): their origins alone.

No credentials are allowed, so no cookie of the login pages counts here. The authorization endpoint has no such answers.
"""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from tenancy.rows import read

LONGEST_ORIGIN = 300
KNOWN = "SELECT origin_is_known($1) AS known"
PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"authorization, content-type"),
    (b"access-control-max-age", b"600"),
]


def for_scripts(app: ASGIApp) -> ASGIApp:
    """Wrap a route: the origin is looked up before it runs, as nothing may fail after its commit."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        origin = origin_of(scope)
        if origin is None:
            await app(scope, receive, send)
            return
        extra = [(b"vary", b"Origin")]
        if await is_known(origin):
            extra.append((b"access-control-allow-origin", origin))
            extra += PREFLIGHT if scope["type"] == ScopeType.HTTP and scope["method"] == "OPTIONS" else []

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        await app(scope, receive, send_more)

    return wrapped


def origin_of(scope: Scope) -> bytes | None:
    """Return where the calling script is from."""
    return next((value for name, value in scope["headers"] if name == b"origin"), None)


async def is_known(origin: bytes) -> bool:
    """Whether some registered client's pages live there."""
    plain = len(origin) <= LONGEST_ORIGIN and origin.isascii() and b"\0" not in origin
    if not plain or not origin.startswith(b"http"):
        return False
    (row,) = await read(KNOWN, origin.decode("ascii"))
    known: bool = row["known"]
    return known
