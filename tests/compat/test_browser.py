"""The login pages in a real browser: by keyboard, without scripts, in both colours, as people with disabilities meet them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import msgspec
import pytest
from playwright.sync_api import Browser, expect

from tests.compat.apps import PASSWORD, App, register, with_password
from tests.compat.browser import ClientSite, Window, assert_accessible, assert_fits, launched
from tests.compat.live import Live

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

SCOPES = "openid profile signature aow_manage"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"  # RFC 7636, appendix B
REFUSED = (
    "Failed to load resource: the server responded with a status of 400 (Bad Request)"  # a page says why
)
FORMS = ("login", "account", "consent")


class Stage(msgspec.Struct, frozen=True):
    """Two clients of an account with a site of their own, and two people: one with one account, one with two."""

    live: Live
    site: ClientSite
    server: App
    native: App
    ada: str
    grace: str
    second_account: str

    def url(self, app: App, **changed: str) -> str:
        """Where a client sends people."""
        proof = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
        return app.authorization_url(**{"scope": SCOPES, "state": "a state", **proof, **changed})

    @property
    def logout(self) -> str:
        """Where a client sends people to log out."""
        query = {"client_id": self.server.id, "post_logout_redirect_uri": self.site.callback}
        return f"{self.live.url}/oauth/logout?{urlencode(query)}"


@pytest.fixture(scope="module")
def stage(live: Live) -> Iterator[Stage]:
    """Everything that these tests need, made by the command line."""
    account_id = live.tutti("account", "create", "Initech")["account_id"]
    other_id = live.tutti("account", "create", "Hooli")["account_id"]
    ada, grace = f"ada-{uuid4().hex}@example.org", f"grace-{uuid4().hex}@example.org"
    with ClientSite() as site:
        with ThreadPoolExecutor() as threads:
            server = threads.submit(register, live, account_id, "confidential", site.callback)
            native = threads.submit(register, live, account_id, "public", site.callback)
            person = ("--account", account_id)
            first = threads.submit(with_password, live, "create", ada, "--name", "Ada Lovelace", *person)
            with_password(live, "create", grace, "--name", "Grace Hopper", *person)
            live.tutti("user", "create", grace, "--name", "Grace Hopper", "--account", other_id)
            first.result()
        live.wait()
        yield Stage(live, site, server.result(), native.result(), ada, grace, other_id)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser."""
    with launched() as browser:
        yield browser


@pytest.fixture
def window(browser: Browser) -> Iterator[Window]:
    """A new browser, in which nobody is logged in; it has nothing to complain about."""
    with Window.opened(browser) as window:
        yield window
    assert window.complaints == []
    assert window.elsewhere == []


def test_somebody_logs_in_by_keyboard_alone(window: Window, stage: Stage) -> None:
    window.page.goto(stage.url(stage.server))
    window.tab_to("login-email")
    window.page.keyboard.type(stage.grace)
    window.tab_to("login-password")
    window.page.keyboard.type(PASSWORD)
    window.page.keyboard.press("Enter")
    window.page.wait_for_selector("#account-form")
    window.tab_to("account-all")
    window.page.keyboard.press("ArrowDown")
    assert window.focused.startswith("account-")
    window.tab_to("account-submit")
    window.page.keyboard.press("Enter")
    window.page.wait_for_selector("#consent-form")
    window.tab_to("consent-account")
    window.page.keyboard.press("Shift+Tab")
    assert window.focused == "consent-deny"
    window.page.keyboard.press("Shift+Tab")
    window.page.keyboard.press("Enter")
    assert set(stage.site.told(window)) == {"code", "state", "iss"}


def test_a_wrong_password_is_told_and_the_address_is_kept(window: Window, stage: Stage) -> None:
    window.page.goto(stage.url(stage.server))
    window.log_in(stage.ada, "a wrong password")
    alert = window.page.get_by_role("alert")
    expect(alert).to_have_text("E-mail address or password is wrong. Check both and try again.")
    expect(window.page.locator("#login-email")).to_have_value(stage.ada)
    expect(window.page.locator("#login-password")).to_have_value("")
    expect(window.page.locator("#login-password")).to_be_focused()
    assert window.complaints == [REFUSED]
    window.complaints.clear()
    window.page.keyboard.type(PASSWORD)
    window.page.keyboard.press("Enter")
    window.page.wait_for_selector("#consent-form")


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_the_whole_way_from_login_to_logout(browser: Browser, stage: Stage, scripts: bool) -> None:  # noqa: FBT001
    with Window.opened(browser, java_script_enabled=scripts) as window:
        window.page.goto(stage.url(stage.server, prompt="consent select_account"))
        window.log_in(stage.grace, PASSWORD)
        window.page.check(f"#account-{stage.second_account}")
        window.page.click("#account-submit")
        expect(window.page.locator("main")).to_contain_text("Hooli")
        expect(window.page.locator("main")).to_contain_text("Grace Hopper")
        for scope in SCOPES.split():
            expect(window.page.locator(f"#scope-{scope}")).to_be_visible()
        window.page.click("#consent-allow")
        answer = stage.site.told(window)
        assert set(answer) == {"code", "state", "iss"}
        assert (answer["state"], answer["iss"]) == ("a state", stage.live.url)
        # Nothing is asked a second time.
        window.page.goto(stage.url(stage.server, prompt="none", state="again"))
        assert stage.site.told(window)["state"] == "again"
        window.page.goto(stage.logout)
        expect(window.page.locator("main")).to_contain_text("Grace Hopper")
        window.page.click("#logout-submit")
        window.page.click("#logged-out-back")
        window.page.wait_for_url(stage.site.callback)
        window.page.goto(stage.url(stage.server, prompt="none"))
        assert stage.site.told(window)["error"] == "login_required"
    assert window.complaints == []


def test_somebody_denies(window: Window, stage: Stage) -> None:
    window.page.goto(stage.url(stage.native))
    window.log_in(stage.ada, PASSWORD)
    expect(window.page.locator("#consent-notice")).to_be_visible()
    window.page.click("#consent-deny")
    answer = stage.site.told(window)
    assert (answer["error"], answer["state"], answer["iss"]) == ("access_denied", "a state", stage.live.url)


def test_somebody_else_logs_in_instead(window: Window, stage: Stage) -> None:
    window.page.goto(stage.url(stage.native))
    window.log_in(stage.ada, PASSWORD)
    window.page.click("#consent-switch")
    window.log_in(stage.grace, PASSWORD)
    window.page.click("#account-submit")
    expect(window.page.locator("main")).to_contain_text("Grace Hopper")
    window.page.click("#consent-allow")
    assert "code" in stage.site.told(window)


def test_a_client_that_goes_on_to_another_site_is_reached(window: Window, stage: Stage) -> None:
    """Chromium holds every redirect after a form to the page's policy, the client's own as well."""
    stage.site.goes_on_to = f"http://localhost:{stage.site.port}/home"
    try:
        window.page.goto(stage.url(stage.native))
        window.log_in(stage.ada, PASSWORD)
        window.page.click("#consent-allow")
        window.page.wait_for_url(stage.site.goes_on_to)
    finally:
        stage.site.goes_on_to = None


def test_another_browser_cannot_go_on(window: Window, browser: Browser, stage: Stage) -> None:
    window.page.goto(stage.url(stage.server))
    with Window.opened(browser) as other:
        other.page.goto(window.page.url)
        expect(other.page.locator("#error-reason")).to_contain_text("another browser")


@pytest.mark.parametrize("path", ["/oauth/auth", "/oauth/logout", "/oauth/login?request=1"])
def test_no_page_shows_in_a_frame(browser: Browser, stage: Stage, path: str) -> None:
    url = stage.url(stage.server) if path == "/oauth/auth" else stage.live.url + path
    with Window.opened(browser) as window:
        stage.site.body = f'<iframe src="{url.replace("&", "&amp;")}"></iframe>'
        try:
            window.page.goto(stage.site.url)
            window.wait_for_complaint("frame")
        finally:
            stage.site.body = ""
        (frame,) = window.page.main_frame.child_frames
        assert frame.locator("main").count() == 0


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_pages_keep_the_rules_of_accessibility(browser: Browser, stage: Stage, colours: Any) -> None:
    with Window.opened(browser, color_scheme=colours, bypass_csp=True) as window:
        assert_accessible(window, all_pages(window, stage))


# A phone of 320 pixels; and a screen of 640, enlarged twice.
@pytest.mark.parametrize(("width", "scale"), [(320, 1), (320, 2), (1280, 1)])
def test_pages_fit_any_width(browser: Browser, stage: Stage, width: int, scale: int) -> None:
    size: Any = {"width": width, "height": 640}
    with Window.opened(browser, viewport=size, device_scale_factor=scale) as window:
        assert_fits(window, all_pages(window, stage))


def all_pages(window: Window, stage: Stage) -> Iterator[str]:
    """Show every page, one after the other; yield its name."""
    window.page.goto(stage.url(stage.native))
    window.page.wait_for_selector("#login-form")
    yield "login"
    window.log_in(stage.grace, "a wrong password")
    window.page.wait_for_selector("#login-error")
    yield "wrong password"
    window.log_in(stage.grace, PASSWORD)
    window.page.wait_for_selector("#account-form")
    yield "account"
    window.page.click("#account-submit")
    window.page.wait_for_selector("#consent-form")
    yield "consent"
    window.page.goto(stage.logout)
    window.page.wait_for_selector("#logout-form")
    yield "logout"
    window.page.click("#logout-submit")
    window.page.wait_for_selector("#logged-out")
    yield "logged out"
    window.page.goto(f"{stage.live.url}/oauth/login?request=1")
    window.page.wait_for_selector("#error-page")
    yield "error"
