"""What an instance remembers between two advances: a tree of frames, one for each task that has begun and not ended.

Frames are changed in place while an advance runs, on a copy that `copied` makes; the values in them (inputs, outputs, the
context) are shared and never changed. The bytes are JSON, which unlike MessagePack holds integers of any size.
"""

from collections.abc import Callable, Iterator, Sequence
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
    """A `for` under way: its items (a list), and the list of tasks for the one at `index`.

    `begun` says that the iteration may run: its `while` held.
    """

    items: Any
    index: int
    scope: Scope
    begun: bool = False


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
    """A `listen` under way: the numbers of the filters that still want events, and what has been taken so far.

    `wait` is 0 while no more events are wanted, which `done` says for good. `keys` are the correlation values settled so
    far, `types` what the outside was told to look for. `elements` is the output so far; `item` what `foreach` works on at the moment, with `scope` as its list.
    """

    wait: int
    open: list[int]
    until_open: list[int]
    elements: list[Any]
    keys: dict[str, Any]
    types: tuple[str | None, ...] = ()
    done: bool = False
    item: Any = msgspec.UNSET
    scope: Scope | None = None


Progress = Scope | Sleeping | Calling | Loop | Branches | Trying | Listening
Wait = Sleeping | Calling | Listening


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
    (skipped ones are in the history, and not in this), `visits` the tasks and iterations looked at.
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
    visits: int = 0
    last_completed_step: tuple[int, str] | None = None
    expires_at: datetime | None = None


# --- As bytes, and copied -------------------------------------------------------------------------------------------

_DECODER = msgspec.json.Decoder(tuple[State, list[Any]])


def encode_state(state: State) -> bytes:
    """The state as bytes for the instance's row.

    Most values stand in several places, a task's output being the next one's input and a list's input that of its first
    task. Each is written once, and its places hold its number.
    """
    values: list[Any] = []
    numbers: dict[int, int] = {}

    def number(value: Any) -> int:
        if id(value) not in numbers:
            numbers[id(value)] = len(values)
            values.append(value)
        return numbers[id(value)]

    return msgspec.json.encode((rebuilt(state, number), values))


def decode_state(encoded: bytes) -> State:
    """The state that `encode_state` was given."""
    state, values = _DECODER.decode(encoded)
    return rebuilt(state, values.__getitem__)


def copied(state: State) -> State:
    """The state with frames of its own, to be changed while the original stays."""
    return rebuilt(state, lambda value: value)


Change = Callable[[Any], Any]


def rebuilt(state: State, change: Change) -> State:
    """A state of the same shape, each value of the workflow's data being what `change` makes of it."""
    return msgspec.structs.replace(
        state, input=change(state.input), context=change(state.context), root=_scope(state.root, change)
    )


def _scope(scope: Scope, change: Change) -> Scope:
    current = None if scope.current is None else _frame(scope.current, change)
    return Scope(scope.index, change(scope.data), current)


def _frame(frame: Frame, change: Change) -> Frame:
    transformed = frame.transformed
    return Frame(
        frame.name,
        frame.pointer,
        change(frame.raw),
        frame.started_at,
        frame.number,
        transformed if transformed is msgspec.UNSET else change(transformed),
        _progress(frame.progress, change),
        frame.deadline,
    )


def _progress(progress: Progress | None, change: Change) -> Progress | None:
    match progress:
        case Scope():
            return _scope(progress, change)
        case Loop(items, index, scope, begun):
            return Loop(change(items), index, _scope(scope, change), begun)
        case Branches(scopes):
            return Branches([_scope(scope, change) for scope in scopes])
        case Trying(current):
            current = _scope(current, change) if isinstance(current, Scope) else current
            return msgspec.structs.replace(progress, current=current)
        case Listening():
            return msgspec.structs.replace(
                progress,
                open=list(progress.open),
                until_open=list(progress.until_open),
                elements=[change(element) for element in progress.elements],
                keys=dict(progress.keys),
                item=progress.item if progress.item is msgspec.UNSET else change(progress.item),
                scope=progress.scope and _scope(progress.scope, change),
            )
    return progress


# --- What is under way ----------------------------------------------------------------------------------------------


def scopes_of(progress: Progress | None) -> Sequence[Scope]:
    """The task lists that a task has under way."""
    match progress:
        case Scope():
            return (progress,)
        case Loop():
            return (progress.scope,)
        case Branches():
            return progress.scopes
        case Trying(Scope() as current):
            return (current,)
        case Listening(scope=Scope() as scope):
            return (scope,)
    return ()


def frames(scope: Scope) -> Iterator[Frame]:
    """Every frame of the tree, inner ones first."""
    if scope.current is not None:
        for inner in scopes_of(scope.current.progress):
            yield from frames(inner)
        yield scope.current


def is_busy(state: State) -> bool:
    """Whether tasks have still to look at events that have come: they have more to do first, or work on one before."""
    return state.status is Status.RUNNING or any(
        isinstance(frame.progress, Listening) and frame.progress.item is not msgspec.UNSET
        for frame in frames(state.root)
    )


def waits(scope: Scope) -> dict[int, Wait]:
    """What the tree waits for, by number."""
    return {wait.wait: wait for frame in frames(scope) for wait in _waits(frame)}


def _waits(frame: Frame) -> Iterator[Wait]:
    if frame.deadline is not None:
        yield frame.deadline
    match frame.progress:
        case Sleeping() | Calling():
            yield frame.progress
        case Listening(wait) if wait:
            yield frame.progress
        case Trying(current, limit=limit):
            if isinstance(current, Sleeping):
                yield current
            if limit is not None:
                yield limit
