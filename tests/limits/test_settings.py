"""Settings of an account: who reads and changes them, within which bounds, and what the audit tells."""

from typing import Any

import httpx
import pytest

from auth.bearer import Operator
from service.operations import account_settings
from service.operations.account_settings import Changes
from tests.maestro.errors import assert_refused, targets
from tests.world import Tenant, World, bearer

EMPTY = {"instance_retention_days": None, "event_retention_days": None}


async def patched(client: httpx.AsyncClient, of: Tenant, token: str, **body: Any) -> httpx.Response:
    """Change the settings."""
    return await client.patch(f"{of.url}/settings", json=body, headers=bearer(token))


def settings_in(answer: httpx.Response) -> dict[str, Any]:
    """The settings in an answer."""
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return {name: body[name] for name in ("name", *EMPTY)}


async def test_an_account_keeps_everything_until_somebody_says_otherwise(
    client: httpx.AsyncClient, world: World
) -> None:
    answer = await client.get(f"{world.acme.url}/settings", headers=bearer(world.acme.admin))
    assert settings_in(answer) == {"name": "Acme", **EMPTY}
    assert answer.json()["account_id"] == str(world.acme.id)


async def test_what_is_left_out_stays_and_null_keeps_things_for_ever(
    client: httpx.AsyncClient, world: World
) -> None:
    acme, admin = world.acme, world.acme.admin
    first = await patched(client, acme, admin, instance_retention_days=90, event_retention_days=365)
    assert settings_in(first) == {"name": "Acme", "instance_retention_days": 90, "event_retention_days": 365}
    named = await patched(client, acme, admin, name="  Acme Works ")
    assert settings_in(named) == settings_in(first) | {"name": "Acme Works"}
    lifted = await patched(client, acme, admin, instance_retention_days=None)
    assert settings_in(lifted) == settings_in(named) | {"instance_retention_days": None}
    read = await client.get(f"{acme.url}/settings", headers=bearer(admin))
    assert settings_in(read) == settings_in(lifted)
    other = await client.get(f"{world.globex.url}/settings", headers=bearer(world.globex.admin))
    assert settings_in(other) == {"name": "Globex", **EMPTY}


async def test_changes_are_told_by_the_audit_with_before_and_after(
    client: httpx.AsyncClient, world: World
) -> None:
    acme, admin = world.acme, world.acme.admin
    await patched(client, acme, admin, name="New", instance_retention_days=30)
    await patched(client, acme, admin, name="New", instance_retention_days=30)
    found = await client.get(f"{acme.url}/audit?type=account.changed", headers=bearer(admin))
    (told,) = found.json()["data"]
    assert told["before"] == {"name": "Acme", "instance_retention_days": None}
    assert told["after"] == {"name": "New", "instance_retention_days": 30}
    assert told["actor"]["id"] == str(acme.admin_id)
    assert told["subject"] == {"kind": "account", "id": str(acme.id)}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"instance_retention_days": 0}, "instance_retention_days"),
        ({"instance_retention_days": 36_501}, "instance_retention_days"),
        ({"event_retention_days": 29}, "event_retention_days"),
        ({"event_retention_days": -1}, "event_retention_days"),
        ({"name": "   "}, "name"),
        ({"name": "a\u0000b"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": None}, "name"),
        ({"retention": 1}, "retention"),
    ],
    ids=str,
)
async def test_what_is_out_of_bounds_is_refused_and_changes_nothing(
    client: httpx.AsyncClient, world: World, body: dict[str, Any], field: str
) -> None:
    refused = await patched(client, world.acme, world.acme.admin, **({"name": "New"} | body))
    assert_refused(refused, 400)
    assert list(targets(refused)) == [field]
    read = await client.get(f"{world.acme.url}/settings", headers=bearer(world.acme.admin))
    assert settings_in(read) == {"name": "Acme", **EMPTY}


async def test_only_administrators_read_and_change_them(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    for token, status in (
        (acme.member, 403),
        (acme.machine, 403),
        (world.globex.admin, 404),
        ("nobody", 401),
    ):
        assert_refused(await client.get(f"{acme.url}/settings", headers=bearer(token)), status)
        assert_refused(await patched(client, acme, token, name="Mine"), status)


async def test_the_operator_changes_them_too(client: httpx.AsyncClient, world: World) -> None:
    changed = await account_settings.change(Operator(world.acme.id), Changes(event_retention_days=30))
    assert changed == await account_settings.get(Operator(world.acme.id))
    assert (changed.name, changed.event_retention_days) == ("Acme", 30)
