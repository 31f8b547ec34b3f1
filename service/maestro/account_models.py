"""The words of an account's settings and limits, which the vendor's API lacks."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service.maestro.models import ResponseMetadata
from service.operations.account_settings import LEAST_DAYS, MOST_DAYS, Settings
from service.operations.limits import Present
from service.wire import Identifier, Timestamp, timestamp
from tenancy.accounts import LONGEST_NAME

Name = Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]
InstanceDays = Annotated[
    int | None,
    Meta(
        description="after how many days instances that have ended are removed, with all that belongs to them; null: never",
        extra_json_schema={"minimum": LEAST_DAYS["instance_retention_days"], "maximum": MOST_DAYS},
    ),
]
EventDays = Annotated[
    int | None,
    Meta(
        description="after how many days events, which the audit and streams tell, are removed; null: never",
        extra_json_schema={"minimum": LEAST_DAYS["event_retention_days"], "maximum": MOST_DAYS},
    ),
]


class ChangeAccountSettings(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Changes to an account's settings; what is left out stays."""

    name: Name | UnsetType = UNSET
    instance_retention_days: InstanceDays | UnsetType = UNSET
    event_retention_days: EventDays | UnsetType = UNSET


class AccountSettings(msgspec.Struct, kw_only=True):
    """What an account's administrators have set."""

    account_id: Identifier
    name: str
    instance_retention_days: InstanceDays
    event_retention_days: EventDays
    response_metadata: ResponseMetadata


class AccountUsage(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How much of its limits an account uses."""

    running_instances: Annotated[int, Meta(description="that have not ended, counted up to 100,000")]
    stored_bytes: (
        Annotated[int, Meta(description="when they were last measured; absent where they are not limited")]
        | UnsetType
    ) = UNSET
    measured_at: Timestamp | UnsetType = UNSET


class AccountLimits(msgspec.Struct, kw_only=True):
    """What the operator has limited an account to; null: it is not limited."""

    account_id: Identifier
    requests_per_second: int | None
    burst: Annotated[int | None, Meta(description="requests that may come at once")]
    running_instances: Annotated[int | None, Meta(description="instances that have not ended")]
    stored_bytes: int | None
    usage: AccountUsage
    response_metadata: ResponseMetadata


def account_settings(found: Settings, told: ResponseMetadata) -> AccountSettings:
    """Word an account's settings."""
    return AccountSettings(
        account_id=str(found.id),
        name=found.name,
        instance_retention_days=found.instance_retention_days,
        event_retention_days=found.event_retention_days,
        response_metadata=told,
    )


def account_limits(account_id: Identifier, found: Present, told: ResponseMetadata) -> AccountLimits:
    """Word an account's limits."""
    measured = found.measured_at if found.stored_bytes is not None else None
    return AccountLimits(
        account_id=account_id,
        requests_per_second=found.requests_per_second,
        burst=found.burst,
        running_instances=found.running_instances,
        stored_bytes=found.stored_bytes,
        usage=AccountUsage(
            running_instances=found.running,
            stored_bytes=UNSET if measured is None else found.measured_bytes or 0,
            measured_at=UNSET if measured is None else timestamp(measured),
        ),
        response_metadata=told,
    )
