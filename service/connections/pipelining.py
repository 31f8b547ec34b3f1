"""What uvicorn leaves open where a connection has more than one request, or ends in the middle of one.

It reads on while requests wait for the answers to those before them, which is memory for as long as the client likes. An answer too many would be taken for the next request's by whoever shares the connection; and who has hung up is told of to the
newest request alone, so that those before it fail when they write their answers.
"""

import asyncio
from collections.abc import Sized
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle


class Flow(FlowControl):
    """Reads no more of a client whose requests wait, or whose answers lie unread: it has sent enough."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Read on, unless there is a reason not to."""
        if not self._waiting and not self.write_paused:
            super().resume_reading()


class Pipelining(HttpToolsProtocol):
    """uvicorn's protocol with one answer to each request, in their order."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._running: RequestResponseCycle | None = None
        self._last: RequestResponseCycle | None = None  # with whose answer the connection ends

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin."""
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """End; the request that is being answered hears of it, whether or not others wait behind it."""
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def refuse_newest(self, status: int, message: str) -> None:
        """Refuse what is no request, or no body; where an answer is under way or was given, that is the only one."""
        newest, waiting = self.cycle, self.pipeline
        if self._last is not None:
            return
        if newest is None or (newest.response_complete and not newest.more_body):
            self.refuse(status, message)
        elif not newest.more_body:  # it is garbage behind good requests, which are answered
            self._end_with(newest)
        elif waiting and waiting[0][0] is newest:  # as are those before a request whose body is none
            waiting.popleft()
            self._end_with(waiting[0][0] if waiting else self._running)
        elif newest is self._running and not newest.response_started:
            self.refuse(status, message)
        else:
            self.transport.close()

    def refuse(self, status: int, message: str) -> None:
        """Say why the connection is closed, and close it."""
        raise NotImplementedError

    def _end_with(self, last: RequestResponseCycle | None) -> None:
        self._last = last
        if last is None or last.response_complete:
            self.transport.close()
        else:
            last.keep_alive = False
