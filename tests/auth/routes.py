"""The OAuth server's routes as the application itself tells them, each with the proof that it asks for."""

import msgspec

from tests.maestro.routes import handlers

PREFIXES = ("/oauth/", "/api/auth/", "/.well-known/")
PROOFS = ("none", "client", "token", "session")


class Route(msgspec.Struct, frozen=True):
    """One method of one path: who may call it, and whether the OpenAPI document tells it."""

    name: str
    method: str
    path: str
    proof: str
    in_document: bool


def oauth_routes() -> list[Route]:
    """Return every route that lies where the OAuth server's are; one that names no proof has the proof `unknown`."""
    return [
        Route(
            handler.operation_id if isinstance(handler.operation_id, str) else f"{method} {path}",
            method,
            path,
            handler.opt.get("proof", "unknown"),
            handler.resolve_include_in_schema(),
        )
        for path, handler in handlers()
        for method in sorted(handler.http_methods - {"OPTIONS"})
        if path.startswith(PREFIXES) or "proof" in handler.opt
    ]


ROUTES = oauth_routes()
