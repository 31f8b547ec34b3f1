"""`fork`: branches side by side (contract 2.6)."""

from service.engine.flow import Outcome, Run, Steps, succeeded
from service.engine.frames import Branches, Scope
from service.engine.places import Entered
from service.language.document import Fork
from service.language.expressions import excess


def fork(run: Run, entered: Entered, work: Fork) -> Steps[Outcome | None]:
    """Run each branch as far as it goes; wait for all of them, or for the first one to complete.

    They take turns in the order of their declaration, so the context that one exports is there for the next.
    """
    frame = entered.frame
    if not isinstance(frame.progress, Branches):
        frame.progress = Branches([Scope(0, frame.input) for _ in work.branches])
    scopes = frame.progress.scopes
    for branch, scope in zip(work.branches, scopes, strict=True):
        if scope.index:
            continue
        outcome = yield from run.perform(branch, scope, entered.place)
        if outcome is None:
            continue
        if outcome.ended or outcome.then == "end":
            return Outcome(outcome.output, ended=True)
        if work.compete:
            return Outcome(outcome.output)
        scope.index, scope.data = 1, outcome.output
    if not all(scope.index for scope in scopes):
        return None
    outputs = [scope.data for scope in scopes]
    succeeded(excess(outputs), entered.pointer)  # shared values: forks in a row would double them unseen
    return Outcome(outputs)
