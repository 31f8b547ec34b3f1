"""What uvicorn leaves open where a connection has more than one request, or ends in the middle of one.

An answer too many would be taken for the next request's by whoever shares the connection; and who has hung up is told of to the
newest request alone, so that those before it fail when they write their answers.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle


class Pipelining(HttpToolsProtocol):
    """uvicorn's protocol with one answer to each request, in their order."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._running: RequestResponseCycle | None = None
        self._last: RequestResponseCycle | None = None  # with whose answer the connection ends

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
        if last is not None:
            last.keep_alive = False
