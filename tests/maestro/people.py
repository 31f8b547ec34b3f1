"""Work items that wait for their answers, and how tests read, answer and list them."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec

from auth.clients import issue_token
from auth.scopes import ADMINISTRATION, MAESTRO
from tenancy.accounts import add_user
from tenancy.rows import rows_of
from tests.world import LIFE, Tenant, bearer, until

BOTH = {"roles": ["admin", "member"]}
SECONDS = 15  # generous, for the machine may be busy


class Asked(msgspec.Struct):
    """A work item that waits for its answer, and its instance."""

    client: httpx.AsyncClient
    of: Tenant
    instance: str
    url: str

    async def read(self, token: str | None = None) -> dict[str, Any]:
        """Read it as Acme's machine client, or by another token."""
        response = await self.client.get(self.url, headers=bearer(token or self.of.machine))
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def answer(self, token: str, **body: Any) -> httpx.Response:
        """Decide it."""
        return await self.client.post(f"{self.url}/actions/complete", json=body, headers=bearer(token))

    async def done(self, token: str, **body: Any) -> dict[str, Any]:
        """Decide it, which nobody minds; return the work item."""
        response = await self.answer(token, **body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def ended(self, status: str = "Completed") -> dict[str, Any]:
        """Wait until the instance has ended."""
        return await until(self.client, self.of, self.instance, workflow_status=status)

    async def became(self, **wanted: Any) -> dict[str, Any]:
        """Wait until the work item has the wanted fields."""
        return await until(self.client, self.of, self.url, SECONDS, **wanted)

    @property
    def instance_id(self) -> UUID:
        """The instance's id."""
        return UUID(self.instance.rpartition("/")[2])

    async def events(self) -> Counter[tuple[str, UUID | None]]:
        """Count what was told of the work item, by type and actor."""
        rows = await stored(
            self.of,
            "SELECT type, actor FROM event WHERE instance_id = $1 AND type LIKE 'work_item.%'",
            self.instance_id,
        )
        return Counter((row["type"], row["actor"]) for row in rows)


Asking = Callable[..., Awaitable[Asked]]


async def stored(of: Tenant, statement: str, *arguments: Any) -> list[asyncpg.Record]:
    """Ask behind the service's back."""
    async with rows_of(of.id) as connection:
        return await connection.fetch(statement, *arguments)


def asking(arguments: dict[str, Any], kind: str = "approval", **task: Any) -> dict[str, Any]:
    """Write a definition whose first task asks people."""
    head = {"dsl": "1.0.3", "namespace": "tests", "name": "asking", "version": "1.0.0"}
    return {"document": head, "do": [{"signOff": {"call": kind, "with": arguments, **task}}]}


async def opened(client: httpx.AsyncClient, of: Tenant, instance: str) -> Asked:
    """Wait for an instance's open work item."""
    (asked,) = await all_opened(client, of, instance, 1)
    return asked


async def all_opened(client: httpx.AsyncClient, of: Tenant, instance: str, count: int) -> list[Asked]:
    """Wait until an instance has so many open work items."""
    query = {"instance_id": instance.rpartition("/")[2], "status": "open"}
    async with asyncio.timeout(SECONDS):
        while True:
            response = await client.get(f"{of.url}/work-items", params=query, headers=bearer(of.machine))
            found = response.json()["data"]
            if len(found) == count:
                return [Asked(client, of, instance, f"{of.url}/work-items/{one['id']}") for one in found]
            await asyncio.sleep(0.02)


async def colleague(of: Tenant, name: str, role: str = "sender") -> tuple[UUID, str]:
    """Make one more member; return their id and token."""
    user = await add_user(f"{name}@acme.example", name.title(), None, of.id, role)
    return user, await issue_token(of.id, ("user", user), (*MAESTRO, ADMINISTRATION), LIFE)


async def pages(
    client: httpx.AsyncClient, of: Tenant, token: str, **query: Any
) -> list[list[dict[str, Any]]]:
    """Read page after page to the end, along the links."""
    found = []
    url = str(httpx.URL(f"{of.url}/work-items", params=query))
    while url:
        response = await client.get(url, headers=bearer(token))
        assert response.status_code == 200, response.text
        found.append(response.json()["data"])
        assert ("next" in response.links) is ("page_token_next" in response.json()["response_metadata"])
        following = response.links.get("next", {}).get("url", "")
        url = following and httpx.URL(following).raw_path.decode()
    return found


async def listed(client: httpx.AsyncClient, of: Tenant, token: str, **query: Any) -> list[dict[str, Any]]:
    """Read a whole list."""
    return [one for page in await pages(client, of, token, page_size=50, **query) for one in page]


async def explained(of: Tenant, statement: str, arguments: list[Any], mode: str) -> str:
    """Ask how the database would run a statement."""
    async with rows_of(of.id) as connection:
        await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
        await connection.execute(f"PREPARE shape AS {statement}")
        literals = ", ".join(f"'{argument}'" for argument in arguments)
        rows = await connection.fetch(f"EXPLAIN EXECUTE shape ({literals})")
        await connection.execute("DEALLOCATE shape")
    return "\n".join(row[0] for row in rows)
