"""`listen`: go on after events (contract 2.9, 8.2 and 8.3)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from service.engine import messages
from service.engine.flow import Outcome, Run, Steps, raised, succeeded
from service.engine.frames import Listening, Scope
from service.engine.messages import InboxEvent
from service.engine.places import Entered, in_foreach
from service.language import cloudevents
from service.language.cloudevents import Filter
from service.language.document import Foreach, Listen, Strategy
from service.language.expressions import Evaluation, Expression, ExpressionFailure, is_true

EVERY_EVENT = Filter(())


class Match(NamedTuple):
    """An event that holds what an open filter demands, but for the correlation: each key's value and what is expected.

    `stops` says that the filter is one of `until`.
    """

    taken: InboxEvent
    filter: int
    stops: bool
    keys: Mapping[str, tuple[Any, Any]]


def listen(run: Run, entered: Entered, work: Listen) -> Steps[Outcome | None]:
    """Take the events that match, oldest first, until there are enough of them."""
    frame = entered.frame
    if not isinstance(frame.progress, Listening):
        frame.progress = _opened(work.to)
    listening = frame.progress
    matches: list[Match] = []
    while not listening.done or listening.item is not msgspec.UNSET:
        if listening.item is msgspec.UNSET:
            matches = matches or (yield from _matches(run, entered, work.to, listening))
            if not _take_next(run, matches, work, listening):
                break
            continue
        outcome = yield from _worked_on(run, entered, work, listening)
        if outcome is None:
            break
        if outcome.ended:
            return outcome
        if work.foreach is not None:
            matches = []  # the work may have changed the context, or taken events of its own
    else:
        return Outcome(listening.elements)
    _keep_listening(run, work.to, listening)
    return None


def _opened(to: Strategy) -> Listening:
    """Listening that has heard nothing yet."""
    stops = to.until if isinstance(to.until, Strategy) else None
    wanted = list(range(len(_filters(to))))
    return Listening(
        wait=0,
        open=wanted,
        until_open=list(range(len(_filters(stops)))) if stops else [],
        elements=[],
        keys={},
        done=not wanted,
    )


def _filters(strategy: Strategy) -> Sequence[Filter]:
    """The filters of a strategy; `any` of none takes every event."""
    return strategy.filters or ((EVERY_EVENT,) if strategy.kind == "any" else ())


def _open_filters(to: Strategy, listening: Listening) -> Iterator[tuple[int, bool, Filter]]:
    """The filters that still want events, those that stop the listening first: their events are no output."""
    if isinstance(to.until, Strategy):
        yield from ((index, True, _filters(to.until)[index]) for index in listening.until_open)
    yield from ((index, False, _filters(to)[index]) for index in listening.open)


# --- Which events match ---------------------------------------------------------------------------------------------


def _matches(run: Run, entered: Entered, to: Strategy, listening: Listening) -> Steps[list[Match]]:
    """What the open filters take of the inbox; all that only jq can tell is asked in one round trip."""
    candidates = [
        (one, index, stops, wanted)
        for one in run.inbox.values()
        for index, stops, wanted in _open_filters(to, listening)
        if cloudevents.plausible(wanted, one.event)
    ]
    if not candidates:
        return []
    variables = run.sight.of(entered)
    expected = yield from _expectations(run, entered, to, listening)
    asked = [
        cloudevents.evaluations(wanted, one.event, variables)
        + [Evaluation(key.source, one.event, variables) for key in wanted.correlations]
        for one, _, _, wanted in candidates
    ]
    together = [evaluation for each in asked for evaluation in each]
    answers = iter((yield list(together)) if together else [])
    matches = []
    for (one, index, stops, wanted), each in zip(candidates, asked, strict=True):
        own = [next(answers) for _ in each]
        conditions = len(own) - len(wanted.correlations)
        if cloudevents.matches(wanted, one.event, own[:conditions]):
            keys = {
                key.key: (value, expected.get((stops, index, key.key), msgspec.UNSET))
                for key, value in zip(wanted.correlations, own[conditions:], strict=True)
            }
            matches.append(Match(one, index, stops, keys))
    return matches


def _expectations(
    run: Run, entered: Entered, to: Strategy, listening: Listening
) -> Steps[dict[tuple[bool, int, str], Any]]:
    """What the correlation keys with `expect` must equal: a matter of the task's input, so a failure is the task's."""
    given = entered.frame.input
    wanted = {
        (stops, index, key.key): key.expect
        for index, stops, one in _open_filters(to, listening)
        for key in one.correlations
        if key.expect is not None
    }
    if not wanted:
        return {}
    variables = run.sight.of(entered)
    answers = yield [Evaluation(expect, given, variables) for expect in wanted.values()]
    return {place: succeeded(answer, entered.pointer) for place, answer in zip(wanted, answers, strict=True)}


def _is_wanted(match: Match, run: Run, listening: Listening) -> bool:
    """Whether the event is still there, its filter still open, and its keys equal what is known of them."""
    if match.taken.id not in run.inbox:
        return False
    if match.filter not in (listening.until_open if match.stops else listening.open):
        return False
    for key, (value, expected) in match.keys.items():
        if value is None or isinstance(value, ExpressionFailure | dict | list):
            return False
        known = listening.keys.get(key, value) if expected is msgspec.UNSET else expected
        if not cloudevents.same(value, known):
            return False
    return True


# --- What becomes of them -------------------------------------------------------------------------------------------


def _take_next(run: Run, matches: Sequence[Match], work: Listen, listening: Listening) -> bool:
    """Consume the oldest event that is wanted, if there is one: it stops the listening, or is worked on."""
    match = next((one for one in matches if _is_wanted(one, run, listening)), None)
    if match is None:
        return False
    run.consume(match.taken)
    listening.keys |= {key: value for key, (value, _) in match.keys.items() if key not in listening.keys}
    if match.stops:
        assert isinstance(work.to.until, Strategy)  # noqa: S101 - a filter of `until` matched
        listening.until_open.remove(match.filter)
        listening.done = work.to.until.kind != "all" or not listening.until_open
        return True
    listening.item = cloudevents.taken(match.taken.event, work.read)
    if work.to.kind == "all":
        listening.open.remove(match.filter)
        listening.done = not listening.open
    else:
        listening.done = work.to.until is None
    return True


def _worked_on(run: Run, entered: Entered, work: Listen, listening: Listening) -> Steps[Outcome | None]:
    """Make an element of the output of the event that was taken, and see whether that is enough."""
    element = listening.item
    if work.foreach is not None:
        outcome = yield from _each(run, entered, work.foreach, listening)
        if outcome is None or outcome.ended:
            return outcome
        element = outcome.output
    most = run.facts.limits.items
    if len(listening.elements) >= most:
        detail = f"A `listen` takes at most {most} events."
        raise raised("runtime", "Item limit", detail, entered.pointer)
    listening.elements.append(element)
    listening.item, listening.scope = msgspec.UNSET, None
    if isinstance(work.to.until, Expression):
        enough = yield from run.value(entered, work.to.until, list(listening.elements))
        listening.done = is_true(enough)
    return Outcome(element)


def _each(run: Run, entered: Entered, foreach: Foreach, listening: Listening) -> Steps[Outcome | None]:
    """Run the tasks of `foreach` on the event, and shape what they come to."""
    place = in_foreach(entered.place, foreach, listening)
    element = listening.item
    if foreach.tasks is not None:
        if listening.scope is None:
            listening.scope = Scope(0, entered.frame.input)
        outcome = yield from run.perform_all(foreach.tasks, listening.scope, place)
        if outcome is None or outcome.ended:
            return outcome
        element = outcome.output
    return Outcome((yield from run.conclude(entered.at(place), foreach, element)))


def _keep_listening(run: Run, to: Strategy, listening: Listening) -> None:
    """Ask for the events that are still wanted: another number whenever that changes."""
    if listening.done:
        listening.wait = 0
        return
    types = _types(to, listening)
    if listening.wait == 0 or types != listening.types:
        listening.types = types
        listening.wait = run.open(lambda wait: messages.Listen(wait, types))


def _types(to: Strategy, listening: Listening) -> tuple[str | None, ...]:
    """The literal types that the open filters want; (None,) when one of them may take any."""
    types = [_type(wanted) for _, _, wanted in _open_filters(to, listening)]
    return (None,) if None in types else tuple(dict.fromkeys(types))


def _type(wanted: Filter) -> str | None:
    """The literal type that a filter demands, if it does."""
    for one in wanted.conditions:
        if one.attribute == "type" and one.how == "equal" and isinstance(one.value, str):
            return one.value
    return None
