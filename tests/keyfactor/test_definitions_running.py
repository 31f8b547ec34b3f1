"""Definitions through the whole service: given steps over HTTP, triggered by another dialect's route, worked off by the worker."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web

from auth.bearer import Operator
from service.operations import secrets
from tests.engine.outside import Site, site
from tests.keyfactor.conftest import Calling, calling_as
from tests.keyfactor.started import COMPLETE, FAILED, REJECTED, SUSPENDED, became
from tests.keyfactor.stepping import approval, chain, step
from tests.world import Tenant, World, bearer

HERE = "/Workflow/Definitions"
NEW = {"DisplayName": "Web server", "Key": "12", "WorkflowType": "Enrollment"}
SECRET = "geheim-7"


async def respond(request: web.Request) -> web.StreamResponse:
    """Give tokens, and answer whoever proves themselves."""
    if request.path == "/token":
        given = await request.post()
        if given["client_secret"] != SECRET:
            return web.json_response({"error": "invalid_client"}, status=401)
        return web.json_response({"access_token": "t-" + str(given["client_id"]), "expires_in": 60})
    if request.path == "/closed" and "Authorization" not in request.headers:
        return web.Response(status=401)
    return web.json_response({"serial": "00AB", "by": request.headers.get("Authorization")})


@pytest.fixture
async def server() -> AsyncIterator[Site]:
    async with site(respond) as made:
        yield made


async def published(who: Calling, *steps: dict[str, Any], **more: Any) -> str:
    """Make a definition of steps and publish it; return its id."""
    made = await who("POST", HERE, 200, json={**NEW, **more})
    here = f"{HERE}/{made['Id']}"
    await who("PUT", here + "/Steps", 200, json=chain(*steps))
    await who("POST", here + "/Publish", 200)
    return str(made["Id"])


async def triggered(who: Calling, of: Tenant, definition: str, status: int = 201, /, **bucket: Any) -> str:
    """Start an instance by Maestro's route; return its id."""
    url = f"{of.url}/workflows/{definition}/actions/trigger"
    body = {"instance_name": "CN=web", "trigger_inputs": bucket}
    answer = await who.http.post(url, json=body, headers=bearer(of.admin))
    assert answer.status_code == status, answer.text
    return str(answer.json().get("instance_id"))


async def signal(who: Calling, instance: str, key: str, status: int = 204, **data: Any) -> None:
    """Answer an approval."""
    await who(
        "POST", f"/Workflow/Instances/{instance}/Signals", status, json={"SignalKey": key, "Data": data}
    )


# --- Steps ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("secret_keys")
async def test_steps_do_what_they_say(acme: Calling, world: World, server: Site) -> None:
    """Approval, metadata, both kinds of requests with their proofs, a condition, a skipped step, in one definition."""
    call = {"Verb": "POST", "ContentType": "application/json", "DataBucketProperty": "Basic"}
    definition = await published(
        acme,
        approval("Ask", None, 1, 3, MinimumApprovals=2, Title="Issue $(cn)?", Message="For $(RequesterName)"),
        step("UpdateMetadata", "Note", Name="Owner", Value="$(RequesterName) <$(metadata:Mail)>"),
        step(
            "RESTRequest",
            "Call",
            URL=server.url + "/closed?cn=$(cn)",
            RequestContent='{"owner": "$(metadata:Owner)", "approvals": $(Approvals)}',
            Username="$(RequesterName)",
            Password=SECRET,
            **call,
        ),
        step(
            "OAuthRESTRequest",
            "Grant",
            Verb="GET",
            URL=server.url + "/closed/$(Basic.serial)",
            client_id="me",
            client_secret=SECRET,
            TokenEndpoint=server.url + "/token",
            DataBucketProperty="OAuth",
            Conditions=[{"Value": "$(go)"}, {"Value": "True"}],
        ),
        step("RESTRequest", "Off", Verb="GET", URL=server.url + "/off", Enabled=False),
        step("RESTRequest", "No", Verb="GET", URL=server.url + "/no", Conditions=[{"Value": "$(stop)"}]),
    )
    bucket = {"cn": 'a"b&c', "RequesterName": "Bob", "metadata": {"Mail": "b@x"}, "go": True, "stop": "no"}
    instance = await triggered(acme, world.acme, definition, **bucket)
    told = await became(acme, instance, SUSPENDED)
    assert (told["CurrentStepUniqueName"], told["StatusMessage"]) == ("Ask", 'Waiting for: Issue a"b&c?')
    sender = await calling_as(acme.http, world.acme, world.acme.member_id)
    await signal(acme, instance, "Ask.ApprovalStatus", Approved="True", Comment="fine")
    await signal(sender, instance, "Ask.ApprovalStatus", Approved="True")
    told = await became(acme, instance, COMPLETE)
    data = told["CurrentStateData"]
    assert told["InitialData"] == bucket
    assert data["metadata"] == {"Mail": "b@x", "Owner": "Bob <b@x>"}
    assert [(one["User"], one["Comment"]) for one in data["Approvals"]] == [
        ("Acme Admin", "fine"),
        ("Acme Member", None),
    ]
    first, token, second = server.requests
    assert (first.method, first.query["cn"]) == ("POST", 'a"b&c')
    assert first.headers["Authorization"] == "Basic " + base64.b64encode(f"Bob:{SECRET}".encode()).decode()
    sent = json.loads(server.bodies[0])
    assert (sent["owner"], [one["User"] for one in sent["approvals"]]) == (
        "Bob <b@x>",
        ["Acme Admin", "Acme Member"],
    )
    assert (token.path, second.raw_path) == ("/token", "/closed/00AB")
    assert second.headers["Authorization"] == "Bearer t-me"
    assert data["Basic"]["serial"] == data["OAuth"]["serial"] == "00AB"
    assert SECRET not in json.dumps(told), "a server that repeats the proof does not bring it into the bucket"
    stored = await acme.http.get(
        f"{world.acme.url}/workflows/{definition}/instances/{instance}/history",
        headers=bearer(world.acme.admin),
    )
    assert SECRET not in stored.text


async def test_a_denial_ends_the_instance_as_rejected(acme: Calling, world: World, server: Site) -> None:
    call = step("RESTRequest", "Call", Verb="GET", URL=server.url)
    instance = await triggered(acme, world.acme, await published(acme, approval("Ask"), call))
    await became(acme, instance, SUSPENDED)
    await signal(acme, instance, "Ask.ApprovalStatus", Approved="False", Comment="not now")
    told = await became(acme, instance, REJECTED)
    assert told["StatusMessage"] == "Acme Admin denied it: not now"
    assert server.requests == []


async def test_a_call_that_fails_fails_the_instance_at_its_step(
    acme: Calling, world: World, server: Site
) -> None:
    call = step("RESTRequest", "Call", Verb="GET", URL=server.url + "/closed")
    told = await became(acme, await triggered(acme, world.acme, await published(acme, call)), FAILED)
    assert told["CurrentStepUniqueName"] == "Call"


@pytest.mark.usefixtures("secret_keys")
async def test_a_new_password_is_used_from_then_on_and_null_keeps_it(
    acme: Calling, world: World, server: Site
) -> None:
    call = {"Verb": "GET", "URL": server.url + "/closed", "Username": "ann"}
    definition = await published(acme, step("RESTRequest", "Call", **call, Password=SECRET))
    await became(acme, await triggered(acme, world.acme, definition), COMPLETE)
    here = f"{HERE}/{definition}"
    for password in (None, {"SecretValue": "new"}):
        await acme(
            "PUT", here + "/Steps", 200, json=chain(step("RESTRequest", "Call", **call, Password=password))
        )
        await acme("POST", here + "/Publish", 200)
        await became(acme, await triggered(acme, world.acme, definition), COMPLETE)
    proofs = [request.headers["Authorization"].removeprefix("Basic ") for request in server.requests]
    assert [base64.b64decode(one).decode() for one in proofs] == [f"ann:{SECRET}", f"ann:{SECRET}", "ann:new"]


@pytest.mark.usefixtures("secret_keys")
async def test_a_secret_that_was_never_given_is_asked_for_by_its_name(
    acme: Calling, world: World, server: Site
) -> None:
    definition = await published(
        acme, step("RESTRequest", "Call", Verb="GET", URL=server.url, Username="ann")
    )
    told = await became(acme, await triggered(acme, world.acme, definition), FAILED)
    assert f"keyfactor-{definition}-Call" in told["StatusMessage"]
    assert server.requests == []


# --- Versions -------------------------------------------------------------------------------------------------------


async def test_what_runs_keeps_its_version_and_what_begins_gets_the_published_one(
    acme: Calling, world: World
) -> None:
    definition = await published(acme, approval("Ask"), step("UpdateMetadata", "Note", Name="v", Value="1"))
    here = f"{HERE}/{definition}"
    first = await triggered(acme, world.acme, definition)
    await acme("PUT", here + "/Steps", 200, json=chain(step("UpdateMetadata", "Note", Name="v", Value="2")))
    draft = await triggered(acme, world.acme, definition)
    assert (await became(acme, draft, SUSPENDED))["Definition"]["Version"] == 1
    await acme("POST", here + "/Publish", 200)
    second = await became(acme, await triggered(acme, world.acme, definition), COMPLETE)
    assert (second["Definition"]["Version"], second["CurrentStateData"]["metadata"]) == (2, {"v": "2"})
    await signal(acme, first, "Ask.ApprovalStatus", Approved=True)
    told = await became(acme, first, COMPLETE)
    assert (told["Definition"]["Version"], told["CurrentStateData"]["metadata"]) == (1, {"v": "1"})
    await acme("POST", here + "/Publish/1", 200)
    third = await became(acme, await triggered(acme, world.acme, definition), SUSPENDED)
    assert third["Definition"]["Version"] == 1
    step_ids = {
        one["UniqueName"]: one["Id"]
        for one in (await acme("GET", here + "?definitionVersion=1", 200))["Steps"]
    }
    assert third["CurrentStepId"] == step_ids["Ask"]


async def test_a_definition_starts_nothing_before_it_is_published_while_disabled_or_deleted(
    acme: Calling, world: World
) -> None:
    made = await acme("POST", HERE, 200, json=NEW)
    here = f"{HERE}/{made['Id']}"
    await acme("PUT", here + "/Steps", 200, json=chain(approval("Ask")))
    await triggered(acme, world.acme, made["Id"], 400)
    await acme("POST", here + "/Publish", 200)
    instance = await triggered(acme, world.acme, made["Id"])
    await acme("PUT", here + "/Status", 204, json=False)
    await triggered(acme, world.acme, made["Id"], 400)
    await acme("PUT", here + "/Status", 204, json=True)
    await triggered(acme, world.acme, made["Id"])
    await became(acme, instance, SUSPENDED)
    await acme("DELETE", here, 204)
    await triggered(acme, world.acme, made["Id"], 400)
    await signal(acme, instance, "Ask.ApprovalStatus", Approved="True")
    await became(acme, instance, COMPLETE)


@pytest.mark.usefixtures("secret_keys")
async def test_a_deleted_definition_keeps_its_secrets_while_instances_may_use_them(
    acme: Calling, world: World, server: Site
) -> None:
    call = step(
        "RESTRequest", "Call", Verb="GET", URL=server.url + "/closed", Username="ann", Password=SECRET
    )
    definition = await published(acme, approval("Ask"), call)
    instance = await triggered(acme, world.acme, definition)
    await became(acme, instance, SUSPENDED)
    await acme("DELETE", f"{HERE}/{definition}", 204)
    await signal(acme, instance, "Ask.ApprovalStatus", Approved="True")
    await became(acme, instance, COMPLETE)
    assert len(server.requests) == 1
    account = Operator(world.acme.id)
    for name in ("keyfactor-mine", "keyfactor-" + "-" * 40):
        await secrets.set_secret(account, name, "x")
    assert f"keyfactor-{definition}-Call" in [one.name for one in await secrets.list_secrets(account)]
    other = await published(acme)
    await acme("DELETE", f"{HERE}/{other}", 204)
    left = {one.name for one in await secrets.list_secrets(account)}
    assert left == {"keyfactor-" + "-" * 40, "keyfactor-mine"}


async def test_an_archived_workflow_frees_its_key_whoever_archives_it(acme: Calling, world: World) -> None:
    definition = await published(acme)
    url = f"{world.acme.url}/workflows/{definition}/actions/archive"
    answer = await acme.http.post(url, headers=bearer(world.acme.admin))
    assert answer.status_code in (200, 204), answer.text
    await acme("GET", f"{HERE}/{definition}", 404)
    assert UUID(await published(acme)) != UUID(definition)


async def test_two_who_edit_at_once_lose_nothing_of_each_others_versions(acme: Calling) -> None:
    definition = await published(acme)
    here = f"{HERE}/{definition}"
    edits = [
        acme.sent(
            "PUT", here + "/Steps", json=chain(step("UpdateMetadata", "Note", Name=str(index), Value="1"))
        )
        for index in range(3)
    ] + [acme.sent("PUT", here, json={"DisplayName": "New"})]
    statuses = [answer.status_code for answer in await asyncio.gather(*edits)]
    assert statuses == [200] * 4
    told = await acme("GET", here, 200)
    assert (told["DraftVersion"], told["DisplayName"], len(told["Steps"])) == (2, "New", 3)
