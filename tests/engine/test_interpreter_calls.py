"""Calls, sub-workflows, people and functions by example (contract 2.1, 2.2, 2.8, 7.3 and 10.5), and the history."""

from datetime import timedelta
from typing import Any

import pytest

from service.engine.messages import Answered, Ask, Begin, Call, Expire, Forget, Sleep, TaskRun, WakeUp
from service.engine.states import Status
from service.language.errors import STANDARD, Fault, fault
from tests.engine.instances import NOON, Instance, described, fault_of, outcome, refused

SECOND = timedelta(seconds=1)
GET = "call: http, with: {method: get, endpoint: 'http://example.com/{id}'}"
RUN = "run: {workflow: {namespace: n, name: child, version: '1.0.0', input: {x: '${ .x }'}}MORE}"


# --- Calls ----------------------------------------------------------------------------------------------------------


def test_a_call_waits_for_its_answer_which_is_the_raw_output() -> None:
    instance = Instance(f"do: [{{a: {{{GET}, output: {{as: '{{got: ., sent: $input}}'}}}}}}]")
    reached = instance.start({"id": 1})
    assert (reached.status, reached.effects) == (Status.WAITING, (Call(1),))
    reached = instance.reply({"n": 2})
    assert (reached.output, reached.effects) == ({"got": {"n": 2}, "sent": {"id": 1}}, (Forget(1),))


@pytest.mark.parametrize("task", [GET, RUN.replace("MORE", "")])
def test_a_fault_of_the_outside_is_the_tasks_own(task: str) -> None:
    instance = Instance(f"do: [{{a: {{{task}}}}}]")
    instance.start()
    failure = Fault("urn:anything", 599, "Title", "Detail", "/do/9/elsewhere")
    assert instance.reply(failure=failure).fault == Fault("urn:anything", 599, "Title", "Detail", "/do/0/a")


def test_an_answer_to_something_else_changes_nothing() -> None:
    instance = Instance(f"do: [{{a: {{wait: PT1S}}}}, {{b: {{{GET}}}}}]")
    instance.start()
    assert instance.reply(wait=1).changed is False
    instance.wake(1)
    assert instance.reply(wait=1).changed is False
    assert instance.take(WakeUp(NOON, 2)).changed is False
    assert instance.reply({"ok": True}, wait=2).output == {"ok": True}
    assert instance.reply({"ok": True}, wait=2).changed is False


def test_the_performer_gets_all_that_the_arguments_may_see() -> None:
    definition = f"""
    do:
      - export: {{set: ., export: {{as: '{{shared: 1}}'}}}}
      - loop:
          for: {{in: '[5]', each: each, at: at}}
          do:
            - attempt:
                try: [{{fail: {{set: '${{ error }}'}}}}]
                catch: {{as: why, do: [{{call: {{{GET}, input: {{from: '{{id: .id}}'}}}}}}]}}
    """
    instance = Instance(definition)
    instance.start({"id": 1, "more": 2})
    pending = instance.pending()
    assert pending is not None
    assert (pending.input, pending.raw) == ({"id": 1}, {"id": 1, "more": 2})
    variables = pending.variables
    assert (variables["each"], variables["at"], variables["why"]["status"]) == (5, 0, 400)
    assert (variables["context"], variables["input"]) == ({"shared": 1}, {"id": 1})
    assert variables["task"]["input"] == {"id": 1, "more": 2}
    assert variables["workflow"]["id"] == "instance-1"
    pointer = "/do/1/loop/do/0/attempt/catch/do/0/call"
    assert (pending.task.pointer, variables["task"]["reference"]) == (pointer, pointer)
    assert pending.key == f"instance-1:{pointer}:5:1"
    assert instance.pending(2) is None


def test_each_attempt_of_a_call_has_a_key_of_its_own() -> None:
    instance = Instance(f"do: [{{a: {{try: [{{b: {{{GET}}}}}], catch: {{retry: {{delay: PT1S}}}}}}}}]")
    instance.start()
    first = instance.pending(1)
    instance.reply(wait=1, failure=refused())
    instance.wake(2, after=SECOND)
    second = instance.pending(3)
    assert first is not None
    assert second is not None
    assert (first.key, second.key) == ("instance-1:/do/0/a/try/0/b:2:1", "instance-1:/do/0/a/try/0/b:3:2")


def test_secrets_that_an_input_reads_never_get_into_the_state() -> None:
    task = "call: http, with: {method: get, endpoint: 'http://example.com'}"
    for source in ("{token: $secrets.key}", "$secrets.key", "${ $secrets.key }"):
        instance = Instance(
            f"use: {{secrets: [key]}}\ndo: [{{a: {{{task}, input: {{from: '{source}'}}, output: {{as: $input}}}}}}]"
        )
        instance.start({"n": 1})
        assert instance.asked == []
        pending = instance.pending()
        assert pending is not None
        assert (pending.input, pending.raw) == ({"n": 1}, {"n": 1})
        assert instance.reply("body").output == {"n": 1}


# --- Workflows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "answer", "expected"),
    [
        ("", {"y": 1}, {"y": 1}),
        (", return: stdout", {"y": 1}, {"y": 1}),
        (", return: none", {"y": 1}, None),
        (", await: true", 5, 5),
        (", await: false", None, {"x": 1}),
    ],
)
def test_a_child_gives_its_output_or_what_was_asked_for(more: str, answer: Any, expected: Any) -> None:
    instance = Instance(f"do: [{{a: {{{RUN.replace('MORE', more)}}}}}]")
    assert instance.start({"x": 1}).effects == (Begin(1),)
    assert instance.reply(answer).output == expected


def test_a_parent_that_runs_out_of_time_lets_its_child_go() -> None:
    instance = Instance(f"do: [{{a: {{timeout: {{after: PT1S}}, {RUN.replace('MORE', '')}}}}}]")
    assert instance.start().effects == (Sleep(1, NOON + SECOND), Begin(2))
    assert instance.wake(1, after=SECOND).effects == (Forget(1), Forget(2))


# --- People ---------------------------------------------------------------------------------------------------------


def test_people_are_asked_with_the_evaluated_arguments() -> None:
    definition = """
    do:
      - sign:
          call: approval
          with: {title: '${ "Pay \\(.sum)" }', assignees: {roles: [finance]}, minimum: 2}
          output: {as: '$input + {decision: .outcome}'}
    """
    instance = Instance(definition)
    arguments = {"title": "Pay 5", "assignees": {"roles": ["finance"]}, "minimum": 2}
    assert instance.start({"sum": 5}).effects == (Ask(1, "approval", "sign", "/do/0/sign", arguments),)
    assert instance.reply({"outcome": "approve"}).output == {"sum": 5, "decision": "approve"}


def test_arguments_that_evaluate_to_something_wrong_are_a_validation_error() -> None:
    definition = "do: [{a: {call: approval, with: {title: '${ .t }', assignees: {users: '${ .u }'}}}}]"
    instance = Instance(definition)
    reached = instance.start({"t": 5, "u": []})
    assert described(reached) == ("validation", 400, "/do/0/a")
    assert reached.fault is not None
    assert "/title" in str(reached.fault.detail)
    assert reached.effects == ()


@pytest.mark.parametrize("kind", ["form", "approval"])
@pytest.mark.parametrize(
    "form",
    [{"type": "strin"}, {"properties": 5}, {"$ref": "https://example.com/form"}, {"pattern": "("}],
    ids=["type", "properties", "elsewhere", "pattern"],
)
def test_a_computed_form_that_is_no_schema_is_a_validation_error(kind: str, form: dict[str, Any]) -> None:
    arguments = "title: t, assignees: {roles: [r]}, form: '${ .form }'"
    instance = Instance(f"do: [{{a: {{call: {kind}, with: {{{arguments}}}}}}}]")
    reached = instance.start({"form": form})
    assert described(reached) == ("validation", 400, "/do/0/a")
    assert reached.fault is not None
    assert str(reached.fault.detail).startswith("/form: ")
    assert reached.effects == ()


def test_a_computed_form_that_asks_for_something_is_asked() -> None:
    form = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string", "pattern": "^a"}},
    }
    instance = Instance(
        "do: [{a: {call: form, with: {title: t, assignees: {roles: [r]}, form: '${ .form }'}}}]"
    )
    (ask,) = instance.start({"form": form}).effects
    assert isinstance(ask, Ask)
    assert ask.arguments["form"] == form


def test_an_approval_that_takes_too_long_can_be_caught() -> None:
    ask = "call: form, with: {title: t, assignees: {roles: [r]}, form: {type: object}}, timeout: {after: P1D}"
    instance = Instance(
        f"do: [{{a: {{try: [{{b: {{{ask}}}}}], catch: {{do: [{{c: {{set: {{late: true}}}}}}]}}}}}}]"
    )
    instance.start()
    assert instance.wake(1, after=timedelta(days=1)).output == {"late": True}


# --- Functions ------------------------------------------------------------------------------------------------------


def test_a_function_runs_its_whole_pipeline_with_its_arguments_as_raw_input() -> None:
    definition = """
    use:
      functions:
        double:
          input: {from: .n}
          set: '${ {n: (. * 2), input: $input, raw: $task.input} }'
          output: {as: '. + {shaped: true}'}
          export: {as: '{exported: .n}'}
          then: exit
    do:
      - a: {call: double, with: {n: '${ .x }'}, output: {as: '. + {caller: $input}'}}
    output: {as: '[., $context]'}
    """
    shaped = {"n": 4, "input": 2, "raw": {"n": 2}, "shaped": True, "caller": {"x": 2}}
    assert outcome(definition, {"x": 2}) == [shaped, {"exported": 4}]


def test_without_arguments_a_function_gets_its_callers_input() -> None:
    definition = "use: {functions: {f: {set: '${ [.] }'}}}\ndo: [{a: {call: f, input: {from: .n}}}]"
    assert outcome(definition, {"n": 1}) == [1]


def test_a_function_that_is_skipped_gives_its_arguments() -> None:
    definition = (
        "use: {functions: {f: {if: 'false', set: {x: 1}}}}\ndo: [{a: {call: f, with: {n: '${ .n }'}}}]"
    )
    assert outcome(definition, {"n": 1}) == {"n": 1}


def test_errors_in_a_function_carry_the_pointer_of_the_call() -> None:
    definition = """
    use:
      functions:
        inner: {do: [{deep: {set: '${ error }'}}]}
        outer: {do: [{i: {call: inner}}]}
        given: {raise: {error: {type: 'urn:x', status: 400, instance: /mine}}}
    """
    assert fault_of(definition + "do: [{a: {call: outer}}]") == ("expression", 400, "/do/0/a")
    assert fault_of(definition + "do: [{a: {call: given}}]") == ("urn:x", 400, "/mine")


def test_a_function_sees_no_variables_of_its_caller_but_may_have_its_own() -> None:
    definition = """
    use:
      functions:
        f: {for: {in: '[8]', each: mine}, do: [{s: {call: http, with: {method: get, endpoint: 'http://example.com'}}}]}
    do:
      - loop: {for: {in: '[1]', each: theirs}, do: [{c: {call: f}}]}
    """
    instance = Instance(definition)
    instance.start()
    pending = instance.pending()
    assert pending is not None
    assert pending.variables["mine"] == 8
    assert "theirs" not in pending.variables
    assert instance.reply(5).output == 5
    assert instance.rows() == [
        ("loop", "completed"),
        ("c", "completed"),
        ("f", "completed"),
        ("s", "completed"),
    ]


# --- History --------------------------------------------------------------------------------------------------------


def test_a_task_that_begins_and_ends_at_once_is_one_row() -> None:
    instance = Instance("do: [{a: {input: {from: .n}, set: {x: 1}, output: {as: .x}}}]")
    (row,) = instance.start({"n": 5}).history
    assert row == TaskRun(
        number=1,
        name="a",
        kind="set",
        pointer="/do/0/a",
        status="completed",
        started_at=NOON,
        input={"n": 5},
        output=1,
        ended_at=NOON,
    )


def test_a_task_that_waits_is_a_row_at_its_begin_and_what_is_new_at_its_end() -> None:
    instance = Instance("do: [{a: {wait: PT1S}}]")
    (began,) = instance.start({"n": 5}).history
    assert (began.status, began.began, began.input, began.ended_at) == ("running", True, {"n": 5}, None)
    (ended,) = instance.wake(1, after=SECOND).history
    assert (ended.number, ended.status, ended.began) == (1, "completed", False)
    assert (ended.started_at, ended.ended_at, ended.output) == (NOON, NOON + SECOND, {"n": 5})


def test_rows_tell_errors_cancellations_and_the_skipped() -> None:
    definition = """
    do:
      - skipped: {if: 'false', set: {x: 1}}
      - badly: {if: 'error("wrong")', set: {x: 1}}
    """
    instance = Instance(definition)
    skipped, badly = instance.start({}).history
    assert (skipped.status, skipped.input, skipped.ended_at) == ("skipped", {}, NOON)
    assert (badly.status, badly.error) == (
        "faulted",
        fault("expression", "expression failed", "wrong", "/do/1/badly"),
    )
    instance = Instance("do: [{a: {do: [{b: {wait: PT1S}}]}}]\ntimeout: {after: PT1M}")
    instance.start()
    assert [(row.name, row.status, row.began) for row in instance.take(Expire(NOON + SECOND)).history] == [
        ("a", "cancelled", False),
        ("b", "cancelled", False),
    ]


def test_a_call_that_faults_leaves_the_fault_in_its_row() -> None:
    instance = Instance(f"do: [{{a: {{{GET}}}}}]")
    instance.start()
    (row,) = instance.take(Answered(NOON, 1, None, refused())).history
    assert row.error == Fault(STANDARD + "communication", 503, "Service Unavailable", None, "/do/0/a")
