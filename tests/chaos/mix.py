"""What is run: every kind of task that waits for something, and what each instance must have become in the end."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tests.cell import ADMINISTRATOR

NAMESPACE = "chaos"
SIGNAL = "chaos.go"
ANSWER = 7  # what the sender's event carries


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One definition: how often it is triggered, with what, and how its instances must end.

    `share` is relative to the others'; a kind with none is started by others alone. `inputs` makes trigger inputs,
    `output` what becomes of them (None: the instance has no output). `runs` is how many rows its history must have
    (None: that depends, on the answers to its calls or on how soon it is cancelled).
    """

    name: str
    tasks: list[dict[str, Any]]
    share: int
    inputs: Callable[[random.Random], dict[str, Any]]
    output: Callable[[Mapping[str, Any]], Any]
    status: str = "completed"
    runs: int | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The definition."""
        head = {"dsl": "1.0.3", "namespace": NAMESPACE, "name": self.name, "version": "1.0.0"}
        return {"document": head, "do": self.tasks}


def add(name: str) -> dict[str, Any]:
    """Write a task that counts one on."""
    return {name: {"set": "${ . + {n: (.n + 1)} }"}}


def chance(*of: object) -> random.Random:
    """Make choices that the same seed, and what else is named, makes again."""
    return random.Random(repr(of))  # noqa: S311 - they are to be repeatable


def number(chosen: random.Random) -> dict[str, Any]:
    """Choose a number."""
    return {"n": chosen.randrange(1000)}


def number_and_pause(chosen: random.Random) -> dict[str, Any]:
    """Choose a number, and how long to wait."""
    return {"n": chosen.randrange(1000), "pause": chosen.randrange(100, 2000)}


def more(by: int) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Expect the inputs with a larger number."""
    return lambda inputs: {**inputs, "n": inputs["n"] + by}


PAUSE = {"wait": "${ {milliseconds: .pause} }"}


def calls(port: int) -> list[dict[str, Any]]:
    """Write a loop of forks with a call that is tried again, and given up in the end."""
    request = {
        "method": "post",
        "endpoint": f"http://127.0.0.1:{port}/",
        "body": {"of": "${ $workflow.id }", "item": "${ $item }"},
    }
    ask = {"ask": {"call": "http", "with": request, "timeout": {"after": {"milliseconds": 1500}}}}
    retry = {"delay": {"milliseconds": 50}, "limit": {"attempt": {"count": 3}}}
    tried = {"try": [ask], "catch": {"retry": retry, "do": [{"giveUp": {"set": {"answer": None}}}]}}
    fork = {"fork": {"branches": [{"tried": tried}, add("beside")]}, "output": {"as": "$input"}}
    return [
        {"each": {"for": {"in": "${ [1, 2] }"}, "do": [{"both": fork}]}},
        add("after"),
    ]


def mix(port: int) -> list[Kind]:
    """List the kinds; calls go to a port."""
    listen = {
        "listen": {"to": {"one": {"with": {"type": SIGNAL}}}},
        "output": {"as": "$input + {got: .[0].n}"},
    }
    approval = {
        "call": "approval",
        "with": {"title": "Go on?", "assignees": {"users": [ADMINISTRATOR]}},
        "output": {"as": "$input + {outcome: .outcome}"},
    }
    child = {"workflow": {"namespace": NAMESPACE, "name": "child", "version": "latest", "input": "${ . }"}}
    error = {"type": "https://example.com/errors/chaos", "status": 409, "title": "As it should be"}
    return [
        Kind(
            name="sets",
            tasks=[add("one"), add("two"), add("three")],
            share=30,
            inputs=number,
            output=more(3),
            runs=3,
        ),
        Kind(
            name="pause",
            tasks=[{"sleep": PAUSE}, add("after")],
            share=15,
            inputs=number_and_pause,
            output=more(1),
            runs=2,
        ),
        Kind(
            name="listen",
            tasks=[add("before"), {"hear": listen}, add("after")],
            share=15,
            inputs=number,
            output=lambda inputs: {"n": inputs["n"] + 2, "got": ANSWER},
            runs=3,
        ),
        Kind(
            name="calls",
            tasks=calls(port),
            share=15,
            inputs=number,
            output=more(1),
        ),
        Kind(
            name="approval",
            tasks=[{"ask": approval}, add("after")],
            share=10,
            inputs=number,
            output=lambda inputs: {"n": inputs["n"] + 1, "outcome": "approve"},
            runs=2,
        ),
        Kind(
            name="parent",
            tasks=[add("before"), {"run": {"run": child}}, add("after")],
            share=10,
            inputs=number_and_pause,
            output=more(3),
            runs=3,
        ),
        Kind(
            name="child",
            tasks=[{"sleep": PAUSE}, add("after")],
            share=0,
            inputs=number_and_pause,
            output=more(1),
            runs=2,
        ),
        Kind(
            name="failure",
            tasks=[add("before"), {"fail": {"raise": {"error": error}}}],
            share=3,
            inputs=number,
            output=lambda _: None,
            status="faulted",
            runs=2,
        ),
        Kind(
            name="unwanted",
            tasks=[add("before"), {"sleep": {"wait": {"days": 1}}}],
            share=2,
            inputs=number,
            output=lambda _: None,
            status="cancelled",
        ),
    ]
