"""Triggers: what their inputs may be, what comes of them, and how an instance looks at every stage of its life."""

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest

from tests.maestro.errors import assert_refused, targets
from tests.maestro.people import colleague
from tests.maestro.rows import insert_instances
from tests.world import GREETING, Tenant, World, bearer, trigger, until


def asking(schema: Any, name: str = "asking") -> dict[str, Any]:
    """A workflow with an input schema that ends at once."""
    return {
        "document": {"dsl": "1.0.3", "namespace": "tests", "name": name, "version": "1.0.0"},
        "input": {"schema": {"document": schema}},
        "do": [{"only": {"set": {"got": "${ . }"}}}],
    }


def typed(**properties: Any) -> dict[str, Any]:
    """An object schema with these properties."""
    return {"type": "object", "properties": properties}


async def start(
    client: httpx.AsyncClient, of: Tenant, workflow: str, inputs: Any, **headers: str
) -> httpx.Response:
    """Trigger a workflow as it is, whatever the answer."""
    return await client.post(
        f"{of.workflow_url(workflow)}/actions/trigger",
        json={"instance_name": "test", "trigger_inputs": inputs},
        headers={**bearer(of.admin), **headers},
    )


async def told(client: httpx.AsyncClient, of: Tenant, url: str) -> dict[str, Any]:
    """Read what is there."""
    response = await client.get(url, headers=bearer(of.admin))
    assert response.status_code == 200
    found: dict[str, Any] = response.json()
    return found


async def settle(
    client: httpx.AsyncClient, of: Tenant, response: httpx.Response, **wanted: Any
) -> dict[str, Any]:
    """Wait until the instance that a trigger started is as wanted."""
    assert response.status_code == 201, response.text
    return await until(client, of, response.headers["location"], **wanted)


# --- Inputs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "wrong"),
    [
        ({}, {"who": "FIELD_REQUIRED"}),
        ({"who": 1}, {"who": "FIELD_INVALID"}),
        ({"who": None}, {"who": "FIELD_INVALID"}),
        ({"who": "Ada", "times": "3"}, {"times": "FIELD_INVALID"}),
        ({"who": "Ada", "times": 1.5}, {"times": "FIELD_INVALID"}),
        ({"who": "Ada", "times": True}, {"times": "FIELD_INVALID"}),
        ({"who": "Ada", "polite": "yes"}, {"polite": "FIELD_INVALID"}),
        ({"who": "Ada", "more": 1}, {"more": "FIELD_INVALID"}),
        ({"who": "Ada", "more": 1, "and": 2}, {"more": "FIELD_INVALID", "and": "FIELD_INVALID"}),
        (
            {"who": [], "times": {}, "polite": 0, "more": 1},
            dict.fromkeys(("who", "times", "polite", "more"), "FIELD_INVALID"),
        ),
        (
            {"times": "x", "more": 1},
            {"who": "FIELD_REQUIRED", "times": "FIELD_INVALID", "more": "FIELD_INVALID"},
        ),
    ],
)
async def test_wrong_inputs_are_refused_with_one_error_for_each_field(
    client: httpx.AsyncClient, world: World, inputs: dict[str, Any], wrong: dict[str, str]
) -> None:
    response = await start(client, world.acme, "greeting", inputs)
    errors = assert_refused(response, 400)
    assert {error["target"]: error["code"] for error in errors} == {
        f"trigger_inputs/{field}": code for field, code in wrong.items()
    }
    assert len(errors) == len(wrong)
    assert (await told(client, world.acme, f"{world.acme.workflow_url('greeting')}/instances"))["data"] == []


async def test_wrong_value_inside_an_input_is_named_by_its_place(
    client: httpx.AsyncClient, world: World
) -> None:
    line = {"type": "object", "required": ["price"], "properties": {"price": {"type": "number"}}}
    await world.acme.publish(asking(typed(lines={"type": "array", "items": line})))
    inputs = {"lines": [{"price": 1}, {"price": "2"}, {}]}
    assert targets(await start(client, world.acme, "asking", inputs)) == {
        "trigger_inputs/lines/1/price": "FIELD_INVALID",
        "trigger_inputs/lines/2/price": "FIELD_REQUIRED",
    }


@pytest.mark.parametrize(
    ("schema", "inputs", "stored"),
    [
        (typed(n={"type": "integer"}), '{"n": 3.0}', '{"n": 3}'),
        (typed(n={"type": "integer"}), '{"n": 3e2}', '{"n": 300}'),
        (typed(n={"type": ["integer", "null"]}), '{"n": -0.0}', '{"n": 0}'),
        (typed(n={"type": "number"}), '{"n": 3.0}', '{"n": 3.0}'),
        (typed(n={"type": "number"}), '{"n": 3}', '{"n": 3}'),
        (typed(n={"type": "integer", "default": 7}), "{}", '{"n": 7}'),
        (typed(n={"type": "integer", "default": 7}), '{"n": 8}', '{"n": 8}'),
        (typed(n={"default": [{"a": 1}]}), "{}", '{"n": [{"a": 1}]}'),
        (typed(n={"default": False}), "{}", '{"n": false}'),
        (typed(n={"type": ["string", "null"], "default": None}), "{}", "{}"),
        ({**typed(n={"type": "string", "default": "x"}), "required": ["n"]}, "{}", '{"n": "x"}'),
        (typed(n={"type": "string"}), '{"n": "a", "other": [1, {"b": "\\u00fc"}]}', None),
        (True, '{"anything": {"goes": 1}}', None),
        ({}, '{"anything": {"goes": 1}}', None),
        (
            typed(n={"$ref": "#/$defs/n"}) | {"$defs": {"n": {"type": "integer", "default": 4}}},
            "{}",
            '{"n": 4}',
        ),
    ],
)
async def test_inputs_are_completed_and_stored(
    client: httpx.AsyncClient, world: World, schema: Any, inputs: str, stored: str | None
) -> None:
    acme = world.acme
    await acme.publish(asking(schema))
    response = await client.post(
        f"{acme.workflow_url('asking')}/actions/trigger",
        content=f'{{"instance_name": "a", "trigger_inputs": {inputs}}}',
        headers={**bearer(acme.admin), "Content-Type": "application/json"},
    )
    assert response.status_code == 201, response.text
    text = (await client.get(response.headers["location"], headers=bearer(acme.admin))).text
    found = re.search(r'"trigger_inputs":(.*?),"total_steps"', text)
    assert found is not None
    assert found[1].replace(" ", "") == (stored or inputs).replace(" ", "").replace("\\u00fc", "\u00fc")


async def test_null_inputs_reach_the_workflow_but_never_an_answer(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    await acme.publish(asking(typed(n={"type": ["string", "null"]})))
    inputs = {"n": None, "kept": "null", "inner": {"a": None, "b": [None]}, "other": None}
    instance = await settle(
        client, acme, await start(client, acme, "asking", inputs), workflow_status="Completed"
    )
    assert instance["output"] == {"got": inputs}
    shown = {"kept": "null", "inner": {"a": None, "b": [None]}}
    assert instance["trigger_inputs"] == shown
    for url in (f"{acme.workflow_url('asking')}/instances", f"{acme.url}/workflow-instances"):
        listed = await told(client, acme, url)
        (row,) = listed.get("data") or listed["instances"]
        assert row["trigger_inputs"] == shown


@pytest.mark.parametrize("length", [1, 255])
async def test_instance_name_is_kept_as_it_is(client: httpx.AsyncClient, world: World, length: int) -> None:
    acme = world.acme
    name = ("\U0001f3bc \u00fc'\"\\<&>" * 32)[-length:]
    response = await client.post(
        f"{acme.workflow_url('greeting')}/actions/trigger",
        json={"instance_name": name, "trigger_inputs": {"who": "Ada"}},
        headers=bearer(acme.admin),
    )
    assert (await told(client, acme, response.headers["location"]))["name"] == name


@pytest.mark.parametrize("name", ["", "a" * 256, "a\0"])
async def test_instance_name_that_is_none_or_too_long_is_refused(
    client: httpx.AsyncClient, world: World, name: str
) -> None:
    acme = world.acme
    for _ in range(2):  # the first trigger of a workflow takes another way than later ones
        response = await client.post(
            f"{acme.workflow_url('greeting')}/actions/trigger",
            json={"instance_name": name, "trigger_inputs": {"who": "Ada"}},
            headers=bearer(acme.admin),
        )
        assert targets(response) == {"instance_name": "FIELD_INVALID"}


async def test_another_version_is_checked_from_the_moment_that_it_is_published(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    assert (await start(client, acme, "greeting", {"who": "Ada"})).status_code == 201
    stricter = {**GREETING, "document": {**GREETING["document"], "version": "2.0.0"}}
    stricter["input"] = {"schema": {"document": typed(who={"type": "integer"})}}
    await acme.publish(stricter)
    assert targets(await start(client, acme, "greeting", {"who": "Ada"})) == {
        "trigger_inputs/who": "FIELD_INVALID"
    }
    assert (await start(client, acme, "greeting", {"who": 1})).status_code == 201


# --- Trigger requirements ---------------------------------------------------------------------------------------------


async def test_trigger_requirements_tell_where_and_with_what(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    await acme.publish(
        asking(
            {
                "type": "object",
                "required": ["text", "whole"],
                "properties": {
                    "text": {"type": "string", "title": "A text", "description": "What to say"},
                    "whole": {"type": "integer", "default": 3},
                    "number": {"type": "number"},
                    "truth": {"type": "boolean", "default": False},
                    "thing": {"type": ["null", "object"], "default": {}},
                    "list": {"type": "array", "default": None},
                    "choice": {"enum": ["a", "b"]},
                    "either": {"anyOf": [{"type": "null"}, {"type": "number"}]},
                },
            }
        )
    )
    url = acme.workflow_url("asking")
    response = await client.get(f"{url}/trigger-requirements", headers=bearer(acme.admin))
    found = response.json()
    assert str(UUID(found["trigger_id"])) == found["trigger_id"]
    assert found["trigger_event_type"] == "HTTP"
    assert found["trigger_http_config"] == {
        "method": "POST",
        "url": f"http://127.0.0.1:8000{url}/actions/trigger",
    }
    assert found["trigger_input_schema"] == [
        {
            "field_name": "text",
            "field_data_type": "string",
            "required": True,
            "title": "A text",
            "description": "What to say",
        },
        {"field_name": "whole", "field_data_type": "number", "default_value": 3, "required": False},
        {"field_name": "number", "field_data_type": "number", "required": False},
        {"field_name": "truth", "field_data_type": "boolean", "default_value": False, "required": False},
        {"field_name": "thing", "field_data_type": "object", "default_value": {}, "required": False},
        {"field_name": "list", "field_data_type": "array", "required": False},
        {"field_name": "choice", "field_data_type": "string", "required": False},
        {"field_name": "either", "field_data_type": "number", "required": False},
    ]
    assert found["metadata"].keys() == {"created_at", "created_by", "modified_at", "modified_by"}
    assert found["request_id"] == response.headers["x-request-id"]
    assert found["response_duration_ms"] >= 0
    # What they say is enough to trigger with.
    needed = {one["field_name"]: "x" for one in found["trigger_input_schema"] if one["required"]}
    assert (await start(client, acme, "asking", needed)).status_code == 201


# --- Strangers' schemas -----------------------------------------------------------------------------------------------

HOSTILE: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
    "a circle of references": (
        typed(a={"$ref": "#/$defs/a"}) | {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"a": 1},
        (201, 400),  # a reference to itself says nothing
    ),
    "references that double at every step": (
        typed(a={"$ref": "#/$defs/n0"})
        | {
            "$defs": {
                **{f"n{number}": {"allOf": [{"$ref": f"#/$defs/n{number + 1}"}] * 2} for number in range(40)},
                "n40": {"type": "string"},
            }
        },
        {"a": 1},
        (400,),
    ),
    "a pattern that tries every way": (
        typed(a={"type": "string", "pattern": "^(a+)+(?=b)c$"}),
        {"a": "a" * 40},
        (400,),
    ),
    "a tree compared with itself": (
        {
            "$ref": "#/$defs/t",
            "$defs": {
                "t": {
                    "anyOf": [
                        {"type": "object", "additionalProperties": {"$ref": "#/$defs/t"}, "minProperties": 1},
                        {"type": "object", "additionalProperties": {"$ref": "#/$defs/t"}, "maxProperties": 9},
                        {"type": "string"},
                    ]
                }
            },
        },
        None,
        (400,),
    ),
}


def tree(depth: int) -> dict[str, Any]:
    """An object in an object, and so on; at the end what no schema takes."""
    return {"a": tree(depth - 1) if depth else 1}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_schema_is_refused_or_refuses_within_seconds_and_holds_nobody_up(
    client: httpx.AsyncClient, world: World, name: str
) -> None:
    acme, globex = world.acme, world.globex
    schema, inputs, statuses = HOSTILE[name]
    created = await client.post(f"{acme.url}/workflows", json=asking(schema), headers=bearer(acme.admin))
    if created.status_code == 400:
        assert all(target.startswith("/input/schema") for target in targets(created))
        return
    assert created.status_code == 201
    acme.workflows["asking"] = UUID(created.json()["id"])
    url = acme.workflow_url("asking")
    assert (await client.post(f"{url}/actions/publish", headers=bearer(acme.admin))).status_code == 200
    began = time.perf_counter()
    hostile = asyncio.gather(*(start(client, acme, "asking", inputs or tree(40)) for _ in range(3)))
    waits = []
    while not hostile.done():
        asked = time.perf_counter()
        assert (await start(client, globex, "greeting", {"who": "Ada"})).status_code == 201
        await told(client, globex, f"{globex.url}/workflows")
        waits.append(time.perf_counter() - asked)
        await asyncio.sleep(0.05)
    for answer in await hostile:
        assert answer.status_code in statuses
    assert time.perf_counter() - began < 12
    assert max(waits) < 3


# --- Paused workflows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "status", "title"), [("400", 400, "Bad Request"), ("409", 409, "Conflict")]
)
async def test_trigger_on_a_paused_workflow_is_refused_with_the_status_that_is_set(
    client: httpx.AsyncClient, world: World, changed_settings: Any, setting: str, status: int, title: str
) -> None:
    acme = world.acme
    await client.post(f"{acme.workflow_url('greeting')}/actions/pause", headers=bearer(acme.admin))
    changed_settings(TUTTI_PAUSED_TRIGGER_STATUS=setting)
    response = await start(client, acme, "greeting", {"who": "Ada"})
    (error,) = assert_refused(response, status)
    assert error["code"] == "WORKFLOW_PAUSED"
    assert response.json()["title"] == title
    # The setting is about paused workflows alone.
    await client.post(f"{acme.workflow_url('greeting')}/actions/archive", headers=bearer(acme.admin))
    assert_refused(await start(client, acme, "greeting", {"who": "Ada"}), 400)


# --- The answer, and the instance at every stage ----------------------------------------------------------------------


async def test_trigger_tells_where_the_instance_is(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    request_id = str(uuid4())
    response = await start(client, acme, "waiting", {}, **{"X-Request-Id": request_id})
    made = response.json()
    assert made.keys() == {
        *("instance_id", "instance_url"),
        *("request_id", "response_timestamp", "response_duration_ms"),
    }
    assert made["request_id"] == request_id == response.headers["x-request-id"]
    assert isinstance(made["response_duration_ms"], int)
    url = urlsplit(made["instance_url"])
    assert f"{url.scheme}://{url.netloc}" == "http://127.0.0.1:8000"
    assert url.path == f"/v1/accounts/{acme.id}/instances/{made['instance_id']}/execution"
    secret = parse_qs(url.query, strict_parsing=True)
    assert secret.keys() == {"mtid", "mtsec"}
    assert str(UUID(secret["mtid"][0])) == secret["mtid"][0]
    assert len(secret["mtsec"][0]) == 43  # 256 bits
    found = await told(client, acme, response.headers["location"])
    assert found["id"] == made["instance_id"]
    assert secret["mtsec"][0] not in str(found)
    assert (await start(client, acme, "waiting", {})).json()["instance_url"] != made["instance_url"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("3F7C9E4B-851C-4F9B-89E7-123456789ABC", "3f7c9e4b-851c-4f9b-89e7-123456789abc"),
        ("not an id", None),
        ("", None),
        ("3f7c9e4b-851c-4f9b-89e7-123456789abc, 3f7c9e4b-851c-4f9b-89e7-123456789abc", None),
    ],
)
async def test_request_id_of_the_caller_is_kept_if_it_is_one(
    client: httpx.AsyncClient, world: World, given: str, kept: str | None
) -> None:
    acme = world.acme
    for url in (f"{acme.url}/workflows", f"{acme.url}/nonsense"):
        response = await client.get(url, headers={**bearer(acme.admin), "X-Request-Id": given})
        told_id = response.headers["x-request-id"]
        assert str(UUID(told_id)) == told_id
        assert kept in (None, told_id)
        body = response.json()
        assert told_id == body.get("request_id", body.get("response_metadata", {}).get("request_id"))


FIELDS: dict[str, Any] = {
    **dict.fromkeys(("id", "name", "workflow_status", "template_id", "account_id"), str),
    **dict.fromkeys(("started_at", "started_by", "started_by_name", "started_by_role"), str),
    **dict.fromkeys(("ended_at", "expires_at", "canceled_at", "canceled_by"), (str, type(None))),
    "last_modified_at": str,
    "trigger_inputs": dict,
    "total_steps": int,
    "last_completed_step": int,
    "last_completed_step_name": (str, type(None)),
    "tags": list,
    "metadata": dict,
}
MOMENTS = ("started_at", "ended_at", "expires_at", "last_modified_at", "canceled_at")


def assert_well_formed(instance: dict[str, Any], of: Tenant, workflow: str, *more: str) -> None:
    """Hold an instance against the contract's table: every field, of its type, null only where an SDK takes it."""
    assert instance.keys() == FIELDS.keys() | set(more)
    for name, kind in FIELDS.items():
        assert isinstance(instance[name], kind), name
    for name in MOMENTS:
        if instance[name] is not None:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", instance[name])
    assert str(UUID(instance["id"])) == instance["id"]
    assert instance["name"] == "test"
    assert instance["template_id"] == str(of.workflows[workflow])
    assert instance["account_id"] == str(of.id)
    assert (instance["started_by"], instance["started_by_name"]) == (str(of.admin_id), "Acme Admin")
    assert instance["started_by_role"] == "Preparer"
    assert instance["started_at"] <= instance["last_modified_at"]
    assert instance["metadata"].keys() == {
        "workflow_created_by",
        "workflow_version",
        "workflow_metadata_id",
    }
    assert instance["metadata"]["workflow_version"] == "1.0.0"
    assert (
        str(UUID(instance["metadata"]["workflow_created_by"])) == instance["metadata"]["workflow_created_by"]
    )
    assert re.fullmatch("[0-9a-f]{24}", instance["metadata"]["workflow_metadata_id"])
    assert abs(datetime.fromisoformat(instance["started_at"]) - datetime.now(UTC)) < timedelta(minutes=1)


async def test_instance_that_waits_is_in_progress(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    response = await start(client, acme, "waiting", {"kept": 1})
    new = await told(client, acme, response.headers["location"])  # pending, or a moment later
    assert_well_formed(new, acme, "waiting", *({"current_position"} & new.keys()))
    assert new["workflow_status"] == "In Progress"
    assert (new["last_completed_step"] == 0) == (new["last_completed_step_name"] is None)
    instance = await settle(client, acme, response, last_completed_step=1)
    assert_well_formed(instance, acme, "waiting", "current_position")
    assert instance["workflow_status"] == "In Progress"
    assert (instance["total_steps"], instance["last_completed_step_name"]) == (3, "prepare")
    assert instance["trigger_inputs"] == {"kept": 1}
    for name in ("ended_at", "expires_at", "canceled_at", "canceled_by"):
        assert instance[name] is None


async def test_instance_that_nothing_has_touched_yet_has_no_step(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id], 10)
    listed = await told(client, acme, f"{acme.workflow_url('waiting')}/instances?status=in%20progress")
    (instance,) = listed["data"]
    assert instance["workflow_status"] == "In Progress"
    assert (instance["last_completed_step"], instance["last_completed_step_name"]) == (0, None)
    assert instance["ended_at"] is None
    assert instance["trigger_inputs"] == {}


async def test_instance_that_is_completed_tells_its_output(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    response = await start(client, acme, "greeting", {"who": "Ada"})
    instance = await settle(client, acme, response, workflow_status="Completed")
    assert_well_formed(instance, acme, "greeting", "output")
    assert instance["output"] == {"text": "Hello, Ada", "times": 1, "done": True}
    assert instance["total_steps"] == instance["last_completed_step"] == 2
    assert instance["last_completed_step_name"] == "finish"
    assert instance["started_at"] <= instance["ended_at"] <= instance["last_modified_at"]
    assert instance["canceled_at"] is instance["canceled_by"] is instance["expires_at"] is None


async def test_instance_that_is_canceled_tells_when_and_by_whom(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    response = await start(client, acme, "waiting", {})
    await settle(client, acme, response, last_completed_step=1)
    url = response.headers["location"]
    manager_id, manager = await colleague(acme, "manager", "manager")
    canceled = await client.post(f"{url}/actions/cancel", headers=bearer(manager))
    identifier = url.rpartition("/")[2]
    workflow = acme.workflows["waiting"]
    assert canceled.json() == {
        "message": f"Successfully canceled the workflow instance {identifier} in {workflow}"
    }
    instance = await told(client, acme, url)
    assert_well_formed(instance, acme, "waiting")
    assert instance["workflow_status"] == "Canceled"
    assert instance["canceled_at"] == instance["ended_at"] == instance["last_modified_at"]
    assert instance["canceled_by"] == str(manager_id)
    assert instance["last_completed_step"] == 1


async def test_instance_that_failed_tells_why(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    text = asking({}, "failing")
    text["do"] = [
        {"first": {"set": {"a": 1}}},
        {
            "second": {
                "raise": {
                    "error": {
                        "type": "https://tests.example/errors/out",
                        "status": 418,
                        "title": "Out of tea",
                    }
                }
            }
        },
        {"third": {"set": {"b": 1}}},
    ]
    await acme.publish(text)
    response = await start(client, acme, "failing", {})
    instance = await settle(client, acme, response, workflow_status="Failed")
    assert_well_formed(instance, acme, "failing", "error", "failure_reason")
    assert instance["error"] == {
        "type": "https://tests.example/errors/out",
        "status": 418,
        "title": "Out of tea",
        "instance": "/do/1/second",
    }
    assert (instance["last_completed_step"], instance["last_completed_step_name"]) == (1, "first")
    assert instance["ended_at"] is not None
    assert instance["canceled_at"] is instance["canceled_by"] is None


async def test_instance_that_expires_fails_with_a_timeout(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    text = {
        "document": {"dsl": "1.0.3", "namespace": "tests", "name": "expiring", "version": "1.0.0"},
        "timeout": {"after": {"milliseconds": 700}},
        "do": [{"wait": {"listen": {"to": {"one": {"with": {"type": "never"}}}}}}],
    }
    await acme.publish(text)
    response = await start(client, acme, "expiring", {})
    instance = await told(client, acme, response.headers["location"])
    while instance["expires_at"] is None:
        await asyncio.sleep(0.02)
        instance = await told(client, acme, response.headers["location"])
    lifetime = datetime.fromisoformat(instance["expires_at"]) - datetime.fromisoformat(instance["started_at"])
    assert timedelta(milliseconds=699) <= lifetime <= timedelta(milliseconds=701)
    instance = await settle(client, acme, response, workflow_status="Failed")
    assert_well_formed(instance, acme, "expiring", "error", "failure_reason")
    assert instance["error"]["type"].endswith("/timeout")
    assert instance["error"]["status"] == 408
    assert instance["ended_at"] >= instance["expires_at"]


@pytest.mark.parametrize("stage", ["Completed", "Failed", "Canceled"])
async def test_instance_that_has_ended_takes_no_cancel_and_no_event(
    client: httpx.AsyncClient, world: World, stage: str
) -> None:
    acme = world.acme
    await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id], 10)
    canceled = await trigger(client, acme, "waiting", {})
    await client.post(f"{canceled}/actions/cancel", headers=bearer(acme.admin))
    base = f"{acme.workflow_url('waiting')}/instances"
    (instance, *_) = (await told(client, acme, f"{base}?status={stage}"))["data"]
    url = f"{base}/{instance['id']}"
    assert_refused(await client.post(f"{url}/actions/cancel", headers=bearer(acme.admin)), 409)
    event = {"type": "goods.arrived"}
    assert_refused(await client.post(f"{url}/actions/signal", json=event, headers=bearer(acme.admin)), 409)
    assert await told(client, acme, url) == instance


async def test_same_event_again_is_taken_once(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    text = asking({}, "twice")
    listen = {"listen": {"to": {"one": {"with": {"type": "tick"}}}}}
    text["do"] = [{"first": listen}, {"second": listen}]
    await acme.publish(text)
    response = await start(client, acme, "twice", {})
    url = response.headers["location"]
    await settle(client, acme, response, total_steps=2)

    async def send(**event: Any) -> httpx.Response:
        return await client.post(
            f"{url}/actions/signal", json={"type": "tick", **event}, headers=bearer(acme.admin)
        )

    long = "x" * 5000  # longer than any index takes
    # An event of the same id, but of another source, is another event.
    for event in (
        {"id": f"{long}1"},
        {"id": f"{long}1"},
        {"id": "b", "source": "urn:a"},
        {"id": "b", "source": "urn:b"},
    ):
        assert (await send(type="other", **event)).status_code == 202
    assert (await send(id="one")).json()["event_id"] == "one"
    await settle(client, acme, response, last_completed_step=1)
    assert (await send()).status_code == 202
    await settle(client, acme, response, workflow_status="Completed")


async def test_event_of_more_than_64_kibibytes_is_refused(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    url = await trigger(client, acme, "waiting", {})
    for size, status in ((65_000, 202), (66_000, 413)):
        event = {"type": "other", "data": "a" * size}
        response = await client.post(f"{url}/actions/signal", json=event, headers=bearer(acme.admin))
        assert response.status_code == status


async def test_event_at_most_100_wait_for_an_instance(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    url = await trigger(client, acme, "waiting", {})
    await until(client, acme, url, last_completed_step=1)
    for number in range(101):
        response = await client.post(
            f"{url}/actions/signal", json={"type": "other", "id": str(number)}, headers=bearer(acme.admin)
        )
        assert response.status_code == (202 if number < 100 else 409)


async def test_a_costly_schema_is_not_held_against_a_strangers_inputs(
    client: httpx.AsyncClient, world: World
) -> None:
    """Whoever has proved nothing gets their refusal at once, however long the inputs would take to check."""
    choices = [{"type": "string", "minLength": length} for length in range(200)]
    schema = {"type": "object", "properties": {"list": {"type": "array", "items": {"anyOf": choices}}}}
    document = {
        "document": {"dsl": "1.0.3", "namespace": "tests", "name": "costly", "version": "1.0.0"},
        "input": {"schema": {"document": schema}},
        "do": [{"only": {"set": {"done": True}}}],
    }
    await world.acme.publish(document)
    await trigger(client, world.acme, "costly", {})
    url = world.acme.workflow_url("costly") + "/actions/trigger"
    body = {"instance_name": "x", "trigger_inputs": {"list": [1] * 7900}}
    for token, status in (("garbage", 401), (world.globex.admin, 404), (world.acme.admin, 400)):
        async with asyncio.timeout(5):
            assert (await client.post(url, json=body, headers=bearer(token))).status_code == status
