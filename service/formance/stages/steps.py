"""The tasks of one stage that does something elsewhere, collected one after the other."""

from typing import Any

from service.formance.stages.activities import ACTIVITIES
from service.language.writing import literal


class Steps:
    """The tasks of a stage: the first resolves it, the others call activities, each by a key of its own."""

    def __init__(self, stage: int, resolve: dict[str, Any]) -> None:
        """Begin with the task that resolves the stage."""
        self.stage = stage
        self.tasks: list[dict[str, Any]] = [resolve]
        self.calls = 0

    def call(
        self,
        name: str,
        activity: str,
        given: str,
        *,
        only_if: str | None = None,
        keep: str | None = None,
        unless_there: bool = False,
    ) -> None:
        """Call an activity with what the jq `given` comes to.

        `keep` is the jq of what the stage remembers of the answer, which is `.`: an object that joins `$context`.
        `unless_there` takes the refusal of something that is there already for a success.
        """
        assert activity in ACTIVITIES  # noqa: S101 - a slip of this package would be one of every definition
        self.calls += 1
        key = literal(f"-{self.stage}-{self.calls}")
        arguments = {"idempotencyKey": f"${{ $workflow.id + {key} }}", "input": f"${{ {given} }}"}
        if activity == "CreateTransferInitiation":
            arguments["scheduledAt"] = "${ $task.startedAt.iso8601 }"
        task: dict[str, Any] = {"call": activity, "with": arguments}
        if keep is not None:
            task["export"] = {"as": f"$context + ({keep})"}
        if unless_there:
            task = {"try": [{"call": task}], "catch": {"when": '.title == "CONFLICT"'}}
        if only_if is not None:
            task["if"] = only_if
        self.tasks.append({name: task})
