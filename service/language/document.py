"""A definition as a tree of types: the workflow, its tasks, and what each kind of task does (contract 1).

Beside it stand the outcomes of reading one that may be wrong: `Checked`, and `DocumentRefused` with every problem in order.
"""

from collections.abc import Iterable, Mapping
from typing import Any

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


class Listen(msgspec.Struct, frozen=True):
    """`listen`: go on after an event; its output is the list of what `read` takes from the events consumed."""

    one: Filter
    read: cloudevents.Read


class Raise(msgspec.Struct, frozen=True):
    """`raise`: fault with this error, an object of the members of contract 5.1."""

    error: Expression


class Do(msgspec.Struct, frozen=True):
    """`do`: the tasks one after the other."""

    tasks: "tuple[Task, ...]"


Work = Do | Set | Switch | Wait | Listen | Raise


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One task: what it does, and the fields that every kind has (contract 1.4).

    An expression that is absent or the identity is None: its value is passed through without an evaluation.
    """

    name: str
    pointer: str
    definition: Mapping[str, Any]
    work: Work
    condition: Expression | None = None
    input_from: Expression | None = None
    output_as: Expression | None = None
    export_as: Expression | None = None
    then: str | None = None


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
