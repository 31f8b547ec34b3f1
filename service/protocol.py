"""HTTP/1.1 for clients that offer HTTP/2 in passing.

Java's HTTP client, and so the vendor's Java SDK, sends `Connection: Upgrade` and `Upgrade: h2c` with every plain request.
A server that stays with HTTP/1.1 answers as if they were not there (RFC 9110, 7.8). uvicorn's parser takes what follows
the headers of such a request for another protocol and drops its body; here the body is taken by its length.
"""

import sys
from collections.abc import Iterable
from typing import Any

import httptools

from service.pipelining import Pipelining

LARGEST_HEAD = 65_536  # bytes of a request before its body


class Http1Protocol(Pipelining):
    """uvicorn's protocol, with the body of a request that offers an upgrade."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._body_left = 0
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Take what came: the rest of such a body, then requests."""
        self._unset_keepalive_if_required()
        while data := self._after_body(data):
            self._head_bytes += len(data)
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
                return
            except httptools.HttpParserUpgrade as offer:
                data = data[offer.args[0] :]
                self._body_left = length_of_body(self.headers)
                self.cycle.more_body = self._body_left > 0
            else:
                if self._head_bytes > LARGEST_HEAD:
                    self.send_400_response(f"The request's headers are larger than {LARGEST_HEAD} bytes.")
                return

    def shutdown(self) -> None:
        """Have an answer that has no end of its own end now; whoever gives it says by `stop` in the state how."""
        super().shutdown()
        if self.cycle is not None and not self.cycle.response_complete and "stop" in self.scope["state"]:
            self.scope["state"]["stop"]()

    def on_headers_complete(self) -> None:
        """Count anew: what comes now is a body, or the next request. `abort` is for answers that nobody reads."""
        self._head_bytes = -sys.maxsize
        self.scope["state"]["abort"] = self.transport.abort
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Count the next request's headers."""
        self._head_bytes = 0
        super().on_message_complete()

    def _after_body(self, data: bytes) -> bytes:
        """Give the request its part of the data; return what is left."""
        part = data[: self._body_left]
        if part:
            self._body_left -= len(part)
            self.on_body(part)
            if not self._body_left:
                self.on_message_complete()
        return data[len(part) :]


def length_of_body(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the length that a request's headers tell; the parser has refused one that is no number."""
    return next((int(value) for name, value in headers if name == b"content-length"), 0)
