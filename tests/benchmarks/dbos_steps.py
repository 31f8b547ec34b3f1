"""DBOS running three steps, in a process of its own: `python -m tests.benchmarks.dbos_steps URL CLIENTS SECONDS WARM_UP`.

It is favoured: its clients are threads of the same process, so nothing goes over HTTP, no credential is checked, no
account is kept apart from another, and a step is a Python function instead of an expression that a stranger wrote.
Threads, because its coroutines are slower: each of their statements goes to a thread anyway.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
from dbos import DBOS, DBOSConfig

from tests.benchmarks.load import Measurement, Span, measured


@DBOS.step()
def first(number: int) -> int:
    return number + 1


@DBOS.step()
def second(number: int) -> int:
    return number + 1


@DBOS.step()
def third(number: int) -> int:
    return number + 1


@DBOS.workflow()
def three_steps(number: int) -> int:
    return third(second(first(number)))


def ask(until: float) -> list[Span]:
    """Start a workflow and await its end, one after the other; return when each began and ended."""
    spans: list[Span] = []
    while (began := time.time()) < until:
        if DBOS.start_workflow(three_steps, 0).get_result() != 3:
            sys.exit("dbos_steps: three steps did not make three")
        spans.append((began, time.time()))
    return spans


def measure(clients: int, seconds: float, warm_up: float) -> Measurement:
    """Ask with so many clients, first for the time of the warm-up, which does not count."""
    begin = time.time() + warm_up
    with ThreadPoolExecutor(clients) as threads:
        found = list(threads.map(ask, [begin + seconds] * clients))
    return measured([span for spans in found for span in spans], begin, begin + seconds)


def main() -> None:
    """Measure once and print the measurement as JSON."""
    url, clients, seconds, warm_up = sys.argv[1:]
    config: DBOSConfig = {"name": "bench", "system_database_url": url, "log_level": "ERROR"}
    DBOS(config=config)
    DBOS.launch()
    try:
        found = measure(int(clients), float(seconds), float(warm_up))
    finally:
        DBOS.destroy()
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")


if __name__ == "__main__":
    main()
