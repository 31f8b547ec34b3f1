"""What is measured every few seconds: memory, files, threads and tasks of each process, the rows and bytes of each table, how many figures there are."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import asyncpg
import httpx
import msgspec
import psutil
from prometheus_client.parser import text_string_to_metric_families

from service.language.sandbox.process import WORKER_PROGRAM
from tests.soak.verdict import Series

TABLES = """
SELECT relname, pg_total_relation_size(oid) AS bytes FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname
"""
TRACKER = "multiprocessing.resource_tracker"


class Sample(msgspec.Struct, frozen=True):
    """One moment: by process its number, bytes, and what else it holds; by table its rows and bytes; the figures' number."""

    processes: dict[str, int]
    memory: dict[str, float]
    held: dict[str, float]
    rows: dict[str, float]
    sizes: dict[str, float]
    figures: float


def family(started: Mapping[str, int]) -> tuple[dict[str, psutil.Process], dict[str, list[psutil.Process]]]:
    """Name the started processes and those that these have made to serve, and list each one's sandboxes, which are renewed."""
    named: dict[str, psutil.Process] = {}
    sandboxes: dict[str, list[psutil.Process]] = defaultdict(list)
    for name, pid in started.items():
        named[name] = process = psutil.Process(pid)
        for number, child in enumerate((one for one in process.children() if serves(one)), start=1):
            named[f"{name} {number}"] = child
    for name, process in named.items():
        sandboxes[name] = [one for one in process.children() if is_sandbox(one)]
    return named, sandboxes


def command(process: psutil.Process) -> str:
    """Say what a process runs; nothing of one that has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def is_sandbox(process: psutil.Process) -> bool:
    """Whether it evaluates expressions."""
    return str(WORKER_PROGRAM) in command(process)


def serves(process: psutil.Process) -> bool:
    """Whether it is one of several that serve."""
    told = command(process)
    return bool(told) and str(WORKER_PROGRAM) not in told and TRACKER not in told


def memory_of(process: psutil.Process) -> float:
    """Measure the memory that is a process's alone: what it shares with others changes when these come and go."""
    try:
        return float(process.memory_full_info().uss)
    except psutil.NoSuchProcess:
        return 0.0
    except psutil.AccessDenied:  # a sandbox shows itself to nobody but root
        return float(process.memory_info().rss)


async def figures_of(
    http: httpx.AsyncClient, named: Mapping[str, psutil.Process]
) -> tuple[float, dict[str, float]]:
    """Ask for the figures: how many there are, and how many tasks each process has."""
    answer = (await http.get("/metrics")).raise_for_status()
    names = {str(process.pid): name for name, process in named.items()}
    count, tasks = 0, {}
    for figure in text_string_to_metric_families(answer.text):
        for sample in figure.samples:
            count += 1
            if sample.labels.get("figure") == "tasks":
                tasks[f"tasks of {names.get(sample.labels['pid'].partition('-')[0], 'a stranger')}"] = (
                    sample.value
                )
    return float(count), tasks


async def sampled(started: Mapping[str, int], rows: asyncpg.Connection, http: httpx.AsyncClient) -> Sample:
    """Take one sample; the connection is one that sees all accounts."""
    named, sandboxes = family(started)
    memory: dict[str, float] = {}
    held: dict[str, float] = {}
    for name, process in named.items():
        memory[name] = memory_of(process)
        held[f"files of {name}"] = process.num_fds()
        held[f"threads of {name}"] = process.num_threads()
        if sandboxes[name]:
            memory[f"{name}'s sandbox"] = sum(map(memory_of, sandboxes[name]))
    figures, tasks = await figures_of(http, named)
    tables = await rows.fetch(TABLES)
    counts = " UNION ALL ".join(
        f"SELECT '{table['relname']}' AS name, count(*) FROM {table['relname']}" for table in tables
    )
    return Sample(
        {name: process.pid for name, process in named.items()},
        memory,
        held | tasks,
        {row["name"]: float(row["count"]) for row in await rows.fetch(counts)},
        {row["relname"]: float(row["bytes"]) for row in tables},
        figures,
    )


def series(samples: Iterable[Mapping[str, float]]) -> list[Series]:
    """Follow each thing through the samples; what was not there is 0."""
    listed = list(samples)
    names = dict.fromkeys(name for sample in listed for name in sample)
    return [Series(name, [sample.get(name, 0.0) for sample in listed]) for name in names]
