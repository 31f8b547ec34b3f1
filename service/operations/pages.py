"""Keyset pages: where a list goes on, as an opaque token bound to the account and the filters.

A page is found by its last row's key, never by counting rows, so page 20,000 costs what page 1 does.
"""

import base64
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol, TypeVar
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


class Bound(Protocol):
    """A place in a list, and a digest of what the list was."""

    @property
    def binding(self) -> bytes:
        """What `binding` gave for the list."""
        ...


Place = TypeVar("Place", bound=Bound)


def binding(account_id: UUID, *filters: object) -> bytes:
    """Digest an account and a list's filters, so that a token fits no other list."""
    return hashlib.sha256(msgspec.json.encode([account_id, filters])).digest()[:8]


def token(place: Bound) -> str:
    """Write where a list goes on as an opaque token."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(place)).decode().rstrip("=")


def position(text: str | None, bound_to: bytes) -> Position | None:
    """Read a token that `token` wrote for the same list.

    Raises:
        PageTokenRefused: it is not one of ours, or belongs to another list.
    """
    if text is None:
        return None
    found = place(text, Position, bound_to)
    return msgspec.structs.replace(found, at=in_calendar(found.at))


def place(text: str, kind: type[Place], bound_to: bytes, longest: int = LONGEST_TOKEN) -> Place:
    """Read a token that `token` wrote of a place of this kind in the same list.

    Raises:
        PageTokenRefused: it is not one of ours, or belongs to another list.
    """
    try:
        raw = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found = msgspec.msgpack.decode(raw, type=kind)
    except (ValueError, msgspec.DecodeError):
        raise PageTokenRefused from None
    if len(text) > longest or found.binding != bound_to:
        raise PageTokenRefused
    return found


def in_calendar(at: datetime) -> datetime:
    """Bring a token's time to UTC.

    Raises:
        PageTokenRefused: it is forged, and lies outside of the calendar there.
    """
    try:
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise PageTokenRefused from None


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


def cut(rows: list[Any], size: int, key: str, bound_to: bytes, total: int | None = None) -> Page:
    """Make a page of `size` rows out of one row more: the extra one only tells that there is a next page."""
    if len(rows) <= size:
        return Page(rows, None, size, total)
    last = rows[size - 1]
    return Page(rows[:size], token(Position(last[key], last["id"], total, bound_to)), size, total)


def worded(page: Page, word: Callable[[Any], object]) -> Page:
    """Return a page with its rows as something else."""
    return msgspec.structs.replace(page, rows=[word(row) for row in page.rows])


class Edge(msgspec.Struct, frozen=True):
    """The first or last row of a page by its key, and whether the list goes on from it towards its beginning."""

    at: datetime
    id: UUID
    backwards: bool = False


class Window(msgspec.Struct, frozen=True):
    """One page of a list that is walked both ways: its rows, and from where the pages before and behind it are read."""

    rows: list[Any]
    previous: Edge | None
    next: Edge | None


async def window(
    read: Callable[[Edge | None], Awaitable[tuple[list[Any], tuple[datetime, UUID] | None]]],
    key: str,
    edge: Edge | None,
) -> Window:
    """Read the page at an edge, the first one without.

    `read` gives rows away from the edge and the key of where it goes on, if it does; `key` is the column of their times.
    """
    rows, more = await read(edge)
    if edge is None or not edge.backwards:
        begins = rows[0] if edge is not None and rows else None
        return Window(
            rows,
            None if begins is None else Edge(begins[key], begins["id"], backwards=True),
            None if more is None else Edge(*more),
        )
    if more is None:  # less than a page stands before the edge, so this is where the list begins
        return await window(read, key, None)
    behind = Edge(rows[0][key], rows[0]["id"]) if rows else msgspec.structs.replace(edge, backwards=False)
    return Window(rows[::-1], Edge(*more, backwards=True), behind)
