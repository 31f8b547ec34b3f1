"""How data passes through tasks and lists (contract 3.1 and 4.1), the same for every kind of task.

A `Run` is one advance under way. It re-descends from the root: a task whose frame exists goes on where it was, one
without begins. Nothing here knows what a task does; the registry of bodies it is given does.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import msgspec

from service.engine.frames import Frame, Scope, Sleeping, State
from service.engine.messages import (
    Answered,
    Effect,
    Events,
    Facts,
    InboxEvent,
    Publish,
    RunStatus,
    Sleep,
    Stimulus,
    TaskRun,
    WakeUp,
)
from service.engine.places import Entered, Place, Sight, below, within
from service.language.document import Definition, Foreach, Task
from service.language.durations import Duration, DurationRefused, duration, until
from service.language.errors import Fault, Kind, fault
from service.language.expressions import (
    Evaluation,
    Expression,
    ExpressionFailure,
    Path,
    is_true,
    shortened,
)
from service.language.questions import Question, Validation, Violation

SHOWN_VIOLATIONS = 10

Answer = TypeVar("Answer")
Steps = Generator[list[Question], list[Any], Answer]


class Outcome(NamedTuple):
    """How a body or a list ended: its output, the `then` that overrides the task's own, whether the workflow ends."""

    output: Any
    then: str | None = None
    ended: bool = False


# A body returns None when the task has to wait; its frame then holds how far it is.
# The last argument is the task's own `work`.
Body = Callable[["Run", Entered, Any], Steps[Outcome | None]]


class Raised(Exception):  # noqa: N818 - named after the situation
    """A fault on its way outwards to whoever catches it."""

    def __init__(self, raised: Fault) -> None:
        """Keep the fault."""
        super().__init__(raised.title)
        self.fault = raised


def raised(kind: Kind, title: str, detail: str | None, pointer: str) -> Raised:
    """One of the standard's own errors (contract 5.3), ready to be raised."""
    return Raised(fault(kind, title, detail, pointer))


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
        self.sight = Sight(definition, state, facts)
        self.inbox = {one.id: one for one in facts.inbox}
        self.consumed: list[Any] = []
        self.published: list[Publish] = []
        self.opened: dict[int, Effect] = {}  # what a wait that began in this advance asks of the outside
        self.history: dict[int, TaskRun] = {}
        self.visited = 0
        self.changed = not isinstance(stimulus, Events)
        self.interrupted = False  # the limit of one advance was reached

    # Lists

    def perform_all(self, tasks: Sequence[Task], scope: Scope, place: Place) -> Steps[Outcome | None]:
        """Run a task list from where it stands; None when it has to wait."""
        while scope.index < len(tasks):
            task = tasks[scope.index]
            outcome = yield from self.perform(task, scope, place)
            if outcome is None:
                return None
            if scope is self.state.root:
                self.state.last_completed_step = (scope.index + 1, task.name)
            scope.data = outcome.output
            if outcome.ended or outcome.then == "end":
                return Outcome(scope.data, ended=True)
            if outcome.then == "exit":
                break
            scope.index = _following(tasks, scope.index, outcome.then)
        return Outcome(scope.data)

    def perform(self, task: Task, scope: Scope, place: Place) -> Steps[Outcome | None]:
        """Begin or go on with the current task of a list; its outcome carries the directive to follow."""
        frame, begins = scope.current, scope.current is None
        if frame is None:
            if not self.may_go_on(place.caller or task.pointer):
                return None
            frame = scope.current = self.enter(task, scope.data, place)
        entered = Entered(task, frame, place)
        try:
            if begins and not (yield from self.begin(entered)):
                self.leave(entered, "skipped")
                scope.current = None
                return Outcome(scope.data)
            outcome = yield from self.go_on(entered)
        except Raised as error:
            self.leave(entered, "faulted", error=error.fault)
            scope.current = None
            raise
        if outcome is not None:
            self.leave(entered, "completed", output=outcome.output)
            scope.current = None
        return outcome

    def may_go_on(self, pointer: str) -> bool:
        """Whether the limits let one more task or iteration begin now; those of the instance are faults at `pointer`."""
        limits, state = self.facts.limits, self.state
        if state.executed >= limits.tasks_per_instance:
            detail = f"An instance executes at most {limits.tasks_per_instance} tasks."
            raise raised("runtime", "Task limit", detail, pointer)
        if state.visits >= limits.visits_per_instance:
            detail = f"An instance looks at no more than {limits.visits_per_instance} tasks and iterations."
            raise raised("runtime", "Task limit", detail, pointer)
        if self.interrupted:
            return False
        self.interrupted = self.visited >= limits.tasks_per_advance or (
            self.visited > 0 and self.facts.time_is_up()
        )
        if self.interrupted:
            return False
        self.visited += 1
        state.visits += 1
        self.changed = True
        return True

    # The steps of one task

    def go_on(self, entered: Entered) -> Steps[Outcome | None]:
        """Steps 4 to 9 of contract 3.1: the body, the output and the context."""
        task, deadline = entered.task, entered.frame.deadline
        if deadline is not None and self.is_due(deadline):
            raise raised("timeout", "Timeout", "The task did not complete in time.", entered.pointer)
        outcome = yield from self.bodies[type(task.work)](self, entered, task.work)
        if outcome is None or outcome.ended:
            return outcome
        output = yield from self.conclude(entered, task, outcome.output)
        return Outcome(output, outcome.then or task.then)

    def begin(self, entered: Entered) -> Steps[bool]:
        """Steps 1 to 3: the condition, the deadline and the input; False when the task is skipped.

        All of it is asked in one round trip; what comes after a condition that fails does not count, failures included.
        """
        task, frame, pointer = entered.task, entered.frame, entered.pointer
        transforms = task.input_from is not None and not reads_secrets(task.input_from)
        if not (task.condition or task.timeout or transforms or task.input_schema is not None):
            self.state.executed += 1
            return True
        variables = self.sight.of(entered)
        answers = yield from self.batch(
            {
                "if": question(task.condition, frame.raw, variables),
                "timeout": question(task.timeout, frame.raw, variables),
                "schema": validation(task.input_schema, frame.raw),
                "from": question(task.input_from, frame.raw, variables) if transforms else None,
            }
        )
        if "if" in answers and not is_true(succeeded(answers["if"], pointer)):
            return False
        self.state.executed += 1
        if task.timeout is not None:
            frame.deadline = self.sleep(until(length(task.timeout, answers.get("timeout"), pointer), self.at))
        fits(answers.get("schema"), "input", pointer)
        if transforms:
            frame.transformed = succeeded(answers["from"], pointer)
        return True

    def conclude(self, entered: Entered, shaping: Task | Foreach, raw: Any) -> Steps[Any]:
        """Steps 5 to 9: the output and the context, as a task or the `foreach` of a `listen` shapes them."""
        output = raw
        if shaping.output_as is not None:
            (answer,) = yield [Evaluation(shaping.output_as, raw, self.sight.of(entered, output=raw))]
            output = succeeded(answer, entered.pointer)
        if shaping.output_schema is None and shaping.export_as is None and shaping.export_schema is None:
            return output
        variables = self.sight.of(entered, output=raw) | {"output": output}
        answers = yield from self.batch(
            {
                "schema": validation(shaping.output_schema, output),
                "export": question(shaping.export_as, output, variables),
            }
        )
        fits(answers.get("schema"), "output", entered.pointer)
        context = succeeded(answers.get("export", self.state.context), entered.pointer)
        if shaping.export_schema is not None:
            (answer,) = yield [Validation(shaping.export_schema, context)]
            fits(answer, "exported context", entered.pointer)
        self.state.context = context
        return output

    # Questions

    def value(self, entered: Entered, expression: Expression, dot: Any) -> Steps[Any]:
        """The value of one expression of a task that has no output yet."""
        (answer,) = yield [Evaluation(expression, dot, self.sight.of(entered))]
        return succeeded(answer, entered.pointer)

    def batch(self, questions: Mapping[str, Question | None]) -> Steps[dict[str, Any]]:
        """The answers to those questions that there are, by name, failures included, in one round trip."""
        asked = {name: question for name, question in questions.items() if question is not None}
        return dict(zip(asked, (yield list(asked.values())), strict=True)) if asked else {}

    # Waits

    def open(self, effect: Callable[[int], Effect]) -> int:
        """A number for a wait that no other of this instance has, and what it asks of the outside."""
        number = self.state.next_wait
        self.state.next_wait += 1
        self.opened[number] = effect(number)
        return number

    def sleep(self, instant: datetime) -> Sleeping:
        """A timer."""
        return Sleeping(self.open(lambda number: Sleep(number, instant)), instant)

    def woken(self, wait: int) -> bool:
        """Whether this advance was made because that timer fired."""
        return isinstance(self.stimulus, WakeUp) and self.stimulus.wait == wait

    def is_due(self, deadline: Sleeping) -> bool:
        """Whether a deadline has passed, whoever noticed it; not in the advance that set it, which may yet be in time."""
        return deadline.wait not in self.opened and (self.woken(deadline.wait) or self.at >= deadline.until)

    def answer_to(self, wait: int) -> Answered | None:
        """The answer to that call, if this advance brought it."""
        return self.stimulus if isinstance(self.stimulus, Answered) and self.stimulus.wait == wait else None

    def consume(self, taken: InboxEvent) -> None:
        """Take an event out of the inbox: no other task gets it."""
        del self.inbox[taken.id]
        self.consumed.append(taken.id)
        self.changed = True

    # History

    def enter(self, task: Task, raw: Any, place: Place) -> Frame:
        """The frame of a task that begins, and its row."""
        self.state.runs += 1
        frame = Frame(task.name, task.pointer, raw, self.at, self.state.runs)
        self.history[frame.number] = TaskRun(
            number=frame.number,
            name=task.name,
            kind=task.kind,
            pointer=task.pointer,
            status="running",
            started_at=self.at,
            iteration=place.iteration,
            attempt=place.attempt,
            input=raw,
        )
        return frame

    def leave(
        self, entered: Entered, status: RunStatus, output: Any = msgspec.UNSET, error: Fault | None = None
    ) -> None:
        """Say in the task's row how it ended; what is still under way inside it is cancelled."""
        if entered.frame.progress is not None:
            self.cancel_within(entered)
        row = self.row(entered)
        row.status = status
        row.output = output
        row.error = error
        row.ended_at = self.at
        self.changed = True

    def row(self, entered: Entered) -> TaskRun:
        """The row of a task under way; one of an earlier advance gets only what is new."""
        task, frame, place = entered.task, entered.frame, entered.place
        if frame.number not in self.history:
            self.history[frame.number] = TaskRun(
                number=frame.number,
                name=task.name,
                kind=task.kind,
                pointer=task.pointer,
                status="running",
                started_at=frame.started_at,
                iteration=place.iteration,
                attempt=place.attempt,
                began=False,
            )
        return self.history[frame.number]

    def cancel_within(self, entered: Entered) -> None:
        """Write the end of everything under way inside a task."""
        for inner in within(entered):
            self.cancel_list(*inner)

    def cancel_list(self, tasks: Sequence[Task], scope: Scope, place: Place) -> None:
        """Write the end of everything under way in a list."""
        for entered in below(tasks, scope, place):
            row = self.row(entered)
            row.status, row.ended_at = "cancelled", self.at
        scope.current = None


def _following(tasks: Sequence[Task], index: int, then: str | None) -> int:
    """The position that a `then` leads to."""
    if then is None or then == "continue":
        return index + 1
    return next(position for position, task in enumerate(tasks) if task.name == then)


def reads_secrets(expression: Expression) -> bool:
    """Whether an expression may see the account's secrets, which must not get into an instance's state."""
    return reads(expression, "secrets")


def reads(expression: Expression, variable: str) -> bool:
    """Whether an expression may see a runtime argument, named without its `$`."""
    return variable in expression.used or any(
        isinstance(leaf.plain, Path) and leaf.plain.variable == variable for leaf in expression.leaves
    )


def question(expression: object, dot: Any, variables: Mapping[str, Any]) -> Evaluation | None:
    """What to ask about a field that may be absent, or a duration that is known already."""
    return Evaluation(expression, dot, variables) if isinstance(expression, Expression) else None


def validation(schema: Any, value: Any) -> Validation | None:
    """What to ask about a schema that may be absent."""
    return None if schema is None else Validation(schema, value)


def length(given: Duration | Expression, answer: Any, pointer: str) -> Duration:
    """The duration that is given, or that an expression came to (contract 6.1)."""
    if isinstance(given, Duration):
        return given
    try:
        return duration(succeeded(answer, pointer))
    except DurationRefused as refused:
        raise raised("validation", "Not a duration", str(refused), pointer) from None


def succeeded(answer: Any, pointer: str) -> Any:
    """The answer, unless it is a failure."""
    if isinstance(answer, ExpressionFailure):
        raise raised("expression", answer.title, answer.detail, pointer)
    return answer


def fits(answer: Sequence[Violation] | ExpressionFailure | None, what: str, pointer: str) -> None:
    """Fault unless the answer to a validation, if there was one, says that the value fits."""
    violations = succeeded(answer, pointer)
    if violations:
        shown = [f"/{'/'.join(map(str, one.path))}: {one.message}" for one in violations[:SHOWN_VIOLATIONS]]
        title = f"The {what} does not fit its schema"
        raise raised("validation", title, shortened("; ".join(shown)), pointer)
