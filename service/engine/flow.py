"""How data passes through tasks and lists (contract 3.1 and 4.1), the same for every kind of task.

A `Run` is one advance under way. It re-descends from the root: a task whose frame exists goes on where it was, one
without begins. Nothing here knows what a task does; the registry of bodies it is given does.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

from service.engine.frames import Frame, Scope, State
from service.engine.messages import Entry, Facts, InboxEvent, Phase, Stimulus, WakeUp
from service.language.document import Definition, Task
from service.language.errors import Fault, fault
from service.language.expressions import Evaluation, Expression, ExpressionFailure, is_true

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Answer = TypeVar("Answer")
Steps = Generator[list[Evaluation], list[Any], Answer]


class Outcome(NamedTuple):
    """How a body or a list ended: its output, the `then` that overrides the task's own, whether the workflow ends."""

    output: Any
    then: str | None = None
    ended: bool = False


# A body returns None when the task has to wait; its frame then holds how far it is.
# The last argument is the task's own `work`.
Body = Callable[["Run", Task, Frame, Any], Steps[Outcome | None]]


class Raised(Exception):  # noqa: N818 - named after the situation
    """A fault on its way outwards to whoever catches it."""

    def __init__(self, raised: Fault) -> None:
        """Keep the fault."""
        super().__init__(raised.title)
        self.fault = raised


class Run:
    """One advance under way: the state it changes, and what it has to tell afterwards."""

    def __init__(
        self,
        definition: Definition,
        state: State,
        stimulus: Stimulus,
        facts: Facts,
        bodies: Mapping[type, Body],
    ) -> None:
        """Begin with nothing done."""
        self.definition = definition
        self.state = state
        self.stimulus = stimulus
        self.facts = facts
        self.bodies = bodies
        self.at = stimulus.at
        self.inbox = list(facts.inbox)
        self.consumed: list[Any] = []
        self.journal: list[Entry] = []
        self.visited = 0
        self.changed = False
        self.interrupted = False  # the limit of one advance was reached

    # Lists

    def perform_all(self, tasks: Sequence[Task], scope: Scope) -> Steps[Outcome | None]:
        """Run a task list from where it stands; None when it has to wait."""
        positions = {task.name: index for index, task in enumerate(tasks)}
        while scope.index < len(tasks):
            task = tasks[scope.index]
            outcome = yield from self.perform(task, scope)
            if outcome is None:
                return None
            if scope is self.state.root:
                self.state.last_completed_step = (scope.index + 1, task.name)
            scope.data = outcome.output
            if outcome.ended or outcome.then == "end":
                return Outcome(scope.data, ended=True)
            if outcome.then == "exit":
                break
            following = scope.index + 1
            scope.index = following if outcome.then in {None, "continue"} else positions[str(outcome.then)]
        return Outcome(scope.data)

    def perform(self, task: Task, scope: Scope) -> Steps[Outcome | None]:
        """Begin or go on with the current task of a list; its outcome carries the directive to follow."""
        if scope.current is None and not self.may_begin(task):
            return None
        try:
            outcome = yield from self.pipeline(task, scope)
        except Raised:
            scope.current = None
            self.note("faulted", task)
            raise
        self.changed = self.changed or outcome is not None
        return outcome

    def may_begin(self, task: Task) -> bool:
        """Whether the limits let one more task begin now."""
        limits = self.facts.limits
        if self.state.executed >= limits.tasks_per_instance:
            detail = f"An instance executes at most {limits.tasks_per_instance} tasks."
            raise Raised(fault("runtime", "Task limit", detail, task.pointer))
        full = self.visited >= limits.tasks_per_advance or (self.visited > 0 and self.facts.time_is_up())
        self.interrupted = self.interrupted or full
        self.visited += 1
        return not self.interrupted

    # The steps of one task

    def pipeline(self, task: Task, scope: Scope) -> Steps[Outcome | None]:
        """The data flow of contract 3.1 around the task's body."""
        frame = scope.current
        if frame is None:
            frame = scope.current = yield from self.begin(task, scope.data)
        if frame is None:
            self.note("skipped", task)
            return Outcome(scope.data)
        outcome = yield from self.bodies[type(task.work)](self, task, frame, task.work)
        if outcome is None:
            return None
        scope.current = None
        if not outcome.ended:
            output = yield from self.conclude(task, frame, outcome.output)
            outcome = Outcome(output, outcome.then or task.then)
        self.note("completed", task)
        return outcome

    def begin(self, task: Task, raw: Any) -> Steps[Frame | None]:
        """Steps 1 to 3: the condition and the input; None when the task is skipped."""
        self.changed = True
        frame = Frame(task.name, task.pointer, raw, self.at)
        if task.condition is not None:
            holds = yield from self.value(task, frame, task.condition, raw)
            if not is_true(holds):
                return None
        self.state.executed += 1
        self.note("started", task)
        if task.input_from is not None:
            frame.transformed = yield from self.value(task, frame, task.input_from, raw)
        return frame

    def conclude(self, task: Task, frame: Frame, raw: Any) -> Steps[Any]:
        """Steps 5 to 9: the output and the context."""
        described = {"output": raw}
        output = raw
        if task.output_as is not None:
            evaluation = Evaluation(task.output_as, raw, self.variables(task, frame, described))
            (output,) = yield from self.ask(task.pointer, [evaluation])
        if task.export_as is not None:
            variables = self.variables(task, frame, described) | {"output": output}
            (context,) = yield from self.ask(task.pointer, [Evaluation(task.export_as, output, variables)])
            self.state.context = context
        return output

    # Expressions

    def value(self, task: Task, frame: Frame, expression: Expression, dot: Any) -> Steps[Any]:
        """The value of one expression of a task that has no output yet."""
        evaluation = Evaluation(expression, dot, self.variables(task, frame))
        (value,) = yield from self.ask(task.pointer, [evaluation])
        return value

    def ask(self, pointer: str, evaluations: list[Evaluation]) -> Steps[list[Any]]:
        """The values of independent expressions in one round trip; a failure is a fault at `pointer`."""
        answers = yield evaluations
        for answer in answers:
            self.succeeded(pointer, answer)
        return answers

    @staticmethod
    def succeeded(pointer: str, answer: Any) -> Any:
        """The answer, unless it is a failure."""
        if isinstance(answer, ExpressionFailure):
            raise Raised(fault("expression", answer.title, answer.detail, pointer))
        return answer

    def variables(
        self, task: Task, frame: Frame, described: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The arguments of contract 3.2; `described` adds members to `$task`."""
        descriptor = {
            "name": task.name,
            "reference": task.pointer,
            "definition": task.definition,
            "input": frame.raw,
            "startedAt": moment(frame.started_at),
        }
        return self.surroundings | {
            "context": self.state.context,
            "input": frame.input,
            "task": {**descriptor, **(described or {})},
        }

    @cached_property
    def surroundings(self) -> dict[str, Any]:
        """The arguments that stay the same for the whole instance."""
        workflow = {
            "id": self.facts.instance_id,
            "definition": self.definition.document,
            "input": self.state.input,
            "startedAt": moment(self.state.started_at),
        }
        return {"workflow": workflow, "runtime": self.facts.runtime}

    # Waits

    def new_wait(self) -> int:
        """A number for a timer or listener that no other of this instance has."""
        number = self.state.next_wait
        self.state.next_wait += 1
        return number

    def woken(self, wait: int) -> bool:
        """Whether this advance was made because that timer fired."""
        return isinstance(self.stimulus, WakeUp) and self.stimulus.wait == wait

    def consume(self, taken: InboxEvent) -> None:
        """Take an event out of the inbox: no other task gets it."""
        self.inbox.remove(taken)
        self.consumed.append(taken.id)

    def note(self, phase: Phase, task: Task) -> None:
        """Write a line of the journal."""
        self.journal.append(Entry(phase, task.name, task.pointer))


def moment(instant: datetime) -> dict[str, Any]:
    """A time as expressions see it; without fraction, which jq's `fromdate` refuses (contract 3.2)."""
    milliseconds = (instant - _EPOCH) // timedelta(milliseconds=1)
    return {
        "iso8601": instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "epoch": {"seconds": milliseconds // 1000, "milliseconds": milliseconds},
    }
