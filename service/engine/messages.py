"""What an advance is told (a stimulus and the facts of the moment) and what it answers (the advance and its effects)."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from service.engine.frames import State
from service.engine.states import Status
from service.language.errors import Fault

# --- What it is told ------------------------------------------------------------------------------------------------


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Begin, with the workflow's raw input, which already fits `input.schema`."""

    at: datetime
    input: Any = msgspec.field(default_factory=dict)


class WakeUp(msgspec.Struct, frozen=True, tag="wake_up"):
    """The timer of this number has fired."""

    at: datetime
    wait: int


class Events(msgspec.Struct, frozen=True, tag="events"):
    """Look again: at the inbox, and at the tasks that a `Continue` left."""

    at: datetime


class Expire(msgspec.Struct, frozen=True, tag="expire"):
    """The workflow's own timeout has passed."""

    at: datetime


Stimulus = Start | WakeUp | Events | Expire


class InboxEvent(msgspec.Struct, frozen=True):
    """An event that was sent to this instance and that no task has taken yet."""

    id: Any
    event: dict[str, Any]


class Limits(msgspec.Struct, frozen=True):
    """How many tasks may begin: in one advance, before others get their turn, and in the life of an instance."""

    tasks_per_advance: int = 1_000
    tasks_per_instance: int = 10_000


def never() -> bool:
    """Say that there is time."""
    return False


class Facts(msgspec.Struct, frozen=True):
    """What is true while an advance runs.

    `runtime` is `$runtime` (contract 3.2: `name`, `version`, `metadata`); `inbox` is oldest first.
    `time_is_up` is asked before each task: the rest is then left for another advance, as at the limit of tasks.
    """

    instance_id: str
    runtime: Mapping[str, Any]
    inbox: tuple[InboxEvent, ...] = ()
    limits: Limits = Limits()
    time_is_up: Callable[[], bool] = never


# --- What it answers ------------------------------------------------------------------------------------------------


class Sleep(msgspec.Struct, frozen=True, tag="sleep"):
    """Send `WakeUp` for this wait then."""

    wait: int
    until: datetime


class Listen(msgspec.Struct, frozen=True, tag="listen"):
    """Send `Events` whenever an event arrives, until told to forget."""

    wait: int


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    """This wait is over; its timer or listener is of no more use."""

    wait: int


class Continue(msgspec.Struct, frozen=True, tag="continue"):
    """There is more to do at once: send `Events` in a job of its own."""


Effect = Sleep | Listen | Forget | Continue

Phase = Literal["started", "skipped", "completed", "faulted", "cancelled"]


class Entry(msgspec.Struct, frozen=True):
    """One line of the journal: what became of a task, in the order in which it did."""

    phase: Phase
    name: str
    pointer: str


class Advance(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an instance. When `changed` is false the stimulus meant nothing and nothing is to be written.

    `steps_executed` counts the tasks begun since the instance started, skipped ones not included; `output` has a meaning
    when the status is completed, `fault` when it is faulted.
    """

    state: State | None
    status: Status
    changed: bool
    effects: tuple[Effect, ...] = ()
    consumed: tuple[Any, ...] = ()
    journal: tuple[Entry, ...] = ()
    last_completed_step: tuple[int, str] | None = None
    steps_executed: int = 0
    expires_at: datetime | None = None
    output: Any = None
    fault: Fault | None = None
