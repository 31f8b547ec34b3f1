"""Examples for the OpenAPI document; a test holds each against its schema."""

from typing import Any

import msgspec

from tenancy.errors import BadRequest

ACCOUNT = "ae232f1f-8efc-4b8c-bb08-626847fad8bb"
WORKFLOW = "0190f3b4-6a0c-7c3e-9a55-3f8f2d6b1c01"
INSTANCE = "0190f3b5-1d7e-7b9a-8a53-91c5a0e4d202"
VERSION = "0190f3b4-6a0d-7a1b-b2f1-6f0f8a7d3303"
WORK_ITEM = "0190f3b5-2c3a-7d10-b1c7-4a5e8e6f5505"
USER = "5f1c7f3e-2d63-4a7e-9c38-2a8d4f0b6404"
NOW = "2026-05-04T09:30:00.000Z"
REQUEST = "3f7c9e4b-851c-4f9b-89e7-123456789abc"

METADATA = {"request_id": REQUEST, "response_timestamp": NOW, "response_duration_ms": 3}
RESOURCE = {"created_at": NOW, "created_by": USER, "modified_at": NOW, "modified_by": USER}
SHORT = {
    "id": WORKFLOW,
    "name": "Price a quote",
    "account_id": ACCOUNT,
    "status": "active",
    "metadata": RESOURCE,
}

DOCUMENT = {
    "document": {
        "dsl": "1.0.3",
        "namespace": "demo",
        "name": "quote",
        "version": "1.0.0",
        "title": "Price a quote",
    },
    "input": {
        "schema": {
            "document": {
                "type": "object",
                "required": ["lines"],
                "properties": {
                    "lines": {"type": "array", "items": {"type": "object"}},
                    "currency": {"type": "string", "default": "EUR"},
                },
            }
        }
    },
    "do": [{"total": {"set": {"sum": "${ [.lines[].price] | add // 0 }", "currency": "${ .currency }"}}}],
}

YAML = """\
document: {dsl: '1.0.3', namespace: demo, name: quote, version: '1.0.0', title: Price a quote}
do:
  - total:
      set:
        sum: ${ [.lines[].price] | add // 0 }
"""

WORKFLOW_DEFINITION = SHORT | {
    "namespace": "demo",
    "version": "1.0.0",
    "active_version": "1.0.0",
    "definition": DOCUMENT,
    "warnings": [],
    "response_metadata": METADATA,
}

WORKFLOW_INSTANCE: dict[str, Any] = {
    "id": INSTANCE,
    "name": "Quote 42",
    "workflow_status": "Completed",
    "template_id": WORKFLOW,
    "account_id": ACCOUNT,
    "started_at": NOW,
    "started_by": USER,
    "started_by_name": "Ada Lovelace",
    "started_by_role": "Preparer",
    "ended_at": NOW,
    "expires_at": None,
    "last_modified_at": NOW,
    "canceled_at": None,
    "canceled_by": None,
    "trigger_inputs": {"lines": [{"price": 7}], "currency": "EUR"},
    "total_steps": 1,
    "last_completed_step": 1,
    "last_completed_step_name": "total",
    "tags": [],
    "metadata": {
        "workflow_created_by": USER,
        "workflow_version": "1.0.0",
        "workflow_metadata_id": VERSION.replace("-", "")[:24],
    },
    "output": {"sum": 7, "currency": "EUR"},
}

WORK_ITEM_SUMMARY = {
    "id": WORK_ITEM,
    "kind": "approval",
    "title": "Pay Globex: 1200 EUR",
    "status": "open",
    "overdue": False,
    "account_id": ACCOUNT,
    "workflow_id": WORKFLOW,
    "instance_id": INSTANCE,
    "task_name": "signOff",
    "position": "/do/0/signOff",
    "opened_at": NOW,
    "due_at": "2026-05-06T09:30:00.000Z",
}
OPEN_WORK_ITEM: dict[str, Any] = WORK_ITEM_SUMMARY | {
    "assignees": {"users": ["ada@acme.example", "grace@acme.example"], "roles": ["admin"]},
    "outcomes": [
        {"name": "approve", "label": "Approve", "comment": "optional"},
        {"name": "reject", "label": "Reject", "comment": "required"},
    ],
    "minimum": 2,
    "decisions": [],
    "data": {"vendor": "Globex", "sum": 1200, "currency": "EUR"},
    "form": {
        "type": "object",
        "properties": {"cost_center": {"type": "string"}},
        "required": ["cost_center"],
    },
    "response_metadata": METADATA,
}
ANSWER = {"outcome": "approve", "comment": "As agreed.", "fields": {"cost_center": "4711"}}
ANSWERED_WORK_ITEM = OPEN_WORK_ITEM | {
    "decisions": [
        {
            "user": {"id": USER, "name": "Ada Lovelace", "email": "ada@acme.example"},
            "decided_at": NOW,
            **ANSWER,
        }
    ]
}

INSTANCE_URL = f"http://127.0.0.1:8000/v1/accounts/{ACCOUNT}/instances/{INSTANCE}/execution?mtid={USER}&mtsec=a-secret-of-this-instance"

REQUESTS: dict[str, Any] = {
    "TriggerWorkflow": {"instance_name": "Quote 42", "trigger_inputs": {"lines": [{"price": 7}]}},
    "createWorkflow": DOCUMENT,
    "replaceWorkflow": DOCUMENT,
    "createWorkflowFromYaml": YAML,
    "replaceWorkflowFromYaml": YAML,
    "completeWorkItem": ANSWER,
    "signalWorkflowInstance": {"type": "shop.goods.arrived", "data": {"order": "A-17"}},
    "publishEvent": {"type": "shop.goods.arrived", "data": {"order": "A-17"}},
}

AUDIT_EVENT: dict[str, Any] = {
    "id": 4711,
    "type": "workflow.paused",
    "at": NOW,
    "actor": {"kind": "user", "id": USER, "name": "Ada Lovelace"},
    "subject": {"kind": "workflow", "id": WORKFLOW},
    "request_id": REQUEST,
    "workflow_id": WORKFLOW,
    "data": {},
    "before": {"paused": False},
    "after": {"paused": True},
}

FIELD_ERROR = {
    "code": "FIELD_REQUIRED",
    "message": "'lines' is a required property",
    "target": "trigger_inputs/lines",
}

EVENTS = f"""\
retry: 2000
id: 5021-0
event: stream.opened
data: {{}}

id: 5044-317
event: instance.completed
data: {{"id":"5044-317","type":"instance.completed","at":"{NOW}","workflow_id":"{WORKFLOW}","instance_id":"{INSTANCE}","data":{{}}}}

"""

RESPONSES: dict[str, Any] = {
    "GetWorkflowsList": {"data": [SHORT], "response_metadata": METADATA | {"page_limit": 1000}},
    "GetWorkflowTriggerRequirements": {
        "trigger_id": VERSION,
        "trigger_event_type": "HTTP",
        "trigger_http_config": {
            "method": "POST",
            "url": f"http://127.0.0.1:8000/v1/accounts/{ACCOUNT}/workflows/{WORKFLOW}/actions/trigger",
        },
        "trigger_input_schema": [
            {"field_name": "lines", "field_data_type": "array", "required": True},
            {
                "field_name": "currency",
                "field_data_type": "string",
                "default_value": "EUR",
                "required": False,
            },
        ],
        "metadata": RESOURCE,
    }
    | METADATA,
    "TriggerWorkflow": {"instance_id": INSTANCE, "instance_url": INSTANCE_URL} | METADATA,
    "pauseNewWorkflowInstances": {"status": "paused"},
    "resumePausedWorkflow": {"status": "active"},
    "createWorkflow": WORKFLOW_DEFINITION,
    "createWorkflowFromYaml": WORKFLOW_DEFINITION,
    "replaceWorkflow": WORKFLOW_DEFINITION,
    "replaceWorkflowFromYaml": WORKFLOW_DEFINITION,
    "getWorkflow": WORKFLOW_DEFINITION,
    "publishWorkflow": WORKFLOW_DEFINITION,
    "archiveWorkflow": {"status": "archived"},
    "getWorkflowVersions": {
        "data": [
            {
                "id": VERSION,
                "version": "1.0.0",
                "active": True,
                "created_at": NOW,
                "created_by": USER,
                "published_at": NOW,
            }
        ],
        "response_metadata": METADATA,
    },
    "getWorkflowInstancesList": {
        "data": [WORKFLOW_INSTANCE],
        "response_metadata": METADATA | {"page_limit": 1000},
    },
    "searchWorkflowInstances": {
        "data": [WORKFLOW_INSTANCE],
        "response_metadata": METADATA | {"page_limit": 50},
    },
    "getWorkflowInstance": WORKFLOW_INSTANCE,
    "cancelWorkflowInstance": {
        "message": f"Successfully canceled the workflow instance {INSTANCE} in {WORKFLOW}"
    },
    "signalWorkflowInstance": {
        "event_id": "8a6f6a3e-0b5c-4c5f-9b0e-2f5f5c1f7a11",
        "response_metadata": METADATA,
    },
    "publishEvent": {
        "event": {
            "specversion": "1.0",
            "id": "8a6f6a3e-0b5c-4c5f-9b0e-2f5f5c1f7a11",
            "source": f"urn:uuid:{USER}",
            "time": NOW,
            "type": "shop.goods.arrived",
            "data": {"order": "A-17"},
        },
        "delivered_to": 2,
        "response_metadata": METADATA,
    },
    "getWorkflowInstanceHistory": {
        "data": [
            {
                "task_name": "total",
                "task_type": "set",
                "position": "/do/0/total",
                "attempt": 1,
                "status": "completed",
                "input": {"lines": [{"price": 7}], "currency": "EUR"},
                "output": {"sum": 7, "currency": "EUR"},
                "started_at": NOW,
                "ended_at": NOW,
            }
        ],
        "response_metadata": METADATA | {"page_limit": 50},
    },
    "getAudit": {"data": [AUDIT_EVENT], "response_metadata": METADATA | {"page_limit": 50}},
    "exportAudit": msgspec.json.encode(AUDIT_EVENT).decode() + "\n",
    "waitForWorkflowInstance": WORKFLOW_INSTANCE,
    "followWorkflowInstance": EVENTS,
    "followEvents": EVENTS,
    "getWorkItems": {"data": [WORK_ITEM_SUMMARY], "response_metadata": METADATA | {"page_limit": 50}},
    "getWorkItem": OPEN_WORK_ITEM,
    "completeWorkItem": ANSWERED_WORK_ITEM,
    "getWorkflowInstancesForAccount": {
        "instances": [WORKFLOW_INSTANCE],
        "total_set_size": 1,
        "result_set_size": 1,
        "response_metadata": METADATA | {"page_limit": 50},
    },
}


def error(status: int, kind: str, title: str, detail: str) -> dict[str, Any]:
    """Make an example of an error body, with a field's error where the status is about fields."""
    body: dict[str, Any] = {
        "error": detail,
        "code": str(status),
        "timestamp": NOW,
        "type": kind,
        "title": title,
        "status": status,
        "detail": detail,
        "instance": f"/v1/accounts/{ACCOUNT}/workflows/{WORKFLOW}/actions/trigger",
        "request_id": REQUEST,
    }
    if status == BadRequest.status:
        body["errors"] = [FIELD_ERROR]
    return body
