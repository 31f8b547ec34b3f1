"""`python -m tests.chaos`: thousands of instances of all three dialects while everything goes wrong that can.

Exit status 1 where an invariant does not hold; a folder with what is needed to see why, and to run it again, then stays.
"""

import argparse
import asyncio
import secrets
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console

from tests.chaos.invariants import INVARIANTS
from tests.chaos.replay import keep
from tests.chaos.run import Outcome, Plan, chaos

PER_SECOND = (
    16  # instances that are started at most, unless told otherwise; their children and restarts come on top
)
SHOWN = 5  # violations of an invariant


def read_plan() -> tuple[Plan, Path | None]:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3, help="time over which things go wrong")
    parser.add_argument("--instances", type=int, help=f"{PER_SECOND} for each second, if not said")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(1_000_000), help="makes the same choices again"
    )
    parser.add_argument("--patience", type=float, default=240, help="seconds that settling may take")
    parser.add_argument("--kinds", default="", help="only these, with commas between them")
    parser.add_argument("--folder", type=Path, help="where to keep what happened, whatever did")
    given = parser.parse_args()
    kinds = tuple(kind for kind in given.kinds.split(",") if kind)
    seconds = given.minutes * 60
    instances = given.instances or int(seconds * PER_SECOND)
    return Plan(given.seed, instances, seconds, given.clients, given.patience, kinds), given.folder


def report(plan: Plan, outcome: Outcome) -> None:
    """Print the counts, and what is not as it must be."""
    out = Console(width=140)
    for name in Outcome.__struct_fields__[:-2]:
        out.print(f"{name.replace('_', ' '):<18} {getattr(outcome, name)}")
    for refused in outcome.wrong[:SHOWN]:
        out.print(refused, style="red", markup=False)
    counted = Counter(one.invariant for one in outcome.violations)
    for invariant in INVARIANTS:
        out.print(
            f"{invariant.name:<22} {counted[invariant.name] or 'holds'}",
            style="red" * bool(counted[invariant.name]),
        )
        for one in [each for each in outcome.violations if each.invariant == invariant.name][:SHOWN]:
            out.print(f"  {one.instance_id or ''} {one.told}", style="red", markup=False)
    total = len(outcome.violations) + len(outcome.wrong)
    out.print(f"{total} violations; --seed {plan.seed} makes the same choices again")


async def run(plan: Plan, folder: Path, kept: Path | None) -> Outcome:
    """Run a plan; keep what happened where something is wrong, or where asked to."""

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    tell(f"--seed {plan.seed}: {plan.instances} instances within {plan.seconds:.0f} s")
    async with chaos(plan, folder, tell) as ran:
        if kept is not None or not ran.outcome.held:
            await keep(plan, ran, kept or folder)
    return ran.outcome


def main() -> None:
    """Run, report, clean up."""
    plan, kept = read_plan()
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    folder = Path(tempfile.mkdtemp(prefix="tutti-chaos-"))
    outcome = asyncio.run(run(plan, folder, kept))
    report(plan, outcome)
    if not outcome.held:
        sys.exit(f"What happened is in {kept or folder}.")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
