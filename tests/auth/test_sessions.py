"""Login sessions: whose a browser is, for how long, and which forms are genuine."""

from typing import Any

import httpx
import pytest

from auth.bearer import hash_of, new_secret
from auth.sessions import form_token, is_genuine
from tenancy.accounts import (
    add_user,
    create_account,
    remove_member,
    set_password,
    suspend_account,
    suspend_user,
)
from tenancy.postgres import connected
from tests.auth.oauth import App, registered
from tests.auth.person import PLAIN, SECURE, Person, page_of, person, reason_of, told
from tests.auth.rows import run
from tests.tenancy.databases import superuser
from tests.world import World

EMAIL = "admin@acme.example"


@pytest.fixture
async def app(world: World) -> App:
    """A client of Acme's."""
    return await registered(world.acme.id)


@pytest.fixture
async def ada(world: World, app: App) -> Person:
    """Acme's administrator, logged in."""
    ada = await person(world.acme.admin_id, EMAIL)
    await ada.reaches(app, "consent")
    return ada


async def stored(what: str, *arguments: object) -> Any:
    """Look at what is stored, past every rule."""
    async with connected(superuser()) as connection:
        return await connection.fetchval(what, *arguments)


async def is_logged_in(someone: Person, app: App) -> bool:
    """Whether a browser's person need not give their password."""
    return page_of(await someone.begins(app)) != "login"


async def sessions() -> int:
    """How many logins are stored."""
    count: int = await stored("SELECT count(*) FROM login_session")
    return count


async def test_a_login_is_stored_as_a_hash_and_nothing_is_before(world: World, app: App) -> None:
    ada = await person(world.acme.admin_id, EMAIL)
    page = await ada.begins(app)
    before = ada.cookie
    assert await sessions() == 0
    await ada.logs_in(page)
    assert ada.cookie is not None
    assert len(ada.cookie) == 43
    assert ada.cookie != before
    assert await stored("SELECT session_hash FROM login_session") == hash_of(ada.cookie)
    assert await stored("SELECT auth_time FROM login_session") is not None


@pytest.mark.parametrize("planted", [new_secret(), "x" * 43], ids=["random", "chosen"])
async def test_a_planted_cookie_is_nobodys_login(world: World, app: App, planted: str) -> None:
    thief = Person(EMAIL)
    ada = await person(world.acme.admin_id, EMAIL)
    for browser in (thief, ada):
        browser.http.cookies.set("tutti_session", planted, domain="tutti.test")
    await ada.reaches(app, "consent")
    assert ada.cookie != planted
    assert thief.cookie == planted
    assert not await is_logged_in(thief, app)


async def test_a_planted_login_ends_when_its_victim_logs_in(world: World, app: App) -> None:
    thief = await person(world.acme.member_id, "member@acme.example")
    await thief.reaches(app, "consent")
    ada = await person(world.acme.admin_id, EMAIL)
    assert thief.cookie is not None
    ada.http.cookies.set("tutti_session", thief.cookie, domain="tutti.test")
    page = await ada.begins(app, prompt="login")
    shown = await ada.follows(await ada.logs_in(page))
    assert "Acme Admin" in shown.text
    assert thief.cookie != ada.cookie
    assert not await is_logged_in(thief, app)


async def test_every_login_has_a_cookie_of_its_own(ada: Person, app: App) -> None:
    first = ada.cookie
    await ada.logs_in(await ada.begins(app, prompt="login"))
    assert ada.cookie != first
    assert await sessions() == 1


@pytest.mark.parametrize("value", ["", "short", "y" * 44, "ü" * 43, '"quoted"', "a;b", "\x00" * 43])
async def test_a_cookie_that_cannot_be_ours_is_replaced(world: World, app: App, value: str) -> None:
    ada = await person(world.acme.admin_id, EMAIL)
    header = {b"Cookie": f"tutti_session={value}".encode("latin-1")}
    answer = await ada.http.get("/oauth/auth", params=app.parameters(), headers=header)
    assert answer.status_code == 303
    assert "tutti_session=" in answer.headers["set-cookie"]
    assert ada.cookie != value


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ("seen_at = now() - interval '29 minutes'", True),
        ("seen_at = now() - interval '31 minutes'", False),
        ("expires_at = now() + interval '1 minute'", True),
        ("expires_at = now() - interval '1 second'", False),
    ],
)
async def test_a_login_ends_by_itself(ada: Person, app: App, change: str, holds: bool) -> None:  # noqa: FBT001
    await run(f"UPDATE login_session SET {change}")
    assert await is_logged_in(ada, app) is holds


async def test_a_login_lives_twelve_hours_at_most_and_is_seen_at_each_visit(ada: Person, app: App) -> None:
    assert (
        await stored("SELECT extract(epoch FROM expires_at - auth_time)::int FROM login_session") == 12 * 3600
    )
    await run("UPDATE login_session SET seen_at = now() - interval '20 minutes'")
    await ada.begins(app)
    assert await stored("SELECT seen_at > now() - interval '1 minute' FROM login_session")
    assert (
        await stored("SELECT extract(epoch FROM expires_at - auth_time)::int FROM login_session") == 12 * 3600
    )


async def test_a_suspended_user_is_logged_in_nowhere(ada: Person, app: App, world: World) -> None:
    await suspend_user(str(world.acme.admin_id))
    assert not await is_logged_in(ada, app)


async def test_a_user_without_an_account_is_logged_in_nowhere(ada: Person, world: World) -> None:
    elsewhere = await registered(world.globex.id)
    assert await is_logged_in(ada, elsewhere)
    await remove_member(str(world.acme.admin_id), world.acme.id, even_the_last=True)
    assert not await is_logged_in(ada, elsewhere)


async def test_a_user_of_suspended_accounts_alone_is_logged_in_nowhere(ada: Person, world: World) -> None:
    elsewhere = await registered(world.globex.id)
    other = await create_account("Initech")
    await add_user(EMAIL, "Ada", None, other, "sender")
    await suspend_account(world.acme.id)
    assert await is_logged_in(ada, elsewhere)
    await suspend_account(other)
    assert not await is_logged_in(ada, elsewhere)


async def test_a_new_password_ends_every_login(ada: Person, app: App, world: World) -> None:
    await set_password(str(world.acme.admin_id), "another hash")
    assert not await is_logged_in(ada, app)


async def test_logging_out_ends_the_login_and_takes_the_cookie_away(ada: Person, app: App) -> None:
    cookie = ada.cookie
    assert cookie is not None
    answer = await ada.sends(await ada.http.get("/oauth/logout"))
    assert 'id="logged-out"' in answer.text
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert (ada.cookie, await sessions()) == (None, 0)
    ada.http.cookies.set("tutti_session", cookie, domain="tutti.test")
    assert not await is_logged_in(ada, app)


async def test_cookies_are_bound_to_the_host_behind_tls(world: World, app: App) -> None:
    ada = await person(world.acme.admin_id, EMAIL, SECURE)
    answer = await ada.logs_in(await ada.begins(app))
    session, device = answer.headers.get_list("set-cookie")
    assert session.startswith("__Host-tutti_session=")
    assert device.startswith("__Host-tutti_device=")
    for cookie in (session, device):
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
    assert "Max-Age" not in session
    assert "Max-Age=31536000" in device
    assert "code" in await ada.allows(app)


async def test_cookies_without_tls_have_plain_names(world: World, app: App) -> None:
    ada = await person(world.acme.admin_id, EMAIL, PLAIN)
    answer = await ada.logs_in(await ada.begins(app))
    session, device = answer.headers.get_list("set-cookie")
    assert session.startswith("tutti_session=")
    assert device.startswith("tutti_device=")
    for cookie in (session, device):
        assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
        assert "Secure" not in cookie


def test_a_form_token_is_of_one_browser_one_form_and_one_login() -> None:
    key, other = new_secret(), new_secret()
    token = form_token(key, "login", "1")
    assert is_genuine(key, "login", "1", token)
    assert not is_genuine(other, "login", "1", token)
    assert not is_genuine(key, "consent", "1", token)
    assert not is_genuine(key, "login", "2", token)
    assert not is_genuine(key, "login", "1", "")
    assert not is_genuine(key, "login", "1", "ü")
    assert not is_genuine("", "login", "1", form_token("", "login", "1"))


@pytest.mark.parametrize(
    ("headers", "genuine"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, True),
        ({"Origin": "http://tutti.test"}, True),
        ({"Origin": "null"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://tutti.test"}, False),
        ({"Origin": "https://tutti.test"}, False),
        ({"Origin": "http://tutti.test:8080"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": ""}, False),
    ],
)
async def test_a_form_of_another_site_does_nothing(
    ada: Person,
    app: App,
    headers: dict[str, str],
    genuine: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = await ada.begins(app)
    monkeypatch.setattr(Person, "ours", headers)
    answer: httpx.Response = await ada.sends(page, answer="allow")
    if genuine:
        assert "code" in told(answer, app)
    else:
        assert "out of date" in reason_of(answer)
        assert await stored("SELECT count(*) FROM oauth_grant WHERE kind = 'authorization_code'") == 0
