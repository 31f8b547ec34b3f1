"""Where a token can be used, as far as a dialect may go by it before the operation looks for itself."""

from typing import Any
from uuid import UUID

import msgspec
import pytest

from auth import reach
from auth.bearer import hash_of
from auth.clients import create_client, issue_token
from auth.reach import reach_of
from auth.registration import Registration
from tenancy.accounts import add_user, create_account
from tenancy.errors import Unauthenticated
from tests.world import LIFE, World

SCOPES = ("orchestration:read", "signature")


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    """Begin with nothing known."""
    reach._reaches.clear()


async def accounts_of(token: str) -> tuple[UUID, ...]:
    """Ask anew."""
    reach._reaches.clear()
    return (await reach_of(hash_of(token))).accounts


async def test_a_machine_reaches_the_account_it_belongs_to(world: World) -> None:
    client_id, _ = await create_client(
        Registration(account_id=world.acme.id, kind="machine", name="robot", scopes=SCOPES)
    )
    token = await issue_token(world.acme.id, ("client", client_id), SCOPES, LIFE)
    found = await reach_of(hash_of(token))
    assert (found.scopes, found.accounts) == (frozenset(SCOPES), (world.acme.id,))


async def test_a_user_reaches_their_accounts_or_the_one_that_was_chosen(world: World, owner: Any) -> None:
    user = await add_user("both@both.example", "Both", None, world.acme.id, "viewer")
    token = await issue_token(world.acme.id, ("user", user), SCOPES, LIFE)
    assert await accounts_of(token) == (world.acme.id,)
    await owner.execute("UPDATE oauth_grant SET narrowed_to = NULL WHERE user_id = $1", user)
    assert await accounts_of(token) == (world.acme.id,)
    for account_id in (world.globex.id, await create_account("Third")):
        await add_user("both@both.example", "Both", None, account_id, "viewer")
        assert len(await accounts_of(token)) == 2
    await owner.execute("UPDATE app_user SET status = 'suspended' WHERE id = $1", user)
    assert await accounts_of(token) == ()


@pytest.mark.parametrize(
    "end",
    [
        "DELETE FROM access_token WHERE token_hash = $1",
        "UPDATE access_token SET expires_at = now() WHERE token_hash = $1",
        "UPDATE access_token SET revoked_at = now() WHERE token_hash = $1",
        "UPDATE oauth_grant SET revoked_at = now() FROM access_token WHERE oauth_grant.id = grant_id AND token_hash = $1",
    ],
    ids=["unknown", "expired", "revoked", "grant"],
)
async def test_a_token_that_does_not_hold_reaches_nothing(world: World, owner: Any, end: str) -> None:
    await owner.execute(end, hash_of(world.acme.admin))
    with pytest.raises(Unauthenticated):
        await reach_of(hash_of(world.acme.admin))
    assert not reach._reaches


async def test_what_is_known_is_kept_for_a_while_and_of_so_many(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "REMEMBERED", 1)
    first = await reach_of(hash_of(world.acme.admin))
    assert await reach_of(hash_of(world.acme.admin)) is first
    await reach_of(hash_of(world.globex.admin))
    assert len(reach._reaches) == 1
    assert await reach_of(hash_of(world.acme.admin)) is not first
    reach._reaches[hash_of(world.acme.admin)] = msgspec.structs.replace(first, until=0.0)
    assert (await reach_of(hash_of(world.acme.admin))).until > 0
