"""What each kind of task does (contract 2), one function each; `BODIES` is their registry.

A body gets the task, its frame with the transformed input, and its own part of the definition. It returns the raw output,
or None when it has to wait: then the frame's `progress` says how far it is, and the same function is called again with it.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from service.engine.flow import Body, Outcome, Raised, Run, Steps
from service.engine.frames import Frame, Listening, Scope, Sleeping
from service.engine.messages import InboxEvent
from service.language import cloudevents
from service.language.document import Do, Listen, Raise, Set, Switch, Task, Wait
from service.language.durations import Duration, DurationRefused, duration, until
from service.language.errors import Fault, fault
from service.language.expressions import Evaluation, is_true


def do(run: Run, _: Task, frame: Frame, work: Do) -> Steps[Outcome | None]:
    """Run the tasks one after the other (2.3)."""
    if not isinstance(frame.progress, Scope):
        frame.progress = Scope(0, frame.input)
    return (yield from run.perform_all(work.tasks, frame.progress))


def set_data(run: Run, task: Task, frame: Frame, work: Set) -> Steps[Outcome | None]:
    """Replace the data (2.10)."""
    return Outcome((yield from run.value(task, frame, work.value, frame.input)))


def switch(run: Run, task: Task, frame: Frame, work: Switch) -> Steps[Outcome | None]:
    """Choose the `then` (2.12).

    All conditions are asked in one round trip; what comes after the first that holds does not count, failures included.
    """
    variables = run.variables(task, frame)
    conditional = [case for case in work.cases if case.when is not None]
    asked = [Evaluation(case.when, frame.input, variables) for case in conditional if case.when is not None]
    answers = (yield asked) if asked else []
    for case, answer in zip(conditional, answers, strict=True):
        if is_true(run.succeeded(task.pointer, answer)):
            return Outcome(frame.input, case.then)
    default = next((case.then for case in work.cases if case.when is None), None)
    return Outcome(frame.input, default)


def wait(run: Run, task: Task, frame: Frame, work: Wait) -> Steps[Outcome | None]:
    """Let time pass (2.13)."""
    if isinstance(frame.progress, Sleeping):
        return Outcome(frame.input) if run.woken(frame.progress.wait) else None
    length = work.length
    if not isinstance(length, Duration):
        length = evaluated_duration((yield from run.value(task, frame, length, frame.input)), task.pointer)
    instant = until(length, run.at)
    if instant <= run.at:
        return Outcome(frame.input)
    frame.progress = Sleeping(run.new_wait(), instant)
    return None


def evaluated_duration(value: Any, pointer: str) -> Duration:
    """The duration that an expression gave (6.1)."""
    try:
        return duration(value)
    except DurationRefused as refused:
        raise Raised(fault("validation", "Not a duration", str(refused), pointer)) from None


def listen(run: Run, task: Task, frame: Frame, work: Listen) -> Steps[Outcome | None]:
    """Take the oldest event of the inbox that matches, or wait for one (2.9)."""
    taken = yield from first_match(run, task, frame, work)
    if taken is not None:
        run.consume(taken)
        return Outcome([cloudevents.taken(taken.event, work.read)])
    if frame.progress is None:
        frame.progress = Listening(run.new_wait())
    return None


def first_match(run: Run, task: Task, frame: Frame, work: Listen) -> Steps[InboxEvent | None]:
    """The oldest event that the filter takes; what only jq can tell about all of them is asked in one round trip."""
    candidates = [one for one in run.inbox if cloudevents.plausible(work.one, one.event)]
    variables = run.variables(task, frame) if candidates else {}
    asked = [cloudevents.evaluations(work.one, one.event, variables) for one in candidates]
    together = [evaluation for each in asked for evaluation in each]
    answers = iter((yield together) if together else [])
    for candidate, each in zip(candidates, asked, strict=True):
        if cloudevents.matches(work.one, candidate.event, [next(answers) for _ in each]):
            return candidate
    return None


def raise_error(run: Run, task: Task, frame: Frame, work: Raise) -> Steps[Outcome | None]:
    """Fault with the author's error (2.7)."""
    error = yield from run.value(task, frame, work.error, frame.input)
    given = {name: value for name, value in error.items() if value is not None}
    try:
        raised = msgspec.convert({"instance": task.pointer} | given, Fault)
    except msgspec.ValidationError as refused:
        raise Raised(fault("expression", "Not an error", str(refused), task.pointer)) from None
    raise Raised(raised)


BODIES: Mapping[type, Body] = {
    Do: do,
    Set: set_data,
    Switch: switch,
    Wait: wait,
    Listen: listen,
    Raise: raise_error,
}
