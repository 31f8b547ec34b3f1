"""What the operator allows clients for all members of an account, and takes back."""

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from auth.allowances import Allowance, allow_for_account, list_consents, revoke_grants
from auth.clients import create_client, list_clients
from auth.consents import allowed, remember
from auth.registration import Registration
from tenancy.accounts import suspend_account
from tenancy.errors import BadRequest, NotFound
from tenancy.rows import transaction
from tests.world import Tenant, World, bearer

SCOPES = ["signature", "impersonation"]


async def app_of(tenant: Tenant, **changes: Any) -> UUID:
    """Register a client that acts for people."""
    fields: dict[str, Any] = {"kind": "public", "name": "App", "redirect_uris": ["https://app.example/back"]}
    client_id, _ = await create_client(Registration(account_id=tenant.id, **fields | changes))
    return client_id


async def may(client_id: UUID, user_id: UUID, scopes: list[str] = SCOPES) -> bool:
    """Whether a client may act for a user without asking them."""
    async with transaction():
        return await allowed(client_id, user_id, scopes) is not None


async def status_of(client: httpx.AsyncClient, tenant: Tenant, token: str) -> int:
    """Use a token."""
    return (await client.get(f"{tenant.url}/workflows", headers=bearer(token))).status_code


async def test_what_is_allowed_for_an_account_is_allowed_for_each_member_and_nobody_else(
    world: World,
) -> None:
    client_id = await app_of(world.globex)
    await allow_for_account(world.acme.id, client_id, SCOPES)
    assert await may(client_id, world.acme.admin_id)
    assert await may(client_id, world.acme.member_id)
    assert not await may(client_id, world.acme.member_id, [*SCOPES, "aow_manage"])
    assert not await may(client_id, world.globex.admin_id)
    await allow_for_account(world.acme.id, client_id, ["aow_manage"])
    assert await may(client_id, world.acme.member_id, [*SCOPES, "aow_manage"])


async def test_allow_for_account_refuses_what_no_client_can_be_allowed(world: World) -> None:
    robot, *_ = await list_clients(world.acme.id)
    narrow = await app_of(world.acme, scopes=["signature"])
    whole = await app_of(world.acme)
    for client_id, scopes, told in (
        (narrow, [], "at least one"),
        (narrow, ["nonsense"], "nonsense"),
        (narrow, ["signature", "aow_manage"], "not registered for aow_manage"),
        (narrow, ["signature"], "not registered for impersonation.* scope impersonation"),
        (robot.client_id, ["signature"], "machine client"),
        (whole, ["signature", "account_manage"], "account_manage is not allowed for every member"),
    ):
        with pytest.raises(BadRequest, match=told):
            await allow_for_account(world.acme.id, client_id, scopes)
    assert not await may(narrow, world.acme.admin_id, ["signature"])


async def test_allow_for_account_always_allows_impersonation_and_tells_all_that_now_stands(
    world: World,
) -> None:
    for registered in ([], ["signature", "aow_manage", "impersonation"]):
        client_id = await app_of(world.acme, scopes=registered)
        assert await allow_for_account(world.acme.id, client_id, ["signature"]) == [
            "impersonation",
            "signature",
        ]
        assert await may(client_id, world.acme.member_id)
        standing = await allow_for_account(world.acme.id, client_id, ["aow_manage"])
        assert standing == ["aow_manage", "impersonation", "signature"]


async def test_revoke_grants_tells_what_it_ended_and_what_still_stands(world: World) -> None:
    client_id, other = await app_of(world.acme), await app_of(world.acme)
    for one in (client_id, other):
        await allow_for_account(world.acme.id, one, SCOPES)
    async with transaction():
        await remember(client_id, world.acme.member_id, SCOPES, None)
    still = [Allowance(world.acme.id, one) for one in (client_id, other)]
    gone = await revoke_grants(world.acme.member_id, None, None)
    assert (gone.grants, gone.consents, gone.standing) == (1, 1, still)
    gone = await revoke_grants(world.acme.member_id, client_id, None)
    assert (gone.grants, gone.consents, gone.standing) == (0, 0, still[:1])
    gone = await revoke_grants(world.globex.member_id, client_id, None)
    assert gone.standing == []
    gone = await revoke_grants(None, client_id, world.acme.id)
    assert (gone.grants, gone.consents, gone.standing) == (0, 1, [])


async def test_revoke_grants_and_list_refuse_what_is_not_there(world: World) -> None:
    for verb in (revoke_grants, list_consents):
        with pytest.raises(NotFound, match="tutti client create"):
            await verb(None, uuid4(), None)
        with pytest.raises(NotFound, match="tutti account create"):
            await verb(None, None, uuid4())


async def test_what_a_client_of_a_suspended_account_was_allowed_can_be_taken_back(world: World) -> None:
    client_id = await app_of(world.globex)
    await allow_for_account(world.acme.id, client_id, SCOPES)
    await suspend_account(world.globex.id)
    assert (await revoke_grants(None, client_id, None)).consents == 1


async def test_list_consents_tells_who_allowed_which_client_what_and_where(world: World) -> None:
    client_id, other = await app_of(world.acme), await app_of(world.globex)
    await allow_for_account(world.acme.id, client_id, SCOPES)
    async with transaction():
        await remember(client_id, world.acme.member_id, ["signature"], None)
    async with transaction():  # a time of its own
        await remember(other, world.acme.member_id, ["aow_manage"], world.acme.id)
    everyone, hers, limited = await list_consents(None, None, None)
    assert (everyone.client_id, everyone.user_id, everyone.account_id) == (client_id, None, world.acme.id)
    assert (hers.email, hers.account_id, hers.scopes) == ("member@acme.example", None, ["signature"])
    assert (limited.client_name, limited.account_id) == ("App", world.acme.id)
    assert await list_consents(world.acme.member_id, None, None) == [hers, limited]
    assert await list_consents(None, client_id, None) == [everyone, hers]
    assert await list_consents(None, None, world.acme.id) == [everyone, limited]
    assert await list_consents(world.globex.member_id, None, None) == []


async def test_allow_for_account_refuses_what_is_not_there(world: World) -> None:
    with pytest.raises(NotFound, match="tutti client create"):
        await allow_for_account(world.acme.id, uuid4(), SCOPES)
    with pytest.raises(NotFound, match="tutti account create"):
        await allow_for_account(uuid4(), await app_of(world.acme), SCOPES)
    stranger = await app_of(world.globex)
    await suspend_account(world.globex.id)
    with pytest.raises(NotFound, match="tutti client create"):
        await allow_for_account(world.acme.id, stranger, SCOPES)


async def test_revoking_a_users_grants_stops_their_very_next_request(
    client: httpx.AsyncClient, world: World
) -> None:
    assert await status_of(client, world.acme, world.acme.member) == 200
    assert (await revoke_grants(world.acme.member_id, None, None)).grants == 1
    assert await status_of(client, world.acme, world.acme.member) == 401
    for other in (world.acme.admin, world.acme.machine):
        assert await status_of(client, world.acme, other) == 200
    assert (await revoke_grants(world.acme.member_id, None, None)).grants == 0


async def test_revoking_a_clients_or_an_accounts_grants_ends_those_alone(
    client: httpx.AsyncClient, world: World
) -> None:
    robot, *_ = await list_clients(world.acme.id)
    assert (await revoke_grants(world.acme.admin_id, robot.client_id, None)).grants == 0
    assert (await revoke_grants(None, robot.client_id, None)).grants == 1
    assert await status_of(client, world.acme, world.acme.machine) == 401
    assert await status_of(client, world.acme, world.acme.admin) == 200
    assert (await revoke_grants(None, None, world.acme.id)).grants == 2
    assert await status_of(client, world.acme, world.acme.admin) == 401
    assert await status_of(client, world.globex, world.globex.machine) == 200


async def test_a_client_whose_grants_are_revoked_has_to_ask_again(
    world: World, owner: asyncpg.Connection
) -> None:
    first, second = await app_of(world.acme), await app_of(world.acme)
    ada, grace = world.acme.admin_id, world.acme.member_id
    async with transaction():
        for client_id in (first, second):
            for user_id in (ada, grace):
                await remember(client_id, user_id, SCOPES, None)
    await revoke_grants(ada, first, None)
    assert [await may(one, person) for one in (first, second) for person in (ada, grace)] == [
        False,
        True,
        True,
        True,
    ]
    await revoke_grants(grace, None, None)
    assert [await may(one, person) for one in (first, second) for person in (ada, grace)] == [
        False,
        False,
        True,
        False,
    ]
    await revoke_grants(None, second, None)
    assert await owner.fetchval("SELECT count(*) FROM consent") == 0


async def test_what_was_allowed_for_an_account_is_taken_back_by_account_and_client(world: World) -> None:
    client_id = await app_of(world.acme)
    for tenant in (world.acme, world.globex):
        await allow_for_account(tenant.id, client_id, SCOPES)
    await revoke_grants(world.acme.member_id, client_id, None)
    assert await may(client_id, world.acme.member_id)
    await revoke_grants(None, client_id, world.acme.id)
    assert not await may(client_id, world.acme.member_id)
    assert await may(client_id, world.globex.member_id)


async def test_revoking_nobodys_grants_is_refused(world: World) -> None:
    with pytest.raises(BadRequest, match="whose"):
        await revoke_grants(None, None, None)
