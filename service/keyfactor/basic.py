r"""HTTP Basic as the vendor's clients send it, each with every request: checked once, then known for some minutes.

| Sent as                                                   | Who                             | On which account    |
|-----------------------------------------------------------|---------------------------------|---------------------|
| `ACCOUNT\user@example.com`, `user@example.com@ACCOUNT`    | a user                          | by its name or id   |
| `user@example.com`, `example.com\user`                    | a user                          | the only one of theirs |
| the id of a machine client, with the account or without   | the client                      | its own             |

What is known is known under a name, an account and an address, by a keyed hash of the password alone. Anything else that comes
in their place is forgotten for: so whoever guesses is counted and refused as at a login, whoever is logged in beside them.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import time
from collections import OrderedDict
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request

from auth.basic import client_token, user_token
from auth.throttle import LoginAttempt, address_of, key_of, network_of
from service.wire import identifier
from tenancy.errors import Unauthenticated

LONGEST = 4096  # characters of the header
MALFORMED = "The Authorization header is malformed: it is Basic and the base64 of user:password, in UTF-8."
REMEMBERED = 10_000  # proofs
REMEMBERED_SECONDS = 300.0
KEY = os.urandom(32)  # of this process
STATE = "keyfactor.basic"  # where a request's state holds what its proof is known under
SCHEME = "basic"


class Named(msgspec.Struct, frozen=True):
    """Whom a proof is of: an e-mail address or a client's id, and an account where one is named."""

    name: str
    account: str | None = None

    @property
    def client_id(self) -> UUID | None:
        """The id of the client; None of a person."""
        return identifier(self.name)


class Known(msgspec.Struct, frozen=True):
    """A proof that held: what it is recognised by, the token that it is worth, until when as `time.monotonic`."""

    mark: bytes
    token: bytes
    until: float


_known: OrderedDict[bytes, Known] = OrderedDict()
_checking: dict[tuple[bytes, bytes], asyncio.Task[bytes]] = {}


async def basic_token(request: Request[Any, Any, Any], header: str, scopes: tuple[str, ...]) -> bytes:
    """Return the hash that the proof in an `Authorization` header is worth as a token.

    Raises:
        Unauthenticated: it does not hold.
        BadRequest: it is of a person with several accounts, and names none.
        TooManyAttempts: too many failed.
    """
    user, password = credentials(header)
    named, address = named_in(user), address_of(request)
    key = key_of("basic", named.name.casefold(), (named.account or "").casefold(), network_of(address))
    mark = hmac.digest(KEY, key + password.encode(), hashlib.sha256)
    request.scope["state"][STATE] = key
    known = _known.get(key)
    if known is not None and known.until > time.monotonic() and hmac.compare_digest(known.mark, mark):
        return known.token
    _known.pop(key, None)
    checking = _checking.get((key, mark))
    if checking is None:  # what comes many times at once is checked once
        checking = asyncio.create_task(checked(named, address, password, scopes))
        _checking[key, mark] = checking
        checking.add_done_callback(lambda task: settled(key, mark, task))
    return await asyncio.shield(checking)


async def checked(named: Named, address: str, password: str, scopes: tuple[str, ...]) -> bytes:
    """Check a proof; see `basic_token`."""
    if named.client_id is not None:
        return await client_token(str(named.client_id), address, password, named.account, scopes)
    return await user_token(LoginAttempt(named.name, address, None), password, named.account, scopes)


def settled(key: bytes, mark: bytes, task: "asyncio.Task[bytes]") -> None:
    """Note what a check came to; of one that failed nothing is kept."""
    del _checking[key, mark]
    if task.cancelled() or task.exception() is not None:
        return
    _known[key] = Known(mark, task.result(), time.monotonic() + REMEMBERED_SECONDS)
    _known.move_to_end(key)
    while len(_known) > REMEMBERED:
        _known.popitem(last=False)


def was_used(request: Request[Any, Any, Any]) -> bool:
    """Whether a request came with a password or a secret."""
    return STATE in request.scope["state"]


def forget(request: Request[Any, Any, Any]) -> None:
    """Forget the proof of a request whose token does not hold any more, so that it is checked when it comes again."""
    _known.pop(request.scope["state"].get(STATE, b""), None)


def credentials(header: str) -> tuple[str, str]:
    """Read user and password out of a header (RFC 7617, with UTF-8).

    Raises:
        Unauthenticated: there are none.
    """
    encoded = header.partition(" ")[2].strip()
    try:
        text = base64.b64decode(encoded, validate=True).decode() if len(encoded) <= LONGEST else ""
    except (binascii.Error, ValueError):
        text = ""
    user, _, password = text.partition(":")
    if not user.strip():
        raise Unauthenticated(MALFORMED)
    return user.strip(), password


def named_in(user: str) -> Named:
    """Read whom a proof is of; see the table above."""
    account, slash, name = user.rpartition("\\")
    if slash:
        if "@" in name or identifier(name):
            return Named(name, account)
        return Named(f"{name}@{account}")  # what the vendor's clients make of an e-mail address
    name, _, account = user.rpartition("@")
    return Named(name, account) if "@" in name or identifier(name) else Named(user)
