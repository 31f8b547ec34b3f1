"""The keys of ID tokens: whoever verifies with a published set, fresh or as old as it may be, never meets an unknown key."""

import asyncio
import threading
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey

from auth.keys import (
    CACHE_SECONDS,
    LONGEST_ID_TOKEN,
    PUBLISHED_AFTER,
    PUBLISHED_FIRST,
    Rotated,
    list_keys,
    new_private_key,
    published_keys,
    rotate,
    signing_key,
)
from tenancy.errors import Conflict
from tenancy.rows import transaction
from tests.world import World

PRIVATE_MEMBERS = {"k", "d", "p", "q", "dp", "dq", "qi", "oth"}


async def signed() -> str:
    """Sign something, as the token endpoint signs an ID token."""
    async with transaction():
        key = await signing_key()
    return jwt.encode({"alg": "RS256", "kid": key.kid}, {"sub": "ada"}, key)


def verifies(token: str, published: Mapping[str, Any]) -> bool:
    """Whether a verifier that holds this key set takes a token."""
    try:
        claims = jwt.decode(token, KeySet.import_key_set({"keys": published["keys"]}), algorithms=["RS256"])
    except (JoseError, ValueError):
        return False
    return claims.claims == {"sub": "ada"}


async def let_pass(owner: asyncpg.Connection, seconds: float) -> None:
    """Let the keys grow older."""
    earlier = ", ".join(
        f"{moment} = {moment} - make_interval(secs => $1)"
        for moment in ("published_at", "signs_from", "retired_at")
    )
    await owner.execute(f"UPDATE signing_key SET {earlier}", seconds)


async def states() -> list[str]:
    """Say how far each key is."""
    return sorted(key.state for key in await list_keys())


async def test_the_first_keys_are_made_by_whoever_needs_them_first(world: World) -> None:
    assert await list_keys() == []
    assert verifies(await signed(), await published_keys())
    assert await states() == ["next", "signing"]


async def test_the_published_set_of_an_empty_table_is_not_empty(world: World) -> None:
    published = await published_keys()
    assert len(published["keys"]) == 2
    assert verifies(await signed(), published)


async def test_a_published_key_has_its_public_members_and_no_others(world: World) -> None:
    for key in (await published_keys())["keys"]:
        assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}
        assert not PRIVATE_MEMBERS & set(key)
        assert (key["kty"], key["use"], key["alg"], key["e"]) == ("RSA", "sig", "RS256", "AQAB")
        assert str(UUID(key["kid"])) == key["kid"]
        assert RSAKey.import_key(key).public_key.key_size == 2048


async def test_keys_that_are_made_at_once_are_made_once(world: World) -> None:
    tokens, published = await asyncio.gather(
        asyncio.gather(*(signed() for _ in range(5))), asyncio.gather(*(published_keys() for _ in range(5)))
    )
    assert await states() == ["next", "signing"]
    assert all(verifies(token, seen) for token in tokens for seen in published)


async def test_no_verification_fails_across_rotations(world: World, owner: asyncpg.Connection) -> None:
    """A verifier asks as seldom as it may; a token is kept for as long as it lives; the operator rotates when allowed."""
    published, asked = await published_keys(), 0
    tokens: list[tuple[int, str]] = []
    rotated = 0
    step = 100
    for now in range(0, 3 * LONGEST_ID_TOKEN, step):
        if now - asked >= CACHE_SECONDS:
            published, asked = await published_keys(), now
        tokens = [(born, token) for born, token in tokens if now - born < LONGEST_ID_TOKEN]
        tokens.append((now, await signed()))
        assert all(verifies(token, published) for _, token in tokens), now
        if now % 700 == 600:
            await rotate()
            rotated += 1
            tokens.append((now, await signed()))
            assert verifies(tokens[-1][1], published), now
        await let_pass(owner, step)
    assert rotated > 10
    kept = await states()
    assert kept.count("next") == kept.count("signing") == 1
    assert len(kept) < rotated


async def test_a_rotation_publishes_signs_and_retires(world: World, owner: asyncpg.Connection) -> None:
    await published_keys()
    before = {key.state: key.kid for key in await list_keys()}
    await let_pass(owner, PUBLISHED_FIRST)
    rotated = await rotate()
    assert (rotated.signing, rotated.retired, rotated.removed) == (before["next"], before["signing"], [])
    assert {key.state: key.kid for key in await list_keys()} == {
        "next": rotated.published,
        "signing": rotated.signing,
        "retired": rotated.retired,
    }
    await let_pass(owner, PUBLISHED_AFTER)
    assert await states() == ["expired", "next", "signing"]
    assert len((await published_keys())["keys"]) == 2
    assert (await rotate()).removed == [before["signing"]]


async def test_a_rotation_that_verifiers_cannot_know_of_yet_says_how_long_to_wait(
    world: World, owner: asyncpg.Connection
) -> None:
    await published_keys()
    before = await list_keys()
    with pytest.raises(Conflict, match=rf"rotate in {PUBLISHED_FIRST} seconds"):
        await rotate()
    await let_pass(owner, PUBLISHED_FIRST - 30)
    with pytest.raises(Conflict, match=r"rotate in (30|29) seconds.*keys rotate --now"):
        await rotate()
    assert [key.kid for key in await list_keys()] == [key.kid for key in before]


async def test_a_leaked_key_is_worth_nothing_at_once(world: World) -> None:
    leaked = await signed()
    rotated = await rotate(now=True)
    published = await published_keys()
    assert not verifies(leaked, published)
    assert verifies(await signed(), published)
    assert {key["kid"] for key in published["keys"]} == {str(rotated.signing), str(rotated.published)}
    assert rotated.retired is None
    assert len(rotated.removed) == 1


async def test_a_leaked_key_that_was_retired_since_is_withdrawn_as_well(
    world: World, owner: asyncpg.Connection
) -> None:
    leaked = await signed()
    await let_pass(owner, PUBLISHED_FIRST)
    await rotate()
    assert verifies(leaked, await published_keys())
    assert len((await rotate(now=True)).removed) == 2
    assert not verifies(leaked, await published_keys())


async def test_of_rotations_at_once_one_is_done(world: World, owner: asyncpg.Connection) -> None:
    await published_keys()
    await let_pass(owner, PUBLISHED_FIRST)
    outcomes = await asyncio.gather(*(rotate() for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 3
    assert sum(isinstance(outcome, Rotated) for outcome in outcomes) == 1
    assert await states() == ["next", "retired", "signing"]


async def test_keys_are_made_beside_the_loop(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    makers = set()

    def noted() -> str:
        makers.add(threading.current_thread())
        return new_private_key()

    monkeypatch.setattr("auth.keys.new_private_key", noted)
    await published_keys()
    await rotate(now=True)
    assert makers
    assert threading.current_thread() not in makers


async def test_no_key_is_listed_with_what_is_secret(world: World) -> None:
    await published_keys()
    assert "PRIVATE" not in str(await list_keys())
