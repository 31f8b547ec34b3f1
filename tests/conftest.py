"""A PostgreSQL server of the tests' own, migrated once, emptied before each test; the application over it."""

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

# Set before anything reads the settings; a developer's own settings do not reach the tests.
for _name in [name for name in os.environ if name.startswith("TUTTI_") or name == "DATABASE_URL"]:
    del os.environ[_name]
FOLDER = Path(tempfile.mkdtemp(prefix="tutti-tests-"))

from tenancy.embedded import EmbeddedServer  # noqa: E402

SERVER = EmbeddedServer(FOLDER / "data", durable=False)
SOCKETS = SERVER.place.sockets
os.environ["DATABASE_URL"] = f"postgresql://tutti_app@/tutti?host={SOCKETS}"
os.environ["TUTTI_OWNER_DATABASE_URL"] = f"postgresql://tutti_owner@/tutti?host={SOCKETS}"
os.environ["TUTTI_EGRESS_ALLOW"] = "127.0.0.0/8"  # the tests' own servers
os.environ["TUTTI_METRICS_DIR"] = str(FOLDER / "figures")

from litestar import Litestar  # noqa: E402

from service.app import create_app, create_litestar  # noqa: E402
from service.settings import settings  # noqa: E402
from tenancy.postgres import connected, provide_embedded  # noqa: E402
from tenancy.schema import migrate  # noqa: E402
from tests.contract import Contract  # noqa: E402
from tests.copying import emptied, mender  # noqa: E402
from tests.world import SECRET_KEYS, World  # noqa: E402

# A file is one process's work, so what takes longest begins first: else it is done alone, when all others have ended.
LONGEST = (
    "maestro/test_bad_input.py",
    "chaos/test_kills.py",
    "cli/test_serving.py",
    "upgrade/test_rolling.py",
    "engine/test_hostile.py",
    "auth/test_concurrency.py",
    "auth/test_fuzz.py",
    "engine/test_worker.py",
    "maestro/test_list_costs.py",
    "tenancy/test_embedded.py",
    "maestro/test_contention.py",
    "cli/test_clients.py",
    "cli/test_accounts.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, and go on with those that have the most tests."""
    first = [Path(__file__).parent / name for name in LONGEST]
    count = Counter(item.path for item in items)
    items.sort(
        key=lambda item: (first.index(item.path) if item.path in first else len(first), -count[item.path])
    )


@pytest.fixture(scope="session")
def database() -> Iterator[None]:
    """Run the server, with a current schema, for as long as the tests last."""
    SERVER.start()

    async def prepare() -> None:
        await provide_embedded(SERVER)
        await migrate(settings().database)

    asyncio.run(prepare())
    yield
    SERVER.remove()
    shutil.rmtree(FOLDER, ignore_errors=True)


@pytest.fixture(scope="session")
async def litestar(database: None) -> AsyncIterator[Litestar]:
    """The application as `tutti serve` runs it: pool, sandbox and worker included."""
    application = create_litestar(worker=True)
    started, stop = asyncio.Event(), asyncio.Event()

    async def live() -> (
        None
    ):  # a lifespan must end in the task that it began in; fixtures are set up and torn down in two
        async with application.lifespan():
            started.set()
            await stop.wait()

    life = asyncio.create_task(live())
    await asyncio.wait([asyncio.create_task(started.wait()), life], return_when=asyncio.FIRST_COMPLETED)
    if life.done():
        life.result()
    yield application
    await mender.close()
    stop.set()
    await life


@pytest.fixture(scope="session")
def application(litestar: Litestar) -> Any:
    """The whole ASGI application."""
    return create_app(litestar)


@pytest.fixture
async def owner(database: None) -> AsyncIterator[Any]:
    """A connection as the role that owns the tables; even it sees no account's rows without a tenant."""
    async with connected(settings().database.owner) as connection:
        yield connection


@pytest.fixture
async def world(litestar: Litestar) -> World:
    """Two accounts that have nothing to do with one another, made anew for the test."""
    await emptied()
    return await World.made(litestar.state["sandbox"])


@pytest.fixture
async def client(application: Any) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client whose every exchange is held against the OpenAPI documents."""
    names = ("maestro.json", "oauth.json", "formance.json", "keyfactor.json")
    checks = [Contract.of(name).check for name in names]
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://tutti.test", event_hooks={"response": checks}
    ) as client:
        yield client


@pytest.fixture
async def bare(application: Any) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client that holds answers against nothing, for requests that no document describes."""
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://tutti.test") as client:
        yield client


@pytest.fixture
def changed_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Settings as another environment would have them, read anew."""

    def change(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()

    yield change
    monkeypatch.undo()
    settings.cache_clear()


@pytest.fixture
def secret_keys(changed_settings: Any) -> None:
    """Let the service keep secrets."""
    changed_settings(TUTTI_SECRET_KEYS=SECRET_KEYS)
