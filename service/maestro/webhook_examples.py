"""Examples of webhooks for the OpenAPI document; a test holds each against its schema."""

from typing import Any

from service.maestro.examples import ACCOUNT, INSTANCE, METADATA, NOW, USER, WORKFLOW

WEBHOOK = "7c1d2b0e-5a44-4f0f-9d3a-1b2c3d4e7707"
DELIVERY = "0190f3b6-3f1a-7c22-8e10-5a6b7c8d8808"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the example of the specification

SHORT: dict[str, Any] = {
    "id": WEBHOOK,
    "account_id": ACCOUNT,
    "url": "https://hooks.example/tutti",
    "format": "standard",
    "description": "Tells the warehouse",
    "event_types": ["instance.*"],
    "workflow_ids": [WORKFLOW],
    "enabled": True,
    "failed_attempts": 0,
    "created_at": NOW,
    "created_by": USER,
    "modified_at": NOW,
    "modified_by": USER,
}
WHOLE = SHORT | {"response_metadata": METADATA}
DISABLED = SHORT | {"enabled": False, "disabled_at": NOW, "disabled_reason": "asked"}
SHORT_DELIVERY: dict[str, Any] = {
    "id": DELIVERY,
    "webhook_id": WEBHOOK,
    "message_id": f"msg_{DELIVERY.replace('-', '')}",
    "event_type": "instance.completed",
    "event_at": NOW,
    "workflow_id": WORKFLOW,
    "instance_id": INSTANCE,
    "status": "pending",
    "attempt_count": 1,
    "next_attempt_at": NOW,
    "created_at": NOW,
}
ATTEMPT = {
    "number": 1,
    "at": NOW,
    "duration_ms": 41,
    "status_code": 503,
    "error": "status",
    "answer": "Service Unavailable",
}

REQUESTS: dict[str, Any] = {
    "createWebhook": {
        "url": "https://hooks.example/tutti",
        "description": "Tells the warehouse",
        "event_types": ["instance.*"],
        "workflow_ids": [WORKFLOW],
    },
    "changeWebhook": {"event_types": ["instance.completed", "instance.faulted"]},
}
RESPONSES: dict[str, Any] = {
    "getWebhooks": {"data": [SHORT], "response_metadata": METADATA},
    "createWebhook": WHOLE | {"secret": SECRET},
    "getWebhook": WHOLE,
    "changeWebhook": WHOLE | {"event_types": ["instance.completed", "instance.faulted"]},
    "disableWebhook": DISABLED | {"response_metadata": METADATA},
    "enableWebhook": WHOLE,
    "rotateWebhookSecret": WHOLE | {"secret": SECRET, "previous_secret_until": NOW},
    "pingWebhook": {"delivery_id": DELIVERY, "response_metadata": METADATA},
    "getWebhookDeliveries": {
        "data": [SHORT_DELIVERY],
        "response_metadata": METADATA | {"page_limit": 50},
    },
    "getWebhookDelivery": SHORT_DELIVERY | {"attempts": [ATTEMPT], "response_metadata": METADATA},
    "redeliverWebhookDelivery": SHORT_DELIVERY | {"response_metadata": METADATA},
}
