"""What a request is told that is refused before anybody has looked at it: 503, in the words of where it was sent."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec

from auth.models import OAuthError
from service.exchange import HEADER, given_id, header
from service.formance import errors as formance
from service.keyfactor import errors as keyfactor
from service.keyfactor.paths import PRODUCT_VERSION
from service.maestro import errors as maestro
from service.settings import settings
from tenancy.errors import Unavailable

JSON = b"application/json"
HTML = b"text/html; charset=utf-8"
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
OAUTH_BODY = msgspec.json.encode(
    OAuthError(error="temporarily_unavailable", error_description=REFUSAL.detail)
)
FORMANCE_BODY = msgspec.json.encode(formance.answer_of(REFUSAL))
KEYFACTOR_BODY = msgspec.json.encode(keyfactor.answer_of(REFUSAL))

Headers = list[tuple[bytes, bytes]]


def told(scope: Any) -> tuple[Headers, bytes]:
    """Write the refusal of a request: headers and body."""
    path: str = scope["path"]
    request_id = given_id(scope) or uuid4()
    headers: Headers = [
        (b"retry-after", b"%d" % REFUSAL.retry_after),
        (HEADER, str(request_id).encode()),
    ]
    if path.startswith(PAGES) or path.endswith("/execution"):
        kind, body = HTML, PAGE
    elif path.startswith(OAUTH):
        kind, body = JSON, OAUTH_BODY
    elif path[: len(keyfactor.PREFIX)].lower() == keyfactor.PREFIX.lower():
        kind, body = JSON, KEYFACTOR_BODY
        headers.append(PRODUCT_VERSION)
    elif formance.is_formance(path):
        kind, body = JSON, FORMANCE_BODY
    else:
        dialect = maestro.dialect_for(header(scope, b"user-agent"), settings().maestro_dialect)
        kind = dialect.error_type.encode()
        body = msgspec.json.encode(maestro.body_of(REFUSAL, path, str(request_id), datetime.now(UTC)))
    headers += [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    return headers, body
