"""The limits of accounts as this process knows them: a dictionary, so that an account without limits costs nothing.

A background task reads what has changed every second.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from uuid import UUID

import msgspec

from service.background import beside
from tenancy.rows import read

logger = logging.getLogger("tutti.limits")

REFRESH_EVERY = 1.0  # seconds
CHANGED = "SELECT * FROM changed_limits($1)"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What an account is limited to, None where it is not; and how many bytes it had stored when they were measured."""

    requests_per_second: int | None = None
    burst: int | None = None
    running_instances: int | None = None
    stored_bytes: int | None = None
    measured_bytes: int | None = None

    @property
    def any(self) -> bool:
        """Whether there is any."""
        return (self.requests_per_second, self.running_instances, self.stored_bytes) != (None, None, None)


_known: dict[UUID, Limits] = {}
_horizon = "0"


def limits_of(account_id: UUID) -> Limits | None:
    """Say what an account is limited to; None where it is not at all."""
    return _known.get(account_id)


def somebody_is_limited() -> bool:
    """Whether any account is."""
    return bool(_known)


async def refresh() -> None:
    """Read the limits that have changed since they were last read."""
    global _horizon  # noqa: PLW0603 - belongs to the dictionary beside it
    for row in await read(CHANGED, _horizon):
        if row["account_id"] is None:
            _horizon = row["horizon"]
            continue
        found = Limits(**{name: row[name] for name in Limits.__struct_fields__})
        if found.any:
            _known[row["account_id"]] = found
        else:
            _known.pop(row["account_id"], None)


@contextlib.asynccontextmanager
async def refreshing() -> AsyncIterator[None]:
    """Know the limits of accounts, a second old at the most, for as long as the block runs.

    While the database cannot be reached, or has not been migrated, the process goes by what it knows.
    """

    async def again() -> None:
        while True:
            await asyncio.sleep(REFRESH_EVERY)
            await attempt()

    async def attempt() -> None:
        try:
            await refresh()
        except Exception as error:  # noqa: BLE001 - the database may come back from anything
            logger.warning("limits could not be read: %s; trying again", type(error).__name__)

    await attempt()
    async with beside(again()):
        yield
