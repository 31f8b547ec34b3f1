"""Garbage over connections of its own: no 5xx, no request that was smuggled in, and a good request is still answered."""

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterable

from tests.fuzz.described import Found, Violation
from tests.fuzz.garbage import Garbage, Target, garbage

AT_ONCE = 8  # connections
SILENCE = 0.5  # seconds after which a connection is taken to have nothing more to say
PATIENCE = 15  # seconds for what is answered at all
BETWEEN = 0.01  # seconds between the parts
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) [^\r\n]*\r\n[A-Za-z-]+: ")
GOOD = "a good request"


async def throw(port: int, to: Target, seed: int, seconds: float, foreign: Iterable[str], part: int) -> Found:
    """Send garbage for so long, everything once at the least, or one of so many."""
    found = Found()
    until = time.monotonic() + seconds
    strangers = [one.encode() for one in foreign]
    while True:
        pending = list(garbage(seed, to))[seed % part :: part]
        found.operations = len(pending)
        for first in range(0, len(pending), AT_ONCE):
            some = pending[first : first + AT_ONCE]
            answers = await asyncio.gather(*(spoken(port, one) for one in some))
            for one, answer in zip(some, answers, strict=True):
                judge(one, answer, strangers, seed, found)
            await look(port, to, [one.name for one in some], found)
        seed += 1
        if time.monotonic() > until:
            return found


def judge(sent: Garbage, answer: bytes, strangers: list[bytes], seed: int, found: Found) -> None:
    """Count the answers to garbage, and hold them against what must not be."""
    statuses = [int(status) for status in STATUS.findall(answer)]
    found.answers.update(statuses or [0])
    final = [status for status in statuses if status >= 200]
    again = f"python -m tests.fuzz --only raw --seed {seed}   # {sent.name}: {b''.join(sent.parts)[:300]!r}"
    if any(status >= 500 for status in statuses):
        found.add(Violation(sent.name, "not_a_server_error", f"answered {statuses}", again))
    if len(final) > sent.answers:
        found.add(
            Violation(sent.name, "one request", f"answered as {len(final)} requests: {statuses}", again)
        )
    for one in strangers:
        if one in answer and one not in b"".join(sent.parts):
            found.add(Violation(sent.name, "nothing_of_others", f"answered with {one!r}", again))


async def look(port: int, to: Target, after: list[str], found: Found) -> None:
    """Ask something good."""
    good = Garbage(GOOD, (to.head("GET", f"{to.account}/settings", "Connection: close"),))
    answer = await spoken(port, good)
    statuses = Counter(int(status) for status in STATUS.findall(answer))
    found.answers.update(statuses)
    if statuses != {200: 1}:
        found.add(Violation(GOOD, "still answers", f"answered {answer[:300]!r} after {', '.join(after)}", ""))


async def spoken(port: int, sent: Garbage) -> bytes:
    """Send the parts over a connection; return all that comes back."""
    answer = b""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with contextlib.suppress(ConnectionError):
            for part in sent.parts:
                writer.write(part)
                await asyncio.wait_for(writer.drain(), PATIENCE)
                await asyncio.sleep(BETWEEN)
            if sent.half_closed:
                writer.write_eof()
        with contextlib.suppress(ConnectionError, TimeoutError):
            while more := await asyncio.wait_for(
                reader.read(65_536), PATIENCE if sent.name == GOOD else SILENCE
            ):
                answer += more
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), PATIENCE)
    return answer
