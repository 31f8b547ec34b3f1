"""The forms in which a called service may repeat a secret: in none of them does an answer or an error show it."""

import html
import json
from typing import Any

import pytest
from aiohttp import web

from service.engine.effects.redaction import MARK, Redaction
from tests.engine.outside import call, egress, fault_of, site

KEYED = {"headers": {"X-Key": "${ $secrets.key }"}}


def hiding(*secrets: Any) -> Redaction:
    """What hides these."""
    hidden = Redaction()
    hidden.learn(list(secrets))
    return hidden


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        pytest.param(" geheim\t", "geheim", id="without-blanks"),
        pytest.param(" geheim\t", " geheim\t", id="with-blanks"),
        pytest.param("gehéim€", "gehÃ©imâ\x82¬", id="as-latin-1"),
        pytest.param("gehéim€", r"geh\u00c3\u00a9im\u00e2\u0082\u00ac", id="as-latin-1-in-JSON"),
        pytest.param("gehéim€", "gehÃ©imâ\u201a¬", id="as-windows-1252"),
        pytest.param("g<héim", "g&lt;hÃ©im", id="as-latin-1-in-HTML"),
        pytest.param("p&ss<w>rd", "p&amp;ss&lt;w&gt;rd", id="in-HTML"),
        pytest.param("p&ss\"w'rd", "p&amp;ss\"w'rd", id="in-HTML-quotes-kept"),
        pytest.param("p&ss\"w'rd", "p&amp;ss&quot;w&#x27;rd", id="in-HTML-quotes-by-name-and-hexadecimal"),
        pytest.param("p&ss\"w'rd", "p&amp;ss&#34;w&#39;rd", id="in-HTML-quotes-by-number"),
        pytest.param("p&ss\"w'rd", "p&amp;ss&quot;w&#039;rd", id="in-HTML-quotes-by-name-and-number"),
        pytest.param("p&ss\"w'rd", "p&amp;ss&quot;w&apos;rd", id="in-HTML-quotes-by-name"),
        pytest.param("p&ss<w>rd", r"p\u0026ss\u003cw\u003erd", id="in-JSON-for-HTML"),
        pytest.param("ge/heim", r"ge\/heim", id="in-JSON-with-slashes-escaped"),
    ],
)
def test_a_form_of_a_secret_is_hidden(secret: str, shown: str) -> None:
    hidden = hiding(secret)
    assert hidden.text(f"It is {shown}!", 1000) == f"It is {MARK}!"
    assert hidden.content(f"It is {shown}!".encode()) == f"It is {MARK}!".encode()
    assert hidden.value({"told": f"It is {shown}!"}) == {"told": f"It is {MARK}!"}
    assert hidden.headers({"x": shown, "y": "open"}) == {"x": MARK, "y": "open"}


def test_what_remains_of_a_text_without_its_blanks_is_hidden_from_four_characters_on() -> None:
    assert hiding("  ab  ").value("ab cab") == "ab cab"
    assert hiding(" 12345 ").value([12345, 1234]) == [MARK, 1234]


def test_a_text_without_anything_to_escape_costs_no_more_forms() -> None:
    assert len(hiding("geheim-12345")._forms) <= 8


async def echo(request: web.Request) -> web.Response:
    """Answer with the key: as UTF-8, as a server that takes headers for latin-1, or on an HTML page."""
    key = request.headers["X-Key"]
    match request.path:
        case "/misread":
            return web.json_response({"sent": key.encode().decode("latin-1")}, status=400)
        case "/page":
            return web.Response(status=400, text=f"<p>{html.escape(key)}</p>", content_type="text/html")
    return web.json_response({"sent": key})


async def test_a_header_that_comes_back_stripped_misread_or_on_a_page_is_not_shown() -> None:
    secrets = {"key": ' p&ss<"wörd" '}
    async with site(echo) as server, egress() as way:
        assert await call(way, {**KEYED, "endpoint": server.url}, secrets=secrets) == {"sent": MARK}
        misread = await fault_of(way, {**KEYED, "endpoint": server.url + "/misread"}, secrets=secrets)
        page = await fault_of(way, {**KEYED, "endpoint": server.url + "/page"}, secrets=secrets)
    assert json.loads(misread.detail or "") == {"sent": MARK}
    assert page.detail == f"<p>{MARK}</p>"
