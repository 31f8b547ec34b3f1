"""Writes down what happened in an account, in the transaction that did it, and on whose request.

The rows stand in the table `event`, which the workflow product declares; this is its one writer outside of the database's
own functions. The application may add to them and read them, and neither change nor delete them.
"""

import contextlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from tenancy.requests import current_request
from tenancy.rows import current_connection

OPERATOR = UUID(int=0)  # stands for the operator at the command line, who is no user
LARGEST = 16_384  # bytes of what a thing was before, and of what it is after
NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # in JSON, and not behind a backslash that is itself escaped

RECORD = """
INSERT INTO event (account_id, workflow_id, instance_id, type, at, actor, data, before, after, request_id)
VALUES ($1, $2, $3, $4, now(), $5, $6, $7, $8, $9)
"""
ENTER = "SELECT set_config('app.account_id', $1, true)"


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


async def record(
    subject: Subject | OfAccount,
    kind: str,
    actor: UUID | None,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    **data: object,
) -> None:
    """Write one event in the open transaction: `kind` is `member.added`, `workflow.published` and the like.

    `actor` is a user's or a client's id, `OPERATOR`, or None for the engine. `before` and `after` hold the fields that
    changed, with what they were and are; never a secret, and of people their ids alone.
    """
    await current_connection().execute(
        RECORD,
        subject.account_id,
        subject.workflow_id,
        subject.instance_id,
        kind,
        actor,
        as_json(data),
        bounded(before),
        bounded(after),
        current_request.get(),
    )


async def record_in(accounts: Sequence[UUID], kind: str, actor: UUID, **told: Any) -> None:
    """Write the same event in several accounts (see `record`), whichever the open transaction is in."""
    for account_id in accounts:
        async with entered(account_id):
            await record(OfAccount(account_id), kind, actor, **told)


@contextlib.asynccontextmanager
async def entered(account_id: UUID) -> AsyncIterator[None]:
    """See an account's rows in the open transaction, whichever account that is in before and after."""
    connection = current_connection()
    before: str | None = await connection.fetchval("SELECT current_setting('app.account_id', true)")
    await connection.execute(ENTER, str(account_id))
    yield
    await connection.execute(ENTER, before or "")


def bounded(fields: Mapping[str, Any] | None) -> str | None:
    """Write fields as JSON; of more than 16 KiB only how many bytes they had."""
    text = None if fields is None else as_json(fields)
    if text is not None and len(text.encode()) > LARGEST:
        return as_json({"cut": len(text.encode())})
    return text


def as_json(fields: Mapping[str, Any]) -> str:
    """Write what jsonb takes: a text may hold U+0000, which jsonb refuses, and shows U+FFFD in its place."""
    text = msgspec.json.encode(fields).decode()
    return NUL.sub(r"\1\\ufffd", text) if r"\u0000" in text else text


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The arguments `before` and `after` of `record`: those of the fields of `after` that have another value than before."""
    changed = [name for name, value in after.items() if before[name] != value]
    return {
        "before": {name: before[name] for name in changed},
        "after": {name: after[name] for name in changed},
    }
