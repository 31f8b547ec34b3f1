"""Requests per second and latencies of the hot operations, beside a bare handler's."""

import base64
import contextlib
import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from uuid import UUID

import httpx
import msgspec

from auth.clients import create_client
from auth.registration import Registration
from auth.scopes import MAESTRO
from service.language.sandbox import Sandbox
from service.settings import settings
from tenancy.postgres import connected, pool
from tenancy.schema import migrate
from tests.benchmarks.flows import PAIRS, measure_flows
from tests.benchmarks.load import asked
from tests.benchmarks.options import Options
from tests.benchmarks.reporting import ratio, refuse_wrong, table
from tests.benchmarks.server import DSN
from tests.benchmarks.subjects import Bench, cycled
from tests.cell import Postgres, free_port, use
from tests.world import Tenant, bearer, tenant

DATABASE = "tutti"
FEW = 1000

FILL = """
INSERT INTO instance (id, account_id, workflow_id, version_id, version, name, status, started_at, started_by,
                      started_by_name, last_modified_at, trigger_inputs, total_steps, last_completed_step,
                      workflow_created_by, access_id, access_secret_hash)
SELECT gen_random_uuid(), $1, $2, version.id, version.version, 'bench ' || n, 'waiting', now() - n * interval '1 second',
       $3, 'Bench Admin', now(), '{"who": "Ada", "times": 1}', 2, 1, $3, gen_random_uuid(), '\\x00'
FROM generate_series(1, $4) AS n, (SELECT id, version FROM workflow_version WHERE workflow_id = $2) AS version
"""


# What is exchanged once, made in bulk under names that can be told from their numbers.
FAMILIES = """
INSERT INTO oauth_grant (id, kind, client_id, user_id, scopes, auth_time, created_at)
SELECT gen_random_uuid(), 'authorization_code', $1, $2, $3, now(), now() FROM generate_series(1, $4) RETURNING id
"""
REFRESH_TOKENS = """
INSERT INTO refresh_token (id, token_hash, grant_id, issued_at, expires_at)
SELECT gen_random_uuid(), sha256(convert_to('refresh-' || n, 'UTF8')), grant_id, now(), now() + interval '1 day'
FROM unnest($1::uuid[]) WITH ORDINALITY AS made (grant_id, n)
"""
CODES = """
INSERT INTO authorization_code (id, code_hash, grant_id, redirect_uri, expires_at)
SELECT gen_random_uuid(), sha256(convert_to('code-' || n, 'UTF8')), grant_id, $2, now() + interval '1 day'
FROM unnest($1::uuid[]) WITH ORDINALITY AS made (grant_id, n)
"""
CALLBACK = "https://app.example/callback"
MOST_PER_SECOND = 2000  # exchanges that there is enough for


class Caller(msgspec.Struct, frozen=True):
    """A client, the header that proves it, and a family of its own."""

    id: UUID
    basic: str
    grant_id: UUID | None = None


def form(caller: Caller, fields: str) -> bytes:
    """Write a request for tokens."""
    headers = (
        f"Host: bench\r\nAuthorization: {caller.basic}\r\nContent-Type: application/x-www-form-urlencoded"
    )
    return (
        f"POST /oauth/token HTTP/1.1\r\n{headers}\r\nContent-Length: {len(fields)}\r\n\r\n{fields}".encode()
    )


async def prepare(many: int, superuser: str) -> tuple[Tenant, Tenant, list[UUID]]:
    """Make an account with 1,000 instances of a workflow and one with many."""
    await migrate(settings().database)
    async with pool(4), Sandbox(1) as sandbox:
        small, large = await tenant("small", sandbox), await tenant("large", sandbox)
    async with connected({"dsn": superuser}) as connection:
        await connection.execute("CREATE TABLE bare (id uuid PRIMARY KEY, name text, inputs jsonb)")
        for owner, count in ((small, FEW), (large, many)):
            await connection.execute(FILL, owner.id, owner.workflows["waiting"], owner.admin_id, count)
        await connection.execute("VACUUM ANALYZE instance")
        found = await connection.fetch("SELECT id FROM instance WHERE account_id = $1 LIMIT 100000", large.id)
    return small, large, [row["id"] for row in found]


async def prepare_clients(of: Tenant, many: int, superuser: str) -> tuple[Caller, Caller]:
    """Register a machine client, and one with many refresh tokens and codes of a user's."""
    async with pool(4):
        robot = await create_client(
            Registration(account_id=of.id, kind="machine", name="Robot", scopes=MAESTRO)
        )
        app = await create_client(
            Registration(account_id=of.id, kind="confidential", name="App", redirect_uris=[CALLBACK])
        )
    async with connected({"dsn": superuser}) as connection:
        families = await connection.fetch(FAMILIES, app[0], of.admin_id, list(MAESTRO), many)
        await connection.execute(REFRESH_TOKENS, [row["id"] for row in families])
        logins = await connection.fetch(FAMILIES, app[0], of.admin_id, ["openid", *MAESTRO], many)
        await connection.execute(CODES, [row["id"] for row in logins], CALLBACK)
        await connection.execute("VACUUM ANALYZE oauth_grant, refresh_token, authorization_code")
    return caller(*robot, None), caller(*app, families[0]["id"])


def caller(client_id: UUID, secret: str | None, grant_id: UUID | None) -> Caller:
    """Write the header that proves a client."""
    proof = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    return Caller(client_id, f"Basic {proof}", grant_id)


@contextlib.contextmanager
def served(superuser: str) -> Iterator[int]:
    """Run the server process; yield its port."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.benchmarks.server:application", "--factory"]
    speed = ["--loop", "uvloop", "--http", "service.connections.protocol:Http1Protocol"]
    quiet = ["--no-access-log", "--log-level", "warning"]
    process = subprocess.Popen(
        [*command, *speed, *quiet, "--port", str(port)], env=os.environ | {DSN: superuser}
    )
    try:
        for _ in range(200):
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{port}/readyz").raise_for_status()
                break
            time.sleep(0.1)
        else:
            sys.exit("make bench: the server did not start; its message is above.")
        yield port
    finally:
        process.terminate()
        process.wait()


async def measure_oauth(
    bench: Bench, large: Tenant, clients: tuple[Caller, Caller], known: list[UUID]
) -> None:
    """Ask for tokens; and what asking with one costs."""
    robot, app = clients
    refreshes, codes = itertools.count(1), itertools.count(1)
    await bench.compare(
        {
            "client credentials, bare inserts": cycled(
                [asked("POST", f"/bare/tokens/{robot.id}/{large.id}")]
            ),
            "client credentials": cycled([form(robot, "grant_type=client_credentials")]),
            "refresh, bare inserts": cycled([asked("POST", f"/bare/pairs/{app.grant_id}")]),
            "refresh": lambda: form(app, f"grant_type=refresh_token&refresh_token=refresh-{next(refreshes)}"),
            "code with ID token": lambda: form(app, f"grant_type=authorization_code&code=code-{next(codes)}"),
        }
    )
    chosen = bench.random.sample(known, min(len(known), 5000))
    workflow_id = large.workflows["waiting"]
    url = large.workflow_url("waiting")
    await bench.compare(
        {
            f"get, bare, {kind}": cycled(
                [asked("GET", f"/bare/{kind}/{large.id}/{workflow_id}/{one}", large.admin) for one in chosen]
            )
            for kind in ("unchecked", "checked")
        }
        | {
            "get, beside them": cycled(
                [asked("GET", f"{url}/instances/{one}", large.admin) for one in chosen]
            )
        }
    )


async def measure(bench: Bench, small: Tenant, large: Tenant, known: list[UUID]) -> None:
    """Ask everything."""
    chosen = bench.random.sample(known, min(len(known), 5000))
    url = large.workflow_url("waiting")
    await bench.compare(
        {
            "nothing, bare": cycled([asked("GET", "/bare/nothing")]),
            "get, bare": cycled([asked("GET", f"/bare/instances/{one}") for one in chosen]),
            "get": cycled([asked("GET", f"{url}/instances/{one}", large.admin) for one in chosen]),
        }
    )
    await bench.compare(
        {
            f"list 50 of {bench.options.rows:,}, bare": cycled(
                [asked("GET", f"/bare/workflows/{large.workflows['waiting']}/instances")]
            ),
            f"list 50 of {bench.options.rows:,}": cycled(
                [asked("GET", f"{url}/instances?page_size=50", large.admin)]
            ),
            f"list 50 of {FEW:,}": cycled(
                [asked("GET", f"{small.workflow_url('waiting')}/instances?page_size=50", small.admin)]
            ),
        }
    )
    body = b'{"instance_name": "bench", "trigger_inputs": {"who": "Ada"}}'
    trigger = f"{large.workflow_url('greeting')}/actions/trigger"
    headers = bearer(large.admin) | {"Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{bench.port}") as client:
        first = await client.post(trigger, content=body, headers=headers)
    await bench.compare(
        {
            "trigger, bare insert": cycled([asked("POST", "/bare/instances")]),
            "trigger, bare inserts of the same rows": cycled(
                [asked("POST", f"/bare/instances/{first.json()['instance_id']}/same")]
            ),
            "trigger": cycled([asked("POST", trigger, large.admin, body)]),
        }
    )
    cancels = iter(known)
    await bench.compare(
        {
            "cancel, bare update": cycled([asked("POST", f"/bare/instances/{one}/cancel") for one in chosen]),
            "cancel": lambda: asked("POST", f"{url}/instances/{next(cancels)}/actions/cancel", large.admin),
        }
    )


def report(bench: Bench) -> None:
    """Print the figures and the ratios."""
    results = bench.results
    table(
        f"requests per second, {bench.options.connections} connections",
        ("per second", "p50 ms", "p99 ms", "not 2xx"),
        {
            name: (f"{one.rate:,.0f}", f"{one.p50:.2f}", f"{one.p99:.2f}", str(one.wrong))
            for name, one in results.items()
        },
    )
    for name, found in ratios(bench).items():
        ratio(name, statistics.median(found), turns=found)
    refuse_wrong({name: one.wrong for name, one in results.items()})
    if "get, bare, checked" in results:
        checked, unchecked = (1 / results[f"get, bare, {kind}"].rate for kind in ("checked", "unchecked"))
        ratio("bearer check, share of a get", (checked - unchecked) * results["get, beside them"].rate)


def ratios(bench: Bench) -> dict[str, list[float]]:
    """Compare what was measured with its bare counterpart, and a list of many with one of few, turn by turn."""
    turns = bench.turns
    many = f"list 50 of {bench.options.rows:,}"
    pairs = {
        "get / bare": ("get", "get, bare"),
        "list / bare": (many, f"{many}, bare"),
        "trigger / bare insert": ("trigger", "trigger, bare insert"),
        "trigger / bare inserts of the same rows": ("trigger", "trigger, bare inserts of the same rows"),
        "cancel / bare update": ("cancel", "cancel, bare update"),
        "client credentials / bare inserts": ("client credentials", "client credentials, bare inserts"),
        "refresh / bare inserts": ("refresh", "refresh, bare inserts"),
        **PAIRS,
    }
    found = {name: bench.rates_beside(one, other) for name, (one, other) in pairs.items() if one in turns}
    if many in turns:
        found[f"time of list at {bench.options.rows:,} / at {FEW:,}"] = [
            one.p50 / few.p50 for one, few in zip(turns[many], turns[f"list 50 of {FEW:,}"], strict=True)
        ]
    return found


async def measure_requests(postgres: Postgres, options: Options) -> None:
    """Measure what is asked of the service, beside bare handlers on the same database."""
    use(postgres, DATABASE)  # this process fills the database itself
    superuser = postgres.url("postgres", DATABASE)
    small, large, known = await prepare(options.rows, superuser)
    with served(superuser) as port:
        bench = Bench(options, port)
        if "instances" in options.parts:
            await measure(bench, small, large, known)
        if "formance" in options.parts:
            await measure_flows(bench, large, known)
        if "oauth" in options.parts:
            enough = int(options.rounds * options.seconds * MOST_PER_SECOND)
            clients = await prepare_clients(large, enough, superuser)
            await measure_oauth(bench, large, clients, known)
    report(bench)
