"""Events that people and clients send: what one must hold, and those of the account, for whatever listens."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec

from auth.bearer import Access, Caller
from auth.roles import Right
from service.engine import inbox, listeners, subscriptions
from service.engine.events import OfAccount, record
from service.engine.queue import Job, enqueue
from service.language.cloudevents import LARGEST_EVENT, EventRefused, complete
from service.limits import space
from service.operations.inputs import unstorable_fields
from tenancy.errors import BadRequest, FieldError, TooLarge

AT_ONCE = 100  # instances that are given an event at once; more are given it by a job
COUNTED = 10_000


class Published(msgspec.Struct, frozen=True):
    """An event with everything it must hold, and how many instances listened for its type when it came, up to 10,000."""

    event: dict[str, Any]
    listening: int


async def publish(access: Access, event: dict[str, Any]) -> Published:
    """Send an event to whatever of the account listens for it now: instances, and schedules and triggers that start some.

    It is not kept: who listens later does not get it.

    Raises:
        BadRequest: it is not a CloudEvent.
        TooLarge: it has more than 64 KiB.
        LimitReached: the account stores as much as it may.
    """
    async with access.rows(Right.OPERATE) as caller:
        whole = completed(caller, event)
        space.refuse_storing(caller.account_id)
        account_id = caller.account_id
        listening = await listeners.page(account_id, whole["type"], UUID(int=0), COUNTED)
        if len(listening) > AT_ONCE or await subscriptions.wanted(account_id, whole["type"]):
            await enqueue([Job(account_id, None, "publish", payload=msgspec.json.encode(whole))])
        else:
            living = await inbox.locked(account_id, listening)
            await inbox.put(account_id, living, whole, kept=False)
        await record(OfAccount(account_id), "event.published", caller.id, type=whole["type"])
        return Published(whole, len(listening))


def completed(caller: Caller, event: dict[str, Any]) -> dict[str, Any]:
    """Fill in what the sender of an event left out.

    Raises:
        BadRequest: it is not a CloudEvent.
        TooLarge: it has more than 64 KiB.
    """
    errors = unstorable_fields(event)
    if errors:
        raise BadRequest(errors=tuple(errors))
    try:
        whole = complete(event, identifier=str(uuid4()), source=f"urn:uuid:{caller.id}", at=datetime.now(UTC))
    except EventRefused as error:
        raise BadRequest(
            errors=tuple(FieldError("FIELD_INVALID", one.message, one.pointer) for one in error.problems)
        ) from None
    if len(msgspec.json.encode(whole)) > LARGEST_EVENT:
        raise TooLarge(f"An event has at most {LARGEST_EVENT} bytes.")
    return whole
