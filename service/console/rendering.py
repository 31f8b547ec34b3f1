"""Turns templates into the participant's pages, in the dress of the login pages and as closed as they are.

No script, no frame, nothing from elsewhere; nothing is kept by caches, and the address, which holds the secret, is told to
no other site.
"""

import http
from pathlib import Path
from typing import Any

from litestar import MediaType, Response

from auth.pages import rendering

TEMPLATES = Path(__file__).parent / "templates"
STYLE = rendering.STYLE + (TEMPLATES / "page.css").read_text()
HEADERS = rendering.HEADERS | {"Content-Security-Policy": rendering.policy(None, STYLE)}


def page(name: str, *, status: int = http.HTTPStatus.OK, **shown: Any) -> Response[str]:
    """Show a page."""
    text = rendering.environment(STYLE, TEMPLATES).get_template(f"{name}.html").render(shown)
    return Response(text, status_code=status, media_type=MediaType.HTML, headers=HEADERS)


def redirect(location: str) -> Response[str]:
    """Send the browser on, by GET: a page that is loaded again then sends no form again."""
    headers = HEADERS | {"Location": location}
    return Response("", status_code=http.HTTPStatus.SEE_OTHER, media_type=MediaType.TEXT, headers=headers)
