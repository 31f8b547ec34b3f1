"""Every list with every filter among millions: its first page beside its 1,000th (or last), in time and in rows read.

One account has `--rows` instances and everything else that its lists can show many of; `--accounts` in all have as many.
"""

import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import httpx
import msgspec

from service.app import create_app, create_litestar
from tests.benchmarks.engine import COUNTED, document
from tests.benchmarks.load import Client, asked
from tests.benchmarks.options import Options
from tests.benchmarks.reporting import OUT, ratio, table
from tests.cell import ADMINISTRATOR, Cell, Postgres, use
from tests.many.filling import TABLES, WEBHOOK, Crowd, fill, known
from tests.many.lists import Case, cases
from tests.many.plans import explained, noted

WORKFLOWS = 12
STARTERS = 40
LARGEST = 1_000  # entries of a page
PAGE = 50
LATE = 1_000  # the page that is held against the first
TIMES = 15  # that each of the two is asked for, in each round
AIM = 1.5
WIDTH = 72
HEAD = f"{'list':<{WIDTH}} late page      first ms  late ms  ratio, rows and blocks of the first, of the late one"
SETTINGS = ("max_wal_size = '16GB'", "checkpoint_timeout = '30min'", "autovacuum = off")


class Found(msgspec.Struct, frozen=True):
    """The first page of a list and a late one: milliseconds, rows and pages of the database that are read."""

    size: int
    late: int
    first_ms: float
    late_ms: float
    first_read: tuple[int, int]
    late_read: tuple[int, int]

    @property
    def ratio(self) -> float:
        """The late page's time, as a multiple of the first one's."""
        return self.late_ms / self.first_ms

    def line(self, name: str) -> str:
        """Write the figures beside the list's name."""
        reads = (f"{rows:>7,} {pages:>6,}" for rows, pages in (self.first_read, self.late_read))
        times = f"{self.first_ms:>8.2f} {self.late_ms:>8.2f} {self.ratio:>6.2f}"
        return f"{name:<{WIDTH}} {self.late:>5,} of {self.size:<3} {times} {' '.join(reads)}"


class Place(msgspec.Struct, frozen=True):
    """A page of a list: how large, which one, and the token that leads to it."""

    size: int
    number: int
    token: str | None


class Bench:
    """The database, its server, and the account whose lists are read."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell

    async def prepare(self, options: Options) -> None:
        """Fill the database, and serve."""
        await self.cell.prepare()
        port = await self.cell.serve("--no-worker")
        paths = [
            await self.cell.publish(port, self.cell.acme, document(f"number-{number}", COUNTED))
            for number in range(WORKFLOWS)
        ]
        self.cell.end()
        async with self.cell.rows() as rows:
            for setting in SETTINGS:
                await rows.execute(f"ALTER SYSTEM SET {setting}")
            await rows.execute("SELECT pg_reload_conf()")
        workflows = tuple(UUID(path.rpartition("/")[2]) for path in paths)
        await self._fill(workflows, options)
        self.client = Client(await self.cell.serve("--no-worker"))

    async def _fill(self, workflows: tuple[UUID, ...], options: Options) -> None:
        account, webhook = UUID(self.cell.acme.id), uuid4()
        async with self.cell.rows() as rows:
            await rows.execute(WEBHOOK, webhook, account)
            version = await rows.fetchval(
                "SELECT id FROM workflow_version WHERE account_id = $1 LIMIT 1", account
            )
            person = await rows.fetchval("SELECT id FROM app_user WHERE email = $1", ADMINISTRATOR)
        busy = Crowd(
            account_id=account,
            count=options.rows,
            workflows=workflows,
            version=version,
            starters=(uuid4(), uuid4(), person, *(uuid4() for _ in range(STARTERS))),
            person=person,
            admin=person,
            email=ADMINISTRATOR,
            role="admin",
            webhook=webhook,
        )
        others = [
            msgspec.structs.replace(busy, account_id=uuid4(), webhook=None, place=place)
            for place in range(1, options.accounts)
        ]
        began = time.monotonic()
        await fill(self.cell.rows, [busy, *others])
        took = time.monotonic() - began
        async with self.cell.rows() as rows:
            self.known = await known(rows, busy)
            sizes = await rows.fetch(SIZES, list(TABLES))
            size = await rows.fetchval("SELECT pg_database_size(current_database())")
        millions = options.rows * options.accounts / 1_000_000
        OUT.print(
            f"{options.rows * options.accounts:,} instances of {options.accounts} accounts in {took:.0f} s "
            f"({took / millions:.0f} s a million), {size / 1e9:.1f} GB ({size / 1e9 / millions:.1f} GB a million)"
        )
        table("rows", ("rows", "MB", "of indexes"), {one["name"]: tuple(one)[1:] for one in sizes})

    async def ask(self, case: Case, place: Place) -> tuple[float, dict[str, Any]]:
        """Ask for a page; return the milliseconds it took, and the answer."""
        request = asked("GET", self.url(case, place), self.cell.acme.token)
        began = time.perf_counter()
        status, body = await self.client.ask(request)
        took = time.perf_counter() - began
        if status != 200:
            raise RuntimeError(f"{case.name}: {status} {body.decode()}")
        return took * 1000, msgspec.json.decode(body)

    def url(self, case: Case, place: Place) -> str:
        """Write where a page is."""
        path, query = case.filled_in(self.known)
        more = [("page_size", str(place.size)), *([("ctoken", place.token)] if place.token else [])]
        return f"{path}?{urlencode([*query, *more])}"

    async def behind(self, case: Case, rows: int) -> tuple[int, str | None, str | None]:
        """Go through so many rows of a list; return how many there are, and the tokens of what follows and of the last page."""
        seen, token, last = 0, None, None
        while seen < rows:
            _, answer = await self.ask(case, Place(min(LARGEST, rows - seen), 0, token))
            seen += len(entries(answer))
            token, last = answer["response_metadata"].get("page_token_next"), token
            if token is None:
                break
        return seen, token, last

    async def late(self, case: Case) -> Place:
        """Find the 1,000th page, of a size for which there is one; the last one of a list that is shorter."""
        count, token, last = await self.behind(case, PAGE * (LATE - 1))
        if token is not None:
            return Place(PAGE, LATE, token)
        size = max(1, min(PAGE, count // LATE))
        number = min(LATE, -(-count // size))
        if number < 2:
            return Place(size, 1, last)
        _, token, _ = await self.behind(case, size * (number - 1))
        return Place(size, number, token)


SIZES = """
SELECT relname AS name, to_char(reltuples, 'FM999,999,999,999') AS rows, (pg_total_relation_size(oid) / 1000000)::text AS mb,
       (pg_indexes_size(oid) / 1000000)::text AS indexes
FROM pg_class WHERE oid = ANY ($1::regclass[]) ORDER BY pg_total_relation_size(oid) DESC
"""


def entries(answer: Mapping[str, Any]) -> list[Any]:
    """The entries of a page, whatever the list calls them."""
    return next(value for value in answer.values() if isinstance(value, list))


@contextlib.asynccontextmanager
async def within(postgres: Postgres, cell: Cell) -> AsyncIterator[httpx.AsyncClient]:
    """Run the service in this process, so that what it asks of the database can be noted."""
    use(postgres, cell.database)
    inside = create_litestar(worker=False)
    application: Any = create_app(inside)
    transport = httpx.ASGITransport(app=application)
    headers = {"Authorization": f"Bearer {cell.acme.token}"}
    async with (
        inside.lifespan(),
        httpx.AsyncClient(transport=transport, base_url="http://bench", headers=headers) as client,
    ):
        yield client


async def measure_lists(postgres: Postgres, options: Options) -> None:
    """Fill a database, then ask for the first and a late page of every list with every filter, in turn."""
    bench = Bench(Cell(postgres, "bench_lists"))
    found: dict[str, Found] = {}
    try:
        await bench.prepare(options)
        async with within(postgres, bench.cell) as client, bench.cell.rows() as rows:
            await rows.execute("SET ROLE tutti_app")
            OUT.print(HEAD, soft_wrap=True)
            for case in cases(pairs=False):
                late = await bench.late(case)
                first = Place(late.size, 1, None)
                times: dict[int, list[float]] = {0: [], 1: []}
                for _ in range(TIMES * options.rounds):
                    for turn, place in enumerate((first, late)):
                        times[turn].append((await bench.ask(case, place))[0])
                reads = []
                for place in (first, late):
                    with noted() as statements:
                        (await client.get(bench.url(case, place))).raise_for_status()
                    taken = await explained(rows, UUID(bench.cell.acme.id), statements)
                    reads.append((sum(one.rows for one in taken), sum(one.pages for one in taken)))
                medians = [statistics.median(times[turn]) for turn in (0, 1)]
                found[case.name] = Found(late.size, late.number, medians[0], medians[1], reads[0], reads[1])
                OUT.print(found[case.name].line(case.name), soft_wrap=True)
    finally:
        bench.cell.end()
    report(found)


def report(found: dict[str, Found]) -> None:
    """Print the figures."""
    long = {name: one for name, one in found.items() if one.late == LATE}
    over = [name for name, one in long.items() if one.ratio > AIM]
    OUT.print(
        f"{len(found)} lists and filters; of {len(long)} with {LATE:,} pages above {AIM}: {over or 'none'}"
    )
    worst = max(long, key=lambda name: long[name].ratio)
    ratio(f"page {LATE:,} / page 1, {worst}", long[worst].ratio, f"at most {AIM}")
