"""What a definition does when it runs, by example: data, conditions, order, waiting and limits (contract 2 to 4).

Loops, errors, events and calls have files of their own beside this one.
"""

import base64
import json
from datetime import timedelta
from typing import Any

import pytest

from service.engine.interpreter import advance, drive, run
from service.engine.messages import (
    Continue,
    Events,
    Expire,
    Facts,
    Forget,
    Listen,
    Sleep,
    Start,
    Stimulus,
    WakeUp,
)
from service.engine.states import Status
from service.language.errors import STANDARD
from service.language.questions import Question
from tests.engine.instances import NOON, RUNTIME, Instance, answer, fault_of, outcome


def executed(instance: Instance) -> int:
    """How many tasks ran."""
    return sum(row.status != "skipped" for row in instance.history.values())


# --- Lists and data -------------------------------------------------------------------------------------------------


def test_a_workflow_without_tasks_outputs_its_input() -> None:
    assert outcome("do: []", {"a": 1}) == {"a": 1}


def test_each_task_gets_the_output_of_the_one_before() -> None:
    definition = """
    do:
      - one: {set: {n: '${ .n + 1 }'}}
      - two: {do: [{three: {set: {n: '${ .n * 10 }'}}}, {four: {set: {n: '${ .n + 5 }'}}}]}
      - five: {set: '{sum: .n}'}
    """
    assert outcome(definition, {"n": 1}) == {"sum": 25}


def test_set_replaces_the_data_and_evaluates_only_whole_strings() -> None:
    definition = """
    do:
      - a:
          set:
            text: Hello ${ .name }
            bare: .name
            list: [1, '${ .name }', {deep: '${ .name | length }'}]
            '${ .name }': key
    """
    assert outcome(definition, {"name": "Ada", "other": 1}) == {
        "text": "Hello ${ .name }",
        "bare": ".name",
        "list": [1, "Ada", {"deep": 3}],
        "${ .name }": "key",
    }


def test_what_an_expression_gives_is_never_evaluated_again() -> None:
    assert outcome("do: [{a: {set: {x: '${ .evil }'}}}]", {"evil": "${ 1 + 1 }"}) == {"x": "${ 1 + 1 }"}


def test_a_workflow_outputs_any_value() -> None:
    assert outcome("do: [{a: {set: '${ .n }'}}]", {"n": 1}) == 1
    assert outcome("do: [{a: {set: '${ null }'}}]") is None
    assert outcome("do: [{a: {set: '${ first(1, 2) }'}}]") == 1
    assert outcome("do: [{a: {set: '${ 1, error(\"late\") }'}}]") == 1


def test_integers_beyond_64_bits_survive() -> None:
    assert outcome("do: [{a: {set: {x: '${ .n }'}}}]", {"n": 2**100}) == {"x": 2**100}


def test_data_is_transformed_step_by_step() -> None:
    definition = """
    input: {from: .order}
    do:
      - total:
          input: {from: '{list: .lines}'}
          set: {sum: '${ .list | add }', seen: '${ $input }'}
          output: {as: '{total: .sum, raw: $task.output.seen.list, given: $task.input.lines}'}
          export: {as: '$context + {before: $context, total: .total, same: ($output == .)}'}
      - next: {set: {data: '${ . }', context: '${ $context }'}}
    output: {as: {result: '${ . }', total: '${ $context.total }', input: '${ $workflow.input }'}}
    """
    given = {"order": {"lines": [1, 2]}}
    total = {"total": 3, "raw": [1, 2], "given": [1, 2]}
    assert outcome(definition, given) == {
        "result": {"data": total, "context": {"before": {}, "total": 3, "same": True}},
        "total": 3,
        "input": given,
    }


def test_the_context_changes_only_when_the_task_has_ended() -> None:
    definition = """
    do:
      - outer:
          do:
            - inner: {set: '$context', export: {as: '{x: 1}'}}
            - later: {set: '${ [., $context] }'}
          export: {as: '$context + {y: .}'}
    output: {as: $context}
    """
    assert outcome(definition) == {"x": 1, "y": [{}, {"x": 1}]}


def test_expressions_know_the_task_the_workflow_and_the_runtime() -> None:
    definition = """
    do:
      - about:
          metadata: {unit: m}
          set:
            task: '${ $task | [.name, .reference, .input, .definition.metadata.unit, (has("output") | not)] }'
            workflow: '${ $workflow | [.id, .input, .definition.document.name] }'
            runtime: ${ $runtime }
            started: ${ $task.startedAt }
            again: '${ $workflow.startedAt.iso8601 | fromdate == $workflow.startedAt.epoch.seconds }'
    """
    instance = Instance(definition)
    instance.now = NOON + timedelta(milliseconds=1500)
    assert instance.start({"n": 1}).output == {
        "task": ["about", "/do/0/about", {"n": 1}, "m", True],
        "workflow": ["instance-1", {"n": 1}, "sample"],
        "runtime": RUNTIME,
        "started": {
            "iso8601": "2025-01-31T12:00:01Z",
            "epoch": {"seconds": 1738324801, "milliseconds": 1738324801500},
        },
        "again": True,
    }


def test_identities_and_constants_are_never_asked_for() -> None:
    instance = Instance("do: [{a: {do: [], input: {from: .}, output: {as: '${ . }'}}}]")
    instance.start()
    assert instance.asked == []


# --- Conditions -----------------------------------------------------------------------------------------------------


def test_a_task_whose_condition_fails_is_skipped_with_all_its_steps() -> None:
    definition = """
    do:
      - guarded:
          if: .go
          input: {from: '{}'}
          set: {did: run}
          output: {as: error}
          export: {as: error}
          then: end
      - last: {set: '. + {last: true}'}
    """
    instance = Instance(definition)
    reached = instance.start({"go": None})
    assert reached.output == {"go": None, "last": True}
    assert instance.rows() == [("guarded", "skipped"), ("last", "completed")]
    assert (executed(instance), reached.last_completed_step) == (1, (2, "last"))


@pytest.mark.parametrize(
    ("value", "runs"), [(0, True), ("", True), ([], True), (False, False), (None, False)]
)
def test_truth_is_jqs(value: Any, runs: bool) -> None:  # noqa: FBT001 - a column of the table
    assert (outcome("do: [{a: {if: .x, set: {ran: true}}}]", {"x": value}) == {"ran": True}) is runs


# --- Flow -----------------------------------------------------------------------------------------------------------

COLOURS = """
do:
  - choose:
      switch:
        - other: {then: fallback}
        - red: {when: .colour == "red", then: stop}
        - green: {when: '${ .colour == "green" }', then: go}
        - never: {when: .colour.x, then: end}
      then: exit
  - stop: {set: {did: stop}, then: end}
  - go: {set: {did: go}, then: exit}
  - fallback: {set: {did: fallback}}
  - after: {set: '. + {after: true}'}
"""


@pytest.mark.parametrize(
    ("colour", "expected"),
    [("red", {"did": "stop"}), ("green", {"did": "go"}), (None, {"did": "fallback", "after": True})],
)
def test_switch_takes_the_first_case_that_holds_or_the_default(colour: str | None, expected: Any) -> None:
    assert outcome(COLOURS, {"colour": colour}) == expected


def test_cases_after_the_one_that_holds_do_not_count_and_all_are_asked_at_once() -> None:
    instance = Instance(COLOURS)
    instance.start({"colour": "red"})
    assert instance.asked[0] == 3
    assert fault_of(COLOURS, {"colour": "blue"}) == ("expression", 400, "/do/0/choose")


def test_without_a_matching_case_the_tasks_own_then_applies() -> None:
    case = "do: [{a: {switch: [{x: {when: .x, then: c}}], then: THEN}}, {b: {set: {b: 1}}}, {c: {set: '. + {c: 1}'}}]"
    assert outcome(case.replace("THEN", "exit"), {"n": 1}) == {"n": 1}
    assert outcome(case.replace("THEN", "continue")) == {"b": 1, "c": 1}
    assert outcome(case.replace("THEN", "exit"), {"x": 1}) == {"x": 1, "c": 1}
    assert outcome("do: [{a: {switch: [{x: {then: continue}}], then: end}}, {b: {set: {b: 1}}}]") == {"b": 1}


NESTED = """
do:
  - outer:
      do:
        - inner: {set: {inner: 1}, then: THEN, output: {as: '. + {own: 1}'}}
        - skipped: {set: {skipped: 1}}
      output: {as: '. + {closed: 1}'}
      export: {as: '{exported: 1}'}
      then: last
  - between: {set: {between: 1}}
  - last: {set: '. + {last: 1}'}
output: {as: '. + $context'}
"""


def test_exit_completes_the_list_and_the_enclosing_task_goes_on() -> None:
    expected = {"inner": 1, "own": 1, "closed": 1, "last": 1, "exported": 1}
    assert outcome(NESTED.replace("THEN", "exit")) == expected


def test_end_completes_the_workflow_from_any_depth() -> None:
    reached = Instance(NESTED.replace("THEN", "end")).start()
    assert reached.output == {"inner": 1, "own": 1}
    assert reached.last_completed_step == (1, "outer")


def test_jumps_lead_backwards_and_forwards_within_a_list() -> None:
    definition = """
    do:
      - count: {set: '. + {n: (.n + 1)}'}
      - more: {switch: [{less: {when: .n < 5, then: count}}], then: finish}
      - never: {set: {never: 1}}
      - finish: {set: {n: '${ .n }'}}
    """
    instance = Instance(definition)
    assert (instance.start({"n": 0}).output, executed(instance)) == ({"n": 5}, 11)


def test_progress_is_the_root_task_that_ended_last() -> None:
    definition = """
    do:
      - a: {do: [{deep: {set: {}}}, {hold: {wait: PT1S}}], if: 'true'}
      - b: {wait: PT1S, then: d}
      - c: {set: {x: 1}}
      - d: {wait: PT1S}
    """.replace("set: {}", "set: .")
    instance = Instance(definition)
    reached = [instance.start(), *(instance.wake(wait) for wait in (1, 2, 3))]
    assert [one.last_completed_step for one in reached] == [None, (1, "a"), (2, "b"), (4, "d")]
    assert [one.current_step for one in reached] == ["a", "b", "d", None]


# --- Waiting --------------------------------------------------------------------------------------------------------


def test_wait_sleeps_until_its_timer_fires_and_keeps_the_data() -> None:
    instance = Instance("do: [{a: {wait: {hours: 2}, output: {as: '{n: .n, waited: true}'}}}]")
    reached = instance.start({"n": 1})
    assert (reached.status, reached.changed) == (Status.WAITING, True)
    assert reached.effects == (Sleep(1, NOON + timedelta(hours=2)),)
    reached = instance.wake(1, after=timedelta(hours=2))
    assert (reached.status, reached.effects) == (Status.COMPLETED, (Forget(1),))
    assert reached.output == {"n": 1, "waited": True}


def test_a_waiting_task_remembers_when_it_started_and_what_it_was_given() -> None:
    definition = """
    do:
      - a:
          input: {from: .x}
          wait: '${ {days: .days} }'
          output: {as: '[., $input, $task.input, $task.startedAt.iso8601]'}
    """
    instance = Instance(definition)
    assert instance.start({"x": {"days": 1}}).effects == (Sleep(1, NOON + timedelta(days=1)),)
    given = {"days": 1}
    assert instance.wake(after=timedelta(days=1)).output == [
        given,
        given,
        {"x": given},
        "2025-01-31T12:00:00Z",
    ]


def test_a_wait_of_nothing_does_not_wait() -> None:
    assert outcome("do: [{a: {wait: PT0S}}, {b: {wait: '${ .t }'}}]", {"t": {"seconds": 0}}) == {
        "t": {"seconds": 0}
    }


@pytest.mark.parametrize("value", ["soon", {"days": -1}, 5, None])
def test_a_wait_that_evaluates_to_no_duration_is_a_validation_error(value: Any) -> None:
    assert fault_of("do: [{a: {wait: '${ .t }'}}]", {"t": value}) == ("validation", 400, "/do/0/a")


def test_a_stimulus_that_does_not_apply_changes_nothing() -> None:
    instance = Instance("do: [{a: {wait: PT1S}}, {b: {listen: {to: {one: {with: {type: x}}}}}}]")
    assert instance.take(WakeUp(NOON, 1)).changed is False
    assert instance.take(Expire(NOON)).status is Status.PENDING
    instance.start()
    stale: list[Stimulus] = [Start(NOON, {}), WakeUp(NOON, 2), Events(NOON)]
    for stimulus in stale:
        reached = instance.take(stimulus)
        assert (reached.changed, reached.effects, reached.status) == (False, (), Status.WAITING)
    instance.wake(1)
    assert instance.wake(1).changed is False
    assert instance.wake(2).changed is False  # wait 2 is a listener, which no timer wakes
    assert instance.send(type="x").status is Status.COMPLETED
    for stimulus in [*stale, WakeUp(NOON, 1), Expire(NOON)]:
        assert instance.take(stimulus).changed is False


def test_the_sequence_counts_the_advances_that_changed_something() -> None:
    instance = Instance("do: [{a: {wait: PT1S}}, {b: {wait: PT1S}}]")
    sequences = []
    for stimulus in (Start(NOON, {}), WakeUp(NOON, 1), WakeUp(NOON, 1), WakeUp(NOON, 2)):
        instance.take(stimulus)
        assert instance.state is not None
        sequences.append(instance.state.sequence)
    assert sequences == [1, 2, 2, 3]


@pytest.mark.parametrize(
    "task",
    [
        "{do: [{b: {do: [{c: {do: [{d: {wait: PT1S}}]}}]}}]}",
        "{for: {in: '[1, 2]'}, do: [{b: {do: [{c: {wait: PT1S}}]}}]}",
        "{fork: {branches: [{b: {wait: PT1S}}, {c: {do: [{d: {wait: PT1S}}]}}]}}",
        "{try: [{b: {try: [{c: {wait: PT1S}}], catch: {}}}], catch: {}}",
        "{try: [{b: {set: '${ error(1) }'}}], catch: {do: [{c: {wait: PT1S}}]}}",
        "{listen: {to: {any: []}}, foreach: {do: [{b: {do: [{c: {wait: PT1S}}]}}]}}",
    ],
)
def test_a_value_is_stored_once_however_deep_it_is_passed(task: str) -> None:
    instance = Instance(f"do: [{{a: {task}}}]")
    instance.receive()
    assert instance.start({"text": "x" * 10_000}).status is Status.WAITING
    assert instance.encoded is not None
    assert 10_000 < len(instance.encoded) < 12_000


# --- Listening ------------------------------------------------------------------------------------------------------


def listening(wanted: str, read_as: str = "data") -> Instance:
    return Instance(
        "do: [{a: {listen: {to: {one: {with: WANTED}}, read: READ}}}]".replace("WANTED", wanted).replace(
            "READ", read_as
        )
    )


def test_listen_waits_for_its_event_and_outputs_a_list_of_its_data() -> None:
    instance = listening("{type: thing.done}")
    assert instance.start().effects == (Listen(1, ("thing.done",)),)
    other = instance.send(type="thing.begun")
    assert (other.changed, other.consumed) == (False, ())
    reached = instance.send(data={"n": 1})
    assert (reached.output, reached.consumed, reached.effects) == ([{"n": 1}], (2,), (Forget(1),))


def test_an_event_that_came_before_is_taken_at_once_oldest_first() -> None:
    instance = Instance(
        "do: [{a: {listen: {to: {one: {with: {type: thing.done}}}}}}, {b: {set: {got: '${ .[0] }'}}}]"
    )
    instance.receive(type="other")
    instance.receive(data="first")
    instance.receive(data="second")
    reached = instance.start()
    assert (reached.output, reached.consumed, reached.effects) == ({"got": "first"}, (2,), ())


def test_one_advance_may_feed_several_listening_tasks_each_event_once() -> None:
    task = "{listen: {to: {one: {with: {type: thing.done}}}}, export: {as: '{seen: (($context.seen // []) + .)}'}}"
    instance = Instance(f"do: [{{a: {task}}}, {{b: {task}}}, {{c: {task}}}]\noutput: {{as: $context.seen}}")
    instance.receive(data=1)
    assert instance.start().effects == (Listen(1, ("thing.done",)),)
    instance.receive(data=2)
    reached = instance.send(data=3)
    assert (reached.output, reached.consumed) == ([1, 2, 3], (2, 3))


@pytest.mark.parametrize(
    ("read_as", "event", "expected"),
    [
        ("data", {}, None),
        ("data", {"data_base64": "AAE="}, "AAE="),
        ("envelope", {"data": 1}, {"type": "thing.done", "data": 1}),
        ("raw", {"data": {"a": "é"}}, base64.b64encode('{"a":"é"}'.encode()).decode()),
        ("raw", {"data": "text"}, base64.b64encode(b'"text"').decode()),
        (
            "raw",
            {"data": "text", "datacontenttype": "text/plain; charset=utf-8"},
            base64.b64encode(b"text").decode(),
        ),
        ("raw", {"data_base64": "AAE="}, "AAE="),
        ("raw", {}, ""),
    ],
)
def test_listen_reads_data_the_envelope_or_the_raw_payload(read_as: str, event: Any, expected: Any) -> None:
    instance = listening("{type: thing.done}", read_as)
    instance.start()
    assert instance.send(**event).output == [expected]


@pytest.mark.parametrize(
    ("wanted", "event", "taken"),
    [
        ("{type: thing.done, subject: x}", {"subject": "x"}, True),
        ("{type: thing.done, subject: x}", {}, False),
        ("{type: 'thing\\..*'}", {}, True),
        ("{type: 'thing'}", {}, False),
        ("{type: 'hing.done|thing'}", {}, False),
        ("{type: 'thing.done$'}", {}, True),
        ("{subject: 'a(b'}", {"subject": "a(b"}, True),
        ("{subject: 'a(b'}", {"subject": "a"}, False),
        ("{subject: '\\(.x)'}", {"subject": "(ax)"}, False),
        ("{attempt: 2}", {"attempt": 2}, True),
        ("{attempt: 1}", {"attempt": True}, False),
        ("{attempt: '[0-9]'}", {"attempt": 1}, False),
        ("{data: '${ .n > 3 }'}", {"data": {"n": 4}}, True),
        ("{data: '${ .n > 3 }'}", {"data": {"n": 3}}, False),
        ("{data: '${ .n > 3 }'}", {"data": "no object"}, False),
        ("{subject: '${ $input.wanted }'}", {"subject": "mine"}, True),
        ("{subject: '${ $input.wanted }'}", {"subject": "yours"}, False),
        ("{data: {a: {b: 1}}}", {"data": {"a": {"b": 1.0, "c": 2}, "d": 3}}, True),
        ("{data: {a: {b: 1}}}", {"data": {"a": {"c": 2}}}, False),
        ("{data: {a: {b: 1}}}", {"data": {"a": 1}}, False),
        ("{data: {a: 1}}", {"data": 1}, False),
        ("{data: {a: '${ .b }'}}", {"data": {"a": 5, "b": 5}}, True),
        ("{data: {a: '${ .b.c }'}}", {"data": {"a": 5, "b": 5}}, False),
        ("{data: [1, {x: 2}]}", {"data": [1, {"x": 2}]}, True),
        ("{data: [1, {x: 2}]}", {"data": [1, {"x": 2, "y": 3}]}, False),
        ("{data: [1, 2]}", {"data": [1]}, False),
        ("{data: null}", {"data": None}, True),
        ("{data: null}", {}, False),
    ],
)
def test_a_filter_takes_an_event_when_every_attribute_matches(wanted: str, event: Any, taken: bool) -> None:  # noqa: FBT001 - a column of the table
    instance = listening(wanted)
    instance.start({"wanted": "mine"})
    assert (instance.send(**event).status is Status.COMPLETED) is taken


def test_all_candidates_are_judged_in_one_round_trip() -> None:
    instance = listening("{type: thing.done, data: '${ .n > 3 }'}")
    instance.receive(type="other", data={"n": 9})
    for number in (1, 4, 5):
        instance.receive(data={"n": number})
    assert instance.start().output == [{"n": 4}]
    assert instance.asked == [3]


# --- Errors ---------------------------------------------------------------------------------------------------------


def test_raise_faults_with_the_authors_error_at_its_own_pointer() -> None:
    definition = """
    do:
      - outer:
          do:
            - refuse:
                raise:
                  error:
                    type: https://serverlessworkflow.io/errors/types/compliance
                    status: 451
                    title: ${ "No \\(.what)" }
                    detail: ${ .missing }
    """
    instance = Instance(definition)
    reached = instance.start({"what": "sale"})
    assert reached.fault is not None
    assert (reached.fault.type, reached.fault.status) == (
        "https://serverlessworkflow.io/errors/types/compliance",
        451,
    )
    assert (reached.fault.title, reached.fault.detail) == ("No sale", None)
    assert reached.fault.instance == "/do/0/outer/do/0/refuse"
    assert instance.rows() == [("outer", "faulted"), ("refuse", "faulted")]


def test_a_named_error_is_raised_with_the_data_of_the_place() -> None:
    definition = """
    use: {errors: {refused: {type: 'urn:refused', status: 403, detail: '${ .why }', instance: /elsewhere}}}
    do: [{a: {raise: {error: refused}}}]
    """
    reached = Instance(definition).start({"why": "because"})
    assert reached.fault is not None
    assert (reached.fault.detail, reached.fault.instance) == ("because", "/elsewhere")


def test_an_error_whose_fields_evaluate_to_the_wrong_type_is_an_expression_error() -> None:
    definition = "do: [{a: {raise: {error: {type: '${ .t }', status: 400}}}}]"
    assert fault_of(definition, {"t": 5}) == ("expression", 400, "/do/0/a")
    assert fault_of(definition, {"t": None}) == ("expression", 400, "/do/0/a")


@pytest.mark.parametrize(
    ("field", "value", "detail"),
    [
        ("type", 5, "`type` must be a string, the expression gave a number."),
        ("type", None, "`type` is missing."),
        ("type", "notauri", '`type` must be an absolute URI, the expression gave "notauri".'),
        ("detail", 5, "`detail` must be a string, the expression gave a number."),
        ("title", ["a"], "`title` must be a string, the expression gave an array."),
        ("instance", "a/b", '`instance` must be a JSON Pointer, the expression gave "a/b".'),
    ],
)
def test_an_evaluated_error_is_held_against_the_rules_of_a_literal_one(
    field: str, value: Any, detail: str
) -> None:
    fields = {"type": "urn:x", field: "${ .given }"}
    definition = f"do: [{{a: {{raise: {{error: {json.dumps(fields | {'status': 400})}}}}}}}]"
    reached = Instance(definition).start({"given": value})
    assert reached.fault is not None
    assert reached.fault.type == STANDARD + "expression"
    assert (reached.fault.title, reached.fault.detail) == (
        "What is raised is no error of the language",
        detail,
    )


@pytest.mark.parametrize(
    "field", ["if: '{F}'", "input: {from: '{F}'}", "output: {as: '{F}'}", "export: {as: '{F}'}"]
)
@pytest.mark.parametrize("failing", ["error", ".a.b", "empty"])
def test_an_expression_that_fails_faults_its_task(field: str, failing: str) -> None:
    definition = "do: [{a: {set: {a: 1}, FIELD}}]".replace("FIELD", field.replace("{F}", failing))
    assert fault_of(definition, {"a": 1}) == ("expression", 400, "/do/0/a")


def test_the_workflows_own_expressions_fault_at_their_place() -> None:
    assert fault_of("input: {from: error}\ndo: []") == ("expression", 400, "/input")
    assert fault_of("do: []\noutput: {as: error}") == ("expression", 400, "/output")
    assert fault_of("do: []\ntimeout: {after: '${ error }'}") == ("expression", 400, "/timeout")
    assert fault_of("do: []\ntimeout: {after: '${ 5 }'}") == ("validation", 400, "/timeout")


def test_a_fault_after_a_wait_ends_the_instance_and_forgets_the_timer() -> None:
    instance = Instance("do: [{a: {wait: PT1S, output: {as: error}}}]")
    instance.start()
    reached = instance.wake()
    assert (reached.status, reached.changed, reached.effects) == (Status.FAULTED, True, (Forget(1),))


# --- Limits ---------------------------------------------------------------------------------------------------------


def test_the_workflows_timeout_is_an_absolute_time_and_faults_the_instance() -> None:
    instance = Instance("do: [{a: {do: [{b: {wait: PT2H}}]}}]\ntimeout: {after: '${ .limit }'}")
    assert instance.start({"limit": "PT1H"}).expires_at == NOON + timedelta(hours=1)
    reached = instance.take(Expire(NOON + timedelta(hours=1)))
    assert (reached.status, reached.effects) == (Status.FAULTED, (Forget(1),))
    assert reached.fault is not None
    assert (reached.fault.type, reached.fault.status, reached.fault.instance) == (
        STANDARD + "timeout",
        408,
        "/",
    )
    assert instance.rows() == [("a", "cancelled"), ("b", "cancelled")]


def test_deadline_and_input_are_evaluated_in_one_round_trip() -> None:
    instance = Instance("do: []\ninput: {from: .x}\ntimeout: {after: '${ .limit }'}")
    assert instance.start({"x": 1, "limit": "P1D"}).output == 1
    assert instance.asked == [2]


COUNTING = """
do:
  - count: {set: {n: '${ .n + 1 }'}}
  - more: {if: .n < 4, set: ., then: count}
"""


def test_a_long_advance_hands_over_to_another_job() -> None:
    instance = Instance(COUNTING, tasks_per_advance=3)
    reached = instance.start({"n": 0})
    advances = 1
    while reached.status is Status.RUNNING:
        assert reached.effects == (Continue(),)
        reached = instance.take(Events(NOON))
        advances += 1
    assert (reached.status, reached.output, advances) == (Status.COMPLETED, {"n": 4}, 3)


def test_an_advance_without_time_makes_one_step() -> None:
    instance = Instance(COUNTING)
    facts = Facts("i", RUNTIME, time_is_up=lambda: True)
    reached = drive(advance(instance.definition, None, Start(NOON, {"n": 0}), facts), answer)
    assert (reached.status, [row.name for row in reached.history]) == (Status.RUNNING, ["count"])


def test_an_instance_that_executes_too_many_tasks_faults() -> None:
    endless = "do: [{a: {set: ., then: a}}]"
    instance = Instance(endless, tasks_per_advance=4, tasks_per_instance=8)
    reached = instance.start()
    while reached.status is Status.RUNNING:
        reached = instance.take(Events(NOON))
    assert reached.fault is not None
    assert (reached.fault.type, reached.fault.instance) == (STANDARD + "runtime", "/do/0/a")
    assert executed(instance) == 8


async def test_the_worker_answers_later() -> None:
    instance = Instance("do: [{a: {set: '${ .n + 1 }'}}, {b: {set: {x: '${ . }'}}}]")

    async def answers(questions: list[Question]) -> list[Any]:
        return answer(questions)

    start = Start(NOON, {"n": 1})
    reached = await run(advance(instance.definition, None, start, Facts("i", RUNTIME)), answers)
    assert reached.output == {"x": 2}
