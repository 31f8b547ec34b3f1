"""What every page tells the browser: run nothing, show it in no frame, keep nothing, tell nobody where you were."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar

from auth.pages import rendering as login_pages
from auth.passwords import hash_password
from service.app import create_app
from service.console import rendering as console_pages
from tenancy.accounts import add_user
from tests.auth.oauth import App, registered, unknown_id
from tests.auth.rows import forget_failures
from tests.auth.test_invitations import answered, invited
from tests.auth.test_page_refusals import EMAIL, FIELDS, PASSWORD, page_at
from tests.console.test_participant import PARTICIPANT, Visitor, hold
from tests.world import World, bearer

PARTS = {"layout", "inputs"}  # templates that are no pages
HEADERS = {
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
}
POLICY = re.compile(
    r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]{43}='; form-action 'self'(?: https?:)?; "
    r"frame-ancestors 'none'; base-uri 'none'"
)
Shown = Callable[[httpx.AsyncClient, World], Awaitable[httpx.Response]]


async def app_of(world: World) -> App:
    """A client, and somebody with two accounts who logs in for it."""
    await forget_failures()
    await add_user(EMAIL, "Ada", hash_password(PASSWORD), world.acme.id, "sender")
    await add_user(EMAIL, "Ada", None, world.globex.id, "sender")
    return await registered(world.acme.id)


def login_page(path: str) -> Shown:
    """Show a page that a login leads to."""

    async def shown(client: httpx.AsyncClient, world: World) -> httpx.Response:
        return await client.get((await page_at(client, await app_of(world), path)).url)

    return shown


async def logged_out(client: httpx.AsyncClient, world: World) -> httpx.Response:
    page = await page_at(client, await app_of(world), "/oauth/logout")
    return await client.post(page.url, data=page.form("/oauth/logout"))


async def error(client: httpx.AsyncClient, world: World) -> httpx.Response:
    app = await registered(world.acme.id)
    return await client.get("/oauth/auth", params=app.parameters(client_id=unknown_id()))


async def invitation(client: httpx.AsyncClient, world: World) -> httpx.Response:
    return await client.get(await invited(client, world.acme))


async def invitation_answered(client: httpx.AsyncClient, world: World) -> httpx.Response:
    return await answered(client, await invited(client, world.acme), answer="decline")


async def visitor(client: httpx.AsyncClient, world: World) -> Visitor:
    """Hold the URL of an instance that asks something."""
    asking = {"ask": {"call": "approval", "with": {"title": "Sign", "assignees": PARTICIPANT}}}
    return await hold(client, world.acme, [asking])


async def instance(client: httpx.AsyncClient, world: World) -> httpx.Response:
    return await (await visitor(client, world)).looks()


async def ended(client: httpx.AsyncClient, world: World) -> httpx.Response:
    holder = await visitor(client, world)
    cancelled = await client.post(f"{holder.instance}/actions/cancel", headers=bearer(world.acme.machine))
    assert cancelled.status_code == 200
    return await holder.looks()


async def message(client: httpx.AsyncClient, world: World) -> httpx.Response:
    return await (await visitor(client, world)).looks(mtsec="a")


PAGES: dict[str, Shown] = {
    **{path.rpartition("/")[2]: login_page(path) for path in FIELDS},
    "logged_out": logged_out,
    "error": error,
    "invitation": invitation,
    "invitation_answered": invitation_answered,
    "instance": instance,
    "ended": ended,
    "message": message,
}


def test_every_template_is_a_page_that_is_looked_at() -> None:
    found = {
        path.stem
        for folder in (login_pages.TEMPLATES, console_pages.TEMPLATES)
        for path in Path(folder).glob("*.html")
    }
    assert found - PARTS == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_lets_browsers_do_as_little_as_can_be(
    client: httpx.AsyncClient, world: World, name: str
) -> None:
    answer = await PAGES[name](client, world)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert {header: answer.headers.get(header) for header in HEADERS} == HEADERS
    assert POLICY.fullmatch(answer.headers["content-security-policy"])
    assert (
        "strict-transport-security" not in answer.headers
    )  # a plain service that said so would be reached no more
    assert "<script" not in answer.text
    assert not re.search(r"\son\w+=|javascript:|(?:src|href)=\"?(?:https?:)?//", answer.text)


@pytest.mark.parametrize(
    ("public_url", "told"), [("https://tutti.test", "max-age=31536000"), ("http://tutti.test", None)]
)
@pytest.mark.parametrize(
    "path", ["/oauth/auth", "/oauth/logout", "/v1/accounts/x/workflows", "/healthz", "/nowhere"]
)
async def test_behind_https_every_answer_says_to_come_by_it_alone(
    litestar: Litestar, changed_settings: Any, path: str, public_url: str, told: str | None
) -> None:
    changed_settings(TUTTI_PUBLIC_URL=public_url)
    transport = httpx.ASGITransport(app=create_app(litestar), raise_app_exceptions=False)  # type: ignore[arg-type] # Litestar's types of ASGI are its own
    async with httpx.AsyncClient(transport=transport, base_url=public_url) as client:
        assert (await client.get(path)).headers.get("strict-transport-security") == told
