"""One step in the life of an instance: state and stimulus in, new state and effects out.

`advance` is pure. It knows no clock but the stimulus's, does no I/O, and changes nothing it is given. Where it needs the
value of an expression or a schema's verdict it yields the questions and is sent their answers, so that `drive` can answer
from a table and `run` from the sandbox. It runs until every task that is under way has to wait, and says what for as
effects. What a call says, secrets included, is not evaluated here: `pending` gives its performer what that needs.
"""

from collections.abc import Awaitable, Callable, Generator
from typing import Any

from service.engine.bodies import BODIES
from service.engine.flow import (
    Outcome,
    Raised,
    Run,
    Steps,
    fits,
    length,
    question,
    raised,
    succeeded,
    validation,
)
from service.engine.frames import (
    Calling,
    Scope,
    Sleeping,
    State,
    Wait,
    copied,
    decode_state,
    encode_state,
    waits,
)
from service.engine.messages import (
    Advance,
    Answered,
    Continue,
    Effect,
    Entry,
    Expire,
    Facts,
    Forget,
    Pending,
    Start,
    Stimulus,
    WakeUp,
)
from service.engine.places import ROOT, Sight, below
from service.engine.states import Status
from service.language.document import Definition
from service.language.durations import until
from service.language.errors import REJECTED, Fault
from service.language.expressions import Evaluation
from service.language.questions import Question, Validation

__all__ = ["advance", "decode_state", "drive", "encode_state", "pending", "run"]

LONGEST_STEP = (
    255  # characters of a task's name by which lists are ordered; an index takes no text of any length
)

Advancing = Generator[list[Question], list[Any], Advance]


def advance(definition: Definition, state: State | None, stimulus: Stimulus, facts: Facts) -> Advancing:
    """Apply one stimulus and run as far as possible.

    A stimulus that does not apply (a second start, the timer or answer of a wait that is over, anything once the instance
    has ended) changes nothing, which makes a job that runs twice harmless.
    """
    before = waits(state.root) if state else {}
    if not _applies(state, stimulus, before):
        return _unchanged(state)
    following = copied(state) if state else _begun(definition, stimulus)
    under_way = Run(definition, following, stimulus, facts, BODIES)
    output, fault = None, None
    try:
        outcome = yield from _performed(under_way, first=state is None)
        if outcome is not None:
            output = yield from _concluded(under_way, outcome)
    except Raised as error:
        outcome, fault = None, error.fault
    if not under_way.changed:
        return _unchanged(state)
    following.status = _status(under_way, outcome, fault)
    following.sequence += 1
    if following.status.terminal:
        _close(under_way)
    return Advance(
        state=following,
        status=following.status,
        changed=True,
        effects=_effects(before, under_way),
        consumed=tuple(under_way.consumed),
        history=tuple(row for _, row in sorted(under_way.history.items())),
        last_completed_step=following.last_completed_step,
        current_step=_current_step(definition, following),
        expires_at=following.expires_at,
        output=output,
        fault=fault,
    )


def pending(definition: Definition, state: State, wait: int, facts: Facts) -> Pending | None:
    """What the performer of the call that waits under this number needs; None when nothing waits there any more.

    An `input.from` that reads secrets has not been evaluated: `input` is the raw input then, and the performer evaluates
    it itself on `raw` (contract 7.3). What comes after the call sees the raw input as `$input`.
    """
    for entered in below(definition.tasks, state.root, ROOT):
        frame = entered.frame
        if isinstance(frame.progress, Calling) and frame.progress.wait == wait:
            key = f"{facts.instance_id}:{frame.pointer}:{frame.number}:{entered.place.attempt}"
            return Pending(
                task=entered.task,
                input=frame.input,
                raw=frame.raw,
                variables=Sight(definition, state, facts).of(entered),
                key=key,
            )
    return None


def _applies(state: State | None, stimulus: Stimulus, waiting: dict[int, Wait]) -> bool:
    """Whether the stimulus means anything to an instance in this state."""
    if state is None or isinstance(stimulus, Start):
        return state is None and isinstance(stimulus, Start)
    if isinstance(stimulus, WakeUp) and not isinstance(waiting.get(stimulus.wait), Sleeping):
        return False
    if isinstance(stimulus, Answered) and not isinstance(waiting.get(stimulus.wait), Calling):
        return False
    return not state.status.terminal


def _unchanged(state: State | None) -> Advance:
    if state is None:
        return Advance(state=None, status=Status.PENDING, changed=False)
    return Advance(
        state=state,
        status=state.status,
        changed=False,
        last_completed_step=state.last_completed_step,
        expires_at=state.expires_at,
    )


def _begun(definition: Definition, stimulus: Stimulus) -> State:
    """The state of an instance of which nothing has run yet."""
    given = stimulus.input if isinstance(stimulus, Start) else None
    state = State(
        status=Status.RUNNING, started_at=stimulus.at, input=given, root=Scope(0, given), context={}
    )
    entry = _entry(stimulus)
    if entry is not None:
        state.root, state.context = Scope(entry.index, entry.data), entry.context
        if entry.index:
            state.last_completed_step = (entry.index, definition.tasks[entry.index - 1].name)
    return state


def _entry(stimulus: Stimulus) -> Entry | None:
    """Where an instance begins that was restarted from a task."""
    return stimulus.entry if isinstance(stimulus, Start) else None


def _performed(under_way: Run, *, first: bool) -> Steps[Outcome | None]:
    """Run the root list; None when it has to wait."""
    if first:
        yield from _checked(under_way)
        yield from _opened(under_way)
    if isinstance(under_way.stimulus, Expire):
        detail = "The workflow did not complete within its timeout."
        raise raised("timeout", "Workflow timeout", detail, "/")
    return (yield from under_way.perform_all(under_way.definition.tasks, under_way.state.root, ROOT))


def _checked(under_way: Run) -> Steps[None]:
    """Fault unless the workflow's input fits its schema, where nobody has seen to it that it does."""
    schema = under_way.definition.input_schema
    if schema is not None and isinstance(under_way.stimulus, Start) and not under_way.stimulus.checked:
        (answer,) = yield [Validation(schema, under_way.state.input)]
        fits(answer, "input", "/input")


def _opened(under_way: Run) -> Steps[None]:
    """The workflow's deadline and its transformed input, both of the raw input."""
    definition, state = under_way.definition, under_way.state
    input_from = definition.input_from if _entry(under_way.stimulus) is None else None
    if definition.timeout is None and input_from is None:
        return
    variables = under_way.sight.everywhere
    answers = yield from under_way.batch(
        {
            "timeout": question(definition.timeout, state.input, variables),
            "input": question(input_from, state.input, variables),
        }
    )
    if definition.timeout is not None:
        state.expires_at = until(
            length(definition.timeout, answers.get("timeout"), "/timeout"), state.started_at
        )
    if input_from is not None:
        state.root.data = succeeded(answers["input"], "/input")


def _concluded(under_way: Run, outcome: Outcome) -> Steps[Any]:
    """The workflow's output."""
    definition, output = under_way.definition, outcome.output
    if definition.output_as is None and definition.output_schema is None:
        return output
    if definition.output_as is not None:
        variables = under_way.sight.everywhere | {"context": under_way.state.context}
        (answer,) = yield [Evaluation(definition.output_as, output, variables)]
        output = succeeded(answer, "/output")
    answers = yield from under_way.batch({"schema": validation(definition.output_schema, output)})
    fits(answers.get("schema"), "output", "/output")
    return output


def _status(under_way: Run, outcome: Outcome | None, fault: Fault | None) -> Status:
    if fault is not None:
        return Status.CANCELLED if fault.type == REJECTED else Status.FAULTED
    if outcome is not None:
        return Status.COMPLETED
    return Status.RUNNING if under_way.interrupted else Status.WAITING


def _current_step(definition: Definition, state: State) -> str | None:
    """Name the task of the root list at which the instance is, or failed: the last one where its output did."""
    if state.status is Status.COMPLETED or not definition.tasks:
        return None
    return definition.tasks[min(state.root.index, len(definition.tasks) - 1)].name[:LONGEST_STEP]


def _close(under_way: Run) -> None:
    """Let go of everything that an ended instance will never need again: not of what its task began with, if that failed."""
    state, root = under_way.state, under_way.state.root
    under_way.cancel_list(under_way.definition.tasks, root, ROOT)
    state.root = Scope(root.index, None if state.status is Status.COMPLETED else root.data)


def _effects(before: dict[int, Wait], under_way: Run) -> tuple[Effect, ...]:
    """What became different about the waits, and what was published on the way."""
    after = waits(under_way.state.root) if before or under_way.opened else {}
    effects: list[Effect] = [Forget(wait) for wait in sorted(before) if wait not in after]
    effects += [effect for wait, effect in under_way.opened.items() if wait in after]
    effects += under_way.published
    if under_way.state.status is Status.RUNNING:
        effects.append(Continue())
    return tuple(effects)


def drive(steps: Advancing, answer: Callable[[list[Question]], list[Any]]) -> Advance:
    """Run an advance to its end with a function that answers at once."""
    answers: list[Any] | None = None
    while True:
        try:
            questions = next(steps) if answers is None else steps.send(answers)
        except StopIteration as finished:
            return _finished(finished)
        answers = answer(questions)


async def run(steps: Advancing, answer: Callable[[list[Question]], Awaitable[list[Any]]]) -> Advance:
    """Run an advance to its end with a function that answers later, such as the sandbox's."""
    answers: list[Any] | None = None
    while True:
        try:
            questions = next(steps) if answers is None else steps.send(answers)
        except StopIteration as finished:
            return _finished(finished)
        answers = await answer(questions)


def _finished(finished: StopIteration) -> Advance:
    reached: Advance = finished.value
    return reached
