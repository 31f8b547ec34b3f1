"""Conditions of instances as SQL: what is left of one in each status, and how its comparisons are written.

Arguments stand in the statement by their numbers alone. `$1` is the account.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from service.engine.states import Status
from service.operations.conditions import (
    ALWAYS,
    IN_TEXT,
    NEVER,
    OPPOSITES,
    Comparison,
    Condition,
    Every,
    changed,
)
from service.operations.step_instances import NAMESPACE

Phase = tuple[Status, bool]  # and whether another instance runs in its place

ENDED = (Status.COMPLETED, Status.FAULTED, Status.CANCELLED)
PHASES: frozenset[Phase] = frozenset(
    (status, replaced) for status in Status for replaced in (False, True) if status in ENDED or not replaced
)
WAITING: frozenset[Phase] = frozenset({(Status.WAITING, False)})  # at a step, and held by nobody

COMPARED = {"eq": "=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
TEXTS = ("name", "started_by_name")
# The definitions that were made of steps, archived ones too, and what for.
TYPES = f"""SELECT made.id AS workflow_id, newest.document #>> ARRAY['document', 'metadata', 'keyfactor', 'WorkflowType'] AS workflow_type
    FROM workflow AS made
    JOIN workflow_version AS newest ON newest.account_id = made.account_id AND newest.id = made.latest_version_id
    WHERE made.account_id = $1 AND made.namespace = '{NAMESPACE}'"""
OF_TYPE = f"instance.workflow_id = ANY (ARRAY(SELECT typed.workflow_id FROM ({TYPES}) AS typed WHERE {{}}))"
BY_EMAIL = "instance.started_by = (SELECT app_user.id FROM app_user WHERE app_user.email = lower({}::text))"


class Slice(msgspec.Struct, frozen=True):
    """Instances of one status, in whose place another runs or not (None: either), and what is asked of them beside that."""

    status: Status
    replaced: bool | None
    condition: Condition

    @property
    def state(self) -> str:
        """Write which instances these are."""
        if self.replaced is None:
            return f"instance.status = '{self.status}'"
        of = "NOT NULL" if self.replaced else "NULL"
        return f"instance.status = '{self.status}' AND instance.restarted_as IS {of}"


def slices_of(condition: Condition, phases: frozenset[Phase]) -> list[Slice]:
    """Look at a condition in each of some phases; where nothing can be found is left out."""
    slices = list[Slice]()
    for status in Status:
        left = {phase[1]: in_phase(condition, phase) for phase in of_status(status, phases)}
        if len(left) == len(of_status(status, PHASES)) and len(set(left.values())) == 1:
            slices.append(Slice(status, None, next(iter(left.values()))))
        else:
            slices += [Slice(status, replaced, one) for replaced, one in left.items()]
    return [one for one in slices if one.condition != NEVER]


def of_status(status: Status, phases: frozenset[Phase]) -> list[Phase]:
    """Those of some phases that are of a status."""
    return [one for one in phases if one[0] is status]


def in_phase(condition: Condition, phase: Phase) -> Condition:
    """Answer what a condition asks of the phase alone."""

    def answered(one: Comparison) -> Condition:
        if one.field != "phase":
            return one
        assert isinstance(one.value, frozenset)  # noqa: S101 - phases are compared with sets of them
        return ALWAYS if phase in one.value else NEVER

    return changed(condition, answered)


def fields_of(condition: Condition) -> Iterator[str]:
    """Name the fields that a condition compares."""
    if isinstance(condition, Comparison):
        yield condition.field
    else:
        for part in condition.parts:
            yield from fields_of(part)


def together(slices: Sequence[Slice]) -> Iterator[tuple[str, Condition]]:
    """Put those together of which the same is asked, and write which instances they are: nothing where that is all."""
    of = defaultdict[Condition, list[Slice]](list)
    for one in slices:
        of[one.condition].append(one)
    for condition, some in of.items():
        whole = [f"'{one.status}'" for one in some if one.replaced is None]
        states = [f"instance.status IN ({', '.join(whole)})"] if whole else []
        states += [f"({one.state})" for one in some if one.replaced is not None]
        yield "" if len(whole) == len(Status) else f"({' OR '.join(states)})", condition


class Arguments:
    """The arguments of a statement."""

    def __init__(self, *first: Any) -> None:
        self.values: list[Any] = list(first)

    def place(self, value: Any) -> str:
        """Add an argument, unless it is there, and say where."""
        for number, one in enumerate(self.values, start=1):
            if one is value:
                return f"${number}"
        self.values.append(value)
        return f"${len(self.values)}"

    def written(self, condition: Condition) -> str:
        """Write a condition that is true or false of every instance."""
        if isinstance(condition, Comparison):
            return self._comparison(condition)
        if not condition.parts:
            return "true" if condition == ALWAYS else "false"
        word = " AND " if isinstance(condition, Every) else " OR "
        return f"({word.join(self.written(part) for part in condition.parts)})"

    def _comparison(self, one: Comparison) -> str:
        positive = OPPOSITES.get(one.operator)
        if positive is not None:
            return f"({self._comparison(msgspec.structs.replace(one, operator=positive))}) IS NOT TRUE"
        if one.field == "workflow_type":
            return self._of_type(one)
        column = f"instance.{one.field}"
        if one.value is None:
            return f"{column} IS NULL"
        if one.field == "started_by_email":
            return f"({BY_EMAIL.format(self.place(one.value))})"
        if one.field in TEXTS:
            return f"({IN_TEXT[one.operator].format(column, self.place(one.value))})"
        return f"({column} {COMPARED[one.operator]} {self.place(one.value)})"

    def _of_type(self, one: Comparison) -> str:
        """Write what is asked of the workflow's type, which workflows of other dialects have not."""
        if one.value is None:
            return f"(NOT {OF_TYPE.format('typed.workflow_type IS NOT NULL')})"
        asked = IN_TEXT[one.operator].format("typed.workflow_type", self.place(one.value))
        return f"({OF_TYPE.format(asked)})"
