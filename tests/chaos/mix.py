"""What is run: every kind of task that waits for something, and what each instance must have become in the end."""

import random
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

NAMESPACE = "chaos"
SIGNAL = "chaos.go"
ANSWER = 7  # what the sender's event carries
ASK = "callOut"  # the name of every task that calls outside
Dialect = Literal["maestro", "formance", "keyfactor"]
Start = Literal["trigger", "run", "bus"]
Act = Literal["nothing", "signal", "approve", "cancel", "suspend", "restart", "delete", "sweep"]


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One definition: how often it is triggered, with what, and how its instances must end.

    `share` is relative to the others'; a kind with none is started by others alone. `inputs` makes trigger inputs,
    `output` what becomes of them (None: that is not foretold). `status` None: completed or faulted. `runs` is how many
    rows its history must have (None: that depends). `act` is what people do to its instances, in the words of `dialect`.
    """

    name: str
    dialect: Dialect = "maestro"
    definition: Any
    share: int
    inputs: Callable[[random.Random], dict[str, Any]]
    output: Callable[[Mapping[str, Any]], Any] | None = None
    status: str | None = "completed"
    runs: int | None = None
    act: Act = "nothing"
    start: Start = "trigger"
    told: bool = False  # to webhooks


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


def number_and_long_pause(chosen: random.Random) -> dict[str, Any]:
    """Choose a number, and a time to wait that is long enough for people to come."""
    return {"n": chosen.randrange(1000), "pause": chosen.randrange(1500, 4000)}


def text_and_pause(chosen: random.Random) -> dict[str, Any]:
    """Choose how long to wait, in words of Go."""
    return {"pause": f"{chosen.randrange(100, 2000)}ms"}


def more(by: int, **fields: Any) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Expect the inputs with a larger number, and further fields."""
    return lambda inputs: {**inputs, "n": inputs["n"] + by, **fields}


def nothing(_: Mapping[str, Any]) -> None:
    """Expect no output."""


PAUSE = {"wait": "${ {milliseconds: .pause} }"}
LONG = {"wait": {"days": 1}}


def document(name: str, *tasks: dict[str, Any]) -> dict[str, Any]:
    """Write a definition of the language."""
    head = {"dsl": "1.0.3", "namespace": NAMESPACE, "name": name, "version": "1.0.0"}
    return {"document": head, "do": list(tasks)}


def calls(port: int) -> list[dict[str, Any]]:
    """Write a loop of forks with a call that is tried again, and given up in the end."""
    request = {
        "method": "post",
        "endpoint": f"http://127.0.0.1:{port}/",
        "body": {"of": "${ $workflow.id }", "item": "${ $item }"},
    }
    ask = {ASK: {"call": "http", "with": request, "timeout": {"after": {"milliseconds": 1500}}}}
    retry = {"delay": {"milliseconds": 50}, "limit": {"attempt": {"count": 3}}}
    tried = {"try": [ask], "catch": {"retry": retry, "do": [{"giveUp": {"set": {"answer": None}}}]}}
    fork = {"fork": {"branches": [{"tried": tried}, add("beside")]}, "output": {"as": "$input"}}
    return [
        {"each": {"for": {"in": "${ [1, 2] }"}, "do": [{"both": fork}]}},
        add("after"),
    ]


def mix(port: int) -> list[Kind]:
    """List the kinds; calls go to a port."""
    return [*maestro(port), *formance(), *keyfactor(port)]


def maestro(port: int) -> list[Kind]:
    """List the kinds of the language."""
    listen = {
        "listen": {"to": {"one": {"with": {"type": SIGNAL}}}},
        "output": {"as": "$input + {got: .[0].n}"},
    }
    approval = {
        "call": "approval",
        "with": {"title": "Go on?", "assignees": {"roles": ["admin"]}},
        "output": {"as": "$input + {outcome: .outcome}"},
    }
    child, long_child = (
        {"workflow": {"namespace": NAMESPACE, "name": name, "version": "latest", "input": "${ . }"}}
        for name in ("child", "long-child")
    )
    error = {"type": "https://example.com/errors/chaos", "status": 409, "title": "As it should be"}
    return [
        Kind(
            name="sets",
            definition=document("sets", add("one"), add("two"), add("three")),
            share=18,
            inputs=number,
            output=more(3),
            runs=3,
        ),
        Kind(
            name="pause",
            definition=document("pause", {"sleep": PAUSE}, add("after")),
            share=10,
            inputs=number_and_pause,
            output=more(1),
            runs=2,
            told=True,
        ),
        Kind(
            name="held",
            definition=document("held", add("before"), {"sleep": PAUSE}, add("after")),
            share=5,
            inputs=number_and_long_pause,
            output=more(2),
            runs=3,
            act="suspend",
            told=True,
        ),
        Kind(
            name="listen",
            definition=document("listen", add("before"), {"hear": listen}, add("after")),
            share=10,
            inputs=number,
            output=more(2, got=ANSWER),
            runs=3,
            act="signal",
        ),
        Kind(
            name="calls",
            definition=document("calls", *calls(port)),
            share=12,
            inputs=number,
            output=more(1),
        ),
        Kind(
            name="approval",
            definition=document("approval", {"decide": approval}, add("after")),
            share=8,
            inputs=number,
            output=more(1, outcome="approve"),
            runs=2,
            act="approve",
            told=True,
        ),
        Kind(
            name="parent",
            definition=document("parent", add("before"), {"run": {"run": child}}, add("after")),
            share=8,
            inputs=number_and_pause,
            output=more(3),
            runs=3,
        ),
        Kind(
            name="child",
            definition=document("child", {"sleep": PAUSE}, add("after")),
            share=0,
            inputs=number_and_pause,
            output=more(1),
            runs=2,
        ),
        Kind(
            name="failure",
            definition=document("failure", add("before"), {"fail": {"raise": {"error": error}}}),
            share=4,
            inputs=number,
            output=nothing,
            status="faulted",
            runs=2,
            act="restart",
            told=True,
        ),
        Kind(
            name="unwanted",
            definition=document("unwanted", add("before"), {"sleep": LONG}),
            share=4,
            inputs=number,
            output=nothing,
            status="cancelled",
            act="cancel",
            told=True,
        ),
        Kind(
            name="swept",
            definition=document("swept", add("before"), {"sleep": LONG}),
            share=4,
            inputs=number,
            output=nothing,
            status="cancelled",
            act="sweep",
        ),
        Kind(
            name="unwanted parent",
            definition=document("unwanted-parent", {"run": {"run": long_child}}),
            share=3,
            inputs=number,
            output=nothing,
            status="cancelled",
            act="cancel",
        ),
        Kind(
            name="long child",
            definition=document("long-child", add("before"), {"sleep": LONG}),
            share=0,
            inputs=number,
            output=nothing,
            status="cancelled",
        ),
        Kind(
            name="forgotten",
            definition=document("forgotten", add("only")),
            share=3,
            inputs=number,
            output=more(1),
            runs=1,
            act="delete",
        ),
    ]


def formance() -> list[Kind]:
    """List the workflows of stages: started by a run, and by an event of the bus."""
    return [
        Kind(
            name="flow",
            dialect="formance",
            definition=[{"delay": {"duration": "${pause}"}}, {"wait_event": {"event": "go"}}],
            share=6,
            inputs=text_and_pause,
            act="signal",
            start="run",
        ),
        Kind(
            name="aborted flow",
            dialect="formance",
            definition=[{"noop": {}}, {"delay": {"duration": "24h"}}],
            share=3,
            inputs=text_and_pause,
            output=nothing,
            status="cancelled",
            act="cancel",
            start="run",
        ),
        Kind(
            name="bus flow",
            dialect="formance",
            definition=[{"delay": {"duration": "${pause}"}}],
            share=4,
            inputs=text_and_pause,
            start="bus",
        ),
    ]


def keyfactor(port: int) -> list[Kind]:
    """List the definitions of steps."""
    request = {
        "Verb": "POST",
        "URL": f"http://127.0.0.1:{port}/",
        "ContentType": "application/json",
        "RequestContent": '{"of": "certificate $(number)"}',
        "DataBucketProperty": "answer",
    }
    return [
        Kind(
            name="issuing",
            dialect="keyfactor",
            definition=[approval_step("signOff"), step("UpdateMetadata", "noted", Name="done", Value="yes")],
            share=5,
            inputs=number,
            act="approve",
        ),
        Kind(
            name="certificate call",
            dialect="keyfactor",
            definition=[step("RESTRequest", ASK, **request)],
            share=4,
            inputs=number,
            status=None,
            act="restart",
        ),
        Kind(
            name="stopped",
            dialect="keyfactor",
            definition=[approval_step("signOff")],
            share=3,
            inputs=number,
            output=nothing,
            status="cancelled",
            act="cancel",
        ),
    ]


def step(extension: str, name: str, **parameters: Any) -> dict[str, Any]:
    """Write a step; `chain` says what follows."""
    return {"ExtensionName": extension, "UniqueName": name, "ConfigurationParameters": parameters}


def approval_step(name: str) -> dict[str, Any]:
    """Write a step that asks administrators."""
    signals = [{"SignalName": "ApprovalStatus", "RoleIds": [1]}]
    return {**step("RequireApproval", name, MinimumApprovals=1, Title="Issue?"), "Signals": signals}


def chain(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write steps one after the other, between a start and an end."""
    whole = [step("NOOPStep", "StartNOOP"), *steps, step("NOOPStep", "EndNOOP")]
    following = [one["UniqueName"] for one in whole[1:]]
    linked = [{**one, "Outputs": {"continue": name}} for one, name in zip(whole, following, strict=False)]
    return [*linked, {**whole[-1], "Outputs": {}}]
