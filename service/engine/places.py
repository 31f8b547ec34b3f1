"""Where in a workflow a task runs: the loops, tries and functions around it, and what its expressions see because of them.

Nothing of a place is stored. It follows from the frames around the task, on the way down in an advance as well as in
`below`, which finds the tasks that are under way.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from service.engine.frames import Branches, Frame, Listening, Loop, Scope, State, Trying
from service.engine.messages import Facts
from service.language.document import Definition, Do, For, Foreach, Fork, FunctionCall, Listen, Task, Try

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Place(msgspec.Struct, frozen=True):
    """The surroundings of a task.

    `variables` are those of the loops and tries around it; `iteration` is the index of the nearest loop, `attempt` that of
    the nearest `try`; `caller` is the pointer of the task whose call of a function led here.
    """

    variables: Mapping[str, Any]
    iteration: int | None = None
    attempt: int = 1
    caller: str | None = None


ROOT = Place({})


class Entered(msgspec.Struct, frozen=True):
    """A task under way: what it is, how far it is, and where."""

    task: Task
    frame: Frame
    place: Place

    @property
    def pointer(self) -> str:
        """Where its faults happened: inside a function, at the call of it (contract 2.1)."""
        return self.place.caller or self.task.pointer

    def at(self, place: Place) -> "Entered":
        """The same task with the variables of another place."""
        return Entered(self.task, self.frame, place)


# --- Places within a task -------------------------------------------------------------------------------------------


def in_loop(place: Place, work: For, loop: Loop) -> Place:
    """The place of one iteration (contract 2.5)."""
    variables = {**place.variables, work.each: loop.items[loop.index], work.at: loop.index}
    return Place(variables, loop.index, place.attempt, place.caller)


def in_foreach(place: Place, foreach: Foreach, listening: Listening) -> Place:
    """The place of the work on one event (contract 2.9)."""
    index = len(listening.elements)
    variables = {**place.variables, foreach.item: listening.item, foreach.at: index}
    return Place(variables, index, place.attempt, place.caller)


def in_try(place: Place, work: Try, trying: Trying) -> Place:
    """The place of the tasks that are tried, or of those that handle the error (contract 2.11)."""
    return (in_catch if trying.handling else _in_attempt)(place, work, trying)


def _in_attempt(place: Place, _: Try, trying: Trying) -> Place:
    return Place(place.variables, place.iteration, trying.attempt, place.caller)


def in_catch(place: Place, work: Try, trying: Trying) -> Place:
    """The place of everything that sees the error caught (contract 2.11)."""
    variables = {**place.variables, work.variable: trying.error}
    return Place(variables, place.iteration, trying.attempt, place.caller)


def in_function(entered: Entered) -> Place:
    """The place of a function's task, from which the caller's variables cannot be seen (contract 2.1)."""
    place = entered.place
    return Place({}, place.iteration, place.attempt, entered.pointer)


# --- The tasks under way --------------------------------------------------------------------------------------------


def within(entered: Entered) -> Iterator[tuple[Sequence[Task], Scope, Place]]:
    """The task lists that a task has under way, each with its place."""
    place = entered.place
    match entered.task.work, entered.frame.progress:
        case Do(tasks), Scope() as scope:
            yield tasks, scope, place
        case For() as work, Loop() as loop if loop.begun:
            yield work.tasks, loop.scope, in_loop(place, work, loop)
        case Fork(branches), Branches(scopes):
            for branch, scope in zip(branches, scopes, strict=True):
                yield (branch,), scope, place
        case Try() as work, Trying(Scope() as scope) as trying:
            tasks = (work.handler or ()) if trying.handling else work.tasks
            yield tasks, scope, in_try(place, work, trying)
        case Listen(foreach=Foreach(tasks=tasks) as foreach), Listening(scope=Scope() as scope) as listening:
            yield tasks or (), scope, in_foreach(place, foreach, listening)
        case FunctionCall(function=function), Scope() as scope:
            yield (function,), scope, in_function(entered)


def below(tasks: Sequence[Task], scope: Scope, place: Place) -> Iterator[Entered]:
    """Every task under way in a list, outer ones first."""
    if scope.current is None:
        return
    entered = Entered(tasks[scope.index], scope.current, place)
    yield entered
    for inner in within(entered):
        yield from below(*inner)


# --- What expressions see -------------------------------------------------------------------------------------------


class Sight:
    """The arguments of expressions in one instance (contract 3.2)."""

    def __init__(self, definition: Definition, state: State, facts: Facts) -> None:
        """Prepare what stays the same for the whole instance."""
        self._state = state
        self._moments: dict[datetime, dict[str, Any]] = {}
        workflow = {
            "id": facts.instance_id,
            "definition": definition.document,
            "input": state.input,
            "startedAt": self._moment(state.started_at),
        }
        self.everywhere: dict[str, Any] = {"workflow": workflow, "runtime": facts.runtime}

    def of(self, entered: Entered, **described: Any) -> dict[str, Any]:
        """What the expressions of a task see; `described` adds members to `$task`."""
        task, frame = entered.task, entered.frame
        return {
            **self.everywhere,
            "context": self._state.context,
            "input": frame.input,
            "task": {
                "name": task.name,
                "reference": task.pointer,
                "definition": task.definition,
                "input": frame.raw,
                "startedAt": self._moment(frame.started_at),
                **described,
            },
            **entered.place.variables,
        }

    def _moment(self, instant: datetime) -> dict[str, Any]:
        if instant not in self._moments:
            self._moments[instant] = moment(instant)
        return self._moments[instant]


def moment(instant: datetime) -> dict[str, Any]:
    """A time as expressions see it; without fraction, which jq's `fromdate` refuses (contract 3.2)."""
    milliseconds = (instant - _EPOCH) // timedelta(milliseconds=1)
    return {
        "iso8601": instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z",
        "epoch": {"seconds": milliseconds // 1000, "milliseconds": milliseconds},
    }
