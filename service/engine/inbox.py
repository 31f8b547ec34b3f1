"""The events that wait for instances: sent to one of them, or of the account and listened for by many.

What was sent to an instance is kept until one of its tasks takes it. An event of the account is offered once: the worker
drops it when the instance has looked at it (contract 10.6).
"""

import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from service.engine.queue import Job, enqueue
from tenancy.rows import current_connection

KEPT_EVENTS = 100  # that wait for one instance

# Everyone locks in the order of ids, and instances before jobs.
LIVING = """
SELECT id FROM instance WHERE account_id = $1 AND id = ANY($2) AND ended_at IS NULL ORDER BY id FOR UPDATE
"""

# The same event again (source and id) is there once; sent to the instance itself as well, it is kept.
PUT = f"""
INSERT INTO signal (id, account_id, instance_id, event_key, event, kept)
SELECT gen_random_uuid(), $1, listening.id, $3, $4, $5 FROM unnest($2::uuid[]) AS listening (id)
WHERE (SELECT count(*) FROM signal WHERE account_id = $1 AND instance_id = listening.id) < {KEPT_EVENTS}
ON CONFLICT (account_id, instance_id, event_key) DO UPDATE SET kept = true WHERE excluded.kept AND NOT signal.kept
RETURNING instance_id
"""


async def locked(account_id: UUID, instances: Sequence[UUID]) -> list[UUID]:
    """Lock those of the instances that have not ended: an instance that ends deletes what waits for it."""
    if not instances:
        return []
    return [row["id"] for row in await current_connection().fetch(LIVING, account_id, instances)]


async def put(account_id: UUID, instances: Sequence[UUID], event: dict[str, Any], *, kept: bool) -> int:
    """Give instances, which are locked, an event, and have them look at it; how many there were to take it.

    Those that have it already or for which 100 events wait do not get it.
    """
    if not instances:
        return 0
    text = msgspec.json.encode(event)
    given = await current_connection().fetch(PUT, account_id, instances, key_of(event), text, kept)
    await enqueue([Job(account_id, row["instance_id"], "event") for row in given])
    return len(given)


def key_of(event: dict[str, Any]) -> str:
    """What makes an event the one that it is; a digest, as an index takes no more than some 2,700 bytes."""
    return hashlib.sha256(msgspec.json.encode([event["source"], event["id"]])).hexdigest()
