"""A client as vendors' SDKs are: what broke or was answered by 5xx or 429 is sent again, and everything is written down."""

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

PATIENCE = 10  # seconds for an answer
LONGEST = 60  # seconds until something is given up
SHORTEST_PAUSE, LONGEST_PAUSE = 0.2, 2.0  # seconds before something is sent again
LONGEST_WISH = 5.0  # seconds of Retry-After that SDKs obey
AGAIN = frozenset({429, 500, 502, 503, 504})


class Answer(msgspec.Struct, frozen=True):
    """An answer; status 0: none came. `sent`: that the request may have been received."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""
    sent: bool = True

    @property
    def taken(self) -> bool:
        """Whether it acknowledges."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body's value."""
        return msgspec.json.decode(self.body)


class Asked(msgspec.Struct, frozen=True):
    """A request: `verb` and `subject` name it in the log. `again`: that it may be sent again though it may have been received."""

    verb: str
    subject: str
    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = {}
    again: bool = True

    @property
    def request_id(self) -> UUID:
        """Under which it is sent, however often, whoever writes it anew; the audit has to tell of it."""
        return request_id(self.verb, self.subject)


def request_id(verb: str, subject: str) -> UUID:
    """Make the id of a request from what names it in the log."""
    return uuid5(NAMESPACE_URL, f"{verb} {subject}")


class Attempt(msgspec.Struct, frozen=True):
    """One sending of a request, in seconds since the run began: status 0 where no answer came."""

    at: float
    verb: str
    subject: str
    port: int
    number: int
    status: int
    seconds: float


class Acknowledged(msgspec.Struct, frozen=True):
    """What the service has said to be done: the verb, on which instance or thing, in whose name."""

    verb: str
    account_id: UUID
    actor: UUID
    subject: str
    instance_id: UUID | None = None
    detail: dict[str, Any] = {}


class ClientLog:
    """What clients sent, what came back, and what they may rely on."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.attempts: list[Attempt] = []
        self.acknowledged: list[Acknowledged] = []
        self.answers: Counter[int] = Counter()
        self.retried = 0
        self.wrong: list[str] = []
        self.seen: set[tuple[UUID, UUID]] = set()  # account, instance that a list of it has shown

    @property
    def verbs(self) -> dict[str, int]:
        """How much was acknowledged, by verb."""
        return dict(sorted(Counter(one.verb for one in self.acknowledged).items()))

    def wrote(self, attempt: Attempt) -> None:
        """Write down an attempt."""
        self.attempts.append(attempt)
        self.answers[attempt.status] += 1
        self.retried += attempt.number > 1


class Caller:
    """Somebody with a proof, who asks one thing after the other, each of a process by chance."""

    def __init__(
        self, log: ClientLog, ports: Sequence[int], headers: Mapping[str, str], chosen: random.Random
    ) -> None:
        self.log = log
        self._headers = headers
        self._chosen = chosen
        self._lines = [Line(port) for port in ports]

    async def ask(self, asked: Asked, longest: float = LONGEST) -> Answer:
        """Ask until there is an answer that stays; the last one where that takes too long."""
        until = time.monotonic() + longest
        for number in itertools.count(1):
            answer = await self._once(asked, number)
            unknown = answer.status in AGAIN or (answer.status == 0 and answer.sent)
            over = time.monotonic() > until
            if over or (answer.status and not unknown) or (unknown and not asked.again):
                return answer
            await asyncio.sleep(self._pause(answer, number))
        raise AssertionError

    async def _once(self, asked: Asked, number: int) -> Answer:
        line = self._chosen.choice(self._lines)
        began = time.monotonic()
        answer = await line.ask(written(asked, self._headers), PATIENCE)
        took = time.monotonic() - began
        at = round(began - self.log.began, 3)
        self.log.wrote(
            Attempt(at, asked.verb, asked.subject, line.port, number, answer.status, round(took, 3))
        )
        return answer

    def _pause(self, answer: Answer, number: int) -> float:
        wish = answer.headers.get("retry-after", "")
        if wish.isdigit():
            return min(float(wish), LONGEST_WISH)
        pause: float = min(SHORTEST_PAUSE * 2**number, LONGEST_PAUSE)
        return self._chosen.uniform(0.5, 1) * pause

    def close(self) -> None:
        """Hang up."""
        for line in self._lines:
            line.close()


def written(asked: Asked, headers: Mapping[str, str]) -> bytes:
    """Write a request's bytes."""
    body = b"" if asked.body is None else msgspec.json.encode(asked.body)
    own = {"X-Request-Id": str(asked.request_id), "Content-Length": str(len(body))}
    fields = {"Host": "chaos", **headers, **asked.headers, **own}
    if body:
        fields["Content-Type"] = "application/json"
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{asked.method} {asked.path} HTTP/1.1\r\n{lines}\r\n".encode() + body


class Line:
    """One keep-alive connection, opened anew when it was lost."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes, seconds: float) -> Answer:
        """Send a request; the answer has status 0 where none came."""
        sent = False
        try:
            async with asyncio.timeout(seconds):
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self.port)
                sent = True
                return await self._exchange(*self._streams, request)
        except (OSError, EOFError, TimeoutError):
            self.close()
            return Answer(0, sent=sent)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> Answer:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
        headers = {name.lower(): value for name, value in fields.items()}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(int(head[0][9:12]), headers, body)

    def close(self) -> None:
        """Close the connection; asking again opens another."""
        if self._streams is not None:
            with contextlib.suppress(RuntimeError):  # the loop may be at its end
                self._streams[1].close()
        self._streams = None
