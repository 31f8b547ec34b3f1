"""The situations of the specification's conformance kit, in definitions of our own.

https://github.com/serverlessworkflow/specification/tree/main/ctk/features: all but those of `call: openapi`, which is refused.
Requests are answered from a table, by the URI that the endpoint's template comes to.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest

from service.engine.messages import Pending
from service.engine.states import Status
from service.language.document import HttpCall
from service.language.errors import STANDARD, Fault
from tests.engine.instances import Instance, refused

SHOP = "https://shop.example.com"
BOOKS = {
    f"{SHOP}/books/1": {"id": 1, "title": "Momo", "state": "lent"},
    f"{SHOP}/books/2": {"id": 2, "title": "Emil", "state": "there"},
    f"{SHOP}/books?state=there": [{"id": 2, "title": "Emil", "state": "there"}],
    f"{SHOP}/members/ada%20l/s3cret": {"member": True},
}


def requested(pending: Pending) -> Any:
    """What the shop answers, as the task's `output` wants it."""
    work = pending.task.work
    assert isinstance(work, HttpCall)
    assert work.template is not None
    uri = "".join(
        quote(str(pending.input[part]), safe="") if index % 2 else part
        for index, part in enumerate(work.template.parts)
    )
    if uri not in BOOKS:
        return refused(404, "Not Found")
    content = BOOKS[uri]
    if work.output == "content":
        return content
    request = {"method": work.method, "uri": uri, "headers": {}}
    return {"request": request, "statusCode": 200, "headers": {}, "content": content}


def played(definition: str, given: Any = None) -> tuple[Any, Fault | None, list[str]]:
    """The output or the fault of a workflow, and the names of its tasks in the order in which they started."""
    instance = Instance(definition)
    reached = instance.call(requested, instance.start(given))
    assert reached.status in {Status.COMPLETED, Status.FAULTED}
    ran = [row.name for _, row in sorted(instance.history.items()) if row.status != "skipped"]
    return reached.output, reached.fault, ran


GROW = "set: {{steps: '${{ .steps + [\"{0}\"] }}'}}"
ONE, TWO, THREE = (GROW.format(name) for name in ("one", "two", "three"))

COMPLETES: Mapping[str, tuple[str, Any, Any, list[str]]] = {
    "do: sub-tasks in order": (
        f"do: [{{all: {{do: [{{a: {{{ONE}}}}}, {{b: {{{TWO}}}}}, {{c: {{{THREE}}}}}]}}}}]",
        None,
        {"steps": ["one", "two", "three"]},
        ["all", "a", "b", "c"],
    ),
    "flow: implicit sequence": (
        f"do: [{{a: {{{ONE}}}}}, {{b: {{{TWO}}}}}, {{c: {{{THREE}}}}}]",
        None,
        {"steps": ["one", "two", "three"]},
        ["a", "b", "c"],
    ),
    "flow: explicit sequence": (
        f"do: [{{a: {{{ONE}, then: b}}}}, {{c: {{{THREE}, then: end}}}}, {{b: {{{TWO}, then: c}}}}]",
        None,
        {"steps": ["one", "two", "three"]},
        ["a", "b", "c"],
    ),
    "set: literals and expressions": (
        "do: [{a: {set: {kind: fixed, size: '${ .wanted.size }', list: [1, '${ .wanted.n }']}}}]",
        {"wanted": {"size": {"width": 3}, "n": 2}},
        {"kind": "fixed", "size": {"width": 3}, "list": [1, 2]},
        ["a"],
    ),
    "for: named item, default index, chained": (
        """
        do:
          - loop:
              for: {each: name, in: .names}
              do: [{mark: {set: {done: '${ {names: (.done.names + [$name]), at: (.done.at + [$index])} }'}}}]
        """,
        {"names": ["x", "y", "z"]},
        {"done": {"names": ["x", "y", "z"], "at": [0, 1, 2]}},
        ["loop", "mark", "mark", "mark"],
    ),
    "fork: all branches": (
        f"do: [{{f: {{fork: {{branches: [{{a: {{{ONE}}}}}, {{b: {{{TWO}}}}}]}}}}}}]",
        None,
        [{"steps": ["one"]}, {"steps": ["two"]}],
        ["f", "a", "b"],
    ),
    "switch: a case matches": (
        f"""
        do:
          - choose: {{switch: [{{x: {{when: .k == "x", then: a}}}}, {{y: {{when: .k == "y", then: b}}}}]}}
          - a: {{{ONE}, then: end}}
          - b: {{{TWO}, then: end}}
        """,
        {"k": "y"},
        {"steps": ["two"]},
        ["choose", "b"],
    ),
    "switch: implicit default": (
        f'do: [{{choose: {{switch: [{{x: {{when: .k == "x", then: a}}}}], then: end}}}}, {{a: {{{ONE}}}}}]',
        {"k": "z"},
        {"k": "z"},
        ["choose"],
    ),
    "switch: explicit default": (
        f"""
        do:
          - choose: {{switch: [{{x: {{when: .k == "x", then: a}}}}, {{other: {{then: b}}}}]}}
          - a: {{{ONE}}}
          - b: {{set: {{steps: '${{ .steps + [$input.k] }}'}}}}
        """,
        {"k": "z"},
        {"steps": ["z"]},
        ["choose", "b"],
    ),
    "data flow: input.from": (
        "do: [{a: {input: {from: .user.id}, set: {member: '${ . }'}}}]",
        {"user": {"id": "u-1"}},
        {"member": "u-1"},
        ["a"],
    ),
    "data flow: output.as of a call": (
        f"do: [{{a: {{call: http, with: {{method: get, endpoint: {{uri: '{SHOP}/books/{{book}}'}}}}, output: {{as: .id}}}}}}]",
        {"book": 1},
        1,
        ["a"],
    ),
    "data flow: output that is no object": (
        f"""
        do:
          - a: {{call: http, with: {{method: get, endpoint: {{uri: '{SHOP}/books/{{book}}'}}}}, output: {{as: .id}}}}
          - b: {{call: http, with: {{method: get, endpoint: '{SHOP}/books/2'}}, output: {{as: '{{ids: [$input, .id]}}'}}}}
        """,
        {"book": 1},
        {"ids": [1, 2]},
        ["a", "b"],
    ),
    "call http: content, template in the query": (
        f"do: [{{a: {{call: http, with: {{method: get, endpoint: {{uri: '{SHOP}/books?state={{s}}'}}}}, output: {{as: '.[0]'}}}}}}]",
        {"s": "there"},
        {"id": 2, "title": "Emil", "state": "there"},
        ["a"],
    ),
    "call http: the whole response": (
        f"do: [{{a: {{call: http, with: {{method: get, endpoint: {{uri: '{SHOP}/books/{{b}}'}}, output: response}}}}}}]",
        {"b": 2},
        {
            "request": {"method": "GET", "uri": f"{SHOP}/books/2", "headers": {}},
            "statusCode": 200,
            "headers": {},
            "content": {"id": 2, "title": "Emil", "state": "there"},
        },
        ["a"],
    ),
    "call http: basic authentication": (
        f"""
        do:
          - login:
              call: http
              with:
                method: get
                endpoint:
                  uri: {SHOP}/members/{{name}}/{{password}}
                  authentication: {{basic: {{username: '${{ .name }}', password: '${{ .password }}'}}}}
        """,
        {"name": "ada l", "password": "s3cret"},
        {"member": True},
        ["login"],
    ),
}


@pytest.mark.parametrize("situation", COMPLETES)
def test_a_workflow_completes_with_its_output_in_its_order(situation: str) -> None:
    definition, given, expected, order = COMPLETES[situation]
    assert played(definition, given) == (expected, None, order)


def test_fork_with_compete_outputs_the_winner_alone() -> None:
    definition = f"do: [{{f: {{fork: {{compete: true, branches: [{{a: {{{ONE}}}}}, {{b: {{{TWO}}}}}]}}}}}}]"
    output, _, _ = played(definition)
    assert list(output) == ["steps"]
    assert len(output["steps"]) == 1


def test_emit_outputs_an_event_with_everything_it_needs() -> None:
    definition = """
    do:
      - tell:
          emit:
            event:
              with: {source: 'https://shop.example.com', type: com.example.lent.v1, data: {text: '${ "For \\(.who)" }'}}
    """
    output, _, _ = played(definition, {"who": "Ada"})
    assert output.keys() == {"id", "specversion", "time", "source", "type", "data"}
    assert (output["source"], output["type"]) == (SHOP, "com.example.lent.v1")
    assert output["data"] == {"text": "For Ada"}


def test_raise_faults_with_the_error_and_where_it_is() -> None:
    kind = "https://serverlessworkflow.io/errors/types/compliance"
    definition = f"do: [{{no: {{raise: {{error: {{status: 400, type: '{kind}', title: Not allowed}}}}}}}}]"
    assert played(definition)[1] == Fault(kind, 400, "Not allowed", None, "/do/0/no")


TRIES = f"""
do:
  - look:
      try: [{{find: {{call: http, with: {{method: get, endpoint: {{uri: '{SHOP}/titles/{{title}}'}}}}}}}}]
      catch:
        errors:
          with: {{type: https://serverlessworkflow.io/dsl/errors/types/communication, status: STATUS}}
        as: err
        do: [{{handle: {{set: {{error: '${{ $err }}'}}}}}}]
"""


def test_a_failed_call_is_caught_and_handled() -> None:
    output, fault, order = played(TRIES.replace("STATUS", "404"), {"title": "Momo"})
    assert fault is None
    assert output == {
        "error": {
            "type": STANDARD + "communication",
            "status": 404,
            "title": "Not Found",
            "instance": "/do/0/look/try/0/find",
        }
    }
    assert order == ["look", "find", "handle"]


def test_a_failed_call_of_another_status_is_not_caught() -> None:
    _, fault, order = played(TRIES.replace("STATUS", "503"), {"title": "Momo"})
    assert fault == Fault(STANDARD + "communication", 404, "Not Found", None, "/do/0/look/try/0/find")
    assert order == ["look", "find"]
