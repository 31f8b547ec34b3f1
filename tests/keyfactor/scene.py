"""A world in which nothing moves, for tests that look at every route."""

from typing import Any

import httpx
import msgspec

from service.keyfactor.requests import READ, WRITE
from tests.callers import machine_of, token_of
from tests.maestro.rows import at_rest, digest
from tests.world import Tenant, World, waiting_in

HERE = "/KeyfactorAPI"
CLIENT = {"x-keyfactor-requested-with": "APIClient", "x-keyfactor-api-version": "1"}


class Scene(msgspec.Struct):
    """Each account has an instance that waits and a definition of the dialect; an administrator and a machine who may all."""

    world: World
    waiting: dict[str, str]
    definitions: dict[str, str]
    admins: dict[str, dict[str, str]]
    machines: dict[str, dict[str, str]]
    stored: dict[str, Any] = {}

    @classmethod
    async def made(cls, world: World, application: Any) -> "Scene":
        """Make what the accounts have."""
        tenants = {"acme": world.acme, "globex": world.globex}
        admins = {name: CLIENT | await token_of(tenant, READ, WRITE) for name, tenant in tenants.items()}
        machines = {name: CLIENT | await machine_of(tenant, READ, WRITE) for name, tenant in tenants.items()}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=application), base_url="http://tutti.test"
        ) as client:
            waiting = await waiting_in(client, world)
            definitions = {name: await defined(client, headers) for name, headers in admins.items()}
        await at_rest([world.acme.id, world.globex.id])
        made = cls(world, waiting, definitions, admins, machines)
        made.stored = await made.rows()
        return made

    def ids(self, tenant: str) -> dict[str, str]:
        """Ids of things that an account has, by the names that paths have for them."""
        return {
            "instanceId": self.waiting[tenant],
            "definitionId": self.definitions[tenant],
            "extensionName": "RequireApproval",
            "version": "1",
        }

    def tenant(self, name: str) -> Tenant:
        """One of both."""
        found: Tenant = getattr(self.world, name)
        return found

    async def rows(self) -> dict[str, Any]:
        """Digest every row of both accounts."""
        return await digest([self.world.acme.id, self.world.globex.id])


async def defined(client: httpx.AsyncClient, headers: dict[str, str]) -> str:
    """Make a definition; return its id."""
    body = {"DisplayName": "Approve", "Key": "7", "WorkflowType": "Enrollment"}
    answer = await client.post(f"{HERE}/Workflow/Definitions", headers=headers, json=body)
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["Id"]
    return found
