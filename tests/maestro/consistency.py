"""What must be true of one instance, whatever many people have done to it at once: what was promised, and its one history."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from tests.maestro.crowd import Answered
from tests.maestro.people import stored
from tests.world import Tenant

ENDS = {"instance.completed", "instance.faulted", "instance.cancelled"}
TABLES = (
    "instance",
    "task_run",
    "work_item",
    "decision",
    "timer",
    "signal",
    "listener",
    "taken_event",
    "job",
)
# As readers are told of them.
EVENTS = """
SELECT id, type, at, actor, data FROM event WHERE instance_id = $1 ORDER BY written_in, id
"""
# What each accepted request says of itself in the instance's events: one event each.
TOLD = {
    "signal": "instance.signalled",
    "cancel": "instance.cancelled",
    "suspend": "instance.suspended",
    "resume": "instance.resumed",
    "restart": "instance.restarted",
    "release": "work_item.released",
    "reassign": "work_item.reassigned",
}


class Kept(msgspec.Struct):
    """Every row of an instance, and its events in the order in which readers are told of them."""

    rows: Mapping[str, Sequence[asyncpg.Record]]
    events: Sequence[asyncpg.Record]

    @property
    def instance(self) -> asyncpg.Record:
        """The instance's own row."""
        (row,) = self.rows["instance"]
        return row

    def told(self, kind: str) -> list[asyncpg.Record]:
        """The events of a type."""
        return [event for event in self.events if event["type"] == kind]

    def about(self, item: asyncpg.Record) -> list[asyncpg.Record]:
        """The events of a work item."""
        return [event for event in self.events if data(event).get("work_item_id") == str(item["id"])]


async def kept(of: Tenant, instance_id: UUID) -> Kept:
    """Read everything that is stored of an instance."""
    rows = {}
    for table in TABLES:
        which = {
            "instance": "id = $1",
            "decision": "work_item_id IN (SELECT id FROM work_item WHERE instance_id = $1)",
        }
        where = which.get(table, "instance_id = $1")
        rows[table] = await stored(of, f"SELECT * FROM {table} WHERE {where}", instance_id)
    return Kept(rows, await stored(of, EVENTS, instance_id))


def contradictions(found: Kept, answers: Sequence[Answered], people: Sequence[UUID]) -> list[str]:
    """Say everything that cannot be true at once; an empty list is what one hopes for."""
    return [
        *broken_promises(found, answers, people),
        *disorder(found),
        *holders(found),
        *odd_answers(found),
        *odd_tasks(found),
        *odd_questions(found),
        *odd_events_taken(found),
        *left_over(found),
    ]


def broken_promises(found: Kept, answers: Sequence[Answered], people: Sequence[UUID]) -> Iterator[str]:
    """What was accepted and is not told of, or is told of and was not accepted."""
    accepted = [one.act for one in answers if one.accepted]
    for verb, kind in TOLD.items():
        promised = Counter(people[one.person] for one in accepted if one.verb == verb)
        told = Counter(
            event["actor"] for event in found.told(kind) if event["data"] != '{"reason": "restarted"}'
        )
        if promised != told:
            yield f"{verb}: accepted {promised}, told {told}"
    promised = Counter(one.body["type"] for one in accepted if one.verb == "signal")
    told = Counter(data(event)["type"] for event in found.told("instance.signalled"))
    if promised != told:
        yield f"accepted signals {promised - told} are not told of, {told - promised} were not accepted"
    given = Counter(
        (people[one.person], one.path.split("/")[5], one.body["outcome"])
        for one in accepted
        if one.path.endswith("/complete")
    )
    answered = Counter(
        (event["actor"], data(event)["work_item_id"], data(event)["outcome"])
        for event in found.told("work_item.answered")
    )
    if given != answered:
        yield f"accepted decisions {given - answered} are not told of, {answered - given} were not accepted"


def disorder(found: Kept) -> Iterator[str]:
    """What is told in an order in which it cannot have happened."""
    types = [event["type"] for event in found.events]
    for column in ("id", "at"):
        values = [event[column] for event in found.events]
        if values != sorted(values):
            yield f"readers are told of events in another order than that of {column}: {types}"
    if types.index("instance.triggered") or types.count("instance.triggered") != 1:
        yield f"begins with {types}"
    ends = [index for index, kind in enumerate(types) if kind in ENDS]
    status = found.instance["status"]
    if [types[index] for index in ends] != ([f"instance.{status}"] if found.instance["ended_at"] else []):
        yield f"is {status}, told are {[types[index] for index in ends]}"
    if ends and set(types[ends[0] + 1 :]) > {"instance.restarted"}:
        yield f"goes on after its end: {types[ends[0] + 1 :]}"
    holds = [kind for kind in types if kind in ("instance.suspended", "instance.resumed")]
    if holds != ["instance.suspended", "instance.resumed"] * (len(holds) // 2) + holds[: len(holds) % 2]:
        yield f"is suspended and resumed in the order {holds}"


def holders(found: Kept) -> Iterator[str]:
    """A work item that two hold at once, or that is answered by another than its holder or after it is decided."""
    for item in found.rows["work_item"]:
        holder, decided = None, False
        for event in found.about(item):
            kind, actor = event["type"].removeprefix("work_item."), event["actor"]
            unfit = {
                "claimed": holder is not None,
                "released": holder is None,
                "answered": holder not in (None, actor),
            }
            if decided or unfit.get(kind):
                yield f"{item['task']}: {kind} by {actor}, held by {holder}, decided: {decided}"
            decided = kind in ("decided", "cancelled")
            holder = {"claimed": actor, "released": None, "reassigned": None}.get(kind, holder)
        if item["claimed_by"] != holder:
            yield f"{item['task']} is held by {item['claimed_by']}, told is {holder}"


def odd_answers(found: Kept) -> Iterator[str]:
    """Decisions that are not the last answer of each person, and verdicts that do not follow from them."""
    for item in found.rows["work_item"]:
        about = found.about(item)
        decisions = {
            row["user_id"]: row["outcome"]
            for row in found.rows["decision"]
            if row["work_item_id"] == item["id"]
        }
        told = {
            event["actor"]: data(event)["outcome"] for event in about if event["type"] == "work_item.answered"
        }
        if decisions != told:
            yield f"{item['task']}: decisions {decisions}, told {told}"
        decided = "reject" in decisions.values() or len(decisions) >= item["minimum"]
        if decided != (item["status"] == "completed"):
            yield f"{item['task']} is {item['status']} with {decisions}"
        verdicts = [data(event)["outcome"] for event in about if event["type"] == "work_item.decided"]
        if verdicts != ([item["outcome"]] if decided else []):
            yield f"{item['task']} is decided as {item['outcome']}, told is {verdicts}"


def odd_tasks(found: Kept) -> Iterator[str]:
    """A history that has gaps, or a task twice, or one that goes on although its instance has ended."""
    runs = found.rows["task_run"]
    if sorted(run["number"] for run in runs) != list(range(1, len(runs) + 1)):
        yield f"numbers of its history: {sorted(run['number'] for run in runs)}"
    running = [run for run in runs if run["status"] == "running"]
    for which, some in (("entered", runs), ("running", running)):
        twice = Counter(
            (run["pointer"], which == "running" or (run["iteration"], run["attempt"])) for run in some
        )
        if len(twice) < len(some):
            yield f"{which} more than once: {twice.most_common(1)}"
    if found.instance["ended_at"] and running:
        yield f"has ended, and runs {running}"
    if any((run["status"] == "running") != (run["ended_at"] is None) for run in runs):
        yield f"ended or not: {[(run['name'], run['status'], run['ended_at']) for run in runs]}"


def odd_questions(found: Kept) -> Iterator[str]:
    """Work items that are not as their tasks are; a suspended instance, or a cancelled one, has not heard of its answers."""
    deaf = found.instance["status"] in ("cancelled", "suspended")
    for item in found.rows["work_item"]:
        states = {run["status"] for run in found.rows["task_run"] if run["name"] == item["task"]}
        wanted = "running" if item["status"] == "open" else item["status"]
        if states != {wanted} and not (deaf and item["status"] == "completed"):
            yield f"the work item {item['task']} is {item['status']}, its task {states}"


def odd_events_taken(found: Kept) -> Iterator[str]:
    """Events taken in another order than they came in, or twice, or that are neither taken nor wait."""
    came = list(dict.fromkeys(data(event)["type"] for event in found.told("instance.signalled")))
    runs = sorted(found.rows["task_run"], key=lambda run: run["number"])
    taken = [
        msgspec.json.decode(run["output"])[0]["type"]
        for run in runs
        if run["name"] == "event" and run["status"] == "completed"
    ]
    if taken != came[: len(taken)]:
        yield f"took {taken}, of {came}"
    waiting = sorted(found.rows["signal"], key=lambda row: row["received_at"])
    left = [msgspec.json.decode(row["event"])["type"] for row in waiting]
    if found.instance["ended_at"] is None and taken + left != came:
        yield f"took {taken} and keeps {left}, of {came}"


def left_over(found: Kept) -> Iterator[str]:
    """What belongs to an instance that has ended, or to a question that is answered."""
    if found.instance["ended_at"]:
        for table in ("timer", "signal", "listener", "taken_event", "job"):
            if found.rows[table]:
                yield f"has ended, and leaves in {table}: {found.rows[table]}"
    timers = {row["wait"] for row in found.rows["timer"]} - {0}  # 0: its own
    asked = {item["wait"] for item in found.rows["work_item"] if item["status"] == "open"}
    if timers != asked:
        yield f"timers of the waits {timers}, open work items of {asked}"
    if any((job["lane"] == "held") != (found.instance["status"] == "suspended") for job in found.rows["job"]):
        yield f"jobs are left: {found.rows['job']}"


def data(event: asyncpg.Record) -> Any:
    """What an event carries."""
    return msgspec.json.decode(event["data"])
