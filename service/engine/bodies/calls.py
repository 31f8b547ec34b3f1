"""Tasks that somebody outside performs, `call` and `run`, and the call of a function of the definition."""

from collections.abc import Callable
from typing import Any

import msgspec

from service.engine.flow import Outcome, Raised, Run, Steps, raised
from service.engine.frames import Calling, Scope
from service.engine.messages import Answered, Ask, Begin, Call, Effect
from service.engine.places import Entered, in_function
from service.language.document import EmailCall, FunctionCall, HttpCall, PersonCall, RunWorkflow
from service.language.expressions import ExpressionFailure, shortened
from service.language.people import asked
from service.language.questions import Validation


def call_outside(run: Run, entered: Entered, _: HttpCall | EmailCall) -> Steps[Outcome | None]:
    """Have a request made or an e-mail sent; what it says is evaluated by who does it, so that no secret gets here (2.2, 7.3)."""
    yield from ()
    answered = _answered(run, entered, Call)
    return None if answered is None else Outcome(answered.value)


def run_workflow(run: Run, entered: Entered, work: RunWorkflow) -> Steps[Outcome | None]:
    """Have another workflow started and, unless it is not awaited, wait for its end (2.8)."""
    yield from ()
    answered = _answered(run, entered, Begin)
    if answered is None:
        return None
    if not work.awaited:
        return Outcome(entered.frame.input)
    return Outcome(answered.value if work.returns == "output" else None)


def ask_person(run: Run, entered: Entered, work: PersonCall) -> Steps[Outcome | None]:
    """Open a work item and wait for its decision (10.5)."""
    arguments: dict[str, Any] = {}
    if entered.frame.progress is None:
        arguments = yield from run.value(entered, work.arguments, entered.frame.input)
        yield from _checked(entered, work, arguments)
    task = entered.task
    answered = _answered(run, entered, lambda wait: Ask(wait, work.kind, task.name, task.pointer, arguments))
    return None if answered is None else Outcome(answered.value)


def _checked(entered: Entered, work: PersonCall, arguments: dict[str, Any]) -> Steps[None]:
    """Fault unless somebody can answer what is asked: nobody could where the form is no JSON Schema."""
    problems = [f"{problem.pointer}: {problem.message}" for problem in asked(work.kind, arguments)]
    if not problems and "form" in arguments:
        (answer,) = yield [Validation(arguments["form"], {})]
        if isinstance(answer, ExpressionFailure):
            problems = [f"/form: This cannot be used as a JSON Schema: {answer.detail}"]
    if problems:
        title = f"The arguments of `call: {work.kind}` are wrong"
        raise raised("validation", title, shortened("; ".join(problems)), entered.pointer)


def call_function(run: Run, entered: Entered, work: FunctionCall) -> Steps[Outcome | None]:
    """Run the function's task; its own `then` leads nowhere (2.1)."""
    frame = entered.frame
    if not isinstance(frame.progress, Scope):
        given = frame.input
        if work.arguments is not None:
            given = yield from run.value(entered, work.arguments, frame.input)
        frame.progress = Scope(0, given)
    outcome = yield from run.perform(work.function, frame.progress, in_function(entered))
    return None if outcome is None else Outcome(outcome.output, ended=outcome.ended)


def _answered(run: Run, entered: Entered, effect: Callable[[int], Effect]) -> Answered | None:
    """The answer of the outside, which is asked for the first time; a fault is this task's."""
    frame = entered.frame
    if not isinstance(frame.progress, Calling):
        frame.progress = Calling(run.open(effect))
        return None
    answered = run.answer_to(frame.progress.wait)
    if answered is not None and answered.fault is not None:
        raise Raised(msgspec.structs.replace(answered.fault, instance=entered.pointer))
    return answered
