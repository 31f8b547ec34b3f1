"""Login sessions: who is logged in in which browser; and whether a form was sent from one of our own pages.

A browser is known by a cookie of 256 random bits, which stands in the database as its SHA-256 alone. Before a login the
cookie only ties requests for authorization to the browser. Every login makes a new one, so that a cookie which somebody
else planted is nobody's login.
"""

import hashlib
import hmac
import re
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
from litestar import Request
from litestar.datastructures import Cookie

from auth.bearer import hash_of, new_secret
from auth.issuer import Issuer, issuer_of
from tenancy.rows import current_connection

IDLE_MINUTES = 30
LONGEST_HOURS = 12
DEVICE_SECONDS = 365 * 86_400
SECRET = re.compile(r"[A-Za-z0-9_-]{43}")  # what auth.bearer.new_secret makes
TOKEN_FIELD = "form_token"  # noqa: S105 - a field's name

# Somebody who is suspended, or a member of no account that is open, is not logged in.
LOGGED_IN = f"""
UPDATE login_session SET seen_at = now() FROM app_user
WHERE session_hash = $1 AND expires_at > now() AND seen_at > now() - interval '{IDLE_MINUTES} minutes'
  AND app_user.id = login_session.user_id AND EXISTS (SELECT FROM live_memberships(login_session.user_id))
RETURNING app_user.id, app_user.name, app_user.email, login_session.auth_time
"""
BEGIN = f"""
INSERT INTO login_session (id, session_hash, user_id, auth_time, seen_at, expires_at)
SELECT $1, $2, $3, now(), now(), now() + interval '{LONGEST_HOURS} hours'
WHERE EXISTS (SELECT FROM live_memberships($3)) RETURNING id
"""
END = "DELETE FROM login_session WHERE session_hash = $1"


class Login(msgspec.Struct, frozen=True):
    """A person who is logged in, and when they gave their password."""

    user_id: UUID
    name: str
    email: str
    auth_time: datetime


async def login_of(key: str) -> Login | None:
    """Find who is logged in in the browser with this cookie, and note that they were seen; inside a transaction.

    A login holds for 30 minutes from when its person was last seen, and for 12 hours at most.
    """
    row = await current_connection().fetchrow(LOGGED_IN, hash_of(key))
    return None if row is None else Login(*row)


async def begin(user_id: UUID, previous: str) -> str | None:
    """Log a person in, inside a transaction; return the browser's new cookie, which replaces the `previous` one.

    Returns None for somebody who is suspended, or a member of no account that is open.
    """
    key = new_secret()
    if await current_connection().fetchval(BEGIN, uuid4(), hash_of(key), user_id) is None:
        return None
    await end(previous)
    return key


async def end(key: str) -> None:
    """Log out whoever is logged in in the browser with this cookie; inside a transaction."""
    await current_connection().execute(END, hash_of(key))


def key_of(request: Request[Any, Any, Any]) -> str:
    """Return the cookie that a browser is known by; an empty text if it has none that we could have made."""
    return secret_in(request, session_name(issuer_of(request)))


def device_of(request: Request[Any, Any, Any]) -> str | None:
    """Return the cookie by which a browser is recognised that somebody logged in with before."""
    return secret_in(request, device_name(issuer_of(request))) or None


def secret_in(request: Request[Any, Any, Any], name: str) -> str:
    """Return a cookie's value if it has the form of ours; otherwise an empty text."""
    value = request.cookies.get(name, "")
    return value if SECRET.fullmatch(value) else ""


def session_name(issuer: Issuer) -> str:
    """Name the session's cookie: with TLS so that no other host, and nobody without TLS, can set it."""
    return "__Host-tutti_session" if issuer.secure else "tutti_session"


def device_name(issuer: Issuer) -> str:
    """Name the device's cookie (see `session_name`)."""
    return "__Host-tutti_device" if issuer.secure else "tutti_device"


def session_cookie(issuer: Issuer, key: str) -> Cookie:
    """Make the cookie that a browser is known by until it is closed."""
    return cookie(issuer, session_name(issuer), key, None)


def no_session_cookie(issuer: Issuer) -> Cookie:
    """Make the cookie that takes the session's away."""
    return cookie(issuer, session_name(issuer), "", 0)


def device_cookie(issuer: Issuer, device: str) -> Cookie:
    """Make the cookie that a browser is recognised by for a year."""
    return cookie(issuer, device_name(issuer), device, DEVICE_SECONDS)


def cookie(issuer: Issuer, name: str, value: str, max_age: int | None) -> Cookie:
    """Make a cookie that no script reads.

    SameSite is Lax, as clients send people here from their own sites.
    """
    return Cookie(key=name, value=value, max_age=max_age, secure=issuer.secure, httponly=True, samesite="lax")


def form_token(key: str, form: str, about: str) -> str:
    """Make the proof that a form is from a page that we showed this browser; `about` says what the page is about."""
    return hmac.new(key.encode(), f"{form}:{about}".encode(), hashlib.sha256).hexdigest()


def is_genuine(key: str, form: str, about: str, given: str) -> bool:
    """Whether a form came with its token; a browser without a cookie has none."""
    expected = form_token(key, form, about)
    return bool(key) and hmac.compare_digest(expected.encode(), given.encode())


def is_from_elsewhere(request: Request[Any, Any, Any]) -> bool:
    """Whether a browser says that a form was on another site's page.

    `Origin: null` says nothing: with our referrer policy our own forms are sent with it.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site != "same-origin"
    return request.headers.get("origin", "null") not in ("null", issuer_of(request).origin)
