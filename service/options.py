"""OPTIONS tells every method of its path.

Litestar's own answer tells the methods of what was registered first at a path: litestar-org/litestar#4169, mended in its
next major version alone.
"""

from typing import Any

from litestar import Litestar, Response
from litestar.enums import MediaType
from litestar.routes import HTTPRoute, http


def tell_every_method(app: Litestar) -> None:
    """Have OPTIONS of every route that does not answer it itself tell all methods that are there now."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            handler: Any = route.route_handler_map["OPTIONS"][0]
            if handler.fn.__module__ == http.__name__:
                handler._fn = answering(", ".join(sorted(route.methods)))  # noqa: SLF001 - there is no other way in


def answering(methods: str) -> Any:
    """Make what the framework calls, by this parameter's name."""

    def options_handler(scope: Any) -> Response[None]:  # noqa: ARG001 - the framework passes it
        return Response(None, status_code=204, headers={"Allow": methods}, media_type=MediaType.TEXT)

    return options_handler
