"""What the tests of the dialect share: a world in which nothing moves, and who may ask in it."""

from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar

from auth.bearer import Operator
from service.formance.requests import READ, WRITE
from service.operations import event_triggers
from service.operations.event_triggers import NewTrigger
from tests.callers import machine_of, token_of
from tests.copying import emptied
from tests.maestro.rows import at_rest, digest
from tests.world import Tenant, World, waiting_in

HERE = "/api/orchestration"


class Calling(msgspec.Struct, frozen=True):
    """A client with a tenant's proof, below one version of the API."""

    http: httpx.AsyncClient
    headers: dict[str, str]
    prefix: str = HERE

    async def __call__(self, method: str, path: str, status: int, **request: Any) -> Any:
        """Make a call that has to be answered with a status; return what it told."""
        answer = await self.http.request(method, self.prefix + path, headers=self.headers, **request)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def made(self, *stages: dict[str, Any], **more: Any) -> str:
        """Store a workflow; return its id."""
        found: str = (await self("POST", "/workflows", 201, json={"stages": stages, **more}))["data"]["id"]
        return found

    async def run(self, workflow_id: str, query: str = "", **variables: str) -> dict[str, Any]:
        """Run a workflow."""
        path = f"/workflows/{workflow_id}/instances{query}"
        found: dict[str, Any] = (await self("POST", path, 201, json=variables))["data"]
        return found


async def trigger_of(tenant: Tenant) -> str:
    """Make a trigger of a tenant's waiting workflow; return its id."""
    new = NewTrigger(event="SAVED_PAYMENT", workflow_id=tenant.workflows["waiting"])
    return str((await event_triggers.create(Operator(tenant.id), tenant.sandbox, new))["id"])


@pytest.fixture
async def acme(client: httpx.AsyncClient, world: World) -> Calling:
    """Acme's machine, by v1; every answer is held against the document."""
    return Calling(client, await machine_of(world.acme, READ, WRITE))


@pytest.fixture
async def globex(client: httpx.AsyncClient, world: World) -> Calling:
    """The other account's."""
    return Calling(client, await machine_of(world.globex, READ, WRITE))


class Scene(msgspec.Struct):
    """A world in which nothing moves: each account has an instance that waits, and an administrator and a machine who may all."""

    world: World
    waiting: dict[str, str]
    triggers: dict[str, str]
    admins: dict[str, dict[str, str]]
    machines: dict[str, dict[str, str]]
    stored: dict[str, Any] = {}

    def ids(self, tenant: str) -> dict[str, str]:
        """Ids of things that an account has, by the names that paths have for them."""
        of: Tenant = getattr(self.world, tenant)
        workflow = str(of.workflows["waiting"])
        return {
            "accountId": str(of.id),
            "flowId": workflow,
            "workflowID": workflow,
            "instanceID": self.waiting[tenant],
            "triggerID": self.triggers[tenant],
            "number": "0",
        }

    async def rows(self) -> dict[str, Any]:
        """Digest every row of both accounts."""
        return await digest([self.world.acme.id, self.world.globex.id])


@pytest.fixture(scope="module")
async def scene(litestar: Litestar, application: Any) -> Scene:
    """A world for a whole module, whose tests change nothing in it."""
    await emptied()
    world = await World.made(litestar.state["sandbox"])
    tenants = {"acme": world.acme, "globex": world.globex}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=application), base_url="http://tutti.test"
    ) as client:
        waiting = await waiting_in(client, world)
    triggers = {name: await trigger_of(tenant) for name, tenant in tenants.items()}
    await at_rest([world.acme.id, world.globex.id])
    admins = {name: await token_of(tenant, READ, WRITE) for name, tenant in tenants.items()}
    machines = {name: await machine_of(tenant, READ, WRITE) for name, tenant in tenants.items()}
    made = Scene(world, waiting, triggers, admins, machines)
    made.stored = await made.rows()
    return made
