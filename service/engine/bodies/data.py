"""Tasks about data, order and time: `do`, `set`, `switch`, `wait` and `raise`."""

import msgspec

from service.engine.flow import Outcome, Raised, Run, Steps, length, question, raised, succeeded
from service.engine.frames import Scope, Sleeping
from service.engine.places import Entered
from service.language.document import Do, Raise, Set, Switch, Wait
from service.language.durations import until
from service.language.errors import Fault
from service.language.expressions import Evaluation, is_true, quoted
from service.language.misfits import misfit
from service.language.steps import misnamed

NO_ERROR = "What is raised is no error of the language"


def do(run: Run, entered: Entered, work: Do) -> Steps[Outcome | None]:
    """Run the tasks one after the other (2.3)."""
    frame = entered.frame
    if not isinstance(frame.progress, Scope):
        frame.progress = Scope(0, frame.input)
    return (yield from run.perform_all(work.tasks, frame.progress, entered.place))


def set_data(run: Run, entered: Entered, work: Set) -> Steps[Outcome | None]:
    """Replace the data (2.10)."""
    return Outcome((yield from run.value(entered, work.value, entered.frame.input)))


def switch(run: Run, entered: Entered, work: Switch) -> Steps[Outcome | None]:
    """Choose the `then` (2.12).

    All conditions are asked in one round trip; what comes after the first that holds does not count, failures included.
    """
    given, variables = entered.frame.input, run.sight.of(entered)
    conditional = [(case.when, case.then) for case in work.cases if case.when is not None]
    answers = (yield [Evaluation(when, given, variables) for when, _ in conditional]) if conditional else []
    for (_, then), answer in zip(conditional, answers, strict=True):
        if is_true(succeeded(answer, entered.pointer)):
            return Outcome(given, then)
    return Outcome(given, next((case.then for case in work.cases if case.when is None), None))


def wait(run: Run, entered: Entered, work: Wait) -> Steps[Outcome | None]:
    """Let time pass (2.13)."""
    frame = entered.frame
    if isinstance(frame.progress, Sleeping):
        return Outcome(frame.input) if run.woken(frame.progress.wait) else None
    asked = question(work.length, frame.input, run.sight.of(entered))
    answers = yield from run.batch({"length": asked})
    instant = until(length(work.length, answers.get("length"), entered.pointer), run.at)
    if instant <= run.at:
        return Outcome(frame.input)
    frame.progress = run.sleep(instant)
    return None


def raise_error(run: Run, entered: Entered, work: Raise) -> Steps[Outcome | None]:
    """Fault with the author's error (2.7)."""
    error = yield from run.value(entered, work.error, entered.frame.input)
    given = {name: value for name, value in error.items() if value is not None}
    try:
        authored = msgspec.convert({"instance": entered.pointer} | given, Fault)
    except msgspec.ValidationError as refused:
        wrong = misfit(str(refused))
        detail = f"`{wrong.place}` {wrong.rule}" + (
            f", the expression gave {wrong.given}." if wrong.given else "."
        )
        raise raised("expression", NO_ERROR, detail, entered.pointer) from None
    for name, value in given.items():
        meant = misnamed(name, value)
        if meant is not None:
            detail = f"`{name}` must be {meant}, the expression gave {quoted(value)}."
            raise raised("expression", NO_ERROR, detail, entered.pointer)
    raise Raised(authored)
