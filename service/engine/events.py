"""Writes down what happened, in the transaction that did it: history, audit and outbox read these rows."""

from uuid import UUID

import msgspec

from service.tables import Event


class Subject(msgspec.Struct, frozen=True):
    """What an event is about: a workflow of an account, and the instance if it is about one."""

    account_id: UUID
    workflow_id: UUID
    instance_id: UUID | None = None


class OfAccount(msgspec.Struct, frozen=True):
    """What an event is about that concerns an account and none of its workflows."""

    account_id: UUID
    workflow_id: None = None
    instance_id: None = None


async def record(subject: Subject | OfAccount, kind: str, actor: UUID | None, **data: object) -> None:
    """Write one event; `kind` is `workflow.published`, `instance.started` and the like; `actor` None is the engine."""
    await Event.raw(
        "INSERT INTO event (account_id, workflow_id, instance_id, type, at, actor, data)"
        " VALUES ({}, {}, {}, {}, now(), {}, {})",
        subject.account_id,
        subject.workflow_id,
        subject.instance_id,
        kind,
        actor,
        # An account's text may hold U+0000, which jsonb refuses; a note of what happened does without it.
        msgspec.json.encode(data).decode().replace("\\u0000", "\\ufffd"),
    ).run()
