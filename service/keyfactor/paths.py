"""The dialect's paths in any case, as its server takes them, and the header that every answer of it has.

A wrapper around the application: what a request is routed by is settled before any route is looked for. Nothing else of the
service is touched.
"""

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from service.keyfactor.errors import PREFIX, is_keyfactor

PRODUCT_VERSION = (b"x-keyfactor-product-version", b"10.5.0.0")


def with_folded_paths(application: Litestar) -> ASGIApp:
    """Give the literal segments of the dialect's paths the case that its routes have, and its answers the vendor's version."""
    literals = {
        segment.lower(): segment
        for route in application.routes
        if is_keyfactor(route.path)
        for segment in route.path.split("/")
        if not segment.startswith("{")
    }

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or not is_below(scope["path"]):
            await application(scope, receive, send)
            return
        scope["path"] = "/".join(literals.get(one.lower(), one) for one in scope["path"].split("/"))

        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], PRODUCT_VERSION]
            await send(message)

        await application(scope, receive, send_with_version)

    return wrapped


def is_below(path: str) -> bool:
    """Whether a path lies below the dialect's prefix, in whatever case."""
    return path[: len(PREFIX)].lower() == PREFIX.lower() and is_keyfactor(PREFIX + path[len(PREFIX) :])
