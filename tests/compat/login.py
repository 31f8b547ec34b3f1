"""A person at the login pages without a browser: follows redirects, fills in forms, presses buttons, keeps cookies."""

from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import msgspec

MOST_PAGES = 12


class Button(msgspec.Struct, frozen=True):
    """A button: what pressing it adds to its form."""

    id: str
    name: str
    value: str


class Form(msgspec.Struct):
    """A form: where it goes, what its fields hold, what can be pressed."""

    id: str
    action: str
    fields: dict[str, str]
    names: dict[str, str]  # the fields' names by their ids
    buttons: dict[str, Button]


class Forms(HTMLParser):
    """Reads the forms of a page, each under its id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, Form] = {}
        self._open: Form | None = None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a form, its fields and its buttons."""
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            assert given.get("method", "get").lower() == "post", "a form that changes something is posted"
            self._open = Form(given.get("id", ""), given.get("action", ""), {}, {}, {})
            self.found[self._open.id] = self._open
        elif self._open is not None and (tag == "button" or given.get("type") == "submit"):
            button = Button(given.get("id", ""), given.get("name", ""), given.get("value", ""))
            self._open.buttons[button.id] = button
        elif self._open is not None and tag == "input":
            self._note(self._open, given)

    def handle_endtag(self, tag: str) -> None:
        """Note the end of a form."""
        if tag == "form":
            self._open = None

    def _note(self, form: Form, given: dict[str, str]) -> None:
        form.names[given.get("id", "")] = given.get("name", "")
        if given.get("type") not in ("radio", "checkbox") or "checked" in given:
            form.fields[given.get("name", "")] = given.get("value", "")


class Person:
    """Somebody with a password, in a browser of their own over connections that are everybody's.

    They press the button `answer` on the page that asks for consent.
    """

    def __init__(self, transport: httpx.BaseTransport, email: str, password: str, answer: str) -> None:
        self.email = email
        self.password = password
        self.answer = answer
        self.http = httpx.Client(transport=transport, timeout=30)
        self.pages: list[str] = []

    def sent_back(self, url: str) -> str:
        """Go to a URL and through every page from there; return the address elsewhere that it ends at."""
        self.pages = []
        origin = origin_of(url)
        answer = self.http.get(url)
        for _ in range(MOST_PAGES):
            if answer.is_redirect:
                target = urljoin(str(answer.url), answer.headers["location"])
                if origin_of(target) != origin:
                    return target
                answer = self.http.get(target)
            else:
                answer = self.respond(answer)
        raise AssertionError(f"the pages never end: {self.pages}")

    def finish(self, url: str) -> str:
        """Go to a URL, fill in what is there, and stay on the page that follows; return its text."""
        self.pages = []
        answer = self.http.get(url)
        while answer.is_redirect or Forms(answer.text).found:
            if answer.is_redirect:
                answer = self.http.get(urljoin(str(answer.url), answer.headers["location"]))
            else:
                answer = self.respond(answer)
        return answer.text

    def respond(self, answer: httpx.Response) -> httpx.Response:
        """Fill in the one form of a page that this person has something to say to, and send it."""
        forms = Forms(answer.text).found
        assert answer.status_code == httpx.codes.OK, answer.text
        known = [
            name for name in ("login-form", "account-form", "consent-form", "logout-form") if name in forms
        ]
        assert known, f"no form to fill in: {answer.text}"
        form = forms[known[0]]
        self.pages.append(form.id)
        return self.submit(str(answer.url), form, *self.words(form))

    def words(self, form: Form) -> tuple[dict[str, str], str]:
        """Return what to write into a form, and which button to press."""
        if form.id == "login-form":
            written = {form.names["login-email"]: self.email, form.names["login-password"]: self.password}
            return written, "login-submit"
        buttons = {"account-form": "account-all", "consent-form": self.answer}
        return {}, buttons.get(form.id, "")

    def submit(self, page: str, form: Form, written: dict[str, str], button: str) -> httpx.Response:
        """Post a form as a browser does: hidden fields, what was written, the button pressed, where it comes from."""
        pressed = form.buttons.get(button)
        fields: dict[str, Any] = form.fields | written
        if pressed is not None and pressed.name:
            fields[pressed.name] = pressed.value
        headers = {"Origin": origin_of(page), "Sec-Fetch-Site": "same-origin"}
        return self.http.post(urljoin(page, form.action), data=fields, headers=headers)


def origin_of(url: str) -> str:
    """Return what browsers call the origin of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def parameters_of(url: str) -> dict[str, str]:
    """Return the parameters of a URL, each of which is there once."""
    found = parse_qs(urlsplit(url).query, keep_blank_values=True)
    assert all(len(values) == 1 for values in found.values())
    return {name: values[0] for name, values in found.items()}
