"""Receivers that fail, processes that die, endpoints that never answer: nobody misses anything for it."""

import asyncio
import random
import sys
from collections import defaultdict
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from aiohttp import web

from service.operations import webhook_sending as sending
from service.webhooks.courier import Courier
from tenancy.rows import rows_of
from tests.engine.outages import EACH_OUTAGE
from tests.engine.outside import drip_nothing, egress, listener
from tests.waiting import eventually
from tests.webhooks.conftest import QUICK, Webhooks, receiving, tell
from tests.world import World


class Half:
    """Accepts half of what it is sent, and sees to it that nothing is sent before what comes before it was accepted."""

    def __init__(self) -> None:
        self.chance = random.Random(7)  # noqa: S311 - no secret
        self.refused = 0
        self.steps: dict[str, list[int]] = defaultdict(list)

    async def __call__(self, event: Any) -> web.StreamResponse:
        accepted, step = self.steps[event["data"]["instance_id"]], event["data"]["step"]
        early = step > max(accepted, default=0) + 1
        if early or self.chance.random() < 0.5:
            self.refused += 1
            return web.Response(status=400 if early else 500)
        accepted.append(step)
        return web.Response()

    def heard(self, instances: list[UUID], step: int) -> bool:
        """Whether a step of every instance was accepted."""
        return all(step in self.steps[str(one)] for one in instances)


async def test_a_receiver_that_fails_half_of_the_time_and_restarts_hears_everything_in_order(
    world: World, webhooks: Webhooks, quiet: None
) -> None:
    """Two couriers at once. No event of an instance is sent before the one before it was accepted."""
    half, instances = Half(), [uuid4() for _ in range(12)]
    async with receiving(half) as receiver, egress() as way:
        made = await webhooks.make(receiver.url, event_types=["test.*"])
        couriers = [Courier(way, schedule=QUICK) for _ in range(2)]
        async with couriers[0].running(), couriers[1].running(), asyncio.timeout(40):
            for step in range(1, 9):
                for instance in instances:
                    await tell(world.acme, "test.step", instance, step=step)
                if step in (3, 6):
                    await receiver.stop()
                    await asyncio.sleep(0.1)
                    await receiver.start()
            while not half.heard(instances, 8):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        told = receiver.verified(made["secret"])
    for heard in half.steps.values():
        assert heard == sorted(heard)
        assert set(heard) == set(range(1, 9))
    log = await webhooks.deliveries(made, page_size=200)
    attempts = [
        (await webhooks.ask("GET", f"/{made['id']}/deliveries/{one['id']}"))["attempts"] for one in log
    ]
    assert half.refused > 30
    assert 400 not in {attempt.get("status_code") for one in attempts for attempt in one}
    ids: dict[tuple[str, int], set[str]] = defaultdict(set)
    for (headers, _), event in zip(receiver.heard, told, strict=True):
        ids[event["data"]["instance_id"], event["data"]["step"]].add(headers["webhook-id"])
    assert {len(one) for one in ids.values()} == {1}
    assert len(ids) == len({next(iter(one)) for one in ids.values()}) == 96


COURIER = """
import asyncio
import contextvars
from datetime import timedelta
from service.engine.egress import Egress
from service.settings import settings
from service.webhooks.courier import Courier
from tenancy.postgres import pool

async def main():
    async with pool(4), Egress(settings().egress_networks) as way:
        async with Courier(way, lease=timedelta(seconds=1)).running():
            await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_killed_process_loses_nothing(world: World, webhooks: Webhooks, quiet: None) -> None:
    """It dies with deliveries under way; when its leases have run out, another sends them, in order."""
    instances = [uuid4() for _ in range(6)]
    steps: dict[str, list[int]] = defaultdict(list)
    some = asyncio.Event()

    async def slow(event: Any) -> web.StreamResponse:
        if sum(map(len, steps.values())) >= 5:
            some.set()
        await asyncio.sleep(0.05)
        steps[event["data"]["instance_id"]].append(event["data"]["step"])
        return web.Response()

    async with receiving(slow) as receiver:
        made = await webhooks.make(receiver.url, event_types=["test.*"])
        for step in range(1, 6):
            for instance in instances:
                await tell(world.acme, "test.step", instance, step=step)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", COURIER)
        async with asyncio.timeout(20):
            await some.wait()
        process.kill()
        await process.wait()
        assert len(await webhooks.deliveries(made, status="delivered")) < 30
        async with egress() as way, Courier(way, lease=timedelta(seconds=1)).running(), asyncio.timeout(20):
            while len(await webhooks.deliveries(made, status="delivered")) < 30:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
    for instance in instances:
        heard = steps[str(instance)]
        assert heard == sorted(heard)
        assert set(heard) == set(range(1, 6))


@EACH_OUTAGE
async def test_what_was_accepted_is_not_sent_again_as_the_database_was_away(
    world: World, webhooks: Webhooks, quiet: None, monkeypatch: pytest.MonkeyPatch, outage: Exception
) -> None:
    finish, outages = sending.finish, iter([outage, outage])

    async def finishing(*arguments: Any) -> Any:
        for error in outages:
            raise error
        return await finish(*arguments)

    async def accept(_: Any) -> web.StreamResponse:
        return web.Response()

    monkeypatch.setattr(sending, "finish", finishing)
    monkeypatch.setattr("service.webhooks.courier.STORED_AGAIN", (0.01, 0.01))
    async with receiving(accept) as receiver, egress() as way:
        made = await webhooks.make(receiver.url, event_types=["test.*"])
        await tell(world.acme, "test.step", uuid4(), step=1)
        async with Courier(way).running(), asyncio.timeout(20):
            while not await webhooks.deliveries(made, status="delivered"):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        assert len(receiver.heard) == 1


async def test_one_accounts_dead_endpoint_and_many_events_hold_up_nobody_else(
    client: httpx.AsyncClient, world: World, webhooks: Webhooks, quiet: None
) -> None:
    async with listener(drip_nothing) as dead, receiving() as alive, egress(total_seconds=5) as way:
        await webhooks.make(dead.url, event_types=["test.*"])
        await Webhooks(client, world.globex).make(alive.url, event_types=["test.*"])
        async with rows_of(world.acme.id) as connection:
            await connection.execute(
                "INSERT INTO event (account_id, instance_id, type) SELECT $1, gen_random_uuid(), 'test.many'"
                " FROM generate_series(1, 20000)",
                world.acme.id,
            )
        async with Courier(way).running():
            await dead.connected.wait()
            began = asyncio.get_running_loop().time()
            for number in range(10):
                await tell(world.globex, "test.other", number=number)
            await eventually(lambda: len(alive.accepted) >= 10, 10)
            assert asyncio.get_running_loop().time() - began < 5
        assert dead.made <= 16
