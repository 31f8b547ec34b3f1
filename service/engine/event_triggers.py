"""Event triggers: an event of a kind starts an instance of a workflow, its variables worked out from the event.

Each trigger meets an event once, by the event's idempotency key, and leaves an occurrence: the instance that it started or
why it started none. An event that a trigger's filter does not let through leaves nothing.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from service.engine.beginning import DEEPEST, New, begin, title_of
from service.engine.definitions import definition_of
from service.engine.events import Subject, record
from service.engine.inbox import key_of
from service.engine.queue import Job, enqueue
from service.engine.repeated import repeated_id
from service.language.document import Definition
from service.language.expr import ExprRefused, asked, printed, read
from service.language.expressions import Evaluation, ExpressionFailure
from service.language.inputs import with_defaults
from service.language.questions import Answering, Validation, ask
from service.language.sizes import VALUE_BYTES
from service.language.values import LARGEST_INTEGER, flaw
from tenancy.rows import current_connection
from tenancy.rows import read as read_at_once

KEPT_FOR = timedelta(days=30)
SWEPT_AT_ONCE = 1000
LONGEST_ERROR = 2000
TOO_MANY_DIGITS = 10**100  # amounts have no more

TOO_DEEP = f"Workflows start one another by their events at most {DEEPEST} deep."
TOO_LARGE = f"The variables have more than {VALUE_BYTES} bytes together."
DELETED = "The workflow has been deleted."
UNPUBLISHED = "The workflow is not published."
PAUSED = "The workflow is paused and starts no instances."

TAKING = """
SELECT count(*) FROM event_trigger
WHERE account_id = $1 AND event = $2 AND (version IS NULL OR version = $3) AND deleted_at IS NULL
"""
# Those that have not met the event yet.
MEETING = """
SELECT one.id, one.account_id, one.workflow_id, one.filter, one.vars, one.created_by, one.created_by_name, workflow.status,
       workflow.paused, workflow.active_version_id
FROM event_trigger AS one JOIN workflow ON workflow.id = one.workflow_id
WHERE one.account_id = $1 AND one.event = $2 AND (one.version IS NULL OR one.version = $3) AND one.deleted_at IS NULL
  AND NOT EXISTS (SELECT FROM trigger_occurrence AS met
                  WHERE met.account_id = $1 AND met.trigger_id = one.id AND met.event_key = $4)
ORDER BY one.id
"""
MET = """
INSERT INTO trigger_occurrence (id, account_id, trigger_id, event_key, event, at, instance_id, error)
VALUES ($1, $2, $3, $4, $5, clock_timestamp(), $6, $7) ON CONFLICT (account_id, trigger_id, event_key) DO NOTHING
RETURNING id
"""


class BusEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event in the vendor's envelope."""

    idempotency_key: str
    date: str
    app: str
    version: str
    type: str
    payload: Any


class Told(msgspec.Struct, frozen=True):
    """What a job says of an event: the event, and what it is recognised by."""

    key: str
    event: BusEvent


class Meeting(msgspec.Struct, frozen=True):
    """A trigger that meets an event, with the definition that it would start (None: there is none)."""

    trigger: asyncpg.Record
    definition: Definition | None


class Outcome(msgspec.Struct, frozen=True):
    """What an event comes to for a trigger: the input of an instance, or why there is none."""

    input: dict[str, Any] | None = None
    error: str | None = None


class Tested(msgspec.Struct, frozen=True):
    """What a trigger makes of an event: whether its filter lets it through, and its variables or why they fail.

    A failure is an `ExpressionFailure`; None where there is no filter, or nothing was worked out.
    """

    match: bool | ExpressionFailure | None
    variables: dict[str, str | ExpressionFailure] | None


# --- How events come ------------------------------------------------------------------------------------------------


def told(event: BusEvent) -> Told:
    """An event of the bus: it is the same one if it has the same idempotency key."""
    key = hashlib.sha256(msgspec.json.encode(["bus", event.idempotency_key])).hexdigest()
    return Told(key, event)


def told_of(event: Mapping[str, Any]) -> Told:
    """A CloudEvent, which a workflow or somebody of the account has published: its `data` is the payload."""
    as_sent = dict(event)
    version = as_sent.get("version")
    return Told(
        key_of(as_sent),
        BusEvent(
            idempotency_key=f"{as_sent['source']} {as_sent['id']}",
            date=as_sent.get("time", ""),
            app=as_sent["source"],
            version=version if isinstance(version, str) else "",
            type=as_sent["type"],
            payload=as_sent.get("data"),
        ),
    )


async def hand_over(account_id: UUID, heard: Told, depth: int) -> int:
    """Have triggers meet an event, in the open transaction; how many take events of its type and version.

    `depth` is that of what they start: how many workflows stand above.
    """
    taking: int = await current_connection().fetchval(
        TAKING, account_id, heard.event.type, heard.event.version
    )
    if taking:
        payload = msgspec.json.encode(heard)
        await enqueue([Job(account_id, None, "bus_event", wait=depth, payload=payload)])
    return taking


# --- What triggers make of them -------------------------------------------------------------------------------------


async def meeting(account_id: UUID, heard: Told) -> list[Meeting]:
    """The triggers that have still to meet an event, in the open transaction."""
    event = heard.event
    rows = await current_connection().fetch(MEETING, account_id, event.type, event.version, heard.key)
    return [
        Meeting(row, row["active_version_id"] and await definition_of(row["active_version_id"]))
        for row in rows
    ]


async def let_through(
    answering: Answering, account_id: UUID, filters: Sequence[str | None], payload: Any
) -> list[bool | ExpressionFailure]:
    """Whether each filter lets an event through; one that gives no boolean does not. No filter lets everything through."""
    written = [text for text in filters if text]
    answers = iter(await values(answering, account_id, written, payload))
    found = [next(answers) if text else True for text in filters]
    return [one if isinstance(one, ExpressionFailure) else one is True for one in found]


async def values(answering: Answering, account_id: UUID, texts: Sequence[str], payload: Any) -> list[Any]:
    """The value or failure of each of some expressions over an event's payload."""
    questions = [await question(text, payload) for text in texts]
    sound = [one for one in questions if isinstance(one, Evaluation)]
    answers = iter(await ask(answering, account_id, sound))
    return [next(answers) if isinstance(one, Evaluation) else one for one in questions]


async def question(text: str, payload: Any) -> Evaluation | ExpressionFailure:
    """The question for an expression's value, while others have their turn.

    It was read when its trigger was made, but perhaps by another release.
    """
    await asyncio.sleep(0)
    try:
        return asked(read(text), payload)
    except ExprRefused as error:
        return ExpressionFailure("expression refused", str(error))


async def variables(
    answering: Answering, account_id: UUID, texts: Mapping[str, str], payload: Any
) -> dict[str, str | ExpressionFailure]:
    """The variables for an event as texts, or why they have no value.

    A filter may take a number that is too large to be held for its neighbour; a variable, of which somebody may be paid, has
    all of its digits.
    """
    found = await values(answering, account_id, list(texts.values()), with_digits(payload))
    return {
        name: one if isinstance(one, ExpressionFailure) else storable(printed(one))
        for name, one in zip(texts, found, strict=True)
    }


def with_digits(value: Any) -> Any:
    """A value of JSON, in which the numbers that not every reader holds exactly are the texts of their up to 100 digits."""
    if isinstance(value, dict):
        return {key: with_digits(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_digits(inner) for inner in value]
    is_large = isinstance(value, int | float) and LARGEST_INTEGER < abs(value) < TOO_MANY_DIGITS
    return str(int(value)) if is_large else value


def storable(text: str) -> str | ExpressionFailure:
    """A variable's text, if it can be kept."""
    wrong = flaw(text)
    return text if wrong is None else ExpressionFailure("value refused", f"the value {wrong}")


async def tested(
    answering: Answering, account_id: UUID, filter_text: str | None, texts: Mapping[str, str], payload: Any
) -> Tested:
    """What a trigger would make of an event; nothing is started."""
    match = None
    if filter_text:
        (match,) = await let_through(answering, account_id, [filter_text], payload)
    if match not in (None, True) or not texts:
        return Tested(match, None)
    return Tested(match, await variables(answering, account_id, texts, payload))


async def outcome(answering: Answering, met: Meeting, payload: Any, depth: int) -> Outcome:
    """What an event that was let through comes to for a trigger, without any transaction open."""
    row, definition = met.trigger, met.definition
    because = TOO_DEEP if depth > DEEPEST else unable(row)
    if because is not None or definition is None:
        return Outcome(error=because or UNPUBLISHED)
    texts = msgspec.json.decode(row["vars"], type=dict[str, str])
    found = await variables(answering, row["account_id"], texts, payload)
    failed = [f"{name}: {one.detail}" for name, one in found.items() if isinstance(one, ExpressionFailure)]
    if failed:
        return Outcome(error="; ".join(failed)[:LONGEST_ERROR])
    complete = with_defaults(definition.input_schema, dict(found))
    if len(msgspec.json.encode(complete)) > VALUE_BYTES:
        return Outcome(error=TOO_LARGE)
    misfits = await misfit(answering, row["account_id"], definition, complete)
    return Outcome(complete) if misfits is None else Outcome(error=misfits[:LONGEST_ERROR])


def unable(trigger: asyncpg.Record) -> str | None:
    """Why a trigger's workflow starts nothing, if it does not."""
    if trigger["status"] == "archived":
        return DELETED
    if trigger["active_version_id"] is None:
        return UNPUBLISHED
    return PAUSED if trigger["paused"] else None


async def misfit(
    answering: Answering, account_id: UUID, definition: Definition, given: dict[str, Any]
) -> str | None:
    """Why a workflow does not take its variables, if it does not."""
    if definition.input_schema is None:
        return None
    (answer,) = await ask(answering, account_id, [Validation(definition.input_schema, given)])
    if isinstance(answer, ExpressionFailure):
        return f"The variables cannot be checked: {answer.detail}"
    return "; ".join(f"{'/'.join(map(str, one.path))} {one.message}" for one in answer) or None


# --- What comes of it -----------------------------------------------------------------------------------------------


async def fire(met: Meeting, heard: Told, came: Outcome, depth: int) -> None:
    """Start a trigger's instance, and write down what the event came to; nothing if that has been done.

    In the open transaction.
    """
    row, now = met.trigger, datetime.now(UTC)
    account_id: UUID = row["account_id"]
    instance_id = None
    if came.input is not None and met.definition is not None:
        instance_id = repeated_id(row["id"], heard.key)
        new = New(
            id=instance_id,
            account_id=account_id,
            version_id=row["active_version_id"],
            name=f"{title_of(met.definition)} {now.isoformat(timespec='seconds')}",
            at=now,
            started_by=row["created_by"],
            started_by_name=row["created_by_name"],
            input=came.input,
            depth=depth,
        )
        if not await begin(new, met.definition, trigger_id=row["id"]):
            return
    event = msgspec.json.encode(heard.event).decode()
    connection = current_connection()
    written = await connection.fetchval(
        MET, uuid7(), account_id, row["id"], heard.key, event, instance_id, came.error
    )
    if written is not None and came.error is not None:
        subject = Subject(account_id, row["workflow_id"])
        await record(subject, "event_trigger.failed", None, trigger_id=row["id"], reason=came.error)


async def sweep() -> int:
    """Delete what is of no use any more, of any account, after 30 days; say how many rows there were.

    A page at a time, past what anybody else has locked: any number of processes may do so at once.
    """
    total, gone = 0, SWEPT_AT_ONCE
    while gone >= SWEPT_AT_ONCE:
        ((gone,),) = await read_at_once("SELECT sweep_event_triggers($1, $2)", SWEPT_AT_ONCE, KEPT_FOR)
        total += gone
    return total
