"""What the connections of one server share: their limits, the places for their requests, and the look after all of them."""

import asyncio
import http
from typing import Protocol, cast

from uvicorn.server import ServerState

from service.connections.crowds import Crowd
from service.connections.limits import Limits
from service.connections.unread import Unread
from service.connections.uploads import Uploads
from service.overload import Gate
from service.telemetry.metrics import SHED

# By these an operator sees how the process is, also where it has no room.
PROBES = ("/healthz", "/readyz", "/metrics")
STOPPING = "The service is stopping; try again."


class Connection(Protocol):
    """A connection of a client."""

    def look(self, now: float) -> None:
        """Cut off its client where it takes its time."""

    def refuse(self, status: int, message: str) -> None:
        """Say why it is closed, and close it."""


class Ward:
    """What the connections of one server share: limits, places, and the look after all of them."""

    def __init__(self, state: ServerState, limits: Limits) -> None:
        self._state = state
        self.limits = limits
        self.gate = Gate(
            "requests",
            limits.requests,
            limits.queue,
            limits.queue_seconds,
            limits.burst_seconds,
            share=limits.requests_of_one,
        )
        self.probes = Gate(
            "probes",
            limits.probes,
            limits.probes * 8,
            limits.burst_seconds,
            limits.burst_seconds,
            share=max(1, limits.probes // 2),
        )
        self.uploads = Uploads(limits)
        self.turned_away = SHED.labels("connections")
        self.stopping = False
        self.crowd = Crowd(limits.connections)
        self.unread = Unread(limits)
        self._look_again()

    def gate_of(self, path: str) -> Gate:
        """Where a request to a path waits for its place."""
        return self.probes if path in PROBES else self.gate

    def stop(self) -> None:
        """Cut off, in a while, what has not come to its end."""
        if not self.stopping:
            self.stopping = True
            asyncio.get_running_loop().call_later(self.limits.stop_seconds, self._cut)

    def _connections(self) -> list[Connection]:
        # By their type they may be any protocol of uvicorn's; those of a server that has a ward are ours.
        return list(cast("set[Connection]", self._state.connections))

    def _cut(self) -> None:
        for one in self._connections():
            one.refuse(http.HTTPStatus.SERVICE_UNAVAILABLE, STOPPING)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        for one in self._connections():
            one.look(now)
        self._look_again()

    def _look_again(self) -> None:
        asyncio.get_running_loop().call_later(self.limits.look_every, self._look)
