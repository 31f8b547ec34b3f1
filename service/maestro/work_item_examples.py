"""Examples of who works on a work item, for the OpenAPI document; a test holds each against its schema."""

from typing import Any

from service.maestro.examples import METADATA, NOW, OPEN_WORK_ITEM, USER

ADA = {"id": USER, "name": "Ada Lovelace"}
HELD = {"claimed_by": ADA, "claimed_at": NOW, "minimum": 1}
ASSIGNEES = {"users": ["grace@acme.example"], "roles": []}

REQUESTS: dict[str, Any] = {"reassignWorkItem": {"assignees": {"users": ["grace@acme.example"]}}}
RESPONSES: dict[str, Any] = {
    "claimWorkItem": OPEN_WORK_ITEM | HELD,
    "releaseWorkItem": OPEN_WORK_ITEM | {"minimum": 1},
    "reassignWorkItem": OPEN_WORK_ITEM | {"minimum": 1, "assignees": ASSIGNEES},
    "getWorkItemHistory": {
        "data": [
            {"event": "opened", "at": NOW, "actor": {"kind": "engine"}},
            {"event": "claimed", "at": NOW, "actor": {"kind": "user", **ADA}},
            {
                "event": "reassigned",
                "at": NOW,
                "actor": {"kind": "user", **ADA},
                "previous_assignees": OPEN_WORK_ITEM["assignees"],
                "assignees": ASSIGNEES,
            },
            {"event": "answered", "at": NOW, "actor": {"kind": "user", **ADA}, "outcome": "approve"},
        ],
        "response_metadata": METADATA | {"page_limit": 50},
    },
}
