"""Deletes what has ended: it would only take up space, and what is gone can be neither stolen nor asked for.

A little at a time, along the indexes, and past whatever another process is sweeping at the same moment.
"""

import logging
import random
from asyncio import sleep
from datetime import UTC, datetime
from uuid import UUID

from tenancy.rows import read

logger = logging.getLogger("tutti.auth")

BEGINNING = datetime.min.replace(tzinfo=UTC)
BATCH = 1000  # rows that one statement deletes, or grants that it looks at: some ten milliseconds of work
# When a row has ended. What proved something once stays until nothing takes it for valid any more, however clocks differ:
# a token's day, an assertion's hour. A refresh token is recognised as used again for as long as it would have lived.
ENDED = {
    "authorization_request": "expires_at <= now()",
    "login_session": "expires_at <= now()",
    "throttle": "window_start < now() - interval '1 day'",
    "used_assertion": "expires_at < now() - interval '1 hour'",
    "known_device": "seen_at < now() - interval '1 year'",
    "access_token": "expires_at < now() - interval '1 day'",
    "refresh_token": "expires_at < now() - interval '1 day'",
}
DELETE = """
WITH ended AS MATERIALIZED (SELECT id FROM {table} WHERE {ended} LIMIT $1 FOR UPDATE SKIP LOCKED),
     gone AS (DELETE FROM {table} USING ended WHERE {table}.id = ended.id RETURNING 1)
SELECT count(*) FROM gone
"""
INVITATIONS = "SELECT sweep_invitations($1)"  # of every account
# A grant goes a day after the last that was issued for it: its codes and tokens, used ones too, go along. Most old grants
# are alive, so the statement says how far it looked, and the next begins there.
DELETE_GRANTS = """
WITH old AS MATERIALIZED (
    SELECT id, created_at FROM oauth_grant
    WHERE created_at < now() - interval '1 day' AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $1
), ended AS MATERIALIZED (
    SELECT id FROM oauth_grant
    WHERE id IN (SELECT id FROM old)
      AND NOT EXISTS (SELECT FROM access_token AS token
                      WHERE token.grant_id = oauth_grant.id AND token.expires_at > now() - interval '1 day')
      AND NOT EXISTS (SELECT FROM refresh_token AS token
                      WHERE token.grant_id = oauth_grant.id AND token.expires_at > now() - interval '1 day')
      AND NOT EXISTS (SELECT FROM authorization_code AS code
                      WHERE code.grant_id = oauth_grant.id AND code.expires_at > now() - interval '1 day')
    FOR UPDATE SKIP LOCKED
), gone AS (DELETE FROM oauth_grant USING ended WHERE oauth_grant.id = ended.id RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(created_at), (array_agg(id ORDER BY created_at, id))[count(*)] FROM old
"""


async def sweeping(every: float = 600) -> None:
    """Sweep for ever, about `every` seconds; a background task of the service.

    While the database cannot be reached nothing is swept, and a warning logged.
    """
    while True:
        # At moments of its own, so that processes started together do not sweep together.
        await sleep(every * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
        try:
            logger.debug("swept %s", await sweep())
        except Exception as error:  # noqa: BLE001 - the database may come back from anything
            logger.warning("sweeping failed, and is tried again later: %s", type(error).__name__)


async def sweep() -> dict[str, int]:
    """Delete what has ended; return how many rows of each table. Any number of processes may do so at once."""
    statements = {table: DELETE.format(table=table, ended=ended) for table, ended in ENDED.items()}
    statements["invitation"] = INVITATIONS
    swept = {table: await swept_by(statement) for table, statement in statements.items()}
    return swept | {"oauth_grant": await swept_grants()}


async def swept_by(statement: str) -> int:
    """Delete the rows that a statement finds ended, which says how many at a time; return how many."""
    total, gone = 0, BATCH
    while gone == BATCH:
        ((gone,),) = await read(statement, BATCH)
        total += gone
    return total


async def swept_grants() -> int:
    """Delete the grants of which nothing is left; return how many."""
    total, looked_at, created_at, grant_id = 0, BATCH, BEGINNING, UUID(int=0)
    while looked_at == BATCH:
        ((gone, looked_at, created_at, grant_id),) = await read(DELETE_GRANTS, BATCH, created_at, grant_id)
        total += gone
    return total
