"""Two processes of one service: what is used once is used once on both, and what ends has ended on both."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from auth.allowances import revoke_grants
from auth.bearer import hash_of
from auth.clients import delete_client
from auth.keys import PUBLISHED_FIRST, list_keys, rotate
from auth.scopes import MAESTRO
from auth.tokens import GRACE_FROM_SECONDS
from tenancy.accounts import remove_member, suspend_account, suspend_user
from tenancy.postgres import connected
from tests.auth.oauth import App, answered, basic, by_assertion, error_of, registered, unknown_id
from tests.processes import LIMIT, serving
from tests.tenancy.databases import superuser
from tests.world import Tenant, World, bearer

AT_ONCE = 50
FAILURES = 30  # of a client from one address in a minute, before its further failures are answered with 429
Both = tuple[httpx.AsyncClient, httpx.AsyncClient]


@pytest.fixture(scope="module")
def processes(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Serve the tests' database with two processes of `tutti serve`; their URLs, once they serve."""
    with serving(2, tmp_path_factory.mktemp("processes"), "--no-worker") as urls:
        yield urls


@pytest.fixture
async def both(processes: list[str], world: World) -> AsyncIterator[Both]:
    """A client of each of the processes."""
    async with (
        httpx.AsyncClient(base_url=processes[0], timeout=LIMIT) as one,
        httpx.AsyncClient(base_url=processes[1], timeout=LIMIT) as other,
    ):
        yield one, other


async def at_once(
    both: Both, ask: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]
) -> list[httpx.Response]:
    """Ask many times at once, the processes in turn; return the answers that are successes."""
    answers = await asyncio.gather(*(ask(both[number % 2]) for number in range(AT_ONCE)))
    kinds = Counter("won" if answer.status_code == 200 else refusal_of(answer) for answer in answers)
    assert set(kinds) <= {"won", "invalid_grant", "slow_down"}
    assert kinds["slow_down"] <= max(0, AT_ONCE - FAILURES)
    return [answer for answer in answers if answer.status_code == 200]


def refusal_of(answer: httpx.Response) -> str:
    """The error code of a refused exchange; where failures are many, they are answered with 429."""
    return error_of(answer, 429 if answer.status_code == 429 else 400)


async def a_minute_later(owner: asyncpg.Connection) -> None:
    """Let the failures of the last minute be forgotten."""
    await owner.execute("TRUNCATE throttle")


async def a_fresh_minute(owner: asyncpg.Connection) -> None:
    """Wait for the next minute if this one is nearly over: failures are counted by the minute."""
    second = await owner.fetchval("SELECT extract(second FROM now())::float")
    if second > 45:
        await asyncio.sleep(60.5 - second)


async def assert_worthless(both: Both, app: App, of: Tenant, tokens: dict[str, Any]) -> None:
    """Neither token of a pair is worth anything on either process."""
    for process in both:
        assert await api(process, of, tokens["access_token"]) == 401
        assert await user_info(process, tokens["access_token"]) == 401
        assert error_of(await app.refresh(process, tokens["refresh_token"])) == "invalid_grant"


async def api(process: httpx.AsyncClient, of: Tenant, token: str) -> int:
    """The status with which the API answers a token."""
    return (await process.get(f"{of.url}/workflows", headers=bearer(token))).status_code


async def user_info(process: httpx.AsyncClient, token: str) -> int:
    """The status with which userinfo answers a token."""
    return (await process.get("/oauth/userinfo", headers=bearer(token))).status_code


@pytest.mark.parametrize("kind", ["confidential", "public"])
async def test_of_fifty_redemptions_of_one_code_one_succeeds_and_its_tokens_are_void(
    both: Both, world: World, owner: asyncpg.Connection, kind: str
) -> None:
    app = await registered(world.acme.id, kind)
    code = await app.code(world.acme.admin_id)
    (won,) = await at_once(both, lambda process: app.exchange(process, code))
    await a_minute_later(owner)
    await assert_worthless(both, app, world.acme, answered(won))


@pytest.mark.parametrize("kind", ["confidential", "public"])
async def test_of_fifty_uses_of_one_refresh_token_one_succeeds_and_its_tokens_are_void(
    both: Both, world: World, owner: asyncpg.Connection, kind: str
) -> None:
    app = await registered(world.acme.id, kind)
    first = await app.logged_in(both[0], world.acme.admin_id)
    assert await api(both[1], world.acme, first["access_token"]) == 200
    (won,) = await at_once(both, lambda process: app.refresh(process, first["refresh_token"]))
    await a_minute_later(owner)
    await assert_worthless(both, app, world.acme, first)
    await assert_worthless(both, app, world.acme, answered(won))


async def test_the_grace_for_a_lost_answer_is_given_once_however_many_ask(
    both: Both, world: World, owner: asyncpg.Connection
) -> None:
    app = await registered(world.acme.id)
    first = await app.logged_in(both[0], world.acme.admin_id)
    lost = answered(await app.refresh(both[0], first["refresh_token"]))
    await asyncio.sleep(GRACE_FROM_SECONDS + 0.1)
    (won,) = await at_once(both, lambda process: app.refresh(process, first["refresh_token"]))
    await a_minute_later(owner)
    for tokens in (first, lost, answered(won)):
        await assert_worthless(both, app, world.acme, tokens)


async def test_a_thief_and_the_true_client_at_once_are_both_left_with_nothing(
    both: Both, world: World, owner: asyncpg.Connection
) -> None:
    """The old refresh token comes again while the new one is exchanged: whichever is first, the family is dead."""
    app = await registered(world.acme.id, "public")
    first = await app.logged_in(both[0], world.acme.admin_id)
    second = answered(await app.refresh(both[0], first["refresh_token"]))
    stolen, true = await asyncio.gather(
        app.refresh(both[0], first["refresh_token"]), app.refresh(both[1], second["refresh_token"])
    )
    assert error_of(stolen) == "invalid_grant"
    await a_minute_later(owner)
    for tokens in (first, second, *([answered(true)] if true.status_code == 200 else [])):
        await assert_worthless(both, app, world.acme, tokens)


async def test_a_family_never_forks_while_a_lost_answer_may_be_asked_for(
    both: Both, world: World, owner: asyncpg.Connection
) -> None:
    """The same once a second use would pass for that of a lost answer: one chain lives on at most."""
    app = await registered(world.acme.id, "public")
    for _ in range(20):
        first = await app.logged_in(both[0], world.acme.admin_id)
        second = answered(await app.refresh(both[0], first["refresh_token"]))
        await owner.execute(
            "UPDATE refresh_token SET used_at = used_at - interval '2 seconds' WHERE token_hash = $1",
            hash_of(first["refresh_token"]),
        )
        answers = await asyncio.gather(
            app.refresh(both[0], first["refresh_token"]), app.refresh(both[1], second["refresh_token"])
        )
        chains = [answered(one)["refresh_token"] for one in answers if one.status_code == 200]
        alive = [(await app.refresh(both[0], token)).status_code == 200 for token in chains]
        assert sum(alive) <= 1


async def test_of_fifty_uses_of_one_assertion_with_an_id_one_succeeds(both: Both, world: World) -> None:
    app = await registered(world.acme.id)
    await app.allowed_by(world.acme.member_id)
    assertion = app.assertion(world.acme.member_id, jti=unknown_id())
    (won,) = await at_once(both, lambda process: by_assertion(process, assertion))
    assert await api(both[1], world.acme, answered(won)["access_token"]) == 200


class Held(msgspec.Struct):
    """Everything that works on one process until somebody ends it: a user's tokens and a machine client."""

    of: Tenant
    app: App
    tokens: dict[str, Any]
    machine: App
    machine_token: str

    async def outcomes(self, process: httpx.AsyncClient) -> dict[str, int | str]:
        """Use everything once; the status of each use, or its error code."""
        access = self.tokens["access_token"]
        refreshed = await self.app.refresh(process, self.tokens["refresh_token"])
        machine = await self.machine.token(process, {"grant_type": "client_credentials"})
        found: dict[str, int | str] = {
            "api": await api(process, self.of, access),
            "userinfo": await user_info(process, access),
            "refresh": 200 if refreshed.status_code == 200 else error_of(refreshed),
            "credentials": 200 if machine.status_code == 200 else error_of(machine),
            "machine": await api(process, self.of, self.machine_token),
        }
        if refreshed.status_code == 200:
            self.tokens = refreshed.json()
        return found


WORKS: dict[str, int | str] = dict.fromkeys(("api", "userinfo", "refresh", "credentials", "machine"), 200)
NO_FAMILY: dict[str, int | str] = {"api": 401, "userinfo": 401, "refresh": "invalid_grant"}
NO_CLIENT: dict[str, int | str] = {
    "api": 401,
    "userinfo": 401,
    "refresh": "invalid_client",
    "credentials": "invalid_client",
    "machine": 401,
}


async def revoke_access_tokens(both: Both, one: Held, other: Held) -> None:
    for process, held in ((both[0], other), (both[1], one)):
        assert (await held.app.revoke(process, held.tokens["access_token"])).status_code == 200


async def revoke_refresh_tokens(both: Both, one: Held, other: Held) -> None:
    for process, held in ((both[0], other), (both[1], one)):
        assert (await held.app.revoke(process, held.tokens["refresh_token"])).status_code == 200


async def revoke_grants_of_the_user(both: Both, one: Held, other: Held) -> None:
    assert (await revoke_grants(one.of.admin_id, None, None)).grants >= 2


async def suspend_the_user(both: Both, one: Held, other: Held) -> None:
    await suspend_user(str(one.of.admin_id))


async def remove_the_member(both: Both, one: Held, other: Held) -> None:
    await remove_member(str(one.of.admin_id), one.of.id, even_the_last=True)


async def delete_the_clients(both: Both, one: Held, other: Held) -> None:
    for client in (one.app, one.machine):
        await delete_client(client.account_id, client.id)


async def suspend_the_account(both: Both, one: Held, other: Held) -> None:
    await suspend_account(one.of.id)


@pytest.mark.parametrize(
    ("end", "refused"),
    [
        (revoke_access_tokens, {"api": 401, "userinfo": 401}),
        (revoke_refresh_tokens, NO_FAMILY),
        (revoke_grants_of_the_user, NO_FAMILY),
        (suspend_the_user, NO_FAMILY),
        (remove_the_member, NO_FAMILY | {"api": 404}),
        (delete_the_clients, NO_CLIENT),
        (suspend_the_account, NO_CLIENT),
    ],
)
async def test_the_very_next_request_is_refused_on_both_processes(
    both: Both,
    world: World,
    end: Callable[[Both, Held, Held], Awaitable[None]],
    refused: dict[str, int | str],
) -> None:
    acme = world.acme
    app = await registered(acme.id)
    machine = await registered(acme.id, "machine", scopes=MAESTRO)
    one, other = [
        Held(
            acme,
            app,
            await app.logged_in(process, acme.admin_id),
            machine,
            answered(await machine.token(process, {"grant_type": "client_credentials"}))["access_token"],
        )
        for process in both
    ]
    assert [await one.outcomes(both[0]), await other.outcomes(both[1])] == [WORKS, WORKS]
    await end(both, one, other)
    assert [await one.outcomes(both[0]), await other.outcomes(both[1])] == [WORKS | refused, WORKS | refused]


async def test_a_suspended_account_is_shut_to_clients_of_other_accounts_too(both: Both, world: World) -> None:
    acme = world.acme
    app = await registered(world.globex.id)
    logged_in = [await app.logged_in(process, acme.admin_id) for process in both]
    for process, tokens in zip(both, logged_in, strict=True):
        assert await api(process, acme, tokens["access_token"]) == 200
    await suspend_account(acme.id)
    for process, tokens in zip(both, logged_in, strict=True):
        assert await api(process, acme, tokens["access_token"]) == 404
        assert await user_info(process, tokens["access_token"]) == 401
        assert error_of(await app.refresh(process, tokens["refresh_token"])) == "invalid_grant"


async def busy(process: httpx.AsyncClient, app: App, code: str, machine: App) -> list[httpx.Response]:
    """Exchange a code and refresh what it gave, and get a machine's tokens, until both are refused; all answers."""
    answers = [await app.exchange(process, code)]
    while answers[-1].status_code == 200:
        answers.append(await app.refresh(process, answers[-1].json()["refresh_token"]))
    answers.append(await machine.token(process, {"grant_type": "client_credentials"}))
    while answers[-1].status_code == 200:
        answers.append(await machine.token(process, {"grant_type": "client_credentials"}))
    return answers


@pytest.mark.parametrize("pause", [0.02, 0.05, 0.08, 0.11])
async def test_a_client_that_is_deleted_in_the_midst_of_its_requests_is_refused_without_a_fault(
    both: Both, world: World, pause: float
) -> None:
    app = await registered(world.acme.id)
    machine = await registered(world.acme.id, "machine", scopes=MAESTRO)
    codes = [await app.code(world.acme.admin_id) for _ in range(12)]

    async def deleted() -> None:
        for client in (app, machine):
            await asyncio.sleep(pause)
            await delete_client(client.account_id, client.id)

    deletion = asyncio.create_task(deleted())
    found = await asyncio.gather(
        *(busy(both[number % 2], app, code, machine) for number, code in enumerate(codes))
    )
    await deletion
    statuses = Counter(answer.status_code for answers in found for answer in answers)
    assert set(statuses) <= {200, 400, 429}


@pytest.mark.parametrize("grant", ["client_credentials", "assertion", "code", "refresh_token"])
async def test_a_client_that_is_deleted_during_its_request_is_refused(
    both: Both, world: World, grant: str
) -> None:
    user_id = world.acme.member_id
    app = await registered(world.acme.id)
    machine = await registered(world.acme.id, "machine", scopes=MAESTRO)
    await app.allowed_by(user_id)
    code = await app.code(user_id)
    refresh_token = (await app.logged_in(both[0], user_id))["refresh_token"]

    async def asked(process: httpx.AsyncClient) -> httpx.Response:
        if grant == "client_credentials":
            return await machine.token(process, {"grant_type": grant})
        if grant == "assertion":
            return await by_assertion(process, app.assertion(user_id))
        if grant == "code":
            return await app.exchange(process, code)
        return await app.refresh(process, refresh_token)

    async with connected(superuser()) as connection:
        async with connection.transaction():
            await connection.execute("DELETE FROM client WHERE id = ANY($1::uuid[])", [app.id, machine.id])
            waiting = [asyncio.create_task(asked(process)) for process in both]
            await asyncio.sleep(0.3)
            assert not any(one.done() for one in waiting)
        for one in waiting:
            assert error_of(await one) in ("invalid_client", "invalid_grant")


async def test_a_client_that_is_deleted_while_it_sends_a_person_is_unknown_to_them(
    both: Both, world: World
) -> None:
    app = await registered(world.acme.id)
    async with connected(superuser()) as connection:
        async with connection.transaction():
            await connection.execute("DELETE FROM client WHERE id = $1", app.id)
            sent = [asyncio.create_task(one.get("/oauth/auth", params=app.parameters())) for one in both]
            await asyncio.sleep(0.3)
            assert not any(one.done() for one in sent)
        assert [(await one).status_code for one in sent] == [400, 400]


async def test_keys_are_rotated_while_both_processes_sign(
    both: Both, world: World, owner: asyncpg.Connection
) -> None:
    app = await registered(world.acme.id)
    before = KeySet.import_key_set((await both[0].get("/oauth/jwks")).json())
    await owner.execute(
        "UPDATE signing_key SET published_at = published_at - make_interval(secs => $1)", PUBLISHED_FIRST
    )
    id_tokens: list[str] = []
    rotated = asyncio.Event()

    async def signs(process: httpx.AsyncClient) -> None:
        tokens = await app.logged_in(process, world.acme.admin_id)
        left = 5  # after the rotation
        while left:
            id_tokens.append(tokens["id_token"])
            tokens = answered(await app.refresh(process, tokens["refresh_token"]))
            left -= rotated.is_set()
        id_tokens.append(tokens["id_token"])

    async def rotates() -> None:
        await asyncio.sleep(0.5)
        await rotate()
        rotated.set()

    await asyncio.gather(*(signs(both[number % 2]) for number in range(6)), rotates())
    after = KeySet.import_key_set((await both[1].get("/oauth/jwks")).json())
    signers = set()
    for token in id_tokens:
        for published in (before, after):
            verified = jwt.decode(token, published, algorithms=["RS256"])
            assert verified.claims["sub"] == str(world.acme.admin_id)
            signers.add(verified.header["kid"])
    assert signers == {str(key.kid) for key in await list_keys() if key.state in ("signing", "retired")}
    assert len(signers) == 2


async def test_failures_on_one_process_count_on_the_other(
    both: Both, world: World, owner: asyncpg.Connection
) -> None:
    await a_fresh_minute(owner)
    machine = await registered(world.acme.id, "machine", scopes=MAESTRO)
    fields = {"grant_type": "client_credentials"}
    wrong = basic(str(machine.id), "wrong")
    statuses = []
    for number in range(FAILURES + 6):
        answer = await both[number % 2].post("/oauth/token", data=fields, headers=wrong)
        statuses.append(answer.status_code)
    assert statuses == [400] * FAILURES + [429] * 6
    for process in both:
        answer = await process.post("/oauth/token", data=fields, headers=wrong)
        assert error_of(answer, 429) == "slow_down"
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert (await machine.token(process, fields)).status_code == 200
