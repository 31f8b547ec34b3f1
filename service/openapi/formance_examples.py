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

TRIGGER_ID = "0190f3b6-3b1d-7a52-9c0e-6f2b8d4a7707"
TRIGGER = {
    "event": "SAVED_PAYMENT",
    "workflowID": WORKFLOW_ID,
    "name": "Ask for each payment",
    "filter": 'event.status == "SUCCEEDED" && event.amount > 1000',
    "vars": {"who": 'event.metadata?.owner ?? "Ada"'},
}
PAYLOAD = {"id": "pay_1", "status": "SUCCEEDED", "amount": 120000, "metadata": {"owner": "Grace"}}
EVENT = {
    "idempotency_key": "pay_1 SUCCEEDED",
    "date": BEGAN,
    "app": "payments",
    "version": "v2",
    "type": "SAVED_PAYMENT",
    "payload": PAYLOAD,
}
OCCURRENCE = {
    "id": "0190f3b7-8c2f-7d61-8b3e-2a9c5e1f6606",
    "triggerID": TRIGGER_ID,
    "date": BEGAN,
    "event": EVENT,
    "workflowInstanceID": INSTANCE_ID,
    "workflowInstance": {
        name: value for name, value in INSTANCE.items() if name not in ("status", "workflow")
    },
}
STORED_TRIGGER = TRIGGER | {"id": TRIGGER_ID, "createdAt": BEGAN}

REQUESTS: dict[str, Any] = {
    "WorkflowConfig": CONFIG,
    "Variables": {"who": "Ada"},
    "InstanceEvent": {"name": "approved by Ada"},
    "TriggerData": TRIGGER,
    "EventPayload": PAYLOAD,
    "Envelope": EVENT,
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
    "TriggerResponse": {"data": STORED_TRIGGER},
    "TriggerListResponse": {"data": [STORED_TRIGGER]},
    "TriggerCursorResponse": {"cursor": {"pageSize": 15, "hasMore": False, "data": [STORED_TRIGGER]}},
    "TriggerOccurrenceListResponse": {"data": [OCCURRENCE]},
    "TriggerOccurrenceCursorResponse": {"cursor": {"pageSize": 15, "hasMore": False, "data": [OCCURRENCE]}},
    "TriggerTestResponse": {"data": {"filter": {"match": True}, "variables": {"who": {"value": "Grace"}}}},
    "BusEventResponse": {"data": {"event": EVENT, "triggers": 1}},
    "WorkflowInstanceHistoryResponse": {"data": [STAGE]},
    "WorkflowInstanceHistoryStageResponse": {"data": [ACTIVITY]},
}
