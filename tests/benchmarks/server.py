"""The process that is measured: Tutti under `/v1` and `/oauth`, and bare Litestar + asyncpg handlers under `/bare`.

The bare handlers do each operation's own statement and nothing else: no credential, no tenant, no models, no error
bodies. They use a pool set up as Tutti's is, as a superuser, past row-level security. The two that tell what the bearer
check costs use one as the application's role: they differ in the check alone.
"""

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from litestar import Litestar, Request, get, post
from litestar.params import FromPath
from litestar.types import Receive, Scope, Send
from uuid_utils.compat import uuid7

from auth.bearer import hash_of, new_secret, token_hash
from auth.scopes import MAESTRO
from auth.tokens import MACHINE_SECONDS, REFRESH_DAYS, SAVE_PAIR, SAVE_SINGLE
from service.app import create_app, create_litestar
from service.cli.garbage import collect_less, keep_for_good
from service.operations.instances import COLUMNS, GET
from tenancy.postgres import leave_clean

DSN = "BENCH_SUPERUSER_DSN"
SCOPES = list(MAESTRO)
# As `GET`, but whoever asks is taken at their word.
GET_UNCHECKED = GET.replace("caller.verdict", "200 AS verdict").replace(
    "enter_account($1, $2, $3) AS caller",
    "(SELECT set_config('app.account_id', $2, true)::uuid AS account_id, 'admin' AS role, NULL::uuid AS principal_id,"
    " $1::bytea, $3::text[]) AS caller",
)
# The rows of a trigger, after those of one that came before: its instance, with the terms that a trigger of the table keeps, its
# task's run and its two events.
INSERT_SAME = """
WITH instance_made AS (
    INSERT INTO instance (id, account_id, workflow_id, version_id, version, name, status, started_by, started_by_name,
                          trigger_inputs, tags, total_steps, workflow_created_by, access_id, access_secret_hash,
                          started_at, sequence, state, last_completed_step, last_completed_step_name,
                          expires_at, last_modified_at, ended_at, output)
    SELECT $2, account_id, workflow_id, version_id, version, name, status, started_by, started_by_name,
           trigger_inputs, tags, total_steps, workflow_created_by, gen_random_uuid(), access_secret_hash,
           now(), sequence, state, last_completed_step, last_completed_step_name,
           expires_at, now(), now(), output FROM instance WHERE id = $1
), run_made AS (
    INSERT INTO task_run (account_id, instance_id, number, name, kind, pointer, iteration, attempt, status,
                          started_at, ended_at, input, output)
    SELECT account_id, $2, number, name, kind, pointer, iteration, attempt, status, now(), now(), input, output
    FROM task_run WHERE instance_id = $1
)
INSERT INTO event (account_id, workflow_id, instance_id, type, actor)
SELECT account_id, workflow_id, $2, type, actor FROM event WHERE instance_id = $1
"""


class Bare:
    """The pools of the bare handlers, opened with the application: past row-level security, and under it."""

    pool: asyncpg.Pool
    application: asyncpg.Pool


@get("/bare/nothing")
async def nothing() -> dict[str, str]:
    return {"status": "ok"}


@get("/bare/instances/{instance_id:uuid}")
async def get_one(instance_id: FromPath[UUID]) -> dict[str, Any]:
    row = await Bare.pool.fetchrow(f"SELECT {COLUMNS} FROM instance WHERE id = $1", instance_id)
    return dict(row or {})


@get("/bare/checked/{account_id:uuid}/{workflow_id:uuid}/{instance_id:uuid}")
async def get_checked(
    request: Request[Any, Any, Any],
    account_id: FromPath[UUID],
    workflow_id: FromPath[UUID],
    instance_id: FromPath[UUID],
) -> dict[str, Any]:
    proof = token_hash(request.headers.get("authorization")), account_id, ("aow_manage",)
    row = await Bare.application.fetchrow(GET, *proof, workflow_id, instance_id)
    return dict(row or {})


@get("/bare/unchecked/{account_id:uuid}/{workflow_id:uuid}/{instance_id:uuid}")
async def get_unchecked(
    account_id: FromPath[UUID], workflow_id: FromPath[UUID], instance_id: FromPath[UUID]
) -> dict[str, Any]:
    proof = b"", str(account_id), ("aow_manage",)
    row = await Bare.application.fetchrow(GET_UNCHECKED, *proof, workflow_id, instance_id)
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


@post("/bare/instances/{instance_id:uuid}/same")
async def insert_same(instance_id: FromPath[UUID]) -> dict[str, str]:
    made = uuid7()
    await Bare.pool.execute(INSERT_SAME, instance_id, made)
    return {"id": str(made)}


@post("/bare/instances/{instance_id:uuid}/cancel", status_code=200)
async def update_one(instance_id: FromPath[UUID]) -> dict[str, str]:
    await Bare.pool.execute("UPDATE bare SET name = 'canceled' WHERE id = $1", instance_id)
    return {"id": str(instance_id)}


@post("/bare/tokens/{client_id:uuid}/{account_id:uuid}", status_code=200)
async def insert_token(client_id: FromPath[UUID], account_id: FromPath[UUID]) -> dict[str, str]:
    token = new_secret()
    family = (uuid4(), "client_credentials", client_id, None, account_id, SCOPES)
    await Bare.pool.execute(SAVE_SINGLE, *family, uuid4(), hash_of(token), MACHINE_SECONDS)
    return {"access_token": token}


@post("/bare/pairs/{grant_id:uuid}", status_code=200)
async def insert_pair(grant_id: FromPath[UUID]) -> dict[str, str]:
    access, refresh = new_secret(), new_secret()
    first = (uuid4(), hash_of(access), grant_id, SCOPES, MACHINE_SECONDS)
    await Bare.pool.execute(SAVE_PAIR, *first, uuid4(), hash_of(refresh), None, REFRESH_DAYS)
    return {"access_token": access, "refresh_token": refresh}


@contextlib.asynccontextmanager
async def bare_pool(_: Litestar) -> AsyncIterator[None]:
    sizes: dict[str, Any] = {"min_size": 2, "max_size": 16, "reset": leave_clean}
    async with (
        asyncpg.create_pool(os.environ[DSN], **sizes) as Bare.pool,
        asyncpg.create_pool(os.environ["DATABASE_URL"], **sizes) as Bare.application,
    ):
        yield


BARE = Litestar(
    [
        nothing,
        get_one,
        get_checked,
        get_unchecked,
        get_fifty,
        insert_one,
        insert_same,
        update_one,
        insert_token,
        insert_pair,
    ],
    lifespan=[bare_pool],
    openapi_config=None,
    logging_config=None,
)


def application() -> Any:
    """Make the one application of the process."""
    collect_less()
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

    keep_for_good()
    return both
