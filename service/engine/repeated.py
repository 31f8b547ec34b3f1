"""Ids of instances that one cause may begin twice: the same each time, so that the second time finds the first."""

import hashlib
from uuid import UUID

# Such an id has the form of version 7, with a number made of its cause where the others have the time: between the
# beginning of 2020 and the summer of 2024, before any instance began. So numbers that dialects make of the first bits of
# ids differ from those of other instances, and stay as small.
EPOCH = 1_577_836_800_000  # 2020-01-01T00:00:00Z, milliseconds
_TIME_BITS = 37
_VERSION = 7 << 76
_VARIANT = 2 << 62


def repeated_id(namespace: UUID, cause: str) -> UUID:
    """Make the id of what a cause begins, within the thing that it happens to."""
    number = int.from_bytes(hashlib.sha256(namespace.bytes + cause.encode()).digest()[:16])
    time = EPOCH + (number >> (128 - _TIME_BITS))
    first, rest = number >> 64 & 0xFFF, number & ((1 << 62) - 1)
    return UUID(int=time << 80 | _VERSION | first << 64 | _VARIANT | rest)
