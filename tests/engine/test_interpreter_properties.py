"""What holds for every definition and whatever happens to its instances (contract 10.7).

Definitions of all kinds of tasks and stimuli are made up; nothing here says what a task does.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.frames import Calling, waits
from service.engine.interpreter import advance, drive
from service.engine.messages import (
    Answered,
    Ask,
    Begin,
    Call,
    Continue,
    Events,
    Expire,
    Forget,
    Listen,
    Sleep,
    Start,
    Stimulus,
    WakeUp,
)
from service.engine.states import Status
from service.language.errors import fault
from tests.engine.instances import HEADER, NOON, Instance, answer

USE = {
    "functions": {
        "count": {"set": "${ {n: ((.n? // 0) + 1)} }", "if": "(.n? // 0) < 5"},
        "careful": {
            "try": [{"t0": {"call": "http", "with": {"method": "get", "endpoint": "http://example.com"}}}],
            "catch": {
                "retry": {"delay": "PT1S", "limit": {"attempt": {"count": 1}}},
                "do": [{"t0": {"call": "count"}}],
            },
        },
    },
    "secrets": ["key"],
}

SCHEMA = {"document": {"type": "object"}}
CALL = {"method": "get", "endpoint": "http://example.com/{n}"}
CHILD = {"workflow": {"namespace": "n", "name": "c", "version": "latest"}}
PEOPLE = {"title": "Title", "assignees": {"roles": ["r"]}}

PIECES: list[dict[str, Any]] = [
        {"set": {"n": "${ (.n? // 0) + 1 }"}},
        {"set": "${ {n: 2, c: $context} }", "export": {"as": "$context + {n: .n}"}},
        {"set": ".", "then": "exit"},
        {"set": {"deep": {"n": 1}}, "then": "end", "if": "(.n? // 0) > 2"},
        {"set": "[1, 2]", "output": {"schema": SCHEMA}, "if": ".n? == 2"},
        {"set": {"n": 3}, "input": {"schema": SCHEMA}, "export": {"as": "{n: .n}", "schema": SCHEMA}},
        {"wait": "PT5S"},
        {"wait": {"minutes": 1}, "input": {"from": "{n: .n?}"}, "if": "(.n? // 0) < 3"},
        {"wait": "PT1S", "output": {"as": "error"}, "if": ".n? == 2"},
        {"wait": "PT30S", "timeout": {"after": "PT3S"}},
        {"listen": {"to": {"one": {"with": {"type": "x"}}}}, "output": {"as": "{n: .[0]}"}},
        {"listen": {"to": {"one": {"with": {"type": "[xy]", "data": "${ . > 1 }"}}}, "read": "envelope"}},
        {"listen": {"to": {"all": [{"with": {"type": "x"}}, {"with": {"type": "y"}}]}}, "timeout": {"after": "PT9S"}},
        {"listen": {"to": {"any": [{"with": {"type": "x"}, "correlate": {"k": {"from": ".data"}}}], "until": "length > 1"}}},
        {"listen": {"to": {"any": [], "until": {"one": {"with": {"type": "z"}}}}}, "foreach": {"export": {"as": "{e: .}"}}},
        {"emit": {"event": {"with": {"source": "urn:s", "type": "t", "data": "${ . }"}}}},
        {"emit": {"event": {"with": {"source": "urn:s", "type": "${ .n? }"}}}, "if": ".n? == 1"},
        {"switch": [{"a": {"when": ".n? == 1", "then": "exit"}}, {"b": {"then": "continue"}}]},
        {"switch": [{"a": {"when": ".n? == 3", "then": "t0"}}]},
        {"raise": {"error": {"type": "urn:x", "status": 400}}, "if": ".n? == 4"},
        {"raise": {"error": {"type": "urn:x", "status": 400}}},
        {"call": "http", "with": CALL},
        {"call": "http", "with": CALL, "input": {"from": "{n: .n?, s: $secrets.key}"}, "timeout": {"after": "PT4S"}},
        {"call": "count"},
        {"call": "careful", "with": {"n": "${ .n? }"}},
        {"call": "approval", "with": PEOPLE},
        {"run": CHILD},
        {"run": {**CHILD, "await": False}},
        {"run": {**CHILD, "return": "none"}},
    ]  # fmt: skip


def listed(tasks: Sequence[Any]) -> list[dict[str, Any]]:
    return [{f"t{index}": task} for index, task in enumerate(tasks)]


def branches(tasks: Sequence[Any]) -> list[dict[str, Any]]:
    """Branches lead nowhere but on or to the end."""
    return listed([task if "switch" not in task else {"set": "."} for task in tasks])


RETRY = {
    "delay": "PT1S",
    "backoff": {"exponential": {}},
    "limit": {"attempt": {"count": 2, "duration": "PT6S"}},
}


def around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Tasks with the tasks that `inner` gives inside."""
    some = st.lists(inner, max_size=3)
    lists, forked = some.map(listed), some.map(branches)
    competing = st.lists(inner, min_size=1, max_size=3).map(branches)
    catches = st.sampled_from(
        [
            {},
            {"retry": RETRY},
            {"when": ".status == 400"},
            {"errors": {"with": {"status": 503}}, "then": "exit"},
        ]
    )
    return st.one_of(
        lists.map(lambda tasks: {"do": tasks}),
        lists.map(lambda tasks: {"do": tasks, "timeout": {"after": "PT7S"}}),
        lists.map(lambda tasks: {"for": {"in": "[1, 2]"}, "do": tasks}),
        lists.map(lambda tasks: {"for": {"in": "[1, 2, 3]", "at": "i"}, "while": "$i < 2", "do": tasks}),
        forked.map(lambda tasks: {"fork": {"branches": tasks}}),
        competing.map(lambda tasks: {"fork": {"branches": tasks, "compete": True}}),
        st.builds(lambda tasks, catch: {"try": tasks, "catch": catch}, lists, catches),
        st.builds(lambda tasks, done: {"try": tasks, "catch": {"retry": RETRY, "do": done}}, lists, lists),
        lists.map(
            lambda tasks: {
                "listen": {"to": {"any": [{"with": {"type": "x"}}], "until": "length > 1"}},
                "foreach": {"do": tasks, "output": {"as": "[., $item]"}},
            }
        ),
    )


TASKS = st.recursive(st.integers(0, len(PIECES) - 1).map(PIECES.__getitem__), around, max_leaves=6)
DEFINITIONS = st.lists(TASKS, min_size=1, max_size=4).map(
    lambda tasks: {"document": HEADER, "use": USE, "do": listed(tasks)}
)
MOVES = st.lists(
    st.tuples(st.just("wake"), st.integers(0, 5))
    | st.tuples(st.just("answer"), st.integers(0, 5), st.sampled_from([{"n": 1}, [2], "fault", None]))
    | st.tuples(st.sampled_from("xyz"), st.integers(0, 3))
    | st.just(("late", 4))
    | st.just(("expire", 0)),
    max_size=12,
)


def stimulus_of(move: Any, instance: Instance) -> Stimulus:
    """What the move means here; timers and answers are for one of the waits that there are, or for none."""
    instance.now += timedelta(seconds=1)
    known = sorted(waits(instance.state.root)) if instance.state else []
    kind, choice, *more = move
    wait = known[choice] if choice < len(known) else choice
    match kind:
        case "wake":
            return WakeUp(instance.now, wait)
        case "answer":
            if more == ["fault"]:
                return Answered(instance.now, wait, fault=fault("communication", "Away", None, "/", 503))
            return Answered(instance.now, wait, more[0])
        case "expire":
            return Expire(instance.now)
        case "late":
            instance.now += timedelta(seconds=choice)
            return Events(instance.now)
    instance.receive(type=kind, data=choice)
    return Events(instance.now)


@given(DEFINITIONS, MOVES)
@settings(max_examples=250, deadline=None)
def test_advancing_is_deterministic_durable_and_harmless_when_repeated(
    definition: Any, moves: list[Any]
) -> None:
    instance = Instance(definition, tasks_per_advance=7, tasks_per_instance=40)
    opened: set[int] = set()
    for move in [None, *moves]:
        stimulus = Start(NOON, {"n": 0}) if move is None else stimulus_of(move, instance)
        before = instance.encoded
        first = drive(advance(instance.definition, instance.state, stimulus, instance.facts), answer)
        second = drive(advance(instance.definition, instance.state, stimulus, instance.facts), answer)
        assert first == second
        assert instance.encoded == before

        reached = instance.take(stimulus)
        assert (reached.status is Status.RUNNING) == (Continue() in reached.effects) or not reached.changed
        keep_account(opened, reached.effects)
        assert instance.state is not None
        under_way = waits(instance.state.root)
        assert opened == set(under_way)
        for wait, progress in under_way.items():
            assert (instance.pending(wait) is not None) is isinstance(progress, Calling)
        check_history(instance)
        if not isinstance(stimulus, Events) or reached.status is not Status.RUNNING:
            assert instance.take(stimulus).changed is False


def keep_account(opened: set[int], effects: Sequence[Any]) -> None:
    """Every wait is opened once, and forgotten once."""
    for effect in effects:
        if isinstance(effect, Sleep | Listen | Call | Begin | Ask):
            assert effect.wait not in opened
            opened.add(effect.wait)
        elif isinstance(effect, Forget):
            opened.remove(effect.wait)


def check_history(instance: Instance) -> None:
    """Every number has its row, a row has an end or is running, and no row of an ended instance runs."""
    assert instance.state is not None
    assert sorted(instance.history) == list(range(1, instance.state.runs + 1))
    for row in instance.history.values():
        assert (row.ended_at is None) is (row.status == "running")
        assert not (instance.state.status.terminal and row.status == "running")
        assert (row.error is not None) is (row.status == "faulted")


@given(DEFINITIONS)
@settings(max_examples=100, deadline=None)
def test_where_an_advance_stops_makes_no_difference(definition: Any) -> None:
    """One task per job, or all in one: the same history and the same end."""
    results = []
    for limit in (1, 1_000):
        instance = Instance(definition, tasks_per_advance=limit, tasks_per_instance=30)
        instance.receive(type="x", data=5)
        reached = instance.start({"n": 0})
        while reached.status is Status.RUNNING:
            reached = instance.take(Events(NOON))
        history = [(row.number, row.pointer, row.status) for _, row in sorted(instance.history.items())]
        results.append((history, reached.status, reached.output, reached.fault, instance.inbox))
    assert results[0] == results[1]
