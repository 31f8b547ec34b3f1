"""Reading streams of events as clients do, and making what they tell of."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec

from auth.bearer import hash_of
from service.engine.events import Subject, record
from service.settings import settings
from tenancy.postgres import connected
from tenancy.rows import rows_of
from tests.world import Tenant, bearer

ARRIVED = {"type": "goods.arrived", "data": {"sku": 7}}


class Told(msgspec.Struct):
    """One server-sent event as a reader gets it."""

    id: str = ""
    event: str = ""
    data: str = ""

    @property
    def content(self) -> dict[str, Any]:
        """What it carries."""
        content: dict[str, Any] = msgspec.json.decode(self.data)
        return content


@contextlib.asynccontextmanager
async def following_of(
    address: str, url: str, token: str, last: str | None = None
) -> AsyncIterator[AsyncIterator[Told]]:
    """Follow events; yield them as they come, the opening first."""
    headers = bearer(token) | ({} if last is None else {"Last-Event-ID": last})
    async with (
        httpx.AsyncClient(base_url=address, timeout=20) as client,
        client.stream("GET", f"{url}/events", headers=headers) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield told_by(answer)


async def told_by(answer: httpx.Response) -> AsyncIterator[Told]:
    """Read events as the standard says."""
    one = Told()
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if name in ("id", "event", "data"):
            setattr(one, name, value)
        elif not line:
            yield one
            one = Told()


async def some(events: AsyncIterator[Told], count: int) -> list[Told]:
    """Take the next events."""
    async with asyncio.timeout(15):
        return [await anext(events) for _ in range(count)]


async def rest(events: AsyncIterator[Told]) -> list[Told]:
    """Take events until the stream ends."""
    async with asyncio.timeout(15):
        return [event async for event in events]


async def note(of: Tenant, url: str, kind: str, **data: object) -> None:
    """Write an event of an instance."""
    workflow_id, instance_id = url.split("/")[5], url.split("/")[7]
    async with rows_of(of.id):
        await record(Subject(of.id, workflow_id, instance_id), kind, None, **data)  # type: ignore[arg-type] # as texts


async def revoke(token: str) -> None:
    """Revoke a token behind the service's back."""
    async with connected(settings().database.owner) as connection:
        await connection.execute(
            "UPDATE access_token SET revoked_at = now() WHERE token_hash = $1", hash_of(token)
        )
