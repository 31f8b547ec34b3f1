"""Workflows of stages: written, listed, read and deleted, here and as the Maestro dialect sees them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from service.formance.requests import READ, WRITE
from service.language.expressions import ExpressionFailure
from service.language.sandbox import Sandbox
from service.language.sandbox_worker import COMPILE, Answer, Item
from tenancy.accounts import add_user
from tests.callers import machine_of, token_of
from tests.formance.conftest import HERE, Calling
from tests.formance.errors import assert_refused
from tests.world import World, bearer

STAGES: list[dict[str, Any]] = [
    {"wait_event": {"event": "go ${who}"}},
    {"noop": {}},
    {"delay": {"duration": "1h30m"}},
]


async def test_workflow_is_told_as_it_was_sent(acme: Calling) -> None:
    sent = {"name": "demo", "stages": STAGES, "unknown": True}
    made = (await acme("POST", "/workflows", 201, json=sent))["data"]
    assert made["config"] == {"name": "demo", "stages": STAGES}
    assert made["createdAt"] <= made["updatedAt"]
    assert made.keys() == {"id", "config", "createdAt", "updatedAt"}
    for prefix in ("", "/v2"):
        assert (await acme("GET", f"{prefix}/workflows/{made['id']}", 200))["data"] == made


async def test_workflow_may_have_no_name_and_no_stages(acme: Calling) -> None:
    made = (await acme("POST", "/v2/workflows", 201, json={"stages": []}))["data"]
    assert made["config"] == {"stages": []}
    nameless = (await acme("POST", "/workflows/", 201, json={"name": "", "stages": [{"noop": {}}]}))["data"]
    assert nameless["config"] == {"name": "", "stages": [{"noop": {}}]}


async def test_what_stages_have_alike_is_compiled_once(
    acme: Calling, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs: list[bytes] = []
    answered = Sandbox.round_trips

    async def noted(
        self: Sandbox, account_id: UUID, items: Sequence[Item]
    ) -> list[Answer | ExpressionFailure]:
        programs.extend(item.first for item in items if item.kind == COMPILE)
        return await answered(self, account_id, items)

    monkeypatch.setattr(Sandbox, "round_trips", noted)
    await acme.made(*[{"delay": {"duration": "${pause}"}}] * 100)
    assert len(programs) == len(set(programs)) < 20


async def test_two_workflows_may_have_one_name(acme: Calling) -> None:
    ids = {await acme.made({"noop": {}}, name="twin") for _ in range(2)}
    assert len(ids) == 2


async def test_yaml_is_read_where_the_type_says_so_and_json_under_any_other(acme: Calling) -> None:
    yaml = b"name: demo\nstages:\n- delay:\n    duration: 1s\n- noop: {}\n"
    acme.headers["Content-Type"] = "text/vnd.yaml"
    made = (await acme("POST", "/workflows", 201, content=yaml))["data"]
    assert made["config"] == {"name": "demo", "stages": [{"delay": {"duration": "1s"}}, {"noop": {}}]}
    for media_type in ("text/plain", "application/json; charset=utf-8", "nonsense"):
        acme.headers["Content-Type"] = media_type
        await acme("POST", "/workflows", 201, content=b'{"stages": []}')


@pytest.mark.parametrize("version", ["", "/v2"])
async def test_list_is_newest_first_without_what_is_deleted(acme: Calling, version: str) -> None:
    first, second, third = [await acme.made({"noop": {}}) for _ in range(3)]
    await acme("DELETE", f"/workflows/{second}", 204)
    listed = await acme("GET", f"{version}/workflows", 200)
    workflows = listed["cursor"]["data"] if version else listed["data"]
    assert [one["id"] for one in workflows[:2]] == [third, first]
    assert second not in {one["id"] for one in workflows}


async def test_deleted_workflow_stays_readable_and_is_run_no_more(acme: Calling) -> None:
    workflow_id = await acme.made({"wait_event": {"event": "go"}})
    running = (await acme.run(workflow_id))["id"]
    for _ in range(2):
        await acme("DELETE", f"/workflows/{workflow_id}", 204)
    told = (await acme("GET", f"/workflows/{workflow_id}", 200))["data"]
    assert told["deletedAt"] == told["updatedAt"]
    refused = await acme("POST", f"/workflows/{workflow_id}/instances", 404)
    assert refused == {
        "errorCode": "NOT_FOUND",
        "errorMessage": "The workflow has been deleted and cannot be run.",
    }
    for path in ("/instances", f"/instances?workflowID={workflow_id}", "/instances?running=true"):
        assert (await acme("GET", path, 200))["data"] == []
    assert (await acme("GET", f"/instances/{running}", 200))["data"]["terminated"] is False
    await acme("POST", f"/instances/{running}/events", 204, json={"name": "go"})


async def test_maestro_knows_it_by_the_same_id(
    acme: Calling, client: httpx.AsyncClient, world: World
) -> None:
    workflow_id = await acme.made(*STAGES, name="demo")
    seen = await client.get(f"{world.acme.url}/workflows/{workflow_id}", headers=bearer(world.acme.admin))
    told = seen.json()
    assert (told["name"], told["status"], told["namespace"]) == ("demo", "active", "formance")
    assert len(told["definition"]["do"]) == len(STAGES)
    body = {"instance_name": "by Maestro", "trigger_inputs": {"who": "Ada"}}
    begun = await client.post(
        f"{world.acme.url}/workflows/{workflow_id}/actions/trigger",
        json=body,
        headers=bearer(world.acme.admin),
    )
    assert begun.status_code == 201
    listed = (await acme("GET", f"/instances?workflowID={workflow_id}", 200))["data"]
    assert [one["id"] for one in listed] == [begun.json()["instance_id"]]


async def test_workflow_of_maestro_is_outlined_by_the_kinds_of_its_tasks(acme: Calling, world: World) -> None:
    listed = {one["id"]: one["config"] for one in (await acme("GET", "/workflows", 200))["data"]}
    waiting = listed[str(world.acme.workflows["waiting"])]
    assert waiting["name"] == "waiting"
    assert [[*stage] for stage in waiting["stages"]] == [["set"], ["listen"], ["set"]]


async def test_metadata_that_only_look_like_ours_do_no_harm(acme: Calling, world: World) -> None:
    odds: tuple[Any, ...] = (7, None, [], {"stages": 7}, {"stages": ["a"]}, {"stages": [], "name": 7})
    for number, odd in enumerate(odds):
        document = {
            "document": {
                "dsl": "1.0.3",
                "namespace": "odd",
                "name": f"odd-{number}",
                "version": "1.0.0",
                "metadata": {"formance": odd},
            },
            "do": [{"one": {"set": {"a": 1}}}],
        }
        workflow_id = await world.acme.publish(document)
        told = (await acme("GET", f"/workflows/{workflow_id}", 200))["data"]
        assert told["config"] == {"name": f"odd-{number}", "stages": [{"set": {"a": 1}}]}


async def test_unknown_workflow_is_404(acme: Calling, globex: Calling) -> None:
    theirs = await globex.made({"noop": {}})
    for workflow_id in (theirs, str(uuid4()), "nonsense"):
        for method, path in (("GET", ""), ("POST", "/instances")):
            told = await acme(method, f"/workflows/{workflow_id}{path}", 404)
            assert told["errorCode"] == "NOT_FOUND"
    await acme("DELETE", f"/workflows/{theirs}", 404)
    assert (await acme("DELETE", "/workflows/nonsense", 400))["errorCode"] == "VALIDATION"


async def test_paused_workflow_is_not_run(acme: Calling, client: httpx.AsyncClient, world: World) -> None:
    workflow_id = await acme.made({"noop": {}})
    url = f"{world.acme.url}/workflows/{workflow_id}/actions/pause"
    await client.post(url, headers=bearer(world.acme.admin))
    assert "paused" in (await acme("POST", f"/workflows/{workflow_id}/instances", 400))["errorMessage"]


@pytest.mark.parametrize("version", ["", "/v2"])
async def test_user_of_several_accounts_names_one_in_the_path(
    client: httpx.AsyncClient, world: World, version: str, owner: Any
) -> None:
    await add_user("both@both.example", "Both", None, world.acme.id, "manager")
    both = await add_user("both@both.example", "Both", None, world.globex.id, "viewer")
    headers = await token_of(world.acme, READ, WRITE, user=both)
    assert (
        await client.get(f"{HERE}{version}/workflows", headers=headers)
    ).status_code == 200  # narrowed to Acme
    await owner.execute("UPDATE oauth_grant SET narrowed_to = NULL WHERE user_id = $1", both)
    headers = await token_of(world.acme, READ, WRITE, user=both)
    await owner.execute("UPDATE oauth_grant SET narrowed_to = NULL WHERE user_id = $1", both)
    refused = await client.get(f"{HERE}{version}/workflows", headers=headers)
    assert "/accounts/{accountId}/api/orchestration" in assert_refused(refused, 400)
    body: dict[str, Any] = {"stages": [{"noop": {}}]}
    for account, status in ((world.acme, 201), (world.globex, 403)):
        url = f"/accounts/{account.id}{HERE}{version}/workflows"
        assert (await client.get(url, headers=headers)).status_code == 200
        made = await client.post(url, headers=headers, json=body)
        assert made.status_code == status
        assert made.is_success or "role" in assert_refused(made, 403)


async def test_token_of_somebody_who_has_left_finds_nothing(
    client: httpx.AsyncClient, world: World, owner: Any
) -> None:
    headers = await token_of(world.acme, READ, user=world.acme.member_id)
    await owner.execute("SELECT set_config('app.account_id', $1, false)", str(world.acme.id))
    await owner.execute("UPDATE membership SET status = 'removed' WHERE user_id = $1", world.acme.member_id)
    assert_refused(await client.get(f"{HERE}/workflows", headers=headers), 404)


async def test_info_tells_the_version_in_both_versions(acme: Calling) -> None:
    told = await acme("GET", "/_info", 200)
    assert [*told] == ["version"]
    assert await acme("GET", "/v2/_info", 200) == told


async def test_suspended_clients_are_told_so_by_401(
    client: httpx.AsyncClient, world: World, owner: Any
) -> None:
    headers = await machine_of(world.acme, READ)
    await owner.execute("SELECT set_config('app.account_id', $1, false)", str(world.acme.id))
    assert (await client.get(f"{HERE}/workflows", headers=headers)).status_code == 200
    await owner.execute("UPDATE client SET status = 'disabled' WHERE name = 'ledger'")
    assert_refused(await client.get(f"{HERE}/workflows", headers=headers), 401)
