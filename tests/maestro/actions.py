"""What the tests of actions on instances share: workflows to act on, and the calls themselves."""

from typing import Any
from uuid import UUID

import asyncpg
import httpx

from service.settings import settings
from tenancy.postgres import connected
from tenancy.rows import rows_of
from tests.world import Tenant, bearer, trigger, until


def document(name: str, tasks: list[Any], version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    """Write a definition."""
    head = {"dsl": "1.0.3", "namespace": "tests", "name": name, "version": version}
    return {"document": head, **more, "do": tasks}


def listening(type_: str) -> dict[str, Any]:
    """A task that waits for one event and whose output is the event's data."""
    return {"listen": {"to": {"one": {"with": {"type": type_}}}}, "output": {"as": "${ .[0] }"}}


# Exports to the context, then waits, then may fail, then tells all that it knows.
STEPS = document(
    "steps",
    [
        {"gather": {"set": {"a": "${ .x }"}, "export": {"as": '${ $context + {gathered: "yes"} }'}}},
        {"goods": listening("goods.arrived")},
        {
            "check": {
                "switch": [
                    {"bad": {"when": ".ok != true", "then": "refuse"}},
                    {"good": {"then": "close"}},
                ]
            }
        },
        {"refuse": {"raise": {"error": {"type": "https://example.com/refused", "status": 409}}}},
        {"close": {"set": {"got": "${ . }", "context": "${ $context }", "given": "${ $workflow.input }"}}},
    ],
)


async def act(
    client: httpx.AsyncClient, of: Tenant, url: str, verb: str, body: Any = None, status: int | None = None
) -> httpx.Response:
    """Call an action of an instance as the account's administrator; `status` is what is expected."""
    sent = {} if body is None else {"json": body}
    if verb == "delete":
        response = await client.delete(url, headers=bearer(of.admin))
    else:
        response = await client.post(f"{url}/actions/{verb}", headers=bearer(of.admin), **sent)
    assert status is None or response.status_code == status, response.text
    return response


async def send(client: httpx.AsyncClient, of: Tenant, url: str, type_: str, data: Any = None) -> None:
    """Send an event to an instance."""
    await act(client, of, url, "signal", {"type": type_, "data": data}, 202)


async def read(client: httpx.AsyncClient, of: Tenant, url: str) -> dict[str, Any]:
    """Read an instance."""
    response = await client.get(url, headers=bearer(of.admin))
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def restarted(
    client: httpx.AsyncClient, of: Tenant, url: str, body: Any = None
) -> tuple[str, dict[str, Any]]:
    """Restart an instance; return the new one's path and the answer."""
    response = await act(client, of, url, "restart", body, 201)
    return f"{url.rpartition('/')[0]}/{response.json()['instance_id']}", response.json()


async def faulted(client: httpx.AsyncClient, of: Tenant) -> str:
    """Run an instance of `STEPS` into its fault; return its path."""
    url = await trigger(client, of, "steps", {"x": 1})
    await send(client, of, url, "goods.arrived", {"ok": False, "crates": 3})
    await until(client, of, url, workflow_status="Failed")
    return url


async def row_of(of: Tenant, url: str) -> asyncpg.Record:
    """An instance's row."""
    async with rows_of(of.id) as connection:
        row = await connection.fetchrow("SELECT * FROM instance WHERE id = $1", UUID(url.rpartition("/")[2]))
    assert row is not None
    return row


async def jobs_of(of: Tenant, url: str) -> list[tuple[str, str]]:
    """The lane and reason of each of an instance's jobs, in their order."""
    async with rows_of(of.id) as connection:
        rows = await connection.fetch(
            "SELECT lane, reason FROM job WHERE instance_id = $1 ORDER BY id", UUID(url.rpartition("/")[2])
        )
    return [tuple(row) for row in rows]


async def told(of: Tenant, url: str) -> list[str]:
    """What the events tell of an instance, in their order."""
    async with rows_of(of.id) as connection:
        rows = await connection.fetch(
            "SELECT type FROM event WHERE instance_id = $1 ORDER BY id", UUID(url.rpartition("/")[2])
        )
    return [row["type"] for row in rows]


async def execute(of: Tenant, statement: str, *arguments: Any) -> None:
    """Change rows behind the service's back."""
    async with connected(settings().database.owner) as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.account_id', $1, true)", str(of.id))
        await connection.execute(statement, *arguments)
