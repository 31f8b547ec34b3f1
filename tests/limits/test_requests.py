"""Requests per second: who is counted, who is refused, what they are told."""

import asyncio
import time
from collections import Counter
from uuid import uuid4

import httpx
import pytest

from auth.bearer import Operator, new_secret
from auth.clients import issue_token
from auth.scopes import MAESTRO
from service.limits import admission
from service.limits.bucket import Bucket
from service.operations import limits
from service.operations.limits import Wanted
from tenancy.errors import BadRequest, NotFound
from tenancy.rows import rows_of
from tests.documents import committed, operations_of
from tests.limits.limiting import codes, limited, statuses
from tests.maestro.errors import assert_refused
from tests.maestro.routes import ROUTES
from tests.maestro.streams import revoke
from tests.world import LIFE, Tenant, World, bearer, trigger

TOLD = ("RateLimit-Policy", "RateLimit", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


def workflows(of: Tenant) -> str:
    """Where a cheap list of the tenant's is."""
    return f"{of.url}/workflows"


async def level_of(of: Tenant) -> float | None:
    """How many requests stand in the row that processes share."""
    async with rows_of(of.id) as connection:
        level: float | None = await connection.fetchval("SELECT level FROM request_bucket")
    return level


async def test_an_account_without_limits_is_told_of_none_and_has_no_bucket(
    client: httpx.AsyncClient, world: World
) -> None:
    await limited(world.globex, requests_per_second=1)
    answers = [await client.get(workflows(world.acme), headers=bearer(world.acme.admin)) for _ in range(20)]
    assert {answer.status_code for answer in answers} == {200}
    assert [name for answer in answers for name in TOLD if name in answer.headers] == []
    assert await level_of(world.acme) is None


async def test_a_limited_account_makes_as_many_requests_as_its_burst_and_is_told_when_to_come_again(
    client: httpx.AsyncClient, world: World
) -> None:
    await limited(world.acme, requests_per_second=1, burst=5)
    url, token = workflows(world.acme), world.acme.admin
    first = await client.get(url, headers=bearer(token))
    assert first.status_code == 200
    assert first.headers["RateLimit-Policy"] == '"account";q=5;w=5'
    assert first.headers["RateLimit"] == '"account";r=4;t=1'
    assert first.headers["X-RateLimit-Limit"] == "5"
    assert first.headers["X-RateLimit-Remaining"] == "4"
    assert 0 < int(first.headers["X-RateLimit-Reset"]) - time.time() < 3
    assert await statuses(client, url, token, 20) in ({200: 4, 429: 16}, {200: 5, 429: 15})
    refused = await client.get(url, headers=bearer(token))
    assert_refused(refused, 429)
    assert codes(refused) == ["REQUEST_LIMIT_REACHED"]
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["RateLimit"].startswith('"account";r=0;t=')
    assert all(name in refused.headers for name in TOLD)


def test_the_document_tells_of_every_header_of_a_limit() -> None:
    document = committed("maestro.json")
    for name, operation in operations_of(document).items():
        successes = [one for status, one in operation["responses"].items() if status < "300"]
        assert all(set(TOLD) <= set(one["headers"]) for one in successes), name
    assert set(TOLD) <= set(document["components"]["responses"]["429"]["headers"])


async def test_who_waits_as_long_as_retry_after_says_is_served(
    client: httpx.AsyncClient, world: World
) -> None:
    """As SDKs do, which honour Retry-After up to 5 seconds and try for 30."""
    await limited(world.acme, requests_per_second=2, burst=2)
    url, token = workflows(world.acme), world.acme.admin
    await statuses(client, url, token, 10)
    refused = await client.get(url, headers=bearer(token))
    assert refused.status_code == 429
    waited = int(refused.headers["Retry-After"])
    assert 1 <= waited <= 5
    await asyncio.sleep(waited)
    assert (await client.get(url, headers=bearer(token))).status_code == 200


async def test_another_account_is_not_held_up(client: httpx.AsyncClient, world: World) -> None:
    await limited(world.acme, requests_per_second=1)
    await limited(world.globex, requests_per_second=100)
    assert (await statuses(client, workflows(world.acme), world.acme.admin, 20))[429] > 0
    assert await statuses(client, workflows(world.globex), world.globex.admin, 20) == {200: 20}


@pytest.mark.parametrize("who", ["unknown token", "no token", "another account's token", "revoked token"])
async def test_a_flood_of_strangers_takes_nothing_from_the_accounts_own(
    client: httpx.AsyncClient, world: World, who: str
) -> None:
    await limited(world.acme, requests_per_second=1, burst=5)
    url = workflows(world.acme)
    if who == "revoked token":
        assert (await client.get(url, headers=bearer(world.acme.machine))).status_code == 200
        await revoke(world.acme.machine)
    for number in range(40):
        tokens = {
            "unknown token": new_secret(),
            "another account's token": world.globex.admin,
            "revoked token": world.acme.machine,
        }
        headers = {} if who == "no token" else bearer(tokens[who])
        path = url if number % 2 else f"{url}/{uuid4()}/actions/trigger"
        answer = await (client.get if number % 2 else client.post)(path, headers=headers)
        assert answer.status_code in (401, 404), answer.text
        assert [name for name in TOLD if name in answer.headers] == []
    counted = await statuses(client, url, world.acme.admin, 4)
    assert counted == {200: 4}


async def test_a_new_token_for_each_request_is_counted_like_one_for_all(
    client: httpx.AsyncClient, world: World
) -> None:
    """Whether it finds something, or is told that something is not there."""
    await limited(world.acme, requests_per_second=5, burst=10)
    found, url = world.acme.admin_id, workflows(world.acme)
    tokens = [await issue_token(world.acme.id, ("user", found), MAESTRO, LIFE) for _ in range(60)]
    missing = f"{world.acme.workflow_url('waiting')}/instances/{uuid4()}/actions/cancel"
    began, answered = time.monotonic(), Counter[int]()
    for some, call in ((tokens[:20], (client.get, url)), (tokens[20:], (client.post, missing))):
        answers = await asyncio.gather(*(call[0](call[1], headers=bearer(token)) for token in some))
        answered.update(answer.status_code for answer in answers)
    admitted = answered[200] + answered[404]
    assert 9 <= admitted <= 11 + 5 * (time.monotonic() - began)
    assert answered[429] == 60 - admitted


async def test_who_is_let_in_and_finds_nothing_is_counted(client: httpx.AsyncClient, world: World) -> None:
    """A cancel says 404 of the instance as it says it of the account; only a look at the caller tells."""
    await limited(world.acme, requests_per_second=1, burst=5)
    url = f"{world.acme.workflow_url('waiting')}/instances/{uuid4()}/actions/cancel"
    answers = [await client.post(url, headers=bearer(world.acme.admin)) for _ in range(10)]
    found = [answer.status_code for answer in answers]
    assert found[:4] == [404] * 4
    assert found[-1] == 429


async def test_malformed_requests_and_missing_rights_count_too(
    client: httpx.AsyncClient, world: World
) -> None:
    await limited(world.acme, requests_per_second=1, burst=3)
    url, token = workflows(world.acme), world.acme.admin
    assert (await client.get(f"{url}?nonsense=1", headers=bearer(token))).status_code == 400
    assert (
        await client.get(f"{world.acme.url}/settings", headers=bearer(world.acme.machine))
    ).status_code == 403
    assert (await client.get(f"{url}?nonsense=1", headers=bearer(token))).status_code == 400
    refused = await client.get(url, headers=bearer(token))
    assert refused.status_code == 429


async def test_every_route_of_an_account_counts_and_is_refused(
    client: httpx.AsyncClient, world: World
) -> None:
    await limited(world.acme, requests_per_second=1)
    token = world.acme.admin
    await statuses(client, workflows(world.acme), token, 3)
    for route in ROUTES:
        url = route.url({"accountId": world.acme.id} | dict.fromkeys(route.ids[1:], uuid4()))
        admission._buckets[world.acme.id]._empty_until = time.monotonic() + 60
        answer = await client.request(
            route.method, url, content=route.body, headers=bearer(token) | route.headers
        )
        assert answer.status_code == 429, f"{route.name}: {answer.text}"


async def test_a_wait_counts_once_however_long_it_takes(client: httpx.AsyncClient, world: World) -> None:
    waiting = await trigger(client, world.acme, "waiting", {})
    await limited(world.acme, requests_per_second=1, burst=100)
    first = await client.get(waiting, headers=bearer(world.acme.admin))
    waited = await client.get(f"{waiting}/wait?timeout=1", headers=bearer(world.acme.admin))
    assert first.headers["X-RateLimit-Remaining"] == "99"
    assert (
        98 <= int(waited.headers["X-RateLimit-Remaining"]) <= 99
    )  # one more, and one that came in meanwhile


async def test_a_limit_that_is_lifted_is_gone_within_moments(client: httpx.AsyncClient, world: World) -> None:
    await limited(world.acme, requests_per_second=1)
    url, token = workflows(world.acme), world.acme.admin
    assert (await statuses(client, url, token, 10))[429] > 0
    await limited(world.acme, requests_per_second=None)
    assert await statuses(client, url, token, 10) == {200: 10}


async def test_what_is_left_of_a_lease_goes_back_with_the_next(world: World) -> None:
    bucket = Bucket(world.acme.id, 80, 80)
    assert await bucket.take()
    assert await level_of(world.acme) == 70  # ten are leased, of which nine are left
    bucket._until = 0  # as a second later
    bucket.rate = 1
    assert await bucket.take()
    assert 69 <= (await level_of(world.acme) or 0) < 70  # nine went back, ten were leased


async def test_processes_get_by_halves_what_is_scarce(world: World) -> None:
    first, second = (Bucket(world.acme.id, 1, 64) for _ in range(2))
    first._lease = second._lease = 64
    assert await first.take()
    assert await second.take()
    assert (first._left, second._left) == (31, 15)


async def test_a_debt_is_paid_before_others_are_served(world: World) -> None:
    bucket = Bucket(world.acme.id, 1, 5)
    for _ in range(8):
        bucket.charge()
    assert not await bucket.take()
    assert bucket.remaining == 0
    assert bucket.retry_after == 4


async def test_the_operators_limits_are_read_by_administrators_alone(
    client: httpx.AsyncClient, world: World
) -> None:
    await limited(world.acme, requests_per_second=50, burst=100, running_instances=1000)
    url = f"{world.acme.url}/limits"
    answer = await client.get(url, headers=bearer(world.acme.admin))
    assert answer.status_code == 200
    told = answer.json()
    assert (told["requests_per_second"], told["burst"], told["running_instances"]) == (50, 100, 1000)
    assert told["stored_bytes"] is None
    assert told["usage"] == {"running_instances": 0}
    for token in (world.acme.member, world.acme.machine):
        assert_refused(await client.get(url, headers=bearer(token)), 403)
    assert_refused(await client.get(url, headers=bearer(world.globex.admin)), 404)
    unlimited = (await client.get(f"{world.globex.url}/limits", headers=bearer(world.globex.admin))).json()
    assert [unlimited[name] for name in limits.NAMES] == [None] * 4


async def test_limits_that_change_are_told_by_the_audit(client: httpx.AsyncClient, world: World) -> None:
    await limited(world.acme, requests_per_second=5)
    await limited(world.acme, requests_per_second=5)
    await limited(world.acme, requests_per_second=7, running_instances=3)
    found = await client.get(f"{world.acme.url}/audit?type=account.limited", headers=bearer(world.acme.admin))
    last, first = found.json()["data"]
    assert first["before"] == {"requests_per_second": None, "burst": None}
    assert first["after"] == {"requests_per_second": 5, "burst": 5}
    assert last["before"] == {"requests_per_second": 5, "burst": 5, "running_instances": None}
    assert last["after"] == {"requests_per_second": 7, "burst": 7, "running_instances": 3}
    assert {one["actor"]["kind"] for one in (first, last)} == {"operator"}


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"requests_per_second": 0}, "requests_per_second is a whole number from 1 to 100000"),
        ({"running_instances": -1}, "running_instances is a whole number from 1"),
        ({"stored_bytes": 2**60}, "stored_bytes is a whole number from 1"),
        ({"burst": 5}, "set both"),
    ],
    ids=str,
)
async def test_limits_that_nobody_can_mean_are_refused(
    world: World, wanted: dict[str, int], told: str
) -> None:
    with pytest.raises(BadRequest, match=told):
        await limits.change(Operator(world.acme.id), Wanted(**wanted))


async def test_limits_of_no_account_are_refused(world: World) -> None:
    with pytest.raises(NotFound, match="tutti account create"):
        await limits.change(Operator(uuid4()), Wanted(requests_per_second=1))
