"""The database fails: every route says so, in its dialect's words, and everything goes on by itself once it is back."""

import asyncio
import contextlib
import re
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from service.language.sandbox import SandboxUnavailableError
from tenancy.postgres import engine
from tenancy.rows import open_pool, read, rows_of
from tests.contract import Contract
from tests.faults.database import cut, full, stopped
from tests.maestro.routes import handlers
from tests.world import GREETING, Tenant, World, bearer, trigger, until

DOCUMENTS = [Contract.of(name) for name in ("maestro.json", "oauth.json", "formance.json", "keyfactor.json")]
FORMS = {
    "/token": "grant_type=client_credentials&client_id=one&client_secret=two",
    "/revoke": "token=one&client_id=one&client_secret=two",
    "/introspect": "token=one&client_id=one&client_secret=two",
}
# What needs no database; and pages whose forms are refused without the cookie that comes with them, before they need one.
WITHOUT_DATABASE = (
    *(
        "/healthz",
        "/readyz",
        "/metrics",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
    ),
    *("/oauth/login", "/oauth/account", "/oauth/consent", "/oauth/logout"),
)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ROUTES = [
    (method, path)
    for path, handler in handlers()
    for method in sorted(handler.http_methods - {"OPTIONS"})
    if path not in WITHOUT_DATABASE
]


@pytest.fixture
async def caller(application: Any) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client that lets 503 pass."""
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://tutti.test") as client:
        yield client


async def send(caller: httpx.AsyncClient, of: Tenant, method: str, path: str) -> httpx.Response:
    """Call a route with ids that nothing has, and as little as gets it to look into the database."""
    ids = defaultdict(lambda: str(uuid4()), accountId=str(of.id))
    url = re.sub(r"{(\w+):str}", lambda found: ids[found[1]], path)
    headers = bearer(of.admin) | {"x-keyfactor-requested-with": "test"}
    content = ""
    if path.endswith("/execution"):
        url += f"?mtid={uuid4()}&mtsec=secret"
    if method == "POST" and path.startswith(("/oauth/", "/api/auth/")):
        content = next((form for end, form in FORMS.items() if path.endswith(end)), "request=1&token=2")
        headers |= FORM
        if "/oauth/userinfo" not in path and path.endswith(tuple(FORMS)):
            del headers["Authorization"]
    return await caller.request(method, url, headers=headers, content=content)


def hold(answer: httpx.Response) -> None:
    """Hold the refusal of a request against the documents, and against what is promised of every 503."""
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0
    path = answer.request.url.path
    for one in DOCUMENTS:
        operation = one.operation(answer.request.method, path)
        if operation is not None:
            told = one.resolved(operation["responses"]["503"])
            one.check_body(answer, told["content"], operation["operationId"])
            return
    assert answer.headers["content-type"].startswith("text/html"), path


async def test_every_route_says_when_there_is_no_connection_to_be_had(
    caller: httpx.AsyncClient, world: World
) -> None:
    async with full():
        for method, path in ROUTES:
            hold(await send(caller, world.acme, method, path))
    assert (
        await caller.get(f"{world.acme.url}/workflows", headers=bearer(world.acme.admin))
    ).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "/v1/accounts/{accountId:str}/workflows", {"status": 503, "title": "Service Unavailable"}),
        ("GET", "/api/orchestration/workflows", {"errorCode": "INTERNAL"}),
        ("GET", "/KeyfactorAPI/Workflow/Instances", {"ErrorCode": "0xA0110503"}),
        ("POST", "/oauth/token", {"error": "temporarily_unavailable"}),
    ],
)
async def test_it_says_so_in_its_dialects_words(
    caller: httpx.AsyncClient, world: World, method: str, path: str, words: dict[str, Any]
) -> None:
    async with full():
        answer = await send(caller, world.acme, method, path)
    hold(answer)
    assert answer.json().items() >= words.items()


async def test_a_request_waits_for_a_connection_for_a_bounded_time(
    caller: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine(), "patience", 0.2)
    async with contextlib.AsyncExitStack() as held:
        for _ in range(open_pool().get_max_size()):
            await taken(held)
        began = time.monotonic()
        answer = await caller.get(f"{world.acme.url}/workflows", headers=bearer(world.acme.admin))
        assert 0.15 < time.monotonic() - began < 2
    hold(answer)


async def taken(held: contextlib.AsyncExitStack) -> None:
    """Borrow a connection until the stack ends."""
    pool = open_pool()
    connection = await pool.acquire()
    held.push_async_callback(pool.release, connection)


async def test_no_request_fails_whatever_the_moment_at_which_its_connection_dies(
    caller: httpx.AsyncClient, world: World
) -> None:
    found: Counter[int] = Counter()
    over = asyncio.Event()
    url = world.acme.workflow_url("greeting")
    body = {"instance_name": "cut", "trigger_inputs": {"who": "Ada"}}
    routes = [
        one for one in ROUTES if one[0] != "GET" or not one[1].endswith("/events")
    ]  # streams have no end

    async def asking(number: int) -> None:
        while not over.is_set():
            if number % 2:
                answer = await caller.post(
                    f"{url}/actions/trigger", json=body, headers=bearer(world.acme.admin)
                )
            else:
                answer = await send(caller, world.acme, *routes[(sum(found.values()) * 7) % len(routes)])
            if answer.status_code == 503:
                hold(answer)
            found[answer.status_code] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(asking(number))
        for _ in range(20):
            await cut()
            await asyncio.sleep(0.02)
        over.set()
    assert found[503] > 0
    assert found[201] > 0
    assert not [status for status in found if status >= 500 and status != 503], found


async def test_background_work_goes_on_after_cuts_and_a_stop_of_the_server(
    client: httpx.AsyncClient, caller: httpx.AsyncClient, world: World
) -> None:
    """Timers, schedules and the queue; a wait that somebody sits in; and no task of the process has ended."""
    before = background()
    ticking = GREETING | {
        "document": GREETING["document"] | {"name": "ticking"},
        "schedule": {"every": {"seconds": 1}},
        "input": {},
        "do": [{"one": {"set": {"done": True}}}],
    }
    slow = GREETING | {
        "document": GREETING["document"] | {"name": "slow"},
        "do": [{"rest": {"wait": {"milliseconds": 300}}}, {"one": {"set": {"done": True}}}],
    }
    await world.acme.publish(ticking)
    await world.acme.publish(slow)
    url = await trigger(client, world.acme, "slow", {"who": "Ada"})
    for _ in range(3):
        await cut()
        await asyncio.sleep(0.1)
    await until(client, world.acme, url, workflow_status="Completed")
    url = await trigger(client, world.acme, "slow", {"who": "Ada"})
    waiting = asyncio.create_task(caller.get(f"{url}/wait", headers=bearer(world.acme.admin)))
    await asyncio.sleep(0.1)
    async with stopped():
        answer = await caller.get(url, headers=bearer(world.acme.admin))
        hold(answer)
        assert (await caller.get("/readyz")).status_code == 503
        assert (await caller.get("/healthz")).status_code == 200
    began = time.monotonic()
    while (await caller.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.05)
    assert time.monotonic() - began < 5
    await until(client, world.acme, url, workflow_status="Completed")
    assert (await waiting).status_code in (200, 503)
    ticks = await ticked(world)
    async with asyncio.timeout(15):
        while await ticked(world) <= ticks:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)
    assert background() == before


async def ticked(world: World) -> int:
    """Count the instances that the schedule has started."""
    async with rows_of(world.acme.id) as connection:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM instance WHERE workflow_id = $1", world.acme.workflows["ticking"]
        )
        return count


def background() -> set[str]:
    """Name the work that the process does beside requests."""
    every = {getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()}
    return {name for name in every - PASSING if name.partition(".")[0] in WORK or name in WORK}


PASSING = {"Worker._advance_batch", "Worker._perform_batch"}  # of jobs, while there are some
WORK = {"Worker", "Courier", "Followers", "forgetting", "sweeping", "refreshing", "telling_others"}


async def test_a_sandbox_that_is_away_is_told_as_well(
    caller: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise SandboxUnavailableError("gone")

    monkeypatch.setattr("service.language.sandbox.Sandbox.exchange", away)
    url = f"{world.acme.url}/workflows"
    hold(await caller.post(url, json=GREETING, headers=bearer(world.acme.admin)))


async def test_a_read_outside_of_requests_waits_longer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine(), "patience", 0.05)
    async with contextlib.AsyncExitStack() as held:
        for _ in range(open_pool().get_max_size()):
            await taken(held)
        asked = asyncio.create_task(read("SELECT 1"))
        await asyncio.sleep(0.3)
        assert not asked.done()
    assert (await asked)[0][0] == 1
