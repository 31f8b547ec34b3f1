"""Tells browsers to come by TLS alone, where the service is reached by it (RFC 6797)."""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

# A year. Not for subdomains: what else is below the operator's host is not ours.
STRICT = (b"strict-transport-security", b"max-age=31536000")


def with_strict_transport(application: ASGIApp, *, secure: bool) -> ASGIApp:
    """Add `Strict-Transport-Security` to every answer of a service whose public URL is https; leave another as it is."""
    if not secure:
        return application

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_strictly(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], STRICT]
            await send(message)

        await application(scope, receive, send_strictly if scope["type"] == ScopeType.HTTP else send)

    return wrapped
