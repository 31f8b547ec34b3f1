"""`make fuzz`: requests made up from every OpenAPI document, and bytes that are none, against a service of its own.

Exit status 1 on any violation; the folder with the service's log then stays.
"""

import argparse
import asyncio
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fuzz.described import Found
from tests.fuzz.run import RAW, SHARES, Plan, fuzz

CLASSES = ("2xx", "3xx", "4xx", "5xx", "none")


def read_plan() -> Plan:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=5, help="for all together; 0: the least that shows all parts"
    )
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(1_000_000), help="makes the same requests up again"
    )
    parser.add_argument("--dialect", choices=(*SHARES, RAW), default="", help="this alone")
    given = parser.parse_args()
    return Plan(given.seed, given.minutes * 60 or None, given.dialect)


def report(plan: Plan, found: dict[str, Found]) -> int:
    """Print the counts, and what is not as it must be; return how much that is."""
    out = Console(width=120)
    table = Table(title="What was asked, and how it was answered", title_justify="left")
    for column in ("", "operations", "requests", *CLASSES, "violations"):
        table.add_column(column, justify="left" if not column else "right")
    for name, part in found.items():
        by_class = [part.of_class(number) for number in (2, 3, 4, 5, 0)]
        cells = (part.operations, sum(part.answers.values()), *by_class, len(part.violations))
        table.add_row(name, *map(str, cells))
    out.print(table)
    violations = sorted(violation for part in found.values() for violation in part.violations.values())
    for one in violations:
        out.print(f"\n{one.where}: {one.check}", style="red", markup=False)
        out.print(one.message, markup=False)
        sys.stdout.write(f"{one.curl}\n")
    out.print(f"\n{len(violations)} violations; --seed {plan.seed} makes the same requests up again")
    return len(violations)


def main() -> None:
    """Run, report, clean up."""
    plan = read_plan()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    folder = Path(tempfile.mkdtemp(prefix="tutti-fuzz-"))
    found = asyncio.run(fuzz(plan, folder, lambda line: print(line, file=sys.stderr, flush=True)))
    if report(plan, found):
        sys.exit(f"The service's log is in {folder}.")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
