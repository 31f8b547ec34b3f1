"""Passwords: the right one of an active user is let in; nothing tells what was wrong with any other."""

import asyncio
import os
import threading

import asyncpg
import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from auth import passwords
from auth.passwords import LONGEST, MEMORY_KIB, NOBODYS, PASSES, check, hash_password
from tenancy.accounts import resume_user, set_password, suspend_user
from tenancy.rows import read
from tests.world import World

ADA = "member@acme.example"
RIGHT = "correct horse"
HOSTILE = [
    "",
    "\0",
    "correct horse\0",
    "\ud800",
    "\udcff correct horse",
    "x" * (LONGEST + 1),
    "é" * LONGEST,
    "x" * 1_000_000,
    "ﷺ" * 100_000,
]


def made(memory: int, passes: int, password: str = RIGHT) -> str:
    """Hash with other parameters."""
    argon2 = Argon2id(salt=os.urandom(16), length=32, iterations=passes, lanes=1, memory_cost=memory)
    return argon2.derive_phc_encoded(password.encode())


async def stored(owner: asyncpg.Connection) -> str:
    """The hash that is kept of Ada's password."""
    found: str = await owner.fetchval("SELECT password_hash FROM app_user WHERE email = $1", ADA)
    return found


@pytest.fixture
async def ada(world: World) -> World:
    """A member who has a password; the others have none."""
    await set_password(ADA, hash_password(RIGHT))
    return world


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes that passwords are verified against."""
    hashes: list[str] = []
    matches = passwords.matches

    def note(password: bytes, hashed: str) -> bool:
        hashes.append(hashed)
        return matches(password, hashed)

    monkeypatch.setattr(passwords, "matches", note)
    return hashes


@pytest.mark.parametrize("email", [ADA, " Member@ACME.example "])
async def test_the_right_password_tells_who_it_is(ada: World, email: str) -> None:
    assert await check(email, RIGHT) == ada.acme.member_id


@pytest.mark.parametrize("password", ["wrong horse", "Correct horse", "correct horse ", "correct hors"])
async def test_any_other_password_tells_nothing(ada: World, password: str) -> None:
    assert await check(ADA, password) is None


async def test_a_password_is_one_however_it_is_typed(ada: World) -> None:
    await set_password(ADA, hash_password("fu\u0308r Zoe\u0308"))
    assert await check(ADA, "f\u00fcr Zo\u00eb") == ada.acme.member_id


async def test_a_new_password_replaces_the_old_one(ada: World) -> None:
    await set_password(ADA, hash_password("another horse"))
    assert await check(ADA, RIGHT) is None
    assert await check(ADA, "another horse") == ada.acme.member_id


async def test_the_suspended_are_not_let_in_until_they_are_resumed(ada: World) -> None:
    await suspend_user(ADA)
    assert await check(ADA, RIGHT) is None
    await resume_user(ADA)
    assert await check(ADA, RIGHT) == ada.acme.member_id


async def test_whoever_cannot_log_in_costs_the_same_work_as_a_wrong_password(
    ada: World, verified: list[str], owner: asyncpg.Connection
) -> None:
    assert await check(ADA, "wrong horse") is None
    assert verified == [await stored(owner)]
    verified.clear()
    await suspend_user(ADA)
    for email in (
        ADA,
        "admin@acme.example",
        "nobody@acme.example",
        "no address",
        "\0",
        "\ud800",
        "x" * 10**6,
    ):
        assert await check(email, RIGHT) is None
        assert verified == [NOBODYS]
        verified.clear()


async def test_what_stands_for_nobodys_password_costs_what_a_new_hash_does() -> None:
    assert NOBODYS.split("$")[:4] == hash_password(RIGHT).split("$")[:4]
    assert [len(part) for part in NOBODYS.split("$")] == [
        len(part) for part in hash_password(RIGHT).split("$")
    ]


@pytest.mark.parametrize("password", HOSTILE, ids=range(len(HOSTILE)))
async def test_text_that_is_no_password_is_a_wrong_one(ada: World, password: str) -> None:
    assert await check(ADA, password) is None
    assert await check("nobody@acme.example", password) is None


async def test_passwords_that_begin_alike_differ_however_long_they_are(ada: World) -> None:
    longest = "x" * LONGEST
    await set_password(ADA, hash_password(longest))
    assert await check(ADA, longest) == ada.acme.member_id
    assert await check(ADA, longest[:-1] + "y") is None
    assert await check(ADA, longest + "x") is None


@pytest.mark.parametrize(("memory", "passes"), [(8, 1), (MEMORY_KIB, PASSES - 1), (MEMORY_KIB // 2, PASSES)])
async def test_a_weaker_hash_is_replaced_by_the_next_login(
    ada: World, owner: asyncpg.Connection, memory: int, passes: int
) -> None:
    weak = made(memory, passes)
    await set_password(ADA, weak)
    assert await check(ADA, "wrong horse") is None
    assert await stored(owner) == weak
    assert await check(ADA, RIGHT) == ada.acme.member_id
    assert (await stored(owner)).startswith(f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1$")
    assert await check(ADA, RIGHT) == ada.acme.member_id


@pytest.mark.parametrize(("memory", "passes"), [(MEMORY_KIB, PASSES), (MEMORY_KIB * 2, 1), (MEMORY_KIB, 3)])
async def test_a_hash_as_strong_or_stronger_stays(
    ada: World, owner: asyncpg.Connection, memory: int, passes: int
) -> None:
    strong = made(memory, passes)
    await set_password(ADA, strong)
    assert await check(ADA, RIGHT) == ada.acme.member_id
    assert await stored(owner) == strong


async def test_a_short_password_from_elsewhere_is_checked_and_hashed_anew(
    ada: World, owner: asyncpg.Connection
) -> None:
    await set_password(ADA, made(8, 1, "short"))
    assert await check(ADA, "short") == ada.acme.member_id
    assert f"m={MEMORY_KIB}," in await stored(owner)


async def test_a_password_that_changed_meanwhile_is_not_put_back(
    ada: World, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_password(ADA, made(8, 1))
    started, go_on, hashed = threading.Event(), threading.Event(), passwords.hashed

    def slowly(password: bytes) -> str:
        started.set()
        go_on.wait(10)
        return hashed(password)

    monkeypatch.setattr(passwords, "hashed", slowly)
    login = asyncio.create_task(check(ADA, RIGHT))
    await asyncio.to_thread(started.wait, 10)
    changed = made(8, 1, "another horse")
    await set_password(ADA, changed)
    go_on.set()
    await login
    assert await stored(owner) == changed


@pytest.mark.parametrize("broken", ["", "x", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv"])
async def test_a_stored_hash_that_is_none_lets_nobody_in(ada: World, broken: str) -> None:
    await set_password(ADA, broken)
    assert await check(ADA, RIGHT) is None
    assert await check(ADA, "") is None


async def test_a_flood_of_logins_is_hashed_a_few_at_a_time_and_holds_no_connection(
    ada: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    processors = os.cpu_count() or 1
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slowly(password: bytes, hashed: str) -> bool:
        begun.release()
        return not go_on.wait(30)

    monkeypatch.setattr(passwords, "matches", slowly)
    flood = [asyncio.create_task(check(ADA, RIGHT)) for _ in range(50)]
    try:
        for _ in range(processors):
            assert await asyncio.to_thread(begun.acquire, timeout=10)
        assert not await asyncio.to_thread(begun.acquire, timeout=0.3)
        async with asyncio.timeout(10):
            assert len(await read("SELECT 1")) == 1
    finally:
        go_on.set()
    assert await asyncio.gather(*flood) == [None] * 50
