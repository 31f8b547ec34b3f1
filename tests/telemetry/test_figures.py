"""Who reads the figures, what they are called, what they count, and what it costs to count what the database holds."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from auth.checks import TOKEN_CHECKS
from service import stopping
from service.migrations.service_2026_11_27_telemetry import ALONG_INDEXES, FIGURES
from service.settings import settings
from service.telemetry import endpoints, metrics, scraping, sharing, stored
from service.telemetry.metrics import UNROUTED
from tenancy.postgres import connected
from tests.telemetry.service import held
from tests.tenancy.databases import superuser
from tests.world import World, bearer, trigger, until, until_waiting

TOKEN = "a-token-of-the-operator"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.fixture
async def everything(world: World) -> AsyncIterator[asyncpg.Connection]:
    """A connection that sees the rows of all accounts."""
    async with connected(superuser()) as connection:
        yield connection


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the database anew in each test."""
    monkeypatch.setattr(endpoints, "_scrapes", scraping.Scrapes())


@pytest.fixture
def operator(application: Any) -> httpx.AsyncClient:
    """A caller on this machine."""
    transport = httpx.ASGITransport(app=application, client=("127.0.0.1", 4711))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost:8000")


async def figures(operator: httpx.AsyncClient) -> dict[str, float]:
    """Read all figures: by name and labels, as they are written."""
    answer = await operator.get("/metrics")
    assert answer.status_code == 200
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {"Host": "[::1]:8000"}, 200),
        ("::1", {"Host": "[::1]"}, 200),
        ("127.8.9.1", {"Host": "127.0.0.1:8000"}, 200),
        ("192.0.2.1", {}, 404),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 404),
        ("127.0.0.1", {"X-Forwarded-Foo": "a"}, 404),
        ("127.0.0.1", {"X-Forwarded-": ""}, 404),
        ("127.0.0.1", {"Forwarded": "for=127.0.0.1"}, 404),
        ("127.0.0.1", {"X-Real-IP": "127.0.0.1"}, 404),
        ("127.0.0.1", {"Via": "1.1 proxy"}, 404),
        (
            "127.0.0.1",
            {"Host": "tutti.example"},
            404,
        ),  # a proxy that says nothing, or a name that was made to lead here
        ("192.0.2.1", {"Authorization": f"Bearer {TOKEN}"}, 404),
        ("unix", {}, 404),
    ],
)
async def test_figures_are_for_this_machine_alone_where_no_token_is_set(
    application: Any, peer: str, headers: dict[str, str], status: int
) -> None:
    transport = httpx.ASGITransport(app=application, client=(peer, 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as caller:
        assert (await caller.get("/metrics", headers=headers)).status_code == status


@pytest.mark.parametrize(
    ("public_url", "headers", "status"),
    [
        ("http://127.0.0.1:8000", {}, 200),
        ("http://localhost", {}, 200),
        ("http://[::1]:8000/tutti", {}, 200),
        ("https://tutti.example", {"Host": "127.0.0.1:8000"}, 401),  # as nginx sends it by default
        ("https://tutti.example", {"Host": "127.0.0.1:8000", "Authorization": f"Bearer {TOKEN}"}, 200),
        ("http://127.0.0.1.example:8000", {}, 401),
    ],
)
async def test_figures_are_behind_the_token_where_the_service_is_for_others_too(
    application: Any, monkeypatch: pytest.MonkeyPatch, public_url: str, headers: dict[str, str], status: int
) -> None:
    told = msgspec.structs.replace(settings(), metrics_token=TOKEN, public_url=public_url)
    monkeypatch.setattr(endpoints, "settings", lambda: told)
    transport = httpx.ASGITransport(app=application, client=("127.0.0.1", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as caller:
        assert (await caller.get("/metrics", headers=headers)).status_code == status


@pytest.mark.parametrize(
    ("peer", "shown", "status"),
    [
        ("192.0.2.1", f"Bearer {TOKEN}", 200),
        ("192.0.2.1", f"bearer {TOKEN}", 200),
        ("192.0.2.1", f"Bearer {TOKEN}x", 401),
        ("192.0.2.1", f"Basic {TOKEN}", 401),
        ("192.0.2.1", "Bearer \xff\xfe", 401),
        ("192.0.2.1", "", 401),
        ("127.0.0.1", "", 200),
    ],
)
async def test_figures_are_for_who_shows_the_token_too(
    application: Any, monkeypatch: pytest.MonkeyPatch, peer: str, shown: str, status: int
) -> None:
    told = msgspec.structs.replace(settings(), metrics_token=TOKEN)
    monkeypatch.setattr(endpoints, "settings", lambda: told)
    transport = httpx.ASGITransport(app=application, client=(peer, 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as caller:
        answer = await caller.get("/metrics", headers={b"Authorization": shown.encode("latin-1")})
        assert answer.status_code == status
        assert ("www-authenticate" in answer.headers) == (status == 401)
        assert TOKEN not in repr(told)


@pytest.mark.parametrize(
    "accepted",
    [
        *("application/openmetrics-text;version=1.a", "application/openmetrics-text; version=2.x"),
        *("text/plain;version=\xb2.0", f"text/plain;version={'9' * 5000}", 'text/plain;version="1.0.0"'),
        *(
            "text/plain;version=1.0.0\xff",
            "text/plain;version =.",
            "application/openmetrics-text;version=-1.0",
        ),
        *(
            "text/plain;version=1.a, application/openmetrics-text;version=1.0.0",
            ";;=,,;version",
            "*/*",
            "\xff",
            "",
        ),
    ],
)
async def test_figures_are_plain_text_for_who_accepts_something_odd(
    operator: httpx.AsyncClient, accepted: str
) -> None:
    answer = await operator.get("/metrics", headers={b"Accept": accepted.encode("latin-1")})
    assert (answer.status_code, answer.headers["content-type"]) == (200, PLAIN)
    assert list(text_string_to_metric_families(answer.text))


@pytest.mark.parametrize(
    ("accepted", "told"),
    [
        (PROMETHEUS, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("text/plain;version=0.0.4;q=0.5", PLAIN),
    ],
)
async def test_figures_have_the_form_that_prometheus_asks_for(
    operator: httpx.AsyncClient, accepted: str, told: str
) -> None:
    answer = await operator.get("/metrics", headers={"Accept": accepted})
    assert (answer.status_code, answer.headers["content-type"]) == (200, told)
    assert answer.text.endswith("# EOF\n") == ("openmetrics" in told)


async def test_who_asks_for_figures_while_another_process_keeps_them_is_told_so_and_holds_nobody_up(
    operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sharing, "_folder", tmp_path)
    monkeypatch.setattr(sharing, "READ_SECONDS", 2.0)
    with held(tmp_path):
        asking = [asyncio.create_task(operator.get("/metrics")) for _ in range(50)]
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await asyncio.gather(*(asyncio.to_thread(time.monotonic) for _ in range(20)))
        assert time.monotonic() - began < 1.0  # threads that others need are free
        answers = await asyncio.gather(*asking)
        assert time.monotonic() - began < 6  # they wait together, not one after the other
    for answer in answers:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.text.startswith(f"Process {os.getpid()} keeps the folder of the figures")
    assert (await operator.get("/metrics")).status_code == 200


async def test_figures_that_one_caller_does_not_wait_for_are_told_to_the_others(
    operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def slowly(*_: object) -> list[Metric]:
        read.append(1)
        time.sleep(0.2)
        return []

    monkeypatch.setattr(scraping, "collected", slowly)
    first, other = (asyncio.create_task(operator.get("/metrics")) for _ in range(2))
    await asyncio.sleep(0.1)
    first.cancel()
    assert (await other).status_code == 200
    assert len(read) == 1


async def test_probes_may_be_asked_by_head(operator: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz"):
        assert (await operator.head(path)).status_code == 200
        for answer in (await operator.options(path), await operator.post(path)):
            assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


async def test_figures_count_requests_by_route_and_no_label_names_anybody(
    client: httpx.AsyncClient, operator: httpx.AsyncClient, world: World
) -> None:
    before = await figures(operator)
    url = await trigger(client, world.acme, "greeting", {"who": "Ada"})
    await until(client, world.acme, url, workflow_status="Completed")
    await client.get(f"{world.globex.url}/workflows", headers=bearer(world.acme.admin))
    await client.get(f"{world.acme.url}/workflows")
    await client.get(f"/wp-login/{world.acme.id}.php")
    await client.request("PROPFIND", "/healthz")
    after = await figures(operator)
    grown = {
        name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)
    }
    template = "/v1/accounts/{accountId}/workflows/{workflowId}/actions/trigger"
    assert (
        grown[f"tutti_http_requests_total[('method', 'POST'), ('route', '{template}'), ('status', '201')]"]
        == 1
    )
    listed = "tutti_http_requests_total[('method', 'GET'), ('route', '/v1/accounts/{accountId}/workflows'), ('status', '%s')]"
    assert (grown[listed % 404], grown[listed % 401]) == (1, 1)
    unrouted = [name for name in grown if f"'route', '{UNROUTED}'" in name and "requests_total" in name]
    assert len(unrouted) == 2, unrouted
    assert grown["tutti_token_checks_total[('outcome', 'missing')]"] >= 1
    assert grown["tutti_token_checks_total[('outcome', 'account')]"] == 1
    assert grown["tutti_token_checks_total[('outcome', 'ok')]"] >= 2
    assert grown["tutti_instances_ended_total[('state', 'completed')]"] == 1
    assert grown["tutti_task_duration_seconds_count[('status', 'completed'), ('type', 'set')]"] == 2
    text = "\n".join(after)
    for one in (world.acme, world.globex):
        for name in (str(one.id), one.admin, str(one.workflows["greeting"]), "Ada", "greeting"):
            assert name not in text
    assert "wp-login" not in text


async def test_figures_tell_the_states_of_instances_and_the_queue(
    client: httpx.AsyncClient, operator: httpx.AsyncClient, world: World, everything: asyncpg.Connection
) -> None:
    url = await trigger(client, world.acme, "waiting", {})
    await until_waiting(client, world.acme, url)
    await everything.execute(
        "INSERT INTO job (account_id, instance_id, lane, reason, queued_at) SELECT account_id, id, 'held', 'event',"
        " now() - interval '1 hour' FROM instance"
    )
    found = await figures(operator)
    assert found["tutti_instances[('state', 'waiting')]"] == 1
    assert found["tutti_instances[('state', 'pending')]"] == 0
    assert found["tutti_queue_depth[('lane', 'held')]"] == 1
    assert found["tutti_queue_oldest_due_seconds[('lane', 'advance')]"] < 60  # held jobs are not due
    assert found["tutti_database_answers[('source', 'figures')]"] == 1


async def test_figures_are_told_without_those_of_the_database_when_it_does_not_answer(
    operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(stored, "read", away)
    found = await figures(operator)
    assert found["tutti_database_answers[('source', 'figures')]"] == 0
    assert not any(name.startswith("tutti_queue") for name in found)


async def test_the_database_is_asked_once_for_many_scrapes(
    operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def counting() -> dict[tuple[str, str], float]:
        asked.append(1)
        return {}

    monkeypatch.setattr(stored, "answered", counting)
    for _ in range(5):
        await operator.get("/metrics")
    assert len(asked) == 1


def test_the_readme_names_every_figure_with_its_type_its_labels_and_what_it_means() -> None:
    declared = [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)] + [TOKEN_CHECKS]
    rows = {
        f"| `{one._name}{'_total' if one._type == 'counter' else ''}` | {one._type} "
        f"| {', '.join(f'`{label}`' for label in (*one._labelnames, *(['pid'] if one is metrics.PROCESS else [])))} "
        f"| {one._documentation} |"
        for one in declared
    }
    rows |= {
        f"| `{name}` | gauge | `{label}` | {words} |" for name, (words, label) in stored.DESCRIBED.items()
    }
    told = Path("README.md").read_text()
    assert rows == {line for line in told.splitlines() if line.startswith("| `tutti_")}
    assert len(rows) == len(declared) + len(stored.DESCRIBED)


async def test_readyz_is_not_ready_once_the_process_has_been_told_to_stop(
    operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "_told_at", None)
    monkeypatch.setattr(stopping, "_hearers", set())
    told: list[int] = []
    before = [
        signal.signal(number, lambda number, _: told.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    ]
    try:
        stopping.listen()
        assert (await operator.get("/readyz")).json() == {"status": "ready"}
        signal.raise_signal(signal.SIGTERM)
        answer = await operator.get("/readyz")
        assert (answer.status_code, answer.json()["reason"]) == (503, "The process has been told to stop.")
        assert (await operator.get("/healthz")).status_code == 200
        assert told == [signal.SIGTERM]  # whoever was to hear of it before does still
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({}, None),
        ({("oldest_due_seconds", "advance"): 61.0}, "jobs"),
        ({("oldest_due_seconds", "advance"): 59.0}, None),
        (
            {("oldest_due_seconds", "advance"): 3600.0, ("taken", "advance"): 1.0},
            None,
        ),  # a backlog that is worked on
        ({("oldest_due_seconds", "perform"): 61.0, ("taken", "advance"): 1.0}, "calls and the like"),
        ({("oldest_due_seconds", "timer"): 61.0}, "timers"),
        ({("oldest_due_seconds", "webhook"): 3600.0}, None),  # an endpoint is nobody's readiness
    ],
)
def test_a_queue_that_nobody_takes_from_is_told_in_words(
    found: dict[tuple[str, str], float], reason: str | None
) -> None:
    told = stored.Figures(found, 0).stuck(60)
    assert told is None if reason is None else (told is not None and f"the {reason} that are due" in told)


MANY = 11_000
# Instances that wait, some of them with a timer; jobs of accounts of their own, and of one that has many.
FILL = """
ALTER TABLE instance DISABLE TRIGGER USER;
INSERT INTO instance (id, account_id, workflow_id, version_id, version, name, status, started_at, started_by,
                      started_by_name, workflow_created_by, access_id, access_secret_hash, ended_at)
SELECT gen_random_uuid(), account_id, workflow_id, version_id, version, name,
       'waiting', started_at - n * interval '1 second', started_by,
       started_by_name, workflow_created_by, gen_random_uuid(), access_secret_hash, NULL
FROM (SELECT * FROM instance LIMIT 1) AS instance, generate_series(1, {many}) AS n;
ALTER TABLE instance ENABLE TRIGGER USER;
INSERT INTO job (account_id, lane, reason, leased_until)
SELECT gen_random_uuid(), 'perform', 'publish', now() + interval '1 hour' FROM generate_series(1, {many}) AS n
UNION ALL
SELECT account.id, lane, 'publish', now() + interval '1 hour'
FROM account, (VALUES ('advance'), ('perform'), ('held')) AS lane (lane), generate_series(1, {many} / 3) AS n;
INSERT INTO timer (id, account_id, instance_id, wait, due_at)
SELECT gen_random_uuid(), account_id, id, 1, now() + interval '1 hour' FROM instance ORDER BY id LIMIT 5000
ON CONFLICT DO NOTHING;
ANALYZE instance; ANALYZE job; ANALYZE timer;
"""
LARGE = {"instance", "job", "timer", "webhook_delivery"}


async def test_what_the_database_holds_is_counted_at_a_cost_that_is_bounded_however_much_it_is(
    client: httpx.AsyncClient, world: World, everything: asyncpg.Connection
) -> None:
    await until_waiting(client, world.acme, await trigger(client, world.acme, "waiting", {}))
    await everything.execute(FILL.format(many=MANY))
    read = await cost(everything)
    await everything.execute(FILL.format(many=MANY // 2))
    assert await cost(everything) < 1.3 * read
    found = {(row["figure"], row["label"]): row["value"] for row in await everything.fetch(stored.FIGURES)}
    assert found["instances", "waiting"] == 10_000
    assert found["depth", "perform"] == 10_000
    assert found["depth", "timer"] == 0


async def cost(database: asyncpg.Connection) -> int:
    """Rows that the statement of the figures reads; no large table is read from end to end."""
    async with database.transaction():
        for setting in ALONG_INDEXES:
            await database.execute(f"SET LOCAL {setting} = off")
        told = await database.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {FIGURES}")
    plan = msgspec.json.decode(told)[0]["Plan"]
    nodes = list(below(plan))
    assert {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"} & LARGE == set()
    scans = [node for node in nodes if "Scan" in node["Node Type"] and node.get("Relation Name") in LARGE]
    assert {node["Relation Name"] for node in scans} == LARGE
    return sum(
        int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
        for node in scans
    )


def below(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's nodes."""
    yield plan
    for inner in plan.get("Plans", ()):
        yield from below(inner)
