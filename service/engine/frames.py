"""What an instance remembers between two advances: a tree of frames, one for each task that has begun and not ended.

Frames are changed in place while an advance runs, on a copy that `copied` makes; the values in them (inputs, outputs, the
context) are shared and never changed. The bytes are JSON, which unlike MessagePack holds integers of any size.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from service.engine.states import Status


class Scope(msgspec.Struct, tag="scope"):
    """A task list under way: the position of the task to run next or running, its raw input, and its frame."""

    index: int
    data: Any
    current: "Frame | None" = None


class Sleeping(msgspec.Struct, tag="sleeping", frozen=True):
    """A task that goes on when the timer of this number fires."""

    wait: int
    until: datetime


class Calling(msgspec.Struct, tag="calling", frozen=True):
    """A task that goes on when the call of this number is answered: an HTTP request, a person, another workflow."""

    wait: int


class Loop(msgspec.Struct, tag="loop"):
    """A `for` under way: its items, and the list running for the one at `index`."""

    items: list[Any]
    index: int
    scope: Scope


class Branches(msgspec.Struct, tag="branches"):
    """A `fork` under way: a list of one task for each branch; the index of one that has ended is 1, its data the output."""

    scopes: list[Scope]


class Trying(msgspec.Struct, tag="trying"):
    """A `try` under way: the tasks, the pause before a retry, or the handler, by what `current` is.

    `attempt` counts from 1; `failed_at` is the first failure's time and `error` the last error caught; `limit` is the deadline
    of one attempt.
    """

    current: Scope | Sleeping
    attempt: int = 1
    handling: bool = False
    failed_at: datetime | None = None
    error: dict[str, Any] | None = None
    limit: Sleeping | None = None


class Listening(msgspec.Struct, tag="listening"):
    """A `listen` under way: what it has taken so far, and what of it `foreach` has still to work on.

    `elements` is the output so far; `queue` what was read from events that wait for `foreach`; `scope` the list at work on
    the first of them; `position` how many have been worked on. `open` are the filters of `all` that still want an event,
    `until_open` those of an `all` under `until`. `keys` are the correlation values settled so far. `done` says that no more
    events are wanted.
    """

    wait: int
    elements: list[Any]
    queue: list[Any]
    open: list[int]
    until_open: list[int]
    keys: dict[str, Any]
    position: int = 0
    done: bool = False
    scope: Scope | None = None


Progress = Scope | Sleeping | Calling | Loop | Branches | Trying | Listening


class Frame(msgspec.Struct):
    """A task that has begun: its raw input, its transformed input unless that is the same, and how far it is.

    `number` is that of its row of the history; `deadline` the timer of its own timeout.
    """

    name: str
    pointer: str
    raw: Any
    started_at: datetime
    number: int
    transformed: Any = msgspec.UNSET
    progress: Progress | None = None
    deadline: Sleeping | None = None

    @property
    def input(self) -> Any:
        """What the task's body works on, `$input`."""
        return self.raw if self.transformed is msgspec.UNSET else self.transformed


class State(msgspec.Struct, kw_only=True):
    """All that an instance is, between two advances; `sequence` counts the advances that changed it.

    `next_wait` numbers what the instance waits for, `runs` counts the rows of its history, `executed` the tasks begun
    (skipped ones are in the history, and not in this).
    """

    status: Status
    started_at: datetime
    input: Any
    root: Scope
    context: Any
    sequence: int = 0
    next_wait: int = 1
    runs: int = 0
    executed: int = 0
    last_completed_step: tuple[int, str] | None = None
    expires_at: datetime | None = None
