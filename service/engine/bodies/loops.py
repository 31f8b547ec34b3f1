"""`for`: the tasks once for each item (contract 2.5)."""

from service.engine.flow import Outcome, Run, Steps, raised
from service.engine.frames import Loop, Scope
from service.engine.places import Entered, in_loop
from service.language.document import For
from service.language.expressions import is_true


def iterate(run: Run, entered: Entered, work: For) -> Steps[Outcome | None]:
    """Run the tasks for each item, each iteration with the output of the one before."""
    frame = entered.frame
    if not isinstance(frame.progress, Loop):
        frame.progress = yield from _opened(run, entered, work)
    loop = frame.progress
    while loop.index < len(loop.items):
        place = in_loop(entered.place, work, loop)
        if not loop.begun:
            if not run.may_go_on(entered.pointer):
                return None
            if work.condition is not None:
                holds = yield from run.value(entered.at(place), work.condition, loop.scope.data)
                if not is_true(holds):
                    break
            loop.begun = True
        outcome = yield from run.perform_all(work.tasks, loop.scope, place)
        if outcome is None or outcome.ended:
            return outcome
        loop.index, loop.scope, loop.begun = loop.index + 1, Scope(0, outcome.output), False
    return Outcome(loop.scope.data)


def _opened(run: Run, entered: Entered, work: For) -> Steps[Loop]:
    """The items, which are asked for once."""
    given = entered.frame.input
    items = yield from run.value(entered, work.items, given)
    if not isinstance(items, list):
        detail = "`in` gives the items of the loop: an array."
        raise raised("expression", "Not an array", detail, entered.pointer)
    most = run.facts.limits.items
    if len(items) > most:
        detail = f"A `for` has at most {most} items, this one {len(items)}."
        raise raised("runtime", "Item limit", detail, entered.pointer)
    return Loop(items, 0, Scope(0, given))
