"""`listen` and `emit` by example (contract 2.4, 2.9 and 8)."""

from typing import Any

import pytest

from service.engine.messages import Call, Forget, Listen, Publish
from service.engine.states import Status
from service.language.cloudevents import LARGEST_EVENT, complete
from tests.engine.instances import NOON, Instance, described, fault_of


def listening(to: str, rest: str = "", **limits: int) -> Instance:
    return Instance(f"do: [{{a: {{listen: {{to: {to}}}{rest}}}}}]", **limits)


A, B, STOP = ("{with: {type: a}}", "{with: {type: b}}", "{with: {type: stop}}")


# --- Strategies -----------------------------------------------------------------------------------------------------


def test_any_ends_after_the_first_event_that_matches_one_of_the_filters() -> None:
    instance = listening(f"{{any: [{A}, {B}]}}")
    assert instance.start().effects == (Listen(1, ("a", "b")),)
    assert instance.send(type="c").changed is False
    reached = instance.send(type="b", data=1)
    assert (reached.output, reached.consumed) == ([1], (2,))


def test_any_of_nothing_takes_every_event() -> None:
    instance = listening("{any: []}")
    assert instance.start().effects == (Listen(1, (None,)),)
    assert instance.send(type="whatever", data=1).output == [1]


def test_all_ends_when_each_filter_has_its_event_in_the_order_of_arrival() -> None:
    instance = listening(f"{{all: [{A}, {B}]}}")
    assert instance.start().effects == (Listen(1, ("a", "b")),)
    reached = instance.send(type="b", data=1)
    assert (reached.status, reached.consumed) == (Status.WAITING, (1,))
    assert reached.effects == (Forget(1), Listen(2, ("a",)))
    assert instance.send(type="b", data=2).changed is False
    assert instance.send(type="a", data=3).output == [1, 3]
    assert [one.event["data"] for one in instance.inbox] == [2]


def test_one_event_serves_one_filter_of_all() -> None:
    instance = listening(f"{{all: [{A}, {A}]}}")
    instance.start()
    assert instance.send(type="a", data=1).status is Status.WAITING
    assert instance.send(type="a", data=2).output == [1, 2]


def test_until_is_asked_after_each_event_with_what_was_collected() -> None:
    instance = listening(f"{{any: [{A}], until: 'length >= 2 and (. | add) > 5'}}")
    assert instance.start().effects == (Listen(1, ("a",)),)
    assert instance.send(type="a", data=1).effects == ()
    instance.receive(type="a", data=2)
    instance.receive(type="a", data=3)
    assert instance.send(type="a", data=4).output == [1, 2, 3]
    assert [one.event["data"] for one in instance.inbox] == [4]


def test_until_may_be_events_which_are_not_in_the_output() -> None:
    instance = listening(f"{{any: [], until: {{one: {STOP}}}}}")
    assert instance.start().effects == (Listen(1, (None,)),)
    instance.send(type="a", data=1)
    instance.receive(type="stop", data="over")
    reached = instance.send(type="a", data=2)
    assert (reached.output, reached.consumed) == ([1], (2,))


def test_until_satisfied_with_nothing_gives_an_empty_list() -> None:
    instance = listening(f"{{any: [{A}], until: {{all: [{STOP}, {B}]}}}}")
    assert instance.start().effects == (Listen(1, ("stop", "b", "a")),)
    assert instance.send(type="b").effects == (Forget(1), Listen(2, ("stop", "a")))
    assert instance.send(type="stop").output == []


@pytest.mark.parametrize(
    ("wanted", "types"),
    [
        ("{type: a}", ("a",)),
        ("{type: a, subject: x}", ("a",)),
        ("{type: a.b}", ("a.b",)),
        ("{type: 'a.*'}", (None,)),
        ("{type: '${ . == \"a\" }'}", (None,)),
        ("{subject: x}", (None,)),
    ],
)
def test_who_delivers_is_told_the_types_that_are_wanted(wanted: str, types: Any) -> None:
    assert listening(f"{{any: [{B}, {{with: {wanted}}}]}}").start().effects == (
        Listen(1, types if types == (None,) else ("b", *types)),
    )


def test_a_listener_has_a_limit_of_events() -> None:
    instance = listening(f"{{any: [{A}], until: 'false'}}", items=2)
    instance.start()
    instance.send(type="a")
    instance.send(type="a")
    assert described(instance.send(type="a")) == ("runtime", 500, "/do/0/a")


def test_two_listeners_share_the_inbox_each_event_going_to_the_first_that_wants_it() -> None:
    branch = "{listen: {to: {one: {with: {type: x}}}}}"
    instance = Instance(f"do: [{{f: {{fork: {{branches: [{{a: {branch}}}, {{b: {branch}}}]}}}}}}]")
    assert instance.start().effects == (Listen(1, ("x",)), Listen(2, ("x",)))
    assert instance.send(type="x", data=1).effects == (Forget(1),)
    assert instance.send(type="x", data=2).output == [[1], [2]]


# --- Correlation ----------------------------------------------------------------------------------------------------


def correlated(key: str) -> str:
    return f"{{with: {{type: a}}, correlate: {{k: {key}}}}}"


@pytest.mark.parametrize(
    ("expect", "given", "taken"),
    [
        ("'${ .order }'", 5, True),
        ("'${ .order }'", 5.0, True),
        ("'${ .order }'", "5", False),
        ("'${ .order }'", None, False),
        ("seven", "seven", True),
        ("seven", 7, False),
    ],
)
def test_an_event_is_tied_to_the_data_of_the_instance(expect: str, given: Any, taken: bool) -> None:  # noqa: FBT001 - a column of the table
    instance = listening(f"{{one: {correlated(f'{{from: .data.id, expect: {expect}}}')}}}")
    instance.start({"order": 5})
    assert (instance.send(type="a", data={"id": given}).status is Status.COMPLETED) is taken
    assert len(instance.inbox) == (0 if taken else 1)


def test_without_an_expectation_the_first_event_settles_it_for_all_filters() -> None:
    key = "correlate: {room: {from: .roomid}}"
    instance = listening(f"{{all: [{{with: {{type: a}}, {key}}}, {{with: {{type: b}}, {key}}}]}}")
    instance.start()
    instance.send(type="a", roomid="red", data=1)
    assert instance.send(type="b", roomid="blue", data=2).changed is False
    assert instance.send(type="b", data=2).changed is False
    assert instance.send(type="b", roomid="red", data=3).output == [1, 3]


@pytest.mark.parametrize("source", [".data.x.y", "error", ".data", ".missing"])
def test_an_event_without_a_scalar_key_is_left_alone(source: str) -> None:
    instance = listening(f"{{one: {correlated(f'{{from: {source}}}')}}}")
    instance.start()
    assert instance.send(type="a", data={"x": 1}).changed is False


def test_an_expectation_that_fails_is_the_tasks_own_error() -> None:
    wanted = correlated("{from: .id, expect: '${ error }'}")
    instance = listening(f"{{one: {wanted}}}")
    instance.start()
    assert described(instance.send(type="a", id="1")) == ("expression", 400, "/do/0/a")


def test_each_activation_of_a_listener_correlates_anew() -> None:
    listen = f"listen: {{to: {{one: {correlated('{from: .data}')}}}}}"
    instance = Instance(f"do: [{{loop: {{for: {{in: '[1, 2]'}}, do: [{{l: {{{listen}}}}}]}}}}]")
    instance.start()
    instance.send(type="a", data="first")
    assert instance.send(type="a", data="second").output == ["second"]


# --- foreach --------------------------------------------------------------------------------------------------------


def test_foreach_works_on_each_event_with_the_tasks_input_and_shapes_the_elements() -> None:
    instance = listening(
        f"{{any: [{A}], until: 'length == 2'}}",
        """, foreach: {item: e, at: i, do: [{s: {set: '${ . + {e: $e, i: $i} }'}}],
            output: {as: '{got: .e, at: $i, n}'}, export: {as: '$context + {last: .got}'}}""",
    )
    instance.start({"n": 7})
    instance.send(type="a", data=1)
    reached = instance.send(type="a", data=2)
    assert reached.output == [{"got": 1, "at": 0, "n": 7}, {"got": 2, "at": 1, "n": 7}]
    assert reached.state is not None
    assert reached.state.context == {"last": 2}
    assert [(row.name, row.iteration) for row in instance.history.values()] == [
        ("a", None),
        ("s", 0),
        ("s", 1),
    ]


def test_foreach_without_tasks_shapes_the_event_itself() -> None:
    instance = listening(f"{{one: {A}}}", ", foreach: {output: {as: .n}}")
    instance.start()
    assert instance.send(type="a", data={"n": 1}).output == [1]


def test_until_sees_what_the_work_on_the_last_event_has_exported() -> None:
    instance = listening(
        f"{{any: [{A}], until: '$context.enough'}}", ", foreach: {export: {as: '{enough: (. > 1)}'}}"
    )
    instance.start()
    instance.send(type="a", data=1)
    assert instance.send(type="a", data=2).output == [1, 2]


def test_one_event_is_done_with_before_the_next_is_taken() -> None:
    call = "{c: {call: http, with: {method: get, endpoint: 'http://example.com'}, output: {as: '. + $item'}}}"
    instance = listening(f"{{all: [{A}, {B}]}}", f", foreach: {{do: [{call}]}}")
    instance.start()
    instance.receive(type="b", data=1)
    reached = instance.send(type="a", data=2)
    assert reached.consumed == (1,)
    assert reached.effects == (Forget(1), Call(2), Listen(3, ("a",)))
    reached = instance.reply(10, wait=2)
    assert reached.consumed == (2,)
    assert reached.effects == (Forget(2), Forget(3), Call(4))
    assert instance.reply(20, wait=4).output == [11, 22]


def test_an_error_in_foreach_faults_the_listener() -> None:
    instance = listening(f"{{one: {A}}}", ", foreach: {do: [{x: {set: '${ error }'}}]}")
    instance.start()
    assert described(instance.send(type="a")) == ("expression", 400, "/do/0/a/foreach/do/0/x")
    assert instance.rows() == [("a", "faulted"), ("x", "faulted")]


def test_an_element_has_to_fit_the_schema_of_foreach() -> None:
    instance = listening(f"{{one: {A}}}", ", foreach: {output: {schema: {document: {type: number}}}}")
    instance.start()
    assert described(instance.send(type="a", data="text")) == ("validation", 400, "/do/0/a")


# --- emit -----------------------------------------------------------------------------------------------------------

EMIT = "do: [{e: {emit: {event: {with: EVENT}}}}]"


def test_emit_outputs_and_publishes_the_complete_event() -> None:
    event = (
        "{source: 'https://example.com', type: greeted, data: {text: '${ \"Hello \\(.name)\" }'}, roomid: r}"
    )
    instance = Instance(EMIT.replace("EVENT", event))
    reached = instance.start({"name": "Ada"})
    assert reached.effects == (Publish(reached.output),)
    assert reached.output == {
        "specversion": "1.0",
        "id": reached.output["id"],
        "source": "https://example.com",
        "type": "greeted",
        "time": "2025-01-31T12:00:00.000Z",
        "data": {"text": "Hello Ada"},
        "roomid": "r",
    }
    assert complete(reached.output, identifier="", source="", at=NOON) == reached.output


def test_an_event_too_large_for_an_inbox_is_not_emitted() -> None:
    task = "{source: 'urn:s', type: t, data: '${ .text }'}"
    assert fault_of(EMIT.replace("EVENT", task), {"text": "x" * LARGEST_EVENT}) == (
        "validation",
        400,
        "/do/0/e",
    )


def test_each_event_has_an_id_of_its_own_and_the_authors_is_kept() -> None:
    task = "{emit: {event: {with: {source: 'urn:s', type: t}}}}"
    own = "{emit: {event: {with: {source: 'urn:s', type: t, id: mine}}}}"
    definition = f"do: [{{a: {task}}}, {{b: {task}}}, {{c: {own}}}]"
    published = [
        effect.event["id"] for effect in Instance(definition).start().effects if isinstance(effect, Publish)
    ]
    again = [
        effect.event["id"] for effect in Instance(definition).start().effects if isinstance(effect, Publish)
    ]
    assert published == again
    assert len(set(published)) == 3
    assert published[2] == "mine"


@pytest.mark.parametrize(
    "wrong", ["source: '${ null }'", "type: '${ 5 }'", "time: '${ \"noon\" }'", "extra: '${ [1] }'"]
)
def test_what_is_no_event_is_a_validation_error(wrong: str) -> None:
    fields = {"source": "source: 'urn:s'", "type": "type: t"}
    fields[wrong.partition(":")[0]] = wrong
    assert fault_of(EMIT.replace("EVENT", f"{{{', '.join(fields.values())}}}")) == (
        "validation",
        400,
        "/do/0/e",
    )


def test_what_was_emitted_is_published_even_if_the_workflow_faults_later() -> None:
    definition = EMIT.replace("EVENT", "{source: 'urn:s', type: t}").replace(
        "}}}}]", "}}}}, {x: {set: '${ error }'}}]"
    )
    reached = Instance(definition).start()
    assert reached.status is Status.FAULTED
    assert [type(effect) for effect in reached.effects] == [Publish]
