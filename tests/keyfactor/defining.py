"""Definitions that tests make through the API."""

from typing import Any

from tests.keyfactor.conftest import Calling

HERE = "/Workflow/Definitions"
NEW = {"DisplayName": "Web server", "Description": "Why", "Key": "12", "WorkflowType": "Enrollment"}


async def created(who: Calling, **more: Any) -> str:
    """Create a definition; return its path."""
    made = await who("POST", HERE, 200, json={**NEW, **more})
    return f"{HERE}/{made['Id']}"
