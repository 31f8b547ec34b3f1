"""What instances ask of people: who may answer, what answers come to, what dates and ends do, and that none is lost."""

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from service.engine.effects import work_item
from service.engine.queue import Job
from tenancy.accounts import remove_member
from tenancy.rows import rows_of
from tests.maestro.errors import assert_refused, targets
from tests.maestro.people import BOTH, Asking, all_opened, asking, colleague, listed, opened, stored
from tests.world import World, bearer, trigger, until

STANDARD = "https://serverlessworkflow.io/spec/1.0.0/errors/"
PARTICULARS = {
    "type": "object",
    "required": ["number"],
    "properties": {"number": {"type": "integer", "minimum": 1}, "note": {"type": "string"}},
    "additionalProperties": False,
}

# --- Approvals -------------------------------------------------------------------------------------------------------


async def test_an_approval_waits_for_a_person_and_gives_what_they_decided(ask: Asking, world: World) -> None:
    asked = await ask(
        title="Pay", description="*Now*", data={"sum": 7}, assignees={"users": ["MEMBER@acme.example"]}
    )
    found = await asked.read()
    found.pop("response_metadata")
    opened_at = found.pop("opened_at")
    assert found == {
        "id": asked.url.rpartition("/")[2],
        "kind": "approval",
        "title": "Pay",
        "description": "*Now*",
        "status": "open",
        "overdue": False,
        "account_id": str(world.acme.id),
        "workflow_id": str(world.acme.workflows["asking"]),
        "instance_id": str(asked.instance_id),
        "task_name": "signOff",
        "position": "/do/0/signOff",
        "assignees": {"users": ["member@acme.example"], "roles": []},
        "outcomes": [
            {"name": "approve", "label": "Approve", "comment": "optional"},
            {"name": "reject", "label": "Reject", "comment": "optional"},
        ],
        "minimum": 1,
        "decisions": [],
        "data": {"sum": 7},
    }
    decided = await asked.done(world.acme.member, outcome="approve", comment="fine")
    assert (decided["status"], decided["outcome"]) == ("completed", "approve")
    assert decided == await asked.read() | {"response_metadata": decided["response_metadata"]}
    (decision,) = decided["decisions"]
    user = {"id": str(world.acme.member_id), "name": "Acme Member", "email": "member@acme.example"}
    assert decision == {
        "user": user,
        "outcome": "approve",
        "comment": "fine",
        "decided_at": decided["ended_at"],
    }
    output = (await asked.ended())["output"]
    times = {name: whole(output.pop(name)) for name in ("openedAt", "decidedAt")}
    assert times == {"openedAt": whole(opened_at), "decidedAt": whole(decided["ended_at"])}
    assert whole(output["decisions"][0].pop("at")) == whole(decision["decided_at"])
    assert output == {
        "id": decided["id"],
        "outcome": "approve",
        "approved": True,
        "decisions": [{"user": user, "outcome": "approve", "comment": "fine", "fields": None}],
        "minimum": 1,
        "due": None,
    }


def whole(moment: str) -> str:
    """A time to the second, from either of its forms."""
    return moment[:19]


async def test_a_rejection_is_an_outcome_and_no_error(ask: Asking, world: World) -> None:
    asked = await ask()
    await asked.done(world.acme.admin, outcome="reject")
    output = (await asked.ended())["output"]
    assert (output["outcome"], output["approved"]) == ("reject", False)


async def test_the_minimum_counts_different_people(ask: Asking, world: World) -> None:
    asked = await ask(minimum=2)
    for comment in ("first", "again"):
        found = await asked.done(world.acme.admin, outcome="approve", comment=comment)
        assert found["status"] == "open"
        assert [one["comment"] for one in found["decisions"]] == [comment]
    found = await asked.done(world.acme.member, outcome="approve")
    assert found["status"] == "completed"
    assert [one["user"]["name"] for one in found["decisions"]] == ["Acme Admin", "Acme Member"]
    output = (await asked.ended())["output"]
    assert (output["approved"], len(output["decisions"]), output["minimum"]) == (True, 2, 2)


async def test_somebody_may_change_their_mind_until_it_is_decided(ask: Asking, world: World) -> None:
    asked = await ask(minimum=2, outcomes=["yes", "no", "later"])
    await asked.done(world.acme.admin, outcome="yes")
    found = await asked.done(world.acme.admin, outcome="later")
    assert (found["status"], found["outcome"]) == ("completed", "later")
    assert [one["outcome"] for one in found["decisions"]] == ["later"]
    assert_refused(await asked.answer(world.acme.admin, outcome="yes"), 409)


async def test_any_other_outcome_decides_at_once_and_the_next_one_is_told_who_did(
    ask: Asking, world: World
) -> None:
    asked = await ask(minimum=2, outcomes=["yes", {"name": "no", "comment": "required"}])
    assert targets(await asked.answer(world.acme.member, outcome="no")) == {"comment": "FIELD_REQUIRED"}
    await asked.done(world.acme.member, outcome="no", comment="too dear")
    late = await asked.answer(world.acme.admin, outcome="yes")
    assert_refused(late, 409)
    assert "Acme Member has decided the work item already: no." in late.json()["detail"]


async def test_what_happened_is_told_with_who_did_it(ask: Asking, world: World) -> None:
    acme = world.acme
    asked = await ask(minimum=2)
    await asked.done(acme.admin, outcome="approve")
    await asked.done(acme.member, outcome="approve")
    assert await asked.events() == {
        ("work_item.opened", None): 1,
        ("work_item.answered", acme.admin_id): 1,
        ("work_item.answered", acme.member_id): 1,
        ("work_item.decided", acme.member_id): 1,
    }


# --- Forms -----------------------------------------------------------------------------------------------------------


async def test_a_form_is_completed_by_the_first_who_fills_it_in(ask: Asking, world: World) -> None:
    asked = await ask("form", form=PARTICULARS)
    found = await asked.read()
    assert (found["kind"], found["form"], found["outcomes"]) == ("form", PARTICULARS, [])
    found = await asked.done(world.acme.member, fields={"number": 7})
    assert found["status"] == "completed"
    assert "outcome" not in found
    assert [one["fields"] for one in found["decisions"]] == [{"number": 7}]
    output = (await asked.ended())["output"]
    assert output.keys() == {"id", "fields", "user", "openedAt", "due", "completedAt"}
    assert output["fields"] == {"number": 7}
    assert output["user"]["email"] == "member@acme.example"
    late = await asked.answer(world.acme.admin, fields={"number": 8})
    assert_refused(late, 409)
    assert "Acme Member has completed the form already." in late.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, {"fields/number": "FIELD_REQUIRED"}),
        ({"number": "7"}, {"fields/number": "FIELD_INVALID"}),
        ({"number": 0}, {"fields/number": "FIELD_INVALID"}),
        ({"number": 1, "more": 1}, {"fields/more": "FIELD_INVALID"}),
        ({"number": 1, "note": "\0"}, {"fields/note": "FIELD_INVALID"}),
        ({"number": 2**53}, {"fields/number": "FIELD_INVALID"}),
    ],
)
async def test_fields_are_held_against_the_form(
    ask: Asking, world: World, fields: dict[str, Any], wrong: dict[str, str]
) -> None:
    asked = await ask(form=PARTICULARS)
    assert targets(await asked.answer(world.acme.admin, outcome="approve", fields=fields)) == wrong
    assert (await asked.read())["decisions"] == []


async def test_an_approval_with_a_form_keeps_everybodys_fields(ask: Asking, world: World) -> None:
    asked = await ask(form=PARTICULARS, minimum=2)
    assert targets(await asked.answer(world.acme.admin, outcome="approve")) == {"fields": "FIELD_REQUIRED"}
    await asked.done(world.acme.admin, outcome="approve", fields={"number": 1})
    await asked.done(world.acme.member, outcome="approve", fields={"number": 2, "note": "ok"})
    output = (await asked.ended())["output"]
    assert [one["fields"] for one in output["decisions"]] == [{"number": 1}, {"number": 2, "note": "ok"}]


async def test_a_form_that_never_ends_is_refused_in_time(ask: Asking, world: World) -> None:
    inner = {"type": "object", "additionalProperties": {"$ref": "#/$defs/t"}}
    either = [inner | {"minProperties": 1}, inner | {"maxProperties": 9}, {"type": "string"}]
    asked = await ask(form={"$ref": "#/$defs/t", "$defs": {"t": {"anyOf": either}}})
    fields: dict[str, Any] = {"a": 1}
    for _ in range(40):
        fields = {"a": fields}
    response = await asked.answer(world.acme.admin, outcome="approve", fields=fields)
    assert targets(response) == {"fields": "SCHEMA_LIMIT"}


async def test_a_computed_form_that_is_no_schema_asks_nobody(client: httpx.AsyncClient, world: World) -> None:
    await world.acme.publish(asking({"title": "Sign", "assignees": BOTH, "form": "${ {type: 7} }"}))
    instance = await trigger(client, world.acme, "asking", {})
    error = (await until(client, world.acme, instance, workflow_status="Failed"))["error"]
    assert error["type"] == f"{STANDARD}validation"
    assert "/form: This cannot be used as a JSON Schema" in error["detail"]
    assert await all_opened(client, world.acme, instance, 0) == []


async def test_answers_are_bounded_one_by_one_and_together(ask: Asking, world: World) -> None:
    tokens = [(await colleague(world.acme, f"colleague{number}"))[1] for number in range(16)]
    asked = await ask(form={}, minimum=18)
    response = await asked.answer(world.acme.admin, outcome="approve", fields={"a": "a" * 65_536})
    assert_refused(response, 413)
    most = {"a": "a" * 65_000}
    for token in tokens:
        await asked.done(token, outcome="approve", fields=most)
    assert_refused(await asked.answer(world.acme.admin, outcome="approve", fields=most), 413)
    assert len((await asked.read())["decisions"]) == 16


# --- Who may ---------------------------------------------------------------------------------------------------------


async def test_only_assignees_decide_and_administrators_and_machines_read(ask: Asking, world: World) -> None:
    acme = world.acme
    _, other = await colleague(acme, "other")
    asked = await ask(assignees={"users": [str(acme.member_id)]})
    response = await asked.answer(acme.admin, outcome="approve")
    assert_refused(response, 403)
    assert "administrator may not" in response.json()["detail"]
    response = await asked.answer(acme.machine, outcome="approve")
    assert_refused(response, 403)
    assert "machine client" in response.json()["detail"]
    assert_refused(await asked.answer(other, outcome="approve"), 403)
    assert_refused(await asked.client.get(asked.url, headers=bearer(other)), 403)
    for token in (acme.admin, acme.machine, acme.member):
        assert (await asked.read(token))["status"] == "open"
    await asked.done(acme.member, outcome="approve")


async def test_who_may_is_told_before_what_is_wrong(ask: Asking, world: World) -> None:
    asked = await ask(assignees={"users": ["member@acme.example"]})
    assert_refused(await asked.answer(world.acme.admin, outcome="nonsense"), 403)
    assert targets(await asked.answer(world.acme.member, outcome="nonsense")) == {"outcome": "FIELD_INVALID"}


async def test_the_starter_may_not_decide_where_four_eyes_are_wanted(ask: Asking, world: World) -> None:
    asked = await ask(excludeStarter=True)
    assert (await asked.read())["excluded_user_id"] == str(world.acme.admin_id)
    response = await asked.answer(world.acme.admin, outcome="approve")
    assert_refused(response, 403)
    assert "started" in response.json()["detail"]
    await asked.done(world.acme.member, outcome="approve")


async def test_role_and_membership_are_those_of_the_moment(
    ask: Asking, world: World, owner: asyncpg.Connection
) -> None:
    acme = world.acme
    await colleague(acme, "other", "admin")
    user, token = await colleague(acme, "grace")
    asked = await ask(assignees={"roles": ["Admin"]}, minimum=2)
    assert_refused(await asked.answer(token, outcome="approve"), 403)
    async with rows_of(acme.id) as connection:
        await connection.execute("UPDATE membership SET role = 'admin' WHERE user_id = $1", user)
    await asked.done(token, outcome="approve")
    await remove_member("grace@acme.example", acme.id)
    assert_refused(await asked.answer(token, outcome="reject"), 404)
    # What was decided stays, as it was right when it was.
    found = await asked.done(acme.admin, outcome="approve")
    assert [one["user"]["name"] for one in found["decisions"]] == ["Grace", "Acme Admin"]
    assert found["status"] == "completed"


@pytest.mark.parametrize(
    "arguments",
    [
        {"assignees": {"users": ["nobody@acme.example"]}},
        {"assignees": {"users": ["admin@globex.example"]}},
        {"assignees": {"users": ["nonsense"], "roles": ["treasurer"]}},
        {"assignees": {"users": ["admin@acme.example"]}, "excludeStarter": True},
        {"assignees": {"users": ["gone@acme.example"]}},
    ],
    ids=["unknown", "of another account", "no such role", "the starter alone", "removed"],
)
async def test_a_task_that_nobody_may_decide_faults(
    client: httpx.AsyncClient, world: World, arguments: dict[str, Any]
) -> None:
    await colleague(world.acme, "gone")
    await remove_member("gone@acme.example", world.acme.id)
    await world.acme.publish(asking({"title": "Sign", "due": "PT1H", **arguments}))
    url = await trigger(client, world.acme, "asking", {})
    error = (await until(client, world.acme, url, workflow_status="Failed"))["error"]
    assert (error["type"], error["status"]) == (STANDARD + "configuration", 400)
    assert error["instance"] == "/do/0/signOff"
    assert "assignees" in error["detail"]
    assert await stored(world.acme, "SELECT wait FROM timer WHERE reason = 'due'") == []
    (failed,) = await listed(client, world.acme, world.acme.admin, status="failed")
    assert (failed["status"], failed["instance_id"]) == ("failed", url.rpartition("/")[2])


@pytest.mark.parametrize(
    ("arguments", "people"),
    [
        ({"assignees": {"users": ["admin@acme.example", "bob@acme.example"]}, "excludeStarter": True}, 1),
        ({"assignees": {"users": ["bob@acme.example", "{bob}"]}}, 1),
        ({"assignees": {"roles": ["admin"]}}, 1),
        ({"assignees": {"users": ["admin@acme.example"], "roles": ["admin"]}}, 1),
        ({"assignees": {"users": ["nobody@acme.example"], "roles": ["treasurer"]}}, 0),
        ({"assignees": {"users": ["admin@acme.example"], "roles": ["participant"]}}, 1),
        ({"assignees": {"users": ["bob@acme.example"], "roles": ["participant"]}, "minimum": 3}, 2),
    ],
    ids=[
        "the starter out",
        "twice the same",
        "a role of one",
        "by name and role",
        "none",
        "by URL too",
        "of three",
    ],
)
async def test_an_approval_that_needs_more_people_than_there_are_faults(
    client: httpx.AsyncClient, world: World, arguments: dict[str, Any], people: int
) -> None:
    bob, _ = await colleague(world.acme, "bob")
    users = [name.format(bob=bob) for name in arguments["assignees"].get("users", [])]
    roles = arguments["assignees"].get("roles", [])
    asked = {"title": "Sign", "minimum": 2, **arguments, "assignees": {"users": users, "roles": roles}}
    await world.acme.publish(asking(asked))
    url = await trigger(client, world.acme, "asking", {})
    error = (await until(client, world.acme, url, workflow_status="Failed"))["error"]
    assert (error["type"], error["status"]) == (STANDARD + "configuration", 400)
    assert error["title"] == "Too few people can decide"
    assert error["detail"].startswith(f"{asked['minimum']} different people have to decide")
    assert f"of the assignees {people} may" in error["detail"]


async def test_an_approval_for_just_enough_people_waits_for_them(ask: Asking, world: World) -> None:
    _, token = await colleague(world.acme, "bob")
    assignees = {"users": ["bob@acme.example"], "roles": ["participant"]}
    asked = await ask(assignees=assignees, minimum=2)
    await asked.done(token, outcome="approve")
    assert (await asked.read())["status"] == "open"


async def test_a_task_that_nobody_may_decide_can_be_caught(client: httpx.AsyncClient, world: World) -> None:
    document = asking({"title": "Sign", "assignees": {"roles": ["treasurer"]}})
    caught = {"errors": {"with": {"status": 400}}, "do": [{"else": {"set": {"caught": True}}}]}
    document["do"] = [{"attempt": {"try": document["do"], "catch": caught}}]
    await world.acme.publish(document)
    url = await trigger(client, world.acme, "asking", {})
    assert (await until(client, world.acme, url, workflow_status="Completed"))["output"] == {"caught": True}


# --- Dates and ends --------------------------------------------------------------------------------------------------


async def test_a_date_that_passes_marks_the_work_item_and_ends_nothing(ask: Asking, world: World) -> None:
    asked = await ask(due="PT0.2S")
    found = await asked.became(overdue=True)
    assert found["status"] == "open"
    late = await asked.client.get(
        f"{world.acme.url}/work-items", params={"status": "overdue"}, headers=bearer(world.acme.admin)
    )
    assert [one["id"] for one in late.json()["data"]] == [found["id"]]
    assert (await asked.events())["work_item.overdue", None] == 1
    await asked.done(world.acme.admin, outcome="approve")
    output = (await asked.ended())["output"]
    assert (output["approved"], whole(output["due"])) == (True, whole(found["due_at"]))


async def test_a_date_that_passes_decides_where_the_task_says_so(ask: Asking, world: World) -> None:
    asked = await ask(due="PT1S", overdue="reject", minimum=2)
    assert (await asked.read())["overdue_outcome"] == "reject"
    await asked.done(world.acme.admin, outcome="approve")
    output = (await asked.ended())["output"]
    assert (output["outcome"], output["approved"]) == ("reject", False)
    assert [one["outcome"] for one in output["decisions"]] == ["approve"]
    found = await asked.read()
    assert (found["status"], found["outcome"], found["overdue"]) == ("completed", "reject", True)
    late = await asked.answer(world.acme.member, outcome="approve")
    assert_refused(late, 409)
    assert "due date has decided the work item: reject" in late.json()["detail"]
    assert (await asked.events())["work_item.decided", None] == 1


async def test_a_decision_ends_the_wait_for_its_date(ask: Asking, world: World) -> None:
    asked = await ask(due="2099-01-01T00:00:00Z")
    assert (await asked.read())["due_at"] == "2099-01-01T00:00:00.000Z"
    count = "SELECT count(*) FROM timer WHERE reason = 'due'"
    assert (await stored(world.acme, count))[0][0] == 1
    await asked.done(world.acme.admin, outcome="approve")
    assert (await stored(world.acme, count))[0][0] == 0


async def test_a_date_that_is_told_again_or_too_late_changes_nothing(ask: Asking, world: World) -> None:
    asked = await ask(due="P1D", overdue="reject")
    ((wait,),) = await stored(world.acme, "SELECT wait FROM work_item")
    await asked.done(world.acme.admin, outcome="approve")
    before = await asked.read(), await asked.events()
    for job in (Job(world.acme.id, asked.instance_id, "due", wait), Job(world.acme.id, uuid4(), "due", 1)):
        await work_item.due(job)
    after = await asked.read(), await asked.events()
    assert after[1] == before[1]
    assert after[0] | {"response_metadata": None} == before[0] | {"response_metadata": None}


async def test_the_tasks_timeout_is_the_hard_limit(ask: Asking, world: World) -> None:
    asked = await ask(task={"timeout": {"after": {"milliseconds": 300}}}, due="P1D")
    error = (await asked.ended("Failed"))["error"]
    assert (error["type"], error["status"]) == (STANDARD + "timeout", 408)
    assert (await asked.read())["status"] == "cancelled"
    response = await asked.answer(world.acme.admin, outcome="approve")
    assert_refused(response, 409)
    assert "cancelled" in response.json()["detail"]


async def test_a_timeout_that_is_caught_closes_the_work_item(client: httpx.AsyncClient, world: World) -> None:
    document = asking(
        {"title": "Sign", "assignees": BOTH, "due": "P1D"}, timeout={"after": {"milliseconds": 300}}
    )
    caught = {"errors": {"with": {"status": 408}}, "do": [{"rest": {"wait": {"hours": 1}}}]}
    document["do"] = [{"attempt": {"try": document["do"], "catch": caught}}]
    await world.acme.publish(document)
    asked = await opened(client, world.acme, await trigger(client, world.acme, "asking", {}))
    found = await asked.became(status="cancelled")
    assert found["ended_at"]
    assert await stored(world.acme, "SELECT wait FROM timer WHERE reason = 'due'") == []


async def test_the_end_of_an_instance_closes_what_it_asks(ask: Asking, world: World) -> None:
    asked = await ask()
    await asked.client.post(f"{asked.instance}/actions/cancel", headers=bearer(world.acme.admin))
    assert (await asked.read())["status"] == "cancelled"
    assert_refused(await asked.answer(world.acme.admin, outcome="approve"), 409)


async def test_of_competing_branches_the_first_decision_closes_the_others_work_item(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    (branch,) = asking({"title": "Sign", "assignees": BOTH, "due": "P1D"})["do"]
    document = asking({})
    branches = [{name: branch["signOff"]} for name in ("one", "other")]
    document["do"] = [{"race": {"fork": {"compete": True, "branches": branches}}}]
    await acme.publish(document)
    instance = await trigger(client, acme, "asking", {})
    first, second = await all_opened(client, acme, instance, 2)
    await first.done(acme.admin, outcome="reject")
    assert (await first.ended())["output"]["outcome"] == "reject"
    assert (await second.read())["status"] == "cancelled"


# --- At the same moment ----------------------------------------------------------------------------------------------


async def test_approvals_at_the_same_moment_all_count(ask: Asking, world: World) -> None:
    people = 8
    tokens = [(await colleague(world.acme, f"colleague{number}"))[1] for number in range(people)]
    asked = await ask(minimum=people)
    found = await asyncio.gather(*(asked.done(token, outcome="approve") for token in tokens))
    assert Counter(one["status"] for one in found) == {"open": people - 1, "completed": 1}
    assert sorted(len(one["decisions"]) for one in found) == list(range(1, people + 1))
    assert len((await asked.ended())["output"]["decisions"]) == people


async def test_of_opposite_decisions_at_the_same_moment_one_decides(ask: Asking, world: World) -> None:
    for _ in range(5):
        asked = await ask()
        answers = await asyncio.gather(
            asked.answer(world.acme.admin, outcome="approve"),
            asked.answer(world.acme.member, outcome="reject"),
        )
        assert sorted(one.status_code for one in answers) == [200, 409]
        (won,) = (one.json()["outcome"] for one in answers if one.status_code == 200)
        output = (await asked.ended())["output"]
        assert (output["outcome"], len(output["decisions"])) == (won, 1)
        assert (await asked.events()).total() == 3


async def test_a_decision_and_a_cancellation_at_the_same_moment_do_not_block_one_another(
    ask: Asking, world: World
) -> None:
    acme = world.acme
    for _ in range(8):
        asked = await ask(due="P1D")
        decided, cancelled = await asyncio.gather(
            asked.answer(acme.admin, outcome="approve"),
            asked.client.post(f"{asked.instance}/actions/cancel", headers=bearer(acme.admin)),
        )
        assert decided.status_code in (200, 409)
        assert cancelled.status_code in (200, 409)
        assert 200 in (decided.status_code, cancelled.status_code)
        assert (await asked.read())["status"] == ("completed" if decided.status_code == 200 else "cancelled")
        await asked.ended("Canceled" if cancelled.status_code == 200 else "Completed")


async def test_a_decision_and_its_date_at_the_same_moment_decide_once(ask: Asking, world: World) -> None:
    for _ in range(5):
        asked = await ask(due="P1D", overdue="reject")
        ((wait,),) = await stored(world.acme, "SELECT wait FROM work_item WHERE status = 'open'")
        answer, _ = await asyncio.gather(
            asked.answer(world.acme.admin, outcome="approve"),
            work_item.due(Job(world.acme.id, asked.instance_id, "due", wait)),
        )
        output = (await asked.ended())["output"]
        assert output["outcome"] == ("approve" if answer.status_code == 200 else "reject")
        assert answer.status_code in (200, 409)
        told = await asked.events()
        assert sum(count for (kind, _), count in told.items() if kind == "work_item.decided") == 1
