"""Definitions for tests of the reader, and what is wrong with them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from service.language.document import Definition, DocumentRefused, Task, Work
from service.language.errors import Problem
from service.language.expressions import Expression
from service.language.reading import check, read

HEADER = {"dsl": "1.0.3", "namespace": "demo", "name": "sample", "version": "1.2.0"}
ACCOUNT = uuid4()


def workflow(*tasks: dict[str, Any], **root: Any) -> dict[str, Any]:
    """A definition with these tasks, each `name=task`."""
    return {"document": HEADER, "do": list(tasks), **root}


def task_of(task: dict[str, Any], **root: Any) -> Task:
    """The task as it is read, standing at `/do/0/a`."""
    (read_task,) = read(workflow({"a": task}, **root)).tasks
    return read_task


def work_of(task: dict[str, Any], **root: Any) -> Work:
    return task_of(task, **root).work


def problems_of(value: Any) -> list[Problem]:
    with pytest.raises(DocumentRefused) as refused:
        read(value)
    return refused.value.problems


def found(problems: Sequence[Problem]) -> list[tuple[str, str]]:
    return [(problem.code, problem.pointer) for problem in problems]


def problems_of_task(task: Any, **root: Any) -> list[tuple[str, str]]:
    """What is wrong with a task, its pointer left out."""
    return [
        (code, pointer.removeprefix("/do/0/a"))
        for code, pointer in found(problems_of(workflow({"a": task}, **root)))
    ]


class Recorded:
    """A compiler that refuses what it is told to, in place of the sandbox."""

    def __init__(self, refused: dict[str, str] | None = None, schema: str | None = None) -> None:
        self.refused = refused or {}
        self.schema = schema
        self.seen: list[Expression] = []
        self.schemas: list[Any] = []

    async def compile(self, _: UUID, expressions: Sequence[Expression]) -> list[str | None]:
        self.seen += expressions
        return [self.refused.get(one.source) for one in expressions]

    async def check_schema(self, _: UUID, schema: Any) -> str | None:
        self.schemas.append(schema)
        return self.schema


async def warnings_of(*tasks: dict[str, Any], **root: Any) -> list[tuple[str, str]]:
    """What is odd about a definition with which nothing is wrong."""
    checked = await check(workflow(*tasks, **root), Recorded(), ACCOUNT)
    assert checked.problems == []
    return found(checked.warnings)


def names_at(definition: Definition, *steps: Any) -> tuple[str, ...]:
    """The variables that the expression at this place of the tree sees."""
    place: Any = definition
    for step in steps:
        place = place[step] if isinstance(step, int) else getattr(place, step)
    assert isinstance(place, Expression)
    return place.names
