"""What there is before anything goes wrong: in two accounts the workflows of every kind, a trigger of the bus, and webhooks."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import httpx
import msgspec

from auth.scopes import ADMINISTRATION, MAESTRO
from service.formance.requests import READ as READ_FLOWS
from service.formance.requests import WRITE as WRITE_FLOWS
from service.keyfactor.requests import READ as READ_CERTIFICATES
from service.keyfactor.requests import WRITE as WRITE_CERTIFICATES
from tests.cell import Cell
from tests.chaos.mix import Kind, chain

SCOPES = (*MAESTRO, ADMINISTRATION, READ_FLOWS, WRITE_FLOWS, READ_CERTIFICATES, WRITE_CERTIFICATES)
PEOPLE = {"Acme": "ada@acme.example", "Globex": "edsger@globex.example"}
SHARES = {"Acme": 70, "Globex": 30}  # of what is started
BUS_EVENT = "CHAOS"
FLOWS = "/api/orchestration/v2"
CERTIFICATES = "/KeyfactorAPI"


class Tenant(msgspec.Struct, frozen=True):
    """One account: its administrator and what they prove themselves by, and its workflows by their kinds' names."""

    name: str
    id: UUID
    actor: UUID
    headers: dict[str, str]
    workflows: dict[str, UUID]

    @property
    def url(self) -> str:
        """Where the account's resources are in Maestro's dialect."""
        return f"/v1/accounts/{self.id}"


async def furnished(cell: Cell, port: int, receiver_port: int, kinds: Sequence[Kind]) -> list[Tenant]:
    """Furnish both accounts by the API, each dialect's workflows in its own words."""
    found = []
    for name, email in PEOPLE.items():
        account = (cell.acme if name == "Acme" else cell.globex).id
        issued = msgspec.json.decode(
            await cell.run(
                *(
                    "token",
                    "issue",
                    "--account",
                    account,
                    "--user",
                    email,
                    "--scope",
                    " ".join(SCOPES),
                    "--json",
                )
            )
        )
        headers = {
            "Authorization": f"Bearer {issued['access_token']}",
            "x-keyfactor-requested-with": "APIClient",
            "x-keyfactor-api-version": "1",
        }
        async with cell.rows() as rows:
            actor = await rows.fetchval("SELECT id FROM app_user WHERE email = $1", email)
        tenant = Tenant(name, UUID(account), actor, headers, {})
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30
        ) as http:
            for kind in kinds:
                tenant.workflows[kind.name] = await published(http, tenant, kind)
            await webhooks(http, tenant, kinds, f"http://127.0.0.1:{receiver_port}/")
        found.append(tenant)
    return found


async def published(http: httpx.AsyncClient, tenant: Tenant, kind: Kind) -> UUID:
    """Make a kind's workflow, so that it can be started; return its id."""
    if kind.dialect == "formance":
        body = {"name": kind.name, "stages": kind.definition}
        made = await sent(http, "POST", f"{FLOWS}/workflows", body)
        workflow_id = made["data"]["id"]
        if kind.start == "bus":
            variables = {"number": "event.number", "pause": "event.pause"}
            wanted = {"event": BUS_EVENT, "workflowID": workflow_id, "vars": variables}
            await sent(http, "POST", f"{FLOWS}/triggers", wanted)
    elif kind.dialect == "keyfactor":
        new = {"DisplayName": kind.name, "Key": kind.name, "WorkflowType": "Enrollment"}
        workflow_id = (await sent(http, "POST", f"{CERTIFICATES}/Workflow/Definitions", new))["Id"]
        path = f"{CERTIFICATES}/Workflow/Definitions/{workflow_id}"
        await sent(http, "PUT", f"{path}/Steps", chain(kind.definition))
        await sent(http, "POST", f"{path}/Publish", {})
    else:
        workflow_id = (await sent(http, "POST", f"{tenant.url}/workflows", kind.definition))["id"]
        await sent(http, "POST", f"{tenant.url}/workflows/{workflow_id}/actions/publish", None)
    return UUID(workflow_id)


async def webhooks(http: httpx.AsyncClient, tenant: Tenant, kinds: Sequence[Kind], url: str) -> None:
    """Have the account told of some kinds, in both formats."""
    told = [str(tenant.workflows[kind.name]) for kind in kinds if kind.told]
    if told:
        standard = {"url": url, "event_types": ["instance.*", "work_item.*"], "workflow_ids": told}
        await sent(http, "POST", f"{tenant.url}/webhooks", standard)
        connect = {"url": url, "format": "connect", "workflow_ids": told[:2]}
        await sent(http, "POST", f"{tenant.url}/webhooks", connect)


async def sent(http: httpx.AsyncClient, method: str, path: str, body: Any) -> Any:
    """Send something that has to succeed; return what the answer tells."""
    content = None if body is None else msgspec.json.encode(body)
    answer = await http.request(
        method, path, content=content, headers={"Content-Type": "application/json"} if content else {}
    )
    if answer.is_error:
        raise RuntimeError(f"{method} {path} was refused: {answer.text}")
    return answer.json() if answer.content else None
