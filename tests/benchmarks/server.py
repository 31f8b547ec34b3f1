"""The process that is measured: Tutti under `/v1`, and bare Litestar + asyncpg handlers under `/bare`.

The bare handlers do each operation's own statement and nothing else: no credential, no tenant, no models, no error
bodies. They use a pool set up as Tutti's is, as a superuser, past row-level security.
"""

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from litestar import Litestar, get, post
from litestar.params import FromPath
from litestar.types import Receive, Scope, Send

from service.app import create_app, create_litestar
from service.operations.instances import COLUMNS
from tenancy.postgres import leave_clean

DSN = "BENCH_SUPERUSER_DSN"


class Bare:
    """The pool of the bare handlers, opened with the application."""

    pool: asyncpg.Pool


@get("/bare/nothing")
async def nothing() -> dict[str, str]:
    return {"status": "ok"}


@get("/bare/instances/{instance_id:uuid}")
async def get_one(instance_id: FromPath[UUID]) -> dict[str, Any]:
    row = await Bare.pool.fetchrow(f"SELECT {COLUMNS} FROM instance WHERE id = $1", instance_id)
    return dict(row or {})


@get("/bare/workflows/{workflow_id:uuid}/instances")
async def get_fifty(workflow_id: FromPath[UUID]) -> list[dict[str, Any]]:
    rows = await Bare.pool.fetch(
        f"SELECT {COLUMNS} FROM instance WHERE account_id = (SELECT account_id FROM workflow WHERE id = $1)"
        " AND workflow_id = $1 ORDER BY started_at DESC, id DESC LIMIT 51",
        workflow_id,
    )
    return [dict(row) for row in rows]


@post("/bare/instances")
async def insert_one() -> dict[str, str]:
    made = uuid4()
    await Bare.pool.execute(
        "INSERT INTO bare (id, name, inputs) VALUES ($1, $2, $3)", made, "bench", '{"who": "Ada"}'
    )
    return {"id": str(made)}


@post("/bare/instances/{instance_id:uuid}/cancel", status_code=200)
async def update_one(instance_id: FromPath[UUID]) -> dict[str, str]:
    await Bare.pool.execute("UPDATE bare SET name = 'canceled' WHERE id = $1", instance_id)
    return {"id": str(instance_id)}


@contextlib.asynccontextmanager
async def bare_pool(_: Litestar) -> AsyncIterator[None]:
    Bare.pool = await asyncpg.create_pool(os.environ[DSN], min_size=2, max_size=16, reset=leave_clean)
    yield
    await Bare.pool.close()


BARE = Litestar(
    [nothing, get_one, get_fifty, insert_one, update_one],
    lifespan=[bare_pool],
    openapi_config=None,
    logging_config=None,
)


def application() -> Any:
    """Make the one application of the process."""
    inside = create_litestar(worker=False)
    whole = create_app(inside)

    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # type: ignore[comparison-overlap] # Litestar's type leaves lifespans out
            async with bare_pool(BARE):
                await inside(scope, receive, send)
        elif scope["path"].startswith("/bare"):
            await BARE(scope, receive, send)
        else:
            await whole(scope, receive, send)

    return both
