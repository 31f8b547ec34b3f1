"""What an advance is told (a stimulus and the facts of the moment) and what it answers (the advance and its effects)."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from service.engine.frames import State
from service.engine.states import Status
from service.language.document import Task
from service.language.errors import Fault

# --- What it is told ------------------------------------------------------------------------------------------------


class Entry(msgspec.Struct, frozen=True):
    """Where a restarted instance begins: at a task of the root list, with the raw input and the context that it had."""

    index: int
    data: Any
    context: Any


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Begin, with the workflow's raw input; `entry` is where, if that is not the first task.

    `checked` says that it fits `input.schema` already: what people and tasks start is refused before it is an instance, what
    a schedule starts faults as one (contract 3.1).
    """

    at: datetime
    input: Any = msgspec.field(default_factory=dict)
    checked: bool = True
    entry: Entry | None = None


class WakeUp(msgspec.Struct, frozen=True, tag="wake_up"):
    """The timer of this number has fired."""

    at: datetime
    wait: int


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """The call of this number has its answer: a value, or the fault it ended with."""

    at: datetime
    wait: int
    value: Any = None
    fault: Fault | None = None


class Events(msgspec.Struct, frozen=True, tag="events"):
    """Look again: at the inbox, and at the tasks that a `Continue` left."""

    at: datetime


class Expire(msgspec.Struct, frozen=True, tag="expire"):
    """The workflow's own timeout has passed."""

    at: datetime


Stimulus = Start | WakeUp | Answered | Events | Expire


class InboxEvent(msgspec.Struct, frozen=True):
    """An event that was sent to this instance and that no task has taken yet."""

    id: Any
    event: dict[str, Any]


class Limits(msgspec.Struct, frozen=True):
    """How many tasks may begin: in one advance, before others get their turn, and in the life of an instance.

    `items` bounds the iterations of a `for` and the events that a `listen` collects, `visits_per_instance` the tasks and
    iterations that are looked at, so that what is skipped has an end too.
    """

    tasks_per_advance: int = 1_000
    tasks_per_instance: int = 10_000
    visits_per_instance: int = 100_000
    items: int = 10_000


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
    """Send `Events` whenever an event of one of the types arrives (None: of any type), until told to forget."""

    wait: int
    types: tuple[str | None, ...] = (None,)


class Call(msgspec.Struct, frozen=True, tag="call"):
    """Perform the HTTP call that waits under this number, and send `Answered`. What it says is found by `pending`."""

    wait: int


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """Start the workflow that waits under this number; send `Answered` when it has ended, or at once if not awaited."""

    wait: int


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Open a work item with these arguments (contract 10.5) and send `Answered` when it is decided."""

    wait: int
    kind: Literal["approval", "form"]
    task: str
    pointer: str
    arguments: dict[str, Any]


class Publish(msgspec.Struct, frozen=True, tag="publish"):
    """Deliver a CloudEvent to whatever of the account listens for it."""

    event: dict[str, Any]


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    """This wait is over: its timer, listener, call, work item or child is of no more use."""

    wait: int


class Continue(msgspec.Struct, frozen=True, tag="continue"):
    """There is more to do at once: send `Events` in a job of its own."""


Effect = Sleep | Listen | Call | Begin | Ask | Publish | Forget | Continue

RunStatus = Literal["running", "skipped", "completed", "faulted", "cancelled"]


class TaskRun(msgspec.Struct, kw_only=True):
    """One row of the history: a task that was entered, and what has become of it.

    `number` counts an instance's rows in the order in which they began. `iteration` is the index of the nearest loop around
    the task, None outside of one; `attempt` that of the nearest `try`, 1 outside of one. `began` says that this advance entered
    it: otherwise the row is there already and only its end (`status`, `output`, `error`, `ended_at`) is new.
    """

    number: int
    name: str
    kind: str
    pointer: str
    status: RunStatus
    started_at: datetime
    iteration: int | None = None
    attempt: int = 1
    input: Any = None
    output: Any = msgspec.UNSET
    error: Fault | None = None
    ended_at: datetime | None = None
    began: bool = True


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A call or child that waits to be performed: its task, `.` of its arguments, the variables that they may see.

    `key` stays the same however often it is performed: `<instance>:<pointer>:<number of the run>:<attempt>`.
    `raw` is the task's raw input, for an `input.from` that reads secrets (`input` is then the raw input too).
    """

    task: Task
    input: Any
    raw: Any
    variables: Mapping[str, Any]
    key: str


class Advance(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an instance. When `changed` is false the stimulus meant nothing and nothing is to be written.

    `history` has a row for each task that this advance entered or ended, in the order in which they began;
    `output` has a meaning when the status is completed, `fault` when it is faulted, or cancelled by a denial.
    `current_step` names the task of the root list at which the instance is, or failed; None where it is where it was.
    """

    state: State | None
    status: Status
    changed: bool
    effects: tuple[Effect, ...] = ()
    consumed: tuple[Any, ...] = ()
    history: tuple[TaskRun, ...] = ()
    last_completed_step: tuple[int, str] | None = None
    current_step: str | None = None
    expires_at: datetime | None = None
    output: Any = None
    fault: Fault | None = None
