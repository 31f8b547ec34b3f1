"""Bulk actions: one verb for many instances, done in the background a batch at a time, account after account in turn.

A bulk action has a row for each instance that it has still to do. A batch is one transaction: it does the verb, deletes the
rows and counts them, so a worker that is killed loses nothing and nothing is done twice.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal
from uuid import UUID

import asyncpg
import msgspec

from service.engine.events import OfAccount, record
from service.engine.restarting import Actor, Options, restart
from service.engine.states import sources
from service.limits import space
from tenancy.errors import Refusal
from tenancy.faults import OUTAGE, SlowStatementError
from tenancy.rows import current_connection, read, rows_of

logger = logging.getLogger("tutti.bulk")

BATCH = 50  # instances in one transaction
PUT_OFF_FOR = timedelta(seconds=2)  # until an account is looked at again that may start no instances
LEASE = timedelta(seconds=30)  # after which others go on with the bulk action of a worker that died

Verb = Literal["cancel", "restart"]

ACTION = """
SELECT id, account_id, verb, options, created_by, created_by_name FROM bulk_action
WHERE account_id = $1 AND id = $2 AND status = 'running' FOR NO KEY UPDATE SKIP LOCKED
"""
TARGETS = """
SELECT instance_id FROM bulk_target WHERE account_id = $1 AND bulk_action_id = $2 ORDER BY instance_id LIMIT $3
"""
# Everyone locks in the order of ids.
CANCELLABLE = """
SELECT id FROM instance WHERE account_id = $1 AND id = ANY ($2) AND status = ANY ($3) ORDER BY id FOR UPDATE
"""
CANCEL = """
WITH ended AS MATERIALIZED (
    SELECT id, cancelled($1, id, $3, $4::uuid::text, $5) FROM unnest($2::uuid[]) AS id
)
INSERT INTO event (account_id, workflow_id, instance_id, type, actor, data)
SELECT $1, instance.workflow_id, instance.id, 'instance.' || $3, $4,
       jsonb_strip_nulls(jsonb_build_object('reason', $5::text, 'bulk_action_id', $6::uuid))
FROM ended JOIN instance ON instance.account_id = $1 AND instance.id = ended.id
"""
PUT_OFF = "UPDATE bulk_action SET leased_until = clock_timestamp() + $3 WHERE account_id = $1 AND id = $2"
TAKEN_OFF = "DELETE FROM bulk_target WHERE account_id = $1 AND bulk_action_id = $2 AND instance_id = ANY ($3)"
COUNTED = """
UPDATE bulk_action SET done = done + $3, skipped = skipped + $4, failed = failed + $5, leased_until = clock_timestamp(),
       status = CASE WHEN remains.some THEN status ELSE 'completed' END,
       ended_at = CASE WHEN NOT remains.some THEN clock_timestamp() END
FROM (SELECT EXISTS (SELECT FROM bulk_target WHERE account_id = $1 AND bulk_action_id = $2) AS some) AS remains
WHERE account_id = $1 AND id = $2
RETURNING status, total, done, skipped, failed
"""


class Tally(msgspec.Struct, frozen=True):
    """What became of a batch: instances that were done, those whose state did not allow it, those that failed."""

    done: int = 0
    skipped: int = 0
    failed: int = 0


async def take_batch() -> bool:
    """Do a batch of the bulk action that has waited longest, whosever it is; False if there is none."""
    claimed = await read("SELECT * FROM claim_bulk_action($1)", LEASE)
    for row in claimed:
        await perform(row["account_id"], row["id"])
    return bool(claimed)


async def perform(account_id: UUID, action_id: UUID) -> None:
    """Do a batch of a bulk action; if it fails for a reason of its own, one instance, which is passed over if it is that."""
    for size in (BATCH, 1):
        try:
            await batch(account_id, action_id, size)
        except OUTAGE:
            raise  # the next time it may go well
        except SlowStatementError:
            if size == 1:  # the database is slow, which is no reason to pass over an instance
                async with rows_of(account_id):
                    await current_connection().execute(PUT_OFF, account_id, action_id, LEASE)
                raise
        except Exception:
            logger.exception("bulk action %s: a batch of %d failed", action_id, size)
        else:
            return
    async with rows_of(account_id):
        action = await locked(account_id, action_id)
        if action is not None:
            targets = await next_targets(action, 1)
            await counted(action, targets, Tally(failed=len(targets)))


async def batch(account_id: UUID, action_id: UUID, size: int) -> None:
    """Do the next instances of a bulk action that nobody has stopped meanwhile, in one transaction.

    Restarts wait for as long as their account may start no instances.
    """
    left = await space.room(account_id)
    async with rows_of(account_id):
        action = await locked(account_id, action_id)
        if action is None:
            return
        if action["verb"] == "restart" and (left == 0 or space.refusal_of_storage(account_id) is not None):
            await current_connection().execute(PUT_OFF, account_id, action_id, PUT_OFF_FOR)
            return
        if action["verb"] == "restart" and left is not None:
            size = min(size, left)
        targets = await next_targets(action, size)
        done = await (
            cancelled(action, targets) if action["verb"] == "cancel" else restarted(action, targets)
        )
        await counted(action, targets, Tally(done, len(targets) - done))


async def locked(account_id: UUID, action_id: UUID) -> asyncpg.Record | None:
    """Lock a bulk action in the open transaction; None if it does not run any more, or another worker is at it still."""
    return await current_connection().fetchrow(ACTION, account_id, action_id)


async def next_targets(action: asyncpg.Record, size: int) -> list[UUID]:
    """The instances that come next."""
    rows = await current_connection().fetch(TARGETS, action["account_id"], action["id"], size)
    return [row["instance_id"] for row in rows]


async def cancelled(action: asyncpg.Record, targets: Sequence[UUID]) -> int:
    """Cancel those of the instances that have not ended; say how many there were."""
    connection, account_id = current_connection(), action["account_id"]
    allowed, becomes = sources("cancel")
    reason = msgspec.json.decode(action["options"]).get("reason")
    rows = await connection.fetch(CANCELLABLE, account_id, targets, allowed)
    living = [row["id"] for row in rows]
    await connection.execute(CANCEL, account_id, living, becomes, action["created_by"], reason, action["id"])
    return len(living)


async def restarted(action: asyncpg.Record, targets: Sequence[UUID]) -> int:
    """Restart those of the instances that can be; say how many there were."""
    actor = Actor(action["created_by"], action["created_by_name"])
    options = msgspec.json.decode(action["options"], type=Options)
    done = 0
    for instance_id in targets:
        try:
            if await restart(action["account_id"], instance_id, options, actor) is not None:
                done += 1
        except Refusal:  # which has written nothing
            continue
    return done


async def counted(action: asyncpg.Record, targets: Sequence[UUID], tally: Tally) -> None:
    """Write down how far a bulk action is, and its end with the last of its instances."""
    connection, account_id, action_id = current_connection(), action["account_id"], action["id"]
    await connection.execute(TAKEN_OFF, account_id, action_id, targets)
    (row,) = await connection.fetch(COUNTED, account_id, action_id, tally.done, tally.skipped, tally.failed)
    if row["status"] == "completed":
        counts = {name: row[name] for name in ("total", "done", "skipped", "failed")}
        await record(
            OfAccount(account_id), "bulk_action.completed", None, bulk_action_id=str(action_id), **counts
        )
