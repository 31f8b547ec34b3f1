"""Prints figures side by side."""

import os
import platform
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

OUT = Console(width=120)


def surroundings(rounds: int, seconds: float) -> None:
    """Say where and how it was measured."""
    OUT.print(
        f"{platform.machine()}, {os.cpu_count()} cores shared with PostgreSQL and the load, "
        f"Python {platform.python_version()}, medians of {rounds} rounds of {seconds} s, interleaved"
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


def ratio(name: str, found: float, aim: str = "") -> None:
    """Print one comparison, with what is aimed at."""
    OUT.print(f"{name:<56} {found:8.2f}" + (f"   aim: {aim}" if aim else ""))
