"""`make bench`: what the service does per second and how long it takes, beside what it can be compared with, as ratios.

A subject and what it is compared with take turns, so that whatever else the machine does hits both; figures are medians
of the turns, and a ratio is the median of what the two came to in each turn. Nothing here is a test: a busy
machine is not a defect, answers other than 2xx are.
"""

import contextlib
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.benchmarks.engine import measure_engine
from tests.benchmarks.fairness import measure_fairness
from tests.benchmarks.following import measure_following
from tests.benchmarks.keyfactor import measure_keyfactor
from tests.benchmarks.lists import measure_lists
from tests.benchmarks.options import Options, read_options
from tests.benchmarks.overload import measure_overload
from tests.benchmarks.processes import measure_processes
from tests.benchmarks.reporting import WrongAnswersError, surroundings
from tests.benchmarks.requests import measure_requests
from tests.benchmarks.waiting import measure_waiting
from tests.cell import Postgres


async def measure(postgres: Postgres, options: Options) -> None:
    """Measure each part that is asked for, one after the other on one PostgreSQL."""
    await postgres.start()
    surroundings(options.rounds, options.seconds)
    if {"instances", "formance", "oauth"} & set(options.parts):
        await measure_requests(postgres, options)
    for part, measured in (
        ("processes", measure_processes),
        ("engine", measure_engine),
        ("fairness", measure_fairness),
        ("waiting", measure_waiting),
        ("following", measure_following),
        ("lists", measure_lists),
        ("keyfactor", measure_keyfactor),
        ("overload", measure_overload),
    ):
        if part in options.parts:
            await measured(postgres, options)


def main() -> None:
    """Measure, report, clean up."""
    options = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    folder = Path(tempfile.mkdtemp(prefix="tutti-bench-"))
    postgres = Postgres(folder)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            uvloop.run(measure(postgres, options))
    except WrongAnswersError as error:
        sys.exit(f"make bench: {error}.")
    finally:
        postgres.remove()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
