"""How ids and times are written and read, the same in every dialect."""

import re
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

IDENTIFIER = re.compile(r"(\{)?[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?(1)\})")
USUAL_IDENTIFIER = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # as every answer writes it

Timestamp = Annotated[
    str, Meta(description="RFC 3339, UTC, milliseconds", extra_json_schema={"format": "date-time"})
]
Identifier = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]


def identifier(text: str) -> UUID | None:
    """Read an id in a form that the vendor's pattern allows: any case, with or without braces; None for anything else."""
    return UUID(text) if IDENTIFIER.fullmatch(text) else None


def timestamp(at: datetime) -> str:
    """Write a time the one way that every SDK parses: UTC, milliseconds, `Z`."""
    # A page of 50 has up to 200 of them, and `isoformat` takes more than twice as long.
    encoded = msgspec.json.encode(at.astimezone(UTC))
    return f"{encoded[1:20].decode()}.{at.microsecond // 1000:03d}Z"


def maybe_timestamp(at: datetime | None) -> str | None:
    """Write a time that may not have come yet."""
    return None if at is None else timestamp(at)
