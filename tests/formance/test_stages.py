"""Stages that move nothing, as definitions: what they wait for, what variables make of them, and what is refused."""

from datetime import timedelta
from typing import Any

import pytest

from service.engine.messages import Listen, Sleep
from service.engine.states import Status
from service.formance.stages import StagesRefused, compiled
from service.language.reading import read
from tests.engine.instances import NOON, Instance

NASTY = 'a\'b"c\\d\\(1+1)${x}$ENV{}) | error("no") # \u0001\u2028é'


def started(*stages: dict[str, Any], **variables: str) -> tuple[Instance, Any]:
    """An instance of these stages, as far as it gets by itself."""
    instance = Instance(compiled({"stages": list(stages)}))
    return instance, instance.start(variables)


def resolved(instance: Instance) -> list[Any]:
    """The stages that began, their variables filled in."""
    return [row.output for _, row in sorted(instance.history.items()) if row.name == "resolve"]


def problems(*stages: Any) -> list[tuple[int | None, str]]:
    """Where something is wrong with these stages."""
    with pytest.raises(StagesRefused) as refused:
        compiled({"stages": list(stages)})
    assert all(problem.message in str(refused.value) for problem in refused.value.problems)
    return [(problem.stage, problem.field) for problem in refused.value.problems]


# --- The definition -------------------------------------------------------------------------------------------------


def test_a_workflow_has_one_task_for_each_stage_and_keeps_what_was_sent() -> None:
    stages = [
        {"noop": {}},
        {"delay": {"duration": "${how long}", "unknown": 1}},
        {"wait_event": {"event": "go"}},
    ]
    document = compiled({"stages": stages, "name": "demo", "other": True})
    header = document["document"]
    assert (header["namespace"], header["title"], header["version"]) == ("formance", "demo", "1.0.0")
    assert header["name"].startswith("flow-")
    assert header["metadata"] == {"formance": {"name": "demo", "stages": stages}}
    assert [task.name for task in read(document).tasks] == ["noop-0", "delay-1", "wait_event-2"]
    schema = document["input"]["schema"]["document"]
    assert schema["properties"] == {"how long": {"type": "string"}}


def test_two_workflows_have_two_names() -> None:
    first, second = (compiled({"stages": []})["document"]["name"] for _ in range(2))
    assert first != second


def test_a_workflow_without_stages_or_name_is_done_at_once() -> None:
    document = compiled({"stages": []})
    assert "title" not in document["document"]
    assert document["document"]["metadata"] == {"formance": {"stages": []}}
    assert Instance(document).start().status is Status.COMPLETED


def test_a_long_name_is_kept_whole_but_for_the_title() -> None:
    document = compiled({"stages": [], "name": "n" * 1000})
    assert len(document["document"]["metadata"]["formance"]["name"]) == 1000
    assert read(document).tasks == ()


# --- delay ----------------------------------------------------------------------------------------------------------

LENGTHS: dict[str, timedelta] = {
    "1h30m": timedelta(minutes=90),
    "1.5s": timedelta(seconds=1.5),
    "+.5h": timedelta(minutes=30),
    "1.m": timedelta(minutes=1),
    "250ms": timedelta(milliseconds=250),
    "3000us": timedelta(milliseconds=3),
    "3000µs": timedelta(milliseconds=3),
    "2000000ns": timedelta(milliseconds=2),
    "1h1h": timedelta(hours=2),
}


@pytest.mark.parametrize("given", ["{}", "${length}"], ids=["known", "variable"])
@pytest.mark.parametrize(("text", "length"), LENGTHS.items(), ids=map(ascii, LENGTHS))
def test_a_delay_takes_the_length_that_it_says(text: str, length: timedelta, given: str) -> None:
    stage = {"delay": {"duration": given.replace("{}", text)}}
    instance, reached = started(stage, length=text)
    assert reached.effects == (Sleep(1, NOON + length),)
    assert resolved(instance) == [{"duration": text}]
    assert instance.wake(after=length).status is Status.COMPLETED


INSTANTS: dict[str, timedelta] = {
    "2025-01-31T12:00:01.5Z": timedelta(seconds=1.5),
    "2025-01-31T14:00:00+01:00": timedelta(hours=1),
    "2025-01-31T09:30:00-03:00": timedelta(minutes=30),
    "2025-03-01T00:00:00Z": timedelta(days=28, hours=12),
}


@pytest.mark.parametrize("given", ["{}", "${instant}"], ids=["known", "variable"])
@pytest.mark.parametrize(("text", "length"), INSTANTS.items(), ids=INSTANTS)
def test_a_delay_ends_at_the_instant_that_it_says(text: str, length: timedelta, given: str) -> None:
    instance, reached = started({"delay": {"until": given.replace("{}", text)}}, instant=text)
    assert reached.effects == (Sleep(1, NOON + length),)
    assert resolved(instance) == [{"until": text}]


@pytest.mark.parametrize("given", ["0", "-1h", "2025-01-31T12:00:00Z", "1999-12-31T23:59:59Z"])
@pytest.mark.parametrize("variable", [False, True], ids=["known", "variable"])
def test_what_is_past_is_over_at_once(given: str, *, variable: bool) -> None:
    field = "until" if "T" in given else "duration"
    _, reached = started({"delay": {field: "${when}" if variable else given}}, when=given)
    assert reached.status is Status.COMPLETED


WRONG_TIMES = [
    ("duration", "soon"),
    ("duration", "1d"),
    ("duration", "1"),
    ("duration", "1h\n"),
    ("duration", "1h" * 51),
    ("until", "2025-02-29T00:00:00Z"),
    ("until", "2025-01-31T12:00:00"),
    ("until", "2025-01-31"),
    ("until", "2025-01-31T25:00:00Z"),
]


@pytest.mark.parametrize(("field", "text"), WRONG_TIMES)
def test_what_is_no_time_is_refused_or_faults_once_it_is_known(field: str, text: str) -> None:
    assert problems({"noop": {}}, {"delay": {field: text}}) == [(1, f"delay.{field}")]
    _, reached = started({"delay": {field: "${when}"}}, when=text)
    assert reached.fault is not None
    assert reached.fault.detail is not None
    assert reached.fault.detail.startswith(f"/{field}: has to be a d")


def test_the_variable_that_comes_to_something_decides_between_two_times() -> None:
    stage = {"delay": {"duration": "${length}", "until": "${instant}"}}
    instance, reached = started(stage, instant="2025-01-31T12:00:01Z")
    assert reached.effects == (Sleep(1, NOON + timedelta(seconds=1)),)
    assert resolved(instance) == [{"until": "2025-01-31T12:00:01Z"}]
    for variables in ({}, {"length": "1s", "instant": "2025-01-31T12:00:01Z"}):
        _, reached = started(stage, **variables)
        assert reached.fault is not None
        assert reached.fault.detail == "A delay needs exactly one of duration, until."


def test_a_delay_beyond_what_timers_take_is_refused_or_faults() -> None:
    assert problems({"delay": {"duration": "43801h"}}) == [(0, "delay.duration")]
    _, reached = started({"delay": {"duration": "${d}"}}, d="9" * 90 + "h")
    assert reached.fault is not None
    assert "5 years" in str(reached.fault.detail)


# --- wait_event and variables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["go", "a.*", "a|b", NASTY], ids=["word", "pattern", "either", "nasty"])
def test_an_event_is_awaited_by_its_name_letter_by_letter(name: str) -> None:
    for stage in ({"event": "${name}"}, {"event": name}):
        if stage["event"] == NASTY:
            continue  # it holds a variable itself
        instance, reached = started({"wait_event": stage}, name=name)
        plain = name == "go" and stage["event"] == name
        assert reached.effects == (Listen(1, (name if plain else None,)),)
        own = instance.facts.instance_id
        for other in ("GO", "a.b", "a", "", f"{name} "):
            assert instance.send(type=other, subject=own).status is Status.WAITING
        for another in ({}, {"subject": "another instance"}):
            assert instance.send(type=name, **another).status is Status.WAITING
        assert instance.send(type=name, subject=own).status is Status.COMPLETED


def test_variables_are_texts_and_nothing_else() -> None:
    instance, reached = started(
        {"wait_event": {"event": "<${a}|${b}|${missing}|${}|${a}>"}}, a=NASTY, b="${a}"
    )
    assert reached.status is Status.WAITING
    assert resolved(instance) == [{"event": f"<{NASTY}|${{a}}|||{NASTY}>"}]


@pytest.mark.parametrize("key", ['a"b', "a\\(1)", " spaced ", "é", "$x", "a\nb", "${"], ids=ascii)
def test_any_text_up_to_a_brace_names_a_variable(key: str) -> None:
    instance, _ = started({"wait_event": {"event": f"is ${{{key}}}"}}, **{key: "there"})
    assert resolved(instance) == [{"event": "is there"}]


def test_what_is_no_variable_stays_as_it_is() -> None:
    texts = ["$", "${open", "$x", "{x}", "$ {x}", "}${", ".foo", "\\(1)"]
    for text in texts:
        instance, _ = started({"wait_event": {"event": text}})
        assert resolved(instance) == [{"event": text}]


def test_an_event_without_a_name_is_refused_or_faults() -> None:
    assert problems({"wait_event": {}}, {"wait_event": {"event": ""}}, {"wait_event": {"event": None}}) == [
        (index, "wait_event.event") for index in range(3)
    ]
    _, reached = started({"wait_event": {"event": "${name}"}})
    assert reached.fault is not None
    assert reached.fault.detail == "/event: is missing."


# --- What is refused ------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Any, str]] = {
    "no object": ([], ""),
    "no stages": ({}, "stages"),
    "null stages": ({"stages": None}, "stages"),
    "stages that are no list": ({"stages": {"noop": {}}}, "stages"),
    "too many stages": ({"stages": [{"noop": {}}] * 101}, "stages"),
    "a name that is no text": ({"stages": [], "name": 7}, "name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_workflow_is_refused(case: str) -> None:
    config, field = REFUSED[case]
    with pytest.raises(StagesRefused) as refused:
        compiled(config)
    assert [(problem.stage, problem.field) for problem in refused.value.problems] == [(None, field)]


def test_every_stage_that_is_wrong_is_named() -> None:
    given: list[Any] = [
        {},
        {"noop": {}, "delay": {}},
        {"all": {}},
        "noop",
        None,
        {"delay": []},
        {"delay": {"duration": 5}},
        {"delay": {"duration": "1s", "until": "2030-01-01T00:00:00Z"}},
        {"noop": {}},
        {"noop": None},
        {"delay": {"seconds": "7d"}},
    ]
    assert problems(*given) == [
        (0, ""),
        (1, ""),
        (2, ""),
        (3, ""),
        (4, ""),
        (5, "delay"),
        (6, "delay.duration"),
        (7, "delay"),
        (10, "delay"),
    ]


def test_a_text_with_variables_has_a_bound() -> None:
    assert problems({"wait_event": {"event": "${x}" + "x" * 8000}}) == [
        (0, "wait_event.event"),
    ]
    assert len(read(compiled({"stages": [{"wait_event": {"event": "${x}" + "x" * 7000}}]})).tasks) == 1


def test_the_longest_workflow_passes_the_language() -> None:
    assert len(read(compiled({"stages": [{"delay": {"duration": "${x}"}}] * 100})).tasks) == 100
