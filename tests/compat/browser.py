"""A real browser for the tests: found, or a clear failure; and a client's own site, where people come back to."""

import contextlib
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from tests.compat.login import parameters_of
from tests.compat.node import FOLDER, installed

NAMES = ("chromium", "chromium-browser", "google-chrome")
ADVICE = (
    "Install one (on Debian: apt-get install chromium) and run again, "
    "or leave these tests out: make test ARGS='-m \"not compat\"'"
)
# It runs as root in containers, and talks to nobody but the service.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SECONDS = 15
expect.set_options(timeout=SECONDS * 1000)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def executable() -> str:
    """Find a browser; a test that needs one fails without it, for a skipped promise is an unkept one."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.fail(f"None of {', '.join(NAMES)} is on the PATH. {ADVICE}", pytrace=False)
    return found


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    """Run a browser for as long as the block lasts."""
    path = executable()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


class Window:
    """One person's browser: a page, and everything that the browser complained about."""

    def __init__(self, context: BrowserContext) -> None:
        context.set_default_timeout(SECONDS * 1000)
        self.context = context
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("request", self.note)

    @classmethod
    @contextlib.contextmanager
    def opened(cls, browser: Browser, **options: Any) -> Iterator["Window"]:
        """Open a new browser, with cookies of its own, for as long as the block lasts."""
        context = browser.new_context(**options)
        yield cls(context)
        context.close()

    def note(self, request: Request) -> None:
        """Note a request that is for anything but a page."""
        if request.resource_type != "document":
            self.elsewhere.append(request.url)

    def wait_for_complaint(self, word: str) -> None:
        """Wait until the browser complains of something; fail if it does not."""
        until = time.monotonic() + SECONDS
        while not any(word in complaint.lower() for complaint in self.complaints):
            assert time.monotonic() < until, self.complaints
            self.page.wait_for_timeout(50)

    @property
    def focused(self) -> str:
        """The id of what the keyboard is on."""
        found: str = self.page.evaluate("document.activeElement.id")
        return found

    def tab_to(self, wanted: str) -> None:
        """Press Tab until the keyboard is on an element; fail if it never gets there, or where focus cannot be seen."""
        for _ in range(20):
            if self.focused == wanted:
                return
            self.page.keyboard.press("Tab")
            assert self.outlined, f"nothing shows that the keyboard is on {self.focused}"
        pytest.fail(f"{wanted} cannot be reached by keyboard")

    @property
    def outlined(self) -> bool:
        """Whether what the keyboard is on, or what is drawn around it, has an outline."""
        found: bool = self.page.evaluate(
            """() => {
                const drawn = (element) => element && getComputedStyle(element).outlineStyle !== "none";
                return drawn(document.activeElement) || drawn(document.activeElement.closest("label"));
            }"""
        )
        return found

    @property
    def too_wide(self) -> list[str]:
        """What reaches over the page's side."""
        found: list[str] = self.page.evaluate(
            """() => [...document.body.querySelectorAll("*")]
                .filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML)"""
        )
        return found

    @property
    def too_small(self) -> list[str]:
        """What is meant to be pressed and is less than 44 pixels high or wide."""
        found: list[str] = self.page.evaluate(
            """() => [...document.querySelectorAll("button, a, .choice, input:not([type=hidden], [type=radio])")]
                .filter((one) => Math.min(one.offsetHeight, one.offsetWidth) < 44).map((one) => one.outerHTML)"""
        )
        return found

    def log_in(self, email: str, password: str) -> None:
        """Fill in the login form and send it."""
        self.page.fill("#login-email", email)
        self.page.fill("#login-password", password)
        self.page.click("#login-submit")


class ClientSite:
    """A client's own site on this machine; every address of it answers with one page, or leads to another site."""

    def __init__(self) -> None:
        site = self
        self.body = ""
        self.goes_on_to: str | None = None

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                leads_on = site.goes_on_to is not None and self.path.startswith("/callback")
                self.send_response(303 if leads_on else 200)
                if leads_on:
                    self.send_header("Location", str(site.goes_on_to))
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(f"<!doctype html><title>The client</title>{site.body}".encode())

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.callback = f"{self.url}/callback"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def told(self, window: Window) -> dict[str, str]:
        """What the client is told, once the browser is back at it."""
        window.page.wait_for_url(f"{self.callback}?*")
        return parameters_of(window.page.url)


def assert_accessible(window: Window, pages: Iterable[str]) -> None:
    """Hold pages, each shown when its name is asked for, against axe's rules; the window has to bypass their policy."""
    axe = (installed(FOLDER) / "node_modules" / "axe-core" / "axe.min.js").read_text()
    for name in pages:
        window.page.evaluate(axe)
        found = window.page.evaluate(
            "(rules) => axe.run({runOnly: rules, resultTypes: ['violations']})", RULES
        )
        broken = [(one["id"], one["help"]) for one in found["violations"]]
        assert not broken, f"{name}: {broken}"


def assert_fits(window: Window, pages: Iterable[str]) -> None:
    """Hold pages against the window's width, with letters of twice the size too."""
    for name in pages:
        assert not window.too_wide, f"{name}: {window.too_wide}"
        assert not window.too_small, f"{name}: {window.too_small}"
        window.page.evaluate("document.documentElement.style.fontSize = '200%'")
        assert not window.too_wide, f"{name}, enlarged: {window.too_wide}"
