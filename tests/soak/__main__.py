"""`python -m tests.soak`: half of the sustainable load for 30 minutes; memory, tables, files, tasks and figures have to stay as they are.

Exit status 1 where one grows, a request fails or a webhook is not told; the folder with the processes' logs then stays.
"""

import argparse
import asyncio
import logging
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.soak.run import Outcome, Plan, soak
from tests.soak.verdict import Series

MIB = 2**20
SMALLEST = 0.5 * MIB  # table whose size is shown


def read_plan() -> Plan:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="how long the load is held")
    parser.add_argument("--calibration", type=float, default=30, help="seconds to find what is sustainable")
    given = parser.parse_args()
    return Plan(given.minutes * 60, given.calibration, min(5, given.minutes * 60 / 30))


def table_of(title: str, found: list[Series], unit: float, digits: int, least: float = 0) -> Table:
    """Show the two thirds, and how they compare."""
    table = Table("", "first", "middle third", "last third", "ratio", title=title, title_justify="left")
    for one in found:
        if max(one.values) > least:
            figures = (f"{value / unit:,.{digits}f}" for value in (one.values[0], one.middle, one.last))
            table.add_row(one.name, *figures, f"{one.ratio:.3f}")
    return table


def report(outcome: Outcome) -> None:
    """Print what was measured, and what is not as it must be."""
    out = Console(width=120)
    out.print(table_of("Memory that is a process's alone, MiB", outcome.memory, MIB, 1))
    out.print(table_of("What processes hold", outcome.held, 1, 1))
    out.print(table_of("Figures of /metrics", [outcome.figures], 1, 0))
    out.print(table_of("Rows", outcome.rows, 1, 0))
    out.print(table_of("Tables with their indexes, MiB", outcome.sizes, MIB, 2, SMALLEST))
    out.print(
        f"sustainable {outcome.sustainable:.1f}/s, held {outcome.rate:.1f}/s: {outcome.begun} instances"
    )
    out.print(
        f"{outcome.calls} calls, {outcome.messages} messages to webhooks with the ends of {outcome.told} instances,"
        f" {outcome.heard} ends heard by followers, {outcome.visits} times logged in in three ways"
    )
    out.print(f"answers {outcome.answers}; wrong {outcome.wrong or 'none'}")
    for violation in outcome.violations:
        out.print(violation, style="red", markup=False)
    out.print(f"{len(outcome.violations)} violations")


def main() -> None:
    """Run, report, clean up."""
    plan = read_plan()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    logging.getLogger("httpx").setLevel(logging.WARNING)
    folder = Path(tempfile.mkdtemp(prefix="tutti-soak-"))
    try:
        outcome = asyncio.run(soak(plan, folder, lambda line: print(line, file=sys.stderr, flush=True)))
    except BaseException:
        print(f"The processes' logs are in {folder}.", file=sys.stderr)
        raise
    report(outcome)
    if outcome.violations:
        sys.exit(f"The processes' logs are in {folder}.")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
