"""Two processes share one bucket: together they admit what it holds and what comes into it."""

import asyncio
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from auth.bearer import Operator, new_secret
from service.limits.bucket import SHARE
from service.operations import limits
from service.operations.limits import Wanted
from tests.processes import serving
from tests.world import World, bearer

RATE, BURST = 10, 20  # which a busy machine answers several times over
SECONDS = 3.0
FLOODING = 8  # requests that one client has under way at each process


async def flooded(urls: list[str], path: str, tokens: list[str], seconds: float) -> list[Counter[int]]:
    """Make requests at every process for some seconds, as fast as it goes; count each one's statuses."""
    until = time.monotonic() + seconds

    async def ask(client: httpx.AsyncClient, token: str, counted: Counter[int]) -> None:
        while time.monotonic() < until:
            counted[(await client.get(path, headers=bearer(token))).status_code] += 1

    async def at(url: str, token: str) -> Counter[int]:
        counted: Counter[int] = Counter()
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            await asyncio.gather(*(ask(client, token, counted) for _ in range(FLOODING)))
        return counted

    return list(await asyncio.gather(*(at(*one) for one in zip(urls, tokens, strict=True))))


@pytest.fixture
async def limited(world: World) -> World:
    """Acme's requests are limited."""
    await limits.change(Operator(world.acme.id), Wanted(requests_per_second=RATE, burst=BURST))
    return world


async def test_two_processes_together_admit_the_burst_and_what_comes_into_the_bucket(
    limited: World, tmp_path: Path
) -> None:
    acme = limited.acme
    path = f"{acme.url}/workflows"
    with serving(2, tmp_path, "--no-worker") as urls:
        strangers = await flooded(urls, path, [new_secret(), limited.globex.admin], 1.0)
        assert [set(counted) for counted in strangers] == [{401}, {404}]
        began = time.monotonic()
        floods = await flooded(urls, path, [acme.admin, acme.machine], SECONDS)
        seconds = time.monotonic() - began
        admitted = [counted[200] for counted in floods]
        assert {status for counted in floods for status in counted} == {200, 429}
        bound = BURST + RATE * seconds + len(urls) * (max(1, RATE // SHARE) + 1)
        assert BURST + RATE * SECONDS * 0.8 < sum(admitted) <= bound, (admitted, seconds)
        assert min(admitted) > sum(admitted) / 5, admitted  # neither starves the other
        await limits.change(Operator(acme.id), Wanted(requests_per_second=None))
        await asyncio.sleep(2)
        floods = await flooded(urls, path, [acme.admin, acme.machine], 0.5)
        assert [set(counted) for counted in floods] == [{200}, {200}]
