"""Steps in a test: how they are written, and the pure interpreter that runs what they become, without a database."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from service.engine.effects.call_http import perform
from service.engine.egress import Egress
from service.engine.flow import Raised
from service.engine.messages import Advance, Ask, Call, Stimulus
from service.keyfactor.roles import ROLES
from service.keyfactor.steps import Compiled, Header, Step, compiled
from service.keyfactor.steps.compiling import secret_of
from tests.engine.instances import Instance
from tests.engine.outside import ACCOUNT, TRACE, Sandbox

ID = UUID(int=7)
NAMES = {number: name for number, (name, _) in ROLES.items()}
ANN = {"id": "1", "name": "Ann", "email": "ann@example.com"}


def step(extension: str, name: str, following: str | None = None, /, **more: Any) -> dict[str, Any]:
    """A step as an author writes it; parameters are named as they are, other fields by `more`."""
    fields: dict[str, Any] = {
        key: more.pop(key) for key in ("Conditions", "Signals", "Enabled", "DisplayName") if key in more
    }
    return {
        "ExtensionName": extension,
        "UniqueName": name,
        "ConfigurationParameters": more,
        "Outputs": {"continue": following} if following else {},
        **fields,
    }


def approval(name: str, following: str | None = None, /, *roles: int, **more: Any) -> dict[str, Any]:
    """An approval by some roles, an administrator where none is named."""
    signals = [{"SignalName": "ApprovalStatus", "RoleIds": list(roles or (1,))}]
    return step("RequireApproval", name, following, Signals=signals, **more)


def chain(*steps: dict[str, Any]) -> list[dict[str, Any]]:
    """Steps one after the other, between a start and an end."""
    names = [one["UniqueName"] for one in steps]
    linked = [
        {**one, "Outputs": {"continue": following}}
        for one, following in zip(steps, [*names, "EndNOOP"][1:], strict=True)
    ]
    return [
        step("NOOPStep", "EndNOOP"),
        *reversed(linked),
        step("NOOPStep", "StartNOOP", [*names, "EndNOOP"][0]),
    ]


def made(*steps: Mapping[str, Any], title: str | None = "Web server") -> Compiled:
    """What steps become."""
    header = Header(id=ID, number=3, display_name=title, description=None, workflow_type="Enrollment")
    return compiled(header, msgspec.convert(list(steps), list[Step]), NAMES)


class Running(Instance):
    """An instance of steps, each after the other, whose calls are made."""

    def __init__(self, *steps: Mapping[str, Any], way: Egress | None = None) -> None:
        self.made = made(*steps)
        super().__init__(self.made.document)
        self.way = way

    def take(self, stimulus: Stimulus) -> Advance:
        """Go on; what a task began with stays in its row, as it does in a database."""
        began = dict(self.history)
        reached = super().take(stimulus)
        for row in reached.history:
            if not row.began:
                row.input = began[row.number].input
        return reached

    async def run(self, bucket: Mapping[str, Any]) -> Advance:
        """Run to the end, or to where people are asked."""
        return await self.on(self.start(dict(bucket)))

    async def on(self, reached: Advance) -> Advance:
        """Make calls until there are none to make."""
        while calls := [effect for effect in reached.effects if isinstance(effect, Call)]:
            assert self.way is not None
            for call in calls:
                waiting = self.pending(call.wait)
                assert waiting is not None
                try:
                    value = await perform(self.way, Sandbox(), ACCOUNT, waiting, self.made.secrets, TRACE)
                except Raised as raised:
                    reached = self.reply(wait=call.wait, failure=raised.fault)
                else:
                    reached = self.reply(value, wait=call.wait)
        return reached

    async def decide(self, reached: Advance, outcome: str, comment: str | None = None) -> Advance:
        """Have Ann decide what is asked."""
        (asked,) = [effect for effect in reached.effects if isinstance(effect, Ask)]
        decision = {
            "user": ANN,
            "outcome": outcome,
            "comment": comment,
            "fields": None,
            "at": "2025-01-31T12:00:00Z",
        }
        told = {"id": "1", "outcome": outcome, "approved": outcome == "approve", "decisions": [decision]}
        return await self.on(self.reply(told, wait=asked.wait))


async def bucket_after(bucket: Mapping[str, Any], *steps: Mapping[str, Any]) -> Any:
    """What the data bucket is at the end."""
    reached = await Running(*chain(*map(dict, steps))).run(bucket)
    assert reached.status == "completed", reached.fault
    return reached.output


def secret_name(name: str) -> str:
    """What the secret of a step is called."""
    return secret_of(ID, name)
