"""`python -m tests.chaos`: ten thousand instances while workers, API processes and PostgreSQL are killed.

Exit status 1 where anything was lost or done twice; the folder with the processes' logs then stays.
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

from tests.chaos.run import Outcome, Plan, chaos


def read_plan() -> Plan:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=10, help="time over which they are triggered")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(1_000_000), help="makes the same choices again"
    )
    parser.add_argument("--patience", type=float, default=180, help="seconds that settling may take")
    parser.add_argument("--kinds", default="", help="only these, with commas between them")
    given = parser.parse_args()
    kinds = tuple(kind for kind in given.kinds.split(",") if kind)
    return Plan(given.seed, given.instances, given.minutes * 60, given.clients, given.patience, kinds)


def report(plan: Plan, outcome: Outcome) -> None:
    """Print the counts, and what is not as it must be."""
    out = Console(width=120)
    for name in (
        "acknowledged",
        "answers",
        "instances",
        "kills",
        "calls",
        "repeated_calls",
        "settled_seconds",
    ):
        out.print(f"{name.replace('_', ' '):<18} {getattr(outcome, name)}")
    for violation in outcome.violations:
        out.print(violation, style="red", markup=False)
    out.print(f"{len(outcome.violations)} violations; --seed {plan.seed} makes the same choices again")


def main() -> None:
    """Run, report, clean up."""
    plan = read_plan()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    folder = Path(tempfile.mkdtemp(prefix="tutti-chaos-"))
    outcome = asyncio.run(chaos(plan, folder, lambda line: print(line, file=sys.stderr, flush=True)))
    report(plan, outcome)
    if outcome.violations:
        sys.exit(f"The processes' logs are in {folder}.")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
