"""Writes down what happened, in the transaction that did it, and reads it in an order that never changes.

An event's id is given when it is written, not when its transaction commits: of two transactions the slower one may
commit the smaller id last, behind a reader who has gone past it. So readers take an event only once it is *settled*:
when every transaction that began before its own ended has ended too, none can come before it any more. Settled events
are ordered by (transaction, id), their `Cursor`.
"""

from collections.abc import Sequence
from uuid import UUID

import asyncpg
import msgspec

from tenancy.events import OfAccount, Subject, record
from tenancy.rows import current_connection

__all__ = [
    "BEGINNING",
    "FOLLOWED",
    "SETTLED",
    "Cursor",
    "OfAccount",
    "Subject",
    "cursor_of",
    "record",
    "settled_events",
]

# Whether an event can have no other before it any more, as the statement's own snapshot knows. A transaction that is
# open anywhere on the server and has written something holds back what later ones write, until it ends.
SETTLED = "event.written_in < pg_snapshot_xmin(pg_current_snapshot())"

COLUMNS = """event.written_in::text::bigint AS written_in, event.id, event.account_id, event.workflow_id, event.instance_id,
event.type, event.at, event.actor, event.data"""

NEXT = f"""
SELECT {COLUMNS} FROM event
WHERE event.account_id = $1 AND (event.written_in, event.id) > ($2::text::xid8, $3) AND {SETTLED}
  AND ($5::text[] IS NULL OR event.type = ANY ($5))
ORDER BY event.written_in, event.id LIMIT $4
"""


class Cursor(msgspec.Struct, frozen=True, order=True):
    """The place of a settled event among all of them: the transaction that wrote it, and its id."""

    written_in: int = 0
    id: int = 0


BEGINNING = Cursor()

# What comes next in several accounts, each from a place of its own (see the function): for `followers`.
FOLLOWED = "SELECT * FROM followed_events($1, $2, $3, $4)"


async def settled_events(
    account_id: UUID, after: Cursor, most: int, types: Sequence[str] | None = None
) -> list[asyncpg.Record]:
    """Read the next settled events of an account, in the open transaction; of these types alone where some are given.

    Whoever goes on from the last row's `cursor_of` misses none and sees none twice.
    """
    return await current_connection().fetch(NEXT, account_id, str(after.written_in), after.id, most, types)


def cursor_of(event: asyncpg.Record) -> Cursor:
    """Where an event that was read stands."""
    return Cursor(event["written_in"], event["id"])
