"""Administrators see, change and remove the members of their account, and invite others; of anybody else they learn nothing."""

import asyncio
import contextvars
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from auth.clients import create_client
from auth.registration import Registration
from service.operations.invitations import MOST
from tenancy.accounts import add_user, lock, remove_member, suspend_user
from tenancy.rows import rows_of
from tests.auth.oauth import KEY
from tests.maestro.errors import assert_refused, targets
from tests.maestro.people import colleague, stored
from tests.world import Tenant, World, bearer

PEM = KEY.as_pem(private=False).decode()
LAST = "An account keeps one active admin; make another member admin first."


async def listed(client: httpx.AsyncClient, of: Tenant, **query: str) -> list[dict[str, Any]]:
    """Read the members, page after page of two."""
    found: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        url, parameters = f"{of.url}/members", {**query, **more, "page_size": "2"}
        answer = (await client.get(url, params=parameters, headers=bearer(of.admin))).json()
        found += answer["data"]
        if "page_token_next" not in answer["response_metadata"]:
            return found
        more = {"ctoken": answer["response_metadata"]["page_token_next"]}


async def changed(client: httpx.AsyncClient, of: Tenant, user: UUID, role: str) -> httpx.Response:
    """Give a member another role."""
    url = f"{of.url}/members/{user}"
    return await client.patch(url, json={"role": role}, headers=bearer(of.admin))


async def removed(
    client: httpx.AsyncClient, of: Tenant, user: UUID, token: str | None = None
) -> httpx.Response:
    """Remove a member."""
    return await client.delete(f"{of.url}/members/{user}", headers=bearer(token or of.admin))


async def events(of: Tenant, kind: str) -> list[tuple[UUID | None, str, dict[str, Any]]]:
    """Who did what, as the audit tells."""
    rows = await stored(
        of,
        "SELECT actor, actor_kind, data || jsonb_build_object('before', before, 'after', after) AS told"
        " FROM event WHERE type = $1 ORDER BY id",
        kind,
    )
    return [(row["actor"], row["actor_kind"], msgspec.json.decode(row["told"])) for row in rows]


async def test_members_are_listed_in_the_order_in_which_they_joined_by_role_and_status(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    grace, _ = await colleague(acme, "grace", "admin")
    alan, _ = await colleague(acme, "alan", "sender")
    await suspend_user(str(grace))
    await remove_member(str(alan), acme.id)
    everybody = await listed(client, acme)
    assert [(one["email"], one["role"], one["status"]) for one in everybody] == [
        ("admin@acme.example", "admin", "active"),
        ("member@acme.example", "sender", "active"),
        ("grace@acme.example", "admin", "suspended"),
        ("alan@acme.example", "sender", "removed"),
    ]
    assert [one["status"] for one in await listed(client, acme, role="admin")] == ["active", "suspended"]
    for status in ("active", "suspended", "removed"):
        assert await listed(client, acme, status=status) == [
            one for one in everybody if one["status"] == status
        ]
    assert await listed(client, acme, status="removed", role="admin") == []
    read = (await client.get(f"{acme.url}/members/{grace}", headers=bearer(acme.admin))).json()
    assert read.pop("response_metadata")
    assert read == everybody[2]


async def test_a_change_of_role_holds_for_the_next_request(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    assert (await changed(client, acme, acme.member_id, "admin")).json()["role"] == "admin"
    assert (await client.get(f"{acme.url}/members", headers=bearer(acme.member))).status_code == 200
    assert (await changed(client, acme, acme.member_id, "viewer")).status_code == 200
    assert (await client.get(f"{acme.url}/members", headers=bearer(acme.member))).status_code == 403
    assert [told for *_, told in await events(acme, "member.changed")] == [
        {"user_id": str(acme.member_id), "before": {"role": before}, "after": {"role": after}}
        for before, after in (("sender", "admin"), ("admin", "viewer"))
    ]
    assert (await changed(client, acme, acme.member_id, "viewer")).status_code == 200
    assert len(await events(acme, "member.changed")) == 2


async def test_a_removal_acts_on_the_very_next_request(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    assert (await removed(client, acme, acme.member_id)).status_code == 204
    assert (await client.get(f"{acme.url}/workflows", headers=bearer(acme.member))).status_code == 404
    assert (
        await removed(client, acme, acme.member_id)
    ).status_code == 204  # asked again, as nobody heard the answer
    assert_refused(await changed(client, acme, acme.member_id, "viewer"), 409)
    ((actor, kind, told),) = await events(acme, "member.removed")
    assert (actor, kind) == (acme.admin_id, "user")
    assert told["user_id"] == str(acme.member_id)
    assert "@" not in str(told)


async def test_the_last_active_admin_can_be_neither_removed_nor_demoted(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    grace, _ = await colleague(acme, "grace", "admin")
    await suspend_user(str(grace))
    for refused in (
        await removed(client, acme, acme.admin_id),
        await changed(client, acme, acme.admin_id, "manager"),
    ):
        assert_refused(refused, 409)
        assert refused.json()["detail"] == LAST
    await changed(client, acme, acme.member_id, "admin")
    assert (await removed(client, acme, acme.admin_id)).status_code == 204
    assert_refused(await removed(client, acme, acme.member_id, acme.member), 409)


@pytest.mark.parametrize("verb", ["remove", "demote"])
async def test_of_two_admins_who_put_each_other_out_at_once_one_stays(
    client: httpx.AsyncClient, world: World, verb: str
) -> None:
    acme = world.acme
    for turn in range(5):
        other, token = await colleague(acme, f"other{turn}", "admin")
        pairs = [(other, acme.admin), (acme.admin_id, token)]
        if verb == "remove":
            answers = await asyncio.gather(*(removed(client, acme, who, by) for who, by in pairs))
        else:
            answers = await asyncio.gather(
                *(
                    client.patch(f"{acme.url}/members/{who}", json={"role": "viewer"}, headers=bearer(by))
                    for who, by in pairs
                )
            )
        assert sorted(answer.is_success for answer in answers) == [False, True]
        admins = await stored(
            acme, "SELECT user_id FROM membership WHERE role = 'admin' AND status = 'active'"
        )
        assert len(admins) == 1
        if admins[0]["user_id"] != acme.admin_id:  # the same two begin anew
            await stored(
                acme,
                "UPDATE membership SET role = 'admin', status = 'active' WHERE user_id = $1 RETURNING id",
                acme.admin_id,
            )
            await stored(
                acme, "UPDATE membership SET status = 'removed' WHERE user_id = $1 RETURNING id", other
            )


@pytest.mark.parametrize("verb", ["remove", "demote"])
async def test_who_waits_while_they_are_put_out_administers_nothing(
    client: httpx.AsyncClient, world: World, verb: str
) -> None:
    acme = world.acme
    grace, token = await colleague(acme, "grace", "admin")
    allowed = await create_client(
        Registration(account_id=acme.id, kind="confidential", name="App", public_keys=[PEM])
    )
    integration = f"{acme.url}/integrations/{allowed[0]}"
    waiting: list[tuple[str, str, dict[str, Any] | None]] = [
        ("PATCH", f"{acme.url}/members/{grace}", {"role": "admin"}),
        ("PATCH", f"{acme.url}/members/{acme.member_id}", {"role": "admin"}),
        ("DELETE", f"{acme.url}/members/{acme.member_id}", None),
        ("POST", f"{acme.url}/invitations", {"email": "grace@new.example", "role": "admin"}),
        ("POST", f"{acme.url}/integrations", {"kind": "machine", "name": "Robot", "scopes": ["signature"]}),
        ("PATCH", integration, {"name": "Mine"}),
        ("PUT", f"{integration}/consent", {"scopes": ["signature"]}),
        ("POST", f"{integration}/actions/rotate-secret", None),
        ("DELETE", integration, None),
        ("PATCH", f"{acme.url}/settings", {"name": "Mine"}),
        ("POST", f"{acme.url}/webhooks", {"url": "https://grace.example/"}),
    ]
    put_out = {"remove": "status = 'removed'", "demote": "role = 'viewer'"}[verb]
    outside = contextvars.copy_context()
    async with rows_of(acme.id) as connection:
        await lock(acme.id)
        requests = [
            asyncio.create_task(
                client.request(method, url, json=body, headers=bearer(token)), context=outside.copy()
            )
            for method, url, body in waiting
        ]
        await asyncio.sleep(0.5)
        await connection.execute(f"UPDATE membership SET {put_out} WHERE user_id = $1", grace)
    expected = {"remove": 404, "demote": 403}[verb]
    answers = await asyncio.gather(*requests)
    assert [answer.status_code for answer in answers] == [expected] * len(waiting)


async def test_another_accounts_admin_sees_and_changes_nobody(
    client: httpx.AsyncClient, world: World
) -> None:
    acme, globex = world.acme, world.globex
    for url in (f"{acme.url}/members", f"{globex.url}/members"):
        for user in (globex.admin_id, globex.member_id) if url.startswith(acme.url) else (acme.admin_id,):
            for answer in (
                await client.get(f"{url}/{user}", headers=bearer(acme.admin)),
                await client.patch(f"{url}/{user}", json={"role": "viewer"}, headers=bearer(acme.admin)),
                await client.delete(f"{url}/{user}", headers=bearer(acme.admin)),
            ):
                assert_refused(answer, 404)
    assert_refused(await client.get(f"{globex.url}/members", headers=bearer(acme.admin)), 404)
    roles = await stored(globex, "SELECT role FROM membership WHERE status = 'active' ORDER BY role")
    assert [row["role"] for row in roles] == ["admin", "sender"]


async def invited(client: httpx.AsyncClient, of: Tenant, email: str, **changed: Any) -> httpx.Response:
    """Invite somebody."""
    body = {"email": email, "role": "sender"} | changed
    return await client.post(f"{of.url}/invitations", json=body, headers=bearer(of.admin))


async def test_an_invitation_is_shown_with_its_url_once(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    made = await invited(client, acme, " Grace@New.example ", name="Grace", role="manager")
    assert made.status_code == 201
    body = made.json()
    assert (body["email"], body["name"], body["role"]) == ("grace@new.example", "Grace", "manager")
    assert body["invited_by"] == str(acme.admin_id)
    secret = httpx.URL(body["invitation_url"]).params["secret"]
    read = await client.get(made.headers["location"], headers=bearer(acme.admin))
    assert read.json()["id"] == body["id"]
    assert secret not in read.text
    foreign = made.headers["location"].replace(str(acme.id), str(world.globex.id))
    assert_refused(await client.get(foreign, headers=bearer(world.globex.admin)), 404)
    answer = await client.get(f"{acme.url}/invitations", headers=bearer(acme.admin))
    assert [one["id"] for one in answer.json()["data"]] == [body["id"]]
    assert secret not in answer.text
    ((actor, _, told),) = await events(acme, "invitation.created")
    assert (actor, told["invitation_id"], told["after"]["role"]) == (acme.admin_id, body["id"], "manager")
    assert "grace" not in str(told).lower()
    rows = await stored(acme, "SELECT * FROM invitation")
    assert secret not in str([tuple(row) for row in rows])


async def test_inviting_somebody_who_is_a_user_elsewhere_looks_like_inviting_anybody(
    client: httpx.AsyncClient, world: World
) -> None:
    answers = [
        (await invited(client, world.acme, email)).json()
        for email in ("admin@globex.example", "nobody@globex.example")
    ]
    shown = [{name: value for name, value in answer.items() if isinstance(value, str)} for answer in answers]
    for one in shown:
        for own in ("id", "email", "invitation_url", "created_at", "expires_at"):
            assert one.pop(own)
    assert shown[0] == shown[1]


async def test_members_and_people_who_are_invited_already_are_refused(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    assert_refused(await invited(client, acme, "MEMBER@acme.example"), 409)
    await removed(client, acme, acme.member_id)
    first = await invited(client, acme, "member@acme.example")
    assert first.status_code == 201
    assert_refused(await invited(client, acme, "member@acme.example"), 409)
    url = f"{acme.url}/invitations/{first.json()['id']}"
    assert (await client.delete(url, headers=bearer(acme.admin))).status_code == 204
    assert_refused(await client.delete(url, headers=bearer(acme.admin)), 404)
    assert (await invited(client, acme, "member@acme.example")).status_code == 201
    assert len(await events(acme, "invitation.deleted")) == 1


async def test_an_account_has_a_hundred_open_invitations_at_most_under_concurrency_too(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    await stored(
        acme,
        "INSERT INTO invitation (id, account_id, email, role, secret_hash, invited_by, created_at, expires_at)"
        " SELECT gen_random_uuid(), $1, n || '@new.example', 'viewer', '', $2, now(),"
        " now() + CASE WHEN n = 1 THEN '-1 s' ELSE '1 day' END::interval FROM generate_series(1, $3) AS n RETURNING id",
        acme.id,
        acme.admin_id,
        MOST,
    )
    answers = await asyncio.gather(*(invited(client, acme, f"more{n}@new.example") for n in range(3)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    told = next(answer.json()["detail"] for answer in answers if answer.status_code == 409)
    assert told == f"An account has at most {MOST} open invitations; delete one first."


async def test_invitations_end_with_their_time_and_with_their_inviters_right(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    grace, token = await colleague(acme, "grace", "admin")
    body = {"email": "friend@new.example", "role": "admin"}
    await client.post(f"{acme.url}/invitations", json=body, headers=bearer(token))
    await invited(client, acme, "late@new.example")

    async def waiting() -> list[str]:
        answer = await client.get(f"{acme.url}/invitations", headers=bearer(acme.admin))
        return [one["email"] for one in answer.json()["data"]]

    assert await waiting() == ["friend@new.example", "late@new.example"]
    await changed(client, acme, grace, "manager")
    assert await waiting() == ["late@new.example"]
    await stored(acme, "UPDATE invitation SET expires_at = now() RETURNING id")
    assert await waiting() == []


async def test_an_invitation_names_the_fields_that_are_wrong(client: httpx.AsyncClient, world: World) -> None:
    assert targets(await invited(client, world.acme, "nobody", name="\n")) == {
        "email": "FIELD_INVALID",
        "name": "FIELD_INVALID",
    }
    assert targets(await invited(client, world.acme, "a@new.example", role="machine")) == {
        "role": "FIELD_INVALID"
    }


async def test_another_accounts_admin_neither_sees_nor_ends_invitations(
    client: httpx.AsyncClient, world: World
) -> None:
    made = (await invited(client, world.globex, "new@globex.example")).json()
    for url in (world.acme.url, world.globex.url):
        answer = await client.delete(f"{url}/invitations/{made['id']}", headers=bearer(world.acme.admin))
        assert_refused(answer, 404)
    own = await client.get(f"{world.acme.url}/invitations", headers=bearer(world.acme.admin))
    assert own.json()["data"] == []
    await add_user("new@globex.example", "New", None, world.acme.id, "sender")
    assert len(await stored(world.globex, "SELECT id FROM invitation")) == 1
