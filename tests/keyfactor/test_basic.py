"""HTTP Basic in every form that the vendor's clients send, and that it is no way around what holds for logins."""

import asyncio
import base64
import logging
import time
from collections.abc import AsyncIterator
from statistics import median
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
import pytest

from auth import throttle
from auth.allowances import revoke_grants
from auth.bearer import new_secret
from auth.clients import create_client, delete_client, rotate_secret
from auth.passwords import hash_password, proven
from auth.registration import Registration
from auth.throttle import LOGIN_WINDOW, MOST_AT_ONCE, MOST_OF_CLIENT, MOST_OF_PAIR
from service.keyfactor import basic
from service.keyfactor.requests import READ, WRITE
from tenancy.accounts import add_user, create_account, remove_member, set_password, suspend_user
from tests.auth.test_throttle import begin_in_one_window
from tests.keyfactor.conftest import CLIENT, HERE
from tests.keyfactor.errors import assert_refused
from tests.limits.limiting import limited
from tests.world import Tenant, World

EMAIL = "grace@acme.example"
PASSWORD = "correct horse: battery stäple"  # the second colon is the password's own
ROLES = f"{HERE}/Security/Roles"
NOBODYS = "0190f3b4-6a0c-7c3e-9a55-3f8f2d6b1c01"


class Machine(msgspec.Struct, frozen=True):
    """A machine client and its secret."""

    id: UUID
    secret: str


def proof(user: str, password: str = PASSWORD) -> dict[str, str]:
    """Write the headers of a request that comes with a name and a password."""
    return CLIENT | {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


async def status(client: httpx.AsyncClient, user: str, password: str = PASSWORD) -> int:
    """Ask something with a name and a password; return how it was answered."""
    return (await client.get(ROLES, headers=proof(user, password))).status_code


async def machine_of(tenant: Tenant, *scopes: str) -> Machine:
    """Register a machine client."""
    wanted = Registration(account_id=tenant.id, kind="machine", name="pipeline", scopes=scopes)
    client_id, secret = await create_client(wanted)
    assert secret is not None
    return Machine(client_id, secret)


@pytest.fixture(autouse=True)
async def unhurried(
    world: World, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """Nothing is known from the test before, and no window ends in the middle of one."""
    monkeypatch.setattr(throttle, "TOKEN_WINDOW", LOGIN_WINDOW)
    await begin_in_one_window(owner, LOGIN_WINDOW, 30)
    basic._known.clear()
    yield
    assert basic._checking == {}


@pytest.fixture
async def grace(world: World) -> UUID:
    """A member of Acme with a password."""
    return await add_user(EMAIL, "Grace", hash_password(PASSWORD), world.acme.id, "admin")


@pytest.fixture
async def pipeline(world: World) -> Machine:
    """Acme's machine client."""
    return await machine_of(world.acme, READ, WRITE)


async def tokens(owner: asyncpg.Connection) -> int:
    """How many tokens were made for names and passwords."""
    found: int = await owner.fetchval("SELECT count(*) FROM oauth_grant WHERE kind = 'basic'")
    return found


@pytest.mark.parametrize(
    "user",
    [
        EMAIL,
        "GRACE@Acme.example",
        f"Acme\\{EMAIL}",
        f"aCME\\{EMAIL}",
        f"{{id}}\\{EMAIL}",
        f"{{ID}}\\{EMAIL}",
        f"{EMAIL}@Acme",
        f"{EMAIL}@{{id}}",
        "acme.example\\grace",
        f" {EMAIL} ",
    ],
)
async def test_a_person_is_known_in_every_form(
    client: httpx.AsyncClient, world: World, grace: UUID, user: str
) -> None:
    account = str(world.acme.id)
    assert await status(client, user.replace("{id}", account).replace("{ID}", account.upper())) == 200


@pytest.mark.parametrize(
    "user", ["{client}", "{CLIENT}", "Acme\\{client}", "{account}\\{client}", "{client}@acme"]
)
async def test_a_machine_is_known_in_every_form(
    client: httpx.AsyncClient, world: World, pipeline: Machine, user: str
) -> None:
    named = {"client": str(pipeline.id), "CLIENT": str(pipeline.id).upper(), "account": str(world.acme.id)}
    assert await status(client, user.format(**named), pipeline.secret) == 200


@pytest.mark.parametrize(
    "user",
    [
        "nobody@acme.example",
        "grace",
        "Globex\\" + EMAIL,
        f"{EMAIL}@Globex",
        f"{EMAIL}@",
        "Acme\\grace",
        NOBODYS,
        "\0",
        "ada\0@acme.example",
        "x" * 2000,
    ],
)
async def test_whoever_is_not_known_is_told_nothing_more(
    client: httpx.AsyncClient, grace: UUID, user: str
) -> None:
    known = await client.get(ROLES, headers=proof(EMAIL, "wrong"))
    unknown = await client.get(ROLES, headers=proof(user))
    assert_refused(unknown, 401)
    assert unknown.content == known.content
    assert unknown.headers["www-authenticate"] == known.headers["www-authenticate"]


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic ",
        "Basic %%%",
        "Basic bm9jb2xvbg==",  # no colon: a name that is none
        "Basic Og==",  # a colon
        "Basic /////w==",  # no UTF-8
        "Basic " + "YTpi" * 2000,
        "basic " + base64.b64encode(b"   :secret").decode(),
    ],
)
async def test_a_header_that_is_malformed_is_401_and_asks_for_both_proofs(
    client: httpx.AsyncClient, header: str
) -> None:
    answer = await client.get(ROLES, headers=CLIENT | {"Authorization": header})
    assert_refused(answer, 401)
    assert answer.headers["www-authenticate"] == (
        'Basic realm="tutti", charset="UTF-8", Bearer realm="tutti", error="invalid_token"'
    )


async def test_a_person_with_several_accounts_names_the_one_that_they_mean(
    client: httpx.AsyncClient, world: World, grace: UUID
) -> None:
    await add_user(EMAIL, "Grace", None, world.globex.id, "viewer")
    answer = await client.get(ROLES, headers=proof(EMAIL))
    assert "ACCOUNT\\user" in assert_refused(answer, 400)
    assert [await status(client, f"{one}\\{EMAIL}") for one in ("acme", "Globex", world.globex.id)] == [
        200
    ] * 3


async def test_two_accounts_with_one_name_are_told_apart_by_their_ids(
    client: httpx.AsyncClient, world: World, grace: UUID
) -> None:
    other = await create_account("ACME")
    await add_user(EMAIL, "Grace", None, other, "viewer")
    assert [await status(client, f"{one}\\{EMAIL}") for one in ("acme", other)] == [400, 200]


async def test_the_role_in_the_account_holds(client: httpx.AsyncClient, world: World, grace: UUID) -> None:
    await add_user(EMAIL, "Grace", None, world.globex.id, "viewer")
    path = f"{HERE}/Workflow/Definitions"
    body = {"DisplayName": "test", "Key": "1", "WorkflowType": "Enrollment"}
    statuses = [
        (await client.post(path, headers=proof(f"{one}\\{EMAIL}"), json=body)).status_code
        for one in ("Acme", "Globex")
    ]
    assert statuses == [200, 403]


async def test_a_machine_has_the_scopes_that_it_was_registered_for(
    client: httpx.AsyncClient, world: World
) -> None:
    reader, stranger = await machine_of(world.acme, READ), await machine_of(world.acme, "aow_manage")
    assert await status(client, str(reader.id), reader.secret) == 200
    refusal = await client.delete(
        f"{HERE}/Workflow/Instances/{uuid4()}", headers=proof(str(reader.id), reader.secret)
    )
    assert WRITE in assert_refused(refusal, 403)
    assert await status(client, str(stranger.id), stranger.secret) == 403


@pytest.mark.parametrize("kind", ["confidential", "public"])
async def test_only_a_machine_client_is_somebody(client: httpx.AsyncClient, world: World, kind: str) -> None:
    uris = ("https://app.example/callback",)
    client_id, secret = await create_client(
        Registration(account_id=world.acme.id, kind=kind, name="app", redirect_uris=uris, scopes=(READ,))
    )
    assert await status(client, str(client_id), secret or "") == 401


async def test_a_proof_is_checked_once_and_then_known_for_a_while(
    client: httpx.AsyncClient, grace: UUID, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [await status(client, EMAIL) for _ in range(3)] == [200] * 3
    assert await tokens(owner) == 1
    later = time.monotonic() + basic.REMEMBERED_SECONDS + 1
    # The module's clock alone: on the event loop's own one all that pauses would pause for as long.
    monkeypatch.setattr(basic, "time", SimpleNamespace(monotonic=lambda: later))
    assert await status(client, EMAIL) == 200
    assert await tokens(owner) == 2


async def test_many_requests_at_once_are_one_check(
    client: httpx.AsyncClient, grace: UUID, owner: asyncpg.Connection
) -> None:
    assert set(await asyncio.gather(*(status(client, EMAIL) for _ in range(3 * MOST_AT_ONCE)))) == {200}
    assert await tokens(owner) == 1


async def test_nobody_else_is_known_by_somebodys_proof(client: httpx.AsyncClient, grace: UUID) -> None:
    assert await status(client, EMAIL) == 200
    for user, password in (
        (EMAIL, ""),
        (EMAIL, PASSWORD + " "),
        (EMAIL, f"x{PASSWORD}"),
        (f"{EMAIL}:", PASSWORD),
    ):
        assert await status(client, user, password) == 401
    assert await status(client, EMAIL) == 200


async def test_a_new_password_holds_from_the_next_request_on(client: httpx.AsyncClient, grace: UUID) -> None:
    assert await status(client, EMAIL) == 200
    await set_password(EMAIL, hash_password("another password"))
    assert [await status(client, EMAIL), await status(client, EMAIL)] == [401, 401]
    assert await status(client, EMAIL, "another password") == 200


async def test_a_new_secret_holds_from_the_next_request_on(
    client: httpx.AsyncClient, world: World, pipeline: Machine
) -> None:
    name = str(pipeline.id)
    assert await status(client, name, pipeline.secret) == 200
    secret = await rotate_secret(world.acme.id, pipeline.id)
    assert await status(client, name, pipeline.secret) == 401
    assert await status(client, name, secret) == 200
    await delete_client(world.acme.id, pipeline.id)
    assert await status(client, name, secret) == 401


async def test_who_is_suspended_or_removed_is_out_at_once(
    client: httpx.AsyncClient, world: World, grace: UUID
) -> None:
    await add_user(EMAIL, "Grace", None, world.globex.id, "viewer")
    acme, globex = f"acme\\{EMAIL}", f"globex\\{EMAIL}"
    assert [await status(client, acme), await status(client, globex)] == [200, 200]
    await remove_member(EMAIL, world.acme.id)
    assert await status(client, acme) in (401, 404)
    assert await status(client, globex) == 200
    await suspend_user(EMAIL)
    assert await status(client, globex) == 401


async def test_who_was_revoked_and_still_has_the_password_is_known_again(
    client: httpx.AsyncClient, world: World, grace: UUID
) -> None:
    assert await status(client, EMAIL) == 200
    await revoke_grants(user_id=grace, client_id=None, account_id=None)
    assert [await status(client, EMAIL), await status(client, EMAIL)] == [401, 200]


async def test_wrong_passwords_are_counted_as_those_of_logins(client: httpx.AsyncClient, grace: UUID) -> None:
    answers = [await status(client, EMAIL, f"guess {number}") for number in range(MOST_OF_PAIR)]
    assert set(answers) == {401}
    refused = await client.get(ROLES, headers=proof(EMAIL))
    assert_refused(refused, 429)
    assert 1 <= int(refused.headers["retry-after"]) <= LOGIN_WINDOW


async def test_no_form_of_a_name_buys_more_guesses(
    client: httpx.AsyncClient, world: World, grace: UUID
) -> None:
    forms = (EMAIL, EMAIL.upper(), f"Acme\\{EMAIL}", f"{EMAIL}@acme", "acme.example\\grace", f"x\\{EMAIL}")
    for number in range(MOST_OF_PAIR):
        assert await status(client, forms[number % len(forms)], "wrong") == 401
    assert {await status(client, form) for form in forms} == {429}


async def test_guesses_beside_somebody_who_is_known_are_refused_too(
    client: httpx.AsyncClient, grace: UUID
) -> None:
    for number in range(MOST_OF_PAIR):
        assert await status(client, EMAIL, f"guess {number}") == 401
        if number < MOST_OF_PAIR - 1:
            assert await status(client, EMAIL) == 200  # which clears what was counted
    answers = await asyncio.gather(*(status(client, EMAIL, f"more {number}") for number in range(40)))
    assert set(answers) <= {401, 429}
    assert await status(client, EMAIL) == 429


async def test_wrong_secrets_of_a_client_are_counted(client: httpx.AsyncClient, pipeline: Machine) -> None:
    answers = [await status(client, str(pipeline.id), new_secret()) for _ in range(MOST_OF_CLIENT + 1)]
    assert set(answers[:-1]) == {401}
    assert answers[-1] == 429
    assert await status(client, str(pipeline.id), pipeline.secret) == 200  # whoever has it is never refused


async def test_an_unknown_person_takes_as_long_as_a_wrong_password(
    client: httpx.AsyncClient, grace: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "MOST_OF_PAIR", 1000)
    monkeypatch.setattr(throttle, "UNSLOWED", 1000)
    took: dict[str, list[float]] = {EMAIL: [], "nobody@acme.example": []}
    for number in range(11):
        for user, times in took.items():
            began = time.perf_counter()
            assert await status(client, user, f"guess {number}") == 401
            times.append(time.perf_counter() - began)
    known, unknown = (median(times) for times in took.values())
    assert 0.6 < known / unknown < 1.6  # a hash that is not made would be a quarter


async def test_nothing_secret_is_stored_or_logged(
    client: httpx.AsyncClient,
    grace: UUID,
    pipeline: Machine,
    owner: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    guess = "guess of somebody"
    assert await status(client, EMAIL) == 200
    assert await status(client, EMAIL, guess) == 401
    assert await status(client, str(pipeline.id), pipeline.secret) == 200
    rows = [
        str(await owner.fetch(f"SELECT * FROM {table}"))
        for table in ("oauth_grant", "access_token", "throttle", "known_device", "app_user")
    ]
    kept = caplog.text + "".join(rows) + repr(basic._known) + repr(basic._checking)
    for secret in (PASSWORD, guess, pipeline.secret):
        assert secret not in kept
        assert base64.b64encode(secret.encode()).decode().rstrip("=") not in kept
    assert "grace" not in caplog.text


async def test_what_a_proof_is_worth_is_no_bearer_token(
    client: httpx.AsyncClient, grace: UUID, owner: asyncpg.Connection
) -> None:
    assert await status(client, EMAIL) == 200
    (stored,) = [known.token for known in basic._known.values()]
    for text in (stored.hex(), base64.b64encode(stored).decode(), base64.urlsafe_b64encode(stored).decode()):
        headers = CLIENT | {"Authorization": f"Bearer {text}"}
        assert_refused(await client.get(ROLES, headers=headers), 401)


async def test_other_dialects_take_no_password(client: httpx.AsyncClient, world: World, grace: UUID) -> None:
    for path in (f"/v1/accounts/{world.acme.id}/workflows", "/api/orchestration/workflows"):
        assert (await client.get(path, headers=proof(EMAIL))).status_code == 401


async def test_a_password_changed_during_its_check_lets_nobody_in(
    client: httpx.AsyncClient, grace: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def changed_meanwhile(*arguments: Any) -> Any:
        found = await proven(*arguments)
        await set_password(EMAIL, hash_password("another password"))
        return found

    monkeypatch.setattr("auth.basic.proven", changed_meanwhile)
    assert await status(client, EMAIL) == 401


async def test_requests_with_a_password_count_against_the_limit_of_the_account(
    client: httpx.AsyncClient, world: World, grace: UUID
) -> None:
    assert await status(client, EMAIL) == 200
    await limited(world.acme, requests_per_second=1, burst=3)
    answers = [await client.get(ROLES, headers=proof(EMAIL)) for _ in range(8)]
    assert [answer.status_code for answer in answers[:2]] == [200, 200]
    assert answers[0].headers["RateLimit-Policy"] == '"account";q=3;w=3'
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert "more than 1 requests a second" in assert_refused(refused, 429)
    assert refused.headers["retry-after"] == "1"
    stranger = await client.get(ROLES, headers=proof(EMAIL, "wrong"))
    assert_refused(stranger, 401)
    assert "RateLimit" not in stranger.headers
