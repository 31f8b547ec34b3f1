"""Makes the request of an HTTP call out of its evaluated arguments (contract 2.2)."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from yarl import URL

from service.engine.egress import (
    BODY_LIMIT,
    HEADER_COUNT,
    HEADER_LIMIT,
    CallError,
    Request,
    address_of,
)
from service.language.document import UriTemplate

FORM = "application/x-www-form-urlencoded"
KEY_LIMIT = 255  # characters; what receivers of an Idempotency-Key commonly keep
OURS = frozenset(  # headers of the connection, not of the call (RFC 9110, 7.6.1), and those that frame the message
    (
        *("host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "expect"),
        *("keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate", "http2-settings"),
    )
)
METHODS_REFUSED = ("CONNECT", "TRACE")  # a tunnel, and a mirror for credentials

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")  # RFC 9110, 5.6.2
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_DOTS = re.compile(r"/\.{1,2}(?=/|$)")


def request_of(
    method: str, endpoint: str, arguments: Mapping[str, Any], defaults: Mapping[str, str]
) -> Request:
    """The request of a call; `defaults` are headers by lower-case name which the author may replace or, by null, omit.

    Raises:
        CallError: an argument is not what it has to be.
    """
    if method in METHODS_REFUSED:
        raise CallError("configuration", "The method cannot be called", f"{method} is not supported.")
    given = headers_in(arguments.get("headers"))
    body, media_type = body_of(arguments.get("body"), given.get("content-type"))
    typed = {} if body is None else {"content-type": media_type}
    merged = {**defaults, **typed, **given}
    headers = {name: value for name, value in merged.items() if value is not None}
    return Request(method, with_query(endpoint, arguments.get("query")), headers, body)


# --- The address ----------------------------------------------------------------------------------------------------


def expanded(template: UriTemplate, data: Any) -> str:
    """A literal endpoint with the properties of the input in it.

    Raises:
        CallError: a property has no text, or leads to another place than the author wrote.
    """
    properties = data if isinstance(data, dict) else {}
    pieces = list(template.parts)
    pieces[1::2] = [quote(text_of(properties.get(name), name), safe="") for name in pieces[1::2]]
    text = "".join(pieces)
    path = re.split(r"[?#]", text, maxsplit=1)[0]
    if _DOTS.search(path) and not _DOTS.search("".join(template.parts[::2])):
        detail = "A property of the input makes a part of the path `.` or `..`, which leads elsewhere."
        raise CallError("expression", "The endpoint cannot be filled in", detail)
    return text


def text_of(value: Any, name: str) -> str:
    """The text of a property in a URI."""
    if isinstance(value, dict | list):
        kind = "object" if isinstance(value, dict) else "array"
        detail = f"The property `{name[:64]}` is an {kind}; a URI takes a string, a number or a boolean."
        raise CallError("expression", "The endpoint cannot be filled in", detail)
    return "" if value is None else scalar(value)


def scalar(value: Any) -> str:
    """A string as it is, a number or boolean as JSON has it."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text.encode(errors="replace").decode()


def with_query(endpoint: str, query: Any) -> URL:
    """The address of the endpoint, the parameters appended to its own."""
    text = endpoint.partition("#")[0]
    pairs = urlencode(list(pairs_in(query, "query")), quote_via=quote, safe="")
    if pairs:
        text += ("" if text.endswith(("?", "&")) else "&" if "?" in text else "?") + pairs
    return address_of(text)


def pairs_in(value: Any, what: str) -> Iterator[tuple[str, str]]:
    """The names and texts of an object's scalars: arrays repeat their name, null is omitted."""
    if not isinstance(value, dict | None):
        raise wrong(f"`{what}` has to be an object.")
    for name, one in (value or {}).items():
        for each in one if isinstance(one, list) else [one]:
            if isinstance(each, dict | list):
                raise wrong(
                    f"`{what}.{name[:64]}` has to be a string, a number, a boolean or a list of them."
                )
            if each is not None:
                yield name.encode(errors="replace").decode(), scalar(each)


# --- Headers --------------------------------------------------------------------------------------------------------


def headers_in(value: Any) -> dict[str, str | None]:
    """The author's headers by lower-case name; None for one that is to be omitted."""
    if not isinstance(value, dict | None):
        raise wrong("`headers` has to be an object.")
    if len(value or {}) > HEADER_COUNT:
        raise wrong(f"A request has at most {HEADER_COUNT} headers.")
    return {name.lower(): header(name, one) for name, one in (value or {}).items()}


def header(name: str, value: Any) -> str | None:
    """The text of one header."""
    if not _NAME.fullmatch(name):
        raise wrong("A header's name has letters, digits and hyphens.")
    if name.lower() in OURS:
        raise wrong(f"The header `{name}` is the connection's, which the service makes; leave it out.")
    if isinstance(value, dict | list):
        raise wrong(f"The header `{name}` has to be a string, a number or a boolean.")
    if value is None:
        return None
    text = value if isinstance(value, str) else scalar(value)
    if _CONTROL.search(text):
        raise wrong(f"The header `{name}` has a line break or another control character in it.")
    if len(text.encode()) > HEADER_LIMIT:
        raise wrong(f"The header `{name}` has more than {HEADER_LIMIT} bytes.")
    return text.strip(" \t")


def key_header(key: str) -> str:
    """An Idempotency-Key as a header can carry it; the same for the same key."""
    text = quote(key, safe="/:~")
    return text if len(text) <= KEY_LIMIT else hashlib.sha256(key.encode()).hexdigest()


# --- The body -------------------------------------------------------------------------------------------------------


def body_of(value: Any, media_type: str | None) -> tuple[bytes | None, str]:
    """The bytes of the body and the type that they have unless the author says otherwise."""
    if value is None:
        return None, ""
    if isinstance(value, str):
        body, default = value.encode(errors="replace"), "text/plain; charset=utf-8"
    elif isinstance(value, dict) and media_type and media_type.partition(";")[0].strip().lower() == FORM:
        body, default = urlencode(list(pairs_in(value, "body"))).encode(), FORM
    else:
        body, default = msgspec.json.encode(value), "application/json"
    if len(body) > BODY_LIMIT:
        raise wrong(f"A request's body has at most {BODY_LIMIT} bytes.")
    return body, default


def wrong(detail: str) -> CallError:
    """The error for arguments that do not fit (contract 2.1)."""
    return CallError("validation", "The arguments of `call: http` are wrong", detail)
