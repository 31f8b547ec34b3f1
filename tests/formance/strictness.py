"""What the strictest SDK looks at in an answer: every value that has a name, and how times are written."""

import re
from collections.abc import Iterator
from typing import Any

OPEN = {"stages", "input", "output", "payload"}  # what the account's own people have written may hold nulls
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def members(value: Any) -> Iterator[tuple[str, Any]]:
    """Walk over every named value that the service itself writes."""
    if isinstance(value, list):
        for one in value:
            yield from members(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield name, one
            if name not in OPEN:
                yield from members(one)
