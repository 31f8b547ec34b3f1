"""Writing workflows: create, replace, read, publish, pause, resume, archive, in every state they can be in."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from tests.maestro.errors import assert_refused, targets
from tests.maestro.people import colleague
from tests.world import WAITING, Tenant, World, bearer, trigger, until

YAML = "application/yaml"


def document(version: str = "1.0.0", *steps: str, **about: Any) -> dict[str, Any]:
    """A definition that sets one thing after another."""
    names = steps or ("only",)
    return {
        "document": {"dsl": "1.0.3", "namespace": "tests", "name": "made", "version": version} | about,
        "do": [{name: {"set": {"step": name}}} for name in names],
    }


async def create(client: httpx.AsyncClient, of: Tenant, text: dict[str, Any]) -> str:
    """Create a workflow; return its URL path."""
    response = await client.post(f"{of.url}/workflows", json=text, headers=bearer(of.admin))
    assert response.status_code == 201, response.text
    return response.headers["location"]


async def put(client: httpx.AsyncClient, of: Tenant, url: str, text: dict[str, Any]) -> httpx.Response:
    """Replace a workflow."""
    return await client.put(url, json=text, headers=bearer(of.admin))


async def act(client: httpx.AsyncClient, of: Tenant, url: str, action: str) -> httpx.Response:
    """Do what needs no body."""
    return await client.post(f"{url}/actions/{action}", headers=bearer(of.admin))


async def read(client: httpx.AsyncClient, of: Tenant, url: str) -> dict[str, Any]:
    """Read a workflow, or what stands below it, without the metadata of the answer."""
    response = await client.get(url, headers=bearer(of.admin))
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    found.pop("response_metadata", None)
    return found


async def versions(client: httpx.AsyncClient, of: Tenant, url: str) -> list[tuple[str, bool, bool]]:
    """Name a workflow's versions, newest first: which are active, which were ever published."""
    found = (await read(client, of, f"{url}/versions"))["data"]
    return [(one["version"], one["active"], "published_at" in one) for one in found]


async def test_create_stores_a_workflow_that_is_not_published(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    text = document(title="A title", summary="What it does")
    response = await client.post(f"{acme.url}/workflows", json=text, headers=bearer(acme.admin))
    assert response.status_code == 201
    made = response.json()
    assert (made["name"], made["namespace"], made["version"]) == ("A title", "tests", "1.0.0")
    assert (made["status"], made["account_id"]) == ("inactive", str(acme.id))
    assert "active_version" not in made
    assert made["definition"] == text
    assert made["warnings"] == []
    assert made["metadata"]["created_by"] == made["metadata"]["modified_by"] == str(acme.admin_id)
    assert response.headers["location"] == f"{acme.url}/workflows/{made['id']}"
    made.pop("response_metadata")
    assert await read(client, acme, response.headers["location"]) == made


async def test_title_is_the_name_and_follows_the_newest_version(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    url = await create(client, acme, document())
    assert (await read(client, acme, url))["name"] == "made"
    for title in ("First title", "Zweiter Titel \u00fc \U0001f3bc"):
        await put(client, acme, url, document(title=title))
        assert (await read(client, acme, url))["name"] == title


# What each action answers, and what it leaves behind, in every state that a workflow can be in.
STATES = {
    "inactive": [],
    "active": ["publish"],
    "active with a draft": ["publish", "replace"],
    "paused": ["publish", "pause"],
    "paused with a draft": ["publish", "replace", "pause"],
    "archived": ["publish", "archive"],
    "archived before it was published": ["archive"],
}
TABLE = {
    "inactive": {"publish": 200, "pause": 409, "resume": 409, "archive": 200, "replace": 200},
    "active": {"publish": 409, "pause": 200, "resume": 409, "archive": 200, "replace": 200},
    "active with a draft": {"publish": 200, "pause": 200, "resume": 409, "archive": 200, "replace": 200},
    "paused": {"publish": 409, "pause": 409, "resume": 200, "archive": 200, "replace": 200},
    "paused with a draft": {"publish": 200, "pause": 409, "resume": 200, "archive": 200, "replace": 200},
    "archived": dict.fromkeys(("publish", "pause", "resume", "archive", "replace"), 409),
    "archived before it was published": dict.fromkeys(
        ("publish", "pause", "resume", "archive", "replace"), 409
    ),
}
AFTERWARDS = {"pause": "paused", "resume": "active", "archive": "archived"}
TRIGGER_CODES = {
    "inactive": "WORKFLOW_NOT_ACTIVE",
    "paused": "WORKFLOW_PAUSED",
    "paused with a draft": "WORKFLOW_PAUSED",
    "archived": "WORKFLOW_ARCHIVED",
    "archived before it was published": "WORKFLOW_ARCHIVED",
}


async def workflow_in(client: httpx.AsyncClient, of: Tenant, state: str, name: str = "made") -> str:
    """Make a workflow and bring it into a state."""
    url = await create(client, of, document(name=name))
    for action in STATES[state]:
        response = (
            await put(client, of, url, document("2.0.0", name=name))
            if action == "replace"
            else await act(client, of, url, action)
        )
        assert response.status_code == 200
    return url


@pytest.mark.parametrize("state", STATES)
async def test_action_in_a_state_is_done_or_a_conflict(
    client: httpx.AsyncClient, world: World, state: str
) -> None:
    acme = world.acme
    for action, status in TABLE[state].items():
        url = await workflow_in(client, acme, state, name=action)
        before = await read(client, acme, url)
        if action == "replace":
            response = await put(client, acme, url, document("3.0.0", name=action))
        else:
            response = await act(client, acme, url, action)
        assert (action, response.status_code) == (action, status)
        now = await read(client, acme, url)
        if status == 409:
            assert_refused(response, 409)
            assert now == before
        elif action == "publish":
            assert now["status"] == ("paused" if state.startswith("paused") else "active")
            assert now["active_version"] == now["version"] == before["version"]
        elif action == "replace":
            assert (now["status"], now["version"]) == (before["status"], "3.0.0")
            assert now.get("active_version") == before.get("active_version")
        else:
            assert response.json() == {"status": AFTERWARDS[action]}
            assert now["status"] == AFTERWARDS[action]


@pytest.mark.parametrize("state", STATES)
async def test_trigger_and_reads_in_a_state(client: httpx.AsyncClient, world: World, state: str) -> None:
    acme = world.acme
    url = await workflow_in(client, acme, state)
    body = {"instance_name": "a", "trigger_inputs": {}}
    response = await client.post(f"{url}/actions/trigger", json=body, headers=bearer(acme.admin))
    if state in TRIGGER_CODES:
        (error,) = assert_refused(response, 400)
        assert error["code"] == TRIGGER_CODES[state]
        assert error["message"] == response.json()["detail"]
    else:
        assert response.status_code == 201
    requirements = await read(client, acme, f"{url}/trigger-requirements")
    assert requirements["trigger_http_config"]["url"].endswith(f"{url}/actions/trigger")
    assert await versions(client, acme, url)
    listed = await read(client, acme, f"{url}/instances")
    assert len(listed["data"]) == (response.status_code == 201)


async def test_running_instances_keep_the_version_they_began_with(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    old = await trigger(client, acme, "waiting", {})
    await until(client, acme, old, last_completed_step=1)
    changed = {
        "document": {**WAITING["document"], "version": "2.0.0"},
        "do": [*WAITING["do"][:2], {"close": {"set": {"new": True}}}, {"more": {"set": {"newer": True}}}],
    }
    url = acme.workflow_url("waiting")
    assert (await put(client, acme, url, changed)).status_code == 200
    assert (await act(client, acme, url, "publish")).status_code == 200
    new = await trigger(client, acme, "waiting", {})
    ended = {}
    for instance in (old, new):
        await until(client, acme, instance, last_completed_step=1)
        await client.post(
            f"{instance}/actions/signal",
            json={"type": "goods.arrived", "data": 1},
            headers=bearer(acme.admin),
        )
        ended[instance] = await until(client, acme, instance, workflow_status="Completed")
    assert ended[old]["output"] == {"received": 1}
    assert ended[new]["output"] == {"newer": True}
    assert [ended[one]["metadata"]["workflow_version"] for one in (old, new)] == ["1.0.0", "2.0.0"]
    assert [ended[one]["total_steps"] for one in (old, new)] == [3, 4]
    metadata_ids = {ended[one]["metadata"]["workflow_metadata_id"] for one in (old, new)}
    assert len(metadata_ids) == 2
    assert all(len(one) == 24 and int(one, 16) for one in metadata_ids)


async def test_instances_go_on_after_their_workflow_was_paused_and_archived(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    for action in ("pause", "archive"):
        instance = await trigger(client, acme, "waiting", {})
        await until(client, acme, instance, last_completed_step=1)
        await act(client, acme, acme.workflow_url("waiting"), action)
        await client.post(
            f"{instance}/actions/signal", json={"type": "goods.arrived"}, headers=bearer(acme.admin)
        )
        await until(client, acme, instance, workflow_status="Completed")
        await act(client, acme, acme.workflow_url("waiting"), "resume")


async def test_same_document_again_changes_nothing(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    url = await create(client, acme, document())
    for _ in range(2):
        before = await read(client, acme, url)
        response = await put(client, acme, url, document())
        assert response.status_code == 200
        assert await read(client, acme, url) == before
        assert len(await versions(client, acme, url)) == 1
        await act(client, acme, url, "publish")


async def test_draft_is_replaced_under_its_version(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    url = await create(client, acme, document("1.0.0", "first"))
    changed = document("1.0.0", "first", "second")
    response = await put(client, acme, url, changed)
    assert response.status_code == 200
    assert response.json()["definition"] == changed
    assert await versions(client, acme, url) == [("1.0.0", False, False)]


async def test_published_version_never_changes(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    url = await create(client, acme, document("1.0.0", "first"))
    await act(client, acme, url, "publish")
    before = await read(client, acme, url)
    assert_refused(await put(client, acme, url, document("1.0.0", "other")), 409)
    assert await read(client, acme, url) == before
    # Nor does it come back once a newer one is stored.
    assert (await put(client, acme, url, document("2.0.0", "other"))).status_code == 200
    assert_refused(await put(client, acme, url, document("1.0.0", "first")), 409)
    assert (await act(client, acme, url, "publish")).status_code == 200
    assert_refused(await put(client, acme, url, document("1.0.0", "third")), 409)
    assert await versions(client, acme, url) == [("2.0.0", True, True), ("1.0.0", False, True)]


async def test_versions_tell_which_one_triggers_start(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    url = await create(client, acme, document("1.0.0"))
    assert await versions(client, acme, url) == [("1.0.0", False, False)]
    await act(client, acme, url, "publish")
    await put(client, acme, url, document("1.1.0"))
    await put(client, acme, url, document("1.2.0"))
    assert await versions(client, acme, url) == [
        ("1.2.0", False, False),
        ("1.1.0", False, False),
        ("1.0.0", True, True),
    ]
    published = await act(client, acme, url, "publish")
    assert (published.json()["version"], published.json()["active_version"]) == ("1.2.0", "1.2.0")
    assert await versions(client, acme, url) == [
        ("1.2.0", True, True),
        ("1.1.0", False, False),
        ("1.0.0", False, True),
    ]


async def test_metadata_tells_who_changed_a_workflow_last(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    url = await create(client, acme, document())
    made = (await read(client, acme, url))["metadata"]
    manager_id, manager = await colleague(acme, "manager", "manager")
    response = await client.post(f"{url}/actions/publish", headers=bearer(manager))
    changed = response.json()["metadata"]
    assert changed["created_at"] == made["created_at"]
    assert changed["modified_at"] >= made["modified_at"]
    assert (changed["created_by"], changed["modified_by"]) == (str(acme.admin_id), str(manager_id))
    assert (await read(client, acme, f"{url}/trigger-requirements"))["metadata"] == changed


async def test_another_workflows_name_is_refused_with_a_pointer(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    url = await create(client, acme, document())
    for about in (
        {"name": "other"},
        {"namespace": "other"},
        {"name": "waiting"},
        {"name": "a", "namespace": "b"},
    ):
        response = await put(client, acme, url, document("2.0.0", **about))
        assert targets(response) == {f"/document/{field}": "bad_value" for field in about}
    assert len(await versions(client, acme, url)) == 1


async def test_name_that_is_taken_is_a_conflict(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    url = await create(client, acme, document())
    response = await client.post(f"{acme.url}/workflows", json=document("2.0.0"), headers=bearer(acme.admin))
    assert_refused(response, 409)
    assert url.rpartition("/")[2] in response.json()["detail"]
    assert await create(client, acme, document(namespace="other")) != url
    # Another account's names are its own.
    assert await create(client, world.globex, document()) != url


async def test_two_creates_at_once_make_one_workflow(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    for name in ("a", "b", "c"):
        answers = await asyncio.gather(
            *(
                client.post(f"{acme.url}/workflows", json=document(name=name), headers=bearer(acme.admin))
                for _ in range(4)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


async def test_two_replacements_and_publishings_at_once_are_done_one_after_the_other(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    url = await create(client, acme, document())
    answers = await asyncio.gather(
        *(put(client, acme, url, document(f"2.0.{number}")) for number in (0, 1, 2, 0, 1, 2))
    )
    assert all(answer.status_code in (200, 409) for answer in answers)
    assert sorted(version for version, *_ in await versions(client, acme, url)) == [
        "1.0.0",
        "2.0.0",
        "2.0.1",
        "2.0.2",
    ]
    answers = await asyncio.gather(*(act(client, acme, url, "publish") for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]


BROKEN: dict[str, Any] = {
    "document": {"dsl": "9.0.0", "namespace": "not a name", "name": "made", "version": "one"},
    "do": [
        {"first": {"nonsense": {}}},
        {"second": {"set": "${ .[ }"}},
        {"third": {"wait": "soon"}},
        {"fourth": {"switch": []}},
        {"fifth": {"set": {"a": 1}, "then": "nowhere"}},
    ],
    "timeout": {"after": "PT"},
    "nonsense": True,
}


async def test_everything_wrong_with_a_document_comes_at_once_with_pointers(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    url = await create(client, acme, document())
    answers = [
        await client.post(f"{acme.url}/workflows", json=BROKEN, headers=bearer(acme.admin)),
        await put(client, acme, url, BROKEN),
    ]
    for method, path in (("POST", "/yaml-workflows"), ("PUT", f"/yaml-workflows/{url.rpartition('/')[2]}")):
        answers.append(
            await client.request(
                method,
                f"{acme.url}{path}",
                content=msgspec.yaml.encode(BROKEN),
                headers={**bearer(acme.admin), "Content-Type": YAML},
            )
        )
    for answer in answers:
        found = targets(answer)
        assert found.keys() >= {
            *("/document/dsl", "/document/namespace", "/document/version", "/nonsense"),
            *(
                "/do/0/first",
                "/do/1/second/set",
                "/do/2/third/wait",
                "/do/3/fourth/switch",
                "/do/4/fifth/then",
            ),
            "/timeout/after",
        }
        assert all(code.islower() for code in found.values())
    assert len(await versions(client, acme, url)) == 1


@pytest.mark.parametrize(
    ("change", "target"),
    [
        ({"title": "a\0b"}, "/document/title"),
        ({"tags": {"a": "b\0"}}, "/document/tags/a"),
        ({"version": "1.0.0-" + "a" * 3000}, "/document/version"),
        ({"title": "a" * 256}, "/document/title"),
        ({"name": "a" * 64}, "/document/name"),
        ({"name": ""}, "/document/name"),
        ({"version": "1"}, "/document/version"),
        ({"summary": "a" * 262_144}, ""),
    ],
)
async def test_document_that_cannot_be_kept_is_refused(
    client: httpx.AsyncClient, world: World, change: dict[str, Any], target: str
) -> None:
    acme = world.acme
    text = document()
    text["document"] |= change
    response = await client.post(f"{acme.url}/workflows", json=text, headers=bearer(acme.admin))
    assert list(targets(response)) == [target]


async def test_warnings_come_with_what_is_stored(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    text = document("1.0.0", "first", "second", "third")
    text["do"][0]["first"]["then"] = "third"
    text["do"][1]["second"]["then"] = "end"
    response = await client.post(f"{acme.url}/workflows", json=text, headers=bearer(acme.admin))
    assert response.status_code == 201
    (warning,) = response.json()["warnings"]
    assert (warning["code"], warning["target"]) == ("unreachable_task", "/do/1/second")
    assert warning["message"]
    text["document"]["version"] = "2.0.0"
    response = await put(client, acme, response.headers["location"], text)
    assert response.json()["warnings"] == [warning]


async def test_yaml_is_read_by_the_rules_of_yaml_1_2(client: httpx.AsyncClient, world: World) -> None:
    acme = world.acme
    headers = {**bearer(acme.admin), "Content-Type": YAML}
    text = """
    document: {dsl: 1.0.3, namespace: tests, name: made, version: 1.0.0}
    do:
      - only:
          set:
            on: no
            yes: off
            octal: 0123
            prefixed: 0o17
            hexadecimal: 0x1F
            underscored: 1_000
            clock: 12:30:45
            date: 2020-01-01
            truth: true
            nothing: ~
            float: 1e3
    """
    response = await client.post(f"{acme.url}/yaml-workflows", content=text, headers=headers)
    assert response.status_code == 201
    expected = {
        "on": "no",
        "yes": "off",
        "octal": 123,
        "prefixed": 15,
        "hexadecimal": 31,
        "underscored": "1_000",
        "clock": "12:30:45",
        "date": "2020-01-01",
        "truth": True,
        "nothing": None,
        "float": 1000.0,
    }
    url = response.headers["location"]
    found = await read(client, acme, url)
    assert found["definition"]["do"] == [{"only": {"set": expected}}]
    # JSON and YAML write the same workflow.
    response = await put(client, acme, url, found["definition"])
    assert response.status_code == 200
    assert len(await versions(client, acme, url)) == 1
    response = await client.put(
        url.replace("/workflows/", "/yaml-workflows/"),
        content=text.replace("version: 1.0.0", "version: 2.0.0"),
        headers=headers,
    )
    assert response.status_code == 200
    assert [version for version, *_ in await versions(client, acme, url)] == ["2.0.0", "1.0.0"]


async def test_trigger_requirements_are_the_published_versions(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme

    def asking(version: str, name: str) -> dict[str, Any]:
        schema = {"type": "object", "properties": {name: {"type": "string"}}}
        return {**document(version), "input": {"schema": {"document": schema}}}

    async def asked() -> list[str]:
        found = await read(client, acme, f"{url}/trigger-requirements")
        return [field["field_name"] for field in found["trigger_input_schema"]]

    url = await create(client, acme, asking("1.0.0", "draft"))
    assert await asked() == ["draft"]
    await act(client, acme, url, "publish")
    await put(client, acme, url, asking("2.0.0", "newer"))
    assert await asked() == ["draft"]
    await act(client, acme, url, "publish")
    assert await asked() == ["newer"]
    await act(client, acme, url, "archive")
    assert await asked() == ["newer"]


async def test_tags_of_a_document_are_the_tags_of_its_instances(
    client: httpx.AsyncClient, world: World
) -> None:
    acme = world.acme
    await acme.publish(document(tags={"team": "purchasing", "priority": "high"}))
    instance = (await client.get(await trigger(client, acme, "made", {}), headers=bearer(acme.admin))).json()
    assert sorted(instance["tags"]) == ["priority:high", "team:purchasing"]
