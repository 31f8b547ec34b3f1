"""Gives an account rows of every kind, over HTTP, all marked; finds their ids; and digests what is stored."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec

from tests.cell import Cell
from tests.fuzz.accounts import CALLBACK, Side

KEYFACTOR = {"x-keyfactor-requested-with": "APIClient", "x-keyfactor-api-version": "1"}
BEHIND = "SELECT count(*) FROM webhooks_behind('00000000-0000-0000-0000-000000000000', 100)"
PATIENCE = 20  # seconds until nothing moves any more
# Which table the ids stand in that a parameter of that name takes.
TABLES = {
    "accountId": "account",
    "bulkActionId": "bulk_action",
    "clientId": "client",
    "definitionId": "workflow",
    "deliveryId": "webhook_delivery",
    "flowId": "workflow",
    "instanceID": "instance",
    "instanceId": "instance",
    "invitationId": "invitation",
    "triggerID": "event_trigger",
    "userId": "membership",
    "webhookId": "webhook",
    "workItemId": "work_item",
    "workflowID": "workflow",
    "workflowId": "workflow",
    "actor_id": "membership",
    "instance_id": "instance",
    "started_by_id": "membership",
    "workflow_id": "workflow",
}
OWNED = """
SELECT relname AS table, bool_or(attname = 'id' AND atttypid = 'uuid'::regtype) AS has_id FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND attname IN ('id', 'account_id') AND NOT attisdropped
GROUP BY relname HAVING bool_or(attname = 'account_id') ORDER BY relname
"""
PEOPLE = (
    "SELECT user_id::text, email FROM membership JOIN app_user ON app_user.id = user_id WHERE account_id = $1"
)
# A courier tries again by itself: of these the ids alone tell whether anybody else was there, and of attempts nothing does.
TRIED_AGAIN = ("webhook", "webhook_delivery")
RESTLESS = ("webhook_attempt",)


class Ids(msgspec.Struct, frozen=True):
    """What an account has: ids by table, and every text that nobody else may see."""

    account_id: UUID
    by_table: dict[str, list[str]]
    secret: frozenset[str]
    untouchable: frozenset[str]  # whoever asks

    def of(self, parameter: str) -> list[str]:
        """The newest ids that a parameter may name; three of workflows, which are one of each dialect's."""
        table = TABLES[parameter]
        return self.by_table.get(table, [])[: 3 if table == "workflow" else 6]


def document(side: Side, name: str) -> dict[str, Any]:
    """A definition whose instances wait for a person, for an event, or end at once, as they are told."""
    return {
        "document": {
            "dsl": "1.0.3",
            "namespace": "fuzz",
            "name": f"{side.marker}-{name}",
            "version": "1.0.0",
            "title": f"{side.marker} {name}",
            "tags": {"owner": side.marker},
        },
        "do": [
            {"begin": {"set": {"who": side.marker, "wait": "${ .wait }"}}},
            {
                "which": {
                    "switch": [
                        {"ask": {"when": '.wait == "person"', "then": "ask"}},
                        {"hear": {"when": '.wait == "event"', "then": "hear"}},
                        {"end": {"then": "end"}},
                    ]
                }
            },
            {
                "ask": {
                    "call": "approval",
                    "with": {"title": f"{side.marker} asks", "assignees": {"roles": ["admin", "member"]}},
                    "then": "end",
                }
            },
            {"hear": {"listen": {"to": {"one": {"with": {"type": "goods.arrived"}}}}}},
        ],
    }


class Filling:
    """Requests of an account's administrator."""

    def __init__(self, port: int, side: Side) -> None:
        self._side = side
        self._client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {side.token}", **KEYFACTOR},
            timeout=30,
        )

    async def _made(self, path: str, body: Any = None) -> Any:
        answer = await self._client.post(path, json=body)
        if (
            answer.status_code != httpx.codes.CONFLICT
        ):  # as many as there may be are there, made up by who asked before
            answer.raise_for_status()
        return answer.json() if answer.content else None

    async def everything(self, name: str) -> None:
        """Make rows of every kind; `name` is theirs."""
        async with self._client:
            await self._webhook()
            await self._maestro(name)
            await self._administration(name)
            await self._formance(name)
            await self._keyfactor(name)

    async def _webhook(self) -> None:
        url = f"https://hooks.example/{self._side.marker}"
        await self._made(f"{self._side.url}/webhooks", {"url": url, "description": self._side.marker})

    async def _maestro(self, name: str) -> None:
        made = await self._made(f"{self._side.url}/workflows", document(self._side, name))
        workflow = f"{self._side.url}/workflows/{made['id']}"
        await self._made(f"{workflow}/actions/publish")
        for number, wait in enumerate(("person", "event", "person", "event", "", "")):
            body = {"instance_name": f"{self._side.marker} {number}", "trigger_inputs": {"wait": wait}}
            await self._made(f"{workflow}/actions/trigger", body)
        everything = f"{self._side.url}/workflow-instances/actions/restart?status=completed"
        await self._made(everything, {"confirm_count": 100_000})

    async def _administration(self, name: str) -> None:
        side = self._side
        email = f"{side.marker}.{name}@invited.example"
        await self._made(f"{side.url}/invitations", {"email": email, "role": "sender", "name": side.marker})
        integration = {"kind": "public", "name": f"{side.marker} {name}", "redirect_uris": [CALLBACK]}
        await self._made(f"{side.url}/integrations", integration)

    async def _formance(self, name: str) -> None:
        api = f"/accounts/{self._side.account_id}/api/orchestration"
        stages = [{"wait_event": {"event": self._side.marker}}]
        made = await self._made(f"{api}/workflows", {"name": f"{self._side.marker} {name}", "stages": stages})
        workflow_id = made["data"]["id"]
        await self._made(f"{api}/workflows/{workflow_id}/instances", {"who": self._side.marker})
        trigger = {"event": "SAVED_PAYMENT", "workflowID": workflow_id, "name": self._side.marker}
        await self._made(f"{api}/triggers", trigger)

    async def _keyfactor(self, name: str) -> None:
        body = {"DisplayName": f"{self._side.marker} {name}", "Key": name, "WorkflowType": "Enrollment"}
        await self._made("/KeyfactorAPI/Workflow/Definitions", body)


async def ids_of(rows: asyncpg.Connection, side: Side) -> Ids:
    """Find what an account has, the newest first."""
    found: dict[str, list[str]] = defaultdict(list)
    tables = [row["table"] for row in await rows.fetch(OWNED) if row["has_id"]]
    for table in tables:
        statement = f"SELECT id::text FROM {table} WHERE account_id = $1 ORDER BY id DESC"
        found[table] = [row["id"] for row in await rows.fetch(statement, side.account_id)]
    people = await rows.fetch(PEOPLE, side.account_id)
    found["membership"] = [row["user_id"] for row in people]
    secret = {side.marker, str(side.account_id), *(row["email"] for row in people)}
    secret.update(one for ids in found.values() for one in ids)
    found["account"] = [str(side.account_id)]
    asking = {str(side.machine_id), *(row["user_id"] for row in people if row["email"] == side.email)}
    for table in ("membership", "client"):
        found[table] = [one for one in found[table] if one not in asking]
    return Ids(side.account_id, dict(found), frozenset(secret), frozenset(asking))


async def digest(rows: asyncpg.Connection, account_id: UUID) -> dict[str, str]:
    """Digest every row of an account."""
    found = {}
    for table in [row["table"] for row in await rows.fetch(OWNED)]:
        if table not in RESTLESS:
            told = "one.id::text" if table in TRIED_AGAIN else "one::text"
            found[table] = await rows.fetchval(
                f"SELECT count(*) || ' ' || coalesce(md5(string_agg({told}, '|' ORDER BY {told})), '')"
                f" FROM {table} AS one WHERE account_id = $1",
                account_id,
            )
    return found


async def at_rest(cell: Cell, accounts: Sequence[UUID]) -> list[dict[str, str]]:
    """Wait until nothing of the accounts moves any more; return the digests."""
    until = time.monotonic() + PATIENCE
    before: list[dict[str, str]] = []
    async with cell.rows() as rows:
        while True:
            found = [await digest(rows, account_id) for account_id in accounts]
            behind = await rows.fetchval(BEHIND)  # whom events are still to be told
            if (found == before and not behind) or time.monotonic() > until:
                return found
            before = found
            await asyncio.sleep(0.3)
