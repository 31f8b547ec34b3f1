"""A person in a browser without scripts, in the hands of tests: reads forms, fills them in, keeps cookies."""

import html
import re
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
from litestar import Litestar
from litestar.datastructures import State

from auth.issuer import Issuer
from auth.pages.controllers import pages_router
from auth.passwords import hash_password
from tenancy.accounts import set_password
from tests.auth.oauth import App, query_of

PLAIN = Issuer("http://tutti.test")
SECURE = Issuer("https://tutti.test")
PASSWORD = "correct horse battery staple"
PATHS = {"login": "/oauth/login", "account": "/oauth/account", "consent": "/oauth/consent"}


def service(issuer: Issuer) -> httpx.ASGITransport:
    """The pages as they are mounted, under an issuer of the test's choice, over the application's own pool."""
    application: Any = Litestar([pages_router()], state=State({"issuer": issuer}), openapi_config=None)
    return httpx.ASGITransport(app=application)


class Person:
    """Somebody with an e-mail address, in a browser of their own."""

    def __init__(self, email: str, issuer: Issuer = PLAIN) -> None:
        self.email = email
        self.issuer = issuer
        self.http = httpx.AsyncClient(transport=service(issuer), base_url=issuer.url)

    @property
    def cookie(self) -> str | None:
        """What the session's cookie holds."""
        return self.http.cookies.get("__Host-tutti_session" if self.issuer.secure else "tutti_session")

    async def asks(self, app: App, **changed: str | None) -> httpx.Response:
        """Come from a client; return what is answered at once."""
        return await self.http.get("/oauth/auth", params=app.parameters(**changed))

    async def begins(self, app: App, **changed: str | None) -> httpx.Response:
        """Come from a client, and on to the page that is due."""
        return await self.follows(await self.asks(app, **changed))

    async def follows(self, answer: httpx.Response) -> httpx.Response:
        """Go where a redirect leads, which has to be one of our pages."""
        assert answer.status_code == 303, answer.text
        location = answer.headers["location"]
        assert location.startswith("/oauth/"), location
        return await self.http.get(location)

    async def sends(self, page: httpx.Response, /, **fields: str) -> httpx.Response:
        """Fill in the form of a page and send it, as a browser does."""
        return await self.http.post(
            page.request.url, data={"form_token": token_of(page)} | fields, headers=self.ours
        )

    @property
    def ours(self) -> dict[str, str]:
        """What a browser says of a form on one of our own pages."""
        return {"Origin": "null", "Sec-Fetch-Site": "same-origin"}

    async def logs_in(self, page: httpx.Response, password: str = PASSWORD) -> httpx.Response:
        """Give e-mail address and password."""
        return await self.sends(page, email=self.email, password=password)

    async def reaches(self, app: App, page: str, **changed: str | None) -> httpx.Response:
        """Come from a client, log in where that is asked, and arrive at a page."""
        shown = await self.begins(app, **changed)
        if page_of(shown) == "login":
            shown = await self.follows(await self.logs_in(shown))
        assert page_of(shown) == page
        return shown

    async def allows(self, app: App, **changed: str | None) -> dict[str, str]:
        """Do all that is asked, choose all accounts and allow everything; return what the client is told."""
        answer = await self.asks(app, **changed)
        while answer.headers["location"].startswith("/oauth/"):
            page = await self.follows(answer)
            if page_of(page) == "login":
                answer = await self.logs_in(page)
            else:
                answer = await self.sends(page, account="all", answer="allow")
        return told(answer, app)


async def person(user_id: UUID, email: str, issuer: Issuer = PLAIN) -> Person:
    """A user with a password, in a new browser."""
    await set_password(str(user_id), HASH)
    return Person(email, issuer)


def told(answer: httpx.Response, app: App) -> dict[str, str]:
    """What a client is told by a redirect that has to lead to it."""
    assert answer.status_code == 303, answer.text
    location = answer.headers["location"]
    assert location.startswith(f"{app.redirect_uri}?"), location
    return query_of(location)


def page_of(answer: httpx.Response) -> str:
    """Say which page is shown."""
    found = re.search(r'id="(\w+)-form"', answer.text)
    return (
        found[1] if found else "error" if 'id="error-page"' in answer.text else urlsplit(str(answer.url)).path
    )


def token_of(page: httpx.Response) -> str:
    """Read the form's token."""
    found = re.search(r'name="form_token" value="(\w+)"', page.text)
    assert found, page.text
    return found[1]


def reason_of(answer: httpx.Response, status: int = 400) -> str:
    """Read the reason on the error page."""
    assert answer.status_code == status, answer.text
    found = re.search(r'id="error-reason">([^<]+)<', answer.text)
    assert found, answer.text
    return html.unescape(found[1])


def alert_of(answer: httpx.Response, status: int = 400) -> str:
    """Read the alert above a form."""
    assert answer.status_code == status, answer.text
    found = re.search(r'role="alert">([^<]+)<', answer.text)
    assert found, answer.text
    return html.unescape(found[1])


HASH = hash_password(PASSWORD)
