"""Keyset pages: where a list goes on, as an opaque token bound to the account and the filters.

A page is found by its last row's key, never by counting rows, so page 20,000 costs what page 1 does.
"""

import base64
import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol
from uuid import UUID

import msgspec

from service.errors import PageTokenRefused

LONGEST_TOKEN = 512


class Position(msgspec.Struct, frozen=True, array_like=True):
    """The key of the last row seen, the total counted when the list was begun, and what the list was."""

    at: Annotated[datetime, msgspec.Meta(tz=True)]
    id: UUID
    total: Annotated[int, msgspec.Meta(ge=0)] | None
    binding: bytes


def binding(account_id: UUID, *filters: object) -> bytes:
    """Digest an account and a list's filters, so that a token fits no other list."""
    return hashlib.sha256(msgspec.json.encode([account_id, filters])).digest()[:8]


def token(position: Position) -> str:
    """Write a position as an opaque token."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(position)).decode().rstrip("=")


def position(text: str | None, bound_to: bytes) -> Position | None:
    """Read a token that `token` wrote for the same list.

    Raises:
        PageTokenRefused: it is not one of ours, or belongs to another list.
    """
    if text is None:
        return None
    try:
        raw = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found = msgspec.msgpack.decode(raw, type=Position)
        at = found.at.astimezone(UTC)  # a forged time may lie outside of the calendar there
    except (ValueError, OverflowError, msgspec.DecodeError, msgspec.ValidationError):
        raise PageTokenRefused from None
    if len(text) > LONGEST_TOKEN or found.binding != bound_to:
        raise PageTokenRefused
    return msgspec.structs.replace(found, at=at)


class Row(Protocol):
    """A row that was read: its values by column name."""

    def __getitem__(self, column: str, /) -> Any:
        """Return one column's value."""
        ...


class Page(msgspec.Struct, frozen=True):
    """One page of rows, the token of the next one (None on the last), the size asked for, and a total if counted."""

    rows: list[Any]
    next: str | None
    size: int
    total: int | None = None
