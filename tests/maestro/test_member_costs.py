"""A page of members, invitations or integrations is read along an index, however many there are."""

import json
from typing import Any

import asyncpg
import pytest

from service.operations import integrations, invitations, members
from tenancy.accounts import OTHER_ADMIN
from tenancy.rows import rows_of
from tests.world import World

COUNT = 20_000
USERS = """
INSERT INTO app_user (id, email, name, status)
SELECT gen_random_uuid(), n || '@many.example', 'One of many', CASE WHEN n % 2 = 0 THEN 'active' ELSE 'suspended' END
FROM generate_series(1, $1) AS n
"""
MEMBERS = """
INSERT INTO membership (id, account_id, user_id, role, status, created_at)
SELECT gen_random_uuid(), $1, id, (ARRAY['manager', 'sender', 'viewer'])[1 + length(email) % 3],
       CASE WHEN length(email) % 2 = 0 THEN 'active' ELSE 'removed' END, now() - random() * interval '1 year'
FROM app_user WHERE email LIKE '%@many.example'
"""
CLIENTS = """
INSERT INTO client (id, account_id, name, kind, created_at)
SELECT gen_random_uuid(), $1, 'One of many', 'machine', now() - random() * interval '1 year' FROM generate_series(1, $2)
"""


@pytest.fixture
async def crowded(world: World, owner: asyncpg.Connection) -> World:
    """Acme has many members and many integrations."""
    async with rows_of(world.acme.id) as connection:
        await connection.execute("SELECT setseed(0.5)")  # so that a page costs the same each time
        await connection.execute(USERS, COUNT)
        await connection.execute(MEMBERS, world.acme.id)
        await connection.execute(CLIENTS, world.acme.id, COUNT)
    await owner.execute("ANALYZE app_user, membership, client")
    return world


def rows_looked_at(plan: dict[str, Any]) -> int:
    """Sum the rows that the scans of a plan went through."""
    own = 0
    if "Scan" in plan["Node Type"]:
        own = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return int(own) + sum(rows_looked_at(one) for one in plan.get("Plans", ()))


async def cost(world: World, statement: str, *arguments: object) -> int:
    """Run a statement in Acme; return through how many rows it went."""
    async with rows_of(world.acme.id) as connection:
        text = await connection.fetchval(
            f"EXPLAIN (ANALYZE, FORMAT json) {statement}", world.acme.id, *arguments
        )
    return rows_looked_at(json.loads(text)[0]["Plan"])


async def middle(world: World, table: str) -> asyncpg.Record:
    """The place of a row in the middle of a list."""
    async with rows_of(world.acme.id) as connection:
        row = await connection.fetchrow(
            f"SELECT created_at, id FROM {table} ORDER BY created_at, id OFFSET {COUNT // 2} LIMIT 1"
        )
    assert row is not None
    return row


async def test_pages_of_members_and_integrations_cost_what_they_hold(crowded: World) -> None:
    for statement, table, arguments in (
        (members.listing, "membership", {}),
        (members.listing, "membership", {"by_role": True}),
        (members.listing, "membership", {"status": "removed"}),
        (members.listing, "membership", {"status": "suspended"}),
        (integrations.listing, "client", {}),
    ):
        role = ("sender",) if "by_role" in arguments else ()
        first = await cost(crowded, statement(51, **arguments), *role)
        place = await middle(crowded, table)
        later = await cost(crowded, statement(51, **arguments, going_on=True), *role, *place)
        assert max(first, later) <= 400, (arguments, first, later)


async def test_what_is_asked_before_a_change_is_found_along_an_index(crowded: World) -> None:
    acme = crowded.acme
    assert await cost(crowded, members.ONE, acme.member_id) <= 2
    assert await cost(crowded, OTHER_ADMIN, acme.member_id) <= 4
    assert await cost(crowded, invitations.IS_MEMBER, "member@acme.example") <= 4
