"""What does not reach its endpoint is tried for more than a day, and an endpoint that fails for days is disabled."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from aiohttp import web

from service.operations import webhook_sending
from service.settings import settings
from service.webhooks.courier import Courier
from service.webhooks.schedule import DELAYS
from tenancy.rows import rows_of
from tests.engine.outside import drip_nothing, free_port, listener
from tests.webhooks.conftest import Clock, Receiver, Webhooks, carry, receiving, tell, well
from tests.world import World


def answering(status: int, body: str = "", **headers: str) -> Any:
    """A receiver that has one answer."""

    async def respond(_: Any) -> web.StreamResponse:
        return web.Response(status=status, text=body, headers=headers)

    return respond


async def attempts(webhooks: Webhooks, made: Any, place: int = 0) -> list[Any]:
    """The attempts of a delivery, by its place in the log."""
    delivery = (await webhooks.deliveries(made))[place]
    shown = await webhooks.ask("GET", f"/{made['id']}/deliveries/{delivery['id']}")
    found: list[Any] = shown["attempts"]
    return found


async def one_attempt(courier: Courier, webhooks: Webhooks, made: Any) -> Any:
    """Let the first delivery be tried once; return what came of it."""
    logged: list[Any] = []
    while not logged:
        await courier.dispatch()
        await courier.send()
        await carry(courier, lambda: True)
        if await webhooks.deliveries(made):
            logged = await attempts(webhooks, made)
    return logged[0]


async def failed_on(courier: Courier, clock: Clock, receiver: Receiver, times: int) -> None:
    """Let every attempt fail that is due within the delays, one after the other."""
    for number in range(1, times + 1):
        await carry(courier, lambda number=number: len(receiver.heard) >= number)  # type: ignore[misc]  # its default
        clock.ahead += timedelta(seconds=1.2 * DELAYS[min(number, len(DELAYS)) - 1] + 1)


async def test_an_attempt_that_fails_is_written_down_and_comes_again_when_its_delay_has_passed(
    world: World, webhooks: Webhooks, courier: Courier, clock: Clock
) -> None:
    async with receiving(answering(503, "x" * 5000)) as receiver:
        made = await webhooks.make(receiver.url, event_types=["test.*"])
        await tell(world.acme, "test.one")
        first = await one_attempt(courier, webhooks, made)
        assert (first["number"], first["status_code"], first["error"]) == (1, 503, "status")
        assert first["answer"] == "x" * 1024
        assert first["duration_ms"] >= 0
        (delivery,) = await webhooks.deliveries(made)
        assert (delivery["status"], delivery["attempt_count"]) == ("pending", 1)
        assert delivery["next_attempt_at"] > delivery["created_at"]
        clock.ahead = timedelta(seconds=4)
        await courier.send()
        await carry(courier, lambda: True)
        assert len(receiver.heard) == 1
        clock.ahead = timedelta(seconds=8)
        await carry(courier, lambda: len(receiver.heard) == 2)
        assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 1
    assert [one["number"] for one in await attempts(webhooks, made)] == [1, 2]


@pytest.mark.parametrize(
    ("url", "error"),
    [
        (lambda: f"http://127.0.0.1:{free_port()}/", "communication"),
        (lambda: "http://10.0.0.1/", "authorization"),
        (lambda: "http://169.254.169.254/latest/meta-data/", "authorization"),
        (lambda: "http://[::1]/", "communication"),
    ],
    ids=["nobody there", "a private network", "the cloud's metadata", "nobody there in IPv6"],
)
async def test_what_is_not_answered_is_told_by_its_kind(
    world: World, webhooks: Webhooks, courier: Courier, url: Any, error: str
) -> None:
    made = await webhooks.make(url(), event_types=["test.*"])
    await tell(world.acme, "test.one")
    logged = await one_attempt(courier, webhooks, made)
    assert logged["error"] == error
    assert logged.keys() == {"number", "at", "duration_ms", "error"}


async def test_an_endpoint_that_says_nothing_is_given_up_in_time(
    world: World, webhooks: Webhooks, courier: Courier
) -> None:
    async with listener(drip_nothing) as silent:
        made = await webhooks.make(silent.url, event_types=["test.*"])
        await tell(world.acme, "test.one")
        logged = await one_attempt(courier, webhooks, made)
    assert logged["error"] == "timeout"
    assert 1900 < logged["duration_ms"] < 6000


async def test_no_redirect_is_followed(world: World, webhooks: Webhooks, courier: Courier) -> None:
    async with receiving() as elsewhere, receiving(answering(307, Location=elsewhere.url)) as receiver:
        made = await webhooks.make(receiver.url, event_types=["test.*"])
        await tell(world.acme, "test.one")
        assert (await one_attempt(courier, webhooks, made))["status_code"] == 307
        assert elsewhere.heard == []


async def test_a_receiver_that_asks_for_time_is_left_alone_for_it(
    world: World, webhooks: Webhooks, courier: Courier, clock: Clock
) -> None:
    async with receiving(answering(429, **{"Retry-After": "600"})) as receiver:
        made = await webhooks.make(receiver.url, event_types=["test.*"])
        await tell(world.acme, "test.one")
        await one_attempt(courier, webhooks, made)
        clock.ahead = timedelta(seconds=590)
        await courier.send()
        await carry(courier, lambda: True)
        assert len(receiver.heard) == 1
        clock.ahead = timedelta(seconds=605)
        await carry(courier, lambda: len(receiver.heard) == 2)


async def test_what_has_been_tried_for_more_than_a_day_is_failed_and_the_next_of_its_instance_is_sent(
    world: World, webhooks: Webhooks, courier: Courier, clock: Clock
) -> None:
    async def poisoned(event: Any) -> web.StreamResponse:
        return web.Response(status=500 if event["type"] == "test.first" else 200)

    async with receiving(poisoned) as receiver:
        made = await webhooks.make(receiver.url, event_types=["test.*"])
        instance = await tell(world.acme, "test.first")
        await tell(world.acme, "test.second", instance)
        await tell(world.acme, "test.other")
        await carry(courier, lambda: [one["type"] for one in receiver.accepted] == ["test.other"])
        await failed_on(courier, clock, receiver, 2 + len(DELAYS))
        await carry(courier, lambda: len(receiver.accepted) == 2)
    assert [one["type"] for one in receiver.accepted] == ["test.other", "test.second"]
    assert clock.ahead > timedelta(hours=24)
    log = {one["event_type"]: one for one in await webhooks.deliveries(made)}
    assert (log["test.first"]["status"], log["test.first"]["attempt_count"]) == ("failed", 1 + len(DELAYS))
    assert log["test.second"]["status"] == "delivered"
    assert "ended_at" in log["test.first"]
    assert "next_attempt_at" not in log["test.first"]


async def test_an_endpoint_that_fails_for_five_days_on_end_is_disabled_and_others_hear_of_it(
    world: World, webhooks: Webhooks, courier: Courier, clock: Clock
) -> None:
    async with receiving(answering(500)) as receiver, receiving() as other:
        made = await webhooks.make(receiver.url, event_types=["test.*"])
        await webhooks.make(other.url, event_types=["webhook.disabled"])
        await tell(world.acme, "test.first")
        await failed_on(courier, clock, receiver, 11)
        assert (await webhooks.ask("GET", f"/{made['id']}"))["failed_attempts"] == 11
        clock.ahead = timedelta(days=4, hours=23)
        await tell(world.acme, "test.second")
        await carry(courier, lambda: len(receiver.heard) == 12)
        assert (await webhooks.ask("GET", f"/{made['id']}"))["enabled"] is True
        clock.ahead = timedelta(days=5, minutes=1)
        await carry(courier, lambda: len(other.accepted) == 1)
        now = await webhooks.ask("GET", f"/{made['id']}")
        assert (now["enabled"], now["disabled_reason"], now["failed_attempts"]) == (False, "failing", 13)
        assert now["failing_since"] < now["disabled_at"]
        clock.ahead += timedelta(days=1)
        await courier.send()
        await carry(courier, lambda: True)
        assert len(receiver.heard) == 13
    (told,) = other.accepted
    assert told["type"] == "webhook.disabled"
    assert told["data"]["webhook_id"] == made["id"]
    assert told["data"]["reason"] == "failing"


async def test_a_success_begins_the_count_anew(
    world: World, webhooks: Webhooks, courier: Courier, clock: Clock
) -> None:
    answers = [500] * 10 + [200] + [500] * 10

    async def respond(_: Any) -> web.StreamResponse:
        return web.Response(status=answers.pop(0))

    async with receiving(respond) as receiver:
        made = await webhooks.make(receiver.url, event_types=["test.*"])
        await tell(world.acme, "test.first")
        await failed_on(courier, clock, receiver, 11)
        shown = await webhooks.ask("GET", f"/{made['id']}")
        assert shown["failed_attempts"] == 0
        assert "failing_since" not in shown
        clock.ahead = timedelta(days=9)
        await tell(world.acme, "test.second")
        await carry(courier, lambda: len(receiver.heard) == 12)
        assert (await webhooks.ask("GET", f"/{made['id']}"))["enabled"] is True


async def test_an_endpoint_that_is_gone_is_disabled_at_once(
    world: World, webhooks: Webhooks, courier: Courier
) -> None:
    async with receiving(answering(410)) as receiver:
        made = await webhooks.make(receiver.url, event_types=["test.*"])
        await tell(world.acme, "test.one")
        await one_attempt(courier, webhooks, made)
    shown = await webhooks.ask("GET", f"/{made['id']}")
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "gone")


async def test_what_waited_when_an_endpoint_was_disabled_is_sent_when_it_is_enabled(
    world: World, webhooks: Webhooks, courier: Courier, clock: Clock
) -> None:
    """What happens in between is not; what had waited behind what was swept meanwhile goes first."""
    refusing = True

    async def respond(event: Any) -> web.StreamResponse:
        return web.Response(status=500) if refusing else await well(event)

    async with receiving(respond) as receiver:
        made = await webhooks.make(receiver.url, event_types=["test.*"])
        instance = await tell(world.acme, "test.first")
        for number in range(2):
            await tell(world.acme, "test.behind", instance, number=number)
        await one_attempt(courier, webhooks, made)
        while len(await webhooks.deliveries(made)) < 3:
            await courier.dispatch()
        await webhooks.ask("POST", f"/{made['id']}/actions/disable")
        await tell(world.acme, "test.between", instance)
        async with rows_of(world.acme.id) as connection:
            await connection.execute(
                "UPDATE webhook_delivery SET created_at = now() - interval '31 days' WHERE type = 'test.first'"
            )
        assert await webhook_sending.sweep() == 1
        refusing = False
        assert (await webhooks.ask("POST", f"/{made['id']}/actions/enable"))["enabled"] is True
        await tell(world.acme, "test.after", instance)
        await carry(courier, lambda: len(receiver.accepted) == 3)
    assert [one["type"] for one in receiver.accepted] == ["test.behind", "test.behind", "test.after"]
    assert [one["data"].get("number") for one in receiver.accepted] == [0, 1, None]


async def test_a_secret_that_cannot_be_read_is_the_operators_mistake_and_not_the_endpoints(
    world: World,
    webhooks: Webhooks,
    courier: Courier,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with receiving() as receiver:
        made = await webhooks.make(receiver.url, event_types=["test.*"])
        await tell(world.acme, "test.one")
        monkeypatch.setenv("TUTTI_SECRET_KEYS", "YWJjZGVmZ2hpamtsbW5vcGFiY2RlZmdoaWprbG1ub3A=")
        settings.cache_clear()
        assert (await one_attempt(courier, webhooks, made))["error"] == "secret"
        assert receiver.heard == []
    assert (await webhooks.ask("GET", f"/{made['id']}"))["failed_attempts"] == 0
    assert "its secret cannot be read" in caplog.text


async def test_a_delivery_can_be_sent_again_under_its_id(
    client: httpx.AsyncClient, world: World, webhooks: Webhooks, courier: Courier
) -> None:
    async with receiving() as receiver:
        made = await webhooks.make(receiver.url, event_types=["test.*"])
        await tell(world.acme, "test.one")
        await carry(courier, lambda: len(receiver.heard) == 1)
        (delivery,) = await webhooks.deliveries(made)
        path = f"/{made['id']}/deliveries/{delivery['id']}/actions/redeliver"
        again = await webhooks.ask("POST", path, status=202)
        assert (again["status"], again["id"]) == ("pending", delivery["id"])
        await carry(courier, lambda: len(receiver.heard) == 2)
        assert len(receiver.verified(made["secret"])) == 2
    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 1
    assert [one["status_code"] for one in await attempts(webhooks, made)] == [204, 204]


async def test_a_delivery_that_waits_for_its_next_attempt_can_be_sent_now(
    world: World, webhooks: Webhooks, courier: Courier
) -> None:
    answers = [500, 200]

    async def respond(_: Any) -> web.StreamResponse:
        return web.Response(status=answers.pop(0))

    async with receiving(respond) as receiver:
        made = await webhooks.make(receiver.url, event_types=["test.*"])
        instance = await tell(world.acme, "test.one")
        await one_attempt(courier, webhooks, made)
        await tell(world.acme, "test.behind", instance)
        while len(await webhooks.deliveries(made)) < 2:
            await courier.dispatch()
        first, behind = await webhooks.deliveries(made)
        held = await webhooks.ask(
            "POST", f"/{made['id']}/deliveries/{behind['id']}/actions/redeliver", status=202
        )
        assert "next_attempt_at" not in held
        await webhooks.ask("POST", f"/{made['id']}/deliveries/{first['id']}/actions/redeliver", status=202)
        answers.append(200)
        await carry(courier, lambda: len(receiver.accepted) == 2)
    assert [one["type"] for one in receiver.accepted] == ["test.one", "test.behind"]


async def test_a_ping_is_sent_whatever_the_endpoint_is_told_of(
    world: World, webhooks: Webhooks, courier: Courier
) -> None:
    async with receiving() as receiver:
        made = await webhooks.make(receiver.url, event_types=["instance.completed"])
        pinged = await webhooks.ask("POST", f"/{made['id']}/actions/ping", status=202)
        await carry(courier, lambda: len(receiver.heard) == 1)
        (told,) = receiver.verified(made["secret"])
    assert (told["type"], told["data"]) == ("webhook.ping", {"account_id": str(world.acme.id)})
    shown = await webhooks.ask("GET", f"/{made['id']}/deliveries/{pinged['delivery_id']}")
    assert (shown["status"], shown["attempts"][0]["status_code"]) == ("delivered", 204)


async def test_a_rotated_secret_signs_beside_the_new_one_for_a_day(
    world: World, webhooks: Webhooks, courier: Courier, clock: Clock
) -> None:
    async with receiving() as receiver:
        made = await webhooks.make(receiver.url, event_types=["test.*"])
        rotated = await webhooks.ask("POST", f"/{made['id']}/actions/rotate-secret")
        assert rotated["secret"] != made["secret"]
        await tell(world.acme, "test.one")
        await carry(courier, lambda: len(receiver.heard) == 1)
        for secret in (made["secret"], rotated["secret"]):
            assert len(receiver.verified(secret)) == 1
        clock.ahead = timedelta(hours=24, seconds=1)
        await tell(world.acme, "test.two")
        await carry(courier, lambda: len(receiver.heard) == 2)
    signatures = [headers["webhook-signature"].split() for headers, _ in receiver.heard]
    assert [len(one) for one in signatures] == [2, 1]


async def test_a_courier_that_lost_its_lease_changes_nothing_any_more(
    world: World, webhooks: Webhooks, courier: Courier, clock: Clock
) -> None:
    """Its attempt is written down beside the other's, and what the other found stands."""
    made = await webhooks.make("http://127.0.0.1:9/", event_types=["test.*"])
    await tell(world.acme, "test.one")
    while not await webhooks.deliveries(made):
        await courier.dispatch()
    free = webhook_sending.Places(8, 8, 8, world.acme.id, [], [])
    (early,) = (await webhook_sending.claim(clock(), timedelta(seconds=30), free)).leases
    (slow,) = await webhook_sending.load(world.acme.id, [early.id], clock())
    assert (await webhook_sending.claim(clock(), timedelta(seconds=30), free)).leases == []
    clock.ahead = timedelta(seconds=31)
    (late,) = (await webhook_sending.claim(clock(), timedelta(seconds=30), free)).leases
    (quick,) = await webhook_sending.load(world.acme.id, [late.id], clock())
    heard = webhook_sending.Result(clock(), clock(), delivered=True, status_code=200)
    lost = webhook_sending.Result(clock(), clock(), delivered=False, error="timeout")
    for due, result in ((quick, heard), (slow, lost)):
        await webhook_sending.finish(due, result, timedelta(days=5), 10)
    (delivery,) = await webhooks.deliveries(made)
    assert delivery["status"] == "delivered"
    assert [one.get("error") for one in await attempts(webhooks, made)] == ["timeout", None]


async def test_a_deleted_endpoint_is_told_nothing_and_leaves_nothing(
    world: World, webhooks: Webhooks, courier: Courier
) -> None:
    async with receiving() as receiver:
        made = await webhooks.make(receiver.url, event_types=["test.*"])
        await tell(world.acme, "test.one")
        while not await webhooks.deliveries(made):
            await courier.dispatch()
        await webhooks.ask("DELETE", f"/{made['id']}", status=204)
        await courier.send()
        await carry(courier, lambda: True)
        assert receiver.heard == []
    assert await webhook_sending.sweep() == 2
    async with rows_of(world.acme.id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM webhook") == 0
