"""How an instance's status may change: the one table, asked by every verb (contract 4.2).

`start`, `wait`, `wake`, `complete`, `fault` and `reject` are the engine's own verbs, the others a person's. Expiry is a
`fault`; `reject` is an error by which a definition says that somebody has denied. A restart ends what is suspended and
leaves what has ended as it is: what runs again is a new instance. What is deleted was what it was until then.

`stop`, `supersede` and `remove` are for dialects in which an instance that waits is suspended too: they end it, as
`cancel`, `restart` and `delete` do, and are refused while it is running.
"""

from collections.abc import Mapping
from enum import StrEnum


class Status(StrEnum):
    """The phase of an instance; the standard's seven words."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    SUSPENDED = "suspended"
    COMPLETED = "completed"
    FAULTED = "faulted"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether it has ended: no verb makes it another status."""
        return self in {Status.COMPLETED, Status.FAULTED, Status.CANCELLED}


class TransitionRefused(Exception):  # noqa: N818 - named after the situation
    """The verb does not apply to an instance of this status."""

    def __init__(self, verb: str, status: Status) -> None:
        """Keep both, for whoever words the refusal."""
        super().__init__(f"An instance that is {status} cannot {verb}.")
        self.verb = verb
        self.status = status


# A suspended instance does not fault: its timers keep running, but what they wake up is held until it is resumed.
# Resuming leads to running, for a worker then looks whether anything was held; if not, it waits again.
TRANSITIONS: Mapping[str, Mapping[Status, Status]] = {
    "start": {Status.PENDING: Status.RUNNING},
    "wait": {Status.RUNNING: Status.WAITING},
    "wake": {Status.WAITING: Status.RUNNING},
    "complete": {Status.RUNNING: Status.COMPLETED},
    "fault": {Status.RUNNING: Status.FAULTED, Status.WAITING: Status.FAULTED},
    "reject": {Status.RUNNING: Status.CANCELLED, Status.WAITING: Status.CANCELLED},
    "suspend": {
        Status.PENDING: Status.SUSPENDED,
        Status.RUNNING: Status.SUSPENDED,
        Status.WAITING: Status.SUSPENDED,
    },
    "resume": {Status.SUSPENDED: Status.RUNNING},
    "cancel": {
        Status.PENDING: Status.CANCELLED,
        Status.RUNNING: Status.CANCELLED,
        Status.WAITING: Status.CANCELLED,
        Status.SUSPENDED: Status.CANCELLED,
    },
    "restart": {
        Status.SUSPENDED: Status.CANCELLED,
        Status.COMPLETED: Status.COMPLETED,
        Status.FAULTED: Status.FAULTED,
        Status.CANCELLED: Status.CANCELLED,
    },
    "delete": {
        Status.COMPLETED: Status.COMPLETED,
        Status.FAULTED: Status.FAULTED,
        Status.CANCELLED: Status.CANCELLED,
    },
    "stop": {Status.WAITING: Status.CANCELLED, Status.SUSPENDED: Status.CANCELLED},
    "supersede": {
        Status.WAITING: Status.CANCELLED,
        Status.SUSPENDED: Status.CANCELLED,
        Status.FAULTED: Status.FAULTED,
    },
    "remove": {
        Status.WAITING: Status.CANCELLED,
        Status.SUSPENDED: Status.CANCELLED,
        Status.COMPLETED: Status.COMPLETED,
        Status.FAULTED: Status.FAULTED,
        Status.CANCELLED: Status.CANCELLED,
    },
}


def after(verb: str, status: Status) -> Status:
    """What `status` becomes by `verb`, or `TransitionRefused`."""
    following = TRANSITIONS[verb].get(status)
    if following is None:
        raise TransitionRefused(verb, status)
    return following


def sources(verb: str) -> tuple[list[Status], Status]:
    """From which statuses `verb` may lead, and to which single one: for a guarded update in the database."""
    (target,) = set(TRANSITIONS[verb].values())
    return list(TRANSITIONS[verb]), target
