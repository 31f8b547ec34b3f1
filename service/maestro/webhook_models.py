"""The words of an account's webhooks, which the vendor's API lacks."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service.maestro.models import ResponseMetadata
from service.operations import webhook_deliveries, webhooks
from service.operations.webhooks import (
    FORMATS,
    LONGEST_DESCRIPTION,
    LONGEST_TYPE,
    LONGEST_URL,
    MOST_TYPES,
    MOST_WORKFLOWS,
)
from service.wire import Identifier, Timestamp, timestamp

Url = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=LONGEST_URL,
        description="where events are sent to, by POST: http or https, of a host that calls of workflows may reach",
    ),
]
Description = Annotated[str, Meta(max_length=LONGEST_DESCRIPTION)]
EventTypes = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=LONGEST_TYPE)]],
    Meta(
        max_length=MOST_TYPES,
        description="which events it is told of, as `instance.completed` or `instance.*`; of format `connect`:"
        " `workflow-started`, `workflow-failed`, `workflow-completed`; none for all",
    ),
]
WorkflowIds = Annotated[
    list[UUID],
    Meta(max_length=MOST_WORKFLOWS, description="only events of these workflows; none for all"),
]
Secret = Annotated[
    str, Meta(description="signs what is sent; shown here and never again, and stored encrypted")
]
EventTypeText = Annotated[str, Meta(description="as `instance.completed`; `webhook.ping` for a test")]
Status = Annotated[
    str,
    Meta(
        description="`pending` until it is answered with 2xx (`delivered`) or has been tried enough (`failed`)",
        extra_json_schema={"x-extensible-enum": ["pending", "delivered", "failed"]},
    ),
]


class NewWebhook(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An endpoint that is to be told of events."""

    url: Url
    format: Annotated[
        str,
        Meta(
            description="Standard Webhooks, or Docusign Connect's JSON SIM; it cannot change",
            extra_json_schema={"enum": list(FORMATS)},
        ),
    ] = "standard"
    description: Description | UnsetType = UNSET
    event_types: EventTypes | UnsetType = UNSET
    workflow_ids: WorkflowIds | UnsetType = UNSET


class ChangeWebhook(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to change; what is left out stays."""

    url: Url | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    event_types: EventTypes | UnsetType = UNSET
    workflow_ids: WorkflowIds | UnsetType = UNSET


class Webhook(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An endpoint that is told of the account's events."""

    id: Identifier
    account_id: Identifier
    url: str
    format: Annotated[str, Meta(extra_json_schema={"x-extensible-enum": ["standard", "connect"]})]
    description: str | UnsetType = UNSET
    event_types: Annotated[list[str], Meta(description="none for all")]
    workflow_ids: Annotated[list[Identifier], Meta(description="none for all")]
    enabled: bool
    disabled_at: Timestamp | UnsetType = UNSET
    disabled_reason: (
        Annotated[
            str,
            Meta(
                description="`asked` by somebody, `failing` for days, or `gone`: it answered 410",
                extra_json_schema={"x-extensible-enum": ["asked", "failing", "gone"]},
            ),
        ]
        | UnsetType
    ) = UNSET
    failed_attempts: Annotated[int, Meta(ge=0, description="since the last that did not fail")]
    failing_since: Timestamp | UnsetType = UNSET
    previous_secret_until: (
        Annotated[Timestamp, Meta(description="until when the secret before signs too")] | UnsetType
    ) = UNSET
    created_at: Timestamp
    created_by: Identifier
    modified_at: Timestamp
    modified_by: Identifier
    secret: Secret | UnsetType = UNSET
    response_metadata: ResponseMetadata | UnsetType = UNSET


class WebhooksList(msgspec.Struct, kw_only=True):
    data: list[Webhook]
    response_metadata: ResponseMetadata


class WebhookAttempt(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One attempt to deliver."""

    number: Annotated[int, Meta(ge=1)]
    at: Timestamp
    duration_ms: Annotated[int, Meta(ge=0)]
    status_code: int | UnsetType = UNSET
    error: (
        Annotated[
            str,
            Meta(
                description="`status`: answered otherwise than 2xx; `timeout`, `communication`: not answered;"
                " `authorization`: the service may not call it; `configuration`: it is no address; `secret`: the service"
                " could not read the secret",
                extra_json_schema={
                    "x-extensible-enum": [
                        "status",
                        "timeout",
                        "communication",
                        "authorization",
                        "configuration",
                        "secret",
                    ]
                },
            ),
        ]
        | UnsetType
    ) = UNSET
    answer: (
        Annotated[str, Meta(description="how an answer began that was not 2xx, at most 1,024 characters")]
        | UnsetType
    ) = UNSET


class WebhookDelivery(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One event on its way to one endpoint."""

    id: Identifier
    webhook_id: Identifier
    message_id: Annotated[str, Meta(description="`webhook-id` of what is sent, the same each time")]
    event_type: EventTypeText
    event_at: Timestamp
    workflow_id: Identifier | UnsetType = UNSET
    instance_id: Identifier | UnsetType = UNSET
    status: Status
    attempt_count: Annotated[int, Meta(ge=0)]
    next_attempt_at: (
        Annotated[
            Timestamp,
            Meta(
                description="absent while it waits for an earlier one of its instance, and when it has ended"
            ),
        ]
        | UnsetType
    ) = UNSET
    created_at: Timestamp
    ended_at: Timestamp | UnsetType = UNSET
    attempts: Annotated[list[WebhookAttempt], Meta(description="absent in lists")] | UnsetType = UNSET
    response_metadata: ResponseMetadata | UnsetType = UNSET


class WebhookDeliveriesList(msgspec.Struct, kw_only=True):
    data: list[WebhookDelivery]
    response_metadata: ResponseMetadata


class WebhookPinged(msgspec.Struct, kw_only=True):
    delivery_id: Annotated[Identifier, Meta(description="of the test, whose log tells whether it was heard")]
    response_metadata: ResponseMetadata


def webhook(
    row: webhooks.Webhook, secret: str | None = None, told: ResponseMetadata | UnsetType = UNSET
) -> Webhook:
    """Word an endpoint, with its secret where it has just been made."""
    return Webhook(
        id=str(row.id),
        account_id=str(row.account_id),
        url=row.url,
        format=row.format,
        description=UNSET if row.description is None else row.description,
        event_types=row.event_types,
        workflow_ids=[str(one) for one in row.workflow_ids],
        enabled=row.enabled,
        disabled_at=UNSET if row.disabled_at is None else timestamp(row.disabled_at),
        disabled_reason=UNSET if row.disabled_because is None else row.disabled_because,
        failed_attempts=row.failures,
        failing_since=UNSET if row.failing_since is None else timestamp(row.failing_since),
        previous_secret_until=UNSET if row.previous_until is None else timestamp(row.previous_until),
        created_at=timestamp(row.created_at),
        created_by=str(row.created_by),
        modified_at=timestamp(row.modified_at),
        modified_by=str(row.modified_by),
        secret=UNSET if secret is None else secret,
        response_metadata=told,
    )


def delivery(
    row: webhook_deliveries.Delivery,
    attempts: list[webhook_deliveries.Attempt] | None = None,
    told: ResponseMetadata | UnsetType = UNSET,
) -> WebhookDelivery:
    """Word a delivery, with its attempts where it was read by itself."""
    return WebhookDelivery(
        id=str(row.id),
        webhook_id=str(row.webhook_id),
        message_id=row.message_id,
        event_type=row.type,
        event_at=timestamp(row.at),
        workflow_id=UNSET if row.workflow_id is None else str(row.workflow_id),
        instance_id=UNSET if row.instance_id is None else str(row.instance_id),
        status=row.status,
        attempt_count=row.attempts,
        next_attempt_at=UNSET if row.next_at is None else timestamp(row.next_at),
        created_at=timestamp(row.created_at),
        ended_at=UNSET if row.ended_at is None else timestamp(row.ended_at),
        attempts=UNSET if attempts is None else [attempt(one) for one in attempts],
        response_metadata=told,
    )


def attempt(row: webhook_deliveries.Attempt) -> WebhookAttempt:
    """Word one attempt."""
    return WebhookAttempt(
        number=row.number,
        at=timestamp(row.at),
        duration_ms=row.duration_ms,
        status_code=UNSET if row.status_code is None else row.status_code,
        error=UNSET if row.error is None else row.error,
        answer=UNSET if row.answer is None else row.answer,
    )
