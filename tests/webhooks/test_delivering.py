"""What happens in an account reaches its endpoints: signed, once written down, in each instance's order."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook as Verifier

from service.webhooks.courier import Courier
from tests.engine.outside import Site, site
from tests.webhooks.conftest import Clock, Webhooks
from tests.world import World, trigger, until


async def well(_: web.Request) -> web.StreamResponse:
    """Hear of it."""
    return web.Response(status=204)


async def settled(courier: Courier) -> None:
    """Let the courier read and send whatever can be sent now."""
    async with asyncio.timeout(15):
        while await courier.dispatch() or await courier.send() or courier.busy:
            await asyncio.sleep(0.01)


def verified(site: Site, secret: str) -> list[Any]:
    """What a site was sent, by the eyes of the standard's own package."""
    return [
        Verifier(secret).verify(body, dict(request.headers))
        for request, body in zip(site.requests, site.bodies, strict=True)
    ]


async def test_an_endpoint_is_told_of_an_instance_from_its_start_to_its_end(
    client: httpx.AsyncClient, world: World, webhooks: Webhooks, courier: Courier
) -> None:
    async with site(well) as receiver:
        made = await webhooks.make(f"{receiver.url}/hook", event_types=["instance.*"])
        url = await trigger(client, world.acme, "greeting", {"who": "Ada"})
        await until(client, world.acme, url, workflow_status="Completed")
        await settled(courier)
        told = verified(receiver, made["secret"])
    assert [one["type"] for one in told] == ["instance.triggered", "instance.completed"]
    ids = {
        "account_id": str(world.acme.id),
        "workflow_id": str(world.acme.workflows["greeting"]),
        "instance_id": url.rpartition("/")[2],
    }
    assert [{name: one["data"][name] for name in ids} for one in told] == [ids, ids]
    log = await webhooks.deliveries(made)
    assert [one["status"] for one in log] == ["delivered", "delivered"]
    assert [one["message_id"] for one in log] == [one.headers["webhook-id"] for one in receiver.requests]
