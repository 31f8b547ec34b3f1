"""A definition as a tree of types: the workflow, its tasks, and what each kind of task does (contract 1).

Beside it stand the outcomes of reading one that may be wrong: `Checked`, and `DocumentRefused` with every problem in order.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from service.language import cloudevents
from service.language.cloudevents import Filter
from service.language.durations import Duration
from service.language.errors import Problem
from service.language.expressions import Expression

DIRECTIVES = ("continue", "exit", "end")  # what `then` may say instead of the name of a task


class Set(msgspec.Struct, frozen=True):
    """`set`: the output is the value."""

    value: Expression


class Case(msgspec.Struct, frozen=True):
    """One case of a `switch`; without `when` it is the default."""

    name: str
    when: Expression | None
    then: str


class Switch(msgspec.Struct, frozen=True):
    """`switch`: the first case that holds says where to go."""

    cases: tuple[Case, ...]


class Wait(msgspec.Struct, frozen=True):
    """`wait`: go on after a while."""

    length: Duration | Expression


class Strategy(msgspec.Struct, frozen=True):
    """Which events a `listen` or a schedule takes, and when it has enough (contract 2.9).

    `until` stands with `any` alone: jq over what was collected so far, or a strategy whose events end the listening.
    """

    kind: Literal["one", "any", "all"]
    filters: tuple[Filter, ...]
    until: "Expression | Strategy | None" = None


class Foreach(msgspec.Struct, frozen=True):
    """What a `listen` does with each event it takes, one after the other; without `tasks` the event is the element."""

    item: str
    at: str
    tasks: "tuple[Task, ...] | None"
    output_as: Expression | None
    output_schema: Any
    export_as: Expression | None
    export_schema: Any


class Listen(msgspec.Struct, frozen=True):
    """`listen`: go on after events; its output is the list of what `read` takes from the events consumed."""

    to: Strategy
    read: cloudevents.Read
    foreach: Foreach | None = None


class Emit(msgspec.Struct, frozen=True):
    """`emit`: publish an event; `event` gives its attributes, `id` and `time` may be absent."""

    event: Expression


class Raise(msgspec.Struct, frozen=True):
    """`raise`: fault with this error, an object of the members of contract 5.1."""

    error: Expression


class Do(msgspec.Struct, frozen=True):
    """`do`: the tasks one after the other."""

    tasks: "tuple[Task, ...]"


class For(msgspec.Struct, frozen=True):
    """`for`: the tasks once for each item; `condition` is the `while`, asked before every iteration."""

    items: Expression
    each: str
    at: str
    condition: Expression | None
    tasks: "tuple[Task, ...]"


class Fork(msgspec.Struct, frozen=True):
    """`fork`: the branches side by side; with `compete` the first to complete is the output."""

    branches: "tuple[Task, ...]"
    compete: bool


class Retry(msgspec.Struct, frozen=True):
    """A retry policy (contract 2.11). `count` is the number of retries; lengths that are absent are None."""

    when: Expression | None
    except_when: Expression | None
    delay: Duration | Expression
    backoff: Literal["constant", "linear", "exponential"]
    count: int
    attempt_limit: Duration | Expression | None
    window: Duration | Expression | None
    jitter: tuple[Duration | Expression, Duration | Expression] | None


class Try(msgspec.Struct, frozen=True):
    """`try` and its `catch`: `errors` is the static filter, `variable` the name the caught error is bound to."""

    tasks: "tuple[Task, ...]"
    errors: Mapping[str, Any]
    variable: str
    when: Expression | None
    except_when: Expression | None
    retry: Retry | None
    handler: "tuple[Task, ...] | None"
    then: str | None


class UriTemplate(msgspec.Struct, frozen=True):
    """A literal endpoint: texts and, at the odd positions, the names of the input's properties between them."""

    parts: tuple[str, ...]


class Authentication(msgspec.Struct, frozen=True):
    """How a call proves who it is (contract 7.1): the policy's fields, or the secret whose value is an object of them."""

    scheme: Literal["basic", "bearer", "digest", "oauth2", "oidc"]
    fields: Expression | None
    secret: str | None


class HttpCall(msgspec.Struct, frozen=True):
    """`call: http` (contract 2.2).

    `arguments` is one template with those of `uri` (where the endpoint is an expression), `headers`, `query` and `body` that
    the author gave, so that all of them cost one round trip; `template` is the endpoint where it is literal.
    `secrets` are the names of the account's secrets that the arguments, `input.from` and the authentication may read.
    """

    method: str
    template: UriTemplate | None
    arguments: Expression
    authentication: Authentication | None
    output: Literal["content", "response", "raw"]
    redirect: bool
    secrets: tuple[str, ...]


class FunctionCall(msgspec.Struct, frozen=True):
    """`call` of a function of `use.functions`: its task, and what that gets as input (None: the caller's input)."""

    name: str
    function: "Task"
    arguments: Expression | None


class PersonCall(msgspec.Struct, frozen=True):
    """`call: approval` and `call: form`: somebody is asked (contract 10.5)."""

    kind: Literal["approval", "form"]
    arguments: Expression


class EmailCall(msgspec.Struct, frozen=True):
    """`call: email`: one message is handed to the operator's mail server."""

    arguments: Expression


class RunWorkflow(msgspec.Struct, frozen=True):
    """`run: workflow`: start another workflow of the account; `version` may be `latest`."""

    namespace: str
    name: str
    version: str
    input: Expression | None
    awaited: bool
    returns: Literal["output", "none"]


Work = (
    Do
    | Set
    | Switch
    | Wait
    | Listen
    | Emit
    | Raise
    | For
    | Fork
    | Try
    | HttpCall
    | FunctionCall
    | PersonCall
    | EmailCall
    | RunWorkflow
)


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One task: what it does, and the fields that every kind has (contract 1.4).

    An expression that is absent or the identity is None: its value is passed through without an evaluation. A schema that
    is absent is None; one that is present carries its draft as `$schema`. `kind` is the key of the document: `call`, `do`, …
    """

    name: str
    kind: str
    pointer: str
    definition: Mapping[str, Any]
    work: Work
    condition: Expression | None = None
    input_schema: Any = None
    input_from: Expression | None = None
    output_as: Expression | None = None
    output_schema: Any = None
    export_as: Expression | None = None
    export_schema: Any = None
    timeout: Duration | Expression | None = None
    then: str | None = None


class Schedule(msgspec.Struct, frozen=True):
    """When a workflow starts by itself (contract 6.3): exactly one of the four."""

    every: Duration | None = None
    cron: str | None = None
    after: Duration | None = None
    on: Strategy | None = None


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow as its author wrote it, every reference resolved; `document` is the parsed value itself."""

    namespace: str
    name: str
    version: str
    title: str | None
    summary: str | None
    tags: Mapping[str, str | int | float | bool]
    metadata: Mapping[str, Any]
    input_schema: Any
    input_from: Expression | None
    tasks: tuple[Task, ...]
    output_as: Expression | None
    timeout: Duration | Expression | None
    document: Mapping[str, Any]
    output_schema: Any = None
    secrets: tuple[str, ...] = ()
    schedule: Schedule | None = None


class Checked(msgspec.Struct, frozen=True):
    """What became of a document: a definition when there are no problems; warnings refuse nothing."""

    definition: Definition | None
    problems: list[Problem]
    warnings: list[Problem]


class DocumentRefused(Exception):  # noqa: N818 - named after the situation
    """The text or value is no definition; everything wrong with it at once."""

    def __init__(self, problems: list[Problem]) -> None:
        """Keep the problems, sorted by where they are."""
        super().__init__("; ".join(f"{problem.pointer}: {problem.message}" for problem in problems))
        self.problems = in_order(problems)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """The problems by where they are."""
    return sorted(problems, key=_place)


def _place(problem: Problem) -> list[tuple[int, str]]:
    """Sort by pointer, positions as numbers."""
    return [
        (int(step), "") if step.isascii() and step.isdigit() and len(step) < 10 else (10**10, step)
        for step in problem.pointer.split("/")
    ]
