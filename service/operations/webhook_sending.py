"""How events become deliveries to webhooks, and what those who send them read and write of it.

An endpoint's cursor moves in the transaction that stores its deliveries, so each event becomes one, once. Deliveries are
leased to whoever sends them; a process that dies leaves its leases to run out, and others send again what it may have sent.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from service.engine.events import SETTLED
from service.engine.vault import SecretsUnreadableError, opened
from service.operations.webhook_secrets import secret_name
from service.operations.webhooks import CONNECT, Format
from tenancy.rows import current_connection, read, rows_of

AT_ONCE = 500  # events that are read for an endpoint at once
MOST_PENDING = 10_000  # deliveries that may wait at one endpoint; further events wait to be read
KEPT = timedelta(days=30)  # for which the log of a delivery is kept
SWEPT_AT_ONCE = 1000

BEHIND = "SELECT account_id, id FROM webhooks_behind($1, $2)"
ENDPOINT = """
SELECT format, event_types, workflow_ids, read_in::text AS read_in, read_to, since::text AS since,
       (SELECT count(*) FROM (SELECT FROM webhook_delivery AS one
        WHERE one.account_id = $1 AND one.webhook_id = $2 AND one.status = 'pending' LIMIT $3) AS waiting) AS pending
FROM webhook WHERE account_id = $1 AND id = $2 AND enabled FOR NO KEY UPDATE
"""
# An instance's first pending delivery may be sent at once; what comes behind it waits for it. The order is that of the
# events' ids, as an instance's are written one after the other; the log, which is read by times, shows the same.
DISPATCH = f"""
WITH fresh AS (
    SELECT * FROM event
    WHERE event.account_id = $1 AND (event.written_in, event.id) > ($7::text::xid8, $8::bigint) AND {SETTLED}
    ORDER BY event.written_in, event.id LIMIT $3
), chosen AS (
    SELECT * FROM fresh
    WHERE NOT pg_visible_in_snapshot(written_in, $9::text::pg_snapshot)
      AND ($4::text[] = '{{}}' OR EXISTS (
          SELECT FROM unnest($4::text[]) AS wanted (type)
          WHERE wanted.type = fresh.type OR right(wanted.type, 1) = '*' AND starts_with(fresh.type, rtrim(wanted.type, '*'))))
      AND ($5::uuid[] = '{{}}' OR workflow_id = ANY ($5))
), stored AS (
    INSERT INTO webhook_delivery (id, account_id, webhook_id, workflow_id, instance_id, type, at, data, next_at, created_at)
    SELECT gen_random_uuid(), $1, $2, workflow_id, instance_id, type, at, data::json,
           CASE WHEN instance_id IS NULL OR (
               row_number() OVER (PARTITION BY instance_id ORDER BY id) = 1 AND NOT EXISTS (
                   SELECT FROM webhook_delivery AS before
                   WHERE before.account_id = $1 AND before.webhook_id = $2 AND before.instance_id = chosen.instance_id
                     AND before.status = 'pending' AND NOT before.aside)) THEN $6::timestamptz END,
           $6::timestamptz + row_number() OVER (ORDER BY id) * interval '1 microsecond'
    FROM chosen ORDER BY id
    RETURNING 1
), last AS (SELECT written_in, id FROM fresh ORDER BY written_in DESC, id DESC LIMIT 1)
UPDATE webhook SET read_in = last.written_in, read_to = last.id FROM last
WHERE webhook.account_id = $1 AND webhook.id = $2
RETURNING (SELECT count(*) FROM stored) AS stored, (SELECT count(*) FROM fresh) AS read
"""
CLAIM = "SELECT * FROM claim_webhook_deliveries($1, $2, $3, $4, $5, $6, $7, $8)"
LOAD = """
SELECT one.id, one.attempts, one.tries, one.type, one.at, one.data::text AS data, one.workflow_id, one.instance_id,
       webhook.id AS webhook_id, webhook.url, webhook.format, webhook.secret,
       CASE WHEN webhook.previous_until > $3 THEN webhook.previous_secret END AS previous_secret,
       instance.name AS instance_name, instance.started_by
FROM webhook_delivery AS one
JOIN webhook ON webhook.account_id = one.account_id AND webhook.id = one.webhook_id AND webhook.enabled
LEFT JOIN instance ON instance.account_id = one.account_id AND instance.id = one.instance_id
WHERE one.account_id = $1 AND one.id = ANY ($2)
"""
FINISH = """
SELECT finish_webhook_attempt($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) AS disabled_because
"""


class Dispatched(msgspec.Struct, frozen=True):
    """How many events were read for an endpoint, and how many of them it is told of."""

    read: int = 0
    stored: int = 0


class Lease(msgspec.Struct, frozen=True):
    """A delivery that is this process's to send; `failing`: that its endpoint's last attempt has failed."""

    id: UUID
    account_id: UUID
    webhook_id: UUID
    attempts: int
    failing: bool


class Places(msgspec.Struct, frozen=True):
    """The places of who sends: how many are free, how many an account and an endpoint may get, from which account on.

    `full` are accounts and `busy` endpoints that have their share already.
    """

    free: int
    of_account: int
    of_endpoint: int
    after: UUID
    full: list[UUID]
    busy: list[UUID]


class Claimed(msgspec.Struct, frozen=True):
    """What a claim gave, the account that it came to last, and whether there may be more behind it."""

    leases: list[Lease]
    last: UUID
    left_some: bool


class Due(msgspec.Struct, frozen=True):
    """A delivery that is to be sent. `secrets` sign it, the present one first; none: they cannot be read."""

    account_id: UUID
    webhook_id: UUID
    id: UUID
    attempts: int
    tries: int
    url: str
    format: Format
    secrets: tuple[str, ...]
    type: str
    at: datetime
    data: dict[str, Any]
    workflow_id: UUID | None
    instance_id: UUID | None
    instance_name: str | None
    started_by: UUID | None


class Result(msgspec.Struct, frozen=True):
    """What came of an attempt, and what follows: `next_at` None where it has ended, delivered or failed.

    `blamed`: that a failure is the endpoint's; `gone`: that it wants to hear nothing any more.
    """

    began: datetime
    ended: datetime
    delivered: bool
    status_code: int | None = None
    error: str | None = None
    answer: str | None = None
    next_at: datetime | None = None
    blamed: bool = True
    gone: bool = False

    @property
    def becomes(self) -> str:
        """The delivery's status."""
        if self.delivered:
            return "delivered"
        return "pending" if self.next_at else "failed"


async def behind(after: UUID, most: int) -> list[tuple[UUID, UUID]]:
    """Name endpoints, as account and id, whose events nobody has read yet; from the one behind `after` on."""
    return [(row["account_id"], row["id"]) for row in await read(BEHIND, after, most)]


async def dispatch(account_id: UUID, webhook_id: UUID, now: datetime) -> Dispatched:
    """Turn the next events of an account into deliveries to one of its endpoints, each once."""
    async with rows_of(account_id) as connection:
        row = await connection.fetchrow(ENDPOINT, account_id, webhook_id, MOST_PENDING)
        if row is None or row["pending"] >= MOST_PENDING:
            return Dispatched()
        types = row["event_types"]
        if row["format"] == "connect":
            types = [CONNECT[one] for one in types or CONNECT]
        most = min(AT_ONCE, MOST_PENDING - row["pending"])
        arguments = (most, types, row["workflow_ids"], now, row["read_in"], row["read_to"], row["since"])
        moved = await connection.fetchrow(DISPATCH, account_id, webhook_id, *arguments)
        return Dispatched() if moved is None else Dispatched(moved["read"], moved["stored"])


async def claim(now: datetime, lease: timedelta, places: Places) -> Claimed:
    """Lease deliveries of every account in turn, a few of each, as there are places for them."""
    shares = (places.free, places.of_account, places.of_endpoint)
    rows = await read(CLAIM, now, lease, *shares, places.after, places.full, places.busy)
    leases = [msgspec.convert(dict(row), Lease) for row in rows if row["id"] is not None]
    (end,) = [row for row in rows if row["id"] is None]
    return Claimed(leases, end["account_id"], end["attempts"] > 0)


async def load(account_id: UUID, deliveries: Sequence[UUID], now: datetime) -> list[Due]:
    """Read what is to be sent; what its endpoint does not want any more is left out."""
    async with rows_of(account_id):
        rows = await current_connection().fetch(LOAD, account_id, list(deliveries), now)
    return [due_of(account_id, row) for row in rows]


def due_of(account_id: UUID, row: asyncpg.Record) -> Due:
    """Read a delivery with its endpoint's secrets."""
    fields = dict(row) | {"account_id": account_id, "data": msgspec.json.decode(row["data"])}
    sealed_ones = [one for one in (fields.pop("secret"), fields.pop("previous_secret")) if one is not None]
    name = secret_name(row["webhook_id"])
    try:
        secrets = tuple(opened(account_id, name, one) for one in sealed_ones)
    except SecretsUnreadableError:
        secrets = ()
    return Due(secrets=secrets, **fields)


async def finish(due: Due, result: Result, patience: timedelta, least: int) -> str | None:
    """Write down what came of an attempt; return why its endpoint has been disabled, if it has.

    It is when it has failed for as long as `patience`, `least` times at least, without a success in between.
    """
    (row,) = await read(
        FINISH,
        *(due.account_id, due.id, due.attempts, result.began, result.ended, result.status_code, result.error),
        *(result.answer, result.becomes, result.next_at, result.blamed, result.gone, patience, least),
    )
    because: str | None = row["disabled_because"]
    return because


async def sweep() -> int:
    """Delete the log of what ended 30 days ago, and what deleted endpoints have left; return how many rows."""
    total, gone = 0, 1
    while gone:
        ((gone,),) = await read("SELECT sweep_webhook_deliveries($1, $2)", SWEPT_AT_ONCE, KEPT)
        total += gone
    return total
