"""What a request is told that is refused before anybody has looked at it: 503, in the words of where it was sent."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec

from auth.models import OAuthError
from auth.pages import rendering
from service.exchange import HEADER, given_id, header
from service.formance import errors as formance
from service.keyfactor import errors as keyfactor
from service.keyfactor.paths import PRODUCT_VERSION
from service.maestro import errors as maestro
from service.settings import settings
from service.transport import STRICT
from service.wire import timestamp
from tenancy.errors import Unavailable

JSON = b"application/json"
HTML = b"text/html; charset=utf-8"
PLAIN = b"text/plain; charset=utf-8"
OAUTH = ("/oauth/", "/api/auth/", "/.well-known/")
PAGES = (
    "/oauth/auth",
    "/oauth/login",
    "/oauth/account",
    "/oauth/consent",
    "/oauth/logout",
    "/oauth/invitation",
)
PAGE = b"<!doctype html><title>Tutti</title><p>This cannot be served just now. Wait a few seconds and try again.</p>"
REFUSAL = Unavailable()
RETRY_AFTER = (b"retry-after", b"%d" % REFUSAL.retry_after)
PAGE_HEADERS = [
    (name.lower().encode(), value.encode())
    for name, value in (rendering.HEADERS | {"Content-Security-Policy": rendering.policy(None)}).items()
]
OAUTH_BODY = msgspec.json.encode(
    OAuthError(error="temporarily_unavailable", error_description=REFUSAL.detail)
)
FORMANCE_BODY = msgspec.json.encode(formance.answer_of(REFUSAL))
KEYFACTOR_BODY = msgspec.json.encode(keyfactor.answer_of(REFUSAL))

# Maestro's body is written once, with marks where it differs: a thousand a second are not to cost what answers would.
PATH, ID, NOW = "the path", "the id", "the time"
MAESTRO_BODY = msgspec.json.encode(
    msgspec.structs.replace(maestro.body_of(REFUSAL, PATH, ID, datetime.now(UTC)), timestamp=NOW)
)

Headers = list[tuple[bytes, bytes]]


def told(scope: Any) -> tuple[Headers, bytes]:
    """Write the refusal of a request: headers and body."""
    path: str = scope["path"]
    request_id = str(given_id(scope) or uuid4()).encode()
    headers: Headers = [RETRY_AFTER, (HEADER, request_id)]
    if path.startswith("/v1/") and not path.endswith(("/execution", "/bus-events", "/bus-events/")):
        dialect = maestro.dialect_for(header(scope, b"user-agent"), settings().maestro_dialect)
        kind, body = dialect.error_type.encode(), maestro_body(path, request_id)
    elif path.startswith(PAGES) or path.endswith("/execution"):
        kind, body = HTML, PAGE
    elif path.startswith(OAUTH):
        kind, body = JSON, OAUTH_BODY
    elif path[: len(keyfactor.PREFIX)].lower() == keyfactor.PREFIX.lower():
        kind, body = JSON, KEYFACTOR_BODY
        headers.append(PRODUCT_VERSION)
    elif formance.is_formance(path):
        kind, body = JSON, FORMANCE_BODY
    else:
        kind, body = maestro.PROBLEM_JSON.encode(), maestro_body(path, request_id)
    if kind is HTML:
        headers += PAGE_HEADERS
    return headers + headers_of(kind, body), body


def told_plainly(status: int, message: str) -> tuple[Headers, bytes]:
    """Write the refusal of what may be no request, which a browser may show: headers and body."""
    body = message.encode()
    again = [RETRY_AFTER] if status == REFUSAL.status else []
    return again + PAGE_HEADERS + headers_of(PLAIN, body), body


def headers_of(kind: bytes, body: bytes) -> Headers:
    """Write the headers that every refusal has."""
    strict = [STRICT] if settings().public_url.startswith("https:") else []
    return [*strict, (b"content-type", kind), (b"content-length", b"%d" % len(body))]


def maestro_body(path: str, request_id: bytes) -> bytes:
    """Write Maestro's error body."""
    now = timestamp(datetime.now(UTC)).encode()
    told = MAESTRO_BODY.replace(ID.encode(), request_id).replace(NOW.encode(), now)
    return told.replace(b'"%s"' % PATH.encode(), msgspec.json.encode(path))
