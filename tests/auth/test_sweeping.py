"""Sweeping: what has ended goes, what may still be used or recognised stays, however many sweep at once."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from auth import sweeping
from auth.clients import create_client
from auth.registration import Registration
from auth.sweeping import BATCH, BEGINNING, DELETE, DELETE_GRANTS, ENDED, sweep
from tests.world import World, bearer

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
NOTHING = dict.fromkeys([*ENDED, "invitation", "oauth_grant"], 0)
OF_GRANT = "INSERT INTO {0} (id, {1}, grant_id, expires_at) VALUES ($1, $2, $3, now() + $4::interval)"
INSERT = {
    "authorization_request": "INSERT INTO authorization_request (id, session_hash, client_id, expires_at)"
    " VALUES ($1, $2, $3, now() + $4::interval)",
    "login_session": "INSERT INTO login_session (id, session_hash, user_id, expires_at)"
    " VALUES ($1, $2, $3, now() + $4::interval)",
    "known_device": "INSERT INTO known_device (id, device_hash, user_id, seen_at)"
    " VALUES ($1, $2, $3, now() + $4::interval)",
    "throttle": "INSERT INTO throttle (id, key_hash, window_start)"
    " SELECT $1, $2, now() + $4::interval WHERE $3::uuid IS NOT NULL",
    "used_assertion": "INSERT INTO used_assertion (id, digest, expires_at)"
    " SELECT $1, $2, now() + $4::interval WHERE $3::uuid IS NOT NULL",
    "invitation": "INSERT INTO invitation (id, account_id, email, role, secret_hash, invited_by, expires_at)"
    " VALUES ($1, $3, gen_random_uuid()::text, 'viewer', $2, $1, now() + $4::interval)",
    "access_token": OF_GRANT.format("access_token", "token_hash"),
    "refresh_token": OF_GRANT.format("refresh_token", "token_hash"),
    "authorization_code": OF_GRANT.format("authorization_code", "code_hash"),
}


async def add(owner: asyncpg.Connection, table: str, of: UUID, moment: timedelta) -> UUID:
    """Add a row of a user, client or grant whose moment is so long from now; return its id."""
    row_id = uuid4()
    await owner.execute(INSERT[table], row_id, row_id.bytes, of, moment)
    return row_id


async def grant(owner: asyncpg.Connection, user_id: UUID, age: timedelta) -> UUID:
    """Add a grant of some age."""
    grant_id = uuid4()
    statement = "INSERT INTO oauth_grant (id, user_id, created_at) VALUES ($1, $2, now() - $3::interval)"
    await owner.execute(statement, grant_id, user_id, age)
    return grant_id


async def present(owner: asyncpg.Connection, table: str, row_id: UUID) -> bool:
    """Whether a row is still there."""
    found: bool = await owner.fetchval(f"SELECT EXISTS (SELECT FROM {table} WHERE id = $1)", row_id)
    return found


@pytest.fixture
async def owners(world: World) -> Mapping[str, UUID]:
    """Whose the rows of each table are."""
    client_id, _ = await create_client(
        Registration(
            account_id=world.acme.id, kind="public", name="App", redirect_uris=["https://app.example/"]
        )
    )
    users = dict.fromkeys(INSERT, world.acme.member_id)
    return users | {"authorization_request": client_id, "invitation": world.acme.id}


@pytest.mark.parametrize(
    ("table", "kept", "gone"),
    [
        ("authorization_request", 60 * SECOND, -SECOND),
        ("login_session", 60 * SECOND, -SECOND),
        ("invitation", 60 * SECOND, -SECOND),
        ("throttle", -23 * HOUR, -25 * HOUR),
        ("used_assertion", -50 * 60 * SECOND, -61 * 60 * SECOND),
        ("known_device", -364 * DAY, -367 * DAY),
        ("access_token", -23 * HOUR, -25 * HOUR),
        ("refresh_token", -23 * HOUR, -25 * HOUR),
    ],
)
async def test_what_has_ended_goes_and_what_has_not_stays(
    owner: asyncpg.Connection, owners: Mapping[str, UUID], table: str, kept: timedelta, gone: timedelta
) -> None:
    of = owners[table]
    if table in {"access_token", "refresh_token"}:
        of = await grant(owner, of, 40 * DAY)
        await add(owner, "refresh_token", of, DAY)  # the family is alive
    stays, goes = await add(owner, table, of, kept), await add(owner, table, of, gone)
    assert await sweep() == NOTHING | {table: 1}
    assert await present(owner, table, stays)
    assert not await present(owner, table, goes)
    assert await sweep() == NOTHING


async def test_nothing_that_works_is_swept(client: httpx.AsyncClient, world: World) -> None:
    assert await sweep() == NOTHING
    for token in (world.acme.admin, world.acme.member, world.acme.machine):
        answer = await client.get(f"{world.acme.url}/workflows", headers=bearer(token))
        assert answer.status_code == 200


@pytest.mark.parametrize("table", ["access_token", "refresh_token", "authorization_code"])
async def test_a_grant_stays_as_long_as_anything_of_it(
    owner: asyncpg.Connection, world: World, table: str
) -> None:
    alive, just_ended, ended = [await grant(owner, world.acme.member_id, 40 * DAY) for _ in range(3)]
    await add(owner, table, alive, HOUR)
    await add(owner, table, just_ended, -HOUR)
    rest = await add(owner, table, ended, -25 * HOUR)
    assert (await sweep())["oauth_grant"] == 1
    assert await present(owner, "oauth_grant", alive)
    assert await present(owner, "oauth_grant", just_ended)
    assert not await present(owner, "oauth_grant", ended)
    assert not await present(owner, table, rest)


async def test_a_used_refresh_token_is_recognised_for_as_long_as_it_would_have_lived(
    owner: asyncpg.Connection, world: World
) -> None:
    family = await grant(owner, world.acme.member_id, 40 * DAY)
    used = await add(owner, "refresh_token", family, HOUR)
    await owner.execute("UPDATE refresh_token SET used_at = now() - interval '20 days' WHERE id = $1", used)
    assert await sweep() == NOTHING
    assert await present(owner, "refresh_token", used)


async def test_a_used_code_is_recognised_for_as_long_as_its_tokens_live(
    owner: asyncpg.Connection, world: World
) -> None:
    family = await grant(owner, world.acme.member_id, 5 * DAY)
    code = await add(owner, "authorization_code", family, -5 * DAY)
    token = await add(owner, "refresh_token", family, DAY)
    assert await sweep() == NOTHING
    await owner.execute(
        "UPDATE refresh_token SET expires_at = now() - interval '2 days' WHERE id = $1", token
    )
    assert await sweep() == NOTHING | {"refresh_token": 1, "oauth_grant": 1}
    assert not await present(owner, "authorization_code", code)


async def test_a_grant_that_came_to_nothing_goes_after_a_day(owner: asyncpg.Connection, world: World) -> None:
    young, old = [await grant(owner, world.acme.member_id, age) for age in (23 * HOUR, 25 * HOUR)]
    assert await sweep() == NOTHING | {"oauth_grant": 1}
    assert await present(owner, "oauth_grant", young)
    assert not await present(owner, "oauth_grant", old)


async def test_a_user_outlives_their_grants(owner: asyncpg.Connection, world: World) -> None:
    await grant(owner, world.acme.member_id, 25 * HOUR)
    await sweep()
    assert await present(owner, "app_user", world.acme.member_id)


async def test_two_sweeps_at_once_delete_all_of_it_once(owner: asyncpg.Connection, world: World) -> None:
    many = 2 * BATCH + BATCH // 2
    await owner.execute(
        "INSERT INTO throttle (id, key_hash, window_start)"
        " SELECT gen_random_uuid(), sha256(n::text::bytea), now() - interval '2 days' FROM generate_series(1, $1::int) n",
        many,
    )
    await owner.execute(
        "WITH old AS (INSERT INTO oauth_grant (id, user_id, created_at)"
        "  SELECT gen_random_uuid(), $2, now() - interval '40 days' FROM generate_series(1, $1::int) RETURNING id)"
        " INSERT INTO refresh_token (id, token_hash, grant_id, expires_at)"
        " SELECT gen_random_uuid(), sha256(id::text::bytea), id,"
        "        now() + CASE WHEN row_number() OVER () % 5 = 0 THEN interval '1 day' ELSE interval '-2 days' END FROM old",
        many,
        world.acme.member_id,
    )
    both = await asyncio.gather(sweep(), sweep())
    gone = many // 5 * 4
    wanted = NOTHING | {"throttle": many, "refresh_token": gone, "oauth_grant": gone}
    assert {table: sum(one[table] for one in both) for table in NOTHING} == wanted
    assert await owner.fetchval("SELECT count(*) FROM throttle") == 0
    assert await sweep() == NOTHING


async def test_a_sweep_waits_for_nobody(owner: asyncpg.Connection, world: World) -> None:
    row = await add(owner, "login_session", world.acme.member_id, -HOUR)
    await owner.execute("BEGIN")
    await owner.execute("SELECT FROM login_session WHERE id = $1 FOR UPDATE", row)
    async with asyncio.timeout(10):
        assert await sweep() == NOTHING
    await owner.execute("COMMIT")
    assert await sweep() == NOTHING | {"login_session": 1}


@pytest.mark.parametrize(
    "table",
    [
        "authorization_request",
        "login_session",
        "throttle",
        "used_assertion",
        "access_token",
        "refresh_token",
        "known_device",
    ],
)
async def test_rows_that_have_ended_are_found_along_an_index(
    owner: asyncpg.Connection, world: World, table: str
) -> None:
    plan = await explained(owner, DELETE.format(table=table, ended=ENDED[table]), BATCH)
    assert any(f"Index Cond: ({column}" in plan for column in ("expires_at", "window_start", "seen_at"))
    assert f"Seq Scan on {table}" not in plan


async def test_grants_that_have_ended_are_found_along_indexes(
    owner: asyncpg.Connection, world: World
) -> None:
    plan = await explained(owner, DELETE_GRANTS, BATCH, BEGINNING, UUID(int=0))
    assert "Index Cond: ((created_at" in plan
    assert "Seq Scan" not in plan


async def explained(owner: asyncpg.Connection, statement: str, *arguments: Any) -> str:
    """How the database goes about a statement; on the few rows of a test it would rather read them all."""
    await owner.execute("SET enable_seqscan = off")
    return "\n".join(row[0] for row in await owner.fetch(f"EXPLAIN {statement}", *arguments))


async def test_sweeping_goes_on_when_the_database_was_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    swept, twice = [OSError("away"), asyncpg.ConnectionDoesNotExistError("gone")], asyncio.Event()

    async def fails_twice() -> dict[str, int]:
        if swept:
            raise swept.pop()
        twice.set()
        return {"throttle": 7}

    monkeypatch.setattr(sweeping, "sweep", fails_twice)
    with caplog.at_level(logging.DEBUG, "tutti.auth"):
        task = asyncio.create_task(sweeping.sweeping(every=0.01))
        await asyncio.wait_for(twice.wait(), 10)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in told[:2]] == ["WARNING", "WARNING"]
    assert "ConnectionDoesNotExistError" in told[0][1]
    assert ("DEBUG", "swept {'throttle': 7}") in told


async def test_processes_sweep_at_moments_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def note(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 50:
            raise asyncio.CancelledError

    async def nothing() -> dict[str, int]:
        return {}

    monkeypatch.setattr(sweeping, "sleep", note)
    monkeypatch.setattr(sweeping, "sweep", nothing)
    with pytest.raises(asyncio.CancelledError):
        await sweeping.sweeping(every=100)
    assert all(50 <= seconds <= 150 for seconds in waited)
    assert len(set(waited)) == 50
