"""Turns templates into the participant's pages, in the dress of the login pages and as closed as they are.

No script, no frame, nothing from elsewhere; nothing is kept by caches, and the address, which holds the secret, is told to
no other site.
"""

import base64
import hashlib
import http
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Response
from markupsafe import Markup

from auth.pages.rendering import HEADERS as CLOSED
from auth.pages.rendering import STYLE as DRESS
from auth.pages.rendering import TEMPLATES as LAYOUT

TEMPLATES = Path(__file__).parent / "templates"
STYLE = DRESS + (TEMPLATES / "page.css").read_text()
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
HEADERS = CLOSED | {"Content-Security-Policy": POLICY}


@cache
def environment() -> Environment:
    """Load the templates, once."""
    made = Environment(
        loader=FileSystemLoader([TEMPLATES, LAYOUT]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["style"] = Markup(STYLE)  # noqa: S704 - ours, and the policy holds its hash
    return made


def page(name: str, *, status: int = http.HTTPStatus.OK, **shown: Any) -> Response[str]:
    """Show a page."""
    text = environment().get_template(f"{name}.html").render(shown)
    return Response(text, status_code=status, media_type=MediaType.HTML, headers=HEADERS)


def redirect(location: str) -> Response[str]:
    """Send the browser on, by GET: a page that is loaded again then sends no form again."""
    headers = HEADERS | {"Location": location}
    return Response("", status_code=http.HTTPStatus.SEE_OTHER, media_type=MediaType.TEXT, headers=headers)
