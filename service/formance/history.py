"""What an instance has done, in Formance's words: its stages. Their activities are told by `activity_history`.

The first task of a stage fills its variables in (see `stages`): what came of that is the stage as the history tells it, and a
stage that did not get so far is not told.
"""

from typing import Any

import msgspec
from msgspec import UNSET

from service.engine.states import Status
from service.formance.activity_history import exact
from service.formance.models import CANCELED, WorkflowInstanceHistory, stage_number
from service.operations.pages import Row
from service.wire import timestamp

# Pointers of the stages of an instance, with the task in which each fills its variables in.
STAGES = "^/do/[0-9]+/[^/]+(/do/0/resolve)?$"
RESOLVE = "/do/0/resolve"
AMOUNT = ("amount.amount",)  # where a stage has a text that may be too large a number


def stages(runs: list[Row]) -> list[WorkflowInstanceHistory]:
    """Tell the stages that were worked on, from the runs at `STAGES`."""
    resolved = {
        stage_number(run["pointer"]): run
        for run in runs
        if run["pointer"].endswith(RESOLVE) and ended_well(run)
    }
    told = []
    for run in runs:
        number = stage_number(run["pointer"])
        if run["pointer"].endswith(RESOLVE):
            continue
        if number in resolved:
            told.append(stage(run, run["name"].rpartition("-")[0], value_of(resolved[number], "output")))
        elif run["kind"] != "do":
            told.append(stage(run, run["kind"], {}))
    return told


def stage(run: Row, kind: str, fields: dict[str, Any]) -> WorkflowInstanceHistory:
    """Tell one stage."""
    told = WorkflowInstanceHistory(
        name="Run" + "".join(word.title() for word in kind.split("_")),
        input=exact(fields, AMOUNT),
        terminated=run["ended_at"] is not None,
        started_at=timestamp(run["started_at"]),
        error=error_of(run),
    )
    if run["ended_at"] is not None:
        told.terminated_at = timestamp(run["ended_at"])
    return told


def ended_well(run: Row) -> bool:
    """Whether a task has done what it was for."""
    return bool(run["status"] == Status.COMPLETED)


def value_of(run: Row, which: str) -> dict[str, Any]:
    """Read a task's input or output; of one that was too large to be kept nothing is told."""
    value = msgspec.json.decode(run[which] or "null")
    return value if isinstance(value, dict) else {}


def error_of(run: Row) -> str | msgspec.UnsetType:
    """Say in a sentence why a task has failed, if it has."""
    if run["status"] == Status.CANCELLED:
        return CANCELED
    if run["status"] != Status.FAULTED:
        return UNSET
    error = value_of(run, "error")
    return str(error.get("detail") or error.get("title") or "failed")
