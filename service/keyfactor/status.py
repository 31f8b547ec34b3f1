"""The dialect's statuses, in the one place where they are: names, numbers, and what the engine's are in them.

The vendor publishes six names and a number from 0 to 6, and nowhere which is which: this table is a choice. In queries both
are taken.
"""

import msgspec

from service.engine.states import Status


class Standing(msgspec.Struct, frozen=True):
    """One status: what the engine calls it, and whether another instance runs in its place (None: either)."""

    number: int
    name: str
    statuses: tuple[Status, ...] = ()
    superseded: bool | None = None


STANDINGS = (
    Standing(0, "Unknown"),  # of no instance
    Standing(1, "Running", (Status.PENDING, Status.RUNNING)),
    Standing(2, "Suspended", (Status.WAITING, Status.SUSPENDED)),
    Standing(3, "Failed", (Status.FAULTED,), superseded=False),
    Standing(4, "Rejected", (Status.CANCELLED,), superseded=False),
    Standing(5, "Complete", (Status.COMPLETED,)),
    Standing(6, "CanceledForRestart", (Status.FAULTED, Status.CANCELLED), superseded=True),
)
SUSPENDED = STANDINGS[2]


def standing_of(status: str, *, superseded: bool) -> Standing:
    """Say which status an instance has that the engine calls so."""
    return next(one for one in STANDINGS if status in one.statuses and one.superseded in (None, superseded))


def named(text: str) -> Standing | None:
    """Find a status by its name in any case or by its number; None if it is neither."""
    wanted = text.strip().lower()
    return next((one for one in STANDINGS if wanted in (one.name.lower(), str(one.number))), None)
