"""Accounts and users: suspended, resumed, removed, found; and what that does to the next request."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from auth.clients import issue_token
from auth.scopes import MAESTRO
from tenancy.accounts import (
    Member,
    StatusChanged,
    add_user,
    find_user,
    list_members,
    remove_member,
    resume_account,
    resume_user,
    set_password,
    suspend_account,
    suspend_user,
)
from tenancy.errors import BadRequest, Conflict, NotFound
from tests.world import Tenant, World, bearer

MEMBER = "member@acme.example"


async def status_of(client: httpx.AsyncClient, tenant: Tenant, token: str) -> int:
    """Use a token."""
    return (await client.get(f"{tenant.url}/workflows", headers=bearer(token))).status_code


async def test_a_suspended_account_is_shut_until_it_is_resumed(
    client: httpx.AsyncClient, world: World
) -> None:
    for _ in range(2):  # again changes nothing
        await suspend_account(world.acme.id)
    assert await status_of(client, world.acme, world.acme.admin) == 404
    assert await status_of(client, world.acme, world.acme.machine) == 401
    assert await status_of(client, world.globex, world.globex.admin) == 200
    await resume_account(world.acme.id)
    for token in (world.acme.admin, world.acme.machine):
        assert await status_of(client, world.acme, token) == 200


async def test_a_suspended_user_is_shut_out_until_they_are_resumed(
    client: httpx.AsyncClient, world: World
) -> None:
    assert (await suspend_user(" MEMBER@acme.example ")).user_id == world.acme.member_id
    assert await status_of(client, world.acme, world.acme.member) == 401
    assert await status_of(client, world.acme, world.acme.admin) == 200
    assert await resume_user(str(world.acme.member_id)) == world.acme.member_id
    assert await status_of(client, world.acme, world.acme.member) == 200


async def test_a_removed_member_is_out_of_that_account_alone(client: httpx.AsyncClient, world: World) -> None:
    await add_user(MEMBER, "M", None, world.globex.id, "sender")
    elsewhere = await issue_token(world.globex.id, ("user", world.acme.member_id), MAESTRO, 60)
    assert await remove_member(MEMBER, world.acme.id) == world.acme.member_id
    assert await status_of(client, world.acme, world.acme.member) == 404
    assert await status_of(client, world.globex, elsewhere) == 200
    with pytest.raises(NotFound, match="tutti user create EMAIL --name NAME --account"):
        await remove_member(MEMBER, world.acme.id)


async def test_a_removed_member_who_is_added_again_has_the_role_given_now(
    world: World, owner: asyncpg.Connection
) -> None:
    await remove_member(MEMBER, world.acme.id)
    assert await add_user(MEMBER, "M", None, world.acme.id, "admin") == world.acme.member_id
    role = "SELECT role FROM live_memberships($1)"
    assert await owner.fetchval(role, world.acme.member_id) == "admin"
    with pytest.raises(Conflict, match="member of account"):
        await add_user(MEMBER, "M", None, world.acme.id, "sender")
    assert await owner.fetchval(role, world.acme.member_id) == "admin"


async def test_a_new_password_ends_every_login_of_that_user_alone(
    world: World, owner: asyncpg.Connection
) -> None:
    for user_id in (world.acme.member_id, world.acme.admin_id):
        for statement in (
            "INSERT INTO login_session (id, session_hash, user_id, expires_at) VALUES ($1, $2, $3, now() + interval '1 h')",
            "INSERT INTO known_device (id, device_hash, user_id) VALUES ($1, $2, $3)",
        ):
            await owner.execute(statement, uuid4(), uuid4().bytes, user_id)
    assert await set_password(MEMBER, "$argon2id$new") == world.acme.member_id
    hashes = await owner.fetch(
        "SELECT password_hash FROM app_user WHERE id = ANY($1) ORDER BY email",
        [world.acme.member_id, world.acme.admin_id],
    )
    assert [row["password_hash"] for row in hashes] == [None, "$argon2id$new"]
    for table in ("login_session", "known_device"):
        left = await owner.fetch(f"SELECT user_id FROM {table}")
        assert [row["user_id"] for row in left] == [world.acme.admin_id]


async def test_a_user_is_found_by_address_or_id(world: World) -> None:
    for who in (MEMBER, "Member@Acme.Example", str(world.acme.member_id), f" {world.acme.member_id} "):
        assert await find_user(who) == world.acme.member_id
    with pytest.raises(BadRequest, match="neither an e-mail address nor a user's id"):
        await find_user("nobody")


async def test_the_members_of_an_account_are_listed_with_what_became_of_them(world: World) -> None:
    await remove_member(MEMBER, world.acme.id)
    await suspend_user(str(world.acme.admin_id))
    await add_user("admin@globex.example", "G", None, world.acme.id, "sender")
    assert await list_members(world.acme.id) == [
        Member(world.acme.admin_id, "admin@acme.example", "Acme Admin", "admin", "suspended"),
        Member(world.acme.member_id, MEMBER, "Acme Member", "sender", "removed"),
        Member(world.globex.admin_id, "admin@globex.example", "Globex Admin", "sender", "active"),
    ]
    with pytest.raises(NotFound, match="tutti account create"):
        await list_members(uuid4())


STRANGER = "nobody@acme.example"


@pytest.mark.parametrize("who", [STRANGER, str(uuid4())], ids=["e-mail", "id"])
@pytest.mark.parametrize(
    "verb",
    [
        find_user,
        suspend_user,
        resume_user,
        lambda who: set_password(who, "$argon2id$new"),
        lambda who: remove_member(who, uuid4()),
    ],
)
async def test_a_user_who_is_not_there_is_told_with_what_to_do(
    world: World, verb: Callable[[str], Awaitable[UUID]], who: str
) -> None:
    with pytest.raises(NotFound, match=f"no user {who}; make them with: tutti user create"):
        await verb(who)


async def test_an_account_that_is_not_there_is_told_with_what_to_do(world: World) -> None:
    missing = uuid4()
    for verb in (suspend_account, resume_account, lambda account: remove_member(MEMBER, account)):
        with pytest.raises(NotFound, match=f"no account {missing}; make it with: tutti account create"):
            await verb(missing)


async def test_the_last_active_admin_is_removed_only_where_that_is_meant(world: World) -> None:
    admin, acme = str(world.acme.admin_id), world.acme.id
    with pytest.raises(Conflict, match="--even-the-last"):
        await remove_member(admin, acme)
    second = await add_user("second@acme.example", "S", None, acme, "admin")
    answers = await asyncio.gather(
        remove_member(admin, acme), remove_member(str(second), acme), return_exceptions=True
    )
    assert sorted(type(answer) is Conflict for answer in answers) == [False, True]
    left = second if answers[0] == world.acme.admin_id else world.acme.admin_id
    assert await remove_member(str(left), acme, even_the_last=True) == left


async def test_suspending_a_user_tells_which_accounts_have_no_admin_then(world: World) -> None:
    admin = world.acme.admin_id
    await add_user("admin@acme.example", "A", None, world.globex.id, "admin")
    assert await suspend_user(str(admin)) == StatusChanged(admin, [world.acme.id])
    await resume_user(str(admin))
    await add_user("second@acme.example", "S", None, world.acme.id, "admin")
    assert (await suspend_user(str(admin))).without_admin == []
