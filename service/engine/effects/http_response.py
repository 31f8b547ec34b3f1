"""Makes the output of an HTTP call, or its error, out of the response (contract 2.2)."""

import base64
import codecs
import json
import math
import re
import sys
from http import HTTPStatus
from typing import Any, Literal

import msgspec

from service.engine.effects.redaction import Redaction
from service.engine.egress import URL_LIMIT, CallError, Request, Response, readable
from service.language.values import LARGEST_INTEGER, nodes

DEEPEST = 512  # levels (contract 1.6)
ADVICE = "With `output: raw` the call gives its bytes."

_JSON = re.compile(r"(application|text)/json|[^/]+/[^/]+\+json")
_TEXT = re.compile(r"text/.+|application/(xml|x-www-form-urlencoded)|[^/]+/[^/]+\+xml")
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
# Codecs that read what people write; others of Python's mean something else, or take quadratic time.
_CODEC = re.compile(
    r"utf-(8|16|32)(-[lb]e)?|ascii|iso8859-\d+|cp\d+|koi8-[rtu]|mac-\w+|shift_jis|euc_(jp|kr)|gb\w+|big5"
)
_LONG_NUMBER = re.compile(rb"\d{16}")


def succeeded(response: Response, *, redirect: bool) -> bool:
    """Whether a status is a success: 200 to 299, or up to 399 where a redirect is one (contract 0.8)."""
    return 200 <= response.status <= (399 if redirect else 299)


def output_of(
    kind: Literal["content", "response", "raw"], request: Request, response: Response, hidden: Redaction
) -> Any:
    """The raw output of the task, without what is hidden.

    Raises:
        CallError: the content is not what its type says, or cannot be stored.
    """
    if kind == "raw":
        return encoded(response, hidden)
    if kind == "content":
        return content_of(response, hidden)
    return {
        "request": {
            "method": request.method,
            "uri": hidden.text(str(request.url), 4 * URL_LIMIT),
            "headers": hidden.headers(request.headers),
        },
        "statusCode": response.status,
        "headers": hidden.headers(response.headers),
        "content": content_of(response, hidden),
    }


def refusal_of(response: Response) -> CallError:
    """The error of a status that is no success; its detail is the text of the response, whole and as it came."""
    media_type = media_type_of(response)
    if not media_type or _JSON.fullmatch(media_type) or _TEXT.fullmatch(media_type):
        detail = text_of(response)
    else:
        detail = f"{len(response.body)} bytes of {media_type}"
    title = response.reason.strip() or phrase_of(response.status)
    return CallError("communication", title, detail, response.status)


def phrase_of(status: int) -> str:
    """What a status is called."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"


# --- Content --------------------------------------------------------------------------------------------------------


def content_of(response: Response, hidden: Redaction) -> Any:
    """The body by its media type: JSON parsed, text as a string, anything else in Base64, null if there is none."""
    if not response.body:
        return None
    media_type = media_type_of(response)
    if _JSON.fullmatch(media_type):
        return hidden.value(parsed(response))
    if _TEXT.fullmatch(media_type):
        return hidden.value(text_of(response))
    return encoded(response, hidden)


def encoded(response: Response, hidden: Redaction) -> str:
    """The body in Base64."""
    return base64.b64encode(hidden.content(response.body)).decode()


def media_type_of(response: Response) -> str:
    """The media type in lower case, without its parameters."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def text_of(response: Response) -> str:
    """The body as a text that can be stored; what its character set does not have is replaced."""
    return readable(response.body.decode(charset_of(response), "replace").removeprefix("\ufeff"))


def charset_of(response: Response) -> str:
    """The codec of a text: what the response says, if it is a known one, else UTF-8."""
    found = _CHARSET.search(response.headers.get("content-type", ""))
    try:
        name = codecs.lookup(found[1]).name if found else "utf-8"
    except LookupError:
        return "utf-8"
    return name if _CODEC.fullmatch(name) else "utf-8"


def parsed(response: Response) -> Any:
    """The value of JSON, once it is known that it can be stored."""
    text = response.body
    codec = charset_of(response)
    try:
        if codec not in ("utf-8", "ascii"):
            text = text.decode(codec).encode()
        value = msgspec.json.decode(text.removeprefix(codecs.BOM_UTF8))
    except (msgspec.DecodeError, UnicodeError):
        flaw = flaw_of_unread(text)
        if flaw is None:
            raise unreadable("The response says that it is JSON, but is not.") from None
        raise unreadable(f"The response {flaw}. {ADVICE}") from None
    except RecursionError:
        raise unreadable(f"The response is nested more than {DEEPEST} levels deep.") from None
    flaw = flaw_of(value, text)
    if flaw is not None:
        raise unreadable(f"The response {flaw}. {ADVICE}")
    return value


def unreadable(detail: str) -> CallError:
    """The error for content that cannot be used."""
    return CallError("communication", "The response cannot be used", detail, 502)


def flaw_of(value: Any, text: bytes) -> str | None:
    """What of a value cannot be stored; the text tells quickly that there is nothing of the kind."""
    if b"\\u0000" in text and any(isinstance(node, str) and "\0" in node for node, _ in nodes(value)):
        return "has the NUL character (U+0000) in it"
    if _LONG_NUMBER.search(text) and any(
        isinstance(node, int) and abs(node) > LARGEST_INTEGER for node, _ in nodes(value)
    ):
        return f"has integers beyond {LARGEST_INTEGER} in it, which other readers take for others"
    if text.count(b"[") + text.count(b"{") > DEEPEST and is_deep(value):
        return f"is nested more than {DEEPEST} levels deep"
    return None


def flaw_of_unread(text: bytes) -> str | None:
    """What in JSON is beyond what can be read; None for a text that is no JSON."""
    beyond = False

    def number(digits: str) -> float:
        nonlocal beyond
        value = float(digits)
        beyond |= math.isinf(value)
        return value

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        json.loads(text.decode("utf-8-sig"), parse_float=number, parse_int=number, parse_constant=refuse)
    except (ValueError, RecursionError):
        return None
    if beyond:
        return f"has numbers beyond {sys.float_info.max} in it, which other readers take for infinity"
    return "has half of a surrogate pair in it (an escape from \\ud800 to \\udfff without its other half)"


def is_deep(value: Any) -> bool:
    """Whether a value has more levels than can be stored, looked at one level after the other."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for node in level
            for inner in (node.values() if isinstance(node, dict) else node)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
