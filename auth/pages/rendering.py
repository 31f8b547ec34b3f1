"""Turns templates into pages, and keeps what browsers may do with a page or redirect as little as can be."""

import base64
import hashlib
import http
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Response
from litestar.datastructures import Cookie
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
STYLE = (TEMPLATES / "style.css").read_text()
HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@cache
def environment(style: str = STYLE, *folders: Path) -> Environment:
    """Load the templates of folders, and behind them the layout's, once; `style` is what they wear."""
    made = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["style"] = Markup(style)  # noqa: S704 - ours, and the policy holds its hash
    return made


def page(
    name: str,
    *,
    status: int = http.HTTPStatus.OK,
    returns_to: str | None = None,
    cookies: tuple[Cookie, ...] = (),
    **shown: Any,
) -> Response[str]:
    """Show a page; its forms lead to us and, where a redirect URI is given, on to sites of its scheme."""
    text = environment().get_template(f"{name}.html").render(shown)
    headers = HEADERS | {"Content-Security-Policy": policy(returns_to)}
    return Response(text, status_code=status, media_type=MediaType.HTML, headers=headers, cookies=cookies)


def redirect(location: str, cookies: tuple[Cookie, ...] = ()) -> Response[bytes]:
    """Send the browser on, with a GET whatever it came with (RFC 9700, 4.12)."""
    headers = HEADERS | {"Content-Security-Policy": policy(None), "Location": location}
    return Response(
        b"",
        status_code=http.HTTPStatus.SEE_OTHER,
        media_type=MediaType.TEXT,
        headers=headers,
        cookies=cookies,
    )


def policy(returns_to: str | None, style: str = STYLE) -> str:
    """Write the content security policy: our own `style`, our own forms, no frames, and nothing else.

    Chromium holds every redirect that follows a form to `form-action`, those of the client's own sites after the redirect
    URI as well, and cannot read IPv6 addresses there: so the scheme is named and not the host.
    """
    targets = "'self'" if returns_to is None else f"'self' {urlsplit(returns_to).scheme}:"
    return (
        f"default-src 'none'; style-src 'sha256-{hash_of(style)}'; form-action {targets}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )


@cache
def hash_of(style: str) -> str:
    """Hash a style as a policy names it (CSP 3, 2.3.1)."""
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
