"""Definitions through the API: created, given steps, published, listed and deleted."""

from tests.keyfactor.conftest import Calling

NEW = {"DisplayName": "Web server", "Description": "Why", "Key": "12", "WorkflowType": "Enrollment"}


async def test_a_definition_begins_without_steps_and_unpublished(acme: Calling) -> None:
    made = await acme("POST", "/Workflow/Definitions", 200, json=NEW)
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
    assert await acme("GET", f"/Workflow/Definitions/{made['Id']}", 200) == made
