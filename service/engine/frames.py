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


class Listening(msgspec.Struct, tag="listening", frozen=True):
    """A task that goes on when its event arrives."""

    wait: int


Wait = Sleeping | Listening
Progress = Scope | Sleeping | Listening


class Frame(msgspec.Struct):
    """A task that has begun: its raw input, its transformed input unless that is the same, and how far it is."""

    name: str
    pointer: str
    raw: Any
    started_at: datetime
    transformed: Any = msgspec.UNSET
    progress: Progress | None = None

    @property
    def input(self) -> Any:
        """What the task's body works on, `$input`."""
        return self.raw if self.transformed is msgspec.UNSET else self.transformed


class State(msgspec.Struct, kw_only=True):
    """All that an instance is, between two advances; `sequence` counts the advances that changed it."""

    status: Status
    started_at: datetime
    input: Any
    root: Scope
    context: Any
    sequence: int = 0
    next_wait: int = 1
    executed: int = 0
    last_completed_step: tuple[int, str] | None = None
    expires_at: datetime | None = None


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


def rebuilt(state: State, change: Callable[[Any], Any]) -> State:
    """A state of the same shape, each value of the workflow's data being what `change` makes of it."""
    return msgspec.structs.replace(
        state, input=change(state.input), context=change(state.context), root=_scope(state.root, change)
    )


def _scope(scope: Scope, change: Callable[[Any], Any]) -> Scope:
    current = None if scope.current is None else _frame(scope.current, change)
    return Scope(scope.index, change(scope.data), current)


def _frame(frame: Frame, change: Callable[[Any], Any]) -> Frame:
    return msgspec.structs.replace(
        frame,
        raw=change(frame.raw),
        transformed=msgspec.UNSET if frame.transformed is msgspec.UNSET else change(frame.transformed),
        progress=_scope(frame.progress, change) if isinstance(frame.progress, Scope) else frame.progress,
    )


def frames(scope: Scope) -> Iterator[Frame]:
    """Every frame of the tree, inner ones first."""
    if scope.current is not None:
        if isinstance(scope.current.progress, Scope):
            yield from frames(scope.current.progress)
        yield scope.current


def waits(scope: Scope) -> dict[int, Wait]:
    """What the tree waits for, by number."""
    return {
        frame.progress.wait: frame.progress
        for frame in frames(scope)
        if isinstance(frame.progress, Sleeping | Listening)
    }
