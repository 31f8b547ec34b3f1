"""Lists of definitions, and of what they can be made of."""

from typing import Any

import pytest

from tests.keyfactor.conftest import Calling
from tests.keyfactor.defining import HERE, created

# --- Lists ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def several(acme: Calling) -> dict[str, str]:
    """Definitions of several types, two of them published; the world's own workflows are gone."""
    made = {}
    for name, kind in (
        ("b_50%", "Enrollment"),
        ("A", "Revocation"),
        ("c", "Enrollment"),
        ("Äb", "Expiration"),
    ):
        made[name] = await created(acme, DisplayName=name, Key=name, WorkflowType=kind)
    for name in ("A", "c"):
        await acme("POST", made[name] + "/Publish", 200)
    await acme("PUT", made["c"], 200, json={"DisplayName": "c"})
    return made


async def test_lists_are_narrowed_by_queries(acme: Calling, several: dict[str, str]) -> None:
    for query, names in QUERIES.items():
        answer = await acme.sent("GET", HERE, params={"query.queryString": query})
        assert [one["DisplayName"] for one in answer.json() if one["DisplayName"] in several] == names, query
        assert int(answer.headers["x-total-count"]) == len(answer.json())


QUERIES = {
    "": ["A", "b_50%", "c", "Äb"],
    'WorkflowType -eq "enrollment"': ["b_50%", "c"],
    'WorkflowType -ne "Enrollment"': ["A", "Äb"],
    "WorkflowType -eq NULL": [],
    'DisplayName -contains "B"': ["b_50%", "Äb"],
    'displayname -startswith "ä"': ["Äb"],
    'DisplayName -endswith "50%"': ["b_50%"],
    'DisplayName -contains "_5"': ["b_50%"],
    'DisplayName -notcontains "b"': ["A", "c"],
    "IsPublished -eq true": ["A"],
    'IsPublished -eq "false" AND WorkflowType -eq "Enrollment"': ["b_50%", "c"],
    "DisplayName -eq NULL": [],
    '(DisplayName -eq "A" OR DisplayName -eq "c")AND IsPublished -ne "false"': ["A"],
}


async def test_lists_have_pages_and_an_order(acme: Calling, several: dict[str, str]) -> None:
    async def listed(**parameters: Any) -> list[Any]:
        answer = await acme.sent("GET", HERE, params={"QueryString": "WorkflowType -ne NULL", **parameters})
        assert answer.headers["x-total-count"] == "4", answer.text
        return [one["DisplayName"] for one in answer.json()]

    order = ["A", "b_50%", "c", "Äb"]
    assert await listed(**{"query.sortAscending": 1}) == order[::-1]
    assert await listed(pageReturned=2, returnLimit=3) == order[3:]
    assert await listed(pageReturned=3, returnLimit=3) == []
    assert await listed(sortField="PublishedVersion", returnLimit=2) == ["A", "c"]
    assert await listed(sortField="workflowtype") == ["b_50%", "c", "Äb", "A"]
    by_id = await listed(sortField="Id")
    assert by_id == ["b_50%", "A", "c", "Äb"]
    identity = several["c"].rpartition("/")[2]
    (one,) = await acme("GET", HERE, 200, params={"QueryString": f"Id -eq {identity}"})
    assert one == {
        "Id": identity,
        "DisplayName": "c",
        "Key": "c",
        "KeyDisplayName": None,
        "WorkflowType": "Enrollment",
        "DraftVersion": 2,
        "PublishedVersion": 1,
    }


async def test_lists_say_what_they_cannot_do(acme: Calling) -> None:
    for parameters, told in UNKNOWN:
        assert told in (await acme("GET", HERE, 400, params=parameters))["Message"]


UNKNOWN: list[tuple[dict[str, str], str]] = [
    ({"QueryString": "Other -eq 1"}, "Other"),
    ({"QueryString": "IsPublished -eq maybe"}, "true or false"),
    ({"QueryString": "DisplayName -lt 1"}, "-lt"),
    ({"QueryString": "Id -eq 1"}, "GUID"),
    ({"SortField": "Steps"}, "Invalid sort field: Steps."),
]


# --- Kinds of steps and types ---------------------------------------------------------------------------------------


async def test_the_kinds_of_steps_are_told(acme: Calling) -> None:
    found = await acme("GET", HERE + "/Steps", 200)
    names = [one["ExtensionName"] for one in found]
    assert sorted(names) == [
        "Email",
        "NOOPStep",
        "OAuthRESTRequest",
        "RESTRequest",
        "RequireApproval",
        "UpdateMetadata",
    ]
    assert names == [
        one["ExtensionName"] for one in sorted(found, key=lambda one: one["DisplayName"].lower())
    ]
    (approving,) = await acme(
        "GET", HERE + "/Steps", 200, params={"QueryString": 'ExtensionName -eq "requireapproval"'}
    )
    assert approving["SupportedWorkflowTypes"][0] == "Enrollment"
    assert approving["ConfigurationParametersDefinition"]["MinimumApprovals"]["DefaultValue"] == "1"
    assert set(approving["SignalsDefinition"]["ApprovalStatus"]["InputParameters"]) == {"Approved", "Comment"}
    one = await acme("GET", HERE + "/Steps/restrequest", 200)
    assert (one["ExtensionName"], one["Outputs"]) == ("RESTRequest", ["continue"])
    assert one["ConfigurationParametersDefinition"]["Password"]["ParameterType"] == 4
    assert "RESTRequest" in (await acme("GET", HERE + "/Steps/PowerShell", 404))["Message"]
    for wrong in ({"QueryString": "Other -eq 1"}, {"SortField": "Other"}):
        await acme("GET", HERE + "/Steps", 400, params=wrong)


async def test_the_types_of_workflows_are_told(acme: Calling) -> None:
    answer = await acme.sent("GET", HERE + "/Types", params={"ReturnLimit": 2, "SortAscending": 1})
    assert [one["WorkflowType"] for one in answer.json()] == ["Revocation", "Expiration"]
    assert answer.headers["x-total-count"] == "5"
    (one,) = await acme("GET", HERE + "/Types", 200, params={"QueryString": 'Name -contains "Entered"'})
    assert (one["WorkflowType"], one["KeyType"]) == ("CertificateEnteredCollection", "CertificateCollection")
    assert (one["ContextParameters"], [each["ExtensionName"] for each in one["BuiltInSteps"]]) == (
        [],
        ["NOOPStep"],
    )
