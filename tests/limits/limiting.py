"""Limiting accounts, and making many requests at once."""

import asyncio
from collections import Counter
from typing import Any

import httpx

from auth.bearer import Operator
from service.limits.known import refresh
from service.operations import limits
from service.operations.limits import Wanted
from tests.world import Tenant, bearer


async def limited(of: Tenant, **wanted: int | None) -> None:
    """Limit an account, and have this process know."""
    await limits.change(Operator(of.id), Wanted(**wanted))
    await refresh()


async def statuses(client: httpx.AsyncClient, url: str, token: str, count: int) -> Counter[int]:
    """Make so many requests at once; count their statuses."""
    answers = await asyncio.gather(*(client.get(url, headers=bearer(token)) for _ in range(count)))
    return Counter(answer.status_code for answer in answers)


def codes(answer: httpx.Response) -> list[str]:
    """The codes of an error."""
    body: dict[str, Any] = answer.json()
    return [one["code"] for one in body["errors"]]
