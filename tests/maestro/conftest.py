"""Scenes and helpers that several modules of these tests share."""

from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
from litestar import Litestar

from auth.allowances import allow_for_account
from service.operations.integrations import key_id_of
from tenancy.accounts import add_user
from tenancy.rows import rows_of
from tests.auth.oauth import KEY, registered
from tests.copying import emptied
from tests.maestro.people import BOTH, Asked, Asking, asking, opened
from tests.maestro.rows import at_rest, digest
from tests.world import Tenant, World, bearer, trigger

SIGNING: dict[str, Any] = {
    "document": {"dsl": "1.0.3", "namespace": "tests", "name": "signing", "version": "1.0.0"},
    "do": [
        {
            "signOff": {
                "call": "approval",
                "with": {"title": "Sign", "assignees": {"roles": ["admin"]}, "minimum": 2, "form": {}},
            }
        }
    ],
}


class People(msgspec.Struct, frozen=True):
    """An invitation of an account, an integration with a key and a consent, and the key's id."""

    invitation: str
    client: str
    key: str


class Scene(msgspec.Struct):
    """A world in which nothing moves.

    Each account has two instances that wait, two that are complete, two that wait for approvals of administrators, two
    bulk actions that have ended, a disabled webhook, two invitations, and two integrations that members
    need not be asked about.
    """

    world: World
    waiting: dict[str, str]
    asked: dict[str, str]
    told: dict[str, tuple[str, str]]
    done: dict[str, str]
    people: dict[str, People]
    stored: dict[str, Any] = {}

    def ids(self, tenant: str) -> dict[str, str]:
        """Ids of things that an account has, by the names that paths have for them."""
        of: Tenant = getattr(self.world, tenant)
        return {
            "accountId": str(of.id),
            "workflowId": str(of.workflows["waiting"]),
            "instanceId": self.waiting[tenant],
            "workItemId": self.asked[tenant],
            "bulkActionId": self.done[tenant],
            "webhookId": self.told[tenant][0],
            "deliveryId": self.told[tenant][1],
            "userId": str(of.member_id),
            "invitationId": self.people[tenant].invitation,
            "clientId": self.people[tenant].client,
            "keyId": self.people[tenant].key,
        }

    async def rows(self) -> dict[str, Any]:
        """Digest every row of both accounts."""
        return await digest([self.world.acme.id, self.world.globex.id])


WEBHOOK = """
WITH made AS (
    INSERT INTO webhook (id, account_id, url, format, event_types, workflow_ids, secret, enabled, failures,
                         created_at, created_by, modified_at, modified_by)
    VALUES (gen_random_uuid(), $1, 'https://hooks.example/', 'standard', '{}', '{}', '', false, 0, now(), $1, now(), $1)
    RETURNING id
)
INSERT INTO webhook_delivery (id, account_id, webhook_id, type, at, data, status, aside, attempts, tries, created_at)
SELECT gen_random_uuid(), $1, id, 'webhook.ping', now(), '{}', 'delivered', true, 1, 0, now() FROM made
RETURNING webhook_id, id
"""


async def webhook_of(tenant: Tenant) -> tuple[str, str]:
    """Store a webhook that is disabled, and a delivery to it; return their ids."""
    async with rows_of(tenant.id) as connection:
        row = await connection.fetchrow(WEBHOOK, tenant.id)
        assert row is not None
        return str(row["webhook_id"]), str(row["id"])


async def people_of(client: httpx.AsyncClient, tenant: Tenant) -> People:
    """Invite two people, and register an integration that may act for all members."""
    made = [
        await client.post(
            f"{tenant.url}/invitations",
            json={"email": f"{name}@new.example", "role": "sender"},
            headers=bearer(tenant.admin),
        )
        for name in ("first", "last")
    ]
    app, other = await registered(tenant.id), await registered(tenant.id)
    for client_id in (app.id, other.id):
        await allow_for_account(tenant.id, client_id, ["signature"])
    return People(made[0].json()["id"], str(app.id), str(key_id_of(KEY.as_pem(private=False).decode())))


async def bulk_action_of(client: httpx.AsyncClient, tenant: Tenant) -> str:
    """Have a bulk action done that has nothing to do; return its id."""
    url = f"{tenant.url}/workflow-instances/actions/cancel?started_by_id={uuid4()}"
    begun = await client.post(url, json={"confirm_count": 0}, headers=bearer(tenant.admin))
    found: str = begun.json()["bulk_action"]["id"]
    return found


@pytest.fixture(scope="module")
async def scene(litestar: Litestar, application: Any) -> Scene:
    """A world for a whole module, whose tests change nothing in it."""
    await emptied()
    world = await World.made(litestar.state["sandbox"])
    transport = httpx.ASGITransport(app=application)
    waiting, asked, done, people = {}, {}, {}, {}
    async with httpx.AsyncClient(transport=transport, base_url="http://tutti.test") as client:
        for name, tenant in (("acme", world.acme), ("globex", world.globex)):
            await add_user(f"second@{name}.example", "Second", None, tenant.id, "admin")  # two have to sign
            await tenant.publish(SIGNING)
            for _ in range(2):
                waiting[name] = (await trigger(client, tenant, "waiting", {})).rpartition("/")[2]
                await trigger(client, tenant, "greeting", {"who": "Ada"})
                await trigger(client, tenant, "signing", {})
        await at_rest([world.acme.id, world.globex.id])
        for name, tenant in (("acme", world.acme), ("globex", world.globex)):
            listed = await client.get(f"{tenant.url}/work-items", headers=bearer(tenant.admin))
            asked[name] = listed.json()["data"][0]["id"]
            done[name], _ = [await bulk_action_of(client, tenant) for _ in range(2)]
            people[name] = await people_of(client, tenant)
    told = {name: await webhook_of(getattr(world, name)) for name in ("acme", "globex")}
    made = Scene(world, waiting, asked, told, done, people)
    made.stored = await made.rows()
    return made


@pytest.fixture
async def ask(client: httpx.AsyncClient, world: World) -> Asking:
    """Start an instance of Acme that asks people, and wait for its work item."""

    async def started(kind: str = "approval", task: dict[str, Any] | None = None, **arguments: Any) -> Asked:
        given = {"title": "Sign", "assignees": BOTH} | arguments
        await world.acme.publish(asking(given, kind, **(task or {})))
        instance = await trigger(client, world.acme, "asking", {})
        return await opened(client, world.acme, instance)

    return started
