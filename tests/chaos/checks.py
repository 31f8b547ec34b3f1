"""What must be true when everything has ended: each statement finds what breaks it, and says what that is."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from tests.chaos.callee import Call
from tests.chaos.mix import Kind
from tests.chaos.people import Acknowledged

SHOWN = 5  # of each complaint
ENDED = "'instance.completed', 'instance.faulted', 'instance.cancelled', 'instance.canceled'"

# Each finds rows with a text that says which thing it is about.
STATEMENTS = {
    "has not ended": """
        SELECT id || ' ' || status FROM instance
        WHERE ended_at IS NULL OR status NOT IN ('completed', 'faulted', 'cancelled')""",
    "has not one event each of its trigger and of its end": f"""
        SELECT instance.id || ' ' || coalesce(string_agg(event.type, ', ' ORDER BY event.id), 'none')
        FROM instance LEFT JOIN event ON event.account_id = instance.account_id AND event.instance_id = instance.id
        GROUP BY instance.id
        HAVING count(*) FILTER (WHERE type = 'instance.triggered') <> 1
            OR count(*) FILTER (WHERE type = 'instance.started') > 1
            OR count(*) FILTER (WHERE type IN ({ENDED})) <> 1""",
    "has a history with gaps or repetitions": """
        SELECT instance_id || ' ' || string_agg(number::text, ',' ORDER BY number) FROM task_run
        GROUP BY instance_id
        HAVING count(*) <> max(number) - min(number) + 1 OR count(DISTINCT number) <> count(*) OR min(number) > 1""",
    "has entered a task twice in one iteration and attempt": """
        SELECT instance_id || ' ' || pointer FROM task_run
        GROUP BY instance_id, pointer, iteration, attempt HAVING count(*) > 1""",
    "has a task that never ended": """
        SELECT instance_id || ' ' || pointer || ' ' || status FROM task_run
        WHERE ended_at IS NULL OR status = 'running'""",
    "has no history, though nobody cancelled it before it began": """
        SELECT id || ' ' || status FROM instance
        WHERE status <> 'cancelled' AND id NOT IN (SELECT instance_id FROM task_run)""",
    "has more or fewer children than it started": """
        SELECT parent.id::text FROM instance AS parent
        LEFT JOIN (SELECT parent_id, count(*) FROM instance GROUP BY parent_id) AS children ON children.parent_id = parent.id
        LEFT JOIN (SELECT instance_id, count(*) FROM task_run WHERE kind = 'run' GROUP BY instance_id) AS started
            ON started.instance_id = parent.id
        WHERE coalesce(children.count, 0) <> coalesce(started.count, 0)""",
    "was asked of people and not decided exactly once": """
        SELECT work_item.id::text FROM work_item
        WHERE status <> 'completed' OR (SELECT count(*) FROM decision WHERE work_item_id = work_item.id) <> 1""",
    "is a job that is left": "SELECT id || ' ' || reason FROM job",
    "is a timer that is left": "SELECT instance_id || ' ' || wait FROM timer",
    "is a listener that is left": "SELECT instance_id || ' ' || wait FROM listener",
}
OUTCOMES = """
SELECT instance.id, workflow.name, instance.status, instance.trigger_inputs, convert_from(instance.output, 'UTF8') AS output,
       coalesce(history.runs, 0) AS runs, coalesce(history.called, 0) AS called
FROM instance JOIN workflow ON workflow.id = instance.workflow_id LEFT JOIN (
    SELECT instance_id, count(*) AS runs, count(*) FILTER (WHERE kind = 'call' AND status = 'completed') AS called
    FROM task_run GROUP BY instance_id) AS history ON history.instance_id = instance.id
"""


async def violations(
    rows: asyncpg.Connection,
    kinds: Sequence[Kind],
    acknowledged: Mapping[UUID, Acknowledged],
    calls: Sequence[Call],
) -> list[str]:
    """Say everything that is not as it must be; an empty list is what one hopes for."""
    found = []
    for complaint, statement in STATEMENTS.items():
        found += shortened([f"{row[0]} {complaint}" for row in await rows.fetch(statement)])
    outcomes = await rows.fetch(OUTCOMES)
    there = {row["id"] for row in outcomes}
    found += shortened([f"{one} was acknowledged and is lost" for one in acknowledged if one not in there])
    found += shortened(wrong_outcomes(outcomes, {kind.name: kind for kind in kinds}))
    return found + shortened(wrong_calls(outcomes, calls))


def shortened(complaints: list[str]) -> list[str]:
    """Keep the first few of many complaints of one sort."""
    more = len(complaints) - SHOWN
    return complaints[:SHOWN] + ([f"... and {more} more"] if more > 0 else [])


def wrong_outcomes(outcomes: Sequence[asyncpg.Record], kinds: Mapping[str, Kind]) -> list[str]:
    """Say which instances ended otherwise than their definition says."""
    found = []
    for row in outcomes:
        kind = kinds.get(row["name"])
        if kind is None:
            continue
        wanted: Any = kind.output(msgspec.json.decode(row["trigger_inputs"]))
        output = None if row["output"] is None else msgspec.json.decode(row["output"])
        if (row["status"], output) != (kind.status, wanted):
            found.append(
                f"{row['id']} ({kind.name}) ended {row['status']} with {output}, not {kind.status} with {wanted}"
            )
        if kind.runs not in (None, row["runs"]):
            found.append(f"{row['id']} ({kind.name}) has {row['runs']} rows of history, not {kind.runs}")
    return found


def wrong_calls(outcomes: Sequence[asyncpg.Record], calls: Sequence[Call]) -> list[str]:
    """Say which calls came without a key or under a key of another call, and which never came though they are told of."""
    found = [f"a call came without an Idempotency-Key: {call.body!r}" for call in calls if call.key is None]
    bodies: dict[str, set[bytes]] = {}
    for call in calls:
        bodies.setdefault(call.key or "", set()).add(call.body)
    found += [
        f"the key {key} came with {len(each)} bodies" for key, each in bodies.items() if key and len(each) > 1
    ]
    keys: dict[str, int] = {}
    for key in bodies:
        keys[key.partition(":")[0]] = keys.get(key.partition(":")[0], 0) + 1
    for row in outcomes:
        if row["name"] == "calls" and keys.get(str(row["id"]), 0) < row["called"]:
            found.append(
                f"{row['id']} tells of {row['called']} calls, of which {keys.get(str(row['id']), 0)} came"
            )
    strangers = set(keys) - {str(row["id"]) for row in outcomes} - {""}
    return found + [f"calls came under the key of {one}, which is no instance" for one in sorted(strangers)]
