"""What `make bench` can be told."""

import argparse

import msgspec

PARTS = (
    "instances",
    "formance",
    "keyfactor",
    "oauth",
    "processes",
    "engine",
    "fairness",
    "waiting",
    "following",
    "lists",
    "overload",
)
MOST_CANCELS = 2000  # per second


class Options(msgspec.Struct, frozen=True):
    """How much is measured, for how long, and which parts."""

    parts: tuple[str, ...]
    rows: int
    rounds: int
    seconds: float
    connections: int
    backlog: int
    accounts: int


def read_options() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--only", choices=PARTS, help="measure one part")
    parser.add_argument("--rows", type=int, default=100_000, help="instances that are there already")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a round")
    parser.add_argument(
        "--connections", type=int, default=16, help="of instances, formance, oauth and processes"
    )
    parser.add_argument("--backlog", type=int, default=20_000, help="queued instances of the other account")
    parser.add_argument("--accounts", type=int, default=10, help="of lists, each with as many instances")
    given = vars(parser.parse_args())
    only = given.pop("only")
    least = int((given["rounds"] + 1) * given["seconds"] * MOST_CANCELS)
    if only in (None, "instances") and given["rows"] < least:
        parser.error(f"each cancel needs an instance of its own: --rows must be at least {least:,} here")
    return Options(parts=(only,) if only else PARTS, **given)
