"""Two hundred instances while everything is killed: nothing is lost, nothing is done twice."""

from pathlib import Path

import pytest

from tests.chaos.run import Plan, chaos


@pytest.mark.timeout(180)
async def test_nothing_is_lost_or_done_twice_when_processes_and_the_database_are_killed(
    tmp_path: Path,
) -> None:
    outcome = await chaos(Plan(seed=20, instances=200, seconds=15, patience=60, gap=(1.5, 4)), tmp_path)
    assert outcome.violations == []
    assert outcome.acknowledged == 200
    assert sum(outcome.kills.values()) >= 3
