"""Keeps credentials out of what an instance stores about its calls: errors, and the headers of `output: response`."""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote, quote_plus

MARK = "[redacted]"
SHORTEST = 4  # characters; hiding every `a` would hide nothing but the text around it
SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "set-cookie", "set-cookie2")


class Redaction:
    """What must not be seen: every text learnt, in each of the forms in which servers repeat it."""

    def __init__(self) -> None:
        self._learnt: set[str] = set()

    def learn(self, value: Any) -> None:
        """Hide each text in a value from now on."""
        self._learnt.update(text for text in texts_in(value) if len(text) >= SHORTEST)
        self.__dict__.pop("_pattern", None)

    def text(self, text: str, limit: int) -> str:
        """The beginning of a text, of at most so many bytes, without what is hidden.

        What is hidden is looked for past the limit too: half of it would be shown otherwise.
        """
        pattern, longest = self._pattern
        pieces, position = [], 0
        for found in pattern.finditer(text[: limit + longest]) if self._learnt else ():
            if found.start() >= limit:
                break
            pieces += [text[position : found.start()], MARK]
            position = found.end()
        pieces.append(text[position : max(limit, position)])
        return "".join(pieces).encode()[:limit].decode(errors="ignore")

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers by name, those that hold what is hidden replaced as a whole."""
        return {
            name: MARK if name in SECRET_HEADERS or self.is_in(value) else value
            for name, value in headers.items()
        }

    def is_in(self, text: str) -> bool:
        """Whether a text holds anything that is hidden."""
        return bool(self._learnt) and self._pattern[0].search(text) is not None

    @cached_property
    def _pattern(self) -> tuple[re.Pattern[str], int]:
        """What finds each form, and how many characters the longest one has."""
        forms = {form for text in self._learnt for form in forms_of(text)}
        longest_first = sorted(forms, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first))), max(map(len, forms), default=0)


def texts_in(value: Any) -> Iterator[str]:
    """Each text in a value, and each number as it is written."""
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict | list):
            waiting.extend(node.values() if isinstance(node, dict) else node)
        elif isinstance(node, str):
            yield node
        elif isinstance(node, int | float) and not isinstance(node, bool):
            yield str(node)


def forms_of(text: str) -> Iterator[str]:
    """A text as it is, in a URL, in JSON, and in Base64 wherever it begins there."""
    yield text
    for encoded in (quote(text, safe="", errors="replace"), quote_plus(text, errors="replace")):
        yield encoded
        yield re.sub("%..", lambda found: found[0].lower(), encoded)
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    content = text.encode(errors="replace")
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + content).decode()
        # Characters that neighbours in the encoded text have a part in are not known.
        known = encoded[(0, 2, 3)[before] : len(encoded) - (0, 3, 2)[(before + len(content)) % 3]]
        yield known
        yield known.translate(str.maketrans("+/", "-_"))
