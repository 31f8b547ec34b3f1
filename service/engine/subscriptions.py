"""How schedules take events (contract 6.3, `on`): each is a `listen` without an instance, begun anew once it has enough.

The interpreter runs it as the only task of a workflow, so filters, correlation, `all` and `until` mean what they mean in a
`listen`. Its state stays with the schedule. What goes wrong in it shows in no instance: it begins anew, and the log says so.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from service.engine.beginning import DEEPEST, New, begin, title_of
from service.engine.definitions import definition_of
from service.engine.events import Subject, record
from service.engine.frames import Listening, State, decode_state, encode_state
from service.engine.inbox import key_of
from service.engine.interpreter import advance, drive, run
from service.engine.loading import RUNTIME
from service.engine.messages import Advance, Events, Facts, InboxEvent, Start
from service.engine.messages import Listen as Wanted
from service.engine.repeated import repeated_id
from service.engine.states import Status
from service.engine.storing import MOST_STATE_BYTES
from service.language.document import Definition, Listen, Strategy, Task
from service.language.questions import Answering, Question, ask
from tenancy.rows import current_connection

logger = logging.getLogger("tutti.schedules")

# Always the same, so that a schedule that begins anew is in the very state in which it began.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

TOO_DEEP = f"Workflows start one another by their events at most {DEEPEST} deep; the event started nothing."

WANTED = """
SELECT EXISTS (SELECT FROM schedule WHERE {wanting})
    OR EXISTS (SELECT FROM event_trigger WHERE account_id = $1 AND event = $2 AND deleted_at IS NULL)
"""
WANTING = "account_id = $1 AND kind = 'on' AND NOT paused AND (types IS NULL OR $2 = ANY (types))"

# An event is looked at without a lock, so what came of it holds only for schedules that are still as they were.
UNCHANGED = """
SELECT schedule.id FROM schedule JOIN unnest($2::uuid[], $3::bytea[]) AS seen (id, state) ON schedule.id = seen.id
WHERE schedule.account_id = $1 AND schedule.state = seen.state AND NOT schedule.paused
ORDER BY schedule.id FOR UPDATE OF schedule
"""


class Listened(msgspec.Struct, frozen=True):
    """How far a schedule is: what it has taken, as its row holds it, and the types of events it wants (None: any)."""

    state: bytes
    types: list[str] | None


class Offer(msgspec.Struct, frozen=True):
    """What an event comes to for a schedule: how far that is now, and the events that start an instance, if it does.

    Those may be none: an event of `until` is not among them.
    """

    schedule: asyncpg.Record
    definition: Definition
    event: dict[str, Any]
    becomes: Listened
    events: list[dict[str, Any]] | None = None


def begun(definition: Definition, on: Strategy) -> Listened:
    """Say what a schedule listens for that has taken nothing."""
    result = drive(advance(alone(definition, on), None, Start(BEGINNING), facts()), unanswered)
    return listened(result, None)


def alone(definition: Definition, on: Strategy) -> Definition:
    """The definition of a workflow that does nothing but listen."""
    task = Task(name="on", kind="listen", pointer="/schedule/on", definition={}, work=Listen(on, "envelope"))
    return msgspec.structs.replace(
        definition, input_from=None, tasks=(task,), output_as=None, output_schema=None, timeout=None
    )


def facts(*inbox: InboxEvent) -> Facts:
    """What is true while a schedule looks at events."""
    return Facts("", {**RUNTIME, "metadata": {}}, inbox)


def unanswered(_: Sequence[Question]) -> list[Any]:
    """Stand for whoever would answer: nothing is asked before there is an event."""
    raise AssertionError("Listening begins without questions.")


def listened(result: Advance, before: list[str] | None) -> Listened:
    """Put how far a schedule is into the form in which it is stored."""
    assert result.state is not None  # noqa: S101 - it has begun
    types = before
    for effect in result.effects:
        if isinstance(effect, Wanted):
            types = None if None in effect.types else [one for one in effect.types if one is not None]
    return Listened(encode_state(result.state), types)


async def wanted(account_id: UUID, event_type: str) -> bool:
    """Whether any schedule or trigger of the account takes events of a type."""
    found: bool = await current_connection().fetchval(WANTED.format(wanting=WANTING), account_id, event_type)
    return found


async def wanting(account_id: UUID, event_type: str) -> list[tuple[asyncpg.Record, Definition]]:
    """The schedules that take events of a type, in the order in which everyone locks them, with their definitions."""
    rows = await current_connection().fetch(
        f"SELECT * FROM schedule WHERE {WANTING} ORDER BY id", account_id, event_type
    )
    return [(row, await definition_of(row["version_id"])) for row in rows]


async def offer(
    answering: Answering, schedule: asyncpg.Record, definition: Definition, event: dict[str, Any]
) -> Offer | None:
    """Let a schedule look at an event, without any transaction open; None when it does not take it."""
    account_id: UUID = schedule["account_id"]
    assert definition.schedule is not None  # noqa: S101 - it is the schedule's own
    assert definition.schedule.on is not None  # noqa: S101 - it takes events
    on, state = definition.schedule.on, decode_state(schedule["state"])
    if has_taken(state, event):
        return None

    async def answers(questions: Sequence[Question]) -> list[Any]:
        return await ask(answering, account_id, questions)

    told = facts(InboxEvent(0, event))
    result = await run(advance(alone(definition, on), state, Events(datetime.now(UTC)), told), answers)
    if not result.changed:
        return None
    if result.status is Status.WAITING:
        becomes = listened(result, schedule["types"])
        if len(becomes.state) <= MOST_STATE_BYTES:
            return Offer(schedule, definition, event, becomes)
    if result.status is not Status.COMPLETED:
        reason = "it has taken too much" if result.fault is None else result.fault.title
        logger.warning("schedule of workflow %s begins anew: %s", schedule["workflow_id"], reason)
        return Offer(schedule, definition, event, begun(definition, on))
    return Offer(schedule, definition, event, begun(definition, on), result.output)


def has_taken(state: State, event: dict[str, Any]) -> bool:
    """Whether an event that comes again is among those taken."""
    progress = state.root.current.progress if state.root.current else None
    taken = progress.elements if isinstance(progress, Listening) else ()
    return any(key_of(one) == key_of(event) for one in taken)


async def store(account_id: UUID, offers: Sequence[Offer], depth: int) -> bool:
    """Write what an event came to, in the open transaction; False, and nothing, when a schedule is not as it was.

    `depth` is that of what it starts: how many workflows stand above.
    """
    seen = [(offered.schedule["id"], offered.schedule["state"]) for offered in offers]
    ids, states = [identifier for identifier, _ in seen], [state for _, state in seen]
    unchanged = await current_connection().fetch(UNCHANGED, account_id, ids, states)
    if len(unchanged) < len(offers):
        return False
    for offered in offers:
        await current_connection().execute(
            "UPDATE schedule SET state = $3, types = $4 WHERE account_id = $1 AND id = $2",
            account_id,
            offered.schedule["id"],
            offered.becomes.state,
            offered.becomes.types,
        )
        if offered.events is not None:
            await start(offered, offered.events, depth)
    return True


async def start(offered: Offer, events: list[dict[str, Any]], depth: int) -> None:
    """Start an instance with the events that a schedule has taken; the same ones never start a second.

    Workflows that start one another by their events would go on for ever, so none starts below more than `DEEPEST`.
    """
    schedule, definition, now = offered.schedule, offered.definition, datetime.now(UTC)
    if depth > DEEPEST:
        subject = Subject(schedule["account_id"], schedule["workflow_id"], None)
        await record(subject, "schedule.refused", None, reason=TOO_DEEP)
        return
    new = New(
        id=repeated_id(schedule["id"], " ".join(map(key_of, [*events, offered.event]))),
        account_id=schedule["account_id"],
        version_id=schedule["version_id"],
        name=f"{title_of(definition)} {now.isoformat(timespec='seconds')}",
        at=now,
        started_by=schedule["started_by"],
        started_by_name=schedule["started_by_name"],
        input=events,
        depth=depth,
        schedule_id=schedule["id"],
    )
    await begin(new, definition, schedule=str(schedule["id"]))
