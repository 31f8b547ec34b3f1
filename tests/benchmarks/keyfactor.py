"""The Keyfactor dialect's lists of instances among a million: how long a page takes, its total included.

Totals above 10,000 are counted once a minute; how long the first such answer takes is told beside the others.
"""

import time
from typing import Any
from uuid import UUID

import httpx
import msgspec

from auth.clients import issue_token
from service.keyfactor.requests import READ
from tenancy.postgres import pool
from tests.benchmarks.lists import Bench
from tests.benchmarks.load import percentile
from tests.benchmarks.options import Options
from tests.benchmarks.reporting import OUT, table
from tests.cell import ADMINISTRATOR, Cell, Postgres, use

LIFE = 3600
TIMES = 40  # that each list is asked for, in each round
ALL, MINE, ASSIGNED = "", "/My", "/AssignedToMe"
CLIENT = {"x-keyfactor-requested-with": "APIClient"}

Asked = tuple[str, dict[str, Any]]
LISTS: dict[str, Asked] = {
    "default": (ALL, {}),
    "default, page 1,000": (ALL, {"pageReturned": 1000}),
    "default, backwards": (ALL, {"sortAscending": 1}),
    "Status Suspended": (ALL, {"queryString": 'Status -eq "Suspended"'}),
    "Status Failed": (ALL, {"queryString": "Status -eq 3"}),
    "Status CanceledForRestart": (ALL, {"queryString": "Status -eq 6"}),
    "My": (MINE, {}),
    "My, Status Suspended": (MINE, {"queryString": "Status -eq 2"}),
    "AssignedToMe": (ASSIGNED, {}),
    "of a week": (ALL, {"queryString": 'StartDate -ge "%TODAY-7%"'}),
    "of a definition": (ALL, {"queryString": "DefinitionId -eq {workflow}"}),
    "newest first": (ALL, {"sortField": "StartDate", "sortAscending": 1}),
    "by Status": (ALL, {"sortField": "Status"}),
    "Title contains": (ALL, {"queryString": 'Title -contains "voice 0000001"'}),
}


async def measure_keyfactor(postgres: Postgres, options: Options) -> None:
    """Fill a database, then ask for lists in turn."""
    bench = Bench(Cell(postgres, "bench_keyfactor"))
    times: dict[str, list[float]] = {name: [] for name in LISTS}
    try:
        await bench.prepare(msgspec.structs.replace(options, accounts=1))
        headers = CLIENT | {"Authorization": f"Bearer {await token(postgres, bench.cell)}"}
        url = f"http://127.0.0.1:{bench.client.port}/KeyfactorAPI/Workflow/Instances"
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
            first = {name: await ask(client, asked, bench.known) for name, asked in LISTS.items()}
            for _ in range(TIMES * options.rounds):
                for name, asked in LISTS.items():
                    times[name].append((await ask(client, asked, bench.known))[0])
    finally:
        bench.cell.end()
    rows = {
        name: (
            first[name][1],
            f"{first[name][0] * 1000:,.1f}",
            *(f"{percentile(found, share):.1f}" for share in (0.5, 0.95)),
        )
        for name, found in times.items()
    }
    OUT.print(f"pages of 50 among {options.rows:,} instances of an account, milliseconds")
    table("Keyfactor's lists of instances", ("in all", "first", "p50", "p95"), rows)


async def ask(client: httpx.AsyncClient, asked: Asked, known: dict[str, str]) -> tuple[float, str]:
    """Ask for a page; return the seconds it took, and how many there are in all, or how it was refused."""
    path, query = asked
    filled = {name: str(value).format(**known) for name, value in query.items()}
    began = time.perf_counter()
    answer = await client.get(path, params=filled)
    took = time.perf_counter() - began
    return took, answer.headers.get("x-total-count", f"refused: {answer.status_code}")


async def token(postgres: Postgres, cell: Cell) -> str:
    """Give the account's administrator a token of this dialect."""
    async with cell.rows() as rows:
        person = await rows.fetchval("SELECT id FROM app_user WHERE email = $1", ADMINISTRATOR)
    use(postgres, cell.database)
    async with pool(1):
        return await issue_token(UUID(cell.acme.id), ("user", person), (READ,), LIFE)
