"""What tests find: two accounts, people and machines in each, published workflows, tokens."""

import asyncio
import base64
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import httpx
import msgspec

from auth.bearer import Operator
from auth.clients import create_client, issue_token
from auth.registration import Registration
from auth.scopes import ADMINISTRATION, MAESTRO
from service.language.sandbox import Sandbox
from service.operations import workflows
from tenancy.accounts import add_user, create_account
from tests.copying import Copied, copied, pasted

LIFE = 3600
SECRET_KEYS = base64.urlsafe_b64encode(bytes(32)).decode()
_first: list[
    tuple[Copied, str]
] = []  # the first tenants of the process: their rows, and what is told of them

GREETING: dict[str, Any] = {
    "document": {
        "dsl": "1.0.3",
        "namespace": "tests",
        "name": "greeting",
        "version": "1.0.0",
        "title": "Greeting",
    },
    "input": {
        "schema": {
            "document": {
                "type": "object",
                "required": ["who"],
                "properties": {
                    "who": {"type": "string"},
                    "times": {"type": "integer", "default": 1},
                    "polite": {"type": "boolean"},
                },
                "additionalProperties": False,
            }
        }
    },
    "do": [
        {"compose": {"set": {"text": '${ "Hello, \\(.who)" }', "times": "${ .times }"}}},
        {"finish": {"set": "${ . + {done: true} }"}},
    ],
}

WAITING: dict[str, Any] = {
    "document": {"dsl": "1.0.3", "namespace": "tests", "name": "waiting", "version": "1.0.0"},
    "do": [
        {"prepare": {"set": {"ready": True}}},
        {"goods": {"listen": {"to": {"one": {"with": {"type": "goods.arrived"}}}}}},
        {"close": {"set": {"received": "${ .[0] }"}}},
    ],
}


class Tenant(msgspec.Struct):
    """One account: its people's tokens and its workflows' ids by name."""

    id: UUID
    admin_id: UUID
    member_id: UUID
    admin: str
    member: str
    machine: str
    sandbox: Sandbox
    workflows: dict[str, UUID]

    @property
    def plain(self) -> dict[str, Any]:
        """All that JSON can hold of it."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name != "sandbox"}

    @property
    def url(self) -> str:
        """Where the account's resources are."""
        return f"/v1/accounts/{self.id}"

    def workflow_url(self, name: str) -> str:
        """Where a workflow is."""
        return f"{self.url}/workflows/{self.workflows[name]}"

    async def publish(self, document: Mapping[str, Any]) -> UUID:
        """Publish one more workflow; return its id."""
        operator = Operator(self.id)
        new = await workflows.draft(operator, self.sandbox, msgspec.json.encode(document), "json")
        stored = await workflows.put(operator, new)
        workflow_id: UUID = stored.row["id"]
        self.workflows[stored.row["name"]] = workflow_id
        return workflow_id


class World(msgspec.Struct):
    """Two tenants."""

    acme: Tenant
    globex: Tenant

    @classmethod
    async def made(cls, sandbox: Sandbox) -> "World":
        """Make both tenants on an empty database; all but the first ones of a process are copies of those."""
        if not _first:
            made = cls(await tenant("acme", sandbox), await tenant("globex", sandbox))
            tenants = (made.acme, made.globex)
            tokens = [token for one in tenants for token in (one.admin, one.member, one.machine)]
            _first.append(
                (await copied(*tokens), msgspec.json.encode([one.plain for one in tenants]).decode())
            )
            return made
        copy, told = _first[0]
        plain = msgspec.json.decode(await pasted(copy, told))
        acme, globex = (msgspec.convert(one | {"sandbox": sandbox}, Tenant) for one in plain)
        return cls(acme, globex)


async def tenant(name: str, sandbox: Sandbox) -> Tenant:
    """Make an account with an administrator, a member, a machine client and two published workflows."""
    account_id = await create_account(name.title())
    admin_id = await add_user(f"admin@{name}.example", f"{name.title()} Admin", None, account_id, "admin")
    member_id = await add_user(f"member@{name}.example", f"{name.title()} Member", None, account_id, "sender")
    machine_id, _ = await create_client(
        Registration(account_id=account_id, kind="machine", name="robot", scopes=MAESTRO)
    )
    made = Tenant(
        account_id,
        admin_id,
        member_id,
        await issue_token(account_id, ("user", admin_id), (*MAESTRO, ADMINISTRATION), LIFE),
        await issue_token(account_id, ("user", member_id), (*MAESTRO, ADMINISTRATION), LIFE),
        await issue_token(account_id, ("client", machine_id), MAESTRO, LIFE),
        sandbox,
        {},
    )
    for document in (GREETING, WAITING):
        await made.publish(document)
    return made


def bearer(token: str) -> dict[str, str]:
    """Write the header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


async def trigger(client: httpx.AsyncClient, of: Tenant, workflow: str, inputs: Mapping[str, Any]) -> str:
    """Trigger a workflow as the tenant's administrator; return the instance's URL path."""
    url = of.workflow_url(workflow)
    body = {"instance_name": "test", "trigger_inputs": inputs}
    response = await client.post(f"{url}/actions/trigger", json=body, headers=bearer(of.admin))
    assert response.status_code == 201, response.text
    return f"{url}/instances/{response.json()['instance_id']}"


async def waiting_in(client: httpx.AsyncClient, world: World) -> dict[str, str]:
    """Have an instance of each account wait; return their ids by the names of the accounts."""
    return {
        name: (await trigger(client, getattr(world, name), "waiting", {})).rpartition("/")[2]
        for name in ("acme", "globex")
    }


async def until(
    client: httpx.AsyncClient, of: Tenant, url: str, seconds: float = 15, **wanted: Any
) -> dict[str, Any]:
    """Read an instance until the wanted fields have the wanted values; fail with what they were."""
    instance: dict[str, Any] = {}
    async with asyncio.timeout(seconds + 5):
        for _ in range(int(seconds / 0.02)):
            instance = (await client.get(url, headers=bearer(of.admin))).json()
            if all(instance.get(name) == value for name, value in wanted.items()):
                return instance
            await asyncio.sleep(0.02)
    raise AssertionError(f"never {wanted}: {instance}")


async def until_waiting(client: httpx.AsyncClient, of: Tenant, url: str) -> None:
    """Wait until an instance waits for something that comes from outside."""
    answer = await client.get(
        f"{url}/wait", params={"until": "waiting", "timeout": "15"}, headers=bearer(of.admin)
    )
    assert (answer.status_code, answer.json()["workflow_status"]) == (200, "In Progress"), answer.text
