"""The page behind an invitation's URL in a real browser: somebody new joins, a user joins, in both colours, at any width."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
from playwright.sync_api import Browser, expect

from tests.compat.apps import PASSWORD, with_password
from tests.compat.browser import Window, assert_accessible, assert_fits, launched
from tests.compat.live import Live

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]


class Stage(msgspec.Struct, frozen=True):
    """An account whose administrator invites people, and a user of another one."""

    live: Live
    url: str
    headers: dict[str, str]
    user: str

    def invite(self, email: str | None = None) -> str:
        """Invite somebody; return the URL of their page."""
        body = {"email": email or f"{uuid4().hex}@new.example", "role": "sender", "name": "Grace"}
        answer = self.live.http.post(f"{self.url}/invitations", json=body, headers=self.headers)
        assert answer.status_code == httpx.codes.CREATED, answer.text
        url: str = answer.json()["invitation_url"]
        return url

    def members(self) -> dict[str, str]:
        """Name the members by their addresses."""
        answer = self.live.http.get(f"{self.url}/members", headers=self.headers)
        return {one["email"]: one["name"] for one in answer.json()["data"]}


@pytest.fixture(scope="module")
def stage(live: Live) -> Stage:
    """Everything that these tests need, made by the command line."""
    account, other = (live.tutti("account", "create", name)["account_id"] for name in ("Inviting", "Other"))
    admin = f"{uuid4().hex}@example.org"
    on = ("--account", account)
    user_id = live.tutti("user", "create", admin, "--name", "Ada Lovelace", "--role", "admin", *on)["user_id"]
    scopes = "aow_manage signature account_manage"
    token = live.tutti("token", "issue", "--user", user_id, "--scope", scopes, *on)["access_token"]
    user = f"{uuid4().hex}@example.org"
    with_password(live, "create", user, "--name", "Alan Turing", "--account", other)
    live.wait()
    headers = {"Authorization": f"Bearer {token}"}
    return Stage(live, f"{live.url}/v1/accounts/{account}", headers, user)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser."""
    with launched() as browser:
        yield browser


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_somebody_new_joins_by_keyboard_alone(
    browser: Browser,
    stage: Stage,
    scripts: bool,  # noqa: FBT001
) -> None:
    email = f"{uuid4().hex}@new.example"
    with Window.opened(browser, java_script_enabled=scripts) as window:
        window.page.goto(stage.invite(email))
        expect(window.page.locator("main")).to_contain_text("Ada Lovelace")
        expect(window.page.locator("#new-name")).to_have_value("Grace")
        if scripts:
            window.tab_to("new-name")
        else:
            window.page.focus("#new-name")
        window.page.keyboard.press("End")
        window.page.keyboard.type(" Hopper")
        for _ in range(2):
            window.page.keyboard.press("Tab")
            window.page.keyboard.type(PASSWORD)
        window.page.keyboard.press("Enter")
        window.page.wait_for_selector("#invitation-answered")
        expect(window.page.locator("h1")).to_contain_text("You have joined Inviting")
        assert stage.members()[email] == "Grace Hopper"
        assert window.complaints == []
        assert window.elsewhere == []


def test_a_user_joins_with_the_password_that_they_have(browser: Browser, stage: Stage) -> None:
    with Window.opened(browser) as window:
        window.page.goto(stage.invite(stage.user))
        window.page.fill("#user-password", "a wrong password")
        window.page.click("#user-submit")
        expect(window.page.get_by_role("alert")).to_contain_text("not the password")
        assert stage.user not in stage.members()
        expect(window.page.locator("#user-password")).to_be_focused()
        window.page.keyboard.type(PASSWORD)
        window.page.keyboard.press("Enter")
        window.page.wait_for_selector("#invitation-answered")
        assert stage.members()[stage.user] == "Alan Turing"


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_the_pages_keep_the_rules_of_accessibility(browser: Browser, stage: Stage, colours: Any) -> None:
    with Window.opened(browser, color_scheme=colours, bypass_csp=True) as window:
        assert_accessible(window, all_pages(window, stage))


@pytest.mark.parametrize(("width", "scale"), [(320, 1), (320, 2), (1280, 1)])
def test_the_pages_fit_any_width(browser: Browser, stage: Stage, width: int, scale: int) -> None:
    size: Any = {"width": width, "height": 640}
    with Window.opened(browser, viewport=size, device_scale_factor=scale) as window:
        assert_fits(window, all_pages(window, stage))


def all_pages(window: Window, stage: Stage) -> Iterator[str]:
    """Show every page, one after the other; yield its name."""
    url = stage.invite()
    window.page.goto(url)
    window.page.wait_for_selector("#new-form")
    yield "invitation"
    window.page.fill("#new-password", "one password")
    window.page.fill("#new-repeated", "another password")
    window.page.click("#new-submit")
    window.page.wait_for_selector("#new-error")
    yield "two passwords"
    window.page.click("#decline-submit")
    window.page.wait_for_selector("#invitation-answered")
    yield "declined"
    window.page.goto(url)
    window.page.wait_for_selector("#error-page")
    yield "ended"
