"""The cursors of v2: a page's size, the list's filters and the row from which it goes on, as JSON in URL-safe base64.

The vendor's own count rows, ours name one, so that page 20,000 costs what page 1 does. They need no signature: whatever one
says, only the caller's own rows are read.
"""

import base64
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET

from service.operations.pages import Edge, Window, in_calendar
from tenancy.errors import BadRequest, FieldError

LONGEST_CURSOR = 2048
PAGE_SIZE = 15
LARGEST_PAGE = 1000


class InstanceFilters(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """What a list of instances is narrowed to."""

    workflow_id: UUID | None = msgspec.field(default=None, name="WorkflowID")
    running: bool = False


LONGEST_NAME = 255

Name = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME, pattern=r"^[^\x00]*$")]


class Cursor(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where a list goes on; one of instances has filters, even if they filter nothing, one of triggers perhaps a name."""

    page_size: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_PAGE)]
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    id: UUID
    backwards: bool = False
    filters: InstanceFilters | None = None
    name: Name | None = None


class Asked(msgspec.Struct, frozen=True):
    """The page that is asked for: how large, from where on, of which instances, or of triggers with which name."""

    size: int
    edge: Edge | None
    filters: InstanceFilters | None
    name: str | None = None


def written(edge: Edge, asked: Asked) -> str:
    """Write from where a list goes on as an opaque text."""
    cursor = Cursor(
        page_size=asked.size,
        at=edge.at,
        id=edge.id,
        backwards=edge.backwards,
        filters=asked.filters,
        name=asked.name,
    )
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def read(text: str, *, of_instances: bool) -> Asked:
    """Read a cursor of a list of instances, or of workflows.

    Raises:
        BadRequest: it is none.
    """
    refusal = wrong("cursor", "is not the cursor of a page of this list; begin again without it")
    try:
        raw = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found = msgspec.json.decode(raw, type=Cursor)
        edge = Edge(in_calendar(found.at), found.id, found.backwards)
    except (ValueError, BadRequest):  # msgspec's errors are ValueErrors
        raise refusal from None
    if len(text) > LONGEST_CURSOR or (found.filters is not None) != of_instances:
        raise refusal
    return Asked(found.page_size, edge, found.filters, found.name)


def around(asked: Asked, window: Window) -> dict[str, Any]:
    """Tell a page's size and what stands before and behind it, as the fields of a model."""
    return {
        "page_size": asked.size,
        "has_more": window.next is not None,
        "previous": UNSET if window.previous is None else written(window.previous, asked),
        "next": UNSET if window.next is None else written(window.next, asked),
    }


def wrong(name: str, message: str) -> BadRequest:
    """Word what is wrong with a parameter of the query."""
    return BadRequest(f"invalid '{name}' query param", errors=(FieldError("FIELD_INVALID", message, name),))
