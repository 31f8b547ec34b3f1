"""What a stage of an instance did elsewhere, in Formance's words: its activities, each with all of its attempts.

An activity is a call of one of the functions that `stages.activities` makes. Its rows stand behind that of its stage and before
the next stage's: the function's own, then one for each attempt, then perhaps that of the error it ended with.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from itertools import takewhile
from typing import Any

import msgspec
from msgspec import UNSET

from service.engine.states import Status
from service.formance.models import WorkflowInstanceHistoryStage
from service.formance.stages.activities import ACTIVITIES, FIRST_PAUSE, RETRIES, UNCONFIGURED, UNSET_TITLE
from service.operations.pages import Row
from service.wire import timestamp

FUNCTION = "/use/functions/"
CANCELLED = "cancelled"  # the vendor's spelling of activities; stages and instances have one l

# Where amounts stand, which the engine keeps as texts where a number would lose digits.
AMOUNTS: Mapping[str, tuple[str, ...]] = {
    "CreateTransaction": ("data.postings.*.amount", "data.*.postings.*.amount"),
    "CreditWallet": ("data.amount.amount",),
    "DebitWallet": ("data.amount.amount",),
    "CreateTransferInitiation": ("amount",),
    "GetAccount": ("data.volumes.*.*", "data.effectiveVolumes.*.*"),
    "GetWallet": ("data.balances.*.assets.*",),
    "GetPayment": ("data.initialAmount", "data.adjustments.*.amount"),
}


def activities(runs: Iterable[Row], *, second: bool) -> list[WorkflowInstanceHistoryStage]:
    """Tell the activities of a stage from its runs, in the order in which these began; `second` is the API's version 2."""
    return [activity(begun, attempts, second=second) for begun, attempts in called(list(runs))]


def called(runs: list[Row]) -> Iterator[tuple[Row, list[Row]]]:
    """Find each function that was called, and its attempts."""
    known = {FUNCTION + name for name in ACTIVITIES}
    for index, run in enumerate(runs):
        if run["pointer"] in known:
            inside = takewhile(partial(is_inside, run), runs[index + 1 :])
            yield run, [one for one in inside if one["name"] == run["name"]]


def is_inside(function: Row, run: Row) -> bool:
    """Whether a run is of a task of a function."""
    return bool(run["pointer"].startswith(f"{function['pointer']}/"))


def activity(begun: Row, attempts: list[Row], *, second: bool) -> WorkflowInstanceHistoryStage:
    """Tell one activity, with the attempt that is made or waited for if it goes on."""
    name = begun["name"]
    told = WorkflowInstanceHistoryStage(
        name=name,
        input={name: exact(value_of(begun, "input").get("input", {}), AMOUNTS.get(name, ()))},
        terminated=begun["ended_at"] is not None,
        started_at=timestamp(begun["started_at"]),
        attempt=max(len(attempts), 1),
    )
    if begun["ended_at"] is None:
        tell_of_the_next(told, attempts)
    else:
        told.terminated_at = timestamp(begun["ended_at"])
        told.error = error_of(begun)
    if begun["status"] == Status.COMPLETED:
        output = value_of(begun, "output")
        if output:
            told.output = {name: versioned(name, exact(output, AMOUNTS.get(name, ())), second=second)}
    return told


def tell_of_the_next(told: WorkflowInstanceHistoryStage, attempts: list[Row]) -> None:
    """Say why the last attempt has failed, and when the next one is made unless it is under way."""
    failed = [one for one in attempts if one["status"] == Status.FAULTED]
    if not failed:
        return
    told.last_failure = message_of(value_of(failed[-1], "error"))
    if len(failed) == len(attempts) <= RETRIES:
        told.attempt = len(attempts) + 1
        pause = timedelta(seconds=FIRST_PAUSE * 2 ** (len(attempts) - 1))
        told.next_execution = timestamp(failed[-1]["ended_at"] + pause)


def error_of(run: Row) -> str | msgspec.UnsetType:
    """Say in a sentence why an activity has failed, if it has."""
    if run["status"] == Status.CANCELLED:
        return CANCELLED
    return message_of(value_of(run, "error")) if run["status"] == Status.FAULTED else UNSET


def message_of(error: dict[str, Any]) -> str:
    """The words of a service in an error, or the error's own."""
    detail = error.get("detail")
    try:
        said = msgspec.json.decode(detail or "")
    except msgspec.DecodeError:
        said = None
    if isinstance(said, dict) and isinstance(said.get("errorMessage"), str) and said["errorMessage"]:
        return str(said["errorMessage"])
    if error.get("title") == UNSET_TITLE:
        return UNCONFIGURED
    return str(detail or error.get("title") or "failed")


def value_of(run: Row, which: str) -> dict[str, Any]:
    """Read a task's input, output or error; of one that was too large to be kept nothing is told."""
    value = msgspec.json.decode(run[which] or "null")
    return value if isinstance(value, dict) else {}


# --- Values ---------------------------------------------------------------------------------------------------------


def exact(value: Any, places: Iterable[str]) -> Any:
    """A value with integers for the texts of digits that stand at these places; `*` is every member."""
    for place in places:
        value = numbered(value, place.split("."))
    return value


def numbered(value: Any, steps: list[str]) -> Any:
    """A value with an integer at the end of a path, if that leads to digits."""
    if not steps:
        whole = isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,100}", value)
        return int(value) if whole else value
    step, rest = steps[0], steps[1:]
    if isinstance(value, dict):
        return {key: numbered(inner, rest) if step in ("*", key) else inner for key, inner in value.items()}
    if isinstance(value, list) and step == "*":
        return [numbered(inner, rest) for inner in value]
    return value


def versioned(name: str, output: dict[str, Any], *, second: bool) -> dict[str, Any]:
    """The answer to `CreateTransaction` as each version of the API has it: a list of one with `txid`, or an object."""
    data = output.get("data")
    written = data[0] if isinstance(data, list) and data else data
    if name != "CreateTransaction" or not isinstance(written, dict):
        return output
    number = written.get("id", written.get("txid"))
    if second:
        return {**output, "data": [{**written, "txid": written.get("txid", number)}]}
    return {**output, "data": {"reverted": False, **written, "id": number}}
