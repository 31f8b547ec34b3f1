"""The ways through a task list: which tasks they reach, and which lead back without a pause (contract 1.6)."""

from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate

from service.language.document import (
    DIRECTIVES,
    Do,
    For,
    Fork,
    FunctionCall,
    Listen,
    PersonCall,
    Raise,
    RunWorkflow,
    Switch,
    Task,
    Try,
    Wait,
    Work,
)
from service.language.errors import Problem


def useless_or_endless(tasks: Sequence[Task], functions: Collection[str]) -> Iterator[Problem]:
    """Warnings of what the ways through one list make useless or endless; `functions` are those that may wait."""
    positions = {task.name: index for index, task in enumerate(tasks) if task.name not in DIRECTIVES}
    ways = [
        [index + 1 if way == "continue" else positions.get(way, len(tasks)) for way in _ways(task)]
        for index, task in enumerate(tasks)
    ]
    # The last pause at or before each place tells whether a way back leads over one.
    last_pause = list(
        accumulate((index if pauses(task, functions) else -1 for index, task in enumerate(tasks)), max)
    )
    reached, pending = set(), [0]
    while pending:
        index = pending.pop()
        if index < len(tasks) and index not in reached:
            reached.add(index)
            pending += ways[index]
    for index, task in enumerate(tasks):
        if index not in reached:
            yield Problem("unreachable_task", "No way leads to this task.", task.pointer)
        if isinstance(task.work, Raise) and task.then:
            yield Problem(
                "unused_then", "A raised error leaves the list; `then` is never followed.", task.pointer
            )
        if any(last_pause[index] < way <= index for way in ways[index]):
            message = (
                "This leads back without a `wait` or `listen` between: it may use up the limit of tasks."
            )
            yield Problem("backward_jump", message, task.pointer)


def _ways(task: Task) -> list[str]:
    """The directives that may be followed after the task."""
    own = task.then or "continue"
    if isinstance(task.work, Raise):
        ways = []
    elif isinstance(task.work, Switch):
        open_end = all(case.when is not None for case in task.work.cases)
        ways = [case.then for case in task.work.cases] + ([own] if open_end else [])
    elif isinstance(work := task.work, Try) and work.then:
        ways = [own, work.then]
    else:
        ways = [own]
    return [*ways, "continue"] if task.condition is not None else ways


def pauses(task: Task, functions: Collection[str]) -> bool:
    """Whether the task may wait for a time, an event, a person or another workflow; a call of HTTP does not count."""
    work = task.work
    if isinstance(work, FunctionCall):
        return work.name in functions
    if isinstance(work, RunWorkflow):
        return work.awaited
    return isinstance(work, Wait | Listen | PersonCall) or any(
        pauses(inner, functions) for inner in _inner(work)
    )


def _inner(work: Work) -> Sequence[Task]:
    """The tasks inside of one."""
    if isinstance(work, Fork):
        return work.branches
    if isinstance(work, Try):
        return (*work.tasks, *(work.handler or ()))
    return work.tasks if isinstance(work, Do | For) else ()
