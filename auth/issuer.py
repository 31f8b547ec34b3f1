"""This service as an authorization server: its name on the wire, and where its endpoints are."""

from typing import Any
from urllib.parse import urlsplit

import msgspec
from litestar.connection import ASGIConnection

TOKEN_PATHS = ("/oauth/token", "/api/auth/oauth/token")  # ours, and where Formance's SDKs look


class Issuer(msgspec.Struct, frozen=True):
    """The `iss` of everything issued: the service's public URL. `aliases` are further names that assertions may use."""

    url: str
    aliases: tuple[str, ...] = ()

    @property
    def secure(self) -> bool:
        """Whether clients reach the service by TLS; without it cookies cannot be marked as secure."""
        return self.url.startswith("https://")

    @property
    def origin(self) -> str:
        """What browsers call the origin of the service's pages."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def audiences(self) -> list[str]:
        """What an assertion's `aud` may be: this issuer, its host as vendors' SDKs write it, its token endpoint."""
        host = urlsplit(self.url)
        own = [
            self.url,
            f"{self.url}/",
            host.netloc,
            host.hostname or host.netloc,
            *map(self.at, TOKEN_PATHS),
        ]
        return list(dict.fromkeys([*own, *self.aliases]))

    def at(self, path: str) -> str:
        """Return the URL of one of the service's paths."""
        return self.url.rstrip("/") + path


def issuer_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Issuer:
    """Return the issuer that the application was made with."""
    found: Issuer = connection.app.state["issuer"]
    return found
