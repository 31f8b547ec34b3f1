"""Definitions through the API: created, given steps, published, listed and deleted."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from auth.bearer import Operator
from service.operations import secrets
from tests.keyfactor.conftest import Calling, calling_as
from tests.keyfactor.defining import HERE, NEW, created
from tests.keyfactor.stepping import approval, chain, step
from tests.world import World

SECOND = {"x-keyfactor-api-version": "2"}


async def own(who: Calling) -> list[dict[str, Any]]:
    """The definitions of the account that were made here."""
    return [one for one in await who("GET", HERE, 200) if one["WorkflowType"]]


def noted(name: str) -> list[dict[str, Any]]:
    """Steps of which one sets metadata."""
    return chain(step("UpdateMetadata", "Note", Name=name, Value="1"))


# --- Creating -------------------------------------------------------------------------------------------------------


async def test_a_definition_begins_without_steps_and_unpublished(acme: Calling) -> None:
    made = await acme("POST", HERE, 200, json=NEW)
    assert made == {
        "Id": made["Id"],
        "DisplayName": "Web server",
        "Key": "12",
        "KeyDisplayName": None,
        "WorkflowType": "Enrollment",
        "DraftVersion": 1,
        "PublishedVersion": None,
        "Description": "Why",
        "IsPublished": False,
        "Enabled": True,
        "Steps": [],
    }
    assert await acme("GET", f"{HERE}/{made['Id']}", 200) == made


async def test_names_of_fields_and_types_are_taken_in_any_case(acme: Calling) -> None:
    sent = {"displayname": "d", "KEY": "1", "workflowType": "revocation", "unknown": 1}
    assert (await acme("POST", HERE, 200, json=sent))["WorkflowType"] == "Revocation"


async def test_version_2_has_keys(acme: Calling) -> None:
    sent = {"DisplayName": "d", "Description": "x", "Keys": ["2", "1", "2"], "WorkflowType": "Enrollment"}
    made = await acme("POST", HERE, 200, json=sent, headers=SECOND)
    assert made["Keys"] == ["2", "1"]
    assert "Key" not in made
    here = f"{HERE}/{made['Id']}"
    assert (await acme("GET", here, 200))["Key"] == "2"
    assert ["2", "1"] in [one["Keys"] for one in await acme("GET", HERE, 200, headers=SECOND)]
    changed = await acme("PUT", here, 200, json={"DisplayName": "d", "Keys": ["3"]}, headers=SECOND)
    assert changed["Keys"] == ["3"]
    assert (await acme("PUT", here, 200, json={"DisplayName": "d"}, headers=SECOND))["Keys"] == ["3"]
    await acme("POST", HERE, 200, json=NEW | {"Key": "1"})


async def test_one_definition_is_for_a_type_and_a_key(acme: Calling, globex: Calling) -> None:
    here = await created(acme)
    refused = await acme("POST", HERE, 400, json=NEW)
    assert here.rpartition("/")[2] in refused["Message"]
    assert refused["ErrorCode"] == "0xA0110050"
    await created(acme, WorkflowType="Revocation")
    await created(acme, Key="13")
    await created(globex)
    other = await created(acme, Key="14")
    keys = {"DisplayName": "d", "Keys": ["15", "13"]}
    assert "13" in (await acme("PUT", other, 400, json=keys, headers=SECOND))["Message"]
    assert (await acme("GET", other, 200))["Key"] == "14"
    await acme("DELETE", here, 204)
    await created(acme)


async def test_of_definitions_that_are_made_for_the_same_keys_at_once_one_is(acme: Calling) -> None:
    keys = [str(number) for number in range(100)]
    orders = [keys, keys[::-1]] * 4
    wanted = [{"DisplayName": "d", "WorkflowType": "Enrollment", "Keys": one} for one in orders]
    answers = await asyncio.gather(*(acme.sent("POST", HERE, json=one, headers=SECOND) for one in wanted))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7


async def test_definitions_that_swap_their_keys_at_once_are_refused_or_do(acme: Calling) -> None:
    one, other = await created(acme, Key="1"), await created(acme, Key="2")
    for _ in range(5):
        wanted = [(one, ["2", "3"]), (other, ["1", "4"])]
        answers = await asyncio.gather(
            *(
                acme.sent("PUT", here, json={"DisplayName": "d", "Keys": keys}, headers=SECOND)
                for here, keys in wanted
            )
        )
        assert {answer.status_code for answer in answers} <= {200, 400}


async def test_what_a_definition_lacks_is_told(acme: Calling) -> None:
    for sent, told in LACKING:
        refused = await acme("POST", HERE, 400, json={**NEW, **sent})
        assert told in refused["Message"], sent
    assert await own(acme) == []


LACKING: list[tuple[dict[str, Any], str]] = [
    ({"DisplayName": None}, "DisplayName"),
    ({"DisplayName": " "}, "DisplayName"),
    ({"DisplayName": "x" * 256}, "255"),
    ({"DisplayName": 1}, "str"),
    ({"Description": "x" * 4001}, "4000"),
    ({"Key": None}, "Key"),
    ({"Key": "  "}, "Key"),
    ({"Key": "x" * 256}, "255"),
    ({"Keys": []}, "Key"),
    ({"Keys": ["x"] * 3 + ["y" * 256]}, "255"),
    ({"WorkflowType": None}, "Enrollment, Revocation"),
    ({"WorkflowType": "Other"}, "Enrollment, Revocation"),
]


# --- Steps and versions ---------------------------------------------------------------------------------------------


async def test_steps_are_told_as_they_were_sent_with_ids(acme: Calling) -> None:
    here = await created(acme)
    steps = chain(
        approval("Ask", None, 1, 4, MinimumApprovals=2, DisplayName="Ask them"),
        step(
            "UpdateMetadata", "Note", Name="x", Value="$(cn)", Conditions=[{"Value": "$(go)"}], Enabled=False
        ),
    )
    told = (await acme("PUT", here + "/Steps", 200, json=steps))["Steps"]
    by_name = {one["UniqueName"]: one for one in told}
    assert [one["UniqueName"] for one in told] == [one["UniqueName"] for one in steps]
    assert by_name["Ask"] == {
        "Id": by_name["Ask"]["Id"],
        "ExtensionName": "RequireApproval",
        "UniqueName": "Ask",
        "DisplayName": "Ask them",
        "Enabled": True,
        "ConfigurationParameters": {"MinimumApprovals": 2},
        "Signals": [{"SignalName": "ApprovalStatus", "RoleIds": [1, 4]}],
        "Conditions": [],
        "Outputs": {"continue": "Note"},
    }
    (condition,) = by_name["Note"]["Conditions"]
    assert (condition["Value"], by_name["Note"]["Enabled"]) == ("$(go)", False)
    assert len({one["Id"] for one in [*told, condition]}) == 5
    assert (await acme("GET", here, 200))["Steps"] == told, "and the same when they are read again"
    exported = (await acme("GET", here + "?exportable=true", 200))["Steps"]
    assert {one["UniqueName"]: one["Signals"] for one in exported}["Ask"] == [
        {"SignalName": "ApprovalStatus", "RoleIds": []}
    ]
    assert (await acme("PUT", here + "/Steps", 200, json=told))["Steps"] == [
        {**one, "Id": again["Id"], "Conditions": again["Conditions"]}
        for one, again in zip(told, (await acme("GET", here, 200))["Steps"], strict=True)
    ], "what is told can be sent"


async def test_editing_makes_a_version_only_where_the_newest_is_published(acme: Calling) -> None:
    here = await created(acme)

    async def versions() -> tuple[int, int | None, bool]:
        told = await acme("GET", here, 200)
        return told["DraftVersion"], told["PublishedVersion"], told["IsPublished"]

    await acme("PUT", here + "/Steps", 200, json=noted("one"))
    await acme("PUT", here, 200, json={"DisplayName": "First", "Description": "d"})
    assert await versions() == (1, None, False)
    published = await acme("POST", here + "/Publish", 200)
    assert (published["DraftVersion"], published["PublishedVersion"], published["IsPublished"]) == (
        1,
        1,
        True,
    )
    assert await acme("POST", here + "/Publish", 200) == published, "again, it changes nothing"
    await acme("PUT", here + "/Steps", 200, json=noted("two"))
    assert await versions() == (2, 1, False)
    await acme("PUT", here, 200, json={"DisplayName": "Second"})
    await acme("PUT", here + "/Steps", 200, json=noted("three"))
    assert await versions() == (2, 1, False)
    first = await acme("GET", here + "?definitionVersion=1", 200)
    assert (first["DisplayName"], first["Description"], first["IsPublished"]) == ("First", "d", True)
    assert note_of(first) == "one"
    newest = await acme("GET", here, 200)
    assert (newest["DisplayName"], newest["Description"], note_of(newest)) == ("Second", None, "three")
    await acme("POST", here + "/Publish", 200)
    assert await versions() == (2, 2, True)
    back = await acme("POST", here + "/Publish/1", 200)
    assert (note_of(back), back["PublishedVersion"], back["IsPublished"]) == ("one", 1, True)
    assert await versions() == (2, 1, False)
    await acme("PUT", here + "/Steps", 200, json=noted("four"))
    assert await versions() == (3, 1, False), "a version that was published once is never written anew"
    for missing in ("/Publish/9", "/Publish/x", f"/Publish/{10**12}"):
        await acme("POST", here + missing, 404)
    assert "newest one is 3" in (await acme("GET", here + "?definitionVersion=9", 404))["Message"]
    await acme("GET", here + "?definitionVersion=x", 400)


def note_of(told: dict[str, Any]) -> str:
    """Which metadata the steps of `noted` set."""
    (found,) = [one for one in told["Steps"] if one["UniqueName"] == "Note"]
    return str(found["ConfigurationParameters"]["Name"])


async def test_what_a_put_leaves_out_is_cleared(acme: Calling) -> None:
    here = await created(acme)
    await acme("PUT", here + "/Steps", 200, json=noted("one"))
    told = await acme("PUT", here, 200, json={})
    assert (told["DisplayName"], told["Description"], note_of(told)) == (None, None, "one")
    assert (await own(acme))[0]["DisplayName"] is None
    assert (await acme("PUT", here + "/Steps", 200, json=[]))["Steps"] == []


async def test_steps_that_cannot_be_run_change_nothing(acme: Calling) -> None:
    here = await created(acme)
    await acme("PUT", here + "/Steps", 200, json=noted("one"))
    refused = await acme("PUT", here + "/Steps", 400, json=chain(step("PowerShell", "Run it")))
    assert refused["ErrorCode"] == "0xA0110060"
    assert "'Run it'" in refused["Message"]
    wrong: Any
    for wrong in ({}, "x", [1], [{"UniqueName": 1}], [{"Signals": [{"RoleIds": ["1"]}]}], None):
        await acme("PUT", here + "/Steps", 400, json=wrong)
    bad_header = step("RESTRequest", "Call", Verb="GET", URL="http://x/", Headers={"a b": ["1"]})
    refused = await acme("PUT", here + "/Steps", 400, json=chain(bad_header))
    assert refused["ErrorCode"] == "0xA0110060"
    assert refused["Message"].startswith("The document is not a valid workflow definition: /do/1/Call/")
    assert note_of(await acme("GET", here, 200)) == "one"


@pytest.mark.usefixtures("secret_keys")
async def test_secrets_are_kept_where_nobody_reads_them(acme: Calling, world: World) -> None:
    here = await created(acme)
    call: dict[str, Any] = {"Verb": "GET", "URL": "http://127.0.0.1:9/", "Username": "ann"}
    kept = f"keyfactor-{here.rpartition('/')[2]}-Call"

    async def stored() -> list[str]:
        return [one.name for one in await secrets.list_secrets(Operator(world.acme.id))]

    told = await acme(
        "PUT", here + "/Steps", 200, json=chain(step("RESTRequest", "Call", **call, Password="geheim-3"))
    )
    assert "geheim-3" not in str(told)
    assert await stored() == [kept]
    again = await acme("PUT", here + "/Steps", 200, json=told["Steps"])
    (one,) = [one for one in again["Steps"] if one["UniqueName"] == "Call"]
    assert one["ConfigurationParameters"]["Password"] is None
    assert await stored() == [kept]
    await acme("DELETE", here, 204)
    assert await stored() == []


async def test_secrets_take_a_key_of_the_operators(acme: Calling) -> None:
    here = await created(acme)
    call = step("RESTRequest", "Call", Verb="GET", URL="http://x/", Username="ann", Password="geheim-3")
    assert "TUTTI_SECRET_KEYS" in (await acme("PUT", here + "/Steps", 400, json=chain(call)))["Message"]
    assert (await acme("GET", here, 200))["Steps"] == []


# --- Status, deleting, who may --------------------------------------------------------------------------------------


async def test_a_definition_is_enabled_or_not_once_it_is_published(acme: Calling) -> None:
    here = await created(acme)
    assert "publish" in (await acme("PUT", here + "/Status", 400, json=False))["Message"]
    await acme("POST", here + "/Publish", 200)
    for enabled in (False, False, True, True):
        assert await acme("PUT", here + "/Status", 204, json=enabled) is None
        assert (await acme("GET", here, 200))["Enabled"] is enabled
    wrong: Any
    for wrong in ("true", None, 1, {}):
        await acme("PUT", here + "/Status", 400, json=wrong)


async def test_a_deleted_definition_is_not_found_by_anything(acme: Calling) -> None:
    here = await created(acme)
    await acme("POST", here + "/Publish", 200)
    await acme("DELETE", here, 204)
    for method, path, sent in EVERY:
        await acme(method, here + path, 404, json=sent)
    assert await own(acme) == []


EVERY: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("PUT", "", {"DisplayName": "x"}),
    ("PUT", "/Steps", []),
    ("POST", "/Publish", None),
    ("POST", "/Publish/1", None),
    ("PUT", "/Status", True),
    ("DELETE", "", None),
]


async def test_definitions_of_others_are_as_missing_ones(acme: Calling, globex: Calling) -> None:
    theirs = await created(globex)
    for method, path, sent in EVERY:
        answers = [await acme(method, one + path, 404, json=sent) for one in (theirs, f"{HERE}/{uuid4()}")]
        assert answers[0] == answers[1]
        await acme(method, f"{HERE}/none{path}", 400, json=sent)
    assert await own(acme) == []


async def test_whoever_does_not_operate_reads_and_changes_nothing(acme: Calling, world: World) -> None:
    here = await created(acme)
    sender = await calling_as(acme.http, world.acme, world.acme.member_id)
    assert (await sender("GET", here, 200))["DisplayName"] == "Web server"
    assert len(await own(sender)) == 1
    for method, path, sent in EVERY[1:]:
        await sender(method, here + path, 403, json=sent)
    await sender("POST", HERE, 403, json=NEW)


# --- Definitions of other dialects ----------------------------------------------------------------------------------


async def test_workflows_of_other_dialects_are_told_and_not_changed(acme: Calling, world: World) -> None:
    workflow_id = await world.acme.publish(
        {
            "document": {"dsl": "1.0.3", "namespace": "keyfactor", "name": "other", "version": "1.0.0"},
            "do": [{"one": {"set": {"a": 1}}}, {"two": {"set": {"b": 1}}}],
        }
    )
    here = f"{HERE}/{workflow_id}"
    told = await acme("GET", here, 200)
    assert (told["WorkflowType"], told["Key"], told["PublishedVersion"], told["IsPublished"]) == (
        None,
        None,
        1,
        True,
    )
    steps = [(one["ExtensionName"], one["UniqueName"], one["Outputs"]) for one in told["Steps"]]
    assert steps == [(None, "one", {"continue": "two"}), (None, "two", {})]
    for path, sent in (("", {"DisplayName": "x"}), ("/Steps", [])):
        assert "another dialect" in (await acme("PUT", here + path, 400, json=sent))["Message"]
    greeting = f"{HERE}/{world.acme.workflows['greeting']}"
    assert (await acme("GET", greeting, 200))["DisplayName"] == "Greeting"


async def test_a_definition_that_was_changed_elsewhere_is_told_as_it_is(acme: Calling, world: World) -> None:
    here = await created(acme)
    name = f"definition-{here.rpartition('/')[2]}"
    for metadata in (
        {},
        {"keyfactor": 1},
        {"keyfactor": {"Steps": [{"UniqueName": 1}], "WorkflowType": "x"}},
    ):
        await world.acme.publish(
            {
                "document": {
                    "dsl": "1.0.3",
                    "namespace": "keyfactor",
                    "name": name,
                    "version": f"7.{len(metadata)}.{len(str(metadata))}",
                    "metadata": metadata,
                },
                "do": [{"one": {"set": {"a": 1}}}],
            }
        )
        told = await acme("GET", here, 200)
        assert [one["UniqueName"] for one in told["Steps"]] == ["one"]
        assert "another dialect" in (await acme("PUT", here + "/Steps", 400, json=[]))["Message"]
