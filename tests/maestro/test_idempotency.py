"""Triggers that come again: by a key of the caller's, and as the vendor's SDKs send them again by themselves."""

import asyncio
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
import pytest
from litestar.exceptions import LitestarException

from auth.clients import issue_token
from auth.scopes import MAESTRO
from service.engine import trigger_keys
from tenancy.rows import rows_of
from tests.maestro.errors import assert_refused, targets
from tests.waiting import eventually
from tests.world import GREETING, LIFE, Tenant, World, bearer

SDK = "docusign-sdk/v1/1.0.0-beta.8/typescript/node_20.20.2/2.882.0/@docusign/iam-sdk"
BODY: dict[str, Any] = {"instance_name": "order 7", "trigger_inputs": {"who": "Ada", "times": 2}}


async def send(
    client: httpx.AsyncClient,
    tenant: Tenant,
    key: str | None = None,
    body: dict[str, Any] = BODY,
    **changed: Any,
) -> httpx.Response:
    """Trigger the greeting as the tenant's administrator, unless told otherwise."""
    headers = bearer(changed.pop("token", tenant.admin))
    if key is not None:
        headers["Idempotency-Key"] = key
    if (agent := changed.pop("agent", None)) is not None:
        headers["User-Agent"] = agent
    url = f"{tenant.workflow_url(changed.pop('workflow', 'greeting'))}/actions/trigger"
    return await client.post(url, json=body, headers=headers)


async def instances_of(tenant: Tenant) -> int:
    """Count the tenant's instances."""
    async with rows_of(tenant.id) as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM instance")
    return count


async def keys_of(tenant: Tenant) -> int:
    """Count what the tenant's triggers are recognised by."""
    async with rows_of(tenant.id) as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM trigger_key")
    return count


def of_instance(response: httpx.Response) -> tuple[int, str, str, str]:
    """What an answer tells of the instance, and how."""
    answer = response.json()
    return response.status_code, answer["instance_id"], answer["instance_url"], response.headers["location"]


def is_replayed(response: httpx.Response) -> bool:
    """Whether an answer says that it was given before."""
    assert response.status_code == 201, response.text
    return bool(response.headers.get("idempotent-replayed") == "true")


async def test_same_key_and_body_again_is_answered_as_before_and_starts_nothing(
    client: httpx.AsyncClient, world: World
) -> None:
    key = str(uuid4())
    first = await send(client, world.acme, key)
    assert not is_replayed(first)
    assert "idempotent-replayed" not in first.headers
    for _ in range(2):
        again = await send(client, world.acme, key)
        assert is_replayed(again)
        assert of_instance(again) == of_instance(first)
        assert again.json()["request_id"] == again.headers["x-request-id"] != first.json()["request_id"]
    assert await instances_of(world.acme) == 1


async def test_members_of_a_body_may_come_in_another_order(client: httpx.AsyncClient, world: World) -> None:
    turned = {"trigger_inputs": {"times": 2, "who": "Ada"}, "instance_name": "order 7"}
    first = await send(client, world.acme, "order-7")
    assert of_instance(await send(client, world.acme, "order-7", turned)) == of_instance(first)


@pytest.mark.parametrize(
    "body",
    [
        BODY | {"instance_name": "order 8"},
        BODY | {"trigger_inputs": {"who": "Bob", "times": 2}},
        BODY | {"trigger_inputs": {"who": "Ada", "times": 2, "polite": False}},
        BODY | {"trigger_inputs": {"nonsense": 1}},
    ],
    ids=["name", "input", "one more input", "inputs that do not fit"],
)
async def test_same_key_with_another_body_is_refused(
    client: httpx.AsyncClient, world: World, body: dict[str, Any]
) -> None:
    await send(client, world.acme, "order-7")
    refused = await send(client, world.acme, "order-7", body)
    assert targets(refused, 422) == {"Idempotency-Key": "IDEMPOTENCY_KEY_REUSED"}
    assert "new key" in refused.json()["detail"]
    assert await instances_of(world.acme) == 1


async def test_key_belongs_to_its_account_caller_and_workflow(
    client: httpx.AsyncClient, world: World
) -> None:
    acme, globex = world.acme, world.globex
    await acme.publish({**GREETING, "document": {**GREETING["document"], "name": "other", "title": "other"}})
    answers = [
        await send(client, acme, "order-7"),
        await send(client, acme, "order-7", token=acme.member),
        await send(client, acme, "order-7", token=acme.machine),
        await send(client, acme, "order-7", workflow="other"),
        await send(client, globex, "order-7"),
    ]
    assert [is_replayed(answer) for answer in answers] == [False] * 5
    assert len({answer.json()["instance_id"] for answer in answers}) == 5
    another_token = await issue_token(acme.id, ("user", acme.admin_id), MAESTRO, LIFE)
    again = await send(client, acme, "order-7", token=another_token)
    assert of_instance(again) == of_instance(answers[0])


async def test_same_key_many_times_at_once_starts_one_instance(
    client: httpx.AsyncClient, world: World
) -> None:
    answers = await asyncio.gather(*(send(client, world.acme, "order-7") for _ in range(20)))
    assert len({of_instance(answer) for answer in answers}) == 1
    assert sorted(is_replayed(answer) for answer in answers) == [False] + [True] * 19
    assert await instances_of(world.acme) == 1


@pytest.mark.parametrize(
    "key", ["", " ", "a" * 256, "a\tb", "caf\u00e9"], ids=["empty", "blank", "256", "tab", "not ASCII"]
)
async def test_malformed_key_is_refused(client: httpx.AsyncClient, world: World, key: str) -> None:
    url = f"{world.acme.workflow_url('greeting')}/actions/trigger"
    headers = [(b"authorization", f"Bearer {world.acme.admin}".encode())]
    headers.append((b"idempotency-key", key.encode("latin-1")))
    refused = await client.post(url, json=BODY, headers=headers)
    assert targets(refused) == {"Idempotency-Key": "FIELD_INVALID"}
    assert await instances_of(world.acme) == 0


async def test_two_keys_are_refused(client: httpx.AsyncClient, world: World) -> None:
    url = f"{world.acme.workflow_url('greeting')}/actions/trigger"
    headers = [*bearer(world.acme.admin).items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert_refused(await client.post(url, json=BODY, headers=headers), 400)


async def test_malformed_key_tells_nothing_to_who_may_not_know(
    client: httpx.AsyncClient, world: World
) -> None:
    assert_refused(await send(client, world.acme, "", token="unknown"), 401)
    assert_refused(await send(client, world.acme, "", token=world.globex.admin), 404)


@pytest.mark.parametrize("key", ["a", "a" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "order 7 / again"])
async def test_any_printable_text_is_a_key(client: httpx.AsyncClient, world: World, key: str) -> None:
    first = await send(client, world.acme, key)
    assert is_replayed(await send(client, world.acme, key))
    assert not is_replayed(first)


async def test_refused_trigger_leaves_its_key_unused(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    wrong = BODY | {"trigger_inputs": {"who": 7}}
    assert_refused(await send(client, acme, "order-7", wrong), 400)
    await client.post(f"{acme.workflow_url('greeting')}/actions/pause", headers=bearer(acme.admin))
    assert_refused(await send(client, acme, "order-7"), 400)
    await client.post(f"{acme.workflow_url('greeting')}/actions/resume", headers=bearer(acme.admin))
    assert await keys_of(acme) == 0
    assert not is_replayed(await send(client, acme, "order-7"))


async def test_answer_stays_the_same_whatever_becomes_of_the_workflow(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    first = await send(client, acme, "order-7")
    strict = {"document": {"type": "object", "required": ["nothing that was sent"]}}
    newer = {**GREETING["document"], "version": "2.0.0"}
    await acme.publish({**GREETING, "document": newer, "input": {"schema": strict}})
    assert of_instance(await send(client, acme, "order-7")) == of_instance(first)
    for action in ("pause", "archive"):
        await client.post(f"{acme.workflow_url('greeting')}/actions/{action}", headers=bearer(acme.admin))
        assert of_instance(await send(client, acme, "order-7")) == of_instance(first)


async def test_secret_in_the_url_is_the_instances_and_stored_nowhere(
    client: httpx.AsyncClient, world: World
) -> None:
    answers = [await send(client, world.acme, "order-7"), await send(client, world.acme, "order-7")]
    for answer in answers:
        query = parse_qs(urlsplit(answer.json()["instance_url"]).query)
        async with rows_of(world.acme.id) as connection:
            row = await connection.fetchrow(
                "SELECT access_id, access_secret_hash, (SELECT trigger_key::text FROM trigger_key) AS key"
                " FROM instance WHERE id = $1",
                UUID(answer.json()["instance_id"]),
            )
        assert row is not None
        (secret,) = query["mtsec"]
        assert len(secret) == 43
        assert row["access_secret_hash"] == hashlib.sha256(secret.encode()).digest()
        assert query["mtid"] == [str(row["access_id"])]
        for text in (secret, "order-7"):
            assert text not in row["key"]
            assert text.encode().hex() not in row["key"]


async def test_instances_of_the_same_key_in_two_accounts_have_secrets_of_their_own(
    client: httpx.AsyncClient, world: World
) -> None:
    urls = [(await send(client, one, "1")).json()["instance_url"] for one in (world.acme, world.globex)]
    secrets = {parse_qs(urlsplit(url).query)["mtsec"][0] for url in urls}
    assert len(secrets) == 2


async def test_key_is_known_for_a_day_and_then_swept(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    first = await send(client, acme, "order-7")
    await send(client, acme, "order-8")
    async with rows_of(acme.id) as connection:
        left = await connection.fetchval("SELECT min(expires_at - now()) FROM trigger_key")
        assert 86_300 < left.total_seconds() <= 86_400
        await connection.execute(
            "UPDATE trigger_key SET expires_at = now() WHERE instance_id = $1",
            UUID(first.json()["instance_id"]),
        )
    second = await send(client, acme, "order-7")
    assert not is_replayed(second)
    assert of_instance(await send(client, acme, "order-7")) == of_instance(second)
    async with rows_of(acme.id) as connection:
        await connection.execute(
            "UPDATE trigger_key SET expires_at = now() WHERE instance_id = $1",
            UUID(second.json()["instance_id"]),
        )
    assert await trigger_keys.sweep() == 1
    assert await keys_of(acme) == 1


async def test_key_that_another_request_holds_for_long_is_a_conflict(
    client: httpx.AsyncClient, world: World, owner: asyncpg.Connection
) -> None:
    acme = world.acme
    await send(client, acme, "order-7")
    async with rows_of(acme.id) as connection:
        stored = await connection.fetchval("DELETE FROM trigger_key RETURNING to_jsonb(trigger_key)::text")
    async with owner.transaction():
        await owner.execute("SELECT set_config('app.account_id', $1, true)", str(acme.id))
        insert = (
            "INSERT INTO trigger_key SELECT (jsonb_populate_record(NULL::trigger_key, $1::text::jsonb)).*"
        )
        await owner.execute(insert, stored)
        refused = await send(client, acme, "order-7")
        assert_refused(refused, 409)
        assert "try again" in refused.json()["detail"]
    assert is_replayed(await send(client, acme, "order-7"))
    assert await instances_of(acme) == 1


# What SDKs send again by themselves


async def lost(application: Any, tenant: Tenant, *, crash: bool = False, **changed: Any) -> None:
    """Trigger as an SDK does that hangs up before its answer, or whose server dies before it has given one."""
    content = msgspec.json.encode(changed.get("body", BODY))
    headers = bearer(changed.get("token", tenant.admin)) | {"User-Agent": changed.get("agent", SDK)}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": f"{tenant.workflow_url('greeting')}/actions/trigger",
        "raw_path": f"{tenant.workflow_url('greeting')}/actions/trigger".encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("tutti.test", 80),
    }
    messages = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        if crash:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if crash:
            raise ConnectionResetError

    try:
        await application(scope, receive, send)
    except LitestarException:
        assert crash


@pytest.mark.parametrize("how", [{"crash": False}, {"crash": True}], ids=["client hangs up", "server dies"])
async def test_trigger_that_an_sdk_repeats_as_no_answer_reached_it_starts_nothing(
    client: httpx.AsyncClient, application: Any, world: World, how: dict[str, bool]
) -> None:
    acme = world.acme
    await lost(application, acme, **how)
    assert await instances_of(acme) == 1
    again = await send(client, acme, agent=SDK)
    assert is_replayed(again)
    assert await instances_of(acme) == 1
    async with rows_of(acme.id) as connection:
        row = await connection.fetchrow("SELECT id, access_id, access_secret_hash FROM instance")
    assert row is not None
    query = parse_qs(urlsplit(again.json()["instance_url"]).query)
    assert again.json()["instance_id"] == str(row["id"])
    assert query["mtid"] == [str(row["access_id"])]
    assert row["access_secret_hash"] == hashlib.sha256(query["mtsec"][0].encode()).digest()


async def test_repeated_trigger_whose_answer_is_lost_too_may_be_repeated_again(
    client: httpx.AsyncClient, application: Any, world: World
) -> None:
    acme = world.acme
    for _ in range(3):
        await lost(application, acme)
    assert is_replayed(await send(client, acme, agent=SDK))
    assert await instances_of(acme) == 1


async def test_once_an_sdk_has_its_answer_the_same_trigger_starts_anew(
    client: httpx.AsyncClient, application: Any, world: World
) -> None:
    acme = world.acme
    await lost(application, acme)
    assert is_replayed(await send(client, acme, agent=SDK))
    for number in range(2, 5):
        assert not is_replayed(await send(client, acme, agent=SDK))
        assert await instances_of(acme) == number


async def test_same_trigger_of_an_sdk_many_times_at_once_starts_as_many(
    client: httpx.AsyncClient, world: World
) -> None:
    answers = await asyncio.gather(*(send(client, world.acme, agent=SDK) for _ in range(20)))
    assert not any(is_replayed(answer) for answer in answers)
    assert len({answer.json()["instance_id"] for answer in answers}) == 20


async def test_answered_triggers_of_sdks_leave_nothing(client: httpx.AsyncClient, world: World) -> None:
    for _ in range(5):
        await send(client, world.acme, agent=SDK)

    async def nothing_is_left() -> bool:
        return not await keys_of(world.acme)

    await eventually(nothing_is_left, 5)


@pytest.mark.parametrize(
    "changed",
    [
        {"body": BODY | {"instance_name": "order 8"}},
        {"body": BODY | {"trigger_inputs": {"who": "Bob"}}},
        {"agent": "curl/8.5.0"},
        {"key": "order-7"},
    ],
    ids=["another name", "other inputs", "no SDK", "a key"],
)
async def test_anything_else_than_the_same_trigger_of_an_sdk_starts_anew(
    client: httpx.AsyncClient, application: Any, world: World, changed: dict[str, Any]
) -> None:
    await lost(application, world.acme)
    assert not is_replayed(await send(client, world.acme, **({"agent": SDK} | changed)))
    assert await instances_of(world.acme) == 2


async def test_another_token_is_no_repetition(
    client: httpx.AsyncClient, application: Any, world: World
) -> None:
    await lost(application, world.acme)
    assert not is_replayed(await send(client, world.acme, agent=SDK, token=world.acme.machine))


async def test_who_is_no_sdk_is_not_recognised_without_a_key(
    client: httpx.AsyncClient, application: Any, world: World
) -> None:
    await lost(application, world.acme, agent="curl/8.5.0")
    assert await keys_of(world.acme) == 0
    assert not is_replayed(await send(client, world.acme, agent="curl/8.5.0"))


async def test_unanswered_trigger_of_an_sdk_is_known_for_a_minute(
    client: httpx.AsyncClient, application: Any, world: World
) -> None:
    acme = world.acme
    await lost(application, acme)
    async with rows_of(acme.id) as connection:
        left = await connection.fetchval("SELECT expires_at - made_at FROM trigger_key")
        assert left.total_seconds() == pytest.approx(60, abs=0.1)
        await connection.execute("UPDATE trigger_key SET expires_at = now()")
    assert not is_replayed(await send(client, acme, agent=SDK))


async def test_answer_that_another_process_is_about_to_give_is_waited_for(
    client: httpx.AsyncClient, application: Any, world: World
) -> None:
    acme = world.acme
    await lost(application, acme)
    async with rows_of(acme.id) as connection:
        await connection.execute("UPDATE trigger_key SET made_at = now() + interval '1 second'")
        key_id = await connection.fetchval("SELECT id FROM trigger_key")
    second = asyncio.create_task(send(client, acme, agent=SDK))
    await asyncio.sleep(0.2)
    assert not second.done()
    await trigger_keys.forget([key_id])
    assert not is_replayed(await second)
    assert await instances_of(acme) == 2


async def test_forgetting_leaves_keys_of_callers(client: httpx.AsyncClient, world: World) -> None:
    await send(client, world.acme, "order-7")
    async with rows_of(world.acme.id) as connection:
        key_id = await connection.fetchval("SELECT id FROM trigger_key")
    await trigger_keys.forget([key_id])
    assert is_replayed(await send(client, world.acme, "order-7"))
