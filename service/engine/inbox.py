"""The events that wait for instances: sent to one of them, or of the account and listened for by many.

What was sent to an instance is kept until one of its tasks takes it, for 7 days at the most. An event of the account is
offered once: the worker drops it when the instance has looked at it. An event that an instance has taken is known by its
source and id, so that the same one again is not given to it (contract 10.6).
"""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from service.engine.bell import ring_after_commit
from tenancy.rows import current_connection, read

KEPT_EVENTS = 100  # that wait for one instance
KEPT_FOR = timedelta(days=7)
KNOWN_EVENTS = 1000  # that one instance has taken; the older ones are forgotten
SWEPT_AT_ONCE = 1000

# Everyone locks in the order of ids, and instances before jobs.
LIVING = """
SELECT id FROM instance WHERE account_id = $1 AND id = ANY($2) AND ended_at IS NULL ORDER BY id FOR UPDATE
"""

# The same event again (source and id) is there once, and not at all when it has been taken; sent to the instance itself as
# well, it is kept. It came when it is written: the transaction may have waited for the instance behind later ones.
PUT = f"""
INSERT INTO signal (id, account_id, instance_id, event_key, event, kept, received_at)
SELECT gen_random_uuid(), $1, listening.id, $3, $4, $5, clock_timestamp() FROM unnest($2::uuid[]) AS listening (id)
WHERE (SELECT count(*) FROM signal WHERE account_id = $1 AND instance_id = listening.id) < {KEPT_EVENTS}
  AND NOT EXISTS (
      SELECT FROM taken_event WHERE account_id = $1 AND instance_id = listening.id AND event_key = $3)
ON CONFLICT (account_id, instance_id, event_key) DO UPDATE SET kept = true WHERE excluded.kept AND NOT signal.kept
RETURNING instance_id
"""

# One job looks at all events: where one waits already, that one does. It is locked, so that nobody claims it before these
# events are there, and nobody else adds one, as the instances are locked.
LOOK = """
WITH waiting AS MATERIALIZED (
    SELECT instance_id FROM job
    WHERE account_id = $1 AND instance_id = ANY ($2) AND reason = 'event' AND leased_until IS NULL FOR UPDATE
)
INSERT INTO job (account_id, instance_id, lane, reason)
SELECT $1, given.id, 'advance', 'event' FROM unnest($2::uuid[]) AS given (id)
WHERE given.id NOT IN (SELECT instance_id FROM waiting)
"""

# Of those known before this statement all but the latest are forgotten.
DROP = f"""
WITH gone AS (
    DELETE FROM signal WHERE id = ANY ($1 || $2::uuid[]) RETURNING id, account_id, instance_id, event_key
), taken AS MATERIALIZED (
    SELECT account_id, instance_id, event_key FROM gone WHERE id = ANY ($1::uuid[])
), forgotten AS (
    DELETE FROM taken_event USING (SELECT DISTINCT account_id, instance_id FROM taken) AS taker
    WHERE taken_event.account_id = taker.account_id AND taken_event.instance_id = taker.instance_id
      AND taken_event.id <= (
          SELECT id FROM taken_event AS known
          WHERE known.account_id = taker.account_id AND known.instance_id = taker.instance_id
          ORDER BY id DESC OFFSET {KNOWN_EVENTS} LIMIT 1)
)
INSERT INTO taken_event (account_id, instance_id, event_key) SELECT * FROM taken ON CONFLICT DO NOTHING
"""


async def locked(account_id: UUID, instances: Sequence[UUID]) -> list[UUID]:
    """Lock those of the instances that have not ended: an instance that ends deletes what waits for it."""
    if not instances:
        return []
    return [row["id"] for row in await current_connection().fetch(LIVING, account_id, instances)]


async def put(account_id: UUID, instances: Sequence[UUID], event: dict[str, Any], *, kept: bool) -> int:
    """Give instances, which are locked, an event, and have them look at it; how many there were to take it.

    Those that have it or have taken it already, or for which 100 events wait, do not get it.
    """
    if not instances:
        return 0
    text = msgspec.json.encode(event)
    given = await current_connection().fetch(PUT, account_id, instances, key_of(event), text, kept)
    await current_connection().execute(LOOK, account_id, [row["instance_id"] for row in given])
    ring_after_commit(["advance"])
    return len(given)


async def drop(taken: Sequence[UUID], unwanted: Sequence[UUID] = ()) -> None:
    """Delete events that instances have taken, which are known from then on, and others that were offered in vain.

    In the open transaction, which has locked the instances.
    """
    if taken or unwanted:
        await current_connection().execute(DROP, taken, unwanted)


async def sweep() -> int:
    """Delete what was sent to instances of any account and not taken for 7 days; say how many events there were.

    A page at a time, past what anybody else has locked: any number of processes may do so at once.
    """
    total, gone = 0, SWEPT_AT_ONCE
    while gone == SWEPT_AT_ONCE:
        ((gone,),) = await read("SELECT sweep_signals($1, $2)", SWEPT_AT_ONCE, KEPT_FOR)
        total += gone
    return total


def key_of(event: dict[str, Any]) -> str:
    """What makes an event the one that it is; a digest, as an index takes no more than some 2,700 bytes."""
    return hashlib.sha256(msgspec.json.encode([event["source"], event["id"]])).hexdigest()
