"""What an account's administrators and machine clients do with webhooks, the endpoints that are told of its events.

An endpoint is told of what happens from its creation on, or from the moment when it was enabled again. Its secret is shown
when it is made and when it is rotated, and never again; it is stored encrypted (`service.engine.vault`).
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, get_args
from uuid import UUID, uuid4

import asyncpg
import msgspec

from auth.bearer import Access, Caller
from auth.roles import Right
from service.engine.egress import CREDENTIALS, CallError, address_of
from service.engine.events import OfAccount, record
from service.errors import WebhookConflict
from service.language.values import flaw
from service.operations.webhook_secrets import new_secret, seal
from tenancy.errors import BadRequest, FieldError, NotFound
from tenancy.events import differences
from tenancy.rows import current_connection

MOST = 10  # endpoints of one account
LONGEST_URL = 2048  # characters
LONGEST_DESCRIPTION = 255  # characters
LONGEST_TYPE = 100  # characters
MOST_TYPES = 50  # event types of one endpoint
MOST_WORKFLOWS = 100  # workflows of one endpoint
OVERLAP = timedelta(hours=24)  # for which the secret before the present one signs too
PING = "webhook.ping"

Format = Literal["standard", "connect"]
FORMATS = get_args(Format)
# Connect's own names of what happens to a workflow's instance; such endpoints know no other events.
CONNECT = {
    "workflow-started": "instance.triggered",
    "workflow-failed": "instance.faulted",
    "workflow-completed": "instance.completed",
}
TYPE = re.compile(r"\*|[a-z][a-z_]*\.(\*|[a-z][a-z-]*)")
TYPE_RULE = (
    "is not an event type such as instance.completed, nor the beginning of some such as instance.*, nor *"
)
NO_CREDENTIALS = f"{CREDENTIALS}; that we sent a message is known by its signature."
CONNECT_RULE = f"is none of Connect's events: {', '.join(CONNECT)}"

COLUMNS = """id, account_id, url, description, format, event_types, workflow_ids, enabled, disabled_at, disabled_because,
failures, failing_since, previous_until, created_at, created_by, modified_at, modified_by"""
ONE = f"SELECT {COLUMNS} FROM webhook WHERE account_id = $1 AND id = $2 AND deleted_at IS NULL"
LISTED = f"SELECT {COLUMNS} FROM webhook WHERE account_id = $1 AND deleted_at IS NULL ORDER BY created_at, id"
INSERT = f"""
INSERT INTO webhook (id, account_id, url, description, format, event_types, workflow_ids, secret,
                     created_at, created_by, modified_at, modified_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now(), $9, now(), $9) RETURNING {COLUMNS}
"""
CHANGE = f"""
UPDATE webhook SET url = $3, description = $4, event_types = $5, workflow_ids = $6, modified_at = now(), modified_by = $7
WHERE account_id = $1 AND id = $2 RETURNING {COLUMNS}
"""
DELETE = """
UPDATE webhook SET enabled = false, deleted_at = now(), secret = '', previous_secret = NULL
WHERE account_id = $1 AND id = $2
"""
DISABLE = f"""
UPDATE webhook SET enabled = false, disabled_at = now(), disabled_because = 'asked', modified_at = now(), modified_by = $3
WHERE account_id = $1 AND id = $2 RETURNING {COLUMNS}
"""
ENABLE = f"""
UPDATE webhook
SET enabled = true, disabled_at = NULL, disabled_because = NULL, failures = 0, failing_since = NULL,
    modified_at = now(), modified_by = $3, since = pg_current_snapshot(),
    read_in = pg_snapshot_xmin(pg_current_snapshot()), read_to = 0
WHERE account_id = $1 AND id = $2 RETURNING {COLUMNS}
"""
# What waited behind a delivery that was swept meanwhile has nothing to wait for any more.
RELEASE = """
SELECT release_next_delivery($1, $2, instance_id, now()) FROM (
    SELECT DISTINCT instance_id FROM webhook_delivery
    WHERE account_id = $1 AND webhook_id = $2 AND status = 'pending' AND NOT aside AND instance_id IS NOT NULL
) AS waiting
"""
ROTATE = f"""
UPDATE webhook SET previous_secret = secret, previous_until = now() + $4, secret = $3, modified_at = now(), modified_by = $5
WHERE account_id = $1 AND id = $2 RETURNING {COLUMNS}
"""
PING_ONCE = """
INSERT INTO webhook_delivery (id, account_id, webhook_id, type, at, data, aside, next_at, created_at)
VALUES ($3, $1, $2, $4, now(), '{}', true, now(), now())
"""


class Endpoint(msgspec.Struct, frozen=True):
    """What an endpoint is to be: where it is, in which format it is told, and of what; no types or workflows: of all."""

    url: str
    format: str = "standard"
    description: str | None = None
    event_types: Sequence[str] = ()
    workflow_ids: Sequence[UUID] = ()


class Changes(msgspec.Struct, frozen=True):
    """What is to change of an endpoint; what is unset stays."""

    url: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET
    event_types: Sequence[str] | msgspec.UnsetType = msgspec.UNSET
    workflow_ids: Sequence[UUID] | msgspec.UnsetType = msgspec.UNSET


class Webhook(msgspec.Struct, frozen=True):
    """An endpoint as its account's administrators see it."""

    id: UUID
    account_id: UUID
    url: str
    description: str | None
    format: Format
    event_types: list[str]
    workflow_ids: list[UUID]
    enabled: bool
    disabled_at: datetime | None
    disabled_because: str | None
    failures: int
    failing_since: datetime | None
    previous_until: datetime | None
    created_at: datetime
    created_by: UUID
    modified_at: datetime
    modified_by: UUID


class Shown(msgspec.Struct, frozen=True):
    """An endpoint, and its secret where it has just been made."""

    webhook: Webhook
    secret: str | None = None


async def create(access: Access, wanted: Endpoint) -> Shown:
    """Add an endpoint; the answer alone holds its secret.

    Raises:
        BadRequest: with one entry for each field that is wrong.
        WebhookConflict: the account has as many as it may have, or the service has no key to keep a secret by.
    """
    webhook_id, secret = uuid4(), new_secret(wanted.format)
    async with access.alone(Right.OVERSEE) as caller:
        await _check(caller, wanted)
        kept = seal(caller.account_id, webhook_id, secret)
        connection = current_connection()
        if len(await connection.fetch(LISTED, caller.account_id)) >= MOST:
            raise WebhookConflict(f"An account has at most {MOST} webhooks; delete one first.")
        fields = (wanted.url, wanted.description, wanted.format, wanted.event_types, wanted.workflow_ids)
        row = await connection.fetchrow(INSERT, webhook_id, caller.account_id, *fields, kept, caller.id)
        await record(
            OfAccount(caller.account_id),
            "webhook.created",
            caller.id,
            after=told(webhook_of(row)),
            webhook_id=webhook_id,
        )
    return Shown(webhook_of(row), secret)


async def get_list(access: Access) -> list[Webhook]:
    """Return the account's endpoints, the oldest first."""
    async with access.rows(Right.OVERSEE) as caller:
        return [webhook_of(row) for row in await current_connection().fetch(LISTED, caller.account_id)]


async def get(access: Access, webhook_id: UUID) -> Webhook:
    """Return one endpoint.

    Raises:
        NotFound: no such endpoint.
    """
    async with access.rows(Right.OVERSEE) as caller:
        return await found(caller, webhook_id)


async def change(access: Access, webhook_id: UUID, changes: Changes) -> Webhook:
    """Change where an endpoint is or what it is told of; what waits for it already goes to where it is then.

    Raises:
        NotFound: no such endpoint.
        BadRequest: with one entry for each field that is wrong.
    """
    async with access.rows(Right.OVERSEE) as caller:
        before = await found(caller, webhook_id, lock=True)
        present = Endpoint(
            before.url, before.format, before.description, before.event_types, before.workflow_ids
        )
        asked = msgspec.structs.asdict(changes)
        given = {name: value for name, value in asked.items() if value is not msgspec.UNSET}
        wanted = msgspec.structs.replace(present, **given)
        if wanted == present:
            return before
        await _check(caller, wanted)
        fields = (wanted.url, wanted.description, wanted.event_types, wanted.workflow_ids)
        row = await current_connection().fetchrow(CHANGE, caller.account_id, webhook_id, *fields, caller.id)
        after = webhook_of(row)
        changed: dict[str, Any] = differences(told(before), told(after))
        if before.url.partition("?")[1:] != after.url.partition("?")[1:]:
            changed["url_query"] = "changed"  # and nothing more: it may hold a password
        await record(
            OfAccount(caller.account_id), "webhook.changed", caller.id, **changed, webhook_id=webhook_id
        )
        return after


async def delete(access: Access, webhook_id: UUID) -> None:
    """Delete an endpoint; what waits for it is not sent any more, and its log is gone.

    Raises:
        NotFound: no such endpoint.
    """
    async with access.rows(Right.OVERSEE) as caller:
        before = await found(caller, webhook_id, lock=True)
        await current_connection().execute(DELETE, caller.account_id, webhook_id)
        await record(
            OfAccount(caller.account_id),
            "webhook.deleted",
            caller.id,
            before=told(before),
            webhook_id=webhook_id,
        )


async def disable(access: Access, webhook_id: UUID) -> Webhook:
    """Let an endpoint rest: nothing is sent to it. One that rests already stays as it is.

    Raises:
        NotFound: no such endpoint.
    """
    async with access.rows(Right.OVERSEE) as caller:
        before = await found(caller, webhook_id, lock=True)
        if not before.enabled:
            return before
        row = await current_connection().fetchrow(DISABLE, caller.account_id, webhook_id, caller.id)
        await record(
            OfAccount(caller.account_id), "webhook.disabled", caller.id, webhook_id=webhook_id, reason="asked"
        )
        return webhook_of(row)


async def enable(access: Access, webhook_id: UUID) -> Webhook:
    """Let an endpoint be told again: of what waited when it was disabled, and of what happens from now on.

    Raises:
        NotFound: no such endpoint.
    """
    async with access.rows(Right.OVERSEE) as caller:
        before = await found(caller, webhook_id, lock=True)
        if before.enabled:
            return before
        row = await current_connection().fetchrow(ENABLE, caller.account_id, webhook_id, caller.id)
        await current_connection().execute(RELEASE, caller.account_id, webhook_id)
        await record(OfAccount(caller.account_id), "webhook.enabled", caller.id, webhook_id=webhook_id)
        return webhook_of(row)


async def rotate_secret(access: Access, webhook_id: UUID) -> Shown:
    """Give an endpoint a new secret; the one before signs beside it for 24 hours, an older one no more.

    Raises:
        NotFound: no such endpoint.
        WebhookConflict: the service has no key to keep a secret by.
    """
    async with access.rows(Right.OVERSEE) as caller:
        before = await found(caller, webhook_id, lock=True)
        secret = new_secret(before.format)
        kept = seal(caller.account_id, webhook_id, secret)
        row = await current_connection().fetchrow(
            ROTATE, caller.account_id, webhook_id, kept, OVERLAP, caller.id
        )
        await record(OfAccount(caller.account_id), "webhook.rotated", caller.id, webhook_id=webhook_id)
        return Shown(webhook_of(row), secret)


async def ping(access: Access, webhook_id: UUID) -> UUID:
    """Send an endpoint an event of no meaning, so that somebody sees whether it is heard; return its delivery's id.

    Raises:
        NotFound: no such endpoint.
        WebhookConflict: it is disabled.
    """
    delivery_id = uuid4()
    async with access.rows(Right.OVERSEE) as caller:
        require_enabled(await found(caller, webhook_id))
        await current_connection().execute(PING_ONCE, caller.account_id, webhook_id, delivery_id, PING)
    return delivery_id


async def found(caller: Caller, webhook_id: UUID, *, lock: bool = False) -> Webhook:
    """Read an endpoint in the open transaction; lock it where it is to change.

    Raises:
        NotFound: no such endpoint.
    """
    statement = f"{ONE} FOR NO KEY UPDATE" if lock else ONE
    row = await current_connection().fetchrow(statement, caller.account_id, webhook_id)
    if row is None:
        raise NotFound
    return webhook_of(row)


def require_enabled(webhook: Webhook) -> None:
    """Refuse to send to an endpoint that rests.

    Raises:
        WebhookConflict: it is disabled.
    """
    if not webhook.enabled:
        raise WebhookConflict("The webhook is disabled; enable it first.")


def webhook_of(row: asyncpg.Record | None) -> Webhook:
    """Read an endpoint that is there."""
    return msgspec.convert(dict(row or {}), Webhook)


def told(webhook: Webhook) -> dict[str, Any]:
    """What the audit tells of an endpoint: of its address what stands before the query, which may hold a password."""
    return {
        "url": webhook.url.partition("?")[0],
        "description": webhook.description,
        "format": webhook.format,
        "event_types": webhook.event_types,
        "workflow_ids": [str(one) for one in webhook.workflow_ids],
    }


async def _check(caller: Caller, wanted: Endpoint) -> None:
    """Refuse an endpoint that could not be told, or never would be.

    Raises:
        BadRequest: with one entry for each field that is wrong.
    """
    errors = [FieldError("FIELD_INVALID", text, target) for target, text in _mistakes(wanted)]
    if wanted.workflow_ids:
        known = await current_connection().fetch(
            "SELECT id FROM workflow WHERE account_id = $1 AND id = ANY ($2)",
            caller.account_id,
            wanted.workflow_ids,
        )
        unknown = set(wanted.workflow_ids) - {row["id"] for row in known}
        if unknown:
            errors.append(
                FieldError("FIELD_INVALID", f"has no workflow {min(map(str, unknown))}", "workflow_ids")
            )
    if errors:
        raise BadRequest(errors=tuple(errors))


def _mistakes(wanted: Endpoint) -> list[tuple[str, str]]:
    """List the fields that are wrong by themselves, and what is."""
    texts = {"url": wanted.url, "description": wanted.description}
    mistakes = [(name, wrong) for name, text in texts.items() if (wrong := flaw(text))]
    if wanted.format not in FORMATS:
        mistakes.append(("format", f"must be one of: {', '.join(FORMATS)}"))
    try:
        address_of(wanted.url)
    except CallError as error:
        has_credentials = error.detail.startswith(CREDENTIALS)
        mistakes.append(("url", NO_CREDENTIALS if has_credentials else error.detail))
    for one in wanted.event_types:
        if wanted.format == "connect" and one not in CONNECT:
            mistakes.append(("event_types", f"{one[:LONGEST_TYPE]!r} {CONNECT_RULE}"))
        elif wanted.format == "standard" and not TYPE.fullmatch(one):
            mistakes.append(("event_types", f"{one[:LONGEST_TYPE]!r} {TYPE_RULE}"))
    return mistakes
