"""What an instance remembers between two advances: a tree of frames, one for each task that has begun and not ended.

Frames are changed in place while an advance runs, on a copy that `copied` makes; the values in them (inputs, outputs, the
context) are shared and never changed. The bytes are JSON, which unlike MessagePack holds integers of any size.
"""

from collections.abc import Iterator
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


_DECODER = msgspec.json.Decoder(State)


def encode_state(state: State) -> bytes:
    """The state as bytes for the instance's row."""
    return msgspec.json.encode(state)


def decode_state(encoded: bytes) -> State:
    """The state that `encode_state` was given."""
    return _DECODER.decode(encoded)


def copied(state: State) -> State:
    """The state with frames of its own, to be changed while the original stays."""
    return msgspec.structs.replace(state, root=_copied(state.root))


def _copied(scope: Scope) -> Scope:
    frame = scope.current
    if frame is None:
        return msgspec.structs.replace(scope)
    progress = _copied(frame.progress) if isinstance(frame.progress, Scope) else frame.progress
    return msgspec.structs.replace(scope, current=msgspec.structs.replace(frame, progress=progress))


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
