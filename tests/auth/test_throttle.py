"""Limits on guessing: to the number, over all processes, and never the true user's lock-out by a stranger elsewhere."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from auth import throttle
from auth.bearer import hash_of, new_secret
from auth.passwords import check, hash_password
from auth.throttle import (
    BEGUN_WINDOW,
    LOGIN_WINDOW,
    MOST_AT_ONCE,
    MOST_BEGUN,
    MOST_DEVICES,
    MOST_OF_ADDRESS,
    MOST_OF_CLIENT,
    MOST_OF_CLIENTS_ADDRESS,
    MOST_OF_DEVICE,
    MOST_OF_PAIR,
    SLOWEST,
    TOKEN_WINDOW,
    UNSLOWED,
    LoginAttempt,
    network_of,
    token_failure,
)
from tenancy.accounts import set_password
from tenancy.errors import TooManyAttempts
from tenancy.rows import transaction
from tests.auth.oauth import registered
from tests.world import World

ADA = "member@acme.example"
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"
HOSTILE = [
    "",
    "\0",
    "ada\0@acme.example",
    "\ud800",
    "a\udcff@acme.example",
    "x" * 1_000_000,
    "ﷺ" * 100_000,
    "' OR true --",
]
FAIL_IN_ANOTHER_PROCESS = """
import asyncio, sys
from auth.throttle import LoginAttempt
from tenancy.postgres import pool

async def fail():
    async with pool(2):
        for _ in range(int(sys.argv[3])):
            await LoginAttempt(sys.argv[1], sys.argv[2], None).failed()

asyncio.run(fail())
"""


def attempt(email: str = ADA, address: str = HERE, device: str | None = None) -> LoginAttempt:
    """An attempt to log in."""
    return LoginAttempt(email, address, device)


async def fail(times: int, one: LoginAttempt) -> None:
    """Give a wrong password some times, one after the other."""
    for _ in range(times):
        await one.failed()


async def refused(doing: Awaitable[object]) -> bool:
    """Whether something is refused for too many failures."""
    try:
        await doing
    except TooManyAttempts:
        return True
    return False


async def counted(owner: asyncpg.Connection) -> list[int]:
    """How many failures each row counts, fewest first."""
    rows = await owner.fetch("SELECT failures FROM throttle ORDER BY failures")
    return [row["failures"] for row in rows]


async def device_of(user_id: UUID, email: str = ADA, device: str | None = None) -> str:
    """Log in from elsewhere; return what the device's cookie holds."""
    return await attempt(email, ELSEWHERE, device).succeeded(user_id)


async def begin_in_one_window(owner: asyncpg.Connection, window: int, needed: float) -> None:
    """Wait for the next window if the present one ends within the seconds that are needed."""
    left = float(await owner.fetchval(f"SELECT {window} - extract(epoch FROM now()) % {window}"))
    if left < needed:
        await asyncio.sleep(left + 0.1)


@pytest.fixture(autouse=True)
async def in_one_window(world: World, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no window end in the middle of a test; clients' last as long as logins' here."""
    monkeypatch.setattr(throttle, "TOKEN_WINDOW", LOGIN_WINDOW)
    await begin_in_one_window(owner, LOGIN_WINDOW, 30)


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that attempts had to wait, which nobody waits."""
    moments: list[float] = []

    async def note(seconds: float) -> None:
        moments.append(seconds)

    monkeypatch.setattr(throttle, "sleep", note)
    return moments


async def test_a_name_has_ten_guesses_from_one_address() -> None:
    for _ in range(MOST_OF_PAIR):
        await attempt().admit()
        await attempt().failed()
    with pytest.raises(TooManyAttempts):
        await attempt().admit()
    await attempt("admin@acme.example").admit()


async def test_retry_after_is_what_is_left_of_the_window(owner: asyncpg.Connection) -> None:
    await fail(MOST_OF_PAIR, attempt())
    left = "SELECT ceil(900 - extract(epoch FROM now()) % 900)::int"
    before = await owner.fetchval(left)
    with pytest.raises(TooManyAttempts) as first:
        await attempt().admit()
    assert await owner.fetchval(left) <= first.value.retry_after <= before
    await asyncio.sleep(1.1)
    with pytest.raises(TooManyAttempts) as second:
        await attempt().admit()
    assert await owner.fetchval(left) <= second.value.retry_after < first.value.retry_after


async def test_guesses_begin_anew_with_the_next_window(owner: asyncpg.Connection) -> None:
    await fail(MOST_OF_PAIR, attempt())
    assert await refused(attempt().admit())
    await owner.execute("UPDATE throttle SET window_start = window_start - interval '15 minutes'")
    await attempt().admit()


@pytest.mark.parametrize("typed", [" Member@ACME.example ", "MEMBER@acme.example\t"])
async def test_a_name_is_one_however_it_is_typed(typed: str) -> None:
    await fail(MOST_OF_PAIR, attempt(typed))
    assert await refused(attempt().admit())


async def test_an_address_has_a_hundred_guesses_at_any_names() -> None:
    for number in range(MOST_OF_ADDRESS):
        await attempt(f"{number}@acme.example").admit()
        await attempt(f"{number}@acme.example").failed()
    assert await refused(attempt().admit())
    await attempt(address=ELSEWHERE).admit()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("2001:db8:1:2::1", "2001:0DB8:1:2:0:0:0:1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("unix socket", "unix socket", True),
        ("unix socket", "another", False),
    ],
)
async def test_an_address_is_what_one_customer_has(one: str, other: str, *, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same
    await fail(MOST_OF_PAIR, attempt(address=one))
    assert await refused(attempt(address=other).admit()) is same


async def test_failures_of_all_processes_are_counted_together() -> None:
    await fail(MOST_OF_PAIR - 3, attempt())
    arguments = ("-c", FAIL_IN_ANOTHER_PROCESS, ADA, HERE, "3")
    await attempt().admit()
    other = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    assert await other.wait() == 0
    assert await refused(attempt().admit())


async def test_fifty_failures_at_once_count_fifty(owner: asyncpg.Connection) -> None:
    await asyncio.gather(*(refused(attempt().failed()) for _ in range(50)))
    assert await counted(owner) == [50, 50, 50]


async def test_failures_at_once_of_many_names_and_addresses_all_count(owner: asyncpg.Connection) -> None:
    several = [attempt(f"{n % 3}@acme.example", f"192.0.2.{n % 2}") for n in range(120)]
    await asyncio.gather(*(refused(one.failed()) for one in several))
    assert await counted(owner) == [20] * 6 + [40] * 3 + [60] * 2


async def test_guesses_sent_at_once_tell_no_more_than_one_after_the_other(world: World) -> None:
    await asyncio.gather(*(attempt().admit() for _ in range(50)))
    await fail(MOST_OF_PAIR, attempt())
    with pytest.raises(TooManyAttempts):
        await attempt().succeeded(world.acme.member_id)
    answers = await asyncio.gather(*(refused(attempt().failed()) for _ in range(39)))
    assert all(answers)


async def test_the_right_password_clears_its_own_count_alone(world: World, owner: asyncpg.Connection) -> None:
    await fail(MOST_OF_PAIR - 1, attempt())
    await fail(MOST_OF_PAIR - 1, attempt("admin@acme.example"))
    await attempt().succeeded(world.acme.member_id)
    await attempt().admit()
    assert await counted(owner) == [9, 9, 9, 18]  # the name's, the other pair's and name's, the address's
    await attempt("admin@acme.example").failed()
    assert await refused(attempt("admin@acme.example").admit())


async def test_the_true_user_elsewhere_is_let_in_while_a_stranger_guesses(world: World) -> None:
    await fail(MOST_OF_PAIR, attempt())
    assert await refused(attempt().admit())
    await attempt(address=ELSEWHERE).admit()
    await attempt(address=ELSEWHERE).succeeded(world.acme.member_id)
    assert await refused(attempt().admit())


async def test_the_true_users_device_is_let_in_beside_a_stranger_who_guesses(
    world: World, waited: list[float], owner: asyncpg.Connection
) -> None:
    device = await device_of(world.acme.member_id)
    await fail(MOST_OF_PAIR, attempt())
    for number in range(MOST_OF_ADDRESS):
        await refused(attempt(f"{number}@acme.example").failed())
    await owner.execute("UPDATE throttle SET failures = 1000")
    assert await refused(attempt().admit())
    await attempt(device=device).admit()
    assert await attempt(device=device).succeeded(world.acme.member_id) == device
    assert waited == []
    assert await refused(attempt().admit())


async def test_a_device_has_ten_guesses_wherever_it_is(world: World, owner: asyncpg.Connection) -> None:
    device = await device_of(world.acme.member_id)
    for _ in range(MOST_OF_DEVICE):
        await attempt(device=device).admit()
        await attempt(device=device).failed()
    assert await counted(owner) == [MOST_OF_DEVICE]
    assert await refused(attempt(device=device).admit())
    assert await refused(attempt(address=ELSEWHERE, device=device).admit())
    await attempt().admit()


async def test_a_device_that_succeeds_has_its_guesses_again(world: World, owner: asyncpg.Connection) -> None:
    device = await device_of(world.acme.member_id)
    await fail(MOST_OF_DEVICE - 1, attempt(device=device))
    assert await attempt(device=device).succeeded(world.acme.member_id) == device
    assert await counted(owner) == []


@pytest.mark.parametrize("device", ["", "made up", "x" * 1_000_000, "\ud800", "é", "a\0b"], ids=range(6))
async def test_a_device_that_nobody_logged_in_with_counts_for_nothing(world: World, device: str) -> None:
    await fail(MOST_OF_PAIR, attempt(device=device))
    assert await refused(attempt(device=device).admit())
    assert await refused(attempt(device=new_secret()).admit())
    given = await attempt(address=ELSEWHERE, device=device).succeeded(world.acme.member_id)
    assert given != device
    await attempt(device=given).admit()


async def test_a_device_of_one_user_opens_no_door_to_another(world: World, owner: asyncpg.Connection) -> None:
    thiefs = await device_of(world.acme.admin_id, "admin@acme.example")
    await fail(MOST_OF_PAIR, attempt(device=thiefs))
    assert await refused(attempt(device=thiefs).admit())
    mine = await device_of(world.acme.member_id, device=thiefs)
    assert mine != thiefs
    owners = await owner.fetch("SELECT user_id FROM known_device WHERE device_hash = $1", hash_of(thiefs))
    assert [row["user_id"] for row in owners] == [world.acme.admin_id]


async def test_a_user_has_twenty_devices_and_the_one_not_seen_for_longest_goes(
    world: World, owner: asyncpg.Connection
) -> None:
    first, second, *_ = [await device_of(world.acme.member_id) for _ in range(MOST_DEVICES)]
    assert await device_of(world.acme.member_id, device=first) == first
    await device_of(world.acme.member_id)
    assert await owner.fetchval("SELECT count(*) FROM known_device") == MOST_DEVICES
    assert await device_of(world.acme.member_id, device=first) == first
    assert await device_of(world.acme.member_id, device=second) != second


async def test_logins_at_once_leave_twenty_devices(world: World, owner: asyncpg.Connection) -> None:
    user_id = world.acme.member_id
    many = (device_of(user_id) for _ in range(MOST_DEVICES * 2))
    await asyncio.gather(*many)
    await owner.execute("BEGIN")
    await owner.execute("SELECT FROM app_user WHERE id = $1 FOR NO KEY UPDATE", user_id)
    await owner.execute(
        "INSERT INTO known_device (id, device_hash, user_id) VALUES (gen_random_uuid(), $2, $1)",
        user_id,
        hash_of("a login that has not quite ended"),
    )
    login = asyncio.create_task(device_of(user_id))
    await asyncio.wait([login], timeout=0.5)
    await owner.execute("COMMIT")
    await login
    assert await owner.fetchval("SELECT count(*) FROM known_device") == MOST_DEVICES


async def test_a_new_password_makes_every_device_a_strangers(world: World) -> None:
    device = await device_of(world.acme.member_id)
    await set_password(ADA, "not a hash")
    assert await device_of(world.acme.member_id, device=device) != device


async def test_a_name_that_fails_everywhere_is_slowed_and_never_refused(
    world: World, waited: list[float]
) -> None:
    longest = 0.0
    for number in range(UNSLOWED + 40):
        await attempt(address=f"192.0.2.{number}").admit()
        assert (waited[-1:] > [0]) is (number > UNSLOWED)
        assert waited == [] or longest <= waited[-1] <= SLOWEST
        longest = waited[-1] if waited else longest
        await attempt(address=f"192.0.2.{number}").failed()
    assert longest == SLOWEST
    device = await attempt(address=ELSEWHERE).succeeded(world.acme.member_id)
    waited.clear()
    await attempt(device=device).admit()
    assert waited == []


async def test_nothing_personal_is_stored(world: World, owner: asyncpg.Connection) -> None:
    device = await device_of(world.acme.member_id)
    await attempt().failed()
    await attempt(device=device).failed()
    await refused(token_failure("a-client", HERE))
    stored = " ".join(str(tuple(row)) for row in await owner.fetch("SELECT * FROM throttle"))
    assert len(await counted(owner)) == 6
    for personal in (ADA, "member", HERE, "192.0", "a-client", device, str(hash_of(device))):
        assert personal not in stored
    logged = "SELECT relpersistence::text FROM pg_class WHERE oid = 'throttle'::regclass"
    assert await owner.fetchval(logged) == "u"


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_text_is_counted_as_any(text: str, owner: asyncpg.Connection) -> None:
    one = LoginAttempt(text, text, text)
    await one.admit()
    await one.failed()
    await one.failed()
    await token_failure(text, text)
    assert await counted(owner) == [1, 1, 2, 2, 2]
    await owner.execute("UPDATE throttle SET failures = 1000")
    assert await refused(one.admit())
    assert await refused(one.failed())
    assert await refused(token_failure(text, text))


async def test_a_name_and_an_address_do_not_run_into_one_another(owner: asyncpg.Connection) -> None:
    await attempt("a@b.cd", "e").failed()
    await attempt("a@b.c", "de").failed()
    assert await counted(owner) == [1] * 6


async def test_what_is_typed_around_a_name_makes_no_other_name() -> None:
    """Each way to write a name that could log in counts as that name, and all that could not count as one."""
    await fail(MOST_OF_PAIR, attempt())
    for typed in (f"  {ADA} ", ADA.upper(), ADA + " " * 50):
        assert await refused(attempt(typed).admit())
    await fail(MOST_OF_PAIR, attempt(ADA + " " * 400 + "1"))
    assert await refused(attempt(ADA + " " * 400 + "2").admit())
    assert await refused(attempt("x" * 1000).admit())


@pytest.mark.parametrize("suffix", ["", " " * 50, " " * 237 + "x1", " " * 400 + "x2"])
async def test_no_name_logs_in_that_is_not_counted_as_the_users(world: World, suffix: str) -> None:
    await set_password(ADA, hash_password("right password"))
    logs_in = await check(ADA + suffix, "right password") is not None
    assert logs_in == (attempt(ADA + suffix).name == ADA)


async def test_few_passwords_of_one_address_are_checked_at_once() -> None:
    with contextlib.ExitStack() as taken:
        for _ in range(MOST_AT_ONCE):
            taken.enter_context(throttle.one_of_few(HERE))
        with pytest.raises(TooManyAttempts), throttle.one_of_few(HERE):
            pass
        with throttle.one_of_few(ELSEWHERE):
            pass
    with throttle.one_of_few(HERE):
        pass
    assert not throttle.CHECKING


async def test_a_client_may_fail_thirty_times_a_minute_from_one_address() -> None:
    for _ in range(MOST_OF_CLIENT):
        await token_failure("client", HERE)
    assert await refused(token_failure("client", HERE))
    await token_failure("client", ELSEWHERE)
    await token_failure("another", HERE)


async def test_a_client_may_try_again_after_a_minute(
    owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    await begin_in_one_window(owner, TOKEN_WINDOW, 10)
    await token_failure("client", HERE)
    await owner.execute("UPDATE throttle SET failures = 30")
    with pytest.raises(TooManyAttempts) as caught:
        await token_failure("client", HERE)
    assert 1 <= caught.value.retry_after <= 60
    await owner.execute("UPDATE throttle SET window_start = window_start - interval '1 minute'")
    await token_failure("client", HERE)


async def test_an_address_may_fail_three_hundred_times_a_minute_and_is_then_counted_alone(
    owner: asyncpg.Connection,
) -> None:
    for number in range(MOST_OF_CLIENTS_ADDRESS):
        await token_failure(f"client {number}", HERE)
    assert await refused(token_failure("one more", HERE))
    before: Any = await owner.fetchval("SELECT count(*) FROM throttle")
    assert await refused(token_failure("made up", HERE))
    assert await owner.fetchval("SELECT count(*) FROM throttle") == before
    await token_failure("client 1", ELSEWHERE)


async def test_fifty_failures_of_a_client_at_once_count_fifty(owner: asyncpg.Connection) -> None:
    answers = await asyncio.gather(*(refused(token_failure("client", HERE)) for _ in range(50)))
    assert answers.count(False) == MOST_OF_CLIENT
    assert await counted(owner) == [50, 50]


async def test_failures_of_clients_do_not_count_as_logins() -> None:
    for _ in range(MOST_OF_CLIENT):
        await token_failure(ADA, HERE)
    await attempt().admit()


async def test_logins_that_nobody_finishes_are_limited_by_address(
    client: httpx.AsyncClient, world: World
) -> None:
    app = await registered(world.acme.id)
    key = throttle.key_of("login begun from", "127.0.0.1")
    assert (await client.get("/oauth/auth", params=app.parameters())).status_code == 303
    async with transaction() as connection:
        await connection.execute("UPDATE throttle SET failures = $2 WHERE key_hash = $1", key, MOST_BEGUN)
    refused = await client.get("/oauth/auth", params=app.parameters())
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= BEGUN_WINDOW
    assert "text/html" in refused.headers["content-type"]
    async with transaction() as connection:
        assert await connection.fetchval("SELECT count(*) FROM authorization_request") == 1
