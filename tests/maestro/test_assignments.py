"""Who works on a work item: claims that keep others out, releases, other assignees; and who did what, when."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.maestro.errors import assert_refused, targets
from tests.maestro.people import Asked, Asking, all_opened, asking, colleague, listed
from tests.world import World, bearer, trigger


async def act(asked: Asked, token: str, action: str, **body: Any) -> httpx.Response:
    """Claim, release or reassign a work item."""
    url = f"{asked.url}/actions/{action}"
    return await asked.client.post(url, headers=bearer(token), json=body or None)


async def done(asked: Asked, token: str, action: str, **body: Any) -> dict[str, Any]:
    """The same, which nobody minds; return the work item."""
    response = await act(asked, token, action, **body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert answer | {"response_metadata": None} == await asked.read() | {"response_metadata": None}
    return answer


async def history(asked: Asked, token: str, **query: Any) -> list[dict[str, Any]]:
    """Read what happened to a work item."""
    response = await asked.client.get(f"{asked.url}/history", params=query, headers=bearer(token))
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["data"]
    return found


# --- Claims ----------------------------------------------------------------------------------------------------------


async def test_a_claim_keeps_others_out_until_it_is_released(ask: Asking, world: World) -> None:
    acme = world.acme
    asked = await ask()
    held = await done(asked, acme.member, "claim")
    assert held["claimed_by"] == {"id": str(acme.member_id), "name": "Acme Member"}
    assert held["claimed_at"] > held["opened_at"]
    for response in (
        await asked.answer(acme.admin, outcome="approve"),
        await act(asked, acme.admin, "claim"),
    ):
        assert_refused(response, 409)
        assert "Acme Member has claimed this work item" in response.json()["detail"]
    assert (await done(asked, acme.member, "claim"))["claimed_at"] == held["claimed_at"]
    released = await done(asked, acme.member, "release")
    assert "claimed_by" not in released
    await asked.done(acme.admin, outcome="approve")


async def test_a_sender_is_not_told_what_became_of_others_work_items(ask: Asking, world: World) -> None:
    asked = await ask(assignees={"roles": ["admin"]})
    await asked.done(world.acme.admin, outcome="reject")
    for action, body in (("release", {}), ("reassign", {"assignees": {"users": [], "roles": ["sender"]}})):
        response = await act(asked, world.acme.member, action, **body)
        assert_refused(response, 403)
        assert "Acme Admin" not in response.text
        assert_refused(await act(asked, world.acme.admin, action, **body), 409)


async def test_the_holder_answers(ask: Asking, world: World) -> None:
    asked = await ask()
    await done(asked, world.acme.member, "claim")
    found = await asked.done(world.acme.member, outcome="approve")
    assert (found["status"], found["claimed_by"]["name"]) == ("completed", "Acme Member")
    for action in ("claim", "release"):
        assert_refused(await act(asked, world.acme.member, action), 409)
    assignees = {"users": [], "roles": ["admin"]}
    assert_refused(await act(asked, world.acme.admin, "reassign", assignees=assignees), 409)


async def test_who_operates_the_account_releases_what_somebody_else_holds(ask: Asking, world: World) -> None:
    asked = await ask()
    _, other = await colleague(world.acme, "other")
    _, manager = await colleague(world.acme, "manager", "manager")
    for token in (manager, world.acme.machine, world.acme.admin):
        await done(asked, world.acme.member, "claim")
        assert_refused(await act(asked, other, "release"), 403)
        await done(asked, token, "release")
    response = await act(asked, world.acme.admin, "release")
    assert_refused(response, 409)
    assert "Nobody has claimed" in response.json()["detail"]
    await done(asked, other, "claim")


async def test_only_who_may_decide_may_claim(ask: Asking, world: World) -> None:
    asked = await ask(assignees={"users": ["member@acme.example"]})
    for token in (world.acme.admin, world.acme.machine):
        assert_refused(await act(asked, token, "claim"), 403)
    await done(asked, world.acme.member, "claim")


async def test_the_starter_claims_nothing_where_four_eyes_are_wanted(ask: Asking, world: World) -> None:
    asked = await ask(excludeStarter=True)
    assert_refused(await act(asked, world.acme.admin, "claim"), 403)


async def test_what_several_people_decide_is_nobodys_to_claim(ask: Asking, world: World) -> None:
    asked = await ask(minimum=2)
    response = await act(asked, world.acme.admin, "claim")
    assert_refused(response, 409)
    assert "2 people have to approve" in response.json()["detail"]


async def test_of_claims_at_the_same_moment_one_holds(ask: Asking, world: World) -> None:
    asked = await ask()
    tokens = [(await colleague(world.acme, f"colleague{number}"))[1] for number in range(6)]
    answers = await asyncio.gather(*(act(asked, token, "claim") for token in tokens))
    assert sorted(one.status_code for one in answers) == [200, 409, 409, 409, 409, 409]
    assert [one["event"] for one in await history(asked, world.acme.admin)] == ["opened", "claimed"]


async def test_a_date_decides_what_somebody_holds(ask: Asking, world: World) -> None:
    asked = await ask(due="PT1S", overdue="reject")
    await done(asked, world.acme.member, "claim")
    found = await asked.became(status="completed")
    assert found["outcome"] == "reject"


async def test_what_somebody_holds_is_listed_for_them(ask: Asking, world: World) -> None:
    asked, _ = await ask(), await ask()
    await done(asked, world.acme.member, "claim")
    for token, count in ((world.acme.member, 1), (world.acme.admin, 0)):
        assert len(await listed(asked.client, world.acme, token, assigned_to="claimed_by_me")) == count
    await asked.done(world.acme.member, outcome="approve")
    assert await listed(asked.client, world.acme, world.acme.member, assigned_to="claimed_by_me") == []


# --- Other assignees -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["admin", "machine", "holder"])
async def test_others_are_asked_instead(ask: Asking, world: World, who: str) -> None:
    acme = world.acme
    _, other = await colleague(acme, "other")
    asked = await ask(assignees={"users": ["member@acme.example"]})
    if who == "holder":
        await done(asked, acme.member, "claim")
    token = {"admin": acme.admin, "machine": acme.machine, "holder": acme.member}[who]
    found = await done(asked, token, "reassign", assignees={"users": ["Other@Acme.example"]})
    assert found["assignees"] == {"users": ["other@acme.example"], "roles": []}
    assert "claimed_by" not in found
    assert_refused(await asked.answer(acme.member, outcome="approve"), 403)
    assert await listed(asked.client, acme, acme.member) == []
    assert len(await listed(asked.client, acme, other)) == 1
    await asked.done(other, outcome="approve")
    await asked.ended()


async def test_an_assignee_who_holds_nothing_hands_nothing_on(ask: Asking, world: World) -> None:
    asked = await ask()
    response = await act(asked, world.acme.member, "reassign", assignees={"roles": ["admin"]})
    assert_refused(response, 403)


async def test_what_was_decided_before_stays_and_counts(ask: Asking, world: World) -> None:
    acme = world.acme
    _, other = await colleague(acme, "other")
    asked = await ask(minimum=2)
    await asked.done(acme.member, outcome="approve")
    nobody_else = {"users": ["member@acme.example"]}
    assert targets(await act(asked, acme.admin, "reassign", assignees=nobody_else)) == {
        "assignees": "FIELD_INVALID"
    }
    await done(asked, acme.admin, "reassign", assignees={"users": ["other@acme.example"]})
    found = await asked.done(other, outcome="approve")
    assert found["status"] == "completed"
    assert [one["user"]["name"] for one in found["decisions"]] == ["Acme Member", "Other"]


@pytest.mark.parametrize(
    ("assignees", "wrong"),
    [
        ({}, {"assignees": "FIELD_REQUIRED"}),
        ({"users": [], "roles": []}, {"assignees": "FIELD_REQUIRED"}),
        ({"users": ["nobody@acme.example"]}, {"assignees": "FIELD_INVALID"}),
        ({"users": ["admin@globex.example"], "roles": ["treasurer"]}, {"assignees": "FIELD_INVALID"}),
        ({"users": ["a\0"]}, {"assignees/users": "FIELD_INVALID"}),
    ],
    ids=["nothing", "no names", "unknown", "of another account", "NUL"],
)
async def test_assignees_who_could_not_decide_are_refused(
    ask: Asking, world: World, assignees: dict[str, Any], wrong: dict[str, str]
) -> None:
    asked = await ask()
    response = await act(asked, world.acme.admin, "reassign", assignees=assignees)
    assert targets(response) == wrong
    assert (await asked.read())["assignees"] == {"users": [], "roles": ["admin", "member"]}


@pytest.mark.parametrize("excluded", [False, True])
async def test_the_participant_can_be_asked_instead(
    ask: Asking,
    world: World,
    excluded: bool,  # noqa: FBT001
) -> None:
    asked = await ask(excludeStarter=excluded)
    response = await act(asked, world.acme.machine, "reassign", assignees={"roles": ["Participant"]})
    assert response.status_code == (400 if excluded else 200)


# --- Who did what, when ----------------------------------------------------------------------------------------------


async def test_history_tells_who_did_what_and_when(ask: Asking, world: World) -> None:
    acme = world.acme
    asked = await ask(due="PT0.2S")
    await asked.became(overdue=True)
    await done(asked, acme.member, "claim")
    await done(asked, acme.admin, "release")
    await done(asked, acme.machine, "reassign", assignees={"roles": ["admin"]})
    await asked.done(acme.admin, outcome="approve")
    found = await history(asked, acme.admin)
    admin = {"kind": "user", "id": str(acme.admin_id), "name": "Acme Admin"}
    member = {"kind": "user", "id": str(acme.member_id), "name": "Acme Member"}
    engine = {"kind": "engine"}
    robot = found[4]["actor"]
    assert (robot["kind"], robot["name"]) == ("client", "robot")
    assert [(one["event"], one["actor"]) for one in found] == [
        ("opened", engine),
        ("overdue", engine),
        ("claimed", member),
        ("released", admin),
        ("reassigned", robot),
        ("answered", admin),
        ("decided", admin),
    ]
    assert found[4]["previous_assignees"] == {"users": [], "roles": ["admin", "member"]}
    assert found[4]["assignees"] == {"users": [], "roles": ["admin"]}
    assert [one.get("outcome") for one in found[5:]] == ["approve", "approve"]
    moments = [one["at"] for one in found]
    assert moments == sorted(moments)


async def test_history_tells_of_a_cancellation(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    (branch,) = asking({"title": "Sign", "assignees": {"roles": ["admin"]}})["do"]
    document = asking({})
    document["do"] = [
        {"race": {"fork": {"compete": True, "branches": [{one: branch["signOff"]} for one in ("a", "b")]}}}
    ]
    await acme.publish(document)
    first, second = await all_opened(client, acme, await trigger(client, acme, "asking", {}), 2)
    await first.done(acme.admin, outcome="approve")
    await second.became(status="cancelled")
    assert [one["event"] for one in await history(second, acme.admin)] == ["opened", "cancelled"]
    assert len(await history(first, acme.admin)) == 3


async def test_history_is_paged_and_for_those_who_may_read_the_work_item(ask: Asking, world: World) -> None:
    acme = world.acme
    asked = await ask(assignees={"users": ["member@acme.example"]})
    _, other = await colleague(acme, "other")
    for _ in range(3):
        await done(asked, acme.member, "claim")
        await done(asked, acme.member, "release")
    query: dict[str, Any] = {"page_size": 3}
    seen = []
    while True:
        response = await asked.client.get(f"{asked.url}/history", params=query, headers=bearer(acme.member))
        seen += response.json()["data"]
        query["ctoken"] = response.json()["response_metadata"].get("page_token_next")
        if query["ctoken"] is None:
            break
    assert [one["event"] for one in seen] == ["opened", *(["claimed", "released"] * 3)]
    assert_refused(await asked.client.get(f"{asked.url}/history", headers=bearer(other)), 403)
    again = await ask(assignees={"users": ["member@acme.example"]})
    query["ctoken"] = response.request.url.params["ctoken"]
    wrong = await asked.client.get(f"{again.url}/history", params=query, headers=bearer(acme.member))
    assert targets(wrong) == {"ctoken": "PAGE_TOKEN_INVALID"}
