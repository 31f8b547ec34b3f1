"""Whose frame is next: accounts take turns, and whoever costs workers their lives goes last."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from service.language import sandbox_worker as wire
from service.language.expressions import Evaluation, ExpressionFailure, expression
from service.language.sandbox import Sandbox, process, turns
from service.language.sandbox.process import Request
from service.language.sandbox.turns import Strikes, Turns

ONE, TWO, THREE, FOUR = (UUID(int=number) for number in range(1, 5))
WORK = [wire.Item(wire.EVALUATE, b".", b"1")]
ENDLESS = "def f: f; f"


def frame(line: Turns, account: UUID) -> Request:
    """A frame of the account, waiting."""
    made = Request(account, WORK, asyncio.get_running_loop().create_future())
    line.join(made)
    return made


def taken(line: Turns) -> list[UUID]:
    """Whose frames go now, in order, when nothing ends."""
    found = []
    while (request := line.next()) is not None:
        found.append(request.account_id)
    return found


def strike(strikes: Strikes, account: UUID, times: int = turns.STRIKES) -> None:
    for _ in range(times):
        strikes.count(account)


def asked(text: str) -> list[Evaluation]:
    return [Evaluation(expression(text, []), 1, {})]


async def test_accounts_take_turns_frame_by_frame() -> None:
    line = Turns(share=10)
    for account in (ONE, ONE, ONE, TWO, TWO, THREE):
        frame(line, account)
    assert taken(line) == [ONE, TWO, THREE, ONE, TWO, ONE]


async def test_an_account_with_its_share_at_work_waits_for_one_of_its_own() -> None:
    line = Turns(share=2)
    mine = [frame(line, ONE) for _ in range(4)]
    frame(line, TWO)
    assert taken(line) == [ONE, TWO, ONE]
    assert line.next() is None
    line.release(mine[0])
    assert line.next() is mine[2]
    assert line.next() is None


async def test_frames_nobody_waits_for_are_passed_over() -> None:
    line = Turns(share=1)
    for _ in range(100):
        frame(line, ONE).future.cancel()
    kept = frame(line, ONE)
    assert line.next() is kept
    line.release(kept)
    assert line.next() is None
    frame(line, ONE).future.cancel()
    assert line.next() is None


async def test_a_hundred_thousand_frames_of_one_account_cost_the_other_nothing() -> None:
    line = Turns(share=1)
    for _ in range(100_000):
        frame(line, ONE)
    for _ in range(1_000):
        other = frame(line, TWO)
        going = [line.next(), line.next()]
        assert other in going
        for request in going:
            assert request is not None
            line.release(request)


async def test_who_waits_can_be_refused_and_the_next_frames_go_as_ever() -> None:
    line = Turns(share=1)
    waiting = [frame(line, account) for account in (ONE, ONE, TWO)]
    line.refuse(ValueError("closed"))
    assert all(isinstance(request.future.exception(), ValueError) for request in waiting)
    assert line.next() is None
    frame(line, TWO)
    assert taken(line) == [TWO]


async def test_lines_are_forgotten_while_nothing_of_their_accounts_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "LINES_KEPT", 10)
    line = Turns(share=1)
    busy = frame(line, ONE)
    assert line.next() is busy
    async with line.line(TWO):
        for number in range(100, 200):
            brief = frame(line, UUID(int=number))
            assert line.next() is brief
            line.release(brief)
        assert len(line._lines) <= 20
        assert {ONE, TWO} <= set(line._lines)
    line.release(busy)


# --- Strikes --------------------------------------------------------------------------------------------------------


async def test_who_costs_too_many_workers_goes_only_when_nobody_else_can() -> None:
    line = Turns(share=2)
    strike(line.strikes, ONE, turns.STRIKES - 1)
    assert not line.strikes.holds(ONE)
    strike(line.strikes, ONE, 1)
    assert line.strikes.holds(ONE)
    for account in (ONE, ONE, TWO, TWO, THREE):
        frame(line, account)
    assert taken(line) == [TWO, THREE, TWO, ONE]  # and one worker is all it gets
    line.strikes.clear()


async def test_frames_that_were_in_turn_already_go_last_too() -> None:
    line = Turns(share=2)
    for account in (ONE, ONE, TWO):
        frame(line, account)
    strike(line.strikes, ONE)
    assert taken(line) == [TWO, ONE]
    line.strikes.clear()


async def test_all_who_are_held_back_leave_half_of_the_workers_to_the_others() -> None:
    line = Turns(share=2)
    held = {}
    for account in (ONE, TWO, THREE):
        strike(line.strikes, account)
        held[account] = frame(line, account)
    assert taken(line) == [ONE, TWO]
    frame(line, FOUR)
    assert taken(line) == [FOUR]
    line.release(held[ONE])
    assert taken(line) == [THREE]
    line.strikes.clear()


async def test_an_account_is_held_back_until_its_strikes_are_past(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(turns, "STRIKES_SECONDS", 0.2)
    strikes = Strikes()
    with caplog.at_level(logging.WARNING, "tutti.sandbox"):
        strike(strikes, ONE)
        await asyncio.sleep(0.12)
        strike(strikes, ONE)
        await asyncio.sleep(0.12)
        assert strikes.holds(ONE)
        await asyncio.sleep(0.12)
        assert not strikes.holds(ONE)
    began, ended = (record.getMessage() for record in caplog.records)
    assert began.startswith(f"account {ONE} is held back")
    assert ended == f"account {ONE} is no longer held back"


async def test_strikes_far_apart_do_not_hold_anyone_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "STRIKES_SECONDS", 0.05)
    strikes = Strikes()
    strike(strikes, ONE, turns.STRIKES - 1)
    await asyncio.sleep(0.1)
    strike(strikes, ONE, turns.STRIKES - 1)
    assert not strikes.holds(ONE)


async def test_strikes_of_a_bounded_number_of_accounts_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "ACCOUNTS_COUNTED", 5)
    strikes = Strikes()
    strike(strikes, ONE)
    for number in range(100, 110):
        strikes.count(UUID(int=number))
    assert len(strikes._moments) == 5
    assert not strikes.holds(ONE)
    assert not strikes._held


async def test_killed_programs_are_strikes_and_failed_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "STRIKES", 3)
    async with Sandbox(size=2) as sandbox:
        for _ in range(5):
            await sandbox.answer(ONE, asked("error"))
        await asyncio.gather(*(sandbox.answer(TWO, asked('"a" * 1e9')) for _ in range(3)))
        assert not sandbox._turns.strikes.holds(ONE)
        assert sandbox._turns.strikes.holds(TWO)
        endless = [asyncio.create_task(sandbox.answer(TWO, asked(ENDLESS))) for _ in range(3)]
        assert await sandbox.answer(ONE, asked(". + 1")) == [2]
        assert await asyncio.gather(*(sandbox.answer(ONE, asked(". + 1")) for _ in range(50))) == [[2]] * 50
        for task in endless:
            task.cancel()
        assert (await sandbox.answer(TWO, asked(". + 1"))) == [2]  # late, but answered


@pytest.fixture
def slow_to_replace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on a new worker takes a second more to start."""
    program = Path(wire.__file__).read_text()
    slow = tmp_path / "worker.py"
    slow.write_text(
        program.replace("def main() -> None:", "def main() -> None:\n    __import__('time').sleep(1)")
    )
    return lambda: monkeypatch.setattr(process, "WORKER_PROGRAM", slow)


async def test_who_costs_a_worker_waits_for_the_next_and_nobody_else_does(
    slow_to_replace: Callable[[], None],
) -> None:
    async with Sandbox(size=2) as sandbox:
        slow_to_replace()
        (killed,) = await sandbox.answer(ONE, asked('"a" * 1e9'))
        assert isinstance(killed, ExpressionFailure)
        more = [asyncio.create_task(sandbox.answer(ONE, asked(ENDLESS))) for _ in range(3)]
        await asyncio.sleep(0.1)
        assert not any(worker.request for worker in sandbox._workers)
        assert await sandbox.answer(TWO, asked(". + 1")) == [2]
        for task in more:
            task.cancel()
        assert await sandbox.answer(ONE, asked(". + 1")) == [2]


async def test_a_worker_that_has_done_its_share_is_nobodys_fault(
    slow_to_replace: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(size=2) as sandbox:
        slow_to_replace()
        monkeypatch.setattr(process, "RECYCLE_AFTER", 1)
        began = time.monotonic()
        for _ in range(3):
            assert await sandbox.answer(ONE, asked(". + 1")) == [2]
        assert time.monotonic() - began < 0.8


# --- Bounds ---------------------------------------------------------------------------------------------------------


async def test_calls_beyond_an_accounts_limit_wait_before_they_are_encoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "CALLS_LIMIT", 5)
    async with Sandbox(size=1) as sandbox:
        most = 0
        mine = [asyncio.create_task(sandbox.answer(ONE, asked(f". + {number}"))) for number in range(50)]
        given_up = [asyncio.create_task(sandbox.answer(ONE, asked(ENDLESS))) for _ in range(20)]
        await asyncio.sleep(0)
        for task in given_up:
            task.cancel()
        while not all(task.done() for task in mine):
            most = max(most, len(sandbox._turns.line(ONE).waiting))
            assert await sandbox.answer(TWO, asked(". + 1")) == [2]
        assert 0 < most <= 5
        assert [task.result() for task in mine] == [[number + 1] for number in range(50)]
        assert not sandbox._turns.line(ONE).is_used()


async def test_a_worker_keeps_to_an_account_while_it_can() -> None:
    async with Sandbox(size=2) as sandbox:
        await asyncio.gather(sandbox.answer(ONE, asked(". + 1")), sandbox.answer(TWO, asked(". + 1")))
        homes = {worker.account_id: worker for worker in sandbox._workers}
        for account in (ONE, TWO, TWO, ONE):
            before = homes[account].programs_run
            await sandbox.answer(account, asked(". + 1"))
            assert homes[account].programs_run == before + 1


@pytest.mark.parametrize("size", [1, 2, 4])
async def test_no_more_frames_are_worked_on_than_the_pool_has_places(size: int) -> None:
    async with Sandbox(size) as sandbox:
        assert len(sandbox._workers) == size + 1  # the one to spare replaces whoever has to be killed
        running = [
            asyncio.create_task(sandbox.answer(UUID(int=number), asked(ENDLESS))) for number in range(10)
        ]
        await asyncio.sleep(0.05)
        assert sum(worker.request is not None for worker in sandbox._workers) == size
        for task in running:
            task.cancel()


async def test_items_that_are_slow_only_together_all_have_their_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "TIME_LIMIT_SECONDS", 0.4)
    async with Sandbox(size=1) as sandbox:
        found = await sandbox.answer(
            ONE, [*asked("last(range(100000))") * 12, *asked(ENDLESS), *asked(". + 1")]
        )
    assert found[:12] == [99_999] * 12
    assert isinstance(found[12], ExpressionFailure)
    assert found[13] == 2
