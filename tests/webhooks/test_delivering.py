"""What happens in an account reaches its endpoints: signed, written down once, in each instance's order."""

import asyncio
import contextvars
from typing import Any
from uuid import UUID

import httpx
import pytest
from aiohttp import web

from service.operations import webhook_sending
from service.webhooks.courier import Courier
from tenancy.rows import rows_of
from tests.engine.outside import egress
from tests.waiting import eventually
from tests.webhooks.conftest import Webhooks, carry, carry_all, receiving, tell, well
from tests.world import World, trigger, until


async def test_an_endpoint_is_told_of_an_instance_from_its_start_to_its_end(
    client: httpx.AsyncClient, world: World, webhooks: Webhooks, courier: Courier
) -> None:
    async with receiving() as receiver:
        made = await webhooks.make(receiver.url, event_types=["instance.*"])
        url = await trigger(client, world.acme, "greeting", {"who": "Ada"})
        await until(client, world.acme, url, workflow_status="Completed")
        await carry(courier, lambda: len(receiver.heard) == 2)
        told = receiver.verified(made["secret"])
    assert [one["type"] for one in told] == ["instance.triggered", "instance.completed"]
    ids = {
        "account_id": str(world.acme.id),
        "workflow_id": str(world.acme.workflows["greeting"]),
        "instance_id": url.rpartition("/")[2],
    }
    assert [{name: one["data"][name] for name in ids} for one in told] == [ids, ids]
    log = await webhooks.deliveries(made)
    assert [one["status"] for one in log] == ["delivered", "delivered"]
    assert [one["message_id"] for one in log] == [headers["webhook-id"] for headers, _ in receiver.heard]


async def test_connect_listeners_are_told_of_their_three_events(
    client: httpx.AsyncClient, world: World, webhooks: Webhooks, courier: Courier
) -> None:
    async with receiving() as receiver:
        await webhooks.make(receiver.url, format="connect")
        url = await trigger(client, world.acme, "greeting", {"who": "Ada"})
        await until(client, world.acme, url, workflow_status="Completed")
        await tell(world.acme, "instance.faulted")
        await tell(world.acme, "instance.signalled")
        await carry(courier, lambda: len(receiver.heard) == 3)
        await carry_all(courier, world.acme)
    told = {one["event"]: one["data"] for one in receiver.accepted}
    assert told.keys() == {"workflow-started", "workflow-completed", "workflow-failed"}
    assert told["workflow-completed"] == {
        "accountId": str(world.acme.id),
        "userId": str(world.acme.admin_id),
        "workflowId": str(world.acme.workflows["greeting"]),
        "instanceId": url.rpartition("/")[2],
        "instanceName": "test",
    }


async def test_each_event_becomes_one_delivery_however_many_dispatch(
    world: World, webhooks: Webhooks, courier: Courier
) -> None:
    made = await webhooks.make("http://127.0.0.1:9/", event_types=["test.*"])
    async with rows_of(world.acme.id) as connection:
        await connection.execute(
            "INSERT INTO event (account_id, type, data) SELECT $1, 'test.many', jsonb_build_object('n', n)"
            " FROM generate_series(1, 1300) AS n",
            world.acme.id,
        )
    async with egress() as way, asyncio.timeout(20):
        couriers = [courier, *(Courier(way) for _ in range(3))]
        stored = 0
        while stored < 1300:
            await asyncio.gather(*(one.dispatch() for one in couriers))
            async with rows_of(world.acme.id) as connection:
                stored = await connection.fetchval("SELECT count(*) FROM webhook_delivery")
    async with rows_of(world.acme.id) as connection:
        distinct = await connection.fetchval("SELECT count(DISTINCT (data ->> 'n')) FROM webhook_delivery")
        orders = await connection.fetch(
            "SELECT (data ->> 'n')::integer AS n FROM webhook_delivery ORDER BY place"
        )
    assert (stored, distinct) == (1300, 1300)
    assert [row["n"] for row in orders] == list(range(1, 1301))
    assert (await webhooks.deliveries(made, page_size=1))[0]["status"] == "pending"


WANTED: dict[tuple[str, ...], set[str]] = {
    (): {"instance.completed", "instance.faulted", "work_item.opened", "work_items.odd", "test.last"},
    ("*",): {"instance.completed", "instance.faulted", "work_item.opened", "work_items.odd", "test.last"},
    ("instance.*",): {"instance.completed", "instance.faulted"},
    ("work_item.*",): {"work_item.opened"},
    ("instance.faulted", "test.*"): {"instance.faulted", "test.last"},
}


async def test_each_endpoint_is_told_of_the_types_that_it_names(
    world: World, webhooks: Webhooks, courier: Courier
) -> None:
    async with receiving() as receiver:
        names = {}
        for wanted in WANTED:
            made = await webhooks.make(receiver.url, event_types=wanted)
            names[wanted] = made["id"]
        for kind in ("instance.completed", "instance.faulted", "work_item.opened", "work_items.odd"):
            await tell(world.acme, kind)
        await carry_all(courier, world.acme)
    told = {
        wanted: {one["event_type"] for one in await webhooks.deliveries({"id": webhook_id})}
        for wanted, webhook_id in names.items()
    }
    assert {wanted: kinds - {"webhook.created"} for wanted, kinds in told.items()} == WANTED
    assert len(receiver.accepted) >= sum(map(len, WANTED.values()))


async def test_an_endpoint_is_told_of_the_workflows_that_it_names(
    world: World, webhooks: Webhooks, courier: Courier
) -> None:
    async with receiving() as receiver:
        workflow = str(world.acme.workflows["waiting"])
        await webhooks.make(receiver.url, workflow_ids=[workflow])
        await tell(world.acme, "test.other")
        await tell(world.acme, "test.wanted", workflow="waiting")
        await carry_all(courier, world.acme)
    assert [(one["type"], one["data"]["workflow_id"]) for one in receiver.accepted] == [
        ("test.wanted", workflow)
    ]


async def test_an_endpoint_is_told_of_its_own_account_alone(
    client: httpx.AsyncClient, world: World, webhooks: Webhooks, courier: Courier
) -> None:
    async with receiving() as ours, receiving() as theirs:
        await webhooks.make(ours.url, event_types=["test.*"])
        await Webhooks(client, world.globex).make(theirs.url, event_types=["test.*"])
        await tell(world.acme, "test.acme")
        await tell(world.globex, "test.globex")
        await carry(courier, lambda: ours.accepted and theirs.accepted)
    assert [one["type"] for one in ours.accepted] == ["test.acme"]
    assert [one["type"] for one in theirs.accepted] == ["test.globex"]


async def test_an_endpoint_is_told_of_what_happens_after_it_was_made(
    world: World, webhooks: Webhooks, courier: Courier
) -> None:
    """What a transaction has written that was open when the endpoint was made counts as after it."""
    await tell(world.acme, "test.before")
    written, finish = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        async with rows_of(world.acme.id) as connection:
            await connection.execute(
                "INSERT INTO event (account_id, type, data) VALUES ($1, 'test.open', '{}')", world.acme.id
            )
            written.set()
            await finish.wait()

    task = asyncio.create_task(slow(), context=contextvars.Context())
    await written.wait()
    await tell(world.acme, "test.committed_before")
    async with receiving() as receiver:
        await webhooks.make(receiver.url, event_types=["test.*"])
        finish.set()
        await task
        await carry_all(courier, world.acme)
    assert {one["type"] for one in receiver.accepted} == {"test.open", "test.last"}


async def test_what_waits_at_one_endpoint_is_bounded(
    world: World, webhooks: Webhooks, courier: Courier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that have no room stay where they are, and are read when there is some."""
    monkeypatch.setattr(webhook_sending, "MOST_PENDING", 5)
    gate = asyncio.Event()

    async def later(event: Any) -> web.StreamResponse:
        await gate.wait()
        return await well(event)

    async with receiving(later) as receiver:
        made = await webhooks.make(receiver.url, event_types=["test.*"])
        for number in range(12):
            await tell(world.acme, "test.many", number=number)
        async with asyncio.timeout(10):
            while len(await webhooks.deliveries(made)) < 5:
                await courier.dispatch()
        await courier.dispatch()
        assert len(await webhooks.deliveries(made)) == 5
        gate.set()
        await carry(courier, lambda: len(receiver.accepted) == 12)
    assert sorted(one["data"]["number"] for one in receiver.accepted) == list(range(12))


async def test_accounts_without_endpoints_are_not_looked_at(world: World, courier: Courier) -> None:
    await tell(world.acme, "test.unheard")
    assert await webhook_sending.behind(UUID(int=0), 10) == []
    assert await courier.dispatch() == 0


async def test_the_service_itself_carries_what_happens(
    client: httpx.AsyncClient, world: World, webhooks: Webhooks, secret_keys: None
) -> None:
    async with receiving() as receiver:
        made = await webhooks.make(receiver.url, event_types=["instance.completed"])
        await trigger(client, world.acme, "greeting", {"who": "Ada"})
        await eventually(lambda: receiver.accepted, 10)
        assert receiver.verified(made["secret"])[0]["type"] == "instance.completed"
        while (await webhooks.deliveries(made))[0]["status"] != "delivered":  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
