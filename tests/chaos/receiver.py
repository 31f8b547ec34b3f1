"""The endpoint of accounts' webhooks. It writes down every message, and refuses, delays or drops some of them at first."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import msgspec

from service.operations.webhooks import CONNECT
from tests.chaos.callee import serving
from tests.chaos.mix import chance

MANNERS = {"accept": 88, "refuse": 4, "slow": 5, "reset": 3}
SLOW = (0.1, 0.5)  # seconds
MOST_REFUSALS = 1  # of one message, so that the next attempt's hour is near: it comes 5 s later


class Heard(msgspec.Struct, frozen=True):
    """One message that came, in the order in which they did, and whether it was accepted."""

    delivery_id: UUID
    account_id: UUID
    instance_id: UUID | None
    type: str
    accepted: bool


class Receiver:
    """Accepts messages, most of the time."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.calm = False
        self.heard: list[Heard] = []
        self._refused: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def answering(self) -> AsyncIterator[int]:
        """Answer for as long as the block runs; yield the port."""
        async with serving(self._answer) as port:
            yield port

    async def _answer(self, headers: Mapping[str, str], body: bytes, writer: asyncio.StreamWriter) -> bool:
        identifier = headers["webhook-id"]
        chosen = chance(self.seed, identifier, self._refused[identifier])
        (manner,) = chosen.choices(list(MANNERS), list(MANNERS.values()))
        if self.calm or (manner != "slow" and self._refused[identifier] >= MOST_REFUSALS):
            manner = "accept"
        accepted = manner in ("accept", "slow")
        self._refused[identifier] += not accepted
        if manner == "slow":
            await asyncio.sleep(chosen.uniform(*SLOW))
        self.heard.append(heard(identifier, msgspec.json.decode(body), accepted=accepted))
        if manner == "reset":
            writer.transport.abort()
            return False
        status = b"204 No Content" if accepted else b"503 Service Unavailable"
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        return True


def heard(identifier: str, message: dict[str, Any], *, accepted: bool) -> Heard:
    """Read a message, of either format."""
    data = message["data"]
    connect = "accountId" in data
    account, instance = (
        data.get(name) for name in (("accountId", "instanceId") if connect else ("account_id", "instance_id"))
    )
    return Heard(
        UUID(identifier.removeprefix("msg_")),
        UUID(account),
        UUID(instance) if instance else None,
        CONNECT[message["event"]] if connect else message["type"],
        accepted,
    )
