"""Examples for the document of the Formance dialect; a test holds each against its schema."""

from typing import Any

WORKFLOW_ID = "0190f3b4-6a0c-7c3e-9a55-3f8f2d6b1c01"
INSTANCE_ID = "0190f3b5-1d7e-7b9a-8a53-91c5a0e4d202"
BEGAN, CHANGED, ENDED = (f"2026-05-04T09:{time}.000Z" for time in ("30:00", "30:01", "31:00"))
NEXT = "eyJwYWdlU2l6ZSI6MTUsImF0IjoiMjAyNi0wNS0wNFQwOTozMDowMFoiLCJpZCI6IjAxOTBmM2I0LTZhMGMtN2MzZS05YTU1LTNmOGYyZDZiMWMwMSJ9"

CONFIG = {
    "name": "Ask before it ships",
    "stages": [{"wait_event": {"event": "approved by ${who}"}}, {"delay": {"duration": "1h"}}],
}
WORKFLOW = {"id": WORKFLOW_ID, "config": CONFIG, "createdAt": BEGAN, "updatedAt": BEGAN}
INSTANCE = {
    "workflowID": WORKFLOW_ID,
    "id": INSTANCE_ID,
    "createdAt": BEGAN,
    "updatedAt": CHANGED,
    "terminated": False,
    "status": [{"stage": 0, "instanceID": INSTANCE_ID, "startedAt": BEGAN}],
    "workflow": WORKFLOW,
}
STAGE = {
    "name": "RunWaitEvent",
    "input": {"event": "approved by Ada"},
    "terminated": True,
    "startedAt": BEGAN,
    "terminatedAt": ENDED,
}
ACTIVITY = {
    "name": "GetWallet",
    "input": {"GetWallet": {"id": "0190f3b5-2c3a-7d10-b1c7-4a5e8e6f5505"}},
    "terminated": True,
    "startedAt": BEGAN,
    "terminatedAt": ENDED,
    "attempt": 1,
}

REQUESTS: dict[str, Any] = {
    "WorkflowConfig": CONFIG,
    "Variables": {"who": "Ada"},
    "InstanceEvent": {"name": "approved by Ada"},
}
# By the names of the models that are answered.
RESPONSES: dict[str, Any] = {
    "ServerInfo": {"version": "0.1.0"},
    "WorkflowResponse": {"data": WORKFLOW},
    "WorkflowListResponse": {"data": [WORKFLOW]},
    "WorkflowCursorResponse": {
        "cursor": {"pageSize": 15, "hasMore": True, "next": NEXT, "data": [WORKFLOW]},
    },
    "WorkflowInstanceResponse": {"data": INSTANCE},
    "WorkflowInstanceListResponse": {"data": [INSTANCE]},
    "WorkflowInstanceCursorResponse": {"cursor": {"pageSize": 15, "hasMore": False, "data": [INSTANCE]}},
    "WorkflowInstanceHistoryResponse": {"data": [STAGE]},
    "WorkflowInstanceHistoryStageResponse": {"data": [ACTIVITY]},
}
