"""Stages in a test: the pure interpreter, with calls that are really made to a stack on this host, and no database."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from service.engine.effects.call_http import perform
from service.engine.egress import Egress
from service.engine.flow import Raised
from service.engine.messages import Advance, Call, Sleep, Stimulus
from service.formance.stages import compiled
from tests.engine.instances import Instance
from tests.engine.outside import ACCOUNT, TRACE, Sandbox, egress
from tests.formance.ledger import Stack, stack

USD = {"amount": 100, "asset": "USD/2"}
HUGE = 2**100 + 1
NASTY = 'a\'b"c\\d\\(1+1)$ENV{} | error("no") # \u0001é'


@pytest.fixture
async def books() -> AsyncIterator[Stack]:
    async with stack() as made:
        yield made


@pytest.fixture
async def way() -> AsyncIterator[Egress]:
    async with egress() as made:
        yield made


MOVE = {"send": {"source": {"account": {"id": "a"}}, "destination": {"account": {"id": "b"}}, "amount": USD}}


class Running(Instance):
    """An instance whose calls are made, and whose pauses are over at once."""

    def __init__(self, way: Egress, secrets: dict[str, Any], *stages: dict[str, Any]) -> None:
        super().__init__(compiled({"stages": list(stages)}))
        self.way = way
        self.secrets = secrets
        self.pauses: list[timedelta] = []

    def take(self, stimulus: Stimulus) -> Advance:
        """Go on; what a task began with stays in its row, as it does in a database."""
        began = dict(self.history)
        reached = super().take(stimulus)
        for row in reached.history:
            if not row.began:
                row.input = began[row.number].input
        return reached

    async def run(self, most_pauses: int = 100, **variables: str) -> Advance:
        """Run to the end, or until it has paused so often."""
        reached = self.start(variables)
        while not reached.status.terminal:
            waits = [effect for effect in reached.effects if isinstance(effect, Call | Sleep)]
            assert waits
            for wait in waits:
                if isinstance(wait, Call):
                    reached = await self.made(wait)
                else:
                    self.pauses.append(wait.until - self.now)
                    if len(self.pauses) > most_pauses:
                        return reached
                    reached = self.wake(wait.wait, after=self.pauses[-1])
        return reached

    async def made(self, call: Call) -> Advance:
        waiting = self.pending(call.wait)
        assert waiting is not None
        try:
            value = await perform(self.way, Sandbox(), ACCOUNT, waiting, self.secrets, TRACE)
        except Raised as raised:
            return self.reply(wait=call.wait, failure=raised.fault)
        return self.reply(value, wait=call.wait)

    def calls(self) -> list[tuple[str, Any, str]]:
        """Each call that was made: its activity, its input, and how it ended."""
        return [
            (row.name, row.input["input"], row.status)
            for _, row in sorted(self.history.items())
            if row.kind == "call" and "/try/" in row.pointer and row.pointer.startswith("/use")
        ]


async def sent(
    way: Egress, books: Stack, source: Any, destination: Any, amount: Any = USD, **more: Any
) -> tuple[Running, Advance]:
    """Send by one stage, with variables from `variables`."""
    variables = more.pop("variables", {})
    send = {"source": source, "destination": destination, **more}
    if amount is not None:
        send["amount"] = amount
    running = Running(way, {"formance": books.secret}, {"send": send})
    return running, await running.run(**variables)


def account(identity: str, **more: Any) -> dict[str, Any]:
    return {"account": {"id": identity, **more}}


def wallet(**fields: Any) -> dict[str, Any]:
    return {"wallet": fields}
