"""A page token is of one list, of one thing, of one account: on any other list it is refused."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from service.engine.events import Subject, record
from tenancy.rows import rows_of
from tests.maestro.conftest import Scene
from tests.maestro.errors import targets
from tests.maestro.routes import ROUTES, Route
from tests.world import Tenant, bearer

PAGED = [route for route in ROUTES if "ctoken" in route.query]
OF_A_THING = [route for route in PAGED if len(route.ids) > 1]
NAMES = [route.name for route in PAGED]
DELIVER_AGAIN = """
INSERT INTO webhook_delivery (id, account_id, webhook_id, type, at, data, status, aside, attempts, tries, created_at)
SELECT gen_random_uuid(), account_id, webhook_id, type, at, data, status, aside, attempts, tries, created_at
FROM webhook_delivery
"""
ANOTHER = {
    "workflowId": "SELECT id FROM workflow WHERE id <> $1 LIMIT 1",
    "instanceId": "SELECT id FROM instance WHERE id <> $1"
    " AND workflow_id = (SELECT workflow_id FROM instance WHERE id = $1) LIMIT 1",
    "workItemId": "SELECT id FROM work_item WHERE id <> $1 LIMIT 1",
    "webhookId": """
INSERT INTO webhook (id, account_id, url, format, event_types, workflow_ids, secret, enabled, failures,
                     created_at, created_by, modified_at, modified_by)
SELECT gen_random_uuid(), account_id, url, format, event_types, workflow_ids, secret, enabled, failures,
       created_at, created_by, modified_at, modified_by FROM webhook WHERE id = $1 RETURNING id
""",
}
APP: dict[str, Any] = {"kind": "public", "redirect_uris": ["https://app.example/callback"]}
# What an account needs two of, beside what the scene has, so that each list has a second page.
TWICE: dict[str, list[dict[str, Any]]] = {
    "integrations": [APP | {"name": name} for name in ("one", "two")],
    "invitations": [{"email": f"{name}@new.example", "role": "viewer"} for name in ("one", "two")],
}


@pytest.fixture(scope="module")
async def tokens(scene: Scene, application: Any) -> dict[str, dict[str, str]]:
    """The token of the second page of each list, by the tenant and the list's name."""
    found: dict[str, dict[str, str]] = {}
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://tutti.test") as client:
        for name, of in (("acme", scene.world.acme), ("globex", scene.world.globex)):
            await filled(client, of, scene.ids(name))
            found[name] = {route.name: await token(client, route.url(scene.ids(name)), of) for route in PAGED}
    return found


async def filled(client: httpx.AsyncClient, of: Tenant, ids: dict[str, str]) -> None:
    """See to it that each list has two rows."""
    async with rows_of(of.id) as connection:
        await connection.execute(DELIVER_AGAIN)
        row = await connection.fetchrow(
            "SELECT workflow_id, instance_id FROM work_item WHERE id = $1", ids["workItemId"]
        )
        assert row is not None
        subject = Subject(of.id, row["workflow_id"], row["instance_id"])
        await record(subject, "work_item.overdue", None, work_item_id=ids["workItemId"])
    for path, bodies in TWICE.items():
        for body in bodies:
            made = await client.post(f"{of.url}/{path}", json=body, headers=bearer(of.admin))
            assert made.status_code == 201, made.text
            if path == "integrations":
                url = f"{of.url}/integrations/{made.json()['id']}/consent"
                allowed = await client.put(url, json={"scopes": ["signature"]}, headers=bearer(of.admin))
                assert allowed.status_code == 200, allowed.text


async def token(client: httpx.AsyncClient, url: str, of: Tenant) -> str:
    """Read the first row of a list, and where it goes on."""
    answer = (await client.get(url, params={"page_size": "1"}, headers=bearer(of.admin))).json()
    following: str = answer.get("ctoken") or answer["response_metadata"]["page_token_next"]
    return following


@pytest.mark.parametrize("route", PAGED, ids=NAMES)
async def test_a_token_of_another_list_is_refused(
    client: httpx.AsyncClient, scene: Scene, tokens: dict[str, dict[str, str]], route: Route
) -> None:
    url, admin = route.url(scene.ids("acme")), bearer(scene.world.acme.admin)
    own = await client.get(url, params={"ctoken": tokens["acme"][route.name]}, headers=admin)
    assert own.status_code == 200, own.text
    for name in NAMES:
        if name != route.name:
            answer = await client.get(url, params={"ctoken": tokens["acme"][name]}, headers=admin)
            assert targets(answer) == {"ctoken": "PAGE_TOKEN_INVALID"}, name


@pytest.mark.parametrize("route", PAGED, ids=NAMES)
async def test_a_token_of_another_account_is_refused(
    client: httpx.AsyncClient, scene: Scene, tokens: dict[str, dict[str, str]], route: Route
) -> None:
    url, admin = route.url(scene.ids("acme")), bearer(scene.world.acme.admin)
    answer = await client.get(url, params={"ctoken": tokens["globex"][route.name]}, headers=admin)
    assert targets(answer) == {"ctoken": "PAGE_TOKEN_INVALID"}


@pytest.mark.parametrize("route", OF_A_THING, ids=[route.name for route in OF_A_THING])
async def test_a_token_of_another_thing_is_refused(
    client: httpx.AsyncClient, scene: Scene, tokens: dict[str, dict[str, str]], route: Route
) -> None:
    """Another thing's list has other rows, among which the token would lead to a wrong place."""
    acme, ids = scene.world.acme, scene.ids("acme")
    kind = route.ids[-1]
    url = route.url(ids | {kind: await another(acme, kind, ids)})
    answer = await client.get(url, params={"ctoken": tokens["acme"][route.name]}, headers=bearer(acme.admin))
    assert targets(answer) == {"ctoken": "PAGE_TOKEN_INVALID"}


async def another(of: Tenant, kind: str, ids: dict[str, str]) -> str:
    """Another thing of a kind in the account; an instance of the same workflow."""
    async with rows_of(of.id) as connection:
        found = await connection.fetchval(ANOTHER[kind], UUID(ids[kind]))
    assert found is not None
    return str(found)
