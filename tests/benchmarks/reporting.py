"""Prints figures side by side."""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

OUT = Console(width=120)


def surroundings(rounds: int, seconds: float) -> None:
    """Say where and how it was measured."""
    OUT.print(
        f"{platform.machine()}, {os.cpu_count()} cores shared with PostgreSQL and the load; "
        f"Python {platform.python_version()}, medians of {rounds} rounds of {seconds} s, or as long in short turns"
    )


def table(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    """Print a table, one line for each thing that was measured."""
    printed = Table(title=title, title_justify="left")
    printed.add_column("")
    for column in columns:
        printed.add_column(column, justify="right")
    for name, cells in rows.items():
        printed.add_row(name, *cells)
    OUT.print(printed)


def ratio(name: str, found: float, aim: str = "", turns: Sequence[float] = ()) -> None:
    """Print one comparison, with what it was in the middle half of the turns and what is aimed at."""
    spread = ""
    if len(turns) > 1:
        low, _, high = statistics.quantiles(turns, n=4, method="inclusive")
        spread = f"   half of the turns: {low:.2f} to {high:.2f}"
    OUT.print(f"{name:<56} {found:8.2f}{spread}" + (f"   aim: {aim}" if aim else ""))


class WrongAnswersError(Exception):
    """What was measured is not what was to be measured: requests were not answered by 2xx."""


def refuse_wrong(wrong: Mapping[str, int]) -> None:
    """Take no figures of answers that are wrong.

    Raises:
        WrongAnswersError: there were some, by subject.
    """
    found = ", ".join(f"{name} ({count:,})" for name, count in wrong.items() if count)
    if found:
        raise WrongAnswersError(f"answers other than 2xx, so the figures mean nothing: {found}")
