"""How a soak is judged: the last third against the middle one."""

import pytest

from tests.soak.sampling import series
from tests.soak.verdict import Series, changes, growths, hoards, leaks, sprawls


def test_the_first_third_does_not_count() -> None:
    warmed = Series("serve", [10, 60, 90, 100, 100, 100, 100, 100, 100])
    assert (warmed.middle, warmed.last, warmed.ratio) == (100, 100, 1)
    assert leaks([warmed]) == []


@pytest.mark.parametrize(("last", "found"), [(104.9, 0), (105.1, 1)])
def test_memory_may_grow_by_five_hundredths(last: float, found: int) -> None:
    assert len(leaks([Series("worker", [100.0] * 6 + [last] * 3)])) == found


def test_a_number_that_thirds_do_not_divide_leaves_the_odd_ones_to_the_middle() -> None:
    odd = Series("serve", [1, 1, 2, 2, 2, 2, 8, 8])
    assert (odd.middle, odd.last, odd.growth, odd.ratio) == (2, 8, 6, 4)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([0, 0, 0, 0, 31, 31], 1),  # more than one row for a hundred of 3,000 instances
        ([0, 0, 0, 0, 29, 29], 0),
        ([400, 400, 400, 400, 521, 521], 1),  # more than six deviations of 20
        ([400, 400, 400, 400, 519, 519], 0),
        ([9000, 9000, 9000, 9000, 9850, 9850], 0),  # within a tenth
        ([9000, 9000, 9000, 9000, 9950, 9950], 1),
        ([9000, 9000, 9000, 9000, 100, 100], 0),
        ([400, 400, 400, 400, 430, 800], 0),  # a rush
        ([400, 400, 400, 400, 441, 800], 1),
    ],
)
def test_a_table_grows_where_it_is_more_than_a_tenth_and_more_than_chance(
    rows: list[float], found: int
) -> None:
    assert len(growths([Series("event", rows)], [], 3000)) == found


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([50, 20, 90, 20, 20, 90, 31, 90, 90], 1),  # eleven never leave
        ([50, 20, 90, 20, 20, 90, 30, 90, 90], 0),  # ten may be chance
        ([400, 300, 400, 300, 300, 400, 311, 400, 400], 0),  # of so many
        ([50, 20, 90, 20, 20, 90, 90, 20, 90], 0),  # they come and go
    ],
)
def test_what_is_held_for_good_is_lost(files: list[float], found: int) -> None:
    assert len(hoards([Series("files of worker", files)])) == found


@pytest.mark.parametrize(("last", "found"), [(1020, 0), (1021, 1)])
def test_there_are_no_more_figures_than_before(last: float, found: int) -> None:
    assert len(sprawls(Series("figures", [500, 600] + [1000] * 2 + [last] * 2))) == found


def test_a_process_that_was_made_anew_is_told() -> None:
    assert changes([{"serve": 1, "serve 1": 2}, {"serve": 1, "serve 1": 3}]) == [
        "serve 1: it has ended, or another was made in its place"
    ]
    assert len(changes([{"serve": 1, "serve 1": 2}, {"serve": 1}])) == 1


def test_a_table_may_grow_by_a_few_pages() -> None:
    pages = [float(2**20)] * 4
    assert growths([], [Series("job", [*pages, 1.9 * 2**20, 1.9 * 2**20])], 0) == []
    assert len(growths([], [Series("job", [*pages, 2.1 * 2**20, 2.1 * 2**20])], 0)) == 1


def test_what_is_not_there_in_a_sample_is_nothing() -> None:
    assert series([{"serve": 1.0}, {"serve": 2.0, "sandbox": 3.0}]) == [
        Series("serve", [1.0, 2.0]),
        Series("sandbox", [0.0, 3.0]),
    ]
