"""What an account is limited to, set by the operator at the command line and read by the account's administrators."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from auth.bearer import Access, Operator
from auth.roles import Right
from service.engine.events import OfAccount, record
from tenancy.accounts import no_account
from tenancy.errors import BadRequest, FieldError
from tenancy.events import differences
from tenancy.rows import current_connection

MOST_PER_SECOND = 100_000  # requests, and of a burst
MOST_RUNNING = 10_000_000  # instances
MOST_BYTES = 2**50
COUNTED = 100_000  # running instances that are told one by one

MOST = {
    "requests_per_second": MOST_PER_SECOND,
    "burst": MOST_PER_SECOND,
    "running_instances": MOST_RUNNING,
    "stored_bytes": MOST_BYTES,
}
NAMES = tuple(MOST)
COLUMNS = ", ".join(NAMES)

READ = f"SELECT {COLUMNS}, measured_bytes, measured_at FROM account_limits WHERE account_id = $1"
RUNNING = f"""
SELECT count(*) FROM (
    SELECT FROM instance WHERE account_id = $1 AND ended_at IS NULL ORDER BY started_at DESC, id DESC LIMIT {COUNTED}
) AS running
"""
# What is measured was measured for the limit before as well, so it is told until it is measured anew.
WRITE = f"""
INSERT INTO account_limits AS one (account_id, {COLUMNS}, measure_at) VALUES ($1, $2, $3, $4, $5, clock_timestamp())
ON CONFLICT (account_id) DO UPDATE SET ({COLUMNS}, measure_at) =
    (excluded.requests_per_second, excluded.burst, excluded.running_instances, excluded.stored_bytes, excluded.measure_at)
"""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Limits to set; None lifts one, what is left out stays."""

    requests_per_second: int | UnsetType | None = UNSET
    burst: int | UnsetType | None = UNSET
    running_instances: int | UnsetType | None = UNSET
    stored_bytes: int | UnsetType | None = UNSET


class Present(msgspec.Struct, frozen=True, kw_only=True):
    """An account's limits, None where there is none, and how much of them it uses.

    `running` counts up to 100,000. `measured_bytes` is None where stored bytes are not limited, or were not measured yet.
    """

    requests_per_second: int | None = None
    burst: int | None = None
    running_instances: int | None = None
    stored_bytes: int | None = None
    running: int = 0
    measured_bytes: int | None = None
    measured_at: datetime | None = None


async def get(access: Access) -> Present:
    """Return an account's limits, and how much of them it uses.

    Raises:
        NotFound: no such account.
    """
    async with access.rows(Right.ADMINISTER) as caller:
        await _require_account(caller.account_id)
        return await _present(caller.account_id)


async def change(operator: Operator, wanted: Wanted) -> Present:
    """Set or lift an account's limits; processes go by them a second later.

    Without a burst of its own an account may make a second's requests at once.

    Raises:
        NotFound: no such account.
        BadRequest: a limit out of its bounds, or a burst without requests per second.
    """
    given = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not UNSET}
    refuse_unbounded(given)
    async with operator.rows(Right.ADMINISTER) as caller:
        await _require_account(caller.account_id)
        before = {name: getattr(await _present(caller.account_id), name) for name in NAMES}
        after = completed(before | given, before, given)
        await current_connection().execute(WRITE, caller.account_id, *(after[name] for name in NAMES))
        if after != before:
            about = OfAccount(caller.account_id)
            await record(about, "account.limited", caller.id, **differences(before, after))
        return await _present(caller.account_id)


def refuse_unbounded(given: dict[str, int | None]) -> None:
    """Refuse limits that nobody can mean.

    Raises:
        BadRequest: with one entry for each.
    """
    wrong = tuple(
        FieldError("FIELD_INVALID", f"is a whole number from 1 to {MOST[name]}", name)
        for name, value in given.items()
        if value is not None and not 1 <= value <= MOST[name]
    )
    if wrong:
        raise BadRequest(" ".join(f"{one.target} {one.message}." for one in wrong), errors=wrong)


def completed(after: dict[str, Any], before: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Give requests per second their burst, which goes with them.

    Raises:
        BadRequest: a burst of an account whose requests are not limited.
    """
    rate = after["requests_per_second"]
    if rate is None and given.get("burst") is not None:
        raise BadRequest("burst goes with requests_per_second: set both.")
    if rate is None:
        return after | {"burst": None}
    followed = "burst" not in given and before["burst"] == before["requests_per_second"]
    return after | {"burst": rate if followed or after["burst"] is None else after["burst"]}


async def _require_account(account_id: UUID) -> None:
    if not await current_connection().fetchval("SELECT true FROM account WHERE id = $1", account_id):
        raise no_account(account_id)


async def _present(account_id: UUID) -> Present:
    row = await current_connection().fetchrow(READ, account_id)
    running = await current_connection().fetchval(RUNNING, account_id)
    return Present(running=running, **({} if row is None else dict(row)))
