"""Keeps the access tokens that calls were given until shortly before they expire, and asks once for those who want the same."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import msgspec

CAPACITY = 1_000  # tokens; the one that was not used for the longest time goes first
EARLY = 30  # seconds before its expiry at which a token is no longer used (contract 7.1)
LONGEST = 86_400  # seconds for which a token is kept, however long its issuer says that it is good


class Token(msgspec.Struct, frozen=True):
    """An access token and for how many seconds it is good; None when its issuer did not say, and it is used once."""

    value: str
    seconds: float | None = None


class Flight:
    """A request for a token that is under way, and how many wait for it."""

    def __init__(self, task: asyncio.Task[Token]) -> None:
        self.task = task
        self.waiting = 0


class TokenCache:
    """Access tokens by whatever identifies who asked for what."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[Token, float]] = OrderedDict()
        self._flights: dict[bytes, Flight] = {}

    async def get(self, key: bytes, request: Callable[[], Awaitable[Token]]) -> Token:
        """Return the token that is kept under the key, or request one; raises whatever the request raises.

        Whoever comes while a request is under way waits for it; it ends when nobody waits for it any more.
        """
        token, until = self._kept.get(key, (None, 0.0))
        if token is not None and self._clock() < until:
            self._kept.move_to_end(key)
            return token
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(asyncio.create_task(self._requested(key, request)))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                flight.task.cancel()
                if self._flights.get(key) is flight:
                    del self._flights[key]

    def drop(self, key: bytes, value: str) -> None:
        """Forget a token that was refused, unless another one has taken its place."""
        token, _ = self._kept.get(key, (None, 0.0))
        if token is not None and token.value == value:
            del self._kept[key]

    async def _requested(self, key: bytes, request: Callable[[], Awaitable[Token]]) -> Token:
        began = self._clock()
        token = await request()
        if token.seconds is not None and token.seconds > EARLY:
            self._kept[key] = (token, began + min(token.seconds, LONGEST) - EARLY)
            self._kept.move_to_end(key)
            while len(self._kept) > CAPACITY:
                self._kept.popitem(last=False)
        return token
