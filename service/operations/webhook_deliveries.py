"""What became of events on their way to an account's webhooks: the log, and sending one of it again."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import asyncpg
import msgspec

from auth.bearer import Access
from auth.roles import Right
from service.operations.pages import Page, binding, cut, position, worded
from service.operations.webhooks import found, require_enabled
from tenancy.errors import NotFound
from tenancy.rows import current_connection

Status = Literal["pending", "delivered", "failed"]

COLUMNS = """id, webhook_id, workflow_id, instance_id, type, at, status, attempts, next_at, leased_until, created_at,
ended_at"""
ONE = f"SELECT {COLUMNS} FROM webhook_delivery WHERE account_id = $1 AND webhook_id = $2 AND id = $3"
ATTEMPTS = """
SELECT number, at, duration_ms, status_code, error, answer FROM webhook_attempt
WHERE account_id = $1 AND delivery_id = $2 ORDER BY number
"""
# One that has ended begins anew, and nothing waits for it; one that waits for its next attempt is sent now. One that is
# being sent this moment, or that waits for an earlier one of its instance, is left alone.
AGAIN = f"""
UPDATE webhook_delivery
SET next_at = now(), status = 'pending', ended_at = NULL, leased_until = NULL, aside = aside OR status <> 'pending',
    tries = CASE WHEN status = 'pending' THEN tries ELSE 0 END
WHERE account_id = $1 AND id = $2
  AND (status <> 'pending' OR next_at IS NOT NULL AND (leased_until IS NULL OR leased_until < now()))
RETURNING {COLUMNS}
"""


class Delivery(msgspec.Struct, frozen=True):
    """One event on its way to one endpoint; `next_at`: when it is tried next, None while another one is before it."""

    id: UUID
    webhook_id: UUID
    workflow_id: UUID | None
    instance_id: UUID | None
    type: str
    at: datetime
    status: Status
    attempts: int
    next_at: datetime | None
    leased_until: datetime | None
    created_at: datetime
    ended_at: datetime | None

    @property
    def message_id(self) -> str:
        """The id by which a receiver knows it when it comes a second time."""
        return message_id(self.id)


class Attempt(msgspec.Struct, frozen=True):
    """One attempt: when, for how long, and what came back: a status, the kind of an error, how an answer began."""

    number: int
    at: datetime
    duration_ms: int
    status_code: int | None
    error: str | None
    answer: str | None


class Shown(msgspec.Struct, frozen=True):
    """A delivery with its attempts, the first one first."""

    delivery: Delivery
    attempts: list[Attempt]


def message_id(delivery_id: UUID) -> str:
    """The id by which a receiver knows a delivery that comes a second time."""
    return f"msg_{delivery_id.hex}"


async def get_list(
    access: Access, webhook_id: UUID, status: Status | None, size: int, ctoken: str | None
) -> Page:
    """Return a page of an endpoint's deliveries, newest first.

    Raises:
        NotFound: no such endpoint.
        PageTokenRefused: the token is not of this list.
    """
    async with access.rows(Right.OVERSEE) as caller:
        await found(caller, webhook_id)
        bound_to = binding(caller.account_id, "webhook deliveries", webhook_id, status)
        begin = position(ctoken, bound_to)
        arguments = [caller.account_id, webhook_id, *((status,) if status else ())]
        if begin is not None:
            arguments += [begin.at, begin.id]
        statement = listing(size + 1, by_status=status is not None, going_on=begin is not None)
        rows = await current_connection().fetch(statement, *arguments)
    return worded(cut(rows, size, "created_at", bound_to), delivery_of)


def listing(most: int, *, by_status: bool = False, going_on: bool = False) -> str:
    """Write the statement that reads a page."""
    status = " AND status = $3" if by_status else ""
    first = 4 if by_status else 3
    after = f" AND (created_at, id) < (${first}, ${first + 1})" if going_on else ""
    return (
        f"SELECT {COLUMNS} FROM webhook_delivery WHERE account_id = $1 AND webhook_id = $2{status}{after}"
        f" ORDER BY created_at DESC, id DESC LIMIT {most}"
    )


async def get(access: Access, webhook_id: UUID, delivery_id: UUID) -> Shown:
    """Return one delivery with its attempts.

    Raises:
        NotFound: no such endpoint, or no such delivery to it.
    """
    async with access.rows(Right.OVERSEE) as caller:
        await found(caller, webhook_id)
        row = await current_connection().fetchrow(ONE, caller.account_id, webhook_id, delivery_id)
        if row is None:
            raise NotFound
        rows = await current_connection().fetch(ATTEMPTS, caller.account_id, delivery_id)
    attempts = [msgspec.convert(dict(one), Attempt) for one in rows]
    return Shown(delivery_of(row), attempts)


async def redeliver(access: Access, webhook_id: UUID, delivery_id: UUID) -> Delivery:
    """Send a delivery again, under the same id: one that has ended anew, one that is to be tried later at once.

    Raises:
        NotFound: no such endpoint, or no such delivery to it.
        WebhookConflict: the endpoint is disabled.
    """
    async with access.rows(Right.OVERSEE) as caller:
        webhook = await found(caller, webhook_id)
        row = await current_connection().fetchrow(ONE, caller.account_id, webhook_id, delivery_id)
        if row is None:
            raise NotFound
        require_enabled(webhook)
        again = await current_connection().fetchrow(AGAIN, caller.account_id, delivery_id)
        return msgspec.convert(dict(again or row), Delivery)


def delivery_of(row: asyncpg.Record) -> Delivery:
    """Read a delivery's row."""
    return msgspec.convert(dict(row), Delivery)
