"""Two hundred requests of several people at one instance, in an order that a seed gives."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import msgspec

from tests.maestro.actions import document
from tests.world import bearer

SOURCE = "https://crowd.example/"
AT_ONCE = 200
PEOPLE = 8
NEVER = PEOPLE + 1  # so many people never sign
REPEATED = 5  # every fifth event is the one before it once more


class Mix(msgspec.Struct, frozen=True):
    """How many requests of each verb, how many people have to sign and how many events have to come until all is done.

    `late` are verbs that are sent when half of the other requests have their answers, so that those have had their turn;
    `done` are verbs of which at least one request must be accepted.
    """

    verbs: Mapping[str, int]
    late: Sequence[str] = ()
    done: Sequence[str] = ()
    minimum: int = NEVER
    events: int = 1000


class Place(msgspec.Struct, frozen=True):
    """The paths of the instance and of its two work items, and who is asked: the people, and one who never answers."""

    instance: str
    sign: str
    check: str
    users: Sequence[str]


class Act(msgspec.Struct, frozen=True):
    """One request: the verb, which of the people sends it, where to, and with what body."""

    verb: str
    person: int
    path: str
    body: Any = None


class Answered(msgspec.Struct, frozen=True):
    """A request and its answer."""

    act: Act
    response: httpx.Response

    @property
    def accepted(self) -> bool:
        """Whether it was done."""
        return self.response.is_success


def crowded(users: Sequence[str], mix: Mix) -> dict[str, Any]:
    """Write a definition that asks twice, of several people and of one who may claim it, and hears one event after another."""
    asked = {"assignees": {"users": users}, "due": {"days": 1}}
    sign = {"call": "approval", "with": {"title": "Sign", "minimum": mix.minimum, **asked}}
    check = {"call": "approval", "with": {"title": "Check", **asked}}
    event = {"listen": {"to": {"one": {"with": {"source": SOURCE}}}, "read": "envelope"}}
    hear = {"for": {"in": f"${{ [range(0; {mix.events})] }}"}, "do": [{"event": event}]}
    branches = [{"sign": sign}, {"check": check}, {"hear": hear}]
    return document("crowded", [{"both": {"fork": {"branches": branches}}}])


def acts(mix: Mix, seed: int, place: Place) -> list[Act]:
    """Choose the requests and their order."""
    chance = random.Random(seed)  # noqa: S311 - they are to be repeatable
    verbs = list(Counter(dict(mix.verbs)).elements())
    chance.shuffle(verbs)
    chosen: list[Act] = []
    for verb in verbs:
        number = 1 + sum(one.verb == "signal" for one in chosen)
        number -= number % REPEATED == 0
        chosen.append(act(verb, chance.randrange(PEOPLE), place, number))
    return chosen


def act(verb: str, person: int, place: Place, number: int) -> Act:
    """Make one request; `number` is that of its event."""
    match verb:
        case "signal":
            event = {"source": SOURCE, "type": f"number.{number}", "id": str(number)}
            return Act(verb, person, f"{place.instance}/actions/signal", event)
        case "sign" | "reject":
            outcome = "approve" if verb == "sign" else "reject"
            return Act(verb, person, f"{place.sign}/actions/complete", {"outcome": outcome})
        case "check":
            return Act(verb, person, f"{place.check}/actions/complete", {"outcome": "approve"})
        case "claim" | "release":
            return Act(verb, person, f"{place.check}/actions/{verb}")
        case "reassign":
            return Act(verb, person, f"{place.check}/actions/reassign", {"assignees": {"users": place.users}})
    return Act(verb, person, f"{place.instance}/actions/{verb}")


async def send(client: httpx.AsyncClient, token: str, chosen: Act) -> Answered:
    """Send a request."""
    sent = {} if chosen.body is None else {"json": chosen.body}
    return Answered(chosen, await client.post(chosen.path, headers=bearer(token), **sent))
