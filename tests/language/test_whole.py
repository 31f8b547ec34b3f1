"""One definition with everything in it."""

from datetime import timedelta
from typing import TypeVar

import msgspec

from service.language.document import (
    Definition,
    Do,
    Emit,
    For,
    Fork,
    FunctionCall,
    HttpCall,
    Listen,
    PersonCall,
    Raise,
    RunWorkflow,
    Set,
    Strategy,
    Switch,
    Task,
    Try,
    UriTemplate,
    Wait,
)
from service.language.durations import Duration
from service.language.expressions import Expression
from service.language.reading import check, read
from service.language.sandbox import Sandbox
from service.language.texts import parse_yaml
from tests.language.definitions import ACCOUNT

TEXT = b"""
document: {dsl: '1.0.3', namespace: demo, name: whole, version: 1.0.0}
input:
  schema: {document: {type: object}}
use:
  secrets: [token, login]
  authentications:
    shop: {bearer: {token: '${ $secrets.token }'}}
  errors:
    refused: {type: 'https://example.com/refused', status: 403}
  functions:
    notify:
      call: http
      with: {method: post, endpoint: 'https://example.com/notify', body: '${ . }'}
  retries:
    patient:
      when: $error.status >= 500
      delay: PT2S
      backoff: {exponential: {}}
      limit: {attempt: {count: 3, duration: PT10S}, duration: PT1H}
      jitter: {from: PT0S, to: PT1S}
  timeouts:
    short: {after: PT5M}
schedule: {cron: '0 9 * * 1'}
timeout: {after: P1D}
do:
  - order:
      call: http
      with:
        method: get
        endpoint: {uri: 'https://example.com/orders/{id}', authentication: {use: shop}}
        headers: {accept: application/json, x-key: '${ $secrets.login.key }'}
        query: {page: 1, tag: [a, '${ .tag }']}
        output: response
        redirect: true
      timeout: short
  - tell: {call: notify, with: {text: '${ .content }'}}
  - each:
      for: {in: .lines, each: line, at: position}
      while: $position < 5
      do:
        - one: {set: '${ $line }'}
  - both:
      fork:
        compete: true
        branches:
          - left: {wait: PT1S}
          - right: {set: {x: 1}}
  - answer:
      listen:
        to:
          any:
            - with: {type: com.example.answer}
              correlate: {order: {from: .orderid, expect: '${ .id }'}}
          until: '. | length > 3'
        read: envelope
      foreach:
        item: event
        do:
          - keep: {set: '${ $event }'}
        output: {as: .data}
        export: {as: '$context + {last: .}'}
  - publish: {emit: {event: {with: {source: 'https://example.com', type: com.example.done, data: {id: '${ .id }'}}}}}
  - careful:
      try:
        - fail: {raise: {error: refused}}
      catch:
        errors: {with: {type: 'https://serverlessworkflow.io/dsl/errors/types/timeout', status: 408}}
        as: failure
        exceptWhen: $failure.status == 404
        retry: {limit: {attempt: {count: 2}}}
        do:
          - note: {set: {why: '${ $failure.title }'}}
        then: sign
  - again: {try: [], catch: {retry: patient}}
  - sign:
      call: approval:1.0.0@default
      with: {title: Sign, assignees: {roles: [admin]}, due: P2D, overdue: reject}
  - fill:
      call: form
      with: {title: Fill, assignees: {users: ['${ .owner }']}, form: {type: object}}
  - child: {run: {workflow: {namespace: demo, name: other, version: latest, input: {id: '${ .id }'}}, await: false}}
  - route: {switch: [{big: {when: .sum > 10, then: end}}, {rest: {then: last}}]}
  - last:
      do:
        - pause: {wait: {minutes: 1}}
      input: {schema: {document: {type: object}}}
      output: {schema: {document: true}, as: .}
      export: {schema: {document: {}}, as: .}
output: {as: ., schema: {document: {type: object}}}
"""


Kind = TypeVar("Kind")


def work(task: Task, kind: type[Kind]) -> Kind:
    assert isinstance(task.work, kind)
    return task.work


def whole() -> Definition:
    return read(parse_yaml(TEXT))


def tasks() -> dict[str, Task]:
    return {task.name: task for task in whole().tasks}


def test_every_kind_of_task_is_read() -> None:
    assert [type(task.work) for task in whole().tasks] == [
        HttpCall,
        FunctionCall,
        For,
        Fork,
        Listen,
        Emit,
        Try,
        Try,
        PersonCall,
        PersonCall,
        RunWorkflow,
        Switch,
        Do,
    ]
    assert [task.kind for task in whole().tasks] == [
        *(
            "call",
            "call",
            "for",
            "fork",
            "listen",
            "emit",
            "try",
            "try",
            "call",
            "call",
            "run",
            "switch",
            "do",
        ),
    ]


def test_inner_tasks_have_their_place() -> None:
    read_tasks = tasks()
    inner = [
        *work(read_tasks["each"], For).tasks,
        *work(read_tasks["both"], Fork).branches,
        *work(read_tasks["careful"], Try).tasks,
        *(work(read_tasks["careful"], Try).handler or ()),
        *work(read_tasks["last"], Do).tasks,
        work(read_tasks["tell"], FunctionCall).function,
    ]
    foreach = work(read_tasks["answer"], Listen).foreach
    assert foreach is not None
    assert [(task.pointer, type(task.work)) for task in [*inner, *(foreach.tasks or ())]] == [
        ("/do/2/each/do/0/one", Set),
        ("/do/3/both/fork/branches/0/left", Wait),
        ("/do/3/both/fork/branches/1/right", Set),
        ("/do/6/careful/try/0/fail", Raise),
        ("/do/6/careful/catch/do/0/note", Set),
        ("/do/12/last/do/0/pause", Wait),
        ("/use/functions/notify", HttpCall),
        ("/do/4/answer/foreach/do/0/keep", Set),
    ]


def test_the_workflows_own_fields_are_read() -> None:
    definition = whole()
    assert definition.secrets == ("token", "login")
    assert definition.schedule is not None
    assert definition.schedule.cron == "0 9 * * 1"
    assert definition.output_schema == {"type": "object"}
    assert definition.output_as is None
    assert definition.timeout == Duration(0, timedelta(days=1))


def test_a_call_is_one_template_of_all_that_is_computed() -> None:
    call = work(tasks()["order"], HttpCall)
    assert (call.method, call.output, call.redirect) == ("GET", "response", True)
    assert call.template == UriTemplate(("https://example.com/orders/", "id", ""))
    assert call.arguments.source == {
        "headers": {"accept": "application/json", "x-key": "${ $secrets.login.key }"},
        "query": {"page": 1, "tag": ["a", "${ .tag }"]},
    }
    assert call.authentication is not None
    assert call.authentication.scheme == "bearer"
    assert call.secrets == ("login", "token")
    assert tasks()["order"].timeout == Duration(0, timedelta(minutes=5))


def test_a_listen_correlates_and_ends_by_an_expression() -> None:
    to = work(tasks()["answer"], Listen).to
    assert isinstance(to, Strategy)
    assert isinstance(to.until, Expression)
    (wanted,) = to.filters
    assert [(one.key, one.source.source) for one in wanted.correlations] == [("order", ".orderid")]


def test_a_named_policy_is_a_policy() -> None:
    retry = work(tasks()["again"], Try).retry
    assert retry is not None
    assert (retry.backoff, retry.count) == ("exponential", 3)
    assert retry.when is not None
    assert "error" in retry.when.names


async def test_the_sandbox_finds_nothing_wrong_with_it() -> None:
    async with Sandbox(1) as sandbox:
        checked = await check(parse_yaml(TEXT), sandbox, ACCOUNT)
    assert checked.problems == []
    assert [(one.code, one.pointer) for one in checked.warnings] == []


def test_the_same_text_gives_the_same_definition() -> None:
    assert msgspec.json.encode(whole()) == msgspec.json.encode(whole())
