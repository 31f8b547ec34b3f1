"""`try`: tasks whose errors are caught, tried again, handled or swallowed (contract 2.11)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from service.engine.bodies.retrying import MOST_RETRIES, Pauses, chance_of
from service.engine.flow import Outcome, Raised, Run, Steps, length, question, raised, succeeded
from service.engine.frames import Scope, Sleeping, Trying
from service.engine.places import Entered, in_catch, in_try
from service.language.cloudevents import same
from service.language.document import Retry, Try
from service.language.durations import Duration, until
from service.language.errors import canonical
from service.language.expressions import Evaluation, Expression, is_true


def attempt(run: Run, entered: Entered, work: Try) -> Steps[Outcome | None]:
    """Run the tasks; after an error that is caught, pause and run them again, or handle it, or swallow it."""
    frame = entered.frame
    if not isinstance(frame.progress, Trying):
        frame.progress = Trying(Scope(0, frame.input))
    trying = frame.progress
    while True:
        if isinstance(trying.current, Sleeping):
            if not run.woken(trying.current.wait):
                return None
            yield from _try_again(run, entered, work, trying)
        elif trying.handling:
            return (yield from _handled(run, entered, work, trying))
        else:
            try:
                return (yield from _tried(run, entered, work, trying, trying.current))
            except Raised as error:
                run.cancel_within(entered)
                trying.limit = None
                caught = yield from _caught(run, entered, work, trying, error)
            if caught is not None:
                return caught


def _tried(run: Run, entered: Entered, work: Try, trying: Trying, scope: Scope) -> Steps[Outcome | None]:
    """Go on with the tasks that are tried."""
    if trying.limit is not None and run.is_due(trying.limit):
        raise raised("timeout", "Timeout", "The attempt did not complete in time.", entered.pointer)
    return (yield from run.perform_all(work.tasks, scope, in_try(entered.place, work, trying)))


def _handled(run: Run, entered: Entered, work: Try, trying: Trying) -> Steps[Outcome | None]:
    """Go on with the tasks of `catch.do`."""
    assert isinstance(trying.current, Scope)  # noqa: S101 - who handles does not pause
    place = in_try(entered.place, work, trying)
    outcome = yield from run.perform_all(work.handler or (), trying.current, place)
    return None if outcome is None else Outcome(outcome.output, work.then, outcome.ended)


def _caught(run: Run, entered: Entered, work: Try, trying: Trying, error: Raised) -> Steps[Outcome | None]:
    """Decide what follows an error: it leaves the task, the tasks run again, its handler runs, or nothing (None: go on)."""
    trying.error = msgspec.to_builtins(error.fault)
    if not _is_filtered(work.errors, trying.error):
        raise error
    answers = yield from run.batch(_questions(run, entered, work, trying))
    pointer = entered.pointer
    if not _holds(answers, "when", "exceptWhen", pointer):
        raise error
    trying.failed_at = trying.failed_at or run.at
    if work.retry is not None and _holds(answers, "retry.when", "retry.exceptWhen", pointer):
        start = _next_start(run, entered, work.retry, trying, answers)
        if start is not None:
            trying.attempt += 1
            yield from _paused(run, entered, work, trying, start)
            return None
    if work.handler is not None:
        trying.handling, trying.current = True, Scope(0, entered.frame.input)
        return None
    if work.retry is not None:
        raise error
    return Outcome(entered.frame.input, work.then)


def _is_filtered(errors: Mapping[str, Any], error: Mapping[str, Any]) -> bool:
    """Whether the error has all that the static filter names; both spellings of `detail` mean the same."""
    for name, wanted in errors.items():
        value = error.get("detail" if name == "details" else name)
        if name == "type":
            value, wanted = canonical(str(value)), canonical(str(wanted))  # noqa: PLW2901 - the form to compare
        if not same(value, wanted):
            return False
    return True


def _questions(run: Run, entered: Entered, work: Try, trying: Trying) -> dict[str, Evaluation | None]:
    """All that has to be known after an error, asked at once; what is not needed does not count, failures included."""
    variables = run.sight.of(entered.at(in_catch(entered.place, work, trying)))
    retry = work.retry
    first, last = (retry.jitter if retry else None) or (None, None)
    conditions: dict[str, Any] = {
        "when": work.when,
        "exceptWhen": work.except_when,
        "retry.when": retry and retry.when,
        "retry.exceptWhen": retry and retry.except_when,
    }
    lengths: dict[str, Any] = {
        "delay": retry and retry.delay,
        "window": retry and retry.window,
        "from": first,
        "to": last,
    }
    given = entered.frame.input
    return {
        name: question(one, dot, variables)
        for fields, dot in ((conditions, trying.error), (lengths, given))
        for name, one in fields.items()
    }


def _holds(answers: Mapping[str, Any], when: str, except_when: str, pointer: str) -> bool:
    """Whether the one condition holds and the other does not, where they are given."""
    if when in answers and not is_true(succeeded(answers[when], pointer)):
        return False
    return except_when not in answers or not is_true(succeeded(answers[except_when], pointer))


def _next_start(
    run: Run, entered: Entered, retry: Retry, trying: Trying, answers: Mapping[str, Any]
) -> datetime | None:
    """When to run the tasks again, or None when the policy's limits are reached."""
    if trying.attempt > min(retry.count, MOST_RETRIES):
        return None

    def end(name: str, given: Duration | Expression, begin: datetime) -> datetime:
        return until(length(given, answers.get(name), entered.pointer), begin)

    pauses = Pauses(end("delay", retry.delay, run.at) - run.at, retry.backoff)
    if retry.jitter is not None:
        first, last = retry.jitter
        pauses = msgspec.structs.replace(
            pauses, jitter=(end("from", first, run.at) - run.at, end("to", last, run.at) - run.at)
        )
    chance = chance_of(run.facts.instance_id, entered.task.pointer, entered.frame.number, trying.attempt)
    start = run.at + pauses.before(trying.attempt, chance)
    assert trying.failed_at is not None  # noqa: S101 - set by the failure before
    if retry.window is not None and start > end("window", retry.window, trying.failed_at):
        return None
    return start


def _paused(run: Run, entered: Entered, work: Try, trying: Trying, start: datetime) -> Steps[None]:
    """Wait for the next attempt, if there is anything to wait for."""
    if start > run.at:
        trying.current = run.sleep(start)
    else:
        yield from _try_again(run, entered, work, trying)


def _try_again(run: Run, entered: Entered, work: Try, trying: Trying) -> Steps[None]:
    """Begin an attempt, again from the task's input; its time limit counts from here."""
    trying.current = Scope(0, entered.frame.input)
    limit = None if work.retry is None else work.retry.attempt_limit
    if limit is None:
        return
    asked = question(limit, entered.frame.input, run.sight.of(entered))
    answers = yield from run.batch({"limit": asked})
    trying.limit = run.sleep(until(length(limit, answers.get("limit"), entered.pointer), run.at))
