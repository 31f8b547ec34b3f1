"""Which instances take events of the account: a row for each type that one of their `listen` tasks waits for."""

from collections.abc import Sequence
from uuid import UUID

from service.engine.messages import Listen
from tenancy.rows import current_connection

STORE = """
INSERT INTO listener (account_id, instance_id, wait, type)
SELECT $1, new.* FROM unnest($2::uuid[], $3::integer[], $4::text[]) AS new
"""

FORGET = """
DELETE FROM listener USING unnest($2::uuid[], $3::integer[]) AS past (instance_id, wait)
WHERE listener.account_id = $1 AND listener.instance_id = past.instance_id AND listener.wait = past.wait
"""

# Both halves are read in the order of the index, however many listen.
PAGE = """
SELECT instance_id FROM (
    (SELECT instance_id FROM listener WHERE account_id = $1 AND type = $2 AND instance_id > $3
     ORDER BY account_id, type, instance_id LIMIT $4)
    UNION
    (SELECT instance_id FROM listener WHERE account_id = $1 AND type IS NULL AND instance_id > $3
     ORDER BY account_id, type, instance_id LIMIT $4)
) AS listening ORDER BY instance_id LIMIT $4
"""


async def store(account_id: UUID, listening: Sequence[tuple[UUID, Listen]]) -> None:
    """Write down what instances have begun to listen for, in the open transaction."""
    rows = [(instance_id, listen.wait, type_) for instance_id, listen in listening for type_ in listen.types]
    if rows:
        await current_connection().execute(
            STORE, account_id, *(list(column) for column in zip(*rows, strict=True))
        )


async def forget(account_id: UUID, waits: Sequence[tuple[UUID, int]]) -> None:
    """Delete what instances listen for no more, in the open transaction."""
    if waits:
        await current_connection().execute(
            FORGET, account_id, *(list(column) for column in zip(*waits, strict=True))
        )


async def page(account_id: UUID, event_type: str, after: UUID, size: int) -> list[UUID]:
    """The next instances behind one that listen for events of a type, in the order of their ids."""
    rows = await current_connection().fetch(PAGE, account_id, event_type, after, size)
    return [row["instance_id"] for row in rows]
