"""Writes down what advances changed: the instance's row, its history, and what follows, in one transaction for many.

An advance is stored only if its instance is still at the sequence that it began from; if somebody was faster (a
cancellation, another job), nothing of it is written and it is made again. So a job that runs twice changes nothing.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from service.engine import inbox, listeners
from service.engine.bell import Lane, ring
from service.engine.effects import work_item
from service.engine.events import Subject
from service.engine.frames import Listening, waits
from service.engine.interpreter import encode_state
from service.engine.messages import (
    Advance,
    Ask,
    Begin,
    Call,
    Continue,
    Effect,
    Forget,
    Listen,
    Publish,
    Sleep,
    TaskRun,
)
from service.engine.queue import ADVANCING, Reason
from service.engine.states import Status
from service.language.errors import Fault, fault
from service.language.sizes import VALUE_BYTES, TooDeepError, TooLargeError, measure
from service.language.values import DEEPEST_VALUE, is_deep
from service.telemetry import tracing
from service.telemetry.metrics import count_end, count_tasks
from tenancy.rows import current_connection, read, rows_of

MOST_STATE_BYTES = 4_194_304
MOST_WAITS = 500  # that an instance has at once: each of them that ends is an advance that walks over all
NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # in JSON, and not behind a backslash that is itself escaped
KEPT_BYTES = 16_384  # of one value in the history; of a larger one the beginning stays
SURELY_LARGE = 8 * KEPT_BYTES  # as `measure` counts, which is roughly
BEGINNING = 1_024  # characters
LONGEST_REASON = 1_000  # characters of what a denial says
EXPIRY = 0  # the number of the workflow's own timer; waits count from 1

# A denial is told as any other cancellation; the instance's row has been locked and ended by the same transaction.
REJECT = """
UPDATE instance SET canceled_at = ended_at, cancel_reason = $3 WHERE account_id = $1 AND id = $2
"""

STORE = f"SELECT store_advances({', '.join(f'${number}' for number in range(1, 18))}) AS stored"


class About(msgspec.Struct, frozen=True):
    """What stays the same about an instance: whose it is, what it is called, who started it and when."""

    subject: Subject
    name: str
    started_by: UUID
    started_by_name: str
    started_at: datetime
    depth: int = 0


class Given(msgspec.Struct, frozen=True):
    """What an advance was made from: its job, the events that waited, and those of them that are offered once.

    `reason` is the job's, and `began` when the advance did, as `time.time`: both for traces alone.
    """

    job: int | None = None
    seen: Sequence[UUID] = ()
    passing: Sequence[UUID] = ()
    reason: str = "trigger"
    began: float = 0.0


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """An advance in the form in which it is stored: the columns of the instance's row, and what follows.

    Of the result only what still matters is there: a batch of large states would take the memory of everybody.
    """

    about: About
    sequence: int
    result: Advance
    state: bytes | None
    step: int
    step_name: str | None
    expires_at: datetime | None
    output: bytes | None
    fault: bytes | None
    listens: bool
    rows: Mapping[str, list[Any]]  # as `write_effects` takes them
    given: Given = Given()

    @property
    def instance_id(self) -> UUID:
        """The instance that was advanced."""
        assert self.about.subject.instance_id is not None  # noqa: S101 - advances are about instances
        return self.about.subject.instance_id


def stopped(result: Advance, reason: Fault) -> Advance:
    """Make the advance that ends an instance with a fault of the engine's own; what it wanted to happen does not."""
    history = tuple(
        msgspec.structs.replace(run, status="cancelled", ended_at=run.started_at)
        if run.status == "running"
        else run
        for run in result.history
    )
    return msgspec.structs.replace(
        result, status=Status.FAULTED, changed=True, effects=(), history=history, output=None, fault=reason
    )


def encoded(result: Advance) -> tuple[Advance, bytes | None]:
    """Encode the state that an advance reached, or end the instance where it has become too large or too deep."""
    if is_deep(result.output):
        detail = f"The workflow's output is nested more than {DEEPEST_VALUE} levels deep."
        return stopped(result, fault("runtime", "Output limit", detail, "/output")), None
    if result.status.terminal or result.state is None:
        return result, last_state(result)
    if len(waits(result.state.root)) > MOST_WAITS:
        detail = (
            f"More than {MOST_WAITS} tasks of the instance wait at once; let its forks have fewer branches."
        )
        return stopped(result, fault("runtime", "Size limit", detail, "/")), None
    try:
        state = encode_state(result.state)
    except (RecursionError, ValueError):
        return stopped(result, fault("runtime", "Size limit", "The data is nested too deeply.", "/")), None
    if len(state) > MOST_STATE_BYTES:
        detail = f"The instance's data passed {MOST_STATE_BYTES} bytes."
        return stopped(result, fault("runtime", "Size limit", detail, "/")), None
    return result, state


def last_state(result: Advance) -> bytes | None:
    """Encode what an ended instance can be restarted with from a task; None if that is nothing, or too much to keep.

    Of one that completed that is its context alone: its tasks' inputs are in the history.
    """
    state = result.state
    if state is None or (result.status is Status.COMPLETED and not state.context):
        return None
    try:
        text = encode_state(msgspec.structs.replace(state, input=None))
    except (RecursionError, ValueError):
        return None
    return text if len(text) <= MOST_STATE_BYTES else None


NOTHING_GIVEN = Given()


def settled(
    about: About,
    sequence: int,
    result: Advance,
    lifetime: timedelta | None,
    given: Given = NOTHING_GIVEN,
) -> Settled:
    """Bring an advance into the form in which it is stored; `lifetime` is what an instance without a timeout gets."""
    result, state = (
        encoded(result) if result.changed else (result, None)
    )  # what changed nothing is not stored
    expires_at = result.expires_at
    if sequence == 0 and expires_at is None and lifetime is not None:
        expires_at = about.started_at + lifetime
    step, step_name = result.last_completed_step or (0, None)
    completed = result.status is Status.COMPLETED
    return Settled(
        about=about,
        sequence=sequence,
        result=msgspec.structs.replace(result, state=None, output=None, history=()),
        state=state,
        step=step,
        step_name=step_name,
        expires_at=expires_at,
        output=msgspec.json.encode(result.output) if completed else None,
        fault=msgspec.json.encode(result.fault) if result.status is Status.FAULTED else None,
        listens=listens(result),
        rows=rows_of_advance(about, sequence, result, expires_at),
        given=given,
    )


async def store(
    account_id: UUID, advances: Sequence[Settled], idle: Sequence[int], passed: Sequence[UUID], at: datetime
) -> set[UUID]:
    """Write advances of one account; return the instances where nobody was faster.

    `idle` are jobs that changed nothing, `passed` events that were offered and not wanted. Commonly one round trip.
    """
    effects = effects_of(advances)
    seen = [identifier for one in advances for identifier in one.given.seen]
    arguments = (account_id, *columns(advances), seen, list(idle), encoded_effects(effects))
    if not passed and not any(map(follows_up, advances)):
        (row,) = await read(STORE, *arguments)
        ring(lanes_of(effects))
        stored = set(row["stored"])
        tell([one for one in advances if one.instance_id in stored])
        return stored
    async with rows_of(account_id) as connection:
        stored = set(await connection.fetchval(STORE, *arguments))
        await inbox.drop((), passed)
        await follow_up(account_id, [one for one in advances if one.instance_id in stored], at)
    ring(lanes_of(effects))
    tell([one for one in advances if one.instance_id in stored])
    return stored


def tell(advances: Iterable[Settled]) -> None:
    """Tell the operator of advances that have been stored: in figures, and in traces where they are sent."""
    for one in advances:
        runs = [*one.rows.get("runs", ()), *one.rows.get("ends", ())]
        count_tasks(runs)
        if one.result.status.terminal:
            count_end(one.result.status)
        if tracing.is_on():
            tracing.runs(one.instance_id, runs)
            given = one.given
            tracing.advanced(one.instance_id, given.reason, one.sequence + 1, one.result.status, given.began)


def encoded_effects(effects: dict[str, list[Any]]) -> str | None:
    """What `write_effects` takes, None if there is nothing.

    PostgreSQL reads no U+0000 out of JSON; the history shows U+FFFD in its place.
    """
    if not effects:
        return None
    text = msgspec.json.encode(effects).decode()
    return NUL.sub(r"\1\\ufffd", text) if r"\u0000" in text else text


def lanes_of(effects: dict[str, list[Any]]) -> set[Lane]:
    """The lanes of the jobs among effects."""
    return {job["lane"] for job in effects.get("jobs", ())}


def follows_up(one: Settled) -> bool:
    """Whether `follow_up` has something to do."""
    return bool(
        one.result.consumed
        or one.given.passing
        or one.result.status is Status.CANCELLED
        or any(isinstance(effect, Ask | Listen | Forget) for effect in one.result.effects)
    )


def columns(advances: Sequence[Settled]) -> list[list[Any]]:
    """The advances as `store_advances` takes them, column by column."""
    rows = [
        (
            one.instance_id,
            one.sequence,
            one.result.status,
            one.state,
            one.step,
            one.step_name,
            one.result.current_step,
            one.expires_at,
            one.result.status.terminal,
            one.output,
            one.fault,
            one.listens,
            one.given.job,
        )
        for one in advances
    ]
    return [[row[index] for row in rows] for index in range(13)]


def listens(result: Advance) -> bool:
    """Whether an instance listens for events now."""
    if result.state is None or result.status.terminal:
        return False
    return any(isinstance(wait, Listening) for wait in waits(result.state.root).values())


async def follow_up(account_id: UUID, advances: Sequence[Settled], at: datetime) -> None:
    """Write what needs statements of its own: work items, listeners, events that have been taken, denials."""
    taken = [identifier for one in advances for identifier in one.result.consumed]
    await inbox.drop(taken, [identifier for one in advances for identifier in one.given.passing])
    forgotten = [(one.instance_id, effect.wait) for one in advances for effect in effects_in(one, Forget)]
    if forgotten:
        await listeners.forget(account_id, forgotten)
        await work_item.close(account_id, forgotten)
    listening = [(one.instance_id, effect) for one in advances for effect in effects_in(one, Listen)]
    if listening:
        await listeners.store(account_id, listening)
    for one in advances:
        if one.result.status is Status.CANCELLED:
            await current_connection().execute(REJECT, account_id, one.instance_id, denial(one.result))
        if asks := effects_in(one, Ask):
            await work_item.open_items(one.about.subject, one.about.started_by, asks, at)


def effects_in(one: Settled, *kinds: type[Any]) -> list[Any]:
    """The effects of those kinds, none if the instance has ended."""
    if one.result.status.terminal:
        return []
    return [effect for effect in one.result.effects if isinstance(effect, kinds)]


def effects_of(advances: Iterable[Settled]) -> dict[str, list[Any]]:
    """What `write_effects` writes for these advances, empty kinds left out."""
    effects: dict[str, list[Any]] = {}
    for one in advances:
        for name, rows in one.rows.items():
            effects.setdefault(name, []).extend(rows)
    return effects


def effects_of_start(first: Settled) -> dict[str, list[Any]]:
    """What `write_effects` writes for an instance that starts with its first advance: nothing waits for it yet."""
    effects = effects_of([first])
    effects.pop("ended", None)
    return effects


def rows_of_advance(
    about: About, sequence: int, result: Advance, expires_at: datetime | None
) -> dict[str, list[Any]]:
    """What `write_effects` writes for one advance, empty kinds left out."""
    subject = about.subject
    assert subject.instance_id is not None  # noqa: S101 - advances are about instances
    rows: dict[str, list[Any]] = {
        name: [] for name in ("runs", "ends", "timers", "forgotten", "jobs", "events", "ended")
    }
    for run in result.history:
        rows["runs" if run.began else "ends"].append(run_row(subject.instance_id, run))
    rows["jobs"] += [
        job_row(subject.instance_id, "publish", about.depth + 1, effect.event)
        for effect in result.effects
        if isinstance(effect, Publish)  # what was emitted is published even if the instance ends with it
    ]
    if result.status.terminal:
        rows["ended"].append(subject.instance_id)
        rows["events"].append(end_row(subject, result))
        return {name: some for name, some in rows.items() if some}
    if sequence == 0 and expires_at is not None:
        rows["timers"].append(timer_row(subject.instance_id, EXPIRY, expires_at))
    for effect in result.effects:
        collect(rows, subject.instance_id, effect)
    return {name: some for name, some in rows.items() if some}


def collect(effects: dict[str, list[Any]], instance_id: UUID, effect: Effect) -> None:
    """Add the row that one effect of a living instance comes to."""
    match effect:
        case Sleep():
            effects["timers"].append(timer_row(instance_id, effect.wait, effect.until))
        case Forget():
            effects["forgotten"].append({"instance_id": instance_id, "wait": effect.wait})
        case Call():
            effects["jobs"].append(job_row(instance_id, "call", effect.wait))
        case Begin():
            effects["jobs"].append(job_row(instance_id, "begin", effect.wait))
        case Continue():
            effects["jobs"].append(job_row(instance_id, "continue", 0))


def job_row(instance_id: UUID, reason: Reason, wait: int, payload: Any = None) -> dict[str, Any]:
    """A job as `write_effects` takes it."""
    return {
        "instance_id": instance_id,
        "lane": "advance" if reason in ADVANCING else "perform",
        "reason": reason,
        "wait": wait,
        "payload": payload,
    }


def timer_row(instance_id: UUID, wait: int, due_at: datetime) -> dict[str, Any]:
    """A timer as `write_effects` takes it."""
    return {"instance_id": instance_id, "wait": wait, "due_at": due_at}


def end_row(subject: Subject, result: Advance) -> dict[str, Any]:
    """The event that tells of an instance's end; of a fault only its kind, as the rest may be personal."""
    error = result.fault
    data: dict[str, Any] = {}
    if result.status is Status.CANCELLED:
        data = {"reason": denial(result)}
    elif error is not None:
        data = {"error": {"type": error.type[:1000].replace("\0", "\ufffd"), "status": error.status}}
    return {
        "workflow_id": subject.workflow_id,
        "instance_id": subject.instance_id,
        "type": f"instance.{result.status}",
        "data": data,
    }


def denial(result: Advance) -> str:
    """Say why an instance was cancelled by its own definition: who has denied, and what they said."""
    error = result.fault
    said = "denied" if error is None else error.detail or error.title or "denied"
    return said[:LONGEST_REASON].replace("\0", "\ufffd")


def run_row(instance_id: UUID, run: TaskRun) -> dict[str, Any]:
    """A row of the history; a value that is large is replaced by a text, its beginning, and `cut` says so."""
    cut: dict[str, int] = {}
    return {
        "instance_id": instance_id,
        "number": run.number,
        "name": run.name,
        "kind": run.kind,
        "pointer": run.pointer,
        "iteration": run.iteration,
        "attempt": run.attempt,
        "status": run.status,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "input": kept("input", run.input, cut) if run.began else None,
        "output": None if run.output is msgspec.UNSET else kept("output", run.output, cut),
        "error": None if run.error is None else kept("error", msgspec.to_builtins(run.error), cut),
        "cut": cut or None,
    }


def kept(field: str, value: Any, cut: dict[str, int]) -> Any:
    """The value's JSON, or a text of its beginning where it is large, which is noted in `cut` with about how large it is.

    What is surely large is not encoded: a workflow may carry a megabyte through a thousand tasks.
    """
    try:
        size = measure(value).size
    except (TooLargeError, TooDeepError):
        size = VALUE_BYTES
    text = b"" if size > SURELY_LARGE else msgspec.json.encode(value)
    if size <= SURELY_LARGE and len(text) <= KEPT_BYTES:
        return msgspec.Raw(text)
    cut[field] = max(size, len(text))
    return beginning(value)


def beginning(value: Any) -> str:
    """The first characters of a value's JSON, without making the rest."""
    return msgspec.json.encode(opening(value, BEGINNING)[0]).decode()[:BEGINNING]


def opening(value: Any, room: int) -> tuple[Any, int]:
    """A copy of a value without what is behind so many characters of its JSON, and how much room the copy leaves."""
    if isinstance(value, str):
        return value[: max(room, 0)], room - len(value) - 2
    if isinstance(value, list):
        items = []
        for item in value:
            if room <= 0:
                break
            inner, room = opening(item, room - 1)
            items.append(inner)
        return items, room - 1
    if isinstance(value, dict):
        fields = {}
        for key, item in value.items():
            if room <= 0:
                break
            fields[key[:BEGINNING]], room = opening(item, room - len(key) - 4)
        return fields, room - 1
    return value, room - 1
