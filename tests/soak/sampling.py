"""What is measured every few seconds: resident memory of each process, rows and bytes of each table."""

from collections import Counter
from collections.abc import Iterable

import asyncpg
import msgspec
import psutil

from tests.soak.verdict import Series

TABLES = """
SELECT relname, pg_total_relation_size(oid) AS bytes FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname
"""


class Sample(msgspec.Struct, frozen=True):
    """One moment: bytes by process, rows and bytes by table."""

    memory: dict[str, float]
    rows: dict[str, float]
    sizes: dict[str, float]


def memory_of(processes: dict[str, int]) -> dict[str, float]:
    """Measure named processes and what each has started: its sandbox processes together, as they are renewed."""
    found: Counter[str] = Counter()
    for name, pid in processes.items():
        process = psutil.Process(pid)
        found[name] = process.memory_info().rss
        for child in process.children(recursive=True):
            try:
                found[f"{name}'s sandbox"] += child.memory_info().rss
            except psutil.NoSuchProcess:
                continue
    return {name: float(bytes_) for name, bytes_ in found.items()}


async def sampled(processes: dict[str, int], rows: asyncpg.Connection) -> Sample:
    """Take one sample; the connection is one that sees all accounts."""
    tables = await rows.fetch(TABLES)
    counts = " UNION ALL ".join(
        f"SELECT '{table['relname']}' AS name, count(*) FROM {table['relname']}" for table in tables
    )
    return Sample(
        memory_of(processes),
        {row["name"]: float(row["count"]) for row in await rows.fetch(counts)},
        {row["relname"]: float(row["bytes"]) for row in tables},
    )


def series(samples: Iterable[dict[str, float]]) -> list[Series]:
    """Follow each thing through the samples; what was not there is 0."""
    listed = list(samples)
    names = dict.fromkeys(name for sample in listed for name in sample)
    return [Series(name, [sample.get(name, 0.0) for sample in listed]) for name in names]
