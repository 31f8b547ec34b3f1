"""What samples say: whether memory and tables were flat, the last third of the time held against the middle one."""

import math
import statistics
from collections.abc import Mapping, Sequence

import msgspec

MEMORY = 1.05  # the last third's memory by the middle third's; more is a leak
HELD = 1.05  # likewise the fewest files, threads and tasks of a process: connections come and go, what is lost stays
FEW = 10  # that may be more
FIGURES = (
    1.02  # likewise the number of figures: a route may be asked, or a status answered, for the first time
)
TABLE = 1.10  # likewise rows and bytes of a table, whose vacuuming comes in waves
ROWS_OF_A_HUNDRED = 1  # rows that may be added for a hundred instances,
DEVIATIONS = 6  # or the deviation of what comes by chance, so often: an instance brings several rows at once
BYTES = 2**20  # that a table may grow by from one third to the next: a few pages are no leak


class Series(msgspec.Struct, frozen=True):
    """What one thing measured, from the beginning to the end, at even distances."""

    name: str
    values: list[float]

    @property
    def middle(self) -> float:
        """The mean of the middle third."""
        return statistics.fmean(self.values[len(self.values) // 3 : -(len(self.values) // 3)])

    @property
    def last(self) -> float:
        """The mean of the last third."""
        return statistics.fmean(self.values[-(len(self.values) // 3) :])

    @property
    def least(self) -> tuple[float, float]:
        """The least of the middle and of the last third."""
        third = len(self.values) // 3
        return min(self.values[third:-third]), min(self.values[-third:])

    @property
    def growth(self) -> float:
        """What the last third has more than the middle one."""
        return self.last - self.middle

    @property
    def ratio(self) -> float:
        """The last third by the middle one; 1 where there never was anything."""
        if self.middle:
            return self.last / self.middle
        return float("inf") if self.last else 1.0


def leaks(memory: Sequence[Series]) -> list[str]:
    """Say which processes' memory is not flat."""
    return [
        f"{one.name}: {one.ratio:.3f} of the middle third's memory" for one in memory if one.ratio > MEMORY
    ]


def hoards(held: Sequence[Series]) -> list[str]:
    """Say which processes hold more and more of something."""
    return [
        f"{one.name}: never fewer than {last:.0f}, after {middle:.0f} in the middle third"
        for one in held
        for middle, last in (one.least,)
        if last > middle * HELD and last - middle > FEW
    ]


def sprawls(figures: Series) -> list[str]:
    """Say whether there are more and more figures."""
    if figures.ratio <= FIGURES:
        return []
    return [f"{figures.name}: {figures.growth:.0f} more than in the middle third"]


def changes(processes: Sequence[Mapping[str, int]]) -> list[str]:
    """Say which processes are not those that began."""
    names = dict.fromkeys(name for sample in processes for name in sample)
    return [
        f"{name}: it has ended, or another was made in its place"
        for name in names
        if len({sample.get(name) for sample in processes}) > 1
    ]


def growths(rows: Sequence[Series], sizes: Sequence[Series], instances: int) -> list[str]:
    """Say which tables grow although what has ended is removed; `instances` were begun in a third of the time."""
    found = [
        f"{one.name}: {one.growth:.0f} rows more than in the middle third"
        for one in rows
        if one.ratio > TABLE and one.growth > by_chance(one.middle, instances) and rises(one)
    ]
    return found + [
        f"{one.name}: {one.growth / BYTES:.1f} MiB more than in the middle third"
        for one in sizes
        if one.ratio > TABLE and one.growth > BYTES
    ]


def rises(table: Series) -> bool:
    """Whether a table has more rows even when it has the fewest, which those that come in a rush do not change."""
    middle, last = table.least
    return last > middle * TABLE


def by_chance(rows: float, instances: int) -> float:
    """Say by how many rows a table may have grown without growing."""
    return max(instances / 100 * ROWS_OF_A_HUNDRED, DEVIATIONS * math.sqrt(rows))
