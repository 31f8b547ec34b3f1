"""Examples of actions on instances for the OpenAPI document; a test holds each against its schema."""

from typing import Any

from service.maestro.examples import INSTANCE, INSTANCE_URL, METADATA, NOW, USER, WORKFLOW

NEW_INSTANCE = "0190f3b9-7c11-7f02-8d44-0c5f1a2b6606"
BULK_ACTION: dict[str, Any] = {
    "id": "0190f3ba-08d2-7a3c-9c1e-5d7e2f8a7707",
    "action": "cancel",
    "status": "running",
    "filter": {"status": "In Progress", "workflow_definition_id": [WORKFLOW]},
    "options": {"reason": "The price list was wrong."},
    "total_count": 42,
    "done_count": 0,
    "skipped_count": 0,
    "failed_count": 0,
    "created_at": NOW,
    "created_by": USER,
    "created_by_name": "Ada Lovelace",
}
BEGUN = {
    "matched_count": 42,
    "message": "42 instances are being worked on; read the bulk action for its progress.",
    "bulk_action": BULK_ACTION,
    "response_metadata": METADATA,
}
UNCONFIRMED = {
    "matched_count": 42,
    "message": "42 instances match; nothing was done. Send confirm_count 42 to go on.",
    "response_metadata": METADATA,
}
RESTART: dict[str, Any] = {
    "action": "restart",
    "filter": {"status": "Failed"},
    "options": {"version": "latest"},
}

REQUESTS: dict[str, Any] = {
    "cancelWorkflowInstance": {"reason": "The customer has withdrawn."},
    "restartWorkflowInstance": {"version": "latest", "from_task": "total"},
    "cancelWorkflowInstances": {"confirm_count": 42, "reason": "The price list was wrong."},
    "restartWorkflowInstances": {"confirm_count": 42, "version": "latest"},
}

RESPONSES: dict[str, Any] = {
    "suspendWorkflowInstance": {
        "instance_id": INSTANCE,
        "suspended_at": NOW,
        "response_metadata": METADATA,
    },
    "resumeWorkflowInstance": {"instance_id": INSTANCE, "response_metadata": METADATA},
    "restartWorkflowInstance": {
        "instance_id": NEW_INSTANCE,
        "instance_url": INSTANCE_URL.replace(INSTANCE, NEW_INSTANCE),
        "restarted_from": INSTANCE,
        "canceled": False,
        "response_metadata": METADATA,
    },
    "cancelWorkflowInstances": BEGUN,
    "restartWorkflowInstances": BEGUN | {"bulk_action": BULK_ACTION | RESTART},
    "getBulkActions": {"data": [BULK_ACTION], "response_metadata": METADATA | {"page_limit": 50}},
    "getBulkAction": BULK_ACTION | {"done_count": 20, "response_metadata": METADATA},
    "cancelBulkAction": BULK_ACTION
    | {"status": "cancelled", "done_count": 20, "ended_at": NOW, "response_metadata": METADATA},
}
