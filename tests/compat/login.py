"""A person at the login pages without a browser: follows redirects, fills in forms, presses buttons, keeps cookies."""

from html.parser import HTMLParser
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import msgspec

MOST_PAGES = 12
ANSWERABLE = ("login-form", "account-form", "consent-form", "logout-form")


class Choice(msgspec.Struct, frozen=True):
    """What can be pressed or ticked: a button or a radio button, and what it adds to its form."""

    name: str
    value: str


class Form(msgspec.Struct):
    """A form: where it goes, what its fields hold, what they are called by their ids, what can be chosen by its id."""

    action: str
    fields: dict[str, str]
    names: dict[str, str]
    choices: dict[str, Choice]


class Forms(HTMLParser):
    """Reads the forms of a page, each under its id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, Form] = {}
        self._open: Form | None = None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a form, its fields and what can be chosen."""
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            assert given.get("method", "").lower() == "post", "a form that changes something is posted"
            self._open = self.found[given["id"]] = Form(given.get("action", ""), {}, {}, {})
        elif self._open is not None and tag in ("input", "button"):
            self._note(self._open, tag, given)

    def handle_endtag(self, tag: str) -> None:
        """Note the end of a form."""
        if tag == "form":
            self._open = None

    def _note(self, form: Form, tag: str, given: dict[str, str]) -> None:
        element, name, value = given.get("id", ""), given.get("name", ""), given.get("value", "")
        if tag == "button" or given.get("type") == "radio":
            form.choices[element] = Choice(name, value)
        else:
            form.names[element] = name
            form.fields[name] = value


class Person:
    """Somebody with a password, in a browser of their own over connections that are everybody's.

    They choose what is named in `account` (the element's id) on the page that asks which account to act in, press the
    button `answer` on the page that asks for consent, and note in `pages` which forms they met.
    """

    def __init__(self, transport: httpx.BaseTransport, email: str, password: str) -> None:
        self.email = email
        self.password = password
        self.account = "account-all"
        self.answer = "consent-allow"
        self.http = httpx.Client(transport=transport, timeout=30)
        self.pages: list[str] = []

    def sent_back(self, url: str) -> str:
        """Go to a URL and through every page from there; return the address elsewhere that it ends at."""
        page = self._visit(url)
        assert page.is_redirect, f"nobody is sent back from here: {page.text}"
        return page.headers["location"]

    def stays(self, url: str) -> str:
        """Go to a URL and through every page from there; return the text of the last one, which is here."""
        page = self._visit(url)
        assert page.status_code == httpx.codes.OK, page.text
        return page.text

    def _visit(self, url: str) -> httpx.Response:
        self.pages = []
        answer = self.http.get(url)
        for _ in range(MOST_PAGES):
            if answer.is_redirect:
                target = urljoin(str(answer.url), answer.headers["location"])
                if origin_of(target) != origin_of(url):
                    return answer
                answer = self.http.get(target)
                continue
            forms = Forms(answer.text).found
            due = next((name for name in ANSWERABLE if name in forms), None)
            if due is None:
                return answer
            assert answer.status_code == httpx.codes.OK, answer.text
            self.pages.append(due)
            answer = self._submit(str(answer.url), forms[due], self._words(due, forms[due]))
        raise AssertionError(f"the pages never end: {self.pages}")

    def _words(self, name: str, form: Form) -> dict[str, str]:
        if name == "login-form":
            return {form.names["login-email"]: self.email, form.names["login-password"]: self.password}
        chosen = {"account-form": self.account, "consent-form": self.answer, "logout-form": "logout-submit"}
        choice = form.choices[chosen[name]]
        return {choice.name: choice.value} if choice.name else {}

    def _submit(self, page: str, form: Form, words: dict[str, str]) -> httpx.Response:
        # As a browser does: hidden fields and what was chosen, and where it comes from.
        headers = {"Origin": origin_of(page), "Sec-Fetch-Site": "same-origin"}
        return self.http.post(urljoin(page, form.action), data=form.fields | words, headers=headers)


def origin_of(url: str) -> str:
    """Return what browsers call the origin of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def parameters_of(url: str) -> dict[str, str]:
    """Return the parameters of a URL, each of which is there once."""
    found = parse_qs(urlsplit(url).query, keep_blank_values=True)
    assert all(len(values) == 1 for values in found.values())
    return {name: values[0] for name, values in found.items()}
