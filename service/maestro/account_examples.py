"""Examples of an account's settings and limits for the OpenAPI document; a test holds each against its schema."""

from typing import Any

from service.maestro.examples import ACCOUNT, METADATA, NOW

SETTINGS: dict[str, Any] = {
    "account_id": ACCOUNT,
    "name": "Acme",
    "instance_retention_days": 90,
    "event_retention_days": None,
    "response_metadata": METADATA,
}

REQUESTS: dict[str, Any] = {"changeAccountSettings": {"instance_retention_days": 90}}
RESPONSES: dict[str, Any] = {
    "getAccountSettings": SETTINGS,
    "changeAccountSettings": SETTINGS,
    "getAccountLimits": {
        "account_id": ACCOUNT,
        "requests_per_second": 50,
        "burst": 100,
        "running_instances": 1000,
        "stored_bytes": None,
        "usage": {"running_instances": 42, "stored_bytes": 1_048_576, "measured_at": NOW},
        "response_metadata": METADATA,
    },
}
