"""Keeps credentials out of what an instance stores about its calls: their errors and their output (contract 7.3).

Servers repeat what they were sent. Found are the forms that they commonly give it (see `forms_of`), not those that one
chooses to hide it: reversed, in pieces, hashed.
"""

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import product
from typing import Any
from urllib.parse import quote, quote_plus

MARK = "[redacted]"
SHORTEST = 4  # characters; hiding every `a` would hide nothing but the text around it
MOST_TEXTS = 1000  # that are looked for; more than anybody's credentials have
MOST_WORK = 2**29  # characters times forms: a quarter of a second
EVERYTHING = re.compile(".+", re.DOTALL)
SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "set-cookie", "set-cookie2")
MISREADINGS = ("latin-1", "cp1252")  # what servers take the UTF-8 of a header or a body for
MARKUP = str.maketrans({"&": r"\u0026", "<": r"\u003c", ">": r"\u003e"})
DOUBLE_QUOTES = ('"', "&quot;", "&#34;")
SINGLE_QUOTES = ("'", "&#39;", "&#039;", "&#x27;", "&apos;")


class Redaction:
    """What must not be seen: every text learnt, in each of the forms in which servers repeat it.

    Where there is too much to look for, everything is hidden.
    """

    def __init__(self) -> None:
        self._learnt: set[str] = set()

    def learn(self, value: Any) -> None:
        """Hide each text in a value from now on, also without the blanks around it, which no header keeps."""
        texts = [form for text in texts_in(value) for form in (text, text.strip())]
        self._learnt.update(text for text in texts if len(text) >= SHORTEST)
        self.__dict__.pop("_forms", None)

    def text(self, text: str, limit: int) -> str:
        """The beginning of a text, of at most so many bytes, without what is hidden.

        What is hidden is looked for past the limit too: half of it would be shown otherwise.
        """
        text = text[: limit + max(map(len, self._forms), default=0)]
        pattern = self._found_in(text)
        pieces, position = [], 0
        for found in pattern.finditer(text) if pattern else ():
            if found.start() >= limit:
                break
            pieces += [text[position : found.start()], MARK]
            position = found.end()
        pieces.append(text[position : max(limit, position)])
        return "".join(pieces).encode()[:limit].decode(errors="ignore")

    def content(self, content: bytes) -> bytes:
        """Bytes without what is hidden, where it stands in them as UTF-8."""
        text = content.decode(errors="surrogateescape")
        pattern = self._found_in(text)
        return pattern.sub(MARK, text).encode(errors="surrogateescape") if pattern else content

    def value(self, value: Any) -> Any:
        """A value without what is hidden: in texts, keys included, and as a number. Changes the value itself."""
        pattern = self._found_in("\0".join(texts_in(value, keys=True))) if self._learnt else None
        if pattern is None:
            return value
        whole = [value]
        waiting: list[Any] = [whole]
        while waiting:
            node = waiting.pop()
            shown = [(self._shown(key, pattern), self._shown(inner, pattern)) for key, inner in entries(node)]
            if isinstance(node, dict):
                node.clear()
                node.update(shown)
            else:
                node[:] = [inner for _, inner in shown]
            waiting += [inner for _, inner in shown if isinstance(inner, dict | list)]
        return whole[0]

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers by name, those that hold what is hidden replaced as a whole."""
        return {
            name: MARK if name in SECRET_HEADERS or self.is_in(value) else value
            for name, value in headers.items()
        }

    def is_in(self, text: str) -> bool:
        """Whether a text holds anything that is hidden."""
        return self._found_in(text) is not None

    def _shown(self, node: Any, pattern: re.Pattern[str]) -> Any:
        """A key, a text or a number as it may be shown."""
        if isinstance(node, str):
            return pattern.sub(MARK, node)
        return MARK if is_number(node) and str(node) in self._learnt else node

    def _found_in(self, text: str) -> re.Pattern[str] | None:
        """What finds the forms that there are in a text: those few, as a pattern of them all takes seconds for a megabyte."""
        if len(self._learnt) > MOST_TEXTS or len(self._forms) * len(text) > MOST_WORK:
            return EVERYTHING
        found = [re.escape(form) for form in self._forms if form in text]
        return re.compile("|".join(found)) if found else None

    @cached_property
    def _forms(self) -> list[str]:
        """Each form of what is hidden, the longest first."""
        texts = self._learnt if len(self._learnt) <= MOST_TEXTS else ()
        forms = {form for text in texts for form in forms_of(text)}
        return sorted(forms, key=len, reverse=True)


def texts_in(value: Any, *, keys: bool = False) -> Iterator[str]:
    """Each text in a value, and each number as it is written."""
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict | list):
            waiting.extend(inner for _, inner in entries(node))
            yield from node if keys and isinstance(node, dict) else ()
        elif isinstance(node, str):
            yield node
        elif is_number(node):
            yield str(node)


def entries(node: dict[str, Any] | list[Any]) -> Iterable[tuple[str | int, Any]]:
    """What is directly in a collection, with its key or its place."""
    return node.items() if isinstance(node, dict) else enumerate(node)


def is_number(node: Any) -> bool:
    """Whether a value is a number of JSON."""
    return isinstance(node, int | float) and not isinstance(node, bool)


def forms_of(text: str) -> Iterator[str]:
    """A text as it is and as bytes misread, each in JSON and HTML; in a URL, and in Base64 wherever it begins there."""
    content = text.encode(errors="replace")
    for spelt in {text, *(content.decode(codec, "replace") for codec in MISREADINGS)}:
        yield spelt
        yield from in_json(spelt)
        yield from in_html(spelt)
    in_url = [quote(text, safe=safe, errors="replace") for safe in ("", "/")]
    for encoded in (*in_url, quote_plus(text, errors="replace")):
        yield encoded
        yield re.sub("%..", lambda found: found[0].lower(), encoded)
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + content).decode()
        # Characters that neighbours in the encoded text have a part in are not known.
        known = encoded[(0, 2, 3)[before] : len(encoded) - (0, 3, 2)[(before + len(content)) % 3]]
        yield known
        yield known.translate(str.maketrans("+/", "-_"))


def in_json(text: str) -> Iterator[str]:
    """A text within a JSON string, every letter as itself or as ASCII, and what else common writers escape."""
    for ascii_only in (True, False):
        written = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield written
        yield written.replace("/", "\\/")
        yield written.translate(MARKUP)


def in_html(text: str) -> Iterator[str]:
    """A text within HTML, as the libraries that escape it write the quotes."""
    escaped = html.escape(text, quote=False)
    for double, single in product(DOUBLE_QUOTES, SINGLE_QUOTES):
        yield escaped.replace('"', double).replace("'", single)
