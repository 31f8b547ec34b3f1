"""Administrators register, change and delete the integrations of their account, and allow them things for all members."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from auth.allowances import allow_for_account
from auth.bearer import hash_of
from auth.clients import create_client
from auth.consents import remember
from auth.registration import MOST_KEYS, Registration, fingerprint
from service.operations.integrations import MOST, MOST_REDIRECT_URIS
from tenancy.events import OPERATOR
from tenancy.rows import transaction
from tests.auth.oauth import CALLBACK, KEY, OTHER_KEY, App, by_assertion, registered
from tests.maestro.errors import assert_refused, targets
from tests.maestro.people import stored
from tests.world import Tenant, World, bearer

PEM, OTHER_PEM = (key.as_pem(private=False).decode() for key in (KEY, OTHER_KEY))
WEB = {
    "kind": "confidential",
    "name": "Web",
    "redirect_uris": [CALLBACK],
    "scopes": ["signature", "aow_manage"],
}


async def made(client: httpx.AsyncClient, of: Tenant, **changed: Any) -> httpx.Response:
    """Register an integration."""
    return await client.post(f"{of.url}/integrations", json=WEB | changed, headers=bearer(of.admin))


async def url_of(client: httpx.AsyncClient, of: Tenant, **changed: Any) -> str:
    """Register an integration; return where it is."""
    answer = await made(client, of, **changed)
    assert answer.status_code == 201, answer.text
    location: str = answer.headers["location"]
    return location


async def events(of: Tenant, kind: str) -> list[str]:
    """What the audit tells, as text, of whom."""
    rows = await stored(
        of, "SELECT * FROM event WHERE type = $1 AND actor = $2 ORDER BY id", kind, of.admin_id
    )
    return [str(dict(row)) for row in rows]


async def token_of(client: httpx.AsyncClient, client_id: str, secret: str) -> httpx.Response:
    """Ask for a machine's token."""
    fields = {"grant_type": "client_credentials", "scope": "aow_manage signature"}
    return await client.post("/oauth/token", data=fields, auth=(client_id, secret))


async def test_a_machine_is_registered_works_gets_a_new_secret_and_is_deleted(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    answer = await made(client, acme, kind="machine", name=" Robot ", redirect_uris=[])
    assert answer.status_code == 201
    body = answer.json()
    assert (body["kind"], body["name"], body["keys"]) == ("machine", "Robot", [])
    client_id, first = body["id"], body["client_secret"]
    token = (await token_of(client, client_id, first)).json()["access_token"]
    assert (await client.get(f"{acme.url}/workflows", headers=bearer(token))).status_code == 200
    url = answer.headers["location"]
    second = (await client.post(f"{url}/actions/rotate-secret", headers=bearer(acme.admin))).json()[
        "client_secret"
    ]
    assert (await token_of(client, client_id, first)).status_code == 400
    assert (await token_of(client, client_id, second)).status_code == 200
    read = await client.get(url, headers=bearer(acme.admin))
    assert "client_secret" not in read.json()
    assert read.json()["created_by"] == str(acme.admin_id)
    assert (await client.delete(url, headers=bearer(acme.admin))).status_code == 204
    assert (await client.get(f"{acme.url}/workflows", headers=bearer(token))).status_code == 401
    assert_refused(await client.get(url, headers=bearer(acme.admin)), 404)
    for kind in ("client.created", "client.secret-rotated", "client.deleted"):
        (told,) = await events(acme, kind)
        assert client_id in told
        assert not [secret for secret in (first, second, str(hash_of(first))) if secret in told]


async def test_integrations_are_listed_the_oldest_first(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    for name in ("one", "two", "three"):
        await made(client, acme, name=name)
    names: list[str] = []
    url: str | None = f"{acme.url}/integrations?page_size=3"
    while url:
        answer = await client.get(url, headers=bearer(acme.admin))
        names += [one["name"] for one in answer.json()["data"]]
        url = answer.links.get("next", {}).get("url")
    assert names == ["robot", "one", "two", "three"]


async def test_what_is_left_out_of_a_change_stays(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    url = await url_of(client, acme)

    async def changed(**body: Any) -> dict[str, Any]:
        answer = await client.patch(url, json=body, headers=bearer(acme.admin))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return {name: found[name] for name in WEB}

    assert await changed() == WEB
    assert await changed(name="New") == WEB | {"name": "New"}
    uris = ["https://a.example/", "com.example.app:/back"]
    assert await changed(redirect_uris=uris) == WEB | {"name": "New", "redirect_uris": uris}
    assert (await changed(scopes=[]))["scopes"] == []
    assert len(await events(acme, "client.changed")) == 3
    (row,) = await stored(acme, "SELECT origins FROM client WHERE name = 'New'")
    assert row["origins"] == ["https://a.example"]


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (
            {"name": "a\nb", "redirect_uris": ["ftp://a"], "scopes": ["nonsense"], "public_keys": ["key"]},
            {"name", "redirect_uris", "scopes", "public_keys"},
        ),
        ({"kind": "robot"}, {"kind"}),
        ({"redirect_uris": [CALLBACK] * (MOST_REDIRECT_URIS + 1)}, {"redirect_uris"}),
        ({"redirect_uris": ["https://a.example/" + "a" * 2048]}, {"redirect_uris[0]"}),
        ({"public_keys": [PEM] * (MOST_KEYS + 1)}, {"public_keys"}),
        ({"redirect_uris": []}, {""}),
        ({"kind": "machine"}, {""}),
        ({"kind": "machine", "redirect_uris": [], "scopes": ["impersonation"]}, {""}),
        ({"kind": "public", "public_keys": [PEM]}, {""}),
    ],
    ids=[
        "every field",
        "kind",
        "too many URIs",
        "a long URI",
        "too many keys",
        "no entrance",
        "machine with URI",
        "machine for people",
        "public with key",
    ],
)
async def test_what_cannot_be_an_integration_is_refused_by_field(
    client: httpx.AsyncClient, world: World, body: dict[str, Any], wrong: set[str]
) -> None:
    before = await stored(world.acme, "SELECT id FROM client")
    refused = await made(client, world.acme, **body)
    assert set(targets(refused)) == wrong - {""}
    assert refused.json()["detail"]
    assert await stored(world.acme, "SELECT id FROM client") == before


async def test_a_change_is_held_to_the_same_rules(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    url = await url_of(client, acme)
    for body, wrong in (
        ({"redirect_uris": ["http://elsewhere.example/"], "name": "\0"}, {"redirect_uris", "name"}),
        ({"redirect_uris": []}, set()),
        ({"scopes": ["nonsense"]}, {"scopes"}),
        ({"kind": "public"}, {"kind"}),
    ):
        refused = await client.patch(url, json=body, headers=bearer(acme.admin))
        assert set(targets(refused)) == wrong
    assert await events(acme, "client.changed") == []


async def test_keys_are_added_and_forgotten_by_their_id(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    url = await url_of(client, acme)

    async def added(pem: str) -> httpx.Response:
        return await client.post(f"{url}/keys", json={"public_key": pem}, headers=bearer(acme.admin))

    first = await added(PEM)
    assert first.status_code == 201
    (key,) = first.json()["keys"]
    assert key["fingerprint"] == fingerprint(PEM)
    assert UUID(key["id"]).hex == fingerprint(PEM)[:32]
    assert first.headers["location"] == f"{url}/keys/{key['id']}"
    assert len((await added(OTHER_PEM)).json()["keys"]) == 2
    assert_refused(await added(PEM), 409)
    assert targets(await added("nonsense")) == {"public_key": "FIELD_INVALID"}
    assert targets(await added(KEY.as_pem(private=True).decode())) == {"public_key": "FIELD_INVALID"}
    assert (await client.delete(first.headers["location"], headers=bearer(acme.admin))).status_code == 204
    assert_refused(await client.delete(first.headers["location"], headers=bearer(acme.admin)), 404)
    left = (await client.get(url, headers=bearer(acme.admin))).json()["keys"]
    assert [one["fingerprint"] for one in left] == [fingerprint(OTHER_PEM)]
    told = await events(acme, "client.changed")
    assert len(told) == 3
    assert not [text for text in told if "BEGIN" in text]


async def test_a_public_integration_has_neither_secret_nor_key(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    answer = await made(client, acme, kind="public")
    assert "client_secret" not in answer.json()
    url = answer.headers["location"]
    assert_refused(await client.post(f"{url}/actions/rotate-secret", headers=bearer(acme.admin)), 400)
    assert_refused(
        await client.post(f"{url}/keys", json={"public_key": PEM}, headers=bearer(acme.admin)), 400
    )


async def test_an_account_has_a_hundred_integrations_at_most_under_concurrency_too(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    await stored(
        acme,
        "INSERT INTO client (id, account_id, name, kind) SELECT gen_random_uuid(), $1, 'one', 'machine'"
        " FROM generate_series(1, $2) RETURNING id",
        acme.id,
        MOST - 2,
    )
    answers = await asyncio.gather(*(made(client, acme) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]


async def allowed(client: httpx.AsyncClient, of: Tenant, app: App, *scopes: str) -> httpx.Response:
    """Allow an integration scopes for all members."""
    url = f"{of.url}/integrations/{app.id}/consent"
    return await client.put(url, json={"scopes": scopes}, headers=bearer(of.admin))


async def test_what_is_allowed_for_all_members_is_replaced_and_ends_at_once(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    app = await registered(acme.id)
    url = f"{acme.url}/integrations/{app.id}/consent"
    assert_refused(await client.get(url, headers=bearer(acme.admin)), 404)
    assert_refused(await client.delete(url, headers=bearer(acme.admin)), 404)
    both = await allowed(client, acme, app, "signature", "aow_manage")
    assert both.json()["scopes"] == ["aow_manage", "impersonation", "signature"]

    async def issued(member: UUID) -> str:
        answer = await by_assertion(client, app.assertion(member, scope="signature aow_manage"))
        found: str = answer.json()["access_token"]
        return found

    async def works(token: str) -> bool:
        return (await client.get(f"{acme.url}/workflows", headers=bearer(token))).status_code == 200

    token = await issued(acme.member_id)
    assert await works(token)
    more = await allowed(client, acme, app, "signature", "aow_manage", "openid")
    assert "openid" in more.json()["scopes"]
    assert await works(token)
    assert (await client.get(url, headers=bearer(acme.admin))).json()["scopes"] == more.json()["scopes"]
    assert (await allowed(client, acme, app, "signature")).json()["scopes"] == ["impersonation", "signature"]
    assert not await works(token)
    await allowed(client, acme, app, "signature", "aow_manage")
    async with transaction():
        await remember(app.id, acme.admin_id, ["signature", "aow_manage", "impersonation"], acme.id)
    theirs, own = await issued(acme.member_id), await issued(acme.admin_id)
    assert (await client.delete(url, headers=bearer(acme.admin))).status_code == 204
    assert not await works(theirs)
    assert await works(own)  # whoever allowed it themselves goes on
    assert len(await events(acme, "consent.allowed")) == 4
    assert len(await events(acme, "consent.revoked")) == 1


@pytest.mark.parametrize("verb", ["DELETE", "PUT"])
async def test_a_members_own_consent_spares_the_grants_that_it_covers_alone(
    client: httpx.AsyncClient, world: World, verb: str
) -> None:
    acme = world.acme
    app = await registered(acme.id)
    url = f"{acme.url}/integrations/{app.id}/consent"
    await allowed(client, acme, app, "signature", "aow_manage")
    answer = await by_assertion(client, app.assertion(acme.member_id, scope="signature aow_manage"))
    token = answer.json()["access_token"]
    async with transaction():
        await remember(app.id, acme.member_id, ["openid", "signature", "impersonation"], acme.id)
    own = await by_assertion(client, app.assertion(acme.member_id, scope="openid signature"))
    body = {"scopes": ["openid"]} if verb == "PUT" else None
    assert (await client.request(verb, url, json=body, headers=bearer(acme.admin))).is_success
    assert (await client.get(f"{acme.url}/workflows", headers=bearer(token))).status_code == 401
    theirs = await client.get("/oauth/userinfo", headers=bearer(own.json()["access_token"]))
    assert theirs.status_code == 200


async def test_what_cannot_be_allowed_is_refused(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    narrow = await registered(acme.id, scopes=("signature", "impersonation"))
    alone = await registered(acme.id, scopes=("signature",))
    machine = await registered(acme.id, "machine")
    whole = await registered(acme.id)
    for app, scopes in (
        (narrow, ["aow_manage"]),
        (narrow, ["nonsense"]),
        (narrow, []),
        (alone, ["signature"]),
        (machine, ["signature"]),
        (whole, ["signature", "account_manage"]),
    ):
        assert targets(await allowed(client, acme, app, *scopes)) == {"scopes": "FIELD_INVALID"}
    assert await events(acme, "consent.allowed") == []


async def test_another_accounts_admin_sees_and_changes_no_integration(
    client: httpx.AsyncClient, world: World
) -> None:
    acme, globex = world.acme, world.globex
    foreign, _ = await create_client(
        Registration(
            account_id=globex.id,
            kind="confidential",
            name="Theirs",
            redirect_uris=[CALLBACK],
            public_keys=[PEM],
        )
    )
    before = [tuple(row) for row in await stored(globex, "SELECT * FROM client ORDER BY id")]
    for account in (acme, globex):
        refusals = []
        for client_id in (foreign, uuid4()):
            url = f"{account.url}/integrations/{client_id}"
            headers = bearer(acme.admin)
            refusals.append(
                [
                    (answer.status_code, answer.json()["detail"])
                    for answer in (
                        await client.get(url, headers=headers),
                        await client.patch(url, json={"name": "Mine"}, headers=headers),
                        await client.delete(url, headers=headers),
                        await client.post(f"{url}/actions/rotate-secret", headers=headers),
                        await client.post(f"{url}/keys", json={"public_key": OTHER_PEM}, headers=headers),
                        await client.delete(f"{url}/keys/{UUID(fingerprint(PEM)[:32])}", headers=headers),
                        await client.get(f"{url}/consent", headers=headers),
                        await client.put(f"{url}/consent", json={"scopes": ["signature"]}, headers=headers),
                        await client.delete(f"{url}/consent", headers=headers),
                    )
                ]
            )
        assert refusals[0] == refusals[1]
        assert {status for status, _ in refusals[0]} == {404}
    listed = await client.get(f"{acme.url}/integrations", headers=bearer(acme.admin))
    assert [one["name"] for one in listed.json()["data"]] == ["robot"]
    assert [tuple(row) for row in await stored(globex, "SELECT * FROM client ORDER BY id")] == before


async def test_what_clients_may_for_all_members_is_listed_and_ended_other_accounts_clients_too(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    own, foreign = await registered(acme.id), await registered(world.globex.id)
    await allowed(client, acme, own, "signature")
    await allow_for_account(acme.id, foreign.id, ["signature", "aow_manage"])
    found: list[dict[str, Any]] = []
    url: str | None = f"{acme.url}/consents?page_size=1"
    while url:
        answer = await client.get(url, headers=bearer(acme.admin))
        found += answer.json()["data"]
        url = answer.links.get("next", {}).get("url")
    assert {one["client_id"]: (one["scopes"], one["granted_by"]) for one in found} == {
        str(own.id): (["impersonation", "signature"], str(acme.admin_id)),
        str(foreign.id): (["aow_manage", "impersonation", "signature"], str(OPERATOR)),
    }
    assert all(one["client_name"] for one in found)
    answer = await by_assertion(client, foreign.assertion(acme.member_id, scope="signature aow_manage"))
    token = answer.json()["access_token"]
    url = f"{acme.url}/consents/{foreign.id}"
    assert_refused(await client.delete(url, headers=bearer(world.globex.admin)), 404)
    assert (await client.delete(url, headers=bearer(acme.admin))).status_code == 204
    assert_refused(await client.delete(url, headers=bearer(acme.admin)), 404)
    assert (await client.get(f"{acme.url}/workflows", headers=bearer(token))).status_code == 401
    (told,) = await stored(acme, "SELECT data, before FROM event WHERE type = 'consent.revoked'")
    assert msgspec.json.decode(told["before"]) == {"scopes": ["aow_manage", "impersonation", "signature"]}
    assert msgspec.json.decode(told["data"])["grants"] == 1


async def test_allowing_less_tells_how_many_grants_ended(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    app = await registered(acme.id)
    assert (await allowed(client, acme, app, "signature", "aow_manage")).json()["grants_ended"] == 0
    await by_assertion(client, app.assertion(acme.member_id, scope="signature aow_manage"))
    assert (await allowed(client, acme, app, "signature")).json()["grants_ended"] == 1
    (told,) = await stored(
        acme, "SELECT data FROM event WHERE type = 'consent.allowed' ORDER BY id DESC LIMIT 1"
    )
    assert msgspec.json.decode(told["data"])["grants"] == 1


async def test_a_machine_without_scopes_gets_no_token_about_people(
    client: httpx.AsyncClient, world: World
) -> None:
    body = (await made(client, world.acme, kind="machine", redirect_uris=[], scopes=[])).json()
    for scope, status in (("signature", 200), ("openid", 400), ("signature impersonation", 400)):
        fields = {"grant_type": "client_credentials", "scope": scope}
        answer = await client.post("/oauth/token", data=fields, auth=(body["id"], body["client_secret"]))
        assert answer.status_code == status, answer.text


async def test_a_scope_is_kept_once(client: httpx.AsyncClient, world: World) -> None:
    answer = await made(client, world.acme, scopes=["signature", "aow_manage", "signature"])
    assert answer.json()["scopes"] == ["signature", "aow_manage"]
