"""`try` with its `catch` and retries, schemas and timeouts by example (contract 2.11, 3.1, 5 and 6.2)."""

from datetime import timedelta
from typing import Any

import pytest

from service.engine.bodies.retrying import Pauses, chance_of
from service.engine.messages import Events, Expire, Forget, Sleep, Start
from service.engine.states import Status
from service.language.errors import STANDARD
from tests.engine.instances import NOON, Instance, described, fault_of, outcome, refused

SECOND = timedelta(seconds=1)
FAILS = "{raise: {error: {type: 'urn:x', status: 418, title: Teapot, detail: 'short and ${ stout }'}}}"


def trying(catch: str, failing: str = FAILS, rest: str = "") -> str:
    return (
        f"do: [{{a: {{try: [{{b: {failing}}}], catch: {catch}{rest}}}}}, {{c: {{set: '. + {{next: 1}}'}}}}]"
    )


# --- What is caught -------------------------------------------------------------------------------------------------


def test_without_an_error_the_output_is_that_of_the_list() -> None:
    assert outcome(trying("{do: [{h: {set: {x: 1}}}]}", "{set: {n: 1}}")) == {"n": 1, "next": 1}


def test_an_empty_catch_swallows_every_error() -> None:
    assert outcome(trying("{}"), {"n": 1}) == {"n": 1, "next": 1}


def test_the_handler_gets_the_tasks_input_and_sees_the_error() -> None:
    caught = outcome(
        trying("{as: e, do: [{h: {set: {e: '${ $e }', given: '${ . }'}}}]}", rest=", input: {from: .n}"),
        {"n": 1},
    )
    error = {
        "type": "urn:x",
        "status": 418,
        "title": "Teapot",
        "detail": "short and ${ stout }",
        "instance": "/do/0/a/try/0/b",
    }
    assert caught == {"e": error, "given": 1, "next": 1}


def test_a_handler_without_tasks_gives_the_tasks_input() -> None:
    assert outcome(trying("{do: []}"), {"n": 1}) == {"n": 1, "next": 1}


@pytest.mark.parametrize(
    ("catch", "caught"),
    [
        ("{errors: {with: {type: 'urn:x'}}}", True),
        ("{errors: {with: {type: 'urn:y'}}}", False),
        ("{errors: {with: {status: 418}}}", True),
        ("{errors: {with: {status: 419}}}", False),
        ("{errors: {with: {title: Teapot, type: 'urn:x'}}}", True),
        ("{errors: {with: {title: Kettle, type: 'urn:x'}}}", False),
        ("{errors: {with: {instance: /do/0/a/try/0/b}}}", True),
        ("{errors: {with: {instance: /do/0/a}}}", False),
        ("{errors: {with: {details: 'short and ${ stout }'}}}", True),
        ("{errors: {with: {details: other}}}", False),
        ("{when: .status == 418}", True),
        ("{when: $error.status == 400}", False),
        ("{as: e, exceptWhen: $e.status == 418}", False),
        ("{exceptWhen: .status == 400}", True),
        ('{when: .status == 418, exceptWhen: .title == "Teapot"}', False),
    ],
)
def test_an_error_is_caught_if_filter_and_conditions_say_so(catch: str, caught: bool) -> None:  # noqa: FBT001 - a column of the table
    if caught:
        assert outcome(trying(catch)) == {"next": 1}
    else:
        assert fault_of(trying(catch)) == ("urn:x", 418, "/do/0/a/try/0/b")


def test_standard_types_are_caught_by_any_of_their_spellings() -> None:
    for alias in (
        STANDARD + "expression",
        "https://serverlessworkflow.io/dsl/errors/types/expression",
        "http://serverlessworkflow.io.io/errors/types/expression",
    ):
        assert outcome(trying(f"{{errors: {{with: {{type: '{alias}'}}}}}}", "{set: '${ error }'}")) == {
            "next": 1
        }


def test_a_condition_that_fails_is_an_error_of_the_try_itself() -> None:
    assert fault_of(trying("{when: error}")) == ("expression", 400, "/do/0/a")
    assert fault_of(trying("{errors: {with: {status: 1}}, when: error}")) == ("urn:x", 418, "/do/0/a/try/0/b")


def test_errors_of_the_handler_leave_the_task_and_an_outer_try_may_take_them() -> None:
    handler = "{do: [{h: {raise: {error: {type: 'urn:z', status: 500}}}}]}"
    assert fault_of(trying(handler)) == ("urn:z", 500, "/do/0/a/catch/do/0/h")
    inner = f"{{try: [{{i: {FAILS}}}], catch: {handler}}}"
    assert outcome(trying("{do: [{o: {set: {caught: '${ $error.type }'}}}]}", inner)) == {
        "caught": "urn:z",
        "next": 1,
    }


def test_the_variable_of_an_inner_catch_shadows_the_outer_one() -> None:
    definition = """
    do:
      - outer:
          try: [{one: {raise: {error: {type: 'urn:one', status: 400}}}}]
          catch:
            do:
              - inner:
                  try: [{two: {raise: {error: {type: 'urn:two', status: 400}}}}]
                  catch: {do: [{seen: {set: '${ [$error.type] }'}}]}
              - both: {set: '${ . + [$error.type] }'}
    """
    assert outcome(definition) == ["urn:two", "urn:one"]


def test_the_catchs_then_applies_to_errors_only() -> None:
    catch = "{do: [{h: {set: {h: 1}}}], then: end}"
    assert outcome(trying(catch)) == {"h": 1}
    assert outcome(trying("{then: exit}"), {"n": 1}) == {"n": 1}
    assert outcome(trying(catch, "{set: {n: 1}}")) == {"n": 1, "next": 1}
    assert outcome(trying("{then: c}", rest=", then: end")) == {"next": 1}
    assert outcome(trying("{}", "{set: {n: 1}}", ", then: end")) == {"n": 1}


def test_what_was_exported_before_the_failure_stays() -> None:
    definition = """
    do:
      - a:
          try: [{one: {set: {n: 1}, export: {as: '{n: .n}'}}}, {two: {set: '${ error }'}}]
          catch: {}
    output: {as: $context}
    """
    assert outcome(definition) == {"n": 1}


def test_an_error_cancels_what_is_beside_it() -> None:
    definition = """
    do:
      - a:
          try: [{f: {fork: {branches: [{w: {wait: PT1H}}, {x: {set: '${ error }'}}]}}}]
          catch: {do: [{h: {wait: PT1S}}]}
    """
    instance = Instance(definition)
    assert instance.start().effects == (Sleep(2, NOON + SECOND),)
    assert instance.rows() == [
        ("a", "running"),
        ("f", "faulted"),
        ("w", "cancelled"),
        ("x", "faulted"),
        ("h", "running"),
    ]


# --- Retries --------------------------------------------------------------------------------------------------------


def retrying(policy: str, more: str = "") -> Instance:
    return Instance(trying(f"{{retry: {policy}{more}}}"))


def pauses(instance: Instance) -> list[float]:
    """The seconds that it waits between attempts until it faults."""
    reached, waited = instance.start(), []
    while reached.status is Status.WAITING:
        (sleep,) = [effect for effect in reached.effects if isinstance(effect, Sleep)]
        waited.append((sleep.until - instance.now).total_seconds())
        reached = instance.wake(sleep.wait, after=sleep.until - instance.now)
    assert reached.fault is not None
    return waited


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("{delay: PT2S, limit: {attempt: {count: 3}}}", [2, 2, 2]),
        ("{delay: PT2S, backoff: {constant: {}}, limit: {attempt: {count: 1}}}", [2]),
        ("{delay: PT2S, backoff: {linear: {}}, limit: {attempt: {count: 4}}}", [2, 4, 6, 8]),
        ("{delay: PT2S, backoff: {exponential: {}}, limit: {attempt: {count: 4}}}", [2, 4, 8, 16]),
        ("{delay: {milliseconds: 10}, limit: {attempt: {count: 4}}}", [0.01, 0.01, 1, 1]),
        ("{delay: PT20H, backoff: {linear: {}}, limit: {attempt: {count: 2}}}", [20 * 3600, 24 * 3600]),
        ("{limit: {attempt: {count: 3}}}", [1]),
        ("{limit: {attempt: {count: 0}}}", []),
        ("{delay: PT1S}", [1] * 10),
        ("{delay: PT2S, limit: {duration: PT5S}}", [2, 2]),
        ("{delay: PT2S, backoff: {exponential: {}}, limit: {duration: PT6S}}", [2, 4]),
        ("{delay: '${ {seconds: (.s // 4)} }', limit: {attempt: {count: 1}}}", [4]),
        ("{when: .status == 418, delay: PT1S, limit: {attempt: {count: 1}}}", [1]),
        ("{when: .status == 400, delay: PT1S, limit: {attempt: {count: 1}}}", []),
        ("{exceptWhen: $error.status == 418, delay: PT1S, limit: {attempt: {count: 1}}}", []),
    ],
)
def test_a_policy_says_how_often_and_after_which_pauses(policy: str, expected: list[float]) -> None:
    assert pauses(retrying(policy)) == expected


def test_pauses_never_pass_a_day_however_far_they_back_off() -> None:
    day = timedelta(hours=24)
    assert Pauses(timedelta(days=1800), "exponential", (day, day)).before(100, 1.0) == day
    assert Pauses(timedelta(), "constant").before(2, 0.5) == timedelta()


def test_jitter_is_the_same_for_the_same_attempt_and_differs_between_attempts() -> None:
    policy = "{delay: PT10S, jitter: {from: PT1S, to: PT3S}, limit: {attempt: {count: 5}}}"
    waited = pauses(retrying(policy))
    assert waited == pauses(retrying(policy))
    assert all(11 <= seconds <= 13 for seconds in waited)
    assert len(set(waited)) == 5
    assert 0 <= chance_of("i", "/do/0/a", 1, 1) <= 1


def test_the_whole_list_runs_again_from_the_tasks_input() -> None:
    definition = """
    do:
      - a:
          try:
            - count: {set: {n: '${ .n + 1 }'}, export: {as: '{tries: (($context.tries // 0) + 1)}'}}
            - fail: {if: $context.tries < 3, set: '${ error }'}
          catch: {retry: {delay: PT1S}}
    """
    instance = Instance(definition)
    instance.start({"n": 1})
    instance.wake(1)
    assert instance.wake(2).output == {"n": 2}
    assert [(row.name, row.status, row.attempt) for row in instance.history.values()] == [
        ("a", "completed", 1),
        ("count", "completed", 1),
        ("fail", "faulted", 1),
        ("count", "completed", 2),
        ("fail", "faulted", 2),
        ("count", "completed", 3),
        ("fail", "skipped", 3),
    ]


def test_a_used_up_retry_leads_to_the_handler_or_raises_the_last_error() -> None:
    assert fault_of(trying("{retry: {limit: {attempt: {count: 1}}}}"))[0] == "urn:x"
    assert outcome(trying("{retry: {limit: {attempt: {count: 1}}}, do: [{h: {set: {h: 1}}}]}")) == {
        "h": 1,
        "next": 1,
    }


def test_a_named_policy_is_used_like_one_of_its_own() -> None:
    definition = "use: {retries: {patient: {delay: PT7S, limit: {attempt: {count: 1}}}}}\n" + trying(
        "{retry: patient}"
    )
    assert pauses(Instance(definition)) == [7]


def test_a_second_run_that_takes_too_long_fails_like_any_other() -> None:
    definition = """
    do:
      - a:
          try: [{b: {call: http, with: {method: get, endpoint: 'http://example.com'}}}]
          catch:
            retry: {delay: PT1S, limit: {attempt: {count: 1, duration: PT5S}}}
            do: [{h: {set: '${ $error | [.type, .status, .instance] }'}}]
    """
    instance = Instance(definition)
    instance.start()
    instance.reply(wait=1, failure=refused())
    reached = instance.wake(2, after=SECOND)
    assert reached.effects[1] == Sleep(3, NOON + 6 * SECOND)
    reached = instance.wake(3, after=5 * SECOND)
    assert reached.output == [STANDARD + "timeout", 408, "/do/0/a"]
    assert instance.rows()[2] == ("b", "cancelled")
    assert {Forget(3), Forget(4)} <= set(reached.effects)


# --- Schemas --------------------------------------------------------------------------------------------------------

NUMBER = "{document: {type: number}}"


@pytest.mark.parametrize(
    ("fields", "given", "expected"),
    [
        (f"input: {{schema: {NUMBER}}}", 1, 1),
        (f"input: {{schema: {NUMBER}}}", "text", None),
        (f"input: {{schema: {NUMBER}, from: tostring}}", 1, "1"),
        (f"output: {{schema: {NUMBER}}}", "text", None),
        (f"output: {{schema: {NUMBER}, as: length}}", "text", 4),
        (f"export: {{schema: {NUMBER}, as: length}}", "text", "text"),
        (f"export: {{schema: {NUMBER}, as: .}}", "text", None),
        (f"if: 'false', input: {{schema: {NUMBER}}}", "text", "text"),
    ],
)
def test_data_has_to_fit_its_schema_at_each_step(fields: str, given: Any, expected: Any) -> None:
    definition = f"do: [{{a: {{set: ., {fields}}}}}]"
    if expected is None:
        assert fault_of(definition, given) == ("validation", 400, "/do/0/a")
    else:
        assert outcome(definition, given) == expected


def test_a_validation_error_says_what_does_not_fit() -> None:
    definition = """
    do:
      - a:
          input: {schema: {document: {properties: {n: {type: number}}, required: [m]}}}
          set: .
    """
    fault = Instance(definition).start({"n": "text"}).fault
    assert fault is not None
    assert fault.title == "The input does not fit its schema"
    assert fault.detail is not None
    assert "/n: " in fault.detail
    assert "m" in fault.detail


def test_the_context_is_replaced_only_if_it_fits() -> None:
    definition = """
    do:
      - a:
          try: [{b: {set: {n: 1}, export: {as: '{n: .n}', schema: {document: {required: [m]}}}}}]
          catch: {}
    output: {as: $context}
    """
    assert outcome(definition) == {}


def test_the_workflows_output_has_to_fit_its_schema() -> None:
    definition = f"do: []\noutput: {{schema: {NUMBER}}}"
    assert outcome(definition, 1) == 1
    assert fault_of(definition, "text") == ("validation", 400, "/output")


def test_an_input_that_nobody_has_checked_faults_at_the_workflows_input() -> None:
    definition = f"input: {{schema: {NUMBER}}}\ndo: []"
    assert described(Instance(definition).take(Start(NOON, "text", checked=False))) == (
        "validation",
        400,
        "/input",
    )
    assert Instance(definition).take(Start(NOON, 1, checked=False)).output == 1
    assert Instance(definition).take(Start(NOON, "text", checked=True)).output == "text"


def test_before_the_body_all_is_asked_in_one_round_trip_and_judged_in_order() -> None:
    definition = (
        "do: [{a: {if: .go, input: {schema: {document: {type: number}}, from: error}, timeout: {after: '${ .t }'},"
        " set: {x: 1}}}]"
    )
    instance = Instance(definition)
    assert instance.start({"go": False}).output == {"go": False}
    assert instance.asked == [4]
    assert fault_of(definition, {"go": True}) == ("validation", 400, "/do/0/a")
    assert fault_of(definition, {"go": True, "t": "PT1S"}) == ("validation", 400, "/do/0/a")


# --- Timeouts -------------------------------------------------------------------------------------------------------


def test_a_task_that_takes_too_long_faults_and_what_is_inside_is_cancelled() -> None:
    instance = Instance("do: [{a: {timeout: {after: PT5S}, do: [{b: {wait: PT1H}}]}}]")
    assert instance.start().effects == (Sleep(1, NOON + 5 * SECOND), Sleep(2, NOON + timedelta(hours=1)))
    reached = instance.wake(1, after=5 * SECOND)
    assert described(reached) == ("timeout", 408, "/do/0/a")
    assert reached.effects == (Forget(1), Forget(2))
    assert instance.rows() == [("a", "faulted"), ("b", "cancelled")]


def test_a_task_that_is_in_time_forgets_its_deadline() -> None:
    instance = Instance("do: [{a: {timeout: {after: PT5S}, wait: PT1S}}]")
    instance.start()
    assert instance.wake(2, after=SECOND).effects == (Forget(1), Forget(2))
    assert Instance("do: [{a: {timeout: {after: PT5S}, set: .}}]").start().effects == ()


def test_a_named_timeout_and_an_expression_on_the_raw_input() -> None:
    definition = """
    use: {timeouts: {named: {after: PT7S}}}
    do:
      - a: {timeout: named, wait: PT1S}
      - b: {timeout: {after: '${ .limit }'}, input: {from: '{}'}, wait: PT1S}
    """
    instance = Instance(definition)
    assert instance.start({"limit": "PT3S"}).effects[0] == Sleep(1, NOON + 7 * SECOND)
    assert instance.wake(2, after=SECOND).effects[2] == Sleep(3, NOON + 4 * SECOND)


def test_a_tasks_own_catch_does_not_take_its_timeout_but_an_enclosing_one_does() -> None:
    inner = "{timeout: {after: PT1S}, try: [{w: {wait: PT1H}}], catch: {}}"
    instance = Instance(f"do: [{{a: {inner}}}]")
    instance.start()
    assert described(instance.wake(1, after=SECOND)) == ("timeout", 408, "/do/0/a")
    instance = Instance(
        f"do: [{{o: {{try: [{{a: {inner}}}], catch: {{do: [{{h: {{set: '${{ $error.instance }}'}}}}]}}}}}}]"
    )
    instance.start()
    assert instance.wake(1, after=SECOND).output == "/do/0/o/try/0/a"


def test_an_outer_deadline_goes_before_an_inner_one_and_before_whatever_else_happened() -> None:
    definition = """
    do:
      - a:
          try:
            - outer: {timeout: {after: PT5S}, do: [{inner: {timeout: {after: PT2S}, wait: PT1S}}]}
          catch: {do: [{h: {set: '${ $error.instance }'}}]}
    """
    for late in (1, 2, 3):
        instance = Instance(definition)
        instance.start()
        assert instance.wake(late, after=9 * SECOND).output == "/do/0/a/try/0/outer"
    instance = Instance(definition)
    instance.start()
    instance.now += 9 * SECOND
    assert instance.take(Events(instance.now)).output == "/do/0/a/try/0/outer"


def test_a_deadline_includes_the_pauses_of_retries() -> None:
    definition = f"""
    do:
      - a: {{timeout: {{after: PT5S}}, try: [{{b: {FAILS}}}], catch: {{retry: {{delay: PT4S}}}}}}
    """
    instance = Instance(definition)
    instance.start()
    instance.wake(2, after=4 * SECOND)
    assert described(instance.wake(1, after=SECOND)) == ("timeout", 408, "/do/0/a")


def test_the_workflows_own_timeout_cannot_be_caught() -> None:
    instance = Instance("do: [{a: {try: [{b: {wait: PT1H}}], catch: {}}}]\ntimeout: {after: PT1S}")
    instance.start()
    assert described(instance.take(Expire(NOON + SECOND))) == ("timeout", 408, "/")
    assert instance.rows() == [("a", "cancelled"), ("b", "cancelled")]
