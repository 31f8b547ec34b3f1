"""The transition table through the API: every verb on an instance of every status leads where `states.py` says, or is refused."""

from typing import Any

import httpx
import pytest

from service.engine.states import TRANSITIONS, Status, TransitionRefused, after
from tests.maestro.actions import STEPS, act, document, execute, faulted, row_of, send
from tests.maestro.errors import assert_refused
from tests.world import Tenant, World, trigger, until

VERBS = {"suspend": 200, "resume": 200, "cancel": 200, "restart": 201, "delete": 204}
ENGINES_OWN = {"start", "wait", "wake", "complete", "fault", "reject"}
OF_ANOTHER_DIALECT = {"stop", "supersede", "remove"}  # its own tests call them, of every status too

LONG = document("long", [{"nap": {"wait": {"days": 1}}}, {"close": {"set": {"done": True}}}])


async def brought_to(client: httpx.AsyncClient, acme: Tenant, status: Status) -> str:
    """Make an instance of a status; return its path. What only lasts a moment is written behind the service's back."""
    if status is Status.FAULTED:
        return await faulted(client, acme)
    if status is Status.COMPLETED:
        url = await trigger(client, acme, "steps", {"x": 1})
        await send(client, acme, url, "goods.arrived", {"ok": True})
        await until(client, acme, url, workflow_status="Completed")
        return url
    url = await trigger(client, acme, "long", {})
    if status in {Status.SUSPENDED, Status.CANCELLED}:
        await act(client, acme, url, "suspend" if status is Status.SUSPENDED else "cancel", status=200)
    elif status is not Status.WAITING:
        await execute(
            acme, "UPDATE instance SET status = $1 WHERE id = $2", status, (await row_of(acme, url))["id"]
        )
    assert (await row_of(acme, url))["status"] == status
    return url


def wanted(verb: str, status: Status) -> Status | None:
    """What the table says; None for a refusal."""
    try:
        return after(verb, status)
    except TransitionRefused:
        return None


def test_every_verb_of_the_table_is_the_engines_own_or_called_here() -> None:
    assert set(TRANSITIONS) == VERBS.keys() | ENGINES_OWN | OF_ANOTHER_DIALECT


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_leads_where_the_table_says(client: httpx.AsyncClient, world: World, verb: str) -> None:
    for definition in (STEPS, LONG):
        await world.acme.publish(definition)
    for status in Status:
        url = await brought_to(client, world.acme, status)
        await led(client, world.acme, url, verb, wanted(verb, status))


async def led(client: httpx.AsyncClient, of: Tenant, url: str, verb: str, expected: Status | None) -> None:
    """Call a verb, and hold what becomes of the instance against what is expected, None being a refusal."""
    before: dict[str, Any] = dict(await row_of(of, url))
    answer = await act(client, of, url, verb)
    if expected is None:
        assert_refused(answer, 409)
        assert dict(await row_of(of, url)) == before
        return
    assert (before["status"], answer.status_code) == (before["status"], VERBS[verb])
    if verb == "delete":
        await act(client, of, url, verb, status=404)
    elif verb == "resume":  # a worker lets it wait again at once
        assert (await row_of(of, url))["status"] in {expected, Status.WAITING}
    else:
        assert (before["status"], (await row_of(of, url))["status"]) == (before["status"], expected)
