"""The page behind an invitation's URL: who may join as whom, what is shown and what browsers may do with it, what it ends by."""

import asyncio
import re
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import msgspec
import pytest

from auth.consents import allowed, remember
from auth.pages.rendering import HEADERS, STYLE, hash_of
from auth.passwords import check, hash_password
from auth.scopes import MAESTRO
from auth.throttle import MOST_OF_PAIR, MOST_OF_URLS
from tenancy.accounts import add_user, remove_member, set_password, suspend_account, suspend_user
from tenancy.errors import Conflict
from tenancy.events import OPERATOR
from tenancy.rows import transaction
from tests.auth.oauth import App, registered
from tests.auth.person import HASH, PASSWORD, Person, alert_of, reason_of
from tests.auth.rows import everything, forget_failures
from tests.maestro.people import colleague, stored
from tests.world import Tenant, World, bearer

NEW = "grace@new.example"
OURS = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
ENDED = "This invitation does not work"
JOINING = {"answer": "new", "name": "Grace Hopper", "password": PASSWORD, "repeated": PASSWORD}


@pytest.fixture(autouse=True)
async def unthrottled(world: World) -> None:
    """No test's failures are another's."""
    await forget_failures()


async def invited(
    client: httpx.AsyncClient, of: Tenant, email: str = NEW, role: str = "manager", by: str | None = None
) -> str:
    """Invite somebody; return where they answer, as a path."""
    body = {"email": email, "role": role, "name": "Grace"}
    made = await client.post(f"{of.url}/invitations", json=body, headers=bearer(by or of.admin))
    assert made.status_code == 201, made.text
    parts = urlsplit(made.json()["invitation_url"])
    return f"{parts.path}?{parts.query}"


async def answered(client: httpx.AsyncClient, url: str, **fields: str) -> httpx.Response:
    """Send a form of the page."""
    return await client.post(url, data=fields, headers=OURS)


async def members(of: Tenant) -> dict[str, tuple[str, str]]:
    """Role and status of each member by e-mail address."""
    rows = await stored(
        of, "SELECT email, role, membership.status FROM membership JOIN app_user ON app_user.id = user_id"
    )
    return {row["email"]: (row["role"], row["status"]) for row in rows}


async def added(of: Tenant) -> dict[str, Any]:
    """What the newest event tells of a member that was added."""
    rows = await stored(of, "SELECT * FROM event WHERE type = 'member.added' ORDER BY id DESC LIMIT 1")
    return dict(rows[0])


async def test_who_is_new_chooses_name_and_password_and_is_a_member(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    url = await invited(client, acme)
    page = await client.get(url)
    assert page.status_code == 200
    assert "Acme Admin" in page.text
    assert NEW in page.text
    assert 'value="Grace"' in page.text
    answer = await answered(client, url, **JOINING)
    assert answer.status_code == 200, answer.text
    assert "You have joined" in answer.text
    assert (await members(acme))[NEW] == ("manager", "active")
    user_id = await check(NEW, PASSWORD)
    event = await added(acme)
    assert (event["actor"], event["actor_kind"]) == (user_id, "user")
    assert str(acme.admin_id) in event["data"]
    assert "grace" not in f"{event}".lower()
    assert ENDED in reason_of(await client.get(url), 404)
    assert ENDED in reason_of(await answered(client, url, **JOINING), 404)


async def test_who_is_a_user_elsewhere_joins_with_their_password_and_stays_who_they_are(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    await set_password(str(world.globex.admin_id), HASH)
    url = await invited(client, acme, "admin@globex.example")
    answer = await answered(client, url, answer="user", password=PASSWORD, name="Mallory")
    assert "You have joined" in answer.text
    assert "tutti_device" in answer.headers["set-cookie"]
    assert "tutti_session" not in answer.headers["set-cookie"]
    listed = (await client.get(f"{acme.url}/members", headers=bearer(acme.admin))).json()["data"][-1]
    assert (listed["user_id"], listed["name"]) == (str(world.globex.admin_id), "Globex Admin")
    assert (await members(world.globex))["admin@globex.example"] == ("admin", "active")


async def test_a_user_cannot_be_made_anew_nor_joined_for_with_a_wrong_password(
    client: httpx.AsyncClient, world: World
) -> None:
    await set_password(str(world.globex.admin_id), HASH)
    url = await invited(client, world.acme, "admin@globex.example")
    before = await everything()
    taken = await answered(client, url, **JOINING | {"password": "another one", "repeated": "another one"})
    assert "already" in alert_of(taken)
    assert "not the password" in alert_of(await answered(client, url, answer="user", password="wrong"))
    assert await everything() == before
    assert await check("admin@globex.example", PASSWORD) == world.globex.admin_id


@pytest.mark.parametrize("answer", ["user", "new"])
async def test_guesses_on_the_page_are_throttled_like_logins(
    client: httpx.AsyncClient, world: World, answer: str
) -> None:
    await set_password(str(world.globex.admin_id), HASH)
    url = await invited(client, world.acme, "admin@globex.example")
    for _ in range(MOST_OF_PAIR):
        wrong = await answered(
            client, url, **JOINING | {"answer": answer, "password": "wrong one", "repeated": "wrong one"}
        )
        assert wrong.status_code == 400
    refused = await answered(client, url, answer="user", password=PASSWORD)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert "admin@globex.example" not in await members(world.acme)


async def test_the_page_is_the_same_for_users_and_for_nobody(client: httpx.AsyncClient, world: World) -> None:
    shown = []
    for email in ("admin@globex.example", "nobody@globex.example"):
        page = await client.get(await invited(client, world.acme, email))
        shown.append(page.text.replace(email, ""))
    assert shown[0] == shown[1]


async def test_a_login_of_somebody_else_is_told_and_not_used(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    bob = "bob@acme.example"
    await add_user(bob, "Bob", HASH, acme.id, "sender")
    url = await invited(client, acme)
    person = Person(bob)
    await person.reaches(await registered(acme.id), "consent")
    page = await person.http.get(url)
    assert re.search(r'id="invitation-notice".*Bob.*bob@acme\.example.*not theirs.*grace@new', page.text)
    assert "invitation-notice" not in (await client.get(url)).text
    answer = await person.http.post(url, data={"answer": "user"}, headers=OURS)
    assert "not the password" in alert_of(answer)
    answer = await person.http.post(url, data=JOINING, headers=OURS)
    assert "You have joined" in answer.text
    assert {bob, NEW} <= (await members(acme)).keys()
    own = await person.http.get("/oauth/logout")
    assert bob in own.text  # still logged in


async def test_declining_ends_the_invitation_and_nothing_else(
    client: httpx.AsyncClient, world: World
) -> None:
    url = await invited(client, world.acme)
    assert "You have declined" in (await answered(client, url, answer="decline")).text
    assert NEW not in await members(world.acme)
    assert ENDED in reason_of(await client.get(url), 404)
    (event,) = await stored(world.acme, "SELECT * FROM event WHERE type = 'invitation.declined'")
    assert (event["actor"], event["actor_kind"]) == (None, "engine")


async def test_an_invitation_that_is_answered_twice_at_once_is_answered_once(
    client: httpx.AsyncClient, world: World
) -> None:
    await set_password(str(world.globex.admin_id), HASH)
    joining = {"answer": "user", "password": PASSWORD}
    for email, fields in ((NEW, JOINING), ("admin@globex.example", joining)):
        url = await invited(client, world.acme, email)
        answers = await asyncio.gather(
            *(answered(client, url, **fields) for _ in range(3)), answered(client, url, answer="decline")
        )
        assert sorted(answer.status_code for answer in answers) == [200, 404, 404, 404]
        joined = email in await members(world.acme)
        assert joined is ("You have joined" in "".join(answer.text for answer in answers))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": " "}, "A name has 1 to 200 characters."),
        ({"name": "a\nb"}, "A name has no control characters and is valid Unicode."),
        ({"password": "short", "repeated": "short"}, "at least 8 characters"),
        ({"password": "x" * 1025, "repeated": "x" * 1025}, "at most 1024 bytes"),
        ({"repeated": "another one"}, "The two passwords differ."),
    ],
    ids=["no name", "control characters", "short", "long", "two passwords"],
)
async def test_what_is_wrong_with_name_or_password_is_told(
    client: httpx.AsyncClient, world: World, changed: dict[str, str], told: str
) -> None:
    url = await invited(client, world.acme)
    before = await everything()
    assert told in alert_of(await answered(client, url, **JOINING | changed))
    assert await everything() == before


async def test_who_was_removed_comes_back_by_an_invitation(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    await set_password(str(acme.member_id), HASH)
    await remove_member(str(acme.member_id), acme.id)
    url = await invited(client, acme, "member@acme.example", "viewer")
    assert "You have joined" in (await answered(client, url, answer="user", password=PASSWORD)).text
    assert (await members(acme))["member@acme.example"] == ("viewer", "active")


async def test_an_invitation_ends_in_each_of_its_ways(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    _, token = await colleague(acme, "alan", "admin")
    urls = {
        name: await invited(client, acme, f"{name}@new.example", by=token if name == "inviter" else None)
        for name in ("expired", "deleted", "inviter", "account")
    }
    await stored(acme, "UPDATE invitation SET expires_at = now() WHERE email LIKE 'expired%' RETURNING id")
    await client.delete(urls["deleted"].partition("/answer")[0], headers=bearer(acme.admin))
    await suspend_user("alan@acme.example")
    for name in ("expired", "deleted", "inviter"):
        assert ENDED in reason_of(await client.get(urls[name]), 404)
        assert ENDED in reason_of(await answered(client, urls[name], **JOINING), 404)
    assert (await client.get(urls["account"])).status_code == 200
    await suspend_account(acme.id)
    assert ENDED in reason_of(await answered(client, urls["account"], **JOINING), 404)
    assert await check(NEW, PASSWORD) is None


async def test_no_part_of_the_url_can_be_guessed(client: httpx.AsyncClient, world: World) -> None:
    own, other = await invited(client, world.acme), await invited(client, world.globex, "b@new.example")
    before = await everything()
    path, _, secret = own.partition("?secret=")
    foreign = other.partition("?secret=")[2]
    for url in (
        path,
        f"{path}?secret=",
        f"{path}?secret={foreign}",
        f"{path}?secret={secret[:-1]}",
        f"{path}?secret=%00",
        f"{path}?secret=%FF",
        f"{path}?secret={secret}&secret={secret}",
        own.replace(str(world.acme.id), str(world.globex.id)),
        own.replace(str(world.acme.id), "nonsense"),
    ):
        assert ENDED in reason_of(await client.get(url), 404)
        assert ENDED in reason_of(await answered(client, url, **JOINING), 404)
    assert await everything() == before
    refused = [await client.get(path) for _ in range(MOST_OF_URLS)]
    assert refused[-1].status_code == 429
    assert (await client.get(own)).status_code == 200  # the right one is never refused
    instance = f"/v1/accounts/{world.acme.id}/instances/{world.acme.id}/execution?secret=nonsense"
    assert (await client.get(instance)).status_code == 404  # counted by itself


async def test_a_form_of_another_site_or_without_an_answer_does_nothing(
    client: httpx.AsyncClient, world: World
) -> None:
    url = await invited(client, world.acme)
    before = await everything()
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        assert "was not sent from" in reason_of(await client.post(url, data=JOINING, headers=headers))
    for body in ({}, {"answer": "maybe"}):
        assert reason_of(await client.post(url, data=body, headers=OURS))
    assert reason_of(await client.post(url, json=JOINING, headers=OURS))
    assert await everything() == before


async def test_browsers_may_do_as_little_as_can_be_with_the_page(
    client: httpx.AsyncClient, world: World
) -> None:
    url = await invited(client, world.acme, '"<b>&amp;"@new.example')
    for answer in (
        await client.get(url),
        await answered(client, url, answer="user", password="wrong"),
        await answered(client, url, answer="decline"),
        await client.get(url),
    ):
        assert (
            HEADERS.items() <= dict(answer.headers).items()
            or {name: answer.headers[name] for name in HEADERS} == HEADERS
        )
        assert answer.headers["content-security-policy"] == (
            f"default-src 'none'; style-src 'sha256-{hash_of(STYLE)}'; form-action 'self'; "
            "frame-ancestors 'none'; base-uri 'none'"
        )
        assert "<script" not in answer.text
        assert "<b>" not in answer.text
        assert "secret=" not in answer.text


async def test_a_password_is_needed_of_whoever_has_none(client: httpx.AsyncClient, world: World) -> None:
    """A user whom the operator made without a password is not to be taken over by an invitation."""
    url = await invited(client, world.acme, "member@globex.example")
    for fields in ({"answer": "user", "password": ""}, {"answer": "user", "password": "guess"}, JOINING):
        assert alert_of(await answered(client, url, **fields))
    assert "member@globex.example" not in await members(world.acme)
    await set_password("member@globex.example", hash_password("a password of theirs"))
    assert (
        "You have joined"
        in (await answered(client, url, answer="user", password="a password of theirs")).text
    )


async def impostor(client: httpx.AsyncClient, of: Tenant) -> App:
    """Invite a stranger's address and join as them; return a client that they let act for them in all accounts."""
    app = await registered(of.id)
    assert "You have joined" in (await answered(client, await invited(client, of), **JOINING)).text
    user_id = await check(NEW, PASSWORD)
    assert user_id is not None
    async with transaction():
        await remember(app.id, user_id, MAESTRO, None)
    return app


@pytest.mark.parametrize("vouched", ["reset", "set-password"])
async def test_whoever_opened_an_invitation_of_another_account_is_nobody_that_the_operator_adds(
    client: httpx.AsyncClient, world: World, vouched: str
) -> None:
    app = await impostor(client, world.acme)
    before = await everything()
    globex = world.globex.id
    for typed in (None, HASH):
        with pytest.raises(Conflict, match="--reset"):
            await add_user(NEW, "Grace", typed, globex, "admin")
    assert await everything() == before
    own = hash_password("a password of theirs")
    if vouched == "reset":
        user_id = await add_user(NEW, "Grace", own, globex, "admin", reset=True)
    else:
        user_id = await set_password(NEW, own)
        assert await add_user(NEW, "Grace", None, globex, "admin") == user_id
    assert await check(NEW, PASSWORD) is None
    assert await check(NEW, "a password of theirs") == user_id
    async with transaction():
        assert await allowed(app.id, user_id, MAESTRO) is None
    assert await stored(world.acme, "SELECT id FROM event WHERE type = 'consent.revoked'")


async def test_a_password_that_is_typed_for_a_user_is_set_or_refused(world: World) -> None:
    await set_password("admin@acme.example", HASH)
    with pytest.raises(Conflict, match="the one that was typed was not set"):
        await add_user("admin@acme.example", "Ada", hash_password("typed now"), world.globex.id, "viewer")
    assert "admin@acme.example" not in await members(world.globex)
    assert await check("admin@acme.example", PASSWORD) == world.acme.admin_id


async def ended(of: Tenant) -> list[tuple[UUID, dict[str, str]]]:
    """Who ended which invitations, as the audit tells."""
    rows = await stored(of, "SELECT actor, data FROM event WHERE type = 'invitation.ended' ORDER BY id")
    return [(row["actor"], msgspec.json.decode(row["data"])) for row in rows]


async def test_invitations_end_with_what_they_were_made_on(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    grace, token = await colleague(acme, "grace", "admin")
    own, hers = await invited(client, acme, "a@new.example"), await invited(client, acme, by=token)
    await add_user("a@new.example", "A", HASH, acme.id, "viewer")  # otherwise
    assert ENDED in reason_of(await client.get(own), 404)
    await client.patch(f"{acme.url}/members/{grace}", json={"role": "viewer"}, headers=bearer(acme.admin))
    await client.patch(f"{acme.url}/members/{grace}", json={"role": "admin"}, headers=bearer(acme.admin))
    assert ENDED in reason_of(
        await client.get(hers), 404
    )  # she is an administrator again, and it does not come back
    another = await invited(client, acme, by=token)
    await client.delete(f"{acme.url}/members/{grace}", headers=bearer(acme.admin))
    await add_user("grace@acme.example", "Grace", None, acme.id, "admin")
    assert ENDED in reason_of(await client.get(another), 404)
    events = await ended(acme)
    assert [actor for actor, _ in events] == [OPERATOR, acme.admin_id, acme.admin_id]
    assert all(
        told["invitation_id"] in url for (_, told), url in zip(events, (own, hers, another), strict=True)
    )


async def test_an_invitation_changes_nobody_who_is_a_member(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    await set_password(str(acme.member_id), HASH)
    url = await invited(client, acme, role="admin")
    await stored(
        acme, "UPDATE invitation SET email = 'member@acme.example' RETURNING id"
    )  # as a race of old could
    answer = await answered(client, url, answer="user", password=PASSWORD)
    assert "is a sender of the account, and stays so" in answer.text
    assert (await members(acme))["member@acme.example"] == ("sender", "active")
    assert [actor for actor, _ in await ended(acme)] == [acme.member_id]
    assert ENDED in reason_of(await client.get(url), 404)
