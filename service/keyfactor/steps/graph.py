"""The order of steps: a list of them has none, each says which one follows it.

A definition is one way from its beginning to its end, as every step has one output at most.
"""

import re
from collections.abc import Sequence

from service.keyfactor.steps.problems import Problem
from service.keyfactor.steps.step import Step

START, END = "StartNOOP", "EndNOOP"
CONTINUE = "continue"  # the one name that an output has
STEP_LIMIT = 100
NAME_LIMIT = 100  # characters

_UNNAMED = re.compile(r"[\x00-\x1f\x7f]|^\s|\s$")  # what a name cannot hold


def in_order(steps: Sequence[Step], problems: list[Problem]) -> list[Step]:
    """The steps one after the other; notes what keeps them from being one way.

    It begins with `StartNOOP`, or where there is none with the one step that none leads to. `EndNOOP` may be named without
    being there.
    """
    if len(steps) > STEP_LIMIT:
        problems.append(Problem(None, "", f"A definition has at most {STEP_LIMIT} steps."))
        return []
    by_name = _by_name(steps, problems)
    following = {name: _next(step, by_name, problems) for name, step in by_name.items()}
    if problems or not steps:
        return []
    start = _beginning(following, problems)
    if start is None:
        return []
    return [by_name[name] for name in _walk(start, following, problems)]


def _by_name(steps: Sequence[Step], problems: list[Problem]) -> dict[str, Step]:
    """Each step by its name."""
    found: dict[str, Step] = {}
    for index, step in enumerate(steps):
        name = step.unique_name
        if not name:
            problems.append(Problem(None, f"step {index + 1} of the list", "UniqueName is missing."))
        elif len(name) > NAME_LIMIT or _UNNAMED.search(name):
            rule = f"has at most {NAME_LIMIT} characters, none of them a control character, and no blank at either end."
            problems.append(Problem(name[:NAME_LIMIT], "UniqueName", rule))
        elif name in found:
            problems.append(Problem(name, "UniqueName", "is that of another step too."))
        else:
            found[name] = step
    return found


def _next(step: Step, by_name: dict[str, Step], problems: list[Problem]) -> str | None:
    """The name of the step that follows; None for the last one."""
    name = str(step.unique_name)
    outputs = {key: value for key, value in (step.outputs or {}).items() if value}
    for key in outputs:
        if key.lower() != CONTINUE:
            problems.append(Problem(name, "Outputs", f"has {key[:64]!r}; there is one output, {CONTINUE!r}."))
            return None
    if len(outputs) > 1:
        problems.append(Problem(name, "Outputs", "leads to several steps; a step has one output."))
        return None
    target = next(iter(outputs.values()), None)
    if target is not None and target not in by_name and target != END:
        problems.append(Problem(name, "Outputs", f"leads to {target[:64]!r}, and there is no such step."))
    return target if target in by_name else None


def _beginning(following: dict[str, str | None], problems: list[Problem]) -> str | None:
    """The step to begin with."""
    targets = set(following.values())
    free = [name for name in following if name not in targets]
    if START in following:
        return START
    if len(free) == 1:
        return free[0]
    if free:
        told = ", ".join(repr(name) for name in free[:5])
        problems.append(
            Problem(None, "", f"The steps have several beginnings ({told}): one alone may be led to by none.")
        )
    else:
        problems.append(Problem(None, "", "The steps go in a circle: each is led to by another."))
    return None


def _walk(start: str, following: dict[str, str | None], problems: list[Problem]) -> list[str]:
    """The names on the way from the beginning to the end."""
    way: dict[str, None] = {}
    name: str | None = start
    last = start
    while name is not None and name not in way:
        way[name] = None
        last, name = name, following[name]
    if name is not None:
        problems.append(Problem(last, "Outputs", f"leads back to {name!r}: steps do not go in circles."))
    problems.extend(
        Problem(missed, "", f"is not on the way that begins with {start!r}: no output of it leads here.")
        for missed in following
        if missed not in way
    )
    return list(way)
