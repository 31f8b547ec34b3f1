"""The page behind an instance's URL in a real browser: by keyboard, without scripts, in both colours, at any width."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
from playwright.sync_api import Browser, expect

from tests.compat.browser import ClientSite, Window, assert_accessible, assert_fits, launched
from tests.compat.live import Live

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

REFUSED = "Failed to load resource: the server responded with a status of 400 (Bad Request)"
CONFLICT = "Failed to load resource: the server responded with a status of 409 (Conflict)"
MISSING = "Failed to load resource: the server responded with a status of 404 (Not Found)"
FORM = {
    "type": "object",
    "required": ["center", "sum"],
    "properties": {
        "center": {
            "type": "string",
            "title": "Cost centre",
            "pattern": "^[0-9]{4}$",
            "description": "Four digits",
        },
        "sum": {"type": "number", "minimum": 0},
        "urgent": {"type": "boolean", "title": "Is it urgent?"},
        "reason": {"type": "string", "maxLength": 2000},
        "lines": {"type": "array"},
    },
}
DOCUMENT = {
    "document": {
        "dsl": "1.0.3",
        "namespace": "compat",
        "name": "asking",
        "version": "1.0.0",
        "title": "Pay an invoice",
    },
    "do": [
        {"prepare": {"set": {"ready": True}}},
        {
            "signOff": {
                "call": "approval",
                "with": {
                    "title": "Pay Globex 1,200 EUR?",
                    "description": "As agreed in spring.",
                    "assignees": {"roles": ["participant"]},
                    "outcomes": ["approve", {"name": "reject", "comment": "required"}],
                    "due": "P1D",
                    "data": {"vendor": "Globex", "a-very-long-name-without-any-blank": "x" * 200},
                    "form": FORM,
                },
            }
        },
        {"goods": {"listen": {"to": {"one": {"with": {"type": "goods.arrived"}}}}}},
    ],
}


class Stage(msgspec.Struct, frozen=True):
    """A workflow that asks its participant, and who may trigger it."""

    live: Live
    url: str
    headers: dict[str, str]

    def started(self) -> httpx.URL:
        """Start an instance; return the URL of its page."""
        body = {"instance_name": f"Invoice {uuid4().hex[:6]}", "trigger_inputs": {}}
        answer = self.live.http.post(f"{self.url}/actions/trigger", json=body, headers=self.headers)
        assert answer.status_code == httpx.codes.CREATED, answer.text
        return httpx.URL(answer.json()["instance_url"])

    def cancel(self, page: httpx.URL) -> None:
        """End the instance of a page."""
        instance = page.path.split("/")[-2]
        self.live.http.post(
            f"{self.url}/instances/{instance}/actions/cancel", headers=self.headers
        ).raise_for_status()


@pytest.fixture(scope="module")
def stage(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Everything that these tests need, made by the command line."""
    account = live.tutti("account", "create", "Participants")["account_id"]
    on = ("--account", account)
    person = ("user", "create", f"{uuid4().hex}@example.org", "--name", "Ada", "--role", "admin")
    user = live.tutti(*person, *on)["user_id"]
    token = live.tutti("token", "issue", "--user", user, *on)["access_token"]
    file: Path = tmp_path_factory.mktemp("participant") / "asking.json"
    file.write_text(json.dumps(DOCUMENT))
    workflow = live.tutti("workflow", "publish", str(file), *on)["workflow_id"]
    live.wait()
    url = f"{live.url}/v1/accounts/{account}/workflows/{workflow}"
    return Stage(live, url, {"Authorization": f"Bearer {token}"})


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser."""
    with launched() as browser:
        yield browser


@pytest.fixture
def window(browser: Browser) -> Iterator[Window]:
    """A new browser, which has nothing to complain about and asks nobody else for anything."""
    with Window.opened(browser) as window:
        yield window
    assert window.complaints == []
    assert window.elsewhere == []


def opened(window: Window, stage: Stage) -> httpx.URL:
    """Open the page of a new instance, and wait until it asks."""
    url = stage.started()
    window.page.goto(str(url))
    while not window.page.locator("#question1").count():
        window.page.wait_for_timeout(50)
        window.page.click("#again")
    return url


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_a_participant_answers_and_sees_that_it_went_on(
    browser: Browser,
    stage: Stage,
    scripts: bool,  # noqa: FBT001
) -> None:
    with Window.opened(browser, java_script_enabled=scripts) as window:
        url = opened(window, stage)
        expect(window.page.locator("#workflow")).to_contain_text("Pay an invoice")
        expect(window.page.locator("[aria-current=step]")).to_have_text(re.compile(r"^\s*signOff\s+Now\s*$"))
        window.page.get_by_label("Cost centre").fill("47")
        window.page.get_by_label("sum").fill("1200.5")
        window.page.get_by_label("Is it urgent?").select_option("No")
        window.page.get_by_label("reason").fill("as agreed\nin spring")
        window.page.get_by_label("Approve").check()
        window.page.click("#question1-send")
        expect(window.page.get_by_role("alert")).to_contain_text("Nothing was saved yet.")
        expect(window.page.locator("#question1-field0-mistake")).to_be_visible()
        expect(window.page.locator("#question1-field3")).to_have_value("as agreed\nin spring")
        assert window.complaints == [REFUSED]
        window.complaints.clear()
        window.page.get_by_label("Cost centre").fill("4711")
        window.page.click("#question1-send")
        window.page.wait_for_selector("#answered")
        assert "answered=1" in window.page.url
        while "goods" not in window.page.locator("[aria-current=step]").inner_text():
            window.page.click("#again")
        window.page.reload()  # sends no form again
        expect(window.page.locator("form")).to_have_count(0)
        stage.cancel(url)
        window.page.reload()
        window.page.wait_for_selector("#ended")
        expect(window.page.locator("body")).not_to_contain_text("Invoice")
    assert window.complaints == []
    assert window.elsewhere == []


def test_a_participant_answers_by_keyboard_alone(window: Window, stage: Stage) -> None:
    opened(window, stage)
    window.tab_to("question1-field0")
    window.page.keyboard.type("4711")
    window.tab_to("question1-field1")
    window.page.keyboard.type("7")
    window.tab_to("question1-outcome1")
    window.page.keyboard.press("ArrowDown")
    assert window.focused == "question1-outcome2"
    window.tab_to("question1-comment")
    window.page.keyboard.type("too dear")
    window.tab_to("question1-send")
    window.page.keyboard.press("Enter")
    window.page.wait_for_selector("#answered")


def test_enter_in_a_field_decides_nothing_by_itself(window: Window, stage: Stage) -> None:
    """No outcome is chosen beforehand, so a form that is sent too early is held by the browser."""
    opened(window, stage)
    window.page.fill("#question1-field1", "7")
    window.page.fill("#question1-field0", "4711")
    window.page.keyboard.press("Enter")
    window.page.wait_for_timeout(300)
    assert window.page.locator("#question1").count() == 1
    assert window.page.locator("#answered").count() == 0


def test_of_two_who_answer_the_second_is_told_kindly(browser: Browser, stage: Stage) -> None:
    with Window.opened(browser) as first, Window.opened(browser) as second:
        url = opened(first, stage)
        second.page.goto(str(url))
        for window in (first, second):
            window.page.fill("#question1-field0", "4711")
            window.page.fill("#question1-field1", "7")
            window.page.get_by_label("Approve").check()
        first.page.click("#question1-send")
        first.page.wait_for_selector("#answered")
        second.page.click("#question1-send")
        expect(second.page.locator("#reason")).to_contain_text("Somebody else has answered this")
        second.page.click("#back")
        second.page.wait_for_selector("#instance")
        assert second.complaints == [CONFLICT]


def test_a_wrong_address_says_no_more_than_that(browser: Browser, stage: Stage) -> None:
    with Window.opened(browser) as window:
        window.page.goto(str(stage.started().copy_set_param("mtsec", "wrong")))
        expect(window.page.locator("#reason")).to_contain_text("This link does not work.")
        assert window.complaints == [MISSING]


def test_the_page_shows_in_no_frame_and_tells_nobody_its_address(browser: Browser, stage: Stage) -> None:
    url = str(stage.started())
    with ClientSite() as site, Window.opened(browser) as window:
        site.body = f'<iframe src="{url.replace("&", "&amp;")}"></iframe>'
        window.page.goto(site.url)
        window.wait_for_complaint("frame")
        (frame,) = window.page.main_frame.child_frames
        assert frame.locator("main").count() == 0
        window.page.goto(url)
        with window.page.expect_request(f"{site.url}/**") as asked:
            window.page.evaluate(f"location.href = '{site.url}/elsewhere'")
        assert "referer" not in asked.value.all_headers()


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
    url = opened(window, stage)
    yield "question"
    window.page.fill("#question1-field0", "47")
    window.page.fill("#question1-field1", "7")
    window.page.get_by_label("Approve").check()
    window.page.click("#question1-send")
    window.page.wait_for_selector("#question1-alert")
    yield "mistake"
    window.page.fill("#question1-field0", "4711")
    window.page.click("#question1-send")
    window.page.wait_for_selector("#answered")
    yield "answered"
    stage.cancel(url)
    window.page.reload()
    window.page.wait_for_selector("#ended")
    yield "ended"
    window.page.goto(str(url.copy_set_param("mtsec", "wrong")))
    window.page.wait_for_selector("#message")
    yield "message"
