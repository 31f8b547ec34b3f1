"""A small load while everything goes wrong once: nothing is lost, nothing is done twice."""

from pathlib import Path

import pytest

from tests.chaos.run import Plan, chaos


@pytest.mark.timeout(180)
async def test_nothing_is_lost_or_done_twice_whatever_goes_wrong(tmp_path: Path) -> None:
    plan = Plan(seed=20, instances=200, seconds=15, patience=60, gap=(0.8, 1.6), lapse=40)
    async with chaos(plan, tmp_path) as ran:
        assert ran.outcome.violations == []
