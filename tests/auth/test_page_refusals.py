"""Every form of the login pages, told from the route table: sent by anybody but its own page in its own browser, it does nothing."""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest

from auth.bearer import new_secret
from auth.passwords import hash_password
from auth.sessions import TOKEN_FIELD, form_token
from tenancy.accounts import add_user
from tests.auth.oauth import App, registered, unknown_id
from tests.auth.routes import ROUTES, Route
from tests.auth.rows import everything, forget_failures
from tests.world import World

EMAIL, PASSWORD = "ada@acme.example", "correct horse battery staple"
COOKIE = "tutti_session"
TOKEN = re.compile(rf'name="{TOKEN_FIELD}" value="([0-9a-f]+)"')
FORMS = [route for route in ROUTES if route.proof == "session"]
# What a person sends with each form. A form that is not listed here fails.
FIELDS = {
    "/oauth/login": {"email": EMAIL, "password": PASSWORD},
    "/oauth/account": {"account": "all"},
    "/oauth/consent": {"answer": "allow"},
    "/oauth/logout": {},
}


class Page(msgspec.Struct, frozen=True):
    """A page that a person sees: where it is, in the browser with which cookie, the proof that its form holds."""

    url: str
    cookie: str
    token: str

    @property
    def request_id(self) -> str:
        """The login that it is about."""
        return parse_qs(urlsplit(self.url).query).get("request", [""])[0]

    def form(self, path: str) -> dict[str, str]:
        """The whole form, as its own page sends it."""
        return FIELDS[path] | {TOKEN_FIELD: self.token}


def browsers_cookie(client: httpx.AsyncClient) -> str:
    """The cookie that a browser is known by."""
    found = client.cookies.get(COOKIE)
    assert found is not None
    return found


async def seen(client: httpx.AsyncClient, url: str) -> Page:
    """Open a page."""
    answer = await client.get(url)
    assert answer.status_code == 200, answer.text
    token = TOKEN.search(answer.text)
    assert token is not None
    return Page(url, browsers_cookie(client), token[1])


async def page_at(client: httpx.AsyncClient, app: App, path: str) -> Page:
    """Go through a login in a new browser, up to the page of a form."""
    client.cookies.clear()
    url = (await client.get("/oauth/auth", params=app.parameters())).headers["location"]
    for step in ("/oauth/login", "/oauth/account", "/oauth/consent"):
        assert url.startswith(step)
        found = await seen(client, url)
        if step == path:
            return found
        answer = await client.post(url, data=found.form(step))
        assert answer.status_code == 303, answer.text
        url = answer.headers["location"]
        if step == "/oauth/login" and path == "/oauth/logout":
            return await seen(client, path)
    raise AssertionError(f"{path} is no page of a login")


@pytest.fixture
async def app(world: World) -> App:
    """A client, and somebody with two accounts who logs in for it."""
    await forget_failures()
    password = hash_password(PASSWORD)
    await add_user(EMAIL, "Ada", password, world.acme.id, "sender")
    await add_user(EMAIL, "Ada", None, world.globex.id, "sender")
    return await registered(world.acme.id)


def refusals(page: Page, other: Page, path: str) -> dict[str, dict[str, Any]]:
    """The same form, sent by somebody who may not; what differs from a genuine request."""
    fields = page.form(path)

    def with_token(token: str) -> dict[str, Any]:
        return {"data": fields | {TOKEN_FIELD: token}}

    form_name = path.rpartition("/")[2]
    return {
        "no cookie": {"headers": {"Cookie": ""}},
        "an unknown cookie": {"headers": {"Cookie": f"{COOKIE}={new_secret()}"}},
        "another browser's cookie": {"headers": {"Cookie": f"{COOKIE}={other.cookie}"}},
        "a cookie that is none of ours": {"headers": {"Cookie": f"{COOKIE}=1"}},
        "an empty token": with_token(" "),
        "a wrong token": with_token("0" * 64),
        "a token that is not ASCII": with_token("é" * 64),
        "another browser's token": with_token(other.token),
        "another form's token": with_token(form_token(page.cookie, "another", page.request_id)),
        "another login's token": with_token(form_token(page.cookie, form_name, unknown_id())),
        "a token without a cookie": {
            "headers": {"Cookie": ""},
            **with_token(form_token("", form_name, page.request_id)),
        },
        "another site": {"headers": {"Sec-Fetch-Site": "cross-site"}},
        "a neighbouring site": {"headers": {"Sec-Fetch-Site": "same-site"}},
        "a site of no name": {"headers": {"Sec-Fetch-Site": "none", "Origin": "null"}},
        "another origin": {"headers": {"Origin": "https://evil.example"}},
        "another type of body": {"data": None, "json": fields},
    }


def test_every_form_of_the_pages_is_tried() -> None:
    assert {route.path for route in FORMS} == set(FIELDS)


@pytest.mark.parametrize("route", FORMS, ids=lambda route: route.path)
async def test_form_does_nothing_but_for_its_own_page_in_its_own_browser(
    client: httpx.AsyncClient, app: App, route: Route
) -> None:
    other = await page_at(client, app, route.path)
    page = await page_at(client, app, route.path)
    stored = await everything()
    for name, changed in refusals(page, other, route.path).items():
        answer = await client.post(page.url, **{"data": page.form(route.path), **changed})
        assert (name, answer.status_code) == (name, 400), answer.text
        assert answer.headers["content-type"].startswith("text/html")
        assert "set-cookie" not in answer.headers
        assert "location" not in answer.headers
        assert (name, await everything()) == (name, stored)
    answer = await client.post(page.url, data=page.form(route.path))
    assert answer.status_code in (200, 303), answer.text
    assert await everything() != stored


@pytest.mark.parametrize("route", FORMS, ids=lambda route: route.path)
async def test_form_without_its_token_does_nothing(client: httpx.AsyncClient, app: App, route: Route) -> None:
    page = await page_at(client, app, route.path)
    stored = await everything()
    answer = await client.post(page.url, data=FIELDS[route.path] | {"a": "b"})
    if route.path == "/oauth/logout":  # a client's own form: the person is asked
        assert (answer.status_code, answer.headers["location"]) == (303, "/oauth/logout?a=b")
    else:
        assert answer.status_code == 400
    assert "set-cookie" not in answer.headers
    assert await everything() == stored


WITH_A_REQUEST = [route for route in FORMS if route.path != "/oauth/logout"]


@pytest.mark.parametrize("route", WITH_A_REQUEST, ids=lambda route: route.path)
async def test_form_about_a_login_of_another_browser_or_none_does_nothing(
    client: httpx.AsyncClient, app: App, route: Route
) -> None:
    other = await page_at(client, app, route.path)
    page = await page_at(client, app, route.path)
    form_name = route.path.rpartition("/")[2]
    stored = await everything()
    for request_id in (other.request_id, unknown_id(), "nonsense", "", "0" * 5000):
        fields = FIELDS[route.path] | {TOKEN_FIELD: form_token(page.cookie, form_name, request_id)}
        answer = await client.post(route.path, params={"request": request_id}, data=fields)
        assert (request_id, answer.status_code) == (request_id, 400)
        assert request_id not in answer.text or not request_id
    assert await everything() == stored


PAGES = ["/oauth/login", "/oauth/account", "/oauth/consent"]


@pytest.mark.parametrize("path", PAGES)
async def test_page_about_a_login_of_another_browser_shows_nothing(
    client: httpx.AsyncClient, app: App, path: str
) -> None:
    page = await page_at(client, app, path)
    stored = await everything()
    for cookie in ("", f"{COOKIE}={new_secret()}", f"{COOKIE}=1"):
        answer = await client.get(page.url, headers={"Cookie": cookie})
        assert answer.status_code == 400
        assert TOKEN.search(answer.text) is None
    assert await everything() == stored
