"""Whose frame is next: accounts take turns, and whoever costs workers their lives goes last."""

import asyncio
import logging
from collections import OrderedDict, deque
from typing import Final
from uuid import UUID

from service.language.sandbox.process import Request

logger = logging.getLogger("tutti.sandbox")

CALLS_LIMIT: Final = 200
"""Calls of one account that are under way, with a frame of up to 1 MiB each; further ones wait to be encoded."""
STRIKES: Final = 20
STRIKES_SECONDS: Final = 600.0
"""So many killed workers within this time, and an account is held back (contract, 11.4)."""
ACCOUNTS_COUNTED: Final = 1_000
"""Accounts whose strikes are known; a kill takes up to a second, so hardly more can strike in ten minutes."""
LINES_KEPT: Final = 1_000
"""Lines of accounts beyond this number are forgotten while nothing of theirs is under way."""


class Strikes:
    """The workers that each account has cost of late. An account with too many is held back until they are past."""

    def __init__(self) -> None:
        self._moments: OrderedDict[UUID, deque[float]] = OrderedDict()
        self._held: dict[UUID, asyncio.TimerHandle] = {}

    def holds(self, account_id: UUID) -> bool:
        """Whether an account is held back."""
        return account_id in self._held

    def count(self, account_id: UUID) -> None:
        """Count one more killed worker."""
        moments = self._moments.setdefault(account_id, deque(maxlen=STRIKES))
        moments.append(asyncio.get_running_loop().time())
        self._moments.move_to_end(account_id)
        if len(self._moments) > ACCOUNTS_COUNTED:
            self._forget(next(iter(self._moments)))
        if account_id not in self._held and self._ends_in(account_id) > 0:
            logger.warning(
                "account %s is held back: its expressions cost %d processes in %d minutes",
                account_id,
                STRIKES,
                STRIKES_SECONDS // 60,
            )
            self._look_again(account_id)

    def clear(self) -> None:
        """Forget every account."""
        for timer in self._held.values():
            timer.cancel()
        self._held.clear()
        self._moments.clear()

    def _ends_in(self, account_id: UUID) -> float:
        """Seconds until the oldest of too many strikes is past; nothing or less when there are not too many."""
        moments = self._moments[account_id]
        if len(moments) < STRIKES:
            return 0
        return moments[0] + STRIKES_SECONDS - asyncio.get_running_loop().time()

    def _look_again(self, account_id: UUID) -> None:
        """Hold an account back for as long as it has too many strikes."""
        seconds = self._ends_in(account_id)
        if seconds > 0:
            loop = asyncio.get_running_loop()
            self._held[account_id] = loop.call_later(seconds, self._look_again, account_id)
        else:
            self._forget(account_id)

    def _forget(self, account_id: UUID) -> None:
        del self._moments[account_id]
        timer = self._held.pop(account_id, None)
        if timer is not None:
            timer.cancel()
            logger.warning("account %s is no longer held back", account_id)


class Line:
    """One account's frames: those that wait and how many are worked on.

    A call enters it (`async with`) before it encodes anything, so that its account's frames take bounded memory.
    """

    __slots__ = ("account_id", "at_work", "calls", "is_in_turn", "places", "waiting")

    def __init__(self, account_id: UUID) -> None:
        self.account_id = account_id
        self.places = asyncio.Semaphore(CALLS_LIMIT)
        self.calls = 0
        self.waiting: deque[Request] = deque()
        self.at_work = 0
        self.is_in_turn = False

    async def __aenter__(self) -> None:
        self.calls += 1
        try:
            await self.places.acquire()
        except BaseException:
            self.calls -= 1
            raise

    async def __aexit__(self, *_: object) -> None:
        self.calls -= 1
        self.places.release()

    def is_used(self) -> bool:
        """Whether anything of the account is under way."""
        return bool(self.calls or self.at_work or self.waiting)

    def pop(self) -> Request | None:
        """The next frame that somebody still waits for."""
        while self.waiting:
            request = self.waiting.popleft()
            if not request.future.done():
                return request
        return None


class Turns:
    """The frames that wait. Each account has its line, and the lines whose frame could go stand in turn.

    An account has at most `share` workers, one whose process it has cost counted until there is another. An account
    that is held back has at most one, all such accounts together at most `share`, and only when no other account's frame
    could go. A step costs the same however many frames wait.
    """

    def __init__(self, share: int) -> None:
        self.share = share
        self.strikes = Strikes()
        self._lines: dict[UUID, Line] = {}
        self._lines_limit = LINES_KEPT
        self._in_turn: deque[Line] = deque()
        self._held_back: deque[Line] = deque()
        self._held_at_work = 0

    def line(self, account_id: UUID) -> Line:
        """The line of an account."""
        found = self._lines.get(account_id)
        if found is None:
            if len(self._lines) >= self._lines_limit:
                self._lines = {key: line for key, line in self._lines.items() if line.is_used()}
                self._lines_limit = max(LINES_KEPT, 2 * len(self._lines))
            found = self._lines[account_id] = Line(account_id)
        return found

    @property
    def waiting(self) -> int:
        """How many frames wait."""
        return sum(len(line.waiting) for line in self._lines.values())

    def join(self, request: Request) -> None:
        """Let a frame wait."""
        line = self.line(request.account_id)
        line.waiting.append(request)
        self._stand(line)

    def next(self) -> Request | None:
        """The frame whose turn it is; its account goes to the end."""
        while self._in_turn:
            line = self._in_turn.popleft()
            line.is_in_turn = False
            if self.strikes.holds(line.account_id):
                self._stand(line)  # among the others held back, as it has been since it stood here
            elif (request := self._taken(line)) is not None:
                return request
        while self._held_back and self._held_at_work < self.share:
            line = self._held_back.popleft()
            line.is_in_turn = False
            if (request := self._taken(line)) is not None:
                request.is_held_back = True
                self._held_at_work += 1
                return request
        return None

    def release(self, request: Request) -> None:
        """A frame is not worked on any more."""
        line = self._lines[request.account_id]
        line.at_work -= 1
        self._held_at_work -= request.is_held_back
        self._stand(line)

    def refuse(self, error: Exception) -> None:
        """Fail every frame that waits."""
        for line in self._lines.values():
            while (request := line.pop()) is not None:
                request.future.set_exception(error)

    def _stand(self, line: Line) -> None:
        """Put a line in turn if it has a frame that could go."""
        if line.is_in_turn or not line.waiting:
            return
        held = self.strikes.holds(line.account_id)
        if line.at_work < (1 if held else self.share):
            line.is_in_turn = True
            (self._held_back if held else self._in_turn).append(line)

    def _taken(self, line: Line) -> Request | None:
        request = line.pop()
        if request is not None:
            line.at_work += 1
            self._stand(line)
        return request
