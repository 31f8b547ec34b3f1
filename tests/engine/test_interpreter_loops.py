"""`for` and `fork` by example (contract 2.5 and 2.6)."""

from datetime import timedelta
from typing import Any

import pytest

from service.engine.messages import Answered, Call, Continue, Events, Forget, Sleep
from service.engine.states import Status
from tests.engine.instances import NOON, Instance, described, fault_of, outcome, refused

# --- for ------------------------------------------------------------------------------------------------------------


def test_iterations_are_chained_and_see_the_item_and_its_index() -> None:
    definition = """
    do:
      - loop:
          for: {in: .list, each: colour, at: position}
          do:
            - add: {set: '${ . + {seen: ((.seen // []) + [[$colour, $position]])} }'}
          output: {as: .seen}
    """
    assert outcome(definition, {"list": ["red", "blue"]}) == [["red", 0], ["blue", 1]]


def test_no_items_and_no_tasks_give_the_input() -> None:
    assert outcome("do: [{a: {for: {in: .l}, do: [{b: {set: {x: 1}}}]}}]", {"l": []}) == {"l": []}
    assert outcome("do: [{a: {for: {in: .l}, do: []}}]", {"l": [1, 2]}) == {"l": [1, 2]}
    assert outcome("do: [{a: {for: {in: .l}, while: 'false', do: [{b: {set: {x: 1}}}]}}]", {"l": [1]}) == {
        "l": [1]
    }


def test_while_is_asked_before_each_iteration_with_its_input_and_variables() -> None:
    definition = """
    do:
      - loop:
          for: {in: '[10, 20, 30, 40]'}
          while: (.sum // 0) < 30 and $index < 10 and $item > 0
          do: [{add: {set: {sum: '${ (.sum // 0) + $item }'}}}]
    """
    assert outcome(definition) == {"sum": 30}


def test_inner_loops_shadow_and_outer_variables_stay_visible() -> None:
    definition = """
    do:
      - outer:
          for: {in: '[1, 2]', at: i}
          do:
            - inner:
                for: {in: '[10, 20]', at: j}
                do: [{add: {set: '${ . + [[$item, $i, $j]] }'}}]
            - after: {set: '${ . + [$item] }'}
    """
    assert outcome(definition, []) == [[10, 0, 0], [20, 0, 1], 1, [10, 1, 0], [20, 1, 1], 2]


def test_exit_ends_one_iteration_and_end_the_workflow() -> None:
    loop = """
    do:
      - loop:
          for: {in: '[1, 2]'}
          do:
            - first: {set: '${ . + [$item] }', then: THEN}
            - never: {set: '${ . + ["never"] }'}
          output: {as: '. + ["loop"]'}
      - after: {set: '${ . + ["after"] }'}
    """
    assert outcome(loop.replace("THEN", "exit"), []) == [1, 2, "loop", "after"]
    assert outcome(loop.replace("THEN", "end"), []) == [1]


@pytest.mark.parametrize("items", [None, {"a": 1}, "text", 5])
def test_what_is_looped_over_is_an_array(items: Any) -> None:
    assert fault_of("do: [{a: {for: {in: .l}, do: []}}]", {"l": items}) == ("expression", 400, "/do/0/a")


def test_a_loop_has_a_limit_of_items() -> None:
    instance = Instance("do: [{a: {for: {in: '[range(11)]'}, do: []}}]", items=10)
    assert described(instance.start()) == ("runtime", 500, "/do/0/a")


def test_the_items_are_asked_for_once_and_survive_a_wait() -> None:
    definition = """
    do:
      - loop:
          for: {in: '$context.list // [1, 2]'}
          do:
            - pause: {wait: PT1S}
            - note: {set: '${ . + [$item] }', export: {as: '{list: []}'}}
    """
    instance = Instance(definition)
    instance.start([])
    assert instance.wake(1).status is Status.WAITING
    assert instance.wake(2).output == [1, 2]
    assert [(row.name, row.iteration) for row in instance.history.values()] == [
        ("loop", None),
        ("pause", 0),
        ("note", 0),
        ("pause", 1),
        ("note", 1),
    ]


def test_iterations_without_tasks_take_turns_too() -> None:
    instance = Instance(
        "do: [{a: {for: {in: '[range(10)]'}, while: $index < 9, do: []}}]", tasks_per_advance=4
    )
    reached, advances = instance.start(), 1
    while reached.status is Status.RUNNING:
        assert reached.effects == (Continue(),)
        reached, advances = instance.take(Events(NOON)), advances + 1
    assert (reached.status, advances) == (Status.COMPLETED, 3)


def test_what_is_skipped_for_ever_has_an_end() -> None:
    definition = """
    do:
      - a:
          for: {in: '[range(100)]'}
          do: [{b: {for: {in: '[range(100)]'}, do: [{c: {if: 'false', set: .}}]}}]
    """
    instance = Instance(definition, visits_per_instance=500)
    assert described(instance.start())[0] == "runtime"
    assert len(instance.history) < 500
    assert instance.state is not None
    assert instance.state.visits == 500


# --- fork -----------------------------------------------------------------------------------------------------------


def test_branches_get_the_forks_input_and_their_outputs_are_listed_in_order() -> None:
    definition = """
    do:
      - fork:
          fork:
            branches:
              - slow: {do: [{pause: {wait: PT2S}}, {add: {set: '${ .n + 1 }'}}]}
              - fast: {wait: PT1S, output: {as: .n + 2}}
              - skipped: {if: 'false', set: {x: 1}}
              - now: {set: '${ .n + 3 }'}
    """
    instance = Instance(definition)
    reached = instance.start({"n": 1})
    assert reached.effects == (
        Sleep(1, NOON + timedelta(seconds=2)),
        Sleep(2, NOON + timedelta(seconds=1)),
    )
    assert instance.wake(2).effects == (Forget(2),)
    assert instance.wake(1).output == [2, 3, {"n": 1}, 4]


def test_a_fork_without_branches_gives_an_empty_list() -> None:
    assert outcome("do: [{a: {fork: {branches: []}}}]", {"n": 1}) == []


def test_the_first_branch_to_complete_wins_and_the_others_are_cancelled() -> None:
    definition = """
    do:
      - race:
          fork:
            compete: true
            branches:
              - tortoise: {do: [{step: {wait: PT9S}}]}
              - hare: {wait: PT1S, output: {as: '{won: true}'}}
      - next: {set: '. + {after: true}'}
    """
    instance = Instance(definition)
    instance.start()
    reached = instance.wake(2)
    assert (reached.output, reached.effects) == ({"won": True, "after": True}, (Forget(1), Forget(2)))
    assert instance.rows() == [
        ("race", "completed"),
        ("tortoise", "cancelled"),
        ("step", "cancelled"),
        ("hare", "completed"),
        ("next", "completed"),
    ]


def test_in_a_race_a_skipped_branch_counts_as_completed() -> None:
    definition = (
        "do: [{a: {fork: {compete: true, branches: [{b: {if: 'false', set: {x: 1}}}, {c: {wait: PT1S}}]}}}]"
    )
    assert outcome(definition, {"n": 1}) == {"n": 1}


@pytest.mark.parametrize("compete", ["true", "false"])
def test_an_error_in_a_branch_cancels_the_others_and_leaves_the_fork(compete: str) -> None:
    definition = """
    do:
      - fork:
          fork:
            compete: COMPETE
            branches:
              - waits: {wait: PT1H}
              - calls: {call: http, with: {method: get, endpoint: 'http://example.com'}}
    """.replace("COMPETE", compete)
    instance = Instance(definition)
    assert instance.start().effects[1] == Call(2)
    reached = instance.reply(wait=2, failure=refused())
    assert described(reached) == ("communication", 503, "/do/0/fork/fork/branches/1/calls")
    assert reached.effects == (Forget(1), Forget(2))
    assert instance.rows() == [("fork", "faulted"), ("waits", "cancelled"), ("calls", "faulted")]


def test_a_branch_that_catches_its_own_error_disturbs_nobody() -> None:
    definition = """
    do:
      - fork:
          fork:
            branches:
              - bad: {try: [{b: {raise: {error: {type: 'urn:x', status: 400}}}}], catch: {}}
              - good: {set: {x: 1}}
    """
    assert outcome(definition, {"n": 1}) == [{"n": 1}, {"x": 1}]


def test_exports_of_branches_are_applied_in_the_order_of_completion() -> None:
    definition = """
    do:
      - fork:
          fork:
            branches:
              - late: {wait: PT2S, export: {as: '$context + {late: ($context | keys)}'}}
              - early: {wait: PT1S, export: {as: '$context + {early: ($context | keys)}'}}
    output: {as: $context}
    """
    instance = Instance(definition)
    instance.start()
    instance.wake(2)
    assert instance.wake(1).output == {"early": [], "late": ["early"]}


@pytest.mark.parametrize("then", ["continue", "exit", "end"])
def test_a_then_on_a_branch_ends_the_branch_or_the_workflow(then: str) -> None:
    definition = """
    do:
      - fork: {fork: {branches: [{a: {wait: PT1S}}, {b: {set: {n: 1}, then: THEN}}]}}
      - next: {set: {after: '${ . }'}}
    """.replace("THEN", then)
    instance = Instance(definition)
    reached = instance.start()
    if then == "end":
        assert (reached.output, reached.effects) == ({"n": 1}, ())
        assert instance.rows() == [("fork", "completed"), ("a", "cancelled"), ("b", "completed")]
    else:
        assert instance.wake(1).output == {"after": [{}, {"n": 1}]}


def test_one_branch_that_takes_long_does_not_keep_the_answers_of_another() -> None:
    definition = """
    do:
      - fork:
          fork:
            branches:
              - long: {for: {in: '[range(20)]'}, do: [{s: {set: .}}]}
              - calls: {call: http, with: {method: get, endpoint: 'http://example.com'}, output: {as: .n}}
    """
    instance = Instance(definition, tasks_per_advance=30)
    reached = instance.start({})
    assert reached.status is Status.RUNNING
    reached = instance.take(Events(NOON))
    assert (reached.status, reached.effects) == (Status.WAITING, (Call(1),))
    assert instance.take(Answered(NOON, 1, {"n": 3})).output == [{}, 3]
