"""Removes what accounts have set not to keep: instances that ended some days ago, with all that belongs to them; events.

A batch of one account at a time, in a short transaction along an index, then it is another account's turn; any number of
processes may do so at once, past what others are just removing. Each batch writes one event that tells of it.

An instance whose result is still awaited stays, and so does whatever webhooks have still to tell.
"""

import logging
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec

from service.engine.effects import child
from service.engine.events import OfAccount, record
from service.engine.states import Status
from tenancy.rows import current_connection, read, rows_of

logger = logging.getLogger("tutti.retention")

INSTANCES = 100  # that one transaction removes; each may have thousands of rows
EVENTS = 2_000
ACTIONS = 100
LEASE = timedelta(minutes=1)  # after which others go on with the account of a process that died
EVERY = timedelta(hours=1)  # that an account is looked at
MARGIN = timedelta(
    hours=1
)  # before an event that is still to be read; transactions begin in another order than they end

TERMINAL = [status.value for status in Status if status.terminal]
BEGINNING = UUID(int=0)

CLAIM = "SELECT account_id FROM claim_retention($1)"
# From when on instances are kept. What webhooks have not read yet may tell of them.
KEPT = """
SELECT settings.instance_retention_days AS days,
       now() - make_interval(days => settings.instance_retention_days) AS since,
       (SELECT min(first.at) FROM webhook, LATERAL (
            SELECT event.at FROM event
            WHERE event.account_id = $1 AND (event.written_in, event.id) > (webhook.read_in, webhook.read_to)
            ORDER BY event.account_id, event.written_in, event.id LIMIT 1) AS first
        WHERE webhook.account_id = $1 AND webhook.enabled) AS unread
FROM account_settings AS settings WHERE settings.account_id = $1
"""
# Who has ended has begun before, so each status is read in the order in which it is indexed.
OLD = """
SELECT old.* FROM unnest($2::text[]) AS terminal (status), LATERAL (
    SELECT id, started_at, parent_id, parent_wait FROM instance
    WHERE account_id = $1 AND status = terminal.status AND ended_at IS NOT NULL AND ended_at < $3 AND started_at < $3
      AND (started_at, id) > ($4, $5)
    ORDER BY started_at, id LIMIT $6 FOR UPDATE SKIP LOCKED
) AS old ORDER BY old.started_at, old.id LIMIT $6
"""
# Which of them webhooks have still to be told of.
PENDING = """
SELECT DISTINCT one.instance_id FROM webhook JOIN webhook_delivery AS one
    ON one.account_id = webhook.account_id AND one.webhook_id = webhook.id
WHERE webhook.account_id = $1 AND one.instance_id = ANY ($2) AND one.status = 'pending' AND NOT one.aside
"""
# What was done by the thousand is kept as long as the instances that it was done to.
FORGET_ACTIONS = """
DELETE FROM bulk_action WHERE account_id = $1 AND id IN (
    SELECT id FROM bulk_action WHERE account_id = $1 AND created_at < $2 AND ended_at < $2 ORDER BY created_at LIMIT $3
)
"""
DELETE = "DELETE FROM instance WHERE account_id = $1 AND id = ANY ($2)"
FORGET = "SELECT forget_events($1)"
LATER = "UPDATE account_settings SET sweep_at = clock_timestamp() + $2 WHERE account_id = $1"


class Place(msgspec.Struct, frozen=True):
    """How far an account's instances have been looked through: up to this one."""

    started_at: datetime
    id: UUID = BEGINNING


class Sweep:
    """What this process removes; it knows how far it is with each account."""

    def __init__(self) -> None:
        self._places: dict[UUID, Place] = {}

    async def take_batch(self) -> bool:
        """Remove a batch of the account whose turn it is; False if it is nobody's."""
        claimed = await read(CLAIM, LEASE)
        for row in claimed:
            await self.remove(row["account_id"])
        return bool(claimed)

    async def remove(self, account_id: UUID) -> bool:
        """Remove a batch of an account's instances and one of its events; whether there may be more."""
        more = await self._remove_instances(account_id)
        more = await remove_events(account_id) or more
        async with rows_of(account_id) as connection:
            await connection.execute(LATER, account_id, timedelta() if more else EVERY)
        return more

    async def _remove_instances(self, account_id: UUID) -> bool:
        async with rows_of(account_id) as connection:
            kept = await connection.fetchrow(KEPT, account_id)
            if kept is None or kept["days"] is None:
                return False
            since = kept["since"] if kept["unread"] is None else min(kept["since"], kept["unread"] - MARGIN)
            forgotten = await connection.execute(FORGET_ACTIONS, account_id, kept["since"], ACTIONS)
            place = self._places.pop(account_id, None) or Place(datetime.min.replace(tzinfo=since.tzinfo))
            found = await connection.fetch(
                OLD, account_id, TERMINAL, since, place.started_at, place.id, INSTANCES
            )
            gone = await removable(account_id, found)
            if gone:
                await connection.execute(DELETE, account_id, gone)
                about = OfAccount(account_id)
                told = {"instances": len(gone), "ended_before": since, "days": kept["days"]}
                await record(about, "account.instances-removed", None, **told)
        if len(found) < INSTANCES:
            return bool(forgotten == f"DELETE {ACTIONS}")
        self._places[account_id] = Place(found[-1]["started_at"], found[-1]["id"])
        return True


async def removable(account_id: UUID, found: list[asyncpg.Record]) -> list[UUID]:
    """Say which of these instances may go: nobody awaits their results, nor is anybody still to be told of them."""
    if not found:
        return []
    pending = await current_connection().fetch(PENDING, account_id, [row["id"] for row in found])
    told = {row["instance_id"] for row in pending}
    return [
        row["id"]
        for row in found
        if row["id"] not in told
        and (row["parent_id"] is None or not await child.is_awaited(row["parent_id"], row["parent_wait"]))
    ]


async def remove_events(account_id: UUID) -> bool:
    """Remove a batch of an account's events; whether there may be more."""
    async with rows_of(account_id) as connection:
        gone: int = await connection.fetchval(FORGET, EVENTS)
        if gone:
            await record(OfAccount(account_id), "account.events-removed", None, events=gone)
    return gone == EVENTS
