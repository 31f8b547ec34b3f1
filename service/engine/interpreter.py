"""One step in the life of an instance: state and stimulus in, new state and effects out.

`advance` is pure. It knows no clock but the stimulus's, does no I/O, and changes nothing it is given. Where it needs the
value of an expression it yields the evaluations and is sent their answers, so that `drive` can answer from a table and
`run` from the sandbox. It runs until every task that is under way has to wait, and says what for as effects.
"""

from collections.abc import Awaitable, Callable, Generator
from typing import Any

from service.engine.flow import Outcome, Raised, Run, Steps
from service.engine.frames import (
    Scope,
    Sleeping,
    State,
    Wait,
    copied,
    decode_state,
    encode_state,
    frames,
    waits,
)
from service.engine.messages import (
    Advance,
    Continue,
    Effect,
    Entry,
    Events,
    Expire,
    Facts,
    Forget,
    InboxEvent,
    Limits,
    Listen,
    Sleep,
    Start,
    Stimulus,
    WakeUp,
)
from service.engine.states import Status
from service.engine.tasks import BODIES, evaluated_duration
from service.language.document import Definition
from service.language.durations import Duration, until
from service.language.errors import Fault, fault
from service.language.expressions import Evaluation

__all__ = [
    "Advance",
    "Continue",
    "Effect",
    "Entry",
    "Events",
    "Expire",
    "Facts",
    "Forget",
    "InboxEvent",
    "Limits",
    "Listen",
    "Sleep",
    "Start",
    "State",
    "Stimulus",
    "WakeUp",
    "advance",
    "decode_state",
    "drive",
    "encode_state",
    "run",
]


def advance(
    definition: Definition, state: State | None, stimulus: Stimulus, facts: Facts
) -> Generator[list[Evaluation], list[Any], Advance]:
    """Apply one stimulus and run as far as possible.

    A stimulus that does not apply (a second start, a timer of a wait that is over, anything once the instance has ended)
    changes nothing, which makes a job that runs twice harmless.
    """
    if not _applies(state, stimulus):
        return _unchanged(state)
    before = waits(state.root) if state else {}
    following = copied(state) if state else _begun(stimulus)
    under_way = Run(definition, following, stimulus, facts, BODIES)
    output, raised = None, None
    try:
        outcome = yield from _performed(under_way, first=state is None)
        if outcome is not None:
            output = yield from _concluded(under_way, outcome)
    except Raised as error:
        outcome, raised, under_way.changed = None, error.fault, True
    if not under_way.changed:
        return _unchanged(state)
    following.status = _status(under_way, outcome, raised)
    following.sequence += 1
    if following.status.terminal:
        _close(under_way)
    return Advance(
        state=following,
        status=following.status,
        changed=True,
        effects=_effects(before, under_way),
        consumed=tuple(under_way.consumed),
        journal=tuple(under_way.journal),
        last_completed_step=following.last_completed_step,
        steps_executed=following.executed,
        expires_at=following.expires_at,
        output=output,
        fault=raised,
    )


def _applies(state: State | None, stimulus: Stimulus) -> bool:
    """Whether the stimulus means anything to an instance in this state."""
    if state is None or isinstance(stimulus, Start):
        return state is None and isinstance(stimulus, Start)
    if isinstance(stimulus, WakeUp) and not isinstance(waits(state.root).get(stimulus.wait), Sleeping):
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
        steps_executed=state.executed,
        expires_at=state.expires_at,
    )


def _begun(stimulus: Stimulus) -> State:
    """The state of an instance of which nothing has run yet."""
    given = stimulus.input if isinstance(stimulus, Start) else None
    return State(status=Status.RUNNING, started_at=stimulus.at, input=given, root=Scope(0, given), context={})


def _performed(under_way: Run, *, first: bool) -> Steps[Outcome | None]:
    """Run the root list; None when it has to wait."""
    state = under_way.state
    if first:
        under_way.changed = True
        yield from _opened(under_way)
    if isinstance(under_way.stimulus, Expire):
        detail = "The workflow did not complete within its timeout."
        raise Raised(fault("timeout", "Workflow timeout", detail, "/"))
    return (yield from under_way.perform_all(under_way.definition.tasks, state.root))


def _opened(under_way: Run) -> Steps[None]:
    """The workflow's deadline and its transformed input, both of the raw input."""
    definition, state = under_way.definition, under_way.state
    length = definition.timeout
    asked = {
        pointer: Evaluation(expression, state.input, under_way.surroundings)
        for pointer, expression in (("/timeout", length), ("/input", definition.input_from))
        if expression is not None and not isinstance(expression, Duration)
    }
    answers = (yield list(asked.values())) if asked else []
    for pointer, answer in zip(asked, answers, strict=True):
        value = under_way.succeeded(pointer, answer)
        if pointer == "/timeout":
            length = evaluated_duration(value, pointer)
        else:
            state.root.data = value
    if isinstance(length, Duration):
        state.expires_at = until(length, state.started_at)


def _concluded(under_way: Run, outcome: Outcome) -> Steps[Any]:
    """The workflow's output."""
    expression = under_way.definition.output_as
    if expression is None:
        return outcome.output
    variables = under_way.surroundings | {"context": under_way.state.context}
    (output,) = yield from under_way.ask("/output", [Evaluation(expression, outcome.output, variables)])
    return output


def _status(under_way: Run, outcome: Outcome | None, raised: Fault | None) -> Status:
    if raised is not None:
        return Status.FAULTED
    if outcome is not None:
        return Status.COMPLETED
    return Status.RUNNING if under_way.interrupted else Status.WAITING


def _close(under_way: Run) -> None:
    """Let go of everything that an ended instance will never need again."""
    root = under_way.state.root
    under_way.journal += [Entry("cancelled", frame.name, frame.pointer) for frame in frames(root)]
    under_way.state.root = Scope(root.index, None)


def _effects(before: dict[int, Wait], under_way: Run) -> tuple[Effect, ...]:
    """What became different about the waits, whatever made it so."""
    after = waits(under_way.state.root)
    effects: list[Effect] = [Forget(wait) for wait in before if wait not in after]
    for wait, progress in after.items():
        if wait not in before:
            effects.append(Sleep(wait, progress.until) if isinstance(progress, Sleeping) else Listen(wait))
    if under_way.state.status is Status.RUNNING:
        effects.append(Continue())
    return tuple(effects)


def drive(
    steps: Generator[list[Evaluation], list[Any], Advance], answer: Callable[[list[Evaluation]], list[Any]]
) -> Advance:
    """Run an advance to its end with a function that answers at once."""
    answers: list[Any] | None = None
    while True:
        try:
            questions = next(steps) if answers is None else steps.send(answers)
        except StopIteration as finished:
            return _finished(finished)
        answers = answer(questions)


async def run(
    steps: Generator[list[Evaluation], list[Any], Advance],
    evaluate: Callable[[list[Evaluation]], Awaitable[list[Any]]],
) -> Advance:
    """Run an advance to its end with a function that answers later, such as the sandbox's."""
    answers: list[Any] | None = None
    while True:
        try:
            questions = next(steps) if answers is None else steps.send(answers)
        except StopIteration as finished:
            return _finished(finished)
        answers = await evaluate(questions)


def _finished(finished: StopIteration) -> Advance:
    reached: Advance = finished.value
    return reached
