"""Numbers and ids that the dialect makes of others: nothing of them is stored."""

from uuid import UUID, uuid5

from service.engine.repeated import EPOCH

_FRACTION = (
    12  # bits of an id behind its milliseconds that count: one of 4,096 instances of the same millisecond
)
_LARGEST_TIME = (1 << 48) - 1
LARGEST = (1 << 53) - 1  # whole numbers up to this are the same in every language
NO_STEP = UUID(int=0)


def reference_of(instance_id: UUID) -> int:
    """The number by which people call an instance, the ReferenceId; it grows with the time at which instances began.

    Two of the same millisecond may have the same, once in thousands. Ids that are not of version 7, as instances had that
    events or other workflows began in earlier releases, have a number that no query finds.
    """
    milliseconds, fraction = instance_id.int >> 80, instance_id.int >> 64 & 0xFFF
    return (((milliseconds - EPOCH) << _FRACTION) | fraction) & LARGEST


def first_id(reference: int) -> UUID:
    """The lowest id that an instance with this number can have, for any whole number.

    So `ReferenceId = n` is `id >= first_id(n) AND id < first_id(n + 1)`, and the key's index serves it.
    """
    milliseconds = (reference >> _FRACTION) + EPOCH
    if milliseconds < 0:
        return UUID(int=0)
    if milliseconds > _LARGEST_TIME:
        return UUID(int=(1 << 128) - 1)
    return UUID(int=milliseconds << 80 | 7 << 76 | (reference & 0xFFF) << 64)


def step_id(version_id: UUID, unique_name: str) -> UUID:
    """The id of a step of a definition's version."""
    return uuid5(version_id, unique_name)
